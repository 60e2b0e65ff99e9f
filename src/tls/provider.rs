//! Which crypto library does the work: decided here, by feature, once.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

#[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(feature = "ring")]
use rustls::crypto::ring as chosen;

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
compile_error!(
    "longshore's feature `tls` needs a crypto provider: enable the feature `ring` (the default) or the feature `aws-lc-rs`"
);

/// Returns the provider that every config of this crate is built with.
///
/// Never the process default: rustls panics on asking for it when two providers are compiled in, or none.
pub(super) fn provider() -> Arc<CryptoProvider> {
    // Not the default provider of the program, which another crate may have set, or none.
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(chosen::default_provider())))
}

/// Makes a ticketer with fresh keys, which nothing else can open tickets of; rustls rotates them every six hours.
pub(super) fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    chosen::Ticketer::new()
}
