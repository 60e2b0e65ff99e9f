//! The verbs of the embedding program for events.

use super::Node;
use crate::actor::Event;
use crate::error::EventError;
use crate::process::{EventInfo, Published};

/// # Events
impl Node {
    /// Publishes a value from outside of the node; see [`Context::publish`](crate::Context::publish). The sender of the
    /// messages is the process that registered the event.
    ///
    /// # Errors
    ///
    /// [`EventError::NoEvent`]: the event has ended.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use longshore::{Event, EventOptions};
    /// # fn main() -> Result<(), longshore::Error> {
    /// struct Market(std::sync::mpsc::Sender<Event<f64>>);
    /// impl Actor for Market {
    ///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         let prices = cx.register_event("prices", EventOptions::default())?;
    ///         self.0.send(prices)?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let node = Node::start("example@localhost")?;
    /// let (sender, events) = std::sync::mpsc::channel();
    /// node.spawn(|| Market(sender))?;
    /// let prices = events.recv().unwrap();
    /// assert_eq!(node.publish(&prices, 9.75).unwrap().number, 1);
    /// # Ok(()) }
    /// ```
    pub fn publish<T: Send + Sync + 'static>(
        &self,
        event: &Event<T>,
        value: T,
    ) -> Result<Published, EventError> {
        self.table().publish(event.state(), value)
    }

    /// Lists the events that are registered, by name.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// for event in node.events() {
    ///     println!("{}: {} subscribers", event.name, event.subscribers);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn events(&self) -> Vec<EventInfo> {
        self.table().list_events()
    }
}
