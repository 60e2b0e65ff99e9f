//! Runs rows round by round and repeats a run that the rest of the machine has disturbed.

use super::contender::{Contender, entrants};
use super::outcome::{Cell, Outcome};
use super::plan::{Layout, Metric, Row};
use super::{server::Server, syscalls::Counter};
use crate::{affinity, arguments::Arguments, spin};
use serde_json::Value;
use std::io;

/// Memory does not vary much from run to run, and ten thousand connections take their time.
const IDLE_ROUNDS: usize = 3;

/// How rows are run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Rounds of each row.
    pub rounds: usize,
    /// Milliseconds measured in a run.
    pub duration_ms: u64,
    /// Milliseconds before that.
    pub warm_up_ms: u64,
    /// Share of all cores that others may use before a run is repeated.
    pub max_other: f64,
    /// Repetitions of a disturbed run.
    pub retries: usize,
    /// Labels to run; everybody if empty.
    pub peers: Vec<String>,
    /// Who counts system calls, if anybody.
    pub counter: Option<Counter>,
    /// Turns of a computing handler in a microsecond, the same for all servers.
    pub spin_turns: u64,
}

impl Campaign {
    /// Reads the options of `runner`.
    pub fn from_arguments(arguments: &Arguments) -> Self {
        Self {
            rounds: arguments.value("rounds", 7),
            duration_ms: arguments.value("duration-ms", 1_000),
            warm_up_ms: arguments.value("warm-up-ms", 200),
            max_other: arguments.value("max-other", 0.1),
            retries: arguments.value("retries", 2),
            peers: arguments.list("peers"),
            counter: arguments.flag("syscalls").then(Counter::find).flatten(),
            spin_turns: spin::calibrate(),
        }
    }

    /// Runs one row: every round meets every contender once.
    pub fn run(&self, row: &Row) -> Outcome {
        let mut cells: Vec<Cell> =
            entrants(row.mode, row.server_cores(), &self.peers).into_iter().map(Cell::new).collect();
        let rounds = if row.metric == Metric::Bytes { self.rounds.min(IDLE_ROUNDS) } else { self.rounds };
        for round in 1..=rounds {
            for cell in &mut cells {
                let run = self.quiet_run(&cell.contender, row).map_err(|error| error.to_string());
                report(row, round, &cell.contender, &run);
                cell.runs.push(run);
            }
        }
        if let Some(counter) = self.counter.filter(|_| row.metric != Metric::Bytes) {
            for cell in &mut cells {
                cell.syscalls = counter.per_message(&cell.contender, row, self.spin_turns).ok();
            }
        }
        Outcome { row: row.clone(), cells }
    }

    /// Repeats a disturbed run and gives the quietest.
    fn quiet_run(&self, contender: &Contender, row: &Row) -> io::Result<Value> {
        let mut quietest = self.one_run(contender, row)?;
        for _ in 0..self.retries {
            if other_share(&quietest) <= self.max_other {
                break;
            }
            let again = self.one_run(contender, row)?;
            if other_share(&again) < other_share(&quietest) {
                quietest = again;
            }
        }
        quietest["disturbed"] = (other_share(&quietest) > self.max_other).into();
        Ok(quietest)
    }

    fn one_run(&self, contender: &Contender, row: &Row) -> io::Result<Value> {
        let server = Server::start(contender, row, self.spin_turns)?;
        server.load(row, self.warm_up_ms, self.duration_ms)
    }

    /// The rounds and times in words, for the head of a table.
    pub fn describe(&self, layout: Layout) -> String {
        let cores = match layout {
            Layout::Split if affinity::available_cores() > 1 => "server on core 0, generator on core 1",
            Layout::Split | Layout::Shared => "server and generator on the same cores",
        };
        format!("{} interleaved rounds of {} ms, {cores}", self.rounds, self.duration_ms)
    }
}

fn other_share(run: &Value) -> f64 {
    let cores = affinity::available_cores() as f64;
    run["other_cpu_s"].as_f64().unwrap_or(0.0) / (run["seconds"].as_f64().unwrap_or(1.0) * cores)
}

fn report(row: &Row, round: usize, contender: &Contender, run: &Result<Value, String>) {
    let text = match run {
        Ok(run) => format!("{:.0} {}", run["rate"].as_f64().unwrap_or(0.0), run["rate_unit"].as_str().unwrap_or("")),
        Err(error) => format!("failed: {error}"),
    };
    eprintln!("{} · round {round} · {} · {text}", row.name, contender.label);
}
