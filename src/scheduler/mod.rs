//! The work-stealing scheduler. It runs two kinds of task, processes and stripes, by their numbers.
//!
//! ```text
//!            push (worker)                        push (any other thread)
//!                 │                                         │
//!      ┌──────────▼─────────┐   overflow            ┌───────▼───────┐
//!      │ LIFO slot │ local  ├──────────────────────▶│ global queue  │
//!      └──────────┬─────────┘◀── steal half ── ──── └───────┬───────┘
//!                 └────────────────┬────────────────────────┘
//!                               worker ──▶ Executor::run(task)
//!                                  │ no work
//!                     last one awake: Executor::turn; else: park
//! ```
//!
//! - A [`Task`] is a number. That a task is queued at most once is ensured by its producer (the schedule word
//!   of a stripe, the lock of a mailbox).
//! - The LIFO slot takes the process that was sent to last, because its message is warm in the cache; at most three
//!   times in a row.
//! - Every 61 ticks the global queue is looked at first, so that a busy worker cannot starve it.
//! - Every few tasks a worker reads the clock: it learns what a task costs, polls without blocking when the last poll
//!   is long past, and wakes a helper when the backlog is worth the wake-up.
//! - Where activations of processes take long, each task that waits wakes a sleeper, and a worker without work polls at
//!   once. The inputs, the thresholds and what was measured are on the page of [`load`].
//! - A process whose handler has kept a worker for long is [`known`] for it: the next worker that takes it has
//!   its queue and the poll served by the others first.
//! - A handler may wait for an answer: its thread hands the worker to a [`spare`] one.
//! - The duty to poll belongs to no thread: see [`idle`]. A worker that hangs in user code is seen by the
//!   [`monitor`], which passes the duty on, or serves the sockets itself when every worker hangs.

mod epoch;
mod idle;
mod known;
mod load;
mod monitor;
mod schedule;
#[cfg(feature = "testing")]
mod simulated;
mod slow;
mod spare;
mod threads;
mod worker;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread::Thread;
use std::time::Duration;

use crossbeam_queue::SegQueue;

use crate::base::inside::{Entered, RuntimeId};
use crate::base::thread::start_thread;
use crate::time::clock::{Clock, millis};
use idle::{Idle, Sleeper, WakeMonitor};
use known::KnownSlow;
use load::Load;
pub(crate) use schedule::Schedule;
use spare::Spares;
pub(crate) use spare::Standing;
pub(crate) use threads::Threads;
use worker::Worker;

/// One activation of a process in this many is timed.
pub(crate) const TIMED_ACTIVATIONS: u64 = worker::TIMED as u64;

/// Something to run: the number of a process or of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task(u32);

/// What a [`Task`] is the number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskKind {
    Process(u32),
    Stripe(usize),
}

const STRIPE: u32 = 1 << 31;
/// Processes are numbered below this.
pub(crate) const MAX_PROCESSES: u32 = STRIPE - 1;

impl Task {
    pub(crate) fn process(index: u32) -> Self {
        debug_assert!(index < MAX_PROCESSES);
        Self(index)
    }

    pub(crate) fn stripe(index: usize) -> Self {
        Self(index as u32 | STRIPE)
    }

    fn is_stripe(self) -> bool {
        self.0 & STRIPE != 0
    }

    pub(crate) fn kind(self) -> TaskKind {
        if self.is_stripe() {
            TaskKind::Stripe((self.0 & !STRIPE) as usize)
        } else {
            TaskKind::Process(self.0)
        }
    }
}

/// Where on its queue a worker puts a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Next: its input is warm.
    Lifo,
    /// Behind everything else, so that what is queued can add to its input first.
    Fifo,
}

/// How long a turn of the poll loop may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As long as nothing happens and no timer is due.
    Forever,
    /// No longer than this many milliseconds.
    AtMost(u64),
    /// Not at all; and not if another thread polls just now.
    No,
}

/// How an activation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// The task has nothing to do. No handler of it has blocked.
    Idle,
    /// Push it again, behind the others.
    More,
    /// As `Idle`, but a handler may have blocked.
    Over,
}

/// What a turn of the poll loop has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The turn consumed the waker's event.
    pub(crate) is_interrupted: bool,
    /// The clock behind the wait, in nanoseconds. `None` if the turn did not read it, or has worked since.
    pub(crate) read_ns: Option<u64>,
}

/// What the scheduler runs.
pub(crate) trait Executor: Send + Sync + 'static {
    /// Runs a task for one activation. `read_ms` is the clock, if the caller has just read it.
    fn run(&self, task: Task, read_ms: Option<u64>) -> Ran;

    /// One turn of the poll loop: readiness and timers become tasks.
    fn turn(&self, wait: Wait) -> Turn;

    /// Messages that the process with this index has taken in hand: while the number stays the same, so
    /// does the handler.
    fn progress(&self, process: u32) -> u64;

    /// An activation of the process has taken this long; of one in [`TIMED_ACTIVATIONS`].
    fn timed(&self, process: u32, ns: u64);

    /// A handler of the process has run for this long, and still runs.
    fn slow_handler(&self, process: u32, ran_ms: u64);

    /// A handler that was reported as slow has returned.
    fn slow_handler_is_over(&self, process: u32, ran_ms: u64);

    /// Runs the tasks that are not user code, on the monitor, because no worker can.
    fn serve(&self);
}

/// See the module.
pub(crate) struct Scheduler {
    runtime: RuntimeId,
    workers: Box<[Worker]>,
    global: SegQueue<Task>,
    idle: Idle,
    /// Ends a blocking turn early.
    interrupt: Waker,
    load: Load,
    known: KnownSlow,
    monitor: OnceLock<Thread>,
    clock: Clock,
    /// How long a handler may run before it is reported.
    slow_handler_ms: Option<u64>,
    spares: Spares,
    /// Of a simulated node: every task that could run. No worker takes any of them.
    #[cfg(feature = "testing")]
    simulated: Option<simulated::Queue>,
}

thread_local! {
    /// The runtime and the number of the worker that this thread is.
    static CURRENT: Cell<(RuntimeId, usize)> = const { Cell::new((RuntimeId::NONE, 0)) };
}

impl Scheduler {
    /// `interrupt` makes a blocking [`Executor::turn`] return.
    pub(crate) fn new(runtime: RuntimeId, workers: usize, clock: Clock, interrupt: Waker) -> Self {
        Self {
            runtime,
            workers: std::iter::repeat_with(Worker::new).take(workers).collect(),
            global: SegQueue::new(),
            idle: Idle::new(workers),
            interrupt,
            load: Load::new(),
            known: KnownSlow::new(),
            monitor: OnceLock::new(),
            clock,
            slow_handler_ms: None,
            spares: Spares::default(),
            #[cfg(feature = "testing")]
            simulated: None,
        }
    }

    /// Lets this number of handlers block at once, each on a thread beside the workers.
    pub(crate) fn with_blocked_handlers(mut self, limit: usize) -> Self {
        self.spares = Spares::new(limit);
        self
    }

    /// Has handlers reported that run for this long.
    pub(crate) fn with_slow_handler(mut self, limit: Option<Duration>) -> Self {
        self.slow_handler_ms = limit.map(millis);
        self
    }

    /// The processes that the workers and detached threads run now.
    pub(crate) fn running_processes(&self) -> impl Iterator<Item = u32> {
        self.workers
            .iter()
            .filter_map(|worker| worker.epoch().process())
            .chain(self.detached())
    }

    /// Workers that are in a handler that does not return.
    pub(crate) fn stuck_workers(&self) -> usize {
        let workers = 0..self.workers.len();
        workers.filter(|worker| self.idle.is_stuck(*worker)).count()
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Starts the threads: one for each worker, and the monitor.
    ///
    /// On failure those already started are ended and joined.
    pub(crate) fn start(
        self: &Arc<Self>,
        executor: &Arc<dyn Executor>,
        name: &str,
    ) -> io::Result<Threads> {
        let mut threads = Threads {
            scheduler: Arc::clone(self),
            handles: Vec::with_capacity(self.workers.len() + 1),
        };
        #[cfg(feature = "testing")]
        if self.simulated.is_some() {
            return Ok(threads);
        }
        // Before the first worker runs, because its first handler may block and need a spare thread at once.
        self.spares.attach(self, executor, name);
        for index in 0..self.workers.len() {
            let (scheduler, executor) = (Arc::clone(self), Arc::clone(executor));
            let body = move || {
                scheduler.runtime.stay();
                spare::live(&scheduler, &*executor, Some(index));
            };
            let handle = start_thread(&format!("{name}-{index}"), body);
            threads.handles.push(handle.inspect_err(|_| self.stop())?);
        }
        let (scheduler, executor) = (Arc::clone(self), Arc::clone(executor));
        let body = move || {
            scheduler.runtime.stay();
            monitor::watch(&scheduler, &*executor);
        };
        let handle = start_thread(&format!("{name}-monitor"), body)?;
        threads.handles.push(handle);
        Ok(threads)
    }

    /// The identity of the node that this scheduler runs.
    pub(crate) fn runtime(&self) -> RuntimeId {
        self.runtime
    }

    fn current(&self) -> Option<usize> {
        let (runtime, worker) = CURRENT.get();
        (runtime == self.runtime).then_some(worker)
    }

    /// The time in milliseconds of the node's clock. On a worker it is the worker's last reading of the clock, which
    /// lags by the tasks that have run since; that is close enough to record when something began.
    #[inline]
    pub(crate) fn recent_ms(&self) -> u64 {
        match self.current() {
            Some(worker) => self.workers[worker].read_ms(),
            None => self.clock.now_ms(),
        }
    }

    /// Enters the runtime on a thread that may be one of the program's. A worker is inside for its whole life.
    #[inline]
    pub(crate) fn enter_to_spawn(&self) -> Option<Entered> {
        match self.current() {
            Some(_) => None,
            None => Some(self.runtime.enter_to_spawn()),
        }
    }

    /// Queues a task.
    #[inline]
    pub(crate) fn push(&self, task: Task, slot: Slot) {
        #[cfg(feature = "testing")]
        if let Some(queue) = &self.simulated {
            return queue.push(task);
        }
        match self.current() {
            Some(worker) => self.push_local(worker, task, slot),
            None => self.push_global(task),
        }
    }

    #[inline]
    fn push_local(&self, index: usize, task: Task, slot: Slot) {
        let worker = &self.workers[index];
        let task = match slot {
            // No other worker could take it out of the slot.
            Slot::Lifo if !self.load.has_long_activations() => worker.put_next(task),
            Slot::Lifo | Slot::Fifo => Some(task),
        };
        // The worker's queue has a fixed size, so that a push allocates nothing. What does not fit goes where every
        // worker looks.
        if let Some(task) = task
            && let Err(task) = worker.local.push(task)
        {
            self.global.push(task);
        }
        // Waking costs a system call. Without a sleeper there is none to wake, and the worker serves its queue
        // itself.
        if self.idle.has_sleepers() {
            self.maybe_wake_helper(worker.local.len());
        }
    }

    fn push_global(&self, task: Task) {
        self.global.push(task);
        // No worker is awake that would find the task. While one is, it looks at the global queue by itself.
        if self.idle.must_wake() {
            self.wake_one();
        } else if self.idle.has_sleepers() {
            self.maybe_wake_helper(self.global.len());
        }
    }

    /// Called while at least one worker sleeps. Wakes a parked worker if the backlog is worth it. Where
    /// processes take long any backlog wakes any sleeper, the poller included.
    fn maybe_wake_helper(&self, tasks: usize) {
        if self.load.has_long_activations() {
            // Handlers are long: a task that waits behind one waits longer than a wake-up takes.
            if tasks > 0 {
                self.wake_one();
            }
            return;
        }
        // The counts are read without the lock first, because this runs on each push while a worker sleeps.
        if self.idle.has_helpers()
            && self.load.is_worth_a_wake_up(tasks)
            && let Some((worker, wake_monitor)) = self.idle.wake_helper()
        {
            self.workers[worker].claim();
            self.wake_monitor(wake_monitor);
        }
    }

    /// Wakes one sleeper, a parked worker or the poller.
    fn wake_one(&self) {
        let (sleeper, wake_monitor) = self.idle.wake();
        match sleeper {
            Some(Sleeper::Worker(worker)) => self.workers[worker].claim(),
            Some(Sleeper::Poller) => self.interrupt.wake_by_ref(),
            None => {}
        }
        self.wake_monitor(wake_monitor);
    }

    /// A turn on a thread that is not the poller. If it has consumed the waker's event, the poller may still be about
    /// to block, so the event is passed on.
    fn poll_out_of_turn(&self, executor: &dyn Executor, wait: Wait) {
        if executor.turn(wait).is_interrupted && self.idle.has_poller() {
            self.interrupt.wake_by_ref();
        }
    }

    fn wake_monitor(&self, wake: WakeMonitor) {
        if let (WakeMonitor(true), Some(monitor)) = (wake, self.monitor.get()) {
            monitor.unpark();
        }
    }

    /// Whether any queue holds a task.
    fn has_work(&self) -> bool {
        // The LIFO slots are left out: a worker fills only its own and empties it before it sleeps, and the monitor
        // empties that of a stuck one.
        !self.global.is_empty() || self.workers.iter().any(|worker| !worker.local.is_empty())
    }

    /// Ends all threads after their current task.
    fn stop(&self) {
        // Before the wake-ups: a worker that wakes and does not see the stop yet would go back to sleep for good.
        self.idle.stop();
        for worker in &self.workers {
            worker.claim();
        }
        self.spares.stop();
        self.interrupt.wake_by_ref();
        if let Some(monitor) = self.monitor.get() {
            monitor.unpark();
        }
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}
