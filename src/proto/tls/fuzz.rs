//! A session driven by a script of arbitrary bytes: the body of the fuzz target, and of an ordinary test.
//!
//! The script decides who writes, how much is transmitted, where the stream is cut into reads, and whether bytes on the
//! wire are damaged, dropped, repeated or made up. Whatever it does, these hold:
//!
//! - nothing panics, and every step ends;
//! - what one side got is a prefix of what the other side wrote: damage is an error, never other data;
//! - the handshake is completed at most once on each side, and nothing is accepted before it or after close_notify;
//! - close_notify is seen only by a peer that has got everything;
//! - an error is final;
//! - buffers stay under their limits.

use std::io::IoSlice;
use std::sync::{Arc, OnceLock};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};

use super::pair::{End, Pair};
use super::{StreamEnd, Tls};
use crate::proto::script::Script;
use crate::tls::{CertManager, Roots, ServerTls, TlsClientOptions, TlsError, TlsServerOptions};

const CERTIFICATE: &[u8] = include_bytes!("fixtures/p256.pem");
const KEY: &[u8] = include_bytes!("fixtures/p256.key");
/// 64 KiB and what encryption adds, plus a flight of handshake messages.
const MOST_BUFFERED: usize = 80 * 1024;

type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

/// Runs one script. Panics if a promise is broken.
pub(crate) fn fuzz_tls(script: &[u8]) {
    let mut script = Script::new(script);
    let setup = script.byte();
    let (client, server) = configs(setup & 1 == 0);
    let pair = Pair::new(&client, &server, "fuzz.test");
    // Most scripts leave the wire alone: a damaged session is soon over.
    let hostile = setup & 6 == 0;
    let mut world = World {
        pair,
        written: [0; 2],
        checked: [0; 2],
        closed: [false; 2],
        hostile,
        tampered: false,
    };
    if setup & 8 == 0 {
        world.pair.run_until_quiet();
    }
    while !script.is_over() {
        world.step(&mut script);
        world.check();
    }
    world.finish();
}

/// A client and a server that would understand each other.
pub(crate) fn fuzz_session(tls12: bool) -> [Tls; 2] {
    let (client, server) = configs(tls12);
    let Pair { client, server } = Pair::new(&client, &server, "fuzz.test");
    [client.tls, server.tls]
}

struct World {
    pair: Pair,
    /// How many bytes the client and the server have written.
    written: [usize; 2],
    /// How much of what the client and the server got has been compared.
    checked: [usize; 2],
    closed: [bool; 2],
    /// Whether the wire may be touched.
    hostile: bool,
    /// Whether the wire was touched, so that errors are to be expected.
    tampered: bool,
}

/// What a side writes at these places: always the same, so that what came out can be checked without keeping what went
/// in.
fn pattern(side: usize, start: usize, count: usize) -> Vec<u8> {
    const PERIOD: usize = 65_521; // a prime: no buffer or record size hides a repetition
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        (0..PERIOD * 2)
            .map(|index| (index % PERIOD).wrapping_mul(2_654_435_761).to_be_bytes()[4])
            .collect()
    });
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        // The sides differ by where they start.
        let from = (start + bytes.len() + side * 1000) % PERIOD;
        let length = PERIOD.min(count - bytes.len());
        bytes.extend_from_slice(&table[from..from + length]);
    }
    bytes
}

impl World {
    fn step(&mut self, script: &mut Script<'_>) {
        let operation = script.byte();
        let side = usize::from(operation & 1);
        match (operation >> 1) % 16 {
            0..=2 => self.write(side, script.amount()),
            3..=5 => drop(self.end(side).transmit(script.amount())),
            6..=9 => self.deliver(side, script.amount()),
            10 => self.pair.settle_by(script.amount().max(1)),
            11 => self.close(side),
            12..=14 if self.hostile => self.tamper(operation >> 5, side, script),
            _ => {
                let (count, piece) = (script.amount() % 8 + 1, script.amount());
                self.write_many(side, count, piece);
            }
        }
    }

    fn end(&mut self, side: usize) -> &mut End {
        if side == 0 {
            &mut self.pair.client
        } else {
            &mut self.pair.server
        }
    }

    fn write(&mut self, side: usize, bytes: usize) {
        self.write_many(side, 1, bytes);
    }

    fn write_many(&mut self, side: usize, count: usize, bytes: usize) {
        let start = self.written[side];
        let data = pattern(side, start, count * bytes);
        let slices: Vec<_> = data.chunks(bytes.max(1)).map(IoSlice::new).collect();
        let (closed, had_failed) = (self.closed[side], self.end(side).error.is_some());
        let handshaking = self.end(side).tls.is_handshaking();
        match self.end(side).tls.write(&slices) {
            Ok(taken) => {
                assert!(taken <= data.len());
                assert!(
                    taken == 0 || !(handshaking || closed || had_failed),
                    "a write was taken at the wrong time"
                );
                self.written[side] += taken;
            }
            Err(TlsError::WriteAfterClose) => assert!(closed),
            Err(_) => assert!(had_failed, "a write failed on a healthy session"),
        }
    }

    fn deliver(&mut self, side: usize, bytes: usize) {
        let end = self.end(side);
        let count = bytes.min(end.wire.len());
        let piece: Vec<u8> = end.wire.drain(..count).collect();
        let had_failed = self.end(1 - side).error.is_some();
        let outcome = self.end(1 - side).feed(&piece);
        assert!(!had_failed || outcome.is_err(), "an error was not final");
    }

    fn close(&mut self, side: usize) {
        self.end(side).tls.close_notify();
        self.closed[side] |= self.end(side).error.is_none();
    }

    fn tamper(&mut self, how: u8, side: usize, script: &mut Script<'_>) {
        let (at, count) = (script.amount(), script.byte());
        let made_up = script.bytes(if how & 3 == 0 { usize::from(count) } else { 0 });
        let wire = &mut self.end(side).wire;
        let at = at.min(wire.len());
        let before = wire.clone();
        let span = at..(at + usize::from(count)).min(wire.len());
        match how & 3 {
            0 => drop(wire.splice(at..at, made_up.iter().copied())),
            1 => drop(wire.drain(span)),
            2 => wire.extend_from_within(span),
            _ => wire
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= count),
        }
        let touched = *wire != before;
        self.tampered |= touched;
    }

    fn check(&mut self) {
        for side in 0..2 {
            let (written, peer_closed) = (self.written[1 - side], self.closed[1 - side]);
            let (tampered, any_closed) = (self.tampered, self.closed != [false; 2]);
            let checked = self.checked[side];
            let end = self.end(side);
            let got = end.plain.len();
            assert!(got <= written, "more came out than went in");
            let fits =
                got <= checked || end.plain[checked..] == pattern(1 - side, checked, got - checked);
            assert!(fits, "other data came out than went in");
            assert!(end.completed <= 1, "the handshake was completed twice");
            assert!(
                !end.close_notify || peer_closed && got == written,
                "a clean end before the end"
            );
            assert!(
                end.error.is_none() || tampered || any_closed,
                "an untouched session failed: {:?}",
                end.error
            );
            let buffered = end.tls.buffered_ciphertext();
            assert!(buffered <= MOST_BUFFERED, "{buffered} bytes are buffered");
            assert_eq!(buffered > 0, end.tls.wants_transmit());
            self.checked[side] = got;
        }
    }

    fn finish(mut self) {
        self.pair.run_until_quiet();
        self.check();
        if !self.tampered && self.closed == [false; 2] {
            let Pair { client, server } = &mut self.pair;
            assert_eq!((client.completed, server.completed), (1, 1));
            assert_eq!(
                (client.plain.len(), server.plain.len()),
                (self.written[1], self.written[0])
            );
            assert_eq!(client.tls.end_of_stream(), StreamEnd::Truncated);
            client.tls.close_notify();
            self.closed[0] = true;
            self.pair.run_until_quiet();
            self.check();
            assert_eq!(self.pair.server.tls.end_of_stream(), StreamEnd::Clean);
        }
    }
}

/// Returns the configs for TLS 1.2 or 1.3, resumption included; made once.
fn configs(tls12: bool) -> Configs {
    static CONFIGS: OnceLock<[Configs; 2]> = OnceLock::new();
    let all = CONFIGS.get_or_init(|| {
        let certs = CertManager::from_pem(CERTIFICATE, KEY).expect("the fixture is valid");
        let server = ServerTls::new(Some(certs), TlsServerOptions::default())
            .expect("the options are valid");
        let server = server.setup().expect("the options are valid").config;
        let roots = Roots::from_pem(CERTIFICATE).expect("the fixture is valid");
        [&TLS12, &TLS13].map(|version| {
            let options = TlsClientOptions::default().with_roots(roots.clone());
            let whole = options.config().expect("the options are valid");
            let mut client =
                ClientConfig::builder_with_provider(Arc::clone(whole.crypto_provider()))
                    .with_protocol_versions(&[version])
                    .expect("the provider has both versions")
                    .with_root_certificates(roots.store())
                    .with_no_client_auth();
            client.resumption = rustls::client::Resumption::in_memory_sessions(4);
            (Arc::new(client), Arc::clone(&server))
        })
    });
    all[usize::from(!tls12)].clone()
}

const _: () = {
    // A lent handshake moves to another worker.
    const fn is_send<T: Send + 'static>() {}
    is_send::<Tls>();
};
