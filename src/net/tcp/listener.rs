//! The listener: a socket that is bound and listening, TCP or Unix domain, and its options.
//!
//! ```text
//!  bind ─▶ TcpServer (port taken) ─ spawn_meta ─▶ accept_loop
//!            │ drop, terminate: port free
//! ```
//!
//! Everything that can fail fails in the constructors, before the spawn. What the listener does then is in
//! [`accept_loop`].

mod accept_loop;
mod admission;
mod drain;
mod proxied;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpListener;
#[cfg(unix)]
use mio::net::UnixListener;
use socket2::{Domain, Protocol, SockRef, Type};

use self::accept_loop::{Accepting, ListenerCounters, Spare, spare_descriptor};
use self::drain::{Closed, Draining};
use super::HAS_AN_OWNER;
use super::limits::ConnectionLimiter;
use super::tls::ServerSide;
use crate::bridge::SpawnOwner;
use crate::error::{BindError, ConfigError, Reason};
#[cfg(unix)]
use crate::net::options::FileOptions;
use crate::net::options::TcpServerOptions;
#[cfg(feature = "testing")]
use crate::net::simulated;
use crate::net::socket::{
    INTERNET, bind_addresses, bind_first, check_given_stream, set_given_options,
    set_stream_options, unbound,
};
use crate::net::stream::{Stream, UNSPECIFIED, canonical};
#[cfg(unix)]
use crate::net::unix::{self, SocketFile};
use crate::proto::framing::Framing;
use crate::proto::tcp::Settings;
#[cfg(feature = "testing")]
use crate::simulation::{self, net::Listener as SimulatedListener};

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
#[must_use = "a server accepts nothing before `spawn_meta`"]
pub struct TcpServer {
    listener: Listener,
    options: TcpServerOptions,
    settings: Option<Arc<Settings>>,
    limiter: Arc<ConnectionLimiter>,
    tls: Option<ServerSide>,
    spare: Option<Spare>,
    state: Accepting,
    readable: bool,
    paused: bool,
    back_off_ms: u64,
    /// Accepts that have failed in a row, but for lack of something.
    errors_in_row: u32,
    /// The second that the rate is counted in, and how many were accepted in it.
    rate: (u64, u32),
    counters: ListenerCounters,
    draining: Option<Box<Draining>>,
    /// How long `bind` was in the resolver.
    resolving_ms: u64,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener, SocketAddr),
    /// The file is removed at the end if this listener has made it.
    #[cfg(unix)]
    Unix(UnixListener, Option<SocketFile>),
    #[cfg(feature = "testing")]
    Simulated(SimulatedListener, SocketAddr),
    /// It is drained; what it was, for inspection.
    Closed(Closed),
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
            #[cfg(feature = "testing")]
            Self::Simulated(listener, _) => simulated::accept(listener),
            // Readiness from before the close may still be handled. It finds nothing to accept, which is no failure.
            Self::Closed(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn is_tcp(&self) -> bool {
        #[cfg(feature = "testing")]
        if let Self::Simulated(listener, _) = self {
            let local = listener.local_addr();
            return local.is_some_and(|address| address.ip().is_some());
        }
        match self {
            Self::Tcp(..) => true,
            Self::Closed(closed) => closed.is_tcp,
            _ => false,
        }
    }
}

/// The address or the path.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, addr) => addr.fmt(f),
            #[cfg(unix)]
            Self::Unix(_, Some(file)) => f.write_str(&unix::shown(file.path())),
            #[cfg(unix)]
            Self::Unix(_, None) => f.write_str("unix"),
            #[cfg(feature = "testing")]
            Self::Simulated(listener, _) => match listener.local_addr() {
                Some(address) => address.fmt(f),
                None => f.write_str("closed"),
            },
            Self::Closed(closed) => f.write_str(&closed.shown),
        }
    }
}

impl TcpServer {
    /// Prepares for sessions: returns their framing and frame timeout.
    ///
    /// # Errors
    ///
    /// The option that contradicts a session.
    pub(crate) fn take_framing(&mut self) -> Result<(Framing, Option<Duration>), ConfigError> {
        if !self.options.process_pool.is_empty() {
            return Err(ConfigError::new("process_pool", HAS_AN_OWNER));
        }
        Ok(self.options.connection.take_framing())
    }

    /// Sets what spawns a process for each connection.
    pub(crate) fn set_owners(&self, owners: Arc<dyn SpawnOwner>) {
        // A listener is given to `spawn_meta` once, so there is none yet.
        let _ = self.limiter.owners.set(owners);
    }

    /// Checks the options, then binds and listens.
    ///
    /// An address, with its zone if it has one, and `localhost` are taken as they are. Another name is resolved by the
    /// operating system, and **the calling thread is blocked** until the resolver answers, for seconds if it does not;
    /// a worker does nothing else then. From 100 ms on that is a record. Bind to an address, or call this before the
    /// node is started.
    ///
    /// Of several addresses of a name the first that can be bound is bound, and no other one: one socket with one port,
    /// also if that is 0. A port that is in use there is an error, and is not looked for at the next address.
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
        #[cfg(feature = "testing")]
        if let Some(site) = simulation::current() {
            let (listener, local_addr) = simulated::listen(&site, &addresses, &options)?;
            let listener = Listener::Simulated(listener, local_addr);
            return Ok(Self::new(listener, options, tls));
        }
        let socket = bind_first(&addresses, |address| {
            let socket = unbound(
                address,
                Type::STREAM,
                Protocol::TCP,
                &options.connection.socket,
            )?;
            #[cfg(unix)]
            // A listener must be able to bind again while connections of its predecessor are in TIME_WAIT. On Windows
            // the option would let another program take the port.
            socket.set_reuse_address(true)?;
            // Before `listen`: accepted sockets inherit the options, and the window scale that the handshake offers
            // depends on the receive buffer (tcp(7)).
            set_stream_options(
                &SockRef::from(&socket),
                &options.connection.socket,
                options.connection.keep_alive_period,
            )?;
            socket.bind(&address.into())?;
            // The kernel lowers the number to its own limit (listen(2)), so one that does not fit means all that there
            // may be.
            socket.listen(i32::try_from(options.connection.socket.backlog).unwrap_or(i32::MAX))?;
            Ok(socket)
        })?;
        let mut server = Self::over_tcp(std::net::TcpListener::from(socket), options, tls)?;
        let local_addr = server.local_addr();
        server.resolving_ms = resolving_ms;
        // A listener on all addresses has to ask each connection for its own.
        if !local_addr.ip().is_unspecified() {
            // Saves a system call for each connection.
            server.limiter = Arc::new(ConnectionLimiter::new(Some(local_addr), &server.options));
        }
        Ok(server)
    }

    /// Binds and listens on a path, with options that were checked: see [`UnixServer`](crate::UnixServer).
    #[cfg(unix)]
    pub(in crate::net) fn bind_unix(
        path: &std::path::Path,
        options: TcpServerOptions,
        file: FileOptions,
    ) -> Result<Self, BindError> {
        let tls = ServerSide::new(&options)?;
        let failed = |source| BindError::Bind {
            address: unix::shown(path),
            source,
        };
        #[cfg(feature = "testing")]
        if let Some(site) = simulation::current() {
            let backlog = options.connection.socket.backlog;
            let listener = SimulatedListener::bind_unix(&site, path, backlog).map_err(failed)?;
            let listener = Listener::Simulated(listener, UNSPECIFIED);
            return Ok(Self::new(listener, options, tls));
        }
        let (socket, file) = unix::bind(path, Type::STREAM, file).map_err(failed)?;
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

    /// Takes over a Unix domain socket that is bound and listening already, with options that were checked.
    #[cfg(unix)]
    pub(in crate::net) fn from_std_unix(
        listener: std::os::unix::net::UnixListener,
        options: TcpServerOptions,
    ) -> Result<Self, BindError> {
        let tls = ServerSide::new(&options)?;
        let failed = |source| BindError::Bind {
            address: "the given socket".into(),
            source,
        };
        check_given_stream(&SockRef::from(&listener), &[Domain::UNIX], true).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self::new(
            Listener::Unix(UnixListener::from_std(listener), None),
            options,
            tls,
        ))
    }

    /// Takes over a socket that is bound and listening already, for instance one handed over by a service manager. Of
    /// the options, those of the address and the backlog do not apply.
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field; otherwise what the operating system says. A socket that does not
    /// listen is `InvalidInput`.
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
        check_given_stream(&SockRef::from(&listener), &INTERNET, true).map_err(failed)?;
        // mio leaves this to its caller, and an accept that blocks would hold up the stripe.
        listener.set_nonblocking(true).map_err(failed)?;
        set_given_options(&SockRef::from(&listener), &options.connection).map_err(failed)?;
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
            Listener::Tcp(TcpListener::from_std(listener), canonical(local_addr)),
            options,
            tls,
        ))
    }

    fn new(listener: Listener, options: TcpServerOptions, tls: Option<ServerSide>) -> Self {
        Self {
            listener,
            settings: None,
            limiter: Arc::new(ConnectionLimiter::new(None, &options)),
            options,
            tls,
            spare: spare_descriptor(),
            state: Accepting::Open,
            readable: false,
            paused: false,
            back_off_ms: accept_loop::BACK_OFF_MS.0,
            errors_in_row: 0,
            rate: (0, 0),
            counters: ListenerCounters::default(),
            draining: None,
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
            #[cfg(feature = "testing")]
            Listener::Simulated(_, addr) => *addr,
            Listener::Closed(closed) => closed.addr,
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
}
