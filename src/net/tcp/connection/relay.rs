//! A connection that is relayed: its input goes to another connection instead of its owner.
//!
//! ```text
//!            RelaySide              fence              partner above its high mark
//!  owned ──────────────▶ fenced ──────────▶ flowing ─────────────────────────────▶ stopped
//!                                              ▲                  wake               │
//!                                              └─────────────────────────────────────┘
//! ```
//!
//! 1. The command comes: nothing more is delivered. A fence goes behind what the owner has been given, and the owner
//!    gives all of that back, in order. The partner is woken, because it may have stopped before this side could know.
//! 2. The fence comes: what was given back goes to the partner first, then what was read meanwhile.
//! 3. The step that queues bytes for the partner finds its output above the high mark: reading stops.
//! 4. The partner's output has fallen to its low mark: it wakes this side, which looks at the mark itself.
//! 5. This connection closes: the partner passes nothing more on, and answers behind its last bytes.
//! 6. The answer comes, or the end of the partner: everything that was accepted is here, and FIN may follow it.
//!
//! Bad interleaving of 3 and 4: the partner's stripe drains the output before it has handled its own `RelaySide`,
//! releases set-aside input instead of waking this side, and no wake comes. Excluded by the wake in 1, which the
//! partner sends when it has handled it. (`loom_relay_that_stops_above_the_high_mark_is_woken`.)
//!
//! Bad interleaving of 5 and the partner: this side sends what it has, then FIN, and the partner, which has not learned
//! of the close, passes on more, so that bytes are accepted and never sent although the peer sees an orderly end.
//! Excluded by the answer, which 6 waits for within the close timeout. A partner whose `RelaySide` comes behind the
//! command finds the close in what the two share.
//!
//! The end of the peer becomes a command to shut down the partner's write side, behind the data. The end of this
//! connection is reported to the [`RelaySide`], which notifies the partner and, at the second end, the owner.

use std::collections::VecDeque;

use super::Driver;
use super::diversion::Diversion;
use crate::bridge::{Ack, Command, HandOver, RelayOutcome, RelaySide, SocketCommand};
use crate::error::{DisconnectReason, Reason};
use crate::id::Alias;
use crate::memory::buffer::Buffer;
use crate::message::{CompactMessage, Message, RelayedConnection};
use crate::meta::MetaContext;
use crate::proto::tcp::Input;

/// See the module.
pub(super) struct Relay {
    side: RelaySide,
    /// What the owner gave back and has not been passed on.
    returned: VecDeque<Buffer>,
    is_fenced: bool,
    is_stopped: bool,
    /// The end of the peer has been passed on.
    has_passed_end: bool,
    /// The partner closes: what this connection reads is dropped.
    is_cut: bool,
    forwarded: u64,
}

impl Relay {
    fn new(side: RelaySide) -> Self {
        Self {
            side,
            returned: VecDeque::new(),
            is_fenced: true,
            is_stopped: false,
            has_passed_end: false,
            is_cut: false,
            forwarded: 0,
        }
    }

    /// Whether the partner takes what this connection reads.
    #[inline]
    pub(super) fn takes_data(&self) -> bool {
        !self.is_fenced && !self.is_stopped && self.returned.is_empty()
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    pub(super) fn side(&self) -> &RelaySide {
        &self.side
    }

    pub(super) fn partner(&self) -> Alias {
        self.side.partner()
    }

    fn forward(&mut self, cx: &MetaContext<'_>, data: Buffer) {
        if self.is_cut {
            return;
        }
        let bytes = data.len() as u64;
        // A partner that has ended reports that by itself.
        let is_above = cx.services.commands.relay(self.partner(), cx.parent, data);
        if let Some(is_above) = is_above {
            self.forwarded += bytes;
            self.is_stopped = is_above;
        }
    }

    /// What the end of this connection means for its partner.
    fn outcome(&self, reason: &DisconnectReason, unsent: u64) -> RelayOutcome {
        match reason {
            // A part must not look like the whole to the peer of the partner.
            _ if unsent > 0 || !self.returned.is_empty() => RelayOutcome::Lost,
            DisconnectReason::ClosedByPeer if self.has_passed_end => RelayOutcome::Complete,
            DisconnectReason::Exit(Reason::Kill) => RelayOutcome::Lost,
            DisconnectReason::LocalClose
            | DisconnectReason::Exit(_)
            | DisconnectReason::OwnerGone
            | DisconnectReason::NodeStop
            | DisconnectReason::Drain
            | DisconnectReason::IdleTimeout => RelayOutcome::Closed(reason.clone()),
            _ => RelayOutcome::Lost,
        }
    }
}

impl Driver {
    /// Takes an order of the owner to give its input away; others mean nothing here.
    #[cold]
    pub(super) fn divert(&mut self, cx: &mut MetaContext<'_>, message: Message) {
        match message.take::<RelaySide>() {
            Ok(side) => {
                if let Some(side) = self.defer_relay(side) {
                    self.join_relay(cx, side);
                }
            }
            Err(message) => match message.take::<HandOver>() {
                Ok(order) => self.begin_hand_over(cx, order),
                Err(message) => self.ignore(cx, &message),
            },
        }
    }

    #[inline]
    fn relay_mut(&mut self) -> Option<&mut Relay> {
        self.diversion.as_mut()?.relay_mut()
    }

    /// Transition 1.
    pub(super) fn join_relay(&mut self, cx: &MetaContext<'_>, side: RelaySide) {
        let partner = side.partner();
        self.input(cx, Input::Relayed);
        // A pause belongs to the owner, which does not read this connection any more.
        self.input(cx, Input::SetPaused(false));
        let awaits_partner = self.is_closing() && side.begin_close();
        self.diversion = Some(Box::new(Diversion::Relay(Relay::new(side))));
        if !awaits_partner {
            self.feed_stopped(cx);
        }
        // What is read meanwhile waits, and so does the end of the peer behind it: an end that was delivered before
        // would let the end of the partner end this connection while the owner still has input of it.
        self.input(cx, Input::RepeatPeerEnd);
        let deliver = &cx.services.deliver;
        if !deliver.deliver_ack(self.owner, cx.alias, Ack::Fence) {
            self.input(cx, Input::Close(DisconnectReason::OwnerGone));
        }
        // The partner may have stopped before this side could wake it; see the page.
        wake(cx, partner);
    }

    /// Transition 2.
    pub(super) fn pass_fence(&mut self, cx: &MetaContext<'_>) {
        let refused = self.window.take_refused();
        self.window.reset();
        self.update_blocked(cx);
        let Some(relay) = self.relay_mut() else {
            return;
        };
        relay.is_fenced = false;
        relay.is_cut |= relay.side.is_partner_closing();
        // The mailbox refused it behind everything that it holds.
        if let Some(CompactMessage::Tcp(packet)) = refused {
            relay.returned.push_back(packet.data);
        }
        self.forward_returned(cx);
    }

    /// Keeps what the owner gives back.
    pub(super) fn keep_returned(&mut self, data: Buffer) {
        match self.diversion.as_deref_mut() {
            Some(Diversion::Relay(relay)) => relay.returned.push_back(data),
            Some(Diversion::Move(current)) => current.keep_returned(data),
            Some(Diversion::Secure(secure)) => secure.keep_returned(data),
            None => {}
        }
    }

    fn forward_returned(&mut self, cx: &MetaContext<'_>) {
        let Some(relay) = self.relay_mut() else {
            return;
        };
        // Bytes that were given back may bring the partner above its mark as well.
        while !relay.is_fenced && !relay.is_stopped {
            let Some(data) = relay.returned.pop_front() else {
                break;
            };
            relay.forward(cx, data);
        }
        self.block_while_stopped(cx);
    }

    /// Transition 3.
    pub(super) fn forward(&mut self, cx: &MetaContext<'_>, data: Buffer) {
        let Some(relay) = self.relay_mut() else {
            return;
        };
        relay.forward(cx, data);
        if relay.is_stopped {
            self.block_while_stopped(cx);
        }
    }

    /// Transition 4.
    pub(super) fn resume_relay(&mut self, cx: &MetaContext<'_>) {
        let Some(relay) = self.relay_mut() else {
            return;
        };
        let partner = relay.side.partner();
        let quota = cx.services.commands.quota(partner);
        // The wake says only that something has changed: it may come for another reason, or late.
        relay.is_stopped = quota.is_some_and(|quota| quota.is_above(partner.generation()));
        self.forward_returned(cx);
    }

    fn block_while_stopped(&mut self, cx: &MetaContext<'_>) {
        if let Some(relay) = self.relay() {
            let is_blocked = relay.is_stopped;
            self.input(cx, Input::SetBlocked(is_blocked));
        }
    }

    /// The peer has ended its side: so does this side of the partner, behind the data.
    pub(super) fn pass_end(&mut self, cx: &MetaContext<'_>) {
        let Some(relay) = self.relay_mut() else {
            return;
        };
        relay.has_passed_end = true;
        let to = relay.partner();
        let command = Command::Message {
            to,
            from: cx.parent,
            message: Message::new(SocketCommand::ShutdownWrite).into(),
        };
        cx.services.commands.push(to.stripe(), command);
    }

    /// Transition 5: has the partner pass nothing more on, if this connection closes. Returns whether an answer
    /// follows.
    pub(super) fn stop_feed(&self, cx: &MetaContext<'_>) -> bool {
        if !cx.quota().is_relayed() || !self.is_closing() {
            return false;
        }
        match self.diversion.as_deref() {
            // The order is on its way here, and `join_relay` asks.
            None => true,
            Some(diversion) => diversion.relay_side().is_some_and(RelaySide::begin_close),
        }
    }

    fn is_closing(&self) -> bool {
        self.machine.status().state == "closing"
    }

    /// The partner closes.
    pub(super) fn stop_relaying(&mut self, cx: &MetaContext<'_>, asker: Alias) {
        if let Some(relay) = self.relay_mut() {
            relay.is_cut = true;
        }
        let command = Command::Message {
            to: asker,
            from: cx.parent,
            message: Message::new(SocketCommand::RelayStopped).into(),
        };
        cx.services.commands.push(asker.stripe(), command);
    }

    /// Transition 6: nothing more comes from the partner.
    pub(super) fn feed_stopped(&mut self, cx: &MetaContext<'_>) {
        if self.is_closing() {
            self.input(cx, Input::QuotaClosed(cx.quota().queued()));
        }
    }

    /// The partner has ended.
    pub(super) fn partner_ended(&mut self, cx: &MetaContext<'_>, outcome: RelayOutcome) {
        self.feed_stopped(cx);
        match outcome {
            RelayOutcome::Complete => {}
            RelayOutcome::Closed(reason) => self.input(cx, Input::Close(reason)),
            RelayOutcome::Lost => {
                // The peer must not take a part for the whole.
                self.stream.reset_on_close();
                self.input(cx, Input::Abort);
            }
        }
    }

    /// Reports the end of a relayed connection.
    pub(super) fn end_relay(&mut self, cx: &MetaContext<'_>, reason: DisconnectReason) {
        let Some(Diversion::Relay(relay)) = self.diversion.take().map(|diversion| *diversion)
        else {
            return;
        };
        let outcome = relay.outcome(&reason, cx.unsent);
        let end = RelayedConnection {
            id: cx.alias,
            reason,
            forwarded: relay.forwarded,
            unsent: cx.unsent,
        };
        relay.side.end(end, outcome);
    }
}

/// Lets a connection that has stopped look at the output of its partner again.
pub(super) fn wake(cx: &MetaContext<'_>, to: Alias) {
    cx.services.commands.push(to.stripe(), Command::Wake { to });
}
