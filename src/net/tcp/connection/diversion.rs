//! Where the input of a connection goes that its owner has given away, or that TLS gets: see [`relay`](super::relay),
//! [`hand_over`](super::hand_over) and [`secure`](super::secure).

use super::Driver;
use super::hand_over::Move;
use super::relay::Relay;
use super::secure::{Secure, passes};
use crate::bridge::RelaySide;
use crate::error::Reason;
use crate::message::Message;
use crate::meta::MetaContext;

/// See the module.
pub(super) enum Diversion {
    Relay(Relay),
    Move(Move),
    Secure(Secure),
}

impl Diversion {
    pub(super) fn relay(&self) -> Option<&Relay> {
        match self {
            Self::Relay(relay) => Some(relay),
            Self::Move(_) | Self::Secure(_) => None,
        }
    }

    pub(super) fn relay_mut(&mut self) -> Option<&mut Relay> {
        match self {
            Self::Relay(relay) => Some(relay),
            Self::Move(_) | Self::Secure(_) => None,
        }
    }

    /// The share in a relay that has begun, or begins behind a hand-over.
    pub(super) fn relay_side(&self) -> Option<&RelaySide> {
        match self {
            Self::Relay(relay) => Some(relay.side()),
            Self::Move(current) => current.relay_side(),
            Self::Secure(_) => None,
        }
    }

    /// Whether nothing may be delivered until the owner has given back what it has.
    pub(super) fn is_fenced(&self) -> bool {
        match self {
            Self::Relay(relay) => relay.is_fenced(),
            Self::Move(current) => current.is_fenced(),
            Self::Secure(secure) => secure.is_fenced(),
        }
    }

    /// Keeps a message until TLS has begun, or gives it back if it has not been asked for, or need not wait.
    fn hold(&mut self, message: Message) -> Option<Message> {
        match self {
            Self::Secure(secure) if !passes(&message) => secure.hold(message),
            Self::Move(current) if current.is_secured_next() && !passes(&message) => {
                current.hold(message);
            }
            _ => return Some(message),
        }
        None
    }
}

impl Driver {
    /// Whether TLS is about to begin, so that everything waits which is asked of the connection.
    #[inline]
    pub(super) fn holds_messages(&self) -> bool {
        match self.diversion.as_deref() {
            None | Some(Diversion::Relay(_)) => false,
            Some(Diversion::Secure(_)) => true,
            Some(Diversion::Move(current)) => current.is_secured_next(),
        }
    }

    /// Keeps a message if TLS is about to begin, or gives it back.
    pub(super) fn hold(&mut self, message: Message) -> Option<Message> {
        match &mut self.diversion {
            None => Some(message),
            Some(diversion) => diversion.hold(message),
        }
    }

    /// Whether the owner, or the partner of a relay, takes what was read.
    #[inline]
    pub(super) fn delivers(&self) -> bool {
        match self.diversion.as_deref() {
            None => !self.window.has_refused(),
            Some(Diversion::Relay(relay)) => relay.takes_data(),
            // It is there until everything that was given back is delivered, or TLS has begun.
            Some(Diversion::Move(_) | Diversion::Secure(_)) => false,
        }
    }

    /// What the mailbox refused waits for the fence as well.
    #[cold]
    pub(super) fn deliver_diverted(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.is_securing() {
            return self.go_on_securing(cx);
        }
        // The old owner still has input that is older than what the mailbox refused.
        let is_fenced = self.diversion.as_ref().is_some_and(|to| to.is_fenced());
        if !is_fenced {
            self.deliver_refused(cx);
            self.deliver_returned(cx);
        }
        Ok(())
    }

    #[inline]
    pub(super) fn relay(&self) -> Option<&Relay> {
        self.diversion.as_ref()?.relay()
    }

    /// Whether reading has stopped for as long as the owner, or the partner of a relay, likes; or for good, because the
    /// peer has ended its side and the owner has not. A peer that resets behind its orderly end takes nothing from a
    /// connection that ends with it, nor from the other side of a relay.
    #[cold]
    pub(super) fn reads_nothing(&self) -> bool {
        let is_stopped = self.relay().is_some_and(Relay::is_stopped) || self.is_securing();
        let status = self.machine.status();
        let is_half_open = self.machine.settings.half_open && self.relay().is_none();
        is_stopped || status.is_paused || (status.is_half_closed_by_peer && is_half_open)
    }

    /// Whether the end must wait, because what was read before it has not been delivered.
    pub(super) fn awaits_delivery(&self) -> bool {
        match self.diversion.as_deref() {
            None => self.window.has_refused(),
            // The partner learns that bytes are missing.
            Some(Diversion::Relay(_)) => false,
            // It was for TLS.
            Some(Diversion::Secure(_)) => false,
            Some(Diversion::Move(_)) => true,
        }
    }
}
