//! Writing: the verb that cannot lose a piece of a stream, and the input that waits for the output.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{Flow, Level, Logger, Overflow, Record, TcpLimits, WriteErrorKind};

use crate::support::*;

on_both! {
    peer_that_never_reads_is_bounded_by_the_mark_and_one_answer,
    write_that_finds_the_limit_reached_closes_after_what_was_accepted,
    telemetry_drops_the_newest_write_and_stays_open,
    write_of_nothing_at_the_limit_closes_nothing,
    input_waits_for_output_that_has_come_to_its_limit_exactly,
    above_the_high_mark_is_followed_by_a_writable,
    broadcast_reaches_every_connection_and_skips_the_ended_ones,
    half_closed_connection_above_its_mark_still_gets_its_input,
    datagrams_beyond_the_limit_are_dropped_and_counted,
    reset_ends_a_connection_at_once_whose_input_waits_for_its_output,
}

const MIB: usize = 1 << 20;

/// Answers each byte with a block of one mebibyte that has it throughout.
struct Blocks {
    server: Option<TcpServer>,
    seen: mpsc::Sender<Message>,
}

impl Actor for Blocks {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.spawn_meta(self.server.take().expect("once"))?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::Tcp(packet) => {
                for byte in packet.data.iter() {
                    cx.write(packet.id, vec![*byte; MIB]);
                }
            }
            other => drop(self.seen.send(other)),
        }
        Ok(())
    }
}

fn blocks(node: &Node, options: TcpServerOptions) -> (SocketAddr, mpsc::Receiver<Message>) {
    let server = TcpServer::bind(options).expect("bound");
    let addr = server.local_addr();
    let (seen, messages) = mpsc::channel();
    let actor = Blocks {
        server: Some(server),
        seen,
    };
    node.spawn_register("blocks", move || actor)
        .expect("spawned");
    (addr, messages)
}

/// One request per message: with raw framing several would be one read.
fn one_by_one() -> TcpServerOptions {
    TcpServerOptions::from("127.0.0.1:0").with_framing(Framing::fixed(1))
}

fn disconnect(messages: &mpsc::Receiver<Message>) -> Box<MessageTcpDisconnect> {
    loop {
        match value_of(messages).expect("a Disconnect") {
            Message::TcpDisconnect(end) => return end,
            _ => continue,
        }
    }
}

#[track_caller]
fn expect_block(stream: &mut Client, byte: u8) {
    let block = read(stream, MIB);
    assert!(
        block.iter().all(|found| *found == byte),
        "block {byte} has a hole"
    );
}

#[test]
fn pipelined_requests_of_a_late_reader_are_answered_in_full() {
    let node = node();
    let (addr, _messages) = blocks(&node, one_by_one());
    for count in [16_u8, 64] {
        let mut stream = client(addr);
        let requests: Vec<u8> = (0..count).collect();
        stream.write_all(&requests).expect("written");
        // The reader is late: the first answer fills what the kernel takes before anything is read.
        wait_until("the input to wait", || {
            inspect(&node, "blocks").number("messages_set_aside") > Some(0)
        });
        for byte in 0..count {
            expect_block(&mut stream, byte);
        }
    }
    stop_clean(&node);
}

#[test]
fn small_messages_that_wait_are_bounded_by_one_read() {
    let node = node();
    let (addr, _messages) = blocks(&node, one_by_one());
    let mut stream = client(addr);
    stream.set_nonblocking(true).expect("nonblocking");
    // One byte a message, as many as the node takes while nothing is read.
    let mut written = 0;
    let mut quiet = 0;
    while quiet < 200 && written < 4 * MIB {
        match stream.write(&[9; 4096]) {
            Ok(bytes) => (written, quiet) = (written + bytes, 0),
            Err(_) => {
                quiet += 1;
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
    // Reading stops above the mark too: what waits was in the mailbox and in one read by then.
    // The kernel may have taken all of it before the owner handles the first message.
    let aside = || inspect(&node, "blocks").number("messages_set_aside");
    wait_until("messages are set aside", || aside() > Some(0));
    let aside = aside();
    assert!(aside < Some(80_000), "{aside:?} of {written} wait");
    drop(stream);
    let _ = node.stop();
}

#[test]
fn peer_that_never_reads_is_bounded_by_the_mark_and_one_answer() {
    let node = node();
    let limits = TcpLimits::default().with_write_timeout(Duration::from_millis(300));
    let (addr, messages) = blocks(&node, one_by_one().with_limits(limits));
    let mut stream = client(addr);
    stream.write_all(&[7; 256]).expect("written");
    let end = disconnect(&messages);
    assert_eq!(end.reason, DisconnectReason::SlowReader);
    assert_eq!(end.refused_bytes, 0, "no write was ever refused");
    assert!(end.unsent <= 2 * MIB as u64, "{} bytes waited", end.unsent);
    drop(stream);
    stop_clean(&node);
}

/// The end of a connection that may have drained to its low mark before.
fn disconnect_after_writables(probe: &Probe) -> Box<MessageTcpDisconnect> {
    loop {
        match probe.next().1 {
            Message::TcpDisconnect(end) => return end,
            Message::TcpWritable(_) => {}
            other => panic!("another message: {other:?}"),
        }
    }
}

#[test]
fn write_that_finds_the_limit_reached_closes_after_what_was_accepted() {
    let node = node();
    let probe = Probe::spawn(&node);
    let limits = TcpLimits::default()
        .with_output_limit(MIB as u32)
        .with_high_water_mark(MIB as u32)
        .with_low_water_mark(0);
    let options = TcpServerOptions::from("127.0.0.1:0").with_limits(limits);
    let (addr, _) = probe.listen(options);
    let mut stream = client(addr);
    let id = probe.connect().id;
    let written = probe.run(move |cx| {
        // One large write passes while less than the limit waits; what follows it is refused, all of it.
        for byte in 0..40_u8 {
            cx.write(id, vec![byte; MIB]);
        }
        cx.queued_bytes(id)
    });
    assert!(written >= MIB);
    let bytes = read_out(&mut stream).expect("an orderly end");
    assert!(
        bytes.len() >= MIB && bytes.len().is_multiple_of(MIB),
        "{}",
        bytes.len()
    );
    for (number, block) in bytes.chunks(MIB).enumerate() {
        assert!(
            block.iter().all(|byte| *byte == number as u8),
            "not a prefix of the stream"
        );
    }
    let end = disconnect_after_writables(&probe);
    assert_eq!(end.reason, DisconnectReason::Overflow);
    assert_eq!(end.bytes_out, bytes.len() as u64);
    assert_eq!(
        end.bytes_out + end.unsent + end.refused_bytes,
        40 * MIB as u64
    );
    stop_clean(&node);
}

#[test]
fn input_waits_for_output_that_has_come_to_its_limit_exactly() {
    /// Answers in pieces that fill the output to the last byte.
    struct Pieces;
    impl Session for Pieces {
        fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
            let piece = input.split_to(100.min(input.len()));
            cx.write(piece);
            Ok(())
        }
    }
    for (high, low) in [(1_000, 0), (1_000, 1_000)] {
        let node = node();
        let probe = Probe::spawn(&node);
        let limits = TcpLimits::default()
            .with_output_limit(1_000)
            .with_high_water_mark(high)
            .with_low_water_mark(low);
        let options = TcpServerOptions::from("127.0.0.1:0").with_limits(limits);
        let server = at_node(|| TcpServer::bind(options)).expect("bound");
        let addr = server.local_addr();
        probe.spawn_meta(server.serve(|| Pieces));
        let mut stream = client(addr);
        let bytes: Vec<u8> = (0..50_000_u32).map(|number| number as u8).collect();
        stream.write_all(&bytes).expect("written");
        assert_eq!(read(&mut stream, bytes.len()), bytes);
        drop(stream);
        wait_for_count(&node, "processes", 1);
        stop_clean(&node);
    }
}

#[test]
fn write_of_nothing_at_the_limit_closes_nothing() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::from("127.0.0.1:0"));
    let mut stream = client(addr);
    let id = probe.connect().id;
    let written = probe.run(move |cx| {
        let mut written = 0;
        while cx.try_write(id, vec![1; MIB]).is_ok() {
            written += MIB;
        }
        // The limit is reached, and nothing of the stream is missing.
        cx.write(id, "");
        written
    });
    assert_eq!(read(&mut stream, written), vec![1; written]);
    stream.write_all(b"still here").expect("written");
    let data = loop {
        match probe.next().1 {
            Message::TcpWritable(_) => {}
            Message::Tcp(packet) => break packet.data,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(data, "still here");
    probe.run(move |cx| cx.close(id)).expect("closed");
    stop_clean(&node);
}

#[test]
fn telemetry_drops_the_newest_write_and_stays_open() {
    let (records, seen) = mpsc::channel();
    let logger = Logger::from(move |record: &Record| {
        let _ = records.send(record.kind);
    });
    let options = NodeOptions::from("test@localhost").with_logger(logger);
    let node = node_with(options.with_log_level(Level::Debug));
    let probe = Probe::spawn(&node);
    let limits = TcpLimits::default()
        .with_output_limit(64 << 10)
        .with_high_water_mark(64 << 10)
        .with_low_water_mark(0)
        .with_overflow(Overflow::DropNewest);
    let options = TcpServerOptions::from("127.0.0.1:0").with_limits(limits);
    let (addr, _) = probe.listen(options);
    let mut stream = client(addr);
    let id = probe.connect().id;
    probe.run(move |cx| {
        for byte in 0..200_u8 {
            cx.write(id, vec![byte; 64 << 10]);
        }
    });
    probe.run(move |cx| cx.close(id)).expect("closed");
    let bytes = read_out(&mut stream).expect("an orderly end");
    let end = disconnect_after_writables(&probe);
    assert_eq!(end.reason, DisconnectReason::LocalClose);
    assert!(end.refused_bytes > 0);
    assert_eq!(bytes.len() as u64 + end.refused_bytes, 200 * (64 << 10));
    assert!(
        bytes
            .chunks(64 << 10)
            .all(|block| block.iter().all(|byte| *byte == block[0])),
        "a write is dropped as a whole"
    );
    stop_clean(&node); // the records are written
    let refused = seen.try_iter().filter(|kind| *kind == "writes_refused");
    assert_eq!(refused.count(), 1, "one record for 200 writes");
}

#[test]
fn above_the_high_mark_is_followed_by_a_writable() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::from("127.0.0.1:0"));
    let mut stream = client(addr);
    let id = probe.connect().id;
    let accepted = probe.run(move |cx| {
        let mut accepted = 0;
        loop {
            accepted += 64 << 10;
            if cx.try_write(id, vec![1; 64 << 10]).expect("room") == Flow::AboveHigh {
                return accepted;
            }
        }
    });
    read(&mut stream, accepted);
    assert_eq!(probe.writable().id, id);
    stop_clean(&node);
}

#[test]
fn paced_write_of_another_process_is_refused_above_the_high_mark() {
    let node = node();
    let (owner, other) = (Probe::spawn(&node), Probe::spawn(&node));
    let (addr, _) = owner.listen(TcpServerOptions::from("127.0.0.1:0"));
    let mut stream = client(addr);
    let id = owner.connect().id;
    // More than the kernel takes.
    owner.run(move |cx| cx.write(id, vec![1; 32 * MIB]));
    let refused = other.run(move |cx| cx.try_write(id, "mine"));
    let refused = refused.expect_err("above the mark");
    assert_eq!(refused.kind(), WriteErrorKind::Full);
    assert_eq!(refused.into_data().len(), 4, "the bytes come back");
    let closed = owner.run(move |cx| {
        cx.close(id).expect("open");
        cx.try_write(id, "late").expect_err("closing").kind()
    });
    assert_eq!(closed, WriteErrorKind::Closed);
    read_to_end(&mut stream);
    stop_clean(&node);
}

#[test]
fn broadcast_reaches_every_connection_and_skips_the_ended_ones() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::from("127.0.0.1:0"));
    let mut streams: Vec<Client> = (0..5).map(|_| client(addr)).collect();
    let ids: Vec<Alias> = (0..5).map(|_| probe.connect().id).collect();
    drop(streams.pop());
    probe.disconnect();
    probe.run(move |cx| {
        cx.broadcast(ids.clone(), "to ");
        cx.broadcast(ids, "all");
    });
    for stream in &mut streams {
        assert_eq!(read(stream, 6), b"to all");
    }
    assert_eq!(count(&node, "late_writes"), 2);
    stop_clean(&node);
}

#[test]
fn half_closed_connection_above_its_mark_still_gets_its_input() {
    let node = node();
    let probe = Probe::spawn(&node);
    let options = TcpServerOptions::from("127.0.0.1:0").with_half_open(true);
    let (addr, _) = probe.listen(options);
    let mut stream = client(addr);
    let id = probe.connect().id;
    probe.run(move |cx| {
        cx.write(id, vec![1; 8 * MIB]);
        cx.shutdown_write(id).expect("open");
    });
    stream.write_all(b"behind it").expect("written");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("shut down");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("all of it");
    assert_eq!(bytes.len(), 8 * MIB);
    assert_eq!(probe.bytes(9), b"behind it");
    probe.peer_closed();
    assert_eq!(probe.disconnect().unsent, 0);
    stop_clean(&node);
}

#[test]
fn reset_ends_a_connection_at_once_whose_input_waits_for_its_output() {
    let node = node();
    let probe = Probe::spawn(&node);
    // A deadline that ends nothing within the test.
    let limits = TcpLimits::default()
        .with_input_window(400)
        .with_close_timeout(Duration::from_secs(3_600));
    let options = TcpServerOptions::from("127.0.0.1:0")
        .with_framing(Framing::fixed(20))
        .with_limits(limits);
    let (addr, _) = probe.listen(options);
    let mut stream = client(addr);
    let id = probe.connect().id;
    let gate = probe.block();
    stream.write_all(&[2; 2_000]).expect("written");
    wait_for(&node, id, "paused_by_backlog", "true");
    // More than the kernel takes, so that the owner sets aside what it has got.
    node.write(id, vec![1; 32 * MIB]);
    drop(gate);
    wait_until("messages are set aside", || {
        inspect(&node, probe.pid).number("messages_set_aside") > Some(0)
    });
    reset(stream);
    let (bytes, end) = probe.bytes_to_disconnect();
    assert!(bytes.len() >= 400, "what was set aside comes first");
    assert_eq!((end.id, end.reason), (id, DisconnectReason::Reset));
    stop_clean(&node);
}

#[test]
fn datagrams_beyond_the_limit_are_dropped_and_counted() {
    let node = node();
    let probe = Probe::spawn(&node);
    let receiver = udp_client();
    let to = receiver.local_addr().expect("an address");
    let socket = probe.run(move |cx| {
        let server = UdpServer::bind("127.0.0.1:0").expect("bound");
        let id = cx.spawn_meta(server).expect("spawned");
        cx.send_datagram(id, to, "ping");
        id
    });
    assert_eq!(receive(&receiver), b"ping");
    probe.run(move |cx| cx.close(socket)).expect("closed");
    stop_clean(&node);
}
