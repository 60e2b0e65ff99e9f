//! The runner: which servers meet which workload, how often, and what the figures say.
//!
//! ```text
//!  plan ── rows ──> campaign ── server + loadgen per run ──> outcome ── ratios ──┐
//!            contender ┘  ├ syscalls (one extra run)                              │
//!                         └ profile (by itself)      markdown, plot, record <─────┘
//! ```
//!
//! Rounds are interleaved (A B C … A B C …), every run starts a fresh server, and ratios are paired within a round, so
//! that a slow minute of the machine hits both sides. A ratio above 1 is always better, also where less is better.

pub mod campaign;
pub mod contender;
pub mod estimate;
pub mod front;
pub mod markdown;
pub mod outcome;
pub mod page;
pub mod plan;
pub mod plot;
pub mod profile;
pub mod record;
pub mod server;
pub mod syscalls;
pub mod tools;
pub mod verdict;
