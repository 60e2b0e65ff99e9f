//! [`OsError`]: what the operating system answered, in a value that can be copied and compared.
//!
//! `io::Error` can do neither, and its kind alone is not enough: EMSGSIZE and ENOBUFS have the same one.

use std::fmt;
use std::io;

/// An error of the operating system: its kind, and its number where the system gave one.
///
/// It compares with a kind as well, so that most programs never look at the number.
///
/// ```
/// use longshore::OsError;
/// use std::io::{self, ErrorKind};
///
/// let refused = OsError::from(io::Error::from_raw_os_error(111)); // ECONNREFUSED on Linux
/// assert_eq!(refused.raw_os_error(), Some(111));
/// # #[cfg(target_os = "linux")]
/// assert_eq!(refused, ErrorKind::ConnectionRefused);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OsError {
    kind: io::ErrorKind,
    number: Option<i32>,
}

impl OsError {
    /// The kind, as std groups the errors of all systems.
    ///
    /// ```
    /// use longshore::OsError;
    /// use std::io::ErrorKind;
    ///
    /// assert_eq!(OsError::from(ErrorKind::TimedOut).kind(), ErrorKind::TimedOut);
    /// ```
    pub fn kind(self) -> io::ErrorKind {
        self.kind
    }

    /// The number of the error, see errno(3). `None`: the error was not one of the operating system.
    ///
    /// ```
    /// use longshore::OsError;
    /// use std::io::ErrorKind;
    ///
    /// assert_eq!(OsError::from(ErrorKind::TimedOut).raw_os_error(), None);
    /// ```
    pub fn raw_os_error(self) -> Option<i32> {
        self.number
    }
}

impl From<&io::Error> for OsError {
    fn from(error: &io::Error) -> Self {
        Self {
            kind: error.kind(),
            number: error.raw_os_error(),
        }
    }
}

impl From<io::Error> for OsError {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

impl From<io::ErrorKind> for OsError {
    fn from(kind: io::ErrorKind) -> Self {
        Self { kind, number: None }
    }
}

impl From<OsError> for io::Error {
    fn from(error: OsError) -> Self {
        match error.number {
            // With its number the error has the text of the system. The kind alone has a shorter one of std.
            Some(number) => Self::from_raw_os_error(number),
            None => Self::from(error.kind),
        }
    }
}

impl PartialEq<io::ErrorKind> for OsError {
    fn eq(&self, kind: &io::ErrorKind) -> bool {
        self.kind == *kind
    }
}

/// The text of the operating system.
impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from(*self).fmt(f)
    }
}

impl std::error::Error for OsError {}
