//! Making sockets: addresses, options that must be set before binding, keep-alive.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::options::SocketOptions;
use crate::error::BindError;

/// The addresses a host and a port stand for. Empty: all interfaces, IPv6 with IPv4 first, for hosts without IPv6 then
/// IPv4 alone.
pub(super) fn bind_addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, BindError> {
    if host.is_empty() {
        let all = [
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ];
        return Ok(all.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let resolve = |source| BindError::Resolve {
        host: host.to_owned(),
        source,
    };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(resolve)?.collect();
    if addresses.is_empty() {
        return Err(resolve(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        )));
    }
    Ok(addresses)
}

/// Binds the first of the addresses that can be bound. An address in use is final: the next one would be another port to
/// the peers.
pub(super) fn bind_first(
    addresses: &[SocketAddr],
    bind: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> Result<Socket, BindError> {
    let mut last = None;
    for address in addresses {
        match bind(*address) {
            Ok(socket) => return Ok(socket),
            Err(source) => {
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
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(options.only_v6)?;
    }
    #[cfg(unix)]
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    set_buffer_sizes(&SockRef::from(&socket), options)?;
    Ok(socket)
}

/// The kernel's buffers.
pub(super) fn set_buffer_sizes(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    if let Some(size) = options.recv_buffer_size {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = options.send_buffer_size {
        socket.set_send_buffer_size(size)?;
    }
    Ok(())
}

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
    let Some(period) = keep_alive_period else {
        return Ok(());
    };
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
