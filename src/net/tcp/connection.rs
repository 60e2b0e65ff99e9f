//! The driver of one established connection: polls the machine and does what it asks for, with the socket and the owner.
//!
//! ```text
//!  readiness ─▶ drive: poll the machine: deliver, read … until it waits, or the budget is spent
//!  commands  ─▶ machine ─▶ flush (once per activation): transmit, then drive
//! ```
//!
//! Delivery stops when the owner's mailbox is full: the refused message is kept in the [`DeliveryWindow`], reading stops,
//! and goes on when the mailbox is half drained. Reading also stops when the owner has too many bytes unhandled that this
//! connection delivered.
//!
//! Connect and Disconnect cannot be refused. The Disconnect waits for the data before it; the socket does not: it is closed
//! as soon as the connection has ended.
//!
//! A socket is closed with a reset when anything that was accepted has not been sent, so that the peer does not take a
//! part for the whole.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::accept::{ConnectionPermit, FinalCounters};
#[cfg(all(feature = "nats", feature = "tls"))]
use super::tls::StartTls;
use super::window::DeliveryWindow;
use crate::bridge::{Ack, QuotaOptions, SocketCommand, Undelivered};
use crate::error::{DisconnectReason, Reason};
use crate::id::Pid;
use crate::inspect::Inspection;
use crate::message::{
    CompactMessage, Message, MessageTcp, MessageTcpConnect, MessageTcpDisconnect,
    MessageTcpPeerClosed, MessageTcpWritable,
};
use crate::meta::{Again, MetaContext, MetaProcess, Offload, Readiness};
use crate::net::stream::{PeerAddr, Stream, canonical};
use crate::proto::tcp::{Able, Connection, Event, Handshake, Input, Output};
use crate::record::{Kind, Level};

/// Reads in one call.
const READS: u32 = 16;

/// See the module.
pub(crate) struct Driver {
    stream: Stream,
    machine: Connection,
    owner: Pid,
    remote_addr: PeerAddr,
    /// The permit of an accepted connection.
    seat: Option<ConnectionPermit>,
    window: DeliveryWindow,
    /// How often the owner's mailbox refused data.
    mailbox_pauses: u32,
    /// The socket may have bytes: it was reported readable, and no read has found it empty since.
    readable: bool,
    /// The same for writing.
    writable: bool,
    /// The owner may give out the input that it has set aside.
    release_due: bool,
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
        let window = DeliveryWindow::new(machine.settings.input_window);
        Self {
            stream,
            machine,
            owner,
            remote_addr: canonical(remote_addr).into(),
            seat: None,
            window,
            mailbox_pauses: 0,
            readable: false,
            writable: true,
            release_due: false,
            reads_on: false,
            hung_up: false,
        }
    }

    pub(crate) fn with_seat(mut self, seat: ConnectionPermit) -> Self {
        self.seat = Some(seat);
        self
    }

    /// Remembers readiness, which is reported once for each change.
    fn update_readiness(&mut self, readiness: Readiness) {
        self.readable |= readiness.is_readable();
        self.writable |= readiness.is_writable();
        self.reads_on |= readiness.is_read_closed() || readiness.is_urgent();
        self.hung_up |= readiness.is_hang_up();
    }

    /// Takes over the readiness with which the connection was established.
    pub(super) fn adopt_readiness(&mut self, readiness: Readiness) {
        self.readable = true;
        self.update_readiness(readiness);
    }

    /// Handles what came before the transport was established, so that it applies from the first byte on.
    pub(super) fn replay_early(&mut self, cx: &MetaContext<'_>, early: Message) {
        match early {
            Message::Tcp(packet) => self.machine.send(packet.data, cx.now_ms),
            early => match early.downcast() {
                Ok(command) => self.handle_command(cx, command),
                Err(early) => self.ignore(cx, &early),
            },
        }
    }

    // ---- The loop ----

    /// Drives the machine, then releases the input that the owner has set aside, if the output has fallen to its low
    /// mark: behind the Writable, so that the owner first learns that it may write.
    #[inline]
    pub(super) fn drive(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let outcome = self.drive_machine(cx);
        if std::mem::take(&mut self.release_due) {
            cx.services.deliver.deliver_release(self.owner, cx.alias);
        }
        outcome
    }

    /// Does what the machine asks for until it waits, has ended, or has output for the flush.
    fn drive_machine(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.hung_up && self.machine.status().is_paused {
            self.find_reset();
        }
        let mut reads = READS;
        let mut may_read = true;
        let mut just_connected = false;
        self.deliver_refused(cx);
        loop {
            let able = Able {
                deliver: !self.window.has_refused(),
                read: self.readable && may_read,
                write: self.writable,
            };
            match self.machine.poll(able, cx.now_ms) {
                Output::Deliver(event) => {
                    just_connected |= matches!(event, Event::Connected);
                    self.deliver(cx, event);
                }
                Output::Read | Output::ReadHandshake { .. }
                    if reads == 0 || cx.read_budget == 0 =>
                {
                    may_read = false;
                    if reads < READS {
                        cx.call_next();
                    } else {
                        // The budget was spent by others: this connection had no turn yet that it could prolong.
                        cx.call_again();
                    }
                }
                Output::Read => {
                    reads -= 1;
                    if self.read(cx) {
                        self.machine.receive(cx.scratch, cx.now_ms);
                    }
                }
                Output::ReadHandshake { is_moderate: true } if cx.offload == Offload::Defer => {
                    may_read = false;
                    cx.request_handshake_step();
                }
                Output::ReadHandshake { .. } => {
                    reads -= 1;
                    if self.read(cx) {
                        self.receive_handshake(cx);
                    }
                }
                Output::CloseQuota => {
                    let quota = cx.quota();
                    quota.close(cx.alias.generation());
                    self.input(cx, Input::QuotaClosed(quota.queued()));
                }
                Output::ShutdownWrite => {
                    // It fails if the connection is gone, which the read side finds as well.
                    let _ = self.stream.shutdown_write();
                }
                Output::Transmit { only_tickets: true }
                    if just_connected && self.window.unacked() > 0 =>
                {
                    // The owner's answer to the data that came with the end of the handshake leaves in the same write.
                    cx.call_again();
                    return Ok(());
                }
                Output::Transmit { .. } => {
                    cx.flush_later();
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

    /// Terminates, unless frames that were read before the end still wait for the owner's mailbox. The socket is closed in
    /// any case.
    #[cold]
    fn end(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let status = self.machine.status();
        if !self.window.has_refused()
            && let Some(reason) = status.ended
        {
            return Err(Reason::from(reason));
        }
        if status.is_abandoned || cx.quota().queued() > 0 {
            self.stream.reset_on_close();
        }
        self.stream.hang_up(cx);
        cx.set_deadline(u64::MAX);
        Ok(())
    }

    #[inline]
    fn input(&mut self, cx: &MetaContext<'_>, input: Input) {
        self.machine.handle_owner(input, cx.now_ms);
    }

    // ---- The socket ----

    /// A reset ends the connection although its owner has paused reading: there is nothing to wait for, and the descriptor
    /// would be held until the next write. What could still be read is lost with it. An orderly end in both directions is
    /// a hang-up without an error, and waits.
    #[cold]
    fn find_reset(&mut self) {
        if let Ok(Some(error)) = self.stream.take_error() {
            self.machine.fail(error.kind());
        }
    }

    /// Reads into the shared buffer. Returns whether it has bytes then.
    fn read(&mut self, cx: &mut MetaContext<'_>) -> bool {
        let spare = cx.scratch.spare_mut();
        let most = spare.len().min(self.machine.settings.read_buffer_size);
        match self.stream.read(&mut spare[..most]) {
            Ok(0) => {
                self.readable = false;
                self.machine.receive_end(cx.now_ms);
                false
            }
            Ok(read) => {
                cx.scratch.grow(read);
                cx.read_budget = cx.read_budget.saturating_sub(read);
                self.readable = read == most || self.reads_on || !self.stream.short_read_is_empty();
                true
            }
            Err(error) => {
                self.readable = false;
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.machine.fail(error.kind());
                }
                false
            }
        }
    }

    /// Computes a step of the handshake with the bytes that were read, here or on another thread.
    fn receive_handshake(&mut self, cx: &mut MetaContext<'_>) {
        let has_time = cx.offload == Offload::Inline;
        match self
            .machine
            .offload_handshake(cx.scratch, has_time, cx.now_ms)
        {
            None => self.machine.receive(cx.scratch, cx.now_ms),
            Some(handshake) => {
                cx.scratch.clear();
                cx.offload(handshake);
            }
        }
    }

    /// Writes and reads whatever the poll has reported, before a deadline that has come ends anything: what contradicts
    /// the deadline may be in the socket.
    fn look_at_socket(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        (self.readable, self.writable) = (true, true);
        if cx.offload == Offload::Defer {
            // A step of the handshake that waits for its turn would leave its input in the socket.
            cx.offload = Offload::Spawn;
        }
        self.transmit(cx);
        self.drive(cx)
    }

    fn transmit(&mut self, cx: &MetaContext<'_>) {
        let (stream, machine) = (&mut self.stream, &mut self.machine);
        let done = machine.transmit(|slices| stream.write(slices), cx.now_ms);
        self.writable = !done.blocked;
        self.release_quota(cx, done.bytes);
    }

    /// Releases bytes of the quota, and lets the owner know if a send was refused and there is room again.
    fn release_quota(&mut self, cx: &MetaContext<'_>, bytes: usize) {
        if bytes > 0 && cx.quota().sent(bytes, self.machine.settings.low_water_mark) {
            self.input(cx, Input::Writable);
            self.release_due = true;
        }
    }

    /// The connection is closing, and nothing bounds its input any more.
    fn release_input(&mut self, cx: &MetaContext<'_>) {
        self.release_due |= cx.quota().take_above();
    }

    // ---- The owner ----

    fn deliver(&mut self, cx: &MetaContext<'_>, event: Event) {
        let alias = cx.alias;
        match event {
            Event::Data(data) => {
                self.deliver_data(cx, CompactMessage::Tcp(MessageTcp { id: alias, data }));
                self.mailbox_pauses += u32::from(self.window.has_refused());
            }
            Event::Connected => self.deliver_connect(cx),
            Event::Writable => {
                self.deliver_control(cx, Message::TcpWritable(MessageTcpWritable { id: alias }));
            }
            Event::PeerFinished if self.machine.settings.half_open => {
                let end = MessageTcpPeerClosed { id: alias };
                self.deliver_control(cx, Message::TcpPeerClosed(end));
            }
            // The connection closes by itself when the owner has come to this mark.
            Event::PeerFinished => {
                let deliver = &cx.services.deliver;
                if !deliver.deliver_ack(self.owner, alias, Ack::End) {
                    self.owner_is_gone(cx);
                }
            }
        }
    }

    #[inline]
    fn deliver_refused(&mut self, cx: &MetaContext<'_>) {
        if let Some(message) = self.window.take_refused() {
            self.deliver_data(cx, message);
        }
    }

    fn deliver_data(&mut self, cx: &MetaContext<'_>, message: CompactMessage) {
        let bytes = match &message {
            CompactMessage::Tcp(packet) => packet.data.len(),
            _ => 0,
        };
        match cx.deliver_data(self.owner, message) {
            Ok(()) => {
                let ack = self.window.delivered(bytes);
                self.request_ack(cx, ack);
            }
            Err(Undelivered::Gone(_)) => self.owner_is_gone(cx),
            Err(Undelivered::Full(_)) if self.machine.settings.close_on_full_mailbox => {
                self.input(cx, Input::MailboxFull);
            }
            Err(Undelivered::Full(message)) => self.window.refuse(message),
        }
        self.update_blocked(cx);
    }

    /// Sends the request of an acknowledgement, if one is due, behind what the owner has been given.
    #[inline]
    fn request_ack(&self, cx: &MetaContext<'_>, ack: Option<u32>) {
        if let Some(bytes) = ack {
            // An owner that is gone is found by the next delivery.
            let _ = cx
                .services
                .deliver
                .deliver_ack(self.owner, cx.alias, Ack::Data(bytes));
        }
    }

    /// Lets the machine know when the window has become blocked, or free again.
    #[inline]
    fn update_blocked(&mut self, cx: &MetaContext<'_>) {
        if let Some(is_blocked) = self.window.blocked_change() {
            self.input(cx, Input::SetBlocked(is_blocked));
        }
    }

    fn deliver_connect(&mut self, cx: &MetaContext<'_>) {
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

    /// There is no process left to read for; what the owner sent before its end still goes out.
    fn owner_is_gone(&mut self, cx: &MetaContext<'_>) {
        self.input(cx, Input::Close(DisconnectReason::OwnerGone));
    }

    fn handle_command(&mut self, cx: &MetaContext<'_>, command: SocketCommand) {
        let input = match command {
            SocketCommand::Write(data) => return self.machine.send_shared(data, cx.now_ms),
            SocketCommand::Overflow => {
                self.release_input(cx);
                Input::Close(DisconnectReason::Overflow)
            }
            SocketCommand::Close => {
                self.release_input(cx);
                Input::Close(DisconnectReason::LocalClose)
            }
            SocketCommand::Abort => {
                self.release_input(cx);
                self.stream.reset_on_close();
                drop(self.window.take_refused());
                Input::Abort
            }
            SocketCommand::ShutdownWrite => Input::ShutdownWrite,
            SocketCommand::PauseReading => Input::SetPaused(true),
            SocketCommand::ResumeReading => Input::SetPaused(false),
            SocketCommand::SetFraming(framing) => Input::SetFraming(Arc::new(framing)),
            SocketCommand::PauseAccepting | SocketCommand::ResumeAccepting => return,
        };
        self.input(cx, input);
    }

    #[cfg(all(feature = "nats", feature = "tls"))]
    fn start_tls(&mut self, cx: &MetaContext<'_>, message: Message) {
        let Ok(start) = message.downcast::<StartTls>() else {
            return;
        };
        match start.connect(&cx.services.log, self.remote_addr.get()) {
            Ok(tls) => self.machine.start_tls(tls, cx.now_ms),
            Err(error) => {
                let reason = DisconnectReason::Tls(Arc::from(error.to_string()));
                self.input(cx, Input::Close(reason));
            }
        }
    }

    /// Releases what a message that means nothing to a connection counts against the quota.
    fn ignore(&mut self, cx: &MetaContext<'_>, message: &Message) {
        self.release_quota(cx, message.output_bytes());
    }

    /// Ends the connection in order, from outside.
    pub(super) fn finish(
        &mut self,
        cx: &mut MetaContext<'_>,
        reason: DisconnectReason,
    ) -> Result<(), Reason> {
        cx.start_deadlines_now();
        cx.quota().close(cx.alias.generation());
        self.release_input(cx);
        self.input(cx, Input::Close(reason));
        self.drive(cx)
    }

    /// Adds the counters of this connection to those of its listener.
    fn count_end(&self, cx: &MetaContext<'_>, seat: &ConnectionPermit, reason: &DisconnectReason) {
        let counters = &self.machine.counters;
        seat.ended(
            reason,
            FinalCounters {
                bytes_in: counters.bytes_in,
                bytes_out: counters.bytes_out,
                unsent: cx.unsent,
                mailbox_pauses: self.mailbox_pauses,
                high_water: counters.high_water,
                refused_sends: cx.quota().refused(),
            },
        );
    }
}

impl MetaProcess for Driver {
    /// The owner gets a Disconnect.
    fn reports_end(&self) -> bool {
        true
    }

    fn init(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.owner != cx.parent {
            // An idle connection delivers nothing that would find its owner gone. An owner that is gone now is found by
            // the first delivery.
            let _ = cx.services.deliver.adopt(self.owner, cx.alias);
        }
        cx.quota().set_owner(self.owner);
        // What the peer sent right behind its connect is here by now, as a rule, and registering reports no change then.
        self.readable = true;
        self.drive(cx)?;
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
        let message = match message {
            Message::Tcp(packet) => {
                self.machine.send(packet.data, cx.now_ms);
                if self.writable {
                    cx.flush_later();
                }
                return Ok(());
            }
            message => message,
        };
        cx.start_deadlines_now();
        match message.downcast::<SocketCommand>() {
            Ok(command) => self.handle_command(cx, command),
            Err(message) => match message.downcast::<Handshake>() {
                Ok(handshake) => self.machine.resume_handshake(handshake, cx.now_ms),
                #[cfg(all(feature = "nats", feature = "tls"))]
                Err(message) if message.is::<StartTls>() => self.start_tls(cx, message),
                Err(message) => self.ignore(cx, &message),
            },
        }
        self.drive(cx)
    }

    fn flush(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.transmit(cx);
        self.drive(cx)
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        if self.machine.is_due(cx.now_ms) {
            self.look_at_socket(cx)?;
            if cx.actions.again != Again::No {
                // There is more input than one call reads. The timer fires again, behind the call that reads on.
                return Ok(());
            }
        }
        if self.machine.handle_timeout(cx.now_ms)
            && let Some(bytes) = self.machine.settings.keep_alive_bytes()
            && cx
                .quota()
                .reserve(cx.alias.generation(), bytes.len())
                .is_ok()
        {
            self.machine.send(bytes, cx.now_ms);
        }
        self.drive(cx)
    }

    fn handle_resume(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.drive(cx)
    }

    fn handle_ack(&mut self, cx: &mut MetaContext<'_>, mark: Ack) -> Result<(), Reason> {
        match mark {
            Ack::Data(bytes) => {
                let ack = self.window.acked(bytes);
                self.request_ack(cx, ack);
                self.update_blocked(cx);
            }
            Ack::End => self.input(cx, Input::PeerEndHandled),
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
        let (status, counters) = (self.machine.status(), &self.machine.counters);
        let mut inspection = Inspection::default();
        inspection.add("kind", "tcp connection");
        inspection.add("state", status.state);
        inspection.add("remote_addr", self.remote_addr.get());
        inspection.add("local_addr", self.local_addr());
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
        inspection
    }

    fn terminate(&mut self, cx: &mut MetaContext<'_>, reason: &Reason) {
        if self.owner != cx.parent {
            cx.services.deliver.disown(self.owner, cx.alias);
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
        if let Some(seat) = &self.seat {
            self.count_end(cx, seat, &disconnect);
            if !seat.is_announced() {
                seat.handshake_failed();
                let peer = self.remote_addr.get();
                cx.record(Level::Info, Kind::NotEstablished, |record| {
                    record.set_text(format_args!(
                        "connection of {peer} not established: {disconnect}"
                    ));
                });
                return;
            }
        }
        let message = MessageTcpDisconnect {
            id: cx.alias,
            reason: disconnect,
            bytes_in: self.machine.counters.bytes_in,
            bytes_out: self.machine.counters.bytes_out,
            unsent: cx.unsent,
            refused_bytes: cx.quota().refused_bytes(),
        };
        cx.deliver_control(self.owner, Message::TcpDisconnect(Box::new(message)));
    }

    fn quota_options(&self) -> QuotaOptions {
        let settings = &self.machine.settings;
        QuotaOptions {
            limit: settings.output_limit,
            high: settings.high_water_mark,
            closes_on_overflow: settings.closes_on_overflow,
            reads_above_high: settings.reads_above_high,
        }
    }

    fn leave_poll(&mut self, cx: &MetaContext<'_>) {
        self.stream.deregister(cx);
    }
}
