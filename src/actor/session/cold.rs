//! What few sessions need: the frame timeout, a deadline of their own, an upstream that is being connected, and what
//! TLS agreed on.
//!
//! ```text
//!           relay_to                    its Connect
//!  none ───────────────▶ connecting ───────────────▶ none: the relay begins, or has failed
//!    ▲                     │     │ its Disconnect
//!    │                     │     ▼
//!    └── reported ── failed ◀────┘ refused at once
//! ```
//!
//! 1. An attempt that cannot even begin has failed when `relay_to` returns. The session sends itself a note and is
//!    notified of the failure when that comes, so that no callback is inside of another, and one that tries again and
//!    again has its turns like any other process.
//! 2. Another `relay_to` takes the place of an attempt, which is closed.

use super::deadline::FrameDeadline;
use crate::bridge::TimerId;
use crate::id::Alias;
use crate::message::RelayFailure;
use crate::tls::TlsInfo;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ColdState {
    /// With a frame timeout.
    pub(super) frame: Option<FrameDeadline>,
    /// The deadline that the session has set: its timer, and its number.
    pub(super) deadline: Option<(TimerId, u32)>,
    /// Deadlines that were set.
    pub(super) deadlines: u32,
    pub(super) upstream: Option<Upstream>,
    /// What the handshake of the connection agreed on.
    pub(super) tls: Option<Box<TlsInfo>>,
}

/// Where the session is to be relayed to.
#[derive(Debug)]
pub(super) enum Upstream {
    Connecting(Alias),
    Failed(Box<RelayFailure>),
}

impl ColdState {
    /// Whether that connection is being made for the session.
    pub(super) fn is_connecting(&self, alias: Alias) -> bool {
        matches!(self.upstream, Some(Upstream::Connecting(upstream)) if upstream == alias)
    }

    /// Takes the failure of an attempt that could not begin.
    pub(super) fn take_failure(&mut self) -> Option<Box<RelayFailure>> {
        let is_failed = |upstream: &mut Upstream| matches!(upstream, Upstream::Failed(_));
        match self.upstream.take_if(is_failed)? {
            Upstream::Failed(failure) => Some(failure),
            Upstream::Connecting(_) => None,
        }
    }
}
