//! Objects that wait to be used again: a cache on each thread, and a depot where the caches exchange full magazines
//! (Bonwick and Adams, *Magazines and Vmem*, USENIX 2001).
//!
//! ```text
//!  thread A: put ─▶ cache ── a full magazine ──▶ depot ── a full magazine ──▶ cache ─▶ take: thread B
//! ```
//!
//! What is made on one thread and used up on another comes back this way, at the cost of one lock for each magazine. A
//! cache has two magazines, so that going back and forth at the edge of one exchanges nothing.
//!
//! Bounded: a cache holds two magazines, a depot as many as it is created with; what comes back beyond that is dropped.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the caches of all threads exchange magazines.
#[derive(Debug)]
pub(crate) struct Depot<T> {
    magazines: Mutex<Vec<Vec<T>>>,
    limit: usize,
}

impl<T> Depot<T> {
    /// A depot for at most `limit` magazines.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            magazines: Mutex::new(Vec::new()),
            limit,
        }
    }

    fn magazines(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.magazines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A full magazine, if one waits.
    fn take(&self) -> Option<Vec<T>> {
        self.magazines().pop()
    }

    /// Stores a full magazine, or gives it back if there are enough.
    fn put(&self, magazine: Vec<T>) -> Option<Vec<T>> {
        let mut magazines = self.magazines();
        if magazines.len() == self.limit {
            return Some(magazine);
        }
        magazines.push(magazine);
        None
    }
}

/// What one thread has at hand. `SIZE` is that of a magazine.
#[derive(Debug)]
pub(crate) struct ThreadCache<T, const SIZE: usize> {
    loaded: Vec<T>,
    /// Either empty or full.
    other: Vec<T>,
}

impl<T, const SIZE: usize> ThreadCache<T, SIZE> {
    pub(crate) const fn new() -> Self {
        Self {
            loaded: Vec::new(),
            other: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, depot: &Depot<T>) -> Option<T> {
        self.loaded.pop().or_else(|| self.reload(depot))
    }

    #[cold]
    fn reload(&mut self, depot: &Depot<T>) -> Option<T> {
        // Either full, and then the depot is not locked, or empty.
        std::mem::swap(&mut self.loaded, &mut self.other);
        if self.loaded.is_empty() {
            self.loaded = depot.take()?;
        }
        self.loaded.pop()
    }

    #[inline]
    pub(crate) fn put(&mut self, thing: T, depot: &Depot<T>) {
        if self.loaded.len() >= SIZE {
            self.unload(depot);
        }
        self.loaded.push(thing);
    }

    #[cold]
    fn unload(&mut self, depot: &Depot<T>) {
        std::mem::swap(&mut self.loaded, &mut self.other);
        if self.loaded.len() >= SIZE {
            // With its whole capacity, so that a put never moves what the magazine holds.
            let full = std::mem::replace(&mut self.loaded, Vec::with_capacity(SIZE));
            drop(depot.put(full));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_put_on_one_rack_comes_out_of_another() {
        let depot = Depot::new(32);
        let (mut one, mut two) = (ThreadCache::<u32, 4>::new(), ThreadCache::<u32, 4>::new());
        for number in 0..13 {
            one.put(number, &depot);
        }
        // Two magazines have stayed: the second of 4 and the one that is being filled.
        let moved: Vec<_> = std::iter::from_fn(|| two.take(&depot)).collect();
        assert_eq!(moved.len(), 8);
        let mut kept: Vec<_> = std::iter::from_fn(|| one.take(&depot))
            .chain(moved)
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, Vec::from_iter(0..13));
    }

    #[test]
    fn edge_of_a_magazine_exchanges_nothing() {
        let depot = Depot::new(32);
        let mut cache = ThreadCache::<u32, 4>::new();
        (0..8).for_each(|number| cache.put(number, &depot));
        for number in 8..100 {
            cache.put(number, &depot);
            assert_eq!(cache.take(&depot), Some(number));
        }
        assert!(depot.magazines().len() <= 1);
    }

    #[test]
    fn surplus_is_dropped_and_never_twice() {
        let thing = Arc::new(());
        let depot = Depot::new(32);
        let mut cache = ThreadCache::<Arc<()>, 4>::new();
        (0..1_000).for_each(|_| cache.put(Arc::clone(&thing), &depot));
        let bound = 1 + (32 + 2) * 4;
        assert!(
            Arc::strong_count(&thing) <= bound,
            "{} of at most {bound}",
            Arc::strong_count(&thing)
        );
        drop((cache, depot));
        assert_eq!(Arc::strong_count(&thing), 1);
    }
}
