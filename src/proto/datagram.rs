//! One datagram socket as a machine without I/O: what becomes of each datagram, and of each error.
//!
//! ```text
//!            received, receive_failed
//!   socket ─────────────────────────────▶ Datagrams ──▶ owner, or dropped; counted either way
//!          ◀─────────────────────────────           ◀── push
//!                    transmit
//! ```
//!
//! A datagram that cannot be sent is an error of that datagram alone, and the next one is tried. On a connected socket
//! the operating system may answer a send with the fate of an earlier datagram (ICMP); then this one has not been sent,
//! and is tried again, once.
//!
//! Those that can leave together do, as a [`Batch`]. The socket takes or refuses it as a whole; one that it refuses is
//! tried again as single datagrams, so that each has its own error or none. A socket that turns out unable to cut gets
//! no other one.
//!
//! What it does not do: sockets, mailboxes, and bounding the output (the quota cell counts the same datagrams).

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

pub(crate) use self::batch::Batch;
use self::batch::{batch_len, with_batch};
use crate::error::OsError;
use crate::memory::buffer::{Buffer, BufferPool};
use crate::message::{LocalAddr, datagram_bytes};

mod batch;

/// After this many consecutive errors, receiving pauses until the next readiness event, so that a persistent error
/// cannot spin the loop.
const ERRORS_IN_A_ROW: u32 = 64;
/// What a socket answers to a batch that it cannot cut: EIO if the device computes no checksums, EINVAL if the way to
/// the peer, or the kernel, is not made for it. Every Linux has these numbers.
const CANNOT_CUT: [i32; 2] = [5, 22];

/// What happened on the socket, for inspection. Received is what was delivered and what was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DatagramCounters {
    /// Bytes of received datagrams, what was cut off included.
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    /// Received, and not taken by the owner.
    pub(crate) dropped: u64,
    pub(crate) truncated: u64,
    /// Errors of receiving, and those that the network reported later.
    pub(crate) receive_errors: u64,
    pub(crate) send_errors: u64,
}

impl std::iter::Sum for DatagramCounters {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            bytes_in: sum.bytes_in + one.bytes_in,
            bytes_out: sum.bytes_out + one.bytes_out,
            messages_in: sum.messages_in + one.messages_in,
            messages_out: sum.messages_out + one.messages_out,
            dropped: sum.dropped + one.dropped,
            truncated: sum.truncated + one.truncated,
            receive_errors: sum.receive_errors + one.receive_errors,
            send_errors: sum.send_errors + one.send_errors,
        })
    }
}

/// What receiving does after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterError {
    /// Goes on.
    Continue,
    /// Goes on, and the owner may want to know.
    Report(OsError),
    /// There is nothing now.
    Wait,
    /// It failed too often; the owner may want to know.
    ReportAndWait(OsError),
}

/// What one [`Datagrams::transmit`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransmitOutcome {
    /// Nothing waits.
    Idle,
    /// The socket takes no more now.
    Blocked,
    /// Nothing left; the same is tried again.
    Again,
    /// Nothing left: this is the fate of an earlier datagram. The same is tried again.
    DeferredError(OsError),
    /// One datagram left, or a batch; with the bytes that they counted against the output limit.
    Sent { counted: usize },
    /// A datagram cannot be sent and is gone.
    Failed {
        addr: SocketAddr,
        length: usize,
        error: OsError,
    },
}

/// A datagram that waits to be sent.
#[derive(Debug)]
struct Outgoing {
    addr: SocketAddr,
    data: Buffer,
    /// Where it leaves from, if its sender has said so.
    local: LocalAddr,
}

/// Whether the socket cuts batches into datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GsoSupport {
    /// As far as is known.
    Yes,
    /// A batch was refused by an error of [`CANNOT_CUT`]. If its first datagram leaves alone, it was for being a batch;
    /// if that fails too (to port 0, say), it was not.
    Doubted,
    No,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Datagrams {
    /// The longest datagram taken whole, in bytes.
    longest: usize,
    /// The socket is connected to one peer.
    is_connected: bool,
    output: VecDeque<Outgoing>,
    cutting: GsoSupport,
    /// This many of the first were refused as a batch, and leave one by one.
    send_singly: usize,
    /// The first of the output has met the error of an earlier datagram.
    take_deferred: bool,
    errors_in_a_row: u32,
    pub(crate) counters: DatagramCounters,
}

impl Datagrams {
    pub(crate) fn new(longest: usize, is_connected: bool, cuts_batches: bool) -> Self {
        Self {
            longest,
            is_connected,
            output: VecDeque::new(),
            cutting: if cuts_batches {
                GsoSupport::Yes
            } else {
                GsoSupport::No
            },
            send_singly: 0,
            take_deferred: false,
            errors_in_a_row: 0,
            counters: DatagramCounters::default(),
        }
    }

    // ---- Coming in ----

    /// Takes a datagram, empty ones too, as a buffer of its size from `pool`. `true`: it was longer, and is cut.
    pub(crate) fn received(&mut self, datagram: &[u8], pool: &BufferPool) -> (Buffer, bool) {
        let is_truncated = datagram.len() > self.longest;
        // A datagram shows that the socket works, whatever failed before.
        self.errors_in_a_row = 0;
        self.counters.messages_in += 1;
        self.counters.bytes_in += datagram.len() as u64;
        self.counters.truncated += u64::from(is_truncated);
        (
            pool.copy_from_slice(&datagram[..datagram.len().min(self.longest)]),
            is_truncated,
        )
    }

    /// The owner did not take what was received last.
    pub(crate) fn count_dropped(&mut self) {
        self.counters.dropped += 1;
    }

    /// Receiving failed.
    pub(crate) fn receive_failed(&mut self, error: OsError) -> AfterError {
        match error.kind() {
            ErrorKind::WouldBlock => {
                // An empty socket shows the same.
                self.errors_in_a_row = 0;
                return AfterError::Wait;
            }
            ErrorKind::Interrupted => return AfterError::Continue,
            _ => {}
        }
        self.counters.receive_errors += 1;
        self.errors_in_a_row += 1;
        if self.errors_in_a_row < ERRORS_IN_A_ROW {
            return AfterError::Report(error);
        }
        self.errors_in_a_row = 0;
        AfterError::ReportAndWait(error)
    }

    // ---- Going out ----

    /// Adds a datagram behind all others.
    #[inline]
    pub(crate) fn push(&mut self, addr: SocketAddr, data: Buffer, local: LocalAddr) {
        self.output.push_back(Outgoing { addr, data, local });
    }

    pub(crate) fn wants_transmit(&self) -> bool {
        !self.output.is_empty()
    }

    /// Gives the first datagram to `send`, or several that can leave together. Ask again until it is idle or blocked.
    pub(crate) fn transmit(
        &mut self,
        send: impl FnOnce(Batch<'_>) -> io::Result<usize>,
    ) -> TransmitOutcome {
        // Those of a batch that was refused leave one by one, so that each has its own error.
        let may_cut = self.cutting == GsoSupport::Yes && self.send_singly == 0;
        let count = if may_cut {
            batch_len(&self.output, self.is_connected)
        } else {
            1
        };
        match with_batch(&self.output, count, send) {
            None => TransmitOutcome::Idle,
            Some(Ok(_)) => self.sent(count),
            Some(Err(error)) => self.send_failed(count, &error),
        }
    }

    fn sent(&mut self, count: usize) -> TransmitOutcome {
        // The first of the batch has left alone, so it was the batch that the socket could not take.
        if self.cutting == GsoSupport::Doubted {
            self.cutting = GsoSupport::No;
        }
        let mut counted = 0;
        for _ in 0..count {
            let Some(Outgoing { data, .. }) = self.take_first() else {
                break;
            };
            self.counters.messages_out += 1;
            self.counters.bytes_out += data.len() as u64;
            counted += datagram_bytes(data.len());
        }
        TransmitOutcome::Sent { counted }
    }

    fn send_failed(&mut self, count: usize, error: &io::Error) -> TransmitOutcome {
        match error.kind() {
            ErrorKind::WouldBlock => TransmitOutcome::Blocked,
            ErrorKind::Interrupted => TransmitOutcome::Again,
            // Once for each datagram: a second error of this kind is taken for its own, or a peer that answers each
            // attempt would hold the queue.
            kind if self.is_connected && !self.take_deferred && is_reported_later(kind) => {
                self.take_deferred = true;
                self.counters.receive_errors += 1;
                TransmitOutcome::DeferredError(error.into())
            }
            _ if count > 1 => {
                self.send_singly = count;
                if error
                    .raw_os_error()
                    .is_some_and(|number| CANNOT_CUT.contains(&number))
                {
                    self.cutting = GsoSupport::Doubted;
                }
                TransmitOutcome::Again
            }
            _ => {
                // It fails alone too, which says nothing about batches.
                if self.cutting == GsoSupport::Doubted {
                    self.cutting = GsoSupport::Yes;
                }
                let Some(Outgoing { addr, data, .. }) = self.take_first() else {
                    return TransmitOutcome::Idle;
                };
                self.counters.send_errors += 1;
                TransmitOutcome::Failed {
                    addr,
                    length: data.len(),
                    error: error.into(),
                }
            }
        }
    }

    /// The first datagram has left or failed.
    fn take_first(&mut self) -> Option<Outgoing> {
        if cfg!(mutant) && self.take_deferred && self.output.len() > 1 {
            self.output.pop_front();
        }
        // The next datagram may meet an error of an earlier one again.
        self.take_deferred = false;
        self.send_singly = self.send_singly.saturating_sub(1);
        self.output.pop_front()
    }
}

/// Whether the network reports such an error, by ICMP, some time after a datagram was sent.
fn is_reported_later(error: ErrorKind) -> bool {
    matches!(
        error,
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    )
}

#[cfg(any(test, fuzzing))]
pub(crate) mod script;
#[cfg(test)]
mod tests;
