//! The commands of a stripe: each one is a callback of one meta-process, or of all.

use std::task::Waker;

use super::{Due, Run, StopPhase};
use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::request::InspectReply;
use crate::bridge::{Command, Watcher};
use crate::error::Reason;
use crate::id::{Alias, Pid, Target};
use crate::inspect::Inspection;
use crate::message::{CompactMessage, MessageType};
use crate::meta::{MetaContext, MetaProcess};

impl Run<'_> {
    /// A table with an arm for each command, longer than other functions so that it can be read as one.
    // Part of the loop that calls it, which is in another file and so may be compiled apart.
    #[inline(always)]
    pub(super) fn handle_command(&mut self, command: Command) {
        match command {
            Command::Message { to, from, message } => self.handle_message(to, from, message),
            Command::Call { to, from, call } => {
                self.call_with(call.0.message_type(), to, |meta, cx| {
                    let (message, reply) = *call;
                    meta.handle_call(cx, from, message, reply)
                });
            }
            Command::Exit { to, reason } if self.inner.entries.get_mut(to).is_none() => {
                self.requeue_exit(to, reason);
            }
            Command::Exit {
                to,
                reason: Reason::Kill,
            } => self.end(to, &Reason::Kill),
            Command::Exit { to, reason } => {
                self.is_signaled = true;
                self.call(to, |meta, cx| meta.handle_exit(cx, reason));
                self.is_signaled = false;
            }
            Command::Watch { to, watcher } => self.watch(to, watcher),
            Command::Unwatch { to, watcher } => {
                if let Some(entry) = self.inner.entries.get_mut(to) {
                    entry.unwatch(&watcher);
                }
            }
            Command::Resume {
                to,
                mailbox,
                messages,
            } => self.resume(to, mailbox, messages),
            Command::Wake { to } => self.call(to, |meta, cx| meta.handle_resume(cx)),
            Command::Acked { to, ack } => self.call(to, |meta, cx| meta.handle_ack(cx, ack)),
            Command::Timer { to, deadline_ms } => self.timer_fired(to, deadline_ms),
            Command::Tick { to, from, tick } => {
                self.call_with(tick.message_type(), to, |meta, cx| match tick.take() {
                    Some(message) => meta.handle_message(cx, from, message),
                    None => Ok(()),
                });
            }
            Command::Inspect { to, reply } => self.inspect(to, reply),
            Command::Discard(message) => drop_catching(message),
            Command::Confirm { to, confirmed } => self.confirm(to, confirmed),
            Command::Drain { listener, closes } => {
                self.notify_all(|meta, cx| meta.handle_drain(cx, listener, closes));
            }
            Command::StopAccepting(called) => {
                // Before the calls, so that what they spawn gets the phase behind its `init`.
                self.inner.phase = StopPhase::Closed;
                self.notify_all(|meta, cx| meta.handle_stop(cx));
                // The token counts for the stripe, so it is dropped when every meta-process has been called.
                drop(called);
            }
            Command::Finish => {
                self.inner.phase = StopPhase::Finishing;
                self.notify_all(|meta, cx| meta.handle_finish(cx));
            }
        }
    }

    #[inline]
    fn handle_message(&mut self, to: Alias, from: Pid, message: CompactMessage) {
        let message_type = message.message_type();
        let Some(entry) = self.inner.entries.get_mut(to) else {
            return drop_catching(message);
        };
        match catch_panic(|| entry.meta.queue_output(message, self.now_ms)) {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                if !std::mem::replace(&mut entry.awaits_flush, true) {
                    self.inner.flush.push(to);
                }
            }
            Ok(Err(message)) => self.call_with(message_type, to, |meta, cx| {
                meta.handle_message(cx, from, message.unpack())
            }),
            Err(payload) => {
                self.handling = message_type;
                self.end_after(to, Some(payload));
                self.handling = MessageType::NONE;
            }
        }
    }

    /// Calls a meta-process with a message of that type, which a record of a slow callback names.
    #[inline]
    fn call_with(
        &mut self,
        message: MessageType,
        to: Alias,
        callback: impl FnOnce(&mut dyn MetaProcess, &mut MetaContext<'_>) -> Result<(), Reason>,
    ) {
        self.handling = message;
        self.call(to, callback);
        self.handling = MessageType::NONE;
    }

    /// The parent terminated after it adopted this child but before the child was queued here. The
    /// exit is queued again, so that it is handled after the spawn.
    #[cold]
    fn requeue_exit(&self, to: Alias, reason: Reason) {
        let commands = &self.services.commands;
        if commands.is_live(to) && !planted!(ExitOvertakesSpawn) {
            commands.push(self.stripe, Command::Exit { to, reason });
        }
    }

    /// An exit signal that came before the spawn was queued again, and so is what stands behind it.
    fn confirm(&mut self, to: Alias, confirmed: Waker) {
        let is_spawned = self.inner.entries.get_mut(to).is_some();
        if !is_spawned && self.services.commands.is_live(to) {
            let command = Command::Confirm { to, confirmed };
            self.services.commands.push(self.stripe, command);
        } else {
            confirmed.wake();
        }
    }

    fn timer_fired(&mut self, alias: Alias, armed_ms: u64) {
        let (now_ms, timers) = (self.now_ms, &self.services.timers);
        if let Some(entry) = self.inner.entries.get_mut(alias)
            && entry.timer_fired(alias, armed_ms, now_ms, timers)
        {
            entry.timer_is_due = true;
            // One with readiness is called for that first; `call_one` makes it due then.
            if entry.pending.is_empty() {
                let is_called = false;
                self.inner.due.push(Due { alias, is_called });
            }
        }
    }

    fn watch(&mut self, alias: Alias, watcher: Watcher) {
        match self.inner.entries.get_mut(alias) {
            Some(entry) => entry.watch(watcher),
            None => self
                .services
                .deliver
                .notify(watcher, Target::Alias(alias), &Reason::NoProcess),
        }
    }

    fn inspect(&mut self, alias: Alias, reply: InspectReply) {
        let quota = self.services.commands.quota(alias);
        let (queued, refused) = quota.map_or((0, 0), |quota| (quota.queued(), quota.refused()));
        let Some(entry) = self.inner.entries.get_mut(alias) else {
            return;
        };
        let (meta, parent) = (&entry.meta, entry.parent);
        let mut inspection = catch_panic(|| meta.handle_inspect()).unwrap_or_else(|payload| {
            drop_catching(payload);
            Inspection::default()
        });
        inspection.add("alias", alias);
        inspection.add("parent", parent);
        inspection.add("queued_bytes", queued);
        inspection.add("refused_sends", refused);
        reply.send(inspection);
    }

    fn notify_all(
        &mut self,
        what: impl Fn(&mut dyn MetaProcess, &mut MetaContext<'_>) -> Result<(), Reason>,
    ) {
        // The aliases are copied, because a callback may end this meta-process while the list is walked.
        for alias in self.inner.entries.aliases(self.stripe) {
            self.call(alias, &what);
        }
    }
}
