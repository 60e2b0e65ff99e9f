//! The NATS client protocol as bytes: what a server sends, what a client sends, and the JSON between them.
//!
//! ```text
//!  bytes of any size ─▶ Parser ─▶ Op (borrows from the input where it can)
//!  encode::{publish, subscribe, …} ─▶ bytes
//!  INFO {json} ─▶ ServerInfo          ConnectOptions ─▶ CONNECT {json}
//! ```
//!
//! The source of every rule is the page "Client Protocol" of the NATS documentation. Memory is bounded by [`Limits`]: a
//! line or a payload beyond them is never stored. This module knows neither sockets nor clocks, and not the order in
//! which operations may come: that is `session`'s part.

pub(super) mod encode;
pub(super) mod info;
pub(super) mod json;
mod parser;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
#[cfg(test)]
mod tests;

pub(crate) use parser::Parser;

/// The longest INFO line, in bytes: a server of a large cluster lists the addresses of all its peers in it.
pub(crate) const MAX_INFO: usize = 64 << 10;

/// The largest size that a line may name, in bytes. What is larger than the payload limit but not than this is skipped.
const MAX_SIZE: usize = (1 << 31) - 1;

/// What the parser stores at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The longest line but for INFO, in bytes, its end included.
    pub(crate) max_control_line: usize,
    /// The largest headers and payload together, in bytes.
    pub(crate) max_payload: usize,
}

/// One operation of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    /// The JSON of an INFO.
    Info(&'a [u8]),
    /// MSG or HMSG.
    Msg(Msg<'a>),
    /// A message of that subscription was larger than the payload limit. Its bytes are skipped.
    Oversized {
        /// The subscription.
        sid: u64,
        /// Size of its headers and payload.
        bytes: usize,
    },
    /// PING.
    Ping,
    /// PONG.
    Pong,
    /// +OK.
    Ok,
    /// The text of an -ERR, without its quotes.
    Err(&'a [u8]),
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Msg<'a> {
    /// Where it was published. A server does not check that it is UTF-8.
    pub(crate) subject: &'a [u8],
    /// The subscription that it is for.
    pub(crate) sid: u64,
    /// Where an answer goes.
    pub(crate) reply: Option<&'a [u8]>,
    /// The header block with its version line; empty if there is none.
    pub(crate) headers: &'a [u8],
    /// The payload.
    pub(crate) payload: &'a [u8],
}

/// The server broke the protocol. No operation follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// A line without an end within the limit.
    #[error("a line is longer than the limit")]
    LineTooLong,
    /// A line that ends with LF alone.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// A line that begins with no operation of a server.
    #[error("an operation that no server sends")]
    UnknownOperation,
    /// An operation with too few or too many fields.
    #[error("an operation has the wrong number of fields")]
    Fields,
    /// A subscription id or size that is not a number in range.
    #[error("a number is malformed or out of range")]
    Number,
    /// Bytes other than CR LF behind a payload.
    #[error("a payload does not end with CR LF")]
    PayloadEnd,
    /// INFO whose JSON is malformed.
    #[error("INFO is malformed: {0}")]
    Info(&'static str),
    /// An operation that may not come at this point.
    #[error("out of order: {0}")]
    OutOfOrder(&'static str),
}
