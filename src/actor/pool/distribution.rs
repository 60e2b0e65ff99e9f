//! Which worker of a pool gets a message, and what happens to one that no worker takes: rules 1 and
//! 2 of the pool.

use super::Pool;
use crate::error::{RequestError, SendErrorKind};
use crate::id::Pid;
use crate::message::Message;
use crate::process::ProcessContext;
use crate::process::envelope::Payload;

pub(super) type KeyOf = Box<dyn Fn(Pid, &Message) -> u64 + Send>;

/// Which worker gets a message.
pub(super) enum Distribution {
    InTurn,
    LeastBusy,
    ByKey(KeyOf),
}

/// What no worker has taken yet.
pub(super) struct Held {
    pub(super) from: Pid,
    pub(super) key: Option<u64>,
    pub(super) payload: Payload,
}

impl Pool {
    /// The key of a message, if the pool distributes by it.
    pub(super) fn key(&self, from: Pid, message: &Message) -> Option<u64> {
        match &self.distribution {
            Distribution::ByKey(key) => Some(key(from, message)),
            Distribution::InTurn | Distribution::LeastBusy => None,
        }
    }

    /// Rules 1 and 2.
    pub(super) fn dispatch(&mut self, env: &ProcessContext<'_>, held: Held) {
        // What is held back was sent earlier and goes first.
        self.flush(env);
        let refused = if self.held_back.is_empty() {
            self.offer(env, held)
        } else {
            Some(held)
        };
        let Some(held) = refused else { return };
        // As many again as the mailboxes of all workers hold. A pool that is overloaded drops beyond that, so its
        // memory has a limit.
        if self.held_back.len() < self.worker_mailbox as usize * self.size {
            self.held_back.push_back(held);
            self.set_retry(env);
            return;
        }
        self.dropped += 1;
        // A request must be answered; a message has only its count.
        if let Payload::Call(call) = held.payload {
            call.1
                .refuse(RequestError::NotDelivered(SendErrorKind::MailboxFull));
        }
    }

    /// Gives what is held to a worker that takes it.
    fn offer(&mut self, env: &ProcessContext<'_>, mut held: Held) -> Option<Held> {
        let workers = self.workers.len();
        // All workers have failed to start again; what comes meanwhile is held back.
        if workers == 0 {
            return Some(held);
        }
        let (first, tries) = match (held.key, &self.distribution) {
            // With a key there is one worker, full or not, because another one would break the order of the key.
            (Some(key), _) => ((key % workers as u64) as usize, 1),
            (None, Distribution::LeastBusy) => (self.least_busy(env), workers),
            (None, _) => (self.next, workers),
        };
        for at in first..first + tries {
            let worker = self.workers[at % workers];
            match env.processes.forward(worker, held.from, held.payload) {
                Ok(()) => {
                    self.forwarded += 1;
                    // The turn goes on behind the worker that took it, so that a full one is not asked first each time.
                    self.next = (at + 1) % workers;
                    return None;
                }
                Err((_, refused)) => held.payload = refused,
            }
        }
        Some(held)
    }

    /// The place of the worker with the fewest messages, the next in turn among equals.
    fn least_busy(&self, env: &ProcessContext<'_>) -> usize {
        let workers = self.workers.len();
        (self.next..self.next + workers)
            .min_by_key(|at| env.processes.load(self.workers[at % workers]))
            .unwrap_or(self.next)
    }

    pub(super) fn flush(&mut self, env: &ProcessContext<'_>) {
        while let Some(held) = self.held_back.pop_front() {
            if let Some(held) = self.offer(env, held) {
                // It keeps its place in front, so that the order stays.
                self.held_back.push_front(held);
                self.set_retry(env);
                return;
            }
        }
    }
}
