//! A process with a thread of its own, for handlers that block by nature.
//!
//! ```text
//!  push to an idle process ─▶ run queue ─▶ a worker ── call ──▶ the thread: activations until it is idle
//!                                                                ▲                     │
//!                                                                └──────── wait ◀──────┘
//! ```
//!
//! The cell holds the [`OwnThread`] instead of the process, and the thread the process. So a worker that comes to the
//! cell holds nothing up: it calls the thread and goes on, and no other process pays for this kind. A message costs one
//! hop more than that to a process without a thread.
//!
//! 1. The thread starts before `init`, so that a limit is an error of the spawn, and waits.
//! 2. *start*: the process is handed over. One that is spawned deferred starts on its thread, factory and `init`
//!    included; otherwise `init` has run where that of every process does.
//! 3. *call*: a worker has found the process queued. The thread runs activations until the mailbox is idle, and waits.
//! 4. The process ends on its thread, `terminate` included. Its listeners close first, and the thread waits for that.
//!    The place in the limit is given back before the end is notified, so that a successor finds it free; the thread
//!    stays on the list until it has dropped what is left of the process, so that a stop waits for it.
//! 5. *stop*: the workers end. A thread that waits looks at its mailbox once more, where a kill may be, and ends.
//!
//! Its state is guarded by one mutex, and a call is kept until the thread takes it; the mailbox queues a process once
//! before it is idle again. So no call is lost, and at most one is outstanding.
//!
//! The monitor does not watch these threads, because blocking is what they are for. A stop cannot end a handler that
//! does not return: it names the process as stuck and leaves the thread behind, as it does with a worker.

use std::fmt;
use std::sync::{Arc, Condvar, PoisonError};

use super::SpawnOptions;
use super::activation::Activation;
use super::end::Closing;
use super::lifecycle::Process;
use super::spawn::Starting;
use super::table::{Cell, Processes, Stage};
use crate::base::thread::start_thread;
use crate::base::unwind::{catch_panic, drop_catching};
use crate::error::{Reason, SpawnError};
use crate::id::Pid;
use crate::scheduler::TIMED_ACTIVATIONS;

/// The name of a thread whose process has none when it is spawned.
const NAMELESS: &str = "longshore-own";

/// The threads of a node's processes.
#[derive(Debug)]
pub(crate) struct OwnThreads {
    limit: usize,
    list: std::sync::Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    threads: Vec<Listed>,
    stopped: bool,
}

#[derive(Debug)]
struct Listed {
    pid: Pid,
    own_thread: Arc<OwnThread>,
    /// Its process has not ended, and counts against the limit.
    has_place: bool,
}

impl List {
    /// The processes that count against the limit.
    fn places(&self) -> usize {
        self.threads.iter().filter(|entry| entry.has_place).count()
    }
}

impl OwnThreads {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            list: std::sync::Mutex::default(),
        }
    }

    fn list(&self) -> std::sync::MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Transition 5.
    pub(crate) fn stop(&self) {
        let mut list = self.list();
        list.stopped = true;
        for entry in &list.threads {
            entry.own_thread.set(|state| state.stops = true);
        }
    }

    /// The processes whose threads have not ended.
    pub(crate) fn left(&self) -> Vec<Pid> {
        let list = self.list();
        list.threads.iter().map(|entry| entry.pid).collect()
    }

    /// The processes whose threads run their handlers now.
    pub(super) fn running(&self) -> Vec<u32> {
        let list = self.list();
        // The cell of a process that has ended may be that of another one.
        let running = list
            .threads
            .iter()
            .filter(|entry| entry.has_place && entry.own_thread.state().is_running);
        running.map(|entry| entry.pid.index()).collect()
    }

    /// The process ends, and another one may have a thread. Its own thread stays on the list until it ends.
    #[cold]
    pub(super) fn give_back(&self, pid: Pid) {
        let mut list = self.list();
        if let Some(entry) = list.threads.iter_mut().find(|entry| entry.pid == pid) {
            entry.has_place = false;
        }
    }
}

/// Where a worker finds the thread of a process.
#[derive(Default)]
pub(super) struct OwnThread {
    state: std::sync::Mutex<ThreadState>,
    changed: Condvar,
}

#[derive(Default)]
struct ThreadState {
    /// Handed over, and not taken by the thread yet.
    begins: Option<Begins>,
    is_called: bool,
    is_running: bool,
    /// The process does not start.
    is_canceled: bool,
    /// The workers end.
    stops: bool,
}

/// What a thread begins with.
enum Begins {
    Starting(Box<Starting>),
    Living(Box<Process>),
}

impl fmt::Debug for OwnThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnThread")
    }
}

impl OwnThread {
    fn state(&self) -> std::sync::MutexGuard<'_, ThreadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut ThreadState)) {
        change(&mut self.state());
        // At most one thread waits here, that of the process.
        self.changed.notify_one();
    }

    /// Transition 2, for a process that has started.
    pub(super) fn start(&self, process: Box<Process>) {
        self.set(|state| state.begins = Some(Begins::Living(process)));
    }

    /// Transition 2, for one that starts on its thread.
    pub(super) fn start_deferred(&self, starting: Box<Starting>) {
        self.set(|state| state.begins = Some(Begins::Starting(starting)));
    }

    /// Transition 3.
    pub(super) fn call(&self) {
        self.set(|state| state.is_called = true);
    }

    /// The process does not start: its thread ends.
    pub(super) fn cancel(&self) {
        self.set(|state| state.is_canceled = true);
    }

    /// Waits for the process. `None`: it does not start.
    fn wait_for_process(&self) -> Option<Begins> {
        let mut state = self.state();
        loop {
            if let Some(begins) = state.begins.take() {
                state.is_running = true;
                return Some(begins);
            }
            if state.is_canceled {
                return None;
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for a call. `false`: the workers end, and none comes any more.
    fn wait_for_call(&self) -> bool {
        let mut state = self.state();
        state.is_running = false;
        loop {
            // A call that came before the stop is still served.
            if std::mem::take(&mut state.is_called) {
                state.is_running = true;
                return true;
            }
            if state.stops {
                return false;
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Takes a thread off the list when it ends.
struct Leaves<'a>(&'a Processes, Pid);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let mut list = self.0.own_threads.list();
        list.threads.retain(|entry| entry.pid != self.1);
    }
}

impl Processes {
    /// Transition 1.
    #[cold]
    pub(super) fn start_own_thread(
        self: &Arc<Self>,
        pid: Pid,
        options: &SpawnOptions,
    ) -> Result<Option<Arc<OwnThread>>, SpawnError> {
        // On a simulated node every process runs on the thread of the simulation.
        #[cfg(feature = "testing")]
        if crate::simulation::is_current() {
            return Ok(None);
        }
        let own_thread = Arc::new(OwnThread::default());
        // Locked over the start of the thread: a stop finds it on the list, and so does the thread, should it end at
        // once.
        let mut list = self.own_threads.list();
        if list.stopped {
            return Err(SpawnError::Stopping);
        }
        if list.places() >= self.own_threads.limit {
            return Err(SpawnError::Limit("threads of processes"));
        }
        let name = options.name.as_ref().map_or(NAMELESS, |name| name.as_str());
        let (processes, own) = (Arc::clone(self), Arc::clone(&own_thread));
        // The name of a process may contain a NUL, the name of a thread may not.
        let name = name.replace('\0', "?");
        start_thread(&name, move || live(&processes, pid, &own))
            .map_err(|_| SpawnError::Limit("threads"))?;
        list.threads.push(Listed {
            pid,
            own_thread: Arc::clone(&own_thread),
            has_place: true,
        });
        Ok(Some(own_thread))
    }

    /// Runs activations until the process is idle, or ends. `None`: it is idle.
    fn activate_own(self: &Arc<Self>, cell: &Cell, process: &mut Process) -> Option<Reason> {
        loop {
            let outcome = catch_panic(|| self.activate(cell, process));
            cell.activity.add_sent(process.control.sent);
            match outcome {
                Ok(Activation::Idle) => return None,
                // No other process waits for this thread, so this one goes on.
                Ok(Activation::More) => process.control.forget_blocked(cell),
                Ok(Activation::End(reason)) => return Some(process.reason_of_end(cell, reason)),
                Err(payload) => {
                    let reason = Reason::from_panic(&*payload);
                    drop_catching(payload);
                    return Some(reason);
                }
            }
        }
    }

    /// Transition 4.
    fn end_own(self: &Arc<Self>, cell: &Cell, mut closing: Closing) {
        let listeners = closing.take_listeners();
        if !listeners.is_empty() {
            // This thread may wait, which a worker must not.
            self.close_and_wait(listeners, closing.reason());
        }
        // Before the cell is free for another process.
        *cell.stage.lock() = Stage::Vacant;
        self.finish_end(closing);
    }
}

/// The life of the thread.
fn live(processes: &Arc<Processes>, pid: Pid, own_thread: &OwnThread) {
    processes.scheduler.runtime().stay();
    processes.scheduler.run_beside(pid.index());
    let _leaves = Leaves(processes, pid);
    let (Some(begins), Some(cell)) = (
        own_thread.wait_for_process(),
        processes.cells.get(pid.index()),
    ) else {
        return;
    };
    let mut process = match begins {
        Begins::Living(process) => process,
        Begins::Starting(starting) => match processes.start_deferred(cell, *starting) {
            Ok(process) => {
                // What came during `init` has queued nothing, because the mailbox counted as scheduled.
                if !cell.mailbox.finish_init() {
                    own_thread.call();
                }
                process
            }
            Err(closing) => return processes.end_own(cell, *closing),
        },
    };
    let reason = run(processes, cell, pid, own_thread, &mut process);
    processes.record_end(&process.control, Some(&*process.behavior), &reason);
    let closing = processes.close_started(cell, *process, reason);
    processes.end_own(cell, closing);
}

/// Activates the process each time it is called, until it ends.
fn run(
    processes: &Arc<Processes>,
    cell: &Cell,
    pid: Pid,
    own_thread: &OwnThread,
    process: &mut Process,
) -> Reason {
    let mut calls = 0_u64;
    loop {
        let is_called = own_thread.wait_for_call();
        let clock = processes.timers.clock();
        let began_ns = calls
            .is_multiple_of(TIMED_ACTIVATIONS)
            .then(|| clock.now_ns());
        calls += 1;
        let ended = processes.activate_own(cell, process);
        if let Some(began_ns) = began_ns {
            processes.timed(pid.index(), clock.now_ns() - began_ns);
        }
        match ended {
            Some(reason) => return reason,
            None if is_called => {}
            // The workers have ended, and the last look at the mailbox has found no reason to end.
            None => return Reason::Kill,
        }
    }
}
