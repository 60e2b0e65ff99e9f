//! What is on its way between the two ends of a connection: segments, the end, acknowledgments, resets.
//!
//! 1. [`Net::transmit`] sends what the window of the receiver allows, in segments of drawn sizes; each arrives after a
//!    latency of the link, and none overtakes the one before.
//! 2. What arrives is acknowledged after another latency, which makes room in the send buffer.
//! 3. The end leaves behind the last byte. A reset leaves behind what is in flight; what arrives at a closed end is
//!    answered by one.
//!
//! A lost segment of TCP is one that comes later. Nothing is sent twice, and there is no congestion control.

use std::io;

use super::pipe::Fin;
use super::stream::{Side, StreamPhase};
use super::{Event, Net, RETRANSMIT_NS};
use crate::simulation::arena::Key;

impl Net {
    /// A latency of the link of a connection, with what it stalls.
    pub(super) fn delay(&mut self, key: Key) -> u64 {
        match self.connections.get(key) {
            // A Unix socket copies to the other end at once; only TCP has a way to go.
            Some(connection) if !connection.is_unix => {
                let stall_ns = connection.stalled_until_ns.saturating_sub(self.now_ns);
                let [one, other] = connection.hosts;
                self.latency(one, other).saturating_add(stall_ns)
            }
            _ => 0,
        }
    }

    /// When something that leaves now, and must not overtake what left before, arrives.
    fn arrival(&mut self, key: Key, side: Side, bytes: usize) -> u64 {
        let delay_ns = self.delay(key);
        let Some(connection) = self.connections.get(key) else {
            return self.now_ns;
        };
        let ([one, other], is_unix) = (connection.hosts, connection.is_unix);
        let last_ns = connection.pipes[usize::from(side)].last_arrival_ns;
        let link = self.link(one, other);
        let (loss, rate) = (link.loss, link.bytes_per_second);
        let mut at_ns = self.now_ns.saturating_add(delay_ns);
        // A lost segment comes after the retransmission timer; the bytes behind it wait, as they do in TCP.
        if !is_unix && self.random.happens(loss) {
            at_ns += RETRANSMIT_NS;
        }
        // TCP delivers in order: what was sent later never arrives earlier, however short the drawn latency.
        at_ns = at_ns.max(last_ns);
        // Added to the arrival of the segment before: until then the link is busy with that one.
        if let Some(rate) = rate.filter(|_| !is_unix) {
            let time_ns = u128::from(bytes as u64) * 1_000_000_000 / u128::from(rate.max(1));
            at_ns = at_ns.saturating_add(u64::try_from(time_ns).unwrap_or(u64::MAX));
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.pipes[usize::from(side)].last_arrival_ns = at_ns;
        }
        at_ns
    }

    /// Sends what the window allows, and the end behind the last byte.
    pub(super) fn transmit(&mut self, key: Key, side: Side) {
        loop {
            let Some(connection) = self.connections.get(key) else {
                return;
            };
            let [one, other] = connection.hosts;
            let pipe = &connection.pipes[usize::from(side)];
            let is_up = connection.ends[usize::from(side)].phase == StreamPhase::Established;
            let (unsent, window) = (pipe.unsent(), pipe.window());
            if !is_up || unsent == 0 || window == 0 {
                break;
            }
            let sizes = &self.link(one, other).segment;
            let (low, high) = (*sizes.start() as u64, *sizes.end() as u64);
            let segment = self.random.between(low.max(1), high.max(1)) as usize;
            let bytes = unsent.min(window).min(segment);
            if let Some(connection) = self.connections.get_mut(key) {
                connection.pipes[usize::from(side)].in_flight += bytes;
            }
            let at_ns = self.arrival(key, side, bytes);
            self.schedule(at_ns, Event::Segment(key, side, bytes));
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let pipe = &mut connection.pipes[usize::from(side)];
        // The read that opens the window looks at this mark; without it what is unsent would stay here.
        pipe.waits_for_window = pipe.unsent() > 0;
        // The FIN occupies the place behind the last byte: a peer must not see the end before it has all bytes.
        if pipe.fin == Fin::Queued && pipe.unsent() == 0 {
            pipe.fin = Fin::Sent;
            let at_ns = self.arrival(key, side, 0);
            self.schedule(at_ns, Event::Fin(key, side));
        }
    }

    pub(super) fn segment_arrived(&mut self, key: Key, side: Side, bytes: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (number, to) = (connection.number, connection.other(side));
        let is_waiting = connection.is_waiting && to == 1;
        let receiver = connection.end(to);
        let (is_open, is_dead) = (receiver.is_open, receiver.phase == StreamPhase::Dead);
        let pipe = &mut connection.pipes[usize::from(side)];
        if is_dead || pipe.in_flight < bytes {
            // A reset has overtaken it.
            return;
        }
        // No program will read it. RFC 9293, 3.6.1: data that comes after the close is answered with a reset, to show
        // the loss.
        if !is_open && !is_waiting {
            self.send_reset(key, to);
            return;
        }
        let cut = pipe.reset_after.filter(|left| *left <= bytes);
        let arriving = cut.unwrap_or(bytes);
        pipe.reset_after = pipe.reset_after.map(|left| left.saturating_sub(bytes));
        pipe.in_flight -= bytes;
        pipe.arrived += arriving;
        self.trace.add(
            self.now_ns,
            format_args!(
                "net     connection {number}: {arriving} bytes arrive at {}",
                name(to)
            ),
        );
        self.wake_end(key, to);
        if cut.is_some() {
            self.reset_both(key);
            return;
        }
        let delay_ns = self.delay(key);
        self.schedule(
            self.now_ns.saturating_add(delay_ns),
            Event::Ack(key, side, bytes),
        );
    }

    pub(super) fn fin_arrived(&mut self, key: Key, side: Side) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (number, to) = (connection.number, connection.other(side));
        let pipe = &mut connection.pipes[usize::from(side)];
        // A reset has overtaken the end.
        if pipe.fin != Fin::Sent {
            return;
        }
        pipe.fin = Fin::Arrived;
        connection.end(to).read_shut = true;
        connection.finish(to);
        self.trace.add(
            self.now_ns,
            format_args!(
                "net     connection {number}: the end arrives at {}",
                name(to)
            ),
        );
        self.wake_end(key, to);
        let delay_ns = self.delay(key);
        self.schedule(
            self.now_ns.saturating_add(delay_ns),
            Event::Ack(key, side, 0),
        );
    }

    pub(super) fn ack_arrived(&mut self, key: Key, side: Side, bytes: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let pipe = &mut connection.pipes[usize::from(side)];
        pipe.unacked = pipe.unacked.saturating_sub(bytes);
        connection.finish(side);
        self.room_again(key, side);
        self.transmit(key, side);
    }

    pub(super) fn room_again(&mut self, key: Key, side: Side) {
        // Without enough room the next acknowledgment looks again.
        if let Some(connection) = self.connections.get_mut(key)
            && connection.pipes[usize::from(side)].is_writable()
            && std::mem::take(&mut connection.end(side).wants_room)
        {
            self.wake_end(key, side);
        }
    }

    /// This side ends the connection at once; the other side learns it behind what has left.
    pub(super) fn send_reset(&mut self, key: Key, side: Side) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let to = connection.other(side);
        let end = connection.end(side);
        // An end that is dead has sent its reset, or got one; answering a reset with a reset would go on without end.
        if end.phase == StreamPhase::Dead {
            return;
        }
        (end.phase, end.read_shut, end.write_shut) = (StreamPhase::Dead, true, true);
        let pipe = &mut connection.pipes[usize::from(side)];
        // What is in flight still arrives.
        let sent = pipe.arrived + pipe.in_flight;
        pipe.bytes.truncate(sent);
        // A reset takes the place of the end of the stream, which never leaves.
        if pipe.fin == Fin::Queued {
            pipe.fin = Fin::No;
        }
        // Connected to itself: both ends are one, and no reset travels.
        if to != side {
            let at_ns = self.arrival(key, side, 0);
            self.schedule(at_ns, Event::Reset(key, to));
        }
    }

    pub(super) fn reset_arrived(&mut self, key: Key, side: Side) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let number = connection.number;
        let incoming = usize::from(connection.other(side));
        let end = connection.end(side);
        if end.phase == StreamPhase::Dead {
            // Resets of both sides may cross; the first that arrives says what the program sees.
            return;
        }
        end.error = Some(match end.phase {
            StreamPhase::Connecting => io::ErrorKind::ConnectionRefused,
            // CLOSE_WAIT.
            _ if end.read_shut && !end.write_shut => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::ConnectionReset,
        });
        (end.phase, end.read_shut, end.write_shut) = (StreamPhase::Dead, true, true);
        connection.pipes[incoming].lose();
        connection.pipes[usize::from(side)].lose();
        self.trace.add(
            self.now_ns,
            format_args!(
                "net     connection {number}: a reset arrives at {}",
                name(side)
            ),
        );
        self.wake_end(key, side);
        self.reap(key);
    }
}

/// A side in the trace.
fn name(side: Side) -> &'static str {
    if side == 0 {
        "the client"
    } else {
        "the server"
    }
}
