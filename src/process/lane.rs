//! The main lane of a mailbox: one envelope in place, more in chunks.
//!
//! ```text
//!  push ──▶ tail ──▶ full chunks ──▶ first ──▶ take
//! ```
//!
//! - The first envelope of an empty lane needs no memory of its own. So a process that gets one message at a time
//!   allocates nothing, and an idle one holds nothing.
//! - Further ones fill chunks. Growing never moves an envelope, and the consumer takes a chunk at once.
//! - Chunks are used again: emptied ones wait in a shelf of the program, [`SHELF`] at the most.
//!
//! Not synchronised: the lock of the mailbox is around it.

use std::collections::VecDeque;
use std::sync::OnceLock;

use crossbeam_queue::ArrayQueue;

use crate::message::Envelope;

/// Envelopes in a chunk.
const CHUNK: usize = 128;
/// Empty chunks kept for the next in need: 64 of 9 KiB.
const SHELF: usize = 64;

fn shelf() -> &'static ArrayQueue<VecDeque<Envelope>> {
    static EMPTY: OnceLock<ArrayQueue<VecDeque<Envelope>>> = OnceLock::new();
    EMPTY.get_or_init(|| ArrayQueue::new(SHELF))
}

/// Up to [`CHUNK`] envelopes; without memory until the first.
#[derive(Debug, Default)]
pub(super) struct Chunk(VecDeque<Envelope>);

impl Chunk {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Envelope> {
        self.0.pop_front()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Envelope> {
        std::mem::take(&mut self.0).into_iter()
    }

    #[inline]
    fn push(&mut self, envelope: Envelope) {
        if self.0.capacity() == 0 {
            self.0 = shelf().pop().unwrap_or_else(|| VecDeque::with_capacity(CHUNK));
        }
        self.0.push_back(envelope);
    }

    /// Gives the memory of an empty chunk to the next in need.
    #[inline]
    pub(super) fn release(&mut self) {
        debug_assert!(self.0.is_empty());
        if self.0.capacity() != 0 {
            // A full shelf: the memory goes back to the allocator.
            let _ = shelf().push(std::mem::take(&mut self.0));
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lane {
    first: Option<Envelope>,
    full: Option<Box<VecDeque<Chunk>>>,
    tail: Chunk,
    length: usize,
}

impl Lane {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.length
    }

    #[inline]
    pub(super) fn push(&mut self, envelope: Envelope) {
        self.length += 1;
        if self.length == 1 {
            self.first = Some(envelope);
            return;
        }
        if self.tail.len() == CHUNK {
            let full = std::mem::take(&mut self.tail);
            self.full.get_or_insert_default().push_back(full);
        }
        self.tail.push(envelope);
    }

    /// Takes the oldest envelope out. `hand`, which is empty, gets those that come next, a chunk of them at the most.
    #[inline]
    pub(super) fn take(&mut self, hand: &mut Chunk) -> Option<Envelope> {
        debug_assert_eq!(hand.len(), 0);
        if self.length == 0 {
            return None;
        }
        let first = self.first.take();
        if self.length > usize::from(first.is_some()) {
            self.take_chunk(hand);
        }
        self.length -= hand.len() + usize::from(first.is_some());
        first.or_else(|| hand.pop_front())
    }

    fn take_chunk(&mut self, hand: &mut Chunk) {
        let Some(full) = &mut self.full else { return std::mem::swap(hand, &mut self.tail) };
        hand.release();
        if let Some(chunk) = full.pop_front() {
            *hand = chunk;
        }
        if full.is_empty() {
            self.full = None;
        }
    }

    pub(super) fn drain_into(&mut self, all: &mut Vec<Envelope>) {
        let Self { first, full, mut tail, .. } = std::mem::take(self);
        all.extend(first);
        for mut chunk in full.into_iter().flat_map(|full| *full) {
            all.extend(chunk.drain());
        }
        all.extend(tail.drain());
    }

    /// Gives the memory of an empty lane to the next in need.
    #[inline]
    pub(super) fn release(&mut self) {
        debug_assert_eq!(self.length, 0);
        self.tail.release();
    }
}
