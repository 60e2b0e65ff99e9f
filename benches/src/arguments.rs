//! The command line: positional words, `--key value` pairs and `--flag`s.
//!
//! It does not know which options exist; [`Arguments::refuse_unknown`] finds a misspelled one.

use std::collections::{BTreeMap, BTreeSet};
use std::{cell::RefCell, env, process, str::FromStr};

/// A parsed command line that remembers which options were asked for.
#[derive(Debug, Default)]
pub struct Arguments {
    words: Vec<String>,
    options: BTreeMap<String, String>,
    known: RefCell<BTreeSet<String>>,
}

impl Arguments {
    /// Reads the process's own command line.
    pub fn from_env() -> Self {
        Self::parse(env::args().skip(1))
    }

    /// Splits words from options; an option followed by another option (or by nothing) is a flag.
    pub fn parse(items: impl IntoIterator<Item = String>) -> Self {
        let mut parsed = Self::default();
        let mut items = items.into_iter().peekable();
        while let Some(item) = items.next() {
            let Some(key) = item.strip_prefix("--") else {
                parsed.words.push(item);
                continue;
            };
            let value = items
                .next_if(|next| !next.starts_with("--"))
                .unwrap_or_else(|| "true".into());
            parsed.options.insert(key.to_owned(), value);
        }
        parsed
    }

    /// The positional word at `index`.
    pub fn word(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(String::as_str)
    }

    /// The text of an option, if it was given.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.known.borrow_mut().insert(key.to_owned());
        self.options.get(key).map(String::as_str)
    }

    /// True if the flag was given.
    pub fn flag(&self, key: &str) -> bool {
        self.text(key).is_some_and(|value| value != "false")
    }

    /// An option as a value, or `default`; ends the process with a message if it does not parse.
    pub fn value<T: FromStr>(&self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// An option as a value, or none; ends the process with a message if it does not parse.
    pub fn optional<T: FromStr>(&self, key: &str) -> Option<T> {
        let text = self.text(key)?;
        Some(
            text.parse()
                .unwrap_or_else(|_| refuse(&format!("--{key} does not accept {text:?}"))),
        )
    }

    /// An option that must be there; ends the process with a message if it is not.
    pub fn required<T: FromStr>(&self, key: &str) -> T {
        self.optional(key)
            .unwrap_or_else(|| refuse(&format!("--{key} is missing")))
    }

    /// A list separated by commas; empty if the option was not given.
    pub fn list(&self, key: &str) -> Vec<String> {
        self.text(key)
            .map(|text| text.split(',').map(str::to_owned).collect())
            .unwrap_or_default()
    }

    /// Ends the process if an option was given that the program has not read; call it after the last read.
    pub fn refuse_unknown(&self) {
        let known = self.known.borrow();
        if let Some(key) = self.options.keys().find(|key| !known.contains(*key)) {
            refuse(&format!("unknown option --{key}"));
        }
    }
}

/// Prints a usage error and ends the process with status 2.
pub fn refuse(message: &str) -> ! {
    eprintln!("{message}");
    process::exit(2)
}
