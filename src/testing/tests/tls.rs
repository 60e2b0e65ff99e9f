//! A client of the test that speaks TLS: rustls over a simulated connection.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::Echo;
use crate::prelude::*;
use crate::testing::*;
use crate::tls::{CertManager, CertSource};

/// A certificate for `localhost`, and the client configuration that trusts it.
pub(super) fn certificate() -> (CertManager, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let source = CertSource::der(vec![made.cert.der().clone()], key.into());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    #[cfg(feature = "ring")]
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "ring"))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let certs = CertManager::new(source).expect("a certificate");
    (certs, Arc::new(config))
}

/// See the module.
pub(super) struct Peer {
    client: TestClient,
    tls: ClientConnection,
}

impl Peer {
    pub(super) fn new(client: TestClient, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
        Self { client, tls }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Takes what has come, and writes what is to be written.
    pub(super) fn pump(&mut self) {
        let received = self.client.take_received();
        let mut received = &received[..];
        while !received.is_empty() {
            self.tls.read_tls(&mut received).expect("room");
            self.tls.process_new_packets().expect("right TLS");
        }
        let mut output = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut output).expect("written");
        }
        if !output.is_empty() {
            self.client.write(&output);
        }
    }

    /// Runs the world until that many bytes have come.
    fn read(&mut self, world: &World, length: usize) -> Vec<u8> {
        let mut got = vec![0; length];
        let mut have = 0;
        for _ in 0..10_000 {
            self.pump();
            match self.tls.reader().read(&mut got[have..]) {
                Ok(read) => have += read,
                Err(_) => world.advance(Duration::from_millis(1)),
            }
            if have == length {
                return got;
            }
        }
        panic!("{have} of {length} bytes have come");
    }
}

/// Runs TLS over simulated sockets that cut it everywhere; what it did, without times.
fn exchange(seed: u64) -> Vec<String> {
    let link = LinkOptions::default()
        .with_segment(1..=700)
        .with_short_writes(200_000)
        .with_loss(10_000);
    let net = NetOptions::default().with_link(link);
    let world = World::with(seed, WorldOptions::default().with_net(net));
    let node = TestNode::start(&world);
    let (certs, config) = certificate();
    let options = TcpServerOptions::from("127.0.0.1:7000").with_cert_manager(certs);
    node.spawn(|| Echo::at(options)).expect("spawned");
    let addr = "127.0.0.1:7000".parse().expect("an address");
    let mut seen = Vec::new();
    for number in 0..3_u8 {
        let mut peer = Peer::new(node.connect(addr), &config);
        for round in 0..4_u8 {
            let bytes = vec![number * 16 + round; 1 + 3_000 * usize::from(round)];
            peer.tls.writer().write_all(&bytes).expect("room");
            let back = peer.read(&world, bytes.len());
            assert!(back == bytes, "round {round} of {number}");
            seen.push(format!("{number}: {} bytes", back.len()));
        }
        peer.tls.send_close_notify();
        peer.pump();
        peer.client.half_close();
        let (_, end) = peer.client.read_to_end();
        seen.push(format!("{number}: {end:?}"));
    }
    assert!(node.stop().is_clean());
    assert_eq!(world.net().open_connections(), 0);
    seen
}

#[test]
fn tls_runs_over_simulated_sockets_with_the_same_order_for_the_same_seed() {
    for seed in 0..10 {
        assert_eq!(exchange(seed), exchange(seed), "seed {seed}");
    }
}
