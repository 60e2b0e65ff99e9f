//! An append-only table of reused cells: what `Pid` and `Alias` point into.
//!
//! Cells live in chunks that double in size and are never moved or freed while the table lives, so a look-up is two
//! loads without a lock or a reference count. Which cells are in use is the business of the user of the table: a cell
//! keeps its generation, and [`IndexAllocator`] hands out indices.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_queue::SegQueue;

/// Cells of the first chunk: 2^6.
const FIRST_BITS: u32 = 6;
/// Arena: enough for 2^32 cells.
const CHUNKS: usize = (32 - FIRST_BITS) as usize + 1;

/// The table.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
}

impl<T: Default> Arena<T> {
    pub(crate) fn new() -> Self {
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS],
        }
    }

    /// The cell of an index that [`Arena::ensure`] has seen; `None` for any other.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, offset) = locate(index);
        self.chunks[chunk].get().map(|cells| &cells[offset])
    }

    /// The cell of an index, its chunk made if need be.
    pub(crate) fn ensure(&self, index: u32) -> &T {
        let (chunk, offset) = locate(index);
        // One thread makes the chunk, the others wait for it: two of them would be two cells for one index.
        let cells = self.chunks[chunk].get_or_init(|| {
            let length = 1_usize << (FIRST_BITS as usize + chunk.saturating_sub(1));
            std::iter::repeat_with(T::default).take(length).collect()
        });
        &cells[offset]
    }
}

/// Chunk 0 has indices 0..64, chunk n has 2^(5+n) .. 2^(6+n).
#[inline]
fn locate(index: u32) -> (usize, usize) {
    let bits = u32::BITS - index.leading_zeros();
    if bits <= FIRST_BITS {
        return (0, index as usize);
    }
    let chunk = (bits - FIRST_BITS) as usize;
    (chunk, (index - (1 << (bits - 1))) as usize)
}

/// Hands out indices: a freed one before a new one.
#[derive(Debug)]
pub(crate) struct IndexAllocator {
    free: SegQueue<u32>,
    next: AtomicU32,
    limit: u32,
}

impl IndexAllocator {
    pub(crate) fn new(first: u32, limit: u32) -> Self {
        Self {
            free: SegQueue::new(),
            next: AtomicU32::new(first),
            limit,
        }
    }

    /// An index that is not in use; `None` at the limit.
    pub(crate) fn take(&self) -> Option<u32> {
        // The oldest free one: its cell has rested longest, and its memory is there already.
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        // Relaxed: the read-modify-write makes the index unique, and the cell behind it synchronizes by itself.
        // Never above the limit: a counter that ran on would wrap after enough refused attempts.
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (next < self.limit).then_some(next + 1)
            })
            .ok()
    }

    /// Gives an index back.
    pub(crate) fn give(&self, index: u32) {
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_cell_of_its_own() {
        let table: Arena<AtomicU32> = Arena::new();
        for index in 0..5_000 {
            table.ensure(index).store(index + 1, Ordering::Relaxed);
        }
        for index in 0..5_000 {
            assert_eq!(
                table.get(index).expect("ensured").load(Ordering::Relaxed),
                index + 1
            );
        }
        assert!(table.get(1 << 20).is_none());
        assert!(locate(u32::MAX).0 < CHUNKS);
    }

    #[test]
    fn slots_end_at_their_limit_and_come_back() {
        let slots = IndexAllocator::new(1, 3);
        assert_eq!(
            (slots.take(), slots.take(), slots.take()),
            (Some(1), Some(2), None)
        );
        slots.give(1);
        assert_eq!((slots.take(), slots.take()), (Some(1), None));
    }
}
