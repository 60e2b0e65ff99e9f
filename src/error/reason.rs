//! Why something ends: [`Reason`] for processes and meta-processes, [`DisconnectReason`] for a TCP connection.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::{Failure, FrameError, OsError};

/// Why a process or a meta-process ends.
///
/// A callback that returns `Err(reason)` ends its process with that reason. It is not an [`Error`] itself, so that `?`
/// turns any error into [`Reason::Error`], with the text of the error and of its sources. The error itself is kept, see
/// [`Reason::downcast_ref`]; two reasons are equal if their texts are.
///
/// ```
/// use longshore::Reason;
/// fn parse(text: &str) -> Result<u16, Reason> {
///     Ok(text.parse::<u16>()?)
/// }
/// assert_eq!(parse("x"), Err(Reason::error("invalid digit found in string")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It was done. A link does not pass this reason on as an exit.
    Normal,
    /// It was asked to stop in an orderly way.
    Shutdown,
    /// It was killed. Cannot be trapped.
    Kill,
    /// A callback panicked; the text is the panic's message. A payload that is not text (`std::panic::panic_any`) is
    /// shown with its type if that is a number, an error or a `Reason`; otherwise the text says that it was none.
    Panic(Arc<str>),
    /// An error, or a reason of your own; the text names it.
    Error(Failure),
    /// There is no such process or meta-process (any more): what a link or a monitor on it reports.
    NoProcess,
}

impl Reason {
    /// The classes under which ends are counted.
    pub(crate) const CLASSES: [&'static str; 6] =
        ["normal", "shutdown", "kill", "panic", "error", "no_process"];

    /// The place of this reason in [`Self::CLASSES`].
    pub(crate) fn class(&self) -> usize {
        match self {
            // Without a wildcard: a new reason does not compile before it has a class.
            Self::Normal => 0,
            Self::Shutdown => 1,
            Self::Kill => 2,
            Self::Panic(_) => 3,
            Self::Error(_) => 4,
            Self::NoProcess => 5,
        }
    }

    /// A reason of your own.
    ///
    /// ```
    /// use longshore::Reason;
    ///
    /// assert_eq!(Reason::error("out of paper").to_string(), "out of paper");
    /// ```
    pub fn error(text: impl fmt::Display) -> Self {
        Self::Error(Failure::from(text.to_string()))
    }

    /// The reason that a boxed error gives, which `?` alone cannot convert. `anyhow::Error` becomes one too.
    ///
    /// ```
    /// use longshore::Reason;
    ///
    /// fn load() -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    ///     Ok("x".parse()?)
    /// }
    /// fn init() -> Result<u16, Reason> {
    ///     Ok(load().map_err(Reason::boxed)?)
    /// }
    /// let reason = init().unwrap_err();
    /// assert!(reason.downcast_ref::<std::num::ParseIntError>().is_some());
    /// ```
    pub fn boxed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Error(Failure::boxed(error.into()))
    }

    /// The error that this was made of, if it was one.
    ///
    /// ```
    /// use longshore::Reason;
    ///
    /// let reason = Reason::from(std::io::Error::other("no paper"));
    /// assert_eq!(reason.source().unwrap().to_string(), "no paper");
    /// assert!(Reason::error("no paper").source().is_none());
    /// ```
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        match self {
            Self::Error(failure) => failure.error(),
            _ => None,
        }
    }

    /// The error that this was made of, if it was one of that type.
    ///
    /// ```
    /// use longshore::Reason;
    ///
    /// let reason = Reason::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    /// let error = reason.downcast_ref::<std::io::Error>().unwrap();
    /// assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    /// ```
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.source()?.downcast_ref()
    }

    /// The reason a caught panic gives.
    pub(crate) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        Self::Panic(Arc::from(payload_text(payload)))
    }
}

/// The text of a panic's payload. std keeps of its type what it takes to ask for one type after the other, and no name:
/// a payload of a type that is asked for here is shown with it, and of another one it is known only that it is no text.
fn payload_text(payload: &(dyn Any + Send)) -> String {
    macro_rules! shown {
        ($($type:ty),*) => {$(
            if let Some(value) = payload.downcast_ref::<$type>() {
                return format!("a payload of type {}: {value}", stringify!($type));
            }
        )*};
    }
    // Text first: `panic!` makes one of these two.
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    if let Some(text) = payload.downcast_ref::<String>() {
        return text.clone();
    }
    if let Some(text) = payload.downcast_ref::<Cow<'static, str>>() {
        return text.to_string();
    }
    shown!(
        Box<str>,
        Arc<str>,
        Reason,
        io::Error,
        Box<dyn Error + Send + Sync>
    );
    shown!(
        i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, bool, char
    );
    "panic with a payload that is not text".to_owned()
}

impl<E: Error + Send + Sync + 'static> From<E> for Reason {
    fn from(error: E) -> Self {
        Self::boxed(error)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Kill => f.write_str("kill"),
            Self::Panic(text) => write!(f, "panic: {text}"),
            Self::Error(failure) => failure.fmt(f),
            Self::NoProcess => f.write_str("no such process"),
        }
    }
}

/// Why a TCP connection ended, as reported by its [`MessageTcpDisconnect`](crate::MessageTcpDisconnect).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The peer closed its side (FIN, with close_notify under TLS) and nothing was left to send.
    ClosedByPeer,
    /// The peer reset the connection (RST).
    Reset,
    /// The peer ended a TLS connection without close_notify: the last bytes may have been cut off by an attacker.
    Truncated,
    /// The owner called `close`, and everything accepted before it was sent.
    LocalClose,
    /// The owner called `abort`.
    Abort,
    /// A write found the output limit reached. What was accepted before it was sent, as far as the peer took it.
    Overflow,
    /// An exit signal for the connection, or the end of its parent process.
    Exit(Reason),
    /// The owner process is gone.
    OwnerGone,
    /// The node stopped.
    NodeStop,
    /// Its listener was drained, and the connection was still open at the deadline.
    Drain,
    /// No byte moved in either direction for the idle timeout.
    IdleTimeout,
    /// The connection attempt (name resolution included) took too long.
    ConnectTimeout,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// The TLS handshake failed, or TLS broke later; the text is the error's.
    Tls(Arc<str>),
    /// A frame took longer than its deadline from first byte to last.
    FrameTimeout,
    /// The deadline that its session had set was over; see
    /// [`SessionContext::set_deadline`](crate::SessionContext::set_deadline).
    SessionTimeout,
    /// `close` could not flush within its deadline.
    CloseTimeout,
    /// The peer does not read: output waited for the write timeout, and none of it was taken.
    SlowReader,
    /// The peer sent a frame that the framing refuses.
    Frame(FrameError),
    /// The owner's mailbox was full and the connection was configured to close then.
    MailboxFull,
    /// The connection could not be made; the error is the operating system's.
    Connect(OsError),
    /// The host's name could not be resolved; the text is the resolver's.
    Resolve(Arc<str>),
    /// Another error of the socket.
    Io(OsError),
}

impl DisconnectReason {
    /// The names under which a listener counts how its connections ended.
    pub(crate) const COUNTED: [&'static str; 23] = [
        "ended_closed_by_peer",
        "ended_reset",
        "ended_truncated",
        "ended_local_close",
        "ended_abort",
        "ended_exit",
        "ended_owner_gone",
        "ended_node_stop",
        "ended_idle_timeout",
        "ended_connect_timeout",
        "ended_handshake_timeout",
        "ended_tls",
        "ended_frame_timeout",
        "ended_close_timeout",
        "ended_slow_reader",
        "ended_frame",
        "ended_mailbox_full",
        "ended_connect",
        "ended_resolve",
        "ended_io",
        "ended_overflow",
        "ended_drain",
        "ended_session_timeout",
    ];

    /// A short name of the kind of reason, for a label of a metric: the name under which a listener counts it, as in
    /// `closed_by_peer`. It stays the same from version to version.
    ///
    /// ```
    /// use longshore::DisconnectReason;
    ///
    /// assert_eq!(DisconnectReason::IdleTimeout.name(), "idle_timeout");
    /// ```
    pub fn name(&self) -> &'static str {
        let counted = Self::COUNTED[self.counted_at()];
        counted.strip_prefix("ended_").unwrap_or(counted)
    }

    /// The place of this reason in [`Self::COUNTED`].
    pub(crate) fn counted_at(&self) -> usize {
        match self {
            // Without a wildcard: a new reason does not compile before it has a name that it is counted under.
            Self::ClosedByPeer => 0,
            Self::Reset => 1,
            Self::Truncated => 2,
            Self::LocalClose => 3,
            Self::Abort => 4,
            Self::Exit(_) => 5,
            Self::OwnerGone => 6,
            Self::NodeStop => 7,
            Self::IdleTimeout => 8,
            Self::ConnectTimeout => 9,
            Self::HandshakeTimeout => 10,
            Self::Tls(_) => 11,
            Self::FrameTimeout => 12,
            Self::CloseTimeout => 13,
            Self::SlowReader => 14,
            Self::Frame(_) => 15,
            Self::MailboxFull => 16,
            Self::Connect(_) => 17,
            Self::Resolve(_) => 18,
            Self::Io(_) => 19,
            Self::Overflow => 20,
            Self::Drain => 21,
            Self::SessionTimeout => 22,
        }
    }

    /// The reason a failed read or write gives.
    pub(crate) fn from_io(error: impl Into<OsError>) -> Self {
        let error = error.into();
        match error.kind() {
            // All three mean that the peer has gone; which of them is reported depends on the moment.
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Self::Reset,
            _ => Self::Io(error),
        }
    }

    /// The error of the operating system, if it was one.
    ///
    /// ```
    /// use longshore::DisconnectReason;
    /// use std::io::ErrorKind;
    ///
    /// let refused = DisconnectReason::Connect(ErrorKind::ConnectionRefused.into());
    /// assert_eq!(refused.os_error().unwrap(), ErrorKind::ConnectionRefused);
    /// assert_eq!(DisconnectReason::Abort.os_error(), None);
    /// ```
    pub fn os_error(&self) -> Option<OsError> {
        match self {
            Self::Connect(error) | Self::Io(error) => Some(*error),
            _ => None,
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByPeer => f.write_str("closed by peer"),
            Self::Reset => f.write_str("reset by peer"),
            Self::Truncated => f.write_str("ended by peer without close_notify"),
            Self::LocalClose => f.write_str("closed"),
            Self::Abort => f.write_str("aborted"),
            Self::Overflow => f.write_str("closed: a write found the output limit reached"),
            Self::Exit(reason) => write!(f, "exit: {reason}"),
            Self::OwnerGone => f.write_str("owner process is gone"),
            Self::NodeStop => f.write_str("node stopped"),
            Self::Drain => f.write_str("closed at the deadline of a drain"),
            Self::IdleTimeout => f.write_str("idle timeout"),
            Self::ConnectTimeout => f.write_str("connect timeout"),
            Self::HandshakeTimeout => f.write_str("handshake timeout"),
            Self::Tls(text) => write!(f, "tls: {text}"),
            Self::FrameTimeout => f.write_str("frame timeout"),
            Self::SessionTimeout => f.write_str("session timeout"),
            Self::CloseTimeout => f.write_str("close timeout"),
            Self::SlowReader => f.write_str("slow reader"),
            Self::Frame(error) => error.fmt(f),
            Self::MailboxFull => f.write_str("owner's mailbox is full"),
            Self::Connect(error) => write!(f, "connect: {error}"),
            Self::Resolve(text) => write!(f, "resolve: {text}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// The reason that links and monitors on a connection's alias get.
impl From<&DisconnectReason> for Reason {
    fn from(reason: &DisconnectReason) -> Self {
        match reason {
            // Both are an end that one side wanted. A link does not pass `Normal` on, so it ends no process.
            DisconnectReason::ClosedByPeer | DisconnectReason::LocalClose => Self::Normal,
            DisconnectReason::Exit(reason) => reason.clone(),
            DisconnectReason::NodeStop | DisconnectReason::Drain => Self::Shutdown,
            other => Self::error(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_errors_has_every_reason_of_a_disconnect() {
        let page = include_str!("../guide/errors.md");
        for counted in DisconnectReason::COUNTED {
            let name = counted.strip_prefix("ended_").expect("a name");
            let row = format!("| `{name}` |");
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn payload_of_a_panic_keeps_its_type_where_std_allows() {
        let text = |payload: Box<dyn Any + Send>| Reason::from_panic(&*payload).to_string();
        assert_eq!(text(Box::new("text")), "panic: text");
        assert_eq!(text(Box::new(String::from("text"))), "panic: text");
        assert_eq!(text(Box::new(Cow::Borrowed("text"))), "panic: text");
        assert_eq!(text(Box::new(7_i32)), "panic: a payload of type i32: 7");
        assert_eq!(
            text(Box::new(Reason::Shutdown)),
            "panic: a payload of type Reason: shutdown"
        );
        let error = io::Error::other("no paper");
        assert_eq!(
            text(Box::new(error)),
            "panic: a payload of type io::Error: no paper"
        );
        struct Own;
        assert_eq!(
            text(Box::new(Own)),
            "panic: panic with a payload that is not text"
        );
    }
}
