//! Deadlines of a connection: what they count from, the next one, and what happens when it has come.
//!
//! | deadline | counts from | while | at its end |
//! |---|---|---|---|
//! | handshake, close, reading on after a failed write | set once | always | ends |
//! | write | the last progress of waiting output | not in a handshake, which has its own | ends with an abort |
//! | linger | the last byte in either direction | closing, our FIN is sent | ends |
//! | frame | the first byte of an incomplete frame | open, and reading goes on | closes |
//! | idle | the last byte in either direction | open, and the owner takes input | closes |
//! | keep-alive | the last byte sent | open for writing | the keep-alive bytes are due |
//!
//! A deadline can be found late because this side stood still. Bytes that move more than [`LATE_MS`] after the deadline
//! of a handshake, of closing or of a frame may have been in time, so that deadline starts again.

use super::edge::EdgePhase;
use super::{Connection, WriteSide, first_reason};
use crate::error::DisconnectReason;

/// A deadline that is judged so much later, in milliseconds, was missed by this side: the process or its workers stood
/// still.
pub(crate) const LATE_MS: u64 = 20;

/// Points in time in milliseconds; `u64::MAX` for one that does not exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// The last byte moved in either direction.
    pub(super) active_ms: u64,
    /// The last byte was sent.
    pub(super) written_ms: u64,
    /// Output, ciphertext included, has waited without progress since then.
    pub(super) waiting_ms: u64,
    /// A frame has been incomplete, and could be read on, since then.
    pub(super) frame_ms: u64,
}

impl Deadlines {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            active_ms: now_ms,
            written_ms: now_ms,
            waiting_ms: u64::MAX,
            frame_ms: u64::MAX,
        }
    }
}

/// The deadline that counts from `since_ms`, or `u64::MAX` without a timeout.
fn after(since_ms: u64, timeout_ms: Option<u64>) -> u64 {
    timeout_ms.map_or(u64::MAX, |timeout_ms| since_ms.saturating_add(timeout_ms))
}

impl Connection {
    /// Bytes have moved.
    #[inline]
    pub(super) fn note_activity(&mut self, now_ms: u64) {
        self.times.active_ms = now_ms;
        // As a rule nothing was missed, and this is the way of each byte.
        if self.end_ms() < now_ms {
            self.restart_missed(now_ms);
        }
    }

    /// Lets the end of a handshake or of closing begin anew that this side missed. What the peer did in time was not
    /// seen in time, and what it does next takes a round trip.
    #[cold]
    fn restart_missed(&mut self, now_ms: u64) {
        // A deadline that has just passed was judged in time.
        if self.end_ms().saturating_add(LATE_MS) > now_ms {
            return;
        }
        let timeout_ms = match self.phase() {
            // The other phases have no end that the peer could miss.
            EdgePhase::Handshaking => self.settings.handshake_timeout,
            EdgePhase::Closing(_) => Some(self.settings.close_timeout),
            EdgePhase::Open | EdgePhase::Ended(_) => None,
        };
        if timeout_ms.is_some() {
            self.edge_mut().end_ms = after(now_ms, timeout_ms);
        }
    }

    /// The time of the next call of [`Connection::handle_timeout`], `u64::MAX` for never.
    #[inline]
    pub(super) fn next_deadline(&self) -> u64 {
        let times = &self.times;
        // Most connections watch nothing but the output, and have none that waits.
        // Both are `u64::MAX` exactly if all of their bits are set.
        let nothing_waits = times.waiting_ms & times.frame_ms == u64::MAX;
        if nothing_waits && self.watches_nothing && self.edge.is_none() {
            return u64::MAX;
        }
        self.earliest_deadline()
    }

    fn earliest_deadline(&self) -> u64 {
        if self.has_ended() {
            return u64::MAX;
        }
        let (times, settings) = (&self.times, &*self.settings);
        let mut deadline_ms = self.end_ms();
        if self.counts_waiting() {
            deadline_ms = deadline_ms.min(after(times.waiting_ms, settings.write_timeout));
        }
        if self.lingers() {
            deadline_ms = deadline_ms.min(after(times.active_ms, Some(settings.linger_timeout)));
        }
        if self.is_open() {
            deadline_ms = deadline_ms.min(after(times.frame_ms, settings.frame_timeout));
            // A peer cannot be idle while its bytes are not read.
            if !self.owner.takes_nothing() {
                deadline_ms = deadline_ms.min(after(times.active_ms, settings.idle_timeout));
            }
            if self.is_write_open() {
                deadline_ms = deadline_ms.min(self.keep_alive_ms());
            }
        }
        deadline_ms
    }

    fn keep_alive_ms(&self) -> u64 {
        let keep_alive = self.settings.write_keep_alive.as_ref();
        after(
            self.times.written_ms,
            keep_alive.map(|(period_ms, _)| *period_ms),
        )
    }

    /// Handles the deadlines that have come; an early call does nothing. Returns whether the keep-alive bytes are to be
    /// sent, if the quota accepts them.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) -> bool {
        // The step is on another thread, so the peer has nothing to answer.
        if self.is_offloaded() && self.end_ms() < now_ms {
            // It is this side that computes.
            self.restart_missed(now_ms);
        }
        let (times, settings) = (&self.times, &*self.settings);
        let lingered =
            self.lingers() && after(times.active_ms, Some(settings.linger_timeout)) <= now_ms;
        let is_over = self.end_ms() <= now_ms || lingered;
        let too_slow =
            self.counts_waiting() && after(times.waiting_ms, settings.write_timeout) <= now_ms;
        match (self.phase(), self.write_side()) {
            (EdgePhase::Ended(_), _) => {}
            // Our FIN has left with everything before it, so the peer's end is all that is missing.
            (EdgePhase::Closing(_), WriteSide::Finished) if is_over => self.end_closing(),
            (EdgePhase::Closing(first), _) if too_slow => {
                self.abandon(first_reason(first, DisconnectReason::SlowReader));
            }
            (EdgePhase::Closing(first), _) if is_over => {
                self.abandon(first_reason(first, DisconnectReason::CloseTimeout));
            }
            (EdgePhase::Closing(_), _) => {}
            _ if too_slow => self.abandon(DisconnectReason::SlowReader),
            // The reason is that of the failed write, whatever the peer did since.
            (_, WriteSide::Broken(broken)) if is_over => self.end(broken.clone()),
            (EdgePhase::Handshaking, _) if is_over => self.end(DisconnectReason::HandshakeTimeout),
            (EdgePhase::Handshaking, _) => {}
            (EdgePhase::Open, _) => return self.handle_open_timeout(now_ms),
        }
        false
    }

    fn handle_open_timeout(&mut self, now_ms: u64) -> bool {
        let (times, settings) = (&self.times, &*self.settings);
        let frame_ms = after(times.frame_ms, settings.frame_timeout);
        // The timer fired late and the bytes came at the same moment: they may have been in time.
        if times.active_ms == now_ms && frame_ms.saturating_add(LATE_MS) <= now_ms {
            // Missed as well: some of the frame has come just now.
            self.times.frame_ms = now_ms;
        } else if frame_ms <= now_ms {
            self.close(DisconnectReason::FrameTimeout, now_ms);
        } else if !self.owner.takes_nothing()
            && after(times.active_ms, settings.idle_timeout) <= now_ms
        {
            self.close(DisconnectReason::IdleTimeout, now_ms);
        } else if self.is_write_open() && self.keep_alive_ms() <= now_ms {
            // Written at this moment, although nothing was written: bytes that the quota refuses are not tried again at
            // once.
            if !(cfg!(mutant) && self.is_above_high()) {
                self.times.written_ms = now_ms;
            }
            // Bytes that wait keep the connection alive by themselves.
            return self.output.is_empty();
        }
        false
    }

    /// What the peer must do in time begins anew when the owner takes input again.
    pub(super) fn restart_deadlines(&mut self, now_ms: u64) {
        self.times.active_ms = now_ms;
        // The peer cannot go on with a frame that is not read.
        if self.owner.takes_nothing() {
            self.times.frame_ms = u64::MAX;
        }
    }

    /// Returns whether our FIN is sent and only the peer's end is awaited. A peer that still sends is waited for until
    /// the close deadline, because closing on its data would be a reset, which can overtake our last bytes.
    #[inline]
    fn lingers(&self) -> bool {
        self.is_closing() && self.is_finished()
    }

    /// The write deadline does not count while the handshake, which has its own deadline, keeps the output waiting.
    #[inline]
    fn counts_waiting(&self) -> bool {
        !self.is_in_handshake()
    }

    pub(super) fn abandon(&mut self, reason: DisconnectReason) {
        self.end(reason);
        if let EdgePhase::Ended(end) = &mut self.edge_mut().phase {
            end.is_abandoned = true;
        }
    }
}
