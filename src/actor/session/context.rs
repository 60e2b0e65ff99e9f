//! What a session can do: everything that an actor can, and the verbs of its own connection without an alias.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::behavior::Note;
use super::cold::Upstream;
use super::input::Input;
use super::peer::Peer;
use crate::actor::Context;
use crate::bridge::{Framing, SocketCommand};
use crate::error::{DisconnectReason, Reason};
use crate::id::Alias;
use crate::message::{
    Flow, Message, RelayError, RelayFailure, StartTlsError, WriteData, WriteError,
};
use crate::process::ProcessContext;
use crate::tls::{StartTls, TlsInfo};

/// The session as its callbacks see it. It dereferences to [`Context`], so that every verb of an actor is here too. For
/// another connection, a verb that has a namesake here is called by its full name:
///
/// ```
/// use longshore::prelude::*;
///
/// fn hang_up(cx: &mut SessionContext<'_>, other: Alias) {
///     cx.write_to(other, "goodbye");
///     Context::close(cx, other).ok(); // it may have ended
/// }
/// ```
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
    /// The bytes come back when the output limit is reached, or when the connection is closing, has ended, or is not
    /// established.
    pub fn try_write(&mut self, data: impl Into<WriteData>) -> Result<Flow, WriteError> {
        match self.peer.alias {
            Some(alias) => self.cx.try_write(alias, data),
            None => Err(WriteError::closed(data.into())),
        }
    }

    /// Closes the connection after what was written. No more input is offered. A client connection that is not
    /// established, or not again, is given up at once.
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
    /// everything, the socket is empty, and no frame is incomplete; what was written is sent. An answer that this
    /// session waits for does not count as left.
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
        let own = self.peer.alias.ok_or(RelayError::NotEstablished(other))?;
        self.cx.relay(own, other)?;
        self.set_deadline(None);
        self.replace_upstream(None);
        Ok(())
    }

    /// Closes the session after this time with
    /// [`DisconnectReason::SessionTimeout`], unless it is set anew, or taken back by
    /// `None`. For what a peer must have done by then: log in, name its target, send the next request. A relay takes it
    /// back.
    ///
    /// There is one deadline; what has been written before it is over is sent.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::time::Duration;
    ///
    /// struct Login;
    ///
    /// impl Session for Login {
    ///     fn connected(
    ///         &mut self,
    ///         cx: &mut SessionContext<'_>,
    ///         _: &MessageTcpConnect,
    ///     ) -> Result<(), Reason> {
    ///         cx.set_deadline(Duration::from_secs(10));
    ///         Ok(())
    ///     }
    ///
    ///     fn received(
    ///         &mut self,
    ///         cx: &mut SessionContext<'_>,
    ///         input: &mut Buffer,
    ///     ) -> Result<(), Reason> {
    ///         if input.take() == "secret\n" {
    ///             cx.set_deadline(None); // it may stay
    ///             cx.write("welcome\n");
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Root(Option<TcpServer>);
    /// # impl Actor for Root {
    /// #     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    /// #         let server = self.0.take().expect("init runs once");
    /// #         cx.spawn_meta(server.serve(|| Login))?;
    /// #         Ok(())
    /// #     }
    /// # }
    /// # use std::io::{Read, Write};
    /// # let node = Node::start("example@localhost")?;
    /// # let server = TcpServer::bind("127.0.0.1:0")?;
    /// # let address = server.local_addr();
    /// # node.spawn(move || Root(Some(server)))?;
    /// # let mut client = std::net::TcpStream::connect(address)?;
    /// # client.write_all(b"secret\n")?;
    /// # let mut answer = [0; 8];
    /// # client.read_exact(&mut answer)?;
    /// # assert_eq!(&answer, b"welcome\n");
    /// # Ok(()) }
    /// ```
    pub fn set_deadline(&mut self, after: impl Into<Option<Duration>>) {
        if let Some(cold) = &mut self.peer.cold
            && let Some((earlier, _)) = cold.deadline.take()
        {
            self.cx.env().cancel_timer(earlier);
        }
        if let Some(after) = after.into() {
            let cold = self.peer.cold_mut();
            // Numbered, because the note of an earlier deadline may be in the mailbox already.
            cold.deadlines = cold.deadlines.wrapping_add(1);
            let note = Message::new(Note::Deadline(cold.deadlines));
            cold.deadline = Some((self.cx.env().control_after(note, after), cold.deadlines));
        }
    }

    /// The timer of a deadline has fired. One that was taken back while the note was on its way means nothing.
    #[cold]
    pub(super) fn deadline_is_over(&mut self, number: u32) {
        if let Some(cold) = &mut self.peer.cold
            && cold.deadline.take_if(|(_, set)| *set == number).is_some()
        {
            self.close_for(DisconnectReason::SessionTimeout);
        }
    }

    /// Waits for the connection that this session is to be relayed to, or reports why there is none.
    pub(crate) fn await_upstream(&mut self, started: Result<Alias, RelayFailure>) {
        // What the peer sends from here on is for the upstream.
        self.pause();
        let upstream = match started {
            Ok(alias) => Upstream::Connecting(alias),
            Err(failure) => {
                // By way of the mailbox: the callback that has asked must return before `relay_failed` is called.
                let note = Message::new(Note::UpstreamFailed);
                self.cx.env().control_after(note, Duration::ZERO);
                Upstream::Failed(Box::new(failure))
            }
        };
        self.peer.cold_mut();
        self.replace_upstream(Some(upstream));
    }

    /// Sets where the session is to be relayed to, in the place of an earlier attempt.
    fn replace_upstream(&mut self, upstream: Option<Upstream>) {
        let Some(cold) = &mut self.peer.cold else {
            return;
        };
        if let Some(Upstream::Connecting(earlier)) = std::mem::replace(&mut cold.upstream, upstream)
        {
            self.give_up(earlier);
        }
    }

    /// Whether the connection is still the session's, which may have handed it over.
    pub(super) fn owns_connection(&mut self) -> bool {
        let own = self.peer.alias;
        own.is_some_and(|own| self.cx.env().owns(own))
    }

    /// Whether a connection to relay to is being made.
    pub(super) fn has_upstream(&self) -> bool {
        let cold = self.peer.cold.as_ref();
        cold.is_some_and(|cold| cold.upstream.is_some())
    }

    /// Closes a connection that was made to relay to.
    pub(super) fn give_up(&mut self, upstream: Alias) {
        // Its Disconnect comes in any case; one that has just ended has nothing to be closed.
        self.peer.cold_mut().given_up.insert(upstream);
        let _ = self.cx.close(upstream);
    }

    /// Whether the session has closed its connection.
    pub(super) fn is_closing(&self) -> bool {
        self.peer.is_closing
    }

    /// Starts TLS on the connection; see [`Context::start_tls`]. The input that was not taken is given to TLS, up to
    /// the last byte, whatever the framing is. [`secured`](super::Session::secured) is called when the handshake is
    /// done; the framing stays.
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

    /// What the TLS handshake of the connection agreed on: `None` on a plain one, and before
    /// [`SessionContext::start_tls`] is done.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.peer.cold.as_ref()?.tls.as_deref()
    }

    fn command(&mut self, command: SocketCommand) {
        // An attempt can be closed as well, and with a reconnect policy it must: the next one would follow.
        if let Some(alias) = self.peer.own_or_awaited() {
            // A connection that has ended has nothing left to do; its Disconnect is on its way.
            let _ = self.cx.command(alias, command);
        }
    }

    /// Asks the connection whether its socket has input, which it answers when it has none.
    pub(super) fn ask_whether_empty(&mut self) {
        let asker = self.cx.pid();
        self.command(SocketCommand::ReportEmpty(asker));
    }

    /// Closes the connection for a reason that was found in its input.
    pub(super) fn close_for(&mut self, reason: DisconnectReason) {
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
