//! What a process gets from a client.

use std::fmt;
use std::sync::Arc;

use super::credit::Credit;
use super::error::NatsError;
use super::headers::Headers;
use crate::memory::buffer::Buffer;

/// Identifies one subscription of a [`Nats`](super::Nats), which never uses it again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription(pub(super) u64);

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({})", self.0)
    }
}

/// A message of a subscription, or the answer to a request.
///
/// It counts as unhandled by its subscriber until it is dropped, or taken apart and its hidden field dropped.
#[derive(Debug)]
#[non_exhaustive]
pub struct MessageNats {
    /// The subscription; `None` for the answer to a request.
    pub subscription: Option<Subscription>,
    /// Where it was published.
    pub subject: Arc<str>,
    /// Where an answer goes; see [`Nats::respond`](super::Nats::respond).
    pub reply: Option<Arc<str>>,
    /// Its headers.
    pub headers: Headers,
    /// Its payload.
    pub data: Buffer,
    /// Messages of this subscription that were dropped since the last one that was delivered: the subscriber was slow,
    /// or they were larger than [`NatsOptions::max_payload`](super::NatsOptions::max_payload). What the subscriber's
    /// own [`MailboxPolicy`](crate::MailboxPolicy) drops is counted there, in
    /// [`ProcessInfo::messages_dropped`](crate::ProcessInfo::messages_dropped).
    pub missed: u64,
    #[allow(dead_code, reason = "its drop returns the credit")]
    pub(super) credit: Option<Credit>,
}

/// The answer to a request; see [`Nats::request`](super::Nats::request).
#[derive(Debug)]
#[non_exhaustive]
pub struct MessageNatsReply {
    /// What the request was given.
    pub label: u64,
    /// The answer, or why there is none.
    pub result: Result<MessageNats, NatsError>,
}

/// A flush is done; see [`Nats::flush`](super::Nats::flush).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageNatsFlushed {
    /// What the flush was given.
    pub label: u64,
    /// Whether the server has everything that was published before.
    pub result: Result<(), NatsError>,
}

/// A subscription has ended without being asked to. Its last message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageNatsEnd {
    /// The subscription.
    pub subscription: Subscription,
    /// Why.
    pub error: NatsError,
}

/// What a client does, for processes that asked for it; see [`Nats::observe`](super::Nats::observe).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageNatsStatus {
    /// A server has accepted the client. Subscriptions are made again before anything else is sent; other clients can
    /// count on them after a flush.
    #[non_exhaustive]
    Connected {
        /// Its address, `host:port`.
        server: Arc<str>,
        /// What it calls itself.
        name: Arc<str>,
        /// The largest headers and payload that it accepts, in bytes.
        max_payload: usize,
    },
    /// An attempt has failed, or a connection was lost.
    #[non_exhaustive]
    Disconnected {
        /// Its address, `host:port`.
        server: Arc<str>,
        /// Why, the server's own words if it gave any.
        reason: Arc<str>,
        /// Publishes since the last PONG that were given to this connection: whether they arrived is not known.
        uncertain: u64,
    },
    /// The server sent an error and may go on, as after a denied publish. At most ten for each connection.
    Error(Arc<str>),
    /// The server is about to shut down. The client goes to another one, if it knows one.
    LameDuck,
    /// Publishes were refused for lack of room, and half of it is free again.
    Writable,
    /// A subscriber is too slow: the first message since it had kept up was dropped.
    #[non_exhaustive]
    Slow {
        /// Its subscription.
        subscription: Subscription,
    },
    /// The client's process has ended.
    Ended(Arc<str>),
}
