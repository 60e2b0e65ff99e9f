//! Protocol machines that see neither a socket nor a clock: bytes go in, frames come out.

pub(crate) mod framing;
