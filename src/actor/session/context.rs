//! What a session can do: everything that an actor can, and the verbs of its own connection without an alias.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use super::behavior::Peer;
use super::input::Input;
use crate::actor::Context;
use crate::bridge::{Framing, SocketCommand};
use crate::error::Reason;
use crate::id::Alias;
use crate::message::{Flow, RelayError, StartTlsError, WriteData, WriteError};
use crate::process::ProcessContext;
use crate::tls::StartTls;

/// The session as its callbacks see it. It dereferences to [`Context`], so that every verb of an actor is here too.
pub struct SessionContext<'a> {
    cx: Context<'a>,
    peer: &'a mut Peer,
    input: &'a mut Input,
}

impl<'a> SessionContext<'a> {
    pub(super) fn new<'b: 'a>(
        env: &'a mut ProcessContext<'b>,
        peer: &'a mut Peer,
        input: &'a mut Input,
    ) -> Self {
        Self {
            cx: Context::new(env),
            peer,
            input,
        }
    }

    /// The connection. `None` before the first attempt of a client connection has succeeded.
    pub fn connection(&self) -> Option<Alias> {
        self.peer.alias
    }

    /// Writes to the connection; see [`Context::write`]. Before it is established, and after it has ended, this does
    /// nothing.
    pub fn write(&mut self, data: impl Into<WriteData>) {
        if let Some(alias) = self.peer.alias {
            self.cx.write(alias, data);
        }
    }

    /// Writes to the connection if there is room; see [`Context::try_write`]. [`Flow::AboveHigh`] promises a call of
    /// [`writable`](super::Session::writable).
    ///
    /// # Errors
    ///
    /// The bytes come back when as many wait as may, or when the connection is closing, has ended, or is not established.
    pub fn try_write(&mut self, data: impl Into<WriteData>) -> Result<Flow, WriteError> {
        match self.peer.alias {
            Some(alias) => self.cx.try_write(alias, data),
            None => Err(WriteError::closed(data.into())),
        }
    }

    /// Closes the connection after what was written. No more input is offered. A client connection that is not established
    /// closes as soon as it is, without a call of `connected`.
    pub fn close(&mut self) {
        // Set before the command, so that input which is in the mailbox already is not offered any more.
        self.peer.is_closing = true;
        self.command(SocketCommand::Close);
    }

    /// Ends the connection at once, by a reset.
    pub fn abort(&mut self) {
        self.peer.is_closing = true;
        self.command(SocketCommand::Abort);
    }

    /// Ends the sending side after what was written; input goes on.
    pub fn shutdown_write(&mut self) {
        self.command(SocketCommand::ShutdownWrite);
    }

    /// Offers no input until [`SessionContext::resume`]. The peer notices when the kernel's buffers are full.
    pub fn pause(&mut self) {
        self.peer.is_paused = true;
        self.command(SocketCommand::PauseReading);
    }

    /// Offers input again, first what was left.
    pub fn resume(&mut self) {
        // Only behind a pause: what is there already is not announced by another message of the connection.
        self.peer.wants_offer |= std::mem::take(&mut self.peer.is_paused);
        self.command(SocketCommand::ResumeReading);
    }

    /// Changes how the input becomes frames, from the first byte on that was not taken.
    ///
    /// # Errors
    ///
    /// The framing names a wrong option.
    pub fn set_framing(&mut self, framing: Framing) -> Result<(), Reason> {
        framing.validate()?;
        self.input.set_framing(framing);
        // Bytes that are there already may be a frame of the new framing.
        self.peer.wants_offer = true;
        Ok(())
    }

    /// Closes the connection as soon as nothing that the peer has sent is left, that is, when `received` has taken
    /// everything; what was written is sent. An answer that this session waits for does not count as left.
    pub fn close_when_idle(&mut self) {
        self.peer.closes_when_idle = true;
    }

    /// Asks for no call of `received` before `bytes` are there. It holds for one call.
    pub fn need(&mut self, bytes: usize) {
        self.input.need(bytes);
    }

    /// Lets the connection and another one of this session feed each other, the input that was not taken first; see
    /// [`Context::relay`]. [`relay_ended`](super::Session::relay_ended) is called when both have ended.
    ///
    /// # Errors
    ///
    /// This session does not own both connections, or one is not established, has ended, or takes no more output.
    pub fn relay_with(&mut self, other: Alias) -> Result<(), RelayError> {
        match self.peer.alias {
            Some(own) => self.cx.relay(own, other),
            None => Err(RelayError::NotEstablished(other)),
        }
    }

    /// Starts TLS on the connection; see [`Context::start_tls`]. The input that was not taken is given to TLS, up to the last
    /// byte, whatever the framing is. [`secured`](super::Session::secured) is called when the handshake is done; the framing
    /// stays.
    ///
    /// # Errors
    ///
    /// The connection is not established, is closing, has ended, is relayed, or uses TLS.
    pub fn start_tls(&mut self, side: &StartTls) -> Result<(), StartTlsError> {
        let own = self.peer.alias.ok_or(StartTlsError::NotEstablished)?;
        self.cx.start_tls(own, side)?;
        // A note at the low mark has gone the way of the input.
        self.peer.is_waiting = false;
        Ok(())
    }

    /// The peer's address. The unspecified address before the connection is established and for Unix domain sockets.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer.remote_addr.get()
    }

    /// Our end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.peer.local_addr.get()
    }

    fn command(&mut self, command: SocketCommand) {
        if let Some(alias) = self.peer.alias {
            // A connection that has ended has nothing left to do; its Disconnect is on its way.
            let _ = self.cx.command(alias, command);
        }
    }

    /// Closes the connection for a reason that was found in its input.
    pub(super) fn close_for(&mut self, reason: crate::error::DisconnectReason) {
        self.peer.is_closing = true;
        self.command(SocketCommand::CloseFor(reason));
    }
}

impl<'a> Deref for SessionContext<'a> {
    type Target = Context<'a>;

    fn deref(&self) -> &Context<'a> {
        &self.cx
    }
}

impl DerefMut for SessionContext<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.cx
    }
}

impl fmt::Debug for SessionContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionContext")
            .field("connection", &self.peer.alias)
            .finish_non_exhaustive()
    }
}
