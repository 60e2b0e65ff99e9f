//! What a connection delivers to its owner, and what its owner asks for.
//!
//! Data goes through the [delivery window](super::super::window); Connect, Writable, the peer's end and the Disconnect
//! cannot be refused. A delivery that finds no owner closes the connection.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Driver, relay};
use crate::bridge::{Ack, SocketCommand, SpawnOwner, Undelivered};
use crate::error::{DisconnectReason, Reason};
use crate::id::Pid;
use crate::message::{
    CompactMessage, Message, MessageTcp, MessageTcpConnect, MessageTcpDisconnect,
    MessageTcpPeerClosed, MessageTcpWritable,
};
use crate::meta::MetaContext;
use crate::net::tcp::credit::InputCredit;
use crate::net::tcp::limits::{ConnectionPermit, FinalCounters};
use crate::proto::tcp::{Event, Handshake, Input};
use crate::record::{Kind, Level};

impl Driver {
    /// Lets the owner, or the partner of a relay, have what was set aside above the high mark.
    #[cold]
    pub(super) fn give_out_input(&self, cx: &MetaContext<'_>) {
        match self.relay() {
            _ if planted!(ReleaseLost) => {}
            None => cx.services.deliver.deliver_release(self.owner, cx.alias),
            Some(relay) => relay::wake(cx, relay.partner()),
        }
    }

    pub(super) fn deliver(&mut self, cx: &mut MetaContext<'_>, event: Event) {
        let alias = cx.alias;
        match event {
            Event::Data(data) if self.relay().is_some() => self.forward(cx, data),
            Event::Data(data) => {
                self.deliver_data(cx, CompactMessage::Tcp(MessageTcp { id: alias, data }));
                self.mailbox_pauses += u32::from(self.window.has_refused());
            }
            // The owner of both sides has no use for it.
            Event::Connected if self.relay().is_some() => {}
            Event::Connected if cx.quota().is_established() => self.deliver_secured(cx),
            Event::Connected => self.deliver_connect(cx),
            // The partner is woken where the input of an owner is released.
            Event::Writable if self.relay().is_some() => {}
            Event::Writable if planted!(WritableLost) => {}
            Event::Writable => {
                self.deliver_control(cx, Message::TcpWritable(MessageTcpWritable { id: alias }));
            }
            Event::PeerFinished if self.relay().is_some() => self.pass_end(cx),
            Event::PeerFinished if self.machine.settings.half_open => {
                let end = MessageTcpPeerClosed { id: alias };
                self.deliver_control(cx, Message::TcpPeerClosed(end));
            }
            // The connection closes by itself when this ack has come.
            Event::PeerFinished => {
                let deliver = &cx.services.deliver;
                if !deliver.deliver_ack(self.owner, alias, Ack::End) {
                    self.owner_is_gone(cx);
                }
            }
        }
    }

    #[inline]
    pub(super) fn deliver_refused(&mut self, cx: &MetaContext<'_>) {
        if let Some(message) = self.window.take_refused() {
            self.deliver_data(cx, message);
        }
    }

    #[inline]
    pub(super) fn deliver_data(&mut self, cx: &MetaContext<'_>, mut message: CompactMessage) {
        // Connections whose window counts acks attach nothing, and allocate nothing for it.
        if self.window.follows_buffers() {
            self.attach_credit(cx, &mut message);
        }
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
            // By option the connection ends instead of waiting: what comes behind the refused data would follow a
            // gap.
            Err(Undelivered::Full(_)) if self.machine.settings.close_on_full_mailbox => {
                self.input(cx, Input::MailboxFull);
            }
            Err(Undelivered::Full(message)) => self.window.refuse(message),
        }
        self.update_blocked(cx);
    }

    #[cold]
    fn attach_credit(&mut self, cx: &MetaContext<'_>, message: &mut CompactMessage) {
        if let CompactMessage::Tcp(packet) = message {
            let commands = &cx.services.commands;
            let new = |window| InputCredit::new(cx.alias, Arc::clone(commands), window);
            packet.data.attach_credit(self.window.credit(new));
        }
    }

    /// Sends the request of an ack, if one is due, behind what the owner has been given.
    #[inline]
    pub(super) fn request_ack(&self, cx: &MetaContext<'_>, ack: Option<u32>) {
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
    pub(super) fn update_blocked(&mut self, cx: &MetaContext<'_>) {
        if let Some(is_blocked) = self.window.blocked_change() {
            self.input(cx, Input::SetBlocked(is_blocked));
            if self.window.follows_buffers() {
                self.watch_held(cx, is_blocked);
            }
        }
    }

    fn connect_message(&self, cx: &MetaContext<'_>) -> MessageTcpConnect {
        MessageTcpConnect {
            id: cx.alias,
            remote_addr: self.remote_addr.get(),
            local_addr: self.local_addr(),
            handed_over_by: None,
            attempt: cx.quota().attempt(),
            proxied: self
                .permit
                .as_ref()
                .and_then(ConnectionPermit::proxied)
                .map(|proxied| Box::new(proxied.clone())),
            tls: self.machine.tls_info(),
        }
    }

    /// Delivers the Connect of a connection that was handed over.
    pub(super) fn deliver_handed_over(&mut self, cx: &MetaContext<'_>, from: Pid) {
        let mut connect = self.connect_message(cx);
        connect.handed_over_by = Some(from);
        self.deliver_control(cx, Message::TcpConnect(Box::new(connect)));
    }

    fn deliver_connect(&mut self, cx: &mut MetaContext<'_>) {
        // Set before the Connect, because an owner may start TLS as soon as it has that.
        if self.machine.status().is_encrypted {
            cx.quota().set_secured();
        }
        cx.quota().set_established();
        let connect = self.connect_message(cx);
        if let Some(owners) = self.permit.as_ref().and_then(ConnectionPermit::owners) {
            self.spawn_owner(cx, &*owners, connect);
        } else {
            self.handshake_done();
            // The writes that were accepted for the lost connection are not for this one, so the owner's worker opens
            // the quota.
            if cx.quota().is_down() {
                return self.deliver_reopened(cx, connect);
            }
            self.deliver_control(cx, Message::TcpConnect(Box::new(connect)));
        }
    }

    /// Delivers the Connect of a connection that was lost, and a fence behind it.
    #[cold]
    fn deliver_reopened(&mut self, cx: &MetaContext<'_>, connect: MessageTcpConnect) {
        let deliver = &cx.services.deliver;
        if !deliver.deliver_reopened(self.owner, Box::new(connect))
            || !deliver.deliver_ack(self.owner, cx.alias, Ack::Fence)
        {
            self.owner_is_gone(cx);
        }
    }

    fn handshake_done(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.handshake_done();
        }
    }

    /// Spawns a process for the connection, which becomes its parent and owner. Without one the connection is reset,
    /// and counts as one that was not established.
    fn spawn_owner(
        &mut self,
        cx: &mut MetaContext<'_>,
        owners: &dyn SpawnOwner,
        connect: MessageTcpConnect,
    ) {
        match owners.spawn_owner(cx.parent, connect) {
            Ok(owner) if cx.set_parent(owner) => {
                self.owner = owner;
                cx.quota().set_owner(owner);
                self.handshake_done();
                // A drain that began before this process existed has not notified it.
                if self
                    .permit
                    .as_ref()
                    .is_some_and(ConnectionPermit::is_draining)
                {
                    cx.services.deliver.deliver_drain(owner);
                }
            }
            // Without a parent nothing would end the connection, and without an owner nothing would read it.
            _ => {
                self.stream.reset_on_close();
                self.input(cx, Input::Abort);
            }
        }
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        let common = self.permit.as_ref().and_then(ConnectionPermit::local_addr);
        common.unwrap_or_else(|| self.stream.local_addr())
    }

    pub(super) fn deliver_control(&mut self, cx: &MetaContext<'_>, message: Message) {
        if !cx.deliver_control(self.owner, message) {
            self.owner_is_gone(cx);
        }
    }

    /// There is no process left to read for; what the owner sent before its end still goes out.
    fn owner_is_gone(&mut self, cx: &MetaContext<'_>) {
        self.input(cx, Input::Close(DisconnectReason::OwnerGone));
    }

    /// Handles what is asked of the connection, or keeps it while TLS is about to begin.
    #[cold]
    pub(super) fn take_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        message: Message,
    ) -> Result<(), Reason> {
        let Some(message) = self.hold(message) else {
            return Ok(());
        };
        let message = match message {
            Message::Tcp(packet) => {
                self.machine.send(packet.data, cx.now_ms);
                return Ok(());
            }
            message => message,
        };
        // A command starts deadlines that its sender counts from now, not from the beginning of the activation.
        cx.start_deadlines_now();
        match message.take::<SocketCommand>() {
            Ok(SocketCommand::GiveWay) => return self.give_way(cx),
            Ok(SocketCommand::StartTls(side)) => self.begin_secure(cx, side),
            Ok(command) => self.handle_command(cx, command),
            Err(message) => match message.take::<Handshake>() {
                Ok(handshake) => {
                    self.input(cx, Input::HandshakeStep(Box::new(handshake)));
                    let flight_ms = self.machine.status().has_flight.then_some(cx.now_ms);
                    self.await_answer(cx, flight_ms);
                }
                Err(message) => self.divert(cx, message),
            },
        }
        Ok(())
    }

    /// A table with an arm for each command, longer than other functions so that it can be read as one.
    pub(super) fn handle_command(&mut self, cx: &MetaContext<'_>, command: SocketCommand) {
        let input = match command {
            SocketCommand::Write(data) => Input::Write(data),
            SocketCommand::Overflow => {
                self.release_input(cx);
                Input::Close(DisconnectReason::Overflow)
            }
            SocketCommand::Close => {
                self.release_input(cx);
                Input::Close(DisconnectReason::LocalClose)
            }
            SocketCommand::CloseFor(reason) => {
                self.release_input(cx);
                Input::Close(reason)
            }
            SocketCommand::Abort => {
                self.release_input(cx);
                // The peer must not take what has left for the whole.
                self.stream.reset_on_close();
                // What the mailbox refused would hold back the end; an abort discards it.
                drop(self.window.take_refused());
                Input::Abort
            }
            SocketCommand::ShutdownWrite => Input::ShutdownWrite,
            SocketCommand::PauseReading => Input::SetPaused(true),
            SocketCommand::ResumeReading => Input::SetPaused(false),
            // A relayed connection passes bytes on without looking at them.
            SocketCommand::SetFraming(_) if self.relay().is_some() => return,
            SocketCommand::SetFraming(framing) => Input::SetFraming(Arc::new(framing)),
            SocketCommand::Returned(data) => return self.keep_returned(data),
            SocketCommand::PartnerEnded(outcome) => return self.partner_ended(cx, outcome),
            SocketCommand::LookAtHeld => return self.look_at_held(cx),
            SocketCommand::ReportEmpty(asker) => return self.report_empty(asker),
            SocketCommand::StopRelaying(asker) => return self.stop_relaying(cx, asker),
            SocketCommand::RelayStopped => return self.feed_stopped(cx),
            SocketCommand::Drain(_)
            | SocketCommand::PauseAccepting
            | SocketCommand::ResumeAccepting
            | SocketCommand::StartTls(_)
            | SocketCommand::GiveWay => return,
        };
        self.input(cx, input);
    }

    /// Releases what a message that means nothing to a connection counts against the quota.
    pub(super) fn ignore(&mut self, cx: &MetaContext<'_>, message: &Message) {
        self.release_quota(cx, message.output_bytes());
    }

    /// Adds the counters of this connection to those of its listener.
    fn count_end(
        &self,
        cx: &MetaContext<'_>,
        permit: &ConnectionPermit,
        reason: &DisconnectReason,
    ) {
        let counters = &self.machine.counters;
        permit.ended(
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

    /// Counts the end of the connection, and reports it: to the owner, unless the owner never got a Connect.
    pub(super) fn report_end(&mut self, cx: &MetaContext<'_>, disconnect: DisconnectReason) {
        if let Some(permit) = &self.permit {
            self.count_end(cx, permit, &disconnect);
            // The owner has never heard of the connection, so that a Disconnect would be about nothing.
            if !permit.is_established() {
                permit.handshake_failed();
                return self.record_not_established(cx, &disconnect);
            }
        }
        if self.relay().is_some() {
            return self.end_relay(cx, disconnect);
        }
        let message = MessageTcpDisconnect {
            id: cx.alias,
            reason: disconnect,
            bytes_in: self.machine.counters.bytes_in,
            bytes_out: self.machine.counters.bytes_out,
            unsent: cx.unsent,
            refused_bytes: refused_bytes(cx),
            failed_attempts: Vec::new(),
        };
        if planted!(DisconnectTwice) {
            let again = Message::TcpDisconnect(Box::new(message.clone()));
            cx.deliver_control(self.owner, again);
        }
        // A hand-over that has not come here: its new owner gets the Disconnect by the process that has ordered it, and
        // if that one has ended, from here.
        let next_owner = cx
            .quota()
            .other_owner(self.owner)
            .map(|next_owner| (next_owner, message.clone()));
        if !cx.deliver_control(self.owner, Message::TcpDisconnect(Box::new(message)))
            && let Some((next_owner, message)) = next_owner
        {
            cx.deliver_control(next_owner, Message::TcpDisconnect(Box::new(message)));
        }
    }

    fn record_not_established(&self, cx: &MetaContext<'_>, disconnect: &DisconnectReason) {
        let peer = self.remote_addr.get();
        cx.record(Level::Info, Kind::NotEstablished, |record| {
            record.set_text(format_args!(
                "connection of {peer} not established: {disconnect}"
            ));
        });
    }

    /// Handles what came before the transport was established, so that it applies from the first byte on.
    pub(in crate::net::tcp) fn replay_early(&mut self, cx: &MetaContext<'_>, early: Message) {
        match early {
            Message::Tcp(packet) => self.machine.send(packet.data, cx.now_ms),
            early => match early.take() {
                Ok(command) => self.handle_command(cx, command),
                Err(early) => self.ignore(cx, &early),
            },
        }
    }

    /// Ends the connection in order, from outside.
    pub(in crate::net::tcp) fn finish(
        &mut self,
        cx: &mut MetaContext<'_>,
        reason: DisconnectReason,
    ) -> Result<(), Reason> {
        cx.start_deadlines_now();
        // The quota closes before the output is counted, so that no further write is accepted.
        cx.quota().close(cx.alias.generation());
        // What waits for TLS must not leave in plain text, and there will be no TLS.
        if self.is_securing() {
            self.give_up_secure(cx);
        }
        self.release_input(cx);
        self.input(cx, Input::Close(reason));
        self.drive(cx)
    }

    /// Releases bytes of the quota, and lets the owner know if a send was refused and there is room again.
    #[inline]
    pub(super) fn release_quota(&mut self, cx: &MetaContext<'_>, bytes: usize) {
        if bytes > 0 && cx.quota().sent(bytes, self.machine.settings.low_water_mark) {
            self.input(cx, Input::Writable);
            self.release_due = true;
        }
    }

    /// The connection is closing, and nothing bounds its input any more.
    fn release_input(&mut self, cx: &MetaContext<'_>) {
        self.release_due |= cx.quota().take_above();
    }
}

/// Counts the bytes that were written when the connection took no more, with one record for all of them.
fn refused_bytes(cx: &MetaContext<'_>) -> u64 {
    let refused = cx.quota().refused_bytes();
    if refused > 0 {
        cx.record(Level::Debug, Kind::WritesRefused, |record| {
            let text = "bytes were written to the connection when it took no more";
            record.set_text(format_args!("{refused} {text}"));
        });
    }
    refused
}
