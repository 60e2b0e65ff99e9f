//! The oldest version, revoked certificates, and the log of secrets.

use std::collections::BTreeSet;

use longshore::tls::{
    CertError, ClientAuth, KeyLog, RevocationLists, TlsServerOptions, TlsVersion,
};

use super::*;

impl Site {
    fn lists(&self, serials: &[u64]) -> RevocationLists {
        let list = self.authority.revocation_list(serials);
        RevocationLists::from_pem(list.pem().unwrap().as_bytes()).unwrap()
    }
}

/// How a client connection of the probe ends, if it is not established on both sides.
pub(super) fn outcome(
    site: &Site,
    probe: &Probe,
    addr: SocketAddr,
    tls: &TlsClientOptions,
) -> Option<String> {
    let client = Probe::spawn(&site.node);
    let id = dial(&client, addr, tls);
    // A client of TLS 1.3 is connected before the server has looked at its certificate.
    client.start(move |cx| {
        cx.write(id, "x");
        Ok(())
    });
    loop {
        match client.next().1 {
            Message::TcpConnect(_) => {}
            Message::Tcp(_) => break,
            Message::TcpDisconnect(end) => return Some(tls_text(&end)),
            other => panic!("{other:?}"),
        }
    }
    client.run(move |cx| cx.close(id)).unwrap();
    client.disconnect();
    probe.saw_nothing();
    None
}

#[test]
fn minimum_version_refuses_an_older_peer_on_either_side() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let new = TlsServerOptions::default().with_min_version(TlsVersion::Tls13);
    let addr = echo(&site.node, site.server().with_tls(new));
    round_trip(&mut raw(addr, &Arc::new(site.rustls(&TLS13))), b"new");
    let mut old = raw_unfinished(addr, &Arc::new(site.rustls(&TLS12)));
    while old.conn.complete_io(&mut old.sock).is_ok() {
        assert!(old.conn.is_handshaking(), "TLS 1.2 is accepted");
    }
    let any = echo(&site.node, site.server());
    round_trip(&mut raw(any, &Arc::new(site.rustls(&TLS12))), b"old");
    let modern = site.client().with_min_version(TlsVersion::Tls13);
    assert_eq!(outcome(&site, &probe, any, &modern), None);
    // A server that knows TLS 1.2 alone.
    let issued = site.authority.issue(NAME);
    let config = rustls::ServerConfig::builder_with_provider(provider().into())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![issued.certificate.der().clone()],
            PrivatePkcs8KeyDer::from(issued.key.serialize_der()).into(),
        )
        .unwrap();
    let tls = TlsServerOptions::default().with_config(Arc::new(config));
    let old = echo(&site.node, TcpServerOptions::default().with_tls(tls));
    assert_eq!(outcome(&site, &probe, old, &site.client()), None);
    let text = outcome(&site, &probe, old, &modern).expect("refused");
    assert!(text.contains("ProtocolVersion"), "{text}");
    stop_clean(&site.node);
}

#[test]
fn revoked_client_is_refused_and_lists_are_replaced_while_live() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let lists = site.lists(&[7]);
    let tls = TlsServerOptions::default()
        .with_client_auth(ClientAuth::Required(site.authority.roots()))
        .with_revocation_lists(lists.clone());
    let addr = echo(&site.node, site.server().with_tls(tls));
    let client = |serial| {
        let issued = site.authority.issue_numbered("client.test", serial);
        site.client().with_certificate(issued.manager())
    };
    let (seven, eight) = (client(7), client(8));
    assert_eq!(outcome(&site, &probe, addr, &eight), None);
    let text = outcome(&site, &probe, addr, &seven).expect("refused");
    assert!(text.contains("Revoked"), "{text}");
    site.logged(&["not established", "Revoked"]);
    // Together with a swap of the certificate.
    let issued = site.authority.issue(NAME);
    site.certs.update(issued.source()).unwrap();
    lists.replace(&site.lists(&[8]));
    assert_eq!(outcome(&site, &probe, addr, &seven), None);
    assert!(
        outcome(&site, &probe, addr, &eight).is_some(),
        "and not resumed"
    );
    stop_clean(&site.node);
}

#[test]
fn client_refuses_a_revoked_server_and_one_of_an_authority_without_a_list() {
    let site = Site::with(|authority| authority.issue_numbered(NAME, 7));
    let probe = Probe::spawn(&site.node);
    let addr = echo(&site.node, site.server());
    let with = |lists: RevocationLists| site.client().with_revocation_lists(lists);
    assert_eq!(outcome(&site, &probe, addr, &with(site.lists(&[8]))), None);
    let lists = site.lists(&[7]);
    let tls = with(lists.clone());
    let text = outcome(&site, &probe, addr, &tls).expect("refused");
    assert!(text.contains("Revoked"), "{text}");
    lists.replace(&site.lists(&[]));
    assert_eq!(outcome(&site, &probe, addr, &tls), None);
    let other = Authority::new("another authority").revocation_list(&[]);
    let foreign = || RevocationLists::from_der([other.der().clone()]).unwrap();
    let text = outcome(&site, &probe, addr, &with(foreign())).expect("refused");
    assert!(text.contains("UnknownRevocationStatus"), "{text}");
    let allowed = with(foreign().with_unknown_allowed(true));
    assert_eq!(outcome(&site, &probe, addr, &allowed), None);
    let empty = RevocationLists::from_pem(b"");
    assert!(matches!(empty, Err(CertError::NoRevocationList { .. })));
    stop_clean(&site.node);
}

#[test]
fn both_sides_log_the_same_secrets_in_both_versions() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let sink = || {
        let lines = Arc::new(Mutex::new(BTreeSet::new()));
        let to = Arc::clone(&lines);
        let log = KeyLog::new(move |line| {
            to.lock().unwrap().insert(line.to_owned());
        });
        (log, lines)
    };
    let (server_log, server_lines) = sink();
    let tls = TlsServerOptions::default().with_key_log(server_log);
    let addr = echo(&site.node, site.server().with_tls(tls));
    let (client_log, client_lines) = sink();
    let tls = site.client().with_key_log(client_log);
    assert_eq!(outcome(&site, &probe, addr, &tls), None);
    let lines = client_lines.lock().unwrap().clone();
    assert_eq!(*server_lines.lock().unwrap(), lines);
    assert!(lines.len() >= 4, "{lines:?}");
    for line in &lines {
        let parts: Vec<&str> = line.split(' ').collect();
        assert_eq!(parts.len(), 3, "{line}");
        assert_eq!(parts[1].len(), 64, "{line}");
        assert!(
            parts[1..]
                .concat()
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
        );
    }
    server_lines.lock().unwrap().clear();
    round_trip(&mut raw(addr, &Arc::new(site.rustls(&TLS12))), b"old");
    let lines = server_lines.lock().unwrap().clone();
    assert!(lines.len() == 1 && lines.iter().all(|line| line.starts_with("CLIENT_RANDOM ")));
    stop_clean(&site.node);
}

#[test]
fn key_log_of_the_environment_appends_to_its_file() {
    let path = std::env::temp_dir().join(format!("longshore-keys-{}", std::process::id()));
    let set = format!("SSLKEYLOGFILE={}", path.display());
    let name = "tls::edges::key_log_of_the_environment_appends_to_its_file";
    alone_under(&[&["env", &set]], name, || {
        let site = Site::new();
        let probe = Probe::spawn(&site.node);
        let addr = echo(&site.node, site.server());
        let tls = site.client().with_key_log(KeyLog::from_env());
        assert_eq!(outcome(&site, &probe, addr, &tls), None);
        let file = std::env::var_os("SSLKEYLOGFILE").expect("it is set");
        let lines = std::fs::read_to_string(file).unwrap();
        assert!(lines.contains("CLIENT_TRAFFIC_SECRET_0 "), "{lines}");
        stop_clean(&site.node);
    });
    let _ = std::fs::remove_file(path);
}

#[test]
fn certificate_is_checked_against_the_address_that_was_asked_for() {
    for (host, subject) in [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
    ] {
        let site = Site::new();
        let tls = TlsClientOptions::default().with_roots(site.authority.roots());
        for (certified, is_right) in [(subject, true), ("192.0.2.1", false)] {
            let (server, client) = (Probe::spawn(&site.node), Probe::spawn(&site.node));
            let certs = site.authority.issue(certified).manager();
            let options = TcpServerOptions::default().with_cert_manager(certs);
            let listener = TcpServer::bind(options.with_host(subject)).unwrap();
            let to = TcpConnectionOptions::from((host, listener.local_addr().port()));
            server.spawn_meta(listener);
            client.connect_to(to.with_tls(tls.clone()));
            if is_right {
                assert!(client.connect().tls.is_some(), "{host}");
            } else {
                let text = tls_text(&client.disconnect());
                assert!(text.contains(subject), "{host}: {text}");
            }
        }
    }
}
