//! A stripe: meta-processes that are driven together, by one worker at a time.
//!
//! One activation has six parts, in this order, each bounded so that a stripe cannot keep its worker:
//!
//! 1. Spawns: each queued meta-process is inserted into its slot and its `init` runs. Meta-processes spawned by these
//!    `init`s wait for the next activation.
//! 2. Readiness: ready meta-processes run in arrival order until the activation has read [`READ_BUDGET`] bytes. The
//!    owners then process those bytes while they are still in cache. A meta-process with more to read is the first of
//!    the next activation, at most [`MAX_CONSECUTIVE`] times in a row.
//! 3. Commands, in the order in which they were sent. A spawn that was queued meanwhile precedes the command for it.
//! 4. Flushes: every meta-process that requested it writes what parts 2 and 3 have produced, once.
//! 5. Timers that have fired. A meta-process that is ready is called for that first, in the activation that comes to
//!    it, and has written: so no deadline is judged before the input, or the room for output, that contradicts it.
//! 6. With TLS, one moderate step of a handshake, so that all cheaper work precedes it.
//!
//! A meta-process has at most one place in the queue of part 2, however many events arrive while it waits there.
//!
//! A callback runs, then its requested actions are applied. A meta-process terminates when a
//! callback returns an error or panics, or when it is killed. Its alias becomes stale, `terminate` runs, watchers are
//! notified, its parent removes it, and the value is dropped.
//!
//! What a stripe does not do: it does not decide when it runs (`scheduler`), nor what a meta-process does.

mod callbacks;
mod commands;

use std::collections::VecDeque;

use super::entries::{Entries, Entry};
use super::poller::Ready;
use crate::base::sync::Mutex;
use crate::base::unwind::drop_catching;
use crate::error::Reason;
use crate::id::{Alias, Pid};
use crate::memory::buffer::Buffer;
use crate::message::MessageType;
use crate::meta::{Again, Offload, PendingSpawn, Readiness, Services};

/// Moderate handshake steps that may wait. Each activation computes one, so the last one waits this many activations.
const WAITING_STEPS: usize = 8;
/// Bytes that one activation reads before the remaining meta-processes wait for the next one.
const READ_BUDGET: usize = 128 * 1024;
/// Activations in a row that begin with the same meta-process because it had more to read.
const MAX_CONSECUTIVE: u32 = 4;
/// Commands handled in one activation.
const COMMANDS: usize = 4096;
/// Capacity of the read buffer in bytes: the largest datagram, and one byte that shows that it was longer.
const SCRATCH: usize = 64 * 1024 + 1;

/// See the module.
pub(super) struct Stripe {
    index: usize,
    /// Readiness that the poller has filed since the last activation.
    ready: Mutex<Vec<Ready>>,
    /// Locked by the worker that runs the stripe. The schedule word makes that one worker at a time.
    inner: Mutex<StripeState>,
}

#[derive(Default)]
struct StripeState {
    entries: Entries,
    /// Meta-processes with pending readiness.
    queue: VecDeque<Alias>,
    /// Activations in a row in which one meta-process had more to read.
    consecutive: u32,
    flush: Vec<Alias>,
    /// Meta-processes whose timer has fired.
    due: Vec<Due>,
    scratch: Buffer,
    /// Meta-processes that wait to compute a moderate handshake step, at most [`WAITING_STEPS`].
    steps: VecDeque<Alias>,
    phase: StopPhase,
}

/// A meta-process whose timer has fired.
#[derive(Clone, Copy, Debug)]
struct Due {
    alias: Alias,
    /// It was ready, and has been called for that since.
    is_called: bool,
}

/// Shutdown phase of the node. A meta-process spawned later receives the current phase right after `init`.
#[derive(Clone, Copy, Debug, Default)]
enum StopPhase {
    #[default]
    Open,
    /// Nothing new is accepted.
    Closed,
    Finishing,
}

impl Stripe {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            ready: Mutex::new(Vec::new()),
            inner: Mutex::new(StripeState::default()),
        }
    }

    /// Files readiness for the next activation and leaves `ready` empty.
    pub(super) fn file(&self, ready: &mut Vec<Ready>) {
        let mut filed = self.ready.lock();
        // As a rule nothing is filed: exchanging the vectors copies nothing, and both keep their memory.
        if filed.is_empty() {
            std::mem::swap(&mut *filed, ready);
        } else {
            filed.append(ready);
        }
    }

    /// Runs one activation. `read_ms` is the clock, if it has just been read. Returns whether there is more to do.
    pub(super) fn run(&self, services: &Services, read_ms: Option<u64>) -> bool {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        // Taken by the first activation: a stripe that never runs needs no buffer.
        if inner.scratch.capacity() == 0 {
            inner.scratch = services.pool.get(SCRATCH);
        }
        let mut run = Run::new(self.index, inner, services, read_ms);
        if !planted!(ExitOvertakesSpawn | StopOvertakesSpawn) {
            run.start_pending();
        }
        // Reads in `init` do not take from the budget of the meta-processes that were here before.
        run.read_budget = READ_BUDGET;
        run.call_ready(&self.ready);
        // A bound, so that senders that do not pause cannot keep the flushes and the timers of this stripe waiting.
        let mut budget = COMMANDS;
        while budget > 0
            && let Some(command) = services.commands.pop(self.index)
        {
            // Another thread may have queued a spawn and then a command for it since the spawn queue was last
            // drained. Drain it again, so that the target of this command exists.
            if !planted!(ExitOvertakesSpawn | StopOvertakesSpawn) {
                run.start_pending();
            }
            run.handle_command(command);
            budget -= 1;
        }
        if planted!(ExitOvertakesSpawn | StopOvertakesSpawn) {
            run.start_pending();
        }
        run.flush();
        run.call_due(&self.ready);
        run.step_handshake();
        !inner.queue.is_empty() || !inner.flush.is_empty() || !inner.steps.is_empty() || budget == 0
    }

    /// Locks the meta-processes of this stripe, which does not run meanwhile.
    pub(super) fn lock_entries(&self) -> EntriesGuard<'_> {
        EntriesGuard(self.inner.lock())
    }

    /// Returns the live meta-processes.
    pub(super) fn aliases(&self) -> Vec<Alias> {
        self.inner.lock().entries.aliases(self.index)
    }

    /// Terminates the remaining meta-processes and returns their number.
    pub(super) fn end_all(&self, services: &Services) -> usize {
        // A callback that has not returned holds the lock. Its stripe is left to it.
        let Some(mut guard) = self.inner.try_lock() else {
            return 0;
        };
        let mut run = Run::new(self.index, &mut guard, services, None);
        // What is still queued for its spawn has a live alias, and its watchers and its parent are owed its end.
        run.start_pending();
        let aliases = run.inner.entries.aliases(self.index);
        for alias in &aliases {
            run.end(*alias, &Reason::Shutdown);
        }
        // Behind the meta-processes: dropping a command answers its request, and may run code of the user.
        while let Some(command) = services.commands.pop(self.index) {
            drop_catching(command);
        }
        aliases.len()
    }
}

impl StripeState {
    /// Where a callback may have a moderate handshake step computed, but for the last callback of an activation.
    fn offload(&self) -> Offload {
        if self.steps.len() < WAITING_STEPS {
            Offload::Defer
        } else {
            Offload::Spawn
        }
    }
}

/// The meta-processes of a stripe, locked.
pub(super) struct EntriesGuard<'a>(crate::base::sync::MutexGuard<'a, StripeState>);

impl EntriesGuard<'_> {
    pub(super) fn get_mut(&mut self, alias: Alias) -> Option<&mut Entry> {
        self.0.entries.get_mut(alias)
    }
}

/// An activation under way.
struct Run<'a> {
    inner: &'a mut StripeState,
    services: &'a Services,
    stripe: usize,
    /// When the activation began.
    now_ms: u64,
    /// Bytes that may still be read; see [`MetaContext::read_budget`](crate::meta::MetaContext).
    read_budget: usize,
    /// Where a callback may have a moderate handshake step computed.
    offload: Offload,
    /// The error of the callback that has just returned.
    failure: Option<Reason>,
    /// The type of the message that is handled now.
    handling: MessageType,
    /// An exit signal is handled now: an end that follows from it was asked for.
    is_signaled: bool,
    /// An `init` runs: its parent gets a message if it fails, because the spawn has returned.
    is_starting: bool,
}

impl<'a> Run<'a> {
    fn new(
        stripe: usize,
        inner: &'a mut StripeState,
        services: &'a Services,
        read_ms: Option<u64>,
    ) -> Self {
        let offload = inner.offload();
        Self {
            inner,
            services,
            stripe,
            now_ms: read_ms.unwrap_or_else(|| services.timers.clock().now_ms()),
            read_budget: READ_BUDGET,
            offload,
            failure: None,
            handling: MessageType::NONE,
            is_signaled: false,
            is_starting: false,
        }
    }

    // ---- Spawns ----

    #[inline]
    fn start_pending(&mut self) {
        if !self.services.spawn_queues[self.stripe].is_empty() {
            self.start_all_pending();
        }
    }

    /// Starts what is queued now, and not what these `init`s spawn, so that a meta-process that spawns in `init`
    /// without end cannot starve the stripe.
    #[cold]
    fn start_all_pending(&mut self) {
        for _ in 0..self.services.spawn_queues[self.stripe].len() {
            let Some(pending) = self.services.spawn_queues[self.stripe].pop() else {
                break;
            };
            self.start(pending);
        }
    }

    fn start(&mut self, pending: PendingSpawn) {
        let PendingSpawn {
            alias,
            parent,
            meta,
        } = pending;
        let entries = &mut self.inner.entries;
        entries.insert(alias, parent, meta, self.now_ms);
        self.is_starting = true;
        self.call(alias, |meta, cx| meta.init(cx));
        self.is_starting = false;
        // The node is stopping: what is spawned now gets the phase that the others already have.
        match self.inner.phase {
            _ if planted!(StopOvertakesSpawn) => {}
            StopPhase::Open => {}
            StopPhase::Closed => self.call(alias, |meta, cx| meta.handle_stop(cx)),
            StopPhase::Finishing => self.call(alias, |meta, cx| meta.handle_finish(cx)),
        }
    }

    // ---- Readiness ----

    /// Queues the meta-processes whose readiness has been filed.
    fn collect_ready(&mut self, ready: &Mutex<Vec<Ready>>) {
        let mut filed = ready.lock();
        for Ready { alias, readiness } in &*filed {
            self.queue(*alias, *readiness);
        }
        filed.clear();
    }

    fn call_ready(&mut self, ready: &Mutex<Vec<Ready>>) {
        self.collect_ready(ready);
        // Meta-processes that ask to be called again are queued behind this number and run in a later activation.
        for _ in 0..self.inner.queue.len() {
            let Some(alias) = self.inner.queue.pop_front() else {
                break;
            };
            let has_more = self.call_one(alias) == Again::Next;
            // Stop reading once the budget is spent: the owners should process what was read while it is still in
            // cache, and the remaining meta-processes keep their place in the queue.
            if has_more || self.read_budget == 0 {
                break;
            }
        }
    }

    /// Adds readiness to what is pending for a meta-process, and queues it behind the others unless it is queued.
    #[inline]
    fn queue(&mut self, alias: Alias, readiness: Readiness) {
        if let Some(entry) = self.inner.entries.get_mut(alias) {
            let was_queued = !entry.pending.is_empty();
            // It has a place in the queue already, and gets the new readiness with the old.
            entry.pending = entry.pending.with(readiness, true);
            if !was_queued {
                self.inner.queue.push_back(alias);
            }
        }
    }

    /// Calls the first meta-process of the queue, and queues it again if it asks for that.
    #[inline]
    fn call_one(&mut self, alias: Alias) -> Again {
        let mut timer_was_due = false;
        let again = self.run_callback(
            alias,
            |entry| {
                timer_was_due = entry.timer_is_due;
                std::mem::take(&mut entry.pending)
            },
            |meta, cx, readiness| meta.ready(cx, readiness),
        );
        if timer_was_due
            && let Some(entry) = self.inner.entries.get_mut(alias)
            && entry.timer_is_due
        {
            // The timer fired while this readiness was queued. The socket has been looked at now, so the deadline can
            // be judged in this activation.
            let is_called = true;
            self.inner.due.push(Due { alias, is_called });
        }
        match again {
            Again::No => self.inner.consecutive = 0,
            Again::Behind => {
                self.inner.consecutive = 0;
                self.queue(alias, Readiness::AGAIN);
            }
            Again::Next => self.queue_next(alias),
        }
        again
    }

    /// Queues a meta-process that has more to read: before the others, or behind them after [`MAX_CONSECUTIVE`] times.
    fn queue_next(&mut self, alias: Alias) {
        self.inner.consecutive += 1;
        // The next activation begins with another one: a peer that sends faster than it is read must not keep the
        // stripe.
        if self.inner.consecutive == MAX_CONSECUTIVE {
            self.inner.consecutive = 0;
            self.queue(alias, Readiness::AGAIN);
        } else if let Some(entry) = self.inner.entries.get_mut(alias) {
            entry.pending = Readiness::AGAIN;
            self.inner.queue.push_front(alias);
        }
    }

    // ---- Flushes, timers and handshake steps ----

    fn flush(&mut self) {
        let mut flush = std::mem::take(&mut self.inner.flush);
        for alias in &flush {
            self.call_after(
                *alias,
                |entry| entry.awaits_flush = false,
                |meta, cx, ()| meta.flush(cx),
            );
        }
        flush.clear();
        // A flush that was requested by a flush belongs to the next activation; otherwise the memory is kept.
        if self.inner.flush.is_empty() {
            self.inner.flush = flush;
        }
    }

    /// Calls the meta-processes whose timer has fired. Those that are ready become due when they have been called for
    /// that.
    fn call_due(&mut self, ready: &Mutex<Vec<Ready>>) {
        // As a rule nothing is due, and then the lock of `ready` is not taken.
        if self.inner.due.is_empty() {
            return;
        }
        self.collect_ready(ready);
        let mut due = std::mem::take(&mut self.inner.due);
        for Due { alias, is_called } in due.drain(..) {
            if let Some(entry) = self.inner.entries.get_mut(alias)
                // One with readiness that has just been filed is left to the next activation: the event may be the
                // input that the deadline is about.
                && (is_called || entry.pending.is_empty())
                && std::mem::take(&mut entry.timer_is_due)
            {
                // One read, whatever the others have read, finds input that contradicts the deadline.
                self.read_budget = self.read_budget.max(1);
                self.call(alias, |meta, cx| meta.handle_timer(cx));
            }
        }
        self.inner.due = due;
        // What these callbacks have written goes out now, because the stripe may not run again soon.
        self.flush();
    }

    fn step_handshake(&mut self) {
        let Some(alias) = self.inner.steps.pop_front() else {
            return;
        };
        if let Some(entry) = self.inner.entries.get_mut(alias) {
            entry.awaits_step = false;
            // The step has to be read first, although the others may have spent the budget.
            (self.read_budget, self.offload) = (READ_BUDGET, Offload::Inline);
            self.call(alias, |meta, cx| meta.ready(cx, Readiness::AGAIN));
            self.offload = self.inner.offload();
            self.flush();
        }
    }

    /// Gives a meta-process its turn at a mailbox, which learns of the end of the turn, whatever has become of the
    /// meta-process.
    fn resume(&mut self, alias: Alias, mailbox: Pid, messages: u32) {
        if let Some(entry) = self.inner.entries.get_mut(alias) {
            entry.waits.begin_turn(mailbox, messages);
        }
        self.call(alias, |meta, cx| meta.handle_resume(cx));
        // The turn ends for the mailbox even if the meta-process is gone: the next one in line would wait for it for
        // ever.
        if let Some(entry) = self.inner.entries.get_mut(alias) {
            entry.waits.end_turn(mailbox);
        }
        self.services.deliver.end_turn(mailbox, messages);
    }
}
