//! TLS, seen from both ends: by processes, by rustls, by the `openssl` program, and by hostile peers.
//!
//! ```text
//!   Site: an authority, a certificate for server.test, a node that keeps its log
//!    ├─ listen ── Probe::listen with TLS ◀──── dial: a Probe's client connection
//!    └─ raw ── rustls over a std socket, for what no process does
//! ```

mod closing;
mod edges;
mod hostile;
mod late_readers;
mod matrix;
mod openssl;
mod options;
mod reconnects;
mod refusals;
mod relays;
mod revocation;
mod sessions;
pub mod start_tls;
mod volume;

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use longshore::prelude::*;
use longshore::tls::{CertManager, CertSource, Roots, TlsClientOptions};
use longshore::{DisconnectReason, MessageTcpDisconnect, Record};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair,
    RevokedCertParams, date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion};

use crate::support::*;

const NAME: &str = "server.test";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
const RSA_KEY: &str = include_str!("../../../src/proto/tls/fixtures/rsa2048.key");

pub fn provider() -> CryptoProvider {
    #[cfg(feature = "ring")]
    return rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "ring"))]
    rustls::crypto::aws_lc_rs::default_provider()
}

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> Roots {
        Roots::from_der([self.0.der().clone()]).unwrap()
    }

    /// A certificate with this serial number.
    fn issue_numbered(&self, name: &str, serial: u64) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serial_number = Some(serial.into());
        Issued {
            certificate: params.signed_by(&key, &self.0).unwrap(),
            key,
        }
    }

    /// A list on which the certificates with these serial numbers are revoked.
    fn revocation_list(&self, serials: &[u64]) -> CertificateRevocationList {
        self.revocation_list_until(2100, serials)
    }

    /// A list that was to be replaced at the begin of that year.
    fn revocation_list_until(&self, year: i32, serials: &[u64]) -> CertificateRevocationList {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap()
    }

    fn issue(&self, name: &str) -> Issued {
        self.issue_with(name, KeyPair::generate().unwrap(), (2020, 2100))
    }

    fn issue_with(&self, name: &str, key: KeyPair, (first, last): (i32, i32)) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(first, 1, 1);
        params.not_after = date_time_ymd(last, 1, 1);
        Issued {
            certificate: params.signed_by(&key, &self.0).unwrap(),
            key,
        }
    }
}

impl Issued {
    fn source(&self) -> CertSource {
        CertSource::der(
            vec![self.certificate.der().clone()],
            PrivatePkcs8KeyDer::from(self.key.serialize_der()).into(),
        )
    }

    fn manager(&self) -> CertManager {
        CertManager::new(self.source()).unwrap()
    }
}

/// The surroundings of a test.
struct Site {
    authority: Authority,
    certs: CertManager,
    node: Node,
    log: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn new() -> Self {
        Self::with(|authority| authority.issue(NAME))
    }

    fn with(issue: impl FnOnce(&Authority) -> Issued) -> Self {
        Self::with_options(NodeOptions::from("test@localhost").with_workers(2), issue)
    }

    fn with_options(options: NodeOptions, issue: impl FnOnce(&Authority) -> Issued) -> Self {
        let authority = Authority::new("authority of the test");
        let certs = issue(&authority).manager();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let node = node_with(options.with_logger(move |record: &Record| {
            lines.lock().unwrap().push(record.text.clone());
        }));
        Self {
            authority,
            certs,
            node,
            log,
        }
    }

    fn server(&self) -> TcpServerOptions {
        TcpServerOptions::default().with_cert_manager(self.certs.clone())
    }

    /// Trusts the authority and asks for the server by its name.
    fn client(&self) -> TlsClientOptions {
        TlsClientOptions::default()
            .with_roots(self.authority.roots())
            .with_server_name(NAME)
    }

    /// A rustls client for one version, or for one suite.
    fn rustls(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        self.rustls_with(provider(), version)
    }

    fn rustls_with(
        &self,
        provider: CryptoProvider,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// Waits for a line of the log that has all these words, and removes it.
    #[track_caller]
    fn logged(&self, words: &[&str]) -> String {
        let mut found = None;
        let find = || {
            let mut lines = self.log.lock().unwrap();
            found = lines
                .iter()
                .position(|line| words.iter().all(|word| line.contains(word)))
                .map(|at| lines.remove(at));
            found.is_some()
        };
        wait_until(
            &format!("{words:?} in {:?}", self.log.lock().unwrap().clone()),
            find,
        );
        found.unwrap()
    }
}

/// A directory with certificates in files, removed on drop.
struct Files(PathBuf);

impl Files {
    fn new(site: &Site, test: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("longshore-tls-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), site.authority.0.pem()).unwrap();
        Self(folder)
    }

    fn store(&self, name: &str, issued: &Issued) {
        std::fs::write(self.0.join(format!("{name}.pem")), issued.certificate.pem()).unwrap();
        std::fs::write(
            self.0.join(format!("{name}.key")),
            issued.key.serialize_pem(),
        )
        .unwrap();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A client connection of a probe.
#[track_caller]
fn dial(probe: &Probe, addr: SocketAddr, tls: &TlsClientOptions) -> Alias {
    probe.connect_to(TcpConnectionOptions::from(addr).with_tls(tls.clone()))
}

/// The text of a reason from TLS.
#[track_caller]
fn tls_text(disconnect: &MessageTcpDisconnect) -> String {
    match &disconnect.reason {
        DisconnectReason::Tls(text) => text.to_string(),
        other => panic!("not tls: {other}"),
    }
}

/// A process that sends back what it gets, however slowly the peer reads: a refused message is kept, and reading
/// pauses.
fn echo(node: &Node, options: TcpServerOptions) -> SocketAddr {
    let (sender, addr) = std::sync::mpsc::channel();
    struct Echo(
        TcpServerOptions,
        std::sync::mpsc::Sender<SocketAddr>,
        HashMap<Alias, VecDeque<Message>>,
    );
    impl Actor for Echo {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            let server = TcpServer::bind(self.0.clone().with_host("127.0.0.1"))?;
            self.1.send(server.local_addr())?;
            cx.spawn_meta(server)?;
            Ok(())
        }

        fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            let id = match &message {
                Message::Tcp(packet) => packet.id,
                Message::TcpWritable(writable) => writable.id,
                Message::TcpDisconnect(ended) => {
                    self.2.remove(&ended.id);
                    return Ok(());
                }
                _ => return Ok(()),
            };
            let resumes = matches!(message, Message::TcpWritable(_));
            let waiting = self.2.entry(id).or_default();
            if let Message::Tcp(_) = message {
                waiting.push_back(message);
            }
            while let Some(message) = waiting.pop_front() {
                let Err(error) = cx.send_alias(id, message) else {
                    continue;
                };
                if error.kind() == SendErrorKind::OutputFull {
                    waiting.push_front(error.into_message());
                    return Ok(cx.pause_reading(id)?);
                }
                break; // it has ended
            }
            if resumes {
                let _ = cx.resume_reading(id);
            }
            Ok(())
        }
    }
    node.spawn(|| Echo(options, sender, HashMap::new()))
        .unwrap();
    value_of(&addr).unwrap()
}

type Raw = StreamOwned<ClientConnection, TcpStream>;

/// A client with a completed handshake.
#[track_caller]
fn raw(addr: SocketAddr, config: &Arc<ClientConfig>) -> Raw {
    let mut raw = raw_unfinished(addr, config);
    raw.conn.complete_io(&mut raw.sock).unwrap();
    while raw.conn.is_handshaking() {
        raw.conn.complete_io(&mut raw.sock).unwrap();
    }
    raw
}

fn raw_unfinished(addr: SocketAddr, config: &Arc<ClientConfig>) -> Raw {
    let name = ServerName::try_from(NAME).unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::clone(config), name).unwrap(),
        client(addr).into_std(),
    )
}

/// Sends bytes and reads them back.
#[track_caller]
fn round_trip(raw: &mut Raw, bytes: &[u8]) {
    raw.write_all(bytes).unwrap();
    raw.flush().unwrap();
    let mut back = vec![0; bytes.len()];
    raw.read_exact(&mut back).unwrap();
    assert!(back == bytes, "other bytes came back");
}

/// Bytes in which any loss, repetition or change of order shows.
fn pattern(from: u64, bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        let at = from + index as u64;
        *byte = (at ^ (at >> 8) ^ (at >> 16).wrapping_mul(31) ^ (at >> 24)) as u8;
    }
}
