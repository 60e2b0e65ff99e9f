//! Messages, requests and signals from outside of the node: their sender is [`Pid::NODE`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Node, deadline_after};
use crate::bridge::request::{Answer, PendingReply, Reply};
use crate::error::{Reason, RequestError, SendErrorKind};
use crate::id::{Pid, Target};
use crate::inspect::Inspection;
use crate::message::{Message, Priority, Request, SendError};

/// # Sending
impl Node {
    /// Sends a message to a process, a meta-process or a name, from outside: the sender is [`Pid::NODE`].
    ///
    /// # Errors
    ///
    /// The message comes back when there is no such receiver, when its mailbox has reached its bound, or when the bytes
    /// do not fit the connection's output limit.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// node.send(pid, "hello")?;
    /// assert!(node.send("absent", "hello").is_err());
    /// # Ok(()) }
    /// ```
    pub fn send<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
    ) -> Result<(), SendError> {
        self.send_with_priority(to, message, Priority::Normal)
    }

    /// Sends to one lane of the receiver's mailbox.
    ///
    /// # Errors
    ///
    /// As [`Node::send`]; only [`Priority::Normal`] is bounded.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// node.send_with_priority(pid, "at once", Priority::Max)?;
    /// # Ok(()) }
    /// ```
    pub fn send_with_priority<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
        priority: Priority,
    ) -> Result<(), SendError> {
        self.table()
            .send(Pid::NODE, to.into(), Message::new(message).into(), priority)
    }

    /// Sends an exit signal; see [`Context::send_exit`](crate::Context::send_exit).
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// node.send_exit(pid, Reason::Shutdown).unwrap();
    /// # Ok(()) }
    /// ```
    pub fn send_exit(&self, to: impl Into<Target>, reason: Reason) -> Result<(), SendErrorKind> {
        self.table().send_exit(Pid::NODE, to.into(), reason)
    }

    /// Asks and waits for the answer, at most `timeout`. Not from inside the node's runtime; use
    /// [`Context::request`](crate::Context::request) there.
    ///
    /// # Errors
    ///
    /// Why there is no answer. If the receiver ends, panics or drops the request, that is known at once, and so is
    /// [`RequestError::WouldBlockRuntime`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// struct Echo;
    /// impl Actor for Echo {
    ///     fn handle_call(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///         reply: Reply,
    ///     ) -> Result<(), Reason> {
    ///         reply.send(message);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let node = Node::start("example@localhost")?;
    /// let pid = node.spawn(|| Echo)?;
    /// let answer = node.call(pid, 7_u32, std::time::Duration::from_secs(5))?;
    /// assert_eq!(answer.downcast::<u32>().unwrap(), 7);
    /// # Ok(()) }
    /// ```
    pub fn call<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        // Before the request is sent, so that nothing is answered that no thread waits for.
        self.check_outside()?;
        let deadline = deadline_after(timeout);
        self.request_until(to.into(), Message::new(message), Some(deadline))?
            .wait_for(timeout)
    }

    /// Asks; the answer can be awaited on any executor, or waited for.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotDelivered`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// let pending = node.request(pid, "how are you?")?;
    /// # let block_on = |pending: longshore::PendingReply| pending.wait_until(std::time::Instant::now() + std::time::Duration::from_secs(60));
    /// let answer = block_on(pending); // or `pending.await`
    /// assert!(answer.is_err()); // this worker drops the request, which is known at once
    /// # Ok(()) }
    /// ```
    pub fn request<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
    ) -> Result<PendingReply, RequestError> {
        self.request_until(to.into(), Message::new(message), None)
    }

    fn request_until(
        &self,
        to: Target,
        message: Message,
        deadline: Option<Instant>,
    ) -> Result<PendingReply, RequestError> {
        let (reply, pending) = Reply::to_outside(self.runtime(), deadline);
        self.table()
            .call(Pid::NODE, to, message, reply)
            .map(|()| pending)
            .map_err(|error| RequestError::NotDelivered(error.kind()))
    }

    /// Asks a request with a type; the [`Answer`] can be awaited on any executor, or waited for. It comes within
    /// `timeout`, or says why there is none.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotDelivered`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::time::Duration;
    ///
    /// struct Get(u32);
    /// impl Request for Get {
    ///     type Reply = String;
    /// }
    ///
    /// async fn get(node: &Node, key: u32) -> Result<String, longshore::RequestError> {
    ///     node.ask("store", Get(key), Duration::from_secs(5))?.await
    /// }
    /// ```
    pub fn ask<R: Request>(
        &self,
        to: impl Into<Target>,
        request: R,
        timeout: Duration,
    ) -> Result<Answer<R>, RequestError> {
        let deadline = deadline_after(timeout);
        let pending = self.request_until(to.into(), Message::new(request), Some(deadline))?;
        let timers = Arc::clone(&self.table().timers);
        Ok(Answer::new(pending, deadline, timers))
    }

    /// Asks any process or meta-process about itself.
    ///
    /// # Errors
    ///
    /// There is no such target, it ended before it answered, or it did not answer in time.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// let found = node.inspect(pid, std::time::Duration::from_secs(5))?;
    /// assert_eq!(found.number("messages_queued"), Some(0));
    /// # Ok(()) }
    /// ```
    pub fn inspect(
        &self,
        target: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Inspection, RequestError> {
        // Before the question is sent, as in `call`: this thread may be the one that would answer.
        self.check_outside()?;
        let (reply, pending) = Reply::to_outside(self.runtime(), None);
        self.table()
            .inspect(target.into(), reply)
            .map_err(RequestError::NotDelivered)?;
        let message = pending.wait_for(timeout)?;
        message.downcast().map_err(|_| RequestError::Dropped)
    }

    fn check_outside(&self) -> Result<(), RequestError> {
        if self.runtime().is_inside() {
            Err(RequestError::WouldBlockRuntime)
        } else {
            Ok(())
        }
    }
}
