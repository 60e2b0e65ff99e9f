//! The bytes that are sent and must come back.
//!
//! A stream is an endless repetition of one period, so any stretch can be borrowed and compared without building it.
//! The usual period is prime and longer than a socket buffer's page, so bytes that were lost, doubled or swapped
//! between connections are found.

use crate::spin::SLOW_MARK;
use std::io;

const PERIOD_BYTES: usize = 65_521;

/// The longest stretch that can be borrowed at once.
pub const MAX_STRETCH_BYTES: usize = 262_144;

/// A repeating stream of bytes.
#[derive(Debug)]
pub struct Pattern {
    bytes: Vec<u8>,
    period: usize,
}

impl Pattern {
    /// Pseudo-random bytes without an `S`, so that no message looks like a slow one.
    pub fn usual() -> Self {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match (state >> 24) as u8 {
                b'S' => b's',
                byte => byte,
            }
        };
        Self::repeat((0..PERIOD_BYTES).map(|_| next()).collect())
    }

    /// Messages of one size that ask for the slow handler.
    pub fn slow(size: usize) -> Self {
        let mut message = vec![b'.'; size.max(SLOW_MARK.len())];
        message[..SLOW_MARK.len()].copy_from_slice(SLOW_MARK);
        Self::repeat(message)
    }

    fn repeat(once: Vec<u8>) -> Self {
        let period = once.len();
        let bytes = once
            .iter()
            .copied()
            .cycle()
            .take(period + MAX_STRETCH_BYTES)
            .collect();
        Self { bytes, period }
    }

    /// The bytes of the stream from `position`, `length` of them but at most [`MAX_STRETCH_BYTES`].
    pub fn stretch(&self, position: u64, length: usize) -> &[u8] {
        let start = (position % self.period as u64) as usize;
        &self.bytes[start..start + length.min(MAX_STRETCH_BYTES)]
    }

    /// Compares received bytes with the stream at `position`.
    ///
    /// # Errors
    ///
    /// `InvalidData`, with the position of the first wrong byte.
    pub fn compare(&self, position: u64, received: &[u8]) -> io::Result<()> {
        let mut position = position;
        for part in received.chunks(MAX_STRETCH_BYTES) {
            let expected = self.stretch(position, part.len());
            if expected != part {
                let offset = expected
                    .iter()
                    .zip(part)
                    .take_while(|(a, b)| a == b)
                    .count();
                let place = position + offset as u64;
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("wrong byte at stream position {place}"),
                ));
            }
            position += part.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_byte_is_found() {
        let pattern = Pattern::usual();
        let mut bytes = pattern.stretch(65_500, 100).to_vec();
        assert!(pattern.compare(65_500, &bytes).is_ok());
        bytes[40] ^= 1;
        let error = pattern.compare(65_500, &bytes).expect_err("a wrong byte");
        assert!(error.to_string().ends_with("65540"), "{error}");
    }

    #[test]
    fn the_usual_pattern_never_asks_for_the_slow_handler() {
        assert!(!Pattern::usual().stretch(0, PERIOD_BYTES).contains(&b'S'));
    }
}
