//! The JSON of INFO and CONNECT (RFC 8259), strict and bounded: no input makes it recurse deeper than [`MAX_DEPTH`],
//! and what it allocates is at most a small multiple of the input, which the parser bounds.

use std::fmt::Write as _;

/// Arrays and objects inside each other.
const MAX_DEPTH: u32 = 16;

/// A value. Numbers keep their text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    String(String),
    Array(Vec<Self>),
    /// In the order of the text; of two equal names both are there.
    Object(Vec<(String, Self)>),
}

impl Value<'_> {
    /// The last value of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else {
            return None;
        };
        // The last of two equal names wins, as in most parsers.
        let found = fields.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    }
}

/// Reads one value and nothing behind it.
///
/// # Errors
///
/// What is wrong with the text.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value<'_>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at == text.len() {
        Ok(value)
    } else {
        Err("bytes behind the value")
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes the byte if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, depth: u32) -> Result<Value<'a>, &'static str> {
        self.skip_space();
        match self.peek() {
            // The depth is the only thing that recursion follows: with the limit no text can exhaust the stack.
            Some(b'{') if depth < MAX_DEPTH => self.object(depth + 1),
            Some(b'[') if depth < MAX_DEPTH => self.array(depth + 1),
            Some(b'{' | b'[') => Err("nested too deep"),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err("no value begins so"),
            None => Err("the text ends too early"),
        }
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, &'static str> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err("no value begins so")
        }
    }

    fn object(&mut self, depth: u32) -> Result<Value<'a>, &'static str> {
        self.at += 1;
        let mut fields = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err("a name is missing");
            }
            let name = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err("a colon is missing");
            }
            fields.push((name, self.value(depth)?));
            self.skip_space();
            if self.take(b'}') {
                return Ok(Value::Object(fields));
            }
            if !self.take(b',') {
                return Err("a comma is missing");
            }
        }
    }

    fn array(&mut self, depth: u32) -> Result<Value<'a>, &'static str> {
        self.at += 1;
        let mut values = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            values.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Value::Array(values));
            }
            if !self.take(b',') {
                return Err("a comma is missing");
            }
        }
    }

    fn digits(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            Err("a digit is missing")
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Result<Value<'a>, &'static str> {
        let start = self.at;
        self.take(b'-');
        // A zero at the front stands alone: RFC 8259 allows no other digits behind it.
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Value::Number(&self.text[start..self.at]))
    }

    fn string(&mut self) -> Result<String, &'static str> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            // Searched by bytes: in UTF-8 none of these is a part of another character.
            let plain = rest
                .bytes()
                .position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20)
                .ok_or("a string has no end")?;
            string.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                _ => return Err("a control character in a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, &'static str> {
        self.at += 1;
        let escaped = self.peek().ok_or("a string has no end")?;
        self.at += 1;
        Ok(match escaped {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.escaped_unicode(),
            _ => return Err("an unknown escape"),
        })
    }

    /// `\uXXXX`, or two of them for a character outside of the basic plane.
    fn escaped_unicode(&mut self) -> Result<char, &'static str> {
        const LONE: &str = "half of a surrogate pair";
        let high = self.hex()?;
        // Half of a pair is no character.
        if !(0xd800..0xdc00).contains(&high) {
            return char::from_u32(high).ok_or(LONE);
        }
        if !(self.take(b'\\') && self.take(b'u')) {
            return Err(LONE);
        }
        let low = self.hex()?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(LONE);
        }
        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or(LONE)
    }

    fn hex(&mut self) -> Result<u32, &'static str> {
        const WRONG: &str = "four hexadecimal digits are missing";
        // `get` and not an index: the four bytes may end inside of a character.
        let digits = self.text.get(self.at..self.at + 4).ok_or(WRONG)?;
        // `from_str_radix` would accept a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| WRONG)
    }
}

/// Appends a string with its quotes.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{0}'..='\u{1f}' => {
                write!(out, "\\u{:04x}", character as u32)
                    .expect("writing to a String cannot fail");
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}
