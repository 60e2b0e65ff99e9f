//! Blocking calls in the traits of a complete rustls configuration that the user has handed in, and in the texts of
//! errors.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore::tls::{TlsClientOptions, TlsServerOptions};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions,
};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, KeyLog, NamedGroup, ServerConfig,
    SignatureAlgorithm, SignatureScheme,
};

use super::*;
use crate::tls::provider;

/// A method of the configuration that does the deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    ServerResolver,
    ServerKey,
    ServerVerifier,
    ServerSessions,
    ServerTickets,
    ServerKeyLog,
    ServerTime,
    ClientResolver,
    ClientKey,
    ClientVerifier,
    ClientSessions,
    ClientKeyLog,
    ClientTime,
}

const SERVER: [Spot; 7] = [
    Spot::ServerResolver,
    Spot::ServerKey,
    Spot::ServerVerifier,
    Spot::ServerSessions,
    Spot::ServerTickets,
    Spot::ServerKeyLog,
    Spot::ServerTime,
];
const CLIENT: [Spot; 6] = [
    Spot::ClientResolver,
    Spot::ClientKey,
    Spot::ClientVerifier,
    Spot::ClientSessions,
    Spot::ClientKeyLog,
    Spot::ClientTime,
];

/// Stands behind every trait of one side. `bind` and `connect` try a configuration where they are called, so the deed
/// waits until it is armed.
struct Side {
    /// The spot of each trait, by its place in the lists above.
    spots: &'static [Spot],
    at: Spot,
    is_armed: AtomicBool,
    once: Once,
    provider: Arc<CryptoProvider>,
    server_sessions: Arc<ServerSessionMemoryCache>,
    client_sessions: ClientSessionMemoryCache,
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)
    }
}

impl Side {
    fn new(spots: &'static [Spot], at: Spot, once: Once) -> Arc<Self> {
        Arc::new(Self {
            spots,
            at,
            is_armed: AtomicBool::new(false),
            once,
            provider: Arc::new(provider()),
            server_sessions: ServerSessionMemoryCache::new(8),
            client_sessions: ClientSessionMemoryCache::new(8),
        })
    }

    fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    fn at(&self, spot: Spot) {
        let is_here = self.spots.contains(&spot) && self.at == spot;
        if is_here && self.is_armed.load(Ordering::SeqCst) {
            self.once.run();
        }
    }

    fn is_server(&self) -> bool {
        self.spots == SERVER
    }

    /// The spot of a trait that both sides have.
    fn at_either(&self, of_server: Spot, of_client: Spot) {
        self.at(if self.is_server() {
            of_server
        } else {
            of_client
        });
    }

    fn is_signed(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }
}

/// Each trait on a pointer of its own, because a foreign pointer takes no foreign trait.
#[derive(Clone, Debug)]
struct On(Arc<Side>);

/// A key of a side.
#[derive(Debug)]
struct Key(On, Arc<dyn SigningKey>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let side = &self.0.0;
        side.at_either(Spot::ServerKey, Spot::ClientKey);
        self.1.choose_scheme(offered)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.1.algorithm()
    }
}

/// A certificate of that side for `localhost`.
fn certified(side: &On) -> Arc<CertifiedKey> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let key = side.0.provider.key_provider.load_private_key(key.into());
    let key = Key(side.clone(), key.expect("a key"));
    Arc::new(CertifiedKey::new(
        vec![made.cert.der().clone()],
        Arc::new(key),
    ))
}

/// Gives out a certificate.
#[derive(Debug)]
struct Resolves(On, Arc<CertifiedKey>);

impl ResolvesServerCert for Resolves {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.0.at(Spot::ServerResolver);
        Some(Arc::clone(&self.1))
    }
}

impl ResolvesClientCert for Resolves {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.0.at(Spot::ClientResolver);
        Some(Arc::clone(&self.1))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for On {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.at(Spot::ServerVerifier);
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.is_signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for On {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.at(Spot::ClientVerifier);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.is_signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

impl StoresServerSessions for On {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.at(Spot::ServerSessions);
        self.0.server_sessions.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.server_sessions.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.server_sessions.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl ProducesTickets for On {
    fn enabled(&self) -> bool {
        // Sessions that are stored are not given away as tickets.
        self.0.at == Spot::ServerTickets
    }

    fn lifetime(&self) -> u32 {
        3_600
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.at(Spot::ServerTickets);
        Some(plain.to_vec())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        Some(cipher.to_vec())
    }
}

impl ClientSessionStore for On {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.client_sessions.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.client_sessions.kx_hint(name)
    }

    fn set_tls12_session(
        &self,
        name: ServerName<'static>,
        session: rustls::client::Tls12ClientSessionValue,
    ) {
        self.0.client_sessions.set_tls12_session(name, session);
    }

    fn tls12_session(
        &self,
        name: &ServerName<'_>,
    ) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.client_sessions.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.client_sessions.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(
        &self,
        name: ServerName<'static>,
        ticket: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.at(Spot::ClientSessions);
        self.0.client_sessions.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(
        &self,
        name: &ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.client_sessions.take_tls13_ticket(name)
    }
}

impl KeyLog for On {
    fn log(&self, _: &str, _: &[u8], _: &[u8]) {
        self.0.at_either(Spot::ServerKeyLog, Spot::ClientKeyLog);
    }
}

impl TimeProvider for On {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.at_either(Spot::ServerTime, Spot::ClientTime);
        Some(UnixTime::now())
    }
}

fn server_config(side: &On) -> Arc<ServerConfig> {
    let provider = Arc::clone(&side.0.provider);
    let resolver = Resolves(side.clone(), certified(side));
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(side.clone()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(Arc::new(side.clone()))
        .with_cert_resolver(Arc::new(resolver));
    config.session_storage = Arc::new(side.clone());
    config.ticketer = Arc::new(side.clone());
    config.key_log = Arc::new(side.clone());
    Arc::new(config)
}

fn client_config(side: &On) -> Arc<ClientConfig> {
    let provider = Arc::clone(&side.0.provider);
    let resolver = Resolves(side.clone(), certified(side));
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(side.clone()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(side.clone()))
        .with_client_cert_resolver(Arc::new(resolver));
    config.resumption = rustls::client::Resumption::store(Arc::new(side.clone()));
    config.key_log = Arc::new(side.clone());
    Arc::new(config)
}

/// Has a client and a server of the node do a handshake with these configurations, the deed at that spot.
fn handshake_with(node: &Node, spot: Spot, once: Once) -> Kept {
    let server = On(Side::new(&SERVER, spot, once.clone()));
    let client = On(Side::new(&CLIENT, spot, once));
    let of_server = TlsServerOptions::default().with_config(server_config(&server));
    let bound = TcpServer::bind(TcpServerOptions::from("127.0.0.1:0").with_tls(of_server));
    let bound = bound.expect("bound");
    let of_client = TlsClientOptions::default().with_config(client_config(&client));
    let to = TcpConnectionOptions::from(("localhost", bound.local_addr().port()));
    let connection = TcpConnection::connect(to.with_tls(of_client)).expect("an attempt");
    let probe = Probe::spawn(node);
    server.0.arm();
    client.0.arm();
    probe.spawn_meta(bound);
    probe.spawn_meta(connection);
    Box::new(probe)
}

#[test]
fn calls_of_a_complete_rustls_configuration_return_at_once() {
    silence_expected_panics();
    let mut failures = Vec::new();
    for spot in SERVER.into_iter().chain(CLIENT) {
        let options = NodeOptions::from("inside@localhost").with_workers(1);
        let place = |node: &Node, once| handshake_with(node, spot, once);
        if let Err(problem) = try_with(options, ANY, place) {
            failures.push(format!("{spot:?}: {problem}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

// ---- Texts ----

/// An error that does the deed when it is shown.
struct Shown(Once);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.run();
        f.write_str("Shown")
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.run();
        f.write_str("shown")
    }
}

impl std::error::Error for Shown {}

/// An error whose source does.
#[derive(Debug)]
struct Outer(Shown);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// A message whose texts do.
#[derive(Debug)]
struct Carrier(#[allow(dead_code, reason = "shown")] Shown);

const TEXTS: &[(&str, &str, Place)] = &[
    ("text of a handler's error", WORKER, |node, once| {
        let probe = Probe::spawn(node);
        probe.start(move |_| Err(Shown(once).into()));
        Box::new(probe)
    }),
    ("text of the source of an error", WORKER, |node, once| {
        let probe = Probe::spawn(node);
        probe.start(move |_| Err(Outer(Shown(once)).into()));
        Box::new(probe)
    }),
    (
        "text of an error of a child's init",
        WORKER,
        |node, once| {
            struct Fails(Option<Shown>);
            impl Actor for Fails {
                fn init(&mut self, _: &mut Context<'_>) -> Handled {
                    self.0.take().map_or(Ok(()), |shown| Err(shown.into()))
                }
            }
            let mut shown = Some(Shown(once));
            let factory = move || Fails(shown.take());
            let root = move || Supervisor::one_for_one().with_child(Child::new("child", factory));
            // The deed stops the node, and the spawn with it.
            Box::new(node.spawn(root))
        },
    ),
    ("text of a meta-process's error", ANY, |node, once| {
        struct Fails(Option<Shown>);
        impl MetaProcess for Fails {
            fn init(&mut self, _: &mut MetaContext<'_>) -> Handled {
                self.0.take().map_or(Ok(()), |shown| Err(shown.into()))
            }
        }
        let probe = Probe::spawn(node);
        probe.spawn_meta(Fails(Some(Shown(once))));
        Box::new(probe)
    }),
    ("panic with an error", WORKER, |node, once| {
        // Only its type is shown.
        let probe = Probe::spawn(node);
        probe.start(move |_| {
            once.run();
            std::panic::panic_any(Shown(Once::new(|| panic!("it is shown"))))
        });
        Box::new(probe)
    }),
    (
        "message that its receiver ends with",
        WORKER,
        |node, once| {
            // Only its type stands in the record.
            struct Ends(Once);
            impl Actor for Ends {
                fn handle_message(
                    &mut self,
                    _: &mut Context<'_>,
                    _: Pid,
                    message: Message,
                ) -> Handled {
                    self.0.run();
                    Err(Reason::error(format_args!("{message:?}")))
                }
            }
            let pid = node.spawn(|| Ends(once)).expect("spawned");
            let carrier = Carrier(Shown(Once::new(|| panic!("it is shown"))));
            Box::new(node.send(pid, carrier))
        },
    ),
];

#[test]
fn calls_of_texts_of_errors_return_at_once() {
    try_all_in(TEXTS);
}

#[test]
fn calls_of_the_text_of_a_resolver_s_error_return_at_once() {
    let slot: Arc<std::sync::OnceLock<Once>> = Arc::default();
    let resolves = Arc::clone(&slot);
    let options = NodeOptions::from("inside@localhost")
        .with_workers(1)
        .with_resolver(move |_| -> std::io::Result<Vec<IpAddr>> {
            let once = resolves.get().expect("set before").clone();
            Err(std::io::Error::other(Shown(once)))
        });
    let outcome = try_with(options, ANY, |node, once| {
        assert!(slot.set(once).is_ok(), "set once");
        let probe = Probe::spawn(node);
        probe.connect_to(("a.test", 1));
        Box::new(probe)
    });
    assert_eq!(outcome, Ok(()));
}
