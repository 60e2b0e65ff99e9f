//! One server per library, each in that library's natural style, all with the same modes.
//!
//! | mode | what the server does |
//! |---|---|
//! | `echo` | writes back what it reads, after computing if `--compute-us` says so |
//! | `sink` | reads and discards, closes at the end of the stream |
//! | `udp` | sends each datagram back |
//! | `tls` | `echo` inside TLS |
//!
//! "Natural" means: what the library's own example does, with no tuning that a user would have to invent. Loops that
//! own their buffer share one; libraries that give each connection a task or an actor give it a buffer of `--buffer`
//! bytes.

pub mod actix;
pub mod certificate;
pub mod epoll;
pub mod kameo;
pub mod listen;
pub mod longshore;
pub mod message_io;
pub mod mio;
pub mod ractor;
pub mod tokio;
pub mod unsent;

use crate::arguments::{Arguments, refuse};
use crate::spin::Spin;
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;

/// How a server ends: never, or with an error.
pub type Served = Result<(), Box<dyn Error>>;

/// What a server does with what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// TCP, everything back.
    Echo,
    /// TCP, nothing back.
    Sink,
    /// Datagrams back.
    Udp,
    /// TLS, everything back.
    Tls,
}

/// How one server is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// Threads that serve, where the library has a choice.
    pub workers: usize,
    /// Bytes of a connection's own read buffer, or of the loop's shared one.
    pub buffer_bytes: usize,
    /// What the handler computes.
    pub spin: Spin,
    /// What the server does.
    pub mode: Mode,
    /// Serves plain TCP beside TLS, on a port of its own that is announced first.
    pub plain: bool,
    /// Certificate and key files; without them the server signs its own.
    pub files: Option<(String, String)>,
    /// Receives the bound address; without a receiver it is printed.
    pub bound: Option<Sender<SocketAddr>>,
}

/// Runs a server.
pub type Serve = fn(Options) -> Served;

/// The servers and how they start.
pub const PEERS: &[(&str, Serve)] = &[
    ("epoll", epoll::serve),
    ("mio", mio::serve),
    ("tokio-mt", tokio::serve_multi_thread),
    ("tokio-ct", tokio::serve_current_thread),
    ("tokio-rustls", tokio::serve_multi_thread),
    ("tokio-rustls-ct", tokio::serve_current_thread),
    ("message-io", message_io::serve),
    ("actix", actix::serve),
    ("ractor", ractor::serve),
    ("kameo", kameo::serve),
    ("longshore", longshore::serve),
];

impl Options {
    /// Reads the options of `peer NAME …`.
    pub fn from_arguments(arguments: &Arguments, name: &str) -> Self {
        let plain = if name.starts_with("tokio-rustls") {
            "tls"
        } else {
            "echo"
        };
        let mode = match arguments.text("mode").unwrap_or(plain) {
            "echo" => Mode::Echo,
            "sink" => Mode::Sink,
            "udp" => Mode::Udp,
            "tls" => Mode::Tls,
            other => refuse(&format!("unknown mode {other:?}")),
        };
        let (compute, slow) = (
            arguments.value("compute-us", 0),
            arguments.value("slow-us", 0),
        );
        Self {
            addr: arguments.value("addr", SocketAddr::from(([127, 0, 0, 1], 0))),
            workers: arguments.value("workers", 1),
            buffer_bytes: arguments.value("buffer", 8_192),
            spin: Spin::new(compute, slow, arguments.optional("spin-turns")),
            mode,
            plain: arguments.flag("plain"),
            files: arguments
                .text("cert")
                .map(str::to_owned)
                .zip(arguments.text("key").map(str::to_owned)),
            bound: None,
        }
    }

    /// Announces the bound address to a thread of this process, or as the first line of output, which the runner waits
    /// for.
    pub fn announce(&self, addr: SocketAddr) -> io::Result<()> {
        if let Some(bound) = &self.bound {
            return bound.send(addr).map_err(io::Error::other);
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{addr}")?;
        out.flush()
    }

    /// The same server without TLS, if there is to be one.
    pub fn plain_beside(&self) -> Option<Self> {
        self.plain.then(|| Self {
            mode: Mode::Echo,
            plain: false,
            ..self.clone()
        })
    }

    /// True if what was read is to be written back.
    pub fn echoes(&self) -> bool {
        self.mode != Mode::Sink
    }

    /// Ends the process unless the library's server has this mode.
    pub fn require(&self, modes: &[Mode]) {
        if !modes.contains(&self.mode) {
            refuse(&format!("this peer has no {:?} mode", self.mode));
        }
    }
}
