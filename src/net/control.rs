//! Control messages of datagrams that are sent (cmsg(3)): the address that they leave from, and the size to cut them
//! at.
//!
//! They are on Linux only; elsewhere there is nothing that a datagram could say.
//!
//! What it does not do: control messages of received datagrams are read by [`pktinfo`](super::pktinfo).

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use mio::net::UdpSocket;

#[cfg(target_os = "linux")]
pub(super) use linux::Control;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Control;

/// Sends one datagram, or several that the kernel cuts apart, from a local address. Without `to` the socket is
/// connected.
///
/// # Errors
///
/// What the operating system says, for instance that the address is not one of this machine.
pub(super) fn send_from(
    socket: &UdpSocket,
    from: SocketAddr,
    to: Option<SocketAddr>,
    datagrams: &[IoSlice<'_>],
) -> io::Result<usize> {
    let mut control = Control::new();
    control.set_source(from);
    // One datagram needs no cut, and the kernel would refuse a size that equals the whole.
    if let [first, _, ..] = datagrams {
        control.set_segment(first.len())?;
    }
    control.send(socket, to, datagrams)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, ErrorKind, IoSlice};
    use std::net::SocketAddr;

    use mio::net::UdpSocket;
    use socket2::{MsgHdr, SockAddr, SockRef};

    /// `SOL_UDP` and `UDP_SEGMENT`, see udp(7).
    const SEGMENT: (i32, i32) = (17, 103);
    /// `SOL_IP` and `IP_PKTINFO`, see ip(7).
    const SOURCE_V4: (i32, i32) = (0, 8);
    /// `SOL_IPV6` and `IPV6_PKTINFO`, see ipv6(7).
    const SOURCE_V6: (i32, i32) = (41, 50);

    /// The length of the whole, as long as a word, then level and type: see cmsg(3).
    const HEADER: usize = size_of::<usize>() + 2 * size_of::<i32>();
    /// Room for one message of each kind: 20 bytes of an address of IPv6, and 2 of a size.
    const ROOM: usize = 2 * HEADER + 20_usize.next_multiple_of(WORD) + WORD;
    const WORD: usize = size_of::<usize>();

    /// See the module.
    #[derive(Debug)]
    pub(in crate::net) struct Control {
        bytes: [u8; ROOM],
        length: usize,
    }

    impl Control {
        #[inline]
        pub(in crate::net) fn new() -> Self {
            Self {
                bytes: [0; ROOM],
                length: 0,
            }
        }

        /// The datagrams leave from that address. Its port is that of the socket in any case.
        pub(in crate::net) fn set_source(&mut self, from: SocketAddr) {
            match from {
                // `struct in_pktinfo`: an interface, the source, and the destination of a received one.
                SocketAddr::V4(v4) => {
                    let mut info = [0; 12];
                    info[4..8].copy_from_slice(&v4.ip().octets());
                    self.add(SOURCE_V4, &info);
                }
                // `struct in6_pktinfo`: the source, and the interface, which an address of a link needs.
                SocketAddr::V6(v6) => {
                    let mut info = [0; 20];
                    info[..16].copy_from_slice(&v6.ip().octets());
                    info[16..].copy_from_slice(&v6.scope_id().to_ne_bytes());
                    self.add(SOURCE_V6, &info);
                }
            }
        }

        /// The kernel cuts the bytes into datagrams of that size.
        #[inline]
        pub(in crate::net) fn set_segment(&mut self, size: usize) -> io::Result<()> {
            let size = u16::try_from(size).map_err(|_| ErrorKind::InvalidInput)?;
            self.add(SEGMENT, &size.to_ne_bytes());
            Ok(())
        }

        /// A size with a byte too little.
        pub(in crate::net) fn set_bad_segment(&mut self) {
            self.add(SEGMENT, &[0]);
        }

        #[inline]
        fn add(&mut self, (level, kind): (i32, i32), data: &[u8]) {
            let whole = HEADER + data.len();
            let place = &mut self.bytes[self.length..];
            place[..WORD].copy_from_slice(&whole.to_ne_bytes());
            place[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
            place[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
            // The padding up to the next word was zeroed in `new`.
            place[HEADER..whole].copy_from_slice(data);
            self.length += whole.next_multiple_of(WORD);
        }

        /// Sends. Without `to` the socket is connected.
        #[inline]
        pub(in crate::net) fn send(
            &self,
            socket: &UdpSocket,
            to: Option<SocketAddr>,
            datagrams: &[IoSlice<'_>],
        ) -> io::Result<usize> {
            let message = MsgHdr::new()
                .with_buffers(datagrams)
                .with_control(&self.bytes[..self.length]);
            let socket = SockRef::from(socket);
            match to.map(SockAddr::from) {
                Some(to) => socket.sendmsg(&message.with_addr(&to), 0),
                None => socket.sendmsg(&message, 0),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::net::Ipv4Addr;

        #[test]
        fn datagrams_leave_from_the_address_that_the_control_message_names() {
            let from = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
            let port = from.local_addr().expect("an address").port();
            let from = UdpSocket::from_std(from);
            let to = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            let to_addr = to.local_addr().expect("an address");
            let source = SocketAddr::from(([127, 0, 0, 77], 0));
            let datagrams = [IoSlice::new(b"abc"), IoSlice::new(b"de")];
            let (count, datagrams) = match super::super::super::gso::is_known() {
                true => (2, &datagrams[..]),
                false => (1, &datagrams[..1]),
            };
            super::super::send_from(&from, source, Some(to_addr), datagrams).expect("sent");
            for expected in ["abc", "de"].into_iter().take(count) {
                let mut bytes = [0; 10];
                let (length, peer) = to.recv_from(&mut bytes).expect("a datagram");
                assert_eq!(&bytes[..length], expected.as_bytes());
                assert_eq!(peer, SocketAddr::from(([127, 0, 0, 77], port)));
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io::{self, ErrorKind, IoSlice};
    use std::net::SocketAddr;

    use mio::net::UdpSocket;

    /// See the module.
    #[derive(Debug)]
    pub(in crate::net) struct Control;

    impl Control {
        pub(in crate::net) fn new() -> Self {
            Self
        }

        pub(in crate::net) fn set_source(&mut self, _: SocketAddr) {}

        pub(in crate::net) fn set_segment(&mut self, _: usize) -> io::Result<()> {
            Ok(())
        }

        pub(in crate::net) fn send(
            &self,
            _: &UdpSocket,
            _: Option<SocketAddr>,
            _: &[IoSlice<'_>],
        ) -> io::Result<usize> {
            Err(ErrorKind::Unsupported.into())
        }
    }
}
