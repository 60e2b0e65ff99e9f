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

/// Answers a session that has asked: a read has found the socket empty, and the session was given all that came before.
#[derive(Debug)]
pub(crate) struct SocketEmpty;

/// Notifies a session that all input of a connection has gone back to it.
#[derive(Debug)]
pub(crate) struct InputReturned(pub(crate) crate::id::Alias);
