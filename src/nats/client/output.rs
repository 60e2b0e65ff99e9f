//! What is sent: chunks of the outbox, PINGs and PONGs.

use super::link::Link;
use super::{Client, Ping, Then};
use crate::actor::Context;
use crate::error::reason::Reason;
use crate::id::Alias;
use crate::message::{Message, MessageTcp};
use crate::nats::message::MessageNatsStatus;
use crate::nats::outbox::Chunk;
use crate::nats::protocol::encode::{PING, PONG};
use crate::nats::shared::{Change, State};

/// Arena that one activation gives to the connection.
const CHUNKS: usize = 32;

/// The largest write. A larger chunk is sent in several.
const WRITE: usize = 256 << 10;

/// Publishes without a confirmation after which the client sends a PING of its own.
const UNCONFIRMED: u64 = 4096;

/// What one look into the shared state found.
struct Found {
    changes: Vec<Change>,
    chunk: Option<Chunk>,
    /// The number of the publish before a PING of the client's own.
    own_ping: Option<u64>,
    is_writable_again: bool,
}

impl Client {
    /// Takes over changes, and sends what waits, as far as the connection takes it.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        for _ in 0..CHUNKS {
            self.send_owed(cx);
            let found = self.find();
            for change in found.changes {
                self.apply(cx, change);
            }
            if let Some(number) = found.own_ping {
                self.pings.push_back(Ping {
                    number,
                    requester: None,
                    then: Then::Nothing,
                });
            }
            if found.is_writable_again {
                self.status(cx, &MessageNatsStatus::Writable);
            }
            let Some(chunk) = found.chunk else {
                return Ok(());
            };
            if let Some(link) = &mut self.link {
                link.current = Some((chunk, 0));
                link.send_current(cx);
            }
        }
        // Other processes have their turn before the rest.
        self.shared.wake();
        Ok(())
    }

    fn find(&mut self) -> Found {
        let shared = std::sync::Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        let changes = std::mem::take(&mut state.changes);
        let link = self.link.as_deref();
        let can_send = link.is_some_and(Link::takes_chunks);
        let own_ping = link.filter(|_| can_send).and_then(|link| {
            let is_quiet = link.session.pings() == 0;
            let unconfirmed = state.outbox.taken().saturating_sub(self.confirmed);
            let is_due = self.ping_is_due || (is_quiet && unconfirmed >= UNCONFIRMED);
            is_due.then(|| own_ping(&mut state))
        });
        self.ping_is_due &= own_ping.is_none();
        let chunk = if can_send { state.outbox.pop() } else { None };
        if chunk.is_none() {
            state.looked(!can_send);
        }
        let is_half_empty = state.outbox.bytes() <= shared.options.pending_limit / 2;
        let is_writable_again = state.was_refused && is_half_empty;
        state.was_refused &= !is_writable_again;
        Found {
            changes,
            chunk,
            own_ping,
            is_writable_again,
        }
    }

    /// Sends what stands before every chunk, and the rest of the current one.
    fn send_owed(&mut self, cx: &mut Context<'_>) {
        let Some(link) = &mut self.link else { return };
        if !link.is_blocked && link.current.is_some() {
            link.send_current(cx);
        }
        if link.is_blocked || link.is_within_chunk() {
            return;
        }
        if link.owes_pong {
            link.owes_pong = !link.write(cx, PONG);
        }
        let has_asked = self.pings.iter().any(|ping| ping.then == Then::Leave);
        if link.is_leaving && link.current.is_none() && !has_asked && link.write(cx, PING) {
            // Behind the PINGs that the connection has, before those in the outbox.
            let at = (link.session.pings() as usize).min(self.pings.len());
            let ping = Ping {
                number: self.shared.state.lock().outbox.taken(),
                requester: None,
                then: Then::Leave,
            };
            self.pings.insert(at, ping);
            link.session.pinged(1);
        }
    }

    pub(super) fn writable(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        if let Some(link) = &mut self.link {
            link.is_blocked = false;
        }
        self.look(cx)
    }

    /// The interval between two PINGs has passed.
    pub(super) fn keep_alive(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let unanswered = self.link.as_ref().map_or(0, |link| link.session.pings());
        // A PING that waits behind bytes that the server does not read is one without an answer, too.
        if unanswered >= 2 || self.ping_is_due {
            return self.fail(cx, "stale: the server answers no PING");
        }
        self.ping_is_due = true;
        let interval = self.shared.options.ping_interval;
        self.after(cx, interval, super::Due::Ping(self.attempt));
        self.look(cx)
    }
}

fn own_ping(state: &mut State) -> u64 {
    state.outbox.ping();
    state.outbox.published()
}

impl Link {
    fn takes_chunks(&self) -> bool {
        self.session.is_ready() && !self.is_blocked && !self.is_leaving && self.current.is_none()
    }

    /// Gives the connection what it takes of the current chunk.
    fn send_current(&mut self, cx: &mut Context<'_>) {
        let Some((mut chunk, mut sent)) = self.current.take() else {
            return;
        };
        if chunk.bytes.len() <= WRITE {
            let bytes = std::mem::take(&mut chunk.bytes);
            if let Err(refused) = send(cx, self.alias, bytes) {
                chunk.bytes = refused;
                self.is_blocked = true;
                self.current = Some((chunk, 0));
                return;
            }
        } else {
            while sent < chunk.bytes.len() {
                let end = (sent + WRITE).min(chunk.bytes.len());
                if !self.write(cx, &chunk.bytes[sent..end]) {
                    self.is_blocked = true;
                    self.current = Some((chunk, sent));
                    return;
                }
                sent = end;
            }
        }
        self.session.pinged(chunk.pings);
    }
}

/// Sends bytes, or gives them back.
fn send(
    cx: &mut Context<'_>,
    alias: Alias,
    bytes: crate::memory::buffer::Buffer,
) -> Result<(), crate::memory::buffer::Buffer> {
    let sent = cx.send_alias(alias, MessageTcp::new(alias, bytes));
    sent.map_err(|refused| match refused.into_message() {
        Message::Tcp(packet) => packet.data,
        _ => crate::memory::buffer::Buffer::new(),
    })
}
