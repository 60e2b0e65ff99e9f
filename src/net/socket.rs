//! Making sockets: addresses, options that must be set before binding, keep-alive.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::options::{ConnectionOptions, Host, SocketOptions};
use crate::error::BindError;
use crate::record::{Kind, Level, Log};
use crate::time::clock::Clock;

/// From here on a resolver that blocks is a record, in milliseconds.
const LONG_RESOLVING_MS: u64 = 100;

/// The addresses that a socket of these options may be bound to, the first that can be. A name other than `localhost`
/// is resolved here, which blocks; the second value is the number of milliseconds that it took.
pub(super) fn bind_addresses(
    host: &Host,
    port: u16,
    options: &SocketOptions,
) -> Result<(Vec<SocketAddr>, u64), BindError> {
    let failed = |source| BindError::Resolve {
        host: host.to_string(),
        source,
    };
    let (mut addresses, took) = match host.known_addresses(port) {
        Some(known) => (known?, 0),
        None => {
            let clock = Clock::new();
            (host.resolve(port).map_err(failed)?, clock.now_ms())
        }
    };
    // A name may have addresses of both families.
    if options.only_v6 {
        addresses.retain(SocketAddr::is_ipv6);
    }
    if addresses.is_empty() {
        let problem = "the name has no address that the options allow";
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, problem)));
    }
    Ok((addresses, took))
}

/// A record of a name that took long to resolve: for this time the caller of `bind`, a worker as a rule, was blocked.
pub(super) fn record_resolving(log: &Log, host: &Host, took_ms: u64) {
    if took_ms >= LONG_RESOLVING_MS {
        log.text(
            Level::Warn,
            Kind::SlowResolve,
            format_args!(
                "bind: resolving {host} took {took_ms} ms, in which its thread was blocked"
            ),
        );
    }
}

/// Binds the first of the addresses that can be bound. An address in use is final: the next one would be another port
/// to the peers.
pub(super) fn bind_first<T>(
    addresses: &[SocketAddr],
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<T, BindError> {
    let mut last = None;
    for address in addresses {
        match bind(*address) {
            Ok(socket) => return Ok(socket),
            Err(source) => {
                // See the doc: another address is another port to the peers.
                let is_final = source.kind() == io::ErrorKind::AddrInUse;
                last = Some(BindError::Bind {
                    address: address.to_string(),
                    source,
                });
                if is_final {
                    break;
                }
            }
        }
    }
    Err(last.expect("at least one address"))
}

/// A socket with everything set that must be set before it is bound.
pub(super) fn unbound(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    options: &SocketOptions,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    // Before a connect, which would wait for the handshake.
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // Set in both cases, because the default is one of the system (`bindv6only`, see ipv6(7)).
        socket.set_only_v6(options.only_v6)?;
    }
    // Before the bind, which looks at it.
    #[cfg(unix)]
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    set_buffer_sizes(&SockRef::from(&socket), options)?;
    Ok(socket)
}

/// The kernel's buffers.
pub(super) fn set_buffer_sizes(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    // A listener gets them too, because the window that TCP announces is chosen at the handshake (tcp(7)).
    if let Some(size) = options.recv_buffer_size {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = options.send_buffer_size {
        socket.set_send_buffer_size(size)?;
    }
    Ok(())
}

/// Sets everything that a socket takes which the program has made itself.
pub(super) fn set_given_options(
    socket: &SockRef<'_>,
    options: &ConnectionOptions,
) -> io::Result<()> {
    set_buffer_sizes(socket, &options.socket)?;
    set_stream_options(socket, &options.socket, options.keep_alive_period)
}

/// Refuses a socket that was made elsewhere and is of another kind: a connection of datagrams, or a listener of another
/// family, would wait for what cannot come.
pub(super) fn check_given(socket: &SockRef<'_>, kind: Type, domains: &[Domain]) -> io::Result<()> {
    let is_kind = socket.r#type()? == kind;
    // Of the systems that can be asked (SO_DOMAIN).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let is_kind = is_kind && domains.contains(&socket.domain()?);
    let _ = domains;
    if is_kind {
        return Ok(());
    }
    let problem = "the socket is of another kind";
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// The same for a stream, which listens or does not.
pub(super) fn check_given_stream(
    socket: &SockRef<'_>,
    domains: &[Domain],
    listens: bool,
) -> io::Result<()> {
    check_given(socket, Type::STREAM, domains)?;
    // Of the systems that can be asked (SO_ACCEPTCONN).
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if socket.is_listener()? != listens {
        let problem = match listens {
            true => "the socket does not listen",
            false => "the socket listens",
        };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let _ = listens;
    Ok(())
}

/// The families of the internet.
pub(super) const INTERNET: [Domain; 2] = [Domain::IPV4, Domain::IPV6];

/// Sets what connections have, on a listener (whose accepted sockets inherit it) or on a connection.
pub(super) fn set_stream_options(
    socket: &SockRef<'_>,
    options: &SocketOptions,
    keep_alive_period: Option<Duration>,
) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if options.reset_on_close {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(timeout) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    // Interval and count mean nothing without probes.
    let Some(period) = keep_alive_period else {
        return Ok(());
    };
    // The kernel counts whole seconds, and refuses zero.
    let mut keep_alive = TcpKeepalive::new().with_time(period.max(Duration::from_secs(1)));
    keep_alive = keep_alive.with_interval(
        options
            .keep_alive_interval
            .unwrap_or(period)
            .max(Duration::from_secs(1)),
    );
    if let Some(count) = options.keep_alive_count {
        keep_alive = keep_alive.with_retries(count);
    }
    socket.set_tcp_keepalive(&keep_alive)
}

/// Whether accepted sockets inherit the options of their listener here.
pub(super) const INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));
