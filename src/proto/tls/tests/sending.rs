use std::io::{self, IoSlice};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ServerConfig, SupportedCipherSuite, Tls12CipherSuite};

use super::super::pair::Pair;
use super::{NAME, Site, VERSIONS, data, send};
use crate::tls::TlsError;
use crate::tls::testing::provider;

#[test]
fn nothing_is_taken_before_the_handshake_is_done() {
    let site = Site::new();
    for version in VERSIONS {
        let mut pair = site.pair(version);
        assert_eq!(pair.client.write(b"too early").unwrap(), 0);
        assert_eq!(pair.server.write(b"too early").unwrap(), 0);
        pair.run_until_quiet();
        assert_eq!((pair.client.plain.len(), pair.server.plain.len()), (0, 0));
    }
}

#[test]
fn writing_stops_at_the_limit_and_goes_on_after_transmitting() {
    let site = Site::new();
    for version in VERSIONS {
        let mut pair = site.open_pair(version);
        let plain = data(300_000);
        let first = pair.client.write(&plain).unwrap();
        assert_eq!(first, 64 * 1024);
        assert_eq!(pair.client.write(&plain[first..]).unwrap(), 0);
        let buffered = pair.client.tls.buffered_ciphertext();
        assert!(
            (first..first + 4 * 40).contains(&buffered),
            "{buffered} bytes of ciphertext for {first}"
        );
        assert_eq!(pair.client.transmit(1000), 1000);
        assert_eq!(pair.client.tls.buffered_ciphertext(), buffered - 1000);
        assert_eq!(pair.client.transmit(usize::MAX), buffered - 1000);
        assert_eq!(pair.client.tls.buffered_ciphertext(), 0);
        send(&mut pair.client, &plain[first..]);
        pair.run_until_quiet();
        assert_eq!(pair.server.plain, plain);
    }
}

#[test]
fn small_pieces_share_records() {
    let mut pair = Site::new().open_pair(VERSIONS[1]);
    let plain = data(64 * 200);
    let slices: Vec<_> = plain.chunks(64).map(IoSlice::new).collect();
    assert_eq!(pair.client.tls.write(&slices).unwrap(), plain.len());
    let buffered = pair.client.tls.buffered_ciphertext();
    assert_eq!(
        buffered,
        plain.len() + 22,
        "one record header, one type byte, one tag"
    );
    pair.run_until_quiet();
    assert_eq!(pair.server.plain, plain);
}

#[test]
fn writing_nothing_sends_nothing() {
    let mut pair = Site::new().open_pair(VERSIONS[1]);
    assert_eq!(pair.client.tls.write(&[]).unwrap(), 0);
    assert_eq!(pair.client.write(b"").unwrap(), 0);
    assert!(!pair.client.tls.wants_transmit());
}

#[test]
fn a_socket_that_takes_one_byte_at_a_time_gets_everything() {
    let mut pair = Site::new().open_pair(VERSIONS[1]);
    pair.client.write(&data(3000)).unwrap();
    while pair.client.tls.wants_transmit() {
        assert_eq!(pair.client.transmit(1), 1);
    }
    pair.run_until_quiet();
    assert_eq!(pair.server.plain, data(3000));
}

#[test]
fn a_full_socket_is_not_an_error_and_an_interrupted_one_is_tried_again() {
    let mut pair = Site::new().open_pair(VERSIONS[1]);
    pair.client.write(b"patience").unwrap();
    let tls = &mut pair.client.tls;
    assert_eq!(
        tls.transmit(&mut |_| Err(io::ErrorKind::WouldBlock.into()))
            .unwrap(),
        0
    );
    assert!(tls.wants_transmit());
    let reset = tls.transmit(&mut |_| Err(io::ErrorKind::ConnectionReset.into()));
    assert_eq!(reset.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let mut interrupted = false;
    let mut wire = Vec::new();
    tls.transmit(&mut |slices| {
        if !std::mem::replace(&mut interrupted, true) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        slices
            .iter()
            .for_each(|slice| wire.extend_from_slice(slice));
        Ok(wire.len())
    })
    .unwrap();
    pair.server.feed(&wire).unwrap();
    assert_eq!(pair.server.plain, b"patience");
}

#[test]
fn a_socket_that_claims_too_much_is_an_error() {
    let mut pair = Site::new().open_pair(VERSIONS[1]);
    pair.client.write(b"short").unwrap();
    assert!(pair.client.tls.transmit(&mut |_| Ok(1_000_000)).is_err());
}

#[test]
fn close_notify_is_sent_once_and_nothing_after_it() {
    for version in VERSIONS {
        let mut pair = Site::new().open_pair(version);
        pair.client.tls.close_notify();
        let sent = pair.client.tls.buffered_ciphertext();
        pair.client.tls.close_notify();
        assert_eq!(pair.client.tls.buffered_ciphertext(), sent);
        assert!(matches!(
            pair.client.write(b"more"),
            Err(TlsError::WriteAfterClose)
        ));
        pair.run_until_quiet();
        assert!(pair.server.close_notify && pair.server.plain.is_empty());
    }
}

#[test]
fn nothing_claims_a_clean_end_after_an_error() {
    for version in VERSIONS {
        let mut pair = Site::new().open_pair(version);
        pair.server.feed(b"this is not a record").unwrap_err();
        let alert = pair.server.tls.buffered_ciphertext();
        assert!(alert > 0);
        pair.server.tls.close_notify();
        assert_eq!(pair.server.tls.buffered_ciphertext(), alert);
        assert!(matches!(
            pair.server.write(b"more"),
            Err(TlsError::Protocol(_))
        ));
        pair.run_until_quiet();
        assert!(!pair.client.close_notify);
        assert!(matches!(pair.client.error, Some(TlsError::Refused { .. })));
    }
}

#[test]
fn broken_input_after_our_close_notify_is_an_error_and_no_panic() {
    for version in VERSIONS {
        let mut pair = Site::new().open_pair(version);
        pair.server.tls.close_notify();
        pair.server.feed(b"this is not a record").unwrap_err();
        pair.server.feed(b"and neither is this").unwrap_err();
        assert!(matches!(pair.server.error, Some(TlsError::Protocol(_))));
        pair.run_until_quiet();
    }
}

/// The provider, its TLS 1.2 suites limited to 100 records per key instead of 2^24.
fn tired_provider() -> Arc<CryptoProvider> {
    let mut tired = (*provider()).clone();
    for suite in &mut tired.cipher_suites {
        if let SupportedCipherSuite::Tls12(fresh) = *suite {
            let common = rustls::crypto::CipherSuiteCommon {
                confidentiality_limit: 100,
                hash_provider: fresh.common.hash_provider,
                ..fresh.common
            };
            *suite = SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common,
                ..*fresh
            })));
        }
    }
    Arc::new(tired)
}

#[test]
fn a_tls12_key_is_not_used_beyond_its_limit() {
    let site = Site::new();
    let client = ClientConfig::builder_with_provider(tired_provider())
        .with_protocol_versions(&[VERSIONS[0]])
        .unwrap()
        .with_root_certificates(site.authority.roots().store())
        .with_no_client_auth();
    let mut pair = Pair::new(&Arc::new(client), &site.server(), NAME);
    pair.run_until_quiet();
    let mut accepted = 0;
    let error = loop {
        match pair.client.write(b"x") {
            Ok(taken) => {
                assert_eq!(taken, 1);
                accepted += taken;
            }
            Err(error) => break error,
        }
        pair.run_until_quiet();
        assert!(accepted < 100, "rustls would have stopped sending by now");
    };
    assert!(matches!(error, TlsError::KeyExhausted));
    assert_eq!(
        pair.server.plain.len(),
        accepted,
        "what was accepted has arrived"
    );
    assert!(accepted > 50);
    pair.client.tls.close_notify();
    assert!(!pair.client.tls.wants_transmit(), "no clean end is claimed");
}

#[test]
fn records_are_counted_as_small_as_the_config_makes_them() {
    let site = Site::new();
    let mut client = ClientConfig::builder_with_provider(tired_provider())
        .with_protocol_versions(&[VERSIONS[0]])
        .unwrap()
        .with_root_certificates(site.authority.roots().store())
        .with_no_client_auth();
    client.max_fragment_size = Some(64);
    let mut pair = Pair::new(&Arc::new(client), &site.server(), NAME);
    pair.run_until_quiet();
    assert!(matches!(
        pair.client.write(&data(59 * 90)),
        Err(TlsError::KeyExhausted)
    ));
}

#[test]
fn a_small_fragment_size_of_a_given_config_works() {
    let site = Site::new();
    let mut server = ServerConfig::clone(&site.server());
    server.max_fragment_size = Some(64);
    let mut pair = Pair::new(&Arc::new(site.client(VERSIONS[1])), &Arc::new(server), NAME);
    pair.run_until_quiet();
    send(&mut pair.server, &data(100_000));
    pair.run_until_quiet();
    assert_eq!(pair.client.plain, data(100_000));
}
