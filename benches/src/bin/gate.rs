//! Instructions and allocations per operation, compared with a stored file; the exit status is 1 if any got worse.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin gate                       # all that the file names
//! cargo run --release --manifest-path benches/Cargo.toml --bin gate -- --only std-channel
//! cargo run --release --manifest-path benches/Cargo.toml --bin gate -- --update std-channel,tcp-echo
//! ```

use longshore_bench::arguments::{Arguments, refuse};
use longshore_bench::gate::baseline::{Baseline, Verdict};
use longshore_bench::gate::{callgrind, callgrind::Cost, scenario};
use longshore_bench::table::tools;
use std::path::PathBuf;
use std::process::ExitCode;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gate.json");

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments = Arguments::from_env();
    let file: PathBuf = arguments.value("file", FILE.into());
    let repeats = arguments.value("repeats", 3);
    let (update, only) = (arguments.list("update"), arguments.list("only"));
    arguments.refuse_unknown();
    tools::build()?;
    let mut baseline = Baseline::read(&file)?;
    if let Some(other) = baseline.other_compiler() {
        eprintln!("note: the stored counts are for {other}");
    }
    let names = match (&update[..], &only[..]) {
        ([], []) => baseline.names(),
        ([], only) => only.to_vec(),
        (update, _) => update.to_vec(),
    };
    println!(
        "| scenario | instructions/op | stored | change | allocations/op | bytes/op | verdict |\n|---|---|---|---|---|---|---|"
    );
    let mut worse = false;
    for name in &names {
        let Some(scenario) = scenario::find(name) else { refuse(&format!("unknown scenario {name:?}")) };
        let cost = callgrind::measure(&scenario, repeats)?;
        worse |= report(&baseline, name, &cost) == Verdict::Worse;
        if !update.is_empty() {
            baseline.store(name, &cost);
        }
    }
    if !update.is_empty() {
        baseline.write(&file)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(baseline: &Baseline, name: &str, cost: &Cost) -> Verdict {
    let verdict = baseline.judge(name, cost);
    let stored = baseline.instructions(name);
    println!(
        "| {name} | {:.1} | {} | {} | {:.3} | {:.1} | {verdict:?} (tolerance {:.0} %) |",
        cost.instructions,
        stored.map_or("–".into(), |stored| format!("{stored:.1}")),
        stored.map_or("–".into(), |stored| format!("{:+.1} %", (cost.instructions / stored - 1.0) * 100.0)),
        cost.allocations,
        cost.allocated_bytes,
        baseline.tolerance(name) * 100.0,
    );
    verdict
}
