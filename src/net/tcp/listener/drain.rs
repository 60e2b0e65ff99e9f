//! The drain of a listener: it takes in nothing new, and its connections come to their end.
//!
//! ```text
//!  accepting ── Drain ──▶ draining ── deadline ──▶ closing
//!                            │ last connection        │ last connection
//!                            └──────────▶ ended ◀─────┘  Drained
//! ```
//!
//! 1. The command comes: what waits in the backlog is accepted, the socket is closed, so that its address is free, and
//!    every stripe lets the connections of this listener know.
//! 2. The deadline comes: every stripe closes those that are left, which takes as long as the close timeout allows.
//! 3. The last connection ends, and wakes the listener: it ends too, and the process that asked gets the counts.
//!
//! Bad interleaving of 3: the listener finds a connection open, and that one ends before the listener waits. Excluded
//! by the order in which [`ConnectionLimiter::drain`](crate::net::tcp::limits::ConnectionLimiter::drain) waits first
//! and looks then; see [`limits`](crate::net::tcp::limits).

use std::time::Duration;

use super::{Listener, TcpServer};
use crate::bridge::{Command, Drain};
use crate::error::Reason;
use crate::id::Pid;
use crate::message::{Message, MessageDrained};
use crate::meta::{MetaContext, MetaProcess};

/// See the module.
#[derive(Debug)]
pub(super) struct Draining {
    by: Pid,
    deadline_ms: u64,
    /// Connections that were open when it began.
    began_with: usize,
    /// Connections that were open at the deadline, once it has come.
    closed: Option<usize>,
}

/// What is left of a listener whose socket is closed.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) shown: String,
    pub(super) addr: std::net::SocketAddr,
    pub(super) is_tcp: bool,
}

impl TcpServer {
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Transition 1. Of a second drain only an earlier deadline counts.
    pub(super) fn begin_drain(
        &mut self,
        cx: &mut MetaContext<'_>,
        drain: Drain,
    ) -> Result<(), Reason> {
        let deadline_ms = deadline_of(cx, drain.deadline);
        // Nothing is listened to any more, and only an earlier end makes a difference.
        if let Some(draining) = &mut self.draining {
            draining.deadline_ms = draining.deadline_ms.min(deadline_ms);
            return self.advance_drain(cx);
        }
        // What the kernel has accepted would be reset by closing the socket.
        self.readable = true;
        self.accept_all(cx);
        self.leave_poll(cx);
        self.listener = Listener::Closed(Closed {
            shown: self.listener.to_string(),
            addr: self.local_addr(),
            is_tcp: self.listener.is_tcp(),
        });
        self.draining = Some(Box::new(Draining {
            by: drain.by,
            deadline_ms,
            // Counted before the connections are notified: those that end at once must wake this listener.
            began_with: self.limiter.drain(),
            closed: None,
        }));
        self.notify_connections(cx, false);
        self.advance_drain(cx)
    }

    /// Transitions 2 and 3.
    pub(super) fn advance_drain(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let open = self.limiter.drain();
        let Some(draining) = &mut self.draining else {
            return Ok(());
        };
        // The last one may have ended before the listener began to wait.
        if open == 0 {
            return Err(Reason::Normal);
        }
        // Once: connections that are being closed have deadlines of their own.
        if draining.closed.is_none() && draining.deadline_ms <= cx.now_ms {
            draining.closed = Some(open);
            cx.set_deadline(u64::MAX);
            self.notify_connections(cx, true);
        } else if draining.closed.is_none() {
            cx.set_deadline(draining.deadline_ms);
        }
        Ok(())
    }

    fn notify_connections(&self, cx: &MetaContext<'_>, closes: bool) {
        let listener = cx.alias;
        let commands = &cx.services.commands;
        for stripe in 0..commands.stripes() {
            commands.push(stripe, Command::Drain { listener, closes });
        }
    }

    /// Reports the end of the drain.
    pub(super) fn report_drain(&self, cx: &MetaContext<'_>) {
        if let Some(draining) = &self.draining {
            let closed = draining.closed.unwrap_or_else(|| self.limiter.open());
            let finished = draining.began_with.saturating_sub(closed);
            let drained = MessageDrained::new(cx.alias, finished, closed);
            cx.deliver_control(draining.by, Message::Drained(drained));
        }
    }
}

fn deadline_of(cx: &MetaContext<'_>, deadline: Duration) -> u64 {
    cx.now_ms
        .saturating_add(crate::time::clock::millis(deadline))
}
