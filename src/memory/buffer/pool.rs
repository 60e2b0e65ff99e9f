//! The pool that buffers come from and return to: a free list for each class of size, each with a bound.
//!
//! ```text
//!  BufferPool ──► SizeClasses ──► [64 B] [256 B] [1 KiB] [4 KiB] [16 KiB] [64 KiB + 64 B]      a bounded queue each
//!                    ▲ get: pop          put back on drop: push, or free when the list is full
//!                    └── every buffer that is out holds one reference, none of those in a list does
//! ```
//!
//! The reference that a buffer holds leads to its pool and is the count of the buffers that are out, so counting costs
//! nothing. A get and a drop are four read-modify-writes: the queue and the reference, twice.
//!
//! What it does not do: no timer empties the lists; [`BufferPool::RETAINED_MAX_BYTES`] is what an idle pool can hold
//! for ever.

use std::fmt;
use std::sync::Arc;

use super::{Buffer, Storage};
use crate::memory::free_list::FreeList;

/// A class of size: how many bytes its buffers hold, and how many unused ones are kept.
struct Class {
    capacity: usize,
    retained_max: usize,
}

const CLASSES: usize = 6;

/// Classes are a factor of four apart: a buffer wastes three quarters at worst, a growing one moves seldom, and few
/// lists keep their memory in the cache of the processor. The last has 64 bytes more than 64 KiB, so that a read for
/// the largest datagram (65,535 bytes) still has a byte to spare that shows a longer one. The lists of small buffers
/// hold a burst of one message for each of a few thousand connections.
const CLASS: [Class; CLASSES] = [
    Class {
        capacity: 64,
        retained_max: 4096,
    },
    Class {
        capacity: 256,
        retained_max: 4096,
    },
    Class {
        capacity: 1024,
        retained_max: 2048,
    },
    Class {
        capacity: 4096,
        retained_max: 512,
    },
    Class {
        capacity: 16 * 1024,
        retained_max: 128,
    },
    Class {
        capacity: 64 * 1024 + 64,
        retained_max: 64,
    },
];

/// Finds the class of the smallest buffers that hold `capacity` bytes; beyond the largest class there is none.
#[inline]
fn class_for(capacity: usize) -> Option<usize> {
    if capacity > CLASS[CLASSES - 1].capacity {
        return None;
    }
    // 0..=64 has its highest bit below 6, 65..=256 below 8, and so on: two bits for each class.
    let highest = (capacity.saturating_sub(1) | 63).ilog2() as usize;
    Some(((highest - 4) / 2).min(CLASSES - 1))
}

/// A free list for each class.
pub(super) struct SizeClasses([FreeList<Box<Storage>>; CLASSES]);

impl SizeClasses {
    fn new() -> Self {
        Self(
            CLASS
                .each_ref()
                .map(|class| FreeList::new(class.retained_max)),
        )
    }

    /// Gives an empty buffer with room for `capacity` bytes that comes back here when it is dropped.
    pub(super) fn take(self: &Arc<Self>, capacity: usize) -> Buffer {
        Buffer(Some(self.take_storage(capacity)))
    }

    /// Gives a buffer with a copy of `bytes`, as [`SizeClasses::take`] does.
    fn take_copy(self: &Arc<Self>, bytes: &[u8]) -> Buffer {
        let mut storage = self.take_storage(bytes.len());
        storage.bytes[..bytes.len()].copy_from_slice(bytes);
        storage.end = bytes.len() as u32; // fits: the storage holds at most u32::MAX bytes
        Buffer(Some(storage))
    }

    #[inline]
    fn take_storage(self: &Arc<Self>, capacity: usize) -> Box<Storage> {
        let home = Some(Arc::clone(self));
        // Larger than every class: allocated for this buffer, freed with it, and counted as the others by its
        // reference.
        let Some(class) = class_for(capacity) else {
            return Storage::new(capacity, home);
        };
        match self.0[class].take() {
            Some(mut storage) => {
                // Set again, because a buffer in a list holds no reference: the count of references is that of the
                // buffers in use.
                storage.home = home;
                storage
            }
            None => Storage::new(CLASS[class].capacity, home),
        }
    }

    /// Puts memory into the list of its class. What belongs to no class, or finds its list full, is freed.
    #[inline]
    pub(super) fn give(&self, mut storage: Box<Storage>) {
        let Some(class) = class_for(storage.bytes.len()) else {
            return;
        };
        // What has another size was made for one buffer, or came from a vector.
        if storage.bytes.len() == CLASS[class].capacity {
            (storage.start, storage.end) = (0, 0);
            self.0[class].put(storage);
        }
    }
}

/// Lends buffers and takes them back when they are dropped, so that passing bytes on allocates nothing.
///
/// A clone is another handle to the same pool. Buffers outlive their pool safely: what returns after the last handle is
/// gone is freed with the last buffer.
///
/// There are six classes of size: 64 B, 256 B, 1 KiB, 4 KiB, 16 KiB and 64 KiB + 64 B. A pool retains at most 4096,
/// 4096, 2048, 512, 128 and 64 unused buffers of them, together [`RETAINED_MAX_BYTES`](Self::RETAINED_MAX_BYTES), and
/// frees what comes back beyond that.
///
/// ```
/// use longshore::BufferPool;
///
/// let pool = BufferPool::new();
/// let buffer = pool.copy_from_slice(b"hello");
/// assert_eq!(pool.outstanding(), 1);
/// drop(buffer);
/// assert_eq!((pool.outstanding(), pool.retained_bytes()), (0, 64));
/// ```
#[derive(Clone)]
pub struct BufferPool {
    handle: Arc<Handle>,
}

/// What all handles to a pool share, so that the free lists are referred to by this and the buffers only.
struct Handle {
    size_classes: Arc<SizeClasses>,
}

impl BufferPool {
    /// The bytes that a pool holds at most while none of its buffers is in use: 11.25 MiB and 4 KiB.
    ///
    /// Bookkeeping comes on top, 48 bytes for a buffer and 16 for its place in the free list.
    pub const RETAINED_MAX_BYTES: usize = {
        let mut sum = 0;
        let mut class = 0;
        while class < CLASSES {
            sum += CLASS[class].capacity * CLASS[class].retained_max;
            class += 1;
        }
        sum
    };

    /// Creates a pool that holds nothing yet.
    ///
    /// ```
    /// assert_eq!(longshore::BufferPool::new().retained_bytes(), 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            handle: Arc::new(Handle {
                size_classes: Arc::new(SizeClasses::new()),
            }),
        }
    }

    /// Gives an empty buffer with room for at least `capacity` bytes.
    ///
    /// Beyond the largest class (64 KiB + 64 B) the memory is allocated for this buffer alone and freed with it.
    ///
    /// # Panics
    ///
    /// If `capacity` is beyond `u32::MAX`.
    ///
    /// ```
    /// let buffer = longshore::BufferPool::new().get(300);
    /// assert_eq!((buffer.len(), buffer.capacity()), (0, 1024));
    /// ```
    #[must_use]
    #[inline]
    pub fn get(&self, capacity: usize) -> Buffer {
        self.handle.size_classes.take(capacity)
    }

    /// Gives a buffer with a copy of `bytes`. For no bytes it takes no memory.
    ///
    /// # Panics
    ///
    /// If there are more than `u32::MAX` bytes.
    ///
    /// ```
    /// assert_eq!(longshore::BufferPool::new().copy_from_slice(b"abc"), "abc");
    /// ```
    #[must_use]
    pub fn copy_from_slice(&self, bytes: &[u8]) -> Buffer {
        if bytes.is_empty() {
            return Buffer::new();
        }
        self.handle.size_classes.take_copy(bytes)
    }

    /// Returns whether that buffer's memory returns here.
    #[inline]
    pub(crate) fn is_home_of(&self, buffer: &Buffer) -> bool {
        let home = buffer.0.as_ref().and_then(|storage| storage.home.as_ref());
        home.is_some_and(|home| Arc::ptr_eq(home, &self.handle.size_classes))
    }

    /// Counts the buffers of this pool that are in use, large ones included.
    ///
    /// ```
    /// let pool = longshore::BufferPool::new();
    /// let (_one, _two) = (pool.get(1), pool.get(100_000));
    /// assert_eq!(pool.outstanding(), 2);
    /// ```
    #[must_use]
    pub fn outstanding(&self) -> usize {
        Arc::strong_count(&self.handle.size_classes) - 1 // the handles' own
    }

    /// Sums up the memory of the buffers that wait to be used again, in bytes.
    ///
    /// ```
    /// let pool = longshore::BufferPool::new();
    /// drop(pool.get(1024));
    /// assert_eq!(pool.retained_bytes(), 1024);
    /// ```
    #[must_use]
    pub fn retained_bytes(&self) -> usize {
        let size_classes = self.handle.size_classes.0.iter().zip(&CLASS);
        size_classes
            .map(|(list, class)| list.len() * class.capacity)
            .sum()
    }
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("outstanding", &self.outstanding())
            .field("retained_bytes", &self.retained_bytes())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capacity_gets_the_smallest_class_that_holds_it() {
        for capacity in 0..=CLASS[CLASSES - 1].capacity {
            let smallest = CLASS.iter().position(|class| class.capacity >= capacity);
            assert_eq!(class_for(capacity), smallest, "capacity {capacity}");
        }
        assert_eq!(class_for(CLASS[CLASSES - 1].capacity + 1), None);
        assert_eq!(class_for(usize::MAX), None);
    }

    #[test]
    fn largest_datagram_and_one_byte_more_fit_a_class() {
        let pool = BufferPool::new();
        drop(pool.get(64 * 1024 + 1));
        assert_eq!(pool.retained_bytes(), 64 * 1024 + 64);
    }

    #[test]
    fn dropped_buffer_is_the_next_one_given() {
        let pool = BufferPool::new();
        let mut first = pool.copy_from_slice(b"first");
        let memory = first.as_ptr();
        first.advance(2);
        drop(first);
        let second = pool.copy_from_slice(b"second");
        assert_eq!(second.as_ptr(), memory);
        assert_eq!(second, "second");
        assert_eq!(pool.retained_bytes(), 0);
    }

    #[test]
    fn retained_memory_has_the_bound_that_is_documented() {
        let pool = BufferPool::new();
        for class in &CLASS {
            let many: Vec<_> = (0..class.retained_max + 10)
                .map(|_| pool.get(class.capacity))
                .collect();
            assert_eq!(pool.outstanding(), class.retained_max + 10);
            drop(many);
            assert_eq!(pool.outstanding(), 0);
        }
        assert_eq!(pool.retained_bytes(), BufferPool::RETAINED_MAX_BYTES);
        assert_eq!(BufferPool::RETAINED_MAX_BYTES >> 10, 11_524); // 11.25 MiB and 4 KiB
    }

    #[test]
    fn memory_beyond_the_largest_class_is_not_kept() {
        let pool = BufferPool::new();
        let large = pool.get(1 << 20);
        assert_eq!((large.capacity(), pool.outstanding()), (1 << 20, 1));
        drop(large);
        assert_eq!((pool.outstanding(), pool.retained_bytes()), (0, 0));
    }

    #[test]
    fn foreign_memory_of_a_class_size_is_not_kept() {
        let pool = BufferPool::new();
        drop(Buffer::from(vec![0; 1024]));
        drop(Buffer::with_capacity(1024));
        assert_eq!(pool.retained_bytes(), 0);
    }

    #[test]
    fn no_bytes_take_no_memory() {
        let pool = BufferPool::new();
        let buffer = pool.copy_from_slice(b"");
        assert_eq!((buffer.capacity(), pool.outstanding()), (0, 0));
        assert_eq!(pool.get(0).capacity(), 64);
    }

    #[test]
    fn buffer_outlives_its_pool() {
        let pool = BufferPool::new();
        let buffer = pool.copy_from_slice(b"alone");
        drop(pool);
        assert_eq!(buffer.clone(), buffer);
    }

    #[test]
    fn clones_of_the_pool_are_the_same_pool() {
        let pool = BufferPool::new();
        let other = pool.clone();
        let buffer = other.get(10);
        assert_eq!(pool.outstanding(), 1);
        drop(buffer);
        assert_eq!((pool.retained_bytes(), other.retained_bytes()), (64, 64));
        assert_eq!(
            format!("{pool:?}"),
            "BufferPool { outstanding: 0, retained_bytes: 64 }"
        );
    }

    #[test]
    fn buffers_that_cross_threads_come_home() {
        let pool = BufferPool::new();
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Buffer>(64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..10_000_u32 {
                    sender.send(pool.copy_from_slice(&i.to_be_bytes())).unwrap();
                }
                drop(sender);
            });
            for (i, buffer) in receiver.iter().enumerate() {
                assert_eq!(buffer, (i as u32).to_be_bytes());
            }
        });
        assert_eq!(pool.outstanding(), 0);
        // The channel, the two hands and what a race of pop against push adds: far below the 10,000 that passed.
        assert!(
            pool.retained_bytes() <= 80 * 64,
            "{} bytes",
            pool.retained_bytes()
        );
    }
}
