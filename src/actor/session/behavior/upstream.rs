//! The connection that a session is to be relayed to: it is established, or it is not.

use super::SessionBehavior;
use crate::actor::session::{Session, SessionContext};
use crate::id::Alias;
use crate::message::{MessageTcpConnect, MessageTcpDisconnect, RelayFailure};
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
        session.relay_begins(&mut cx, upstream);
        let relayed = match cx.is_closing() {
            false => cx.relay_with(upstream.id),
            true => return close(&mut cx, upstream.id),
        };
        if let Err(error) = relayed {
            close(&mut cx, upstream.id);
            session.relay_failed(&mut cx, &RelayFailure::Relay(error));
        }
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

fn close(cx: &mut SessionContext<'_>, upstream: Alias) {
    // It has ended already, or its Disconnect is on its way.
    let _ = cx.close_other(upstream);
}
