//! One TCP connection as a machine without I/O: bytes, commands and the time go in; frames, bytes and the end come out.
//!
//! ```text
//!              receive, receive_end, fail                    next_event
//!   socket ────────────────────────────────▶ Connection ───────────────────▶ owner
//!          ◀────────────────────────────────            ◀───────────────────
//!              transmit, shutdown is due                 send, close, pause …
//! ```
//!
//! Phases:
//!
//! 1. *Handshaking* (TLS only): until the handshake is done or its deadline passes. Input is bounded by the TLS machine,
//!    output and `shutdown_write` wait. The caller may take a step of it away and compute it elsewhere
//!    ([`Connection::lend_handshake`]); until it is back nothing is read or written.
//! 2. *Open*: announced to the owner. Either direction can end on its own: the peer's FIN ends reading, `shutdown_write`
//!    ends writing after what is queued. When both have ended, and the owner knows, so has the connection.
//! 3. *Closing*: `close`, for whatever reason. What was accepted is sent, if need be after the handshake, then
//!    close_notify and FIN, then the peer's end is awaited, its data discarded, all within the close deadline.
//! 4. *Ended*: with a reason, once, for ever. Frames that had been read before are still given out.
//!
//! The first reason stays. Only the two that claim that everything was sent, `LocalClose` and `ClosedByPeer`, give way to
//! what shows that it was not.
//!
//! A close takes effect where it is made, while bytes that were accepted before may still be on their way here: they are
//! waited for ([`Connection::expect`]), so that nothing is lost that was accepted.
//!
//! A failed write does not end the connection at once: what the peer sent before can still be read, and is; the end comes
//! with the end of the input, or when there was none for as long as a close may take, and has the reason of the failed
//! write.
//!
//! Reading stops (`wants_read`) while frames wait for the owner, while the output is above its high mark, while the owner
//! asked for a pause, and after the peer's end. It never stops while closing, because unread data would turn our FIN into
//! a reset. The deadline of a frame stands still while reading does, and that of an idle peer while it is the owner that
//! takes nothing.
//!
//! What it does not do: sockets, clocks, mailboxes, and counting what was accepted (the quota cell does).

#[cfg(feature = "tls")]
mod tls;

use std::io::{self, IoSlice};
use std::sync::Arc;

#[cfg(feature = "tls")]
pub(crate) use self::tls::Handshake;
use super::framing::{Decoder, Framing};
use super::output::Output;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::error::DisconnectReason;
use crate::memory::buffer::{Buffer, BufferPool};

/// Reads at least this large are handed on as they are; smaller ones are copied into a buffer of their size.
const TAKE: usize = 16 * 1024;

/// What all connections of a listener share. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) framing: Arc<Framing>,
    pub(crate) pool: BufferPool,
    pub(crate) read_buffer_size: usize,
    pub(crate) output_limit: u32,
    pub(crate) high_water_mark: u32,
    pub(crate) low_water_mark: u32,
    pub(crate) half_open: bool,
    pub(crate) close_on_full_mailbox: bool,
    #[cfg(feature = "tls")]
    pub(crate) handshake_timeout: Option<u64>,
    pub(crate) idle_timeout: Option<u64>,
    pub(crate) write_timeout: Option<u64>,
    pub(crate) frame_timeout: Option<u64>,
    pub(crate) close_timeout: u64,
    pub(crate) linger_timeout: u64,
    pub(crate) write_keep_alive: Option<(u64, Vec<u8>)>,
}

/// What the owner is told, in order.
#[derive(Debug)]
pub(crate) enum Event {
    /// The connection (with TLS: its handshake) is established.
    Connected,
    /// Bytes.
    Data(Buffer),
    /// The peer has ended its side; all its data has been given out.
    PeerFinished,
    /// The output has drained after it had been above its high mark.
    Writable,
}

/// What [`Connection::transmit`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transmitted {
    /// Bytes of the owner that left, before encryption.
    pub(crate) bytes: usize,
    /// The socket takes no more now.
    pub(crate) blocked: bool,
}

/// Bytes and messages, for inspection and for the Disconnect.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    /// How often the output has risen above its high mark.
    pub(crate) high_water: u32,
    /// How often the owner has been told that there is room again.
    pub(crate) writable: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    settings: Arc<Settings>,
    phase: Phase,
    /// Plaintext that has not been cut into frames.
    input: Buffer,
    decoder: Decoder,
    output: Output,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    /// `tls` is `None` while a step of the handshake is under way elsewhere.
    #[cfg(feature = "tls")]
    is_encrypted: bool,
    /// Bytes of the owner that TLS has encrypted and the socket has not taken.
    #[cfg(feature = "tls")]
    sealed: u32,
    read: ReadSide,
    write: WriteSide,
    flags: Flags,
    pub(crate) counters: Counters,
    /// Of the handshake, of closing, or of reading on after a failed write.
    deadline_ms: u64,
    /// Bytes last moved in either direction.
    active_ms: u64,
    /// Bytes last left.
    written_ms: u64,
    /// Since when the output, ciphertext included, waits without progress.
    waiting_ms: u64,
    /// Since when a frame is incomplete and could be read on.
    frame_ms: u64,
}

#[derive(Clone, Debug)]
enum Phase {
    #[cfg(feature = "tls")]
    Handshaking,
    Open,
    Closing(Box<DisconnectReason>),
    Ended(Box<DisconnectReason>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadSide {
    Open,
    /// The peer has ended its side.
    Ended,
}

#[derive(Clone, Debug)]
enum WriteSide {
    Open,
    /// FIN follows when the output is empty.
    Finishing,
    /// FIN is sent.
    Finished,
    /// A write failed: the reason waits for the end of the input.
    Broken(Box<DisconnectReason>),
}

/// Facts that are independent of each other.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    connected_due: bool,
    peer_finished_due: bool,
    writable_due: bool,
    above_high: bool,
    /// The owner wants no input now.
    paused: bool,
    /// The owner's mailbox takes none now.
    held: bool,
    /// Kept bytes are to be looked at under a new framing.
    reframed: bool,
    /// Accepted bytes are still on their way here.
    more_due: bool,
    /// Output has been dropped: none leaves any more.
    dropped: bool,
    /// Ended with bytes that the peer did not take in time.
    abandoned: bool,
}

impl Connection {
    /// A connection whose transport is established.
    pub(crate) fn new(settings: Arc<Settings>, now_ms: u64) -> Self {
        let decoder = Decoder::new(Arc::clone(&settings.framing));
        Self {
            settings,
            phase: Phase::Open,
            input: Buffer::new(),
            decoder,
            output: Output::default(),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            is_encrypted: false,
            #[cfg(feature = "tls")]
            sealed: 0,
            read: ReadSide::Open,
            write: WriteSide::Open,
            flags: Flags {
                connected_due: true,
                ..Flags::default()
            },
            counters: Counters::default(),
            deadline_ms: u64::MAX,
            active_ms: now_ms,
            written_ms: now_ms,
            waiting_ms: u64::MAX,
            frame_ms: u64::MAX,
        }
    }

    #[inline]
    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    // ---- Coming in ----

    /// Whether bytes may be read from the socket now.
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        if self.read == ReadSide::Ended {
            return false;
        }
        #[cfg(feature = "tls")]
        if self.is_lent() {
            return false;
        }
        match self.phase {
            Phase::Closing(_) => true,
            Phase::Ended(_) => false,
            _ if !self.input.is_empty() => false,
            #[cfg(feature = "tls")]
            Phase::Handshaking => true,
            Phase::Open if matches!(self.write, WriteSide::Broken(_)) => true,
            Phase::Open => !self.flags.paused && !self.flags.above_high,
        }
    }

    /// Whether data from the peer is discarded: it is read whatever the owner does.
    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    /// Takes bytes read from the socket out of `read`, which is empty afterwards and may be another buffer of the same
    /// pool. A pool of the connection's own gets a copy: its buffers never mix with those of the node.
    pub(crate) fn receive(&mut self, read: &mut Buffer, now_ms: u64) {
        self.active_ms = now_ms;
        if matches!(self.write, WriteSide::Broken(_)) {
            self.deadline_ms = now_ms.saturating_add(self.settings.close_timeout);
        }
        #[cfg(feature = "tls")]
        if self.is_encrypted {
            self.receive_ciphertext(read, now_ms);
            read.clear();
            return;
        }
        self.counters.bytes_in += read.len() as u64;
        if matches!(self.phase, Phase::Closing(_) | Phase::Ended(_)) {
            read.clear();
            return;
        }
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

    /// The peer has ended its side (a read gave zero bytes).
    pub(crate) fn receive_end(&mut self, now_ms: u64) {
        #[cfg(feature = "tls")]
        if let Some(reason) = self.untimely_end() {
            self.read = ReadSide::Ended;
            return self.end(reason);
        }
        self.end_reading(now_ms);
    }

    fn end_reading(&mut self, now_ms: u64) {
        if std::mem::replace(&mut self.read, ReadSide::Ended) == ReadSide::Ended {
            return;
        }
        self.active_ms = now_ms;
        if let WriteSide::Broken(reason) = &self.write {
            let reason = (**reason).clone();
            return self.end(reason);
        }
        self.flags.peer_finished_due = matches!(self.phase, Phase::Open);
        self.settle();
    }

    /// A read failed.
    pub(crate) fn fail(&mut self, kind: io::ErrorKind) {
        self.read = ReadSide::Ended;
        let reason = DisconnectReason::from_io(kind);
        match (&self.phase, &self.write) {
            // Everything was sent; the peer's way of ending its side is not news.
            (Phase::Closing(_), WriteSide::Finished) => self.end_closing(),
            (Phase::Closing(first), _) => self.end(first_reason(first, reason)),
            (_, WriteSide::Broken(broken)) => self.end((**broken).clone()),
            _ => self.end(reason),
        }
    }

    /// Whether [`Connection::next_event`] may have something.
    #[inline]
    pub(crate) fn has_events(&self) -> bool {
        let flags = &self.flags;
        !self.input.is_empty()
            || flags.connected_due
            || flags.reframed
            || flags.writable_due
            || flags.peer_finished_due
            || self.decoder.buffered() > 0
    }

    /// The next thing to tell the owner. The caller may stop asking at any time and go on later.
    pub(crate) fn next_event(&mut self, now_ms: u64) -> Option<Event> {
        if std::mem::take(&mut self.flags.connected_due) {
            return Some(Event::Connected);
        }
        if !self.input.is_empty() || self.flags.reframed {
            match self.decoder.decode(&mut self.input, &self.settings.pool) {
                Ok(Some(frame)) => {
                    self.frame_ms = u64::MAX;
                    self.counters.messages_in += 1;
                    return Some(Event::Data(frame));
                }
                Ok(None) => {
                    self.flags.reframed = false;
                    self.input = Buffer::new();
                }
                Err(error) => {
                    self.flags.reframed = false;
                    self.input = Buffer::new();
                    self.flags.peer_finished_due = false;
                    self.close(DisconnectReason::Frame(error), now_ms);
                }
            }
        }
        self.note_frame(now_ms);
        if std::mem::take(&mut self.flags.writable_due) && self.takes_output() {
            self.counters.writable += 1;
            return Some(Event::Writable);
        }
        if !std::mem::take(&mut self.flags.peer_finished_due) {
            return None;
        }
        // No framing makes anything of what is left: this was all data.
        self.decoder.finish();
        self.settle();
        Some(Event::PeerFinished)
    }

    /// A frame's deadline counts from its first byte, while it can be read on.
    #[inline]
    fn note_frame(&mut self, now_ms: u64) {
        if self.decoder.buffered() == 0 || !self.wants_read() {
            self.frame_ms = u64::MAX;
        } else if self.frame_ms == u64::MAX {
            self.frame_ms = now_ms;
        }
    }

    // ---- Commands ----

    /// Queues bytes that the quota cell has accepted. When none can leave any more they are dropped, and the cell knows.
    pub(crate) fn send(&mut self, data: Buffer, now_ms: u64) {
        let leaves =
            matches!(self.write, WriteSide::Open | WriteSide::Finishing) && !self.flags.dropped;
        if !leaves || matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        if self.output.is_empty() && !data.is_empty() {
            self.waiting_ms = now_ms;
        }
        self.counters.messages_out += 1;
        self.output.push(data);
        if !self.flags.above_high && self.queued() > self.settings.high_water_mark as usize {
            self.flags.above_high = true;
            self.counters.high_water += 1;
        }
    }

    /// Bytes of the owner that the socket has not taken.
    #[inline]
    fn queued(&self) -> usize {
        #[cfg(feature = "tls")]
        return self.output.len() + self.sealed as usize;
        #[cfg(not(feature = "tls"))]
        self.output.len()
    }

    /// Ends in order: what is queued is sent first. The first reason stays.
    pub(crate) fn close(&mut self, reason: DisconnectReason, now_ms: u64) {
        if matches!(self.phase, Phase::Closing(_) | Phase::Ended(_)) {
            return;
        }
        if let WriteSide::Broken(broken) = &self.write {
            let broken = (**broken).clone();
            return self.end(broken);
        }
        #[cfg(feature = "tls")]
        if matches!(self.phase, Phase::Handshaking) && self.is_lent() && self.output.is_empty() {
            // A step is under way elsewhere, and nothing would come of waiting for it.
            return self.end(reason);
        }
        self.phase = Phase::Closing(Box::new(reason));
        self.deadline_ms = now_ms.saturating_add(self.settings.close_timeout);
        match self.write {
            WriteSide::Finished => self.active_ms = now_ms,
            _ => self.write = WriteSide::Finishing,
        }
        self.settle();
    }

    /// Ends at once; what is queued is not sent.
    pub(crate) fn end(&mut self, reason: DisconnectReason) {
        if !matches!(self.phase, Phase::Ended(_)) {
            self.phase = Phase::Ended(Box::new(reason));
            self.drop_output();
            self.flags.peer_finished_due = false;
        }
    }

    /// Ends for the reason of closing.
    fn end_closing(&mut self) {
        if let Phase::Closing(reason) = &self.phase {
            let reason = (**reason).clone();
            self.end(reason);
        }
    }

    fn drop_output(&mut self) {
        self.output.clear();
        self.waiting_ms = u64::MAX;
        self.flags.dropped = true;
        self.flags.more_due = false;
    }

    /// Ends writing after what is queued; reading goes on.
    pub(crate) fn shutdown_write(&mut self) {
        if matches!(self.write, WriteSide::Open) {
            self.write = WriteSide::Finishing;
        }
    }

    /// The owner has handled everything the peer sent before its end; its replies are queued.
    pub(crate) fn peer_end_handled(&mut self, now_ms: u64) {
        if self.read == ReadSide::Ended {
            self.close(DisconnectReason::ClosedByPeer, now_ms);
        }
    }

    /// Stops or resumes reading at the owner's wish.
    pub(crate) fn pause(&mut self, paused: bool, now_ms: u64) {
        self.flags.paused = paused;
        self.halt_deadlines(now_ms);
    }

    /// Whether the owner wants no input now.
    pub(crate) fn is_paused(&self) -> bool {
        self.flags.paused
    }

    /// The owner's mailbox takes nothing at present, or does again.
    pub(crate) fn hold(&mut self, held: bool, now_ms: u64) {
        self.flags.held = held;
        self.halt_deadlines(now_ms);
    }

    /// What the peer must do in time begins anew when the owner takes input again.
    fn halt_deadlines(&mut self, now_ms: u64) {
        self.active_ms = now_ms;
        if self.is_halted() {
            self.frame_ms = u64::MAX;
        }
    }

    /// Whether it is the owner that takes nothing.
    fn is_halted(&self) -> bool {
        self.flags.paused || self.flags.held
    }

    /// Whether bytes that are sent now have a chance to leave.
    #[inline]
    pub(crate) fn accepts(&self) -> bool {
        matches!(self.write, WriteSide::Open)
            && !matches!(self.phase, Phase::Closing(_) | Phase::Ended(_))
    }

    /// Forgets what has been read and not been given out.
    pub(crate) fn discard_input(&mut self) {
        self.input = Buffer::new();
        self.flags.reframed = false;
    }

    /// Changes the framing, from the first byte on that has not been given out.
    pub(crate) fn set_framing(&mut self, framing: Arc<Framing>) {
        self.decoder.set_framing(framing);
        self.flags.reframed = true;
    }

    // ---- Going out ----

    /// Whether [`Connection::transmit`] or a FIN is due.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        if matches!(self.phase, Phase::Ended(_))
            || matches!(self.write, WriteSide::Broken(_) | WriteSide::Finished)
        {
            return false;
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            if tls.wants_transmit() {
                return true;
            }
            if self.waits_for_handshake(tls) {
                return false;
            }
        } else if self.is_lent() {
            return false;
        }
        !self.output.is_empty()
            || (matches!(self.write, WriteSide::Finishing) && !self.flags.more_due)
    }

    /// Tells how many bytes were accepted and have not been sent, when no more are accepted: those that are not here yet
    /// are waited for before the end is sent.
    #[inline]
    pub(crate) fn expect(&mut self, bytes: usize) {
        self.flags.more_due = bytes > self.queued() && !self.flags.dropped;
    }

    /// Whether everything that was accepted has left the output.
    #[inline]
    fn is_complete(&self) -> bool {
        self.output.is_empty() && !self.flags.more_due
    }

    /// Whether the socket's write side is to be shut down now; the caller does it and calls
    /// [`Connection::shutdown_done`].
    #[inline]
    pub(crate) fn shutdown_is_due(&self) -> bool {
        if !matches!(self.write, WriteSide::Finishing)
            || !self.is_complete()
            || matches!(self.phase, Phase::Ended(_))
        {
            return false;
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return !tls.wants_transmit() && !self.waits_for_handshake(tls);
        }
        #[cfg(feature = "tls")]
        return !self.is_lent();
        #[cfg(not(feature = "tls"))]
        true
    }

    /// FIN is sent.
    pub(crate) fn shutdown_done(&mut self, now_ms: u64) {
        self.write = WriteSide::Finished;
        self.active_ms = now_ms;
        self.settle();
    }

    /// Writes what is queued through `write`, until it is gone or the socket takes no more.
    pub(crate) fn transmit(
        &mut self,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        now_ms: u64,
    ) -> Transmitted {
        // What leaves the socket, which under TLS is not what leaves the owner's output.
        let mut moved = 0;
        let mut count = |slices: &[IoSlice<'_>]| write(slices).inspect(|written| moved += written);
        let result = if self.wants_transmit() {
            self.transmit_all(&mut count, now_ms)
        } else {
            Ok(Transmitted::default())
        };
        let transmitted = match result {
            Ok(transmitted) => transmitted,
            Err((bytes, reason)) => {
                self.break_writing(reason, now_ms);
                Transmitted {
                    bytes,
                    blocked: false,
                }
            }
        };
        self.counters.bytes_out += transmitted.bytes as u64;
        if moved > 0 {
            self.active_ms = now_ms;
            self.written_ms = now_ms;
        }
        if !self.has_output() {
            self.waiting_ms = u64::MAX;
        } else if moved > 0 || self.waiting_ms == u64::MAX {
            self.waiting_ms = now_ms;
        }
        if self.flags.above_high && self.queued() <= self.settings.low_water_mark as usize {
            self.flags.above_high = false;
            self.flags.writable_due = true;
        }
        transmitted
    }

    /// Whether bytes wait for the socket.
    #[inline]
    fn has_output(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.as_ref().is_some_and(|tls| tls.wants_transmit()) && self.wants_transmit() {
            return true;
        }
        !self.output.is_empty()
    }

    /// A send was refused, and there is room again.
    pub(crate) fn owe_writable(&mut self) {
        self.flags.writable_due = true;
    }

    /// Whether more output is welcome: news that would be wrong when it reaches the owner is not told.
    #[inline]
    fn takes_output(&self) -> bool {
        matches!(self.phase, Phase::Open)
            && matches!(self.write, WriteSide::Open)
            && !self.flags.above_high
    }

    #[cfg_attr(
        not(feature = "tls"),
        allow(unused_variables, reason = "the time is for what fails under TLS")
    )]
    fn transmit_all(
        &mut self,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        now_ms: u64,
    ) -> Result<Transmitted, (usize, DisconnectReason)> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return self.transmit_tls(write, now_ms);
        }
        let mut done = Transmitted::default();
        while !self.output.is_empty() {
            let mut offered = 0;
            let result = self.output.with_slices(usize::MAX, |slices| {
                offered = slices.iter().map(|slice| slice.len()).sum();
                write(slices)
            });
            match result {
                Ok(written) => {
                    self.output.advance(written);
                    done.bytes += written;
                    if written < offered {
                        done.blocked = true;
                        return Ok(done);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    done.blocked = true;
                    return Ok(done);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((done.bytes, DisconnectReason::from_io(error.kind()))),
            }
        }
        Ok(done)
    }

    /// A write failed. What the peer sent before is still read; then the connection ends with this reason.
    fn break_writing(&mut self, reason: DisconnectReason, now_ms: u64) {
        if self.is_closing() && self.queued() == 0 {
            // Only our close_notify did not go out. The peer has had everything, and hung up.
            return self.end_closing();
        }
        self.drop_output();
        self.deadline_ms = self
            .deadline_ms
            .min(now_ms.saturating_add(self.settings.close_timeout));
        self.write = WriteSide::Broken(Box::new(reason.clone()));
        match &self.phase {
            // It discards its input: there is nothing to wait for.
            Phase::Closing(first) => self.end(first_reason(first, reason)),
            _ if self.read == ReadSide::Ended => self.end(reason),
            _ => {}
        }
    }

    /// Ends a connection whose both sides have ended, as soon as the owner knows that the peer's has.
    fn settle(&mut self) {
        if self.read == ReadSide::Open || !matches!(self.write, WriteSide::Finished) {
            return;
        }
        match &self.phase {
            Phase::Closing(_) => self.end_closing(),
            Phase::Open if !self.flags.peer_finished_due => {
                self.end(DisconnectReason::ClosedByPeer)
            }
            _ => {}
        }
    }

    // ---- Time ----

    /// When [`Connection::handle_timeout`] wants to be called, `u64::MAX` for never. It may move later, silently; an
    /// early call does nothing.
    #[inline]
    pub(crate) fn next_deadline(&self) -> u64 {
        if matches!(self.phase, Phase::Ended(_)) {
            return u64::MAX;
        }
        let settings = &*self.settings;
        let nothing_waits = self.deadline_ms & self.waiting_ms & self.frame_ms == u64::MAX;
        let nothing_watched =
            settings.idle_timeout.is_none() && settings.write_keep_alive.is_none();
        if nothing_waits && nothing_watched && matches!(self.phase, Phase::Open) {
            return u64::MAX;
        }
        let after = |since: u64, timeout: Option<u64>| {
            timeout.map_or(u64::MAX, |timeout| since.saturating_add(timeout))
        };
        let mut deadline_ms = self.deadline_ms;
        if self.counts_waiting() {
            deadline_ms = deadline_ms.min(after(self.waiting_ms, settings.write_timeout));
        }
        if self.lingers() {
            deadline_ms = deadline_ms.min(after(self.active_ms, Some(settings.linger_timeout)));
        }
        if matches!(self.phase, Phase::Open) {
            deadline_ms = deadline_ms.min(after(self.frame_ms, settings.frame_timeout));
            if !self.is_halted() {
                deadline_ms = deadline_ms.min(after(self.active_ms, settings.idle_timeout));
            }
            if matches!(self.write, WriteSide::Open) {
                deadline_ms = deadline_ms.min(after(
                    self.written_ms,
                    settings
                        .write_keep_alive
                        .as_ref()
                        .map(|(period, _)| *period),
                ));
            }
        }
        deadline_ms
    }

    /// Does what is due. `true`: the keep-alive bytes are to be sent, if the quota cell accepts them.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) -> bool {
        let past = |since: u64, timeout: Option<u64>| {
            timeout.is_some_and(|timeout| since.saturating_add(timeout) <= now_ms)
        };
        let settings = &*self.settings;
        let lingered = self.lingers() && past(self.active_ms, Some(settings.linger_timeout));
        let deadline = self.deadline_ms <= now_ms || lingered;
        let too_slow = self.counts_waiting() && past(self.waiting_ms, settings.write_timeout);
        match (&self.phase, &self.write) {
            (Phase::Ended(_), _) => return false,
            (Phase::Closing(_), WriteSide::Finished) if deadline => self.end_closing(),
            (Phase::Closing(first), _) if too_slow => {
                self.abandon(first_reason(first, DisconnectReason::SlowReader))
            }
            (Phase::Closing(first), _) if deadline => {
                self.abandon(first_reason(first, DisconnectReason::CloseTimeout))
            }
            (Phase::Closing(_), _) => {}
            _ if too_slow => self.abandon(DisconnectReason::SlowReader),
            (_, WriteSide::Broken(broken)) if deadline => self.end((**broken).clone()),
            #[cfg(feature = "tls")]
            (Phase::Handshaking, _) if deadline => self.end(DisconnectReason::HandshakeTimeout),
            #[cfg(feature = "tls")]
            (Phase::Handshaking, _) => {}
            (Phase::Open, _) => return self.handle_open_timeout(now_ms),
        }
        false
    }

    fn handle_open_timeout(&mut self, now_ms: u64) -> bool {
        let past = |since: u64, timeout: Option<u64>| {
            timeout.is_some_and(|timeout| since.saturating_add(timeout) <= now_ms)
        };
        let settings = &*self.settings;
        if past(self.frame_ms, settings.frame_timeout) {
            self.close(DisconnectReason::FrameTimeout, now_ms);
        } else if !self.is_halted() && past(self.active_ms, settings.idle_timeout) {
            self.close(DisconnectReason::IdleTimeout, now_ms);
        } else if matches!(self.write, WriteSide::Open)
            && past(
                self.written_ms,
                settings
                    .write_keep_alive
                    .as_ref()
                    .map(|(period, _)| *period),
            )
        {
            if !(cfg!(planted_bug) && self.flags.above_high) {
                self.written_ms = now_ms;
            }
            return self.output.is_empty();
        }
        false
    }

    /// Whether everything is said and only the peer's end is awaited. A peer that still sends is waited for until the
    /// close deadline, because closing on its data would be a reset, which can overtake our last bytes.
    #[inline]
    fn lingers(&self) -> bool {
        self.is_closing() && matches!(self.write, WriteSide::Finished)
    }

    /// The write deadline does not count while the handshake, which has its own, keeps the output waiting.
    #[inline]
    fn counts_waiting(&self) -> bool {
        #[cfg(feature = "tls")]
        if matches!(self.phase, Phase::Handshaking) {
            return false;
        }
        true
    }

    fn abandon(&mut self, reason: DisconnectReason) {
        self.end(reason);
        self.flags.abandoned = true;
    }

    // ---- The end ----

    /// Why it has ended; then it wants nothing any more, but [`Connection::next_event`] may still have frames.
    #[inline]
    pub(crate) fn ended(&self) -> Option<&DisconnectReason> {
        match &self.phase {
            Phase::Ended(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether it has ended with bytes that the peer did not take in time: what the kernel still has is in vain too.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.flags.abandoned
    }

    /// The name of the state, for inspection.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.phase, self.read, &self.write) {
            #[cfg(feature = "tls")]
            (Phase::Handshaking, ..) => "handshaking",
            (Phase::Closing(_), ..) => "closing",
            (Phase::Ended(_), ..) => "ended",
            (Phase::Open, ReadSide::Ended, _) => "half-closed by peer",
            (Phase::Open, _, WriteSide::Finishing | WriteSide::Finished) => "half-closed",
            (Phase::Open, ..) => "open",
        }
    }
}

/// The reason of closing, unless it claims that everything was sent.
pub(crate) fn first_reason(
    closing: &DisconnectReason,
    failure: DisconnectReason,
) -> DisconnectReason {
    match closing {
        DisconnectReason::LocalClose | DisconnectReason::ClosedByPeer => failure,
        first => first.clone(),
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod pair;
#[cfg(any(test, fuzzing))]
pub(crate) mod script;
#[cfg(test)]
mod tests;
