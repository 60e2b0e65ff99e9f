//! A soak test: random faults, pauses, kills and churn for a given time, with every invariant checked while it runs.
//!
//! ```text
//! cargo test --release --test soak -- --nocapture                          # ten seconds
//! LONGSHORE_SOAK_SECONDS=3600 cargo test --release --test soak             # an hour
//! LONGSHORE_SOAK_SEED=7 …                                                  # another seed
//! ```
//!
//! Rounds of three phases:
//!
//! 1. *storm*: clients behave in every way; owners and the listener are killed, panic, close, abort and pause at
//!    random. What a client gets back is always a prefix of what it sent.
//! 2. *calm*: faults end; a well-behaved client that begins now gets everything back.
//! 3. *quiet*: no client is connected; descriptors, meta-processes, buffers, timers and slots are what they were in the
//!    first round, and memory does not grow.
//!
//! In every phase a connection is Connect, data in order, one Disconnect. Unsent bytes are reported, and only with a
//! reason that allows them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use longshore::prelude::*;
use longshore::{HeaderFraming, SendErrorKind, SocketOptions, TcpLimits};

/// What a callback of a process returns.
type Handled = Result<(), Reason>;

const CLIENTS: usize = 8;
const OWNERS: [&str; 4] = ["owner0", "owner1", "owner2", "owner3"];
const STORM: Duration = Duration::from_millis(1_500);
const CALM: Duration = Duration::from_millis(700);
/// Every wait ends here.
const LIMIT: Duration = Duration::from_secs(30);
/// Frames and their headers: four bytes of length, eight of number.
const HEADER: usize = 12;
/// Memory may be this much more than after the first rounds.
const GROWTH: usize = 24 << 20;

// ---- Shared state ----

/// What the node's side and the clients share.
#[derive(Default)]
struct World {
    addr: Mutex<Option<SocketAddr>>,
    storm: AtomicBool,
    /// Clients may begin a new connection.
    open: AtomicBool,
    over: AtomicBool,
    /// Clients with work in progress.
    active: AtomicUsize,
    complete: AtomicU64,
    cut: AtomicU64,
    datagrams: AtomicU64,
    disconnects: AtomicU64,
    kills: AtomicU64,
    /// The highest slot of all connections.
    slot_max: AtomicU64,
    broken: Mutex<Vec<String>>,
}

impl World {
    /// Records that an invariant does not hold.
    fn broken(&self, what: String) {
        self.broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    fn addr(&self) -> SocketAddr {
        let deadline = Instant::now() + LIMIT;
        loop {
            let addr = *self.addr.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(addr) = addr {
                return addr;
            }
            assert!(Instant::now() < deadline, "no listener came back");
            thread::park_timeout(Duration::from_micros(100));
        }
    }
}

// ---- The node's side ----

/// True once in `sides` calls on average.
fn one_in(random: &mut Rng, sides: u64) -> bool {
    random.u64(..sides) == 0
}

/// The root process: keeps owners and the listener alive.
struct Keeper {
    world: Arc<World>,
    random: Rng,
    watched: HashMap<Ref, Option<&'static str>>,
}

impl Keeper {
    fn start_owner(&mut self, cx: &mut Context<'_>, name: &'static str) -> Handled {
        let owner = Owner {
            world: Arc::clone(&self.world),
            random: self.random.fork(),
            open: HashMap::new(),
        };
        let options = SpawnOptions::default().with_name(name).with_data_bound(64);
        let pid = cx.spawn_with(options, || owner)?;
        self.watched.insert(cx.monitor(pid), Some(name));
        Ok(())
    }

    fn start_listener(&mut self, cx: &mut Context<'_>) -> Handled {
        let world = Arc::clone(&self.world);
        let pid = cx.spawn_register("listener", || Listener { world, addr: None })?;
        self.watched.insert(cx.monitor(pid), None);
        Ok(())
    }
}

impl Actor for Keeper {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        for name in OWNERS {
            self.start_owner(cx, name)?;
        }
        self.start_listener(cx)
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        let Message::Down(down) = message else {
            return Ok(());
        };
        self.world.kills.fetch_add(1, Relaxed);
        match self.watched.remove(&down.monitor) {
            Some(Some(name)) => self.start_owner(cx, name),
            Some(None) => self.start_listener(cx),
            None => {
                self.world
                    .broken(format!("a Down without a monitor: {down:?}"));
                Ok(())
            }
        }
    }
}

/// Listens on a port of its own, and answers datagrams on the same.
struct Listener {
    world: Arc<World>,
    addr: Option<SocketAddr>,
}

impl Actor for Listener {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let limits = TcpLimits::default()
            .with_write_timeout(Duration::from_millis(300))
            .with_frame_timeout(Duration::from_millis(600))
            .with_idle_timeout(Duration::from_secs(5))
            .with_close_timeout(Duration::from_millis(500))
            .with_linger_timeout(Duration::from_millis(200));
        let framing = HeaderFraming::default()
            .with_length_size(4)
            .with_header_size(4)
            .with_max_length(64 << 10);
        let options = TcpServerOptions::from("127.0.0.1:0")
            .with_framing(Framing::header(framing))
            .with_limits(limits)
            .with_socket(
                SocketOptions::default()
                    .with_recv_buffer_size(64 << 10)
                    .with_send_buffer_size(64 << 10),
            )
            .with_max_connections(64)
            .with_process_pool(OWNERS);
        let tcp = TcpServer::bind(options)?;
        let addr = tcp.local_addr();
        cx.spawn_meta(tcp)?;
        // The UDP port of the same number may belong to another program.
        if let Ok(udp) = UdpServer::bind(addr) {
            cx.spawn_meta(udp)?;
        }
        self.addr = Some(addr);
        *self
            .world
            .addr
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(addr);
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Message::Udp(packet) = message {
            // A full socket drops datagrams, as the network does.
            let _ = cx.send_alias(packet.id, packet);
        }
        Ok(())
    }

    fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
        // Its monitors are notified first, and may have started the next one.
        let mut addr = self
            .world
            .addr
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *addr == self.addr {
            *addr = None;
        }
    }
}

/// Echoes, and injects faults in a storm.
struct Owner {
    world: Arc<World>,
    random: Rng,
    open: HashMap<Alias, bool>,
}

/// The faults that the test injects into an owner.
enum Chaos {
    Panic,
    Fail,
    Resume(Alias),
}

impl Owner {
    fn echo(&self, cx: &mut Context<'_>, packet: MessageTcp) {
        let id = packet.id;
        if !self.open.contains_key(&id) {
            self.world
                .broken(format!("data of {id} that is not connected"));
        }
        let Err(error) = cx.send_alias(id, packet) else {
            return;
        };
        // Reading pauses before the output reaches its limit.
        if !matches!(error.kind(), SendErrorKind::NoMeta | SendErrorKind::Closing) {
            self.world.broken(format!("an echo was refused: {error}"));
        }
    }

    fn misbehave(&mut self, cx: &mut Context<'_>, id: Alias) {
        if !self.world.storm.load(Relaxed) || !one_in(&mut self.random, 40) {
            return;
        }
        // The connection may have ended meanwhile.
        let _ = match self.random.u64(..5) {
            0 => cx.close(id),
            1 => cx.abort(id),
            2 => cx.shutdown_write(id),
            3 => cx.send_exit_meta(id, Reason::error("chaos")),
            _ => {
                cx.send_after(
                    cx.pid(),
                    Chaos::Resume(id),
                    Duration::from_millis(1 + self.random.u64(..50)),
                );
                cx.pause_reading(id)
            }
        };
    }

    fn ended(&mut self, end: &MessageTcpDisconnect) {
        if self.open.remove(&end.id).is_none() {
            self.world.broken(format!(
                "a second Disconnect, or one without Connect: {end:?}"
            ));
        }
        self.world.disconnects.fetch_add(1, Relaxed);
        let complete = matches!(
            end.reason,
            DisconnectReason::ClosedByPeer | DisconnectReason::LocalClose
        );
        if complete && end.unsent > 0 {
            self.world
                .broken(format!("unsent bytes without a reason: {end:?}"));
        }
    }
}

impl Actor for Owner {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(connect) => {
                if self.open.insert(connect.id, true).is_some() {
                    self.world
                        .broken(format!("a second Connect of {}", connect.id));
                }
                // "#stripe.slot.generation"
                let slot = connect
                    .id
                    .to_string()
                    .split('.')
                    .nth(1)
                    .and_then(|slot| slot.parse().ok());
                self.world
                    .slot_max
                    .fetch_max(slot.unwrap_or(u64::MAX), Relaxed);
            }
            Message::Tcp(packet) => {
                let id = packet.id;
                self.echo(cx, packet);
                self.misbehave(cx, id);
            }
            Message::TcpDisconnect(end) => self.ended(&end),
            Message::TcpWritable(_) => {}
            other => match other.downcast::<Chaos>() {
                Ok(Chaos::Panic) => panic!("chaos"),
                Ok(Chaos::Fail) => return Err(Reason::error("chaos")),
                // The target may have terminated by now.
                Ok(Chaos::Resume(id)) => drop(cx.resume_reading(id)),
                Err(other) => self
                    .world
                    .broken(format!("an unexpected message: {other:?}")),
            },
        }
        Ok(())
    }
}

// ---- The clients ----

/// A frame: its length, its number, and bytes that belong to them.
fn frame(nonce: u64, number: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend_from_slice(&u32::try_from(8 + length).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&(nonce ^ number).to_be_bytes());
    bytes.extend((0..length).map(|index| (nonce as usize + number as usize * 7 + index) as u8));
    bytes
}

struct Client {
    world: Arc<World>,
    random: Rng,
}

impl Client {
    fn run(mut self) {
        while !self.world.over.load(Relaxed) {
            if !self.world.open.load(Relaxed) {
                thread::park_timeout(Duration::from_millis(1));
                continue;
            }
            self.world.active.fetch_add(1, Relaxed);
            // `open` is read after the client counts as active, because the quiet phase waits for all active clients.
            if self.world.open.load(Relaxed) {
                self.act();
            }
            self.world.active.fetch_sub(1, Relaxed);
        }
    }

    fn act(&mut self) {
        if one_in(&mut self.random, 8) {
            return self.datagrams();
        }
        // A killed listener resets the connections in its backlog.
        let Ok(stream) = TcpStream::connect_timeout(&self.world.addr(), LIMIT) else {
            return;
        };
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        stream.set_write_timeout(Some(LIMIT)).expect("a timeout");
        match self.random.u64(..12) {
            0 => drop(stream),
            1 => reset(stream),
            2 => self.garbage(stream),
            3 => self.stall(stream),
            4 => self.leave_midway(stream),
            _ => self.exchange(stream),
        }
    }

    /// Sends frames, shuts down its side, and gets every frame back.
    fn exchange(&mut self, stream: TcpStream) {
        let must_be_complete = !self.world.storm.load(Relaxed);
        let nonce = u64::from(self.random.u32(..)) << 20;
        let count = 1 + self.random.u64(..30);
        let dribbles = one_in(&mut self.random, 10);
        let lengths: Vec<usize> = (0..count)
            .map(|_| if one_in(&mut self.random, 5) { self.random.u64(..8_000) } else { self.random.u64(..100) } as usize)
            .collect();
        let sent: Vec<u8> = lengths
            .iter()
            .enumerate()
            .flat_map(|(number, length)| frame(nonce, number as u64, *length))
            .collect();
        let mut writer = stream.try_clone().expect("a clone");
        let bytes = sent.clone();
        let writing = thread::spawn(move || {
            for piece in bytes.chunks(if dribbles { 97 } else { 1 << 20 }) {
                writer.write_all(piece)?;
            }
            writer.shutdown(Shutdown::Write)
        });
        let (got, end) = read_all(stream);
        let written = writing.join().expect("no panic");
        if !sent.starts_with(&got) {
            self.world.broken(format!(
                "what came back is not what was sent: {} of {} bytes",
                got.len(),
                sent.len()
            ));
        }
        if got.len() == sent.len() {
            self.world.complete.fetch_add(1, Relaxed);
        } else {
            self.world.cut.fetch_add(1, Relaxed);
            if must_be_complete {
                let text = format!(
                    "{} of {} bytes in the calm: {written:?}, {end:?}",
                    got.len(),
                    sent.len()
                );
                self.world.broken(text);
            }
        }
        if matches!(end, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)) {
            self.world.broken("a connection hangs".into());
        }
    }

    /// A header that no framing accepts.
    fn garbage(&self, mut stream: TcpStream) {
        let _ = stream.write_all(&[0xff; 64]);
        let (got, end) = read_all(stream);
        if !got.is_empty() || matches!(end, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)) {
            self.world.broken(format!(
                "garbage was answered: {} bytes, {end:?}",
                got.len()
            ));
        }
    }

    /// Writes and does not read, until it is closed.
    fn stall(&self, mut stream: TcpStream) {
        let deadline = Instant::now() + LIMIT;
        let block = frame(1, 1, 8_000);
        stream
            .set_write_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        loop {
            match stream.write(&block) {
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
            if Instant::now() > deadline {
                return self
                    .world
                    .broken("a peer that never reads is never closed".into());
            }
        }
    }

    /// Closes with frames in flight.
    fn leave_midway(&mut self, mut stream: TcpStream) {
        let _ = stream.write_all(&frame(2, 2, 5_000)[..1 + self.random.u64(..4_000) as usize]);
        if one_in(&mut self.random, 2) {
            reset(stream);
        }
    }

    fn datagrams(&mut self) {
        let addr = self.world.addr();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        let mut room = [0; 2_000];
        for number in 0..10_u64 {
            let bytes = frame(3, number, self.random.u64(..1_000) as usize);
            let _ = socket.send_to(&bytes, addr);
            // Datagrams may be lost; those that arrive are whole.
            if let Ok((length, from)) = socket.recv_from(&mut room) {
                self.world.datagrams.fetch_add(1, Relaxed);
                let number = u64::from_be_bytes(room[4..12].try_into().expect("8 bytes")) ^ 3;
                if from != addr || number > 9 || room[..length] != frame(3, number, length - HEADER)
                {
                    self.world
                        .broken(format!("another datagram came back, from {from}"));
                }
            }
        }
    }
}

/// Reads to any kind of end.
fn read_all(mut stream: TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut got = Vec::new();
    let end = stream.read_to_end(&mut got).err().map(|error| error.kind());
    (got, end)
}

fn reset(stream: TcpStream) {
    let _ = socket2::Socket::from(stream).set_linger(Some(Duration::ZERO));
}

// ---- The rounds ----

/// The resources of a quiet node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    processes: u64,
    meta_processes: u64,
    timers: u64,
    buffers: u64,
}

impl Held {
    fn of(node: &Node) -> Self {
        let metrics = node.metrics();
        let count = |name: &str| metrics.get(&format!("longshore_{name}")).expect("a count");
        Self {
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            processes: count("processes"),
            meta_processes: count("meta_processes"),
            timers: count("timers"),
            buffers: count("buffers"),
        }
    }
}

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok())
        .unwrap_or(0)
        * 1024
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Injects faults for some time.
fn storm(node: &Node, world: &World, random: &mut Rng) {
    world.storm.store(true, Relaxed);
    let end = Instant::now() + STORM;
    while Instant::now() < end {
        thread::park_timeout(Duration::from_millis(1 + random.u64(..40)));
        let owner = OWNERS[random.u64(..OWNERS.len() as u64) as usize];
        // The target may have terminated just now.
        match random.u64(..6) {
            0 => drop(node.send(owner, Chaos::Panic)),
            1 => drop(node.send(owner, Chaos::Fail)),
            2 => drop(node.send_exit(owner, Reason::Kill)),
            3 if one_in(random, 3) => drop(node.send_exit("listener", Reason::error("chaos"))),
            _ => {}
        }
    }
}

/// Waits until no client is active, and then reads the resources in use.
fn quiet(node: &Node, world: &World, expected: Option<Held>) -> Result<Held, String> {
    world.open.store(false, Relaxed);
    let deadline = Instant::now() + LIMIT;
    let mut seen = Held::of(node);
    while Instant::now() < deadline {
        let busy = world.active.load(Relaxed) > 0;
        seen = Held::of(node);
        if !busy && expected.map_or(seen.meta_processes <= 2, |expected| expected == seen) {
            return Ok(seen);
        }
        thread::park_timeout(Duration::from_millis(2));
    }
    Err(format!(
        "not quiet: {seen:?}, expected {expected:?}, {} clients active",
        world.active.load(Relaxed)
    ))
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_lost_and_nothing_grows() {
    std::panic::set_hook(Box::new({
        let report = std::panic::take_hook();
        move |info| {
            if !thread::current()
                .name()
                .is_some_and(|name| name.starts_with("longshore"))
            {
                report(info);
            }
        }
    }));
    let seconds = setting("LONGSHORE_SOAK_SECONDS", 10);
    let seed = setting("LONGSHORE_SOAK_SEED", 0x5eed_1e55) | 1;
    let mut random = Rng::with_seed(seed);
    let world = Arc::new(World::default());
    let node = Node::start(NodeOptions::from("soak@localhost").with_workers(2)).expect("a node");
    let keeper = Keeper {
        world: Arc::clone(&world),
        random: Rng::with_seed(seed ^ 0xffff),
        watched: HashMap::new(),
    };
    node.spawn_register("keeper", || keeper).expect("a keeper");
    let clients: Vec<_> = (0..CLIENTS as u64)
        .map(|number| {
            let client = Client {
                world: Arc::clone(&world),
                random: Rng::with_seed((seed + number * 0x9e37_79b9) | 1),
            };
            thread::spawn(move || client.run())
        })
        .collect();

    let began = Instant::now();
    let (mut rounds, mut expected, mut memory) = (0, None, 0);
    let mut failure = None;
    while failure.is_none() && (rounds < 3 || began.elapsed() < Duration::from_secs(seconds)) {
        world.open.store(true, Relaxed);
        storm(&node, &world, &mut random);
        // All clients finish between storm and calm, so that a client of the calm has seen no storm.
        if let Err(problem) = quiet(&node, &world, None) {
            failure = Some(problem);
            break;
        }
        world.storm.store(false, Relaxed);
        world.open.store(true, Relaxed);
        thread::park_timeout(CALM);
        match quiet(&node, &world, expected) {
            Ok(held) => expected = Some(held),
            Err(problem) => failure = Some(problem),
        }
        rounds += 1;
        let now = resident();
        if rounds == 3 {
            memory = now;
        } else if rounds > 3 && now > memory + GROWTH {
            failure = Some(format!(
                "memory has grown from {} to {} MiB",
                memory >> 20,
                now >> 20
            ));
        }
        if world.slot_max.load(Relaxed) > 256 {
            failure = Some(format!(
                "slot {} was used, with 64 connections at once",
                world.slot_max.load(Relaxed)
            ));
        }
        let broken =
            std::mem::take(&mut *world.broken.lock().unwrap_or_else(PoisonError::into_inner));
        if !broken.is_empty() {
            failure = Some(broken.join("\n"));
        }
        if rounds % 5 == 0 || failure.is_some() {
            println!("{}", status(&world, rounds, began, now));
        }
    }
    println!(
        "{}, held {expected:?}",
        status(&world, rounds, began, resident())
    );
    world.over.store(true, Relaxed);
    world.open.store(true, Relaxed);
    assert!(
        failure.is_none(),
        "seed {seed}: {}",
        failure.unwrap_or_default()
    );
    for client in clients {
        client.join().expect("no panic");
    }
    let report = node.stop();
    assert!(report.is_clean(), "{report}");
    assert!(
        world.complete.load(Relaxed) > 0
            && world.cut.load(Relaxed) > 0
            && world.kills.load(Relaxed) > 0
    );
}

fn status(world: &World, rounds: u32, began: Instant, memory: usize) -> String {
    let mut text = format!("{rounds} rounds in {} s", began.elapsed().as_secs());
    for (name, count) in [
        ("complete", &world.complete),
        ("cut", &world.cut),
        ("datagrams", &world.datagrams),
        ("disconnects", &world.disconnects),
        ("killed", &world.kills),
        ("highest slot", &world.slot_max),
    ] {
        let _ = write!(text, ", {} {name}", count.load(Relaxed));
    }
    let _ = write!(text, ", {} KiB", memory >> 10);
    text
}
