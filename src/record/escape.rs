//! Text from outside, made safe for a terminal and for a file of lines.
//!
//! Control characters (ANSI sequences begin with one), line separators and the characters that
//! change the direction of writing are written as Rust escapes, so that a record is one line and
//! looks like what it is. Text beyond a limit is cut.

use std::fmt::{self, Write};

/// Bytes of escaped text in a record; the rest is counted.
pub(super) const LIMIT: usize = 1_024;

/// Writes escaped text to `out`, up to [`LIMIT`] bytes.
pub(super) struct Escape<'a, W> {
    out: &'a mut W,
    room: usize,
    cut: usize,
}

impl<'a, W: Write> Escape<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Self {
        Self {
            out,
            room: LIMIT,
            cut: 0,
        }
    }

    /// Writes `text` escaped, and how many bytes of it were cut.
    pub(super) fn write(mut self, text: impl fmt::Display) -> fmt::Result {
        write!(self, "{text}")?;
        match self.cut {
            0 => Ok(()),
            cut => write!(self.out, "… ({cut} bytes more)"),
        }
    }
}

impl<W: Write> Write for Escape<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (at, character) in text.char_indices() {
            let length = if is_unsafe(character) {
                character.escape_default().len()
            } else {
                character.len_utf8()
            };
            // What has been cut once is cut to the end: a later character that fits would make the text look whole.
            if self.cut > 0 || length > self.room {
                self.room = 0;
                self.cut += text.len() - at;
                break;
            }
            self.room -= length;
            if is_unsafe(character) {
                write!(self.out, "{}", character.escape_default())?;
            } else {
                self.out.write_char(character)?;
            }
        }
        Ok(())
    }
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        // No control characters, but they change the direction of what follows or end a line, so that a record could
        // look like another one (CVE-2021-42574).
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        Escape::new(&mut out).write(text).expect("a string");
        out
    }

    #[test]
    fn control_characters_and_directions_are_escaped_and_letters_are_not() {
        assert_eq!(escaped("\x1b[2J\r\n"), "\\u{1b}[2J\\r\\n");
        assert_eq!(
            escaped("\u{9b}31m\u{202e}x\u{2028}"),
            "\\u{9b}31m\\u{202e}x\\u{2028}"
        );
        assert_eq!(escaped("\u{61c}"), "\\u{61c}");
        assert_eq!(escaped("naïve \"日本\""), "naïve \"日本\"");
    }

    #[test]
    fn long_text_is_cut_at_a_letter_and_the_rest_is_counted() {
        let text = "é".repeat(LIMIT);
        let out = escaped(&text);
        assert_eq!(
            out,
            format!("{}… ({LIMIT} bytes more)", "é".repeat(LIMIT / 2))
        );
        assert_eq!(escaped(&"x".repeat(LIMIT)), "x".repeat(LIMIT));
        assert!(escaped(&"\x07".repeat(1 << 20)).len() < LIMIT + 40);
    }

    #[test]
    fn nothing_follows_a_cut() {
        let mut out = String::new();
        let long = "x".repeat(LIMIT);
        let text = format_args!("{long}{}{}", "\x07", "y").to_string();
        Escape::new(&mut out).write(text).expect("a string");
        assert!(out.ends_with("x… (2 bytes more)"), "{out}");
    }
}
