//! The load generator: one thread, one epoll set, one loop per workload.
//!
//! ```text
//!  settings ─> workload (echo, open, sink, connect, udp, idle) ─> meter ─> one JSON line
//!                 │ conversation: what is in flight on a connection
//!                 │ link: plain or TLS socket
//!                 └ pattern: the bytes that must come back
//! ```
//!
//! Every echoed byte is compared; a wrong one ends the run with an error. All loops but `open` are closed: they send
//! when an answer has come. A closed loop says nothing about behavior under overload, and its latencies are those of a
//! client that waits for its answers.

pub mod batch;
pub mod connect;
pub mod conversation;
pub mod echo;
pub mod idle;
pub mod link;
pub mod meter;
pub mod open;
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
        Workload::OpenLoop => open::run::<Plain>(settings),
        Workload::Sink => sink::run(settings),
        Workload::Connect => connect::run::<Plain>(settings),
        Workload::TlsHandshakes => connect::run::<Tls>(settings),
        Workload::UdpEcho => udp::run(settings),
        Workload::Idle => idle::run::<Plain>(settings),
        Workload::TlsIdle => idle::run::<Tls>(settings),
    }
}
