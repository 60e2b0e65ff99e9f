//! What the lock of a mailbox guards: whether it is open, its lanes, its bounds, and who waits for room.

use std::collections::VecDeque;

use super::overflow::Overflow;
use super::rooms::Rooms;
use super::{Batch, Bounds, ClosedMailbox, Waiters};
use crate::message::Priority;
use crate::process::class::Class;
use crate::process::envelope::Envelope;
use crate::process::lane::Lane;
use crate::process::relations::Related;
use crate::process::turns::Turns;

/// The fields stand in the order in which a push reads them, so that a push into a burst touches one cache line.
#[derive(Debug)]
#[repr(C)]
pub(super) struct MailboxState {
    pub(super) generation: u32,
    pub(super) status: Status,
    pub(super) bounds: Bounds,
    pub(super) main: Lane,
    pub(super) others: Option<Box<Others>>,
    pub(super) related: Related,
    /// The bound for data. `bounds.data` is 0 instead while data waits, so that a push looks who waits.
    pub(super) data_bound: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Closed,
    Idle,
    Scheduled,
}

/// Rarely used state, allocated on first use and freed when the process becomes idle.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) urgent: VecDeque<Envelope>,
    pub(super) system: VecDeque<Envelope>,
    pub(super) log: VecDeque<Envelope>,
    pub(super) turns: Turns,
    pub(super) rooms: Rooms,
    /// Of a mailbox that drops messages; kept while the process lives.
    pub(super) overflow: Option<Overflow>,
}

impl Others {
    pub(super) fn is_empty(&self) -> bool {
        self.has_no_messages()
            && self.turns.is_empty()
            && self.rooms.is_empty()
            && self.overflow.is_none()
    }

    pub(super) fn has_no_messages(&self) -> bool {
        let lanes = [&self.urgent, &self.system, &self.log];
        lanes.iter().all(|lane| lane.is_empty())
    }
}

impl MailboxState {
    #[inline]
    pub(super) fn bound(&self, class: Class) -> usize {
        match class {
            Class::Normal(Priority::Normal) => self.bounds.main as usize,
            Class::Data(_) => self.bounds.data as usize,
            // Control and urgent messages are never refused: a full mailbox must still be ended and inspected.
            _ => usize::MAX,
        }
    }

    /// Moves what lies in the lanes, and who waits for them, to a mailbox that has been closed.
    #[inline(never)]
    pub(super) fn empty_into(&mut self, batch: &mut Batch, closed: &mut ClosedMailbox) {
        if let Some(others) = self.others.take() {
            let Others {
                urgent,
                system,
                log,
                turns,
                rooms,
                overflow: _,
            } = *others;
            closed
                .envelopes
                // In the order in which they would have been handled.
                .extend(urgent.into_iter().chain(system).chain(log));
            closed.waiters = Some(Box::new(Waiters {
                metas: turns.into_waiters(),
                senders: rooms.into_senders(),
            }));
        }
        // Behind the others: what a batch holds is of the main lane, and older than what lies in it.
        closed.envelopes.extend(batch.chunk.drain());
        self.main.drain_into(&mut closed.envelopes);
    }

    /// Once no data waits, a push need not look for it.
    pub(super) fn forget_waiters(&mut self) {
        let others = self.others.as_ref();
        if others.is_none_or(|others| others.turns.is_empty()) {
            self.bounds.data = self.data_bound;
        }
    }

    #[inline]
    pub(super) fn next_log(&mut self) -> Option<Envelope> {
        self.others.as_mut()?.log.pop_front()
    }
}
