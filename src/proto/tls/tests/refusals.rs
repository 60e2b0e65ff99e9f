use std::sync::Arc;

use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, Error, ServerConfig};

use super::super::pair::{End, Pair};
use super::super::{HANDSHAKE_LIMIT_BYTES, StreamEnd, Tls};
use super::{NAME, Site, VERSIONS, data, send};
use crate::tls::testing::{Authority, provider};
use crate::tls::{
    ClientAuth, ServerTls, TlsClientOptions, TlsError, TlsServerOptions, UnknownName,
};

/// Asserts that the client blames the certificate and that the server hears of it.
fn assert_certificate_refused(pair: &Pair, is_right: impl FnOnce(&CertificateError) -> bool) {
    match &pair.client.error {
        Some(TlsError::PeerCertificate(Error::InvalidCertificate(error))) => {
            assert!(is_right(error), "{error:?}")
        }
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(pair.server.error, Some(TlsError::Refused { .. })),
        "{:?}",
        pair.server.error
    );
    assert_eq!((pair.client.completed, pair.server.completed), (0, 0));
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let site = Site::new();
    for version in VERSIONS {
        let mut pair = Pair::new(&site.client(version).into(), &site.server(), "other.test");
        pair.run_until_quiet();
        assert_certificate_refused(&pair, |error| {
            matches!(
                error,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            )
        });
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let (site, other) = (Site::new(), Site::new());
    for version in VERSIONS {
        let mut pair = Pair::new(&other.client(version).into(), &site.server(), NAME);
        pair.run_until_quiet();
        assert_certificate_refused(&pair, |error| {
            matches!(error, CertificateError::UnknownIssuer)
        });
    }
}

#[test]
fn an_expired_certificate_is_served_and_refused_by_the_client() {
    let mut site = Site::new();
    site.certs = site.authority.issue_for_years(NAME, 2001, 2002).manager();
    let mut pair = site.pair(VERSIONS[1]);
    pair.run_until_quiet();
    assert_certificate_refused(&pair, |error| {
        matches!(
            error,
            CertificateError::Expired | CertificateError::ExpiredContext { .. }
        )
    });
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_refused() {
    let mut site = Site::new();
    site.certs = site.authority.issue_for_years(NAME, 3001, 3002).manager();
    let mut pair = site.pair(VERSIONS[1]);
    pair.run_until_quiet();
    assert_certificate_refused(&pair, |error| {
        matches!(
            error,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
        )
    });
}

#[test]
fn a_missing_client_certificate_is_refused_and_the_client_learns_it_late_in_tls13() {
    let site = Site::new();
    let auth = ClientAuth::Required(site.authority.roots());
    let server = site.server_with(TlsServerOptions::default().with_client_auth(auth));
    for (version, client_completed) in VERSIONS.into_iter().zip([0, 1]) {
        let mut pair = Pair::new(&site.client(version).into(), &server, NAME);
        pair.run_until_quiet();
        assert!(matches!(
            pair.server.error,
            Some(TlsError::PeerCertificate(Error::NoCertificatesPresented))
        ));
        assert_eq!(
            (pair.client.completed, pair.server.completed),
            (client_completed, 0)
        );
        let refused = pair.client.error.unwrap();
        assert!(matches!(refused, TlsError::Refused { .. }), "{refused:?}");
        if client_completed == 1 {
            assert_eq!(
                refused.to_string(),
                "the peer refused: alert CertificateRequired"
            );
            assert!(
                !pair.client.tls.is_handshaking(),
                "the session had been open"
            );
        }
    }
}

#[test]
fn a_client_certificate_of_an_unknown_authority_is_refused() {
    let site = Site::new();
    let stranger = Authority::new().issue("client.test");
    let auth = ClientAuth::Optional(site.authority.roots());
    let server = site.server_with(TlsServerOptions::default().with_client_auth(auth));
    for version in VERSIONS {
        let mut pair = Pair::new(
            &site.client_with(version, Some(&stranger)).into(),
            &server,
            NAME,
        );
        pair.run_until_quiet();
        assert!(
            matches!(pair.server.error, Some(TlsError::PeerCertificate(_))),
            "{:?}",
            pair.server.error
        );
    }
}

#[test]
fn no_application_protocol_in_common_is_refused() {
    let site = Site::new();
    let server = site.server_with(TlsServerOptions::default().with_alpn(["h2"]));
    for version in VERSIONS {
        let mut client = site.client(version);
        client.alpn_protocols = vec![b"smtp".to_vec()];
        let mut pair = Pair::new(&client.into(), &server, NAME);
        pair.run_until_quiet();
        assert!(matches!(
            pair.server.error,
            Some(TlsError::Incompatible(Error::NoApplicationProtocol))
        ));
        let alert = AlertDescription::NoApplicationProtocol;
        assert!(
            matches!(pair.client.error, Some(TlsError::Refused { alert: got }) if got == alert)
        );
    }
}

#[test]
fn an_unknown_server_name_is_refused_only_if_the_policy_says_so() {
    let site = Site::new();
    let try_name = |policy, name: &str| {
        site.certs.set_unknown_name(policy);
        let options = TlsClientOptions::default().with_insecure_skip_verify(true);
        let mut pair = Pair::new(&options.config().unwrap(), &site.server(), name);
        pair.run_until_quiet();
        pair.server.error
    };
    for name in ["stranger.test", NAME, "127.0.0.1"] {
        assert!(try_name(UnknownName::ServeDefault, name).is_none());
    }
    let refused = try_name(UnknownName::Refuse, "stranger.test").unwrap();
    assert_eq!(
        refused.to_string(),
        "no certificate for the server name stranger.test"
    );
    assert!(matches!(refused, TlsError::UnknownServerName { .. }));
    assert!(try_name(UnknownName::Refuse, NAME).is_none());
    assert!(try_name(UnknownName::Refuse, "127.0.0.1").is_none());
    let refused = try_name(UnknownName::RefuseAlsoMissing, "127.0.0.1").unwrap();
    assert_eq!(
        refused.to_string(),
        "no certificate for the server name (none given)"
    );
}

/// A fresh server, fed with this.
fn server_fed(site: &Site, input: &[u8]) -> End {
    let mut server = End::new(Tls::server(site.server()).unwrap());
    let _ = server.feed(input);
    server
}

#[test]
fn what_is_not_tls_is_named_so_and_answered_with_an_alert() {
    let site = Site::new();
    for input in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"hello there\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        &[0xff; 100],
    ] {
        let mut server = server_fed(&site, input);
        assert!(
            matches!(server.error, Some(TlsError::NotTls(_))),
            "{:?}",
            server.error
        );
        assert!(server.tls.wants_transmit());
        server.transmit(usize::MAX);
        assert_eq!(server.wire[0], 21, "an alert record");
        assert!(server.feed(b"more").is_err(), "an error is final");
        assert_eq!(server.tls.end_of_stream(), StreamEnd::DuringHandshake);
    }
}

#[test]
fn a_truncated_client_hello_waits_and_then_ends_during_the_handshake() {
    let site = Site::new();
    for version in VERSIONS {
        let mut client = site.pair(version).client;
        client.transmit(usize::MAX);
        for cut in 0..client.wire.len() {
            let server = server_fed(&site, &client.wire[..cut]);
            assert!(
                server.error.is_none() && !server.tls.wants_transmit(),
                "cut at {cut}: {:?}",
                server.error
            );
            assert_eq!(server.tls.end_of_stream(), StreamEnd::DuringHandshake);
        }
    }
}

#[test]
fn a_client_hello_with_any_bit_flipped_ends_only_its_own_connection() {
    let site = Site::new();
    let mut client = site.pair(VERSIONS[1]).client;
    client.transmit(usize::MAX);
    for at in 0..client.wire.len() {
        let mut wire = client.wire.clone();
        wire[at] ^= 1 << (at % 8);
        let mut server = server_fed(&site, &wire);
        assert_eq!((server.completed, server.plain.len()), (0, 0));
        server.transmit(usize::MAX);
    }
}

#[test]
fn an_endless_handshake_is_refused_at_the_limit() {
    let site = Site::new();
    // A client hello that claims 60,000 bytes, in records of 1,000.
    let mut hello = vec![1, 0, 0xea, 0x60];
    hello.resize(60_000, 0);
    let wire: Vec<u8> = hello
        .chunks(1000)
        .flat_map(|part| [&[22, 3, 1, 3, 0xe8], part].concat())
        .collect();
    let mut server = End::new(Tls::server(site.server()).unwrap());
    let mut fed = 0;
    for piece in wire.chunks(1005) {
        fed += piece.len();
        if server.feed(piece).is_err() {
            break;
        }
    }
    assert!(matches!(
        server.error,
        Some(TlsError::HandshakeTooLarge {
            limit_bytes: HANDSHAKE_LIMIT_BYTES
        })
    ));
    assert!(
        (HANDSHAKE_LIMIT_BYTES..HANDSHAKE_LIMIT_BYTES + 2000).contains(&fed),
        "refused after {fed} bytes"
    );
    assert!(server.feed(b"x").is_err());
    // The client gets an alert in a record of its own.
    let mut sent = Vec::new();
    server
        .tls
        .transmit(&mut |slices| {
            slices
                .iter()
                .for_each(|slice| sent.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        })
        .unwrap();
    assert_eq!((sent[0], sent[5]), (21, 2), "a fatal alert: {sent:?}");
}

#[test]
fn data_before_an_error_is_given_out() {
    for version in VERSIONS {
        let mut pair = Site::new().open_pair(version);
        send(&mut pair.client, b"the good part");
        pair.client.wire.extend_from_slice(b"the bad part");
        pair.run_until_quiet();
        assert!(
            matches!(pair.server.error, Some(TlsError::Protocol(_))),
            "{:?}",
            pair.server.error
        );
        assert_eq!(pair.server.plain, b"the good part");
        assert!(matches!(pair.client.error, Some(TlsError::Refused { .. })));
    }
}

#[test]
fn a_damaged_record_is_refused() {
    for version in VERSIONS {
        let mut pair = Site::new().open_pair(version);
        send(&mut pair.client, &data(100));
        pair.client.wire[50] ^= 1;
        pair.run_until_quiet();
        assert!(matches!(
            pair.server.error,
            Some(TlsError::Protocol(Error::DecryptError))
        ));
        assert!(pair.server.plain.is_empty());
        assert!(matches!(
            pair.client.error,
            Some(TlsError::Refused {
                alert: AlertDescription::BadRecordMac
            })
        ));
    }
}

#[test]
fn a_flood_of_key_updates_ends_the_session() {
    let mut pair = Site::new().open_pair(VERSIONS[1]);
    for _ in 0..100 {
        if pair
            .client
            .tls
            .session
            .rustls
            .refresh_traffic_keys()
            .is_err()
        {
            break;
        }
        pair.run_until_quiet();
    }
    assert!(
        matches!(pair.server.error, Some(TlsError::Protocol(_))),
        "{:?}",
        pair.server.error
    );
}

#[test]
fn close_notify_during_the_handshake_ends_it() {
    let site = Site::new();
    for version in VERSIONS {
        let mut pair = site.pair(version);
        pair.client.transmit(usize::MAX);
        pair.client.tls.close_notify();
        pair.run_until_quiet();
        assert_eq!((pair.client.completed, pair.server.completed), (0, 0));
        assert_eq!(pair.client.tls.end_of_stream(), StreamEnd::DuringHandshake);
        assert_eq!(pair.server.tls.end_of_stream(), StreamEnd::DuringHandshake);
    }
}

/// A server that shows a certificate whose key it does not have.
fn impostor(site: &Site, real: &crate::tls::testing::Issued) -> Arc<ServerConfig> {
    let key = site.authority.issue("anything.test").key_der();
    let key = provider().key_provider.load_private_key(key).unwrap();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![real.der()], key));
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    config
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver))
        .into()
}

#[test]
fn without_verification_any_certificate_will_do_but_its_key_must_be_there() {
    let site = Site::new();
    let options = TlsClientOptions::default().with_insecure_skip_verify(true);
    assert!(options.is_insecure_skip_verify());
    let insecure = options.config().unwrap();
    let mut pair = Pair::new(&insecure, &site.server(), "whatever.test");
    pair.run_until_quiet();
    assert_eq!((pair.client.completed, pair.server.completed), (1, 1));

    let real = site.authority.issue(NAME);
    for version in VERSIONS {
        let mut config = ServerConfig::clone(&impostor(&site, &real));
        config.alpn_protocols.clear();
        let mut client = rustls::ClientConfig::clone(&insecure);
        if version == VERSIONS[0] {
            client = rustls::ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(crate::tls::testing::any_certificate())
                .with_no_client_auth();
        }
        let mut pair = Pair::new(&client.into(), &config.into(), NAME);
        pair.run_until_quiet();
        assert_eq!(pair.client.completed, 0);
        assert!(
            pair.client.error.is_some(),
            "the impostor got in with {version:?}"
        );
    }
    assert!(
        !crate::tls::testing::any_certificate()
            .supported_verify_schemes()
            .is_empty()
    );
}

#[test]
fn options_that_contradict_each_other_are_refused_by_name() {
    let site = Site::new();
    let conflict = |certs, options| match ServerTls::new(certs, options) {
        Err(TlsError::Conflict { option }) => option,
        other => panic!("{other:?}"),
    };
    let whole = || TlsServerOptions::default().with_config(site.server());
    assert_eq!(conflict(Some(site.certs.clone()), whole()), "cert_manager");
    assert_eq!(conflict(None, whole().with_alpn(["h2"])), "alpn");
    assert_eq!(
        conflict(
            None,
            whole().with_client_auth(ClientAuth::Required(site.authority.roots()))
        ),
        "client_auth"
    );
    assert!(matches!(
        ServerTls::new(None, TlsServerOptions::default()),
        Err(TlsError::NoCertificate)
    ));
    assert!(ServerTls::new(None, whole()).is_ok());
    let mut early = ServerConfig::clone(&site.server());
    early.max_early_data_size = 1;
    let early = TlsServerOptions::default().with_config(early.into());
    assert!(matches!(
        ServerTls::new(None, early),
        Err(TlsError::EarlyData)
    ));

    let client = TlsClientOptions::default();
    assert!(matches!(client.config(), Err(TlsError::NoRoots)));
    let whole = client.with_config(site.client(VERSIONS[1]).into());
    assert!(whole.config().is_ok());
    let both = whole.with_insecure_skip_verify(true);
    assert!(matches!(
        both.config(),
        Err(TlsError::Conflict {
            option: "insecure_skip_verify"
        })
    ));
}

#[test]
fn a_name_that_no_certificate_can_have_is_refused() {
    for name in ["a.test", "127.0.0.1", "::1"] {
        assert_eq!(TlsClientOptions::checked_name(name).unwrap().to_str(), name);
    }
    for name in ["", "a b", "höst", "a..b", "[::1]"] {
        assert!(
            matches!(
                TlsClientOptions::checked_name(name),
                Err(TlsError::ServerName { .. })
            ),
            "{name}"
        );
    }
}
