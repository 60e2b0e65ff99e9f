//! The threads of handlers, which may wait: a baton lets one of them, or the thread of the test, run at a time.
//!
//! ```text
//!            1 run                     2 wait                        3 look
//!  idle ───────────▶ runs a process ──────────▶ waits, elsewhere ───────────▶ runs on, or waits again
//!   ▲                     │ 4 done              everything else runs
//!   └─────────────────────┘
//! ```
//!
//! 1. The world gives a process to an idle thread, or to a new one, and waits until the baton comes back. Nothing else can
//!    run meanwhile, so that the order of everything depends on the seed only.
//! 2. A handler that calls another process keeps its thread, because user code is on its stack, and gives the baton back.
//! 3. Before each step of the world every thread that waits looks whether its answer is there or its deadline has passed, in
//!    the order in which they began to wait.
//! 4. The thread is idle again.
//!
//! Why not on the thread of the test, with the rest of the world run inside of the wait: such waits can only end in the
//! reverse of the order in which they began, so that one of them would hold up the others, and the test itself.
//!
//! Stripes, lookups and the stop of a node wait for nothing, and run on the thread of the test. When the world ends, a thread
//! that still waits has its wait ended, and is joined.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use crate::node::core::Core;
use crate::scheduler::Task;
use crate::simulation::{self, Site, Waiter};

/// What the world asks of a thread.
enum Order {
    Run(Work),
    /// See step 3; with the virtual time.
    Look(u64),
}

/// A process of a node, which could run.
pub(super) struct Work {
    pub(super) core: Arc<Core>,
    pub(super) task: Task,
    pub(super) site: Site,
    pub(super) now_ns: u64,
}

/// What comes back with the baton.
enum Report {
    Done,
    Waits {
        deadline_ns: u64,
        /// The thread has looked in vain, and run nothing.
        is_the_same: bool,
    },
}

/// A thread.
struct Runner {
    orders: Sender<Order>,
    reports: Receiver<Report>,
    thread: JoinHandle<()>,
    /// When its wait is over.
    deadline_ns: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Baton {
    idle: Vec<Runner>,
    waiting: Vec<Runner>,
}

impl Baton {
    /// Steps 1 and 4.
    pub(super) fn run(&mut self, work: Work) {
        let runner = self.idle.pop().unwrap_or_else(Runner::start);
        self.give(runner, Order::Run(work));
    }

    /// Step 3. Returns whether any of them has run.
    pub(super) fn look(&mut self, now_ns: u64) -> bool {
        let mut has_run = false;
        for runner in std::mem::take(&mut self.waiting) {
            has_run |= self.give(runner, Order::Look(now_ns));
        }
        has_run
    }

    pub(super) fn is_waited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When the first wait is over.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.waiting.iter().map(|runner| runner.deadline_ns).min()
    }

    /// Gives the baton away until it comes back. Returns whether user code has run.
    fn give(&mut self, mut runner: Runner, order: Order) -> bool {
        let is_there = runner.orders.send(order).is_ok();
        match runner.reports.recv() {
            Ok(Report::Done) if is_there => {
                self.idle.push(runner);
                true
            }
            Ok(Report::Waits {
                deadline_ns,
                is_the_same,
            }) if is_there => {
                runner.deadline_ns = deadline_ns;
                self.waiting.push(runner);
                !is_the_same
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
        for runner in self.waiting.drain(..).chain(self.idle.drain(..)) {
            drop((runner.orders, runner.reports));
            // What it panics with has nobody to go to.
            drop(runner.thread.join());
        }
    }
}

impl Runner {
    fn start() -> Self {
        let (orders, to_thread) = channel();
        let (from_thread, reports) = channel();
        #[cfg(planted)]
        let planted = simulation::planted::current();
        let body = move || {
            #[cfg(planted)]
            simulation::planted::plant(planted);
            live(to_thread, from_thread);
        };
        let thread = thread::Builder::new().name("longshore-handler".into());
        Self {
            orders,
            reports,
            thread: thread.spawn(body).expect("a thread"),
            deadline_ns: u64::MAX,
        }
    }
}

/// The ends of the channels that the thread holds.
struct Link {
    orders: Receiver<Order>,
    reports: Sender<Report>,
}

fn live(orders: Receiver<Order>, reports: Sender<Report>) {
    let link = Rc::new(Link { orders, reports });
    let waiter: Rc<dyn Waiter> = Rc::clone(&link) as _;
    simulation::wait_by(&waiter);
    while let Ok(Order::Run(work)) = link.orders.recv() {
        simulation::set_now_ns(work.now_ns);
        {
            let _at = work.site.enter();
            let _inside = work.core.scheduler.runtime().enter();
            work.core.run_simulated(work.task);
        }
        drop(work);
        if link.reports.send(Report::Done).is_err() {
            return;
        }
    }
}

impl Waiter for Link {
    fn wait(&self, deadline_ns: u64, is_the_same: bool) -> bool {
        let report = Report::Waits {
            deadline_ns,
            is_the_same,
        };
        if self.reports.send(report).is_err() {
            return false;
        }
        match self.orders.recv() {
            Ok(Order::Look(now_ns)) => {
                simulation::set_now_ns(now_ns);
                true
            }
            _ => false,
        }
    }
}
