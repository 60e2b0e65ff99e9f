//! Protocol machines that see neither a socket nor a clock: bytes and the time go in, messages and bytes come out.

pub(crate) mod datagram;
pub(crate) mod framing;
pub(crate) mod output;
pub(crate) mod proxy;
#[cfg(any(test, fuzzing))]
pub(crate) mod script;
pub(crate) mod tcp;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
pub(crate) mod tls;
