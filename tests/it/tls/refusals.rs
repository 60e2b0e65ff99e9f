//! Handshakes that fail, each with a precise reason: in the client's Disconnect, and in the server's log and counters.

use longshore::tls::{ClientAuth, TlsServerOptions, UnknownName};
use longshore::{BindError, ConnectError};

use super::*;

/// Connects, and checks that the server's owner receives nothing. Returns the client's reason and the server's log
/// line.
#[track_caller]
fn refused(site: &Site, options: TcpServerOptions, tls: &TlsClientOptions) -> (String, String) {
    let (server, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let (addr, listener) = server.listen(options);
    let here = dial(&user, addr, tls);
    let ended = user.disconnect();
    assert_eq!((ended.id, ended.bytes_in), (here, 0));
    wait_for(&site.node, listener, "handshakes_failed", 1);
    wait_for(&site.node, listener, "connections", 0);
    server.saw_nothing();
    (tls_text(&ended), site.logged(&["not established", "tls"]))
}

#[track_caller]
fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[test]
fn wrong_name_is_reported_with_the_right_ones() {
    let site = Site::new();
    for version in VERSIONS {
        let tls = TlsClientOptions::default()
            .with_config(site.rustls(version).into())
            .with_server_name("wrong.test");
        let (client, server) = refused(&site, site.server(), &tls);
        assert_has(&client, &["certificate", "wrong.test", NAME]);
        assert_has(&server, &["peer refused", "alert"]);
    }
}

#[test]
fn unknown_authority_is_reported() {
    let site = Site::new();
    let stranger = Authority::new("another authority");
    let tls = TlsClientOptions::default()
        .with_roots(stranger.roots())
        .with_server_name(NAME);
    let (client, server) = refused(&site, site.server(), &tls);
    assert_has(&client, &["certificate was not accepted", "UnknownIssuer"]);
    assert_has(&server, &["peer refused", "UnknownCA"]);
}

#[test]
fn certificate_out_of_its_time_is_reported() {
    for (years, word, alert) in [
        ((2001, 2002), "expired", "CertificateExpired"),
        ((2090, 2099), "not valid yet", "CertificateExpired"),
    ] {
        let site =
            Site::with(|authority| authority.issue_with(NAME, KeyPair::generate().unwrap(), years));
        let (client, server) = refused(&site, site.server(), &site.client());
        assert_has(&client, &["certificate was not accepted", word]);
        assert_has(&server, &["peer refused", alert]);
    }
}

#[test]
fn nothing_in_common_is_reported() {
    let site = Site::new();
    let tls = TlsServerOptions::default().with_alpn(["h2"]);
    let (client, server) = refused(
        &site,
        site.server().with_tls(tls),
        &site.client().with_alpn(["echo"]),
    );
    assert_has(&client, &["peer refused", "NoApplicationProtocol"]);
    assert_has(&server, &["nothing in common", "protocol"]);
}

#[test]
fn unknown_server_name_is_reported_by_the_policy_to_refuse() {
    let site = Site::new();
    site.certs.set_unknown_name(UnknownName::Refuse);
    let (client, server) = refused(
        &site,
        site.server(),
        &site.client().with_server_name("unknown.test"),
    );
    assert_has(&client, &["peer refused", "alert"]);
    assert_has(&server, &["no certificate", "unknown.test"]);
}

#[test]
fn missing_client_certificate_is_reported_in_both_versions() {
    let site = Site::new();
    let auth = ClientAuth::Required(site.authority.roots());
    let options = site
        .server()
        .with_tls(TlsServerOptions::default().with_client_auth(auth));
    let tls = TlsClientOptions::default()
        .with_config(site.rustls(&TLS12).into())
        .with_server_name(NAME);
    let (client, server) = refused(&site, options.clone(), &tls);
    assert_has(&client, &["peer refused", "alert"]);
    assert_has(
        &server,
        &["certificate was not accepted", "no certificates"],
    );

    // In TLS 1.3 the client counts as connected until the alert comes. What it sends is discarded.
    let (owner, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let (addr, listener) = owner.listen(options);
    let here = dial(&user, addr, &site.client());
    user.connect();
    user.run(move |cx| drop(cx.send_alias(here, MessageTcp::new(here, "hi"))));
    assert_has(
        &tls_text(&user.disconnect()),
        &["peer refused", "CertificateRequired"],
    );
    wait_for(&site.node, listener, "handshakes_failed", 1);
    owner.saw_nothing();
    stop_clean(&site.node);
}

#[test]
fn client_certificate_of_another_authority_is_reported() {
    let site = Site::new();
    let own = Authority::new("another authority").issue("client.test");
    let auth = ClientAuth::Required(site.authority.roots());
    let (owner, user) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
    let (addr, _) = owner.listen(
        site.server()
            .with_tls(TlsServerOptions::default().with_client_auth(auth)),
    );
    dial(&user, addr, &site.client().with_certificate(own.manager()));
    user.connect();
    assert_has(
        &tls_text(&user.disconnect()),
        &["peer refused", "UnknownCA"],
    );
    owner.saw_nothing();
    stop_clean(&site.node);
}

#[test]
fn tls_client_at_a_plain_server_is_reported() {
    let site = Site::new();
    let addr = echo(&site.node, TcpServerOptions::default());
    let user = Probe::spawn(&site.node);
    dial(&user, addr, &site.client());
    let text = tls_text(&user.disconnect());
    assert!(text.contains("tls"), "{text}");
    stop_clean(&site.node);
}

#[test]
fn silent_server_ends_the_client_at_the_deadline() {
    let site = Site::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let user = Probe::spawn(&site.node);
    let limits = TcpLimits::default().with_handshake_timeout(std::time::Duration::from_millis(50));
    let options = TcpConnectionOptions::from(silent.local_addr().unwrap())
        .with_tls(site.client())
        .with_limits(limits);
    let here = user.connect_to(options);
    user.write(here, "early");
    let ended = user.disconnect();
    assert_eq!(
        (ended.reason, ended.bytes_out, ended.unsent),
        (DisconnectReason::HandshakeTimeout, 0, 5)
    );
    stop_clean(&site.node);
}

#[test]
fn server_that_hangs_up_in_the_handshake_is_reported() {
    let site = Site::new();
    let rude = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let user = Probe::spawn(&site.node);
    dial(&user, rude.local_addr().unwrap(), &site.client());
    let (mut peer, _) = rude.accept().unwrap();
    read(&mut peer, 100);
    // A close_notify alert in plain text.
    peer.write_all(&[21, 3, 3, 0, 2, 1, 0]).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_has(
        &tls_text(&user.disconnect()),
        &["ended the connection in the handshake"],
    );
    stop_clean(&site.node);
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_is_bound() {
    let site = Site::new();
    let refused = |options: TcpServerOptions| match TcpServer::bind(options.with_host("127.0.0.1"))
    {
        Err(BindError::Bind { .. } | BindError::Resolve { .. }) => panic!("bound"),
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted"),
    };
    assert_has(
        &refused(site.server().with_insecure_skip_verify(true)),
        &["insecure_skip_verify"],
    );
    let alpn = TlsServerOptions::default().with_alpn(["h2"]);
    assert_has(
        &refused(TcpServerOptions::default().with_tls(alpn)),
        &["cert_manager"],
    );
    let connect = |options: TcpConnectionOptions| match TcpConnection::connect(options) {
        Err(ConnectError::Connect { .. }) => panic!("attempted"),
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted"),
    };
    let to = TcpConnectionOptions::from("127.0.0.1:1");
    assert_has(
        &connect(to.clone().with_tls(TlsClientOptions::default())),
        &["roots"],
    );
    assert_has(
        &connect(to.clone().with_cert_manager(site.certs.clone())),
        &["roots"],
    );
    assert_has(
        &connect(to.with_tls(site.client().with_server_name("not a name"))),
        &["not a name"],
    );
}

#[test]
fn client_with_a_chain_above_the_limit_is_refused_with_an_alert() {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let auth = ClientAuth::Required(site.authority.roots());
    let tls = TlsServerOptions::default().with_client_auth(auth);
    let (addr, _) = owner.listen(site.server().with_tls(tls));
    let issued = site.authority.issue("client.test");
    let mut chain = vec![issued.certificate.der().clone()];
    // Some 40 KB, which are more than a peer may send in a handshake, and less than one message may have.
    for number in 0..100 {
        let other = site.authority.issue(&format!("other-{number}.test"));
        chain.push(other.certificate.der().clone());
    }
    let length: usize = chain.iter().map(|certificate| certificate.len()).sum();
    assert!((34_000..60_000).contains(&length), "{length}");
    let key = PrivatePkcs8KeyDer::from(issued.key.serialize_der());
    let certs = CertManager::from_der(chain, key.into()).unwrap();
    let user = Probe::spawn(&site.node);
    dial(&user, addr, &site.client().with_certificate(certs));
    // A client of TLS 1.3 cannot know yet.
    let end = match user.next().1 {
        Message::TcpConnect(_) => user.disconnect(),
        Message::TcpDisconnect(end) => end,
        other => panic!("{other:?}"),
    };
    let text = tls_text(&end);
    assert!(text.contains("the peer refused: alert"), "{text}");
    owner.saw_nothing();
    stop_clean(&site.node);
}
