//! Timers that send messages, and whose they are.
//!
//! A timer belongs to the process that set it, or to the node, and is canceled at its owner's end, behind `terminate`.
//! A process keeps the keys of its timers. The wheel does not report to it which of them have fired, so the list is
//! searched for those that have when it is twice as long as after the last search: a step for each timer that is set,
//! spread out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Processes;
use super::envelope::Payload;
use super::lifecycle::ProcessContext;
use crate::base::order::in_order;
use crate::base::sync::Mutex;
use crate::base::unwind::drop_catching;
use crate::bridge::{Command, Deliver, Expiry, MakeTick, Tick, Ticker, TimerEvent, TimerId};
use crate::error::ConfigError;
use crate::id::{Pid, Ref, Target};
use crate::message::{Message, MessageType};
use crate::scheduler::Slot;
use crate::time::wheel::TimerKey;

/// Keys that are kept without a search.
const FEW: usize = 16;
/// Keys that are searched while the wheel is locked.
const SEARCHED: usize = 1_024;

/// The tickers of a node.
pub(super) type Tickers = Mutex<HashMap<Ref, Arc<Ticker>>>;

/// The timers that a process has set, and some that have fired since.
#[derive(Debug, Default)]
pub(super) struct OwnedTimers {
    once: Vec<TimerKey>,
    every: HashSet<Ref>,
    /// The length of `once` at which it is searched.
    search_at: usize,
}

impl OwnedTimers {
    pub(super) fn add(&mut self, id: TimerId, processes: &Processes) {
        match id {
            TimerId::Every(id) => {
                self.every.insert(id);
            }
            TimerId::Once(key) => {
                if self.once.len() >= self.search_at.max(FEW) {
                    self.once = processes.pending(&self.once);
                    self.search_at = self.once.len() * 2;
                }
                self.once.push(key);
            }
        }
    }

    /// Removes a timer, if it is quickly found: a key that stays is stale. Returns whether none is left.
    pub(super) fn remove(&mut self, id: TimerId) -> bool {
        match id {
            TimerId::Every(id) => {
                self.every.remove(&id);
            }
            TimerId::Once(key) => {
                // The timer that was set last is the one that is canceled most often. A search for others would cost
                // more than their stale keys.
                self.once.pop_if(|last| *last == key);
            }
        }
        self.once.is_empty() && self.every.is_empty()
    }

    pub(super) fn cancel_all(self, processes: &Processes) {
        for key in self.once {
            processes.cancel_timer(TimerId::Once(key));
        }
        for id in in_order(self.every) {
            processes.cancel_timer(TimerId::Every(id));
        }
    }
}

impl Processes {
    /// Those of `keys` that have not fired.
    fn pending(&self, keys: &[TimerKey]) -> Vec<TimerKey> {
        let mut pending = Vec::new();
        for keys in keys.chunks(SEARCHED) {
            self.timers.append_pending(keys, &mut pending);
        }
        pending
    }

    /// Sends a message after `delay`.
    pub(crate) fn send_after(
        &self,
        (from, to): (Pid, Target),
        message: Message,
        delay: Duration,
    ) -> TimerId {
        let event = TimerEvent::Send { to, from, message };
        TimerId::Once(self.timers.after(delay, event))
    }

    /// Sends a message at a fixed rate, the first after one interval.
    pub(crate) fn send_every(
        &self,
        ends: (Pid, Target),
        interval: Duration,
        message: (MessageType, MakeTick),
    ) -> Result<TimerId, ConfigError> {
        if interval < Duration::from_millis(1) {
            let problem = "must be at least a millisecond, the resolution of timers";
            return Err(ConfigError::new("interval", problem));
        }
        let id = self.next_ref();
        // Held until the ticker is in the map, because its first tick may come at once and take it out again.
        let mut tickers = self.tickers.lock();
        let ticker = Ticker::start(&self.timers, id, ends, interval, message);
        tickers.insert(id, ticker);
        Ok(TimerId::Every(id))
    }

    /// Takes a timer back. Returns `false` if it has fired for the last time.
    pub(crate) fn cancel_timer(&self, id: TimerId) -> bool {
        match id {
            TimerId::Once(key) => {
                let event = self.timers.cancel(key);
                let was_pending = event.is_some();
                // A message of the program, whose drop may panic.
                drop_catching(event);
                was_pending
            }
            TimerId::Every(id) => {
                let ticker = self.tickers.lock().remove(&id);
                let Some(ticker) = ticker else { return false };
                let (was_live, event) = ticker.cancel(&self.timers);
                drop_catching((ticker, event));
                was_live
            }
        }
    }

    /// Ticks of a timer that were missed; 0 for one that is gone, or fires once.
    pub(crate) fn missed_ticks(&self, id: TimerId) -> u64 {
        let TimerId::Every(id) = id else { return 0 };
        // Under the lock: a last share that is dropped here would run code of the user.
        let tickers = self.tickers.lock();
        tickers.get(&id).map_or(0, |ticker| ticker.missed())
    }

    /// A ticker has expired. Runs no code of the user.
    pub(super) fn tick(&self, ticker: Arc<Ticker>) {
        let to = self.receiver(&ticker.to);
        let expiry = match to {
            // A pid or an alias is never used again: no tick would arrive any more.
            None => {
                ticker.cancel(&self.timers);
                self.tickers.lock().remove(&ticker.id);
                Expiry::Ended
            }
            Some(_) => ticker.expire(&self.timers),
        };
        if let (Expiry::Due(tick), Some(to)) = (expiry, to) {
            self.deliver_tick(ticker.from, to, tick);
        }
        if let Some(last) = Arc::into_inner(ticker) {
            // What it makes messages of is a value of the user.
            let last = Message::new(last).into();
            self.commands.push(0, Command::Discard(last));
        }
    }

    /// Where a tick goes: `Some(None)` if the name has no holder now, `None` if the receiver has ended.
    fn receiver(&self, to: &Target) -> Option<Option<Target>> {
        match to {
            Target::Pid(pid) => self.is_alive(*pid).then(|| Some(to.clone())),
            Target::Alias(alias) => self.commands.is_live(*alias).then(|| Some(to.clone())),
            Target::Name(name) => Some(self.resolve(name).map(Target::Pid)),
            Target::Event(_) => None,
        }
    }

    /// A tick that is refused is dropped, and so it was missed.
    fn deliver_tick(&self, from: Pid, to: Option<Target>, tick: Tick) {
        match to {
            Some(Target::Pid(pid)) => {
                // The caller holds the poll.
                let pushed = self.push_deferred(pid, from, Payload::Tick(tick), Slot::Lifo);
                drop(pushed);
            }
            Some(Target::Alias(to)) => {
                let command = Command::Tick { to, from, tick };
                self.commands.push(to.stripe(), command);
            }
            Some(Target::Name(_) | Target::Event(_)) | None => drop(tick),
        }
    }

    /// Drops the tickers that are left, at the end of the node.
    pub(crate) fn drop_tickers(&self) {
        // The map is unlocked first: what makes the messages is a value of the user, whose drop may call the node.
        let tickers = std::mem::take(&mut *self.tickers.lock());
        tickers.into_values().for_each(drop_catching);
    }
}

impl ProcessContext<'_> {
    /// Sends a message to this process after a delay, which its full mailbox does not refuse.
    pub(crate) fn control_after(&mut self, message: Message, delay: Duration) -> TimerId {
        let to = self.control.pid;
        let event = TimerEvent::Control { to, message };
        let id = TimerId::Once(self.processes.timers.after(delay, event));
        self.control.own_timer(id, self.processes);
        id
    }

    pub(crate) fn send_after(&mut self, to: Target, message: Message, delay: Duration) -> TimerId {
        let id = self
            .processes
            .send_after((self.control.pid, to), message, delay);
        self.control.own_timer(id, self.processes);
        id
    }

    pub(crate) fn send_every(
        &mut self,
        to: Target,
        interval: Duration,
        message: (MessageType, MakeTick),
    ) -> Result<TimerId, ConfigError> {
        let ends = (self.control.pid, to);
        let id = self.processes.send_every(ends, interval, message)?;
        self.control.own_timer(id, self.processes);
        Ok(id)
    }

    pub(crate) fn cancel_timer(&mut self, id: TimerId) -> bool {
        self.control.forget_timer(id);
        self.processes.cancel_timer(id)
    }
}
