//! What a full mailbox does with a further message: its policy.
//!
//! A mailbox that refuses has nothing here. One that drops has an [`Overflow`] in the rarely used part of its state
//! while its process lives, and a push to it that finds no room comes back with
//! [`PushError::Overflow`](super::PushError), so that a push which finds room does not look at the policy. The caller
//! pushes once more with [`Mailbox::push_over`], and drops what comes out behind the lock.
//!
//! A mailbox that drops the oldest message must have it at hand. So its consumer takes no batch: the count of urgent
//! messages is kept above zero, which sends it to the lock for each message.
//!
//! Only messages of users, values of events and requests are dropped. Data of sockets waits for its turn, and signals,
//! answers and acks are not bounded. If nothing else is queued, a mailbox that drops the oldest takes one
//! message more: the latest one always gets through.

use super::{Mailbox, MailboxState, Pushed, Status};
use crate::base::sync::atomic::Ordering::Relaxed;
use crate::process::envelope::{Envelope, Payload};

/// What a mailbox does with a message of another process when it holds as many as its
/// [`mailbox_bound`](crate::SpawnOptions::mailbox_bound) allows.
///
/// Messages of priority `High`, `Max` and `Log`, exit signals and answers are not bounded, and data of sockets waits:
/// none of these is dropped. A request that is dropped is answered at once with
/// [`NotDelivered(MailboxFull)`](crate::RequestError::NotDelivered).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MailboxPolicy {
    /// The send fails with [`MailboxFull`](crate::SendErrorKind::MailboxFull), and its message comes back.
    #[default]
    Refuse,
    /// The message is dropped and counted; the send succeeds. For those of which the first ones count.
    DropNewest,
    /// The oldest message is dropped and counted, and the new one takes its place; the send succeeds. For values that
    /// replace each other.
    DropOldest,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Overflow {
    drops_oldest: bool,
    dropped: u64,
}

impl Overflow {
    /// `None`: the mailbox refuses.
    pub(super) fn new(policy: MailboxPolicy) -> Option<Self> {
        let drops_oldest = match policy {
            MailboxPolicy::Refuse => return None,
            MailboxPolicy::DropNewest => false,
            MailboxPolicy::DropOldest => true,
        };
        Some(Self {
            drops_oldest,
            dropped: 0,
        })
    }

    pub(super) fn drops_oldest(&self) -> bool {
        self.drops_oldest
    }
}

/// What became of a push to a mailbox that drops.
#[derive(Debug)]
pub(in crate::process) struct PushedOver {
    /// The message is in the mailbox.
    pub(in crate::process) pushed: Option<Pushed>,
    /// What is to be dropped: another message, or this one.
    pub(in crate::process) dropped: Option<Envelope>,
}

fn may_be_dropped(envelope: &Envelope) -> bool {
    match &envelope.payload {
        Payload::Message(message) => message.is_of_user(),
        payload => matches!(payload, Payload::Call(_)),
    }
}

impl Mailbox {
    /// Transition 1, for a mailbox with this policy.
    #[cold]
    pub(super) fn set_policy(&self, state: &mut MailboxState, policy: MailboxPolicy) {
        let overflow = Overflow::new(policy);
        let drops_oldest = overflow.as_ref().is_some_and(Overflow::drops_oldest);
        state.others.get_or_insert_default().overflow = overflow;
        // Above zero, the consumer comes to the lock for each message: the oldest is here then, and not in a batch.
        self.priority.store(u32::from(drops_oldest), Relaxed);
    }

    /// Transition 2 for a message that found no room in a mailbox that drops.
    #[cold]
    pub(in crate::process) fn push_over(&self, generation: u32, envelope: Envelope) -> PushedOver {
        let is_this = |envelope| PushedOver {
            pushed: None,
            dropped: Some(envelope),
        };
        let mut state = self.state.lock();
        // One that has ended meanwhile would have dropped it as well.
        if state.generation != generation {
            return is_this(envelope);
        }
        // Counted again, because room may have come up since the push that was refused.
        let is_full = self.queued_in_main(&state) >= state.bounds.main as usize;
        let MailboxState { main, others, .. } = &mut *state;
        let mut dropped = None;
        if is_full && let Some(overflow) = others.as_mut().and_then(|o| o.overflow.as_mut()) {
            if !overflow.drops_oldest {
                overflow.dropped += 1;
                return is_this(envelope);
            }
            // Not simply the first: signals and the data of sockets are never dropped.
            dropped = main.remove_first(may_be_dropped);
            overflow.dropped += u64::from(dropped.is_some());
        }
        *main.slot() = Some(envelope);
        let pushed = match std::mem::replace(&mut state.status, Status::Scheduled) {
            Status::Idle => Pushed::Idle,
            Status::Scheduled | Status::Closed => Pushed::Behind,
        };
        PushedOver {
            pushed: Some(pushed),
            dropped,
        }
    }

    /// Messages that a policy has dropped.
    pub(super) fn dropped(state: &MailboxState) -> u64 {
        let others = state.others.as_ref();
        let overflow = others.and_then(|others| others.overflow.as_ref());
        overflow.map_or(0, |overflow| overflow.dropped)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Batch, Bounds, Class, Priority, PushError};
    use super::*;
    use crate::id::{Alias, Pid};
    use crate::message::{CompactMessage, Message, MessageTcp};

    fn open(bound: u32, policy: MailboxPolicy) -> (Mailbox, u32) {
        let mailbox = Mailbox::default();
        let bounds = Bounds {
            main: bound,
            data: bound,
        };
        let generation = mailbox.open(bounds, policy);
        (mailbox, generation)
    }

    fn number(envelope: Envelope) -> Option<u32> {
        let Payload::Message(message) = envelope.payload else {
            return None;
        };
        message.unpack().downcast().ok()
    }

    /// Sends as `Processes` does. Returns the number that was dropped.
    fn send(mailbox: &Mailbox, generation: u32, value: u32) -> Option<u32> {
        let payload = Payload::Message(Message::new(value).into());
        let class = Class::Normal(Priority::Normal);
        let (error, payload) = mailbox.push(generation, Pid::NODE, payload, class).err()?;
        assert_eq!(error, PushError::Overflow);
        let from = Pid::NODE;
        let over = mailbox.push_over(generation, Envelope { from, payload });
        over.dropped.and_then(number)
    }

    fn drain(mailbox: &Mailbox) -> Vec<u32> {
        let mut batch = Batch::default();
        std::iter::from_fn(|| mailbox.next(&mut batch))
            .filter_map(number)
            .collect()
    }

    #[test]
    fn newest_message_is_dropped_and_counted() {
        let (mailbox, generation) = open(3, MailboxPolicy::DropNewest);
        let dropped: Vec<_> = (0..5)
            .filter_map(|value| send(&mailbox, generation, value))
            .collect();
        assert_eq!(dropped, [3, 4]);
        assert_eq!(drain(&mailbox), [0, 1, 2]);
        assert_eq!(mailbox.snapshot().expect("it lives").dropped, 2);
        assert_eq!(send(&mailbox, generation, 5), None, "there is room again");
        assert_eq!(drain(&mailbox), [5]);
        assert_eq!(mailbox.snapshot().expect("it lives").dropped, 2);
    }

    #[test]
    fn oldest_message_is_dropped_over_many_chunks() {
        let (mailbox, generation) = open(300, MailboxPolicy::DropOldest);
        for value in 0..1_000 {
            let dropped = send(&mailbox, generation, value);
            assert_eq!(dropped, value.checked_sub(300));
        }
        assert!(drain(&mailbox).into_iter().eq(700..1_000));
    }

    #[test]
    fn oldest_is_dropped_also_while_the_consumer_is_at_work() {
        let (mailbox, generation) = open(4, MailboxPolicy::DropOldest);
        (0..4).for_each(|value| assert_eq!(send(&mailbox, generation, value), None));
        let mut batch = Batch::default();
        assert_eq!(mailbox.next(&mut batch).and_then(number), Some(0));
        assert_eq!(send(&mailbox, generation, 4), None);
        assert_eq!(send(&mailbox, generation, 5), Some(1));
        assert_eq!(mailbox.next(&mut batch).and_then(number), Some(2));
        assert_eq!(drain(&mailbox), [3, 4, 5]);
    }

    #[test]
    fn control_and_data_are_not_dropped_and_keep_their_order() {
        let (mailbox, generation) = open(3, MailboxPolicy::DropOldest);
        let packet = |byte: u8| {
            let packet = MessageTcp::new(Alias::new(0, 0, 1), vec![byte]);
            Payload::Message(Message::new(packet).into())
        };
        let control = |byte| {
            let pushed = mailbox.push(generation, Pid::NODE, packet(byte), Class::Control);
            pushed.map(|_| ()).map_err(|_| ())
        };
        assert_eq!(control(1), Ok(()));
        assert_eq!(send(&mailbox, generation, 7), None);
        assert_eq!(control(2), Ok(()));
        assert_eq!(send(&mailbox, generation, 8), Some(7));
        assert_eq!(control(3), Ok(()));
        assert_eq!(send(&mailbox, generation, 9), Some(8));
        let mut batch = Batch::default();
        let order: Vec<_> = std::iter::from_fn(|| mailbox.next(&mut batch))
            .map(|envelope| match envelope.payload {
                Payload::Message(CompactMessage::Tcp(packet)) => u32::from(packet.data[0]),
                _ => number(envelope).expect("a number"),
            })
            .collect();
        assert_eq!(order, [1, 2, 3, 9]);
        // With nothing that may be dropped it takes one more, and no second one.
        (0..3).for_each(|byte| assert_eq!(control(byte), Ok(())));
        assert_eq!(send(&mailbox, generation, 10), None);
        assert_eq!(send(&mailbox, generation, 11), Some(10));
        assert_eq!(mailbox.queued(), 4);
    }

    #[test]
    fn cell_that_is_used_again_has_no_policy_of_its_predecessor() {
        let (mailbox, generation) = open(1, MailboxPolicy::DropOldest);
        assert_eq!(send(&mailbox, generation, 1), None);
        assert_eq!(send(&mailbox, generation, 2), Some(1));
        mailbox.close(&mut Batch::default());
        let bounds = Bounds { main: 1, data: 1 };
        let next = mailbox.open(bounds, MailboxPolicy::Refuse);
        assert_eq!(send(&mailbox, next, 1), None);
        let payload = Payload::Message(Message::new(2_u32).into());
        let class = Class::Normal(Priority::Normal);
        let refused = mailbox.push(next, Pid::NODE, payload, class);
        assert_eq!(refused.expect_err("it is full").0, PushError::Full);
        assert_eq!(mailbox.snapshot().expect("it lives").dropped, 0);
    }
}
