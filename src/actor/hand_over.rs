//! The verb that gives a connection to another process.

use super::Context;
use crate::id::{Alias, Pid};
use crate::message::HandOverError;

/// # Hand-over
impl Context<'_> {
    /// Hands a live connection over to another process, with its order and the input that this
    /// process has not handled: nothing is lost, and nothing comes twice.
    ///
    /// The other process gets a [`MessageTcpConnect`](crate::MessageTcpConnect) whose
    /// `handed_over_by` is this process, then everything that was not handled here, and at the end
    /// the one Disconnect. From the call on it is the owner and the parent of the connection, and
    /// this process gets nothing more of it. What is there arrives once the input on its way to
    /// this process has come back, so this process must live until then; a session that hands its
    /// own connection over ends by itself at that time, with
    /// [`Reason::Normal`](crate::Reason::Normal).
    ///
    /// The framing stays, and the new owner may change it; a pause ends, because the new owner does
    /// not know of it. A session frames its input itself, so a connection of a session arrives
    /// unframed, from the first byte on that was not taken. If either process ends before the input
    /// is there, the connection is reset with
    /// [`DisconnectReason::OwnerGone`](crate::DisconnectReason::OwnerGone). If the connection fails
    /// just then by itself, what was not handled is discarded, and the other process gets the
    /// Disconnect without a Connect before it.
    ///
    /// # Errors
    ///
    /// This process does not own the connection, it is not established, has ended or is relayed, or
    /// the other process has ended, is this one, a [`Pool`](crate::Pool) or a session.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let worker = cx.spawn(|| Worker)?;
    /// cx.hand_over(connection, worker)?;
    /// assert!(cx.hand_over(connection, worker).is_err()); // it is not ours any more
    /// # Ok(()) }) }
    /// ```
    pub fn hand_over(&mut self, connection: Alias, to: Pid) -> Result<(), HandOverError> {
        self.env().hand_over(connection, to)
    }
}
