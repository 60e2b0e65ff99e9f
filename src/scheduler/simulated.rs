//! The scheduler of a simulated node: a queue without workers. The world that the node belongs to takes tasks out of it,
//! in an order of its own, and runs them on its thread as if that were a worker.

use std::collections::VecDeque;

use super::{Scheduler, Task};
use crate::base::sync::{Mutex, MutexGuard};

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
}
