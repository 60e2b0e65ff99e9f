//! What a test does to single connections, and what it counts.

use super::Net;
use super::stream::Side;
use crate::simulation::arena::Key;

impl Net {
    /// The network resets a connection: both ends learn it now.
    pub(super) fn reset_both(&mut self, key: Key) {
        self.reset_arrived(key, 0);
        self.reset_arrived(key, 1);
    }

    /// Resets connection `number`. `false`: it is gone.
    pub(crate) fn cut_connection(&mut self, number: usize) -> bool {
        let Some(key) = self.numbers.get(number).copied() else {
            return false;
        };
        let is_there = self.connections.get(key).is_some();
        self.reset_both(key);
        is_there
    }

    /// Resets connection `number` after that many more bytes from that side.
    pub(crate) fn cut_after(&mut self, number: usize, side: Side, bytes: usize) {
        if let Some(key) = self.numbers.get(number)
            && let Some(connection) = self.connections.get_mut(*key)
        {
            connection.pipes[usize::from(side)].reset_after = Some(bytes);
        }
    }

    /// Nothing of connection `number` arrives before that time.
    pub(crate) fn stall_connection(&mut self, number: usize, until_ns: u64) {
        if let Some(key) = self.numbers.get(number)
            && let Some(connection) = self.connections.get_mut(*key)
        {
            connection.stalled_until_ns = until_ns;
        }
    }

    /// Bytes that each end of connection `number` has taken from its program.
    #[cfg(test)]
    pub(crate) fn bytes_written(&self, number: usize) -> [u64; 2] {
        self.written.get(number).copied().unwrap_or_default()
    }

    /// Connections that were begun.
    pub(crate) fn connections_made(&self) -> usize {
        self.numbers.len()
    }

    /// Connections of which an end is open.
    pub(crate) fn connections_open(&self) -> usize {
        self.connections.len()
    }
}
