//! Threads for code that may wait, and the baton that lets one thread of a world run at a time.
//!
//! An activation of a process, and a job (a lookup, blocking work, the stop of a node), may wait inside of user code,
//! which then stays on its stack. So each of them runs on a *runner*, a thread of its own, while the thread of the test
//! waits. Turns of the poll and stripes wait for nothing, and run on the thread of the test.
//!
//! ```text
//!             1 run                     3 wait
//!    idle ─────────────▶ running ─────────────────▶ waiting
//!     ▲                  │     ▲                      │ 4 woken, or its time has come
//!     └──────────────────┘     └──── 5 resume ──── queued
//!             2 done
//! ```
//!
//! 1. *run*: the world gives the baton to an idle runner, or to a new one, and blocks until it comes back.
//! 2. *done*: the activation is over, and the baton goes back. The runner is idle.
//! 3. *wait*: a handler waits. Its runner keeps the stack, gives the baton back, and blocks until it is resumed.
//! 4. *woken*: what the handler waits for is there, or its time is over. The waker only notes the number of the wait;
//!    before its next step the world queues the process again, as if it had a message.
//! 5. *resume*: the [`Policy`](super::Policy) has chosen the process, and the world gives the baton to its runner.
//!
//! Every decision is made on the thread of the test, in transitions 1, 4 and 5, so that the order of everything depends
//! on the seed only. A process that is held, or whose node pauses, is not resumed, because it is a task like any other.
//! A wait without a waker is *polled*: its runner gets the baton before each step, and looks. Jobs wait like that, or
//! are resumed at once when they are woken, because no task stands for them.
//!
//! What may be held while the baton is passed: of the world nothing but this list of runners, which no runner can
//! reach. A runner keeps what its handler holds, as a thread of a real node does that blocks in a call: the stage of
//! its process, for which the rest of the node never waits.
//!
//! Bad interleaving: a handler looks for its answer, which comes before it has begun to wait. Excluded: the waker is
//! registered under the lock of the answer, the number of the wait is drawn before that, and the world reads the
//! notes only while it has the baton, when the wait is in its list.
//!
//! Bad interleaving: an answer and the deadline of its wait, or an answer to a wait that has ended, queue a process
//! twice, so that it runs twice at once. Excluded: numbers are not used twice, and a wait is queued only by the world,
//! once.
//!
//! Bad interleaving: code on a runner blocks until the test does something, other than by a wait of this crate: the
//! test waits for the baton, and the runner for the test. Not excluded: a handler that blocks in another way blocks the
//! world.
//!
//! When the world ends, a handler that still waits unwinds, because it could otherwise call again for ever, and its
//! thread is joined.

use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle};

use crate::base::thread::start_thread;
use crate::node::core::Core;
use crate::scheduler::Task;
use crate::simulation::{self, Driver, Site};

/// What a runner is given with the baton.
enum Order {
    Run(Work, Start),
    /// Transition 5, with the virtual time in nanoseconds.
    Resume(u64),
}

/// Where and when work starts.
struct Start {
    site: Site,
    now_ns: u64,
}

/// What a runner runs.
pub(super) enum Work {
    /// An activation of a process of the node with this index.
    Process(usize, Arc<Core>, Task),
    Job(Box<dyn FnOnce() + Send>),
}

/// What comes back with the baton.
enum Report {
    Done,
    Waits(Wait),
}

/// What a runner waits for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    number: u64,
    deadline_ns: u64,
    is_polled: bool,
    /// A runner that was polled has found nothing, and has run nothing else.
    is_the_same: bool,
}

/// A thread.
#[derive(Debug)]
struct Runner {
    orders: Sender<Order>,
    reports: Receiver<Report>,
    thread: JoinHandle<()>,
}

/// A runner that waits.
#[derive(Debug)]
struct Waiting {
    runner: Runner,
    /// The node and the task of its process. `None`: it runs a job.
    process: Option<(usize, Task)>,
    wait: Wait,
    is_queued: bool,
}

impl Waiting {
    fn is_due(&self, now_ns: u64) -> bool {
        self.is_queued || self.wait.is_polled || self.wait.deadline_ns <= now_ns
    }
}

/// The numbers of waits, and those that were woken, in that order.
#[derive(Debug, Default)]
struct Notes {
    next: u64,
    woken: Vec<u64>,
}

/// Shared by the world, its runners and their wakers.
#[derive(Clone, Debug, Default)]
struct Board(Arc<Mutex<Notes>>);

impl Board {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Transition 4 of the wait with this number.
struct Note {
    board: Board,
    number: u64,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.board.notes().woken.push(self.number);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Baton {
    idle: Vec<Runner>,
    /// In the order in which they began to wait.
    waiting: Vec<Waiting>,
    board: Board,
}

impl Baton {
    /// Transitions 1 and 2, or 1 and 3.
    pub(super) fn run(&mut self, work: Work, site: Site, now_ns: u64) {
        let process = match &work {
            Work::Process(node, _, task) => Some((*node, *task)),
            Work::Job(_) => None,
        };
        let runner = self.idle.pop();
        let runner = runner.unwrap_or_else(|| Runner::start(&self.board));
        self.give(runner, process, Order::Run(work, Start { site, now_ns }));
    }

    /// Whether a handler of this process waits. Then the process is queued because it was woken.
    pub(super) fn is_waiting(&self, node: usize, task: Task) -> bool {
        let process = Some((node, task));
        self.waiting
            .iter()
            .any(|waiting| waiting.process == process)
    }

    /// Transition 5.
    pub(super) fn resume(&mut self, node: usize, task: Task, now_ns: u64) {
        let process = Some((node, task));
        let at = self
            .waiting
            .iter()
            .position(|waiting| waiting.process == process);
        if let Some(at) = at {
            let waiting = self.waiting.remove(at);
            self.give(waiting.runner, process, Order::Resume(now_ns));
        }
    }

    /// Transition 4: the processes to queue, in the order in which they were woken, behind them those whose time has
    /// come.
    pub(super) fn take_woken(&mut self, now_ns: u64) -> Vec<(usize, Task)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let woken = std::mem::take(&mut self.board.notes().woken);
        let mut queued = Vec::new();
        let mut queue = |waiting: &mut Waiting| {
            // A polled wait is resumed by `poll`. If its process were queued as well, it would be resumed twice for one
            // wait.
            if !std::mem::replace(&mut waiting.is_queued, true) && !waiting.wait.is_polled {
                queued.extend(waiting.process);
            }
        };
        for number in woken {
            let mut waiting = self.waiting.iter_mut();
            if let Some(waiting) = waiting.find(|waiting| waiting.wait.number == number) {
                queue(waiting);
            }
        }
        let waiting = self.waiting.iter_mut();
        waiting
            .filter(|waiting| waiting.wait.deadline_ns <= now_ns)
            .for_each(queue);
        queued
    }

    /// Gives the baton to each runner that is polled, and to each job that is woken. Returns whether one of them has
    /// run.
    pub(super) fn poll(&mut self, now_ns: u64) -> bool {
        let is_meant = |waiting: &mut Waiting| {
            (waiting.wait.is_polled || waiting.process.is_none()) && waiting.is_due(now_ns)
        };
        // All are taken out first: one that goes on waiting is put at the end of the list, and would be met there again
        // and again.
        let meant: Vec<_> = self.waiting.extract_if(.., is_meant).collect();
        let mut has_run = false;
        for waiting in meant {
            has_run |= self.give(waiting.runner, waiting.process, Order::Resume(now_ns));
        }
        has_run
    }

    /// Whether a job waits.
    pub(super) fn has_job(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.process.is_none())
    }

    /// When the next wait is over that has a time.
    pub(super) fn next_ns(&self) -> Option<u64> {
        // One that is queued waits for its turn and no longer for a time. Its deadline is over, and while its node
        // pauses the world would pass to that same moment for ever.
        let waiting = self.waiting.iter().filter(|waiting| !waiting.is_queued);
        let deadlines = waiting.map(|waiting| waiting.wait.deadline_ns);
        deadlines
            .filter(|deadline_ns| *deadline_ns != u64::MAX)
            .min()
    }

    /// Gives the baton away until it comes back. Returns whether anything but a look in vain has run.
    fn give(&mut self, runner: Runner, process: Option<(usize, Task)>, order: Order) -> bool {
        let is_there = runner.orders.send(order).is_ok();
        match runner.reports.recv() {
            Ok(Report::Done) if is_there => {
                self.idle.push(runner);
                true
            }
            Ok(Report::Waits(wait)) if is_there => {
                let is_queued = false;
                self.waiting.push(Waiting {
                    runner,
                    process,
                    wait,
                    is_queued,
                });
                !wait.is_the_same
            }
            _ => {
                // A panic that no guard of the node has caught.
                if let Err(panic) = runner.thread.join() {
                    std::panic::resume_unwind(panic);
                }
                true
            }
        }
    }
}

impl Drop for Baton {
    fn drop(&mut self) {
        let waiting = self.waiting.drain(..).map(|waiting| waiting.runner);
        for runner in waiting.chain(self.idle.drain(..)) {
            // The thread ends by this: `recv` and `send` of the runner fail once the other ends of its channels are
            // gone. A join before that would wait for a thread that waits for this one.
            drop((runner.orders, runner.reports));
            // Nothing is left that its panic could go to.
            drop(runner.thread.join());
        }
    }
}

impl Runner {
    fn start(board: &Board) -> Self {
        let (orders, to_runner) = channel();
        let (from_runner, reports) = channel();
        let board = board.clone();
        #[cfg(planted)]
        let planted = simulation::planted::current();
        let body = move || {
            #[cfg(planted)]
            simulation::planted::plant(planted);
            live(Link {
                orders: to_runner,
                reports: from_runner,
                board,
            });
        };
        let thread = start_thread("longshore-handler", body);
        Self {
            orders,
            reports,
            thread: thread.expect("the system has a thread"),
        }
    }
}

/// The side of the runner.
struct Link {
    orders: Receiver<Order>,
    reports: Sender<Report>,
    board: Board,
}

fn live(link: Link) {
    let link = Rc::new(link);
    let driver: Rc<dyn Driver> = Rc::clone(&link) as _;
    simulation::drive_by(&driver);
    while let Ok(Order::Run(work, Start { site, now_ns })) = link.orders.recv() {
        simulation::set_now_ns(now_ns);
        {
            let _at = site.enter();
            match work {
                Work::Process(_, core, task) => {
                    let _inside = core.scheduler.runtime().enter();
                    core.run_simulated(task);
                }
                Work::Job(job) => job(),
            }
        }
        if link.reports.send(Report::Done).is_err() {
            return;
        }
    }
}

impl Link {
    /// Transitions 3 and 5. `false`: the world has ended.
    fn wait(&self, wait: Wait) -> bool {
        if self.reports.send(Report::Waits(wait)).is_err() {
            return false;
        }
        match self.orders.recv() {
            Ok(Order::Resume(now_ns)) => {
                simulation::set_now_ns(now_ns);
                true
            }
            _ => false,
        }
    }

    fn next_number(&self) -> u64 {
        let mut notes = self.board.notes();
        notes.next += 1;
        notes.next
    }
}

impl Driver for Link {
    fn run_until(&self, deadline_ns: u64, done: &mut dyn FnMut() -> bool) -> bool {
        let mut wait = Wait {
            number: 0,
            deadline_ns,
            is_polled: true,
            is_the_same: false,
        };
        loop {
            if done() {
                return true;
            }
            // Only a stop waits like this. It comes to its end when its world has ended.
            if simulation::now_ns() >= deadline_ns || !self.wait(wait) {
                return false;
            }
            // From here on a look in vain is no progress: if it counted, the world would look at this wait for ever,
            // and time would not pass.
            wait.is_the_same = true;
        }
    }

    fn run_until_woken(&self, deadline_ns: u64, done: &mut dyn FnMut(&Waker) -> bool) -> bool {
        loop {
            // A number for each round: a wake that belongs to the round before must not end the wait of this one.
            let number = self.next_number();
            let waker = Waker::from(Arc::new(Note {
                board: self.board.clone(),
                number,
            }));
            if done(&waker) {
                return true;
            }
            if simulation::now_ns() >= deadline_ns {
                return false;
            }
            let is_resumed = self.wait(Wait {
                number,
                deadline_ns,
                is_polled: false,
                is_the_same: false,
            });
            if !is_resumed {
                // It waits in a `drop` while its stack unwinds. A second panic would abort the program.
                if thread::panicking() {
                    return false;
                }
                // Not `panic!`: the hook would print a message for an unwinding that is no failure.
                std::panic::resume_unwind(Box::new("the simulation has ended"));
            }
        }
    }
}
