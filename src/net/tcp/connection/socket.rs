//! The socket of a connection: reads into the shared buffer, writes what the machine has.

use std::io;

use super::{Driver, READS};
use crate::error::Reason;
use crate::memory::buffer::Buffer;
use crate::meta::{MetaContext, Offload};
use crate::net::tcp::limits::ConnectionPermit;
use crate::proto::tcp::Input;

/// Has reading go on in a later activation.
#[cold]
pub(super) fn read_later(cx: &mut MetaContext<'_>, reads: u32) {
    if reads < READS {
        cx.call_next();
    } else {
        // Other meta-processes have spent the budget: this one has not had a turn that it could prolong.
        cx.call_again();
    }
}

impl Driver {
    /// A reset ends the connection although its owner has paused reading: there is nothing to wait for, and the
    /// descriptor would be held until the next write. What could still be read is lost with it. An orderly end in both
    /// directions is a hang-up without an error, and waits.
    #[cold]
    pub(super) fn find_reset(&mut self, cx: &MetaContext<'_>) {
        // The error is read from the socket without reading the data before it.
        if let Ok(Some(error)) = self.stream.take_error() {
            self.input(cx, Input::ReadFailed(error.into()));
        }
    }

    /// Terminates, unless frames that were read before the end still wait for the owner's mailbox. The socket is closed
    /// in any case.
    #[cold]
    pub(super) fn end(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let status = self.machine.status();
        // A Disconnect must not overtake what was read before it.
        if !self.awaits_delivery()
            && let Some(reason) = status.ended
        {
            return Err(Reason::from(reason));
        }
        if status.is_abandoned || cx.quota().queued() > 0 {
            self.stream.reset_on_close();
        }
        // The descriptor is not kept for an owner that is slow to take what is left.
        self.stream.hang_up(cx);
        cx.set_deadline(u64::MAX);
        Ok(())
    }

    #[cold]
    pub(super) fn close_quota(&mut self, cx: &MetaContext<'_>) {
        // The bytes are counted after the quota has closed, when no write can add to them.
        cx.quota().close(cx.alias.generation());
        let accepted = match self.stop_feed(cx) {
            // More may come from the partner of a relay; see there.
            true => usize::MAX,
            false => cx.quota().queued() * usize::from(!planted!(LastCommandLost)),
        };
        self.input(cx, Input::QuotaClosed(accepted));
        // Output that still leaves releases the input at its low mark. Otherwise nothing bounds the input any more, and
        // the end waits for it: after a failed write, until the close deadline.
        if !self.machine.status().is_shutting_down && cx.quota().take_above() {
            self.give_out_input(cx);
        }
    }

    /// Reads into the shared buffer. Returns whether it has bytes then.
    pub(super) fn read(&mut self, cx: &mut MetaContext<'_>) -> bool {
        let spare = cx.scratch.spare_mut();
        let most = spare.len().min(self.machine.settings.read_buffer_size);
        match self.stream.read(&mut spare[..most]) {
            Ok(0) => {
                self.readable = false;
                self.input(cx, Input::PeerEnded);
                false
            }
            Ok(read) => {
                cx.scratch.grow(read);
                cx.read_budget = cx.read_budget.saturating_sub(read);
                // A read that fills the buffer may have left bytes. A short one has emptied the socket, unless the
                // end or an urgent byte may be behind it.
                self.readable = read == most || self.reads_on || !self.stream.short_read_is_empty();
                true
            }
            Err(error) => {
                self.readable = false;
                // An empty socket is the usual end of reading.
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.input(cx, Input::ReadFailed(error.into()));
                }
                false
            }
        }
    }

    /// Computes a step of the handshake with the bytes that were read, here or on another thread.
    pub(super) fn receive_handshake(&mut self, cx: &mut MetaContext<'_>) {
        // The buffer is taken out, because the step may move its bytes to another thread.
        let mut read = std::mem::take(cx.scratch);
        self.receive_handshake_bytes(cx, &mut read);
        *cx.scratch = read;
    }

    /// The same with these bytes, which are taken.
    pub(super) fn receive_handshake_bytes(&mut self, cx: &MetaContext<'_>, bytes: &mut Buffer) {
        let may_compute = cx.offload == Offload::Inline;
        match self
            .machine
            .offload_handshake(bytes, may_compute, cx.now_ms)
        {
            None => self.machine.receive(bytes, cx.now_ms),
            Some(handshake) => {
                // The thread has a copy of the bytes, and the next connection reads into this buffer.
                bytes.clear();
                cx.offload(handshake);
                if let Some(permit) = &mut self.permit {
                    permit.compute_handshake();
                }
            }
        }
    }

    /// Writes and reads whatever the poll has reported, before a deadline that has come ends anything: what contradicts
    /// the deadline may be in the socket.
    pub(super) fn look_at_socket(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        (self.readable, self.writable) = (true, true);
        if cx.offload == Offload::Defer {
            // A step of the handshake that waits for its turn would leave its input in the socket.
            cx.offload = Offload::Spawn;
        }
        self.transmit(cx);
        self.drive(cx)
    }

    /// The first look at the socket found no byte of an accepted handshake: the peer is given less time for it than for
    /// the handshake.
    pub(super) fn await_first_byte(&mut self, cx: &mut MetaContext<'_>) {
        let Some(permit) = &mut self.permit else {
            return;
        };
        let Some(silence_ms) = permit.await_first_byte(&cx.services.commands, cx.alias, cx.now_ms)
        else {
            return;
        };
        // The time for the first byte is a part of that for the handshake, never more.
        let handshake_ms = self.handshake_deadline(cx.now_ms);
        if silence_ms < handshake_ms {
            self.input(cx, Input::HandshakeDeadline(silence_ms));
            cx.set_deadline(silence_ms);
        }
    }

    /// Bytes of a handshake were read: with the first of them the time for all of it counts, from the accept on.
    pub(super) fn begin_handshake(&mut self, cx: &MetaContext<'_>) {
        if let Some(permit) = &mut self.permit
            && let Some(silent_ms) = permit.begin_handshake(cx.alias, cx.now_ms)
        {
            let deadline_ms = self.handshake_deadline(silent_ms);
            self.input(cx, Input::HandshakeDeadline(deadline_ms));
        }
    }

    /// The peer of a handshake is waited for: from now on if a flight has left, else as long as it has been before.
    pub(super) fn await_answer(&mut self, cx: &MetaContext<'_>, flight_ms: Option<u64>) {
        if self.machine.is_handshaking()
            && let Some(permit) = &mut self.permit
        {
            permit.await_answer(cx.alias, flight_ms);
        }
    }

    fn handshake_deadline(&self, begun_ms: u64) -> u64 {
        let timeout = self.machine.settings.handshake_timeout;
        timeout.map_or(u64::MAX, |timeout| begun_ms.saturating_add(timeout))
    }

    /// Ends a handshake whose place is wanted, unless the peer's bytes are here: they may have come since the listener
    /// chose this one.
    pub(super) fn give_way(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let awaits_peer = self
            .permit
            .as_ref()
            .is_some_and(ConnectionPermit::awaits_peer);
        if !awaits_peer {
            return Ok(());
        }
        if self.read(cx) {
            // The bytes came after the listener had chosen this connection, so it stays.
            self.begin_handshake(cx);
            self.receive_handshake(cx);
        } else if self.machine.is_handshaking() {
            self.input(cx, Input::GiveUpHandshake);
            if let Some(permit) = &self.permit {
                permit.count_giving_way();
            }
        }
        self.drive(cx)
    }

    pub(super) fn transmit(&mut self, cx: &MetaContext<'_>) {
        let (stream, machine) = (&mut self.stream, &mut self.machine);
        let done = machine.transmit(
            |slices| {
                let written = stream.write(slices)?;
                if planted!(ShortWriteIsWhole) {
                    return Ok(slices.iter().map(|slice| slice.len()).sum());
                }
                Ok(written)
            },
            cx.now_ms,
        );
        self.writable = !done.blocked;
        self.release_quota(cx, done.bytes);
    }
}
