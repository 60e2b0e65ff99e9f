//! The quota of a connection whose output comes from another connection; transition 6 on the page of the quota.

use super::{ABOVE, BYTES, CLOSING, RELAYED, SendQuota};
use crate::base::sync::atomic::Ordering::Relaxed;

impl SendQuota {
    /// Whether the output comes from another connection.
    pub(crate) fn is_relayed(&self) -> bool {
        self.flags.load(Relaxed) & RELAYED != 0
    }

    /// Refuses every later send but those of [`SendQuota::reserve_relayed`]. `false`: it was closed, or is stale.
    pub(crate) fn begin_relay(&self, generation: u32) -> bool {
        let is_first = self
            .set_closing(generation)
            .is_some_and(|word| word & CLOSING == 0);
        if is_first {
            self.flags.fetch_or(RELAYED, Relaxed);
        }
        is_first
    }

    /// Takes `begin_relay` back, before anything was relayed.
    pub(crate) fn cancel_relay(&self, generation: u32) {
        // The flag first: behind the next step the quota accepts the sends of others again.
        self.flags.fetch_and(!RELAYED, Relaxed);
        let _ = self.word.fetch_update(Relaxed, Relaxed, |word| {
            ((word >> 32) as u32 == generation).then_some(word & !CLOSING)
        });
    }

    /// Accepts `bytes` of the other connection of a relay, whatever is queued. `true`: the output is above its high
    /// mark now. `None`: the alias is stale, or not relayed.
    pub(crate) fn reserve_relayed(&self, generation: u32, bytes: usize) -> Option<bool> {
        if self.flags.load(Relaxed) & RELAYED == 0 {
            return None;
        }
        let high = u64::from(self.high.load(Relaxed));
        let add = |word: u64| {
            let queued = (word & BYTES) + bytes as u64;
            // Beyond this the count would run into the flags: the bytes are dropped and the relay ends.
            let is_current = (word >> 32) as u32 == generation && queued <= BYTES;
            let above = if queued > high { ABOVE } else { 0 };
            is_current.then(|| (word + bytes as u64) | above)
        };
        let before = self.word.fetch_update(Relaxed, Relaxed, add).ok()?;
        add(before).map(|word| word & ABOVE != 0)
    }
}
