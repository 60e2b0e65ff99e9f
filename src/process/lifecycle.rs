//! The life of one process as its own callbacks see it: [`ProcessContext`], and the seam [`Behavior`] to the actor
//! half.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::Processes;
use super::environment::Environment;
use super::events::{self, EventState};
use super::mailbox::Batch;
use super::requests::Waiting;
use super::set_aside::SetAside;
use super::spawn::StartReport;
use super::timers::OwnedTimers;
use crate::bridge::TimerId;
use crate::bridge::request::Reply;
use crate::error::Reason;
use crate::id::{Name, Pid, Ref};
use crate::inspect::Inspection;
use crate::message::Message;
use crate::message::{CompactMessage, MessageType};

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

    /// The actor.
    fn as_any(&self) -> &dyn Any;

    /// Whether messages are spread over workers; such a process cannot own connections.
    fn is_pool(&self) -> bool;

    /// Whether it has a connection of its own, so that it takes no other over.
    fn is_session(&self) -> bool {
        false
    }
}

/// The control block of a process, in the sense of an operating system: what the runtime keeps of it between
/// activations, besides its mailbox and the user's state.
#[derive(Debug)]
pub(crate) struct ControlBlock {
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
    pub(super) cold: Option<Box<ColdState>>,
}

/// Rarely used state of a process, allocated on first use.
#[derive(Debug, Default)]
pub(super) struct ColdState {
    /// Requests under way.
    requests: HashMap<Ref, Waiting>,
    /// To whom its start is to be reported.
    start_report: Option<StartReport>,
    /// Input of connections whose output is above its high mark.
    pub(super) aside: Option<Box<SetAside>>,
    timers: Option<Box<OwnedTimers>>,
    /// Events that it has registered.
    events: HashMap<Name, Arc<EventState>>,
    /// What it has for those that it spawns, and from its parent.
    environment: Environment,
    /// Mailboxes of which it waits for room, with its tickets.
    lines: HashMap<Pid, u64>,
    /// It has a place among the processes with threads of their own.
    has_own_thread: bool,
}

impl ColdState {
    fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.aside.is_none()
            && self.start_report.is_none()
            && self.timers.is_none()
            && self.events.is_empty()
            && self.lines.is_empty()
            && self.environment.is_empty()
            && !self.has_own_thread
    }
}

/// A process between its activations.
pub(super) struct Process {
    pub(super) control: ControlBlock,
    pub(super) batch: Batch,
    pub(super) behavior: Box<dyn Behavior>,
}

impl ControlBlock {
    #[inline]
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
        // Saturating: a handler that sends four billion messages is over its budget all the same.
        self.sent = self.sent.saturating_add(1);
    }

    pub(super) fn add_request(&mut self, request: Ref, waiting: Waiting) {
        let cold = self.cold.get_or_insert_default();
        cold.requests.insert(request, waiting);
    }

    pub(super) fn remove_request(&mut self, request: Ref) -> Option<Waiting> {
        let removed = self.cold.as_mut()?.requests.remove(&request)?;
        self.free_cold_state();
        Some(removed)
    }

    /// Cancels the timers of a process that has ended, those of its requests included.
    pub(super) fn cancel_all_timers(&mut self, processes: &Processes) {
        let Some(cold) = self.cold.take() else {
            return;
        };
        for timer in cold
            .requests
            .into_values()
            .filter_map(|waiting| waiting.timer)
        {
            // The answer would be dropped by a process that is gone, but its timer would stay in the wheel until then.
            processes.timers.cancel(timer);
        }
        // A timer that is not canceled could fire for the successor, which has the name that it was set to.
        if let Some(timers) = cold.timers
            && !planted!(TimerReachesSuccessor)
        {
            timers.cancel_all(processes);
        }
    }

    pub(super) fn own_event(&mut self, state: Arc<EventState>) {
        let cold = self.cold.get_or_insert_default();
        cold.events.insert(state.name().clone(), state);
    }

    pub(crate) fn forget_event(&mut self, state: &Arc<EventState>) {
        if let Some(cold) = &mut self.cold {
            let own = cold.events.get(state.name());
            // The name may have been registered again since.
            if own.is_some_and(|own| Arc::ptr_eq(own, state)) {
                cold.events.remove(state.name());
            }
            self.free_cold_state();
        }
    }

    /// Sorted by name.
    pub(super) fn take_events(&mut self) -> Vec<Arc<EventState>> {
        let cold = self.cold.as_mut();
        let events = cold.map(|cold| std::mem::take(&mut cold.events));
        events::sorted(events.unwrap_or_default().into_values().collect())
    }

    #[inline]
    pub(super) fn environment(&self) -> Option<&Environment> {
        self.cold.as_ref().map(|cold| &cold.environment)
    }

    /// The environment, to add a value.
    #[cold]
    pub(super) fn environment_mut(&mut self) -> &mut Environment {
        &mut self.cold.get_or_insert_default().environment
    }

    pub(super) fn stands_in_line(&self, target: Pid) -> bool {
        let cold = self.cold.as_ref();
        cold.is_some_and(|cold| cold.lines.contains_key(&target))
    }

    pub(super) fn enter_line(&mut self, target: Pid, ticket: u64) {
        let cold = self.cold.get_or_insert_default();
        cold.lines.insert(target, ticket);
    }

    /// It is notified of room. Returns whether it waits for that.
    pub(super) fn leave_line(&mut self, target: Pid) -> bool {
        let Some(cold) = &mut self.cold else {
            return false;
        };
        let has_waited = cold.lines.remove(&target).is_some();
        self.free_cold_state();
        has_waited
    }

    /// The lines in which it stands, in no order: to leave one changes no other.
    pub(super) fn take_lines(&mut self) -> HashMap<Pid, u64> {
        let cold = self.cold.as_mut();
        cold.map(|cold| std::mem::take(&mut cold.lines))
            .unwrap_or_default()
    }

    /// It gives the place of its thread back when it ends.
    #[cold]
    pub(super) fn own_thread_started(&mut self) {
        self.cold.get_or_insert_default().has_own_thread = true;
    }

    pub(super) fn has_own_thread(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.has_own_thread)
    }

    /// Has the timer end with this process.
    pub(super) fn own_timer(&mut self, id: TimerId, processes: &Processes) {
        let cold = self.cold.get_or_insert_default();
        cold.timers.get_or_insert_default().add(id, processes);
    }

    pub(super) fn forget_timer(&mut self, id: TimerId) {
        let Some(cold) = &mut self.cold else { return };
        // The list is freed with its last timer.
        if cold.timers.take_if(|timers| timers.remove(id)).is_some() {
            self.free_cold_state();
        }
    }

    /// To whom the start of this process is to be reported, once.
    #[inline]
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

    pub(super) fn aside_mut(&mut self) -> Option<&mut SetAside> {
        self.cold.as_mut()?.aside.as_deref_mut()
    }

    /// Frees what holds input that was set aside, if nothing is.
    pub(super) fn free_aside(&mut self) {
        if let Some(cold) = &mut self.cold
            && cold.aside.take_if(|aside| aside.is_empty()).is_some()
        {
            self.free_cold_state();
        }
    }

    pub(super) fn free_cold_state(&mut self) {
        // The box is freed with the last of its parts, so that an idle process is as small as one that has never had
        // any.
        self.cold.take_if(|cold| cold.is_empty());
    }
}

/// What the callbacks of a process can do.
pub(crate) struct ProcessContext<'a> {
    pub(crate) processes: &'a Arc<Processes>,
    pub(crate) control: &'a mut ControlBlock,
}

impl fmt::Debug for ProcessContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessContext")
            .field("pid", &self.control.pid)
            .finish_non_exhaustive()
    }
}
