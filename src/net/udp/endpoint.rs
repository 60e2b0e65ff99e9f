//! One socket of a UDP server: its readiness, its machine, and the loops that receive and send.
//!
//! ```text
//!  readable ─▶ receive up to the budget ─▶ MessageUdp to the owner, or dropped and counted
//!  push ─▶ queue ─▶ flush: send until the socket takes no more, in batches
//! ```
//!
//! Room for output is watched from the refusal of a datagram until everything has left. Otherwise the system would
//! report room behind each datagram that leaves, and wake the loop for nothing.
//!
//! What it does not do: it knows of no other socket of its server. Which of several a datagram leaves from is decided
//! by the server, with [`Endpoint::has`] and [`Endpoint::reaches`].

use std::io;
use std::net::SocketAddr;

use super::owner::Owner;
use crate::message::{LocalAddr, MessageUdp, datagram_bytes};
use crate::meta::MetaContext;
use crate::net::datagram_io::DatagramIo;
use crate::net::options::UdpServerOptions;
use crate::net::stream::{canonical, mapped_for};
use crate::proto::datagram::{AfterError, Batch, Datagrams, TransmitOutcome};

/// See the module.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) socket: DatagramIo,
    pub(super) local_addr: SocketAddr,
    /// The family of the socket. One of IPv6 serves IPv4 as well, as a rule, with addresses that are mapped.
    is_v6: bool,
    /// The server has others, so that its datagrams say which one they came to.
    is_one_of_several: bool,
    readable: bool,
    writable: bool,
    /// The poll reports room for output.
    watches_room: bool,
    pub(super) machine: Datagrams,
}

impl Endpoint {
    pub(super) fn new(
        socket: DatagramIo,
        local_addr: SocketAddr,
        options: &UdpServerOptions,
        is_one_of_several: bool,
    ) -> Self {
        let cuts_batches = options.segmentation_offload && socket.can_cut();
        let is_connected = options.peer.is_some();
        Self {
            socket,
            local_addr: canonical(local_addr),
            is_v6: local_addr.is_ipv6(),
            is_one_of_several,
            readable: false,
            writable: true,
            watches_room: false,
            machine: Datagrams::new(Owner::longest(options), is_connected, cuts_batches),
        }
    }

    /// Whether this socket has that local address: it is bound to it, or to all.
    pub(super) fn has(&self, local: SocketAddr) -> bool {
        // A server that is bound to each of its addresses answers from the one that was asked.
        self.local_addr == local
            || (self.local_addr.ip().is_unspecified()
                && self.local_addr.port() == local.port()
                && self.reaches(local))
    }

    /// Whether this socket sends to addresses of that family.
    pub(super) fn reaches(&self, addr: SocketAddr) -> bool {
        if self.is_v6 && self.local_addr.is_ipv6() && self.local_addr.ip().is_unspecified() {
            return true;
        }
        self.local_addr.is_ipv4() == canonical(addr).is_ipv4()
    }

    // ---- Receiving ----

    pub(super) fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Receives up to this many datagrams, and asks for another call if there may be more.
    pub(super) fn receive_all(
        &mut self,
        owner: &mut Owner,
        cx: &mut MetaContext<'_>,
        mut budget: u32,
    ) {
        while self.readable {
            // Other meta-processes have their turn; the datagrams wait in the kernel's buffer, which drops what does
            // not fit.
            if budget == 0 {
                cx.call_again();
                break;
            }
            budget -= 1;
            match self.socket.recv_from(cx.scratch.spare_mut()) {
                Ok((length, ref addr)) => self.deliver(owner, cx, length, addr),
                Err(error) => match self.machine.receive_failed(error.into()) {
                    AfterError::Continue => {}
                    AfterError::Wait => self.readable = false,
                    AfterError::Report(error) => owner.report(cx, None, 0, error),
                    AfterError::ReportAndWait(error) => {
                        self.readable = false;
                        owner.report(cx, None, 0, error);
                    }
                },
            }
        }
    }

    /// Copies a datagram out of the scratch buffer and gives it to the owner.
    fn deliver(
        &mut self,
        owner: &mut Owner,
        cx: &mut MetaContext<'_>,
        length: usize,
        addr: &SocketAddr,
    ) {
        cx.read_budget = cx.read_budget.saturating_sub(length);
        let datagram = &cx.scratch.spare_mut()[..length];
        let pool = owner.options.buffer_pool.as_ref();
        let pool = pool.unwrap_or(&cx.services.pool);
        let (data, truncated) = self.machine.received(datagram, pool);
        let mut packet = MessageUdp {
            id: cx.alias,
            addr: *addr,
            data,
            truncated,
            local: self.local_of_last(cx),
        };
        if self.is_v6 {
            show_as_canonical(&mut packet.addr);
        }
        if !owner.deliver(cx, packet) {
            self.machine.count_dropped();
        }
    }

    /// The address that the last datagram came to, if there are several.
    #[inline]
    fn local_of_last(&self, cx: &MetaContext<'_>) -> LocalAddr {
        let own = self.is_one_of_several.then_some(self.local_addr);
        match self.socket.asked().or(own) {
            Some(local) => LocalAddr::pooled(local, &cx.services.pool),
            None => LocalAddr::default(),
        }
    }

    // ---- Sending ----

    /// The socket takes datagrams again. Returns whether any wait.
    pub(super) fn set_writable(&mut self) -> bool {
        self.writable = true;
        self.machine.wants_transmit()
    }

    /// Queues a datagram. Returns whether the socket takes it now.
    #[inline]
    pub(super) fn push(&mut self, mut packet: MessageUdp) -> bool {
        // A socket takes addresses of its own family, so that one of IPv4 is mapped for a socket of IPv6.
        if packet.addr.is_ipv6() != self.is_v6 {
            packet.addr = mapped_for(packet.addr, self.is_v6);
        }
        // The socket sends from its own address in any case, and a control message would cost more.
        if let Some(local) = packet.local.get()
            && local.ip() == self.local_addr.ip()
        {
            packet.local = LocalAddr::default();
        }
        self.machine.push(packet.addr, packet.data, packet.local);
        self.writable
    }

    /// Sends what is queued, as far as the socket takes it.
    ///
    /// # Errors
    ///
    /// The poll refuses to watch the socket, which would never be writable again.
    pub(super) fn send_all(&mut self, owner: &Owner, cx: &MetaContext<'_>) -> io::Result<()> {
        while self.writable {
            let (socket, peer) = (&self.socket, owner.options.peer);
            let transmitted = self.machine.transmit(|batch| send(socket, peer, batch));
            let counted = match transmitted {
                TransmitOutcome::Idle => return self.watch_for_room(cx, false),
                TransmitOutcome::Again => continue,
                TransmitOutcome::Blocked => {
                    self.writable = false;
                    return self.watch_for_room(cx, true);
                }
                TransmitOutcome::DeferredError(error) => {
                    owner.report(cx, None, 0, error);
                    continue;
                }
                TransmitOutcome::Sent { counted } => counted,
                TransmitOutcome::Failed {
                    addr,
                    length,
                    error,
                } => {
                    owner.report(cx, Some(canonical(addr)), length, error);
                    // A datagram that failed has left the queue, so it frees its quota as one that was sent does.
                    datagram_bytes(length)
                }
            };
            cx.quota().sent(counted, owner.options.output_limit / 4);
        }
        Ok(())
    }

    #[inline]
    fn watch_for_room(&mut self, cx: &MetaContext<'_>, watches: bool) -> io::Result<()> {
        if self.watches_room != watches {
            self.socket.watch_for_room(cx, watches)?;
            self.watches_room = watches;
        }
        Ok(())
    }
}

/// Apart, so that a socket of IPv4, which has no mapped addresses, copies an address once.
#[inline(never)]
fn show_as_canonical(addr: &mut SocketAddr) {
    *addr = canonical(*addr);
}

/// Gives a batch to the socket. One that is connected takes no other address than its peer's.
#[inline]
fn send(socket: &DatagramIo, peer: Option<SocketAddr>, batch: Batch<'_>) -> io::Result<usize> {
    let Batch {
        addr,
        local,
        datagrams,
    } = batch;
    let to = peer.is_none().then_some(addr);
    match (local.get(), datagrams, to) {
        (Some(from), datagrams, to) => socket.send_from(from, to, datagrams),
        (None, [only], None) => socket.send(only),
        (None, [only], Some(to)) => socket.send_to(only, to),
        (None, several, to) => socket.send_several(to, several),
    }
}
