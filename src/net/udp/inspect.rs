//! What can be seen of a UDP server from outside: its addresses, its row in the list of sockets, and its inspection.

use std::net::SocketAddr;

use super::UdpServer;
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::meta::DatagramInfo;
use crate::proto::datagram::DatagramCounters;

/// What the list of sockets shows of a datagram socket.
pub(in crate::net) fn datagram_info(
    counters: &DatagramCounters,
    local_addr: Option<SocketAddr>,
    owner: Pid,
) -> DatagramInfo {
    DatagramInfo {
        local_addr,
        owner,
        bytes_in: counters.bytes_in,
        bytes_out: counters.bytes_out,
        messages_in: counters.messages_in,
        messages_out: counters.messages_out,
        dropped: counters.dropped,
        truncated: counters.truncated,
        receive_errors: counters.receive_errors,
        send_errors: counters.send_errors,
    }
}

impl UdpServer {
    /// The bound address, with the port that the operating system chose. Of several, the first.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// assert_ne!(UdpServer::bind("127.0.0.1:0")?.local_addr().port(), 0);
    /// # Ok(()) }
    /// ```
    pub fn local_addr(&self) -> SocketAddr {
        self.first.local_addr
    }

    /// The bound addresses, in the order of the list of [`UdpServer::bind_each`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let server = UdpServer::bind("127.0.0.1:0")?;
    /// assert!(server.local_addrs().eq([server.local_addr()]));
    /// # Ok(()) }
    /// ```
    pub fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.endpoints().map(|endpoint| endpoint.local_addr)
    }

    pub(super) fn counters(&self) -> DatagramCounters {
        self.endpoints()
            .map(|endpoint| endpoint.machine.counters)
            .sum()
    }

    /// The server in the list of sockets.
    pub(super) fn info(&self) -> DatagramInfo {
        datagram_info(&self.counters(), Some(self.local_addr()), self.owner.pid)
    }

    /// The same for people, with what the sockets have met.
    pub(super) fn inspection(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("kind", "udp server");
        inspection.add("local_addr", self.local_addr());
        for endpoint in &self.others {
            inspection.add("other_addr", endpoint.local_addr);
        }
        inspection.add("owner", self.owner.pid);
        let counters = self.counters();
        inspection.add("bytes_in", counters.bytes_in);
        inspection.add("bytes_out", counters.bytes_out);
        inspection.add("messages_in", counters.messages_in);
        inspection.add("messages_out", counters.messages_out);
        inspection.add("dropped", counters.dropped);
        inspection.add("truncated", counters.truncated);
        inspection.add("receive_errors", counters.receive_errors);
        inspection.add("send_errors", counters.send_errors);
        let mut drops = self
            .endpoints()
            .filter_map(|endpoint| endpoint.socket.kernel_drops())
            .peekable();
        if drops.peek().is_some() {
            inspection.add("kernel_drops", drops.sum::<u64>());
        }
        inspection
    }
}
