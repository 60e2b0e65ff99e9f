//! The output of one connection: buffers in order, gathered for vectored writes.
//!
//! It holds whatever it is given; how much that may be is the business of the quota cell, which counts the same bytes
//! before they come here. So that many small messages to a slow peer take the memory of their bytes and not of their
//! buffers, and leave in few writes, they are copied together as soon as several wait.
//!
//! The first buffer stands in place; what comes behind it is in a queue that is borrowed while it is needed. So an idle
//! connection holds no memory for its output, and one that answers message by message never asks for any.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::iter;

use crate::memory::buffer::{Buffer, SharedBuffer};
use crate::memory::free_list::FreeList;

/// Slices in one vectored write.
pub(crate) const MAX_IOVECS: usize = 64;
/// This many buffers wait before small ones are copied together: replies that leave at once are never copied.
const SEPARATE: usize = 8;
/// What is copied into the buffer before it, and how long that buffer gets, in bytes.
const SMALL: usize = 512;
const BLOCK: usize = 4096;
/// A queue with room for more buffers is not kept for reuse.
const KEEP: usize = 64;

/// Bytes of one write that have not left.
#[derive(Debug)]
enum Chunk {
    Owned(Buffer),
    /// The first bytes have left: their number.
    Shared(SharedBuffer, u32),
}

impl Chunk {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(data) => data,
            Self::Shared(data, sent) => &data[*sent as usize..],
        }
    }

    #[inline]
    fn advance(&mut self, bytes: usize) {
        match self {
            Self::Owned(data) => data.advance(bytes),
            Self::Shared(_, sent) => *sent += bytes as u32, // a write has less than 2^29 bytes
        }
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Owned(Buffer::new())
    }
}

type Queue = Box<VecDeque<Chunk>>;

static QUEUES: FreeList<Queue> = FreeList::new(64);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Empty if there is nothing to send.
    first: Chunk,
    /// Not empty, if there is one.
    behind: Option<Queue>,
    length: usize,
}

impl Output {
    /// Bytes to send.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds behind everything else. An empty buffer adds nothing.
    #[inline]
    pub(crate) fn push(&mut self, data: Buffer) {
        if data.is_empty() {
            return;
        }
        let is_first = self.length == 0;
        self.length += data.len();
        match &mut self.first {
            // A chunk is assigned here without looking whether it has to be dropped, on the way of every message.
            // Without the drop of a chunk of any kind.
            Chunk::Owned(first) if is_first => *first = data,
            first if is_first => *first = Chunk::Owned(data),
            _ => self.push_behind(data),
        }
    }

    /// Adds bytes that other connections send as well. They are not copied.
    pub(crate) fn push_shared(&mut self, data: SharedBuffer) {
        if data.is_empty() {
            return;
        }
        let is_first = self.length == 0;
        self.length += data.len();
        let chunk = Chunk::Shared(data, 0);
        if is_first {
            self.first = chunk;
        } else {
            self.behind().push_back(chunk);
        }
    }

    fn behind(&mut self) -> &mut Queue {
        self.behind
            .get_or_insert_with(|| QUEUES.take().unwrap_or_default())
    }

    fn push_behind(&mut self, mut data: Buffer) {
        let behind = self.behind();
        // A copy pays only when the buffers wait: replies that leave at once are written as they are.
        if behind.len() + 1 >= SEPARATE
            && data.len() <= SMALL
            && let Some(Chunk::Owned(last)) = behind.back_mut()
            && last.len() + data.len() <= BLOCK
            // Credit of another connection could not be given back with these bytes.
            && last.shares_creditor(&data)
        {
            // The copy frees the small buffer for the next message, and one slice of the write covers several messages.
            last.extend_from_slice(&data);
            last.absorb_credit(&mut data);
        } else {
            behind.push_back(Chunk::Owned(data));
        }
    }

    /// Calls `write` with as many of the first bytes as fit in one vectored write and in `limit`.
    #[inline]
    pub(crate) fn with_slices<R>(
        &self,
        limit: usize,
        write: impl FnOnce(&[IoSlice<'_>]) -> R,
    ) -> R {
        match &self.behind {
            None => {
                let first = self.first.bytes();
                write(&[IoSlice::new(&first[..first.len().min(limit)])])
            }
            Some(behind) => {
                with_gathered(iter::once(&self.first).chain(behind.iter()), limit, write)
            }
        }
    }

    /// The first `bytes` are gone; their buffers go back to their pools.
    #[inline]
    pub(crate) fn advance(&mut self, bytes: usize) {
        // The usual case: one buffer, and all of it has left.
        if bytes == self.length
            && self.behind.is_none()
            && let Chunk::Owned(data) = &mut self.first
        {
            self.length = 0;
            *data = Buffer::new();
            return;
        }
        self.advance_through(bytes);
    }

    fn advance_through(&mut self, mut bytes: usize) {
        self.length -= bytes;
        while bytes >= self.first.bytes().len() && !self.first.bytes().is_empty() {
            bytes -= self.first.bytes().len();
            self.first = self
                .behind
                .as_mut()
                .and_then(|behind| behind.pop_front())
                .unwrap_or_default();
            if let Some(behind) = self.behind.take_if(|behind| behind.is_empty())
                // A queue that a burst has made long keeps more memory than another connection would use.
                && behind.capacity() <= KEEP
            {
                QUEUES.put(behind);
            }
        }
        if bytes > 0 {
            self.first.advance(bytes);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn with_gathered<'a, R>(
    chunks: impl Iterator<Item = &'a Chunk>,
    limit: usize,
    write: impl FnOnce(&[IoSlice<'_>]) -> R,
) -> R {
    let mut slices = [IoSlice::new(&[]); MAX_IOVECS];
    let mut left = limit;
    let mut count = 0;
    for (slice, chunk) in slices.iter_mut().zip(chunks) {
        let bytes = chunk.bytes();
        // `limit` bounds what TLS encrypts at once.
        if left == 0 {
            break;
        }
        let take = bytes.len().min(left);
        *slice = IoSlice::new(&bytes[..take]);
        left -= take;
        count += 1;
    }
    write(&slices[..count])
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Chunk {
        fn capacity(&self) -> usize {
            match self {
                Self::Owned(data) => data.capacity(),
                Self::Shared(..) => 0,
            }
        }
    }

    #[test]
    fn shared_bytes_keep_their_place_and_are_not_copied() {
        let shared = Buffer::from("shared").freeze();
        let mut output = Output::default();
        output.push_shared(shared.clone());
        output.push(Buffer::from("own"));
        output.push_shared(shared.clone());
        assert_eq!(gathered(&output, usize::MAX), b"sharedownshared");
        output.advance(3);
        assert_eq!(gathered(&output, usize::MAX), b"redownshared");
        output.advance(8);
        assert_eq!(gathered(&output, usize::MAX), b"ared");
        output.advance(4);
        assert!(output.is_empty());
        assert_eq!(&shared[..], b"shared");
    }

    fn gathered(output: &Output, limit: usize) -> Vec<u8> {
        output.with_slices(limit, |slices| {
            slices.iter().flat_map(|slice| slice.to_vec()).collect()
        })
    }

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut output = Output::default();
        for text in ["abc", "", "defg", "h"] {
            output.push(Buffer::from(text));
        }
        assert_eq!(output.len(), 8);
        assert_eq!(gathered(&output, 5), b"abcde");
        output.advance(4);
        assert_eq!(gathered(&output, usize::MAX), b"efgh");
        output.advance(4);
        assert!(output.is_empty());
        assert_eq!(gathered(&output, usize::MAX), b"");
    }

    #[test]
    fn empty_output_holds_no_memory() {
        let mut output = Output::default();
        for round in 0..10 {
            (0..=round).for_each(|_| output.push(Buffer::from("some bytes")));
            assert_eq!(output.behind.is_some(), round > 0);
            output.advance(output.len());
            assert!(output.first.capacity() == 0 && output.behind.is_none());
        }
        assert!(size_of::<Output>() <= 32);
    }

    #[test]
    fn one_write_gathers_at_most_its_slices() {
        let mut output = Output::default();
        let large = Buffer::from(vec![b'x'; BLOCK]);
        for _ in 0..MAX_IOVECS + 10 {
            output.push(large.clone());
        }
        assert_eq!(gathered(&output, usize::MAX).len(), MAX_IOVECS * BLOCK);
    }

    #[test]
    fn many_small_messages_take_the_memory_of_their_bytes() {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for number in 0..100_000_u32 {
            let text = number.to_string();
            expected.extend_from_slice(text.as_bytes());
            output.push(Buffer::from(text));
        }
        let buffers =
            iter::once(&output.first).chain(output.behind.iter().flat_map(|behind| behind.iter()));
        let capacity: usize = buffers.map(Chunk::capacity).sum();
        assert!(
            capacity <= 2 * expected.len() + BLOCK,
            "{capacity} bytes for {}",
            expected.len()
        );
        let mut sent = Vec::new();
        while !output.is_empty() {
            let some = gathered(&output, 70_000);
            output.advance(some.len());
            sent.extend(some);
        }
        assert_eq!(sent, expected);
    }
}
