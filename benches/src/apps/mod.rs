//! Whole applications beside those that people run: HTTP, a key-value store, a proxy.
//!
//! ```text
//!  runner apps ── contest: rounds ──> servers on core 0: longshore, tokio, nginx, …
//!                    │                   ▲ sockets
//!                    │                loads: wrk, redis-benchmark or a transfer, on core 1
//!                    └─ report: medians with quartiles, ratios, goals
//! ```
//!
//! Longshore's versions are `examples/http.rs`, `kv.rs` and `proxy.rs` of the library. The tokio versions are binaries
//! of this crate with the same behavior, command line and first line of output, so that their length can be compared.

pub mod contest;
pub mod loads;
pub mod report;
pub mod servers;

use crate::arguments::{self, refuse};
use std::io;
use std::net::SocketAddr;
use tokio::runtime::{Builder, Runtime};

/// The command line of an application, `ADDRESS [--workers N] [--to UPSTREAM] [--proxy-header]`.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// Where to listen; port 0 lets the system choose. The bound address is the first line of output.
    pub address: SocketAddr,
    /// Threads of the runtime; by default as many as there are cores.
    pub workers: Option<usize>,
    /// Where a proxy connects all clients to.
    pub to: Option<SocketAddr>,
    /// True if a proxy sends its upstream a PROXY header.
    pub proxy_header: bool,
}

impl Arguments {
    /// Reads the process's own command line; ends the process with a message on a wrong one.
    pub fn read() -> Self {
        let arguments = arguments::Arguments::from_env();
        let address = arguments.word(0).and_then(|word| word.parse().ok());
        let read = Self {
            address: address.unwrap_or_else(|| refuse("the first argument is ADDRESS:PORT")),
            workers: arguments.optional("workers"),
            to: arguments.optional("to"),
            proxy_header: arguments.flag("proxy-header"),
        };
        arguments.refuse_unknown();
        read
    }

    /// Builds tokio's multi-thread runtime.
    ///
    /// # Errors
    ///
    /// If the system gives it no threads or no descriptors.
    pub fn runtime(&self) -> io::Result<Runtime> {
        let mut builder = Builder::new_multi_thread();
        if let Some(workers) = self.workers {
            builder.worker_threads(workers);
        }
        builder.enable_all().build()
    }
}
