//! The sockets that a program holds. A drop closes.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Address;
use super::connect::Asked;
use super::poll::Watched;
use super::stream::Side;
use crate::simulation::Site;
use crate::simulation::arena::Key;

/// What is common to all: the site that the socket was made on.
pub(crate) trait Socket {
    #[doc(hidden)]
    fn site(&self) -> &Site;
    #[doc(hidden)]
    fn watched(&self) -> WatchedSocket;

    /// Registers the socket with the poll of its site.
    fn register(&self, token: u64) -> io::Result<()> {
        let site = self.site();
        let poll = site.poll;
        site.net().register(self.watched().0, poll, token)
    }

    fn deregister(&self) -> io::Result<()> {
        self.site().net().deregister(self.watched().0)
    }
}

/// What [`Socket::register`] registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchedSocket(Watched);

/// A stream: TCP or Unix.
#[derive(Debug)]
pub(crate) struct StreamSocket {
    site: Site,
    key: Key,
    side: Side,
}

/// A listener: TCP or Unix.
#[derive(Debug)]
pub(crate) struct Listener {
    site: Site,
    key: Key,
}

/// A datagram socket: UDP or Unix.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    site: Site,
    key: Key,
}

/// A descriptor that is kept for later.
#[derive(Debug)]
pub(crate) struct Descriptor(Site);

impl StreamSocket {
    /// Begins to connect.
    pub(crate) fn connect(
        site: &Site,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        asked: Asked,
    ) -> io::Result<Self> {
        let key = site
            .net()
            .connect(site.host, site.via, remote, local, asked)?;
        Ok(Self::new(site, key, 0))
    }

    /// Connects to a listener in the file system.
    pub(crate) fn connect_unix(site: &Site, path: &Path, asked: Asked) -> io::Result<Self> {
        let key = site.net().connect_unix(site.via, path, asked)?;
        Ok(Self::new(site, key, 0))
    }

    fn new(site: &Site, key: Key, side: Side) -> Self {
        Self {
            site: site.clone(),
            key,
            side,
        }
    }

    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.site.net().read(self.key, self.side, into)
    }

    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.site.net().write(self.key, self.side, slices)
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.site.net().shutdown_write(self.key, self.side)
    }

    /// Sets a linger time of zero.
    pub(crate) fn reset_on_close(&self) {
        self.site.net().set_reset_on_close(self.key, self.side);
    }

    pub(crate) fn local_addr(&self) -> Option<Address> {
        Some(self.site.net().addresses(self.key, self.side)?.0)
    }

    /// The peer.
    ///
    /// # Errors
    ///
    /// `NotConnected`, not yet or no longer.
    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        self.site.net().peer_addr(self.key, self.side)
    }

    /// Takes the pending error.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.site.net().take_error(self.key, self.side)
    }

    /// Whether it is a socket of the internet.
    pub(crate) fn is_tcp(&self) -> bool {
        let local = self.local_addr();
        local.is_some_and(|address| address.ip().is_some())
    }

    /// The number of the connection, for faults.
    pub(crate) fn number(&self) -> Option<usize> {
        self.site.net().number(self.key)
    }

    /// Whether both ends are as far as the handshake takes them.
    pub(crate) fn is_connecting(&self) -> bool {
        self.site.net().is_connecting(self.key, self.side)
    }
}

impl Listener {
    pub(crate) fn bind(
        site: &Site,
        addr: SocketAddr,
        backlog: u32,
        asked: Asked,
    ) -> io::Result<Self> {
        let key = site.net().listen(site.host, addr, backlog, asked)?;
        Ok(Self {
            site: site.clone(),
            key,
        })
    }

    pub(crate) fn bind_unix(site: &Site, path: &Path, backlog: u32) -> io::Result<Self> {
        let key = site.net().listen_unix(site.host, path, backlog)?;
        Ok(Self {
            site: site.clone(),
            key,
        })
    }

    pub(crate) fn accept(&self) -> io::Result<(StreamSocket, Address)> {
        let (key, remote) = self.site.net().accept(self.key)?;
        // Side 0 has connected, so what is accepted is side 1 of the same connection.
        Ok((StreamSocket::new(&self.site, key, 1), remote))
    }

    pub(crate) fn local_addr(&self) -> Option<Address> {
        self.site.net().listener_address(self.key)
    }
}

impl DatagramSocket {
    pub(crate) fn bind(site: &Site, addr: SocketAddr, asked: Asked) -> io::Result<Self> {
        let key = site.net().bind_udp(site.host, addr, asked)?;
        Ok(Self {
            site: site.clone(),
            key,
        })
    }

    pub(crate) fn bind_unix(site: &Site, path: &Path) -> io::Result<Self> {
        let key = site.net().bind_unix_datagram(site.host, path)?;
        Ok(Self {
            site: site.clone(),
            key,
        })
    }

    pub(crate) fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.site.net().connect_udp(self.key, peer)
    }

    pub(crate) fn send_to(&self, to: Option<SocketAddr>, data: &[u8]) -> io::Result<usize> {
        self.site
            .net()
            .send_datagram(self.key, self.site.via, to, data)
    }

    pub(crate) fn send_to_path(&self, to: Option<&Path>, data: &[u8]) -> io::Result<usize> {
        self.site.net().send_unix_datagram(self.key, to, data)
    }

    pub(crate) fn receive(&self, into: &mut [u8]) -> io::Result<(usize, Address)> {
        self.site.net().receive_datagram(self.key, into)
    }

    pub(crate) fn local_addr(&self) -> Option<Address> {
        self.site.net().datagram_address(self.key)
    }

    /// Datagrams that found the receive buffer full.
    pub(crate) fn dropped(&self) -> u64 {
        self.site.net().datagrams_dropped(self.key)
    }
}

impl Descriptor {
    pub(crate) fn take(site: &Site) -> Option<Self> {
        let host = site.host;
        // A host that has none left gives none in reserve, as open(2) fails then.
        site.net().take_descriptor(host).ok()?;
        Some(Self(site.clone()))
    }
}

impl Address {
    /// The address of the internet, if it is one.
    pub(crate) fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(addr) => Some(*addr),
            Self::Path(_) => None,
        }
    }

    /// The path, if it has one.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Path(path) => path.as_ref(),
            Self::Ip(_) => None,
        }
    }
}

impl Socket for StreamSocket {
    fn site(&self) -> &Site {
        &self.site
    }

    fn watched(&self) -> WatchedSocket {
        WatchedSocket(Watched::End(self.key, self.side))
    }
}

impl Socket for Listener {
    fn site(&self) -> &Site {
        &self.site
    }

    fn watched(&self) -> WatchedSocket {
        WatchedSocket(Watched::Listener(self.key))
    }
}

impl Socket for DatagramSocket {
    fn site(&self) -> &Site {
        &self.site
    }

    fn watched(&self) -> WatchedSocket {
        WatchedSocket(Watched::Datagrams(self.key))
    }
}

impl Drop for StreamSocket {
    fn drop(&mut self) {
        self.site.net().close_end(self.key, self.side);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.site.net().close_listener(self.key);
    }
}

impl Drop for DatagramSocket {
    fn drop(&mut self) {
        self.site.net().close_datagrams(self.key);
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let host = self.0.host;
        self.0.net().free_descriptor(host);
    }
}

impl super::Net {
    fn set_reset_on_close(&mut self, key: Key, side: Side) {
        if let Some(connection) = self.connections.get_mut(key) {
            // Unix sockets know no reset: SO_LINGER has no effect on them.
            connection.ends[usize::from(side)].resets_on_close = !connection.is_unix;
        }
    }

    fn addresses(&self, key: Key, side: Side) -> Option<(Address, Address)> {
        let end = &self.connections.get(key)?.ends[usize::from(side)];
        Some((end.local.clone(), end.remote.clone()))
    }

    fn peer_addr(&self, key: Key, side: Side) -> io::Result<Address> {
        let not_connected = || io::Error::from(io::ErrorKind::NotConnected);
        let connection = self.connections.get(key).ok_or_else(not_connected)?;
        let end = &connection.ends[usize::from(side)];
        match end.phase {
            // getpeername(2) fails with ENOTCONN before the handshake is done and after a reset, although the address
            // is known here.
            super::stream::StreamPhase::Established => Ok(end.remote.clone()),
            _ => Err(not_connected()),
        }
    }

    fn take_error(&mut self, key: Key, side: Side) -> Option<io::Error> {
        let end = &mut self.connections.get_mut(key)?.ends[usize::from(side)];
        // Taken and not copied: SO_ERROR is cleared by reading it (socket(7)), and a second look finds none.
        end.error.take().map(io::Error::from)
    }

    fn number(&self, key: Key) -> Option<usize> {
        Some(self.connections.get(key)?.number)
    }

    fn is_connecting(&self, key: Key, side: Side) -> bool {
        self.connections.get(key).is_some_and(|connection| {
            connection.ends[usize::from(side)].phase == super::stream::StreamPhase::Connecting
        })
    }

    fn datagram_address(&self, key: Key) -> Option<Address> {
        Some(self.datagrams.get(key)?.local.clone())
    }

    fn datagrams_dropped(&self, key: Key) -> u64 {
        self.datagrams.get(key).map_or(0, |socket| socket.dropped)
    }
}
