use proptest::prelude::*;

use super::*;
use crate::proto::framing::reference::one_shot;
use crate::proto::framing::{ByteOrder, CustomFraming, Frame, HeaderFraming};

/// What a stream came to: its frames, and then the bytes left over or the error.
type Outcome = (Vec<Vec<u8>>, Result<usize, FrameError>);

/// Feeds a stream read by read.
fn in_reads<'a>(
    framing: &Framing,
    reads: impl IntoIterator<Item = &'a [u8]>,
    pool: &BufferPool,
) -> Outcome {
    let mut decoder = Decoder::new(Arc::new(framing.clone()));
    let mut frames = Vec::new();
    let mut result = Ok(());
    for read in reads {
        result = drain(
            &mut decoder,
            &mut pool.copy_from_slice(read),
            pool,
            &mut frames,
        );
        if result.is_err() {
            break;
        }
    }
    let left = decoder.finish();
    let frames = frames.into_iter().map(Buffer::into_vec).collect();
    assert_eq!(pool.outstanding(), 0, "all buffers are back");
    (frames, result.map(|()| left))
}

fn drain(
    decoder: &mut Decoder,
    input: &mut Buffer,
    pool: &BufferPool,
    frames: &mut Vec<Buffer>,
) -> Result<(), FrameError> {
    while let Some(frame) = decoder.decode(input, pool)? {
        frames.push(frame);
    }
    assert!(
        input.is_empty(),
        "no frame is given while there is input only when it is used up"
    );
    Ok(())
}

/// Checks a stream at once, byte by byte and in two reads at every place, against the expectation.
fn assert_frames(
    framing: Framing,
    stream: impl AsRef<[u8]>,
    frames: &[&[u8]],
    end: Result<usize, FrameError>,
) {
    let stream = stream.as_ref();
    framing.validate().unwrap();
    let pool = BufferPool::new();
    let expected: Outcome = (frames.iter().map(|frame| frame.to_vec()).collect(), end);
    assert_eq!(
        one_shot(&framing, stream),
        expected,
        "the reference on {framing:?}"
    );
    assert_eq!(
        in_reads(&framing, stream.chunks(1), &pool),
        expected,
        "{framing:?} byte by byte"
    );
    for at in 0..=stream.len() {
        let reads = [&stream[..at], &stream[at..]];
        assert_eq!(
            in_reads(&framing, reads, &pool),
            expected,
            "{framing:?} split at {at}"
        );
    }
}

fn too_large<T>(length: usize, max: usize) -> Result<T, FrameError> {
    Err(FrameError::TooLarge { length, max })
}

fn below_header<T>(length: usize, header_size: usize) -> Result<T, FrameError> {
    Err(FrameError::BelowHeader {
        length,
        header_size,
    })
}

/// `<digits>:<bytes>,` as a frame, and a zero byte as a sign of life.
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
        if digits > 3 || (digits == 0 && !bytes.is_empty()) {
            return Err(FrameError::custom("not a netstring"));
        }
        match bytes.get(digits) {
            None => return Ok(Frame::Incomplete),
            Some(b':') => {}
            Some(_) => return Err(FrameError::custom("not a netstring")),
        }
        let length = bytes[..digits]
            .iter()
            .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        let (start, end) = (digits + 1, digits + 1 + length);
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

fn netstring(max_length: usize) -> Framing {
    Framing::Custom(CustomFraming::new(|| Box::new(Netstring)).with_max_length(max_length))
}

#[test]
fn decoder_is_small() {
    assert_eq!(size_of::<Decoder>(), 32);
}

#[test]
fn raw_gives_what_was_read_without_a_copy() {
    let pool = BufferPool::new();
    let mut decoder = Decoder::new(Arc::new(Framing::Raw));
    let mut input = pool.copy_from_slice(b"as it came");
    let memory = input.as_ptr();
    let frame = decoder.decode(&mut input, &pool).unwrap().unwrap();
    assert_eq!((&*frame, frame.as_ptr()), (&b"as it came"[..], memory));
    assert_eq!(decoder.decode(&mut input, &pool), Ok(None));
    assert_eq!((decoder.buffered(), decoder.finish()), (0, 0));
}

#[test]
fn fixed_length() {
    assert_frames(Framing::fixed(1), "abc", &[b"a", b"b", b"c"], Ok(0));
    assert_frames(Framing::fixed(3), "", &[], Ok(0));
    assert_frames(Framing::fixed(3), "ab", &[], Ok(2));
    assert_frames(Framing::fixed(3), "abc", &[b"abc"], Ok(0));
    assert_frames(Framing::fixed(3), "abcdefgh", &[b"abc", b"def"], Ok(2));
}

/// Writes a length into a header whose other bytes are `0xEE`.
fn encode(options: &HeaderFraming, announced: u64) -> Vec<u8> {
    let mut header = vec![0xEE; options.header_size];
    let field = options.length_field();
    match options.byte_order {
        ByteOrder::Big => {
            header[field].copy_from_slice(&announced.to_be_bytes()[8 - options.length_size..])
        }
        ByteOrder::Little => {
            header[field].copy_from_slice(&announced.to_le_bytes()[..options.length_size])
        }
    }
    header
}

/// Every width, position, byte order, counting and stripping, each with a maximum of 40 bytes.
fn every_header() -> impl Iterator<Item = HeaderFraming> {
    let widths = [1, 2, 3, 4, 8].into_iter();
    let places = widths.flat_map(|width| {
        (0..4).flat_map(move |before| (0..3).map(move |after| (before, width, after)))
    });
    places.flat_map(|(before, width, after)| {
        (0..8).map(move |bits| HeaderFraming {
            header_size: before + width + after,
            length_position: before,
            length_size: width,
            byte_order: if bits & 1 == 0 {
                ByteOrder::Big
            } else {
                ByteOrder::Little
            },
            length_includes_header: bits & 2 != 0,
            strip_header: bits & 4 != 0,
            max_length: 40,
        })
    })
}

#[test]
fn header_with_every_width_position_order_and_counting() {
    for options in every_header() {
        let counted = if options.length_includes_header {
            options.header_size
        } else {
            0
        };
        let mut stream = Vec::new();
        let mut frames = Vec::new();
        for length in [0, 1, 7, 40 - options.header_size] {
            let begin = stream.len();
            stream.extend(encode(&options, (length + counted) as u64));
            stream.extend((0..length).map(|i| i as u8));
            frames.push(
                begin
                    + if options.strip_header {
                        options.header_size
                    } else {
                        0
                    }..stream.len(),
            );
        }
        let whole = stream;
        let frames: Vec<&[u8]> = frames.into_iter().map(|frame| &whole[frame]).collect();
        assert_frames(Framing::header(options.clone()), &whole, &frames, Ok(0));
        // The stream ends inside the next frame: in its header, and behind it.
        let header = encode(&options, counted as u64 + 2);
        let begun = [&whole[..], &header[..header.len() - 1]].concat();
        assert_frames(
            Framing::header(options.clone()),
            begun,
            &frames,
            Ok(header.len() - 1),
        );
        let begun = [&whole[..], &header, &[9]].concat();
        assert_frames(
            Framing::header(options.clone()),
            begun,
            &frames,
            Ok(options.header_size + 1),
        );
    }
}

#[test]
fn header_above_the_maximum_is_refused_as_soon_as_its_length_is_read() {
    for options in every_header() {
        let counted = if options.length_includes_header {
            0
        } else {
            options.header_size
        };
        let header = encode(&options, (41 - counted) as u64);
        let so_far = &header[..options.length_field().end];
        assert_frames(
            Framing::header(options.clone()),
            so_far,
            &[],
            too_large(41, 40),
        );
        let without_last_byte = &so_far[..so_far.len() - 1];
        assert_frames(
            Framing::header(options),
            without_last_byte,
            &[],
            Ok(without_last_byte.len()),
        );
    }
}

#[test]
fn announced_length_below_the_header_is_refused() {
    for options in every_header().filter(|options| options.length_includes_header) {
        for announced in 0..options.header_size {
            let header = encode(&options, announced as u64);
            let size = options.header_size;
            assert_frames(
                Framing::header(options.clone()),
                header,
                &[],
                below_header(announced, size),
            );
        }
        let header = encode(&options, options.header_size as u64);
        let frame: &[u8] = if options.strip_header { b"" } else { &header };
        assert_frames(Framing::header(options.clone()), &header, &[frame], Ok(0));
    }
}

#[test]
fn header_length_that_overflows_is_too_large() {
    for includes in [false, true] {
        for announced in [
            u64::MAX,
            u64::MAX - 8,
            u64::MAX - 7,
            1 << 63,
            1 << 32,
            (1 << 32) + 3,
        ] {
            let options = HeaderFraming::default()
                .with_header_size(8)
                .with_length_size(8)
                .with_length_includes_header(includes);
            let length = (announced as usize).saturating_add(if includes { 0 } else { 8 });
            let stream = [announced.to_be_bytes().as_slice(), b"rest"].concat();
            assert_frames(
                Framing::header(options),
                stream,
                &[],
                too_large(length, 1 << 20),
            );
        }
    }
}

#[test]
fn frames_before_a_bad_one_are_delivered() {
    let framing = || {
        Framing::header(
            HeaderFraming::default()
                .with_header_size(1)
                .with_length_size(1)
                .with_max_length(5),
        )
    };
    assert_frames(
        framing(),
        b"\x01a\x00\x09",
        &[b"\x01a", b"\x00"],
        too_large(10, 5),
    );
}

#[test]
fn lines_end_with_or_without_carriage_return() {
    assert_frames(
        Framing::lines(),
        "one\ntwo\r\n\n\r\nfive",
        &[b"one", b"two", b"", b""],
        Ok(4),
    );
    assert_frames(Framing::lines(), "\r\r\n", &[b"\r"], Ok(0));
    assert_frames(Framing::lines(), "a\rb\n", &[b"a\rb"], Ok(0));
    assert_frames(Framing::lines(), "\r", &[], Ok(1));
}

#[test]
fn line_maximum_does_not_count_the_end() {
    let lines = || Framing::Lines { max_length: 3 };
    assert_frames(lines(), "abc\nabc\r\nabc\r", &[b"abc", b"abc"], Ok(4));
    assert_frames(lines(), "ab\r\r\n", &[b"ab\r"], Ok(0));
    for stream in [
        "abcd",
        "abcd\n",
        "abcd\r\n",
        "abc\rd",
        "abc\r\r",
        "abc\r\r\n",
        "abc\rd\n",
    ] {
        assert_frames(lines(), stream, &[], too_large(4, 3));
        assert_frames(lines(), format!("ok\n{stream}"), &[b"ok"], too_large(4, 3));
    }
}

#[test]
fn varint_is_the_length_of_what_follows_it() {
    let varint = |max_length| Framing::Varint { max_length };
    assert_frames(
        varint(3),
        b"\x03abc\x00\x01x\x02",
        &[b"abc", b"", b"x"],
        Ok(1),
    );
    // A number that takes more bytes than it needs is one all the same.
    assert_frames(varint(3), b"\x82\x80\x00ab", &[b"ab"], Ok(0));
    let long = [b"\xac\x02".as_slice(), &[b'x'; 300]].concat();
    assert_frames(varint(300), &long, &[&long[2..]], Ok(0));
    assert_frames(varint(299), &long, &[], too_large(300, 299));
    // The largest number, and what is none.
    let largest = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert_frames(varint(9), largest, &[], too_large(usize::MAX, 9));
    let beyond = b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02";
    assert_frames(varint(9), beyond, &[], too_large(usize::MAX, 9));
    assert_frames(varint(9), [0x80; 10], &[], too_large(usize::MAX, 9));
    assert_frames(varint(9), [0x80; 9], &[], Ok(9));
}

#[test]
fn delimiter_is_found_wherever_a_read_splits_it() {
    assert_frames(
        Framing::delimiter(b"\0"),
        b"a\0\0bc\0d",
        &[b"a", b"", b"bc"],
        Ok(1),
    );
    assert_frames(
        Framing::delimiter(b"\r\n\r\n"),
        b"a\r\n\r\n\r\n\r\nb\r\n\r",
        &[b"a", b""],
        Ok(4),
    );
    assert_frames(
        Framing::delimiter(b"\r\n\r\n"),
        b"a\r\r\n\r\n",
        &[b"a\r"],
        Ok(0),
    );
    assert_frames(Framing::delimiter(b"aab"), b"aaab", &[b"a"], Ok(0));
    assert_frames(
        Framing::delimiter(b"aab"),
        b"aaaabaab",
        &[b"aa", b""],
        Ok(0),
    );
    assert_frames(Framing::delimiter(b"abab"), b"abaabababx", &[b"aba"], Ok(3));
}

#[test]
fn delimiter_maximum_does_not_count_the_delimiter() {
    let framing = || Framing::Delimiter {
        delimiter: b"--".to_vec(),
        max_length: 3,
    };
    assert_frames(framing(), "abc--abc--", &[b"abc", b"abc"], Ok(0));
    assert_frames(framing(), "abcd", &[], Ok(4)); // "abc-" could still become a frame, and nothing looks at less than that
    assert_frames(framing(), "abcd--", &[], too_large(4, 3));
    assert_frames(framing(), "abcde", &[], too_large(4, 3));
    assert_frames(framing(), "a--abcd-", &[b"a"], too_large(4, 3));
}

#[test]
fn custom_decoder_frames_skips_and_rejects() {
    assert_frames(
        netstring(100),
        "5:hello,0:,\0\x0011:hello world,3:ab",
        &[b"hello", b"", b"hello world"],
        Ok(4),
    );
    assert_frames(netstring(100), "\0\0\0", &[], Ok(0));
    assert_frames(
        netstring(100),
        "1:a,x",
        &[b"a"],
        Err(FrameError::custom("not a netstring")),
    );
    assert_frames(
        netstring(100),
        "1:abc",
        &[],
        Err(FrameError::custom("no comma")),
    );
}

#[test]
fn custom_frame_has_a_maximum_too() {
    assert_frames(netstring(8), "5:hello,", &[b"hello"], Ok(0));
    assert_frames(netstring(7), "5:hello", &[], Ok(7));
    assert_frames(netstring(7), "5:hello,", &[], too_large(8, 7));
}

/// Answers as the test has set it.
struct Answer(Frame);

impl FrameDecoder for Answer {
    fn decode(&mut self, _bytes: &[u8]) -> Result<Frame, FrameError> {
        Ok(self.0.clone())
    }
}

#[test]
fn custom_decoder_that_breaks_its_contract_is_stopped() {
    let backwards = Range { start: 2, end: 1 };
    for (answer, problem) in [
        (
            Frame::Complete {
                consumed: 0,
                payload: 0..0,
            },
            "consumed nothing",
        ),
        (Frame::Skip { consumed: 0 }, "consumed nothing"),
        (
            Frame::Complete {
                consumed: 4,
                payload: 0..1,
            },
            "consumed more than there is",
        ),
        (
            Frame::Skip {
                consumed: usize::MAX,
            },
            "consumed more than there is",
        ),
        (
            Frame::Complete {
                consumed: 2,
                payload: 0..3,
            },
            "delivered what it did not consume",
        ),
        (
            Frame::Complete {
                consumed: 3,
                payload: backwards,
            },
            "delivered what it did not consume",
        ),
    ] {
        let framing = Framing::custom(move || Box::new(Answer(answer.clone())));
        let reads: [&[u8]; 1] = [b"abc"];
        assert_eq!(
            in_reads(&framing, reads, &BufferPool::new()),
            (vec![], Err(FrameError::Broken { problem }))
        );
    }
}

#[test]
fn each_connection_gets_a_decoder_of_its_own() {
    /// Frames of 1 byte, then 2, then 3.
    struct Growing(usize);

    impl FrameDecoder for Growing {
        fn decode(&mut self, bytes: &[u8]) -> Result<Frame, FrameError> {
            if bytes.len() <= self.0 {
                return Ok(Frame::Incomplete);
            }
            self.0 += 1;
            Ok(Frame::Complete {
                consumed: self.0,
                payload: 0..self.0,
            })
        }
    }

    let framing = Framing::custom(|| Box::new(Growing(0)));
    for _ in 0..2 {
        assert_frames(framing.clone(), "abcdef", &[b"a", b"bc", b"def"], Ok(0));
    }
}

#[test]
fn error_stays() {
    let pool = BufferPool::new();
    let mut decoder = Decoder::new(Arc::new(Framing::Lines { max_length: 2 }));
    let mut input = Buffer::from("ok\nabc");
    assert_eq!(decoder.decode(&mut input, &pool).unwrap().unwrap(), "ok");
    for _ in 0..2 {
        assert_eq!(decoder.decode(&mut input, &pool), too_large(3, 2));
        assert_eq!(
            decoder.decode(&mut Buffer::from("a\n"), &pool),
            too_large(3, 2)
        );
        decoder.set_framing(Arc::new(Framing::Raw));
        assert_eq!((decoder.buffered(), decoder.finish()), (0, 0));
    }
}

#[test]
fn frame_that_is_the_whole_input_is_not_copied() {
    let pool = BufferPool::new();
    for framing in [
        Framing::fixed(8),
        Framing::lines(),
        Framing::delimiter(b"a\r\n"),
        Framing::header(HeaderFraming::default().with_strip_header(true)),
        netstring(100),
    ] {
        let stream: &[u8] = match framing {
            Framing::Header(_) => b"\0\0\0\x044567",
            Framing::Custom(_) => b"5:23456,",
            _ => b"01234a\r\n",
        };
        let mut input = pool.copy_from_slice(stream);
        let memory = input.as_ptr_range();
        let mut decoder = Decoder::new(Arc::new(framing));
        let frame = decoder.decode(&mut input, &pool).unwrap().unwrap();
        assert!(memory.contains(&frame.as_ptr()), "{decoder:?}");
        assert!(input.is_empty());
        assert_eq!(pool.outstanding(), 1);
    }
}

#[test]
fn nothing_is_held_between_frames() {
    let pool = BufferPool::new();
    let mut decoder = Decoder::new(Arc::new(Framing::lines()));
    for _ in 0..3 {
        let mut frames = Vec::new();
        drain(
            &mut decoder,
            &mut pool.copy_from_slice(b"be"),
            &pool,
            &mut frames,
        )
        .unwrap();
        assert_eq!((decoder.buffered(), pool.outstanding()), (2, 1));
        drain(
            &mut decoder,
            &mut pool.copy_from_slice(b"gun\nwhole\n"),
            &pool,
            &mut frames,
        )
        .unwrap();
        assert_eq!(frames, [&b"begun"[..], b"whole"]);
        drop(frames);
        assert_eq!(
            (
                decoder.buffered(),
                decoder.partial.capacity(),
                pool.outstanding()
            ),
            (0, 0, 0)
        );
    }
}

#[test]
fn small_rest_of_a_large_read_does_not_keep_its_memory() {
    let pool = BufferPool::new();
    let mut decoder = Decoder::new(Arc::new(Framing::fixed(16_000)));
    let mut input = pool.get(65_000);
    input.extend_from_slice(&[7; 16_010]);
    assert_eq!(
        decoder.decode(&mut input, &pool).unwrap().unwrap().len(),
        16_000
    );
    assert_eq!(decoder.decode(&mut input, &pool), Ok(None));
    assert_eq!((decoder.buffered(), decoder.partial.capacity()), (10, 64));
}

#[test]
fn memory_grows_with_what_arrives_not_with_what_is_announced() {
    let pool = BufferPool::new();
    let mut decoder = Decoder::new(Arc::new(Framing::header(HeaderFraming::default())));
    let mut stream = pool.copy_from_slice(&1_000_000_u32.to_be_bytes());
    let mut received = 0;
    while received < 1_000_000 {
        assert_eq!(decoder.decode(&mut stream, &pool), Ok(None));
        assert!(
            decoder.partial.capacity() <= 4 * (received + 64),
            "{received}: {}",
            decoder.partial.capacity()
        );
        let read = (received + 1).min(1_000_000 - received);
        stream = Buffer::from(vec![0; read]);
        received += read;
    }
    assert_eq!(
        decoder.decode(&mut stream, &pool).unwrap().unwrap().len(),
        1_000_004
    );
}

#[test]
fn one_byte_dribble_takes_linear_time() {
    // A search that began anew for each byte would look at 2 * 10^11 bytes here; this one takes a tenth of a second.
    const LENGTH: usize = 640 << 10;
    for framing in [
        Framing::Lines { max_length: LENGTH },
        Framing::Delimiter {
            delimiter: b"---\n".to_vec(),
            max_length: LENGTH,
        },
        Framing::fixed(LENGTH),
    ] {
        let pool = BufferPool::new();
        let mut decoder = Decoder::new(Arc::new(framing));
        let mut read = pool.get(1);
        for _ in 0..LENGTH - 4 {
            read.extend_from_slice(b"-");
            assert_eq!(decoder.decode(&mut read, &pool), Ok(None));
        }
        let frame = decoder
            .decode(&mut Buffer::from("---\n"), &pool)
            .unwrap()
            .unwrap();
        assert!(frame.len() >= LENGTH - 4);
    }
}

#[test]
fn new_framing_reads_kept_bytes_again() {
    let pool = BufferPool::new();
    let mut decoder = Decoder::new(Arc::new(Framing::fixed(100)));
    let mut input = pool.copy_from_slice(b"one\ntwo\nthr");
    assert_eq!(decoder.decode(&mut input, &pool), Ok(None));
    assert_eq!(decoder.buffered(), 11);

    decoder.set_framing(Arc::new(Framing::lines()));
    assert_eq!(decoder.decode(&mut input, &pool).unwrap().unwrap(), "one"); // no new input is needed
    let mut input = pool.copy_from_slice(b"ee\nfour\n3:");
    for line in ["two", "three", "four"] {
        assert_eq!(decoder.decode(&mut input, &pool).unwrap().unwrap(), line);
    }
    assert_eq!(decoder.decode(&mut input, &pool), Ok(None));

    decoder.set_framing(Arc::new(netstring(9)));
    let mut input = pool.copy_from_slice(b"abc,\0rest");
    assert_eq!(decoder.decode(&mut input, &pool).unwrap().unwrap(), "abc");
    decoder.set_framing(Arc::new(Framing::Raw));
    assert_eq!(
        decoder.decode(&mut input, &pool).unwrap().unwrap(),
        "\0rest"
    );
    assert_eq!(
        (decoder.decode(&mut input, &pool), decoder.finish()),
        (Ok(None), 0)
    );
}

#[test]
fn kept_bytes_come_before_new_ones_after_a_change_to_raw() {
    let pool = BufferPool::new();
    let mut decoder = Decoder::new(Arc::new(Framing::lines()));
    assert_eq!(decoder.decode(&mut Buffer::from("first "), &pool), Ok(None));
    decoder.set_framing(Arc::new(Framing::Raw));
    let mut input = Buffer::from("second");
    assert_eq!(
        decoder.decode(&mut input, &pool).unwrap().unwrap(),
        "first "
    );
    assert_eq!(
        decoder.decode(&mut input, &pool).unwrap().unwrap(),
        "second"
    );
    assert_eq!(decoder.decode(&mut input, &pool), Ok(None));
}

fn any_header() -> impl Strategy<Value = Framing> {
    let sizes = (
        prop_oneof![Just(1_usize), Just(2), Just(3), Just(4), Just(8)],
        0..4_usize,
        0..4_usize,
    );
    (sizes, any::<(bool, bool, bool)>(), 0..40_usize).prop_map(
        |((width, before, after), (little, includes, strip), more)| {
            let header_size = before + width + after;
            Framing::header(HeaderFraming {
                header_size,
                length_position: before,
                length_size: width,
                byte_order: if little {
                    ByteOrder::Little
                } else {
                    ByteOrder::Big
                },
                length_includes_header: includes,
                max_length: header_size + more,
                strip_header: strip,
            })
        },
    )
}

fn any_framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        1 => (1..50_usize).prop_map(Framing::fixed),
        4 => any_header(),
        2 => (1..30_usize).prop_map(|max_length| Framing::Lines { max_length }),
        3 => (proptest::collection::vec(0..3_u8, 1..5), 1..30_usize)
            .prop_map(|(delimiter, max_length)| Framing::Delimiter { delimiter, max_length }),
        2 => (1..300_usize).prop_map(|max_length| Framing::Varint { max_length }),
        1 => (1..30_usize).prop_map(netstring),
    ]
}

/// Bytes of which framings find something: short lengths, line ends, delimiters, netstrings.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => Just(vec![0]),
        6 => (0..24_u8).prop_map(|byte| vec![byte]),
        2 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        2 => (0..9_usize).prop_map(|n| format!("{n}:{},", "x".repeat(n)).into_bytes()),
    ];
    proptest::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

/// Cuts a stream into reads of these sizes, over and over.
fn reads<'a>(stream: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let (read, after) = rest.split_at((*sizes.next()?).min(rest.len()));
        rest = after;
        (!read.is_empty()).then_some(read)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_splits_give_the_frames_of_one_read(
        framing in any_framing(),
        stream in any_stream(),
        sizes in proptest::collection::vec(1..20_usize, 1..20),
    ) {
        prop_assert_eq!(framing.validate(), Ok(()));
        let outcome = in_reads(&framing, reads(&stream, &sizes), &BufferPool::new());
        prop_assert_eq!(outcome, one_shot(&framing, &stream));
    }

    #[test]
    fn change_of_framing_loses_and_repeats_nothing(
        framing in any_framing(),
        next in any_framing(),
        stream in any_stream(),
        sizes in proptest::collection::vec(1..20_usize, 1..20),
        change in 0..20_usize,
    ) {
        let pool = BufferPool::new();
        let mut decoder = Decoder::new(Arc::new(framing.clone()));
        let (mut frames, mut passed) = (Vec::new(), 0);
        for (i, read) in reads(&stream, &sizes).enumerate() {
            if i == change {
                let (before, left) = one_shot(&framing, &stream[..passed]);
                prop_assert_eq!(std::mem::take(&mut frames), before);
                passed -= decoder.buffered();
                prop_assert_eq!(left, Ok(decoder.buffered()));
                decoder.set_framing(Arc::new(next.clone()));
                let (after, left) = one_shot(&next, &stream[passed..]);
                let result = reads(&stream[passed + decoder.buffered()..], &sizes)
                    .try_for_each(|read| drain(&mut decoder, &mut pool.copy_from_slice(read), &pool, &mut frames));
                prop_assert_eq!(frames, after);
                prop_assert_eq!(result.map(|()| decoder.finish()), left);
                return Ok(());
            }
            passed += read.len();
            if drain(&mut decoder, &mut pool.copy_from_slice(read), &pool, &mut frames).is_err() {
                return Ok(());
            }
        }
    }
}
