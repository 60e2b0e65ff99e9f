//! One scenario under callgrind: instructions from its output file, allocations from the scenario's own line.

use super::scenario::Scenario;
use crate::table::tools::tool;
use std::io::{self, ErrorKind};
use std::process::Command;
use std::{env, fs, process};

/// What one operation costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// User-space instructions.
    pub instructions: f64,
    /// Calls of the allocator.
    pub allocations: f64,
    /// Bytes asked of it.
    pub allocated_bytes: f64,
}

#[derive(Clone, Copy)]
struct Totals {
    instructions: u64,
    allocations: u64,
    allocated_bytes: u64,
}

/// Measures a scenario; of `repeats` the one with the fewest instructions, because threads can only add.
pub fn measure(scenario: &Scenario, repeats: usize) -> io::Result<Cost> {
    let costs: io::Result<Vec<Cost>> = (0..repeats.max(1)).map(|_| difference(scenario)).collect();
    let cheapest = costs?.into_iter().min_by(|one, other| one.instructions.total_cmp(&other.instructions));
    Ok(cheapest.expect("at least one repeat"))
}

fn difference(scenario: &Scenario) -> io::Result<Cost> {
    let (few, many) = (totals(scenario, scenario.few)?, totals(scenario, scenario.many)?);
    let operations = (scenario.many - scenario.few) as f64;
    let each = |many: u64, few: u64| (many as f64 - few as f64) / operations;
    Ok(Cost {
        instructions: each(many.instructions, few.instructions),
        allocations: each(many.allocations, few.allocations),
        allocated_bytes: each(many.allocated_bytes, few.allocated_bytes),
    })
}

fn totals(scenario: &Scenario, operations: u64) -> io::Result<Totals> {
    let file = env::temp_dir().join(format!("gate-{}-{}-{operations}.out", process::id(), scenario.name));
    let scenario_command = tool("gate-scenario")?;
    let settings = scenario_command.get_envs().filter_map(|(key, value)| Some((key, value?)));
    let output = Command::new("valgrind")
        .envs(settings)
        .args(["--tool=callgrind", "--quiet", "--fair-sched=yes"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(scenario_command.get_program())
        .args([scenario.name, &operations.to_string()])
        .output()?;
    let profile = fs::read_to_string(&file);
    // Nobody needs it twice.
    let _ = fs::remove_file(&file);
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let line = String::from_utf8_lossy(&output.stdout);
    let mut counts = line.split_ascii_whitespace().map_while(|word| word.parse().ok());
    let missing = || io::Error::new(ErrorKind::InvalidData, format!("no counts in {line:?}"));
    Ok(Totals {
        instructions: instructions_of(&profile?)?,
        allocations: counts.next().ok_or_else(missing)?,
        allocated_bytes: counts.next().ok_or_else(missing)?,
    })
}

/// Adds the summaries of all parts; callgrind writes one part per dump.
fn instructions_of(profile: &str) -> io::Result<u64> {
    let sum = |key| profile.lines().filter_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok()).sum::<u64>();
    match (sum("totals:"), sum("summary:")) {
        (0, 0) => Err(io::Error::new(ErrorKind::InvalidData, "callgrind wrote no total")),
        (0, summary) => Ok(summary),
        (totals, _) => Ok(totals),
    }
}
