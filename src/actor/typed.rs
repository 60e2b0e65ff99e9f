//! Actors with one type of message: [`TypedActor`], and the adapter [`Typed`] that makes an actor of one.

use super::{Actor, Context};
use crate::bridge::request::Reply;
use crate::error::Reason;
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::{DowncastError, Message, MessageType};

/// An actor that handles one type of message, as a rule an enum; [`Typed`] makes an [`Actor`] of it.
///
/// What the runtime sends has types of its own, which [`translate`](TypedActor::translate) turns into this one.
///
/// ```
/// use longshore::{Typed, TypedActor, prelude::*};
///
/// struct Counter(u64);
///
/// impl TypedActor for Counter {
///     type Message = u64;
///
///     fn handle(&mut self, _: &mut Context<'_>, _: Pid, add: u64) -> Result<(), Reason> {
///         self.0 += add;
///         Ok(())
///     }
/// }
///
/// let node = Node::start("counter@localhost")?;
/// let counter = node.spawn(|| Typed::new(Counter(0)))?;
/// node.send(counter, 7_u64)?;
/// # Ok::<(), longshore::Error>(())
/// ```
pub trait TypedActor: Send + 'static {
    /// What it handles.
    type Message: Send + 'static;

    /// Called for each message.
    ///
    /// # Errors
    ///
    /// An error ends the process with that reason.
    fn handle(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Self::Message,
    ) -> Result<(), Reason>;

    /// Turns a message into the type of the actor, or gives it back. The default takes what was sent as
    /// `Self::Message`; an actor that owns sockets or monitors others adds what it gets from them.
    ///
    /// # Errors
    ///
    /// The message is not expected. That is one record for each type, of level `Warn`.
    fn translate(message: Message) -> Result<Self::Message, Message> {
        message.downcast().map_err(DowncastError::into_message)
    }

    /// As [`Actor::init`].
    ///
    /// # Errors
    ///
    /// An error is returned to the spawner, and nothing of the process is left.
    fn init(&mut self, _cx: &mut Context<'_>) -> Result<(), Reason> {
        Ok(())
    }

    /// As [`Actor::handle_call`]: requests have types of their own, each with its answer.
    ///
    /// # Errors
    ///
    /// An error ends the process with that reason.
    fn handle_call(
        &mut self,
        _cx: &mut Context<'_>,
        _from: Pid,
        _message: Message,
        _reply: Reply,
    ) -> Result<(), Reason> {
        Ok(())
    }

    /// As [`Actor::handle_inspect`].
    fn handle_inspect(&mut self, _cx: &mut Context<'_>) -> Inspection {
        Inspection::default()
    }

    /// As [`Actor::terminate`].
    fn terminate(&mut self, _cx: &mut Context<'_>, _reason: &Reason) {}
}

/// Makes an [`Actor`] of a [`TypedActor`].
#[derive(Debug)]
pub struct Typed<A> {
    actor: A,
    /// Types that were not expected, each once.
    unknown: Vec<MessageType>,
}

impl<A: TypedActor> Typed<A> {
    /// An actor that hands `actor` its messages.
    pub fn new(actor: A) -> Self {
        Self {
            actor,
            unknown: Vec::new(),
        }
    }
}

impl<A: TypedActor> Actor for Typed<A> {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        self.actor.init(cx)
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match A::translate(message) {
            Ok(message) => self.actor.handle(cx, from, message),
            Err(message) => {
                // Once for each type: a peer that sends many must not fill the log.
                if !self.unknown.contains(&message.message_type()) {
                    self.unknown.push(message.message_type());
                    cx.record_unknown(&message);
                }
                Ok(())
            }
        }
    }

    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        self.actor.handle_call(cx, from, message, reply)
    }

    fn handle_inspect(&mut self, cx: &mut Context<'_>) -> Inspection {
        self.actor.handle_inspect(cx)
    }

    fn terminate(&mut self, cx: &mut Context<'_>, reason: &Reason) {
        self.actor.terminate(cx, reason);
    }
}
