//! The driver of one established connection: polls the machine and does what it asks for, with the socket and the
//! owner.
//!
//! ```text
//!  readiness ─▶ drive: poll the machine: deliver, read … until it waits, or the budget is spent
//!  commands  ─▶ machine ─▶ flush (once per activation): transmit, then drive
//! ```
//!
//! Delivery stops when the owner's mailbox is full: the refused message is kept in the [`DeliveryWindow`], reading
//! stops, and goes on when the mailbox is half drained. Reading also stops when the owner has too many bytes unhandled
//! that this connection delivered.
//!
//! Connect and Disconnect cannot be refused. The Disconnect waits for the data before it; the socket does not: it is
//! closed as soon as the connection has ended.
//!
//! A socket is closed with a reset when anything that was accepted has not been sent, so that the peer does not take a
//! part for the whole.

mod diversion;
mod drain;
mod established;
mod hand_over;
mod held;
mod inspect;
mod kept;
mod owner;
mod relay;
mod secure;
mod socket;

use std::net::SocketAddr;

use self::diversion::Diversion;
pub(super) use self::established::begin_with_owner;
pub(super) use self::held::Watch;
use self::socket::read_later;
use super::limits::ConnectionPermit;
use super::window::DeliveryWindow;
use crate::base::small_addr::SmallAddr;
use crate::bridge::{Ack, QuotaOptions};
use crate::error::{DisconnectReason, Reason};
use crate::id::{Alias, Pid};
use crate::inspect::Inspection;
use crate::memory::buffer::Buffer;
use crate::message::{CompactMessage, Message};
use crate::meta::{Again, MetaContext, MetaProcess, Offload, Readiness, SocketKind};
use crate::net::stream::{Stream, canonical};
use crate::proto::tcp::{Able, Connection, Event, Input, Output, Settings};

/// Reads in one call.
const READS: u32 = 16;

/// See the module.
pub(crate) struct Driver {
    stream: Stream,
    machine: Connection,
    owner: Pid,
    remote_addr: SmallAddr,
    /// The permit of an accepted connection.
    permit: Option<ConnectionPermit>,
    window: DeliveryWindow,
    /// Its input goes to another connection, or to another owner.
    diversion: Option<Box<Diversion>>,
    /// How often the owner's mailbox refused data.
    mailbox_pauses: u32,
    /// The socket may have bytes: it was reported readable, and no read has found it empty since.
    readable: bool,
    /// The same for writing.
    writable: bool,
    /// The owner may give out the input that it has set aside.
    release_due: bool,
    /// Its session closes when no input is left, and has asked whether the socket has more.
    reports_empty: bool,
    /// What `messages_in` was then; the lower half is enough to see that it has changed.
    messages_when_asked: u32,
    /// A short read does not show that the socket is empty: the end may be behind it, or an urgent byte.
    reads_on: bool,
    /// The poll has reported a hang-up: a reset, or an orderly end in both directions.
    hung_up: bool,
}

impl Driver {
    pub(crate) fn new(
        stream: Stream,
        machine: Connection,
        owner: Pid,
        remote_addr: SocketAddr,
    ) -> Self {
        let settings = &machine.settings;
        let window = DeliveryWindow::new(settings.input_window, settings.window_follows_buffers);
        Self {
            stream,
            machine,
            owner,
            remote_addr: canonical(remote_addr).into(),
            permit: None,
            window,
            diversion: None,
            mailbox_pauses: 0,
            readable: false,
            // A new socket has room, and the poll reports that only when it changes.
            writable: true,
            release_due: false,
            reports_empty: false,
            messages_when_asked: 0,
            reads_on: false,
            hung_up: false,
        }
    }

    pub(crate) fn with_permit(mut self, permit: ConnectionPermit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// Remembers readiness, which is reported once for each change.
    fn update_readiness(&mut self, readiness: Readiness) {
        // Readiness is added and never taken away here: only a read or a write that finds the socket empty or full does
        // that.
        self.readable |= readiness.is_readable();
        self.writable |= readiness.is_writable();
        self.reads_on |= readiness.is_read_closed() || readiness.is_urgent();
        self.hung_up |= readiness.is_hang_up();
    }

    /// Drives the machine, then releases the input that the owner has set aside, if the output has fallen to its low
    /// mark: behind the Writable, so that the owner first learns that it may write.
    #[inline]
    pub(super) fn drive(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.release_due | self.reports_empty {
            return self.drive_and_report(cx);
        }
        self.drive_machine(cx)
    }

    /// Does what the machine asks for until it waits, has ended, or has output for the flush. A table with an arm for
    /// each output of the machine, longer than other functions so that it can be read as one.
    fn drive_machine(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        // An owner that has paused reading would never learn of a reset.
        if self.hung_up && self.reads_nothing() {
            self.find_reset(cx);
        }
        let mut reads = READS;
        let mut may_read = true;
        let mut just_connected = false;
        // What the mailbox refused comes first, because the machine delivers what was read after it.
        match &self.diversion {
            None => self.deliver_refused(cx),
            Some(_) => {
                self.deliver_diverted(cx)?;
                may_read = !self.is_securing();
            }
        }
        loop {
            let able = Able {
                deliver: self.delivers(),
                read: self.readable && may_read,
                write: self.writable,
            };
            match self.machine.poll(able, cx.now_ms) {
                Output::Deliver(event) => {
                    just_connected |= matches!(event, Event::Connected);
                    self.deliver(cx, event);
                }
                // The budget of the activation is spent, or this connection has read for long enough: others have their
                // turn.
                Output::Read | Output::ReadHandshake { .. }
                    if reads == 0 || cx.read_budget == 0 =>
                {
                    may_read = false;
                    read_later(cx, reads);
                }
                Output::Read => {
                    reads -= 1;
                    if self.read(cx) {
                        self.machine.receive(cx.scratch, cx.now_ms);
                    }
                }
                // The bytes stay in the socket, because the step that they begin would hold up the connections behind
                // this one.
                Output::ReadHandshake { is_moderate: true } if cx.offload == Offload::Defer => {
                    may_read = false;
                    cx.request_handshake_step();
                }
                Output::ReadHandshake { .. } => {
                    reads -= 1;
                    if self.read(cx) {
                        self.begin_handshake(cx);
                        self.receive_handshake(cx);
                    }
                }
                Output::CloseQuota => self.close_quota(cx),
                Output::ShutdownWrite => {
                    // It fails if the connection is gone, which the read side finds as well.
                    let _ = self.stream.shutdown_write();
                }
                Output::Transmit { only_tickets } => {
                    self.request_flush(cx, only_tickets && just_connected);
                    return Ok(());
                }
                Output::Wait(deadline_ms) => {
                    cx.set_deadline(deadline_ms);
                    return Ok(());
                }
                Output::Ended => return self.end(cx),
            }
        }
    }

    /// Has the output leave at the end of this activation. Tickets behind a handshake that has just
    /// ended wait for one more call: the owner's answer to the data that came with the end of the
    /// handshake leaves in the same write.
    #[inline]
    fn request_flush(&self, cx: &mut MetaContext<'_>, are_first_tickets: bool) {
        // An owner that was given data with the end of the handshake is about to answer.
        if are_first_tickets && self.window.unacked() > 0 {
            cx.call_again();
        } else {
            cx.flush_later();
        }
    }

    /// Adds bytes to the output. Returns whether the flush can write them.
    #[inline]
    fn queue(&mut self, data: Buffer, now_ms: u64) -> bool {
        self.machine.send(data, now_ms);
        self.writable
    }

    #[inline]
    fn input(&mut self, cx: &MetaContext<'_>, input: Input) {
        self.machine.handle(input, cx.now_ms);
    }
}

/// What others may send to a connection of these settings.
pub(super) fn quota_options(settings: &Settings) -> QuotaOptions {
    QuotaOptions {
        limit: settings.output_limit,
        high: settings.high_water_mark,
        closes_on_overflow: settings.closes_on_overflow,
        reads_above_high: settings.reads_above_high,
    }
}

impl MetaProcess for Driver {
    /// The owner gets a Disconnect.
    fn reports_end(&self) -> bool {
        true
    }

    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        begin_with_owner(cx, self.owner);
        // What the peer sent right behind its connect is here by now, as a rule, and registering reports no change
        // then.
        self.readable = true;
        self.drive(cx)?;
        if self.machine.is_handshaking() {
            self.await_first_byte(cx);
        }
        Ok(self.stream.register(cx)?)
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        self.update_readiness(readiness);
        self.drive(cx)
    }

    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::Tcp(packet) if !self.holds_messages() => {
                // Nothing is written here. The flush at the end of the activation writes what all messages of a batch
                // have brought.
                if self.queue(packet.data, cx.now_ms) {
                    cx.flush_later();
                }
                Ok(())
            }
            message => {
                self.take_message(cx, message)?;
                self.drive(cx)
            }
        }
    }

    fn queue_output(
        &mut self,
        message: CompactMessage,
        now_ms: u64,
    ) -> Result<bool, CompactMessage> {
        match message {
            CompactMessage::Tcp(packet) if !self.holds_messages() => {
                Ok(self.queue(packet.data, now_ms))
            }
            message => Err(message),
        }
    }

    fn flush(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.transmit(cx);
        // The flight has left just now, so the peer's time to answer counts from here.
        if self.machine.is_handshaking() {
            self.await_answer(cx, Some(cx.now_ms));
        }
        // The usual flush: everything has left, and the socket has nothing to read.
        if !self.readable
            && !self.hung_up
            && !self.release_due
            && !self.window.has_refused()
            && let Some(deadline_ms) = self.machine.rests_until()
        {
            cx.set_deadline(deadline_ms);
            return Ok(());
        }
        self.drive(cx)
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        // The socket comes before the deadline: what contradicts it may be there without having been reported yet.
        if self.machine.status().deadline_ms <= cx.now_ms && !planted!(DeadlineFirst) {
            self.look_at_socket(cx)?;
            if cx.actions.again != Again::No {
                // There is more input than one call reads. The timer fires again, behind the call that reads on.
                return Ok(());
            }
        }
        if self.machine.handle_timeout(cx.now_ms)
            // Keep-alive bytes count against the quota as the owner's writes do, and are left out if it is full.
            && let Some(bytes) = self.machine.settings.keep_alive_bytes()
            && cx
                .services
                .commands
                .reserve(cx.quota(), cx.alias.generation(), bytes.len())
                .is_ok()
        {
            self.machine.send(bytes, cx.now_ms);
        }
        self.drive(cx)
    }

    fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.resume_relay(cx);
        self.drive(cx)
    }

    fn handle_ack(&mut self, cx: &mut MetaContext<'_>, ack: Ack) -> Result<(), Reason> {
        match ack {
            Ack::Data(_) if planted!(AckLost) => {}
            Ack::Data(bytes) => {
                let ack = self.window.acked(bytes);
                self.request_ack(cx, ack);
                self.update_blocked(cx);
            }
            // The machine reports the end of the peer once more behind the fence, after the bytes that were given back.
            Ack::End if self.diversion.is_some() => {}
            Ack::End => self.input(cx, Input::PeerEndHandled),
            Ack::Fence if self.relay().is_some() => self.pass_fence(cx),
            Ack::Fence if self.is_securing() => self.pass_secure_fence(cx),
            Ack::Fence => self.end_hand_over(cx),
        }
        self.drive(cx)
    }

    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        if self.has_failed_hand_over(cx) {
            return self.drive(cx);
        }
        // The exit may come from the end of the owner, which has a reason of its own in the Disconnect.
        let has_lost_owner = self.owner != cx.parent && !cx.services.deliver.is_alive(self.owner);
        self.finish(
            cx,
            if has_lost_owner {
                DisconnectReason::OwnerGone
            } else {
                DisconnectReason::Exit(reason)
            },
        )
    }

    fn handle_drain(
        &mut self,
        cx: &mut MetaContext<'_>,
        listener: Alias,
        closes: bool,
    ) -> Result<(), Reason> {
        self.listener_drained(cx, listener, closes)
    }

    fn handle_stop(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.notify_session(cx)
    }

    fn handle_finish(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.finish(cx, DisconnectReason::NodeStop)
    }

    fn kind(&self) -> SocketKind {
        SocketKind::Connection(self.info())
    }

    fn handle_inspect(&self) -> Inspection {
        self.inspection()
    }

    fn terminate(&mut self, cx: &mut MetaContext<'_>, reason: &Reason) {
        if self.owner != cx.parent {
            cx.services.deliver.disown(self.owner, cx.alias);
        }
        if self.machine.status().ended.is_none() {
            // It was killed with an owner that has not given everything back.
            self.has_failed_hand_over(cx);
        }
        let status = self.machine.status();
        // Without a reason of its own the connection was killed, or a callback panicked.
        if status.is_abandoned || status.ended.is_none() || cx.unsent > 0 {
            self.stream.reset_on_close();
        }
        let disconnect = status
            .ended
            .cloned()
            .unwrap_or_else(|| DisconnectReason::Exit(reason.clone()));
        self.report_end(cx, disconnect);
    }

    fn quota_options(&self) -> QuotaOptions {
        quota_options(&self.machine.settings)
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        self.stream.deregister(cx);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn driver_of_a_connection_takes_at_most_312_bytes() {
        assert!(size_of::<Driver>() <= 312, "{}", size_of::<Driver>());
    }
}
