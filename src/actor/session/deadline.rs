//! The frame timeout of a session: how long its oldest byte may wait for the rest of its unit.
//!
//! ```text
//!            a byte waits             the timeout is spent            20 ms without progress
//!  idle ───────────────────▶ counts ──────────────────────▶ late ───────────────────────────▶ expired
//!   ▲                        │   ▲                           │
//!   └─ nothing waits ────────┤   └──── the session took something
//!                            └─ paused, or above high: what was spent is kept
//! ```
//!
//! There is at most one timer, and it is not moved for each byte: when it fires early, it is set again for what is
//! left. It may fire before bytes are read that had come in time, because this side stood still; hence the step *late*.
//!
//! What it does not do: it sets no timer, and does not know the input.

/// A deadline that has come is judged this many milliseconds later.
const LATE_MS: u64 = 20;

/// See the module. Times are in milliseconds of the node's clock.
#[derive(Debug)]
pub(super) struct FrameDeadline {
    timeout_ms: u64,
    /// Spent before the last stop of the clock.
    spent_ms: u64,
    /// The clock runs since then.
    since_ms: Option<u64>,
    is_armed: bool,
    is_late: bool,
}

/// What a timer that has fired means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fired {
    /// Nothing waits.
    Idle,
    /// The timer is to be set again, for this many milliseconds.
    Again(u64),
    Expired,
}

impl FrameDeadline {
    pub(super) fn new(timeout_ms: u64) -> Self {
        Self {
            timeout_ms,
            spent_ms: 0,
            since_ms: None,
            is_armed: false,
            is_late: false,
        }
    }

    /// Notes what a callback has left: whether the session took something, and whether its oldest byte waits for the
    /// peer. Returns the delay of a timer that is to be set.
    pub(super) fn note(&mut self, has_progress: bool, counts: bool, now_ms: u64) -> Option<u64> {
        // Progress begins a new unit, which has the whole time.
        if has_progress {
            (self.spent_ms, self.since_ms, self.is_late) = (0, None, false);
        }
        match self.since_ms {
            Some(since_ms) if !counts => {
                self.spent_ms += now_ms.saturating_sub(since_ms);
                self.since_ms = None;
                None
            }
            None if counts => {
                self.since_ms = Some(now_ms);
                // A timer that is set for an earlier beginning fires early and is set again; moving it would cost each
                // unit.
                let is_armed = std::mem::replace(&mut self.is_armed, true);
                (!is_armed).then(|| self.timeout_ms.saturating_sub(self.spent_ms))
            }
            _ => None,
        }
    }

    /// The timer has fired.
    pub(super) fn fired(&mut self, now_ms: u64) -> Fired {
        self.is_armed = false;
        let Some(since_ms) = self.since_ms else {
            return Fired::Idle;
        };
        let spent_ms = self.spent_ms + now_ms.saturating_sub(since_ms);
        let left_ms = match self.timeout_ms.saturating_sub(spent_ms) {
            // Bytes may have come in time while this side stood still, so the first look is not the last.
            0 if self.is_late => return Fired::Expired,
            0 => {
                self.is_late = true;
                LATE_MS
            }
            left_ms => left_ms,
        };
        self.is_armed = true;
        Fired::Again(left_ms)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn byte_that_waits_for_the_timeout_and_is_late_expires() {
        let mut deadline = FrameDeadline::new(100);
        assert_eq!(deadline.note(false, true, 1_000), Some(100));
        assert_eq!(deadline.note(false, true, 1_050), None, "one timer");
        assert_eq!(deadline.fired(1_100), Fired::Again(LATE_MS));
        assert_eq!(deadline.fired(1_120), Fired::Expired);
    }

    #[test]
    fn progress_starts_it_anew_even_when_it_is_late() {
        let mut deadline = FrameDeadline::new(100);
        assert_eq!(deadline.note(false, true, 0), Some(100));
        assert_eq!(deadline.note(true, true, 60), None);
        assert_eq!(deadline.fired(100), Fired::Again(60));
        assert_eq!(deadline.fired(160), Fired::Again(LATE_MS));
        assert_eq!(deadline.note(true, true, 170), None);
        assert_eq!(deadline.fired(180), Fired::Again(90));
    }

    #[test]
    fn time_of_a_pause_does_not_count_and_what_was_spent_before_does() {
        let mut deadline = FrameDeadline::new(100);
        assert_eq!(deadline.note(false, true, 0), Some(100));
        assert_eq!(deadline.note(false, false, 70), None);
        assert_eq!(deadline.fired(100), Fired::Idle);
        assert_eq!(deadline.note(false, true, 5_000), Some(30));
        assert_eq!(deadline.fired(5_030), Fired::Again(LATE_MS));
    }
}
