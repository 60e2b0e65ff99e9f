//! Processor time and memory of processes, from `/proc`.
//!
//! It never waits and keeps nothing between two calls.

use rustix::time::{ClockId, clock_gettime};
use std::{fs, io, time::Duration};

/// The processor time that this process has used so far.
pub fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The processor time of the children that this process has waited for, in ticks of 10 ms.
pub fn children_cpu() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name before the state is in parentheses and may contain anything; user and system time are fields 16 and 17.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = fields
        .split_ascii_whitespace()
        .skip(13)
        .take(2)
        .map(first_number);
    Ok(Duration::from_millis(ticks.sum::<u64>() * 10))
}

/// The processor time of all live threads of a process, exact to the nanosecond; threads that have ended do not count.
pub fn cpu_of(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the read.
        if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
            total += first_number(&text);
        }
    }
    Ok(Duration::from_nanos(total))
}

/// How often the threads of a process have gone to sleep so far.
pub fn switches_of(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Ok(text) = fs::read_to_string(task?.path().join("status")) {
            total += text
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
                .map_or(0, first_number);
        }
    }
    Ok(total)
}

/// The time that all cores together were busy since boot, in ticks of 10 ms.
pub fn machine_cpu() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<u64> = stat
        .split_ascii_whitespace()
        .skip(1)
        .take(8)
        .map_while(|f| f.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy: u64 = fields
        .iter()
        .enumerate()
        .filter(|(i, _)| !matches!(i, 3 | 4))
        .map(|(_, ticks)| ticks)
        .sum();
    Ok(Duration::from_millis(busy * 10))
}

/// True if every thread of a process sleeps.
pub fn is_at_rest(pid: u32) -> io::Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        // The name before the state is in parentheses and may contain anything.
        if !stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('S'))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Resident and private bytes of a process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Pages in memory, shared libraries included.
    pub resident_bytes: u64,
    /// Pages that no other process maps.
    pub private_bytes: u64,
}

/// Reads the memory of a process from `smaps_rollup`.
pub fn memory_of(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map_or(0, first_number)
    };
    Ok(Memory {
        resident_bytes: kib("Rss:") * 1024,
        private_bytes: (kib("Private_Clean:") + kib("Private_Dirty:")) * 1024,
    })
}

fn first_number(text: &str) -> u64 {
    text.split_ascii_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}
