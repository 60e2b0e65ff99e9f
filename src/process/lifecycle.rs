//! The life of one process as its own callbacks see it: [`ProcessContext`], and the seam [`Behavior`] to the actor half.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Processes;
use super::envelope::{Envelope, Payload};
use super::mailbox::Batch;
use super::relations::Monitored;
use super::set_aside::SetAside;
use super::spawn::StartReport;
use super::timers::{OwnedTimers, TimerId};
use crate::bridge::request::Reply;
use crate::bridge::{Command, TimerEvent, Watcher};
use crate::error::Reason;
use crate::error::{RequestError, SendErrorKind};
use crate::id::{Alias, Name, Pid, Ref, Target};
use crate::inspect::Inspection;
use crate::message::{CompactMessage, MessageType};
use crate::message::{Message, MessageDown, MessageExit, MessageReply, SendError};
use crate::time::wheel::TimerKey;

/// What a process does. All calls come from one thread at a time.
pub(crate) trait Behavior: Send {
    fn init(&mut self, env: &mut ProcessContext<'_>) -> Result<(), Reason>;
    fn handle_message(
        &mut self,
        env: &mut ProcessContext<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason>;
    fn handle_call(
        &mut self,
        env: &mut ProcessContext<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason>;
    fn inspect(&mut self, env: &mut ProcessContext<'_>) -> Inspection;
    fn terminate(&mut self, env: &mut ProcessContext<'_>, reason: &Reason);

    /// The same for a message as it travels.
    fn handle_packed(
        &mut self,
        env: &mut ProcessContext<'_>,
        from: Pid,
        message: CompactMessage,
    ) -> Result<(), Reason> {
        self.handle_message(env, from, message.unpack())
    }

    /// The type of the actor, for records.
    fn type_name(&self) -> &'static str;

    /// The same as a number.
    fn type_number(&self) -> MessageType;

    /// Whether messages are spread over workers; such a process cannot own connections.
    fn is_pool(&self) -> bool;
}

/// What belongs to a process besides the user's state.
#[derive(Debug)]
pub(crate) struct ProcessInfo {
    pub(crate) pid: Pid,
    pub(crate) parent: Pid,
    pub(crate) name: Option<Name>,
    pub(crate) trap_exit: bool,
    /// It ends with its parent, which keeps it among its dependents.
    pub(super) is_dependent: bool,
    /// Its last activation has left it a backlog.
    pub(super) has_backlog: bool,
    /// When it was spawned, on the node's clock.
    pub(super) born_ms: u64,
    /// An exit signal of another process terminates it.
    pub(super) is_signaled: bool,
    /// Messages sent in this activation.
    pub(crate) sent: u32,
    cold: Option<Box<ColdState>>,
}

/// Rarely used state of a process, allocated on first use.
#[derive(Debug, Default)]
struct ColdState {
    /// Requests under way, with the timer that ends the wait.
    requests: HashMap<Ref, TimerKey>,
    /// To whom its start is to be reported.
    start_report: Option<StartReport>,
    /// Input of connections whose output is above its high mark.
    aside: Option<Box<SetAside>>,
    timers: Option<Box<OwnedTimers>>,
}

impl ColdState {
    fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.aside.is_none()
            && self.start_report.is_none()
            && self.timers.is_none()
    }
}

/// A process between its activations.
pub(super) struct Process {
    pub(super) life: ProcessInfo,
    pub(super) batch: Batch,
    pub(super) behavior: Box<dyn Behavior>,
}

impl ProcessInfo {
    pub(super) fn new(pid: Pid, parent: Pid, born_ms: u64, report: Option<StartReport>) -> Self {
        let cold = report.map(|report| {
            Box::new(ColdState {
                start_report: Some(report),
                ..ColdState::default()
            })
        });
        Self {
            pid,
            parent,
            name: None,
            trap_exit: false,
            is_dependent: false,
            has_backlog: false,
            born_ms,
            is_signaled: false,
            sent: 0,
            cold,
        }
    }

    /// Counts a message that was sent, against the budget of the activation.
    #[inline]
    pub(crate) fn count_send(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// Ends the wait for a request. Returns `false` if there is none.
    fn forget_request(&mut self, request: Ref, processes: &Processes) -> bool {
        let Some(cold) = &mut self.cold else {
            return false;
        };
        let Some(timer) = cold.requests.remove(&request) else {
            return false;
        };
        processes.timers.cancel(timer);
        self.free_cold_state();
        true
    }

    /// Cancels the timers of a process that has ended, those of its requests included.
    pub(super) fn cancel_all_timers(&mut self, processes: &Processes) {
        let Some(cold) = self.cold.take() else {
            return;
        };
        for timer in cold.requests.into_values() {
            processes.timers.cancel(timer);
        }
        if let Some(timers) = cold.timers {
            timers.cancel_all(processes);
        }
    }

    /// Has the timer end with this process.
    pub(super) fn own_timer(&mut self, id: TimerId, processes: &Processes) {
        let cold = self.cold.get_or_insert_default();
        cold.timers.get_or_insert_default().add(id, processes);
    }

    pub(super) fn forget_timer(&mut self, id: TimerId) {
        let Some(cold) = &mut self.cold else { return };
        if cold.timers.take_if(|timers| timers.remove(id)).is_some() {
            self.free_cold_state();
        }
    }

    /// To whom the start of this process is to be reported, once.
    pub(crate) fn take_start_report(&mut self) -> Option<StartReport> {
        let report = self.cold.as_mut()?.start_report.take();
        self.free_cold_state();
        report
    }

    /// Input of connections that waits for their output.
    #[inline]
    pub(super) fn aside(&self) -> Option<&SetAside> {
        self.cold.as_ref()?.aside.as_deref()
    }

    fn aside_mut(&mut self) -> Option<&mut SetAside> {
        self.cold.as_mut()?.aside.as_deref_mut()
    }

    fn free_cold_state(&mut self) {
        self.cold.take_if(|cold| cold.is_empty());
    }
}

impl Process {
    /// The connection behind whose input an envelope must be set aside, if there is one.
    #[inline]
    pub(super) fn held(&self, processes: &Processes, envelope: &Envelope) -> Option<Alias> {
        match &envelope.payload {
            Payload::Message(CompactMessage::Tcp(packet)) if self.holds(processes, packet.id) => {
                Some(packet.id)
            }
            payload if self.life.aside().is_some() => self.held_behind(payload),
            _ => None,
        }
    }

    /// Whether data of the connection is set aside.
    #[inline]
    fn holds(&self, processes: &Processes, alias: Alias) -> bool {
        let is_above = processes.commands.quota(alias).is_some_and(|quota| {
            // A process that gets the data from the owner gets no release.
            quota.holds_input(alias.generation()) && quota.is_owner(self.life.pid)
        });
        is_above || self.life.aside().is_some_and(|aside| aside.contains(alias))
    }

    /// The connection behind whose input this must wait.
    #[cold]
    fn held_behind(&self, payload: &Payload) -> Option<Alias> {
        let alias = match payload {
            Payload::Ack(alias, _) => *alias,
            Payload::Message(message) => message.input_of()?,
            _ => return None,
        };
        let aside = self.life.aside()?;
        aside.contains(alias).then_some(alias)
    }

    #[cold]
    pub(super) fn set_aside(&mut self, alias: Alias, envelope: Option<Envelope>) {
        let Some(envelope) = envelope else { return };
        let cold = self.life.cold.get_or_insert_default();
        let aside = cold.aside.get_or_insert_default();
        let is_last =
            matches!(&envelope.payload, Payload::Message(message) if message.is_disconnect());
        aside.hold(alias, envelope);
        if is_last {
            aside.release(alias);
        }
    }

    /// Whether input that was set aside may be handled.
    #[inline]
    pub(super) fn has_released(&self) -> bool {
        self.life.aside().is_some_and(SetAside::has_released)
    }

    /// The next envelope that was set aside and may be handled.
    #[cold]
    pub(super) fn next_released(&mut self, processes: &Processes) -> Option<Envelope> {
        let aside = self.life.aside_mut()?;
        let envelope = aside.next(|alias| {
            let quota = processes.commands.quota(alias);
            quota.is_some_and(|quota| quota.holds_input(alias.generation()))
        });
        if aside.is_empty()
            && let Some(cold) = &mut self.life.cold
        {
            cold.aside = None;
            self.life.free_cold_state();
        }
        envelope
    }

    /// Handles one envelope, whatever its connection has queued. `Err`: the process ends.
    #[inline]
    pub(super) fn handle_now(
        &mut self,
        processes: &Arc<Processes>,
        envelope: Envelope,
    ) -> Result<(), Reason> {
        let Envelope { from, payload } = envelope;
        match payload {
            Payload::Message(message) => {
                let mut env = ProcessContext {
                    processes,
                    life: &mut self.life,
                };
                self.behavior.handle_packed(&mut env, from, message)
            }
            payload => self.handle_rare(processes, from, payload),
        }
    }

    /// Handles what is no message: requests, signals, answers and questions.
    #[inline(never)]
    fn handle_rare(
        &mut self,
        processes: &Arc<Processes>,
        from: Pid,
        payload: Payload,
    ) -> Result<(), Reason> {
        let mut env = ProcessContext {
            processes,
            life: &mut self.life,
        };
        match payload {
            Payload::Message(message) => self.behavior.handle_packed(&mut env, from, message),
            Payload::Call(call) => {
                let (message, reply) = *call;
                self.behavior.handle_call(&mut env, from, message, reply)
            }
            Payload::Exit { signal, link } => self.handle_exit(processes, from, signal, link),
            Payload::Answer(reply) => {
                if !env.life.forget_request(reply.request, processes) {
                    return Ok(());
                }
                self.behavior
                    .handle_message(&mut env, from, Message::Reply(reply))
            }
            Payload::Tick(tick) => match tick.take() {
                Some(message) => self.behavior.handle_message(&mut env, from, message),
                None => Ok(()),
            },
            Payload::Down(mut down) => {
                let known = processes.with_relations(env.life.pid, |relations| {
                    relations.monitors.remove(&down.monitor)
                });
                let Some(Some(monitored)) = known else {
                    return Ok(());
                };
                if let Some(name) = monitored.name {
                    down.target = Target::Name(name);
                }
                self.behavior
                    .handle_message(&mut env, from, Message::Down(down))
            }
            Payload::Ack(alias, mark) => {
                processes
                    .commands
                    .push(alias.stripe(), Command::Acked { to: alias, mark });
                Ok(())
            }
            Payload::Release(alias) => {
                if let Some(aside) = self.life.aside_mut() {
                    aside.release(alias);
                }
                Ok(())
            }
            Payload::Barrier(token) => {
                match self.life.aside_mut() {
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

    fn handle_exit(
        &mut self,
        processes: &Arc<Processes>,
        from: Pid,
        signal: Box<MessageExit>,
        link: bool,
    ) -> Result<(), Reason> {
        if link {
            // Over a link that has been taken back meanwhile nothing comes any more.
            let linked = processes.with_relations(self.life.pid, |relations| {
                relations.links.remove(&signal.from)
            });
            if linked != Some(true) {
                return Ok(());
            }
        }
        if self.life.trap_exit && (link || signal.reason != Reason::Kill) {
            let mut env = ProcessContext {
                processes,
                life: &mut self.life,
            };
            let reason = signal.reason.clone();
            let outcome = self
                .behavior
                .handle_message(&mut env, from, Message::Exit(signal));
            // The process obeys a signal that it has trapped.
            self.life.is_signaled = outcome.as_ref().is_err_and(|ended| *ended == reason);
            return outcome;
        }
        if link && signal.reason == Reason::Normal {
            return Ok(());
        }
        self.life.is_signaled = true;
        Err(signal.reason)
    }
}

/// What the callbacks of a process can do.
pub(crate) struct ProcessContext<'a> {
    pub(crate) processes: &'a Arc<Processes>,
    pub(crate) life: &'a mut ProcessInfo,
}

impl ProcessContext<'_> {
    /// Whether the output of the connection is above its high mark, so that its input waits.
    pub(crate) fn holds_input(&self, alias: Alias) -> bool {
        let quota = self.processes.commands.quota(alias);
        quota.is_some_and(|quota| quota.holds_input(alias.generation()))
    }

    /// Sends a message to this process that comes when the output of the connection has fallen to its low mark, before
    /// input that comes later.
    pub(crate) fn send_at_low_mark(&mut self, alias: Alias, message: Message) {
        let envelope = Envelope {
            from: self.life.pid,
            payload: Payload::Message(message.into()),
        };
        let cold = self.life.cold.get_or_insert_default();
        let aside = cold.aside.get_or_insert_default();
        aside.hold(alias, envelope);
    }

    /// Asks; the answer, or why there is none, comes as a [`Message::Reply`].
    pub(crate) fn request(
        &mut self,
        to: Target,
        message: Message,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        let (request, reply) = self.expect_reply(timeout);
        let sent = self.processes.call(self.life.pid, to, message, reply);
        sent.map(|()| request).inspect_err(|_| {
            self.life.forget_request(request, self.processes);
        })
    }

    /// Asks the target about itself.
    pub(crate) fn inspect(&mut self, to: Target, timeout: Duration) -> Result<Ref, SendErrorKind> {
        let (request, reply) = self.expect_reply(timeout);
        let sent = self.processes.inspect(to, reply);
        sent.map(|()| request).inspect_err(|_| {
            self.life.forget_request(request, self.processes);
        })
    }

    fn expect_reply(&mut self, timeout: Duration) -> (Ref, Reply) {
        let request = self.processes.next_ref();
        let pid = self.life.pid;
        let timer = self
            .processes
            .timers
            .after(timeout, TimerEvent::Request(pid, request));
        let cold = self.life.cold.get_or_insert_default();
        cold.requests.insert(request, timer);
        (
            request,
            Reply::to_process(pid, request, Arc::clone(self.processes) as _),
        )
    }

    /// Links both ways. A target that is gone answers with an exit signal.
    pub(crate) fn link(&self, target: Target) -> Result<(), SendErrorKind> {
        let me = self.life.pid;
        let target = self.processes.locate(target)?;
        if target == Target::Pid(me) {
            return Ok(());
        }
        let fresh = self
            .processes
            .with_relations(me, |relations| relations.links.insert(target.clone()));
        if fresh != Some(true) {
            return Ok(());
        }
        match &target {
            Target::Pid(pid) => {
                let linked = self
                    .processes
                    .with_relations(*pid, |relations| relations.links.insert(Target::Pid(me)));
                if linked.is_none() {
                    self.processes
                        .notify_watcher(Watcher::Link(me), target, &Reason::NoProcess);
                }
            }
            Target::Alias(alias) => {
                self.watch(*alias, Watcher::Link(me));
            }
            Target::Name(_) => {}
        }
        Ok(())
    }

    /// Takes a link back. Nothing comes over it any more, not even what is on its way.
    pub(crate) fn unlink(&self, target: Target) {
        let me = self.life.pid;
        let Ok(target) = self.processes.locate(target) else {
            return;
        };
        self.processes
            .with_relations(me, |relations| relations.links.remove(&target));
        match target {
            Target::Pid(pid) => {
                self.processes
                    .with_relations(pid, |relations| relations.links.remove(&Target::Pid(me)));
            }
            Target::Alias(alias) => {
                let command = Command::Unwatch {
                    to: alias,
                    watcher: Watcher::Link(me),
                };
                self.processes.commands.push(alias.stripe(), command);
            }
            Target::Name(_) => {}
        }
    }

    /// Requests one [`Message::Down`] at the end of the target.
    pub(crate) fn monitor(&self, target: Target) -> Ref {
        let monitor = self.processes.next_ref();
        let me = self.life.pid;
        let located = self.processes.locate(target.clone());
        let name = if let Target::Name(name) = &target {
            Some(name.clone())
        } else {
            None
        };
        let monitored = Monitored {
            target: located.clone().unwrap_or(target.clone()),
            name,
        };
        let noted = self.processes.with_relations(me, |relations| {
            relations.monitors.insert(monitor, monitored)
        });
        if noted.is_none() {
            // In `terminate`: nothing comes any more, and the watcher would never be removed.
            return monitor;
        }
        let watcher = Watcher::Monitor(me, monitor);
        match located {
            Ok(Target::Pid(pid)) => {
                let watched = self
                    .processes
                    .with_relations(pid, |relations| relations.watchers.insert(watcher.clone()));
                if watched.is_none() {
                    self.processes
                        .notify_watcher(watcher, target, &Reason::NoProcess);
                }
            }
            Ok(Target::Alias(alias)) => self.watch(alias, watcher),
            _ => self
                .processes
                .notify_watcher(watcher, target, &Reason::NoProcess),
        }
        monitor
    }

    /// Takes a monitor back. Its `Down` does not come any more.
    pub(crate) fn demonitor(&self, monitor: Ref) {
        let me = self.life.pid;
        let Some(Some(monitored)) = self
            .processes
            .with_relations(me, |relations| relations.monitors.remove(&monitor))
        else {
            return;
        };
        self.processes
            .unwatch(&monitored.target, Watcher::Monitor(me, monitor));
    }

    fn watch(&self, alias: Alias, watcher: Watcher) {
        self.processes
            .commands
            .push(alias.stripe(), Command::Watch { to: alias, watcher });
    }
}

impl fmt::Debug for ProcessContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessContext")
            .field("pid", &self.life.pid)
            .finish_non_exhaustive()
    }
}

/// The payload for a watcher that is a process; another watcher is notified here.
pub(super) fn exit_or_down(
    watcher: &Watcher,
    target: Target,
    reason: &Reason,
) -> Option<(Pid, Payload)> {
    match watcher {
        Watcher::Link(pid) => {
            let signal = Box::new(MessageExit {
                from: target,
                reason: reason.clone(),
            });
            Some((*pid, Payload::Exit { signal, link: true }))
        }
        Watcher::Monitor(pid, monitor) => {
            let down = Box::new(MessageDown {
                monitor: *monitor,
                target,
                reason: reason.clone(),
            });
            Some((*pid, Payload::Down(down)))
        }
        Watcher::Outside(exit_or_down) => {
            exit_or_down.notify(reason);
            None
        }
    }
}

/// The answer that a timeout gives.
pub(super) fn timed_out(request: Ref) -> Payload {
    Payload::Answer(Box::new(MessageReply {
        request,
        result: Err(RequestError::Timeout),
    }))
}
