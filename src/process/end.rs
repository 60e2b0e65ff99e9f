//! The end of a process.
//!
//! ```text
//!            1, 2                  3                     4 … 7
//!  Living ──────────▶ Closing ───────────▶ (a worker) ──────────▶ Vacant
//!             │      listeners close                   ▲
//!             └──────────── it has no listener ────────┘
//! ```
//!
//! 1. The mailbox is closed: the pid is out of the table, and every send fails from here on.
//! 2. The name is free. Listeners get an exit signal, and a confirmation is queued behind it.
//! 3. The last stripe confirms that its listeners are closed, and queues the process once more.
//!    Meanwhile no worker is held.
//! 4. `terminate` is called.
//! 5. The other meta-processes get an exit signal.
//! 6. The place of its own thread is free, if it has one. Its events end; links and monitors are notified, so that one
//!    who starts a successor finds name and ports free and the predecessor's `terminate` done.
//! 7. Messages are dropped (requests among them are answered with an error), and the cell is free.
//!
//! Bad interleaving: a stripe confirms before the process is in its cell as Closing, the worker that
//! takes the confirmation finds nothing to finish, and the process stays for ever. Excluded: the
//! cell is locked from before the first confirmation is queued until the process is in it
//! (`loom_confirmation_finds_the_process_in_its_cell`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::lifecycle::{Behavior, ControlBlock, Process, ProcessContext};
use super::mailbox::{Batch, ClosedMailbox};
use super::relations::{Related, Relations};
use super::table::{Cell, Processes, Stage};
use super::turns::Resumed;
use crate::base::order::in_order;
use crate::base::sync::Mutex;
use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::{Command, Watcher};
use crate::error::Reason;
use crate::id::{Alias, Pid, Target};
use crate::scheduler::{Slot, Task};

/// A process that is out of the table.
pub(super) struct Closing {
    control: ControlBlock,
    /// With `terminate` still to be called, if `init` has returned.
    behavior: Option<Box<dyn Behavior>>,
    was_started: bool,
    remains: ClosedMailbox,
    reason: Reason,
}

/// Counts the confirmations of stripes, and queues the process at the last one.
struct Confirmations {
    left: AtomicUsize,
    processes: Weak<Processes>,
    index: u32,
}

impl Wake for Confirmations {
    fn wake(self: Arc<Self>) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(processes) = self.processes.upgrade()
        {
            let task = Task::process(self.index);
            processes.scheduler.push(task, Slot::Fifo);
        }
    }
}

impl Processes {
    /// Ends a process that has started; it goes on after its listeners have been closed.
    pub(super) fn end(self: &Arc<Self>, cell: &Cell, mut process: Box<Process>, reason: Reason) {
        let mut remains = cell.mailbox.close(&mut process.batch);
        self.unregister(&mut process.control);
        if remains.related.table().is_some() {
            let closing = Closing::started(*process, remains, reason);
            return self.continue_end(cell, closing);
        }
        // Most processes have neither listeners nor links, and end where they are.
        let pid = process.control.pid;
        let Process {
            control, behavior, ..
        } = &mut *process;
        self.finish(control, Some(behavior), &mut remains, &reason);
        drop_catching(process);
        self.free(pid, remains.is_exhausted);
    }

    /// Steps 1 and 2, but for the listeners.
    pub(super) fn close(
        &self,
        cell: &Cell,
        mut control: ControlBlock,
        mut batch: Batch,
        behavior: Option<Box<dyn Behavior>>,
        reason: Reason,
    ) -> Closing {
        let remains = cell.mailbox.close(&mut batch);
        self.unregister(&mut control);
        Closing {
            control,
            behavior,
            was_started: false,
            remains,
            reason,
        }
    }

    /// Steps 1 and 2 for a process that has started, but for the listeners.
    pub(super) fn close_started(
        &self,
        cell: &Cell,
        mut process: Process,
        reason: Reason,
    ) -> Closing {
        let remains = cell.mailbox.close(&mut process.batch);
        self.unregister(&mut process.control);
        Closing::started(process, remains, reason)
    }

    /// Closes the listeners and leaves the rest to the last confirmation.
    pub(super) fn continue_end(self: &Arc<Self>, cell: &Cell, mut closing: Closing) {
        let listeners = closing.take_listeners();
        // Only a listener holds what a successor needs, its address, so only listeners are waited for.
        if listeners.is_empty() {
            return self.finish_end(closing);
        }
        let waker = Waker::from(Arc::new(Confirmations {
            left: AtomicUsize::new(listeners.len()),
            processes: Arc::downgrade(self),
            index: closing.control.pid.index(),
        }));
        let reason = closing.reason.clone();
        let stage = Stage::Closing(Box::new(closing));
        store_before(&cell.stage, stage, || {
            for to in listeners {
                self.exit_meta(to, &reason);
                let confirmed = waker.clone();
                self.commands
                    .push(to.stripe(), Command::Confirm { to, confirmed });
            }
        });
    }

    /// Steps 4 to 7.
    pub(super) fn finish_end(self: &Arc<Self>, closing: Closing) {
        let Closing {
            mut control,
            mut behavior,
            was_started,
            mut remains,
            reason,
        } = closing;
        let pid = control.pid;
        let started = behavior.as_mut().filter(|_| was_started);
        self.finish(&mut control, started, &mut remains, &reason);
        drop_catching(behavior);
        drop_catching(control);
        self.free(pid, remains.is_exhausted);
    }

    /// Steps 4 to 7, but for the drop of the process itself. `started` is its behavior if `init` has returned.
    fn finish(
        self: &Arc<Self>,
        control: &mut ControlBlock,
        started: Option<&mut Box<dyn Behavior>>,
        remains: &mut ClosedMailbox,
        reason: &Reason,
    ) {
        let pid = control.pid;
        // The parent keeps its dependents until they have ended, to end them with itself.
        if control.is_dependent {
            self.with_relations(control.parent, |relations| {
                relations.dependents.remove(&pid)
            });
        }
        if let Some(behavior) = started {
            self.ended[reason.class()].fetch_add(1, Ordering::Relaxed);
            self.terminate(control, &mut **behavior, reason);
        }
        // Most processes have never had an event, waited in a line, or had a thread.
        if control.cold.is_some() {
            if control.has_own_thread() {
                self.own_threads.give_back(pid);
            }
            for event in control.take_events() {
                self.end_event(&event, reason);
            }
            self.leave_lines(control);
        }
        self.notify_related(pid, std::mem::take(&mut remains.related), reason);
        // Behind `terminate`, which may have set some.
        if control.cold.is_some() {
            control.cancel_all_timers(self);
        }
        if let Some(waiters) = remains.waiters.take() {
            // They find that it has ended.
            let resumed = |alias| Resumed { alias, messages: 1 };
            self.resume(pid, &mut waiters.metas.into_iter().map(resumed).collect());
            self.notify_room(pid, &waiters.senders);
        }
        if !remains.envelopes.is_empty() {
            if let Some(aside) = control.aside_mut() {
                self.pass_ends(aside, &mut remains.envelopes);
            }
            for envelope in remains.envelopes.drain(..) {
                drop_catching(envelope);
            }
        }
    }

    /// Runs the callback, which the cell shows meanwhile. Its panic is recorded and does not change the reason.
    fn terminate(
        self: &Arc<Self>,
        control: &mut ControlBlock,
        behavior: &mut dyn Behavior,
        reason: &Reason,
    ) {
        let pid = control.pid;
        let cell = self.cells.get(pid.index());
        let set_terminating = |generation| {
            if let Some(cell) = cell {
                cell.terminating.store(generation, Ordering::Relaxed);
            }
        };
        // Noted, so that a stop can name a `terminate` that does not return.
        set_terminating(pid.generation());
        let mut env = ProcessContext {
            processes: self,
            control,
        };
        if let Err(payload) = catch_panic(|| behavior.terminate(&mut env, reason)) {
            let panic = Reason::from_panic(&*payload);
            drop_catching(payload);
            self.record_panic_at_end(control, behavior, panic);
        }
        set_terminating(0);
    }

    /// Ends what is in a cell without waiting: nothing runs any more that would confirm.
    pub(super) fn end_now(self: &Arc<Self>, cell: &Cell, stage: Stage, reason: &Reason) {
        let closing = match stage {
            Stage::Vacant | Stage::Own(_) => return,
            Stage::Starting(starting) => {
                let control = starting.into_control();
                self.close(cell, control, Batch::default(), None, reason.clone())
            }
            Stage::Living(process) => self.close_started(cell, *process, reason.clone()),
            Stage::Closing(closing) => *closing,
        };
        self.finish_end(closing);
    }

    /// Processes whose `terminate` has not returned.
    pub(crate) fn terminating(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        let mut index = 1;
        while let Some(cell) = self.cells.get(index) {
            let generation = cell.terminating.load(Ordering::Relaxed);
            if generation != 0 {
                pids.push(Pid::new(index, generation));
            }
            index += 1;
        }
        pids
    }

    /// Takes the name and the meta-processes from a process whose handler does not return, so that
    /// they are not in the way of its successor.
    pub(crate) fn abandon(&self, pid: Pid) {
        self.record_stuck(pid);
        // Searched by its holder, because the control block that knows the name is with the handler.
        let lost = self
            .names
            .lock()
            .extract_if(|_, holder| *holder == pid)
            .next();
        if let Some((name, _)) = lost {
            self.notify_name_lost(pid, &name);
        }
        let metas = self.with_relations(pid, |relations| {
            relations.listeners.clear();
            std::mem::take(&mut relations.metas)
        });
        self.end_events_of(pid);
        for alias in in_order(metas.into_iter().flatten()) {
            self.exit_meta(alias, &Reason::Kill);
        }
    }

    pub(super) fn exit_meta(&self, to: Alias, reason: &Reason) {
        let reason = reason.clone();
        self.commands
            .push(to.stripe(), Command::Exit { to, reason });
    }

    /// Steps 5 and 6.
    #[inline]
    fn notify_related(&self, pid: Pid, related: Related, reason: &Reason) {
        match related {
            Related::None => {}
            Related::Child(_) if planted!(ChildrenKept) => {}
            Related::Child(alias) => self.exit_meta(alias, reason),
            Related::Table(relations) => self.notify_all(pid, *relations, reason),
        }
    }

    fn notify_all(&self, pid: Pid, relations: Relations, reason: &Reason) {
        for alias in in_order(relations.metas) {
            if planted!(ChildrenKept) {
                continue;
            }
            self.exit_meta(alias, reason);
        }
        for dependent in in_order(relations.dependents) {
            // One that has ended meanwhile needs no signal.
            let _ = self.send_exit(pid, Target::Pid(dependent), reason.clone());
        }
        let me = Target::Pid(pid);
        for target in in_order(relations.links) {
            match target {
                Target::Pid(other) => {
                    self.notify_watcher(Watcher::Link(other), me.clone(), reason);
                }
                Target::Alias(alias) => {
                    let unwatch = Command::Unwatch {
                        to: alias,
                        watcher: Watcher::Link(pid),
                    };
                    self.commands.push(alias.stripe(), unwatch);
                    // A normal end is no exit signal for what is linked.
                    if *reason != Reason::Normal {
                        self.exit_meta(alias, reason);
                    }
                }
                Target::Event(name) => self.unwatch_event(&name, &Watcher::Link(pid)),
                Target::Name(_) => {}
            }
        }
        for watcher in in_order(relations.watchers) {
            self.notify_watcher(watcher, me.clone(), reason);
        }
        for (monitor, monitored) in in_order(relations.monitors) {
            self.unwatch(&monitored.target, monitored.watcher(pid, monitor));
        }
    }
}

/// Stores a value such that one who locks the slot because of what `queue` queues finds it.
fn store_before<T>(slot: &Mutex<T>, value: T, queue: impl FnOnce()) {
    let mut slot = slot.lock();
    queue();
    *slot = value;
}

impl Closing {
    /// A process that has started, and whose mailbox has been closed.
    fn started(process: Process, remains: ClosedMailbox, reason: Reason) -> Self {
        let Process {
            control, behavior, ..
        } = process;
        Self {
            control,
            behavior: Some(behavior),
            was_started: true,
            remains,
            reason,
        }
    }

    pub(super) fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The meta-processes that are closed before `terminate`: listeners, and all if `init` failed.
    pub(super) fn take_listeners(&mut self) -> Vec<Alias> {
        let relations = match &mut self.remains.related {
            Related::Table(relations) => relations,
            Related::Child(alias) if !self.was_started => {
                let child = *alias;
                self.remains.related = Related::None;
                return vec![child];
            }
            Related::None | Related::Child(_) => return Vec::new(),
        };
        let listeners = std::mem::take(&mut relations.listeners);
        // Without an `init` that returned there is no `terminate` that could use them: all are closed first.
        if !self.was_started {
            return in_order(std::mem::take(&mut relations.metas));
        }
        for listener in &listeners {
            relations.metas.remove(listener);
        }
        in_order(listeners)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_confirmation_finds_the_process_in_its_cell() {
        loom::model(|| {
            let slot = Arc::new(Mutex::new(None));
            let mut stripe = None;
            store_before(&slot, Some(7), || {
                let slot = Arc::clone(&slot);
                stripe = Some(thread::spawn(move || slot.lock().take()));
            });
            let found = stripe.expect("queued").join().expect("no panic");
            assert_eq!(found, Some(7), "the process stays for ever");
        });
    }
}
