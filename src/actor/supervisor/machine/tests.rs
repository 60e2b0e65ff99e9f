//! Random steps on the machine and the reference at once, in a world of processes that start, fail,
//! block, crash, and end when they are asked to or do not.
//!
//! `LONGSHORE_SUPERVISOR_STEPS` sets how many steps are taken, 200,000 by default.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::super::mutation::{Mutation, Planted};
use super::super::policy::{AutoShutdown, BackOff, Policy, Restart, RestartScope, Rules, Shutdown};
use super::child::{Goal, RunState};
use super::reference::Reference;
use super::{Action, ChildId, Command, LifePhase, Machine, Run};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// What `init` of a process does.
#[derive(Clone, Copy, PartialEq)]
enum Init {
    Succeeds,
    FailsOrPanics,
    Blocks,
}

struct Process {
    run: Run,
    init: Init,
    runs: bool,
    was_asked: bool,
    was_killed: bool,
    ignores_shutdown: bool,
    is_stuck: bool,
    is_abandoned: bool,
}

/// Both machines, and the processes they have started.
struct World {
    random: Random,
    now: Duration,
    machine: Machine,
    reference: Reference,
    processes: Vec<Process>,
    last_runs: Vec<Run>,
    next_request: u64,
    unanswered: Vec<u64>,
    children: u64,
    is_over: bool,
    /// The processes behave from now on.
    is_calm: bool,
}

type Found = Result<(), String>;

impl World {
    fn new(seed: u64, fault: Option<Planted>) -> Self {
        let mut random = Random(seed);
        let rules = Rules {
            kind: random.pick(&[
                RestartScope::OneForOne,
                RestartScope::AllForOne,
                RestartScope::RestForOne,
                RestartScope::Dynamic,
            ]),
            auto_shutdown: random.pick(&[
                AutoShutdown::Never,
                AutoShutdown::AnySignificant,
                AutoShutdown::AllSignificant,
            ]),
            intensity: random.pick(&[0, 1, 3, 100]),
            period: random.pick(&[ms(5), ms(50)]),
            back_off: random.pick(&[
                BackOff::default(),
                BackOff {
                    first: ms(2),
                    max: ms(10),
                },
            ]),
            kill_timeout: ms(3),
        };
        let mut machine = Machine::new(rules);
        machine.mutation = Mutation(fault);
        Self {
            random,
            now: ms(1_000),
            machine,
            reference: Reference::new(rules),
            processes: Vec::new(),
            last_runs: Vec::new(),
            next_request: 0,
            unanswered: Vec::new(),
            children: 0,
            is_over: false,
            is_calm: false,
        }
    }

    fn request(&mut self) -> u64 {
        self.next_request += 1;
        self.unanswered.push(self.next_request);
        self.next_request
    }

    fn policy(&mut self) -> Policy {
        let restart = self.random.pick(&[
            Restart::Permanent,
            Restart::Permanent,
            Restart::Transient,
            Restart::Temporary,
        ]);
        Policy {
            restart,
            significant: restart != Restart::Permanent && self.random.one_in(2),
            shutdown: self.random.pick(&[
                Shutdown::Kill,
                Shutdown::Within(ms(4)),
                Shutdown::Within(ms(4)),
                Shutdown::Wait,
            ]),
            start_timeout: ms(6),
        }
    }

    fn add(&mut self, requested: bool) {
        let policy = self.policy();
        let request = requested.then(|| self.request());
        self.reference.add(policy, request, self.now);
        if self.machine.add(policy, request, self.now).is_some() {
            self.children += 1;
        }
    }

    /// One random step.
    fn step(&mut self) {
        match self.random.below(100) {
            0..45 => self.advance_process(),
            45..60 => {
                let wait = match self.machine.deadline() {
                    Some(deadline) if self.random.one_in(2) => deadline.saturating_sub(self.now),
                    _ => ms(self.random.below(4)),
                };
                self.now += wait;
                self.expire();
            }
            60..68 => self.crash(),
            68..88 => {
                let id = ChildId(self.random.below(self.children + 1));
                let command = self.random.pick(&[
                    Command::Start,
                    Command::Stop,
                    Command::Restart,
                    Command::Enable,
                    Command::Disable,
                    Command::Remove,
                ]);
                let request = self.request();
                self.reference.command(id, command, request, self.now);
                self.machine.command(id, command, request, self.now);
            }
            88..94 => self.add(true),
            94..99 => self.report_stale(),
            _ => match self.random.below(6) {
                0 | 1 => {
                    self.reference.shut_down(self.now);
                    self.machine.shut_down(self.now);
                }
                2 => {
                    self.reference.freeze();
                    self.machine.freeze();
                }
                _ => {}
            },
        }
    }

    fn expire(&mut self) {
        self.reference.expire(self.now);
        self.machine.expire(self.now);
    }

    fn ended(&mut self, run: Run, orderly: bool) {
        self.reference.ended(run, orderly, self.now);
        self.machine.ended(run, orderly, self.now);
    }

    fn started(&mut self, run: Run) {
        self.reference.started(run, self.now);
        self.machine.started(run, self.now);
    }

    /// A random process does what it would do next.
    fn advance_process(&mut self) {
        if !self.processes.is_empty() {
            let at = self.random.below(self.processes.len() as u64) as usize;
            self.advance_at(at);
        }
    }

    /// Returns whether it did anything.
    fn advance_at(&mut self, at: usize) -> bool {
        let process = &mut self.processes[at];
        let run = process.run;
        let is_blocked = !process.runs && process.init == Init::Blocks;
        if process.was_killed && process.is_stuck {
            return false;
        }
        if process.was_killed && (process.runs || is_blocked) {
            self.processes.swap_remove(at);
            self.ended(run, false);
        } else if !process.runs {
            match process.init {
                Init::Succeeds => {
                    process.runs = true;
                    self.started(run);
                }
                Init::FailsOrPanics => {
                    self.processes.swap_remove(at);
                    self.ended(run, false);
                }
                Init::Blocks => return false,
            }
        } else if process.was_asked && !process.ignores_shutdown {
            self.processes.swap_remove(at);
            let orderly = !self.random.one_in(8);
            self.ended(run, orderly);
        } else {
            return false;
        }
        true
    }

    /// A running process ends by itself.
    fn crash(&mut self) {
        let running: Vec<usize> = (0..self.processes.len())
            .filter(|at| self.processes[*at].runs)
            .collect();
        if running.is_empty() {
            return;
        }
        let run = self.processes.swap_remove(self.random.pick(&running)).run;
        let orderly = self.random.one_in(3);
        self.ended(run, orderly);
    }

    /// A report about a process that has ended or was replaced.
    fn report_stale(&mut self) {
        if self.last_runs.is_empty() {
            return;
        }
        let at = self.random.below(self.last_runs.len() as u64) as usize;
        let run = self.last_runs[at];
        if self.processes.iter().any(|process| process.run == run) {
            return;
        }
        if self.random.one_in(2) {
            self.started(run);
        } else {
            self.ended(run, false);
        }
    }

    /// Compares the two, and carries the actions out.
    fn check(&mut self) -> Found {
        let expected = std::mem::take(&mut self.reference.actions);
        let mut found = Vec::with_capacity(expected.len());
        found.extend(std::iter::from_fn(|| self.machine.next_action()));
        if found != expected {
            return Err(format!("expected {expected:?}, found {found:?}"));
        }
        if !self.machine.children().eq(self.reference.children()) {
            return Err("the children differ".into());
        }
        if self.machine.deadline() != self.reference.deadline() {
            return Err("the deadlines differ".into());
        }
        if self.machine.cause() != self.reference.ending {
            return Err("the causes differ".into());
        }
        found
            .into_iter()
            .try_for_each(|action| self.carry_out(action))
    }

    fn carry_out(&mut self, action: Action) -> Found {
        match action {
            Action::Start(run) => return self.spawn(run),
            Action::ShutDown(run) => self.process(run)?.was_asked = true,
            Action::Kill(run) => self.process(run)?.was_killed = true,
            Action::Abandon(run) => self.process(run)?.is_abandoned = true,
            Action::Answer(request, _) => {
                let Some(at) = self.unanswered.iter().position(|other| *other == request) else {
                    return Err(format!("request {request} is answered twice"));
                };
                self.unanswered.swap_remove(at);
            }
            Action::End(_) => {
                if self.processes.iter().any(|process| !process.is_abandoned) {
                    return Err("the supervisor left a process behind".into());
                }
                if !self.unanswered.is_empty() {
                    return Err("a request was not answered".into());
                }
                self.is_over = true;
            }
            Action::Forget(_) | Action::Ready => {}
        }
        Ok(())
    }

    fn process(&mut self, run: Run) -> Result<&mut Process, String> {
        self.processes
            .iter_mut()
            .find(|process| process.run == run)
            .ok_or_else(|| format!("{run:?} has no process"))
    }

    fn spawn(&mut self, run: Run) -> Found {
        let doubled = self
            .processes
            .iter()
            .any(|process| process.run.child == run.child && !process.is_abandoned);
        if doubled || self.is_over {
            return Err(format!("{run:?} must not start"));
        }
        let random = &mut self.random;
        let init = match random.below(8) {
            _ if self.is_calm => Init::Succeeds,
            0 => Init::FailsOrPanics,
            1 => Init::Blocks,
            _ => Init::Succeeds,
        };
        let process = Process {
            run,
            init,
            runs: false,
            was_asked: false,
            was_killed: false,
            ignores_shutdown: !self.is_calm && random.one_in(4),
            is_stuck: random.one_in(4),
            is_abandoned: false,
        };
        self.processes.push(process);
        if self.last_runs.len() < 64 {
            self.last_runs.push(run);
        }
        Ok(())
    }

    /// Nothing happens any more but what processes and deadlines bring by themselves.
    fn come_to_rest(&mut self) -> Found {
        self.is_calm = true;
        for process in &mut self.processes {
            process.ignores_shutdown = false;
        }
        for _ in 0..10_000 {
            let moved = (0..self.processes.len()).any(|at| self.advance_at(at));
            self.check()?;
            if moved {
                continue;
            }
            let Some(deadline) = self.machine.deadline() else {
                return Ok(());
            };
            self.now = self.now.max(deadline);
            self.expire();
            self.check()?;
        }
        Err("it does not come to rest".into())
    }

    /// At rest every child is where it should be, and every request is answered.
    fn check_rest(&self) -> Found {
        if self.is_over {
            return Ok(());
        }
        if self.machine.is_ending() {
            return Err("it is stuck while it ends".into());
        }
        for (id, status) in self.machine.children() {
            let is_frozen = self.machine.phase == LifePhase::Frozen;
            let rests = match status.goal {
                Goal::Up if is_frozen => {
                    matches!(status.state, RunState::Running | RunState::Down)
                }
                Goal::Up => status.state == RunState::Running,
                Goal::Down | Goal::Disabled => status.state == RunState::Down,
                Goal::Gone => false,
            };
            if !rests {
                return Err(format!("{id:?} is stuck as {status:?}"));
            }
        }
        if self.unanswered.is_empty() {
            Ok(())
        } else {
            Err("a request was not answered".into())
        }
    }

    /// The life of one supervisor. Returns the steps taken.
    fn live(mut self) -> Result<u64, String> {
        for _ in 0..self.random.below(5) {
            self.add(false);
        }
        self.reference.begin(self.now);
        self.machine.begin(self.now);
        self.check()?;
        let length = 20 + self.random.below(180);
        for taken in 0..length {
            self.step();
            self.check()?;
            if self.is_over {
                return Ok(taken + 1);
            }
        }
        self.come_to_rest()?;
        self.check_rest()?;
        self.reference.shut_down(self.now);
        self.machine.shut_down(self.now);
        self.check()?;
        self.come_to_rest()?;
        if self.is_over {
            Ok(length)
        } else {
            Err("it does not end".into())
        }
    }
}

/// Takes that many steps. `Err`: what was found, and after how many.
fn explore(steps: u64, fault: Option<Planted>) -> Result<(), (u64, String)> {
    let mut taken = 0;
    let mut seed = 0;
    while taken < steps {
        seed += 1;
        match catch_unwind(AssertUnwindSafe(|| World::new(seed, fault).live())) {
            Ok(Ok(lived)) => taken += lived,
            Ok(Err(found)) => return Err((taken, format!("seed {seed}: {found}"))),
            Err(_) => return Err((taken, format!("seed {seed}: a panic"))),
        }
    }
    Ok(())
}

fn steps() -> u64 {
    let steps = std::env::var("LONGSHORE_SUPERVISOR_STEPS").ok();
    steps.map_or(200_000, |steps| steps.parse().expect("a number of steps"))
}

#[test]
fn random_steps_show_no_difference_to_the_reference() {
    if let Err((taken, found)) = explore(steps(), None) {
        panic!("after {taken} steps: {found}");
    }
}

#[test]
fn each_of_ten_planted_faults_is_found() {
    let faults = [
        Planted::AllowsOneMore,
        Planted::EndsForward,
        Planted::ForgetsLateStart,
        Planted::ForgetsWaiting,
        Planted::LosesRequests,
        Planted::RestartsTemporary,
        Planted::StartsGroupEarly,
        Planted::StopsGroupForward,
        Planted::TakesStaleReports,
        Planted::WaitsForKilled,
    ];
    for fault in faults {
        let (taken, found) = explore(steps(), Some(fault)).expect_err("a planted fault");
        println!("{fault:?} after {taken} steps, {found}");
    }
}
