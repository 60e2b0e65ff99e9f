//! What can go wrong, by the verb.

use std::fmt;
use std::sync::Arc;

use crate::memory::buffer::Buffer;

/// Why an operation on NATS failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// No process subscribes to the subject of the request.
    #[error("no responders")]
    NoResponders,
    /// No answer came in time.
    #[error("timed out")]
    Timeout,
    /// The connection was lost before the answer. Whether the request arrived is not known.
    #[error("the connection was lost")]
    Disconnected,
    /// The client has been drained, or its process has ended.
    #[error("the client has ended")]
    Closed,
    /// The bytes that wait for the server have reached the limit.
    #[error("the bytes that wait for the server have reached the limit")]
    Full,
    /// Headers and payload are larger than the server accepts.
    #[error("larger than the {max} bytes that the server accepts")]
    TooLarge {
        /// The server's `max_payload`, in bytes.
        max: usize,
    },
    /// The subject, queue group or name is malformed.
    #[error("the subject, queue group or name is malformed")]
    Subject,
    /// A header's name or value is malformed.
    #[error("a header's name or value is malformed")]
    Header,
    /// The nkey's seed is malformed, or the crypto provider has no Ed25519.
    #[error("the nkey's seed is malformed, or the crypto provider has no Ed25519")]
    Nkey,
    /// This needs the feature `tls`.
    #[error("this needs the feature `tls`")]
    Unsupported,
    /// The server denied it; its words.
    #[error("the server denied it: {0}")]
    Denied(Arc<str>),
    /// A subscriber had too many unhandled messages, and its subscription says that this ends it.
    #[error("the subscriber was too slow")]
    Slow,
}

/// A message was not published. It comes back.
#[non_exhaustive]
pub struct PublishError {
    /// Why.
    pub error: NatsError,
    /// The payload.
    pub data: Buffer,
}

impl fmt::Debug for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishError")
            .field("error", &self.error)
            .field("bytes", &self.data.len())
            .finish()
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not published: {}", self.error)
    }
}

impl std::error::Error for PublishError {}
