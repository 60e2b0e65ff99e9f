//! The stored costs and the verdict on new ones.
//!
//! ```json
//! { "compiler": "rustc 1.88.0", "scenarios": { "std-channel":
//!   { "instructions": 120.0, "allocations": 0.03, "allocated_bytes": 8.1,
//!     "range": 0.001, "tolerance": 0.01 } } }
//! ```

use super::callgrind::Cost;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::{fs, io};

/// How far a count may be above the stored one, if the stored runs agreed within [`AGREEMENT`].
pub const TOLERANCE: f64 = 0.01;

/// The range of runs that agree, as a share of their median. Where runs differ more, twice their range is tolerated.
pub const AGREEMENT: f64 = 0.005;

/// How far allocations per operation may be above the stored ones, unless those are zero: the blocks of a queue do not
/// divide into every window. Zero is exact.
pub const ALLOCATION_SLACK: f64 = 0.002;

/// The stored file.
#[derive(Clone, Debug)]
pub struct Baseline(Value);

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// Cheaper by more than the tolerance: worth storing.
    Better,
    /// More instructions than the tolerance allows, or more allocations.
    Worse,
    /// Not in the file yet.
    New,
}

impl Baseline {
    /// Reads the file; an absent one is empty.
    pub fn read(file: &Path) -> io::Result<Self> {
        match fs::read_to_string(file) {
            Ok(text) => Ok(Self(serde_json::from_str(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self(json!({ "scenarios": {} })))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the file for the present compiler.
    pub fn write(&mut self, file: &Path) -> io::Result<()> {
        self.0["compiler"] = compiler().into();
        fs::write(file, serde_json::to_string_pretty(&self.0)? + "\n")
    }

    /// The compiler of the stored counts, if it is not the present one.
    pub fn other_compiler(&self) -> Option<&str> {
        self.0["compiler"]
            .as_str()
            .filter(|stored| *stored != compiler())
    }

    /// The scenarios in the file.
    pub fn names(&self) -> Vec<String> {
        self.0["scenarios"]
            .as_object()
            .map(|all| all.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Stores a cost, with the range of its runs and the tolerance that this range asks for.
    ///
    /// A wider range that the file has stays: it was seen on another processor, or in another build.
    pub fn store(&mut self, name: &str, cost: &Cost) {
        let round = |figure: f64| (figure * 1_000.0).round() / 1_000.0;
        let runs = cost.instructions;
        let seen = self.0["scenarios"][name]["range"].as_f64().unwrap_or(0.0);
        let range = seen.max((runs.max - runs.min) / runs.median);
        self.0["scenarios"][name] = json!({
            "instructions": round(cost.instructions.median),
            "allocations": round(cost.allocations),
            "allocated_bytes": round(cost.allocated_bytes),
            "range": (range * 10_000.0).ceil() / 10_000.0,
            "tolerance": tolerance_for(range),
        });
    }

    /// The stored instructions of a scenario.
    pub fn instructions(&self, name: &str) -> Option<f64> {
        self.0["scenarios"][name]["instructions"].as_f64()
    }

    /// The share by which a scenario may be above its stored count.
    pub fn tolerance(&self, name: &str) -> f64 {
        self.0["scenarios"][name]["tolerance"]
            .as_f64()
            .unwrap_or(TOLERANCE)
    }

    /// Compares a new cost with the stored one.
    pub fn judge(&self, name: &str, cost: &Cost) -> Verdict {
        let Some(stored) = self.instructions(name) else {
            return Verdict::New;
        };
        let allocations = self.0["scenarios"][name]["allocations"]
            .as_f64()
            .unwrap_or(0.0);
        let allowed = if allocations == 0.0 {
            0.0
        } else {
            allocations + ALLOCATION_SLACK
        };
        let share = cost.instructions.median / stored - 1.0;
        match self.tolerance(name) {
            tolerance if share > tolerance => Verdict::Worse,
            _ if cost.allocations > allowed => Verdict::Worse,
            tolerance if share < -tolerance => Verdict::Better,
            _ => Verdict::Same,
        }
    }
}

/// The tolerance of a count whose runs had this range, as shares; rounded up to a tenth of a per cent.
fn tolerance_for(range: f64) -> f64 {
    match range <= AGREEMENT {
        true => TOLERANCE,
        false => (2.0 * range * 1_000.0).ceil() / 1_000.0,
    }
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::Spread;

    fn cost(instructions: f64, allocations: f64) -> Cost {
        let instructions = Spread {
            median: instructions,
            min: instructions,
            max: instructions,
        };
        Cost {
            instructions,
            allocations,
            allocated_bytes: 0.0,
        }
    }

    #[test]
    fn runs_that_differ_are_tolerated_at_twice_their_range() {
        let mut stored = Baseline(json!({ "scenarios": {} }));
        let mut tolerance = |min, max| {
            let instructions = Spread {
                median: 1_000.0,
                min,
                max,
            };
            stored.store(
                "echo",
                &Cost {
                    instructions,
                    ..cost(0.0, 0.0)
                },
            );
            stored.tolerance("echo")
        };
        assert_eq!(tolerance(998.0, 1_003.0), 0.01);
        assert_eq!(tolerance(997.0, 1_003.0), 0.012);
        assert_eq!(tolerance(990.0, 1_020.0), 0.06);
        // A range that was seen once is not forgotten.
        assert_eq!(tolerance(998.0, 1_003.0), 0.06);
    }

    #[test]
    fn no_allocation_means_none_at_all() {
        let mut stored = Baseline(json!({ "scenarios": {} }));
        stored.store("echo", &cost(1_000.0, 0.0));
        stored.store("flood", &cost(1_000.0, 1.032));
        assert_eq!(stored.judge("echo", &cost(1_000.0, 0.001)), Verdict::Worse);
        assert_eq!(stored.judge("flood", &cost(1_000.0, 1.033)), Verdict::Same);
        assert_eq!(stored.judge("flood", &cost(1_000.0, 1.040)), Verdict::Worse);
    }

    #[test]
    fn one_more_allocation_is_worse_even_with_fewer_instructions() {
        let mut stored = Baseline(json!({ "scenarios": {} }));
        stored.store("echo", &cost(1_000.0, 0.0));
        assert_eq!(stored.judge("echo", &cost(900.0, 1.0)), Verdict::Worse);
        assert_eq!(stored.judge("echo", &cost(1_011.0, 0.0)), Verdict::Worse);
        assert_eq!(stored.judge("echo", &cost(1_009.0, 0.0)), Verdict::Same);
        assert_eq!(stored.judge("echo", &cost(900.0, 0.0)), Verdict::Better);
        assert_eq!(stored.judge("other", &cost(900.0, 0.0)), Verdict::New);
    }
}
