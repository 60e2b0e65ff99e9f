//! The command queue of a stripe: lock-free, many senders, one receiver, first in first out for each sender.
//!
//! ```text
//!            room                ┌────────────┐
//!  push ──────────────────────▶  │ ring       │ ──▶ pop
//!    │ full, or others overflow  ├────────────┤      ▲
//!    └────────────────────────▶  │ overflow   │ ─────┘ what was there before the ring was found empty
//!                                └────────────┘
//! ```
//!
//! The ring is allocated once, so a command on it costs no memory; the overflow grows without a limit (what connections
//! may have queued is limited by their quota cells) and gives its memory back.
//!
//! Order. A sender whose command lies in the overflow must not get a later one in before it through the ring. So:
//!
//! 1. `overflowing` is raised before a command enters the overflow and lowered after it has left it, and while it is
//!    not zero no sender uses the ring. A sender sees at least its own raise, so its next command follows into the
//!    overflow.
//! 2. The receiver takes from the overflow only when the ring is empty, and only as many as it had seen there *before*
//!    it found the ring empty. Bad interleaving without that: the receiver finds the ring empty; a sender puts a first
//!    command in the ring, others fill it, the sender's second goes to the overflow; the receiver takes the second.
//!    With it, a command that was seen in the overflow has all its predecessors in the ring by then, and they are taken
//!    first.

use crossbeam_queue::{ArrayQueue, SegQueue};

use crate::base::sync::atomic::AtomicUsize;
use crate::base::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// See the module.
#[derive(Debug)]
pub(crate) struct CommandQueue<T> {
    ring: ArrayQueue<T>,
    overflow: SegQueue<T>,
    /// Commands that are in the overflow or on their way there.
    overflowing: AtomicUsize,
    /// Commands of the overflow that the receiver may take; the receiver's own.
    seen: AtomicUsize,
}

impl<T> CommandQueue<T> {
    /// A queue that overflows beyond `capacity`.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ring: ArrayQueue::new(capacity),
            overflow: SegQueue::new(),
            overflowing: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
        }
    }

    /// Adds behind everything this sender has added.
    #[inline]
    pub(crate) fn push(&self, command: T) {
        // Acquire pairs with the `fetch_sub` in `pop_overflow`: zero means that the receiver has taken all that this
        // sender had in the overflow.
        let refused = if self.overflowing.load(Acquire) == 0 {
            self.ring.push(command)
        } else {
            Err(command)
        };
        if let Err(command) = refused {
            self.push_overflow(command);
        }
    }

    #[cold]
    fn push_overflow(&self, command: T) {
        // Before the push, so that whichever command follows sees the raise.
        self.overflowing.fetch_add(1, AcqRel);
        self.overflow.push(command);
    }

    /// Takes the oldest; for one receiver at a time.
    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        self.ring.pop().or_else(|| {
            // Relaxed: a command that this load misses is followed by a wake of the stripe, which looks again.
            if self.overflowing.load(Relaxed) == 0 {
                None
            } else {
                self.pop_overflow()
            }
        })
    }

    #[cold]
    fn pop_overflow(&self) -> Option<T> {
        if self.seen.load(Relaxed) == 0 {
            self.seen.store(self.overflow.len(), Relaxed);
            // Rule 2 of the page: the ring counts as empty only if it is so after `seen` was read.
            if let Some(command) = self.ring.pop() {
                return Some(command);
            }
        }
        let seen = self.seen.load(Relaxed).checked_sub(1)?;
        let command = self.overflow.pop()?;
        self.seen.store(seen, Relaxed);
        // After the command has left: until then a later one of its sender has to follow it into the overflow.
        self.overflowing.fetch_sub(1, AcqRel);
        Some(command)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn order_goes_on_over_the_overflow_and_back() {
        let queue = CommandQueue::new(4);
        let mut expected = 0;
        for round in 0..50 {
            for number in 0..round {
                queue.push((round, number));
            }
            for number in 0..round {
                assert_eq!(queue.pop(), Some((round, number)));
                expected += 1;
            }
            assert_eq!(queue.pop(), None);
        }
        assert_eq!(expected, 50 * 49 / 2);
    }

    #[test]
    fn each_sender_keeps_its_order_while_the_ring_overflows() {
        const SENDERS: usize = 3;
        const EACH: usize = 200_000;
        let queue = Arc::new(CommandQueue::new(2));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || (0..EACH).for_each(|number| queue.push((sender, number))))
            })
            .collect();
        let mut next = [0; SENDERS];
        while next.iter().sum::<usize>() < SENDERS * EACH {
            match queue.pop() {
                Some((sender, number)) => {
                    assert_eq!(number, next[sender], "sender {sender}");
                    next[sender] += 1;
                }
                None => thread::yield_now(),
            }
        }
        senders
            .into_iter()
            .for_each(|sender| sender.join().expect("no panic"));
        assert_eq!(queue.pop(), None);
    }
}
