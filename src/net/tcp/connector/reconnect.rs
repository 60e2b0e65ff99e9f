//! When a connection that was lost, or could not be made, is tried again.
//!
//! ```text
//!              a loss                   the time has come, and nothing of the old connection is left
//!  connected ─────────▶ waiting ───────────────────────────────────────────────────────▶ attempt
//!      ▲                   ▲   │ give_up_after, an exit, a close                            │
//!      │                   │   ▼                                                           │
//!      │                   │  Disconnect                                                   │
//!      │                   └──────────────────────────── it has failed ────────────────────┤
//!      └──────────────────────────── Connect: the owner may write again ───────────────────┘
//! ```
//!
//! 1. A loss closes the quota. Everything that it counts then has been accepted and will not be sent: it is the
//!    `unsent` of the `MessageTcpReconnecting`. A fence goes behind that message.
//! 2. Accepted bytes that are still in the queue of commands arrive later and are discarded; the quota counts them
//!    down. What else the owner has asked of the old connection stands before the fence and is discarded too, but for a
//!    close.
//! 3. The next attempt begins when its time has come, the fence is back, and the quota counts nothing: so no byte of
//!    the old connection reaches the new one.
//! 4. The Connect opens the quota, in the step in which the worker of the owner takes it out of the mailbox. Another
//!    fence stands behind it.
//!
//! Bad interleaving of 4 and 1: the new connection is lost, its loss closes the quota, then the owner comes to the
//! Connect and opens it, and writes go nowhere. Excluded because a loss is not dealt with before the second fence is
//! back.
//!
//! The wait doubles with each attempt and with each loss, from `first` to `max`, and begins anew once a connection has
//! stood for `max`. What a connection without a policy pays: nothing, it has none of this.

#[cfg(feature = "testing")]
use std::collections::hash_map::DefaultHasher;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use super::kept::Loss;
use crate::error::DisconnectReason;
use crate::meta::MetaContext;
use crate::net::options::ReconnectPolicy;
#[cfg(feature = "testing")]
use crate::simulation;
use crate::time::clock::millis;

/// See the module.
#[derive(Debug)]
pub(super) struct Reconnect {
    policy: ReconnectPolicy,
    /// Waits since a connection has stood for `max`.
    waits: u32,
    /// The number of the attempt, from 1.
    attempt: u32,
    /// Since when there is no connection.
    down_since_ms: Option<u64>,
    /// There was a connection, and its loss has closed the quota.
    pub(super) has_lost: bool,
    /// The owner has not come to the last `MessageTcpReconnecting` yet.
    pub(super) is_fenced: bool,
    /// This side has asked for the end.
    pub(super) is_ending: bool,
    /// Bytes of the old connection that are still in the queue of commands, and are reported.
    pub(super) late: usize,
    /// Bytes that were accepted for the old connection, and are not reported.
    pub(super) unreported: u64,
    /// The loss, until the next attempt begins.
    pub(super) loss: Option<Loss>,
    pub(super) last: LastMessage,
    /// A Unix domain socket to connect to.
    #[cfg(unix)]
    pub(super) path: Option<std::path::PathBuf>,
}

/// What the owner gets at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastMessage {
    Disconnect,
    /// A Disconnect with the counts of the loss: it moved to this owner as it was lost.
    Loss,
    /// The end of a relay comes instead.
    Nothing,
}

impl Reconnect {
    pub(super) fn new(policy: ReconnectPolicy) -> Self {
        Self {
            policy,
            waits: 0,
            attempt: 1,
            down_since_ms: None,
            has_lost: false,
            is_fenced: false,
            is_ending: false,
            late: 0,
            unreported: 0,
            loss: None,
            last: LastMessage::Disconnect,
            #[cfg(unix)]
            path: None,
        }
    }

    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// A connection is established that has been down until now.
    pub(super) fn note_established(&mut self) {
        self.down_since_ms = None;
    }

    /// A connection that was established at `since_ms` is lost.
    pub(super) fn lost(&mut self, since_ms: u64, now_ms: u64) {
        // A connection that falls at once each time must not reset the wait, or its peer would be flooded.
        if now_ms.saturating_sub(since_ms) >= millis(self.policy.max) {
            self.waits = 0;
        }
    }

    /// The time to the next attempt in milliseconds. `None`: it is given up. `random` is any number.
    pub(super) fn next_wait(&mut self, now_ms: u64, random: u64) -> Option<u64> {
        let wait_ms = self.policy.wait_ms(self.waits, random);
        let down_since_ms = *self.down_since_ms.get_or_insert(now_ms);
        if let Some(limit) = self.policy.give_up_after {
            let end_ms = down_since_ms.saturating_add(millis(limit));
            // The next attempt would begin after the limit.
            if now_ms.saturating_add(wait_ms) > end_ms {
                return None;
            }
        }
        self.waits = self.waits.saturating_add(1);
        self.attempt = self.attempt.saturating_add(1);
        Some(wait_ms)
    }

    /// Bytes have come that were for the old connection.
    pub(super) fn discard(&mut self, bytes: usize) {
        // Bytes beyond those that were reported were accepted after the loss was counted.
        let known = self.late.min(bytes);
        self.late -= known;
        self.unreported += (bytes - known) as u64;
    }
}

impl ReconnectPolicy {
    /// The wait behind `waits` others, in milliseconds.
    fn wait_ms(&self, waits: u32, random: u64) -> u64 {
        let first = self.first.max(Duration::from_millis(1));
        // The factor saturates, because a shift by more than the width is a panic.
        let factor = 1_u32.checked_shl(waits.min(31)).unwrap_or(u32::MAX);
        let whole = first.saturating_mul(factor).min(self.max);
        // From 0 to 1.
        let random = (random >> 11) as f64 / (1_u64 << 53) as f64;
        // At least a millisecond: with a jitter of 1 the wait could be none, and a peer that refuses at once would be
        // connected to in a loop.
        millis(whole.mul_f64(1.0 - self.jitter * random)).max(1)
    }
}

/// Whether a connection that ended for this reason is tried again: the peer or the network has ended it, or it could
/// not be made. What this side has decided, and what the peer will do again, is final.
pub(super) fn is_retried(reason: &DisconnectReason) -> bool {
    matches!(
        reason,
        DisconnectReason::ClosedByPeer
            | DisconnectReason::Reset
            | DisconnectReason::Truncated
            | DisconnectReason::Tls(_)
            | DisconnectReason::HandshakeTimeout
            | DisconnectReason::IdleTimeout
            | DisconnectReason::SlowReader
            | DisconnectReason::FrameTimeout
            | DisconnectReason::SessionTimeout
            | DisconnectReason::Resolve(_)
            | DisconnectReason::Connect(_)
            | DisconnectReason::ConnectTimeout
            | DisconnectReason::Io(_)
    )
}

/// Any number. In a simulation it follows from what the seed decides, so that a run can be repeated.
pub(super) fn random(cx: &MetaContext<'_>) -> u64 {
    #[cfg(feature = "testing")]
    if simulation::is_current() {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(cx.alias.to_bits());
        hasher.write_u64(cx.now_ms);
        return hasher.finish();
    }
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(cx.now_ms);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(jitter: f64) -> ReconnectPolicy {
        ReconnectPolicy::default()
            .with_first(Duration::from_millis(100))
            .with_max(Duration::from_secs(1))
            .with_jitter(jitter)
    }

    #[test]
    fn wait_doubles_up_to_the_maximum_and_begins_anew_after_a_long_connection() {
        let mut reconnect = Reconnect::new(policy(0.0));
        let mut waits = |count: usize| -> Vec<_> {
            let next = |_| reconnect.next_wait(0, 0).unwrap();
            (0..count).map(next).collect()
        };
        assert_eq!(waits(6), [100, 200, 400, 800, 1_000, 1_000]);
        reconnect.lost(5_000, 5_999);
        assert_eq!(reconnect.next_wait(0, 0), Some(1_000));
        reconnect.lost(5_000, 6_000);
        assert_eq!(reconnect.next_wait(0, 0), Some(100));
        assert_eq!(reconnect.attempt(), 9);
        for _ in 0..100 {
            assert!(reconnect.next_wait(0, 0).unwrap() <= 1_000);
        }
    }

    #[test]
    fn jitter_shortens_a_wait_by_its_share_at_most() {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            let wait = policy(0.5).wait_ms(1, random);
            assert!((100..=200).contains(&wait), "{wait}");
        }
        assert_eq!(policy(1.0).wait_ms(0, u64::MAX), 1);
        assert_eq!(policy(1.0).wait_ms(0, 0), 100);
    }

    #[test]
    fn attempt_that_would_come_too_late_is_given_up() {
        let mut reconnect =
            Reconnect::new(policy(0.0).with_give_up_after(Duration::from_millis(700)));
        assert_eq!(reconnect.next_wait(1_000, 0), Some(100));
        assert_eq!(reconnect.next_wait(1_100, 0), Some(200));
        assert_eq!(reconnect.next_wait(1_300, 0), Some(400), "at the limit");
        assert_eq!(reconnect.next_wait(1_700, 0), None);
        reconnect.note_established();
        assert!(
            reconnect.next_wait(1_700, 0).is_none(),
            "800 ms are more than 700"
        );
    }

    #[test]
    fn bytes_beyond_those_that_are_known_are_reported_later() {
        let mut reconnect = Reconnect::new(policy(0.0));
        reconnect.late = 10;
        for (bytes, unreported) in [(4, 0), (8, 2), (1, 3)] {
            reconnect.discard(bytes);
            assert_eq!(reconnect.unreported, unreported);
        }
    }
}
