//! The command queues of all stripes, and the aliases of their meta-processes.
//!
//! One queue for each stripe, first in, first out: what was sent before a close or an exit signal is handled before it.
//! An alias is live while the generation in its [send quota](super::send_quota) is its own. The slots are allocated here,
//! because an alias must be known to its spawner before the stripe has inserted the meta-process.
//!
//! This module does not run anything: the stripes of `poll` drain the queues.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use super::command::Command;
use super::queue::CommandQueue;
use super::send_quota::{ReserveError, SendQuota};
use super::wakers::StripeWakers;
use crate::error::{SendErrorKind, SpawnError};
use crate::id::{Alias, Pid};
use crate::memory::arena::{Arena, IndexAllocator};
use crate::message::CompactMessage;
use crate::message::SendError;

/// Commands of a stripe that cost no memory of their own, 24 KiB in all.
const RING: usize = 512;

/// The command queues of all stripes.
pub(crate) struct Commands {
    stripes: Box<[StripeCommands]>,
    wakers: StripeWakers,
    next_stripe: AtomicUsize,
    live: AtomicUsize,
    /// Bytes that were accepted by meta-processes that have ended, and never sent.
    unsent: AtomicU64,
    stopping: AtomicBool,
    /// Woken when the last meta-process has ended.
    emptied: Waker,
}

/// The commands of one stripe, and the send quotas of its meta-processes.
struct StripeCommands {
    queue: CommandQueue<Command>,
    quotas: Arena<SendQuota>,
    slots: IndexAllocator,
}

impl StripeCommands {
    fn new() -> Self {
        Self {
            queue: CommandQueue::new(RING),
            quotas: Arena::new(),
            slots: IndexAllocator::new(0, Alias::SLOTS),
        }
    }
}

impl Commands {
    /// Creates the queues of all stripes that `wakers` wakes. `emptied` is woken when the last meta-process has ended.
    pub(crate) fn new(wakers: StripeWakers, emptied: Waker) -> Self {
        Self {
            stripes: (0..wakers.stripes())
                .map(|_| StripeCommands::new())
                .collect(),
            wakers,
            next_stripe: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            unsent: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            emptied,
        }
    }

    /// Meta-processes that live now.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// A new alias on the next stripe in turn, accepting `output_limit` bytes of output.
    pub(crate) fn allocate(&self, output_limit: u32) -> Result<Alias, SpawnError> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(SpawnError::Stopping);
        }
        let stripe = self.next_stripe.fetch_add(1, Ordering::Relaxed) % self.stripes.len();
        let stripe_commands = &self.stripes[stripe];
        let slot = stripe_commands
            .slots
            .take()
            .ok_or(SpawnError::Limit("meta-processes"))?;
        let generation = stripe_commands.quotas.ensure(slot).open(output_limit);
        self.live.fetch_add(1, Ordering::AcqRel);
        Ok(Alias::new(stripe, slot, generation))
    }

    /// Ends an alias; from now on it is stale. Returns the bytes that were accepted and never sent. The slot is not used
    /// again before [`Commands::recycle`].
    pub(crate) fn retire(&self, alias: Alias) -> usize {
        let unsent = self.stripes[alias.stripe()]
            .quotas
            .ensure(alias.slot())
            .release();
        if unsent > 0 {
            self.unsent.fetch_add(unsent as u64, Ordering::Relaxed);
        }
        unsent
    }

    /// Bytes that were accepted and never sent, of all meta-processes that have ended.
    pub(crate) fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Gives the slot of a retired alias to the next in need.
    pub(crate) fn recycle(&self, alias: Alias) {
        let stripe_commands = &self.stripes[alias.stripe()];
        if stripe_commands.quotas.ensure(alias.slot()).is_reusable() {
            stripe_commands.slots.give(alias.slot());
        }
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.wake_by_ref();
        }
    }

    /// From now on no alias is handed out.
    pub(crate) fn stop_spawning(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The sender's side of an alias, if there is one that old.
    #[inline]
    pub(crate) fn quota(&self, alias: Alias) -> Option<&SendQuota> {
        self.stripes.get(alias.stripe())?.quotas.get(alias.slot())
    }

    pub(crate) fn is_live(&self, alias: Alias) -> bool {
        self.quota(alias)
            .is_some_and(|quota| quota.is_current(alias.generation()))
    }

    /// Sends a message: accepted as a whole or returned.
    #[inline]
    pub(crate) fn send(
        &self,
        to: Alias,
        from: Pid,
        message: CompactMessage,
    ) -> Result<(), SendError> {
        let bytes = message.output_bytes();
        let outcome = match self.quota(to) {
            Some(quota) if bytes == 0 && !matches!(message, CompactMessage::Tcp(_)) => {
                if quota.is_current(to.generation()) {
                    Ok(())
                } else {
                    Err(ReserveError::Stale)
                }
            }
            Some(quota) => quota.reserve(to.generation(), bytes),
            None => Err(ReserveError::Stale),
        };
        match outcome {
            Ok(()) => {
                self.push(to.stripe(), Command::Message { to, from, message });
                Ok(())
            }
            Err(refusal) => Err(SendError::new(refusal.into(), to, message.unpack())),
        }
    }

    /// Sends a command that carries no bytes. A stale alias gets it too: the stripe knows what to answer.
    #[inline]
    pub(crate) fn push(&self, stripe: usize, command: Command) {
        if let Some(stripe_commands) = self.stripes.get(stripe) {
            stripe_commands.queue.push(command);
            self.wakers.wake(stripe);
        }
    }

    /// The oldest command of a stripe.
    #[inline]
    pub(crate) fn pop(&self, stripe: usize) -> Option<Command> {
        self.stripes[stripe].queue.pop()
    }

    /// Makes a stripe run.
    pub(crate) fn wake(&self, stripe: usize) {
        self.wakers.wake(stripe);
    }
}

impl From<ReserveError> for SendErrorKind {
    fn from(refusal: ReserveError) -> Self {
        match refusal {
            ReserveError::Stale => Self::NoMeta,
            ReserveError::Closing => Self::Closing,
            ReserveError::Full => Self::OutputFull,
            ReserveError::TooLarge => Self::TooLarge,
        }
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands")
            .field("stripes", &self.stripes.len())
            .field("live", &self.live())
            .finish()
    }
}
