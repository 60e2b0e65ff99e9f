//! The main lane of a mailbox: one envelope in place, more in chunks.
//!
//! ```text
//!  slot ──▶ tail ──▶ full chunks ──▶ batch ──▶ take
//! ```
//!
//! - The first envelope of an empty lane needs no memory of its own. So a process that gets one message at a time
//!   allocates nothing, and an idle one holds nothing.
//! - Further ones fill chunks. Growing never moves an envelope, and the consumer takes a chunk at once.
//! - What a burst needed is kept for the next burst of any process: [`FreeList`].
//!
//! Not synchronized: the lock of the mailbox is around it.

use std::collections::VecDeque;

use crate::memory::free_list::FreeList;
use crate::process::envelope::Envelope;

/// Envelopes in a chunk of 4 KiB.
const CHUNK: usize = 128;
/// A burst with room for more full chunks is not kept.
const KEEP: usize = 64;

// At most 128 KiB of chunks are kept for the whole program.
static CHUNKS: FreeList<Envelopes> = FreeList::new(32);
/// Each keeps a chunk.
static BURSTS: FreeList<Box<Burst>> = FreeList::new(32);

type Envelopes = Box<[Option<Envelope>; CHUNK]>;

/// Up to [`CHUNK`] envelopes, filled from the front and then emptied from the front; without memory until the first.
#[derive(Debug, Default)]
pub(super) struct Block {
    slots: Option<Envelopes>,
    taken: u32,
    filled: u32,
}

impl Block {
    #[inline]
    pub(super) fn len(&self) -> usize {
        (self.filled - self.taken) as usize
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Envelope> {
        if self.taken == self.filled {
            return None;
        }
        let slot = self.slots.as_mut()?.get_mut(self.taken as usize)?;
        self.taken += 1;
        slot.take()
    }

    /// Takes out the first envelope that `wanted` accepts; the others keep their order.
    fn remove_first(&mut self, wanted: &impl Fn(&Envelope) -> bool) -> Option<Envelope> {
        let range = self.taken as usize..self.filled as usize;
        let queued = self.slots.as_mut()?.get_mut(range)?;
        let is_wanted = |slot: &Option<Envelope>| slot.as_ref().is_some_and(wanted);
        let at = queued.iter().position(is_wanted)?;
        // Those before it move one place back, so that their order stays.
        queued[..=at].rotate_right(1);
        self.pop_front()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Envelope> {
        let mut chunk = std::mem::take(self);
        std::iter::from_fn(move || chunk.pop_front())
    }

    fn is_full(&self) -> bool {
        self.filled as usize == CHUNK
    }

    fn has_room(&self) -> bool {
        self.slots.is_some()
    }

    /// The place for the next envelope of a chunk that is not full.
    #[inline]
    fn slot(&mut self) -> &mut Option<Envelope> {
        let slots = self.slots.get_or_insert_with(spare_envelopes);
        self.filled += 1;
        &mut slots[self.filled as usize - 1]
    }

    /// An empty chunk is filled from the front again.
    fn rewind(&mut self) {
        debug_assert_eq!(self.len(), 0);
        (self.taken, self.filled) = (0, 0);
    }

    /// Frees the memory of an empty chunk for reuse.
    #[inline]
    fn release(&mut self) {
        debug_assert_eq!(self.len(), 0);
        if let Some(slots) = std::mem::take(self).slots {
            CHUNKS.put(slots);
        }
    }
}

#[cold]
fn spare_envelopes() -> Envelopes {
    CHUNKS
        .take()
        .unwrap_or_else(|| Box::new([const { None }; CHUNK]))
}

/// See the module.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Lane {
    more: Option<Box<Burst>>,
    length: u32,
    /// How many envelopes the batch got when some were taken last.
    taken: u32,
    first: Option<Envelope>,
}

/// What comes behind the first envelope.
#[derive(Debug, Default)]
struct Burst {
    tail: Block,
    full: VecDeque<Block>,
}

impl Burst {
    #[cold]
    fn spare() -> Box<Self> {
        BURSTS.take().unwrap_or_default()
    }

    #[inline]
    fn slot(&mut self) -> &mut Option<Envelope> {
        if self.tail.is_full() {
            self.turn_over();
        }
        self.tail.slot()
    }

    #[cold]
    fn turn_over(&mut self) {
        self.full.push_back(std::mem::take(&mut self.tail));
    }

    fn remove_first(&mut self, wanted: &impl Fn(&Envelope) -> bool) -> Option<Envelope> {
        for at in 0..self.full.len() {
            let chunk = &mut self.full[at];
            if let Some(found) = chunk.remove_first(wanted) {
                // A chunk without envelopes would end a `take` with nothing, although others follow.
                if chunk.len() == 0 {
                    chunk.release();
                    self.full.remove(at);
                }
                return Some(found);
            }
        }
        let found = self.tail.remove_first(wanted)?;
        // Its front would never be filled again.
        if self.tail.len() == 0 {
            self.tail.rewind();
        }
        Some(found)
    }

    /// Fills the empty batch with the oldest chunk; the batch's memory is filled next.
    fn take(&mut self, batch: &mut Block) {
        batch.rewind();
        match self.full.pop_front() {
            // The batch gets the tail, and the tail the memory of the batch: nothing is allocated.
            None => std::mem::swap(batch, &mut self.tail),
            // A full chunk brings its memory, so that of the batch is not needed.
            Some(chunk) => std::mem::replace(batch, chunk).release(),
        }
    }
}

impl Lane {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.length as usize
    }

    /// Upper bound of the length. It counts the consumer's whole batch, although part of it may have been handled.
    #[inline]
    pub(super) fn len_at_most(&self) -> usize {
        self.length as usize + self.taken as usize
    }

    /// The place for the next envelope, which the caller constructs there. Taking the envelope by value would copy it
    /// through the stack.
    #[inline]
    pub(super) fn slot(&mut self) -> &mut Option<Envelope> {
        self.length += 1;
        if self.length == 1 {
            &mut self.first
        } else {
            self.more.get_or_insert_with(Burst::spare).slot()
        }
    }

    /// Takes the oldest envelope out. `batch`, which is empty, gets those that come next, a chunk of them at the most.
    #[inline]
    pub(super) fn take(&mut self, batch: &mut Block) -> Option<Envelope> {
        debug_assert_eq!(batch.len(), 0);
        // In the same hold of the lock: what lies in the batch is then taken without it.
        if let Some(more) = &mut self.more {
            more.take(batch);
        }
        self.taken = batch.len() as u32;
        self.length -= self.taken + u32::from(self.first.is_some());
        if self.first.is_some() {
            self.first.take()
        } else {
            batch.pop_front()
        }
    }

    /// Takes out the oldest envelope that `wanted` accepts; the others keep their order. For a lane
    /// that is emptied without a batch.
    #[cold]
    pub(super) fn remove_first(&mut self, wanted: impl Fn(&Envelope) -> bool) -> Option<Envelope> {
        let mut found = self.first.take_if(|envelope| wanted(envelope));
        if found.is_none() {
            found = self.more.as_mut()?.remove_first(&wanted);
        }
        self.length -= u32::from(found.is_some());
        found
    }

    pub(super) fn drain_into(&mut self, all: &mut Vec<Envelope>) {
        let Self { first, more, .. } = std::mem::take(self);
        all.extend(first);
        if let Some(Burst { mut tail, full }) = more.map(|more| *more) {
            full.into_iter()
                .for_each(|mut chunk| all.extend(chunk.drain()));
            all.extend(tail.drain());
        }
    }

    /// Frees the memory of an empty lane, and of the empty batch, for reuse.
    #[inline(always)]
    pub(super) fn release(&mut self, batch: &mut Block) {
        debug_assert_eq!(self.length, 0);
        self.taken = 0;
        if let Some(mut more) = self.more.take() {
            // The next burst fills the memory of the batch first.
            if !more.tail.has_room() {
                batch.rewind();
                std::mem::swap(&mut more.tail, batch);
            }
            if more.full.capacity() > KEEP {
                more.full = VecDeque::new();
            }
            BURSTS.put(more);
        }
        batch.release();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::id::Pid;
    use crate::message::Message;
    use crate::process::envelope::Payload;

    fn envelope(number: usize) -> Envelope {
        Envelope {
            from: Pid::NODE,
            payload: Payload::Message(Message::new(number).into()),
        }
    }

    fn number(envelope: Envelope) -> usize {
        let Payload::Message(message) = envelope.payload else {
            panic!("a message")
        };
        message.unpack().downcast().expect("a number")
    }

    /// Bursts of all sizes, taken in parts, against a queue: chunks are filled again after they were swapped, wrapped
    /// and kept by a free list.
    #[test]
    fn order_is_that_of_a_queue_whatever_the_bursts() {
        let (mut lane, mut batch, mut model) = (Lane::default(), Block::default(), VecDeque::new());
        let (mut random, mut pushed) = (0x9e37_79b9_7f4a_7c15_u64, 0);
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % below) as usize
        };
        for _ in 0..5_000 {
            for _ in 0..next(300) {
                *lane.slot() = Some(envelope(pushed));
                model.push_back(pushed);
                pushed += 1;
            }
            for _ in 0..next(300) {
                let found = batch.pop_front().or_else(|| {
                    if lane.len() > 0 {
                        lane.take(&mut batch)
                    } else {
                        None
                    }
                });
                assert_eq!(found.map(number), model.pop_front());
            }
            assert_eq!(lane.len() + batch.len(), model.len());
            assert!(lane.len_at_most() >= model.len());
            if model.is_empty() {
                lane.release(&mut batch);
            }
        }
        let mut rest: Vec<Envelope> = batch.drain().collect();
        lane.drain_into(&mut rest);
        assert!(rest.into_iter().map(number).eq(model));
    }

    #[test]
    fn each_value_is_dropped_once() {
        let value = std::sync::Arc::new(());
        let (mut lane, mut batch) = (Lane::default(), Block::default());
        for round in 1..200 {
            for _ in 0..round {
                let message = Message::new(std::sync::Arc::clone(&value));
                *lane.slot() = Some(Envelope {
                    from: Pid::NODE,
                    payload: Payload::Message(message.into()),
                });
            }
            assert_eq!(std::sync::Arc::strong_count(&value), 1 + round);
            while let Some(envelope) = batch.pop_front().or_else(|| {
                if lane.len() > 0 {
                    lane.take(&mut batch)
                } else {
                    None
                }
            }) {
                drop(envelope);
            }
            assert_eq!(std::sync::Arc::strong_count(&value), 1);
            lane.release(&mut batch);
        }
    }

    #[test]
    fn room_for_a_huge_burst_is_not_kept() {
        let (mut lane, mut batch) = (Lane::default(), Block::default());
        for number in 0..CHUNK * KEEP * 4 {
            *lane.slot() = Some(envelope(number));
        }
        while lane.len() > 0 {
            lane.take(&mut batch).expect("one of them");
            drop(batch.drain());
        }
        lane.release(&mut batch);
        for kept in std::iter::from_fn(|| BURSTS.take()) {
            assert!(
                kept.full.capacity() <= KEEP,
                "room for {} chunks",
                kept.full.capacity()
            );
        }
    }
}
