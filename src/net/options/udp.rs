//! Options of datagram sockets.

use std::net::{IpAddr, SocketAddr};

use super::{Host, SocketOptions, check, check_datagrams, check_family, named};
use crate::error::ConfigError;
use crate::id::Name;
use crate::memory::buffer::BufferPool;

/// Options of a [`UdpServer`](crate::UdpServer).
///
/// ```
/// use longshore::UdpServerOptions;
///
/// let options = UdpServerOptions::from(":7000")
///     .with_process("handlers")
///     .with_report_errors(true);
/// assert_eq!((options.host.is_any(), options.port), (true, 7000)); // all interfaces
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias = "UDPServerOptions")]
pub struct UdpServerOptions {
    /// The interface; empty for all of them, IPv4 and IPv6. An address and `localhost` are taken as they are; another
    /// name is resolved by `bind`, which blocks meanwhile.
    pub host: Host,
    /// The port; 0 lets the operating system choose, see [`UdpServer::local_addr`](crate::UdpServer::local_addr).
    pub port: u16,
    /// The name of the process that gets the datagrams; a pool spreads them. `None`: the parent process.
    pub process: Option<Name>,
    /// The longest datagram taken whole, in bytes; longer ones are cut and flagged. Ignored if there is a
    /// `buffer_pool`. 65,536 by default, which is more than a datagram can have.
    pub buffer_size: usize,
    /// Where buffers come from. `None`: the node's pool.
    pub buffer_pool: Option<BufferPool>,
    /// Connect the socket to this peer: only its datagrams are received, and a closed port of it is an error.
    pub peer: Option<SocketAddr>,
    /// Allow sending to broadcast addresses.
    pub broadcast: bool,
    /// Multicast groups to join.
    pub multicast: Vec<IpAddr>,
    /// Bytes that may wait to be sent before sends are refused; a datagram counts as 64 bytes at least. 1 MiB by
    /// default.
    pub output_limit: u32,
    /// Report each datagram that could not be sent to the owner, as a `MessageUdpError`; by default they are counted.
    pub report_errors: bool,
    /// Give datagrams that wait for one peer and have one size to the kernel in one call, which cuts them apart again
    /// (UDP segmentation offload). Nothing changes on the wire, but a packet capture on this machine sees them before
    /// the cut. Linux only; where the kernel or the device cannot do it, they are sent one by one. On by default.
    pub segmentation_offload: bool,
    /// Options of the socket.
    pub socket: SocketOptions,
}

impl Default for UdpServerOptions {
    fn default() -> Self {
        Self {
            host: Host::default(),
            port: 0,
            process: None,
            buffer_size: 64 * 1024,
            buffer_pool: None,
            peer: None,
            broadcast: false,
            multicast: Vec::new(),
            output_limit: 1 << 20,
            report_errors: false,
            segmentation_offload: true,
            socket: SocketOptions::default(),
        }
    }
}

impl UdpServerOptions {
    setters! {
        /// Sets [`host`](Self::host).
        with_host, host: into Host;
        /// Sets [`port`](Self::port).
        with_port, port: plain u16;
        /// Sets [`process`](Self::process); an empty name is `None`.
        with_process, process: some_name Name;
        /// Sets [`buffer_size`](Self::buffer_size), bytes.
        with_buffer_size, buffer_size: plain usize;
        /// Sets [`buffer_pool`](Self::buffer_pool).
        with_buffer_pool, buffer_pool: into Option<BufferPool>;
        /// Sets [`peer`](Self::peer).
        with_peer, peer: into Option<SocketAddr>;
        /// Sets [`broadcast`](Self::broadcast).
        with_broadcast, broadcast: plain bool;
        /// Sets [`multicast`](Self::multicast).
        with_multicast, multicast: plain Vec<IpAddr>;
        /// Sets [`output_limit`](Self::output_limit), bytes.
        with_output_limit, output_limit: plain u32;
        /// Sets [`report_errors`](Self::report_errors).
        with_report_errors, report_errors: plain bool;
        /// Sets [`segmentation_offload`](Self::segmentation_offload).
        with_segmentation_offload, segmentation_offload: plain bool;
        /// Sets [`socket`](Self::socket).
        with_socket, socket: plain SocketOptions;
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.host.validate()?;
        check_datagrams(self.buffer_size, self.output_limit)?;
        named("process", self.process.as_slice())?;
        check_family(&self.host, &self.socket)?;
        self.validate_groups()?;
        if let Some(peer) = self.peer {
            check(peer.port() != 0, "peer", "needs a port")?;
            let reached = self.reaches(peer.ip());
            check(
                reached,
                "peer",
                "is of a family that the host does not have",
            )?;
        }
        self.socket.validate()
    }

    fn validate_groups(&self) -> Result<(), ConfigError> {
        for (index, group) in self.multicast.iter().enumerate() {
            let problem = if !group.is_multicast() {
                "holds an address that is no multicast group"
            } else if self.multicast[..index].contains(group) {
                "holds a group twice"
            } else if !self.reaches(*group) {
                "holds a group of a family that the host does not have"
            } else {
                continue;
            };
            return Err(ConfigError::new("multicast", problem));
        }
        Ok(())
    }

    /// Whether a socket of this host has the family of the address: the unspecified one of IPv6, all interfaces and
    /// names may have both.
    fn reaches(&self, ip: IpAddr) -> bool {
        match (self.host.ip(), ip.to_canonical()) {
            // A socket of IPv6 alone reaches no mapped address.
            (_, IpAddr::V4(_)) if self.socket.only_v6 => false,
            (Some(host), ip) if !host.is_unspecified() => {
                host.to_canonical().is_ipv4() == ip.is_ipv4()
            }
            (Some(IpAddr::V4(_)), IpAddr::V6(_)) => false,
            _ => true,
        }
    }
}
