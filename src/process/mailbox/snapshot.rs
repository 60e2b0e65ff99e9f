//! What a list shows of a mailbox, read in one step, so that its figures belong together.

use super::{Mailbox, MailboxState, Status};
use crate::error::Reason;
use crate::process::envelope::{Envelope, Payload};
use crate::process::relations::Relations;

/// Messages that wait in a mailbox, by lane. A process takes them from the first lane that has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lanes {
    /// Exit signals and messages of priority `Max`.
    pub urgent: usize,
    /// Messages of priority `High`.
    pub system: usize,
    /// All other messages and the data of sockets, those included that a worker has taken out of
    /// the mailbox and not handled yet.
    pub main: usize,
    /// Messages of priority `Log`.
    pub log: usize,
}

impl Lanes {
    /// The sum.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert!(node.processes().all(|process| process.lanes.total() < 1_000));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn total(&self) -> usize {
        self.urgent + self.system + self.main + self.log
    }
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(in crate::process) struct Snapshot {
    pub(in crate::process) generation: u32,
    pub(in crate::process) lanes: Lanes,
    pub(in crate::process) metas: usize,
    pub(in crate::process) links: usize,
    pub(in crate::process) monitors: usize,
    pub(in crate::process) watchers: usize,
    /// Messages that the policy of the mailbox has dropped.
    pub(in crate::process) dropped: u64,
}

impl Mailbox {
    /// What is in the mailbox of the process that is alive here, if one is.
    pub(in crate::process) fn snapshot(&self) -> Option<Snapshot> {
        let state = self.state.lock();
        if state.status == Status::Closed {
            return None;
        }
        let others = state.others.as_deref();
        let relations = state.related.table();
        let count = |count: fn(&Relations) -> usize| relations.map_or(0, count);
        Some(Snapshot {
            generation: state.generation,
            lanes: Lanes {
                urgent: others.map_or(0, |others| others.urgent.len()),
                system: others.map_or(0, |others| others.system.len()),
                main: self.queued_in_main(&state),
                log: others.map_or(0, |others| others.log.len()),
            },
            metas: state.related.metas(),
            links: count(|relations| relations.links.len()),
            monitors: count(|relations| relations.monitors.len()),
            watchers: count(|relations| relations.watchers.len()),
            dropped: Self::dropped(&state),
        })
    }

    /// Messages that wait, and one more if the process is queued or runs.
    pub(crate) fn load(&self) -> usize {
        let state = self.state.lock();
        self.waiting(&state) + usize::from(state.status == Status::Scheduled)
    }

    /// The exit signal that waits and will end the process, if it `traps` exits or not.
    #[cold]
    pub(crate) fn pending_exit(&self, generation: u32, traps: bool) -> Option<Reason> {
        let state = self.state.lock();
        if state.generation != generation {
            return None;
        }
        let ends = |envelope: &&Envelope| {
            let Payload::Exit { signal, link } = &envelope.payload else {
                return false;
            };
            if !*link {
                // A signal that was sent and did not come over a link. A process that traps exits gets it as a message,
                // but for a kill.
                return !traps || signal.reason == Reason::Kill;
            }
            // One over a link that was taken back is dropped.
            let relations = state.related.table();
            !traps
                && signal.reason != Reason::Normal
                && relations.is_some_and(|relations| relations.links.contains(&signal.from))
        };
        let envelope = state.others.as_ref()?.urgent.iter().find(ends)?;
        let Payload::Exit { signal, .. } = &envelope.payload else {
            return None;
        };
        Some(signal.reason.clone())
    }

    /// Messages that wait; for inspection.
    pub(crate) fn queued(&self) -> usize {
        self.waiting(&self.state.lock())
    }

    fn waiting(&self, state: &MailboxState) -> usize {
        let others = state.others.as_ref().map_or(0, |others| {
            others.urgent.len() + others.system.len() + others.log.len()
        });
        self.queued_in_main(state) + others
    }
}
