//! Unix domain sockets: paths, and connections that are established at once.
//!
//! A path belongs to a host. Nothing of such a connection is lost or late; its bytes go through the same pipes.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::connect::Listening;
use super::host::Bound;
use super::poll::Watch;
use super::stream::{End, StreamPhase};
use super::{Address, Asked, HostId, Net};
use crate::simulation::arena::Key;

impl Net {
    pub(super) fn listen_unix(
        &mut self,
        host: HostId,
        path: &Path,
        backlog: u32,
    ) -> io::Result<Key> {
        self.take_descriptor(host)?;
        let listening = Listening {
            host,
            local: Address::Path(Some(path.to_owned())),
            backlog: backlog as usize,
            queue: VecDeque::new(),
            errors: VecDeque::new(),
            watch: Watch::default(),
        };
        let key = self.listeners.insert(listening);
        // A path that exists refuses a bind with EADDRINUSE, also if no socket listens there: unix(7).
        if self.bind_path(host, path, Bound::Socket(key)).is_err() {
            self.listeners.remove(key);
            self.free_descriptor(host);
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(key)
    }

    pub(super) fn bind_path(&mut self, host: HostId, path: &Path, bound: Bound) -> io::Result<()> {
        let paths = &mut self.host(host).paths;
        if paths.contains_key(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        paths.insert(path.to_owned(), bound);
        Ok(())
    }

    /// Connects to a Unix listener, at once.
    pub(super) fn connect_unix(
        &mut self,
        host: HostId,
        path: &Path,
        asked: Asked,
    ) -> io::Result<Key> {
        let listener = match self.host(host).paths.get(path) {
            None => return Err(io::ErrorKind::NotFound.into()),
            Some(Bound::Socket(key)) => *key,
            Some(Bound::Connection) => return Err(io::ErrorKind::ConnectionRefused.into()),
        };
        let Some(listening) = self.listeners.get(listener) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        // Only a socket that blocks waits for the backlog; one that does not gets EAGAIN (unix(7)), not a refusal.
        if listening.queue.len() > listening.backlog {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.take_descriptor(host)?;
        let named = Address::Path(Some(path.to_owned()));
        let mut client = End::new(Address::Path(None), named.clone(), StreamPhase::Established);
        client.is_open = true;
        let server = End::new(named, Address::Path(None), StreamPhase::Established);
        let key = self.begin([host, host], [client, server], asked);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.is_unix = true;
        }
        self.enqueue(listener, key);
        Ok(key)
    }
}
