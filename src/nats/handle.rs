//! [`Nats`]: what any process and any thread holds to use a client.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::credit::Unhandled;
use super::error::{NatsError, PublishError};
use super::headers::Headers;
use super::message::{MessageNats, Subscription};
use super::options::{Address, NatsOptions};
use super::protocol::encode::{self, Publish};
use super::shared::{Change, Requester, Shared, Stage, SubscribeOptions, Subscribed};
use super::subject;
use crate::error::ConfigError;
use crate::id::Pid;
use crate::memory::buffer::Buffer;

/// A client of NATS: a handle that any process and any thread can use, cheap to clone. The process that it works
/// through is [`Nats::client`], which the program spawns.
///
/// Nothing here blocks. Publishes are encoded at once, into memory that [`NatsOptions::pending_limit`] bounds, and
/// leave in the order of the calls; also what is published while there is no server.
///
/// ```no_run
/// use longshore::nats::{MessageNats, Nats};
/// use longshore::prelude::*;
///
/// struct Orders(Nats);
///
/// impl Actor for Orders {
///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
///         // A queue group: one of its members on all nodes gets each message.
///         self.0.subscribe(cx.pid(), "orders.*", Some("orders"))?;
///         Ok(())
///     }
///
///     fn handle_message(
///         &mut self,
///         _: &mut Context<'_>,
///         _: Pid,
///         message: Message,
///     ) -> Result<(), Reason> {
///         if let Ok(order) = message.downcast::<MessageNats>() {
///             println!("{}: {:?}", order.subject, order.data);
///             self.0.publish("done", order.data)?;
///         }
///         Ok(())
///     }
/// }
///
/// fn main() -> Result<(), longshore::Error> {
///     let nats = Nats::new("127.0.0.1:4222")?;
///     let node = Node::start("orders@localhost")?;
///     let client = nats.clone();
///     node.spawn(move || client.client())?;
///     node.spawn(|| Orders(nats))?;
///     node.wait()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Nats {
    pub(super) shared: Arc<Shared>,
    addresses: Arc<[Address]>,
}

impl Nats {
    /// Checks the options. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// The field that is wrong.
    ///
    /// ```
    /// use longshore::nats::Nats;
    ///
    /// let nats = Nats::new("127.0.0.1:4222").unwrap();
    /// nats.publish("waits", "until a client runs").unwrap();
    /// assert!(Nats::new("http://127.0.0.1").is_err());
    /// ```
    pub fn new(options: impl Into<NatsOptions>) -> Result<Self, ConfigError> {
        let options = options.into();
        let addresses = options.validate()?.into();
        // From the system's generator: another client that guesses the inbox could read the answers.
        let inbox = format!(
            "{}.{:016x}{:016x}.",
            options.inbox_prefix,
            random(),
            random()
        );
        Ok(Self {
            shared: Arc::new(Shared::new(options, inbox)),
            addresses,
        })
    }

    /// The actor that holds the connection. Spawn it once at a time; after its end it may be spawned again.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), longshore::Error> {
    /// let nats = longshore::nats::Nats::new("127.0.0.1:4222")?;
    /// let node = longshore::Node::start("example@localhost")?;
    /// node.spawn(move || nats.client())?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(Arc::clone(&self.shared), self.addresses.to_vec())
    }

    /// Publishes.
    ///
    /// # Errors
    ///
    /// The payload comes back with [`NatsError::Subject`], [`NatsError::TooLarge`], [`NatsError::Full`] or
    /// [`NatsError::Closed`].
    pub fn publish<D: AsRef<[u8]> + Into<Buffer>>(
        &self,
        subject: &str,
        data: D,
    ) -> Result<(), PublishError> {
        self.publish_with(subject, None, &Headers::new(), data)
    }

    /// Publishes with headers, and with the subject that an answer goes to.
    ///
    /// # Errors
    ///
    /// As [`Nats::publish`].
    pub fn publish_with<D: AsRef<[u8]> + Into<Buffer>>(
        &self,
        subject: &str,
        reply: Option<&str>,
        headers: &Headers,
        data: D,
    ) -> Result<(), PublishError> {
        // Both are checked: a space or a line break in a subject would be another operation of the protocol.
        let is_reply = reply.is_none_or(subject::is_publishable);
        let result = if is_reply && subject::is_publishable(subject) {
            let publish = Publish {
                subject,
                reply: reply.unwrap_or_default(),
                headers: headers.block(),
                payload: data.as_ref(),
            };
            let limit = self.shared.options.pending_limit;
            self.shared.enter(|state| state.publish(&publish, limit))
        } else {
            Err(NatsError::Subject)
        };
        result.map_err(|error| PublishError {
            error,
            data: data.into(),
        })
    }

    /// Answers a message.
    ///
    /// # Errors
    ///
    /// As [`Nats::publish`]; [`NatsError::Subject`] if the message asks for no answer.
    pub fn respond<D: AsRef<[u8]> + Into<Buffer>>(
        &self,
        to: &MessageNats,
        data: D,
    ) -> Result<(), PublishError> {
        self.publish(to.reply.as_deref().unwrap_or_default(), data)
    }

    /// Subscribes a process: it gets each message as a [`MessageNats`], until it ends or [`Nats::unsubscribe`]. With a
    /// queue group, one of its members gets each message.
    ///
    /// # Errors
    ///
    /// [`NatsError::Subject`] or [`NatsError::Closed`].
    pub fn subscribe<'q>(
        &self,
        pid: Pid,
        subject: &str,
        queue: impl Into<Option<&'q str>>,
    ) -> Result<Subscription, NatsError> {
        self.subscribe_with(pid, subject, queue, SubscribeOptions::default())
    }

    /// Subscribes with options.
    ///
    /// # Errors
    ///
    /// As [`Nats::subscribe`].
    pub fn subscribe_with<'q>(
        &self,
        pid: Pid,
        subject: &str,
        queue: impl Into<Option<&'q str>>,
        options: SubscribeOptions,
    ) -> Result<Subscription, NatsError> {
        let queue = queue.into();
        if !subject::is_subscribable(subject) || !queue.is_none_or(subject::is_queue_group) {
            return Err(NatsError::Subject);
        }
        let queue = queue.unwrap_or_default();
        // Weak: the subscription lies in the shared state, and would keep it alive.
        let drained = Arc::downgrade(&self.shared);
        let drained = move || drained.upgrade().iter().for_each(|shared| shared.wake());
        let unhandled = Arc::new(Unhandled::new(drained));
        // The change and its bytes in one hold of the lock, so that the client knows the subscription before its
        // messages.
        self.shared.enter(|state| {
            if state.stage != Stage::Open {
                return Err(NatsError::Closed);
            }
            let sid = state.next_id();
            let subscribed = Arc::new(Subscribed {
                sid,
                pid,
                subject: subject.to_owned(),
                queue: queue.to_owned(),
                options,
                unhandled,
            });
            state.subscriptions.insert(sid, Arc::clone(&subscribed));
            state.changes.push(Change::Subscribe(subscribed));
            let outbox = &mut state.outbox;
            outbox.line(|bytes| encode::subscribe(bytes, subject, queue, sid));
            Ok(Subscription(sid))
        })
    }

    /// Ends a subscription. Messages that are under way to the process still arrive.
    pub fn unsubscribe(&self, subscription: Subscription) {
        self.shared.enter(|state| {
            // Twice does nothing: the second UNSUB could reach no subscription.
            if state.subscriptions.remove(&subscription.0).is_some() {
                state.changes.push(Change::Unsubscribe(subscription.0));
                let outbox = &mut state.outbox;
                outbox.line(|bytes| encode::unsubscribe(bytes, subscription.0));
            }
        });
    }

    /// Asks; the process gets a [`MessageNatsReply`](super::MessageNatsReply) with the label: the first answer,
    /// [`NatsError::NoResponders`] at once if no process subscribes, [`NatsError::Timeout`], or
    /// [`NatsError::Disconnected`] at once if the connection is lost while it waits.
    ///
    /// # Errors
    ///
    /// As [`Nats::publish`].
    pub fn request<D: AsRef<[u8]> + Into<Buffer>>(
        &self,
        pid: Pid,
        label: u64,
        subject: &str,
        data: D,
        timeout: Duration,
    ) -> Result<(), PublishError> {
        let requester = Requester::Process(pid, label);
        let asked = self.ask(requester, subject, &Headers::new(), data.as_ref(), timeout);
        asked.map_err(|(error, _)| PublishError {
            error,
            data: data.into(),
        })
    }

    /// Asks on behalf of `requester`, which comes back if it was not asked.
    pub(super) fn ask(
        &self,
        requester: Requester,
        subject: &str,
        headers: &Headers,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<(), (NatsError, Requester)> {
        self.shared
            .ask(requester, subject, headers, payload, timeout)
    }

    /// Asks the server whether it has everything that was published before: the process gets a
    /// [`MessageNatsFlushed`](super::MessageNatsFlushed) with the label. If the connection is lost before the answer,
    /// it says [`NatsError::Disconnected`].
    ///
    /// # Errors
    ///
    /// [`NatsError::Closed`].
    pub fn flush(&self, pid: Pid, label: u64) -> Result<(), NatsError> {
        let requester = Requester::Process(pid, label);
        self.shared.flush(requester).map_err(|_| NatsError::Closed)
    }

    /// Ends the client in order: it unsubscribes all, delivers what the server has sent until then and waits until the
    /// subscribers have handled it, sends what waits, and ends with [`Reason::Normal`](crate::Reason::Normal); all of
    /// it within [`NatsOptions::drain_timeout`]. Until the subscribers are done they may publish.
    pub fn drain(&self) {
        self.shared.enter(|state| {
            // A second call must not begin the time anew.
            if state.stage == Stage::Open {
                state.stage = Stage::Draining;
                state.changes.push(Change::Drain);
            }
        });
    }

    /// Has a process get every [`MessageNatsStatus`](super::MessageNatsStatus) from now on.
    pub fn observe(&self, pid: Pid) {
        self.shared.enter(|state| {
            state.observers.push(pid);
            state.changes.push(Change::Observe(pid));
        });
    }

    /// Bytes that wait for the server and have not been given to a connection.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.shared.state.lock().outbox.bytes()
    }
}

impl Shared {
    /// See [`Nats::ask`].
    pub(super) fn ask(
        &self,
        requester: Requester,
        subject: &str,
        headers: &Headers,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<(), (NatsError, Requester)> {
        use std::fmt::Write as _;
        if !subject::is_publishable(subject) {
            return Err((NatsError::Subject, requester));
        }
        // The subject of an answer ends with the number of its request: one subscription serves all, and no map of
        // subjects.
        let mut reply = String::with_capacity(self.inbox.len() + 20);
        reply.push_str(&self.inbox);
        self.enter(|state| {
            let id = state.next_id();
            write!(reply, "{id}").expect("writing to a String cannot fail");
            let publish = Publish {
                subject,
                reply: &reply,
                headers: headers.block(),
                payload,
            };
            // First the bytes: a request that was not accepted must not wait for its timeout.
            if let Err(error) = state.publish(&publish, self.options.pending_limit) {
                return Err((error, requester));
            }
            let number = state.outbox.published();
            state.changes.push(Change::Request {
                id,
                requester,
                timeout,
                number,
            });
            Ok(())
        })
    }

    /// See [`Nats::flush`]. The requester comes back if the client has ended.
    pub(super) fn flush(&self, requester: Requester) -> Result<(), Requester> {
        self.enter(|state| {
            // Without a client there will be no PONG.
            if state.stage == Stage::Closed {
                return Err(requester);
            }
            state.outbox.ping();
            let number = state.outbox.published();
            state.changes.push(Change::Flush { requester, number });
            Ok(())
        })
    }
}

/// A number that no other program guesses: the keys of the standard library's hasher come from the system. On a
/// simulated node it is drawn by the seed.
pub(super) fn random() -> u64 {
    #[cfg(feature = "testing")]
    if let Some(site) = crate::simulation::current() {
        return site.net().draw();
    }
    RandomState::new().build_hasher().finish()
}
