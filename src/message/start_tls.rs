//! Why TLS could not be started on a live connection.

use crate::id::Alias;

/// Why [`Context::start_tls`](crate::Context::start_tls) refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartTlsError {
    /// Only the owner of a connection may start TLS on it.
    #[error("cannot start tls on {0}: another process owns it")]
    NotOwner(Alias),
    /// It is no TCP connection, or its Connect has not been delivered.
    #[error("cannot start tls: there is no established connection")]
    NotEstablished,
    /// It has ended, is closing, has shut down its write side, or is relayed.
    #[error("cannot start tls on {0}: it has ended, is closing, or is relayed")]
    Closed(Alias),
    /// It uses TLS, or a handshake is on its way.
    #[error("cannot start tls on {0}: it uses tls already")]
    AlreadyStarted(Alias),
}
