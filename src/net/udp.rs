//! UDP sockets.
//!
//! ```text
//!  bind ─▶ UdpServer (port taken) ─ spawn_meta ─▶ running ─▶ terminated (socket closed)
//!            └ drop, terminate: port free
//!
//!  readable ─▶ receive up to the budget ─▶ MessageUdp to the owner, or dropped and counted
//!  MessageUdp ─▶ queue (bounded by the quota cell) ─▶ flush: send until the socket takes no more, in batches
//! ```
//!
//! What becomes of each datagram and each error is decided by the machine in `proto::datagram`; none ends the server. Here
//! are the socket, the owner and the quota cell.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::UdpSocket;
use socket2::{Protocol, SockRef, Type};

use crate::bridge::SocketCommand;
use crate::bridge::Undelivered;
use crate::error::BindError;
use crate::error::Reason;
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::memory::buffer::BufferPool;
use crate::message::datagram_bytes;
use crate::message::{Message, MessageUdp, MessageUdpError};
use crate::meta::{DatagramInfo, MetaContext, MetaProcess, Readiness, SocketKind};
use crate::net::datagram_io::DatagramIo;
use crate::net::options::UdpServerOptions;
#[cfg(feature = "testing")]
use crate::net::simulated;
use crate::net::socket::{bind_addresses, bind_first, record_resolving, set_buffer_sizes, unbound};
use crate::net::stream::{canonical, mapped_for};
use crate::proto::datagram::{AfterError, Batch, Datagrams, Transmitted};
#[cfg(feature = "testing")]
use crate::simulation;

/// Datagrams received in one activation; then others have their turn.
const RECEIVES: u32 = 64;
/// Longer than any datagram.
const LARGEST: usize = 64 * 1024;

/// A UDP server meta-process: receives datagrams for a process and sends those it is sent. With port 0, or connected to a
/// `peer`, it is a client.
///
/// Created, it holds its port; dropped, it frees it.
///
/// ```
/// use longshore::UdpServer;
/// # fn main() -> Result<(), longshore::Error> {
/// let server = UdpServer::bind("127.0.0.1:0")?;
/// assert_ne!(server.local_addr().port(), 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[doc(alias = "CreateUDPServer")]
pub struct UdpServer {
    socket: DatagramIo,
    local_addr: SocketAddr,
    /// The family of the socket. One of IPv6 serves IPv4 as well, as a rule, with addresses that are mapped.
    is_v6: bool,
    options: UdpServerOptions,
    owner: Pid,
    readable: bool,
    writable: bool,
    machine: Datagrams,
    /// How long `bind` was in the resolver.
    resolving_ms: u64,
}

/// What is set on a bound socket.
fn set_up(socket: &SockRef<'_>, options: &UdpServerOptions) -> io::Result<()> {
    if options.broadcast {
        socket.set_broadcast(true)?;
    }
    for group in &options.multicast {
        match group {
            IpAddr::V4(group) => socket.join_multicast_v4(group, &Ipv4Addr::UNSPECIFIED)?,
            IpAddr::V6(group) => socket.join_multicast_v6(group, 0)?,
        }
    }
    match options.peer {
        Some(peer) => {
            let is_v6 = socket.local_addr()?.is_ipv6();
            socket.connect(&mapped_for(peer, is_v6).into())
        }
        None => Ok(()),
    }
}

fn given_failed(source: io::Error) -> BindError {
    BindError::Bind {
        address: "the given socket".into(),
        source,
    }
}

impl UdpServer {
    /// Checks the options, then binds.
    ///
    /// An address, with its zone if it has one, and `localhost` are taken as they are. Another name is resolved by the operating
    /// system, and **the calling thread is blocked** until the resolver answers, for seconds if it does not; a worker does nothing
    /// else then. From 100 ms on that is a record. Bind to an address, or call this before the node is started.
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field, before anything is bound; otherwise what the operating system says,
    /// for instance that the port is in use.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let options = UdpServerOptions::from("127.0.0.1:0").with_report_errors(true);
    /// let server = UdpServer::bind(options)?;
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    pub fn bind(options: impl Into<UdpServerOptions>) -> Result<Self, BindError> {
        let options = options.into();
        options.validate()?;
        let (addresses, resolving_ms) =
            bind_addresses(&options.host, options.port, &options.socket)?;
        #[cfg(feature = "testing")]
        if let Some(site) = simulation::current() {
            let (socket, local_addr) = simulated::bind_udp(&site, &addresses, &options)?;
            let socket = DatagramIo::Simulated(socket);
            return Ok(Self::with_socket(socket, local_addr, options));
        }
        let socket = bind_first(&addresses, |address| {
            let socket = unbound(address, Type::DGRAM, Protocol::UDP, &options.socket)?;
            if !options.multicast.is_empty() {
                socket.set_reuse_address(true)?;
            }
            socket.bind(&address.into())?;
            set_up(&SockRef::from(&socket), &options)?;
            Ok(socket)
        })?;
        let mut server = Self::new(socket.into(), options)?;
        server.resolving_ms = resolving_ms;
        Ok(server)
    }

    /// Takes over a socket that is bound already. Of the options, those of the address do not apply, and of the socket those
    /// that must be set before it is bound: `reuse_port` and `only_v6`.
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field; otherwise what the operating system says.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let server = UdpServer::from_std(socket, UdpServerOptions::default())?;
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    pub fn from_std(
        socket: std::net::UdpSocket,
        options: impl Into<UdpServerOptions>,
    ) -> Result<Self, BindError> {
        let options = options.into();
        options.validate()?;
        let given = SockRef::from(&socket);
        set_buffer_sizes(&given, &options.socket)
            .and_then(|()| set_up(&given, &options))
            .map_err(given_failed)?;
        Self::new(socket, options)
    }

    fn new(socket: std::net::UdpSocket, options: UdpServerOptions) -> Result<Self, BindError> {
        socket.set_nonblocking(true).map_err(given_failed)?;
        let local_addr = socket.local_addr().map_err(given_failed)?;
        let socket = DatagramIo::System(UdpSocket::from_std(socket));
        Ok(Self::with_socket(socket, local_addr, options))
    }

    fn with_socket(socket: DatagramIo, local_addr: SocketAddr, options: UdpServerOptions) -> Self {
        let is_v6 = local_addr.is_ipv6();
        let longest = if options.buffer_pool.is_some() {
            LARGEST
        } else {
            options.buffer_size
        };
        let is_connected = options.peer.is_some();
        let cuts_batches = options.segmentation_offload && socket.can_cut();
        Self {
            socket,
            local_addr: canonical(local_addr),
            is_v6,
            options,
            owner: Pid::NODE,
            readable: false,
            writable: true,
            machine: Datagrams::new(longest, is_connected, cuts_batches),
            resolving_ms: 0,
        }
    }

    /// The bound address, with the port that the operating system chose.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// assert_ne!(UdpServer::bind("127.0.0.1:0")?.local_addr().port(), 0);
    /// # Ok(()) }
    /// ```
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Frees the port of a server that was not spawned. The same as dropping it.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let server = UdpServer::bind("127.0.0.1:0")?;
    /// let address = server.local_addr();
    /// server.terminate(Reason::Normal);
    /// UdpServer::bind(address)?; // the port is free
    /// # Ok(()) }
    /// ```
    pub fn terminate(self, reason: Reason) {
        drop((self, reason));
    }

    fn receive_all(&mut self, cx: &mut MetaContext<'_>) {
        let mut left = RECEIVES;
        while self.readable {
            if left == 0 {
                cx.call_again();
                break;
            }
            left -= 1;
            match self.socket.recv_from(cx.scratch.spare_mut()) {
                Ok((length, addr)) => self.deliver(cx, length, canonical(addr)),
                Err(error) => match self.machine.receive_failed(error.kind()) {
                    AfterError::Continue => {}
                    AfterError::Wait => self.readable = false,
                    AfterError::Report(error) => self.report(cx, None, 0, error),
                    AfterError::ReportAndWait(error) => {
                        self.readable = false;
                        self.report(cx, None, 0, error);
                    }
                },
            }
        }
    }

    /// Copies a datagram out of the scratch buffer and gives it to the owner.
    fn deliver(&mut self, cx: &mut MetaContext<'_>, length: usize, addr: SocketAddr) {
        cx.read_budget = cx.read_budget.saturating_sub(length);
        let pool: &BufferPool = self
            .options
            .buffer_pool
            .as_ref()
            .unwrap_or(&cx.services.pool);
        let (data, truncated) = self
            .machine
            .received(&cx.scratch.spare_mut()[..length], pool);
        let message = Message::Udp(MessageUdp {
            id: cx.alias,
            addr,
            data,
            truncated,
        })
        .into();
        match cx.deliver_data(self.owner, message) {
            Ok(()) => {}
            Err(Undelivered::Full(message)) => {
                message.discard();
                self.machine.count_dropped();
            }
            Err(Undelivered::Gone(message)) => {
                message.discard();
                self.machine.count_dropped();
                self.find_owner(cx);
            }
        }
    }

    /// Looks the owner's name up; a process that was restarted under its name is found again.
    fn find_owner(&mut self, cx: &MetaContext<'_>) {
        self.owner = match &self.options.process {
            None => cx.parent,
            Some(name) => cx.services.deliver.resolve(name).unwrap_or(Pid::NODE),
        };
    }

    fn report(
        &self,
        cx: &MetaContext<'_>,
        addr: Option<SocketAddr>,
        length: usize,
        error: io::ErrorKind,
    ) {
        if self.options.report_errors {
            let report = MessageUdpError {
                id: cx.alias,
                addr,
                length,
                error,
            };
            // An owner that is gone is found out by the next datagram.
            let _ = cx.deliver_control(self.owner, Message::UdpError(Box::new(report)));
        }
    }

    fn send_all(&mut self, cx: &MetaContext<'_>) {
        while self.writable {
            let (socket, peer) = (&self.socket, self.options.peer);
            let transmitted =
                self.machine
                    .transmit(|Batch { addr, datagrams }| match (datagrams, peer) {
                        ([only], Some(_)) => socket.send(only),
                        ([only], None) => socket.send_to(only, addr),
                        (several, peer) => {
                            socket.send_several(peer.is_none().then_some(addr), several)
                        }
                    });
            let counted = match transmitted {
                Transmitted::Idle => return,
                Transmitted::Again => continue,
                Transmitted::Blocked => {
                    self.writable = false;
                    return;
                }
                Transmitted::DeferredError(error) => {
                    self.report(cx, None, 0, error);
                    continue;
                }
                Transmitted::Sent { counted } => counted,
                Transmitted::Failed {
                    addr,
                    length,
                    error,
                } => {
                    self.report(cx, Some(canonical(addr)), length, error);
                    datagram_bytes(length)
                }
            };
            cx.quota().sent(counted, self.options.output_limit / 4);
        }
    }
}

impl MetaProcess for UdpServer {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.find_owner(cx);
        record_resolving(&cx.services.log, &self.options.host, self.resolving_ms);
        self.socket.register(cx)?;
        Ok(())
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        self.socket.deregister(cx);
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        self.readable |= readiness.is_readable();
        if readiness.is_writable() {
            self.writable = true;
            if self.machine.wants_transmit() {
                cx.flush_later();
            }
        }
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
            Message::Udp(mut packet) => {
                if packet.addr.is_ipv6() != self.is_v6 {
                    packet.addr = mapped_for(packet.addr, self.is_v6);
                }
                self.machine.push(packet.addr, packet.data);
                if self.writable {
                    cx.flush_later();
                }
                Ok(())
            }
            message => match message.take::<SocketCommand>() {
                Ok(SocketCommand::Close | SocketCommand::Abort) => {
                    self.handle_exit(cx, Reason::Normal)
                }
                Ok(_) => Ok(()),
                // Nothing else means anything to a UDP socket; what it counted against the output limit is given back.
                Err(message) => {
                    cx.ignore(&message, 0);
                    Ok(())
                }
            },
        }
    }

    fn flush(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.send_all(cx);
        Ok(())
    }

    /// What was accepted before the signal is given to the socket as far as it takes it.
    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        self.send_all(cx);
        Err(reason)
    }

    fn is_listener(&self) -> bool {
        true
    }

    fn kind(&self) -> SocketKind {
        let counters = &self.machine.counters;
        SocketKind::Datagram(DatagramInfo {
            local_addr: Some(self.local_addr),
            owner: self.owner,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            dropped: counters.dropped,
            truncated: counters.truncated,
            receive_errors: counters.receive_errors,
            send_errors: counters.send_errors,
        })
    }

    fn handle_inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("kind", "udp server");
        inspection.add("local_addr", self.local_addr);
        inspection.add("owner", self.owner);
        let counters = &self.machine.counters;
        inspection.add("bytes_in", counters.bytes_in);
        inspection.add("bytes_out", counters.bytes_out);
        inspection.add("messages_in", counters.messages_in);
        inspection.add("messages_out", counters.messages_out);
        inspection.add("dropped", counters.dropped);
        inspection.add("truncated", counters.truncated);
        inspection.add("receive_errors", counters.receive_errors);
        inspection.add("send_errors", counters.send_errors);
        if let Some(drops) = self.socket.kernel_drops() {
            inspection.add("kernel_drops", drops);
        }
        inspection
    }

    fn output_limit(&self) -> u32 {
        self.options.output_limit
    }
}
