//! What lists show of the sockets that belong to the crate, typed.

use std::net::SocketAddr;

use crate::id::Pid;

/// What a meta-process is, with the figures that belong to it; of
/// [`SocketInfo`](crate::SocketInfo).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketKind {
    /// A listener for streams.
    Listener(ListenerInfo),
    /// A connection, accepted or of a client, or one that a client still waits for.
    Connection(ConnectionInfo),
    /// A socket for datagrams.
    Datagram(DatagramInfo),
    /// A meta-process of the program.
    #[default]
    Other,
}

impl SocketKind {
    /// The kind as a word: `listener`, `connection`, `datagram` or `other`.
    ///
    /// ```
    /// assert_eq!(longshore::SocketKind::Other.as_str(), "other");
    /// ```
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Listener(_) => "listener",
            Self::Connection(_) => "connection",
            Self::Datagram(_) => "datagram",
            Self::Other => "other",
        }
    }
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerInfo {
    /// Its address; `None` for a Unix socket.
    pub local_addr: Option<SocketAddr>,
    /// `accepting`, `paused` by its parent, or what it waits for.
    pub state: &'static str,
    /// Connections open now, those in a handshake included.
    pub connections: usize,
    /// Connections in a handshake.
    pub handshaking: usize,
    /// Connections accepted since it was spawned.
    pub accepted: u64,
    /// Connections closed because of a limit.
    pub refused: u64,
    /// Connections that ended before their handshake was done.
    pub handshakes_failed: u64,
    /// Connections closed because no process of the pool was alive.
    pub no_owner: u64,
    /// Errors of `accept`.
    pub errors: u64,
    /// How often it has stopped accepting for a while.
    pub pauses: u64,
    /// Bytes received by its connections that have ended.
    pub ended_bytes_in: u64,
    /// Bytes sent by its connections that have ended.
    pub ended_bytes_out: u64,
    /// Bytes accepted for connections that have ended, and not sent.
    pub ended_unsent: u64,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// `resolving`, `connecting`, `handshaking`, `open`, or how far its end has come.
    pub state: &'static str,
    /// The peer; `None` before it is known. For a Unix socket, an address of zeros.
    pub remote_addr: Option<SocketAddr>,
    /// This side.
    pub local_addr: Option<SocketAddr>,
    /// The process that gets its messages.
    pub owner: Pid,
    /// The version of TLS, such as `TLSv1_3`; `None` for plain text and during the handshake.
    pub tls: Option<&'static str>,
    /// Bytes received, after decryption.
    pub bytes_in: u64,
    /// Bytes sent, before encryption.
    pub bytes_out: u64,
    /// Messages given to the owner.
    pub messages_in: u64,
    /// Writes taken from processes.
    pub messages_out: u64,
    /// How often its output has risen above the high mark.
    pub high_water_events: u64,
    /// How often the mailbox of its owner refused data.
    pub mailbox_pauses: u64,
    /// It does not read because the mailbox of its owner is full.
    pub is_paused_by_mailbox: bool,
    /// It does not read because its owner has not handled what it was given.
    pub is_paused_by_backlog: bool,
    /// It does not read because its owner has paused it.
    pub is_paused_by_owner: bool,
}

impl ConnectionInfo {
    pub(crate) fn new(owner: Pid, state: &'static str) -> Self {
        Self {
            state,
            remote_addr: None,
            local_addr: None,
            owner,
            tls: None,
            bytes_in: 0,
            bytes_out: 0,
            messages_in: 0,
            messages_out: 0,
            high_water_events: 0,
            mailbox_pauses: 0,
            is_paused_by_mailbox: false,
            is_paused_by_backlog: false,
            is_paused_by_owner: false,
        }
    }
}

/// A socket for datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatagramInfo {
    /// Its address; `None` for a Unix socket.
    pub local_addr: Option<SocketAddr>,
    /// The process that gets its messages.
    pub owner: Pid,
    /// Bytes received, what was cut off included.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Datagrams received.
    pub messages_in: u64,
    /// Datagrams sent.
    pub messages_out: u64,
    /// Datagrams received that the owner did not take.
    pub dropped: u64,
    /// Datagrams that were longer than the buffer.
    pub truncated: u64,
    /// Errors of receiving.
    pub receive_errors: u64,
    /// Errors of sending.
    pub send_errors: u64,
}
