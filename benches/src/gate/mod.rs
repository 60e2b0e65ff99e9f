//! A regression gate that noise cannot move: instructions and allocations per operation.
//!
//! ```text
//!  gate: client ── sockets ──> server     gate-scenario NAME, under callgrind, in windows of
//!     │                                   few and of many operations, by turns
//!     └────── orders, a line each ──────>
//!  (median of the long windows − median of the short ones) ÷ difference of their operations
//!     └──> compared with gate.json
//! ```
//!
//! What could move a count, and what keeps it out:
//!
//! | | |
//! |---|---|
//! | start-up, shutdown, the ends of a window, the thread that waits for it | cancel in the difference |
//! | a table that grows, a disturbed window | the median over the windows |
//! | the client | is another process, at full speed |
//! | how much of a round has arrived when the server polls | the server sleeps, or is stopped, until all of it has |
//! | the wall clock: polls out of turn, the monitor | every read advances the clock of the counted process, and nothing else does |
//! | the processor's copy routines | settings make the C library use those of every x86-64 |
//!
//! What remains is the compiler and the version of the C library; the file names the compiler. Only user-space
//! instructions are seen: a saved system call shows in the tables of the runner, not here.

pub mod baseline;
pub mod callgrind;
pub mod client;
pub mod scenario;
