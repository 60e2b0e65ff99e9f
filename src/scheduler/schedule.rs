//! The schedule word: who may run a task, and is it queued.
//!
//! ```text
//!            notify (push)             begin                 end
//!   IDLE ───────────────▶ SCHEDULED ─────────▶ RUNNING ─────────────▶ IDLE
//!                             ▲                   │ notify
//!                             │   end (push)      ▼
//!                             └────────── RUNNING|SCHEDULED
//! ```
//!
//! 1. `notify`: sets SCHEDULED. The caller pushes the task if the word was IDLE.
//! 2. `begin`: SCHEDULED → RUNNING. Refused in every other state: an item of a run queue may be out of date when
//!    another thread (the monitor) has run the task meanwhile.
//! 3. `end`: RUNNING → IDLE; or, when a `notify` came in between, RUNNING|SCHEDULED → SCHEDULED, and the caller pushes
//!    the task again.
//!
//! Bad interleaving: the runner finds the task's input empty, a sender adds input and sees the task still running, so
//! it does not push, and the runner goes idle. Excluded because both step on the same word with read-modify-writes:
//! either `end` comes first and the sender finds IDLE, or `notify` comes first and `end` fails its compare-and-swap
//! (`loom_no_notify_is_lost`). Making `notify` a plain load of the state before the write, or `end` a store, breaks it.
//!
//! Orderings: `notify` releases the input that was added before it, `begin` acquires it; `end` releases the runner's
//! changes to the task, the next `begin` acquires them.

use crate::base::sync::atomic::AtomicU8;
use crate::base::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

const IDLE: u8 = 0;
const SCHEDULED: u8 = 1;
const RUNNING: u8 = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Schedule(AtomicU8);

impl Schedule {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(IDLE))
    }

    /// There is something to do. `true`: push the task.
    #[inline]
    #[must_use]
    pub(crate) fn notify(&self) -> bool {
        self.0.fetch_or(SCHEDULED, AcqRel) == IDLE
    }

    /// Starts to run. `false`: leave it, another thread runs or has run it.
    #[inline]
    #[must_use]
    pub(crate) fn begin(&self) -> bool {
        self.0
            .compare_exchange(SCHEDULED, RUNNING, AcqRel, Relaxed)
            .is_ok()
    }

    /// Stops running; with `more` there is work left. `true`: push the task again.
    #[inline]
    #[must_use]
    pub(crate) fn end(&self, more: bool) -> bool {
        if !more
            && self
                .0
                .compare_exchange(RUNNING, IDLE, AcqRel, Relaxed)
                .is_ok()
        {
            return false;
        }
        // A `notify` that comes between the failed exchange and this swap is covered by the push that follows.
        self.0.swap(SCHEDULED, AcqRel);
        true
    }

    /// Whether it waits to be run.
    pub(crate) fn is_pending(&self) -> bool {
        self.0.load(Acquire) == SCHEDULED
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn task_is_pushed_once_per_round() {
        let word = Schedule::new();
        assert!(word.notify());
        assert!(!word.notify());
        assert!(word.begin());
        assert!(!word.begin(), "one runner");
        assert!(!word.notify(), "the runner pushes");
        assert!(word.end(false));
        assert!(word.begin());
        assert!(!word.end(false));
        assert!(!word.begin(), "an outdated item");
        assert!(word.notify());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::base::sync::atomic::AtomicUsize;
    use loom::sync::Arc;
    use loom::thread;

    /// Input stands for the mailbox and is relaxed on purpose: a stand-in with a lock would lend the word its ordering.
    /// So is the state of the task, which is read and written in two steps: without the order between two runs an
    /// update of it would be lost.
    struct Model {
        word: Schedule,
        input: AtomicUsize,
        queued: AtomicUsize,
        runners: AtomicUsize,
        runs: AtomicUsize,
        state: AtomicUsize,
    }

    impl Model {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                word: Schedule::new(),
                input: AtomicUsize::new(0),
                queued: AtomicUsize::new(0),
                runners: AtomicUsize::new(0),
                runs: AtomicUsize::new(0),
                state: AtomicUsize::new(0),
            })
        }

        fn send(&self) {
            self.input.fetch_add(1, Relaxed);
            if self.word.notify() {
                self.queued.fetch_add(1, Relaxed);
            }
        }

        /// A worker: runs the task if it is queued. `None`: it is not.
        fn work(&self) -> Option<usize> {
            self.queued
                .fetch_update(Relaxed, Relaxed, |queued| queued.checked_sub(1))
                .ok()?;
            Some(self.run())
        }

        fn run(&self) -> usize {
            if !self.word.begin() {
                return 0;
            }
            assert_eq!(
                self.runners.fetch_add(1, Relaxed),
                0,
                "one runner at a time"
            );
            self.runs.fetch_add(1, Relaxed);
            self.state.store(self.state.load(Relaxed) + 1, Relaxed);
            let taken = self.input.load(Relaxed);
            if taken > 0 {
                self.input.fetch_sub(taken, Relaxed);
            }
            self.runners.fetch_sub(1, Relaxed);
            if self.word.end(false) {
                self.queued.fetch_add(1, Relaxed);
            }
            taken
        }

        /// Runs what is queued; `taken` of two inputs have been taken before.
        fn finish(&self, mut taken: usize) {
            while taken < 2 {
                taken += self
                    .work()
                    .expect("input, and no item in the queue that leads to it");
            }
            let (state, runs) = (self.state.load(Relaxed), self.runs.load(Relaxed));
            assert_eq!(state, runs, "a run has not seen what the one before it did");
        }
    }

    #[test]
    fn loom_no_notify_is_lost() {
        loom::model(|| {
            let model = Model::new();
            model.send();
            let worker = {
                let model = Arc::clone(&model);
                thread::spawn(move || model.work().unwrap_or(0))
            };
            model.send();
            let taken = model.work().unwrap_or(0);
            model.finish(taken + worker.join().expect("no panic"));
        });
    }

    /// The monitor runs a task that waits without taking its item out of the queue, so a worker comes to it as well.
    #[test]
    fn loom_monitor_and_worker_do_not_run_at_once() {
        loom::model(|| {
            let model = Model::new();
            model.send();
            let monitor = {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    if model.word.is_pending() {
                        model.run()
                    } else {
                        0
                    }
                })
            };
            let worker = {
                let model = Arc::clone(&model);
                thread::spawn(move || model.work().unwrap_or(0))
            };
            model.send();
            let taken = monitor.join().expect("no panic") + worker.join().expect("no panic");
            model.finish(taken);
        });
    }
}
