//! The trace: what happened, one line for each step, with its virtual time.
//!
//! A line names nodes, processes, addresses and sizes, and never an address in memory or a `TypeId`, so the same seed
//! writes the same bytes. The hash covers every line; the ring keeps the last ones.

use std::collections::VecDeque;
use std::fmt;

use super::random::Hash;

/// Lines that are kept.
const KEPT: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: VecDeque<(u64, Box<str>)>,
    hash: Hash,
    written: u64,
    is_on: bool,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self {
            lines: VecDeque::new(),
            hash: Hash::EMPTY,
            written: 0,
            is_on: true,
        }
    }

    pub(crate) fn set_on(&mut self, is_on: bool) {
        self.is_on = is_on;
    }

    /// Adds a line, when the trace is on.
    #[inline]
    pub(crate) fn add(&mut self, now_ns: u64, line: fmt::Arguments<'_>) {
        if self.is_on {
            self.write(now_ns, line);
        }
    }

    fn write(&mut self, now_ns: u64, line: fmt::Arguments<'_>) {
        let line = line.to_string().into_boxed_str();
        self.hash.add(now_ns);
        for chunk in line.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash.add(u64::from_le_bytes(word));
        }
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back((now_ns, line));
        self.written += 1;
    }

    /// The hash of every line since the start.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.0
    }

    /// The last `lines` lines, each with its time in seconds.
    pub(crate) fn end(&self, lines: usize) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        let skipped = self.lines.len().saturating_sub(lines);
        if skipped > 0 || self.written > self.lines.len() as u64 {
            let before = self.written - (self.lines.len() - skipped) as u64;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  … {before} lines before");
        }
        for (now_ns, line) in self.lines.iter().skip(skipped) {
            let (seconds, micros) = (now_ns / 1_000_000_000, now_ns / 1_000 % 1_000_000);
            let _ = writeln!(text, "  {seconds:>4}.{micros:06} s  {line}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_a_trace_has_the_last_lines_and_the_number_of_those_before() {
        let mut trace = Trace::new();
        for number in 0..5 {
            trace.add(number * 1_500_000, format_args!("line {number}"));
        }
        let end = trace.end(2);
        assert_eq!(
            end,
            "  … 3 lines before\n     0.004500 s  line 3\n     0.006000 s  line 4\n"
        );
    }

    #[test]
    fn hash_depends_on_times_and_on_lines_that_are_no_longer_kept() {
        let hash_of = |first: u64, text: &str| {
            let mut trace = Trace::new();
            trace.add(first, format_args!("{text}"));
            for _ in 0..KEPT + 1 {
                trace.add(7, format_args!("same"));
            }
            assert_eq!(trace.lines.len(), KEPT);
            trace.hash()
        };
        assert_eq!(hash_of(1, "a"), hash_of(1, "a"));
        assert_ne!(hash_of(1, "a"), hash_of(2, "a"));
        assert_ne!(hash_of(1, "a"), hash_of(1, "b"));
    }

    #[test]
    fn trace_that_is_off_has_no_line() {
        let mut trace = Trace::new();
        trace.set_on(false);
        trace.add(1, format_args!("line"));
        assert_eq!((trace.end(10).as_str(), trace.hash()), ("", Hash::EMPTY.0));
    }
}
