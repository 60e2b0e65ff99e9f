//! The world: virtual time, the network, and the nodes that run in it.
//!
//! One step does the first of these that there is:
//!
//! 1. jobs that wait go on; a handler whose wait is over is queued as a task, see [`baton`](super::baton);
//! 2. a fault whose time has come;
//! 3. a job whose time has come: a lookup of a name, the stop of a node;
//! 4. what the clients of the test can read and write;
//! 5. a task of a node, or a turn of its poll, as the [`Policy`] chooses; this takes a virtual moment;
//! 6. time passes until the next thing happens.
//!
//! A world is *idle* when nothing can run and nothing is on its way; timers do not count.

mod entry;
mod options;
mod step;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::baton::Baton;
use super::client::ClientState;
use super::fault::{Fault, FaultOptions, Schedule};
use super::policy::{Chooser, Policy};
use crate::node::core::Core;
use crate::scheduler::Task;
use crate::simulation::net::{HostId, Net};
use crate::simulation::random::{Generator, Stream};
use crate::simulation::{self, Driver, Site};
use entry::NodeEntry;
pub use options::WorldOptions;
use step::Step;

/// Virtual time after which a condition counts as one that never holds.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Several nodes, their network and their clients, in virtual time.
///
/// A clone is the same world. See [the module](super).
#[derive(Clone)]
pub struct World(pub(super) Rc<WorldState>);

pub(super) struct WorldState {
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
    baton: RefCell<Baton>,
    /// Itself.
    this: Weak<Self>,
}

type Invariant = Box<dyn Fn() -> Result<(), String>>;

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
        let inner = Rc::new_cyclic(|this| WorldState {
            net,
            seed,
            clients_host,
            clients_poll,
            nodes: RefCell::default(),
            chooser: RefCell::new(chooser),
            task_cost_ns: nanos(cost),
            clients: RefCell::default(),
            next_client: Cell::new(0),
            user: RefCell::new(Generator::new(seed, Stream::User)),
            schedule: RefCell::default(),
            invariants: RefCell::default(),
            baton: RefCell::default(),
            this: Weak::clone(this),
        });
        let driver: Rc<dyn Driver> = Rc::clone(&inner) as _;
        // An earlier world of this thread has left its time behind.
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
        // Asked before each step: one without work passes to the next timer, and with a periodic one the world would
        // never be idle.
        while (self.0.is_busy() || self.0.can_run()) && self.0.step(u64::MAX) == Step::Ran {
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

    /// Has a condition checked from now on whenever nothing is left to run and time passes; `Err` says what is wrong.
    ///
    /// The time that an activation takes passes without a check, because other processes may be half-way through their
    /// work then.
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
        // A stream of its own: the list of faults does not move what the network and the scheduler draw.
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
        // A process that a signal continues finds its poll interrupted.
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
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl WorldState {
    pub(super) fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the time of this world the one of the thread.
    fn enter(&self) {
        simulation::set_now_ns(self.net().now_ns());
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.0.seed)
            .finish_non_exhaustive()
    }
}

impl Drop for WorldState {
    fn drop(&mut self) {
        // Handlers that still wait unwind while there is a network.
        drop(self.baton.take());
        // Unless a later world of this thread has taken its place.
        if simulation::is_driver(&self.this) {
            simulation::uninstall();
        }
    }
}
