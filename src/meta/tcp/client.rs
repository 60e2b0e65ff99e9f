//! A connection that this side opens.
//!
//! ```text
//!  connect ─▶ TcpConnection ─ spawn_meta ─▶ resolving ─▶ connecting ─▶ established (Driver)
//!               │ literal address: the attempt has begun       │  │ next address
//!               └ drop: closed                                 │  ▼
//!                                       deadline, exit, no address left: Disconnect
//! ```
//!
//! Neither resolving nor connecting blocks anybody: names go to a thread of the blocking pool, the attempt waits for
//! writability. All addresses of a name are tried in turn within one deadline.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use mio::net::TcpStream;
use socket2::{Protocol, SockRef, Type};

use super::TcpCommand;
use super::connection::Driver;
#[cfg(feature = "tls")]
use super::tls::ClientSide;
use crate::clock::millis;
use crate::error::ConnectError;
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::{Message, MessageTcpDisconnect};
use crate::meta::options::TcpConnectionOptions;
use crate::meta::socket::{set_stream_options, unbound};
use crate::meta::stream::Stream;
use crate::meta::{MetaContext, MetaProcess, Readiness};
use crate::proto::connection::{Connection, Settings};
use crate::reason::{DisconnectReason, Reason};

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
///         cx.send_alias(alias, MessageTcp::new(alias, "hi"))?; // goes out when it is connected
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
    #[cfg(feature = "tls")]
    tls: Option<ClientSide>,
    addresses: VecDeque<SocketAddr>,
    /// Commands and data that came before the connection.
    early: Vec<Message>,
    reason: Option<DisconnectReason>,
}

enum State {
    /// A name, to be resolved once the node is known.
    Named,
    Resolving,
    Connecting {
        stream: Stream,
        address: SocketAddr,
        registered: bool,
    },
    Established(Box<Driver>),
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
    pub fn connect(options: impl Into<TcpConnectionOptions>) -> Result<Self, ConnectError> {
        let options = options.into();
        options.validate()?;
        #[cfg(feature = "tls")]
        let tls = ClientSide::new(&options)?;
        let state = match options.host.parse::<IpAddr>() {
            Ok(ip) => {
                let address = SocketAddr::new(ip, options.port);
                let stream = begin(address, &options).map_err(|source| ConnectError::Connect { address, source })?;
                State::Connecting { stream, address, registered: false }
            }
            Err(_) => State::Named,
        };
        Ok(Self {
            options,
            state,
            owner: Pid::NODE,
            settings: None,
            #[cfg(feature = "tls")]
            tls,
            addresses: VecDeque::new(),
            early: Vec::new(),
            reason: None,
        })
    }

    /// Takes over a socket that is connected already.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Option`] names a wrong field; otherwise what the operating system says.
    pub fn from_std(
        stream: std::net::TcpStream,
        options: impl Into<TcpConnectionOptions>,
    ) -> Result<Self, ConnectError> {
        let mut options = options.into();
        let address = stream.peer_addr().unwrap_or(crate::meta::stream::UNSPECIFIED);
        if options.host.is_empty() {
            (options.host, options.port) = (address.ip().to_string(), address.port().max(1));
        }
        options.validate()?;
        #[cfg(feature = "tls")]
        let tls = ClientSide::new(&options)?;
        let failed = |source| ConnectError::Connect { address, source };
        stream.set_nonblocking(true).map_err(failed)?;
        set_stream_options(&SockRef::from(&stream), &options.socket, options.keep_alive_period).map_err(failed)?;
        let stream = Stream::Tcp(TcpStream::from_std(stream));
        Ok(Self {
            options,
            state: State::Connecting { stream, address, registered: false },
            owner: Pid::NODE,
            settings: None,
            #[cfg(feature = "tls")]
            tls,
            addresses: VecDeque::new(),
            early: Vec::new(),
            reason: None,
        })
    }

    /// Closes a connection that was not spawned. The same as dropping it.
    pub fn terminate(self, reason: Reason) {
        drop((self, reason));
    }

    fn resolve(&mut self, cx: &MetaContext<'_>) {
        let (host, port, remote) = (self.options.host.clone(), self.options.port, cx.remote());
        cx.services.blocking.run(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            remote.send(Resolved(found));
        });
        self.state = State::Resolving;
    }

    fn resolved(&mut self, cx: &MetaContext<'_>, found: io::Result<Vec<SocketAddr>>) -> Result<(), Reason> {
        if !matches!(self.state, State::Resolving) {
            return Ok(());
        }
        match found {
            Ok(addresses) => self.addresses = addresses.into(),
            Err(error) => return self.over(DisconnectReason::Resolve(Arc::from(error.to_string()))),
        }
        self.try_next(cx, DisconnectReason::Resolve(Arc::from("the name has no address")))
    }

    /// Goes on with the next address; without one, it is over for that reason.
    fn try_next(&mut self, cx: &MetaContext<'_>, mut reason: DisconnectReason) -> Result<(), Reason> {
        while let Some(address) = self.addresses.pop_front() {
            match begin(address, &self.options) {
                Ok(stream) => {
                    self.state = State::Connecting { stream, address, registered: false };
                    return self.watch(cx);
                }
                Err(error) => reason = DisconnectReason::Connect(error.kind()),
            }
        }
        self.over(reason)
    }

    fn watch(&mut self, cx: &MetaContext<'_>) -> Result<(), Reason> {
        if let State::Connecting { stream, registered, .. } = &mut self.state
            && !std::mem::replace(registered, true)
            && let Err(error) = stream.register(cx)
        {
            return self.over(DisconnectReason::Io(error.kind()));
        }
        Ok(())
    }

    fn over(&mut self, reason: DisconnectReason) -> Result<(), Reason> {
        self.state = State::Over;
        let told = Reason::from(&reason);
        self.reason = Some(reason);
        Err(told)
    }

    /// The attempt has come to something.
    fn conclude(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let State::Connecting { stream, address, .. } = &self.state else { return Ok(()) };
        let failed = match stream.take_error() {
            Ok(None) => match stream.peer_addr() {
                Ok(_) => None,
                // Not yet: an event that was not about the connection.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => Some(error),
            },
            Ok(Some(error)) | Err(error) => Some(error),
        };
        if let Some(error) = failed {
            return self.try_next(cx, DisconnectReason::Connect(error.kind()));
        }
        let address = *address;
        let State::Connecting { stream, .. } = std::mem::replace(&mut self.state, State::Over) else { return Ok(()) };
        let settings = self.settings(cx);
        #[cfg(feature = "tls")]
        let machine = match &self.tls {
            Some(tls) => {
                tls.warn(&cx.services.logger, address);
                match tls.connect() {
                    Ok(tls) => Connection::with_tls(settings, tls, cx.now_ms),
                    Err(error) => return self.over(DisconnectReason::Tls(Arc::from(error.to_string()))),
                }
            }
            None => Connection::new(settings, cx.now_ms),
        };
        #[cfg(not(feature = "tls"))]
        let machine = Connection::new(settings, cx.now_ms);
        let mut driver = Box::new(Driver::new(stream, machine, self.owner, address));
        driver.assume_ready();
        cx.set_deadline(u64::MAX);
        let mut outcome = driver.established(cx);
        for message in std::mem::take(&mut self.early) {
            if outcome.is_ok() {
                outcome = driver.handle_message(cx, cx.parent, message);
            }
        }
        self.state = State::Established(driver);
        outcome
    }

    fn settings(&mut self, cx: &MetaContext<'_>) -> Arc<Settings> {
        let options = &self.options;
        Arc::clone(self.settings.get_or_insert_with(|| options.stream().settings(&cx.services.pool)))
    }
}

/// Begins to connect.
fn begin(address: SocketAddr, options: &TcpConnectionOptions) -> io::Result<Stream> {
    let socket = unbound(address, Type::STREAM, Protocol::TCP, &options.socket)?;
    set_stream_options(&SockRef::from(&socket), &options.socket, options.keep_alive_period)?;
    if let Some(local) = options.local_addr {
        socket.bind(&local.into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Stream::Tcp(TcpStream::from_std(socket.into())))
}

fn in_progress(error: &io::Error) -> bool {
    // EINPROGRESS of Linux, and of the BSDs.
    cfg!(unix) && matches!(error.raw_os_error(), Some(115 | 36))
}

impl MetaProcess for TcpConnection {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.owner = match &self.options.process {
            None => cx.parent,
            Some(name) => match cx.services.deliver.resolve(name) {
                Some(pid) if cx.services.deliver.is_pool(pid) => return Err(super::server::pool_refused(name)),
                Some(pid) => pid,
                None => {
                    self.owner = cx.parent;
                    return self.over(DisconnectReason::OwnerGone);
                }
            },
        };
        if let Some(timeout) = self.options.connect_timeout {
            cx.set_deadline(cx.now_ms.saturating_add(millis(timeout)));
        }
        match self.state {
            State::Named => {
                self.resolve(cx);
                Ok(())
            }
            _ => {
                self.watch(cx)?;
                self.conclude(cx)
            }
        }
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        match &mut self.state {
            State::Established(driver) => driver.ready(cx, readiness),
            _ if readiness.is_writable() => self.conclude(cx),
            _ => Ok(()),
        }
    }

    fn handle_message(&mut self, cx: &mut MetaContext<'_>, from: Pid, message: Message) -> Result<(), Reason> {
        if let State::Established(driver) = &mut self.state {
            return driver.handle_message(cx, from, message);
        }
        match message.downcast::<Resolved>() {
            Ok(Resolved(found)) => return self.resolved(cx, found),
            Err(message) if matches!(message.downcast_ref(), Some(TcpCommand::Abort)) => {
                return self.over(DisconnectReason::Abort);
            }
            Err(message) => self.early.push(message),
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match &mut self.state {
            State::Established(driver) => driver.flush(cx),
            _ => Ok(()),
        }
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match &mut self.state {
            State::Established(driver) => driver.handle_timer(cx),
            _ => self.over(DisconnectReason::ConnectTimeout),
        }
    }

    fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match &mut self.state {
            State::Established(driver) => driver.handle_resume(cx),
            _ => Ok(()),
        }
    }

    fn handle_drained(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match &mut self.state {
            State::Established(driver) => driver.handle_drained(cx),
            _ => Ok(()),
        }
    }

    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        match &mut self.state {
            State::Established(driver) => driver.handle_exit(cx, reason),
            _ => self.over(DisconnectReason::Exit(reason)),
        }
    }

    fn handle_finish(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        match &mut self.state {
            State::Established(driver) => driver.handle_finish(cx),
            _ => self.over(DisconnectReason::NodeStop),
        }
    }

    fn handle_inspect(&self) -> Inspection {
        if let State::Established(driver) = &self.state {
            return driver.handle_inspect();
        }
        let mut inspection = Inspection::default();
        inspection.add("kind", "tcp connection");
        let state = if matches!(self.state, State::Connecting { .. }) { "connecting" } else { "resolving" };
        inspection.add("state", state);
        inspection.add("remote_addr", format_args!("{}:{}", self.options.host, self.options.port));
        inspection.add("owner", self.owner);
        inspection
    }

    fn terminate(&mut self, cx: &mut MetaContext<'_>, reason: &Reason) {
        if let State::Established(driver) = &mut self.state {
            return MetaProcess::terminate(&mut **driver, cx, reason);
        }
        let reason = self.reason.take().unwrap_or_else(|| DisconnectReason::Exit(reason.clone()));
        let message = MessageTcpDisconnect { id: cx.alias, reason, bytes_in: 0, bytes_out: 0, unsent: cx.unsent };
        cx.deliver_control(self.owner, Message::TcpDisconnect(Box::new(message)));
    }

    fn output_limit(&self) -> u32 {
        self.options.limits.output_limit
    }
}

impl std::fmt::Debug for TcpConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpConnection").field("host", &self.options.host).finish_non_exhaustive()
    }
}
