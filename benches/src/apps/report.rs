//! The tables of the applications, from the JSON of `runner apps`.
//!
//! Ratios are longshore's to the contender of the line, paired in each round, as median and quartiles; above 1
//! longshore is better, also in processor time. The rate decides, unless the client used more than [`LIMITED_SHARE`] of
//! its core for one of the two; then the processor time does.

use super::contest::contenders;
use crate::spread::{Quartiles, grouped, short};
use serde_json::Value;
use std::fmt::Write;

/// Above this share of its core the client is what limits a run.
const LIMITED_SHARE: f64 = 0.95;

/// All tables of a document; empty if there is none.
pub fn render(document: &Value) -> String {
    let rows = document["rows"].as_array().into_iter().flatten();
    rows.map(|row| render_row(row) + "\n").collect()
}

/// One row: a line for each contender.
pub fn render_row(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    let mut table = format!(
        "### {}\n\n{}. Ratios are longshore's, median and quartiles.\n\n\
         | | {}/s | server µs each | p99 µs | rate | processor time | verdict | remarks |\n|---|---|---|---|---|---|---|---|\n",
        text("name"),
        text("method"),
        text("unit"),
    );
    let contenders_of_row = row["contenders"].as_array().map_or(&[][..], Vec::as_slice);
    let own = contenders_of_row
        .iter()
        .find(|contender| contender["label"] == "longshore");
    for contender in contenders_of_row {
        table.push_str(&line(text("app"), own, contender));
    }
    table
}

fn line(app: &str, own: Option<&Value>, contender: &Value) -> String {
    let label = contender["label"].as_str().unwrap_or_default();
    let median =
        |key: &str| Some(Quartiles::of(figures(contender, key).into_iter().flatten())?.median);
    let other = own.filter(|_| label != "longshore");
    let rate = other.and_then(|own| ratio(own, contender, "rate"));
    // Less time is better: the ratio is turned over.
    let time = other.and_then(|own| ratio(contender, own, "server_cpu_us"));
    let goals = contenders(app)
        .into_iter()
        .find(|known| known.label == label);
    let verdict = goals
        .and_then(|known| known.goals)
        .and_then(|(least_rate, least_time)| {
            let by_time = [own?, contender]
                .iter()
                .any(|contender| is_client_limited(contender));
            let (found, least, by) = match by_time {
                true => (time?.median, least_time, "processor time"),
                false => (rate?.median, least_rate, "rate"),
            };
            let word = if found >= least { "met" } else { "**missed**" };
            Some(format!("{found:.2} ≥ {least:.2} by {by}: {word}"))
        });
    let error = contender["runs"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|run| run["error"].as_str());
    let columns = [
        median("rate").map(short),
        median("server_cpu_us").map(|micros| format!("{micros:.2}")),
        median("p99_us").map(grouped),
        rate.map(Quartiles::as_ratio),
        time.map(Quartiles::as_ratio),
        verdict,
        error.map(|error| format!("failed: {}", error.lines().next().unwrap_or_default())),
    ];
    let columns = columns.map(|column| column.unwrap_or_else(|| "–".into()));
    let mut text = String::new();
    writeln!(text, "| {label} | {} |", columns.join(" | ")).expect("writing to a string");
    text
}

/// A figure of each round; none for a run that failed.
fn figures(contender: &Value, key: &str) -> Vec<Option<f64>> {
    let runs = contender["runs"].as_array().into_iter().flatten();
    runs.map(|run| run[key].as_f64()).collect()
}

fn ratio(own: &Value, base: &Value, key: &str) -> Option<Quartiles> {
    let pairs = figures(own, key).into_iter().zip(figures(base, key));
    Quartiles::of(pairs.filter_map(|(own, base)| Some(own? / base?)))
}

/// True if the client was the limit in at least half of the runs.
fn is_client_limited(contender: &Value) -> bool {
    let shares = figures(contender, "client_share");
    let limited = shares
        .iter()
        .flatten()
        .filter(|share| **share > LIMITED_SHARE)
        .count();
    limited > 0 && limited * 2 >= shares.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(client_share: f64) -> Value {
        let run = |rate: f64, cpu: f64| json!({ "rate": rate, "server_cpu_us": cpu, "p99_us": 900.0, "client_share": client_share });
        json!({
            "name": "http", "app": "http", "unit": "request", "method": "2 rounds",
            "contenders": [
                { "label": "longshore", "runs": [run(90.0, 5.0), run(90.0, 5.0)] },
                { "label": "nginx", "runs": [run(100.0, 6.0), run(100.0, 6.0)] },
                { "label": "axum", "runs": [{ "error": "gone" }, { "error": "gone" }] },
            ],
        })
    }

    #[test]
    fn the_rate_decides_unless_the_client_was_the_limit() {
        let text = render_row(&row(0.5));
        assert!(text.contains("0.90 ≥ 0.97 by rate: **missed**"), "{text}");
        let text = render_row(&row(0.99));
        assert!(
            text.contains("1.20 ≥ 0.97 by processor time: met"),
            "{text}"
        );
        assert!(
            text.contains("| axum | – | – | – | – | – | – | failed: gone |"),
            "{text}"
        );
    }
}
