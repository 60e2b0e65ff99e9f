//! Sessions that succeed: what was negotiated, what is resumed, and which certificate was used.

use longshore::SocketKind;
use longshore::tls::{ClientAuth, TlsInfo, TlsServerOptions};
use longshore::{IpNetwork, ProxyHeader, ProxyProtocol};
use rustls::{CipherSuite, ProtocolVersion};

use super::*;

/// One connection: both Connects, a message each way, an orderly end.
#[track_caller]
fn visit(
    server: &Probe,
    user: &Probe,
    addr: SocketAddr,
    tls: &TlsClientOptions,
) -> (TlsInfo, TlsInfo) {
    let here = dial(user, addr, tls);
    let (there, connected) = (server.connect(), user.connect());
    user.write(here, "hi");
    assert_eq!(server.tcp().data, "hi");
    server.write(there.id, "hello");
    assert_eq!(user.tcp().data, "hello");
    let id = there.id;
    let socket = server.run(move |cx| cx.node()?.socket(id)).unwrap();
    let SocketKind::Connection(info) = socket.kind else {
        panic!("{socket:?}");
    };
    let version = there.tls.as_ref().unwrap().protocol_version;
    assert_eq!(info.tls, version.as_str());
    assert!(info.tls.is_some());
    user.run(move |cx| cx.close(here)).unwrap();
    let ended = user.disconnect();
    assert_eq!(
        (ended.reason, ended.bytes_in, ended.bytes_out, ended.unsent),
        (DisconnectReason::LocalClose, 5, 2, 0)
    );
    let ended = server.disconnect();
    assert_eq!(
        (ended.reason, ended.bytes_in, ended.bytes_out, ended.unsent),
        (DisconnectReason::ClosedByPeer, 2, 5, 0)
    );
    (*there.tls.unwrap(), *connected.tls.unwrap())
}

#[test]
fn header_of_a_proxy_comes_before_the_handshake() {
    let site = Site::new();
    let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let localhost: IpNetwork = "127.0.0.0/8".parse().expect("a network");
    let options = site.server();
    let (addr, _) =
        server.listen(options.with_proxy_protocol(ProxyProtocol::required([localhost])));
    let client = "192.0.2.7:56324".parse().expect("an address");
    let asked = "192.0.2.1:443".parse().expect("an address");
    for header in [
        ProxyHeader::v1(client, asked),
        ProxyHeader::v2(client, asked),
    ] {
        let options = TcpConnectionOptions::from(addr)
            .with_tls(site.client())
            .with_proxy_header(header);
        let here = user.connect_to(options);
        user.write(here, "hi");
        let there = server.connect();
        assert_eq!((there.remote_addr, there.local_addr), (client, asked));
        assert!(there.tls.is_some() && there.proxied.is_some());
        assert_eq!(server.tcp().data, "hi");
        user.connect();
        user.run(move |cx| cx.close(here)).unwrap();
        assert_eq!(user.disconnect().reason, DisconnectReason::LocalClose);
        assert_eq!(server.disconnect().reason, DisconnectReason::ClosedByPeer);
    }
    stop_clean(&site.node);
}

#[test]
fn both_connects_report_what_the_handshake_agreed_on() {
    let site = Site::new();
    let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let tls = TlsServerOptions::default().with_alpn(["h2", "echo"]);
    let (addr, listener) = server.listen(site.server().with_tls(tls));
    let (there, here) = visit(
        &server,
        &user,
        addr,
        &site.client().with_alpn(["other", "echo"]),
    );
    for info in [&there, &here] {
        assert_eq!(info.protocol_version, ProtocolVersion::TLSv1_3);
        assert_ne!(info.cipher_suite, CipherSuite::TLS_NULL_WITH_NULL_NULL);
        assert_eq!(
            (info.alpn.as_deref(), info.resumed),
            (Some(&b"echo"[..]), false)
        );
        assert_eq!(info.server_name.as_deref(), Some(NAME));
    }
    assert_eq!(
        (there.peer_certificates.len(), here.peer_certificates.len()),
        (0, 1)
    );
    assert_eq!(
        inspect(&site.node, listener).number("handshakes_failed"),
        Some(0)
    );
    let plain = server.listen(TcpServerOptions::default()).0;
    user.connect_to(plain);
    assert!(user.connect().tls.is_none() && server.connect().tls.is_none());
    stop_clean(&site.node);
}

#[test]
fn sessions_are_resumed_in_both_versions_and_not_after_a_swap() {
    for version in VERSIONS {
        let site = Site::new();
        let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
        let (addr, _) = server.listen(site.server());
        let tls = TlsClientOptions::default()
            .with_config(site.rustls(version).into())
            .with_server_name(NAME);
        let resumed = |tls: &TlsClientOptions| {
            let (there, here) = visit(&server, &user, addr, tls);
            assert_eq!(
                (there.protocol_version, here.protocol_version),
                (version.version, version.version)
            );
            assert_eq!(there.resumed, here.resumed);
            here.resumed
        };
        assert_eq!(
            [resumed(&tls), resumed(&tls), resumed(&tls.clone())],
            [false, true, true],
            "{version:?}"
        );
        site.certs
            .update(site.authority.issue(NAME).source())
            .unwrap();
        assert_eq!([resumed(&tls), resumed(&tls)], [false, true], "{version:?}");
        stop_clean(&site.node);
    }
}

#[test]
fn every_suite_of_rustls_carries_a_session() {
    let mut seen = 0;
    for rsa in [false, true] {
        let site = Site::with(|authority| match rsa {
            true => authority.issue_with(NAME, KeyPair::from_pem(RSA_KEY).unwrap(), (2020, 2100)),
            false => authority.issue(NAME),
        });
        let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
        let (addr, _) = server.listen(site.server());
        for suite in provider().cipher_suites {
            let name = format!("{:?}", suite.suite());
            if name.contains("ECDHE_ECDSA") && rsa || name.contains("ECDHE_RSA") && !rsa {
                continue;
            }
            let one = CryptoProvider {
                cipher_suites: vec![suite],
                ..provider()
            };
            let config = site.rustls_with(one, suite.version()).into();
            let tls = TlsClientOptions::default()
                .with_config(config)
                .with_server_name(NAME);
            let (there, here) = visit(&server, &user, addr, &tls);
            assert_eq!(
                (there.cipher_suite, here.cipher_suite),
                (suite.suite(), suite.suite())
            );
            seen += 1;
        }
        stop_clean(&site.node);
    }
    assert!(seen >= 12, "{seen} suites");
}

#[test]
fn certificate_is_chosen_by_name_and_shown_both_ways() {
    let site = Site::new();
    let (other, own) = (
        site.authority.issue("other.test"),
        site.authority.issue("client.test"),
    );
    site.certs.add("other.test", other.source()).unwrap();
    let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let auth = ClientAuth::Required(site.authority.roots());
    let (addr, _) = server.listen(
        site.server()
            .with_tls(TlsServerOptions::default().with_client_auth(auth)),
    );
    // The client sets its certificate by the same kind of option as the listener.
    let options = TcpConnectionOptions::from(addr)
        .with_cert_manager(own.manager())
        .with_tls(site.client().with_server_name("other.test"));
    user.connect_to(options);
    let there = server.connect().tls.unwrap();
    assert_eq!(there.server_name.as_deref(), Some("other.test"));
    assert_eq!(there.peer_certificates, [own.certificate.der().clone()]);
    assert_eq!(
        user.connect().tls.unwrap().peer_certificates,
        [other.certificate.der().clone()]
    );
    stop_clean(&site.node);
}

#[test]
fn complete_rustls_configs_do_on_both_sides() {
    let site = Site::new();
    let issued = site.authority.issue(NAME);
    let config = rustls::ServerConfig::builder_with_provider(provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![issued.certificate.der().clone()],
            PrivatePkcs8KeyDer::from(issued.key.serialize_der()).into(),
        )
        .unwrap();
    let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let tls = TlsServerOptions::default().with_config(config.into());
    let (addr, _) = server.listen(TcpServerOptions::default().with_tls(tls));
    let tls = TlsClientOptions::default()
        .with_config(site.rustls(&TLS12).into())
        .with_server_name(NAME);
    assert_eq!(
        visit(&server, &user, addr, &tls).0.protocol_version,
        ProtocolVersion::TLSv1_2
    );
    stop_clean(&site.node);
}

#[test]
fn unverified_connection_is_made_and_warned_of_each_time() {
    let site = Site::new();
    let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let (addr, _) = server.listen(site.server());
    for _ in 0..2 {
        user.connect_to(TcpConnectionOptions::from(addr).with_insecure_skip_verify(true));
        assert!(user.connect().tls.is_some());
        server.connect();
        site.logged(&["insecure_skip_verify", &addr.to_string()]);
    }
    stop_clean(&site.node);
}
