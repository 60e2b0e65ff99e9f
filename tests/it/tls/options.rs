//! Every option of TLS with its edge values; see `crate::options`.

use std::sync::Arc;

use longshore::tls::{
    ClientAuth, KeyLog, RevocationLists, ServerResumption, TlsServerOptions, TlsVersion,
};
use longshore::{BindError, ConnectError};
use rustls::{RootCertStore, ServerConfig};

use super::*;

/// Roots whose names take about that many bytes. None of them ever signs anything.
fn roots_of(bytes: usize) -> Arc<RootCertStore> {
    let key = KeyPair::generate().unwrap();
    let mut store = RootCertStore::empty();
    let mut length = 0;
    for number in 0.. {
        if length >= bytes {
            break;
        }
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("{number:0>1000}");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, name.clone());
        params.distinguished_name.push(DnType::CommonName, name);
        let root = params.self_signed(&key).unwrap();
        store.add(root.der().clone()).unwrap();
        length += 2_000;
    }
    Arc::new(store)
}

/// The field that is refused, or "" when a client of ours comes through.
fn refused(site: &Site, probe: &Probe, options: TcpServerOptions) -> String {
    let server = match TcpServer::bind(options.with_host("127.0.0.1")) {
        Ok(server) => server,
        Err(BindError::Option(error)) => return error.field().to_owned(),
        Err(BindError::Tls(error)) => return error.to_string(),
        Err(other) => panic!("{other:?}"),
    };
    let addr = server.local_addr();
    let listener = probe.spawn_meta(server);
    let alpn = site.client().with_alpn(["a"]);
    let client = dial(probe, addr, &alpn);
    for _ in 0..2 {
        probe.connect();
    }
    probe.run(move |cx| cx.close(client)).unwrap();
    for _ in 0..2 {
        probe.disconnect();
    }
    probe.run(move |cx| cx.close(listener)).unwrap();
    String::new()
}

#[test]
fn every_option_of_a_tls_server_works_or_is_refused_by_name() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let new = TlsServerOptions::default;
    let alpn = |lengths: &[usize]| {
        let protocols = lengths.iter().map(|length| vec![b'a'; *length]);
        new().with_alpn(protocols)
    };
    let store = |sessions| new().with_resumption(ServerResumption::Store { sessions });
    let empty = || Roots::from(RootCertStore::empty());
    let list = site.authority.revocation_list(&[]);
    let lists = || RevocationLists::from_der([list.der().clone()]).unwrap();
    // 8 KiB with the bytes of the lengths, for which the client below offers "a".
    let most = [&[255; 31][..], &[253, 1]].concat();
    let rows = [
        ("tls", new(), ""),
        ("alpn", alpn(&[0]), "alpn"),
        ("alpn", alpn(&[1, 0]), "alpn"),
        ("alpn", alpn(&[1]), ""),
        ("alpn", alpn(&[255, 1]), ""),
        ("alpn", alpn(&[256, 1]), "alpn"),
        ("alpn", alpn(&most), ""),
        ("alpn", alpn(&[&most[..], &[1]].concat()), "alpn"),
        (
            "client_auth",
            new().with_client_auth(ClientAuth::Optional(empty())),
            "client_auth",
        ),
        (
            "client_auth",
            new().with_client_auth(ClientAuth::Required(empty())),
            "client_auth",
        ),
        (
            "client_auth",
            new().with_client_auth(ClientAuth::Optional(roots_of(15_000).into())),
            "",
        ),
        (
            "client_auth",
            new().with_client_auth(ClientAuth::Optional(roots_of(47_000).into())),
            "",
        ),
        (
            "client_auth",
            new().with_client_auth(ClientAuth::Optional(roots_of(70_000).into())),
            "",
        ),
        ("resumption", store(0), "resumption"),
        ("resumption", store(1), ""),
        ("resumption", store(1 << 20), ""),
        ("resumption", store((1 << 20) + 1), "resumption"),
        ("resumption", store(usize::MAX), "resumption"),
        (
            "resumption",
            new().with_resumption(ServerResumption::Off),
            "",
        ),
        ("min_version", new().with_min_version(TlsVersion::Tls12), ""),
        ("min_version", new().with_min_version(TlsVersion::Tls13), ""),
        (
            "revocation_lists",
            new().with_revocation_lists(lists()),
            "revocation_lists",
        ),
        (
            "revocation_lists",
            new()
                .with_client_auth(ClientAuth::Optional(site.authority.roots()))
                .with_revocation_lists(lists()),
            "",
        ),
        ("key_log", new().with_key_log(KeyLog::new(|_| ())), ""),
        (
            "max_handshakes",
            new().with_max_handshakes(0),
            "max_handshakes",
        ),
        ("max_handshakes", new().with_max_handshakes(1), ""),
        ("max_handshakes", new().with_max_handshakes(usize::MAX), ""),
        ("max_handshakes", new().with_max_handshakes(None), ""),
    ];
    for (name, tls, field) in rows {
        let shown = format!("{name}: {:.300}", format!("{tls:?}"));
        let found = refused(&site, &probe, site.server().with_tls(tls));
        assert_eq!(found, field, "{shown}");
    }
    // Without a certificate no option turns TLS off silently.
    let plain = TcpServerOptions::from("127.0.0.1:0");
    for tls in [new().with_max_handshakes(9), new().with_alpn(["a"])] {
        let error = TcpServer::bind(plain.clone().with_tls(tls)).unwrap_err();
        assert!(error.to_string().contains("cert_manager"), "{error}");
    }
    stop_clean(&site.node);
}

#[test]
fn complete_config_of_a_server_is_tried_when_the_listener_is_bound() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let issued = site.authority.issue(NAME);
    let key = || PrivatePkcs8KeyDer::from(issued.key.serialize_der()).into();
    let chain = || vec![issued.certificate.der().clone()];
    let builder = || {
        ServerConfig::builder_with_provider(provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
    };
    let bind = |config: ServerConfig| {
        let tls = TlsServerOptions::default().with_config(Arc::new(config));
        refused(&site, &probe, TcpServerOptions::default().with_tls(tls))
    };
    let plain = || {
        builder()
            .with_no_client_auth()
            .with_single_cert(chain(), key())
            .unwrap()
    };
    assert_eq!(bind(plain()), "");
    let mut config = plain();
    config.alpn_protocols = vec![vec![]];
    assert!(bind(config).contains("alpn_protocols"));
    let mut config = plain();
    config.max_fragment_size = Some(1);
    assert!(bind(config).contains("config"));
    let verifier = |roots: Arc<RootCertStore>| {
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider().into())
            .build()
            .unwrap()
    };
    let mut own_roots = RootCertStore::empty();
    own_roots.add(site.authority.0.der().clone()).unwrap();
    // A client without a certificate is not what is wrong with a server.
    let wants = builder()
        .with_client_cert_verifier(verifier(own_roots.into()))
        .with_single_cert(chain(), key())
        .unwrap();
    let tls = TlsServerOptions::default().with_config(Arc::new(wants));
    drop(TcpServer::bind(TcpServerOptions::from("127.0.0.1:0").with_tls(tls)).unwrap());
    // Nor is a resolver that has no certificate for the name of the trial.
    let mut by_name = rustls::server::ResolvesServerCertUsingSni::new();
    let certified = rustls::sign::CertifiedKey::from_der(chain(), key(), &provider()).unwrap();
    by_name.add(NAME, certified).unwrap();
    assert_eq!(
        bind(
            builder()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(by_name))
        ),
        ""
    );
    // Names of authorities that no client of ours would take.
    let long = builder()
        .with_client_cert_verifier(verifier(roots_of(47_000)))
        .with_single_cert(chain(), key())
        .unwrap();
    assert!(bind(long).contains("bytes"));
    stop_clean(&site.node);
}

#[test]
fn every_option_of_a_tls_client_works_or_is_refused_by_name() {
    let site = Site::new();
    let probe = Probe::spawn(&site.node);
    let server = TlsServerOptions::default().with_alpn(["a"]);
    let (addr, _) = probe.listen(site.server().with_tls(server));
    let new = || site.client();
    let alpn = |lengths: &[usize]| {
        let protocols = lengths.iter().map(|length| vec![b'a'; *length]);
        new().with_alpn(protocols)
    };
    let most = [&[255; 31][..], &[253, 1]].concat();
    let config = |alpn: &[&[u8]]| {
        let mut config = site.rustls(&TLS13);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        TlsClientOptions::default()
            .with_config(Arc::new(config))
            .with_server_name(NAME)
    };
    let mut fragment = site.rustls(&TLS13);
    fragment.max_fragment_size = Some(1);
    let fragment = TlsClientOptions::default().with_config(Arc::new(fragment));
    let own = || site.authority.issue("client.test").manager();
    let list = site.authority.revocation_list(&[]);
    let lists = || RevocationLists::from_der([list.der().clone()]).unwrap();
    let rows = [
        ("roots", new().with_roots(RootCertStore::empty()), "roots"),
        ("server_name", new().with_server_name(""), "not a host name"),
        (
            "server_name",
            new().with_server_name("a b"),
            "not a host name",
        ),
        (
            "server_name",
            new().with_server_name("a".repeat(300)),
            "not a host name",
        ),
        ("alpn", alpn(&[0]), "alpn"),
        ("alpn", alpn(&[1]), ""),
        ("alpn", alpn(&[256, 1]), "alpn"),
        ("alpn", alpn(&most), ""),
        ("alpn", alpn(&[&most[..], &[1]].concat()), "alpn"),
        ("certificate", new().with_certificate(own()), ""),
        ("resumption", new().with_resumption(false), ""),
        (
            "insecure_skip_verify",
            new().with_insecure_skip_verify(true),
            "",
        ),
        ("min_version", new().with_min_version(TlsVersion::Tls13), ""),
        ("revocation_lists", new().with_revocation_lists(lists()), ""),
        (
            "revocation_lists",
            new()
                .with_insecure_skip_verify(true)
                .with_revocation_lists(lists()),
            "revocation_lists",
        ),
        ("key_log", new().with_key_log(KeyLog::new(|_| ())), ""),
        ("config", config(&[b"a"]), ""),
        (
            "config",
            config(&[b"a"]).with_key_log(KeyLog::new(|_| ())),
            "key_log",
        ),
        (
            "config",
            config(&[b"a"]).with_min_version(TlsVersion::Tls13),
            "min_version",
        ),
        ("config", config(&[b""]), "alpn_protocols"),
        ("config", fragment, "config"),
        ("config", config(&[b"a"]).with_alpn(["a"]), "alpn"),
    ];
    for (name, tls, wrong) in rows {
        let shown = format!("{name}: {:.300}", format!("{tls:?}"));
        let options = TcpConnectionOptions::from(addr).with_tls(tls);
        match TcpConnection::connect(options) {
            Ok(connection) => {
                assert_eq!(wrong, "", "{shown} is accepted");
                let client = probe.spawn_meta(connection);
                for _ in 0..2 {
                    probe.connect();
                }
                probe.run(move |cx| cx.close(client)).unwrap();
                for _ in 0..2 {
                    probe.disconnect();
                }
            }
            Err(ConnectError::Option(error)) => assert_eq!(error.field(), wrong, "{shown}"),
            Err(ConnectError::Tls(error)) => {
                let text = error.to_string();
                assert!(!wrong.is_empty() && text.contains(wrong), "{shown}: {text}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let twice = TcpConnectionOptions::from(addr)
        .with_cert_manager(own())
        .with_tls(new().with_certificate(own()));
    let error = TcpConnection::connect(twice).unwrap_err();
    assert!(matches!(error, ConnectError::Option(error) if error.field() == "cert_manager"));
    stop_clean(&site.node);
}
