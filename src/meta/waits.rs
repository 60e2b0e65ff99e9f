//! The mailboxes that a meta-process waits for, as the meta-process itself keeps them.
//!
//! ```text
//!              refused                   resumed                  last message of the turn
//!  no entry ───────────▶ waits (0 left) ─────────▶ may send (n left) ──────────────────────▶ no entry
//!                          ▲                          │ refused all the same
//!                          └──────────────────────────┘
//! ```
//!
//! 1. A mailbox refuses data: it has put the meta-process on its list, once. As long as the entry says so, further data
//!    is refused here, without asking the mailbox, so the mailbox never searches its list.
//! 2. The mailbox takes it off its list and resumes it with a number of messages that have room: its turn.
//! 3. In its turn each message takes one of them; the last one removes the entry.
//! 4. A turn ends with the callback that it began with. A meta-process that had nothing to send in it, because it drops
//!    what is refused, keeps what it was granted: its next messages go in without a wait.
//!
//! The entries stand in the order of the mailboxes' pids: most meta-processes have one, and one that sends to very many
//! mailboxes finds each without a search of all.
//!
//! What it does not do: it does not keep what was refused; the meta-process does.

use crate::id::Pid;

/// See the module. Most meta-processes have no entry, and one allocates nothing until its first.
#[derive(Debug, Default)]
pub(crate) struct Waits(Option<Box<Vec<Wait>>>);

#[derive(Clone, Copy, Debug)]
struct Wait {
    mailbox: Pid,
    /// Messages that may go in; 0: it waits for its turn.
    left: u32,
    granted: u32,
}

/// How data of a meta-process comes to a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It does not wait there.
    Newcomer,
    /// It has been resumed, and this message is one of those that were granted.
    InTurn,
    /// It waits: the mailbox need not be asked.
    Waiting,
}

impl Waits {
    /// Whether it waits for no mailbox, and has no turn at one.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn standing(&self, mailbox: Pid) -> Standing {
        let Some(waits) = &self.0 else {
            return Standing::Newcomer;
        };
        match place(waits, mailbox) {
            Err(_) => Standing::Newcomer,
            // A turn that has been used up was removed, so that an entry without messages left is one that waits.
            Ok(at) if waits[at].left > 0 => Standing::InTurn,
            Ok(_) => Standing::Waiting,
        }
    }

    /// Transition 1.
    #[cold]
    pub(crate) fn refused(&mut self, mailbox: Pid) {
        self.set(mailbox, 0);
    }

    /// Transition 2.
    #[cold]
    pub(crate) fn begin_turn(&mut self, mailbox: Pid, messages: u32) {
        self.set(mailbox, messages);
    }

    /// Transition 3: a message of the turn went in.
    #[cold]
    pub(crate) fn sent_in_turn(&mut self, mailbox: Pid) {
        if let Some(wait) = self.find(mailbox) {
            wait.left = wait.left.saturating_sub(1);
            if wait.left == 0 {
                self.remove(mailbox);
            }
        }
    }

    /// The mailbox has been closed.
    #[cold]
    pub(crate) fn gone(&mut self, mailbox: Pid) {
        self.remove(mailbox);
    }

    /// Transition 4.
    #[cold]
    pub(crate) fn end_turn(&mut self, mailbox: Pid) {
        // A turn that was begun ends here, because the mailbox gives the rest of it to others. One that was not begun
        // is kept, see 4.
        if let Some(wait) = self.find(mailbox)
            && wait.left > 0
            && wait.left < wait.granted
        {
            self.remove(mailbox);
        }
    }

    fn find(&mut self, mailbox: Pid) -> Option<&mut Wait> {
        let waits = self.0.as_mut()?;
        let at = place(waits, mailbox).ok()?;
        waits.get_mut(at)
    }

    fn set(&mut self, mailbox: Pid, left: u32) {
        let wait = Wait {
            mailbox,
            left,
            granted: left,
        };
        let waits = self.0.get_or_insert_default();
        match place(waits, mailbox) {
            Ok(at) => waits[at] = wait,
            Err(at) => waits.insert(at, wait),
        }
    }

    fn remove(&mut self, mailbox: Pid) {
        let Some(waits) = &mut self.0 else {
            return;
        };
        if let Ok(at) = place(waits, mailbox) {
            waits.remove(at);
        }
        if waits.is_empty() {
            self.0 = None;
        }
    }
}

/// Where the entry of a mailbox stands, or would stand.
fn place(waits: &[Wait], mailbox: Pid) -> Result<usize, usize> {
    waits.binary_search_by_key(&mailbox, |wait| wait.mailbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_waits_is_not_asked_for_again_and_a_turn_has_its_messages() {
        let (one, other) = (Pid::new(1, 1), Pid::new(2, 1));
        let mut waits = Waits::default();
        assert_eq!(waits.standing(one), Standing::Newcomer);
        waits.refused(one);
        assert_eq!(waits.standing(one), Standing::Waiting);
        assert_eq!(waits.standing(other), Standing::Newcomer);
        waits.begin_turn(one, 2);
        assert_eq!(waits.standing(one), Standing::InTurn);
        waits.sent_in_turn(one);
        assert_eq!(waits.standing(one), Standing::InTurn);
        waits.sent_in_turn(one);
        assert_eq!(waits.standing(one), Standing::Newcomer);
    }

    #[test]
    fn entries_of_many_mailboxes_are_found_in_whatever_order_they_came() {
        let mailboxes = [5, 1, 9, 3, 7].map(|index| Pid::new(index, 1));
        let mut waits = Waits::default();
        for (number, mailbox) in mailboxes.into_iter().enumerate() {
            waits.begin_turn(mailbox, number as u32);
        }
        for (number, mailbox) in mailboxes.into_iter().enumerate() {
            let expected = match number {
                0 => Standing::Waiting,
                _ => Standing::InTurn,
            };
            assert_eq!(waits.standing(mailbox), expected);
            waits.gone(mailbox);
            assert_eq!(waits.standing(mailbox), Standing::Newcomer);
        }
        assert!(waits.is_empty());
    }

    #[test]
    fn grant_is_kept_by_one_who_had_nothing_to_send_and_by_no_other() {
        let mailbox = Pid::new(1, 1);
        let mut waits = Waits::default();
        waits.refused(mailbox);
        waits.begin_turn(mailbox, 2);
        waits.end_turn(mailbox);
        assert_eq!(waits.standing(mailbox), Standing::InTurn);
        waits.begin_turn(mailbox, 2);
        waits.sent_in_turn(mailbox);
        waits.end_turn(mailbox);
        assert_eq!(waits.standing(mailbox), Standing::Newcomer);
    }
}
