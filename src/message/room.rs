//! The message that says that a mailbox has room again.

use crate::id::Pid;

/// A mailbox has room again, or its process has ended: the answer to
/// [`Context::request_room`](crate::Context::request_room), once.
///
/// It reserves no room. Other senders may have been faster, and then the next send is refused again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageRoom {
    /// The process whose mailbox it is.
    pub process: Pid,
}

impl MessageRoom {
    pub(crate) fn new(process: Pid) -> Self {
        Self { process }
    }
}
