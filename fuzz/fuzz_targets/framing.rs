//! Framing: any options and any splits give the frames, the error and the rest that one read of all bytes gives.
//!
//! An input is one byte for the kind of framing, five for its options, the delimiter where there is one, the sizes of
//! the reads (their number, then a byte for each, used over and over), and then the stream.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use longshore::fuzzing::{Decoder, one_shot};
use longshore::{
    Buffer, BufferPool, ByteOrder, CustomFraming, Frame, FrameDecoder, FrameError, Framing,
    HeaderFraming,
};

/// One pool for all runs: a new one costs more than a run.
static POOL: LazyLock<BufferPool> = LazyLock::new(BufferPool::new);

fuzz_target!(|data: &[u8]| {
    let Some((framing, sizes, stream)) = plan(data) else {
        return;
    };
    let (expected, end) = one_shot(&framing, stream);
    let outcome = in_reads(&framing, &sizes, stream, &POOL);
    assert_eq!(POOL.outstanding(), 0, "a buffer is lost");
    match framing {
        // Raw frames end where a read ended, so only their bytes together are compared.
        Framing::Raw => assert_eq!((outcome.0.concat(), outcome.1), (expected.concat(), end)),
        _ => assert_eq!(
            outcome,
            (expected, end),
            "{framing:?} in reads of {sizes:?}: {}",
            stream.escape_ascii()
        ),
    }
});

/// Reads the options, the sizes of the reads and the stream from an input.
fn plan(data: &[u8]) -> Option<(Framing, Vec<usize>, &[u8])> {
    let (&[kind, a, b, c, d, e], data) = data.split_first_chunk()?;
    let (a, b, c) = (usize::from(a), usize::from(b), usize::from(c));
    let mut rest = data;
    let framing = match kind % 7 {
        0 => Framing::Raw,
        1 => Framing::fixed(1 + a),
        2 => Framing::header(header(
            [1, 2, 3, 4, 8][a % 5],
            b % 8,
            c % 8,
            d,
            usize::from(e),
        )),
        3 => Framing::lines().with_max_length(1 + a),
        4 => {
            let (delimiter, after) = data.split_at_checked(1 + b % 6)?;
            rest = after;
            Framing::delimiter(delimiter).with_max_length(1 + a)
        }
        6 => Framing::varint().with_max_length(1 + a + 256 * (b % 4)),
        _ => Framing::Custom(CustomFraming::new(|| Box::new(Netstring)).with_max_length(1 + a)),
    };
    framing.validate().expect("these options are valid");
    let (&count, rest) = rest.split_first()?;
    let (sizes, stream) = rest.split_at_checked(usize::from(count % 16))?;
    let sizes = sizes.iter().map(|size| usize::from(*size).max(1)).collect();
    Some((framing, sizes, stream))
}

fn header(width: usize, before: usize, after: usize, flags: u8, more: usize) -> HeaderFraming {
    let size = before + width + after;
    HeaderFraming::default()
        .with_header_size(size)
        .with_length_position(before)
        .with_length_size(width)
        .with_byte_order(if flags & 1 == 0 {
            ByteOrder::Big
        } else {
            ByteOrder::Little
        })
        .with_length_includes_header(flags & 2 != 0)
        .with_strip_header(flags & 4 != 0)
        .with_max_length(size + more)
}

/// Feeds the stream to a decoder read by read, as a connection does.
fn in_reads(
    framing: &Framing,
    sizes: &[usize],
    stream: &[u8],
    pool: &BufferPool,
) -> (Vec<Vec<u8>>, Result<usize, FrameError>) {
    let mut decoder = Decoder::new(Arc::new(framing.clone()));
    let mut sizes = sizes.iter().cycle();
    let mut frames = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| (*size).min(rest.len()));
        let (read, after) = rest.split_at(size);
        rest = after;
        let mut input = pool.copy_from_slice(read);
        loop {
            match decoder.decode(&mut input, pool) {
                Ok(Some(frame)) => frames.push(frame.into_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(
                        decoder.decode(&mut Buffer::from("more"), pool).as_ref(),
                        Err(&error),
                        "errors stay"
                    );
                    return (frames, Err(error));
                }
            }
        }
        assert!(input.is_empty(), "input is left without a frame");
    }
    let left = decoder.buffered();
    assert_eq!((decoder.finish(), decoder.buffered()), (left, 0));
    (frames, Ok(left))
}

/// `<digits>:<bytes>,` is a frame, and a zero byte is a keep-alive.
struct Netstring;

impl FrameDecoder for Netstring {
    fn decode(&mut self, bytes: &[u8]) -> Result<Frame, FrameError> {
        if bytes[0] == 0 {
            return Ok(Frame::Skip { consumed: 1 });
        }
        let digits = bytes
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let Some(colon) = bytes.get(digits) else {
            return if digits > 3 {
                Err(FrameError::custom("too many digits"))
            } else {
                Ok(Frame::Incomplete)
            };
        };
        if *colon != b':' || !(1..=3).contains(&digits) {
            let problem = if digits > 3 {
                "too many digits"
            } else {
                "no length"
            };
            return Err(FrameError::custom(problem));
        }
        let start = digits + 1;
        let end = start
            + bytes[..digits]
                .iter()
                .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        match bytes.get(end) {
            None => Ok(Frame::Incomplete),
            Some(b',') => Ok(Frame::Complete {
                consumed: end + 1,
                payload: start..end,
            }),
            Some(_) => Err(FrameError::custom("no comma")),
        }
    }
}
