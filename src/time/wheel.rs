//! Timers by the thousand: a hierarchical wheel of one millisecond that knows no clock.
//!
//! A deadline is read as a number of eleven digits in base 64. `elapsed` is the time up to which everything has fired.
//!
//! ```text
//!  elapsed    3 . 17 . 40        a timer lies on the level of the first digit that differs
//!  deadline   3 . 17 . 52   ──►  level 0, slot 52: fires when its slot's millisecond is reached
//!  deadline   3 . 18 . 02   ──►  level 1, slot 18: its slot begins at 3.18.00, and there it moves down a level
//!  deadline   5 .  0 . 00   ──►  level 2, slot  5
//! ```
//!
//! The digit of a waiting timer is greater than that of `elapsed` on its level, and the digits above are the same. So
//! every timer of a level comes before every timer of the levels above it, and the first slot to look at is the lowest
//! bit of the lowest level that is not empty: two instructions, however far away it is. Nothing wraps around, and
//! eleven levels hold every `u64`.
//!
//! A timer's life: inserted (1), moved down at most once for each level (2), then fired (3) or canceled (4), and its
//! key is stale. Timers of one deadline lie in one slot and fire in the order of their insertion, because a slot that
//! moves down keeps its order and everything below it is empty then.
//!
//! What it does not do: it does not read a clock, wake a thread, or call anything. [`Wheel::advance`] hands over what
//! is due.

use std::fmt;
use std::num::NonZeroU32;

use slab::Slab;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
// Eleven, so that every u64 has its place and no list of far timers is needed.
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;
/// The most timers that are looked at for the first deadline.
/// A look at more would cost each turn of the poll; a few are enough for the deadlines of an idle program.
const EXACT_MAX: usize = 4;
/// No entry: a list that is empty.
/// An index that a slab cannot give out: `insert` refuses it.
const NONE: u32 = u32::MAX;

/// Names one timer that was inserted, for canceling it.
///
/// It becomes stale when the timer fires or is canceled. A stale key could be taken for a fresh one only after 2³² - 1
/// more insertions, the last of them in the same place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerKey {
    index: u32,
    stamp: NonZeroU32,
}

/// One timer. Entries of a slot form a ring: the first one's `prev` is the last.
struct WheelEntry<T> {
    deadline_ms: u64,
    prev: u32,
    next: u32,
    stamp: NonZeroU32,
    place: SlotIndex,
    item: T,
}

/// A slot of a level, as one number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct SlotIndex(u16);

impl SlotIndex {
    const COUNT: usize = LEVELS * SLOTS;

    fn new(level: usize, slot: usize) -> Self {
        Self((level * SLOTS + slot) as u16) // at most COUNT
    }

    /// Finds where a deadline belongs that is not before `elapsed_ms`.
    fn of(deadline_ms: u64, elapsed_ms: u64) -> Self {
        // The highest digit in which both differ. The one that is set covers equal times, whose level is 0.
        let level = ((deadline_ms ^ elapsed_ms) | 1).ilog2() / DIGIT_BITS;
        let slot = (deadline_ms >> (level * DIGIT_BITS)) as usize % SLOTS;
        Self::new(level as usize, slot)
    }

    fn level(self) -> usize {
        usize::from(self.0) / SLOTS
    }

    fn slot(self) -> usize {
        usize::from(self.0) % SLOTS
    }

    /// The first millisecond of this place.
    fn start_ms(self, elapsed_ms: u64) -> u64 {
        let shift = self.level() as u32 * DIGIT_BITS;
        // On the last level the shift is 66 bits, which is all of the number: nothing is above.
        let above = elapsed_ms.checked_shr(shift + DIGIT_BITS).unwrap_or(0);
        let above = above.checked_shl(shift + DIGIT_BITS).unwrap_or(0);
        above | (self.slot() as u64) << shift
    }
}

/// Holds timers with an item each, ordered by deadline. Times are milliseconds since whatever the caller likes.
///
/// It takes 3 KiB, and 24 bytes and the item for each timer at its busiest: memory is kept for the next ones.
pub(crate) struct Wheel<T> {
    entries: Slab<WheelEntry<T>>,
    /// The first entry of each place.
    heads: Box<[u32; SlotIndex::COUNT]>,
    /// A bit for each slot of a level that is not empty.
    occupied: [u64; LEVELS],
    /// A bit for each level that is not empty.
    levels: u16,
    elapsed_ms: u64,
    last_stamp: u32,
}

impl<T> Wheel<T> {
    /// Creates a wheel at time 0.
    pub(crate) fn new() -> Self {
        Self {
            entries: Slab::new(),
            heads: Box::new([NONE; SlotIndex::COUNT]),
            occupied: [0; LEVELS],
            levels: 0,
            elapsed_ms: 0,
            last_stamp: 0,
        }
    }

    /// Counts the timers that wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Inserts a timer. A deadline that has passed counts as the time of the last [`advance`](Self::advance): it is due
    /// at the next one.
    pub(crate) fn insert(&mut self, deadline_ms: u64, item: T) -> TimerKey {
        // A past deadline would have a digit below that of `elapsed`, and its slot would not be looked at again.
        let deadline_ms = deadline_ms.max(self.elapsed_ms);
        let place = SlotIndex::of(deadline_ms, self.elapsed_ms);
        // A stamp of its own, because the slab gives a place out again at once.
        let stamp = self.next_stamp();
        let entry = WheelEntry {
            deadline_ms,
            prev: NONE,
            next: NONE,
            stamp,
            place,
            item,
        };
        let index = u32::try_from(self.entries.insert(entry))
            .ok()
            .filter(|index| *index != NONE);
        // Four billion timers are more than fit into memory.
        let index = index.expect("there are fewer than u32::MAX timers");
        self.link(index, place);
        TimerKey { index, stamp }
    }

    /// Takes a timer back before it fires. A key that is stale gives nothing.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self
            .entries
            .get(key.index as usize)
            .filter(|entry| entry.stamp == key.stamp)?;
        let (prev, next, place) = (entry.prev, entry.next, entry.place);
        if next == key.index {
            self.clear(place);
        } else {
            self.entries[prev as usize].next = next;
            self.entries[next as usize].prev = prev;
            let head = &mut self.heads[usize::from(place.0)];
            if *head == key.index {
                *head = next;
            }
        }
        Some(self.entries.remove(key.index as usize).item)
    }

    /// Whether the timer waits.
    pub(crate) fn contains(&self, key: TimerKey) -> bool {
        let entry = self.entries.get(key.index as usize);
        entry.is_some_and(|entry| entry.stamp == key.stamp)
    }

    /// Shows the deadline and the item of each timer that lies in `places` places of memory from `first` on, in no
    /// order. Returns where the next look begins, `None` behind the last place.
    pub(crate) fn look(
        &self,
        first: usize,
        places: usize,
        mut show: impl FnMut(u64, &T),
    ) -> Option<usize> {
        let end = first.saturating_add(places).min(self.entries.capacity());
        for index in first..end {
            if let Some(entry) = self.entries.get(index) {
                show(entry.deadline_ms, &entry.item);
            }
        }
        (end < self.entries.capacity()).then_some(end)
    }

    /// Says when [`advance`](Self::advance) has something to do; never later than the first deadline.
    ///
    /// It is the first deadline itself if its slot holds few timers, as it does in an idle program. Else it may be
    /// earlier, where they move down a level, so that a sleeper wakes up once for each level at most.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let place = self.first_place()?;
        let first = self.heads[usize::from(place.0)];
        let mut earliest_ms = u64::MAX;
        let mut index = first;
        // On each turn of the poll, so that a full slot must not be walked to its end.
        for _ in 0..EXACT_MAX {
            let entry = &self.entries[index as usize];
            earliest_ms = earliest_ms.min(entry.deadline_ms);
            index = entry.next;
            if index == first {
                return Some(earliest_ms);
            }
        }
        Some(place.start_ms(self.elapsed_ms))
    }

    /// Appends to `expired` the items of all timers whose deadline is not after `now_ms`, in the order of their
    /// deadlines, and among equal ones in that of their insertion.
    ///
    /// Costs a step for each timer that fires or moves down, whatever the distance. A time before the last one does
    /// nothing.
    pub(crate) fn advance(&mut self, now_ms: u64, expired: &mut Vec<T>) {
        while let Some(place) = self.first_place() {
            let start_ms = place.start_ms(self.elapsed_ms);
            if start_ms > now_ms {
                break;
            }
            // Before entries move down: their new places are counted from here.
            self.elapsed_ms = start_ms;
            let first = self.clear(place);
            match place.level() {
                0 => self.fire_slot(first, expired),
                _ => self.move_down(first),
            }
        }
        // Also where nothing was due: places of later timers are counted from here.
        self.elapsed_ms = self.elapsed_ms.max(now_ms);
    }

    /// Fires the entries of a ring that was taken out of its place.
    fn fire_slot(&mut self, first: u32, expired: &mut Vec<T>) {
        let mut index = first;
        loop {
            // Removed one by one, so that a timer that is due has no key any more when it is handled.
            let entry = self.entries.remove(index as usize);
            debug_assert!(
                entry.deadline_ms == self.elapsed_ms,
                "a slot of level 0 is one millisecond"
            );
            expired.push(entry.item);
            if entry.next == first {
                return;
            }
            index = entry.next;
        }
    }

    /// Puts the entries of a ring that was taken out of its place where they belong now.
    fn move_down(&mut self, first: u32) {
        let mut index = first;
        loop {
            // The next one is read first: linking overwrites it.
            let entry = &mut self.entries[index as usize];
            let next = entry.next;
            let place = SlotIndex::of(entry.deadline_ms, self.elapsed_ms);
            debug_assert!(
                place.level() < entry.place.level(),
                "a timer that moves gets closer"
            );
            entry.place = place;
            self.link(index, place);
            if next == first {
                return;
            }
            index = next;
        }
    }

    /// Appends an entry to the ring of its place.
    fn link(&mut self, index: u32, place: SlotIndex) {
        let head = &mut self.heads[usize::from(place.0)];
        if *head == NONE {
            *head = index;
            self.occupied[place.level()] |= 1 << place.slot();
            self.levels |= 1 << place.level();
            let entry = &mut self.entries[index as usize];
            (entry.prev, entry.next) = (index, index);
            return;
        }
        let first = *head;
        let last = std::mem::replace(&mut self.entries[first as usize].prev, index);
        self.entries[last as usize].next = index;
        let entry = &mut self.entries[index as usize];
        (entry.prev, entry.next) = (last, first);
    }

    /// Makes a place empty and gives the first entry that it had.
    fn clear(&mut self, place: SlotIndex) -> u32 {
        let occupied = &mut self.occupied[place.level()];
        *occupied &= !(1 << place.slot());
        if *occupied == 0 {
            self.levels &= !(1 << place.level());
        }
        std::mem::replace(&mut self.heads[usize::from(place.0)], NONE)
    }

    fn first_place(&self) -> Option<SlotIndex> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        Some(SlotIndex::new(
            level,
            self.occupied[level].trailing_zeros() as usize,
        ))
    }

    fn next_stamp(&mut self) -> NonZeroU32 {
        // Zero is left out, so that a key with a stamp fits where it may be missing.
        let stamp = NonZeroU32::new(self.last_stamp.wrapping_add(1)).unwrap_or(NonZeroU32::MIN);
        self.last_stamp = stamp.get();
        stamp
    }
}

impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("elapsed_ms", &self.elapsed_ms)
            .field("len", &self.len())
            .field("next_deadline", &self.next_deadline())
            .finish()
    }
}

#[cfg(test)]
mod tests;
