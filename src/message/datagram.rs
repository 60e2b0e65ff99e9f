//! Messages of UDP and Unix datagram sockets, and what a datagram counts against a limit of bytes.

use std::net::SocketAddr;

use super::LocalAddr;
use crate::error::OsError;
use crate::id::Alias;
use crate::memory::buffer::Buffer;

/// A datagram (RFC 768), of at most 65,507 bytes over IPv4.
///
/// Received: `id` is the socket, `addr` the sender. Sent to a UDP server's alias: `data` goes to `addr`, from the
/// [`local_addr`](Self::local_addr) if there is one; `id` and `truncated` are ignored. So a datagram that is sent back
/// with other `data`, or its [`answer`](Self::answer), leaves from the address that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "MessageUDP")]
pub struct MessageUdp {
    /// The socket.
    pub id: Alias,
    /// The other side.
    pub addr: SocketAddr,
    /// The payload, possibly empty.
    pub data: Buffer,
    /// The datagram was longer than the buffer: the rest is lost.
    pub truncated: bool,
    pub(crate) local: LocalAddr,
}

impl MessageUdp {
    /// A datagram to `addr`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let socket = cx.spawn_meta(UdpServer::bind("127.0.0.1:0")?)?;
    /// let to = "127.0.0.1:9".parse::<std::net::SocketAddr>()?;
    /// cx.send_alias(socket, MessageUdp::new(socket, to, "ping"))?;
    /// # Ok(()) }) }
    /// ```
    pub fn new(id: Alias, addr: SocketAddr, data: impl Into<Buffer>) -> Self {
        Self {
            id,
            addr,
            data: data.into(),
            truncated: false,
            local: LocalAddr::default(),
        }
    }

    /// An answer: to the sender of this datagram, from the address that it came to. To send it, see
    /// [`Context::answer_datagram`](crate::Context::answer_datagram).
    ///
    /// ```
    /// use longshore::prelude::*;
    /// fn pong(ping: &MessageUdp) -> MessageUdp {
    ///     ping.answer("pong")
    /// }
    /// ```
    #[must_use = "an answer is sent by `Context::answer_datagram` or `send_alias`"]
    pub fn answer(&self, data: impl Into<Buffer>) -> Self {
        Self {
            id: self.id,
            addr: self.addr,
            data: data.into(),
            truncated: false,
            local: self.local.clone(),
        }
    }

    /// Received: the address that this datagram came to, if its socket has several: the socket of one of the addresses
    /// of [`UdpServer::bind_each`](crate::UdpServer::bind_each), or, with the feature `pktinfo`, one that is bound to
    /// all of them. It is the address of the interface for a datagram to an IPv4 multicast group or a broadcast
    /// address. `None` if there is only one, [`UdpServer::local_addr`](crate::UdpServer::local_addr), or where the
    /// system does not say it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let socket = cx.spawn_meta(UdpServer::bind("127.0.0.1:0")?)?;
    /// let to = "127.0.0.1:9".parse::<std::net::SocketAddr>()?;
    /// assert_eq!(MessageUdp::new(socket, to, "ping").local_addr(), None);
    /// # Ok(()) }) }
    /// ```
    #[inline]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local.get()
    }

    /// Sends from that address, which must be one of this machine (on Linux; on other systems, one of the addresses of
    /// `bind_each`). A datagram whose address the socket does not have is not sent, and counted as an error.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let socket = cx.spawn_meta(UdpServer::bind(":0")?)?; // all addresses
    /// let to = "127.0.0.1:9".parse::<std::net::SocketAddr>()?;
    /// let from = "127.0.0.2:0".parse::<std::net::SocketAddr>()?;
    /// let ping = MessageUdp::new(socket, to, "ping").with_local_addr(from);
    /// cx.send_alias(socket, ping)?;
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn with_local_addr(mut self, addr: SocketAddr) -> Self {
        self.local = LocalAddr::from(addr);
        self
    }
}

/// A datagram of a Unix domain socket; see [`UnixDatagramServer`](crate::UnixDatagramServer).
///
/// Received: `id` is the socket, `path` the sender's, if it has one. Sent to the socket's alias: `data` goes to `path`,
/// or to the peer of a connected socket if there is none; `id` and `truncated` are ignored.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageUnixDatagram {
    /// The socket.
    pub id: Alias,
    /// The other side; `None` if it has no path.
    pub path: Option<std::path::PathBuf>,
    /// The payload, possibly empty.
    pub data: Buffer,
    /// The datagram was longer than the buffer: the rest is lost.
    pub truncated: bool,
}

#[cfg(unix)]
impl MessageUnixDatagram {
    /// A datagram to `path`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// // `connection` stands for the alias of a `UnixDatagramServer` here.
    /// let datagram = longshore::MessageUnixDatagram::new(connection, "/run/log.sock", "a line");
    /// assert_eq!(datagram.data, "a line");
    /// # Ok(()) }) }
    /// ```
    pub fn new(id: Alias, path: impl Into<std::path::PathBuf>, data: impl Into<Buffer>) -> Self {
        Self {
            id,
            path: Some(path.into()),
            data: data.into(),
            truncated: false,
        }
    }
}

/// A datagram could not be sent, or the network reported one as undeliverable (ICMP, see udp(7)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageUdpError {
    /// The socket.
    pub id: Alias,
    /// Where it was to go; `None` for an error the network reports later (ICMP) on a connected socket.
    pub addr: Option<SocketAddr>,
    /// Its length in bytes.
    pub length: usize,
    /// What the operating system said.
    pub error: OsError,
}

/// Bytes that a datagram of `length` bytes counts against the output limit. A small datagram takes more memory than
/// its bytes, and an empty one takes some, so that a flood of them stays bounded too.
#[inline]
pub(crate) fn datagram_bytes(length: usize) -> usize {
    length.max(64)
}
