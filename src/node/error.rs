//! The one error type of an embedding program's `main`.

use std::io;

use super::StopReport;
use crate::actor::ChildFailed;
use crate::error::Reason;
use crate::error::{BindError, ConfigError, ConnectError, RequestError, SendErrorKind, SpawnError};
use crate::id::{Name, Pid};
use crate::message::SendError;

/// Any error that an embedding program meets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node could not start.
    #[error("cannot start the node")]
    Start(#[source] io::Error),
    /// An option is wrong.
    #[error(transparent)]
    Option(#[from] ConfigError),
    /// A process could not be spawned.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A socket could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A connection could not be attempted.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A message could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A command to a socket was not accepted.
    #[error(transparent)]
    Refused(#[from] SendErrorKind),
    /// A certificate, a key or a root was not usable.
    #[error(transparent)]
    Certificates(#[from] crate::tls::CertError),
    /// A request was not answered.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Input or output of the embedding program, so that `main` can use `?` on it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A node has stopped, and a deadline cut something off.
    #[error("the node stopped: {0}")]
    Stopped(StopReport),
    /// The root process of [`Node::run`](crate::Node::run) ended, and its reason was neither `Normal` nor `Shutdown`.
    #[error("the root process {pid} ({actor}) ended: {reason}")]
    Root {
        /// The process.
        pid: Pid,
        /// The name that it was spawned with.
        name: Option<Name>,
        /// The type of its actor.
        actor: &'static str,
        /// Why it ended.
        reason: Reason,
        /// The child that made it give up, if it is a supervisor and did.
        #[source]
        child: Option<ChildFailed>,
    },
}
