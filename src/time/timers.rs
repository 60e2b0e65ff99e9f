//! Timers of a node: one wheel under a lock, and the hand-over to the poller.
//!
//! 1. The poller asks [`Timers::sleep`]: the next deadline is read and *published as its waking time* in one
//!    locked step; then it blocks until then.
//! 2. A thread that inserts an earlier deadline sees the published time in the same locked step and wakes the poller.
//! 3. Back from the poll, [`Timers::expired`] withdraws the published time and takes what is due.
//!
//! Bad interleaving: the poller reads the next deadline (none), a timer is set, its setter sees no poller asleep, the
//! poller blocks for ever. Excluded because reading the deadline and publishing the sleep are one critical section, and
//! so are inserting and looking (`loom_no_timer_is_slept_through` fails when they are split).

use std::task::Waker;
use std::time::Duration;

use crate::base::sync::Mutex;
use crate::time::clock::Clock;
use crate::time::wheel::{TimerKey, Wheel};

/// See the module.
pub(crate) struct Timers<T> {
    clock: Clock,
    state: Mutex<TimersState<T>>,
    /// Ends a blocking poll.
    interrupt: Waker,
}

struct TimersState<T> {
    wheel: Wheel<T>,
    /// The poller sleeps until then; `None` while it is awake.
    sleeps_until_ms: Option<u64>,
}

impl<T> TimersState<T> {
    fn new() -> Self {
        Self {
            wheel: Wheel::new(),
            sleeps_until_ms: None,
        }
    }

    /// Inserts; whether the poller must be woken.
    fn insert(&mut self, deadline_ms: u64, item: T) -> (TimerKey, bool) {
        let key = self.wheel.insert(deadline_ms, item);
        let wake = self
            .sleeps_until_ms
            // A later deadline does not matter to the poller: it looks at the wheel when it is back.
            .is_some_and(|until_ms| deadline_ms < until_ms);
        // One wake is enough: until the poller is back, further timers find it awake.
        if wake {
            self.sleeps_until_ms = None;
        }
        (key, wake)
    }

    fn sleep_until(&mut self) -> u64 {
        // The end of time stands for no deadline, so that each one is earlier and wakes the poller.
        let until_ms = self.wheel.next_deadline().unwrap_or(u64::MAX);
        self.sleeps_until_ms = Some(until_ms);
        until_ms
    }
}

impl<T> Timers<T> {
    /// `interrupt` ends a blocking poll.
    pub(crate) fn new(clock: Clock, interrupt: Waker) -> Self {
        Self {
            clock,
            state: Mutex::new(TimersState::new()),
            interrupt,
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Lets `item` fire after `delay`, never earlier.
    pub(crate) fn after(&self, delay: Duration, item: T) -> TimerKey {
        self.at(self.clock.deadline_ms(delay), item)
    }

    /// Lets `item` fire at that time.
    pub(crate) fn at(&self, deadline_ms: u64, item: T) -> TimerKey {
        let (key, wake) = self.state.lock().insert(deadline_ms, item);
        // The lock is free by now, because the poller takes it as soon as it is back.
        if wake {
            self.interrupt.wake_by_ref();
        }
        key
    }

    /// Takes the timer back, if it has not fired.
    pub(crate) fn cancel(&self, key: TimerKey) -> Option<T> {
        self.state.lock().wheel.cancel(key)
    }

    /// Appends those of `keys` that have neither fired nor been canceled.
    pub(crate) fn append_pending(&self, keys: &[TimerKey], pending: &mut Vec<TimerKey>) {
        let state = self.state.lock();
        pending.extend(keys.iter().filter(|key| state.wheel.contains(**key)));
    }

    /// Milliseconds that the poller may block, `None` for ever. Must be followed by [`Timers::expired`].
    pub(crate) fn sleep(&self) -> Option<u64> {
        let until_ms = self.state.lock().sleep_until();
        (until_ms != u64::MAX).then(|| until_ms.saturating_sub(self.clock.now_ms()))
    }

    /// The next deadline, or a time before it at which the wheel has work.
    #[cfg(feature = "testing")]
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.state.lock().wheel.next_deadline()
    }

    /// Takes out what is due at `now_ms`, as [`Timers::expired`] does, unless `is_behind` and something may be due.
    /// Then it takes nothing and returns `true`.
    pub(crate) fn expired_unless_behind(
        &self,
        now_ms: u64,
        is_behind: bool,
        expired: &mut Vec<T>,
    ) -> bool {
        let mut state = self.state.lock();
        if is_behind
            && state
                .wheel
                .next_deadline()
                .is_some_and(|next_ms| next_ms <= now_ms)
        {
            // The published time stays: the caller polls once more, without waiting, and comes to `expired`.
            return true;
        }
        // The poller is awake: who sets a timer now need not wake it.
        state.sleeps_until_ms = None;
        state.wheel.advance(now_ms, expired);
        false
    }

    /// Takes out what is due at `now_ms`.
    pub(crate) fn expired(&self, now_ms: u64, expired: &mut Vec<T>) {
        let mut state = self.state.lock();
        state.sleeps_until_ms = None;
        state.wheel.advance(now_ms, expired);
    }

    /// Takes out everything, at the end of the node.
    pub(crate) fn take_all(&self) -> Vec<T> {
        let mut all = Vec::new();
        // At the last time everything is due.
        self.state.lock().wheel.advance(u64::MAX, &mut all);
        all
    }

    /// Shows timers as [`Wheel::look`] does. `show` runs under the lock and must not set or cancel a timer.
    pub(crate) fn look(
        &self,
        first: usize,
        places: usize,
        show: impl FnMut(u64, &T),
    ) -> Option<usize> {
        self.state.lock().wheel.look(first, places, show)
    }

    /// Timers that are set.
    pub(crate) fn pending(&self) -> usize {
        self.state.lock().wheel.len()
    }
}

impl<T> std::fmt::Debug for Timers<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers")
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::base::sync::atomic::{AtomicBool, Ordering};
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_no_timer_is_slept_through() {
        loom::model(|| {
            let state = Arc::new(Mutex::new(TimersState::<u8>::new()));
            let woken = Arc::new(AtomicBool::new(false));
            let setter = {
                let (state, woken) = (Arc::clone(&state), Arc::clone(&woken));
                thread::spawn(move || {
                    let (_, wake) = state.lock().insert(10, 0);
                    if wake {
                        woken.store(true, Ordering::Relaxed);
                    }
                })
            };
            let until_ms = state.lock().sleep_until();
            setter.join().expect("no panic");
            assert!(
                until_ms == 10 || woken.load(Ordering::Relaxed),
                "sleeps past a timer"
            );
        });
    }
}
