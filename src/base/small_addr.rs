//! A socket address in 16 bytes, for what is kept for each connection: IPv4 in place, IPv6 boxed.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// See the module.
#[derive(Debug)]
pub(crate) enum SmallAddr {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl SmallAddr {
    /// The address of what has none.
    pub(crate) const UNSPECIFIED: Self = Self::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

    pub(crate) fn get(&self) -> SocketAddr {
        match self {
            Self::V4(addr) => SocketAddr::V4(*addr),
            Self::V6(addr) => SocketAddr::V6(**addr),
        }
    }
}

impl From<SocketAddr> for SmallAddr {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => Self::V4(addr),
            SocketAddr::V6(addr) => Self::V6(Box::new(addr)),
        }
    }
}
