//! The order in which children are started and taken down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::mutation::Planted;
use super::super::policy::RestartScope;
use super::child::{Child, Goal, RunState};
use super::{Action, Cause, ChildId, LifePhase, Machine, Refusal};

/// The children with which something is to be done, so that the next one is found without a look at all of them.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Children that may have changed since the sets were brought up to date.
    touched: Vec<ChildId>,
    /// A group restart takes them down.
    recycled: BTreeSet<ChildId>,
    /// They should run, and do not.
    wanted: BTreeSet<ChildId>,
    /// Those of `wanted` whose back-off runs.
    waiting: BTreeSet<ChildId>,
}

impl Order {
    /// Notes that the child may change.
    pub(super) fn touch(&mut self, id: ChildId) {
        // The same child is often touched several times in a row.
        if self.touched.last() != Some(&id) {
            self.touched.push(id);
        }
    }

    /// Forgets what has changed, in a phase that has no order.
    fn forget(&mut self) {
        self.touched.clear();
    }

    fn update(&mut self, children: &BTreeMap<ChildId, Child>) {
        fn set(ids: &mut BTreeSet<ChildId>, id: ChildId, is_in: bool) {
            if is_in {
                ids.insert(id);
            } else {
                ids.remove(&id);
            }
        }
        for id in self.touched.drain(..) {
            let child = children.get(&id);
            let wanted =
                child.filter(|child| child.goal == Goal::Up && child.state != RunState::Running);
            set(
                &mut self.recycled,
                id,
                child.is_some_and(|child| child.recycled),
            );
            set(&mut self.wanted, id, wanted.is_some());
            let waits = wanted.is_some_and(|child| child.state == RunState::Waiting);
            set(&mut self.waiting, id, waits);
        }
    }
}

impl Machine {
    /// Begins what has become possible by a change of the child `changed`.
    pub(super) fn advance(&mut self, changed: ChildId, now: Duration) {
        match (self.phase, self.rules.kind) {
            (LifePhase::Built, _) => {}
            (LifePhase::Frozen | LifePhase::Ended(_), _) => self.order.forget(),
            (LifePhase::Ending(_), _) => {
                // Only the phases that have an order read the sets, and they would grow otherwise.
                self.order.forget();
                self.advance_end(now);
            }
            (LifePhase::Up, RestartScope::OneForOne | RestartScope::Dynamic) => {
                self.order.forget();
                if self
                    .children
                    .get(&changed)
                    .is_some_and(|child| child.goal == Goal::Up && child.state == RunState::Down)
                {
                    self.start(changed, now);
                }
            }
            _ => self.advance_in_order(now),
        }
    }

    /// Takes down what a group restart takes down; when that is done, starts the first child that
    /// is down and should be up.
    pub(super) fn advance_in_order(&mut self, now: Duration) {
        self.order.update(&self.children);
        let recycled = &self.order.recycled;
        let next = if self.mutation.is(Planted::StopsGroupForward) {
            recycled.first()
        } else {
            recycled.last()
        };
        if let Some(&id) = next {
            let child = self.child(id);
            if matches!(child.state, RunState::Starting | RunState::Running) {
                self.stop(id, now);
            }
            if !self.mutation.is(Planted::StartsGroupEarly) {
                // One at a time: the next is taken down when this one has ended.
                return;
            }
        }
        // The whole group waits for the one whose back-off runs.
        if self.rules.kind == RestartScope::AllForOne && !self.order.waiting.is_empty() {
            return;
        }
        if let Some(&id) = self.order.wanted.first() {
            // The first one that should run is not down, so it starts or ends, and the later ones wait for it.
            if self.child(id).state == RunState::Down {
                self.start(id, now);
            }
        } else if self.phase == LifePhase::Starting {
            self.phase = LifePhase::Up;
            self.actions.push_back(Action::Ready);
        }
    }

    /// Decides that the supervisor ends. The first cause stays.
    pub(super) fn end(&mut self, cause: Cause, now: Duration) {
        if self.is_ending() {
            return;
        }
        self.phase = LifePhase::Ending(cause);
        let ids: Vec<ChildId> = self.children.keys().copied().collect();
        for id in ids {
            let child = self.child(id);
            child.goal = Goal::Gone;
            child.is_late = false;
            let waiting = std::mem::take(&mut child.up_requests);
            let state = child.state;
            self.answer_all(waiting, Err(Refusal::Ending));
            match state {
                RunState::Down | RunState::Waiting => self.went_down(id),
                // Children of a dynamic supervisor do not depend on each other, so they end at the same time. Those of
                // the other kinds end one by one, see `advance_end`.
                RunState::Starting | RunState::Running
                    if self.rules.kind == RestartScope::Dynamic =>
                {
                    self.stop(id, now);
                }
                _ => {}
            }
        }
    }

    /// Takes the last child down that has a process, or ends when there is none.
    pub(super) fn advance_end(&mut self, now: Duration) {
        let LifePhase::Ending(cause) = self.phase else {
            return;
        };
        let last = if self.mutation.is(Planted::EndsForward) {
            self.children.first_key_value()
        } else {
            self.children.last_key_value()
        };
        if let Some((&id, child)) = last {
            if matches!(child.state, RunState::Starting | RunState::Running) {
                self.stop(id, now);
            }
            return;
        }
        self.phase = LifePhase::Ended(cause);
        self.actions.push_back(Action::End(cause));
    }
}
