//! One server process. Its first line is its address, and dropping it kills it.

use super::{contender::Contender, plan::Layout, plan::Row, tools::tool};
use crate::{affinity, peers::Mode};
use serde_json::Value;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addr: String,
    /// Where the load beside goes.
    addr_beside: String,
}

impl Server {
    /// Starts a contender for a row and waits until it is bound.
    pub fn start(contender: &Contender, row: &Row, spin_turns: u64) -> io::Result<Self> {
        let mut command = tool("peer")?;
        command
            .arg(contender.peer)
            .args(["--workers", &contender.workers.to_string()]);
        command.args([
            "--mode",
            mode_name(row.mode),
            "--spin-turns",
            &spin_turns.to_string(),
        ]);
        command
            .args(row.server.split_ascii_whitespace())
            .args(cores(row.layout, "0"));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("a piped output")).lines();
        let mut server = Self {
            child,
            addr: String::new(),
            addr_beside: String::new(),
        };
        let mut bound = || {
            lines
                .next()
                .unwrap_or_else(|| Err(io::Error::other("the server ended before it was bound")))
        };
        server.addr = bound()?;
        if row.beside.is_some() {
            server.addr_beside = bound()?;
        }
        Ok(server)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs the generator against it and gives the JSON line, with that of the load beside in it.
    pub fn load(&self, row: &Row, warm_up_ms: u64, duration_ms: u64) -> io::Result<Value> {
        let arguments = |load: &str, addr: &str| {
            let load = load
                .split_ascii_whitespace()
                .map(str::to_owned)
                .chain(cores(row.layout, "1"));
            let mut arguments: Vec<String> = load.collect();
            let (pid, warm_up_ms, duration_ms) = (
                self.pid().to_string(),
                warm_up_ms.to_string(),
                duration_ms.to_string(),
            );
            arguments.extend(["--addr", addr, "--server-pid", &pid].map(str::to_owned));
            arguments.extend(
                ["--warm-up-ms", &warm_up_ms, "--duration-ms", &duration_ms].map(str::to_owned),
            );
            arguments
        };
        // The idle class makes it yield to the first generator at once.
        let mut beside = Command::new("chrt");
        beside
            .args(["--idle", "0"])
            .arg(tool("loadgen")?.get_program());
        let beside = row.beside.map(|load| {
            beside
                .args(arguments(load, &self.addr_beside))
                .stdout(Stdio::piped())
                .spawn()
        });
        let output = tool("loadgen")?
            .args(arguments(&row.load, &self.addr))
            .stdin(Stdio::null())
            .output()?;
        let mut run = result(output)?;
        if let Some(beside) = beside {
            let beside = result(beside?.wait_with_output()?)?;
            let seconds = |run: &Value, key: &str| run[key].as_f64().unwrap_or_default();
            run["other_cpu_s"] = (seconds(&run, "other_cpu_s")
                - seconds(&beside, "generator_cpu_s"))
            .max(0.0)
            .into();
            run["beside"] = beside;
        }
        Ok(run)
    }
}

/// The JSON line of a generator that has ended.
fn result(output: Output) -> io::Result<Value> {
    if !output.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cores(layout: Layout, core: &str) -> Vec<String> {
    match layout {
        Layout::Split if affinity::available_cores() > 1 => vec!["--core".into(), core.into()],
        Layout::Split | Layout::Shared => Vec::new(),
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Echo => "echo",
        Mode::Sink => "sink",
        Mode::Udp => "udp",
        Mode::Tls => "tls",
    }
}
