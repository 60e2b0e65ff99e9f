//! What a process does with an envelope that is no message.
//!
//! Requests go to the [`Behavior`](super::Behavior). Exit signals end the process unless it traps them. An answer is
//! handled if its request is still waited for, a Down if its monitor has not been taken back, room in a mailbox if the
//! process waits for it. Acks, releases and barriers are passed on to where they belong.

use std::sync::Arc;

use super::activity::Activity;
use super::envelope::{Envelope, Payload};
use super::lifecycle::{Process, ProcessContext};
use super::table::Processes;
use crate::bridge::Command;
use crate::error::Reason;
use crate::id::{Pid, Target};
use crate::message::{Message, MessageDown, MessageExit, MessageRoom};

impl Process {
    /// Handles what is no message: requests, signals, answers and questions. A table with an arm for each payload,
    /// longer than other functions so that it can be read as one.
    #[inline(never)]
    pub(super) fn handle_rare(
        &mut self,
        processes: &Arc<Processes>,
        activity: &Activity,
        envelope: Envelope,
    ) -> Result<(), Reason> {
        let Envelope { from, payload } = envelope;
        activity.begin_message(payload.message_type());
        let mut env = ProcessContext {
            processes,
            control: &mut self.control,
        };
        match payload {
            Payload::Message(message) => self.behavior.handle_packed(&mut env, from, message),
            Payload::Call(call) => {
                let (message, reply) = *call;
                self.behavior.handle_call(&mut env, from, message, reply)
            }
            Payload::Exit { signal, link } => self.handle_exit(processes, from, signal, link),
            Payload::Answer(reply) => {
                let Some(reply) = env.control.accept(reply, processes) else {
                    return Ok(());
                };
                self.behavior
                    .handle_message(&mut env, from, Message::Reply(reply))
            }
            Payload::Tick(tick) => match tick.take() {
                Some(message) => self.behavior.handle_message(&mut env, from, message),
                None => Ok(()),
            },
            Payload::Down(down) => self.handle_down(processes, from, down),
            Payload::Ack(alias, ack) => {
                processes
                    .commands
                    .push(alias.stripe(), Command::Acked { to: alias, ack });
                Ok(())
            }
            Payload::Reopened(connect) => {
                // Before the handler, which writes to it.
                if let Some(quota) = processes.commands.quota(connect.id) {
                    quota.reopen(connect.id.generation());
                }
                self.behavior
                    .handle_message(&mut env, from, Message::TcpConnect(connect))
            }
            Payload::Release(alias) => {
                if let Some(aside) = self.control.aside_mut() {
                    aside.release(alias);
                }
                Ok(())
            }
            Payload::Room => {
                if !env.control.leave_line(from) {
                    return Ok(());
                }
                let message = Message::Room(MessageRoom::new(from));
                self.behavior.handle_message(&mut env, from, message)
            }
            Payload::NotifyRoom(senders) => {
                processes.notify_room(env.control.pid, &senders);
                env.control.give_way();
                Ok(())
            }
            Payload::Barrier(token) => {
                // A process with input that is set aside is not drained.
                match self.control.aside_mut() {
                    Some(aside) => aside.hold_barrier(token),
                    None => drop(token),
                }
                Ok(())
            }
            Payload::Inspect(reply) => {
                let mut inspection = self.behavior.inspect(&mut env);
                processes.describe(self, &mut inspection);
                reply.send(inspection);
                Ok(())
            }
        }
    }

    /// A Down whose monitor has been taken back is dropped.
    fn handle_down(
        &mut self,
        processes: &Arc<Processes>,
        from: Pid,
        mut down: Box<MessageDown>,
    ) -> Result<(), Reason> {
        let known = processes.with_relations(self.control.pid, |relations| {
            relations.monitors.remove(&down.monitor)
        });
        let Some(Some(monitored)) = known else {
            return Ok(());
        };
        if let Some(name) = monitored.name {
            down.target = Target::Name(name);
        }
        let mut env = ProcessContext {
            processes,
            control: &mut self.control,
        };
        self.behavior
            .handle_message(&mut env, from, Message::Down(down))
    }

    fn handle_exit(
        &mut self,
        processes: &Arc<Processes>,
        from: Pid,
        signal: Box<MessageExit>,
        link: bool,
    ) -> Result<(), Reason> {
        if link {
            // Over a link that has been taken back meanwhile nothing comes any more.
            let linked = processes.with_relations(self.control.pid, |relations| {
                // The link ends with its signal: the other one is gone, and nothing else can come over it.
                relations.links.remove(&signal.from)
            });
            if linked != Some(true) {
                return Ok(());
            }
        }
        // Over a link `Kill` is the reason for which the other one has ended, and no kill of this process.
        if self.control.trap_exit && (link || signal.reason != Reason::Kill) {
            let mut env = ProcessContext {
                processes,
                control: &mut self.control,
            };
            let reason = signal.reason.clone();
            let outcome = self
                .behavior
                .handle_message(&mut env, from, Message::Exit(signal));
            // The process ends by a signal that it has trapped.
            self.control.is_signaled = outcome.as_ref().is_err_and(|ended| *ended == reason);
            return outcome;
        }
        // A normal end takes no linked process with it.
        if link && signal.reason == Reason::Normal {
            return Ok(());
        }
        self.control.is_signaled = true;
        Err(signal.reason)
    }
}
