//! The README's summary: ten rows of what users ask first, each library with its defaults.
//!
//! ```text
//!  all.json, actors.json ─┐
//!                         ├─> ten rows: longshore, tokio, ratio, the others, date
//!  earlier.json ──────────┘
//! ```
//!
//! `earlier.json` has figures whose single runs were not kept; a row of the campaign replaces them. The base is tokio's
//! multi-thread runtime, which is its default, and not the best flavor of the row as on the page.

use super::contender::{Contender, Family};
use super::outcome::{Cell, Outcome};
use super::page::IN_MEMORY;
use super::plan::Metric;
use super::verdict;
use crate::actors::contest;
use crate::spread::{Spread, grouped, short};
use serde_json::Value;
use std::fmt::Write;

/// The libraries beside longshore and tokio, by the name of their peer.
const OTHERS: [&str; 4] = ["message-io", "actix", "ractor", "kameo"];

const HEAD: &str = "\
A ratio is longshore's figure to that of tokio's multi-thread runtime, paired in each round of interleaved runs and then
the median; above 1 longshore is better, also where less is better. Every library has its defaults: as many workers as
the server has cores, where it has a choice.";

/// Where the figures of a row come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// A row of the plan, by its name.
    Sockets(&'static str),
    /// A scenario of the actors, with two workers.
    Actors(&'static str),
}

/// The rows in their order: what is measured, and where it is found.
const ROWS: [(&str, Source); 10] = [
    (
        "TCP 64 B, 50 connections, both cores",
        Source::Sockets("both cores, 64 B, 50 conn."),
    ),
    (
        "… 16 messages in flight on each",
        Source::Sockets("both cores, 64 B, 50 conn. × 16 deep"),
    ),
    (
        "UDP 64 B, 4 sockets, both cores",
        Source::Sockets("both cores, UDP 64 B, 4 sockets"),
    ),
    (
        "Open loop, 1,000 connections, 60,000 messages/s, one core",
        Source::Sockets("open loop, 64 B, 1,000 conn., 60 k/s: p99 in µs"),
    ),
    (
        "TLS 64 B, 50 connections, one core",
        Source::Sockets("TLS 64 B, 50 conn."),
    ),
    (
        "TLS full handshakes, one core",
        Source::Sockets("TLS full handshakes"),
    ),
    (
        "Connect, one message, close, one core",
        Source::Sockets("connect, one message, close"),
    ),
    (
        "Memory of an idle connection",
        Source::Sockets("10,000 idle, bytes each"),
    ),
    (
        "Ping-pong of two actors, two workers",
        Source::Actors("ping-pong"),
    ),
    ("Memory of an idle process", Source::Actors("idle-bytes")),
];

/// One row in words.
#[derive(Debug, Default, PartialEq)]
struct Line {
    unit: String,
    longshore: Option<String>,
    tokio: Option<String>,
    ratio: Option<String>,
    others: [Option<String>; OTHERS.len()],
    date: String,
}

/// The text between the README's markers.
pub fn render(
    outcomes: &[Outcome],
    events: &[contest::Result],
    events_date: &str,
    earlier: &Value,
) -> String {
    let mut text = format!(
        "{HEAD}\n\n| | unit | longshore | tokio | ratio | {} | measured |\n|---|---|---|---|---|---|---|---|---|---|\n",
        OTHERS.join(" | ")
    );
    for (name, source) in ROWS {
        let found = match source {
            Source::Sockets(row) => outcomes
                .iter()
                .find(|outcome| outcome.row.name == row)
                .and_then(of_sockets)
                .or_else(|| of_earlier(&earlier[row])),
            Source::Actors(scenario) => events
                .iter()
                .find(|event| event.is(scenario, 2))
                .map(|event| of_actors(event, events_date)),
        };
        let Some(line) = found else { continue };
        let figures = [line.longshore, line.tokio, line.ratio];
        let columns = figures.into_iter().chain(line.others);
        let columns: Vec<String> = columns
            .map(|column| column.unwrap_or_else(|| "–".into()))
            .collect();
        let (unit, date) = (line.unit, line.date);
        writeln!(
            text,
            "| {name} | {unit} | {} | {date} |",
            columns.join(" | ")
        )
        .expect(IN_MEMORY);
    }
    let (checks, missed) = goals(outcomes, events);
    write!(
        text,
        "\n[benches/results/page.md](benches/results/page.md) has all rows, also those that are lost: of {checks} goals \
         {missed}\nare **missed**, and the page says what limits each of them."
    )
    .expect(IN_MEMORY);
    text
}

fn of_sockets(outcome: &Outcome) -> Option<Line> {
    let cores = outcome.row.server_cores();
    let default = |wanted: &dyn Fn(&Contender) -> bool| {
        let all = outcome.cells.iter();
        let fitting = all.filter(|cell| wanted(&cell.contender) && !cell.runs.is_empty());
        // The one with as many workers as cores, or the only one.
        fitting.min_by_key(|cell| cell.contender.workers != cores)
    };
    let own = default(&|contender| contender.family == Family::Longshore)?;
    let base = default(&|contender| {
        contender.family == Family::Tokio && !contender.peer.ends_with("-ct")
    })?;
    let by_cpu = outcome.row.metric == Metric::Rate
        && (outcome.row.per_core || own.generator_limited() || base.generator_limited());
    let ratio = match by_cpu {
        true => outcome.cpu_ratio(own, base),
        false => outcome.ratio(own, base),
    };
    let figure = |cell: &Cell| figure(outcome, cell, by_cpu);
    Some(Line {
        unit: match (outcome.row.metric, by_cpu) {
            (Metric::Rate, true) => "µs of the server's core for one",
            (Metric::Rate, false) => "per second",
            (Metric::P99, _) => "µs, p50 / p99",
            (Metric::Bytes, _) => "bytes",
        }
        .into(),
        longshore: figure(own),
        tokio: figure(base),
        ratio: ratio.map(|ratio| format!("{:.2}", ratio.median)),
        others: OTHERS.map(|peer| figure(default(&|contender| contender.peer == peer)?)),
        date: outcome.date.clone(),
    })
}

fn figure(outcome: &Outcome, cell: &Cell, by_cpu: bool) -> Option<String> {
    if by_cpu {
        return Some(format!("{:.2}", cell.cpu_micros("server_cpu_s")?));
    }
    Some(match outcome.row.metric {
        Metric::Rate => short(cell.spread(Metric::Rate)?.median),
        Metric::P99 => {
            let [p50, p99] = ["p50_us", "p99_us"].map(|key| cell.median(key));
            format!("{} / {}", grouped(p50?), grouped(p99?))
        }
        Metric::Bytes => grouped(cell.spread(Metric::Bytes)?.median),
    })
}

fn of_actors(event: &contest::Result, date: &str) -> Line {
    let (unit, format): (_, fn(f64) -> String) = match event.unit() {
        "operations/s" => ("per second", short),
        _ => ("bytes", grouped),
    };
    let figure = |subject: &str| event.spread_of(subject).map(|spread| format(spread.median));
    let ratio = event.ratio_of("longshore", contest::BASE);
    Line {
        unit: unit.into(),
        longshore: figure("longshore"),
        tokio: figure(contest::BASE),
        ratio: ratio.map(|ratio: Spread| format!("{:.2}", ratio.median)),
        others: OTHERS.map(figure),
        date: date.into(),
    }
}

/// A row of `earlier.json`: every column as a text.
fn of_earlier(row: &Value) -> Option<Line> {
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    Some(Line {
        unit: text("unit")?,
        longshore: text("longshore"),
        tokio: text("tokio"),
        ratio: text("ratio"),
        others: OTHERS.map(text),
        date: text("date")?,
    })
}

/// How many goals the page has, and how many of them are missed.
fn goals(outcomes: &[Outcome], events: &[contest::Result]) -> (usize, usize) {
    let of_rows = outcomes.iter().filter_map(|outcome| {
        let champion = verdict::champion(outcome)?;
        Some(super::page::row_checks(outcome, champion))
    });
    let checks = of_rows.chain(events.iter().map(contest::Result::checks));
    let checks: Vec<_> = checks.flatten().collect();
    let missed = checks.iter().filter(|check| !check.met).count();
    (checks.len(), missed)
}

#[cfg(test)]
mod tests {
    use super::super::{contender, plan};
    use super::*;
    use serde_json::json;

    fn cell(label: &str, rate: f64, limited: bool) -> Cell {
        let run = json!({ "rate": rate, "messages": 1_000, "server_cpu_s": 1.0 / rate, "generator_limited": limited });
        Cell {
            runs: vec![Ok(run)],
            ..Cell::new(contender::find(label).expect("a contender"))
        }
    }

    fn outcome(cells: Vec<Cell>) -> Outcome {
        Outcome {
            row: plan::find("both cores, 64 B, 50 conn.").expect("a row"),
            method: String::new(),
            date: "2026-01-31".into(),
            cells,
        }
    }

    #[test]
    fn the_base_is_the_default_runtime_although_another_flavor_is_better() {
        let line = of_sockets(&outcome(vec![
            cell("tokio-1", 300.0, false),
            cell("tokio-2", 100.0, false),
            cell("tokio-ct", 400.0, false),
            cell("message-io", 50.0, false),
            cell("longshore", 500.0, false),
            cell("longshore-2", 150.0, false),
        ]))
        .expect("a line");
        assert_eq!(line.longshore.as_deref(), Some("150"));
        assert_eq!(line.tokio.as_deref(), Some("100"));
        assert_eq!(line.ratio.as_deref(), Some("1.50"));
        assert_eq!(line.others, [Some("50.0".into()), None, None, None]);
    }

    #[test]
    fn every_row_of_the_summary_is_a_row_of_the_plan() {
        for (name, source) in ROWS {
            if let Source::Sockets(row) = source {
                assert!(plan::find(row).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn an_earlier_figure_stands_in_for_a_row_that_was_not_measured() {
        let name = "both cores, 64 B, 50 conn.";
        let earlier =
            json!({ name: { "unit": "per second", "ratio": "7.77", "date": "2026-01-01" } });
        let text = render(&[], &[], "", &earlier);
        assert!(text.contains("| 7.77 |"), "{text}");
        let measured = outcome(vec![
            cell("tokio-2", 100.0, false),
            cell("longshore-2", 150.0, false),
        ]);
        let text = render(&[measured], &[], "", &earlier);
        assert!(
            text.contains("| 1.50 |") && !text.contains("7.77"),
            "{text}"
        );
    }
}
