//! Options of listeners, connections and UDP sockets, validated where they are used, naming the field.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{Buffer, BufferPool};
use crate::clock::millis;
use crate::command::outlet::MAX_LIMIT;
use crate::error::OptionError;
use crate::id::Name;
use crate::proto::connection::Settings;
use crate::proto::framing::Framing;
#[cfg(feature = "tls")]
use crate::tls::{CertManager, TlsClientOptions, TlsServerOptions};

/// Gives options a consuming setter for each field: one that converts, one that takes the value as it is (numbers, whose
/// literals would not convert), and two for the value of an option, converted and as it is.
macro_rules! setters {
    ($($(#[$doc:meta])* $setter:ident, $field:ident : $how:tt $type:ty;)*) => {
        $(setters!(@one $(#[$doc])* $setter, $field, $how, $type);)*
    };
    (@one $(#[$doc:meta])* $setter:ident, $field:ident, into, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: impl Into<$type>) -> Self {
            self.$field = value.into();
            self
        }
    };
    (@one $(#[$doc:meta])* $setter:ident, $field:ident, plain, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: $type) -> Self {
            self.$field = value;
            self
        }
    };
    (@one $(#[$doc:meta])* $setter:ident, $field:ident, some_name, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: impl Into<$type>) -> Self {
            let name: $type = value.into();
            self.$field = (!name.as_str().is_empty()).then_some(name);
            self
        }
    };
    (@one $(#[$doc:meta])* $setter:ident, $field:ident, some, $type:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, value: $type) -> Self {
            self.$field = Some(value);
            self
        }
    };
}

/// Limits and deadlines of TCP connections. "Off" is `None`.
///
/// ```
/// use longshore::prelude::*;
/// use longshore::TcpLimits;
/// use std::time::Duration;
///
/// let limits = TcpLimits::default().with_idle_timeout(Duration::from_secs(60)).with_write_timeout(None);
/// let options = TcpServerOptions::from("127.0.0.1:7000").with_limits(limits);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpLimits {
    /// Bytes that may wait to be sent, those on their way to the connection included; a send that would exceed it is
    /// refused with its message. 4 MiB by default; at most 2^30 - 1.
    pub output_limit: u32,
    /// Above so many waiting bytes the connection stops reading. 256 KiB by default.
    pub high_water_mark: u32,
    /// At so many waiting bytes reading resumes and the owner gets a `MessageTcpWritable`. 64 KiB by default.
    pub low_water_mark: u32,
    /// Time for the TLS handshake. 10 s by default.
    pub handshake_timeout: Option<Duration>,
    /// The connection ends after so long without a byte in either direction. Off by default.
    pub idle_timeout: Option<Duration>,
    /// The connection ends when bytes wait so long without the peer taking any. 30 s by default.
    pub write_timeout: Option<Duration>,
    /// Time from the first byte of a frame to its last. Off by default.
    pub frame_timeout: Option<Duration>,
    /// Time for a close to send what is queued, and for the peer to answer it by ending its side. 5 s by default.
    pub close_timeout: Duration,
    /// Within the close timeout: how long a peer that sends nothing may take to end its side after we have ended ours.
    /// 1 s by default.
    #[doc(alias = "linger")]
    pub linger_timeout: Duration,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            output_limit: 4 << 20,
            high_water_mark: 256 << 10,
            low_water_mark: 64 << 10,
            handshake_timeout: Some(Duration::from_secs(10)),
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(30)),
            frame_timeout: None,
            close_timeout: Duration::from_secs(5),
            linger_timeout: Duration::from_secs(1),
        }
    }
}

impl TcpLimits {
    setters! {
        /// Sets [`output_limit`](Self::output_limit), bytes.
        with_output_limit, output_limit: plain u32;
        /// Sets [`high_water_mark`](Self::high_water_mark), bytes.
        with_high_water_mark, high_water_mark: plain u32;
        /// Sets [`low_water_mark`](Self::low_water_mark), bytes.
        with_low_water_mark, low_water_mark: plain u32;
        /// Sets [`handshake_timeout`](Self::handshake_timeout).
        with_handshake_timeout, handshake_timeout: into Option<Duration>;
        /// Sets [`idle_timeout`](Self::idle_timeout).
        with_idle_timeout, idle_timeout: into Option<Duration>;
        /// Sets [`write_timeout`](Self::write_timeout).
        with_write_timeout, write_timeout: into Option<Duration>;
        /// Sets [`frame_timeout`](Self::frame_timeout).
        with_frame_timeout, frame_timeout: into Option<Duration>;
        /// Sets [`close_timeout`](Self::close_timeout).
        with_close_timeout, close_timeout: plain Duration;
        /// Sets [`linger_timeout`](Self::linger_timeout).
        with_linger_timeout, linger_timeout: plain Duration;
    }

    fn validate(&self) -> Result<(), OptionError> {
        check(self.output_limit > 0, "output_limit", "must be at least 1 byte")?;
        check(self.output_limit <= MAX_LIMIT, "output_limit", "must be below 2^30 bytes")?;
        check(self.high_water_mark <= self.output_limit, "high_water_mark", "must not exceed output_limit")?;
        check(self.low_water_mark <= self.high_water_mark, "low_water_mark", "must not exceed high_water_mark")?;
        for (field, timeout) in [
            ("handshake_timeout", self.handshake_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
            ("frame_timeout", self.frame_timeout),
            ("close_timeout", Some(self.close_timeout)),
            ("linger_timeout", Some(self.linger_timeout)),
        ] {
            positive(field, timeout)?;
        }
        Ok(())
    }
}

/// Options of the socket itself; `None` leaves what the operating system does. See socket(7), tcp(7) and ipv6(7).
///
/// ```
/// use longshore::SocketOptions;
///
/// let options = SocketOptions::default().with_backlog(4096).with_recv_buffer_size(256 * 1024);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Send small writes at once (TCP_NODELAY). On by default.
    pub nodelay: bool,
    /// Connections that may wait to be accepted. 1,024 by default.
    pub backlog: u32,
    /// Let several sockets bind the same port, on Unix (SO_REUSEPORT). Off by default.
    pub reuse_port: bool,
    /// An IPv6 socket takes no IPv4 (IPV6_V6ONLY). Off by default: an empty host serves both.
    pub only_v6: bool,
    /// Time between two keep-alive probes.
    pub keep_alive_interval: Option<Duration>,
    /// Unanswered keep-alive probes until the connection is given up.
    pub keep_alive_count: Option<u32>,
    /// End connections by a reset instead of an orderly end when they are closed (SO_LINGER with zero): bytes that the
    /// peer's kernel has not acknowledged are lost, and no TIME_WAIT stays behind. Off by default. Lingering for a time is
    /// not offered, because it blocks; [`TcpLimits::close_timeout`] and [`TcpLimits::linger_timeout`] do it without.
    #[doc(alias = "linger")]
    pub reset_on_close: bool,
    /// Give a connection up whose peer has not acknowledged what was sent for so long (TCP_USER_TIMEOUT). Linux and
    /// Android only, ignored elsewhere.
    pub user_timeout: Option<Duration>,
    /// The kernel's receive buffer, in bytes (SO_RCVBUF).
    pub recv_buffer_size: Option<usize>,
    /// The kernel's send buffer, in bytes (SO_SNDBUF).
    pub send_buffer_size: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            backlog: 1024,
            reuse_port: false,
            only_v6: false,
            keep_alive_interval: None,
            keep_alive_count: None,
            reset_on_close: false,
            user_timeout: None,
            recv_buffer_size: None,
            send_buffer_size: None,
        }
    }
}

impl SocketOptions {
    setters! {
        /// Sets [`nodelay`](Self::nodelay).
        with_nodelay, nodelay: plain bool;
        /// Sets [`backlog`](Self::backlog).
        with_backlog, backlog: plain u32;
        /// Sets [`reuse_port`](Self::reuse_port).
        with_reuse_port, reuse_port: plain bool;
        /// Sets [`only_v6`](Self::only_v6).
        with_only_v6, only_v6: plain bool;
        /// Sets [`keep_alive_interval`](Self::keep_alive_interval).
        with_keep_alive_interval, keep_alive_interval: into Option<Duration>;
        /// Sets [`keep_alive_count`](Self::keep_alive_count).
        with_keep_alive_count, keep_alive_count: some u32;
        /// Sets [`reset_on_close`](Self::reset_on_close).
        with_reset_on_close, reset_on_close: plain bool;
        /// Sets [`user_timeout`](Self::user_timeout).
        with_user_timeout, user_timeout: into Option<Duration>;
        /// Sets [`recv_buffer_size`](Self::recv_buffer_size), bytes.
        with_recv_buffer_size, recv_buffer_size: some usize;
        /// Sets [`send_buffer_size`](Self::send_buffer_size), bytes.
        with_send_buffer_size, send_buffer_size: some usize;
    }

    fn validate(&self) -> Result<(), OptionError> {
        check(self.backlog > 0 && self.backlog <= i32::MAX as u32, "backlog", "must be between 1 and 2^31 - 1")?;
        let count = self.keep_alive_count.unwrap_or(1);
        check((1..=127).contains(&count), "keep_alive_count", "must be between 1 and 127")?;
        for (field, size) in [("recv_buffer_size", self.recv_buffer_size), ("send_buffer_size", self.send_buffer_size)]
        {
            let size = size.unwrap_or(1);
            check(size > 0 && size <= i32::MAX as usize, field, "must be between 1 and 2^31 - 1 bytes")?;
        }
        positive("user_timeout", self.user_timeout)?;
        let longest = Duration::from_millis(i32::MAX as u64);
        check(self.user_timeout.is_none_or(|time| time <= longest), "user_timeout", "must be below 2^31 ms")?;
        keep_alive_time("keep_alive_interval", self.keep_alive_interval)
    }
}

/// What a listener does with connections beyond its limit.
///
/// ```
/// use longshore::{AtLimit, TcpServerOptions};
///
/// let options = TcpServerOptions::from(":7000").with_max_connections(10_000).with_at_limit(AtLimit::Refuse);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AtLimit {
    /// Leaves them in the backlog until there is room.
    #[default]
    Wait,
    /// Accepts and closes them, so that clients know at once.
    Refuse,
}

/// Options of a [`TcpServer`](crate::TcpServer).
///
/// ```
/// use longshore::TcpServerOptions;
/// let options = TcpServerOptions::from("127.0.0.1:7000").with_process_pool(["handler1", "handler2"]);
/// assert_eq!(options.port, 7000);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias = "TCPServerOptions")]
pub struct TcpServerOptions {
    /// The interface; empty for all of them, IPv4 and IPv6.
    pub host: String,
    /// The port; 0 lets the operating system choose, see [`TcpServer::local_addr`](crate::TcpServer::local_addr).
    pub port: u16,
    /// Names of the processes that own the connections, in turn: connection number i belongs to the process named
    /// `process_pool[i % n]`, or to the next one that lives; with none alive it is closed and counted. Empty: the parent
    /// process owns them all. A name that belongs to a [`Pool`](crate::Pool) is refused by `spawn_meta`, and one that
    /// becomes a pool's later is skipped.
    pub process_pool: Vec<Name>,
    /// Turns TLS on.
    #[cfg(feature = "tls")]
    pub cert_manager: Option<CertManager>,
    /// How TLS is done; needs `cert_manager`, or a complete configuration of its own.
    #[cfg(feature = "tls")]
    pub tls: TlsServerOptions,
    /// Bytes read at once, at most. 64 KiB by default and at most.
    pub read_buffer_size: usize,
    /// Where buffers of received bytes come from. `None`: the node's pool.
    pub buffer_pool: Option<BufferPool>,
    /// Keep-alive probes after so long without traffic, in whole seconds, at least one (RFC 9293 section 3.8.4, tcp(7)).
    /// At most 32,767. `None`, the default: none.
    pub keep_alive_period: Option<Duration>,
    /// Only for clients: setting it on a server is an error.
    pub insecure_skip_verify: bool,
    /// How bytes become messages.
    pub framing: Framing,
    /// The owner decides what happens after the peer's FIN: it gets a `MessageTcpPeerClosed`, can still send, and closes
    /// when it is done. Off by default: the connection closes by itself when the owner has handled everything received and
    /// all that it sent while doing so has gone out. Turn it on where replies are made later, or by another process.
    pub half_open: bool,
    /// Close a connection whose owner's mailbox is full, instead of pausing it.
    pub close_on_full_mailbox: bool,
    /// Bytes to send after so long without a write. Off by default.
    pub write_keep_alive: Option<(Duration, Vec<u8>)>,
    /// Limits and deadlines of each connection.
    pub limits: TcpLimits,
    /// Options of the listening socket and of accepted ones.
    pub socket: SocketOptions,
    /// Connections at once. `None`: no limit.
    pub max_connections: Option<usize>,
    /// What happens with more.
    pub at_limit: AtLimit,
    /// Connections accepted in each second of the node's clock, at most; more wait in the backlog. `None`: no limit.
    pub accept_rate: Option<u32>,
    /// Connections at once from one IP address; more are closed. `None`: no limit.
    pub max_connections_per_ip: Option<usize>,
}

impl Default for TcpServerOptions {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            process_pool: Vec::new(),
            #[cfg(feature = "tls")]
            cert_manager: None,
            #[cfg(feature = "tls")]
            tls: TlsServerOptions::default(),
            read_buffer_size: 64 * 1024,
            buffer_pool: None,
            keep_alive_period: None,
            insecure_skip_verify: false,
            framing: Framing::Raw,
            half_open: false,
            close_on_full_mailbox: false,
            write_keep_alive: None,
            limits: TcpLimits::default(),
            socket: SocketOptions::default(),
            max_connections: None,
            at_limit: AtLimit::Wait,
            accept_rate: None,
            max_connections_per_ip: None,
        }
    }
}

impl TcpServerOptions {
    setters! {
        /// Sets [`host`](Self::host).
        with_host, host: into String;
        /// Sets [`port`](Self::port).
        with_port, port: plain u16;
        /// Sets [`read_buffer_size`](Self::read_buffer_size), bytes.
        with_read_buffer_size, read_buffer_size: plain usize;
        /// Sets [`buffer_pool`](Self::buffer_pool).
        with_buffer_pool, buffer_pool: into Option<BufferPool>;
        /// Sets [`keep_alive_period`](Self::keep_alive_period).
        with_keep_alive_period, keep_alive_period: into Option<Duration>;
        /// Sets [`insecure_skip_verify`](Self::insecure_skip_verify).
        with_insecure_skip_verify, insecure_skip_verify: plain bool;
        /// Sets [`framing`](Self::framing).
        with_framing, framing: plain Framing;
        /// Sets [`half_open`](Self::half_open).
        with_half_open, half_open: plain bool;
        /// Sets [`close_on_full_mailbox`](Self::close_on_full_mailbox).
        with_close_on_full_mailbox, close_on_full_mailbox: plain bool;
        /// Sets [`write_keep_alive`](Self::write_keep_alive).
        with_write_keep_alive, write_keep_alive: into Option<(Duration, Vec<u8>)>;
        /// Sets [`limits`](Self::limits).
        with_limits, limits: plain TcpLimits;
        /// Sets [`socket`](Self::socket).
        with_socket, socket: plain SocketOptions;
        /// Sets [`max_connections`](Self::max_connections).
        with_max_connections, max_connections: some usize;
        /// Sets [`at_limit`](Self::at_limit).
        with_at_limit, at_limit: plain AtLimit;
        /// Sets [`accept_rate`](Self::accept_rate), connections a second.
        with_accept_rate, accept_rate: some u32;
        /// Sets [`max_connections_per_ip`](Self::max_connections_per_ip).
        with_max_connections_per_ip, max_connections_per_ip: some usize;
    }

    /// Sets [`process_pool`](Self::process_pool).
    #[must_use]
    pub fn with_process_pool<N: Into<Name>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.process_pool = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`cert_manager`](Self::cert_manager).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_cert_manager(mut self, cert_manager: impl Into<Option<CertManager>>) -> Self {
        self.cert_manager = cert_manager.into();
        self
    }

    /// Sets [`tls`](Self::tls).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: TlsServerOptions) -> Self {
        self.tls = tls;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), OptionError> {
        check(
            !self.insecure_skip_verify,
            "insecure_skip_verify",
            "a server has no server to verify; use it on clients",
        )?;
        #[cfg(feature = "tls")]
        check(self.tls.max_handshakes != Some(0), "max_handshakes", "must be at least 1; `None` is no limit")?;
        check(self.max_connections != Some(0), "max_connections", "must be at least 1")?;
        check(self.accept_rate != Some(0), "accept_rate", "must be at least 1")?;
        check(self.max_connections_per_ip != Some(0), "max_connections_per_ip", "must be at least 1")?;
        self.stream().validate()
    }

    #[cfg(unix)]
    pub(crate) fn validate_unix(&self) -> Result<(), OptionError> {
        let without_ip = self.max_connections_per_ip.is_none();
        check(without_ip, "max_connections_per_ip", "peers of a Unix domain socket have no IP address")?;
        self.validate()
    }

    pub(crate) fn stream(&self) -> StreamOptions<'_> {
        StreamOptions {
            read_buffer_size: self.read_buffer_size,
            buffer_pool: self.buffer_pool.as_ref(),
            keep_alive_period: self.keep_alive_period,
            framing: &self.framing,
            half_open: self.half_open,
            close_on_full_mailbox: self.close_on_full_mailbox,
            write_keep_alive: self.write_keep_alive.as_ref(),
            limits: &self.limits,
            socket: &self.socket,
        }
    }
}

/// Options of a [`TcpConnection`](crate::TcpConnection) that this side opens.
///
/// ```
/// use longshore::TcpConnectionOptions;
/// let options = TcpConnectionOptions::from(("localhost", 7000)).with_process("client");
/// assert_eq!(options.host, "localhost");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias = "TCPConnectionOptions")]
pub struct TcpConnectionOptions {
    /// The peer: a name, resolved off the loop, or a literal address.
    pub host: String,
    /// The peer's port.
    pub port: u16,
    /// The name of the process that owns the connection. `None`: the parent process. A name that belongs to a
    /// [`Pool`](crate::Pool) is refused by `spawn_meta`; with one that nobody holds when the connection comes to the
    /// loop the parent gets a Disconnect, [`OwnerGone`](crate::DisconnectReason::OwnerGone).
    pub process: Option<Name>,
    /// A certificate of our own, for mutual TLS. Turns TLS on.
    #[cfg(feature = "tls")]
    pub cert_manager: Option<CertManager>,
    /// Turns TLS on, and says how it is done.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsClientOptions>,
    /// With TLS: accept any certificate. The connection is then encrypted to somebody, nobody knows to whom. Turns TLS
    /// on, and logs a warning for each connection.
    pub insecure_skip_verify: bool,
    /// Time to resolve and connect, all addresses together. 10 s by default.
    pub connect_timeout: Option<Duration>,
    /// The local address to connect from.
    pub local_addr: Option<SocketAddr>,
    /// Bytes read at once, at most. 64 KiB by default and at most.
    pub read_buffer_size: usize,
    /// Where buffers of received bytes come from. `None`: the node's pool.
    pub buffer_pool: Option<BufferPool>,
    /// Keep-alive probes after so long without traffic, in whole seconds, at least one (RFC 9293 section 3.8.4, tcp(7)).
    /// At most 32,767. `None`, the default: none.
    pub keep_alive_period: Option<Duration>,
    /// How bytes become messages.
    pub framing: Framing,
    /// The owner decides what happens after the peer's FIN; see [`TcpServerOptions::half_open`].
    pub half_open: bool,
    /// Close the connection when its owner's mailbox is full, instead of pausing it.
    pub close_on_full_mailbox: bool,
    /// Bytes to send after so long without a write. Off by default.
    pub write_keep_alive: Option<(Duration, Vec<u8>)>,
    /// Limits and deadlines.
    pub limits: TcpLimits,
    /// Options of the socket.
    pub socket: SocketOptions,
}

impl Default for TcpConnectionOptions {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            process: None,
            #[cfg(feature = "tls")]
            cert_manager: None,
            #[cfg(feature = "tls")]
            tls: None,
            insecure_skip_verify: false,
            connect_timeout: Some(Duration::from_secs(10)),
            local_addr: None,
            read_buffer_size: 64 * 1024,
            buffer_pool: None,
            keep_alive_period: None,
            framing: Framing::Raw,
            half_open: false,
            close_on_full_mailbox: false,
            write_keep_alive: None,
            limits: TcpLimits::default(),
            socket: SocketOptions::default(),
        }
    }
}

impl TcpConnectionOptions {
    setters! {
        /// Sets [`host`](Self::host).
        with_host, host: into String;
        /// Sets [`port`](Self::port).
        with_port, port: plain u16;
        /// Sets [`process`](Self::process); an empty name is `None`.
        with_process, process: some_name Name;
        /// Sets [`insecure_skip_verify`](Self::insecure_skip_verify).
        with_insecure_skip_verify, insecure_skip_verify: plain bool;
        /// Sets [`connect_timeout`](Self::connect_timeout).
        with_connect_timeout, connect_timeout: into Option<Duration>;
        /// Sets [`local_addr`](Self::local_addr).
        with_local_addr, local_addr: into Option<SocketAddr>;
        /// Sets [`read_buffer_size`](Self::read_buffer_size), bytes.
        with_read_buffer_size, read_buffer_size: plain usize;
        /// Sets [`buffer_pool`](Self::buffer_pool).
        with_buffer_pool, buffer_pool: into Option<BufferPool>;
        /// Sets [`keep_alive_period`](Self::keep_alive_period).
        with_keep_alive_period, keep_alive_period: into Option<Duration>;
        /// Sets [`framing`](Self::framing).
        with_framing, framing: plain Framing;
        /// Sets [`half_open`](Self::half_open).
        with_half_open, half_open: plain bool;
        /// Sets [`close_on_full_mailbox`](Self::close_on_full_mailbox).
        with_close_on_full_mailbox, close_on_full_mailbox: plain bool;
        /// Sets [`write_keep_alive`](Self::write_keep_alive).
        with_write_keep_alive, write_keep_alive: into Option<(Duration, Vec<u8>)>;
        /// Sets [`limits`](Self::limits).
        with_limits, limits: plain TcpLimits;
        /// Sets [`socket`](Self::socket).
        with_socket, socket: plain SocketOptions;
    }

    /// Sets [`cert_manager`](Self::cert_manager).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_cert_manager(mut self, cert_manager: impl Into<Option<CertManager>>) -> Self {
        self.cert_manager = cert_manager.into();
        self
    }

    /// Sets [`tls`](Self::tls).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: impl Into<Option<TlsClientOptions>>) -> Self {
        self.tls = tls.into();
        self
    }

    pub(crate) fn validate(&self) -> Result<(), OptionError> {
        check(!self.host.is_empty(), "host", "a client needs a host to connect to")?;
        check(self.port != 0, "port", "a client needs a port to connect to")?;
        self.validate_connected()
    }

    /// For a connection whose peer is known otherwise.
    pub(crate) fn validate_connected(&self) -> Result<(), OptionError> {
        #[cfg(not(feature = "tls"))]
        check(!self.insecure_skip_verify, "insecure_skip_verify", "needs the feature `tls`")?;
        positive("connect_timeout", self.connect_timeout)?;
        self.stream().validate()
    }

    pub(crate) fn stream(&self) -> StreamOptions<'_> {
        StreamOptions {
            read_buffer_size: self.read_buffer_size,
            buffer_pool: self.buffer_pool.as_ref(),
            keep_alive_period: self.keep_alive_period,
            framing: &self.framing,
            half_open: self.half_open,
            close_on_full_mailbox: self.close_on_full_mailbox,
            write_keep_alive: self.write_keep_alive.as_ref(),
            limits: &self.limits,
            socket: &self.socket,
        }
    }
}

/// Options of a [`UdpServer`](crate::UdpServer).
///
/// ```
/// use longshore::UdpServerOptions;
///
/// let options = UdpServerOptions::from(":7000").with_process("handlers").with_report_errors(true);
/// assert_eq!((options.host.as_str(), options.port), ("", 7000)); // all interfaces
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias = "UDPServerOptions")]
pub struct UdpServerOptions {
    /// The interface; empty for all of them, IPv4 and IPv6.
    pub host: String,
    /// The port; 0 lets the operating system choose, see [`UdpServer::local_addr`](crate::UdpServer::local_addr).
    pub port: u16,
    /// The name of the process that gets the datagrams; a pool spreads them. `None`: the parent process.
    pub process: Option<Name>,
    /// The longest datagram taken whole, in bytes; longer ones are cut and flagged. Ignored if there is a `buffer_pool`.
    /// 65,536 by default, which is more than a datagram can have.
    pub buffer_size: usize,
    /// Where buffers come from. `None`: the node's pool.
    pub buffer_pool: Option<BufferPool>,
    /// Connect the socket to this peer: only its datagrams are received, and its port being closed is told.
    pub peer: Option<SocketAddr>,
    /// Allow sending to broadcast addresses.
    pub broadcast: bool,
    /// Multicast groups to join.
    pub multicast: Vec<std::net::IpAddr>,
    /// Bytes that may wait to be sent before sends are refused; a datagram counts as 64 bytes at least. 1 MiB by default.
    pub output_limit: u32,
    /// Tell the owner of each datagram that could not be sent, with a `MessageUdpError`; by default they are counted.
    pub report_errors: bool,
    /// Options of the socket.
    pub socket: SocketOptions,
}

impl Default for UdpServerOptions {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 0,
            process: None,
            buffer_size: 64 * 1024,
            buffer_pool: None,
            peer: None,
            broadcast: false,
            multicast: Vec::new(),
            output_limit: 1 << 20,
            report_errors: false,
            socket: SocketOptions::default(),
        }
    }
}

impl UdpServerOptions {
    setters! {
        /// Sets [`host`](Self::host).
        with_host, host: into String;
        /// Sets [`port`](Self::port).
        with_port, port: plain u16;
        /// Sets [`process`](Self::process); an empty name is `None`.
        with_process, process: some_name Name;
        /// Sets [`buffer_size`](Self::buffer_size), bytes.
        with_buffer_size, buffer_size: plain usize;
        /// Sets [`buffer_pool`](Self::buffer_pool).
        with_buffer_pool, buffer_pool: into Option<BufferPool>;
        /// Sets [`peer`](Self::peer).
        with_peer, peer: into Option<SocketAddr>;
        /// Sets [`broadcast`](Self::broadcast).
        with_broadcast, broadcast: plain bool;
        /// Sets [`multicast`](Self::multicast).
        with_multicast, multicast: plain Vec<std::net::IpAddr>;
        /// Sets [`output_limit`](Self::output_limit), bytes.
        with_output_limit, output_limit: plain u32;
        /// Sets [`report_errors`](Self::report_errors).
        with_report_errors, report_errors: plain bool;
        /// Sets [`socket`](Self::socket).
        with_socket, socket: plain SocketOptions;
    }

    pub(crate) fn validate(&self) -> Result<(), OptionError> {
        check(self.buffer_size > 0, "buffer_size", "must be at least 1 byte")?;
        check(self.output_limit > 0, "output_limit", "must be at least 1 byte")?;
        check(self.output_limit <= MAX_LIMIT, "output_limit", "must be below 2^30 bytes")?;
        let groups = self.multicast.iter().all(std::net::IpAddr::is_multicast);
        check(groups, "multicast", "holds an address that is no multicast group")?;
        self.socket.validate()
    }
}

/// What listeners and clients have in common.
pub(crate) struct StreamOptions<'a> {
    read_buffer_size: usize,
    buffer_pool: Option<&'a BufferPool>,
    pub(crate) keep_alive_period: Option<Duration>,
    framing: &'a Framing,
    half_open: bool,
    close_on_full_mailbox: bool,
    write_keep_alive: Option<&'a (Duration, Vec<u8>)>,
    limits: &'a TcpLimits,
    pub(crate) socket: &'a SocketOptions,
}

impl StreamOptions<'_> {
    fn validate(&self) -> Result<(), OptionError> {
        check(self.read_buffer_size > 0, "read_buffer_size", "must be at least 1 byte")?;
        check(self.read_buffer_size <= 64 * 1024, "read_buffer_size", "must be at most 64 KiB")?;
        keep_alive_time("keep_alive_period", self.keep_alive_period)?;
        if let Some((period, bytes)) = self.write_keep_alive {
            positive("write_keep_alive", Some(*period))?;
            check(!bytes.is_empty(), "write_keep_alive", "needs bytes to send")?;
        }
        self.framing.validate()?;
        self.limits.validate()?;
        self.socket.validate()
    }

    /// The settings of the machine; `pool` is the node's, for when there is none in the options.
    pub(crate) fn settings(&self, pool: &BufferPool) -> Arc<Settings> {
        let limits = self.limits;
        Arc::new(Settings {
            framing: Arc::new(self.framing.clone()),
            pool: self.buffer_pool.unwrap_or(pool).clone(),
            read_buffer_size: self.read_buffer_size,
            output_limit: limits.output_limit,
            high_water_mark: limits.high_water_mark,
            low_water_mark: limits.low_water_mark,
            half_open: self.half_open,
            close_on_full_mailbox: self.close_on_full_mailbox,
            #[cfg(feature = "tls")]
            handshake_timeout: limits.handshake_timeout.map(millis),
            idle_timeout: limits.idle_timeout.map(millis),
            write_timeout: limits.write_timeout.map(millis),
            frame_timeout: limits.frame_timeout.map(millis),
            close_timeout: millis(limits.close_timeout),
            linger_timeout: millis(limits.linger_timeout),
            write_keep_alive: self.write_keep_alive.map(|(period, bytes)| (millis(*period), bytes.clone())),
        })
    }
}

fn check(holds: bool, field: &'static str, problem: &str) -> Result<(), OptionError> {
    if holds { Ok(()) } else { Err(OptionError::new(field, problem)) }
}

/// Times below a millisecond would be none at all.
fn positive(field: &'static str, time: Option<Duration>) -> Result<(), OptionError> {
    check(time.is_none_or(|time| time >= Duration::from_millis(1)), field, "must be at least 1 ms; `None` is off")
}

/// As long as the kernel can count, see tcp(7).
fn keep_alive_time(field: &'static str, time: Option<Duration>) -> Result<(), OptionError> {
    positive(field, time)?;
    check(time.is_none_or(|time| time <= Duration::from_secs(32_767)), field, "must be at most 32,767 s")
}

/// `host:port`, `[v6]:port` or `:port`; without a port, port 0.
fn split_host_port(text: &str) -> (String, u16) {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.ip().to_string(), address.port());
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => match port.parse() {
            Ok(port) => (host.to_owned(), port),
            // Not a port: the whole text goes to the resolver, whose error names it.
            Err(_) => (text.to_owned(), 0),
        },
        _ => (text.to_owned(), 0),
    }
}

/// The ways to name an address.
macro_rules! from_addresses {
    ($options:ty) => {
        impl From<&str> for $options {
            /// `host:port`.
            fn from(address: &str) -> Self {
                let (host, port) = split_host_port(address);
                Self { host, port, ..Self::default() }
            }
        }

        impl From<String> for $options {
            fn from(address: String) -> Self {
                Self::from(address.as_str())
            }
        }

        impl From<&String> for $options {
            fn from(address: &String) -> Self {
                Self::from(address.as_str())
            }
        }

        impl From<SocketAddr> for $options {
            fn from(address: SocketAddr) -> Self {
                Self { host: address.ip().to_string(), port: address.port(), ..Self::default() }
            }
        }

        impl From<(&str, u16)> for $options {
            fn from((host, port): (&str, u16)) -> Self {
                Self { host: host.to_owned(), port, ..Self::default() }
            }
        }
    };
}

from_addresses!(TcpServerOptions);
from_addresses!(TcpConnectionOptions);
from_addresses!(UdpServerOptions);

/// The keep-alive bytes of a connection as a buffer.
pub(crate) fn keep_alive_bytes(settings: &Settings) -> Option<Buffer> {
    settings.write_keep_alive.as_ref().map(|(_, bytes)| settings.pool.copy_from_slice(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_written() {
        for (text, host, port) in [
            ("127.0.0.1:7000", "127.0.0.1", 7000),
            ("[::1]:7000", "::1", 7000),
            (":7000", "", 7000),
            ("localhost:80", "localhost", 80),
            ("localhost", "localhost", 0),
            ("::1", "::1", 0),
        ] {
            assert_eq!(split_host_port(text), (host.to_owned(), port), "{text}");
        }
    }

    #[test]
    fn wrong_option_is_named() {
        let field = |options: TcpServerOptions| options.validate().expect_err("wrong").field();
        assert_eq!(field(TcpServerOptions::default().with_insecure_skip_verify(true)), "insecure_skip_verify");
        assert_eq!(field(TcpServerOptions::default().with_keep_alive_period(Duration::ZERO)), "keep_alive_period");
        assert_eq!(field(TcpServerOptions::default().with_framing(Framing::fixed(0))), "length");
        let limits = TcpLimits::default().with_low_water_mark(1 << 20);
        assert_eq!(field(TcpServerOptions::default().with_limits(limits)), "low_water_mark");
        let keep_alive = Some((Duration::ZERO, b"x".to_vec()));
        assert_eq!(field(TcpServerOptions::default().with_write_keep_alive(keep_alive)), "write_keep_alive");
        assert_eq!(TcpConnectionOptions::default().validate().expect_err("wrong").field(), "host");
        let options = UdpServerOptions::default().with_buffer_size(0);
        assert_eq!(options.validate().expect_err("wrong").field(), "buffer_size");
    }
}
