//! The monitor: user code cannot stop the I/O.
//!
//! A thread that looks at the workers every few milliseconds while the node is busy, and sleeps without a timeout while
//! it is idle. It runs no user code.
//!
//! 1. A worker that is in the same task at two looks in a row is *stuck*: it no longer counts as awake. What waits in its
//!    queue goes to the global one, where the others look now and then however busy they are. If nobody is left to poll,
//!    or tasks wait and nobody is awake, a sleeper is woken, who takes the duty and the tasks. Every look asks this again:
//!    tasks may have been queued while the worker still counted as awake, and it may queue more while it is stuck.
//! 2. When every worker is stuck the monitor turns the poll loop and runs the stripes itself: connections are accepted
//!    and read, timers fire; the messages wait in the mailboxes.
//! 3. After some looks without any change it asks to sleep; [`Idle`](super::idle::Idle) allows it when nobody is awake,
//!    and the first worker that comes back wakes it.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::{Executor, Scheduler, Wait};

/// Time until the next look when a worker is in a task: if it still is, it is stuck.
const LOOK_AGAIN: Duration = Duration::from_millis(3);
/// Time until the next look otherwise. A stuck worker is found after both times at the most.
const LOOK: Duration = Duration::from_millis(5);
/// How long one turn of the monitor may block, in milliseconds.
const TURN_MS: u64 = 2;
/// Looks without any change before the monitor goes to sleep.
const QUIET_LOOKS: u32 = 16;

/// The life of the monitor thread.
pub(super) fn watch(scheduler: &Scheduler, executor: &dyn Executor) {
    scheduler.monitor.get_or_init(thread::current);
    let mut seen = vec![0; scheduler.workers.len()];
    let (mut quiet, mut in_task) = (0, false);
    while !scheduler.idle.is_stopping() {
        thread::park_timeout(if in_task { LOOK_AGAIN } else { LOOK });
        quiet = if look(scheduler, &mut seen) { 0 } else { quiet + 1 };
        in_task = scheduler.workers.iter().any(|worker| worker.epoch.load(Ordering::Relaxed) & 1 == 1);
        while scheduler.idle.all_stuck() && !scheduler.idle.is_stopping() {
            scheduler.turn_aside(executor, Wait::AtMost(TURN_MS));
            executor.serve();
        }
        if quiet > QUIET_LOOKS && scheduler.idle.monitor_may_sleep() {
            thread::park();
            quiet = 0;
        }
    }
}

/// Looks at every worker. Returns whether anything has changed since the last time.
fn look(scheduler: &Scheduler, seen: &mut [u64]) -> bool {
    let mut changed = false;
    for (index, worker) in scheduler.workers.iter().enumerate() {
        let epoch = worker.epoch.load(Ordering::Relaxed);
        if epoch != seen[index] {
            seen[index] = epoch;
            changed = true;
            continue;
        }
        if scheduler.idle.stick(index, || worker.is_in_task(epoch)) == Some(false) {
            scheduler.wake_somebody();
        }
        if scheduler.idle.is_stuck(index) {
            while let Some(task) = worker.take() {
                scheduler.push_global(task);
            }
        }
    }
    if scheduler.idle.must_wake() && scheduler.has_work() {
        scheduler.wake_somebody();
    }
    changed
}
