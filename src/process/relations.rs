//! What a process is related to: its meta-processes, links and monitors. The table of them is allocated with the first
//! relation but a single child, and freed with the last; see [`Related`].
//!
//! Both directions are kept: which watchers this process has, and what this process watches, so that
//! the end of either side cleans up the other.
//!
//! 1. *link*, *monitor*: the relation is entered at this process first, then at its target. A target
//!    that is gone is found by the second step, which notifies this process at once.
//! 2. *unlink*, *demonitor*: this process removes its own entry first. A signal or Down on its way
//!    finds no entry when it is handled, and is dropped.
//! 3. *The target ends*: its relations leave with its mailbox, and each watcher is notified.
//!
//! 4. *A process gives its name back*: the name is removed, then the monitors that were set by it
//!    leave, and each is notified.
//!
//! Between the two steps of 1 no lock is held, so two processes may link each other at once.
//!
//! Bad interleaving of 1 and 4: a monitor finds the process by its name, the process gives the name
//! back and finds no monitor, the monitor is entered and waits for an end that its name has had.
//! Excluded: `monitor` looks up the name once more behind the entry, and takes a stale one back.
//! The one who removes the entry notifies, so that one Down comes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::class::Class;
use super::envelope::Payload;
use super::lifecycle::ProcessContext;
use super::table::Processes;
use crate::base::order::in_order;
use crate::bridge::monitor::EndNotice;
use crate::bridge::{Command, Watcher};
use crate::error::{Reason, SendErrorKind};
use crate::id::{Alias, Name, Pid, Ref, Target};
use crate::message::{MessageDown, MessageExit};
use crate::scheduler::Slot;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Relations {
    /// Meta-processes that end with this process: its children, and connections that it owns.
    pub(crate) metas: HashSet<Alias>,
    /// Those of `metas` that hold an address which a successor will bind.
    pub(crate) listeners: HashSet<Alias>,
    /// Processes that get an exit signal when this one ends: the sessions of its connections.
    pub(crate) dependents: HashSet<Pid>,
    /// Processes and meta-processes this one is linked to.
    pub(crate) links: HashSet<Target>,
    /// Processes that are notified of the end of this one, apart from links.
    pub(crate) watchers: HashSet<Watcher>,
    /// What this process monitors.
    pub(crate) monitors: HashMap<Ref, Monitored>,
    /// Requests that this process has canceled and whose answer is still to come.
    pub(super) canceled: Option<Box<HashSet<Ref>>>,
}

/// The relations as a mailbox keeps them. Most processes have none, and a session has its connection only: neither
/// takes memory of its own.
#[derive(Debug, Default)]
pub(crate) enum Related {
    #[default]
    None,
    /// A meta-process that is no listener, and nothing else.
    Child(Alias),
    Table(Box<Relations>),
}

impl Related {
    /// The table, for what cannot be seen without it; `None` says that there is at most a child.
    pub(crate) fn table(&self) -> Option<&Relations> {
        match self {
            Self::Table(relations) => Some(relations),
            Self::None | Self::Child(_) => None,
        }
    }

    /// How many meta-processes end with this process.
    pub(crate) fn metas(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Child(_) => 1,
            Self::Table(relations) => relations.metas.len(),
        }
    }

    /// Changes the relations by way of a table, which is freed when it is not needed any more.
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut Relations) -> R) -> R {
        // Each change is compiled once more with what stands here, so the steps around it are functions of their own.
        let mut relations = self.take_table();
        let result = change(&mut relations);
        *self = Self::smallest(relations);
        result
    }

    /// The relations in a table, which is allocated if there was none.
    fn take_table(&mut self) -> Box<Relations> {
        match std::mem::take(self) {
            Self::None => Box::default(),
            Self::Child(alias) => Box::new(Relations::with_child(alias)),
            Self::Table(relations) => relations,
        }
    }

    /// The form that takes the least memory.
    fn smallest(relations: Box<Relations>) -> Self {
        if relations.is_empty() {
            return Self::None;
        }
        match relations.only_child() {
            Some(alias) => Self::Child(alias),
            None => Self::Table(relations),
        }
    }

    /// Adds a meta-process that ends with this process.
    pub(crate) fn adopt(&mut self, alias: Alias) {
        match self {
            Self::None => *self = Self::Child(alias),
            Self::Child(child) if *child == alias => {}
            _ => self.change(|relations| {
                relations.metas.insert(alias);
            }),
        }
    }

    /// Removes a meta-process, a listener or not.
    pub(crate) fn disown(&mut self, alias: Alias) {
        match self {
            Self::None => {}
            Self::Child(child) if *child == alias => *self = Self::None,
            Self::Child(_) => {}
            Self::Table(_) => self.change(|relations| {
                relations.listeners.remove(&alias);
                relations.metas.remove(&alias);
            }),
        }
    }
}

/// What a monitor is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Monitored {
    pub(crate) target: Target,
    /// The name that was asked for, which the `Down` repeats.
    pub(crate) name: Option<Name>,
}

impl Monitored {
    /// The watcher that the target keeps for this monitor.
    pub(super) fn watcher(&self, owner: Pid, monitor: Ref) -> Watcher {
        match self.name {
            Some(_) => Watcher::NameMonitor(owner, monitor),
            None => Watcher::Monitor(owner, monitor),
        }
    }
}

impl Relations {
    fn with_child(alias: Alias) -> Self {
        Self {
            metas: HashSet::from([alias]),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.metas.is_empty() && self.has_no_others()
    }

    /// Besides its meta-processes.
    fn has_no_others(&self) -> bool {
        self.dependents.is_empty()
            && self.links.is_empty()
            && self.watchers.is_empty()
            && self.monitors.is_empty()
            && self.canceled.is_none()
    }

    /// The child, if there is no other relation.
    fn only_child(&self) -> Option<Alias> {
        let is_only = self.metas.len() == 1 && self.listeners.is_empty() && self.has_no_others();
        self.metas.iter().copied().next().filter(|_| is_only)
    }
}

impl ProcessContext<'_> {
    /// Links both ways. A target that is gone answers with an exit signal.
    pub(crate) fn link(&self, target: Target) -> Result<(), SendErrorKind> {
        let me = self.control.pid;
        let target = self.processes.locate(target)?;
        // It ends with itself in any case.
        if target == Target::Pid(me) {
            return Ok(());
        }
        // The own entry first. The target may end right behind its own one, and the signal of a link that is not
        // entered here is dropped.
        let fresh = self
            .processes
            .with_relations(me, |relations| relations.links.insert(target.clone()));
        // Linked already, or in `terminate`, where no relation can be entered any more.
        if fresh != Some(true) {
            return Ok(());
        }
        match &target {
            Target::Pid(pid) => {
                let linked = self
                    .processes
                    .with_relations(*pid, |relations| relations.links.insert(Target::Pid(me)));
                // The target ended before this entry, so that its end did not find it.
                if linked.is_none() {
                    self.processes
                        .notify_watcher(Watcher::Link(me), target, &Reason::NoProcess);
                }
            }
            Target::Alias(alias) => {
                self.watch(*alias, Watcher::Link(me));
            }
            Target::Event(name) => {
                let watcher = Watcher::Link(me);
                if !self.processes.watch_event(name, watcher.clone()) {
                    self.processes
                        .notify_watcher(watcher, target, &Reason::NoProcess);
                }
            }
            // `locate` has made a pid of it.
            Target::Name(_) => {}
        }
        Ok(())
    }

    /// Takes a link back. Nothing comes over it any more, not even what is on its way.
    pub(crate) fn unlink(&self, target: Target) {
        let me = self.control.pid;
        let Ok(target) = self.processes.locate(target) else {
            return;
        };
        // The own entry first: a signal that is on its way finds none when it is handled, and is dropped.
        self.processes
            .with_relations(me, |relations| relations.links.remove(&target));
        match target {
            Target::Pid(pid) => {
                self.processes
                    .with_relations(pid, |relations| relations.links.remove(&Target::Pid(me)));
            }
            Target::Alias(alias) => {
                let command = Command::Unwatch {
                    to: alias,
                    watcher: Watcher::Link(me),
                };
                self.processes.commands.push(alias.stripe(), command);
            }
            Target::Event(name) => {
                self.processes.unwatch_event(&name, &Watcher::Link(me));
            }
            Target::Name(_) => {}
        }
    }

    /// Requests one [`Message::Down`](crate::message::Message::Down) at the end of the target.
    pub(crate) fn monitor(&self, target: Target) -> Ref {
        let monitor = self.processes.next_ref();
        let me = self.control.pid;
        let located = self.processes.locate(target.clone());
        let name = if let Target::Name(name) = &target {
            Some(name.clone())
        } else {
            None
        };
        let monitored = Monitored {
            target: located.clone().unwrap_or(target.clone()),
            name,
        };
        let watcher = monitored.watcher(me, monitor);
        // First, as with a link: a `Down` for a monitor that is not entered is dropped.
        let noted = self.processes.with_relations(me, |relations| {
            relations.monitors.insert(monitor, monitored)
        });
        if noted.is_none() {
            // In `terminate`: nothing comes any more, and the watcher would never be removed.
            return monitor;
        }
        match located {
            Ok(Target::Pid(pid)) => self.monitor_process(pid, target, watcher),
            Ok(Target::Alias(alias)) => self.watch(alias, watcher),
            Ok(Target::Event(name)) if self.processes.watch_event(&name, watcher.clone()) => {}
            _ => self
                .processes
                .notify_watcher(watcher, target, &Reason::NoProcess),
        }
        monitor
    }

    /// Enters a monitor at a process, which was found by its pid or by its name.
    fn monitor_process(&self, pid: Pid, target: Target, watcher: Watcher) {
        use crate::bridge::Deliver as _;
        let processes = self.processes;
        let watched =
            processes.with_relations(pid, |relations| relations.watchers.insert(watcher.clone()));
        let is_stale = watched.is_some()
            && matches!(&target, Target::Name(name) if processes.resolve(name) != Some(pid))
            // Only if the entry was still there: otherwise the process that gave its name back has removed it, and has
            // notified.
            && processes.with_relations(pid, |relations| relations.watchers.remove(&watcher))
                == Some(true);
        if watched.is_none() || is_stale {
            processes.notify_watcher(watcher, target, &Reason::NoProcess);
        }
    }

    /// Takes a monitor back. Its `Down` does not come any more.
    pub(crate) fn demonitor(&self, monitor: Ref) {
        let me = self.control.pid;
        // A Down that is on its way finds no entry when it is handled.
        let Some(Some(monitored)) = self
            .processes
            .with_relations(me, |relations| relations.monitors.remove(&monitor))
        else {
            return;
        };
        self.processes
            .unwatch(&monitored.target, monitored.watcher(me, monitor));
    }

    fn watch(&self, alias: Alias, watcher: Watcher) {
        self.processes
            .commands
            .push(alias.stripe(), Command::Watch { to: alias, watcher });
    }
}

impl Processes {
    pub(crate) fn notify_watcher(&self, watcher: Watcher, target: Target, reason: &Reason) {
        let Some((pid, payload)) = exit_or_down(&watcher, target, reason) else {
            return;
        };
        // A watcher that has ended needs no notification.
        let _ = self.push(pid, Pid::NODE, payload, Class::Urgent, Slot::Fifo);
        // Behind the push: a call that is interrupted looks for the signal in the mailbox.
        self.interrupt_call(pid);
    }

    /// Notifies the monitors that were set by the name that a process has lost.
    pub(super) fn notify_name_lost(&self, pid: Pid, name: &Name) {
        let lost = self.with_relations(pid, |relations| {
            let is_named = |watcher: &&Watcher| matches!(watcher, Watcher::NameMonitor(..));
            let named = relations.watchers.iter().filter(is_named);
            let lost = in_order(named.cloned());
            lost.iter().for_each(|watcher| {
                relations.watchers.remove(watcher);
            });
            lost
        });
        for watcher in lost.into_iter().flatten() {
            self.notify_watcher(watcher, Target::Name(name.clone()), &Reason::NoProcess);
        }
    }

    /// Has a notification report the end of the target, or that there is none.
    pub(crate) fn watch_from_outside(&self, target: Target, exit_or_down: Arc<EndNotice>) {
        let watcher = Watcher::Outside(exit_or_down);
        match self.locate(target) {
            Ok(Target::Pid(pid)) => {
                // A notification that finds no process is dropped, which reports that.
                self.with_relations(pid, |relations| relations.watchers.insert(watcher));
            }
            Ok(Target::Alias(alias)) => {
                let command = Command::Watch { to: alias, watcher };
                self.commands.push(alias.stripe(), command);
            }
            Ok(Target::Event(name)) => {
                self.watch_event(&name, watcher);
            }
            _ => drop(watcher),
        }
    }

    pub(super) fn unwatch(&self, target: &Target, watcher: Watcher) {
        match target {
            Target::Pid(pid) => {
                self.with_relations(*pid, |relations| relations.watchers.remove(&watcher));
            }
            Target::Alias(alias) => self.commands.push(
                alias.stripe(),
                Command::Unwatch {
                    to: *alias,
                    watcher,
                },
            ),
            Target::Event(name) => self.unwatch_event(name, &watcher),
            Target::Name(_) => {}
        }
    }
}

/// The payload for a watcher that is a process; another watcher is notified here.
pub(super) fn exit_or_down(
    watcher: &Watcher,
    target: Target,
    reason: &Reason,
) -> Option<(Pid, Payload)> {
    match watcher {
        Watcher::Link(pid) => {
            let signal = Box::new(MessageExit {
                from: target,
                reason: reason.clone(),
            });
            Some((*pid, Payload::Exit { signal, link: true }))
        }
        Watcher::Monitor(pid, monitor) | Watcher::NameMonitor(pid, monitor) => {
            let down = Box::new(MessageDown {
                monitor: *monitor,
                target,
                reason: reason.clone(),
            });
            Some((*pid, Payload::Down(down)))
        }
        Watcher::Outside(exit_or_down) => {
            exit_or_down.notify(reason);
            None
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn alias(slot: u32) -> Alias {
        Alias::new(0, slot, 1)
    }

    #[test]
    fn one_child_is_kept_without_a_table() {
        let mut related = Related::default();
        related.adopt(alias(1));
        related.adopt(alias(1));
        assert!(matches!(related, Related::Child(child) if child == alias(1)));
        related.disown(alias(2));
        assert_eq!(related.metas(), 1);
        related.disown(alias(1));
        assert!(matches!(related, Related::None));
    }

    #[test]
    fn table_holds_what_is_more_than_a_child_and_is_freed_with_it() {
        let mut related = Related::default();
        related.adopt(alias(1));
        related.adopt(alias(2));
        assert_eq!((related.metas(), related.table().is_some()), (2, true));
        related.disown(alias(1));
        assert!(matches!(related, Related::Child(child) if child == alias(2)));
        let link = Target::Pid(Pid::NODE);
        assert!(related.change(|relations| relations.links.insert(link.clone())));
        assert!(related.table().is_some());
        related.disown(alias(2));
        assert!(related.table().is_some(), "the link is left");
        related.change(|relations| relations.links.remove(&link));
        assert!(matches!(related, Related::None));
    }

    #[test]
    fn listener_is_never_a_child_alone() {
        let mut related = Related::default();
        related.change(|relations| {
            relations.listeners.insert(alias(1));
            relations.metas.insert(alias(1))
        });
        assert!(related.table().is_some());
        related.adopt(alias(2));
        related.disown(alias(1));
        assert!(matches!(related, Related::Child(child) if child == alias(2)));
    }
}
