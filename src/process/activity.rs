//! What a process is and does, readable by any thread without stopping it.
//!
//! Two parts, by who writes them. [`Identity`] is written at the spawn and lies in the gap of the
//! mailbox. [`Activity`] is written for each message and lies in the cache line of the worker
//! that runs the process, so that it costs that worker two stores.
//!
//! The fields are counters and labels: every access is relaxed, and a reader sees values that
//! were true a moment ago. A cell is used again, so a reader that wants the fields of one process
//! looks at the generation of the mailbox before and after; both parts are reset before the
//! mailbox opens.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::id::Pid;
use crate::message::MessageType;

/// What stays the same for the life of a process.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Identity {
    /// Index and generation of the parent.
    parent: AtomicU64,
    /// The type of the actor, once there is one.
    actor: AtomicU32,
    /// When the process was spawned, in tenths of a second on the node's clock.
    born_ds: AtomicU32,
}

impl Identity {
    /// Begins the life of the next process of the cell.
    pub(super) fn reset(&self, parent: Pid, now_ms: u64) {
        let parent_word = u64::from(parent.index()) << 32 | u64::from(parent.generation());
        self.parent.store(parent_word, Relaxed);
        self.actor.store(MessageType::NONE.to_word(), Relaxed);
        // It wraps after thirteen years.
        self.born_ds.store((now_ms / 100) as u32, Relaxed);
    }

    pub(super) fn set_actor(&self, actor: MessageType) {
        self.actor.store(actor.to_word(), Relaxed);
    }

    pub(super) fn parent(&self) -> Pid {
        let word = self.parent.load(Relaxed);
        Pid::new((word >> 32) as u32, word as u32)
    }

    pub(super) fn actor(&self) -> MessageType {
        MessageType::from_word(self.actor.load(Relaxed))
    }

    /// How long the process has lived, to a tenth of a second.
    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(u64::from(self.born_ds.load(Relaxed)) * 100)
    }
}

/// What a process has done, and the message in hand.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Activity {
    handled: AtomicU64,
    sent: AtomicU64,
    /// The type of the message that the process handles, or has handled last.
    message: AtomicU32,
    /// Time of the timed activations, in units of [`BUSY_UNIT_NS`].
    busy: AtomicU32,
}

/// The unit of the time of the timed activations. One activation in 16 is timed, so a unit stands
/// for a millisecond of all of them, and the counter for 49 days.
const BUSY_UNIT_NS: u64 = 1 << 16;

impl Activity {
    /// Begins the life of the next process of the cell.
    pub(super) fn reset(&self) {
        self.handled.store(0, Relaxed);
        self.sent.store(0, Relaxed);
        self.busy.store(0, Relaxed);
        self.message.store(MessageType::NONE.to_word(), Relaxed);
    }

    /// The worker takes a message in hand.
    #[inline]
    pub(super) fn begin_message(&self, message: MessageType) {
        // Only the worker that runs the process writes, so this needs no read-modify-write.
        self.handled.store(self.handled.load(Relaxed) + 1, Relaxed);
        self.message.store(message.to_word(), Relaxed);
    }

    /// The process has sent this many messages in an activation.
    #[inline]
    pub(super) fn add_sent(&self, sent: u32) {
        if sent > 0 {
            let total = self.sent.load(Relaxed) + u64::from(sent);
            self.sent.store(total, Relaxed);
        }
    }

    /// An activation that was timed has taken `ns`. The rest of the division is rounded up or down
    /// at random, by `random`, so that short activations add up.
    pub(super) fn add_busy(&self, ns: u64, random: u64) {
        let units = (ns + random % BUSY_UNIT_NS) / BUSY_UNIT_NS;
        // The process may run on another worker by now, whose activation is timed as well.
        self.busy
            .fetch_add(u32::try_from(units).unwrap_or(u32::MAX), Relaxed);
    }

    /// Time of the timed activations, in nanoseconds.
    pub(super) fn busy_ns(&self) -> u64 {
        u64::from(self.busy.load(Relaxed)) * BUSY_UNIT_NS
    }

    /// Takes back what was counted and not sent.
    #[cold]
    pub(super) fn take_back_sent(&self, sent: u32) {
        let total = self.sent.load(Relaxed);
        self.sent.store(total.saturating_sub(sent.into()), Relaxed);
    }

    /// Messages that were taken in hand since the spawn.
    pub(super) fn handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    /// Messages that were sent since the spawn, up to the last activation that is over.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(super) fn message(&self) -> MessageType {
        MessageType::from_word(self.message.load(Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn short_activations_add_up() {
        let activity = Activity::default();
        for random in 0..BUSY_UNIT_NS {
            activity.add_busy(1_000, random);
        }
        assert_eq!(activity.busy_ns(), 1_000 * BUSY_UNIT_NS);
    }

    #[test]
    fn counts_and_identity_begin_anew_with_each_life() {
        let (identity, activity) = (Identity::default(), Activity::default());
        let parent = Pid::new(7, 9);
        for _ in 0..2 {
            identity.reset(parent, 1_234);
            activity.reset();
            assert_eq!(identity.actor(), MessageType::NONE);
            assert_eq!((activity.handled(), activity.sent()), (0, 0));
            assert_eq!(activity.busy_ns(), 0);
            activity.add_busy(1 << 20, 0);
            assert_eq!(activity.message(), MessageType::NONE);
            identity.set_actor(MessageType::INSPECT);
            activity.begin_message(MessageType::TCP);
            activity.begin_message(MessageType::UDP);
            activity.add_sent(5);
            assert_eq!((activity.handled(), activity.sent()), (2, 5));
            assert_eq!(activity.message(), MessageType::UDP);
            assert_eq!(identity.actor(), MessageType::INSPECT);
            assert_eq!((identity.parent(), identity.age_ms(2_200)), (parent, 1_000));
        }
    }
}
