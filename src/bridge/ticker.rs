//! A timer that fires at a fixed rate: [`Ticker`], and [`Tick`], one of its ticks on the way to the receiver.
//!
//! Tick `n` is due at the start plus `n` intervals, whatever became of the ticks before it, so that delays do not add
//! up. At most one tick of a ticker is on its way. A tick that is due while the one before it has not been handled is
//! missed, and so are those that the poller comes too late for: they are counted and not made up for.
//!
//! ```text
//!             1 expire                2 take, drop
//!  Waiting ─────────────▶ Underway ─────────────────▶ Waiting
//!     │                    │  ▲ 1 expire: missed         │
//!     └──── 3 cancel ──────┴──┘──▶ Ended ◀───────────────┘
//! ```
//!
//! 1. `expire`, in the turn of the poller: the next tick is armed, and this one is due or missed.
//! 2. `take`, by the receiver's worker: it makes the message. A tick that is dropped is missed.
//! 3. `cancel`: nothing comes any more, not even the tick that is on its way.
//!
//! All transitions are made under one mutex, so that there is no atomic protocol to model; what makes the message has a
//! mutex of its own, which is taken when the other is free, because it is held while code of the user runs.
//!
//! The message is made where it is handled, because that runs code of the user. This module does not deliver.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{TimerEvent, Timers};
use crate::base::sync::Mutex;
use crate::id::{Pid, Ref, Target};
use crate::message::{Message, MessageType};
use crate::time::wheel::TimerKey;

const NS_PER_MS: u64 = 1_000_000;

/// Makes the message of a tick.
pub(crate) type MakeTick = Box<dyn FnMut() -> Message + Send>;

/// See the module.
pub(crate) struct Ticker {
    pub(crate) id: Ref,
    pub(crate) from: Pid,
    pub(crate) to: Target,
    message_type: MessageType,
    rate: Rate,
    state: Mutex<TickerState>,
    make: Mutex<MakeTick>,
}

/// When ticks are due, in nanoseconds of the node's clock.
#[derive(Clone, Copy, Debug)]
struct Rate {
    start_ns: u64,
    interval_ns: u64,
}

#[derive(Debug)]
struct TickerState {
    phase: TickPhase,
    /// The tick that is armed.
    next: u64,
    missed: u64,
    key: Option<TimerKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TickPhase {
    Waiting,
    Underway,
    Ended,
}

/// What a tick has become.
#[derive(Debug)]
pub(crate) enum Expiry {
    /// It is to be delivered.
    Due(Tick),
    Missed,
    /// The ticker was canceled.
    Ended,
}

impl Rate {
    /// When tick `number` is due, in milliseconds, rounded up so that none comes early.
    fn deadline_ms(self, number: u64) -> u64 {
        let due_ns = self
            .start_ns
            .saturating_add(self.interval_ns.saturating_mul(number));
        due_ns.div_ceil(NS_PER_MS)
    }

    /// The last tick that is due by `now_ns`.
    fn latest(self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.start_ns) / self.interval_ns
    }
}

impl Ticker {
    /// A ticker that begins now. `interval` is not zero.
    pub(crate) fn start(
        timers: &Timers,
        id: Ref,
        (from, to): (Pid, Target),
        interval: Duration,
        (message_type, make): (MessageType, MakeTick),
    ) -> Arc<Self> {
        let rate = Rate {
            start_ns: timers.clock().now_ns(),
            interval_ns: u64::try_from(interval.as_nanos())
                .unwrap_or(u64::MAX)
                // `Rate::latest` divides by it.
                .max(1),
        };
        let state = TickerState {
            phase: TickPhase::Waiting,
            next: 1,
            missed: 0,
            key: None,
        };
        let ticker = Arc::new(Self {
            id,
            from,
            to,
            message_type,
            rate,
            state: Mutex::new(state),
            make: Mutex::new(make),
        });
        // Locked until the key is known, so that the first tick finds it.
        let mut state = ticker.state.lock();
        let event = TimerEvent::Tick(Arc::clone(&ticker));
        state.key = Some(timers.at(rate.deadline_ms(1), event));
        drop(state);
        ticker
    }

    /// Transition 1.
    pub(crate) fn expire(self: &Arc<Self>, timers: &Timers) -> Expiry {
        let now_ns = timers.clock().now_ns();
        let mut state = self.state.lock();
        // Canceled while the event was on its way from the wheel.
        if state.phase == TickPhase::Ended {
            return Expiry::Ended;
        }
        let is_due = state.expire(self.rate.latest(now_ns));
        let event = TimerEvent::Tick(Arc::clone(self));
        state.key = Some(timers.at(self.rate.deadline_ms(state.next), event));
        if is_due {
            Expiry::Due(Tick(Some(Arc::clone(self))))
        } else {
            Expiry::Missed
        }
    }

    /// Transition 3. Returns `false` if it had ended before, and what the wheel held of it, which is to be dropped
    /// where code of the user may run.
    pub(crate) fn cancel(&self, timers: &Timers) -> (bool, Option<TimerEvent>) {
        let mut state = self.state.lock();
        let was_live = std::mem::replace(&mut state.phase, TickPhase::Ended) != TickPhase::Ended;
        let held = state.key.take().and_then(|key| timers.cancel(key));
        (was_live, held)
    }

    /// The type of its messages.
    pub(crate) fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// The time between two ticks.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_nanos(self.rate.interval_ns)
    }

    /// Ticks that were missed.
    pub(crate) fn missed(&self) -> u64 {
        self.state.lock().missed
    }
}

impl TickerState {
    /// The armed tick has expired, and `latest` is the last one that is due. Returns whether it is to be delivered.
    fn expire(&mut self, latest: u64) -> bool {
        // At least the tick that was armed: the clock of the wheel is coarser than the rate.
        let latest = latest.max(self.next);
        self.missed += latest - self.next;
        self.next = latest.saturating_add(1);
        // Two on their way would be a queue of ticks that mean the same.
        if self.phase == TickPhase::Underway {
            self.missed += 1;
            return false;
        }
        self.phase = TickPhase::Underway;
        true
    }

    /// Transition 2. Returns whether the tick counts.
    fn finish(&mut self) -> bool {
        let is_underway = self.phase == TickPhase::Underway;
        if is_underway {
            self.phase = TickPhase::Waiting;
        }
        is_underway
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker")
            .field("to", &self.to)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// A tick on its way. Dropped, it was missed.
#[derive(Debug)]
pub(crate) struct Tick(Option<Arc<Ticker>>);

impl Tick {
    /// The message, unless the ticker has been canceled meanwhile. Runs code of the user.
    pub(crate) fn take(mut self) -> Option<Message> {
        let ticker = self.0.take()?;
        // The lock of the state is free again while `make` runs: it is code of the user, which may cancel this ticker.
        let is_wanted = ticker.state.lock().finish();
        is_wanted.then(|| (ticker.make.lock())())
    }

    /// The type of the message.
    pub(crate) fn message_type(&self) -> MessageType {
        self.0
            .as_ref()
            .map_or(MessageType::NONE, |ticker| ticker.message_type)
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        if let Some(ticker) = self.0.take() {
            let mut state = ticker.state.lock();
            // A tick of a ticker that was canceled is not missed.
            if state.finish() {
                state.missed += 1;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn state() -> TickerState {
        TickerState {
            phase: TickPhase::Waiting,
            next: 1,
            missed: 0,
            key: None,
        }
    }

    #[test]
    fn deadlines_lie_on_the_grid_however_late_a_tick_is() {
        let rate = Rate {
            start_ns: 300,
            interval_ns: 16_666_667,
        };
        let mut state = state();
        // Each tick is looked at up to one interval late, and none is missed.
        for number in 1..=10_000 {
            assert_eq!(state.next, number);
            let due_ns = rate.deadline_ms(number) * NS_PER_MS;
            let late_ns = number * 7_919 % (rate.interval_ns - NS_PER_MS);
            assert!(state.expire(rate.latest(due_ns + late_ns)));
            assert!(state.finish());
        }
        assert_eq!(state.missed, 0);
        // 10,000 intervals of 1/60 s, to the millisecond.
        assert_eq!(rate.deadline_ms(10_000), 166_667);
    }

    #[test]
    fn ticks_that_come_too_late_are_counted_and_the_grid_stays() {
        let rate = Rate {
            start_ns: 0,
            interval_ns: 10 * NS_PER_MS,
        };
        let mut state = state();
        assert!(state.expire(rate.latest(35 * NS_PER_MS)));
        assert_eq!((state.next, state.missed), (4, 2));
        assert_eq!(rate.deadline_ms(state.next), 40);
    }

    #[test]
    fn tick_that_is_due_before_the_last_was_handled_is_missed() {
        let mut state = state();
        assert!(state.expire(1));
        assert!(!state.expire(2));
        assert!(!state.expire(3));
        assert!(state.finish());
        assert!(state.expire(4));
        assert_eq!(state.missed, 2);
    }

    #[test]
    fn tick_behind_a_cancel_does_not_count() {
        let mut state = state();
        assert!(state.expire(1));
        state.phase = TickPhase::Ended;
        assert!(!state.finish());
        assert_eq!(state.phase, TickPhase::Ended);
    }
}
