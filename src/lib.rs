//! TCP and UDP meta-processes for actors.
#![forbid(unsafe_code)]

mod buffer;

pub use buffer::{Buffer, BufferPool};
