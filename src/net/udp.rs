//! UDP sockets.
//!
//! ```text
//!  bind ─▶ UdpServer (port taken) ─ spawn_meta ─▶ running ─▶ terminated (socket closed)
//!            └ drop, terminate: port free
//!
//!  readable ─▶ each endpoint receives its share of the budget ─▶ owner
//!  MessageUdp ─▶ the endpoint that has its local address, or reaches its peer ─▶ flush
//! ```
//!
//! A server has one socket, or one for each address of [`UdpServer::bind_each`]; all are registered under one alias, so
//! that readiness of one is readiness of all. What becomes of each datagram and each error is decided by the machine in
//! `proto::datagram`; none ends the server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::UdpSocket;
use socket2::{Protocol, SockRef, Type};

use self::endpoint::Endpoint;
#[cfg(unix)]
pub(super) use self::inspect::datagram_info;
use self::owner::Owner;
use crate::bridge::SocketCommand;
use crate::bridge::request::Reply;
use crate::error::{BindError, ConfigError, Reason};
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::{CompactMessage, Message};
use crate::meta::{MetaContext, MetaProcess, Readiness, SocketKind};
use crate::net::datagram_io::DatagramIo;
use crate::net::multicast::Multicast;
use crate::net::options::UdpServerOptions;
#[cfg(feature = "testing")]
use crate::net::simulated;
use crate::net::socket::{
    INTERNET, bind_addresses, bind_first, check_given, record_resolving, set_buffer_sizes, unbound,
};
use crate::net::stream::mapped_for;
#[cfg(feature = "testing")]
use crate::simulation;

mod endpoint;
mod inspect;
mod outgoing;
mod owner;

/// Datagrams received in one activation; then others have their turn.
const RECEIVES: u32 = 64;

/// A UDP server meta-process: receives datagrams for a process and sends those it is sent. With port 0, or connected to
/// a `peer`, it is a client.
///
/// Created, it holds its port; dropped, it frees it.
///
/// # Which address an answer leaves from
///
/// The answer to a datagram has to leave from the address that was asked, or the peer drops it. A socket that is bound
/// to one address has no choice. **One that is bound to all of them** (an empty host, `0.0.0.0`, `::`) leaves the
/// choice to the operating system, which takes the address of the interface that the answer leaves by: on a machine
/// with several addresses that is often another one. There are two ways out:
///
/// - the feature `pktinfo`, on Linux: such a socket reports the address that each datagram came to, in
///   [`MessageUdp::local_addr`](crate::MessageUdp::local_addr), and its answer leaves from there;
/// - [`UdpServer::bind_each`], everywhere: a list of addresses instead of all, with one socket for each.
///
/// With both, an answer is a datagram that was received and is sent back with other bytes, or
/// [`Context::answer_datagram`](crate::Context::answer_datagram).
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
#[must_use = "a server receives nothing before `spawn_meta`"]
pub struct UdpServer {
    first: Endpoint,
    /// The sockets of the other addresses of `bind_each`.
    others: Vec<Endpoint>,
    owner: Owner,
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
            // On the interface that the kernel chooses by its routes (ip(7), ipv6(7)).
            IpAddr::V4(group) => socket.join_multicast_v4(group, &Ipv4Addr::UNSPECIFIED)?,
            IpAddr::V6(group) => socket.join_multicast_v6(group, 0)?,
        }
    }
    match options.peer {
        Some(peer) => {
            let is_v6 = socket.local_addr()?.is_ipv6();
            // A socket of IPv6 knows an IPv4 peer in its mapped form only.
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
        let endpoint = Self::bind_endpoint(&addresses, &options, false)?;
        let mut server = Self::with_endpoint(endpoint, options);
        server.resolving_ms = resolving_ms;
        Ok(server)
    }

    /// Binds one socket to each of the addresses. They are one server with one alias: the owner gets the datagrams of
    /// all, with the address that each came to in [`MessageUdp::local_addr`](crate::MessageUdp::local_addr), and an
    /// answer leaves from the socket that was asked. A datagram without such an address leaves from the first of them
    /// that reaches its peer's family.
    ///
    /// Of the options, `host` and `port` stand in the list and `peer` is not possible. The limits are those of the
    /// whole server. Readiness of one socket is readiness of all: each is asked for datagrams then, one system call
    /// that finds none for each idle address.
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field, `addresses` for an empty list; otherwise what the operating system
    /// says of the first address that cannot be bound. Nothing is bound then.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::net::SocketAddr;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let addresses = [([127, 0, 0, 1], 0), ([127, 0, 0, 2], 0)].map(SocketAddr::from);
    /// let server = UdpServer::bind_each(addresses, UdpServerOptions::default())?;
    /// assert_eq!(server.local_addrs().count(), 2);
    /// # Ok(()) }
    /// ```
    pub fn bind_each<A: Into<SocketAddr>>(
        addresses: impl IntoIterator<Item = A>,
        options: impl Into<UdpServerOptions>,
    ) -> Result<Self, BindError> {
        let options = options.into();
        options.validate()?;
        let stands_alone = |field, problem| Err(ConfigError::new(field, problem).into());
        if !options.host.is_any() || options.port != 0 {
            return stands_alone("host", "stands in the list of addresses");
        }
        if options.peer.is_some() {
            return stands_alone("peer", "is for a socket that is bound to one address");
        }
        let mut endpoints = addresses
            .into_iter()
            .map(|address| Self::bind_endpoint(&[address.into()], &options, true));
        let Some(first) = endpoints.next() else {
            return stands_alone("addresses", "the list is empty");
        };
        let (first, others) = (first?, endpoints.collect::<Result<_, _>>()?);
        let mut server = Self::with_endpoint(first, options);
        server.others = others;
        Ok(server)
    }

    /// Binds the first of the addresses that can be bound.
    fn bind_endpoint(
        addresses: &[SocketAddr],
        options: &UdpServerOptions,
        is_one_of_several: bool,
    ) -> Result<Endpoint, BindError> {
        #[cfg(feature = "testing")]
        if let Some(site) = simulation::current() {
            let (socket, local_addr) = simulated::bind_udp(&site, addresses, options)?;
            let socket = DatagramIo::Simulated(socket);
            return Ok(Endpoint::new(
                socket,
                local_addr,
                options,
                is_one_of_several,
            ));
        }
        let socket = bind_first(addresses, |address| {
            let socket = unbound(address, Type::DGRAM, Protocol::UDP, &options.socket)?;
            // Several programs on one machine may listen to one group, on its port.
            if !options.multicast.is_empty() {
                socket.set_reuse_address(true)?;
            }
            socket.bind(&address.into())?;
            // After `bind`: a socket that is connected first is bound by the kernel, to a port of its own choice.
            set_up(&SockRef::from(&socket), options)?;
            Ok(socket)
        })?;
        Self::endpoint_of(socket.into(), options, is_one_of_several)
    }

    /// Takes over a socket that is bound already. Of the options, those of the address do not apply, and of the socket
    /// those that must be set before it is bound: `reuse_port` and `only_v6`.
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
        check_given(&given, Type::DGRAM, &INTERNET)
            .and_then(|()| set_buffer_sizes(&given, &options.socket))
            .and_then(|()| set_up(&given, &options))
            .map_err(given_failed)?;
        let endpoint = Self::endpoint_of(socket, &options, false)?;
        Ok(Self::with_endpoint(endpoint, options))
    }

    fn endpoint_of(
        socket: std::net::UdpSocket,
        options: &UdpServerOptions,
        is_one_of_several: bool,
    ) -> Result<Endpoint, BindError> {
        socket.set_nonblocking(true).map_err(given_failed)?;
        let local_addr = socket.local_addr().map_err(given_failed)?;
        let socket = UdpSocket::from_std(socket);
        // `from_std` may get a socket that is bound to all addresses, and then has to ask for them.
        let socket = DatagramIo::system(socket, local_addr).map_err(given_failed)?;
        Ok(Endpoint::new(
            socket,
            local_addr,
            options,
            is_one_of_several,
        ))
    }

    fn with_endpoint(first: Endpoint, options: UdpServerOptions) -> Self {
        let pid = Pid::NODE;
        Self {
            first,
            others: Vec::new(),
            owner: Owner { options, pid },
            resolving_ms: 0,
        }
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

    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn receive_all(&mut self, cx: &mut MetaContext<'_>) {
        if self.others.is_empty() {
            return self.first.receive_all(&mut self.owner, cx, RECEIVES);
        }
        // The sockets share the activation, so that one that is flooded does not silence the others.
        let share = RECEIVES / (1 + self.others.len() as u32);
        for endpoint in std::iter::once(&mut self.first).chain(&mut self.others) {
            endpoint.receive_all(&mut self.owner, cx, share.max(1));
        }
    }

    /// Handles what is no datagram.
    #[cold]
    fn handle_command(&mut self, cx: &mut MetaContext<'_>, message: Message) -> Result<(), Reason> {
        match message.take::<SocketCommand>() {
            Ok(SocketCommand::Close | SocketCommand::Abort) => self.handle_exit(cx, Reason::Normal),
            Ok(_) => Ok(()),
            // Nothing else means anything to a UDP socket; what it counted against the output limit is given back.
            Err(message) => {
                cx.ignore(&message, 0);
                Ok(())
            }
        }
    }
}

impl MetaProcess for UdpServer {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.owner.find(cx);
        record_resolving(
            &cx.services.log,
            &self.owner.options.host,
            self.resolving_ms,
        );
        self.first.socket.register(cx)?;
        for endpoint in &mut self.others {
            endpoint.socket.register(cx)?;
        }
        Ok(())
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        self.first.socket.deregister(cx);
        for endpoint in &mut self.others {
            endpoint.socket.deregister(cx);
        }
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        for endpoint in std::iter::once(&mut self.first).chain(&mut self.others) {
            // The event does not say which socket it was, because all have the token of the alias.
            if readiness.is_readable() {
                endpoint.set_readable();
            }
            if readiness.is_writable() && endpoint.set_writable() {
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
        if let Message::Udp(packet) = message {
            self.push(cx, packet);
            return Ok(());
        }
        self.handle_command(cx, message)
    }

    fn queue_output(&mut self, message: CompactMessage, _: u64) -> Result<bool, CompactMessage> {
        if !self.others.is_empty() {
            return Err(message);
        }
        message
            .into_datagram()
            .map(|packet| self.first.push(packet))
    }

    fn handle_call(
        &mut self,
        _cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        // Another request means nothing to a socket; `reply` is dropped.
        if let Ok(change) = message.take::<Multicast>() {
            let sockets = self.endpoints().map(|endpoint| &endpoint.socket);
            reply.send(change.apply_to(sockets));
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        Ok(self.send_all(cx)?)
    }

    /// What was accepted before the signal is given to the socket as far as it takes it.
    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        // It ends by the signal, so that a failure to watch for room changes nothing.
        let _ = self.send_all(cx);
        Err(reason)
    }

    fn is_listener(&self) -> bool {
        true
    }

    fn kind(&self) -> SocketKind {
        SocketKind::Datagram(self.info())
    }

    fn handle_inspect(&self) -> Inspection {
        self.inspection()
    }

    fn output_limit(&self) -> u32 {
        self.owner.options.output_limit
    }
}
