//! What a connection does when its listener is drained, or when its node begins to stop.

use super::Driver;
use crate::error::{DisconnectReason, Reason};
use crate::id::Alias;
use crate::meta::MetaContext;
use crate::net::tcp::limits::ConnectionPermit;

impl Driver {
    /// The drain of `listener` begins, or its deadline has come.
    #[cold]
    pub(super) fn listener_drained(
        &mut self,
        cx: &mut MetaContext<'_>,
        listener: Alias,
        closes: bool,
    ) -> Result<(), Reason> {
        let permit = self.permit.as_ref();
        if !permit.is_some_and(|permit| permit.is_of(listener)) {
            Ok(())
        } else if closes {
            self.finish(cx, DisconnectReason::Drain)
        } else {
            self.notify_session(cx)
        }
    }

    /// Lets a session know that it should come to its end, behind the input that is in the socket now.
    #[cold]
    pub(super) fn notify_session(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        // The drain is delivered after the bytes that are in the socket now, so that a request which has arrived is
        // answered.
        self.readable = true;
        self.drive(cx)?;
        let permit = self.permit.as_ref();
        // One that is not established has no session yet.
        if permit.is_none_or(ConnectionPermit::is_established) {
            cx.services.deliver.deliver_drain(self.owner);
        }
        Ok(())
    }
}
