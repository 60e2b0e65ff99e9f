//! Where the input of a connection goes that its owner has given away: see [`relay`](super::relay) and
//! [`hand_over`](super::hand_over).

use super::Driver;
use super::hand_over::Move;
use super::relay::Relay;
use crate::meta::MetaContext;

/// See the module.
pub(super) enum Diversion {
    Relay(Relay),
    Move(Move),
}

impl Diversion {
    pub(super) fn relay(&self) -> Option<&Relay> {
        match self {
            Self::Relay(relay) => Some(relay),
            Self::Move(_) => None,
        }
    }

    pub(super) fn relay_mut(&mut self) -> Option<&mut Relay> {
        match self {
            Self::Relay(relay) => Some(relay),
            Self::Move(_) => None,
        }
    }

    /// Whether nothing may be delivered until the owner has given back what it has.
    pub(super) fn is_fenced(&self) -> bool {
        match self {
            Self::Relay(relay) => relay.is_fenced(),
            Self::Move(current) => current.is_fenced(),
        }
    }
}

impl Driver {
    /// Whether the owner, or the partner of a relay, takes what was read.
    #[inline]
    pub(super) fn delivers(&self) -> bool {
        match self.diversion.as_deref() {
            None => !self.window.has_refused(),
            Some(Diversion::Relay(relay)) => relay.takes_data(),
            // It is there until everything that was given back is delivered.
            Some(Diversion::Move(_)) => false,
        }
    }

    /// What the mailbox refused waits for the fence as well.
    #[cold]
    pub(super) fn deliver_diverted(&mut self, cx: &MetaContext<'_>) {
        let is_fenced = self.diversion.as_ref().is_some_and(|to| to.is_fenced());
        if !is_fenced {
            self.deliver_refused(cx);
            self.deliver_returned(cx);
        }
    }

    #[inline]
    pub(super) fn relay(&self) -> Option<&Relay> {
        self.diversion.as_ref()?.relay()
    }

    /// Whether reading has stopped for as long as the owner, or the partner of a relay, likes.
    #[cold]
    pub(super) fn reads_nothing(&self) -> bool {
        let is_stopped = self.relay().is_some_and(Relay::is_stopped);
        is_stopped || self.machine.status().is_paused
    }

    /// Whether the end must wait, because what was read before it has not been delivered.
    pub(super) fn awaits_delivery(&self) -> bool {
        match self.diversion.as_deref() {
            None => self.window.has_refused(),
            // The partner learns that bytes are missing.
            Some(Diversion::Relay(_)) => false,
            Some(Diversion::Move(_)) => true,
        }
    }
}
