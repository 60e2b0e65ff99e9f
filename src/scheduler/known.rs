//! Processes whose handlers are expected to run for long, because one of them did so lately.
//!
//! The [`monitor`](super::monitor) finds a handler that runs for long by looking at it twice, which takes up to eight
//! milliseconds. Until then its worker counts as awake: the others leave the poll to it, and what stands in its queue
//! waits. A process that computes for long mostly does so again. So the scheduler remembers it, and a worker that takes
//! it *steps aside* before the handler begins:
//!
//! ```text
//!          1 found stuck
//!  unknown ─────────────────────────▶ known ◀─┐ 2 an activation of LONG_NS
//!     ▲                                │  └───┘
//!     └────────────────────────────────┘
//!       3 FORGET_AFTER shorter activations in a row
//! ```
//!
//! 1. The worker finds behind an activation that the monitor has declared it stuck.
//! 2. Each activation of a known process is timed.
//! 3. A process that is slow now and then stays known as long as fewer activations lie between two slow ones.
//!
//! To step aside the worker moves the task of its LIFO slot to its queue, where others take it, declares itself stuck,
//! and wakes a sleeper if it was the last one awake and none polls, or if its queue is not empty and none is awake. If
//! every other worker is stuck too it wakes the monitor, which serves the sockets then.
//!
//! Bad interleaving: another worker finds all queues empty, this one pushes the task and declares itself stuck, the
//! other goes to sleep, and the task waits behind the handler. Excluded as for every push: this worker queues the task,
//! declares itself stuck, and only then looks whether a worker is awake; the other enters itself as asleep, and only
//! then looks at the queues once more (`loom_worker_that_steps_aside_leaves_no_task_behind`, which fails when either
//! look is left out).
//!
//! Seen with 50 connections that are answered at once beside one whose handler takes 20 ms, a session for each, two
//! workers on two cores: the 99th percentile was 4.9 ms and is 1.9 ms, tokio's is 4.1 ms.
//!
//! Processes whose numbers share a bucket share its count. A quick one beside a slow one steps aside for nothing, which
//! costs two readings of the clock, a lock, and a wake-up if all others sleep. While no process is known, an activation
//! costs the load of one word that nothing writes.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::idle::WakeMonitor;
use super::{Scheduler, Task, TaskKind};

/// An activation of a known process that takes longer keeps it known.
const LONG_NS: u64 = 1_000_000;
/// Shorter activations in a row until a process is unknown again.
const FORGET_AFTER: u8 = 8;
const BUCKETS: usize = 256;

/// See the module.
pub(super) struct KnownSlow {
    /// Buckets that are not zero.
    known: AtomicU32,
    /// Short activations that are left until the processes of a bucket are unknown. Relaxed, because the counts guard
    /// no data.
    buckets: [AtomicU8; BUCKETS],
}

impl KnownSlow {
    pub(super) const fn new() -> Self {
        Self {
            known: AtomicU32::new(0),
            buckets: [const { AtomicU8::new(0) }; BUCKETS],
        }
    }

    fn bucket(&self, process: u32) -> &AtomicU8 {
        &self.buckets[process as usize % BUCKETS]
    }

    #[inline]
    pub(super) fn contains(&self, process: u32) -> bool {
        self.known.load(Ordering::Relaxed) > 0 && self.bucket(process).load(Ordering::Relaxed) > 0
    }

    /// Transition 1.
    pub(super) fn note_stuck(&self, process: u32) {
        let before = self.bucket(process).swap(FORGET_AFTER, Ordering::Relaxed);
        if before == 0 {
            self.known.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Transitions 2 and 3: an activation of a known process has taken this long.
    pub(super) fn note_activation(&self, process: u32, cost_ns: u64) {
        if cost_ns >= LONG_NS {
            return self.note_stuck(process);
        }
        // A process of the same bucket may have been forgotten on another worker just now.
        let before =
            self.bucket(process)
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                });
        if before == Ok(1) {
            self.known.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Scheduler {
    /// For a worker in front of the handler of a known process: the others go on without it.
    #[cold]
    pub(super) fn step_aside(&self, index: usize) {
        let worker = &self.workers[index];
        // A sleeper looks at the queues only, and a worker that is awake takes the slot of a stuck one last.
        if let Some(task) = worker.take_next()
            && let Err(task) = worker.local.push(task)
        {
            self.global.push(task);
        }
        let is_last = self.idle.mark_stuck(index, || true) == Some(false);
        if is_last || (self.idle.must_wake() && self.has_work()) {
            self.wake_one();
        }
        if self.idle.all_stuck() {
            self.wake_monitor(WakeMonitor(true));
        }
    }

    /// For a worker that was declared stuck, behind the task.
    #[cold]
    pub(super) fn come_back(&self, index: usize, task: Task) {
        // Whether a known process stays known is decided by its time, because its worker has declared itself stuck.
        if let TaskKind::Process(process) = task.kind()
            && !self.known.contains(process)
        {
            self.known.note_stuck(process);
        }
        let wake = self.idle.clear_stuck(index);
        self.wake_monitor(wake);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::base::inside::RuntimeId;
    use crate::scheduler::idle::Sleep;
    use crate::scheduler::{CURRENT, Slot};
    use crate::time::clock::Clock;
    use std::task::Waker;

    /// A scheduler whose worker 0 is the calling thread; the others are parked, and no thread runs them.
    fn with_parked(others: usize) -> Scheduler {
        let runtime = RuntimeId::new();
        let scheduler = Scheduler::new(runtime, others + 1, Clock::new(), Waker::noop().clone());
        for worker in 1..=others {
            assert_eq!(scheduler.idle.go_idle(worker, false), Sleep::Park);
        }
        CURRENT.set((runtime, 0));
        scheduler
    }

    #[test]
    fn worker_that_steps_aside_leaves_queue_and_poll_to_another() {
        let scheduler = with_parked(2);
        scheduler.push(Task::process(7), Slot::Lifo);
        scheduler.step_aside(0);
        assert!(!scheduler.idle.must_wake(), "one of them was woken");
        assert_eq!(scheduler.workers[0].local.pop(), Some(Task::process(7)));
        // It finds nothing more, and polls although worker 0 has not come back.
        assert_eq!(scheduler.idle.go_idle(2, false), Sleep::Poll);
        scheduler.come_back(0, Task::process(9));
        assert_eq!(scheduler.idle.go_idle(0, false), Sleep::Park);
        assert!(scheduler.known.contains(9) && !scheduler.known.contains(7));
    }

    #[test]
    fn poller_is_woken_only_for_a_task_that_waits() {
        let scheduler = with_parked(0);
        let idle = || scheduler.idle.has_sleepers();
        scheduler.step_aside(0);
        assert!(!idle() && scheduler.idle.all_stuck(), "the monitor serves");
        scheduler.come_back(0, Task::process(1));

        let scheduler = with_parked(1);
        assert_eq!(
            scheduler.idle.wake_helper().map(|(worker, _)| worker),
            Some(1)
        );
        scheduler.step_aside(0);
        assert_eq!(scheduler.idle.go_idle(1, false), Sleep::Poll);
        scheduler.come_back(0, Task::process(1));
        scheduler.step_aside(0);
        assert!(scheduler.idle.has_sleepers(), "nothing waits, and it polls");
        scheduler.come_back(0, Task::process(1));
        scheduler.push(Task::process(2), Slot::Lifo);
        scheduler.step_aside(0);
        assert!(!scheduler.idle.has_sleepers(), "its poll is ended");
    }

    #[test]
    fn process_is_known_until_its_activations_are_short_for_a_while() {
        let known = KnownSlow::new();
        known.note_stuck(3);
        assert!(known.contains(3) && !known.contains(4));
        for _ in 1..FORGET_AFTER {
            known.note_activation(3, LONG_NS - 1);
        }
        known.note_activation(3, LONG_NS);
        for _ in 1..FORGET_AFTER {
            known.note_activation(3, 0);
            assert!(known.contains(3), "in a row");
        }
        known.note_activation(3, 0);
        assert!(!known.contains(3));
    }

    #[test]
    fn known_buckets_are_counted_once() {
        let known = KnownSlow::new();
        let same = 3 + BUCKETS as u32;
        for process in [3, same, 3, 5] {
            known.note_stuck(process);
        }
        assert_eq!(known.known.load(Ordering::Relaxed), 2);
        for _ in 0..3 * FORGET_AFTER {
            known.note_activation(same, 0);
            known.note_activation(5, 0);
        }
        assert_eq!(known.known.load(Ordering::Relaxed), 0);
        assert!(![3, same, 5].iter().any(|process| known.contains(*process)));
    }
}
