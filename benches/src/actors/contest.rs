//! Repeats the scenarios: every measurement is a process of its own, rounds are interleaved, ratios are paired with tokio.

use super::{SCENARIOS, SUBJECTS, Scenario, Unsupported, measure};
use crate::arguments::{Arguments, refuse};
use crate::spread::{Spread, short};
use crate::table::tools::tool;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// The subject that the others are compared with.
const BASE: &str = "tokio";

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

/// An event with everybody's figures.
#[derive(Clone, Debug)]
pub struct Result {
    event: Event,
    entries: Vec<Entry>,
}

/// `actors one SUBJECT SCENARIO`: measures once in this process and prints the figure, or `-`.
pub fn one(arguments: &Arguments) {
    let (subject, scenario) = (arguments.word(1).unwrap_or_default(), arguments.word(2).unwrap_or_default());
    let Some((_, build)) = SUBJECTS.iter().find(|(name, _)| *name == subject) else { refuse("unknown subject") };
    let Some((_, scenario, probe)) = SCENARIOS.iter().find(|(name, _, _)| *name == scenario) else {
        refuse("unknown scenario")
    };
    let target = Duration::from_millis(arguments.value("target-ms", 500));
    let subject = build(arguments.value("workers", 2));
    arguments.refuse_unknown();
    let figure = (|| {
        let count = match scenario {
            Scenario::IdleBytes => *probe,
            _ => affordable(&|count| measure(&*subject, *scenario, count), *probe, target)?,
        };
        measure(&*subject, *scenario, count)
    })();
    match figure {
        Ok(figure) => println!("{figure}"),
        Err(Unsupported) => println!("-"),
    }
    // Without unwinding what the subject has built: some runtimes wait for processes that wait for each other.
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

/// The events that were asked for: ping-pong with one and two workers, everything else with two.
pub fn events(arguments: &Arguments) -> Vec<Event> {
    let chosen = arguments.list("scenarios");
    let workers = arguments.list("workers");
    let default = |name: &str| if name == "ping-pong" { vec![1, 2] } else { vec![2] };
    let names = SCENARIOS.iter().map(|(name, _, _)| *name);
    let names = names.filter(|name| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name));
    let with_workers = names.flat_map(|scenario| {
        let given: Vec<usize> = workers.iter().filter_map(|count| count.parse().ok()).collect();
        let counts = if given.is_empty() { default(scenario) } else { given };
        counts.into_iter().map(move |workers| Event { scenario, workers })
    });
    with_workers.collect()
}

/// Runs one event: every round asks every subject once.
pub fn run(event: &Event, arguments: &Arguments) -> std::io::Result<Result> {
    let chosen = arguments.list("subjects");
    let names = SUBJECTS.iter().map(|(name, _)| *name);
    let names = names.filter(|name| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name));
    let mut entries: Vec<Entry> = names.map(|subject| Entry { subject, figures: Vec::new() }).collect();
    let target_ms = arguments.value("target-ms", 500_u64).to_string();
    for round in 1..=arguments.value("rounds", 7) {
        for entry in &mut entries {
            let mut command = tool("actors")?;
            command.args(["one", entry.subject, event.scenario, "--target-ms", &target_ms]);
            command.args(["--workers", &event.workers.to_string()]);
            let output = command.output()?;
            let figure = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
            eprintln!("{} · round {round} · {} · {figure:?}", event.label(), entry.subject);
            entry.figures.push(figure);
        }
    }
    Ok(Result { event: event.clone(), entries })
}

impl Event {
    fn label(&self) -> String {
        format!("{}, {} workers", self.scenario, self.workers)
    }

    fn less_is_better(&self) -> bool {
        self.scenario == "idle-bytes"
    }
}

impl Result {
    fn ratio(&self, entry: &Entry) -> Option<Spread> {
        let base = self.entries.iter().find(|entry| entry.subject == BASE)?;
        Spread::of(entry.figures.iter().zip(&base.figures).filter_map(
            |(own, base)| match self.event.less_is_better() {
                true => Some((*base)? / (*own)?),
                false => Some((*own)? / (*base)?),
            },
        ))
    }

    /// A Markdown table, subjects downwards.
    pub fn markdown(&self) -> String {
        let unit = if self.event.less_is_better() { "bytes/process" } else { "operations/s" };
        let mut text =
            format!("### {}\n\n| | {unit}, median (range) | vs {BASE} |\n|---|---|---|\n", self.event.label());
        for entry in &self.entries {
            let spread = Spread::of(entry.figures.iter().copied().flatten());
            let figure = spread.map(|s| format!("{} ({}–{})", short(s.median), short(s.min), short(s.max)));
            let ratio = self.ratio(entry).map(Spread::as_ratio);
            let [figure, ratio] = [figure, ratio].map(|column| column.unwrap_or_else(|| "–".into()));
            writeln!(text, "| {} | {figure} | {ratio} |", entry.subject).expect("writing to a string");
        }
        text
    }

    /// Every figure.
    pub fn to_json(&self) -> Value {
        let entry = |entry: &Entry| {
            json!({
                "subject": entry.subject,
                "figures": entry.figures,
                "spread": Spread::of(entry.figures.iter().copied().flatten()).map(Spread::to_json),
                "ratio": self.ratio(entry).map(Spread::to_json),
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
