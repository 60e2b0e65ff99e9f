//! The end of a relay, and why one could not begin.

use super::MessageTcpDisconnect;
use crate::error::{ConnectError, DisconnectReason, SpawnError};
use crate::id::Alias;

/// A relay is over: the last message of both of its connections, exactly one. It comes instead of
/// their [`MessageTcpDisconnect`]; see
/// [`Context::relay`](crate::Context::relay).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageRelayEnd {
    /// The connection that was named first.
    pub first: RelayedConnection,
    /// The connection that was named second.
    pub second: RelayedConnection,
}

/// One side of a relay that is over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayedConnection {
    /// The connection.
    pub id: Alias,
    /// Why it ended. [`DisconnectReason::ClosedByPeer`] on both sides means that both peers ended
    /// their side and every byte was sent.
    pub reason: DisconnectReason,
    /// Bytes of its peer that were passed on to the other connection.
    pub forwarded: u64,
    /// Bytes that were accepted for its peer, by the relay or before it, and never given to the
    /// operating system.
    pub unsent: u64,
}

/// Why two connections could not be relayed. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// A connection cannot feed itself.
    #[error("cannot relay {0} with itself")]
    Same(Alias),
    /// The process that calls must own both connections.
    #[error("cannot relay {0}: another process owns it")]
    NotOwner(Alias),
    /// It is no TCP connection, or its Connect has not been delivered.
    #[error("cannot relay {0}: it is not an established connection")]
    NotEstablished(Alias),
    /// It has ended, is closing, has shut down its write side, or is relayed already.
    #[error("cannot relay {0}: it has ended or takes no more output")]
    Closed(Alias),
}

/// Why a session is not relayed to where [`SessionContext::relay_to`](crate::SessionContext::relay_to) was to connect
/// it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayFailure {
    /// An option is wrong, for instance a target that is no address, or the operating system refused at once.
    #[error(transparent)]
    Connect(ConnectError),
    /// The node is stopping or has reached its limit.
    #[error(transparent)]
    Spawn(SpawnError),
    /// The connection could not be made: its reason says why, and `failed_attempts` what each address said.
    #[error("not connected: {}", .0.reason)]
    Disconnected(Box<MessageTcpDisconnect>),
    /// The connection was made, and one of the two has ended just then.
    #[error(transparent)]
    Relay(RelayError),
}
