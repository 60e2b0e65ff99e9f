//! Requests: [`Reply`], the means to answer one, and [`PendingReply`], what a caller outside of the node holds.
//!
//! A request is answered exactly once. The callee owns its `Reply`; sending consumes it, and dropping it, on
//! whatever path (a handler that ignores it, a panic, the end of the process with the request still in its mailbox),
//! answers [`RequestError::Dropped`] at once. So no caller waits for a timeout because its callee is gone.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::base::inside::RuntimeId;
use crate::error::RequestError;
use crate::id::{Pid, Ref};
use crate::inspect::Inspection;
use crate::message::{Message, MessageReply};
#[cfg(feature = "testing")]
use crate::simulation;

use super::deliver::Deliver;

/// The means to answer one request: send it, keep it for later, pass it on to another process, or drop it, which
/// answers [`RequestError::Dropped`].
pub struct Reply(Option<Requester>);

enum Requester {
    Process {
        pid: Pid,
        request: Ref,
        processes: Arc<dyn Deliver>,
    },
    Outside(Arc<Slot>),
}

impl Reply {
    pub(crate) fn to_process(pid: Pid, request: Ref, processes: Arc<dyn Deliver>) -> Self {
        Self(Some(Requester::Process {
            pid,
            request,
            processes,
        }))
    }

    pub(crate) fn to_outside(runtime: RuntimeId) -> (Self, PendingReply) {
        let slot = Arc::new(Slot::default());
        let reply = Self(Some(Requester::Outside(Arc::clone(&slot))));
        (reply, PendingReply { slot, runtime })
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

    pub(crate) fn fail(self, error: RequestError) {
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
            } => {
                processes.deliver_reply(pid, Box::new(MessageReply { request, result }));
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

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    result: Option<Result<Message, RequestError>>,
    waker: Option<Waker>,
}

impl Slot {
    fn fill(&self, result: Result<Message, RequestError>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.result = Some(result);
        let waker = state.waker.take();
        drop(state);
        self.filled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// An answer that is still to come, for callers outside of the node: wait for it on a thread, or await it on any
/// executor.
pub struct PendingReply {
    slot: Arc<Slot>,
    /// The node that was asked, whose own threads must not wait for it.
    runtime: RuntimeId,
}

/// Longer waits are cut to this: the clock of the operating system may not reach further.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

impl PendingReply {
    /// Waits until `deadline`.
    ///
    /// # Errors
    ///
    /// [`RequestError::Timeout`] at the deadline, or whatever ended the request without an answer. Inside the runtime of
    /// the node that was asked it does not wait: [`RequestError::WouldBlockRuntime`], unless the answer is there.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// let promise = node.request(pid, "how are you?")?;
    /// let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    /// // At once.
    /// assert_eq!(promise.wait_until(deadline).unwrap_err(), longshore::RequestError::Dropped);
    /// # Ok(()) }
    /// ```
    pub fn wait_until(self, deadline: Instant) -> Result<Message, RequestError> {
        if self.runtime.is_inside() {
            let mut state = self
                .slot
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let result = state.result.take();
            return result.unwrap_or(Err(RequestError::WouldBlockRuntime));
        }
        #[cfg(feature = "testing")]
        if simulation::is_current() {
            // Real time has passed since the deadline was computed, but no virtual time.
            let left = deadline.saturating_duration_since(Instant::now());
            let whole = left.as_micros().div_ceil(1_000) as u64;
            return self.wait_simulated(Duration::from_millis(whole));
        }
        self.wait(deadline)
    }

    fn wait(self, deadline: Instant) -> Result<Message, RequestError> {
        let mut state = self
            .slot
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = state.result.take() {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RequestError::Timeout);
            }
            state = self
                .slot
                .filled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits at most for `timeout`, inside the runtime too: for callers who know that another thread answers.
    pub(crate) fn wait_for(self, timeout: Duration) -> Result<Message, RequestError> {
        #[cfg(feature = "testing")]
        if simulation::is_current() {
            return self.wait_simulated(timeout);
        }
        self.wait(Instant::now() + timeout.min(YEAR))
    }

    /// Lets the simulation of this thread run until the answer is there.
    #[cfg(feature = "testing")]
    fn wait_simulated(self, timeout: Duration) -> Result<Message, RequestError> {
        let result = || {
            let state = self.slot.state.lock();
            state.unwrap_or_else(PoisonError::into_inner).result.take()
        };
        let mut answer = None;
        simulation::wait_for(timeout, &mut || {
            answer = result();
            answer.is_some()
        });
        answer.unwrap_or(Err(RequestError::Timeout))
    }
}

impl Future for PendingReply {
    type Output = Result<Message, RequestError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The executor's waker is cloned and dropped while the lock is free: it is code of the program.
        let waker = context.waker().clone();
        let mut state = self
            .slot
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = state.result.take() {
            return Poll::Ready(result);
        }
        let previous = state.waker.replace(waker);
        drop(state);
        drop(previous);
        Poll::Pending
    }
}

impl fmt::Debug for PendingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingReply")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_reply_answers_at_once() {
        let (reply, promise) = Reply::to_outside(RuntimeId::NONE);
        drop(reply);
        let result = promise.wait_until(Instant::now() + Duration::from_secs(60));
        assert_eq!(result.unwrap_err(), RequestError::Dropped);
    }

    #[test]
    fn nobody_answering_is_a_timeout() {
        let (_reply, promise) = Reply::to_outside(RuntimeId::NONE);
        assert_eq!(
            promise.wait_until(Instant::now()).unwrap_err(),
            RequestError::Timeout
        );
    }
}
