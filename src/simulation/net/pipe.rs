//! The bytes of one direction of a connection.
//!
//! ```text
//!  [ arrived | in flight | not sent ]
//!   read ◀──              ──▶ transmit
//! ```
//!
//! A byte counts against the send buffer of its end until it is acknowledged, and against the receive buffer of the
//! other end until it is read. The end of a direction is queued behind its last byte, sent, and then arrived.

use std::collections::VecDeque;

/// The bytes of one direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) bytes: VecDeque<u8>,
    pub(super) arrived: usize,
    pub(super) in_flight: usize,
    /// Bytes that count against the send buffer.
    pub(super) unacked: usize,
    pub(super) send_buffer: usize,
    pub(super) receive_buffer: usize,
    pub(super) fin: Fin,
    /// When the last segment arrives; the next one does not overtake it.
    pub(super) last_arrival_ns: u64,
    /// The sender waits for room at the receiver.
    pub(super) waits_for_window: bool,
    /// After this many more bytes the connection is reset.
    pub(super) reset_after: Option<usize>,
}

/// Where the end of a direction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fin {
    #[default]
    No,
    Queued,
    Sent,
    Arrived,
}

impl Pipe {
    pub(super) fn unsent(&self) -> usize {
        self.bytes.len() - self.arrived - self.in_flight
    }

    pub(super) fn window(&self) -> usize {
        self.receive_buffer
            .saturating_sub(self.arrived + self.in_flight)
    }

    /// Whether poll(2) says so: a third of the buffer is free, as in Linux.
    pub(super) fn is_writable(&self) -> bool {
        // Hysteresis: sk_stream_is_writeable() of Linux wakes a writer when a third is free, so that it does not run
        // for each segment.
        self.send_buffer - self.unacked.min(self.send_buffer) > self.unacked / 2
    }

    /// Nothing arrives before that time.
    pub(super) fn hold_until(&mut self, at_ns: u64) {
        self.last_arrival_ns = self.last_arrival_ns.max(at_ns);
    }

    /// Discards what has not arrived, the end included.
    pub(super) fn lose(&mut self) {
        self.bytes.truncate(self.arrived);
        (self.in_flight, self.unacked) = (0, 0);
        // An end that has arrived stays: the receiver has it in its hands, and a reset does not take it back.
        if self.fin != Fin::Arrived {
            self.fin = Fin::No;
        }
    }
}

/// Copies the first bytes of a queue.
pub(super) fn copy_front(from: &VecDeque<u8>, into: &mut [u8]) {
    let (first, second) = from.as_slices();
    let in_first = first.len().min(into.len());
    into[..in_first].copy_from_slice(&first[..in_first]);
    let rest = into.len() - in_first;
    into[in_first..].copy_from_slice(&second[..rest]);
}
