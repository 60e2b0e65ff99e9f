//! Bytes read as operations: what the fuzz targets and the ordinary tests of the machines are driven by.

/// What is left of a script. Behind its end there are zeros.
pub(crate) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Small and large alike: 0 to 15, shifted by 0 to 12 bits.
    pub(crate) fn amount(&mut self) -> usize {
        let byte = self.byte();
        usize::from(byte & 15) << (byte >> 4).min(12)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Runs `scripts` made up scripts, the same ones in each run; one that fails is shown.
#[cfg(test)]
pub(crate) fn run_random(scripts: u64, longest: u64, run: fn(&[u8])) {
    for case in 1..=scripts {
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ case;
        let mut next = || {
            // xorshift64*
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            u64::wrapping_mul(state, 0x2545_f491_4f6c_dd1d)
        };
        let length = next() % longest;
        let script: Vec<u8> = (0..length).map(|_| (next() >> 32) as u8).collect();
        let outcome = std::panic::catch_unwind(|| run(&script));
        assert!(outcome.is_ok(), "script {case} failed: {script:?}");
    }
}
