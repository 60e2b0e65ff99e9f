//! A row's outcome as a Markdown table, contenders downwards.

use super::contender::Family;
use super::outcome::{Cell, Outcome};
use super::verdict;
use crate::spread::short;
use std::fmt::Write;

/// Writes one row's table with its caption.
pub fn render(outcome: &Outcome) -> String {
    let mut text = format!("### {}\n\n{}.", outcome.row.name, outcome.method);
    if let Some(base) = outcome.best_of(Family::Tokio) {
        write!(text, " Best tokio flavor: {}.", base.contender.label).expect("writing to a string");
    }
    text.push_str("\n\n| | median (range) | rate vs best tokio | rate vs epoll | p50 µs | p99 µs | server CPU µs/op | CPU vs thriftiest tokio | generator CPU µs/op | system calls/op | verdict | remarks |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    outcome
        .cells
        .iter()
        .for_each(|cell| text.push_str(&line(outcome, cell)));
    text
}

fn line(outcome: &Outcome, cell: &Cell) -> String {
    let figure = cell.spread(outcome.row.metric).map(|spread| {
        let [median, min, max] = [spread.median, spread.min, spread.max].map(short);
        format!("{median} ({min}–{max})")
    });
    let ratio = |family| Some(outcome.ratio(cell, outcome.best_of(family)?)?.as_ratio());
    let micros = |figure: Option<f64>| {
        figure
            .filter(|figure| *figure > 0.0)
            .map(|figure| format!("{figure:.1}"))
    };
    let columns = [
        figure,
        ratio(Family::Tokio),
        ratio(Family::Epoll),
        micros(cell.median("p50_us")),
        micros(cell.median("p99_us")),
        micros(cell.cpu_micros("server_cpu_s")),
        outcome
            .thriftiest_of(Family::Tokio)
            .and_then(|base| Some(outcome.cpu_ratio(cell, base)?.as_ratio())),
        micros(cell.cpu_micros("generator_cpu_s")),
        cell.syscalls.map(|calls| format!("{calls:.2}")),
        Some(verdict::describe(&verdict::checks(outcome, cell))).filter(|text| !text.is_empty()),
        Some(remarks(cell)),
    ];
    let columns = columns.map(|column| column.unwrap_or_else(|| "–".into()));
    format!("| {} | {} |\n", cell.contender.label, columns.join(" | "))
}

fn remarks(cell: &Cell) -> String {
    let disturbed = cell
        .runs
        .iter()
        .flatten()
        .filter(|run| run["disturbed"] == true)
        .count();
    let lost: u64 = cell
        .runs
        .iter()
        .flatten()
        .filter_map(|run| run["lost"].as_u64())
        .sum();
    let mut remarks = Vec::new();
    if cell.generator_limited() {
        remarks.push("generator at its limit".to_owned());
    }
    if disturbed > 0 {
        remarks.push(format!("{disturbed} of {} runs disturbed", cell.runs.len()));
    }
    if lost > 0 {
        remarks.push(format!("{lost} lost"));
    }
    remarks.extend(
        cell.error()
            .map(|error| format!("failed: {}", error.lines().next().unwrap_or(""))),
    );
    remarks.join("; ")
}
