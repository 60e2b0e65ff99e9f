//! Readiness: what an event source may do without blocking.

use std::fmt;

/// What a source is ready for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness(u8);

impl Readiness {
    pub(crate) const READABLE: Self = Self(1);
    pub(crate) const WRITABLE: Self = Self(2);
    pub(crate) const READ_CLOSED: Self = Self(4);
    pub(crate) const WRITE_CLOSED: Self = Self(8);
    /// Set on calls that were requested, without an event of the poll.
    pub(crate) const AGAIN: Self = Self(16);
    /// There is an urgent byte in a TCP stream (RFC 9293 section 3.8.5). It is not among the data, and a read ends
    /// where it was.
    pub(crate) const URGENT: Self = Self(32);

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn with(self, other: Self, is_set: bool) -> Self {
        if is_set { Self(self.0 | other.0) } else { self }
    }

    /// Ready to be read, for [`TestNode::set_ready`](crate::testing::TestNode::set_ready).
    #[cfg(feature = "testing")]
    pub fn readable() -> Self {
        Self::READABLE
    }

    /// Ready to be written, for [`TestNode::set_ready`](crate::testing::TestNode::set_ready).
    #[cfg(feature = "testing")]
    pub fn writable() -> Self {
        Self::WRITABLE
    }

    /// The other side has ended its direction, for [`TestNode::set_ready`](crate::testing::TestNode::set_ready).
    #[cfg(feature = "testing")]
    pub fn read_closed() -> Self {
        Self::READ_CLOSED
    }

    /// Reading may succeed, or find the end or an error.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// fn ready(readiness: Readiness) {
    ///     if readiness.is_readable() {
    ///         // read until `WouldBlock`
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn is_readable(self) -> bool {
        // A read at the end of the stream does not block either: it returns the end, and only a read finds out about
        // it.
        self.0 & (Self::READABLE.0 | Self::READ_CLOSED.0) != 0
    }

    /// Writing may succeed, or find an error.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// fn ready(readiness: Readiness) {
    ///     if readiness.is_writable() {
    ///         // write what waits
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn is_writable(self) -> bool {
        // A write to a closed side does not block: it fails, and the error says why.
        self.0 & (Self::WRITABLE.0 | Self::WRITE_CLOSED.0) != 0
    }

    /// The other side will send no more; what it has sent can still be read.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// fn ready(readiness: Readiness) {
    ///     if readiness.is_read_closed() {
    ///         // the last bytes are there to be read
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn is_read_closed(self) -> bool {
        self.0 & Self::READ_CLOSED.0 != 0
    }

    /// Neither direction is open any more, or an error has come up: a hang-up, which the poll reports whatever is asked
    /// for.
    #[inline]
    pub(crate) fn is_hang_up(self) -> bool {
        self.0 & Self::WRITE_CLOSED.0 != 0
    }

    #[inline]
    pub(crate) fn is_urgent(self) -> bool {
        self.0 & Self::URGENT.0 != 0
    }

    /// This call was asked for with [`MetaContext::call_again`](crate::MetaContext::call_again).
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// fn ready(readiness: Readiness) {
    ///     if readiness.is_again() {
    ///         // nothing new: go on where the last call stopped
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn is_again(self) -> bool {
        self.0 & Self::AGAIN.0 != 0
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("readable", &self.is_readable())
            .field("writable", &self.is_writable())
            .field("read_closed", &self.is_read_closed())
            .field("again", &self.is_again())
            .finish()
    }
}
