//! One immutable generation of certificates: a default and others by name. A swap replaces the whole set.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::client::verify_server_name;
use rustls::pki_types::{DnsName, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::cert_source::Pair;
use super::error::CertError;

/// Says what a client gets that asks for a name without a certificate of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownName {
    /// The default certificate, and the client decides.
    #[default]
    ServeDefault,
    /// A refused handshake. A name that the default certificate covers is not unknown, and a client that gives no name
    /// (it connects by address, or is very old) gets the default certificate.
    Refuse,
    /// A refused handshake, also for clients that give no name.
    RefuseAlsoMissing,
}

#[derive(Clone, Debug)]
pub(super) struct CertSet {
    /// Grows by one with each swap of the same manager.
    pub(super) version: u64,
    pub(super) default: Pair,
    /// Keyed by lower-case name without the final dot, or by `*.` and such a name.
    pub(super) named: HashMap<String, Pair>,
    pub(super) unknown: UnknownName,
}

impl CertSet {
    /// Whether signing takes a tenth of a millisecond at the most with every key.
    pub(super) fn has_moderate_keys(&self) -> bool {
        let mut pairs = std::iter::once(&self.default).chain(self.named.values());
        pairs.all(|pair| {
            matches!(
                pair.key.key.algorithm(),
                SignatureAlgorithm::ECDSA | SignatureAlgorithm::ED25519
            )
        })
    }

    /// Finds the certificate for what a client asked for; `None` refuses it.
    pub(super) fn find(&self, asked: Option<&str>) -> Option<&Pair> {
        // Without a name there is nothing to compare, and only the policy decides.
        let Some(asked) = asked else {
            return (self.unknown != UnknownName::RefuseAlsoMissing).then_some(&self.default);
        };
        // DNS names have no case (RFC 4343), and the keys of the map are in lower case.
        let asked = asked.to_ascii_lowercase();
        // A wildcard stands for one label (RFC 6125 section 6.4.3).
        let by_wildcard = || {
            asked
                .split_once('.')
                .and_then(|(_, parent)| self.named.get(&format!("*.{parent}")))
        };
        // The name itself goes before a wildcard.
        if let Some(pair) = self.named.get(&asked).or_else(by_wildcard) {
            return Some(pair);
        }
        match self.unknown {
            UnknownName::ServeDefault => Some(&self.default),
            _ => covers(&self.default.key, &asked).then_some(&self.default),
        }
    }
}

impl ResolvesServerCert for CertSet {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(client_hello.server_name())
            .map(|pair| Arc::clone(&pair.key))
    }
}

/// Checks a name to be added against the form of names and against the certificate; returns it as a key of the map.
pub(super) fn check_name(name: &str, pair: &Pair) -> Result<String, CertError> {
    let key = name.trim_end_matches('.').to_ascii_lowercase();
    // A wildcard stands for exactly one label (RFC 6125 section 6.4.3), so any one label must be covered.
    let example = key.strip_prefix("*.").map(|parent| format!("any.{parent}"));
    let example = example.as_deref().unwrap_or(&key);
    if DnsName::try_from(example).is_err() {
        return Err(CertError::InvalidName {
            name: name.to_owned(),
        });
    }
    if !covers(&pair.key, example) {
        return Err(CertError::NameNotCovered {
            name: name.to_owned(),
            certificate: pair.origin(),
        });
    }
    Ok(key)
}

fn covers(key: &CertifiedKey, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else {
        return false;
    };
    let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
}
