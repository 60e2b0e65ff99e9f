//! Runs one scenario under callgrind in windows of operations. Instructions come from callgrind's dumps, allocations
//! from the lines that the scenario prints.

use super::client::Asker;
use super::scenario::{Scenario, Work};
use crate::spread::Spread;
use crate::table::tools::tool;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::{env, fs, process};

/// The C library chooses its copy routines by the processor. With these settings it chooses those of every x86-64.
const BASELINE_ROUTINES: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,\
     -SSSE3,-SSE4_1,-SSE4_2,-BMI1,-BMI2,-LZCNT,-MOVBE,-POPCNT";

/// What one operation costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// User-space instructions, with the range over the pairs of windows, or over the runs if there were several.
    pub instructions: Spread,
    /// Calls of the allocator.
    pub allocations: f64,
    /// Bytes asked of it.
    pub allocated_bytes: f64,
}

/// What happened within a window, or up to the end of one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    instructions: u64,
    allocations: u64,
    allocated_bytes: u64,
}

/// A scenario that runs under callgrind, and the client of its server.
struct Play {
    child: Child,
    orders: ChildStdin,
    lines: BufReader<ChildStdout>,
    asker: Option<Asker>,
}

/// Measures a scenario `runs` times, at least once; the figures are the medians of the runs.
///
/// # Errors
///
/// If valgrind is not there, or the scenario fails.
pub fn measure_runs(
    scenario: &Scenario,
    pairs: usize,
    runs: usize,
    keep: Option<&Path>,
) -> io::Result<Cost> {
    let costs = (0..runs.max(1)).map(|_| measure(scenario, pairs, keep));
    let costs = costs.collect::<io::Result<Vec<Cost>>>()?;
    if let [only] = costs[..] {
        return Ok(only);
    }
    let spread = |figure: fn(&Cost) -> f64| {
        Spread::of(costs.iter().map(figure)).expect("at least one run was measured")
    };
    Ok(Cost {
        instructions: spread(|cost| cost.instructions.median),
        allocations: spread(|cost| cost.allocations).median,
        allocated_bytes: spread(|cost| cost.allocated_bytes).median,
    })
}

/// Measures a scenario by `pairs` of a short and a long window. Start-up and the costs at the ends of a window cancel
/// in their difference, and the median leaves out what happens in few windows, such as a table that grows.
///
/// The dumps stay in `keep` if that is given, for `callgrind_annotate`.
fn measure(scenario: &Scenario, pairs: usize, keep: Option<&Path>) -> io::Result<Cost> {
    let place: PathBuf = match keep {
        Some(place) => place.join(scenario.name),
        None => env::temp_dir().join(format!("gate-{}-{}", process::id(), scenario.name)),
    };
    fs::create_dir_all(&place)?;
    let cost = play(scenario, pairs, &place).and_then(|totals| {
        let instructions = read_dumps(&place)?;
        windows_of(&totals, &instructions).map(|windows| cost(scenario, &windows))
    });
    if keep.is_none() {
        fs::remove_dir_all(&place)?;
    }
    cost
}

/// Runs one window to warm up and then the pairs; returns the allocations up to the end of each window.
fn play(scenario: &Scenario, pairs: usize, place: &Path) -> io::Result<Vec<Counts>> {
    let mut play = Play::start(scenario, place)?;
    let (short, long) = scenario.windows;
    let windows = std::iter::once(long).chain((0..pairs).flat_map(|_| [short, long]));
    let totals = windows
        .map(|operations| play.window(operations))
        .collect::<io::Result<Vec<_>>>();
    match (totals, play.end()) {
        (Ok(totals), Ok(())) => Ok(totals),
        // The scenario's own error explains more than a broken pipe.
        (_, Err(error)) | (Err(error), _) => Err(error),
    }
}

impl Play {
    fn start(scenario: &Scenario, place: &Path) -> io::Result<Self> {
        let program = tool("gate-scenario")?;
        let mut child = Command::new("valgrind")
            .env("GLIBC_TUNABLES", BASELINE_ROUTINES)
            .args(["--tool=callgrind", "--quiet", "--fair-sched=yes"])
            .arg("--dump-before=window_ends")
            .arg(format!(
                "--callgrind-out-file={}",
                place.join("dump").display()
            ))
            .arg(program.get_program())
            .arg(scenario.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().expect("a piped input");
        let lines = BufReader::new(child.stdout.take().expect("a piped output"));
        let mut play = Self {
            child,
            orders,
            lines,
            asker: None,
        };
        let addr = play.line()?;
        if let Work::Serve(_, _, client) = scenario.work {
            play.asker =
                Some(client.connect(addr.parse().map_err(io::Error::other)?, play.child.id())?);
        }
        Ok(play)
    }

    fn window(&mut self, operations: u64) -> io::Result<Counts> {
        if let Some(asker) = &mut self.asker {
            asker.ask(operations)?;
        }
        writeln!(self.orders, "{operations}")?;
        let line = self.line()?;
        let mut counts = line
            .split_ascii_whitespace()
            .map_while(|word| word.parse().ok());
        let mut next = || {
            counts
                .next()
                .ok_or_else(|| invalid(format!("no counts in {line:?}")))
        };
        Ok(Counts {
            instructions: 0,
            allocations: next()?,
            allocated_bytes: next()?,
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim().to_owned()),
        }
    }

    /// Closes the scenario's input and waits for it to exit.
    fn end(self) -> io::Result<()> {
        drop((self.orders, self.asker));
        let output = self.child.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )),
        }
    }
}

/// The instructions of each dump, by its number.
fn read_dumps(place: &Path) -> io::Result<BTreeMap<u64, u64>> {
    let mut dumps = BTreeMap::new();
    for entry in fs::read_dir(place)? {
        let profile = fs::read_to_string(entry?.path())?;
        let field = |key| {
            profile
                .lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
        };
        if let (Some(part), Some(instructions)) = (field("part:"), field("totals:")) {
            dumps.insert(part, instructions);
        }
    }
    Ok(dumps)
}

/// Joins the two kinds of counts. The first window is left out, because start-up belongs to it.
fn windows_of(totals: &[Counts], instructions: &BTreeMap<u64, u64>) -> io::Result<Vec<Counts>> {
    let pairs = totals.windows(2).enumerate().map(|(index, ends)| {
        // Dumps are counted from 1, and the first belongs to the window that is left out.
        let part = index as u64 + 2;
        let instructions = instructions
            .get(&part)
            .ok_or_else(|| invalid(format!("callgrind wrote no dump {part}")))?;
        Ok(Counts {
            instructions: *instructions,
            allocations: ends[1].allocations - ends[0].allocations,
            allocated_bytes: ends[1].allocated_bytes - ends[0].allocated_bytes,
        })
    });
    pairs.collect()
}

fn cost(scenario: &Scenario, windows: &[Counts]) -> Cost {
    let operations = (scenario.windows.1 - scenario.windows.0) as f64;
    let each = |count: fn(&Counts) -> u64| {
        let median = |first: usize| {
            let counts = windows
                .iter()
                .skip(first)
                .step_by(2)
                .map(|window| count(window) as f64);
            Spread::of(counts)
                .expect("at least one pair of windows")
                .median
        };
        (median(1) - median(0)) / operations
    };
    let pairs = windows
        .chunks_exact(2)
        .map(|pair| pair[1].instructions as f64 - pair[0].instructions as f64);
    let range = Spread::of(pairs.map(|difference| difference / operations))
        .expect("at least one pair of windows");
    Cost {
        instructions: Spread {
            median: each(|window| window.instructions),
            ..range
        },
        allocations: each(|window| window.allocations),
        allocated_bytes: each(|window| window.allocated_bytes),
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::scenario::SCENARIOS;

    #[test]
    fn a_window_in_which_a_table_grew_changes_nothing() {
        let scenario = Scenario {
            windows: (10, 110),
            ..SCENARIOS[0]
        };
        let window = |instructions, allocations| Counts {
            instructions,
            allocations,
            allocated_bytes: 0,
        };
        let usual = [window(1_500, 3), window(6_500, 3)];
        let grown = [window(1_500, 3), window(9_000, 9)];
        let found = cost(&scenario, &[usual, grown, usual].concat());
        assert_eq!(
            found.instructions,
            Spread {
                median: 50.0,
                min: 50.0,
                max: 75.0
            }
        );
        assert_eq!(found.allocations, 0.0);
    }
}
