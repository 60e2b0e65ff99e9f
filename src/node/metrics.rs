//! The figures of a node: [`Metrics`], in the text format of Prometheus.

use std::fmt;

use super::Node;
use crate::error::Reason;

/// The figures of a node at one moment; from [`Node::metrics`]. `Display` writes the text format
/// of Prometheus, version 0.0.4 (`text/plain; version=0.0.4`).
///
/// The names are stable and there is a fixed number of them, whatever the node does.
///
/// | Name | Unit | Means | When it grows |
/// |---|---|---|---|
/// | `longshore_uptime_seconds` | seconds | time since the start | always |
/// | `longshore_workers` | threads | workers | never |
/// | `longshore_workers_stuck` | threads | workers in a long handler, or in a process that had one lately | handlers block: see the slow ones |
/// | `longshore_processes` | processes | alive now | load, or processes that are never terminated |
/// | `longshore_processes_ended_total{reason}` | processes | terminated since the start | `error` and `panic`: look at the records |
/// | `longshore_meta_processes` | sockets | listeners, connections and others alive now | load, or connections that are never closed |
/// | `longshore_blocked_handlers` | handlers | wait for an answer in a call, or have | near `max_blocked_calls`: calls that should be asks |
/// | `longshore_timers` | timers | set now | load, or timers that are set and never needed |
/// | `longshore_buffers` | buffers | handed out by the pool now | data that waits, or is kept |
/// | `longshore_unsent_bytes_total` | bytes | accepted for a connection and never sent | peers that leave or do not read |
/// | `longshore_late_writes_total` | writes | came when their connection had ended or was closing | peers leave while they are answered |
/// | `longshore_slow_handlers_total` | handlers | ran for longer than the limit | handlers block |
/// | `longshore_messages_dropped_total` | messages | dropped by mailboxes that [drop](crate::MailboxPolicy) what they have no room for | processes are slower than their senders |
/// | `longshore_events_dropped_total` | values | refused by mailboxes of subscribers | subscribers are slow and bounded |
/// | `longshore_records_written_total` | records | given to the logger | something happens |
/// | `longshore_records_left_out_total` | records | left out by the rate limit | the same thing happens very often |
/// | `longshore_records_lost_total` | records | did not fit the ring | the logger is too slow |
///
/// ```
/// use longshore::prelude::*;
/// # fn main() -> Result<(), longshore::Error> {
/// let node = Node::start("example@localhost")?;
/// let metrics = node.metrics();
/// assert_eq!(metrics.get("longshore_processes"), Some(0));
/// assert!(metrics.to_string().contains("# TYPE longshore_processes gauge\n"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics(Vec<Metric>);

/// One name, with a value for each label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    values: Vec<(Option<&'static str>, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetricKind {
    Gauge,
    Counter,
}

impl Metrics {
    /// The value of a name; of a name with labels, the sum. `None`: there is no such name.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert_eq!(node.metrics().get("longshore_processes_ended_total"), Some(0));
    /// # Ok(()) }
    /// ```
    pub fn get(&self, name: &str) -> Option<u64> {
        let metric = self.0.iter().find(|metric| metric.name == name)?;
        Some(metric.values.iter().map(|(_, value)| value).sum())
    }

    /// The value of a name with that label.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// let metrics = node.metrics();
    /// let panics = metrics.get_labeled("longshore_processes_ended_total", "panic");
    /// assert_eq!(panics, Some(0));
    /// # Ok(()) }
    /// ```
    pub fn get_labeled(&self, name: &str, label: &str) -> Option<u64> {
        let metric = self.0.iter().find(|metric| metric.name == name)?;
        let has_label = |(of, _): &&(Option<&str>, u64)| *of == Some(label);
        Some(metric.values.iter().find(has_label)?.1)
    }

    /// The names.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert!(node.metrics().names().any(|name| name == "longshore_timers"));
    /// # Ok(()) }
    /// ```
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|metric| metric.name)
    }

    fn add(&mut self, kind: MetricKind, name: &'static str, help: &'static str, value: u64) {
        self.0.push(Metric {
            name,
            help,
            kind,
            values: vec![(None, value)],
        });
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for metric in &self.0 {
            let Metric { name, help, .. } = metric;
            let kind = match metric.kind {
                MetricKind::Gauge => "gauge",
                MetricKind::Counter => "counter",
            };
            // Both once, before the first sample of the name, as the text format of Prometheus has it. No text here has
            // a character that it would escape.
            writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
            for (reason, value) in &metric.values {
                match reason {
                    None => writeln!(f, "{name} {value}")?,
                    Some(reason) => writeln!(f, "{name}{{reason=\"{reason}\"}} {value}")?,
                }
            }
        }
        Ok(())
    }
}

impl Node {
    /// The figures of the node now; see [`Metrics`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// print!("{}", node.metrics()); // what an endpoint `/metrics` answers
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> Metrics {
        let mut all = Metrics(Vec::new());
        self.add_gauges(&mut all);
        self.add_counters(&mut all);
        let ended = Reason::CLASSES.into_iter().zip(self.table().ended());
        all.0.push(Metric {
            name: "longshore_processes_ended_total",
            help: "Processes terminated, by the class of their reason.",
            kind: MetricKind::Counter,
            values: ended.map(|(class, count)| (Some(class), count)).collect(),
        });
        all
    }

    /// A table with a row for each gauge, longer than other functions so that it can be read as one.
    fn add_gauges(&self, all: &mut Metrics) {
        let core = &self.0.core;
        let (processes, services) = (&core.processes, &core.io.services);
        let uptime = processes.timers.clock().now_ms() / 1_000;
        for (name, help, value) in [
            ("longshore_uptime_seconds", "Time since the start.", uptime),
            (
                "longshore_workers",
                "Worker threads.",
                core.scheduler.workers() as u64,
            ),
            (
                "longshore_workers_stuck",
                "Workers in a long handler, or in a process that had one lately.",
                core.scheduler.stuck_workers() as u64,
            ),
            (
                "longshore_blocked_handlers",
                "Handlers that wait for an answer, or have, on threads beside the workers.",
                core.scheduler.blocked_handlers() as u64,
            ),
            (
                "longshore_processes",
                "Processes alive.",
                processes.live() as u64,
            ),
            (
                "longshore_meta_processes",
                "Listeners, connections and other meta-processes alive.",
                services.commands.live() as u64,
            ),
            (
                "longshore_timers",
                "Timers set.",
                services.timers.pending() as u64,
            ),
            (
                "longshore_buffers",
                "Buffers handed out by the pool.",
                services.pool.outstanding() as u64,
            ),
        ] {
            all.add(MetricKind::Gauge, name, help, value);
        }
    }

    /// A table with a row for each counter, longer than other functions so that it can be read as one.
    fn add_counters(&self, all: &mut Metrics) {
        let core = &self.0.core;
        let (processes, services) = (&core.processes, &core.io.services);
        let records = processes.log.counts();
        for (name, help, value) in [
            (
                "longshore_unsent_bytes_total",
                "Bytes accepted for a connection and never sent.",
                services.commands.unsent(),
            ),
            (
                "longshore_late_writes_total",
                "Writes to a connection that had ended or was closing.",
                services.commands.late_writes(),
            ),
            (
                "longshore_slow_handlers_total",
                "Handlers that ran for longer than the limit.",
                processes.slow_count(),
            ),
            (
                "longshore_messages_dropped_total",
                "Messages that mailboxes dropped by their policies.",
                processes.dropped_messages(),
            ),
            (
                "longshore_events_dropped_total",
                "Values of events that mailboxes of subscribers refused.",
                processes.dropped_events(),
            ),
            (
                "longshore_records_written_total",
                "Records given to the logger.",
                records.written,
            ),
            (
                "longshore_records_left_out_total",
                "Records left out by the rate limit.",
                records.left_out,
            ),
            (
                "longshore_records_lost_total",
                "Records that did not fit the ring of the logger.",
                records.lost,
            ),
        ] {
            all.add(MetricKind::Counter, name, help, value);
        }
    }
}
