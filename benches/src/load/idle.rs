//! What an idle connection costs the server: open many, exchange one message on each, wait, read the server's memory.
//!
//! The base is read after one connection was opened and closed, so that pools and lazy statics are not counted. Only
//! user memory is read; the kernel's socket structures are the same for all servers.

use super::link::Link;
use super::settings::Settings;
use crate::{affinity, procfs};
use serde_json::{Value, json};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

const MESSAGE: &[u8; 64] = b"one message before the silence, so that every buffer was in use.";
const SETTLE: Duration = Duration::from_millis(500);

/// Runs the workload.
pub fn run<L: Link>(settings: &Settings) -> io::Result<Value> {
    let missing = || io::Error::new(ErrorKind::InvalidInput, "--server-pid is missing");
    let pid = settings.server_pid.ok_or_else(missing)?;
    affinity::allow_descriptors(settings.connections as u64 + 64);
    let shared = L::shared()?;
    drop(open_and_greet::<L>(settings, &shared)?);
    std::thread::sleep(SETTLE);
    let before = procfs::memory_of(pid)?;
    let opened = Instant::now();
    let links: Vec<L> = (0..settings.connections)
        .map(|_| open_and_greet(settings, &shared))
        .collect::<io::Result<_>>()?;
    let seconds = opened.elapsed().as_secs_f64();
    std::thread::sleep(SETTLE);
    let cpu = procfs::cpu_of(pid)?;
    std::thread::sleep(SETTLE);
    let idle_cpu = procfs::cpu_of(pid)?.saturating_sub(cpu);
    let after = procfs::memory_of(pid)?;
    let count = links.len() as f64;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / count;
    Ok(json!({
        "messages": links.len(),
        "bytes": links.len() * MESSAGE.len(),
        "seconds": seconds,
        "rate": each(after.private_bytes, before.private_bytes),
        "rate_unit": "private bytes/connection",
        "resident_bytes_per_connection": each(after.resident_bytes, before.resident_bytes),
        "opened_per_second": count / seconds,
        "idle_cpu_share": idle_cpu.as_secs_f64() / SETTLE.as_secs_f64(),
        "generator_limited": false,
    }))
}

fn open_and_greet<L: Link>(settings: &Settings, shared: &L::Shared) -> io::Result<L> {
    let mut link = L::open(settings.addr, shared)?;
    // Opens one connection at a time: blocking is simplest, and no accept queue overflows.
    link.socket().set_nonblocking(false)?;
    link.write(MESSAGE)?;
    link.flush()?;
    let mut reply = [0; MESSAGE.len()];
    let mut filled = 0;
    while filled < reply.len() {
        match link.read(&mut reply[filled..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    match &reply == MESSAGE {
        true => Ok(link),
        false => Err(io::Error::new(
            ErrorKind::InvalidData,
            "wrong byte in an echo",
        )),
    }
}
