//! Sending: everything that puts something in the mailbox of a process, or in the command queue of a
//! meta-process, in the name of a process.
//!
//! | Sent | Lane | Refused by a full mailbox |
//! |---|---|---|
//! | a message, a request | by its priority | yes, and it comes back |
//! | an exit signal, an inspection | urgent | no |
//! | an exit signal behind the messages | main | no |
//!
//! A process that was idle is pushed to the scheduler by its sender. A message of a process goes to
//! the slot that runs next, because its receiver is often waited for; see
//! [`Slot`].
//!
//! What the I/O half delivers is on the page of `deliver`.

use super::class::{Class, PushError};
use super::envelope::Payload;
use super::mailbox::Mailbox;
use super::table::Processes;
use crate::bridge::request::{InspectReply, Reply};
use crate::bridge::{Command, Deliver};
use crate::error::{Reason, RequestError, SendErrorKind};
use crate::id::{Alias, Pid, Target};
use crate::message::{CompactMessage, Message, MessageExit, Priority, SendError, UserMessage};
use crate::scheduler::Slot;

impl Processes {
    /// Sends a message to whatever the target is.
    pub(crate) fn send(
        &self,
        from: Pid,
        to: Target,
        message: CompactMessage,
        priority: Priority,
    ) -> Result<(), SendError> {
        match to {
            Target::Pid(pid) => self.send_pid(from, pid, message, priority),
            Target::Alias(alias) => self.commands.send(alias, from, message),
            // Looked up for each send: a process that is started again under its name gets what is sent from then on.
            Target::Name(name) => match self.resolve(&name) {
                Some(pid) => self.send_pid(from, pid, message, priority),
                None => Err(SendError::new(
                    SendErrorKind::NoName,
                    name,
                    message.unpack(),
                )),
            },
            Target::Event(_) => {
                let kind = SendErrorKind::IsEvent;
                Err(SendError::new(kind, to, message.unpack()))
            }
        }
    }

    pub(crate) fn send_pid(
        &self,
        from: Pid,
        to: Pid,
        message: CompactMessage,
        priority: Priority,
    ) -> Result<(), SendError> {
        self.push(
            to,
            from,
            message.into(),
            Class::Normal(priority),
            // The slot of the process that runs next: the message is warm in the cache of this worker.
            Slot::Lifo,
        )
        .map_err(|(error, payload)| {
            let Payload::Message(message) = payload else {
                unreachable!("the payload that was posted")
            };
            SendError::new(error.into(), to, message.unpack())
        })
    }

    /// Sends a value of a user type, which comes in registers and leaves them for its place in the mailbox.
    pub(crate) fn send_user(
        &self,
        from: Pid,
        to: Pid,
        value: UserMessage,
    ) -> Result<(), SendError> {
        self.push_inline(to, from, value, Class::Normal(Priority::Normal), Slot::Lifo)
            .map_err(|(error, value)| SendError::new(error.into(), to, Message::User(value)))
    }

    /// Sends a request.
    pub(crate) fn call(
        &self,
        from: Pid,
        to: Target,
        message: Message,
        reply: Reply,
    ) -> Result<(), SendError> {
        match self.locate(to.clone()) {
            Ok(Target::Pid(pid)) => {
                let payload = Payload::Call(Box::new((message, reply)));
                self.push(
                    pid,
                    from,
                    payload,
                    Class::Normal(Priority::Normal),
                    Slot::Lifo,
                )
                .map_err(|(error, payload)| {
                    let Payload::Call(call) = payload else {
                        unreachable!("the payload that was posted")
                    };
                    let (message, reply) = *call;
                    // With the reason; the drop of the reply would answer that the callee has dropped it.
                    reply.refuse(RequestError::NotDelivered(error.into()));
                    SendError::new(error.into(), pid, message)
                })
            }
            // A stale alias is refused here, where the message can go back; its stripe could only drop the command.
            Ok(Target::Alias(alias)) if self.commands.is_live(alias) => {
                let call = Box::new((message, reply));
                self.commands.push(
                    alias.stripe(),
                    Command::Call {
                        to: alias,
                        from,
                        call,
                    },
                );
                Ok(())
            }
            Ok(Target::Event(_)) => Err(SendError::new(SendErrorKind::IsEvent, to, message)),
            located => {
                let kind = located.err().unwrap_or(SendErrorKind::NoMeta);
                reply.refuse(RequestError::NotDelivered(kind));
                Err(SendError::new(kind, to, message))
            }
        }
    }

    /// The messages that a process has, the one that it handles included.
    pub(crate) fn load(&self, pid: Pid) -> usize {
        // A process that has ended is never the one with the fewest messages.
        self.mailbox(pid).map_or(usize::MAX, Mailbox::load)
    }

    /// Forwards a payload as it is, for a pool. A refused one comes back.
    pub(crate) fn forward(
        &self,
        to: Pid,
        from: Pid,
        payload: Payload,
    ) -> Result<(), (SendErrorKind, Payload)> {
        if let Payload::Call(call) = &payload {
            call.1.note_forwarded();
        }
        self.push(
            to,
            from,
            payload,
            Class::Normal(Priority::Normal),
            Slot::Lifo,
        )
        .map_err(|(error, payload)| (error.into(), payload))
    }

    /// Sends an exit signal, or says that there is no such process.
    pub(crate) fn send_exit(
        &self,
        from: Pid,
        to: Target,
        reason: Reason,
    ) -> Result<(), SendErrorKind> {
        match self.locate(to)? {
            Target::Pid(pid) => {
                let signal = Box::new(MessageExit {
                    from: Target::Pid(from),
                    reason,
                });
                self.push(
                    pid,
                    from,
                    Payload::Exit {
                        signal,
                        link: false,
                    },
                    Class::Urgent,
                    Slot::Lifo,
                )
                .map_err(|(error, _)| error)?;
                // Behind the push; the page of `calls` has the interleaving.
                self.interrupt_call(pid);
                Ok(())
            }
            Target::Alias(alias) => self.send_exit_meta(alias, reason),
            Target::Event(_) => Err(SendErrorKind::IsEvent),
            // `locate` has made a pid of it, or has failed.
            Target::Name(_) => Err(SendErrorKind::NoName),
        }
    }

    /// Sends an exit signal that goes behind the messages: what was sent before is handled before.
    pub(crate) fn send_exit_behind(
        &self,
        from: Pid,
        to: Pid,
        reason: Reason,
    ) -> Result<(), SendErrorKind> {
        let signal = Box::new(MessageExit {
            from: Target::Pid(from),
            reason,
        });
        self.push(
            to,
            from,
            Payload::Exit {
                signal,
                link: false,
            },
            // A full mailbox cannot refuse it: a worker that is removed would stay.
            Class::Control,
            Slot::Fifo,
        )
        .map_err(|(error, _)| error.into())
    }

    pub(crate) fn send_exit_meta(&self, to: Alias, reason: Reason) -> Result<(), SendErrorKind> {
        // A stale alias is reported here; its stripe could only drop the command.
        if !self.commands.is_live(to) {
            return Err(SendErrorKind::NoMeta);
        }
        self.commands
            .push(to.stripe(), Command::Exit { to, reason });
        Ok(())
    }

    pub(crate) fn inspect(&self, to: Target, reply: Reply) -> Result<(), SendErrorKind> {
        let reply = InspectReply::new(reply);
        match self.locate(to)? {
            Target::Pid(pid) => self
                .push(
                    pid,
                    Pid::NODE,
                    // Before the backlog: a process is inspected because it has one, and behind it the answer would
                    // come too late.
                    Payload::Inspect(reply),
                    Class::Urgent,
                    Slot::Lifo,
                )
                .map_err(|(error, _)| error.into()),
            Target::Alias(alias) if self.commands.is_live(alias) => {
                self.commands
                    .push(alias.stripe(), Command::Inspect { to: alias, reply });
                Ok(())
            }
            Target::Event(_) => Err(SendErrorKind::IsEvent),
            _ => Err(SendErrorKind::NoMeta),
        }
    }

    /// A name becomes the pid that holds it now.
    pub(super) fn locate(&self, target: Target) -> Result<Target, SendErrorKind> {
        match target {
            Target::Name(name) => self
                .resolve(&name)
                .map(Target::Pid)
                .ok_or(SendErrorKind::NoName),
            other => Ok(other),
        }
    }
}

impl From<PushError> for SendErrorKind {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Closed => Self::NoProcess,
            PushError::Full | PushError::Overflow => Self::MailboxFull,
        }
    }
}
