//! What a header of the PROXY protocol adds to a connection.

use std::fmt;
use std::net::SocketAddr;

/// A proxy has passed the connection on, and has said for whom: the addresses of the
/// [`MessageTcpConnect`](crate::MessageTcpConnect) are those of its header, and these are those of the socket.
///
/// See [`ProxyProtocol`](crate::ProxyProtocol).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxied {
    /// The proxy's address: the peer of the socket. For a Unix domain socket the unspecified address, port 0.
    pub proxy_addr: SocketAddr,
    /// This side's address of the socket.
    pub local_addr: SocketAddr,
    values: Box<[u8]>,
}

impl Proxied {
    /// `values` are well formed: kind, length in two bytes, value, again and again.
    pub(crate) fn new(proxy_addr: SocketAddr, local_addr: SocketAddr, values: Box<[u8]>) -> Self {
        Self {
            proxy_addr,
            local_addr,
            values,
        }
    }

    /// The values that a header of version 2 adds, with their kinds, in the order of the header: for instance 0x02, the
    /// name that the client asked for, or 0x05, an identifier of the connection (section 2.2 of the specification).
    ///
    /// ```
    /// fn asked_for(proxied: &longshore::Proxied) -> Option<&[u8]> {
    ///     let mut values = proxied.values();
    ///     values.find_map(|(kind, value)| (kind == 0x02).then_some(value))
    /// }
    /// ```
    pub fn values(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = &*self.values;
        std::iter::from_fn(move || {
            let ([kind, high, low], behind) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (value, next) = behind.split_at_checked(length)?;
            rest = next;
            Some((*kind, value))
        })
    }
}

impl fmt::Debug for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxied")
            .field("proxy_addr", &self.proxy_addr)
            .field("local_addr", &self.local_addr)
            .field("values", &self.values().count())
            .finish()
    }
}
