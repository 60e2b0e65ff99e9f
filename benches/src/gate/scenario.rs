//! What the gate runs: one operation `N` times, with as little else as possible.
//!
//! A scenario with several threads is run by valgrind one thread at a time; where the threads hand over decides how much
//! is batched, so such counts move a little and have a wider tolerance in the file.

use crate::actors::{self, Flow};
use crate::peers::{self, Mode, Options};
use crate::spin::Spin;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;

/// One scenario with its two numbers of operations.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// How it is called in the file.
    pub name: &'static str,
    /// The smaller number of operations.
    pub few: u64,
    /// The larger one.
    pub many: u64,
    /// Does `n` operations.
    pub run: fn(u64),
}

/// All scenarios; the gate runs those that the file names.
pub const SCENARIOS: &[Scenario] = &[
    scenario("std-channel", 1_000, 11_000, std_channel),
    scenario("epoll-tcp-echo", 500, 2_500, |n| tcp_echo("epoll", n)),
    scenario("mio-tcp-echo", 500, 2_500, |n| tcp_echo("mio", n)),
    scenario("tokio-tcp-echo", 500, 2_500, |n| tcp_echo("tokio-ct", n)),
    scenario("epoll-udp-echo", 500, 2_500, |n| udp_echo("epoll", n, 1)),
    scenario("tokio-udp-echo", 500, 2_500, |n| udp_echo("tokio-ct", n, 1)),
    scenario("epoll-udp-burst", 1_600, 9_600, |n| udp_echo("epoll", n, BURST)),
    scenario("tokio-udp-burst", 1_600, 9_600, |n| udp_echo("tokio-ct", n, BURST)),
    scenario("tokio-ping-pong", 2_000, 12_000, |n| ping_pong("tokio", n)),
    scenario("tokio-flood", 8_000, 48_000, |n| flood("tokio", n)),
    scenario("tokio-spawn-end", 1_000, 5_000, |n| spawn_end("tokio", n)),
    scenario("tcp-echo", 500, 2_500, |n| tcp_echo("longshore", n)),
    scenario("udp-echo", 500, 2_500, |n| udp_echo("longshore", n, 1)),
    scenario("udp-burst", 1_600, 9_600, |n| udp_echo("longshore", n, BURST)),
    scenario("ping-pong", 2_000, 12_000, |n| ping_pong("longshore", n)),
    scenario("flood", 8_000, 48_000, |n| flood("longshore", n)),
    scenario("spawn-end", 1_000, 5_000, |n| spawn_end("longshore", n)),
];

/// Datagrams in flight: the window of the generator.
const BURST: u64 = 16;

const fn scenario(name: &'static str, few: u64, many: u64, run: fn(u64)) -> Scenario {
    Scenario { name, few, many, run }
}

/// Finds a scenario by name.
pub fn find(name: &str) -> Option<Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).copied()
}

/// One thread sends itself one word: the same count every time.
fn std_channel(n: u64) {
    let (sender, receiver) = channel();
    for number in 0..n {
        sender.send(number).expect("the receiver lives");
        assert_eq!(receiver.recv(), Ok(number));
    }
}

/// A blocking client and a server in one process, 64 bytes, one message in flight.
fn tcp_echo(peer: &str, n: u64) {
    let mut socket = TcpStream::connect(serve(peer, Mode::Echo)).expect("the server listens");
    socket.set_nodelay(true).expect("a connected socket");
    let (message, mut reply) = ([7; 64], [0; 64]);
    for _ in 0..n {
        socket.write_all(&message).expect("the server reads");
        socket.read_exact(&mut reply).expect("the server answers");
        assert_eq!(reply, message);
    }
}

/// A blocking client that has so many datagrams of 64 bytes in flight, sent together.
fn udp_echo(peer: &str, n: u64, burst: u64) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    socket.connect(serve(peer, Mode::Udp)).expect("a local address");
    let (message, mut reply) = ([7; 64], [0; 128]);
    for _ in 0..n / burst {
        for _ in 0..burst {
            socket.send(&message).expect("the server listens");
        }
        for _ in 0..burst {
            assert_eq!(socket.recv(&mut reply).expect("a few in flight are never lost on loopback"), message.len());
        }
    }
}

fn serve(peer: &str, mode: Mode) -> SocketAddr {
    let (bound, was_bound) = channel();
    let options = Options {
        addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        workers: 1,
        buffer_bytes: 8_192,
        spin: Spin::default(),
        mode,
        files: None,
        bound: Some(bound),
    };
    let (_, serve) = peers::PEERS.iter().find(|(name, _)| *name == peer).expect("a known peer");
    // It ends with the process.
    thread::spawn(move || serve(options).map_err(|error| eprintln!("{error}")));
    was_bound.recv().expect("the server binds")
}

fn subject(name: &str) -> Box<dyn actors::Subject> {
    let (_, build) = actors::SUBJECTS.iter().find(|(known, _)| *known == name).expect("a known subject");
    build(1)
}

fn ping_pong(name: &str, n: u64) {
    subject(name).ping_pong(n).expect("every subject plays");
}

fn flood(name: &str, n: u64) {
    subject(name).flow(Flow { producers: 1, consumers: 1 }, n).expect("every subject floods");
}

fn spawn_end(name: &str, n: u64) {
    subject(name).spawn_end(n).expect("every subject spawns");
}
