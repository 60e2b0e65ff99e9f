//! The client's process: one connection at a time, and what depends on it.
//!
//! ```text
//!  Waiting ─ timer ─▶ Connecting ─ INFO, CONNECT, PONG ─▶ Ready ─ lost ─▶ Waiting
//!     ▲                    └ fails, 1                       │
//!     └─────────────────────────────────────────────────────┘
//!                                     lame duck: PING, PONG, then the next server, 2
//! ```
//!
//! 1. The next server is tried; after a round over all of them the client waits, see `servers`.
//! 2. A server that is about to shut down gets no further publishes; when it has confirmed the last one the client goes
//!    to another server. What is published meanwhile waits.
//!
//! What a loss means: requests that were given to the connection fail at once, so that no late answer can be a second
//! one; flushes fail; publishes since the last PONG are counted as uncertain; subscriptions are made again on the next
//! connection before anything else is sent; what had not been given to the connection leaves then.
//!
//! The files: `link` makes and ends connections, `input` handles what a server sends, `output` sends what waits, `ends`
//! handles ends of subscriptions and drains.

mod calls;
mod ends;
mod input;
mod link;
mod output;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::NatsError;
use super::message::{MessageNatsStatus, Subscription};
use super::options::Address;
use super::servers::Servers;
use super::shared::{Change, Requester, Shared, Subscribed, Woken};
use crate::actor::{Actor, Context};
use crate::bridge::Timer;
use crate::bridge::request::Reply;
use crate::error::reason::Reason;
use crate::id::{Pid, Ref};
use crate::inspect::Inspection;
use crate::memory::buffer::BufferPool;
use crate::message::Message;

pub use calls::{NatsFlush, NatsRequest};
use link::Link;

/// The actor of a [`Nats`](super::Nats): it holds the connection to a server. See
/// [`Nats::client`](super::Nats::client).
///
/// It answers two requests, for callers that are no processes: [`NatsRequest`] and [`NatsFlush`].
pub struct Client {
    shared: Arc<Shared>,
    servers: Servers,
    link: Option<Box<Link>>,
    /// Attempts to connect so far; the number of the current one.
    attempt: u64,
    give_up: Option<Timer>,
    subscriptions: HashMap<u64, Local>,
    /// Monitored processes: subscribers and observers.
    owners: BTreeMap<Pid, Owner>,
    requests: HashMap<u64, Request>,
    /// PINGs in order: first those that the connection has got, then those in the outbox.
    pings: VecDeque<Ping>,
    /// A PING of the client's own is due.
    ping_is_due: bool,
    /// The number of the last publish that a PONG has confirmed, or that was counted as uncertain.
    confirmed: u64,
    drain: Drain,
    pool: BufferPool,
    counters: ClientCounters,
}

/// A subscription as the client sees it.
struct Local {
    subscribed: Arc<Subscribed>,
    /// The subject of the last message: most often that of the next one.
    subject: Arc<str>,
    missed: u64,
    is_slow: bool,
}

#[derive(Default)]
struct Owner {
    monitor: Option<Ref>,
    subscriptions: BTreeSet<u64>,
    observes: bool,
}

struct Request {
    requester: Requester,
    timer: Timer,
    /// The number of its publish.
    number: u64,
}

struct Ping {
    /// The number of the publish before it.
    number: u64,
    requester: Option<Requester>,
    then: Then,
}

/// What follows the answer to a PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    /// Another server.
    Leave,
    /// The next step of a drain.
    Drain,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// The server has been asked to send no more.
    Unsubscribing,
    /// Subscribers handle what they have.
    Handling,
    /// What was published leaves.
    Flushing,
    Done,
}

#[derive(Debug, Default)]
struct ClientCounters {
    connects: u64,
    losses: u64,
    uncertain: u64,
    received: u64,
    dropped: u64,
    undecodable: u64,
    oversized: u64,
    unroutable: u64,
    late_answers: u64,
    removed: u64,
    errors: u64,
}

/// Timers of the client.
#[derive(Clone, Copy, Debug)]
enum Due {
    Connect(u64),
    Deadline(u64),
    Ping(u64),
    Request(u64),
    GiveUp,
    Drain,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, addresses: Vec<Address>) -> Self {
        Self {
            shared,
            servers: Servers::new(addresses),
            link: None,
            attempt: 0,
            give_up: None,
            subscriptions: HashMap::new(),
            owners: BTreeMap::new(),
            requests: HashMap::new(),
            pings: VecDeque::new(),
            ping_is_due: false,
            confirmed: 0,
            drain: Drain::No,
            pool: BufferPool::new(),
            counters: ClientCounters::default(),
        }
    }

    fn due(&mut self, cx: &mut Context<'_>, due: Due) -> Result<(), Reason> {
        match due {
            // A later loss has planned another attempt.
            Due::Connect(attempt) if attempt == self.attempt && self.link.is_none() => {
                self.connect(cx)
            }
            Due::Deadline(attempt) if self.is_current(attempt) => {
                self.fail(cx, "no answer within the connect timeout")
            }
            Due::Ping(attempt) if self.is_current(attempt) => self.keep_alive(cx),
            Due::Request(id) => {
                if let Some(request) = self.requests.remove(&id) {
                    // An answer that comes later finds no request and is counted.
                    request
                        .requester
                        .answer_request(cx, Err(NatsError::Timeout));
                }
                Ok(())
            }
            Due::GiveUp if self.give_up.take().is_some() => {
                Err(Reason::error("no server was reached in time"))
            }
            Due::Drain => {
                self.drain = Drain::Done;
                Err(Reason::Normal)
            }
            // A timer of an earlier attempt, which was not canceled because its number makes it stale.
            _ => Ok(()),
        }
    }

    fn is_current(&self, attempt: u64) -> bool {
        attempt == self.attempt && self.link.is_some()
    }

    fn after(&self, cx: &mut Context<'_>, delay: Duration, due: Due) -> Timer {
        cx.send_after(cx.pid(), due, delay)
    }

    /// Takes over what the handles have noted.
    fn apply(&mut self, cx: &mut Context<'_>, change: Change) {
        match change {
            Change::Subscribe(subscribed) => self.adopt(cx, subscribed),
            Change::Unsubscribe(sid) => self.forget(cx, sid),
            Change::Request {
                id,
                requester,
                timeout,
                number,
            } => {
                let timer = self.after(cx, timeout, Due::Request(id));
                let request = Request {
                    requester,
                    timer,
                    number,
                };
                self.requests.insert(id, request);
            }
            Change::Flush { requester, number } => self.pings.push_back(Ping {
                number,
                requester: Some(requester),
                then: Then::Nothing,
            }),
            Change::Observe(pid) => {
                // A process that observes and subscribes has one monitor.
                self.owner(cx, pid).observes = true;
            }
            Change::Drain => self.begin_drain(cx),
        }
    }

    /// The record of a process, which is monitored from its first use on.
    fn owner(&mut self, cx: &mut Context<'_>, pid: Pid) -> &mut Owner {
        let owner = self.owners.entry(pid).or_default();
        // One monitor for each process, whatever it holds of the client.
        if owner.monitor.is_none() {
            owner.monitor = Some(cx.monitor(pid));
        }
        owner
    }

    fn adopt(&mut self, cx: &mut Context<'_>, subscribed: Arc<Subscribed>) {
        let sid = subscribed.sid;
        self.owner(cx, subscribed.pid).subscriptions.insert(sid);
        let local = Local {
            subject: Arc::from(subscribed.subject.as_str()),
            subscribed,
            missed: 0,
            is_slow: false,
        };
        self.subscriptions.insert(sid, local);
    }

    fn status(&self, cx: &mut Context<'_>, status: &MessageNatsStatus) {
        let observers = self.owners.iter().filter(|(_, owner)| owner.observes);
        for (pid, _) in observers {
            // An observer that has ended is removed by its monitor.
            let _ = cx.send(*pid, status.clone());
        }
    }
}

impl Actor for Client {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let shared = Arc::clone(&self.shared);
        let processes = Arc::downgrade(cx.env().processes);
        let mut state = shared.state.lock();
        if !state.attach(processes, cx.pid()) {
            return Err(Reason::error("this client has a process already"));
        }
        // Of an earlier process: what it knew, this one must know.
        let subscriptions: Vec<_> = state.subscriptions.values().cloned().collect();
        let observers = std::mem::take(&mut state.observers);
        // These are among the subscriptions that are adopted below.
        state
            .changes
            .retain(|change| !matches!(change, Change::Subscribe(_)));
        // What an earlier process has sent is not confirmed to this one.
        self.confirmed = state.outbox.taken();
        // Unlocked before the monitors are set, which may find processes that have ended.
        drop(state);
        for subscribed in subscriptions {
            self.adopt(cx, subscribed);
        }
        for pid in observers {
            self.owner(cx, pid).observes = true;
        }
        self.wait_for_server(cx);
        self.connect(cx)
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::Tcp(packet) if self.is_link(packet.id) => self.received(cx, packet.data),
            Message::TcpSecured(secured) if self.is_link(secured.id) => self.secured(cx),
            Message::TcpWritable(writable) if self.is_link(writable.id) => self.writable(cx),
            Message::TcpDisconnect(end) if self.is_link(end.id) => {
                self.fail(cx, &end.reason.to_string())
            }
            Message::Down(down) => {
                self.owner_has_ended(&down.target);
                self.look(cx)
            }
            message => match message.take::<Woken>() {
                Ok(Woken) => self.look(cx).and_then(|()| self.check_drain(cx)),
                Err(message) => match message.take::<Due>() {
                    Ok(due) => self.due(cx, due),
                    // Of an earlier connection, or of no interest.
                    Err(_) => Ok(()),
                },
            },
        }
    }

    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        let requester = Requester::Call(reply);
        match message.take::<NatsRequest>() {
            Ok(request) => {
                let asked = self.shared.ask(
                    requester,
                    &request.subject,
                    &request.headers,
                    &request.data,
                    request.timeout,
                );
                if let Err((error, requester)) = asked {
                    requester.answer_request(cx, Err(error));
                }
            }
            Err(message) => {
                if message.is::<NatsFlush>()
                    && let Err(requester) = self.shared.flush(requester)
                {
                    requester.answer_flush(cx, Err(NatsError::Closed));
                }
            }
        }
        Ok(())
    }

    fn handle_inspect(&mut self, _: &mut Context<'_>) -> Inspection {
        let mut inspection = Inspection::default();
        let link = self.link.as_deref();
        let is_ready = link.is_some_and(|link| link.session.is_ready());
        inspection.add("server", link.map_or("", |link| &link.server));
        inspection.add("ready", is_ready);
        let state = self.shared.state.lock();
        let (published, pending) = (state.outbox.published(), state.outbox.bytes());
        drop(state);
        let unhandled = self.subscriptions.values();
        let unhandled = unhandled.map(|local| local.subscribed.unhandled.messages());
        let counters = &self.counters;
        for (name, value) in [
            ("published", published),
            ("pending_bytes", pending as u64),
            ("confirmed", self.confirmed),
            ("uncertain", counters.uncertain),
            ("removed", counters.removed),
            ("subscriptions", self.subscriptions.len() as u64),
            ("unhandled", unhandled.sum()),
            ("requests", self.requests.len() as u64),
            ("received", counters.received),
            ("dropped", counters.dropped),
            ("undecodable", counters.undecodable),
            ("oversized", counters.oversized),
            ("unroutable", counters.unroutable),
            ("late_answers", counters.late_answers),
            ("connects", counters.connects),
            ("losses", counters.losses),
            ("errors", counters.errors),
        ] {
            inspection.add(name, value);
        }
        inspection
    }

    fn terminate(&mut self, cx: &mut Context<'_>, reason: &Reason) {
        self.end(cx, reason);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("link", &self.link)
            .field("subscriptions", &self.subscriptions.len())
            .finish_non_exhaustive()
    }
}
