//! The TLS half of a connection: the handshake, and the way of the bytes through the TLS machine.
//!
//! ```text
//!   receive ─▶ feed ─▶ plaintext ─▶ input          transmit ◀─ ciphertext ◀─ write ◀─ output
//!                │
//!                └ a step of the handshake: computed here, or lent, run elsewhere, and taken back
//! ```
//!
//! Nothing here knows how TLS works; that is `proto::tls`. Without the feature `tls` that module has a session type
//! without values, and the compiler removes what is here.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::edge::{Edge, EdgePhase};
use super::receive::{ReadSide, TAKE};
use super::send::{OutputLevel, Transmitted, WriteSide};
use super::{Connection, Settings, first_reason};
use crate::error::DisconnectReason;
use crate::memory::buffer::{Buffer, BufferPool};
use crate::proto::tls::{CryptoCost, FeedOutcome, StreamEnd, Tls, TlsError};

/// Plaintext given to TLS at once.
const TLS_CHUNK: usize = 64 * 1024;
/// How long the peer of a broken TLS session gets to read our alert, in milliseconds.
const LINGER_MS: u64 = 1_000;

/// A step of a handshake on its way: [`Handshake::run`] does the work, wherever that is.
#[derive(Debug)]
pub(crate) struct Handshake {
    tls: Tls,
    ciphertext: Buffer,
    pool: BufferPool,
    /// What came behind the end of the handshake.
    plain: Buffer,
    fed: Option<Result<FeedOutcome, TlsError>>,
}

impl Handshake {
    pub(crate) fn run(&mut self) {
        let (plain, pool) = (&mut self.plain, &self.pool);
        let fed = self.tls.feed(&self.ciphertext, &mut |chunk| {
            // A step of the handshake brings no plaintext as a rule, and then no buffer is taken.
            if plain.capacity() == 0 {
                *plain = pool.get(chunk.len());
            }
            plain.extend_from_slice(chunk);
        });
        self.fed = Some(fed);
    }
}

impl Connection {
    /// A connection that begins with a TLS handshake.
    pub(crate) fn with_tls(settings: Arc<Settings>, tls: Tls, now_ms: u64) -> Self {
        let deadline_ms = settings
            .handshake_timeout
            .map_or(u64::MAX, |timeout| now_ms.saturating_add(timeout));
        let mut connection = Self::new(settings, now_ms);
        connection.tls = Some(tls);
        connection.is_encrypted = true;
        connection.begin_handshake(deadline_ms);
        // The owner gets its Connect after the handshake.
        connection.pending.connected = false;
        connection
    }

    fn begin_handshake(&mut self, end_ms: u64) {
        self.edge = Some(Box::new(Edge {
            phase: EdgePhase::Handshaking,
            end_ms,
            ..Edge::default()
        }));
    }

    /// Whether a TLS handshake can begin: the connection is plain and open in both directions, and its output has left.
    /// `None`: it never can.
    pub(super) fn can_start_tls(&self) -> Option<bool> {
        (self.edge.is_none() && !self.is_encrypted).then(|| self.output.is_empty())
    }

    /// Takes out what was read and not delivered, as it came from the peer. It does not count as received: it is not
    /// plain.
    pub(crate) fn take_unread(&mut self) -> Buffer {
        let mut unread = Buffer::new();
        while let Ok(Some(part)) = self.decoder.decode(&mut self.input, &self.settings.pool) {
            unread.extend_from_slice(&part);
        }
        self.discard_input();
        self.times.frame_ms = u64::MAX;
        unread
    }

    /// Whether there is input that was not delivered.
    pub(super) fn has_unread(&self) -> bool {
        !self.input.is_empty() || self.decoder.buffered() > 0
    }

    /// Begins a TLS handshake on a plain connection that [can](Self::can_start_tls), and has no input that was not
    /// delivered. A Connected event follows the handshake.
    pub(super) fn start_tls(&mut self, tls: Tls, now_ms: u64) {
        self.tls = Some(tls);
        self.is_encrypted = true;
        let timeout = self.settings.handshake_timeout;
        self.begin_handshake(timeout.map_or(u64::MAX, |timeout| now_ms.saturating_add(timeout)));
        self.note_activity(now_ms);
        // The end has come before TLS could: the stream that TLS would protect is over.
        if self.read == ReadSide::Ended {
            self.pending.peer_finished = false;
            self.end(ended_in_handshake());
        }
    }

    /// Accepts no more output: it was meant to be encrypted, and will not be. What is here leaves.
    pub(super) fn refuse_output(&mut self) {
        if self.level != OutputLevel::Dropped {
            self.level = OutputLevel::Dropped;
            self.await_nothing();
        }
    }

    /// Returns whether the handshake is going on and no step of it is computed elsewhere.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.is_in_handshake() && self.tls.is_some()
    }

    /// Returns whether a flight of the handshake is to be sent.
    pub(super) fn has_flight(&self) -> bool {
        self.is_handshaking() && self.tls.as_ref().is_some_and(Tls::wants_transmit)
    }

    /// Sets when the handshake must be done.
    pub(super) fn set_handshake_deadline(&mut self, deadline_ms: u64) {
        // A step that is computed elsewhere has its time restarted by what this side does.
        if self.is_handshaking() {
            self.edge_mut().end_ms = deadline_ms;
        }
    }

    /// Ends a handshake whose peer sends nothing.
    pub(super) fn give_up_handshake(&mut self) {
        if self.is_handshaking() {
            self.end(DisconnectReason::HandshakeTimeout);
        }
    }

    /// What the handshake agreed on, once it is done.
    pub(crate) fn tls_info(&self) -> Option<Box<crate::tls::TlsInfo>> {
        let tls = self.tls.as_ref().filter(|tls| !tls.is_handshaking())?;
        Some(Box::new(tls.info()))
    }

    /// Returns whether the next step of the handshake is a moderate one, as far as can be known before it has come.
    pub(super) fn expects_moderate_step(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.step_cost(1) == CryptoCost::Moderate)
    }

    // ---- Coming in ----

    pub(super) fn receive_ciphertext(&mut self, ciphertext: &[u8], now_ms: u64) {
        let discard = self.is_over();
        let Some(tls) = &mut self.tls else { return };
        // The session is dead: what still comes cannot be decrypted, and must not be taken for anything.
        if tls.is_failed() {
            return;
        }
        let (input, pool, bytes_in) = (
            &mut self.input,
            &self.settings.pool,
            &mut self.counters.bytes_in,
        );
        let expected = ciphertext.len();
        let fed = tls.feed(ciphertext, &mut |plain| {
            *bytes_in += plain.len() as u64;
            // The bytes are counted, and no owner takes them while the connection closes.
            if discard {
                return;
            }
            if input.is_empty() && input.capacity() == 0 {
                // One buffer for all records of this read.
                *input = pool.get(plain.len().max(expected.min(TAKE)));
            }
            input.extend_from_slice(plain);
        });
        self.conclude_feed(fed, now_ms);
    }

    fn conclude_feed(&mut self, fed: Result<FeedOutcome, TlsError>, now_ms: u64) {
        match fed {
            Ok(fed) => {
                if fed.handshake_completed {
                    self.complete_handshake(now_ms);
                }
                if fed.close_notify && self.is_in_handshake() {
                    self.read = ReadSide::Ended;
                    self.end(ended_in_handshake());
                } else if fed.close_notify {
                    self.end_reading(now_ms);
                }
            }
            Err(error) => {
                // The same read may have completed the handshake, and brought data.
                if self.is_in_handshake()
                    && self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking())
                {
                    self.complete_handshake(now_ms);
                }
                self.fail_tls(&error, now_ms);
            }
        }
    }

    fn complete_handshake(&mut self, now_ms: u64) {
        // A connection that has ended meanwhile has had its last event.
        self.pending.connected = !self.has_ended();
        // The usual state from now on, unless one side has ended meanwhile.
        self.edge.take_if(|edge| {
            matches!(
                (&edge.phase, &edge.write),
                (EdgePhase::Handshaking, WriteSide::Open)
            )
        });
        if let Some(edge) = &mut self.edge
            && matches!(edge.phase, EdgePhase::Handshaking)
        {
            edge.phase = EdgePhase::Open;
            // After a failed write the deadline is that of reading on.
            if !matches!(edge.write, WriteSide::Broken(_)) {
                edge.end_ms = u64::MAX;
            }
        }
        if !self.output.is_empty() {
            // Until now the handshake kept the output waiting, with a deadline of its own.
            self.times.waiting_ms = now_ms;
        }
    }

    /// TLS is broken: the alert is sent, nothing else, and the peer gets a moment to read it.
    fn fail_tls(&mut self, error: &TlsError, now_ms: u64) {
        let reason = DisconnectReason::Tls(Arc::from(error.to_string()));
        match (self.phase(), self.write_side()) {
            // Neither the peer's last words nor our answer matter, unless they are that it never accepted us.
            (EdgePhase::Closing(first), WriteSide::Finished) if error.is_refusal() => {
                return self.end(first_reason(first, reason));
            }
            (EdgePhase::Closing(_), WriteSide::Finished) => return self.end_closing(),
            // The write failed because the peer had closed behind its alert.
            (EdgePhase::Handshaking | EdgePhase::Open, WriteSide::Broken(_)) => {
                return self.end(reason);
            }
            _ => {}
        }
        // Output must not follow a broken session: the peer could not decrypt it.
        self.drop_output();
        if let EdgePhase::Closing(first) = &mut self.edge_mut().phase {
            *first = first_reason(first, reason);
        } else {
            self.close(reason, now_ms);
        }
        // The alert needs no more than a moment, and a close deadline that is nearer stays.
        let edge = self.edge_mut();
        edge.end_ms = edge.end_ms.min(now_ms.saturating_add(LINGER_MS));
    }

    /// What is wrong with the end of the stream coming now, if TLS has something against it.
    pub(super) fn untimely_end(&self) -> Option<DisconnectReason> {
        let tls = self.tls.as_ref()?;
        match (self.phase(), tls.end_of_stream()) {
            // The failed write explains the end, whatever TLS would say of it.
            _ if self.is_broken() => None,
            (EdgePhase::Ended(_), _)
            | (EdgePhase::Handshaking | EdgePhase::Open, StreamEnd::Clean) => None,
            (EdgePhase::Closing(reason), StreamEnd::DuringHandshake) if !self.output.is_empty() => {
                Some(first_reason(reason, ended_in_handshake()))
            }
            (EdgePhase::Closing(_), _) => None,
            (_, StreamEnd::Truncated) => Some(DisconnectReason::Truncated),
            (_, StreamEnd::DuringHandshake) => Some(ended_in_handshake()),
        }
    }

    // ---- Steps of the handshake elsewhere ----

    /// Takes the handshake out, with the bytes for its next step: cryptography, a tenth of a millisecond to several.
    /// Nothing is read or written until [`Input::HandshakeStep`](super::Input::HandshakeStep). `None`: the step costs
    /// less than the journey, or it is brief and `may_compute` says that there is time for such.
    pub(crate) fn offload_handshake(
        &mut self,
        ciphertext: &[u8],
        may_compute: bool,
        now_ms: u64,
    ) -> Option<Handshake> {
        if !self.is_in_handshake() {
            return None;
        }
        // The machine has no session until the step is back, so that neither direction can use it.
        let tls = self
            .tls
            .take_if(|tls| match tls.step_cost(ciphertext.len()) {
                CryptoCost::Cheap => false,
                CryptoCost::Moderate => !may_compute,
                CryptoCost::Expensive => true,
            })?;
        self.note_activity(now_ms);
        let pool = self.settings.pool.clone();
        Some(Handshake {
            tls,
            ciphertext: pool.copy_from_slice(ciphertext),
            pool,
            plain: Buffer::new(),
            fed: None,
        })
    }

    /// Goes on after a step of the handshake.
    pub(super) fn resume_handshake(&mut self, handshake: Handshake, now_ms: u64) {
        let Handshake {
            tls, plain, fed, ..
        } = handshake;
        self.tls = Some(tls);
        self.counters.bytes_in += plain.len() as u64;
        // A connection that has ended meanwhile delivers nothing.
        if self.is_in_handshake() {
            self.input = plain;
        }
        if let Some(fed) = fed {
            self.conclude_feed(fed, now_ms);
        }
    }

    /// Returns whether a step of the handshake is computed elsewhere.
    #[inline]
    pub(super) fn is_offloaded(&self) -> bool {
        self.is_encrypted && self.tls.is_none()
    }

    // ---- Going out ----

    /// Returns whether output and the end of writing wait for the handshake. A closing connection that has nothing to
    /// send gives the handshake up instead.
    #[inline]
    pub(super) fn waits_for_handshake(&self) -> bool {
        match &self.tls {
            Some(tls) => tls.is_handshaking() && !(self.is_closing() && self.is_complete()),
            None => true,
        }
    }

    /// Returns whether TLS has ended this side, so that FIN may follow.
    pub(super) fn close_notify_has_left(&self) -> bool {
        self.is_notified && self.tls.as_ref().is_some_and(|tls| !tls.wants_transmit())
    }

    /// Returns whether all that is to be sent is what ends the handshake on this side: tickets for the next session.
    #[inline]
    pub(super) fn has_only_tickets(&self) -> bool {
        self.is_encrypted
            && self.accepts()
            && self.output.is_empty()
            && self.tls.as_ref().is_some_and(Tls::wants_transmit)
    }

    pub(super) fn transmit_tls(
        &mut self,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        now_ms: u64,
    ) -> Result<Transmitted, (usize, DisconnectReason)> {
        let is_closing = self.is_closing();
        let all_arrived = self.in_flight() == 0;
        let is_finishing = self.is_finishing();
        let ends_in_reset = self.ends_in_reset();
        let Some(tls) = &mut self.tls else {
            return Ok(Transmitted::default());
        };
        let mut done = Transmitted::default();
        loop {
            // First, so that what TLS sends on its own leaves in the same write.
            // One chunk is in the session at a time, so that what the quota counts stays in the output until it has
            // left.
            if self.sealed == 0 && !self.output.is_empty() && !tls.is_handshaking() {
                match self
                    .output
                    .with_slices(TLS_CHUNK, |slices| tls.write(slices))
                {
                    Ok(taken) => {
                        self.output.advance(taken);
                        // At most one chunk of plaintext.
                        self.sealed = taken as u32;
                    }
                    Err(error) => {
                        self.fail_tls(&error, now_ms);
                        return Ok(done);
                    }
                }
            }
            let is_complete = self.output.is_empty() && all_arrived;
            // As in `waits_for_handshake`.
            let waits = tls.is_handshaking() && !(is_closing && is_complete);
            if !waits && is_complete && !ends_in_reset && is_finishing {
                tls.close_notify();
                self.is_notified = true;
                // Nothing can follow it, even if it waits for the socket.
                if !cfg!(mutant) {
                    self.level = OutputLevel::Dropped;
                }
            }
            if !tls.wants_transmit() {
                return Ok(done);
            }
            tls.transmit(write)
                .map_err(|error| (done.bytes, DisconnectReason::from_io(error)))?;
            // The socket is full; the sealed chunk counts as sent only when all of it has left.
            if tls.wants_transmit() {
                done.blocked = true;
                return Ok(done);
            }
            done.bytes += std::mem::take(&mut self.sealed) as usize;
        }
    }
}

fn ended_in_handshake() -> DisconnectReason {
    DisconnectReason::Tls(Arc::from("the peer ended the connection in the handshake"))
}
