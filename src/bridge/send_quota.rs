//! The quota cell: the sender's side of one meta-process, one atomic word.
//!
//! ```text
//!  63            32   31      30     29                0
//! | generation      | wants | closing | queued bytes    |
//! ```
//!
//! - *generation*: must equal the alias's, else the alias is stale;
//! - *wants*: a send was refused for lack of room, so the owner is owed a `MessageTcpWritable`;
//! - *closing*: no further send is accepted;
//! - *queued bytes*: accepted by a send and not yet given to the operating system, wherever they are.
//!
//! Transitions, each one read-modify-write of the word:
//!
//! 1. `reserve` (any thread): queued += n if the generation fits, closing is not set and the sum stays within the limit.
//! 2. `reserve` refused for lack of room: wants is set. Bad interleaving: the sender sees the cell full, the stripe
//!    drains it and finds nobody waiting, the sender sets wants, and nobody is ever told. Excluded because the refusal
//!    is the compare-and-swap of the very value that was found full: if the stripe drained in between, it fails and the
//!    sender looks again. (`loom_refused_sender_is_always_told`.)
//! 3. `sent` (the stripe): queued -= n; if wants is set and queued is at the low mark or below, wants is cleared and the
//!    caller owes the message.
//! 4. `close` (any thread): closing is set.
//! 5. `release` (the stripe): generation + 1 and everything else zero; what was queued is returned, and is exactly what
//!    was accepted and not sent. Accepted means the compare-and-swap of 1 came before this one: it cannot be lost twice.
//!
//! Orderings: the word carries no data besides itself; the message travels through the command queue, which
//! synchronises. So everything here is relaxed but for `release`/`reserve` of a recycled cell, whose limit is written
//! before the alias is published by whoever hands it out.

use crate::base::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const WANTS: u64 = 1 << 31;
const CLOSING: u64 = 1 << 30;
const BYTES: u64 = CLOSING - 1;

/// The largest output limit that a cell can count, in bytes: 2^30 - 1.
pub(crate) const MAX_LIMIT: u32 = BYTES as u32;

/// See the module.
#[derive(Debug)]
pub(crate) struct SendQuota {
    word: AtomicU64,
    limit: AtomicU32,
    /// Sends that were refused for lack of room; for inspection.
    refused: AtomicU32,
}

/// Why [`SendQuota::reserve`] said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveError {
    Stale,
    Closing,
    Full,
    TooLarge,
}

impl Default for SendQuota {
    fn default() -> Self {
        Self {
            word: AtomicU64::new(1 << 32),
            limit: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        }
    }
}

impl SendQuota {
    /// The generation that an alias to this cell must have now.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        (self.word.load(Relaxed) >> 32) as u32
    }

    /// Opens the cell for a new owner; called by the one who took its slot.
    pub(crate) fn open(&self, limit: u32) -> u32 {
        self.limit.store(limit.min(MAX_LIMIT), Relaxed);
        self.refused.store(0, Relaxed);
        self.generation()
    }

    /// Whether an alias of that generation is still valid.
    #[inline]
    pub(crate) fn is_current(&self, generation: u32) -> bool {
        self.generation() == generation
    }

    /// Accepts `bytes` more, or says why not.
    #[inline]
    pub(crate) fn reserve(&self, generation: u32, bytes: usize) -> Result<(), ReserveError> {
        let limit = u64::from(self.limit.load(Relaxed));
        let mut word = self.word.load(Relaxed);
        loop {
            if (word >> 32) as u32 != generation {
                return Err(ReserveError::Stale);
            }
            if word & CLOSING != 0 {
                return Err(ReserveError::Closing);
            }
            if bytes as u64 > limit {
                self.refused.fetch_add(1, Relaxed);
                return Err(ReserveError::TooLarge);
            }
            let full = (word & BYTES) + bytes as u64 > limit;
            let next = if full {
                word | WANTS
            } else {
                word + bytes as u64
            };
            match self
                .word
                .compare_exchange_weak(word, next, Relaxed, Relaxed)
            {
                Ok(_) if full => {
                    self.refused.fetch_add(1, Relaxed);
                    return Err(ReserveError::Full);
                }
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// `bytes` have been given to the operating system. `true`: the owner is owed a `MessageTcpWritable`.
    #[inline]
    pub(crate) fn sent(&self, bytes: usize, low: u32) -> bool {
        let mut word = self.word.load(Relaxed);
        loop {
            debug_assert!(word & BYTES >= bytes as u64, "sent more than was accepted");
            let mut next = word - bytes as u64;
            let owed = next & WANTS != 0 && next & BYTES <= u64::from(low);
            if owed {
                next &= !WANTS;
            }
            match self
                .word
                .compare_exchange_weak(word, next, Relaxed, Relaxed)
            {
                Ok(_) => return owed,
                Err(now) => word = now,
            }
        }
    }

    /// Refuses every later send. `false`: the alias is stale.
    pub(crate) fn close(&self, generation: u32) -> bool {
        self.word
            .fetch_update(Relaxed, Relaxed, |word| {
                ((word >> 32) as u32 == generation).then_some(word | CLOSING)
            })
            .is_ok()
    }

    /// Bytes accepted and not yet sent.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        (self.word.load(Relaxed) & BYTES) as usize
    }

    /// Sends refused for lack of room since the cell was opened.
    pub(crate) fn refused(&self) -> u32 {
        self.refused.load(Relaxed)
    }

    /// Whether there is a generation left after those that have been used.
    pub(crate) fn is_reusable(&self) -> bool {
        self.generation() < u32::MAX
    }

    /// Ends this generation. Returns the bytes that were never sent.
    pub(crate) fn release(&self) -> usize {
        let mut word = self.word.load(Relaxed);
        loop {
            let next = ((word >> 32) + 1) << 32;
            match self
                .word
                .compare_exchange_weak(word, next, Relaxed, Relaxed)
            {
                Ok(_) => return (word & BYTES) as usize,
                Err(now) => word = now,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bound_is_exact_and_a_refusal_is_remembered() {
        let cell = SendQuota::default();
        let generation = cell.open(10);
        assert_eq!(cell.reserve(generation, 10), Ok(()));
        assert_eq!(cell.reserve(generation, 1), Err(ReserveError::Full));
        assert_eq!(cell.reserve(generation, 11), Err(ReserveError::TooLarge));
        assert_eq!(cell.refused(), 2);
        assert!(!cell.sent(5, 4), "still above the low mark");
        assert!(cell.sent(1, 4));
        assert!(!cell.sent(4, 4), "told once");
    }

    #[test]
    fn released_cell_knows_what_was_unsent_and_refuses_the_old_alias() {
        let cell = SendQuota::default();
        let generation = cell.open(100);
        cell.reserve(generation, 60).expect("room");
        assert!(cell.close(generation));
        assert_eq!(cell.reserve(generation, 1), Err(ReserveError::Closing));
        assert_eq!(cell.release(), 60);
        assert!(cell.is_reusable());
        assert_eq!(cell.reserve(generation, 1), Err(ReserveError::Stale));
        assert!(!cell.close(generation));
        assert_eq!(cell.queued(), 0);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_refused_sender_is_always_told() {
        loom::model(|| {
            let cell = Arc::new(SendQuota::default());
            let generation = cell.open(4);
            cell.reserve(generation, 4).expect("empty");
            let sender = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || cell.reserve(generation, 1).is_err())
            };
            let owed = cell.sent(4, 0);
            let refused = sender.join().expect("no panic");
            // Either the refusal came before the drain, which then owes the message, or the send was accepted.
            assert_eq!(refused, owed);
        });
    }

    #[test]
    fn loom_accepted_bytes_are_sent_or_counted_unsent() {
        loom::model(|| {
            let cell = Arc::new(SendQuota::default());
            let generation = cell.open(8);
            let sender = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || usize::from(cell.reserve(generation, 3).is_ok()) * 3)
            };
            let unsent = cell.release();
            assert_eq!(unsent, sender.join().expect("no panic"));
            assert_eq!(cell.queued(), 0, "nothing leaks into the next generation");
        });
    }
}
