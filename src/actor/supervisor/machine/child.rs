//! One child of the machine: its state, and the transitions that a request begins.

use std::time::Duration;

use super::super::mutation::Planted;
use super::super::policy::{Policy, Shutdown};
use super::{Action, ChildId, Machine, Refusal, Request, Run};

/// Where a child is; see the page of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RunState {
    Down,
    /// Down, until the wait before its restart is over.
    Waiting,
    Starting,
    Running,
    Stopping,
    Killing,
}

/// Where a child should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Goal {
    Up,
    Down,
    /// Down, whatever the group does.
    Disabled,
    /// Forgotten once it is down.
    Gone,
}

/// What a failed start leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The end of the supervisor.
    First,
    /// The child is forgotten.
    Added,
    /// The child stays down.
    Requested,
    /// Another restart.
    Restart,
}

/// What a list shows of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: RunState,
    pub(crate) goal: Goal,
    /// Processes started for it.
    pub(crate) runs: u64,
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) policy: Policy,
    pub(super) goal: Goal,
    pub(super) state: RunState,
    pub(super) attempt: Attempt,
    /// A group restart takes it down before it starts again, or has begun to.
    pub(super) recycled: bool,
    /// It was killed because its start took too long.
    pub(super) is_late: bool,
    /// The number of its latest process.
    pub(super) number: u64,
    pub(super) deadline: Option<Duration>,
    pub(super) running_since: Duration,
    /// Restarts since it last ran for the longest back-off.
    pub(super) restarts_in_a_row: u32,
    /// Requests that are answered when it runs.
    pub(super) up_requests: Vec<Request>,
    /// Requests that are answered when it is down.
    pub(super) down_requests: Vec<Request>,
}

impl Child {
    pub(super) fn new(policy: Policy, attempt: Attempt, request: Option<Request>) -> Self {
        Self {
            policy,
            goal: Goal::Up,
            state: RunState::Down,
            attempt,
            recycled: false,
            is_late: false,
            number: 0,
            deadline: None,
            running_since: Duration::ZERO,
            restarts_in_a_row: 0,
            up_requests: request.into_iter().collect(),
            down_requests: Vec::new(),
        }
    }

    /// Whether it has a process.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.state, RunState::Down | RunState::Waiting)
    }

    /// Whether it runs and is to go on running.
    pub(super) fn is_up(&self) -> bool {
        self.state == RunState::Running && self.goal == Goal::Up && !self.recycled
    }

    pub(super) fn run(&self, child: ChildId) -> Run {
        Run {
            child,
            number: self.number,
        }
    }

    pub(super) fn status(&self) -> Status {
        Status {
            state: self.state,
            goal: self.goal,
            runs: self.number,
        }
    }
}

impl Machine {
    /// Requests that a child which is not up is brought up.
    pub(super) fn bring_up(&mut self, id: ChildId, request: Request, now: Duration) {
        let child = self.child(id);
        // A child that is already to run keeps its attempt, whose failure means what it meant before.
        if child.goal != Goal::Up {
            child.goal = Goal::Up;
            child.attempt = Attempt::Requested;
        }
        child.up_requests.push(request);
        self.advance(id, now);
    }

    /// Takes a child down, if it runs, and brings it up; a wait before its restart ends now.
    pub(super) fn restart_now(&mut self, id: ChildId, request: Request, now: Duration) {
        let child = self.child(id);
        if child.is_up() {
            child.attempt = Attempt::Requested;
            child.up_requests.push(request);
            return self.stop(id, now);
        }
        // The request asks for a start now, so the wait is over.
        if child.state == RunState::Waiting {
            child.state = RunState::Down;
            self.disarm(id);
        }
        self.bring_up(id, request, now);
    }

    /// Requests that a child is taken down, and stays so.
    pub(super) fn take_down(&mut self, id: ChildId, goal: Goal, request: Request, now: Duration) {
        let child = self.child(id);
        child.goal = goal;
        // The request takes it down, and no longer the start that was too slow.
        child.is_late = false;
        child.down_requests.push(request);
        // A child cannot run and be down: those that wait for its start learn that it was taken down.
        let waiting = std::mem::take(&mut child.up_requests);
        match child.state {
            RunState::Down | RunState::Waiting => self.went_down(id),
            RunState::Starting | RunState::Running => self.stop(id, now),
            RunState::Stopping | RunState::Killing => {}
        }
        if !self.mutation.is(Planted::LosesRequests) {
            self.answer_all(waiting, Err(Refusal::Superseded));
        }
        self.advance(id, now);
    }

    /// Transition 1.
    pub(super) fn start(&mut self, id: ChildId, now: Duration) {
        let child = self.child(id);
        child.state = RunState::Starting;
        // A new number, so that reports about the process before it are stale.
        child.number += 1;
        let (run, timeout) = (child.run(id), child.policy.start_timeout);
        self.actions.push_back(Action::Start(run));
        self.arm(id, now.checked_add(timeout));
    }

    /// Transition 4.
    pub(super) fn stop(&mut self, id: ChildId, now: Duration) {
        let child = self.child(id);
        let run = child.run(id);
        let deadline = match child.policy.shutdown {
            Shutdown::Kill => return self.kill(id, now),
            Shutdown::Within(time) => now.checked_add(time),
            // An `init` that blocks is not waited for without end.
            Shutdown::Wait if child.state == RunState::Starting => child.deadline,
            Shutdown::Wait => None,
        };
        child.state = RunState::Stopping;
        self.actions.push_back(Action::ShutDown(run));
        self.arm(id, deadline);
    }

    /// Transitions 3 and 5.
    pub(super) fn kill(&mut self, id: ChildId, now: Duration) {
        // `checked_add`: a timeout of `Duration::MAX` has no deadline.
        let deadline = now.checked_add(self.rules.kill_timeout);
        let child = self.child(id);
        child.state = RunState::Killing;
        let run = child.run(id);
        self.actions.push_back(Action::Kill(run));
        let deadline = deadline.filter(|_| !self.mutation.is(Planted::WaitsForKilled));
        self.arm(id, deadline);
    }

    /// Transition 6: nothing of the child runs any more.
    pub(super) fn went_down(&mut self, id: ChildId) {
        self.disarm(id);
        let child = self.child(id);
        child.state = RunState::Down;
        child.recycled = false;
        child.is_late = false;
        let waiting = std::mem::take(&mut child.down_requests);
        // Nothing brings it up any more.
        let superseded = if child.goal == Goal::Gone {
            std::mem::take(&mut child.up_requests)
        } else {
            Vec::new()
        };
        let is_gone = child.goal == Goal::Gone;
        // The answers come after the child has left its state, so that the caller finds it down.
        self.answer_all(waiting, Ok(()));
        self.answer_all(superseded, Err(Refusal::Superseded));
        if is_gone {
            self.children.remove(&id);
            self.actions.push_back(Action::Forget(id));
        }
    }

    /// A child that is known to be there.
    pub(super) fn child(&mut self, id: ChildId) -> &mut Child {
        self.order.touch(id);
        self.children.get_mut(&id).expect("a child of this machine")
    }

    /// Sets the deadline of a child; `None`: it has none.
    pub(super) fn arm(&mut self, id: ChildId, deadline: Option<Duration>) {
        let before = std::mem::replace(&mut self.child(id).deadline, deadline);
        // The set has one entry for each child, and an old one would fire.
        if let Some(before) = before {
            self.deadlines.remove(&(before, id));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
    }

    pub(super) fn disarm(&mut self, id: ChildId) {
        self.arm(id, None);
    }
}
