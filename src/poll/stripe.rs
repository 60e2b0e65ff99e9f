//! A stripe: meta-processes that are driven together, by one worker at a time.
//!
//! One activation, in this order, each part bounded so that a stripe cannot keep its worker:
//!
//! 1. spawn_queues: new meta-processes get their slot and their `init`; what these spawn is born later;
//! 2. those that asked to be called again, and those that are ready, in the order in which they came, until they have read
//!    a [`SLICE`]: that is handled first, while it is in the cache. One that has more is the next to be called, [`SLICES`]
//!    times in a row;
//! 3. commands, in the order in which they were sent; those born meanwhile before the command that is for them;
//! 4. flush: every meta-process that asked for it writes what 2 and 3 have produced, once;
//! 5. with TLS, one brief step of a handshake, so that everything that takes less time than it goes first.
//!
//! A meta-process that returns an error, panics, or gets a kill ends here: its alias becomes stale, `terminate` is called,
//! watchers are told, its parent forgets it, it is dropped.
//!
//! What it does not do: it does not decide when it runs (`scheduler`), nor what a meta-process does.

use std::collections::VecDeque;

use super::poller::Ready;
use crate::base::sync::Mutex;
use crate::base::unwind::{catch_panic, drop_catching};
use crate::bridge::Command;
use crate::bridge::Watcher;
use crate::bridge::request::InspectReply;
use crate::error::Reason;
use crate::id::{Alias, Pid, Target};
use crate::inspect::Inspection;
use crate::memory::buffer::Buffer;
use crate::meta::{
    MetaContext, MetaProcess, Offload, PendingSpawn, Readiness, Services, Wishes, meta_timer,
};
use crate::time::wheel::TimerKey;

/// Brief steps of handshakes that wait. Each activation computes one, so this is how many it takes until the last is done.
const STEPS: usize = 8;
/// Bytes after which nobody else is called to read in an activation: they are handled first, while they are in the cache.
const SLICE: usize = 128 * 1024;
/// How often in a row a connection with much to read may go on before the others have their turn.
const SLICES: u32 = 4;
/// Commands in one activation.
const COMMANDS: usize = 4096;
/// Room of the buffer that is read into, in bytes: any datagram, and one byte to see that it was longer.
const SCRATCH: usize = 64 * 1024 + 1;

/// See the module.
pub(super) struct Stripe {
    index: usize,
    /// Readiness that has not been looked at.
    ready: Mutex<Vec<Ready>>,
    /// Locked by whoever runs the stripe, which the schedule word makes one worker at a time.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Option<Entry>>,
    /// Those that are to be called.
    queue: VecDeque<Ready>,
    /// How often in a row one was called and had more.
    slices: u32,
    flush: Vec<Alias>,
    scratch: Buffer,
    /// Those that wait to compute a brief step of a handshake, at most [`STEPS`].
    steps: VecDeque<Alias>,
    phase: Phase,
}

/// What the node has told its meta-processes; who is born later is told at its birth.
#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Open,
    /// Take in nothing new.
    Closed,
    Finishing,
}

struct Entry {
    meta: Box<dyn MetaProcess>,
    parent: Pid,
    /// Of its alias, whose slot is the place of this entry.
    generation: u32,
    /// Boxed, because most have none, and there may be many.
    timer: Option<Box<Alarm>>,
    watchers: Option<Box<Vec<Watcher>>>,
    /// What the poll has told and it has not been called for.
    news: Readiness,
    waits_again: bool,
    waits_flush: bool,
    waits_step: bool,
}

/// The timer of a meta-process. It is moved to an earlier time at once, to a later one when it fires.
struct Alarm {
    armed_ms: u64,
    deadline_ms: u64,
    key: TimerKey,
}

impl Stripe {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            ready: Mutex::new(Vec::new()),
            inner: Mutex::new(Inner::default()),
        }
    }

    /// Files readiness for the next activation; `ready` is empty afterwards.
    pub(super) fn file(&self, ready: &mut Vec<Ready>) {
        let mut filed = self.ready.lock();
        if filed.is_empty() {
            std::mem::swap(&mut *filed, ready);
        } else {
            filed.append(ready);
        }
    }

    /// One activation. `true`: there is more to do.
    pub(super) fn run(&self, services: &Services) -> bool {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        if inner.scratch.capacity() == 0 {
            inner.scratch = services.pool.get(SCRATCH);
        }
        let now_ms = services.timers.clock().now_ms();
        let mut run = Run {
            inner,
            services,
            stripe: self.index,
            now_ms,
            room: SLICE,
            computes: false,
        };
        run.insert_pending();
        // What the newborn have read does not count against those that live.
        run.room = SLICE;
        run.call_ready(&self.ready);
        let mut budget = COMMANDS;
        while budget > 0
            && let Some(command) = services.commands.pop(self.index)
        {
            // Whoever spawns sends afterwards, from another thread while this one is here: what the command is for may
            // have come since spawn_queues were looked at.
            run.insert_pending();
            run.handle_command(command);
            budget -= 1;
        }
        run.flush();
        run.step_handshake();
        !inner.queue.is_empty() || !inner.flush.is_empty() || !inner.steps.is_empty() || budget == 0
    }

    /// The meta-processes that live.
    pub(super) fn aliases(&self) -> Vec<Alias> {
        self.inner.lock().aliases(self.index)
    }

    /// Ends everything that is left. Returns how many it were.
    pub(super) fn end_all(&self, services: &Services) -> usize {
        let Some(mut guard) = self.inner.try_lock() else {
            return 0;
        };
        let inner = &mut *guard;
        let now_ms = services.timers.clock().now_ms();
        let mut run = Run {
            inner,
            services,
            stripe: self.index,
            now_ms,
            room: SLICE,
            computes: false,
        };
        run.insert_pending();
        let aliases = run.inner.aliases(self.index);
        for alias in &aliases {
            run.end(*alias, &Reason::Shutdown);
        }
        while let Some(command) = services.commands.pop(self.index) {
            drop_catching(command);
        }
        aliases.len()
    }
}

impl Inner {
    /// The meta-processes that live.
    fn aliases(&self, stripe: usize) -> Vec<Alias> {
        let alias = |(slot, entry): (usize, &Option<Entry>)| {
            Some(Alias::new(stripe, slot as u32, entry.as_ref()?.generation))
        };
        self.entries.iter().enumerate().filter_map(alias).collect()
    }
}

/// An activation under way.
struct Run<'a> {
    inner: &'a mut Inner,
    services: &'a Services,
    stripe: usize,
    now_ms: u64,
    /// Bytes that may still be read; see [`MetaContext::room`].
    room: usize,
    /// Whether who is called now may compute a brief step of its handshake.
    computes: bool,
}

impl Run<'_> {
    #[inline]
    fn insert_pending(&mut self) {
        if !self.services.spawn_queues[self.stripe].is_empty() {
            self.insert_all_pending();
        }
    }

    /// All that wait now. What these spawn comes later, so that a family without an end holds up nobody.
    #[cold]
    fn insert_all_pending(&mut self) {
        for _ in 0..self.services.spawn_queues[self.stripe].len() {
            let Some(newborn) = self.services.spawn_queues[self.stripe].pop() else {
                break;
            };
            self.insert_spawned(newborn);
        }
    }

    fn insert_spawned(&mut self, newborn: PendingSpawn) {
        let PendingSpawn {
            alias,
            parent,
            meta,
        } = newborn;
        let slot = alias.slot() as usize;
        if self.inner.entries.len() <= slot {
            self.inner.entries.resize_with(slot + 1, || None);
        }
        debug_assert!(
            self.inner.entries[slot].is_none(),
            "a slot is given away after its release"
        );
        self.inner.entries[slot] = Some(Entry {
            meta,
            parent,
            generation: alias.generation(),
            timer: None,
            watchers: None,
            news: Readiness::default(),
            waits_again: false,
            waits_flush: false,
            waits_step: false,
        });
        self.call(alias, |meta, cx| meta.init(cx));
        match self.inner.phase {
            Phase::Open => {}
            Phase::Closed => self.call(alias, |meta, cx| meta.handle_stop(cx)),
            Phase::Finishing => self.call(alias, |meta, cx| meta.handle_finish(cx)),
        }
    }

    /// Those that ask to be called again come in a later activation. What has been read is handled before more is read, while
    /// it is in the cache: so a full slice ends this part, and so does one that has more to read.
    fn call_ready(&mut self, ready: &Mutex<Vec<Ready>>) {
        for Ready { alias, readiness } in ready.lock().drain(..) {
            let Some(entry) = self.entry(alias) else {
                continue;
            };
            // One place in the queue, however much news comes while it waits there.
            let is_queued = !entry.news.is_empty();
            entry.news = entry.news.with(readiness, true);
            if !is_queued {
                self.inner.queue.push_back(Ready { alias, readiness });
            }
        }
        for _ in 0..self.inner.queue.len() {
            let Some(next) = self.inner.queue.pop_front() else {
                break;
            };
            if self.call_one(next) || self.room == 0 {
                break;
            }
        }
    }

    /// `true`: it has more. It is the next one then, or, when it has been that for a while, the last one.
    #[inline]
    fn call_one(
        &mut self,
        Ready {
            alias,
            mut readiness,
        }: Ready,
    ) -> bool {
        match self.entry(alias) {
            Some(entry) if readiness.is_again() => entry.waits_again = false,
            Some(entry) => readiness = std::mem::take(&mut entry.news),
            None => {}
        }
        let has_more = self.call_for_more(alias, |meta, cx| meta.ready(cx, readiness));
        self.inner.slices = if has_more { self.inner.slices + 1 } else { 0 };
        if self.inner.slices == SLICES {
            self.inner.slices = 0;
        } else if has_more && let Some(last) = self.inner.queue.pop_back() {
            self.inner.queue.push_front(last);
        }
        has_more
    }

    fn flush(&mut self) {
        let mut flush = std::mem::take(&mut self.inner.flush);
        for alias in flush.drain(..) {
            if let Some(entry) = self.entry(alias) {
                entry.waits_flush = false;
                self.call(alias, |meta, cx| meta.flush(cx));
            }
        }
        // A flush may ask for another one: it comes later.
        if self.inner.flush.is_empty() {
            self.inner.flush = flush;
        }
    }

    fn step_handshake(&mut self) {
        let Some(alias) = self.inner.steps.pop_front() else {
            return;
        };
        if let Some(entry) = self.entry(alias) {
            entry.waits_step = false;
            // It may read, whatever the others have read.
            (self.room, self.computes) = (SLICE, true);
            self.call(alias, |meta, cx| meta.ready(cx, Readiness::AGAIN));
            self.computes = false;
            self.flush();
        }
    }

    fn handle_command(&mut self, command: Command) {
        let starts_deadline = command.starts_deadline();
        if starts_deadline {
            // It may have come long after the activation began, and what counts from it in whole milliseconds must not
            // be short of the rest of this one.
            self.now_ms = self.services.timers.clock().now_ms() + 1;
        }
        match command {
            Command::Message { to, .. } | Command::Call { to, .. } if self.entry(to).is_none() => {
                drop_catching(command)
            }
            Command::Message { to, from, message } => self.call(to, |meta, cx| {
                meta.handle_message(cx, from, message.unpack())
            }),
            Command::Call { to, from, call } => self.call(to, |meta, cx| {
                let (message, reply) = *call;
                meta.handle_call(cx, from, message, reply)
            }),
            // Of a parent that has ended between adopting its child and handing it over: it comes again behind the birth.
            Command::Exit { to, reason } if self.entry(to).is_none() => {
                if self.services.commands.is_live(to) {
                    self.services
                        .commands
                        .push(self.stripe, Command::Exit { to, reason });
                }
            }
            Command::Exit {
                to,
                reason: Reason::Kill,
            } => self.end(to, &Reason::Kill),
            Command::Exit { to, reason } => {
                self.call(to, |meta, cx| meta.handle_exit(cx, reason.clone()))
            }
            Command::Watch { to, watcher } => self.watch(to, watcher),
            Command::Unwatch { to, watcher } => self.unwatch(to, &watcher),
            Command::Resume { to } => self.call(to, |meta, cx| meta.handle_resume(cx)),
            Command::Acked { to, mark } => self.call(to, |meta, cx| meta.handle_ack(cx, mark)),
            Command::Timer { to, deadline_ms } => self.time(to, deadline_ms),
            Command::Inspect { to, reply } => self.inspect(to, reply),
            Command::Discard(message) => drop_catching(message),
            Command::StopAccepting => {
                self.inner.phase = Phase::Closed;
                self.notify_all_watchers(|meta, cx| meta.handle_stop(cx));
            }
            Command::Finish => {
                self.inner.phase = Phase::Finishing;
                self.notify_all_watchers(|meta, cx| meta.handle_finish(cx));
            }
        }
        if starts_deadline {
            self.now_ms -= 1;
        }
    }

    fn entry(&mut self, alias: Alias) -> Option<&mut Entry> {
        self.inner
            .entries
            .get_mut(alias.slot() as usize)?
            .as_mut()
            .filter(|entry| entry.generation == alias.generation())
    }

    /// Calls a meta-process, does what it asks for, and ends it if it says so. Nothing happens if it has ended.
    #[inline]
    fn call(
        &mut self,
        alias: Alias,
        call: impl FnOnce(&mut dyn MetaProcess, &mut MetaContext<'_>) -> Result<(), Reason>,
    ) {
        self.call_for_more(alias, call);
    }

    /// The same. `true`: it has more to do, and has become the last of the queue.
    #[inline]
    fn call_for_more(
        &mut self,
        alias: Alias,
        call: impl FnOnce(&mut dyn MetaProcess, &mut MetaContext<'_>) -> Result<(), Reason>,
    ) -> bool {
        let Inner {
            entries,
            scratch,
            queue,
            flush,
            steps,
            ..
        } = &mut *self.inner;
        let Some(Some(entry)) = entries.get_mut(alias.slot() as usize) else {
            return false;
        };
        if entry.generation != alias.generation() {
            return false;
        }
        let mut wishes = Wishes::default();
        let mut cx = MetaContext {
            services: self.services,
            alias,
            parent: entry.parent,
            wishes: &mut wishes,
            scratch,
            now_ms: self.now_ms,
            room: self.room,
            offload: match self.computes {
                true => Offload::Compute,
                false if steps.len() < STEPS => Offload::Wait,
                false => Offload::Lend,
            },
            unsent: 0,
        };
        let outcome = catch_panic(|| call(&mut *entry.meta, &mut cx));
        self.room = cx.room;
        let reason = match outcome {
            Ok(Ok(())) => {
                let is_queued = wishes.again && !std::mem::replace(&mut entry.waits_again, true);
                if is_queued {
                    queue.push_back(Ready {
                        alias,
                        readiness: Readiness::AGAIN,
                    });
                }
                if wishes.flush && !std::mem::replace(&mut entry.waits_flush, true) {
                    flush.push(alias);
                }
                if wishes.step && !std::mem::replace(&mut entry.waits_step, true) {
                    steps.push_back(alias);
                }
                if let Some(deadline_ms) = wishes.deadline_ms
                    && (deadline_ms != u64::MAX || entry.timer.is_some())
                {
                    self.set_timer(alias, deadline_ms);
                }
                return wishes.more && is_queued;
            }
            Ok(Err(reason)) => reason,
            Err(payload) => {
                // What it had read is for nobody else.
                self.inner.scratch.clear();
                let reason = Reason::from_panic(&*payload);
                drop_catching(payload);
                self.services
                    .logger
                    .warning(format_args!("meta-process {alias} ended: {reason}"));
                reason
            }
        };
        self.end(alias, &reason);
        false
    }

    /// A timer that moves later stays armed as it is: [`Run::time`] moves it when it fires.
    fn set_timer(&mut self, alias: Alias, deadline_ms: u64) {
        let services = self.services;
        let Some(entry) = self.entry(alias) else {
            return;
        };
        if let Some(alarm) = &mut entry.timer
            && alarm.armed_ms <= deadline_ms
            && deadline_ms != u64::MAX
        {
            alarm.deadline_ms = deadline_ms;
            return;
        }
        if let Some(alarm) = entry.timer.take() {
            services.timers.cancel(alarm.key);
        }
        if deadline_ms != u64::MAX {
            let key = services
                .timers
                .at(deadline_ms, meta_timer(alias, deadline_ms));
            entry.timer = Some(Box::new(Alarm {
                armed_ms: deadline_ms,
                deadline_ms,
                key,
            }));
        }
    }

    /// A timer has fired at `armed_ms`.
    fn time(&mut self, alias: Alias, armed_ms: u64) {
        let now_ms = self.now_ms.max(armed_ms);
        let Some(entry) = self.entry(alias) else {
            return;
        };
        let Some(alarm) = entry.timer.take_if(|alarm| alarm.armed_ms == armed_ms) else {
            return;
        };
        if alarm.deadline_ms > now_ms {
            self.set_timer(alias, alarm.deadline_ms);
        } else {
            self.call(alias, |meta, cx| meta.handle_timer(cx));
        }
    }

    fn watch(&mut self, alias: Alias, watcher: Watcher) {
        match self.entry(alias) {
            Some(entry) => entry.watchers.get_or_insert_default().push(watcher),
            None => self
                .services
                .deliver
                .notify(watcher, Target::Alias(alias), &Reason::NoProcess),
        }
    }

    fn unwatch(&mut self, alias: Alias, watcher: &Watcher) {
        if let Some(entry) = self.entry(alias)
            && let Some(watchers) = &mut entry.watchers
        {
            watchers.retain(|other| other != watcher);
            if watchers.is_empty() {
                entry.watchers = None;
            }
        }
    }

    fn inspect(&mut self, alias: Alias, reply: InspectReply) {
        let quota = self.services.commands.quota(alias);
        let (queued, refused) = quota.map_or((0, 0), |quota| (quota.queued(), quota.refused()));
        let Some(entry) = self.entry(alias) else {
            return;
        };
        let (meta, parent) = (&entry.meta, entry.parent);
        let mut inspection = catch_panic(|| meta.handle_inspect()).unwrap_or_else(|payload| {
            drop_catching(payload);
            Inspection::default()
        });
        inspection.add("alias", alias);
        inspection.add("parent", parent);
        inspection.add("queued_bytes", queued);
        inspection.add("refused_sends", refused);
        reply.send(inspection);
    }

    fn notify_all_watchers(
        &mut self,
        what: fn(&mut dyn MetaProcess, &mut MetaContext<'_>) -> Result<(), Reason>,
    ) {
        for alias in self.inner.aliases(self.stripe) {
            self.call(alias, what);
        }
    }

    /// The end of a meta-process.
    fn end(&mut self, alias: Alias, reason: &Reason) {
        let slot = alias.slot() as usize;
        let Some(place) = self.inner.entries.get_mut(slot) else {
            return;
        };
        let Some(mut entry) = place.take_if(|entry| entry.generation == alias.generation()) else {
            return;
        };
        let services = self.services;
        if let Some(alarm) = entry.timer.take() {
            services.timers.cancel(alarm.key);
        }
        let unsent = services.commands.retire(alias) as u64;
        let mut cx = MetaContext {
            services,
            alias,
            parent: entry.parent,
            wishes: &mut Wishes::default(),
            scratch: &mut self.inner.scratch,
            now_ms: self.now_ms,
            room: 0,
            offload: Offload::Lend,
            unsent,
        };
        drop_catching(catch_panic(|| entry.meta.terminate(&mut cx, reason)));
        for watcher in entry
            .watchers
            .take()
            .into_iter()
            .flat_map(|watchers| *watchers)
        {
            services
                .deliver
                .notify(watcher, Target::Alias(alias), reason);
        }
        services.deliver.disown(entry.parent, alias);
        drop_catching(entry.meta);
        services.commands.recycle(alias);
    }
}
