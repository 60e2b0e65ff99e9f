//! Protocol machines that see neither a socket nor a clock: bytes go in, frames come out.

pub(crate) mod framing;
#[cfg(feature = "tls")]
#[allow(dead_code, unused_imports, reason = "the connection, which uses it, comes with another branch")]
pub(crate) mod tls;
