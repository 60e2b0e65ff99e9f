//! What a stop puts behind everything that a mailbox or a stripe has got so far.

use std::fmt;
use std::sync::Arc;

/// Calls back when it is dropped: once everything before it has been handled, or when what it was given to has ended.
pub(crate) struct BarrierToken(pub(crate) Arc<dyn Fn() + Send + Sync>);

impl Drop for BarrierToken {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl fmt::Debug for BarrierToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BarrierToken")
    }
}
