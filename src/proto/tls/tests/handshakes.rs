use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use super::super::pair::{End, Pair};
use super::super::{CryptoCost, StreamEnd};
use super::{NAME, Site, VERSIONS, send};
use crate::tls::testing::provider;
use crate::tls::{ClientAuth, ServerResumption, ServerTls, TlsClientOptions, TlsServerOptions};

#[test]
fn every_cipher_suite_of_the_provider_works() {
    let mut site = Site::new();
    let mut tried = 0;
    for rsa in [false, true] {
        site.certs = if rsa {
            site.authority.issue_rsa(NAME)
        } else {
            site.authority.issue(NAME)
        }
        .manager();
        for suite in &provider().cipher_suites {
            let one = CryptoProvider {
                cipher_suites: vec![*suite],
                ..(*provider()).clone()
            };
            let client = ClientConfig::builder_with_provider(one.into())
                .with_protocol_versions(&[suite.version()])
                .unwrap()
                .with_root_certificates(site.authority.roots().store())
                .with_no_client_auth();
            let mut pair = Pair::new(&client.into(), &site.server(), NAME);
            pair.run_until_quiet();
            let name = format!("{:?}", suite.suite());
            if name.contains("ECDHE_ECDSA") && rsa || name.contains("ECDHE_RSA") && !rsa {
                assert!(
                    pair.client.error.is_some(),
                    "{name} with the wrong kind of key"
                );
                continue;
            }
            send(&mut pair.client, b"ping");
            send(&mut pair.server, b"pong");
            pair.run_until_quiet();
            assert_eq!(
                (&pair.client.plain[..], &pair.server.plain[..]),
                (&b"pong"[..], &b"ping"[..]),
                "{name}"
            );
            assert_eq!(pair.server.tls.info().cipher_suite, suite.suite());
            tried += 1;
        }
    }
    assert!(tried >= 12, "{tried} suites");
}

#[test]
fn application_protocols_are_agreed_on_if_there_is_one_in_common() {
    let site = Site::new();
    let server = site.server_with(TlsServerOptions::default().with_alpn(["h2", "echo"]));
    for version in VERSIONS {
        for (offered, agreed) in [
            (vec!["echo"], Some("echo")),
            (vec!["echo", "h2"], Some("h2")),
            (vec![], None),
        ] {
            let mut client = site.client(version);
            client.alpn_protocols = offered
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect();
            let mut pair = Pair::new(&client.into(), &server, NAME);
            pair.run_until_quiet();
            let agreed = agreed.map(|name| name.as_bytes().to_vec());
            assert_eq!(
                (pair.client.tls.info().alpn, pair.server.tls.info().alpn),
                (agreed.clone(), agreed)
            );
        }
    }
}

#[test]
fn a_client_certificate_reaches_the_server() {
    let site = Site::new();
    let own = site.authority.issue("client.test");
    for auth in [
        ClientAuth::Optional(site.authority.roots()),
        ClientAuth::Required(site.authority.roots()),
    ] {
        let server = site.server_with(TlsServerOptions::default().with_client_auth(auth));
        for version in VERSIONS {
            let mut pair = Pair::new(&site.client_with(version, Some(&own)).into(), &server, NAME);
            pair.run_until_quiet();
            assert_eq!(pair.server.tls.info().peer_certificates, [own.der()]);
        }
    }
}

#[test]
fn an_optional_client_certificate_may_be_missing() {
    let site = Site::new();
    let auth = ClientAuth::Optional(site.authority.roots());
    let server = site.server_with(TlsServerOptions::default().with_client_auth(auth));
    for version in VERSIONS {
        let mut pair = Pair::new(&site.client(version).into(), &server, NAME);
        pair.run_until_quiet();
        assert_eq!(pair.server.completed, 1);
        assert!(pair.server.tls.info().peer_certificates.is_empty());
    }
}

/// Connects, says hello, closes; returns whether both sides say that the session was resumed, and the certificate
/// shown.
fn visit(client: &Arc<ClientConfig>, server: &ServerTls) -> (bool, Vec<u8>) {
    let mut pair = Pair::new(client, &server.setup().unwrap().config, NAME);
    pair.run_until_quiet();
    send(&mut pair.client, b"hello");
    pair.client.tls.close_notify();
    pair.server.tls.close_notify();
    pair.run_until_quiet();
    assert_eq!(
        (
            pair.client.tls.end_of_stream(),
            pair.server.tls.end_of_stream()
        ),
        (StreamEnd::Clean, StreamEnd::Clean)
    );
    let (client, server) = (pair.client.tls.info(), pair.server.tls.info());
    assert_eq!(client.resumed, server.resumed);
    (client.resumed, client.peer_certificates[0].to_vec())
}

fn patient_client(site: &Site, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut client = site.client(version);
    client.resumption = Resumption::in_memory_sessions(8);
    client.into()
}

#[test]
fn sessions_are_resumed_unless_switched_off() {
    let site = Site::new();
    let ways = [
        ServerResumption::Tickets,
        ServerResumption::Store { sessions: 16 },
        ServerResumption::Off,
    ];
    for (resumption, version) in ways
        .into_iter()
        .flat_map(|way| VERSIONS.map(|version| (way, version)))
    {
        let options = TlsServerOptions::default().with_resumption(resumption);
        let server = ServerTls::new(Some(site.certs.clone()), options).unwrap();
        let client = patient_client(&site, version);
        assert!(!visit(&client, &server).0);
        for _ in 0..3 {
            assert_eq!(
                visit(&client, &server).0,
                resumption != ServerResumption::Off,
                "{resumption:?} {version:?}"
            );
        }
    }
}

#[test]
fn a_swapped_certificate_is_shown_to_clients_that_could_resume() {
    let site = Site::new();
    for resumption in [
        ServerResumption::Tickets,
        ServerResumption::Store { sessions: 16 },
    ] {
        for version in VERSIONS {
            let options = TlsServerOptions::default().with_resumption(resumption);
            let server = ServerTls::new(Some(site.certs.clone()), options).unwrap();
            let client = patient_client(&site, version);
            visit(&client, &server);
            assert!(visit(&client, &server).0);
            let new = site.authority.issue(NAME);
            site.certs.update(new.source()).unwrap();
            let (resumed, shown) = visit(&client, &server);
            assert!(!resumed, "{resumption:?} {version:?}");
            assert_eq!(shown, new.der().to_vec());
            let (resumed, shown) = visit(&client, &server);
            assert!(resumed && shown == new.der().to_vec());
        }
    }
}

#[test]
fn client_options_resume_across_their_clones_and_not_across_changes() {
    let site = Site::new();
    let server = ServerTls::new(Some(site.certs.clone()), TlsServerOptions::default()).unwrap();
    let options = TlsClientOptions::default().with_roots(site.authority.roots());
    let visit_with = |options: &TlsClientOptions| visit(&options.config().unwrap(), &server).0;
    assert!(!visit_with(&options));
    assert!(visit_with(&options.clone()));
    assert!(visit_with(&options));
    assert!(!visit_with(&options.clone().with_alpn(["other"])));
    let never = options.with_resumption(false);
    assert!(!visit_with(&never) && !visit_with(&never));
}

#[test]
fn a_swapped_client_certificate_is_shown_at_once() {
    let site = Site::new();
    let auth = ClientAuth::Required(site.authority.roots());
    let server = site.server_with(TlsServerOptions::default().with_client_auth(auth));
    let (old, new) = (
        site.authority.issue("client.test"),
        site.authority.issue("client.test"),
    );
    let own = old.manager();
    let options = TlsClientOptions::default()
        .with_roots(site.authority.roots())
        .with_certificate(own.clone());
    for expected in [&old, &old, &new] {
        if std::ptr::eq(expected, &new) {
            own.update(new.source()).unwrap();
        }
        let mut pair = Pair::new(&options.config().unwrap(), &server, NAME);
        pair.run_until_quiet();
        assert_eq!(pair.server.tls.info().peer_certificates, [expected.der()]);
    }
}

#[test]
fn certificates_are_swapped_a_hundred_times_among_a_thousand_handshakes() {
    let site = Site::new();
    let server = ServerTls::new(Some(site.certs.clone()), TlsServerOptions::default()).unwrap();
    let client = Arc::new(site.client(VERSIONS[1]));
    let issued: Vec<_> = (0..100).map(|_| site.authority.issue(NAME)).collect();
    let known: Vec<_> = issued.iter().map(|issued| issued.der()).collect();
    let mut live: Vec<Pair> = Vec::new();
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            for issued in &issued {
                site.certs.update(issued.source()).unwrap();
                std::thread::yield_now();
            }
        });
        for round in 0..1_000 {
            if round == 900 {
                while !swapper.is_finished() {
                    std::thread::yield_now();
                }
            }
            let mut pair = Pair::new(&client, &server.setup().unwrap().config, NAME);
            pair.run_until_quiet();
            assert_eq!(
                (pair.client.completed, pair.server.completed),
                (1, 1),
                "handshake {round}"
            );
            let shown = &pair.client.tls.info().peer_certificates[0];
            assert!(
                round < 900 || *shown == known[99],
                "the last certificate is shown once it is in"
            );
            if round % 20 == 0 {
                live.push(pair);
            }
        }
    });
    for mut pair in live {
        send(&mut pair.client, b"still alive");
        pair.run_until_quiet();
        assert_eq!(pair.server.plain, b"still alive");
    }
}

/// Carries what `from` has to say to the other side; returns how many bytes that was and whether they cost it little.
fn carry(from: &mut End, to: &mut End) -> (usize, bool) {
    from.transmit(usize::MAX);
    let flight = std::mem::take(&mut from.wire);
    let cheap = to.tls.step_cost(flight.len()) == CryptoCost::Cheap;
    to.feed(&flight).unwrap();
    (flight.len(), cheap)
}

#[test]
fn a_handshake_ends_cheaply_only_where_no_key_exchange_or_certificate_can_be_due() {
    let site = Site::new();
    let own = site.authority.issue("client.test");
    let server = site.server_with(
        TlsServerOptions::default().with_client_auth(ClientAuth::Optional(site.authority.roots())),
    );
    for (version, own) in VERSIONS
        .into_iter()
        .flat_map(|version| [(version, None), (version, Some(&own))])
    {
        let Pair {
            mut client,
            mut server,
        } = Pair::new(&site.client_with(version, own).into(), &server, NAME);
        assert!(!carry(&mut client, &mut server).1);
        assert!(!carry(&mut server, &mut client).1);
        client.transmit(usize::MAX);
        let last = std::mem::take(&mut client.wire);
        let is_cheap = version == &TLS13 && own.is_none();
        let cost = if is_cheap {
            CryptoCost::Cheap
        } else {
            CryptoCost::Expensive
        };
        assert_eq!(
            server.tls.step_cost(last.len()),
            cost,
            "{version:?}, {} bytes",
            last.len()
        );
        // It does not get cheaper by coming in pieces.
        let (almost, end) = last.split_at(last.len() - 10);
        server.feed(almost).unwrap();
        assert_eq!(
            server.tls.step_cost(end.len()),
            cost,
            "{version:?}, {} bytes",
            last.len()
        );
        server.feed(end).unwrap();
        assert_eq!(server.completed, 1);
    }
}

#[test]
fn a_server_that_asks_for_another_hello_has_not_made_its_flight() {
    let site = Site::new();
    let issued = site.authority.issue(NAME);
    let with_groups = |groups: &[usize]| {
        let kx_groups = groups
            .iter()
            .map(|group| provider().kx_groups[*group])
            .collect();
        Arc::new(CryptoProvider {
            kx_groups,
            ..(*provider()).clone()
        })
    };
    let client = ClientConfig::builder_with_provider(with_groups(&[0, 1]))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(site.authority.roots().store())
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(with_groups(&[1]))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.der()], issued.key_der())
        .unwrap();
    let Pair {
        mut client,
        mut server,
    } = Pair::new(&client.into(), &server.into(), NAME);
    carry(&mut client, &mut server);
    let (asked_again, _) = carry(&mut server, &mut client);
    assert!(asked_again < 200, "this is no flight: {asked_again} bytes");
    assert_eq!(server.tls.step_cost(1), CryptoCost::Expensive);
    carry(&mut client, &mut server);
    carry(&mut server, &mut client);
    assert!(carry(&mut client, &mut server).1);
    assert_eq!(server.completed, 1);
}
