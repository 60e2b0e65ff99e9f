//! The settings of one run of the generator, read from the command line.

use crate::arguments::{Arguments, refuse};
use std::{net::SocketAddr, str::FromStr, time::Duration};

/// The loop to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Messages of one size over a fixed set of connections; bulk echo is this with large messages.
    TcpEcho,
    /// The same inside TLS.
    TlsEcho,
    /// Messages that are due at times of their own, over a fixed set of connections.
    OpenLoop,
    /// One way, as fast as the server takes it.
    Sink,
    /// Connect, one message, its echo, reset.
    Connect,
    /// The same with a full TLS handshake.
    TlsHandshakes,
    /// Datagrams of one size over a fixed set of sockets.
    UdpEcho,
    /// Many connections that do nothing, and the memory they cost the server.
    Idle,
    /// The same inside TLS.
    TlsIdle,
}

impl Workload {
    const NAMES: [(&'static str, Self); 10] = [
        ("tcp-echo", Self::TcpEcho),
        ("bulk-echo", Self::TcpEcho),
        ("tls-echo", Self::TlsEcho),
        ("open-loop", Self::OpenLoop),
        ("sink", Self::Sink),
        ("connect", Self::Connect),
        ("tls-handshakes", Self::TlsHandshakes),
        ("udp-echo", Self::UdpEcho),
        ("idle", Self::Idle),
        ("tls-idle", Self::TlsIdle),
    ];

    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, workload)| *workload)
    }
}

/// How the times of an open loop follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Each is independent of the others, like the requests of many clients.
    Poisson,
    /// At equal distances.
    Fixed,
}

impl FromStr for Arrivals {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "poisson" => Ok(Self::Poisson),
            "fixed" => Ok(Self::Fixed),
            _ => Err(()),
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What to do.
    pub workload: Workload,
    /// The server.
    pub addr: SocketAddr,
    /// The server's process, whose processor time and memory are read.
    pub server_pid: Option<u32>,
    /// Bytes of one message or datagram.
    pub size_bytes: usize,
    /// Connections, UDP sockets, or connections being opened at a time.
    pub connections: usize,
    /// Messages in flight on each connection or socket.
    pub depth: usize,
    /// Extra connections whose messages ask the server for a slow handler; they are not counted.
    pub slow_connections: usize,
    /// Messages that are due in a second on all connections of an open loop together.
    pub rate: f64,
    /// How their times follow each other.
    pub arrivals: Arrivals,
    /// Time that is not measured.
    pub warm_up: Duration,
    /// Time that is measured.
    pub duration: Duration,
    /// True if the generator has a core to itself, so that its processor time says whether it was the limit.
    pub pinned: bool,
}

impl Settings {
    /// Reads the options; ends the process with a message on a wrong one.
    pub fn from_arguments(arguments: &Arguments) -> Self {
        let name = arguments.word(0).unwrap_or_else(|| refuse(&usage()));
        let workload = Workload::from_name(name).unwrap_or_else(|| refuse(&usage()));
        let bulk = name == "bulk-echo" || workload == Workload::Sink;
        let at_once = match workload {
            Workload::Connect | Workload::TlsHandshakes => 8,
            Workload::UdpEcho => 16,
            _ => 1,
        };
        Self {
            workload,
            addr: arguments.required("addr"),
            server_pid: arguments.optional("server-pid"),
            size_bytes: arguments.value("size", if bulk { 65_536 } else { 64 }),
            connections: arguments.value("connections", 1),
            depth: arguments.value("depth", if bulk { 8 } else { at_once }),
            slow_connections: arguments.value("slow-connections", 0),
            rate: positive(arguments.value("rate", 10_000.0)),
            arrivals: arguments.value("arrivals", Arrivals::Poisson),
            warm_up: Duration::from_millis(arguments.value("warm-up-ms", 200)),
            duration: Duration::from_millis(arguments.value("duration-ms", 1_000)),
            pinned: arguments
                .text("core")
                .is_some_and(|cores| !cores.contains(',')),
        }
    }
}

fn positive(rate: f64) -> f64 {
    match rate >= 1.0 && rate.is_finite() {
        true => rate,
        false => refuse("--rate is at least 1"),
    }
}

fn usage() -> String {
    let names: Vec<&str> = Workload::NAMES.iter().map(|(name, _)| *name).collect();
    format!(
        "loadgen {} --addr IP:PORT [--server-pid PID] [--core N] [--size BYTES] [--connections N] [--depth N]\n  \
         [--slow-connections N] [--rate PER-SECOND] [--arrivals poisson|fixed]\n  \
         [--warm-up-ms N] [--duration-ms N]",
        names.join("|")
    )
}
