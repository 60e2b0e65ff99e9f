//! The JSON file of a campaign: date, versions, method and every single run.

use super::campaign::Campaign;
use super::outcome::{Cell, Outcome};
use super::verdict::{By, checks, deciding};
use super::{contender, contender::Family, plan};
use serde_json::{Map, Value, json};
use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const LOCK_FILE: &str = include_str!("../../Cargo.lock");
const PEERS: &[&str] = &[
    "longshore",
    "actix",
    "crossbeam-channel",
    "kameo",
    "message-io",
    "mio",
    "ractor",
    "rustls",
    "tokio",
    "tokio-rustls",
];

/// The whole campaign. Rows of an `earlier` document that were not run again are kept.
pub fn document(campaign: &Campaign, outcomes: &[Outcome], earlier: &[Value]) -> Value {
    let mut rows: Vec<Value> = outcomes.iter().map(row).collect();
    let is_new = |old: &Value| {
        !outcomes
            .iter()
            .any(|outcome| old["name"] == outcome.row.name.as_str())
    };
    rows.extend(earlier.iter().filter(|old| is_new(old)).cloned());
    // The order is the plan's, whichever row was run last.
    rows.sort_by_key(|row| plan::names().position(|name| row["name"] == name.as_str()));
    json!({
        "environment": environment(),
        "method": {
            "rounds": campaign.rounds,
            "duration_ms": campaign.duration_ms,
            "warm_up_ms": campaign.warm_up_ms,
            "max_other": campaign.max_other,
            "ratio": "paired by round; above 1 is better; base: the tokio flavor with the best median",
        },
        "rows": rows,
    })
}

/// The rows of a document, with what was run; rows and contenders that the plan no longer has are left out.
pub fn outcomes(document: &Value) -> Vec<Outcome> {
    document["rows"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(outcome)
        .collect()
}

fn outcome(row: &Value) -> Option<Outcome> {
    let cells = row["contenders"]
        .as_array()?
        .iter()
        .filter_map(cell)
        .collect();
    let method = row["method"].as_str().unwrap_or_default().to_owned();
    Some(Outcome {
        row: plan::find(row["name"].as_str()?)?,
        method,
        date: row["date"].as_str().unwrap_or("–").to_owned(),
        cells,
    })
}

fn cell(contender: &Value) -> Option<Cell> {
    let run = |run: &Value| match run["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(run.clone()),
    };
    Some(Cell {
        contender: contender::find(contender["label"].as_str()?)?,
        runs: contender["runs"].as_array()?.iter().map(run).collect(),
        syscalls: contender["syscalls_per_message"].as_f64(),
    })
}

/// When, with which versions and on what kind of machine.
pub fn environment() -> Value {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();
    json!({
        "date": today(),
        "versions": versions(),
        "compiler": first_line("rustc", &["--version"]),
        "revision": first_line("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short=10", "HEAD"]),
        "kernel": kernel.trim(),
        "processor": model.trim_start_matches([' ', '\t', ':']),
        "cores": crate::affinity::available_cores(),
    })
}

fn row(outcome: &Outcome) -> Value {
    json!({
        "date": outcome.date,
        "method": outcome.method,
        "table": outcome.row.table,
        "name": outcome.row.name,
        "load": outcome.row.load,
        "server": outcome.row.server,
        "best_tokio": outcome.best_of(Family::Tokio).map(|cell| cell.contender.label),
        "contenders": outcome.cells.iter().map(|cell| contender(outcome, cell)).collect::<Vec<_>>(),
    })
}

fn contender(outcome: &Outcome, cell: &Cell) -> Value {
    let ratio = |family| Some(outcome.ratio(cell, outcome.best_of(family)?)?.to_json());
    let runs: Vec<Value> = cell
        .runs
        .iter()
        .map(|run| match run {
            Ok(run) => run.clone(),
            Err(error) => json!({ "error": error }),
        })
        .collect();
    json!({
        "label": cell.contender.label,
        "figure": cell.spread(outcome.row.metric).map(crate::spread::Spread::to_json),
        "vs_best_tokio": ratio(Family::Tokio),
        "vs_epoll": ratio(Family::Epoll),
        "cpu_vs_thriftiest_tokio": outcome.thriftiest_of(Family::Tokio).and_then(|base| Some(outcome.cpu_ratio(cell, base)?.to_json())),
        "decided_by": if deciding(outcome, cell, Family::Tokio) == By::Cpu { "server_cpu" } else { "figure" },
        "goals": checks(outcome, cell).iter().map(|check| json!({ "goal": check.goal, "found": check.found, "met": check.met })).collect::<Vec<_>>(),
        "generator_limited": cell.generator_limited(),
        "syscalls_per_message": cell.syscalls,
        "runs": runs,
    })
}

/// The first line that a program prints, if it is installed and succeeds.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .map(str::to_owned)
}

fn versions() -> Map<String, Value> {
    let packages = LOCK_FILE.split("[[package]]").filter_map(|package| {
        let field = |key: &str| {
            package
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .map(|v| v.trim_matches('"'))
        };
        Some((field("name = ")?, field("version = ")?))
    });
    // Some crates are locked in several versions; the newest comes last and is the one that is measured.
    packages
        .filter(|(name, _)| PEERS.contains(name))
        .map(|(name, version)| (name.into(), version.into()))
        .collect()
}

/// The date in UTC, `2026-01-31`, by the usual arithmetic on days since 1970.
pub fn today() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
