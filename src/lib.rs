//! TCP and UDP meta-processes for actors.
#![forbid(unsafe_code)]

#[cfg(feature = "tls")]
#[allow(
    dead_code,
    unused_imports,
    reason = "the connection that drives this machine is written elsewhere; drop this line when it is here"
)]
mod proto {
    pub(crate) mod tls;
}
#[cfg(feature = "tls")]
#[allow(dead_code, unused_imports, reason = "as above")]
pub mod tls;
