//! Listeners, and how a connection comes about.
//!
//! ```text
//!  connect ─▶ SYN ─▶ listener, backlog has room ─▶ SYN-ACK ─▶ client established ─▶ ACK ─▶ backlog ─▶ accept
//!               │ nothing listens: refused
//!               │ backlog full: tried again after 1, 2, 4 … s, as by Linux
//!               └ the host is silent: timed out after 127 s; unreachable: an error after the latency
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::host::{Bound, Elsewhere, Protocol};
use super::pipe::Pipe;
use super::poll::{Interest, Watch, Watched};
use super::stream::{Connection, End, StreamPhase};
use super::{Address, CONNECT_TIMEOUT_NS, Event, Failure, HostId, Net};
use crate::simulation::arena::Key;

/// A listener.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) host: HostId,
    pub(super) local: Address,
    pub(super) backlog: usize,
    pub(super) queue: VecDeque<Key>,
    /// Errors that accept returns before the next connection.
    pub(super) errors: VecDeque<io::ErrorKind>,
    pub(super) watch: Watch,
}

impl Listening {
    pub(super) fn interest(&self) -> Interest {
        match self.queue.is_empty() && self.errors.is_empty() {
            true => Interest::NONE,
            false => Interest::IN,
        }
    }
}

/// What a socket asks for before it is bound or connected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) send_buffer: Option<usize>,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) shares_port: bool,
}

impl Net {
    pub(super) fn listen(
        &mut self,
        host: HostId,
        addr: SocketAddr,
        backlog: u32,
        asked: Asked,
    ) -> io::Result<Key> {
        // Before the key exists: a host out of descriptors must leave no listener behind, and the two error paths below
        // give back exactly what was taken.
        self.take_descriptor(host)?;
        let listening = Listening {
            host,
            local: Address::Ip(addr),
            backlog: backlog as usize,
            queue: VecDeque::new(),
            errors: VecDeque::new(),
            watch: Watch::default(),
        };
        let key = self.listeners.insert(listening);
        let bound = Bound::Socket(key);
        match self.take_port(host, Protocol::Tcp, addr, bound, asked.shares_port) {
            Ok(addr) => {
                if let Some(listening) = self.listeners.get_mut(key) {
                    listening.local = Address::Ip(addr);
                }
                Ok(key)
            }
            Err(error) => {
                self.listeners.remove(key);
                self.free_descriptor(host);
                Err(error)
            }
        }
    }

    pub(super) fn close_listener(&mut self, key: Key) {
        let Some(listening) = self.listeners.remove(key) else {
            return;
        };
        self.free_descriptor(listening.host);
        match &listening.local {
            Address::Ip(addr) => {
                self.free_port(listening.host, Protocol::Tcp, *addr, Bound::Socket(key));
            }
            Address::Path(Some(path)) => {
                self.host(listening.host).paths.remove(path);
            }
            Address::Path(None) => {}
        }
        // Closing a listener resets what waits in its backlog, as Linux does: those peers are established and would
        // otherwise wait for an accept that cannot come.
        for waiting in listening.queue {
            self.send_reset(waiting, 1);
            if let Some(connection) = self.connections.get_mut(waiting) {
                connection.is_waiting = false;
            }
            self.reap(waiting);
        }
    }

    fn pipes(&self, asked: Asked) -> [Pipe; 2] {
        let (send, receive) = (self.options.send_buffer, self.options.receive_buffer);
        let mut pipes = [Pipe::default(), Pipe::default()];
        for pipe in &mut pipes {
            (pipe.send_buffer, pipe.receive_buffer) = (send, receive);
        }
        // A size of zero would make a connection that can never carry a byte; the kernels round it up as well.
        pipes[0].send_buffer = asked.send_buffer.unwrap_or(send).max(1);
        pipes[1].receive_buffer = asked.receive_buffer.unwrap_or(receive).max(1);
        pipes
    }

    pub(super) fn begin(&mut self, hosts: [HostId; 2], ends: [End; 2], asked: Asked) -> Key {
        let connection = Connection {
            number: self.numbers.len(),
            hosts,
            ends,
            pipes: self.pipes(asked),
            is_alone: false,
            is_unix: false,
            is_arriving: false,
            is_waiting: false,
            stalled_until_ns: 0,
        };
        let key = self.connections.insert(connection);
        self.numbers.push(key);
        key
    }

    /// Begins to connect from a host; loopback addresses are those of `via`.
    pub(super) fn connect(
        &mut self,
        from: HostId,
        via: HostId,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        asked: Asked,
    ) -> io::Result<Key> {
        // connect(2) to port 0 is refused by Linux on the spot: no port 0 can listen.
        if remote.port() == 0 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let source = self.source_for(from, remote.ip());
        let wanted = match local {
            Some(local) if local.ip().is_unspecified() => SocketAddr::new(source, local.port()),
            Some(local) => local,
            None => SocketAddr::new(source, 0),
        };
        self.take_descriptor(from)?;
        let local = self
            .take_port(from, Protocol::Tcp, wanted, Bound::Connection, true)
            .inspect_err(|_| self.free_descriptor(from))?;
        // Linux connects a socket to its own host when the address is the unspecified one.
        let remote = match remote.ip().is_unspecified() {
            true => SocketAddr::new(source, remote.port()),
            false => remote,
        };
        let target = self.route(via, remote.ip());
        let mut client = End::new(
            Address::Ip(local),
            Address::Ip(remote),
            StreamPhase::Connecting,
        );
        (client.is_open, client.port) = (true, Some(local));
        let server = End::new(
            Address::Ip(remote),
            Address::Ip(local),
            StreamPhase::Connecting,
        );
        // Without a host that answers the connection still needs two of them; `send_syn` then never uses the second.
        let to = *target.as_ref().unwrap_or(&from);
        let key = self.begin([from, to], [client, server], asked);
        let number = self.numbers.len() - 1;
        self.trace.add(
            self.now_ns,
            format_args!("net     connection {number}: {local} connects to {remote}"),
        );
        self.send_syn(key, target, local == remote);
        Ok(key)
    }

    fn send_syn(&mut self, key: Key, target: Result<HostId, Elsewhere>, is_self: bool) {
        let delay_ns = self.delay(key);
        let at_ns = self.now_ns.saturating_add(delay_ns);
        let failed = |failure| Event::ConnectFailed(key, failure);
        match target {
            Err(Elsewhere::Silent) => {
                let at_ns = self.now_ns.saturating_add(CONNECT_TIMEOUT_NS);
                self.schedule(at_ns, failed(Failure::TimedOut));
            }
            // RFC 1122, 4.2.3.5: an unreachable host is a soft error, but Linux gives it to a connect that is under
            // way. The way there and the way back take a latency each.
            Err(Elsewhere::Unreachable) => {
                self.schedule(
                    at_ns.saturating_add(delay_ns),
                    failed(Failure::HostUnreachable),
                );
            }
            Ok(_) if is_self => {
                // Two SYNs of one socket meet: a simultaneous open of RFC 9293, 3.5.
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.is_alone = true;
                    connection.ends[1].phase = StreamPhase::Dead;
                }
                self.schedule(at_ns, Event::SynAck(key));
            }
            Ok(_) => self.schedule(at_ns, Event::Syn(key, 0)),
        }
    }

    pub(super) fn syn_arrived(&mut self, key: Key, attempt: u32) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        // The program gave up before its SYN came; an answer would establish an end that is gone.
        if connection.ends[0].phase != StreamPhase::Connecting {
            return;
        }
        let ([_, to], Address::Ip(addr)) = (connection.hosts, &connection.ends[1].local) else {
            return;
        };
        let addr = *addr;
        let listener = self.find_bound(to, Protocol::Tcp, addr);
        let delay_ns = self.delay(key);
        match listener.and_then(|listener| self.listeners.get(listener)) {
            None => self.schedule(
                self.now_ns.saturating_add(delay_ns),
                Event::ConnectFailed(key, Failure::Refused),
            ),
            // Linux takes one more than the backlog says.
            Some(listening) if listening.queue.len() > listening.backlog => {
                // Linux drops the SYN of a full backlog instead of refusing it, and the client tries again after 1, 2,
                // 4 … seconds.
                let wait_ns = 1_000_000_000_u64 << attempt.min(6);
                let (again_ns, event) = match attempt {
                    0..6 => (wait_ns, Event::Syn(key, attempt + 1)),
                    _ => (wait_ns, Event::ConnectFailed(key, Failure::TimedOut)),
                };
                self.schedule(self.now_ns.saturating_add(again_ns), event);
            }
            Some(_) => self.schedule(self.now_ns.saturating_add(delay_ns), Event::SynAck(key)),
        }
    }

    pub(super) fn syn_ack_arrived(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let client = &mut connection.ends[0];
        // A reset or a close may have overtaken the SYN-ACK.
        if client.phase != StreamPhase::Connecting {
            return;
        }
        client.phase = StreamPhase::Established;
        let is_alone = connection.is_alone;
        if let Some(poll) = client.watch.queue() {
            self.polls[poll].queue(Watched::End(key, 0));
        }
        if !is_alone {
            let delay_ns = self.delay(key);
            let at_ns = self.now_ns.saturating_add(delay_ns);
            if let Some(connection) = self.connections.get_mut(key) {
                // Data does not overtake the end of the handshake.
                connection.pipes[0].hold_until(at_ns);
                // Keeps `reap` from removing the connection of a client that closes at once: the server must still see
                // it come.
                connection.is_arriving = true;
            }
            self.schedule(at_ns, Event::Established(key));
        }
    }

    pub(super) fn established(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let ([_, to], Address::Ip(addr)) = (connection.hosts, &connection.ends[1].local) else {
            return;
        };
        let (number, addr) = (connection.number, *addr);
        connection.is_arriving = false;
        connection.ends[1].phase = StreamPhase::Established;
        // Looked up a second time: the listener may have closed while the handshake was under way.
        let listener = self.find_bound(to, Protocol::Tcp, addr);
        let is_ipv6 = listener
            .and_then(|listener| self.listeners.get(listener))
            .is_some_and(|listening| matches!(&listening.local, Address::Ip(ip) if ip.is_ipv6()));
        // A dual-stack listener names IPv4 peers with mapped addresses, and its program sees them so.
        if is_ipv6 && let Some(connection) = self.connections.get_mut(key) {
            connection.ends[1].map_addresses();
        }
        let Some(listener) = listener else {
            self.send_reset(key, 1);
            self.reap(key);
            return;
        };
        self.trace.add(
            self.now_ns,
            format_args!("net     connection {number}: established, in the backlog of {addr}"),
        );
        self.enqueue(listener, key);
    }

    pub(super) fn enqueue(&mut self, listener: Key, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.is_waiting = true;
        }
        let Some(listening) = self.listeners.get_mut(listener) else {
            return;
        };
        listening.queue.push_back(key);
        self.wake_listener(listener);
    }

    fn wake_listener(&mut self, listener: Key) {
        if let Some(listening) = self.listeners.get_mut(listener)
            && let Some(poll) = listening.watch.queue()
        {
            self.polls[poll].queue(Watched::Listener(listener));
        }
    }

    pub(super) fn connect_failed(&mut self, key: Key, failure: Failure) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let number = connection.number;
        let client = &mut connection.ends[0];
        if client.phase != StreamPhase::Connecting {
            return;
        }
        client.error = Some(match failure {
            Failure::Refused => io::ErrorKind::ConnectionRefused,
            Failure::HostUnreachable => io::ErrorKind::HostUnreachable,
            Failure::TimedOut => io::ErrorKind::TimedOut,
        });
        (client.phase, client.read_shut, client.write_shut) = (StreamPhase::Dead, true, true);
        if let Some(poll) = client.watch.queue() {
            self.polls[poll].queue(Watched::End(key, 0));
        }
        self.trace.add(
            self.now_ns,
            format_args!("net     connection {number}: {failure:?}"),
        );
    }

    pub(super) fn accept(&mut self, listener: Key) -> io::Result<(Key, Address)> {
        let would_block = || io::Error::from(io::ErrorKind::WouldBlock);
        let listening = self.listeners.get_mut(listener).ok_or_else(would_block)?;
        // An error of a test comes before the backlog, and leaves it: EMFILE does not take a connection out of the
        // queue.
        if let Some(error) = listening.errors.pop_front() {
            return Err(error.into());
        }
        let (host, key) = (
            listening.host,
            *listening.queue.front().ok_or_else(would_block)?,
        );
        // Before the connection leaves the queue: an accept out of descriptors fails and finds the same connection next
        // time.
        self.take_descriptor(host)?;
        if let Some(listening) = self.listeners.get_mut(listener) {
            listening.queue.pop_front();
        }
        let connection = self.connections.get_mut(key).ok_or_else(would_block)?;
        connection.is_waiting = false;
        connection.ends[1].is_open = true;
        Ok((key, connection.ends[1].remote.clone()))
    }

    /// The next accepts of every listener of a host fail with this error.
    pub(crate) fn fail_accepts(&mut self, host: HostId, error: io::ErrorKind, times: usize) {
        let listeners: Vec<Key> = self
            .listeners
            .iter()
            .filter(|(_, listening)| listening.host == host)
            .map(|(key, _)| key)
            .collect();
        for key in listeners {
            if let Some(listening) = self.listeners.get_mut(key) {
                listening.errors.extend(std::iter::repeat_n(error, times));
            }
            self.wake_listener(key);
        }
    }

    pub(super) fn listener_address(&self, listener: Key) -> Option<Address> {
        Some(self.listeners.get(listener)?.local.clone())
    }
}

impl End {
    /// IPv4 addresses as an IPv6 socket shows them.
    fn map_addresses(&mut self) {
        for address in [&mut self.local, &mut self.remote] {
            if let Address::Ip(addr) = address
                && let IpAddr::V4(v4) = addr.ip()
            {
                addr.set_ip(v4.to_ipv6_mapped().into());
            }
        }
    }
}
