//! The driver of one established connection: carries bytes between the socket and the machine, and what the machine says
//! to the owner.
//!
//! ```text
//!  readiness ─▶ drive: deliver what is decoded ─▶ read ─▶ deliver … until the socket, the owner or the budget stops it
//!  commands  ─▶ machine ─▶ flush (once per batch): transmit, FIN, the end
//! ```
//!
//! Delivery stops when the owner's mailbox is full: the refused message is kept here, reading stops, and goes on when the
//! mailbox is half drained. It also stops when the owner has much to handle that this connection delivered: a mark follows
//! the data through the mailbox, and what it comes back for has been handled. So what one connection may have in a mailbox
//! is bounded in bytes, and an echo to a peer that does not read is bounded by itself.
//!
//! Connect and Disconnect cannot be refused, and the Disconnect waits for the data before it; the socket does not: it is
//! closed as soon as the connection has ended.
//!
//! A socket is closed with a reset when anything that was accepted has not been sent, so that the peer does not take a
//! part for the whole.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::accept::{ConnectionPermit, FinalCounters};
use crate::bridge::SocketCommand;
use crate::bridge::{Ack, Undelivered};
use crate::error::{DisconnectReason, Reason};
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::CompactMessage;
use crate::message::{
    Message, MessageTcp, MessageTcpConnect, MessageTcpDisconnect, MessageTcpWritable,
};
#[cfg(feature = "tls")]
use crate::meta::Offload;
use crate::meta::{MetaContext, MetaProcess, Readiness};
use crate::net::options::keep_alive_bytes;
use crate::net::stream::{PeerAddr, Stream, canonical};
#[cfg(feature = "tls")]
use crate::proto::tcp::Handshake;
use crate::proto::tcp::{Connection, Event};

/// Reads in one call.
const READS: u32 = 16;

/// See the module.
pub(crate) struct Driver {
    stream: Stream,
    machine: Connection,
    owner: Pid,
    remote_addr: PeerAddr,
    /// Of an accepted connection: its place at the listener.
    seat: Option<ConnectionPermit>,
    /// Data that the owner's mailbox refused.
    refused: Option<Box<CompactMessage>>,
    /// How often it did.
    mailbox_pauses: u32,
    /// Bytes delivered that the owner has not handled, as far as is known.
    unhandled: u32,
    /// How many of them are in front of the [`Ack::Data`] that is on its way through the owner's mailbox; 0 for none.
    marked: u32,
    /// The owner takes nothing at present: its mailbox is full, or it lags behind.
    held: bool,
    readable: bool,
    writable: bool,
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
        Self {
            stream,
            machine,
            owner,
            remote_addr: canonical(remote_addr).into(),
            seat: None,
            refused: None,
            mailbox_pauses: 0,
            unhandled: 0,
            marked: 0,
            held: false,
            readable: false,
            writable: true,
            reads_on: false,
            hung_up: false,
        }
    }

    pub(crate) fn with_seat(mut self, seat: ConnectionPermit) -> Self {
        self.seat = Some(seat);
        self
    }

    /// Remembers readiness, which is told once.
    fn notice(&mut self, readiness: Readiness) {
        self.readable |= readiness.is_readable();
        self.reads_on |= readiness.is_read_closed() || readiness.is_urgent();
        self.hung_up |= readiness.is_hang_up();
        if readiness.is_writable() && !readiness.is_again() {
            self.writable = true;
        }
    }

    /// Takes over the readiness that told that the connection was established.
    pub(crate) fn assume_ready(&mut self, readiness: Readiness) {
        self.readable = true;
        self.notice(readiness);
    }

    // ---- Towards the owner ----

    /// Gives the owner what the machine has. `false`: it takes no more at present.
    fn deliver(&mut self, cx: &MetaContext<'_>) -> bool {
        let was_refused = self.refused.is_some();
        let delivered = (!was_refused && !self.machine.has_events()) || self.deliver_events(cx);
        self.mailbox_pauses += u32::from(!delivered && !was_refused);
        let held = !delivered || self.unhandled as usize >= self.input_limit();
        if held != self.held {
            self.held = held;
            self.machine.hold(held, cx.now_ms);
        }
        !held
    }

    /// Bytes that the owner may have before it. As many as make the output stop reading: so an owner that answers each
    /// byte with a byte never has more to send than fits.
    fn input_limit(&self) -> usize {
        self.machine.settings().high_water_mark.max(1) as usize
    }

    /// Sends a mark behind what the owner has got, if it is much and none is on its way. One must be when the limit is
    /// reached: nothing else lets the connection go on.
    fn mark(&mut self, cx: &MetaContext<'_>) {
        if self.marked == 0 && self.unhandled as usize * 2 >= self.input_limit() {
            self.marked = self.unhandled;
            // An owner that is gone is found by the next delivery.
            let _ = cx
                .services
                .deliver
                .deliver_ack(self.owner, cx.alias, Ack::Data);
        }
    }

    fn deliver_events(&mut self, cx: &MetaContext<'_>) -> bool {
        if let Some(message) = self.refused.take()
            && !self.deliver_data(cx, *message)
        {
            return false;
        }
        while self.machine.has_events()
            && let Some(event) = self.machine.next_event(cx.now_ms)
        {
            let delivered = match event {
                Event::Connected => self.deliver_connect(cx),
                Event::Data(data) => {
                    self.deliver_data(cx, CompactMessage::Tcp(MessageTcp { id: cx.alias, data }))
                }
                Event::Writable => {
                    self.deliver_control(
                        cx,
                        Message::TcpWritable(MessageTcpWritable { id: cx.alias }),
                    );
                    true
                }
                Event::PeerFinished => {
                    self.deliver_peer_end(cx);
                    true
                }
            };
            if !delivered {
                return false;
            }
        }
        true
    }

    fn deliver_data(&mut self, cx: &MetaContext<'_>, message: CompactMessage) -> bool {
        let bytes = if let CompactMessage::Tcp(packet) = &message {
            packet.data.len()
        } else {
            0
        };
        match cx
            .services
            .deliver
            .deliver_data(self.owner, cx.parent, message, cx.alias)
        {
            Ok(()) => {
                self.unhandled = self
                    .unhandled
                    .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
                self.mark(cx);
                true
            }
            Err(Undelivered::Gone(_)) => {
                self.owner_is_gone(cx);
                true
            }
            Err(Undelivered::Full(_)) if self.machine.settings().close_on_full_mailbox => {
                // Nothing comes behind the gap.
                self.machine.discard_input();
                self.machine.close(DisconnectReason::MailboxFull, cx.now_ms);
                true
            }
            Err(Undelivered::Full(message)) => {
                self.refused = Some(Box::new(message));
                false
            }
        }
    }

    fn deliver_connect(&mut self, cx: &MetaContext<'_>) -> bool {
        if let Some(seat) = &mut self.seat {
            seat.announce();
        }
        let connect = MessageTcpConnect {
            id: cx.alias,
            remote_addr: self.remote_addr.get(),
            local_addr: self.local_addr(),
            #[cfg(feature = "tls")]
            tls: self.machine.tls_info(),
        };
        self.deliver_control(cx, Message::TcpConnect(Box::new(connect)));
        true
    }

    fn local_addr(&self) -> SocketAddr {
        let common = self.seat.as_ref().and_then(ConnectionPermit::local_addr);
        common.unwrap_or_else(|| self.stream.local_addr())
    }

    fn deliver_control(&mut self, cx: &MetaContext<'_>, message: Message) {
        if !cx.deliver_control(self.owner, message) {
            self.owner_is_gone(cx);
        }
    }

    /// The end of the input, told to the runtime by default and to the owner if it asked for it.
    fn deliver_peer_end(&mut self, cx: &MetaContext<'_>) {
        if self.machine.settings().half_open {
            let end = crate::message::MessageTcpPeerClosed { id: cx.alias };
            self.deliver_control(cx, Message::TcpPeerClosed(end));
        } else if !cx
            .services
            .deliver
            .deliver_ack(self.owner, cx.alias, Ack::End)
        {
            self.owner_is_gone(cx);
        }
    }

    /// Nobody is left to read for; what the owner sent before its end still goes out.
    fn owner_is_gone(&mut self, cx: &MetaContext<'_>) {
        self.machine.close(DisconnectReason::OwnerGone, cx.now_ms);
    }

    // ---- Towards the socket ----

    /// A reset ends the connection although its owner has paused reading: there is nothing to wait for, and the descriptor
    /// would be held until the next write. What could still be read is lost with it. An orderly end in both directions is
    /// a hang-up without an error, and waits.
    #[cold]
    fn find_reset(&mut self) {
        if let Ok(Some(error)) = self.stream.take_error() {
            self.machine.fail(error.kind());
        }
    }

    /// Delivers and reads until something stops it.
    fn drive(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.hung_up && self.machine.is_paused() {
            self.find_reset();
        }
        let mut reads = READS;
        #[cfg(feature = "tls")]
        let was_handshaking = self.machine.is_handshaking();
        // A closing connection reads to the end whatever its owner does.
        while (self.deliver(cx) || self.machine.is_closing())
            && self.readable
            && self.machine.wants_read()
        {
            if reads == 0 || cx.read_budget == 0 {
                // One that has not had its turn is not the next to have another one.
                if reads < READS {
                    cx.call_next();
                } else {
                    cx.call_again();
                }
                break;
            }
            #[cfg(feature = "tls")]
            if cx.offload == Offload::Defer && self.machine.expects_brief_step() {
                cx.request_handshake_step();
                break;
            }
            reads -= 1;
            self.read(cx);
        }
        #[cfg(feature = "tls")]
        if was_handshaking && self.unhandled > 0 && self.machine.has_only_tickets() {
            // The owner's answer to the data that came with the end of the handshake leaves in the same write.
            cx.call_again();
            return Ok(());
        }
        self.settle(cx)
    }

    fn read(&mut self, cx: &mut MetaContext<'_>) {
        let size = self.machine.settings().read_buffer_size;
        let scratch = &mut *cx.scratch;
        let room = scratch.spare_mut();
        let room_bytes = room.len().min(size);
        match self.stream.read(&mut room[..room_bytes]) {
            Ok(0) => {
                self.readable = false;
                self.machine.receive_end(cx.now_ms);
            }
            Ok(read) => {
                scratch.grow(read);
                cx.read_budget = cx.read_budget.saturating_sub(read);
                self.readable =
                    read == room_bytes || self.reads_on || !self.stream.short_read_is_empty();
                #[cfg(feature = "tls")]
                if self.machine.is_handshaking() {
                    return self.step_handshake(cx);
                }
                self.machine.receive(scratch, cx.now_ms);
            }
            Err(error) => {
                self.readable = false;
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.machine.fail(error.kind());
                }
            }
        }
    }

    /// Computes a step of the handshake with what has been read, or lends it.
    #[cfg(feature = "tls")]
    fn step_handshake(&mut self, cx: &mut MetaContext<'_>) {
        let has_time = cx.offload == Offload::Inline;
        match self.machine.lend_handshake(cx.scratch, has_time, cx.now_ms) {
            None => self.machine.receive(cx.scratch, cx.now_ms),
            Some(handshake) => {
                cx.scratch.clear();
                cx.offload(handshake);
            }
        }
    }

    /// Asks for what is to be done after this callback.
    fn settle(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.refuse_sends(cx);
        if let Some(reason) = self.machine.ended() {
            // Frames that were read before the end are waited for, as long as somebody will take them.
            if self.refused.is_none() {
                return Err(Reason::from(reason));
            }
            if cx.quota().queued() > 0 {
                self.stream.reset_on_close();
            }
            self.stream.hang_up();
            cx.set_deadline(u64::MAX);
            return Ok(());
        }
        if self.writable && self.machine.wants_transmit() {
            cx.flush_later();
        }
        cx.set_deadline(self.machine.next_deadline());
        Ok(())
    }

    /// Once the connection takes no more, the senders are told; what was accepted before is still to come.
    fn refuse_sends(&mut self, cx: &MetaContext<'_>) {
        if !self.machine.accepts() {
            cx.quota().close(cx.alias.generation());
            self.machine.expect(cx.quota().queued());
        }
    }

    fn transmit(&mut self, cx: &MetaContext<'_>) {
        self.refuse_sends(cx);
        let (stream, machine) = (&mut self.stream, &mut self.machine);
        let done = machine.transmit(&mut |slices| stream.write(slices), cx.now_ms);
        self.writable = !done.blocked;
        if done.bytes > 0 {
            let low = machine.settings().low_water_mark;
            if cx.quota().sent(done.bytes, low) {
                machine.owe_writable();
            }
        }
        if machine.shutdown_is_due() {
            // It fails if the connection is gone; the read side tells.
            let _ = self.stream.shutdown_write();
            self.machine.shutdown_done(cx.now_ms);
        }
    }

    fn handle_command(&mut self, cx: &MetaContext<'_>, command: SocketCommand) {
        match command {
            SocketCommand::Close => self.machine.close(DisconnectReason::LocalClose, cx.now_ms),
            SocketCommand::Abort => {
                self.stream.reset_on_close();
                self.refused = None;
                self.machine.discard_input();
                self.machine.end(DisconnectReason::Abort);
            }
            SocketCommand::ShutdownWrite => self.machine.shutdown_write(),
            SocketCommand::PauseReading => self.machine.pause(true, cx.now_ms),
            SocketCommand::ResumeReading => self.machine.pause(false, cx.now_ms),
            SocketCommand::SetFraming(framing) => self.machine.set_framing(Arc::new(framing)),
            SocketCommand::PauseAccepting | SocketCommand::ResumeAccepting => {}
        }
    }
}

impl MetaProcess for Driver {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.owner != cx.parent {
            // An idle connection delivers nothing that would find its owner gone. One that is gone now is found by the
            // first delivery.
            let _ = cx.services.deliver.adopt(self.owner, cx.alias);
        }
        // What the peer sent right behind its connect is here by now, as a rule; then the poll has no news of it.
        self.readable = true;
        self.established(cx)?;
        Ok(self.stream.register(cx)?)
    }

    fn ready(&mut self, cx: &mut MetaContext<'_>, readiness: Readiness) -> Result<(), Reason> {
        self.notice(readiness);
        self.drive(cx)
    }

    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        match message {
            Message::Tcp(packet) => {
                self.machine.send(packet.data, cx.now_ms);
                if self.writable {
                    cx.flush_later();
                }
                Ok(())
            }
            message => match message.downcast::<SocketCommand>() {
                Ok(command) => {
                    cx.start_deadlines_now();
                    self.handle_command(cx, command);
                    self.drive(cx)
                }
                #[cfg(feature = "tls")]
                Err(message) => match message.downcast::<Handshake>() {
                    Ok(handshake) => {
                        self.machine.take_back(handshake, cx.now_ms);
                        self.drive(cx)
                    }
                    Err(message) => self.ignore(cx, &message),
                },
                #[cfg(not(feature = "tls"))]
                Err(message) => self.ignore(cx, &message),
            },
        }
    }

    fn flush(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.transmit(cx);
        if self.machine.has_events() || (self.readable && self.machine.wants_read()) {
            // Writing has made room, or has something to tell.
            return self.drive(cx);
        }
        self.settle(cx)
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.machine.handle_timeout(cx.now_ms)
            && let Some(bytes) = keep_alive_bytes(self.machine.settings())
            && cx
                .quota()
                .reserve(cx.alias.generation(), bytes.len())
                .is_ok()
        {
            self.machine.send(bytes, cx.now_ms);
        }
        if self.machine.is_abandoned() {
            // What is queued in the kernel will not be read either.
            self.stream.reset_on_close();
        }
        self.drive(cx)
    }

    fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.drive(cx)
    }

    fn handle_ack(&mut self, cx: &mut MetaContext<'_>, mark: Ack) -> Result<(), Reason> {
        match mark {
            Ack::Data => {
                self.unhandled -= std::mem::take(&mut self.marked);
                self.mark(cx);
            }
            Ack::End => {
                cx.quota().close(cx.alias.generation());
                self.machine.peer_end_handled(cx.now_ms);
            }
        }
        self.drive(cx)
    }

    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        let is_orphan = self.owner != cx.parent && !cx.services.deliver.is_alive(self.owner);
        self.finish(
            cx,
            if is_orphan {
                DisconnectReason::OwnerGone
            } else {
                DisconnectReason::Exit(reason)
            },
        )
    }

    fn handle_finish(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.finish(cx, DisconnectReason::NodeStop)
    }

    fn handle_inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("kind", "tcp connection");
        inspection.add("state", self.machine.state());
        inspection.add("remote_addr", self.remote_addr.get());
        inspection.add("local_addr", self.local_addr());
        inspection.add("owner", self.owner);
        let counters = &self.machine.counters;
        inspection.add("bytes_in", counters.bytes_in);
        inspection.add("bytes_out", counters.bytes_out);
        inspection.add("messages_in", counters.messages_in);
        inspection.add("messages_out", counters.messages_out);
        inspection.add("high_water_events", counters.high_water);
        inspection.add("writable_events", counters.writable);
        inspection.add("paused_by_mailbox", self.refused.is_some());
        inspection.add("mailbox_pauses", self.mailbox_pauses);
        inspection.add(
            "paused_by_backlog",
            self.unhandled as usize >= self.input_limit(),
        );
        inspection.add("paused_by_owner", self.machine.is_paused());
        inspection
    }

    fn terminate(&mut self, cx: &mut MetaContext<'_>, reason: &Reason) {
        if self.owner != cx.parent {
            cx.services.deliver.disown(self.owner, cx.alias);
        }
        let disconnect = self.machine.ended().cloned().unwrap_or_else(|| {
            // Ended from outside, without its machine: killed, or a callback panicked.
            self.stream.reset_on_close();
            DisconnectReason::Exit(reason.clone())
        });
        if cx.unsent > 0 {
            self.stream.reset_on_close();
        }
        if let Some(seat) = &self.seat {
            let counters = &self.machine.counters;
            let legacy = FinalCounters {
                bytes_in: counters.bytes_in,
                bytes_out: counters.bytes_out,
                unsent: cx.unsent,
                mailbox_pauses: self.mailbox_pauses,
                high_water: counters.high_water,
                refused_sends: cx.quota().refused(),
            };
            seat.ended(&disconnect, legacy);
        }
        if let Some(seat) = &self.seat
            && !seat.is_announced()
        {
            seat.handshake_failed();
            cx.services.logger.info(format_args!(
                "connection of {} not established: {disconnect}",
                self.remote_addr.get()
            ));
            return;
        }
        let message = MessageTcpDisconnect {
            id: cx.alias,
            reason: disconnect,
            bytes_in: self.machine.counters.bytes_in,
            bytes_out: self.machine.counters.bytes_out,
            unsent: cx.unsent,
        };
        cx.deliver_control(self.owner, Message::TcpDisconnect(Box::new(message)));
    }

    fn output_limit(&self) -> u32 {
        self.machine.settings().output_limit
    }
}

impl Driver {
    /// Takes what came before the transport was there, so that it holds from the first byte on.
    pub(crate) fn prepare(&mut self, cx: &MetaContext<'_>, early: Message) {
        match early {
            Message::Tcp(packet) => self.machine.send(packet.data, cx.now_ms),
            early => match early.downcast() {
                Ok(command) => self.handle_command(cx, command),
                Err(early) => self.count_off(cx, &early),
            },
        }
    }

    /// The transport is there: tell the owner, or begin the handshake.
    pub(crate) fn established(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.drive(cx)
    }

    /// Nothing else means anything to a connection.
    fn ignore(&mut self, cx: &mut MetaContext<'_>, message: &Message) -> Result<(), Reason> {
        self.count_off(cx, message);
        self.drive(cx)
    }

    /// What an ignored message counted against the output limit is given back.
    fn count_off(&mut self, cx: &MetaContext<'_>, message: &Message) {
        if cx.ignore(message, self.machine.settings().low_water_mark) {
            self.machine.owe_writable();
        }
    }

    /// Ends it in order, from outside.
    pub(crate) fn finish(
        &mut self,
        cx: &mut MetaContext<'_>,
        reason: DisconnectReason,
    ) -> Result<(), Reason> {
        cx.quota().close(cx.alias.generation());
        cx.start_deadlines_now();
        self.machine.close(reason, cx.now_ms);
        self.drive(cx)
    }
}
