//! The verb that ends a listener together with its connections.

use std::time::Duration;

use super::Context;
use crate::bridge::{Drain, SocketCommand};
use crate::error::SendErrorKind;
use crate::id::Alias;

/// # Drain
impl Context<'_> {
    /// Ends a listener in order: it takes in nothing new, its address is free, and its connections
    /// get until the deadline to come to their end.
    ///
    /// - Connections in the backlog are accepted first; later ones are refused by the system.
    /// - Each [`Session`](crate::Session) gets a call of
    ///   [`draining`](crate::Session::draining), which by default closes its connection as soon as
    ///   no input is left. The owner of another connection gets nothing: it is this process, or one
    ///   that this process can notify.
    /// - At the deadline the rest is closed with
    ///   [`DisconnectReason::Drain`](crate::DisconnectReason::Drain): what was written is sent,
    ///   within the close timeout.
    /// - When the last connection has ended, so does the listener, and this process gets one
    ///   [`MessageDrained`](crate::MessageDrained) with the counts. A connection that was handed
    ///   over or relayed counts as well.
    ///
    /// A second drain of a listener may move its deadline to an earlier time; the message goes to
    /// the process that asked first.
    ///
    /// # Errors
    ///
    /// The listener has ended. A connection or another meta-process takes no notice of a drain, and
    /// no message follows.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # use std::time::Duration;
    /// let server = cx.spawn_meta(TcpServer::bind("127.0.0.1:0")?)?;
    /// cx.drain(server, Duration::from_secs(30))?; // a `Message::Drained` follows
    /// # Ok(()) }) }
    /// ```
    pub fn drain(&mut self, listener: Alias, deadline: Duration) -> Result<(), SendErrorKind> {
        let by = self.pid();
        self.command(listener, SocketCommand::Drain(Drain { by, deadline }))
    }
}
