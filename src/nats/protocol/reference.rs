//! What the parser must find, by a plain reading of all bytes at once; and the script that compares both, which the
//! fuzzer and `cargo test` run.

use super::info::ServerInfo;
use super::{Limits, MAX_INFO, Msg, Op, Parser, ProtocolError};

/// An operation that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Info(Vec<u8>),
    Msg {
        subject: Vec<u8>,
        sid: u64,
        reply: Option<Vec<u8>>,
        headers: Vec<u8>,
        payload: Vec<u8>,
    },
    Oversized(u64, usize),
    Ping,
    Pong,
    Ok,
    Err(Vec<u8>),
}

impl From<Op<'_>> for Owned {
    fn from(op: Op<'_>) -> Self {
        match op {
            Op::Info(json) => Self::Info(json.to_vec()),
            Op::Msg(Msg {
                subject,
                sid,
                reply,
                headers,
                payload,
            }) => Self::Msg {
                subject: subject.to_vec(),
                sid,
                reply: reply.map(<[u8]>::to_vec),
                headers: headers.to_vec(),
                payload: payload.to_vec(),
            },
            Op::Oversized { sid, bytes } => Self::Oversized(sid, bytes),
            Op::Ping => Self::Ping,
            Op::Pong => Self::Pong,
            Op::Ok => Self::Ok,
            Op::Err(text) => Self::Err(text.to_vec()),
        }
    }
}

type Outcome = (Vec<Owned>, Result<(), ProtocolError>);

/// Reads all bytes at once: the operations, and the error that ended it.
pub(crate) fn one_shot(limits: Limits, mut bytes: &[u8]) -> Outcome {
    let mut found = Vec::new();
    loop {
        match first(limits, bytes) {
            Ok(Some((op, rest))) => {
                found.push(op);
                bytes = rest;
            }
            Ok(None) => return (found, Ok(())),
            Err(error) => return (found, Err(error)),
        }
    }
}

type First<'a> = Result<Option<(Owned, &'a [u8])>, ProtocolError>;

fn first(limits: Limits, bytes: &[u8]) -> First<'_> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let limit = if bytes[0].eq_ignore_ascii_case(&b'I') {
        MAX_INFO
    } else {
        limits.max_control_line
    };
    let (line, rest) = match bytes.split_first_line() {
        Some((line, rest)) if line.len() < limit => (line, rest),
        None if bytes.len() <= limit => return Ok(None),
        _ => return Err(ProtocolError::LineTooLong),
    };
    let Some((b'\r', line)) = line.split_last() else {
        return Err(ProtocolError::LineEnd);
    };
    let verb_end = line.iter().position(|byte| b" \t".contains(byte));
    let (verb, arguments) = line.split_at(verb_end.unwrap_or(line.len()));
    let arguments = trimmed(arguments);
    let bare = |op| match arguments {
        [] => Ok(Some((op, rest))),
        _ => Err(ProtocolError::Fields),
    };
    match verb.to_ascii_uppercase().as_slice() {
        b"INFO" => Ok(Some((Owned::Info(arguments.to_vec()), rest))),
        b"PING" => bare(Owned::Ping),
        b"PONG" => bare(Owned::Pong),
        b"+OK" => bare(Owned::Ok),
        b"-ERR" => {
            let inner = arguments
                .strip_prefix(b"'")
                .and_then(|text| text.strip_suffix(b"'"));
            Ok(Some((
                Owned::Err(inner.unwrap_or(arguments).to_vec()),
                rest,
            )))
        }
        b"MSG" => message(limits, arguments, rest, false),
        b"HMSG" => message(limits, arguments, rest, true),
        _ => Err(ProtocolError::UnknownOperation),
    }
}

fn message<'a>(limits: Limits, arguments: &[u8], rest: &'a [u8], has_headers: bool) -> First<'a> {
    let mut fields: Vec<&[u8]> = arguments
        .split(|byte| b" \t".contains(byte))
        .filter(|field| !field.is_empty())
        .collect();
    let least = 3 + usize::from(has_headers);
    if fields.len() != least && fields.len() != least + 1 {
        return Err(ProtocolError::Fields);
    }
    let reply = (fields.len() > least).then(|| fields.remove(2).to_vec());
    let sid = number(fields[1], u64::MAX)?;
    let body = number(fields[least - 1], (1 << 31) - 1)? as usize;
    let head = if has_headers {
        number(fields[2], (1 << 31) - 1)? as usize
    } else {
        0
    };
    if head > body {
        return Err(ProtocolError::Number);
    }
    if body > limits.max_payload {
        let rest = rest.get(body + 2..).unwrap_or_default();
        return Ok(Some((Owned::Oversized(sid, body), rest)));
    }
    let Some((data, rest)) = rest.split_at_checked(body + 2) else {
        return Ok(None);
    };
    let Some(data) = data.strip_suffix(b"\r\n") else {
        return Err(ProtocolError::PayloadEnd);
    };
    let op = Owned::Msg {
        subject: fields[0].to_vec(),
        sid,
        reply,
        headers: data[..head].to_vec(),
        payload: data[head..].to_vec(),
    };
    Ok(Some((op, rest)))
}

fn number(digits: &[u8], max: u64) -> Result<u64, ProtocolError> {
    let text = std::str::from_utf8(digits).map_err(|_| ProtocolError::Number)?;
    if text.len() > 20 || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ProtocolError::Number);
    }
    let value = text.parse().map_err(|_| ProtocolError::Number)?;
    if value > max {
        Err(ProtocolError::Number)
    } else {
        Ok(value)
    }
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t', rest)) = bytes.split_first() {
        bytes = rest;
    }
    while let Some((b' ' | b'\t', rest)) = bytes.split_last() {
        bytes = rest;
    }
    bytes
}

trait FirstLine {
    fn split_first_line(&self) -> Option<(&[u8], &[u8])>;
}

impl FirstLine for [u8] {
    fn split_first_line(&self) -> Option<(&[u8], &[u8])> {
        let at = self.iter().position(|byte| *byte == b'\n')?;
        Some((&self[..at], &self[at + 1..]))
    }
}

/// Feeds the parser in reads of these sizes, over and over.
pub(crate) fn in_reads(limits: Limits, sizes: &[u8], mut stream: &[u8]) -> Outcome {
    let mut parser = Parser::new(limits);
    let mut sizes = sizes.iter().cycle();
    let mut found = Vec::new();
    let most = (limits.max_control_line + limits.max_payload + 2).max(MAX_INFO);
    while !stream.is_empty() {
        let size = sizes.next().map_or(stream.len(), |size| {
            usize::from(*size).clamp(1, stream.len())
        });
        let (mut read, rest) = stream.split_at(size);
        stream = rest;
        loop {
            match parser.next(&mut read) {
                Ok(Some(op)) => {
                    if let Op::Info(json) = op {
                        drop(ServerInfo::parse(json));
                    }
                    found.push(op.into());
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(
                        parser.next(&mut &b"PING\r\n"[..]),
                        Err(error),
                        "errors stay"
                    );
                    return (found, Err(error));
                }
            }
        }
        assert!(read.is_empty(), "input is left without an operation");
        assert!(parser.buffered() <= most, "the parser stores too much");
    }
    (found, Ok(()))
}

/// Two bytes for the limits, a byte for the number of read sizes, these, and then the stream: any cut of it must give
/// what one reading gives.
pub(crate) fn fuzz_parser(script: &[u8]) {
    let Some((&[line, payload, count], rest)) = script.split_first_chunk() else {
        return;
    };
    let Some((sizes, stream)) = rest.split_at_checked(usize::from(count % 16)) else {
        return;
    };
    let limits = Limits {
        max_control_line: 8 + usize::from(line),
        max_payload: usize::from(payload),
    };
    assert_eq!(
        in_reads(limits, sizes, stream),
        one_shot(limits, stream),
        "{limits:?} in reads of {sizes:?}: {}",
        stream.escape_ascii()
    );
}
