//! The timers of the embedding program. They end with the node.

use std::time::Duration;

use super::Node;
use crate::actor::every;
use crate::bridge::Timer;
use crate::error::ConfigError;
use crate::id::{Pid, Target};
use crate::message::Message;

/// # Timers
///
/// They are the node's, and end with it.
impl Node {
    /// Sends a message after a delay; see [`Context::send_after`](crate::Context::send_after). The sender is
    /// [`Pid::NODE`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let node = Node::start("example@localhost")?;
    /// let pid = node.spawn(|| Worker)?;
    /// let timer = node.send_after(pid, "later", std::time::Duration::from_secs(60));
    /// assert!(node.cancel_timer(timer));
    /// # Ok(()) }
    /// ```
    pub fn send_after<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
        delay: Duration,
    ) -> Timer {
        let ends = (Pid::NODE, to.into());
        Timer(self.table().send_after(ends, Message::new(message), delay))
    }

    /// Sends copies of a message at a fixed rate; see [`Context::send_every`](crate::Context::send_every).
    ///
    /// # Errors
    ///
    /// The interval is below a millisecond.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let node = Node::start("example@localhost")?;
    /// node.spawn_register("worker", || Worker)?;
    /// node.send_every("worker", "tick", std::time::Duration::from_millis(100))?;
    /// # Ok(()) }
    /// ```
    pub fn send_every<T: Clone + Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
        interval: Duration,
    ) -> Result<Timer, ConfigError> {
        let ends = (Pid::NODE, to.into());
        let id = self.table().send_every(ends, interval, every(message))?;
        Ok(Timer(id))
    }

    /// Ticks of a timer that were dropped; see [`Context::missed_ticks`](crate::Context::missed_ticks).
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// let timer = node.send_every("worker", "tick", std::time::Duration::from_secs(60))?;
    /// assert_eq!(node.missed_ticks(timer), 0);
    /// # Ok(()) }
    /// ```
    pub fn missed_ticks(&self, timer: Timer) -> u64 {
        self.table().missed_ticks(timer.0)
    }

    /// Takes a timer back; see [`Context::cancel_timer`](crate::Context::cancel_timer).
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// let timer = node.send_every("worker", "tick", std::time::Duration::from_secs(60))?;
    /// assert!(node.cancel_timer(timer));
    /// assert!(!node.cancel_timer(timer));
    /// # Ok(()) }
    /// ```
    pub fn cancel_timer(&self, timer: Timer) -> bool {
        self.table().cancel_timer(timer.0)
    }
}
