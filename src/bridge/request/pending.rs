//! A request from outside of the node: the slot for its answer, and what the caller holds.
//!
//! ```text
//!  empty ── answer, error, or the timer of an `Answer` ──▶ filled ── the caller takes it ──▶ taken
//! ```
//!
//! The slot keeps the first result; what comes later is dropped. A caller that drops what it holds
//! leaves the callee the only owner of the slot, which is how the callee knows.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::base::inside::RuntimeId;
use crate::base::unwind::drop_catching;
use crate::bridge::TimerEvent;
use crate::bridge::Timers;
use crate::error::RequestError;
use crate::message::request::typed;
use crate::message::{Message, Request};
#[cfg(feature = "testing")]
use crate::simulation;
use crate::time::wheel::TimerKey;

/// Where the answer is put.
#[derive(Debug, Default)]
pub(super) struct ReplySlot {
    state: Mutex<ReplyState>,
    filled: Condvar,
    /// When the caller stops waiting.
    deadline: Option<Instant>,
    /// The callee has passed the request on.
    is_forwarded: AtomicBool,
}

#[derive(Debug, Default)]
struct ReplyState {
    /// It has had a result, which may have been taken.
    is_filled: bool,
    result: Option<Result<Message, RequestError>>,
    waker: Option<Waker>,
}

impl ReplySlot {
    pub(super) fn new(deadline: Option<Instant>) -> Self {
        Self {
            deadline,
            ..Self::default()
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn note_forwarded(&self) {
        self.is_forwarded.store(true, Ordering::Relaxed);
    }

    /// The first result stays.
    pub(super) fn fill(&self, result: Result<Message, RequestError>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut state.is_filled, true) {
            // Outside of the lock, because the drop of a message is code of the user.
            drop(state);
            return drop_catching(result);
        }
        state.result = Some(result);
        let waker = state.waker.take();
        // The lock is released before the wake: the woken thread takes it at once, and the waker is code of the
        // program.
        drop(state);
        self.filled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// An answer that is still to come, for callers outside of the node: wait for it on a thread, or await it on any
/// executor.
#[must_use = "dropping it cancels the request"]
pub struct PendingReply {
    slot: Arc<ReplySlot>,
    /// The node that was asked, whose own threads must not wait for it.
    runtime: RuntimeId,
}

/// Longer waits are cut to this: the clock of the operating system may not reach further.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

impl PendingReply {
    pub(super) fn new(slot: Arc<ReplySlot>, runtime: RuntimeId) -> Self {
        Self { slot, runtime }
    }

    pub(crate) fn wait_handle(&self) -> Wait {
        Wait(Arc::downgrade(&self.slot))
    }

    /// What ends the wait when its time is over.
    pub(crate) fn expiry(&self) -> Expiry {
        Expiry(Arc::downgrade(&self.slot))
    }

    /// Waits until `deadline`.
    ///
    /// # Errors
    ///
    /// [`RequestError::Timeout`] at the deadline, or whatever ended the request without an answer. Inside the runtime
    /// of the node that was asked it does not wait: [`RequestError::WouldBlockRuntime`], unless the answer is there.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// let pending = node.request(pid, "how are you?")?;
    /// let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    /// // At once.
    /// assert_eq!(pending.wait_until(deadline).unwrap_err(), longshore::RequestError::Dropped);
    /// # Ok(()) }
    /// ```
    pub fn wait_until(self, deadline: Instant) -> Result<Message, RequestError> {
        self.wait_here(deadline)
    }

    fn wait_here(&self, deadline: Instant) -> Result<Message, RequestError> {
        if self.runtime.is_inside() {
            // An answer that is there is given inside of the runtime too: it costs no wait.
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
            let left = deadline.saturating_duration_since(Instant::now());
            return self.wait_simulated(simulation::virtual_time(left));
        }
        self.wait(deadline)
    }

    fn wait(&self, deadline: Instant) -> Result<Message, RequestError> {
        let mut state = self
            .slot
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            // Before the deadline is looked at: an answer that came in time counts, however late the thread wakes up.
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
    pub(crate) fn wait_for(&self, timeout: Duration) -> Result<Message, RequestError> {
        #[cfg(feature = "testing")]
        if simulation::is_current() {
            return self.wait_simulated(timeout);
        }
        self.wait(Instant::now() + timeout.min(YEAR))
    }

    /// The result; while there is none, the waker is woken by it.
    fn take_or_register(&self, waker: &Waker) -> Option<Result<Message, RequestError>> {
        // The executor's waker is cloned and dropped while the lock is free: it is code of the program.
        let waker = waker.clone();
        let mut state = self
            .slot
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = state.result.take() {
            return Some(result);
        }
        let previous = state.waker.replace(waker);
        drop(state);
        drop(previous);
        None
    }

    /// Lets the simulation of this thread run until the answer is there.
    #[cfg(feature = "testing")]
    fn wait_simulated(&self, timeout: Duration) -> Result<Message, RequestError> {
        let mut answer = None;
        simulation::wait_for_wake(timeout, &mut |waker| {
            answer = self.take_or_register(waker);
            answer.is_some()
        });
        answer.unwrap_or(Err(RequestError::Timeout))
    }
}

impl Future for PendingReply {
    type Output = Result<Message, RequestError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.take_or_register(context.waker()) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for PendingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingReply")
    }
}

/// A wait, as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Wait(Weak<ReplySlot>);

impl Wait {
    /// Whether the callee still owes the answer.
    pub(crate) fn is_owed(&self) -> bool {
        self.0.upgrade().is_some_and(|slot| {
            let state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
            !state.is_filled && !slot.is_forwarded.load(Ordering::Relaxed)
        })
    }

    /// Ends the wait without an answer.
    pub(crate) fn end(&self, error: RequestError) {
        if let Some(slot) = self.0.upgrade() {
            slot.fill(Err(error));
        }
    }
}

/// Ends a wait with [`RequestError::Timeout`].
#[derive(Debug)]
pub(crate) struct Expiry(Weak<ReplySlot>);

impl Expiry {
    pub(crate) fn expire(&self) {
        if let Some(slot) = self.0.upgrade() {
            slot.fill(Err(RequestError::Timeout));
        }
    }
}

/// The answer to a [`Request`] that is still to come, for callers outside of the node: await it on any executor, or
/// [wait](Self::wait) for it on a thread. Dropping it cancels the request.
#[must_use = "dropping it cancels the request"]
pub struct Answer<R> {
    pending: PendingReply,
    deadline: Instant,
    timers: Arc<Timers>,
    timer: TimerKey,
    answers: PhantomData<fn() -> R>,
}

impl<R: Request> Answer<R> {
    pub(crate) fn new(pending: PendingReply, deadline: Instant, timers: Arc<Timers>) -> Self {
        let left = deadline.saturating_duration_since(Instant::now());
        // An executor that awaits the answer knows no deadline, so a timer of the node ends the wait.
        let timer = timers.after(left, TimerEvent::Expire(pending.expiry()));
        Self {
            pending,
            deadline,
            timers,
            timer,
            answers: PhantomData,
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// Why there is none. Inside the runtime of the node that was asked it does not wait:
    /// [`RequestError::WouldBlockRuntime`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::time::Duration;
    ///
    /// struct Add(u32, u32);
    /// impl Request for Add {
    ///     type Reply = u32;
    /// }
    ///
    /// struct Adder;
    /// impl Actor for Adder {
    ///     fn handle_call(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///         reply: Reply,
    ///     ) -> Result<(), Reason> {
    ///         if let Ok(Add(a, b)) = message.downcast() {
    ///             reply.answer::<Add>(a + b);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("sums@localhost")?;
    /// let adder = node.spawn(|| Adder)?;
    /// let sum: u32 = node.ask(adder, Add(2, 3), Duration::from_secs(5))?.wait()?;
    /// assert_eq!(sum, 5);
    /// # Ok(()) }
    /// ```
    pub fn wait(self) -> Result<R::Reply, RequestError> {
        typed::<R>(self.pending.wait_here(self.deadline))
    }
}

impl<R: Request> Future for Answer<R> {
    type Output = Result<R::Reply, RequestError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().pending)
            .poll(context)
            .map(typed::<R>)
    }
}

impl<R> Drop for Answer<R> {
    // Otherwise an answered request would stay in the wheel until its deadline.
    fn drop(&mut self) {
        self.timers.cancel(self.timer);
    }
}

impl<R> fmt::Debug for Answer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::request::Reply;

    #[test]
    fn dropping_the_reply_answers_at_once() {
        let (reply, pending) = Reply::to_outside(RuntimeId::NONE, None);
        drop(reply);
        let result = pending.wait_until(Instant::now() + Duration::from_secs(60));
        assert_eq!(result.unwrap_err(), RequestError::Dropped);
    }

    #[test]
    fn a_request_without_an_answer_is_a_timeout() {
        let (_reply, pending) = Reply::to_outside(RuntimeId::NONE, None);
        assert_eq!(
            pending.wait_until(Instant::now()).unwrap_err(),
            RequestError::Timeout
        );
    }
}
