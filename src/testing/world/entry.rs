//! A node of a world, and what of it could run.

use std::sync::Arc;

use super::WorldState;
use crate::node::core::Core;
use crate::scheduler::Task;
use crate::simulation::Site;

/// A node of the world.
pub(super) struct NodeEntry {
    pub(super) core: Arc<Core>,
    pub(super) site: Site,
    pub(super) name: String,
    /// The node does nothing before this time, as a process that was stopped by a signal.
    pub(super) paused_until_ns: u64,
    /// Tasks that are kept from running.
    pub(super) held: Vec<Task>,
    /// The millisecond of the last look at its timers.
    pub(super) looked_ms: u64,
}

/// What a node could run.
pub(super) struct Found {
    pub(super) tasks: usize,
    /// Places of tasks that are not held, when some are.
    pub(super) runnable: Option<Vec<usize>>,
    pub(super) can_poll: bool,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks == 0 && !self.can_poll
    }
}

impl NodeEntry {
    pub(super) fn candidates(&mut self, inner: &WorldState, now_ns: u64) -> Found {
        let none = Found {
            tasks: 0,
            runnable: None,
            can_poll: false,
        };
        if self.paused_until_ns > now_ns {
            return none;
        }
        let Some(queue) = self.core.scheduler.simulated_queue() else {
            return none;
        };
        // Without held tasks a place in the list is the place in the queue, and no list is built for each step.
        let runnable = (!self.held.is_empty()).then(|| {
            let is_free = |place: &usize| !self.held.contains(&queue[*place]);
            (0..queue.len()).filter(is_free).collect::<Vec<_>>()
        });
        let tasks = runnable.as_ref().map_or(queue.len(), Vec::len);
        drop(queue);
        let can_poll = inner.net().has_ready(self.site.poll) || self.has_due_timer(tasks, now_ns);
        Found {
            tasks,
            runnable,
            can_poll,
        }
    }

    /// Timers count whole milliseconds, so one look in each is enough while there is other work.
    fn has_due_timer(&mut self, tasks: usize, now_ns: u64) -> bool {
        let now_ms = now_ns / 1_000_000;
        if tasks > 0 && self.looked_ms == now_ms {
            return false;
        }
        self.looked_ms = now_ms;
        let next_ms = self.core.next_deadline_ms();
        next_ms.is_some_and(|next_ms| next_ms <= now_ms)
    }

    pub(super) fn next_ns(&self) -> Option<u64> {
        let timer_ns = self
            .core
            .next_deadline_ms()
            .map(|next_ms| next_ms.saturating_mul(1_000_000));
        match self.paused_until_ns {
            0 => timer_ns,
            paused_ns if timer_ns.is_some_and(|timer_ns| timer_ns >= paused_ns) => timer_ns,
            // The node has work when it wakes, or its timer is due.
            paused_ns if self.has_waiting() || timer_ns.is_some() => Some(paused_ns),
            _ => None,
        }
    }

    fn has_waiting(&self) -> bool {
        let queue = self.core.scheduler.simulated_queue();
        queue.is_some_and(|queue| !queue.is_empty()) || self.site.net().has_ready(self.site.poll)
    }
}
