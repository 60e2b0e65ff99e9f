//! The sleep protocol: which workers are awake, who polls, whom to wake.
//!
//! A worker is *awake* (running tasks or looking for some), *stuck* (the monitor saw it in one task for too long),
//! *parked* (asleep until it is unparked) or *polling* (asleep in the poll, with the duty to turn readiness into
//! tasks). Decisions are made under one lock, because each of them costs a system call or saves one; whether there is a
//! decision to make is read from `word`, a copy of the counts, without the lock.
//!
//! ```text
//!            go_idle, others awake                     go_idle, the last one awake
//!  parked ◀───────────────────────── awake ─────────────────────────────────────▶ polling
//!     │       wake / unpark_self       ▲ │ mark_stuck (monitor)     leave_poll        │
//!     └───────────────────────────────▶│ ▼                                            │
//!                                      │ stuck                                        │
//!                                      ◀──────────────────────────────────────────────┘
//! ```
//!
//! 1. `go_idle`: a worker without work. The last one awake becomes the poller if there is none; all others park. Where
//!    processes take long, the first one goes, because those awake may not come to it soon. Counting and deciding are
//!    one step under the lock, so two workers cannot both leave the duty to the other.
//! 2. `wake`: there is work for a sleeper: a parked worker if there is one, else the poller through the waker, once
//!    for each time it blocks.
//! 3. `unpark_self`, `leave_poll`: the sleeper found work itself when it looked once more, or came back from the poll.
//! 4. `mark_stuck`: the monitor takes a worker out of the count of those awake, so that the duty passes on: from the
//!    next `go_idle` or `wake` on, another worker polls.
//! 5. `clear_stuck`: it came back.
//!
//! Bad interleaving: a worker finds all queues empty; a producer pushes, finds no worker asleep, and does not wake; the
//! worker goes to sleep. The item lies there. Excluded by two fences: the producer pushes, **fences**, reads `word`;
//! the worker publishes itself in `word`, **fences**, and looks at the queues once more. In the total order of the
//! fences one comes first: either the producer sees the sleeper, or the sleeper sees the item
//! (`loom_no_push_is_slept_through` fails when the second look or either fence is taken out).
//!
//! Bad interleaving: the monitor, or a busy worker, turns the poll loop while the worker with the duty is between
//! `go_idle` and its poll; a producer wakes that worker through the waker, the other turn swallows the event, the
//! worker blocks. Excluded because a turn out of turn that sees the waker's event while a worker has the duty wakes the
//! poller again.
//!
//! A worker that pushes on its own queue needs none of this: it is awake and will come to it. If it does not, because a
//! handler blocks, the monitor wakes a worker that steals it.

use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crate::base::sync::{Mutex, MutexGuard};

/// What a worker that found no work does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// Look at the queues once more, then park until claimed.
    Park,
    /// Look at the queues once more, then block in the poll.
    Poll,
    /// The scheduler ends.
    Stop,
}

/// The sleeper that a producer has claimed, and must wake now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleeper {
    Worker(usize),
    Poller,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Idle {
    /// awake in bits 0..16, parked in 16..32, bit 32 when the poller sleeps and has not been woken.
    word: AtomicU64,
    /// Copies of `IdleState::stuck`, for a look after each task.
    stuck: Box<[AtomicBool]>,
    state: Mutex<IdleState>,
}

#[derive(Debug)]
struct IdleState {
    awake: usize,
    parked: Vec<usize>,
    stuck: Vec<bool>,
    poll_duty: PollDuty,
    stopping: bool,
    monitor_sleeps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PollDuty {
    /// The next worker without work may take it.
    Free,
    Blocked,
    Woken,
}

/// What [`Idle::unpark_self`], [`Idle::leave_poll`] and [`Idle::clear_stuck`] ask of the caller.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WakeMonitor(pub(crate) bool);

impl Idle {
    /// All workers awake.
    pub(crate) fn new(workers: usize) -> Self {
        let state = IdleState {
            awake: workers,
            // At most every worker is parked, so a push under the lock never allocates.
            parked: Vec::with_capacity(workers),
            stuck: vec![false; workers],
            poll_duty: PollDuty::Free,
            stopping: false,
            monitor_sleeps: false,
        };
        let stuck = std::iter::repeat_with(|| AtomicBool::new(false))
            .take(workers)
            .collect();
        Self {
            word: AtomicU64::new(state.to_word()),
            stuck,
            state: Mutex::new(state),
        }
    }

    /// Locks, changes, publishes.
    fn change<R>(&self, step: impl FnOnce(&mut IdleState) -> R) -> R {
        let mut state: MutexGuard<'_, IdleState> = self.state.lock();
        let result = step(&mut state);
        // Relaxed: the fences of both sides order it, see the module.
        self.word.store(state.to_word(), Ordering::Relaxed);
        result
    }

    /// Transition 1. The caller must look at the queues once more before it sleeps, and then
    /// [`Idle::unpark_self`], [`Idle::leave_poll`], or sleep.
    pub(crate) fn go_idle(&self, worker: usize, polls_early: bool) -> Sleep {
        let rest = self.change(|state| {
            if state.stopping {
                return Sleep::Stop;
            }
            if std::mem::take(&mut state.stuck[worker]) {
                // The monitor marked this worker as stuck just as its task ended; the worker did not see it.
                self.stuck[worker].store(false, Ordering::Relaxed);
                state.awake += 1;
            }
            state.awake -= 1;
            // The last worker awake takes the duty, because no other thread is left to read the sockets. While one is
            // awake it polls between its tasks, and a sleeper that is parked is cheaper to wake than one that blocks in
            // the poll.
            if (state.awake == 0 || polls_early) && state.poll_duty == PollDuty::Free {
                state.poll_duty = PollDuty::Blocked;
                return Sleep::Poll;
            }
            state.parked.push(worker);
            Sleep::Park
        });
        // Pairs with the fence in `must_wake`.
        fence(Ordering::SeqCst);
        rest
    }

    /// Transition 3 for a parked worker. `false`: it has been claimed already and its wake-up is on the way.
    pub(crate) fn unpark_self(&self, worker: usize) -> (bool, WakeMonitor) {
        self.change(
            |state| match state.parked.iter().position(|parked| *parked == worker) {
                Some(position) => {
                    state.parked.swap_remove(position);
                    (true, state.became_awake())
                }
                None => (false, WakeMonitor(false)),
            },
        )
    }

    /// Transition 3 for the poller.
    pub(crate) fn leave_poll(&self) -> WakeMonitor {
        self.change(|state| {
            state.poll_duty = PollDuty::Free;
            state.became_awake()
        })
    }

    /// Returns whether no worker is awake. A producer outside of the pool calls this after its push, and the monitor
    /// after it marked a worker stuck; on `true` the caller wakes a worker if there is work.
    #[inline]
    pub(crate) fn must_wake(&self) -> bool {
        // Pairs with the fence in `go_idle`. Between a producer and the monitor, who looks at the queues after this, it
        // pairs with itself: the producer sees that no worker is awake, or the monitor sees the task.
        fence(Ordering::SeqCst);
        self.word.load(Ordering::Relaxed) & 0xffff == 0
    }

    /// Whether another worker could be woken to help.
    #[inline]
    pub(crate) fn has_helpers(&self) -> bool {
        self.word.load(Ordering::Relaxed) >> 16 & 0xffff != 0
    }

    /// Whether any worker could be woken to help, the poller included.
    #[inline]
    pub(crate) fn has_sleepers(&self) -> bool {
        self.word.load(Ordering::Relaxed) >> 16 != 0
    }

    /// Transition 2. The caller wakes the sleeper that it gets.
    pub(crate) fn wake(&self) -> (Option<Sleeper>, WakeMonitor) {
        self.change(|state| {
            // From the end: the worker that parked last has the warmest cache.
            if let Some(worker) = state.parked.pop() {
                return (Some(Sleeper::Worker(worker)), state.became_awake());
            }
            if state.poll_duty == PollDuty::Blocked {
                // One event ends the poll. Producers that come until the poller is back rely on it and save the system
                // call.
                state.poll_duty = PollDuty::Woken;
                return (Some(Sleeper::Poller), WakeMonitor(false));
            }
            (None, WakeMonitor(false))
        })
    }

    /// Wakes a parked worker to share a backlog, never the poller.
    pub(crate) fn wake_helper(&self) -> Option<(usize, WakeMonitor)> {
        self.change(|state| {
            let worker = state.parked.pop()?;
            Some((worker, state.became_awake()))
        })
    }

    /// Transition 4, if `is_in_task` still holds. Returns whether a worker is left that will come to the queues or to
    /// the poll; `None` if the worker is not stuck.
    pub(crate) fn mark_stuck(
        &self,
        worker: usize,
        is_in_task: impl FnOnce() -> bool,
    ) -> Option<bool> {
        self.change(|state| {
            // Asked under the lock: a worker that hands its place over ends its epoch first and then clears the flag
            // under this lock, so that no flag is left behind for an epoch that is over.
            if state.stuck[worker] || !is_in_task() {
                return None;
            }
            state.stuck[worker] = true;
            self.stuck[worker].store(true, Ordering::Relaxed);
            state.awake -= 1;
            Some(state.awake > 0 || state.poll_duty != PollDuty::Free)
        })
    }

    /// Whether the worker counts as stuck.
    #[inline]
    pub(crate) fn is_stuck(&self, worker: usize) -> bool {
        self.stuck_flag(worker).load(Ordering::Relaxed)
    }

    /// What a worker looks at after each task, so that it need not find its place in the list. A flag that it misses
    /// is corrected by `go_idle`.
    pub(crate) fn stuck_flag(&self, worker: usize) -> &AtomicBool {
        &self.stuck[worker]
    }

    /// Transition 5.
    #[cold]
    pub(crate) fn clear_stuck(&self, worker: usize) -> WakeMonitor {
        self.change(|state| {
            // `go_idle` has corrected a flag that this worker did not see. Counting it again would leave one worker
            // too many awake for good, and `must_wake` would never be true again.
            if !std::mem::take(&mut state.stuck[worker]) {
                return WakeMonitor(false);
            }
            self.stuck[worker].store(false, Ordering::Relaxed);
            state.became_awake()
        })
    }

    /// Every worker is stuck in a handler: the monitor must serve the sockets.
    pub(crate) fn all_stuck(&self) -> bool {
        let state = self.state.lock();
        state.awake == 0 && state.parked.is_empty() && state.poll_duty == PollDuty::Free
    }

    /// A worker is in the poll, or on the way to it.
    pub(crate) fn has_poller(&self) -> bool {
        self.state.lock().poll_duty != PollDuty::Free
    }

    /// The monitor wants to sleep: allowed when no worker is awake or stuck. The next to wake up wakes the monitor.
    pub(crate) fn monitor_may_sleep(&self) -> bool {
        self.change(|state| {
            // A stuck worker keeps the monitor awake: it may go on pushing to its own queue, which only the monitor
            // empties.
            state.monitor_sleeps =
                state.awake == 0 && !state.stuck.contains(&true) && !state.stopping;
            state.monitor_sleeps
        })
    }

    /// Ends: no worker goes idle any more. All sleepers are to be woken by the caller.
    pub(crate) fn stop(&self) {
        self.change(|state| {
            state.stopping = true;
            // The caller claims every worker. They do not pass `wake`, which would count them, so they are counted
            // here.
            state.awake += state.parked.len();
            state.parked.clear();
            state.monitor_sleeps = false;
        });
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }
}

impl IdleState {
    fn to_word(&self) -> u64 {
        let blocked = u64::from(self.poll_duty == PollDuty::Blocked);
        self.awake as u64 | (self.parked.len() as u64) << 16 | blocked << 32
    }

    /// One worker more is awake.
    fn became_awake(&mut self) -> WakeMonitor {
        self.awake += 1;
        WakeMonitor(std::mem::take(&mut self.monitor_sleeps))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn last_worker_awake_polls_and_the_others_park() {
        let idle = Idle::new(3);
        assert_eq!(idle.go_idle(0, false), Sleep::Park);
        assert_eq!(idle.go_idle(1, false), Sleep::Park);
        assert_eq!(idle.go_idle(2, false), Sleep::Poll);
        assert!(idle.must_wake());
        assert_eq!(idle.wake().0, Some(Sleeper::Worker(1)));
        assert!(!idle.must_wake());
        assert_eq!(idle.go_idle(1, false), Sleep::Park, "another worker polls");
    }

    #[test]
    fn first_worker_without_work_polls_where_the_others_take_long() {
        let idle = Idle::new(3);
        assert_eq!(idle.go_idle(0, true), Sleep::Poll);
        assert!(!idle.has_helpers() && idle.has_sleepers());
        assert_eq!(idle.go_idle(1, true), Sleep::Park, "another worker polls");
        assert_eq!(idle.wake().0, Some(Sleeper::Worker(1)));
        assert_eq!(idle.wake().0, Some(Sleeper::Poller));
        assert!(!idle.has_sleepers());
        assert_eq!(idle.wake().0, None, "once for each time it blocks");
    }

    #[test]
    fn poller_is_woken_once_each_time_it_blocks() {
        let idle = Idle::new(1);
        assert_eq!(idle.go_idle(0, false), Sleep::Poll);
        assert_eq!(idle.wake().0, Some(Sleeper::Poller));
        assert_eq!(idle.wake().0, None);
        let _ = idle.leave_poll();
        assert_eq!(idle.go_idle(0, false), Sleep::Poll);
        assert_eq!(idle.wake().0, Some(Sleeper::Poller));
    }

    #[test]
    fn duty_passes_from_a_stuck_worker_to_a_parked_one() {
        let idle = Idle::new(2);
        assert_eq!(idle.go_idle(1, false), Sleep::Park);
        assert_eq!(
            idle.mark_stuck(0, || true),
            Some(false),
            "none is awake: the monitor must wake one"
        );
        assert_eq!(idle.mark_stuck(0, || true), None, "once");
        assert_eq!(idle.wake().0, Some(Sleeper::Worker(1)));
        assert_eq!(
            idle.go_idle(1, false),
            Sleep::Poll,
            "the stuck one does not count as awake"
        );
        let _ = idle.clear_stuck(0);
        assert_eq!(idle.go_idle(0, false), Sleep::Park);
    }

    #[test]
    fn sleeping_monitor_is_woken_by_the_first_worker() {
        let idle = Idle::new(1);
        assert!(!idle.monitor_may_sleep(), "a worker is awake");
        assert_eq!(idle.go_idle(0, false), Sleep::Poll);
        assert!(idle.monitor_may_sleep());
        assert_eq!(idle.leave_poll(), WakeMonitor(true));
        assert_eq!(idle.go_idle(0, false), Sleep::Poll);
        assert_eq!(idle.leave_poll(), WakeMonitor(false));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::base::sync::atomic::AtomicUsize;
    use loom::sync::Arc;
    use loom::thread;

    /// A worker that goes to sleep as the real one does; the queue is a relaxed counter, because a lock would lend the
    /// protocol its ordering. Returns whether it sleeps.
    fn sleeps(idle: &Idle, queue: &AtomicUsize, worker: usize, polls_early: bool) -> bool {
        if queue.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let sleep = idle.go_idle(worker, polls_early);
        if queue.load(Ordering::Relaxed) > 0 {
            match sleep {
                Sleep::Poll => {
                    let _ = idle.leave_poll();
                }
                Sleep::Park => {
                    let _ = idle.unpark_self(worker);
                }
                Sleep::Stop => {}
            }
            return false;
        }
        true
    }

    /// A producer that is no worker. Returns whom it woke.
    fn produce(idle: &Idle, queue: &AtomicUsize) -> Option<Sleeper> {
        queue.fetch_add(1, Ordering::Relaxed);
        if idle.must_wake() {
            idle.wake().0
        } else {
            None
        }
    }

    /// The last worker awake goes to sleep while a producer pushes; the other one, if there is one, sleeps already.
    fn push_while_the_last_one_goes_idle(workers: usize) {
        loom::model(move || {
            let idle = Arc::new(Idle::new(workers));
            let queue = Arc::new(AtomicUsize::new(0));
            for parked in 1..workers {
                assert_eq!(idle.go_idle(parked, false), Sleep::Park);
            }
            let worker = {
                let (idle, queue) = (Arc::clone(&idle), Arc::clone(&queue));
                thread::spawn(move || sleeps(&idle, &queue, 0, false))
            };
            let woken = produce(&idle, &queue);
            if worker.join().expect("no panic") {
                assert!(
                    woken.is_some(),
                    "an item in the queue, and all workers sleep"
                );
            }
        });
    }

    #[test]
    fn loom_no_push_is_slept_through() {
        push_while_the_last_one_goes_idle(1);
        push_while_the_last_one_goes_idle(2);
    }

    /// Two workers go idle at once: one of them polls, and one of the three sees the item. All interleavings of three
    /// threads take more than a minute; those with two preemptions are enough for the fences, and take a second.
    #[test]
    fn loom_no_push_is_slept_through_by_two() {
        no_push_is_slept_through_by_two(false);
    }

    /// The first of the two goes to the poll at once.
    #[test]
    fn loom_no_push_is_slept_through_by_two_of_whom_one_polls_early() {
        no_push_is_slept_through_by_two(true);
    }

    fn no_push_is_slept_through_by_two(polls_early: bool) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(move || {
            let idle = Arc::new(Idle::new(2));
            let queue = Arc::new(AtomicUsize::new(0));
            let workers: Vec<_> = (0..2)
                .map(|worker| {
                    let (idle, queue) = (Arc::clone(&idle), Arc::clone(&queue));
                    thread::spawn(move || sleeps(&idle, &queue, worker, polls_early))
                })
                .collect();
            let woken = produce(&idle, &queue);
            let asleep = workers
                .into_iter()
                .map(|worker| worker.join().expect("no panic"))
                .filter(|asleep| *asleep);
            if asleep.count() == 2 {
                assert!(
                    woken.is_some(),
                    "an item in the queue, and all workers sleep"
                );
            }
        });
    }

    /// Worker 0 has pushed to its queue and declares itself stuck before a long handler, while worker 1 goes idle.
    fn step_aside_while_the_other_one_goes_idle(polls_early: bool) {
        loom::model(move || {
            let idle = Arc::new(Idle::new(2));
            let queue = Arc::new(AtomicUsize::new(0));
            let other = {
                let (idle, queue) = (Arc::clone(&idle), Arc::clone(&queue));
                thread::spawn(move || sleeps(&idle, &queue, 1, polls_early))
            };
            queue.fetch_add(1, Ordering::Relaxed);
            let is_last = idle.mark_stuck(0, || true) == Some(false);
            let woken = if is_last || idle.must_wake() {
                idle.wake().0
            } else {
                None
            };
            if other.join().expect("no panic") {
                assert!(woken.is_some(), "an item in the queue, and all are away");
            }
        });
    }

    #[test]
    fn loom_worker_that_steps_aside_leaves_no_task_behind() {
        step_aside_while_the_other_one_goes_idle(false);
        step_aside_while_the_other_one_goes_idle(true);
    }

    #[test]
    fn loom_one_worker_always_holds_the_duty_to_poll() {
        loom::model(|| {
            let idle = Arc::new(Idle::new(2));
            let monitor = {
                let idle = Arc::clone(&idle);
                // Worker 1 is in a handler; the monitor declares it stuck and wakes another worker if none is awake.
                thread::spawn(move || match idle.mark_stuck(1, || true) {
                    Some(false) => idle.wake().0,
                    _ => None,
                })
            };
            let sleep = idle.go_idle(0, false);
            let woken = monitor.join().expect("no panic");
            // Worker 0 polls, or it parked and the monitor has woken it to go idle again.
            match (sleep, woken) {
                (Sleep::Poll, _) => {}
                (Sleep::Park, Some(Sleeper::Worker(0))) => {
                    assert_eq!(idle.go_idle(0, false), Sleep::Poll)
                }
                other => panic!("no worker polls: {other:?}"),
            }
        });
    }
}
