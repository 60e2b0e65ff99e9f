//! The log of a node: takes records from any thread and lets one thread write them.
//!
//! ```text
//!  absent ── first record ──▶ waiting ◀──▶ writing
//!                                │ end(): what is there has been written, or the time is up
//!                                ▼
//!                              ended: further records are counted as lost
//! ```
//!
//! 1. A record that passes level and rate limit enters a ring of [`RING`]; a full ring refuses
//!    it, and the record counts as lost.
//! 2. The writer takes records out one by one and writes each without the lock. When the ring is
//!    empty it reports what was lost, and what the rate limit has left out in windows that ended.
//! 3. While a window with a count is open the writer sleeps until its end, otherwise without a
//!    limit: an idle node does not wake it.
//! 4. [`Log::end`] waits until the ring is empty and the writer waits again. A sink that blocks
//!    is left behind with its thread.
//!
//! A sink that makes a record itself would never be done: such a record counts as lost.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limit::{Admission, Limits};
use super::{Kind, Level, Logger, Record};
use crate::base::inside::RuntimeId;
use crate::base::thread::start_thread;
use crate::base::unwind::{catch_panic, drop_catching};
use crate::time::clock::Clock;

/// Records that wait for the sink.
const RING: usize = 256;

thread_local! {
    /// Whether this thread writes the records of a node.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// The log of a node; clones are the same log.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    runtime: RuntimeId,
    /// The code of the node's level.
    level: AtomicU8,
    logger: Logger,
    clock: Clock,
    state: Mutex<LogState>,
    /// Something has changed for the writer, or for the thread that ends the log.
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    ring: VecDeque<Record>,
    limits: Limits,
    writer: Writer,
    /// Records that were written.
    written: u64,
    /// Records that found the ring full, or came too late.
    lost: u64,
    /// How many of these have been reported.
    reported: u64,
    /// The log ends: counts are due at once.
    ending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Absent,
    Waiting,
    Writing,
    Ended,
}

/// What became of the records of a node so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogCounts {
    pub(crate) written: u64,
    /// Left out by the rate limit.
    pub(crate) left_out: u64,
    /// Lost because the sink was too slow, or had ended.
    pub(crate) lost: u64,
}

impl Log {
    /// A log with its level; its thread starts with the first record.
    pub(crate) fn new(runtime: RuntimeId, logger: Logger, level: Level, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            runtime,
            level: AtomicU8::new(level.code()),
            logger,
            clock,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// The node's level.
    pub(crate) fn level(&self) -> Level {
        // Only codes of levels are ever stored.
        Level::from_code(self.0.level.load(Ordering::Relaxed)).unwrap_or(Level::Warn)
    }

    /// Changes the node's level.
    pub(crate) fn set_level(&self, level: Level) {
        self.0.level.store(level.code(), Ordering::Relaxed);
    }

    /// Makes a record of the runtime that has only a text.
    pub(crate) fn text(&self, level: Level, kind: Kind, text: fmt::Arguments<'_>) {
        self.record(level, kind, None, |record| record.set_text(text));
    }

    /// Makes a record if its level and its kind's rate allow; `fill` is called only then. `own`
    /// is the level of the process that it is about, if that differs from the node's.
    pub(crate) fn record(
        &self,
        level: Level,
        kind: Kind,
        own: Option<Level>,
        fill: impl FnOnce(&mut Record),
    ) {
        if !self.makes(level, own) || !self.admits(kind) {
            return;
        }
        // The record is filled only now: what is left out costs no formatting.
        let mut record = Record::new(level, kind);
        fill(&mut record);
        self.push(record);
    }

    /// Whether records of the level are made. It is asked before the lock, because most records are of a level that is
    /// not made.
    fn makes(&self, level: Level, own: Option<Level>) -> bool {
        level <= own.unwrap_or_else(|| self.level()) && self.0.logger.is_some()
    }

    fn admits(&self, kind: Kind) -> bool {
        let now_ms = self.0.clock.now_ms();
        let mut state = self.0.state();
        if WRITES.get() {
            // Not to be reported: the report would be the next cause.
            state.lost += 1;
            state.reported += 1;
            return false;
        }
        match state.limits.admit(kind, now_ms) {
            Admission::Passes => true,
            Admission::LeftOut { is_first } => {
                if is_first {
                    self.0.changed.notify_all();
                }
                false
            }
        }
    }

    fn push(&self, record: Record) {
        let mut state = self.0.state();
        // A full ring means that the sink is slow. Waiting for it would hold up sockets and processes.
        if state.writer == Writer::Ended || state.ring.len() >= RING {
            state.lost += 1;
            return;
        }
        state.ring.push_back(record);
        if state.writer == Writer::Absent {
            self.start_writer(&mut state);
        }
        // The lock is released before the wake, because the writer takes it at once.
        drop(state);
        self.0.changed.notify_all();
    }

    /// Starts the thread. If there is none to be had the record stays in the ring, and the next
    /// one tries again.
    fn start_writer(&self, state: &mut LogState) {
        let shared = Arc::clone(&self.0);
        let started = start_thread("longshore-log", move || shared.write_all());
        if started.is_ok() {
            state.writer = Writer::Writing;
        }
    }

    /// Writes what is there, at most for `timeout`, and ends the thread.
    pub(crate) fn end(&self, timeout: Duration) {
        if WRITES.get() {
            // The sink stops the node: it would wait for itself.
            return;
        }
        let deadline_ms = self.0.clock.deadline_ms(timeout);
        let mut state = self.0.state();
        state.ending = true;
        self.0.changed.notify_all();
        while state.writer == Writer::Writing || !state.is_drained() {
            let left_ms = deadline_ms.saturating_sub(self.0.clock.now_ms());
            // Without a writer nothing empties the ring.
            if left_ms == 0 || matches!(state.writer, Writer::Absent | Writer::Ended) {
                break;
            }
            state = self.0.wait(state, Some(left_ms));
        }
        state.writer = Writer::Ended;
        self.0.changed.notify_all();
    }

    /// What became of the records so far.
    pub(crate) fn counts(&self) -> LogCounts {
        let state = self.0.state();
        LogCounts {
            written: state.written,
            left_out: state.limits.total(),
            lost: state.lost,
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, LogState>,
        timeout_ms: Option<u64>,
    ) -> MutexGuard<'a, LogState> {
        match timeout_ms {
            None => self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
            Some(ms) => {
                self.changed
                    .wait_timeout(state, Duration::from_millis(ms))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        }
    }

    /// The life of the writer.
    fn write_all(&self) {
        WRITES.set(true);
        // The sink is code of the program. A wait for the node in it could be a wait for itself, as on a worker.
        self.runtime.stay();
        while let Some(record) = self.next() {
            // A panic in the logger must not end the log, let alone a worker.
            drop_catching(catch_panic(|| self.logger.write(&record)));
            // Counted after the write, so that the count never runs ahead of the sink.
            self.state().written += 1;
        }
    }

    /// Waits for the next record; `None` when the log has ended.
    fn next(&self) -> Option<Record> {
        let mut state = self.state();
        loop {
            // At the end of the log nothing is written any more, although the ring may hold records: its deadline is
            // over.
            if state.writer == Writer::Ended {
                return None;
            }
            let now_ms = self.clock.now_ms();
            if let Some(record) = state.take(now_ms) {
                state.writer = Writer::Writing;
                return Some(record);
            }
            state.writer = Writer::Waiting;
            // For the thread that ends the log.
            self.changed.notify_all();
            let timeout_ms = state.limits.next_end_ms().map(|end| end - now_ms);
            state = self.wait(state, timeout_ms);
        }
    }
}

impl LogState {
    /// Whether nothing waits to be written.
    fn is_drained(&self) -> bool {
        self.ring.is_empty() && self.lost == self.reported && self.limits.next_end_ms().is_none()
    }

    /// The next record: of the ring, then of what was lost and left out.
    fn take(&mut self, now_ms: u64) -> Option<Record> {
        if let Some(record) = self.ring.pop_front() {
            return Some(record);
        }
        let mut record = Record::new(Level::Warn, Kind::LeftOut);
        let lost = self.lost - self.reported;
        if lost > 0 {
            self.reported = self.lost;
            record.set_text(format_args!("{lost} records lost: the logger is too slow"));
            return Some(record);
        }
        // At the end the counts are reported although their windows have not ended.
        let now_ms = if self.ending { u64::MAX } else { now_ms };
        let (kind, count) = self.limits.take_ended(now_ms)?;
        record.set_text(format_args!(
            "{count} more records of {} left out",
            kind.name()
        ));
        Some(record)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("level", &self.level())
            .field("logger", &self.0.logger)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Receiver};

    const LIMIT: Duration = Duration::from_secs(30);

    fn collecting() -> (Log, Receiver<Record>) {
        let (sender, records) = mpsc::channel();
        let logger = Logger::from(move |record: &Record| drop(sender.send(record.clone())));
        (
            Log::new(RuntimeId::new(), logger, Level::Info, Clock::new()),
            records,
        )
    }

    #[test]
    fn records_up_to_the_level_arrive_in_order_and_are_flushed_at_the_end() {
        let (log, records) = collecting();
        for number in 0..100 {
            log.text(Level::Info, Kind::Program, format_args!("{number}"));
            log.text(Level::Debug, Kind::Program, format_args!("not made"));
        }
        log.end(LIMIT);
        let texts: Vec<_> = records.try_iter().map(|record| record.text).collect();
        assert_eq!(texts, Vec::from_iter((0..100).map(|n| n.to_string())));
        assert_eq!(log.counts().written, 100);
    }

    #[test]
    fn level_of_the_process_goes_before_that_of_the_node() {
        let (log, records) = collecting();
        let record = |level, own| log.record(level, Kind::Program, own, |_| {});
        record(Level::Debug, Some(Level::Trace));
        record(Level::Warn, Some(Level::Error));
        log.set_level(Level::Error);
        record(Level::Warn, None);
        log.end(LIMIT);
        let levels: Vec<_> = records.try_iter().map(|record| record.level).collect();
        assert_eq!(levels, [Level::Debug]);
    }

    #[test]
    fn flood_of_a_kind_is_ten_records_and_one_count() {
        let (log, records) = collecting();
        for _ in 0..1_000 {
            log.text(Level::Warn, Kind::NoOwner, format_args!("again"));
        }
        let mut passed = 0;
        let counted = loop {
            let text = records.recv_timeout(LIMIT).expect("a record").text;
            match text.strip_suffix(" more records of no_owner left out") {
                Some(count) => break count.parse::<u64>().expect("a number"),
                None => passed += 1,
            }
        };
        // One window, unless this machine stood still for a second.
        let windows = log.0.clock.now_ms() / 1_000 + 1;
        assert!(
            (10..=10 * windows).contains(&passed),
            "{passed} in {windows} s"
        );
        assert_eq!(log.counts().left_out + passed, 1_000);
        assert!(windows > 2 || counted == 990);
    }

    #[test]
    fn sink_that_blocks_holds_up_nothing_and_what_does_not_fit_is_counted() {
        let (gate, opened) = mpsc::channel::<()>();
        let (sender, records) = mpsc::channel();
        let opened = Mutex::new(opened);
        let logger = Logger::from(move |record: &Record| {
            let _ = sender.send(record.text.clone());
            let _ = opened.lock().expect("one thread").recv();
        });
        let log = Log::new(RuntimeId::new(), logger, Level::Info, Clock::new());
        log.text(Level::Info, Kind::Program, format_args!("first"));
        assert_eq!(records.recv_timeout(LIMIT).as_deref(), Ok("first"));
        for _ in 0..RING + 44 {
            log.text(Level::Info, Kind::Program, format_args!("further"));
        }
        assert_eq!(log.counts().lost, 44);
        drop(gate);
        log.end(LIMIT);
        let texts: Vec<_> = records.try_iter().collect();
        assert_eq!(texts.len(), RING + 1);
        assert_eq!(texts[RING], "44 records lost: the logger is too slow");
    }

    #[test]
    fn end_leaves_a_sink_behind_that_never_returns() {
        let (_gate, opened) = mpsc::channel::<()>();
        let (sender, called) = mpsc::channel();
        let opened = Mutex::new(opened);
        let logger = Logger::from(move |_: &Record| {
            let _ = sender.send(());
            let _ = opened.lock().expect("one thread").recv();
        });
        let log = Log::new(RuntimeId::new(), logger, Level::Info, Clock::new());
        log.text(Level::Info, Kind::Program, format_args!("first"));
        called.recv_timeout(LIMIT).expect("the sink is called");
        log.end(Duration::from_millis(20));
        log.text(Level::Info, Kind::Program, format_args!("too late"));
        assert_eq!(log.counts().lost, 1);
    }

    #[test]
    fn record_made_by_the_sink_is_lost_and_the_log_goes_on() {
        let slot = Arc::new(Mutex::new(None::<Log>));
        let inner = Arc::clone(&slot);
        let logger = Logger::from(move |_: &Record| {
            if let Some(log) = &*inner.lock().expect("the test does not panic") {
                log.text(Level::Info, Kind::Program, format_args!("from inside"));
            }
        });
        let log = Log::new(RuntimeId::new(), logger, Level::Info, Clock::new());
        *slot.lock().expect("the sink does not panic") = Some(log.clone());
        log.text(Level::Info, Kind::Program, format_args!("one"));
        log.text(Level::Info, Kind::Program, format_args!("two"));
        log.end(LIMIT);
        let expected = LogCounts {
            written: 2,
            left_out: 0,
            lost: 2,
        };
        assert_eq!(log.counts(), expected);
    }
}
