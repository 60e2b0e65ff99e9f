//! What a buffer does as std's collections and streams do: it is read and written, compared, collected, and takes
//! numbers.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::io;

use super::Buffer;

macro_rules! put_numbers {
    ($($name:ident, $type:ty, $bytes:ident, $order:literal;)*) => {$(
        #[doc = concat!("Appends a number of type `", stringify!($type), "`, ", $order, ".")]
        ///
        /// ```
        /// let mut buffer = longshore::Buffer::new();
        #[doc = concat!("buffer.", stringify!($name), "(7);")]
        #[doc = concat!("assert_eq!(buffer, 7_", stringify!($type), ".", stringify!($bytes), "());")]
        /// ```
        #[inline]
        pub fn $name(&mut self, number: $type) {
            self.extend_from_slice(&number.$bytes());
        }
    )*};
}

impl Buffer {
    /// Appends a variable-length number: seven bits in each byte, the least significant first; see
    /// [`Framing::varint`](crate::Framing::varint).
    ///
    /// ```
    /// let mut buffer = longshore::Buffer::new();
    /// buffer.put_varint(1);
    /// buffer.put_varint(u64::from(u32::MAX));
    /// assert_eq!(buffer, [0x01, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    /// ```
    pub fn put_varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.put_u8((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.put_u8(number as u8);
    }

    put_numbers! {
        put_u8, u8, to_be_bytes, "one byte";
        put_u16, u16, to_be_bytes, "the most significant byte first";
        put_u16_le, u16, to_le_bytes, "the least significant byte first";
        put_u32, u32, to_be_bytes, "the most significant byte first";
        put_u32_le, u32, to_le_bytes, "the least significant byte first";
        put_u64, u64, to_be_bytes, "the most significant byte first";
        put_u64_le, u64, to_le_bytes, "the least significant byte first";
    }

    /// Takes the bytes from the `at`th on off the end, into a buffer of the same pool.
    ///
    /// ```
    /// let mut line = longshore::Buffer::from("key=value");
    /// assert_eq!(line.split_off(3), "=value");
    /// assert_eq!(line, "key");
    /// ```
    ///
    /// # Panics
    ///
    /// `at` is greater than the length.
    #[must_use = "the bytes are gone from the buffer"]
    pub fn split_off(&mut self, at: usize) -> Self {
        let len = self.len();
        assert!(
            at <= len,
            "cannot split at {at}: the buffer has {len} bytes"
        );
        if at == 0 {
            // All of them: the memory moves with its pool and its credit, and nothing is copied.
            return std::mem::take(self);
        }
        let mut back = self.copy_of(&self[at..]);
        self.share_credit(&mut back);
        self.truncate(at);
        back
    }
}

/// Takes bytes off the front.
///
/// ```
/// use std::io::Read;
///
/// let mut buffer = longshore::Buffer::from("abc");
/// let mut two = [0; 2];
/// buffer.read_exact(&mut two).unwrap();
/// assert_eq!((&two, &buffer[..]), (b"ab", &b"c"[..]));
/// ```
impl io::Read for Buffer {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.len());
        bytes[..taken].copy_from_slice(&self[..taken]);
        self.advance(taken);
        Ok(taken)
    }
}

/// Appends text.
///
/// ```
/// use std::fmt::Write;
///
/// let mut buffer = longshore::Buffer::new();
/// write!(buffer, "{}-{}", 1, 2).unwrap();
/// assert_eq!(buffer, "1-2");
/// ```
impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl PartialOrd for Buffer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By the bytes, as slices are ordered.
impl Ord for Buffer {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl FromIterator<u8> for Buffer {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        let mut buffer = Self::new();
        buffer.extend(bytes);
        buffer
    }
}

impl<'a> FromIterator<&'a u8> for Buffer {
    fn from_iter<I: IntoIterator<Item = &'a u8>>(bytes: I) -> Self {
        bytes.into_iter().copied().collect()
    }
}

impl From<&String> for Buffer {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&Vec<u8>> for Buffer {
    fn from(bytes: &Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<Cow<'_, str>> for Buffer {
    fn from(text: Cow<'_, str>) -> Self {
        Self::from(text.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_off_gives_every_byte_to_one_of_the_two() {
        for at in 0..=5 {
            let mut front = Buffer::from("01234");
            front.advance(0);
            let back = front.split_off(at);
            assert_eq!((&front[..], &back[..]), "01234".as_bytes().split_at(at));
        }
        let mut pooled = crate::BufferPool::new().copy_from_slice(b"abcd");
        pooled.advance(1);
        assert_eq!(pooled.split_off(1), "cd");
        assert_eq!(pooled, "b");
    }

    #[test]
    fn buffers_are_ordered_as_their_bytes() {
        let mut buffers = ["b", "", "ab", "a"].map(Buffer::from);
        buffers.sort();
        assert_eq!(buffers, ["", "a", "ab", "b"]);
    }

    #[test]
    fn reading_takes_off_the_front_and_ends_in_order() {
        use std::io::Read;

        let mut buffer: Buffer = b"0123456789".iter().collect();
        let mut text = String::new();
        let mut four = Read::take(&mut buffer, 4);
        four.read_to_string(&mut text).expect("text");
        assert_eq!((text.as_str(), &buffer[..]), ("0123", &b"456789"[..]));
        buffer.read_to_string(&mut text).expect("text");
        assert_eq!((text.as_str(), buffer.is_empty()), ("0123456789", true));
    }
}
