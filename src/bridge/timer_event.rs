//! What a timer does when it expires, and how it is named.

use std::sync::Arc;

use super::request::Expiry;
use super::ticker::Ticker;
use crate::id::{Alias, Pid, Ref, Target};
use crate::message::Message;
use crate::time::wheel::TimerKey;

/// A timer that has been set; see [`Context::send_after`](crate::Context::send_after) and
/// [`Context::send_every`](crate::Context::send_every).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer(pub(crate) TimerId);

/// Names a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerId {
    /// Fires once.
    Once(TimerKey),
    /// Fires at a fixed rate.
    Every(Ref),
}

/// What timers do when they fire.
#[derive(Debug)]
pub(crate) enum TimerEvent {
    /// Send a message.
    Send {
        to: Target,
        from: Pid,
        message: Message,
    },
    /// Send the next message of a timer that fires at a fixed rate.
    Tick(Arc<Ticker>),
    /// Send a message of a process to itself, which a full mailbox cannot refuse.
    Control { to: Pid, message: Message },
    /// Kill a meta-process that has not ended by itself.
    Kill(Alias),
    /// Deliver its deadline to a meta-process.
    Meta(Alias, u64),
    /// End the wait for a request.
    Request(Pid, Ref),
    /// End the wait of a caller outside of the node.
    Expire(Expiry),
}
