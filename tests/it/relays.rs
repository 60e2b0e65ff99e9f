//! Relays: two connections that feed each other, over real sockets.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{DisconnectReason, MessageRelayEnd, RelayError, TcpLimits, WriteErrorKind};

use crate::support::*;

on_both! {
    each_direction_of_a_relay_ends_by_itself_and_the_owner_gets_one_message,
    reset_on_either_side_resets_the_other,
    slow_reader_and_idle_peers_end_a_relay_by_their_timeouts,
    writes_of_others_are_refused_and_closing_one_side_closes_both,
}

const MIB: usize = 1 << 20;

/// A process with two accepted connections, and their peers.
struct Pair {
    node: Node,
    probe: Probe,
    ids: [Alias; 2],
    peers: [Client; 2],
}

impl Pair {
    fn new(workers: usize, options: TcpServerOptions) -> Self {
        Self::of(workers, SpawnOptions::default(), options)
    }

    fn of(workers: usize, owner: SpawnOptions, options: TcpServerOptions) -> Self {
        let node = node_with(NodeOptions::from("test@localhost").with_workers(workers));
        let probe = Probe::spawn_with(&node, owner);
        let (addr, _) = probe.listen(options);
        let [(one, first), (other, second)] = [(); 2].map(|()| {
            let peer = client(addr);
            (peer, probe.connect().id)
        });
        Self {
            node,
            probe,
            ids: [first, second],
            peers: [one, other],
        }
    }

    fn relayed(workers: usize, options: TcpServerOptions) -> Self {
        let pair = Self::new(workers, options);
        assert_eq!(pair.relay(), Ok(()));
        pair
    }

    fn relay(&self) -> Result<(), RelayError> {
        let [first, second] = self.ids;
        self.probe.run(move |cx| cx.relay(first, second))
    }

    fn end(&self) -> Box<MessageRelayEnd> {
        self.probe.relay_end()
    }

    /// Nothing else has come to the owner, and nothing is left.
    fn finish(self) {
        self.probe.saw_nothing();
        stop_clean(&self.node);
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn each_direction_of_a_relay_ends_by_itself_and_the_owner_gets_one_message() {
    for workers in [1, 2, 4] {
        let mut pair = Pair::relayed(workers, TcpServerOptions::default());
        let [one, other] = &mut pair.peers;
        exchange_with(one, other, b"there");
        exchange_with(other, one, b"and back");
        one.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(other), b"");
        exchange_with(other, one, b"still open");
        other.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(one), b"");
        let end = pair.end();
        assert_eq!([end.first.id, end.second.id], pair.ids);
        for side in [&end.first, &end.second] {
            assert_eq!(side.reason, DisconnectReason::ClosedByPeer);
            assert_eq!(side.unsent, 0);
        }
        assert_eq!((end.first.forwarded, end.second.forwarded), (5, 18));
        pair.finish();
    }
}

fn exchange_with(from: &mut Client, to: &mut Client, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    assert_eq!(read(to, bytes.len()), bytes);
}

#[test]
fn input_that_the_owner_has_not_handled_goes_first_and_in_order() {
    // With the small one a message has been refused when the order comes, and waits for room behind the fence.
    for (workers, bound) in [(1, 1_000), (2, 1_000), (1, 4), (2, 4)] {
        let owner = SpawnOptions::default().with_mailbox_bound(bound);
        let mut pair = Pair::of(
            workers,
            owner,
            TcpServerOptions::default().with_read_buffer_size(4096),
        );
        let bytes = pattern(3 * MIB);
        let gate = pair.probe.block();
        let [first, second] = pair.ids;
        pair.probe.start(move |cx| {
            cx.write(first, "to the first, ");
            cx.write(second, "to the second, ");
            Ok(cx.relay(first, second)?)
        });
        let [one, other] = &mut pair.peers;
        let mut writer = one.try_clone().unwrap();
        let sent = bytes.clone();
        let writing = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        other.write_all(b"from the second").unwrap();
        let stopped = if bound == 4 {
            "paused_by_mailbox"
        } else {
            "paused_by_backlog"
        };
        wait_for(&pair.node, first, stopped, true);
        drop(gate);
        let got = read_to_end(other);
        let rest = got
            .strip_prefix(b"to the second, ")
            .expect("the write first");
        assert!(rest == bytes, "{} bytes of {}", rest.len(), bytes.len());
        writing.join().unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(one), b"to the first, from the second");
        let end = pair.end();
        assert_eq!(end.first.forwarded as usize, bytes.len());
        // What came before the call may have been handled, as far as the mailbox went to the call.
        pair.finish();
    }
}

#[test]
fn reader_that_stops_slows_the_sender_and_loses_nothing() {
    for workers in [1, 2] {
        let mut pair = Pair::relayed(workers, TcpServerOptions::default());
        let [one, other] = &mut pair.peers;
        let bytes = pattern(64 * MIB);
        one.set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let mut sent = 0;
        let stopped = loop {
            match one.write(&bytes[sent..]) {
                Ok(written) => sent += written,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(stopped, ErrorKind::WouldBlock);
        assert!(sent < 32 * MIB, "{sent} bytes were taken without a reader");
        bounded(one);
        let mut writer = one.try_clone().unwrap();
        let rest = bytes[sent..].to_vec();
        let writing = thread::spawn(move || {
            writer.write_all(&rest).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let got = read_to_end(other);
        assert!(got == bytes, "{} bytes of {}", got.len(), bytes.len());
        writing.join().unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(one), b"");
        assert_eq!(pair.end().first.forwarded as usize, bytes.len());
        pair.finish();
    }
}

#[test]
fn reset_on_either_side_resets_the_other() {
    for index in [0, 1] {
        let mut pair = Pair::relayed(2, TcpServerOptions::default());
        let [one, other] = &mut pair.peers;
        exchange_with(one, other, b"it flows");
        let [one, other] = pair.peers;
        let (broken, mut left) = if index == 0 {
            (one, other)
        } else {
            (other, one)
        };
        reset(broken);
        assert_eq!(read_out(&mut left), Err(ErrorKind::ConnectionReset));
        let end = pair.probe.relay_end();
        let reasons = [end.first.reason, end.second.reason];
        assert_eq!(reasons[index], DisconnectReason::Reset);
        assert_eq!(reasons[1 - index], DisconnectReason::Abort);
        pair.probe.saw_nothing();
        stop_clean(&pair.node);
    }
}

#[test]
fn reset_is_found_while_the_other_side_does_not_read() {
    let pair = Pair::relayed(2, TcpServerOptions::default());
    let [mut one, mut other] = pair.peers;
    one.set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let block = pattern(MIB);
    while one.write(&block).is_ok() {}
    reset(one);
    assert_eq!(read_out(&mut other), Err(ErrorKind::ConnectionReset));
    assert_eq!(pair.probe.relay_end().first.reason, DisconnectReason::Reset);
    stop_clean(&pair.node);
}

#[test]
fn slow_reader_and_idle_peers_end_a_relay_by_their_timeouts() {
    let limits = TcpLimits::default().with_write_timeout(Duration::from_millis(300));
    let pair = Pair::relayed(2, TcpServerOptions::default().with_limits(limits));
    let [mut one, other] = pair.peers;
    let block = pattern(MIB);
    let failed = loop {
        if let Err(error) = one.write_all(&block) {
            break error.kind();
        }
    };
    assert!(
        matches!(failed, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{failed}"
    );
    let end = pair.probe.relay_end();
    assert_eq!(end.second.reason, DisconnectReason::SlowReader);
    assert_eq!(end.first.reason, DisconnectReason::Abort);
    assert!(end.second.unsent > 0);
    drop(other);
    stop_clean(&pair.node);

    let limits = TcpLimits::default().with_idle_timeout(Duration::from_millis(200));
    let mut pair = Pair::relayed(2, TcpServerOptions::default().with_limits(limits));
    for peer in &mut pair.peers {
        assert_eq!(read_to_end(peer), b"");
    }
    drop(pair.peers);
    let end = pair.probe.relay_end();
    assert_eq!(end.first.reason, DisconnectReason::IdleTimeout);
    assert_eq!(end.second.reason, DisconnectReason::IdleTimeout);
    stop_clean(&pair.node);
}

#[test]
fn writes_of_others_are_refused_and_closing_one_side_closes_both() {
    let mut pair = Pair::relayed(2, TcpServerOptions::default());
    let [first, second] = pair.ids;
    for id in pair.ids {
        let refused = pair
            .probe
            .run(move |cx| cx.try_write(id, "no").unwrap_err());
        assert_eq!(refused.kind(), WriteErrorKind::Closed);
        let refused = pair.node.try_write(id, "no").unwrap_err();
        assert_eq!(refused.kind(), WriteErrorKind::Closed);
        pair.node.write(id, "no");
    }
    assert_eq!(pair.relay(), Err(RelayError::Closed(first)));
    let [one, other] = &mut pair.peers;
    exchange_with(one, other, b"flows");
    pair.probe.run(move |cx| cx.close(second)).unwrap();
    for peer in &mut pair.peers {
        assert_eq!(read_to_end(peer), b"");
        peer.shutdown(Shutdown::Write).unwrap();
    }
    let end = pair.end();
    assert_eq!(end.first.reason, DisconnectReason::LocalClose);
    assert_eq!(end.second.reason, DisconnectReason::LocalClose);
    pair.finish();
}

#[test]
fn refused_relay_changes_nothing() {
    let mut pair = Pair::new(2, TcpServerOptions::default());
    let [first, second] = pair.ids;
    let stranger = Probe::spawn(&pair.node);
    let refused = stranger.run(move |cx| cx.relay(first, second));
    assert_eq!(refused, Err(RelayError::NotOwner(first)));
    let refused = pair.probe.run(move |cx| cx.relay(first, first));
    assert_eq!(refused, Err(RelayError::Same(first)));
    let unaccepting = Unaccepting::new();
    let waiting = pair.probe.connect_to(unaccepting.addr);
    let refused = pair.probe.run(move |cx| cx.relay(first, waiting));
    assert_eq!(refused, Err(RelayError::NotEstablished(waiting)));
    let (_, listener) = pair.probe.listen(TcpServerOptions::default());
    let refused = pair.probe.run(move |cx| cx.relay(first, listener));
    assert_eq!(refused, Err(RelayError::NotEstablished(listener)));
    pair.probe.run(move |cx| cx.shutdown_write(second)).unwrap();
    wait_for(&pair.node, second, "state", "half-closed");
    assert_eq!(pair.relay(), Err(RelayError::Closed(second)));
    pair.probe.write(first, "a write after the refusals");
    assert_eq!(read(&mut pair.peers[0], 26), b"a write after the refusals");
    stop_clean(&pair.node);
}

#[test]
fn end_of_the_owner_and_stop_of_the_node_end_both_connections() {
    let mut pair = Pair::relayed(2, TcpServerOptions::default());
    pair.probe.start(|_| Err(Reason::Normal));
    for peer in &mut pair.peers {
        assert_eq!(read_to_end(peer), b"");
        peer.shutdown(Shutdown::Write).unwrap();
    }
    wait_for_count(&pair.node, "meta_processes", 0);
    stop_clean(&pair.node);

    let mut pair = Pair::relayed(2, TcpServerOptions::default());
    let node = pair.node.clone();
    let stopping = thread::spawn(move || stop_clean(&node));
    for peer in &mut pair.peers {
        assert_eq!(read_to_end(peer), b"");
        peer.shutdown(Shutdown::Write).unwrap();
    }
    stopping.join().unwrap();
}

/// Relays itself to the address in its first line, with what stands behind it.
struct Dialer(mpsc::Sender<MessageRelayEnd>);

impl Session for Dialer {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let line = input.split_to(end + 1);
        let to = String::from_utf8_lossy(&line[..end]).into_owned();
        cx.pause();
        cx.spawn_meta(TcpConnection::connect(to.as_str())?)?;
        Ok(())
    }

    fn peer_closed(&mut self, _: &mut SessionContext<'_>) -> Handled {
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut SessionContext<'_>, _: Pid, message: Message) -> Handled {
        if let Message::TcpConnect(connect) = message {
            cx.write("connected\n");
            cx.relay_with(connect.id)?;
        }
        Ok(())
    }

    fn relay_ended(&mut self, _: &mut SessionContext<'_>, end: &MessageRelayEnd) {
        let _ = self.0.send(end.clone());
    }
}

/// Echoes, and closes after its output when the peer has.
struct Echo;

impl Session for Echo {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        cx.write(input.take());
        Ok(())
    }
}

#[test]
fn session_relays_itself_with_the_input_that_it_has_not_taken() {
    let node = node();
    let probe = Probe::spawn(&node);
    let echo = TcpServer::bind("127.0.0.1:0").unwrap();
    let dialer = TcpServer::bind("127.0.0.1:0").unwrap();
    let (target, addr) = (echo.local_addr(), dialer.local_addr());
    let (ends, seen) = mpsc::channel();
    probe.run(move |cx| {
        cx.spawn_meta(echo.serve(|| Echo)).unwrap();
        cx.spawn_meta(dialer.serve(move || Dialer(ends.clone())))
            .unwrap();
    });
    let bytes = pattern(2 * MIB);
    for split in [0, 1, bytes.len()] {
        let mut stream = client(addr);
        let mut writer = stream.try_clone().unwrap();
        let mut all = format!("{target}\n").into_bytes();
        let (before, behind) = bytes.split_at(split);
        all.extend_from_slice(before);
        let behind = behind.to_vec();
        let writing = thread::spawn(move || {
            writer.write_all(&all).unwrap();
            writer.write_all(&behind).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(read(&mut stream, 10), b"connected\n");
        let got = read_to_end(&mut stream);
        assert!(got == bytes, "{} bytes of {}", got.len(), bytes.len());
        writing.join().unwrap();
        let end = value_of(&seen).expect("the end of the relay");
        assert_eq!(end.first.reason, DisconnectReason::ClosedByPeer);
        assert_eq!(end.second.forwarded as usize, bytes.len());
    }
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn every_relay_ends_with_one_message_whenever_a_peer_resets() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..300 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let [(one, first), (other, second)] = [(); 2].map(|()| {
            let peer = client(addr);
            (peer, probe.connect().id)
        });
        let (mut early, late) = if random.is_multiple_of(2) {
            (one, other)
        } else {
            (other, one)
        };
        early.write_all(b"some bytes").unwrap();
        let spins = random % 2_000;
        let resetting = thread::spawn(move || {
            (0..spins).for_each(|_| std::hint::spin_loop());
            reset(early);
            late
        });
        let outcome = probe.run(move |cx| cx.relay(first, second));
        let late = resetting.join().unwrap();
        let (mut relays, mut disconnects) = (0, Vec::new());
        let mut late = Some(late);
        while relays < 1 && disconnects.len() < 2 {
            match probe.next().1 {
                Message::RelayEnd(_) => relays += 1,
                Message::TcpDisconnect(end) => {
                    assert!(!disconnects.contains(&end.id), "two Disconnects");
                    disconnects.push(end.id);
                    drop(late.take());
                }
                _ => {}
            }
        }
        assert_eq!(outcome.is_ok(), relays == 1, "round {round}: {outcome:?}");
        assert!(relays == 0 || disconnects.is_empty(), "round {round}");
    }
    probe.saw_nothing();
    wait_for_count(&node, "meta_processes", 1);
    stop_clean(&node);
}
