//! State that few sessions need: the alias of a connection that is not established yet, the frame timeout, a deadline
//! of their own, an upstream that is being connected, and what TLS agreed on.
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
//! 2. Another `relay_to`, or a relay, takes the place of an attempt, which is given up: it is closed, and what still comes of it
//!    is dropped up to its Disconnect, because the session knows nothing of that connection.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::deadline::FrameDeadline;
use crate::base::sync::Mutex;
use crate::bridge::TimerId;
use crate::id::Alias;
use crate::message::{Message, RelayFailure};
use crate::tls::TlsInfo;

/// The alias of a client connection, which its session may need before it is known: the session is spawned first. It is
/// locked while the connection is being spawned.
pub(crate) type Awaited = Arc<Mutex<Option<Alias>>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ColdState {
    /// The connection of a session that is not established for the first time.
    pub(super) awaited: Option<Awaited>,
    /// With a frame timeout.
    pub(super) frame: Option<FrameDeadline>,
    /// The deadline that the session has set: its timer, and its number.
    pub(super) deadline: Option<(TimerId, u32)>,
    /// Deadlines that were set.
    pub(super) deadlines: u32,
    pub(super) upstream: Option<Upstream>,
    /// Connections that were made to relay to and are given up, until their Disconnect.
    pub(super) given_up: BTreeSet<Alias>,
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
    /// The connection that is being made for the session.
    pub(super) fn awaited_alias(&self) -> Option<Alias> {
        *self.awaited.as_ref()?.lock()
    }

    /// Whether it may be freed. Numbers of deadlines must not come again while a note with one may be on its way.
    pub(super) fn is_empty(&self) -> bool {
        let is_plain = self.awaited.is_none() && self.frame.is_none() && self.tls.is_none();
        is_plain && self.upstream.is_none() && self.given_up.is_empty() && self.deadlines == 0
    }

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

    /// Whether the message is of a connection that was given up.
    pub(super) fn drops(&mut self, message: &Message) -> bool {
        let alias = match message {
            Message::TcpDisconnect(end) => return self.given_up.remove(&end.id),
            Message::TcpConnect(connect) => connect.id,
            Message::TcpReconnecting(lost) => lost.id,
            Message::Tcp(packet) => packet.id,
            Message::TcpPeerClosed(end) => end.id,
            Message::TcpWritable(writable) => writable.id,
            _ => return false,
        };
        self.given_up.contains(&alias)
    }
}
