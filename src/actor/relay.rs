//! The verb that lets two connections feed each other.

use super::Context;
use crate::id::Alias;
use crate::message::RelayError;

/// # Relays
impl Context<'_> {
    /// Lets two connections of this process feed each other, without a message in between: what
    /// the peer of one sends goes to the peer of the other.
    ///
    /// What this process has not handled yet goes first: the input of a session that it has not
    /// taken, and the messages in the mailbox. Earlier writes leave before it. From the call on
    /// there is no framing, no further message of either connection but one
    /// [`Message::RelayEnd`](crate::Message::RelayEnd), and writes of any process are refused.
    /// Frames that wait in the mailbox pass as they were cut, so relay a connection that is
    /// [`Framing::Raw`](crate::Framing::Raw), or a session's.
    ///
    /// - A connection is read only while the output of the other is below its high mark.
    /// - Each direction ends by itself: the end of one peer becomes the end of our side to the
    ///   other (RFC 9293 section 3.6), and what comes back goes on.
    /// - The idle, write and close timeouts of each connection count as before; its frame timeout
    ///   and its keep-alive bytes are off.
    /// - When one connection fails, the other is reset if bytes are missing, so that its peer does
    ///   not take a part for the whole. When one is closed in order, so is the other.
    ///
    /// Either connection may use TLS. The process stays their parent: its end ends both.
    ///
    /// # Errors
    ///
    /// The process does not own both connections, or one is not established, has ended, or takes
    /// no more output. Nothing has changed then.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { connected(|cx, connection| {
    /// let refused = cx.relay(connection, connection);
    /// assert_eq!(refused, Err(longshore::RelayError::Same(connection)));
    /// # Ok(()) }) }
    /// ```
    pub fn relay(&mut self, first: Alias, second: Alias) -> Result<(), RelayError> {
        self.env().relay([first, second])
    }
}
