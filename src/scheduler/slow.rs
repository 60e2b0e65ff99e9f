//! Handlers that run for long, named while they run.
//!
//! The monitor looks at every worker every few milliseconds. A worker in the same activation of a
//! process, whose count of messages has not changed either, is in the same handler.
//!
//! ```text
//!  none ── another handler ──▶ watched ── the limit is over ──▶ reported ── another, or none ──▶ over
//! ```
//!
//! 1. At the first look at a handler its time begins; it has begun at most one look earlier.
//! 2. When it has run for the limit, less the time between two looks, it is reported. So a
//!    handler that runs 10 % longer than the limit is always reported, and one that ends 10 %
//!    before it never, for limits of 100 ms and more.
//! 3. When the worker goes on the end of a reported handler is reported with its time.

use super::epoch::Epoch;
use super::{Executor, Scheduler};

/// The longest time between two looks at a busy worker, as far as the monitor can keep it.
const LOOK_MS: u64 = 3;

/// The handlers that the workers are in.
pub(super) struct SlowHandlers {
    limit_ms: Option<u64>,
    handlers: Box<[Handler]>,
}

/// The handler that one worker is in.
#[derive(Clone, Copy, Debug, Default)]
struct Handler {
    epoch: Epoch,
    /// Messages that the process had taken in hand.
    progress: u64,
    began_ms: u64,
    is_reported: bool,
}

/// What a look at a worker has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A handler that may become slow.
    Waits,
    Slow {
        ran_ms: u64,
    },
}

impl SlowHandlers {
    /// `None`: nothing is watched.
    pub(super) fn new(workers: usize, limit_ms: Option<u64>) -> Self {
        Self {
            limit_ms,
            handlers: vec![Handler::default(); workers].into(),
        }
    }

    /// Looks at every worker. Returns whether a handler is under way that may become slow: then
    /// the monitor must not sleep.
    pub(super) fn look(&mut self, scheduler: &Scheduler, executor: &dyn Executor) -> bool {
        let Some(limit_ms) = self.limit_ms else {
            return false;
        };
        let now_ms = scheduler.clock.now_ms();
        let mut waits = false;
        for (worker, handler) in scheduler.workers.iter().zip(&mut self.handlers) {
            let epoch = worker.epoch();
            let process = epoch.process();
            let progress = process.map_or(0, |process| executor.progress(process));
            // First the end of the last handler: the look below overwrites what is known about it.
            if let (Some(ran_ms), Some(process)) = (
                handler.take_over(epoch, progress, now_ms),
                handler.epoch.process(),
            ) {
                executor.slow_handler_is_over(process, ran_ms);
            }
            match handler.look(epoch, progress, now_ms, limit_ms) {
                Found::Nothing => {}
                Found::Waits => waits = true,
                Found::Slow { ran_ms } => {
                    if let Some(process) = process {
                        executor.slow_handler(process, ran_ms);
                    }
                }
            }
        }
        waits
    }
}

impl Handler {
    fn is_same(&self, epoch: Epoch, progress: u64) -> bool {
        self.epoch == epoch && self.progress == progress
    }

    /// Returns how long a reported handler has run, once, when the worker has left it.
    fn take_over(&mut self, epoch: Epoch, progress: u64, now_ms: u64) -> Option<u64> {
        if self.is_same(epoch, progress) || !std::mem::take(&mut self.is_reported) {
            return None;
        }
        Some(now_ms - self.began_ms)
    }

    fn look(&mut self, epoch: Epoch, progress: u64, now_ms: u64, limit_ms: u64) -> Found {
        if !self.is_same(epoch, progress) {
            *self = Self {
                epoch,
                progress,
                began_ms: now_ms,
                is_reported: false,
            };
        }
        if !epoch.is_in_process() || self.is_reported {
            return Found::Nothing;
        }
        let ran_ms = now_ms - self.began_ms;
        // The next look may be this much later, when the limit would have passed without a report.
        if ran_ms + LOOK_MS < limit_ms {
            return Found::Waits;
        }
        self.is_reported = true;
        Found::Slow { ran_ms }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::scheduler::Task;

    #[test]
    fn handler_is_reported_once_when_the_limit_is_over_and_once_when_it_is_left() {
        let mut handler = Handler::default();
        let epoch = Epoch::default().enter(Task::process(5));
        assert_eq!(handler.look(epoch, 1, 1_000, 100), Found::Waits);
        assert_eq!(handler.look(epoch, 1, 1_096, 100), Found::Waits);
        assert_eq!(
            handler.look(epoch, 1, 1_097, 100),
            Found::Slow { ran_ms: 97 }
        );
        assert_eq!(handler.take_over(epoch, 1, 1_200), None);
        assert_eq!(handler.look(epoch, 1, 1_200, 100), Found::Nothing);
        assert_eq!(handler.take_over(epoch.leave(), 0, 1_250), Some(250));
        assert_eq!(handler.look(epoch.leave(), 0, 1_250, 100), Found::Nothing);
        assert_eq!(handler.take_over(epoch.leave(), 0, 1_300), None);
    }

    #[test]
    fn activation_of_many_short_handlers_is_not_slow() {
        let mut handler = Handler::default();
        let epoch = Epoch::default().enter(Task::process(5));
        for message in 0..1_000 {
            let found = handler.look(epoch, message, message * 3, 100);
            assert_eq!(found, Found::Waits, "{message}");
        }
    }

    #[test]
    fn stripe_and_a_worker_between_tasks_are_not_watched() {
        let mut handler = Handler::default();
        let stripe = Epoch::default().enter(Task::stripe(0));
        for now_ms in [0, 1_000] {
            assert_eq!(handler.look(stripe, 0, now_ms, 100), Found::Nothing);
            let idle = handler.look(stripe.leave(), 0, now_ms, 100);
            assert_eq!(idle, Found::Nothing);
        }
    }

    #[test]
    fn epoch_names_the_process_that_it_is_in() {
        let epoch = Epoch::default().enter(Task::process(77));
        assert_eq!(epoch.process(), Some(77));
        assert_eq!(epoch.leave().process(), None);
        let next = epoch.leave().enter(Task::process(77));
        assert_ne!(next, epoch);
        assert_eq!(epoch.leave().enter(Task::stripe(3)).process(), None);
    }
}
