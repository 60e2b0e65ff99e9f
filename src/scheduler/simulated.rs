//! The scheduler of a simulated node: a queue without workers. The world that the node belongs to takes tasks out of
//! it, in an order of its own, and runs them on threads of its own as if these were workers.

use std::cell::Cell;
use std::collections::VecDeque;

use super::{Scheduler, Task};
use crate::base::inside::RuntimeId;
use crate::base::sync::{Mutex, MutexGuard};

thread_local! {
    /// The simulated runtime and the process that this thread runs.
    static RUNS: Cell<(RuntimeId, u32)> = const { Cell::new((RuntimeId::NONE, 0)) };
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<VecDeque<Task>>);

impl Queue {
    pub(super) fn push(&self, task: Task) {
        self.0.lock().push_back(task);
    }
}

impl Task {
    /// A number that no other task of the node has.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

impl Scheduler {
    /// Turns a scheduler that has not been started into one without workers.
    pub(crate) fn simulated(mut self) -> Self {
        self.simulated = Some(Queue::default());
        self
    }

    /// Tasks that could run, of a simulated node.
    pub(crate) fn simulated_queue(&self) -> Option<MutexGuard<'_, VecDeque<Task>>> {
        Some(self.simulated.as_ref()?.0.lock())
    }

    /// The process of this node that the calling thread runs.
    pub(super) fn simulated_process(&self) -> Option<u32> {
        let (runtime, process) = RUNS.get();
        (runtime == self.runtime).then_some(process)
    }

    /// Runs an activation of the process with this index on the calling thread.
    pub(crate) fn as_process<R>(&self, process: u32, activation: impl FnOnce() -> R) -> R {
        let before = RUNS.replace((self.runtime, process));
        let result = activation();
        RUNS.set(before);
        result
    }
}
