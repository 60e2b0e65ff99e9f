//! Listening sockets for the servers that build their own: a long accept queue, and `SO_REUSEPORT` for several loops.

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener};

const BACKLOG: i32 = 1_024;

/// Opens a non-blocking listener; several may share one address.
pub fn tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let family = if addr.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &addr)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Opens one listener per loop on the same address.
pub fn tcp_group(addr: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let first = tcp(addr)?;
    let bound = first.local_addr()?;
    std::iter::once(Ok(first))
        .chain((1..count).map(|_| tcp(bound)))
        .collect()
}
