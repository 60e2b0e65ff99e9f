//! A plain connection on which TLS begins.
//!
//! ```text
//!           StartTls             fence            output has left
//!  plain ──────────────▶ fenced ───────▶ draining ───────────────▶ handshaking ─▶ TLS
//!                           │               │ bytes behind the command, cut into frames; an exit
//!                           └───────────────┴──▶ closes in plain text
//! ```
//!
//! 1. The command comes: nothing more is read or delivered. A fence goes behind what the owner has been given, and the
//!    owner gives all of that back, in order. Everything that is asked of the connection from now on is held: a write
//!    would leave in plain text.
//! 2. The fence comes, and the earlier writes have left, in either order. What was given back, and what was read and
//!    not delivered, are the first bytes of TLS. Then what was held is handled, in order, as on a connection that
//!    begins with TLS: output waits for the handshake.
//! 3. A framing has cut what lies behind the command, and the bytes that were between the frames are gone: the
//!    connection closes. An exit or a stop of the node closes it as well. What was held is dropped and counted as
//!    unsent, never sent in plain text.
//!
//! Bad interleaving: the stripe reads the command of the peer together with bytes behind it, the owner starts TLS while
//! these bytes are in its mailbox, and takes them for what TLS has protected (CVE-2011-0411). Excluded by the fence:
//! the owner gives back what lies before it, and nothing is delivered behind it before the handshake is done.
//!
//! Bad interleaving: the owner writes the answer to the command, starts TLS and writes again; the second write
//! overtakes the handshake in the output that the peer does not read. Excluded because both writes and the order travel
//! in one queue, and what comes behind the order is held here until the output is empty.
//!
//! The deadline of the handshake counts from 2 on. Before, that of waiting output and that of an idle peer hold as on
//! every connection.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Driver;
use super::diversion::Diversion;
use crate::bridge::{Ack, SocketCommand};
use crate::error::{DisconnectReason, Reason};
use crate::memory::buffer::Buffer;
use crate::message::{CompactMessage, Message, MessageTcpSecured};
use crate::meta::MetaContext;
use crate::net::tcp::tls;
use crate::proto::tcp::Input;
use crate::tls::StartTls;

/// See the module.
pub(super) struct Secure {
    side: StartTls,
    /// The input that was not handled in plain text.
    returned: VecDeque<Buffer>,
    /// What is asked of the connection meanwhile.
    held: VecDeque<Message>,
    is_fenced: bool,
    /// The input had no framing when the command came.
    is_raw: bool,
}

impl Secure {
    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    pub(super) fn keep_returned(&mut self, data: Buffer) {
        self.returned.push_back(data);
    }

    pub(super) fn hold(&mut self, message: Message) {
        self.held.push_back(message);
    }
}

/// Whether a command is handled although TLS is about to begin.
pub(super) fn passes(message: &Message) -> bool {
    matches!(
        message.downcast_ref(),
        Some(
            SocketCommand::Abort
                | SocketCommand::Returned(_)
                | SocketCommand::PartnerEnded(_)
                | SocketCommand::StopRelaying(_)
                | SocketCommand::RelayStopped
                | SocketCommand::GiveWay
        )
    )
}

impl Driver {
    /// Transition 1, unless a hand-over is on its way: then it waits for that one's fence.
    pub(super) fn begin_secure(&mut self, cx: &MetaContext<'_>, side: StartTls) {
        match self.diversion.as_deref_mut() {
            Some(Diversion::Move(current)) if current.is_fenced() => current.secure_next(side),
            // Frames that the mailbox has not taken yet.
            Some(Diversion::Move(current)) => {
                let returned = current.take_returned();
                self.secure(cx, side, returned, VecDeque::new(), false);
            }
            // Excluded where the command is made.
            Some(Diversion::Relay(_) | Diversion::Secure(_)) => {}
            None => {
                let is_raw = self.machine.status().is_raw;
                self.secure(cx, side, VecDeque::new(), VecDeque::new(), is_raw);
            }
        }
    }

    pub(super) fn secure(
        &mut self,
        cx: &MetaContext<'_>,
        side: StartTls,
        returned: VecDeque<Buffer>,
        held: VecDeque<Message>,
        is_raw: bool,
    ) {
        self.diversion = Some(Box::new(Diversion::Secure(Secure {
            side,
            returned,
            held,
            is_fenced: true,
            is_raw,
        })));
        // A flush looks at the connection again, however little there is to do.
        self.readable = true;
        let deliver = &cx.services.deliver;
        if !deliver.deliver_ack(self.owner, cx.alias, Ack::Fence) {
            self.give_up_secure(cx);
            self.input(cx, Input::Close(DisconnectReason::OwnerGone));
        }
    }

    /// The fence has come: all input that was not handled is here.
    pub(super) fn pass_secure_fence(&mut self, cx: &MetaContext<'_>) {
        let refused = self.window.take_refused();
        self.window.reset();
        self.update_blocked(cx);
        if let Some(Diversion::Secure(secure)) = self.diversion.as_deref_mut() {
            secure.is_fenced = false;
            // The mailbox refused it behind everything that it holds.
            if let Some(CompactMessage::Tcp(packet)) = refused {
                secure.returned.push_back(packet.data);
            }
        }
    }

    /// Whether TLS is about to begin: nothing is read, and what is asked of the connection waits.
    #[inline]
    pub(super) fn is_securing(&self) -> bool {
        matches!(self.diversion.as_deref(), Some(Diversion::Secure(_)))
    }

    /// Transition 2 or 3, when it is time.
    #[cold]
    pub(super) fn go_on_securing(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let Some(Diversion::Secure(secure)) = self.diversion.as_deref() else {
            return Ok(());
        };
        match self.machine.status().can_start_tls {
            // It is ending, for a reason of its own.
            None => self.give_up_secure(cx),
            // Earlier writes must have left, because TLS encrypts whatever is in the output when it begins.
            Some(has_left) if has_left && !secure.is_fenced => return self.begin_tls(cx),
            Some(_) => {}
        }
        Ok(())
    }

    fn begin_tls(&mut self, cx: &mut MetaContext<'_>) -> Result<(), Reason> {
        let Some(Diversion::Secure(secure)) = self.diversion.take().map(|diversion| *diversion)
        else {
            return Ok(());
        };
        // The bytes between the frames are gone, so that a TLS record cannot be put together again; and what came
        // unprotected must not be taken for protected.
        if !secure.is_raw && (!secure.returned.is_empty() || self.machine.status().has_unread) {
            self.refuse_tls(cx, "plaintext behind STARTTLS");
            return Ok(());
        }
        let tls = match tls::start(&secure.side, &cx.services.log, self.remote_addr.get()) {
            Ok(tls) => tls,
            Err(error) => {
                self.refuse_tls(cx, &error.to_string());
                return Ok(());
            }
        };
        let mut ahead = Buffer::new();
        for part in secure.returned {
            ahead.extend_from_slice(&part);
        }
        ahead.extend_from_slice(&self.machine.take_unread());
        // These bytes were counted as plain input, and are counted again when TLS has decrypted them.
        let bytes_in = &mut self.machine.counters.bytes_in;
        *bytes_in = bytes_in.saturating_sub(ahead.len() as u64);
        self.input(cx, Input::StartTls(Box::new(tls)));
        if !ahead.is_empty() {
            self.receive_handshake_bytes(cx, &mut ahead);
        }
        for message in secure.held {
            self.take_message(cx, message)?;
        }
        Ok(())
    }

    /// Transition 3: closes in plain text.
    fn refuse_tls(&mut self, cx: &MetaContext<'_>, why: &str) {
        self.give_up_secure(cx);
        let reason = DisconnectReason::Tls(Arc::from(why));
        self.input(cx, Input::Close(reason));
    }

    /// Drops what was held, and accepts no more output.
    pub(super) fn give_up_secure(&mut self, cx: &MetaContext<'_>) {
        self.diversion = None;
        self.input(cx, Input::RefuseOutput);
    }

    /// The handshake of a connection that was plain is done.
    pub(super) fn deliver_secured(&mut self, cx: &MetaContext<'_>) {
        if let Some(tls) = self.machine.tls_info() {
            let secured = MessageTcpSecured { id: cx.alias, tls };
            self.deliver_control(cx, Message::TcpSecured(Box::new(secured)));
        }
    }
}
