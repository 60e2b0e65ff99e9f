//! `window_follows_buffers`: delivered input counts until its buffer is dropped, over real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{SocketKind, TcpLimits};

use crate::support::*;

const MIB: usize = 1 << 20;
const WINDOW: usize = 256 << 10;

fn options() -> TcpServerOptions {
    TcpServerOptions::default().with_limits(TcpLimits::default().with_window_follows_buffers(true))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Passes the buffers of its connections on, outside of the node.
struct Passes(mpsc::Sender<Buffer>);

impl Actor for Passes {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::Tcp(packet) => self.0.send(packet.data)?,
            message => {
                if let Ok(server) = message.downcast::<TcpServer>() {
                    cx.spawn_meta(server)?;
                }
            }
        }
        Ok(())
    }
}

/// A node whose connections pass their buffers to the receiver.
fn passing(options: TcpServerOptions) -> (Node, SocketAddr, mpsc::Receiver<Buffer>) {
    let node = node();
    let (sender, passed) = mpsc::channel();
    let owner = node.spawn(|| Passes(sender)).unwrap();
    let mut options = options;
    options.port = 0;
    let server = TcpServer::bind(options).unwrap();
    let addr = server.local_addr();
    node.send(owner, server).unwrap();
    (node, addr, passed)
}

fn is_stopped(node: &Node) -> bool {
    node.sockets().any(
        |socket| matches!(socket.kind, SocketKind::Connection(info) if info.is_paused_by_backlog),
    )
}

/// Writes until the connection has stopped reading, and the buffers of the system are full.
fn fill(node: &Node, peer: &TcpStream) -> usize {
    let mut writer = peer.try_clone().unwrap();
    writer.set_nonblocking(true).unwrap();
    let bytes = pattern(251 * 1024);
    let mut sent = 0;
    wait_until("the connection has stopped reading", || {
        loop {
            match writer.write(&bytes[sent % 251..]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break is_stopped(node),
                Err(error) => panic!("{error}"),
            }
        }
    });
    writer.set_nonblocking(false).unwrap();
    sent
}

#[test]
fn buffers_that_are_kept_stop_the_connection_and_dropping_them_resumes_it() {
    for keeps in ["buffers", "frozen", "parts"] {
        let (node, addr, passed) = passing(options());
        let peer = client(addr);
        let sent = fill(&node, &peer);
        let mut kept: Vec<Buffer> = Vec::new();
        let mut all = Vec::new();
        let next = |kept: &mut Vec<Buffer>, all: &mut Vec<u8>| {
            while let Ok(data) = passed.try_recv() {
                all.extend_from_slice(&data);
                kept.push(data);
            }
        };
        wait_until("the window is used up", || {
            next(&mut kept, &mut all);
            all.len() >= WINDOW
        });
        // One read beyond the window at most.
        assert!(all.len() <= WINDOW + (64 << 10), "{} bytes", all.len());
        assert!(is_stopped(&node));
        match keeps {
            "buffers" => drop(kept.clone()), // a clone holds nothing
            "frozen" => {
                let frozen: Vec<_> = kept.drain(..).map(Buffer::freeze).collect();
                let other = frozen.clone();
                drop(frozen);
                assert!(is_stopped(&node), "a share is left");
                drop(other);
            }
            _ => {
                let parts: Vec<_> = kept
                    .iter_mut()
                    .map(|data| data.split_to(data.len() / 2))
                    .collect();
                assert!(is_stopped(&node), "nothing was dropped");
                drop(parts);
            }
        }
        if keeps == "buffers" {
            assert!(is_stopped(&node), "only clones were dropped");
        }
        kept.clear();
        while all.len() < sent {
            all.extend_from_slice(&passed.recv_timeout(LIMIT).expect("more"));
        }
        assert!(all == pattern(sent), "{keeps}: the bytes arrive in order");
        stop_clean(&node);
    }
}

#[test]
fn detached_buffers_are_kept_for_ever_and_the_connection_goes_on() {
    let (node, addr, passed) = passing(options());
    let mut peer = client(addr);
    let bytes = pattern(4 * MIB);
    let sent = bytes.clone();
    let writing = thread::spawn(move || {
        peer.write_all(&sent).unwrap();
        peer
    });
    let (mut store, mut length) = (Vec::new(), 0);
    while length < bytes.len() {
        let mut data = passed.recv_timeout(LIMIT).expect("more");
        data.detach();
        length += data.len();
        store.push(data);
    }
    assert!(store.concat() == bytes);
    drop(writing.join().unwrap());
    stop_clean(&node);
}

#[test]
fn without_the_option_a_kept_buffer_stops_nothing() {
    let (node, addr, passed) = passing(TcpServerOptions::default());
    let mut peer = client(addr);
    let writing = thread::spawn(move || {
        peer.write_all(&pattern(4 * MIB)).unwrap();
        peer
    });
    let mut store: Vec<Buffer> = Vec::new();
    while store.iter().map(|data| data.len()).sum::<usize>() < 4 * MIB {
        store.push(passed.recv_timeout(LIMIT).expect("more"));
    }
    drop(writing.join().unwrap());
    stop_clean(&node);
}

/// Writes what comes on one connection to the other.
struct Forwards(Vec<Alias>);

impl Actor for Forwards {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(connect) => self.0.push(connect.id),
            Message::Tcp(packet) => {
                let to = self.0[usize::from(packet.id == self.0[0])];
                cx.write(to, packet.data);
            }
            message => {
                if let Ok(server) = message.downcast::<TcpServer>() {
                    cx.spawn_meta(server)?;
                }
            }
        }
        Ok(())
    }
}

#[test]
fn owner_that_forwards_to_a_slow_connection_slows_the_sender_and_loses_nothing() {
    for piece in [100, 64 << 10] {
        let node = node();
        let owner = node.spawn(|| Forwards(Vec::new())).unwrap();
        let mut options = options().with_read_buffer_size(piece);
        options.port = 0;
        let server = TcpServer::bind(options).unwrap();
        let addr = server.local_addr();
        node.send(owner, server).unwrap();
        let from = client(addr);
        wait_for_count(&node, "meta_processes", 2);
        let mut to = client(addr);
        wait_for_count(&node, "meta_processes", 3);
        let sent = fill(&node, &from);
        // The output holds what the window allows, far below its limit.
        let queued: usize = node.sockets().map(|socket| socket.queued_bytes).sum();
        assert!(queued <= 2 * WINDOW, "{queued} bytes wait");
        let mut got = vec![0; sent];
        to.read_exact(&mut got).unwrap();
        assert!(got == pattern(sent), "pieces of {piece}");
        drop((from, to));
        stop_clean(&node);
    }
}

#[test]
fn relay_goes_on_although_its_owner_keeps_what_came_before() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(options());
    let mut from = client(addr);
    let first = probe.connect().id;
    let mut to = client(addr);
    let second = probe.connect().id;
    from.write_all(&pattern(100_000)).unwrap();
    let mut kept = Vec::new();
    while kept.iter().map(|data: &Buffer| data.len()).sum::<usize>() < 100_000 {
        kept.push(probe.tcp().data);
    }
    probe.run(move |cx| cx.relay(first, second)).unwrap();
    let sent = pattern(2 * MIB);
    let bytes = sent.clone();
    let writing = thread::spawn(move || {
        from.write_all(&bytes).unwrap();
        from
    });
    assert!(read(&mut to, sent.len()) == sent);
    drop(kept);
    drop(writing.join().unwrap());
    drop(to);
    probe.relay_end();
    stop_clean(&node);
}

/// Passes everything on, or leaves it until `need` bytes are there.
struct Taker(mpsc::Sender<Buffer>, usize);

impl Session for Taker {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if input.len() < self.1 {
            cx.need(self.1);
            return Ok(());
        }
        self.0.send(input.take())?;
        Ok(())
    }
}

#[test]
fn session_that_passes_its_input_on_is_slowed_and_one_that_waits_for_more_gets_it() {
    for need in [0, 900_000] {
        let node = node();
        let probe = Probe::spawn(&node);
        let mut options = options();
        options.port = 0;
        let server = TcpServer::bind(options).unwrap();
        let addr = server.local_addr();
        let (sender, taken) = mpsc::channel();
        probe
            .run(move |cx| cx.spawn_meta(server.serve(move || Taker(sender.clone(), need))))
            .unwrap();
        let mut peer = client(addr);
        if need > 0 {
            // More than the window, in one unit.
            peer.write_all(&pattern(need)).unwrap();
            let unit = taken.recv_timeout(LIMIT).expect("the unit");
            assert!(unit == pattern(need));
        } else {
            let sent = fill(&node, &peer);
            let mut all = Vec::new();
            while all.len() < sent {
                all.extend_from_slice(&taken.recv_timeout(LIMIT).expect("more"));
            }
            assert!(all == pattern(sent));
        }
        drop(peer);
        wait_for_count(&node, "processes", 1);
        stop_clean(&node);
    }
}

/// Takes a buffer each time it is allowed to.
struct Slow(mpsc::Receiver<()>, mpsc::Sender<usize>);

impl Actor for Slow {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Ok(data) = message.downcast::<Buffer>() {
            // The sender is dropped when the test lets it go at full speed.
            let _ = self.0.recv_timeout(Duration::from_millis(100));
            self.1.send(data.len())?;
        }
        Ok(())
    }
}

/// Sends what it gets to the slow process.
struct Sends(Pid);

impl Actor for Sends {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::Tcp(packet) => cx.send(self.0, packet.data)?,
            message => {
                if let Ok(server) = message.downcast::<TcpServer>() {
                    cx.spawn_meta(server)?;
                }
            }
        }
        Ok(())
    }
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.expect("VmRSS").split_whitespace().nth(1);
    words.expect("a number").parse::<usize>().expect("a number") << 10
}

#[test]
fn three_hundred_mebibytes_to_a_slow_process_take_less_than_eight() {
    let test = "credit::three_hundred_mebibytes_to_a_slow_process_take_less_than_eight";
    alone(test, || {
        let node = node();
        let (gate, opens) = mpsc::channel();
        let (taken, counts) = mpsc::channel();
        let slow = node.spawn(|| Slow(opens, taken)).unwrap();
        let owner = node.spawn(move || Sends(slow)).unwrap();
        let mut options = options();
        options.port = 0;
        let server = TcpServer::bind(options).unwrap();
        let mut peer = client(server.local_addr());
        node.send(owner, server).unwrap();
        let block = pattern(MIB);
        peer.write_all(&block[..1000]).unwrap();
        assert_eq!(counts.recv_timeout(LIMIT), Ok(1000));
        let before = resident();
        let writing = thread::spawn(move || {
            for _ in 0..300 {
                peer.write_all(&block).unwrap();
            }
            peer
        });
        let (mut got, mut most) = (0, 0);
        let mut gate = Some(gate);
        while got < 300 * MIB {
            got += counts.recv_timeout(LIMIT).expect("more");
            most = most.max(resident());
            if got > 2 * MIB {
                // It was slow for long enough.
                drop(gate.take());
            }
        }
        drop(writing.join().unwrap());
        let grown = most.saturating_sub(before);
        println!("resident memory grew by {} KiB", grown >> 10);
        assert!(grown < 8 * MIB, "{} KiB", grown >> 10);
        stop_clean(&node);
    });
}

/// Half a minute of simulated time.
#[cfg(feature = "testing")]
#[test]
fn connection_that_held_buffers_stop_for_half_a_minute_is_one_record() {
    use std::sync::{Arc, Mutex};

    use longshore::{Level, Logger, Record};

    simulation::run(|| {
        let records = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&records);
        let logger = Logger::from(move |record: &Record| {
            seen.lock().unwrap().push(record.kind);
        });
        let logged = NodeOptions::from("test@localhost").with_logger(logger);
        let node = node_with(logged);
        let (sender, passed) = mpsc::channel();
        let owner = node.spawn(|| Passes(sender)).unwrap();
        let server = TcpServer::bind(options()).unwrap();
        let addr = server.local_addr();
        node.send(owner, server).unwrap();
        let mut peer = client(addr);
        peer.set_nonblocking(true).unwrap();
        let bytes = pattern(MIB);
        let mut sent = 0;
        let mut fill = |held: &mut Vec<Buffer>| {
            wait_until("the connection has stopped reading", || {
                while let Ok(written) = peer.write(&bytes[sent % 251..]) {
                    sent += written;
                    if is_stopped(&node) {
                        break;
                    }
                }
                held.extend(passed.try_iter());
                is_stopped(&node)
            });
        };
        let mut held = Vec::new();
        fill(&mut held);
        pass(Duration::from_secs(20));
        // It goes on, and is stopped anew: the time counts from then on.
        held.clear();
        wait_until("it reads on", || {
            held.extend(passed.try_iter());
            !is_stopped(&node) || !held.is_empty()
        });
        fill(&mut held);
        pass(Duration::from_secs(25));
        node.log(Level::Warn, "25 s");
        pass(Duration::from_secs(10));
        node.log(Level::Warn, "35 s");
        pass(Duration::from_secs(120));
        drop(held);
        stop_clean(&node); // the records are written
        drop(passed);
        let kinds = ["program", "input_held", "program"];
        assert_eq!(*records.lock().unwrap(), kinds);
    });
}
