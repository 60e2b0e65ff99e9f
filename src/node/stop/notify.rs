//! The wait of the thread that stops a node for what the others do.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::lock;
use crate::node::deadline_after;
#[cfg(feature = "testing")]
use crate::simulation;

/// Wakes the stopping thread when something has changed.
#[derive(Clone)]
pub(in crate::node) struct Notify(Arc<Changes>);

struct Changes {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Wake for Changes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *lock(&self.count) += 1;
        self.changed.notify_all();
    }
}

impl Notify {
    pub(in crate::node) fn new() -> Self {
        Self(Arc::new(Changes {
            count: Mutex::new(0),
            changed: Condvar::new(),
        }))
    }

    pub(in crate::node) fn notify(&self) {
        self.0.wake_by_ref();
    }

    pub(in crate::node) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    /// Waits until `done`, at most for that time. Returns whether it is done.
    pub(super) fn wait(&self, timeout: Duration, done: impl Fn() -> bool) -> bool {
        // A simulated node has no other threads: its world runs until the condition holds.
        #[cfg(feature = "testing")]
        if let Some(is_done) = simulation::wait_for(timeout, &mut || done()) {
            return is_done;
        }
        let deadline = deadline_after(timeout);
        // The lock is held while the condition is asked, so that a change in between finds this thread waiting.
        let mut changes = lock(&self.0.count);
        while !done() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            changes = self
                .0
                .changed
                .wait_timeout(changes, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}
