//! The end of the drain of a listener.

use crate::id::Alias;

/// A listener that was drained has ended, and so has every connection that it had accepted; see
/// [`Context::drain`](crate::Context::drain).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageDrained {
    /// The listener. Its alias is stale.
    pub id: Alias,
    /// Connections that ended before the deadline, of those that were open when the drain began.
    pub finished: usize,
    /// Connections that were closed at the deadline.
    pub closed: usize,
}

impl MessageDrained {
    pub(crate) fn new(id: Alias, finished: usize, closed: usize) -> Self {
        Self {
            id,
            finished,
            closed,
        }
    }
}
