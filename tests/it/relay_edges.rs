//! Relays and hand-overs at their edges: what is refused, what was set before, and what ends at that instant.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{DisconnectReason, HandOverError, RelayError, TcpLimits};

use crate::support::*;

on_both! {
    dead_connections_and_datagram_sockets_are_refused_by_name,
    relay_of_two_silent_peers_ends_in_order_with_no_bytes,
    paused_connections_flow_when_they_are_relayed,
    deadline_of_a_frame_and_keep_alive_bytes_are_off_in_a_relay,
    deadline_of_an_idle_peer_counts_bytes_of_either_direction_in_a_relay,
    relay_of_one_connection_after_the_other_with_the_same_partner_is_refused,
    peers_that_had_both_ended_their_side_still_get_what_was_not_handled,
}

/// Two connections of one process, and their peers.
struct Pair {
    node: Node,
    probe: Probe,
    ids: [Alias; 2],
    peers: [Client; 2],
}

impl Pair {
    fn new(options: TcpServerOptions) -> Self {
        Self::of(SpawnOptions::default(), options)
    }

    fn of(owner: SpawnOptions, options: TcpServerOptions) -> Self {
        let node = node();
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

    fn relay(&self) {
        let [first, second] = self.ids;
        let relayed = self.probe.run(move |cx| cx.relay(first, second));
        assert_eq!(relayed, Ok(()));
    }

    fn pass(&mut self, from: usize, bytes: &[u8]) {
        self.peers[from].write_all(bytes).unwrap();
        assert_eq!(read(&mut self.peers[1 - from], bytes.len()), bytes);
    }

    /// Both peers end their side; returns how many bytes each had sent.
    fn finish(mut self) -> (u64, u64) {
        for from in [0, 1] {
            self.peers[from].shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&mut self.peers[1 - from]), b"");
        }
        let end = self.probe.relay_end();
        for side in [&end.first, &end.second] {
            assert_eq!(side.reason, DisconnectReason::ClosedByPeer);
            assert_eq!(side.unsent, 0);
        }
        self.probe.saw_nothing();
        stop_clean(&self.node);
        (end.first.forwarded, end.second.forwarded)
    }
}

#[test]
fn dead_connections_and_datagram_sockets_are_refused_by_name() {
    let mut pair = Pair::new(TcpServerOptions::default());
    let [first, second] = pair.ids;
    let (addr, udp) = pair.probe.listen_udp(UdpServerOptions::default());
    let socket = udp_client();
    socket.send_to(b"datagram", addr).unwrap();
    assert_eq!(pair.probe.udp().data, "datagram");
    let other = Probe::spawn(&pair.node).pid;
    let try_both = |one: Alias, other: Alias| {
        let relay = pair.probe.run(move |cx| cx.relay(one, other));
        let back = pair.probe.run(move |cx| cx.relay(other, one));
        assert_eq!(relay, back);
        relay
    };
    assert_eq!(try_both(first, udp), Err(RelayError::NotEstablished(udp)));
    let moved = pair.probe.run(move |cx| cx.hand_over(udp, other));
    assert_eq!(moved, Err(HandOverError::NotEstablished(udp)));
    let text = RelayError::NotEstablished(udp).to_string();
    assert!(text.contains("not an established connection"), "{text}");
    pair.probe.run(move |cx| cx.abort(second)).unwrap();
    pair.probe.disconnect();
    wait_until("it is gone", || pair.node.sockets().count() == 3);
    assert_eq!(try_both(first, second), Err(RelayError::Closed(second)));
    let moved = pair.probe.run(move |cx| cx.hand_over(second, other));
    assert_eq!(moved, Err(HandOverError::Closed(second)));
    // Nothing has changed for the one that is left.
    exchange_by(&pair.probe, first, &mut pair.peers[0]);
    stop_clean(&pair.node);
}

fn exchange_by(probe: &Probe, id: Alias, peer: &mut Client) {
    peer.write_all(b"question").unwrap();
    assert_eq!(probe.bytes(8), b"question");
    probe.write(id, "answer");
    assert_eq!(read(peer, 6), b"answer");
}

#[test]
fn relay_of_two_silent_peers_ends_in_order_with_no_bytes() {
    let pair = Pair::new(TcpServerOptions::default());
    pair.relay();
    assert_eq!(pair.finish(), (0, 0));
    // The same when one of them has ended its side before the call.
    let mut pair = Pair::new(TcpServerOptions::default().with_half_open(true));
    pair.peers[0].shutdown(Shutdown::Write).unwrap();
    pair.probe.peer_closed();
    pair.relay();
    assert_eq!(read_to_end(&mut pair.peers[1]), b"");
    pair.pass(1, b"the other direction");
    assert_eq!(pair.finish(), (0, 19));
}

#[test]
fn paused_connections_flow_when_they_are_relayed() {
    let mut pair = Pair::new(TcpServerOptions::default());
    for id in pair.ids {
        pair.probe.run(move |cx| cx.pause_reading(id)).unwrap();
        wait_for(&pair.node, id, "paused_by_owner", true);
    }
    pair.peers[0].write_all(b"before, ").unwrap();
    pair.relay();
    pair.peers[0].write_all(b"behind").unwrap();
    assert_eq!(read(&mut pair.peers[1], 14), b"before, behind");
    pair.pass(1, b"back");
    assert_eq!(pair.finish(), (14, 4));
}

#[test]
fn deadline_of_a_frame_and_keep_alive_bytes_are_off_in_a_relay() {
    let time = Duration::from_millis(150);
    let mut options = TcpServerOptions::default().with_framing(Framing::lines());
    options = options
        .with_limits(TcpLimits::default().with_frame_timeout(time))
        .with_write_keep_alive((time / 3, b"\n".to_vec()));
    let mut pair = Pair::new(options);
    // Half a line, which a frame's deadline counts from.
    pair.peers[0].write_all(b"half a li").unwrap();
    wait_for(&pair.node, pair.ids[0], "bytes_in", 9);
    pair.relay();
    let mut got = read(&mut pair.peers[1], 9);
    // A keep-alive that was due before the call may stand in front.
    while got.starts_with(b"\n") {
        got.remove(0);
        got.extend(read(&mut pair.peers[1], 1));
    }
    assert_eq!(got, b"half a li");
    pass(3 * time);
    pair.peers[0].write_all(b"ne").unwrap();
    assert_eq!(read(&mut pair.peers[1], 2), b"ne");
    pair.peers[1].shutdown(Shutdown::Write).unwrap();
    pair.peers[0].shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut pair.peers[1]), b"");
    let back = read_to_end(&mut pair.peers[0]);
    assert!(back.iter().all(|byte| *byte == b'\n'), "{back:?}");
    let end = pair.probe.relay_end();
    assert_eq!(end.first.reason, DisconnectReason::ClosedByPeer);
    assert_eq!((end.first.forwarded, end.second.forwarded), (11, 0));
    stop_clean(&pair.node);
}

#[test]
fn deadline_of_an_idle_peer_counts_bytes_of_either_direction_in_a_relay() {
    let time = Duration::from_millis(600);
    let limits = TcpLimits::default().with_idle_timeout(time);
    let mut pair = Pair::new(TcpServerOptions::default().with_limits(limits));
    pair.relay();
    let begun = Moment::now();
    // One direction only, for twice as long as the deadline.
    while begun.elapsed() < 2 * time {
        pair.pass(0, b"x");
        pass(time / 20);
    }
    let last = Moment::now();
    for peer in &mut pair.peers {
        assert_eq!(read_to_end(peer), b"");
    }
    assert!(last.elapsed() + time / 10 >= time, "{:?}", last.elapsed());
    drop(pair.peers);
    let end = pair.probe.relay_end();
    for side in [&end.first, &end.second] {
        assert_eq!(side.reason, DisconnectReason::IdleTimeout);
    }
    stop_clean(&pair.node);
}

#[test]
fn relay_of_one_connection_after_the_other_with_the_same_partner_is_refused() {
    let mut pair = Pair::new(TcpServerOptions::default());
    let [first, second] = pair.ids;
    let (addr, _) = pair.probe.listen(TcpServerOptions::default());
    let mut peer = client(addr);
    let third = pair.probe.connect().id;
    // All in one handler.
    let outcomes = pair.probe.run(move |cx| {
        [
            cx.relay(first, second),
            cx.relay(third, first),
            cx.relay(second, third),
            cx.relay(second, first),
        ]
    });
    assert_eq!(
        outcomes,
        [
            Ok(()),
            Err(RelayError::Closed(first)),
            Err(RelayError::Closed(second)),
            Err(RelayError::Closed(second)),
        ]
    );
    // The third is as it was.
    exchange_by(&pair.probe, third, &mut peer);
    pair.pass(0, b"there");
    pair.pass(1, b"and back");
    pair.probe.run(move |cx| cx.close(third)).unwrap();
    drop(peer);
    assert_eq!(pair.probe.disconnect().id, third);
    assert_eq!(pair.finish(), (5, 8));
}

#[test]
fn peers_that_had_both_ended_their_side_still_get_what_was_not_handled() {
    for (round, half_open) in (0..40).flat_map(|round| [(round, false), (round, true)]) {
        let owner =
            SpawnOptions::default().with_mailbox_bound(if round % 2 == 0 { 2 } else { 100 });
        let options = TcpServerOptions::default()
            .with_half_open(half_open)
            .with_read_buffer_size(100);
        let mut pair = Pair::of(owner, options);
        let gate = pair.probe.block();
        let [first, second] = pair.ids;
        pair.probe.start(move |cx| Ok(cx.relay(first, second)?));
        for (index, peer) in pair.peers.iter_mut().enumerate() {
            peer.write_all(&vec![b'a' + index as u8; 1_500]).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        }
        drop(gate);
        assert_eq!(read_to_end(&mut pair.peers[0]), [b'b'; 1_500]);
        assert_eq!(read_to_end(&mut pair.peers[1]), [b'a'; 1_500]);
        let end = pair.probe.relay_end();
        for side in [&end.first, &end.second] {
            assert_eq!(side.reason, DisconnectReason::ClosedByPeer, "round {round}");
            assert_eq!((side.forwarded, side.unsent), (1_500, 0));
        }
        pair.probe.saw_nothing();
        stop_clean(&pair.node);
    }
}
