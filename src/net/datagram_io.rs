//! The socket of a [`UdpServer`](crate::UdpServer): of the operating system, or simulated.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use mio::net::UdpSocket;

use super::kernel_drops::kernel_drops;
use super::pktinfo::Pktinfo;
use super::{control, gso};
use crate::meta::MetaContext;
#[cfg(feature = "testing")]
use crate::simulation::net::DatagramSocket;

/// See the module.
#[derive(Debug)]
pub(super) enum DatagramIo {
    System(UdpSocket, Pktinfo),
    #[cfg(feature = "testing")]
    Simulated(DatagramSocket),
}

impl DatagramIo {
    /// A socket that is bound, and connected if it has a peer.
    pub(super) fn system(socket: UdpSocket, local_addr: SocketAddr) -> io::Result<Self> {
        let pktinfo = Pktinfo::new(&socket, local_addr)?;
        Ok(Self::System(socket, pktinfo))
    }

    pub(super) fn register(&mut self, cx: &MetaContext<'_>) -> io::Result<()> {
        match self {
            Self::System(socket, _) => cx.register_datagrams(socket),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => super::simulated::register(cx, socket),
        }
    }

    /// Has room for output reported from now on, or no longer. A simulated socket always reports it, and only behind a
    /// refusal.
    #[cold]
    pub(super) fn watch_for_room(&mut self, cx: &MetaContext<'_>, watches: bool) -> io::Result<()> {
        match self {
            Self::System(socket, _) => cx.watch_for_room(socket, watches),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => Ok(()),
        }
    }

    pub(super) fn deregister(&mut self, cx: &MetaContext<'_>) {
        match self {
            Self::System(socket, _) => cx.deregister_source(socket),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => super::simulated::deregister(socket),
        }
    }

    /// The socket of the operating system, for its options.
    pub(super) fn system_socket(&self) -> Option<&UdpSocket> {
        match self {
            Self::System(socket, _) => Some(socket),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => None,
        }
    }

    #[inline]
    pub(super) fn recv_from(&mut self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self {
            Self::System(socket, pktinfo) => pktinfo.recv_from(socket, into),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => {
                let (length, from) = socket.receive(into)?;
                Ok((length, from.ip().unwrap_or(super::stream::UNSPECIFIED)))
            }
        }
    }

    /// The address that the datagram received last came to, if the socket has several and the system says it.
    #[inline]
    pub(super) fn asked(&self) -> Option<SocketAddr> {
        match self {
            Self::System(_, pktinfo) => pktinfo.asked(),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => None,
        }
    }

    #[inline]
    pub(super) fn send(&self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::System(socket, _) => socket.send(data),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => socket.send_to(None, data),
        }
    }

    #[inline]
    pub(super) fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        match self {
            Self::System(socket, _) => socket.send_to(data, to),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => socket.send_to(Some(to), data),
        }
    }

    /// Sends several datagrams of one size in one call; see [`gso`]. A simulated socket never
    /// [says](DatagramIo::can_cut) that it can.
    pub(super) fn send_several(
        &self,
        to: Option<SocketAddr>,
        datagrams: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        match self {
            Self::System(socket, _) => gso::send(socket, to, datagrams),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends one datagram, or several of one size, from a local address; see [`control`]. A simulated host has one
    /// address.
    pub(super) fn send_from(
        &self,
        from: SocketAddr,
        to: Option<SocketAddr>,
        datagrams: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        match self {
            Self::System(socket, _) => control::send_from(socket, from, to, datagrams),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    pub(super) fn can_cut(&self) -> bool {
        match self {
            Self::System(..) => gso::is_known(),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => false,
        }
    }

    /// Datagrams that the kernel dropped because the socket's buffer was full, on systems that count them.
    pub(super) fn kernel_drops(&self) -> Option<u64> {
        match self {
            Self::System(socket, _) => kernel_drops(socket),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => Some(socket.dropped()),
        }
    }
}
