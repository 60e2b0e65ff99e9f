//! Handlers that compute: a number of loop turns that costs a known time when no other thread interrupts it.
//!
//! The work is counted in turns and not in time, because a preempted handler must still do its work afterwards. The
//! runner calibrates once and gives every server the same figure.

use std::{hint::black_box, time::Instant};

/// The work of one handler call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spin {
    turns_per_message: u64,
    turns_per_slow_message: u64,
}

/// A message that begins like this makes the handler slow; the generator's usual pattern never contains an `S`.
pub const SLOW_MARK: &[u8] = b"SLOW";

impl Spin {
    /// Computes for `micros` on every message and for `slow_micros` more on a marked one.
    pub fn new(micros: u64, slow_micros: u64, turns_per_micro: Option<u64>) -> Self {
        if micros == 0 && slow_micros == 0 {
            return Self::default();
        }
        let turns = turns_per_micro.unwrap_or_else(calibrate);
        Self {
            turns_per_message: micros * turns,
            turns_per_slow_message: slow_micros * turns,
        }
    }

    /// Does the work for one message.
    #[inline]
    pub fn work(&self, message: &[u8]) {
        if self.turns_per_message > 0 {
            turn(self.turns_per_message);
        }
        if self.turns_per_slow_message > 0 && message.starts_with(SLOW_MARK) {
            turn(self.turns_per_slow_message);
        }
    }
}

/// Measures turns per microsecond: the best of 20 tries of about a millisecond.
pub fn calibrate() -> u64 {
    const TURNS: u64 = 1_000_000;
    let best = (0..20)
        .map(|_| {
            let start = Instant::now();
            turn(TURNS);
            start.elapsed().as_nanos() as u64
        })
        .min();
    TURNS * 1_000 / best.expect("twenty tries").max(1)
}

fn turn(turns: u64) {
    let mut state = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..turns {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
    }
    black_box(state);
}
