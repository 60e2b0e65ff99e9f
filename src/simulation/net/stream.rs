//! An established connection: two ends, a [`Pipe`] for each direction, and the calls of a program.
//!
//! The ends answer as tcp(7) of Linux does: what arrived before a reset can be read, then the error comes once, then
//! the end; a close with unread data, or with a linger time of zero, resets.

use std::io::{self, IoSlice};

use super::host::{Bound, Protocol};
use super::pipe::{Fin, Pipe, copy_front};
use super::poll::{Interest, Watch, Watched};
use super::{Address, Event, HostId, Net};
use crate::simulation::arena::Key;

/// An end of a connection: 0 is the one that has connected.
pub(crate) type Side = u8;

/// What an end is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamPhase {
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
    pub(super) phase: StreamPhase,
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
    pub(super) fn new(local: Address, remote: Address, phase: StreamPhase) -> Self {
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

    pub(super) fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[usize::from(side)]
    }

    /// An end that has seen both directions end is no longer connected.
    pub(super) fn finish(&mut self, side: Side) {
        let outgoing = self.pipes[usize::from(side)].fin;
        let end = self.end(side);
        if end.read_shut && outgoing == Fin::Arrived && end.phase == StreamPhase::Established {
            end.phase = StreamPhase::Dead;
        }
    }

    /// What poll(2) would say about an end.
    pub(super) fn interest(&self, side: Side) -> Interest {
        let end = &self.ends[usize::from(side)];
        let incoming = &self.pipes[usize::from(self.other(side))];
        let outgoing = &self.pipes[usize::from(side)];
        let mut now = Interest::NONE;
        // An end that is connecting is ready for nothing: OUT would say to the program that it is connected.
        if end.phase == StreamPhase::Connecting {
            return now;
        }
        // EPOLLHUP says that both directions have ended. One of them alone is no hang-up.
        if end.phase == StreamPhase::Dead || end.read_shut && end.write_shut {
            now |= Interest::HANG_UP;
        }
        if end.read_shut {
            now |= Interest::IN | Interest::READ_HANG_UP;
        }
        if incoming.arrived > 0 {
            now |= Interest::IN;
        }
        // A write to an end that has shut down does not block: it fails at once, so poll(2) calls it writable.
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
    pub(super) fn wake_end(&mut self, key: Key, side: Side) {
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
        // Before the error: what arrived before a reset can be read, tcp(7).
        if pipe.arrived > 0 && !into.is_empty() {
            let length = pipe.arrived.min(into.len());
            copy_front(&pipe.bytes, &mut into[..length]);
            pipe.bytes.drain(..length);
            pipe.arrived -= length;
            // Only a sender that has met a full window hears of the room; the others need no event.
            if std::mem::take(&mut pipe.waits_for_window) {
                let delay_ns = self.delay(key);
                self.schedule(
                    self.now_ns.saturating_add(delay_ns),
                    Event::Window(key, from),
                );
            }
            return Ok(length);
        }
        let has_end = pipe.fin == Fin::Arrived;
        let end = connection.end(side);
        // After a FIN a read returns the end of the stream; the error, which came later, stays for the next write.
        if !has_end && let Some(error) = end.error.take() {
            return Err(error.into());
        }
        match end.phase {
            _ if end.read_shut || into.is_empty() => Ok(0),
            StreamPhase::Connecting => Err(io::ErrorKind::NotConnected.into()),
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
        // The kernel keeps bytes of a connect under way back (EAGAIN), and reports OUT when the handshake is done.
        let is_connecting = connection.ends[usize::from(side)].phase == StreamPhase::Connecting;
        if is_connecting || (room == 0 && total > 0) {
            // Remembered: without it the arrival of an acknowledgment would wake every end, where epoll reports an edge
            // only to one that ran out of room.
            connection.end(side).wants_room = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut length = total.min(room);
        let short = self.link(hosts[0], hosts[1]).short_writes;
        if length > 1 && self.random.happens(short) {
            length = self.random.between(1, length as u64 - 1) as usize;
            // The buffer was full for a moment, so the program learns when there is room.
            self.schedule(self.now_ns.saturating_add(50_000), Event::Room(key, side));
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
        if end.phase != StreamPhase::Established {
            return Err(not_connected());
        }
        // A second shutdown has no effect, as in the kernel: the FIN leaves once.
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
        // RFC 2525, 2.17: a close with unread bytes resets, since the peer must not take them for delivered.
        let has_unread = connection.pipes[incoming].arrived > 0;
        let end = connection.end(side);
        end.is_open = false;
        end.watch.forget();
        let phase = end.phase;
        let resets = phase != StreamPhase::Dead
            && (end.resets_on_close || has_unread || phase == StreamPhase::Connecting);
        let is_done = end.write_shut;
        self.free_end(key, side);
        self.free_descriptor(host);
        if resets {
            self.send_reset(key, side);
        } else if phase == StreamPhase::Established && !is_done {
            let _ = self.shutdown_write(key, side);
        }
        self.reap(key);
    }

    /// Forgets a connection when no program can see it any more.
    pub(super) fn reap(&mut self, key: Key) {
        if let Some(connection) = self.connections.get(key)
            && connection.ends.iter().all(|end| !end.is_open)
            && !connection.is_waiting
            // The last step of a handshake that is under way finds the connection by its key.
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
}
