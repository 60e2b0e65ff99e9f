//! A command: what a stripe does for one of its meta-processes, or for all of them.

use std::task::Waker;

use super::barrier::BarrierToken;
use super::deliver::{Ack, Watcher};
use super::request::{InspectReply, Reply};
use super::ticker::Tick;
use crate::error::Reason;
use crate::id::{Alias, Pid};
use crate::message::CompactMessage;
use crate::message::Message;

/// A command to a meta-process. Commands for an alias that has ended are dropped by the stripe.
#[derive(Debug)]
pub(crate) enum Command {
    /// A message; the bytes of a [`Message::Tcp`] or [`Message::Udp`] have been accepted by the quota.
    Message {
        to: Alias,
        from: Pid,
        message: CompactMessage,
    },
    /// A request.
    Call {
        to: Alias,
        from: Pid,
        call: Box<(Message, Reply)>,
    },
    /// An exit signal.
    Exit { to: Alias, reason: Reason },
    /// Notify this watcher of the end; at once, if it has ended.
    Watch { to: Alias, watcher: Watcher },
    /// Remove the watcher.
    Unwatch { to: Alias, watcher: Watcher },
    /// The mailbox that refused data has room for `messages` of this meta-process.
    Resume {
        to: Alias,
        mailbox: Pid,
        messages: u32,
    },
    /// A permit is free that the listener waits for.
    Wake { to: Alias },
    /// The owner has handled everything that was delivered before this ack was requested.
    Acked { to: Alias, ack: Ack },
    /// A timer has fired.
    Timer { to: Alias, deadline_ms: u64 },
    /// A timer with a fixed rate has fired.
    Tick { to: Alias, from: Pid, tick: Tick },
    /// A question about itself.
    Inspect { to: Alias, reply: InspectReply },
    /// Drop a message that no receiver took: its `drop` is code of the user, which must not run in the turn of the
    /// loop.
    Discard(CompactMessage),
    /// Wake this when the stripe has come here.
    Confirm { to: Alias, confirmed: Waker },
    /// The listener is drained: its connections come to their end, or, `closes`, close now.
    Drain { listener: Alias, closes: bool },
    /// The node stops: take in nothing new. The token is dropped when the meta-processes have been called.
    StopAccepting(BarrierToken),
    /// The node stops: finish.
    Finish,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_stays_within_forty_bytes() {
        assert!(
            size_of::<Command>() <= 40,
            "the ring of a stripe takes 24 KiB"
        );
    }
}
