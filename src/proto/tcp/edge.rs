//! What is not as usual with a connection: a direction has ended, or the connection begins or ends.
//!
//! Connections spend their lives open in both directions. That is the state without an [`Edge`], and costs a null
//! pointer to see; every other is a box, allocated when the connection first leaves it:
//!
//! ```text
//!              start_tls          shutdown_write, close, end, a failed write
//!   (TLS) ──▶ edge ──▶ handshake done ──▶ no edge ──▶ edge, for the rest of the life
//! ```
//!
//! What it does not do: it decides nothing. The transitions stand where they are made, see the page of the machine.

use super::Connection;
use super::end::End;
use super::send::WriteSide;
use crate::error::DisconnectReason;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) phase: EdgePhase,
    pub(super) write: WriteSide,
    /// End of the handshake, of closing, or of reading on after a failed write; `u64::MAX` for never.
    pub(super) end_ms: u64,
    /// Accepted bytes that have not arrived here, known once no more are accepted.
    pub(super) in_flight: usize,
}

#[derive(Clone, Debug)]
pub(super) enum EdgePhase {
    Handshaking,
    Open,
    Closing(DisconnectReason),
    Ended(End),
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            phase: EdgePhase::Open,
            write: WriteSide::Open,
            end_ms: u64::MAX,
            in_flight: 0,
        }
    }
}

impl Connection {
    pub(super) fn phase(&self) -> &EdgePhase {
        self.edge
            .as_ref()
            .map_or(&EdgePhase::Open, |edge| &edge.phase)
    }

    pub(super) fn write_side(&self) -> &WriteSide {
        self.edge
            .as_ref()
            .map_or(&WriteSide::Open, |edge| &edge.write)
    }

    /// The edge, to change it.
    #[cold]
    pub(super) fn edge_mut(&mut self) -> &mut Edge {
        self.edge.get_or_insert_default()
    }

    /// The end of the handshake, of closing, or of reading on after a failed write.
    #[inline]
    pub(super) fn end_ms(&self) -> u64 {
        self.edge.as_ref().map_or(u64::MAX, |edge| edge.end_ms)
    }

    /// Returns whether an edge has that property; in the usual state none has.
    #[inline]
    fn on_edge(&self, property: impl FnOnce(&Edge) -> bool) -> bool {
        self.edge.as_ref().is_some_and(|edge| property(edge))
    }

    /// Returns whether the owner has its Connected event, and nothing has closed the connection.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        !self.on_edge(|edge| !matches!(edge.phase, EdgePhase::Open))
    }

    #[inline]
    pub(super) fn is_in_handshake(&self) -> bool {
        self.on_edge(|edge| matches!(edge.phase, EdgePhase::Handshaking))
    }

    /// Returns whether data from the peer is discarded: it is read whatever the owner does.
    #[inline]
    pub(super) fn is_closing(&self) -> bool {
        self.on_edge(|edge| matches!(edge.phase, EdgePhase::Closing(_)))
    }

    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.on_edge(|edge| matches!(edge.phase, EdgePhase::Ended(_)))
    }

    /// Returns whether the connection is closing or has ended.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.on_edge(|edge| matches!(edge.phase, EdgePhase::Closing(_) | EdgePhase::Ended(_)))
    }

    /// Returns whether writing has not ended and nothing ends it behind the output.
    #[inline]
    pub(super) fn is_write_open(&self) -> bool {
        !self.on_edge(|edge| !matches!(edge.write, WriteSide::Open))
    }

    /// Returns whether FIN follows the output.
    #[inline]
    pub(super) fn is_finishing(&self) -> bool {
        self.on_edge(|edge| matches!(edge.write, WriteSide::Finishing))
    }

    /// Returns whether FIN is sent.
    #[inline]
    pub(super) fn is_finished(&self) -> bool {
        self.on_edge(|edge| matches!(edge.write, WriteSide::Finished))
    }

    /// Returns whether a write has failed.
    #[inline]
    pub(super) fn is_broken(&self) -> bool {
        self.on_edge(|edge| matches!(edge.write, WriteSide::Broken(_)))
    }

    /// Returns whether output can leave.
    #[inline]
    pub(super) fn is_writable(&self) -> bool {
        !self.on_edge(|edge| {
            !matches!(edge.write, WriteSide::Open | WriteSide::Finishing)
                || matches!(edge.phase, EdgePhase::Ended(_))
        })
    }

    /// Accepted bytes that have not arrived here, known once no more are accepted.
    #[inline]
    pub(super) fn in_flight(&self) -> usize {
        self.edge.as_ref().map_or(0, |edge| edge.in_flight)
    }
}
