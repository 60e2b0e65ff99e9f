//! Requests of a process: ask, call, cancel, and pass on what it was asked.

use std::time::Duration;

use super::Context;
use crate::bridge::request::Reply;
use crate::error::RequestError;
use crate::id::{Pid, Ref, Target};
use crate::message::request::typed;
use crate::message::{Message, Request, SendError};

/// # Requests
impl Context<'_> {
    /// Asks a request with a type. The answer comes as a [`Message::Reply`] that carries `label`, so that the handler
    /// knows without a map which question it belongs to; [`MessageReply::answer`](crate::MessageReply::answer) takes
    /// it out. If the receiver ends, panics or drops the request, that message comes at once, not at the timeout.
    ///
    /// # Errors
    ///
    /// As [`Context::send`]; then no reply comes.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// struct Get(u32);
    /// impl Request for Get {
    ///     type Reply = String;
    /// }
    ///
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// # let store = cx.spawn(|| Worker)?;
    /// const USER: u64 = 1;
    /// cx.ask(store, Get(7), Duration::from_secs(5), USER)?;
    /// // A `MessageReply` with the label USER comes, whatever happens to the store.
    /// # Ok(()) }) }
    /// ```
    pub fn ask<R: Request>(
        &mut self,
        to: impl Into<Target>,
        request: R,
        timeout: Duration,
        label: u64,
    ) -> Result<Ref, SendError> {
        self.env()
            .request(to.into(), Message::new(request), timeout, label)
    }

    /// Asks, and waits for the answer, at most `timeout`. Only this process waits: its thread blocks, and a spare one
    /// takes over its worker. That costs a thread and some microseconds, so it is for the rare question whose answer
    /// the handler cannot do without; everything else is [`ask`](Self::ask).
    ///
    /// Messages for this process wait meanwhile. An exit signal that ends the process ends the call; a handler that
    /// passes the error on with `?` ends with the reason of the signal.
    ///
    /// # Errors
    ///
    /// Why there is no answer: [`RequestError::Timeout`], [`Dropped`](RequestError::Dropped) if the receiver ends,
    /// panics or drops the request, [`Failed`](RequestError::Failed) by it,
    /// [`NotDelivered`](RequestError::NotDelivered), [`WrongType`](RequestError::WrongType),
    /// [`Exiting`](RequestError::Exiting).
    ///
    /// [`RequestError::Cycle`] at once if the receiver is this process itself, or waits for it in a call of its own,
    /// directly or through others. Behind a pool, or a process that forwards the request, only the timeout ends such a
    /// wait. [`RequestError::TooManyCalls`] at once if [`max_blocked_calls`](crate::NodeOptions::max_blocked_calls)
    /// handlers wait, each of which counts until it has returned. [`RequestError::WouldBlockRuntime`] in a `terminate`
    /// that the stop of the node runs on its own thread, and in the `init` of a process that a handler spawns with
    /// [`Node::spawn`](crate::Node::spawn).
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::time::Duration;
    ///
    /// struct Price(&'static str);
    /// impl Request for Price {
    ///     type Reply = u32;
    /// }
    ///
    /// struct List;
    /// impl Actor for List {
    ///     fn handle_call(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///         reply: Reply,
    ///     ) -> Result<(), Reason> {
    ///         match message.downcast() {
    ///             Ok(Price("tea")) => reply.answer::<Price>(3),
    ///             _ => reply.fail(Reason::error("not on the list")),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// struct Shop;
    /// impl Actor for Shop {
    ///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         let list = cx.spawn(|| List)?;
    ///         let price = cx.call(list, Price("tea"), Duration::from_secs(5))?;
    ///         assert_eq!(price, 3);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("shop@localhost")?;
    /// node.spawn(|| Shop)?;
    /// # Ok(()) }
    /// ```
    pub fn call<R: Request>(
        &mut self,
        to: impl Into<Target>,
        request: R,
        timeout: Duration,
    ) -> Result<R::Reply, RequestError> {
        typed::<R>(self.env().call(to.into(), Message::new(request), timeout))
    }

    /// Asks; the answer, or why there is none, comes as a [`Message::Reply`] with the `Ref` returned here. If the
    /// receiver ends, panics or drops the request, that message comes at once, not at the timeout.
    ///
    /// # Errors
    ///
    /// As [`Context::send`]; then no reply comes.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let worker = cx.spawn(|| Worker)?;
    /// let request = cx.request(worker, "how are you?", Duration::from_secs(5))?;
    /// // A `MessageReply` with this `request` comes, whatever happens to the worker.
    /// # let _ = request;
    /// # Ok(()) }) }
    /// ```
    pub fn request<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        self.env()
            .request(to.into(), Message::new(message), timeout, 0)
    }

    /// Stops waiting for the answer to a request: none comes any more. Returns whether it was still waited for. The
    /// callee is not notified; it can see it by [`Reply::is_wanted`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// # let worker = cx.spawn(|| Worker)?;
    /// let request = cx.request(worker, "how are you?", Duration::from_secs(5))?;
    /// assert!(cx.cancel_request(request));
    /// assert!(!cx.cancel_request(request));
    /// # Ok(()) }) }
    /// ```
    pub fn cancel_request(&mut self, request: Ref) -> bool {
        self.env().cancel_request(request)
    }

    /// Passes a request on, as coming from `from`; the receiver answers the asker.
    ///
    /// # Errors
    ///
    /// As [`Context::send`]; then the asker has got [`RequestError::NotDelivered`].
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// struct Deputy(Pid);
    /// impl Actor for Deputy {
    ///     fn handle_call(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         from: Pid,
    ///         message: Message,
    ///         reply: Reply,
    ///     ) -> Result<(), Reason> {
    ///         // The asker has been answered if this fails.
    ///         if cx.forward_request(self.0, from, message, reply).is_err() {
    ///             return Err(Reason::error("the office is closed"));
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn forward_request<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        from: Pid,
        message: T,
        reply: Reply,
    ) -> Result<(), SendError> {
        let env = self.env();
        env.control.count_send();
        reply.note_forwarded();
        env.processes
            .call(from, to.into(), Message::new(message), reply)
    }
}
