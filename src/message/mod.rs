//! Messages: the public [`Message`] and the message types of the runtime.
//!
//! A `Message` is an open enum. The runtime's own messages stand inline, rare ones and user types are boxed; on its way
//! it is [`CompactMessage`], and a packet costs no allocation. Sending takes any `Send + 'static` value:
//! `cx.send(pid, MessageTcp { .. })` becomes [`Message::Tcp`], `cx.send(pid, 7_u32)` becomes [`Message::User`], whose boxes
//! are used again.
//!
//! This module does not queue or route: mailboxes are in `process`, commands to meta-processes in `bridge`.

mod downcast;
mod event;
pub(crate) mod message_type;
mod packed;
mod proxied;
mod relay;
mod send_error;
mod user;
mod write;

use std::any::Any;
use std::io;
use std::net::SocketAddr;

use crate::error::{DisconnectReason, Reason};
use crate::id::{Alias, Ref, Target};
use crate::memory::buffer::Buffer;
pub use downcast::DowncastError;
pub use event::{MessageEvent, MessageEventSubscribers};
pub(crate) use message_type::MessageType;
pub(crate) use packed::CompactMessage;
pub use proxied::Proxied;
pub use relay::{MessageRelayEnd, RelayError, RelayedConnection};
pub use send_error::SendError;
pub use user::UserMessage;
pub use write::{Flow, WriteData, WriteError, WriteErrorKind};

/// Anything a process can receive.
///
/// At most 64 bytes, whatever it carries.
#[derive(Debug)]
#[non_exhaustive]
pub enum Message {
    /// Bytes of a TCP connection, or bytes to send on one.
    Tcp(MessageTcp),
    /// A TCP connection (with TLS: its handshake) is established.
    TcpConnect(Box<MessageTcpConnect>),
    /// A TCP connection is over. The last message of that connection.
    TcpDisconnect(Box<MessageTcpDisconnect>),
    /// The peer of a TCP connection has ended its side; for connections with `half_open` set.
    TcpPeerClosed(MessageTcpPeerClosed),
    /// The output of a TCP connection has drained below its low water mark.
    TcpWritable(MessageTcpWritable),
    /// Two TCP connections that were relayed are over. The last message of both.
    RelayEnd(Box<MessageRelayEnd>),
    /// A datagram received, or one to send.
    Udp(MessageUdp),
    /// A datagram of a Unix domain socket received, or one to send.
    #[cfg(unix)]
    UnixDatagram(Box<MessageUnixDatagram>),
    /// A datagram could not be sent, for sockets that asked for these reports.
    UdpError(Box<MessageUdpError>),
    /// An exit signal, for processes that trap them.
    Exit(Box<MessageExit>),
    /// Something that this process monitors has ended.
    Down(Box<MessageDown>),
    /// A meta-process that this process has spawned has ended in its `init`.
    MetaFailed(Box<MessageMetaFailed>),
    /// A value of an event that this process has subscribed to.
    Event(MessageEvent),
    /// An event of this process has got its first subscriber, or lost its last one.
    EventSubscribers(Box<MessageEventSubscribers>),
    /// The answer to a request of this process.
    Reply(Box<MessageReply>),
    /// Any other type; see [`Message::downcast`].
    User(UserMessage),
}

impl Message {
    /// Wraps any value: the runtime's message types become their variant, a `Message` stays itself, everything else is
    /// boxed.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// assert!(matches!(Message::new("hi"), Message::User(_)));
    /// ```
    // Which branch it is, is known where it is called.
    #[inline(always)]
    pub fn new<T: Any + Send>(value: T) -> Self {
        // An `Option` that is asked by type: after monomorphisation one of these is a move and the rest is gone.
        let mut value = Some(value);
        let any: &mut dyn Any = &mut value;
        if let Some(message) = any.downcast_mut::<Option<Self>>().and_then(Option::take) {
            return message;
        }
        if let Some(message) = any
            .downcast_mut::<Option<MessageTcp>>()
            .and_then(Option::take)
        {
            return Self::Tcp(message);
        }
        if let Some(message) = any
            .downcast_mut::<Option<MessageUdp>>()
            .and_then(Option::take)
        {
            return Self::Udp(message);
        }
        #[cfg(unix)]
        if let Some(message) = any
            .downcast_mut::<Option<MessageUnixDatagram>>()
            .and_then(Option::take)
        {
            return Self::UnixDatagram(Box::new(message));
        }
        match value {
            Some(value) => Self::User(UserMessage::new(value)),
            None => unreachable!("only the branches above take it, and they return"),
        }
    }

    /// Takes out the value of a user type, or gives the message back.
    ///
    /// # Errors
    ///
    /// It carries another type: the error names both, and gives the message back.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// let message = Message::new(String::from("hi"));
    /// assert_eq!(message.downcast::<String>().unwrap(), "hi");
    /// ```
    #[inline]
    pub fn downcast<T: Any>(self) -> Result<T, DowncastError> {
        self.take().map_err(DowncastError::new::<T>)
    }

    /// As [`Message::downcast`], for chains that try one type after the other.
    #[inline]
    pub(crate) fn take<T: Any>(self) -> Result<T, Self> {
        match self {
            Self::User(value) => value.downcast().map_err(Self::User),
            other => Err(other),
        }
    }

    /// Looks at the value of a user type.
    ///
    /// ```
    /// use longshore::Message;
    ///
    /// assert_eq!(Message::new(7_u32).downcast_ref::<u32>(), Some(&7));
    /// ```
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        match self {
            Self::User(value) => value.downcast_ref(),
            _ => None,
        }
    }

    /// The name of the type that this carries, as [`std::any::type_name`] gives it: for records
    /// and for people, not for decisions.
    ///
    /// ```
    /// use longshore::Message;
    ///
    /// assert_eq!(Message::new(7_u32).type_name(), "u32");
    /// ```
    pub fn type_name(&self) -> &'static str {
        self.message_type().name().unwrap_or("nothing")
    }

    pub(crate) fn message_type(&self) -> MessageType {
        match self {
            Self::Tcp(_) => MessageType::TCP,
            Self::TcpConnect(_) => MessageType::TCP_CONNECT,
            Self::TcpDisconnect(_) => MessageType::TCP_DISCONNECT,
            Self::TcpPeerClosed(_) => MessageType::TCP_PEER_CLOSED,
            Self::TcpWritable(_) => MessageType::TCP_WRITABLE,
            Self::RelayEnd(_) => MessageType::RELAY_END,
            Self::Udp(_) => MessageType::UDP,
            #[cfg(unix)]
            Self::UnixDatagram(_) => MessageType::UNIX_DATAGRAM,
            Self::UdpError(_) => MessageType::UDP_ERROR,
            Self::Exit(_) => MessageType::EXIT,
            Self::Down(_) => MessageType::DOWN,
            Self::MetaFailed(_) => MessageType::META_FAILED,
            Self::Event(_) => MessageType::EVENT,
            Self::EventSubscribers(_) => MessageType::EVENT_SUBSCRIBERS,
            Self::Reply(_) => MessageType::REPLY,
            Self::User(value) => value.message_type(),
        }
    }

    /// Bytes that this message counts against the output limit of the meta-process it is sent to.
    #[inline]
    pub(crate) fn output_bytes(&self) -> usize {
        match self {
            Self::Tcp(packet) => packet.data.len(),
            Self::Udp(packet) => datagram_bytes(packet.data.len()),
            #[cfg(unix)]
            Self::UnixDatagram(packet) => datagram_bytes(packet.data.len()),
            _ => 0,
        }
    }

    /// Whether this carries a value of that user type.
    ///
    /// ```
    /// use longshore::Message;
    ///
    /// assert!(Message::new(7_u32).is::<u32>());
    /// ```
    pub fn is<T: Any>(&self) -> bool {
        self.downcast_ref::<T>().is_some()
    }
}

/// Bytes of a TCP connection.
///
/// Received: `id` is the connection. Sent to a connection's alias: `data` is written, `id` is ignored, so the message
/// that came in can be sent back as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// unspecified address, port 0. With a header of the PROXY protocol: the address of the client that the proxy speaks for.
    pub remote_addr: SocketAddr,
    /// Our end's address. For a Unix domain socket the unspecified address, port 0. With a header of the PROXY protocol: the
    /// address that the client connected to.
    pub local_addr: SocketAddr,
    /// The addresses of the socket, if those above come from a header; see [`ProxyProtocol`](crate::ProxyProtocol).
    pub proxied: Option<Box<Proxied>>,
    /// What the TLS handshake agreed on; `None` on a plain connection.
    pub tls: Option<Box<crate::tls::TlsInfo>>,
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
    /// The addresses that a connection of this side could not be made to, in the order in which they failed. Empty for one
    /// that has been established.
    pub failed_attempts: Vec<FailedAttempt>,
}

/// An address that a connection could not be made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The address.
    pub addr: SocketAddr,
    /// What the operating system said; [`TimedOut`](io::ErrorKind::TimedOut) of an address that had not answered when the
    /// connect timeout was over.
    pub error: io::ErrorKind,
}

/// The peer has ended its side (FIN, RFC 9293 section 3.6), and all it had sent has been delivered. Comes only with `half_open` set; the
/// connection stays open for writing until the owner closes it.
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

/// A datagram (RFC 768), of at most 65,507 bytes over IPv4.
///
/// Received: `id` is the socket, `addr` the sender. Sent to a UDP server's alias: `data` goes to `addr`, `id` and
/// `truncated` are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias = "MessageUDP")]
pub struct MessageUdp {
    /// The socket.
    pub id: Alias,
    /// The other side.
    pub addr: SocketAddr,
    /// The payload, possibly empty.
    pub data: Buffer,
    /// The datagram was longer than the buffer: the rest is lost.
    pub truncated: bool,
}

impl MessageUdp {
    /// A datagram to `addr`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let socket = cx.spawn_meta(UdpServer::bind("127.0.0.1:0")?)?;
    /// let to = "127.0.0.1:9".parse::<std::net::SocketAddr>()?;
    /// cx.send_alias(socket, MessageUdp::new(socket, to, "ping"))?;
    /// # Ok(()) }) }
    /// ```
    pub fn new(id: Alias, addr: SocketAddr, data: impl Into<Buffer>) -> Self {
        Self {
            id,
            addr,
            data: data.into(),
            truncated: false,
        }
    }
}

/// A datagram of a Unix domain socket; see [`UnixDatagramServer`](crate::UnixDatagramServer).
///
/// Received: `id` is the socket, `path` the sender's, if it has one. Sent to the socket's alias: `data` goes to `path`, or
/// to the peer of a connected socket if there is none; `id` and `truncated` are ignored.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageUnixDatagram {
    /// The socket.
    pub id: Alias,
    /// The other side; `None` if it has no path.
    pub path: Option<std::path::PathBuf>,
    /// The payload, possibly empty.
    pub data: Buffer,
    /// The datagram was longer than the buffer: the rest is lost.
    pub truncated: bool,
}

#[cfg(unix)]
impl MessageUnixDatagram {
    /// A datagram to `path`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// // `connection` stands for the alias of a `UnixDatagramServer` here.
    /// let datagram = longshore::MessageUnixDatagram::new(connection, "/run/log.sock", "a line");
    /// assert_eq!(datagram.data, "a line");
    /// # Ok(()) }) }
    /// ```
    pub fn new(id: Alias, path: impl Into<std::path::PathBuf>, data: impl Into<Buffer>) -> Self {
        Self {
            id,
            path: Some(path.into()),
            data: data.into(),
            truncated: false,
        }
    }
}

/// A datagram could not be sent, or the network reported one as undeliverable (ICMP, see udp(7)).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageUdpError {
    /// The socket.
    pub id: Alias,
    /// Where it was to go; `None` for an error the network reports later (ICMP) on a connected socket.
    pub addr: Option<SocketAddr>,
    /// Its length in bytes.
    pub length: usize,
    /// What the operating system said.
    pub error: io::ErrorKind,
}

/// An exit signal, received as a message by a process that traps exits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageExit {
    /// Who ended or sent the signal.
    pub from: Target,
    /// Why.
    pub reason: Reason,
}

/// Something monitored has ended, or did not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageDown {
    /// What `monitor` returned.
    pub monitor: Ref,
    /// What was monitored, as it was given to `monitor`: a name stays a name.
    pub target: Target,
    /// Why it ended; [`Reason::NoProcess`] if it did not exist.
    pub reason: Reason,
}

/// A meta-process that this process has spawned has ended in its `init`, which runs on the loop when `spawn_meta` has
/// returned. A listener, for instance, that the operating system does not let join the poll.
///
/// Connections report this in their [`MessageTcpDisconnect`] instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageMetaFailed {
    /// What `spawn_meta` returned.
    pub id: Alias,
    /// Why it ended.
    pub reason: Reason,
}

/// The answer to a request.
#[derive(Debug)]
#[non_exhaustive]
pub struct MessageReply {
    /// What `request` returned.
    pub request: Ref,
    /// The answer, or why there is none.
    pub result: Result<Message, crate::error::RequestError>,
}

/// How urgent a message is: the lane of the mailbox it goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priority {
    /// The main lane.
    #[default]
    Normal,
    /// The system lane: before every message of the main lane.
    High,
    /// The urgent lane: before everything else.
    Max,
    /// The log lane: after everything else.
    Log,
}

/// Bytes that a datagram of `length` bytes counts against the output limit. A small datagram takes more memory than
/// its bytes, and an empty one takes some, so that a flood of them stays bounded too.
#[inline]
pub(crate) fn datagram_bytes(length: usize) -> usize {
    length.max(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_stays_within_a_cache_line() {
        assert!(size_of::<Message>() <= 64, "{}", size_of::<Message>());
    }

    #[test]
    fn new_unwraps_the_types_of_the_runtime() {
        let id = Alias::new(0, 0, 1);
        assert!(matches!(
            Message::new(MessageTcp::new(id, "x")),
            Message::Tcp(_)
        ));
        assert!(matches!(
            Message::new(Message::new(7_u8)).downcast::<u8>(),
            Ok(7)
        ));
        assert!(Message::new(7_u8).downcast::<u16>().is_err());
    }
}
