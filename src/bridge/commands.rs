//! The command queues of all stripes, and the aliases of their meta-processes.
//!
//! One queue for each stripe, first in, first out: what was sent before a close or an exit signal is handled before it.
//! An alias is live while the generation in its [send quota](super::send_quota) is its own. The slots are allocated
//! here, because an alias must be known to its spawner before the stripe has inserted the meta-process.
//!
//! This module does not run anything: the stripes of `poll` drain the queues.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use super::command::Command;
use super::queue::CommandQueue;
use super::send_quota::{QuotaOptions, ReserveError, SendQuota};
use super::socket_command::SocketCommand;
use super::wakers::StripeWakers;
use crate::error::{SendErrorKind, SpawnError};
use crate::id::{Alias, Pid};
use crate::memory::arena::{Arena, IndexAllocator};
use crate::memory::buffer::Buffer;
use crate::message::{
    CompactMessage, Flow, Message, MessageTcp, MessageUdp, RelayError, SendError, WriteData,
    WriteError, WriteErrorKind,
};

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
    /// Of those that have ended in the last phase of a stop.
    unflushed: AtomicUsize,
    /// Writes to meta-processes that had ended.
    late_writes: AtomicU64,
    stopping: AtomicBool,
    /// Whether any output has been above its high mark since the node was started. Stored after the *above* bit of the
    /// quota: a thread that does not see this flag yet acts as if it had looked before the bit was set. The thread that
    /// sets both sees both.
    was_above: AtomicBool,
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
            unflushed: AtomicUsize::new(0),
            late_writes: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            was_above: AtomicBool::new(false),
            emptied,
        }
    }

    /// Meta-processes that live now.
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Allocates an alias on the next stripe. `owner` is the process that gets its Writable.
    pub(crate) fn allocate(&self, options: QuotaOptions, owner: Pid) -> Result<Alias, SpawnError> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(SpawnError::Stopping);
        }
        // Relaxed: the counter only spreads the meta-processes and may wrap around.
        let stripe = self.next_stripe.fetch_add(1, Ordering::Relaxed) % self.stripes.len();
        let stripe_commands = &self.stripes[stripe];
        let slot = stripe_commands
            .slots
            .take()
            .ok_or(SpawnError::Limit("meta-processes"))?;
        let generation = stripe_commands.quotas.ensure(slot).open(options, owner);
        // Counted before the alias is known to any other thread, so that a stop that finds none alive is right.
        self.live.fetch_add(1, Ordering::AcqRel);
        Ok(Alias::new(stripe, slot, generation))
    }

    /// The number of stripes.
    pub(crate) fn stripes(&self) -> usize {
        self.stripes.len()
    }

    /// Makes an alias stale. Returns the bytes that were accepted and never sent. The slot is not used
    /// again before [`Commands::free`].
    pub(crate) fn invalidate(&self, alias: Alias) -> usize {
        let unsent = self.stripes[alias.stripe()]
            .quotas
            .ensure(alias.slot())
            .release();
        // Most end with nothing unsent, and leave the counter that all stripes share alone.
        if unsent > 0 {
            self.unsent.fetch_add(unsent as u64, Ordering::Relaxed);
        }
        unsent
    }

    /// Counts a meta-process that the stop of the node has ended before it had sent everything.
    pub(crate) fn count_unflushed(&self) {
        self.unflushed.fetch_add(1, Ordering::Relaxed);
    }

    /// Meta-processes that the stop of the node has ended before they had sent everything.
    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed.load(Ordering::Relaxed)
    }

    /// Bytes that were accepted and never sent, of all meta-processes that have ended.
    pub(crate) fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Frees the slot of a stale alias for reuse.
    pub(crate) fn free(&self, alias: Alias) {
        let stripe_commands = &self.stripes[alias.stripe()];
        // A cell that has used its last generation is given up: a further one would make the aliases of its first
        // meta-processes valid again.
        if stripe_commands.quotas.ensure(alias.slot()).is_reusable() {
            stripe_commands.slots.give(alias.slot());
        }
        // AcqRel, so that what the last one did happens before what the stop does that it wakes.
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.wake_by_ref();
        }
    }

    /// From now on no alias is handed out.
    pub(crate) fn stop_spawning(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The send quota of an alias; `None` for an alias that this node has never handed out.
    #[inline]
    pub(crate) fn quota(&self, alias: Alias) -> Option<&SendQuota> {
        self.stripes.get(alias.stripe())?.quotas.get(alias.slot())
    }

    /// Bytes that wait to be sent; 0 for a stale alias.
    pub(crate) fn queued_bytes(&self, alias: Alias) -> usize {
        self.quota(alias)
            .filter(|quota| quota.is_current(alias.generation()))
            .map_or(0, SendQuota::queued)
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
            // What carries no bytes takes no quota and cannot be refused for lack of room, so that an abort reaches a
            // connection whose output is full. An empty Tcp message is data, and after a close it is refused as data
            // is.
            Some(quota) if bytes == 0 && !matches!(message, CompactMessage::Tcp(_)) => {
                if quota.is_current(to.generation()) {
                    Ok(())
                } else {
                    Err(ReserveError::Stale)
                }
            }
            Some(quota) => self.reserve(quota, to.generation(), bytes),
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

    /// Has a quota accept bytes, and notes that its output is above the high mark.
    #[inline]
    pub(crate) fn reserve(
        &self,
        quota: &SendQuota,
        generation: u32,
        bytes: usize,
    ) -> Result<(), ReserveError> {
        if quota.accept_below_marks(generation, bytes) {
            return Ok(());
        }
        self.reserve_at_mark(quota, generation, bytes)
    }

    #[cold]
    fn reserve_at_mark(
        &self,
        quota: &SendQuota,
        generation: u32,
        bytes: usize,
    ) -> Result<(), ReserveError> {
        let outcome = quota.reserve(generation, bytes);
        if quota.is_above(generation) {
            self.was_above.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// The same for a write.
    #[inline]
    fn reserve_write(
        &self,
        quota: &SendQuota,
        generation: u32,
        bytes: usize,
    ) -> Result<bool, ReserveError> {
        let outcome = quota.reserve_write(generation, bytes);
        if matches!(outcome, Ok(true) | Err(ReserveError::Full)) {
            self.was_above.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Whether any output has been above its high mark. Until then no owner has to look for the output of a connection
    /// before it handles the input, which takes a look-up for each message.
    #[inline]
    pub(crate) fn was_above(&self) -> bool {
        self.was_above.load(Ordering::Relaxed)
    }

    /// Writes to a connection: accepted as a whole, or refused as its policy says. Nothing comes back, and nothing is
    /// lost in the middle of the stream: a write that does not fit closes the connection, unless its policy is to drop.
    pub(crate) fn write(&self, to: Alias, from: Pid, data: WriteData) {
        let bytes = data.len();
        let Some(quota) = self.quota(to) else {
            self.late_writes.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match self.reserve_write(quota, to.generation(), bytes) {
            Ok(_) => self.push_write(to, from, data),
            Err(ReserveError::Stale) => {
                self.late_writes.fetch_add(1, Ordering::Relaxed);
            }
            // The Disconnect of the connection will name these bytes.
            Err(ReserveError::Closing | ReserveError::Down) => quota.count_refused(bytes),
            // Nothing of the stream is missing without it.
            Err(ReserveError::Full) if bytes == 0 => {}
            Err(ReserveError::Full | ReserveError::TooLarge) => {
                quota.count_refused(bytes);
                // Of many writers that overflow one connection, the first closes it.
                if quota.closes_on_overflow() && quota.overflow(to.generation()) {
                    let message = Message::new(SocketCommand::Overflow).into();
                    self.push(to.stripe(), Command::Message { to, from, message });
                }
            }
        }
    }

    /// Writes to a connection, or gives the bytes back. Only its owner learns that the output is above its high mark,
    /// because only the owner gets the Writable.
    pub(crate) fn try_write(
        &self,
        to: Alias,
        from: Pid,
        data: WriteData,
    ) -> Result<Flow, WriteError> {
        let Some(quota) = self.quota(to) else {
            return Err(WriteError::new(WriteErrorKind::Closed, data));
        };
        let is_owner = quota.is_owner(from);
        // Another process would get no Writable, so it is refused at the mark and has nothing to wait for.
        if !is_owner && quota.is_above(to.generation()) {
            return Err(WriteError::new(WriteErrorKind::Full, data));
        }
        match self.reserve_write(quota, to.generation(), data.len()) {
            Ok(is_above) => {
                self.push_write(to, from, data);
                Ok(if is_above && is_owner {
                    Flow::AboveHigh
                } else {
                    Flow::Open
                })
            }
            Err(error) => Err(WriteError::new(error.into(), data)),
        }
    }

    /// Passes bytes from one connection of a relay to the other, `to`. Returns whether the sender has to stop until the
    /// output of `to` has fallen to its low mark. `None`: `to` has ended, and the bytes are dropped.
    pub(crate) fn relay(&self, to: Alias, from: Pid, data: Buffer) -> Option<bool> {
        let quota = self.quota(to)?;
        let is_above = quota.reserve_relayed(to.generation(), data.len())?;
        if is_above {
            self.was_above.store(true, Ordering::Relaxed);
        }
        self.push_write(to, from, WriteData::Owned(data));
        Some(is_above)
    }

    /// Whether a process may relay the connection.
    pub(crate) fn check_relay(&self, connection: Alias, by: Pid) -> Result<&SendQuota, RelayError> {
        // A cell is used again: a stale alias may name that of another connection.
        let quota = self
            .quota(connection)
            .filter(|quota| quota.is_current(connection.generation()))
            .ok_or(RelayError::Closed(connection))?;
        // The owner first: another process learns nothing of a connection that is not its own.
        if !quota.is_owner(by) {
            Err(RelayError::NotOwner(connection))
        } else if quota.is_down() {
            Err(RelayError::Closed(connection))
        } else if !quota.is_established() {
            Err(RelayError::NotEstablished(connection))
        } else {
            Ok(quota)
        }
    }

    fn push_write(&self, to: Alias, from: Pid, data: WriteData) {
        let message = match data {
            WriteData::Owned(data) => CompactMessage::Tcp(MessageTcp { id: to, data }),
            WriteData::Shared(data) => Message::new(SocketCommand::Write(data)).into(),
        };
        self.push(to.stripe(), Command::Message { to, from, message });
    }

    /// Sends a datagram, or drops and counts it.
    pub(crate) fn send_datagram(&self, to: Alias, from: Pid, datagram: MessageUdp) {
        let bytes = datagram.data.len();
        if self.send(to, from, Message::Udp(datagram).into()).is_err()
            // The counters of a cell whose alias is stale belong to the next meta-process.
            && let Some(quota) = self.quota(to)
            && quota.is_current(to.generation())
        {
            quota.count_refused(bytes);
        }
    }

    /// Writes to meta-processes that had ended.
    pub(crate) fn late_writes(&self) -> u64 {
        self.late_writes.load(Ordering::Relaxed)
    }

    /// Sends a command that carries no bytes. A stale alias gets it too: the stripe knows what to answer.
    #[inline]
    pub(crate) fn push(&self, stripe: usize, command: Command) {
        // An alias of another node may name a stripe that this one does not have.
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

impl From<ReserveError> for WriteErrorKind {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Stale | ReserveError::Closing => Self::Closed,
            ReserveError::Down => Self::Reconnecting,
            ReserveError::Full => Self::Full,
            ReserveError::TooLarge => Self::TooLarge,
        }
    }
}

impl From<ReserveError> for SendErrorKind {
    fn from(refusal: ReserveError) -> Self {
        match refusal {
            ReserveError::Stale => Self::NoMeta,
            ReserveError::Closing => Self::Closing,
            ReserveError::Down => Self::Reconnecting,
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
