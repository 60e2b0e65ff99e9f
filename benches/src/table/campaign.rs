//! Runs rows round by round and repeats a run that the rest of the machine has disturbed.

use super::contender::{Contender, entrants};
use super::outcome::{Cell, Outcome};
use super::plan::{Layout, Metric, Row};
use super::{record, server::Server, syscalls::Counter};
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
    /// Labels to run; empty means all.
    pub peers: Vec<String>,
    /// The tool that counts system calls, if there is one.
    pub counter: Option<Counter>,
    /// Turns of a computing handler in a microsecond, the same for all servers.
    pub spin_turns: u64,
}

impl Campaign {
    /// Reads the options of `runner`.
    pub fn from_arguments(arguments: &Arguments) -> Self {
        Self {
            rounds: arguments.value("rounds", 7),
            duration_ms: arguments.value("duration-ms", 500),
            warm_up_ms: arguments.value("warm-up-ms", 200),
            max_other: arguments.value("max-other", 0.1),
            retries: arguments.value("retries", 2),
            peers: arguments.list("peers"),
            counter: if arguments.flag("no-syscalls") {
                None
            } else {
                Counter::find()
            },
            spin_turns: spin::calibrate(),
        }
    }

    /// The rounds of one row.
    pub fn rounds_of(&self, row: &Row) -> usize {
        if row.metric == Metric::Bytes {
            self.rounds.min(IDLE_ROUNDS)
        } else {
            self.rounds
        }
    }

    /// Runs one row: every round meets every contender once.
    pub fn run(&self, row: &Row) -> Outcome {
        let mut cells: Vec<Cell> = entrants(row, &self.peers)
            .into_iter()
            .map(Cell::new)
            .collect();
        for round in 1..=self.rounds_of(row) {
            for index in order(cells.len(), round) {
                let cell = &mut cells[index];
                let run = self
                    .quiet_run(&cell.contender, row)
                    .map_err(|error| error.to_string());
                report(row, round, &cell.contender, &run);
                cell.runs.push(run);
            }
        }
        if let Some(counter) = self.counter.filter(|_| row.has_messages()) {
            for cell in &mut cells {
                cell.syscalls = counter
                    .per_message(&cell.contender, row, self.spin_turns)
                    .ok();
            }
        }
        Outcome {
            row: row.clone(),
            method: self.describe(row),
            date: record::today(),
            cells,
        }
    }

    /// Repeats a disturbed run and returns the quietest.
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

    /// The rounds and times of a row in words.
    fn describe(&self, row: &Row) -> String {
        let cores = match row.layout {
            Layout::Split if affinity::available_cores() > 1 => {
                "server on core 0, generator on core 1"
            }
            Layout::Split | Layout::Shared => "server and generator on the same cores",
        };
        match row.metric {
            Metric::Bytes => format!("{} interleaved rounds, {cores}", self.rounds_of(row)),
            Metric::Rate | Metric::P99 => {
                format!(
                    "{} interleaved rounds of {} ms, {cores}",
                    self.rounds_of(row),
                    self.duration_ms
                )
            }
        }
    }
}

/// The order of a round: it starts with another contender each time, and every second one goes backwards, so that no
/// contender always runs first, or always after the same one.
pub fn order(count: usize, round: usize) -> Vec<usize> {
    let step = if round.is_multiple_of(2) {
        count.saturating_sub(1)
    } else {
        1
    };
    (0..count)
        .map(|place| (round + place * step) % count)
        .collect()
}

fn other_share(run: &Value) -> f64 {
    let cores = affinity::available_cores() as f64;
    run["other_cpu_s"].as_f64().unwrap_or(0.0) / (run["seconds"].as_f64().unwrap_or(1.0) * cores)
}

fn report(row: &Row, round: usize, contender: &Contender, run: &Result<Value, String>) {
    let text = match run {
        Ok(run) => format!(
            "{:.0} {}",
            run["rate"].as_f64().unwrap_or(0.0),
            run["rate_unit"].as_str().unwrap_or("")
        ),
        Err(error) => format!("failed: {error}"),
    };
    eprintln!(
        "{} · round {round} · {} · {text}",
        row.name, contender.label
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_meets_every_peer_and_starts_with_another() {
        let rounds: Vec<Vec<usize>> = (1..=7).map(|round| order(11, round)).collect();
        let firsts: std::collections::BTreeSet<usize> =
            rounds.iter().map(|round| round[0]).collect();
        assert_eq!(firsts.len(), 7);
        assert_eq!(order(4, 1), [1, 2, 3, 0]);
        assert_eq!(order(4, 2), [2, 1, 0, 3]);
        for mut round in rounds {
            round.sort_unstable();
            assert_eq!(round, (0..11).collect::<Vec<_>>());
        }
    }
}
