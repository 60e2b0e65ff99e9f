//! What is sent: chunks of the outbox, PINGs and PONGs.

use super::link::Link;
use super::{Client, Ping, Then};
use crate::actor::Context;
use crate::error::reason::Reason;
use crate::nats::message::MessageNatsStatus;
use crate::nats::outbox::Chunk;
use crate::nats::protocol::encode::{PING, PONG};
use crate::nats::shared::{Change, SharedState};

/// Chunks that one activation gives to the connection.
const CHUNKS: usize = 128;

/// Publishes without a confirmation after which the client sends a PING of its own.
// It bounds how many publishes are in doubt when a connection is lost, at the price of one PING for this many.
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
        // A bound, so that a large backlog does not keep this process from its input.
        for _ in 0..CHUNKS {
            self.send_owed(cx);
            let found = self.find();
            let has_changes = !found.changes.is_empty();
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
                if has_changes {
                    // A drain has put operations of its own into the outbox, which no publisher will announce.
                    continue;
                }
                return Ok(());
            };
            let sent = match &mut self.link {
                Some(link) => link.send(cx, chunk),
                None => Err(chunk),
            };
            if let Err(chunk) = sent {
                // The next look finds the link blocked, or none.
                self.shared.state.lock().outbox.push_front(chunk);
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
        // A client that only publishes gets no other sign that the server has taken it.
        let own_ping = link.filter(|_| can_send).and_then(|link| {
            let is_quiet = link.session.pings() == 0;
            let unconfirmed = state.outbox.taken().saturating_sub(self.confirmed);
            let is_due = self.ping_is_due || (is_quiet && unconfirmed >= UNCONFIRMED);
            is_due.then(|| own_ping(&mut state))
        });
        self.ping_is_due &= own_ping.is_none();
        let chunk = if can_send { state.outbox.pop() } else { None };
        // Noted under the same lock: a publisher that comes later sees that this process sleeps and wakes it.
        if chunk.is_none() {
            state.looked(!can_send);
        }
        // At half and not at once, so that publishers that were refused can write for a while.
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

    /// Sends what stands before every chunk.
    fn send_owed(&mut self, cx: &mut Context<'_>) {
        let Some(link) = &mut self.link else { return };
        // The server closes a connection that does not answer its PINGs, so this goes before everything else.
        if link.owes_pong && !link.is_blocked {
            link.owes_pong = link.write(cx, PONG).is_err();
        }
        let has_asked = self.pings.iter().any(|ping| ping.then == Then::Leave);
        if link.is_leaving && !link.is_blocked && !has_asked && link.write(cx, PING).is_ok() {
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
        // Two without an answer, because one may be on its way just now.
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

fn own_ping(state: &mut SharedState) -> u64 {
    state.outbox.ping();
    state.outbox.published()
}

impl Link {
    fn takes_chunks(&self) -> bool {
        self.session.is_ready() && !self.is_blocked && !self.is_leaving
    }

    /// Gives the connection a chunk, or gives it back.
    fn send(&mut self, cx: &mut Context<'_>, mut chunk: Chunk) -> Result<(), Chunk> {
        let bytes = std::mem::take(&mut chunk.bytes);
        match self.write(cx, bytes) {
            Ok(()) => {
                self.session.pinged(chunk.pings);
                Ok(())
            }
            Err(bytes) => {
                chunk.bytes = bytes;
                Err(chunk)
            }
        }
    }
}
