//! Writing to a connection: the bytes, the answer of a paced write, and its error.

use std::fmt;

use crate::memory::buffer::{Buffer, SharedBuffer};

/// Bytes of a write: a [`Buffer`], or one that several connections share.
///
/// Everything that converts into a [`Buffer`] converts into this, so texts, vectors and buffers can be written as they
/// are.
///
/// ```
/// use longshore::{Buffer, SharedBuffer, WriteData};
///
/// let shared: SharedBuffer = Buffer::from("to all").freeze();
/// assert_eq!(WriteData::from(&shared).len(), 6);
/// assert_eq!(WriteData::from("to one").len(), 6);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WriteData {
    /// Bytes of one connection.
    Owned(Buffer),
    /// Bytes that are not copied for each connection.
    Shared(SharedBuffer),
}

impl WriteData {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(data) => data.len(),
            Self::Shared(data) => data.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Into<Buffer>> From<T> for WriteData {
    #[inline]
    fn from(data: T) -> Self {
        Self::Owned(data.into())
    }
}

impl From<SharedBuffer> for WriteData {
    fn from(data: SharedBuffer) -> Self {
        Self::Shared(data)
    }
}

impl From<&SharedBuffer> for WriteData {
    fn from(data: &SharedBuffer) -> Self {
        Self::Shared(data.clone())
    }
}

/// What a connection says to a write that it has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "above the high mark, wait for the Writable before the next write"]
pub enum Flow {
    /// More is welcome.
    Open,
    /// The output is above its high mark. A [`MessageTcpWritable`](crate::MessageTcpWritable) follows when it has
    /// fallen to the low mark, or the connection's [`MessageTcpDisconnect`](crate::MessageTcpDisconnect).
    AboveHigh,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteErrorKind {
    /// The connection has ended, is closing, or its write side is shut down.
    Closed,
    /// The connection is lost and will be made anew: write again when its Connect has come.
    Reconnecting,
    /// The output limit is reached; for a process that is not the owner, the high mark.
    Full,
    /// More than 2^29 - 1 bytes in one write.
    TooLarge,
}

/// A write that was refused. Its bytes come back with [`WriteError::into_data`].
#[derive(Debug, thiserror::Error)]
#[error("cannot write: {}", .kind.text())]
pub struct WriteError {
    kind: WriteErrorKind,
    data: WriteData,
}

impl WriteErrorKind {
    fn text(self) -> &'static str {
        match self {
            Self::Closed => "the connection is closed or closing",
            Self::Reconnecting => "the connection is lost and will be made anew",
            Self::Full => "the output limit is reached",
            Self::TooLarge => "more than 2^29 - 1 bytes in one write",
        }
    }
}

impl fmt::Display for WriteErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl WriteError {
    #[cold]
    pub(crate) fn new(kind: WriteErrorKind, data: WriteData) -> Self {
        Self { kind, data }
    }

    pub(crate) fn closed(data: WriteData) -> Self {
        Self::new(WriteErrorKind::Closed, data)
    }

    /// Why the write was refused.
    pub fn kind(&self) -> WriteErrorKind {
        self.kind
    }

    /// The bytes, as they were given.
    pub fn into_data(self) -> WriteData {
        self.data
    }
}
