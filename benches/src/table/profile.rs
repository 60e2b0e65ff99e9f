//! Where a server's processor time goes: `perf record` beside the runs of a row.
//!
//! ```text
//!  server (fresh) ◀── perf record
//!        ▲ load          │ samples
//!     loadgen            ▼
//!        └─ µs for an operation × shares = µs in the kernel, in the program,
//!           in the C library, in single functions
//! ```
//!
//! Runs are interleaved like those of a campaign. The figures show what limits a row; they decide nothing, because a
//! server that is sampled is a little slower.

use super::campaign::{Campaign, order};
use super::contender::{Contender, entrants};
use super::plan::{Layout, Metric, Row};
use super::server::Server;
use crate::procfs;
use crate::spread::Spread;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs, io, process, thread::sleep, time::Duration};

/// Samples in a second. The number must not divide the timer's frequency.
const FREQUENCY: &str = "4999";
const ATTACH: Duration = Duration::from_millis(300);
/// Functions that are named for each contender, in the kernel and outside of it.
const NAMED: usize = 3;
/// Functions that are kept for each run.
const KEPT: usize = 40;
/// One flavor of each family is enough to see where the time goes.
const ONE_CORE: [&str; 4] = ["epoll", "tokio-ct", "tokio-rustls-ct", "longshore"];
const BOTH_CORES: [&str; 4] = ["epoll-2", "tokio-2", "tokio-rustls-2", "longshore-2"];

/// Profiles a row: every contender `campaign.rounds` times.
///
/// # Errors
///
/// If `perf` is missing or may not sample, or if a run fails.
pub fn profile(campaign: &Campaign, row: &Row) -> io::Result<Value> {
    let flavors = if row.layout == Layout::Shared {
        BOTH_CORES
    } else {
        ONE_CORE
    };
    let chosen = if campaign.peers.is_empty() {
        flavors.map(str::to_owned).to_vec()
    } else {
        campaign.peers.clone()
    };
    let contenders = entrants(row, &chosen);
    let mut runs = vec![Vec::new(); contenders.len()];
    for round in 1..=campaign.rounds {
        for index in order(contenders.len(), round) {
            eprintln!(
                "{} · profile {round} · {}",
                row.name, contenders[index].label
            );
            runs[index].push(sample(campaign, &contenders[index], row)?);
        }
    }
    let contenders = contenders
        .iter()
        .zip(runs)
        .map(|(contender, runs)| json!({ "label": contender.label, "runs": runs }));
    Ok(json!({ "name": row.name, "contenders": contenders.collect::<Vec<_>>() }))
}

/// Returns whether a row can be profiled, which takes processor time in the window.
pub fn is_profiled(row: &Row) -> bool {
    row.metric != Metric::Bytes
}

/// One run: the parts of an operation in microseconds.
fn sample(campaign: &Campaign, contender: &Contender, row: &Row) -> io::Result<Value> {
    let samples = Samples(env::temp_dir().join(format!("longshore-{}.perf", process::id())));
    let server = Server::start(contender, row, campaign.spin_turns)?;
    let mut record = Command::new("perf")
        .args([
            "record",
            "--quiet",
            "--event",
            "cpu-clock",
            "--freq",
            FREQUENCY,
            "--pid",
            &server.pid().to_string(),
        ])
        .arg("--output")
        .arg(&samples.0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    sleep(ATTACH);
    let switches = procfs::switches_of(server.pid())?;
    let run = server.load(row, campaign.warm_up_ms, campaign.duration_ms);
    let switches = procfs::switches_of(server.pid())?.saturating_sub(switches);
    kill_process(
        Pid::from_raw(record.id() as i32).expect("a child's pid is not zero"),
        Signal::INT,
    )?;
    record.wait()?;
    let run = run?;
    let number = |key: &str| run[key].as_f64().unwrap_or_default();
    let operations = if number("messages") > 0.0 {
        number("messages")
    } else {
        number("bytes") / 1_048_576.0
    };
    let cpu_us = number("server_cpu_s") * 1e6 / operations;
    // The switches were counted over the time to warm up as well.
    let seconds = (campaign.warm_up_ms + campaign.duration_ms) as f64 / 1e3;
    let switches = switches as f64 / seconds * number("seconds") / operations;
    let shares = samples.shares()?;
    let part = |part: Part| {
        cpu_us
            * shares
                .iter()
                .filter(|share| share.part == part)
                .map(|share| share.of_one)
                .sum::<f64>()
    };
    let symbols: Vec<Value> = shares
        .iter()
        .take(KEPT)
        .map(|share| {
            json!([
                share.symbol,
                cpu_us * share.of_one,
                share.part == Part::Kernel
            ])
        })
        .collect();
    Ok(json!({
        "cpu_us": cpu_us,
        "kernel_us": part(Part::Kernel),
        "program_us": part(Part::Program),
        "library_us": part(Part::Library),
        "switches": switches,
        "symbols": symbols,
    }))
}

/// What a function belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Kernel,
    Program,
    Library,
}

/// A function's part of the samples.
#[derive(Debug, PartialEq)]
struct Share {
    of_one: f64,
    part: Part,
    symbol: String,
}

/// The file of `perf record`, removed when dropped.
struct Samples(PathBuf);

impl Samples {
    /// The functions, the largest first.
    fn shares(&self) -> io::Result<Vec<Share>> {
        let mut report = Command::new("perf");
        report.args([
            "report",
            "--stdio",
            "--quiet",
            "--no-children",
            "--sort",
            "dso,symbol",
        ]);
        report
            .args(["--field-separator", "\t", "--input"])
            .arg(&self.0);
        let output = report.stderr(Stdio::null()).output()?;
        let shares: Vec<Share> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(share)
            .collect();
        if shares.is_empty() {
            Err(io::Error::other("perf has no samples of the server"))
        } else {
            Ok(shares)
        }
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        // `perf` may have failed before it wrote the file.
        let _ = fs::remove_file(&self.0);
    }
}

/// `7.13<tab>[kernel.kallsyms]<tab>[k] finish_task_switch.isra.0`
fn share(line: &str) -> Option<Share> {
    let mut fields = line.split('\t').map(str::trim);
    let of_one = fields.next()?.trim_end_matches('%').parse::<f64>().ok()? / 100.0;
    let object = fields.next()?;
    let symbol = fields.next()?;
    let part = match object {
        _ if symbol.starts_with("[k]") => Part::Kernel,
        _ if object.starts_with("libc.") || object == "[vdso]" => Part::Library,
        _ => Part::Program,
    };
    Some(Share {
        of_one,
        part,
        symbol: symbol.get(3..)?.trim().to_owned(),
    })
}

/// A table of all profiles of a document; empty if there is none.
pub fn render(document: &Value) -> String {
    let mut text = String::new();
    for row in document["rows"].as_array().into_iter().flatten() {
        for contender in row["contenders"].as_array().into_iter().flatten() {
            let runs = contender["runs"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let figure = |key: &str| {
                let spread = Spread::of(runs.iter().filter_map(|run| run[key].as_f64()));
                spread.map_or("–".into(), |spread| format!("{:.2}", spread.median))
            };
            let columns = [
                "cpu_us",
                "kernel_us",
                "program_us",
                "library_us",
                "switches",
            ]
            .map(figure);
            let (name, label) = (
                row["name"].as_str().unwrap_or_default(),
                contender["label"].as_str().unwrap_or_default(),
            );
            writeln!(
                text,
                "| {name} | {label} | {} | {} |",
                columns.join(" | "),
                [true, false]
                    .map(|in_kernel| largest(runs, in_kernel))
                    .join(" | ")
            )
            .expect("writing to a string");
        }
    }
    if text.is_empty() {
        return text;
    }
    let head = "| Row | server | µs | kernel | program | C library | switches | largest in the kernel, µs | largest outside, µs |\n|---|---|---|---|---|---|---|---|---|\n";
    head.to_owned() + &text
}

/// The functions with the most time: medians of all runs, as the other figures are.
fn largest(runs: &[Value], in_kernel: bool) -> String {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let symbols = runs
        .iter()
        .filter_map(|run| run["symbols"].as_array())
        .flatten();
    for symbol in symbols.filter(|symbol| symbol[2] == in_kernel) {
        times
            .entry(symbol[0].as_str().unwrap_or_default())
            .or_default()
            .extend(symbol[1].as_f64());
    }
    let median = |mut times: Vec<f64>| {
        // A run that does not name it had hardly any.
        times.resize(runs.len().max(times.len()), 0.0);
        Spread::of(times).map_or(0.0, |spread| spread.median)
    };
    let mut medians: Vec<_> = times
        .into_iter()
        .map(|(symbol, times)| (symbol, median(times)))
        .collect();
    medians.sort_by(|one, other| other.1.total_cmp(&one.1));
    let named = medians
        .iter()
        .take(NAMED)
        .filter(|(_, us)| *us > 0.0)
        .map(|(symbol, us)| format!("`{symbol}` {us:.2}"));
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_perf_is_understood() {
        let kernel =
            share("     7.13%\t[kernel.kallsyms]\t[k] finish_task_switch.isra.0").expect("a share");
        assert_eq!(
            (kernel.part, kernel.symbol.as_str()),
            (Part::Kernel, "finish_task_switch.isra.0")
        );
        assert!((kernel.of_one - 0.0713).abs() < 1e-9);
        assert_eq!(
            share("1.00%\tlibc.so.6\t[.] malloc").expect("a share").part,
            Part::Library
        );
        assert_eq!(
            share("1.00%\tpeer\t[.] <A as B>::run")
                .expect("a share")
                .symbol,
            "<A as B>::run"
        );
        assert_eq!(share("# a comment"), None);
        assert_eq!(share(""), None);
    }

    #[test]
    fn table_has_medians_and_the_largest_functions() {
        let run = |us: f64| {
            let symbols = json!([
                ["small", 0.1, false],
                ["large", us, false],
                ["send", 0.9, true]
            ]);
            json!({ "cpu_us": us, "kernel_us": 1.0, "program_us": 2.0, "library_us": 0.5, "switches": 0.25, "symbols": symbols })
        };
        let document = json!({ "rows": [{ "name": "R", "contenders": [{ "label": "L", "runs": [run(3.0), run(5.0), run(4.0)] }] }] });
        let text = render(&document);
        assert!(
            text.ends_with("| R | L | 4.00 | 1.00 | 2.00 | 0.50 | 0.25 | `send` 0.90 | `large` 4.00, `small` 0.10 |\n"),
            "{text}"
        );
        assert_eq!(render(&Value::Null), "");
    }
}
