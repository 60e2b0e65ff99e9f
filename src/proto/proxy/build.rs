//! The header that a client connection sends, for a server that expects one.

use std::net::{IpAddr, SocketAddr};

use super::{CRC32C, FIXED, MAX_HEADER, SIGNATURE, TLV_HEAD, crc32c};

/// The most bytes of values: beside them a header has IPv6 addresses and a checksum.
const MAX_TLVS: usize = MAX_HEADER - FIXED - 36 - TLV_HEAD - 4;

/// A header of the PROXY protocol for a connection that this side opens: it says for whom, and is the first thing that
/// the server gets, before a TLS handshake. See [`TcpConnectionOptions`](crate::TcpConnectionOptions).
///
/// ```
/// use longshore::{ProxyHeader, TcpConnectionOptions};
///
/// let client = "192.0.2.7:56324".parse().unwrap();
/// let asked = "192.0.2.1:443".parse().unwrap();
/// // Version 2, with the name that the client asked for (TLS SNI).
/// let header = ProxyHeader::v2(client, asked).with_value(0x02, *b"example.com");
/// let options = TcpConnectionOptions::from("10.0.0.5:7000").with_proxy_header(header);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    is_text: bool,
    addresses: Option<(SocketAddr, SocketAddr)>,
    tlvs: Vec<u8>,
    /// A value had no place in `tlvs`.
    is_too_long: bool,
    has_checksum: bool,
}

impl ProxyHeader {
    /// A header of version 1, a line of text: the client's address, and the one that it connected to. If only one of
    /// them is IPv4 both are written as IPv6.
    ///
    /// ```
    /// use longshore::ProxyHeader;
    ///
    /// let source = "192.168.0.1:56324".parse().unwrap();
    /// let destination = "192.168.0.11:443".parse().unwrap();
    /// assert_eq!(
    ///     ProxyHeader::v1(source, destination).to_bytes(),
    ///     b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    /// );
    /// ```
    #[must_use]
    pub fn v1(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            is_text: true,
            ..Self::v2(source, destination)
        }
    }

    /// A header of version 2, which is binary. The addresses are those of [`ProxyHeader::v1`].
    ///
    /// ```
    /// let any = "127.0.0.1:1".parse().unwrap();
    /// assert_eq!(longshore::ProxyHeader::v2(any, any).to_bytes().len(), 28);
    /// ```
    #[must_use]
    pub fn v2(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            addresses: Some((source, destination)),
            ..Self::local()
        }
    }

    /// A header of version 2 for a connection that this side opens for itself, as a health check does: the server takes
    /// the addresses of the socket.
    ///
    /// ```
    /// assert_eq!(longshore::ProxyHeader::local().to_bytes().len(), 16);
    /// ```
    #[must_use]
    pub fn local() -> Self {
        Self {
            is_text: false,
            addresses: None,
            tlvs: Vec::new(),
            is_too_long: false,
            has_checksum: false,
        }
    }

    /// Adds a value, of a kind that the specification has (section 2.2) or one of your own from 0xE0 to 0xEF. Version 1
    /// has no place for it, and neither has [`ProxyHeader::local`]: the connection's options are refused then. They are
    /// also refused if the header would be longer than 4,096 bytes, and [`to_bytes`](Self::to_bytes) is without this
    /// value.
    ///
    /// ```
    /// use longshore::ProxyHeader;
    ///
    /// let any = "127.0.0.1:1".parse().unwrap();
    /// let header = ProxyHeader::v2(any, any).with_value(0xE0, [1, 2]);
    /// assert!(header.to_bytes().ends_with(&[0xE0, 0, 2, 1, 2]));
    /// ```
    #[must_use]
    pub fn with_value(mut self, kind: u8, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        match u16::try_from(value.len()) {
            Ok(length) if self.tlvs.len() + TLV_HEAD + value.len() <= MAX_TLVS => {
                self.tlvs.push(kind);
                self.tlvs.extend_from_slice(&length.to_be_bytes());
                self.tlvs.extend_from_slice(value);
            }
            // Its length would not be the one that the header says.
            _ => self.is_too_long = true,
        }
        self
    }

    /// Adds a checksum, CRC-32C, in version 2.
    ///
    /// ```
    /// use longshore::ProxyHeader;
    ///
    /// let any = "127.0.0.1:1".parse().unwrap();
    /// assert_eq!(ProxyHeader::v2(any, any).with_checksum().to_bytes().len(), 28 + 7);
    /// ```
    #[must_use]
    pub fn with_checksum(mut self) -> Self {
        self.has_checksum = true;
        self
    }

    /// The bytes of the header.
    ///
    /// ```
    /// let header = longshore::ProxyHeader::local();
    /// assert!(header.to_bytes().starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.is_text {
            self.text()
        } else {
            self.binary()
        }
    }

    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let has_values = !self.tlvs.is_empty() || self.is_too_long || self.has_checksum;
        if has_values && (self.is_text || self.addresses.is_none()) {
            Some("has values, which only version 2 with addresses has a place for")
        } else if self.is_too_long {
            Some("is longer than 4,096 bytes")
        } else {
            None
        }
    }

    /// The addresses in one family.
    fn same_family(&self) -> Option<(SocketAddr, SocketAddr)> {
        let (source, destination) = self.addresses?;
        let mapped = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => SocketAddr::from((ip.to_ipv6_mapped(), address.port())),
            IpAddr::V6(_) => address,
        };
        Some(if source.is_ipv4() == destination.is_ipv4() {
            (source, destination)
        } else {
            // A header has one family for both addresses. IPv4 has a form in IPv6 (RFC 4291, 2.5.5.2); the reverse does
            // not exist.
            (mapped(source), mapped(destination))
        })
    }

    fn text(&self) -> Vec<u8> {
        let Some((source, destination)) = self.same_family() else {
            return b"PROXY UNKNOWN\r\n".to_vec();
        };
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (from, to) = (source.ip(), destination.ip());
        let (from_port, to_port) = (source.port(), destination.port());
        format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
    }

    fn binary(&self) -> Vec<u8> {
        let mut block = Vec::new();
        let family = match self.same_family() {
            None => 0x00,
            Some((source, destination)) => {
                for address in [source, destination] {
                    match address.ip() {
                        IpAddr::V4(ip) => block.extend_from_slice(&ip.octets()),
                        IpAddr::V6(ip) => block.extend_from_slice(&ip.octets()),
                    }
                }
                block.extend_from_slice(&source.port().to_be_bytes());
                block.extend_from_slice(&destination.port().to_be_bytes());
                if source.is_ipv4() { 0x11 } else { 0x21 }
            }
        };
        block.extend_from_slice(&self.tlvs);
        if self.has_checksum {
            block.extend_from_slice(&[CRC32C, 0, 4, 0, 0, 0, 0]);
        }
        // The version in the upper four bits, and PROXY or LOCAL in the lower ones (section 2.2).
        let command = if self.addresses.is_some() { 0x21 } else { 0x20 };
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        let mut header = SIGNATURE.to_vec();
        header.extend_from_slice(&[command, family]);
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&block);
        if self.has_checksum {
            // The checksum is the one of the whole header with zeros in its place (section 2.2), and its value was
            // added last.
            let value = header.len() - 4;
            let checksum = crc32c(&header, value..header.len());
            header.truncate(value);
            header.extend_from_slice(&checksum.to_be_bytes());
        }
        header
    }
}
