//! How a non-blocking connect has ended, as the socket says it after an event.

use std::io;
use std::net::SocketAddr;

use crate::meta::Readiness;
use crate::net::stream::{Stream, canonical};

/// Where an attempt stands.
pub(super) enum Outcome {
    /// The event was not about the connection.
    Pending,
    /// With this peer, as the system shows it: a zone that means nothing there, or the unspecified address, is not its
    /// own.
    Connected(SocketAddr),
    /// Both ends are this socket.
    Itself,
    Failed(io::Error),
}

/// Asks the socket how the attempt stands. A connection whose both ends are the same socket is a simultaneous open (RFC
/// 9293 section 3.5).
pub(super) fn outcome(stream: &Stream, readiness: Readiness) -> Outcome {
    let error = match stream.take_error() {
        Ok(None) => match stream.peer_addr() {
            Ok(peer)
                // A stream of the Unix family has no port by which it could meet itself.
                if matches!(stream, Stream::Tcp(_)) && stream.local_addr() == canonical(peer) =>
            {
                return Outcome::Itself;
            }
            Ok(peer) => return Outcome::Connected(peer),
            Err(error) => error,
        },
        // The socket has an error: that it is not connected yet is none.
        Ok(Some(error)) | Err(error) => return Outcome::Failed(error),
    };
    // With a hang-up there will be no other event: the socket was reset, and its error has been read already, or it was
    // never connected.
    if error.kind() == io::ErrorKind::NotConnected && !readiness.is_hang_up() {
        Outcome::Pending
    } else {
        Outcome::Failed(error)
    }
}
