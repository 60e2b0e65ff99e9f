//! The simulated network: hosts, their sockets, and what is on its way between them.
//!
//! ```text
//!  write ─▶ pipe of one direction ─▶ segment (latency, size, bandwidth) ─▶ arrived ─▶ read
//!             ▲ room ◀──────────────── acknowledgment ◀───────────────────────┘
//! ```
//!
//! Everything that takes time is an event in one queue, ordered by its time and then by the order in which it was
//! scheduled. [`Net::advance`] handles the events that are due. Sockets answer as those of Linux do, readiness is
//! edge-triggered as epoll reports it, and what Linux leaves open (sizes, times, the order of datagrams) is drawn by
//! the random stream of the network.
//!
//! It does not simulate: congestion control, TIME_WAIT, multicast and broadcast delivery, urgent data, MTUs.

mod connect;
mod connection_faults;
mod datagram;
mod host;
mod jobs;
mod options;
mod pipe;
mod poll;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod transit;
mod unix;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::arena::{Arena, Key};
use super::random::{Generator, Stream};
use super::trace::Trace;
pub(crate) use connect::Asked;
use datagram::Datagrams;
use host::Host;
pub(crate) use host::HostId;
pub use options::{LinkOptions, NetOptions};
pub(crate) use poll::Interest;
use poll::Poll;
pub(crate) use socket::{DatagramSocket, Descriptor, Listener, Socket, StreamSocket};
use stream::Connection;
pub(crate) use stream::Side;

/// How long a host without an answer keeps a connection attempt waiting: the 127 s of Linux.
// tcp_syn_retries of tcp(7): six retries, which wait for 1, 2, 4 and so on up to 64 seconds.
const CONNECT_TIMEOUT_NS: u64 = 127_000_000_000;
/// A lost segment is sent again after this.
// TCP_RTO_MIN of Linux, below the second of RFC 6298, 2.4.
const RETRANSMIT_NS: u64 = 200_000_000;

/// The network of a world.
#[derive(Debug)]
pub(crate) struct Net {
    now_ns: u64,
    scheduled: u64,
    events: BinaryHeap<Reverse<Scheduled>>,
    random: Generator,
    options: NetOptions,
    hosts: Vec<Host>,
    connections: Arena<Connection>,
    listeners: Arena<connect::Listening>,
    datagrams: Arena<Datagrams>,
    polls: Vec<Poll>,
    // Ordered maps here and below. The order of a hash map differs from process to process, and a seed would not repeat
    // its run.
    names: BTreeMap<String, Vec<std::net::IpAddr>>,
    /// Links that differ from the options, the lower host first.
    links: BTreeMap<(HostId, HostId), LinkOptions>,
    /// How many cuts each link has that are not mended, if any.
    cut: BTreeMap<(HostId, HostId), usize>,
    /// What waits for a cut link.
    held: Vec<Event>,
    jobs: jobs::Jobs,
    /// Events that are on their way: those that are not a wait for their own sake.
    in_flight: usize,
    /// Connections in the order of their making, for faults and the trace.
    numbers: Vec<Key>,
    /// Bytes that each end of each connection has taken from its program.
    #[cfg(test)]
    written: Vec<[u64; 2]>,
    pub(crate) trace: Trace,
}

/// Something that happens at a time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scheduled {
    at_ns: u64,
    // Before the event in the derived order: events of one moment happen in the order in which they were scheduled, and
    // not by their kind.
    number: u64,
    event: Event,
}

/// What happens.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// An attempt reaches the host of its listener.
    Syn(Key, u32),
    /// The answer reaches the client.
    SynAck(Key),
    /// The handshake is complete at the server.
    Established(Key),
    /// The attempt fails at the client.
    ConnectFailed(Key, Failure),
    /// Bytes of that side arrive at the other one.
    Segment(Key, Side, usize),
    /// The end of that side's bytes arrives at the other one.
    Fin(Key, Side),
    /// The sender of that side learns that these bytes have arrived.
    Ack(Key, Side, usize),
    /// The sender of that side learns that there is room again.
    Window(Key, Side),
    /// A reset arrives at that side.
    Reset(Key, Side),
    /// A socket that took a part of a write takes more.
    Room(Key, Side),
    /// A datagram arrives.
    Datagram(Box<datagram::Flying>),
    /// A connected datagram socket learns that nothing listens at its peer.
    Unreachable(Key),
}

impl Event {
    /// Whether it comes because something was sent, and not because time has passed.
    fn is_on_its_way(&self) -> bool {
        !matches!(
            self,
            Self::ConnectFailed(_, Failure::TimedOut) | Self::Syn(_, 1..)
        )
    }
}

/// Why an attempt to connect fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    Refused,
    HostUnreachable,
    TimedOut,
}

/// Where a socket is bound or connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Ip(SocketAddr),
    /// A Unix socket; without a path one that is not bound.
    Path(Option<PathBuf>),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Path(Some(path)) => path.display().fmt(f),
            Self::Path(None) => f.write_str("(unnamed)"),
        }
    }
}

impl Net {
    pub(crate) fn new(seed: u64, options: NetOptions) -> Self {
        Self {
            now_ns: 0,
            scheduled: 0,
            events: BinaryHeap::new(),
            random: Generator::new(seed, Stream::Network),
            options,
            hosts: Vec::new(),
            connections: Arena::new(),
            listeners: Arena::new(),
            datagrams: Arena::new(),
            polls: Vec::new(),
            names: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: BTreeMap::new(),
            held: Vec::new(),
            numbers: Vec::new(),
            #[cfg(test)]
            written: Vec::new(),
            jobs: jobs::Jobs::default(),
            in_flight: 0,
            trace: Trace::new(),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The time of the next event.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.events.peek().map(|Reverse(next)| next.at_ns)
    }

    /// Whether anything is on its way.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight > 0 || self.jobs.is_busy()
    }

    /// Moves the time forward and handles what is due until then, in order.
    pub(crate) fn advance(&mut self, to_ns: u64) {
        while let Some(Reverse(next)) = self.events.peek()
            && next.at_ns <= to_ns
            && let Some(Reverse(next)) = self.events.pop()
        {
            // An event may have been scheduled for a time that is over. It happens now, because time does not go back.
            self.now_ns = self.now_ns.max(next.at_ns);
            // Before it is handled: an event that a cut link holds back is not on its way, and does not keep the world
            // from being idle.
            self.in_flight -= usize::from(next.event.is_on_its_way());
            self.handle(next.event);
        }
        self.now_ns = self.now_ns.max(to_ns);
    }

    fn schedule(&mut self, at_ns: u64, event: Event) {
        self.scheduled += 1;
        self.in_flight += usize::from(event.is_on_its_way());
        self.events.push(Reverse(Scheduled {
            at_ns,
            number: self.scheduled,
            event,
        }));
    }

    fn handle(&mut self, event: Event) {
        if self.must_wait(&event) {
            self.held.push(event);
            return;
        }
        match event {
            Event::Syn(key, attempt) => self.syn_arrived(key, attempt),
            Event::SynAck(key) => self.syn_ack_arrived(key),
            Event::Established(key) => self.established(key),
            Event::ConnectFailed(key, failure) => self.connect_failed(key, failure),
            Event::Segment(key, side, bytes) => self.segment_arrived(key, side, bytes),
            Event::Fin(key, side) => self.fin_arrived(key, side),
            Event::Ack(key, side, bytes) => self.ack_arrived(key, side, bytes),
            Event::Window(key, side) => self.transmit(key, side),
            Event::Reset(key, side) => self.reset_arrived(key, side),
            Event::Room(key, side) => self.room_again(key, side),
            Event::Datagram(flying) => self.datagram_arrived(*flying),
            Event::Unreachable(key) => self.port_unreachable(key),
        }
    }

    /// Whether the link that an event comes over is cut. TCP sends again until the link is whole, so its events wait;
    /// datagrams are lost when they are sent.
    fn must_wait(&self, event: &Event) -> bool {
        if self.cut.is_empty() {
            return false;
        }
        let key = match event {
            Event::Syn(key, _)
            | Event::SynAck(key)
            | Event::Established(key)
            | Event::Segment(key, ..)
            | Event::Fin(key, _)
            | Event::Ack(key, ..)
            | Event::Window(key, _)
            | Event::Reset(key, _) => *key,
            // These two are answers that travel over the link. A timeout is counted at the client, whatever the link
            // does.
            Event::ConnectFailed(key, Failure::Refused | Failure::HostUnreachable) => *key,
            _ => return false,
        };
        self.connections
            .get(key)
            .is_some_and(|connection| self.is_cut(connection.hosts[0], connection.hosts[1]))
    }

    // ---- Links ----

    fn pair(one: HostId, other: HostId) -> (HostId, HostId) {
        (one.min(other), one.max(other))
    }

    fn link(&self, one: HostId, other: HostId) -> &LinkOptions {
        if self.links.is_empty() {
            return &self.options.link;
        }
        let link = self.links.get(&Self::pair(one, other));
        link.unwrap_or(&self.options.link)
    }

    fn is_cut(&self, one: HostId, other: HostId) -> bool {
        self.cut.contains_key(&Self::pair(one, other))
    }

    /// Changes the link between two hosts.
    pub(crate) fn set_link(&mut self, one: HostId, other: HostId, link: LinkOptions) {
        self.links.insert(Self::pair(one, other), link);
    }

    /// Cuts the link between two hosts once more.
    pub(crate) fn cut_link(&mut self, one: HostId, other: HostId) {
        *self.cut.entry(Self::pair(one, other)).or_default() += 1;
    }

    /// Mends one cut of the link between two hosts. With the last one, what waited arrives after its latency.
    pub(crate) fn mend_link(&mut self, one: HostId, other: HostId) {
        let pair = Self::pair(one, other);
        match self.cut.get_mut(&pair) {
            None => return,
            Some(cuts) if *cuts > 1 => {
                *cuts -= 1;
                return;
            }
            Some(_) => self.cut.remove(&pair),
        };
        let at_ns = self.now_ns.saturating_add(self.latency(one, other));
        for event in std::mem::take(&mut self.held) {
            // In the order in which it arrived; what another cut concerns is held again.
            self.schedule(at_ns, event);
        }
    }

    /// A number for what a program draws from the system.
    #[cfg(feature = "nats")]
    pub(crate) fn draw(&mut self) -> u64 {
        self.random.next()
    }

    /// A latency of the link, drawn.
    fn latency(&mut self, one: HostId, other: HostId) -> u64 {
        let latency = &self.link(one, other).latency;
        let (low, high) = (nanos(*latency.start()), nanos(*latency.end()));
        self.random.between(low, high)
    }
}

/// Whole nanoseconds of a duration; saturates.
fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
