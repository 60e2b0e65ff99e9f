//! The clock: milliseconds since the node started, monotonic.
//!
//! The only place that reads the time of the operating system for the runtime. Everything else gets `now` as an
//! argument, so that a node can be run over virtual time.

use std::time::{Duration, Instant};

#[cfg(feature = "testing")]
use crate::simulation;

/// Reads the time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// Of the operating system, since then.
    System(Instant),
    /// Of the simulation of this thread, since its start.
    #[cfg(feature = "testing")]
    Simulated,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self::System(Instant::now())
    }

    /// The time since the start.
    #[inline]
    pub(crate) fn elapsed(&self) -> Duration {
        match self {
            Self::System(start) => start.elapsed(),
            #[cfg(feature = "testing")]
            Self::Simulated => Duration::from_nanos(simulation::now_ns()),
        }
    }

    /// Milliseconds since the start, rounded down.
    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.elapsed())
    }

    /// Nanoseconds since the start, for measuring how long work takes.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The deadline that lies `delay` ahead, rounded up so that nothing fires early. Huge delays saturate.
    pub(crate) fn deadline_ms(&self, delay: Duration) -> u64 {
        let elapsed = self.elapsed().saturating_add(delay);
        millis(elapsed).saturating_add(1)
    }
}

/// Whole milliseconds of a duration; saturates.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
