//! Messages of TCP connections, and of Unix domain streams.
//!
//! A connection sends its owner Connect first and the Disconnect last, each exactly once. Between them
//! come data and Writable, and PeerClosed behind the last data. A client connection that reconnects
//! sends Reconnecting at each loss, and Connect again.

use std::net::SocketAddr;
use std::time::Duration;

use super::Proxied;
use crate::error::{DisconnectReason, OsError};
use crate::id::{Alias, Pid};
use crate::memory::buffer::Buffer;

/// Bytes of a TCP connection.
///
/// Received: `id` is the connection. Sent to a connection's alias: `data` is written, `id` is ignored, so the message
/// that came in can be sent back as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "MessageTCP")]
pub struct MessageTcp {
    /// The connection.
    pub id: Alias,
    /// The bytes: whatever one read gave, or one frame, see [`Framing`](crate::Framing).
    pub data: Buffer,
}

impl MessageTcp {
    /// Bytes for `id`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// cx.send_alias(connection, MessageTcp::new(connection, "text, bytes, or a `Buffer`"))?;
    /// # Ok(()) }) }
    /// ```
    pub fn new(id: Alias, data: impl Into<Buffer>) -> Self {
        Self {
            id,
            data: data.into(),
        }
    }
}

/// A TCP connection is established: the first message of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias = "MessageTCPConnect")]
pub struct MessageTcpConnect {
    /// The connection.
    pub id: Alias,
    /// The peer's address; IPv4 is shown as IPv4, whatever the listener's socket is. For a Unix domain socket the
    /// unspecified address, port 0. With a header of the PROXY protocol: the address of the client that the proxy
    /// speaks for.
    pub remote_addr: SocketAddr,
    /// Our end's address. For a Unix domain socket the unspecified address, port 0. With a header of the PROXY
    /// protocol: the address that the client connected to.
    pub local_addr: SocketAddr,
    /// The process that has handed the connection over to this one; `None` if it is new. See
    /// [`Context::hand_over`](crate::Context::hand_over).
    pub handed_over_by: Option<Pid>,
    /// Which attempt of a client connection this is, from 1; see
    /// [`TcpConnectionOptions::reconnect`](crate::TcpConnectionOptions::reconnect). 0 for one that was accepted.
    pub attempt: u32,
    /// The addresses of the socket, if those above come from a header; see [`ProxyProtocol`](crate::ProxyProtocol).
    pub proxied: Option<Box<Proxied>>,
    /// What the TLS handshake agreed on; `None` on a plain connection.
    pub tls: Option<Box<crate::tls::TlsInfo>>,
}

/// The TLS handshake that [`Context::start_tls`](crate::Context::start_tls) began is done: what comes behind this
/// message has come encrypted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageTcpSecured {
    /// The connection.
    pub id: Alias,
    /// What the handshake agreed on.
    pub tls: Box<crate::tls::TlsInfo>,
}

/// A client connection is lost, or an attempt to make it has failed, and it is tried again; see
/// [`TcpConnectionOptions::reconnect`](crate::TcpConnectionOptions::reconnect). A Connect follows, or another of these,
/// or the Disconnect.
///
/// Until that Connect writes are refused, as on a connection that is closing. What was written before the first
/// connection waits for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageTcpReconnecting {
    /// The connection.
    pub id: Alias,
    /// Why it was lost, or why the attempt has failed.
    pub reason: DisconnectReason,
    /// Bytes received from the peer by the connection that was lost; 0 for an attempt.
    pub bytes_in: u64,
    /// Bytes of it given to the operating system for the peer.
    pub bytes_out: u64,
    /// Bytes that were accepted by a send and never given to the operating system. They are not sent later.
    pub unsent: u64,
    /// The addresses of an attempt that has failed, in the order in which they failed.
    pub failed_attempts: Vec<FailedAttempt>,
    /// The number of the next attempt, which its Connect carries too.
    pub attempt: u32,
    /// The time from now to the next attempt. It begins later if this process takes longer to handle this message.
    pub next_attempt: Duration,
}

/// A TCP connection is over: the last message of a connection, exactly one.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias = "MessageTCPDisconnect")]
pub struct MessageTcpDisconnect {
    /// The connection.
    pub id: Alias,
    /// Why it ended.
    pub reason: DisconnectReason,
    /// Bytes received from the peer, before framing, after decryption.
    pub bytes_in: u64,
    /// Bytes given to the operating system for the peer, before encryption.
    pub bytes_out: u64,
    /// Bytes that were accepted by a send and never given to the operating system.
    pub unsent: u64,
    /// Bytes of writes that were not accepted, because the connection was closing or its output limit was reached.
    pub refused_bytes: u64,
    /// The addresses that a connection of this side could not be made to, in the order in which they failed. Empty for
    /// one that has been established.
    pub failed_attempts: Vec<FailedAttempt>,
}

/// The peer has ended its side (FIN, RFC 9293 section 3.6), and all it had sent has been delivered. Comes only with
/// `half_open` set; the connection stays open for writing until the owner closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageTcpPeerClosed {
    /// The connection.
    pub id: Alias,
}

/// The output of a connection has fallen to its low water mark, after it had been above the high one or a send had been
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageTcpWritable {
    /// The connection.
    pub id: Alias,
}

/// An address that a connection could not be made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The address.
    pub addr: SocketAddr,
    /// What the operating system said; [`TimedOut`](std::io::ErrorKind::TimedOut) of an address that had not answered
    /// when the connect timeout was over.
    pub error: OsError,
}
