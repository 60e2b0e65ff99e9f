//! Turns: how meta-processes whose data was refused by a full mailbox get room in it.
//!
//! ```text
//!            refused                 half of the room is free          the callback is over
//!  newcomer ─────────▶ waits in line ────────────────────────▶ in turn ─────────────────────▶ newcomer
//!                           ▲                                     │
//!                           └────────── refused once more ────────┘   at the front
//! ```
//!
//! 1. A meta-process whose data is refused is put at the end of the line. It knows that it is there
//!    ([`Waits`](crate::meta::Waits)) and does not push again, so nothing searches the line. While
//!    others wait, data that comes without a turn waits behind them.
//! 2. When half of the room is free the first ones are resumed, as many as there is room for, each
//!    with its share of the room. What is granted counts against the bound until the turn has ended.
//! 3. The stripe ends the turn behind the callback, also of a meta-process that is gone. What was
//!    not used is room for the next ones. The consumer resumes them, or the end of a turn does,
//!    depending on which finds the room first.
//!
//! All of this runs under the lock of the mailbox. The line does not know what the data is, and it
//! does not count messages: the mailbox passes in how many are queued.

use std::collections::VecDeque;

use crate::bridge::Claim;
use crate::id::Alias;

/// Messages that a waiter may send when it is resumed, if there is room for no more. With this many,
/// one that begins to wait behind 10,000 others has its turn when its mailbox has handled 80,000
/// messages. With half of them it has its turn little sooner, because a connection that sends four
/// messages of 32 bytes and then waits costs twice as much for each: its state is not in the cache.
const TURN: u32 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// In the order of their first refusal. Each is here at most once.
    waiters: VecDeque<Alias>,
    /// Messages that resumed meta-processes may still send in their turns.
    granted: u32,
}

/// A meta-process whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resumed {
    pub(crate) alias: Alias,
    /// How many messages it may send.
    pub(crate) messages: u32,
}

impl Turns {
    /// Whether data that comes now has no other before it.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.granted == 0
    }

    /// Whether a mailbox with `queued` messages must refuse one more.
    pub(super) fn refuse(&self, claim: Claim, queued: usize, bound: usize) -> bool {
        match claim {
            Claim::Newcomer(_) => {
                // What is granted counts as taken: a newcomer must not have the room of one whose turn it is.
                !self.waiters.is_empty() || queued + self.granted as usize >= bound
            }
            Claim::InTurn(_) => queued >= bound,
        }
    }

    /// Puts a meta-process that was refused in line.
    pub(super) fn wait(&mut self, claim: Claim) {
        match claim {
            Claim::Newcomer(alias) => self.waiters.push_back(alias),
            // Messages of processes have filled the room that was granted: it keeps its place.
            Claim::InTurn(alias) => self.waiters.push_front(alias),
        }
    }

    /// Gives the first waiters their turn, as many as there is room for beside `queued` messages.
    /// Waits until half of the room is free, so that they come in batches. Each gets its share of the
    /// room, at least [`TURN`] messages.
    pub(super) fn resume(&mut self, queued: usize, bound: u32, resumed: &mut Vec<Resumed>) {
        let taken = u32::try_from(queued)
            .unwrap_or(u32::MAX)
            .saturating_add(self.granted);
        if taken > bound / 2 || self.waiters.is_empty() {
            return;
        }
        let room = bound - taken;
        let waiters = u32::try_from(self.waiters.len()).unwrap_or(u32::MAX);
        let messages = (room / waiters).max(TURN.min(bound));
        // At least one: with a small bound no share fits, and none would ever be resumed.
        let count = (room / messages).max(1).min(waiters);
        self.granted += count * messages;
        let turns = self.waiters.drain(..count as usize);
        resumed.extend(turns.map(|alias| Resumed { alias, messages }));
    }

    /// Ends a turn of this many messages, and resumes the next waiters.
    pub(super) fn end(
        &mut self,
        messages: u32,
        queued: usize,
        bound: u32,
        resumed: &mut Vec<Resumed>,
    ) {
        self.granted = self.granted.saturating_sub(messages);
        self.resume(queued, bound, resumed);
    }

    /// Those that still wait, when the mailbox closes.
    pub(super) fn into_waiters(self) -> VecDeque<Alias> {
        self.waiters
    }
}
