//! The attempts of one connection: an address after the other, and several at once (RFC 8305).
//!
//! ```text
//!   addresses ─ every ATTEMPT_DELAY_MS, or when one has failed ─▶ attempts ─┬─ the first that is established wins
//!    (families take turns)                                                  └─ failed: with the others in the Disconnect
//! ```
//!
//! The time to the deadline is shared out where it is short, so that one address that is silent leaves some to the
//! others.
//!
//! All attempts share the token of the alias: an event says that one of them may have changed, and all are looked at.
//! The losers leave the poll before they are closed.
//!
//! What it does not do: it resolves nothing, and the deadline of the whole is that of the connection.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::outcome::{Outcome, outcome};
use super::{Attempt, AttemptState, TcpConnection, begin};
use crate::error::{DisconnectReason, OsError, Reason};
use crate::message::FailedAttempt;
use crate::meta::{MetaContext, Readiness};

/// Time between the beginnings of two attempts, in milliseconds (RFC 8305 section 5: "Connection Attempt Delay").
const ATTEMPT_DELAY_MS: u64 = 250;
/// The shortest one, where more addresses are left than the deadline has room for (the same section).
const MIN_ATTEMPT_DELAY_MS: u64 = 10;
/// Addresses of a name that are tried, at most.
const MAX_ADDRESSES: usize = 64;
/// How often an attempt that has met itself is made again for one connection.
const MAX_SELF_CONNECTS: u32 = 3;

/// Lets the families take turns, beginning with that of the first address; within a family the order stays (RFC 8305
/// section 4).
pub(super) fn interleave(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let Some(first) = addresses.first() else {
        return VecDeque::new();
    };
    let is_like_first = |address: &&SocketAddr| address.is_ipv4() == first.is_ipv4();
    let mut like_first = addresses.iter().filter(is_like_first);
    let mut others = addresses.iter().filter(|address| !is_like_first(address));
    let mut ordered = VecDeque::with_capacity(addresses.len().min(MAX_ADDRESSES));
    loop {
        let pair = (like_first.next(), others.next());
        // A name with very many addresses, which an attacker's server can give, must not keep the attempt busy for
        // ever.
        if pair == (None, None) || ordered.len() >= MAX_ADDRESSES {
            ordered.truncate(MAX_ADDRESSES);
            return ordered;
        }
        ordered.extend(pair.0);
        ordered.extend(pair.1);
    }
}

impl TcpConnection {
    /// Begins with the next address, and goes on at once if that fails at once. Without any address left the attempts
    /// that are under way are waited for; without these the connection has failed.
    pub(super) fn start_next(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        // An address that fails at once costs no delay: RFC 8305 waits only for those that are silent.
        while let Some(address) = self.addresses.pop_front() {
            match begin(address, &self.options) {
                Ok(stream) => {
                    self.next_attempt_ms = if self.addresses.is_empty() {
                        u64::MAX
                    } else {
                        cx.now_ms.saturating_add(self.attempt_delay(cx.now_ms))
                    };
                    let attempt = Attempt {
                        stream,
                        address,
                        is_registered: false,
                    };
                    // The attempts that are under way go on, and the fastest wins.
                    match &mut self.state {
                        AttemptState::Connecting(attempts) => attempts.push(attempt),
                        state => *state = AttemptState::Connecting(vec![attempt]),
                    }
                    self.watch(cx)?;
                    self.arm(cx);
                    return Ok(());
                }
                Err(error) => self.note_failure(address, error.into()),
            }
        }
        self.next_attempt_ms = u64::MAX;
        self.arm(cx);
        if matches!(&self.state, AttemptState::Connecting(attempts) if !attempts.is_empty()) {
            return Ok(());
        }
        let reason = match self.failed.last() {
            Some(failed) => DisconnectReason::Connect(failed.error),
            None => DisconnectReason::Resolve(Arc::from("the name has no address")),
        };
        self.fail(reason)
    }

    /// How long an attempt may be silent before the next one begins.
    fn attempt_delay(&self, now_ms: u64) -> u64 {
        let left_ms = self.deadline_ms.saturating_sub(now_ms);
        // The attempt that has begun, and those that have not.
        let share_ms = left_ms / (self.addresses.len() as u64 + 1);
        share_ms.clamp(MIN_ATTEMPT_DELAY_MS, ATTEMPT_DELAY_MS)
    }

    /// Sets the timer to whatever comes first: the next attempt, or the deadline.
    pub(super) fn arm(&self, cx: &mut MetaContext<'_>) {
        cx.set_deadline(self.deadline_ms.min(self.next_attempt_ms));
    }

    pub(super) fn note_failure(&mut self, addr: SocketAddr, error: OsError) {
        self.failed.push(FailedAttempt { addr, error });
    }

    /// The deadline has come: those that are under way have said nothing.
    pub(super) fn note_silence(&mut self) {
        if let AttemptState::Connecting(attempts) = &self.state {
            let silent = attempts.iter().map(|attempt| FailedAttempt {
                addr: attempt.address,
                error: io::ErrorKind::TimedOut.into(),
            });
            self.failed.extend(silent);
        }
    }

    pub(super) fn watch(&mut self, cx: &MetaContext<'_>) -> Result<(), Reason> {
        let AttemptState::Connecting(attempts) = &mut self.state else {
            return Ok(());
        };
        for attempt in attempts.iter_mut().filter(|attempt| !attempt.is_registered) {
            attempt.is_registered = true;
            if let Err(error) = attempt.stream.register(cx) {
                return self.fail(DisconnectReason::Io(error.into()));
            }
        }
        Ok(())
    }

    /// Looks at the attempts after an event. Goes on with the one that is established, or with the next address if one
    /// has failed.
    pub(super) fn finish_connect(
        &mut self,
        cx: &mut MetaContext<'_>,
        readiness: Readiness,
    ) -> Result<(), Reason> {
        // A socket that was given by the program may be meant to be connected to itself.
        let asks_for_itself = !self.is_attempt || self.asks_for_port();
        let AttemptState::Connecting(attempts) = &mut self.state else {
            return Ok(());
        };
        // The hang-up may be that of an attempt that has left meanwhile. The error of a socket that was made here is
        // still in it; that of one that was given may have been read before.
        let seen = match self.is_attempt {
            true => Readiness::default(),
            false => readiness,
        };
        let (mut place, mut has_failed) = (0, false);
        // All of them are looked at, because they share one token and an event does not say whose it was.
        while let Some(attempt) = attempts.get(place) {
            match outcome(&attempt.stream, seen) {
                Outcome::Pending => place += 1,
                Outcome::Failed(error) => {
                    let mut attempt = attempts.remove(place);
                    attempt.stream.deregister(cx);
                    has_failed = true;
                    self.failed.push(FailedAttempt {
                        addr: attempt.address,
                        error: error.into(),
                    });
                }
                Outcome::Itself if !asks_for_itself => {
                    let attempt = attempts.remove(place);
                    return self.try_once_more(cx, attempt);
                }
                Outcome::Connected(peer) => {
                    let winner = Attempt {
                        address: peer,
                        ..attempts.remove(place)
                    };
                    return self.establish(cx, winner, readiness);
                }
                Outcome::Itself => {
                    let winner = attempts.remove(place);
                    return self.establish(cx, winner, readiness);
                }
            }
        }
        if has_failed {
            self.start_next(cx)?;
        }
        Ok(())
    }

    /// Whether the options name the port of this side: then meeting itself may be what is asked for.
    fn asks_for_port(&self) -> bool {
        self.options
            .local_addr
            .is_some_and(|local| local.port() != 0)
    }

    /// The attempt has met itself: the system chose the port that it connects to as its own. There is no listener, and
    /// the port would be taken from one that starts. A reset frees it, and the next attempt has another port as a rule.
    #[cold]
    fn try_once_more(
        &mut self,
        cx: &mut MetaContext<'_>,
        mut attempt: Attempt,
    ) -> Result<(), Reason> {
        // A reset leaves no TIME_WAIT behind, which would hold the port.
        attempt.stream.reset_on_close();
        attempt.stream.deregister(cx);
        let address = attempt.address;
        // Closes it, so that its port is free for the next attempt.
        drop(attempt);
        self.self_connects += 1;
        if self.self_connects <= MAX_SELF_CONNECTS {
            self.addresses.push_front(address);
        } else {
            self.note_failure(address, io::ErrorKind::ConnectionRefused.into());
        }
        self.start_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_keep_their_order() {
        let addresses = |text: &str| -> Vec<SocketAddr> {
            text.split_whitespace()
                .map(|word| SocketAddr::new(word.parse().expect("an address"), 1))
                .collect()
        };
        for (given, expected) in [
            ("", ""),
            ("::1", "::1"),
            ("::1 ::2 ::3", "::1 ::2 ::3"),
            ("::1 ::2 127.0.0.1", "::1 127.0.0.1 ::2"),
            ("127.0.0.1 ::1 ::2", "127.0.0.1 ::1 ::2"),
            ("::1 ::2 ::3 1.1.1.1 2.2.2.2", "::1 1.1.1.1 ::2 2.2.2.2 ::3"),
        ] {
            assert_eq!(
                interleave(&addresses(given)),
                addresses(expected),
                "{given}"
            );
        }
        let many = vec![SocketAddr::from(([127, 0, 0, 1], 1)); 1_000];
        assert_eq!(interleave(&many).len(), MAX_ADDRESSES);
    }
}
