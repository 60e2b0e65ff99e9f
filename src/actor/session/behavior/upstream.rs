//! The connection that a session is to be relayed to: it is established, or it is not.

use super::SessionBehavior;
use crate::actor::session::Session;
use crate::id::Alias;
use crate::message::{Message, MessageTcpConnect, MessageTcpDisconnect, RelayFailure};
use crate::process::ProcessContext;

impl<S: Session> SessionBehavior<S> {
    /// Whether that connection is being made to relay the session to.
    #[inline]
    pub(super) fn awaits(&self, alias: Alias) -> bool {
        let cold = self.peer.cold.as_ref();
        cold.is_some_and(|cold| cold.is_connecting(alias))
    }

    /// The upstream is established: the relay begins, unless the session or its connection has ended.
    #[cold]
    pub(super) fn upstream_connected(
        &mut self,
        env: &mut ProcessContext<'_>,
        upstream: &MessageTcpConnect,
    ) {
        self.forget_upstream();
        let (session, mut cx) = self.context(env);
        // A session that has closed meanwhile has no relay, and may have said its last word.
        if cx.is_closing() {
            return cx.give_up(upstream.id);
        }
        session.relay_begins(&mut cx, upstream);
        if cx.is_closing() || cx.has_upstream() || !cx.owns_connection() {
            return cx.give_up(upstream.id);
        }
        if let Err(error) = cx.relay_with(upstream.id) {
            cx.give_up(upstream.id);
            session.relay_failed(&mut cx, &RelayFailure::Relay(error));
        }
    }

    /// Whether the message is of a connection that was made to relay to, and was given up.
    #[inline]
    pub(super) fn drops(&mut self, message: &Message) -> bool {
        let cold = self.peer.cold.as_mut();
        cold.is_some_and(|cold| cold.drops(message))
    }

    /// No attempt to make the connection has succeeded.
    #[cold]
    pub(super) fn upstream_ended(
        &mut self,
        env: &mut ProcessContext<'_>,
        end: Box<MessageTcpDisconnect>,
    ) {
        self.forget_upstream();
        let (session, mut cx) = self.context(env);
        session.relay_failed(&mut cx, &RelayFailure::Disconnected(end));
    }

    /// Notifies the session of an attempt that could not begin.
    #[cold]
    pub(super) fn report_failure(&mut self, env: &mut ProcessContext<'_>) {
        let cold = self.peer.cold.as_mut();
        if let Some(failure) = cold.and_then(|cold| cold.take_failure()) {
            let (session, mut cx) = self.context(env);
            session.relay_failed(&mut cx, &failure);
        }
    }

    fn forget_upstream(&mut self) {
        if let Some(cold) = &mut self.peer.cold {
            cold.upstream = None;
        }
    }
}
