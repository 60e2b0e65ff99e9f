//! A step of a world: [`WorldState::step`] does the first of what [the module](super) lists.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::thread;

use super::entry::NodeEntry;
use super::{World, WorldState};
use crate::node::core::Core;
use crate::scheduler::{Executor, Slot, Task, TaskKind, Wait};
use crate::simulation::{self, Driver, Site};
use crate::testing::baton::Work;
use crate::testing::policy::{Candidates, Choice};

/// Steps of one call after which a world counts as one that never comes to rest.
const MOST_STEPS: u64 = 100_000_000;

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Ran,
    /// Nothing can run before the limit.
    Nothing,
}

impl WorldState {
    #[track_caller]
    pub(super) fn count(&self, steps: &mut u64) {
        *steps += 1;
        assert!(
            *steps < MOST_STEPS,
            "seed {}: this never comes to rest",
            self.seed
        );
    }

    /// Runs until the condition holds or that time; whether it holds.
    pub(super) fn run(&self, until_ns: u64, condition: &mut dyn FnMut() -> bool) -> bool {
        let mut steps = 0;
        loop {
            if condition() {
                return true;
            }
            if self.step(until_ns) == Step::Nothing {
                // The time of the limit passes too, so that two waits in a row take as long as both.
                if until_ns != u64::MAX {
                    self.pass_until(until_ns);
                    self.check();
                }
                return condition();
            }
            self.count(&mut steps);
        }
    }

    fn pass_until(&self, until_ns: u64) {
        let mut net = self.net();
        net.advance(until_ns);
        simulation::set_now_ns(net.now_ns());
    }

    // ---- A step ----

    pub(super) fn step(&self, limit_ns: u64) -> Step {
        if self.look_at_waits()
            || self.apply_fault()
            || self.run_job()
            || self.serve_clients()
            || self.run_one()
        {
            return Step::Ran;
        }
        match self.next_ns() {
            Some(next_ns) if next_ns <= limit_ns => {
                self.pass_until(next_ns);
                // Everything that can run at this moment has run, so an invariant never sees a process half-way through
                // its work.
                self.check();
                Step::Ran
            }
            _ => Step::Nothing,
        }
    }

    /// Whether anything comes without a timer.
    pub(super) fn is_busy(&self) -> bool {
        self.baton.borrow().has_job() || self.net().is_busy()
    }

    /// Queues the processes whose waits are over, and resumes what is polled. Returns whether that has run.
    fn look_at_waits(&self) -> bool {
        self.queue_woken();
        let now_ns = self.net().now_ns();
        self.baton.borrow_mut().poll(now_ns)
    }

    fn queue_woken(&self) {
        let now_ns = self.net().now_ns();
        let woken = self.baton.borrow_mut().take_woken(now_ns);
        let nodes = self.nodes.borrow();
        for (node, task) in woken {
            nodes[node].core.scheduler.push(task, Slot::Fifo);
        }
    }

    #[track_caller]
    fn check(&self) {
        // A node that is dropped stops, and its stop lets time pass: a second panic there would abort the program, and
        // the first one would not be reported.
        if thread::panicking() {
            return;
        }
        for invariant in &*self.invariants.borrow() {
            if let Err(problem) = invariant() {
                panic!("an invariant does not hold: {problem}");
            }
        }
    }

    fn apply_fault(&self) -> bool {
        let now_ns = self.net().now_ns();
        let Some((number, fault)) = self.schedule.borrow_mut().take_due(now_ns) else {
            return false;
        };
        self.net()
            .trace
            .add(now_ns, format_args!("fault   {number}: {fault:?}"));
        if let Some(inner) = self.this.upgrade() {
            World(inner).apply(&fault);
        }
        true
    }

    fn run_job(&self) -> bool {
        let mut net = self.net();
        let (job, now_ns) = (net.take_job(), net.now_ns());
        // The job takes the lock of the network itself.
        drop(net);
        let Some((site, job)) = job else {
            return false;
        };
        self.baton.borrow_mut().run(Work::Job(job), site, now_ns);
        true
    }

    fn serve_clients(&self) -> bool {
        // The lock of the network is free when the clients are called, which take it.
        let mut ready = Vec::new();
        {
            let mut net = self.net();
            if !net.has_ready(self.clients_poll) {
                return false;
            }
            // A client is called for what it can do now, whatever the report says.
            let _ = net.take_ready(self.clients_poll, false, |token, _| ready.push(token));
        }
        for token in ready {
            let client = self.clients.borrow().get(&token).cloned();
            if let Some(client) = client {
                client.borrow_mut().progress();
            }
        }
        true
    }

    /// Whether a node has something to run.
    pub(super) fn can_run(&self) -> bool {
        self.queue_woken();
        let now_ns = self.net().now_ns();
        let mut nodes = self.nodes.borrow_mut();
        let has_clients = self.net().has_ready(self.clients_poll);
        has_clients
            || nodes
                .iter_mut()
                .any(|node| !node.candidates(self, now_ns).is_empty())
    }

    /// Runs a task or a turn of a node.
    fn run_one(&self) -> bool {
        let Some((index, choice)) = self.choose() else {
            return false;
        };
        // The list of nodes is free while the task runs, which may start or stop one.
        let (core, site) = {
            let nodes = self.nodes.borrow();
            (Arc::clone(&nodes[index].core), nodes[index].site.clone())
        };
        match choice {
            Chosen::Poll => {
                self.trace(index, format_args!("looks at its sockets and timers"));
                // With nothing to run a worker waits in the poll; a simulated one returns at once.
                let is_idle = core
                    .scheduler
                    .simulated_queue()
                    .is_none_or(|queue| queue.is_empty());
                let wait = if is_idle { Wait::Forever } else { Wait::No };
                here(&core, &site, || core.turn(wait));
            }
            Chosen::Task(task) => match task.kind() {
                TaskKind::Process(number) => self.run_process(index, number, (core, task), site),
                TaskKind::Stripe(number) => {
                    self.trace(index, format_args!("runs stripe {number}"));
                    here(&core, &site, || core.run_simulated(task));
                }
            },
        }
        // Each activation takes some time. At no cost, two processes that keep each other busy would stop the clock,
        // and no deadline would ever be reached.
        let cost_ns = self.chooser.borrow_mut().cost_ns(self.task_cost_ns);
        let mut net = self.net();
        let to_ns = net.now_ns().saturating_add(cost_ns);
        net.advance(to_ns);
        simulation::set_now_ns(net.now_ns());
        true
    }

    /// Runs an activation of a process, or goes on with one that has waited.
    fn run_process(&self, node: usize, number: u32, (core, task): (Arc<Core>, Task), site: Site) {
        let now_ns = self.net().now_ns();
        let is_waiting = self.baton.borrow().is_waiting(node, task);
        if is_waiting {
            self.trace(node, format_args!("resumes process {number}"));
            self.baton.borrow_mut().resume(node, task, now_ns);
        } else {
            self.trace(node, format_args!("runs process {number}"));
            let work = Work::Process(node, core, task);
            self.baton.borrow_mut().run(work, site, now_ns);
        }
    }

    fn trace(&self, node: usize, text: fmt::Arguments<'_>) {
        let nodes = self.nodes.borrow();
        let mut net = self.net();
        let now_ns = net.now_ns();
        let name = &nodes[node].name;
        net.trace.add(now_ns, format_args!("{name:<7} {text}"));
    }

    fn choose(&self) -> Option<(usize, Chosen)> {
        let now_ns = self.net().now_ns();
        let mut nodes = self.nodes.borrow_mut();
        let mut chooser = self.chooser.borrow_mut();
        let with_work = nodes
            .iter_mut()
            .map(|node| node.candidates(self, now_ns))
            .collect::<Vec<_>>();
        let busy = with_work.iter().filter(|found| !found.is_empty()).count();
        let drawn = match busy {
            0 => return None,
            1 => 0,
            several => chooser.pick(several),
        };
        let (index, found) = with_work
            .into_iter()
            .enumerate()
            .filter(|(_, found)| !found.is_empty())
            .nth(drawn)?;
        let mut queue = nodes[index].core.scheduler.simulated_queue()?;
        let choice = match found.runnable {
            None => {
                let candidates = Candidates {
                    tasks: queue.len(),
                    can_poll: found.can_poll,
                };
                chooser.choose(candidates, |place| queue[place].number())
            }
            Some(places) => {
                let candidates = Candidates {
                    tasks: places.len(),
                    can_poll: found.can_poll,
                };
                match chooser.choose(candidates, |place| queue[places[place]].number()) {
                    Choice::Task(place) => Choice::Task(places[place]),
                    Choice::Poll => Choice::Poll,
                }
            }
        };
        match choice {
            Choice::Poll => Some((index, Chosen::Poll)),
            Choice::Task(place) => Some((index, Chosen::Task(queue.remove(place)?))),
        }
    }

    /// When something happens next, if nothing can run.
    fn next_ns(&self) -> Option<u64> {
        let net = self.net();
        let event = net.next_ns();
        let job = net.next_job_ns();
        // `NodeEntry::next_ns` takes the lock of the network as well.
        drop(net);
        let wait = self.baton.borrow().next_ns();
        let fault = self.schedule.borrow().next_ns();
        let nodes = self.nodes.borrow();
        let timers = nodes.iter().filter_map(NodeEntry::next_ns);
        let others = event.into_iter().chain(job).chain(wait).chain(fault);
        timers.chain(others).min()
    }
}

/// Runs code of a node on the calling thread.
fn here<R>(core: &Core, site: &Site, code: impl FnOnce() -> R) -> R {
    let _at = site.enter();
    let _inside = core.scheduler.runtime().enter();
    code()
}

/// What is run next.
enum Chosen {
    Task(Task),
    Poll,
}

impl Driver for WorldState {
    fn run_until(&self, deadline_ns: u64, done: &mut dyn FnMut() -> bool) -> bool {
        self.run(deadline_ns, done)
    }

    fn run_until_woken(&self, deadline_ns: u64, done: &mut dyn FnMut(&Waker) -> bool) -> bool {
        // The thread of the test runs the world and looks after each step, so there is nothing to wake.
        self.run(deadline_ns, &mut || done(Waker::noop()))
    }
}
