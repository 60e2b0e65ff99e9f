//! The machine once more, as plainly as can be: a list that is searched from one end to the other
//! after every step, no deadlines kept, no case treated apart. The random steps compare the two.

use std::time::Duration;

use super::super::policy::{AutoShutdown, Policy, Restart, RestartScope, Rules, Shutdown};
use super::child::{Goal, RunState, Status};
use super::{Action, Cause, ChildId, Command, Refusal, Request, Run};

/// What a failed start leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    EndAll,
    Forget,
    StayDown,
    Retry,
}

struct Entry {
    id: ChildId,
    policy: Policy,
    goal: Goal,
    state: RunState,
    then: Then,
    in_group: bool,
    late: bool,
    runs: u64,
    due: Option<Duration>,
    since: Duration,
    in_a_row: u32,
    ups: Vec<Request>,
    downs: Vec<Request>,
}

pub(super) struct Reference {
    rules: Rules,
    list: Vec<Entry>,
    next: u64,
    begun: bool,
    ready: bool,
    frozen: bool,
    pub(super) ending: Option<Cause>,
    over: bool,
    restarts: Vec<Duration>,
    pub(super) actions: Vec<Action>,
}

fn has_process(state: RunState) -> bool {
    !matches!(state, RunState::Down | RunState::Waiting)
}

impl Reference {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            list: Vec::new(),
            next: 0,
            begun: false,
            ready: false,
            frozen: false,
            ending: None,
            over: false,
            restarts: Vec::new(),
            actions: Vec::new(),
        }
    }

    pub(super) fn children(&self) -> Vec<(ChildId, Status)> {
        let status = |entry: &Entry| Status {
            state: entry.state,
            goal: entry.goal,
            runs: entry.runs,
        };
        self.list
            .iter()
            .map(|entry| (entry.id, status(entry)))
            .collect()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.list.iter().filter_map(|entry| entry.due).min()
    }

    fn place(&self, id: ChildId) -> Option<usize> {
        self.list.iter().position(|entry| entry.id == id)
    }

    fn answer(&mut self, request: Request, result: Result<(), Refusal>) {
        self.actions.push(Action::Answer(request, result));
    }

    // ---- Requests ----

    pub(super) fn begin(&mut self, now: Duration) {
        self.begun = true;
        self.run_until_stable(now);
    }

    pub(super) fn add(&mut self, policy: Policy, request: Option<Request>, now: Duration) {
        if self.ending.is_some() || self.frozen {
            if let Some(request) = request {
                self.answer(request, Err(Refusal::Ending));
            }
            return;
        }
        self.list.push(Entry {
            id: ChildId(self.next),
            policy,
            goal: Goal::Up,
            state: RunState::Down,
            then: if self.begun {
                Then::Forget
            } else {
                Then::EndAll
            },
            in_group: false,
            late: false,
            runs: 0,
            due: None,
            since: Duration::ZERO,
            in_a_row: 0,
            ups: request.into_iter().collect(),
            downs: Vec::new(),
        });
        self.next += 1;
        self.run_until_stable(now);
    }

    pub(super) fn command(&mut self, id: ChildId, what: Command, request: Request, now: Duration) {
        if self.ending.is_some() {
            return self.answer(request, Err(Refusal::Ending));
        }
        let Some(at) = self
            .place(id)
            .filter(|at| self.list[*at].goal != Goal::Gone)
        else {
            return self.answer(request, Err(Refusal::Unknown));
        };
        let entry = &mut self.list[at];
        let is_up = entry.state == RunState::Running && entry.goal == Goal::Up && !entry.in_group;
        let disabled = entry.goal == Goal::Disabled;
        let goal = match what {
            Command::Start | Command::Restart if disabled => {
                return self.answer(request, Err(Refusal::Disabled));
            }
            Command::Start if is_up => return self.answer(request, Err(Refusal::Running)),
            Command::Enable if is_up => return self.answer(request, Ok(())),
            Command::Start | Command::Enable | Command::Restart if self.frozen => {
                return self.answer(request, Err(Refusal::Ending));
            }
            Command::Start | Command::Enable | Command::Restart => Goal::Up,
            Command::Stop if disabled => Goal::Disabled,
            Command::Stop if self.is_not_kept(at) => Goal::Gone,
            Command::Stop => Goal::Down,
            Command::Disable => Goal::Disabled,
            Command::Remove => Goal::Gone,
        };
        let entry = &mut self.list[at];
        if goal == Goal::Up {
            if entry.goal != Goal::Up || is_up {
                entry.then = Then::StayDown;
            }
            entry.goal = Goal::Up;
            entry.ups.push(request);
            if what == Command::Restart && is_up {
                self.take_down(at, now);
            } else if what == Command::Restart && entry.state == RunState::Waiting {
                entry.state = RunState::Down;
                entry.due = None;
            }
        } else {
            entry.goal = goal;
            entry.late = false;
            entry.downs.push(request);
            let ups = std::mem::take(&mut entry.ups);
            match entry.state {
                RunState::Down | RunState::Waiting => self.is_down(at),
                RunState::Starting | RunState::Running => self.take_down(at, now),
                RunState::Stopping | RunState::Killing => {}
            }
            for request in ups {
                self.answer(request, Err(Refusal::Superseded));
            }
        }
        self.run_until_stable(now);
    }

    pub(super) fn shut_down(&mut self, now: Duration) {
        self.end(Cause::Requested, now);
        self.run_until_stable(now);
    }

    pub(super) fn freeze(&mut self) {
        if self.ending.is_some() || self.frozen {
            return;
        }
        self.frozen = true;
        for at in 0..self.list.len() {
            let entry = &mut self.list[at];
            if entry.in_group && matches!(entry.state, RunState::Starting | RunState::Running) {
                entry.goal = Goal::Up;
            }
            entry.in_group = false;
            entry.late = false;
            if entry.state == RunState::Waiting {
                entry.state = RunState::Down;
                entry.due = None;
            }
            if entry.state != RunState::Starting {
                for request in std::mem::take(&mut entry.ups) {
                    self.answer(request, Err(Refusal::Ending));
                }
            }
        }
    }

    // ---- Reports ----

    pub(super) fn started(&mut self, run: Run, now: Duration) {
        let Some(at) = self.place(run.child) else {
            return;
        };
        let entry = &mut self.list[at];
        if entry.runs != run.number {
            return;
        }
        if entry.state == RunState::Stopping && entry.policy.shutdown == Shutdown::Wait {
            entry.due = None;
        }
        if entry.state != RunState::Starting {
            return;
        }
        entry.state = RunState::Running;
        entry.since = now;
        entry.due = None;
        if !entry.in_group {
            for request in std::mem::take(&mut entry.ups) {
                self.answer(request, Ok(()));
            }
        }
        self.run_until_stable(now);
    }

    pub(super) fn ended(&mut self, run: Run, orderly: bool, now: Duration) {
        let Some(at) = self.place(run.child) else {
            return;
        };
        let entry = &self.list[at];
        if entry.runs != run.number || !has_process(entry.state) {
            return;
        }
        let was_running = entry.state == RunState::Running;
        let was_asked =
            matches!(entry.state, RunState::Stopping | RunState::Killing) && !entry.late;
        let significant = entry.policy.significant;
        if self.frozen || self.ending.is_some() {
            for request in std::mem::take(&mut self.list[at].ups) {
                self.answer(request, Err(Refusal::Failed));
            }
            self.is_down(at);
        } else if was_asked || entry.in_group {
            self.is_down(at);
        } else if !was_running {
            self.did_not_start(at, now);
        } else if match entry.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !orderly,
            Restart::Temporary => false,
        } {
            if now - entry.since >= self.rules.back_off.max {
                self.list[at].in_a_row = 0;
            }
            self.restart(at, now);
        } else {
            self.list[at].goal = if self.is_not_kept(at) {
                Goal::Gone
            } else {
                Goal::Down
            };
            self.is_down(at);
            let others = self
                .list
                .iter()
                .filter(|other| other.policy.significant)
                .filter(|other| has_process(other.state) || other.goal == Goal::Up);
            if significant
                && match self.rules.auto_shutdown {
                    AutoShutdown::Never => false,
                    AutoShutdown::AnySignificant => true,
                    AutoShutdown::AllSignificant => others.count() == 0,
                }
            {
                self.end(Cause::Significant(run.child), now);
            }
        }
        self.run_until_stable(now);
    }

    pub(super) fn expire(&mut self, now: Duration) {
        loop {
            let due = self
                .list
                .iter()
                .filter_map(|entry| entry.due.map(|due| (due, entry.id)))
                .min();
            let Some((due, id)) = due else { return };
            if due > now {
                return;
            }
            let at = self.place(id).expect("an entry");
            let ending = self.frozen || self.ending.is_some();
            let entry = &mut self.list[at];
            entry.due = None;
            match entry.state {
                RunState::Waiting => entry.state = RunState::Down,
                RunState::Starting => {
                    entry.late = !entry.in_group && !ending;
                    self.kill(at, now);
                }
                RunState::Stopping => self.kill(at, now),
                RunState::Killing => {
                    let run = Run {
                        child: id,
                        number: entry.runs,
                    };
                    self.actions.push(Action::Abandon(run));
                    self.ended(run, false, now);
                }
                RunState::Down | RunState::Running => {
                    unreachable!("no deadline in {:?}", entry.state)
                }
            }
            self.run_until_stable(now);
        }
    }

    // ---- What follows ----

    fn is_not_kept(&self, at: usize) -> bool {
        self.rules.kind == RestartScope::Dynamic
            || self.list[at].policy.restart == Restart::Temporary
    }

    fn is_down(&mut self, at: usize) {
        let entry = &mut self.list[at];
        let id = entry.id;
        entry.state = RunState::Down;
        entry.due = None;
        entry.in_group = false;
        entry.late = false;
        let downs = std::mem::take(&mut entry.downs);
        let gone = entry.goal == Goal::Gone;
        for request in downs {
            self.answer(request, Ok(()));
        }
        if gone {
            for request in self.list.remove(at).ups {
                self.answer(request, Err(Refusal::Superseded));
            }
            self.actions.push(Action::Forget(id));
        }
    }

    fn did_not_start(&mut self, at: usize, now: Duration) {
        let id = self.list[at].id;
        for request in std::mem::take(&mut self.list[at].ups) {
            self.answer(request, Err(Refusal::Failed));
        }
        match self.list[at].then {
            Then::EndAll => {
                self.is_down(at);
                self.end(Cause::StartFailed(id), now);
            }
            Then::Forget => {
                self.list[at].goal = Goal::Gone;
                self.is_down(at);
            }
            Then::StayDown => {
                self.list[at].goal = if self.is_not_kept(at) {
                    Goal::Gone
                } else {
                    Goal::Down
                };
                self.is_down(at);
            }
            Then::Retry => self.restart(at, now),
        }
    }

    fn restart(&mut self, at: usize, now: Duration) {
        let id = self.list[at].id;
        self.is_down(at);
        self.restarts.push(now);
        let recent = self
            .restarts
            .iter()
            .filter(|restart| now - **restart <= self.rules.period)
            .count();
        if recent > self.rules.intensity as usize {
            return self.end(Cause::Intensity(id), now);
        }
        let entry = &mut self.list[at];
        entry.then = Then::Retry;
        entry.in_a_row += 1;
        let mut delay = self.rules.back_off.first;
        for _ in 1..entry.in_a_row.min(40) {
            delay = (delay * 2).min(self.rules.back_off.max);
        }
        delay = delay.min(self.rules.back_off.max);
        if delay > Duration::ZERO {
            entry.state = RunState::Waiting;
            entry.due = Some(now + delay);
        }
        for (other, entry) in self.list.iter_mut().enumerate() {
            let takes_part = match self.rules.kind {
                RestartScope::OneForOne | RestartScope::Dynamic => false,
                RestartScope::AllForOne => other != at,
                RestartScope::RestForOne => other > at,
            };
            let temporary = entry.policy.restart == Restart::Temporary;
            let active = has_process(entry.state);
            let skipped = matches!(entry.goal, Goal::Gone | Goal::Disabled);
            if !takes_part || skipped || (temporary && !active) {
                continue;
            }
            if active {
                entry.in_group = true;
                entry.late = false;
            }
            if active || entry.goal == Goal::Down {
                entry.then = Then::Retry;
            }
            entry.goal = if temporary { Goal::Gone } else { Goal::Up };
        }
    }

    fn take_down(&mut self, at: usize, now: Duration) {
        let entry = &mut self.list[at];
        let run = Run {
            child: entry.id,
            number: entry.runs,
        };
        entry.due = match entry.policy.shutdown {
            Shutdown::Kill => return self.kill(at, now),
            Shutdown::Within(time) => Some(now + time),
            Shutdown::Wait if entry.state == RunState::Starting => entry.due,
            Shutdown::Wait => None,
        };
        entry.state = RunState::Stopping;
        self.actions.push(Action::ShutDown(run));
    }

    fn kill(&mut self, at: usize, now: Duration) {
        let entry = &mut self.list[at];
        entry.state = RunState::Killing;
        entry.due = Some(now + self.rules.kill_timeout);
        let run = Run {
            child: entry.id,
            number: entry.runs,
        };
        self.actions.push(Action::Kill(run));
    }

    fn end(&mut self, cause: Cause, now: Duration) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(cause);
        for id in self.list.iter().map(|entry| entry.id).collect::<Vec<_>>() {
            let at = self.place(id).expect("an entry");
            let entry = &mut self.list[at];
            entry.goal = Goal::Gone;
            entry.late = false;
            for request in std::mem::take(&mut entry.ups) {
                self.answer(request, Err(Refusal::Ending));
            }
            match self.list[at].state {
                RunState::Down | RunState::Waiting => self.is_down(at),
                RunState::Starting | RunState::Running
                    if self.rules.kind == RestartScope::Dynamic =>
                {
                    self.take_down(at, now);
                }
                _ => {}
            }
        }
    }

    /// Does what the order allows, from the whole list.
    fn run_until_stable(&mut self, now: Duration) {
        if !self.begun && self.ending.is_none() || self.over {
            return;
        }
        if let Some(cause) = self.ending {
            match self.list.last() {
                None => {
                    self.over = true;
                    self.actions.push(Action::End(cause));
                }
                Some(entry) if matches!(entry.state, RunState::Starting | RunState::Running) => {
                    self.take_down(self.list.len() - 1, now);
                }
                Some(_) => {}
            }
            return;
        }
        if self.frozen {
            return;
        }
        if let Some(at) = self.list.iter().rposition(|entry| entry.in_group) {
            if matches!(self.list[at].state, RunState::Starting | RunState::Running) {
                self.take_down(at, now);
            }
            return;
        }
        let in_order = !self.ready
            || matches!(
                self.rules.kind,
                RestartScope::AllForOne | RestartScope::RestForOne
            );
        let group_waits = self.rules.kind == RestartScope::AllForOne
            && self
                .list
                .iter()
                .any(|entry| entry.goal == Goal::Up && entry.state == RunState::Waiting);
        for at in 0..self.list.len() {
            let entry = &mut self.list[at];
            if entry.goal != Goal::Up || entry.state == RunState::Running {
                continue;
            }
            if entry.state == RunState::Down && !group_waits {
                entry.state = RunState::Starting;
                entry.runs += 1;
                entry.due = Some(now + entry.policy.start_timeout);
                let run = Run {
                    child: entry.id,
                    number: entry.runs,
                };
                self.actions.push(Action::Start(run));
            }
            if in_order || group_waits {
                return;
            }
        }
        if !self.ready {
            self.ready = true;
            self.actions.push(Action::Ready);
        }
    }
}
