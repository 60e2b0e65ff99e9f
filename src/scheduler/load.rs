//! The load of the workers: when a wake-up is worth its price, and when a process deserves a worker.
//!
//! Waking a thread costs the one that wakes about 25 µs, and a second worker takes the cache lines of
//! the first. So quick processes are served best by one warm worker, and slow ones by all of them.
//! Which of the two it is cannot be known before; it is measured while the node runs.
//!
//! ```text
//!                 average above 200 µs
//!         quick ───────────────────────▶ long
//!           ▲                              │
//!           └──────────────────────────────┘
//!                 average below 60 µs
//! ```
//!
//! # Inputs
//!
//! | Input | Measured | By |
//! |---|---|---|
//! | cost of a task | every 8 tasks of a worker, the time since the last look divided by them | [`Load::note_tasks`] |
//! | cost of an activation of a process | one activation in 16, on its own | [`Load::note_activation`] |
//!
//! Both are averages that move a quarter of the way to each new value. They are shared by all
//! workers, and written without a read-modify-write: which of two workers at once wins does not
//! matter. An activation counts at most twice the upper threshold, so that a single one that the
//! operating system has interrupted does not decide.
//!
//! # Decisions
//!
//! | Question | Quick | Long |
//! |---|---|---|
//! | When does a push wake a sleeper? | its backlog takes longer than 50 µs; a parked worker only | a task waits; the poller too |
//! | Where does a process go that was sent to? | the LIFO slot, where no other worker takes it | the queue, where others steal it |
//! | When does a worker without work poll? | when it is the last one awake | when it is the first one without work |
//! | How often does a busy worker poll? | every 500 µs | every 500 µs |
//!
//! 1. *quick to long*: whatever waits behind a long activation waits for it, so each waiting task
//!    gets a worker.
//! 2. *long to quick*: far below the first threshold, because many quick messages of one process make
//!    an activation of up to half of it (a backlog may go on for 100 µs). Between the two nothing
//!    changes.
//!
//! A push from a thread that is no worker wakes a sleeper in any case if no worker is awake; that is
//! the sleep protocol ([`idle`](super::idle)) and no heuristic.
//!
//! # What was measured
//!
//! Rates to those without the change, medians of interleaved rounds on two cores. The rows are from
//! `benches/results/notes.md`, which has the spread.
//!
//! | Tried | Seen | Kept |
//! |---|---|---|
//! | waiting tasks wake sleepers where activations are long | handlers of 100 µs: 0.58 of tokio to 1.04; of 10 µs: 0.78 to 0.93 | yes |
//! | every activation timed, in place of one in 16 | handlers of 10 µs 1.04; a ping-pong takes 7.9 % more instructions | no |
//! | a backlog of 50 µs wakes the poller as well | handlers of 10 µs 1.12 of one worker in place of 1.04; fan-in on two workers 0.66, spawn-end 0.62 | no |
//! | … of 200 µs | fan-in on two workers 0.65, spawn-end 1.1 | no |
//! | a push from outside wakes any sleeper | two pairs 1.24; fan-in on two workers 0.49 | no |
//! | a busy worker polls every 0.25 or 1 ms | handlers of 100 µs 1.66 and 1.68 of one worker, in place of 1.69 | no |
//! | a worker without work waits 3 to 30 µs before it polls | system calls 2.10 to 2.03 a message, processor time 10.0 to 11.9 µs | no |
//!
//! # What it does not do
//!
//! It does not weigh processes against each other, and it knows no priorities. Two pairs of processes
//! that play ping-pong with empty handlers stay on one worker: the backlog of such messages is not
//! worth a wake-up. A second worker would give them 1.05 to 1.24 of their rate and a fan-in 0.35 to 0.66.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A backlog that takes longer than this is worth waking another worker, which costs about half as
/// much.
const WAKE_THRESHOLD_NS: u64 = 50_000;
/// Activations of processes that take longer than this deserve a worker each.
const LONG_ACTIVATION_NS: u64 = 200_000;
/// Activations that take less than this do not. With a worker each, processes handle fewer messages
/// at a time.
const SHORT_ACTIVATION_NS: u64 = 60_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Load {
    /// What a task has cost lately, nanoseconds.
    task_ns: AtomicU64,
    /// What an activation of a process costs, as far as is known.
    activation_ns: AtomicU64,
    /// Whether activations of processes take long.
    long_activations: AtomicBool,
}

impl Load {
    pub(super) const fn new() -> Self {
        Self {
            // A guess until the first sample. With zero no backlog would ever be worth a wake-up.
            task_ns: AtomicU64::new(1_000),
            activation_ns: AtomicU64::new(0),
            long_activations: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn has_long_activations(&self) -> bool {
        self.long_activations.load(Ordering::Relaxed)
    }

    /// Adds what each of the last tasks of a worker has cost.
    pub(super) fn note_tasks(&self, cost_ns: u64) {
        average(&self.task_ns, cost_ns);
    }

    /// Adds the cost of an activation of a process.
    pub(super) fn note_activation(&self, cost_ns: u64) {
        let average_ns = average(&self.activation_ns, cost_ns.min(2 * LONG_ACTIVATION_NS));
        if average_ns > LONG_ACTIVATION_NS {
            self.long_activations.store(true, Ordering::Relaxed);
        } else if average_ns < SHORT_ACTIVATION_NS {
            self.long_activations.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a backlog of quick tasks takes longer than a wake-up is worth.
    pub(super) fn is_worth_a_wake_up(&self, tasks: usize) -> bool {
        tasks as u64 * self.task_ns.load(Ordering::Relaxed) > WAKE_THRESHOLD_NS
    }
}

/// Moves an average a quarter of the way, and returns it; which of two workers at once does is all
/// the same.
fn average(average_ns: &AtomicU64, new_ns: u64) -> u64 {
    let moved_ns = (average_ns.load(Ordering::Relaxed) * 3 + new_ns) / 4;
    average_ns.store(moved_ns, Ordering::Relaxed);
    moved_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_interrupted_activation_does_not_make_activations_long() {
        let load = Load::new();
        load.note_activation(u64::MAX);
        assert!(!load.has_long_activations());
    }

    #[test]
    fn activations_are_long_until_they_are_far_below_the_threshold() {
        let load = Load::new();
        (0..8).for_each(|_| load.note_activation(LONG_ACTIVATION_NS + 50_000));
        assert!(load.has_long_activations());
        (0..50).for_each(|_| load.note_activation(SHORT_ACTIVATION_NS + 10_000));
        assert!(load.has_long_activations(), "between the thresholds");
        (0..50).for_each(|_| load.note_activation(SHORT_ACTIVATION_NS / 2));
        assert!(!load.has_long_activations());
    }

    #[test]
    fn backlog_is_worth_a_wake_up_by_its_time_and_not_by_its_length() {
        let load = Load::new();
        assert!(!load.is_worth_a_wake_up(50));
        assert!(load.is_worth_a_wake_up(51), "of a microsecond each");
        (0..50).for_each(|_| load.note_tasks(10_000));
        assert!(load.is_worth_a_wake_up(6));
        assert!(!load.is_worth_a_wake_up(4));
    }
}
