//! The load generator: one thread, one epoll set, one closed loop per workload.
//!
//! ```text
//!  settings ─> workload (echo, sink, connect, udp, idle) ─> meter ─> one JSON line
//!                 │ link: plain or TLS socket
//!                 └ pattern: the bytes that must come back
//! ```
//!
//! Every echoed byte is compared; a wrong one ends the run with an error. A closed loop says nothing about behaviour
//! under overload, and latencies are those of a loop that waits for its replies.

pub mod batch;
pub mod connect;
pub mod conversation;
pub mod echo;
pub mod idle;
pub mod link;
pub mod meter;
pub mod pattern;
pub mod poller;
pub mod settings;
pub mod sink;
pub mod udp;

use settings::{Settings, Workload};
use std::io;

/// Runs one workload and gives its JSON line.
pub fn run(settings: &Settings) -> io::Result<serde_json::Value> {
    use link::{Plain, Tls};
    match settings.workload {
        Workload::TcpEcho => echo::run::<Plain>(settings),
        Workload::TlsEcho => echo::run::<Tls>(settings),
        Workload::Sink => sink::run(settings),
        Workload::Connect => connect::run::<Plain>(settings),
        Workload::TlsHandshakes => connect::run::<Tls>(settings),
        Workload::UdpEcho => udp::run(settings),
        Workload::Idle => idle::run::<Plain>(settings),
        Workload::TlsIdle => idle::run::<Tls>(settings),
    }
}
