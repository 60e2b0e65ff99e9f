//! The random generator: xoshiro256++ by Blackman and Vigna, seeded through SplitMix64, as its authors advise.
//!
//! One seed gives several [`Stream`]s that do not influence each other: a draw of the scheduler does not change
//! what the network draws next. The numbers of a seed never change between versions of the crate; the tests store
//! a hash of them.

/// What a sequence of numbers is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Which task runs next, and what it costs.
    Scheduler,
    /// Latencies, sizes of segments, losses, ephemeral ports.
    Network,
    /// The list of faults, which is made before the run.
    Faults,
    /// What the scenario of the user draws.
    User,
}

/// A sequence of numbers that depends on the seed and the stream only.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    state: [u64; 4],
}

/// One step of SplitMix64.
fn split_mix(state: &mut u64) -> u64 {
    // 2^64 divided by the golden ratio. The factors below are those of Stafford's mixer 13, which SplitMix64 uses.
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Generator {
    pub(crate) fn new(seed: u64, stream: Stream) -> Self {
        let mut state = seed;
        // The stream enters after the seed was mixed once, so that neighboring seeds share no stream.
        let mut state = split_mix(&mut state) ^ (stream as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
        Self {
            state: std::array::from_fn(|_| split_mix(&mut state)),
        }
    }

    /// The next 64 bits.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let state = &mut self.state;
        let result = state[0]
            .wrapping_add(state[3])
            .rotate_left(23)
            .wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// A number below `bound`; 0 when `bound` is 0. Uses the high half of a product, as Lemire describes; the bias is
    /// below 2^-32 for the bounds of this crate.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    #[inline]
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low {
            return low;
        }
        low + self.below((high - low).saturating_add(1))
    }

    /// Whether an event of that probability happens. A probability of 0 draws nothing.
    #[inline]
    pub(crate) fn happens(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }
}

/// FNV-1a over 64-bit words: the hash of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(pub(crate) u64);

impl Hash {
    pub(crate) const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    pub(crate) fn add(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_seed_never_change() {
        let mut hash = Hash::EMPTY;
        for seed in [0, 1, 17, u64::MAX] {
            for stream in [
                Stream::Scheduler,
                Stream::Network,
                Stream::Faults,
                Stream::User,
            ] {
                let mut generator = Generator::new(seed, stream);
                for _ in 0..1_000 {
                    hash.add(generator.next());
                }
            }
        }
        assert_eq!(
            hash.0, STORED,
            "the generator gives other numbers: {hash:x?}"
        );
    }

    const STORED: u64 = 0x71ea_f1cb_c155_1795;

    #[test]
    fn numbers_lie_within_their_bounds_and_reach_both_ends() {
        let mut generator = Generator::new(1, Stream::User);
        let drawn: Vec<u64> = (0..1_000).map(|_| generator.between(3, 6)).collect();
        assert!(drawn.iter().all(|number| (3..=6).contains(number)));
        assert!((3..=6).all(|number| drawn.contains(&number)));
        assert_eq!((generator.below(0), generator.between(5, 5)), (0, 5));
        assert!(!generator.happens(0) && generator.happens(1_000_000));
    }

    #[test]
    fn streams_of_a_seed_and_neighboring_seeds_differ() {
        let first = |seed, stream| Generator::new(seed, stream).next();
        let firsts = [
            first(1, Stream::User),
            first(1, Stream::Network),
            first(2, Stream::User),
            first(2, Stream::Network),
        ];
        for (index, number) in firsts.iter().enumerate() {
            assert!(!firsts[..index].contains(number));
        }
    }
}
