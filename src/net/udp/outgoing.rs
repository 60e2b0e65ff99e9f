//! Datagrams on their way out of a UDP server: which of its sockets each leaves from.
//!
//! What it does not do: the sockets queue and send; see [`endpoint`](super::endpoint).

use std::io;

use super::UdpServer;
use super::endpoint::Endpoint;
use crate::message::{MessageUdp, datagram_bytes};
use crate::meta::MetaContext;
use crate::net::stream::canonical;

impl UdpServer {
    pub(super) fn send_all(&mut self, cx: &MetaContext<'_>) -> io::Result<()> {
        self.first.send_all(&self.owner, cx)?;
        for endpoint in &mut self.others {
            endpoint.send_all(&self.owner, cx)?;
        }
        Ok(())
    }

    /// Queues a datagram at the socket that it leaves from.
    pub(super) fn push(&mut self, cx: &mut MetaContext<'_>, packet: MessageUdp) {
        // With one socket there is no choice, and the search is saved.
        let endpoint = if self.others.is_empty() {
            &mut self.first
        } else {
            match self.choose(&packet) {
                Some(endpoint) => endpoint,
                None => return self.refuse(cx, &packet),
            }
        };
        if endpoint.push(packet) {
            cx.flush_later();
        }
    }

    /// The socket of the datagram's local address, or the first that reaches its peer.
    pub(super) fn choose(&mut self, packet: &MessageUdp) -> Option<&mut Endpoint> {
        let local = packet.local_addr().map(canonical);
        let fits = |endpoint: &Endpoint| match local {
            Some(local) => endpoint.has(local),
            None => endpoint.reaches(packet.addr),
        };
        if fits(&self.first) {
            return Some(&mut self.first);
        }
        self.others.iter_mut().find(|endpoint| fits(endpoint))
    }

    /// A datagram that no socket sends.
    pub(super) fn refuse(&mut self, cx: &MetaContext<'_>, packet: &MessageUdp) {
        self.first.machine.counters.send_errors += 1;
        let (addr, length) = (canonical(packet.addr), packet.data.len());
        let error = io::ErrorKind::AddrNotAvailable.into();
        self.owner.report(cx, Some(addr), length, error);
        // The quota counted the datagram when it was accepted.
        let low = self.owner.options.output_limit / 4;
        cx.quota().sent(datagram_bytes(length), low);
    }
}
