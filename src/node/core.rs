//! The core of a node: both halves, and the dispatch of tasks to them.

use std::sync::Arc;
use std::time::Duration;

use crate::poll::Io;
use crate::process::Processes;
use crate::scheduler::{Executor, Ran, Scheduler, Task, TaskKind, Turn, Wait};
#[cfg(feature = "testing")]
use crate::simulation::Site;

/// The halves, and what runs them.
pub(crate) struct Core {
    pub(crate) processes: Arc<Processes>,
    pub(crate) io: Arc<Io>,
    pub(crate) scheduler: Arc<Scheduler>,
    /// Where a simulated node is.
    #[cfg(feature = "testing")]
    pub(crate) site: Option<Site>,
}

impl Executor for Core {
    #[inline]
    fn run(&self, task: Task, read_ms: Option<u64>) -> Ran {
        match task.kind() {
            TaskKind::Process(index) => self.processes.run(index),
            TaskKind::Stripe(index) if self.io.run(index, read_ms) => Ran::More,
            TaskKind::Stripe(_) => Ran::Idle,
        }
    }

    fn turn(&self, wait: Wait) -> Turn {
        self.io.turn(wait)
    }

    fn progress(&self, process: u32) -> u64 {
        self.processes.progress(process)
    }

    fn timed(&self, process: u32, ns: u64) {
        self.processes.timed(process, ns);
    }

    fn slow_handler(&self, process: u32, ran_ms: u64) {
        self.processes
            .slow_handler(process, Duration::from_millis(ran_ms));
    }

    fn slow_handler_is_over(&self, process: u32, ran_ms: u64) {
        self.processes
            .slow_handler_is_over(process, Duration::from_millis(ran_ms));
    }

    fn serve(&self) {
        self.io.run_pending();
    }
}

#[cfg(feature = "testing")]
impl Core {
    /// Runs a task of a simulated node, as a worker would.
    pub(crate) fn run_simulated(&self, task: Task) {
        let ran = match task.kind() {
            TaskKind::Process(index) => self.scheduler.as_process(index, || self.run(task, None)),
            TaskKind::Stripe(_) => self.run(task, None),
        };
        if ran == Ran::More {
            self.scheduler.push(task, crate::scheduler::Slot::Fifo);
        }
    }

    /// The deadline of the next timer, in milliseconds of the clock.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.io.services.timers.next_deadline()
    }
}
