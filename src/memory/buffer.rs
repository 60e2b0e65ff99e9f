//! Bytes on their way through the node: one owned range of memory that goes back to its pool when it is dropped.
//!
//! ```text
//!            0        start            end          bytes.len()
//!  Storage   |  gone  |     the bytes   |     spare     |
//!                     '---- Deref ------'-- spare_mut --'
//! ```
//!
//! A [`Buffer`] is a single word, so that it travels inside a message, and an empty one owns no memory. Reading appends
//! at `end` ([`spare_mut`](Buffer::spare_mut), then [`grow`](Buffer::grow)), parsing drops bytes from the front
//! ([`advance`](Buffer::advance), [`split_to`](Buffer::split_to)). All memory up to `bytes.len()` is initialized, so no
//! step needs `unsafe`.
//!
//! What it does not do: bytes are never shared between two buffers (a clone is a copy), so a small message never keeps
//! a large block of memory alive. Bytes that many connections send are frozen into a [`SharedBuffer`].

mod convert;
mod credit;
mod pool;
mod shared;
mod verbs;

use std::sync::Arc;

use credit::Credit;
pub(crate) use credit::Creditor;
pub use pool::BufferPool;
use pool::SizeClasses;
pub use shared::SharedBuffer;

/// Owns a range of bytes, eight bytes in size itself.
///
/// It dereferences to `[u8]`. Memory that came from a [`BufferPool`] returns there when the buffer is dropped, on
/// whatever thread that happens. There is no way to hand memory to a pool by hand: nothing can be returned twice, or
/// shrunk, or by a stranger.
///
/// A buffer holds at most `u32::MAX` bytes; verbs that would make it longer panic.
///
/// ```
/// use longshore::Buffer;
///
/// let mut buffer = Buffer::from("GET /");
/// buffer.extend_from_slice(b"index");
/// assert_eq!(buffer, "GET /index");
/// buffer.advance(4);
/// assert_eq!(&buffer[..], b"/index");
/// ```
#[derive(Default)]
pub struct Buffer(Option<Box<Storage>>);

/// The memory behind a buffer. Invariant: `start <= end <= bytes.len() <= u32::MAX`.
struct Storage {
    bytes: Vec<u8>,
    start: u32,
    end: u32,
    home: Option<Arc<SizeClasses>>,
    /// What its connection counts until it is dropped.
    credit: Option<Box<Credit>>,
}

/// The smallest memory that a buffer without a pool asks for.
/// A first byte is seldom alone: below this size a buffer would be moved for the second.
const SMALLEST: usize = 64;

impl Storage {
    fn new(capacity: usize, home: Option<Arc<SizeClasses>>) -> Box<Self> {
        assert!(
            u32::try_from(capacity).is_ok(),
            "a buffer holds at most u32::MAX bytes, not {capacity}"
        );
        Box::new(Self {
            // Zeroed once, where the memory is made: reading into it needs no unsafe code, and its reuse clears
            // nothing.
            bytes: vec![0; capacity],
            start: 0,
            end: 0,
            home,
            credit: None,
        })
    }

    #[inline]
    fn filled(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    #[inline]
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    #[inline]
    fn spare_len(&self) -> usize {
        self.bytes.len() - self.end as usize
    }

    /// Gives back the credit of a buffer that is dropped, and its memory to the pool.
    #[inline(never)]
    fn free(mut self: Box<Self>) {
        // Taken out: memory that lies in a list counts for no connection.
        if let Some(credit) = self.credit.take() {
            credit.give_back();
        }
        // Taken out of the storage: one that lies in a list must not count as a buffer that is in use.
        if let Some(home) = self.home.take() {
            home.give(self);
        }
    }

    fn slide_to_front(&mut self) {
        self.bytes
            .copy_within(self.start as usize..self.end as usize, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

impl Buffer {
    /// Creates an empty buffer that owns no memory.
    ///
    /// ```
    /// let buffer = longshore::Buffer::new();
    /// assert!(buffer.is_empty());
    /// assert_eq!(buffer.capacity(), 0);
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Creates an empty buffer with room for `capacity` bytes that belongs to no pool.
    ///
    /// # Panics
    ///
    /// If `capacity` is beyond `u32::MAX`.
    ///
    /// ```
    /// let buffer = longshore::Buffer::with_capacity(100);
    /// assert_eq!((buffer.len(), buffer.capacity()), (0, 100));
    /// ```
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        if capacity == 0 {
            Self::new()
        } else {
            Self(Some(Storage::new(capacity, None)))
        }
    }

    /// Counts the bytes.
    ///
    /// ```
    /// assert_eq!(longshore::Buffer::from("four").len(), 4);
    /// ```
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |storage| storage.len())
    }

    /// Returns whether there are no bytes.
    ///
    /// ```
    /// assert!(longshore::Buffer::new().is_empty());
    /// ```
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says how many bytes the memory holds, used or not. Bytes dropped from the front still count.
    ///
    /// ```
    /// assert!(longshore::BufferPool::new().get(1000).capacity() >= 1000);
    /// ```
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |storage| storage.bytes.len())
    }

    /// Drops all bytes and keeps the memory.
    ///
    /// ```
    /// let mut buffer = longshore::Buffer::from("gone");
    /// buffer.clear();
    /// assert_eq!((buffer.len(), buffer.capacity()), (0, 4));
    /// ```
    #[inline]
    pub fn clear(&mut self) {
        if let Some(storage) = &mut self.0 {
            (storage.start, storage.end) = (0, 0);
        }
    }

    /// Keeps the first `len` bytes; does nothing if there are no more than that.
    ///
    /// ```
    /// let mut buffer = longshore::Buffer::from("hello");
    /// buffer.truncate(4);
    /// assert_eq!(buffer, "hell");
    /// ```
    pub fn truncate(&mut self, len: usize) {
        if let Some(storage) = &mut self.0
            && len < storage.len()
        {
            storage.end = storage.start + len as u32; // fits: it is below the length
        }
    }

    /// Drops `n` bytes from the front. Costs nothing: no byte moves.
    ///
    /// # Panics
    ///
    /// If the buffer has fewer than `n` bytes.
    ///
    /// ```
    /// let mut buffer = longshore::Buffer::from("head body");
    /// buffer.advance(5);
    /// assert_eq!(buffer, "body");
    /// ```
    #[inline]
    pub fn advance(&mut self, n: usize) {
        let len = self.len();
        assert!(
            n <= len,
            "cannot advance by {n}: the buffer has {len} bytes"
        );
        let Some(storage) = &mut self.0 else { return };
        if n == len {
            (storage.start, storage.end) = (0, 0); // the whole memory is spare again
        } else {
            storage.start += n as u32; // fits: it is below the length
        }
    }

    /// Takes the first `n` bytes away as a buffer of their own, from the same pool.
    ///
    /// They are copied, except when they are all bytes there are: then the memory itself moves, and `self` is left
    /// empty, without memory and without pool.
    ///
    /// # Panics
    ///
    /// If the buffer has fewer than `n` bytes.
    ///
    /// ```
    /// let mut buffer = longshore::Buffer::from("onetwo");
    /// let one = buffer.split_to(3);
    /// assert_eq!((one, buffer), ("one".into(), "two".into()));
    /// ```
    #[must_use = "the bytes are gone from the buffer"]
    pub fn split_to(&mut self, n: usize) -> Self {
        let len = self.len();
        assert!(n <= len, "cannot split at {n}: the buffer has {len} bytes");
        // All of them: the memory moves with its credit and its pool, and nothing is copied.
        if n == len {
            return std::mem::take(self);
        }
        let mut front = self.copy_of(&self[..n]);
        self.share_credit(&mut front);
        self.advance(n);
        front
    }

    /// Appends bytes. The memory at least doubles when it is too small, and stays in the pool it came from.
    ///
    /// # Panics
    ///
    /// If the result is longer than `u32::MAX` bytes.
    ///
    /// ```
    /// let mut buffer = longshore::Buffer::new();
    /// buffer.extend_from_slice(b"one ");
    /// buffer.extend_from_slice(b"two");
    /// assert_eq!(buffer, "one two");
    /// ```
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        if !bytes.is_empty() {
            self.spare_mut()[..bytes.len()].copy_from_slice(bytes);
            self.grow(bytes.len());
        }
    }

    /// Makes sure that [`spare_mut`](Self::spare_mut) has at least `additional` bytes.
    ///
    /// # Panics
    ///
    /// If the result could be longer than `u32::MAX` bytes.
    ///
    /// ```
    /// let mut buffer = longshore::Buffer::from("x");
    /// buffer.reserve(100);
    /// assert!(buffer.spare_mut().len() >= 100);
    /// ```
    #[inline]
    pub fn reserve(&mut self, additional: usize) {
        let spare = self.0.as_ref().map_or(0, |storage| storage.spare_len());
        if spare < additional {
            self.make_room(additional);
        }
    }

    /// Lends the free memory after the bytes, to read into; [`grow`](Self::grow) then makes a part of it bytes.
    ///
    /// It is initialized, but with what: memory from a pool still holds what an earlier owner wrote.
    ///
    /// ```
    /// use std::io::Read;
    ///
    /// let mut buffer = longshore::BufferPool::new().get(16);
    /// let n = (&b"from a socket"[..]).read(buffer.spare_mut())?;
    /// buffer.grow(n);
    /// assert_eq!(buffer, "from a socket");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn spare_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Some(storage) => &mut storage.bytes[storage.end as usize..],
            None => &mut [],
        }
    }

    /// Declares that the first `n` bytes of [`spare_mut`](Self::spare_mut) are filled: they now belong to the bytes.
    ///
    /// # Panics
    ///
    /// If there is less spare memory than `n`.
    ///
    /// ```
    /// let mut buffer = longshore::Buffer::with_capacity(4);
    /// buffer.spare_mut()[..2].copy_from_slice(b"ok");
    /// buffer.grow(2);
    /// assert_eq!(buffer, "ok");
    /// ```
    #[inline]
    pub fn grow(&mut self, n: usize) {
        let spare = self.0.as_ref().map_or(0, |storage| storage.spare_len());
        assert!(
            n <= spare,
            "cannot grow by {n}: the buffer has {spare} spare bytes"
        );
        if let Some(storage) = &mut self.0 {
            storage.end += n as u32; // fits: the spare does
        }
    }

    /// Turns the bytes into a vector.
    ///
    /// A buffer without pool gives its own memory. One with a pool gives a copy of exactly its bytes, and its memory
    /// goes back, so that a few bytes never hold a large block of the pool.
    ///
    /// ```
    /// assert_eq!(longshore::Buffer::from("abc").into_vec(), b"abc");
    /// ```
    #[must_use]
    pub fn into_vec(mut self) -> Vec<u8> {
        // The vector belongs to the program; the connection must not wait for it.
        self.detach();
        let Some(storage) = &mut self.0 else {
            return Vec::new();
        };
        // The memory goes back to its pool when the buffer is dropped behind this copy.
        if storage.home.is_some() {
            return storage.filled().to_vec();
        }
        storage.slide_to_front();
        let mut bytes = std::mem::take(&mut storage.bytes);
        bytes.truncate(storage.end as usize);
        self.0 = None; // its range no longer describes its bytes
        bytes
    }

    /// Copies `bytes` into a new buffer from the pool of this one.
    fn copy_of(&self, bytes: &[u8]) -> Self {
        let home = self.0.as_ref().and_then(|storage| storage.home.as_ref());
        let mut copy = match home {
            // Nothing is taken from the pool for no bytes, so that a clone of an empty buffer frees nothing later
            // either.
            _ if bytes.is_empty() => return Self::new(),
            Some(size_classes) => size_classes.take(bytes.len()),
            None => Self::with_capacity(bytes.len()),
        };
        copy.extend_from_slice(bytes);
        copy
    }

    /// The cold half of `reserve`. Sliding to the front is paid for by the bytes that were dropped there, growing by
    /// doubling, so that appending is constant time per byte in the long run.
    #[cold]
    fn make_room(&mut self, additional: usize) {
        let len = self.len();
        let needed = len
            .checked_add(additional)
            .expect("a buffer holds at most u32::MAX bytes");
        let Some(storage) = &mut self.0 else {
            *self = Self::with_capacity(needed.max(SMALLEST));
            return;
        };
        if needed <= storage.bytes.len() && len <= storage.start as usize {
            storage.slide_to_front();
            return;
        }
        let doubled = storage.bytes.len().saturating_mul(2).min(u32::MAX as usize);
        let mut larger = match &storage.home {
            Some(size_classes) => size_classes.take(needed.max(doubled)),
            None => Self::with_capacity(needed.max(doubled).max(SMALLEST)),
        };
        larger.extend_from_slice(self);
        // The credit moves with the bytes: the old memory is dropped here and must give nothing back.
        larger.absorb_credit(self);
        *self = larger;
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if let Some(storage) = self.0.take() {
            storage.free();
        }
    }
}

impl Clone for Buffer {
    /// Copies the bytes into memory from the same pool. The clone of an empty buffer owns no memory.
    fn clone(&self) -> Self {
        self.copy_of(self)
    }
}

#[cfg(test)]
mod tests;
