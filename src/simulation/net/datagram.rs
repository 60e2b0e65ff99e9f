//! Datagram sockets of the internet and of the file system.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::connect::Asked;
use super::host::{Bound, Protocol};
use super::poll::{Interest, Watch, Watched};
use super::{Address, Event, HostId, Net, nanos};
use crate::simulation::arena::Key;

/// The longest datagram: 65,535 bytes without the headers of IP and UDP.
const LONGEST: usize = 65_507;
/// EMSGSIZE of this system, which has no [`io::ErrorKind`].
const TOO_LONG: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    90
} else {
    40
};
/// What a queued datagram takes of the receive buffer beside its bytes, as in Linux.
const OVERHEAD: usize = 256;
/// Datagrams that a Unix socket holds: `net.unix.max_dgram_qlen`.
const UNIX_QUEUE: usize = 10;

/// A datagram socket.
#[derive(Debug)]
pub(super) struct Datagrams {
    host: HostId,
    pub(super) local: Address,
    pub(super) peer: Option<Address>,
    queue: VecDeque<(Address, Vec<u8>)>,
    queued_bytes: usize,
    receive_buffer: usize,
    error: Option<io::ErrorKind>,
    /// Datagrams that found the buffer full.
    pub(super) dropped: u64,
    pub(super) watch: Watch,
}

/// A datagram on its way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flying {
    from: Key,
    source: SocketAddr,
    to_host: HostId,
    to: SocketAddr,
    data: Vec<u8>,
}

impl Datagrams {
    pub(super) fn interest(&self) -> Interest {
        // A datagram socket is never short of room to send: what the network cannot carry is lost, not refused.
        let mut now = Interest::OUT;
        if !self.queue.is_empty() {
            now |= Interest::IN;
        }
        if self.error.is_some() {
            now |= Interest::ERROR;
        }
        now
    }
}

impl Net {
    fn new_datagrams(&mut self, host: HostId, local: Address, asked: Asked) -> Key {
        let receive_buffer = asked
            .receive_buffer
            .unwrap_or(4 * self.options.receive_buffer);
        self.datagrams.insert(Datagrams {
            host,
            local,
            peer: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            receive_buffer,
            error: None,
            dropped: 0,
            watch: Watch::default(),
        })
    }

    pub(super) fn bind_udp(
        &mut self,
        host: HostId,
        addr: SocketAddr,
        asked: Asked,
    ) -> io::Result<Key> {
        self.take_descriptor(host)?;
        let key = self.new_datagrams(host, Address::Ip(addr), asked);
        let bound = Bound::Socket(key);
        match self.take_port(host, Protocol::Udp, addr, bound, asked.shares_port) {
            Ok(addr) => {
                if let Some(socket) = self.datagrams.get_mut(key) {
                    socket.local = Address::Ip(addr);
                }
                Ok(key)
            }
            Err(error) => {
                self.datagrams.remove(key);
                self.free_descriptor(host);
                Err(error)
            }
        }
    }

    pub(super) fn bind_unix_datagram(&mut self, host: HostId, path: &Path) -> io::Result<Key> {
        self.take_descriptor(host)?;
        let address = Address::Path(Some(path.to_owned()));
        let key = self.new_datagrams(host, address, Asked::default());
        self.bind_path(host, path, Bound::Socket(key))
            .inspect_err(|_| {
                self.datagrams.remove(key);
                self.free_descriptor(host);
            })?;
        Ok(key)
    }

    pub(super) fn connect_udp(&mut self, key: Key, peer: SocketAddr) -> io::Result<()> {
        let socket = self
            .datagrams
            .get_mut(key)
            .ok_or(io::ErrorKind::NotConnected)?;
        socket.peer = Some(Address::Ip(peer));
        Ok(())
    }

    pub(super) fn close_datagrams(&mut self, key: Key) {
        let Some(socket) = self.datagrams.remove(key) else {
            return;
        };
        self.free_descriptor(socket.host);
        match &socket.local {
            Address::Ip(addr) => {
                self.free_port(socket.host, Protocol::Udp, *addr, Bound::Socket(key));
            }
            Address::Path(Some(path)) => {
                self.host(socket.host).paths.remove(path);
            }
            Address::Path(None) => {}
        }
    }

    /// Sends a datagram; without an address to the connected peer.
    pub(super) fn send_datagram(
        &mut self,
        key: Key,
        via: HostId,
        to: Option<SocketAddr>,
        data: &[u8],
    ) -> io::Result<usize> {
        let socket = self
            .datagrams
            .get_mut(key)
            .ok_or(io::ErrorKind::NotConnected)?;
        // An error of an earlier datagram comes with the next call, whichever it is: udp(7). It takes the place of this
        // send.
        if let Some(error) = socket.error.take() {
            return Err(error.into());
        }
        let (from, is_ipv6) = match &socket.local {
            Address::Ip(local) => (*local, local.is_ipv6()),
            Address::Path(_) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let to = match (to, &socket.peer) {
            (Some(to), _) => to,
            (None, Some(Address::Ip(peer))) => *peer,
            (None, _) => return Err(io::ErrorKind::NotConnected.into()),
        };
        let host = socket.host;
        if data.len() > LONGEST {
            return Err(io::Error::from_raw_os_error(TOO_LONG));
        }
        // Port 0 is EINVAL, as in Linux, and an IPv4 socket cannot reach an IPv6 address.
        if to.port() == 0 || (to.is_ipv6() && !is_ipv6) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let target = SocketAddr::new(to.ip().to_canonical(), to.port());
        let source_ip = match from.ip().is_unspecified() {
            true => self.source_for(host, target.ip()),
            false => from.ip(),
        };
        let source = SocketAddr::new(source_ip, from.port());
        match self.route(via, target.ip()) {
            Ok(to_host) => self.fly(key, host, to_host, source, target, data),
            // A host that is switched off answers nothing, so the sender believes that the datagram has left.
            Err(super::host::Elsewhere::Silent) => {}
            Err(super::host::Elsewhere::Unreachable) => {
                return Err(io::ErrorKind::NetworkUnreachable.into());
            }
        }
        Ok(data.len())
    }

    fn fly(
        &mut self,
        key: Key,
        host: HostId,
        to_host: HostId,
        source: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) {
        let link = self.link(host, to_host);
        let (loss, duplicates, reordering) = (link.loss, link.duplicates, link.reordering);
        let longest_ns = nanos(*link.latency.end());
        if self.is_cut(host, to_host) || self.random.happens(loss) {
            self.trace.add(
                self.now_ns,
                format_args!("net     datagram of {} bytes to {to} is lost", data.len()),
            );
            return;
        }
        let copies = 1 + u32::from(self.random.happens(duplicates));
        for _ in 0..copies {
            // A draw for each copy: a duplicate that came together with its original would test less.
            let mut at_ns = self.now_ns.saturating_add(self.latency(host, to_host));
            // Far beyond the longest latency, so that datagrams sent later really come first.
            if self.random.happens(reordering) {
                at_ns = at_ns.saturating_add(longest_ns.saturating_mul(10));
            }
            let flying = Flying {
                from: key,
                source,
                to_host,
                to,
                data: data.to_vec(),
            };
            self.schedule(at_ns, Event::Datagram(Box::new(flying)));
        }
    }

    pub(super) fn datagram_arrived(&mut self, flying: Flying) {
        let Flying {
            from,
            source,
            to_host,
            to,
            data,
        } = flying;
        let Some(key) = self.find_bound(to_host, Protocol::Udp, to) else {
            return self.answer_unreachable(from, to_host);
        };
        let Some(socket) = self.datagrams.get_mut(key) else {
            return;
        };
        let source = as_seen_from(source, &socket.local);
        let is_stranger = matches!(&socket.peer, Some(Address::Ip(peer))
            if (peer.ip().to_canonical(), peer.port()) != (source.ip().to_canonical(), source.port()));
        if is_stranger {
            // A connected UDP socket sees its peer only; the kernel looks on for another socket and finds none here.
            return;
        }
        if socket.queued_bytes + data.len() + OVERHEAD > socket.receive_buffer {
            // UDP has no flow control: what finds the buffer full is lost without a word to the sender, and counted.
            socket.dropped += 1;
            return;
        }
        self.trace.add(
            self.now_ns,
            format_args!(
                "net     datagram of {} bytes from {source} to {to}",
                data.len()
            ),
        );
        socket.queued_bytes += data.len() + OVERHEAD;
        socket.queue.push_back((Address::Ip(source), data));
        self.wake_datagrams(key);
    }

    /// The host has no socket for a datagram: its ICMP answer takes the way back.
    fn answer_unreachable(&mut self, from: Key, to_host: HostId) {
        let delay_ns = self
            .datagrams
            .get(from)
            .map(|socket| socket.host)
            .map_or(0, |host| self.latency(host, to_host));
        let at_ns = self.now_ns.saturating_add(delay_ns);
        self.schedule(at_ns, Event::Unreachable(from));
    }

    fn wake_datagrams(&mut self, key: Key) {
        if let Some(socket) = self.datagrams.get_mut(key)
            && let Some(poll) = socket.watch.queue()
        {
            self.polls[poll].queue(Watched::Datagrams(key));
        }
    }

    /// An ICMP message; Linux passes it on to connected sockets only.
    pub(super) fn port_unreachable(&mut self, key: Key) {
        if let Some(socket) = self.datagrams.get_mut(key)
            && socket.peer.is_some()
        {
            socket.error = Some(io::ErrorKind::ConnectionRefused);
            self.wake_datagrams(key);
        }
    }

    pub(super) fn receive_datagram(
        &mut self,
        key: Key,
        into: &mut [u8],
    ) -> io::Result<(usize, Address)> {
        let socket = self
            .datagrams
            .get_mut(key)
            .ok_or(io::ErrorKind::NotConnected)?;
        if let Some(error) = socket.error.take() {
            return Err(error.into());
        }
        let (from, data) = socket.queue.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        socket.queued_bytes -= data.len() + OVERHEAD;
        // recvfrom(2) discards what the buffer of the caller is too short for.
        let length = data.len().min(into.len());
        into[..length].copy_from_slice(&data[..length]);
        Ok((length, from))
    }

    /// Sends a datagram to a path, at once; without a path to the connected peer, of which there is none here.
    pub(super) fn send_unix_datagram(
        &mut self,
        key: Key,
        to: Option<&Path>,
        data: &[u8],
    ) -> io::Result<usize> {
        let socket = self.datagrams.get(key).ok_or(io::ErrorKind::NotConnected)?;
        let (host, local) = (socket.host, socket.local.clone());
        let to = to.ok_or(io::ErrorKind::NotConnected)?;
        let target = match self.host(host).paths.get(to) {
            None => return Err(io::ErrorKind::NotFound.into()),
            Some(Bound::Socket(target)) => *target,
            Some(Bound::Connection) => return Err(io::ErrorKind::ConnectionRefused.into()),
        };
        let receiver = self
            .datagrams
            .get_mut(target)
            .ok_or(io::ErrorKind::ConnectionRefused)?;
        // unix(7): datagrams of Unix sockets are never lost, so a full queue holds the sender up. As in Linux, the
        // queue takes one more than the limit says.
        if receiver.queue.len() > UNIX_QUEUE {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        receiver.queued_bytes += data.len() + OVERHEAD;
        receiver.queue.push_back((local, data.to_vec()));
        self.wake_datagrams(target);
        Ok(data.len())
    }
}

/// An IPv4 address as a socket of IPv6 shows it.
fn as_seen_from(source: SocketAddr, local: &Address) -> SocketAddr {
    match (source.ip(), local) {
        (IpAddr::V4(v4), Address::Ip(local)) if local.is_ipv6() => {
            SocketAddr::new(v4.to_ipv6_mapped().into(), source.port())
        }
        _ => source,
    }
}
