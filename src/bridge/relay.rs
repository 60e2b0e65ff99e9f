//! A relay: what the two connections that feed each other share until both have ended.
//!
//! ```text
//!  owner ── RelaySide ──▶ stripe of a ── data, end ──▶ stripe of b
//!        └─ RelaySide ──▶ stripe of b ── data, end ──▶ stripe of a
//! ```
//!
//! Each connection is handed one [`RelaySide`] by a command, and gives it back once, with its end:
//!
//! 1. The first end is kept, and the other connection is notified of it.
//! 2. The second end completes the [`MessageRelayEnd`], which goes to the owner.
//!
//! A side that is dropped instead reports an end by itself: its connection had ended before the command came to it, or
//! its callback has panicked. So the owner always gets the message, and the other connection never waits for a partner
//! that is gone.
//!
//! What it does not do: it moves no bytes; the drivers of the connections do.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::command::Command;
use super::commands::Commands;
use super::deliver::Deliver;
use super::socket_command::SocketCommand;
use crate::error::{DisconnectReason, Reason};
use crate::id::{Alias, Pid};
use crate::message::{Message, MessageRelayEnd, RelayedConnection};

/// What the end of one connection means for the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RelayOutcome {
    /// Both directions had ended, and every byte was sent: the other ends by itself.
    Complete,
    /// It was closed in order: so is the other.
    Closed(DisconnectReason),
    /// Bytes are missing: the other is reset, so that its peer does not take a part for the whole.
    Lost,
}

/// The share of one connection in a relay; see the module.
pub(crate) struct RelaySide {
    shared: Arc<Shared>,
    /// 0 for the connection that was named first, 1 for the other.
    index: usize,
    has_ended: bool,
}

struct Shared {
    owner: Pid,
    connections: [Alias; 2],
    ends: Mutex<Ends>,
    commands: Arc<Commands>,
    deliver: Arc<dyn Deliver>,
}

#[derive(Default)]
struct Ends {
    ended: [Option<RelayedConnection>; 2],
    is_closing: [bool; 2],
}

impl RelaySide {
    /// The shares of two connections of `owner`.
    pub(crate) fn pair(
        owner: Pid,
        connections: [Alias; 2],
        commands: Arc<Commands>,
        deliver: Arc<dyn Deliver>,
    ) -> [Self; 2] {
        let shared = Arc::new(Shared {
            owner,
            connections,
            ends: Mutex::default(),
            commands,
            deliver,
        });
        [0, 1].map(|index| Self {
            shared: Arc::clone(&shared),
            index,
            has_ended: false,
        })
    }

    /// The other connection.
    #[inline]
    pub(crate) fn partner(&self) -> Alias {
        self.shared.connections[1 - self.index]
    }

    /// This connection closes: the other one gets a [`SocketCommand::StopRelaying`], and answers it behind its last
    /// bytes. Returns whether an answer follows, or the end of the other one instead; `false`: it has ended.
    pub(crate) fn begin_close(&self) -> bool {
        let shared = &*self.shared;
        let mut ends = shared.lock();
        ends.is_closing[self.index] = true;
        let is_alone = ends.ended[1 - self.index].is_some();
        drop(ends);
        let asker = shared.connections[self.index];
        shared.push(self.partner(), SocketCommand::StopRelaying(asker));
        !is_alone
    }

    /// Whether the other connection takes nothing more, for a side that may have come behind the command that says so.
    pub(crate) fn is_partner_closing(&self) -> bool {
        self.shared.lock().is_closing[1 - self.index]
    }

    /// Reports the end of this connection.
    pub(crate) fn end(mut self, end: RelayedConnection, outcome: RelayOutcome) {
        self.report(end, outcome);
    }

    fn report(&mut self, end: RelayedConnection, outcome: RelayOutcome) {
        // First, so that a panic below does not report the end a second time in the drop.
        self.has_ended = true;
        let shared = &*self.shared;
        let mut ends = shared.lock();
        ends.ended[self.index] = Some(end);
        if let [Some(first), Some(second)] = &mut ends.ended {
            // What was passed on and then not sent has not come through.
            first.forwarded = first.forwarded.saturating_sub(second.unsent);
            second.forwarded = second.forwarded.saturating_sub(first.unsent);
            let end = MessageRelayEnd {
                first: first.clone(),
                second: second.clone(),
            };
            // The lock is released before the calls, which lock a mailbox or wake a stripe.
            drop(ends);
            // An owner that has ended has taken both connections with it.
            let _ = shared.deliver.deliver_control(
                shared.owner,
                shared.owner,
                Message::RelayEnd(Box::new(end)),
            );
        } else {
            drop(ends);
            // The first end: the partner goes on or ends as the outcome says.
            shared.push(self.partner(), SocketCommand::PartnerEnded(outcome));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, to: Alias, command: SocketCommand) {
        let command = Command::Message {
            to,
            from: self.owner,
            message: Message::new(command).into(),
        };
        self.commands.push(to.stripe(), command);
    }
}

impl Drop for RelaySide {
    fn drop(&mut self) {
        if !self.has_ended {
            let end = RelayedConnection {
                id: self.shared.connections[self.index],
                reason: DisconnectReason::Exit(Reason::NoProcess),
                forwarded: 0,
                unsent: 0,
            };
            self.report(end, RelayOutcome::Lost);
        }
    }
}

impl fmt::Debug for RelaySide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySide")
            .field("partner", &self.partner())
            .finish_non_exhaustive()
    }
}
