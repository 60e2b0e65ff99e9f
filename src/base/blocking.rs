//! A small pool of threads for what would hold up a worker: the resolver of the operating system, which blocks, and TLS
//! handshakes, which may compute for several milliseconds.
//!
//! Why long handshakes are not tasks of the workers: a worker that computes all the time is no longer favored by the
//! operating system when a packet wakes it, and then quick connections wait for a time slice behind every other thread
//! on the machine.
//!
//! Threads start when there is a job and no thread waits for one, up to a limit, and end after some seconds without
//! one, so an idle node has none. Jobs in the queue are dropped at the end; one that runs is left to finish on its own,
//! because a resolver cannot be interrupted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::base::inside::RuntimeId;
use crate::base::thread::start_thread;
use crate::base::unwind::{catch_panic, drop_catching};
#[cfg(feature = "testing")]
use crate::simulation;

/// A thread without a job ends after this.
const LINGER: Duration = Duration::from_secs(5);

/// The longest that a job takes on a simulated node.
#[cfg(feature = "testing")]
const SIMULATED_NS: u64 = 20_000_000;

/// What a thread runs.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs that may block.
#[derive(Clone)]
pub(crate) struct Blocking(Arc<Runner>);

struct Runner {
    runtime: RuntimeId,
    name: &'static str,
    /// Threads at once.
    limit: usize,
    /// Jobs that may wait for a thread.
    queue: usize,
    state: Mutex<QueueState>,
    job: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    threads: usize,
    waiting: usize,
    stopped: bool,
}

impl Blocking {
    /// Threads of that name inside that runtime, at most `limit` at once.
    pub(crate) fn new(runtime: RuntimeId, name: &'static str, limit: usize) -> Self {
        Self::with_queue(runtime, name, limit, usize::MAX)
    }

    /// The same, with a bound for the jobs that wait for a thread.
    pub(crate) fn with_queue(
        runtime: RuntimeId,
        name: &'static str,
        limit: usize,
        queue: usize,
    ) -> Self {
        Self(Arc::new(Runner {
            runtime,
            name,
            limit,
            queue,
            state: Mutex::default(),
            job: Condvar::new(),
        }))
    }

    /// Queues a job.
    ///
    /// # Errors
    ///
    /// The job, if the pool has stopped, too many jobs wait, or no thread can be started.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Job> {
        self.run_boxed(Box::new(job))
    }

    fn run_boxed(&self, job: Job) -> Result<(), Job> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Threads that wait take a job each, and so will those that may still be started.
        let free = state.waiting + self.0.limit.saturating_sub(state.threads);
        if state.stopped || state.jobs.len() >= self.0.queue.saturating_add(free) {
            return Err(job);
        }
        #[cfg(feature = "testing")]
        if let Some(site) = simulation::current() {
            let runtime = self.0.runtime;
            let work = move || {
                let _inside = runtime.enter();
                drop_catching(catch_panic(job));
            };
            simulation::defer(&site, SIMULATED_NS, Box::new(work));
            return Ok(());
        }
        state.jobs.push_back(job);
        if state.waiting >= state.jobs.len() || state.threads >= self.0.limit {
            // Otherwise the thread would wake only to wait for the lock.
            drop(state);
            self.0.job.notify_one();
            return Ok(());
        }
        let inner = Arc::clone(&self.0);
        if start_thread(self.0.name, move || inner.work()).is_ok() {
            state.threads += 1;
        // A thread that runs comes to the job. Without one nothing would take it out of the queue, where it is the
        // last, because the lock is held.
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
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.0.job.notify_all();
        // A job may own what the user has made, whose `drop` must find the lock free.
        jobs.into_iter().for_each(drop_catching);
    }
}

impl Runner {
    fn work(&self) {
        self.runtime.stay();
        while let Some(job) = self.next() {
            // A job that panics must not take its thread out of the count.
            drop_catching(catch_panic(job));
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
            // A job may have come between the timeout and the lock, and counts on this thread.
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn jobs_run_inside_the_runtime_and_a_panic_ends_no_thread() {
        let runtime = RuntimeId::new();
        let blocking = Blocking::new(runtime, "test", 1);
        let (sender, places) = mpsc::channel();
        assert!(blocking.run(|| panic!("a job")).is_ok());
        assert!(
            blocking
                .run(move || sender.send(runtime.is_inside()).expect("the test listens"))
                .is_ok()
        );
        let place = places.recv_timeout(Duration::from_secs(30));
        assert_eq!(place, Ok(true));
        blocking.stop();
    }

    #[test]
    fn job_that_is_dropped_at_the_stop_finds_the_lock_free() {
        struct Asks(Blocking, mpsc::Sender<bool>);
        impl Drop for Asks {
            fn drop(&mut self) {
                let is_refused = self.0.run(|| ()).is_err();
                self.1.send(is_refused).expect("the test listens");
            }
        }
        let blocking = Blocking::new(RuntimeId::new(), "test", 1);
        let (release, blocked) = mpsc::channel::<()>();
        assert!(
            blocking
                .run(move || assert!(blocked.recv().is_err()))
                .is_ok()
        );
        let (sender, refusals) = mpsc::channel();
        let asks = Asks(blocking.clone(), sender);
        assert!(blocking.run(move || drop(asks)).is_ok());
        let stopping = std::thread::spawn(move || blocking.stop());
        let refusal = refusals.recv_timeout(Duration::from_secs(30));
        assert_eq!(refusal, Ok(true), "the drop waits for the lock of the stop");
        stopping.join().expect("no panic");
        drop(release);
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}
