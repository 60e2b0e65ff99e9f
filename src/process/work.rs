//! Blocking work of processes and of their meta-processes: on threads of its own, with the result as an answer, or as a
//! message to the meta-process.
//!
//! ```text
//!  queued ── a thread is free ──▶ runs ── returns ──▶ answered
//!     │                            │ panics           Failed(Panic)
//!     │ canceled, the process has ended, the node stops
//!     └──▶ dropped
//! ```
//!
//! What runs cannot be interrupted. The stop of a node waits for it until its last deadline, and names
//! the processes whose work it leaves behind.

use std::sync::Arc;

use super::lifecycle::ProcessContext;
use super::requests::Waiting;
use crate::base::blocking::{Blocking, Job};
use crate::base::sync::Mutex;
use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::request::Reply;
use crate::error::{Reason, RequestError};
use crate::id::{Pid, Ref};

/// The threads, and whose work they run.
#[derive(Debug)]
pub(crate) struct Work {
    threads: Blocking,
    running: Arc<Mutex<Vec<Pid>>>,
}

impl Work {
    pub(crate) fn new(threads: Blocking) -> Self {
        Self {
            threads,
            running: Arc::default(),
        }
    }

    /// Drops what waits; what runs is left to return.
    pub(crate) fn stop(&self) {
        self.threads.stop();
    }

    /// Runs a job as work of that process, once a thread is free.
    pub(super) fn run(&self, pid: Pid, job: Job) -> Result<(), Job> {
        let running = Arc::clone(&self.running);
        self.threads.run(move || {
            let _running = Running::enter(pid, running);
            job();
        })
    }

    /// The processes whose work runs now, one entry for each.
    pub(crate) fn running(&self) -> Vec<Pid> {
        self.running.lock().clone()
    }
}

/// Work that runs.
struct Running(Pid, Arc<Mutex<Vec<Pid>>>);

impl Running {
    fn enter(pid: Pid, running: Arc<Mutex<Vec<Pid>>>) -> Self {
        running.lock().push(pid);
        Self(pid, running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.1.lock();
        if let Some(at) = running.iter().position(|pid| *pid == self.0) {
            running.swap_remove(at);
        }
    }
}

impl ProcessContext<'_> {
    /// Runs `work` on a thread that may block; its result comes as the answer to a request.
    pub(crate) fn blocking<T: Send + 'static>(
        &mut self,
        label: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Ref, RequestError> {
        let (request, pid) = (self.processes.next_ref(), self.control.pid);
        let waiting = Waiting { label, timer: None };
        self.control.add_request(request, waiting);
        let processes = Arc::clone(self.processes) as _;
        let reply = Reply::to_process(pid, request, u64::MAX, processes);
        let running = Arc::clone(&self.processes.work.running);
        let job = move || {
            // Canceled while it waited for a thread; the reply answers as it is dropped.
            if !reply.is_wanted() {
                return;
            }
            let running = Running::enter(pid, running);
            match catch_panic(work) {
                Ok(result) => reply.send(result),
                Err(payload) => {
                    let reason = Reason::from_panic(&*payload);
                    drop_catching(payload);
                    reply.refuse(RequestError::Failed(reason));
                }
            }
            drop(running);
        };
        match self.processes.work.threads.run(job) {
            Ok(()) => Ok(request),
            Err(job) => {
                // Before the job is dropped: its reply answers then, and must find no request that waits.
                self.control.forget_request(request, self.processes);
                drop_catching(job);
                Err(RequestError::TooMuchWork)
            }
        }
    }
}
