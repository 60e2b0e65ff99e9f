//! Options of Unix domain sockets: those of the other sockets, without the ones that only the internet has.
//!
//! A Unix domain stream is served by the same code as a TCP stream, which takes the options of TCP; each type here
//! becomes one of those. What both have in common, [`ConnectionOptions`], still contains options of TCP; these are
//! refused by name.

use std::time::Duration;

use super::{
    AtLimit, ConnectionOptions, Host, ProxyProtocol, ReconnectPolicy, SocketOptions,
    TcpConnectionOptions, TcpLimits, TcpServerOptions, check, check_datagrams, named,
};
use crate::error::ConfigError;
use crate::id::Name;
use crate::memory::buffer::BufferPool;
use crate::proto::framing::Framing;
use crate::proto::proxy::ProxyHeader;
use crate::tls::{CertManager, TlsClientOptions, TlsServerOptions};

/// Options of a [`UnixServer`](crate::UnixServer).
///
/// ```
/// use longshore::UnixServerOptions;
///
/// let options = UnixServerOptions::default()
///     .with_file_mode(0o660)
///     .with_remove_stale(true);
/// assert_eq!(options.file_mode, Some(0o660));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnixServerOptions {
    /// The permission bits of the file, at most 0o777. `None`: what the umask of the process leaves of 0o777, see
    /// unix(7); connecting needs the permission to write. An abstract name has none.
    pub file_mode: Option<u32>,
    /// Remove a socket file that is in the way if no program listens on it: one that a killed program has left behind.
    /// Another file is never removed. Off by default, because two programs that start at one moment can take each
    /// other's file away.
    pub remove_stale: bool,
    /// Names of the processes that own the connections, in turn; see
    /// [`TcpServerOptions::process_pool`](crate::TcpServerOptions::process_pool).
    pub process_pool: Vec<Name>,
    /// Turns TLS on.
    pub cert_manager: Option<CertManager>,
    /// How TLS is done; needs `cert_manager`, or a complete configuration of its own.
    pub tls: TlsServerOptions,
    /// Connections at once. `None`: no limit.
    pub max_connections: Option<usize>,
    /// What happens with more.
    pub at_limit: AtLimit,
    /// Connections accepted in each second of the node's clock, at most. `None`: no limit.
    pub accept_rate: Option<u32>,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Options of each connection. Of the socket's, `backlog` and the sizes of the buffers hold; the others are
    /// refused.
    pub connection: ConnectionOptions,
}

impl Default for UnixServerOptions {
    fn default() -> Self {
        Self {
            file_mode: None,
            remove_stale: false,
            process_pool: Vec::new(),
            cert_manager: None,
            tls: TlsServerOptions::default(),
            max_connections: None,
            at_limit: AtLimit::Wait,
            accept_rate: None,
            proxy_protocol: ProxyProtocol::Off,
            connection: ConnectionOptions::default(),
        }
    }
}

impl UnixServerOptions {
    connection_setters!(connection);

    setters! {
        /// Sets [`file_mode`](Self::file_mode).
        with_file_mode, file_mode: some u32;
        /// Sets [`remove_stale`](Self::remove_stale).
        with_remove_stale, remove_stale: plain bool;
        /// Sets [`cert_manager`](Self::cert_manager).
        with_cert_manager, cert_manager: into Option<CertManager>;
        /// Sets [`tls`](Self::tls).
        with_tls, tls: plain TlsServerOptions;
        /// Sets [`max_connections`](Self::max_connections).
        with_max_connections, max_connections: some usize;
        /// Sets [`at_limit`](Self::at_limit).
        with_at_limit, at_limit: plain AtLimit;
        /// Sets [`accept_rate`](Self::accept_rate), connections a second.
        with_accept_rate, accept_rate: some u32;
        /// Sets [`proxy_protocol`](Self::proxy_protocol).
        with_proxy_protocol, proxy_protocol: plain ProxyProtocol;
        /// Sets [`connection`](Self::connection).
        with_connection, connection: plain ConnectionOptions;
    }

    /// Sets [`process_pool`](Self::process_pool).
    #[must_use]
    pub fn with_process_pool<N: Into<Name>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.process_pool = names.into_iter().map(Into::into).collect();
        self
    }

    /// The options of the listener that it becomes, if they hold for a socket in the file system.
    pub(in crate::net) fn checked(self) -> Result<(TcpServerOptions, FileOptions), ConfigError> {
        let file = FileOptions {
            mode: self.file_mode,
            remove_stale: self.remove_stale,
        };
        file.validate()?;
        // Refused and not ignored: a program that asks for keep-alive would take it for set.
        refuse_tcp_options(&self.connection)?;
        self.proxy_protocol.validate(false)?;
        let options = TcpServerOptions {
            process_pool: self.process_pool,
            cert_manager: self.cert_manager,
            tls: self.tls,
            max_connections: self.max_connections,
            at_limit: self.at_limit,
            accept_rate: self.accept_rate,
            proxy_protocol: self.proxy_protocol,
            connection: self.connection,
            ..TcpServerOptions::default()
        };
        options.validate_any()?;
        Ok((options, file))
    }
}

/// Options of a [`UnixConnection`](crate::UnixConnection).
///
/// ```
/// use longshore::UnixConnectionOptions;
/// use std::time::Duration;
///
/// let options = UnixConnectionOptions::default()
///     .with_process("client")
///     .with_connect_timeout(Duration::from_secs(1));
/// assert_eq!(options.process.as_deref(), Some("client"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnixConnectionOptions {
    /// The name of the process that owns the connection. `None`: the parent process. See
    /// [`TcpConnectionOptions::process`](crate::TcpConnectionOptions::process).
    pub process: Option<Name>,
    /// A certificate of our own, for mutual TLS. Turns TLS on.
    pub cert_manager: Option<CertManager>,
    /// Turns TLS on, and says how it is done.
    pub tls: Option<TlsClientOptions>,
    /// With TLS: the name that the certificate has to be for.
    pub server_name: Host,
    /// With TLS: accept any certificate. Turns TLS on, and logs a warning for each connection.
    pub insecure_skip_verify: bool,
    /// Time to wait for a place in the backlog of the server. 10 s by default.
    pub connect_timeout: Option<Duration>,
    /// A header of the PROXY protocol, which the peer gets before anything else.
    pub proxy_header: Option<ProxyHeader>,
    /// Makes the connection anew when it is lost; see
    /// [`TcpConnectionOptions::reconnect`](crate::TcpConnectionOptions::reconnect). `None`, the default: it ends.
    pub reconnect: Option<ReconnectPolicy>,
    /// Options of the connection. Of the socket's, the sizes of the buffers hold; the others are refused.
    pub connection: ConnectionOptions,
}

impl Default for UnixConnectionOptions {
    fn default() -> Self {
        Self {
            process: None,
            cert_manager: None,
            tls: None,
            server_name: Host::default(),
            insecure_skip_verify: false,
            connect_timeout: Some(Duration::from_secs(10)),
            proxy_header: None,
            reconnect: None,
            connection: ConnectionOptions::default(),
        }
    }
}

impl UnixConnectionOptions {
    connection_setters!(connection);

    setters! {
        /// Sets [`process`](Self::process); an empty name is `None`.
        with_process, process: some_name Name;
        /// Sets [`cert_manager`](Self::cert_manager).
        with_cert_manager, cert_manager: into Option<CertManager>;
        /// Sets [`tls`](Self::tls).
        with_tls, tls: into Option<TlsClientOptions>;
        /// Sets [`server_name`](Self::server_name).
        with_server_name, server_name: into Host;
        /// Sets [`insecure_skip_verify`](Self::insecure_skip_verify).
        with_insecure_skip_verify, insecure_skip_verify: plain bool;
        /// Sets [`connect_timeout`](Self::connect_timeout).
        with_connect_timeout, connect_timeout: into Option<Duration>;
        /// Sets [`proxy_header`](Self::proxy_header).
        with_proxy_header, proxy_header: into Option<ProxyHeader>;
        /// Sets [`reconnect`](Self::reconnect).
        with_reconnect, reconnect: into Option<ReconnectPolicy>;
        /// Sets [`connection`](Self::connection).
        with_connection, connection: plain ConnectionOptions;
    }

    /// The options of the connection that it becomes, if they hold for a socket in the file system.
    pub(in crate::net) fn checked(self) -> Result<TcpConnectionOptions, ConfigError> {
        refuse_tcp_options(&self.connection)?;
        if let Err(error) = self.server_name.validate() {
            // The error is renamed, because the field that holds the host has another name here.
            return Err(ConfigError::new("server_name", error.problem()));
        }
        let options = TcpConnectionOptions {
            host: self.server_name,
            process: self.process,
            cert_manager: self.cert_manager,
            tls: self.tls,
            insecure_skip_verify: self.insecure_skip_verify,
            connect_timeout: self.connect_timeout,
            proxy_header: self.proxy_header,
            reconnect: self.reconnect,
            connection: self.connection,
            ..TcpConnectionOptions::default()
        };
        options.validate_connected()?;
        Ok(options)
    }
}

/// Options of a [`UnixDatagramServer`](crate::UnixDatagramServer).
///
/// ```
/// use longshore::UnixDatagramOptions;
///
/// let options = UnixDatagramOptions::default()
///     .with_process("log")
///     .with_buffer_size(4_096);
/// assert_eq!(options.buffer_size, 4_096);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnixDatagramOptions {
    /// The permission bits of the file; see [`UnixServerOptions::file_mode`].
    pub file_mode: Option<u32>,
    /// Remove a socket file that is in the way if no program receives on it; see [`UnixServerOptions::remove_stale`].
    pub remove_stale: bool,
    /// The name of the process that gets the datagrams; a pool spreads them. `None`: the parent process.
    pub process: Option<Name>,
    /// The longest datagram taken whole, in bytes; longer ones are cut and flagged. Ignored if there is a
    /// `buffer_pool`. 65,536 by default and at most.
    pub buffer_size: usize,
    /// Where buffers come from. `None`: the node's pool.
    pub buffer_pool: Option<BufferPool>,
    /// Bytes that may wait for the socket's turn before sends are refused; a datagram counts as 64 bytes at least. 1
    /// MiB by default.
    pub output_limit: u32,
    /// Report each datagram that could not be sent to the owner, as a `MessageUdpError`; by default they are counted.
    pub report_errors: bool,
    /// The kernel's receive buffer, in bytes (SO_RCVBUF). `None`: what the operating system does.
    pub recv_buffer_size: Option<usize>,
    /// The kernel's send buffer, in bytes (SO_SNDBUF). `None`: what the operating system does.
    pub send_buffer_size: Option<usize>,
}

impl Default for UnixDatagramOptions {
    fn default() -> Self {
        Self {
            file_mode: None,
            remove_stale: false,
            process: None,
            buffer_size: 64 * 1024,
            buffer_pool: None,
            output_limit: 1 << 20,
            report_errors: false,
            recv_buffer_size: None,
            send_buffer_size: None,
        }
    }
}

impl UnixDatagramOptions {
    setters! {
        /// Sets [`file_mode`](Self::file_mode).
        with_file_mode, file_mode: some u32;
        /// Sets [`remove_stale`](Self::remove_stale).
        with_remove_stale, remove_stale: plain bool;
        /// Sets [`process`](Self::process); an empty name is `None`.
        with_process, process: some_name Name;
        /// Sets [`buffer_size`](Self::buffer_size), bytes.
        with_buffer_size, buffer_size: plain usize;
        /// Sets [`buffer_pool`](Self::buffer_pool).
        with_buffer_pool, buffer_pool: into Option<BufferPool>;
        /// Sets [`output_limit`](Self::output_limit), bytes.
        with_output_limit, output_limit: plain u32;
        /// Sets [`report_errors`](Self::report_errors).
        with_report_errors, report_errors: plain bool;
        /// Sets [`recv_buffer_size`](Self::recv_buffer_size), bytes.
        with_recv_buffer_size, recv_buffer_size: some usize;
        /// Sets [`send_buffer_size`](Self::send_buffer_size), bytes.
        with_send_buffer_size, send_buffer_size: some usize;
    }

    pub(in crate::net) fn validate(&self) -> Result<(), ConfigError> {
        self.file().validate()?;
        check_datagrams(self.buffer_size, self.output_limit)?;
        named("process", self.process.as_slice())?;
        self.socket().validate()
    }

    pub(in crate::net) fn file(&self) -> FileOptions {
        FileOptions {
            mode: self.file_mode,
            remove_stale: self.remove_stale,
        }
    }

    /// The sizes of the kernel's buffers.
    pub(in crate::net) fn socket(&self) -> SocketOptions {
        SocketOptions {
            recv_buffer_size: self.recv_buffer_size,
            send_buffer_size: self.send_buffer_size,
            ..SocketOptions::default()
        }
    }
}

/// What holds for the file of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::net) struct FileOptions {
    pub(in crate::net) mode: Option<u32>,
    pub(in crate::net) remove_stale: bool,
}

impl FileOptions {
    fn validate(self) -> Result<(), ConfigError> {
        check(
            self.mode.is_none_or(|mode| mode <= 0o777),
            "file_mode",
            "must be at most 0o777",
        )
    }
}

/// Refuses what a socket in the file system does not have, by name.
fn refuse_tcp_options(connection: &ConnectionOptions) -> Result<(), ConfigError> {
    let socket = &connection.socket;
    for (field, is_set) in [
        ("keep_alive_period", connection.keep_alive_period.is_some()),
        ("keep_alive_interval", socket.keep_alive_interval.is_some()),
        ("keep_alive_count", socket.keep_alive_count.is_some()),
        // On by default, so only that it was switched off can be seen.
        ("nodelay", !socket.nodelay),
        ("reuse_port", socket.reuse_port),
        ("only_v6", socket.only_v6),
        ("reset_on_close", socket.reset_on_close),
        ("user_timeout", socket.user_timeout.is_some()),
    ] {
        check(!is_set, field, "a Unix domain socket has no such option")?;
    }
    Ok(())
}
