//! Signals of the operating system, for [`Node::run`](super::Node::run).
//!
//! For SIGINT and SIGTERM, in the order in which the handler runs them:
//!
//! 1. `idle` is set: no `run` is under way, and the signal has its default action. Registered
//!    once for the life of the program, because a handler cannot be taken back.
//! 2. `second` is set: the signal is the second one of a run, and has its default action.
//! 3. `second` becomes set.
//! 4. A byte wakes the thread of the run, which reports the signal.
//!
//! 2 to 4 exist once for each run under way, so two nodes both stop at the first signal. For SIGUSR1
//! there are 1 and 4, and 4 as often as the signal comes.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{SigId, flag, low_level};

use crate::base::thread::start_thread;

/// The signals that stop a node.
const STOPS: [i32; 2] = [SIGINT, SIGTERM];

/// The runs under way, and the flag of action 1 once it is registered.
static RUNS: Mutex<(usize, Option<Arc<AtomicBool>>)> = Mutex::new((0, None));

/// Catches the signals of one run until it is dropped.
pub(super) struct Stop {
    registered: Vec<SigId>,
    thread: Option<JoinHandle<()>>,
}

impl Stop {
    /// From now on the first signal calls `forward`, on a thread of its own.
    pub(super) fn install(forward: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        // The number of runs is raised before the actions exist, so that `idle` does not kill the program in between.
        enter()?;
        let mut this = Self {
            registered: Vec::new(),
            thread: None,
        };
        // The handler of a signal may do little more than write a byte.
        let (mut reader, writer) = UnixStream::pair()?;
        let second = Arc::new(AtomicBool::new(false));
        for signal in STOPS {
            let is_second = Arc::clone(&second);
            // The order of registration is the order in which the handler runs them; see the page.
            let id = flag::register_conditional_default(signal, is_second)?;
            this.registered.push(id);
            let id = flag::register(signal, Arc::clone(&second))?;
            this.registered.push(id);
            let id = low_level::pipe::register(signal, writer.try_clone()?)?;
            this.registered.push(id);
        }
        let wait = move || {
            // Zero bytes: the writers are closed, the run has ended.
            if matches!(reader.read(&mut [0]), Ok(1..)) {
                forward();
            }
        };
        this.thread = Some(start_thread("longshore-signals", wait)?);
        Ok(this)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        // Before the actions of this run go: a signal in between must not be lost.
        leave();
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
        if let Some(thread) = self.thread.take() {
            // It calls `forward`, which cannot panic.
            let _ = thread.join();
        }
    }
}

/// Writes a dump at each SIGUSR1 of one run, until it is dropped.
pub(super) struct Dump {
    registered: Option<SigId>,
    thread: Option<JoinHandle<()>>,
}

impl Dump {
    /// From now on each SIGUSR1 calls `dump`, on a thread of its own.
    pub(super) fn install(dump: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (mut reader, writer) = UnixStream::pair()?;
        let mut this = Self {
            registered: Some(low_level::pipe::register(SIGUSR1, writer)?),
            thread: None,
        };
        let wait = move || {
            // Signals that came while one was answered are one.
            while matches!(reader.read(&mut [0; 64]), Ok(1..)) {
                dump();
            }
        };
        this.thread = Some(start_thread("longshore-dump", wait)?);
        Ok(this)
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        if let Some(id) = self.registered.take() {
            low_level::unregister(id);
        }
        // Not joined: standard error may be a pipe that is full. The thread ends when it has
        // written.
        drop(self.thread.take());
    }
}

/// A run begins.
fn enter() -> io::Result<()> {
    let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
    if runs.1.is_none() {
        let idle = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            // signal-hook never gives a signal back to the system. Without this action one that comes between two runs
            // would do nothing at all.
            flag::register_conditional_default(signal, Arc::clone(&idle))?;
        }
        runs.1 = Some(idle);
    }
    runs.0 += 1;
    set_idle(&runs);
    Ok(())
}

/// A run ends.
fn leave() {
    let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
    runs.0 -= 1;
    set_idle(&runs);
}

fn set_idle((runs, idle): &(usize, Option<Arc<AtomicBool>>)) {
    if let Some(idle) = idle {
        idle.store(*runs == 0, Ordering::SeqCst);
    }
}
