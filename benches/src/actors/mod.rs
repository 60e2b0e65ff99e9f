//! Message passing inside one process: the same six shapes for every library, no sockets.
//!
//! | scenario | one operation |
//! |---|---|
//! | `ping-pong` | a round trip between two processes |
//! | `flood`, `two-pairs`, `fan-in`, `fan-out` | a message from a producer to a consumer |
//! | `spawn-end` | a process is spawned, sent its last message, and terminates |
//! | `idle-bytes` | (bytes) an idle process that has handled one message |
//! | `timers` | a timer is set far ahead and canceled |
//!
//! All mailboxes are unbounded and every message is one word. A producer that is an actor sends a burst and then a
//! message to itself, so that other actors run in between; a task yields; a thread does neither.
//!
//! A subject only builds its processes; [`measure`] times it and [`contest`] repeats and compares.

pub mod actix;
pub mod contest;
pub mod crossbeam;
pub mod kameo;
pub mod longshore;
pub mod ractor;
pub mod std_threads;
pub mod tokio;

use crate::procfs;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// Messages of one burst of a producer.
pub const BURST: u64 = 256;

/// Processes that `spawn-end` has alive at a time.
pub const BATCH: u64 = 100;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Two processes, one ball.
    PingPong,
    /// Producers and consumers.
    Flow(Flow),
    /// A process is spawned and terminates.
    SpawnEnd,
    /// Memory.
    IdleBytes,
    /// Timers that never fire.
    Timers,
}

/// Producers and consumers. Equal numbers mean pairs, else every producer serves the consumers round robin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Processes that send.
    pub producers: u64,
    /// Processes that count.
    pub consumers: u64,
}

/// The scenarios by name, with the operations of one run.
pub const SCENARIOS: &[(&str, Scenario, u64)] = &[
    ("ping-pong", Scenario::PingPong, 400_000),
    (
        "flood",
        Scenario::Flow(Flow {
            producers: 1,
            consumers: 1,
        }),
        4_000_000,
    ),
    (
        "two-pairs",
        Scenario::Flow(Flow {
            producers: 2,
            consumers: 2,
        }),
        8_000_000,
    ),
    (
        "fan-in",
        Scenario::Flow(Flow {
            producers: 8,
            consumers: 1,
        }),
        4_000_000,
    ),
    (
        "fan-out",
        Scenario::Flow(Flow {
            producers: 1,
            consumers: 8,
        }),
        4_000_000,
    ),
    ("spawn-end", Scenario::SpawnEnd, 200_000),
    ("idle-bytes", Scenario::IdleBytes, 100_000),
    ("timers", Scenario::Timers, 1_000_000),
];

/// Starts a library with a number of workers.
pub type Build = fn(usize) -> Box<dyn Subject>;

/// The libraries by name.
pub const SUBJECTS: &[(&str, Build)] = &[
    ("tokio", |workers| Box::new(tokio::Tokio::new(workers))),
    ("actix", |workers| Box::new(actix::Actix::new(workers))),
    ("ractor", |workers| Box::new(ractor::Ractor::new(workers))),
    ("kameo", |workers| Box::new(kameo::Kameo::new(workers))),
    ("std", |_| Box::new(std_threads::StdThreads)),
    ("crossbeam", |_| Box::new(crossbeam::Crossbeam)),
    ("longshore", |workers| {
        Box::new(longshore::Longshore::new(workers))
    }),
];

/// The result of a scenario that a subject has no natural form of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported;

/// One library. Every function returns when the last process is done.
pub trait Subject {
    /// Plays `rounds` round trips.
    fn ping_pong(&self, rounds: u64) -> Result<(), Unsupported>;
    /// Sends `each` messages from every producer.
    fn flow(&self, flow: Flow, each: u64) -> Result<(), Unsupported>;
    /// Spawns and ends `count` processes, [`BATCH`] at a time.
    fn spawn_end(&self, count: u64) -> Result<(), Unsupported>;
    /// Spawns `count` processes, lets each handle one message, calls `measure`, ends them.
    fn idle(&self, count: u64, measure: &mut dyn FnMut()) -> Result<(), Unsupported>;
    /// Sets and cancels `count` timers.
    fn timers(&self, _count: u64) -> Result<(), Unsupported> {
        Err(Unsupported)
    }
}

/// Runs one scenario once: operations per second, or bytes per process.
pub fn measure(subject: &dyn Subject, scenario: Scenario, count: u64) -> Result<f64, Unsupported> {
    if scenario == Scenario::IdleBytes {
        return bytes_per_process(subject, count);
    }
    let start = Instant::now();
    match scenario {
        Scenario::PingPong => subject.ping_pong(count)?,
        Scenario::Flow(flow) => subject.flow(flow, count / flow.producers)?,
        Scenario::SpawnEnd => subject.spawn_end(count)?,
        Scenario::Timers => subject.timers(count)?,
        Scenario::IdleBytes => {}
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn bytes_per_process(subject: &dyn Subject, count: u64) -> Result<f64, Unsupported> {
    let private = || procfs::memory_of(std::process::id()).map_or(0, |memory| memory.private_bytes);
    subject.idle(1_000, &mut || {})?;
    let before = private();
    let mut after = before;
    subject.idle(count, &mut || after = private())?;
    Ok((after as f64 - before as f64) / count as f64)
}

impl Flow {
    /// The consumers that a producer serves.
    pub fn targets(self, producer: u64) -> Range<usize> {
        match self.producers == self.consumers {
            true => producer as usize..producer as usize + 1,
            false => 0..self.consumers as usize,
        }
    }

    /// The messages that a consumer waits for.
    pub fn expected(self, each: u64) -> u64 {
        each * self.producers / self.consumers
    }
}

/// Counts how many processes have reported; every process gets a clone of the sender.
#[derive(Debug)]
pub struct Finish {
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Default for Finish {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

impl Finish {
    /// The sender with which a process reports.
    pub fn reporter(&self) -> Sender<()> {
        self.sender.clone()
    }

    /// Waits for `count` reports.
    pub fn wait_for(&self, count: u64) {
        (0..count).for_each(|_| self.receiver.recv().expect("this structure holds a sender"));
    }
}

/// A consumer's countdown to its report.
#[derive(Debug)]
pub struct Countdown {
    left: u64,
    report: Sender<()>,
}

impl Countdown {
    /// Reports after `count` messages.
    pub fn new(count: u64, finish: &Finish) -> Self {
        Self {
            left: count,
            report: finish.reporter(),
        }
    }

    /// Counts one message; returns true if it was the last.
    #[inline]
    pub fn count(&mut self) -> bool {
        self.left -= 1;
        if self.left == 0 {
            // The receiver is dropped only if the run was given up.
            let _ = self.report.send(());
        }
        self.left == 0
    }
}
