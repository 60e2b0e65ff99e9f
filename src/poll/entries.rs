//! The meta-processes of one stripe, by the slot of their alias, each with its timer, its watchers and what it waits
//! for.
//!
//! A slot is free, or holds the entry of one generation. A lookup with an alias of another generation finds nothing, so
//! a stale alias never reaches the meta-process that uses its slot now.
//!
//! The timer of an entry is armed lazily: only an earlier deadline, or none, touches the wheel. A later deadline is
//! remembered, and the timer is armed again when it fires early.
//!
//! This module calls no callback.

use std::collections::HashSet;

use crate::base::order::in_order;
use crate::base::unwind::drop_catching;
use crate::bridge::{TimerEvent, Timers, Watcher};
use crate::id::{Alias, Pid};
use crate::meta::{MetaProcess, Readiness, Waits};
use crate::time::wheel::TimerKey;

/// See the module.
#[derive(Default)]
pub(super) struct Entries(Vec<Option<Entry>>);

/// One meta-process.
pub(super) struct Entry {
    pub(super) meta: Box<dyn MetaProcess>,
    pub(super) parent: Pid,
    generation: u32,
    /// Boxed, because most meta-processes have none.
    timer: Option<Box<ArmedTimer>>,
    watchers: Option<Box<HashSet<Watcher>>>,
    /// The mailboxes that it waits for.
    pub(super) waits: Waits,
    /// Readiness that has not been delivered yet. The alias is in the stripe's queue while there is any.
    pub(super) pending: Readiness,
    /// The alias is in the stripe's list of flushes.
    pub(super) awaits_flush: bool,
    /// The alias is in the stripe's queue of handshake steps.
    pub(super) awaits_step: bool,
    /// When it was spawned, in tenths of a second on the node's clock.
    born_ds: u32,
    /// The timer has fired, and its callback has not run.
    pub(super) timer_is_due: bool,
}

/// A timer in the wheel.
struct ArmedTimer {
    armed_ms: u64,
    /// At or after `armed_ms`.
    deadline_ms: u64,
    key: TimerKey,
}

impl Entries {
    /// Puts a meta-process into the slot of its alias, which must be free.
    pub(super) fn insert(
        &mut self,
        alias: Alias,
        parent: Pid,
        meta: Box<dyn MetaProcess>,
        now_ms: u64,
    ) {
        let slot = alias.slot() as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        debug_assert!(
            self.0[slot].is_none(),
            "a slot is allocated after it was freed"
        );
        self.0[slot] = Some(Entry {
            meta,
            parent,
            generation: alias.generation(),
            timer: None,
            watchers: None,
            waits: Waits::default(),
            pending: Readiness::default(),
            awaits_flush: false,
            awaits_step: false,
            born_ds: (now_ms / 100) as u32, // 13 years
            timer_is_due: false,
        });
    }

    /// Returns the entry of a live meta-process.
    #[inline]
    pub(super) fn get_mut(&mut self, alias: Alias) -> Option<&mut Entry> {
        self.0
            .get_mut(alias.slot() as usize)?
            .as_mut()
            .filter(|entry| entry.generation == alias.generation())
    }

    /// Frees the slot of a live meta-process.
    pub(super) fn remove(&mut self, alias: Alias) -> Option<Entry> {
        self.0
            .get_mut(alias.slot() as usize)?
            .take_if(|entry| entry.generation == alias.generation())
    }

    /// Returns the aliases of all live meta-processes, in the order of their slots.
    pub(super) fn aliases(&self, stripe: usize) -> Vec<Alias> {
        let alias = |(slot, entry): (usize, &Option<Entry>)| {
            Some(Alias::new(stripe, slot as u32, entry.as_ref()?.generation))
        };
        self.0.iter().enumerate().filter_map(alias).collect()
    }
}

impl Entry {
    /// How long it has lived, to a tenth of a second.
    pub(super) fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(u64::from(self.born_ds) * 100)
    }

    /// Replaces the meta-process; alias, quota, watchers and timer stay.
    #[cold]
    pub(super) fn become_meta(&mut self, successor: Box<dyn MetaProcess>) {
        drop_catching(std::mem::replace(&mut self.meta, successor));
    }

    // ---- The timer ----

    /// Arms the timer for `deadline_ms`, moves it there, or cancels it if that is `u64::MAX`.
    #[inline]
    pub(super) fn set_timer(&mut self, alias: Alias, deadline_ms: u64, timers: &Timers) {
        match &mut self.timer {
            None if deadline_ms == u64::MAX => {}
            // The wheel is left as it is: most deadlines move further away with each read or write, and the timer that
            // fires too early is armed again once.
            Some(timer) if timer.armed_ms <= deadline_ms && deadline_ms != u64::MAX => {
                timer.deadline_ms = deadline_ms;
            }
            _ => self.rearm(alias, deadline_ms, timers),
        }
    }

    fn rearm(&mut self, alias: Alias, deadline_ms: u64, timers: &Timers) {
        self.cancel_timer(timers);
        if deadline_ms != u64::MAX {
            let key = timers.at(deadline_ms, TimerEvent::Meta(alias, deadline_ms));
            self.timer = Some(Box::new(ArmedTimer {
                armed_ms: deadline_ms,
                deadline_ms,
                key,
            }));
        }
    }

    pub(super) fn cancel_timer(&mut self, timers: &Timers) {
        if let Some(timer) = self.timer.take() {
            timers.cancel(timer.key);
        }
    }

    /// Takes the expiry of the timer that was armed for `armed_ms`, and returns whether its deadline has come by
    /// `now_ms`. A timer whose deadline was moved is armed again; the expiry of one that was replaced means nothing.
    pub(super) fn timer_fired(
        &mut self,
        alias: Alias,
        armed_ms: u64,
        now_ms: u64,
        timers: &Timers,
    ) -> bool {
        // An expiry that was on its way when the timer was replaced names the earlier deadline, and is ignored.
        let Some(timer) = self.timer.take_if(|timer| timer.armed_ms == armed_ms) else {
            return false;
        };
        // `now_ms` is from the beginning of the activation, before which the timer may not have been due: its own time
        // counts then.
        let is_early = timer.deadline_ms > now_ms.max(armed_ms);
        if is_early {
            self.rearm(alias, timer.deadline_ms, timers);
        }
        !is_early
    }

    // ---- Watchers ----

    pub(super) fn watch(&mut self, watcher: Watcher) {
        self.watchers.get_or_insert_default().insert(watcher);
    }

    pub(super) fn unwatch(&mut self, watcher: &Watcher) {
        if let Some(watchers) = &mut self.watchers {
            watchers.remove(watcher);
            if watchers.is_empty() {
                self.watchers = None;
            }
        }
    }

    pub(super) fn take_watchers(&mut self) -> Vec<Watcher> {
        let watchers = self.watchers.take();
        watchers.map_or_else(Vec::new, |watchers| in_order(*watchers))
    }
}
