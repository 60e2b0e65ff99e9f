//! One TCP connection as a machine without I/O: bytes, commands and the time go in; events, bytes and the end come out.
//!
//! ```text
//!              receive, receive_end, fail                    poll: Deliver
//!   socket ────────────────────────────────▶ Connection ───────────────────▶ owner
//!          ◀────────────────────────────────            ◀───────────────────
//!              poll: Transmit, ShutdownWrite                 send, handle
//! ```
//!
//! Phases:
//!
//! 1. *Handshaking* (TLS only): until the handshake is done or its deadline passes. Input is bounded by the TLS
//!    machine, output and the end of writing wait. The driver may take a step of it away and compute it elsewhere
//!    ([`Connection::offload_handshake`]); until it is back nothing is read or written.
//! 2. *Open*: the owner has its Connected event. Either direction can end on its own: the peer's FIN ends reading,
//!    `ShutdownWrite` ends writing after what is queued. When both have ended, and the owner knows, the connection
//!    ends.
//! 3. *Closing*: for whatever reason. What was accepted is sent, if need be after the handshake, then close_notify and
//!    FIN, then the peer's end is awaited and its data discarded, all within the close deadline. After a panic of the
//!    owner the connection is reset instead, behind what was accepted.
//! 4. *Ended*: with a reason that never changes. Frames that were read before are still delivered.
//!
//! The first reason stays. Only the two that claim that everything was sent, `LocalClose` and `ClosedByPeer`, give way
//! to a failure that shows that it was not.
//!
//! A failed write does not end the connection at once: what the peer sent before can still be read, and is. The end
//! comes with the end of the input, or after a close timeout without any, and has the reason of the failed write.
//!
//! Reading stops while frames wait for the owner, while the output is above its high mark, while the owner has paused
//! it or is blocked, and after the peer's end. It never stops while closing, because unread data would turn our FIN
//! into a reset. The deadline of a frame stands still while reading does, and that of an idle peer while the owner
//! takes nothing.
//!
//! What the machine does not do: sockets, clocks, mailboxes, and counting what was accepted (the quota does).

mod deadlines;
mod edge;
mod end;
mod protocol;
mod receive;
mod send;
mod tls;

use std::collections::VecDeque;
use std::sync::Arc;

use self::deadlines::Deadlines;
pub(crate) use self::deadlines::LATE_MS;
use self::edge::{Edge, EdgePhase};
pub(crate) use self::end::first_reason;
pub(crate) use self::protocol::{Able, Event, Input, Output, Settings, Status, StreamCounters};
#[cfg(test)]
use self::receive::TAKE;
use self::receive::{OwnerState, PendingEvents, ReadSide};
#[cfg(test)]
use self::send::Transmitted;
use self::send::{OutputLevel, WriteSide};
pub(crate) use self::tls::Handshake;
use super::framing::{Decoder, Framing};
use super::output::Output as Queue;
use super::tls::Tls;
use crate::error::DisconnectReason;
use crate::memory::buffer::Buffer;

/// The machine of one connection.
///
/// Its methods are of three kinds:
///
/// - *Inputs* report what has happened: [`receive`](Self::receive) for bytes of the peer, [`send`](Self::send) for
///   bytes of the owner, [`handle`](Self::handle) for everything else on either side, and
///   [`handle_timeout`](Self::handle_timeout) for the clock.
/// - [`poll`](Self::poll) is the one question: what is to be done next? After each input the driver polls and does what
///   it is asked for, until the answer is `Wait` or `Ended`. It may stop at `Transmit` to collect more output, and must
///   call [`transmit`](Self::transmit) and poll again before it goes to sleep.
/// - [`status`](Self::status), [`tls_info`](Self::tls_info) and the fields look only.
///
/// `poll` asks in this order: deliver, close the quota, end, read, shut down, transmit, wait. So an owner gets what was
/// read before more is read, and what it answers at once leaves in one write.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) settings: Arc<Settings>,
    /// `None` in the usual state: open in both directions.
    edge: Option<Box<Edge>>,
    read: ReadSide,
    level: OutputLevel,
    pending: PendingEvents,
    owner: OwnerState,
    /// The driver has been asked to close the quota.
    is_quota_closed: bool,
    /// The settings have neither an idle timeout nor a keep-alive.
    watches_nothing: bool,
    /// `tls` is `None` while a step of the handshake is computed elsewhere.
    is_encrypted: bool,
    /// TLS has queued its close_notify.
    is_notified: bool,
    /// Bytes of the owner that TLS has encrypted and the socket has not taken.
    sealed: u32,
    tls: Option<Tls>,
    /// Plaintext that has not been cut into frames.
    input: Buffer,
    decoder: Decoder,
    output: Queue,
    times: Deadlines,
    pub(crate) counters: StreamCounters,
}

impl Connection {
    /// A connection whose transport is established.
    pub(crate) fn new(settings: Arc<Settings>, now_ms: u64) -> Self {
        let decoder = Decoder::new(Arc::clone(&settings.framing));
        let watches_nothing =
            settings.idle_timeout.is_none() && settings.write_keep_alive.is_none();
        Self {
            settings,
            edge: None,
            read: ReadSide::Open,
            level: OutputLevel::Low,
            pending: PendingEvents {
                connected: true,
                ..PendingEvents::default()
            },
            owner: OwnerState::default(),
            is_quota_closed: false,
            watches_nothing,
            is_encrypted: false,
            is_notified: false,
            sealed: 0,
            tls: None,
            input: Buffer::new(),
            decoder,
            output: Queue::default(),
            times: Deadlines::new(now_ms),
            counters: StreamCounters::default(),
        }
    }

    // ---- The question ----

    /// Returns what the driver is to do next, of what it is able to do.
    #[inline]
    pub(crate) fn poll(&mut self, able: Able, now_ms: u64) -> Output {
        // Events come first: an answer to them leaves in the write of this round.
        if able.deliver
            && self.has_events()
            && let Some(event) = self.next_event(now_ms)
        {
            return Output::Deliver(event);
        }
        match &self.edge {
            // The usual state: nothing ends.
            None => {
                if able.read && self.wants_read() {
                    return Output::Read;
                }
                if able.write && self.wants_transmit() {
                    return Output::Transmit {
                        only_tickets: self.has_only_tickets(),
                    };
                }
                Output::Wait(self.next_deadline())
            }
            Some(_) => self.poll_edge(able, now_ms),
        }
    }

    /// Returns the deadline of an open connection that waits for nothing but input: then [`Connection::poll`] would
    /// return the same `Wait`, if the socket has nothing to read.
    #[inline]
    pub(crate) fn rests_until(&self) -> Option<u64> {
        let rests = self.edge.is_none() && !self.has_events() && !self.wants_transmit();
        rests.then(|| self.next_deadline())
    }

    /// The same in a handshake, or when a direction or the connection ends.
    fn poll_edge(&mut self, able: Able, now_ms: u64) -> Output {
        // The quota closes once, before anything else ends, so that later writes are refused and not lost.
        if !self.accepts() && !std::mem::replace(&mut self.is_quota_closed, true) {
            return Output::CloseQuota;
        }
        // No read or write of a connection that has ended means anything.
        if self.has_ended() {
            return Output::Ended;
        }
        if able.read && self.wants_read() {
            return match self.phase() {
                EdgePhase::Handshaking => Output::ReadHandshake {
                    is_moderate: self.expects_moderate_step(),
                },
                _ => Output::Read,
            };
        }
        // After the output has left, and before FIN: the peer must see a reset and not an end.
        if self.ends_in_reset() && self.is_flushed() {
            self.abandon_closing();
            return Output::Ended;
        }
        if self.shutdown_is_due() {
            // Noted before the call, so that it is asked for once, whatever the socket says.
            self.shutdown_done(now_ms);
            return Output::ShutdownWrite;
        }
        if able.write && self.wants_transmit() {
            return Output::Transmit {
                only_tickets: self.has_only_tickets(),
            };
        }
        Output::Wait(self.next_deadline())
    }

    // ---- Inputs ----

    /// Takes what happens, besides bytes and time.
    pub(crate) fn handle(&mut self, input: Input, now_ms: u64) {
        match input {
            Input::PeerEnded => self.receive_end(now_ms),
            Input::ReadFailed(kind) => self.fail(kind),
            Input::Write(data) => self.send_shared(data, now_ms),
            Input::Close(reason) => self.close(reason, now_ms),
            Input::Abort => {
                // What was read is discarded, because the owner has asked for no more.
                self.discard_input();
                self.end(DisconnectReason::Abort);
            }
            Input::AbortFor(reason) => {
                self.discard_input();
                self.end(reason);
            }
            Input::ShutdownWrite => self.shutdown_write(),
            Input::SetPaused(is_paused) => self.pause(is_paused, now_ms),
            Input::SetFraming(framing) => self.set_framing(framing),
            Input::SetBlocked(is_blocked) => self.set_owner_blocked(is_blocked, now_ms),
            Input::MailboxFull => {
                self.discard_input();
                self.close(DisconnectReason::MailboxFull, now_ms);
            }
            Input::PeerEndHandled => self.peer_end_handled(now_ms),
            Input::Writable => self.request_writable_event(),
            Input::QuotaClosed(accepted_bytes) => self.await_in_flight(accepted_bytes),
            Input::HandshakeStep(handshake) => self.resume_handshake(*handshake, now_ms),
            Input::HandshakeDeadline(deadline_ms) => self.set_handshake_deadline(deadline_ms),
            Input::GiveUpHandshake => self.give_up_handshake(),
            Input::StartTls(tls) => self.start_tls(*tls, now_ms),
            Input::RefuseOutput => self.refuse_output(),
            Input::Relayed => self.become_relayed(),
            Input::Unread(parts) => self.unread(parts),
            Input::RepeatPeerEnd => self.repeat_peer_end(),
        }
    }

    fn peer_end_handled(&mut self, now_ms: u64) {
        if self.read == ReadSide::Ended {
            self.close(DisconnectReason::ClosedByPeer, now_ms);
        }
    }

    fn pause(&mut self, is_paused: bool, now_ms: u64) {
        self.owner.is_paused = is_paused;
        self.restart_deadlines(now_ms);
    }

    fn set_owner_blocked(&mut self, is_blocked: bool, now_ms: u64) {
        self.owner.is_blocked = is_blocked;
        self.restart_deadlines(now_ms);
    }

    fn set_framing(&mut self, framing: Arc<Framing>) {
        self.decoder.set_framing(framing);
        self.pending.reframed = true;
    }

    /// The input goes to another connection from now on: unframed, whatever this side has to send, and with the end of
    /// the peer apart from ours.
    fn become_relayed(&mut self) {
        // No owner answers from here on, and the marks of the other side bound what is read.
        let framing = Arc::new(Framing::Raw);
        // A copy of its own, because the settings are shared with the other connections of the listener.
        self.settings = Arc::new(Settings {
            framing: Arc::clone(&framing),
            reads_above_high: true,
            half_open: true,
            frame_timeout: None,
            write_keep_alive: None,
            ..Settings::clone(&self.settings)
        });
        self.watches_nothing = self.settings.idle_timeout.is_none();
        // What had begun as a frame is part of the stream now, and has no deadline.
        self.times.frame_ms = u64::MAX;
        self.set_framing(framing);
    }

    /// Puts bytes that were delivered back in front of the input.
    fn unread(&mut self, parts: VecDeque<Buffer>) {
        let behind = std::mem::take(&mut self.input);
        for part in parts.into_iter().chain([behind]) {
            if self.input.is_empty() {
                self.input = part;
            } else {
                // Usually the input is empty, and then nothing is copied.
                self.input.extend_from_slice(&part);
            }
        }
    }

    /// Repeats the event of the peer's end, if there was one and the connection is open.
    fn repeat_peer_end(&mut self) {
        self.pending.peer_finished |= self.read == ReadSide::Ended && self.is_open();
    }

    fn request_writable_event(&mut self) {
        self.pending.writable = true;
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod pair;
#[cfg(any(test, fuzzing))]
pub(crate) mod script;
#[cfg(test)]
mod tests;
