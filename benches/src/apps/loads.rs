//! The clients: wrk, redis-benchmark, and a transfer of [`TRANSFER_BYTES`] that the runner makes itself. All run on
//! core 1.

use super::servers::{App, pinned};
use crate::{affinity, procfs};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a transfer.
const TRANSFER_BYTES: u64 = 1 << 30;
/// Connections of wrk and of redis-benchmark.
const CONNECTIONS: &str = "50";
/// The core of the clients, and of a proxy's upstream.
pub const CORE: usize = 1;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// wrk asks for `/`.
    Requests,
    /// redis-benchmark sends one command, this many of it in a pipeline.
    Commands(&'static str, u32),
    /// One connection reads [`TRANSFER_BYTES`] from the upstream.
    Transfer,
}

/// What a client found: operations, the seconds they took, and the 99th percentile of the latency in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Found {
    operations: f64,
    seconds: f64,
    p99_us: Option<f64>,
}

impl Load {
    /// What is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Commands(..) => "commands",
            Self::Transfer => "MiB",
        }
    }

    /// Runs the client against a server and gives rate, p99, and the processor time of both for an operation.
    ///
    /// # Errors
    ///
    /// If the client is not installed or reports errors.
    pub fn run(self, app: &App, duration: Duration) -> io::Result<Value> {
        let server = procfs::cpu_of(app.pid())?;
        let client = procfs::children_cpu()? + procfs::own_cpu();
        let found = match self {
            Self::Requests => requests(app.addr, duration)?,
            Self::Commands(command, depth) => commands(app.addr, command, depth, duration)?,
            Self::Transfer => transfer(app.addr)?,
        };
        let server = (procfs::cpu_of(app.pid())? - server).as_secs_f64();
        let client = procfs::children_cpu()? + procfs::own_cpu() - client;
        Ok(json!({
            "rate": found.operations / found.seconds,
            "server_cpu_us": server * 1e6 / found.operations,
            "p99_us": found.p99_us,
            "client_share": client.as_secs_f64() / found.seconds,
        }))
    }
}

fn requests(addr: SocketAddr, duration: Duration) -> io::Result<Found> {
    let seconds = duration.as_secs().max(1);
    let mut command = pinned(CORE, "wrk");
    command.args(["-t1", "-c", CONNECTIONS, "--latency", "-d"]);
    let text = output(
        command
            .arg(format!("{seconds}s"))
            .arg(format!("http://{addr}/")),
    )?;
    read_wrk(&text).ok_or_else(|| io::Error::other(format!("wrk: {text}")))
}

/// Reads `N requests in 2.00s`, and the line `99%  1.23ms` of the latencies; none if there were errors.
fn read_wrk(text: &str) -> Option<Found> {
    if text.contains("Socket errors") || text.contains("Non-2xx") {
        return None;
    }
    let total = text.lines().find(|line| line.contains(" requests in "))?;
    let mut words = total.split_ascii_whitespace();
    let operations = words.next()?.parse().ok()?;
    let seconds = micros(words.nth(2)?.trim_end_matches(','))? / 1e6;
    let p99 = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("99%"))?;
    Some(Found {
        operations,
        seconds,
        p99_us: micros(p99.trim()),
    })
}

/// `1.23ms`, `45.00us`, `2.00s` in microseconds.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

fn commands(addr: SocketAddr, name: &str, depth: u32, duration: Duration) -> io::Result<Found> {
    // It runs for a number of commands: about the wanted time at the rates of one core.
    let operations = duration.as_secs().max(1) * 80_000 * u64::from(depth.min(16));
    let mut command = pinned(CORE, "redis-benchmark");
    command.args(["-h", "127.0.0.1", "-c", CONNECTIONS, "-r", "10000", "--csv"]);
    command.args(["-t", name, "-P", &depth.to_string()]);
    command.args([
        "-p",
        &addr.port().to_string(),
        "-n",
        &operations.to_string(),
    ]);
    let text = output(&mut command)?;
    let found = read_redis_benchmark(&text, operations as f64);
    found.ok_or_else(|| io::Error::other(format!("redis-benchmark: {text}")))
}

/// Reads `"GET","123456.78",…`: the name, the rate, and latencies in milliseconds, p99 the last but one.
fn read_redis_benchmark(text: &str, operations: f64) -> Option<Found> {
    let line = text
        .lines()
        .rfind(|line| line.starts_with('"') && !line.starts_with("\"test\""))?;
    let fields: Vec<f64> = line
        .split(',')
        .skip(1)
        .map_while(|field| field.trim_matches('"').parse().ok())
        .collect();
    let rate = *fields.first().filter(|rate| **rate > 0.0)?;
    Some(Found {
        operations,
        seconds: operations / rate,
        p99_us: Some(fields.get(5)? * 1e3),
    })
}

/// Reads the bytes of a [`source`] through a proxy.
fn transfer(addr: SocketAddr) -> io::Result<Found> {
    let reader = thread::spawn(move || {
        affinity::pin(&[CORE])?;
        let mut socket = TcpStream::connect(addr)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let (mut buffer, mut total) = (vec![0; 256 << 10], 0_u64);
        let began = Instant::now();
        loop {
            match socket.read(&mut buffer)? {
                0 => return Ok::<_, io::Error>((total, began.elapsed())),
                count => total += count as u64,
            }
        }
    });
    let (total, time) = reader
        .join()
        .map_err(|_| io::Error::other("the reader panicked"))??;
    if total != TRANSFER_BYTES {
        return Err(io::Error::other(format!(
            "{total} of {TRANSFER_BYTES} bytes came"
        )));
    }
    Ok(Found {
        operations: (total >> 20) as f64,
        seconds: time.as_secs_f64(),
        p99_us: None,
    })
}

/// A server that sends every client [`TRANSFER_BYTES`] and closes. Its thread ends with the process.
///
/// # Errors
///
/// If the system gives it no port.
pub fn source() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        affinity::pin(&[CORE])?;
        let block = vec![b'x'; 256 << 10];
        for client in listener.incoming() {
            let mut client = client?;
            let blocks = TRANSFER_BYTES / block.len() as u64;
            // The reader finds a transfer that breaks off.
            (0..blocks).try_for_each(|_| client.write_all(&block)).ok();
        }
        Ok::<_, io::Error>(())
    });
    Ok(addr)
}

fn output(command: &mut Command) -> io::Result<String> {
    let output = command.stdout(Stdio::piped()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_wrk_is_read_and_errors_are_not_taken_for_figures() {
        let text = "Running 2s test @ http://127.0.0.1:1/\n  Latency Distribution\n     50%  400.00us\n     \
                    99%    1.50ms\n  240000 requests in 2.00s, 20.00MB read\nRequests/sec: 120000.00\n";
        let found = read_wrk(text).expect("a report");
        assert_eq!((found.operations, found.seconds), (240_000.0, 2.0));
        assert_eq!(found.p99_us, Some(1_500.0));
        assert_eq!(read_wrk(&format!("{text}  Socket errors: connect 1")), None);
    }

    #[test]
    fn a_line_of_redis_benchmark_is_read() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\
                    \"p99_latency_ms\",\"max_latency_ms\"\n\
                    \"GET\",\"100000.00\",\"0.2\",\"0.1\",\"0.2\",\"0.3\",\"0.5\",\"1.0\"\n";
        let found = read_redis_benchmark(text, 50_000.0).expect("a report");
        assert_eq!((found.seconds, found.p99_us), (0.5, Some(500.0)));
    }
}
