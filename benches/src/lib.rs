//! What the binaries of this crate share.
//!
//! ```text
//!  runner ── starts ──> peer NAME  (peers: one echo server per library)
//!     │                    ▲ sockets
//!     └───── starts ──> loadgen    (load: one loop per workload, one JSON line)
//!  table: what to run, rounds, ratios, Markdown, JSON, SVG
//!  apps: whole applications beside nginx, redis-server, haproxy and tokio
//!  nats: clients of NATS, with the feature of that name
//!  actors: message passing inside one process, no sockets
//!  gate: instructions and allocations per operation against a stored file
//! ```
//!
//! Nothing here is a library for others: no stable API, Linux only.

pub mod actors;
pub mod affinity;
pub mod apps;
pub mod arguments;
pub mod gate;
pub mod histogram;
pub mod load;
#[cfg(feature = "nats")]
pub mod nats;
pub mod peers;
pub mod procfs;
pub mod spin;
pub mod spread;
pub mod table;
