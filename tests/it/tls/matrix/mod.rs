//! The matrix of what ends a connection that is handed over, relayed, or both: each verb, with TLS on neither side,
//! both or the first, ended by the node, the listener, an abort or a close, while one of the parties ends in order, by
//! a panic or reset, or by a kill; with the order before the input and behind it. On loopback and on simulated nodes.
//!
//! ```text
//!                     hand-over                        relay
//!  source ── first ── old ────────▶ owner ── second ────────── target
//! ```
//!
//! Every cell is judged alike: the bytes of each peer arrive in order, none twice, as a prefix, and all of them where
//! nothing has failed; the unsent bytes add up; there is one last message, with a reason that the cell allows, to the
//! process that owns the connection then.

mod judge;
mod peer;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use longshore::{HandOverError, Logger, RelayError, SocketKind, TcpLimits};

use self::peer::{Peer, read_out_all};
use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    HandOver,
    Relay,
    /// The connection is handed over, and the new owner relays it at once.
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wiring {
    Plain,
    Tls,
    TlsToPlain,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Stop,
    /// Of the listener of the first connection.
    Drain,
    /// Of the first connection.
    Abort,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Party {
    Old,
    Owner,
    Source,
    Target,
}

/// How a process ends, or a peer: with a FIN, with a reset, without reading what has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Orderly,
    Panic,
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// The process that gives the order is blocked: the input comes while the order waits in its mailbox.
    Blocked,
    /// Everything has flowed before the cell goes on.
    Flowing,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    verb: Verb,
    wiring: Wiring,
    ending: Option<Ending>,
    exit: Option<(Party, Manner)>,
    order: Order,
}

impl Cell {
    fn all(verb: Verb, wiring: Wiring) -> Vec<Self> {
        let endings = [Ending::Stop, Ending::Drain, Ending::Abort, Ending::Close];
        let endings: Vec<_> = [None].into_iter().chain(endings.map(Some)).collect();
        let mut exits = vec![None];
        for party in [Party::Old, Party::Owner, Party::Source, Party::Target] {
            let is_there = match party {
                Party::Old => verb != Verb::Relay,
                Party::Target => verb != Verb::HandOver,
                Party::Owner | Party::Source => true,
            };
            let manners = [Manner::Orderly, Manner::Panic, Manner::Kill];
            exits.extend(
                manners
                    .into_iter()
                    .filter(|_| is_there)
                    .map(|manner| Some((party, manner))),
            );
        }
        let mut cells = Vec::new();
        for ending in endings {
            for exit in &exits {
                cells.extend([Order::Blocked, Order::Flowing].map(|order| Self {
                    verb,
                    wiring,
                    ending,
                    exit: *exit,
                    order,
                }));
            }
        }
        cells
    }

    fn hands_over(&self) -> bool {
        self.verb != Verb::Relay
    }

    fn relays(&self) -> bool {
        self.verb != Verb::HandOver
    }

    /// The number of processes that own a connection, one after the other.
    fn has_exited(&self, party: Party) -> bool {
        self.exit.is_some_and(|(exited, _)| exited == party)
    }
}

/// The certificates of all cells.
struct Certs(CertManager, Arc<ClientConfig>);

fn certs() -> &'static Certs {
    static CERTS: OnceLock<Certs> = OnceLock::new();
    CERTS.get_or_init(|| {
        let authority = Authority::new("authority of the matrix");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Certs(authority.issue(NAME).manager(), Arc::new(config))
    })
}

/// Any numbers, the same for the same cell.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A process, and everything that it has seen.
struct Watched {
    probe: Probe,
    seen: Vec<Seen>,
}

impl Watched {
    fn new(probe: Probe) -> Self {
        let seen = Vec::new();
        Self { probe, seen }
    }

    fn take(&mut self) -> &[Seen] {
        while let Some(seen) = self.probe.seen_after_stop() {
            self.seen.push(seen);
        }
        &self.seen
    }

    /// The bytes of that connection which it has handled.
    fn handled(&mut self, id: Alias) -> Vec<u8> {
        let mut bytes = Vec::new();
        for seen in self.take() {
            match seen {
                Seen::Message(_, Message::Tcp(packet)) if packet.id == id => {
                    bytes.extend_from_slice(&packet.data);
                }
                _ => {}
            }
        }
        bytes
    }
}

/// A running cell.
struct Play {
    cell: Cell,
    node: Node,
    /// Takes part in nothing, and gives the orders that come from outside.
    root: Watched,
    /// Without a hand-over it is the owner.
    old: Watched,
    new: Option<Watched>,
    listener: Alias,
    /// The listener ends with the root only.
    is_root_listening: bool,
    ids: Vec<Alias>,
    peers: Vec<Peer>,
    /// What each peer has written.
    sent: Vec<Vec<u8>>,
    /// What processes had accepted for each peer.
    accepted: Vec<Vec<u8>>,
    moved: Option<Result<(), HandOverError>>,
    relayed: Option<Result<(), RelayError>>,
    /// The mailbox of the owners takes a few messages only.
    is_narrow: bool,
    random: Random,
}

/// The outcome of an order; `None` if the process has ended before it.
fn outcome<T>(outcome: &Receiver<T>) -> Option<T> {
    value_of(outcome).ok()
}

impl Play {
    fn new(cell: Cell, number: u64) -> Self {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (number + 1));
        let workers = 1 + random.below(3) as usize;
        let options = NodeOptions::from("test@localhost").with_logger(Logger::none());
        let node = node_with(options.with_workers(workers));
        let is_narrow = random.flip();
        let bound = if is_narrow { 4 } else { 1_000 };
        let bounded = SpawnOptions::default().with_mailbox_bound(bound);
        let root = Probe::spawn(&node);
        let old = Probe::spawn_with(&node, bounded.clone().with_name("old"));
        let new = cell
            .hands_over()
            .then(|| Watched::new(Probe::spawn_with(&node, bounded)));
        let is_root_listening = random.flip();
        let certs = certs();
        let mut limits = TcpLimits::default();
        if random.flip() {
            // Both sides stop and go on all the time.
            limits = limits
                .with_high_water_mark(3_000)
                .with_low_water_mark(1_000)
                .with_input_window(2_000);
        }
        let server = |is_secured: bool| {
            let options = TcpServerOptions::default()
                .with_read_buffer_size(700)
                .with_limits(limits.clone());
            if is_secured {
                options.with_cert_manager(certs.0.clone())
            } else {
                options
            }
        };
        let config = |is_secured: bool| is_secured.then_some(&certs.1);
        let is_secured = cell.wiring != Wiring::Plain;
        let (addr, listener) = if is_root_listening {
            root.listen(server(is_secured).with_process_pool(["old"]))
        } else {
            old.listen(server(is_secured))
        };
        let mut peers = vec![Peer::connect(addr, config(is_secured))];
        let mut ids = vec![old.connect().id];
        if cell.relays() {
            let is_secured = cell.wiring == Wiring::Tls;
            let owner = new.as_ref().map_or(&old, |new| &new.probe);
            let (addr, _) = owner.listen(server(is_secured));
            peers.push(Peer::connect(addr, config(is_secured)));
            ids.push(owner.connect().id);
        }
        Self {
            cell,
            node,
            root: Watched::new(root),
            old: Watched::new(old),
            new,
            listener,
            is_root_listening,
            sent: vec![Vec::new(); peers.len()],
            accepted: vec![Vec::new(); peers.len()],
            ids,
            peers,
            moved: None,
            relayed: None,
            is_narrow,
            random,
        }
    }

    fn owner(&mut self) -> &mut Watched {
        self.new.as_mut().unwrap_or(&mut self.old)
    }

    /// Has each peer write some bytes more.
    fn write(&mut self) {
        for (index, peer) in self.peers.iter_mut().enumerate() {
            let length = 1 + self.random.below(8_000) as usize;
            let mut bytes = vec![0; length];
            pattern(self.sent[index].len() as u64, &mut bytes);
            peer.write(&bytes);
            self.sent[index].extend(bytes);
        }
    }

    /// Has a process write to a connection.
    fn answer(&mut self, is_owner: bool, index: usize) {
        let length = self.random.below(20_000) as usize;
        let mut bytes = vec![0; length];
        pattern(7 + self.accepted[index].len() as u64, &mut bytes);
        let id = self.ids[index];
        let data = bytes.clone();
        let (done, is_accepted) = mpsc::channel();
        let from = if is_owner {
            self.owner()
        } else {
            &mut self.old
        };
        from.probe.try_start(move |cx| {
            let _ = done.send(cx.try_write(id, data).is_ok());
            Ok(())
        });
        if outcome(&is_accepted) == Some(true) {
            self.accepted[index].extend(bytes);
        }
    }

    fn order_hand_over(&self) -> Receiver<Result<(), HandOverError>> {
        let (done, moved) = mpsc::channel();
        let id = self.ids[0];
        let to = self.new.as_ref().expect("a new owner").probe.pid;
        self.old.probe.try_start(move |cx| {
            let _ = done.send(cx.hand_over(id, to));
            Ok(())
        });
        moved
    }

    fn order_relay(&mut self) -> Receiver<Result<(), RelayError>> {
        let (done, relayed) = mpsc::channel();
        let (first, second) = (self.ids[0], self.ids[1]);
        self.owner().probe.try_start(move |cx| {
            let _ = done.send(cx.relay(first, second));
            Ok(())
        });
        relayed
    }

    /// Gives the orders, and has the cell end.
    fn run(&mut self) {
        self.answer(false, 0);
        if self.cell.relays() {
            self.answer(true, 1);
        }
        let gate = (self.cell.order == Order::Blocked).then(|| self.old.probe.block());
        if gate.is_some() && !self.is_narrow && self.random.flip() {
            self.write();
        }
        let moved = self.cell.hands_over().then(|| self.order_hand_over());
        let mut relayed = None;
        if self.cell.verb == Verb::Relay {
            relayed = Some(self.order_relay());
        }
        self.write();
        drop(gate);
        if self.cell.verb == Verb::HandOver {
            self.answer(true, 0);
        }
        if self.cell.verb == Verb::Both {
            self.moved = moved.as_ref().and_then(outcome);
            if self.moved == Some(Ok(())) {
                relayed = Some(self.order_relay());
            }
        }
        if self.cell.order == Order::Flowing {
            self.moved = self.moved.or_else(|| moved.as_ref().and_then(outcome));
            self.relayed = relayed.as_ref().and_then(outcome);
            self.write();
            self.wait_for_flow();
        }
        self.disturb();
        self.moved = self.moved.or_else(|| moved.as_ref().and_then(outcome));
        self.relayed = self.relayed.or_else(|| relayed.as_ref().and_then(outcome));
        if !self.ends_by_itself() {
            self.peers.iter_mut().for_each(Peer::finish);
        }
        read_out_all(&mut self.peers);
        if self.cell.ending != Some(Ending::Stop) {
            let is_connection = |kind: &SocketKind| matches!(kind, SocketKind::Connection(_));
            wait_until("the connections have ended", || {
                !self
                    .node
                    .sockets()
                    .any(|socket| is_connection(&socket.kind))
            });
        }
    }

    /// Waits until everything that was written has arrived.
    fn wait_for_flow(&mut self) {
        let relays = self.cell.relays();
        wait_until("everything to flow", || {
            self.peers.iter_mut().for_each(|peer| _ = peer.poll());
            let mut arrived = vec![0; self.ids.len()];
            for (index, id) in self.ids.iter().enumerate() {
                arrived[index] += self.old.handled(*id).len();
                arrived[index] += self.new.as_mut().map_or(0, |new| new.handled(*id).len());
            }
            if relays {
                for (index, peer) in self.peers.iter().enumerate() {
                    arrived[1 - index] +=
                        peer.got.len() - self.accepted[index].len().min(peer.got.len());
                }
            }
            arrived
                .iter()
                .zip(&self.sent)
                .all(|(arrived, sent)| *arrived == sent.len())
        });
    }

    fn disturb(&mut self) {
        let ending_first = self.random.flip();
        if ending_first {
            self.end();
        }
        self.exit();
        if !ending_first {
            self.end();
        }
    }

    fn end(&self) {
        let (first, listener) = (self.ids[0], self.listener);
        let Some(ending) = self.cell.ending else {
            return;
        };
        self.root.probe.start(move |cx| {
            // The connection may have ended.
            _ = match ending {
                Ending::Stop => {
                    cx.stop_node();
                    Ok(())
                }
                Ending::Drain => cx.drain(listener, Duration::from_millis(1)),
                Ending::Abort => cx.abort(first),
                Ending::Close => cx.close(first),
            };
            Ok(())
        });
    }

    fn exit(&mut self) {
        let Some((party, manner)) = self.cell.exit else {
            return;
        };
        let process = match party {
            Party::Source => return leave(&mut self.peers[0], manner),
            Party::Target => return leave(&mut self.peers[1], manner),
            Party::Old => &self.old.probe,
            Party::Owner => &self.new.as_ref().unwrap_or(&self.old).probe,
        };
        match manner {
            Manner::Orderly => process.try_start(|_| Err(Reason::Normal)),
            Manner::Panic => process.try_start(|_| resume_unwind(Box::new("it was asked to"))),
            Manner::Kill => drop(self.node.send_exit(process.pid, Reason::Kill)),
        }
    }

    fn has_moved(&self) -> bool {
        self.moved == Some(Ok(()))
    }

    fn has_relayed(&self) -> bool {
        self.relayed == Some(Ok(()))
    }

    /// Whether every connection ends although no peer ends its side.
    fn ends_by_itself(&self) -> bool {
        if self.cell.ending == Some(Ending::Stop) {
            return true;
        }
        let cell = self.cell;
        if (cell.hands_over() && !self.has_moved()) || (cell.relays() && !self.has_relayed()) {
            return false;
        }
        let is_exit = cell.exit.is_some_and(|(party, _)| party != Party::Old);
        let is_end = match cell.ending {
            None | Some(Ending::Stop) => false,
            // The listener may have ended with its process.
            Some(Ending::Drain) => self.is_root_listening || cell.exit.is_none(),
            Some(Ending::Abort | Ending::Close) => true,
        };
        is_exit || is_end
    }
}

fn leave(peer: &mut Peer, manner: Manner) {
    match manner {
        Manner::Orderly => peer.finish(),
        Manner::Panic => peer.reset(),
        Manner::Kill => peer.vanish(),
    }
}

/// Plays every cell of a verb and a wiring.
fn play_all(verb: Verb, wiring: Wiring, play: impl Fn(Cell, u64)) {
    let mut failed = Vec::new();
    for (number, cell) in Cell::all(verb, wiring).into_iter().enumerate() {
        println!("{number}: {cell:?}");
        if catch_unwind(AssertUnwindSafe(|| play(cell, number as u64))).is_err() {
            failed.push(cell);
        }
    }
    assert!(failed.is_empty(), "{} cells: {failed:#?}", failed.len());
}

fn play(cell: Cell, number: u64) {
    let mut play = Play::new(cell, number);
    play.run();
    let report = play.node.stop();
    play.judge(&report);
}

/// Plays a cell once for each seed.
#[cfg(feature = "testing")]
fn play_simulated(cell: Cell, number: u64) {
    let round = std::cell::Cell::new(0);
    simulation::run(|| play(cell, (round.replace(round.get() + 1) << 32) + number));
}

macro_rules! cells {
    ($($name:ident: $verb:ident, $wiring:ident;)*) => {
        $(
            #[test]
            fn $name() {
                play_all(Verb::$verb, Wiring::$wiring, play);
            }
        )*

        #[cfg(feature = "testing")]
        mod simulated {
            use super::*;

            $(
                #[test]
                fn $name() {
                    play_all(Verb::$verb, Wiring::$wiring, play_simulated);
                }
            )*
        }
    };
}

cells! {
    plain_connection_is_handed_over_whatever_ends_it: HandOver, Plain;
    tls_connection_is_handed_over_whatever_ends_it: HandOver, Tls;
    plain_connections_are_relayed_whatever_ends_them: Relay, Plain;
    tls_connections_are_relayed_whatever_ends_them: Relay, Tls;
    tls_is_relayed_to_plain_whatever_ends_it: Relay, TlsToPlain;
    plain_connection_is_handed_over_and_relayed_whatever_ends_it: Both, Plain;
    tls_connection_is_handed_over_and_relayed_whatever_ends_it: Both, Tls;
    tls_connection_is_handed_over_and_relayed_to_plain_whatever_ends_it: Both, TlsToPlain;
}
