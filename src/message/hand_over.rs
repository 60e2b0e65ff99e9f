//! Why a connection could not be handed over.

use crate::id::{Alias, Pid};

/// Why [`Context::hand_over`](crate::Context::hand_over) refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// Only the owner of a connection may hand it over.
    #[error("cannot hand {0} over: another process owns it")]
    NotOwner(Alias),
    /// It is no TCP connection, or its Connect has not been delivered.
    #[error("cannot hand {0} over: it is not an established connection")]
    NotEstablished(Alias),
    /// It has ended, or it is relayed.
    #[error("cannot hand {0} over: it has ended or is relayed")]
    Closed(Alias),
    /// The process has ended, or it is the one that calls.
    #[error("cannot hand a connection over to {0}: there is no such other process")]
    NoProcess(Pid),
    /// A pool would spread the bytes of one connection over its workers, and a session has a
    /// connection of its own.
    #[error("cannot hand a connection over to {0}: it is a pool or a session")]
    NotAnOwner(Pid),
}
