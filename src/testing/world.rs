//! The world: virtual time, the network, and the nodes that run in it.
//!
//! One step does the first of these that there is:
//!
//! 1. a fault whose time has come;
//! 2. a job whose time has come: a lookup of a name, the stop of a node;
//! 3. what the clients of the test can read and write;
//! 4. a task of a node, or a turn of its poll, as the [`Policy`] chooses; this takes a virtual moment;
//! 5. time passes until the next thing happens.
//!
//! A world is *idle* when nothing can run and nothing is on its way; timers do not count.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::client::ClientState;
use super::fault::{Fault, FaultOptions, Schedule};
use super::policy::{Candidates, Choice, Chooser, Policy};
use crate::node::core::Core;
use crate::scheduler::{Executor, Kind, Task, Wait};
use crate::simulation::net::{HostId, Net, NetOptions};
use crate::simulation::random::{Generator, Stream};
use crate::simulation::{self, Driver, Site};

/// Steps of one call after which a world counts as one that never comes to rest.
const MOST_STEPS: u64 = 100_000_000;
/// Virtual time after which a condition counts as one that never holds.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// How a [`World`] is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorldOptions {
    /// The order of tasks.
    pub policy: Policy,
    /// The network.
    pub net: NetOptions,
    /// The longest that an activation of a task takes in virtual time; 20 µs for `None`.
    pub task_cost: Option<Duration>,
}

impl WorldOptions {
    /// Sets [`policy`](Self::policy).
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets [`net`](Self::net).
    #[must_use]
    pub fn with_net(mut self, net: NetOptions) -> Self {
        self.net = net;
        self
    }

    /// Sets [`task_cost`](Self::task_cost).
    #[must_use]
    pub fn with_task_cost(mut self, longest: impl Into<Option<Duration>>) -> Self {
        self.task_cost = longest.into();
        self
    }
}

/// Several nodes, their network and their clients, on the calling thread and in virtual time.
///
/// A clone is the same world. See [the module](super).
#[derive(Clone)]
pub struct World(pub(super) Rc<Inner>);

pub(super) struct Inner {
    pub(super) net: Arc<Mutex<Net>>,
    seed: u64,
    clients_host: HostId,
    pub(super) clients_poll: usize,
    nodes: RefCell<Vec<NodeEntry>>,
    chooser: RefCell<Chooser>,
    task_cost_ns: u64,
    pub(super) clients: RefCell<BTreeMap<u64, Rc<RefCell<ClientState>>>>,
    pub(super) next_client: Cell<u64>,
    user: RefCell<Generator>,
    schedule: RefCell<Schedule>,
    invariants: RefCell<Vec<Invariant>>,
    /// Tasks that run: more than one while a task waits for others.
    depth: Cell<u32>,
    /// Itself.
    this: Weak<Self>,
}

type Invariant = Box<dyn Fn() -> Result<(), String>>;

/// A node of the world.
struct NodeEntry {
    core: Arc<Core>,
    site: Site,
    name: String,
    /// The node does nothing before this time, as a process that was stopped by a signal.
    paused_until_ns: u64,
    /// Tasks that are kept from running.
    held: Vec<Task>,
    /// The millisecond of the last look at its timers.
    looked_ms: u64,
}

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ran,
    /// Nothing can run before the limit.
    Nothing,
}

impl World {
    /// A world whose every choice depends on the seed.
    pub fn seeded(seed: u64) -> Self {
        Self::with(seed, WorldOptions::default())
    }

    /// The same, with options.
    pub fn with(seed: u64, options: WorldOptions) -> Self {
        let mut net = Net::new(seed, options.net);
        let clients_host = net.add_host("clients");
        let clients_poll = net.add_poll();
        let net = Arc::new(Mutex::new(net));
        let cost = options.task_cost.unwrap_or(Duration::from_micros(20));
        let chooser = Chooser::new(options.policy, Generator::new(seed, Stream::Scheduler));
        let site = Site::new(&net, clients_host, clients_host, clients_poll);
        let inner = Rc::new_cyclic(|this| Inner {
            net,
            seed,
            clients_host,
            clients_poll,
            nodes: RefCell::default(),
            chooser: RefCell::new(chooser),
            task_cost_ns: u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX),
            clients: RefCell::default(),
            next_client: Cell::new(0),
            user: RefCell::new(Generator::new(seed, Stream::User)),
            schedule: RefCell::default(),
            invariants: RefCell::default(),
            depth: Cell::new(0),
            this: Weak::clone(this),
        });
        let driver: Rc<dyn Driver> = Rc::clone(&inner) as _;
        simulation::set_now_ns(0);
        simulation::install(&driver, &site);
        Self(inner)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The policy that was chosen, by the options or by the seed.
    pub fn policy(&self) -> Policy {
        self.0.chooser.borrow().policy()
    }

    /// Virtual time since the world was made.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.0.net().now_ns())
    }

    /// A number below `bound`, for the choices of the scenario; 0 when `bound` is 0.
    pub fn draw(&self, bound: u64) -> u64 {
        self.0.user.borrow_mut().below(bound)
    }

    // ---- Running ----

    /// Runs until nothing can run and nothing is on its way. Timers do not count: [`World::advance`] lets them fire.
    ///
    /// # Panics
    ///
    /// After a hundred million steps: something keeps itself busy.
    pub fn run_until_idle(&self) {
        self.0.enter();
        let mut steps = 0;
        while self.0.is_busy() || self.0.can_run() {
            self.0.step(u64::MAX);
            self.0.count(&mut steps);
        }
    }

    /// Lets virtual time pass, and runs what there is to run until then.
    ///
    /// # Panics
    ///
    /// As [`World::run_until_idle`].
    pub fn advance(&self, time: Duration) {
        self.0.enter();
        let until_ns = self.0.net().now_ns().saturating_add(nanos(time));
        self.0.run(until_ns, &mut || false);
    }

    /// Runs until the condition holds.
    ///
    /// # Panics
    ///
    /// When it does not hold after an hour of virtual time, with the end of the trace.
    #[track_caller]
    pub fn run_until(&self, condition: impl FnMut() -> bool) {
        if !self.run_for(PATIENCE, condition) {
            panic!(
                "the condition does not hold after an hour of virtual time (seed {})\n{}",
                self.0.seed,
                self.trace(40)
            );
        }
    }

    /// Runs until the condition holds or this much virtual time has passed. Returns whether it holds.
    pub fn run_for(&self, time: Duration, mut condition: impl FnMut() -> bool) -> bool {
        self.0.enter();
        let until_ns = self.0.net().now_ns().saturating_add(nanos(time));
        self.0.run(until_ns, &mut condition)
    }

    /// Has a condition checked whenever time passes, from now on; `Err` says what is wrong.
    pub fn invariant(&self, holds: impl Fn() -> Result<(), String> + 'static) {
        self.0.invariants.borrow_mut().push(Box::new(holds));
    }

    // ---- The trace ----

    /// The last `lines` lines of the trace.
    pub fn trace(&self, lines: usize) -> String {
        self.0.net().trace.end(lines)
    }

    /// A hash of the whole trace: equal for equal seeds, at one revision of the crate and of the scenario.
    pub fn trace_hash(&self) -> u64 {
        self.0.net().trace.hash()
    }

    /// Switches the trace off or on. It is on at first, and takes most of the time of a run.
    pub fn set_trace(&self, is_on: bool) {
        self.0.net().trace.set_on(is_on);
    }

    /// Adds a line to the trace.
    pub fn note(&self, text: impl fmt::Display) {
        let mut net = self.0.net();
        let now_ns = net.now_ns();
        net.trace.add(now_ns, format_args!("note    {text}"));
    }

    // ---- Faults ----

    /// The network.
    pub fn net(&self) -> super::NetControl {
        super::NetControl(self.clone())
    }

    /// Makes a list of faults, drawn by the seed before any of them happens, and lets them happen as time passes.
    ///
    /// [`explore`](super::explore()) leaves single ones out to find those that a failure needs.
    pub fn inject(&self, options: &FaultOptions) {
        let now_ns = self.0.net().now_ns();
        let mut random = Generator::new(self.0.seed, Stream::Faults);
        self.0
            .schedule
            .borrow_mut()
            .draw(now_ns, options, &mut random);
    }

    /// The faults of the list, each with its number and time.
    pub fn faults(&self) -> Vec<(usize, Duration, Fault)> {
        self.0.schedule.borrow().list()
    }

    pub(super) fn leave_out(&self, faults: &[usize]) {
        self.0.schedule.borrow_mut().leave_out(faults);
    }

    // ---- Nodes ----

    /// Adds a host and gives its site.
    pub(super) fn add_site(&self, name: &str) -> Site {
        let mut net = self.0.net();
        let host = net.add_host(name);
        let poll = net.add_poll();
        drop(net);
        Site::new(&self.0.net, host, host, poll)
    }

    /// Adds a node that was started at that site.
    pub(super) fn add_node(&self, name: &str, site: Site, core: Arc<Core>) -> usize {
        let mut nodes = self.0.nodes.borrow_mut();
        if nodes.is_empty() {
            // What the test makes outside of its nodes belongs to the first one.
            let driver: Rc<dyn Driver> = Rc::clone(&self.0) as _;
            simulation::install(&driver, &site);
        }
        nodes.push(NodeEntry {
            core,
            site,
            name: name.to_owned(),
            paused_until_ns: 0,
            held: Vec::new(),
            looked_ms: u64::MAX,
        });
        nodes.len() - 1
    }

    pub(super) fn nodes(&self) -> usize {
        self.0.nodes.borrow().len()
    }

    pub(super) fn pause(&self, node: usize, time: Duration) {
        let mut nodes = self.0.nodes.borrow_mut();
        let entry = &mut nodes[node];
        let mut net = self.0.net();
        let now_ns = net.now_ns();
        entry.paused_until_ns = now_ns.saturating_add(nanos(time));
        net.interrupt_poll(entry.site.poll);
        let name = &entry.name;
        net.trace
            .add(now_ns, format_args!("{name:<7} pauses for {time:?}"));
    }

    pub(super) fn hold(&self, node: usize, task: Task, is_held: bool) {
        let mut nodes = self.0.nodes.borrow_mut();
        let held = &mut nodes[node].held;
        held.retain(|other| *other != task);
        if is_held {
            held.push(task);
        }
    }

    pub(super) fn faults_drawn(&self) -> usize {
        self.0.schedule.borrow().drawn()
    }

    pub(super) fn host_of(&self, node: usize) -> HostId {
        self.0.nodes.borrow()[node].site.host
    }

    pub(super) fn clients_host(&self) -> HostId {
        self.0.clients_host
    }

    pub(super) fn core(&self, node: usize) -> Option<Arc<Core>> {
        Some(Arc::clone(&self.0.nodes.borrow().get(node)?.core))
    }

    /// Stops a node, as from one of its processes.
    pub(super) fn stop_node(&self, node: usize) {
        if let Some(core) = self.core(node) {
            core.processes.stop_node();
        }
    }

    /// Does something to the network after a time.
    pub(super) fn later(
        &self,
        host: HostId,
        time: Duration,
        change: impl FnOnce(&mut Net) + Send + 'static,
    ) {
        let site = Site::new(&self.0.net, host, host, self.0.clients_poll);
        let net = Arc::clone(&self.0.net);
        let job = move || change(&mut net.lock().unwrap_or_else(PoisonError::into_inner));
        let at_ns = self.0.net().now_ns().saturating_add(nanos(time));
        self.0.net().at(at_ns, site, Box::new(job));
    }

    /// The site of a client of the test, for which the loopback addresses of `via` are local.
    pub(super) fn client_site(&self, via: HostId) -> Site {
        Site::new(&self.0.net, self.0.clients_host, via, self.0.clients_poll)
    }
}

/// Whole nanoseconds; saturates.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Inner {
    pub(super) fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the time of this world the one of the thread.
    fn enter(&self) {
        simulation::set_now_ns(self.net().now_ns());
    }

    #[track_caller]
    fn count(&self, steps: &mut u64) {
        *steps += 1;
        assert!(
            *steps < MOST_STEPS,
            "seed {}: this never comes to rest",
            self.seed
        );
    }

    /// Runs until the condition holds or that time; whether it holds.
    fn run(&self, until_ns: u64, condition: &mut dyn FnMut() -> bool) -> bool {
        let mut steps = 0;
        loop {
            if condition() {
                return true;
            }
            if self.step(until_ns) == Step::Nothing {
                if until_ns != u64::MAX {
                    self.pass_until(until_ns);
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

    fn step(&self, limit_ns: u64) -> Step {
        if self.apply_fault() || self.run_job() || self.serve_clients() || self.run_one() {
            return Step::Ran;
        }
        match self.next_ns() {
            Some(next_ns) if next_ns <= limit_ns => {
                self.pass_until(next_ns);
                self.check();
                Step::Ran
            }
            _ => Step::Nothing,
        }
    }

    /// Whether anything comes without a timer.
    fn is_busy(&self) -> bool {
        self.net().is_busy()
    }

    #[track_caller]
    fn check(&self) {
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
        if self.depth.get() > 0 {
            // It has a thread of its own in a real node; here it waits until none of a task runs on this one.
            return false;
        }
        let job = self.net().take_job();
        let Some((site, job)) = job else {
            return false;
        };
        let _at = site.enter();
        job();
        true
    }

    fn serve_clients(&self) -> bool {
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
    fn can_run(&self) -> bool {
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
        let (core, site) = {
            let nodes = self.nodes.borrow();
            (Arc::clone(&nodes[index].core), nodes[index].site.clone())
        };
        let _at = site.enter();
        let _inside = core.scheduler.runtime().enter();
        let _depth = Depth::enter(&self.depth);
        match choice {
            Chosen::Poll => {
                self.trace(index, format_args!("looks at its sockets and timers"));
                // With nothing to run a worker waits in the poll; a simulated one returns at once.
                let is_idle = core
                    .scheduler
                    .simulated_queue()
                    .is_none_or(|queue| queue.is_empty());
                core.turn(if is_idle { Wait::Forever } else { Wait::No });
            }
            Chosen::Task(task) => {
                match task.kind() {
                    Kind::Process(number) => {
                        self.trace(index, format_args!("runs process {number}"));
                    }
                    Kind::Stripe(number) => {
                        self.trace(index, format_args!("runs stripe {number}"));
                    }
                }
                core.run_simulated(task);
            }
        }
        let cost_ns = self.chooser.borrow_mut().cost_ns(self.task_cost_ns);
        let mut net = self.net();
        let to_ns = net.now_ns() + cost_ns;
        net.advance(to_ns);
        simulation::set_now_ns(net.now_ns());
        true
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
        let job = net.next_job_ns().filter(|_| self.depth.get() == 0);
        drop(net);
        let fault = self.schedule.borrow().next_ns();
        let nodes = self.nodes.borrow();
        let timers = nodes.iter().filter_map(NodeEntry::next_ns);
        timers.chain(event).chain(job).chain(fault).min()
    }
}

/// Counts a task that runs.
struct Depth<'a>(&'a Cell<u32>);

impl<'a> Depth<'a> {
    fn enter(depth: &'a Cell<u32>) -> Self {
        depth.set(depth.get() + 1);
        Self(depth)
    }
}

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What is run next.
enum Chosen {
    Task(Task),
    Poll,
}

/// What a node could run.
struct Found {
    tasks: usize,
    /// Places of tasks that are not held, when some are.
    runnable: Option<Vec<usize>>,
    can_poll: bool,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.tasks == 0 && !self.can_poll
    }
}

impl NodeEntry {
    fn candidates(&mut self, inner: &Inner, now_ns: u64) -> Found {
        let none = Found {
            tasks: 0,
            runnable: None,
            can_poll: false,
        };
        if self.paused_until_ns > now_ns {
            return none;
        }
        let Some(queue) = self.core.scheduler.simulated_queue() else {
            return none;
        };
        let runnable = (!self.held.is_empty()).then(|| {
            let is_free = |place: &usize| !self.held.contains(&queue[*place]);
            (0..queue.len()).filter(is_free).collect::<Vec<_>>()
        });
        let tasks = runnable.as_ref().map_or(queue.len(), Vec::len);
        drop(queue);
        let can_poll = inner.net().has_ready(self.site.poll) || self.has_due_timer(tasks, now_ns);
        Found {
            tasks,
            runnable,
            can_poll,
        }
    }

    /// Timers count whole milliseconds, so one look in each is enough while there is other work.
    fn has_due_timer(&mut self, tasks: usize, now_ns: u64) -> bool {
        let now_ms = now_ns / 1_000_000;
        if tasks > 0 && self.looked_ms == now_ms {
            return false;
        }
        self.looked_ms = now_ms;
        let next_ms = self.core.next_deadline_ms();
        next_ms.is_some_and(|next_ms| next_ms <= now_ms)
    }

    fn next_ns(&self) -> Option<u64> {
        let timer_ns = self
            .core
            .next_deadline_ms()
            .map(|next_ms| next_ms.saturating_mul(1_000_000));
        match self.paused_until_ns {
            0 => timer_ns,
            paused_ns if timer_ns.is_some_and(|timer_ns| timer_ns >= paused_ns) => timer_ns,
            // The node has work when it wakes, or its timer is due.
            paused_ns if self.has_waiting() || timer_ns.is_some() => Some(paused_ns),
            _ => None,
        }
    }

    fn has_waiting(&self) -> bool {
        let queue = self.core.scheduler.simulated_queue();
        queue.is_some_and(|queue| !queue.is_empty()) || self.site.net().has_ready(self.site.poll)
    }
}

impl Driver for Inner {
    fn run_until(&self, deadline_ns: u64, done: &mut dyn FnMut() -> bool) -> bool {
        self.run(deadline_ns, done)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.0.seed)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if simulation::is_driver(&self.this) {
            simulation::uninstall();
        }
    }
}
