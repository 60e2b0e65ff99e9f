//! Tests of scale: many connections, many processes, many messages, long waits, and what they cost.
//!
//! ```text
//! cargo test --release --test scale -- --nocapture
//! ```
//!
//! The tests run one at a time, because they count descriptors, threads and bytes of the whole program. Each prints the
//! counts it used: without optimization they are smaller.

mod blocked;
mod churn;
mod crowd;
#[cfg(target_os = "linux")]
mod custom_meta;
mod flood;
mod full;
mod growth;
mod hostile;
mod idle;
mod lists;
mod memory;
mod misbehaving;
mod restart;
mod sessions;
#[cfg(feature = "ring")]
mod silent;
mod support;
mod syscalls;
mod timers;
mod trees;
mod wakeups;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts the bytes that are allocated.
#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
