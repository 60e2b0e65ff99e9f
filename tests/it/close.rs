//! The end of a connection: what was accepted before it arrives, or the Disconnect states how many bytes did not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{SendErrorKind, TcpLimits};

use crate::support::*;

on_both! {
    reset_with_output_waiting_counts_what_was_not_sent,
    abort_resets_and_counts_what_was_not_sent,
    every_end_works_on_a_connection_whose_peer_reads_nothing,
    end_of_the_parent_ends_a_connection_whose_peer_reads_nothing_and_the_owner_is_notified,
    connection_closes_and_frees_its_socket_although_its_owner_takes_nothing,
    owner_keeps_writing_after_the_end_of_its_peer,
    peer_that_vanished_before_it_was_accepted_is_reported_and_ends_no_other,
}

/// Runs of each race.
const RUNS: usize = if cfg!(debug_assertions) { 150 } else { 1_000 };
/// More bytes than the kernel takes from a sender whose peer does not read.
const MUCH: usize = 16 << 20;

/// The bytes of a run. Lengths go from one byte to several writes, and the contents show a gap or a repetition.
fn payload(run: usize) -> Vec<u8> {
    let length = [1, 100, 1_460, 5_000, 65_536, 70_001, 300_000][run % 7] + run;
    (0..length)
        .map(|index| (index * 31 + index / 251 + run) as u8)
        .collect()
}

fn limits() -> TcpLimits {
    TcpLimits::default()
        .with_output_limit(64 << 20)
        .with_high_water_mark(32 << 20)
        .with_close_timeout(Duration::from_secs(20))
}

/// Sends the bytes in pieces and then ends the connection in the given way, all in one handler.
fn send_then(
    probe: &Probe,
    to: Alias,
    bytes: &[u8],
    end: impl FnOnce(&mut Context<'_>) -> Result<(), SendErrorKind> + Send + 'static,
) {
    let pieces: Vec<Buffer> = bytes
        .chunks(bytes.len() / 3 + 1)
        .map(Buffer::from)
        .collect();
    probe.run(move |cx| {
        for piece in pieces {
            cx.send_alias(to, MessageTcp::new(to, piece))
                .expect("accepted");
        }
        end(cx).expect("alive");
        let late = cx
            .send_alias(to, MessageTcp::new(to, "late"))
            .map_err(|error| error.kind());
        // An exit signal travels to the stripe, while a close takes effect at once.
        assert!(
            matches!(
                late,
                Err(SendErrorKind::Closing | SendErrorKind::NoMeta) | Ok(())
            ),
            "{late:?}"
        );
    });
}

#[test]
fn bytes_sent_before_a_close_all_arrive() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits()));
    for run in 0..RUNS {
        let mut client = client(addr);
        let alias = probe.connect().id;
        let bytes = payload(run);
        send_then(&probe, alias, &bytes, move |cx| cx.close(alias));
        assert!(read_to_end(&mut client) == bytes, "run {run}");
        drop(client);
        let end = probe.disconnect();
        assert_eq!(
            (end.id, &end.reason),
            (alias, &DisconnectReason::LocalClose),
            "run {run}"
        );
        assert_eq!(
            (end.bytes_out, end.unsent),
            (bytes.len() as u64, 0),
            "run {run}"
        );
    }
    stop_clean(&node);
}

#[test]
fn bytes_sent_before_an_exit_signal_all_arrive() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits()));
    for run in 0..RUNS {
        let mut client = client(addr);
        let alias = probe.connect().id;
        let bytes = payload(run);
        let pieces: Vec<Buffer> = bytes
            .chunks(bytes.len() / 2 + 1)
            .map(Buffer::from)
            .collect();
        probe.run(move |cx| {
            for piece in pieces {
                cx.send_alias(alias, MessageTcp::new(alias, piece))
                    .expect("accepted");
            }
            cx.send_exit_meta(alias, Reason::Shutdown).expect("alive");
        });
        assert!(read_to_end(&mut client) == bytes, "run {run}");
        drop(client);
        let end = probe.disconnect();
        assert_eq!(
            end.reason,
            DisconnectReason::Exit(Reason::Shutdown),
            "run {run}"
        );
        assert_eq!(
            (end.bytes_out, end.unsent),
            (bytes.len() as u64, 0),
            "run {run}"
        );
    }
    stop_clean(&node);
}

#[test]
fn bytes_sent_before_the_end_of_the_parent_all_arrive() {
    let node = node();
    for run in 0..RUNS / 3 {
        let probe = Probe::spawn(&node);
        let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits()));
        let mut client = client(addr);
        let alias = probe.connect().id;
        let bytes = payload(run);
        let data = Buffer::from(&bytes[..]);
        probe.start(move |cx| {
            cx.send_alias(alias, MessageTcp::new(alias, data))?;
            Err(Reason::Normal)
        });
        assert!(read_to_end(&mut client) == bytes, "run {run}");
        assert_eq!(probe.end(), Reason::Normal);
    }
    stop_clean(&node);
}

/// Replies to each frame, through the mailbox.
fn echo(cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
    if let Message::Tcp(packet) = message {
        cx.send_alias(packet.id, packet)?;
    }
    Ok(())
}

struct Listening<A>(A, Option<TcpServer>);

impl<A: Actor> Actor for Listening<A> {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.spawn_meta(self.1.take().expect("once"))?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, from: Pid, message: Message) -> Handled {
        self.0.handle_message(cx, from, message)
    }
}

fn listening(node: &Node, options: TcpServerOptions, actor: impl Actor) -> SocketAddr {
    let server = TcpServer::bind(options.with_host("127.0.0.1")).expect("bound");
    let addr = server.local_addr();
    node.spawn(|| Listening(actor, Some(server)))
        .expect("spawned");
    addr
}

#[test]
fn half_closed_peer_still_gets_its_replies() {
    let node = node();
    let addr = listening(
        &node,
        TcpServerOptions::default().with_limits(limits()),
        Script(echo),
    );
    for run in 0..RUNS {
        let mut client = client(addr);
        let bytes = payload(run);
        let mut writer = client.try_clone().expect("a clone");
        let writing = thread::spawn({
            let bytes = bytes.clone();
            move || {
                writer.write_all(&bytes).expect("written");
                writer.shutdown(Shutdown::Write).expect("half-closed");
            }
        });
        assert!(read_to_end(&mut client) == bytes, "run {run}");
        writing.join().expect("written");
    }
    stop_clean(&node);
}

#[test]
fn data_together_with_the_end_arrives_before_it() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    for run in 0..RUNS {
        let bytes = payload(run);
        let mut client = client(addr);
        client.write_all(&bytes).expect("written");
        drop(client);
        let connect = probe.connect();
        let (got, end) = probe.bytes_to_disconnect();
        assert!(got == bytes, "run {run}");
        assert_eq!(
            (end.id, &end.reason),
            (connect.id, &DisconnectReason::ClosedByPeer)
        );
        assert_eq!((end.bytes_in, end.unsent), (bytes.len() as u64, 0));
    }
    stop_clean(&node);
}

/// Linux keeps received bytes when a reset comes, but discards what the sender's kernel has not sent. So a run sends no
/// more than goes out at once.
#[cfg(target_os = "linux")]
#[test]
fn data_together_with_a_reset_arrives_before_it() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    for run in 0..RUNS {
        let bytes = &payload(run)[..1 + run % 4_000 % payload(run).len()];
        let mut client = client(addr);
        client.write_all(bytes).expect("written");
        reset(client);
        probe.connect();
        let (got, end) = probe.bytes_to_disconnect();
        assert!(got == bytes, "run {run}: {} of {}", got.len(), bytes.len());
        assert_eq!(end.reason, DisconnectReason::Reset);
        assert_eq!((end.bytes_in, end.unsent), (bytes.len() as u64, 0));
    }
    stop_clean(&node);
}

#[test]
fn reset_with_output_waiting_counts_what_was_not_sent() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits()));
    for _ in 0..10 {
        let client = client(addr);
        let alias = probe.connect().id;
        probe.write(alias, vec![7; MUCH]);
        probe.write(alias, vec![7; 1]);
        reset(client);
        let end = probe.disconnect();
        assert_eq!(end.reason, DisconnectReason::Reset);
        assert!(end.unsent > 0);
        assert_eq!(end.bytes_out + end.unsent, MUCH as u64 + 1);
    }
    stop_clean(&node);
}

#[test]
fn abort_resets_and_counts_what_was_not_sent() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits()));
    for _ in 0..10 {
        let mut client = client(addr);
        let alias = probe.connect().id;
        probe.run(move |cx| {
            cx.send_alias(alias, MessageTcp::new(alias, vec![7; MUCH]))
                .expect("accepted");
            cx.abort(alias).expect("alive");
        });
        assert_eq!(read_out(&mut client), Err(ErrorKind::ConnectionReset));
        let end = probe.disconnect();
        assert_eq!(end.reason, DisconnectReason::Abort);
        assert!(end.unsent > 0);
        assert_eq!(end.bytes_out + end.unsent, MUCH as u64);
    }
    stop_clean(&node);
}

/// Ways to end a connection whose peer reads nothing, and how long each may take.
#[test]
fn every_end_works_on_a_connection_whose_peer_reads_nothing() {
    const CLOSE: Duration = Duration::from_millis(200);
    type End = fn(&mut Context<'_>, Alias) -> Result<(), SendErrorKind>;
    let ends: [(End, DisconnectReason, bool); 5] = [
        (
            |cx, alias| cx.close(alias),
            DisconnectReason::CloseTimeout,
            true,
        ),
        (|cx, alias| cx.abort(alias), DisconnectReason::Abort, false),
        (
            |cx, alias| cx.send_exit_meta(alias, Reason::error("enough")),
            DisconnectReason::Exit(Reason::error("enough")),
            true,
        ),
        (
            |cx, alias| cx.send_exit_meta(alias, Reason::Normal),
            DisconnectReason::Exit(Reason::Normal),
            true,
        ),
        (
            |cx, alias| cx.send_exit_meta(alias, Reason::Kill),
            DisconnectReason::Exit(Reason::Kill),
            false,
        ),
    ];
    let node = node();
    let probe = Probe::spawn(&node);
    let limits = limits().with_close_timeout(CLOSE);
    let (addr, listener) = probe.listen(TcpServerOptions::default().with_limits(limits));
    for (end, reason, flushes) in ends {
        let mut client = client(addr);
        let alias = probe.connect().id;
        probe.write(alias, vec![7; MUCH]);
        let begun = Moment::now();
        probe.run(move |cx| end(cx, alias)).expect("alive");
        let end = probe.disconnect();
        assert_eq!(end.reason, reason);
        assert_eq!(end.bytes_out + end.unsent, MUCH as u64);
        assert!(end.unsent > 0);
        assert!(
            !flushes || begun.elapsed() >= CLOSE,
            "{reason}: did not try to flush"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{reason}: {:?}",
            begun.elapsed()
        );
        // The peer must not take a part for the whole.
        assert_eq!(
            read_out(&mut client),
            Err(ErrorKind::ConnectionReset),
            "{reason}"
        );
    }
    let counts = inspect(&node, listener);
    assert_eq!(counts.number("ended_exit"), Some(3));
    assert_eq!(
        (
            counts.number("ended_abort"),
            counts.number("ended_close_timeout")
        ),
        (Some(1), Some(1))
    );
    assert!(counts.number("ended_unsent").is_some_and(|bytes| bytes > 0));
    stop_clean(&node);
}

/// The close reaches the stripe in an activation that began long before: the close timeout counts from the close.
#[test]
fn close_timeout_counts_from_the_close() {
    const CLOSE: Duration = Duration::from_millis(100);
    /// Blocks its stripe until the gate is dropped.
    struct Hold(mpsc::Sender<()>, mpsc::Receiver<()>);
    impl MetaProcess for Hold {
        fn init(&mut self, _: &mut MetaContext<'_>) -> Handled {
            let _ = self.0.send(());
            let _ = value_of(&self.1);
            Err(Reason::Normal)
        }
    }
    let node = node_with(
        NodeOptions::from("test@localhost")
            .with_workers(2)
            .with_stripes(1),
    );
    let probe = Probe::spawn(&node);
    let (addr, _) =
        probe.listen(TcpServerOptions::default().with_limits(limits().with_close_timeout(CLOSE)));
    let _client = client(addr);
    let alias = probe.connect().id;
    probe.write(alias, vec![7; MUCH]);
    node.inspect(alias, LIMIT)
        .expect("it has come to the bytes");
    let (began, is_held) = mpsc::channel();
    let (gate, opened) = mpsc::channel::<()>();
    probe.spawn_meta(Hold(began, opened));
    value_of(&is_held).expect("the stripe is held");
    let held = Moment::now();
    wait_until("the activation is old", || held.elapsed() > 2 * CLOSE);
    let closed = Moment::now();
    node.close(alias).expect("alive");
    drop(gate);
    assert_eq!(probe.disconnect().reason, DisconnectReason::CloseTimeout);
    assert!(closed.elapsed() >= CLOSE, "after {:?}", closed.elapsed());
    stop_clean(&node);
}

#[test]
fn end_of_the_parent_ends_a_connection_whose_peer_reads_nothing_and_the_owner_is_notified() {
    let node = node();
    let (parent, owner) = (Probe::spawn(&node), Probe::named(&node, "owner"));
    let limits = limits().with_close_timeout(Duration::from_millis(100));
    let (addr, _) = parent.listen(
        TcpServerOptions::default()
            .with_limits(limits)
            .with_process_pool(["owner"]),
    );
    let mut client = client(addr);
    let alias = owner.connect().id;
    owner.write(alias, vec![7; MUCH]);
    parent.start(|_| Err(Reason::error("the parent fails")));
    let end = owner.disconnect();
    assert_eq!(
        end.reason,
        DisconnectReason::Exit(Reason::error("the parent fails"))
    );
    assert_eq!(end.bytes_out + end.unsent, MUCH as u64);
    assert!(end.unsent > 0);
    assert_eq!(read_out(&mut client), Err(ErrorKind::ConnectionReset));
    assert_eq!(parent.end(), Reason::error("the parent fails"));
    stop_clean(&node);
}

#[test]
fn connection_closes_and_frees_its_socket_although_its_owner_takes_nothing() {
    let node = node();
    let parent = Probe::spawn(&node);
    let owner = Probe::spawn_with(
        &node,
        SpawnOptions::default()
            .with_name("stuck")
            .with_data_bound(2),
    );
    let limits = limits().with_close_timeout(Duration::from_millis(100));
    let options = TcpServerOptions::default()
        .with_limits(limits)
        .with_process_pool(["stuck"]);
    let (addr, _) = parent.listen(options.with_framing(Framing::fixed(1)));
    let mut client = client(addr);
    let alias = owner.connect().id;
    let gate = owner.block();
    client.write_all(&[1; 10]).expect("written");
    wait_for(&node, alias, "paused_by_mailbox", true);
    parent
        .run(move |cx| cx.send_exit_meta(alias, Reason::Shutdown))
        .expect("alive");
    assert_eq!(
        read_out(&mut client),
        Ok(Vec::new()),
        "the socket waits for the owner"
    );
    drop(client);
    wait_for(&node, alias, "state", "ended");
    drop(gate);
    let (got, end) = owner.bytes_to_disconnect();
    assert_eq!(
        (got.len(), end.reason),
        (10, DisconnectReason::Exit(Reason::Shutdown))
    );
    stop_clean(&node);
}

#[test]
fn owner_that_ends_leaves_its_last_words_to_the_peer() {
    let node = node();
    for run in 0..RUNS / 5 {
        let parent = Probe::spawn(&node);
        let owner = Probe::named(&node, "owner");
        let (addr, _) = parent.listen(
            TcpServerOptions::default()
                .with_process_pool(["owner"])
                .with_limits(limits()),
        );
        let mut client = client(addr);
        let alias = owner.connect().id;
        let bytes = payload(run);
        let data = Buffer::from(&bytes[..]);
        owner.start(move |cx| {
            cx.send_alias(alias, MessageTcp::new(alias, data))?;
            Err(Reason::Normal)
        });
        owner.end();
        // The connection notices that its owner has terminated when data arrives for it.
        client.write_all(b"?").expect("written");
        assert!(read_to_end(&mut client) == bytes, "run {run}");
        parent.start(|_| Err(Reason::Normal));
        parent.end();
    }
    stop_clean(&node);
}

#[test]
fn peer_that_goes_on_sending_still_gets_our_last_bytes() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits()));
    for run in 0..5 {
        let mut client = client(addr);
        let alias = probe.connect().id;
        let bytes = vec![run; 8 << 20];
        let data = Buffer::from(&bytes[..]);
        probe.run(move |cx| {
            cx.send_alias(alias, MessageTcp::new(alias, data))
                .expect("accepted");
            cx.close(alias).expect("alive");
        });
        // The peer reads a little, and writes, until the end.
        let mut got = Vec::new();
        let mut room = vec![0; 16 << 10];
        loop {
            client
                .write_all(&[0; 100])
                .expect("our side is not reset before we have everything");
            match client.read(&mut room).expect("no reset") {
                0 => break,
                read => got.extend_from_slice(&room[..read]),
            }
        }
        assert!(got == bytes, "{} of {} bytes", got.len(), bytes.len());
        drop(client);
        assert_eq!(
            probe.bytes_to_disconnect().1.reason,
            DisconnectReason::LocalClose
        );
    }
    stop_clean(&node);
}

#[test]
fn owner_keeps_writing_after_the_end_of_its_peer() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_half_open(true));
    let mut client = client(addr);
    let alias = probe.connect().id;
    client.write_all(b"question").expect("written");
    client.shutdown(Shutdown::Write).expect("half-closed");
    assert_eq!(probe.bytes(8), b"question");
    assert_eq!(probe.peer_closed().id, alias);
    for part in ["one ", "two ", "three"] {
        probe.write(alias, part);
    }
    probe.run(move |cx| cx.close(alias)).expect("alive");
    assert_eq!(read_to_end(&mut client), b"one two three");
    let end = probe.disconnect();
    assert_eq!((end.reason, end.unsent), (DisconnectReason::LocalClose, 0));
    stop_clean(&node);
}

#[test]
fn our_own_half_close_flushes_and_leaves_the_other_direction_open() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits()));
    for run in 0..RUNS / 5 {
        let mut client = client(addr);
        let alias = probe.connect().id;
        let bytes = payload(run);
        let data = Buffer::from(&bytes[..]);
        let refused = probe.run(move |cx| {
            cx.send_alias(alias, MessageTcp::new(alias, data))
                .expect("accepted");
            cx.shutdown_write(alias).expect("alive");
            cx.send_alias(alias, MessageTcp::new(alias, "late"))
                .expect_err("half-closed")
                .kind()
        });
        assert_eq!(refused, SendErrorKind::Closing);
        assert!(read_to_end(&mut client) == bytes, "run {run}");
        client.write_all(b"still here").expect("written");
        assert_eq!(probe.bytes(10), b"still here");
        drop(client);
        assert_eq!(probe.disconnect().reason, DisconnectReason::ClosedByPeer);
    }
    stop_clean(&node);
}

#[test]
fn bytes_sent_and_an_end_before_the_connection_is_made_all_arrive() {
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("an address");
    for run in 0..RUNS {
        let bytes = payload(run);
        let data = Buffer::from(&bytes[..]);
        let by_exit = run % 2 == 0;
        let alias = probe.run(move |cx| {
            let connection =
                TcpConnection::connect(TcpConnectionOptions::from(addr).with_limits(limits()));
            let alias = cx
                .spawn_meta(connection.expect("an attempt"))
                .expect("spawned");
            cx.send_alias(alias, MessageTcp::new(alias, data))
                .expect("accepted");
            if by_exit {
                cx.send_exit_meta(alias, Reason::Shutdown).expect("alive");
            } else {
                cx.close(alias).expect("alive");
            }
            alias
        });
        let (mut peer, _) = listener.accept().expect("a connection");
        bounded(&peer);
        assert!(read_to_end(&mut peer) == bytes, "run {run}");
        drop(peer);
        assert_eq!(probe.connect().id, alias);
        let end = probe.disconnect();
        let expected = if by_exit {
            DisconnectReason::Exit(Reason::Shutdown)
        } else {
            DisconnectReason::LocalClose
        };
        assert_eq!((end.reason, end.unsent), (expected, 0), "run {run}");
    }
    stop_clean(&node);
}

#[test]
fn peer_that_vanished_before_it_was_accepted_is_reported_and_ends_no_other() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default());
    for _ in 0..RUNS {
        reset(client(addr));
    }
    let mut last = client(addr);
    last.write_all(b"alive").expect("written");
    let mut open = 0;
    loop {
        match probe.next().1 {
            Message::TcpConnect(_) => open += 1,
            Message::TcpDisconnect(end) => {
                assert_eq!(end.reason, DisconnectReason::Reset);
                open -= 1;
            }
            Message::Tcp(packet) => break assert_eq!(packet.data, "alive"),
            other => panic!("{other:?}"),
        }
    }
    while open > 1 {
        assert_eq!(probe.disconnect().reason, DisconnectReason::Reset);
        open -= 1;
    }
    wait_for(&node, listener, "connections", 1);
    stop_clean(&node);
}
