//! The send quota: the sender's side of one meta-process, one atomic word.
//!
//! ```text
//!  63            32   31      30     29                0
//! | generation      | above | closing | queued bytes    |
//! ```
//!
//! - *generation*: must equal the alias's, else the alias is stale;
//! - *above*: the output has risen above its high mark, or a send was refused, and it has not fallen to the low mark
//!   since. The owner is owed a `MessageTcpWritable`, and gets no further input of the connection until then;
//! - *closing*: no further send is accepted;
//! - *queued bytes*: accepted by a send and not yet given to the operating system, wherever they are.
//!
//! Transitions, each one read-modify-write of the word:
//!
//! 1. `reserve` and `reserve_write` (any thread): queued += n if the generation fits, closing is not set and there is
//!    room. `reserve` wants room for the whole message; `reserve_write` wants that what waits before it is below the
//!    limit, so that one large write passes. If the sum lies above the high mark, above is set in the same step.
//! 2. Refused for lack of room: above is set. Bad interleaving: the sender sees the cell full, the stripe drains it and
//!    finds above clear, the sender sets above, and no Writable ever comes. Excluded because the refusal is the
//!    compare-and-swap of the very value that was found full: if the stripe drained in between, it fails and the sender
//!    looks again. (`loom_refused_sender_is_always_notified`.) The same holds for a sender that gets "above the high
//!    mark": above is set by the step that accepts its bytes, and these bytes are still queued in that step, so a later
//!    `sent` finds both (`loom_write_above_the_high_mark_is_followed_by_a_writable`).
//! 3. `sent` (the stripe): queued -= n; if above is set and queued is at the low mark or below, above is cleared and
//!    the caller owes the message.
//! 4. `close` (any thread): closing is set. `overflow` is a close that reports whether it was the first.
//! 5. `take_above` (the stripe): above is cleared, because the connection is closing and nothing bounds its input any
//!    more.
//! 6. `begin_relay` (the owner): closing is set, so that no other send is accepted, and the flag *relayed* lets the
//!    stripe of the partner go on with `reserve_relayed`, which ignores closing and the limit. A partner stops when its
//!    step has found above set, and goes on after the `sent` that clears it; see 2.
//! 7. `lose` (the stripe): the flag *down* and then closing are set, and stay until `reopen` (the owner's worker, when it
//!    takes the next Connect) clears closing and then *down*. Bad interleaving: a sender finds closing, the connection is
//!    opened again, and the sender finds *down* cleared: it would take the connection for closed. Excluded because it
//!    looks at the word once more behind the flag (`loom_sender_beside_a_reconnect_is_never_given_closed`). What is queued then is what was accepted and will not be sent; the stripe counts it down as it discards
//!    it.
//! 8. `release` (the stripe): generation + 1 and everything else zero; what was queued is returned, and is exactly what
//!    was accepted and not sent. Accepted means the compare-and-swap of 1 came before this one: it cannot be lost
//!    twice.
//!
//! Orderings: the word carries no data besides itself; the message travels through the command queue, which
//! synchronizes. So everything here is relaxed but for `release`/`reserve` of a reused cell, whose limits are written
//! before the alias is published by the thread that allocated it.

mod options;
mod relayed;

pub(crate) use options::QuotaOptions;

use crate::base::sync::atomic::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed, fence};
use crate::id::Pid;

// The flags lie above the count and below the generation, so that one comparison of the whole word covers all three.
const ABOVE: u64 = 1 << 31;
const CLOSING: u64 = 1 << 30;
const BYTES: u64 = CLOSING - 1;

/// The largest output limit, and the largest single write, in bytes: 2^29 - 1. Their sum fits the word.
pub(crate) const MAX_LIMIT: u32 = (1 << 29) - 1;

const CLOSES_ON_OVERFLOW: u32 = 1;
const READS_ABOVE_HIGH: u32 = 2;
/// The connection has had its Connect.
const ESTABLISHED: u32 = 4;
/// Its output comes from another connection.
const RELAYED: u32 = 8;
/// It uses TLS, or its owner has asked for that.
const SECURED: u32 = 16;
/// It is lost and will be made anew: nothing is accepted until its owner has the next Connect.
const DOWN: u32 = 32;
/// From this bit on: the number of the attempt of a client connection.
const ATTEMPT: u32 = 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct SendQuota {
    word: AtomicU64,
    limit: AtomicU32,
    high: AtomicU32,
    flags: AtomicU32,
    /// Sends that were refused for lack of room; for inspection.
    refused: AtomicU32,
    /// Bytes of writes that were not accepted.
    refused_bytes: AtomicU64,
    /// The process that gets the Writable.
    owner: AtomicU64,
}

/// Why [`SendQuota::reserve`] refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReserveError {
    Stale,
    Closing,
    /// It is closing until the connection has been made anew.
    Down,
    Full,
    TooLarge,
}

impl Default for SendQuota {
    fn default() -> Self {
        Self {
            // The first generation is 1, so that the word of an alias is never zero.
            word: AtomicU64::new(1 << 32),
            limit: AtomicU32::new(0),
            high: AtomicU32::new(u32::MAX),
            flags: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            refused_bytes: AtomicU64::new(0),
            owner: AtomicU64::new(0),
        }
    }
}

impl SendQuota {
    /// The generation that an alias to this cell must have now.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        (self.word.load(Relaxed) >> 32) as u32
    }

    /// Opens the cell for a new meta-process; called by the thread that allocated its slot.
    pub(crate) fn open(&self, options: QuotaOptions, owner: Pid) -> u32 {
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        // A larger limit and one write on top of it would run into the flags.
        self.limit.store(options.limit.min(MAX_LIMIT), Relaxed);
        self.high.store(options.high, Relaxed);
        self.flags.store(
            flag(options.closes_on_overflow, CLOSES_ON_OVERFLOW)
                | flag(options.reads_above_high, READS_ABOVE_HIGH),
            Relaxed,
        );
        self.refused.store(0, Relaxed);
        self.refused_bytes.store(0, Relaxed);
        self.set_owner(owner);
        self.generation()
    }

    /// Sets the process that gets the Writable.
    pub(crate) fn set_owner(&self, owner: Pid) {
        self.owner.store(owner.to_bits(), Relaxed);
    }

    /// The owner, if it is another one: an order to hand the connection over is on its way.
    pub(crate) fn other_owner(&self, pid: Pid) -> Option<Pid> {
        let owner = self.owner.load(Relaxed);
        (owner != pid.to_bits()).then(|| Pid::from_bits(owner))
    }

    pub(crate) fn is_owner(&self, pid: Pid) -> bool {
        self.owner.load(Relaxed) == pid.to_bits()
    }

    /// Notes that the connection has had its Connect.
    pub(crate) fn set_established(&self) {
        self.flags.fetch_or(ESTABLISHED, Relaxed);
    }

    /// Whether the connection has had its Connect.
    pub(crate) fn is_established(&self) -> bool {
        self.flags.load(Relaxed) & ESTABLISHED != 0
    }

    /// Notes that the connection uses TLS. Returns whether it did not before.
    pub(crate) fn set_secured(&self) -> bool {
        self.flags.fetch_or(SECURED, Relaxed) & SECURED == 0
    }

    /// Whether an alias of that generation is valid and no further send is accepted.
    pub(crate) fn is_closing(&self, generation: u32) -> bool {
        let word = self.word.load(Relaxed);
        word & CLOSING != 0 && (word >> 32) as u32 == generation
    }

    /// The connection is lost and will be made anew. Refuses every later send, until [`SendQuota::reopen`]. Returns the
    /// bytes that were accepted and will not be sent.
    pub(crate) fn lose(&self, generation: u32) -> usize {
        // These belong to the connection that is lost: the next one has a Connect of its own and begins in plain text.
        let lose = |flags: u32| Some((flags | DOWN) & !(ESTABLISHED | SECURED));
        let _ = self.flags.fetch_update(Relaxed, Relaxed, lose);
        // Pairs with `why_closing`: a sender that finds closing finds down as well.
        fence(Ordering::Release);
        let word = self.set_closing(generation).unwrap_or_default();
        (word & BYTES) as usize
    }

    /// Whether the connection is lost, and its owner does not have the next Connect yet.
    pub(crate) fn is_down(&self) -> bool {
        self.flags.load(Relaxed) & DOWN != 0
    }

    /// The owner has the Connect of a connection that was lost: sends are accepted again.
    pub(crate) fn reopen(&self, generation: u32) {
        if !self.is_current(generation) {
            return;
        }
        let _ = self.word.fetch_update(Relaxed, Relaxed, |word| {
            // The alias may have ended while the Connect waited in the mailbox of its owner.
            ((word >> 32) as u32 == generation).then_some(word & !CLOSING)
        });
        // Pairs with `why_closing`: a sender that finds down cleared finds closing cleared as well.
        fence(Ordering::Release);
        self.flags.fetch_and(!DOWN, Relaxed);
    }

    /// Sets the number of the attempt that begins; the upper eight of its 32 bits are lost.
    pub(crate) fn set_attempt(&self, number: u32) {
        let set = |flags: u32| Some((flags & ((1 << ATTEMPT) - 1)) | number << ATTEMPT);
        let _ = self.flags.fetch_update(Relaxed, Relaxed, set);
    }

    /// The number of the attempt; 0 for a connection that was accepted.
    pub(crate) fn attempt(&self) -> u32 {
        self.flags.load(Relaxed) >> ATTEMPT
    }

    /// Whether a write that does not fit closes the connection.
    pub(crate) fn closes_on_overflow(&self) -> bool {
        self.flags.load(Relaxed) & CLOSES_ON_OVERFLOW != 0
    }

    /// Whether an alias of that generation is still valid.
    #[inline]
    pub(crate) fn is_current(&self, generation: u32) -> bool {
        self.generation() == generation
    }

    /// Whether the output of that generation is above its high mark.
    pub(crate) fn is_above(&self, generation: u32) -> bool {
        let word = self.word.load(Relaxed);
        word & ABOVE != 0 && (word >> 32) as u32 == generation
    }

    /// Whether the owner gets no more input of the connection, because its output is above the high mark.
    #[inline]
    pub(crate) fn holds_input(&self, generation: u32) -> bool {
        let word = self.word.load(Relaxed);
        word & ABOVE != 0
            && (word >> 32) as u32 == generation
            && self.flags.load(Relaxed) & READS_ABOVE_HIGH == 0
    }

    /// Accepts `bytes` more if all of them fit, or says why not.
    #[inline]
    pub(crate) fn reserve(&self, generation: u32, bytes: usize) -> Result<(), ReserveError> {
        // The usual case is inline. Everything else stays out of line, so that a send of a small message is a few
        // instructions.
        if self.accept_below_marks(generation, bytes) {
            return Ok(());
        }
        self.reserve_exactly(generation, bytes)
    }

    #[inline(never)]
    fn reserve_exactly(&self, generation: u32, bytes: usize) -> Result<(), ReserveError> {
        let limit = u64::from(self.limit.load(Relaxed));
        // Not `Full`: a Writable would not help, because the message never fits.
        if bytes as u64 > limit {
            return Err(self.refuse_too_large(generation));
        }
        self.accept(generation, bytes as u64, limit - bytes as u64)
            .map(|_| ())
    }

    /// Accepts `bytes` more if what waits before them is below the limit, or says why not. `true`: the output is above
    /// its high mark now, and a Writable will come.
    #[inline]
    pub(crate) fn reserve_write(
        &self,
        generation: u32,
        bytes: usize,
    ) -> Result<bool, ReserveError> {
        if self.accept_below_marks(generation, bytes) {
            return Ok(false);
        }
        self.reserve_write_exactly(generation, bytes)
    }

    #[inline(never)]
    fn reserve_write_exactly(&self, generation: u32, bytes: usize) -> Result<bool, ReserveError> {
        let limit = u64::from(self.limit.load(Relaxed));
        // A single write beyond this would carry out of the count into the flags.
        if bytes > MAX_LIMIT as usize {
            return Err(self.refuse_too_large(generation));
        }
        // A limit of 0 refuses the empty output too.
        match limit.checked_sub(1) {
            Some(most) => self.accept(generation, bytes as u64, most),
            None if self.is_current(generation) => Err(ReserveError::Full),
            None => Err(ReserveError::Stale),
        }
    }

    /// Transition 1 in the usual case: the generation fits, neither above nor closing is set, and the sum stays below
    /// the limit and the high mark. Returns `false`, having done nothing, in every other case.
    #[inline]
    pub(super) fn accept_below_marks(&self, generation: u32, bytes: usize) -> bool {
        // Below both marks a send changes nothing but the count, so one exchange does.
        let below = self.limit.load(Relaxed).min(self.high.load(Relaxed));
        let Some(room) = u64::from(below).checked_sub(bytes as u64) else {
            return false;
        };
        let word = self.word.load(Relaxed);
        // With another generation, or with one of the bits, this is larger than every number of bytes.
        let queued = word ^ u64::from(generation) << 32;
        let next = word.wrapping_add(bytes as u64);
        // The strong exchange, because a spurious failure would send the usual case the long way. A race that is lost
        // goes there, which looks again.
        queued < room
            && self
                .word
                .compare_exchange(word, next, Relaxed, Relaxed)
                .is_ok()
    }

    /// Accepts `bytes` if at most `most` bytes are queued.
    fn accept(&self, generation: u32, bytes: u64, most: u64) -> Result<bool, ReserveError> {
        let high = u64::from(self.high.load(Relaxed));
        let mut word = self.word.load(Relaxed);
        loop {
            // Before the flags: with another generation they say something about another connection.
            if (word >> 32) as u32 != generation {
                return Err(ReserveError::Stale);
            }
            // Before the room: a connection that closes has none again, and its sender must not wait for a Writable.
            if word & CLOSING != 0 {
                word = self.why_closing(generation)?;
                continue;
            }
            let full = word & BYTES > most;
            // Being refused is a step on the word as well; see transition 2 for the interleaving that this excludes.
            let mut next = if full { word | ABOVE } else { word + bytes };
            if next & BYTES > high {
                next |= ABOVE;
            }
            match self
                .word
                .compare_exchange_weak(word, next, Relaxed, Relaxed)
            {
                Ok(_) if full => {
                    self.refused.fetch_add(1, Relaxed);
                    return Err(ReserveError::Full);
                }
                Ok(_) => return Ok(next & ABOVE != 0),
                Err(now) => word = now,
            }
        }
    }

    /// The error of a word that had closing set. `Ok`: the word, in which it is not set any more.
    #[cold]
    fn why_closing(&self, generation: u32) -> Result<u64, ReserveError> {
        // Pairs with `lose`: the word that had closing set is read, and the flag behind it.
        fence(Ordering::Acquire);
        let is_down = self.is_down();
        // Pairs with `reopen`: the word is not read before the flag.
        fence(Ordering::Acquire);
        let word = self.word.load(Relaxed);
        if (word >> 32) as u32 != generation {
            // The flag may be that of another connection.
            Err(ReserveError::Stale)
        } else if word & CLOSING == 0 {
            Ok(word)
        } else if is_down {
            Err(ReserveError::Down)
        } else {
            Err(ReserveError::Closing)
        }
    }

    #[cold]
    fn refuse_too_large(&self, generation: u32) -> ReserveError {
        let word = self.word.load(Relaxed);
        if (word >> 32) as u32 != generation {
            return ReserveError::Stale;
        }
        if word & CLOSING != 0
            && let Err(error) = self.why_closing(generation)
        {
            return error;
        }
        self.refused.fetch_add(1, Relaxed);
        ReserveError::TooLarge
    }

    /// `bytes` have been given to the operating system. `true`: the owner is owed a `MessageTcpWritable`.
    #[inline]
    pub(crate) fn sent(&self, bytes: usize, low: u32) -> bool {
        let mut word = self.word.load(Relaxed);
        loop {
            debug_assert!(word & BYTES >= bytes as u64, "sent more than was accepted");
            let mut next = word - bytes as u64;
            // At the low mark and not at the first free byte, which would be a Writable for each flush.
            let owed = next & ABOVE != 0 && next & BYTES <= u64::from(low);
            if owed {
                next &= !ABOVE;
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
        self.set_closing(generation).is_some()
    }

    /// Closes because a write did not fit. `true`: this call was the first to close it.
    pub(crate) fn overflow(&self, generation: u32) -> bool {
        self.set_closing(generation)
            .is_some_and(|word| word & CLOSING == 0)
    }

    fn set_closing(&self, generation: u32) -> Option<u64> {
        self.word
            .fetch_update(Relaxed, Relaxed, |word| {
                ((word >> 32) as u32 == generation).then_some(word | CLOSING)
            })
            .ok()
    }

    /// Clears above: the connection is closing. Returns whether it was set.
    pub(crate) fn take_above(&self) -> bool {
        self.word.fetch_and(!ABOVE, Relaxed) & ABOVE != 0
    }

    /// Counts the bytes of a write that was not accepted.
    pub(crate) fn count_refused(&self, bytes: usize) {
        self.refused_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes of writes that were not accepted since the cell was opened.
    pub(crate) fn refused_bytes(&self) -> u64 {
        self.refused_bytes.load(Relaxed)
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
            // This cannot overflow: a cell that has reached the last generation is not reused.
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
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
