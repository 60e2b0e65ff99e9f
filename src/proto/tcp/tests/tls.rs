//! A client machine against a server machine.

use super::*;
use crate::proto::tls::fuzz_session;

struct Pair {
    sides: [Connection; 2],
    wires: [Vec<u8>; 2],
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

/// Before the handshake; its deadline is at 1,000.
fn pair(tls12: bool) -> Pair {
    let settings = Arc::new(settings(Framing::Raw));
    let sides = fuzz_session(tls12).map(|tls| Connection::with_tls(Arc::clone(&settings), tls, 0));
    Pair {
        sides,
        wires: [Vec::new(), Vec::new()],
    }
}

fn open_pair() -> Pair {
    let mut pair = pair(false);
    pair.run(0);
    assert_eq!(
        [pair.events(CLIENT), pair.events(SERVER)],
        [["Connected"], ["Connected"]]
    );
    pair
}

impl Pair {
    fn transmit(&mut self, side: usize, mut room: usize, now_ms: u64) -> Transmitted {
        let wire = &mut self.wires[side];
        let done = self.sides[side].transmit(
            |slices| {
                let offered = gathered(slices);
                let part = offered.len().min(room);
                room -= part;
                wire.extend_from_slice(&offered[..part]);
                if part == 0 {
                    Err(ErrorKind::WouldBlock.into())
                } else {
                    Ok(part)
                }
            },
            now_ms,
        );
        assert!(
            done.blocked
                || self.sides[side].shutdown_is_due()
                || !self.sides[side].wants_transmit(),
            "it would spin"
        );
        done
    }

    fn deliver(&mut self, from: usize, now_ms: u64) -> bool {
        let to = &mut self.sides[1 - from];
        let bytes = std::mem::take(&mut self.wires[from]);
        if !bytes.is_empty() && to.wants_read() {
            to.receive(&mut Buffer::from(&bytes[..]), now_ms);
        }
        !bytes.is_empty()
    }

    /// Moves bytes both ways, without FIN, until both are quiet.
    fn run(&mut self, now_ms: u64) {
        loop {
            for side in [CLIENT, SERVER] {
                self.transmit(side, usize::MAX, now_ms);
            }
            if !(self.deliver(CLIENT, now_ms) | self.deliver(SERVER, now_ms)) {
                return;
            }
        }
    }

    fn finish(&mut self, side: usize) {
        assert!(self.sides[side].shutdown_is_due());
        self.sides[side].shutdown_done(0);
        if self.sides[1 - side].wants_read() {
            self.sides[1 - side].receive_end(0);
        }
    }

    fn events(&mut self, side: usize) -> Vec<String> {
        events(&mut self.sides[side], 0)
    }

    fn send(&mut self, side: usize, text: &str) {
        send(&mut self.sides[side], text, 0);
    }

    fn close(&mut self, side: usize) {
        self.sides[side].close(DisconnectReason::LocalClose, 0);
    }

    fn ended(&self, side: usize) -> Option<DisconnectReason> {
        ended(&self.sides[side])
    }
}

#[test]
fn connect_is_delivered_after_the_handshake_and_what_was_sent_before_follows() {
    for tls12 in [true, false] {
        let mut pair = pair(tls12);
        pair.send(CLIENT, "hello");
        pair.send(SERVER, "welcome");
        assert!(pair.events(CLIENT).is_empty());
        pair.run(0);
        assert_eq!(
            [pair.events(CLIENT), pair.events(SERVER)],
            [["Connected", "welcome"], ["Connected", "hello"]]
        );
        assert_eq!(
            pair.sides[CLIENT].next_deadline(),
            u64::MAX,
            "the deadline of the handshake is over"
        );
    }
}

/// Counts the writes of one transmit to a socket that takes everything.
fn writes(pair: &mut Pair, side: usize) -> usize {
    let mut count = 0;
    let wire = &mut pair.wires[side];
    let mut write = |slices: &[IoSlice<'_>]| {
        count += 1;
        wire.extend(gathered(slices));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    };
    pair.sides[side].transmit(&mut write, 0);
    count
}

#[test]
fn tickets_leave_with_the_answer_to_what_came_behind_the_handshake() {
    let mut pair = pair(false);
    pair.send(CLIENT, "hello");
    for side in [CLIENT, SERVER, CLIENT] {
        pair.transmit(side, usize::MAX, 0);
        pair.deliver(side, 0);
    }
    assert_eq!(pair.events(SERVER), ["Connected", "hello"]);
    assert!(pair.sides[SERVER].has_only_tickets());
    pair.send(SERVER, "answer");
    assert!(!pair.sides[SERVER].has_only_tickets());
    assert_eq!(writes(&mut pair, SERVER), 1);
    pair.run(0);
    assert_eq!(pair.events(CLIENT), ["Connected", "answer"]);
}

#[test]
fn close_notify_leaves_with_the_last_bytes() {
    let mut pair = open_pair();
    pair.send(SERVER, "the last bytes");
    pair.close(SERVER);
    assert_eq!(writes(&mut pair, SERVER), 1);
    assert!(pair.sides[SERVER].shutdown_is_due());
    pair.deliver(SERVER, 0);
    assert_eq!(pair.events(CLIENT), ["the last bytes", "PeerFinished"]);
}

#[test]
fn output_that_waits_for_the_handshake_does_not_spin_and_is_not_slow() {
    let mut pair = pair(false);
    pair.send(CLIENT, "hello");
    pair.transmit(CLIENT, usize::MAX, 0);
    assert!(!pair.sides[CLIENT].wants_transmit());
    assert_eq!(expire(&mut pair.sides[CLIENT]), 1_000);
    assert_eq!(pair.ended(CLIENT), Some(DisconnectReason::HandshakeTimeout));
}

#[test]
fn shutdown_during_the_handshake_waits_for_it() {
    let mut pair = pair(false);
    pair.sides[CLIENT].shutdown_write();
    pair.transmit(CLIENT, usize::MAX, 0);
    assert!(!pair.sides[CLIENT].shutdown_is_due());
    pair.run(0);
    pair.finish(CLIENT);
    assert_eq!(
        [pair.events(CLIENT), pair.events(SERVER)],
        [vec!["Connected"], vec!["Connected", "PeerFinished"]]
    );
}

#[test]
fn bytes_sent_before_a_close_during_the_handshake_arrive() {
    let mut pair = pair(false);
    pair.send(CLIENT, "only this");
    pair.close(CLIENT);
    pair.run(0);
    pair.finish(CLIENT);
    assert_eq!(
        pair.events(SERVER),
        ["Connected", "only this", "PeerFinished"]
    );
    pair.sides[SERVER].peer_end_handled(0);
    pair.run(0);
    pair.finish(SERVER);
    assert_eq!(pair.ended(CLIENT), Some(DisconnectReason::LocalClose));
    assert_eq!(pair.ended(SERVER), Some(DisconnectReason::ClosedByPeer));
}

#[test]
fn close_during_the_handshake_with_nothing_to_send_gives_it_up() {
    let mut pair = pair(false);
    pair.transmit(CLIENT, usize::MAX, 0);
    pair.close(CLIENT);
    pair.run(0);
    pair.finish(CLIENT);
    assert!(
        matches!(pair.ended(SERVER), Some(DisconnectReason::Tls(_)))
            || pair.sides[SERVER].is_closing()
    );
    assert!(pair.events(SERVER).is_empty() && pair.events(CLIENT).is_empty());
}

#[test]
fn peer_that_ends_during_the_handshake_is_a_failed_handshake() {
    let mut pair = pair(false);
    pair.sides[SERVER].receive_end(0);
    assert!(matches!(pair.ended(SERVER), Some(DisconnectReason::Tls(_))));
    assert!(pair.events(SERVER).is_empty());
}

#[test]
fn data_that_arrives_with_close_notify_is_given_out_first() {
    let mut pair = open_pair();
    pair.send(CLIENT, "the end");
    pair.close(CLIENT);
    pair.transmit(CLIENT, usize::MAX, 0);
    pair.deliver(CLIENT, 0);
    assert_eq!(pair.events(SERVER), ["the end", "PeerFinished"]);
}

#[test]
fn end_without_close_notify_is_truncation_and_keeps_what_was_read() {
    let mut pair = open_pair();
    pair.send(CLIENT, "not the e");
    pair.run(0);
    pair.sides[SERVER].receive_end(0);
    assert_eq!(pair.events(SERVER), ["not the e"]);
    assert_eq!(pair.ended(SERVER), Some(DisconnectReason::Truncated));
}

#[test]
fn truncation_after_a_failed_write_has_the_reason_of_the_write() {
    let mut pair = open_pair();
    pair.send(SERVER, "lost");
    refuse(&mut pair.sides[SERVER], ErrorKind::TimedOut, 0);
    pair.sides[SERVER].receive_end(0);
    assert_eq!(
        pair.ended(SERVER),
        Some(DisconnectReason::Io(ErrorKind::TimedOut.into()))
    );
}

#[test]
fn damaged_record_closes_with_an_alert_after_the_data_before_it() {
    let mut pair = open_pair();
    pair.send(CLIENT, "good");
    pair.transmit(CLIENT, usize::MAX, 0);
    let good = pair.wires[CLIENT].len();
    pair.send(CLIENT, "bad");
    pair.transmit(CLIENT, usize::MAX, 0);
    pair.wires[CLIENT][good + 8] ^= 1;
    pair.deliver(CLIENT, 0);
    assert_eq!(pair.events(SERVER), ["good"]);
    assert!(pair.sides[SERVER].is_closing() && pair.sides[SERVER].wants_transmit());
    pair.run(0);
    pair.finish(SERVER);
    assert!(pair.sides[CLIENT].ended().is_some() || pair.sides[CLIENT].is_closing());
}

/// The read that completes the handshake brings data and then something broken.
#[test]
fn connect_is_delivered_before_data_even_if_the_same_read_breaks_tls() {
    let mut pair = pair(false);
    pair.transmit(CLIENT, usize::MAX, 0);
    pair.deliver(CLIENT, 0);
    pair.transmit(SERVER, usize::MAX, 0);
    pair.deliver(SERVER, 0);
    pair.send(CLIENT, "data");
    pair.transmit(CLIENT, usize::MAX, 0);
    pair.wires[CLIENT].extend_from_slice(&[0xff; 32]);
    pair.deliver(CLIENT, 0);
    assert_eq!(pair.events(SERVER), ["Connected", "data"]);
    assert!(pair.sides[SERVER].is_closing());
}

#[test]
fn ciphertext_that_waits_has_a_write_deadline() {
    let mut pair = open_pair();
    send(&mut pair.sides[CLIENT], "sealed", 100);
    pair.transmit(CLIENT, 1, 150);
    assert_eq!(expire(&mut pair.sides[CLIENT]), 150 + WRITE);
    assert_eq!(pair.ended(CLIENT), Some(DisconnectReason::SlowReader));
    assert_eq!(
        pair.sides[CLIENT].counters.bytes_out, 0,
        "nothing that the socket did not take counts as sent"
    );
}

#[test]
fn bytes_after_a_blocked_close_notify_do_not_break_tls() {
    let mut pair = open_pair();
    pair.sides[CLIENT].shutdown_write();
    pair.transmit(CLIENT, 1, 0);
    pair.send(CLIENT, "late");
    pair.transmit(CLIENT, usize::MAX, 0);
    pair.finish(CLIENT);
    assert_eq!(
        (pair.ended(CLIENT), pair.sides[CLIENT].counters.bytes_out),
        (None, 0)
    );
}

#[test]
fn lent_handshake_comes_back_with_its_data() {
    let mut pair = pair(false);
    let at_once = "so much that a certificate could be in it".repeat(10);
    pair.send(CLIENT, &at_once);
    pair.transmit(CLIENT, usize::MAX, 0);
    let hello = std::mem::take(&mut pair.wires[CLIENT]);
    let mut lent = pair.sides[SERVER]
        .offload_handshake(&hello, false, 0)
        .expect("it is handshaking");
    assert!(!pair.sides[SERVER].wants_read() && !pair.sides[SERVER].wants_transmit());
    lent.run();
    pair.sides[SERVER].resume_handshake(lent, 0);
    pair.transmit(SERVER, usize::MAX, 0);
    pair.deliver(SERVER, 0);
    pair.transmit(CLIENT, usize::MAX, 0);
    let rest = std::mem::take(&mut pair.wires[CLIENT]);
    let mut lent = pair.sides[SERVER]
        .offload_handshake(&rest, false, 0)
        .expect("it is still handshaking");
    lent.run();
    pair.sides[SERVER].resume_handshake(lent, 0);
    assert_eq!(pair.events(SERVER), ["Connected", &at_once]);
    assert!(
        pair.sides[SERVER]
            .offload_handshake(b"", false, 0)
            .is_none(),
        "the handshake is done"
    );
}

#[test]
fn end_of_a_handshake_that_costs_little_is_not_lent() {
    let mut pair = pair(false);
    pair.send(CLIENT, "at once");
    pair.transmit(CLIENT, usize::MAX, 0);
    pair.deliver(CLIENT, 0);
    pair.transmit(SERVER, usize::MAX, 0);
    pair.deliver(SERVER, 0);
    pair.transmit(CLIENT, usize::MAX, 0);
    let rest = pair.wires[CLIENT].clone();
    assert!(
        pair.sides[SERVER]
            .offload_handshake(&rest, false, 0)
            .is_none()
    );
    pair.deliver(CLIENT, 0);
    assert_eq!(pair.events(SERVER), ["Connected", "at once"]);
}

#[test]
fn brief_step_is_lent_only_when_there_is_no_time_for_it() {
    let hello = |pair: &mut Pair| {
        pair.transmit(CLIENT, usize::MAX, 0);
        std::mem::take(&mut pair.wires[CLIENT])
    };
    for (is_moderate, may_compute, lent) in [
        (true, true, false),
        (true, false, true),
        (false, true, true),
    ] {
        let mut pair = pair(false);
        let hello = hello(&mut pair);
        let server = &mut pair.sides[SERVER];
        server.tls = server
            .tls
            .take()
            .map(|tls| tls.with_moderate_steps(is_moderate));
        assert_eq!(
            server.offload_handshake(&hello, may_compute, 0).is_some(),
            lent,
            "brief: {is_moderate}, time: {may_compute}"
        );
    }
}

#[test]
fn lent_handshake_that_comes_back_after_the_end_does_nothing() {
    let mut pair = pair(false);
    pair.transmit(CLIENT, usize::MAX, 0);
    let hello = std::mem::take(&mut pair.wires[CLIENT]);
    let mut lent = pair.sides[SERVER]
        .offload_handshake(&hello, false, 0)
        .expect("it is handshaking");
    assert_eq!(expire(&mut pair.sides[SERVER]), 1_000);
    lent.run();
    pair.sides[SERVER].resume_handshake(lent, 1_001);
    assert_eq!(pair.ended(SERVER), Some(DisconnectReason::HandshakeTimeout));
    assert!(pair.events(SERVER).is_empty() && !pair.sides[SERVER].wants_transmit());
}
