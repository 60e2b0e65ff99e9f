//! The process table: cells that are reused, the names, and what holds for all processes of a node.
//!
//! What reaches a process comes by `send` and `deliver`, a worker runs it in `activation`, and it
//! ends in `end`.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;

use super::activity::{Activity, Identity};
use super::calls::Calls;
use super::class::Class;
use super::end::Closing;
use super::envelope::Payload;
use super::environment::Environment;
use super::events::Events;
use super::lifecycle::{ControlBlock, Process};
use super::looks::Looks;
use super::mailbox::{Bounds, Mailbox, Snapshot};
use super::own_thread::{OwnThread, OwnThreads};
use super::relations::{Related, Relations};
use super::set_aside::SetAside;
use super::slow::Longest;
use super::spawn::Starting;
use super::timers::Tickers;
use super::work::Work;
use crate::base::blocking::Blocking;
use crate::base::sync::Mutex;
use crate::bridge::request::Wait;
use crate::bridge::{BarrierToken, Commands, Deliver, Timers};
use crate::error::{ConfigError, Reason, SpawnError};
use crate::id::{Alias, Name, Pid, Ref};
use crate::inspect::Inspection;
use crate::memory::arena::{Arena, IndexAllocator};
use crate::memory::buffer::BufferPool;
use crate::meta::{MetaProcess, Services};
use crate::record::Log;
use crate::scheduler::{MAX_PROCESSES, Scheduler, Slot};

/// All processes of a node.
pub(crate) struct Processes {
    pub(super) cells: Arena<Cell>,
    pub(super) slots: IndexAllocator,
    pub(super) names: Mutex<HashMap<Name, Pid>>,
    pub(super) longest: Mutex<Longest>,
    pub(super) looks: Looks,
    /// Handlers that were slow.
    pub(super) slow: AtomicU64,
    /// Messages that mailboxes have dropped by their policies.
    pub(super) dropped_messages: AtomicU64,
    /// Processes that have ended, by the class of their reason.
    pub(super) ended: [AtomicU64; Reason::CLASSES.len()],
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) timers: Arc<Timers>,
    pub(super) tickers: Tickers,
    pub(crate) work: Work,
    pub(crate) own_threads: OwnThreads,
    /// Handlers that wait for an answer.
    pub(super) calls: Calls<Wait>,
    pub(super) events: Events,
    pub(crate) log: Log,
    pub(super) default_bounds: Bounds,
    /// Values for all processes.
    pub(super) environment: Environment,
    refs: AtomicU64,
    pub(super) live: AtomicUsize,
    pub(super) stopping: AtomicBool,
    /// Woken when the last process has ended.
    emptied: Waker,
    /// What starts meta-processes; set once the I/O half exists.
    services: OnceLock<Weak<Services>>,
    /// The node that it belongs to; the type is known there.
    node: OnceLock<Weak<dyn Any + Send + Sync>>,
    /// Stops the node in the background.
    stopper: OnceLock<Waker>,
}

/// Three cache lines: two for those who send, and the one of the worker that runs the process.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Cell {
    pub(super) mailbox: Mailbox,
    pub(super) activity: Activity,
    pub(super) is_pool: AtomicBool,
    pub(super) is_session: AtomicBool,
    /// The code of the level of the process; 0 for the node's.
    pub(super) log_level: AtomicU8,
    /// A supervisor ends it when the node stops.
    pub(super) is_supervised: AtomicBool,
    /// The generation of the process whose `terminate` is running, or 0.
    pub(super) terminating: AtomicU32,
    pub(super) stage: Mutex<Stage>,
}

/// What is in a cell. Locked by the worker that runs it.
#[derive(Default)]
pub(super) enum Stage {
    #[default]
    Vacant,
    Starting(Box<Starting>),
    Living(Box<Process>),
    Closing(Box<Closing>),
    /// The process is with its own thread.
    Own(Arc<OwnThread>),
}

impl Cell {
    /// The generation of the process in this cell, if one is alive.
    pub(super) fn generation(&self) -> Option<u32> {
        self.mailbox.generation()
    }

    /// What the process in this cell is.
    pub(super) fn identity(&self) -> &Identity {
        self.mailbox.identity()
    }

    /// Begins the life of the next process of this cell; before its mailbox opens.
    pub(super) fn reset(&self, parent: Pid, now_ms: u64) {
        self.identity().reset(parent, now_ms);
        self.activity.reset();
    }

    /// What is in the mailbox.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.mailbox.snapshot()
    }
}

impl Processes {
    pub(crate) fn new(
        scheduler: Arc<Scheduler>,
        commands: Arc<Commands>,
        timers: Arc<Timers>,
        log: Log,
        limit: u32,
        default_bounds: Bounds,
        emptied: Waker,
    ) -> Self {
        let work = Work::new(Blocking::new(scheduler.runtime(), "longshore-work", 1));
        Self {
            cells: Arena::new(),
            // Index 0 is `Pid::NODE`.
            slots: IndexAllocator::new(1, limit.saturating_add(1).min(MAX_PROCESSES)),
            names: Mutex::new(HashMap::new()),
            longest: Mutex::new(Longest::default()),
            looks: Looks::default(),
            slow: AtomicU64::new(0),
            dropped_messages: AtomicU64::new(0),
            ended: Default::default(),
            scheduler,
            commands,
            timers,
            tickers: Tickers::default(),
            work,
            own_threads: OwnThreads::new(1),
            calls: Calls::default(),
            events: Events::default(),
            log,
            default_bounds,
            environment: Environment::default(),
            refs: AtomicU64::new(1),
            live: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            emptied,
            services: OnceLock::new(),
            node: OnceLock::new(),
            stopper: OnceLock::new(),
        }
    }

    /// Has blocking work run there.
    pub(crate) fn with_work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// Lets this many processes have a thread of their own.
    pub(crate) fn with_own_threads(mut self, limit: usize) -> Self {
        self.own_threads = OwnThreads::new(limit);
        self
    }

    /// Gives all processes these values.
    pub(crate) fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    pub(crate) fn next_ref(&self) -> Ref {
        // Relaxed: the numbers have to differ, and no more.
        Ref::new(self.refs.fetch_add(1, Ordering::Relaxed))
    }

    /// Remembers what starts meta-processes.
    pub(crate) fn attach_services(&self, services: Weak<Services>) {
        // A second call would be a bug of the node and changes nothing.
        let _ = self.services.set(services);
    }

    /// Starts a meta-process as a child of `parent`.
    pub(crate) fn spawn_meta(
        &self,
        parent: Pid,
        meta: Box<dyn MetaProcess>,
    ) -> Result<Alias, SpawnError> {
        let services = self.services.get().and_then(Weak::upgrade);
        services.ok_or(SpawnError::Stopping)?.spawn(parent, meta)
    }

    /// The pool of the node; one of its own while the node stops.
    pub(crate) fn buffer_pool(&self) -> BufferPool {
        let services = self.services.get().and_then(Weak::upgrade);
        services
            .map(|services| services.pool.clone())
            .unwrap_or_default()
    }

    /// Remembers the node.
    pub(crate) fn attach_node(&self, node: Weak<dyn Any + Send + Sync>) {
        // A second call would be a bug of the node and changes nothing.
        let _ = self.node.set(node);
    }

    /// The node, while the program has a handle of it.
    pub(crate) fn node(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.node.get()?.upgrade()
    }

    /// Remembers how the node is stopped from inside.
    pub(crate) fn attach_stopper(&self, stopper: Waker) {
        // A second call would be a bug of the node and changes nothing.
        let _ = self.stopper.set(stopper);
    }

    /// Stops the node in the background.
    pub(crate) fn stop_node(&self) {
        if let Some(stopper) = self.stopper.get() {
            stopper.wake_by_ref();
        }
    }

    /// Processes that live now.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn mailbox(&self, pid: Pid) -> Option<&Mailbox> {
        self.cells.get(pid.index()).map(|cell| &cell.mailbox)
    }

    /// The cell of a process that is alive.
    pub(super) fn live_cell(&self, pid: Pid) -> Option<&Cell> {
        let cell = self.cells.get(pid.index())?;
        cell.mailbox.is_open(pid.generation()).then_some(cell)
    }

    /// Changes the relations of a process; `None` if it is gone.
    pub(super) fn with_relations<R>(
        &self,
        pid: Pid,
        change: impl FnOnce(&mut Relations) -> R,
    ) -> Option<R> {
        self.mailbox(pid)?.with_relations(pid.generation(), change)
    }

    /// The same for what needs no table of relations.
    pub(super) fn with_related<R>(
        &self,
        pid: Pid,
        change: impl FnOnce(&mut Related) -> R,
    ) -> Option<R> {
        self.mailbox(pid)?.with_related(pid.generation(), change)
    }

    /// Gives a process a name.
    pub(super) fn take_name(&self, name: &Name, pid: Pid) -> Result<(), SpawnError> {
        if name.as_str().is_empty() {
            return Err(ConfigError::new("name", "must not be empty").into());
        }
        match self.names.lock().entry(name.clone()) {
            Entry::Occupied(_) => Err(SpawnError::NameTaken(name.clone())),
            Entry::Vacant(entry) => {
                entry.insert(pid);
                Ok(())
            }
        }
    }

    /// Registers the running process.
    pub(crate) fn register(
        &self,
        control: &mut ControlBlock,
        name: Name,
    ) -> Result<(), SpawnError> {
        if let Some(name) = &control.name {
            return Err(SpawnError::Named(name.clone()));
        }
        // In `terminate` the name would never be given back: the end has passed the table of names.
        if !self.is_alive(control.pid) {
            return Err(SpawnError::Ended);
        }
        // The table first: where it refuses the name, the process has none.
        self.take_name(&name, control.pid)?;
        control.name = Some(name);
        Ok(())
    }

    /// Gives the name of the running process back.
    #[inline]
    pub(crate) fn unregister(&self, control: &mut ControlBlock) -> Option<Name> {
        // Most processes have none.
        control.name.as_ref()?;
        self.unregister_name(control)
    }

    fn unregister_name(&self, control: &mut ControlBlock) -> Option<Name> {
        let name = control.name.take()?;
        let mut names = self.names.lock();
        // A process that was given up has lost it, perhaps to its successor.
        if names.get(&name) == Some(&control.pid) {
            names.remove(&name);
        }
        // Unlocked before the monitors are notified: that locks mailboxes, and one of them may take the name at once.
        drop(names);
        self.notify_name_lost(control.pid, &name);
        Some(name)
    }

    /// Frees the cell of a process that has ended.
    pub(super) fn free(&self, pid: Pid, is_exhausted: bool) {
        // The generations of an exhausted cell are used up: a further process would get a pid that was in use before.
        if !is_exhausted {
            self.slots.give(pid.index());
        }
        // AcqRel, so that what the last process did happens before what the stop does that it wakes.
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.wake_by_ref();
        }
    }

    /// From now on nothing is spawned.
    pub(crate) fn stop_spawning(&self) {
        self.stopping.store(true, Ordering::Release);
        // Pairs with the fence in `admit`: a spawn sees the flag there, or the stop finds its process.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// All processes that live and have no supervisor.
    pub(crate) fn unsupervised(&self) -> Vec<Pid> {
        let is_free = |pid: &Pid| {
            let cell = self.cells.get(pid.index());
            cell.is_some_and(|cell| !cell.is_supervised.load(Ordering::Relaxed))
        };
        self.pids().into_iter().filter(is_free).collect()
    }

    /// All processes that live, and their names as far as they have one.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        let mut index = 1;
        // Cells are never freed, so that the first index without one is the end.
        while let Some(cell) = self.cells.get(index) {
            if let Some(generation) = cell.mailbox.generation() {
                pids.push(Pid::new(index, generation));
            }
            index += 1;
        }
        pids
    }

    /// Puts a token behind the messages of every process; each is dropped when its process has come so far. Returns how
    /// many.
    pub(crate) fn insert_barriers(&self, passed: &Arc<dyn Fn() + Send + Sync>) -> usize {
        let pids = self.pids();
        for pid in &pids {
            let token = Payload::Barrier(BarrierToken(Arc::clone(passed)));
            // A process that has ended has come so far: its token is dropped here.
            let _ = self.push(*pid, Pid::NODE, token, Class::Control, Slot::Fifo);
        }
        pids.len()
    }

    /// Ends what will never run again, because the workers have ended: everything but `terminate`.
    pub(crate) fn end_all(self: &Arc<Self>, reason: &Reason) {
        let cells = (1..).map_while(|index| self.cells.get(index));
        let stages = cells.map(|cell| (cell, &cell.stage));
        // The thread of a process ends it, or is reported as stuck.
        let is_left = |stage: &Stage| !matches!(stage, Stage::Own(_));
        for (cell, stage) in self.looks.take_all(stages, is_left) {
            self.end_now(cell, stage, reason);
        }
    }

    /// What the runtime knows of a process.
    pub(super) fn describe(&self, process: &Process, inspection: &mut Inspection) {
        let control = &process.control;
        inspection.add("pid", control.pid);
        inspection.add("parent", control.parent);
        if let Some(name) = &control.name {
            inspection.add("name", name);
        }
        let cell = self.cells.get(control.pid.index());
        let (handled, sent) = cell.map_or((0, 0), |cell| {
            (cell.activity.handled(), cell.activity.sent())
        });
        inspection.add("messages_handled", handled);
        inspection.add("messages_sent", sent);
        inspection.add(
            "messages_queued",
            self.mailbox(control.pid).map_or(0, Mailbox::queued),
        );
        if let Some(snapshot) = cell.and_then(Cell::snapshot) {
            inspection.add("messages_dropped", snapshot.dropped);
            inspection.add("meta_processes", snapshot.metas);
            inspection.add("links", snapshot.links);
            inspection.add("monitored_by", snapshot.watchers);
            inspection.add("monitors", snapshot.monitors);
        }
        inspection.add("trap_exit", control.trap_exit);
        let aside = control.aside().map_or(0, SetAside::len);
        inspection.add("messages_set_aside", aside);
    }
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processes")
            .field("live", &self.live())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn cell_takes_three_cache_lines_and_the_activity_lies_in_the_last() {
        assert_eq!(size_of::<Cell>(), 192);
        assert!(std::mem::offset_of!(Cell, activity) >= 128);
    }
}
