//! What the handles and the client's process share, behind one lock.
//!
//! ```text
//!  handle (any thread) ─ lock: encode into the outbox, note a change ─▶ wake, if it is due
//!  client ◀─ wake ─ lock: take the changes, then a chunk ─▶ connection
//! ```
//!
//! A change (a subscription, a request, a flush) and its bytes enter under one hold of the lock, and the client takes
//! changes before the next chunk under one hold too: so it knows of a subscription before its first message can come.
//!
//! States of the wake, all of them under the lock:
//!
//! 1. *idle*: nothing waits. A publish or a change sends a wake, 2.
//! 2. *pending*: a wake is in the client's mailbox. Nothing sends another. The client's next look is 1 or 3.
//! 3. *blocked*: there is no connection, or it takes no more at present. The client looks when that changes, so that
//!    publishes send no wake; a change does, because its time runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::credit::Unhandled;
use super::error::NatsError;
use super::options::NatsOptions;
use super::outbox::Outbox;
use super::protocol::encode::Publish;
use crate::base::sync::Mutex;
use crate::bridge::request::Reply;
use crate::id::{Pid, Target};
use crate::message::CompactMessage;
use crate::message::{Message, Priority};
use crate::process::Processes;

/// What a publish may weigh before a server has said otherwise: the default of nats-server.
const MAX_PAYLOAD: usize = 1 << 20;

/// The subscription of all answers.
/// Fixed, so that a client that takes over subscribes it again under the number that requests already know.
pub(super) const INBOX_SID: u64 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: NatsOptions,
    /// What subjects of answers begin with, the last dot included.
    pub(super) inbox: String,
    pub(super) state: Mutex<SharedState>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct SharedState {
    pub(super) outbox: Outbox,
    pub(super) changes: Vec<Change>,
    /// All subscriptions, for a client that takes over.
    pub(super) subscriptions: BTreeMap<u64, Arc<Subscribed>>,
    pub(super) observers: Vec<Pid>,
    /// The last id that was given to a subscription or a request.
    last_id: u64,
    pub(super) max_payload: usize,
    pub(super) stage: Stage,
    /// A publish was refused for lack of room since there last was any.
    pub(super) was_refused: bool,
    wake: Wake,
    client: Option<(Weak<Processes>, Pid)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Idle,
    Pending,
    Blocked,
}

/// How far the end of the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// No subscription is accepted; publishes are.
    Draining,
    /// Nothing is accepted.
    Closed,
}

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) sid: u64,
    pub(super) pid: Pid,
    pub(super) subject: String,
    /// Empty for none.
    pub(super) queue: String,
    pub(super) options: SubscribeOptions,
    pub(super) unhandled: Arc<Unhandled>,
}

/// What happens to a message for a subscriber that has reached its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenSlow {
    /// The message is dropped and counted; see [`MessageNats::missed`](super::MessageNats::missed).
    #[default]
    DropNewest,
    /// The message is dropped and the subscription ends, with a [`MessageNatsEnd`](super::MessageNatsEnd).
    Unsubscribe,
}

/// Options of one subscription.
///
/// ```
/// use longshore::nats::{SubscribeOptions, WhenSlow};
///
/// let options = SubscribeOptions::default()
///     .with_max_messages(100)
///     .with_when_slow(WhenSlow::Unsubscribe);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// Messages that the subscriber may have unhandled. 65,536 by default.
    pub max_messages: u64,
    /// Bytes of headers and payload that the subscriber may have unhandled; one message always passes. 64 MiB by
    /// default.
    pub max_bytes: u64,
    /// What happens to a message beyond that.
    pub when_slow: WhenSlow,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            max_messages: 65_536,
            max_bytes: 64 << 20,
            when_slow: WhenSlow::DropNewest,
        }
    }
}

impl SubscribeOptions {
    /// Sets [`max_messages`](Self::max_messages); 0 is taken as 1.
    #[must_use]
    pub fn with_max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages.max(1);
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`when_slow`](Self::when_slow).
    #[must_use]
    pub fn with_when_slow(mut self, when_slow: WhenSlow) -> Self {
        self.when_slow = when_slow;
        self
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Requester {
    /// To a process, as a message with that label.
    Process(Pid, u64),
    /// To what called the client's process.
    Call(Reply),
}

/// What the client must know before it sends the bytes that belong to it.
#[derive(Debug)]
pub(super) enum Change {
    Subscribe(Arc<Subscribed>),
    Unsubscribe(u64),
    Request {
        id: u64,
        requester: Requester,
        timeout: Duration,
        /// The number of its publish.
        number: u64,
    },
    /// A PING is in the outbox. `number` is the number of the publish before it.
    Flush {
        requester: Requester,
        number: u64,
    },
    Observe(Pid),
    Drain,
}

/// What the client's process is woken with.
#[derive(Debug)]
pub(super) struct Woken;

impl Shared {
    pub(super) fn new(options: NatsOptions, inbox: String) -> Self {
        Self {
            options,
            inbox,
            state: Mutex::new(SharedState {
                outbox: Outbox::default(),
                changes: Vec::new(),
                subscriptions: BTreeMap::new(),
                observers: Vec::new(),
                last_id: INBOX_SID,
                max_payload: MAX_PAYLOAD,
                stage: Stage::Open,
                was_refused: false,
                wake: Wake::Idle,
                client: None,
            }),
        }
    }

    /// Runs `enter` under the lock, and wakes the client if that is due.
    pub(super) fn enter<R>(&self, enter: impl FnOnce(&mut SharedState) -> R) -> R {
        let mut state = self.state.lock();
        // The lengths before and after say whether bytes or changes were added; `enter` need not report it, and cannot
        // forget.
        let (bytes, changes) = (state.outbox.bytes(), state.changes.len());
        let result = enter(&mut state);
        let wake = state.wake_after(bytes, changes);
        // The lock is released before the wake: the woken client takes it at once.
        drop(state);
        if let Some((processes, pid)) = wake {
            send_wake(&processes, pid);
        }
        result
    }

    /// Wakes the client's process, whatever waits.
    pub(super) fn wake(&self) {
        let client = self.state.lock().client.clone();
        if let Some((processes, pid)) = client {
            send_wake(&processes, pid);
        }
    }
}

/// The lane is not bounded, so that a wake cannot be refused.
fn send_wake(processes: &Weak<Processes>, pid: Pid) {
    if let Some(processes) = processes.upgrade() {
        let message = CompactMessage::from(Message::new(Woken));
        // A process that has just ended needs no wake.
        let _ = processes.send(Pid::NODE, Target::Pid(pid), message, Priority::High);
    }
}

impl SharedState {
    /// Steps 1 and 3 of the page.
    fn wake_after(&mut self, bytes: usize, changes: usize) -> Option<(Weak<Processes>, Pid)> {
        // Changes carry a time limit (a flush, a request), so they wake even a client without a connection.
        let has_changed = self.changes.len() > changes;
        let is_due = match self.wake {
            Wake::Idle => has_changed || self.outbox.bytes() > bytes,
            Wake::Pending => false,
            Wake::Blocked => has_changed,
        };
        // Without a client there is nothing to wake; `attach` looks at all that waits by itself.
        let client = self.client.clone().filter(|_| is_due);
        if client.is_some() {
            // Under the lock, so that the next publisher sees it: two wakes for one look would be one too many.
            self.wake = Wake::Pending;
        }
        client
    }

    /// The client has looked, and goes on with or without a connection.
    pub(super) fn looked(&mut self, is_blocked: bool) {
        self.wake = if is_blocked {
            Wake::Blocked
        } else {
            Wake::Idle
        };
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The client's process begins. `false`: there is another one.
    pub(super) fn attach(&mut self, processes: Weak<Processes>, pid: Pid) -> bool {
        let is_first = self.client.is_none();
        if is_first {
            self.client = Some((processes, pid));
            self.stage = Stage::Open;
            // As if a wake were on its way: `init` looks at once after this, and no publisher need send one before.
            self.wake = Wake::Pending;
        }
        is_first
    }

    /// The client's process ends.
    pub(super) fn detach(&mut self) {
        self.client = None;
        // Not Open: a publish between two clients would wait for a client that may never come. The next `attach` opens
        // it.
        self.stage = Stage::Closed;
    }

    /// Checks and encodes a publish.
    pub(super) fn publish(
        &mut self,
        publish: &Publish<'_>,
        pending_limit: usize,
    ) -> Result<(), NatsError> {
        // A client that drains still takes publishes: what its subscribers answer must leave before the end.
        if self.stage == Stage::Closed {
            return Err(NatsError::Closed);
        }
        if publish.body() > self.max_payload {
            return Err(NatsError::TooLarge {
                max: self.max_payload,
            });
        }
        // Refused only for what waits before it: so one message always passes, and the bound is the limit plus one.
        if self.outbox.bytes() >= pending_limit {
            self.was_refused = true;
            return Err(NatsError::Full);
        }
        self.outbox.publish(publish);
        Ok(())
    }
}
