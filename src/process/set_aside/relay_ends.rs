//! Ends of relays that wait in the process of the owner, and ends of connections that complete them.
//!
//! A connection that had ended when the order of a relay came to its stripe sends its Disconnect to the owner, by way
//! of the last owner if it was being handed over. The side of the relay can only report that there was no connection.
//! So the end of a relay waits while input of either connection goes back, and the Disconnect that comes instead of the
//! fence completes it.
//!
//! What it does not do: it waits for nothing that may not come. A fence or a Disconnect comes in any case.

use super::SetAside;
use crate::id::Alias;
use crate::message::{MessageRelayEnd, RelayedConnection};
use crate::process::envelope::{Envelope, Payload};
use crate::process::lifecycle::Process;

impl SetAside {
    /// A connection of that relay whose input still goes back.
    fn returning_side(&self, end: &Envelope) -> Option<Alias> {
        let Payload::Message(message) = &end.payload else {
            return None;
        };
        let end = message.relay_end()?;
        let sides = [end.first.id, end.second.id];
        sides.into_iter().find(|side| self.is_returning(*side))
    }

    /// The end of the relay that was kept for this connection, unless it must wait for the other one.
    pub(in crate::process) fn take_relay_end(&mut self, alias: Alias) -> Option<Envelope> {
        let end = self.relay_ends.remove(&alias)?;
        match self.returning_side(&end) {
            Some(side) => {
                // The other side still gives input back, so the end waits under that alias now.
                self.relay_ends.insert(side, end);
                None
            }
            None => Some(end),
        }
    }

    /// Keeps the end of a connection for the end of its relay, which could not learn of it.
    pub(in crate::process) fn keep_end(&mut self, end: RelayedConnection) {
        self.ended.insert(end.id, end);
    }

    /// Completes the end of a relay by the ends that were kept for it.
    fn complete(&mut self, end: &mut MessageRelayEnd) {
        for side in [&mut end.first, &mut end.second] {
            if let Some(kept) = self.ended.remove(&side.id) {
                *side = kept;
            }
        }
    }
}

impl Process {
    /// Keeps the end of a relay while input of its connections goes back: the end of one may be among that, and
    /// complete it. Gives every other envelope back.
    #[cold]
    pub(in crate::process) fn keep_relay_end(&mut self, envelope: Envelope) -> Option<Envelope> {
        let Some(aside) = self.control.aside_mut() else {
            return Some(envelope);
        };
        let Some(side) = aside.returning_side(&envelope) else {
            return Some(envelope);
        };
        aside.relay_ends.insert(side, envelope);
        None
    }

    /// Completes the end of a relay, if an end was kept for it.
    #[cold]
    pub(in crate::process) fn complete_relay_end(&mut self, envelope: &mut Envelope) {
        if let Payload::Message(message) = &mut envelope.payload
            && let Some(end) = message.relay_end_mut()
            && let Some(aside) = self.control.aside_mut()
        {
            aside.complete(end);
            self.control.free_aside();
        }
    }

    /// Whether an end is kept for the end of a relay.
    #[inline]
    pub(in crate::process) fn keeps_ends(&self) -> bool {
        self.control
            .aside()
            .is_some_and(|aside| !aside.ended.is_empty())
    }
}
