//! Input that goes back from the process of an owner to the stripe of its connection, because the owner has relayed it.
//!
//! ```text
//!  owner: relay ──▶ returning ── each envelope of the mailbox ──▶ stripe: behind what was returned before
//!                       │ fence
//!                       ▼
//!                      gone ── fence ──▶ stripe: goes on with what the connection has read meanwhile
//! ```
//!
//! 1. The owner calls `relay`: its stripe delivers no more, and sends a fence behind what it has delivered. What is set
//!    aside here goes back at once, and a session adds what it has not taken.
//! 2. Until the fence comes, all input of the connection that comes out of the mailbox goes back, in order.
//! 3. The fence goes back last. So the stripe has every byte before it, in the order in which it had delivered them.
//!
//! The ends of the peer and of the connection do not go back: the stripe knows them.

use std::sync::Arc;

use super::envelope::{Envelope, Payload};
use super::lifecycle::{Process, ProcessContext};
use super::set_aside::SetAside;
use super::table::Processes;
use crate::bridge::{Ack, Command, RelaySide, SocketCommand};
use crate::id::{Alias, Pid};
use crate::memory::buffer::Buffer;
use crate::message::{CompactMessage, Message, RelayError};

impl Process {
    /// Gives an envelope of the connection back to its stripe.
    #[cold]
    pub(super) fn give_back(&mut self, processes: &Processes, alias: Alias, envelope: Envelope) {
        let is_last = match &envelope.payload {
            Payload::Ack(_, mark) => *mark == Ack::Fence,
            Payload::Message(message) => message.is_disconnect(),
            _ => false,
        };
        if is_last && let Some(aside) = self.life.aside_mut() {
            aside.end_return(alias);
            self.life.free_aside();
        }
        return_envelope(processes, self.life.pid, alias, envelope);
    }
}

fn return_envelope(processes: &Processes, from: Pid, alias: Alias, envelope: Envelope) {
    match envelope.payload {
        Payload::Message(CompactMessage::Tcp(packet)) => {
            return_bytes(processes, from, alias, packet.data);
        }
        Payload::Ack(_, mark) => {
            let command = Command::Acked { to: alias, mark };
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
        let (commands, pid) = (&self.processes.commands, self.life.pid);
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
        if !other.begin_relay(second.generation()) {
            one.cancel_relay(first.generation());
            return Err(RelayError::Closed(second));
        }
        let deliver = Arc::clone(self.processes) as _;
        let sides = RelaySide::pair(pid, pair, Arc::clone(commands), deliver);
        for (side, to) in sides.into_iter().zip(pair) {
            let command = Command::Message {
                to,
                from: pid,
                message: Message::new(side).into(),
            };
            self.processes.commands.push(to.stripe(), command);
            self.return_input(to);
        }
        Ok(())
    }

    /// Transition 1.
    fn return_input(&mut self, alias: Alias) {
        let cold = self.life.cold.get_or_insert_default();
        let aside: &mut SetAside = cold.aside.get_or_insert_default();
        for envelope in aside.begin_return(alias) {
            return_envelope(self.processes, self.life.pid, alias, envelope);
        }
    }

    /// Whether input of the connection goes back to its stripe.
    #[inline]
    pub(crate) fn is_returning(&self, alias: Alias) -> bool {
        self.life
            .aside()
            .is_some_and(|aside| aside.is_returning(alias))
    }

    /// Gives bytes of the connection back to its stripe, behind those that were given back before.
    pub(crate) fn return_bytes(&self, alias: Alias, data: Buffer) {
        return_bytes(self.processes, self.life.pid, alias, data);
    }
}
