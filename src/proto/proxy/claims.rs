//! What is claimed of the parser for any bytes; the fuzzer and the tests check it.
//!
//! A script is bytes. The first one chooses: the rest is a header as it comes, or the addresses and values of one that
//! is built, damaged at one place or not, with bytes of the connection behind it.

use std::net::SocketAddr;

use super::{MAX_HEADER, ProxyError, ProxyHeader, parse};

/// Takes bytes off a script; zeros follow its end.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let known = N.min(self.0.len());
        taken[..known].copy_from_slice(&self.0[..known]);
        self.0 = &self.0[known..];
        taken
    }

    fn address(&mut self, is_v4: bool) -> SocketAddr {
        let port = u16::from_be_bytes(self.take());
        if is_v4 {
            SocketAddr::from((self.take::<4>(), port))
        } else {
            SocketAddr::from((self.take::<16>(), port))
        }
    }
}

/// Runs one script.
pub(crate) fn fuzz_proxy(script: &[u8]) {
    let mut script = Script(script);
    let [choice] = script.take();
    if choice & 1 == 0 {
        check_cuts(script.0);
        return;
    }
    let is_v4 = choice & 2 == 0;
    let addresses = (script.address(is_v4), script.address(is_v4));
    let header = if choice & 4 == 0 {
        ProxyHeader::v1(addresses.0, addresses.1)
    } else {
        let [kind, length] = script.take();
        let value = vec![kind; usize::from(length)];
        let header = ProxyHeader::v2(addresses.0, addresses.1);
        // Any kind but that of a checksum, which would be a wrong one.
        let header = header.with_value(if kind == 3 { 4 } else { kind }, value);
        if choice & 8 == 0 {
            header
        } else {
            header.with_checksum()
        }
    };
    assert_eq!(header.problem(), None);
    let mut bytes = header.to_bytes();
    let (length, parsed) = parse(&bytes).expect("valid").expect("complete");
    assert_eq!((length, parsed.addresses), (bytes.len(), Some(addresses)));
    if choice & 16 != 0 {
        let [at, byte] = script.take();
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= byte;
    }
    bytes.extend_from_slice(script.0);
    check_cuts(&bytes);
}

/// The outcome does not depend on how the bytes are cut: a prefix has none yet, or that of all the bytes; and a header
/// is known with its last byte.
pub(super) fn check_cuts(bytes: &[u8]) {
    let whole = parse(bytes);
    let known = match &whole {
        Ok(Some((length, _))) => length + 2,
        _ => MAX_HEADER + 1,
    };
    for cut in 0..=bytes.len().min(known) {
        let part = parse(&bytes[..cut]);
        match (&whole, &part) {
            (Ok(Some((length, _))), _) if cut < *length => assert_eq!(part, Ok(None), "{cut}"),
            (Ok(Some((length, _))), _) => {
                assert!(*length <= MAX_HEADER);
                assert_eq!(part, whole, "{cut}");
            }
            (Err(_), Ok(None)) => {}
            _ => assert_eq!(part, whole, "{cut}"),
        }
    }
    // Nothing is waited for beyond the longest header.
    assert!(bytes.len() < MAX_HEADER || whole != Ok(None));
    if let Err(ProxyError::TooShort | ProxyError::Value) = whole {
        assert!(bytes.len() >= 16);
    }
}
