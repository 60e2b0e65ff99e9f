//! The input of a session: bytes that have arrived and that the session has not taken.
//!
//! ```text
//!             push                     next
//!  data ──────────────▶ bytes ────────────────────▶ a unit: all bytes, or one frame
//!                         ▲                              │
//!                         └────────── put_back ◀─────────┘ what the session left, without a framing
//! ```
//!
//! 1. `push` adds what came from the connection.
//! 2. `next` takes a unit out, or says why there is none: too few bytes, or an error of the framing.
//! 3. `put_back` returns what is left of an unframed unit and decides whether `received` is called again: only if it
//!    took something and left something. More left than the limit is an error.
//!
//! Every byte is copied at most once for each unit that it waits for: a parser that names what it needs
//! ([`Input::need`]) is not called, and nothing is moved, before that many bytes are there.
//!
//! What it does not do: it does not know the connection, whether it is paused, or how much waits to be sent.

use std::sync::Arc;

use crate::bridge::{Decoder, Framing};
use crate::error::FrameError;
use crate::memory::buffer::{Buffer, BufferPool};

/// See the module.
pub(super) struct Input {
    bytes: Buffer,
    limit: usize,
    /// Bytes that must be there before the next call.
    need: usize,
    decoder: Option<Box<Decoder>>,
    /// The framing has changed since the last unit.
    is_reframed: bool,
    /// The session took something since the last look.
    has_progress: bool,
}

/// What is there for the session.
#[derive(Debug)]
pub(super) enum Unit {
    /// Nothing, for now.
    None,
    /// All bytes that are there.
    Bytes(Buffer),
    /// One frame.
    Frame(Buffer),
    /// The peer sent something that is not a frame.
    Error(FrameError),
}

/// What became of a unit of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Something was taken and something is left.
    Again,
    /// Nothing is left, or nothing was taken.
    Wait,
    /// More is left than may be.
    Error(FrameError),
}

impl Input {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Buffer::new(),
            limit,
            need: 0,
            decoder: None,
            is_reframed: false,
            has_progress: false,
        }
    }

    /// Cuts what follows into frames, or leaves it as it is.
    pub(super) fn set_framing(&mut self, framing: Framing) {
        if matches!(framing, Framing::Raw) {
            self.end_framing();
            return;
        }
        // Bytes of a frame that has begun belong to the new framing.
        if let Some(decoder) = &mut self.decoder {
            decoder.set_framing(Arc::new(framing));
        } else {
            self.decoder = Some(Box::new(Decoder::new(Arc::new(framing))));
        }
        // Each unit of a decoder takes bytes, so this asks for no unit without end.
        self.is_reframed = true;
    }

    /// What follows is pulled, beginning with the bytes of a frame that has begun.
    fn end_framing(&mut self) {
        self.is_reframed = false;
        if let Some(mut decoder) = self.decoder.take() {
            let mut bytes = decoder.take_partial();
            bytes.extend_from_slice(&self.bytes);
            self.bytes = bytes;
        }
    }

    /// Whether the framing has changed since the last call.
    pub(super) fn take_reframed(&mut self) -> bool {
        std::mem::take(&mut self.is_reframed)
    }

    /// Whether the session took something since the last call.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_progress)
    }

    /// Asks for no call before `bytes` are there. More than can be there asks for one byte beyond the limit.
    pub(super) fn need(&mut self, bytes: usize) {
        self.need = bytes.min(self.limit.saturating_add(1));
    }

    pub(super) fn push(&mut self, data: Buffer) {
        // The buffer of the connection is taken over without a copy, which is the usual case.
        if self.bytes.is_empty() {
            self.bytes = data;
        } else {
            self.bytes.extend_from_slice(&data);
        }
    }

    /// Bytes that are there.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
            + self
                .decoder
                .as_ref()
                .map_or(0, |decoder| decoder.buffered())
    }

    pub(super) fn clear(&mut self) {
        self.bytes = Buffer::new();
    }

    /// Begins anew with the same framing.
    pub(super) fn reset(&mut self) {
        (self.bytes, self.need) = (Buffer::new(), 0);
        // The decoder holds a part of a frame of the lost connection.
        if let Some(decoder) = &mut self.decoder {
            **decoder = Decoder::new(decoder.framing());
        }
    }

    /// Takes all bytes out that are there, in pieces, as they came from the peer. The framing stays.
    pub(super) fn take_all(&mut self, pool: &BufferPool) -> Vec<Buffer> {
        self.need = 0;
        let mut bytes = std::mem::take(&mut self.bytes);
        let Some(decoder) = &mut self.decoder else {
            return vec![bytes];
        };
        let framing = decoder.framing();
        decoder.set_framing(Arc::new(Framing::Raw));
        // A stream that has failed has nothing left.
        let all = std::iter::from_fn(|| decoder.decode(&mut bytes, pool).ok().flatten()).collect();
        **decoder = Decoder::new(framing);
        all
    }

    /// Takes the next unit out. `pool` gives the pool of the node, for frames.
    pub(super) fn next(&mut self, pool: impl FnOnce() -> BufferPool) -> Unit {
        if let Some(decoder) = &mut self.decoder {
            return match decoder.decode(&mut self.bytes, &pool()) {
                Ok(Some(frame)) => {
                    self.has_progress = true;
                    Unit::Frame(frame)
                }
                Ok(None) => {
                    self.bytes = Buffer::new();
                    Unit::None
                }
                Err(error) => Unit::Error(error),
            };
        }
        if self.bytes.is_empty() || self.bytes.len() < self.need {
            // The connection must be able to bring more than its window.
            self.bytes.detach();
            return Unit::None;
        }
        self.need = 0;
        Unit::Bytes(std::mem::take(&mut self.bytes))
    }

    /// Returns what the session left of `before` bytes.
    pub(super) fn put_back(&mut self, left: Buffer, before: usize) -> Progress {
        let length = left.len();
        self.has_progress |= length < before;
        self.bytes = left;
        // The limit is judged after the session has taken what it can use: a unit may be larger than what was left
        // before it.
        if length > self.limit {
            let max = self.limit;
            return Progress::Error(FrameError::TooLarge { length, max });
        }
        // Without progress another call would find the same bytes.
        if length == 0 || length >= before || length < self.need {
            self.bytes.detach();
            return Progress::Wait;
        }
        Progress::Again
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Runs units through `take`, which takes that many bytes off the front.
    fn pump(input: &mut Input, mut take: impl FnMut(&mut Buffer)) -> (usize, Progress) {
        let mut calls = 0;
        loop {
            let Unit::Bytes(mut bytes) = input.next(BufferPool::default) else {
                return (calls, Progress::Wait);
            };
            calls += 1;
            let before = bytes.len();
            take(&mut bytes);
            match input.put_back(bytes, before) {
                Progress::Again => {}
                other => return (calls, other),
            }
        }
    }

    #[test]
    fn unit_per_call_is_called_until_nothing_is_left() {
        let mut input = Input::new(100);
        input.push(Buffer::from("abcdef"));
        assert_eq!(pump(&mut input, |bytes| bytes.advance(2)).0, 3);
        assert_eq!(input.len(), 0);
    }

    #[test]
    fn what_is_left_comes_again_with_more_behind_it() {
        let mut input = Input::new(100);
        input.push(Buffer::from("ab"));
        assert_eq!(pump(&mut input, |_| ()), (1, Progress::Wait));
        input.push(Buffer::from("cd"));
        let mut seen = Vec::new();
        pump(&mut input, |bytes| seen.extend_from_slice(&bytes.take()));
        assert_eq!(seen, b"abcd");
    }

    #[test]
    fn limit_may_be_left_and_one_byte_more_may_not() {
        let mut input = Input::new(4);
        input.push(Buffer::from("abcd"));
        assert_eq!(pump(&mut input, |_| ()), (1, Progress::Wait));
        input.push(Buffer::from("e"));
        let error = FrameError::TooLarge { length: 5, max: 4 };
        assert_eq!(pump(&mut input, |_| ()), (1, Progress::Error(error)));
    }

    #[test]
    fn no_call_before_what_is_needed_is_there() {
        let mut input = Input::new(100);
        input.push(Buffer::from("a"));
        input.need(3);
        assert_eq!(pump(&mut input, |bytes| bytes.clear()).0, 0);
        input.push(Buffer::from("b"));
        assert_eq!(pump(&mut input, |bytes| bytes.clear()).0, 0);
        input.push(Buffer::from("c"));
        assert_eq!(pump(&mut input, |bytes| bytes.clear()).0, 1);
    }

    #[test]
    fn need_beyond_the_limit_ends_in_an_error_and_not_in_silence() {
        let mut input = Input::new(4);
        input.push(Buffer::from("abcd"));
        input.need(1_000);
        assert_eq!(pump(&mut input, |_| ()).0, 0);
        input.push(Buffer::from("e"));
        let (calls, progress) = pump(&mut input, |_| ());
        assert_eq!(calls, 1);
        assert!(matches!(progress, Progress::Error(_)));
    }

    #[test]
    fn framing_stays_when_all_bytes_are_taken() {
        let mut input = Input::new(100);
        input.set_framing(Framing::lines());
        input.push(Buffer::from("one\ntw"));
        assert!(matches!(input.next(BufferPool::default), Unit::Frame(line) if line == "one"));
        assert!(matches!(input.next(BufferPool::default), Unit::None));
        input.push(Buffer::from("o\nthree"));
        let all = input.take_all(&BufferPool::default()).concat();
        assert_eq!(all, b"two\nthree", "as they came, line ends included");
        input.push(Buffer::from("four\n"));
        assert!(matches!(input.next(BufferPool::default), Unit::Frame(line) if line == "four"));
    }

    #[test]
    fn input_is_pulled_again_behind_the_end_of_a_framing() {
        let mut input = Input::new(100);
        input.set_framing(Framing::lines());
        input.push(Buffer::from("one\ntw"));
        assert!(matches!(input.next(BufferPool::default), Unit::Frame(line) if line == "one"));
        assert!(matches!(input.next(BufferPool::default), Unit::None));
        input.push(Buffer::from("o"));
        input.set_framing(Framing::Raw);
        assert_eq!(pump(&mut input, |_| ()), (1, Progress::Wait));
        input.push(Buffer::from("\nthree"));
        let mut seen = Vec::new();
        pump(&mut input, |bytes| seen.extend_from_slice(&bytes.take()));
        assert_eq!(seen, b"two\nthree");
    }

    #[test]
    fn framing_that_is_set_takes_over_what_was_left() {
        let mut input = Input::new(100);
        input.push(Buffer::from("one\ntw"));
        input.set_framing(Framing::lines());
        assert!(matches!(input.next(BufferPool::default), Unit::Frame(line) if line == "one"));
        assert!(matches!(input.next(BufferPool::default), Unit::None));
        input.push(Buffer::from("o\n"));
        assert!(matches!(input.next(BufferPool::default), Unit::Frame(line) if line == "two"));
    }
}
