//! `gate-scenario NAME`: reads numbers of operations on standard input and runs one window for each.
//!
//! ```text
//!  gate                           gate-scenario, under callgrind
//!   │ <──────────── address ──────────── │   or "-" if there is no server
//!   │ ── operations of a window ───────> │   runs them; a server has served them by then
//!   │                                    │   window_ends(): callgrind writes the counts
//!   │ <────── allocations, bytes ─────── │   since the start of the process
//! ```
//!
//! By hand: `echo 100000 | perf stat gate-scenario ping-pong`.

mod allocations;
mod clock;

use longshore_bench::{arguments::Arguments, arguments::refuse, gate::scenario};
use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let arguments = Arguments::from_env();
    let name = arguments.word(0).unwrap_or_default();
    let Some(scenario) = scenario::find(name) else {
        refuse(&format!("unknown scenario {name:?}"))
    };
    arguments.refuse_unknown();
    clock::check();
    let mut stage = scenario.set_up();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    match stage.addr() {
        Some(addr) => writeln!(output, "{addr}")?,
        None => writeln!(output, "-")?,
    }
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let Ok(operations) = line.trim().parse() else {
            refuse(&format!("not a number of operations: {line:?}"))
        };
        line.clear();
        stage.play(operations);
        window_ends();
        let (calls, bytes) = allocations::so_far();
        writeln!(output, "{calls} {bytes}")?;
    }
    // The server of a scenario has no end of its own.
    std::process::exit(0)
}

/// Callgrind writes its counts on entering this function (`--dump-before`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn window_ends() {
    std::hint::black_box(());
}
