//! Bytes that several owners read: a frozen [`Buffer`].

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Buffer;

/// Bytes that are shared and no longer change. A clone is a reference count, so one message to many connections is
/// stored once.
///
/// It dereferences to `[u8]`. The memory returns to its pool when the last clone is dropped.
///
/// ```
/// use longshore::Buffer;
///
/// let greeting = Buffer::from("hello").freeze();
/// let copy = greeting.clone();
/// assert_eq!(&copy[..], b"hello");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct SharedBuffer(Arc<Buffer>);

impl Buffer {
    /// Makes the bytes immutable and shareable. This allocates the reference count and copies no byte.
    ///
    /// ```
    /// use longshore::Buffer;
    ///
    /// assert_eq!(Buffer::from("hello").freeze().len(), 5);
    /// ```
    #[must_use]
    pub fn freeze(self) -> SharedBuffer {
        SharedBuffer(Arc::new(self))
    }

    /// Takes the bytes out and leaves an empty buffer, as `std::mem::take` does.
    ///
    /// ```
    /// use longshore::Buffer;
    ///
    /// let mut input = Buffer::from("hello");
    /// assert_eq!(input.take(), Buffer::from("hello"));
    /// assert!(input.is_empty());
    /// ```
    #[must_use = "the bytes are lost otherwise; `clear` drops them"]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl Deref for SharedBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for SharedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for SharedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Into<Buffer>> From<T> for SharedBuffer {
    fn from(data: T) -> Self {
        data.into().freeze()
    }
}
