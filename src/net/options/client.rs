//! Options of connections that this side opens.

use std::net::SocketAddr;
use std::time::Duration;

use super::{
    ConnectionOptions, Host, ReconnectPolicy, SocketOptions, TcpLimits, check, check_family, named,
    positive,
};
use crate::error::ConfigError;
use crate::id::Name;
use crate::memory::buffer::BufferPool;
use crate::proto::framing::Framing;
use crate::proto::proxy::ProxyHeader;
use crate::tls::{CertManager, TlsClientOptions};

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
    pub host: Host,
    /// The peer's port.
    pub port: u16,
    /// The name of the process that owns the connection. `None`: the parent process. A name that belongs to a
    /// [`Pool`](crate::Pool) is refused by `spawn_meta`; if no process holds the name when the connection
    /// starts, the parent gets a Disconnect, [`OwnerGone`](crate::DisconnectReason::OwnerGone).
    pub process: Option<Name>,
    /// A certificate of our own, for mutual TLS. Turns TLS on.
    pub cert_manager: Option<CertManager>,
    /// Turns TLS on, and says how it is done.
    pub tls: Option<TlsClientOptions>,
    /// With TLS: accept any certificate. The connection is then encrypted, but its peer can be any machine on the
    /// way. Turns TLS on, and logs a warning for each connection.
    pub insecure_skip_verify: bool,
    /// Time to resolve and connect, all addresses together. 10 s by default.
    pub connect_timeout: Option<Duration>,
    /// The local address to connect from.
    pub local_addr: Option<SocketAddr>,
    /// A header of the PROXY protocol, which the peer gets before anything else.
    pub proxy_header: Option<ProxyHeader>,
    /// When a connection that is lost, or could not be made, is tried again, under the same alias. `None`, the default:
    /// its owner gets the Disconnect. With a policy the owner gets a
    /// [`MessageTcpReconnecting`](crate::MessageTcpReconnecting) for each loss, and then a Connect; the Disconnect
    /// stays the last message, of a connection that this side has ended or given up. What the peer or the network does
    /// to it is a loss: its end, a reset, an error, silence, a handshake that fails. Input that is no frame, and an
    /// owner that does not keep up, end the connection for good.
    ///
    /// A session sees no end of its peer then, unless [`half_open`](ConnectionOptions::half_open) is set: the
    /// connection is lost when the session has come to it.
    pub reconnect: Option<ReconnectPolicy>,
    /// Options of each connection.
    pub connection: ConnectionOptions,
}

impl Default for TcpConnectionOptions {
    fn default() -> Self {
        Self {
            host: Host::default(),
            port: 0,
            process: None,
            cert_manager: None,
            tls: None,
            insecure_skip_verify: false,
            connect_timeout: Some(Duration::from_secs(10)),
            local_addr: None,
            proxy_header: None,
            reconnect: None,
            connection: ConnectionOptions::default(),
        }
    }
}

impl TcpConnectionOptions {
    connection_setters!(connection);

    setters! {
        /// Sets [`connection`](Self::connection).
        with_connection, connection: plain ConnectionOptions;
        /// Sets [`host`](Self::host).
        with_host, host: into Host;
        /// Sets [`port`](Self::port).
        with_port, port: plain u16;
        /// Sets [`process`](Self::process); an empty name is `None`.
        with_process, process: some_name Name;
        /// Sets [`cert_manager`](Self::cert_manager).
        with_cert_manager, cert_manager: into Option<CertManager>;
        /// Sets [`tls`](Self::tls).
        with_tls, tls: into Option<TlsClientOptions>;
        /// Sets [`insecure_skip_verify`](Self::insecure_skip_verify).
        with_insecure_skip_verify, insecure_skip_verify: plain bool;
        /// Sets [`connect_timeout`](Self::connect_timeout).
        with_connect_timeout, connect_timeout: into Option<Duration>;
        /// Sets [`local_addr`](Self::local_addr).
        with_local_addr, local_addr: into Option<SocketAddr>;
        /// Sets [`proxy_header`](Self::proxy_header).
        with_proxy_header, proxy_header: into Option<ProxyHeader>;
        /// Sets [`reconnect`](Self::reconnect).
        with_reconnect, reconnect: into Option<ReconnectPolicy>;
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        // First: a text whose port is none has port 0.
        self.host.validate()?;
        check(
            !self.host.is_any(),
            "host",
            "a client needs a host to connect to",
        )?;
        check(
            self.port != 0,
            "port",
            "a client needs a port to connect to",
        )?;
        self.validate_connected()
    }

    /// For a connection whose peer is known otherwise.
    pub(crate) fn validate_connected(&self) -> Result<(), ConfigError> {
        self.host.validate()?;
        check(
            cfg!(feature = "tls") || !self.insecure_skip_verify,
            "insecure_skip_verify",
            "needs the feature `tls`",
        )?;
        check_family(&self.host, &self.connection.socket)?;
        named("process", self.process.as_slice())?;
        if let Some(tls) = &self.tls {
            if let Some((field, problem)) = tls.problem() {
                return Err(ConfigError::new(field, problem));
            }
            check(
                self.cert_manager.is_none() || !tls.has_certificate(),
                "cert_manager",
                "`tls` has a certificate already",
            )?;
        }
        if let Some(problem) = self.proxy_header.as_ref().and_then(ProxyHeader::problem) {
            return Err(ConfigError::new("proxy_header", problem));
        }
        if let Some(policy) = &self.reconnect {
            policy.validate()?;
        }
        positive("connect_timeout", self.connect_timeout)?;
        self.connection.validate()
    }
}
