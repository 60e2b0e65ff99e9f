//! The benchmark page, the plot and the README's summary, made from the files of earlier runs.
//!
//! ```text
//!  results/all.json     (runner all)     ┐
//!  results/actors.json  (actors)         │         ┌─> results/page.md
//!  results/profile.json (runner profile) ├─ write ─┼─> results/plot.svg
//!  results/apps.json    (runner apps)    │
//!  results/notes.md     (by hand)        │         └─> README.md, between two markers
//!  results/earlier.json (by hand)        ┘
//! ```
//!
//! It runs nothing and decides nothing: verdicts come from [`verdict`] and from [`contest`].

use super::contender::Family;
use super::outcome::{Cell, Outcome};
use super::verdict::{self, By};
use super::{front, markdown, plan::Metric, plot, profile, record};
use crate::actors::contest;
use crate::apps::report;
use crate::spread::{Spread, short};
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

const BEGIN: &str = "<!-- benchmarks: written by `runner page` -->";
const END: &str = "<!-- benchmarks: end -->";
const PROFILE: &str = "Processor time of the server for an operation (a message, a connection, a handshake; 1 MiB of bulk one way) by \
    `perf record`: medians of all, in the kernel, in the program with its libraries, in the C library; how often a thread went to \
    sleep for an operation; and the functions with the most time. A server that is sampled is a little slower, and one that has to \
    wait for the generator sleeps more often. Every run is in `profile.json`.";
const METHOD: &str = include_str!("../../README.md");

/// Reads the results of a directory and writes everything that is made from them. Absent files are left out.
///
/// # Errors
///
/// If a file cannot be read or written, or if the README has no markers.
pub fn write(results: &Path, readme: &Path) -> io::Result<()> {
    let sockets = read_json(&results.join("all.json"))?;
    let actors = read_json(&results.join("actors.json"))?;
    let profiles = read_json(&results.join("profile.json"))?;
    let apps = read_json(&results.join("apps.json"))?;
    let earlier = read_json(&results.join("earlier.json"))?;
    let notes = read(&results.join("notes.md"))?;
    let outcomes = record::outcomes(&sockets);
    let events = contest::read(&actors);
    let summary = summary(&outcomes) + &actor_summary(&events);
    let mut page = format!(
        "# longshore beside its peers\n\n{}\n",
        conditions(&sockets, &actors)
    );
    write!(
        page,
        "![ratios to the best tokio flavor](plot.svg)\n\n## Summary\n\n{summary}\n"
    )
    .expect(IN_MEMORY);
    if !notes.is_empty() {
        write!(page, "## What limits the lost rows\n\n{notes}\n").expect(IN_MEMORY);
    }
    if let Some(table) = Some(profile::render(&profiles)).filter(|table| !table.is_empty()) {
        let revision = profiles["environment"]["revision"].as_str().unwrap_or("–");
        write!(
            page,
            "## Where the time goes\n\nRevision {revision}. {PROFILE}\n\n{table}\n"
        )
        .expect(IN_MEMORY);
    }
    write!(page, "## Method\n\n{}\n## Sockets\n\n", method()).expect(IN_MEMORY);
    outcomes
        .iter()
        .for_each(|outcome| page.push_str(&(markdown::render(outcome) + "\n")));
    if let Some(tables) = Some(report::render(&apps)).filter(|tables| !tables.is_empty()) {
        let date = apps["environment"]["date"].as_str().unwrap_or("–");
        write!(page, "## Applications\n\nMeasured {date}.\n\n{tables}").expect(IN_MEMORY);
    }
    page.push_str("## Actors\n\n");
    events
        .iter()
        .for_each(|event| page.push_str(&(event.markdown() + "\n")));
    fs::create_dir_all(results)?;
    fs::write(results.join("page.md"), page.trim_end().to_owned() + "\n")?;
    fs::write(results.join("plot.svg"), plot::render(&outcomes))?;
    let text = fs::read_to_string(readme)?;
    let date = actors["environment"]["date"].as_str().unwrap_or("–");
    let front = front::render(&outcomes, &events, date, &earlier);
    fs::write(readme, replace(&text, &front)?)
}

pub(super) const IN_MEMORY: &str = "writing to a string";

fn read(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

fn read_json(file: &Path) -> io::Result<Value> {
    match read(file)?.as_str() {
        "" => Ok(Value::Null),
        text => Ok(serde_json::from_str(text)?),
    }
}

/// Date, machine and versions.
fn conditions(sockets: &Value, actors: &Value) -> String {
    let mut text = String::from("| | sockets | actors |\n|---|---|---|\n");
    let field = |document: &Value, key: &str| match &document["environment"][key] {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for key in [
        "date",
        "revision",
        "compiler",
        "kernel",
        "processor",
        "cores",
    ] {
        writeln!(
            text,
            "| {key} | {} | {} |",
            field(sockets, key),
            field(actors, key)
        )
        .expect(IN_MEMORY);
    }
    let versions = [sockets, actors]
        .into_iter()
        .find_map(|document| document["environment"]["versions"].as_object());
    let list = versions
        .into_iter()
        .flatten()
        .map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or("")));
    write!(
        text,
        "\nVersions: {}. Every single run is in `all.json` and `actors.json`.\n",
        list.collect::<Vec<_>>().join(", ")
    )
    .expect(IN_MEMORY);
    text
}

/// The section of the crate's README, which is where it is kept.
fn method() -> &'static str {
    let section = METHOD.split("## Method\n").nth(1).unwrap_or_default();
    section
        .split("\n## ")
        .next()
        .unwrap_or_default()
        .trim_start()
}

/// One line for each row, with longshore's best flavor.
fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| Workload | longshore | best tokio | ratio (range) | to epoll | decided by | goals |\n|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        let Some(own) = verdict::champion(outcome) else {
            continue;
        };
        let decided = verdict::ratio(outcome, own, Family::Tokio);
        let by = decided.map(|(by, _)| match (by, outcome.row.metric) {
            (By::Cpu, _) => "server CPU",
            (By::Rate, Metric::Rate) => "rate",
            (By::Rate, Metric::P99) => "p99",
            (By::Rate, Metric::Bytes) => "bytes",
        });
        let columns = [
            figure(outcome, Some(own), by),
            figure(outcome, base(outcome, decided.map(|(by, _)| by)), by),
            decided.map(|(_, ratio)| ratio.as_ratio()),
            verdict::ratio(outcome, own, Family::Epoll)
                .map(|(_, ratio)| format!("{:.2}", ratio.median)),
            by.map(str::to_owned),
            Some(verdict::describe(&row_checks(outcome, own))).filter(|text| !text.is_empty()),
        ];
        let columns = columns.map(|column| column.unwrap_or_else(|| "–".into()));
        writeln!(text, "| {} | {} |", outcome.row.name, columns.join(" | ")).expect(IN_MEMORY);
    }
    text
}

/// The champion's checks, and the goals that only the flavor with two workers has.
pub(super) fn row_checks(outcome: &Outcome, champion: &Cell) -> Vec<verdict::Check> {
    let mut checks = verdict::checks(outcome, champion);
    if let Some(two) = outcome
        .cell("longshore-2")
        .filter(|_| champion.contender.workers == 1)
    {
        checks.extend(
            verdict::checks(outcome, two)
                .into_iter()
                .filter(|check| check.found.starts_with("own")),
        );
    }
    checks
}

fn base(outcome: &Outcome, by: Option<By>) -> Option<&Cell> {
    match by? {
        By::Rate => outcome.best_of(Family::Tokio),
        By::Cpu => outcome.thriftiest_of(Family::Tokio),
    }
}

/// The deciding figure of a contender, with its label.
fn figure(outcome: &Outcome, cell: Option<&Cell>, by: Option<&str>) -> Option<String> {
    let cell = cell?;
    let figure = match by {
        Some("server CPU") => format!("{:.2} µs", cell.cpu_micros("server_cpu_s")?),
        _ => {
            let unit = match (
                outcome.row.metric,
                cell.runs.iter().flatten().next()?["rate_unit"].as_str(),
            ) {
                (Metric::P99, _) => " µs",
                (Metric::Rate, Some("bytes/s")) => "B/s",
                (Metric::Rate, _) => "/s",
                (Metric::Bytes, _) => " B",
            };
            let median = cell.spread(outcome.row.metric)?.median;
            match (outcome.row.metric, unit) {
                (Metric::Rate, "/s") => format!("{}/s", short(median)),
                (Metric::Rate, unit) => format!("{}{unit}", short(median)),
                (_, unit) => format!("{median:.0}{unit}"),
            }
        }
    };
    Some(format!("{figure} ({})", cell.contender.label))
}

fn actor_summary(events: &[contest::Result]) -> String {
    if events.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n| Actors | longshore | tokio | ratio (range) | goals |\n|---|---|---|---|---|\n",
    );
    for event in events {
        let figure = |subject| {
            event
                .spread_of(subject)
                .map_or("–".into(), |spread: Spread| short(spread.median))
        };
        let ratio = event
            .ratio_of("longshore", contest::BASE)
            .map_or("–".into(), Spread::as_ratio);
        let goals = Some(verdict::describe(&event.checks())).filter(|text| !text.is_empty());
        writeln!(
            text,
            "| {}, {} | {} | {} | {ratio} | {} |",
            event.label(),
            event.unit(),
            figure("longshore"),
            figure(contest::BASE),
            goals.unwrap_or_else(|| "–".into()),
        )
        .expect(IN_MEMORY);
    }
    text
}

/// Puts new text between the markers.
fn replace(text: &str, new: &str) -> io::Result<String> {
    let missing = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("no {BEGIN:?} … {END:?} in the README"),
        )
    };
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        new.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let once = replace(&text, "new\n").expect("markers");
        assert_eq!(once, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(replace(&once, "new").expect("markers"), once);
        assert!(replace("no markers", "new").is_err());
    }

    #[test]
    fn the_method_is_found_in_the_readme() {
        assert!(
            method().starts_with("- Rounds are interleaved"),
            "{}",
            method()
        );
    }
}
