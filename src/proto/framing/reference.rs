//! Frames cut from all bytes at once, as plainly as can be: what the decoder must equal whatever the splits. Tests and
//! the fuzzer share it; it shares nothing with the decoder.

use super::*;
use crate::error::FrameError;

/// Cuts `bytes` into frames, and returns how many are left over or what is wrong with them.
pub(crate) fn one_shot(
    framing: &Framing,
    bytes: &[u8],
) -> (Vec<Vec<u8>>, Result<usize, FrameError>) {
    let mut frames = Vec::new();
    let mut custom = match framing {
        Framing::Custom(options) => Some((options.decoder(), options.max_length)),
        _ => None,
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut = match framing {
            Framing::Raw => Ok(Some((Some(rest), rest.len()))),
            Framing::Fixed { length } => {
                Ok((rest.len() >= *length).then(|| (Some(&rest[..*length]), *length)))
            }
            Framing::Header(options) => header(options, rest),
            Framing::Varint { max_length } => varint(rest, *max_length),
            Framing::Lines { max_length } => line(rest, *max_length),
            Framing::Delimiter {
                delimiter,
                max_length,
            } => delimited(rest, delimiter, *max_length),
            Framing::Custom(_) => {
                let (decoder, max) = custom.as_mut().expect("it was made above");
                own(&mut **decoder, *max, rest)
            }
        };
        match cut {
            Err(error) => return (frames, Err(error)),
            Ok(None) => break,
            Ok(Some((frame, consumed))) => {
                frames.extend(frame.map(<[u8]>::to_vec));
                rest = &rest[consumed..];
            }
        }
    }
    (frames, Ok(rest.len()))
}

/// The frame, if there is one to deliver, and the bytes that it takes up; nothing while it is incomplete.
type Cut<'a> = Result<Option<(Option<&'a [u8]>, usize)>, FrameError>;

fn varint(bytes: &[u8], max: usize) -> Cut<'_> {
    let mut length = 0_u128;
    for (number, byte) in bytes.iter().enumerate() {
        length += u128::from(byte % 128) << (7 * number);
        if *byte < 128 {
            let start = number + 1;
            if length > max as u128 {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                return Err(FrameError::TooLarge { length, max });
            }
            let end = start + length as usize;
            return Ok(bytes.get(start..end).map(|frame| (Some(frame), end)));
        }
        if number == 9 {
            let length = usize::MAX;
            return Err(FrameError::TooLarge { length, max });
        }
    }
    Ok(None)
}

fn header<'a>(options: &HeaderFraming, bytes: &'a [u8]) -> Cut<'a> {
    let Some(field) =
        bytes.get(options.length_position..options.length_position + options.length_size)
    else {
        return Ok(None);
    };
    let mut digits = field.to_vec();
    if options.byte_order == ByteOrder::Little {
        digits.reverse();
    }
    let announced = digits
        .iter()
        .fold(0_u128, |sum, digit| sum * 256 + u128::from(*digit));
    let size = options.header_size as u128;
    if options.length_includes_header && announced < size {
        return Err(FrameError::BelowHeader {
            length: announced as usize,
            header_size: options.header_size,
        });
    }
    let length = if options.length_includes_header {
        announced
    } else {
        announced + size
    };
    if length > options.max_length as u128 {
        let length = length.min(usize::MAX as u128) as usize;
        return Err(FrameError::TooLarge {
            length,
            max: options.max_length,
        });
    }
    let front = if options.strip_header {
        options.header_size
    } else {
        0
    };
    Ok(bytes
        .get(..length as usize)
        .map(|frame| (Some(&frame[front..]), frame.len())))
}

fn line(bytes: &[u8], max: usize) -> Cut<'_> {
    let too_large = Err(FrameError::TooLarge {
        length: max + 1,
        max,
    });
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let longer = bytes.strip_suffix(b"\r").unwrap_or(bytes).len() > max;
        return if longer { too_large } else { Ok(None) };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    if line.len() > max {
        too_large
    } else {
        Ok(Some((Some(line), end + 1)))
    }
}

fn delimited<'a>(bytes: &'a [u8], delimiter: &[u8], max: usize) -> Cut<'a> {
    for end in 0..=max {
        match bytes.get(end..end + delimiter.len()) {
            None => return Ok(None),
            Some(candidate) if candidate == delimiter => {
                return Ok(Some((Some(&bytes[..end]), end + delimiter.len())));
            }
            Some(_) => {}
        }
    }
    Err(FrameError::TooLarge {
        length: max + 1,
        max,
    })
}

fn own<'a>(decoder: &mut dyn FrameDecoder, max: usize, bytes: &'a [u8]) -> Cut<'a> {
    match decoder.decode(&bytes[..bytes.len().min(max)])? {
        Frame::Incomplete if bytes.len() > max => Err(FrameError::TooLarge {
            length: max + 1,
            max,
        }),
        Frame::Incomplete => Ok(None),
        Frame::Skip { consumed } => Ok(Some((None, consumed))),
        Frame::Complete { consumed, payload } => Ok(Some((Some(&bytes[payload]), consumed))),
    }
}
