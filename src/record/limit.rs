//! The rate limit: the first records of a kind in a second pass, the others are counted.
//!
//! A window of a kind begins with the first record after the previous window has ended, and
//! lasts a second. What a window leaves out is reported once, at its end, by the thread of the
//! sink. So a kind gives at most [`RATE`] records and one count in any window, whatever a peer
//! does.

use super::kind::Kind;

/// Records of one kind that pass in a second.
pub(crate) const RATE: u32 = 10;
/// Length of a window, in milliseconds.
const WINDOW_MS: u64 = 1_000;

/// The windows of all kinds.
#[derive(Debug, Default)]
pub(super) struct Limits {
    windows: [Window; Kind::COUNT],
    /// Records left out since the node started.
    total: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    ends_ms: u64,
    passed: u32,
    left_out: u64,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Passes,
    /// Counted; `is_first` for the first of the window, whose end the sink's thread must await.
    LeftOut {
        is_first: bool,
    },
}

impl Limits {
    /// Counts a record.
    pub(super) fn admit(&mut self, kind: Kind, now_ms: u64) -> Admission {
        if !kind.is_limited() {
            return Admission::Passes;
        }
        let window = &mut self.windows[kind as usize];
        // A window begins with a record and not with the clock, so that ten records in a row always pass.
        if now_ms >= window.ends_ms {
            window.ends_ms = now_ms + WINDOW_MS;
            window.passed = 0;
        }
        if window.passed < RATE {
            window.passed += 1;
            return Admission::Passes;
        }
        window.left_out += 1;
        self.total += 1;
        Admission::LeftOut {
            is_first: window.left_out == 1,
        }
    }

    /// Takes the count of one kind whose window has ended.
    pub(super) fn take_ended(&mut self, now_ms: u64) -> Option<(Kind, u64)> {
        let ended = |kind: &Kind| {
            let window = &self.windows[*kind as usize];
            window.left_out > 0 && now_ms >= window.ends_ms
        };
        let kind = Kind::ALL.into_iter().find(ended)?;
        let left_out = std::mem::take(&mut self.windows[kind as usize].left_out);
        Some((kind, left_out))
    }

    /// When the next window with a count ends.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        let waiting = self.windows.iter().filter(|window| window.left_out > 0);
        waiting.map(|window| window.ends_ms).min()
    }

    /// Records left out since the node started.
    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn ten_of_a_kind_pass_in_a_second_and_the_rest_is_one_count() {
        let mut limits = Limits::default();
        let mut admit = |now_ms| limits.admit(Kind::NoOwner, now_ms);
        assert!((0..10).all(|now_ms| admit(now_ms) == Admission::Passes));
        assert_eq!(admit(10), Admission::LeftOut { is_first: true });
        assert_eq!(admit(999), Admission::LeftOut { is_first: false });
        assert_eq!(limits.next_end_ms(), Some(1_000));
        assert_eq!(limits.take_ended(999), None);
        assert_eq!(limits.take_ended(1_000), Some((Kind::NoOwner, 2)));
        assert_eq!(
            (limits.take_ended(1_000), limits.next_end_ms()),
            (None, None)
        );
        assert_eq!(limits.admit(Kind::NoOwner, 1_000), Admission::Passes);
        assert_eq!(limits.total(), 2);
    }

    #[test]
    fn one_kind_does_not_use_up_the_rate_of_another_and_the_program_has_none() {
        let mut limits = Limits::default();
        for _ in 0..100 {
            limits.admit(Kind::NoOwner, 0);
            assert_eq!(limits.admit(Kind::Program, 0), Admission::Passes);
        }
        assert_eq!(limits.admit(Kind::ProcessEnded, 0), Admission::Passes);
    }

    #[test]
    fn count_of_a_window_survives_the_beginning_of_the_next() {
        let mut limits = Limits::default();
        for _ in 0..15 {
            limits.admit(Kind::NoOwner, 0);
        }
        // The sink's thread was busy when the window ended.
        for _ in 0..13 {
            limits.admit(Kind::NoOwner, 5_000);
        }
        assert_eq!(limits.take_ended(6_000), Some((Kind::NoOwner, 8)));
    }
}
