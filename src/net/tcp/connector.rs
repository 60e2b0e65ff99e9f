//! A connection that this side opens: its options, and the socket with which the attempt begins.
//!
//! ```text
//!  connect ─▶ TcpConnection ─ spawn_meta ─▶ attempt ─▶ becomes the driver of the connection
//!               │ literal address:            ▲             │
//!               │ the attempt has begun       └─ reconnect ─┘ lost, if there is a policy
//!               └ drop: closed
//! ```
//!
//! What the attempt does after the spawn is in [`attempt`], and when there is another one in [`reconnect`].

mod again;
mod attempt;
mod attempts;
mod kept;
mod outcome;
mod reconnect;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Type};

use self::reconnect::Reconnect;
use super::HAS_AN_OWNER;
use super::tls::ClientSide;
use crate::base::lookups::Ticket;
use crate::error::{ConfigError, ConnectError};
use crate::error::{DisconnectReason, Reason};
use crate::id::Pid;
use crate::message::{FailedAttempt, Message};
#[cfg(unix)]
use crate::net::options::SocketOptions;
use crate::net::options::TcpConnectionOptions;
#[cfg(feature = "testing")]
use crate::net::simulated;
use crate::net::socket::{
    INTERNET, check_given_stream, set_buffer_sizes, set_given_options, set_stream_options, unbound,
};
use crate::net::stream::{Stream, UNSPECIFIED, mapped_for};
#[cfg(unix)]
use crate::net::unix;
use crate::proto::framing::Framing;
use crate::proto::tcp::Settings;
#[cfg(feature = "testing")]
use crate::simulation;

/// A TCP connection meta-process that this side opens.
///
/// Spawned, it connects, and its owner gets a `MessageTcpConnect`, or a `MessageTcpDisconnect` that says why not. What
/// is sent before it is connected waits, within the output limit.
///
/// ```no_run
/// use longshore::prelude::*;
/// # struct Client;
/// impl Actor for Client {
///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
///         let connection = TcpConnection::connect("127.0.0.1:7000")?;
///         let alias = cx.spawn_meta(connection)?;
///         // Goes out when it is connected.
///         cx.send_alias(alias, MessageTcp::new(alias, "hi"))?;
///         Ok(())
///     }
/// }
/// ```
#[doc(alias = "CreateTCPConnection")]
#[must_use = "a connection does nothing before `spawn_meta`"]
pub struct TcpConnection {
    options: TcpConnectionOptions,
    state: AttemptState,
    owner: Pid,
    settings: Option<Arc<Settings>>,
    tls: Option<ClientSide>,
    /// Addresses that no attempt has begun to.
    addresses: VecDeque<SocketAddr>,
    /// Addresses that have failed, and what they said.
    failed: Vec<FailedAttempt>,
    /// When the next attempt begins although others are under way.
    next_attempt_ms: u64,
    /// The place among those that wait for the name.
    lookup: Option<Ticket>,
    /// Commands and data that came before the connection.
    early: Vec<Message>,
    /// Ends the connection when the early data has gone out.
    then_close: Option<DisconnectReason>,
    /// Of the attempt.
    deadline_ms: u64,
    reason: Option<DisconnectReason>,
    /// The socket was made here, and was not given.
    is_attempt: bool,
    /// How often the attempt has met itself.
    self_connects: u32,
    reconnect: Option<Box<Reconnect>>,
}

enum AttemptState {
    /// A name, to be resolved once the node is known.
    Named,
    Resolving,
    /// A Unix domain socket with a full backlog.
    #[cfg(unix)]
    Busy(std::path::PathBuf),
    /// The attempts that are under way.
    Connecting(Vec<Attempt>),
    /// Another attempt follows.
    Waiting,
    /// The attempt has failed, or has become the connection.
    Over,
}

/// One socket that connects.
struct Attempt {
    stream: Stream,
    address: SocketAddr,
    is_registered: bool,
}

impl AttemptState {
    fn connecting(stream: Stream, address: SocketAddr) -> Self {
        Self::Connecting(vec![Attempt {
            stream,
            address,
            is_registered: false,
        }])
    }
}

impl TcpConnection {
    /// Prepares for a session: returns its framing and frame timeout.
    ///
    /// # Errors
    ///
    /// The option that contradicts a session.
    pub(crate) fn take_framing(&mut self) -> Result<(Framing, Option<Duration>), ConfigError> {
        if self.options.process.is_some() {
            return Err(ConfigError::new("process", HAS_AN_OWNER));
        }
        // A session is always half-open; with a policy it is so only if the options say it.
        let half_open = self.options.connection.half_open;
        let framing = self.options.connection.take_framing();
        if self.reconnect.is_some() {
            // The end of the peer is a loss, unless the options say that the session wants to see it.
            self.options.connection.half_open = half_open;
        }
        Ok(framing)
    }

    /// Checks the options and begins. A literal address is connected to at once, a name when it is spawned.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Option`] names a wrong field; a refusal that is known at once is
    /// [`ConnectError::Connect`]. Later ones reach the owner.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let options = TcpConnectionOptions::from(("localhost", 7000))
    ///     .with_connect_timeout(Duration::from_secs(2));
    /// // Connect, or a Disconnect that says why not, comes later.
    /// cx.spawn_meta(TcpConnection::connect(options)?)?;
    /// # Ok(()) }) }
    /// ```
    pub fn connect(options: impl Into<TcpConnectionOptions>) -> Result<Self, ConnectError> {
        let options = options.into();
        options.validate()?;
        let tls = ClientSide::new(&options)?;
        let state = match options.host.address(options.port) {
            Some(address) => {
                let address = address?;
                let stream = begin(address, &options)
                    .map_err(|source| ConnectError::Connect { address, source })?;
                AttemptState::connecting(stream, address)
            }
            None => AttemptState::Named,
        };
        let mut attempt = Self::new(options, state, tls);
        attempt.is_attempt = true;
        Ok(attempt)
    }

    fn new(options: TcpConnectionOptions, state: AttemptState, tls: Option<ClientSide>) -> Self {
        let policy = options.reconnect.clone();
        let reconnect = policy.map(|policy| Box::new(Reconnect::new(policy)));
        Self {
            options,
            state,
            owner: Pid::NODE,
            settings: None,
            tls,
            addresses: VecDeque::new(),
            failed: Vec::new(),
            next_attempt_ms: u64::MAX,
            lookup: None,
            early: Vec::new(),
            then_close: None,
            deadline_ms: u64::MAX,
            reason: None,
            is_attempt: false,
            self_connects: 0,
            reconnect,
        }
    }

    /// A connected socket cannot be made anew: its peer is not known.
    fn refuse_reconnect(options: &TcpConnectionOptions) -> Result<(), ConfigError> {
        match options.reconnect {
            None => Ok(()),
            Some(_) => Err(ConfigError::new(
                "reconnect",
                "a socket that was connected elsewhere cannot be connected again",
            )),
        }
    }

    /// Connects to a path, with options that were checked: see [`UnixConnection`](crate::UnixConnection).
    #[cfg(unix)]
    pub(in crate::net) fn connect_unix(
        path: &std::path::Path,
        options: TcpConnectionOptions,
    ) -> Result<Self, ConnectError> {
        let tls = ClientSide::new(&options)?;
        let failed = |source| ConnectError::Path {
            path: unix::shown(path),
            source,
        };
        let state = begin_unix(path, &options.connection.socket).map_err(failed)?;
        let mut attempt = Self::new(options, state, tls);
        if let Some(again) = &mut attempt.reconnect {
            again.path = Some(unix::kept(path));
        }
        Ok(attempt)
    }

    /// Takes over a Unix domain socket that is connected already, with options that were checked.
    #[cfg(unix)]
    pub(in crate::net) fn from_std_unix(
        stream: std::os::unix::net::UnixStream,
        options: TcpConnectionOptions,
    ) -> Result<Self, ConnectError> {
        Self::refuse_reconnect(&options)?;
        let tls = ClientSide::new(&options)?;
        let failed = |source| ConnectError::Path {
            path: "the given socket".into(),
            source,
        };
        check_given_stream(&SockRef::from(&stream), &[Domain::UNIX], false).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        set_buffer_sizes(&SockRef::from(&stream), &options.connection.socket).map_err(failed)?;
        let stream = Stream::Unix(mio::net::UnixStream::from_std(stream));
        Ok(Self::new(
            options,
            AttemptState::connecting(stream, UNSPECIFIED),
            tls,
        ))
    }

    /// Takes over a socket that is connected already.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Option`] names a wrong field; otherwise what the operating system says.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// cx.spawn_meta(TcpConnection::from_std(stream, TcpConnectionOptions::default())?)?;
    /// # Ok(()) }) }
    /// ```
    pub fn from_std(
        stream: std::net::TcpStream,
        options: impl Into<TcpConnectionOptions>,
    ) -> Result<Self, ConnectError> {
        let mut options = options.into();
        let address = stream.peer_addr().unwrap_or(UNSPECIFIED);
        options.validate_connected()?;
        Self::refuse_reconnect(&options)?;
        // Without a host the address of the socket is the name that TLS verifies and that records show.
        if options.host.is_any() {
            options.host = address.into();
        }
        options.port = address.port();
        let tls = ClientSide::new(&options)?;
        let failed = |source| ConnectError::Connect { address, source };
        check_given_stream(&SockRef::from(&stream), &INTERNET, false).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        set_given_options(&SockRef::from(&stream), &options.connection).map_err(failed)?;
        let stream = Stream::Tcp(TcpStream::from_std(stream));
        Ok(Self::new(
            options,
            AttemptState::connecting(stream, address),
            tls,
        ))
    }

    /// Closes a connection that was not spawned. The same as dropping it.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let connection = TcpConnection::connect(listener.local_addr()?)?;
    /// connection.terminate(Reason::Normal);
    /// # Ok(()) }
    /// ```
    pub fn terminate(self, reason: Reason) {
        drop((self, reason));
    }
}

/// Begins to connect.
fn begin(address: SocketAddr, options: &TcpConnectionOptions) -> io::Result<Stream> {
    #[cfg(feature = "testing")]
    if let Some(site) = simulation::current() {
        let socket = &options.connection.socket;
        return simulated::connect(&site, address, options.local_addr, socket);
    }
    let socket = unbound(
        address,
        Type::STREAM,
        Protocol::TCP,
        &options.connection.socket,
    )?;
    set_stream_options(
        &SockRef::from(&socket),
        &options.connection.socket,
        options.connection.keep_alive_period,
    )?;
    // The family of the local address has to be that of the socket.
    if let Some(local) = options.local_addr {
        socket.bind(&mapped_for(local, address.is_ipv6()).into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        // The handshake is under way, and the poll reports how it has ended (EINPROGRESS in connect(2)).
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Stream::Tcp(TcpStream::from_std(socket.into())))
}

/// Connects to a path; that takes no time, or is not possible now.
#[cfg(unix)]
fn begin_unix(path: &std::path::Path, options: &SocketOptions) -> io::Result<AttemptState> {
    #[cfg(feature = "testing")]
    if let Some(site) = simulation::current() {
        return match simulated::connect_unix(&site, path, options) {
            Ok(stream) => Ok(AttemptState::connecting(stream, UNSPECIFIED)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(AttemptState::Busy(path.to_owned()))
            }
            Err(error) => Err(error),
        };
    }
    match unix::connect(path) {
        Ok(socket) => {
            set_buffer_sizes(&SockRef::from(&socket), options)?;
            let stream = Stream::Unix(mio::net::UnixStream::from_std(socket.into()));
            Ok(AttemptState::connecting(stream, UNSPECIFIED))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(AttemptState::Busy(unix::kept(path)))
        }
        Err(error) => Err(error),
    }
}

fn in_progress(error: &io::Error) -> bool {
    // EINPROGRESS of Linux, and of the BSDs.
    cfg!(unix) && matches!(error.raw_os_error(), Some(115 | 36))
}

impl std::fmt::Debug for TcpConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpConnection")
            .field("host", &self.options.host)
            .finish_non_exhaustive()
    }
}
