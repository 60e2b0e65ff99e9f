//! What a server sends: messages to their subscribers, answers to their askers, and everything about the connection.

use std::sync::Arc;

use super::link::{Link, describe};
use super::{Client, Ping, Subscription, Then};
use crate::actor::Context;
use crate::base::order::in_order;
use crate::error::reason::Reason;
use crate::memory::buffer::Buffer;
use crate::nats::credit::Unhandled;
use crate::nats::error::NatsError;
use crate::nats::headers::Headers;
use crate::nats::message::{MessageNats, MessageNatsStatus};
use crate::nats::protocol::Msg;
use crate::nats::protocol::info::ServerInfo;
use crate::nats::session::Event;
use crate::nats::shared::{INBOX_SID, WhenSlow};

/// Errors of one connection that observers get.
const REPORTED_ERRORS: u32 = 10;

/// The longest text of an error that is kept, in bytes.
const ERROR_LENGTH: usize = 256;

impl Client {
    pub(super) fn received(&mut self, cx: &mut Context<'_>, data: Buffer) -> Result<(), Reason> {
        // The link is taken out while its input is read, because each event may change the client and the link.
        let Some(mut link) = self.link.take() else {
            return Ok(());
        };
        let mut input = &data[..];
        let ended = loop {
            match self.next(cx, &mut link, &mut input) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(end) => break Some(end),
            }
        };
        match ended {
            None => {
                self.link = Some(link);
                self.look(cx)
            }
            Some(End::Lost(reason)) => self.lose(cx, *link, &reason),
            Some(End::Drained) => {
                self.link = Some(link);
                Err(Reason::Normal)
            }
        }
    }

    /// Handles one event. `false`: the input is used up.
    fn next(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link,
        input: &mut &[u8],
    ) -> Result<bool, End> {
        let event = link.session.next(input).map_err(describe)?;
        match event {
            None => return Ok(false),
            // The inbox of the client has one subscription for all requests.
            Some(Event::Message(message)) if message.sid == INBOX_SID => {
                self.answered(cx, &message);
            }
            Some(Event::Message(message)) => self.deliver(cx, &message),
            Some(Event::Oversized(sid)) => {
                self.counters.oversized += 1;
                if let Some(local) = self.subscriptions.get_mut(&sid) {
                    local.missed += 1;
                }
            }
            Some(Event::Ok) => {}
            // The answer is owed and not written here: the output may be blocked.
            Some(Event::Ping) => link.owes_pong = true,
            Some(Event::Pong) => self.confirm(cx)?,
            Some(Event::Error(text)) => {
                let text = String::from_utf8_lossy(&text[..text.len().min(ERROR_LENGTH)]);
                let text = Arc::from(text);
                self.server_error(cx, link, text);
            }
            Some(Event::Greeting(info)) => self.greeted(cx, link, info, input)?,
            Some(Event::Info(info)) => self.informed(cx, link, info),
            Some(Event::Ready) => self.ready(cx, link),
        }
        Ok(true)
    }

    fn deliver(&mut self, cx: &mut Context<'_>, message: &Msg<'_>) {
        self.counters.received += 1;
        let Some(local) = self.subscriptions.get_mut(&message.sid) else {
            // Messages that were under way when the subscription ended.
            self.counters.unroutable += 1;
            return;
        };
        // Consecutive messages have the same subject as a rule, and then share its text.
        if local.subject.as_bytes() != message.subject {
            let Ok(subject) = std::str::from_utf8(message.subject) else {
                self.counters.undecodable += 1;
                return;
            };
            local.subject = Arc::from(subject);
        }
        let reply = match message.reply.map(std::str::from_utf8) {
            None => None,
            Some(Ok(reply)) => Some(Arc::from(reply)),
            Some(Err(_)) => {
                self.counters.undecodable += 1;
                return;
            }
        };
        let options = &local.subscribed.options;
        let (messages, bytes) = (options.max_messages, options.max_bytes);
        let size = (message.headers.len() + message.payload.len()) as u64;
        let unhandled = &local.subscribed.unhandled;
        // A subscription that is behind gets no message, so that one slow process does not fill the memory of all.
        let Some(credit) = Unhandled::deliver(unhandled, size, messages, bytes) else {
            return self.slow(cx, message.sid);
        };
        // It counts as slow until it has handled half, so that one status is sent and not one for each message.
        if local.is_slow && unhandled.messages() <= messages / 2 {
            local.is_slow = false;
        }
        let delivered = MessageNats {
            subscription: Some(Subscription(message.sid)),
            subject: Arc::clone(&local.subject),
            reply,
            headers: Headers::from_block(self.pool.copy_from_slice(message.headers)),
            data: self.pool.copy_from_slice(message.payload),
            missed: std::mem::take(&mut local.missed),
            credit: Some(credit),
        };
        let missed = delivered.missed;
        if cx.send(local.subscribed.pid, delivered).is_err() {
            // Its mailbox has a bound of its own, or its end is on its way here.
            local.missed = missed;
            self.slow(cx, message.sid);
        }
    }

    /// The subscriber takes no more at present.
    fn slow(&mut self, cx: &mut Context<'_>, sid: u64) {
        let Some(local) = self.subscriptions.get_mut(&sid) else {
            return;
        };
        self.counters.dropped += 1;
        local.missed += 1;
        // The observers are notified once, when the subscription falls behind.
        let was_slow = std::mem::replace(&mut local.is_slow, true);
        if local.subscribed.options.when_slow == WhenSlow::Unsubscribe {
            return self.end_subscription(cx, sid, NatsError::Slow);
        }
        if !was_slow {
            let subscription = Subscription(sid);
            self.status(cx, &MessageNatsStatus::Slow { subscription });
        }
    }

    fn answered(&mut self, cx: &mut Context<'_>, message: &Msg<'_>) {
        let id = message.subject.strip_prefix(self.shared.inbox.as_bytes());
        let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        let Some(request) = id.and_then(|id: u64| self.requests.remove(&id)) else {
            // The second answer to a request, or one after its timeout.
            self.counters.late_answers += 1;
            return;
        };
        cx.cancel_timer(request.timer);
        let headers = Headers::from_block(self.pool.copy_from_slice(message.headers));
        // The server answers so for a subject without subscribers.
        let result = if message.payload.is_empty() && headers.status() == Some(503) {
            Err(NatsError::NoResponders)
        } else {
            let text = |bytes| Arc::from(String::from_utf8_lossy(bytes));
            Ok(MessageNats {
                subscription: None,
                subject: text(message.subject),
                reply: message.reply.map(text),
                headers,
                data: self.pool.copy_from_slice(message.payload),
                missed: 0,
                credit: None,
            })
        };
        request.requester.answer_request(cx, result);
    }

    /// A PONG: everything before its PING has arrived.
    fn confirm(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let Some(Ping {
            number,
            requester,
            then,
        }) = self.pings.pop_front()
        else {
            return Ok(());
        };
        self.confirmed = self.confirmed.max(number);
        if let Some(requester) = requester {
            requester.answer_flush(cx, Ok(()));
        }
        // What follows the answer was chosen when the PING was sent.
        match then {
            Then::Nothing => Ok(()),
            Then::Leave => Err(End::Lost("lame duck mode".into())),
            Then::Drain if self.advance_drain() => Err(End::Drained),
            Then::Drain => Ok(()),
        }
    }

    fn informed(&mut self, cx: &mut Context<'_>, link: &mut Link, info: ServerInfo) {
        self.servers.learn(&info.connect_urls);
        let is_new = info.lame_duck && !link.info.lame_duck;
        link.info.lame_duck |= info.lame_duck;
        if is_new {
            self.status(cx, &MessageNatsStatus::LameDuck);
            // Only a client that has another server to go to leaves this one before it must.
            link.is_leaving = link.session.is_ready() && self.servers.has_others();
        }
    }

    fn server_error(&mut self, cx: &mut Context<'_>, link: &mut Link, text: Arc<str>) {
        self.counters.errors += 1;
        link.errors = link.errors.saturating_add(1);
        link.last_error = Some(Arc::clone(&text));
        // A server that repeats an error must not flood the observers.
        if link.errors <= REPORTED_ERRORS {
            self.status(cx, &MessageNatsStatus::Error(Arc::clone(&text)));
        }
        if let Some(subject) = denied_subscription(&text) {
            // It goes on, and so does the connection: these words are not why it may end.
            link.last_error = None;
            let denied = self.subscriptions.iter();
            let denied = denied.filter(|(_, local)| local.subscribed.subject == subject);
            for sid in in_order(denied.map(|(sid, _)| *sid)) {
                self.end_subscription(cx, sid, NatsError::Denied(Arc::clone(&text)));
            }
        } else if text.starts_with("Permissions Violation") {
            link.last_error = None;
        }
    }
}

/// How a connection ends by what was received.
pub(super) enum End {
    Lost(String),
    Drained,
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self::Lost(reason)
    }
}

/// The subject in "Permissions Violation for Subscription to "subject"", with a queue group behind it or not.
fn denied_subscription(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("Permissions Violation for Subscription to \"")?;
    rest.split('"').next()
}
