//! Datagrams that leave together: the kernel is given all of their bytes at once and the size to cut them at (UDP
//! segmentation offload, GSO). On the wire they are what they would have been one by one.
//!
//! So they go to one peer from one address and have one size, but for the last, which may be shorter. It saves a walk
//! through the network stack for each datagram but the first.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;

use super::Outgoing;
use crate::message::LocalAddr;

/// Datagrams in a batch: every kernel that supports UDP segmentation takes this many.
pub(crate) const DATAGRAMS: usize = 64;
/// Bytes in a batch, the payload of the longest packet.
pub(super) const BYTES: usize = 65_507;
/// The longest datagram in a batch, in bytes: what fits into an Ethernet frame over IPv6. The kernel cuts into whole
/// packets only; a longer datagram must be able to leave in fragments.
pub(super) const LONGEST: usize = 1_452;

/// What one call of the socket sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) addr: SocketAddr,
    /// Where they leave from, if their sender has said so.
    pub(crate) local: &'a LocalAddr,
    /// One, or several of one size, of which the last may be shorter. None of several is empty.
    pub(crate) datagrams: &'a [IoSlice<'a>],
}

/// How many of the first datagrams can leave together. On a connected socket all have one peer, whatever their
/// addresses.
pub(super) fn batch_len(output: &VecDeque<Outgoing>, is_connected: bool) -> usize {
    let Some(first) = output.front() else {
        return 0;
    };
    let size = first.data.len();
    // The kernel takes an empty datagram for no batch, and a longer one must be able to leave in fragments.
    if size == 0 || size > LONGEST {
        return 1;
    }
    let mut count = 1;
    for Outgoing { addr, data, local } in output.iter().take(DATAGRAMS.min(BYTES / size)).skip(1) {
        // A connected socket sends everything to its peer, so addresses are not compared.
        let is_other_way = (*addr != first.addr && !is_connected) || *local != first.local;
        if is_other_way || data.is_empty() || data.len() > size {
            break;
        }
        count += 1;
        // Only the last of a batch may be shorter: the kernel cuts at one size.
        if data.len() < size {
            break;
        }
    }
    count
}

/// Calls `send` with the first `count` datagrams, one at least.
pub(super) fn with_batch<R>(
    output: &VecDeque<Outgoing>,
    count: usize,
    send: impl FnOnce(Batch<'_>) -> R,
) -> Option<R> {
    let Outgoing { addr, data, local } = output.front()?;
    // The usual case needs no array of slices.
    if count == 1 {
        return Some(send(Batch {
            addr: *addr,
            local,
            datagrams: &[IoSlice::new(data)],
        }));
    }
    let mut datagrams = [IoSlice::new(&[]); DATAGRAMS];
    for (slice, one) in datagrams.iter_mut().zip(output.iter().take(count)) {
        *slice = IoSlice::new(&one.data);
    }
    Some(send(Batch {
        addr: *addr,
        local,
        datagrams: &datagrams[..count],
    }))
}
