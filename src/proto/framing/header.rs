//! The options of a framing whose frames begin with their length.

use std::ops::Range;

use super::{DEFAULT_MAX_LENGTH, validate_length};
use crate::error::ConfigError;

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The most significant byte first, as usual on networks.
    #[default]
    Big,
    /// The least significant byte first.
    Little,
}

/// Describes the header that a frame begins with.
///
/// By default it is a length of four bytes in network order that does not count itself, frames have at most 1 MiB and
/// are delivered with their header.
///
/// ```
/// use longshore::{ByteOrder, HeaderFraming};
///
/// // A type byte, a flag byte, a length of the whole frame in two bytes.
/// let options = HeaderFraming::default()
///     .with_header_size(4)
///     .with_length_position(2)
///     .with_length_size(2)
///     .with_byte_order(ByteOrder::Little)
///     .with_length_includes_header(true);
/// assert!(longshore::Framing::header(options).validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderFraming {
    /// Bytes in the header, the length itself included.
    pub header_size: usize,
    /// Where the length begins in the header, in bytes from its start.
    pub length_position: usize,
    /// Bytes of the length: 1, 2, 3, 4 or 8.
    pub length_size: usize,
    /// The order of the bytes of the length.
    pub byte_order: ByteOrder,
    /// Whether the length counts the header as well as what follows it.
    pub length_includes_header: bool,
    /// The longest frame, in bytes with its header.
    pub max_length: usize,
    /// Whether frames are delivered without their header.
    pub strip_header: bool,
}

impl Default for HeaderFraming {
    fn default() -> Self {
        Self {
            header_size: 4,
            length_position: 0,
            length_size: 4,
            byte_order: ByteOrder::Big,
            length_includes_header: false,
            max_length: DEFAULT_MAX_LENGTH,
            strip_header: false,
        }
    }
}

impl HeaderFraming {
    /// Sets the bytes in the header.
    #[must_use]
    pub const fn with_header_size(mut self, bytes: usize) -> Self {
        self.header_size = bytes;
        self
    }

    /// Sets where the length begins.
    #[must_use]
    pub const fn with_length_position(mut self, position: usize) -> Self {
        self.length_position = position;
        self
    }

    /// Sets the bytes of the length: 1, 2, 3, 4 or 8.
    #[must_use]
    pub const fn with_length_size(mut self, bytes: usize) -> Self {
        self.length_size = bytes;
        self
    }

    /// Sets the order of the bytes of the length.
    #[must_use]
    pub const fn with_byte_order(mut self, order: ByteOrder) -> Self {
        self.byte_order = order;
        self
    }

    /// Sets whether the length counts the header.
    #[must_use]
    pub const fn with_length_includes_header(mut self, includes: bool) -> Self {
        self.length_includes_header = includes;
        self
    }

    /// Sets the longest frame, in bytes with its header.
    #[must_use]
    pub const fn with_max_length(mut self, bytes: usize) -> Self {
        self.max_length = bytes;
        self
    }

    /// Sets whether frames are delivered without their header.
    #[must_use]
    pub const fn with_strip_header(mut self, strip: bool) -> Self {
        self.strip_header = strip;
        self
    }

    /// Where the length lies in the header.
    pub(super) fn length_field(&self) -> Range<usize> {
        self.length_position..self.length_position.saturating_add(self.length_size)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !matches!(self.length_size, 1..=4 | 8) {
            let problem = format!("is {}, must be 1, 2, 3, 4 or 8 bytes", self.length_size);
            return Err(ConfigError::new("length_size", problem));
        }
        if self.header_size < self.length_size {
            let problem = format!(
                "is {} bytes, shorter than the length of {}",
                self.header_size, self.length_size
            );
            return Err(ConfigError::new("header_size", problem));
        }
        if self.length_field().end > self.header_size {
            let problem = format!(
                "is {}: the length would end beyond the header of {}",
                self.length_position, self.header_size
            );
            return Err(ConfigError::new("length_position", problem));
        }
        // What the field can hold. If that is less than the header, every length would be refused as too short.
        let largest = u64::MAX >> (64 - 8 * self.length_size.min(8) as u32);
        if self.length_includes_header && largest < self.header_size as u64 {
            let problem = format!(
                "is {}: a length so small cannot count the header of {} bytes",
                self.length_size, self.header_size
            );
            return Err(ConfigError::new("length_size", problem));
        }
        // A frame has its header at least.
        validate_length("max_length", self.max_length, self.header_size)
    }
}
