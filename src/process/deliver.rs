//! Delivery: a payload is put in a mailbox, and a process that was idle is queued.
//!
//! [`Processes::push`] is the one way into a mailbox. The verbs of `send` use it, and so does
//! [`Deliver`], by which the I/O half, the timers and the replies reach a process.
//!
//! Nothing here waits. Data that a full mailbox refuses comes back to its meta-process, which waits
//! for its turn. Control messages and acks are never refused, because their number is
//! bounded by what the process itself has asked for.

use super::class::{Class, PushError, Pushed};
use super::envelope::{Envelope, Payload};
use super::requests::timed_out;
use super::room::DropAt;
use super::table::Processes;
use crate::base::blocking::Job;
use crate::bridge::{
    Ack, Claim, Command, Deliver, SessionDrained, TimerEvent, Undelivered, Watcher,
};
use crate::error::Reason;
use crate::id::{Alias, Pid, Ref, Target};
use crate::message::{CompactMessage, Message, MessageReply, MessageTcpConnect, Priority};
use crate::record::Level;
use crate::scheduler::{Slot, Task};
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Processes {
    /// Puts a payload in a mailbox and gets the process to run.
    pub(super) fn push(
        &self,
        to: Pid,
        from: Pid,
        payload: Payload,
        class: Class,
        slot: Slot,
    ) -> Result<(), (PushError, Payload)> {
        self.push_inline(to, from, payload, class, slot)
    }

    /// As [`Processes::push`], inlined so that the class is a constant: for the callers that push most.
    #[inline(always)]
    pub(super) fn push_inline<L: Into<Payload>>(
        &self,
        to: Pid,
        from: Pid,
        payload: L,
        class: Class,
        slot: Slot,
    ) -> Result<(), (PushError, L)> {
        let Some(mailbox) = self.mailbox(to) else {
            return Err((PushError::Closed, payload));
        };
        match mailbox.push(to.generation(), from, payload, class) {
            Ok(Pushed::Behind) => Ok(()),
            Ok(Pushed::Idle) => {
                self.scheduler.push(Task::process(to.index()), slot);
                Ok(())
            }
            Err((PushError::Overflow, payload)) => {
                let payload = payload.into();
                self.push_over(to, Envelope { from, payload }, slot, DropAt::Here);
                Ok(())
            }
            Err(refused) => Err(refused),
        }
    }

    /// Sends a message whose sender is not there to take it back. The caller holds the poll, so that the drop of a
    /// message, which is code of the user, must run elsewhere.
    fn send_expired(&self, to: Target, from: Pid, message: Message) {
        let to = match to {
            Target::Pid(dead) if planted!(TimerReachesSuccessor) && !self.is_alive(dead) => {
                Target::Pid(self.pids().into_iter().next_back().unwrap_or(dead))
            }
            to => to,
        };
        let pid = match &to {
            Target::Pid(pid) => Some(*pid),
            Target::Name(name) => Deliver::resolve(self, name),
            Target::Alias(_) | Target::Event(_) => None,
        };
        let refused = match pid {
            Some(pid) => self
                .push_deferred(pid, from, CompactMessage::from(message).into(), Slot::Lifo)
                .err()
                .and_then(|(_, payload)| match payload? {
                    Payload::Message(message) => Some(message),
                    _ => None,
                }),
            None => self
                .send(from, to, message.into(), Priority::Normal)
                .err()
                .map(|error| error.into_message().into()),
        };
        if let Some(refused) = refused {
            // Any stripe can drop it, and the first one always exists.
            self.commands.push(0, Command::Discard(refused));
        }
    }

    /// As [`Processes::push`] for normal priority, on a thread that must not run the drop of what a full mailbox drops.
    /// A refused payload comes back, one that was dropped does not.
    pub(super) fn push_deferred(
        &self,
        to: Pid,
        from: Pid,
        payload: Payload,
        slot: Slot,
    ) -> Result<(), (PushError, Option<Payload>)> {
        let Some(mailbox) = self.mailbox(to) else {
            return Err((PushError::Closed, Some(payload)));
        };
        let class = Class::Normal(Priority::Normal);
        match mailbox.push(to.generation(), from, payload, class) {
            Ok(Pushed::Behind) => Ok(()),
            Ok(Pushed::Idle) => {
                self.scheduler.push(Task::process(to.index()), slot);
                Ok(())
            }
            Err((error @ PushError::Overflow, payload)) => {
                let envelope = Envelope { from, payload };
                match self.push_over(to, envelope, slot, DropAt::Stripe) {
                    true => Ok(()),
                    false => Err((error, None)),
                }
            }
            Err((error, payload)) => Err((error, Some(payload))),
        }
    }

    /// Whether a process may become the owner of a connection.
    pub(super) fn takes_connections(&self, pid: Pid) -> bool {
        self.cells.get(pid.index()).is_some_and(|cell| {
            !cell.is_pool.load(Ordering::Relaxed) && !cell.is_session.load(Ordering::Relaxed)
        })
    }
}

impl Deliver for Processes {
    fn deliver_data(
        &self,
        to: Pid,
        from: Pid,
        message: CompactMessage,
        claim: Claim,
    ) -> Result<(), Undelivered> {
        self.push_inline(to, from, message, Class::Data(claim), Slot::Fifo)
            .map_err(|(error, message)| match error {
                PushError::Closed => Undelivered::Gone(message),
                PushError::Full | PushError::Overflow => Undelivered::Full(message),
            })
    }

    fn end_turn(&self, to: Pid, messages: u32) {
        let mut resumed = Vec::new();
        if let Some(mailbox) = self.mailbox(to) {
            mailbox.end_turn(to.generation(), messages, &mut resumed);
        }
        self.resume(to, &mut resumed);
    }

    fn deliver_control(&self, to: Pid, from: Pid, message: Message) -> bool {
        self.push(
            to,
            from,
            CompactMessage::from(message).into(),
            Class::Control,
            Slot::Fifo,
        )
        .is_ok()
    }

    fn deliver_ack(&self, to: Pid, alias: Alias, ack: Ack) -> bool {
        self.push(
            to,
            Pid::NODE,
            Payload::Ack(alias, ack),
            Class::Control,
            Slot::Fifo,
        )
        .is_ok()
    }

    fn deliver_reopened(&self, to: Pid, connect: Box<MessageTcpConnect>) -> bool {
        self.push(
            to,
            Pid::NODE,
            Payload::Reopened(connect),
            Class::Control,
            Slot::Fifo,
        )
        .is_ok()
    }

    fn deliver_release(&self, to: Pid, alias: Alias) {
        // A process that has ended has nothing to give out.
        let _ = self.push(
            to,
            Pid::NODE,
            Payload::Release(alias),
            Class::Control,
            Slot::Lifo,
        );
    }

    fn deliver_drain(&self, to: Pid) {
        let is_session = self
            .cells
            .get(to.index())
            .is_some_and(|cell| cell.is_session.load(Ordering::Relaxed));
        if is_session {
            // One that has ended needs no end.
            let _ = self.deliver_control(to, to, Message::new(SessionDrained));
        }
    }

    fn notify(&self, watcher: Watcher, target: Target, reason: &Reason) {
        self.notify_watcher(watcher, target, reason);
    }

    fn handle_expired(&self, event: TimerEvent) {
        match event {
            TimerEvent::Send { to, from, message } => self.send_expired(to, from, message),
            TimerEvent::Tick(ticker) => self.tick(ticker),
            TimerEvent::Kill(to) => {
                let reason = Reason::Kill;
                self.commands
                    .push(to.stripe(), Command::Exit { to, reason });
            }
            TimerEvent::Control { to, message } => {
                // One that has ended needs no message to itself.
                let _ = self.deliver_control(to, to, message);
            }
            TimerEvent::Request(pid, request) => {
                // One that has ended waits for no answer.
                let _ = self.push(
                    pid,
                    Pid::NODE,
                    timed_out(request),
                    Class::Control,
                    Slot::Fifo,
                );
            }
            TimerEvent::Expire(expiry) => expiry.expire(),
            TimerEvent::Meta(alias, deadline_ms) => {
                self.commands.push(
                    alias.stripe(),
                    Command::Timer {
                        to: alias,
                        deadline_ms,
                    },
                );
            }
        }
    }

    fn adopt(&self, pid: Pid, alias: Alias) -> bool {
        self.with_related(pid, |related| related.adopt(alias))
            .is_some()
    }

    fn adopt_listener(&self, pid: Pid, alias: Alias) -> bool {
        self.with_relations(pid, |relations| {
            relations.listeners.insert(alias);
            relations.metas.insert(alias)
        })
        .is_some()
    }

    fn disown(&self, pid: Pid, alias: Alias) {
        self.with_related(pid, |related| related.disown(alias));
    }

    fn resolve(&self, name: &str) -> Option<Pid> {
        self.names.lock().get(name).copied()
    }

    fn is_pool(&self, pid: Pid) -> bool {
        // The flag is the cell's, where another process may live by now.
        self.is_alive(pid)
            && self
                .cells
                .get(pid.index())
                .is_some_and(|cell| cell.is_pool.load(Ordering::Relaxed))
    }

    fn log_level(&self, pid: Pid) -> Option<Level> {
        Self::log_level(self, pid)
    }

    fn is_alive(&self, pid: Pid) -> bool {
        self.mailbox(pid)
            .is_some_and(|mailbox| mailbox.is_open(pid.generation()))
    }

    fn is_waiting(&self, pid: Pid, request: Ref) -> bool {
        self.with_related(pid, |related| {
            let table = related.table();
            !table.is_some_and(|relations| relations.has_canceled(request))
        })
        .unwrap_or(false)
    }

    fn run_blocking(&self, pid: Pid, job: Job) -> Result<(), Job> {
        self.work.run(pid, job)
    }

    fn time_until(&self, deadline_ms: u64) -> Duration {
        Duration::from_millis(deadline_ms.saturating_sub(self.timers.clock().now_ms()))
    }

    fn deliver_reply(&self, pid: Pid, reply: Box<MessageReply>) {
        // A requester that is gone needs no answer.
        let _ = self.push(
            pid,
            Pid::NODE,
            Payload::Answer(reply),
            Class::Control,
            Slot::Lifo,
        );
    }
}
