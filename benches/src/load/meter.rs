//! The measured window: counters, latencies and processor times between the end of the warm-up and the end of the run.
//!
//! A workload calls [`Meter::tick`] once per turn of its loop and the `count` functions whenever something came back.

use super::settings::Settings;
use crate::{histogram::Histogram, procfs};
use serde_json::{Value, json};
use std::{
    io,
    time::{Duration, Instant},
};

/// Above this share of its core the generator is what limits a run.
const LIMITED_SHARE: f64 = 0.95;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    at: Instant,
    own: Duration,
    server: Duration,
    machine: Duration,
}

/// Counters of one run.
#[derive(Debug)]
pub struct Meter {
    phase: Phase,
    warm_up_ends: Instant,
    ends: Instant,
    server_pid: Option<u32>,
    pinned: bool,
    begin: Times,
    end: Times,
    latencies: Histogram,
    messages: u64,
    bytes: u64,
    unmeasured_messages: u64,
    lost: u64,
    slow_messages: u64,
}

impl Meter {
    /// Starts the warm-up now.
    pub fn start(settings: &Settings) -> io::Result<Self> {
        let begin = Times::now(settings.server_pid)?;
        Ok(Self {
            phase: Phase::WarmUp,
            warm_up_ends: begin.at + settings.warm_up,
            ends: begin.at + settings.warm_up + settings.duration,
            server_pid: settings.server_pid,
            pinned: settings.pinned,
            begin,
            end: begin,
            latencies: Histogram::default(),
            messages: 0,
            bytes: 0,
            unmeasured_messages: 0,
            lost: 0,
            slow_messages: 0,
        })
    }

    /// Moves between the phases; false when the run is over.
    pub fn tick(&mut self, now: Instant) -> io::Result<bool> {
        match self.phase {
            Phase::WarmUp if now >= self.warm_up_ends => self.begin_window()?,
            Phase::Measured if now >= self.ends => {
                self.end = Times::now(self.server_pid)?;
                self.phase = Phase::Over;
            }
            Phase::WarmUp | Phase::Measured | Phase::Over => {}
        }
        Ok(self.phase != Phase::Over)
    }

    fn begin_window(&mut self) -> io::Result<()> {
        self.phase = Phase::Measured;
        self.unmeasured_messages += self.messages;
        (self.messages, self.bytes, self.lost, self.slow_messages) = (0, 0, 0, 0);
        self.latencies.clear();
        self.begin = Times::now(self.server_pid)?;
        Ok(())
    }

    /// Counts one message that came back (or, one way, was taken), with its latency where it has one.
    pub fn count(&mut self, bytes: usize, latency: Option<Duration>) {
        if self.phase == Phase::Over {
            return;
        }
        self.messages += 1;
        self.bytes += bytes as u64;
        if let Some(latency) = latency {
            self.latencies.record(latency);
        }
    }

    /// True if a message that was due then belongs to the measured window.
    pub fn measures(&self, due: Instant) -> bool {
        self.phase != Phase::WarmUp && due >= self.begin.at && due < self.ends
    }

    /// Records the latency of a message from when it was due, if that was in the window; the answer may come after it.
    pub fn record_due(&mut self, due: Instant, answered: Instant) {
        if self.measures(due) {
            self.latencies.record(answered - due);
        }
    }

    /// Counts bytes of a stream that has no messages.
    pub fn count_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Counts a datagram that did not come back in time.
    pub fn count_lost(&mut self) {
        self.lost += 1;
    }

    /// Counts a reply of the slow handler, which is no part of rate or latency.
    pub fn count_slow(&mut self) {
        self.slow_messages += 1;
    }

    /// The JSON line of this run.
    ///
    /// # Errors
    ///
    /// If nothing came back: a server that is silent has no rate.
    pub fn finish(self) -> io::Result<Value> {
        if self.bytes == 0 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "not one byte within the measured window",
            ));
        }
        let seconds = (self.end.at - self.begin.at).as_secs_f64();
        let own = (self.end.own - self.begin.own).as_secs_f64();
        let server = self
            .end
            .server
            .saturating_sub(self.begin.server)
            .as_secs_f64();
        let machine = self
            .end
            .machine
            .saturating_sub(self.begin.machine)
            .as_secs_f64();
        let rate = if self.messages > 0 {
            self.messages as f64
        } else {
            self.bytes as f64
        } / seconds;
        Ok(json!({
            "messages": self.messages,
            "messages_total": self.messages + self.unmeasured_messages,
            "bytes": self.bytes,
            "seconds": seconds,
            "rate": rate,
            "rate_unit": if self.messages > 0 { "messages/s" } else { "bytes/s" },
            "p50_us": self.latencies.quantile(0.50).as_nanos() as f64 / 1e3,
            "p99_us": self.latencies.quantile(0.99).as_nanos() as f64 / 1e3,
            "lost": self.lost,
            "slow_messages": self.slow_messages,
            "generator_cpu_s": own,
            "server_cpu_s": self.server_pid.map(|_| server),
            "other_cpu_s": (machine - own - server).max(0.0),
            "generator_limited": self.pinned && own > LIMITED_SHARE * seconds,
        }))
    }
}

impl Times {
    fn now(server_pid: Option<u32>) -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            own: procfs::own_cpu(),
            server: server_pid
                .map(procfs::cpu_of)
                .transpose()?
                .unwrap_or_default(),
            machine: procfs::machine_cpu()?,
        })
    }
}
