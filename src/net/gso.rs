//! Several datagrams in one system call: UDP segmentation offload, `UDP_SEGMENT` in udp(7).
//!
//! The size to cut at travels with the bytes, as a [control message](super::control). A kernel before 4.18 does not
//! look at it and would send one long datagram, so it is asked first, once for the whole program. It exists on Linux
//! only; elsewhere nothing is ever sent this way.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use mio::net::UdpSocket;

use super::control::Control;

/// Sends datagrams of one size, of which the last may be shorter: all of them or none. Without `to` the socket is
/// connected.
pub(super) fn send(
    socket: &UdpSocket,
    to: Option<SocketAddr>,
    datagrams: &[IoSlice<'_>],
) -> io::Result<usize> {
    let mut control = Control::new();
    control.set_segment(datagrams.first().map_or(0, |first| first.len()))?;
    control.send(socket, to, datagrams)
}

/// Whether the kernel knows the control message. One that does refuses one with too little in it; one that does not
/// sends an empty datagram, to the socket itself.
#[cfg(target_os = "linux")]
pub(super) fn is_known() -> bool {
    use std::net::Ipv4Addr;
    use std::sync::OnceLock;

    static KNOWN: OnceLock<bool> = OnceLock::new();
    // Asked once: the answer belongs to the kernel, and each question costs a socket.
    *KNOWN.get_or_init(|| {
        let asked = || {
            let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            let itself = SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local_addr()?.port()));
            let mut control = Control::new();
            control.set_bad_segment();
            control.send(&UdpSocket::from_std(socket), Some(itself), &[])
        };
        asked().is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput)
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_known() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn kernel_that_knows_the_control_message_cuts_at_its_size() {
        if !is_known() {
            return println!("skipped: this kernel cannot");
        }
        let socket = || std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let (from, to) = (UdpSocket::from_std(socket()), socket());
        let datagrams = ["abc", "def", "g"].map(|text| IoSlice::new(text.as_bytes()));
        let to_addr = to.local_addr().expect("an address");
        assert_eq!(send(&from, Some(to_addr), &datagrams).expect("sent"), 7);
        for expected in ["abc", "def", "g"] {
            let mut bytes = [0; 10];
            let length = to.recv(&mut bytes).expect("a datagram");
            assert_eq!(&bytes[..length], expected.as_bytes());
        }
    }
}
