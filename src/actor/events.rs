//! The verbs of a process for events.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::Context;
use crate::error::{EventError, Reason};
use crate::id::{Name, Ref};
use crate::process::{EventOptions, EventState, Published};

/// An event that was registered: the right to publish under its name. A clone is the same event, and any process may
/// hold one; the event ends with the process that registered it.
pub struct Event<T> {
    state: Arc<EventState>,
    // As of a function: the handle holds no value, and is `Send` and `Sync` whatever `T` is.
    of: PhantomData<fn(T)>,
}

impl<T> Event<T> {
    pub(crate) fn state(&self) -> &Arc<EventState> {
        &self.state
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        self.state.name()
    }
}

impl<T> Clone for Event<T> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            of: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Event").field(self.name()).finish()
    }
}

/// # Events
///
/// Named values that one process publishes and others subscribe to; see [the guide](crate::guide::events).
impl Context<'_> {
    /// Registers an event of this process, with which it ends. Events and processes have separate names: one of each
    /// may have the same.
    ///
    /// This process gets a [`MessageEventSubscribers`](crate::MessageEventSubscribers) when the event gets its first
    /// subscriber and when it loses the last one.
    ///
    /// # Errors
    ///
    /// [`EventError::Taken`], an empty name, or [`EventError::Ended`] in `terminate`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// use longshore::{Event, EventOptions};
    ///
    /// let options = EventOptions::default().with_kept(1); // who subscribes later gets the last
    /// let prices: Event<f64> = cx.register_event("prices", options)?;
    /// cx.publish(&prices, 9.75)?;
    /// # Ok(()) }) }
    /// ```
    pub fn register_event<T: Send + Sync + 'static>(
        &mut self,
        name: impl Into<Name>,
        options: EventOptions,
    ) -> Result<Event<T>, EventError> {
        let env = self.env();
        let state = env
            .processes
            .register_event(env.control, name.into(), &options)?;
        Ok(Event {
            state,
            of: PhantomData,
        })
    }

    /// Publishes a value: each subscriber gets it as a [`Message::Event`](crate::Message::Event), in the order of
    /// publishing. All share one value, so that nothing is copied. A mailbox that is full refuses it, which is counted.
    /// Costs a send for each subscriber.
    ///
    /// # Errors
    ///
    /// [`EventError::NoEvent`]: the event has ended.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # use longshore::{Event, EventOptions};
    /// let prices: Event<f64> = cx.register_event("prices", EventOptions::default())?;
    /// let published = cx.publish(&prices, 9.75)?;
    /// assert_eq!((published.number, published.delivered), (1, 0)); // the first, for none
    /// # Ok(()) }) }
    /// ```
    pub fn publish<T: Send + Sync + 'static>(
        &mut self,
        event: &Event<T>,
        value: T,
    ) -> Result<Published, EventError> {
        let env = self.env();
        let published = env.processes.publish(event.state(), value)?;
        // Publishing counts as a send for each subscriber, so that a publisher with many of them lets them run.
        let sends = u32::try_from(published.delivered).unwrap_or(u32::MAX);
        env.control.sent = env.control.sent.saturating_add(sends);
        Ok(published)
    }

    /// Ends an event before its publisher ends. Subscribers get a `Down` with [`Reason::Normal`] behind the values that
    /// were published.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # use longshore::{Event, EventError, EventOptions};
    /// let prices: Event<f64> = cx.register_event("prices", EventOptions::default())?;
    /// cx.end_event(&prices);
    /// assert!(matches!(cx.publish(&prices, 9.75), Err(EventError::NoEvent(_))));
    /// # Ok(()) }) }
    /// ```
    pub fn end_event<T>(&mut self, event: &Event<T>) {
        let env = self.env();
        env.control.forget_event(event.state());
        env.processes.end_event(event.state(), &Reason::Normal);
    }

    /// Subscribes to an event: first come the values that it keeps, then each one that is published. When the event
    /// ends, a `Down` with the returned `Ref` comes behind the last of them. A process subscribes to an event once.
    ///
    /// To be notified of the end only, monitor or link [`Target::Event`](crate::Target::Event).
    ///
    /// # Errors
    ///
    /// [`EventError::NoEvent`], [`EventError::Subscribed`], or [`EventError::Ended`] in `terminate`.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// struct Display;
    /// impl Actor for Display {
    ///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    ///         cx.subscribe("prices")?;
    ///         Ok(())
    ///     }
    ///
    ///     fn handle_message(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///     ) -> Result<(), Reason> {
    ///         if let Message::Event(event) = &message
    ///             && let Some(price) = event.downcast_ref::<f64>()
    ///         {
    ///             println!("{}: {price}", event.event());
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn subscribe(&mut self, name: impl Into<Name>) -> Result<Ref, EventError> {
        self.env().subscribe(name.into())
    }

    /// Takes a subscription back, as [`demonitor`](Context::demonitor) does. What was published before is in the
    /// mailbox and still comes; the `Down` does not.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # use longshore::{Event, EventOptions};
    /// # let prices: Event<f64> = cx.register_event("prices", EventOptions::default())?;
    /// let subscription = cx.subscribe("prices")?;
    /// cx.unsubscribe(subscription);
    /// # Ok(()) }) }
    /// ```
    pub fn unsubscribe(&mut self, subscription: Ref) {
        self.demonitor(subscription);
    }
}
