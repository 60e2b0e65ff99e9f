//! The threads of a scheduler that runs.
//!
//! They end by [`Threads::stop`] or a drop, which joins them. A thread that hangs in user code is never joined: the
//! node detaches all.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::Scheduler;

/// The running threads. Dropping ends and joins them, unless it happens on one of them: then they end by themselves.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(super) scheduler: Arc<Scheduler>,
    pub(super) handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Whether all have ended.
    pub(crate) fn are_finished(&self) -> bool {
        self.handles.iter().all(JoinHandle::is_finished) && self.scheduler.spares.are_finished()
    }

    /// Asks them to end.
    pub(crate) fn stop(&self) {
        self.scheduler.stop();
    }

    /// Lets them run on their own; they have been asked to end, and one of them hangs in user code.
    pub(crate) fn detach(mut self) {
        self.handles.clear();
        self.scheduler.spares.take_handles();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
        let this = thread::current().id();
        let spares = self.scheduler.spares.take_handles();
        for handle in self.handles.drain(..).chain(spares) {
            if handle.thread().id() != this {
                // A worker catches every panic of user code; one of its own has been reported by the hook.
                let _ = handle.join();
            }
        }
    }
}
