//! A free list: a bounded number of objects, kept for the next use on any thread.
//!
//! Lock-free, and made when the first thing is put on it. What is taken on one thread and put back on another wanders with
//! the work, and the shelf never holds more than were in use at once. For what is needed once for many messages; what each
//! message needs is worth a [`Depot`](crate::memory::magazine::Depot).

use std::sync::OnceLock;

use crossbeam_queue::ArrayQueue;

/// See the module.
#[derive(Debug)]
pub(crate) struct FreeList<T> {
    things: OnceLock<ArrayQueue<T>>,
    limit: usize,
}

impl<T> FreeList<T> {
    /// A shelf for at most `limit` things.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            things: OnceLock::new(),
            limit,
        }
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<T> {
        self.things.get()?.pop()
    }

    /// Puts a thing on the shelf, or drops it if the shelf is full.
    #[inline]
    pub(crate) fn put(&self, thing: T) {
        drop(
            self.things
                .get_or_init(|| ArrayQueue::new(self.limit))
                .push(thing),
        );
    }

    pub(crate) fn len(&self) -> usize {
        self.things.get().map_or(0, ArrayQueue::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_shelf_drops_what_comes_back() {
        let shelf = FreeList::new(2);
        assert_eq!(shelf.take(), None);
        (0..5).for_each(|number| shelf.put(number));
        assert_eq!(shelf.len(), 2);
        assert_eq!(
            [shelf.take(), shelf.take(), shelf.take()],
            [Some(0), Some(1), None]
        );
    }
}
