//! What travels by events: the published value, and what its publisher learns of its subscribers.

use std::any::{Any, type_name};
use std::fmt;
use std::sync::Arc;

use crate::id::Name;

/// A value that was published under the name of an event; see
/// [`Context::subscribe`](crate::Context::subscribe).
///
/// All subscribers share one value, and a clone is the same one.
#[derive(Clone)]
// Shared: all subscribers have the same value, and a publish copies none.
pub struct MessageEvent(Arc<Item<dyn Any + Send + Sync>>);

struct Item<T: ?Sized> {
    event: Name,
    number: u64,
    type_name: &'static str,
    value: T,
}

impl MessageEvent {
    pub(crate) fn new<T: Any + Send + Sync>(event: Name, number: u64, value: T) -> Self {
        Self(Arc::new(Item {
            event,
            number,
            type_name: type_name::<T>(),
            value,
        }))
    }

    /// The name of the event.
    pub fn event(&self) -> &Name {
        &self.0.event
    }

    /// The number of the value: 1 for the first that was published, and one more for each. A gap between two that a
    /// subscriber receives is what its mailbox refused.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Looks at the value, if it has that type.
    ///
    /// ```
    /// use longshore::MessageEvent;
    ///
    /// fn price(event: &MessageEvent) -> Option<f64> {
    ///     event.downcast_ref::<f64>().copied()
    /// }
    /// ```
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        self.0.value.downcast_ref()
    }
}

impl fmt::Debug for MessageEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageEvent")
            .field("event", &self.0.event)
            .field("number", &self.0.number)
            .field("type", &self.0.type_name)
            .finish()
    }
}

/// An event of this process has got its first subscriber, or lost its last one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageEventSubscribers {
    /// The event.
    pub event: Name,
    /// Whether it has subscribers now.
    pub has_subscribers: bool,
}
