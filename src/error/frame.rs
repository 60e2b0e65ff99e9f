//! The error of a framing: why bytes from a peer are not frames.

/// Why bytes from a peer are not frames. The connection ends with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is longer than the maximum. This is known from the header as soon as it has arrived.
    #[error("a frame of {length} bytes is longer than the maximum of {max}")]
    TooLarge {
        /// The length that was announced; where none is, `max + 1`, because nothing beyond it is looked at.
        length: usize,
        /// The maximum that was set.
        max: usize,
    },
    /// The announced length counts the header and is shorter than it.
    #[error("a frame of {length} bytes is shorter than its header of {header_size}")]
    BelowHeader {
        /// The length that was announced.
        length: usize,
        /// Bytes in the header.
        header_size: usize,
    },
    /// A [`FrameDecoder`](crate::FrameDecoder) broke its contract.
    #[error("the custom decoder {problem}")]
    Broken {
        /// What it did.
        problem: &'static str,
    },
    /// A [`FrameDecoder`](crate::FrameDecoder) rejected the bytes.
    #[error("{0}")]
    Custom(String),
}

impl FrameError {
    /// Rejects bytes for a reason of the protocol.
    ///
    /// ```
    /// assert_eq!(longshore::FrameError::custom("bad magic").to_string(), "bad magic");
    /// ```
    #[must_use]
    pub fn custom(problem: impl Into<String>) -> Self {
        Self::Custom(problem.into())
    }
}
