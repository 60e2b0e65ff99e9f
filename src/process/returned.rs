//! Input that goes back from the process of an owner to the stripe of its connection, because the owner has relayed it,
//! handed it over, or started TLS on it.
//!
//! ```text
//!  owner: relay, hand_over, start_tls ──▶ returning ── each envelope of the mailbox ──▶ stripe: behind what was returned before
//!                                             │ fence
//!                                             ▼
//!                                            gone ── fence ──▶ stripe: goes on with what the connection has read meanwhile
//! ```
//!
//! 1. The owner gives the connection away: its stripe delivers no more, and sends a fence behind what it has delivered.
//!    What is set aside here goes back at once, and a session adds what it has not taken.
//! 2. Until the fence comes, all input of the connection that comes out of the mailbox goes back, in order.
//! 3. The fence goes back last; a process that has handed the connection over gives it up with that. So the stripe has
//!    every byte before it, in the order in which it had delivered them.
//!
//! 4. The Disconnect comes instead of the fence: the connection had ended before the order came to it, which is lost.
//!    What was given back is lost as well. The Disconnect goes on to the new owner; that of a relay is kept and
//!    completes the end of the relay, whose side could only report that there was no connection. So the end of a relay
//!    waits here until the input of both connections has gone back. The loss of a connection that would be made anew
//!    counts as its Disconnect: the order ends it, and the stripe sends the new owner its Disconnect.
//!
//! A process that ends before the Disconnect has come out of its mailbox passes it on with its end; once it has ended,
//! the stripe sends it to the new owner itself. So that one gets it in any case, exactly once.
//!
//! The ends of the peer and of the connection do not go back: the stripe knows them. With TLS the owner stays, so the
//! Disconnect is handled where it comes; nothing follows it, no fence either.

use std::sync::Arc;

use super::envelope::{Envelope, Payload};
use super::lifecycle::{Process, ProcessContext};
use super::set_aside::{Return, Returning, SetAside};
use super::table::Processes;
use crate::base::unwind::drop_catching;
use crate::bridge::{Ack, Command, Deliver, HandOver, InputReturned, RelaySide, SocketCommand};
use crate::id::{Alias, Pid};
use crate::memory::buffer::Buffer;
use crate::message::{
    CompactMessage, HandOverError, Message, RelayError, RelayedConnection, StartTlsError,
};

impl Process {
    /// Gives an envelope of the connection back to its stripe.
    #[cold]
    pub(super) fn give_back(&mut self, processes: &Processes, alias: Alias, envelope: Envelope) {
        let has_ended = matches!(&envelope.payload,
            Payload::Message(message) if message.is_disconnect());
        if !has_ended && !matches!(&envelope.payload, Payload::Ack(_, Ack::Fence)) {
            return return_envelope(processes, self.control.pid, alias, envelope);
        }
        let Some(aside) = self.control.aside_mut() else {
            return;
        };
        let returning = aside.end_return(alias);
        if !processes.owns(self.control.pid, alias) {
            // Before the fence leaves: from then on the end of this process is no loss.
            processes.disown(self.control.pid, alias);
        }
        let is_moved =
            returning.is_some_and(|returning| matches!(returning.why, Return::HandedOver(_)));
        if has_ended {
            self.pass_end(processes, alias, envelope, returning);
        } else {
            return_envelope(processes, self.control.pid, alias, envelope);
        }
        self.go_on_with_relay_end(processes, alias);
        self.control.free_aside();
        if is_moved && self.behavior.is_session() {
            let message = Message::new(InputReturned(alias));
            // It runs, so it is there.
            let _ = processes.deliver_control(self.control.pid, self.control.pid, message);
        }
    }

    /// Nothing of the connection comes any more that the end of its relay would have to wait for.
    fn go_on_with_relay_end(&mut self, processes: &Processes, alias: Alias) {
        let aside = self.control.aside_mut();
        let Some(envelope) = aside.and_then(|aside| aside.take_relay_end(alias)) else {
            return;
        };
        if let Payload::Message(message) = envelope.payload {
            // It runs, so it is there.
            let _ = processes.deliver_control(self.control.pid, envelope.from, message.unpack());
        }
    }

    /// Transition 4.
    fn pass_end(
        &mut self,
        processes: &Processes,
        alias: Alias,
        envelope: Envelope,
        returning: Option<Returning>,
    ) {
        let Payload::Message(message) = envelope.payload else {
            return;
        };
        let Some(aside) = self.control.aside_mut() else {
            return;
        };
        if let Some(Return::HandedOver(to)) = returning.map(|returning| returning.why) {
            let message = message.unpack();
            // The loss of a connection that would be made anew: the order ends it, and its stripe sends the Disconnect.
            if matches!(message, Message::TcpReconnecting(_)) {
                return;
            }
            if !processes.deliver_control(to, envelope.from, message) {
                aside.forget_return(alias);
            }
        } else if let Some((reason, unsent)) = message.end_of_connection() {
            aside.keep_end(RelayedConnection {
                id: alias,
                reason: reason.clone(),
                forwarded: 0,
                unsent,
            });
        }
    }
}

impl Processes {
    /// Transition 4 for a process that has ended: what lies in its mailbox is the last message of a connection that it
    /// has handed over.
    #[cold]
    pub(super) fn pass_ends(&self, aside: &mut SetAside, envelopes: &mut Vec<Envelope>) {
        for envelope in envelopes.drain(..) {
            match envelope.payload {
                Payload::Ack(alias, Ack::Fence) => _ = aside.end_return(alias),
                Payload::Message(message) if message.is_disconnect() => {
                    let next_owner = message.input_of().and_then(|alias| aside.next_owner(alias));
                    let message = message.unpack();
                    // The new owner of one that was lost gets its Disconnect from the stripe.
                    if let (Some(next_owner), Message::TcpDisconnect(_)) = (next_owner, &message) {
                        // It may have ended as well.
                        let _ = self.deliver_control(next_owner, envelope.from, message);
                    }
                }
                payload => drop_catching(payload),
            }
        }
    }

    fn owns(&self, pid: Pid, alias: Alias) -> bool {
        let quota = self.commands.quota(alias);
        quota.is_some_and(|quota| quota.is_current(alias.generation()) && quota.is_owner(pid))
    }
}

fn return_envelope(processes: &Processes, from: Pid, alias: Alias, envelope: Envelope) {
    match envelope.payload {
        Payload::Message(CompactMessage::Tcp(packet)) => {
            return_bytes(processes, from, alias, packet.data);
        }
        Payload::Ack(_, ack) => {
            let command = Command::Acked { to: alias, ack };
            processes.commands.push(alias.stripe(), command);
        }
        _ => {}
    }
}

fn return_bytes(processes: &Processes, from: Pid, to: Alias, data: Buffer) {
    let message = Message::new(SocketCommand::Returned(data)).into();
    let command = Command::Message { to, from, message };
    processes.commands.push(to.stripe(), command);
}

impl ProcessContext<'_> {
    /// Lets two connections of this process feed each other.
    pub(crate) fn relay(&mut self, pair: [Alias; 2]) -> Result<(), RelayError> {
        let (commands, pid) = (&self.processes.commands, self.control.pid);
        let [first, second] = pair;
        if first == second {
            return Err(RelayError::Same(first));
        }
        let [one, other] = [
            commands.check_relay(first, pid)?,
            commands.check_relay(second, pid)?,
        ];
        if !one.begin_relay(first.generation()) {
            return Err(RelayError::Closed(first));
        }
        // Both or none: what one side reads would be lost without the other.
        if !other.begin_relay(second.generation()) {
            one.cancel_relay(first.generation());
            return Err(RelayError::Closed(second));
        }
        let deliver = Arc::clone(self.processes) as _;
        let sides = RelaySide::pair(pid, pair, Arc::clone(commands), deliver);
        // The orders go first, as in `hand_over`.
        for (side, to) in sides.into_iter().zip(pair) {
            let command = Command::Message {
                to,
                from: pid,
                message: Message::new(side).into(),
            };
            self.processes.commands.push(to.stripe(), command);
            self.return_input(to, Return::Relayed);
        }
        Ok(())
    }

    /// Gives a connection of this process to another one.
    pub(crate) fn hand_over(&mut self, alias: Alias, to: Pid) -> Result<(), HandOverError> {
        let (commands, from) = (&self.processes.commands, self.control.pid);
        let quota = commands
            .check_relay(alias, from)
            .map_err(|error| match error {
                RelayError::NotOwner(alias) => HandOverError::NotOwner(alias),
                RelayError::NotEstablished(alias) => HandOverError::NotEstablished(alias),
                RelayError::Same(alias) | RelayError::Closed(alias) => HandOverError::Closed(alias),
            })?;
        if quota.is_relayed() {
            return Err(HandOverError::Closed(alias));
        }
        if to == from || !self.processes.is_alive(to) {
            return Err(HandOverError::NoProcess(to));
        }
        if !self.processes.takes_connections(to) {
            return Err(HandOverError::NotAnOwner(to));
        }
        // The order goes first: input that comes back before it would be dropped.
        let command = Command::Message {
            to: alias,
            from,
            message: Message::new(HandOver { from, to }).into(),
        };
        commands.push(alias.stripe(), command);
        quota.set_owner(to);
        self.return_input(alias, Return::HandedOver(to));
        Ok(())
    }

    /// Starts TLS on a connection of this process. `order` says which side of it this is.
    pub(crate) fn start_tls(&mut self, alias: Alias, order: Message) -> Result<(), StartTlsError> {
        let (commands, from) = (&self.processes.commands, self.control.pid);
        let quota = commands
            .check_relay(alias, from)
            .map_err(|error| match error {
                RelayError::NotOwner(alias) => StartTlsError::NotOwner(alias),
                RelayError::NotEstablished(_) => StartTlsError::NotEstablished,
                RelayError::Same(alias) | RelayError::Closed(alias) => StartTlsError::Closed(alias),
            })?;
        if quota.is_closing(alias.generation()) {
            return Err(StartTlsError::Closed(alias));
        }
        // Set by the first call, so that one before the end of the handshake is refused as well.
        if !quota.set_secured() {
            return Err(StartTlsError::AlreadyStarted(alias));
        }
        let command = Command::Message {
            to: alias,
            from,
            message: order.into(),
        };
        // The order goes first, as in `hand_over`.
        commands.push(alias.stripe(), command);
        self.return_input(alias, Return::Secured);
        Ok(())
    }

    /// Whether this process owns the connection.
    pub(crate) fn owns(&self, alias: Alias) -> bool {
        self.processes.owns(self.control.pid, alias)
    }

    /// Transition 1.
    fn return_input(&mut self, alias: Alias, why: Return) {
        let cold = self.control.cold.get_or_insert_default();
        let aside: &mut SetAside = cold.aside.get_or_insert_default();
        for envelope in aside.begin_return(alias, why) {
            return_envelope(self.processes, self.control.pid, alias, envelope);
        }
    }

    /// Whether the connection is relayed.
    pub(crate) fn is_relayed(&self, alias: Alias) -> bool {
        let quota = self.processes.commands.quota(alias);
        quota.is_some_and(|quota| quota.is_current(alias.generation()) && quota.is_relayed())
    }

    /// Whether input of the connection goes back to its stripe.
    #[inline]
    pub(crate) fn is_returning(&self, alias: Alias) -> bool {
        self.control
            .aside()
            .is_some_and(|aside| aside.is_returning(alias))
    }

    /// Gives bytes of the connection back to its stripe, behind those that were given back before.
    pub(crate) fn return_bytes(&self, alias: Alias, data: Buffer) {
        return_bytes(self.processes, self.control.pid, alias, data);
    }
}
