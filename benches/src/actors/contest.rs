//! Repeats the scenarios: every measurement runs in its own process, rounds are interleaved, ratios are paired with
//! tokio.

use super::{SCENARIOS, SUBJECTS, Scenario, Unsupported, measure};
use crate::arguments::{Arguments, refuse};
use crate::spread::{Spread, short};
use crate::table::campaign::order;
use crate::table::tools::tool;
use crate::table::verdict::{Check, describe};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// The subject that the others are compared with.
pub const BASE: &str = "tokio";

/// Longshore's goals: at least this ratio to a subject in the same rounds.
const GOALS: &[(&str, &str, f64)] = &[
    ("ping-pong", BASE, 1.0),
    ("flood", BASE, 1.0),
    ("two-pairs", BASE, 1.0),
    ("fan-in", BASE, 1.0),
    // Tokio is no yardstick here: it takes ten times as long.
    ("spawn-end", "actix", 1.0),
];

/// The goal for the bytes of an idle process.
const MAX_IDLE_BYTES: f64 = 500.0;

/// The options of [`events`] and [`run`].
pub const OPTIONS: &[&str] = &["scenarios", "subjects", "workers", "rounds", "target-ms"];

/// One scenario with a number of workers.
#[derive(Clone, Debug)]
pub struct Event {
    scenario: &'static str,
    workers: usize,
}

/// The figures of one subject, one per round.
#[derive(Clone, Debug)]
struct Entry {
    subject: &'static str,
    figures: Vec<Option<f64>>,
}

/// An event with the figures of all subjects.
#[derive(Clone, Debug)]
pub struct Result {
    event: Event,
    entries: Vec<Entry>,
}

/// `actors one SUBJECT SCENARIO`: measures once in this process and prints the figure, or `-`.
pub fn one(arguments: &Arguments) {
    let (subject, scenario) = (
        arguments.word(1).unwrap_or_default(),
        arguments.word(2).unwrap_or_default(),
    );
    let Some((_, build)) = SUBJECTS.iter().find(|(name, _)| *name == subject) else {
        refuse("unknown subject")
    };
    let Some((_, scenario, probe)) = SCENARIOS.iter().find(|(name, _, _)| *name == scenario) else {
        refuse("unknown scenario")
    };
    let target = Duration::from_millis(arguments.value("target-ms", 500));
    let subject = build(arguments.value("workers", 2));
    arguments.refuse_unknown();
    let figure = (|| {
        let count = match scenario {
            Scenario::IdleBytes => *probe,
            _ => affordable(
                &|count| measure(&*subject, *scenario, count),
                *probe,
                target,
            )?,
        };
        measure(&*subject, *scenario, count)
    })();
    match figure {
        Ok(figure) => println!("{figure}"),
        Err(Unsupported) => println!("-"),
    }
    // Exits without dropping the subject: some runtimes wait in their drop for processes that wait for each other.
    std::process::exit(0)
}

/// Finds how many operations take about `target`, by a run that also warms up.
fn affordable(
    run: &dyn Fn(u64) -> std::result::Result<f64, Unsupported>,
    probe: u64,
    target: Duration,
) -> std::result::Result<u64, Unsupported> {
    let count = probe / 200;
    let start = Instant::now();
    run(count)?;
    let scale = target.as_secs_f64() / start.elapsed().as_secs_f64();
    // A multiple of 800, so that it divides among eight producers or consumers and into whole batches.
    Ok(((count as f64 * scale) as u64 / 800).clamp(1, probe * 5 / 800) * 800)
}

/// The events of the command line; by default ping-pong and fan-in with one and two workers, the others with two.
pub fn events(arguments: &Arguments) -> Vec<Event> {
    let chosen = arguments.list("scenarios");
    let workers = arguments.list("workers");
    let default = |name: &str| {
        if matches!(name, "ping-pong" | "fan-in") {
            vec![1, 2]
        } else {
            vec![2]
        }
    };
    let names = SCENARIOS.iter().map(|(name, _, _)| *name);
    let names =
        names.filter(|name| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name));
    let with_workers = names.flat_map(|scenario| {
        let given: Vec<usize> = workers
            .iter()
            .filter_map(|count| count.parse().ok())
            .collect();
        let counts = if given.is_empty() {
            default(scenario)
        } else {
            given
        };
        counts
            .into_iter()
            .map(move |workers| Event { scenario, workers })
    });
    with_workers.collect()
}

/// Estimates how long the events take: every subject searches for its number of operations and then runs them.
pub fn minutes(events: &[Event], arguments: &Arguments) -> f64 {
    let subjects = match arguments.list("subjects").len() {
        0 => SUBJECTS.len(),
        chosen => chosen,
    };
    let seconds = 0.2 + arguments.value("target-ms", 500.0) / 1_000.0;
    (events.len() * subjects * arguments.value("rounds", 7_usize)) as f64 * seconds / 60.0
}

/// Runs one event: every round asks every subject once.
pub fn run(event: &Event, arguments: &Arguments) -> std::io::Result<Result> {
    let chosen = arguments.list("subjects");
    let names = SUBJECTS.iter().map(|(name, _)| *name);
    let names =
        names.filter(|name| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name));
    let mut entries: Vec<Entry> = names
        .map(|subject| Entry {
            subject,
            figures: Vec::new(),
        })
        .collect();
    let target_ms = arguments.value("target-ms", 500_u64).to_string();
    for round in 1..=arguments.value("rounds", 7) {
        for index in order(entries.len(), round) {
            let entry = &mut entries[index];
            let mut command = tool("actors")?;
            command.args([
                "one",
                entry.subject,
                event.scenario,
                "--target-ms",
                &target_ms,
            ]);
            command.args(["--workers", &event.workers.to_string()]);
            let output = command.output()?;
            let figure = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
            eprintln!(
                "{} · round {round} · {} · {figure:?}",
                event.label(),
                entry.subject
            );
            entry.figures.push(figure);
        }
    }
    Ok(Result {
        event: event.clone(),
        entries,
    })
}

impl Event {
    fn label(&self) -> String {
        format!(
            "{}, {} worker{}",
            self.scenario,
            self.workers,
            if self.workers == 1 { "" } else { "s" }
        )
    }

    fn less_is_better(&self) -> bool {
        self.scenario == "idle-bytes"
    }
}

/// The events of the document that the `actors` binary writes.
pub fn read(document: &Value) -> Vec<Result> {
    document["events"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Result::from_json)
        .collect()
}

impl Result {
    fn from_json(event: &Value) -> Option<Self> {
        let (scenario, _, _) = SCENARIOS
            .iter()
            .find(|(name, _, _)| event["scenario"] == *name)?;
        let entry = |entry: &Value| {
            let (subject, _) = SUBJECTS
                .iter()
                .find(|(name, _)| entry["subject"] == *name)?;
            Some(Entry {
                subject,
                figures: entry["figures"]
                    .as_array()?
                    .iter()
                    .map(Value::as_f64)
                    .collect(),
            })
        };
        let entries = event["subjects"]
            .as_array()?
            .iter()
            .filter_map(entry)
            .collect();
        Some(Self {
            event: Event {
                scenario,
                workers: event["workers"].as_u64()? as usize,
            },
            entries,
        })
    }

    /// True if this is the scenario with that number of workers.
    pub fn is(&self, scenario: &str, workers: usize) -> bool {
        self.event.scenario == scenario && self.event.workers == workers
    }

    /// The event in words.
    pub fn label(&self) -> String {
        self.event.label()
    }

    /// What its figures are.
    pub fn unit(&self) -> &'static str {
        if self.event.less_is_better() {
            "bytes/process"
        } else {
            "operations/s"
        }
    }

    fn entry(&self, subject: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.subject == subject)
    }

    /// Median and range of a subject.
    pub fn spread_of(&self, subject: &str) -> Option<Spread> {
        Spread::of(self.entry(subject)?.figures.iter().copied().flatten())
    }

    /// How much better than `base` a subject was, round by round; above 1 is better.
    pub fn ratio_of(&self, subject: &str, base: &str) -> Option<Spread> {
        let pairs = self
            .entry(subject)?
            .figures
            .iter()
            .zip(&self.entry(base)?.figures);
        Spread::of(
            pairs.filter_map(|(own, base)| match self.event.less_is_better() {
                true => Some((*base)? / (*own)?),
                false => Some((*own)? / (*base)?),
            }),
        )
    }

    /// Longshore's goals in this event.
    pub fn checks(&self) -> Vec<Check> {
        let goal = GOALS
            .iter()
            .find(|(scenario, _, _)| *scenario == self.event.scenario);
        let ratio = goal.and_then(|(_, base, least)| {
            let median = (self.ratio_of("longshore", base)?.median * 100.0).round() / 100.0;
            Some(Check {
                goal: format!("≥ {least:.2}"),
                found: format!("{base} {median:.2}"),
                met: median >= *least,
            })
        });
        let bytes = self
            .spread_of("longshore")
            .filter(|_| self.event.less_is_better())
            .map(|spread| Check {
                goal: format!("≤ {MAX_IDLE_BYTES}"),
                found: format!("bytes {:.0}", spread.median),
                met: spread.median <= MAX_IDLE_BYTES,
            });
        ratio.into_iter().chain(bytes).collect()
    }

    /// A Markdown table, subjects downwards.
    pub fn markdown(&self) -> String {
        let (label, unit) = (self.label(), self.unit());
        let mut text = format!(
            "### {label}\n\n| | {unit}, median (range) | vs {BASE} | verdict |\n|---|---|---|---|\n"
        );
        for entry in &self.entries {
            let checks = if entry.subject == "longshore" {
                self.checks()
            } else {
                Vec::new()
            };
            let verdict = Some(describe(&checks)).filter(|text| !text.is_empty());
            let figure = self
                .spread_of(entry.subject)
                .map(|s| format!("{} ({}–{})", short(s.median), short(s.min), short(s.max)));
            let ratio = self.ratio_of(entry.subject, BASE).map(Spread::as_ratio);
            let columns =
                [figure, ratio, verdict].map(|column| column.unwrap_or_else(|| "–".into()));
            writeln!(text, "| {} | {} |", entry.subject, columns.join(" | "))
                .expect("writing to a string");
        }
        text
    }

    /// Every figure.
    pub fn to_json(&self) -> Value {
        let entry = |entry: &Entry| {
            json!({
                "subject": entry.subject,
                "figures": entry.figures,
                "spread": self.spread_of(entry.subject).map(Spread::to_json),
                "ratio": self.ratio_of(entry.subject, BASE).map(Spread::to_json),
            })
        };
        json!({
            "scenario": self.event.scenario,
            "workers": self.event.workers,
            "base": BASE,
            "subjects": self.entries.iter().map(entry).collect::<Vec<_>>(),
        })
    }
}
