//! The start of a process: at once on the spawner's thread, or deferred to a worker.
//!
//! | | [`Processes::spawn`] | [`ProcessContext::spawn_child`] |
//! |---|---|---|
//! | factory and `init` run | on the calling thread | on a worker, as the first activation |
//! | the pid is known | when `init` has returned | at once |
//! | a failure is | an error | the process's end, with the reason |
//! | a success is | the return value | a [`Started`] to the parent |
//!
//! A deferred process is in the table from the call on: it can be sent to, monitored and killed; a
//! signal is handled after `init`. The parent's monitor is set before the process can run, and a
//! failure arrives as its `Down`, when the ports that `init` had bound are free again.

mod supervised;

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::SpawnOptions;
use super::class::Class;
use super::end::Closing;
use super::envelope::Payload;
use super::lifecycle::{Behavior, ControlBlock, Process, ProcessContext};
use super::mailbox::Batch;
use super::own_thread::OwnThread;
use super::table::{Cell, Processes, Stage};
use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::request::{InspectReply, PendingReply, Reply};
use crate::bridge::{Command, Watcher};
use crate::error::{Reason, RequestError, SpawnError};
use crate::id::{Alias, Pid, Target};
use crate::message::Message;
use crate::record::Level;
use crate::scheduler::{Slot, Task};

/// How long the spawn of a process that fails waits for its meta-processes to end. Their stripe takes microseconds, or
/// milliseconds if this is the only worker and the monitor has to step in. It takes longer only if a meta-process
/// blocks, or is the one that spawns.
const CLOSE_WAIT: Duration = Duration::from_millis(250);

pub(crate) type Factory = Box<dyn FnOnce() -> Result<Box<dyn Behavior>, SpawnError> + Send>;

/// A message to the parent: this process, which was spawned deferred, has started.
#[derive(Debug)]
pub(crate) struct Started(pub(crate) Pid);

/// To whom the start of a process is reported, once.
#[derive(Debug)]
pub(crate) enum StartReport {
    /// To its parent, by [`Started`].
    Parent(Pid),
    /// To a thread outside of the node, by `Result<(), Reason>`.
    Outside(Reply),
}

impl StartReport {
    /// The process `pid` has started.
    pub(crate) fn started(self, processes: &Processes, pid: Pid) {
        match self {
            Self::Parent(parent) => {
                let message = Payload::Message(Message::new(Started(pid)).into());
                // In the lane of the `Down`, so that it is handled first. A parent that has ended
                // needs no report.
                let _ = processes.push(parent, pid, message, Class::Urgent, Slot::Lifo);
            }
            Self::Outside(reply) => reply.send(Ok::<(), Reason>(())),
        }
    }

    /// It has not, and ends. A parent learns that from its monitor.
    pub(crate) fn failed(self, reason: Reason) {
        if let Self::Outside(reply) = self {
            reply.send(Err::<(), Reason>(reason));
        }
    }
}

/// A deferred process before its first activation.
pub(super) struct Starting {
    control: ControlBlock,
    factory: Factory,
    /// Of the thread on which it starts.
    pub(super) own_thread: Option<Arc<OwnThread>>,
}

impl Starting {
    /// What is left of it when it never runs.
    pub(super) fn into_control(self) -> ControlBlock {
        self.control
    }
}

impl Processes {
    /// Starts a process: `init` runs on this thread. On failure nothing is left behind.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        parent: Pid,
        options: &SpawnOptions,
        behavior: Box<dyn Behavior>,
    ) -> Result<Pid, SpawnError> {
        self.spawn_watched(parent, options, behavior, None, None)
    }

    /// As [`Processes::spawn`], with a watcher from the first moment on, so that it misses no
    /// end. It is notified of a failed start as well. `report` is for an `init` that returns before
    /// the start is complete.
    pub(crate) fn spawn_watched(
        self: &Arc<Self>,
        parent: Pid,
        options: &SpawnOptions,
        behavior: Box<dyn Behavior>,
        watcher: Option<Watcher>,
        report: Option<StartReport>,
    ) -> Result<Pid, SpawnError> {
        // The calling thread may be one of the program's: until this returns it runs code of the process.
        let _inside = self.scheduler.enter_to_spawn();
        let (cell, pid, born_ms) = self.open(parent, options)?;
        let mut process = Box::new(Process {
            control: ControlBlock::new(pid, parent, born_ms, report),
            batch: Batch::default(),
            behavior,
        });
        // Before its name, under which a list may find it.
        cell.identity().set_actor(process.behavior.type_number());
        if let Some(watcher) = watcher {
            self.with_relations(pid, |relations| relations.watchers.insert(watcher));
        }
        let own_thread = match self.own_thread_for(&mut process.control, options) {
            Ok(own_thread) => own_thread,
            Err(error) => return self.refuse_start(cell, *process, error),
        };
        match self.start_here(cell, &mut process, options) {
            Ok(()) => {
                self.begin_activations(cell, pid, process, own_thread);
                Ok(pid)
            }
            Err(error) => {
                // Otherwise its thread would wait for the process for ever.
                if let Some(own_thread) = own_thread {
                    own_thread.cancel();
                }
                let reason = match &error {
                    SpawnError::Init(reason) => reason.clone(),
                    _ => Reason::Normal,
                };
                self.abandon_start(cell, *process, reason);
                Err(error)
            }
        }
    }

    /// The process has started: from here on its messages activate it, on a worker or on its own thread.
    fn begin_activations(
        &self,
        cell: &Cell,
        pid: Pid,
        process: Box<Process>,
        own_thread: Option<Arc<OwnThread>>,
    ) {
        let mut stage = cell.stage.lock();
        *stage = match own_thread {
            None => Stage::Living(process),
            Some(own_thread) => {
                own_thread.start(process);
                Stage::Own(own_thread)
            }
        };
        // The mailbox has been in the scheduled state since it was opened. Once it is idle another worker may run the
        // process, and waits for the lock that is held here.
        if !cell.mailbox.finish_init() {
            self.scheduler.push(Task::process(pid.index()), Slot::Lifo);
        }
    }

    /// The thread of its own, if the options ask for one.
    fn own_thread_for(
        self: &Arc<Self>,
        control: &mut ControlBlock,
        options: &SpawnOptions,
    ) -> Result<Option<Arc<OwnThread>>, SpawnError> {
        if !options.own_thread {
            return Ok(None);
        }
        let own_thread = self.start_own_thread(control.pid, options)?;
        if own_thread.is_some() {
            control.own_thread_started();
        }
        Ok(own_thread)
    }

    /// Ends a process that has no thread to run on.
    #[cold]
    fn refuse_start(
        self: &Arc<Self>,
        cell: &Cell,
        process: Process,
        error: SpawnError,
    ) -> Result<Pid, SpawnError> {
        self.abandon_start(cell, process, Reason::Normal);
        Err(error)
    }

    /// Ends a process whose start has failed, and waits until its listeners are closed, so that the
    /// caller finds their ports free.
    fn abandon_start(self: &Arc<Self>, cell: &Cell, process: Process, reason: Reason) {
        let Process {
            control,
            batch,
            behavior,
        } = process;
        let mut closing = self.close(cell, control, batch, Some(behavior), reason.clone());
        self.close_and_wait(closing.take_listeners(), &reason);
        self.finish_end(closing);
    }

    /// A cell and a pid for a process that is about to start, and the time.
    // Part of each spawn, of which there are three kinds.
    #[inline]
    fn open(&self, parent: Pid, options: &SpawnOptions) -> Result<(&Cell, Pid, u64), SpawnError> {
        let bounds = options.bounds(self.default_bounds)?;
        // Cheap, but not enough: `admit` looks again when the process is in the table.
        if self.is_stopping() {
            return Err(SpawnError::Stopping);
        }
        let Some(index) = self.slots.take() else {
            return Err(SpawnError::Limit("processes"));
        };
        let cell = self.cells.ensure(index);
        let now_ms = self.scheduler.recent_ms();
        // Before the mailbox opens: a list that sees the new generation must not see the counts of the last process.
        cell.reset(parent, now_ms);
        let pid = Pid::new(index, cell.mailbox.open(bounds, options.mailbox_policy));
        self.live.fetch_add(1, Ordering::AcqRel);
        cell.is_pool.store(false, Ordering::Relaxed);
        cell.is_session.store(false, Ordering::Relaxed);
        cell.is_supervised.store(false, Ordering::Relaxed);
        let level = options.log_level.map_or(0, Level::code);
        cell.log_level.store(level, Ordering::Relaxed);
        Ok((cell, pid, now_ms))
    }

    /// What comes between the cell and `init`: the node may stop just now, and the name be taken.
    #[inline]
    fn admit(&self, control: &mut ControlBlock, options: &SpawnOptions) -> Result<(), SpawnError> {
        // Again, now that the process is in the table: pairs with the fence in `stop_spawning`. Either the stop is seen
        // here, or the stop finds the process and signals it.
        fence(Ordering::SeqCst);
        if self.stopping.load(Ordering::Relaxed) {
            return Err(SpawnError::Stopping);
        }
        if !options.environment.is_empty() {
            *control.environment_mut() = options.environment.clone();
        }
        if let Some(name) = &options.name {
            self.take_name(name, control.pid)?;
            control.name = Some(name.clone());
        }
        Ok(())
    }

    fn start_here(
        self: &Arc<Self>,
        cell: &Cell,
        process: &mut Process,
        options: &SpawnOptions,
    ) -> Result<(), SpawnError> {
        self.admit(&mut process.control, options)?;
        self.init(cell, process).map_err(SpawnError::Init)?;
        // After `init`: its failure is reported by the error, not by a signal as well. The parent cannot end before, it
        // is the one that spawns.
        let parent = process.control.parent;
        if options.link && parent != Pid::NODE {
            let env = ProcessContext {
                processes: self,
                control: &mut process.control,
            };
            env.link(Target::Pid(parent))
                .map_err(|_| SpawnError::NoParent)?;
        }
        Ok(())
    }

    /// Calls `init`, and reports its success, unless `init` has taken that over.
    fn init(self: &Arc<Self>, cell: &Cell, process: &mut Process) -> Result<(), Reason> {
        // Before `init`, which may pass the pid on as the owner of connections.
        let is_pool = process.behavior.is_pool();
        cell.is_pool.store(is_pool, Ordering::Relaxed);
        let is_session = process.behavior.is_session();
        cell.is_session.store(is_session, Ordering::Relaxed);
        let mut env = ProcessContext {
            processes: self,
            control: &mut process.control,
        };
        match catch_panic(|| process.behavior.init(&mut env)) {
            Ok(outcome) => outcome?,
            Err(payload) => {
                let reason = Reason::from_panic(&*payload);
                drop_catching(payload);
                return Err(reason);
            }
        }
        if let Some(report) = process.control.take_start_report() {
            report.started(self, process.control.pid);
        }
        Ok(())
    }

    /// The first activation of a deferred process: makes it and calls `init`. Returns it, or what is
    /// left of it.
    pub(super) fn start_deferred(
        self: &Arc<Self>,
        cell: &Cell,
        starting: Starting,
    ) -> Result<Box<Process>, Box<Closing>> {
        let Starting {
            control, factory, ..
        } = starting;
        let batch = Batch::default();
        let behavior = match factory() {
            Ok(behavior) => behavior,
            Err(error) => {
                let reason = match error {
                    SpawnError::Init(reason) => reason,
                    other => other.into(),
                };
                self.record_end(&control, None, &reason);
                return Err(Box::new(self.close(cell, control, batch, None, reason)));
            }
        };
        let mut process = Box::new(Process {
            control,
            batch,
            behavior,
        });
        cell.identity().set_actor(process.behavior.type_number());
        match self.init(cell, &mut process) {
            Ok(()) => Ok(process),
            Err(reason) => {
                self.record_end(&process.control, Some(&*process.behavior), &reason);
                let Process {
                    control,
                    batch,
                    behavior,
                } = *process;
                Err(Box::new(self.close(
                    cell,
                    control,
                    batch,
                    Some(behavior),
                    reason,
                )))
            }
        }
    }

    /// Ends meta-processes of a process that did not start, and waits until they have, so that the spawner finds
    /// their ports free again. A question behind the signal is answered, or dropped, when their stripe has come so far.
    pub(super) fn close_and_wait(&self, metas: Vec<Alias>, reason: &Reason) {
        let ask = |to: Alias| {
            self.exit_meta(to, reason);
            let (reply, answer) = Reply::to_outside(self.scheduler.runtime(), None);
            let reply = InspectReply::new(reply);
            self.commands
                .push(to.stripe(), Command::Inspect { to, reply });
            answer
        };
        let asked: Vec<PendingReply> = metas.into_iter().map(ask).collect();
        for answer in asked {
            if answer
                .wait_for(CLOSE_WAIT)
                .is_err_and(|error| error == RequestError::Timeout)
            {
                // Once: a stripe that hangs would cost this wait for each of its meta-processes.
                return;
            }
        }
    }
}

impl Processes {
    /// Spawns a process deferred, which ends when `parent` ends. `factory` must not panic.
    pub(crate) fn spawn_dependent(
        self: &Arc<Self>,
        parent: Pid,
        options: &SpawnOptions,
        factory: Factory,
    ) -> Result<Pid, SpawnError> {
        let (cell, pid, born_ms) = self.open(parent, options)?;
        let mut control = ControlBlock::new(pid, parent, born_ms, None);
        let admitted = self.admit(&mut control, options).and_then(|()| {
            let adopted = self.with_relations(parent, |relations| relations.dependents.insert(pid));
            control.is_dependent = adopted.is_some();
            adopted.map(|_| ()).ok_or(SpawnError::NoParent)
        });
        if let Err(error) = admitted {
            let closing = self.close(cell, control, Batch::default(), None, Reason::Normal);
            self.finish_end(closing);
            return Err(error);
        }
        *cell.stage.lock() = Stage::Starting(Box::new(Starting {
            control,
            factory,
            own_thread: None,
        }));
        // The mailbox is in the scheduled state since it was opened: nothing else queues it.
        self.scheduler.push(Task::process(pid.index()), Slot::Fifo);
        Ok(pid)
    }
}
