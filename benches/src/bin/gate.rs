//! Compares instructions and allocations per operation with a stored file; the exit status is 1 if any got worse.
//!
//! ```text
//! cargo run --release --bin gate                       # all that the file names
//! cargo run --release --bin gate -- --all              # and the peers, to compare
//! cargo run --release --bin gate -- --only tcp-echo,tokio-tcp-echo
//! cargo run --release --bin gate -- --update           # stores what the file names
//! cargo run --release --bin gate -- --update tcp-echo  # stores this one
//! cargo run --release --bin gate -- --only tcp-echo --keep /tmp/dumps
//! ```

use longshore_bench::arguments::{Arguments, refuse};
use longshore_bench::gate::baseline::{Baseline, Verdict};
use longshore_bench::gate::scenario::{SCENARIOS, Scenario};
use longshore_bench::gate::{callgrind, callgrind::Cost, scenario};
use longshore_bench::table::tools;
use std::path::PathBuf;
use std::process::ExitCode;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gate.json");

/// How often a scenario runs that is stored: the range of the runs decides its tolerance.
const STORED_RUNS: usize = 5;

/// What to do with the counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Compare,
    Store,
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments = Arguments::from_env();
    let file: PathBuf = arguments.value("file", FILE.into());
    let pairs = arguments.value("pairs", 9);
    let runs: Option<usize> = arguments.optional("runs");
    let keep: Option<PathBuf> = arguments.optional("keep");
    let mut baseline = Baseline::read(&file)?;
    let (task, scenarios) = chosen(&arguments, &baseline);
    arguments.refuse_unknown();
    let runs = match task {
        Task::Compare => runs.unwrap_or(1),
        Task::Store => runs.unwrap_or(STORED_RUNS),
    };
    if task == Task::Store && runs < 3 {
        refuse("--update needs the range of at least --runs 3");
    }
    tools::build_those(&["--bin", "gate-scenario"])?;
    if let Some(other) = baseline.other_compiler() {
        eprintln!("note: the stored counts are for {other}");
    }
    println!(
        "| scenario | instructions/op (range) | stored | change | allocations/op | bytes/op | verdict |\n|---|---|---|---|---|---|---|"
    );
    let mut worse = Vec::new();
    for scenario in &scenarios {
        let cost = callgrind::measure_runs(scenario, pairs, runs, keep.as_deref())?;
        if report(&baseline, scenario.name, &cost) == Verdict::Worse {
            worse.push(scenario.name);
        }
        if task == Task::Store {
            baseline.store(scenario.name, &cost);
        }
    }
    if task == Task::Store {
        baseline.write(&file)?;
        return Ok(ExitCode::SUCCESS);
    }
    if worse.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "worse than {}: {}; if that is meant, run the gate with --update",
        file.display(),
        worse.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// The scenarios of the command line, or those of the file.
fn chosen(arguments: &Arguments, baseline: &Baseline) -> (Task, Vec<Scenario>) {
    let (update, only, all) = (
        arguments.list("update"),
        arguments.list("only"),
        arguments.flag("all"),
    );
    let task = if update.is_empty() {
        Task::Compare
    } else {
        Task::Store
    };
    let names = match (&update[..], &only[..]) {
        _ if all => return (task, SCENARIOS.to_vec()),
        ([], []) => baseline.names(),
        ([], only) => only.to_vec(),
        // An option without a value.
        ([flag], _) if flag == "true" => baseline.names(),
        (update, _) => update.to_vec(),
    };
    let find = |name: &String| {
        scenario::find(name).unwrap_or_else(|| refuse(&format!("unknown scenario {name:?}")))
    };
    (task, names.iter().map(find).collect())
}

fn report(baseline: &Baseline, name: &str, cost: &Cost) -> Verdict {
    let verdict = baseline.judge(name, cost);
    let stored = baseline.instructions(name);
    let found = cost.instructions;
    println!(
        "| {name} | {:.1} ({:.1}–{:.1}) | {} | {} | {:.3} | {:.1} | {verdict:?} (tolerance {:.1} %) |",
        found.median,
        found.min,
        found.max,
        stored.map_or("–".into(), |stored| format!("{stored:.1}")),
        stored.map_or("–".into(), |stored| format!(
            "{:+.1} %",
            (found.median / stored - 1.0) * 100.0
        )),
        cost.allocations,
        cost.allocated_bytes,
        baseline.tolerance(name) * 100.0,
    );
    verdict
}
