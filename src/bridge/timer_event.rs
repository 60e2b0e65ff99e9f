//! What a timer does when it expires.

use std::sync::Arc;

use super::ticker::Ticker;
use crate::id::{Alias, Pid, Ref, Target};
use crate::message::Message;

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
    /// Deliver its deadline to a meta-process.
    Meta(Alias, u64),
    /// End the wait for a request.
    Request(Pid, Ref),
}
