//! A free list: a bounded number of objects, kept for the next use on any thread.
//!
//! Lock-free, and its memory is allocated when the first object is put into it. An object may be taken on one thread
//! and put back on another, and the list never holds more objects than were in use at once. It serves what is needed
//! once for many messages; what each message needs is worth a [`Depot`](crate::memory::magazine::Depot).

use std::sync::OnceLock;

use crossbeam_queue::ArrayQueue;

/// See the module.
#[derive(Debug)]
pub(crate) struct FreeList<T> {
    objects: OnceLock<ArrayQueue<T>>,
    limit: usize,
}

impl<T> FreeList<T> {
    /// A list of at most `limit` objects.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            objects: OnceLock::new(),
            limit,
        }
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<T> {
        self.objects.get()?.pop()
    }

    /// Puts an object into the list, or drops it if the list is full.
    #[inline]
    pub(crate) fn put(&self, object: T) {
        drop(
            self.objects
                .get_or_init(|| ArrayQueue::new(self.limit))
                .push(object),
        );
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.get().map_or(0, ArrayQueue::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_list_drops_what_comes_back() {
        let list = FreeList::new(2);
        assert_eq!(list.take(), None);
        (0..5).for_each(|number| list.put(number));
        assert_eq!(list.len(), 2);
        assert_eq!(
            [list.take(), list.take(), list.take()],
            [Some(0), Some(1), None]
        );
    }
}
