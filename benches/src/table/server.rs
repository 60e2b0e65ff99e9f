//! One server process: started, asked for its address, ended when dropped.

use super::{contender::Contender, plan::Layout, plan::Row, tools::tool};
use crate::{affinity, peers::Mode};
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Stdio};

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addr: String,
}

impl Server {
    /// Starts a contender for a row and waits until it is bound.
    pub fn start(contender: &Contender, row: &Row, spin_turns: u64) -> io::Result<Self> {
        let mut command = tool("peer")?;
        command.arg(contender.peer).args(["--workers", &contender.workers.to_string()]);
        command.args(["--mode", mode_name(row.mode), "--spin-turns", &spin_turns.to_string()]);
        command.args(row.server.split_ascii_whitespace()).args(cores(row.layout, "0"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut addr = String::new();
        let bound = BufReader::new(child.stdout.take().expect("a piped output")).read_line(&mut addr);
        let server = Self { child, addr: addr.trim().to_owned() };
        match bound? {
            0 => Err(io::Error::other("the server ended before it was bound")),
            _ => Ok(server),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs the generator against it and gives the JSON line.
    pub fn load(&self, row: &Row, warm_up_ms: u64, duration_ms: u64) -> io::Result<serde_json::Value> {
        let mut command = tool("loadgen")?;
        command.args(row.load.split_ascii_whitespace()).args(cores(row.layout, "1"));
        command.args(["--addr", &self.addr, "--server-pid", &self.pid().to_string()]);
        command.args(["--warm-up-ms", &warm_up_ms.to_string(), "--duration-ms", &duration_ms.to_string()]);
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
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
