//! Datagram sockets in the file system.
//!
//! As with UDP, but for the addresses, which are paths, and for one thing: a receiver whose queue is full refuses, and
//! no event reports when it would not. So there is no output queue here: what is refused is an error of that datagram,
//! and a receiver that sleeps delays no other.

use std::io;
use std::path::{Path, PathBuf};

use mio::net::UnixDatagram;
use socket2::{Domain, SockRef, Type};

use super::no_signal;
use super::options::UnixDatagramOptions;
use super::socket::{check_given, set_buffer_sizes};
use super::udp::datagram_info;
use super::unix::{self, SocketFile};
use crate::bridge::SocketCommand;
use crate::bridge::Undelivered;
use crate::error::{BindError, OsError, Reason};
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::datagram_bytes;
use crate::message::{Message, MessageUdpError, MessageUnixDatagram};
use crate::meta::{MetaContext, MetaProcess, Readiness, SocketKind};
use crate::proto::datagram::DatagramCounters;
#[cfg(feature = "testing")]
use crate::simulation::net::DatagramSocket;

/// Datagrams received in one activation; then others have their turn.
const RECEIVES: u32 = 64;
/// After this many consecutive errors, receiving pauses until the next readiness event, as with UDP.
const ERRORS_IN_A_ROW: u32 = 64;
/// The longest datagram that is taken whole.
const LARGEST: usize = 64 * 1024;

/// A meta-process for datagrams over a Unix domain socket: a [`UdpServer`](crate::UdpServer) whose addresses are paths.
///
/// Its owner gets a [`MessageUnixDatagram`] for each datagram, and sends one to its alias to send one. Created, it
/// holds its path; dropped, it removes the file.
///
/// ```
/// use longshore::{UnixDatagramOptions, UnixDatagramServer};
/// # fn main() -> Result<(), longshore::Error> {
/// let path = std::env::temp_dir()
///     .join(format!("longshore-doc-{}.dgram", std::process::id()));
/// let server = UnixDatagramServer::bind(&path, UnixDatagramOptions::default())?;
/// assert!(path.exists());
/// drop(server);
/// assert!(!path.exists());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a server receives nothing before `spawn_meta`"]
pub struct UnixDatagramServer {
    socket: UnixSocket,
    file: Option<SocketFile>,
    options: UnixDatagramOptions,
    owner: Pid,
    readable: bool,
    counters: DatagramCounters,
}

/// The socket: of the operating system, or simulated.
#[derive(Debug)]
enum UnixSocket {
    System(UnixDatagram),
    #[cfg(feature = "testing")]
    Simulated(DatagramSocket),
}

impl UnixSocket {
    fn register(&mut self, cx: &MetaContext<'_>) -> io::Result<()> {
        match self {
            Self::System(socket) => {
                no_signal::set_up(&SockRef::from(&*socket))?;
                cx.register_datagrams(socket)
            }
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => super::simulated::register(cx, socket),
        }
    }

    fn deregister(&mut self, cx: &MetaContext<'_>) {
        match self {
            Self::System(socket) => cx.deregister_source(socket),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => super::simulated::deregister(socket),
        }
    }

    fn recv_from(&self, into: &mut [u8]) -> io::Result<(usize, Option<PathBuf>)> {
        match self {
            Self::System(socket) => {
                let (length, from) = socket.recv_from(into)?;
                Ok((length, unix::path_of(&from)))
            }
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => {
                let (length, from) = socket.receive(into)?;
                Ok((length, from.path().cloned()))
            }
        }
    }

    /// Sends to a path, or to the connected peer.
    fn send(&self, data: &[u8], to: Option<&Path>) -> io::Result<usize> {
        match (self, to) {
            (Self::System(socket), Some(path)) => {
                let to = unix::address(path)?;
                socket.try_io(|| no_signal::send_to(&SockRef::from(socket), data, &to))
            }
            (Self::System(socket), None) => {
                let slices = [io::IoSlice::new(data)];
                socket.try_io(|| no_signal::send(&SockRef::from(socket), &slices))
            }
            #[cfg(feature = "testing")]
            (Self::Simulated(socket), to) => socket.send_to_path(to, data),
        }
    }
}

impl UnixDatagramServer {
    /// Checks the options, then binds to a path.
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field, before anything is bound; otherwise what the operating system says,
    /// for instance that the path exists.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// use longshore::{UnixDatagramOptions, UnixDatagramServer};
    /// # fn main() { inside(|cx| {
    /// let path = std::env::temp_dir()
    ///     .join(format!("longshore-bind-{}.sock", std::process::id()));
    /// let options = UnixDatagramOptions::default().with_file_mode(0o600);
    /// cx.spawn_meta(UnixDatagramServer::bind(&path, options)?)?;
    /// # Ok(()) }) }
    /// ```
    pub fn bind(path: impl AsRef<Path>, options: UnixDatagramOptions) -> Result<Self, BindError> {
        let path = path.as_ref();
        options.validate()?;
        let failed = |source| BindError::Bind {
            address: unix::shown(path),
            source,
        };
        #[cfg(feature = "testing")]
        if let Some(site) = crate::simulation::current() {
            let socket = DatagramSocket::bind_unix(&site, path).map_err(failed)?;
            return Ok(Self::new(UnixSocket::Simulated(socket), None, options));
        }
        let (socket, file) = unix::bind(path, Type::DGRAM, options.file()).map_err(failed)?;
        set_buffer_sizes(&SockRef::from(&socket), &options.socket()).map_err(failed)?;
        Ok(Self::new(
            UnixSocket::System(UnixDatagram::from_std(socket.into())),
            Some(file),
            options,
        ))
    }

    /// Takes over a socket; its file, if it has one, is not removed at the end.
    ///
    /// ```
    /// use longshore::{UnixDatagramOptions, UnixDatagramServer};
    /// # fn main() -> Result<(), longshore::Error> {
    /// let socket = std::os::unix::net::UnixDatagram::unbound()?;
    /// let client = UnixDatagramServer::from_std(socket, UnixDatagramOptions::default())?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field; otherwise what the operating system says.
    pub fn from_std(
        socket: std::os::unix::net::UnixDatagram,
        options: UnixDatagramOptions,
    ) -> Result<Self, BindError> {
        options.validate()?;
        let failed = |source| BindError::Bind {
            address: "the given socket".into(),
            source,
        };
        check_given(&SockRef::from(&socket), Type::DGRAM, &[Domain::UNIX]).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        set_buffer_sizes(&SockRef::from(&socket), &options.socket()).map_err(failed)?;
        let socket = UnixSocket::System(UnixDatagram::from_std(socket));
        Ok(Self::new(socket, None, options))
    }

    fn new(socket: UnixSocket, file: Option<SocketFile>, options: UnixDatagramOptions) -> Self {
        Self {
            socket,
            file,
            options,
            owner: Pid::NODE,
            readable: false,
            counters: DatagramCounters::default(),
        }
    }

    fn receive_all(&mut self, cx: &mut MetaContext<'_>) {
        let (mut left, mut errors) = (RECEIVES, 0);
        while self.readable {
            // Other meta-processes have their turn.
            if left == 0 {
                return cx.call_again();
            }
            left -= 1;
            match self.socket.recv_from(cx.scratch.spare_mut()) {
                Ok((length, from)) => self.deliver(cx, length, from),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.counters.receive_errors += 1;
                    errors += 1;
                    // One that persists must not spin the loop. No activation receives more often than that.
                    self.readable = errors < ERRORS_IN_A_ROW;
                    self.report(cx, 0, error.into());
                }
            }
        }
    }

    fn deliver(&mut self, cx: &mut MetaContext<'_>, length: usize, from: Option<PathBuf>) {
        cx.read_budget = cx.read_budget.saturating_sub(length);
        let limit = if self.options.buffer_pool.is_some() {
            LARGEST
        } else {
            self.options.buffer_size.min(LARGEST)
        };
        let truncated = length > limit;
        let pool = self
            .options
            .buffer_pool
            .as_ref()
            .unwrap_or(&cx.services.pool);
        // A copy of its size: what was read into has room for the longest datagram, and serves all sockets of the
        // stripe.
        let data = pool.copy_from_slice(&cx.scratch.spare_mut()[..length.min(limit)]);
        self.counters.messages_in += 1;
        self.counters.bytes_in += length as u64;
        self.counters.truncated += u64::from(truncated);
        let packet = MessageUnixDatagram {
            id: cx.alias,
            path: from,
            data,
            truncated,
        };
        let message = Message::UnixDatagram(Box::new(packet)).into();
        match cx.deliver_data(self.owner, message) {
            Ok(()) => {}
            // The datagram is dropped and counted, as with UDP.
            Err(Undelivered::Full(message)) => {
                message.discard();
                self.counters.dropped += 1;
            }
            Err(Undelivered::Gone(message)) => {
                message.discard();
                self.counters.dropped += 1;
                self.find_owner(cx);
            }
        }
    }

    /// A process that was restarted under its name is found again.
    fn find_owner(&mut self, cx: &MetaContext<'_>) {
        self.owner = match &self.options.process {
            None => cx.parent,
            Some(name) => cx.services.deliver.resolve(name).unwrap_or(Pid::NODE),
        };
    }

    fn report(&self, cx: &MetaContext<'_>, length: usize, error: OsError) {
        if self.options.report_errors {
            let report = MessageUdpError {
                id: cx.alias,
                // The report has an address of the internet, and a path is none.
                addr: None,
                length,
                error,
            };
            // An owner that is gone is found out by the next datagram.
            let _ = cx.deliver_control(self.owner, Message::UdpError(Box::new(report)));
        }
    }

    fn send(&mut self, cx: &MetaContext<'_>, packet: &MessageUnixDatagram) {
        let sent = loop {
            let sent = self.socket.send(&packet.data, packet.path.as_deref());
            match sent {
                // A signal has interrupted the call before anything was sent.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => break sent,
            }
        };
        match sent {
            Ok(_) => {
                self.counters.messages_out += 1;
                self.counters.bytes_out += packet.data.len() as u64;
            }
            Err(error) => {
                self.counters.send_errors += 1;
                self.report(cx, packet.data.len(), error.into());
            }
        }
        // A datagram that failed frees its quota as well, because nothing keeps it.
        cx.quota().sent(
            datagram_bytes(packet.data.len()),
            self.options.output_limit / 4,
        );
    }
}

impl MetaProcess for UnixDatagramServer {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.find_owner(cx);
        self.socket.register(cx)?;
        Ok(())
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        self.socket.deregister(cx);
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        self.readable |= readiness.is_readable();
        self.receive_all(cx);
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::UnixDatagram(packet) => self.send(cx, &packet),
            message => match message.take::<SocketCommand>() {
                Ok(SocketCommand::Close | SocketCommand::Abort) => return Err(Reason::Normal),
                Ok(_) => {}
                // Nothing else means anything here; what it counted against the output limit is given back.
                Err(message) => {
                    cx.ignore(&message, 0);
                }
            },
        }
        Ok(())
    }

    fn is_listener(&self) -> bool {
        true
    }

    fn kind(&self) -> SocketKind {
        SocketKind::Datagram(datagram_info(&self.counters, None, self.owner))
    }

    fn handle_inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("kind", "unix datagram server");
        if let Some(file) = &self.file {
            inspection.add("local_addr", unix::shown(file.path()));
        }
        inspection.add("owner", self.owner);
        let counters = &self.counters;
        inspection.add("bytes_in", counters.bytes_in);
        inspection.add("bytes_out", counters.bytes_out);
        inspection.add("messages_in", counters.messages_in);
        inspection.add("messages_out", counters.messages_out);
        inspection.add("dropped", counters.dropped);
        inspection.add("truncated", counters.truncated);
        inspection.add("receive_errors", counters.receive_errors);
        inspection.add("send_errors", counters.send_errors);
        inspection
    }

    fn output_limit(&self) -> u32 {
        self.options.output_limit
    }
}
