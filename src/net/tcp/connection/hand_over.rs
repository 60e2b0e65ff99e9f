//! A connection that moves from one owner to another.
//!
//! ```text
//!            HandOver                          fence
//!  owned ──────────────▶ fenced, Connect ──────────────▶ owned by the other
//!                           │ either owner ends
//!                           ▼
//!                         reset, OwnerGone
//! ```
//!
//! 1. The command comes: the new owner becomes owner and parent and gets its Connect. Nothing else is delivered. A
//!    fence goes behind what the old owner has been given, and it gives all of that back, in order.
//! 2. The fence comes: what was given back is delivered before what was read meanwhile. Without a framing it goes back
//!    into the input of the machine, so that a framing that the new owner has set holds from the first byte on; frames
//!    are delivered as they were cut.
//! 3. A hand-over, a relay or TLS that the new owner asks for meanwhile waits for the fence, and then takes everything
//!    over.
//!
//! The old owner keeps the connection among its own until the fence comes, so that its end is noticed: what it has not
//! given back is lost, and the peer must not take the rest for the whole. The same holds for the end of the new owner.

use std::collections::VecDeque;

use super::Driver;
use super::diversion::Diversion;
use crate::bridge::{Ack, HandOver, RelaySide};
use crate::error::DisconnectReason;
use crate::id::Pid;
use crate::memory::buffer::Buffer;
use crate::message::{CompactMessage, Message, MessageTcp};
use crate::meta::MetaContext;
use crate::proto::tcp::Input;
use crate::record::{Kind, Level};
use crate::tls::StartTls;

/// See the module.
pub(super) struct Move {
    from: Pid,
    returned: VecDeque<Buffer>,
    is_fenced: bool,
    /// The input had no framing when the hand-over began.
    is_raw: bool,
    next: VecDeque<Next>,
}

/// What waits for the fence.
enum Next {
    HandOver(HandOver),
    Relay(RelaySide),
    /// With what is asked of the connection behind it.
    Secure(StartTls, VecDeque<Message>),
}

impl Move {
    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    pub(super) fn keep_returned(&mut self, data: Buffer) {
        self.returned.push_back(data);
    }

    pub(super) fn take_returned(&mut self) -> VecDeque<Buffer> {
        std::mem::take(&mut self.returned)
    }

    /// The share in a relay that waits for the fence.
    pub(super) fn relay_side(&self) -> Option<&RelaySide> {
        self.next.iter().find_map(|next| match next {
            Next::Relay(side) => Some(side),
            Next::HandOver(_) | Next::Secure(..) => None,
        })
    }

    pub(super) fn secure_next(&mut self, side: StartTls) {
        self.next.push_back(Next::Secure(side, VecDeque::new()));
    }

    /// Whether TLS begins behind the fence.
    pub(super) fn is_secured_next(&self) -> bool {
        matches!(self.next.back(), Some(Next::Secure(..)))
    }

    /// Keeps what is asked for behind that.
    pub(super) fn hold(&mut self, message: Message) {
        if let Some(Next::Secure(_, held)) = self.next.back_mut() {
            held.push_back(message);
        }
    }
}

impl Driver {
    /// Transition 1.
    pub(super) fn begin_hand_over(&mut self, cx: &mut MetaContext<'_>, order: HandOver) {
        let mut returned = VecDeque::new();
        let mut is_raw = self.machine.status().is_raw;
        match self.diversion.as_deref_mut() {
            // The owner that gives it on has not got everything back yet, and the order of the bytes would be lost.
            Some(Diversion::Move(current)) if current.is_fenced => {
                return current.next.push_back(Next::HandOver(order));
            }
            // Frames that the mailbox of the last owner has not taken.
            Some(Diversion::Move(current)) => {
                returned = std::mem::take(&mut current.returned);
                is_raw = false;
            }
            // Of TLS that is about to begin: it has held the order.
            Some(Diversion::Relay(_) | Diversion::Secure(_)) => return,
            None => {}
        }
        self.move_owner(cx, order, returned, is_raw);
    }

    fn move_owner(
        &mut self,
        cx: &mut MetaContext<'_>,
        order: HandOver,
        returned: VecDeque<Buffer>,
        is_raw: bool,
    ) {
        let deliver = &cx.services.deliver;
        let is_adopted = deliver.adopt(order.to, cx.alias);
        if is_adopted {
            let parent = std::mem::replace(&mut cx.parent, order.to);
            // A parent that is the old owner keeps the connection until the fence comes; see the page.
            if parent != order.from {
                deliver.disown(parent, cx.alias);
            }
            self.owner = order.to;
            self.reports_empty = false;
        }
        // A pause belongs to the owner that has asked for it, and the new one does not know of it.
        self.input(cx, Input::SetPaused(false));
        self.diversion = Some(Box::new(Diversion::Move(Move {
            from: order.from,
            returned,
            is_fenced: true,
            is_raw,
            next: VecDeque::new(),
        })));
        if !is_adopted
            || !cx
                .services
                .deliver
                .deliver_ack(order.from, cx.alias, Ack::Fence)
        {
            // One of the two owners is gone, so that bytes are missing or have no receiver.
            return self.fail_hand_over(cx);
        }
        self.deliver_handed_over(cx, order.from);
    }

    /// Transition 2.
    pub(super) fn end_hand_over(&mut self, cx: &mut MetaContext<'_>) {
        if !matches!(self.diversion.as_deref(), Some(Diversion::Move(_))) {
            return;
        }
        // The mailbox of the old owner refused it, so it comes after everything that was given back.
        let refused = self.window.take_refused();
        self.window.reset();
        self.update_blocked(cx);
        let Some(Diversion::Move(current)) = self.diversion.as_deref_mut() else {
            return;
        };
        current.is_fenced = false;
        if let Some(CompactMessage::Tcp(packet)) = refused {
            current.returned.push_back(packet.data);
        }
        let (from, next) = (current.from, current.next.pop_front());
        // From here on the end of the old owner concerns this connection no more.
        if from != cx.parent {
            cx.services.deliver.disown(from, cx.alias);
        }
        // The machine has reported the end of the peer to the old owner, before or during the hand-over.
        self.input(cx, Input::RepeatPeerEnd);
        match next {
            None => self.deliver_returned(cx),
            Some(next) => self.begin_next(cx, next),
        }
    }

    /// Transition 3.
    fn begin_next(&mut self, cx: &mut MetaContext<'_>, next: Next) {
        let Some(Diversion::Move(last)) = self.diversion.take().map(|diversion| *diversion) else {
            return;
        };
        match next {
            Next::HandOver(order) => {
                self.move_owner(cx, order, last.returned, last.is_raw);
                if let Some(Diversion::Move(current)) = self.diversion.as_deref_mut() {
                    current.next.extend(last.next);
                }
            }
            // Nothing can wait behind it but what it holds.
            Next::Secure(side, held) => self.secure(cx, side, last.returned, held, last.is_raw),
            Next::Relay(side) => {
                self.join_relay(cx, side);
                last.returned
                    .into_iter()
                    .for_each(|data| self.keep_returned(data));
            }
        }
    }

    /// Keeps a relay waiting until the fence has come, or gives it back.
    pub(super) fn defer_relay(&mut self, side: RelaySide) -> Option<RelaySide> {
        match self.diversion.as_deref_mut() {
            Some(Diversion::Move(current)) if current.is_fenced => {
                current.next.push_back(Next::Relay(side));
                None
            }
            _ => Some(side),
        }
    }

    /// Delivers what was given back, as far as the mailbox takes it.
    pub(super) fn deliver_returned(&mut self, cx: &MetaContext<'_>) {
        let Some(Diversion::Move(current)) = self.diversion.as_deref_mut() else {
            return;
        };
        if current.is_fenced {
            return;
        }
        // A framing that the new owner has set must see these bytes before those that were read later.
        if current.is_raw {
            let returned = std::mem::take(&mut current.returned);
            self.input(cx, Input::Unread(returned));
        } else {
            let mut returned = std::mem::take(&mut current.returned);
            // The mailbox of the new owner may fill up in between.
            while !self.window.has_refused()
                && let Some(data) = returned.pop_front()
            {
                let message = MessageTcp { id: cx.alias, data };
                self.deliver_data(cx, CompactMessage::Tcp(message));
            }
            if !returned.is_empty() {
                if let Some(Diversion::Move(current)) = self.diversion.as_deref_mut() {
                    current.returned = returned;
                }
                return;
            }
        }
        self.diversion = None;
    }

    /// Whether an owner has ended before the fence has come. Then the connection is reset.
    pub(super) fn has_failed_hand_over(&mut self, cx: &MetaContext<'_>) -> bool {
        let Some(Diversion::Move(current)) = self.diversion.as_deref() else {
            return false;
        };
        let deliver = &cx.services.deliver;
        // After the fence everything has come back, and the old owner may end.
        if !current.is_fenced || (deliver.is_alive(current.from) && deliver.is_alive(self.owner)) {
            return false;
        }
        self.fail_hand_over(cx);
        true
    }

    fn fail_hand_over(&mut self, cx: &MetaContext<'_>) {
        let peer = self.remote_addr.get();
        cx.record(Level::Warn, Kind::NoOwner, |record| {
            record.set_text(format_args!(
                "connection of {peer} reset: an owner ended while it was handed over"
            ));
        });
        // The peer must not take a part for the whole.
        self.stream.reset_on_close();
        // The mailbox of the old owner refused it behind what is lost now.
        drop(self.window.take_refused());
        self.input(cx, Input::AbortFor(DisconnectReason::OwnerGone));
        if let Some(Diversion::Move(current)) = self.diversion.take().map(|diversion| *diversion)
            && current.from != cx.parent
        {
            cx.services.deliver.disown(current.from, cx.alias);
        }
    }
}
