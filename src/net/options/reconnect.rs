//! When a client connection that is lost is made anew.

use std::time::Duration;

use super::check;
use crate::error::ConfigError;

/// Says when a client connection that is lost, or could not be made, is tried again; see
/// [`TcpConnectionOptions::reconnect`](crate::TcpConnectionOptions::reconnect).
///
/// ```
/// use std::time::Duration;
/// use longshore::{ReconnectPolicy, TcpConnectionOptions};
///
/// let policy = ReconnectPolicy::default()
///     .with_first(Duration::from_millis(100))
///     .with_give_up_after(Duration::from_secs(60));
/// let options = TcpConnectionOptions::from("db.internal:7000").with_reconnect(policy);
/// assert!(options.reconnect.is_some());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReconnectPolicy {
    /// The first wait, at least 1 ms. It doubles with each attempt and each loss. 500 ms by default.
    pub first: Duration,
    /// The longest wait. A connection that has stood for this long lets the waits begin anew. 30 s by default.
    pub max: Duration,
    /// The share of a wait, from 0 to 1, of which a random part is left out, so that the clients of a server that has
    /// failed do not all come back at once. 0.5 by default: a wait of 8 s takes from 4 to 8.
    pub jitter: f64,
    /// Time without a connection after which it is given up, with a Disconnect. `None`, the default: never.
    pub give_up_after: Option<Duration>,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            max: Duration::from_secs(30),
            jitter: 0.5,
            give_up_after: None,
        }
    }
}

impl ReconnectPolicy {
    setters! {
        /// Sets [`first`](Self::first).
        with_first, first: plain Duration;
        /// Sets [`max`](Self::max).
        with_max, max: plain Duration;
        /// Sets [`jitter`](Self::jitter).
        with_jitter, jitter: plain f64;
        /// Sets [`give_up_after`](Self::give_up_after).
        with_give_up_after, give_up_after: into Option<Duration>;
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let shortest = Duration::from_millis(1);
        check(self.first >= shortest, "first", "must be at least 1 ms")?;
        check(self.max >= self.first, "max", "is below `first`")?;
        // NaN is in no range.
        let is_share = (0.0..=1.0).contains(&self.jitter);
        check(is_share, "jitter", "must be from 0 to 1")?;
        let gives_up = self.give_up_after.is_none_or(|limit| limit >= shortest);
        check(
            gives_up,
            "give_up_after",
            "must be at least 1 ms; `None` is never",
        )
    }
}
