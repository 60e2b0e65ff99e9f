//! Spare threads: a thread that blocks hands its worker to another one.
//!
//! A handler may wait for an answer. Its thread then has to block, because user code is on its stack;
//! its worker (the queue, the LIFO slot, the place in the sleep protocol) must not. So a worker is a
//! place, and a thread can leave it:
//!
//! ```text
//!            1 hand over                 2 the handler returns            3 a worker is handed over
//!  worker i ─────────────▶ detached ────────────────────────────▶ spare ───────────────────────────▶ worker j
//!     ▲                                                             │ LINGER, or the stop
//!     └── a spare thread takes the place over                       └──────────▶ ended
//! ```
//!
//! 1. *hand over*, in the handler: the thread ends its epoch, clears the flag that it is stuck, gives
//!    up its number, and gives the place to a thread that waits, or to a new one. From here on it
//!    pushes to the global queue, as threads outside of the scheduler do. If no thread can be had it
//!    keeps the place and blocks in it: then the monitor finds it stuck, as any handler that blocks.
//! 2. When the activation is over, the thread finds that it has no place, leaves its loop and waits here.
//! 3. The thread that takes a place over runs the loop of a worker from its beginning.
//!
//! The place counts as awake throughout, and the new thread looks at all queues before it sleeps, so
//! that nothing that was pushed to the place waits for the old thread. What the old thread wrote to
//! the place (the epoch, the LIFO slot) it wrote before it locked `state`, and the new one reads it
//! after it has locked it.
//!
//! Bad interleaving: the monitor finds the handler a second time, decides that the worker is stuck; the thread hands
//! the place over; only then the worker is marked as stuck. The new thread is awake, and is not counted as such until
//! it next goes idle. Excluded by the order in 1: the epoch ends first, and the monitor sets the flag only if the epoch
//! is still the one that it has seen, in the critical section that also clears the flag
//! (`loom_place_that_is_handed_over_is_awake`, which fails when the flag is cleared before the epoch ends).
//!
//! Bad interleaving: the new thread parks, a producer claims the worker and unparks the thread that
//! held the place before. Excluded: the new thread enters itself in the place before it runs the
//! loop; it parks and is taken off the list of parked workers under one lock, so that the producer
//! sees the entry.
//!
//! At most `limit` threads are detached at once, which the caller asks for by [`Scheduler::reserve`]
//! before it sends anything. A new thread starts only if no spare one waits, so there are never more threads than
//! workers and `limit` together. What this does not do: it does not watch for slow handlers on a detached thread.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::worker;
use super::{CURRENT, Executor, Scheduler};
use crate::base::inside::RuntimeId;
use crate::base::thread::start_thread;

/// A spare thread without a place ends after this.
const LINGER: Duration = Duration::from_secs(5);

thread_local! {
    /// The runtime and the process that this thread runs without a place: it is detached, or the process's own.
    static BESIDE: Cell<(RuntimeId, u32)> = const { Cell::new((RuntimeId::NONE, 0)) };
}

/// See the module.
#[derive(Default)]
pub(super) struct Spares {
    limit: usize,
    /// What a new thread needs; set when the scheduler starts.
    start: OnceLock<Start>,
    state: Mutex<SpareState>,
    offered: Condvar,
}

struct Start {
    scheduler: Weak<Scheduler>,
    executor: Weak<dyn Executor>,
    name: String,
}

#[derive(Default)]
struct SpareState {
    /// Processes whose threads are detached, or are about to be.
    detached: Vec<u32>,
    /// Places that wait for a thread.
    places: Vec<usize>,
    /// Threads that wait for a place.
    waiting: usize,
    /// All threads that were started here and may still run.
    handles: Vec<JoinHandle<()>>,
    stopped: bool,
}

/// Where a process that wants to block runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// On a worker, in an activation of the process with this index.
    Worker(u32),
    /// On a thread without a place, for the process with this index.
    Beside(u32),
    /// On a thread of the program, in an `init`.
    Program,
    /// On a thread that must not block.
    Runtime,
    /// On a thread of a simulated node, in an activation of the process with this index.
    #[cfg(feature = "testing")]
    Simulated(u32),
}

impl Spares {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    fn state(&self) -> MutexGuard<'_, SpareState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn attach(
        &self,
        scheduler: &Arc<Scheduler>,
        executor: &Arc<dyn Executor>,
        name: &str,
    ) {
        // A scheduler starts once.
        self.start.get_or_init(|| Start {
            scheduler: Arc::downgrade(scheduler),
            executor: Arc::downgrade(executor),
            name: format!("{name}-spare"),
        });
    }

    /// Offers a place. `false`: no thread can be had.
    fn offer(&self, place: usize) -> bool {
        let mut state = self.state();
        // The threads that wait are ending, so none of them would take the place.
        if state.stopped {
            return false;
        }
        // Each thread that waits takes one place, so only those beyond the places on offer count.
        if state.waiting > state.places.len() {
            state.places.push(place);
            drop(state);
            self.offered.notify_one();
            return true;
        }
        let Some(start) = self.start.get() else {
            return false;
        };
        let (Some(scheduler), Some(executor)) =
            (start.scheduler.upgrade(), start.executor.upgrade())
        else {
            return false;
        };
        let body = move || {
            scheduler.runtime.stay();
            live(&scheduler, &*executor, Some(place));
        };
        let Ok(handle) = start_thread(&start.name, body) else {
            return false;
        };
        // Handles of threads that have ended are dropped here, because nothing else looks at the list before the stop.
        state.handles.retain(|handle| !handle.is_finished());
        state.handles.push(handle);
        true
    }

    /// Waits for a place. `None`: the thread ends.
    fn next(&self) -> Option<usize> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(place) = state.places.pop() {
                return Some(place);
            }
            state.waiting += 1;
            let (guard, waited) = self
                .offered
                .wait_timeout(state, LINGER)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.waiting -= 1;
            // An offer may have come between the timeout and the lock, and counts on this thread.
            if waited.timed_out() && state.places.is_empty() {
                return None;
            }
        }
    }

    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.offered.notify_all();
    }

    pub(super) fn are_finished(&self) -> bool {
        self.state().handles.iter().all(JoinHandle::is_finished)
    }

    pub(super) fn take_handles(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.state().handles)
    }
}

/// The life of a thread that runs as worker `place` first, and then as whichever is handed over.
pub(super) fn live(scheduler: &Scheduler, executor: &dyn Executor, mut place: Option<usize>) {
    while let Some(index) = place {
        worker::work(scheduler, executor, index);
        place = scheduler.spares.next();
    }
}

impl Scheduler {
    /// Where the calling thread runs, which is inside of this runtime.
    pub(crate) fn standing(&self) -> Standing {
        #[cfg(feature = "testing")]
        if let Some(process) = self.simulated_process() {
            return Standing::Simulated(process);
        }
        if let Some(worker) = self.current() {
            let process = self.workers[worker].epoch().process();
            return process.map_or(Standing::Runtime, Standing::Worker);
        }
        let (runtime, process) = BESIDE.get();
        if runtime == self.runtime {
            Standing::Beside(process)
        } else if self.runtime.is_guest() {
            Standing::Program
        } else {
            Standing::Runtime
        }
    }

    /// The calling thread runs that process alone, from now on.
    pub(crate) fn run_beside(&self, process: u32) {
        BESIDE.set((self.runtime, process));
    }

    /// Takes one of the permits to be detached, for the process with this index. `false`: there is none.
    pub(crate) fn reserve(&self, process: u32) -> bool {
        let mut state = self.spares.state();
        let is_free = state.detached.len() < self.spares.limit;
        if is_free {
            state.detached.push(process);
        }
        is_free
    }

    /// Gives a permit back: the thread of that process is not detached any more, or never was.
    pub(crate) fn release(&self, process: u32) {
        let mut state = self.spares.state();
        if let Some(at) = state.detached.iter().position(|other| *other == process) {
            state.detached.swap_remove(at);
        }
    }

    /// Transition 1. `false`: no thread can be had, and the calling one keeps its place.
    pub(crate) fn hand_over(&self) -> bool {
        let Some(index) = self.current() else {
            return false;
        };
        let place = &self.workers[index];
        let epoch = place.epoch();
        // Only a process may block. A stripe that left its worker would leave it in the middle of its meta-processes.
        let Some(process) = epoch.process() else {
            return false;
        };
        // Before the flag is cleared: the first bad interleaving of the page is this order reversed.
        place.set_epoch(epoch.leave());
        let wake = self.idle.clear_stuck(index);
        self.wake_monitor(wake);
        // Before the offer: the thread that takes the place is the only one that may fill the LIFO slot from then on.
        CURRENT.set((RuntimeId::NONE, 0));
        if self.spares.offer(index) {
            BESIDE.set((self.runtime, process));
            return true;
        }
        // No thread can be had. The worker is as it was, and the monitor will find it stuck.
        CURRENT.set((self.runtime, index));
        place.set_epoch(epoch);
        false
    }

    /// Whether the calling thread has handed its worker over in an activation of that process.
    pub(crate) fn is_detached(&self, process: u32) -> bool {
        BESIDE.get() == (self.runtime, process)
    }

    /// Transition 2: whether the calling thread, which ran as this worker, has lost its place.
    #[cold]
    pub(super) fn left(&self, index: usize) -> bool {
        if self.current() == Some(index) {
            return false;
        }
        let (_, process) = BESIDE.replace((RuntimeId::NONE, 0));
        self.release(process);
        true
    }

    /// Handlers that are detached.
    pub(crate) fn blocked_handlers(&self) -> usize {
        self.spares.state().detached.len()
    }

    /// Processes that run on detached threads.
    pub(super) fn detached(&self) -> Vec<u32> {
        self.spares.state().detached.clone()
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::idle::{Idle, Sleep};
    use crate::base::sync::atomic::{AtomicU64, Ordering};
    use loom::sync::Arc;

    #[test]
    fn loom_place_that_is_handed_over_is_awake() {
        loom::model(|| {
            let idle = Arc::new(Idle::new(1));
            let epoch = Arc::new(AtomicU64::new(1));
            let monitor = {
                let (idle, epoch) = (Arc::clone(&idle), Arc::clone(&epoch));
                loom::thread::spawn(move || {
                    // It has seen epoch 1 before.
                    let _ = idle.mark_stuck(0, || epoch.load(Ordering::Relaxed) == 1);
                })
            };
            // The order of `hand_over`.
            epoch.store(2, Ordering::Relaxed);
            let _ = idle.clear_stuck(0);
            monitor.join().expect("no panic");
            assert!(!idle.is_stuck(0), "the flag of a handler that has left");
            assert!(!idle.must_wake(), "the place is not awake");
            assert_eq!(idle.go_idle(0, false), Sleep::Poll);
        });
    }
}
