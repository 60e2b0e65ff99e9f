//! What goes to the peer: the owner's bytes, and the end of our side behind them.
//!
//! ```text
//!   Open ──1──▶ Finishing ──2──▶ Finished          1  shutdown_write, or close
//!     │             │                              2  everything accepted has been sent, then FIN
//!     └──────3──────┴──▶ Broken                    3  a write failed: the rest is dropped, reading goes on
//! ```
//!
//! Bytes that a sender's quota has accepted may still be in the command queue when writing ends. They are *in flight*:
//! the driver reports their number once, when the quota is closed, each arriving message reduces it, and FIN waits for
//! zero.

use std::io::{self, IoSlice};

use super::edge::EdgePhase;
use super::receive::ReadSide;
use super::{Connection, first_reason};
use crate::error::DisconnectReason;
use crate::memory::buffer::{Buffer, SharedBuffer};
use crate::proto::tls::Tls;

/// What [`Connection::transmit`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transmitted {
    /// Bytes of the owner that left, before encryption.
    pub(crate) bytes: usize,
    /// The socket takes no more now.
    pub(crate) blocked: bool,
}

#[derive(Clone, Debug)]
pub(super) enum WriteSide {
    Open,
    /// FIN follows when the output is empty.
    Finishing,
    /// FIN is sent.
    Finished,
    /// A write failed; this reason waits for the end of the input.
    Broken(DisconnectReason),
}

/// Where the output stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputLevel {
    Low,
    /// It has risen above the high mark and not yet fallen to the low mark.
    AboveHigh,
    /// It was dropped: nothing that is sent now leaves.
    Dropped,
}

impl Connection {
    /// Queues bytes that the quota has accepted. If none can leave any more they are dropped; the quota keeps counting
    /// them, as unsent.
    pub(crate) fn send(&mut self, data: Buffer, now_ms: u64) {
        if self.begin_send(data.len(), now_ms) {
            self.output.push(data);
            self.note_high_mark();
        }
    }

    /// Queues bytes that other connections send as well, as [`Connection::send`] does.
    pub(super) fn send_shared(&mut self, data: SharedBuffer, now_ms: u64) {
        if self.begin_send(data.len(), now_ms) {
            self.output.push_shared(data);
            self.note_high_mark();
        }
    }

    /// Counts a message of `bytes`. Returns whether it can still leave.
    #[inline]
    fn begin_send(&mut self, bytes: usize, now_ms: u64) -> bool {
        // What cannot leave is not queued: the quota counts it, and reports it as unsent.
        if self.level == OutputLevel::Dropped || !self.is_writable() {
            return false;
        }
        // The write timeout counts from here, when the first byte begins to wait.
        if self.output.is_empty() && bytes > 0 {
            self.times.waiting_ms = now_ms;
        }
        self.counters.messages_out += 1;
        // A message that has arrived is no longer on its way.
        if let Some(edge) = &mut self.edge {
            edge.in_flight = edge.in_flight.saturating_sub(bytes);
        }
        true
    }

    #[inline]
    fn note_high_mark(&mut self) {
        if self.queued() > self.settings.high_water_mark as usize && !self.is_above_high() {
            self.level = OutputLevel::AboveHigh;
            self.counters.high_water += 1;
        }
    }

    /// Bytes of the owner that the socket has not taken.
    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.output.len() + self.sealed as usize
    }

    #[inline]
    pub(super) fn is_above_high(&self) -> bool {
        self.level == OutputLevel::AboveHigh
    }

    /// Sets what the quota counts, now that it is closed. What has not arrived here yet is waited for before FIN.
    #[inline]
    pub(super) fn await_in_flight(&mut self, accepted_bytes: usize) {
        // Dropped output is not waited for.
        if self.level != OutputLevel::Dropped {
            self.edge_mut().in_flight = accepted_bytes.saturating_sub(self.queued());
        }
    }

    pub(super) fn drop_output(&mut self) {
        self.output.clear();
        self.times.waiting_ms = u64::MAX;
        self.level = OutputLevel::Dropped;
        self.await_nothing();
    }

    /// Nothing that is on its way here leaves any more.
    pub(super) fn await_nothing(&mut self) {
        if let Some(edge) = &mut self.edge {
            edge.in_flight = 0;
        }
    }

    /// Returns whether writing ends after what is queued, while the connection is open.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.is_open() && self.is_finishing()
    }

    /// Ends writing after what is queued; reading goes on.
    pub(super) fn shutdown_write(&mut self) {
        // Twice, or while closing, it changes nothing.
        if self.is_write_open() {
            self.edge_mut().write = WriteSide::Finishing;
        }
    }

    /// Returns whether bytes that are sent now have a chance to leave.
    #[inline]
    pub(super) fn accepts(&self) -> bool {
        self.is_write_open() && !self.is_over()
    }

    /// Returns whether more output is welcome. A `Writable` event is accurate only then, and is dropped otherwise.
    #[inline]
    pub(super) fn takes_output(&self) -> bool {
        self.is_open() && self.is_write_open() && !self.is_above_high()
    }

    /// Returns whether everything that was accepted has left the output.
    #[inline]
    pub(super) fn is_complete(&self) -> bool {
        self.output.is_empty() && self.in_flight() == 0
    }

    /// Returns whether [`Connection::transmit`] or a FIN is due.
    #[inline]
    pub(super) fn wants_transmit(&self) -> bool {
        // After FIN and after a failed write nothing leaves any more.
        if !self.is_writable() {
            return false;
        }
        if self.is_encrypted {
            // A flight of the handshake, an alert or a ticket leaves although the owner has written nothing.
            if let Some(tls) = &self.tls
                && tls.wants_transmit()
            {
                return true;
            }
            if self.waits_for_handshake() {
                return false;
            }
        }
        // An empty output still has a FIN to send.
        !self.output.is_empty() || (self.is_finishing() && self.in_flight() == 0)
    }

    /// Returns whether the write side of the socket is to be shut down now.
    #[inline]
    pub(super) fn shutdown_is_due(&self) -> bool {
        self.is_finishing()
            && self.is_complete()
            && !self.has_ended()
            && (!self.is_encrypted || self.close_notify_has_left())
    }

    /// Returns whether everything that was accepted has been given to the socket, and FIN has not.
    pub(super) fn is_flushed(&self) -> bool {
        self.is_finishing()
            && self.is_complete()
            && self.tls.as_ref().is_none_or(|tls| !tls.wants_transmit())
    }

    /// FIN is sent.
    pub(super) fn shutdown_done(&mut self, now_ms: u64) {
        self.edge_mut().write = WriteSide::Finished;
        // The linger timeout counts from the FIN.
        self.times.active_ms = now_ms;
        self.maybe_finish();
    }

    /// Writes what is queued through `write`, until it is gone or the socket takes no more.
    pub(crate) fn transmit(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        now_ms: u64,
    ) -> Transmitted {
        // What leaves the socket, which under TLS is not what leaves the owner's output.
        let mut moved = 0;
        let mut count = |slices: &[IoSlice<'_>]| write(slices).inspect(|written| moved += written);
        let result = if !self.wants_transmit() {
            Ok(Transmitted::default())
        } else if self.is_encrypted {
            self.transmit_tls(&mut count, now_ms)
        } else {
            self.transmit_plain(&mut count)
        };
        // The bytes before the failure have left and count.
        let transmitted = result.unwrap_or_else(|(bytes, reason)| {
            self.break_writing(reason, now_ms);
            Transmitted {
                bytes,
                blocked: false,
            }
        });
        self.counters.bytes_out += transmitted.bytes as u64;
        if moved > 0 {
            self.note_activity(now_ms);
            // The keep-alive counts from the last byte that left, which under TLS may be none of the owner's.
            self.times.written_ms = now_ms;
        }
        // Nothing waits, so no timeout of a slow reader counts.
        if !self.has_output() {
            self.times.waiting_ms = u64::MAX;
        } else if moved > 0 || self.times.waiting_ms == u64::MAX {
            self.times.waiting_ms = now_ms;
        }
        // At the low mark and not at once below the high one, so that an owner that is notified can write a batch.
        if self.is_above_high() && self.queued() <= self.settings.low_water_mark as usize {
            self.level = OutputLevel::Low;
            self.pending.writable = true;
        }
        transmitted
    }

    /// Returns whether bytes wait for the socket.
    #[inline]
    fn has_output(&self) -> bool {
        !self.output.is_empty()
            || (self.is_encrypted
                && self.tls.as_ref().is_some_and(Tls::wants_transmit)
                && self.wants_transmit())
    }

    #[inline]
    fn transmit_plain(
        &mut self,
        write: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Result<Transmitted, (usize, DisconnectReason)> {
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
                    // A short write shows that the socket is full, and saves the call that would say so.
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
                Err(error) => return Err((done.bytes, DisconnectReason::from_io(error))),
            }
        }
        Ok(done)
    }

    /// A write failed. What the peer sent before is still read; then the connection ends with this reason.
    fn break_writing(&mut self, reason: DisconnectReason, now_ms: u64) {
        if self.is_closing() && self.queued() == 0 {
            // Only our close_notify was left. The peer has received everything and has closed.
            return self.end_closing();
        }
        self.drop_output();
        let close_ms = now_ms.saturating_add(self.settings.close_timeout);
        let edge = self.edge_mut();
        // A deadline that is earlier stays.
        edge.end_ms = edge.end_ms.min(close_ms);
        edge.write = WriteSide::Broken(reason.clone());
        match self.phase() {
            // A closing connection discards its input: there is nothing to wait for.
            EdgePhase::Closing(first) => self.end(first_reason(first, reason)),
            // The input has ended too, so nothing is left to wait for.
            _ if self.read == ReadSide::Ended => self.end(reason),
            _ => {}
        }
    }
}
