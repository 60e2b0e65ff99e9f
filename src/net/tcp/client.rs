//! A connection that this side opens.
//!
//! ```text
//!  connect ─▶ TcpConnection ─ spawn_meta ─▶ resolving ─▶ connecting ─▶ becomes the Driver
//!               │ literal address: the attempt has begun       │  │ next address
//!               └ drop: closed                                 │  ▼
//!                                       deadline, exit, no address left: Disconnect
//! ```
//!
//! Neither resolving nor connecting blocks a worker: names go to a thread of the blocking pool, the attempt waits for
//! writability. All addresses of a name are tried in turn within one deadline. A Unix domain socket whose backlog is full
//! is tried again until then.
//!
//! Once the transport is established this meta-process *becomes* the driver of the connection: the stripe replaces it, and
//! the alias, the quota, the watchers and the timer stay. So nothing here is about an established connection.
//!
//! Data that is sent early waits here; the quota counts it like any other. A close or an exit signal while data waits is
//! carried out when that data has gone out, within the close deadline; without any it ends the attempt at once.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use socket2::{Protocol, SockRef, Type};

use super::connection::Driver;
use super::tls::ClientSide;
use crate::bridge::QuotaOptions;
use crate::bridge::SocketCommand;
use crate::error::ConnectError;
use crate::error::{DisconnectReason, Reason};
use crate::id::{Name, Pid};
use crate::inspect::Inspection;
use crate::message::{Message, MessageTcpDisconnect};
use crate::meta::{MetaContext, MetaProcess, Readiness};
#[cfg(unix)]
use crate::net::options::SocketOptions;
use crate::net::options::TcpConnectionOptions;
use crate::net::options::host::HostAndPort;
use crate::net::socket::{set_buffer_sizes, set_stream_options, unbound};
use crate::net::stream::{Stream, mapped_for};
use crate::proto::tcp::{Connection, LATE_MS, Settings, first_reason};
use crate::time::clock::millis;

/// A TCP connection meta-process that this side opens.
///
/// Spawned, it connects, and its owner gets a `MessageTcpConnect`, or a `MessageTcpDisconnect` that says why not. What is
/// sent before it is connected waits, within the output limit.
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
pub struct TcpConnection {
    options: TcpConnectionOptions,
    state: State,
    owner: Pid,
    settings: Option<Arc<Settings>>,
    tls: Option<ClientSide>,
    addresses: VecDeque<SocketAddr>,
    /// Commands and data that came before the connection.
    early: Vec<Message>,
    /// Ends the connection when the early data has gone out.
    then_close: Option<DisconnectReason>,
    /// Of the attempt.
    deadline_ms: u64,
    reason: Option<DisconnectReason>,
}

/// Time between two attempts on a Unix domain socket whose backlog is full, in milliseconds.
#[cfg(unix)]
const BUSY_MS: u64 = 10;

enum State {
    /// A name, to be resolved once the node is known.
    Named,
    Resolving,
    /// A Unix domain socket with a full backlog.
    #[cfg(unix)]
    Busy(std::path::PathBuf),
    Connecting {
        stream: Stream,
        address: SocketAddr,
        registered: bool,
    },
    /// The attempt has failed, or has become the connection.
    Over,
}

/// What the resolver found.
struct Resolved(io::Result<Vec<SocketAddr>>);

impl TcpConnection {
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
                State::Connecting {
                    stream,
                    address,
                    registered: false,
                }
            }
            None => State::Named,
        };
        Ok(Self::new(options, state, tls))
    }

    fn new(options: TcpConnectionOptions, state: State, tls: Option<ClientSide>) -> Self {
        Self {
            options,
            state,
            owner: Pid::NODE,
            settings: None,
            tls,
            addresses: VecDeque::new(),
            early: Vec::new(),
            then_close: None,
            deadline_ms: u64::MAX,
            reason: None,
        }
    }

    /// Checks the options and connects to a Unix domain socket. Everything but its address is as with TCP: messages,
    /// limits, TLS if it is asked for (`host` is then the name to verify). Of the options, those of the address and of TCP
    /// itself do not apply; addresses in messages are the unspecified one.
    ///
    /// ```no_run
    /// use longshore::{TcpConnection, TcpConnectionOptions};
    /// # fn main() -> Result<(), longshore::Error> {
    /// let options = TcpConnectionOptions::default();
    /// let connection = TcpConnection::connect_unix("/run/service.sock", options)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConnectError::Option`] names a wrong field; [`ConnectError::Path`] tells that there is no such socket, or nobody
    /// who listens on it.
    ///
    /// ```
    /// use longshore::{ConnectError, TcpConnection, TcpConnectionOptions};
    ///
    /// let options = TcpConnectionOptions::default();
    /// let refused = TcpConnection::connect_unix("/no/such/socket", options);
    /// assert!(matches!(refused, Err(ConnectError::Path { .. })));
    /// ```
    #[cfg(unix)]
    pub fn connect_unix(
        path: impl AsRef<std::path::Path>,
        options: impl Into<TcpConnectionOptions>,
    ) -> Result<Self, ConnectError> {
        let (path, options) = (path.as_ref(), options.into());
        options.validate_connected()?;
        let tls = ClientSide::new(&options)?;
        let failed = |source| ConnectError::Path {
            path: path.display().to_string(),
            source,
        };
        let state = begin_unix(path, &options.connection.socket).map_err(failed)?;
        Ok(Self::new(options, state, tls))
    }

    /// Takes over a Unix domain socket that is connected already.
    ///
    /// ```
    /// use longshore::{TcpConnection, TcpConnectionOptions};
    /// # fn main() -> Result<(), longshore::Error> {
    /// let (one, _other) = std::os::unix::net::UnixStream::pair()?;
    /// let connection = TcpConnection::from_std_unix(one, TcpConnectionOptions::default())?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConnectError::Option`] names a wrong field; otherwise what the operating system says.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    /// cx.spawn_meta(TcpConnection::from_std_unix(ours, TcpConnectionOptions::default())?)?;
    /// # Ok(()) }) }
    /// ```
    #[cfg(unix)]
    pub fn from_std_unix(
        stream: std::os::unix::net::UnixStream,
        options: impl Into<TcpConnectionOptions>,
    ) -> Result<Self, ConnectError> {
        let options = options.into();
        options.validate_connected()?;
        let tls = ClientSide::new(&options)?;
        let failed = |source| ConnectError::Path {
            path: "the given socket".into(),
            source,
        };
        stream.set_nonblocking(true).map_err(failed)?;
        set_buffer_sizes(&SockRef::from(&stream), &options.connection.socket).map_err(failed)?;
        let stream = Stream::Unix(mio::net::UnixStream::from_std(stream));
        Ok(Self::new(
            options,
            State::Connecting {
                stream,
                address: crate::net::stream::UNSPECIFIED,
                registered: false,
            },
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
        let address = stream
            .peer_addr()
            .unwrap_or(crate::net::stream::UNSPECIFIED);
        options.validate_connected()?;
        if options.host.is_any() {
            options.host = address.into();
        }
        options.port = address.port();
        let tls = ClientSide::new(&options)?;
        let failed = |source| ConnectError::Connect { address, source };
        stream.set_nonblocking(true).map_err(failed)?;
        set_buffer_sizes(&SockRef::from(&stream), &options.connection.socket).map_err(failed)?;
        set_stream_options(
            &SockRef::from(&stream),
            &options.connection.socket,
            options.connection.keep_alive_period,
        )
        .map_err(failed)?;
        let stream = Stream::Tcp(TcpStream::from_std(stream));
        Ok(Self::new(
            options,
            State::Connecting {
                stream,
                address,
                registered: false,
            },
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

    fn resolve(&mut self, cx: &MetaContext<'_>) -> Result<(), Reason> {
        if let Some(Ok(known)) = self.options.host.known_addresses(self.options.port) {
            self.addresses = known.into();
            return self.try_next(cx, DisconnectReason::Connect(io::ErrorKind::NotFound));
        }
        let (host, port, remote) = (self.options.host.clone(), self.options.port, cx.remote());
        let queued = cx.services.blocking.run(move || {
            remote.send(Resolved(host.resolve(port)));
        });
        if queued.is_err() {
            return self.over(DisconnectReason::Resolve(Arc::from(
                "no thread can be started",
            )));
        }
        self.state = State::Resolving;
        Ok(())
    }

    fn resolved(
        &mut self,
        cx: &MetaContext<'_>,
        found: io::Result<Vec<SocketAddr>>,
    ) -> Result<(), Reason> {
        if !matches!(self.state, State::Resolving) {
            return Ok(());
        }
        match found {
            Ok(addresses) => self.addresses = addresses.into(),
            Err(error) => {
                return self.over(DisconnectReason::Resolve(Arc::from(error.to_string())));
            }
        }
        self.try_next(
            cx,
            DisconnectReason::Resolve(Arc::from("the name has no address")),
        )
    }

    /// Goes on with the next address; without one, it is over for that reason.
    fn try_next(
        &mut self,
        cx: &MetaContext<'_>,
        mut reason: DisconnectReason,
    ) -> Result<(), Reason> {
        self.leave_poll(cx);
        while let Some(address) = self.addresses.pop_front() {
            match begin(address, &self.options) {
                Ok(stream) => {
                    self.state = State::Connecting {
                        stream,
                        address,
                        registered: false,
                    };
                    return self.watch(cx);
                }
                Err(error) => reason = DisconnectReason::Connect(error.kind()),
            }
        }
        self.over(reason)
    }

    fn watch(&mut self, cx: &MetaContext<'_>) -> Result<(), Reason> {
        if let State::Connecting {
            stream, registered, ..
        } = &mut self.state
            && !std::mem::replace(registered, true)
            && let Err(error) = stream.register(cx)
        {
            return self.over(DisconnectReason::Io(error.kind()));
        }
        Ok(())
    }

    /// The end without a connection. As of a connection, the first reason stays.
    fn over(&mut self, reason: DisconnectReason) -> Result<(), Reason> {
        let reason = match self.then_close.take() {
            Some(first) => first_reason(&first, reason),
            None => reason,
        };
        let told = Reason::from(&reason);
        self.reason = Some(reason);
        Err(told)
    }

    /// Checks whether the attempt has succeeded or failed, after an event.
    fn finish_connect(
        &mut self,
        cx: &mut MetaContext<'_>,
        readiness: Readiness,
    ) -> Result<(), Reason> {
        let State::Connecting {
            stream, address, ..
        } = &self.state
        else {
            return Ok(());
        };
        let failed = match stream.take_error() {
            Ok(None) => match stream.peer_addr() {
                Ok(_) => None,
                // Not yet: an event that was not about the connection. With a hang-up there will be none: the socket was
                // reset, and its error has been read already, or it was never connected.
                Err(error)
                    if error.kind() == io::ErrorKind::NotConnected && !readiness.is_hang_up() =>
                {
                    return Ok(());
                }
                Err(error) => Some(error),
            },
            Ok(Some(error)) | Err(error) => Some(error),
        };
        if let Some(error) = failed {
            return self.try_next(cx, DisconnectReason::Connect(error.kind()));
        }
        let address = *address;
        let settings = self.settings(cx);
        let machine = match &self.tls {
            Some(tls) => {
                tls.warn(&cx.services.log, address);
                match tls.connect() {
                    Ok(tls) => Connection::with_tls(settings, tls, cx.now_ms),
                    Err(error) => {
                        return self.over(DisconnectReason::Tls(Arc::from(error.to_string())));
                    }
                }
            }
            None => Connection::new(settings, cx.now_ms),
        };
        let State::Connecting { stream, .. } = std::mem::replace(&mut self.state, State::Over)
        else {
            return Ok(());
        };
        let mut driver = Box::new(Driver::new(stream, machine, self.owner, address));
        driver.adopt_readiness(readiness);
        // The deadline of the attempt.
        cx.set_deadline(u64::MAX);
        for message in std::mem::take(&mut self.early) {
            driver.replay_early(cx, message);
        }
        let mut outcome = driver.drive(cx);
        if let Some(reason) = self.then_close.take()
            && outcome.is_ok()
        {
            outcome = driver.finish(cx, reason);
        }
        // Even if it has ended at once: the Disconnect is the driver's then.
        cx.become_meta(driver);
        outcome
    }

    /// The end of an attempt from outside: at once, or when the data that waits has gone out.
    fn finish(&mut self, cx: &mut MetaContext<'_>, reason: DisconnectReason) -> Result<(), Reason> {
        cx.quota().close(cx.alias.generation());
        if cx.quota().queued() == 0 {
            return self.over(reason);
        }
        if self.then_close.is_none() {
            self.then_close = Some(reason);
            cx.start_deadlines_now();
            let close_ms = cx
                .now_ms
                .saturating_add(millis(self.options.connection.limits.close_timeout));
            self.deadline_ms = self.deadline_ms.min(close_ms);
            cx.set_deadline(self.deadline_ms);
        }
        Ok(())
    }

    /// Tries a Unix domain socket again whose backlog was full.
    #[cfg(unix)]
    fn try_again(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let State::Busy(path) = &self.state else {
            return Ok(());
        };
        match begin_unix(path, &self.options.connection.socket) {
            Ok(State::Busy(_)) => {
                cx.set_deadline(self.deadline_ms.min(cx.now_ms.saturating_add(BUSY_MS)));
                Ok(())
            }
            Ok(state) => {
                self.state = state;
                cx.set_deadline(self.deadline_ms);
                self.watch(cx)?;
                self.finish_connect(cx, Readiness::default())
            }
            Err(error) => self.over(DisconnectReason::Connect(error.kind())),
        }
    }

    /// The deadline of the attempt has come. What the socket says now counts, whatever the poll has reported.
    fn attempt_timed_out(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match (&self.state, self.options.connect_timeout) {
            (State::Resolving, Some(timeout))
                if self.then_close.is_none()
                    && cx.now_ms >= self.deadline_ms.saturating_add(LATE_MS) =>
            {
                // The process stood still, and the look-up with it.
                self.deadline_ms = cx.now_ms.saturating_add(millis(timeout));
                cx.set_deadline(self.deadline_ms);
                return Ok(());
            }
            (State::Connecting { .. }, _) => self.finish_connect(cx, Readiness::default())?,
            #[cfg(unix)]
            (State::Busy(_), _) => self.try_again(cx)?,
            _ => {}
        }
        match (&self.state, &self.then_close) {
            // A driver has taken over.
            (State::Over, _) => Ok(()),
            (_, Some(_)) => self.over(DisconnectReason::CloseTimeout),
            (_, None) => self.over(DisconnectReason::ConnectTimeout),
        }
    }

    fn settings(&mut self, cx: &MetaContext<'_>) -> Arc<Settings> {
        let options = &self.options;
        Arc::clone(
            self.settings
                .get_or_insert_with(|| options.connection.settings(&cx.services.pool)),
        )
    }
}

/// Begins to connect.
fn begin(address: SocketAddr, options: &TcpConnectionOptions) -> io::Result<Stream> {
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
    if let Some(local) = options.local_addr {
        socket.bind(&mapped_for(local, address.is_ipv6()).into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Stream::Tcp(TcpStream::from_std(socket.into())))
}

/// Connects to a path; that takes no time, or is not possible now.
#[cfg(unix)]
fn begin_unix(path: &std::path::Path, options: &SocketOptions) -> io::Result<State> {
    match crate::net::unix::connect(path) {
        Ok(socket) => {
            set_buffer_sizes(&SockRef::from(&socket), options)?;
            let stream = Stream::Unix(mio::net::UnixStream::from_std(socket.into()));
            let address = crate::net::stream::UNSPECIFIED;
            Ok(State::Connecting {
                stream,
                address,
                registered: false,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(State::Busy(crate::net::unix::absolute(path)))
        }
        Err(error) => Err(error),
    }
}

fn in_progress(error: &io::Error) -> bool {
    // EINPROGRESS of Linux, and of the BSDs.
    cfg!(unix) && matches!(error.raw_os_error(), Some(115 | 36))
}

impl MetaProcess for TcpConnection {
    /// The owner gets a Disconnect.
    fn reports_end(&self) -> bool {
        true
    }

    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        // Without the process that was named, the parent is told.
        self.owner = cx.parent;
        // Again: the name may have become a pool's since the spawn.
        cx.services.refuse_pools(self.owners())?;
        if let Some(name) = &self.options.process {
            match cx.services.deliver.resolve(name) {
                // Gone meanwhile: the first delivery finds it.
                Some(pid) => {
                    self.owner = pid;
                    if pid != cx.parent {
                        let _ = cx.services.deliver.adopt(pid, cx.alias);
                    }
                }
                None => return self.over(DisconnectReason::OwnerGone),
            }
        }
        cx.quota().set_owner(self.owner);
        if let Some(timeout) = self.options.connect_timeout {
            // From now on, and not from when this batch began.
            self.deadline_ms = cx.services.timers.clock().deadline_ms(timeout);
            cx.set_deadline(self.deadline_ms);
        }
        match self.state {
            State::Named => self.resolve(cx),
            #[cfg(unix)]
            State::Busy(_) => self.try_again(cx),
            _ => {
                self.watch(cx)?;
                self.finish_connect(cx, Readiness::default())
            }
        }
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        if readiness.is_writable() {
            self.finish_connect(cx, readiness)?;
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message.downcast::<Resolved>() {
            Ok(Resolved(found)) => return self.resolved(cx, found),
            Err(Message::Tcp(packet)) if packet.data.is_empty() => {}
            Err(message) => match message.downcast_ref() {
                Some(SocketCommand::Abort) => {
                    self.then_close = None;
                    return self.over(DisconnectReason::Abort);
                }
                Some(SocketCommand::Close) => return self.finish(cx, DisconnectReason::LocalClose),
                Some(_) => self.early.push(message),
                // Data, or what the connection will ignore: it counts against the output limit until then.
                None if message.output_bytes() > 0 => self.early.push(message),
                // Nothing else means anything to a connection.
                None => {}
            },
        }
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if cx.now_ms < self.deadline_ms {
            cx.set_deadline(self.deadline_ms);
            #[cfg(unix)]
            self.try_again(cx)?;
            return Ok(());
        }
        self.attempt_timed_out(cx)
    }

    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        self.finish(cx, DisconnectReason::Exit(reason))
    }

    fn handle_finish(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.finish(cx, DisconnectReason::NodeStop)
    }

    fn handle_inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("kind", "tcp connection");
        let state = match self.state {
            State::Named | State::Resolving => "resolving",
            _ => "connecting",
        };
        inspection.add("state", state);
        inspection.add(
            "remote_addr",
            HostAndPort(&self.options.host, self.options.port),
        );
        inspection.add("owner", self.owner);
        inspection
    }

    fn terminate(&mut self, cx: &mut MetaContext<'_>, reason: &Reason) {
        if self.owner != cx.parent {
            cx.services.deliver.disown(self.owner, cx.alias);
        }
        let reason = self
            .reason
            .take()
            .unwrap_or_else(|| DisconnectReason::Exit(reason.clone()));
        let message = MessageTcpDisconnect {
            id: cx.alias,
            reason,
            bytes_in: 0,
            bytes_out: 0,
            unsent: cx.unsent,
            refused_bytes: cx.quota().refused_bytes(),
        };
        cx.deliver_control(self.owner, Message::TcpDisconnect(Box::new(message)));
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        if let State::Connecting { stream, .. } = &mut self.state {
            stream.deregister(cx);
        }
    }

    fn owners(&self) -> (&'static str, &[Name]) {
        ("process", self.options.process.as_slice())
    }

    fn quota_options(&self) -> QuotaOptions {
        self.options.connection.limits.quota_options()
    }
}

impl std::fmt::Debug for TcpConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpConnection")
            .field("host", &self.options.host)
            .finish_non_exhaustive()
    }
}
