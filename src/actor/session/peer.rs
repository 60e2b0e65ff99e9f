//! What a session knows of its connection: its alias, its addresses, and how far it has come to its end.
//!
//! ```text
//!           1 its Connect                 2 close, abort, no frame
//!  awaited ───────────────▶ established ───────────────────────────▶ closing
//! ```
//!
//! 1. A session of a listener begins with its Connect. One of a client connection is spawned before it; until then its
//!    connection is known by the alias that the cold state awaits, because the session may have other connections.
//! 2. No more input is offered from there on.
//!
//! What it does not do: it sends nothing to the connection, and does not hold the input.

use super::cold::ColdState;
use crate::base::small_addr::SmallAddr;
use crate::id::Alias;
use crate::tls::TlsInfo;

/// What a session knows of its connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) alias: Option<Alias>,
    pub(super) remote_addr: SmallAddr,
    pub(super) local_addr: SmallAddr,
    pub(super) is_paused: bool,
    /// The session has closed it, or its input was not understood: no more input is offered.
    pub(super) is_closing: bool,
    /// A note of the session waits for the low mark, to go on with the input.
    pub(super) is_waiting: bool,
    pub(super) has_peer_closed: bool,
    pub(super) is_draining: bool,
    /// It closes as soon as no input is left.
    pub(super) closes_when_idle: bool,
    /// It was idle, and has asked the connection whether the socket is empty.
    pub(super) has_asked: bool,
    /// Its client connection is lost, and the next one is not established.
    pub(super) is_lost: bool,
    /// A callback has resumed the session or changed the framing: what was left is offered again.
    pub(super) wants_offer: bool,
    pub(super) cold: Option<Box<ColdState>>,
}

impl Peer {
    /// A connection that is not established yet.
    pub(super) fn new(cold: Option<Box<ColdState>>) -> Self {
        Self {
            alias: None,
            remote_addr: SmallAddr::UNSPECIFIED,
            local_addr: SmallAddr::UNSPECIFIED,
            is_paused: false,
            is_closing: false,
            is_waiting: false,
            has_peer_closed: false,
            is_draining: false,
            closes_when_idle: false,
            has_asked: false,
            is_lost: false,
            wants_offer: false,
            cold,
        }
    }

    /// State that few sessions need, allocated to add to it.
    pub(super) fn cold_mut(&mut self) -> &mut ColdState {
        self.cold.get_or_insert_default()
    }

    /// Whether this is the connection of the session, which may have others as well.
    pub(super) fn is_own(&self, alias: Alias) -> bool {
        self.own_or_awaited() == Some(alias)
    }

    /// The connection, or the one that is being made.
    pub(super) fn own_or_awaited(&self) -> Option<Alias> {
        self.alias.or_else(|| self.cold.as_ref()?.awaited_alias())
    }

    /// The client connection is established, and known from here on.
    pub(super) fn forget_awaited(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.awaited = None;
            // A session without a need for it pays nothing for each message.
            if cold.is_empty() {
                self.cold = None;
            }
        }
    }

    /// Keeps what the handshake has agreed on.
    #[inline]
    pub(super) fn set_tls(&mut self, tls: Option<&TlsInfo>) {
        if tls.is_some() || self.cold.is_some() {
            self.cold_mut().tls = tls.cloned().map(Box::new);
        }
    }
}
