//! What an application says about TLS: certificates, trust, options, and what a handshake agreed on.
//!
//! ```text
//!   CertSource ──load──▶ CertManager ──┐                              ┌──▶ ServerConfig ──▶ proto::tls (server)
//!   (files, PEM, DER,     (swapped     ├─▶ TlsServerOptions ─ServerTls┘
//!    CertifiedKey)         while live) │
//!                                      └─▶ TlsClientOptions ──────────────▶ ClientConfig ──▶ proto::tls (client)
//!   Roots ──────────────────────────────▶ (both, to check the other side)
//! ```
//!
//! A server needs a [`CertManager`]; a client needs [`Roots`] to check the server against, and a [`CertManager`] only if the server
//! asks for a client certificate. Either side may hand over a complete rustls config instead. The part that turns
//! bytes into bytes is private and knows nothing of this module but its errors and [`TlsInfo`].
//!
//! This module does no I/O beyond reading the certificate files it is told to read, and only when it is told.
//!
//! # Crypto provider
//!
//! Always passed to rustls explicitly, never the process default: ring with the feature `ring`, else aws-lc-rs with the feature
//! `aws-lc-rs`; with both, ring. An embedder's own rustls config keeps the provider it was built with.

mod cert_manager;
mod cert_set;
mod cert_source;
mod client;
mod error;
mod info;
mod provider;
mod roots;
mod server;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verifier;

pub use cert_manager::CertManager;
pub use cert_set::UnknownName;
pub use cert_source::CertSource;
pub use client::TlsClientOptions;
pub use error::{CertError, Origin, TlsError};
pub use info::TlsInfo;
pub use roots::Roots;
pub(crate) use server::ServerTls;
pub use server::{ClientAuth, ServerResumption, TlsServerOptions};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever happened to an earlier holder: every value behind these locks is replaced whole, never left half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
