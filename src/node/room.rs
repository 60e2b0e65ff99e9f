//! Waiting for room in a mailbox, for a thread outside of the node.
//!
//! The line of those that wait for room stands in the mailbox and holds processes. So a thread that waits has a process
//! in the line, which answers it when its turn has come, and which the thread ends if that takes too long.

use std::time::{Duration, Instant};

use super::{Node, deadline_after};
use crate::actor::{Actor, Context};
use crate::bridge::request::Reply;
use crate::error::{Reason, SendErrorKind, SpawnError};
use crate::id::{Pid, Target};
use crate::message::{Message, Priority, SendError};

/// Waits for a thread.
struct Waiter {
    mailbox: Target,
    reply: Option<Reply>,
}

impl Actor for Waiter {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        // Without the process there is nothing to wait for.
        cx.request_room(self.mailbox.clone())
            .map_err(|_| Reason::Normal)
    }

    fn handle_message(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        if matches!(message, Message::Room(_))
            && let Some(reply) = self.reply.take()
        {
            reply.send(());
            return Err(Reason::Normal);
        }
        Ok(())
    }
}

impl Node {
    /// Sends a message, and waits for room if the mailbox is full, at most `timeout`. For a thread outside of the node
    /// that produces faster than the process handles; the threads and processes that wait have their turns in order. A
    /// process that is refused calls [`Context::request_room`].
    ///
    /// # Errors
    ///
    /// The message comes back as from [`Node::send`]; with [`SendErrorKind::MailboxFull`] after `timeout`, or at once
    /// inside the node's runtime, which must not wait.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::time::Duration;
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Printer;
    /// # impl Actor for Printer {}
    /// let node = Node::start("example@localhost")?;
    /// let printer = node.spawn_with(
    ///     SpawnOptions::default().with_mailbox_bound(16),
    ///     || Printer,
    /// )?;
    /// for line in 0..1_000 {
    ///     node.send_within(printer, format!("line {line}"), Duration::from_secs(5))?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn send_within<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
        timeout: Duration,
    ) -> Result<(), SendError> {
        let (to, deadline) = (to.into(), deadline_after(timeout));
        let mut message = Message::new(message);
        loop {
            let table = self.table();
            let sent = table.send(Pid::NODE, to.clone(), message.into(), Priority::Normal);
            let Err(refused) = sent else { return Ok(()) };
            let is_full = refused.kind() == SendErrorKind::MailboxFull;
            if !is_full || !self.wait_for_room(&to, deadline) {
                return Err(refused);
            }
            // Another sender may take the room first. The wait begins again then, with the same deadline.
            message = refused.into_message();
        }
    }

    /// Waits until the mailbox has room, or its process has ended. Returns whether a send is worth trying.
    fn wait_for_room(&self, mailbox: &Target, deadline: Instant) -> bool {
        // A thread of the runtime could wait for room that its own process has to make.
        if self.runtime().is_inside() {
            return false;
        }
        let (reply, turn) = Reply::to_outside(self.runtime(), Some(deadline));
        let waiter = Waiter {
            mailbox: mailbox.clone(),
            reply: Some(reply),
        };
        let pid = match self.spawn(|| waiter) {
            Ok(pid) => pid,
            // The process has ended, which the send finds out.
            Err(SpawnError::Init(_)) => return true,
            Err(_) => return false,
        };
        let has_come = turn.wait_until(deadline).is_ok();
        if !has_come {
            // It may have ended just now.
            let _ = self.send_exit(pid, Reason::Shutdown);
        }
        has_come
    }
}
