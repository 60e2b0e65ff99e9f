//! Headers of a message, as the protocol's HPUB and HMSG carry them.

use std::fmt;

use super::error::NatsError;
use crate::memory::buffer::Buffer;

const VERSION: &[u8] = b"NATS/1.0";

/// Headers of a message: pairs of a name and a value, in order. Names are compared without regard to ASCII case; one
/// name may come several times.
///
/// Received headers are read when they are looked at: a line without a colon, which any publisher can send, is passed
/// over.
///
/// ```
/// use longshore::nats::Headers;
///
/// # fn main() -> Result<(), longshore::nats::NatsError> {
/// let headers = Headers::new().with("Trace-Id", "7")?;
/// assert_eq!(headers.get("trace-id"), Some("7"));
/// assert!(Headers::new().with("no colon: here", "7").is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Buffer);

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Buffer::new())
    }

    pub(super) fn from_block(block: Buffer) -> Self {
        Self(block)
    }

    /// Adds a pair behind the others.
    ///
    /// # Errors
    ///
    /// [`NatsError::Header`]: the name is empty or has other than visible ASCII characters or a colon, or the value has
    /// a control character.
    pub fn with(
        mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<Self, NatsError> {
        let (name, value) = (name.as_ref(), value.as_ref());
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        // A line break in a value would be a header of its own.
        if !is_name || name.contains(':') || value.chars().any(|character| character.is_control()) {
            return Err(NatsError::Header);
        }
        if self.0.is_empty() {
            self.0.extend_from_slice(VERSION);
            self.0.extend_from_slice(b"\r\n\r\n");
        }
        // The empty line stays the last one.
        let end = self.0.len() - 2;
        self.0.truncate(end);
        for part in [name, ": ", value, "\r\n\r\n"] {
            self.0.extend_from_slice(part.as_bytes());
        }
        Ok(self)
    }

    /// The first value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        lines(&self.0).skip(1).filter_map(|line| {
            let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
            Some((name.trim(), value.trim()))
        })
    }

    /// The status of a message that the server made, as 503 for "no responders".
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let first = lines(&self.0).next()?.strip_prefix(VERSION)?;
        let digits = first.trim_ascii().get(..3)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The block as it travels.
    pub(super) fn block(&self) -> &[u8] {
        &self.0
    }
}

/// The lines of a block, without their ends.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_found_in_order_and_travels_as_the_protocol_says() {
        let headers = Headers::new()
            .with("A", "1")
            .and_then(|headers| headers.with("b", ""))
            .and_then(|headers| headers.with("a", "x: y"))
            .expect("valid headers");
        assert_eq!(
            headers.block(),
            b"NATS/1.0\r\nA: 1\r\nb: \r\na: x: y\r\n\r\n"
        );
        assert_eq!(headers.get("a"), Some("1"));
        let all: Vec<_> = headers.iter().collect();
        assert_eq!(all, [("A", "1"), ("b", ""), ("a", "x: y")]);
        assert_eq!(headers.status(), None);
    }

    #[test]
    fn names_and_values_that_would_break_the_block_are_refused() {
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a:", "x"),
            ("a\r\n", "x"),
            ("a", "x\r\nb: y"),
            ("ä", "x"),
        ] {
            assert_eq!(
                Headers::new().with(name, value),
                Err(NatsError::Header),
                "{name:?}: {value:?}"
            );
        }
    }

    #[test]
    fn malformed_lines_of_a_publisher_are_passed_over() {
        let received = |block: &[u8]| Headers::from_block(Buffer::from(block));
        let headers =
            received(b"NATS/1.0 503 No Responders\r\nno colon\r\n\xff: x\r\nok: 1\r\n\r\n");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("ok", "1")]);
        assert_eq!(headers.status(), Some(503));
        assert_eq!(received(b"NATS/1.0 5").status(), None);
        assert_eq!(received(b"nonsense").iter().count(), 0);
    }
}
