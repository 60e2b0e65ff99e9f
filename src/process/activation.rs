//! One activation of a process: a worker runs it until its mailbox is empty, its budget is spent, or
//! it ends.
//!
//! ```text
//!             first activation          next, budget left
//!  Starting ──────────────────▶ Living ◀──────────────────┐
//!      │ start failed             │ ├─────────────────────┘
//!      ▼                          │ ├──▶ idle: the mailbox is empty, a push queues it again
//!   Closing ◀─────────────────────┘ └──▶ more: the budget is spent, it goes to the back of the queue
//!            error, panic, exit
//! ```
//!
//! A process with a thread of its own is not in its cell; see the page of `own_thread`.
//!
//! The worker locks the cell from the beginning of an activation to its end. No other worker waits for
//! that lock, because the mailbox queues a process once. Only a list of supervisors or pools may hold
//! it when a worker comes ([`Processes::look_at`]); the list takes it if it is free, and copies a few
//! fields.

use std::sync::Arc;

use super::activity::Activity;
use super::envelope::{Envelope, Payload};
use super::lifecycle::{Process, ProcessContext};
use super::table::{Cell, Processes, Stage};
use super::turns::Resumed;
use crate::base::sync::MutexGuard;
use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::Command;
use crate::error::Reason;
use crate::id::Pid;
use crate::message::{CompactMessage, MessageType};
use crate::scheduler::Ran;

/// Messages a process handles, or sends, before it goes to the back of the queue: one handled counts as much as
/// [`SENDS`] sent, so that a process that sends a lot lets the receivers come to it.
const BUDGET: u32 = 64;
const SENDS: u32 = 4;
/// Counted as sent by a handler that has handed its worker over, so that its activation ends.
pub(super) const FORCED: u32 = 1 << 30;
/// How long a process with a backlog may go on after its budget.
const BACKLOG_NS: u64 = 100_000;
/// Budgets of such an activation on a simulated node.
#[cfg(feature = "testing")]
const SIMULATED_BUDGETS: u32 = 4;

pub(super) enum Activation {
    Idle,
    More,
    End(Reason),
}

impl Processes {
    /// One activation of a process.
    pub(crate) fn run(self: &Arc<Self>, index: u32) -> Ran {
        let Some(cell) = self.cells.get(index) else {
            return Ran::Over;
        };
        let mut stage = cell.stage.lock();
        let Stage::Living(process) = &mut *stage else {
            return self.run_rarely(cell, stage);
        };
        let outcome = catch_panic(|| self.activate(cell, process));
        cell.activity.add_sent(process.control.sent);
        let reason = match outcome {
            Ok(Activation::Idle) => return Ran::Idle,
            Ok(Activation::More) => {
                process.control.forget_blocked(cell);
                return Ran::More;
            }
            Ok(Activation::End(reason)) => process.reason_of_end(cell, reason),
            Err(payload) => {
                let reason = Reason::from_panic(&*payload);
                drop_catching(payload);
                reason
            }
        };
        let Stage::Living(process) = std::mem::take(&mut *stage) else {
            unreachable!("the process that has just run")
        };
        // Unlocked before the end, which puts the process back if listeners have to close first.
        drop(stage);
        self.record_end(&process.control, Some(&*process.behavior), &reason);
        self.end(cell, process, reason);
        Ran::Over
    }

    /// The first activation of a deferred process, or the one behind the end of its listeners.
    #[cold]
    fn run_rarely(self: &Arc<Self>, cell: &Cell, mut stage: MutexGuard<'_, Stage>) -> Ran {
        match std::mem::take(&mut *stage) {
            Stage::Vacant | Stage::Living(_) => Ran::Over,
            Stage::Own(own_thread) => {
                own_thread.call();
                *stage = Stage::Own(own_thread);
                Ran::Over
            }
            Stage::Starting(mut starting) if starting.own_thread.is_some() => {
                if let Some(own_thread) = starting.own_thread.take() {
                    *stage = Stage::Own(Arc::clone(&own_thread));
                    own_thread.start_deferred(starting);
                }
                Ran::Over
            }
            Stage::Starting(starting) => match self.start_deferred(cell, *starting) {
                Ok(process) => {
                    *stage = Stage::Living(process);
                    // What came during `init` has queued nothing, because the mailbox counted as scheduled.
                    if cell.mailbox.finish_init() {
                        Ran::Over
                    } else {
                        Ran::More
                    }
                }
                Err(closing) => {
                    drop(stage);
                    self.continue_end(cell, *closing);
                    Ran::Over
                }
            },
            Stage::Closing(closing) => {
                drop(stage);
                self.finish_end(*closing);
                Ran::Over
            }
        }
    }

    /// Handles messages up to the budget. A process with a backlog, whose messages are handled in no time, goes on for
    /// [`BACKLOG_NS`]: senders would outrun it otherwise, and its queue leave the cache.
    // In one function with `run`, as if its other caller, the thread of a process, did not exist.
    #[inline(always)]
    pub(super) fn activate(self: &Arc<Self>, cell: &Cell, body: &mut Process) -> Activation {
        let mut began_ns = None;
        let mut budget = BUDGET;
        body.control.sent = 0;
        for handled in 1_u32.. {
            // Only a process with cold state can have set input aside.
            let released = match &body.control.cold {
                None => None,
                Some(_) => body.take_released(self, handled, &cell.mailbox),
            };
            let outcome = if let Some(envelope) = released {
                body.handle_released(self, &cell.activity, envelope)
            } else {
                let next = cell.mailbox.next(&mut body.batch);
                // Room in the mailbox has come up, and meta-processes wait for it: they read on while this process
                // works.
                if !body.batch.resumed.is_empty() {
                    self.resume(body.control.pid, &mut body.batch.resumed);
                }
                // The clock is read once for an activation, and only where it decides whether the activation may go
                // on.
                if handled == 1 && (body.control.has_backlog || body.batch.len() >= BUDGET as usize)
                {
                    began_ns = Some(self.timers.clock().now_ns());
                }
                let Some(envelope) = next else {
                    return Activation::Idle;
                };
                body.handle(self, &cell.activity, envelope)
            };
            if let Err(reason) = outcome {
                return Activation::End(reason);
            }
            if handled + body.control.sent / SENDS >= budget {
                if !self.may_go_on(began_ns) {
                    break;
                }
                budget += BUDGET;
                #[cfg(feature = "testing")]
                if budget > SIMULATED_BUDGETS * BUDGET && crate::simulation::is_current() {
                    // Virtual time stands still during an activation.
                    break;
                }
            }
        }
        body.control.has_backlog = cell.mailbox.queued() >= BUDGET as usize;
        Activation::More
    }

    /// Whether an activation that began at that time, known only with a backlog, gets another budget.
    fn may_go_on(&self, began_ns: Option<u64>) -> bool {
        began_ns.is_some_and(|began_ns| self.timers.clock().now_ns() - began_ns < BACKLOG_NS)
    }

    /// Resumes meta-processes whose turn at the mailbox of `pid` has come.
    #[cold]
    pub(super) fn resume(&self, pid: Pid, resumed: &mut Vec<Resumed>) {
        for Resumed { alias, messages } in resumed.drain(..) {
            if planted!(WaiterForgotten) {
                continue;
            }
            let resume = Command::Resume {
                to: alias,
                mailbox: pid,
                messages,
            };
            self.commands.push(alias.stripe(), resume);
        }
    }
}

impl Process {
    /// Handles one envelope from the mailbox, or sets it aside behind the input of its connection. `Err`: the process
    /// ends.
    // Part of both activations, as there is one on a worker and one on a thread of the process.
    #[inline(always)]
    fn handle(
        &mut self,
        processes: &Arc<Processes>,
        activity: &Activity,
        envelope: Envelope,
    ) -> Result<(), Reason> {
        // Most processes have set nothing aside, and then only data of a connection can be.
        if self.control.cold.is_some() {
            return self.handle_behind(processes, activity, envelope);
        }
        match &envelope.payload {
            Payload::Message(CompactMessage::Tcp(packet)) => {
                let alias = packet.id;
                if self.is_above(processes, alias) {
                    self.set_aside(processes, alias, envelope);
                    return Ok(());
                }
                activity.begin_message(MessageType::TCP);
            }
            Payload::Message(message) => activity.begin_message(message.message_type()),
            _ => return self.handle_rare(processes, activity, envelope),
        }
        self.handle_message(processes, envelope)
    }

    /// Handles one envelope of a process that has state of its own for rare cases, such as input that was set aside.
    #[inline(never)]
    fn handle_behind(
        &mut self,
        processes: &Arc<Processes>,
        activity: &Activity,
        envelope: Envelope,
    ) -> Result<(), Reason> {
        let Some(mut envelope) = self.keep_relay_end(envelope) else {
            return Ok(());
        };
        if self.keeps_ends() {
            self.complete_relay_end(&mut envelope);
        }
        match self.held(processes, &envelope) {
            Some(alias) if self.ends_return(alias, &envelope) => {
                self.handle_released(processes, activity, envelope)
            }
            Some(alias) => {
                self.set_aside(processes, alias, envelope);
                Ok(())
            }
            None => self.handle_released(processes, activity, envelope),
        }
    }

    /// Handles one envelope, whatever its connection has queued.
    fn handle_released(
        &mut self,
        processes: &Arc<Processes>,
        activity: &Activity,
        envelope: Envelope,
    ) -> Result<(), Reason> {
        match &envelope.payload {
            Payload::Message(message) => {
                activity.begin_message(message.message_type());
                self.handle_message(processes, envelope)
            }
            _ => self.handle_rare(processes, activity, envelope),
        }
    }

    #[inline(always)]
    fn handle_message(
        &mut self,
        processes: &Arc<Processes>,
        envelope: Envelope,
    ) -> Result<(), Reason> {
        let Envelope { from, payload } = envelope;
        let Payload::Message(message) = payload else {
            unreachable!("the caller has looked");
        };
        let mut env = ProcessContext {
            processes,
            control: &mut self.control,
        };
        self.behavior.handle_packed(&mut env, from, message)
    }
}
