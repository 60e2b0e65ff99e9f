//! Cuts the server's bytes into operations, whatever the sizes of the reads.
//!
//! ```text
//!  input ─ scan ─▶ complete: an Op that borrows from the input
//!                  incomplete: its beginning moves to `partial`, which later reads complete
//!                  larger than the payload limit: `skip` bytes of the stream are discarded
//! ```
//!
//! `partial` holds at most one line, or one line and its payload. A line is searched for its end once for each byte.

use std::ops::Range;

use super::{Limits, MAX_INFO, MAX_SIZE, Msg, Op, ProtocolError};

/// Capacity that `partial` keeps between operations, in bytes.
/// What one large message took is freed after it; without the limit a single one would hold its size for ever.
const KEPT: usize = 4 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Parser {
    limits: Limits,
    /// The beginning of an operation, or the whole operation that the last call returned.
    partial: Vec<u8>,
    /// `partial` was returned by the last call and is cleared by the next one.
    returned: bool,
    /// What `partial` waits for.
    wants: Wants,
    /// Bytes of an oversized message that are still to come.
    skip: usize,
    failed: Option<ProtocolError>,
}

/// What completes the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// The end of the line.
    Line,
    /// This many bytes in all.
    Bytes(usize),
}

/// What the beginning of some bytes is.
enum Scan {
    More(Wants),
    Complete(Shape),
    /// A message that is too large: the length of its line, and of what follows it.
    TooLarge {
        sid: u64,
        line: usize,
        body: usize,
    },
}

/// One complete operation, as ranges of the bytes that were scanned.
struct Shape {
    kind: Verb,
    end: usize,
    subject: Range<usize>,
    sid: u64,
    reply: Option<Range<usize>>,
    headers: Range<usize>,
    payload: Range<usize>,
}

#[derive(Clone, Copy)]
enum Verb {
    Info,
    Msg,
    Ping,
    Pong,
    Ok,
    Err,
}

impl Parser {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            partial: Vec::new(),
            returned: false,
            wants: Wants::Line,
            skip: 0,
            failed: None,
        }
    }

    /// Returns the next operation and takes its bytes off the input. `None`: the input is used up.
    ///
    /// # Errors
    ///
    /// The server broke the protocol; every later call returns the same error.
    pub(crate) fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Op<'a>>, ProtocolError> {
        // The stream is not in step any more: where the next operation begins is unknown.
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.returned {
            self.returned = false;
            self.partial.clear();
            // After the copy was returned: its bytes were borrowed by the caller until this call.
            self.partial.shrink_to(KEPT);
            self.wants = Wants::Line;
        }
        let discarded = self.skip.min(input.len());
        *input = &input[discarded..];
        self.skip -= discarded;
        // A planted fault for the mutation test of this parser.
        if cfg!(mutant) && discarded > 0 && self.skip > 0 {
            self.skip -= 1;
        }
        if input.is_empty() {
            return Ok(None);
        }
        if self.partial.is_empty() {
            return self.next_of_input(input);
        }
        self.next_of_partial(input)
    }

    /// Bytes that are stored.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn buffered(&self) -> usize {
        if self.returned { 0 } else { self.partial.len() }
    }

    fn next_of_input<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Op<'a>>, ProtocolError> {
        match scan(input, self.limits) {
            Ok(Scan::Complete(shape)) => {
                let (bytes, rest) = input.split_at(shape.end);
                *input = rest;
                Ok(Some(shape.op(bytes)))
            }
            Ok(Scan::More(wants)) => {
                self.partial.extend_from_slice(input);
                self.wants = wants;
                *input = &[];
                Ok(None)
            }
            Ok(Scan::TooLarge { sid, line, body }) => {
                *input = &input[line..];
                Ok(Some(self.skip(sid, body)))
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    fn next_of_partial<'a>(
        &'a mut self,
        input: &mut &[u8],
    ) -> Result<Option<Op<'a>>, ProtocolError> {
        loop {
            if !self.fill(input)? {
                return Ok(None);
            }
            match scan(&self.partial, self.limits) {
                Ok(Scan::Complete(shape)) => {
                    self.returned = true;
                    return Ok(Some(shape.op(&self.partial)));
                }
                Ok(Scan::More(wants)) => self.wants = wants,
                Ok(Scan::TooLarge { sid, body, .. }) => {
                    self.partial.clear();
                    self.wants = Wants::Line;
                    return Ok(Some(self.skip(sid, body)));
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// Moves input to `partial` until it has what it waits for. `false`: the input is used up before.
    fn fill(&mut self, input: &mut &[u8]) -> Result<bool, ProtocolError> {
        let (taken, is_done) = match self.wants {
            // Only the new bytes are searched: the ones in `partial` have been looked at, and a long line would cost
            // its square.
            Wants::Line => match input.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (input.len(), false),
            },
            Wants::Bytes(total) => {
                let missing = total.saturating_sub(self.partial.len());
                (missing.min(input.len()), missing <= input.len())
            }
        };
        // Before the bytes are stored: a line without an end must not grow `partial` without limit.
        if self.wants == Wants::Line
            && self.partial.len() + taken > line_limit(&self.partial, self.limits)
        {
            return Err(self.fail(ProtocolError::LineTooLong));
        }
        self.partial.extend_from_slice(&input[..taken]);
        *input = &input[taken..];
        Ok(is_done)
    }

    fn skip<'a>(&mut self, sid: u64, body: usize) -> Op<'a> {
        // The line end behind the payload is skipped with it.
        self.skip = body + 2;
        Op::Oversized { sid, bytes: body }
    }

    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        // Its capacity with it: no byte is parsed any more, so none is stored.
        self.partial = Vec::new();
        self.failed = Some(error);
        error
    }
}

impl Shape {
    fn op<'a>(&self, bytes: &'a [u8]) -> Op<'a> {
        let payload = &bytes[self.payload.clone()];
        match self.kind {
            Verb::Info => Op::Info(payload),
            Verb::Ping => Op::Ping,
            Verb::Pong => Op::Pong,
            Verb::Ok => Op::Ok,
            Verb::Err => Op::Err(payload),
            Verb::Msg => Op::Msg(Msg {
                subject: &bytes[self.subject.clone()],
                sid: self.sid,
                reply: self.reply.clone().map(|range| &bytes[range]),
                headers: &bytes[self.headers.clone()],
                payload,
            }),
        }
    }

    /// An operation of a line alone, with what follows its verb.
    fn line(kind: Verb, end: usize, payload: Range<usize>) -> Scan {
        Scan::Complete(Self {
            kind,
            end,
            subject: 0..0,
            sid: 0,
            reply: None,
            headers: 0..0,
            payload,
        })
    }
}

/// The longest line that begins so.
fn line_limit(line: &[u8], limits: Limits) -> usize {
    match line.first() {
        // INFO grows with the cluster it describes, so it has a limit of its own.
        Some(b'I' | b'i') => MAX_INFO,
        _ => limits.max_control_line,
    }
}

fn scan(bytes: &[u8], limits: Limits) -> Result<Scan, ProtocolError> {
    let limit = line_limit(bytes, limits);
    // Not beyond the limit: a line whose end is behind it is refused anyway.
    let searched = &bytes[..bytes.len().min(limit)];
    let Some(newline) = searched.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() > limit {
            Err(ProtocolError::LineTooLong)
        } else {
            Ok(Scan::More(Wants::Line))
        };
    };
    let line = bytes[..newline]
        .strip_suffix(b"\r")
        // A bare LF is refused: what a lenient parser reads into a message, a strict one reads as two.
        .ok_or(ProtocolError::LineEnd)?;
    let verb_end = line
        .iter()
        .position(|byte| is_space(*byte))
        .unwrap_or(line.len());
    let arguments = trim(line, verb_end);
    let end = newline + 1;
    match &line[..verb_end] {
        verb if verb.eq_ignore_ascii_case(b"MSG") => scan_message(bytes, arguments, end, 0, limits),
        verb if verb.eq_ignore_ascii_case(b"HMSG") => {
            scan_message(bytes, arguments, end, 1, limits)
        }
        verb if verb.eq_ignore_ascii_case(b"PING") => bare(Verb::Ping, end, &arguments),
        verb if verb.eq_ignore_ascii_case(b"PONG") => bare(Verb::Pong, end, &arguments),
        verb if verb.eq_ignore_ascii_case(b"+OK") => bare(Verb::Ok, end, &arguments),
        verb if verb.eq_ignore_ascii_case(b"INFO") => Ok(Shape::line(Verb::Info, end, arguments)),
        verb if verb.eq_ignore_ascii_case(b"-ERR") => {
            Ok(Shape::line(Verb::Err, end, unquoted(line, arguments)))
        }
        _ => Err(ProtocolError::UnknownOperation),
    }
}

fn bare(kind: Verb, end: usize, arguments: &Range<usize>) -> Result<Scan, ProtocolError> {
    if arguments.is_empty() {
        Ok(Shape::line(kind, end, 0..0))
    } else {
        Err(ProtocolError::Fields)
    }
}

/// `subject sid [reply] [header size] size`, and the bytes behind the line. `sizes` is how many there are before the
/// last.
fn scan_message(
    bytes: &[u8],
    arguments: Range<usize>,
    line: usize,
    sizes: usize,
    limits: Limits,
) -> Result<Scan, ProtocolError> {
    let mut fields: [Range<usize>; 5] = Default::default();
    let count = split(bytes, arguments, &mut fields)?;
    let has_reply = match count.checked_sub(3 + sizes) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(ProtocolError::Fields),
    };
    let sid = number(&bytes[fields[1].clone()], u64::MAX)?;
    let size = |field: usize| {
        number(&bytes[fields[field].clone()], MAX_SIZE as u64).map(|size| size as usize)
    };
    let body = size(count - 1)?;
    let headers = if sizes == 1 { size(count - 2)? } else { 0 };
    // The headers are a part of the body; if they were longer, the payload would begin behind its end.
    if headers > body {
        return Err(ProtocolError::Number);
    }
    // Skipped, not kept: the connection goes on, and one message too large is not a peer to hang up on.
    if body > limits.max_payload {
        return Ok(Scan::TooLarge { sid, line, body });
    }
    let end = line + body + 2;
    // Before the bytes are touched: without all of them the ranges below would end outside.
    if bytes.len() < end {
        return Ok(Scan::More(Wants::Bytes(end)));
    }
    if &bytes[end - 2..end] != b"\r\n" {
        return Err(ProtocolError::PayloadEnd);
    }
    let reply = has_reply.then(|| fields[2].clone());
    Ok(Scan::Complete(Shape {
        kind: Verb::Msg,
        end,
        subject: fields[0].clone(),
        sid,
        reply,
        headers: line..line + headers,
        payload: line + headers..line + body,
    }))
}

/// Splits at spaces; returns the number of fields.
fn split(
    bytes: &[u8],
    within: Range<usize>,
    fields: &mut [Range<usize>; 5],
) -> Result<usize, ProtocolError> {
    let (mut at, mut count) = (within.start, 0);
    loop {
        while at < within.end && is_space(bytes[at]) {
            at += 1;
        }
        if at == within.end {
            return Ok(count);
        }
        let start = at;
        while at < within.end && !is_space(bytes[at]) {
            at += 1;
        }
        *fields.get_mut(count).ok_or(ProtocolError::Fields)? = start..at;
        count += 1;
    }
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// The range of the line from `start` on without spaces around it.
fn trim(line: &[u8], start: usize) -> Range<usize> {
    let rest = &line[start..];
    let leading = rest.iter().take_while(|byte| is_space(**byte)).count();
    let trailing = rest[leading..]
        .iter()
        .rev()
        .take_while(|byte| is_space(**byte))
        .count();
    start + leading..line.len() - trailing
}

fn unquoted(line: &[u8], range: Range<usize>) -> Range<usize> {
    let text = &line[range.clone()];
    if text.len() >= 2 && text.starts_with(b"'") && text.ends_with(b"'") {
        range.start + 1..range.end - 1
    } else {
        range
    }
}

/// A number of decimal digits, at most `max`.
fn number(digits: &[u8], max: u64) -> Result<u64, ProtocolError> {
    let mut value = 0_u64;
    // 20 digits are more than u64 holds: without the limit a line of digits would be read to its end before it is
    // refused.
    if digits.is_empty() || digits.len() > 20 {
        return Err(ProtocolError::Number);
    }
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(ProtocolError::Number);
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .ok_or(ProtocolError::Number)?;
    }
    if value > max {
        return Err(ProtocolError::Number);
    }
    Ok(value)
}
