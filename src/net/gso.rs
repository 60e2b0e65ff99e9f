//! Several datagrams in one system call: UDP segmentation offload, `UDP_SEGMENT` in udp(7).
//!
//! The size to cut at travels with the bytes, as a control message. A kernel before 4.18 does not look at it and would send
//! one long datagram, so it is asked first, once for the whole program. It exists on Linux only; elsewhere nothing is ever
//! sent this way.

#[cfg(target_os = "linux")]
pub(super) use linux::{is_known, send};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{is_known, send};

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, ErrorKind, IoSlice};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::OnceLock;

    use mio::net::UdpSocket;
    use socket2::{MsgHdr, SockAddr, SockRef};

    /// `SOL_UDP` and `UDP_SEGMENT`.
    const LEVEL: i32 = 17;
    const TYPE: i32 = 103;

    /// The length of the whole, as long as a word, then level and type: see cmsg(3).
    const HEADER: usize = size_of::<usize>() + 2 * size_of::<i32>();
    /// With room for two bytes, up to the next word.
    const SPACE: usize = HEADER + size_of::<usize>();

    /// Sends datagrams of one size, of which the last may be shorter: all of them or none. Without `to` the socket is
    /// connected.
    pub(in crate::net) fn send(
        socket: &UdpSocket,
        to: Option<SocketAddr>,
        datagrams: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let size = datagrams.first().map_or(0, |first| first.len());
        let size = u16::try_from(size).map_err(|_| ErrorKind::InvalidInput)?;
        send_with(
            &SockRef::from(socket),
            to,
            datagrams,
            &control(size.to_ne_bytes()),
        )
    }

    /// Whether the kernel knows the control message. One that does refuses one with too little in it; one that does not
    /// sends an empty datagram, to the socket itself.
    pub(in crate::net) fn is_known() -> bool {
        static KNOWN: OnceLock<bool> = OnceLock::new();
        *KNOWN.get_or_init(|| {
            let asked = || {
                let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                let itself = SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local_addr()?.port()));
                send_with(&SockRef::from(&socket), Some(itself), &[], &control([0]))
            };
            asked().is_err_and(|error| error.kind() == ErrorKind::InvalidInput)
        })
    }

    /// The control message with that in it.
    fn control<const N: usize>(data: [u8; N]) -> [u8; SPACE] {
        let mut message = [0; SPACE];
        let length = (HEADER + N).to_ne_bytes();
        let parts = [
            &length[..],
            &LEVEL.to_ne_bytes(),
            &TYPE.to_ne_bytes(),
            &data,
        ];
        for (place, byte) in message.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        message
    }

    fn send_with(
        socket: &SockRef<'_>,
        to: Option<SocketAddr>,
        datagrams: &[IoSlice<'_>],
        control: &[u8],
    ) -> io::Result<usize> {
        let message = MsgHdr::new().with_buffers(datagrams).with_control(control);
        match to.map(SockAddr::from) {
            Some(to) => socket.sendmsg(&message.with_addr(&to), 0),
            None => socket.sendmsg(&message, 0),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn kernel_that_knows_the_control_message_cuts_at_its_size() {
            if !is_known() {
                return println!("skipped: this kernel cannot");
            }
            let socket = || std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            let (from, to) = (UdpSocket::from_std(socket()), socket());
            let datagrams = ["abc", "def", "g"].map(|text| IoSlice::new(text.as_bytes()));
            assert_eq!(
                send(
                    &from,
                    Some(to.local_addr().expect("an address")),
                    &datagrams
                )
                .expect("sent"),
                7
            );
            for expected in ["abc", "def", "g"] {
                let mut bytes = [0; 10];
                let length = to.recv(&mut bytes).expect("a datagram");
                assert_eq!(&bytes[..length], expected.as_bytes());
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io::{self, ErrorKind, IoSlice};
    use std::net::SocketAddr;

    use mio::net::UdpSocket;

    pub(in crate::net) fn send(
        _: &UdpSocket,
        _: Option<SocketAddr>,
        _: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(in crate::net) fn is_known() -> bool {
        false
    }
}
