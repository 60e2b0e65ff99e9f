//! Repeats the scenarios: rounds are interleaved, every measurement is a process, ratios are paired.

use super::{IDLE_CLIENTS, SUBJECTS, Server};
use crate::arguments::{Arguments, refuse};
use crate::procfs;
use crate::spread::{Spread, short};
use crate::table::campaign::order;
use crate::table::tools::tool;
use serde_json::{Value, json};
use std::time::Instant;
use std::{io, process};

/// The options of [`run`].
pub const OPTIONS: &[&str] = &["rounds", "messages", "requests"];

const SCENARIOS: &[&str] = &["publish", "request", "idle-bytes"];

/// `nats one SUBJECT SCENARIO URL COUNT`: measures once in this process and prints one JSON line.
pub fn one(arguments: &Arguments) {
    let word = |index| arguments.word(index).unwrap_or_default();
    let Some((_, build)) = SUBJECTS.iter().find(|(name, _)| *name == word(1)) else {
        refuse("unknown subject")
    };
    let count: u64 = word(4)
        .parse()
        .unwrap_or_else(|_| refuse("a number is missing"));
    let (subject, url) = (build(), word(3));
    let figures = match word(2) {
        "publish" => rate(count, |count| subject.publish(url, count)),
        "request" => rate(count, |count| subject.request(url, count)),
        "idle-bytes" => {
            let private = || procfs::memory_of(process::id()).map(|memory| memory.private_bytes);
            let before = private().unwrap_or(0);
            subject.idle(url);
            let bytes = private().unwrap_or(0).saturating_sub(before) / IDLE_CLIENTS;
            json!({ "figure": bytes, "cpu_us": null })
        }
        _ => refuse("unknown scenario"),
    };
    println!("{figures}");
    // Without dropping the subject, whose clients would wait for the server.
    process::exit(0)
}

/// Operations per second, and the processor time of one, after a twentieth to warm up.
fn rate(count: u64, run: impl Fn(u64)) -> Value {
    run(count / 20);
    let (start, cpu) = (Instant::now(), procfs::own_cpu());
    run(count);
    let (taken, cpu) = (start.elapsed(), procfs::own_cpu() - cpu);
    json!({
        "figure": count as f64 / taken.as_secs_f64(),
        "cpu_us": cpu.as_secs_f64() * 1e6 / count as f64,
    })
}

/// Runs all scenarios and returns a document; prints a table.
pub fn run(arguments: &Arguments) -> io::Result<Value> {
    let server = Server::start()?;
    let rounds = arguments.value("rounds", 7_usize);
    let (messages, requests) = (
        arguments.value("messages", 1_000_000_u64),
        arguments.value("requests", 192_000_u64),
    );
    let mut rows = Vec::new();
    println!("| scenario | longshore | async-nats | ratio | processor time, µs | ratio |");
    println!("|---|---|---|---|---|---|");
    for scenario in SCENARIOS {
        let count = match *scenario {
            "publish" => messages,
            "request" => requests,
            _ => 0,
        };
        let mut runs = vec![Vec::new(); SUBJECTS.len()];
        for round in 1..=rounds {
            for index in order(SUBJECTS.len(), round) {
                let (name, _) = SUBJECTS[index];
                let mut command = tool("nats")?;
                command.args(["one", name, scenario, server.url(), &count.to_string()]);
                let output = command.output()?;
                let figures: Value = serde_json::from_slice(&output.stdout)
                    .map_err(|_| failed(name, scenario, &output.stderr))?;
                eprintln!("{scenario} · round {round} · {name} · {figures}");
                runs[index].push(figures);
            }
        }
        println!("{}", row(scenario, &runs));
        rows.push(json!({ "scenario": scenario, "longshore": runs[0], "async-nats": runs[1] }));
    }
    Ok(json!({ "rounds": rounds, "rows": rows }))
}

/// A measurement that printed no figures, with the beginning of what it printed instead.
fn failed(name: &str, scenario: &str, stderr: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(&stderr[..stderr.len().min(500)]);
    io::Error::other(format!("{name} {scenario}: {text}"))
}

/// A row of the table. A ratio above 1 is better for longshore.
fn row(scenario: &str, runs: &[Vec<Value>]) -> String {
    let column = |index: usize, key: &str| -> Vec<f64> {
        runs[index]
            .iter()
            .filter_map(|run| run[key].as_f64())
            .collect()
    };
    let ratio = |upper: &[f64], lower: &[f64]| {
        let pairs = upper.iter().zip(lower);
        Spread::of(pairs.map(|(upper, lower)| upper / lower))
            .map_or_else(|| "–".to_owned(), Spread::as_ratio)
    };
    let median =
        |figures: &[f64]| Spread::of(figures.iter().copied()).map_or(f64::NAN, |all| all.median);
    let (ours, theirs) = (column(0, "figure"), column(1, "figure"));
    let (our_cpu, their_cpu) = (column(0, "cpu_us"), column(1, "cpu_us"));
    let figures = match scenario {
        "idle-bytes" => ratio(&theirs, &ours),
        _ => ratio(&ours, &theirs),
    };
    format!(
        "| {scenario} | {} | {} | {figures} | {:.2} to {:.2} | {} |",
        short(median(&ours)),
        short(median(&theirs)),
        median(&our_cpu),
        median(&their_cpu),
        ratio(&their_cpu, &our_cpu),
    )
}
