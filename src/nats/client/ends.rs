//! Ends: of subscriptions and their owners, of a drain, and of the client's process.
//!
//! ```text
//!  drain ─▶ Unsubscribing ─ PONG ─▶ Handling ─ all handled ─▶ Flushing ─ PONG ─▶ Done
//! ```
//!
//! A loss in between repeats the step on the next connection.

use std::sync::Arc;

use super::calls::deliver;
use super::link::Link;
use super::{Client, Drain, Due, Ping, Subscription, Then};
use crate::actor::Context;
use crate::base::order::in_order;
use crate::error::reason::Reason;
use crate::id::Target;
use crate::nats::error::NatsError;
use crate::nats::message::{MessageNatsEnd, MessageNatsStatus};
use crate::nats::protocol::encode;
use crate::nats::shared::{Change, Stage};

impl Client {
    /// A monitored process has ended: all its subscriptions end.
    pub(super) fn owner_has_ended(&mut self, target: &Target) {
        let Target::Pid(pid) = target else { return };
        let Some(owner) = self.owners.remove(pid) else {
            return;
        };
        // The server is asked to send no more, because no process would take it.
        for sid in owner.subscriptions {
            self.unsubscribe(sid);
            self.subscriptions.remove(&sid);
        }
    }

    /// Has the server end a subscription.
    fn unsubscribe(&self, sid: u64) {
        let mut state = self.shared.state.lock();
        if state.subscriptions.remove(&sid).is_some() {
            state.outbox.line(|bytes| encode::unsubscribe(bytes, sid));
        }
    }

    /// Forgets a subscription that its handle has ended.
    pub(super) fn forget(&mut self, cx: &mut Context<'_>, sid: u64) {
        let Some(local) = self.subscriptions.remove(&sid) else {
            return;
        };
        let pid = local.subscribed.pid;
        if let Some(owner) = self.owners.get_mut(&pid) {
            owner.subscriptions.remove(&sid);
            // The monitor stays while the process observes the client or has another subscription.
            if owner.subscriptions.is_empty() && !owner.observes {
                if let Some(monitor) = owner.monitor {
                    cx.demonitor(monitor);
                }
                self.owners.remove(&pid);
            }
        }
    }

    /// Ends a subscription, and says so to its owner.
    pub(super) fn end_subscription(&mut self, cx: &mut Context<'_>, sid: u64, error: NatsError) {
        self.unsubscribe(sid);
        let Some(local) = self.subscriptions.get(&sid) else {
            return;
        };
        let pid = local.subscribed.pid;
        self.forget(cx, sid);
        let end = MessageNatsEnd {
            subscription: Subscription(sid),
            error,
        };
        deliver(cx, pid, end);
    }

    // ---- Drains ----

    pub(super) fn begin_drain(&mut self, cx: &mut Context<'_>) {
        let limit = self.shared.options.drain_timeout;
        self.after(cx, limit, Due::Drain);
        self.drain = Drain::Unsubscribing;
        // The lock is held over all lines, so that no publisher comes between them and the PING of the drain.
        let mut state = self.shared.state.lock();
        for sid in in_order(self.subscriptions.keys().copied()) {
            state.outbox.line(|bytes| encode::unsubscribe(bytes, sid));
        }
        drop(state);
        self.drain_ping();
    }

    /// A PING behind everything that was published, whose answer is the next step.
    fn drain_ping(&mut self) {
        let mut state = self.shared.state.lock();
        // Flushes that are noted but not taken over have their PINGs before this one.
        let changes = std::mem::take(&mut state.changes);
        let (flushes, others): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|change| matches!(change, Change::Flush { .. }));
        state.changes = others;
        state.outbox.ping();
        let number = state.outbox.published();
        drop(state);
        for flush in flushes {
            if let Change::Flush { requester, number } = flush {
                self.pings.push_back(Ping {
                    number,
                    requester: Some(requester),
                    then: Then::Nothing,
                });
            }
        }
        self.pings.push_back(Ping {
            number,
            requester: None,
            then: Then::Drain,
        });
    }

    /// The PING of a drain was lost with its connection.
    pub(super) fn restart_drain_step(&mut self) {
        self.drain_ping();
    }

    /// The PING of a drain was answered. `true`: the drain is done.
    pub(super) fn advance_drain(&mut self) -> bool {
        match self.drain {
            Drain::Unsubscribing => {
                self.drain = Drain::Handling;
                // Each is begun, also after one that has messages left: all have to drain.
                let mut is_handled = true;
                for sid in in_order(self.subscriptions.keys()) {
                    let local = &self.subscriptions[sid];
                    is_handled &= local.subscribed.unhandled.drain();
                }
                if is_handled {
                    self.flush_drain();
                }
                false
            }
            Drain::Flushing => {
                self.drain = Drain::Done;
                true
            }
            _ => false,
        }
    }

    /// A subscriber may have handled its last message.
    pub(super) fn check_drain(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        // The server has sent what it had, so a subscription that has no unhandled message will have none.
        let mut locals = self.subscriptions.values();
        if self.drain == Drain::Handling
            && locals.all(|local| local.subscribed.unhandled.messages() == 0)
        {
            self.flush_drain();
            return self.look(cx);
        }
        Ok(())
    }

    /// Nothing is accepted any more, and what was accepted leaves.
    fn flush_drain(&mut self) {
        self.drain = Drain::Flushing;
        // Closed before the last PING: what is published later is refused, and not confirmed by it.
        self.shared.state.lock().stage = Stage::Closed;
        self.drain_ping();
    }

    // ---- The process ----

    /// The process ends: what waits for an answer gets one.
    pub(super) fn end(&mut self, cx: &mut Context<'_>, reason: &Reason) {
        let is_orderly = matches!(reason, Reason::Normal | Reason::Shutdown);
        if let Some(link) = self.link.take() {
            self.close(cx, *link, is_orderly);
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        state.detach();
        let changes = std::mem::take(&mut state.changes);
        let ended = if is_orderly {
            std::mem::take(&mut state.subscriptions)
        } else {
            // The subscriptions stay: a client that is spawned again goes on with them.
            let observers = self.owners.iter().filter(|(_, owner)| owner.observes);
            state.observers = observers.map(|(pid, _)| *pid).collect();
            Default::default()
        };
        // The lock is released before messages are sent, because a receiver may use the client at once.
        drop(state);
        for (sid, subscribed) in ended {
            let end = MessageNatsEnd {
                subscription: Subscription(sid),
                error: NatsError::Closed,
            };
            deliver(cx, subscribed.pid, end);
        }
        self.answer_closed(cx, changes);
        let ended = MessageNatsStatus::Ended(Arc::from(reason.to_string()));
        self.status(cx, &ended);
    }

    /// Answers what waits for an answer, the changes too that the client has not seen: it is closed.
    fn answer_closed(&mut self, cx: &mut Context<'_>, changes: Vec<Change>) {
        for id in in_order(self.requests.keys().copied()) {
            let Some(request) = self.requests.remove(&id) else {
                continue;
            };
            cx.cancel_timer(request.timer);
            request.requester.answer_request(cx, Err(NatsError::Closed));
        }
        for requester in self.pings.drain(..).filter_map(|ping| ping.requester) {
            requester.answer_flush(cx, Err(NatsError::Closed));
        }
        for change in changes {
            match change {
                Change::Request { requester, .. } => {
                    requester.answer_request(cx, Err(NatsError::Closed))
                }
                Change::Flush { requester, .. } => {
                    requester.answer_flush(cx, Err(NatsError::Closed))
                }
                _ => {}
            }
        }
    }

    /// Closes the connection; in an orderly end what waits is given to it first, as far as it takes it.
    fn close(&self, cx: &mut Context<'_>, mut link: Link, is_orderly: bool) {
        // What was published is given to the connection, which sends it before it closes.
        if is_orderly && link.session.is_ready() {
            let mut state = self.shared.state.lock();
            while let Some(chunk) = state.outbox.pop() {
                if link.write(cx, chunk.bytes).is_err() {
                    break;
                }
            }
        }
        // It may have ended already.
        let _ = cx.close(link.alias);
    }
}
