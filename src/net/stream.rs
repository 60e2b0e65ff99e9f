//! The socket of a connection: TCP or Unix domain, one type to read and write.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};

use socket2::SockRef;

#[cfg(unix)]
use super::no_signal;
use crate::meta::MetaContext;
#[cfg(feature = "testing")]
use crate::simulation::net::StreamSocket;

/// See the module.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
    #[cfg(feature = "testing")]
    Simulated(Box<StreamSocket>),
    /// The connection is over and its descriptor given back.
    HungUp,
}

/// The address of what has none.
pub(crate) const UNSPECIFIED: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// An IPv4 address is shown as IPv4, also on a socket that serves both families.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => v6
            .ip()
            .to_ipv4_mapped()
            .map_or(addr, |v4| SocketAddr::from((v4, addr.port()))),
        SocketAddr::V4(_) => addr,
    }
}

/// An address as a socket of that family takes it: an IPv4 address is mapped for one of IPv6, and the other way round.
/// What cannot be said in the family stays as it is, and the system refuses it.
pub(crate) fn mapped_for(addr: SocketAddr, is_v6: bool) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if is_v6 => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        SocketAddr::V6(_) if !is_v6 => canonical(addr),
        addr => addr,
    }
}

impl Stream {
    pub(crate) fn register(&mut self, cx: &MetaContext<'_>) -> io::Result<()> {
        // Where no flag of a send does it, an option of the socket keeps a write to a closed connection from raising
        // SIGPIPE.
        #[cfg(unix)]
        match self {
            Self::Tcp(stream) => no_signal::set_up(&SockRef::from(&*stream))?,
            Self::Unix(stream) => no_signal::set_up(&SockRef::from(&*stream))?,
            #[cfg(feature = "testing")]
            Self::Simulated(_) => {}
            Self::HungUp => {}
        }
        match self {
            Self::Tcp(stream) => cx.register_stream(stream),
            #[cfg(unix)]
            Self::Unix(stream) => cx.register_source(stream),
            #[cfg(feature = "testing")]
            Self::Simulated(stream) => super::simulated::register(cx, &**stream),
            // No further event can come.
            Self::HungUp => Ok(()),
        }
    }

    /// Whether the next change is reported after a short read. It is on epoll and kqueue, but for Unix domain sockets,
    /// where a read ends at a message that carries descriptors; elsewhere one reads until `WouldBlock`.
    pub(crate) fn short_read_is_empty(&self) -> bool {
        const EDGES: bool = cfg!(any(
            target_os = "linux",
            target_os = "android",
            target_os = "macos",
            target_os = "ios",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "dragonfly"
        )) && !cfg!(mio_unsupported_force_poll_poll);
        #[cfg(feature = "testing")]
        if let Self::Simulated(stream) = self {
            return stream.is_tcp();
        }
        EDGES && matches!(self, Self::Tcp(_))
    }

    /// Takes the socket off the poll. Closing would not, if a copy of the descriptor is elsewhere.
    pub(crate) fn deregister(&mut self, cx: &MetaContext<'_>) {
        match self {
            Self::Tcp(stream) => cx.deregister_source(stream),
            #[cfg(unix)]
            Self::Unix(stream) => cx.deregister_source(stream),
            #[cfg(feature = "testing")]
            Self::Simulated(stream) => super::simulated::deregister(&**stream),
            Self::HungUp => {}
        }
    }

    /// Closes the socket now.
    pub(crate) fn hang_up(&mut self, cx: &MetaContext<'_>) {
        // The poll keeps a descriptor until its last copy is closed, which may be elsewhere.
        self.deregister(cx);
        *self = Self::HungUp;
    }

    #[inline]
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Self::Tcp(stream) => stream.read(bytes),
                #[cfg(unix)]
                Self::Unix(stream) => stream.read(bytes),
                #[cfg(feature = "testing")]
                Self::Simulated(stream) => stream.read(bytes),
                Self::HungUp => Err(hung_up()),
            };
            match result {
                // A signal has interrupted the call before it had read anything.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Writes with one system call, the cheaper one for a single slice, and without SIGPIPE.
    #[inline]
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            // std sends with MSG_NOSIGNAL here.
            (Self::Tcp(stream), [only]) => stream.write(only),
            #[cfg(unix)]
            (Self::Tcp(stream), slices) => {
                stream.try_io(|| no_signal::send(&SockRef::from(&*stream), slices))
            }
            #[cfg(not(unix))]
            (Self::Tcp(stream), slices) => stream.write_vectored(slices),
            #[cfg(unix)]
            (Self::Unix(stream), slices) => {
                stream.try_io(|| no_signal::send(&SockRef::from(&*stream), slices))
            }
            #[cfg(feature = "testing")]
            (Self::Simulated(stream), slices) => stream.write(slices),
            (Self::HungUp, _) => Err(hung_up()),
        }
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(feature = "testing")]
            Self::Simulated(stream) => stream.shutdown_write(),
            Self::HungUp => Err(hung_up()),
        }
    }

    /// Lets the coming close reset the connection. A Unix domain socket is just closed.
    pub(crate) fn reset_on_close(&self) {
        #[cfg(feature = "testing")]
        if let Self::Simulated(stream) = self {
            stream.reset_on_close();
        }
        if let Self::Tcp(stream) = self {
            // It fails if the connection is gone, and then there is nothing to reset.
            let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Tcp(stream) => stream.local_addr().map_or(UNSPECIFIED, canonical),
            #[cfg(unix)]
            Self::Unix(_) => UNSPECIFIED,
            #[cfg(feature = "testing")]
            Self::Simulated(stream) => {
                let local = stream.local_addr().and_then(|address| address.ip());
                local.map_or(UNSPECIFIED, canonical)
            }
            Self::HungUp => UNSPECIFIED,
        }
    }

    /// The peer's address; an error says that there is none (any more).
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.peer_addr().map(|_| UNSPECIFIED),
            #[cfg(feature = "testing")]
            Self::Simulated(stream) => Ok(stream.peer_addr()?.ip().map_or(UNSPECIFIED, canonical)),
            Self::HungUp => Err(hung_up()),
        }
    }

    /// The error of a connection attempt, if it has failed.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.take_error(),
            #[cfg(feature = "testing")]
            Self::Simulated(stream) => Ok(stream.take_error()),
            Self::HungUp => Ok(Some(hung_up())),
        }
    }
}

fn hung_up() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
