//! How a connection ends, and where it stands.
//!
//! Two ways lead to *ended*: `close` sends what is queued first, `end` does not. The first reason stays; see the phases
//! on the page of the machine.
//!
//! What it does not do: it sends nothing. FIN and close_notify leave where the output does.

use super::edge::EdgePhase;
use super::{Connection, ReadSide, Status, WriteSide};
use crate::error::{DisconnectReason, Reason};
use crate::proto::tls::Tls;

#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) reason: DisconnectReason,
    pub(super) is_abandoned: bool,
}

impl Connection {
    /// Ends in order: what is queued is sent first. The first reason stays.
    pub(super) fn close(&mut self, reason: DisconnectReason, now_ms: u64) {
        if self.is_over() {
            return;
        }
        // Nothing can be sent any more, so the end is not in order, and has the reason of the failed write.
        if let WriteSide::Broken(broken) = self.write_side() {
            let broken = broken.clone();
            return self.end(broken);
        }
        if self.is_in_handshake() && self.is_offloaded() && self.output.is_empty() {
            // A step is computed elsewhere, and there is nothing to send behind the handshake.
            return self.end(reason);
        }
        let end_ms = now_ms.saturating_add(self.settings.close_timeout);
        let edge = self.edge_mut();
        (edge.phase, edge.end_ms) = (EdgePhase::Closing(reason), end_ms);
        match edge.write {
            // FIN has left, so only the peer's end is waited for, from now on.
            WriteSide::Finished => self.times.active_ms = now_ms,
            _ => edge.write = WriteSide::Finishing,
        }
        self.maybe_finish();
    }

    /// Ends at once; what is queued is not sent.
    pub(super) fn end(&mut self, reason: DisconnectReason) {
        // The first reason stays.
        if !self.has_ended() {
            self.edge_mut().phase = EdgePhase::Ended(End {
                reason,
                is_abandoned: false,
            });
            self.drop_output();
            // After the end the owner gets the Disconnect, which says it.
            self.pending.peer_finished = false;
        }
    }

    /// Whether the peer gets a reset behind the output: the owner has panicked, so that what it has written may be a
    /// part, which the peer must not take for the whole.
    pub(super) fn ends_in_reset(&self) -> bool {
        matches!(
            self.phase(),
            EdgePhase::Closing(DisconnectReason::Exit(Reason::Panic(_)))
        )
    }

    #[cold]
    pub(super) fn abandon_closing(&mut self) {
        if let EdgePhase::Closing(reason) = self.phase() {
            let reason = reason.clone();
            self.abandon(reason);
        }
    }

    /// Ends for the reason of closing.
    pub(super) fn end_closing(&mut self) {
        if let EdgePhase::Closing(reason) = self.phase() {
            let reason = reason.clone();
            self.end(reason);
        }
    }

    /// Ends a connection whose both sides have ended, as soon as the owner knows that the peer's has.
    pub(super) fn maybe_finish(&mut self) {
        if self.read == ReadSide::Open || !self.is_finished() {
            return;
        }
        // Nothing is left that the owner could be given.
        match self.phase() {
            EdgePhase::Closing(_) => self.end_closing(),
            // The owner learns of the peer's end first, because it may still answer.
            EdgePhase::Open if !self.pending.peer_finished => {
                self.end(DisconnectReason::ClosedByPeer)
            }
            _ => {}
        }
    }

    /// Returns where the connection stands.
    pub(crate) fn status(&self) -> Status<'_> {
        Status {
            state: self.state(),
            is_paused: self.owner.is_paused,
            is_half_closed_by_peer: matches!(self.phase(), EdgePhase::Open)
                && self.read == ReadSide::Ended,
            is_raw: self.decoder.is_raw(),
            is_shutting_down: self.is_shutting_down(),
            is_encrypted: self.is_encrypted,
            has_unread: self.has_unread(),
            can_start_tls: self.can_start_tls(),
            has_flight: self.has_flight(),
            tls_version: self.tls.as_ref().and_then(Tls::version),
            deadline_ms: self.next_deadline(),
            ended: self.ended(),
            is_abandoned: self.is_abandoned(),
        }
    }

    pub(super) fn ended(&self) -> Option<&DisconnectReason> {
        match self.phase() {
            EdgePhase::Ended(end) => Some(&end.reason),
            _ => None,
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        matches!(self.phase(), EdgePhase::Ended(end) if end.is_abandoned)
    }

    pub(super) fn state(&self) -> &'static str {
        match (self.phase(), self.read, self.write_side()) {
            (EdgePhase::Handshaking, ..) => "handshaking",
            (EdgePhase::Closing(_), ..) => "closing",
            (EdgePhase::Ended(_), ..) => "ended",
            (EdgePhase::Open, ReadSide::Ended, _) => "half-closed by peer",
            (EdgePhase::Open, _, WriteSide::Finishing | WriteSide::Finished) => "half-closed",
            (EdgePhase::Open, ..) => "open",
        }
    }
}

/// The reason of closing, unless it claims that everything was sent.
pub(crate) fn first_reason(
    closing: &DisconnectReason,
    failure: DisconnectReason,
) -> DisconnectReason {
    match closing {
        // A close that claims that everything was sent would hide that it was not.
        DisconnectReason::LocalClose | DisconnectReason::ClosedByPeer => failure,
        first => first.clone(),
    }
}
