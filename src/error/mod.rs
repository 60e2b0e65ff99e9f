//! Errors, sorted by whose they are: the caller's options, the operating system's refusals, the state of the receiver.
//!
//! The text of an error has that of its cause behind it, so that `{error}` alone says what happened; the cause is its
//! [`source`](std::error::Error::source) as well, for code that looks at its type.

use std::io;
use std::net::SocketAddr;

mod failure;
pub(crate) mod frame;
mod os_error;
pub(crate) mod reason;

pub use failure::Failure;
pub use frame::FrameError;
pub use os_error::OsError;
pub use reason::{DisconnectReason, Reason};

use crate::id::{Name, Pid};

/// An option has a value that makes no sense; it names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    field: &'static str,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }

    /// The field of the options.
    ///
    /// ```
    /// let error = longshore::Framing::fixed(0).validate().unwrap_err();
    /// assert_eq!(error.field(), "length");
    /// ```
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What is wrong with it.
    ///
    /// ```
    /// let error = longshore::Framing::fixed(0).validate().unwrap_err();
    /// assert_eq!(error.problem(), "a frame of no bytes would never end");
    /// ```
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

/// Refuses the value of a field by its name, unless `holds`.
pub(crate) fn check(holds: bool, field: &'static str, problem: &str) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError::new(field, problem))
    }
}

/// Why a message or a signal was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The process has ended.
    NoProcess,
    /// No process holds the name.
    NoName,
    /// The meta-process has ended.
    NoMeta,
    /// The target is an event, which takes values by [`Context::publish`](crate::Context::publish) only.
    IsEvent,
    /// The mailbox has reached its bound.
    MailboxFull,
    /// The bytes would exceed the connection's output limit. A
    /// [`MessageTcpWritable`](crate::MessageTcpWritable) reports to the owner when there is room again.
    OutputFull,
    /// The message alone is larger than the output limit: it can never be sent.
    TooLarge,
    /// The connection's write side is shut down, or it is closing.
    Closing,
    /// The connection is lost and will be made anew, see
    /// [`ReconnectPolicy`](crate::ReconnectPolicy): send again when its next Connect has come.
    Reconnecting,
}

impl SendErrorKind {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoProcess => "no such process",
            Self::NoName => "name is not registered",
            Self::NoMeta => "no such meta-process",
            Self::IsEvent => "an event takes no messages",
            Self::MailboxFull => "mailbox is full",
            Self::OutputFull => "output limit reached",
            Self::TooLarge => "larger than the output limit",
            Self::Closing => "connection is closing",
            Self::Reconnecting => "connection is lost and will be made anew",
        }
    }
}

/// Why a process could not be spawned. Nothing of it is left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Its `init` failed, or it or the factory panicked.
    #[error("init: {0}")]
    Init(Reason),
    /// The name belongs to another process.
    #[error("name {0} is taken")]
    NameTaken(Name),
    /// The spawning process already has a name, or is not allowed another one.
    #[error("the process has the name {0} already")]
    Named(Name),
    /// The node has reached its limit of processes or meta-processes.
    #[error("the node's limit of {0} is reached")]
    Limit(&'static str),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// The parent process has ended.
    #[error("the parent process has ended")]
    NoParent,
    /// The process itself has ended: in `terminate` it cannot take a name any more.
    #[error("the process has ended")]
    Ended,
    /// An option is wrong.
    #[error(transparent)]
    Option(#[from] ConfigError),
}

/// Why an event was not registered, subscribed to or published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// No event has that name, or it has ended.
    #[error("there is no event {0}")]
    NoEvent(Name),
    /// Another event has the name.
    #[error("there is an event {0} already")]
    Taken(Name),
    /// The process has subscribed to the event before.
    #[error("the process has subscribed to {0} already")]
    Subscribed(Name),
    /// The process itself has ended: in `terminate` it registers and subscribes no more.
    #[error("the process has ended")]
    Ended,
    /// An option is wrong.
    #[error(transparent)]
    Option(#[from] ConfigError),
}

/// Why a listener or a UDP socket could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// An option is wrong.
    #[error(transparent)]
    Option(#[from] ConfigError),
    /// The host's name could not be resolved.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The host as given.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("cannot bind {address}: {source}")]
    Bind {
        /// The address as resolved, or the path.
        address: String,
        /// The error, for instance of kind `AddrInUse`.
        source: io::Error,
    },
    /// The certificates or the TLS options are wrong.
    #[error("tls: {0}")]
    Tls(#[source] crate::tls::TlsError),
}

impl From<crate::tls::TlsError> for BindError {
    fn from(error: crate::tls::TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<crate::tls::TlsError> for ConnectError {
    fn from(error: crate::tls::TlsError) -> Self {
        Self::Tls(error)
    }
}

impl BindError {
    /// The operating system's kind of error, if it was one.
    ///
    /// ```
    /// let first = longshore::UdpServer::bind("127.0.0.1:0").unwrap();
    /// let taken = longshore::UdpServer::bind(first.local_addr()).unwrap_err();
    /// assert_eq!(taken.kind(), Some(std::io::ErrorKind::AddrInUse));
    /// ```
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Resolve { source, .. } | Self::Bind { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Why a connection could not even be attempted. Later failures reach the owner as a
/// [`MessageTcpDisconnect`](crate::MessageTcpDisconnect).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// An option is wrong.
    #[error(transparent)]
    Option(#[from] ConfigError),
    /// The operating system refused at once.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The peer.
        address: SocketAddr,
        /// The error, for instance of kind `ConnectionRefused`.
        source: io::Error,
    },
    /// The TLS options are wrong.
    #[error("tls: {0}")]
    Tls(#[source] crate::tls::TlsError),
    /// The path of a Unix domain socket was refused.
    #[error("cannot connect to {path}: {source}")]
    Path {
        /// The path.
        path: String,
        /// The error.
        source: io::Error,
    },
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nothing came within the timeout.
    #[error("request timed out")]
    Timeout,
    /// The callee ended, panicked or dropped the request without an answer.
    #[error("request was dropped without an answer")]
    Dropped,
    /// The request could not be delivered.
    #[error("request not delivered: {}", .0.text())]
    NotDelivered(SendErrorKind),
    /// The callee reported an error, by [`Reply::fail`](crate::Reply::fail).
    #[error("request failed: {0}")]
    Failed(Reason),
    /// The callee answered with a value of another type than the request names.
    #[error("the answer is a {found}, not a {expected}")]
    WrongType {
        /// The type that the request names.
        expected: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// A wait on a thread of the runtime that must not block, where it could wait for itself. Handlers of processes
    /// have [`Context::call`](crate::Context::call); meta-processes, resolvers and loggers have none.
    #[error("a blocking call is not possible on a thread of the runtime")]
    WouldBlockRuntime,
    /// An exit signal for the process that waits is on its way.
    #[error("the process that waits is to end")]
    Exiting,
    /// The limit of handlers that wait for an answer at once is reached, see
    /// [`NodeOptions::max_blocked_calls`](crate::NodeOptions::max_blocked_calls). Nothing was sent.
    #[error("too many handlers wait for an answer")]
    TooManyCalls,
    /// The queue of blocking work is full, see
    /// [`NodeOptions::blocking_queue`](crate::NodeOptions::blocking_queue); or the node stops.
    #[error("too much blocking work waits for a thread")]
    TooMuchWork,
    /// The callee waits, directly or through others, for the process that calls it. Nothing was sent. The processes
    /// stand in the order in which they wait for each other, the caller first.
    #[error("the callee waits for the caller: {}", text_of_cycle(.0))]
    Cycle(Vec<Pid>),
}

/// Each process, and the first one again.
fn text_of_cycle(cycle: &[Pid]) -> String {
    let all = cycle.iter().chain(cycle.first());
    let texts: Vec<_> = all.map(Pid::to_string).collect();
    texts.join(" -> ")
}
