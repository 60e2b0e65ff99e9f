//! How a callback runs: with a context, behind a catch of panics, and with its requested actions applied.

use std::any::Any;

use super::{Run, StopPhase};
use crate::base::unwind::{catch_panic, drop_catching};
use crate::error::Reason;
use crate::id::{Alias, Target};
use crate::meta::{Actions, Again, MetaContext, MetaProcess, Readiness};
use crate::poll::entries::Entry;
use crate::poll::records::{Cause, record_end, report_failed_init};

impl Run<'_> {
    /// Runs a callback outside part 2. A request to be called again, however urgent, is queued behind the others.
    #[inline]
    pub(super) fn call(
        &mut self,
        alias: Alias,
        callback: impl FnOnce(&mut dyn MetaProcess, &mut MetaContext<'_>) -> Result<(), Reason>,
    ) {
        self.call_after(alias, |_| {}, |meta, cx, ()| callback(meta, cx));
    }

    /// The same after `prepare` has changed the entry.
    #[inline]
    pub(super) fn call_after<P>(
        &mut self,
        alias: Alias,
        prepare: impl FnOnce(&mut Entry) -> P,
        callback: impl FnOnce(&mut dyn MetaProcess, &mut MetaContext<'_>, P) -> Result<(), Reason>,
    ) {
        if self.run_callback(alias, prepare, callback) != Again::No {
            self.queue(alias, Readiness::AGAIN);
        }
    }

    /// Runs a callback with what `prepare` makes of the entry, applies its requested actions, and terminates the
    /// meta-process on an error or a panic. Returns whether it is to be called again. A stale alias drops the callback.
    // The entry is looked up once for both.
    #[inline]
    pub(super) fn run_callback<P>(
        &mut self,
        alias: Alias,
        prepare: impl FnOnce(&mut Entry) -> P,
        callback: impl FnOnce(&mut dyn MetaProcess, &mut MetaContext<'_>, P) -> Result<(), Reason>,
    ) -> Again {
        let services = self.services;
        let inner = &mut *self.inner;
        let Some(entry) = inner.entries.get_mut(alias) else {
            // The closure may own a message, whose drop is code of the user.
            drop_catching(callback);
            return Again::No;
        };
        let prepared = prepare(entry);
        let (waits, scratch) = (&mut entry.waits, &mut inner.scratch);
        let mut cx = MetaContext::new(services, alias, entry.parent, waits, scratch);
        cx.now_ms = self.now_ms;
        cx.read_budget = self.read_budget;
        cx.offload = self.offload;
        // The reason stays out of the result, so that a result without a failure needs no drop.
        let failure = &mut self.failure;
        let outcome = catch_panic(|| match callback(&mut *entry.meta, &mut cx, prepared) {
            Ok(()) => true,
            Err(reason) => {
                *failure = Some(reason);
                false
            }
        });
        self.read_budget = cx.read_budget;
        // A connection moves to its session when it is established.
        entry.parent = cx.parent;
        let Actions {
            again,
            flush,
            handshake_step,
            deadline_ms,
            successor,
        } = cx.actions;
        // Before the outcome is looked at: after a failure it is the successor whose `terminate` runs.
        if let Some(successor) = successor {
            entry.become_meta(successor);
        }
        if !matches!(outcome, Ok(true)) {
            self.end_after(alias, outcome.err());
            return Again::No;
        }
        if flush && !std::mem::replace(&mut entry.awaits_flush, true) {
            inner.flush.push(alias);
        }
        // A timer that has fired and waits for its callback stays due, unless the new deadline is later.
        if deadline_ms != Actions::KEEP && !(entry.timer_is_due && deadline_ms <= self.now_ms) {
            entry.timer_is_due = false;
            entry.set_timer(alias, deadline_ms, &services.timers);
        }
        if handshake_step {
            self.queue_step(alias);
        }
        again
    }

    /// Queues a meta-process that has a moderate handshake step to compute.
    #[cold]
    fn queue_step(&mut self, alias: Alias) {
        if let Some(entry) = self.inner.entries.get_mut(alias)
            && !std::mem::replace(&mut entry.awaits_step, true)
        {
            self.inner.steps.push_back(alias);
            // The place that was just taken may have been the last one.
            self.offload = self.inner.offload();
        }
    }

    /// Terminates a meta-process whose callback has failed.
    #[cold]
    pub(super) fn end_after(&mut self, alias: Alias, panic: Option<Box<dyn Any + Send>>) {
        let (reason, has_panicked) = match panic {
            None => (self.failure.take().unwrap_or(Reason::Normal), false),
            Some(payload) => {
                // Discard the read buffer: it may hold another connection's bytes.
                self.inner.scratch.clear();
                let reason = Reason::from_panic(&*payload);
                drop_catching(payload);
                (reason, true)
            }
        };
        let cause = Cause {
            handling: self.handling,
            has_panicked,
            is_signaled: self.is_signaled,
            now_ms: self.now_ms,
        };
        if let Some(entry) = self.inner.entries.get_mut(alias) {
            record_end(self.services, alias, entry, &reason, cause);
            // The spawn has returned an alias already, so this is the only way in which the parent learns of it.
            if self.is_starting && !entry.meta.reports_end() {
                report_failed_init(self.services, alias, entry, &reason);
            }
        }
        self.end(alias, &reason);
    }

    /// Terminates a meta-process.
    pub(super) fn end(&mut self, alias: Alias, reason: &Reason) {
        // Out of its slot first: no callback runs from here on, whatever the calls below lead to.
        let Some(mut entry) = self.inner.entries.remove(alias) else {
            return;
        };
        let services = self.services;
        entry.cancel_timer(&services.timers);
        // The alias is stale before `terminate` runs, so that no sender adds to what has been counted as unsent.
        let unsent = services.commands.invalidate(alias) as u64;
        // By its own deadline or by that of the stop, which of them came first. What a connection has not sent is
        // counted; one that waits for its peer's end only has sent everything.
        let is_cut_off = unsent > 0 || (*reason == Reason::Kill && !entry.meta.reports_end());
        if is_cut_off && matches!(self.inner.phase, StopPhase::Finishing) {
            services.commands.count_unflushed();
        }
        let (waits, scratch) = (&mut entry.waits, &mut self.inner.scratch);
        let mut cx = MetaContext::new(services, alias, entry.parent, waits, scratch);
        cx.now_ms = self.now_ms;
        cx.unsent = unsent;
        drop_catching(catch_panic(|| entry.meta.terminate(&mut cx, reason)));
        // Off the poll before it is closed: a copy of the descriptor elsewhere would stay registered.
        drop_catching(catch_panic(|| entry.meta.leave_poll(&cx)));
        services.sources.leave(alias, &services.registry);
        let (watchers, parent) = (entry.take_watchers(), entry.parent);
        // Its address is free when its watchers learn of its end.
        drop_catching(entry.meta);
        for watcher in watchers {
            services
                .deliver
                .notify(watcher, Target::Alias(alias), reason);
        }
        services.deliver.disown(parent, alias);
        // The slot is freed last, because a spawn may use it at once and `insert` relies on its being empty.
        services.commands.free(alias);
    }
}
