//! A small pool of threads for what would hold up a worker: the resolver of the operating system, which blocks, and TLS
//! handshakes, which may compute for several milliseconds.
//!
//! Why long handshakes are not tasks of the workers: a worker that computes all the time is no longer favoured by the operating
//! system when a packet wakes it, and then quick connections wait for a time slice of everybody else on the machine.
//!
//! Threads start when there is a job and nobody to take it, up to a limit, and end after some seconds without one, so an
//! idle node has none. Jobs in the queue are dropped at the end; one that runs is left to finish on its own, because a
//! resolver cannot be interrupted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A thread without a job ends after this.
const LINGER: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs that may block.
#[derive(Clone)]
pub(crate) struct Blocking(Arc<Inner>);

struct Inner {
    name: &'static str,
    /// Threads at once.
    limit: usize,
    state: Mutex<State>,
    job: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    waiting: usize,
    stopped: bool,
}

impl Blocking {
    /// Threads of that name, at most `limit` at once.
    pub(crate) fn new(name: &'static str, limit: usize) -> Self {
        Self(Arc::new(Inner {
            name,
            limit,
            state: Mutex::default(),
            job: Condvar::new(),
        }))
    }

    /// Queues a job.
    ///
    /// # Errors
    ///
    /// The job, if the pool has stopped or no thread can be started.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Job> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return Err(Box::new(job));
        }
        state.jobs.push_back(Box::new(job));
        if state.waiting >= state.jobs.len() || state.threads >= self.0.limit {
            // Otherwise the thread would wake only to wait for the lock.
            drop(state);
            self.0.job.notify_one();
            return Ok(());
        }
        let inner = Arc::clone(&self.0);
        if thread::Builder::new()
            .name(self.0.name.into())
            .spawn(move || inner.work())
            .is_ok()
        {
            state.threads += 1;
        } else if state.threads == 0
            && let Some(job) = state.jobs.pop_back()
        {
            return Err(job);
        }
        Ok(())
    }

    /// Ends the threads that wait.
    pub(crate) fn stop(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        state.jobs.clear();
        self.0.job.notify_all();
    }
}

impl Inner {
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.stopped {
                state.threads -= 1;
                return None;
            }
            state.waiting += 1;
            let (guard, waited) = self
                .job
                .wait_timeout(state, LINGER)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.waiting -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}
