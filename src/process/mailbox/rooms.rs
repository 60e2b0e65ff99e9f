//! Senders that were refused by a full mailbox and have requested to be notified when it has room.
//!
//! ```text
//!           request                  half of the room is free
//!  refused ─────────▶ waits in line ──────────────────────────▶ notified, once
//!     │                    │ the sender ends                        ▲
//!     │                    └──────────────────▶ (nothing)           │
//!     └── half of the room is free already, or the mailbox closes ──┘
//! ```
//!
//! 1. A sender enters the line under the lock of the mailbox, if more than half of the room is taken. It has at most
//!    one place in it, which it gives back when it ends. So the line is as long as there are processes that wait.
//! 2. The consumer takes the first ones out when it looks for its next message and half of the room is free: as many as
//!    there is room for, a batch at the most. They are notified behind the lock, and the activation ends, so that they
//!    send before the next ones are taken. A notification reserves nothing: other senders may be faster.
//! 3. A mailbox that closes notifies all.
//!
//! Bad interleaving: the sender is refused; the consumer handles everything and becomes idle; the sender enters the
//! line, and nothing ever looks at it. Excluded: the line is entered, and the queued messages are counted, in one
//! critical section. If few are queued there the sender is notified at once. If many are, the consumer has at least one
//! of them to handle, and comes to the lock once more before it becomes idle; it leaves no line behind, because an
//! empty mailbox has room (`loom_refused_sender_is_notified`).

use std::collections::BTreeMap;

use super::Mailbox;
use crate::id::Pid;

/// Senders that are notified in one step.
const BATCH: u32 = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// By ticket, in the order in which they came.
    waiting: BTreeMap<u64, Pid>,
    next: u64,
}

/// What a request for room found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) enum RoomWait {
    /// The process has ended.
    Closed,
    /// There is room.
    Room,
    /// The sender is in line, with this ticket.
    Waiting(u64),
}

impl Rooms {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn add(&mut self, sender: Pid) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, sender);
        ticket
    }

    /// Takes out those that there is room for, if at least half of it is free.
    pub(super) fn take(&mut self, queued: usize, bound: u32) -> Option<Box<[Pid]>> {
        if self.is_empty() || !has_room(queued, bound) {
            return None;
        }
        let room = (bound as usize - queued).min(BATCH as usize);
        let take_one = || self.waiting.pop_first().map(|(_, sender)| sender);
        Some(std::iter::from_fn(take_one).take(room).collect())
    }

    pub(super) fn into_senders(self) -> Vec<Pid> {
        self.waiting.into_values().collect()
    }
}

fn has_room(queued: usize, bound: u32) -> bool {
    queued <= bound as usize / 2
}

impl Mailbox {
    /// Transition 1.
    pub(in crate::process) fn wait_for_room(&self, generation: u32, sender: Pid) -> RoomWait {
        let mut state = self.state.lock();
        if state.generation != generation {
            return RoomWait::Closed;
        }
        if has_room(self.queued_in_main(&state), state.bounds.main) {
            return RoomWait::Room;
        }
        RoomWait::Waiting(state.others.get_or_insert_default().rooms.add(sender))
    }

    /// Messages of normal priority that the main lane takes before it is full.
    pub(in crate::process) fn free(&self) -> usize {
        let state = self.state.lock();
        let queued = self.queued_in_main(&state);
        (state.bounds.main as usize).saturating_sub(queued)
    }

    /// The sender has ended: it gives its place back.
    pub(in crate::process) fn leave_line(&self, generation: u32, sender: Pid, ticket: u64) {
        let mut state = self.state.lock();
        if state.generation == generation
            && let Some(others) = &mut state.others
            // Tickets begin anew when the line has been empty.
            && others.rooms.waiting.get(&ticket) == Some(&sender)
        {
            others.rooms.waiting.remove(&ticket);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Batch, Bounds, Class, Priority};
    use super::*;
    use crate::message::Message;
    use crate::process::envelope::Payload;

    const NORMAL: Class = Class::Normal(Priority::Normal);

    /// A mailbox for `bound` messages that is full.
    fn full(bound: u32) -> (Mailbox, u32, Batch) {
        let mailbox = Mailbox::default();
        let bounds = Bounds {
            main: bound,
            data: bound,
        };
        let generation = mailbox.open(bounds, super::super::MailboxPolicy::Refuse);
        for _ in 0..bound {
            push(&mailbox, generation).expect("room");
        }
        assert!(push(&mailbox, generation).is_err());
        (mailbox, generation, Batch::default())
    }

    fn push(mailbox: &Mailbox, generation: u32) -> Result<(), ()> {
        let payload = Payload::Message(Message::new(0_u8).into());
        let pushed = mailbox.push(generation, Pid::NODE, payload, NORMAL);
        pushed.map(|_| ()).map_err(|_| ())
    }

    fn sender(index: u32) -> Pid {
        Pid::new(index, 1)
    }

    /// Handles everything. Returns who is notified, a line for each step.
    fn drain(mailbox: &Mailbox, batch: &mut Batch) -> Vec<Vec<Pid>> {
        let next = std::iter::from_fn(|| mailbox.next(batch));
        next.filter_map(|envelope| match envelope.payload {
            Payload::NotifyRoom(senders) => Some(senders.into_vec()),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn senders_are_notified_in_order_as_many_as_there_is_room_for() {
        let (mailbox, generation, mut batch) = full(4);
        for index in 1..=9 {
            let waits = mailbox.wait_for_room(generation, sender(index));
            assert_eq!(waits, RoomWait::Waiting(u64::from(index) - 1));
        }
        let notified = drain(&mailbox, &mut batch);
        let numbers: Vec<Vec<u32>> = notified
            .iter()
            .map(|step| step.iter().map(|pid| pid.index()).collect())
            .collect();
        assert_eq!(numbers, [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9]]);
        assert_eq!(
            mailbox.wait_for_room(generation, sender(1)),
            RoomWait::Room,
            "it is empty"
        );
    }

    #[test]
    fn sender_that_has_ended_is_not_in_line_and_takes_no_other_place() {
        let (mailbox, generation, mut batch) = full(2);
        for index in 1..=2 {
            mailbox.wait_for_room(generation, sender(index));
        }
        mailbox.leave_line(generation, sender(1), 0);
        mailbox.leave_line(generation, sender(3), 1);
        assert_eq!(drain(&mailbox, &mut batch), [[sender(2)]]);
    }

    #[test]
    fn mailbox_that_closes_leaves_the_line_to_its_caller() {
        let (mailbox, generation, mut batch) = full(2);
        mailbox.wait_for_room(generation, sender(1));
        let waiters = mailbox.close(&mut batch).waiters.expect("one waits");
        assert_eq!(waiters.senders, [sender(1)]);
        assert_eq!(
            mailbox.wait_for_room(generation, sender(1)),
            RoomWait::Closed
        );
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::{Batch, Bounds, Class, MailboxPolicy, Priority};
    use super::*;
    use crate::message::Message;
    use crate::process::envelope::Payload;
    use loom::sync::Arc;
    use loom::thread;

    fn push(mailbox: &Mailbox, generation: u32) -> bool {
        let payload = Payload::Message(Message::new(0_u8).into());
        let class = Class::Normal(Priority::Normal);
        mailbox.push(generation, Pid::NODE, payload, class).is_ok()
    }

    /// A mailbox whose only message is the one that fits.
    fn full_mailbox() -> (Arc<Mailbox>, u32) {
        let mailbox = Arc::new(Mailbox::default());
        let bounds = Bounds { main: 1, data: 1 };
        let generation = mailbox.open(bounds, MailboxPolicy::Refuse);
        assert!(push(&mailbox, generation));
        (mailbox, generation)
    }

    /// Handles everything. Returns how many are notified.
    fn drain(mailbox: &Mailbox) -> usize {
        let mut batch = Batch::default();
        let next = std::iter::from_fn(|| mailbox.next(&mut batch));
        next.map(|envelope| match envelope.payload {
            Payload::NotifyRoom(senders) => senders.len(),
            _ => 0,
        })
        .sum()
    }

    /// A sender that is refused while the consumer goes idle finds room, or is notified by it.
    #[test]
    fn loom_refused_sender_is_notified() {
        loom::model(|| {
            let (mailbox, generation) = full_mailbox();
            let sender = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    if push(&mailbox, generation) {
                        return None;
                    }
                    Some(mailbox.wait_for_room(generation, Pid::new(1, 1)))
                })
            };
            let notified = drain(&mailbox);
            let outcome = sender.join().expect("no panic");
            match outcome {
                None => assert_eq!(notified, 0),
                // It is notified by its own request.
                Some(RoomWait::Room) => assert_eq!(notified, 0),
                Some(RoomWait::Waiting(_)) => assert_eq!(notified, 1, "it waits for ever"),
                Some(RoomWait::Closed) => unreachable!("nothing closes it"),
            }
        });
    }

    /// A sender that comes while the mailbox closes is left to the one that closes it, or finds it closed.
    #[test]
    fn loom_line_of_a_mailbox_that_closes_is_found() {
        loom::model(|| {
            let (mailbox, generation) = full_mailbox();
            let sender = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.wait_for_room(generation, Pid::new(1, 1)))
            };
            let closed = mailbox.close(&mut Batch::default());
            let left = closed.waiters.map_or(0, |waiters| waiters.senders.len());
            match sender.join().expect("no panic") {
                RoomWait::Waiting(_) => assert_eq!(left, 1, "it waits for ever"),
                RoomWait::Closed => assert_eq!(left, 0),
                RoomWait::Room => unreachable!("one message takes all of the room"),
            }
        });
    }
}
