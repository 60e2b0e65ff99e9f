//! The table of addresses: each kind of address, in each place where an address stands, with its outcome.
//!
//! ```text
//!                  bound · connected to · asked and answered by UDP · given back
//!  v4 … abstract   by a message · TLS name · inspected · as text
//!                  each cell: what the place shows, or what refuses the address
//! ```
//!
//! It runs in a network of its own, in which the loopback has an address of a link.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
#[cfg(feature = "tls")]
use std::sync::{Arc, Mutex};

use longshore::prelude::*;
use longshore::{
    BindError, ConnectError, Host, MessageUnixDatagram, UnixConnection, UnixConnectionOptions,
    UnixDatagramOptions, UnixDatagramServer, UnixServer, UnixServerOptions,
};

use crate::addresses::in_network;
use crate::support::*;

/// An address as a user gives it.
#[derive(Clone, Copy)]
enum Given {
    Host(&'static str),
    /// A path, or the name that stands behind a NUL byte.
    Path(&'static str),
}

const PLACES: usize = 8;

/// Where an address stands, in the order of the table.
const PLACE_NAMES: [&str; PLACES] = [
    "bound",
    "connected to",
    "UDP: asked",
    "UDP: answered",
    "message, given back",
    "TLS name",
    "inspected",
    "as text",
];

/// `::1`, however it was written.
const LOOPBACK_V6: [&str; PLACES] = [
    "[::1]", "[::1]", "[::1]", "[::1]", "[::1]", "::1", "[::1]", "::1",
];

/// The number of `lo` in a network of its own is 1.
const TABLE: [(&str, Given, [&str; PLACES]); 10] = [
    ("v4", Given::Host("127.0.0.1"), ["127.0.0.1"; PLACES]),
    ("v6", Given::Host("::1"), LOOPBACK_V6),
    (
        "scoped by number",
        Given::Host("fe80::7%1"),
        [
            "[fe80::7%1]",
            "[fe80::7%1]",
            "[fe80::7%1]",
            "[fe80::7%1]",
            "[fe80::7%1]",
            "fe80::7",
            "[fe80::7%1]",
            "fe80::7%1",
        ],
    ),
    (
        "scoped by name",
        Given::Host("fe80::7%lo"),
        [
            "[fe80::7%1]",
            "[fe80::7%1]",
            "[fe80::7%1]",
            "[fe80::7%1]",
            "[fe80::7%1]",
            "fe80::7",
            "[fe80::7%1]",
            "fe80::7%lo",
        ],
    ),
    (
        "mapped",
        Given::Host("::ffff:127.0.0.1"),
        [
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "::ffff:127.0.0.1",
        ],
    ),
    ("bracketed", Given::Host("[::1]"), LOOPBACK_V6),
    (
        "name",
        Given::Host("localhost"),
        [
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "localhost",
            "127.0.0.1",
            "localhost",
        ],
    ),
    (
        "empty",
        Given::Host(""),
        [
            "[::]",
            "refused: host",
            "127.0.0.1",
            "127.0.0.1",
            "refused: host",
            "refused: host",
            "[::]",
            "",
        ],
    ),
    (
        "path",
        Given::Path("table.sock"),
        [
            "table.sock",
            "0.0.0.0",
            "table.sock.asks",
            "table.sock",
            "no address",
            "refused: tls",
            "table.sock",
            "table.sock",
        ],
    ),
    (
        "abstract name",
        Given::Path("\0table"),
        [
            "@table",
            "0.0.0.0",
            "@table.asks",
            "@table",
            "no address",
            "refused: tls",
            "@table",
            "@table",
        ],
    ),
];

/// A node and a process that owns everything.
struct Site {
    node: Node,
    probe: Probe,
}

/// An address without its port.
fn without_port(addr: SocketAddr) -> String {
    let text = addr.to_string();
    let (ip, _) = text.rsplit_once(':').expect("a port");
    ip.to_owned()
}

/// A path as the user has given it, and an abstract name as it is shown.
fn name_of(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.strip_prefix('\0') {
        Some(name) => format!("@{name}"),
        None => text.rsplit('/').next().expect("a name").to_owned(),
    }
}

fn bind_refusal(error: &BindError) -> String {
    match error {
        BindError::Option(error) => format!("refused: {}", error.field()),
        other => format!("refused: {other}"),
    }
}

fn refusal(error: &ConnectError) -> String {
    match error {
        ConnectError::Option(error) => format!("refused: {}", error.field()),
        ConnectError::Tls(_) => "refused: tls".to_owned(),
        other => format!("refused: {other}"),
    }
}

impl Site {
    /// Ends everything that was started in one cell.
    fn clear(&self, aliases: &[Alias]) {
        for alias in aliases.iter().copied() {
            // A connection may have ended with its peer.
            self.node.send_exit_meta(alias, Reason::Kill).ok();
        }
        wait_for_count(&self.node, "meta_processes", 0);
        while self.probe.seen_by_now().is_some() {}
    }

    fn bound(&self, given: Given) -> String {
        match given {
            Given::Host(host) => match TcpServer::bind((host, 0)) {
                Ok(server) => without_port(server.local_addr()),
                Err(error) => bind_refusal(&error),
            },
            Given::Path(path) => {
                let server = UnixServer::bind(path, UnixServerOptions::default());
                let again = UnixServer::bind(path, UnixServerOptions::default());
                drop(server.expect("bound"));
                let text = again.expect_err("taken").to_string();
                let text = text.strip_prefix("cannot bind ").expect("an error of bind");
                text.split(": ").next().expect("an address").to_owned()
            }
        }
    }

    /// Both ends of a connection, ours first, and the listener; or why there is none.
    fn meet(&self, given: Given) -> Result<([MessageTcpConnect; 2], Alias), String> {
        let (listener, client) = match given {
            Given::Host(host) => {
                let server = TcpServer::bind((host, 0)).expect("bound");
                let to = (host, server.local_addr().port());
                let client = TcpConnection::connect(to).map_err(|error| refusal(&error))?;
                (self.probe.spawn_meta(server), self.probe.spawn_meta(client))
            }
            Given::Path(path) => {
                let server = UnixServer::bind(path, UnixServerOptions::default());
                let listener = self.probe.spawn_meta(server.expect("bound"));
                let client = UnixConnection::connect(path, UnixConnectionOptions::default());
                let client = client.map_err(|error| refusal(&error))?;
                (listener, self.probe.spawn_meta(client))
            }
        };
        let mut ends = [self.probe.connect(), self.probe.connect()];
        ends.sort_by_key(|end| end.id != client);
        Ok((ends.map(|end| *end), listener))
    }

    fn connected_to(&self, given: Given) -> String {
        match self.meet(given) {
            Err(refused) => refused,
            Ok((ends, listener)) => {
                self.clear(&[ends[0].id, ends[1].id, listener]);
                without_port(ends[0].remote_addr)
            }
        }
    }

    /// The address of the other end, as the message has it, given back to connect: as it is, and as text.
    fn given_back(&self, given: Given) -> String {
        let (ends, listener) = match self.meet(given) {
            Err(refused) => return refused,
            Ok(met) => met,
        };
        let addr = ends[0].remote_addr;
        if addr.port() == 0 {
            self.clear(&[ends[0].id, ends[1].id, listener]);
            return "no address".to_owned();
        }
        let options = [
            TcpConnectionOptions::from(addr),
            TcpConnectionOptions::from(addr.to_string()),
            TcpConnectionOptions::from((Host::from(addr), addr.port())),
        ];
        let mut shown = Vec::new();
        let mut aliases = vec![ends[0].id, ends[1].id, listener];
        for options in options {
            let client = self.probe.connect_to(options);
            for connect in [self.probe.connect(), self.probe.connect()] {
                aliases.push(connect.id);
                if connect.id == client {
                    shown.push(without_port(connect.remote_addr));
                }
            }
        }
        self.clear(&aliases);
        shown.dedup();
        shown.join(", ")
    }

    /// Who asked, as the server sees it, and who answered, as the client does.
    fn datagrams(&self, given: Given) -> [String; 2] {
        match given {
            Given::Host(host) => self.udp(host),
            Given::Path(path) => self.unix_datagrams(path),
        }
    }

    fn udp(&self, host: &str) -> [String; 2] {
        let bind = || UdpServer::bind((host, 0)).expect("bound");
        let (server, client) = (bind(), bind());
        // All addresses are none to send to.
        let mut to = server.local_addr();
        if to.ip().is_unspecified() {
            to.set_ip([127, 0, 0, 1].into());
        }
        let (server, client) = (self.probe.spawn_meta(server), self.probe.spawn_meta(client));
        self.probe.run(move |cx| cx.send_datagram(client, to, "?"));
        let question = self.probe.udp();
        assert_eq!(question.id, server);
        let asker = question.addr;
        self.probe.run(move |cx| cx.answer_datagram(&question, "!"));
        let answer = self.probe.udp();
        assert_eq!(answer.id, client);
        self.clear(&[server, client]);
        [without_port(asker), without_port(answer.addr)]
    }

    fn unix_datagrams(&self, path: &str) -> [String; 2] {
        let bind = |path: &str| {
            let server = UnixDatagramServer::bind(path, UnixDatagramOptions::default());
            self.probe.spawn_meta(server.expect("bound"))
        };
        let (server, client) = (bind(path), bind(&format!("{path}.asks")));
        let received = || match self.probe.next().1 {
            Message::UnixDatagram(packet) => packet,
            other => panic!("no datagram but {other:?}"),
        };
        let question = MessageUnixDatagram::new(client, path, "?");
        let sent = self.probe.run(move |cx| cx.send_alias(client, question));
        sent.expect("accepted");
        let mut question = received();
        assert_eq!(question.id, server);
        let asker = question.path.clone().expect("it has a path");
        question.data = Buffer::from("!");
        let sent = self.probe.run(move |cx| cx.send_alias(server, *question));
        sent.expect("accepted");
        let answer = received();
        assert_eq!(answer.id, client);
        self.clear(&[server, client]);
        [asker, answer.path.expect("it has a path")].map(|path| name_of(&path))
    }

    fn inspected(&self, given: Given) -> String {
        let (ends, listener) = match self.meet(given) {
            Ok(met) => met,
            // The listener alone is inspected.
            Err(_) => {
                let server = TcpServer::bind("").expect("bound");
                let listener = self.probe.spawn_meta(server);
                let shown = inspect(&self.node, listener);
                let shown = shown.value("local_addr").expect("an address").to_owned();
                self.clear(&[listener]);
                return without_port(shown.parse().expect("an address"));
            }
        };
        let of = |alias, what| {
            let inspection = inspect(&self.node, alias);
            inspection.value(what).expect("an address").to_owned()
        };
        let (local, remote) = (of(listener, "local_addr"), of(ends[0].id, "remote_addr"));
        self.clear(&[ends[0].id, ends[1].id, listener]);
        match (given, remote.parse::<SocketAddr>()) {
            (Given::Host(_), Ok(addr)) => {
                assert_eq!(local, remote);
                without_port(addr)
            }
            _ => name_of(Path::new(&local)),
        }
    }

    #[cfg(feature = "tls")]
    fn tls_name(&self, given: Given) -> String {
        tls::name_asked_for(self, given)
    }

    #[cfg(not(feature = "tls"))]
    fn tls_name(&self, _: Given) -> String {
        String::new()
    }
}

/// What a text becomes, which is taken for the same address.
fn as_text(given: Given) -> String {
    match given {
        Given::Host(host) => {
            let text = Host::from(host).to_string();
            assert_eq!(Host::from(&text), Host::from(host));
            text
        }
        Given::Path(path) => {
            let nowhere = UnixConnection::connect(path, UnixConnectionOptions::default());
            let text = nowhere.expect_err("nothing is bound").to_string();
            let text = text.strip_prefix("cannot connect to ").expect("a path");
            text.split(": ").next().expect("a path").to_owned()
        }
    }
}

#[cfg(feature = "tls")]
mod tls {
    use longshore::tls::{CertManager, TlsClientOptions};
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

    use super::*;
    use crate::tls::provider;

    /// Takes every certificate, and keeps the name that it was asked to check.
    #[derive(Debug, Default)]
    struct Notes(Mutex<Option<String>>);

    impl ServerCertVerifier for Notes {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            name: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            *self.0.lock().unwrap() = Some(name.to_str().into_owned());
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            let algorithms = provider().signature_verification_algorithms;
            algorithms.supported_schemes()
        }
    }

    pub(super) fn name_asked_for(site: &Site, given: Given) -> String {
        let notes = Arc::new(Notes::default());
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&notes) as _)
            .with_no_client_auth();
        let tls = TlsClientOptions::default().with_config(Arc::new(config));
        let host = match given {
            Given::Host(host) => host,
            Given::Path(path) => {
                let options = UnixConnectionOptions::default().with_tls(tls);
                let refused = UnixConnection::connect(path, options);
                return refusal(&refused.expect_err("no name is given"));
            }
        };
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certs = CertManager::from_pem(chain, key).unwrap();
        let options = TcpServerOptions::from((host, 0)).with_cert_manager(certs);
        let server = TcpServer::bind(options).unwrap();
        let to = TcpConnectionOptions::from((host, server.local_addr().port()));
        let client = match TcpConnection::connect(to.with_tls(tls)) {
            Ok(client) => client,
            Err(error) => return refusal(&error),
        };
        let listener = site.probe.spawn_meta(server);
        site.probe.spawn_meta(client);
        let ends = [site.probe.connect().id, site.probe.connect().id];
        site.clear(&[ends[0], ends[1], listener]);
        notes.0.lock().unwrap().take().expect("it was asked")
    }
}

#[test]
fn every_kind_of_address_has_its_outcome_in_every_place() {
    in_network(
        "ip -6 addr add fe80::7/64 dev lo nodad && until ip -6 route show table local | grep -q fe80::7; do :; done",
        "address_table::every_kind_of_address_has_its_outcome_in_every_place",
        || {
            let folder: PathBuf =
                std::env::temp_dir().join(format!("longshore-table-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a directory");
            std::env::set_current_dir(&folder).expect("entered");
            let node = node();
            let site = Site {
                probe: Probe::spawn(&node),
                node,
            };
            let mut wrong = Vec::new();
            for (kind, given, expected) in TABLE {
                let [asked, answered] = site.datagrams(given);
                let outcomes: [String; PLACES] = [
                    site.bound(given),
                    site.connected_to(given),
                    asked,
                    answered,
                    site.given_back(given),
                    site.tls_name(given),
                    site.inspected(given),
                    as_text(given),
                ];
                for (place, name) in PLACE_NAMES.into_iter().enumerate() {
                    let is_built = cfg!(feature = "tls") || name != "TLS name";
                    let (outcome, expected) = (&outcomes[place], expected[place]);
                    if is_built && outcome != expected {
                        wrong.push(format!("{kind}, {name}: {outcome}, not {expected}"));
                    }
                }
            }
            std::fs::remove_dir_all(folder).expect("removed");
            assert!(wrong.is_empty(), "{wrong:#?}");
            stop_clean(&site.node);
        },
    );
}
