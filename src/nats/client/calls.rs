//! Requests to the client's process, for callers that are no processes, and the answers to requests of
//! both kinds of callers.

use std::time::Duration;

use crate::actor::Context;
use crate::bridge::Deliver;
use crate::id::Pid;
use crate::memory::buffer::Buffer;
use crate::message::Message;
use crate::nats::error::NatsError;
use crate::nats::headers::Headers;
use crate::nats::message::{MessageNats, MessageNatsFlushed, MessageNatsReply};
use crate::nats::shared::Requester;

/// A request to the client's process, for callers that are no processes:
/// `node.call(client, NatsRequest::new("subject", data, timeout), timeout)`. The answer is a
/// `Result<MessageNats, NatsError>`.
#[derive(Debug)]
#[non_exhaustive]
pub struct NatsRequest {
    /// Where it goes.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its payload.
    pub data: Buffer,
    /// How long the client waits for the answer.
    pub timeout: Duration,
}

impl NatsRequest {
    /// A request without headers.
    pub fn new(subject: impl Into<String>, data: impl Into<Buffer>, timeout: Duration) -> Self {
        Self {
            subject: subject.into(),
            headers: Headers::new(),
            data: data.into(),
            timeout,
        }
    }

    /// Sets the headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }
}

/// A flush by way of the client's process, for callers that are no processes. The answer is a `Result<(), NatsError>`;
/// see [`Nats::flush`](crate::nats::Nats::flush).
#[derive(Clone, Copy, Debug)]
pub struct NatsFlush;

impl Requester {
    pub(super) fn answer_request(
        self,
        cx: &mut Context<'_>,
        result: Result<MessageNats, NatsError>,
    ) {
        match self {
            Self::Process(pid, label) => deliver(cx, pid, MessageNatsReply { label, result }),
            Self::Call(reply) => reply.send(result),
        }
    }

    pub(super) fn answer_flush(self, cx: &mut Context<'_>, result: Result<(), NatsError>) {
        match self {
            Self::Process(pid, label) => deliver(cx, pid, MessageNatsFlushed { label, result }),
            Self::Call(reply) => reply.send(result),
        }
    }
}

/// Delivers what a process has asked for, behind what it has got before. A full mailbox neither refuses nor drops it:
/// there are as many of these as the process has asked for. One that has ended needs none.
pub(super) fn deliver<M: Send + 'static>(cx: &mut Context<'_>, to: Pid, message: M) {
    let from = cx.pid();
    let message = Message::new(message);
    cx.env().processes.deliver_control(to, from, message);
}
