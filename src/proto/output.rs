//! The output of one connection: buffers in order, gathered for vectored writes.
//!
//! It holds whatever it is given; how much that may be is the business of the outlet cell, which counts the same bytes
//! before they come here. So that many small messages to a slow peer take the memory of their bytes and not of their
//! buffers, and leave in few writes, they are copied together as soon as several wait.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::buffer::Buffer;

/// Slices in one vectored write.
pub(crate) const SLICES: usize = 64;
/// So many buffers wait before small ones are copied together: replies that leave at once are never copied.
const SEPARATE: usize = 8;
/// What is copied into the buffer before it, and how long that buffer gets, in bytes.
const SMALL: usize = 512;
const BLOCK: usize = 4096;
/// An empty queue keeps at most this much room.
const KEEP: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Output {
    buffers: VecDeque<Buffer>,
    length: usize,
}

impl Output {
    /// Bytes to send.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds behind everything else. An empty buffer adds nothing.
    pub(crate) fn push(&mut self, data: Buffer) {
        if data.is_empty() {
            return;
        }
        self.length += data.len();
        if self.buffers.len() >= SEPARATE
            && data.len() <= SMALL
            && let Some(last) = self.buffers.back_mut()
            && last.len() + data.len() <= BLOCK
        {
            last.extend_from_slice(&data);
        } else {
            self.buffers.push_back(data);
        }
    }

    /// Calls `write` with as many of the first bytes as fit in one vectored write and in `limit`.
    pub(crate) fn with_slices<R>(&self, limit: usize, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        if let [only] = self.buffers.as_slices().0
            && self.buffers.len() == 1
            && only.len() <= limit
        {
            return write(&[IoSlice::new(only)]);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut left = limit;
        let mut count = 0;
        for (slice, buffer) in slices.iter_mut().zip(&self.buffers) {
            if left == 0 {
                break;
            }
            let take = buffer.len().min(left);
            *slice = IoSlice::new(&buffer[..take]);
            left -= take;
            count += 1;
        }
        write(&slices[..count])
    }

    /// The first `bytes` are gone; their buffers go back to their pools.
    pub(crate) fn advance(&mut self, mut bytes: usize) {
        self.length -= bytes;
        while bytes > 0 {
            let Some(front) = self.buffers.front_mut() else { break };
            if bytes < front.len() {
                front.advance(bytes);
                break;
            }
            bytes -= front.len();
            self.buffers.pop_front();
        }
        if self.buffers.is_empty() && self.buffers.capacity() > KEEP {
            self.buffers = VecDeque::new();
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(output: &Output, limit: usize) -> Vec<u8> {
        output.with_slices(limit, |slices| slices.iter().flat_map(|slice| slice.to_vec()).collect())
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
    fn one_write_gathers_at_most_its_slices() {
        let mut output = Output::default();
        let large = Buffer::from(vec![b'x'; BLOCK]);
        for _ in 0..SLICES + 10 {
            output.push(large.clone());
        }
        assert_eq!(gathered(&output, usize::MAX).len(), SLICES * BLOCK);
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
        let capacity: usize = output.buffers.iter().map(Buffer::capacity).sum();
        assert!(capacity <= 2 * expected.len() + BLOCK, "{capacity} bytes for {}", expected.len());
        let mut sent = Vec::new();
        while !output.is_empty() {
            let some = gathered(&output, 70_000);
            output.advance(some.len());
            sent.extend(some);
        }
        assert_eq!(sent, expected);
    }
}
