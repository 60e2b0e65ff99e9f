//! TCP and UDP meta-processes for actors.
#![forbid(unsafe_code)]

mod buffer;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[allow(dead_code, reason = "the connection, which uses it, comes with another branch")]
mod proto;
#[allow(dead_code, reason = "the poll loop, which uses it, comes with another branch")]
mod timer;

pub use buffer::{Buffer, BufferPool};
pub use error::OptionError;
pub use proto::framing::{ByteOrder, CustomFraming, Frame, FrameDecoder, FrameError, Framing, HeaderFraming};
#[cfg(feature = "tls")]
#[allow(dead_code, unused_imports, reason = "the connection, which uses it, comes with another branch")]
pub mod tls;
