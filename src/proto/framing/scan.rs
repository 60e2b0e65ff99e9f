//! Where a frame lies at the front of some bytes: one function for each framing.
//!
//! Each says that there is a whole frame, that bytes are to be skipped, or how many bytes must be
//! there before it is worth looking again. None keeps anything or takes bytes away; the decoder does.

use std::io::BufRead;
use std::ops::Range;

use super::{ByteOrder, CustomFraming, Frame, FrameDecoder, HeaderFraming};
use crate::error::FrameError;

/// What lies at the front of some bytes.
pub(super) enum Scan {
    Frame {
        consumed: usize,
        payload: Range<usize>,
    },
    Skip {
        consumed: usize,
    },
    /// Part of a frame; there is nothing more to see before `needed` bytes are there.
    More {
        needed: usize,
    },
}

pub(super) fn whole_or_more(bytes: &[u8], length: usize, skip: usize) -> Scan {
    if bytes.len() < length {
        Scan::More { needed: length }
    } else {
        Scan::Frame {
            consumed: length,
            payload: skip..length,
        }
    }
}

/// Reads the length as soon as its bytes are there, which may be before the header is complete.
pub(super) fn look_at_header(bytes: &[u8], options: &HeaderFraming) -> Result<Scan, FrameError> {
    let &HeaderFraming {
        header_size,
        max_length: max,
        ..
    } = options;
    let field = options.length_field();
    // The length is all that matters here, so a frame that is too long is refused before its header is complete.
    let Some(digits) = bytes.get(field.clone()) else {
        return Ok(Scan::More { needed: field.end });
    };
    let announced = number(digits, options.byte_order);
    let length = match options.length_includes_header {
        true => announced,
        // The sum saturates, so that a length near the maximum of the type is too large and not small.
        false => announced.saturating_add(header_size),
    };
    if length < header_size {
        return Err(FrameError::BelowHeader {
            length,
            header_size,
        });
    }
    if length > max {
        return Err(FrameError::TooLarge { length, max });
    }
    Ok(whole_or_more(
        bytes,
        length,
        // A header that is stripped is a part of the frame and not of what is delivered.
        if options.strip_header { header_size } else { 0 },
    ))
}

/// The longest variable-length number: 64 bits, seven in each byte.
const MAX_VARINT: usize = 10;

/// Reads a length of seven bits in each byte, of which the last one has its high bit clear. One that has no end in ten
/// bytes is longer than any maximum.
pub(super) fn look_at_varint(bytes: &[u8], max: usize) -> Result<Scan, FrameError> {
    // A number of more bytes is too large whatever follows, so no more of them are looked at.
    let seen = &bytes[..bytes.len().min(MAX_VARINT)];
    let end = seen.iter().position(|byte| byte & 0x80 == 0);
    let Some(last) = end else {
        return if bytes.len() < MAX_VARINT {
            Ok(Scan::More {
                needed: bytes.len() + 1,
            })
        } else {
            Err(FrameError::TooLarge {
                length: usize::MAX,
                max,
            })
        };
    };
    // The tenth byte has one bit of the 64.
    let fits = last < MAX_VARINT - 1 || seen[last] <= 1;
    let append = |sum: u64, byte: &u8| sum << 7 | u64::from(byte & 0x7f);
    let number = seen[..=last].iter().rev().fold(0, append);
    let length = usize::try_from(number).ok().filter(|_| fits);
    match length {
        // `length` is at most `max` here, so that the sum cannot overflow.
        Some(length) if length <= max => Ok(whole_or_more(bytes, last + 1 + length, last + 1)),
        _ => Err(FrameError::TooLarge {
            length: length.unwrap_or(usize::MAX),
            max,
        }),
    }
}

/// Reads a number of at most eight bytes; one that this machine cannot count to becomes `usize::MAX`.
fn number(digits: &[u8], order: ByteOrder) -> usize {
    let append = |sum: u64, digit: &u8| sum << 8 | u64::from(*digit);
    let number = match order {
        ByteOrder::Big => digits.iter().fold(0, append),
        ByteOrder::Little => digits.iter().rev().fold(0, append),
    };
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Looks for the end of a line among the bytes from `scanned` on. A `\r` before it does not count for the maximum.
pub(super) fn look_for_line(bytes: &[u8], scanned: usize, max: usize) -> Result<Scan, FrameError> {
    let too_large = Err(FrameError::TooLarge {
        length: max.saturating_add(1),
        max,
    });
    let seen = &bytes[..bytes.len().min(max.saturating_add(2))]; // the longest line with `\r\n`
    let without_cr = |bytes: &[u8]| bytes.strip_suffix(b"\r").unwrap_or(bytes).len();
    match find_byte(b'\n', seen, scanned) {
        Some(end) if without_cr(&seen[..end]) > max => too_large,
        Some(end) => Ok(Scan::Frame {
            consumed: end + 1,
            payload: 0..without_cr(&seen[..end]),
        }),
        None if without_cr(seen) > max => too_large,
        None => Ok(Scan::More {
            needed: bytes.len() + 1,
        }),
    }
}

/// Looks for a delimiter that may have begun before `scanned`. Only one that begins within the maximum counts, so the
/// answer is the same whatever came in one read.
pub(super) fn look_for_delimiter(
    bytes: &[u8],
    scanned: usize,
    delimiter: &[u8],
    max: usize,
) -> Result<Scan, FrameError> {
    let longest = max.saturating_add(delimiter.len());
    let seen = &bytes[..bytes.len().min(longest)];
    let from = if cfg!(mutant) {
        scanned
    } else {
        // A delimiter may have begun before the end of what was looked at.
        scanned.saturating_sub(delimiter.len() - 1)
    };
    match find(delimiter, seen, from) {
        Some(end) => Ok(Scan::Frame {
            consumed: end + delimiter.len(),
            payload: 0..end,
        }),
        // The bytes before a delimiter that begins later would be more than the maximum.
        None if seen.len() == longest => Err(FrameError::TooLarge {
            length: max.saturating_add(1),
            max,
        }),
        None => Ok(Scan::More {
            needed: bytes.len() + 1,
        }),
    }
}

fn find(delimiter: &[u8], bytes: &[u8], from: usize) -> Option<usize> {
    let (&first, rest) = delimiter.split_first()?;
    let mut from = from;
    while let Some(at) = find_byte(first, bytes, from) {
        if bytes[at + 1..].starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Finds a byte at `from` or later. The standard library's vectorized search is reachable through `BufRead` only.
fn find_byte(byte: u8, bytes: &[u8], from: usize) -> Option<usize> {
    let mut rest = bytes.get(from..)?;
    let passed = rest
        .skip_until(byte)
        .expect("reading from memory does not fail");
    let last = from + passed.checked_sub(1)?;
    (bytes[last] == byte).then_some(last)
}

/// Asks the user's decoder, shows it no more than the maximum, and believes no answer that would not move on.
pub(super) fn decode_custom(
    decoder: &mut dyn FrameDecoder,
    bytes: &[u8],
    options: &CustomFraming,
) -> Result<Scan, FrameError> {
    // The decoder never sees more than the longest frame, so that its answer does not depend on how much came at once.
    let max = options.max_length;
    let seen = &bytes[..bytes.len().min(max)];
    let problem = match decoder.decode(seen)? {
        Frame::Incomplete if bytes.len() > max => {
            return Err(FrameError::TooLarge {
                length: max.saturating_add(1),
                max,
            });
        }
        Frame::Incomplete => {
            return Ok(Scan::More {
                needed: bytes.len() + 1,
            });
        }
        // A step that consumes nothing would be asked for again without end.
        Frame::Complete { consumed: 0, .. } | Frame::Skip { consumed: 0 } => "consumed nothing",
        Frame::Complete { consumed, .. } | Frame::Skip { consumed } if consumed > seen.len() => {
            "consumed more than there is"
        }
        Frame::Complete { consumed, payload }
            if payload.start > payload.end || payload.end > consumed =>
        {
            "delivered what it did not consume"
        }
        Frame::Complete { consumed, payload } => return Ok(Scan::Frame { consumed, payload }),
        Frame::Skip { consumed } => return Ok(Scan::Skip { consumed }),
    };
    Err(FrameError::Broken { problem })
}
