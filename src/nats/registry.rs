//! Names across machines: processes that other nodes reach by name.
//!
//! ```text
//!  Remote ─ encode ─▶ {prefix}.name.{name} ─▶ Publication ─ decode ─▶ process
//!     ◀─ decode ── the asker's inbox ◀──────── Publication ◀─ encode ─ reply ──┘
//! ```
//!
//! A publication is a small process of its own beside the published one: it decodes, forwards, and encodes the answers.
//! A name that several processes are published under, on any nodes, is a pool: the server gives each message to one.
//!
//! What it does not do: no links and no monitors across nodes, no remote spawn, no order between senders, and no
//! delivery guarantee beyond that of NATS: at most once.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::codec::Codec;
use super::error::NatsError;
use super::handle::Nats;
use super::headers::Headers;
use super::message::{MessageNats, Subscription};
use super::subject;
use crate::actor::{Actor, Context};
use crate::base::order::in_order;
use crate::base::unwind::{catch_panic, drop_catching};
use crate::error::{Reason, RequestError};
use crate::id::{Pid, Ref, Target};
use crate::inspect::Inspection;
use crate::memory::buffer::Buffer;
use crate::message::{Message, MessageReply};

/// Characters of an error that an answer carries.
const MAX_WORDS: usize = 256;

/// The header of an answer that is none.
pub(super) const ERROR: &str = "Longshore-Error";

/// Publishes processes under names, and finds those of other nodes; see [`Remote`](super::Remote).
///
/// ```no_run
/// use longshore::nats::{Codec, Nats, Registry, Remote};
/// use longshore::prelude::*;
/// # struct BigEndian;
/// # impl Codec<u32> for BigEndian {
/// #     fn encode(&self, value: &u32, out: &mut Buffer) -> Result<(), Reason> {
/// #         out.extend_from_slice(&value.to_be_bytes());
/// #         Ok(())
/// #     }
/// #     fn decode(&self, data: &[u8]) -> Result<u32, Reason> {
/// #         Ok(u32::from_be_bytes(data.try_into()?))
/// #     }
/// # }
///
/// /// An ordinary actor: it does not know where its messages come from.
/// struct Counter(u32);
///
/// impl Actor for Counter {
///     fn handle_call(
///         &mut self,
///         _: &mut Context<'_>,
///         _: Pid,
///         message: Message,
///         reply: Reply,
///     ) -> Result<(), Reason> {
///         if let Ok(number) = message.downcast::<u32>() {
///             self.0 += number;
///             reply.send(self.0);
///         }
///         Ok(())
///     }
/// }
///
/// fn main() -> Result<(), longshore::Error> {
///     let nats = Nats::new("127.0.0.1:4222")?;
///     let node = Node::start("counter@localhost")?;
///     let client = nats.clone();
///     node.spawn(move || client.client())?;
///     let registry = Registry::new(nats, BigEndian);
///     let counter = node.spawn(|| Counter(0))?;
///     let publication = registry.publication::<u32, u32>("counter", counter).unwrap();
///     node.spawn(|| publication)?;
///     node.wait()
/// }
/// ```
pub struct Registry<C> {
    pub(super) nats: Nats,
    pub(super) codec: Arc<C>,
    prefix: Arc<str>,
    answer_timeout: Duration,
    undelivered: Arc<AtomicU64>,
}

impl<C> Registry<C> {
    /// A registry with the prefix `longshore`.
    pub fn new(nats: Nats, codec: C) -> Self {
        Self {
            nats,
            codec: Arc::new(codec),
            prefix: Arc::from("longshore"),
            answer_timeout: Duration::from_secs(30),
            undelivered: Arc::default(),
        }
    }

    /// Sets what the subjects begin with; the same on all nodes that belong together.
    ///
    /// # Errors
    ///
    /// [`NatsError::Subject`]: not 1 to 128 of `[A-Za-z0-9_-]` with dots between.
    pub fn with_prefix(mut self, prefix: &str) -> Result<Self, NatsError> {
        if !subject::is_name(prefix) {
            return Err(NatsError::Subject);
        }
        self.prefix = Arc::from(prefix);
        Ok(self)
    }

    /// Sets how long a published process may take to answer. 30 s by default.
    #[must_use]
    pub fn with_answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// Messages that were for a published process and did not reach it: it had ended, its mailbox was full, or the
    /// codec refused them.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        self.undelivered.load(Relaxed)
    }

    /// The subject of a name.
    pub(super) fn subject(&self, name: &str) -> Result<String, NatsError> {
        if subject::is_name(name) {
            Ok(format!("{}.name.{name}", self.prefix))
        } else {
            Err(NatsError::Subject)
        }
    }

    /// The actor that publishes a process under a name from when it is spawned until the process ends or it is ended
    /// itself. What other nodes send reaches the process as values of `M`, requests too; it answers them with `A`.
    ///
    /// # Errors
    ///
    /// [`NatsError::Subject`]: a name has 1 to 128 of `[A-Za-z0-9_-]`, with dots between.
    pub fn publication<M, A>(&self, name: &str, pid: Pid) -> Result<Publication<M, A, C>, NatsError>
    where
        C: Codec<M> + Codec<A>,
    {
        Ok(Publication {
            subject: self.subject(name)?,
            name: name.to_owned(),
            pid,
            registry: self.clone(),
            subscription: None,
            requests: HashMap::new(),
            types: PhantomData,
        })
    }

    /// Publishes a process under a name; returns the pid of its [`Publication`], whose end ends it.
    ///
    /// # Errors
    ///
    /// As [`Registry::publication`], or why the publication could not be spawned.
    pub fn publish<M, A>(&self, cx: &mut Context<'_>, name: &str, pid: Pid) -> Result<Pid, Reason>
    where
        C: Codec<M> + Codec<A>,
        M: Send + 'static,
        A: Send + 'static,
    {
        let publication = self.publication::<M, A>(name, pid)?;
        Ok(cx.spawn(move || publication)?)
    }
}

impl<C> Clone for Registry<C> {
    fn clone(&self) -> Self {
        Self {
            nats: self.nats.clone(),
            codec: Arc::clone(&self.codec),
            prefix: Arc::clone(&self.prefix),
            answer_timeout: self.answer_timeout,
            undelivered: Arc::clone(&self.undelivered),
        }
    }
}

impl<C> fmt::Debug for Registry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// The actor that publishes one process under one name; see [`Registry::publication`].
pub struct Publication<M, A, C> {
    registry: Registry<C>,
    name: String,
    subject: String,
    pid: Pid,
    subscription: Option<Subscription>,
    /// Where the answers go.
    requests: HashMap<Ref, Arc<str>>,
    types: PhantomData<fn(M) -> A>,
}

/// Everything that came before the end of the published process has been handled.
struct Finished;

impl<M, A, C> Publication<M, A, C>
where
    C: Codec<M> + Codec<A>,
    M: Send + 'static,
    A: Send + 'static,
{
    fn forward(&mut self, cx: &mut Context<'_>, message: MessageNats) {
        // The bytes are a stranger's and the codec the user's: a panic ends no publication.
        let codec = &self.registry.codec;
        let decoded = catch_panic(|| Codec::<M>::decode(&**codec, &message.data));
        let value = match decoded {
            Ok(Ok(value)) => value,
            Ok(Err(_)) => return self.undelivered(message.reply, "the message is malformed"),
            Err(payload) => {
                drop_catching(payload);
                return self.undelivered(message.reply, "the message is malformed");
            }
        };
        let Some(reply) = message.reply else {
            // A message without a reply has no asker to answer: the count is all that is left of it.
            if cx.send(self.pid, value).is_err() {
                self.undelivered(None, "");
            }
            return;
        };
        match cx.request(self.pid, value, self.registry.answer_timeout) {
            Ok(request) => drop(self.requests.insert(request, reply)),
            Err(_) => self.undelivered(Some(reply), "not delivered"),
        }
    }

    fn undelivered(&self, reply: Option<Arc<str>>, reason: &str) {
        self.registry.undelivered.fetch_add(1, Relaxed);
        if let Some(reply) = reply {
            self.fail(&reply, reason);
        }
    }

    /// Answers that there is no answer.
    fn fail(&self, reply: &str, reason: &str) {
        let headers = Headers::new().with(ERROR, reason).unwrap_or_default();
        let nats = &self.registry.nats;
        // Refused for lack of room or by the end of the client: the asker's timeout says so.
        drop(nats.publish_with(reply, None, &headers, ""));
    }

    fn answer(&mut self, answer: MessageReply) {
        let Some(reply) = self.requests.remove(&answer.request) else {
            return;
        };
        let value = match answer.result.map(Message::downcast::<A>) {
            Ok(Ok(value)) => value,
            Ok(Err(_)) => return self.fail(&reply, "an answer of another type"),
            Err(RequestError::Timeout) => return self.fail(&reply, "the process took too long"),
            Err(RequestError::Failed(reason)) => return self.fail(&reply, &words(&reason)),
            Err(_) => return self.fail(&reply, "the process gave no answer"),
        };
        let mut bytes = Buffer::new();
        let codec = &self.registry.codec;
        if let Err(reason) = Codec::<A>::encode(&**codec, &value, &mut bytes) {
            return self.fail(&reply, &words(&reason));
        }
        if let Err(refused) = self.registry.nats.publish(&reply, bytes)
            // The bytes are this process's own, so only their size can be wrong here; a full outbox or an ended client
            // is left to the asker's timeout.
            && let NatsError::TooLarge { .. } = refused.error
        {
            self.fail(&reply, "the answer is too large");
        }
    }
}

/// A reason as a header carries it: on one line, and no longer than a line of the protocol should be.
fn words(reason: &Reason) -> String {
    let text = reason.to_string();
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    text.take(MAX_WORDS).collect()
}

impl<M, A, C> Actor for Publication<M, A, C>
where
    C: Codec<M> + Codec<A>,
    M: Send + 'static,
    A: Send + 'static,
{
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        // Before the subscription: a process that ends in between is then seen, and the publication ends with it.
        cx.monitor(self.pid);
        let nats = &self.registry.nats;
        let subscription = nats.subscribe(cx.pid(), &self.subject, self.name.as_str())?;
        self.subscription = Some(subscription);
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::Reply(answer) => self.answer(*answer),
            Message::Down(down) if down.target == Target::Pid(self.pid) => {
                // First: the server must send no more, and what has come already is handled behind it.
                self.withdraw();
                // Behind what has come already, which is counted and whose askers get a word.
                cx.send(cx.pid(), Finished)?;
            }
            message => match message.take::<MessageNats>() {
                Ok(message) => self.forward(cx, message),
                Err(message) if message.is::<Finished>() => return Err(Reason::Normal),
                Err(message) if message.is::<super::MessageNatsEnd>() => {
                    // A name without a subscription reaches nothing, so the publication fails and its supervisor makes
                    // a new one.
                    return Err(Reason::error("the subscription of the name has ended"));
                }
                Err(_) => {}
            },
        }
        Ok(())
    }

    fn handle_inspect(&mut self, _: &mut Context<'_>) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("name", &self.name);
        inspection.add("subject", &self.subject);
        inspection.add("requests", self.requests.len());
        inspection.add("undelivered", self.registry.undelivered());
        inspection
    }

    fn terminate(&mut self, _: &mut Context<'_>, _reason: &Reason) {
        self.withdraw();
        // The askers would otherwise wait for their timeouts.
        for (_, reply) in in_order(std::mem::take(&mut self.requests)) {
            self.fail(&reply, "the process has ended");
        }
    }
}

impl<M, A, C> Publication<M, A, C> {
    fn withdraw(&mut self) {
        if let Some(subscription) = self.subscription.take() {
            self.registry.nats.unsubscribe(subscription);
        }
    }
}

impl<M, A, C> fmt::Debug for Publication<M, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication")
            .field("subject", &self.subject)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
