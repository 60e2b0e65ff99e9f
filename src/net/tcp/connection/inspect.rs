//! What can be seen of a connection from outside: its row in the list of sockets, and its inspection.
//!
//! It only looks: nothing here changes the connection.

use super::Driver;
use crate::inspect::Inspection;
use crate::meta::ConnectionInfo;
use crate::net::tcp::limits::ConnectionPermit;

impl Driver {
    /// The connection in the list of sockets.
    pub(super) fn info(&self) -> ConnectionInfo {
        let (status, counters) = (self.machine.status(), &self.machine.counters);
        ConnectionInfo {
            remote_addr: Some(self.remote_addr.get()),
            local_addr: Some(self.local_addr()),
            tls: status.tls_version,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            messages_in: counters.messages_in,
            messages_out: counters.messages_out,
            high_water_events: u64::from(counters.high_water),
            mailbox_pauses: u64::from(self.mailbox_pauses),
            is_paused_by_mailbox: self.window.has_refused(),
            is_paused_by_backlog: self.window.is_full(),
            is_paused_by_owner: status.is_paused,
            ..ConnectionInfo::new(self.owner, status.state)
        }
    }

    /// The same for people, with what they look for when it stands still.
    pub(super) fn inspection(&self) -> Inspection {
        let (status, counters) = (self.machine.status(), &self.machine.counters);
        let mut inspection = Inspection::default();
        inspection.add("kind", "tcp connection");
        inspection.add("state", status.state);
        inspection.add("remote_addr", self.remote_addr.get());
        inspection.add("local_addr", self.local_addr());
        if let Some(proxied) = self.permit.as_ref().and_then(ConnectionPermit::proxied) {
            inspection.add("proxy_addr", proxied.proxy_addr);
        }
        inspection.add("owner", self.owner);
        inspection.add("bytes_in", counters.bytes_in);
        inspection.add("bytes_out", counters.bytes_out);
        inspection.add("messages_in", counters.messages_in);
        inspection.add("messages_out", counters.messages_out);
        inspection.add("high_water_events", counters.high_water);
        inspection.add("writable_events", counters.writable);
        inspection.add("paused_by_mailbox", self.window.has_refused());
        inspection.add("mailbox_pauses", self.mailbox_pauses);
        inspection.add("paused_by_backlog", self.window.is_full());
        inspection.add("paused_by_owner", status.is_paused);
        if let Some(relay) = self.relay() {
            inspection.add("relayed_with", relay.partner());
            inspection.add("paused_by_relay", relay.is_stopped());
        }
        inspection
    }
}
