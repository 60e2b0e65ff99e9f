//! Room in a mailbox that has refused a message: a process requests to be notified of it, once.
//!
//! The line of those that wait stands in the mailbox; see the page of `mailbox::rooms`. A process keeps the tickets of
//! the lines in which it stands, at most one for each mailbox, so that a second request adds nothing, and it leaves
//! them when it ends.
//!
//! Here is also what a mailbox drops by its policy: it is counted, a request is answered, and it is dropped behind the
//! locks.

use std::sync::atomic::Ordering::Relaxed;

use super::activation::FORCED;
use super::class::{Class, Pushed};
use super::envelope::{Envelope, Payload};
use super::lifecycle::{ControlBlock, ProcessContext};
use super::mailbox::{PushedOver, RoomWait};
use super::table::Processes;
use crate::base::unwind::drop_catching;
use crate::bridge::Command;
use crate::error::{RequestError, SendErrorKind};
use crate::id::{Pid, Target};
use crate::scheduler::{Slot, Task};

/// Where the drop of a message runs, which is code of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropAt {
    /// On this thread.
    Here,
    /// On a stripe: this thread holds the poll.
    Stripe,
}

impl ProcessContext<'_> {
    /// Requests a message when the mailbox has room.
    pub(crate) fn request_room(&mut self, to: Target) -> Result<(), SendErrorKind> {
        let target = match self.processes.locate(to)? {
            Target::Pid(pid) => pid,
            Target::Event(_) => return Err(SendErrorKind::IsEvent),
            Target::Alias(_) | Target::Name(_) => return Err(SendErrorKind::NoProcess),
        };
        // It has a ticket already, and one message comes for it.
        if self.control.stands_in_line(target) {
            return Ok(());
        }
        let me = self.control.pid;
        let mailbox = self.processes.mailbox(target);
        let wait = mailbox.map_or(RoomWait::Closed, |mailbox| {
            mailbox.wait_for_room(target.generation(), me)
        });
        match wait {
            RoomWait::Closed => Err(SendErrorKind::NoProcess),
            RoomWait::Waiting(ticket) => {
                self.control.enter_line(target, ticket);
                Ok(())
            }
            RoomWait::Room => {
                // In line for the moment, because a notification is dropped unless the process waits for one.
                self.control.enter_line(target, 0);
                self.processes.notify_room(target, &[me]);
                Ok(())
            }
        }
    }
}

impl Processes {
    /// Notifies senders that the mailbox of `of` has room, or that it has closed.
    pub(super) fn notify_room(&self, of: Pid, senders: &[Pid]) {
        for sender in senders {
            // One that has ended does not wait.
            let _ = self.push(*sender, of, Payload::Room, Class::Control, Slot::Fifo);
        }
    }

    /// Takes a process that ends out of the lines in which it stands.
    pub(super) fn leave_lines(&self, control: &mut ControlBlock) {
        for (target, ticket) in control.take_lines() {
            if let Some(mailbox) = self.mailbox(target) {
                mailbox.leave_line(target.generation(), control.pid, ticket);
            }
        }
    }

    /// Puts an envelope in a full mailbox that drops one by its policy. `false`: it was this one.
    #[cold]
    pub(super) fn push_over(
        &self,
        to: Pid,
        envelope: Envelope,
        slot: Slot,
        drop_at: DropAt,
    ) -> bool {
        let Some(mailbox) = self.mailbox(to) else {
            return false;
        };
        let PushedOver { pushed, dropped } = mailbox.push_over(to.generation(), envelope);
        if pushed == Some(Pushed::Idle) {
            self.scheduler.push(Task::process(to.index()), slot);
        }
        let is_in = pushed.is_some();
        let Some(dropped) = dropped else {
            return is_in;
        };
        self.dropped_messages.fetch_add(1, Relaxed);
        match (dropped.payload, drop_at) {
            (Payload::Call(call), _) => {
                let (message, reply) = *call;
                let error = RequestError::NotDelivered(SendErrorKind::MailboxFull);
                reply.refuse(error);
                drop_catching(message);
            }
            (Payload::Message(message), DropAt::Stripe) => {
                self.commands.push(0, Command::Discard(message));
            }
            (payload, _) => drop_catching(payload),
        }
        is_in
    }

    /// Messages that mailboxes have dropped by their policies.
    pub(crate) fn dropped_messages(&self) -> u64 {
        self.dropped_messages.load(Relaxed)
    }
}

impl ControlBlock {
    /// Ends the activation behind this handler, so that those that were notified run first.
    pub(super) fn give_way(&mut self) {
        if self.sent < FORCED {
            self.sent += FORCED;
        }
    }
}
