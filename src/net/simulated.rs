//! What the meta-processes use in place of sockets of the operating system on a simulated node.

use std::io;
use std::net::SocketAddr;

use super::options::{SocketOptions, TcpServerOptions, UdpServerOptions};
use super::socket::bind_first;
use super::stream::{Stream, UNSPECIFIED, canonical};
use crate::error::BindError;
use crate::meta::MetaContext;
use crate::simulation::Site;
use crate::simulation::net::{Asked, DatagramSocket, Listener, Socket, StreamSocket};

/// What a socket is asked for by the options that a simulated one knows.
fn asked(options: &SocketOptions) -> Asked {
    Asked {
        send_buffer: options.send_buffer_size,
        receive_buffer: options.recv_buffer_size,
        shares_port: options.reuse_port,
    }
}

/// Registers a socket under the alias of its meta-process.
pub(super) fn register(cx: &MetaContext<'_>, socket: &impl Socket) -> io::Result<()> {
    socket.register(cx.alias.to_bits())
}

/// Takes a socket off the poll.
pub(super) fn deregister(socket: &impl Socket) {
    // It was not registered: then there is nothing to take off.
    let _ = socket.deregister();
}

/// A listener.
pub(super) fn listen(
    site: &Site,
    addresses: &[SocketAddr],
    options: &TcpServerOptions,
) -> Result<(Listener, SocketAddr), BindError> {
    let socket = &options.connection.socket;
    let (asked, backlog) = (asked(socket), socket.backlog);
    let listener = bind_first(addresses, |address| {
        Listener::bind(site, address, backlog, asked)
    })?;
    let local_addr = listener.local_addr().and_then(|address| address.ip());
    Ok((listener, local_addr.unwrap_or(UNSPECIFIED)))
}

/// Accepts a connection.
pub(super) fn accept(listener: &Listener) -> io::Result<(Stream, SocketAddr)> {
    let (stream, remote) = listener.accept()?;
    let remote = remote.ip().map_or(UNSPECIFIED, canonical);
    Ok((Stream::Simulated(Box::new(stream)), remote))
}

/// Begins to connect.
pub(super) fn connect(
    site: &Site,
    address: SocketAddr,
    local: Option<SocketAddr>,
    options: &SocketOptions,
) -> io::Result<Stream> {
    let stream = StreamSocket::connect(site, address, local, asked(options))?;
    if options.reset_on_close {
        stream.reset_on_close();
    }
    Ok(Stream::Simulated(Box::new(stream)))
}

/// Connects to a socket in the file system.
#[cfg(unix)]
pub(super) fn connect_unix(
    site: &Site,
    path: &std::path::Path,
    options: &SocketOptions,
) -> io::Result<Stream> {
    let stream = StreamSocket::connect_unix(site, path, asked(options))?;
    Ok(Stream::Simulated(Box::new(stream)))
}

/// A datagram socket.
pub(super) fn bind_udp(
    site: &Site,
    addresses: &[SocketAddr],
    options: &UdpServerOptions,
) -> Result<(DatagramSocket, SocketAddr), BindError> {
    let asked = Asked {
        // A group is shared, so several sockets may have its port, as they may on Linux.
        shares_port: options.socket.reuse_port || !options.multicast.is_empty(),
        ..asked(&options.socket)
    };
    let socket = bind_first(addresses, |address| {
        let socket = DatagramSocket::bind(site, address, asked)?;
        if let Some(peer) = options.peer {
            socket.connect(peer)?;
        }
        Ok(socket)
    })?;
    let local_addr = socket.local_addr().and_then(|address| address.ip());
    Ok((socket, local_addr.unwrap_or(UNSPECIFIED)))
}
