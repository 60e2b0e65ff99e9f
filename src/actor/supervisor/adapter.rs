//! Carries out what the machine decides: gives runs their processes, and requests their answers.

use std::collections::HashMap;
use std::time::Duration;

use super::child::{Child, ChildInfo};
use super::command::{ChildCommand, ChildError, ChildResult};
use super::failed::ChildFailed;
use super::known::{Known, Process, late, state};
use super::machine::{Action, Cause, ChildId, Machine, Refusal, Request, Run, Status};
use super::policy::{AutoShutdown, Rules};
use crate::actor::Context;
use crate::base::order::in_order;
use crate::bridge::request::Reply;
use crate::bridge::{Deliver as _, TimerEvent};
use crate::error::Reason;
use crate::id::{Name, Pid, Target};
use crate::message::{Message, MessageDown, MessageExit};
use crate::process::StartReport;
use crate::time::wheel::TimerKey;

/// Messages of a supervisor to itself.
pub(super) enum Note {
    /// A child could not be spawned.
    Failed(Run, Reason),
    /// The machine's deadline.
    Deadline,
}

/// A running supervisor.
pub(super) struct Adapter {
    machine: Machine,
    auto_shutdown: AutoShutdown,
    children: HashMap<ChildId, Known>,
    names: HashMap<Name, ChildId>,
    /// The processes of the children, and those that have ended and whose `Down` is on its way.
    runs: HashMap<Pid, Run>,
    requests: HashMap<Request, Pending>,
    next_request: Request,
    /// The deadline that a timer is set for.
    deadline_timer: Option<(Duration, TimerKey)>,
    /// Reports that all first starts have succeeded, or why not.
    report: Option<StartReport>,
    /// What ends with the last child, once it is decided.
    reason: Option<Reason>,
    pub(super) stuck: u64,
}

/// A request under way.
struct Pending {
    reply: Reply,
    child: Option<ChildId>,
}

impl Adapter {
    pub(super) fn new(rules: Rules, report: Option<StartReport>) -> Self {
        Self {
            machine: Machine::new(rules),
            auto_shutdown: rules.auto_shutdown,
            children: HashMap::new(),
            names: HashMap::new(),
            runs: HashMap::new(),
            requests: HashMap::new(),
            next_request: 0,
            deadline_timer: None,
            report,
            reason: None,
            stuck: 0,
        }
    }

    pub(super) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        children: Vec<Child>,
    ) -> Result<(), Reason> {
        let now = now(cx);
        for child in children {
            self.add(child, None, now);
        }
        self.machine.begin(now);
        self.carry_out(cx)
    }

    fn add(&mut self, child: Child, request: Option<Request>, now: Duration) {
        let (name, policy) = (child.name.clone(), child.policy);
        // The machine only queues its actions: the child is known before they are carried out.
        let Some(id) = self.machine.add(policy, request, now) else {
            return;
        };
        self.names.insert(name, id);
        if let Some(pending) = request.and_then(|request| self.requests.get_mut(&request)) {
            pending.child = Some(id);
        }
        let known = Known {
            child,
            process: None,
            last: None,
        };
        self.children.insert(id, known);
    }

    // ---- What happens ----

    pub(super) fn handle_down(
        &mut self,
        cx: &mut Context<'_>,
        down: MessageDown,
    ) -> Result<(), Reason> {
        let Target::Pid(pid) = down.target else {
            return Ok(());
        };
        // An abandoned process was taken out, and its end changes nothing.
        let Some(run) = self.runs.remove(&pid) else {
            return Ok(());
        };
        if let Some(known) = self.children.get_mut(&run.child) {
            let process = known.process.take();
            known.last = Some(match process {
                Some(process) if process.is_late => late(),
                _ => down.reason.clone(),
            });
        }
        self.ended(cx, run, &down.reason)
    }

    fn ended(&mut self, cx: &mut Context<'_>, run: Run, reason: &Reason) -> Result<(), Reason> {
        // A child may have ended because the node stops, and must not be restarted then.
        if cx.env().processes.is_stopping() {
            self.machine.freeze();
        }
        let orderly = matches!(reason, Reason::Normal | Reason::Shutdown);
        self.machine.ended(run, orderly, now(cx));
        self.carry_out(cx)
    }

    pub(super) fn handle_start(&mut self, cx: &mut Context<'_>, pid: Pid) -> Result<(), Reason> {
        // An abandoned process may still report its start.
        let Some(run) = self.runs.get(&pid).copied() else {
            return Ok(());
        };
        if let Some(process) = self.process(run) {
            process.has_started = true;
        }
        self.machine.started(run, now(cx));
        self.carry_out(cx)
    }

    pub(super) fn handle_note(&mut self, cx: &mut Context<'_>, note: Note) -> Result<(), Reason> {
        match note {
            Note::Failed(run, reason) => {
                if let Some(known) = self.children.get_mut(&run.child) {
                    known.last = Some(reason.clone());
                }
                self.ended(cx, run, &reason)
            }
            Note::Deadline => {
                self.deadline_timer = None;
                if cx.env().processes.is_stopping() {
                    self.machine.freeze();
                }
                self.machine.expire(now(cx));
                self.carry_out(cx)
            }
        }
    }

    /// An exit signal is a request to end in order. One over a link with a child says nothing that
    /// its monitor does not.
    pub(super) fn handle_exit(
        &mut self,
        cx: &mut Context<'_>,
        exit: MessageExit,
    ) -> Result<(), Reason> {
        let is_of_child = matches!(exit.from, Target::Pid(pid) if self.runs.contains_key(&pid));
        if is_of_child || exit.reason == Reason::Normal {
            return Ok(());
        }
        // The first cause stays: a supervisor that is ending for a failure keeps that reason.
        if self.machine.cause().is_none() {
            self.reason = Some(exit.reason);
        }
        self.machine.shut_down(now(cx));
        self.carry_out(cx)
    }

    pub(super) fn handle_command(
        &mut self,
        cx: &mut Context<'_>,
        command: ChildCommand,
        reply: Reply,
    ) -> Result<(), Reason> {
        let (command, target) = match command {
            ChildCommand::List => {
                reply.send(self.list());
                return Ok(());
            }
            ChildCommand::Add(child) => return self.handle_add(cx, child, reply),
            ChildCommand::One(command, target) => (command, target),
        };
        let Some(id) = self.find(&target) else {
            answer(reply, Err(ChildError::Unknown));
            return Ok(());
        };
        let request = self.pend(reply, Some(id));
        self.machine.command(id, command, request, now(cx));
        self.carry_out(cx)
    }

    fn handle_add(
        &mut self,
        cx: &mut Context<'_>,
        child: Child,
        reply: Reply,
    ) -> Result<(), Reason> {
        // Refused before the machine knows of the child, which has no name for it.
        let refused = if self.names.contains_key(&child.name) {
            Some(ChildError::NameTaken)
        } else {
            child.validate(self.auto_shutdown).err().map(Into::into)
        };
        if let Some(refused) = refused {
            answer(reply, Err(refused));
            return Ok(());
        }
        let request = self.pend(reply, None);
        self.add(child, Some(request), now(cx));
        self.carry_out(cx)
    }

    fn pend(&mut self, reply: Reply, child: Option<ChildId>) -> Request {
        self.next_request += 1;
        self.requests
            .insert(self.next_request, Pending { reply, child });
        self.next_request
    }

    fn find(&self, target: &Target) -> Option<ChildId> {
        match target {
            Target::Name(name) => self.names.get(name).copied(),
            Target::Event(_) => None,
            Target::Pid(pid) => self.runs.get(pid).map(|run| run.child),
            Target::Alias(_) => None,
        }
    }

    // ---- What the machine decides ----

    /// `Err`: the supervisor ends.
    fn carry_out(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        self.note_cause();
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::Start(run) => self.start(cx, run),
                Action::ShutDown(run) => self.signal(cx, run, Reason::Shutdown),
                Action::Kill(run) => self.kill(cx, run),
                Action::Abandon(run) => self.abandon(cx, run),
                Action::Forget(id) => self.forget(id),
                Action::Answer(request, result) => self.answer(request, result),
                Action::Ready => {
                    if let Some(report) = self.report.take() {
                        let pid = cx.pid();
                        report.started(cx.env().processes, pid);
                    }
                }
                Action::End(_) => {
                    let reason = self.reason.take().unwrap_or(Reason::Shutdown);
                    // The spawner waits for the start and would wait for ever.
                    if let Some(report) = self.report.take() {
                        report.failed(reason.clone());
                    }
                    return Err(reason);
                }
            }
        }
        self.set_deadline_timer(cx);
        Ok(())
    }

    /// Keeps the reason for the end as soon as it is decided: the child is forgotten by then.
    fn note_cause(&mut self) {
        let (id, too_often) = match self.machine.cause() {
            Some(Cause::StartFailed(id)) => (id, false),
            Some(Cause::Intensity(id)) => (id, true),
            Some(Cause::Requested | Cause::Significant(_)) | None => return,
        };
        let Some(known) = self.children.get(&id).filter(|_| self.reason.is_none()) else {
            return;
        };
        self.reason = Some(Reason::from(ChildFailed {
            child: known.child.name.clone(),
            reason: known.failure(),
            too_often,
        }));
    }

    fn start(&mut self, cx: &mut Context<'_>, run: Run) {
        let Some(known) = self.children.get_mut(&run.child) else {
            return;
        };
        let starter = Box::new(known.child.starter());
        match cx.env().spawn_child(&known.child.options, starter) {
            Ok((pid, monitor)) => {
                known.process = Some(Process {
                    pid,
                    monitor,
                    has_started: false,
                    is_late: false,
                });
                self.runs.insert(pid, run);
            }
            // Reported by a message, so that a child that cannot be spawned does not keep this
            // handler from returning.
            Err(error) => note(cx, Note::Failed(run, error.into())),
        }
    }

    fn process(&mut self, run: Run) -> Option<&mut Process> {
        self.children.get_mut(&run.child)?.process.as_mut()
    }

    fn signal(&mut self, cx: &mut Context<'_>, run: Run, reason: Reason) {
        if let Some(process) = self.process(run) {
            // It may have ended just now; its `Down` is on its way.
            let _ = cx.send_exit(process.pid, reason);
        }
    }

    fn kill(&mut self, cx: &mut Context<'_>, run: Run) {
        // A child that is killed before it has started was too slow, and its reason says so.
        if let Some(process) = self.process(run) {
            process.is_late = !process.has_started;
        }
        self.signal(cx, run, Reason::Kill);
    }

    /// The process is stuck in a handler. Nothing of it must be in the way of its successor.
    fn abandon(&mut self, cx: &mut Context<'_>, run: Run) {
        let Some(known) = self.children.get_mut(&run.child) else {
            return;
        };
        // Before the process is taken: its failure is that it does not end.
        known.last = Some(known.failure());
        let Some(process) = known.process.take() else {
            return;
        };
        self.stuck += 1;
        self.runs.remove(&process.pid);
        // Its `Down` would come if the handler returns after all, for a child that has a successor by then.
        cx.demonitor(process.monitor);
        cx.env().processes.abandon(process.pid);
    }

    fn forget(&mut self, id: ChildId) {
        if let Some(known) = self.children.remove(&id) {
            self.names.remove(&known.child.name);
        }
    }

    fn answer(&mut self, request: Request, result: Result<(), Refusal>) {
        let Some(Pending { reply, child }) = self.requests.remove(&request) else {
            return;
        };
        let known = child.and_then(|id| self.children.get(&id));
        let pid = known.and_then(|known| known.process.as_ref().map(|process| process.pid));
        let failure = known.and_then(|known| known.last.clone());
        answer(
            reply,
            result
                .map(|()| pid)
                .map_err(|refusal| ChildError::new(refusal, failure)),
        );
    }

    fn set_deadline_timer(&mut self, cx: &mut Context<'_>) {
        let deadline = self.machine.deadline();
        // The usual action changes no deadline, and a timer costs a lock.
        if self.deadline_timer.as_ref().map(|(deadline, _)| *deadline) == deadline {
            return;
        }
        let to = cx.pid();
        let timers = &cx.env().processes.timers;
        if let Some((_, timer)) = self.deadline_timer.take() {
            timers.cancel(timer);
        }
        if let Some(deadline) = deadline {
            let wait = deadline.saturating_sub(timers.clock().elapsed());
            let message = Message::new(Note::Deadline);
            // A control message, because a full mailbox must not lose it: a child that does not end would be waited
            // for.
            self.deadline_timer = Some((
                deadline,
                timers.after(wait, TimerEvent::Control { to, message }),
            ));
        }
    }

    /// Kills the children: the supervisor ends without having ended them.
    pub(super) fn kill_all(self, cx: &mut Context<'_>) {
        let processes = self.children.into_values();
        for pid in in_order(processes.filter_map(|known| Some(known.process?.pid))) {
            // It may have ended already.
            let _ = cx.send_exit(pid, Reason::Kill);
        }
    }

    pub(super) fn list(&self) -> Vec<ChildInfo> {
        let info = |(id, status): (ChildId, Status)| {
            let known = self.children.get(&id)?;
            Some(ChildInfo {
                name: known.child.name.clone(),
                pid: known.process.as_ref().map(|process| process.pid),
                state: state(status),
                restart: known.child.policy.restart,
                starts: status.runs,
            })
        };
        self.machine.children().filter_map(info).collect()
    }
}

fn answer(reply: Reply, result: ChildResult) {
    reply.send(result);
}

fn now(cx: &mut Context<'_>) -> Duration {
    cx.env().processes.timers.clock().elapsed()
}

fn note(cx: &mut Context<'_>, note: Note) {
    let pid = cx.pid();
    cx.env()
        .processes
        .deliver_control(pid, pid, Message::new(note));
}
