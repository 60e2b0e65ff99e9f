//! What a connection does when its listener is drained, or when its node begins to stop, and how a session comes to its
//! end then.
//!
//! A session that closes when no input is left knows of what it was given, and not of what is in the socket: the window
//! may have stopped reading. So it asks, whenever it has handled everything:
//!
//! 1. The session has nothing left and sends `ReportEmpty`.
//! 2. The connection reads on, as far as window and mailbox let it. What it finds goes to the session.
//! 3. Input has gone to the session, or a read finds the socket empty, or the peer has ended its side, and the mailbox
//!    has refused nothing: a `SocketReport` follows the input.
//! 4. The socket is empty, no TLS record is incomplete, and the session still has nothing left: it closes. Otherwise it
//!    asks again when it has handled what has come.
//!
//! A stop waits for the report, so it must not depend on the peer alone: one that always sends is reported at its first
//! input, and one that stops within a record is reported at once.
//!
//! What it does not do: it does not wait for bytes that are on their way through the network.

use super::Driver;
use crate::bridge::SocketReport;
use crate::error::{DisconnectReason, Reason};
use crate::id::{Alias, Pid};
use crate::message::Message;
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

    /// Transition 1. An asker that has given the connection away since has nothing to close.
    #[cold]
    pub(super) fn report_empty(&mut self, asker: Pid) {
        if self.owner == asker {
            self.readable = true;
            self.reports_empty = true;
            self.messages_when_asked = self.machine.counters.messages_in as u32;
        }
    }

    /// The part of [`Driver::drive`] for what a driver seldom has to report.
    #[cold]
    pub(super) fn drive_and_report(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let outcome = self.drive_machine(cx);
        // The flag is cleared after the machine has run, because that may set it again for what is released below.
        if std::mem::take(&mut self.release_due) {
            self.give_out_input(cx);
        }
        self.answer_empty(cx);
        outcome
    }

    /// Transition 3.
    #[cold]
    fn answer_empty(&mut self, cx: &MetaContext<'_>) {
        if !self.reports_empty {
            return;
        }
        let status = self.machine.status();
        let has_ended = status.is_half_closed_by_peer;
        let is_read = !self.readable || has_ended;
        let is_empty = is_read && (!status.has_unread || has_ended);
        let has_input = self.machine.counters.messages_in as u32 != self.messages_when_asked;
        if (is_read || has_input) && self.delivers() {
            self.reports_empty = false;
            self.deliver_control(cx, Message::new(SocketReport { is_empty }));
        }
    }
}
