//! How a stream of bytes is cut into frames: the options, the trait for decoders of the user's own, and the errors.
//!
//! ```text
//!  Framing (options, shared by all connections of a listener)
//!     └──► Decoder (decoder.rs: the bytes of one connection) ──► one frame, one MessageTcp
//! ```
//!
//! What it does not do: it never adds anything to what is written. A frame that is sent must be complete.

mod custom;
mod decoder;
mod header;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
mod scan;

pub use custom::{CustomFraming, Frame, FrameDecoder};
pub(crate) use decoder::Decoder;
pub use header::{ByteOrder, HeaderFraming};

use crate::error::ConfigError;

/// The longest frame that the framings with a limit accept by default, in bytes; lines are shorter.
const DEFAULT_MAX_LENGTH: usize = 1 << 20;
/// The longest line by default, in bytes.
const DEFAULT_MAX_LINE: usize = 64 << 10;
/// The longest delimiter, in bytes: it bounds what looking for it costs.
const MAX_DELIMITER: usize = 256;
/// The longest frame that can be asked for, in bytes; a little below what a `Buffer` holds.
// The decoder remembers lengths in 32 bits, and what it gathers may be longer than the frame in it.
const MAX_LENGTH: usize = (u32::MAX >> 1) as usize;

/// Says where one message ends and the next begins in a stream.
///
/// Every framing with a length that the peer chooses has a maximum; a peer that exceeds it is disconnected with
/// [`FrameError::TooLarge`](crate::FrameError::TooLarge). Memory grows with the bytes that arrived, never with a length
/// that was only announced. Frames do not depend on how the network splits the bytes. Bytes of a frame that is
/// incomplete when the stream ends are not delivered, a last line without its end included.
///
/// ```
/// use longshore::{Framing, HeaderFraming};
///
/// let telnet_like = Framing::lines();
/// let http_head = Framing::delimiter(b"\r\n\r\n");
/// let header = HeaderFraming::default().with_length_size(2).with_header_size(2);
/// let length_prefixed = Framing::header(header);
/// assert!(length_prefixed.validate().is_ok());
/// ```
#[derive(Clone, Debug, Default)]
#[doc(alias = "ChunkOptions")]
#[non_exhaustive]
pub enum Framing {
    /// No framing: bytes are delivered as they were read.
    #[default]
    Raw,
    /// Frames of one length.
    #[non_exhaustive]
    Fixed {
        /// Bytes in a frame, at least 1.
        length: usize,
    },
    /// Frames that begin with a header that holds their length.
    Header(HeaderFraming),
    /// Lines, which end with `\n` or `\r\n`. They are delivered without it, empty ones too.
    #[non_exhaustive]
    Lines {
        /// The longest line, in bytes without its end.
        max_length: usize,
    },
    /// Frames that end with a delimiter, and are delivered without it, empty ones too.
    #[non_exhaustive]
    Delimiter {
        /// The bytes that end a frame, 1 to 256 of them.
        delimiter: Vec<u8>,
        /// The longest frame, in bytes without its delimiter.
        max_length: usize,
    },
    /// Frames that begin with their length as a variable-length number, least significant seven bits first, as Protocol
    /// Buffers have it (Base 128 Varints). They are delivered without it, empty ones too.
    #[non_exhaustive]
    Varint {
        /// The longest frame, in bytes without its length.
        max_length: usize,
    },
    /// Frames found by a decoder of the user's own.
    Custom(CustomFraming),
}

impl Framing {
    /// Makes frames of `length` bytes.
    ///
    /// ```
    /// assert!(longshore::Framing::fixed(16).validate().is_ok());
    /// ```
    #[must_use]
    pub const fn fixed(length: usize) -> Self {
        Self::Fixed { length }
    }

    /// Makes frames with a header that holds their length.
    ///
    /// ```
    /// use longshore::{Framing, HeaderFraming};
    ///
    /// let two_bytes = HeaderFraming::default().with_header_size(2).with_length_size(2);
    /// assert!(Framing::header(two_bytes).validate().is_ok());
    /// ```
    #[must_use]
    pub const fn header(options: HeaderFraming) -> Self {
        Self::Header(options)
    }

    /// Makes lines of at most 64 KiB; see [`Framing::with_max_length`].
    ///
    /// ```
    /// assert!(longshore::Framing::lines().validate().is_ok());
    /// ```
    #[must_use]
    pub const fn lines() -> Self {
        Self::Lines {
            max_length: DEFAULT_MAX_LINE,
        }
    }

    /// Makes frames of at most 1 MiB that end with `delimiter`.
    ///
    /// ```
    /// use longshore::Framing;
    ///
    /// assert!(Framing::delimiter(b"\0").validate().is_ok());
    /// ```
    #[must_use]
    pub fn delimiter(delimiter: impl AsRef<[u8]>) -> Self {
        Self::Delimiter {
            delimiter: delimiter.as_ref().to_vec(),
            max_length: DEFAULT_MAX_LENGTH,
        }
    }

    /// Makes frames of at most 1 MiB that begin with their length as a variable-length number.
    ///
    /// ```
    /// use longshore::{Buffer, Framing};
    ///
    /// assert!(Framing::varint().validate().is_ok());
    /// // A frame to send:
    /// let mut frame = Buffer::new();
    /// frame.put_varint(300);
    /// assert_eq!(frame, [0xac, 0x02]);
    /// ```
    #[must_use]
    pub const fn varint() -> Self {
        Self::Varint {
            max_length: DEFAULT_MAX_LENGTH,
        }
    }

    /// Makes frames of at most 1 MiB with a decoder of the user's own. `new` is called once for each connection.
    ///
    /// See [`FrameDecoder`] for an example, and [`CustomFraming`] to change the maximum.
    ///
    /// ```
    /// use longshore::{Frame, FrameDecoder, FrameError, Framing};
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
    /// assert!(Framing::custom(|| Box::new(Pairs)).validate().is_ok());
    /// ```
    #[must_use]
    pub fn custom(new: impl Fn() -> Box<dyn FrameDecoder> + Send + Sync + 'static) -> Self {
        Self::Custom(CustomFraming::new(new))
    }

    /// Sets the longest frame, in bytes: of a line and of a frame with a delimiter or a variable-length number without
    /// that, of a frame with a header together with it. [`Framing::Raw`] and [`Framing::Fixed`] have no such maximum,
    /// and stay as they are.
    ///
    /// ```
    /// use longshore::Framing;
    ///
    /// let commands = Framing::lines().with_max_length(512);
    /// assert!(commands.validate().is_ok());
    /// ```
    #[must_use]
    pub fn with_max_length(mut self, bytes: usize) -> Self {
        match &mut self {
            // A fixed length is its own maximum, and bytes without frames have none.
            Self::Raw | Self::Fixed { .. } => {}
            Self::Header(HeaderFraming { max_length, .. })
            | Self::Custom(CustomFraming { max_length, .. })
            | Self::Lines { max_length }
            | Self::Delimiter { max_length, .. }
            | Self::Varint { max_length } => *max_length = bytes,
        }
        self
    }

    /// Looks for options that contradict each other or could never work.
    ///
    /// # Errors
    ///
    /// Names the first field that is wrong.
    ///
    /// ```
    /// use longshore::{Framing, HeaderFraming};
    ///
    /// let options = HeaderFraming::default().with_length_position(1);
    /// let error = Framing::header(options).validate().unwrap_err();
    /// assert_eq!(error.field(), "length_position");
    /// ```
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::Raw => Ok(()),
            Self::Fixed { length: 0 } => Err(ConfigError::new(
                "length",
                "a frame of no bytes would never end",
            )),
            Self::Fixed { length } => validate_length("length", *length, 1),
            Self::Header(options) => options.validate(),
            Self::Lines { max_length } | Self::Varint { max_length } => {
                validate_length("max_length", *max_length, 1)
            }
            Self::Delimiter {
                delimiter,
                max_length,
            } => {
                if delimiter.is_empty() || delimiter.len() > MAX_DELIMITER {
                    let problem = format!(
                        "has {} bytes, must have 1 to {MAX_DELIMITER}",
                        delimiter.len()
                    );
                    return Err(ConfigError::new("delimiter", problem));
                }
                validate_length("max_length", *max_length, 1)
            }
            Self::Custom(options) => validate_length("max_length", options.max_length, 1),
        }
    }
}

fn validate_length(field: &'static str, length: usize, min: usize) -> Result<(), ConfigError> {
    if (min..=MAX_LENGTH).contains(&length) {
        return Ok(());
    }
    Err(ConfigError::new(
        field,
        format!("is {length}, must be {min} to {MAX_LENGTH} bytes"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FrameError;

    #[test]
    fn wrong_option_is_named() {
        let header = HeaderFraming::default;
        let custom = CustomFraming::new(|| unreachable!("validating makes no decoder"));
        let lines = |max_length| Framing::Lines { max_length };
        for (framing, field) in [
            (Framing::fixed(0), "length"),
            (Framing::fixed(1 << 31), "length"),
            (lines(0), "max_length"),
            (lines(usize::MAX), "max_length"),
            (Framing::Varint { max_length: 0 }, "max_length"),
            (Framing::delimiter(b""), "delimiter"),
            (Framing::delimiter([0; 257]), "delimiter"),
            (
                Framing::Delimiter {
                    delimiter: b"x".to_vec(),
                    max_length: 0,
                },
                "max_length",
            ),
            (
                Framing::Custom(custom.clone().with_max_length(0)),
                "max_length",
            ),
            (
                Framing::Custom(custom.with_max_length(usize::MAX)),
                "max_length",
            ),
            (Framing::header(header().with_length_size(0)), "length_size"),
            (Framing::header(header().with_length_size(5)), "length_size"),
            (Framing::header(header().with_length_size(9)), "length_size"),
            (Framing::header(header().with_header_size(3)), "header_size"),
            (
                Framing::header(header().with_length_position(1)),
                "length_position",
            ),
            (
                Framing::header(header().with_length_position(usize::MAX)),
                "length_position",
            ),
            (Framing::header(header().with_max_length(3)), "max_length"),
            (
                Framing::header(header().with_max_length(1 << 31)),
                "max_length",
            ),
            (
                Framing::header(header().with_header_size(2 << 20)),
                "max_length",
            ),
        ] {
            let error = framing.validate().expect_err(field);
            assert_eq!(error.field(), field, "{framing:?}");
            assert_eq!(error.to_string(), format!("{field}: {}", error.problem()));
        }
    }

    #[test]
    fn every_option_has_a_row() {
        crate::base::option_rows::option_rows!(HeaderFraming {
            header_size,
            length_position,
            length_size,
            byte_order,
            length_includes_header,
            max_length,
            strip_header,
        });
    }

    #[test]
    fn defaults_are_valid() {
        for framing in [
            Framing::default(),
            Framing::fixed(1),
            Framing::header(HeaderFraming::default()),
            Framing::lines(),
            Framing::delimiter(b"\r\n\r\n"),
            Framing::custom(|| unreachable!("validating makes no decoder")),
        ] {
            assert_eq!(framing.validate(), Ok(()), "{framing:?}");
        }
    }

    #[test]
    fn errors_say_what_the_peer_did() {
        for (error, text) in [
            (
                FrameError::TooLarge { length: 9, max: 8 },
                "a frame of 9 bytes is longer than the maximum of 8",
            ),
            (
                FrameError::BelowHeader {
                    length: 1,
                    header_size: 4,
                },
                "a frame of 1 bytes is shorter than its header of 4",
            ),
            (
                FrameError::Broken {
                    problem: "consumed nothing",
                },
                "the custom decoder consumed nothing",
            ),
            (FrameError::custom("bad magic"), "bad magic"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
