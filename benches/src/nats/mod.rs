//! Clients of NATS against one nats-server: longshore's and async-nats.
//!
//! | scenario | one operation |
//! |---|---|
//! | `publish` | a message of 128 bytes is published and comes back to the same client by its subscription |
//! | `request` | one of 64 processes asks a responder behind another client and has its answer |
//! | `idle-bytes` | (bytes) a client that is connected and at rest |
//!
//! Every measurement runs in a process of its own with two workers; the server is shared by all of them. A publisher is
//! at most [`WINDOW`] messages ahead of what has come back, so that neither client drops a message.

mod contest;
mod longshore;
mod nats_rs;
mod server;

pub use contest::{OPTIONS, one, run};
pub use server::Server;

use std::time::Duration;

/// Bytes of one message.
pub const PAYLOAD: &[u8; 128] = &[b'x'; 128];

/// Messages that a publisher may be ahead.
pub const WINDOW: u64 = 20_000;

/// Messages that a publisher publishes in a row.
pub const BURST: u64 = 1_000;

/// Processes that ask at the same time.
pub const ASKERS: u64 = 64;

/// Clients that are at rest at the same time.
pub const IDLE_CLIENTS: u64 = 100;

/// How long an answer may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Where messages are published.
pub const SUBJECT: &str = "bench.flood";

/// Where requests are published.
pub const SERVICE: &str = "bench.service";

/// One library.
pub trait Subject {
    /// Publishes `count` messages and receives them.
    fn publish(&self, url: &str, count: u64);
    /// Asks `count` times in all.
    fn request(&self, url: &str, count: u64);
    /// Connects [`IDLE_CLIENTS`] clients and keeps them.
    fn idle(&self, url: &str);
}

/// Starts a library.
pub type Build = fn() -> Box<dyn Subject>;

/// The libraries by name.
pub const SUBJECTS: &[(&str, Build)] = &[
    ("longshore", || Box::new(longshore::Longshore::new())),
    ("async-nats", || Box::new(nats_rs::AsyncNats::new())),
];
