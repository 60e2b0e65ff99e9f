//! Slow handlers: the record while one runs, and the longest ones of the node.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Processes;
use crate::error::Reason;
use crate::id::{Name, Pid};
use crate::message::MessageType;
use crate::record::{Kind, Level};

/// Handlers that are kept.
const KEPT: usize = 16;

/// A handler that ran for longer than the limit of the node; from
/// [`Node::slow_handlers`](crate::Node::slow_handlers).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowHandler {
    /// The process.
    pub pid: Pid,
    /// Its name at that time.
    pub name: Option<Name>,
    /// The type of its actor.
    pub actor: &'static str,
    /// The type of the message that it handled.
    pub message: &'static str,
    /// How long it ran, or has run so far; to a few milliseconds.
    pub ran: Duration,
    /// It has not returned yet.
    pub is_running: bool,
}

/// The longest handlers, longest first; those that still run by the time that they had run when they were reported.
#[derive(Debug, Default)]
pub(super) struct Longest(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    handler: SlowHandler,
    began_ms: u64,
}

impl Longest {
    fn add(&mut self, handler: SlowHandler, began_ms: u64) {
        self.0.push(Kept { handler, began_ms });
        self.sort();
        // One that still runs is kept: it may become the longest.
        while self.0.len() > KEPT
            && let Some(at) = self.0.iter().rposition(|kept| !kept.handler.is_running)
        {
            self.0.remove(at);
        }
    }

    fn end(&mut self, index: u32, ran: Duration) {
        let mut handlers = self.0.iter_mut().map(|kept| &mut kept.handler);
        let runs = |handler: &&mut SlowHandler| handler.is_running && handler.pid.index() == index;
        if let Some(handler) = handlers.find(runs) {
            handler.ran = ran;
            handler.is_running = false;
        }
        self.sort();
    }

    fn sort(&mut self) {
        self.0.sort_by_key(|kept| Reverse(kept.handler.ran));
    }

    /// The handlers at this time, longest first.
    fn at(&self, now_ms: u64) -> Vec<SlowHandler> {
        let at_now = |kept: &Kept| {
            let mut handler = kept.handler.clone();
            if handler.is_running {
                handler.ran = Duration::from_millis(now_ms.saturating_sub(kept.began_ms));
            }
            handler
        };
        let mut handlers: Vec<_> = self.0.iter().map(at_now).collect();
        // Once more, because the times of those that run have grown since.
        handlers.sort_by_key(|handler| Reverse(handler.ran));
        handlers
    }
}

impl Processes {
    /// Messages that the process of this index has taken in hand.
    pub(crate) fn progress(&self, index: u32) -> u64 {
        let cell = self.cells.get(index);
        cell.map_or(0, |cell| cell.activity.handled())
    }

    /// A handler of the process has run for this long, and still runs.
    pub(crate) fn slow_handler(&self, index: u32, ran: Duration) {
        self.slow.fetch_add(1, Ordering::Relaxed);
        let Some(cell) = self.cells.get(index) else {
            return;
        };
        // A process that terminates has left the table; its handler is `terminate`.
        let Some(generation) = cell.generation() else {
            return;
        };
        let pid = Pid::new(index, generation);
        let name = self.name_of(pid);
        let (actor, message) = (cell.identity().actor(), cell.activity.message());
        let level = Level::from_code(cell.log_level.load(Ordering::Relaxed));
        self.log
            .record(Level::Warn, Kind::SlowHandler, level, |record| {
                record.set_text(format_args!("handler runs for over {} ms", ran.as_millis()));
                record.pid = Some(pid);
                record.name.clone_from(&name);
                record.actor = actor.name();
                record.message = message.name();
            });
        let handler = SlowHandler {
            pid,
            name,
            actor: label(actor),
            message: label(message),
            ran,
            is_running: true,
        };
        let ran_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
        let began_ms = self.timers.clock().now_ms().saturating_sub(ran_ms);
        self.longest.lock().add(handler, began_ms);
    }

    /// A handler that was reported has returned.
    pub(crate) fn slow_handler_is_over(&self, index: u32, ran: Duration) {
        self.longest.lock().end(index, ran);
    }

    /// Handlers that were slow since the start.
    pub(crate) fn slow_count(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    /// Processes that have ended since the start, by the class of their reason.
    pub(crate) fn ended(&self) -> [u64; Reason::CLASSES.len()] {
        self.ended
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// The longest handlers since the start, longest first.
    pub(crate) fn slow_handlers(&self) -> Vec<SlowHandler> {
        self.longest.lock().at(self.timers.clock().now_ms())
    }

    /// The name of a process. Looks at all names.
    pub(super) fn name_of(&self, pid: Pid) -> Option<Name> {
        let names = self.names.lock();
        let (name, _) = names.iter().find(|(_, holder)| **holder == pid)?;
        Some(name.clone())
    }
}

/// The name of a type for people.
pub(super) fn label(of: MessageType) -> &'static str {
    of.name().unwrap_or_default()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn handler(index: u32, ms: u64) -> SlowHandler {
        SlowHandler {
            pid: Pid::new(index, 1),
            name: None,
            actor: "",
            message: "",
            ran: Duration::from_millis(ms),
            is_running: true,
        }
    }

    #[test]
    fn longest_are_kept_and_those_that_still_run_too() {
        let mut longest = Longest::default();
        longest.add(handler(1_000, 100), 0);
        for index in 0..100 {
            longest.add(handler(index, 100), 0);
            longest.end(index, Duration::from_millis(200 + u64::from(index)));
        }
        let kept: Vec<_> = longest
            .0
            .iter()
            .map(|kept| kept.handler.pid.index())
            .collect();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[..KEPT - 1], Vec::from_iter((85..100).rev()));
        assert_eq!(kept[KEPT - 1], 1_000, "it still runs");
    }

    #[test]
    fn handler_that_still_runs_has_run_until_now() {
        let mut longest = Longest::default();
        longest.add(handler(1, 100), 1_000);
        longest.add(handler(2, 100), 1_500);
        longest.end(2, Duration::from_millis(700));
        let ran = |now_ms| {
            let handlers = longest.at(now_ms).into_iter();
            Vec::from_iter(handlers.map(|of| (of.pid.index(), of.ran.as_millis())))
        };
        assert_eq!(ran(1_600), [(2, 700), (1, 600)]);
        assert_eq!(ran(2_600), [(1, 1_600), (2, 700)]);
    }
}
