//! One worker: its queues, where it finds tasks, and how it goes idle.
//!
//! ```text
//!  step ─▶ find ─┬─ a task ─▶ run it, timed or not ─▶ step
//!                └─ none ───▶ look once more, then park or poll ─▶ step
//! ```
//!
//! 1. *find* looks at the LIFO slot (at most [`LIFO_ROW`] times in a row while others wait), the worker's own queue,
//!    the global queue, and the queues of other workers, of which it takes half. Every [`GLOBAL_TICKS`] steps the
//!    global queue is the first.
//! 2. *run*: the epoch says what the worker is in, so that the monitor can see that it hangs. One activation of a
//!    process in [`TIMED`] is timed, and each of a process that is [known](super::known) to take long.
//! 3. Every [`CLOCK_TICKS`] steps the clock is read: for the cost of a task, and for a poll without a wait when the
//!    last one is [`POLL_INTERVAL_NS`] past.
//! 4. A thread that finds that it has lost its worker to another one (see [`spare`](super::spare)) leaves the loop.
//!
//! [`Worker`] is the part that others reach: the monitor, thieves and producers. [`Runner`] belongs to the thread.
//!
//! What it does not do: which worker sleeps, and how, is decided by [`idle`](super::idle).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread::{self, Thread};

use crossbeam_queue::ArrayQueue;

use super::epoch::Epoch;
use super::idle::Sleep;
use super::{CURRENT, Executor, Ran, Scheduler, Task, TaskKind, Turn, Wait};
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicBool, Ordering};

/// Tasks on a worker's own queue; more overflow to the global one.
const LOCAL: usize = 256;
/// How often in a row the LIFO slot goes before the queue.
const LIFO_ROW: u32 = 3;
/// How often the global queue is looked at first.
const GLOBAL_TICKS: u32 = 61;
/// How often the clock is read, in tasks.
const CLOCK_TICKS: u32 = 8;
/// One in this many activations of processes is timed.
pub(super) const TIMED: u32 = 16;
/// A busy worker polls without blocking when the last poll is this long past.
const POLL_INTERVAL_NS: u64 = 500_000;
/// An empty LIFO slot.
const NOTHING: u32 = u32::MAX;

/// The shared part of a worker, on cache lines of its own.
#[repr(align(128))]
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) local: ArrayQueue<Task>,
    next: AtomicU32,
    /// What the worker is in and how many tasks came before; the monitor looks whether it changes.
    epoch: AtomicU64,
    /// The worker's last reading of the clock, in milliseconds.
    read_ms: AtomicU64,
    /// Set by the thread that takes this worker off the list of parked ones.
    claimed: AtomicBool,
    thread: OnceLock<Thread>,
    /// Another thread than at the start runs this worker: the one in `spare`.
    is_handed_over: AtomicBool,
    spare: Mutex<Option<Thread>>,
}

impl Worker {
    pub(super) fn new() -> Self {
        Self {
            local: ArrayQueue::new(LOCAL),
            next: AtomicU32::new(NOTHING),
            epoch: AtomicU64::new(0),
            read_ms: AtomicU64::new(0),
            claimed: AtomicBool::new(false),
            thread: OnceLock::new(),
            is_handed_over: AtomicBool::new(false),
            spare: Mutex::default(),
        }
    }

    /// Puts a task in the LIFO slot; returns the one that was there.
    #[inline]
    pub(super) fn put_next(&self, task: Task) -> Option<Task> {
        if self.next.load(Ordering::Relaxed) == NOTHING {
            // Only this worker fills its slot, so it stays empty until here.
            self.next.store(task.0, Ordering::Release);
            return None;
        }
        // A swap, because the monitor may empty the slot of a stuck worker at the same time.
        let old = self.next.swap(task.0, Ordering::AcqRel);
        (old != NOTHING).then_some(Task(old))
    }

    /// Empties the LIFO slot.
    #[inline]
    pub(super) fn take_next(&self) -> Option<Task> {
        // The slot is empty on most ticks, and a swap costs more than a load.
        if self.next.load(Ordering::Relaxed) == NOTHING {
            return None;
        }
        let task = self.next.swap(NOTHING, Ordering::AcqRel);
        (task != NOTHING).then_some(Task(task))
    }

    /// The time of the worker's last reading of the clock.
    #[inline]
    pub(super) fn read_ms(&self) -> u64 {
        self.read_ms.load(Ordering::Relaxed)
    }

    fn set_read_time(&self, read_ms: u64) {
        self.read_ms.store(read_ms, Ordering::Relaxed);
    }

    pub(super) fn epoch(&self) -> Epoch {
        // Relaxed: the value guards no data. The monitor compares it with its last reading, and reads it once more
        // under the lock of `Idle` before it declares the worker stuck.
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    /// Takes a task away, the one of the LIFO slot included: for the monitor, from a worker that is stuck.
    pub(super) fn take(&self) -> Option<Task> {
        self.local.pop().or_else(|| self.take_next())
    }

    /// Wakes the worker that has been taken off the list.
    pub(super) fn claim(&self) {
        // Before the `unpark`: a worker that wakes up and finds the flag unset parks again.
        self.claimed.store(true, Ordering::Release);
        // Relaxed: who claims a worker has taken it off the list of parked ones, see the page of `spare`.
        if self.is_handed_over.load(Ordering::Relaxed) {
            if let Some(thread) = &*self.spare.lock() {
                thread.unpark();
            }
        } else if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// The calling thread is the one to wake from now on.
    fn enter(&self) {
        // A place keeps the thread of its start in a cell that producers read without a lock. Only a place that was
        // handed over pays for the lock around the other thread.
        if self.thread.get_or_init(thread::current).id() != thread::current().id() {
            *self.spare.lock() = Some(thread::current());
            self.is_handed_over.store(true, Ordering::Relaxed);
        } else {
            // The thread of the start can take its place over again, as a spare one.
            self.is_handed_over.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn set_epoch(&self, epoch: Epoch) {
        self.epoch.store(epoch.0, Ordering::Relaxed);
    }

    /// Sleeps until claimed.
    fn park(&self) {
        // `park` may return without an `unpark`, and an `unpark` may be left over from an earlier claim.
        while !self.claimed.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// The thread-local part.
struct Runner<'a> {
    scheduler: &'a Scheduler,
    executor: &'a dyn Executor,
    index: usize,
    this: &'a Worker,
    /// Whether the monitor has declared this worker stuck, looked at after each task.
    is_stuck: &'a AtomicBool,
    tick: u32,
    lifo_row: u32,
    sampled_ns: u64,
    sampled_tick: u32,
    polled_ns: u64,
    /// Activations of processes.
    activations: u32,
    /// The clock in milliseconds, from a reading of it until a task has begun: that one need not read it again.
    read_ms: Option<u64>,
}

/// The life of a worker thread.
pub(super) fn work(scheduler: &Scheduler, executor: &dyn Executor, index: usize) {
    CURRENT.set((scheduler.runtime, index));
    let mut runner = Runner::new(scheduler, executor, index);
    while runner.step() {}
}

impl<'a> Runner<'a> {
    fn new(scheduler: &'a Scheduler, executor: &'a dyn Executor, index: usize) -> Self {
        let this = &scheduler.workers[index];
        this.enter();
        let mut runner = Self {
            scheduler,
            executor,
            index,
            this,
            is_stuck: scheduler.idle.stuck_flag(index),
            tick: 0,
            lifo_row: 0,
            sampled_ns: 0,
            sampled_tick: 0,
            polled_ns: 0,
            activations: 0,
            read_ms: None,
        };
        runner.restart_sample(scheduler.clock.now_ns());
        runner
    }

    /// Runs one task or sleeps. `false`: the scheduler stops.
    fn step(&mut self) -> bool {
        self.tick = self.tick.wrapping_add(1);
        // Reading the clock costs as much as a short activation, so the load is sampled every few ticks.
        if self.tick.wrapping_sub(self.sampled_tick) >= CLOCK_TICKS {
            self.sample();
        }
        match self.find() {
            Some(task) => self.run(task),
            None => self.sleep(),
        }
    }

    /// `false`: this thread has handed its worker over.
    #[inline]
    fn run(&mut self, task: Task) -> bool {
        match task.kind() {
            TaskKind::Process(process) if self.is_timed(process) => self.run_timed(process),
            TaskKind::Process(_) | TaskKind::Stripe(_) => self.run_task(task),
        }
    }

    /// One activation in a few is timed on its own, because between them are stripes and sleep; and each of a process
    /// that is known to take long.
    #[inline]
    fn is_timed(&mut self, process: u32) -> bool {
        self.activations = self.activations.wrapping_add(1);
        self.activations.is_multiple_of(TIMED) || self.scheduler.known.contains(process)
    }

    #[cold]
    fn run_timed(&mut self, process: u32) -> bool {
        let is_slow = self.scheduler.known.contains(process);
        if is_slow {
            self.scheduler.step_aside(self.index);
        }
        let began_ns = self.scheduler.clock.now_ns();
        // A handler that has handed its worker over waits on this thread: its time is not the cost of an activation.
        if !self.run_task(Task::process(process)) {
            return false;
        }
        let cost_ns = self.scheduler.clock.now_ns().saturating_sub(began_ns);
        if is_slow {
            self.scheduler.known.note_activation(process, cost_ns);
        }
        if self.activations.is_multiple_of(TIMED) {
            self.scheduler.load.note_activation(cost_ns);
            self.executor.timed(process, cost_ns);
        }
        true
    }

    #[inline]
    fn run_task(&mut self, task: Task) -> bool {
        let epoch = self.this.epoch().enter(task);
        self.this.epoch.store(epoch.0, Ordering::Relaxed);
        let ran = self.executor.run(task, self.read_ms.take());
        // A thread that has lost its worker leaves the epoch alone, which is the new thread's by now.
        if ran != Ran::Idle && !self.finish(task, ran) {
            return false;
        }
        self.this.epoch.store(epoch.leave().0, Ordering::Relaxed);
        // It was declared stuck before the handler or while it ran. It is back, and takes part again.
        if self.is_stuck.load(Ordering::Relaxed) {
            self.scheduler.come_back(self.index, task);
        }
        true
    }

    /// Handles the end of an activation that has more to do, or in which a handler may have blocked. `false`: the
    /// thread has lost its worker.
    fn finish(&self, task: Task, ran: Ran) -> bool {
        let has_left = self.scheduler.left(self.index);
        // Its budget is spent, so it goes behind everything that is queued, not into the LIFO slot.
        if ran == Ran::More {
            self.scheduler.push(task, super::Slot::Fifo);
        }
        !has_left
    }

    /// Takes a task from the first place that has one, in the order of the page.
    fn find(&mut self) -> Option<Task> {
        let scheduler = self.scheduler;
        // Now and then the global queue goes first: a worker whose own queue never empties would starve it.
        if self.tick.is_multiple_of(GLOBAL_TICKS)
            && let Some(task) = scheduler.global.pop()
        {
            return Some(task);
        }
        if let Some(task) = self.this.take_next() {
            if self.lifo_row < LIFO_ROW || self.this.local.is_empty() {
                // Two processes that send to each other stay here for as long as they do.
                self.lifo_row = self.lifo_row.saturating_add(1);
                return Some(task);
            }
            // The slot was served many times in a row while others waited: its task queues behind them once.
            if let Err(task) = self.this.local.push(task) {
                scheduler.global.push(task);
            }
        }
        self.lifo_row = 0;
        self.this
            .local
            .pop()
            .or_else(|| scheduler.global.pop())
            .or_else(|| self.steal())
    }

    /// Takes half of the queue of another worker; of a stuck one, its LIFO slot too.
    fn steal(&self) -> Option<Task> {
        let workers = &self.scheduler.workers;
        // Each worker begins with another victim, so that idle workers do not all take from the same one.
        for offset in 1..workers.len() {
            let index = (self.index + offset) % workers.len();
            let victim = &workers[index];
            // The LIFO slot of a worker that runs is about to be served by that worker, from a warm cache.
            let stuck = self.scheduler.idle.is_stuck(index);
            let first = victim
                .local
                .pop()
                .or_else(|| if stuck { victim.take_next() } else { None });
            let Some(first) = first else { continue };
            // Half of it: the victim keeps work for itself, and this worker does not have to come back for each task.
            for _ in 0..victim.local.len() / 2 {
                let Some(task) = victim.local.pop() else {
                    break;
                };
                if let Err(task) = self.this.local.push(task) {
                    self.scheduler.global.push(task);
                }
            }
            return Some(first);
        }
        None
    }

    /// Reads the clock: what does a task cost, is a poll due, is help worth its wake-up?
    fn sample(&mut self) {
        let now_ns = self.scheduler.clock.now_ns();
        self.note_time(now_ns);
        let tasks = u64::from(self.tick.wrapping_sub(self.sampled_tick)).max(1);
        let cost_ns = now_ns.saturating_sub(self.sampled_ns) / tasks;
        self.scheduler.load.note_tasks(cost_ns);
        self.sampled_tick = self.tick;
        self.sampled_ns = now_ns;
        // A worker whose queue never empties does not come to the poll by sleeping.
        if now_ns.saturating_sub(self.polled_ns) > POLL_INTERVAL_NS {
            self.polled_ns = now_ns;
            self.scheduler.poll_out_of_turn(self.executor, Wait::No);
            self.read_ms = None;
        }
        if self.scheduler.idle.has_sleepers() {
            self.scheduler.maybe_wake_helper(self.this.local.len());
        }
    }

    fn restart_sample(&mut self, now_ns: u64) {
        self.note_time(now_ns);
        self.sampled_tick = self.tick;
        self.sampled_ns = now_ns;
        // Another worker has polled while this one was parked, or this one comes from the poll.
        self.polled_ns = now_ns;
    }

    /// The clock has been read.
    fn note_time(&mut self, now_ns: u64) {
        let read_ms = now_ns / 1_000_000;
        self.this.set_read_time(read_ms);
        self.read_ms = Some(read_ms);
    }

    /// No work: sleep as [`Sleep`] says, after one more look.
    fn sleep(&mut self) -> bool {
        let scheduler = self.scheduler;
        let mut turn = Turn::default();
        match scheduler
            .idle
            .go_idle(self.index, scheduler.load.has_long_activations())
        {
            Sleep::Stop => return false,
            Sleep::Park => self.park(),
            Sleep::Poll => {
                // The second look of the sleep protocol. A producer that pushed before this worker was published in
                // `word` has not woken it.
                if !scheduler.has_work() {
                    turn = self.executor.turn(Wait::Forever);
                }
                let wake = scheduler.idle.leave_poll();
                scheduler.wake_monitor(wake);
            }
        }
        // The turn has read the clock behind its wait, as a rule, and that was just now.
        let now_ns = turn.read_ns.unwrap_or_else(|| scheduler.clock.now_ns());
        // The time asleep is not the cost of a task.
        self.restart_sample(now_ns);
        true
    }

    fn park(&self) {
        let scheduler = self.scheduler;
        // The second look of the sleep protocol, as before a poll.
        if scheduler.has_work() {
            let (mine, wake) = scheduler.idle.unpark_self(self.index);
            scheduler.wake_monitor(wake);
            // A producer has taken this worker off the list, so its claim is on the way. It must be consumed by `park`
            // here: left over it would end a later sleep without a reason.
            if mine {
                return;
            }
        }
        self.this.park();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::base::inside::RuntimeId;
    use crate::time::clock::Clock;
    use std::sync::Arc;
    use std::task::Waker;

    /// Notes for each task whether its worker has stepped aside, and finds the worker stuck in the handler of process 7.
    struct Looks {
        scheduler: Arc<Scheduler>,
        stepped_aside: Mutex<Vec<bool>>,
    }

    impl Executor for Looks {
        fn run(&self, task: Task, _: Option<u64>) -> Ran {
            let stuck = self.scheduler.stuck_workers() == 1;
            self.stepped_aside.lock().push(stuck);
            if task == Task::process(7) {
                self.scheduler.idle.mark_stuck(0, || true);
            }
            Ran::Idle
        }

        fn turn(&self, _: Wait) -> Turn {
            Turn::default()
        }

        fn progress(&self, _: u32) -> u64 {
            0
        }

        fn timed(&self, _: u32, _: u64) {}

        fn slow_handler(&self, _: u32, _: u64) {}

        fn slow_handler_is_over(&self, _: u32, _: u64) {}

        fn serve(&self) {}
    }

    #[test]
    fn worker_steps_aside_before_a_process_that_was_stuck() {
        let scheduler = Scheduler::new(RuntimeId::new(), 1, Clock::new(), Waker::noop().clone());
        let looks = Looks {
            scheduler: Arc::new(scheduler),
            stepped_aside: Mutex::default(),
        };
        let mut runner = Runner::new(&looks.scheduler, &looks, 0);
        for process in [7, 7, 8, 7] {
            assert!(runner.run(Task::process(process)));
            assert_eq!(looks.scheduler.stuck_workers(), 0, "it is back");
        }
        assert!(runner.run(Task::stripe(7)));
        let seen = looks.stepped_aside.lock();
        assert_eq!(*seen, [false, true, false, true, false]);
    }
}
