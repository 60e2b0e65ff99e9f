//! The PROXY protocol, versions 1 and 2: the header with which a proxy says whose connection it passes on, parsed and
//! built as the specification of HAProxy has it (proxy-protocol.txt, "The PROXY protocol, versions 1 & 2").
//!
//! ```text
//!   bytes of the peer ─▶ parse ─┬─ more bytes are needed
//!                               ├─ a header and its length: what is behind it belongs to the connection
//!                               └─ an error: the connection is closed
//! ```
//!
//! The parser is a function of the bytes that have come so far: it keeps nothing, and its answer for a complete header
//! does not depend on how the bytes were cut. It looks at [`MAX_HEADER`] bytes at most. A checksum is verified if there
//! is one.
//!
//! What it does not do: it knows nothing of trust, time and sockets; the listener has these.

mod build;

pub use self::build::ProxyHeader;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is accepted, in bytes. The addresses take 232 at most; the rest is for what the proxy adds,
/// as the certificate of its client.
pub(crate) const MAX_HEADER: usize = 4096;
/// The longest header of version 1, with its CRLF (section 2.1).
const MAX_V1: usize = 107;
/// What begins a header of version 1.
const PREFIX: &[u8] = b"PROXY ";
/// What begins a header of version 2 (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes before the addresses of version 2: signature, version and command, family and protocol, length.
const FIXED: usize = 16;
/// Kind and length of an added value.
const TLV_HEAD: usize = 3;
/// The kind of the added value that is a checksum, CRC-32C of the header with zeros in its place (section 2.2.3).
const CRC32C: u8 = 0x03;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Source and destination of the connection that the proxy has accepted. `None`: the proxy speaks for itself
    /// (LOCAL), or does not know them, or they are of a family without ports; the addresses of the socket hold.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// Added values of version 2, well formed.
    pub(crate) tlvs: Box<[u8]>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the first bytes are no PROXY header")]
    Missing,
    #[error("a PROXY header is longer than its maximum")]
    TooLong,
    #[error("a PROXY header of version 1 is malformed")]
    Malformed,
    #[error("a PROXY header has an unknown version or command")]
    Version,
    #[error("a PROXY header has an unknown family or protocol")]
    Family,
    #[error("a PROXY header is shorter than its addresses")]
    TooShort,
    #[error("a PROXY header has a value that does not end with it")]
    Value,
    #[error("a PROXY header has a wrong checksum")]
    Checksum,
}

/// Parses the header that `bytes` begin with; returns it with its length in bytes, or `None` if more bytes are needed.
///
/// # Errors
///
/// The bytes cannot become a valid header, whatever follows.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(usize, Header)>, ProxyError> {
    let begins_as = |start: &[u8]| {
        let known = bytes.len().min(start.len());
        bytes[..known] == start[..known]
    };
    if begins_as(SIGNATURE) {
        parse_v2(bytes)
    } else if begins_as(PREFIX) {
        parse_v1(bytes)
    } else {
        // Not taken for a connection without a header: the receiver must not guess (section 2), or a client could leave
        // it out and pass for the proxy itself.
        Err(ProxyError::Missing)
    }
}

// ---- Version 1 ----

fn parse_v1(bytes: &[u8]) -> Result<Option<(usize, Header)>, ProxyError> {
    // No more is looked at: a peer that sends no line break must not make the search long.
    let seen = &bytes[..bytes.len().min(MAX_V1)];
    let end = seen.windows(2).position(|pair| pair == b"\r\n");
    let is_early = cfg!(mutant) && end.is_none() && seen.ends_with(b"\r");
    let Some(end) = end.or_else(|| is_early.then(|| seen.len() - 1)) else {
        // A line may still end, or can no longer end within its maximum.
        return if bytes.len() < MAX_V1 {
            Ok(None)
        } else {
            Err(ProxyError::TooLong)
        };
    };
    // The prefix has no line break, so the line has it.
    let line = std::str::from_utf8(&seen[PREFIX.len()..end]).map_err(|_| ProxyError::Malformed)?;
    let header = Header {
        addresses: addresses_v1(line)?,
        tlvs: Box::default(),
    };
    Ok(Some((end + 2, header)))
}

/// The part behind `PROXY `: family, source, destination, and the ports of both.
fn addresses_v1(line: &str) -> Result<Option<(SocketAddr, SocketAddr)>, ProxyError> {
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // What follows is to be ignored.
        return Ok(None);
    }
    let mut next = || words.next().ok_or(ProxyError::Malformed);
    let (source, destination) = (ip_v1(family, next()?)?, ip_v1(family, next()?)?);
    let (source_port, destination_port) = (port_v1(next()?)?, port_v1(next()?)?);
    if words.next().is_some() {
        return Err(ProxyError::Malformed);
    }
    Ok(Some((
        SocketAddr::new(source, source_port),
        SocketAddr::new(destination, destination_port),
    )))
}

fn ip_v1(family: &str, text: &str) -> Result<IpAddr, ProxyError> {
    let ip = match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6),
        _ => return Err(ProxyError::Malformed),
    };
    ip.map_err(|_| ProxyError::Malformed)
}

/// Decimal, without leading zeros (section 2.1).
fn port_v1(text: &str) -> Result<u16, ProxyError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    // `parse` would take a sign.
    if !is_number || (text.len() > 1 && text.starts_with('0')) {
        return Err(ProxyError::Malformed);
    }
    text.parse().map_err(|_| ProxyError::Malformed)
}

// ---- Version 2 ----

/// What the addresses of a family are, by its byte (section 2.2).
enum Family {
    /// Not specified: the whole block is to be ignored.
    Unspecified,
    V4,
    V6,
    /// Valid, of this many bytes, and without addresses that a socket of the internet has.
    Other(usize),
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(usize, Header)>, ProxyError> {
    let is_local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(ProxyError::Version),
    };
    let [_, _, _, _, _, _, _, _, _, _, _, _, _, family, high, low, ..] = *bytes else {
        return Ok(None);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    // The length is known early, so that a header that is too long is not waited for.
    if length > MAX_HEADER {
        return Err(ProxyError::TooLong);
    }
    let Some(header) = bytes.get(..length) else {
        return Ok(None);
    };
    let (addresses, tlvs) = if is_local {
        // The receiver must ignore the family and the block.
        (None, &[][..])
    } else {
        addresses_v2(family, &header[FIXED..])?
    };
    check_values(header, length - tlvs.len())?;
    let tlvs = Box::from(tlvs);
    Ok(Some((length, Header { addresses, tlvs })))
}

type Addresses<'a> = (Option<(SocketAddr, SocketAddr)>, &'a [u8]);

/// The addresses of the block, and what follows them.
fn addresses_v2(family: u8, block: &[u8]) -> Result<Addresses<'_>, ProxyError> {
    // The high half is the family, the low half says stream or datagram. A receiver that does not take datagrams or
    // Unix domain sockets takes them as unspecified.
    let family = match family {
        0x00 => Family::Unspecified,
        0x11 => Family::V4,
        0x21 => Family::V6,
        0x12 => Family::Other(12),
        0x22 => Family::Other(36),
        0x31 | 0x32 => Family::Other(216),
        _ => return Err(ProxyError::Family),
    };
    match family {
        Family::Unspecified => Ok((None, &[])),
        Family::V4 => {
            let (fields, rest) = block.split_at_checked(12).ok_or(ProxyError::TooShort)?;
            Ok((socket_addresses::<4>(fields), rest))
        }
        Family::V6 => {
            let (fields, rest) = block.split_at_checked(36).ok_or(ProxyError::TooShort)?;
            Ok((socket_addresses::<16>(fields), rest))
        }
        Family::Other(size) => {
            let (_, rest) = block.split_at_checked(size).ok_or(ProxyError::TooShort)?;
            Ok((None, rest))
        }
    }
}

/// Two addresses of `N` bytes, then two ports.
fn socket_addresses<const N: usize>(fields: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = fields.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    Some((
        SocketAddr::from((*source, u16::from_be_bytes(*source_port))),
        SocketAddr::from((*destination, u16::from_be_bytes(*destination_port))),
    ))
}

/// Checks that the values behind the addresses end with the header, and the checksum if they have one.
fn check_values(header: &[u8], start: usize) -> Result<(), ProxyError> {
    let mut at = start;
    // Each value is checked although its meaning is not known: what is passed on must be well formed.
    while at < header.len() {
        let Some([kind, high, low]) = header[at..].first_chunk::<TLV_HEAD>() else {
            return Err(ProxyError::Value);
        };
        let value = at + TLV_HEAD;
        at = value + usize::from(u16::from_be_bytes([*high, *low]));
        let found = header.get(value..at).ok_or(ProxyError::Value)?;
        if *kind == CRC32C {
            let expected = <[u8; 4]>::try_from(found).map_err(|_| ProxyError::Value)?;
            if crc32c(header, value..at) != u32::from_be_bytes(expected) {
                return Err(ProxyError::Checksum);
            }
        }
    }
    Ok(())
}

/// CRC-32C (RFC 4960 appendix B) of a header, with zeros in the place of the checksum. A header is short and comes
/// once, so there is no table.
fn crc32c(header: &[u8], checksum: std::ops::Range<usize>) -> u32 {
    let mut crc = u32::MAX;
    for (at, byte) in header.iter().enumerate() {
        let byte = if checksum.contains(&at) { 0 } else { *byte };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (0x82f6_3b78 * low);
        }
    }
    !crc
}

#[cfg(any(all(test, not(loom)), fuzzing))]
pub(crate) mod claims;
#[cfg(all(test, not(loom)))]
mod tests;
