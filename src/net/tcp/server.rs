//! The listener.
//!
//! ```text
//!  bind ─▶ TcpServer (port taken) ─ spawn_meta ─▶ accepting ◀──▶ waiting
//!            │ drop, terminate: port free            │  seats, rate, descriptors, paused
//!                                                    └─ each accept: owner chosen, Driver spawned as a child of the parent
//! ```
//!
//! No error ends a listener. An accept that fails for the sake of one connection is skipped; after many in a row the
//! listener waits. When descriptors or memory run out, the kernel would not tell when they are back (readiness is
//! edge-triggered), so the end of one of its connections lets the listener look again, and a timer does, slower each time
//! up to a second. A spare descriptor is kept to take one connection out of the backlog and close it, so that clients are
//! refused and not left hanging.
//!
//! The socket is one of the internet or one in the file system; nothing but making and accepting is different.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpListener;
#[cfg(unix)]
use mio::net::UnixListener;
use socket2::{Protocol, SockRef, Type};

use super::accept::ConnectionLimiter;
use super::connection::Driver;
use super::tls::ServerSide;
use crate::bridge::SocketCommand;
use crate::error::Reason;
use crate::error::{BindError, SpawnError};
use crate::id::{Name, Pid};
use crate::inspect::Inspection;
use crate::message::Message;
use crate::meta::{MetaContext, MetaProcess, Readiness};
use crate::net::options::{AtLimit, TcpServerOptions};
use crate::net::socket::{
    INHERITED, bind_addresses, bind_first, record_resolving, set_buffer_sizes, set_stream_options,
    unbound,
};
use crate::net::stream::{Stream, UNSPECIFIED, canonical};
#[cfg(unix)]
use crate::net::unix::{self, SocketFile};
use crate::proto::tcp::{Connection, Settings};
use crate::record::{Kind, Level};

/// Accepts in one activation.
const ACCEPTS: u32 = 64;
/// Errors in a row that are taken for those of single connections; more are the listener's own.
const ERRORS: u32 = 16;
/// The first and the longest wait after such errors, and for descriptors, in milliseconds.
const BACK_OFF_MS: (u64, u64) = (50, 1_000);

/// A TCP server meta-process: accepts connections and gives each one to a process.
///
/// Created, it holds its port; dropped, it frees it. It accepts once it is spawned.
///
/// ```
/// use longshore::TcpServer;
/// # fn main() -> Result<(), longshore::Error> {
/// let server = TcpServer::bind("127.0.0.1:0")?;
/// assert_ne!(server.local_addr().port(), 0);
/// server.terminate(longshore::Reason::Normal); // or just drop it
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[doc(alias = "CreateTCPServer")]
pub struct TcpServer {
    listener: Listener,
    options: TcpServerOptions,
    settings: Option<Arc<Settings>>,
    hall: Arc<ConnectionLimiter>,
    tls: Option<ServerSide>,
    spare: Option<File>,
    state: State,
    readable: bool,
    paused: bool,
    back_off_ms: u64,
    /// Accepts that have failed in a row, but for lack of something.
    errors_in_row: u32,
    /// The second that the rate is counted in, and how many were accepted in it.
    rate: (u64, u32),
    counters: Counters,
    /// How long `bind` was in the resolver.
    resolving_ms: u64,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener, SocketAddr),
    /// The file is ours to remove if we have made it.
    #[cfg(unix)]
    Unix(UnixListener, Option<SocketFile>),
}

impl Listener {
    fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener, _) => listener
                .accept()
                .map(|(stream, addr)| (Stream::Tcp(stream), canonical(addr))),
            #[cfg(unix)]
            Self::Unix(listener, _) => listener
                .accept()
                .map(|(stream, _)| (Stream::Unix(stream), UNSPECIFIED)),
        }
    }

    fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(..))
    }
}

/// For people: the address or the path.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, addr) => addr.fmt(f),
            #[cfg(unix)]
            Self::Unix(_, Some(file)) => file.path().display().fmt(f),
            #[cfg(unix)]
            Self::Unix(_, None) => f.write_str("unix"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Accepting,
    /// Until a seat is free, the rate allows, descriptors are back, or errors have passed.
    Waiting(&'static str),
}

#[derive(Debug, Default)]
struct Counters {
    accepted: u64,
    /// Closed because of a limit.
    refused: u64,
    /// Among them: for the sake of their address.
    refused_per_ip: u64,
    no_owner: u64,
    errors: u64,
    /// Accepts that failed for lack of descriptors or memory.
    exhausted: u64,
    /// Closed by means of the spare descriptor.
    shed: u64,
    waits_for_seat: u64,
    waits_for_rate: u64,
    pauses: u64,
}

impl TcpServer {
    /// Checks the options, then binds and listens.
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field, before anything is bound; otherwise what the operating system says,
    /// for instance that the port is in use.
    ///
    /// ```
    /// use longshore::{BindError, TcpServer, TcpServerOptions};
    ///
    /// let first = TcpServer::bind(("127.0.0.1", 0)).unwrap();
    /// let taken = TcpServer::bind(first.local_addr()).unwrap_err();
    /// assert_eq!(taken.kind(), Some(std::io::ErrorKind::AddrInUse));
    ///
    /// let wrong = TcpServerOptions::from("127.0.0.1:0").with_insecure_skip_verify(true);
    /// let Err(BindError::Option(error)) = TcpServer::bind(wrong) else {
    ///     panic!("a server verifies nothing")
    /// };
    /// assert_eq!(error.field(), "insecure_skip_verify");
    /// ```
    pub fn bind(options: impl Into<TcpServerOptions>) -> Result<Self, BindError> {
        let options = options.into();
        options.validate()?;
        let tls = ServerSide::new(&options)?;
        let (addresses, resolving_ms) =
            bind_addresses(&options.host, options.port, &options.connection.socket)?;
        let socket = bind_first(&addresses, |address| {
            let socket = unbound(
                address,
                Type::STREAM,
                Protocol::TCP,
                &options.connection.socket,
            )?;
            #[cfg(unix)]
            socket.set_reuse_address(true)?;
            set_stream_options(
                &SockRef::from(&socket),
                &options.connection.socket,
                options.connection.keep_alive_period,
            )?;
            socket.bind(&address.into())?;
            socket.listen(i32::try_from(options.connection.socket.backlog).unwrap_or(i32::MAX))?;
            Ok(socket)
        })?;
        let mut server = Self::over_tcp(std::net::TcpListener::from(socket), options, tls)?;
        let local_addr = server.local_addr();
        server.resolving_ms = resolving_ms;
        if !local_addr.ip().is_unspecified() {
            // Saves each connection the question.
            server.hall = Arc::new(ConnectionLimiter::at(canonical(local_addr)));
        }
        Ok(server)
    }

    /// Checks the options, then binds and listens on a path: a Unix domain socket. Everything but its address is as with
    /// TCP: messages, limits, TLS if it is asked for. Of the options, those of the address and of TCP itself do not
    /// apply; addresses in messages are the unspecified one. There is no reset: to the peer an abort looks like an orderly
    /// end.
    ///
    /// The file is removed when the server is dropped or ends. One that a killed program has left behind makes the
    /// address be in use, and must be removed by whoever knows that nobody uses it.
    ///
    /// ```
    /// use longshore::{TcpServer, TcpServerOptions};
    /// # fn main() -> Result<(), longshore::Error> {
    /// let path = std::env::temp_dir()
    ///     .join(format!("longshore-doc-{}.sock", std::process::id()));
    /// let server = TcpServer::bind_unix(&path, TcpServerOptions::default())?;
    /// assert!(path.exists());
    /// drop(server);
    /// assert!(!path.exists());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`TcpServer::bind`]; `max_connections_per_ip` is a wrong option here.
    #[cfg(unix)]
    pub fn bind_unix(
        path: impl AsRef<std::path::Path>,
        options: impl Into<TcpServerOptions>,
    ) -> Result<Self, BindError> {
        let (path, options) = (path.as_ref(), options.into());
        options.validate_unix()?;
        let tls = ServerSide::new(&options)?;
        let failed = |source| BindError::Bind {
            address: path.display().to_string(),
            source,
        };
        let (socket, file) =
            unix::bind(path, Type::STREAM, options.connection.socket.file_mode).map_err(failed)?;
        socket
            .listen(i32::try_from(options.connection.socket.backlog).unwrap_or(i32::MAX))
            .map_err(failed)?;
        let listener = UnixListener::from_std(socket.into());
        Ok(Self::new(
            Listener::Unix(listener, Some(file)),
            options,
            tls,
        ))
    }

    /// Takes over a Unix domain socket that is bound and listening already. Its file is not removed at the end.
    ///
    /// ```no_run
    /// use longshore::{TcpServer, TcpServerOptions};
    /// # fn main() -> Result<(), longshore::Error> {
    /// let listener = std::os::unix::net::UnixListener::bind("/run/service.sock")?;
    /// let server = TcpServer::from_std_unix(listener, TcpServerOptions::default())?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`TcpServer::from_std`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let path = std::env::temp_dir()
    ///     .join(format!("longshore-taken-{}.sock", std::process::id()));
    /// let listener = std::os::unix::net::UnixListener::bind(&path)?;
    /// let server = TcpServer::from_std_unix(listener, TcpServerOptions::default())?;
    /// # drop(server);
    /// # let _ = std::fs::remove_file(path);
    /// # Ok(()) }
    /// ```
    #[cfg(unix)]
    pub fn from_std_unix(
        listener: std::os::unix::net::UnixListener,
        options: impl Into<TcpServerOptions>,
    ) -> Result<Self, BindError> {
        let options = options.into();
        options.validate_unix()?;
        let tls = ServerSide::new(&options)?;
        let failed = |source| BindError::Bind {
            address: "the given socket".into(),
            source,
        };
        refuse_not_listening(&SockRef::from(&listener)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self::new(
            Listener::Unix(UnixListener::from_std(listener), None),
            options,
            tls,
        ))
    }

    /// Takes over a socket that is bound and listening already, for instance one handed over by a service manager. Of the
    /// options, those of the address and the backlog do not apply.
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field; otherwise what the operating system says. A socket that does not listen is
    /// `InvalidInput`.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let server = TcpServer::from_std(listener, TcpServerOptions::default())?;
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    pub fn from_std(
        listener: std::net::TcpListener,
        options: impl Into<TcpServerOptions>,
    ) -> Result<Self, BindError> {
        let options = options.into();
        options.validate()?;
        let tls = ServerSide::new(&options)?;
        let failed = |source| BindError::Bind {
            address: "the given socket".into(),
            source,
        };
        refuse_not_listening(&SockRef::from(&listener)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        set_buffer_sizes(&SockRef::from(&listener), &options.connection.socket).map_err(failed)?;
        set_stream_options(
            &SockRef::from(&listener),
            &options.connection.socket,
            options.connection.keep_alive_period,
        )
        .map_err(failed)?;
        Self::over_tcp(listener, options, tls)
    }

    fn over_tcp(
        listener: std::net::TcpListener,
        options: TcpServerOptions,
        tls: Option<ServerSide>,
    ) -> Result<Self, BindError> {
        let local_addr = listener.local_addr().map_err(|source| BindError::Bind {
            address: "the given socket".into(),
            source,
        })?;
        Ok(Self::new(
            Listener::Tcp(TcpListener::from_std(listener), local_addr),
            options,
            tls,
        ))
    }

    fn new(listener: Listener, options: TcpServerOptions, tls: Option<ServerSide>) -> Self {
        Self {
            listener,
            options,
            settings: None,
            hall: Arc::new(ConnectionLimiter::default()),
            tls,
            spare: spare_descriptor(),
            state: State::Accepting,
            readable: false,
            paused: false,
            back_off_ms: BACK_OFF_MS.0,
            errors_in_row: 0,
            rate: (0, 0),
            counters: Counters::default(),
            resolving_ms: 0,
        }
    }

    /// The bound address, with the port that the operating system chose. Of a Unix domain socket: the unspecified
    /// address, port 0.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// assert_ne!(TcpServer::bind("127.0.0.1:0")?.local_addr().port(), 0);
    /// # Ok(()) }
    /// ```
    pub fn local_addr(&self) -> SocketAddr {
        match &self.listener {
            Listener::Tcp(_, addr) => *addr,
            #[cfg(unix)]
            Listener::Unix(..) => UNSPECIFIED,
        }
    }

    /// Frees the port of a server that was not spawned. The same as dropping it.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let server = TcpServer::bind("127.0.0.1:0")?;
    /// let address = server.local_addr();
    /// server.terminate(Reason::Normal);
    /// TcpServer::bind(address)?; // the port is free
    /// # Ok(()) }
    /// ```
    pub fn terminate(self, reason: Reason) {
        drop((self, reason));
    }

    fn accept_all(&mut self, cx: &mut MetaContext<'_>) {
        for _ in 0..ACCEPTS {
            if !self.readable || self.paused || !self.may_accept(cx) {
                return;
            }
            match self.listener.accept() {
                Ok((stream, remote_addr)) => {
                    self.back_off_ms = BACK_OFF_MS.0;
                    self.errors_in_row = 0;
                    self.rate.1 += 1;
                    self.welcome(cx, stream, remote_addr);
                }
                Err(error) => self.handle_error(cx, &error),
            }
        }
        cx.call_again();
    }

    /// Whether limits allow one more connection. If not, somebody will call again when they do.
    fn may_accept(&mut self, cx: &mut MetaContext<'_>) -> bool {
        if let State::Waiting(_) = self.state {
            return false;
        }
        let max_open = self
            .options
            .max_connections
            .filter(|_| self.options.at_limit == AtLimit::Wait);
        if !self.hall.has_room(max_open, self.max_handshakes()) {
            self.state = State::Waiting("connections");
            self.counters.waits_for_seat += 1;
            return false;
        }
        if let Some(rate) = self.options.accept_rate {
            let second = cx.now_ms / 1_000;
            if self.rate.0 != second {
                self.rate = (second, 0);
            }
            if self.rate.1 >= rate {
                self.counters.waits_for_rate += 1;
                self.wait(cx, "rate", (second + 1) * 1_000);
                return false;
            }
        }
        true
    }

    fn wait(&mut self, cx: &mut MetaContext<'_>, what: &'static str, until_ms: u64) {
        self.state = State::Waiting(what);
        cx.set_deadline(until_ms);
    }

    fn handle_error(&mut self, cx: &mut MetaContext<'_>, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.readable = false,
            io::ErrorKind::Interrupted => {}
            _ if is_exhaustion(error) => {
                self.counters.errors += 1;
                self.counters.exhausted += 1;
                if is_out_of_descriptors(error) {
                    self.shed();
                }
                self.hall.wish();
                self.back_off(cx, "descriptors", error);
            }
            // Of one connection that is gone before it was accepted; or of a socket that no longer listens, because
            // another program that has it as well has ended it.
            _ => {
                self.counters.errors += 1;
                self.errors_in_row += 1;
                if self.errors_in_row > ERRORS {
                    self.back_off(cx, "errors", error);
                }
            }
        }
    }

    fn warn(&self, cx: &MetaContext<'_>, kind: Kind, text: fmt::Arguments<'_>) {
        cx.record(Level::Warn, kind, |record| {
            record.set_text(format_args!("{}: {text}", self.listener));
        });
    }

    /// Looks again later, the next time later still.
    fn back_off(&mut self, cx: &mut MetaContext<'_>, what: &'static str, error: &io::Error) {
        if self.back_off_ms == BACK_OFF_MS.0 {
            self.warn(
                cx,
                Kind::AcceptFailed,
                format_args!("cannot accept: {error}"),
            );
        }
        self.wait(cx, what, cx.now_ms + self.back_off_ms);
        self.back_off_ms = (self.back_off_ms * 2).min(BACK_OFF_MS.1);
    }

    /// Uses the spare descriptor to take one connection and close it.
    fn shed(&mut self) {
        if self.spare.take().is_some()
            && let Ok((stream, _)) = self.listener.accept()
        {
            self.counters.shed += 1;
            stream.reset_on_close();
        }
        // If somebody else took the descriptor meanwhile, the next failure finds one or goes without.
        self.spare = spare_descriptor();
    }

    fn max_handshakes(&self) -> Option<usize> {
        self.tls.as_ref().and_then(ServerSide::max_handshakes)
    }

    /// Chooses the owner and starts the connection. If it cannot be started the socket is closed, counted and logged.
    fn welcome(&mut self, cx: &MetaContext<'_>, stream: Stream, remote_addr: SocketAddr) {
        let number = self.counters.accepted;
        let Some(owner) = self.owner(cx, number) else {
            self.counters.no_owner += 1;
            self.warn(
                cx,
                Kind::NoOwner,
                format_args!("no process of the pool is alive"),
            );
            return;
        };
        let over = self
            .options
            .max_connections
            .is_some_and(|max| self.hall.open() >= max);
        let seat = (!over).then(|| {
            self.hall.sit(
                cx.alias,
                &cx.services.commands,
                remote_addr.ip(),
                self.options.max_connections_per_ip,
            )
        });
        let Some(Ok(seat)) = seat else {
            self.counters.refused += 1;
            self.counters.refused_per_ip += u64::from(seat.is_some());
            return;
        };
        self.counters.accepted += 1;
        let started = self
            .start(cx, stream, owner, remote_addr)
            .and_then(|driver| {
                let meta = Box::new(driver.with_seat(seat));
                cx.services
                    .spawn(cx.parent, meta)
                    .map_err(|error: SpawnError| Reason::from(error))
            });
        if let Err(reason) = started {
            self.counters.errors += 1;
            self.warn(
                cx,
                Kind::ConnectionNotStarted,
                format_args!("connection not started: {reason}"),
            );
        }
    }

    fn start(
        &mut self,
        cx: &MetaContext<'_>,
        stream: Stream,
        owner: Pid,
        remote_addr: SocketAddr,
    ) -> Result<Driver, Reason> {
        #[cfg(unix)]
        if let Stream::Unix(stream) = &stream {
            set_buffer_sizes(&SockRef::from(stream), &self.options.connection.socket)?;
        }
        if !INHERITED && let Stream::Tcp(stream) = &stream {
            set_stream_options(
                &SockRef::from(stream),
                &self.options.connection.socket,
                self.options.connection.keep_alive_period,
            )?;
        }
        let settings = self
            .settings
            .get_or_insert_with(|| self.options.connection.settings(&cx.services.pool));
        let settings = Arc::clone(settings);
        let machine = match &self.tls {
            Some(tls) => Connection::with_tls(settings, tls.accept()?, cx.now_ms),
            None => Connection::new(settings, cx.now_ms),
        };
        Ok(Driver::new(stream, machine, owner, remote_addr))
    }

    /// The owner of connection `number`: its process of the pool, or the next one that lives.
    fn owner(&self, cx: &MetaContext<'_>, number: u64) -> Option<Pid> {
        let names = &self.options.process_pool;
        if names.is_empty() {
            return Some(cx.parent);
        }
        let deliver = &cx.services.deliver;
        let first = (number % names.len() as u64) as usize;
        (0..names.len())
            .filter_map(|offset| deliver.resolve(&names[(first + offset) % names.len()]))
            .find(|pid| deliver.is_alive(*pid) && !deliver.is_pool(*pid))
    }
}

/// A socket that does not listen never accepts anything, and says so only by an error that looks like one of many.
fn refuse_not_listening(socket: &SockRef<'_>) -> io::Result<()> {
    // Of the systems that can be asked (SO_ACCEPTCONN).
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if !socket.is_listener()? {
        let problem = "the socket does not listen";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let _ = socket;
    Ok(())
}

/// Descriptors or memory have run out: of the process, of the system.
fn is_exhaustion(error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::OutOfMemory {
        return true;
    }
    #[cfg(unix)]
    {
        /// ENOMEM, ENFILE and EMFILE are the same everywhere; ENOBUFS is not.
        const ENOBUFS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
            105
        } else {
            55
        };
        matches!(error.raw_os_error(), Some(12 | 23 | 24 | ENOBUFS))
    }
    #[cfg(not(unix))]
    {
        // WSAEMFILE and WSAENOBUFS.
        matches!(error.raw_os_error(), Some(10024 | 10055))
    }
}

/// A spare descriptor helps; it does not when memory is missing.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

fn spare_descriptor() -> Option<File> {
    if cfg!(unix) {
        File::open("/dev/null").ok()
    } else {
        None
    }
}

impl MetaProcess for TcpServer {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match &mut self.listener {
            Listener::Tcp(listener, _) => cx.register_source(listener)?,
            #[cfg(unix)]
            Listener::Unix(listener, _) => cx.register_source(listener)?,
        }
        record_resolving(&cx.services.log, &self.options.host, self.resolving_ms);
        // Again: a name may have become a pool's since the spawn.
        cx.services.refuse_pools(self.owners())?;
        Ok(())
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        match &mut self.listener {
            Listener::Tcp(listener, _) => cx.deregister_source(listener),
            #[cfg(unix)]
            Listener::Unix(listener, _) => cx.deregister_source(listener),
        }
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        self.readable |= readiness.is_readable();
        self.accept_all(cx);
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.state = State::Accepting;
        self.accept_all(cx);
        Ok(())
    }

    /// A seat is free, and a descriptor with it.
    fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if matches!(self.state, State::Waiting("connections" | "descriptors")) {
            self.state = State::Accepting;
        }
        self.accept_all(cx);
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message.downcast::<SocketCommand>() {
            Ok(SocketCommand::PauseAccepting) => {
                self.counters.pauses += u64::from(!self.paused);
                self.paused = true;
            }
            Ok(SocketCommand::ResumeAccepting) => {
                self.paused = false;
                self.accept_all(cx);
            }
            Ok(SocketCommand::Close | SocketCommand::Abort) => return Err(Reason::Normal),
            // Nothing else means anything to a listener.
            _ => {}
        }
        Ok(())
    }

    fn handle_stop(&mut self, _cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        Err(Reason::Shutdown)
    }

    fn is_listener(&self) -> bool {
        true
    }

    fn handle_inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add(
            "kind",
            if self.listener.is_tcp() {
                "tcp server"
            } else {
                "unix server"
            },
        );
        inspection.add("local_addr", &self.listener);
        let state = match self.state {
            _ if self.paused => "paused",
            State::Accepting => "accepting",
            State::Waiting(what) => what,
        };
        inspection.add("state", state);
        inspection.add("connections", self.hall.open());
        inspection.add("handshaking", self.hall.handshaking());
        let counters = &self.counters;
        inspection.add("accepted", counters.accepted);
        inspection.add("refused", counters.refused);
        inspection.add("refused_per_ip", counters.refused_per_ip);
        inspection.add("no_owner", counters.no_owner);
        inspection.add("accept_errors", counters.errors);
        inspection.add("exhausted", counters.exhausted);
        inspection.add("shed", counters.shed);
        inspection.add("waits_for_connections", counters.waits_for_seat);
        inspection.add("waits_for_rate", counters.waits_for_rate);
        inspection.add("pauses", counters.pauses);
        self.hall.describe(&mut inspection);
        inspection
    }

    fn owners(&self) -> (&'static str, &[Name]) {
        ("process_pool", &self.options.process_pool)
    }
}
