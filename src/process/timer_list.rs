//! The timers of a node, listed without stopping it.
//!
//! The list reads the wheel in batches of [`BATCH`] places, each under one lock, which is as long as setting about ten
//! timers takes. A timer that is set behind the list is not seen, and one that fires before the list comes to it is
//! left out. It holds no lock between two batches, and none while the caller has an entry in hand.

use std::sync::Arc;
use std::time::Duration;

use super::Processes;
use crate::bridge::{TimerEvent, TimerId};
use crate::id::{Pid, Ref, Target};
use crate::message::MessageType;

/// Places of the wheel that are read under one lock.
const BATCH: usize = 64;

/// A timer as [`Node::timers`](crate::Node::timers) shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimerInfo {
    /// What it does when it fires.
    pub kind: TimerKind,
    /// The process that has set it; [`Pid::NODE`] for the embedding program, a meta-process and
    /// the runtime.
    pub from: Pid,
    /// What it goes to; `None` for a call from outside of the node.
    pub to: Option<Target>,
    /// The type of its message; empty if it sends none.
    pub message: &'static str,
    /// Time until it fires, in milliseconds; zero if it is due.
    pub due_in: Duration,
    /// The time between two ticks, of a timer that fires at a fixed rate.
    pub interval: Option<Duration>,
    /// Ticks that were dropped, as [`Node::missed_ticks`](crate::Node::missed_ticks) counts them.
    pub missed: u64,
}

/// What a timer does when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimerKind {
    /// It sends a message: `send_after` and `send_every`, and the runtime's own messages to
    /// supervisors, pools and sessions.
    Message,
    /// It wakes a meta-process, such as a connection for the first of its deadlines.
    Meta,
    /// It ends the wait for the answer to a request.
    Request,
    /// It kills a meta-process that has not ended in time.
    Kill,
}

impl TimerKind {
    /// The kind as a word: `message`, `meta`, `request` or `kill`.
    ///
    /// ```
    /// assert_eq!(longshore::TimerKind::Message.as_str(), "message");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Meta => "meta",
            Self::Request => "request",
            Self::Kill => "kill",
        }
    }
}

/// What is read of a timer under the lock of the wheel.
struct Seen {
    deadline_ms: u64,
    kind: TimerKind,
    from: Pid,
    to: Option<Target>,
    message: MessageType,
    /// Of a timer that fires at a fixed rate.
    ticks: Option<(Ref, Duration)>,
}

impl Seen {
    fn new(deadline_ms: u64, event: &TimerEvent) -> Self {
        let (kind, from, to) = match event {
            TimerEvent::Send { to, from, .. } => (TimerKind::Message, *from, Some(to.clone())),
            TimerEvent::Tick(ticker) => (TimerKind::Message, ticker.from, Some(ticker.to.clone())),
            TimerEvent::Control { to, .. } => (TimerKind::Message, *to, Some(Target::Pid(*to))),
            TimerEvent::Kill(to) => (TimerKind::Kill, Pid::NODE, Some(Target::Alias(*to))),
            TimerEvent::Meta(to, _) => (TimerKind::Meta, Pid::NODE, Some(Target::Alias(*to))),
            TimerEvent::Request(to, _) => (TimerKind::Request, *to, Some(Target::Pid(*to))),
            TimerEvent::Expire(_) => (TimerKind::Request, Pid::NODE, None),
        };
        let (message, ticks) = match event {
            TimerEvent::Send { message, .. } | TimerEvent::Control { message, .. } => {
                (message.message_type(), None)
            }
            TimerEvent::Tick(ticker) => {
                (ticker.message_type(), Some((ticker.id, ticker.interval())))
            }
            _ => (MessageType::NONE, None),
        };
        Self {
            deadline_ms,
            kind,
            from,
            to,
            message,
            ticks,
        }
    }
}

/// Goes through the wheel.
struct List {
    processes: Arc<Processes>,
    batch: Vec<Seen>,
    /// Where the next batch begins; `None` behind the last one.
    next: Option<usize>,
}

impl Processes {
    /// The timers that are set, in no order.
    pub(crate) fn list_timers(self: &Arc<Self>) -> impl Iterator<Item = TimerInfo> + use<> {
        List {
            processes: Arc::clone(self),
            // Allocated once: `look` calls back under the lock of the wheel, where setting a timer waits for it.
            batch: Vec::with_capacity(BATCH),
            next: Some(0),
        }
    }
}

impl List {
    fn describe(&self, seen: Seen) -> TimerInfo {
        // Outside of the lock of the wheel, because the count of ticks has one of its own.
        let now_ms = self.processes.timers.clock().now_ms();
        let missed = |(id, _)| self.processes.missed_ticks(TimerId::Every(id));
        TimerInfo {
            kind: seen.kind,
            from: seen.from,
            to: seen.to,
            message: seen.message.name().unwrap_or_default(),
            due_in: Duration::from_millis(seen.deadline_ms.saturating_sub(now_ms)),
            interval: seen.ticks.map(|(_, interval)| interval),
            missed: seen.ticks.map_or(0, missed),
        }
    }
}

impl Iterator for List {
    type Item = TimerInfo;

    fn next(&mut self) -> Option<TimerInfo> {
        loop {
            if let Some(seen) = self.batch.pop() {
                return Some(self.describe(seen));
            }
            let (first, batch) = (self.next?, &mut self.batch);
            let show = |deadline_ms, event: &_| batch.push(Seen::new(deadline_ms, event));
            self.next = self.processes.timers.look(first, BATCH, show);
        }
    }
}
