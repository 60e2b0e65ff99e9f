//! A buffer as other types see it: it dereferences to its bytes, is compared with every type that has
//! bytes and made of them, and is appended to as a collection and as a writer.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::{Deref, DerefMut};

use super::{Buffer, Storage};

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |storage| storage.filled())
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Some(storage) => &mut storage.bytes[storage.start as usize..storage.end as usize],
            None => &mut [],
        }
    }
}

impl AsRef<[u8]> for Buffer {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Borrow<[u8]> for Buffer {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    /// Writes the length and the first bytes, escaped: a log line never carries a whole payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 32;
        let shown = &self[..self.len().min(SHOWN)];
        let more = if self.len() > SHOWN { "…" } else { "" };
        write!(
            f,
            "Buffer({} bytes, b\"{}\"{more})",
            self.len(),
            shown.escape_ascii()
        )
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Buffer {}

impl Hash for Buffer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// Compares the bytes with another type that has bytes, in both directions.
macro_rules! equal_to {
    ($([$($parameters:tt)*] $other:ty),* $(,)?) => {$(
        impl<$($parameters)*> PartialEq<$other> for Buffer {
            fn eq(&self, other: &$other) -> bool {
                let other: &[u8] = other.as_ref();
                **self == *other
            }
        }

        impl<$($parameters)*> PartialEq<Buffer> for $other {
            fn eq(&self, other: &Buffer) -> bool {
                other == self
            }
        }
    )*};
}

equal_to!([] [u8], [] &[u8], [const N: usize] [u8; N], [const N: usize] &[u8; N], [] Vec<u8>, [] str, [] &str, [] String);

impl From<Vec<u8>> for Buffer {
    /// Takes the vector over without a copy. Panics beyond `u32::MAX` bytes.
    fn from(bytes: Vec<u8>) -> Self {
        // An empty buffer owns nothing, whatever the capacity of the vector was.
        if bytes.is_empty() {
            return Self::new();
        }
        let end = u32::try_from(bytes.len()).expect("a buffer holds at most u32::MAX bytes");
        Self(Some(Box::new(Storage {
            bytes,
            start: 0,
            end,
            home: None,
            credit: None,
        })))
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Buffer {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.to_vec())
    }
}

impl From<&str> for Buffer {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<String> for Buffer {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<Box<[u8]>> for Buffer {
    fn from(bytes: Box<[u8]>) -> Self {
        Self::from(bytes.into_vec())
    }
}

impl From<Buffer> for Vec<u8> {
    fn from(buffer: Buffer) -> Self {
        buffer.into_vec()
    }
}

impl Extend<u8> for Buffer {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        let bytes = bytes.into_iter();
        // The least that there will be; a wrong hint costs an allocation and no more.
        self.reserve(bytes.size_hint().0);
        for byte in bytes {
            self.extend_from_slice(&[byte]);
        }
    }
}

impl<'a> Extend<&'a u8> for Buffer {
    fn extend<I: IntoIterator<Item = &'a u8>>(&mut self, bytes: I) {
        self.extend(bytes.into_iter().copied());
    }
}

impl io::Write for Buffer {
    /// Appends all bytes; never fails.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
