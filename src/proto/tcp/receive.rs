//! What comes from the peer: bytes, the end of its side, a failed read; and the events that the owner gets of it.
//!
//! ```text
//!   receive ─▶ (TLS) ─▶ input ─▶ decoder ─▶ Data        receive_end, fail ─▶ PeerFinished, or the end
//! ```
//!
//! Events leave in this order: Connected, the data that was read, Writable, PeerFinished.

use super::edge::EdgePhase;
use super::{Connection, Event, WriteSide, first_reason};
use crate::error::{DisconnectReason, OsError};
use crate::memory::buffer::Buffer;

/// A read at least this large is handed on as it is; a smaller one is copied into a buffer of its size.
pub(super) const TAKE: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadSide {
    Open,
    /// The peer has ended its side.
    Ended,
}

/// Events that the owner has not got yet, besides data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PendingEvents {
    pub(super) connected: bool,
    pub(super) writable: bool,
    pub(super) peer_finished: bool,
    /// No event: the framing has changed, and bytes that were kept are to be decoded again.
    pub(super) reframed: bool,
}

impl PendingEvents {
    const NONE: Self = Self {
        connected: false,
        writable: false,
        peer_finished: false,
        reframed: false,
    };
}

/// Why the owner takes no input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnerState {
    /// The owner has asked for a pause.
    pub(super) is_paused: bool,
    /// Its mailbox is full, or it has too much to handle.
    pub(super) is_blocked: bool,
}

impl OwnerState {
    pub(super) fn takes_nothing(self) -> bool {
        self.is_paused || self.is_blocked
    }
}

impl Connection {
    /// Returns whether bytes may be read from the socket now.
    #[inline]
    pub(super) fn wants_read(&self) -> bool {
        // After the end there is nothing, and bytes for a step that is computed elsewhere have no place to go.
        if self.read == ReadSide::Ended || self.is_offloaded() {
            return false;
        }
        match self.phase() {
            EdgePhase::Open if self.input.is_empty() => {
                // After a failed write only a full mailbox stops reading: what the peer sent before is still of use.
                let output_allows = self.settings.reads_above_high || !self.is_above_high();
                let owner_wants = !self.owner.is_paused && output_allows;
                !self.owner.is_blocked && (owner_wants || self.is_broken())
            }
            // Unread data would turn our FIN into a reset, whatever the owner does.
            EdgePhase::Closing(_) => true,
            // The socket is closed.
            EdgePhase::Ended(_) => false,
            EdgePhase::Open | EdgePhase::Handshaking => self.input.is_empty(),
        }
    }

    /// Takes bytes read from the socket out of `read`, which is empty afterwards and may be another buffer of the same
    /// pool. A connection with a pool of its own gets a copy: its buffers never mix with those of the node.
    pub(crate) fn receive(&mut self, read: &mut Buffer, now_ms: u64) {
        self.note_activity(now_ms);
        // A peer that still sends has not gone, so reading on has the whole time again.
        if self.is_broken() {
            let end_ms = now_ms.saturating_add(self.settings.close_timeout);
            self.edge_mut().end_ms = end_ms;
        }
        if self.is_encrypted {
            self.receive_ciphertext(read, now_ms);
            read.clear();
            return;
        }
        self.counters.bytes_in += read.len() as u64;
        // Data of a connection that is closing has no receiver, and is read so that it does not turn the FIN into a
        // reset.
        if self.is_over() {
            read.clear();
            return;
        }
        // The buffer itself is handed on if it is large, and if its memory goes back to the pool of this connection.
        if self.input.is_empty() && read.len() >= TAKE && self.settings.pool.is_home_of(read) {
            let fresh = self.settings.pool.get(read.capacity());
            self.input = std::mem::replace(read, fresh);
        } else if self.input.is_empty() {
            self.input = self.settings.pool.copy_from_slice(read);
        } else {
            self.input.extend_from_slice(read);
        }
        read.clear();
    }

    /// The peer has ended its side: a read returned zero bytes.
    pub(super) fn receive_end(&mut self, now_ms: u64) {
        // TLS ends in its own way (close_notify), and an end without it may be an attack.
        if let Some(reason) = self.untimely_end() {
            self.read = ReadSide::Ended;
            return self.end(reason);
        }
        self.end_reading(now_ms);
    }

    pub(super) fn end_reading(&mut self, now_ms: u64) {
        // Under TLS the end comes twice, with close_notify and with FIN.
        if std::mem::replace(&mut self.read, ReadSide::Ended) == ReadSide::Ended {
            return;
        }
        self.times.active_ms = now_ms;
        // A write had failed and waited for this: nothing more will come.
        if let WriteSide::Broken(reason) = self.write_side() {
            let reason = reason.clone();
            return self.end(reason);
        }
        self.pending.peer_finished = self.is_open();
        self.maybe_finish();
    }

    /// A read failed.
    pub(super) fn fail(&mut self, error: impl Into<OsError>) {
        self.read = ReadSide::Ended;
        let reason = DisconnectReason::from_io(error);
        match (self.phase(), self.write_side()) {
            // All output was sent and acknowledged by our FIN, so a reset from the peer loses nothing.
            (EdgePhase::Closing(_), WriteSide::Finished) => self.end_closing(),
            (EdgePhase::Closing(first), _) => self.end(first_reason(first, reason)),
            (_, WriteSide::Broken(broken)) => self.end(broken.clone()),
            _ => self.end(reason),
        }
    }

    /// Returns whether [`Connection::next_event`] may have an event.
    #[inline]
    pub(super) fn has_events(&self) -> bool {
        !self.input.is_empty() || self.pending != PendingEvents::NONE || self.decoder.buffered() > 0
    }

    /// Returns the next event for the owner. The caller may stop asking at any time and go on later.
    #[inline]
    pub(super) fn next_event(&mut self, now_ms: u64) -> Option<Event> {
        if std::mem::take(&mut self.pending.connected) {
            return Some(Event::Connected);
        }
        // Without bytes a frame can only come of those that were kept for another framing.
        if (!self.input.is_empty() || self.pending.reframed)
            && let Some(frame) = self.next_frame(now_ms)
        {
            return Some(Event::Data(frame));
        }
        self.note_frame(now_ms);
        // In a handshake of a connection that was plain before, it waits.
        if !self.is_in_handshake()
            && std::mem::take(&mut self.pending.writable)
            && self.takes_output()
        {
            self.counters.writable += 1;
            return Some(Event::Writable);
        }
        if !std::mem::take(&mut self.pending.peer_finished) {
            return None;
        }
        // No framing makes a frame of the rest: this was all data.
        self.decoder.finish();
        self.maybe_finish();
        Some(Event::PeerFinished)
    }

    #[inline]
    fn next_frame(&mut self, now_ms: u64) -> Option<Buffer> {
        match self.decoder.decode(&mut self.input, &self.settings.pool) {
            Ok(Some(frame)) => {
                self.times.frame_ms = u64::MAX;
                self.counters.messages_in += 1;
                return Some(frame);
            }
            Ok(None) => self.discard_input(),
            Err(error) => {
                self.discard_input();
                // The bytes after a frame that is none belong to no frame, so the end of them means nothing.
                self.pending.peer_finished = false;
                self.close(DisconnectReason::Frame(error), now_ms);
            }
        }
        None
    }

    /// Discards what has been read and has not become an event.
    pub(super) fn discard_input(&mut self) {
        self.input = Buffer::new();
        self.pending.reframed = false;
    }

    /// The deadline of a frame counts from its first byte, while it can be read on.
    #[inline]
    fn note_frame(&mut self, now_ms: u64) {
        // The time stands still while the owner does not let this side read on.
        if self.decoder.buffered() == 0 || !self.wants_read() {
            self.times.frame_ms = u64::MAX;
        } else if self.times.frame_ms == u64::MAX {
            self.times.frame_ms = now_ms;
        }
    }
}
