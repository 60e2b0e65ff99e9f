//! A framing whose decoder is the user's own.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::DEFAULT_MAX_LENGTH;
use crate::error::FrameError;

/// Finds frames by a protocol's own rules.
///
/// The bytes that are given begin where a frame begins. When more arrive the decoder is asked again, with the same
/// bytes and more after them, so it may remember how far it looked. What it answers should depend on the bytes only,
/// not on how many more of them it was shown, or frames would depend on how the network splits them.
///
/// It runs on the I/O side of the runtime: it must not block. A step that consumes nothing, or more than there is, is
/// an error that ends the connection.
///
/// ```
/// use longshore::{Frame, FrameDecoder, FrameError, Framing};
///
/// /// A kind byte, then a word that ends with a space; a zero byte between frames is a
/// /// keep-alive.
/// struct Words;
///
/// impl FrameDecoder for Words {
///     fn decode(&mut self, bytes: &[u8]) -> Result<Frame, FrameError> {
///         if bytes[0] == 0 {
///             return Ok(Frame::Skip { consumed: 1 });
///         }
///         match bytes.iter().position(|byte| *byte == b' ') {
///             Some(0) => Err(FrameError::custom("a word without a kind")),
///             Some(end) => Ok(Frame::Complete { consumed: end + 1, payload: 0..end }),
///             None => Ok(Frame::Incomplete),
///         }
///     }
/// }
///
/// let framing = Framing::custom(|| Box::new(Words));
/// assert!(framing.validate().is_ok());
/// ```
pub trait FrameDecoder: Send {
    /// Looks for one frame at the front of `bytes`, which are never empty.
    ///
    /// # Errors
    ///
    /// An error ends the connection: where the next frame begins can no longer be known.
    fn decode(&mut self, bytes: &[u8]) -> Result<Frame, FrameError>;
}

/// What a [`FrameDecoder`] found at the front of the bytes it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// A frame has begun and needs more bytes.
    Incomplete,
    /// A whole frame.
    Complete {
        /// Bytes that belong to the frame, at least 1: the next one begins after them.
        consumed: usize,
        /// The part of them that is delivered.
        payload: Range<usize>,
    },
    /// Bytes that are part of the protocol and of no frame, a sign of life for example. Nothing is delivered.
    Skip {
        /// Bytes to skip, at least 1.
        consumed: usize,
    },
}

/// Makes a decoder of the user's own for each connection.
///
/// ```
/// use longshore::{CustomFraming, Frame, FrameDecoder, FrameError, Framing};
///
/// struct Pairs;
///
/// impl FrameDecoder for Pairs {
///     fn decode(&mut self, bytes: &[u8]) -> Result<Frame, FrameError> {
///         Ok(match bytes.len() {
///             0 | 1 => Frame::Incomplete,
///             _ => Frame::Complete { consumed: 2, payload: 0..2 },
///         })
///     }
/// }
///
/// let framing = Framing::Custom(CustomFraming::new(|| Box::new(Pairs)).with_max_length(2));
/// assert!(framing.validate().is_ok());
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct CustomFraming {
    /// The longest frame, in bytes with what is not delivered. The decoder is never shown more than that, and when it
    /// calls as many incomplete, the next byte is one too many.
    pub max_length: usize,
    new: Arc<dyn Fn() -> Box<dyn FrameDecoder> + Send + Sync>,
}

impl CustomFraming {
    /// Makes frames of at most 1 MiB. `new` is called once for each connection.
    ///
    /// ```
    /// use longshore::{Frame, FrameDecoder, FrameError, CustomFraming};
    ///
    /// struct Pairs;
    /// impl FrameDecoder for Pairs {
    ///     fn decode(&mut self, bytes: &[u8]) -> Result<Frame, FrameError> {
    ///         Ok(match bytes.len() {
    ///             0 | 1 => Frame::Incomplete,
    ///             _ => Frame::Complete { consumed: 2, payload: 0..2 },
    ///         })
    ///     }
    /// }
    ///
    /// assert_eq!(CustomFraming::new(|| Box::new(Pairs)).max_length, 1 << 20);
    /// ```
    #[must_use]
    pub fn new(new: impl Fn() -> Box<dyn FrameDecoder> + Send + Sync + 'static) -> Self {
        Self {
            max_length: DEFAULT_MAX_LENGTH,
            new: Arc::new(new),
        }
    }

    /// Sets the longest frame, in bytes.
    #[must_use]
    pub const fn with_max_length(mut self, bytes: usize) -> Self {
        self.max_length = bytes;
        self
    }

    pub(super) fn decoder(&self) -> Box<dyn FrameDecoder> {
        (self.new)()
    }
}

impl fmt::Debug for CustomFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomFraming")
            .field("max_length", &self.max_length)
            .finish_non_exhaustive()
    }
}
