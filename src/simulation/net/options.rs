//! What a link and the network of a simulation are like.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How a link between two hosts carries bytes and datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkOptions {
    /// Time from one host to the other, drawn anew for each segment and datagram. 50 to 500 µs by default.
    pub latency: RangeInclusive<Duration>,
    /// Bytes a second in each direction of each connection; `None`, the default, is without limit.
    pub bytes_per_second: Option<u64>,
    /// Bytes of a segment, drawn anew for each. 1 to 16,384 by default.
    pub segment: RangeInclusive<usize>,
    /// Datagrams of a million that are lost, and segments that are sent again after 200 ms. 0 by default.
    pub loss: u32,
    /// Datagrams of a million that arrive twice. 0 by default.
    pub duplicates: u32,
    /// Datagrams of a million that take ten times the longest latency more, so that later ones overtake them. 0 by
    /// default.
    pub reordering: u32,
    /// Writes of a million that the socket takes in part, although it has room for all. 0 by default.
    pub short_writes: u32,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(50)..=Duration::from_micros(500),
            bytes_per_second: None,
            segment: 1..=16_384,
            loss: 0,
            duplicates: 0,
            reordering: 0,
            short_writes: 0,
        }
    }
}

impl LinkOptions {
    /// A link without latency whose segments are as large as the buffers allow: the fastest to simulate.
    #[must_use]
    pub fn ideal() -> Self {
        Self::default()
            .with_latency(Duration::ZERO..=Duration::ZERO)
            .with_segment(1 << 20..=1 << 20)
    }

    /// Sets [`latency`](Self::latency).
    #[must_use]
    pub fn with_latency(mut self, latency: RangeInclusive<Duration>) -> Self {
        self.latency = latency;
        self
    }

    /// Sets [`bytes_per_second`](Self::bytes_per_second).
    #[must_use]
    pub fn with_bytes_per_second(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.bytes_per_second = bytes.into();
        self
    }

    /// Sets [`segment`](Self::segment). A lower end of 0 counts as 1.
    #[must_use]
    pub fn with_segment(mut self, bytes: RangeInclusive<usize>) -> Self {
        self.segment = bytes;
        self
    }

    /// Sets [`loss`](Self::loss).
    #[must_use]
    pub fn with_loss(mut self, per_million: u32) -> Self {
        self.loss = per_million;
        self
    }

    /// Sets [`duplicates`](Self::duplicates).
    #[must_use]
    pub fn with_duplicates(mut self, per_million: u32) -> Self {
        self.duplicates = per_million;
        self
    }

    /// Sets [`reordering`](Self::reordering).
    #[must_use]
    pub fn with_reordering(mut self, per_million: u32) -> Self {
        self.reordering = per_million;
        self
    }

    /// Sets [`short_writes`](Self::short_writes).
    #[must_use]
    pub fn with_short_writes(mut self, per_million: u32) -> Self {
        self.short_writes = per_million;
        self
    }
}

/// What the hosts of a simulated network are like.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetOptions {
    /// Every link, until [`NetControl::set_link`](crate::testing::NetControl::set_link) changes one.
    pub link: LinkOptions,
    /// Bytes that a socket takes before its peer has acknowledged them. 64 KiB by default.
    pub send_buffer: usize,
    /// Bytes that arrive before the program reads them. 64 KiB by default.
    pub receive_buffer: usize,
    /// Descriptors of each host. 100,000 by default.
    pub descriptors: usize,
    /// Ports that a host gives to connections and to sockets that ask for port 0. 32,768 to 60,999 by default.
    pub ephemeral_ports: RangeInclusive<u16>,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            link: LinkOptions::default(),
            send_buffer: 64 * 1024,
            receive_buffer: 64 * 1024,
            descriptors: 100_000,
            // `ip_local_port_range` of Linux, see ip(7).
            ephemeral_ports: 32_768..=60_999,
        }
    }
}

impl NetOptions {
    /// Sets [`link`](Self::link).
    #[must_use]
    pub fn with_link(mut self, link: LinkOptions) -> Self {
        self.link = link;
        self
    }

    /// Sets [`send_buffer`](Self::send_buffer) and [`receive_buffer`](Self::receive_buffer). 0 counts as 1.
    #[must_use]
    pub fn with_buffers(mut self, send: usize, receive: usize) -> Self {
        (self.send_buffer, self.receive_buffer) = (send.max(1), receive.max(1));
        self
    }

    /// Sets [`descriptors`](Self::descriptors).
    #[must_use]
    pub fn with_descriptors(mut self, descriptors: usize) -> Self {
        self.descriptors = descriptors;
        self
    }

    /// Sets [`ephemeral_ports`](Self::ephemeral_ports).
    #[must_use]
    pub fn with_ephemeral_ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ephemeral_ports = ports;
        self
    }
}
