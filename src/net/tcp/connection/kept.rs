//! What a driver shows to the one who makes its connection anew when it is lost.

use super::Driver;
use crate::error::DisconnectReason;
use crate::id::Pid;
use crate::meta::MetaContext;

impl Driver {
    /// Why the connection has ended, if everything that was read before has been delivered, and it is neither relayed
    /// nor handed over.
    pub(in crate::net::tcp) fn loss(&self) -> Option<DisconnectReason> {
        // What was read before the loss belongs before the message that reports it.
        if self.diversion.is_some() || self.window.has_refused() {
            return None;
        }
        self.machine.status().ended.cloned()
    }

    /// Closes the socket, with a reset if anything that was accepted has not been sent.
    pub(in crate::net::tcp) fn hang_up(&mut self, cx: &MetaContext<'_>) {
        // The peer must not take a part for the whole.
        if self.machine.status().is_abandoned || cx.quota().queued() > 0 {
            self.stream.reset_on_close();
        }
        self.stream.hang_up(cx);
    }

    pub(in crate::net::tcp) fn owner(&self) -> Pid {
        self.owner
    }

    /// Bytes received, and bytes sent.
    pub(in crate::net::tcp) fn bytes(&self) -> (u64, u64) {
        let counters = &self.machine.counters;
        (counters.bytes_in, counters.bytes_out)
    }

    pub(in crate::net::tcp) fn messages_out(&self) -> u64 {
        self.machine.counters.messages_out
    }

    /// The length of the keep-alive bytes.
    pub(in crate::net::tcp) fn keep_alive_bytes(&self) -> usize {
        let bytes = self.machine.settings.write_keep_alive.as_ref();
        bytes.map_or(0, |(_, bytes)| bytes.len())
    }
}
