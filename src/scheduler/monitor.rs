//! The monitor: user code cannot stop the I/O.
//!
//! A thread that looks at the workers every few milliseconds while the node is busy, and sleeps without a timeout while
//! it is idle. It runs no process. Callbacks of meta-processes, and `Drop` of what is sent to them, run on it in step
//! 2: so it is inside the runtime like a worker, and a meta-process that blocks there holds up all sockets of its node.
//!
//! 1. A worker that is in the same handler at two looks in a row is *stuck*: it no longer counts as awake. A stripe
//!    does not block, but may have many sockets to serve; it is stuck after [`STRIPE_LOOKS`]. What waits in a stuck
//!    worker's queue goes to the global one, where the others look now and then however busy they are. If no worker is
//!    left to poll, or tasks wait and no worker is awake, a sleeper is woken, which takes the duty and the tasks. Every
//!    look asks this again: tasks may have been queued while the worker still counted as awake, and it may queue more
//!    while it is stuck.
//! 2. When every worker is stuck the monitor turns the poll loop and runs the stripes itself: connections are accepted
//!    and read, timers fire; the messages wait in the mailboxes.
//! 3. After some looks without any change it asks to sleep; [`Idle`](super::idle::Idle) allows it when no worker is
//!    awake, and the first worker that comes back wakes it. It does not ask while a handler runs that may become
//!    [slow](super::slow).

use std::thread;
use std::time::Duration;

use super::epoch::Epoch;
use super::slow::SlowHandlers;
use super::{Executor, Scheduler, Wait};

/// Time until the next look when a worker is in a handler: if it still is, it is stuck.
const LOOK_AGAIN: Duration = Duration::from_millis(3);
/// Time until the next look otherwise. A stuck worker is found after both times at the most.
const LOOK: Duration = Duration::from_millis(5);
/// How long one turn of the monitor may block, in milliseconds.
const TURN_MS: u64 = 2;
/// Looks that find the same stripe before it counts as stuck: only a meta-process of the user can hold it up for that
/// time.
const STRIPE_LOOKS: u32 = 5;
/// Looks without any change before the monitor goes to sleep.
const QUIET_LOOKS: u32 = 16;

/// What the last look at a worker has found.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    epoch: Epoch,
    /// Looks in a row that found the same epoch.
    looks: u32,
}

impl Seen {
    /// Whether anything has changed.
    fn look(&mut self, epoch: Epoch) -> bool {
        let is_new = epoch != self.epoch;
        self.looks = if is_new {
            0
        } else {
            self.looks.saturating_add(1)
        };
        self.epoch = epoch;
        is_new
    }

    fn is_stuck(&self) -> bool {
        let patience = if self.epoch.is_in_process() {
            1
        } else {
            STRIPE_LOOKS
        };
        self.epoch.is_in_task() && self.looks >= patience
    }
}

/// The life of the monitor thread.
pub(super) fn watch(scheduler: &Scheduler, executor: &dyn Executor) {
    // Before the first look: a worker finds the thread that it has to wake here.
    scheduler.monitor.get_or_init(thread::current);
    let mut seen = vec![Seen::default(); scheduler.workers.len()];
    let mut slow = SlowHandlers::new(scheduler.workers.len(), scheduler.slow_handler_ms);
    let (mut quiet, mut in_handler) = (0, false);
    while !scheduler.idle.is_stopping() {
        thread::park_timeout(if in_handler { LOOK_AGAIN } else { LOOK });
        quiet = if look(scheduler, &mut seen) {
            0
        } else {
            quiet + 1
        };
        in_handler = scheduler
            .workers
            .iter()
            .any(|worker| worker.epoch().is_in_process());
        while scheduler.idle.all_stuck() && !scheduler.idle.is_stopping() {
            // In short turns, because a worker that comes back, or the end of the node, is seen only between them.
            scheduler.poll_out_of_turn(executor, Wait::AtMost(TURN_MS));
            executor.serve();
            // The handlers that keep all workers from their work are the first that should be reported.
            slow.look(scheduler, executor);
        }
        let may_become_slow = slow.look(scheduler, executor);
        // The question whether it may sleep comes last: a yes has consequences, because from then on a worker that
        // wakes up pays for waking the monitor.
        if quiet > QUIET_LOOKS && !may_become_slow && scheduler.idle.monitor_may_sleep() {
            // A return without a wake-up costs one round of looks.
            thread::park();
            quiet = 0;
        }
    }
}

/// Looks at every worker. Returns whether anything has changed since the last time.
fn look(scheduler: &Scheduler, seen: &mut [Seen]) -> bool {
    let mut changed = false;
    for (index, (worker, seen)) in scheduler.workers.iter().zip(seen).enumerate() {
        if seen.look(worker.epoch()) {
            // A worker that has gone on clears the flag by itself, after its task.
            changed = true;
            continue;
        }
        // `Some(false)`: it was the last one that would have come to the queues or to the poll.
        if seen.is_stuck()
            && scheduler
                .idle
                .mark_stuck(index, || worker.epoch() == seen.epoch)
                == Some(false)
        {
            scheduler.wake_one();
        }
        // At each look and not only when it is declared stuck, because the handler may go on sending while it hangs.
        if scheduler.idle.is_stuck(index) {
            while let Some(task) = worker.take() {
                scheduler.push_global(task);
            }
        }
    }
    if scheduler.idle.must_wake() && scheduler.has_work() {
        scheduler.wake_one();
    }
    changed
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::scheduler::Task;

    #[test]
    fn handler_is_stuck_at_the_second_look_and_a_stripe_much_later() {
        let looks_until_stuck = |task| {
            let mut seen = Seen::default();
            let epoch = Epoch::default().enter(task);
            (0..100).find(|_| {
                seen.look(epoch);
                seen.is_stuck()
            })
        };
        assert_eq!(looks_until_stuck(Task::process(1)), Some(1));
        assert_eq!(looks_until_stuck(Task::stripe(1)), Some(STRIPE_LOOKS));
    }

    #[test]
    fn worker_between_tasks_or_in_the_next_one_is_not_stuck() {
        let mut seen = Seen::default();
        let first = Epoch::default().enter(Task::process(1));
        seen.look(first);
        assert!(seen.look(first.leave()), "another task");
        assert!(
            (0..100).all(|_| !seen.look(first.leave()) && !seen.is_stuck()),
            "in none"
        );
        assert!(
            seen.look(first.leave().enter(Task::process(1))),
            "the same process, a second time"
        );
    }
}
