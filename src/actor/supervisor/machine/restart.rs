//! What follows when a child has ended by itself, or did not start.

use std::ops::Bound;
use std::time::Duration;

use super::super::mutation::Planted;
use super::super::policy::{AutoShutdown, Restart, RestartScope};
use super::child::{Attempt, Goal, RunState};
use super::{Cause, ChildId, LifePhase, Machine, Refusal};

impl Machine {
    /// A running child has ended without being asked to.
    pub(super) fn ended_by_itself(&mut self, id: ChildId, orderly: bool, now: Duration) {
        let longest = self.rules.back_off.max;
        let child = self.child(id);
        let restarts = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !orderly,
            Restart::Temporary => false,
        };
        if restarts {
            // A child that has run for long is not the one that fails again and again.
            if now.saturating_sub(child.running_since) >= longest {
                child.restarts_in_a_row = 0;
            }
            return self.restart(id, now);
        }
        let significant = child.policy.significant;
        let goal = self.goal_of_ended(id);
        self.child(id).goal = goal;
        self.went_down(id);
        // The child is gone from the list by now, so it does not count as one to wait for.
        if significant && self.is_last_to_wait_for() {
            self.end(Cause::Significant(id), now);
        }
    }

    /// Whether the end of a significant child is the end of the supervisor.
    fn is_last_to_wait_for(&self) -> bool {
        match self.rules.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !self.children.values().any(|child| {
                let waits = child.is_active()
                    || (child.goal == Goal::Up && !self.mutation.is(Planted::ForgetsWaiting));
                child.policy.significant && waits
            }),
        }
    }

    /// The start of a child has failed, and nothing of its process is left.
    pub(super) fn start_failed(&mut self, id: ChildId, now: Duration) {
        let child = self.child(id);
        let waiting = std::mem::take(&mut child.up_requests);
        let attempt = child.attempt;
        self.answer_all(waiting, Err(Refusal::Failed));
        match attempt {
            // After the first starts a failure is a restart that has failed.
            Attempt::First if self.phase == LifePhase::Starting => {
                self.went_down(id);
                self.end(Cause::StartFailed(id), now);
            }
            Attempt::First | Attempt::Restart => self.restart(id, now),
            // Its asker has just got the failure. The child is forgotten, so that the request can be repeated under the
            // same name.
            Attempt::Added => {
                self.child(id).goal = Goal::Gone;
                self.went_down(id);
            }
            Attempt::Requested => {
                let goal = self.goal_of_ended(id);
                self.child(id).goal = goal;
                self.went_down(id);
            }
        }
    }

    /// Has a child that is down restarted, with those that its kind restarts with it.
    fn restart(&mut self, id: ChildId, now: Duration) {
        self.went_down(id);
        // Counted before anything is started, so that the restart that is one too many does not happen.
        if !self.may_restart(now) {
            return self.end(Cause::Intensity(id), now);
        }
        let back_off = self.rules.back_off;
        let child = self.child(id);
        child.attempt = Attempt::Restart;
        child.restarts_in_a_row = child.restarts_in_a_row.saturating_add(1);
        let delay = back_off.delay(child.restarts_in_a_row);
        if !delay.is_zero() {
            child.state = RunState::Waiting;
            self.arm(id, now.checked_add(delay));
        }
        let others: Vec<ChildId> = match self.rules.kind {
            // The others of these kinds have nothing to do with this child.
            RestartScope::OneForOne | RestartScope::Dynamic => return,
            RestartScope::AllForOne => self.children.keys().copied().collect(),
            RestartScope::RestForOne => {
                let behind = (Bound::Excluded(id), Bound::Unbounded);
                self.children.range(behind).map(|(id, _)| *id).collect()
            }
        };
        for other in others.into_iter().filter(|other| *other != id) {
            self.recycle(other);
        }
    }

    /// Counts a restart. Returns whether the supervisor survives it.
    fn may_restart(&mut self, now: Duration) -> bool {
        let period = self.rules.period;
        self.restarts.push_back(now);
        while self
            .restarts
            .front()
            .is_some_and(|restart| now.saturating_sub(*restart) > period)
        {
            self.restarts.pop_front();
        }
        let slack = usize::from(self.mutation.is(Planted::AllowsOneMore));
        self.restarts.len() <= self.rules.intensity as usize + slack
    }

    /// Makes a child part of a group restart, if it has a process or stopped; a temporary one is
    /// only taken down.
    fn recycle(&mut self, id: ChildId) {
        let keeps_temporary = self.mutation.is(Planted::RestartsTemporary);
        let child = self.child(id);
        // A disabled child stays down, whatever its group does.
        if matches!(child.goal, Goal::Disabled | Goal::Gone) {
            return;
        }
        let is_active = child.is_active();
        // A temporary child is not started again: its group takes it down for good.
        if child.policy.restart == Restart::Temporary && !keeps_temporary {
            if is_active {
                child.goal = Goal::Gone;
                child.recycled = true;
                child.is_late = false;
            }
            return;
        }
        if is_active {
            child.recycled = true;
            child.is_late = false;
            child.attempt = Attempt::Restart;
        } else if child.goal == Goal::Down {
            // It was stopped by a request, and comes back with its group.
            child.attempt = Attempt::Restart;
        }
        child.goal = Goal::Up;
    }
}
