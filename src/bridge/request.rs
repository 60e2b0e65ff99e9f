//! Requests: [`Reply`], the means to answer one; [`PendingReply`] and [`Answer`], what a caller outside of the node
//! holds.
//!
//! A request is answered exactly once. The callee owns its `Reply`; sending consumes it, and dropping it, on
//! whatever path (a handler that ignores it, a panic, the end of the process with the request still in its mailbox),
//! answers [`RequestError::Dropped`] at once. So no caller waits for a timeout because its callee is gone.
//!
//! The asker may stop waiting: its timeout, its end, a cancel, or a caller outside that drops what it
//! holds. The callee is not notified, it can look: [`Reply::is_wanted`].

mod pending;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::inside::RuntimeId;
use crate::error::{Reason, RequestError};
use crate::id::{Pid, Ref};
use crate::inspect::Inspection;
use crate::message::{Message, MessageReply, Request};

use super::deliver::Deliver;
pub(crate) use pending::Expiry;
use pending::ReplySlot;
pub(crate) use pending::Wait;
pub use pending::{Answer, PendingReply};

/// The means to answer one request: send it, keep it for later, pass it on to another process, or drop it, which
/// answers [`RequestError::Dropped`].
#[must_use = "dropping it answers that there is no answer"]
pub struct Reply(Option<Requester>);

enum Requester {
    Process {
        pid: Pid,
        request: Ref,
        /// When the asker stops waiting, on the node's clock.
        deadline_ms: u64,
        processes: Arc<dyn Deliver>,
    },
    Outside(Arc<ReplySlot>),
}

impl Reply {
    pub(crate) fn to_process(
        pid: Pid,
        request: Ref,
        deadline_ms: u64,
        processes: Arc<dyn Deliver>,
    ) -> Self {
        Self(Some(Requester::Process {
            pid,
            request,
            deadline_ms,
            processes,
        }))
    }

    /// `deadline`: when the caller stops waiting, if that is known.
    pub(crate) fn to_outside(
        runtime: RuntimeId,
        deadline: Option<Instant>,
    ) -> (Self, PendingReply) {
        let slot = Arc::new(ReplySlot::new(deadline));
        let reply = Self(Some(Requester::Outside(Arc::clone(&slot))));
        (reply, PendingReply::new(slot, runtime))
    }

    /// For a caller that waits for this long.
    pub(crate) fn to_caller(runtime: RuntimeId, timeout: Duration) -> (Self, PendingReply) {
        Self::to_outside(runtime, Instant::now().checked_add(timeout))
    }

    /// Answers.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// struct Clerk;
    /// impl Actor for Clerk {
    ///     fn handle_call(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         _: Message,
    ///         reply: Reply,
    ///     ) -> Result<(), Reason> {
    ///         reply.send("done");
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn send<T: Send + 'static>(self, message: T) {
        self.finish(Ok(Message::new(message)));
    }

    /// Answers a request of type `R`: as [`Reply::send`], with the type checked by the compiler.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// struct Get(usize);
    /// impl Request for Get {
    ///     type Reply = String;
    /// }
    ///
    /// struct Store(Vec<String>);
    /// impl Actor for Store {
    ///     fn handle_call(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///         reply: Reply,
    ///     ) -> Result<(), Reason> {
    ///         if let Ok(Get(index)) = message.downcast::<Get>() {
    ///             match self.0.get(index) {
    ///                 Some(value) => reply.answer::<Get>(value.clone()),
    ///                 None => reply.fail(Reason::error("no such value")),
    ///             }
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn answer<R: Request>(self, answer: R::Reply) {
        self.send(answer);
    }

    /// Answers that the callee has failed; the asker gets [`RequestError::Failed`] with the reason, in which an
    /// error is kept as it is.
    ///
    /// ```
    /// # use longshore::prelude::*;
    /// fn read(path: &str, reply: Reply) {
    ///     match std::fs::read_to_string(path) {
    ///         Ok(text) => reply.send(text),
    ///         Err(error) => reply.fail(error),
    ///     }
    /// }
    /// ```
    pub fn fail(self, error: impl Into<Reason>) {
        self.refuse(RequestError::Failed(error.into()));
    }

    /// How long the asker still waits; `None` if it set no limit. Zero: it does not wait any more.
    ///
    /// ```
    /// # use longshore::prelude::*;
    /// # use std::time::Duration;
    /// fn is_worth_a_query(reply: &Reply) -> bool {
    ///     reply.time_left().is_none_or(|left| left > Duration::from_millis(10))
    /// }
    /// ```
    pub fn time_left(&self) -> Option<Duration> {
        match self.0.as_ref()? {
            Requester::Process {
                deadline_ms,
                processes,
                ..
            // The end of time stands for no limit.
            } => (*deadline_ms != u64::MAX).then(|| processes.time_until(*deadline_ms)),
            Requester::Outside(slot) => {
                let deadline = slot.deadline()?;
                Some(deadline.saturating_duration_since(Instant::now()))
            }
        }
    }

    /// Whether the asker still waits: it has neither ended nor canceled, nor is its time over. A callee that has many
    /// requests can skip those that are not wanted any more.
    ///
    /// ```
    /// # use longshore::prelude::*;
    /// fn work(queue: &mut Vec<(u32, Reply)>) {
    ///     queue.retain(|(_, reply)| reply.is_wanted());
    /// }
    /// ```
    pub fn is_wanted(&self) -> bool {
        let waits = match &self.0 {
            Some(Requester::Process {
                pid,
                request,
                processes,
                ..
            }) => processes.is_waiting(*pid, *request),
            // The other one is the caller's.
            Some(Requester::Outside(slot)) => Arc::strong_count(slot) > 1,
            None => false,
        };
        waits && self.time_left().is_none_or(|left| !left.is_zero())
    }

    /// Another process is to answer than the one that was asked.
    pub(crate) fn note_forwarded(&self) {
        // Only a thread that waits can be part of a cycle of calls. An asker that gets a message does not wait.
        if let Some(Requester::Outside(slot)) = &self.0 {
            slot.note_forwarded();
        }
    }

    /// Answers that there is no answer.
    pub(crate) fn refuse(self, error: RequestError) {
        self.finish(Err(error));
    }

    fn finish(mut self, result: Result<Message, RequestError>) {
        if let Some(requester) = self.0.take() {
            requester.answer(result);
        }
    }
}

impl Requester {
    fn answer(self, result: Result<Message, RequestError>) {
        match self {
            Self::Process {
                pid,
                request,
                processes,
                ..
            } => {
                let reply = MessageReply {
                    request,
                    label: 0,
                    result,
                };
                processes.deliver_reply(pid, Box::new(reply));
            }
            Self::Outside(slot) => slot.fill(result),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(requester) = self.0.take() {
            requester.answer(Err(RequestError::Dropped));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// An inspection under way; dropping it answers that its target has ended.
#[derive(Debug)]
pub(crate) struct InspectReply(Box<Reply>);

impl InspectReply {
    pub(crate) fn new(reply: Reply) -> Self {
        Self(Box::new(reply))
    }

    pub(crate) fn send(self, inspection: Inspection) {
        self.0.send(Message::new(inspection));
    }
}
