//! System calls per message, from an extra run. `perf stat` counts them where its tracepoint may be used, else
//! `strace`, which slows the server down and so changes how much it can batch.
//!
//! The server meets a short and a long load, and the difference is divided, so that the cost of opening and closing the
//! connections cancels.

use super::server::Server;
use super::{contender::Contender, plan::Row};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::{thread::sleep, time::Duration};

const TRACEPOINT: &str = "raw_syscalls:sys_enter";
const ATTACH: Duration = Duration::from_millis(300);
const SHORT_MS: u64 = 100;
const LONG_MS: u64 = 700;

/// The tool that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// `perf stat`: the server runs at full speed.
    Perf,
    /// `strace`: the server runs at a fraction of it.
    Strace,
}

impl Counter {
    /// The better of the two that works here.
    pub fn find() -> Option<Self> {
        let works = |program: &str, arguments: &[&str]| {
            let output = Command::new(program)
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            output.is_ok_and(|status| status.success())
        };
        if works("perf", &["stat", "-e", TRACEPOINT, "true"]) {
            return Some(Self::Perf);
        }
        works("strace", &["-c", "true"]).then_some(Self::Strace)
    }

    /// Runs the workload once and returns system calls per message.
    pub fn per_message(self, contender: &Contender, row: &Row, spin_turns: u64) -> io::Result<f64> {
        let server = Server::start(contender, row, spin_turns)?;
        let (few_calls, few) = self.count(&server, row, SHORT_MS)?;
        let (many_calls, many) = self.count(&server, row, LONG_MS)?;
        match many - few {
            messages if messages > 0.0 => Ok((many_calls - few_calls) / messages),
            _ => Err(io::Error::other("this workload has no messages")),
        }
    }

    /// System calls and messages of one load.
    fn count(self, server: &Server, row: &Row, duration_ms: u64) -> io::Result<(f64, f64)> {
        let mut counting = self.attach(server.pid())?;
        sleep(ATTACH);
        let run = server.load(row, 0, duration_ms);
        let calls = self.detach(&mut counting)?;
        Ok((calls, run?["messages_total"].as_f64().unwrap_or(0.0)))
    }

    fn attach(self, pid: u32) -> io::Result<Child> {
        let pid = pid.to_string();
        let mut command = match self {
            Self::Perf => Command::new("perf"),
            Self::Strace => Command::new("strace"),
        };
        match self {
            Self::Perf => command.args(["stat", "-x", ",", "-e", TRACEPOINT, "-p", &pid]),
            Self::Strace => command.args(["-c", "-f", "-q", "-p", &pid]),
        };
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
    }

    fn detach(self, counting: &mut Child) -> io::Result<f64> {
        let pid = Pid::from_raw(counting.id() as i32).expect("a child's pid is not zero");
        kill_process(pid, Signal::INT)?;
        let mut report = String::new();
        counting
            .stderr
            .take()
            .expect("a piped output")
            .read_to_string(&mut report)?;
        counting.wait()?;
        let calls = match self {
            Self::Perf => report
                .lines()
                .find(|line| line.contains(TRACEPOINT))
                .and_then(|line| line.split(',').next()),
            Self::Strace => {
                // % time, seconds, usecs/call, calls, [errors,] "total"
                let total = report.lines().find(|line| line.ends_with(" total"));
                total.and_then(|line| line.split_ascii_whitespace().nth(3))
            }
        };
        let missing = || io::Error::new(ErrorKind::InvalidData, format!("no count in: {report}"));
        calls
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(missing)
    }
}
