//! What a mailbox holds: an [`Envelope`] is a sender and its payload.
//!
//! A [`Payload`] is a message, a request, or one of the signals that the runtime queues behind messages: exits,
//! answers, `Down`s, acks and barriers. This module does not queue: lanes are in `lane`, mailboxes in
//! `mailbox`.

use crate::bridge::request::{InspectReply, Reply};
use crate::bridge::{Ack, BarrierToken, Tick};
use crate::id::{Alias, Pid};
use crate::message::UserMessage;
use crate::message::{CompactMessage, MessageType};
use crate::message::{Message, MessageDown, MessageExit, MessageReply, MessageTcpConnect};

/// What a mailbox holds.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) from: Pid,
    pub(crate) payload: Payload,
}

#[derive(Debug)]
pub(crate) enum Payload {
    Message(CompactMessage),
    /// A request: the message and the means to answer it.
    // Boxed, as all that is larger than a message: each place of each mailbox has room for the largest payload.
    Call(Box<(Message, Reply)>),
    /// An exit signal. With `link` it comes over a link and holds only while the link does.
    Exit {
        signal: Box<MessageExit>,
        link: bool,
    },
    /// An answer on its way, dropped if the request is no longer waited for.
    Answer(Box<MessageReply>),
    /// A tick of a timer; dropped if the timer has been canceled meanwhile.
    Tick(Tick),
    /// `Down` on its way, dropped if the monitor is gone.
    Down(Box<MessageDown>),
    /// The request of an ack by a connection: when it is handled, so is everything before it.
    Ack(Alias, Ack),
    /// The output of a connection has fallen to its low mark: its input that was set aside goes on.
    Release(Alias),
    /// The process of the sender, which had refused a message of this one, has room again.
    Room,
    /// The mailbox itself has room: these senders are notified.
    NotifyRoom(Box<[Pid]>),
    /// The Connect of a connection that was lost: from now on it accepts sends again.
    Reopened(Box<MessageTcpConnect>),
    /// Dropped once everything before it has been handled, or when the process ends.
    Barrier(BarrierToken),
    /// A question about the process itself.
    Inspect(InspectReply),
}

impl Payload {
    /// The type of what the process is about to handle.
    #[inline]
    pub(crate) fn message_type(&self) -> MessageType {
        match self {
            Self::Message(message) => message.message_type(),
            Self::Call(call) => call.0.message_type(),
            Self::Exit { .. } => MessageType::EXIT,
            Self::Answer(_) => MessageType::REPLY,
            Self::Tick(tick) => tick.message_type(),
            Self::Down(_) => MessageType::DOWN,
            Self::Reopened(_) => MessageType::TCP_CONNECT,
            Self::Room => MessageType::ROOM,
            Self::Ack(..) | Self::Release(_) | Self::Barrier(_) | Self::NotifyRoom(_) => {
                MessageType::NONE
            }
            Self::Inspect(_) => MessageType::INSPECT,
        }
    }
}

impl From<CompactMessage> for Payload {
    #[inline]
    fn from(message: CompactMessage) -> Self {
        Self::Message(message)
    }
}

impl From<UserMessage> for Payload {
    #[inline]
    fn from(value: UserMessage) -> Self {
        Self::Message(CompactMessage::User(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelope_stays_within_half_a_cache_line() {
        assert!(size_of::<Envelope>() <= 32, "{}", size_of::<Envelope>());
        assert!(
            size_of::<Option<Envelope>>() <= 32,
            "a chunk of 128 takes 4 KiB"
        );
    }
}
