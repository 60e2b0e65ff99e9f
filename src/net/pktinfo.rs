//! The address that a datagram came to, of a socket that is bound to all of them: `IP_PKTINFO` in ip(7), `IPV6_PKTINFO`
//! in ipv6(7).
//!
//! The kernel reports it in a control message beside each datagram. It costs more than receiving without, so it is
//! asked for only where the answer is not known: not for a socket that is bound to one address, and not for one with a
//! peer.
//!
//! A socket of both families is asked by both options: for a datagram of IPv4 only the first one has the address of the
//! interface, which a datagram to a group or to a broadcast address has to be answered from.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use mio::net::UdpSocket;
use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike};
use nix::sys::socket::{recvmsg, setsockopt};

/// Receives from a socket; with the address that each datagram came to if the socket has several.
#[derive(Debug)]
pub(super) struct Pktinfo(Option<Box<Receiver>>);

/// The part of a socket that is bound to all addresses.
#[derive(Debug)]
struct Receiver {
    /// Where the kernel writes control messages.
    control: Vec<u8>,
    is_v6: bool,
    port: u16,
    /// The address that the last datagram came to.
    asked: Option<SocketAddr>,
}

impl Pktinfo {
    /// Asks the socket for the addresses if it is bound to all of them.
    pub(super) fn new(socket: &UdpSocket, local_addr: SocketAddr) -> io::Result<Self> {
        // The answer is known for a socket with one address, and the control message would cost each datagram.
        if !local_addr.ip().is_unspecified() {
            return Ok(Self(None));
        }
        let is_v6 = local_addr.is_ipv6();
        // On a socket of IPv6 too: with a datagram that came by IPv4 it gets the message of that family.
        setsockopt(socket, Ipv4PacketInfo, &true)?;
        if is_v6 {
            setsockopt(socket, Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Self(Some(Box::new(Receiver {
            control: cmsg_space!(in_pktinfo, in6_pktinfo),
            is_v6,
            port: local_addr.port(),
            asked: None,
        }))))
    }

    #[inline]
    pub(super) fn recv_from(
        &mut self,
        socket: &UdpSocket,
        into: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        match &mut self.0 {
            None => socket.recv_from(into),
            Some(receiver) if receiver.is_v6 => receiver.receive::<SockaddrIn6>(socket, into),
            Some(receiver) => receiver.receive::<SockaddrIn>(socket, into),
        }
    }

    /// The address that the datagram received last came to, if the socket has several.
    #[inline]
    pub(super) fn asked(&self) -> Option<SocketAddr> {
        self.0.as_ref()?.asked
    }
}

impl Receiver {
    fn receive<S: SockaddrLike + Into<SocketAddr>>(
        &mut self,
        socket: &UdpSocket,
        into: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        let control = &mut self.control[..];
        let mut slices = [IoSliceMut::new(into)];
        let flags = MsgFlags::empty();
        let received = recvmsg::<S>(socket.as_raw_fd(), &mut slices, Some(control), flags)?;
        let (mut asked_v4, mut asked_v6) = (None, None);
        for message in received.cmsgs().into_iter().flatten() {
            match message {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    // The local address, from which an answer can leave. `ipi_addr` is the destination in the header,
                    // which may be one of a broadcast (ip(7)).
                    asked_v4 = Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    asked_v6 = Some((ip, info.ipi6_ifindex));
                }
                _ => {}
            }
        }
        self.asked = match (asked_v4, asked_v6) {
            // The address of IPv4 comes first: on a socket of both families the other one is its mapping.
            (Some(ip), _) => can_answer_v4(ip).then(|| SocketAddr::from((ip, self.port))),
            (None, Some((ip, interface))) => can_answer_v6(ip).then(|| {
                // Only a link-local address means nothing without its interface.
                let zone = if ip.is_unicast_link_local() {
                    interface
                } else {
                    0
                };
                SocketAddrV6::new(ip, self.port, 0, zone).into()
            }),
            (None, None) => None,
        };
        let from = received.address.ok_or(io::ErrorKind::InvalidData)?;
        Ok((received.bytes, from.into()))
    }
}

fn can_answer_v4(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast())
}

fn can_answer_v6(ip: Ipv6Addr) -> bool {
    !(ip.is_unspecified() || ip.is_multicast())
}
