//! Commands: how everybody talks to meta-processes.
//!
//! ```text
//!  actor ── send_alias ──▶ outlet cell (accepts bytes) ──▶ lock-free queue of the stripe ──▶ bell ──▶ stripe runs
//! ```
//!
//! One queue for each stripe, first in, first out: what was sent before a close or an exit signal is handled before it.
//! An alias is live while the generation in its [outlet cell](outlet) is its own; slots of cells are handed out here,
//! because an alias must be known before the stripe has heard of its meta-process.
//!
//! This module does not run anything: the stripes of `poll` drain the queues.

pub(crate) mod outlet;
mod queue;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::chunks::{Chunks, Slots};
use crate::error::{SendError, SendErrorKind, SpawnError};
use crate::id::{Alias, Pid, Target};
use crate::inspect::InspectReply;
use crate::message::{Mark, Message, Watcher};
use crate::packed::Packed;
use crate::reason::Reason;
use crate::request::Reply;
use outlet::{Outlet, Refusal};
use queue::CommandQueue;

/// Commands of a stripe that cost no memory of their own, 24 KiB in all.
const RING: usize = 512;

/// What a meta-process can be told. Commands for an alias that has ended are dropped by the stripe.
#[derive(Debug)]
pub(crate) enum Command {
    /// A message; the bytes of a [`Message::Tcp`] or [`Message::Udp`] have been accepted by the outlet.
    Message {
        to: Alias,
        from: Pid,
        message: Packed,
    },
    /// A request.
    Call {
        to: Alias,
        from: Pid,
        call: Box<(Message, Reply)>,
    },
    /// An exit signal.
    Exit { to: Alias, reason: Reason },
    /// Tell this watcher of the end; at once, if it has ended.
    Watch { to: Alias, watcher: Watcher },
    /// Do not tell it after all.
    Unwatch { to: Alias, watcher: Watcher },
    /// The mailbox that refused data has room.
    Resume { to: Alias },
    /// The owner has handled everything that was delivered before the mark.
    Passed { to: Alias, mark: Mark },
    /// A timer has fired.
    Timer { to: Alias, deadline_ms: u64 },
    /// A question about itself.
    Inspect { to: Alias, reply: InspectReply },
    /// The node stops: take in nothing new.
    StopAccepting,
    /// The node stops: finish.
    Finish,
}

impl Command {
    /// Whether it may start a time that its sender counts from the send: an order, in contrast to data and news.
    #[inline]
    pub(crate) fn is_order(&self) -> bool {
        !matches!(
            self,
            Self::Message {
                message: Packed::Tcp(_) | Packed::Other(_),
                ..
            } | Self::Resume { .. }
                | Self::Passed { .. }
                | Self::Timer { .. }
        )
    }
}

/// What timers do when they fire.
#[derive(Debug)]
pub(crate) enum Fire {
    /// Send a message.
    Send {
        to: Target,
        from: Pid,
        message: Message,
    },
    /// Tell a meta-process that its deadline has come.
    Meta(Alias, u64),
    /// End the wait for a request.
    Request(Pid, crate::id::Ref),
}

/// What a datagram of that length counts against the output limit. A small one takes more memory than its bytes, and an
/// empty one takes some: a flood of them must be bounded too.
#[inline]
pub(crate) fn datagram_bytes(length: usize) -> usize {
    length.max(64)
}

/// What a message counts against the output limit of the meta-process that it is sent to.
#[inline]
pub(crate) fn output_bytes(message: &Message) -> usize {
    match message {
        Message::Tcp(packet) => packet.data.len(),
        Message::Udp(packet) => datagram_bytes(packet.data.len()),
        #[cfg(unix)]
        Message::UnixDatagram(packet) => datagram_bytes(packet.data.len()),
        _ => 0,
    }
}

/// Gets a stripe to run.
pub(crate) trait Bell: Send + Sync {
    fn ring(&self, stripe: usize);
}

/// The command queues of all stripes.
pub(crate) struct Commands {
    stripes: Box<[Mail]>,
    bell: Box<dyn Bell>,
    turn: AtomicUsize,
    live: AtomicUsize,
    /// Bytes that were accepted by meta-processes that have ended, and never sent.
    unsent: AtomicU64,
    stopping: AtomicBool,
    /// Called when the last meta-process has ended.
    emptied: Box<dyn Fn() + Send + Sync>,
}

struct Mail {
    queue: CommandQueue<Command>,
    outlets: Chunks<Outlet>,
    slots: Slots,
}

impl Commands {
    /// `bell` is rung whenever a stripe has something to do.
    pub(crate) fn new(
        stripes: usize,
        bell: Box<dyn Bell>,
        emptied: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let mail = || Mail {
            queue: CommandQueue::new(RING),
            outlets: Chunks::new(),
            slots: Slots::new(0, Alias::SLOTS),
        };
        Self {
            stripes: std::iter::repeat_with(mail).take(stripes).collect(),
            bell,
            turn: AtomicUsize::new(0),
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
        let stripe = self.turn.fetch_add(1, Ordering::Relaxed) % self.stripes.len();
        let mail = &self.stripes[stripe];
        let slot = mail
            .slots
            .take()
            .ok_or(SpawnError::Limit("meta-processes"))?;
        let generation = mail.outlets.ensure(slot).open(output_limit);
        self.live.fetch_add(1, Ordering::AcqRel);
        Ok(Alias::new(stripe, slot, generation))
    }

    /// Ends an alias; from now on it is stale. Returns the bytes that were accepted and never sent. The slot is not used
    /// again before [`Commands::recycle`].
    pub(crate) fn retire(&self, alias: Alias) -> usize {
        let unsent = self.stripes[alias.stripe()]
            .outlets
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
        let mail = &self.stripes[alias.stripe()];
        if mail.outlets.ensure(alias.slot()).is_reusable() {
            mail.slots.give(alias.slot());
        }
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            (self.emptied)();
        }
    }

    /// From now on no alias is handed out.
    pub(crate) fn stop_spawning(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The sender's side of an alias, if there is one that old.
    #[inline]
    pub(crate) fn outlet(&self, alias: Alias) -> Option<&Outlet> {
        self.stripes.get(alias.stripe())?.outlets.get(alias.slot())
    }

    pub(crate) fn is_live(&self, alias: Alias) -> bool {
        self.outlet(alias)
            .is_some_and(|outlet| outlet.is_current(alias.generation()))
    }

    /// Sends a message: accepted as a whole or returned.
    #[inline]
    pub(crate) fn send(&self, to: Alias, from: Pid, message: Packed) -> Result<(), SendError> {
        let bytes = message.output_bytes();
        let outcome = match self.outlet(to) {
            Some(outlet) if bytes == 0 && !matches!(message, Packed::Tcp(_)) => {
                if outlet.is_current(to.generation()) {
                    Ok(())
                } else {
                    Err(Refusal::Stale)
                }
            }
            Some(outlet) => outlet.reserve(to.generation(), bytes),
            None => Err(Refusal::Stale),
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
        if let Some(mail) = self.stripes.get(stripe) {
            mail.queue.push(command);
            self.bell.ring(stripe);
        }
    }

    /// The oldest command of a stripe.
    #[inline]
    pub(crate) fn pop(&self, stripe: usize) -> Option<Command> {
        self.stripes[stripe].queue.pop()
    }

    pub(crate) fn ring(&self, stripe: usize) {
        self.bell.ring(stripe);
    }
}

impl From<Refusal> for SendErrorKind {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Stale => Self::NoMeta,
            Refusal::Closing => Self::Closing,
            Refusal::Full => Self::OutputFull,
            Refusal::TooLarge => Self::TooLarge,
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
