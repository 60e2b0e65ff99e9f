//! Latencies in a fixed number of buckets: 32 for each power of two, so a value is off by 3 % at most.
//!
//! It does not keep minimum or maximum exactly and never allocates after `new`.

use std::time::Duration;

const STEP_BITS: u32 = 5;
const STEPS: u64 = 1 << STEP_BITS;
const BUCKETS: usize = ((64 - STEP_BITS as usize) + 1) << STEP_BITS;

/// Counts durations by logarithmic buckets of nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        self.buckets[bucket(duration.as_nanos() as u64)] += 1;
        self.count += 1;
    }

    /// Removes all durations.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
    }

    /// The smallest bucket value that `share` (0 to 1) of all durations do not exceed; zero without durations.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return Duration::from_nanos(lower_edge(index));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let octave = nanos.ilog2() - STEP_BITS;
    ((u64::from(octave + 1) << STEP_BITS) + ((nanos >> octave) - STEPS)) as usize
}

fn lower_edge(index: usize) -> u64 {
    let index = index as u64;
    match (index >> STEP_BITS).checked_sub(1) {
        None => index,
        Some(octave) => (STEPS + (index & (STEPS - 1))) << octave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_within_three_per_cent() {
        for nanos in [1_u64, 31, 32, 63, 64, 1_000, 123_456, 9_999_999_999] {
            let found = lower_edge(bucket(nanos));
            assert!(
                found <= nanos && nanos - found <= nanos / 32,
                "{nanos} became {found}"
            );
        }
    }

    #[test]
    fn quantiles_follow_rank() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|millis| histogram.record(Duration::from_millis(millis)));
        let p99 = histogram.quantile(0.99).as_millis();
        assert!((95..=99).contains(&p99), "{p99}");
    }
}
