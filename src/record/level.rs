//! How serious a record is.

use std::fmt;
use std::str::FromStr;

/// How serious a record is, most serious first: `Level::Error < Level::Debug`.
///
/// A node makes the records up to its level; see
/// [`NodeOptions::log_level`](crate::NodeOptions::log_level).
///
/// ```
/// use longshore::Level;
///
/// assert!(Level::Error < Level::Warn);
/// assert_eq!("debug".parse(), Ok(Level::Debug));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Level {
    /// Something ended that was not asked to end.
    // From 1, because the code 0 stands for no level.
    Error = 1,
    /// Something was lost or refused.
    Warn,
    /// Something of interest happened.
    Info,
    /// What helps to find out why.
    Debug,
    /// Every step.
    Trace,
}

impl Level {
    const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// The level as a number above zero.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The level of a number; `None` for zero, which stands for no level.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.code() == code)
    }

    /// The level in capitals, as it stands in a line of standard error.
    ///
    /// ```
    /// assert_eq!(longshore::Level::Warn.as_str(), "WARN");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level is one of error, warn, info, debug and trace")]
pub struct ParseLevelError;

impl FromStr for Level {
    type Err = ParseLevelError;

    fn from_str(text: &str) -> Result<Self, ParseLevelError> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text))
            .ok_or(ParseLevelError)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_level_survives_its_code_and_its_name() {
        for level in Level::ALL {
            assert_eq!(Level::from_code(level.code()), Some(level));
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!(Level::from_code(0), None);
        assert_eq!("loud".parse::<Level>(), Err(ParseLevelError));
    }
}
