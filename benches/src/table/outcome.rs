//! What the runs of one row say: figures per contender, the base of the ratios, the ratios themselves.

use super::contender::{Contender, Family};
use super::plan::{Metric, Row};
use crate::spread::Spread;
use serde_json::Value;

/// The runs of one contender in one row, one entry per round; a failed run keeps its place.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The contender.
    pub contender: Contender,
    /// What the generator printed, or why it did not.
    pub runs: Vec<Result<Value, String>>,
    /// System calls per message, if they were counted.
    pub syscalls: Option<f64>,
}

/// One row with the runs of all contenders.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub row: Row,
    /// How often, how long and where, in words.
    pub method: String,
    /// The day of the runs.
    pub date: String,
    /// The contenders with their runs.
    pub cells: Vec<Cell>,
}

impl Cell {
    /// A contender without runs.
    pub fn new(contender: Contender) -> Self {
        Self {
            contender,
            runs: Vec::new(),
            syscalls: None,
        }
    }

    /// The compared figure of each round.
    pub fn figures(&self, metric: Metric) -> Vec<Option<f64>> {
        let key = match metric {
            Metric::Rate | Metric::Bytes => "rate",
            Metric::P99 => "p99_us",
        };
        self.runs
            .iter()
            .map(|run| run.as_ref().ok()?[key].as_f64())
            .collect()
    }

    /// Median and range of the compared figure.
    pub fn spread(&self, metric: Metric) -> Option<Spread> {
        Spread::of(self.figures(metric).into_iter().flatten())
    }

    /// Median microseconds of processor time per message, or per MiB where there are no messages.
    pub fn cpu_micros(&self, key: &str) -> Option<f64> {
        Spread::of(self.cpu_micros_by_round(key).into_iter().flatten()).map(|spread| spread.median)
    }

    fn cpu_micros_by_round(&self, key: &str) -> Vec<Option<f64>> {
        let micros = |run: &Value| {
            let messages = run["messages"].as_f64().filter(|count| *count > 0.0);
            let operations = messages.or_else(|| Some(run["bytes"].as_f64()? / 1_048_576.0))?;
            Some(run[key].as_f64()? * 1e6 / operations)
        };
        self.runs
            .iter()
            .map(|run| run.as_ref().ok().and_then(micros))
            .collect()
    }

    /// A figure's median over the rounds.
    pub fn median(&self, key: &str) -> Option<f64> {
        Spread::of(
            self.runs
                .iter()
                .flatten()
                .filter_map(|run| run[key].as_f64()),
        )
        .map(|spread| spread.median)
    }

    /// True if the generator was the limit in at least half of the runs.
    pub fn generator_limited(&self) -> bool {
        let limited = self
            .runs
            .iter()
            .flatten()
            .filter(|run| run["generator_limited"] == true)
            .count();
        limited > 0 && limited * 2 >= self.runs.len()
    }

    /// The first error of its runs.
    pub fn error(&self) -> Option<&str> {
        self.runs
            .iter()
            .find_map(|run| run.as_ref().err())
            .map(String::as_str)
    }
}

impl Outcome {
    /// The member of a family with the best median.
    pub fn best_of(&self, family: Family) -> Option<&Cell> {
        let metric = self.row.metric;
        let sign = if metric.more_is_better() { 1.0 } else { -1.0 };
        let ranked = self
            .cells
            .iter()
            .filter(|cell| cell.contender.family == family);
        let ranked = ranked.filter_map(|cell| Some((cell.spread(metric)?.median * sign, cell)));
        ranked
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, cell)| cell)
    }

    /// The member of a family whose server used the least processor time for a message.
    pub fn thriftiest_of(&self, family: Family) -> Option<&Cell> {
        let ranked = self
            .cells
            .iter()
            .filter(|cell| cell.contender.family == family);
        let ranked = ranked.filter_map(|cell| Some((cell.cpu_micros("server_cpu_s")?, cell)));
        ranked
            .min_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, cell)| cell)
    }

    /// The cell of a label.
    pub fn cell(&self, label: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.contender.label == label)
    }

    /// How much better than `base` a contender was, round by round; above 1 is better.
    pub fn ratio(&self, cell: &Cell, base: &Cell) -> Option<Spread> {
        let metric = self.row.metric;
        let pairs = cell.figures(metric).into_iter().zip(base.figures(metric));
        Spread::of(
            pairs.filter_map(|(own, base)| match metric.more_is_better() {
                true => Some(own? / base?),
                false => Some(base? / own?),
            }),
        )
    }

    /// How much less processor time than `base` a contender's server used for a message; above 1 is better.
    ///
    /// It is less noisy than the rate: other load on the machine changes when a server runs more than what it does.
    pub fn cpu_ratio(&self, cell: &Cell, base: &Cell) -> Option<Spread> {
        let [own, base] = [cell, base].map(|cell| cell.cpu_micros_by_round("server_cpu_s"));
        Spread::of(
            own.into_iter()
                .zip(base)
                .filter_map(|(own, base)| Some(base? / own?)),
        )
    }
}
