//! Options of listeners.

use std::time::Duration;

use super::{
    ConnectionOptions, Host, ProxyProtocol, SocketOptions, TcpLimits, check, check_family, named,
};
use crate::error::ConfigError;
use crate::id::Name;
use crate::memory::buffer::BufferPool;
use crate::proto::framing::Framing;
use crate::tls::{CertManager, TlsServerOptions};

/// What a listener does with connections beyond its limit.
///
/// ```
/// use longshore::{AtLimit, TcpServerOptions};
///
/// let options = TcpServerOptions::from(":7000")
///     .with_max_connections(10_000)
///     .with_at_limit(AtLimit::Refuse);
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
/// let options = TcpServerOptions::from("127.0.0.1:7000")
///     .with_process_pool(["handler1", "handler2"]);
/// assert_eq!(options.port, 7000);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[doc(alias = "TCPServerOptions")]
pub struct TcpServerOptions {
    /// The interface; empty for all of them, IPv4 and IPv6. An address and `localhost` are taken as they are; another
    /// name is resolved by `bind`, which blocks meanwhile.
    pub host: Host,
    /// The port; 0 lets the operating system choose, see [`TcpServer::local_addr`](crate::TcpServer::local_addr).
    pub port: u16,
    /// Names of the processes that own the connections, in turn: connection number i belongs to the process named
    /// `process_pool[i % n]`, or to the next one that lives; with none alive it is closed and counted. Empty: the
    /// parent process owns them all. A name that belongs to a [`Pool`](crate::Pool) is refused by `spawn_meta`, and one
    /// that becomes a pool's later is skipped.
    pub process_pool: Vec<Name>,
    /// Turns TLS on.
    pub cert_manager: Option<CertManager>,
    /// How TLS is done; needs `cert_manager`, or a complete configuration of its own.
    pub tls: TlsServerOptions,
    /// Only for clients: setting it on a server is an error.
    pub insecure_skip_verify: bool,
    /// Connections at once. `None`: no limit.
    pub max_connections: Option<usize>,
    /// What happens with more.
    pub at_limit: AtLimit,
    /// Connections accepted in each second of the node's clock, at most; more wait in the backlog. Those that another
    /// limit refuses do not count. `None`: no limit.
    pub accept_rate: Option<u32>,
    /// Connections at once from one IPv4 address, or from one network of IPv6 addresses; more are closed. `None`: no
    /// limit.
    pub max_connections_per_ip: Option<usize>,
    /// The bits that the addresses of such a network have in common, from 1 to 128. 64 by default, because a host has a
    /// network of that size for itself as a rule (RFC 4291 section 2.5.4).
    pub per_ip_v6_prefix: u8,
    /// Whether each connection begins with a header of the PROXY protocol. Limits for each address count the address of
    /// the proxy.
    pub proxy_protocol: ProxyProtocol,
    /// Options of each connection.
    pub connection: ConnectionOptions,
}

impl Default for TcpServerOptions {
    fn default() -> Self {
        Self {
            host: Host::default(),
            port: 0,
            process_pool: Vec::new(),
            cert_manager: None,
            tls: TlsServerOptions::default(),
            insecure_skip_verify: false,
            max_connections: None,
            at_limit: AtLimit::Wait,
            accept_rate: None,
            max_connections_per_ip: None,
            per_ip_v6_prefix: 64,
            proxy_protocol: ProxyProtocol::Off,
            connection: ConnectionOptions::default(),
        }
    }
}

impl TcpServerOptions {
    connection_setters!(connection);

    setters! {
        /// Sets [`connection`](Self::connection).
        with_connection, connection: plain ConnectionOptions;
        /// Sets [`host`](Self::host).
        with_host, host: into Host;
        /// Sets [`port`](Self::port).
        with_port, port: plain u16;
        /// Sets [`cert_manager`](Self::cert_manager).
        with_cert_manager, cert_manager: into Option<CertManager>;
        /// Sets [`tls`](Self::tls).
        with_tls, tls: plain TlsServerOptions;
        /// Sets [`insecure_skip_verify`](Self::insecure_skip_verify).
        with_insecure_skip_verify, insecure_skip_verify: plain bool;
        /// Sets [`max_connections`](Self::max_connections).
        with_max_connections, max_connections: some usize;
        /// Sets [`at_limit`](Self::at_limit).
        with_at_limit, at_limit: plain AtLimit;
        /// Sets [`accept_rate`](Self::accept_rate), connections a second.
        with_accept_rate, accept_rate: some u32;
        /// Sets [`max_connections_per_ip`](Self::max_connections_per_ip).
        with_max_connections_per_ip, max_connections_per_ip: some usize;
        /// Sets [`per_ip_v6_prefix`](Self::per_ip_v6_prefix), bits.
        with_per_ip_v6_prefix, per_ip_v6_prefix: plain u8;
        /// Sets [`proxy_protocol`](Self::proxy_protocol).
        with_proxy_protocol, proxy_protocol: plain ProxyProtocol;
    }

    /// Sets [`process_pool`](Self::process_pool).
    #[must_use]
    pub fn with_process_pool<N: Into<Name>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.process_pool = names.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.proxy_protocol.validate(true)?;
        self.validate_any()
    }

    /// For sockets of any family.
    pub(super) fn validate_any(&self) -> Result<(), ConfigError> {
        self.host.validate()?;
        check(
            !self.insecure_skip_verify,
            "insecure_skip_verify",
            "a server has no server to verify; use it on clients",
        )?;
        check_family(&self.host, &self.connection.socket)?;
        named("process_pool", &self.process_pool)?;
        if let Some((field, problem)) = self.tls.problem() {
            return Err(ConfigError::new(field, problem));
        }
        check(
            // With none the listener would never accept, and for no limit there is `None`.
            self.max_connections != Some(0),
            "max_connections",
            "must be at least 1",
        )?;
        check(
            self.accept_rate != Some(0),
            "accept_rate",
            "must be at least 1",
        )?;
        check(
            self.max_connections_per_ip != Some(0),
            "max_connections_per_ip",
            "must be at least 1",
        )?;
        check(
            (1..=128).contains(&self.per_ip_v6_prefix),
            "per_ip_v6_prefix",
            "must be between 1 and 128",
        )?;
        self.connection.validate()
    }

    /// Handshakes at once; `None` is no limit.
    pub(crate) fn max_handshakes(&self) -> Option<usize> {
        self.tls.max_handshakes
    }
}
