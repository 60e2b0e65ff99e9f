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
use super::slow::label;
use super::table::Cell;
use crate::id::{Name, Pid};

/// A process as [`Node::processes`](crate::Node::processes) shows it.
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
    /// [`Context`](crate::Context) that send, up to its last activation that is over.
    pub messages_out: u64,
    /// Messages in its mailbox, in all lanes.
    pub messages_queued: usize,
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
    /// A worker runs it.
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
    next: u32,
}

impl Processes {
    /// The processes that are alive, in the order of their cells.
    pub(crate) fn list(self: &Arc<Self>) -> impl Iterator<Item = ProcessInfo> + use<> {
        let names = self.names.lock();
        let names = names.iter().map(|(name, pid)| (*pid, name.clone()));
        List {
            names: names.collect(),
            running: self.scheduler.running_processes().collect(),
            processes: Arc::clone(self),
            next: 1,
        }
    }

    /// The registered names, sorted.
    pub(crate) fn list_names(&self) -> Vec<(Name, Pid)> {
        let names = self.names.lock();
        let mut list: Vec<_> = names
            .iter()
            .map(|(name, pid)| (name.clone(), *pid))
            .collect();
        drop(names);
        list.sort();
        list
    }
}

impl List {
    /// What is shown of the process in a cell, if there is one before and after the look.
    fn look(&self, index: u32, cell: &Cell) -> Option<ProcessInfo> {
        let generation = cell.generation()?;
        let pid = Pid::new(index, generation);
        let (activity, identity) = (&cell.activity, cell.identity());
        let now_ms = self.processes.timers.clock().now_ms();
        let messages_queued = cell.queued();
        let info = ProcessInfo {
            pid,
            name: self.names.get(&pid).cloned(),
            parent: identity.parent(),
            actor: label(identity.actor()),
            state: match messages_queued {
                _ if self.running.contains(&index) => ProcessState::Running,
                0 => ProcessState::Idle,
                _ => ProcessState::Queued,
            },
            message: label(activity.message()),
            messages_in: activity.handled(),
            messages_out: activity.sent(),
            messages_queued,
            age: Duration::from_millis(identity.age_ms(now_ms)),
        };
        // The loads above must not move below the second look at the generation, which finds
        // out whether the cell got another process in between.
        fence(Ordering::Acquire);
        (cell.generation() == Some(generation)).then_some(info)
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
