//! Blocking work of a process.

use super::Context;
use crate::error::RequestError;
use crate::id::Ref;

/// # Blocking work
impl Context<'_> {
    /// Runs `work` on a thread that may block: a query, a file, a long computation. This process goes on; the result
    /// comes as a [`Message::Reply`](crate::Message::Reply) with `label`, and its `result` holds the value as a
    /// message. A panic of `work` is [`RequestError::Failed`] with [`Reason::Panic`](crate::Reason::Panic).
    ///
    /// Work that waits for a thread is dropped when the process ends or [cancels](Self::cancel_request) it; work that
    /// runs is left to return. There is no timeout.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooMuchWork`]: the queue is full ([`NodeOptions::blocking_queue`](crate::NodeOptions::blocking_queue)), or the node stops.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::io;
    ///
    /// const MOTD: u64 = 1;
    ///
    /// struct Greeter(String);
    /// impl Actor for Greeter {
    ///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         cx.blocking(MOTD, || std::fs::read_to_string("/etc/motd"))?;
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_message(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///     ) -> Result<(), Reason> {
    ///         if let Message::Reply(reply) = message
    ///             && reply.label == MOTD
    ///         {
    ///             self.0 = reply.result?.downcast::<io::Result<String>>()?.unwrap_or_default();
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("greeter@localhost")?;
    /// node.spawn(|| Greeter(String::new()))?;
    /// # Ok(()) }
    /// ```
    pub fn blocking<T: Send + 'static>(
        &mut self,
        label: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Ref, RequestError> {
        self.env().blocking(label, work)
    }
}
