//! Runs a [`Session`] as a process: sorts its messages, and offers its input.
//!
//! `offer` is the loop: it takes a unit of the input, calls `received`, and goes on while that makes progress, the
//! session is not paused and the output is not above its high mark. In the last case it puts a message to itself behind
//! the input that is set aside for the connection, so that it goes on when the output has fallen to its low mark.

mod notes;
mod upstream;

use std::time::Duration;

use self::notes::millis;
use super::cold::{Awaited, ColdState};
use super::deadline::FrameDeadline;
use super::input::{Input, Progress, Unit};
use super::peer::Peer;
use super::{Session, SessionContext};
use crate::actor::number_of;
use crate::bridge::request::Reply;
use crate::bridge::{Framing, InputReturned, SessionDrained, SocketReport};
use crate::error::{DisconnectReason, FrameError, Reason};
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::{Message, MessageTcpConnect, MessageType};
use crate::process::{Behavior, ProcessContext};

/// What a session sends itself.
#[derive(Debug)]
pub(super) enum Note {
    /// Go on with the input.
    Offer,
    /// The timer of the frame timeout has fired.
    FrameTimer,
    /// The deadline of this number is over.
    Deadline(u32),
    /// A connection to relay to could not even be begun.
    UpstreamFailed,
}

/// How a session takes its input.
#[derive(Clone, Debug)]
pub(crate) struct InputRules {
    framing: Framing,
    frame_timeout: Option<Duration>,
    /// Bytes that it may leave.
    limit: usize,
}

impl InputRules {
    pub(crate) fn new((framing, frame_timeout): (Framing, Option<Duration>), limit: usize) -> Self {
        Self {
            framing,
            frame_timeout,
            limit,
        }
    }
}

/// See the module.
pub(crate) struct SessionBehavior<S> {
    session: S,
    peer: Peer,
    input: Input,
    /// Of a session that is spawned for an established connection, until `init`.
    connect: Option<Box<MessageTcpConnect>>,
}

impl<S: Session> SessionBehavior<S> {
    /// A session for an established connection.
    pub(crate) fn accepted(session: S, connect: Box<MessageTcpConnect>, rules: InputRules) -> Self {
        Self::new(session, Some(connect), rules)
    }

    /// A session for a connection that is being made.
    pub(crate) fn awaiting(session: S, connection: Awaited, rules: InputRules) -> Self {
        let mut behavior = Self::new(session, None, rules);
        behavior.peer.cold_mut().awaited = Some(connection);
        behavior
    }

    fn new(session: S, connect: Option<Box<MessageTcpConnect>>, rules: InputRules) -> Self {
        let mut input = Input::new(rules.limit);
        input.set_framing(rules.framing);
        let cold = rules.frame_timeout.map(|timeout| {
            Box::new(ColdState {
                frame: Some(FrameDeadline::new(millis(timeout))),
                ..ColdState::default()
            })
        });
        Self {
            session,
            peer: Peer::new(cold),
            input,
            connect,
        }
    }

    fn connected(
        &mut self,
        env: &mut ProcessContext<'_>,
        connect: &MessageTcpConnect,
    ) -> Result<(), Reason> {
        self.peer.alias = Some(connect.id);
        self.peer.is_lost = false;
        self.peer.forget_awaited();
        self.peer.remote_addr = connect.remote_addr.into();
        self.peer.local_addr = connect.local_addr.into();
        self.peer.set_tls(connect.tls.as_deref());
        let is_closed = self.peer.is_closing;
        let mut cx = SessionContext::new(env, &mut self.peer, &mut self.input);
        // The session was closed before its client connection was established.
        if is_closed {
            // Before there was anything to close.
            cx.close();
            return Ok(());
        }
        self.session.connected(&mut cx, connect)
    }

    /// Handles a message of the connection; others come back. A table with an arm for each message, longer than other
    /// functions so that it can be read as one.
    fn handle_own(
        &mut self,
        env: &mut ProcessContext<'_>,
        message: Message,
    ) -> Result<Option<Message>, Reason> {
        let own = self.peer.alias;
        match message {
            Message::Tcp(packet) if Some(packet.id) == own => {
                // Input behind the close is not wanted, and would only be kept.
                if !self.peer.is_closing {
                    self.input.push(packet.data);
                    self.offer(env)?;
                }
            }
            Message::TcpConnect(connect) if self.awaits(connect.id) => {
                self.upstream_connected(env, &connect);
            }
            Message::TcpDisconnect(end) if self.awaits(end.id) => self.upstream_ended(env, end),
            Message::TcpReconnecting(lost) if self.awaits(lost.id) => {
                return Ok(Some(Message::TcpReconnecting(lost)));
            }
            Message::TcpConnect(connect) if self.peer.is_own(connect.id) => {
                self.connected(env, &connect)?;
            }
            Message::TcpReconnecting(lost) if self.peer.is_own(lost.id) => {
                self.lost(env);
                let mut cx = SessionContext::new(env, &mut self.peer, &mut self.input);
                self.session.reconnecting(&mut cx, &lost)?;
            }
            Message::TcpWritable(writable) if Some(writable.id) == own => {
                let mut cx = SessionContext::new(env, &mut self.peer, &mut self.input);
                self.session.writable(&mut cx)?;
                // Behind the callback, whose writes may raise the output above the mark again: the input waits then.
                self.offer(env)?;
            }
            Message::TcpSecured(secured) if Some(secured.id) == own => {
                self.peer.set_tls(Some(&secured.tls));
                let mut cx = SessionContext::new(env, &mut self.peer, &mut self.input);
                self.session.secured(&mut cx, &secured)?;
            }
            Message::TcpPeerClosed(end) if Some(end.id) == own => {
                self.peer.has_peer_closed = true;
                self.offer(env)?;
            }
            Message::TcpDisconnect(end) if self.peer.is_own(end.id) => {
                let mut cx = SessionContext::new(env, &mut self.peer, &mut self.input);
                self.session.disconnected(&mut cx, &end);
                // The session ends with its connection, which is no failure.
                return Err(Reason::Normal);
            }
            Message::RelayEnd(end)
                if own.is_some_and(|own| own == end.first.id || own == end.second.id) =>
            {
                let mut cx = SessionContext::new(env, &mut self.peer, &mut self.input);
                self.session.relay_ended(&mut cx, &end);
                // Both connections are over, so it ends here as it does with a Disconnect.
                return Err(Reason::Normal);
            }
            message => return Ok((!self.drops(&message)).then_some(message)),
        }
        Ok(None)
    }

    /// What is left of a connection that was lost means nothing to the next one.
    fn lost(&mut self, env: &mut ProcessContext<'_>) {
        self.input.reset();
        let peer = &mut self.peer;
        // The next connection begins unpaused.
        (peer.is_paused, peer.is_waiting) = (false, false);
        // The answer of the lost connection does not come.
        (peer.has_asked, peer.is_lost) = (false, true);
        env.await_report(false);
        peer.has_peer_closed = false;
    }

    /// Offers the input until something stops it.
    fn offer(&mut self, env: &mut ProcessContext<'_>) -> Result<(), Reason> {
        self.peer.wants_offer = false;
        loop {
            // A callback may have relayed the connection or handed it over, and then the input is the connection's
            // again.
            if self.is_returning(env) {
                self.return_input(env);
                return Ok(());
            }
            if self.peer.is_closing {
                self.input.clear();
                return Ok(());
            }
            // What is left stays until the session resumes or the output has fallen.
            if self.peer.is_paused || self.waits_for_output(env) {
                return Ok(());
            }
            // A new framing may find frames in what the session has left.
            if !self.offer_one(env)? && !self.input.take_reframed() {
                break;
            }
        }
        if self.is_returning(env) {
            self.return_input(env);
            return Ok(());
        }
        // The end comes after everything that was sent before it was offered, also what the session has left.
        if self.peer.has_peer_closed && !self.peer.is_closing && !self.peer.is_paused {
            // Once: the callback may leave the connection open.
            self.peer.has_peer_closed = false;
            let mut cx = SessionContext::new(env, &mut self.peer, &mut self.input);
            self.session.peer_closed(&mut cx)?;
        }
        Ok(())
    }

    /// Offers one unit. Returns whether another may follow at once.
    fn offer_one(&mut self, env: &mut ProcessContext<'_>) -> Result<bool, Reason> {
        let unit = self.input.next(|| env.processes.buffer_pool());
        let mut cx = SessionContext::new(env, &mut self.peer, &mut self.input);
        match unit {
            Unit::None => Ok(false),
            Unit::Frame(mut frame) => {
                self.session.received(&mut cx, &mut frame)?;
                // Another unit follows at once, so nothing is left to be asked for.
                self.peer.wants_offer = false;
                Ok(true)
            }
            Unit::Bytes(mut bytes) => {
                let before = bytes.len();
                let outcome = self.session.received(&mut cx, &mut bytes);
                // Put back before the outcome is looked at: the end of the session accounts for what is left.
                let progress = self.input.put_back(bytes, before);
                outcome?;
                match progress {
                    Progress::Again => Ok(true),
                    Progress::Wait => Ok(false),
                    // The relay takes it, however much it is, or it is judged when the session resumes.
                    Progress::Error(_) if self.peer.is_paused || self.is_returning(env) => {
                        Ok(false)
                    }
                    Progress::Error(error) => {
                        self.refuse(env, error);
                        Ok(false)
                    }
                }
            }
            Unit::Error(error) => {
                self.refuse(env, error);
                Ok(false)
            }
        }
    }

    /// Whether a callback has relayed the connection or started TLS on it, and its input goes back to it.
    #[inline]
    fn is_returning(&self, env: &ProcessContext<'_>) -> bool {
        self.peer.alias.is_some_and(|alias| env.is_returning(alias))
    }

    /// Gives the connection back what was not taken.
    #[cold]
    fn return_input(&mut self, env: &ProcessContext<'_>) {
        let Some(alias) = self.peer.alias else { return };
        // The connection knows the end of its peer.
        self.peer.has_peer_closed = false;
        for data in self.input.take_all(&env.processes.buffer_pool()) {
            if !data.is_empty() {
                env.return_bytes(alias, data);
            }
        }
    }

    /// The input is not understood: the session may answer that, then the connection closes.
    fn refuse(&mut self, env: &mut ProcessContext<'_>, error: FrameError) {
        // Closing once is enough, and the session was asked already.
        if self.peer.is_closing {
            return;
        }
        self.input.clear();
        let mut cx = SessionContext::new(env, &mut self.peer, &mut self.input);
        self.session.malformed(&mut cx, &error);
        // After the callback: what it writes is sent before the close.
        cx.close_for(DisconnectReason::Frame(error));
    }

    /// Whether the input must wait for the low mark; then a [`Note::Offer`] comes at that mark.
    fn waits_for_output(&mut self, env: &mut ProcessContext<'_>) -> bool {
        let Some(alias) = self.peer.alias else {
            return false;
        };
        if self.input.len() == 0 || !env.holds_input(alias) {
            return false;
        }
        // One note waits at the low mark, however often the input is looked at meanwhile.
        if !std::mem::replace(&mut self.peer.is_waiting, true) {
            env.send_at_low_mark(alias, Message::new(Note::Offer));
        }
        true
    }

    fn context<'a, 'b: 'a>(
        &'a mut self,
        env: &'a mut ProcessContext<'b>,
    ) -> (&'a mut S, SessionContext<'a>) {
        let cx = SessionContext::new(env, &mut self.peer, &mut self.input);
        (&mut self.session, cx)
    }
}

impl<S: Session> Behavior for SessionBehavior<S> {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn init(&mut self, env: &mut ProcessContext<'_>) -> Result<(), Reason> {
        if let Some(connect) = self.connect.take() {
            self.connected(env, &connect)?;
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        env: &mut ProcessContext<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        // An error of the session ends it, and then nothing is offered again.
        if let Some(message) = self.handle_own(env, message)? {
            match message.take::<Note>() {
                Ok(note) => self.handle_note(env, note)?,
                Err(message) if message.is::<InputReturned>() => {
                    return self.input_returned(env, message);
                }
                Err(message) if message.is::<SessionDrained>() => self.drained(env)?,
                Err(message) if message.is::<SocketReport>() => self.socket_reported(env, message),
                Err(message) => {
                    let (session, mut cx) = self.context(env);
                    session.handle_message(&mut cx, from, message)?;
                }
            }
        }
        self.offer_again(env)
    }

    fn handle_call(
        &mut self,
        env: &mut ProcessContext<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        let (session, mut cx) = self.context(env);
        session.handle_call(&mut cx, from, message, reply)?;
        self.offer_again(env)
    }

    fn inspect(&mut self, env: &mut ProcessContext<'_>) -> Inspection {
        let input_bytes = self.input.len();
        let (session, mut cx) = self.context(env);
        let mut inspection = session.handle_inspect(&mut cx);
        inspection.add("input_bytes", input_bytes);
        inspection
    }

    fn terminate(&mut self, env: &mut ProcessContext<'_>, reason: &Reason) {
        let (session, mut cx) = self.context(env);
        session.terminate(&mut cx, reason);
    }

    fn is_pool(&self) -> bool {
        false
    }

    fn is_session(&self) -> bool {
        true
    }

    fn type_number(&self) -> MessageType {
        number_of::<S>()
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<S>()
    }
}
