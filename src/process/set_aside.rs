//! Input of connections whose output is above the high mark: it waits in the process of the owner.
//!
//! ```text
//!                holds_input            Release                  handled, or above again
//!  mailbox ──────────────────▶ held ──────────────▶ released ──────────────────────────▶ gone, or held
//! ```
//!
//! 1. The owner's worker takes data of a connection out of the mailbox and finds the output of that connection above
//!    its high mark ([`SendQuota::holds_input`](crate::bridge::send_quota::SendQuota::holds_input)): the data is held.
//! 2. While something of a connection is held, everything of its input that comes later is held behind it: data, the
//!    end of the peer's side, acks, the Disconnect. So order is kept, and the input window stays in use,
//!    which stops the reading. A Writable, exits and everything else pass.
//! 3. `Release` comes from the stripe when the output has fallen to the low mark, or when the connection closes. A
//!    Disconnect releases by itself, because nothing follows it.
//! 4. Released envelopes are handled one by one, connections in turn. Each time the mark is looked at again: a
//!    connection that is above it again is held again, and gets another `Release`.
//!
//! Bad interleaving of 1 and 3: the worker finds the output above, the stripe drains it and sends `Release`, the worker
//! holds the data, and the `Release` was for nothing. Excluded because the `Release` goes through the same mailbox,
//! which the worker looks at only after it has held the data; and of 4 and 3 likewise.
//!
//! Barriers of a stop wait until nothing is held: a process with input that is set aside is not drained. Nor is a
//! session that has asked its connection whether the socket has more input, because it closes by itself if not.

mod relay_ends;

use std::collections::{HashMap, VecDeque};

use super::envelope::{Envelope, Payload};
use super::lifecycle::{Process, ProcessContext};
use super::mailbox::Mailbox;
use super::table::Processes;
use crate::bridge::BarrierToken;
use crate::id::{Alias, Pid};
use crate::message::{CompactMessage, Message, RelayedConnection};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SetAside {
    queues: HashMap<Alias, Queue>,
    /// Connections whose queue may be handled. One whose input has gone back since stays here until its turn, and is
    /// passed over then: a search for it would cost as much as there are connections.
    released: VecDeque<Alias>,
    barriers: Vec<BarrierToken>,
    /// A session that closes when it is idle has asked its connection whether the socket has more.
    awaits_report: bool,
    /// Connections whose input goes back to their stripe, until their fence comes.
    returning: HashMap<Alias, VecDeque<Returning>>,
    /// Connections that had ended when the relay came to them, until its end comes.
    ended: HashMap<Alias, RelayedConnection>,
    /// Ends of relays, each by a connection of it whose input still goes back: its Disconnect may come instead of the
    /// fence.
    relay_ends: HashMap<Alias, Envelope>,
}

/// Why the input of a connection goes back to its stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    /// It goes to another connection.
    Relayed,
    /// It goes to another owner.
    HandedOver(Pid),
    /// It is for TLS, which begins; the owner stays and gets the Disconnect.
    Secured,
}

/// A connection whose input goes back to its stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Returning {
    pub(super) why: Return,
}

#[derive(Debug, Default)]
struct Queue {
    envelopes: VecDeque<Envelope>,
    is_released: bool,
}

impl SetAside {
    /// Whether input of the connection waits here.
    #[inline]
    pub(super) fn contains(&self, alias: Alias) -> bool {
        self.queues.contains_key(&alias) || self.is_returning(alias)
    }

    /// Whether input of the connection waits here that its owner is called for, or goes back to its stripe. The owner is
    /// not called behind an ack, and would look in vain for what waits.
    fn has_input(&self, alias: Alias) -> bool {
        let is_input = |envelope: &Envelope| !matches!(envelope.payload, Payload::Ack(..));
        let queue = self.queues.get(&alias);
        queue.is_some_and(|queue| queue.envelopes.iter().any(is_input)) || self.is_returning(alias)
    }

    /// Whether input of the connection goes back to its stripe.
    pub(super) fn is_returning(&self, alias: Alias) -> bool {
        self.returning.contains_key(&alias)
    }

    /// The connection has ended: no fence comes for its TLS. Returns whether its input went back for that, and for
    /// nothing else.
    fn end_secured(&mut self, alias: Alias) -> bool {
        let mut was_secured = false;
        while let Some(first) = self.returning.get(&alias).and_then(VecDeque::front) {
            if first.why != Return::Secured {
                return false;
            }
            was_secured = true;
            self.end_return(alias);
        }
        was_secured
    }

    /// Lets all input of the connection go back to its stripe. Returns what waits here.
    pub(super) fn begin_return(&mut self, alias: Alias, why: Return) -> VecDeque<Envelope> {
        let returning = self.returning.entry(alias).or_default();
        returning.push_back(Returning { why });
        self.queues.remove(&alias).unwrap_or_default().envelopes
    }

    /// A fence of the connection has come, or its Disconnect instead. Another one may follow, if the connection has
    /// come back and gone again.
    pub(super) fn end_return(&mut self, alias: Alias) -> Option<Returning> {
        let returning = self.returning.get_mut(&alias)?;
        let first = returning.pop_front();
        if returning.is_empty() {
            self.returning.remove(&alias);
        }
        first
    }

    /// Nothing of the connection comes any more.
    pub(super) fn forget_return(&mut self, alias: Alias) {
        self.returning.remove(&alias);
    }

    /// The process to which the connection goes, of whose input this is the fence or the Disconnect.
    pub(super) fn next_owner(&mut self, alias: Alias) -> Option<Pid> {
        match self.end_return(alias)?.why {
            Return::HandedOver(to) => Some(to),
            Return::Relayed | Return::Secured => None,
        }
    }

    /// Adds behind what waits of the connection.
    pub(super) fn hold(&mut self, alias: Alias, envelope: Envelope) {
        self.queues
            .entry(alias)
            .or_default()
            .envelopes
            .push_back(envelope);
    }

    /// Keeps the token until nothing waits.
    pub(super) fn hold_barrier(&mut self, token: BarrierToken) {
        self.barriers.push(token);
    }

    /// Transition 3.
    pub(super) fn release(&mut self, alias: Alias) {
        if let Some(queue) = self.queues.get_mut(&alias)
            && !std::mem::replace(&mut queue.is_released, true)
        {
            // Once in the list, however many releases come: twice would give it two turns in each round.
            self.released.push_back(alias);
        }
    }

    #[inline]
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Transition 4: the next envelope of a connection that `is_held` does not name.
    pub(super) fn next(&mut self, is_held: impl Fn(Alias) -> bool) -> Option<Envelope> {
        loop {
            let alias = self.released.pop_front()?;
            let queue = self.queues.get_mut(&alias);
            // Its input was given back since it was released.
            let Some(queue) = queue.filter(|queue| queue.is_released) else {
                continue;
            };
            // The answers to what was released have filled the output again. The stripe sends another release.
            if is_held(alias) {
                queue.is_released = false;
                continue;
            }
            let envelope = queue.envelopes.pop_front();
            if queue.envelopes.is_empty() {
                self.queues.remove(&alias);
            } else {
                // Behind the others: connections take turns, one envelope each.
                self.released.push_back(alias);
            }
            return envelope;
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
            && self.returning.is_empty()
            && self.ended.is_empty()
            && self.relay_ends.is_empty()
            && !self.awaits_report
    }

    /// Envelopes that wait.
    pub(super) fn len(&self) -> usize {
        self.queues
            .values()
            .map(|queue| queue.envelopes.len())
            .sum()
    }
}

impl Process {
    /// The connection behind whose input an envelope must be set aside, if there is one.
    #[inline]
    pub(super) fn held(&self, processes: &Processes, envelope: &Envelope) -> Option<Alias> {
        match &envelope.payload {
            // Only data is held by itself. What else comes of a connection waits only behind data.
            Payload::Message(CompactMessage::Tcp(packet)) if self.holds(processes, packet.id) => {
                Some(packet.id)
            }
            // Most processes have set nothing aside, and do not look at the payload.
            payload if self.control.aside().is_some() => self.held_behind(payload),
            _ => None,
        }
    }

    /// Whether data of the connection is set aside.
    #[inline]
    fn holds(&self, processes: &Processes, alias: Alias) -> bool {
        self.is_above(processes, alias)
            || self
                .control
                .aside()
                .is_some_and(|aside| aside.contains(alias))
    }

    /// Whether the output of the connection is above its high mark, so that its owner, this process, gets no input.
    #[inline]
    pub(super) fn is_above(&self, processes: &Processes, alias: Alias) -> bool {
        processes.commands.was_above()
            && processes.commands.quota(alias).is_some_and(|quota| {
                // A process that gets the data from the owner gets no release.
                quota.holds_input(alias.generation()) && quota.is_owner(self.control.pid)
            })
    }

    /// The connection behind whose input this must wait.
    #[cold]
    fn held_behind(&self, payload: &Payload) -> Option<Alias> {
        let alias = match payload {
            Payload::Ack(alias, _) => *alias,
            Payload::Message(message) => message.input_of()?,
            _ => return None,
        };
        let aside = self.control.aside()?;
        aside.contains(alias).then_some(alias)
    }

    /// Whether this is the end of a connection whose input goes back for TLS: the owner gets it, and nothing goes back
    /// any more.
    #[cold]
    pub(super) fn ends_return(&mut self, alias: Alias, envelope: &Envelope) -> bool {
        let is_end = matches!(&envelope.payload,
            Payload::Message(message) if message.is_disconnect());
        let Some(aside) = self.control.aside_mut().filter(|_| is_end) else {
            return false;
        };
        let is_kept = aside.end_secured(alias);
        // Freed with its last entry: most owners do not need it again.
        self.control.free_aside();
        is_kept
    }

    #[cold]
    pub(super) fn set_aside(&mut self, processes: &Processes, alias: Alias, envelope: Envelope) {
        if self
            .control
            .aside()
            .is_some_and(|aside| aside.is_returning(alias))
        {
            return self.give_back(processes, alias, envelope);
        }
        // Allocated at the first use: most processes never hold input.
        let cold = self.control.cold.get_or_insert_default();
        let aside = cold.aside.get_or_insert_default();
        let is_last =
            matches!(&envelope.payload, Payload::Message(message) if message.is_disconnect());
        aside.hold(alias, envelope);
        // No release follows the last message of a connection.
        if is_last {
            aside.release(alias);
        }
    }

    /// The next envelope that was set aside, if it is its turn to be handled: it and the mailbox take turns, so that an
    /// exit does not wait behind the input of a connection.
    #[cold]
    pub(super) fn take_released(
        &mut self,
        processes: &Processes,
        handled: u32,
        mailbox: &Mailbox,
    ) -> Option<Envelope> {
        let has_released = self.control.aside().is_some_and(SetAside::has_released);
        if has_released && (handled % 2 == 1 || mailbox.queued() == 0) {
            return self.next_released(processes);
        }
        None
    }

    /// The next envelope that was set aside and may be handled.
    #[cold]
    pub(super) fn next_released(&mut self, processes: &Processes) -> Option<Envelope> {
        let aside = self.control.aside_mut()?;
        let envelope = aside.next(|alias| {
            // A connection that has ended holds nothing: the rest of its input is handled, its Disconnect last.
            let quota = processes.commands.quota(alias);
            quota.is_some_and(|quota| quota.holds_input(alias.generation()))
        });
        self.control.free_aside();
        envelope
    }
}

impl ProcessContext<'_> {
    /// Whether input of the connection waits in this process that its behavior will be called for, or goes back to its
    /// stripe.
    pub(crate) fn has_input_aside(&self, alias: Alias) -> bool {
        self.control
            .aside()
            .is_some_and(|aside| aside.has_input(alias))
    }

    /// Whether the output of the connection is above its high mark, so that its input waits.
    pub(crate) fn holds_input(&self, alias: Alias) -> bool {
        let quota = self.processes.commands.quota(alias);
        quota.is_some_and(|quota| quota.holds_input(alias.generation()))
    }

    /// Barriers wait while this session awaits the report of its connection.
    pub(crate) fn await_report(&mut self, awaits: bool) {
        if awaits {
            let cold = self.control.cold.get_or_insert_default();
            cold.aside.get_or_insert_default().awaits_report = true;
        } else if let Some(aside) = self.control.aside_mut() {
            aside.awaits_report = false;
            self.control.free_aside();
        }
    }

    /// Sends a message to this process that comes when the output of the connection has fallen to its low mark, before
    /// input that comes later.
    pub(crate) fn send_at_low_mark(&mut self, alias: Alias, message: Message) {
        let envelope = Envelope {
            from: self.control.pid,
            payload: Payload::Message(message.into()),
        };
        let cold = self.control.cold.get_or_insert_default();
        let aside = cold.aside.get_or_insert_default();
        aside.hold(alias, envelope);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::bridge::Ack;

    fn envelope(number: u32) -> Envelope {
        Envelope {
            from: Pid::NODE,
            payload: Payload::Message(Message::new(number).into()),
        }
    }

    fn number(envelope: Option<Envelope>) -> Option<u32> {
        match envelope?.payload {
            Payload::Message(message) => message.unpack().downcast().ok(),
            _ => None,
        }
    }

    #[test]
    fn connections_take_turns_and_each_keeps_its_order() {
        let [a, b] = [1, 2].map(|slot| Alias::new(0, slot, 1));
        let mut aside = SetAside::default();
        for (alias, value) in [(a, 1), (a, 2), (b, 10), (a, 3), (b, 20)] {
            aside.hold(alias, envelope(value));
        }
        assert!(!aside.has_released());
        assert_eq!(number(aside.next(|_| false)), None);
        aside.release(a);
        aside.release(b);
        aside.release(a);
        let order: Vec<_> = std::iter::from_fn(|| number(aside.next(|_| false))).collect();
        assert_eq!(order, [1, 10, 2, 20, 3]);
        assert!(aside.is_empty());
    }

    #[test]
    fn ack_that_waits_is_no_input_for_the_owner() {
        let alias = Alias::new(0, 1, 1);
        let mut aside = SetAside::default();
        aside.hold(alias, envelope(1));
        let payload = Payload::Ack(alias, Ack::Data(1));
        let from = Pid::NODE;
        aside.hold(alias, Envelope { from, payload });
        aside.release(alias);
        assert!(aside.has_input(alias));
        assert_eq!(number(aside.next(|_| false)), Some(1));
        assert!(aside.contains(alias) && !aside.has_input(alias));
    }

    #[test]
    fn end_belongs_to_the_owner_if_the_input_went_back_for_tls_alone() {
        let [a, b] = [1, 2].map(|slot| Alias::new(0, slot, 1));
        let mut aside = SetAside::default();
        assert!(!aside.end_secured(a));
        aside.begin_return(a, Return::Secured);
        assert!(!aside.end_secured(b) && aside.is_returning(a));
        assert!(aside.end_secured(a) && aside.is_empty());
        // It was given away behind that.
        aside.begin_return(a, Return::Secured);
        aside.begin_return(a, Return::HandedOver(Pid::NODE));
        assert!(!aside.end_secured(a));
        let returning = aside.end_return(a).map(|returning| returning.why);
        assert_eq!(returning, Some(Return::HandedOver(Pid::NODE)));
    }

    #[test]
    fn released_connection_whose_input_went_back_is_passed_over() {
        let [a, b] = [1, 2].map(|slot| Alias::new(0, slot, 1));
        let mut aside = SetAside::default();
        for alias in [a, b] {
            aside.hold(alias, envelope(alias.slot()));
            aside.release(alias);
        }
        assert_eq!(aside.begin_return(a, Return::Secured).len(), 1);
        // It comes back, and is not released again.
        aside.end_return(a);
        aside.hold(a, envelope(10));
        assert_eq!(number(aside.next(|_| false)), Some(2));
        assert_eq!(number(aside.next(|_| false)), None);
        aside.release(a);
        assert_eq!(number(aside.next(|_| false)), Some(10));
        assert!(aside.is_empty());
    }

    #[test]
    fn connection_above_its_mark_again_waits_for_another_release() {
        let alias = Alias::new(0, 1, 1);
        let mut aside = SetAside::default();
        aside.hold(alias, envelope(1));
        aside.hold(alias, envelope(2));
        aside.release(alias);
        assert_eq!(number(aside.next(|_| false)), Some(1));
        assert_eq!(number(aside.next(|_| true)), None);
        assert!(!aside.has_released() && aside.contains(alias));
        aside.release(alias);
        assert_eq!(number(aside.next(|_| false)), Some(2));
        assert!(!aside.contains(alias));
    }
}
