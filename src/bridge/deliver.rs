//! How the I/O half reaches processes: the trait [`Deliver`], which the process table implements.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::monitor::EndNotice;
use super::timer_event::TimerEvent;
use crate::base::blocking::Job;
use crate::error::Reason;
use crate::id::{Alias, Pid, Ref, Target};
use crate::message::CompactMessage;
use crate::message::{Message, MessageReply, MessageTcpConnect};
use crate::record::Level;

/// What an ack is requested behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Data, of which this many bytes are acknowledged when the owner comes to it.
    Data(u32),
    /// The end of the data: the peer has ended its side.
    End,
    /// All input that the owner gives back.
    Fence,
}

/// Who is notified of an end. It is kept by the process, meta-process or event that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Watcher {
    Link(Pid),
    Monitor(Pid, Ref),
    /// A monitor that was set by the name of a process: the loss of the name ends it as well.
    NameMonitor(Pid, Ref),
    /// Outside of the node.
    Outside(Arc<EndNotice>),
}

impl Watcher {
    /// Links come first, then monitors in the order in which they were made, then those outside.
    fn key(&self) -> (u8, Option<Ref>, Pid, usize) {
        match self {
            Self::Link(pid) => (0, None, *pid, 0),
            Self::Monitor(pid, monitor) => (1, Some(*monitor), *pid, 0),
            Self::NameMonitor(pid, monitor) => (1, Some(*monitor), *pid, 1),
            // By address, which keeps two of them apart. Their order has no meaning.
            Self::Outside(notice) => (2, None, Pid::NODE, Arc::as_ptr(notice).addr()),
        }
    }
}

/// Of a notice only the address counts, so that what it holds may change while it is in a set.
impl Hash for Watcher {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.key().hash(hasher);
    }
}

impl Ord for Watcher {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Watcher {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether data comes from a newcomer, or in a turn that its mailbox has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// There is room, and no other waits for it; if not, this meta-process becomes the last waiter. It must not be one.
    Newcomer(Alias),
    /// The mailbox has resumed this meta-process, and the message is one of those that were granted.
    InTurn(Alias),
}

/// Why a delivery failed. The message comes back.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// The process is gone.
    Gone(CompactMessage),
    /// Its mailbox is full; the waiter has been noted and gets a resume command.
    Full(CompactMessage),
}

/// What the I/O half knows of processes.
///
/// Order: two deliveries by one caller to one process arrive in order. None of these calls runs user code or blocks.
pub(crate) trait Deliver: Send + Sync {
    /// Delivers data: refused when the mailbox has reached its bound, or others wait for room. Then the
    /// meta-process waits, and gets a [`Command::Resume`](crate::bridge::Command) when it is its turn.
    fn deliver_data(
        &self,
        to: Pid,
        from: Pid,
        message: CompactMessage,
        claim: Claim,
    ) -> Result<(), Undelivered>;

    /// Ends the turn of a meta-process that `to` resumed with this number of messages.
    fn end_turn(&self, to: Pid, messages: u32);

    /// Delivers a message that a full mailbox cannot refuse. `false`: the process is gone.
    fn deliver_control(&self, to: Pid, from: Pid, message: Message) -> bool;

    /// Requests an ack behind the data of a connection: [`Command::Acked`](crate::bridge::Command) comes back when the
    /// process has handled what was delivered before. `false`: the process is gone.
    fn deliver_ack(&self, to: Pid, alias: Alias, ack: Ack) -> bool;

    /// Delivers the Connect of a connection that was lost: in the step in which the worker of `to` takes it, the
    /// connection accepts sends again. `false`: the process is gone.
    fn deliver_reopened(&self, to: Pid, connect: Box<MessageTcpConnect>) -> bool;

    /// Lets the worker of `to` give out what it has set aside of the input of `alias`. A process that has ended has
    /// nothing to give out.
    fn deliver_release(&self, to: Pid, alias: Alias);

    /// Lets the session `to` know that it should come to its end. Another process is not a session, and gets nothing.
    fn deliver_drain(&self, to: Pid);

    /// Sends an exit signal or a `Down` to one that watched `target`.
    fn notify(&self, watcher: Watcher, target: Target, reason: &Reason);

    /// Does what a timer was set for.
    fn handle_expired(&self, event: TimerEvent);

    /// Has `alias` get an exit when `pid` ends: a child of it, or a connection that it owns. `false`: it is gone.
    fn adopt(&self, pid: Pid, alias: Alias) -> bool;

    /// As `adopt`, for one that holds an address: it is closed before the process's `terminate`.
    fn adopt_listener(&self, pid: Pid, alias: Alias) -> bool;

    /// Takes either back.
    fn disown(&self, pid: Pid, alias: Alias);

    /// The process that holds the name.
    fn resolve(&self, name: &str) -> Option<Pid>;

    /// Whether the process spreads its messages over workers.
    fn is_pool(&self, pid: Pid) -> bool;

    /// The level of records of the process and its sockets, if it differs from the node's.
    fn log_level(&self, pid: Pid) -> Option<Level>;

    /// Whether the process lives.
    fn is_alive(&self, pid: Pid) -> bool;

    /// Delivers the answer to a request of the process. An answer to a process that has ended is dropped.
    fn deliver_reply(&self, pid: Pid, reply: Box<MessageReply>);

    /// Whether the process lives and has not canceled that request.
    fn is_waiting(&self, pid: Pid, request: Ref) -> bool;

    /// Runs a job on a thread that may block, as work of that process. The job comes back if too much work waits, or
    /// the node stops.
    fn run_blocking(&self, pid: Pid, job: Job) -> Result<(), Job>;

    /// The time until that point on the node's clock; zero if it has passed.
    fn time_until(&self, deadline_ms: u64) -> Duration;
}

impl fmt::Debug for dyn Deliver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deliver")
    }
}
