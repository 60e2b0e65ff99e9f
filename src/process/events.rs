//! Events: named values that a process publishes for those that have subscribed.
//!
//! ```text
//!            register             publish: kept, and pushed to each subscriber
//!  (no event) ───────▶ open ──┐
//!      ▲                ▲     │ subscribe: what is kept, then what comes
//!      │                └─────┘ unsubscribe, or the subscriber's end
//!      └──────────────── end: out of the table, then subscribers and watchers are notified
//! ```
//!
//! One lock for each event makes its order: a subscriber gets the values that are kept and then all that are published
//! later, none twice and none left out but what its mailbox refuses, and the publisher learns of the first and the last
//! subscriber in the order in which they came and went. While the lock is held messages are pushed, and no code of the
//! user runs: values that are no longer kept are dropped behind it.
//!
//! A subscription is a monitor on the event that also gets its values. A subscriber that ends takes its monitors back,
//! as every process does, and so its subscriptions.
//!
//! There is no atomic protocol here to model: what an event is stands behind its lock, and the table of names behind
//! one of its own, which is never taken while an event is locked. The counter of the metrics is one on its own.
//!
//! What it does not do: it does not wait for slow subscribers. Their mailboxes bound what waits for them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Processes;
use super::class::{Class, PushError};
use super::envelope::Payload;
use super::lifecycle::{ControlBlock, ProcessContext};
use super::mailbox::Mailbox;
use super::relations::Monitored;
use crate::base::order::in_order;
use crate::base::sync::Mutex;
use crate::base::unwind::drop_catching;
use crate::bridge::Watcher;
use crate::error::{ConfigError, EventError, Reason};
use crate::id::{Name, Pid, Ref, Target};
use crate::message::{CompactMessage, Message, MessageDown, MessageEvent, MessageEventSubscribers};
use crate::scheduler::Slot;

/// How an event is registered.
///
/// ```
/// let options = longshore::EventOptions::default().with_kept(10);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EventOptions {
    /// How many of the last values are kept for those that subscribe later. 0, the default, keeps none. A subscriber
    /// whose mailbox has room for fewer gets the last of them, and the others are counted as dropped.
    pub kept: usize,
}

impl EventOptions {
    /// Keeps this many of the last values.
    #[must_use]
    pub fn with_kept(mut self, values: usize) -> Self {
        self.kept = values;
        self
    }
}

/// What became of a published value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The number of the value; see [`MessageEvent::number`].
    pub number: u64,
    /// Subscribers whose mailboxes have it.
    pub delivered: usize,
    /// Subscribers whose mailboxes refused it.
    pub dropped: usize,
}

/// An event as [`Node::events`](crate::Node::events) shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventInfo {
    /// Its name.
    pub name: Name,
    /// The process that registered it.
    pub publisher: Pid,
    /// Subscribers that it has now.
    pub subscribers: usize,
    /// Values that are kept now.
    pub kept: usize,
    /// Values that were published.
    pub published: u64,
    /// Values that mailboxes of subscribers refused.
    pub dropped: u64,
}

/// The events of a node.
#[derive(Debug, Default)]
pub(super) struct Events {
    by_name: Mutex<HashMap<Name, Arc<EventState>>>,
    dropped: AtomicU64,
}

/// One event.
#[derive(Debug)]
pub(crate) struct EventState {
    name: Name,
    publisher: Pid,
    keep: usize,
    inner: Mutex<Subscribers>,
}

#[derive(Debug)]
struct Subscribers {
    is_open: bool,
    published: u64,
    dropped: u64,
    kept: VecDeque<MessageEvent>,
    /// Subscribers, with the monitor that is their subscription.
    subscribers: BTreeMap<Pid, Ref>,
    /// Links and monitors that get no values.
    watchers: HashSet<Watcher>,
}

impl EventState {
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    fn info(&self) -> EventInfo {
        let inner = self.inner.lock();
        EventInfo {
            name: self.name.clone(),
            publisher: self.publisher,
            subscribers: inner.subscribers.len(),
            kept: inner.kept.len(),
            published: inner.published,
            dropped: inner.dropped,
        }
    }
}

/// Events by name, so that they are listed and end in the same order in every run.
pub(super) fn sorted(mut events: Vec<Arc<EventState>>) -> Vec<Arc<EventState>> {
    events.sort_by(|one, other| one.name.cmp(&other.name));
    events
}

impl Processes {
    /// Registers an event of a process that is alive.
    pub(crate) fn register_event(
        &self,
        control: &mut ControlBlock,
        name: Name,
        options: &EventOptions,
    ) -> Result<Arc<EventState>, EventError> {
        use crate::bridge::Deliver as _;
        if name.as_str().is_empty() {
            return Err(ConfigError::new("name", "must not be empty").into());
        }
        // In `terminate`: the events of the process have ended, and one that is registered now would never end.
        if !self.is_alive(control.pid) {
            return Err(EventError::Ended);
        }
        let state = Arc::new(EventState {
            name: name.clone(),
            publisher: control.pid,
            keep: options.kept,
            inner: Mutex::new(Subscribers {
                is_open: true,
                published: 0,
                dropped: 0,
                kept: VecDeque::new(),
                subscribers: BTreeMap::new(),
                watchers: HashSet::new(),
            }),
        });
        match self.events.by_name.lock().entry(name) {
            Entry::Occupied(entry) => return Err(EventError::Taken(entry.key().clone())),
            Entry::Vacant(entry) => entry.insert(Arc::clone(&state)),
        };
        control.own_event(Arc::clone(&state));
        Ok(state)
    }

    /// Publishes a value.
    pub(crate) fn publish<T: Send + Sync + 'static>(
        &self,
        state: &EventState,
        value: T,
    ) -> Result<Published, EventError> {
        // Held until every mailbox has the value: one that subscribes meanwhile gets it once, and not both kept and
        // published.
        let mut inner = state.inner.lock();
        if !inner.is_open {
            return Err(EventError::NoEvent(state.name.clone()));
        }
        inner.published += 1;
        let number = inner.published;
        let event = MessageEvent::new(state.name.clone(), number, value);
        let (mut delivered, mut dropped) = (0, 0);
        for pid in inner.subscribers.keys() {
            match self.push_event(state.publisher, *pid, &event) {
                Ok(()) => delivered += 1,
                Err(PushError::Full | PushError::Overflow) => dropped += 1,
                // It is about to take its subscription back.
                Err(PushError::Closed) => {}
            }
        }
        inner.dropped += dropped as u64;
        self.events.dropped.fetch_add(dropped as u64, Relaxed);
        // Also if none is kept: then its own share is dropped with the surplus, behind the lock.
        inner.kept.push_back(event);
        let surplus = inner.kept.len().saturating_sub(state.keep);
        let surplus: Vec<_> = inner.kept.drain(..surplus).collect();
        drop(inner);
        // Values of the user: dropped while nothing is locked.
        drop(surplus);
        Ok(Published {
            number,
            delivered,
            dropped,
        })
    }

    fn push_event(&self, from: Pid, to: Pid, event: &MessageEvent) -> Result<(), PushError> {
        let message = CompactMessage::from(Message::Event(event.clone()));
        // Under the lock of the event no code of the user runs.
        self.push_deferred(to, from, message.into(), Slot::Fifo)
            .map_err(|(error, _)| error)
    }

    fn event(&self, name: &Name) -> Option<Arc<EventState>> {
        self.events.by_name.lock().get(name).cloned()
    }

    /// Adds a link or a monitor to an event. Returns `false` if there is none.
    pub(super) fn watch_event(&self, name: &Name, watcher: Watcher) -> bool {
        let Some(state) = self.event(name) else {
            return false;
        };
        let mut inner = state.inner.lock();
        // It may have ended between the look at the table and the lock.
        if inner.is_open {
            inner.watchers.insert(watcher);
        }
        inner.is_open
    }

    /// Takes a link, a monitor or a subscription back.
    pub(super) fn unwatch_event(&self, name: &Name, watcher: &Watcher) {
        let Some(state) = self.event(name) else {
            return;
        };
        let mut inner = state.inner.lock();
        if inner.watchers.remove(watcher) {
            return;
        }
        if let Watcher::Monitor(pid, monitor) = watcher
            && inner.subscribers.get(pid) == Some(monitor)
        {
            inner.subscribers.remove(pid);
            if inner.subscribers.is_empty() {
                // Under the lock, so that two reports come in the order of what they report.
                self.report_subscribers(&state, false);
            }
        }
    }

    /// Reports to the publisher that its event has got its first subscriber, or lost the last one.
    fn report_subscribers(&self, state: &EventState, has_subscribers: bool) {
        let message = Message::EventSubscribers(Box::new(MessageEventSubscribers {
            event: state.name.clone(),
            has_subscribers,
        }));
        let payload = CompactMessage::from(message).into();
        // A publisher that has ended does not need it.
        let _ = self.push(
            state.publisher,
            Pid::NODE,
            payload,
            Class::Control,
            Slot::Fifo,
        );
    }

    /// Ends an event. Subscribers learn it behind its values.
    pub(crate) fn end_event(&self, state: &Arc<EventState>, reason: &Reason) {
        // Out of the table first, so that no subscriber comes any more; the name may be a successor's by now.
        let mut by_name = self.events.by_name.lock();
        if by_name
            .get(&state.name)
            .is_some_and(|held| Arc::ptr_eq(held, state))
        {
            by_name.remove(&state.name);
        }
        drop(by_name);
        let mut inner = state.inner.lock();
        inner.is_open = false;
        let kept = std::mem::take(&mut inner.kept);
        let subscribers = std::mem::take(&mut inner.subscribers);
        let watchers = in_order(std::mem::take(&mut inner.watchers));
        drop(inner);
        drop_catching(kept);
        let target = Target::Event(state.name.clone());
        for (pid, monitor) in subscribers {
            let down = Payload::Down(Box::new(MessageDown {
                monitor,
                target: target.clone(),
                reason: reason.clone(),
            }));
            // A subscriber that has ended needs no notification.
            // In the lane of the values and not in the urgent one, where it would overtake them.
            let _ = self.push(pid, Pid::NODE, down, Class::Control, Slot::Fifo);
        }
        for watcher in watchers {
            self.notify_watcher(watcher, target.clone(), reason);
        }
    }

    /// Ends the events of a process whose handler does not return.
    pub(super) fn end_events_of(&self, publisher: Pid) {
        let by_name = self.events.by_name.lock();
        let owned = |state: &&Arc<EventState>| state.publisher == publisher;
        let events: Vec<_> = by_name.values().filter(owned).cloned().collect();
        // Ending an event locks the table.
        drop(by_name);
        for state in sorted(events) {
            self.end_event(&state, &Reason::Kill);
        }
    }

    /// The events that are registered, sorted by name.
    pub(crate) fn list_events(&self) -> Vec<EventInfo> {
        let states = self.events.by_name.lock().values().cloned().collect();
        sorted(states).iter().map(|state| state.info()).collect()
    }

    /// Values that mailboxes of subscribers refused.
    pub(crate) fn dropped_events(&self) -> u64 {
        self.events.dropped.load(Relaxed)
    }
}

impl ProcessContext<'_> {
    /// Subscribes to an event. The result is a monitor on it.
    pub(crate) fn subscribe(&self, name: Name) -> Result<Ref, EventError> {
        let (processes, me) = (self.processes, self.control.pid);
        let monitor = processes.next_ref();
        let monitored = Monitored {
            target: Target::Event(name.clone()),
            name: None,
        };
        let noted = processes.with_relations(me, |relations| {
            relations.monitors.insert(monitor, monitored)
        });
        if noted.is_none() {
            return Err(EventError::Ended);
        }
        // Behind the own entry: the event may end at once, and the `Down` of a monitor that is not entered is dropped.
        let outcome = processes.add_subscriber(&name, me, monitor);
        if outcome.is_err() {
            processes.with_relations(me, |relations| relations.monitors.remove(&monitor));
        }
        outcome.map(|()| monitor)
    }
}

impl Processes {
    fn add_subscriber(&self, name: &Name, pid: Pid, monitor: Ref) -> Result<(), EventError> {
        let state = self
            .event(name)
            .ok_or_else(|| EventError::NoEvent(name.clone()))?;
        let mut inner = state.inner.lock();
        if !inner.is_open {
            return Err(EventError::NoEvent(name.clone()));
        }
        if inner.subscribers.contains_key(&pid) {
            return Err(EventError::Subscribed(name.clone()));
        }
        // The last values are those that count: the first ones give way where a mailbox has no room for all.
        let room = self.mailbox(pid).map_or(0, Mailbox::free);
        let left_out = inner.kept.len().saturating_sub(room);
        let mut dropped = left_out as u64;
        for event in inner.kept.iter().skip(left_out) {
            if self.push_event(state.publisher, pid, event).is_err() {
                dropped += 1;
            }
        }
        inner.dropped += dropped;
        self.events.dropped.fetch_add(dropped, Relaxed);
        inner.subscribers.insert(pid, monitor);
        if inner.subscribers.len() == 1 {
            self.report_subscribers(&state, true);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_row() {
        crate::base::option_rows::option_rows!(EventOptions { kept });
    }
}
