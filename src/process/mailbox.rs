//! The mailbox: lanes, bounds, and whether the process is scheduled, under one lock.
//!
//! Lanes, in the order in which they are looked at before every message: urgent, system, main, log. Inside a lane the
//! messages of one sender keep their order.
//!
//! ```text
//!            push            next                  next: nothing left
//!  CLOSED   IDLE ──▶ SCHEDULED ──▶ (a worker runs) ──▶ IDLE
//!    ▲  open  │                        │
//!    └────────┴──────── close ◀────────┘   generation + 1
//! ```
//!
//! 1. `open`: a reused cell starts, scheduled: its spawner runs `init` first.
//! 2. `push`: accepted if the generation fits and the bound allows. Returns whether the process was idle, so that the
//!    caller queues it.
//! 3. `next`: the oldest message of the first lane that has one. When there is none the process becomes idle *in the
//!    same critical section*, so a push comes either before, and is found, or after, and queues the process again.
//! 4. `close`: out of the table. From then on every push of this generation is refused; what lies in the lanes goes to
//!    the caller.
//!
//! Data of sockets is bounded. A meta-process whose data is refused waits for its turn: see the page of `turns`.
//!
//! Why a lock and not a lock-free queue for each process: a push is one uncontended lock either way (measured equal), a
//! segmented lock-free queue keeps 1.3 KB for each process that ever got a message, and here the bound, the recycling
//! and the wake-up are exact because they are one step. The consumer takes a whole chunk at once, so it rarely meets
//! the senders. The critical sections are a few dozen instructions and never call out.
//!
//! What the consumer holds of a taken chunk (its [`Batch`]) counts against the bound until it is handled; `in_flight`
//! publishes it. The count only falls between two locked sections, so a sender that reads it late refuses at most a
//! message that would have fitted a moment later, and never accepts one too many. A sender reads it only when the chunk
//! as it was taken would reach the bound: reading it for each message would take its line away from the consumer.

mod overflow;
mod rooms;
mod snapshot;
mod state;

use std::collections::VecDeque;

pub use overflow::MailboxPolicy;
use overflow::Overflow;
pub(super) use overflow::PushedOver;
pub(super) use rooms::RoomWait;
pub use snapshot::Lanes;
pub(super) use snapshot::Snapshot;
use state::{MailboxState, Status};

use super::activity::Identity;
use super::class::{Class, PushError, Pushed};
use super::lane::{Block, Lane};
use super::turns::Resumed;
use crate::base::sync::atomic::{AtomicU32, Ordering::Relaxed};
use crate::base::sync::{Mutex, MutexGuard};
use crate::id::{Alias, Pid};
use crate::message::Priority;
use crate::process::envelope::{Envelope, Payload};
use crate::process::relations::{Related, Relations};

/// Two cache lines, less the state and the identity.
const GAP: usize =
    128_usize.saturating_sub(size_of::<Mutex<MailboxState>>() + size_of::<Identity>());

/// See the module.
///
/// What senders write comes first, and has two cache lines of a cell to itself; what the consumer writes comes behind
/// it. So each message is handled without taking the line of the lock away from those who send.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Mailbox {
    state: Mutex<MailboxState>,
    /// Written at the spawn only, so that it costs the senders nothing to have it here.
    identity: Identity,
    gap: [u8; GAP],
    /// Messages in the urgent and system lanes; a hint, written under the lock.
    priority: AtomicU32,
    /// Messages of the main lane in the consumer's batch.
    in_flight: AtomicU32,
}

/// How many messages the main lane may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// For messages of processes.
    pub(crate) main: u32,
    /// For data of sockets; at most as many.
    pub(crate) data: u32,
}

/// The consumer's side: the chunk it works on.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    chunk: Block,
    /// Meta-processes to be resumed by the caller, filled by [`Mailbox::next`].
    pub(crate) resumed: Vec<Resumed>,
}

impl Batch {
    /// Envelopes of the chunk that are left.
    pub(crate) fn len(&self) -> usize {
        self.chunk.len()
    }
}

/// What a closed mailbox leaves behind.
#[derive(Debug, Default)]
pub(crate) struct ClosedMailbox {
    pub(crate) envelopes: Vec<Envelope>,
    pub(crate) waiters: Option<Box<Waiters>>,
    pub(crate) related: Related,
    /// The generation is used up: the cell must not be used again.
    pub(crate) is_exhausted: bool,
}

/// What waits for room in a mailbox.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    pub(crate) metas: VecDeque<Alias>,
    pub(crate) senders: Vec<Pid>,
}

impl Default for Mailbox {
    fn default() -> Self {
        let state = MailboxState {
            // A generation of 0 stands for no process in `Cell::terminating`.
            generation: 1,
            status: Status::Closed,
            bounds: Bounds {
                main: u32::MAX,
                data: u32::MAX,
            },
            main: Lane::default(),
            others: None,
            related: Related::None,
            data_bound: u32::MAX,
        };
        Self {
            state: Mutex::new(state),
            identity: Identity::default(),
            gap: [0; GAP],
            priority: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
        }
    }
}

impl Mailbox {
    /// Transition 1. Returns the generation.
    #[inline]
    pub(crate) fn open(&self, bounds: Bounds, policy: MailboxPolicy) -> u32 {
        let mut state = self.state.lock();
        debug_assert_eq!(state.status, Status::Closed);
        state.status = Status::Scheduled;
        state.bounds = Bounds {
            data: bounds.data.min(bounds.main),
            ..bounds
        };
        state.data_bound = state.bounds.data;
        // The default policy is the absence of state for one.
        if policy != MailboxPolicy::Refuse {
            self.set_policy(&mut state, policy);
        }
        state.generation
    }

    /// After `init`: idle if there is no message. `false`: the caller queues the process.
    #[inline]
    pub(crate) fn finish_init(&self) -> bool {
        let mut state = self.state.lock();
        let others = state.others.as_ref();
        let empty = state.main.len() == 0 && others.is_none_or(|others| others.has_no_messages());
        if empty {
            state.status = Status::Idle;
        }
        empty
    }

    /// Transition 2; a refused payload comes back. Inlined, so that class and type are constants of each caller, and
    /// the payload becomes an envelope in its place.
    #[inline(always)]
    pub(crate) fn push<L: Into<Payload>>(
        &self,
        generation: u32,
        from: Pid,
        payload: L,
        class: Class,
    ) -> Result<Pushed, (PushError, L)> {
        let mut state = self.state.lock();
        // A closed mailbox has the generation of a pid that has not been handed out yet.
        if state.generation != generation {
            return Err((PushError::Closed, payload));
        }
        // The cheap count first. It takes the consumer's batch for full, so that most pushes never count exactly.
        if state.main.len_at_most() >= state.bound(class)
            && let Some(error) = self.refusal(&mut state, class)
        {
            return Err((error, payload));
        }
        match class {
            Class::Normal(Priority::Normal) | Class::Data(_) | Class::Control => {
                let slot = state.main.slot();
                *slot = Some(Envelope {
                    from,
                    payload: payload.into(),
                });
            }
            Class::Normal(Priority::High | Priority::Max | Priority::Log) | Class::Urgent => {
                self.push_other(
                    &mut state,
                    Envelope {
                        from,
                        payload: payload.into(),
                    },
                    class,
                );
            }
        }
        match std::mem::replace(&mut state.status, Status::Scheduled) {
            Status::Idle => Ok(Pushed::Idle),
            Status::Scheduled | Status::Closed => Ok(Pushed::Behind),
        }
    }

    /// Whether the mailbox is full, counted exactly. Data that is refused is resumed later.
    #[cold]
    fn refusal(&self, state: &mut MailboxState, class: Class) -> Option<PushError> {
        let queued = self.queued_in_main(state);
        let Class::Data(claim) = class else {
            let others = state.others.as_ref();
            let error = match others.is_some_and(|others| others.overflow.is_some()) {
                true => PushError::Overflow,
                false => PushError::Full,
            };
            return (queued >= state.bound(class)).then_some(error);
        };
        let bound = state.data_bound as usize;
        let is_full = match &state.others {
            Some(others) => others.turns.refuse(claim, queued, bound),
            None => queued >= bound,
        };
        if is_full {
            state.others.get_or_insert_default().turns.wait(claim);
            // As long as a meta-process waits, each push of data takes this path, and no newcomer gets in before it.
            state.bounds.data = 0;
        }
        is_full.then_some(PushError::Full)
    }

    /// Messages of the main lane, those in the consumer's batch included.
    fn queued_in_main(&self, state: &MailboxState) -> usize {
        state.main.len() + self.in_flight.load(Relaxed) as usize
    }

    /// The turn of a resumed meta-process has ended: what it was granted is room for the next ones.
    pub(crate) fn end_turn(&self, generation: u32, messages: u32, resumed: &mut Vec<Resumed>) {
        let mut state = self.state.lock();
        // The process has ended, and its end has resumed the waiters.
        if state.generation != generation {
            return;
        }
        let queued = self.queued_in_main(&state);
        let bound = state.data_bound;
        if let Some(others) = &mut state.others {
            others.turns.end(messages, queued, bound, resumed);
        }
        state.forget_waiters();
    }

    /// Into another lane than the main one.
    #[cold]
    fn push_other(&self, state: &mut MailboxState, envelope: Envelope, class: Class) {
        let others = state.others.get_or_insert_default();
        let lane = match class {
            Class::Normal(Priority::Log) => return others.log.push_back(envelope),
            Class::Normal(Priority::High) => &mut others.system,
            // Of these only `Max` and `Urgent` come here; the others are of the main lane.
            Class::Normal(Priority::Max | Priority::Normal)
            | Class::Urgent
            | Class::Data(_)
            | Class::Control => &mut others.urgent,
        };
        lane.push_back(envelope);
        // Relaxed: a consumer that reads it late handles its batch first, and takes the lock before it becomes idle.
        self.priority.fetch_add(1, Relaxed);
    }

    /// Transition 3, for the one worker that runs the process. `None`: the process is idle now, and may already run on
    /// another worker, so that the caller must not touch it.
    #[inline]
    pub(crate) fn next(&self, batch: &mut Batch) -> Option<Envelope> {
        // The batch is handled without the lock, unless another lane has a message: that goes first.
        if self.priority.load(Relaxed) == 0
            && let Some(envelope) = batch.chunk.pop_front()
        {
            self.in_flight.store(batch.chunk.len() as u32, Relaxed);
            return Some(envelope);
        }
        self.next_locked(batch)
    }

    fn next_locked(&self, batch: &mut Batch) -> Option<Envelope> {
        let mut state = self.state.lock();
        if state.others.is_some()
            && let Some(envelope) = self.next_of_all(&mut state, batch)
        {
            self.in_flight.store(batch.chunk.len() as u32, Relaxed);
            return Some(envelope);
        }
        // Without an urgent message the batch is empty here.
        if state.main.len() > 0 {
            let found = state.main.take(&mut batch.chunk);
            self.in_flight.store(batch.chunk.len() as u32, Relaxed);
            return found;
        }
        if let Some(message) = state.next_log() {
            return Some(message);
        }
        // An idle process keeps no room that a burst once needed.
        state.main.release(&mut batch.chunk);
        state.others.take_if(|others| others.is_empty());
        state.status = Status::Idle;
        None
    }

    /// What goes before the main lane and what is left in the batch, for a mailbox that has more than a main lane.
    #[cold]
    fn next_of_all(&self, state: &mut MailboxState, batch: &mut Batch) -> Option<Envelope> {
        let others = state.others.as_mut()?;
        if let Some(envelope) = others
            .urgent
            .pop_front()
            .or_else(|| others.system.pop_front())
        {
            self.priority.fetch_sub(1, Relaxed);
            return Some(envelope);
        }
        let queued = state.main.len() + batch.chunk.len();
        let resumed = &mut batch.resumed;
        others.turns.resume(queued, state.data_bound, resumed);
        let senders = others.rooms.take(queued, state.bounds.main);
        let drops_oldest = others.overflow.as_ref().is_some_and(Overflow::drops_oldest);
        state.forget_waiters();
        if let Some(senders) = senders {
            let (from, payload) = (Pid::NODE, Payload::NotifyRoom(senders));
            return Some(Envelope { from, payload });
        }
        // Straight from the lane: in a batch a full mailbox could not find its oldest message.
        if drops_oldest {
            return state.main.remove_first(|_| true);
        }
        batch.chunk.pop_front()
    }

    /// Transition 4, for the one worker that runs the process, or its spawner.
    pub(crate) fn close(&self, batch: &mut Batch) -> ClosedMailbox {
        let mut state = self.state.lock();
        state.status = Status::Closed;
        state.generation += 1;
        let mut closed = ClosedMailbox {
            envelopes: Vec::new(),
            waiters: None,
            related: std::mem::take(&mut state.related),
            is_exhausted: state.generation == u32::MAX,
        };
        // Most processes end with an empty mailbox.
        if state.others.is_none() && batch.chunk.len() == 0 && state.main.len() == 0 {
            state.main.release(&mut batch.chunk);
        } else {
            state.empty_into(batch, &mut closed);
        }
        self.priority.store(0, Relaxed);
        self.in_flight.store(0, Relaxed);
        closed
    }

    /// Whether a process of that generation lives here.
    pub(crate) fn is_open(&self, generation: u32) -> bool {
        let state = self.state.lock();
        state.generation == generation && state.status != Status::Closed
    }

    /// The generation of the process that lives here now.
    pub(crate) fn generation(&self) -> Option<u32> {
        let state = self.state.lock();
        (state.status != Status::Closed).then_some(state.generation)
    }

    /// What the process is; of another field than the state, and without its lock.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Changes what this process is related to; `None` if it is gone.
    pub(crate) fn with_relations<R>(
        &self,
        generation: u32,
        change: impl FnOnce(&mut Relations) -> R,
    ) -> Option<R> {
        self.with_related(generation, |related| related.change(change))
    }

    /// The same for what needs no table.
    pub(crate) fn with_related<R>(
        &self,
        generation: u32,
        change: impl FnOnce(&mut Related) -> R,
    ) -> Option<R> {
        let mut state = self.open_state(generation)?;
        Some(change(&mut state.related))
    }

    /// The locked state; `None` if the process is gone.
    fn open_state(&self, generation: u32) -> Option<MutexGuard<'_, MailboxState>> {
        let state = self.state.lock();
        let is_here = state.generation == generation && state.status != Status::Closed;
        is_here.then_some(state)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
