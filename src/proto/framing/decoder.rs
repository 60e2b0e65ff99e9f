//! The machine that cuts the bytes of one connection into frames.
//!
//! ```text
//!             input                               partial
//!    ┌──────────────────────┐  1 incomplete  ┌───────────────┐
//!    │ looked at in place   │ ─────────────► │ a frame begun │ ──┐ 2 more input is appended, as much as it needs
//!    └──────────────────────┘ ◄───────────── └───────────────┘ ◄─┘
//!        │ 4 whole frame        3 whole frame     │ 5 error, from either side
//!        ▼                                        ▼
//!     copied out, or moved when it is all      failed: the same error for ever
//! ```
//!
//! While `partial` is empty frames are found in the input itself and nothing is kept: an idle connection holds no
//! memory here. A frame that goes over several reads is gathered in `partial`, which grows with what arrives. Every
//! byte is looked at a constant number of times: `scanned` remembers how far a search for a line's end went, and
//! `needed` how many bytes must be there before it is worth looking again.
//!
//! What it does not do: it does not decide what an error means, nor how long a frame may take.

use std::ops::Range;
use std::sync::Arc;

use super::scan::{
    Scan, decode_custom, look_at_header, look_at_varint, look_for_delimiter, look_for_line,
    whole_or_more,
};
use super::{FrameDecoder, Framing};
use crate::error::FrameError;
use crate::memory::buffer::{Buffer, BufferPool};

/// The least that is copied when the length of a frame is not known, so that its end is not scanned for byte by byte.
const CHUNK: usize = 256;

/// The state of one connection's framing, 32 bytes.
pub(crate) struct Decoder {
    framing: Arc<Framing>,
    /// A frame that has begun. Empty, and then without memory, between frames.
    partial: Buffer,
    /// Bytes of `partial` that were looked at.
    scanned: u32,
    /// Bytes that `partial` must have before looking again can find anything.
    needed: u32,
    rare: Option<Box<ColdState>>,
}

/// What most connections never have.
#[derive(Default)]
struct ColdState {
    custom: Option<Box<dyn FrameDecoder>>,
    error: Option<FrameError>,
}

impl Decoder {
    /// Begins a stream. The options must be valid.
    pub(crate) fn new(framing: Arc<Framing>) -> Self {
        debug_assert!(
            framing.validate().is_ok(),
            "framing options are validated where they are set"
        );
        Self {
            framing,
            partial: Buffer::new(),
            scanned: 0,
            needed: 0,
            rare: None,
        }
    }

    /// Takes one frame from the front of the stream, which is what was kept and then `input`.
    ///
    /// `None` means that there is no whole frame: `input` is empty then, and a frame that has begun is kept. A frame
    /// that is the whole input is the input itself, other frames are copied into memory from `pool`.
    ///
    /// # Errors
    ///
    /// The stream cannot be read any further. Every later call gives the same error.
    #[inline]
    pub(crate) fn decode(
        &mut self,
        input: &mut Buffer,
        pool: &BufferPool,
    ) -> Result<Option<Buffer>, FrameError> {
        if matches!(*self.framing, Framing::Raw) && self.partial.is_empty() && self.rare.is_none() {
            // Nothing to look at: what came is what is given.
            return Ok((!input.is_empty()).then(|| std::mem::take(input)));
        }
        self.decode_frame(input, pool)
    }

    fn decode_frame(
        &mut self,
        input: &mut Buffer,
        pool: &BufferPool,
    ) -> Result<Option<Buffer>, FrameError> {
        // Where the next frame begins is not known after an error, so a stream that has failed stays so.
        if let Some(error) = self.rare.as_ref().and_then(|rare| rare.error.as_ref()) {
            return Err(error.clone());
        }
        let result = self.next_frame(input, pool);
        if let Err(error) = &result {
            self.partial = Buffer::new();
            self.rare.get_or_insert_default().error = Some(error.clone());
        }
        result
    }

    /// Ends the stream: counts the bytes of the frame that will never be complete, and drops them.
    ///
    /// A last line without its end is such a frame.
    pub(crate) fn finish(&mut self) -> usize {
        self.take_partial().len()
    }

    /// Takes the bytes of the frame that has begun out, as they came.
    pub(crate) fn take_partial(&mut self) -> Buffer {
        (self.scanned, self.needed) = (0, 0);
        std::mem::take(&mut self.partial)
    }

    pub(crate) fn framing(&self) -> Arc<Framing> {
        Arc::clone(&self.framing)
    }

    /// Whether what comes is given as it comes.
    pub(crate) fn is_raw(&self) -> bool {
        matches!(*self.framing, Framing::Raw)
    }

    /// Counts the bytes of the frame that has begun.
    pub(crate) fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// Changes the framing from the next byte that was not delivered on. The options must be valid.
    ///
    /// Bytes that were kept are read again under the new framing. They may be whole frames there, so
    /// [`decode`](Self::decode) is to be called even if no more bytes arrive. A stream that failed stays failed.
    pub(crate) fn set_framing(&mut self, framing: Arc<Framing>) {
        debug_assert!(
            framing.validate().is_ok(),
            "framing options are validated where they are set"
        );
        self.framing = framing;
        (self.scanned, self.needed) = (0, 0);
        // A decoder of the user belongs to the framing that made it.
        if let Some(rare) = &mut self.rare {
            rare.custom = None;
        }
    }

    fn next_frame(
        &mut self,
        input: &mut Buffer,
        pool: &BufferPool,
    ) -> Result<Option<Buffer>, FrameError> {
        loop {
            // Without a part of a frame nothing is gathered: the frame is taken from the input, as a rule without a
            // copy.
            let frame = if self.partial.is_empty() {
                self.step_in_input(input, pool)?
            } else {
                self.step_in_partial(input, pool)?
            };
            match frame {
                Step::Frame(frame) => return Ok(Some(frame)),
                Step::Exhausted => return Ok(None),
                Step::Skipped => {}
            }
        }
    }

    /// Finds a frame in the input, or begins to keep what there is of it.
    fn step_in_input(&mut self, input: &mut Buffer, pool: &BufferPool) -> Result<Step, FrameError> {
        if input.is_empty() {
            return Ok(Step::Exhausted);
        }
        match self.look(input)? {
            Scan::Frame { consumed, payload } => {
                Ok(Step::Frame(split_frame(input, consumed, payload, pool)))
            }
            Scan::Skip { consumed } => {
                input.advance(consumed);
                Ok(Step::Skipped)
            }
            Scan::More { needed } => {
                // The length is kept before the bytes move, because they are remembered by their number only.
                self.remember(input.len(), needed);
                self.partial = retain(input, pool);
                Ok(Step::Exhausted)
            }
        }
    }

    /// Appends input to the frame that has begun until it is whole or the input is used up.
    ///
    /// Input is appended before it is known how much of it belongs to the frame, and is only taken away from `input`
    /// when that is known: `taken` counts what lies in both.
    fn step_in_partial(
        &mut self,
        input: &mut Buffer,
        pool: &BufferPool,
    ) -> Result<Step, FrameError> {
        let mut taken = 0;
        loop {
            // Fewer bytes than that cannot be a frame, and looking again would cost each read.
            if self.partial.len() >= self.needed as usize {
                // Taken out while it is looked at, because the decoder itself changes with what it sees.
                let partial = std::mem::take(&mut self.partial);
                let look = self.look(&partial);
                self.partial = partial;
                match look? {
                    Scan::Frame { consumed, payload } => {
                        self.commit(consumed, taken, input);
                        return Ok(Step::Frame(split_frame(
                            &mut self.partial,
                            consumed,
                            payload,
                            pool,
                        )));
                    }
                    Scan::Skip { consumed } => {
                        self.commit(consumed, taken, input);
                        self.partial.advance(consumed);
                        if self.partial.is_empty() {
                            // Freed and not only cleared: a connection without a part of a frame keeps no memory.
                            self.partial = Buffer::new();
                        }
                        return Ok(Step::Skipped);
                    }
                    Scan::More { needed } => self.remember(self.partial.len(), needed),
                }
            }
            if taken == input.len() {
                input.clear();
                return Ok(Step::Exhausted);
            }
            let more = (self.enough() - self.partial.len()).min(input.len() - taken);
            self.partial.extend_from_slice(&input[taken..taken + more]);
            taken += more;
        }
    }

    /// Takes from `input` what lies in `partial` and belongs to the frame of `consumed` bytes there; what lies beyond
    /// the frame stays in `input` alone, as far as it came from there.
    fn commit(&mut self, consumed: usize, taken: usize, input: &mut Buffer) {
        // Bytes beyond the frame that came before this input stay in `partial`; they are the beginning of the next one.
        let beyond = (self.partial.len() - consumed).min(taken);
        self.partial.truncate(self.partial.len() - beyond);
        input.advance(taken - beyond);
        (self.scanned, self.needed) = (0, 0);
    }

    fn remember(&mut self, scanned: usize, needed: usize) {
        let word = |n: usize| u32::try_from(n).expect("frames are shorter than MAX_LENGTH");
        (self.scanned, self.needed) = (word(scanned), word(needed));
    }

    /// Says how many bytes `partial` should have next: exactly what is needed where that is known, else twice as many,
    /// so that a frame is copied a constant number of times.
    fn enough(&self) -> usize {
        let needed = self.needed as usize;
        match *self.framing {
            Framing::Raw | Framing::Fixed { .. } | Framing::Header(_) | Framing::Varint { .. } => {
                needed
            }
            Framing::Lines { .. } | Framing::Delimiter { .. } | Framing::Custom(_) => {
                needed.max(self.partial.len() + self.partial.len().max(CHUNK))
            }
        }
    }

    /// Looks at the front of `bytes`, which begin where a frame begins.
    fn look(&mut self, bytes: &[u8]) -> Result<Scan, FrameError> {
        let scanned = self.scanned as usize;
        match &*self.framing {
            Framing::Raw => Ok(Scan::Frame {
                consumed: bytes.len(),
                payload: 0..bytes.len(),
            }),
            Framing::Fixed { length } => Ok(whole_or_more(bytes, *length, 0)),
            Framing::Header(options) => look_at_header(bytes, options),
            Framing::Varint { max_length } => look_at_varint(bytes, *max_length),
            Framing::Lines { max_length } => look_for_line(bytes, scanned, *max_length),
            Framing::Delimiter {
                delimiter,
                max_length,
            } => look_for_delimiter(bytes, scanned, delimiter, *max_length),
            Framing::Custom(options) => {
                let rare = self.rare.get_or_insert_default();
                let decoder = rare.custom.get_or_insert_with(|| options.decoder());
                decode_custom(&mut **decoder, bytes, options)
            }
        }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("framing", &self.framing)
            .field("buffered", &self.buffered())
            .finish()
    }
}

/// What one step did.
enum Step {
    Frame(Buffer),
    Skipped,
    Exhausted,
}

/// Takes a frame of `consumed` bytes from the front of `source`. When they are all bytes there are, they move.
fn split_frame(
    source: &mut Buffer,
    consumed: usize,
    payload: Range<usize>,
    pool: &BufferPool,
) -> Buffer {
    // A frame that is a part of the memory is copied, so that a small one does not keep a large read.
    if consumed < source.len() {
        let frame = pool.copy_from_slice(&source[payload]);
        source.advance(consumed);
        return frame;
    }
    let mut frame = std::mem::take(source);
    frame.truncate(payload.end);
    frame.advance(payload.start);
    frame
}

/// Empties `input` and gives its bytes in memory that is not much larger than they are.
fn retain(input: &mut Buffer, pool: &BufferPool) -> Buffer {
    // A copy would cost as much as the memory that it saves.
    if input.len() >= input.capacity() / 4 {
        return std::mem::take(input);
    }
    let kept = pool.copy_from_slice(input);
    input.clear();
    kept
}

#[cfg(test)]
mod tests;
