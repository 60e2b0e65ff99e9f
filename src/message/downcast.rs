//! The error of a message that has another type.

use std::any::type_name;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Message;

/// A message has another type than was asked for; it comes back.
///
/// ```
/// use longshore::Message;
///
/// let error = Message::new(7_u32).downcast::<String>().unwrap_err();
/// assert_eq!(error.to_string(), "message of type u32, not alloc::string::String");
/// assert_eq!(error.into_message().downcast::<u32>().unwrap(), 7);
/// ```
pub struct DowncastError {
    /// A message is `Send` alone, and an error is to be `Sync`. The lock is never waited for.
    message: Mutex<Message>,
    wanted: &'static str,
}

impl DowncastError {
    #[inline]
    pub(super) fn new<T>(message: Message) -> Self {
        Self {
            message: Mutex::new(message),
            wanted: type_name::<T>(),
        }
    }

    /// The type that was asked for, as [`std::any::type_name`] names it.
    pub fn wanted(&self) -> &'static str {
        self.wanted
    }

    /// Returns the message.
    pub fn into_message(self) -> Message {
        self.message
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The type of the message.
    pub fn found(&self) -> &'static str {
        self.message
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .type_name()
    }
}

impl From<DowncastError> for Message {
    fn from(error: DowncastError) -> Self {
        error.into_message()
    }
}

impl fmt::Display for DowncastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message of type {}, not {}", self.found(), self.wanted)
    }
}

impl fmt::Debug for DowncastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DowncastError")
            .field("wanted", &self.wanted)
            .field("found", &self.found())
            .finish()
    }
}

impl std::error::Error for DowncastError {}
