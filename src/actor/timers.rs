//! The verbs of a process for timers.

use std::time::Duration;

use super::Context;
use crate::bridge::{MakeTick, Timer};
use crate::error::ConfigError;
use crate::id::Target;
use crate::message::message_type::number_of;
use crate::message::{Message, MessageType};

/// What sends copies of `message`.
pub(crate) fn every<T: Clone + Send + 'static>(message: T) -> (MessageType, MakeTick) {
    (
        number_of::<T>(),
        Box::new(move || Message::new(message.clone())),
    )
}

/// # Timers
///
/// A timer ends with the process that set it: what it would have sent later is not sent.
impl Context<'_> {
    /// Sends a message after a delay, never earlier. A receiver that is gone by then is not an error, and neither is a
    /// full mailbox.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// cx.send_after(cx.pid(), "tick", Duration::from_millis(100));
    /// # Ok(()) }) }
    /// ```
    pub fn send_after<T: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
        delay: Duration,
    ) -> Timer {
        let message = Message::new(message);
        Timer(self.env().send_after(to.into(), message, delay))
    }

    /// Sends copies of a message at a fixed rate, the first after one interval, until the timer is canceled or its
    /// receiver has ended. A name is looked up for each tick.
    ///
    /// Tick number `n` is due `n` intervals after this call, however late the ticks before it were, and is sent up to a
    /// millisecond behind that. At most one tick is on its way: one that is due while the one before it has not been
    /// handled, because the receiver or the node is behind, is dropped and counted
    /// ([`missed_ticks`](Context::missed_ticks)). So a receiver that is slow finds one tick and not a thousand.
    ///
    /// # Errors
    ///
    /// The interval is below a millisecond.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// #[derive(Clone)]
    /// struct Frame;
    ///
    /// cx.send_every(cx.pid(), Frame, Duration::from_secs(1) / 60)?;
    /// # Ok(()) }) }
    /// ```
    pub fn send_every<T: Clone + Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        message: T,
        interval: Duration,
    ) -> Result<Timer, ConfigError> {
        let id = self.env().send_every(to.into(), interval, every(message))?;
        Ok(Timer(id))
    }

    /// Ticks of a timer that were dropped so far because the receiver or the node was behind, or the name had no
    /// holder; 0 for a timer that has ended.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let timer = cx.send_every(cx.pid(), "tick", Duration::from_secs(60))?;
    /// assert_eq!(cx.missed_ticks(timer), 0);
    /// # Ok(()) }) }
    /// ```
    pub fn missed_ticks(&self, timer: Timer) -> u64 {
        self.env_ref().processes.missed_ticks(timer.0)
    }

    /// Takes a timer back. `false`: it has fired, or was canceled before, or its owner or receiver has ended. After a
    /// `true` nothing of it is handled any more.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let timer = cx.send_after(cx.pid(), "never", Duration::from_secs(60));
    /// assert!(cx.cancel_timer(timer));
    /// assert!(!cx.cancel_timer(timer));
    /// # Ok(()) }) }
    /// ```
    pub fn cancel_timer(&mut self, timer: Timer) -> bool {
        self.env().cancel_timer(timer.0)
    }
}
