//! A call inside a handler: it blocks its process, and no worker.
//!
//! ```text
//!  1 a permit ─▶ 2 enter the edges ─▶ 3 send ─▶ 4 hand the worker over ─▶ 5 wait ─▶ 6 leave
//!     │ none         │ a cycle            │ refused                          │ answer, deadline, exit signal
//!     ▼              ▼                    ▼                                  ▼
//!  TooManyCalls    Cycle             NotDelivered                         Ok, or why not
//! ```
//!
//! Until step 3 nothing has been sent, so that these errors leave no trace. The request is pushed by
//! the worker that is handed over, to whose queue it goes. After step 6 the handler goes on where it
//! was, on a thread without a worker; the activation ends with this handler, and the process is queued
//! again. See the pages of `scheduler::spare` and of [`calls`](super::calls).
//!
//! On a thread of the process's own, and in an `init` on a thread of the program, the thread simply waits.
//! On the thread that stops the node, where a last `terminate` may run, it must not.
//!
//! What ends the activation is a mark in the process whose handler runs on the thread ([`FORCED`]). An
//! `init` runs inside of the handler that spawns, so that the spawn sets the mark there. A
//! process that a handler spawns through a `Node` has no way to its spawner, and cannot call in its `init`.

use std::time::Duration;

use super::SpawnOptions;
use super::activation::FORCED;
use super::calls::Blocked;
use super::lifecycle::{Behavior, ControlBlock, Process, ProcessContext};
use super::table::{Cell, Processes};
use crate::bridge::Deliver;
use crate::bridge::request::{Reply, Wait};
use crate::error::{Reason, RequestError, SpawnError};
use crate::id::{Pid, Target};
use crate::message::Message;
use crate::scheduler::Standing;

/// Processes that start one inside the other, of which the waits are known.
const NESTED: usize = 64;

impl Blocked for Wait {
    fn is_owed(&self) -> bool {
        Self::is_owed(self)
    }

    fn interrupt(&self) {
        self.end(RequestError::Exiting);
    }
}

impl ProcessContext<'_> {
    /// Asks, and waits for the answer.
    pub(crate) fn call(
        &mut self,
        to: Target,
        message: Message,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        let standing = self.processes.scheduler.standing();
        let (permit, outermost) = match standing {
            Standing::Worker(process) => (Some(process), Some(process)),
            Standing::Beside(process) => (None, Some(process)),
            Standing::Program => (None, None),
            Standing::Runtime => return Err(RequestError::WouldBlockRuntime),
            #[cfg(feature = "testing")]
            Standing::Simulated(process) => (Some(process), Some(process)),
        };
        let to = self
            .processes
            .locate(to)
            .map_err(RequestError::NotDelivered)?;
        let callers = self.callers(outermost);
        let last = callers.last().map(|(pid, _)| pid.index());
        // The process whose handler runs on this thread is not known to wait, so that the mark that ends its activation
        // could not be set.
        if outermost.is_some() && last != outermost {
            return Err(RequestError::WouldBlockRuntime);
        }
        if permit.is_some_and(|process| !self.processes.scheduler.reserve(process)) {
            return Err(RequestError::TooManyCalls);
        }
        let (result, is_handed_over) =
            self.call_for(&callers, to, message, timeout, permit.is_some());
        // The thread has kept its worker, so that no handler is detached.
        if !is_handed_over && let Some(process) = permit {
            self.processes.scheduler.release(process);
        }
        result
    }

    /// Steps 2 to 6. Returns whether the worker has been handed over as well.
    fn call_for(
        &mut self,
        callers: &[(Pid, bool)],
        to: Target,
        message: Message,
        timeout: Duration,
        is_worker: bool,
    ) -> (Result<Message, RequestError>, bool) {
        let processes = self.processes;
        let callee = match to {
            Target::Pid(pid) if !processes.is_pool(pid) => Some(pid),
            _ => None,
        };
        let (reply, pending) = Reply::to_caller(processes.scheduler.runtime(), timeout);
        let wait = pending.wait_handle();
        if let Err(cycle) = processes.calls.enter(callers, callee, &wait) {
            return (Err(RequestError::Cycle(cycle)), false);
        }
        if let Err(error) = processes.call(self.control.pid, to, message, reply) {
            processes.calls.leave(callers);
            return (Err(RequestError::NotDelivered(error.kind())), false);
        }
        self.control.count_send();
        // A signal that came before the edge was entered has found no wait to end.
        if self.exit_waits(callers) {
            wait.interrupt();
        }
        // Behind the push: the request lies in the queue of this worker, which the next thread serves at once.
        let is_handed_over = is_worker && processes.scheduler.hand_over();
        let result = pending.wait_for(timeout);
        processes.calls.leave(callers);
        // With more callers the mark belongs to the process whose handler runs on the thread, where `spawn` sets it.
        if is_handed_over && callers.len() == 1 {
            self.control.sent = self.control.sent.saturating_add(FORCED);
        }
        (result, is_handed_over)
    }

    /// Spawns a process, whose `init` may call: then the thread of this handler has left its worker.
    pub(crate) fn spawn(
        &mut self,
        options: &SpawnOptions,
        behavior: Box<dyn Behavior>,
    ) -> Result<Pid, SpawnError> {
        let pid = self.control.pid;
        let result = match options.inherit(self.control) {
            None => self.processes.spawn(pid, options, behavior),
            Some(inherited) => self.processes.spawn(pid, &inherited, behavior),
        };
        if self.control.sent < FORCED && self.processes.scheduler.is_detached(pid.index()) {
            self.control.sent += FORCED;
        }
        result
    }

    /// This process, and those that wait until it has started: the one whose handler runs on this thread is last.
    fn callers(&self, outermost: Option<u32>) -> Vec<(Pid, bool)> {
        let mut callers = vec![(self.control.pid, self.control.trap_exit)];
        let mut parent = self.control.parent;
        while callers.last().map(|(pid, _)| pid.index()) != outermost
            && parent != Pid::NODE
            && callers.len() < NESTED
        {
            // What it traps is not known here: a kill ends the wait in any case.
            callers.push((parent, true));
            let Some(cell) = self.processes.live_cell(parent) else {
                break;
            };
            parent = cell.identity().parent();
        }
        callers
    }

    fn exit_waits(&self, callers: &[(Pid, bool)]) -> bool {
        callers
            .iter()
            .any(|(pid, traps)| self.processes.pending_exit(*pid, *traps).is_some())
    }
}

impl Processes {
    fn pending_exit(&self, pid: Pid, traps: bool) -> Option<Reason> {
        self.mailbox(pid)?.pending_exit(pid.generation(), traps)
    }

    /// After an exit signal was put in the mailbox of a process: ends the call in which its handler waits.
    #[inline]
    pub(super) fn interrupt_call(&self, pid: Pid) {
        if !self.calls.is_empty() {
            self.calls
                .interrupt(pid, |traps| self.pending_exit(pid, traps).is_some());
        }
    }
}

impl ControlBlock {
    /// Takes back what ended an activation behind a call.
    #[inline]
    pub(super) fn forget_blocked(&self, cell: &Cell) {
        if self.sent >= FORCED {
            cell.activity.take_back_sent(FORCED);
        }
    }
}

impl Process {
    /// Why a process ends whose handler has returned `Err`. One that passes on that its call was ended by an exit
    /// signal ends with the reason of the signal.
    #[inline]
    pub(super) fn reason_of_end(&mut self, cell: &Cell, reason: Reason) -> Reason {
        self.control.forget_blocked(cell);
        match reason {
            // The usual one, which no call returns.
            Reason::Normal => reason,
            reason => self.reason_of_failure(cell, reason),
        }
    }

    #[cold]
    fn reason_of_failure(&mut self, cell: &Cell, reason: Reason) -> Reason {
        if reason.downcast_ref() != Some(&RequestError::Exiting) {
            return reason;
        }
        let generation = self.control.pid.generation();
        match cell
            .mailbox
            .pending_exit(generation, self.control.trap_exit)
        {
            Some(signal) => {
                self.control.is_signaled = true;
                signal
            }
            None => reason,
        }
    }
}
