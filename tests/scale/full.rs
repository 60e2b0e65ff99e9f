//! Very many connections into one mailbox that is always full: what a message costs, beside a bare epoll loop, and how
//! long a newcomer waits.
//!
//! ```text
//! cargo test --release --test scale full -- --nocapture
//! ```
//!
//! The clients run in a process of their own, as those of `crowd`. Costs are processor time of this process; the wait of a
//! newcomer is time. On a machine that has other work the bound of the first is twice as high, and that of the second ten
//! times.

use std::io::{BufRead, BufReader, ErrorKind, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use mio::net::TcpListener as MioListener;
use mio::{Events, Interest, Poll, Token};

use crate::support::{
    Handled, PATIENCE, alone, connect, cpu_of_this_program, descriptors_allowed, eventually,
    is_loaded, node, reset, scaled,
};

/// Sends the client process an order.
const ORDERS: &str = "LONGSHORE_SCALE_FLOOD";
/// A line of 32 bytes.
const LINE: &[u8; 32] = b"a line of thirty-two bytes, now\n";
/// Lines that a client writes at once.
const BURST: usize = 100;
/// What a newcomer says.
const NEW: &[u8] = b"new\n";
const ANSWER: &[u8] = b"served\n";

const FEW: usize = 100;
const MANY: usize = scaled(19_900, 1_000);
/// Messages of one measurement.
const MESSAGES: usize = scaled(2_000_000, 200_000);
const ATTEMPTS: usize = 3;

// ---- The clients ----

/// The process of the clients.
struct Flood {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Flood {
    /// Opens the connections. Each will send this many lines, or lines without end.
    fn open(address: SocketAddr, connections: usize, lines: Option<usize>) -> Self {
        let lines = lines.map_or("all".to_owned(), |lines| lines.to_string());
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "full::clients", "--ignored", "--nocapture"])
            .env(ORDERS, format!("{address} {connections} {lines}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap().contains("all open")),
            "the clients failed"
        );
        Self { process, lines }
    }

    fn begin(&mut self) {
        let mut input = self.process.stdin.take().unwrap();
        input.write_all(b"go\n").unwrap();
        self.process.stdin = Some(input);
        assert!(self.lines.any(|line| line.unwrap().contains("begun")));
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
#[ignore = "the other process of the tests above"]
fn clients() {
    let Ok(orders) = std::env::var(ORDERS) else {
        return;
    };
    let orders: Vec<&str> = orders.split(' ').collect();
    let (address, count) = (orders[0].parse().unwrap(), orders[1].parse().unwrap());
    let lines = orders[2].parse().unwrap_or(usize::MAX / LINE.len());
    assert!(descriptors_allowed(count as u64 + 50));
    let streams: Vec<TcpStream> = (0..count).map(|_| connect(address)).collect();
    println!("all open");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    println!("begun");
    let _streams = write_all(streams, lines * LINE.len());
    // The other process ends this one when it has got everything, and then the streams are reset.
    std::io::stdin().read_line(&mut String::new()).ok();
}

/// Writes this many bytes to each, a burst at a time and as the sockets take it.
fn write_all(streams: Vec<TcpStream>, bytes: usize) -> Vec<(mio::net::TcpStream, usize)> {
    let burst: Vec<u8> = LINE.repeat(BURST);
    let mut poll = Poll::new().unwrap();
    let mut peers: Vec<(mio::net::TcpStream, usize)> = streams
        .into_iter()
        .map(|stream| {
            // Little, so that 19,900 full sockets fit into what the kernel has for all of them.
            let socket = socket2::SockRef::from(&stream);
            socket.set_send_buffer_size(16 << 10).unwrap();
            socket.set_linger(Some(Duration::ZERO)).unwrap();
            stream.set_nonblocking(true).unwrap();
            (mio::net::TcpStream::from_std(stream), 0)
        })
        .collect();
    for (token, (stream, _)) in peers.iter_mut().enumerate() {
        let registry = poll.registry();
        registry
            .register(stream, Token(token), Interest::WRITABLE)
            .unwrap();
    }
    let mut left = peers.len();
    let mut events = Events::with_capacity(1_024);
    while left > 0 {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let (stream, sent) = &mut peers[event.token().0];
            while *sent < bytes {
                let from = *sent % burst.len();
                let until = burst.len().min(from + bytes - *sent);
                match stream.write(&burst[from..until]) {
                    Ok(written) => {
                        *sent += written;
                        left -= usize::from(*sent == bytes);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // The server is gone: the test is over.
                    Err(_) => return peers,
                }
            }
        }
    }
    peers
}

// ---- The servers ----

/// Counts lines, and answers newcomers.
struct Counter {
    left: usize,
    addr: Sender<SocketAddr>,
    done: Sender<()>,
}

impl Actor for Counter {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let options = TcpServerOptions::from("127.0.0.1:0").with_framing(Framing::lines());
        let server = TcpServer::bind(options)?;
        self.addr.send(server.local_addr())?;
        cx.spawn_meta(server)?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Message::Tcp(packet) = message {
            if packet.data[..] == NEW[..NEW.len() - 1] {
                cx.write(packet.id, ANSWER);
                return Ok(());
            }
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                // The test of the newcomers does not listen.
                self.done.send(()).ok();
            }
        }
        Ok(())
    }
}

fn counter(node: &Node, left: usize) -> (SocketAddr, mpsc::Receiver<()>) {
    let (addr, addresses) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    node.spawn(move || Counter { left, addr, done }).unwrap();
    (addresses.recv_timeout(PATIENCE).unwrap(), is_done)
}

/// Processor time of a message, in nanoseconds, with one owner of all connections.
fn cost_here(connections: usize) -> f64 {
    let each = MESSAGES / connections;
    let node = node(2);
    let (addr, done) = counter(&node, each * connections);
    let mut flood = Flood::open(addr, connections, Some(each));
    eventually("all are accepted", || {
        node.metrics().get("longshore_meta_processes") == Some(connections as u64 + 1)
    });
    let cpu = cpu_of_this_program();
    flood.begin();
    done.recv_timeout(PATIENCE * 5).unwrap();
    // A thread that has ended takes its time with it, and the attempt with less than nothing does not count.
    let cost = cpu_of_this_program().saturating_sub(cpu);
    drop(flood);
    drop(node.stop());
    cost.as_nanos() as f64 / (each * connections) as f64
}

/// The same in a loop that reads and counts the lines.
fn cost_of_epoll(connections: usize) -> f64 {
    let each = MESSAGES / connections;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (accepted, all_accepted) = mpsc::channel();
    let serving = thread::spawn(move || count_lines(listener, connections, each, &accepted));
    let mut flood = Flood::open(addr, connections, Some(each));
    all_accepted.recv_timeout(PATIENCE).unwrap();
    let cpu = cpu_of_this_program();
    flood.begin();
    // The thread's own time counts only while it lives.
    all_accepted.recv_timeout(PATIENCE * 5).unwrap();
    let cost = cpu_of_this_program().saturating_sub(cpu);
    drop(flood);
    serving.join().unwrap();
    cost.as_nanos() as f64 / (each * connections) as f64
}

fn count_lines(
    listener: std::net::TcpListener,
    connections: usize,
    each: usize,
    reached: &Sender<()>,
) {
    let mut poll = Poll::new().unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut listener = MioListener::from_std(listener);
    let listening = Token(usize::MAX - 1);
    let registry = poll.registry();
    registry
        .register(&mut listener, listening, Interest::READABLE)
        .unwrap();
    let (mut streams, mut lines) = (Vec::new(), 0);
    let (mut buffer, mut events) = (vec![0; 64 << 10], Events::with_capacity(1_024));
    while lines < each * connections {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() == listening {
                while let Ok((mut stream, _)) = listener.accept() {
                    let (token, registry) = (Token(streams.len()), poll.registry());
                    registry
                        .register(&mut stream, token, Interest::READABLE)
                        .unwrap();
                    streams.push(stream);
                }
                if streams.len() == connections {
                    reached.send(()).unwrap();
                }
                continue;
            }
            while let Ok(read) = streams[event.token().0].read(&mut buffer) {
                if read == 0 {
                    break;
                }
                lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
            }
        }
    }
    reached.send(()).unwrap();
}

// ---- The tests ----

#[test]
fn cost_of_a_message_into_a_full_mailbox_grows_as_that_of_a_bare_epoll_loop() {
    let _turn = alone();
    if !descriptors_allowed(MANY as u64 + 60) {
        return;
    }
    // Other programs take the caches from 19,900 connections more than from 100.
    let allowed = if is_loaded() { 3.0 } else { 1.5 };
    let is_fair = (0..ATTEMPTS).any(|_| {
        let (few, many) = (cost_here(FEW), cost_here(MANY));
        let (bare_few, bare_many) = (cost_of_epoll(FEW), cost_of_epoll(MANY));
        let (grown, bare) = (many / few, bare_many / bare_few);
        println!(
            "a message of {FEW} connections {few:.0} ns, of {MANY} {many:.0} ns: {grown:.2} times as much; epoll \
             {bare_few:.0} and {bare_many:.0} ns: {bare:.2} times"
        );
        grown <= allowed * bare
    });
    assert!(is_fair, "no attempt of {ATTEMPTS}");
}

/// A newcomer is behind every flooder, each of which has its turn first. It is served in time as long as the turn of a
/// flooder takes 15 µs: the share of eight messages is a few of them.
#[test]
fn newcomer_beside_ten_thousand_flooders_is_served_in_time() {
    const FLOODERS: usize = scaled(9_900, 900);
    const NEWCOMERS: usize = 200;
    let _turn = alone();
    if !descriptors_allowed(FLOODERS as u64 + 100) {
        return;
    }
    let is_loaded = is_loaded();
    let node = node(2);
    let (addr, _done) = counter(&node, usize::MAX);
    let mut flood = Flood::open(addr, FLOODERS, None);
    flood.begin();
    let handled = || {
        let owner = node.processes().next().unwrap();
        owner.messages_in
    };
    let before = handled();
    eventually("the flood is under way", || handled() > before + 1_000_000);
    let (begun, first) = (Instant::now(), handled());
    let mut times: Vec<Duration> = (0..NEWCOMERS)
        .map(|_| {
            let begun = Instant::now();
            let mut stream = connect(addr);
            stream.write_all(NEW).unwrap();
            let mut answer = [0; ANSWER.len()];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, ANSWER);
            reset(stream);
            begun.elapsed()
        })
        .collect();
    let rate = (handled() - first) as f64 / begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let (half, most) = (times[NEWCOMERS / 2], times[NEWCOMERS * 99 / 100]);
    println!(
        "beside {FLOODERS} flooders at {:.2} million messages/s a newcomer is served in {half:.2?}, p99 {most:.2?}",
        rate / 1e6
    );
    let bound = scaled(Duration::from_millis(150), Duration::from_secs(3));
    let bound = if is_loaded { bound * 10 } else { bound };
    assert!(most < bound, "{most:?}");
    drop(flood);
    drop(node.stop());
}
