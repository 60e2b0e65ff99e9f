//! How many messages of one subscription have been delivered and not handled: one atomic word, and a second one for
//! bytes.
//!
//! ```text
//!  63         62                    0
//! | draining | unhandled messages    |
//! ```
//!
//! 1. `deliver` (the client, alone): messages + 1, if they are below the limit.
//! 2. `Credit` is dropped (any thread): messages - 1. The drop that finds draining set and itself the last one calls
//!    back.
//! 3. `drain` (the client): draining is set. Returns whether no message is unhandled; otherwise 2 calls back, once.
//!
//! Bad interleaving: `drain` sees one unhandled message, the subscriber drops it before draining is set, and the call
//! never comes. Excluded because count and flag are one word: each step is one read-modify-write of it, so one of the
//! two comes first, and the second sees it. (`loom_the_last_message_of_a_drain_is_never_missed`.)
//!
//! Orderings: the words carry no data besides themselves; the callback's message travels through the mailbox, which
//! synchronizes. So everything is relaxed.

use std::fmt;
use std::sync::Arc;

use crate::base::sync::atomic::{AtomicU64, Ordering::Relaxed};

// The highest bit: the count below it can never reach it, so a drain flag is not taken for a message.
const DRAINING: u64 = 1 << 63;

/// The unhandled messages of one subscription.
pub(super) struct Unhandled {
    word: AtomicU64,
    bytes: AtomicU64,
    /// Called after the last message of a drain was handled.
    drained: Box<dyn Fn() + Send + Sync>,
}

/// One delivered message.
pub(super) struct Credit {
    unhandled: Arc<Unhandled>,
    bytes: u64,
}

impl Unhandled {
    pub(super) fn new(drained: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            word: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            drained: Box::new(drained),
        }
    }

    /// Counts a message, if it fits. One message always does. Called by the client only.
    pub(super) fn deliver(
        this: &Arc<Self>,
        bytes: u64,
        max_messages: u64,
        max_bytes: u64,
    ) -> Option<Credit> {
        let messages = this.messages();
        let is_above = messages >= max_messages || this.bytes.load(Relaxed) + bytes > max_bytes;
        // The first message always passes: a limit of bytes below one message would otherwise deliver nothing for ever.
        if messages > 0 && is_above {
            return None;
        }
        this.word.fetch_add(1, Relaxed);
        this.bytes.fetch_add(bytes, Relaxed);
        Some(Credit {
            unhandled: Arc::clone(this),
            bytes,
        })
    }

    /// Delivered and not handled.
    pub(super) fn messages(&self) -> u64 {
        self.word.load(Relaxed) & !DRAINING
    }

    /// Begins a drain; returns whether nothing is unhandled.
    pub(super) fn drain(&self) -> bool {
        self.word.fetch_or(DRAINING, Relaxed) & !DRAINING == 0
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.unhandled.bytes.fetch_sub(self.bytes, Relaxed);
        if self.unhandled.word.fetch_sub(1, Relaxed) == DRAINING | 1 {
            (self.unhandled.drained)();
        }
    }
}

impl fmt::Debug for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credit")
    }
}

impl fmt::Debug for Unhandled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unhandled({})", self.messages())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_limits_is_refused_until_a_message_is_handled() {
        let unhandled = Arc::new(Unhandled::new(|| {}));
        let first = Unhandled::deliver(&unhandled, 100, 2, 10).expect("one always fits");
        assert!(
            Unhandled::deliver(&unhandled, 1, 2, 10).is_none(),
            "the bytes"
        );
        drop(first);
        let small: Vec<_> = (0..2)
            .map(|_| Unhandled::deliver(&unhandled, 1, 2, 10))
            .collect();
        assert!(small.iter().all(Option::is_some));
        assert!(
            Unhandled::deliver(&unhandled, 1, 2, 10).is_none(),
            "the messages"
        );
        assert_eq!(unhandled.messages(), 2);
        drop(small);
        assert!(unhandled.drain());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::base::sync::atomic::AtomicUsize;

    #[test]
    fn loom_the_last_message_of_a_drain_is_never_missed() {
        loom::model(|| {
            let called = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&called);
            let unhandled = Arc::new(Unhandled::new(move || {
                count.fetch_add(1, Relaxed);
            }));
            let credits: Vec<_> = (0..2)
                .map(|_| Unhandled::deliver(&unhandled, 1, 8, 8).expect("room"))
                .collect();
            let subscriber = loom::thread::spawn(move || drop(credits));
            let at_once = usize::from(unhandled.drain());
            subscriber.join().expect("no panic");
            assert_eq!(at_once + called.load(Relaxed), 1);
        });
    }
}
