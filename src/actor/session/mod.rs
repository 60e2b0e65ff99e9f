//! Sessions: one process for each connection.
//!
//! ```text
//!  accepted, with TLS after the handshake        data                     Disconnect
//!  ──────────────────────────────────────▶ connected ──▶ received … ──▶ disconnected ──▶ end
//!                                            │ Err: the connection closes after its output
//!                                            │ panic: the connection is reset behind its output
//! ```
//!
//! A session is an ordinary process. Its connection is its meta-process, and ends with it; the session ends after
//! `disconnected`, or with the process that started the listener.
//!
//! The bytes of the connection are gathered in an input that the session takes from at its own pace; see [`Session`]
//! and `input`. What a session does not do: it does not own other connections' input, unless it asks for it as an actor
//! does.

mod behavior;
mod cold;
mod context;
mod deadline;
mod input;
mod peer;

pub(crate) use behavior::{InputRules, SessionBehavior};
pub(crate) use cold::Awaited;
pub use context::SessionContext;

use crate::bridge::request::Reply;
use crate::error::{FrameError, Reason};
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::memory::buffer::Buffer;
use crate::message::{
    Message, MessageRelayEnd, MessageTcpConnect, MessageTcpDisconnect, MessageTcpReconnecting,
    MessageTcpSecured, RelayFailure,
};

/// A process that serves one connection.
///
/// A listener makes one for each connection with [`TcpServer::serve`](crate::TcpServer::serve), a client connection
/// with [`TcpConnection::serve`](crate::TcpConnection::serve). Callbacks run one at a time; one that returns `Err` or
/// panics ends this connection, after what it had written, and no other. After a panic the peer gets a reset, so that
/// it does not take a part for the whole.
///
/// ```
/// use longshore::prelude::*;
///
/// struct Upper;
///
/// impl Session for Upper {
///     fn received(
///         &mut self,
///         cx: &mut SessionContext<'_>,
///         input: &mut Buffer,
///     ) -> Result<(), Reason> {
///         input.make_ascii_uppercase();
///         cx.write(input.take());
///         Ok(())
///     }
/// }
/// ```
pub trait Session: Send + 'static {
    /// Called first, when the connection is established; with TLS, when its handshake is complete.
    ///
    /// # Errors
    ///
    /// An error ends the session and closes the connection.
    fn connected(
        &mut self,
        cx: &mut SessionContext<'_>,
        connect: &MessageTcpConnect,
    ) -> Result<(), Reason> {
        let _ = (cx, connect);
        Ok(())
    }

    /// Called when there is input.
    ///
    /// Without a framing, `input` has all bytes that are there. Take what you can use off its front, for instance with
    /// [`Buffer::split_to`] or [`Buffer::advance`]; what you leave is there next time, with more behind it. The call
    /// comes again at once while the last one took something, left something, and the output is not above its high
    /// mark: so code that handles one unit per call is enough. At most the input limit may be left (1 MiB by default),
    /// otherwise `malformed` is called and the connection closes with [`FrameError::TooLarge`].
    ///
    /// With a framing, `input` is one frame, and what is left of it is dropped. [`SessionContext::set_framing`] with
    /// [`Framing::Raw`](crate::Framing::Raw) ends that, from the first byte on that was not taken.
    ///
    /// # Errors
    ///
    /// An error ends the session; the connection closes after what was written.
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason>;

    /// Called when the peer's bytes are not a frame, or more than the input limit is left. What this writes is sent;
    /// then the connection closes with [`DisconnectReason::Frame`](crate::DisconnectReason::Frame).
    fn malformed(&mut self, cx: &mut SessionContext<'_>, error: &FrameError) {
        let _ = (cx, error);
    }

    /// Called when the output has fallen to its low mark, after it had been above the high one.
    ///
    /// # Errors
    ///
    /// An error ends the session; the connection closes after what was written.
    fn writable(&mut self, cx: &mut SessionContext<'_>) -> Result<(), Reason> {
        let _ = cx;
        Ok(())
    }

    /// Called when the handshake that [`SessionContext::start_tls`] began is done. What the peer said before it is not
    /// authenticated: forget it.
    ///
    /// # Errors
    ///
    /// An error ends the session; the connection closes after what was written.
    fn secured(
        &mut self,
        cx: &mut SessionContext<'_>,
        secured: &MessageTcpSecured,
    ) -> Result<(), Reason> {
        let _ = (cx, secured);
        Ok(())
    }

    /// Called when the peer has ended its side and everything that it had sent was offered to `received`. Closes the
    /// connection after its output by default.
    ///
    /// # Errors
    ///
    /// An error ends the session; the connection closes after what was written.
    fn peer_closed(&mut self, cx: &mut SessionContext<'_>) -> Result<(), Reason> {
        cx.close();
        Ok(())
    }

    /// Called once when the listener is drained (see [`Context::drain`](crate::Context::drain)) or the node begins to
    /// stop. At the deadline of either the connection is closed. Closes it by default as soon as no input is left, by
    /// [`SessionContext::close_when_idle`]. A session that answers later, when another process has answered it, waits
    /// for that first.
    ///
    /// # Errors
    ///
    /// An error ends the session; the connection closes after what was written.
    fn draining(&mut self, cx: &mut SessionContext<'_>) -> Result<(), Reason> {
        cx.close_when_idle();
        Ok(())
    }

    /// Called when a client connection with a [`ReconnectPolicy`](crate::ReconnectPolicy) is lost, or an attempt to
    /// make it has failed. The input that was not taken is gone. `connected` is called again when the next one is
    /// established, and `disconnected` when there is none.
    ///
    /// # Errors
    ///
    /// An error ends the session.
    fn reconnecting(
        &mut self,
        cx: &mut SessionContext<'_>,
        lost: &MessageTcpReconnecting,
    ) -> Result<(), Reason> {
        let _ = (cx, lost);
        Ok(())
    }

    /// Called last of all callbacks of the connection. The session ends after it.
    fn disconnected(&mut self, cx: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
        let _ = (cx, end);
    }

    /// Called when the connection that [`SessionContext::relay_to`] makes is established, right before the two feed
    /// each other: what this writes to the peer goes before the bytes of `upstream`. If it closes the session there is
    /// no relay.
    fn relay_begins(&mut self, cx: &mut SessionContext<'_>, upstream: &MessageTcpConnect) {
        let _ = (cx, upstream);
    }

    /// Called when that connection cannot be made, whatever the reason, instead of `relay_begins`; or behind it, if one
    /// of the two has ended just then. Closes the session by default. One that goes on calls
    /// [`SessionContext::relay_to`] again, or [`SessionContext::resume`].
    fn relay_failed(&mut self, cx: &mut SessionContext<'_>, failure: &RelayFailure) {
        let _ = failure;
        cx.close();
    }

    /// Called last of all callbacks of a connection that was relayed, instead of `disconnected`; see
    /// [`Context::relay`](crate::Context::relay). The session ends after it.
    fn relay_ended(&mut self, cx: &mut SessionContext<'_>, end: &MessageRelayEnd) {
        let _ = (cx, end);
    }

    /// Called for every message that is not of this connection.
    ///
    /// # Errors
    ///
    /// An error ends the session; the connection closes after what was written.
    fn handle_message(
        &mut self,
        cx: &mut SessionContext<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let _ = (cx, from, message);
        Ok(())
    }

    /// Called for each request. Dropping `reply` answers at once that there is no answer.
    ///
    /// # Errors
    ///
    /// An error ends the session; the connection closes after what was written.
    fn handle_call(
        &mut self,
        cx: &mut SessionContext<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        let _ = (cx, from, message, reply);
        Ok(())
    }

    /// What an inspection shows besides what the runtime knows.
    fn handle_inspect(&mut self, cx: &mut SessionContext<'_>) -> Inspection {
        let _ = cx;
        Inspection::default()
    }

    /// Called when the session ends, whatever the reason.
    fn terminate(&mut self, cx: &mut SessionContext<'_>, reason: &Reason) {
        let _ = (cx, reason);
    }
}
