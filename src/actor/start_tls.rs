//! The verb that starts TLS on a live plain connection.

use super::Context;
use crate::bridge::SocketCommand;
use crate::id::Alias;
use crate::message::{Message, StartTlsError};
use crate::tls::StartTls;

/// # TLS on a live connection
impl Context<'_> {
    /// Starts TLS on a plain connection of this process, as STARTTLS of SMTP (RFC 3207), IMAP (RFC
    /// 9051 section 6.2.1) and others ask for. Write the answer to the command first, then call
    /// this.
    ///
    /// From the call on nothing is plain text any more: earlier writes leave before the handshake,
    /// later ones wait for it, and what the peer has sent and this process has not handled is given
    /// to TLS. When the handshake is done there is one
    /// [`Message::TcpSecured`], and no second Connect. When it fails,
    /// or takes longer than [`TcpLimits::handshake_timeout`](crate::TcpLimits::handshake_timeout)
    /// from the time at which the earlier writes have left, the connection ends with a Disconnect
    /// that says so.
    ///
    /// Only a connection that is [`Framing::Raw`](crate::Framing::Raw), or a session's, knows the
    /// bytes behind the command. On one with another framing any byte behind it ends the
    /// connection with `Tls(plaintext behind STARTTLS)`: an attacker may have put it there
    /// (CVE-2011-0411). Of a message that this process has taken, the rest is its own: forget it.
    ///
    /// What the peer has said before is not authenticated. Ask it again (RFC 3207 section 4.2).
    ///
    /// # Errors
    ///
    /// The process does not own the connection, or it is not established, is closing, has ended, is
    /// relayed, or uses TLS. Nothing has changed then.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// use longshore::tls::{StartTls, TlsClientOptions};
    /// # fn main() { connected(|cx, connection| {
    /// let options = TlsClientOptions::default().with_insecure_skip_verify(true);
    /// let tls = StartTls::client("mail.example.com", options)?; // keep it for other connections
    /// cx.start_tls(connection, &tls)?;
    /// assert!(cx.start_tls(connection, &tls).is_err()); // once is enough
    /// # Ok(()) }) }
    /// ```
    pub fn start_tls(&mut self, connection: Alias, side: &StartTls) -> Result<(), StartTlsError> {
        let order = SocketCommand::StartTls(side.clone());
        self.env().start_tls(connection, Message::new(order))
    }
}
