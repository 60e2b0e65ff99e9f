//! The cores of a process and the number of descriptors it may open.
//!
//! Every binary pins itself, before its first thread, from an argument; nothing pins another process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;

/// Restricts the calling thread, and every thread it starts later, to the given cores; an empty list changes nothing.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}

/// Parses `0` or `0,1`, as given on a command line, and pins.
pub fn pin_to_list(list: &[String]) -> io::Result<()> {
    let cores: Result<Vec<usize>, _> = list.iter().map(|core| core.parse()).collect();
    pin(&cores.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?)
}

/// Counts the cores that this process may use.
pub fn available_cores() -> usize {
    sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

/// Raises the soft limit of descriptors to `wanted`, and the hard limit too where the user may.
pub fn allow_descriptors(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: Some(wanted),
        maximum: Some(hard.max(wanted)),
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        // An unprivileged user keeps the hard limit; a run that needs more fails at its own `connect`.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(hard.min(wanted)),
                maximum: limit.maximum,
            },
        );
    }
}
