//! The specification's own examples, every cut, and what is no header.

use super::claims::{check_cuts, fuzz_proxy};
use super::{Header, MAX_HEADER, ProxyError, ProxyHeader, parse};

fn addresses(source: &str, destination: &str) -> Header {
    let address = |text: &str| text.parse().expect("an address");
    Header {
        addresses: Some((address(source), address(destination))),
        tlvs: Box::default(),
    }
}

fn valid(bytes: &[u8]) -> (usize, Header) {
    check_cuts(bytes);
    parse(bytes).expect("valid").expect("complete")
}

fn wrong(bytes: &[u8]) -> ProxyError {
    check_cuts(bytes);
    parse(bytes).expect_err("wrong")
}

fn unknown() -> Header {
    Header {
        addresses: None,
        tlvs: Box::default(),
    }
}

/// A header of version 2 by hand.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&(block.len() as u16).to_be_bytes());
    bytes.extend_from_slice(block);
    bytes
}

/// 192.168.0.1:56324 to 192.168.0.11:443.
const V4_BLOCK: [u8; 12] = [192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb];

#[test]
fn examples_of_the_specification_are_read_as_it_says() {
    let line = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    let all_ones = addresses("255.255.255.255:65535", "255.255.255.255:65535");
    assert_eq!(valid(line), (56, all_ones));

    let v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY TCP6 {v6} {v6} 65535 65535\r\n");
    let end = format!("[{v6}]:65535");
    assert_eq!(valid(line.as_bytes()), (104, addresses(&end, &end)));

    assert_eq!(valid(b"PROXY UNKNOWN\r\n"), (15, unknown()));
    // The worst case of the specification, 107 bytes.
    let line = format!("PROXY UNKNOWN {v6} {v6} 65535 65535\r\n");
    assert_eq!(valid(line.as_bytes()), (107, unknown()));

    let request = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n\
        GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n";
    let (length, header) = valid(request);
    assert_eq!(header, addresses("192.168.0.1:56324", "192.168.0.11:443"));
    assert!(request[length..].starts_with(b"GET / HTTP/1.1"));
}

#[test]
fn version_2_is_read_with_its_values() {
    let expected = addresses("192.168.0.1:56324", "192.168.0.11:443");
    assert_eq!(valid(&v2(0x21, 0x11, &V4_BLOCK)), (28, expected.clone()));
    let mut block = V4_BLOCK.to_vec();
    block.extend_from_slice(&[2, 0, 3, b'a', b'.', b'b', 4, 0, 0]);
    let (length, header) = valid(&v2(0x21, 0x11, &block));
    assert_eq!((length, header.addresses), (37, expected.addresses));
    assert_eq!(*header.tlvs, block[12..]);

    let mut block = [0; 36];
    (block[15], block[31], block[33], block[35]) = (1, 2, 3, 4);
    let expected = addresses("[::1]:3", "[::2]:4");
    assert_eq!(valid(&v2(0x21, 0x21, &block)), (52, expected));
}

#[test]
fn proxy_that_speaks_for_itself_leaves_the_addresses_of_the_socket() {
    assert_eq!(valid(&v2(0x20, 0x00, &[])), (16, unknown()));
    // Of LOCAL the family and the block are ignored.
    assert_eq!(valid(&v2(0x20, 0xff, &[1, 2, 3])), (19, unknown()));
    assert_eq!(valid(&v2(0x21, 0x00, &[1, 2, 3])), (19, unknown()));
    // Valid, and of no use to a stream of the internet.
    for (family, size) in [(0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
        let bytes = v2(0x21, family, &vec![7; size]);
        assert_eq!(valid(&bytes), (16 + size, unknown()), "{family:#x}");
    }
}

#[test]
fn what_is_no_header_of_version_1_is_refused() {
    for line in [
        "PROXY\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
    ] {
        let problem = wrong(line.as_bytes());
        let is_known = matches!(problem, ProxyError::Malformed | ProxyError::Missing);
        assert!(is_known, "{line:?}: {problem}");
    }
    assert_eq!(wrong(b"PROXY TCP4 \xff\r\n"), ProxyError::Malformed);
    assert_eq!(wrong(b"GET / HTTP/1.1\r\n"), ProxyError::Missing);
    assert_eq!(wrong(b"\x16\x03\x01"), ProxyError::Missing);
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat();
    assert_eq!(wrong(&endless), ProxyError::TooLong);
    assert_eq!(parse(&endless[..106]), Ok(None));
}

#[test]
fn what_is_no_header_of_version_2_is_refused() {
    assert_eq!(wrong(&v2(0x11, 0x11, &V4_BLOCK)), ProxyError::Version);
    assert_eq!(wrong(&v2(0x22, 0x11, &V4_BLOCK)), ProxyError::Version);
    assert_eq!(wrong(&v2(0x21, 0x13, &V4_BLOCK)), ProxyError::Family);
    assert_eq!(wrong(&v2(0x21, 0x41, &V4_BLOCK)), ProxyError::Family);
    assert_eq!(wrong(&v2(0x21, 0x11, &V4_BLOCK[1..])), ProxyError::TooShort);
    assert_eq!(wrong(&v2(0x21, 0x21, &V4_BLOCK)), ProxyError::TooShort);
    let with = |values: &[u8]| v2(0x21, 0x11, &[&V4_BLOCK, values].concat());
    assert_eq!(wrong(&with(&[4])), ProxyError::Value);
    assert_eq!(wrong(&with(&[4, 0, 1])), ProxyError::Value);
    assert_eq!(wrong(&with(&[4, 0xff, 0xff])), ProxyError::Value);
    assert_eq!(wrong(&with(&[3, 0, 2, 0, 0])), ProxyError::Value);
    assert_eq!(wrong(&with(&[3, 0, 4, 0, 0, 0, 0])), ProxyError::Checksum);
    // It is known from the length, before the bytes have come.
    let long = v2(0x21, 0x11, &[0; MAX_HEADER - 15]);
    assert_eq!(parse(&long[..16]), Err(ProxyError::TooLong));
}

#[test]
fn checksum_is_that_of_castagnoli() {
    // The check value of the algorithm: RFC 3720 appendix B.4 has others.
    assert_eq!(super::crc32c(b"123456789", 0..0), 0xe306_9283);
    let any = "127.0.0.1:1".parse().expect("an address");
    let bytes = ProxyHeader::v2(any, any).with_checksum().to_bytes();
    assert_eq!(valid(&bytes).0, bytes.len());
    // But for the byte that says that the value is a checksum.
    for at in (16..bytes.len()).filter(|at| *at != 28) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(parse(&damaged).is_err(), "byte {at}");
    }
}

#[test]
fn built_headers_are_read_again() {
    let v4 = "192.0.2.1:80".parse().expect("an address");
    let v6 = "[2001:db8::1]:443".parse().expect("an address");
    let mapped = "[::ffff:192.0.2.1]:80".parse().expect("an address");
    for header in [ProxyHeader::v1(v4, v6), ProxyHeader::v2(v4, v6)] {
        let (_, read) = valid(&header.to_bytes());
        assert_eq!(read.addresses, Some((mapped, v6)));
    }
    let text = ProxyHeader::v1(v6, v6).to_bytes();
    let expected = b"PROXY TCP6 2001:db8::1 2001:db8::1 443 443\r\n";
    assert_eq!(text, expected);
    assert_eq!(valid(&ProxyHeader::local().to_bytes()), (16, unknown()));
    let too_long = ProxyHeader::v2(v4, v4).with_value(0xe0, vec![0; 4096]);
    assert!(too_long.problem().is_some());
    // What is refused is a header all the same, of the length that it says.
    let without = ProxyHeader::v2(v4, v4).to_bytes();
    let too_long = ProxyHeader::v2(v4, v4).with_value(0xe0, vec![0; 70_000]);
    assert!(too_long.problem().is_some());
    assert_eq!(too_long.to_bytes(), without);
    assert!(
        ProxyHeader::v1(v4, v4)
            .with_value(4, "")
            .problem()
            .is_some()
    );
    assert!(ProxyHeader::local().with_checksum().problem().is_some());
}

#[test]
fn made_up_headers_keep_the_claims() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let script: Vec<u8> = (0..random.usize(0..200)).map(|_| random.u8(..)).collect();
        fuzz_proxy(&script);
    }
}
