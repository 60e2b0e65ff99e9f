//! Messages: the public [`Message`] and the message types of the runtime.
//!
//! A `Message` is an open enum. The runtime's own messages stand inline, rare ones and user types are boxed; on its way
//! it is [`CompactMessage`], and a packet costs no allocation. Sending takes any `Send + 'static` value: `cx.send(pid,
//! MessageTcp { .. })` becomes [`Message::Tcp`], `cx.send(pid, 7_u32)` becomes [`Message::User`], whose boxes are used
//! again.
//!
//! This module does not queue or route: mailboxes are in `process`, commands to meta-processes in `bridge`.

mod datagram;
mod downcast;
mod drained;
mod event;
mod hand_over;
mod local_addr;
pub(crate) mod message_type;
mod packed;
mod proxied;
mod relay;
pub(crate) mod request;
mod room;
mod send_error;
mod start_tls;
mod tcp;
mod user;
mod write;

use std::any::Any;

use crate::error::Reason;
use crate::id::{Alias, Ref, Target};
#[cfg(unix)]
pub use datagram::MessageUnixDatagram;
pub(crate) use datagram::datagram_bytes;
pub use datagram::{MessageUdp, MessageUdpError};
pub use downcast::DowncastError;
pub use drained::MessageDrained;
pub use event::{MessageEvent, MessageEventSubscribers};
pub use hand_over::HandOverError;
pub(crate) use local_addr::LocalAddr;
pub(crate) use message_type::MessageType;
pub(crate) use packed::CompactMessage;
pub use proxied::Proxied;
pub use relay::{MessageRelayEnd, RelayError, RelayFailure, RelayedConnection};
pub use request::Request;
pub use room::MessageRoom;
pub use send_error::SendError;
pub use start_tls::StartTlsError;
pub use tcp::{
    FailedAttempt, MessageTcp, MessageTcpConnect, MessageTcpDisconnect, MessageTcpPeerClosed,
    MessageTcpReconnecting, MessageTcpSecured, MessageTcpWritable,
};
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
    /// A TCP connection of this side is lost and will be made anew.
    TcpReconnecting(Box<MessageTcpReconnecting>),
    /// A TCP connection is over. The last message of that connection.
    TcpDisconnect(Box<MessageTcpDisconnect>),
    /// The peer of a TCP connection has ended its side; for connections with `half_open` set.
    TcpPeerClosed(MessageTcpPeerClosed),
    /// The output of a TCP connection has drained below its low water mark.
    TcpWritable(MessageTcpWritable),
    /// The TLS handshake that was begun on a plain TCP connection is done.
    TcpSecured(Box<MessageTcpSecured>),
    /// Two TCP connections that were relayed are over. The last message of both.
    RelayEnd(Box<MessageRelayEnd>),
    /// A listener that was drained has ended, with all its connections.
    Drained(MessageDrained),
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
    /// A mailbox that refused a message of this process has room again.
    Room(MessageRoom),
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
    // Inlined: after monomorphization at most one branch remains.
    #[inline(always)]
    pub fn new<T: Any + Send>(value: T) -> Self {
        // An `Option` that is asked by type: after monomorphization one of these is a move and the rest is gone.
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

    #[inline(never)]
    pub(crate) fn message_type(&self) -> MessageType {
        match self {
            Self::Tcp(_) => MessageType::TCP,
            Self::TcpConnect(_) => MessageType::TCP_CONNECT,
            Self::TcpDisconnect(_) => MessageType::TCP_DISCONNECT,
            Self::TcpPeerClosed(_) => MessageType::TCP_PEER_CLOSED,
            Self::TcpWritable(_) => MessageType::TCP_WRITABLE,
            Self::TcpSecured(_) => MessageType::TCP_SECURED,
            Self::TcpReconnecting(_) => MessageType::TCP_RECONNECTING,
            Self::RelayEnd(_) => MessageType::RELAY_END,
            Self::Drained(_) => MessageType::DRAINED,
            Self::Udp(_) => MessageType::UDP,
            #[cfg(unix)]
            Self::UnixDatagram(_) => MessageType::UNIX_DATAGRAM,
            Self::UdpError(_) => MessageType::UDP_ERROR,
            Self::Exit(_) => MessageType::EXIT,
            Self::Down(_) => MessageType::DOWN,
            Self::MetaFailed(_) => MessageType::META_FAILED,
            Self::Event(_) => MessageType::EVENT,
            Self::EventSubscribers(_) => MessageType::EVENT_SUBSCRIBERS,
            Self::Room(_) => MessageType::ROOM,
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
    /// What `request` or `ask` returned.
    pub request: Ref,
    /// The label that `ask` was given; 0 for `request`.
    pub label: u64,
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
