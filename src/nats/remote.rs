//! [`Remote`]: a published process, or a pool of them, as other nodes see it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::client::NatsRequest;
use super::codec::Codec;
use super::error::NatsError;
use super::message::MessageNats;
use super::registry::{ERROR, Registry};
use crate::error::Reason;
use crate::id::Pid;
use crate::memory::buffer::Buffer;

/// What is published under a name, on this node or another: takes `M`, answers with `A`. Cheap to clone.
///
/// ```no_run
/// use longshore::nats::{Codec, MessageNatsReply, Registry, Remote};
/// use longshore::prelude::*;
/// use std::time::Duration;
///
/// struct Asker<C>(Remote<u32, u32, C>);
///
/// impl<C: Codec<u32>> Actor for Asker<C> {
///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
///         self.0.send(&1)?; // whether it arrives is not known
///         self.0.ask(cx.pid(), 77, &2, Duration::from_secs(1))?;
///         Ok(())
///     }
///
///     fn handle_message(
///         &mut self,
///         _: &mut Context<'_>,
///         _: Pid,
///         message: Message,
///     ) -> Result<(), Reason> {
///         if let Ok(reply) = message.downcast::<MessageNatsReply>() {
///             match self.0.answer(reply.result) {
///                 Ok(sum) => println!("{}: {sum}", reply.label),
///                 Err(error) => println!("{}: {error}", reply.label),
///             }
///         }
///         Ok(())
///     }
/// }
///
/// fn start<C>(cx: &mut Context<'_>, registry: &Registry<C>) -> Result<(), Reason>
/// where
///     C: Codec<u32>,
/// {
///     let counter = Remote::new(registry, "counter")?;
///     cx.spawn(|| Asker(counter))?;
///     Ok(())
/// }
/// ```
pub struct Remote<M, A, C> {
    registry: Registry<C>,
    subject: Arc<str>,
    // As of a function: it holds neither of them, and is `Send` and `Sync` whatever they are.
    types: PhantomData<fn(M) -> A>,
}

/// Why a message was not sent, or has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// No process is published under the name.
    #[error("no process is published under the name")]
    NoProcess,
    /// The codec refused the message or the answer.
    #[error("the codec refused it: {0}")]
    Codec(Reason),
    /// The published process, or what publishes it, gave no answer; its words.
    #[error("no answer: {0}")]
    Failed(Arc<str>),
    /// NATS, or the way there.
    #[error(transparent)]
    Nats(NatsError),
}

impl From<NatsError> for RemoteError {
    fn from(error: NatsError) -> Self {
        match error {
            NatsError::NoResponders => Self::NoProcess,
            error => Self::Nats(error),
        }
    }
}

impl<M, A, C> Remote<M, A, C>
where
    C: Codec<M> + Codec<A>,
{
    /// What is published under that name in that registry.
    ///
    /// # Errors
    ///
    /// [`NatsError::Subject`]: a name has 1 to 128 of `[A-Za-z0-9_-]`, with dots between.
    pub fn new(registry: &Registry<C>, name: &str) -> Result<Self, NatsError> {
        Ok(Self {
            subject: registry.subject(name)?.into(),
            registry: registry.clone(),
            types: PhantomData,
        })
    }

    /// Sends a message. Whether any process gets it is not known: use [`Remote::ask`] for that.
    ///
    /// # Errors
    ///
    /// [`RemoteError::Codec`], or [`RemoteError::Nats`] as [`Nats::publish`](super::Nats::publish).
    pub fn send(&self, message: &M) -> Result<(), RemoteError> {
        let bytes = self.encode(message)?;
        let published = self.registry.nats.publish(&self.subject, bytes);
        published.map_err(|refused| refused.error.into())
    }

    /// Asks: the process gets a [`MessageNatsReply`](super::MessageNatsReply) with the label, and [`Remote::answer`]
    /// reads it. If no process is published, that is known at once.
    ///
    /// # Errors
    ///
    /// As [`Remote::send`].
    pub fn ask(
        &self,
        pid: Pid,
        label: u64,
        message: &M,
        timeout: Duration,
    ) -> Result<(), RemoteError> {
        let bytes = self.encode(message)?;
        let nats = &self.registry.nats;
        let asked = nats.request(pid, label, &self.subject, bytes, timeout);
        asked.map_err(|refused| refused.error.into())
    }

    /// The request that asks the same by way of the client's process, for callers that are no processes.
    ///
    /// # Errors
    ///
    /// [`RemoteError::Codec`].
    pub fn request(&self, message: &M, timeout: Duration) -> Result<NatsRequest, RemoteError> {
        Ok(NatsRequest::new(
            &*self.subject,
            self.encode(message)?,
            timeout,
        ))
    }

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// [`RemoteError::NoProcess`], [`RemoteError::Failed`] with what the other side says, [`RemoteError::Codec`] or
    /// [`RemoteError::Nats`].
    pub fn answer(&self, result: Result<MessageNats, NatsError>) -> Result<A, RemoteError> {
        let message = result?;
        if let Some(reason) = message.headers.get(ERROR) {
            return Err(RemoteError::Failed(Arc::from(reason)));
        }
        let codec = &*self.registry.codec;
        Codec::<A>::decode(codec, &message.data).map_err(RemoteError::Codec)
    }

    fn encode(&self, message: &M) -> Result<Buffer, RemoteError> {
        let mut bytes = Buffer::new();
        let codec = &*self.registry.codec;
        Codec::<M>::encode(codec, message, &mut bytes).map_err(RemoteError::Codec)?;
        Ok(bytes)
    }
}

impl<M, A, C> Clone for Remote<M, A, C> {
    fn clone(&self) -> Self {
        Self {
            registry: self.registry.clone(),
            subject: Arc::clone(&self.subject),
            types: PhantomData,
        }
    }
}

impl<M, A, C> fmt::Debug for Remote<M, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.subject)
    }
}
