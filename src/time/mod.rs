//! Time: the clock, the timer wheel, and the timers of a node, which wake the poller for an earlier deadline.

pub(crate) mod clock;
pub(crate) mod timers;
pub(crate) mod wheel;
