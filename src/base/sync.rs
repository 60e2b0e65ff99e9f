//! The only place that chooses between `std` and loom.
//!
//! Every atomic protocol of the crate (the schedule word, the sleep protocol, the mailbox, the quota cells, the
//! published deadline) takes its primitives from here, so that the unit tests named `loom_*` can explore the
//! interleavings of the very code that ships. In such a build (`--cfg loom`) only those tests may run: `cargo loom`. A
//! `RUSTFLAGS` in the environment replaces the flags of that command, and then it would run nothing and succeed; a test
//! here fails instead.
//!
//! [`Mutex`] hands out its guard without the poison wrapper: user code that panics is caught before any of these locks
//! could be poisoned in a half-changed state, so poison has no meaning here.

#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{MutexGuard, atomic};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::{MutexGuard, atomic};

#[cfg(all(loom, test))]
use loom::sync::Mutex as Raw;
#[cfg(not(all(loom, test)))]
use std::sync::Mutex as Raw;
use std::sync::PoisonError;

/// A mutual exclusion lock that ignores poison.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(Raw<T>);

impl<T> Mutex<T> {
    /// Guards `value`.
    pub(crate) fn new(value: T) -> Self {
        Self(Raw::new(value))
    }

    /// Waits for the lock.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock if no thread holds it.
    #[inline]
    #[cfg(not(all(loom, test)))]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// Takes the lock if no thread holds it.
    #[cfg(all(loom, test))]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

#[cfg(test)]
mod tests {
    /// Passes in an ordinary build, where the models are not expected.
    #[test]
    fn loom_models_are_there_when_they_are_expected() {
        let expected = std::env::var_os("LONGSHORE_EXPECT_LOOM").is_some_and(|value| value == "1");
        assert!(
            cfg!(loom) || !expected,
            "no model was built: does RUSTFLAGS in the environment replace `--cfg loom`?"
        );
    }
}
