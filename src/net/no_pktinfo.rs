//! Without the feature `pktinfo`, and where the operating system has no such thing: the address that a datagram came to
//! is not known.

use std::io;
use std::net::SocketAddr;

use mio::net::UdpSocket;

/// Receives from a socket.
#[derive(Debug)]
pub(super) struct Pktinfo;

impl Pktinfo {
    #[allow(
        clippy::unnecessary_wraps,
        reason = "the module with the feature asks the socket, which can fail"
    )]
    pub(super) fn new(_: &UdpSocket, _: SocketAddr) -> io::Result<Self> {
        Ok(Self)
    }

    #[inline(always)]
    #[allow(
        clippy::needless_pass_by_ref_mut,
        reason = "the module with the feature keeps the address that was asked"
    )]
    pub(super) fn recv_from(
        &mut self,
        socket: &UdpSocket,
        into: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        socket.recv_from(into)
    }

    #[inline(always)]
    pub(super) fn asked(&self) -> Option<SocketAddr> {
        None
    }
}
