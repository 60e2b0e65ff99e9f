//! What the adapter keeps of a child: how it is made, its process, and why the last one ended.

use super::child::{Child, ChildState};
use super::machine::{Goal, RunState, Status};
use crate::error::Reason;
use crate::id::{Pid, Ref};

/// A child that the machine knows.
pub(super) struct Known {
    pub(super) child: Child,
    pub(super) process: Option<Process>,
    /// Why its latest process ended.
    pub(super) last: Option<Reason>,
}

pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) monitor: Ref,
    pub(super) has_started: bool,
    /// Killed before it had started.
    pub(super) is_late: bool,
}

impl Known {
    /// Why its latest process failed, or is about to be given up.
    pub(super) fn failure(&self) -> Reason {
        match (&self.process, &self.last) {
            (Some(process), _) if process.is_late => late(),
            (Some(_), _) => Reason::error("it did not end when it was killed"),
            (None, last) => last.clone().unwrap_or(Reason::NoProcess),
        }
    }
}

pub(super) fn late() -> Reason {
    Reason::error("it did not start in time")
}

/// What a list shows of where a child is.
pub(super) fn state(status: Status) -> ChildState {
    match status.state {
        RunState::Down if status.goal == Goal::Disabled => ChildState::Disabled,
        RunState::Down if status.goal == Goal::Up => ChildState::Waiting,
        RunState::Down => ChildState::Down,
        RunState::Waiting => ChildState::Waiting,
        RunState::Starting => ChildState::Starting,
        RunState::Running => ChildState::Running,
        RunState::Stopping => ChildState::Stopping,
        RunState::Killing => ChildState::Killed,
    }
}
