//! An established connection: two ends, and a pipe for each direction.
//!
//! ```text
//!  bytes of a pipe:  [ arrived | in flight | not sent ]
//!                      read ◀──             ──▶ transmit
//! ```
//!
//! A byte counts against the send buffer of its end until it is acknowledged, and against the receive buffer of the other
//! end until it is read. The ends answer as tcp(7) of Linux does: what arrived before a reset can be read, then the error
//! comes once, then the end; a close with unread data, or with a linger time of zero, resets.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use super::host::{Bound, Protocol};
use super::poll::{Interest, Watch, Watched};
use super::{Address, Event, HostId, Net, RETRANSMIT_NS};
use crate::simulation::arena::Key;

/// An end of a connection: 0 is the one that has connected.
pub(crate) type Side = u8;

/// What an end is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Established,
    /// Failed, or reset.
    Dead,
}

/// One end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) local: Address,
    pub(super) remote: Address,
    pub(super) phase: Phase,
    /// A socket of a program belongs to it.
    pub(super) is_open: bool,
    /// The error that the next call returns.
    pub(super) error: Option<io::ErrorKind>,
    pub(super) read_shut: bool,
    pub(super) write_shut: bool,
    /// The program wants to know when there is room: a write has found too little.
    pub(super) wants_room: bool,
    pub(super) resets_on_close: bool,
    pub(super) watch: Watch,
    /// The port that its end frees.
    pub(super) port: Option<std::net::SocketAddr>,
}

impl End {
    pub(super) fn new(local: Address, remote: Address, phase: Phase) -> Self {
        Self {
            local,
            remote,
            phase,
            is_open: false,
            error: None,
            read_shut: false,
            write_shut: false,
            wants_room: false,
            resets_on_close: false,
            watch: Watch::default(),
            port: None,
        }
    }
}

/// The bytes of one direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    bytes: VecDeque<u8>,
    arrived: usize,
    in_flight: usize,
    /// Bytes that count against the send buffer.
    unacked: usize,
    pub(super) send_buffer: usize,
    pub(super) receive_buffer: usize,
    fin: Fin,
    /// When the last segment arrives; the next one does not overtake it.
    last_arrival_ns: u64,
    /// The sender waits for room at the receiver.
    waits_for_window: bool,
    /// After this many more bytes the connection is reset.
    reset_after: Option<usize>,
}

/// Where the end of a direction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fin {
    #[default]
    No,
    Queued,
    Sent,
    Arrived,
}

impl Pipe {
    fn unsent(&self) -> usize {
        self.bytes.len() - self.arrived - self.in_flight
    }

    fn window(&self) -> usize {
        self.receive_buffer
            .saturating_sub(self.arrived + self.in_flight)
    }

    /// Whether poll(2) says so: a third of the buffer is free, as in Linux.
    fn is_writable(&self) -> bool {
        self.send_buffer - self.unacked.min(self.send_buffer) > self.unacked / 2
    }

    /// Nothing arrives before that time.
    pub(super) fn hold_until(&mut self, at_ns: u64) {
        self.last_arrival_ns = self.last_arrival_ns.max(at_ns);
    }

    /// Discards what has not arrived.
    fn lose(&mut self) {
        self.bytes.truncate(self.arrived);
        (self.in_flight, self.unacked) = (0, 0);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    /// For faults and the trace.
    pub(super) number: usize,
    pub(super) hosts: [HostId; 2],
    pub(super) ends: [End; 2],
    /// Pipe `n` carries the bytes of end `n`.
    pub(super) pipes: [Pipe; 2],
    /// An end that is connected to itself, as two calls of connect(2) that meet: it has the other pipe only.
    pub(super) is_alone: bool,
    /// A Unix socket: nothing is lost or late.
    pub(super) is_unix: bool,
    /// The end of the handshake is on its way to the server.
    pub(super) is_arriving: bool,
    /// It waits in the backlog of a listener.
    pub(super) is_waiting: bool,
    /// Nothing that leaves before this time arrives before it.
    pub(super) stalled_until_ns: u64,
}

impl Connection {
    pub(super) fn other(&self, side: Side) -> Side {
        if self.is_alone { side } else { 1 - side }
    }

    fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[usize::from(side)]
    }

    /// An end that has seen both directions end is no longer connected.
    fn finish(&mut self, side: Side) {
        let outgoing = self.pipes[usize::from(side)].fin;
        let end = self.end(side);
        if end.read_shut && outgoing == Fin::Arrived && end.phase == Phase::Established {
            end.phase = Phase::Dead;
        }
    }

    /// What poll(2) would say about an end.
    pub(super) fn interest(&self, side: Side) -> Interest {
        let end = &self.ends[usize::from(side)];
        let incoming = &self.pipes[usize::from(self.other(side))];
        let outgoing = &self.pipes[usize::from(side)];
        let mut now = Interest::NONE;
        if end.phase == Phase::Connecting {
            return now;
        }
        if end.phase == Phase::Dead || end.read_shut && end.write_shut {
            now |= Interest::HANG_UP;
        }
        if end.read_shut {
            now |= Interest::IN | Interest::READ_HANG_UP;
        }
        if incoming.arrived > 0 {
            now |= Interest::IN;
        }
        if end.write_shut || outgoing.is_writable() {
            now |= Interest::OUT;
        }
        if end.error.is_some() {
            now |= Interest::ERROR;
        }
        now
    }
}

impl Net {
    fn wake_end(&mut self, key: Key, side: Side) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let watch = &mut connection.end(side).watch;
        if let Some(poll) = watch.queue() {
            self.polls[poll].queue(Watched::End(key, side));
        }
    }

    // ---- The calls of a program ----

    pub(super) fn read(&mut self, key: Key, side: Side, into: &mut [u8]) -> io::Result<usize> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let from = connection.other(side);
        let pipe = &mut connection.pipes[usize::from(from)];
        if pipe.arrived > 0 && !into.is_empty() {
            let length = pipe.arrived.min(into.len());
            copy_front(&pipe.bytes, &mut into[..length]);
            pipe.bytes.drain(..length);
            pipe.arrived -= length;
            if std::mem::take(&mut pipe.waits_for_window) {
                let delay_ns = self.delay(key);
                self.schedule(self.now_ns + delay_ns, Event::Window(key, from));
            }
            return Ok(length);
        }
        let has_end = pipe.fin == Fin::Arrived;
        let end = connection.end(side);
        if !has_end && let Some(error) = end.error.take() {
            return Err(error.into());
        }
        match end.phase {
            _ if end.read_shut || into.is_empty() => Ok(0),
            Phase::Connecting => Err(io::ErrorKind::NotConnected.into()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(super) fn write(
        &mut self,
        key: Key,
        side: Side,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let hosts = connection.hosts;
        let end = connection.end(side);
        if let Some(error) = end.error.take() {
            return Err(error.into());
        }
        if end.write_shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let pipe = &connection.pipes[usize::from(side)];
        let room = pipe.send_buffer.saturating_sub(pipe.unacked);
        let is_connecting = connection.ends[usize::from(side)].phase == Phase::Connecting;
        if is_connecting || (room == 0 && total > 0) {
            connection.end(side).wants_room = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut length = total.min(room);
        let short = self.link(hosts[0], hosts[1]).short_writes;
        if length > 1 && self.random.happens(short) {
            length = self.random.between(1, length as u64 - 1) as usize;
            // The buffer was full for a moment, so the program learns when there is room.
            self.schedule(self.now_ns + 50_000, Event::Room(key, side));
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        connection.end(side).wants_room |= length < total;
        let pipe = &mut connection.pipes[usize::from(side)];
        let mut left = length;
        for slice in slices {
            let taken = slice.len().min(left);
            pipe.bytes.extend(&slice[..taken]);
            left -= taken;
        }
        pipe.unacked += length;
        #[cfg(test)]
        {
            let number = connection.number;
            self.written.resize(self.numbers.len(), [0; 2]);
            self.written[number][usize::from(side)] += length as u64;
        }
        self.transmit(key, side);
        Ok(length)
    }

    pub(super) fn shutdown_write(&mut self, key: Key, side: Side) -> io::Result<()> {
        let not_connected = || io::Error::from(io::ErrorKind::NotConnected);
        let connection = self.connections.get_mut(key).ok_or_else(not_connected)?;
        let end = connection.end(side);
        if end.phase != Phase::Established {
            return Err(not_connected());
        }
        if !std::mem::replace(&mut end.write_shut, true) {
            connection.pipes[usize::from(side)].fin = Fin::Queued;
            self.wake_end(key, side);
            self.transmit(key, side);
        }
        Ok(())
    }

    /// The program closes the socket.
    pub(super) fn close_end(&mut self, key: Key, side: Side) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let host = connection.hosts[usize::from(side)];
        let incoming = usize::from(connection.other(side));
        let has_unread = connection.pipes[incoming].arrived > 0;
        let end = connection.end(side);
        end.is_open = false;
        end.watch.forget();
        let phase = end.phase;
        let resets = phase != Phase::Dead
            && (end.resets_on_close || has_unread || phase == Phase::Connecting);
        let is_done = end.write_shut;
        self.free_end(key, side);
        self.free_descriptor(host);
        if resets {
            self.send_reset(key, side);
        } else if phase == Phase::Established && !is_done {
            let _ = self.shutdown_write(key, side);
        }
        self.reap(key);
    }

    /// Forgets a connection when no program can see it any more.
    pub(super) fn reap(&mut self, key: Key) {
        if let Some(connection) = self.connections.get(key)
            && connection.ends.iter().all(|end| !end.is_open)
            && !connection.is_waiting
            && !connection.is_arriving
        {
            self.connections.remove(key);
        }
    }

    fn free_end(&mut self, key: Key, side: Side) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let host = connection.hosts[usize::from(side)];
        if let Some(addr) = connection.end(side).port.take() {
            self.free_port(host, Protocol::Tcp, addr, Bound::Connection);
        }
    }

    // ---- On the way ----

    /// A latency of the link of a connection, with what it stalls.
    pub(super) fn delay(&mut self, key: Key) -> u64 {
        match self.connections.get(key) {
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
        if !is_unix && self.random.happens(loss) {
            at_ns += RETRANSMIT_NS;
        }
        at_ns = at_ns.max(last_ns);
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
            let is_up = connection.ends[usize::from(side)].phase == Phase::Established;
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
        pipe.waits_for_window = pipe.unsent() > 0;
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
        let (is_open, is_dead) = (receiver.is_open, receiver.phase == Phase::Dead);
        let pipe = &mut connection.pipes[usize::from(side)];
        if is_dead || pipe.in_flight < bytes {
            // A reset has overtaken it.
            return;
        }
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
        self.schedule(self.now_ns + delay_ns, Event::Ack(key, side, bytes));
    }

    pub(super) fn fin_arrived(&mut self, key: Key, side: Side) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (number, to) = (connection.number, connection.other(side));
        let pipe = &mut connection.pipes[usize::from(side)];
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
        self.schedule(self.now_ns + delay_ns, Event::Ack(key, side, 0));
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
        if end.phase == Phase::Dead {
            return;
        }
        (end.phase, end.read_shut, end.write_shut) = (Phase::Dead, true, true);
        let pipe = &mut connection.pipes[usize::from(side)];
        // What is in flight still arrives.
        let sent = pipe.arrived + pipe.in_flight;
        pipe.bytes.truncate(sent);
        if pipe.fin == Fin::Queued {
            pipe.fin = Fin::No;
        }
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
        if end.phase == Phase::Dead {
            return;
        }
        end.error = Some(match end.phase {
            Phase::Connecting => io::ErrorKind::ConnectionRefused,
            // CLOSE_WAIT.
            _ if end.read_shut && !end.write_shut => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::ConnectionReset,
        });
        (end.phase, end.read_shut, end.write_shut) = (Phase::Dead, true, true);
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

    // ---- Faults ----

    /// The network resets a connection: both ends learn it now.
    pub(super) fn reset_both(&mut self, key: Key) {
        self.reset_arrived(key, 0);
        self.reset_arrived(key, 1);
    }

    /// Resets connection `number`. `false`: it is gone.
    pub(crate) fn cut_connection(&mut self, number: usize) -> bool {
        let Some(key) = self.numbers.get(number).copied() else {
            return false;
        };
        let is_there = self.connections.get(key).is_some();
        self.reset_both(key);
        is_there
    }

    /// Resets connection `number` after that many more bytes from that side.
    pub(crate) fn cut_after(&mut self, number: usize, side: Side, bytes: usize) {
        if let Some(key) = self.numbers.get(number)
            && let Some(connection) = self.connections.get_mut(*key)
        {
            connection.pipes[usize::from(side)].reset_after = Some(bytes);
        }
    }

    /// Nothing of connection `number` arrives before that time.
    pub(crate) fn stall_connection(&mut self, number: usize, until_ns: u64) {
        if let Some(key) = self.numbers.get(number)
            && let Some(connection) = self.connections.get_mut(*key)
        {
            connection.stalled_until_ns = until_ns;
        }
    }

    /// Bytes that each end of connection `number` has taken from its program.
    #[cfg(test)]
    pub(crate) fn bytes_written(&self, number: usize) -> [u64; 2] {
        self.written.get(number).copied().unwrap_or_default()
    }

    /// Connections that were begun.
    pub(crate) fn connections_made(&self) -> usize {
        self.numbers.len()
    }

    /// Connections of which an end is open.
    pub(crate) fn connections_open(&self) -> usize {
        self.connections.len()
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

/// Copies the first bytes of a queue.
fn copy_front(from: &VecDeque<u8>, into: &mut [u8]) {
    let (first, second) = from.as_slices();
    let in_first = first.len().min(into.len());
    into[..in_first].copy_from_slice(&first[..in_first]);
    let rest = into.len() - in_first;
    into[in_first..].copy_from_slice(&second[..rest]);
}
