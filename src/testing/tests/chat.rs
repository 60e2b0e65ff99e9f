//! A chat server under random faults: what must hold for every seed, whatever goes wrong.
//!
//! A supervised room serves clients that write lines, ask for bulk, stop reading, end and reset. Faults reset and stall
//! connections, pause and stop the node, kill processes and let accepts fail. Everything is recorded on both sides in a
//! [`Book`], and compared:
//!
//! 1. Connect, data and Disconnect of a connection come in this order, the first and the last once.
//! 2. What one side has read is a prefix of what the other has written, and all of it when nothing is in the way.
//! 3. What was written is what was sent, unsent, refused and late, and what the socket took is `bytes_out`.
//! 4. A timer of one incarnation of the room does not fire in the next.
//! 5. A connection whose owner is gone, or that got an exit signal, ends.
//! 6. An orderly end comes behind everything that was accepted.
//! 7. A stop without faults is clean and within its time, and nothing is left: processes, meta-processes, timers,
//!    buffers, descriptors, connections.

use super::Handled;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::message::Flow;
use crate::prelude::*;
use crate::record::Logger;
use crate::testing::*;
use crate::{NodeOptions, TcpLimits};

/// Bytes that a line `b` asks for.
const BULK: usize = 30_000;
/// Bytes of one write of bulk.
const CHUNK: usize = 1_000;

/// What the room has seen and done, over all its incarnations.
#[derive(Debug, Default)]
struct Book {
    incarnations: u32,
    /// By the alias: none is used twice.
    connections: BTreeMap<Alias, Entry>,
    violations: Vec<String>,
}

/// One connection, as the room sees it.
#[derive(Debug, Default)]
struct Entry {
    incarnation: u32,
    remote: Option<SocketAddr>,
    is_outgoing: bool,
    /// It got an exit signal.
    is_exited: bool,
    is_connected: bool,
    is_ended: bool,
    received: Vec<u8>,
    /// Everything that was written, accepted or not.
    written: Vec<u8>,
    /// Bytes of bulk that wait for a Writable.
    bulk: usize,
    /// Bytes that were written and are neither sent, nor unsent, nor refused: those behind its end.
    late: u64,
    bytes_out: u64,
    unsent: u64,
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Book>>);

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the room has got the Connect of a guest.
    fn knows(&self, guest: &Guest) -> bool {
        let book = self.book();
        guest
            .addr
            .is_some_and(|addr| !book.entries_of(addr).is_empty())
    }
}

impl Book {
    /// The connections from an address: clients and the room draw their ports on hosts of their own, so it may be that
    /// of two.
    fn entries_of(&self, addr: SocketAddr) -> Vec<&Entry> {
        let entries = self.connections.values();
        entries.filter(|entry| entry.remote == Some(addr)).collect()
    }

    fn violation(&mut self, text: String) {
        self.violations.push(text);
    }

    fn connect(&mut self, incarnation: u32, connect: &MessageTcpConnect) {
        let entry = self.connections.entry(connect.id).or_default();
        if std::mem::replace(&mut entry.is_connected, true) {
            self.violation(format!("{} connects twice", connect.id));
            return;
        }
        entry.incarnation = incarnation;
        entry.remote = Some(connect.remote_addr);
    }

    fn data(&mut self, incarnation: u32, packet: &MessageTcp) {
        let entry = self.connections.entry(packet.id).or_default();
        let is_right = entry.is_connected && !entry.is_ended && entry.incarnation == incarnation;
        entry.received.extend(&packet.data[..]);
        if !entry.is_outgoing {
            entry.received.push(b'\n');
        }
        if !is_right {
            self.violation(format!("data of {} out of order", packet.id));
        }
    }

    fn disconnect(&mut self, end: &MessageTcpDisconnect) {
        let entry = self.connections.entry(end.id).or_default();
        let is_first = !std::mem::replace(&mut entry.is_ended, true);
        let is_right = is_first && (entry.is_connected || entry.is_outgoing);
        let known = end.bytes_out + end.unsent + end.refused_bytes;
        let written = entry.written.len() as u64;
        (entry.bytes_out, entry.unsent) = (end.bytes_out, end.unsent);
        entry.late = written.saturating_sub(known);
        if !is_right {
            self.violation(format!("Disconnect of {} out of order", end.id));
        }
        if known > written {
            self.violation(format!("{}: {written} bytes written, but {end:?}", end.id));
        }
    }
}

/// A message of the room's timer.
struct Tick(u32);

struct Room {
    shared: Shared,
    incarnation: u32,
    lines: u32,
}

impl Room {
    fn new(shared: &Shared) -> Self {
        let mut book = shared.book();
        book.incarnations += 1;
        Self {
            shared: shared.clone(),
            incarnation: book.incarnations,
            lines: 0,
        }
    }

    fn write(&self, cx: &mut Context<'_>, to: Alias, data: &[u8]) {
        let mut book = self.shared.book();
        if let Some(entry) = book
            .connections
            .get_mut(&to)
            .filter(|entry| !entry.is_ended)
        {
            entry.written.extend(data);
            drop(book);
            cx.write(to, data);
        }
    }

    /// Writes bulk until the output is above the high mark.
    fn pump(&self, cx: &mut Context<'_>, to: Alias) {
        let mut book = self.shared.book();
        let Some(entry) = book.connections.get_mut(&to) else {
            return;
        };
        while entry.bulk > 0 && !entry.is_ended {
            let chunk = vec![b'0' + (entry.bulk / CHUNK % 10) as u8; CHUNK];
            match cx.try_write(to, chunk.clone()) {
                Ok(flow) => {
                    entry.written.extend(chunk);
                    entry.bulk -= CHUNK;
                    if flow == Flow::AboveHigh {
                        return;
                    }
                }
                Err(_) => entry.bulk = 0,
            }
        }
    }

    fn handle_line(&mut self, cx: &mut Context<'_>, packet: &MessageTcp) -> Handled {
        self.shared.book().data(self.incarnation, packet);
        let is_outgoing = self.shared.book().connections[&packet.id].is_outgoing;
        self.lines += 1;
        match packet.data.first() {
            _ if is_outgoing => {}
            Some(b'b') => {
                if let Some(entry) = self.shared.book().connections.get_mut(&packet.id) {
                    entry.bulk += BULK;
                }
                self.pump(cx, packet.id);
            }
            // Without the hook, which prints.
            Some(b'p') => std::panic::resume_unwind(Box::new("a planned panic")),
            Some(b'd') => self.dial(cx)?,
            Some(b'c') => cx.close(packet.id)?,
            _ => {
                let guests = self.guests();
                for guest in guests {
                    self.write(cx, guest, &packet.data);
                }
            }
        }
        Ok(())
    }

    fn guests(&self) -> Vec<Alias> {
        let book = self.shared.book();
        let guests = book.connections.iter();
        guests
            .filter(|(_, entry)| {
                entry.incarnation == self.incarnation
                    && entry.is_connected
                    && !entry.is_ended
                    && !entry.is_outgoing
            })
            .map(|(alias, _)| *alias)
            .collect()
    }

    /// Connects to itself; every other one gets an exit signal at once.
    fn dial(&self, cx: &mut Context<'_>) -> Handled {
        let dialed = cx.spawn_meta(TcpConnection::connect(addr())?)?;
        let is_exited = self.lines.is_multiple_of(2);
        let mut book = self.shared.book();
        let entry = book.connections.entry(dialed).or_default();
        (entry.incarnation, entry.is_outgoing) = (self.incarnation, true);
        entry.is_exited = is_exited;
        drop(book);
        if is_exited {
            cx.send_exit_meta(dialed, Reason::Shutdown)?;
        }
        Ok(())
    }
}

impl Actor for Room {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let limits = TcpLimits::default()
            .with_output_limit(40_000)
            .with_high_water_mark(8_000)
            .with_low_water_mark(2_000)
            .with_input_window(400)
            .with_linger_timeout(Duration::from_millis(100));
        let options = TcpServerOptions::from(addr())
            .with_framing(Framing::Lines { max_length: 512 })
            .with_limits(limits);
        cx.spawn_meta(TcpServer::bind(options)?)?;
        cx.send_after(cx.pid(), Tick(self.incarnation), Duration::from_millis(50));
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(connect) => {
                self.shared.book().connect(self.incarnation, &connect);
                if !self.shared.book().connections[&connect.id].is_outgoing {
                    self.write(cx, connect.id, b"hello");
                }
            }
            Message::Tcp(packet) => self.handle_line(cx, &packet)?,
            Message::TcpWritable(writable) => self.pump(cx, writable.id),
            Message::TcpDisconnect(end) => self.shared.book().disconnect(&end),
            other => {
                if let Ok(Tick(incarnation)) = other.downcast() {
                    if incarnation != self.incarnation {
                        let text = format!("{} gets a timer of {incarnation}", self.incarnation);
                        self.shared.book().violation(text);
                    }
                    cx.send_after(cx.pid(), Tick(incarnation), Duration::from_millis(50));
                }
            }
        }
        Ok(())
    }
}

fn addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000))
}

/// A client, and what it has written and read.
struct Guest {
    client: TestClient,
    addr: Option<SocketAddr>,
    number: Option<usize>,
    written: Vec<u8>,
    received: Vec<u8>,
    is_reading: bool,
    /// It has ended its side in one of the ways there are.
    has_ended: bool,
}

impl Guest {
    fn new(node: &TestNode) -> Self {
        let client = node.connect(addr());
        Self {
            addr: client.local_addr(),
            number: client.number(),
            client,
            written: Vec::new(),
            received: Vec::new(),
            is_reading: true,
            has_ended: false,
        }
    }

    fn write(&mut self, line: &[u8]) {
        if !self.has_ended && self.client.end().is_none() {
            self.written.extend(line);
            self.client.write(line);
        }
    }

    /// Does what the seed says.
    fn act(&mut self, world: &World) {
        match world.draw(40) {
            0..=17 => {
                let line = vec![b'a' + 20 + world.draw(6) as u8; world.draw(200) as usize];
                self.write(&[&line[..], b"\n"].concat());
            }
            18..=23 => self.write(b"b\n"),
            24..=26 => {
                self.client.stop_reading();
                self.is_reading = false;
            }
            27..=30 => self.read_again(),
            31 => {
                self.client.half_close();
                self.has_ended = true;
            }
            32 => {
                self.client.reset();
                self.has_ended = true;
            }
            33 if world.draw(4) == 0 => self.write(b"p\n"),
            34 | 35 => self.write(b"d\n"),
            36 => self.write(b"c\n"),
            _ => {}
        }
    }

    fn read_again(&mut self) {
        if !self.is_reading && !self.has_ended {
            self.client.resume_reading();
        }
        self.is_reading = true;
    }
}

/// The faults of the chat.
fn faults() -> FaultOptions {
    FaultOptions::default().with_kinds([
        FaultKind::Reset,
        FaultKind::Reset,
        FaultKind::Stall,
        FaultKind::Pause,
        FaultKind::Partition,
        FaultKind::Kill,
        FaultKind::FailAccepts,
        FaultKind::Stop,
    ])
}

/// One run.
pub(super) fn scenario(world: &World) {
    let shared = Shared::default();
    let options = NodeOptions::from("chat@localhost")
        .with_workers(2)
        .with_logger(Logger::none());
    let node = TestNode::start_with(world, options).expect("the options are right");
    let of_room = shared.clone();
    let room = Child::new("room", move || Room::new(&of_room))
        .with_options(SpawnOptions::default().with_data_bound(8));
    let supervisor = Supervisor::one_for_one()
        .with_intensity(1_000, Duration::from_secs(60))
        .with_child(room);
    node.spawn(|| supervisor).expect("the room starts");
    world.inject(&faults());
    let of_check = shared.clone();
    world.invariant(move || match of_check.book().violations.first() {
        None => Ok(()),
        Some(violation) => Err(violation.clone()),
    });
    let mut guests: Vec<Guest> = Vec::new();
    for _ in 0..12 {
        if guests.len() < 4 || world.draw(3) == 0 {
            guests.push(Guest::new(&node));
        }
        for guest in &mut guests {
            guest.act(world);
        }
        world.advance(Duration::from_millis(1 + world.draw(150)));
    }
    guests.iter_mut().for_each(Guest::read_again);
    world.advance(Duration::from_secs(5));
    if guests
        .iter()
        .any(|guest| guest.client.is_connected() && !shared.knows(guest))
    {
        // A listener whose accepts fail looks again after up to a second, some twenty times.
        world.advance(Duration::from_secs(30));
    }
    let is_stopped = node.metrics().get("longshore_processes") == Some(0);
    for guest in &mut guests {
        guest.received.extend(guest.client.take_received());
    }
    let late = node.metrics().get("longshore_late_writes_total");
    check_bytes(&shared, &guests, world, late.unwrap_or(0));
    if !is_stopped {
        check_liveness(&shared, &guests);
    }
    end(world, &node, guests);
    let violations = &shared.book().violations;
    assert!(violations.is_empty(), "{violations:?}");
}

/// Whether no second guest has got the port of one that has ended.
fn is_of_one(guests: &[Guest], addr: SocketAddr) -> bool {
    let with_it = guests.iter().filter(|guest| guest.addr == Some(addr));
    with_it.count() == 1
}

/// Rules 2, 3 and 6.
fn check_bytes(shared: &Shared, guests: &[Guest], world: &World, late_writes: u64) {
    let book = shared.book();
    for guest in guests {
        let Some(addr) = guest.addr.filter(|addr| is_of_one(guests, *addr)) else {
            continue;
        };
        let [entry] = book.entries_of(addr)[..] else {
            continue;
        };
        assert!(
            entry.written.starts_with(&guest.received),
            "{addr} has read what was not written"
        );
        assert!(
            guest.written.starts_with(&entry.received),
            "the room has read from {addr} what was not written"
        );
        // A peer does not take a part for the whole: an orderly end comes behind everything that was accepted.
        if entry.is_ended && guest.client.end() == Some(ClientEnd::Closed) {
            let accepted = entry.bytes_out + entry.unsent;
            let (sent, unsent) = (entry.bytes_out, entry.unsent);
            assert_eq!(
                guest.received.len() as u64,
                accepted,
                "{addr}, connection {:?}, is closed behind {sent} bytes sent, {unsent} unsent",
                guest.number
            );
        }
        if entry.is_ended
            && let Some(number) = guest.number
        {
            let taken = world.0.net().bytes_written(number)[1];
            assert_eq!(
                entry.bytes_out, taken,
                "bytes that the socket of {addr} took"
            );
        }
        assert!(
            entry.late == 0 || late_writes > 0,
            "{} bytes to {addr} are lost",
            entry.late
        );
    }
}

/// Rule 5, and 2 for connections that are up: nothing is on its way any more.
fn check_liveness(shared: &Shared, guests: &[Guest]) {
    let book = shared.book();
    for (alias, entry) in &book.connections {
        let is_current = entry.incarnation == book.incarnations;
        assert!(
            !(is_current && entry.is_exited && !entry.is_ended),
            "{alias} got an exit signal and lives"
        );
    }
    for guest in guests {
        let is_mine = |addr: &SocketAddr| !guest.has_ended && is_of_one(guests, *addr);
        let Some(addr) = guest.addr.filter(is_mine) else {
            continue;
        };
        let entries = book.entries_of(addr);
        let is_lost = entries.is_empty() && guest.client.is_connected();
        assert!(!is_lost, "{addr} is not accepted");
        let [entry] = entries[..] else { continue };
        let is_up = guest.client.end().is_none();
        assert!(
            !is_up || entry.incarnation == book.incarnations && !entry.is_ended,
            "{addr} is connected to a room that is gone, or has ended it"
        );
        if is_up {
            assert_eq!(entry.bulk, 0, "{addr} waits for bulk");
            assert_eq!(entry.written.len(), guest.received.len(), "to {addr}");
            assert_eq!(entry.received.len(), guest.written.len(), "from {addr}");
        }
    }
}

/// Rule 7.
fn end(world: &World, node: &TestNode, guests: Vec<Guest>) {
    drop(guests);
    // Connections that begin when the stop does.
    let late: Vec<Guest> = (0..3).map(|_| Guest::new(node)).collect();
    world.advance(Duration::from_micros(world.draw(1_500)));
    let began = world.now();
    let report = node.stop();
    let took = world.now() - began;
    assert!(took < Duration::from_secs(4), "a stop takes {took:?}");
    assert!(
        report.stuck.is_empty() && report.killed.is_empty(),
        "{report}"
    );
    drop(late);
    world.run_until_idle();
    let metrics = node.metrics();
    for name in [
        "longshore_processes",
        "longshore_meta_processes",
        "longshore_timers",
        "longshore_buffers",
    ] {
        // Each stripe keeps the buffer that it reads into.
        let kept = if name == "longshore_buffers" { 2 } else { 0 };
        let left = metrics.get(name).unwrap_or(0);
        assert!(left <= kept, "{left} {name} are left");
    }
    assert_eq!(world.net().descriptors(node), 0, "descriptors are left");
    assert_eq!(world.net().open_connections(), 0, "connections are left");
}

/// Segments, latencies and buffers with which everything happens.
pub(super) fn options() -> WorldOptions {
    let link = LinkOptions::default()
        .with_segment(1..=3_000)
        .with_short_writes(100_000)
        .with_loss(10_000);
    let net = NetOptions::default()
        .with_link(link)
        .with_buffers(6_000, 6_000);
    WorldOptions::default().with_net(net)
}

#[test]
fn chat_keeps_its_promises_under_faults() {
    // All of them take half a minute of processor time of an optimized build.
    let seeds = if cfg!(debug_assertions) { 100 } else { 10_000 };
    explore_with(&options(), 0..seeds, scenario);
}
