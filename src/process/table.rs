//! The process table: cells that are recycled, names, and everything that reaches a process from outside of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;

use super::activity::{Activity, Identity};
use super::end::Closing;
use super::envelope::{BarrierToken, Envelope, Payload};
use super::lifecycle::{Process, ProcessInfo, exit_or_down, timed_out};
use super::mailbox::{Bounds, Class, Mailbox, PushError, Pushed, Resumed};
use super::relations::Relations;
use super::set_aside::SetAside;
use super::slow::Longest;
use super::spawn::Starting;
use super::timers::Tickers;
use crate::base::sync::{Mutex, MutexGuard};
use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::monitor::EndNotice;
use crate::bridge::request::{InspectReply, Reply};
use crate::bridge::{
    Ack, Claim, Command, Commands, Deliver, TimerEvent, Timers, Undelivered, Watcher,
};
use crate::error::Reason;
use crate::error::{ConfigError, RequestError, SendErrorKind, SpawnError};
use crate::id::{Alias, Name, Pid, Ref, Target};
use crate::inspect::Inspection;
use crate::memory::arena::{Arena, IndexAllocator};
use crate::memory::buffer::BufferPool;
use crate::message::CompactMessage;
use crate::message::UserMessage;
use crate::message::{Message, MessageExit, MessageReply, Priority, SendError};
use crate::meta::{MetaProcess, Services};
use crate::record::{Level, Log};
use crate::scheduler::{MAX_PROCESSES, Scheduler, Slot, Task};

/// Messages a process handles, or sends, before it goes to the back of the queue: one handled counts as much as
/// [`SENDS`] sent, so that a process that sends a lot lets the receivers come to it.
const BUDGET: u32 = 64;
const SENDS: u32 = 4;
/// How long a process with a backlog may go on after its budget.
const BACKLOG_NS: u64 = 100_000;
/// All processes of a node.
pub(crate) struct Processes {
    pub(super) cells: Arena<Cell>,
    pub(super) slots: IndexAllocator,
    pub(super) names: Mutex<HashMap<Name, Pid>>,
    pub(super) longest: Mutex<Longest>,
    /// Handlers that were slow.
    pub(super) slow: AtomicU64,
    /// Processes that have ended, by the class of their reason.
    pub(super) ended: [AtomicU64; Reason::CLASSES.len()],
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) timers: Arc<Timers>,
    pub(super) tickers: Tickers,
    pub(crate) log: Log,
    pub(super) default_bounds: Bounds,
    refs: AtomicU64,
    pub(super) live: AtomicUsize,
    pub(super) stopping: AtomicBool,
    /// Woken when the last process has ended.
    emptied: Waker,
    /// What starts meta-processes; set once the I/O half exists.
    services: OnceLock<Weak<Services>>,
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
    /// The code of the level of the process; 0 for the node's.
    pub(super) log_level: AtomicU8,
    /// A supervisor ends it when the node stops.
    pub(super) is_supervised: AtomicBool,
    /// The generation of the process whose `terminate` is running, or 0.
    pub(super) terminating: AtomicU32,
    pub(super) stage: Mutex<Stage>,
}

impl Cell {
    /// Counts the message that is handled next, and publishes its type.
    #[inline]
    fn note_handling(&self, envelope: &Envelope) {
        self.activity.begin_message(envelope.payload.message_type());
    }
}

/// What is in a cell. Locked by the worker that runs it.
#[derive(Default)]
pub(super) enum Stage {
    #[default]
    Vacant,
    Starting(Box<Starting>),
    Living(Box<Process>),
    Closing(Box<Closing>),
}

enum Activation {
    Idle,
    More,
    End(Reason),
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

    /// Messages in the mailbox.
    pub(super) fn queued(&self) -> usize {
        self.mailbox.queued()
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
        Self {
            cells: Arena::new(),
            // Index 0 is `Pid::NODE`.
            slots: IndexAllocator::new(1, limit.saturating_add(1).min(MAX_PROCESSES)),
            names: Mutex::new(HashMap::new()),
            longest: Mutex::new(Longest::default()),
            slow: AtomicU64::new(0),
            ended: Default::default(),
            scheduler,
            commands,
            timers,
            tickers: Tickers::default(),
            log,
            default_bounds,
            refs: AtomicU64::new(1),
            live: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            emptied,
            services: OnceLock::new(),
            stopper: OnceLock::new(),
        }
    }

    pub(crate) fn next_ref(&self) -> Ref {
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
    fn mailbox(&self, pid: Pid) -> Option<&Mailbox> {
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

    // ---- Sending ----

    /// Puts a payload in a mailbox and gets the process to run.
    pub(super) fn push(
        &self,
        to: Pid,
        from: Pid,
        payload: Payload,
        class: Class,
        slot: Slot,
    ) -> Result<(), (PushError, Payload)> {
        self.push_inline(to, from, payload, class, slot)
    }

    /// As [`Processes::push`], compiled anew for the class of the caller: for those that post most.
    #[inline(always)]
    fn push_inline<L: Into<Payload>>(
        &self,
        to: Pid,
        from: Pid,
        payload: L,
        class: Class,
        slot: Slot,
    ) -> Result<(), (PushError, L)> {
        let Some(mailbox) = self.mailbox(to) else {
            return Err((PushError::Closed, payload));
        };
        match mailbox.push(to.generation(), from, payload, class) {
            Ok(Pushed::Behind) => Ok(()),
            Ok(Pushed::Idle) => {
                self.scheduler.push(Task::process(to.index()), slot);
                Ok(())
            }
            Err(refused) => Err(refused),
        }
    }

    /// Sends a message to whatever the target is.
    pub(crate) fn send(
        &self,
        from: Pid,
        to: Target,
        message: CompactMessage,
        priority: Priority,
    ) -> Result<(), SendError> {
        match to {
            Target::Pid(pid) => self.send_pid(from, pid, message, priority),
            Target::Alias(alias) => self.commands.send(alias, from, message),
            Target::Name(name) => match self.resolve(&name) {
                Some(pid) => self.send_pid(from, pid, message, priority),
                None => Err(SendError::new(
                    SendErrorKind::NoName,
                    name,
                    message.unpack(),
                )),
            },
        }
    }

    pub(crate) fn send_pid(
        &self,
        from: Pid,
        to: Pid,
        message: CompactMessage,
        priority: Priority,
    ) -> Result<(), SendError> {
        self.push(
            to,
            from,
            message.into(),
            Class::Normal(priority),
            Slot::Lifo,
        )
        .map_err(|(error, payload)| {
            let Payload::Message(message) = payload else {
                unreachable!("the payload that was posted")
            };
            SendError::new(error.into(), to, message.unpack())
        })
    }

    /// Sends a value of a user type, which comes in registers and leaves them for its place in the mailbox.
    pub(crate) fn send_user(
        &self,
        from: Pid,
        to: Pid,
        value: UserMessage,
    ) -> Result<(), SendError> {
        self.push_inline(to, from, value, Class::Normal(Priority::Normal), Slot::Lifo)
            .map_err(|(error, value)| SendError::new(error.into(), to, Message::User(value)))
    }

    /// Sends a request.
    pub(crate) fn call(
        &self,
        from: Pid,
        to: Target,
        message: Message,
        reply: Reply,
    ) -> Result<(), SendError> {
        match self.locate(to.clone()) {
            Ok(Target::Pid(pid)) => {
                let payload = Payload::Call(Box::new((message, reply)));
                self.push(
                    pid,
                    from,
                    payload,
                    Class::Normal(Priority::Normal),
                    Slot::Lifo,
                )
                .map_err(|(error, payload)| {
                    let Payload::Call(call) = payload else {
                        unreachable!("the payload that was posted")
                    };
                    let (message, reply) = *call;
                    reply.fail(RequestError::NotDelivered(error.into()));
                    SendError::new(error.into(), pid, message)
                })
            }
            Ok(Target::Alias(alias)) if self.commands.is_live(alias) => {
                let call = Box::new((message, reply));
                self.commands.push(
                    alias.stripe(),
                    Command::Call {
                        to: alias,
                        from,
                        call,
                    },
                );
                Ok(())
            }
            Ok(_) => Err(SendError::new(SendErrorKind::NoMeta, to, message)),
            Err(kind) => Err(SendError::new(kind, to, message)),
        }
    }

    /// The messages that a process has, the one that it handles included.
    pub(crate) fn load(&self, pid: Pid) -> usize {
        self.mailbox(pid).map_or(usize::MAX, Mailbox::load)
    }

    /// Forwards a payload as it is, for a pool. A refused one comes back.
    pub(crate) fn forward(
        &self,
        to: Pid,
        from: Pid,
        payload: Payload,
    ) -> Result<(), (SendErrorKind, Payload)> {
        self.push(
            to,
            from,
            payload,
            Class::Normal(Priority::Normal),
            Slot::Lifo,
        )
        .map_err(|(error, payload)| (error.into(), payload))
    }

    /// Sends an exit signal, or says that there is no such process.
    pub(crate) fn send_exit(
        &self,
        from: Pid,
        to: Target,
        reason: Reason,
    ) -> Result<(), SendErrorKind> {
        match self.locate(to)? {
            Target::Pid(pid) => {
                let signal = Box::new(MessageExit {
                    from: Target::Pid(from),
                    reason,
                });
                self.push(
                    pid,
                    from,
                    Payload::Exit {
                        signal,
                        link: false,
                    },
                    Class::Urgent,
                    Slot::Lifo,
                )
                .map_err(|(error, _)| error.into())
            }
            Target::Alias(alias) => self.send_exit_meta(alias, reason),
            Target::Name(_) => Err(SendErrorKind::NoName),
        }
    }

    /// Sends an exit signal that goes behind the mail: what was sent before is handled before.
    pub(crate) fn send_exit_behind(
        &self,
        from: Pid,
        to: Pid,
        reason: Reason,
    ) -> Result<(), SendErrorKind> {
        let signal = Box::new(MessageExit {
            from: Target::Pid(from),
            reason,
        });
        self.push(
            to,
            from,
            Payload::Exit {
                signal,
                link: false,
            },
            Class::Control,
            Slot::Fifo,
        )
        .map_err(|(error, _)| error.into())
    }

    pub(crate) fn send_exit_meta(&self, to: Alias, reason: Reason) -> Result<(), SendErrorKind> {
        if !self.commands.is_live(to) {
            return Err(SendErrorKind::NoMeta);
        }
        self.commands
            .push(to.stripe(), Command::Exit { to, reason });
        Ok(())
    }

    pub(crate) fn inspect(&self, to: Target, reply: Reply) -> Result<(), SendErrorKind> {
        let reply = InspectReply::new(reply);
        match self.locate(to)? {
            Target::Pid(pid) => self
                .push(
                    pid,
                    Pid::NODE,
                    Payload::Inspect(reply),
                    Class::Urgent,
                    Slot::Lifo,
                )
                .map_err(|(error, _)| error.into()),
            Target::Alias(alias) if self.commands.is_live(alias) => {
                self.commands
                    .push(alias.stripe(), Command::Inspect { to: alias, reply });
                Ok(())
            }
            _ => Err(SendErrorKind::NoMeta),
        }
    }

    /// A name becomes the pid that holds it now.
    pub(super) fn locate(&self, target: Target) -> Result<Target, SendErrorKind> {
        match target {
            Target::Name(name) => self
                .resolve(&name)
                .map(Target::Pid)
                .ok_or(SendErrorKind::NoName),
            other => Ok(other),
        }
    }

    // ---- Watching ----

    pub(crate) fn notify_watcher(&self, watcher: Watcher, target: Target, reason: &Reason) {
        let Some((pid, payload)) = exit_or_down(&watcher, target, reason) else {
            return;
        };
        // A watcher that has ended needs no notification.
        let _ = self.push(pid, Pid::NODE, payload, Class::Urgent, Slot::Fifo);
    }

    /// Has a notification report the end of the target, or that there is none.
    pub(crate) fn watch_from_outside(&self, target: Target, exit_or_down: Arc<EndNotice>) {
        let watcher = Watcher::Outside(exit_or_down);
        match self.locate(target) {
            Ok(Target::Pid(pid)) => {
                // A notification that finds no process is dropped, which reports that.
                self.with_relations(pid, |relations| relations.watchers.insert(watcher));
            }
            Ok(Target::Alias(alias)) => {
                let command = Command::Watch { to: alias, watcher };
                self.commands.push(alias.stripe(), command);
            }
            _ => drop(watcher),
        }
    }

    pub(super) fn unwatch(&self, target: &Target, watcher: Watcher) {
        match target {
            Target::Pid(pid) => {
                self.with_relations(*pid, |relations| relations.watchers.remove(&watcher));
            }
            Target::Alias(alias) => self.commands.push(
                alias.stripe(),
                Command::Unwatch {
                    to: *alias,
                    watcher,
                },
            ),
            Target::Name(_) => {}
        }
    }

    // ---- Names ----

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
    pub(crate) fn register(&self, life: &mut ProcessInfo, name: Name) -> Result<(), SpawnError> {
        if let Some(name) = &life.name {
            return Err(SpawnError::Named(name.clone()));
        }
        if !self.is_alive(life.pid) {
            return Err(SpawnError::Ended);
        }
        self.take_name(&name, life.pid)?;
        life.name = Some(name);
        Ok(())
    }

    /// Gives the name of the running process back.
    pub(crate) fn unregister(&self, life: &mut ProcessInfo) -> Option<Name> {
        let name = life.name.take()?;
        let mut names = self.names.lock();
        // A process that was given up has lost it, perhaps to its successor.
        if names.get(&name) == Some(&life.pid) {
            names.remove(&name);
        }
        Some(name)
    }

    // ---- ProcessInfo ----

    /// One activation of a process. `true`: it has more to do.
    pub(crate) fn run(self: &Arc<Self>, index: u32) -> bool {
        let Some(cell) = self.cells.get(index) else {
            return false;
        };
        let mut stage = cell.stage.lock();
        let Stage::Living(process) = &mut *stage else {
            return self.run_rarely(cell, stage);
        };
        let outcome = catch_panic(|| self.activate(cell, process));
        cell.activity.add_sent(process.life.sent);
        let reason = match outcome {
            Ok(Activation::Idle) => return false,
            Ok(Activation::More) => return true,
            Ok(Activation::End(reason)) => reason,
            Err(payload) => {
                let reason = Reason::from_panic(&*payload);
                drop_catching(payload);
                reason
            }
        };
        let Stage::Living(process) = std::mem::take(&mut *stage) else {
            unreachable!("the process that has just run")
        };
        drop(stage);
        let actor = process.behavior.type_name();
        self.record_end(&process.life, Some(actor), &reason);
        self.end(cell, *process, reason);
        false
    }

    /// The first activation of a deferred process, or the one behind the end of its listeners.
    #[cold]
    fn run_rarely(self: &Arc<Self>, cell: &Cell, mut stage: MutexGuard<'_, Stage>) -> bool {
        match std::mem::take(&mut *stage) {
            Stage::Vacant | Stage::Living(_) => false,
            Stage::Starting(starting) => match self.start_deferred(cell, *starting) {
                Ok(process) => {
                    *stage = Stage::Living(process);
                    !cell.mailbox.finish_init()
                }
                Err(closing) => {
                    drop(stage);
                    self.continue_end(cell, *closing);
                    false
                }
            },
            Stage::Closing(closing) => {
                drop(stage);
                self.finish_end(*closing);
                false
            }
        }
    }

    /// Handles messages up to the budget. A process with a backlog, whose messages are handled in no time, goes on for
    /// [`BACKLOG_NS`]: senders would outrun it otherwise, and its queue leave the cache.
    fn activate(self: &Arc<Self>, cell: &Cell, body: &mut Process) -> Activation {
        let mut began_ns = None;
        let mut budget = BUDGET;
        body.life.sent = 0;
        for handled in 1_u32.. {
            // Input that was set aside and the mailbox take turns: an exit does not wait behind the former.
            let mut next = None;
            if body.has_released() && (handled % 2 == 1 || cell.mailbox.queued() == 0) {
                next = body.next_released(self);
            }
            if next.is_none() {
                next = cell.mailbox.next(&mut body.batch);
                if !body.batch.resumed.is_empty() {
                    self.resume(body.life.pid, &mut body.batch.resumed);
                }
                if handled == 1 && (body.life.has_backlog || body.batch.len() >= BUDGET as usize) {
                    began_ns = Some(self.timers.clock().now_ns());
                }
                let Some(envelope) = &next else {
                    return Activation::Idle;
                };
                if let Some(alias) = body.held(self, envelope) {
                    body.set_aside(alias, next.take());
                }
            }
            if let Some(envelope) = next {
                cell.note_handling(&envelope);
                if let Err(reason) = body.handle_now(self, envelope) {
                    return Activation::End(reason);
                }
            }
            if handled + body.life.sent / SENDS >= budget {
                if !self.may_go_on(began_ns) {
                    break;
                }
                budget += BUDGET;
            }
        }
        body.life.has_backlog = cell.mailbox.queued() >= BUDGET as usize;
        Activation::More
    }

    /// Whether an activation that began at that time, known only with a backlog, gets another budget.
    fn may_go_on(&self, began_ns: Option<u64>) -> bool {
        began_ns.is_some_and(|began_ns| self.timers.clock().now_ns() - began_ns < BACKLOG_NS)
    }

    /// Resumes meta-processes whose turn at the mailbox of `pid` has come.
    #[cold]
    pub(super) fn resume(&self, pid: Pid, resumed: &mut Vec<Resumed>) {
        for Resumed { alias, messages } in resumed.drain(..) {
            let resume = Command::Resume {
                to: alias,
                mailbox: pid,
                messages,
            };
            self.commands.push(alias.stripe(), resume);
        }
    }

    /// Frees the cell of a process that has ended.
    pub(super) fn free(&self, pid: Pid, retired: bool) {
        if !retired {
            self.slots.give(pid.index());
        }
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.wake_by_ref();
        }
    }

    // ---- The node ----

    /// From now on nothing is spawned.
    pub(crate) fn stop_spawning(&self) {
        self.stopping.store(true, Ordering::Release);
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
        while let Some(cell) = self.cells.get(index) {
            if let Some(generation) = cell.mailbox.generation() {
                pids.push(Pid::new(index, generation));
            }
            index += 1;
        }
        pids
    }

    /// Puts a token behind the mail of every process; each is dropped when its process has come so far. Returns how many.
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
        let mut index = 1;
        while let Some(cell) = self.cells.get(index) {
            index += 1;
            let Some(mut stage) = cell.stage.try_lock() else {
                continue;
            };
            let found = std::mem::take(&mut *stage);
            drop(stage);
            self.end_now(cell, found, reason);
        }
    }

    /// What the runtime knows of a process.
    pub(super) fn describe(&self, process: &Process, inspection: &mut Inspection) {
        let life = &process.life;
        inspection.add("pid", life.pid);
        inspection.add("parent", life.parent);
        if let Some(name) = &life.name {
            inspection.add("name", name);
        }
        let cell = self.cells.get(life.pid.index());
        let (handled, sent) = cell.map_or((0, 0), |cell| {
            (cell.activity.handled(), cell.activity.sent())
        });
        inspection.add("messages_handled", handled);
        inspection.add("messages_sent", sent);
        inspection.add(
            "messages_queued",
            self.mailbox(life.pid).map_or(0, Mailbox::queued),
        );
        let relations = self.with_relations(life.pid, |relations| {
            (
                relations.metas.len(),
                relations.links.len(),
                relations.watchers.len(),
                relations.monitors.len(),
            )
        });
        let (metas, links, watchers, monitors) = relations.unwrap_or_default();
        inspection.add("meta_processes", metas);
        inspection.add("links", links);
        inspection.add("monitored_by", watchers);
        inspection.add("monitors", monitors);
        inspection.add("trap_exit", life.trap_exit);
        let aside = life.aside().map_or(0, SetAside::len);
        inspection.add("messages_set_aside", aside);
    }
}

impl From<PushError> for SendErrorKind {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Closed => Self::NoProcess,
            PushError::Full => Self::MailboxFull,
        }
    }
}

impl Deliver for Processes {
    fn deliver_data(
        &self,
        to: Pid,
        from: Pid,
        message: CompactMessage,
        claim: Claim,
    ) -> Result<(), Undelivered> {
        self.push_inline(to, from, message, Class::Data(claim), Slot::Fifo)
            .map_err(|(error, message)| match error {
                PushError::Closed => Undelivered::Gone(message),
                PushError::Full => Undelivered::Full(message),
            })
    }

    fn end_turn(&self, to: Pid, messages: u32) {
        let mut resumed = Vec::new();
        if let Some(mailbox) = self.mailbox(to) {
            mailbox.end_turn(to.generation(), messages, &mut resumed);
        }
        self.resume(to, &mut resumed);
    }

    fn deliver_control(&self, to: Pid, from: Pid, message: Message) -> bool {
        self.push(
            to,
            from,
            CompactMessage::from(message).into(),
            Class::Control,
            Slot::Fifo,
        )
        .is_ok()
    }

    fn deliver_ack(&self, to: Pid, alias: Alias, mark: Ack) -> bool {
        self.push(
            to,
            Pid::NODE,
            Payload::Ack(alias, mark),
            Class::Control,
            Slot::Fifo,
        )
        .is_ok()
    }

    fn deliver_release(&self, to: Pid, alias: Alias) {
        // A process that has ended has nothing to give out.
        let _ = self.push(
            to,
            Pid::NODE,
            Payload::Release(alias),
            Class::Control,
            Slot::Lifo,
        );
    }

    fn notify(&self, watcher: Watcher, target: Target, reason: &Reason) {
        self.notify_watcher(watcher, target, reason);
    }

    fn handle_expired(&self, fire: TimerEvent) {
        match fire {
            TimerEvent::Send { to, from, message } => {
                // The sender of a timer's message is not there to take it back, and the caller holds the poll.
                if let Err(error) = self.send(from, to, message.into(), Priority::Normal) {
                    let refused = error.into_message().into();
                    self.commands.push(0, Command::Discard(refused));
                }
            }
            TimerEvent::Tick(ticker) => self.tick(ticker),
            TimerEvent::Control { to, message } => {
                let _ = self.deliver_control(to, to, message);
            }
            TimerEvent::Request(pid, request) => {
                let _ = self.push(
                    pid,
                    Pid::NODE,
                    timed_out(request),
                    Class::Control,
                    Slot::Fifo,
                );
            }
            TimerEvent::Meta(alias, deadline_ms) => {
                self.commands.push(
                    alias.stripe(),
                    Command::Timer {
                        to: alias,
                        deadline_ms,
                    },
                );
            }
        }
    }

    fn adopt(&self, pid: Pid, alias: Alias) -> bool {
        self.with_relations(pid, |relations| relations.metas.insert(alias))
            .is_some()
    }

    fn adopt_listener(&self, pid: Pid, alias: Alias) -> bool {
        self.with_relations(pid, |relations| {
            relations.listeners.push(alias);
            relations.metas.insert(alias)
        })
        .is_some()
    }

    fn disown(&self, pid: Pid, alias: Alias) {
        self.with_relations(pid, |relations| {
            relations.listeners.retain(|listener| *listener != alias);
            relations.metas.remove(&alias)
        });
    }

    fn resolve(&self, name: &Name) -> Option<Pid> {
        self.names.lock().get(name).copied()
    }

    fn is_pool(&self, pid: Pid) -> bool {
        self.is_alive(pid)
            && self
                .cells
                .get(pid.index())
                .is_some_and(|cell| cell.is_pool.load(Ordering::Relaxed))
    }

    fn log_level(&self, pid: Pid) -> Option<Level> {
        Self::log_level(self, pid)
    }

    fn is_alive(&self, pid: Pid) -> bool {
        self.mailbox(pid)
            .is_some_and(|mailbox| mailbox.is_open(pid.generation()))
    }

    fn deliver_reply(&self, pid: Pid, reply: Box<MessageReply>) {
        // An requester that is gone needs no answer.
        let _ = self.push(
            pid,
            Pid::NODE,
            Payload::Answer(reply),
            Class::Control,
            Slot::Lifo,
        );
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
