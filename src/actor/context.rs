//! What a process can do from inside its callbacks.

use std::fmt;

use crate::error::SpawnError;
use crate::id::{Alias, Name, Pid, Target};
use crate::message::CompactMessage;
use crate::message::SendError;
use crate::message::{Message, Priority};
use crate::process::ProcessContext;

/// The process as its callbacks see it: its identity, and everything it can do.
///
/// No call blocks its worker, but for a spawn whose `init` fails when it has spawned meta-processes: it waits until
/// they have ended, microseconds as a rule and 250 ms at the most.
pub struct Context<'a> {
    pub(super) env: ProcessContext<'a>,
}

impl<'a> Context<'a> {
    pub(crate) fn new<'b: 'a>(env: &'a mut ProcessContext<'b>) -> Self {
        Self {
            env: ProcessContext {
                processes: env.processes,
                control: &mut *env.control,
            },
        }
    }

    pub(crate) fn env_ref(&self) -> &ProcessContext<'a> {
        &self.env
    }

    pub(crate) fn env(&mut self) -> &mut ProcessContext<'a> {
        &mut self.env
    }

    /// This process.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// assert_eq!(cx.whereis("absent"), None);
    /// assert_ne!(cx.pid(), Pid::NODE);
    /// # Ok(()) }) }
    /// ```
    #[doc(alias = "PID")]
    pub fn pid(&self) -> Pid {
        self.env.control.pid
    }

    /// The process that spawned this one; [`Pid::NODE`] if the embedding program did.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// assert_eq!(cx.parent(), Pid::NODE); // spawned by the embedding program
    /// # Ok(()) }) }
    /// ```
    pub fn parent(&self) -> Pid {
        self.env.control.parent
    }

    /// The name of this process, if it has one.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// assert!(cx.name().is_none());
    /// cx.register("clerk")?;
    /// assert_eq!(cx.name().unwrap(), &Name::from("clerk"));
    /// # Ok(()) }) }
    /// ```
    pub fn name(&self) -> Option<&Name> {
        self.env.control.name.as_ref()
    }

    /// Registers this process under a name. A process has one name at a time.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NameTaken`], or [`SpawnError::Named`] if this process has a name, or [`SpawnError::Ended`] in
    /// `terminate`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// cx.register("clerk")?;
    /// cx.send("clerk", "a note to myself")?;
    /// # Ok(()) }) }
    /// ```
    pub fn register(&mut self, name: impl Into<Name>) -> Result<(), SpawnError> {
        self.env.processes.register(self.env.control, name.into())
    }

    /// Gives the name back. Returns it, if there was one. Monitors that were set by the name get a `Down` with
    /// [`Reason::NoProcess`](crate::Reason::NoProcess); those on the pid stay.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// cx.register("clerk")?;
    /// assert_eq!(cx.unregister(), Some(Name::from("clerk")));
    /// assert_eq!(cx.whereis("clerk"), None);
    /// # Ok(()) }) }
    /// ```
    pub fn unregister(&mut self) -> Option<Name> {
        self.env.processes.unregister(self.env.control)
    }

    /// The process that holds the name now.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// cx.register("clerk")?;
    /// assert_eq!(cx.whereis("clerk"), Some(cx.pid()));
    /// # Ok(()) }) }
    /// ```
    pub fn whereis(&self, name: impl AsRef<str>) -> Option<Pid> {
        use crate::bridge::Deliver as _;
        self.env.processes.resolve(name.as_ref())
    }

    /// Sends a message to a process, a meta-process or a name.
    ///
    /// # Errors
    ///
    /// The message comes back when there is no such receiver, when its mailbox has reached its bound, or when the bytes
    /// do not fit the connection's output limit.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// cx.send(cx.pid(), "any value")?;
    /// let refused = cx.send("absent", 7_u8).unwrap_err();
    /// assert_eq!(refused.into_message().downcast::<u8>().unwrap(), 7);
    /// # Ok(()) }) }
    /// ```
    #[inline]
    pub fn send<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
    ) -> Result<(), SendError> {
        self.send_with_priority(to, message, Priority::Normal)
    }

    /// Sends to one lane of the receiver's mailbox. Meta-processes have one lane.
    ///
    /// # Errors
    ///
    /// As [`Context::send`]; only [`Priority::Normal`] is bounded.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// cx.send(cx.pid(), "second")?;
    /// cx.send_with_priority(cx.pid(), "first", Priority::High)?;
    /// # Ok(()) }) }
    /// ```
    // As one function with `send`, which most senders call: the difference is 25 instructions for each message.
    #[inline(always)]
    pub fn send_with_priority<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
        priority: Priority,
    ) -> Result<(), SendError> {
        self.env.control.sent = self.env.control.sent.saturating_add(1);
        let (from, message) = (
            self.env.control.pid,
            CompactMessage::from(Message::new(message)),
        );
        let processes = self.env.processes;
        match (to.into(), message, priority) {
            // The usual send goes in registers to its place in the mailbox; the other forms take the longer way.
            (Target::Pid(pid), CompactMessage::User(value), Priority::Normal) => {
                processes.send_user(from, pid, value)
            }
            (target, message, priority) => processes.send(from, target, message, priority),
        }
    }

    /// Passes a message on, as coming from `from`: what a process does that distributes work to others.
    ///
    /// # Errors
    ///
    /// As [`Context::send`].
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// struct Deputy(Pid);
    /// impl Actor for Deputy {
    ///     fn handle_message(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         from: Pid,
    ///         message: Message,
    ///     ) -> Result<(), Reason> {
    ///         cx.forward(self.0, from, message)?; // the receiver sees the first sender
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn forward<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        from: Pid,
        message: T,
    ) -> Result<(), SendError> {
        self.env.control.sent = self.env.control.sent.saturating_add(1);
        let message = CompactMessage::from(Message::new(message));
        self.env
            .processes
            .send(from, to.into(), message, Priority::Normal)
    }

    /// Sends to a meta-process: a [`MessageTcp`](crate::MessageTcp) to a connection is written, a
    /// [`MessageUdp`](crate::MessageUdp) to a UDP server is sent.
    ///
    /// # Errors
    ///
    /// The message comes back when the meta-process has ended, when it is closing, or when the bytes do not fit its
    /// output limit.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.send_alias(connection, MessageTcp::new(connection, "hello"))?;
    /// # Ok(()) }) }
    /// ```
    #[inline]
    pub fn send_alias<T: Send + 'static>(
        &mut self,
        to: Alias,
        message: T,
    ) -> Result<(), SendError> {
        self.env.control.sent = self.env.control.sent.saturating_add(1);
        self.env
            .processes
            .commands
            .send(to, self.env.control.pid, Message::new(message).into())
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
