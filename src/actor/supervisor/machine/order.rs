//! The order in which children are started and taken down.

use std::time::Duration;

use super::super::mutation::Planted;
use super::super::policy::Kind;
use super::child::{Goal, State};
use super::{Action, Cause, ChildId, Machine, Phase, Refusal};

impl Machine {
    /// Begins what has become possible by a change of the child `changed`.
    pub(super) fn advance(&mut self, changed: ChildId, now: Duration) {
        match (self.phase, self.rules.kind) {
            (Phase::Built | Phase::Frozen | Phase::Ended(_), _) => {}
            (Phase::Ending(_), _) => self.advance_end(now),
            (Phase::Up, Kind::OneForOne | Kind::Dynamic) => {
                if self
                    .children
                    .get(&changed)
                    .is_some_and(|child| child.goal == Goal::Up && child.state == State::Down)
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
        let mut recycled = self.children.iter().filter(|(_, child)| child.recycled);
        let next = if self.mutation.is(Planted::StopsGroupForward) {
            recycled.next()
        } else {
            recycled.next_back()
        };
        if let Some((&id, child)) = next {
            if matches!(child.state, State::Starting | State::Running) {
                self.stop(id, now);
            }
            if !self.mutation.is(Planted::StartsGroupEarly) {
                return;
            }
        }
        let waits = self.rules.kind == Kind::AllForOne
            && self
                .children
                .values()
                .any(|child| child.goal == Goal::Up && child.state == State::Waiting);
        if waits {
            return;
        }
        let next = self
            .children
            .iter()
            .find(|(_, child)| child.goal == Goal::Up && child.state != State::Running);
        if let Some((&id, child)) = next {
            if child.state == State::Down {
                self.start(id, now);
            }
        } else if self.phase == Phase::Starting {
            self.phase = Phase::Up;
            self.actions.push_back(Action::Ready);
        }
    }

    /// Decides that the supervisor ends. The first cause stays.
    pub(super) fn end(&mut self, cause: Cause, now: Duration) {
        if self.is_ending() {
            return;
        }
        self.phase = Phase::Ending(cause);
        let ids: Vec<ChildId> = self.children.keys().copied().collect();
        for id in ids {
            let child = self.child(id);
            child.goal = Goal::Gone;
            child.is_late = false;
            let waiting = std::mem::take(&mut child.up_requests);
            let state = child.state;
            self.answer_all(waiting, Err(Refusal::Ending));
            match state {
                State::Down | State::Waiting => self.went_down(id),
                State::Starting | State::Running if self.rules.kind == Kind::Dynamic => {
                    self.stop(id, now);
                }
                _ => {}
            }
        }
    }

    /// Takes the last child down that has a process, or ends when there is none.
    pub(super) fn advance_end(&mut self, now: Duration) {
        let Phase::Ending(cause) = self.phase else {
            return;
        };
        let last = if self.mutation.is(Planted::EndsForward) {
            self.children.first_key_value()
        } else {
            self.children.last_key_value()
        };
        if let Some((&id, child)) = last {
            if matches!(child.state, State::Starting | State::Running) {
                self.stop(id, now);
            }
            return;
        }
        self.phase = Phase::Ended(cause);
        self.actions.push_back(Action::End(cause));
    }
}
