//! What the buffers of one connection give back when they are dropped, on any thread.
//!
//! ```text
//!  stripe: deliver, unacked += n ─▶ owner ─▶ … ─▶ drop: pending += n ── a quarter of the window ──▶ stripe: unacked -= pending
//! ```
//!
//! 1. `give_back`: the bytes are pending. The step that brings them to a quarter of the window takes all of them, and
//!    sends them to the connection.
//! 2. `close`: the connection counts no longer what it has delivered so far, because it was relayed or handed over.
//!
//! What stays pending is less than a quarter, so a window whose buffers have all been dropped is not full. Of two
//! threads that both find a quarter one takes everything, and the other takes nothing: each byte is sent once, by the
//! read-modify-write that takes it. So the orderings are relaxed; the command queue carries the number.
//!
//! A thread that has passed the look at `is_closed` may still send after the close: the connection subtracts what it
//! has not counted, and reads at most that much beyond its window, once.

use std::fmt;
use std::sync::Arc;

use crate::base::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use crate::bridge::{Ack, Command, Commands};
use crate::id::Alias;
use crate::memory::buffer::Creditor;

/// See the module.
pub(super) struct InputCredit {
    connection: Alias,
    commands: Arc<Commands>,
    /// Bytes that are sent together.
    quarter: u32,
    pending: AtomicU32,
    is_closed: AtomicBool,
}

impl InputCredit {
    pub(super) fn new(connection: Alias, commands: Arc<Commands>, window: u32) -> Self {
        Self {
            connection,
            commands,
            // Together, because a command for each of many small buffers would cost more than what they carry. Not the
            // whole window, which would stop the connection until the last of them is dropped.
            quarter: window.div_ceil(4),
            pending: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Transition 2.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Relaxed);
    }
}

impl Creditor for InputCredit {
    /// Transition 1.
    fn give_back(&self, bytes: u32) {
        if self.is_closed.load(Relaxed) {
            return;
        }
        let pending = self.pending.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if pending < self.quarter {
            return;
        }
        // All of them are taken, because another thread may have added to them since.
        let bytes = self.pending.swap(0, Relaxed);
        if bytes > 0 {
            let (to, ack) = (self.connection, Ack::Data(bytes));
            self.commands.push(to.stripe(), Command::Acked { to, ack });
        }
    }
}

impl fmt::Debug for InputCredit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputCredit")
            .field("connection", &self.connection)
            .field("pending", &self.pending.load(Relaxed))
            .finish_non_exhaustive()
    }
}
