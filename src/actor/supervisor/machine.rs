//! The decisions of a supervisor: a state machine without processes, threads and clock.
//!
//! The caller reports what happened ([`Machine::started`], [`Machine::ended`],
//! [`Machine::expire`]) and what was requested ([`Machine::add`], [`Machine::command`],
//! [`Machine::freeze`], [`Machine::shut_down`]), then carries out every [`Action`] that [`Machine::next_action`]
//! returns, in order, and calls [`Machine::expire`] at [`Machine::deadline`].
//!
//! # One child
//!
//! ```text
//!            ┌───────────── 8 ────────────── Waiting ◀──┐
//!            ▼                                          │ 7
//!          Down ──── 1 ────▶ Starting ───── 2 ─────▶ Running
//!           ▲                │      │                   │
//!           │              3 │      └──── 4 ──┬─── 4 ───┘
//!           │                ▼                ▼
//!           └───── 6 ──── Killing ◀─ 5 ── Stopping ── 6 ──▶ Down
//! ```
//!
//! 1. Its goal is up, and the order of starts allows it: `Action::Start`, a new [`Run`].
//! 2. The process reports that its `init` returned.
//! 3. The start timeout: `Action::Kill`. The start counts as failed when the process has ended.
//! 4. A command, a group restart or the end of the supervisor: `Action::ShutDown`, or
//!    `Action::Kill` and the state Killing if that is how this child ends. A child whose shutdown
//!    has no deadline keeps the one of its start until it has started.
//! 5. The shutdown deadline: `Action::Kill`.
//! 6. The process has ended. In Killing also after `kill_timeout`: `Action::Abandon`.
//! 7. It ended by itself and is restarted. Without a wait it goes to Down. A child that is not
//!    restarted goes to Down with its goal down, or is forgotten.
//! 8. The wait is over.
//!
//! A report names a [`Run`], so that one about an abandoned or replaced process changes nothing.
//!
//! # Order
//!
//! In the two group kinds a child starts only while every earlier child with the goal up is
//! running, and no child that the group restart takes down is left; these are taken down one at a
//! time, the last one first. The other kinds start their children in order the first time, and
//! each on its own later. The end of a supervisor takes children down one at a time, the last one
//! first; a dynamic supervisor takes them down at once.
//!
//! # A start that fails
//!
//! The first start of a child that the supervisor was built with ends the supervisor. A start that
//! was requested answers its request and leaves the child down; a child just added is forgotten.
//! A restart that fails counts as another restart, and is tried again.
//!
//! # What it does not do
//!
//! It knows no reasons, only whether an end was orderly, and it owns nothing of a child but its
//! [`Policy`].

mod child;
mod command;
mod order;
mod restart;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use child::{Attempt, Child};
pub(crate) use child::{Goal, RunState, Status};
pub(crate) use command::{Command, Refusal};
use order::Order;

use super::mutation::{Mutation, Planted};
use super::policy::{Policy, Restart, RestartScope, Rules, Shutdown};

/// A child of one supervisor; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildId(pub(crate) u64);

/// One process of a child: the first, second, … that was started for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) child: ChildId,
    pub(crate) number: u64,
}

/// A request of the caller that one `Action::Answer` answers.
pub(crate) type Request = u64;

/// Why a supervisor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// [`Machine::shut_down`].
    Requested,
    /// The first start of this child failed.
    StartFailed(ChildId),
    /// A restart of this child would have been one too many.
    Intensity(ChildId),
    /// This significant child has ended.
    Significant(ChildId),
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a process, and report [`Machine::started`] or [`Machine::ended`].
    Start(Run),
    /// Ask the process to end.
    ShutDown(Run),
    /// Kill the process.
    Kill(Run),
    /// Record that the process is stuck, and take from it what a successor needs.
    Abandon(Run),
    /// Forget the child; its id is not used again.
    Forget(ChildId),
    /// Answer a request.
    Answer(Request, Result<(), Refusal>),
    /// All first starts have succeeded. Once.
    Ready,
    /// End. No child is left, and nothing comes after it.
    End(Cause),
}

/// Where the supervisor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LifePhase {
    /// It collects the children that it is built with.
    Built,
    /// Their first starts, in order.
    Starting,
    Up,
    /// Nothing is started any more, and what runs is left alone.
    Frozen,
    /// The children are taken down.
    Ending(Cause),
    Ended(Cause),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    rules: Rules,
    phase: LifePhase,
    /// In the order in which they were added.
    children: BTreeMap<ChildId, Child>,
    next_child: u64,
    order: Order,
    /// When the children of Waiting, Starting, Stopping and Killing reach their deadline.
    deadlines: BTreeSet<(Duration, ChildId)>,
    /// Restarts of the last period, at most `intensity + 1`.
    restarts: VecDeque<Duration>,
    actions: VecDeque<Action>,
    mutation: Mutation,
}

impl Machine {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            phase: LifePhase::Built,
            children: BTreeMap::new(),
            order: Order::default(),
            next_child: 0,
            deadlines: BTreeSet::new(),
            restarts: VecDeque::new(),
            actions: VecDeque::new(),
            mutation: Mutation::default(),
        }
    }

    /// Begins the first starts.
    pub(crate) fn begin(&mut self, now: Duration) {
        if self.phase == LifePhase::Built {
            self.phase = LifePhase::Starting;
            self.advance_in_order(now);
        }
    }

    /// Adds a child behind the others and starts it. The request is answered when it runs. `None`:
    /// the supervisor is ending, and the request has been answered.
    pub(crate) fn add(
        &mut self,
        policy: Policy,
        request: Option<Request>,
        now: Duration,
    ) -> Option<ChildId> {
        // A supervisor that ends takes in no child, or it would never come to its end.
        if self.starts_nothing() {
            self.answer_all(request, Err(Refusal::Ending));
            return None;
        }
        let attempt = match self.phase {
            LifePhase::Built => Attempt::First,
            _ => Attempt::Added,
        };
        let id = ChildId(self.next_child);
        self.next_child += 1;
        self.order.touch(id);
        self.children
            .insert(id, Child::new(policy, attempt, request));
        self.advance(id, now);
        Some(id)
    }

    /// Handles a request for one child. A table with an arm for each command, longer than other functions so that it
    /// can be read as one.
    pub(crate) fn command(
        &mut self,
        id: ChildId,
        command: Command,
        request: Request,
        now: Duration,
    ) {
        // All children are on their way out: what is requested cannot happen any more.
        if self.is_ending() {
            return self.answer(request, Err(Refusal::Ending));
        }
        let is_frozen = self.phase == LifePhase::Frozen;
        let Some(child) = self
            .children
            .get_mut(&id)
            // One that is to be forgotten is unknown already, though its process may still run.
            .filter(|child| child.goal != Goal::Gone)
        else {
            return self.answer(request, Err(Refusal::Unknown));
        };
        match command {
            Command::Start | Command::Restart if child.goal == Goal::Disabled => {
                self.answer(request, Err(Refusal::Disabled));
            }
            Command::Start if child.is_up() => self.answer(request, Err(Refusal::Running)),
            Command::Enable if child.is_up() => self.answer(request, Ok(())),
            // Refused at once, because nothing is started before the end.
            Command::Start | Command::Enable | Command::Restart if is_frozen => {
                self.answer(request, Err(Refusal::Ending));
            }
            Command::Start | Command::Enable => self.bring_up(id, request, now),
            Command::Restart => self.restart_now(id, request, now),
            Command::Stop => {
                let goal = match child.goal {
                    // A stop does not lift what `disable` has set.
                    Goal::Disabled => Goal::Disabled,
                    _ => self.goal_of_ended(id),
                };
                self.take_down(id, goal, request, now);
            }
            Command::Disable => self.take_down(id, Goal::Disabled, request, now),
            Command::Remove => self.take_down(id, Goal::Gone, request, now),
        }
    }

    /// Takes all children down and ends.
    pub(crate) fn shut_down(&mut self, now: Duration) {
        self.end(Cause::Requested, now);
        self.advance_end(now);
    }

    /// Starts nothing any more: the node has begun to stop. Children that run go on; one that ends
    /// is left down, and does not count. Requests for a start are refused.
    pub(crate) fn freeze(&mut self) {
        if self.starts_nothing() {
            return;
        }
        self.phase = LifePhase::Frozen;
        // The ids are copied, because each step may change the map.
        let ids: Vec<ChildId> = self.children.keys().copied().collect();
        for id in ids {
            let child = self.child(id);
            if child.recycled && matches!(child.state, RunState::Starting | RunState::Running) {
                // It has not been asked to end yet, and goes on.
                child.goal = Goal::Up;
            }
            child.recycled = false;
            child.is_late = false;
            // It may still complete its start, and its requests are answered then.
            if child.state == RunState::Starting {
                continue;
            }
            let waiting = std::mem::take(&mut child.up_requests);
            if child.state == RunState::Waiting {
                child.state = RunState::Down;
                self.disarm(id);
            }
            self.answer_all(waiting, Err(Refusal::Ending));
        }
    }

    /// The process has completed its start.
    pub(crate) fn started(&mut self, run: Run, now: Duration) {
        let Some(child) = self.current(run) else {
            return;
        };
        // A child without a shutdown deadline has kept that of its start until here.
        if child.state == RunState::Stopping && child.policy.shutdown == Shutdown::Wait {
            return self.disarm(run.child);
        }
        if child.state != RunState::Starting {
            return;
        }
        child.state = RunState::Running;
        child.running_since = now;
        // One that its group takes down is answered for when it runs after that.
        if !child.recycled {
            let waiting = std::mem::take(&mut child.up_requests);
            self.answer_all(waiting, Ok(()));
        }
        self.disarm(run.child);
        self.advance(run.child, now);
    }

    /// The process has ended, or it did not start. `orderly`: see [`Restart`].
    pub(crate) fn ended(&mut self, run: Run, orderly: bool, now: Duration) {
        let starts_nothing = self.starts_nothing();
        let Some(child) = self.current(run) else {
            return;
        };
        // A report that comes twice changes nothing.
        match child.state {
            RunState::Down | RunState::Waiting => return,
            // The node stops or the supervisor ends, so no end leads to a restart.
            _ if starts_nothing => {
                let waiting = std::mem::take(&mut child.up_requests);
                self.answer_all(waiting, Err(Refusal::Failed));
                self.went_down(run.child);
            }
            RunState::Starting | RunState::Running if child.recycled => self.went_down(run.child),
            RunState::Running => self.ended_by_itself(run.child, orderly, now),
            RunState::Starting => self.start_failed(run.child, now),
            // The kill came from the start timeout, so the end counts as a failed start.
            RunState::Stopping | RunState::Killing if child.is_late => {
                self.start_failed(run.child, now)
            }
            RunState::Stopping | RunState::Killing => self.went_down(run.child),
        }
        self.advance(run.child, now);
    }

    /// When [`Machine::expire`] must be called, unless something else comes before.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Handles the deadlines that have passed.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            // Disarmed first, because the transition may set the next deadline.
            self.disarm(id);
            let counts = !self.starts_nothing() && !self.mutation.is(Planted::ForgetsLateStart);
            let child = self.child(id);
            let run = child.run(id);
            match child.state {
                RunState::Waiting => child.state = RunState::Down,
                RunState::Starting => {
                    // Of a child that its group takes down the start was given up already.
                    child.is_late = counts && !child.recycled;
                    self.kill(id, now);
                }
                RunState::Stopping => self.kill(id, now),
                RunState::Killing => {
                    self.actions.push_back(Action::Abandon(run));
                    self.ended(run, false, now);
                }
                RunState::Down | RunState::Running => {}
            }
            self.advance(id, now);
        }
    }

    /// Returns the next thing to do, once.
    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns why the supervisor ends, once that is decided.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self.phase {
            LifePhase::Ending(cause) | LifePhase::Ended(cause) => Some(cause),
            _ => None,
        }
    }

    /// The children in order.
    pub(crate) fn children(&self) -> impl Iterator<Item = (ChildId, Status)> + '_ {
        self.children
            .iter()
            .map(|(id, child)| (*id, child.status()))
    }

    fn starts_nothing(&self) -> bool {
        self.phase == LifePhase::Frozen || self.is_ending()
    }

    fn is_ending(&self) -> bool {
        matches!(self.phase, LifePhase::Ending(_) | LifePhase::Ended(_))
    }

    /// The child, if this is its latest process.
    fn current(&mut self, run: Run) -> Option<&mut Child> {
        // A stale report is about a process that has been replaced, and must not be taken for its successor.
        let ignores_number = self.mutation.is(Planted::TakesStaleReports);
        self.order.touch(run.child);
        self.children
            .get_mut(&run.child)
            .filter(|child| child.number == run.number || ignores_number)
    }

    fn answer(&mut self, request: Request, result: Result<(), Refusal>) {
        self.actions.push_back(Action::Answer(request, result));
    }

    fn answer_all(
        &mut self,
        requests: impl IntoIterator<Item = Request>,
        result: Result<(), Refusal>,
    ) {
        for request in requests {
            self.answer(request, result);
        }
    }

    /// The goal of a child that has ended and is not restarted.
    fn goal_of_ended(&self, id: ChildId) -> Goal {
        let is_temporary = self
            .children
            .get(&id)
            .is_some_and(|child| child.policy.restart == Restart::Temporary);
        if is_temporary || self.rules.kind == RestartScope::Dynamic {
            Goal::Gone
        } else {
            Goal::Down
        }
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
