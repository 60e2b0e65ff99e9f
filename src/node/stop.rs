//! Stopping a node.
//!
//! ```text
//!  1 listeners close, no process is spawned   ─▶ 2 processes handle what is in their mailboxes     (drain)
//!  3 connections send what they have, end    ─▶ 4 owners handle the Disconnects                   (flush, drain)
//!  5 processes get exit signals              ─▶ 6 those that do not end are killed                (exit, kill)
//!  7 threads end and are joined; what is stuck in user code is reported and left behind
//! ```
//!
//! Each phase ends when it is done or at its deadline; what the deadline cut off is in the [`StopReport`].

mod notify;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

pub(super) use notify::Notify;

use super::core::Core;
use super::deadline_after;
use crate::base::thread::start_thread;
use crate::base::unwind::drop_catching;
use crate::bridge::Command;
use crate::error::Reason;
use crate::error::RequestError;
use crate::id::{Pid, Target};
use crate::record::{Kind, Level};
use crate::scheduler::Threads;
#[cfg(feature = "testing")]
use crate::simulation;

/// How long each phase of a stop may take.
///
/// ```
/// use longshore::StopOptions;
/// use std::time::Duration;
///
/// let mut options = StopOptions::default().with_timeout(Duration::from_secs(1));
/// options.flush_timeout = Duration::from_secs(10); // let slow peers have their bytes
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopOptions {
    /// For processes to handle what is in their mailboxes. 5 s by default.
    pub drain_timeout: Duration,
    /// For connections to send what they have accepted. 5 s by default.
    pub flush_timeout: Duration,
    /// For processes to end after their exit signal. 5 s by default.
    pub exit_timeout: Duration,
    /// For processes to end after they have been killed, and for threads to end. 1 s by default.
    pub kill_timeout: Duration,
}

impl Default for StopOptions {
    fn default() -> Self {
        Self {
            drain_timeout: Duration::from_secs(5),
            flush_timeout: Duration::from_secs(5),
            exit_timeout: Duration::from_secs(5),
            kill_timeout: Duration::from_secs(1),
        }
    }
}

impl StopOptions {
    /// The same deadline for each phase.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self.flush_timeout = timeout;
        self.exit_timeout = timeout;
        self.kill_timeout = timeout;
        self
    }
}

/// What a stop cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// Processes that had not handled their mailboxes at the deadline.
    pub undrained: usize,
    /// Meta-processes that ended before they had sent everything, at the deadline of the stop or at one of their own.
    pub unflushed: usize,
    /// Bytes that connections had accepted and did not send. Connections that ended by themselves during the stop are
    /// counted too.
    pub unsent_bytes: u64,
    /// Processes that did not end at their exit signal and were killed.
    pub killed: Vec<Pid>,
    /// Processes that hang in user code; their `terminate` has not run, and their thread is left behind.
    pub stuck: Vec<Pid>,
    /// Processes whose [blocking work](crate::Context::blocking) had not returned; its thread is left behind.
    pub working: Vec<Pid>,
}

impl StopReport {
    /// Whether nothing was cut off.
    ///
    /// ```
    /// assert!(longshore::StopReport::default().is_clean());
    /// ```
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} processes not drained, {} meta-processes not flushed, {} bytes not sent, killed {:?}, stuck {:?}",
            self.undrained, self.unflushed, self.unsent_bytes, self.killed, self.stuck
        )?;
        if self.working.is_empty() {
            return Ok(());
        }
        write!(f, ", work of {:?}", self.working)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stops a node, while it lives, on a thread of its own.
struct StopInBackground(Weak<Stopper>);

impl Wake for StopInBackground {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(stopper) = self.0.upgrade() {
            stopper.stop_in_background(StopOptions::default());
        }
    }
}

/// Stops a node once.
pub(super) struct Stopper {
    core: Arc<Core>,
    signal: Notify,
    state: Mutex<StopState>,
    changed: Condvar,
}

enum StopState {
    Running(Threads),
    Stopping,
    Stopped(StopReport),
}

impl Stopper {
    pub(super) fn new(core: Arc<Core>, threads: Threads, signal: Notify) -> Arc<Self> {
        Arc::new(Self {
            core,
            signal,
            state: Mutex::new(StopState::Running(threads)),
            changed: Condvar::new(),
        })
    }

    /// Lets processes stop their node.
    pub(super) fn attach(self: &Arc<Self>) {
        let stop = Waker::from(Arc::new(StopInBackground(Arc::downgrade(self))));
        self.core.processes.attach_stopper(stop);
    }

    pub(super) fn stop(self: &Arc<Self>, options: StopOptions) -> StopReport {
        if self.is_inside() {
            // The stop waits for the code that calls it.
            return self.stop_in_background(options);
        }
        let threads = {
            let mut state = lock(&self.state);
            // Taken out under the lock: of two threads that stop the node one gets the threads, and the other waits.
            match std::mem::replace(&mut *state, StopState::Stopping) {
                StopState::Running(threads) => threads,
                StopState::Stopping => return self.wait_for_report(state),
                StopState::Stopped(report) => {
                    *state = StopState::Stopped(report.clone());
                    return report;
                }
            }
        };
        let report = self.run(threads, options);
        *lock(&self.state) = StopState::Stopped(report.clone());
        // The lock is free by now: the threads that wait take it at once.
        self.changed.notify_all();
        report
    }

    /// Whether the calling thread runs code that a stop waits for.
    fn is_inside(&self) -> bool {
        self.core.scheduler.runtime().is_inside()
    }

    /// Returns the report of a node that has stopped, otherwise an empty one.
    fn stop_in_background(self: &Arc<Self>, options: StopOptions) -> StopReport {
        match &*lock(&self.state) {
            StopState::Running(_) => {}
            // Another thread stops the node, and this one must not wait for it.
            StopState::Stopping => return StopReport::default(),
            StopState::Stopped(report) => return report.clone(),
        }
        let stopper = Arc::clone(self);
        #[cfg(feature = "testing")]
        if let Some(site) = &self.core.site {
            let stop = move || drop(stopper.stop(options));
            simulation::defer(site, 0, Box::new(stop));
            return StopReport::default();
        }
        let started = start_thread("longshore-stop", move || {
            stopper.stop(options);
        });
        if let Err(error) = started {
            self.core.io.services.log.text(
                Level::Error,
                Kind::StopFailed,
                format_args!("cannot stop the node: {error}"),
            );
        }
        StopReport::default()
    }

    /// Waits for a stop that another thread runs. Inside the runtime it returns an error instead of waiting.
    pub(super) fn wait(&self) -> Result<StopReport, RequestError> {
        let state = lock(&self.state);
        if self.is_inside() && !matches!(*state, StopState::Stopped(_)) {
            return Err(RequestError::WouldBlockRuntime);
        }
        Ok(self.wait_for_report(state))
    }

    fn wait_for_report<'a>(&'a self, mut state: MutexGuard<'a, StopState>) -> StopReport {
        #[cfg(feature = "testing")]
        if self.core.site.is_some() {
            // Released, because the simulation runs code that may ask for the report.
            drop(state);
            simulation::wait_for(Duration::MAX, &mut || {
                matches!(*lock(&self.state), StopState::Stopped(_))
            });
            state = lock(&self.state);
        }
        loop {
            if let StopState::Stopped(report) = &*state {
                return report.clone();
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The phases.
    fn run(&self, threads: Threads, options: StopOptions) -> StopReport {
        // This thread ends what no worker ends: it runs `terminate` and `Drop` of the user.
        let _inside = self.core.scheduler.runtime().enter();
        let mut report = StopReport::default();
        let core = &self.core;
        // Counters only grow, so the difference is what was lost in the stop.
        let unsent_before = core.io.services.commands.unsent();
        // Before anything is asked to end: what would be spawned from here on would not be asked.
        core.processes.stop_spawning();
        // What a session gets with it stands before the barriers: a session that ends by itself does not end by the
        // stop.
        self.pass(options.drain_timeout, |called| {
            core.io.stop_accepting(called)
        });
        report.undrained = self.drain(options.drain_timeout);
        // After the drain, because handling messages may open connections.
        core.io.services.commands.stop_spawning();
        self.finish_meta(options);
        // Again, because the ends of connections are messages to their owners.
        self.drain(options.drain_timeout);
        self.end_processes(options, &mut report);
        self.end_threads(threads, options, &mut report);
        report.unsent_bytes = core.io.services.commands.unsent() - unsent_before;
        // Last, because the phases make records.
        core.processes.log.end(options.kill_timeout);
        report
    }

    /// Lets every process handle what it has got so far. Returns how many did not.
    fn drain(&self, timeout: Duration) -> usize {
        self.pass(timeout, |passed| {
            self.core.processes.insert_barriers(passed)
        })
    }

    /// Waits for as many calls as `insert` expects. Returns how many did not come.
    fn pass(
        &self,
        timeout: Duration,
        insert: impl FnOnce(&Arc<dyn Fn() + Send + Sync>) -> usize,
    ) -> usize {
        let passed = Arc::new(Mutex::new(0_usize));
        let (count, signal) = (Arc::clone(&passed), self.signal.clone());
        let pass: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            *lock(&count) += 1;
            signal.notify();
        });
        let expected = insert(&pass);
        self.signal.wait(timeout, || *lock(&passed) >= expected);
        let passed = *lock(&passed);
        expected.saturating_sub(passed)
    }

    /// Ends all meta-processes. Their stripes count those that had not sent everything.
    fn finish_meta(&self, options: StopOptions) {
        let commands = &self.core.io.services.commands;
        let all_ended = || commands.live() == 0;
        self.core.io.finish();
        if self.signal.wait(options.flush_timeout, all_ended) {
            return;
        }
        // What has not ended by its own deadline is killed, and counted by its stripe.
        for to in self.core.io.aliases() {
            let reason = Reason::Kill;
            commands.push(to.stripe(), Command::Exit { to, reason });
        }
        self.signal.wait(options.kill_timeout, all_ended);
    }

    fn end_processes(&self, options: StopOptions, report: &mut StopReport) {
        let processes = &self.core.processes;
        let all_ended = || processes.live() == 0;
        let signal_all = |pids: &[Pid], reason: &Reason| {
            for pid in pids {
                // It may have ended just now.
                let _ = processes.send_exit(Pid::NODE, Target::Pid(*pid), reason.clone());
            }
        };
        // Supervisors end their children, in order.
        signal_all(&processes.unsupervised(), &Reason::Shutdown);
        if self.signal.wait(options.exit_timeout, all_ended) {
            return;
        }
        // Listed before they are killed, or the list would leave out those that end at once.
        report.killed = processes.pids();
        signal_all(&report.killed, &Reason::Kill);
        self.signal.wait(options.kill_timeout, all_ended);
    }

    fn end_threads(&self, threads: Threads, options: StopOptions, report: &mut StopReport) {
        let own_threads = &self.core.processes.own_threads;
        // All are asked before any is waited for, so that one deadline holds for them together.
        own_threads.stop();
        threads.stop();
        self.core.io.services.lookups.stop();
        let work = &self.core.processes.work;
        work.stop();
        self.core.io.services.handshakes.stop();
        let deadline = deadline_after(options.kill_timeout);
        let is_over =
            || threads.are_finished() && work.running().is_empty() && own_threads.left().is_empty();
        while !is_over() && Instant::now() < deadline {
            // There is no event for the end of a thread; threads that are not stuck end within microseconds.
            thread::yield_now();
        }
        report.working = work.running();
        // The threads are finished, so nothing else runs the processes that are left.
        if threads.are_finished() {
            drop(threads);
            self.core.processes.end_all(&Reason::Kill);
            report.stuck = own_threads.left();
            // The handlers of a simulated node wait on threads of its world.
            #[cfg(feature = "testing")]
            if self.core.site.is_some() {
                report.stuck = self.core.processes.pids();
            }
        } else {
            // A thread that does not return holds the lock of its cell, and may still run `terminate`.
            report.stuck = self.core.processes.pids();
            report.stuck.extend(self.core.processes.terminating());
            // Waiting for it would block the stop for ever.
            threads.detach();
        }
        let stuck: HashSet<&Pid> = report.stuck.iter().collect();
        report.killed.retain(|pid| !stuck.contains(pid));
        report.unflushed = self.core.io.services.commands.unflushed();
        report.unflushed += self.core.io.end_all();
        // They hold messages of the program, whose drop may panic.
        self.core
            .io
            .services
            .timers
            .take_all()
            .into_iter()
            .for_each(drop_catching);
        self.core.processes.drop_tickers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_row() {
        crate::base::option_rows::option_rows!(StopOptions {
            drain_timeout,
            flush_timeout,
            exit_timeout,
            kill_timeout,
        });
    }
}
