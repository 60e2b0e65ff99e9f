//! A regression gate that noise cannot move: instructions and allocations per operation.
//!
//! ```text
//!  gate ── valgrind --tool=callgrind ──> gate-scenario NAME N   (twice, with two values of N)
//!    └── (count at the larger N − count at the smaller N) ÷ difference of N ──> compared with gate.json
//! ```
//!
//! Start-up and shutdown cancel in the difference. Only user-space instructions are seen: a saved system call shows in the
//! tables of the runner, not here. Counts depend on compiler, C library
//! and, through the C library's choice of copy routines, on the processor; the file says which compiler it is for.

pub mod baseline;
pub mod callgrind;
pub mod scenario;
