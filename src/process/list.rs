//! The processes of a node, listed without stopping any of them.
//!
//! The list goes through the cells one by one as it is asked for the next. What it shows of a
//! process was true a moment ago; a process that terminates meanwhile is left out, and one that
//! is spawned behind the list is not seen. It holds no lock between two processes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::Processes;
use super::lifecycle::Behavior;
use super::mailbox::Lanes;
use super::slow::{SlowHandler, label};
use super::table::{Cell, Stage};
use crate::id::{Name, Pid};
use crate::scheduler::TIMED_ACTIVATIONS;

/// A process as [`Node::processes`](crate::Node::processes) shows it.
///
/// The figures of its mailbox and of its relations belong together; they are read in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// The process.
    pub pid: Pid,
    /// Its registered name.
    pub name: Option<Name>,
    /// The process that spawned it; [`Pid::NODE`] if the embedding program did.
    pub parent: Pid,
    /// The type of its actor.
    pub actor: &'static str,
    /// What it does now.
    pub state: ProcessState,
    /// The type of the message that it handles, or has handled last; empty before the first.
    pub message: &'static str,
    /// Messages that it has taken in hand since its spawn, signals and answers included.
    pub messages_in: u64,
    /// Messages that it has sent since its spawn with the verbs of
    /// [`Context`](crate::Context) that send, refused ones included, up to its last activation
    /// that is over.
    pub messages_out: u64,
    /// Messages in its mailbox, in all lanes.
    pub messages_queued: usize,
    /// The same by lane.
    pub lanes: Lanes,
    /// Messages that its mailbox has dropped by its [policy](crate::MailboxPolicy).
    pub messages_dropped: u64,
    /// Time in its handlers. One activation in 16 is timed and stands for the others, so the value
    /// of a process that has run rarely is a guess; it comes in steps of a millisecond.
    pub time_in_handlers: Duration,
    /// Its longest handler among the slow ones that the node
    /// [keeps](crate::Node::slow_handlers).
    pub longest_handler: Option<SlowHandler>,
    /// Its sockets and other meta-processes: its children, and connections that it owns.
    pub meta_processes: usize,
    /// Processes, meta-processes and events that it is linked to.
    pub links: usize,
    /// What it monitors.
    pub monitors: usize,
    /// Monitors on it.
    pub monitored_by: usize,
    /// Whether it is the child of a supervisor.
    pub is_supervised: bool,
    /// How long it has lived, in tenths of a second.
    pub age: Duration,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessState {
    /// It waits for a message.
    Idle,
    /// It has messages and waits for a worker.
    Queued,
    /// A worker runs it, or its own thread.
    Running,
}

impl ProcessState {
    /// The state as a word: `idle`, `queued` or `running`.
    ///
    /// ```
    /// assert_eq!(longshore::ProcessState::Idle.as_str(), "idle");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Queued => "queued",
            Self::Running => "running",
        }
    }
}

/// Goes through the cells.
struct List {
    processes: Arc<Processes>,
    names: HashMap<Pid, Name>,
    running: HashSet<u32>,
    slow: Vec<SlowHandler>,
    next: u32,
}

impl Processes {
    /// The processes that are alive, in the order of their cells.
    pub(crate) fn list(self: &Arc<Self>) -> impl Iterator<Item = ProcessInfo> + use<> {
        let names = self.names.lock();
        let names = names.iter().map(|(name, pid)| (*pid, name.clone()));
        List {
            names: names.collect(),
            running: self.running_processes(),
            slow: self.slow_handlers(),
            processes: Arc::clone(self),
            next: 1,
        }
    }

    /// The processes whose handlers run now.
    fn running_processes(&self) -> HashSet<u32> {
        let own = self.own_threads.running();
        self.scheduler.running_processes().chain(own).collect()
    }

    /// A process, if it is alive.
    pub(crate) fn info(self: &Arc<Self>, pid: Pid) -> Option<ProcessInfo> {
        let names = self.name_of(pid).map(|name| (pid, name));
        let list = List {
            names: names.into_iter().collect(),
            running: self.running_processes(),
            slow: self.slow_handlers(),
            processes: Arc::clone(self),
            // Not used: of this list one cell is looked at.
            next: 0,
        };
        let info = list.look(pid.index(), self.cells.get(pid.index())?)?;
        (info.pid == pid).then_some(info)
    }

    /// Lets `look` see the behavior of a process, between two of its activations. `None`: it has
    /// ended, it has not started, or a handler of it runs.
    ///
    /// A worker that comes to run the process meanwhile waits for `look`, which must be short.
    pub(crate) fn look_at<R>(&self, pid: Pid, look: impl FnOnce(&dyn Behavior) -> R) -> Option<R> {
        let cell = self.live_cell(pid)?;
        self.looks.look(&cell.stage, |stage| match stage {
            // The cell may have another process by now.
            Stage::Living(process) if process.control.pid == pid => Some(look(&*process.behavior)),
            _ => None,
        })
    }

    /// An activation of the process in this cell has taken `ns`.
    pub(crate) fn timed(&self, index: u32, ns: u64) {
        if let Some(cell) = self.cells.get(index) {
            // The last digits of the clock are as good as random.
            cell.activity.add_busy(ns, self.timers.clock().now_ns());
        }
    }

    /// How many names are registered.
    pub(crate) fn count_names(&self) -> usize {
        self.names.lock().len()
    }

    /// The registered names, sorted.
    pub(crate) fn list_names(&self) -> Vec<(Name, Pid)> {
        let names = self.names.lock();
        let mut list: Vec<_> = names
            .iter()
            .map(|(name, pid)| (name.clone(), *pid))
            .collect();
        // Sorted without the lock, which each spawn by name takes.
        drop(names);
        list.sort();
        list
    }
}

impl List {
    /// What is shown of the process in a cell, if there is one before and after the look.
    fn look(&self, index: u32, cell: &Cell) -> Option<ProcessInfo> {
        let mailbox = cell.snapshot()?;
        let pid = Pid::new(index, mailbox.generation);
        let (activity, identity) = (&cell.activity, cell.identity());
        let now_ms = self.processes.timers.clock().now_ms();
        let slow = self.slow.iter().find(|slow| slow.pid == pid);
        let busy_ns = activity.busy_ns().saturating_mul(TIMED_ACTIVATIONS);
        let info = ProcessInfo {
            pid,
            name: self.names.get(&pid).cloned(),
            parent: identity.parent(),
            actor: label(identity.actor()),
            state: match mailbox.lanes.total() {
                // One that runs has taken its message out, so that the lanes may be empty.
                _ if self.running.contains(&index) => ProcessState::Running,
                0 => ProcessState::Idle,
                _ => ProcessState::Queued,
            },
            message: label(activity.message()),
            messages_in: activity.handled(),
            messages_out: activity.sent(),
            messages_queued: mailbox.lanes.total(),
            lanes: mailbox.lanes,
            messages_dropped: mailbox.dropped,
            time_in_handlers: Duration::from_nanos(busy_ns),
            longest_handler: slow.cloned(),
            meta_processes: mailbox.metas,
            links: mailbox.links,
            monitors: mailbox.monitors,
            monitored_by: mailbox.watchers,
            is_supervised: cell.is_supervised.load(Ordering::Relaxed),
            age: Duration::from_millis(identity.age_ms(now_ms)),
        };
        // The loads above must not move below the second look at the generation, which finds
        // out whether the cell got another process in between.
        fence(Ordering::Acquire);
        (cell.generation() == Some(pid.generation())).then_some(info)
    }
}

impl Iterator for List {
    type Item = ProcessInfo;

    fn next(&mut self) -> Option<ProcessInfo> {
        loop {
            let index = self.next;
            let cell = self.processes.cells.get(index)?;
            self.next += 1;
            if let Some(info) = self.look(index, cell) {
                return Some(info);
            }
        }
    }
}
