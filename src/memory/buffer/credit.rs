//! The credit of a received buffer: bytes that its connection counts as unhandled until the buffer is dropped.
//!
//! Only connections that ask for it attach credit; another buffer has none, and pays one look at a null pointer when it
//! is dropped. Each byte of credit is given back once:
//!
//! | Verb | The credit |
//! |---|---|
//! | drop, `into_vec`, `detach` | is given back |
//! | `take`, growing | moves with the bytes |
//! | `split_to`, `split_off` | is shared out, a byte of it for each byte of the part |
//! | `advance`, `truncate`, `clear` | stays until the buffer is dropped |
//! | `clone` | stays with the original |
//! | `freeze` | is given back with the last clone |
//!
//! What it does not do: it does not know what a connection does with the bytes that come back.

use std::fmt;
use std::sync::Arc;

use super::Buffer;

/// Who gets credit back. It is called on the thread that drops the buffer.
pub(crate) trait Creditor: Send + Sync {
    fn give_back(&self, bytes: u32);
}

/// See the module.
pub(super) struct Credit {
    creditor: Arc<dyn Creditor>,
    bytes: u32,
}

impl Credit {
    #[cold]
    pub(super) fn give_back(&self) {
        self.creditor.give_back(self.bytes);
    }
}

impl fmt::Debug for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credit")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Buffer {
    /// Has the creditor count the bytes until this buffer is dropped. It takes the place of an earlier credit, which is
    /// not given back.
    pub(crate) fn attach_credit(&mut self, creditor: Arc<dyn Creditor>) {
        let bytes = self.len() as u32; // a buffer holds no more
        if let Some(storage) = &mut self.0 {
            // Boxed, so that a buffer without credit has a null pointer of it and no more.
            storage.credit = Some(Box::new(Credit { creditor, bytes }));
        }
    }

    /// Lets the connection that the bytes came from count them as handled, although this buffer stays.
    ///
    /// A connection with [`TcpLimits::window_follows_buffers`](crate::TcpLimits::window_follows_buffers) reads only
    /// while the buffers that it has delivered and that are not dropped fit its window. What is kept for long is
    /// detached, so that the connection goes on. On any other buffer this does nothing.
    ///
    /// ```
    /// let mut kept = longshore::Buffer::from("kept in a store");
    /// kept.detach();
    /// assert_eq!(kept, "kept in a store");
    /// ```
    pub fn detach(&mut self) {
        if let Some(storage) = &mut self.0
            && let Some(credit) = storage.credit.take()
        {
            credit.give_back();
        }
    }

    /// Gives `part` the credit of as many bytes as it has.
    #[inline]
    pub(super) fn share_credit(&mut self, part: &mut Self) {
        if let Some(storage) = &self.0
            && storage.credit.is_some()
        {
            // Out of line: most buffers have no credit, and pay this look.
            self.share_some(part);
        }
    }

    #[cold]
    fn share_some(&mut self, part: &mut Self) {
        let most = part.len() as u32; // a buffer holds no more
        if let (Some(from), Some(to)) = (&mut self.0, &mut part.0)
            && let Some(credit) = &mut from.credit
        {
            // Bytes that were dropped from the front have left their credit behind, so there may be less than the part
            // has bytes.
            let bytes = credit.bytes.min(most);
            credit.bytes -= bytes;
            to.credit = Some(Box::new(Credit {
                creditor: Arc::clone(&credit.creditor),
                bytes,
            }));
        }
    }

    /// Takes all credit of `other` over. `other` has the same creditor, or one of the two has none.
    #[inline]
    pub(crate) fn absorb_credit(&mut self, other: &mut Self) {
        if let (Some(to), Some(from)) = (&mut self.0, &mut other.0)
            && let Some(credit) = from.credit.take()
        {
            match &mut to.credit {
                // Saturating: two buffers together may hold more than a u32 counts.
                Some(own) => own.bytes = own.bytes.saturating_add(credit.bytes),
                none => *none = Some(credit),
            }
        }
    }

    /// Whether the credit of both can be one.
    #[inline]
    pub(crate) fn shares_creditor(&self, other: &Self) -> bool {
        let creditor = |buffer: &Self| {
            let credit = buffer.0.as_ref()?.credit.as_ref()?;
            Some(Arc::as_ptr(&credit.creditor).cast::<()>())
        };
        match (creditor(self), creditor(other)) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Creditor for Count {
        fn give_back(&self, bytes: u32) {
            self.0.fetch_add(bytes, Relaxed);
        }
    }

    fn credited(text: &str) -> (Buffer, Arc<Count>) {
        let count = Arc::new(Count::default());
        let mut buffer = crate::BufferPool::new().copy_from_slice(text.as_bytes());
        buffer.attach_credit(Arc::clone(&count) as _);
        (buffer, count)
    }

    fn given(count: &Count) -> u32 {
        count.0.load(Relaxed)
    }

    #[test]
    fn parts_share_the_credit_and_each_byte_comes_back_once() {
        let (mut all, count) = credited("0123456789");
        let front = all.split_to(3);
        let back = all.split_off(5);
        drop(front);
        assert_eq!(given(&count), 3);
        drop(back);
        assert_eq!(given(&count), 5);
        assert_eq!(all, "34567");
        drop(all);
        assert_eq!(given(&count), 10);
    }

    #[test]
    fn credit_moves_with_the_bytes_and_a_clone_has_none() {
        let (mut buffer, count) = credited("abc");
        drop(buffer.clone());
        let mut taken = buffer.take();
        drop(buffer);
        taken.extend_from_slice(&[b'x'; 10_000]); // into other memory
        taken.advance(2);
        taken.truncate(1);
        assert_eq!(given(&count), 0);
        drop(taken);
        assert_eq!(given(&count), 3);
    }

    #[test]
    fn frozen_bytes_give_it_back_with_the_last_clone() {
        let (buffer, count) = credited("shared");
        let one = buffer.freeze();
        let other = one.clone();
        drop(one);
        assert_eq!(given(&count), 0);
        drop(other);
        assert_eq!(given(&count), 6);
    }

    #[test]
    fn detached_and_converted_buffers_give_it_back_at_once() {
        let (mut buffer, count) = credited("kept");
        buffer.detach();
        buffer.detach();
        assert_eq!(given(&count), 4);
        drop(buffer);
        assert_eq!(given(&count), 4);
        let (buffer, count) = credited("vector");
        assert_eq!(buffer.into_vec(), b"vector");
        assert_eq!(given(&count), 6);
        let count = Arc::new(Count::default());
        let mut own = Buffer::from("without a pool");
        own.attach_credit(Arc::clone(&count) as _);
        drop(own.into_vec());
        assert_eq!(given(&count), 14);
    }

    #[test]
    fn credit_of_one_creditor_adds_up_and_that_of_two_stays_apart() {
        let (mut one, count) = credited("one");
        let mut two = crate::BufferPool::new().copy_from_slice(b"two");
        two.attach_credit(Arc::clone(&count) as _);
        assert!(one.shares_creditor(&two) && one.shares_creditor(&Buffer::from("none")));
        one.absorb_credit(&mut two);
        drop(two);
        assert_eq!(given(&count), 0);
        drop(one);
        assert_eq!(given(&count), 6);
        assert!(!credited("a").0.shares_creditor(&credited("b").0));
    }
}
