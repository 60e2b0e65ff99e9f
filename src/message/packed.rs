//! Messages on their way, in 24 bytes.
//!
//! A [`Message`] takes 64 bytes because a datagram carries its address. Between two processes it would be moved several
//! times, in pieces that do not fit each other, and a processor waits for a load that spans two recent stores. So
//! mailboxes and command queues hold a [`CompactMessage`]: what is sent most stands inline and moves in registers,
//! everything else travels in a box that is used again.
//!
//! ```text
//!  Message ── from ──▶ CompactMessage: Tcp │ User │ Other ──▶ mailbox, command queue ── unpack ──▶ Message ──▶ callback
//!                                            ▲ cache                               │ cache
//!                                            └─────────────── empty box ◀──────────┘
//! ```
//!
//! The boxes wait in a cache of the thread, as those of user types do, and go through a [`Depot`] where sender and
//! receiver run on different threads: a cache has two magazines of [`MAGAZINE`] boxes, the depot [`MAGAZINES`] of them.
//! They are not one of the user types' caches, because a thread has few of those, and a datagram never costs an
//! allocation.

use std::cell::RefCell;

use super::{Message, MessageRelayEnd, MessageTcp, MessageType, MessageUdp, UserMessage};
use crate::error::DisconnectReason;
use crate::id::Alias;
use crate::memory::magazine::{Depot, ThreadCache};

/// Boxes that travel between threads together.
const MAGAZINE: usize = 64;
/// Full magazines available to any thread.
const MAGAZINES: usize = 32;

type Empty = Box<Option<Message>>;

thread_local! {
    static CACHE: RefCell<ThreadCache<Empty, MAGAZINE>> = const { RefCell::new(ThreadCache::new()) };
}

static DEPOT: Depot<Empty> = Depot::new(MAGAZINES);

/// See the module.
#[derive(Debug)]
pub enum CompactMessage {
    Tcp(MessageTcp),
    User(UserMessage),
    Other(Boxed),
}

/// A message of another kind, in a box.
#[derive(Debug)]
pub struct Boxed(Box<Option<Message>>);

impl CompactMessage {
    /// The message that was packed.
    #[inline]
    pub(crate) fn unpack(self) -> Message {
        match self {
            Self::Tcp(packet) => Message::Tcp(packet),
            Self::User(value) => Message::User(value),
            Self::Other(boxed) => boxed.open(),
        }
    }

    /// The datagram, if it is one; otherwise the message comes back.
    #[inline]
    pub(crate) fn into_datagram(self) -> Result<MessageUdp, Self> {
        let Self::Other(Boxed(mut boxed)) = self else {
            return Err(self);
        };
        match boxed.take() {
            Some(Message::Udp(packet)) => {
                Boxed::keep(boxed);
                Ok(packet)
            }
            other => {
                *boxed = other;
                Err(Self::Other(Boxed(boxed)))
            }
        }
    }

    /// The connection whose input this is, if it is input of a connection.
    pub(crate) fn input_of(&self) -> Option<Alias> {
        match self {
            Self::Tcp(packet) => Some(packet.id),
            Self::User(_) => None,
            Self::Other(Boxed(message)) => match message.as_ref().as_ref()? {
                Message::TcpPeerClosed(end) => Some(end.id),
                Message::TcpDisconnect(end) => Some(end.id),
                Message::TcpReconnecting(end) => Some(end.id),
                _ => None,
            },
        }
    }

    /// Whether this is the last message of a connection, or of one that is made anew.
    pub(crate) fn is_disconnect(&self) -> bool {
        match self {
            Self::Other(Boxed(message)) => matches!(
                message.as_ref().as_ref(),
                Some(Message::TcpDisconnect(_) | Message::TcpReconnecting(_))
            ),
            _ => false,
        }
    }

    /// Why a connection has ended or was lost, and the bytes that it has not sent, if it is its last message.
    pub(crate) fn end_of_connection(&self) -> Option<(&DisconnectReason, u64)> {
        match self {
            Self::Other(Boxed(message)) => match message.as_ref().as_ref()? {
                Message::TcpDisconnect(end) => Some((&end.reason, end.unsent)),
                Message::TcpReconnecting(lost) => Some((&lost.reason, lost.unsent)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The end of a relay, if it is one.
    pub(crate) fn relay_end(&self) -> Option<&MessageRelayEnd> {
        match self {
            Self::Other(Boxed(message)) => match message.as_ref().as_ref()? {
                Message::RelayEnd(end) => Some(end),
                _ => None,
            },
            _ => None,
        }
    }

    /// The same, to complete it.
    pub(crate) fn relay_end_mut(&mut self) -> Option<&mut MessageRelayEnd> {
        match self {
            Self::Other(Boxed(message)) => match message.as_mut().as_mut()? {
                Message::RelayEnd(end) => Some(end),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it carries a value of the user: a message of a type of the user, or a value of an event.
    pub(crate) fn is_of_user(&self) -> bool {
        match self {
            Self::User(_) => true,
            Self::Tcp(_) => false,
            Self::Other(Boxed(message)) => {
                matches!(message.as_ref().as_ref(), Some(Message::Event(_)))
            }
        }
    }

    /// Drops the message and keeps its box: for those that are dropped by the thousand.
    pub(crate) fn discard(self) {
        drop(self.unpack());
    }

    /// The type of the message.
    #[inline]
    pub(crate) fn message_type(&self) -> MessageType {
        match self {
            Self::Tcp(_) => MessageType::TCP,
            Self::User(value) => value.message_type(),
            // The one that comes by the million, without the table of the others.
            Self::Other(Boxed(message)) if matches!(**message, Some(Message::Udp(_))) => {
                MessageType::UDP
            }
            Self::Other(Boxed(message)) => message
                .as_ref()
                .as_ref()
                .map_or(MessageType::NONE, Message::message_type),
        }
    }

    /// What it counts against the output limit of the meta-process that it is sent to.
    #[inline]
    pub(crate) fn output_bytes(&self) -> usize {
        match self {
            Self::Tcp(packet) => packet.data.len(),
            Self::User(_) => 0,
            Self::Other(Boxed(message)) => {
                message.as_ref().as_ref().map_or(0, Message::output_bytes)
            }
        }
    }
}

impl From<Message> for CompactMessage {
    #[inline(always)]
    fn from(message: Message) -> Self {
        match message {
            Message::Tcp(packet) => Self::Tcp(packet),
            Message::User(value) => Self::User(value),
            other => Self::Other(Boxed::of(other)),
        }
    }
}

impl From<MessageUdp> for CompactMessage {
    #[inline]
    fn from(packet: MessageUdp) -> Self {
        let mut boxed = Boxed::empty();
        // Built in the box: a datagram that is received is copied once less.
        *boxed = Some(Message::Udp(packet));
        Self::Other(Boxed(boxed))
    }
}

impl Boxed {
    #[inline(never)]
    fn of(message: Message) -> Self {
        let mut boxed = Self::empty();
        *boxed = Some(message);
        Self(boxed)
    }

    #[inline]
    fn empty() -> Box<Option<Message>> {
        // No cache at the end of the thread.
        let empty = CACHE
            .try_with(|cache| cache.borrow_mut().take(&DEPOT))
            .ok()
            .flatten();
        empty.unwrap_or_default()
    }

    #[inline(never)]
    fn open(mut self) -> Message {
        let message = self.0.take().expect("a box is opened once");
        Self::keep(self.0);
        message
    }

    /// Keeps an empty box for the next message.
    #[inline]
    fn keep(empty: Empty) {
        // A thread that ends has no cache any more, and the box is freed.
        let _ = CACHE.try_with(|cache| cache.borrow_mut().put(empty, &DEPOT));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::id::Alias;
    use crate::message::{MessageTcpWritable, MessageUdp};

    fn datagram(id: Alias) -> Message {
        Message::Udp(MessageUdp::new(id, ([127, 0, 0, 1], 9).into(), "ping"))
    }

    #[test]
    fn message_comes_out_as_it_went_in() {
        assert!(size_of::<CompactMessage>() <= 24);
        let id = Alias::new(0, 3, 1);
        let Message::Tcp(packet) =
            CompactMessage::from(Message::new(MessageTcp::new(id, "bytes"))).unpack()
        else {
            panic!()
        };
        assert_eq!(packet, MessageTcp::new(id, "bytes"));
        assert_eq!(
            CompactMessage::from(Message::new(7_u8))
                .unpack()
                .downcast::<u8>()
                .unwrap(),
            7
        );
        let writable =
            CompactMessage::from(Message::TcpWritable(MessageTcpWritable { id })).unpack();
        assert!(matches!(writable, Message::TcpWritable(writable) if writable.id == id));
        let Message::Udp(packet) = CompactMessage::from(datagram(id)).unpack() else {
            panic!()
        };
        assert_eq!((&packet.data[..], packet.addr.port()), (&b"ping"[..], 9));
    }

    #[test]
    fn bytes_are_counted_as_before() {
        let id = Alias::new(0, 3, 1);
        for message in [
            Message::new(MessageTcp::new(id, "bytes")),
            datagram(id),
            Message::new(7_u8),
        ] {
            let bytes = message.output_bytes();
            assert_eq!(CompactMessage::from(message).output_bytes(), bytes);
        }
    }

    #[test]
    fn opened_box_carries_the_next_message() {
        let id = Alias::new(0, 3, 1);
        let address = |packed: &CompactMessage| {
            let CompactMessage::Other(Boxed(boxed)) = packed else {
                panic!()
            };
            std::ptr::from_ref(&**boxed)
        };
        let first = CompactMessage::from(datagram(id));
        let was = address(&first);
        drop(first.unpack());
        assert_eq!(address(&CompactMessage::from(datagram(id))), was);
    }
}
