//! The TLS handshakes of a listener that wait for their peers, the one that has waited longest first.
//!
//! ```text
//!   accepted ─1─▶ silent ─2─▶ begun ─3─▶ computing ─4─▶ begun … ─5─▶ done
//! ```
//!
//! 1. The first look at the socket found no byte.
//! 2. The first byte is here. Only from now on the handshake takes one of the places that are limited.
//! 3. A step is computed elsewhere: this side is waited for, not the peer.
//! 4. The flight has left, and the peer is waited for again, from now on.
//! 5. The handshake is done.
//!
//! When places run out, those give way that hold one and do nothing: the silent handshake that has waited longest, at
//! once if another connection is known to be there; of those that have begun, the one that has waited longest, after
//! [`STALL_MS`]. A listener that is full cannot know whether a connection waits in its backlog: then a silent handshake
//! has that long as well. A handshake that is asked to give way looks at its socket once, because its peer's bytes may
//! have come meanwhile. Bytes that complete no step are no progress, so that a peer that sends them one by one gains
//! nothing.
//!
//! What it does not do: it counts no time by itself, and knows nothing of sockets.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::Alias;

/// How long the peer of a handshake may take to answer a flight before it gives way to others that may be waiting, in
/// milliseconds: a few round trips to anywhere.
pub(super) const STALL_MS: u64 = 1_000;

/// What a handshake waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    FirstByte,
    Answer,
}

/// The place of a handshake among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) waits_for: WaitsFor,
    /// Grows with each that begins to wait.
    number: u64,
    pub(super) since_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct WaitingHandshakes(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    next: u64,
    silent: BTreeMap<u64, (Alias, u64)>,
    begun: BTreeMap<u64, (Alias, u64)>,
}

impl Lists {
    fn of(&mut self, waits_for: WaitsFor) -> &mut BTreeMap<u64, (Alias, u64)> {
        match waits_for {
            WaitsFor::FirstByte => &mut self.silent,
            WaitsFor::Answer => &mut self.begun,
        }
    }
}

impl WaitingHandshakes {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, waits_for: WaitsFor, alias: Alias, now_ms: u64) -> Waiting {
        let mut lists = self.lists();
        // Numbers and not times order the list, because many handshakes begin in one millisecond.
        let number = lists.next;
        lists.next += 1;
        lists.of(waits_for).insert(number, (alias, now_ms));
        Waiting {
            waits_for,
            number,
            since_ms: now_ms,
        }
    }

    /// Takes its old place again, after a step that was no progress.
    pub(super) fn return_to(&self, place: Waiting, alias: Alias) {
        let mut lists = self.lists();
        lists
            .of(place.waits_for)
            .insert(place.number, (alias, place.since_ms));
    }

    /// It may have been taken out meanwhile.
    pub(super) fn leave(&self, place: Waiting) {
        self.lists().of(place.waits_for).remove(&place.number);
    }

    pub(super) fn silent(&self) -> usize {
        self.lists().silent.len()
    }

    /// Takes out the silent handshake that has waited longest.
    pub(super) fn take_silent(&self) -> Option<Alias> {
        let (_, (alias, _)) = self.lists().silent.pop_first()?;
        Some(alias)
    }

    /// Takes out the handshake that has waited longest for this, if it has stalled.
    ///
    /// # Errors
    ///
    /// The time in milliseconds at which it will have, `None` if none waits.
    pub(super) fn take_stalled(
        &self,
        waits_for: WaitsFor,
        now_ms: u64,
    ) -> Result<Alias, Option<u64>> {
        let mut lists = self.lists();
        // The first has waited longest: if it has not stalled, none has.
        let first = lists.of(waits_for).first_entry().ok_or(None)?;
        let stalls_ms = first.get().1.saturating_add(STALL_MS);
        if now_ms < stalls_ms {
            return Err(Some(stalls_ms));
        }
        Ok(first.remove().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(slot: u32) -> Alias {
        Alias::new(0, slot, 1)
    }

    #[test]
    fn silent_handshakes_give_way_in_the_order_in_which_they_came() {
        let waiting = WaitingHandshakes::default();
        let places: Vec<_> = (0..4)
            .map(|slot| waiting.enter(WaitsFor::FirstByte, alias(slot), 7))
            .collect();
        waiting.leave(places[1]);
        assert_eq!(waiting.silent(), 3);
        assert_eq!(waiting.take_silent(), Some(alias(0)));
        assert_eq!(waiting.take_silent(), Some(alias(2)));
        // One that was taken out leaves without harm to the others.
        waiting.leave(places[0]);
        assert_eq!(waiting.silent(), 1);
        assert_eq!(waiting.take_silent(), Some(alias(3)));
        assert_eq!(waiting.take_silent(), None);
    }

    #[test]
    fn handshake_gives_way_when_its_peer_has_taken_too_long_to_answer() {
        let waiting = WaitingHandshakes::default();
        assert_eq!(waiting.take_stalled(WaitsFor::Answer, u64::MAX), Err(None));
        let first = waiting.enter(WaitsFor::Answer, alias(0), 10);
        waiting.enter(WaitsFor::Answer, alias(1), 20);
        assert_eq!(
            waiting.take_stalled(WaitsFor::Answer, 10 + STALL_MS - 1),
            Err(Some(10 + STALL_MS))
        );
        // A flight has left: its time begins anew, behind the other.
        waiting.leave(first);
        waiting.enter(WaitsFor::Answer, alias(0), 30);
        assert_eq!(
            waiting.take_stalled(WaitsFor::Answer, 20 + STALL_MS),
            Ok(alias(1))
        );
        assert_eq!(
            waiting.take_stalled(WaitsFor::Answer, 20 + STALL_MS),
            Err(Some(30 + STALL_MS))
        );
        assert_eq!(
            waiting.take_stalled(WaitsFor::Answer, 30 + STALL_MS),
            Ok(alias(0))
        );
        assert_eq!(waiting.silent(), 0);
    }
}
