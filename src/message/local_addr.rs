//! The local address of a datagram, in one word.
//!
//! A [`Message`](super::Message) has 64 bytes, and a datagram's peer takes half of them: a second address would make
//! every message larger. Most sockets have one local address, and their datagrams carry none. Where there are several,
//! the address travels in a small buffer, which comes from a pool for datagrams that are received.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::memory::buffer::{Buffer, BufferPool};

/// Bytes of an IPv4 address with its port, and of an IPv6 address with port and zone.
const V4: usize = 4 + 2;
const V6: usize = 16 + 2 + 4;

/// See the module. Empty: the socket has one address.
#[derive(Clone, Default, Eq)]
pub(crate) struct LocalAddr(Buffer);

impl PartialEq for LocalAddr {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Most have none, and need no comparison of bytes.
        (self.is_none() && other.is_none()) || self.0 == other.0
    }
}

impl LocalAddr {
    /// The address of a datagram that was received.
    pub(crate) fn pooled(addr: SocketAddr, pool: &BufferPool) -> Self {
        Self(with_bytes(addr, |bytes| pool.copy_from_slice(bytes)))
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<SocketAddr> {
        // Most datagrams carry none, and leave the decoding to a function of its own.
        if self.is_none() { None } else { self.decode() }
    }

    fn decode(&self) -> Option<SocketAddr> {
        if let Ok(bytes) = <[u8; V4]>::try_from(&self.0[..]) {
            let [a, b, c, d, port @ ..] = bytes;
            return Some((Ipv4Addr::new(a, b, c, d), u16::from_ne_bytes(port)).into());
        }
        let (ip, rest) = self.0.split_first_chunk::<16>()?;
        let (port, zone) = rest.split_first_chunk::<2>()?;
        let zone = u32::from_ne_bytes(zone.try_into().ok()?);
        let port = u16::from_ne_bytes(*port);
        // Without the flow label, which does not say which address of this machine it is.
        Some(SocketAddrV6::new(Ipv6Addr::from(*ip), port, 0, zone).into())
    }
}

/// Calls `copy` with the bytes of an address.
fn with_bytes(addr: SocketAddr, copy: impl FnOnce(&[u8]) -> Buffer) -> Buffer {
    let mut bytes = [0; V6];
    // In the order of this machine: the bytes never leave the program.
    let port = addr.port().to_ne_bytes();
    match addr {
        SocketAddr::V4(v4) => {
            bytes[..4].copy_from_slice(&v4.ip().octets());
            bytes[4..V4].copy_from_slice(&port);
            copy(&bytes[..V4])
        }
        SocketAddr::V6(v6) => {
            bytes[..16].copy_from_slice(&v6.ip().octets());
            bytes[16..18].copy_from_slice(&port);
            bytes[18..].copy_from_slice(&v6.scope_id().to_ne_bytes());
            copy(&bytes)
        }
    }
}

impl From<SocketAddr> for LocalAddr {
    fn from(addr: SocketAddr) -> Self {
        Self(with_bytes(addr, |bytes| Buffer::from(bytes)))
    }
}

impl fmt::Debug for LocalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn address_comes_out_as_it_went_in() {
        assert_eq!(LocalAddr::default().get(), None);
        let pool = BufferPool::new();
        for text in [
            "0.0.0.0:0",
            "127.0.0.2:53",
            "255.255.255.255:65535",
            "[::]:0",
            "[::1]:53",
        ] {
            let addr: SocketAddr = text.parse().expect("an address");
            assert_eq!(LocalAddr::from(addr).get(), Some(addr));
            assert_eq!(LocalAddr::pooled(addr, &pool).get(), Some(addr));
        }
        let scoped = SocketAddrV6::new("fe80::1".parse().expect("an address"), 9, 0, 7).into();
        assert_eq!(LocalAddr::from(scoped).get(), Some(scoped));
        assert_eq!(pool.outstanding(), 0, "every buffer is back");
    }
}
