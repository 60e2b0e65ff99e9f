//! Who may lock the stage of a cell besides the worker that runs it: [`Looks`].
//!
//! A list of supervisors or pools copies fields of a behavior under the lock of its cell, between two activations. When
//! the workers have ended, the thread that stops the node takes what is left out of the cells, and passes over one that
//! is locked, because a handler that does not return holds it.
//!
//! Bad interleaving: a list locks an idle cell; the stopping thread comes to the cell, finds it locked and passes over
//! it; the list unlocks it. No worker will run the process and no thread ends it, so its state is never dropped.
//! Excluded: a list holds the lock of the looks around that of the cell, and the stopping thread holds the former while
//! it goes through all cells, so that it meets locks of workers only
//! (`loom_stage_that_a_list_looks_at_is_taken_at_the_end` fails without it).

use crate::base::sync::Mutex;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<()>);

impl Looks {
    /// Lets `look` see a stage that no worker has locked; `look` is short, because a worker that comes meanwhile waits.
    pub(super) fn look<S, R>(
        &self,
        stage: &Mutex<S>,
        look: impl FnOnce(&S) -> Option<R>,
    ) -> Option<R> {
        let _looks = self.0.lock();
        // Without waiting, because a worker that holds the lock is in a handler.
        look(&*stage.try_lock()?)
    }

    /// Takes what is in the stages that no worker has locked, where it `is_left`. The caller drops it without this
    /// lock, because that may look at the node.
    pub(super) fn take_all<'a, C, S: Default + 'a>(
        &self,
        stages: impl Iterator<Item = (C, &'a Mutex<S>)>,
        is_left: impl Fn(&S) -> bool,
    ) -> Vec<(C, S)> {
        let _looks = self.0.lock();
        let take = |(cell, stage): (C, &Mutex<S>)| {
            let mut stage = stage.try_lock()?;
            is_left(&*stage).then(|| (cell, std::mem::take(&mut *stage)))
        };
        stages.filter_map(take).collect()
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::base::sync::atomic::{AtomicBool, Ordering};
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_stage_that_a_list_looks_at_is_taken_at_the_end() {
        loom::model(|| {
            let shared = Arc::new((Looks::default(), Mutex::new(Some(7))));
            // loom does not explore `try_lock` by itself: this makes it stop a thread in the middle of the look.
            let looks = Arc::new(AtomicBool::new(false));
            let list = {
                let (shared, looks) = (Arc::clone(&shared), Arc::clone(&looks));
                let look = move |stage: &Option<i32>| {
                    looks.store(true, Ordering::Relaxed);
                    thread::yield_now();
                    *stage
                };
                thread::spawn(move || shared.0.look(&shared.1, look))
            };
            looks.load(Ordering::Relaxed);
            let taken = shared.0.take_all([((), &shared.1)].into_iter(), |_| true);
            assert_eq!(taken, [((), Some(7))], "the process would never end");
            let seen = list.join().expect("no panic");
            assert!(seen.is_none_or(|seen| seen == 7));
        });
    }

    /// A handler that does not return holds its cell, and the end of the node does not wait for it.
    #[test]
    fn loom_stage_of_a_stuck_worker_is_passed_over() {
        loom::model(|| {
            let shared = Arc::new((Looks::default(), Mutex::new(Some(7))));
            let stuck = shared.1.lock();
            let list = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.0.look(&shared.1, |stage| *stage))
            };
            assert!(
                shared
                    .0
                    .take_all([((), &shared.1)].into_iter(), |_| true)
                    .is_empty()
            );
            assert_eq!(list.join().expect("no panic"), None);
            drop(stuck);
        });
    }
}
