//! The main lane of a mailbox: one envelope in place, more in chunks.
//!
//! ```text
//!  push ──▶ tail ──▶ full chunks ──▶ first ──▶ take
//! ```
//!
//! - The first envelope of an empty lane needs no memory of its own. So a process that gets one message at a time
//!   allocates nothing, and an idle one holds nothing.
//! - Further ones fill chunks. Growing never moves an envelope, and the consumer takes a chunk at once.
//! - What a burst needed is used again, by whoever has the next burst: [`Shelf`].
//!
//! Not synchronised: the lock of the mailbox is around it.

use std::collections::VecDeque;

use crate::message::Envelope;
use crate::shelf::Shelf;

/// Envelopes in a chunk of 8 KiB.
const CHUNK: usize = 128;
/// A burst with room for more full chunks is not kept.
const KEEP: usize = 64;

static CHUNKS: Shelf<VecDeque<Envelope>> = Shelf::new(32);
/// Each keeps a chunk.
static BURSTS: Shelf<Box<Burst>> = Shelf::new(32);

/// Up to [`CHUNK`] envelopes; without memory until the first.
#[derive(Debug, Default)]
pub(super) struct Chunk(VecDeque<Envelope>);

impl Chunk {
    #[inline]
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

    fn has_room(&self) -> bool {
        self.0.capacity() != 0
    }

    #[inline]
    fn push(&mut self, envelope: Envelope) {
        if !self.has_room() {
            self.0 = spare_chunk();
        }
        self.0.push_back(envelope);
    }

    /// Gives the memory of an empty chunk to the next in need.
    #[inline]
    fn release(&mut self) {
        debug_assert!(self.0.is_empty());
        if self.has_room() {
            CHUNKS.put(std::mem::take(&mut self.0));
        }
    }
}

#[cold]
fn spare_chunk() -> VecDeque<Envelope> {
    CHUNKS.take().unwrap_or_else(|| VecDeque::with_capacity(CHUNK))
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lane {
    first: Option<Envelope>,
    more: Option<Box<Burst>>,
    length: u32,
    /// How many envelopes the hand got when some were taken last.
    taken: u32,
}

/// What comes behind the first envelope.
#[derive(Debug, Default)]
struct Burst {
    tail: Chunk,
    full: VecDeque<Chunk>,
}

impl Burst {
    #[cold]
    fn spare() -> Box<Self> {
        BURSTS.take().unwrap_or_default()
    }

    #[inline]
    fn push(&mut self, envelope: Envelope) {
        if self.tail.len() == CHUNK {
            self.full.push_back(std::mem::take(&mut self.tail));
        }
        self.tail.push(envelope);
    }

    /// Fills the empty hand with the oldest chunk; the hand's memory is filled next.
    fn take(&mut self, hand: &mut Chunk) {
        match self.full.pop_front() {
            None => std::mem::swap(hand, &mut self.tail),
            Some(chunk) => std::mem::replace(hand, chunk).release(),
        }
    }
}

impl Lane {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.length as usize
    }

    /// As many as there may be, those in the hand included: the hand only gets emptier.
    #[inline]
    pub(super) fn len_at_most(&self) -> usize {
        self.length as usize + self.taken as usize
    }

    #[inline]
    pub(super) fn push(&mut self, envelope: Envelope) {
        self.length += 1;
        if self.length == 1 {
            self.first = Some(envelope);
        } else {
            self.more.get_or_insert_with(Burst::spare).push(envelope);
        }
    }

    /// Takes the oldest envelope out. `hand`, which is empty, gets those that come next, a chunk of them at the most.
    #[inline]
    pub(super) fn take(&mut self, hand: &mut Chunk) -> Option<Envelope> {
        debug_assert_eq!(hand.len(), 0);
        if self.length == 0 {
            return None;
        }
        let first = self.first.take();
        if let Some(more) = &mut self.more {
            more.take(hand);
        }
        self.taken = hand.len() as u32;
        self.length -= self.taken + u32::from(first.is_some());
        first.or_else(|| hand.pop_front())
    }

    pub(super) fn drain_into(&mut self, all: &mut Vec<Envelope>) {
        let Self { first, more, .. } = std::mem::take(self);
        all.extend(first);
        if let Some(Burst { mut tail, full }) = more.map(|more| *more) {
            full.into_iter().for_each(|mut chunk| all.extend(chunk.drain()));
            all.extend(tail.drain());
        }
    }

    /// Gives the memory of an empty lane, and of the empty hand, to the next in need.
    #[inline]
    pub(super) fn release(&mut self, hand: &mut Chunk) {
        debug_assert_eq!(self.length, 0);
        self.taken = 0;
        if let Some(mut more) = self.more.take() {
            if !more.tail.has_room() {
                std::mem::swap(&mut more.tail, hand);
            }
            if more.full.capacity() > KEEP {
                more.full = VecDeque::new();
            }
            BURSTS.put(more);
        }
        hand.release();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::id::Pid;
    use crate::message::{Letter, Message};

    #[test]
    fn room_for_a_huge_burst_is_not_kept() {
        let (mut lane, mut hand) = (Lane::default(), Chunk::default());
        for number in 0..CHUNK * KEEP * 4 {
            lane.push(Envelope { from: Pid::NODE, letter: Letter::Message(Message::new(number)) });
        }
        while lane.take(&mut hand).is_some() {
            drop(hand.drain());
        }
        lane.release(&mut hand);
        for kept in std::iter::from_fn(|| BURSTS.take()) {
            assert!(kept.full.capacity() <= KEEP, "room for {} chunks", kept.full.capacity());
        }
    }
}
