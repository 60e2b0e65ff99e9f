//! Sessions by the thousand: resets at any moment, one that panics, and what is left when all have ended.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Instant;

use longshore::prelude::*;
use longshore::{Flow, TcpLimits};

use crate::support::{
    Handled, PATIENCE, alone, connect, descriptors, descriptors_allowed, eventually, heap_bytes,
    node, reset, round_trip, scaled,
};

/// Echoes whole messages of eight bytes, and panics at one of eight exclamation marks.
struct Eights;

impl Session for Eights {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if input.len() < 8 {
            return Ok(());
        }
        let message = input.split_to(8);
        assert!(message != "!!!!!!!!", "it was asked to");
        cx.write(message);
        Ok(())
    }
}

/// The address of a service that has a session of [`Eights`] for each connection.
pub(crate) fn serve(node: &Node) -> SocketAddr {
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    let root = node.spawn(|| Root).unwrap();
    node.send(root, server).unwrap();
    address
}

/// Has a session for each connection of the listener that it is sent.
struct Root;

impl Actor for Root {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Ok(server) = message.downcast::<TcpServer>() {
            cx.spawn_meta(server.serve(|| Eights))?;
        }
        Ok(())
    }
}

fn metric(node: &Node, name: &str) -> u64 {
    let value = node.metrics().get(&format!("longshore_{name}"));
    value.expect("a metric")
}

fn only_the_root_is_left(node: &Node) {
    eventually("every session has ended", || {
        (metric(node, "processes"), metric(node, "meta_processes")) == (1, 1)
    });
}

#[test]
fn ten_thousand_random_resets_leave_a_session_service_alive() {
    let _turn = alone();
    let count = scaled(10_000, 2_000);
    let node = node(2);
    let address = serve(&node);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..count {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut stream = TcpStream::connect(address).unwrap();
        // Nothing, half a request, one and a half, or an answer that is not read.
        let bytes = [0, 4, 12, 16][(random % 4) as usize];
        stream.write_all(&b"0123456789abcdef"[..bytes]).unwrap();
        let until = Instant::now() + std::time::Duration::from_nanos(random >> 47);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        reset(stream);
    }
    round_trip(&mut connect(address), b"alive as");
    only_the_root_is_left(&node);
    println!("{count} resets");
    assert!(node.stop().is_clean());
}

#[test]
fn panic_in_one_of_a_thousand_sessions_leaves_the_others() {
    let _turn = alone();
    let count = 1_000;
    if !descriptors_allowed(2 * count as u64 + 200) {
        return;
    }
    let node = node(2);
    let address = serve(&node);
    let mut streams: Vec<_> = (0..count).map(|_| connect(address)).collect();
    for stream in &mut streams {
        round_trip(stream, b"question");
    }
    let mut victim = streams.swap_remove(count / 2);
    victim.write_all(b"!!!!!!!!").unwrap();
    let end = victim.read(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    for stream in &mut streams {
        round_trip(stream, b"question");
    }
    assert_eq!(metric(&node, "processes"), count as u64);
    drop(streams);
    only_the_root_is_left(&node);
    assert!(node.stop().is_clean());
}

#[test]
fn hundred_thousand_connections_with_a_session_each_leave_nothing_behind() {
    let _turn = alone();
    let (count, burst) = (scaled(100_000, 4_000), 250);
    if !descriptors_allowed(4 * burst as u64 + 200) {
        return;
    }
    let node = node(4);
    let address = serve(&node);
    let open_and_close = |from: usize| {
        let mut streams: Vec<_> = (0..burst).map(|_| connect(address)).collect();
        for (number, stream) in streams.iter_mut().enumerate() {
            if (from + number).is_multiple_of(4) {
                round_trip(stream, b"question");
            }
        }
        for (number, stream) in streams.into_iter().enumerate() {
            match (from + number).is_multiple_of(10) {
                true => drop(stream),
                false => reset(stream),
            }
        }
    };
    // Warm up: as many slots, mailboxes and buffers as a burst needs.
    (0..4).for_each(open_and_close);
    only_the_root_is_left(&node);
    let (fds, heap) = (descriptors(), heap_bytes());
    let held = |node: &Node| ["timers", "buffers"].map(|name| metric(node, name));
    let before = held(&node);
    let start = Instant::now();
    (0..count).step_by(burst).for_each(open_and_close);
    let elapsed = start.elapsed();
    only_the_root_is_left(&node);
    assert_eq!(held(&node), before);
    assert_eq!(descriptors(), fds);
    eventually("the heap is as before, but for queues", || {
        heap_bytes() - heap < 256 * 1024
    });
    println!(
        "{count} connections with a session each: {elapsed:.2?}, heap {:+} bytes",
        heap_bytes() - heap
    );
    assert!(node.stop().is_clean());
}

/// Writes until its output is above the high mark, and again after each Writable.
struct Rounds {
    left: u32,
    done: mpsc::Sender<()>,
}

impl Rounds {
    fn pour(&mut self, cx: &mut SessionContext<'_>) -> Handled {
        loop {
            match cx.try_write(&[0x55; 24][..]) {
                Ok(Flow::Open) => {}
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.left -= 1;
        if self.left == 0 {
            self.done.send(())?;
            cx.close();
        }
        Ok(())
    }
}

impl Session for Rounds {
    fn connected(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
        self.pour(cx)
    }

    fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
        Ok(())
    }

    fn writable(&mut self, cx: &mut SessionContext<'_>) -> Handled {
        if self.left == 0 {
            return Ok(());
        }
        self.pour(cx)
    }
}

#[test]
fn above_the_high_mark_is_followed_by_a_writable_a_million_times() {
    let _turn = alone();
    let (connections, rounds) = (4, scaled(250_000_u32, 10_000));
    let node = node(2);
    let limits = TcpLimits::default()
        .with_output_limit(1_000)
        .with_high_water_mark(100)
        .with_low_water_mark(50);
    let server =
        TcpServer::bind(TcpServerOptions::from("127.0.0.1:0").with_limits(limits)).unwrap();
    let address = server.local_addr();
    let (done, finished) = mpsc::channel();
    let listens = Listens(Some((server, done, rounds)));
    node.spawn(|| listens).unwrap();
    let readers: Vec<_> = (1..=connections)
        .map(|number: u64| {
            std::thread::spawn(move || {
                let mut stream = connect(address);
                let (mut random, mut bytes) = (number, [0; 4096]);
                loop {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let most = 1 + (random % 4096) as usize;
                    match stream.read(&mut bytes[..most]) {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if random.is_multiple_of(64) {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    // Each round that is not followed by a Writable would wait for ever.
    for _ in 0..connections {
        finished.recv_timeout(10 * PATIENCE).expect("all rounds");
    }
    for reader in readers {
        reader.join().unwrap();
    }
    println!("{} rounds", u64::from(rounds) * connections);
    only_the_root_is_left(&node);
    assert!(node.stop().is_clean());
}

/// Serves [`Rounds`].
struct Listens(Option<(TcpServer, mpsc::Sender<()>, u32)>);

impl Actor for Listens {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let (server, done, left) = self.0.take().expect("once");
        cx.spawn_meta(server.serve(move || Rounds {
            left,
            done: done.clone(),
        }))?;
        Ok(())
    }
}

/// Hands its connection over to the other of two for each byte that it gets.
struct Player {
    other: &'static str,
    handed: mpsc::Sender<()>,
}

impl Actor for Player {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(_) => {}
            Message::Tcp(packet) => {
                cx.write(packet.id, packet.data);
                let to = cx.whereis(self.other).expect("the other");
                if cx.hand_over(packet.id, to).is_ok() {
                    self.handed.send(())?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn connection_is_handed_over_ten_thousand_times_under_load() {
    let _turn = alone();
    let count = scaled(10_000, 2_000);
    for workers in [1, 4] {
        let node = node(workers);
        let (handed, seen) = mpsc::channel();
        for [name, other] in [["one", "two"], ["two", "one"]] {
            let handed = handed.clone();
            let options = SpawnOptions::default().with_name(name);
            node.spawn_with(options, move || Player { other, handed })
                .unwrap();
        }
        let options = TcpServerOptions::from("127.0.0.1:0")
            .with_read_buffer_size(100)
            .with_process_pool(["one"]);
        let server = TcpServer::bind(options).unwrap();
        let address = server.local_addr();
        let listener = node.spawn(|| Listener).unwrap();
        node.send(listener, server).unwrap();
        let mut stream = connect(address);
        let mut reader = stream.try_clone().unwrap();
        let (stop, stopped) = mpsc::channel::<()>();
        let writing = std::thread::spawn(move || {
            let mut sent = 0_usize;
            while stopped.try_recv().is_err() {
                let part: Vec<u8> = (sent..sent + 150).map(|at| (at % 251) as u8).collect();
                stream.write_all(&part).unwrap();
                sent += part.len();
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            sent
        });
        let reading = std::thread::spawn(move || {
            let (mut got, mut bytes) = (0_usize, [0; 8192]);
            loop {
                let read = reader.read(&mut bytes).unwrap();
                if read == 0 {
                    return got;
                }
                for byte in &bytes[..read] {
                    assert_eq!(*byte, (got % 251) as u8, "byte {got}");
                    got += 1;
                }
            }
        });
        for _ in 0..count {
            seen.recv_timeout(PATIENCE).expect("another hand-over");
        }
        stop.send(()).unwrap();
        let sent = writing.join().unwrap();
        assert_eq!(reading.join().unwrap(), sent, "everything came back");
        println!("{count} hand-overs of one connection on {workers} workers, {sent} bytes");
        assert!(node.stop().is_clean());
    }
}

/// Starts the listener that it is sent.
struct Listener;

impl Actor for Listener {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Ok(server) = message.downcast::<TcpServer>() {
            cx.spawn_meta(server)?;
        }
        Ok(())
    }
}
