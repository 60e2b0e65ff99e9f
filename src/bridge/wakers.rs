//! Wakes stripes: queues the task of a stripe that has something to do, at most once.

use std::sync::Arc;

use crate::scheduler::{Schedule, Scheduler, Slot, Task};

/// The schedule words of all stripes. A clone wakes the same stripes.
#[derive(Clone)]
pub(crate) struct StripeWakers(Arc<Words>);

struct Words {
    words: Box<[Schedule]>,
    scheduler: Arc<Scheduler>,
}

impl StripeWakers {
    pub(crate) fn new(stripes: usize, scheduler: Arc<Scheduler>) -> Self {
        Self(Arc::new(Words {
            words: std::iter::repeat_with(Schedule::new)
                .take(stripes)
                .collect(),
            scheduler,
        }))
    }

    /// Number of stripes.
    pub(crate) fn stripes(&self) -> usize {
        self.0.words.len()
    }

    /// The schedule word of a stripe, for the thread that runs it.
    pub(crate) fn word(&self, stripe: usize) -> &Schedule {
        &self.0.words[stripe]
    }

    /// Makes a stripe run.
    #[inline]
    pub(crate) fn wake(&self, stripe: usize) {
        if self.0.words[stripe].notify() {
            self.requeue(stripe);
        }
    }

    /// Queues a stripe whose activation ended with more to do.
    #[inline]
    pub(crate) fn requeue(&self, stripe: usize) {
        self.0.scheduler.push(Task::stripe(stripe), Slot::Fifo);
    }
}
