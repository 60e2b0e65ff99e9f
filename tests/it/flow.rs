//! Flow control in both directions: no byte is lost, and no queue grows.

use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{BufferPool, HeaderFraming, SendErrorKind, SocketOptions, TcpLimits};

use crate::support::*;

on_both! {
    message_larger_than_the_limit_comes_back_at_once,
    connection_closes_on_a_full_mailbox_if_it_was_asked_to,
    small_writes_of_one_turn_leave_together,
    two_sides_that_send_unasked_do_not_wait_for_each_other_if_one_reads_on,
}

const MIB: usize = 1 << 20;

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<usize>().ok())
        .expect("a number")
        * 1024
}

/// Sends numbered blocks, keeps the one that is refused, and continues after the Writable event.
struct Producer {
    server: Option<TcpServer>,
    left: std::ops::Range<usize>,
    kept: Option<Message>,
    refused: mpsc::Sender<usize>,
}

fn block(number: usize) -> Vec<u8> {
    vec![number as u8; MIB]
}

impl Producer {
    fn produce(&mut self, cx: &mut Context<'_>, to: Alias) -> Handled {
        loop {
            let message = match self.kept.take() {
                Some(message) => message,
                None => match self.left.next() {
                    Some(number) => Message::new(MessageTcp::new(to, block(number))),
                    None => return Ok(cx.close(to)?),
                },
            };
            let Err(error) = cx.send_alias(to, message) else {
                continue;
            };
            assert_eq!(error.kind(), SendErrorKind::OutputFull);
            let message = error.into_message();
            let Message::Tcp(packet) = &message else {
                panic!("another message came back: {message:?}")
            };
            assert_eq!(packet.data.len(), MIB, "the message came back damaged");
            assert!(
                cx.queued_bytes(to) <= 4 * MIB,
                "{} bytes wait",
                cx.queued_bytes(to)
            );
            self.refused
                .send(packet.data[0].into())
                .expect("the test listens");
            self.kept = Some(message);
            return Ok(());
        }
    }
}

impl Actor for Producer {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.spawn_meta(self.server.take().expect("once"))?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(connect) => self.produce(cx, connect.id),
            Message::TcpWritable(writable) => self.produce(cx, writable.id),
            Message::TcpDisconnect(end) => {
                assert_eq!((end.reason, end.unsent), (DisconnectReason::LocalClose, 0));
                self.refused.send(usize::MAX).expect("the test listens");
                Ok(())
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn producer_of_400_mib_gets_refusals_back_and_everything_arrives_in_order_when_the_peer_reads() {
    const BLOCKS: usize = 400;
    alone(
        "flow::producer_of_400_mib_gets_refusals_back_and_everything_arrives_in_order_when_the_peer_reads",
        || {
            let node = node();
            let server = TcpServer::bind("127.0.0.1:0").expect("bound");
            let addr = server.local_addr();
            let (sender, refused) = mpsc::channel();
            let producer = Producer {
                server: Some(server),
                left: 0..BLOCKS,
                kept: None,
                refused: sender,
            };
            let before = resident();
            node.spawn(|| producer).expect("spawned");
            let mut client = client(addr);
            let first = value_of(&refused).expect("a refusal");
            assert!(
                first < 20,
                "{first} MiB were accepted for a peer that does not read"
            );
            let mut bytes = vec![0; MIB];
            for number in 0..BLOCKS {
                client.read_exact(&mut bytes).expect("a block");
                assert!(
                    bytes.iter().all(|byte| *byte == number as u8),
                    "block {number} is out of order"
                );
            }
            assert_eq!(client.read(&mut bytes).expect("an orderly end"), 0);
            drop(client);
            let refusals = std::iter::from_fn(|| value_of(&refused).ok())
                .take_while(|value| *value != usize::MAX);
            assert!(
                refusals.count() > 10,
                "the producer was hardly ever held back"
            );
            let grown = resident().saturating_sub(before);
            assert!(grown < 100 * MIB, "{} MiB more memory", grown / MIB);
            stop_clean(&node);
        },
    );
}

#[test]
fn message_larger_than_the_limit_comes_back_at_once() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let _client = client(addr);
    let alias = probe.connect().id;
    let error = probe.run(move |cx| {
        cx.send_alias(alias, MessageTcp::new(alias, vec![0; 5 * MIB]))
            .expect_err("too large")
    });
    assert_eq!(error.kind(), SendErrorKind::TooLarge);
    let Message::Tcp(packet) = error.into_message() else {
        panic!("another message")
    };
    assert_eq!(packet.data.len(), 5 * MIB);
    assert_eq!(inspect(&node, alias).number("refused_sends"), Some(1));
    stop_clean(&node);
}

/// Echoes, drops what cannot be sent, and forwards Disconnects.
fn echo_and_report(ends: mpsc::Sender<(Instant, DisconnectReason, u64)>) -> impl Actor {
    Script(move |cx: &mut Context<'_>, _: Pid, message: Message| {
        match message {
            Message::Tcp(packet) => {
                // The send is refused because the peer does not read, so the peer does not get everything.
                let _ = cx.send_alias(packet.id, packet);
            }
            Message::TcpDisconnect(end) => {
                let _ = ends.send((Instant::now(), end.reason, end.unsent));
            }
            _ => {}
        }
        Ok(())
    })
}

/// Writes until neither the server nor any kernel takes more at the moment.
fn stall(client: &mut Client) {
    client.set_nonblocking(true).expect("non-blocking");
    let bytes = vec![1; 64 << 10];
    // Another error means that its timeout passed while the test stalled the others.
    while client.write(&bytes).is_ok() {}
}

#[test]
fn thousand_peers_that_never_read_are_bounded_in_memory_and_time_and_others_are_served() {
    alone(
        "flow::thousand_peers_that_never_read_are_bounded_in_memory_and_time_and_others_are_served",
        || {
            const PEERS: usize = 1_000;
            const LIMIT_BYTES: u32 = 256 << 10;
            const WRITE: Duration = Duration::from_secs(4);
            let node = node();
            let (sender, ends) = mpsc::channel();
            let server = Probe::spawn(&node);
            let echo = node
                .spawn_register("echo", || echo_and_report(sender))
                .expect("spawned");
            let limits = TcpLimits::default()
                .with_output_limit(LIMIT_BYTES)
                .with_high_water_mark(128 << 10)
                .with_low_water_mark(32 << 10)
                .with_write_timeout(WRITE);
            let small = SocketOptions::default()
                .with_recv_buffer_size(16 << 10)
                .with_send_buffer_size(16 << 10);
            let options = TcpServerOptions::default()
                .with_limits(limits)
                .with_socket(small)
                .with_process_pool(["echo"]);
            let (addr, listener) = server.listen(options);

            let mut busy = client(addr);
            exchange(&mut busy, b"warm", b"warm");
            let before = resident();
            let mut peers: Vec<Client> = (0..PEERS).map(|_| client(addr)).collect();
            peers.iter_mut().for_each(stall);
            // The others are not affected.
            let mut slowest = Duration::ZERO;
            for number in 0..500_u32 {
                let begun = Instant::now();
                exchange(&mut busy, &number.to_be_bytes(), &number.to_be_bytes());
                slowest = slowest.max(begun.elapsed());
            }
            let grown = resident().saturating_sub(before);
            // An owner's mailbox holds the unhandled messages, and each connection one buffer of what it has read.
            assert!(
                grown < PEERS * LIMIT_BYTES as usize,
                "{} KiB for each peer",
                grown / PEERS / 1024
            );
            assert!(slowest < Duration::from_secs(2), "a reply took {slowest:?}");
            let mut unsent_bytes = 0;
            for _ in 0..PEERS {
                let begun = Instant::now();
                let (_, reason, unsent) = loop {
                    match ends.recv_timeout(Duration::from_millis(100)) {
                        Ok(end) => break end,
                        Err(_) => assert!(begun.elapsed() < LIMIT, "a stalled peer does not end"),
                    }
                    // A slow server may have taken everything that some of them wrote.
                    peers.iter_mut().for_each(stall);
                };
                assert_eq!(reason, DisconnectReason::SlowReader);
                assert!(unsent > 0);
                unsent_bytes += unsent;
            }
            exchange(&mut busy, b"still", b"still");
            let counts = inspect(&node, listener);
            assert_eq!(counts.number("ended_slow_reader"), Some(PEERS as u64));
            assert_eq!(counts.number("ended_unsent"), Some(unsent_bytes));
            assert_eq!(counts.number("connections"), Some(1));
            println!(
                "{} KiB for each peer, slowest reply {slowest:?}",
                grown / PEERS / 1024
            );
            drop((busy, peers));
            assert!(node.whereis("echo") == Some(echo));
            stop_clean(&node);
        },
    );
}

#[test]
fn full_mailbox_with_1000_connections_pauses_them_all_and_loses_nothing() {
    const PEERS: usize = 1_000;
    const FRAMES: u32 = 20;
    const BOUND: u64 = 16;
    alone(
        "flow::full_mailbox_with_1000_connections_pauses_them_all_and_loses_nothing",
        || {
            let node = node();
            let parent = Probe::spawn(&node);
            let owner = Probe::spawn_with(
                &node,
                SpawnOptions::default()
                    .with_name("owner")
                    .with_data_bound(BOUND as u32),
            );
            let (addr, listener) = parent.listen(
                TcpServerOptions::default()
                    .with_process_pool(["owner"])
                    .with_framing(Framing::fixed(8)),
            );
            let mut clients: Vec<Client> = (0..PEERS).map(|_| client(addr)).collect();
            let aliases: Vec<Alias> = (0..PEERS).map(|_| owner.connect().id).collect();
            let gate = owner.block();
            for (peer, client) in clients.iter_mut().enumerate() {
                for frame in 0..FRAMES {
                    client
                        .write_all(&(peer as u32).to_be_bytes())
                        .expect("written");
                    client.write_all(&frame.to_be_bytes()).expect("written");
                }
            }
            // The connections hold back what the owner cannot take, so its mailbox is bounded.
            wait_until("all connections to be paused", || {
                let (mut delivered, mut paused) = (0, 0);
                for alias in &aliases {
                    let connection = inspect(&node, *alias);
                    let is_paused = connection.value("paused_by_mailbox") == Some("true");
                    paused += usize::from(is_paused);
                    delivered +=
                        connection.number("messages_in").expect("a count") - u64::from(is_paused);
                }
                assert!(
                    delivered <= BOUND,
                    "{delivered} messages in a mailbox of {BOUND}"
                );
                paused >= PEERS - BOUND as usize
            });
            // They close, one half of them before the owner continues.
            let rest = clients.split_off(PEERS / 2);
            drop(clients);
            drop(gate);
            drop(rest);
            let mut next = vec![0; PEERS];
            let (mut ends, mut frames) = (0, 0);
            while frames < PEERS * FRAMES as usize || ends < PEERS {
                match owner.next().1 {
                    Message::Tcp(packet) => {
                        let number = |at: usize| {
                            u32::from_be_bytes(packet.data[at..at + 4].try_into().expect("4 bytes"))
                        };
                        let (peer, frame) = (number(0) as usize, number(4));
                        assert_eq!(frame, next[peer], "of peer {peer}");
                        next[peer] += 1;
                        frames += 1;
                    }
                    Message::TcpDisconnect(end) => {
                        assert_eq!(end.reason, DisconnectReason::ClosedByPeer);
                        assert_eq!(end.bytes_in, u64::from(FRAMES) * 8);
                        ends += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(next.iter().all(|frames| *frames == FRAMES));
            let counts = inspect(&node, listener);
            assert_eq!(counts.number("ended_closed_by_peer"), Some(PEERS as u64));
            assert!(
                counts
                    .number("ended_mailbox_pauses")
                    .is_some_and(|pauses| pauses >= PEERS as u64 - BOUND)
            );
            stop_clean(&node);
        },
    );
}

#[test]
fn connection_closes_on_a_full_mailbox_if_it_was_asked_to() {
    let node = node();
    let parent = Probe::spawn(&node);
    let owner = Probe::spawn_with(
        &node,
        SpawnOptions::default()
            .with_name("owner")
            .with_data_bound(2),
    );
    let options = TcpServerOptions::default()
        .with_process_pool(["owner"])
        .with_close_on_full_mailbox(true);
    let (addr, _) = parent.listen(options.with_framing(Framing::fixed(1)));
    let mut client = client(addr);
    owner.connect();
    let gate = owner.block();
    client.write_all(&[0; 10]).expect("written");
    assert_eq!(read_out(&mut client), Ok(Vec::new()));
    drop((client, gate));
    let (got, end) = owner.bytes_to_disconnect();
    assert_eq!((got.len(), end.reason), (2, DisconnectReason::MailboxFull));
    stop_clean(&node);
}

#[test]
fn paused_connection_makes_its_peer_wait_and_loses_nothing() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let mut client = client(addr);
    let alias = probe.connect().id;
    probe.run(move |cx| cx.pause_reading(alias)).expect("alive");
    // The answer comes behind the command.
    inspect(&node, alias);
    client.set_nonblocking(true).expect("non-blocking");
    let mut written = 0;
    let full = loop {
        match client.write(&[5; 64 << 10]) {
            Ok(bytes) => written += bytes,
            Err(error) => break error.kind(),
        }
        assert!(written < 64 * MIB, "the peer never has to wait");
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    assert!(
        inspect(&node, alias)
            .number("bytes_in")
            .is_some_and(|bytes| bytes < 64 << 10)
    );
    assert_eq!(inspect(&node, alias).value("paused_by_owner"), Some("true"));
    drop(client);
    probe
        .run(move |cx| cx.resume_reading(alias))
        .expect("alive");
    let (got, end) = probe.bytes_to_disconnect();
    assert_eq!(
        (got.len(), end.reason),
        (written, DisconnectReason::ClosedByPeer)
    );
    stop_clean(&node);
}

#[test]
fn idle_deadline_does_not_run_while_the_owner_takes_nothing() {
    const IDLE: Duration = Duration::from_millis(150);
    let node = node();
    let parent = Probe::spawn(&node);
    let owner = Probe::spawn_with(
        &node,
        SpawnOptions::default()
            .with_name("owner")
            .with_data_bound(1),
    );
    let options =
        TcpServerOptions::default().with_limits(TcpLimits::default().with_idle_timeout(IDLE));
    let (addr, _) = parent.listen(
        options
            .clone()
            .with_process_pool(["owner"])
            .with_framing(Framing::fixed(1)),
    );
    let (other, _) = parent.listen(options);
    let mut held = client(addr);
    let alias = owner.connect().id;
    let gate = owner.block();
    held.write_all(&[0; 5]).expect("written");
    wait_for(&node, alias, "paused_by_mailbox", true);
    // Another connection with the same deadline shows that the time has passed, three times.
    for _ in 0..3 {
        let mut idle = client(other);
        parent.connect();
        assert_eq!(read_to_end(&mut idle), b"");
        drop(idle);
        assert_eq!(parent.disconnect().reason, DisconnectReason::IdleTimeout);
    }
    assert_eq!(inspect(&node, alias).value("state"), Some("open"));
    let freed = Instant::now();
    drop(gate);
    assert_eq!(owner.bytes(5).len(), 5);
    assert_eq!(owner.disconnect().reason, DisconnectReason::IdleTimeout);
    assert!(freed.elapsed() >= IDLE, "the time of the pause counted");
    stop_clean(&node);
}

#[test]
fn own_pool_gets_its_own_buffers_and_the_node_keeps_its() {
    let node = node();
    let probe = Probe::spawn(&node);
    let pool = BufferPool::new();
    let (addr, _) = probe.listen(TcpServerOptions::default().with_buffer_pool(pool.clone()));
    let mut client = client(addr);
    probe.connect();
    exchange(&mut client, b"", b"");
    let nodes = node.buffer_pool().outstanding();
    let bytes = vec![3; 4 * MIB];
    let writing = thread::spawn(move || {
        client.write_all(&bytes).expect("written");
        client
    });
    let (mut got, mut held) = (0, Vec::new());
    while got < 4 * MIB {
        let packet = probe.tcp();
        got += packet.data.len();
        held.push(packet);
    }
    assert!(
        held.iter().any(|packet| packet.data.len() >= 16 << 10),
        "no large read: the test shows nothing"
    );
    assert_eq!(
        pool.outstanding(),
        held.len(),
        "data that is not of the pool"
    );
    assert!(
        node.buffer_pool().outstanding() <= nodes + 2,
        "the stripes' buffers only"
    );
    drop(held);
    wait_until("all buffers to be home", || pool.outstanding() == 0);
    drop(writing.join().expect("written"));
    probe.disconnect();
    stop_clean(&node);
}

#[test]
fn early_data_is_bounded_and_counted_when_the_connection_does_not_come_about() {
    let node = node();
    let probe = Probe::spawn(&node);
    let full = Unaccepting::new();
    let limits = TcpLimits::default()
        .with_output_limit(100_000)
        .with_high_water_mark(100_000);
    let timeout = Duration::from_millis(300);
    let options = TcpConnectionOptions::from(full.addr)
        .with_limits(limits)
        .with_connect_timeout(timeout);
    let begun = Instant::now();
    let (alias, accepted, refusal) = probe.run(move |cx| {
        let alias = cx
            .spawn_meta(TcpConnection::connect(options).expect("an attempt"))
            .expect("spawned");
        let mut accepted = 0;
        loop {
            match cx.send_alias(alias, MessageTcp::new(alias, vec![1; 999])) {
                Ok(()) => accepted += 999,
                Err(error) => return (alias, accepted, error.kind()),
            }
        }
    });
    assert_eq!((accepted, refusal), (100 * 999, SendErrorKind::OutputFull));
    wait_for(&node, alias, "state", "connecting");
    assert_eq!(inspect(&node, alias).number("queued_bytes"), Some(accepted));
    let end = probe.disconnect();
    assert!(begun.elapsed() >= timeout);
    assert_eq!(
        (end.reason, end.unsent, end.bytes_out),
        (DisconnectReason::ConnectTimeout, accepted, 0)
    );
    stop_clean(&node);
}

#[test]
fn close_while_connecting_ends_the_attempt_at_once_if_nothing_waits() {
    let node = node();
    let probe = Probe::spawn(&node);
    let full = Unaccepting::new();
    for (empty, expected) in [
        (true, DisconnectReason::LocalClose),
        (false, DisconnectReason::CloseTimeout),
    ] {
        let limits = TcpLimits::default().with_close_timeout(Duration::from_millis(200));
        let options = TcpConnectionOptions::from(full.addr).with_limits(limits);
        let alias = probe.connect_to(options);
        wait_for(&node, alias, "state", "connecting");
        probe.run(move |cx| {
            if !empty {
                cx.send_alias(alias, MessageTcp::new(alias, "words"))
                    .expect("accepted");
            }
            cx.close(alias).expect("alive");
        });
        let end = probe.disconnect();
        assert_eq!(
            (end.reason, end.unsent),
            (expected, if empty { 0 } else { 5 })
        );
    }
    stop_clean(&node);
}

#[test]
fn small_writes_of_one_turn_leave_together() {
    // A second worker would write the first message while the handler sends the others.
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let mut client = client(addr);
    let alias = probe.connect().id;
    for _ in 0..100 {
        probe.run(move |cx| {
            for _ in 0..50 {
                cx.send_alias(alias, MessageTcp::new(alias, "0123456789"))
                    .expect("accepted");
            }
        });
        let mut room = [0; 1_000];
        assert_eq!(
            client.read(&mut room).expect("bytes"),
            500,
            "they came in several pieces"
        );
    }
    drop(client);
    probe.disconnect();
    stop_clean(&node);
}

#[test]
fn peer_that_takes_its_time_over_a_frame_is_closed_at_the_deadline_of_the_frame() {
    let node = node();
    let probe = Probe::spawn(&node);
    let frame = Duration::from_millis(200);
    let limits = TcpLimits::default()
        .with_frame_timeout(frame)
        .with_idle_timeout(Duration::from_secs(20));
    let (addr, _) = probe.listen(
        TcpServerOptions::default()
            .with_limits(limits)
            .with_framing(Framing::fixed(1_000_000)),
    );
    let client = client(addr);
    probe.connect();
    let begun = Instant::now();
    let mut dribbling = client.try_clone().expect("a clone");
    let dribble = thread::spawn(move || {
        // The client sends byte by byte, so the connection is never idle.
        while dribbling.write_all(b"x").is_ok() {
            thread::park_timeout(Duration::from_millis(5));
        }
    });
    let end = probe.disconnect();
    assert_eq!(end.reason, DisconnectReason::FrameTimeout);
    assert!(begun.elapsed() >= frame, "{:?}", begun.elapsed());
    drop(client);
    dribble.join().expect("the dribble ends");
    stop_clean(&node);
}

/// Sends back what it gets and treats a refusal as an error: the simplest server possible.
struct PlainEcho {
    server: Option<TcpServer>,
}

impl Actor for PlainEcho {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.spawn_meta(self.server.take().expect("once"))?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Message::Tcp(packet) = message {
            cx.send_alias(packet.id, packet)?; // a refusal ends this process, and the test fails
        }
        Ok(())
    }
}

#[test]
fn echo_that_takes_no_refusal_loses_nothing_to_a_peer_that_writes_all_it_can_before_it_reads() {
    const TOTAL: usize = 64 * MIB;
    let node = node();
    let server = TcpServer::bind("127.0.0.1:0").expect("a port");
    let addr = server.local_addr();
    node.spawn(|| PlainEcho {
        server: Some(server),
    })
    .expect("spawns");
    let mut stream = client(addr);
    let byte = |position: usize| ((position / 7) ^ (position >> 11)) as u8;
    let mut chunk = vec![0; 256 * 1024];
    let (mut sent, mut received) = (0, 0);
    while received < TOTAL {
        // Writes until the whole path is full, then reads some.
        stream.set_nonblocking(true).expect("a socket");
        while sent < TOTAL {
            let length = chunk.len().min(TOTAL - sent);
            chunk[..length]
                .iter_mut()
                .enumerate()
                .for_each(|(offset, place)| *place = byte(sent + offset));
            match stream.write(&chunk[..length]) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("after {sent} bytes: {error}"),
            }
        }
        stream.set_nonblocking(false).expect("a socket");
        let length = stream.read(&mut chunk).expect("the echo goes on");
        assert_ne!(length, 0, "ended after {received} bytes");
        for (offset, got) in chunk[..length].iter().enumerate() {
            assert_eq!(*got, byte(received + offset), "byte {}", received + offset);
        }
        received += length;
    }
    drop(stream);
    stop_clean(&node);
}

/// More than the limit can be delivered behind an ack marker, and then another marker must follow.
#[test]
fn reading_goes_on_after_more_than_the_limit_came_behind_a_middling_amount() {
    let node = node();
    let frames = [200_000, 1_000_000, 10, 300_000];
    let small = TcpLimits::default()
        .with_input_window(4_096)
        .with_high_water_mark(4_096)
        .with_low_water_mark(1_024);
    for (options, pieces) in [
        (
            TcpServerOptions::default().with_framing(Framing::header(HeaderFraming::default())),
            frames,
        ),
        (
            TcpServerOptions::default().with_limits(small),
            [2_048, 60_000, 2_048, 60_000],
        ),
    ] {
        let probe = Probe::spawn(&node);
        let framed = !matches!(options.connection.framing, Framing::Raw);
        let (addr, _) = probe.listen(options);
        let mut client = client(addr);
        let alias = probe.connect().id;
        let gate = probe.block();
        let (mut first, mut total) = (0, 0);
        for (number, length) in pieces.into_iter().enumerate() {
            let head = if framed {
                (length as u32).to_be_bytes().to_vec()
            } else {
                Vec::new()
            };
            client.write_all(&head).expect("written");
            client
                .write_all(&vec![1; length])
                .expect("the kernel has room for it");
            total += head.len() + length;
            if number == 0 {
                first = total;
                wait_for(&node, alias, "bytes_in", first);
            }
        }
        wait_until("something to come behind it", || {
            inspect(&node, alias).number("bytes_in") > Some(first as u64)
        });
        wait_for(&node, alias, "paused_by_backlog", true);
        drop(gate);
        assert_eq!(probe.bytes(total).len(), total);
        drop(client);
        assert_eq!(probe.disconnect().reason, DisconnectReason::ClosedByPeer);
    }
    stop_clean(&node);
}

#[test]
fn nothing_is_delivered_behind_the_message_that_a_full_mailbox_cost() {
    let node = node();
    let parent = Probe::spawn(&node);
    for run in 0..50 {
        let name = format!("owner {run}");
        let owner = Probe::spawn_with(
            &node,
            SpawnOptions::default().with_name(&*name).with_data_bound(2),
        );
        let options = TcpServerOptions::default()
            .with_process_pool([&*name])
            .with_close_on_full_mailbox(true);
        let (addr, _) = parent.listen(options.with_framing(Framing::fixed(4)));
        let mut client = client(addr);
        owner.connect();
        let bytes: Vec<u8> = (0..10_000_u32).flat_map(u32::to_be_bytes).collect();
        client.write_all(&bytes).expect("written");
        drop(client);
        // The owner handles them meanwhile, which frees room.
        let (got, end) = owner.bytes_to_disconnect();
        assert!(got == bytes[..got.len()], "run {run}: a gap");
        assert_eq!(end.reason, DisconnectReason::MailboxFull);
    }
    stop_clean(&node);
}

/// Both sides fill their outputs before either reads. A side that reads regardless of its queued output frees both.
#[test]
fn two_sides_that_send_unasked_do_not_wait_for_each_other_if_one_reads_on() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let reads_on = TcpLimits::default().with_read_above_high(true);
    let one = probe.connect_to(TcpConnectionOptions::from(addr).with_limits(reads_on));
    let ids = [probe.connect().id, probe.connect().id];
    let other = if ids[0] == one { ids[1] } else { ids[0] };
    let accepted: usize = probe.run(move |cx| {
        let mut fill = |to| {
            cx.pause_reading(to).expect("alive");
            std::iter::from_fn(|| {
                cx.send_alias(to, MessageTcp::new(to, vec![1; 100_000]))
                    .ok()
            })
            .count()
                * 100_000
        };
        let accepted = fill(one) + fill(other);
        for to in [one, other] {
            cx.shutdown_write(to).expect("alive");
            cx.resume_reading(to).expect("alive");
        }
        accepted
    });
    let (mut got, mut ended) = (0, 0);
    while ended < 2 {
        match probe.next().1 {
            Message::Tcp(packet) => got += packet.data.len(),
            Message::TcpDisconnect(end) => {
                assert_eq!(
                    (end.reason, end.unsent),
                    (DisconnectReason::ClosedByPeer, 0)
                );
                ended += 1;
            }
            // The Writable event of what drained before the end of writing arrived.
            Message::TcpWritable(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, accepted);
    stop_clean(&node);
}
