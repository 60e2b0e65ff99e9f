//! The delivery window: how many delivered bytes the owner of a connection may have unhandled, and the message that its
//! mailbox refused.
//!
//! A mailbox is bounded in messages. The window bounds in bytes what one connection has in it, so an owner that answers
//! each byte with a byte never has more to send than its output takes, and an echo to a peer that does not read is
//! bounded by itself.
//!
//! ```text
//!   |◀───────────────── unacked ─────────────────▶|
//!   |◀── covered by the ack in flight ──▶|
//! ```
//!
//! Transitions:
//!
//! 1. `delivered`: the bytes are unacked. Once they are half the limit and no ack is in flight, the caller
//!    is to request one behind the data, which covers all of them.
//! 2. `acked`: that many bytes have been handled. When the ack in flight has returned as a whole, the next
//!    one may be due, as in 1.
//! 3. `refuse`: the mailbox was full. Nothing is delivered until the caller takes the message again.
//!
//! The window is *blocked* while a message is refused or the limit is reached. It never stays blocked: half the limit
//! is reached before the limit, so an ack is in flight then, and the mailbox that refused resumes its
//! senders.
//!
//! With `window_follows_buffers` no ack is requested: each delivered buffer carries credit, and what is
//! given back when it is dropped is the `acked` of 2; see [`InputCredit`].
//!
//! What it does not do: it delivers nothing, and does not know who acknowledges.

use std::sync::Arc;

use super::connection::Watch;
use super::credit::InputCredit;
use crate::message::CompactMessage;

/// See the module.
#[derive(Debug)]
pub(super) struct DeliveryWindow {
    /// Boxed, because few connections have one, and all have the place for it.
    rare: Option<Box<Rare>>,
    limit: u32,
    unacked: u32,
    /// Bytes that the ack in flight covers; 0 if there is none.
    ack_in_flight: u32,
    /// What [`DeliveryWindow::blocked_change`] has returned last.
    was_blocked: bool,
    /// What is delivered counts until its buffer is dropped.
    follows_buffers: bool,
}

#[derive(Debug, Default)]
struct Rare {
    refused: Option<CompactMessage>,
    credit: Option<Arc<InputCredit>>,
    /// Of a window that follows buffers.
    watch: Watch,
}

impl DeliveryWindow {
    /// A window of `limit` bytes, at least one.
    pub(super) fn new(limit: u32, follows_buffers: bool) -> Self {
        Self {
            rare: None,
            follows_buffers,
            // A window without a byte is full from the start, and nothing would ever be acknowledged.
            limit: limit.max(1),
            unacked: 0,
            ack_in_flight: 0,
            was_blocked: false,
        }
    }

    /// Counts delivered bytes. Returns the bytes of an ack that is to be requested behind them.
    #[inline]
    pub(super) fn delivered(&mut self, bytes: usize) -> Option<u32> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.unacked = self.unacked.saturating_add(bytes);
        self.next_ack()
    }

    /// Counts handled bytes. Returns the bytes of the next ack, as `delivered` does.
    pub(super) fn acked(&mut self, bytes: u32) -> Option<u32> {
        // More may come back than is counted: buffers from before a reset give back late.
        self.unacked = self.unacked.saturating_sub(bytes);
        self.ack_in_flight = self.ack_in_flight.saturating_sub(bytes);
        self.next_ack()
    }

    /// Everything that was delivered has been handled or given back, and no ack is in flight. What a buffer
    /// that was delivered before gives back later counts for nothing.
    pub(super) fn reset(&mut self) {
        (self.unacked, self.ack_in_flight) = (0, 0);
        if let Some(rare) = &mut self.rare
            && let Some(credit) = rare.credit.take()
        {
            credit.close();
        }
        self.free_rare();
    }

    /// Whether delivered buffers carry credit.
    #[inline]
    pub(super) fn follows_buffers(&self) -> bool {
        self.follows_buffers
    }

    /// What takes the credit of the next buffers.
    pub(super) fn credit(&mut self, make: impl FnOnce(u32) -> InputCredit) -> Arc<InputCredit> {
        let limit = self.limit;
        let rare = self.rare.get_or_insert_default();
        let credit = rare.credit.get_or_insert_with(|| Arc::new(make(limit)));
        Arc::clone(credit)
    }

    fn free_rare(&mut self) {
        self.rare
            .take_if(|rare| rare.refused.is_none() && rare.credit.is_none());
    }

    /// Whether held buffers that stop the connection are to be reported.
    pub(super) fn watch(&self) -> Watch {
        self.rare
            .as_ref()
            .map_or_else(Watch::default, |rare| rare.watch)
    }

    pub(super) fn set_watch(&mut self, watch: Watch) {
        self.rare.get_or_insert_default().watch = watch;
    }

    #[inline]
    fn next_ack(&mut self) -> Option<u32> {
        // An ack is a message of its own: half the limit is rare enough, and the other half is delivered while it is on
        // its way.
        let is_due = self.ack_in_flight == 0
            && self.unacked >= self.limit.div_ceil(2)
            && !self.follows_buffers;
        is_due.then(|| {
            self.ack_in_flight = self.unacked;
            self.unacked
        })
    }

    /// Keeps a message that the mailbox refused.
    pub(super) fn refuse(&mut self, message: CompactMessage) {
        self.rare.get_or_insert_default().refused = Some(message);
    }

    /// Takes the refused message, to deliver it again.
    #[inline]
    pub(super) fn take_refused(&mut self) -> Option<CompactMessage> {
        let refused = self.rare.as_mut()?.refused.take();
        self.free_rare();
        refused
    }

    #[inline]
    pub(super) fn has_refused(&self) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| rare.refused.is_some())
    }

    /// Bytes that were delivered and not acknowledged.
    pub(super) fn unacked(&self) -> u32 {
        self.unacked
    }

    /// Returns whether the limit is reached.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.unacked >= self.limit
    }

    /// Returns whether the window is blocked, if that has changed since the last call.
    #[inline]
    pub(super) fn blocked_change(&mut self) -> Option<bool> {
        let is_blocked = self.has_refused() || self.is_full();
        (is_blocked != std::mem::replace(&mut self.was_blocked, is_blocked)).then_some(is_blocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn one_ack_is_in_flight_from_half_the_limit_on() {
        let mut window = DeliveryWindow::new(100, false);
        assert_eq!(window.delivered(49), None);
        assert_eq!(window.delivered(1), Some(50));
        assert_eq!(window.delivered(49), None, "one is in flight");
        assert_eq!(window.blocked_change(), None);
        assert_eq!(window.delivered(1), None);
        assert_eq!(window.blocked_change(), Some(true));
        assert_eq!(window.acked(50), Some(50), "the other half is due at once");
        assert_eq!(window.blocked_change(), Some(false));
        assert_eq!(window.acked(50), None);
        assert_eq!(window.unacked(), 0);
    }

    #[test]
    fn ack_in_parts_is_in_flight_until_its_last_part() {
        let mut window = DeliveryWindow::new(10, false);
        assert_eq!(window.delivered(10), Some(10));
        assert_eq!(window.delivered(10), None);
        assert_eq!(window.acked(4), None);
        assert_eq!(window.acked(6), Some(10));
    }

    #[test]
    fn full_window_always_has_an_ack_in_flight() {
        for limit in [0, 1, 2, 3, u32::MAX] {
            let mut window = DeliveryWindow::new(limit, false);
            let requested = window.delivered(usize::MAX);
            assert_eq!((requested, window.is_full()), (Some(u32::MAX), true));
            assert_eq!(window.delivered(usize::MAX), None);
            assert_eq!(window.acked(u32::MAX), None);
            assert_eq!(window.unacked(), 0);
        }
    }

    #[test]
    fn refused_message_blocks_until_it_is_taken() {
        let mut window = DeliveryWindow::new(100, false);
        window.refuse(Message::new(7_u8).into());
        assert_eq!(window.blocked_change(), Some(true));
        assert_eq!(window.blocked_change(), None, "reported once");
        assert!(window.take_refused().is_some() && !window.has_refused());
        assert_eq!(window.blocked_change(), Some(false));
    }
}
