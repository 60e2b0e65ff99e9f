//! A hand-over on its way to the connection.

use crate::id::Pid;

/// Asks a connection to move from one owner to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    pub(crate) from: Pid,
    pub(crate) to: Pid,
}

/// Notifies a session that it should come to its end.
#[derive(Debug)]
pub(crate) struct SessionDrained;

/// Answers a session that has asked whether its connection has more input, behind the input that was found.
#[derive(Debug)]
pub(crate) struct SocketReport {
    /// A read has found the socket empty, and no TLS record is incomplete.
    pub(crate) is_empty: bool,
}

/// Notifies a session that all input of a connection has gone back to it.
#[derive(Debug)]
pub(crate) struct InputReturned(pub(crate) crate::id::Alias);
