//! The end of a process or meta-process, awaited from outside of the node: [`Monitor`].
//!
//! The thing watched keeps an [`EndNotice`] among its watchers. It fills the slot that it shares
//! with the `Monitor` once, with the reason; dropped unfilled, because there is nothing to
//! watch or the node is gone, it fills in `NoProcess`. So a wait always ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
#[cfg(feature = "testing")]
use std::time::Duration;
use std::time::Instant;

use crate::base::inside::RuntimeId;
use crate::error::{Reason, RequestError};
#[cfg(feature = "testing")]
use crate::simulation;

#[derive(Default)]
struct EndSlot {
    state: Mutex<EndState>,
    filled: Condvar,
}

#[derive(Default)]
struct EndState {
    reason: Option<Reason>,
    waker: Option<Waker>,
}

impl EndSlot {
    fn state(&self) -> MutexGuard<'_, EndState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first reason stays.
    fn fill(&self, reason: &Reason) {
        let mut state = self.state();
        if state.reason.is_some() {
            return;
        }
        state.reason = Some(reason.clone());
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

/// Waits for the end of a process or meta-process; from
/// [`Node::monitor`](crate::Node::monitor). Wait for it on a thread, or await it on any executor.
///
/// The reason is [`Reason::NoProcess`] if there was nothing to watch.
#[must_use = "a monitor does nothing until it is waited for"]
pub struct Monitor {
    slot: Arc<EndSlot>,
    runtime: RuntimeId,
}

impl Monitor {
    /// A monitor, and the notice for the thing watched.
    pub(crate) fn new(runtime: RuntimeId) -> (Arc<EndNotice>, Self) {
        let slot = Arc::new(EndSlot::default());
        let notice = EndNotice(Inform::Slot(Arc::clone(&slot)));
        (Arc::new(notice), Self { slot, runtime })
    }

    /// Waits for the end and returns its reason.
    ///
    /// # Errors
    ///
    /// [`RequestError::WouldBlockRuntime`] inside the node's runtime, where it could wait for
    /// itself.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// struct Worker;
    /// impl Actor for Worker {}
    ///
    /// let node = Node::start("example@localhost")?;
    /// let pid = node.spawn(|| Worker)?;
    /// let monitor = node.monitor(pid);
    /// node.send_exit(pid, Reason::Shutdown).unwrap();
    /// assert_eq!(monitor.wait()?, Reason::Shutdown);
    /// # Ok(()) }
    /// ```
    pub fn wait(&self) -> Result<Reason, RequestError> {
        self.wait_for(None)
    }

    /// Waits for the end until `deadline`.
    ///
    /// # Errors
    ///
    /// [`RequestError::Timeout`] at the deadline, and as [`Monitor::wait`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let node = Node::start("example@localhost")?;
    /// let pid = node.spawn(|| Worker)?;
    /// let waited = node.monitor(pid).wait_until(std::time::Instant::now());
    /// assert_eq!(waited, Err(longshore::RequestError::Timeout));
    /// # Ok(()) }
    /// ```
    pub fn wait_until(&self, deadline: Instant) -> Result<Reason, RequestError> {
        self.wait_for(Some(deadline))
    }

    fn wait_for(&self, deadline: Option<Instant>) -> Result<Reason, RequestError> {
        #[cfg(feature = "testing")]
        if !self.runtime.is_inside() {
            let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
            let left = deadline.map_or(Duration::MAX, |at| simulation::virtual_time(left(at)));
            let is_filled = &mut || self.slot.state().reason.is_some();
            if simulation::wait_for(left, is_filled) == Some(false) {
                // Without a deadline: the world is at rest.
                return Err(RequestError::Timeout);
            }
        }
        let filled = &self.slot.filled;
        let mut state = self.slot.state();
        loop {
            if let Some(reason) = &state.reason {
                return Ok(reason.clone());
            }
            // Only after the look at the reason, because a reason that is there costs no wait.
            if self.runtime.is_inside() {
                return Err(RequestError::WouldBlockRuntime);
            }
            let Some(deadline) = deadline else {
                state = filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            // Behind the look at the reason: an end that came in time counts, however late the thread wakes up.
            if left.is_zero() {
                return Err(RequestError::Timeout);
            }
            let waited = filled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Future for Monitor {
    type Output = Reason;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reason> {
        // The executor's waker is cloned and dropped while the lock is free: it is code of the program.
        let waker = context.waker().clone();
        let mut state = self.slot.state();
        if let Some(reason) = &state.reason {
            return Poll::Ready(reason.clone());
        }
        let previous = state.waker.replace(waker);
        drop(state);
        drop(previous);
        Poll::Pending
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Monitor")
            .field(&self.slot.state().reason)
            .finish()
    }
}

/// The side of the thing watched.
pub(crate) struct EndNotice(Inform);

enum Inform {
    Slot(Arc<EndSlot>),
    Call(Box<dyn Fn(&Reason) + Send + Sync>),
}

impl EndNotice {
    /// A notice that calls back with the reason. The call comes once more, with `NoProcess`, when
    /// the notice is dropped.
    pub(crate) fn call(call: impl Fn(&Reason) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self(Inform::Call(Box::new(call))))
    }

    /// Reports the end.
    pub(crate) fn notify(&self, reason: &Reason) {
        match &self.0 {
            Inform::Slot(slot) => slot.fill(reason),
            Inform::Call(call) => call(reason),
        }
    }
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        self.notify(&Reason::NoProcess);
    }
}

/// Two notices are never equal; the same one is.
impl PartialEq for EndNotice {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for EndNotice {}

impl fmt::Debug for EndNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndNotice")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn first_reason_stays_and_every_wait_gets_it() {
        let (notice, monitor) = Monitor::new(RuntimeId::new());
        let waited = monitor.wait_until(Instant::now());
        assert_eq!(waited, Err(RequestError::Timeout));
        notice.notify(&Reason::Kill);
        drop(notice);
        for _ in 0..2 {
            assert_eq!(monitor.wait(), Ok(Reason::Kill));
        }
    }

    #[test]
    fn wait_inside_the_runtime_is_refused_unless_the_reason_is_there() {
        let runtime = RuntimeId::new();
        let (notice, monitor) = Monitor::new(runtime);
        let _inside = runtime.enter();
        assert_eq!(monitor.wait(), Err(RequestError::WouldBlockRuntime));
        notice.notify(&Reason::Kill);
        assert_eq!(monitor.wait(), Ok(Reason::Kill));
    }

    #[test]
    fn notice_that_is_dropped_ends_the_wait() {
        let (notice, monitor) = Monitor::new(RuntimeId::new());
        let waiter = std::thread::spawn(move || monitor.wait());
        drop(notice);
        assert_eq!(waiter.join().expect("no panic"), Ok(Reason::NoProcess));
    }

    struct EndsOnDrop(Arc<EndNotice>);

    impl std::task::Wake for EndsOnDrop {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for EndsOnDrop {
        fn drop(&mut self) {
            self.0.notify(&Reason::Kill);
        }
    }

    #[test]
    fn waker_that_is_replaced_may_end_what_is_watched() {
        let (notice, mut monitor) = Monitor::new(RuntimeId::new());
        let (sender, polls) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let first = Waker::from(Arc::new(EndsOnDrop(notice)));
            let mut poll = |waker: &Waker| {
                let outcome = Pin::new(&mut monitor).poll(&mut Context::from_waker(waker));
                sender.send(outcome).expect("the test waits");
            };
            poll(&first);
            drop(first); // the slot has the last one
            poll(Waker::noop());
            poll(Waker::noop());
        });
        let next = || polls.recv_timeout(Duration::from_secs(30));
        assert_eq!(next(), Ok(Poll::Pending));
        assert_eq!(next(), Ok(Poll::Pending), "it waits for its own lock");
        assert_eq!(next(), Ok(Poll::Ready(Reason::Kill)));
    }
}
