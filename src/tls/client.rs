//! A client's TLS options, and the config that a new connection gets.

use std::sync::{Arc, Mutex};

use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::cert_manager::CertManager;
use super::cert_set::CertSet;
use super::checks;
use super::error::TlsError;
use super::key_log::KeyLog;
use super::lock;
use super::provider::provider;
use super::revocation::{RevocationLists, check_revocation};
use super::roots::Roots;
use super::verifier::AnyCertificate;
use super::version::TlsVersion;

/// A client's TLS options.
///
/// Sessions are resumed between connections made with the same value or a clone of it: the rustls config is built at
/// the first connect and kept. That is why the fields are not public; each `with_*` starts afresh.
///
/// ```no_run
/// use longshore::tls::{Roots, TlsClientOptions};
///
/// # fn main() -> Result<(), longshore::tls::CertError> {
/// let options = TlsClientOptions::default()
///     .with_roots(Roots::from_pem_file("ca.pem")?)
///     // What the certificate must say, if it is not the host connected to.
///     .with_server_name("db.internal")
///     .with_alpn(["h2"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TlsClientOptions {
    parts: Parts,
    server_name: Option<String>,
    given: Option<Arc<ClientConfig>>,
    built: Arc<Mutex<Option<BuiltClient>>>,
}

/// Everything a config is built from.
#[derive(Clone, Debug, Default)]
struct Parts {
    roots: Option<Roots>,
    alpn: Vec<Vec<u8>>,
    certificate: Option<CertManager>,
    no_resumption: bool,
    insecure_skip_verify: bool,
    min_version: TlsVersion,
    revocation_lists: Option<RevocationLists>,
    key_log: Option<KeyLog>,
}

/// A config, and the versions of the own certificate and of the revocation lists it was built with.
#[derive(Debug)]
struct BuiltClient {
    versions: (Option<u64>, u64),
    config: Arc<ClientConfig>,
}

impl TlsClientOptions {
    /// Sets the authorities that the server's certificate is checked against.
    #[must_use]
    pub fn with_roots(self, roots: impl Into<Roots>) -> Self {
        self.with(|parts| parts.roots = Some(roots.into()))
    }

    /// Sets the name that the client asks for (SNI) and that the certificate must be valid for; without it, the host
    /// connected to.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets the application protocols, the most wanted first, of 1 to 255 bytes each and 8 KiB together. A server that
    /// knows only others refuses; one that does not know ALPN goes on without, and then `TlsInfo::alpn` is `None`.
    #[must_use]
    pub fn with_alpn<P: Into<Vec<u8>>>(self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.with(|parts| parts.alpn = protocols.into_iter().map(Into::into).collect())
    }

    /// Sets the client's own certificate, the default of this manager, for servers that ask for one (mutual TLS).
    ///
    /// In TLS 1.3 a client without an acceptable certificate believes it is connected until the server's alert arrives.
    #[must_use]
    pub fn with_certificate(self, certificate: CertManager) -> Self {
        self.with(|parts| parts.certificate = Some(certificate))
    }

    /// Sets whether sessions are resumed; on by default, for the last 256 servers.
    #[must_use]
    pub fn with_resumption(self, on: bool) -> Self {
        self.with(|parts| parts.no_resumption = !on)
    }

    /// Sets the oldest version that is spoken; TLS 1.2 by default.
    #[must_use]
    pub fn with_min_version(self, version: TlsVersion) -> Self {
        self.with(|parts| parts.min_version = version)
    }

    /// Sets the lists of server certificates that are revoked.
    #[must_use]
    pub fn with_revocation_lists(self, lists: impl Into<Option<RevocationLists>>) -> Self {
        self.with(|parts| parts.revocation_lists = lists.into())
    }

    /// **Insecure**: sets where the secrets of sessions are written, see [`KeyLog`].
    #[must_use]
    pub fn with_key_log(self, log: impl Into<Option<KeyLog>>) -> Self {
        self.with(|parts| parts.key_log = log.into())
    }

    /// **Insecure**: sets whether any certificate of any name is taken. An attacker between client and server can then
    /// read and change everything; only the proof that the server owns the key of its certificate is still asked for.
    /// For tests and for peers that are checked by other means. Every connect logs a warning.
    #[must_use]
    #[doc(alias = "InsecureSkipVerify")]
    pub fn with_insecure_skip_verify(self, skip: bool) -> Self {
        self.with(|parts| parts.insecure_skip_verify = skip)
    }

    /// Hands over a complete rustls config, in place of everything but the server name. The first connect tries it in
    /// memory.
    #[must_use]
    pub fn with_config(mut self, config: Arc<ClientConfig>) -> Self {
        self.given = Some(config);
        // What was built from the other options is forgotten.
        self.built = Arc::default();
        self
    }

    /// Returns whether the server's certificate is checked against nothing, so that each connect must log a warning.
    ///
    /// ```
    /// assert!(!longshore::tls::TlsClientOptions::default().is_insecure_skip_verify());
    /// ```
    #[must_use]
    pub fn is_insecure_skip_verify(&self) -> bool {
        self.parts.insecure_skip_verify
    }

    /// The field that is wrong, and what is wrong with it.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        // Here and not at the first handshake: wrong options are an error of the call that gives them.
        if let Err(problem) = checks::alpn(&self.parts.alpn) {
            return Some(("alpn", problem));
        }
        let no_roots = |roots: &Roots| roots.store().is_empty();
        if self.parts.roots.as_ref().is_some_and(no_roots) {
            return Some(("roots", "has no root certificate".to_owned()));
        }
        // A list that is not looked at would be taken for a protection.
        if self.parts.revocation_lists.is_some() && self.parts.insecure_skip_verify {
            let problem = "`insecure_skip_verify` accepts every certificate";
            return Some(("revocation_lists", problem.to_owned()));
        }
        None
    }

    /// Whether it has a certificate of its own.
    pub(crate) fn has_certificate(&self) -> bool {
        self.parts.certificate.is_some()
    }

    /// Returns the config for a connection that begins now; also what validates the options at creation.
    ///
    /// # Errors
    ///
    /// [`TlsError::NoRoots`], [`TlsError::Conflict`] or [`TlsError::Config`].
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        // A complete config decides everything, and an option beside it would be ignored without a word.
        if let Some(config) = &self.given {
            if let Some(option) = self.parts.any() {
                return Err(TlsError::Conflict { option });
            }
            let mut built = lock(&self.built);
            // Tried once, with the first connection that uses it.
            if built.is_none() {
                checks::client_config(config)?;
                *built = Some(BuiltClient {
                    versions: (None, 0),
                    config: Arc::clone(config),
                });
            }
            return Ok(Arc::clone(config));
        }
        // Held while the config is built: connections that begin at the same moment wait for one build, and share its
        // sessions.
        let mut built = lock(&self.built);
        let certificate = self.parts.certificate.as_ref().map(CertManager::version);
        let versions = (certificate, self.parts.lists_version());
        // The same config for all connections, because it holds the sessions that are resumed.
        if let Some(built) = built.as_ref().filter(|built| built.versions == versions) {
            return Ok(Arc::clone(&built.config));
        }
        let fresh = self.parts.build()?;
        let config = Arc::clone(&fresh.config);
        *built = Some(fresh);
        Ok(config)
    }

    /// Returns the name to ask for and to check in place of the host connected to.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns the name as rustls takes it.
    ///
    /// # Errors
    ///
    /// [`TlsError::ServerName`].
    pub(crate) fn checked_name(name: &str) -> Result<ServerName<'static>, TlsError> {
        ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName {
            name: name.to_owned(),
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(&mut self.parts);
        // Sessions and verifier belong to the options of before.
        self.built = Arc::default();
        self
    }
}

impl Parts {
    fn lists_version(&self) -> u64 {
        self.revocation_lists
            .as_ref()
            .map_or(0, RevocationLists::version)
    }

    fn any(&self) -> Option<&'static str> {
        match self {
            Self { roots: Some(_), .. } => Some("roots"),
            Self { alpn, .. } if !alpn.is_empty() => Some("alpn"),
            Self {
                certificate: Some(_),
                ..
            } => Some("certificate"),
            Self {
                no_resumption: true,
                ..
            } => Some("resumption"),
            Self {
                insecure_skip_verify: true,
                ..
            } => Some("insecure_skip_verify"),
            // Whether it was set cannot be seen. The default contradicts no config.
            Self { min_version, .. } if *min_version != TlsVersion::default() => {
                Some("min_version")
            }
            Self {
                revocation_lists: Some(_),
                ..
            } => Some("revocation_lists"),
            Self {
                key_log: Some(_), ..
            } => Some("key_log"),
            _ => None,
        }
    }

    /// Builds a whole config, with a session store of its own: a resumed session would go on showing the old
    /// certificate.
    fn build(&self) -> Result<BuiltClient, TlsError> {
        // Before the lists are read: what is built may be newer than it says, and is built once more then.
        let lists_version = self.lists_version();
        let provider = provider();
        let insecure = Arc::new(AnyCertificate::new(&provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.min_version.and_newer())
            .map_err(TlsError::from_config)?;
        let builder = match (&self.roots, self.insecure_skip_verify) {
            // Roots beside it are not looked at, which its name says. Revocation lists beside it are refused by
            // `problem`.
            (_, true) => builder
                .dangerous()
                .with_custom_certificate_verifier(insecure),
            (Some(roots), false) => match &self.revocation_lists {
                None => builder.with_root_certificates(roots.store()),
                Some(lists) => builder.with_webpki_verifier(verifier(roots, lists)?),
            },
            (None, false) => return Err(TlsError::NoRoots),
        };
        // The whole set at one moment: certificate and version belong together.
        let set: Option<Arc<CertSet>> = self.certificate.as_ref().map(CertManager::current);
        let version = set.as_ref().map(|set| set.version);
        let mut config = match set {
            Some(set) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                Arc::clone(&set.default.key),
            ))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        if let Some(log) = &self.key_log {
            config.key_log = log.as_rustls();
        }
        if self.no_resumption {
            config.resumption = Resumption::disabled();
        }
        Ok(BuiltClient {
            versions: (version, lists_version),
            config: Arc::new(config),
        })
    }
}

fn verifier(roots: &Roots, lists: &RevocationLists) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let builder = WebPkiServerVerifier::builder_with_provider(roots.store(), provider());
    check_revocation!(builder, lists)
        .build()
        .map_err(TlsError::from_config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_row() {
        // Without `..`: a new option does not compile until it is named here.
        let TlsClientOptions {
            parts:
                Parts {
                    roots: _,
                    alpn: _,
                    certificate: _,
                    no_resumption: _,
                    insecure_skip_verify: _,
                    min_version: _,
                    revocation_lists: _,
                    key_log: _,
                },
            server_name: _,
            given: _,
            built: _,
        } = TlsClientOptions::default();
        let rows = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/tls/options.rs"
        ));
        for row in [
            "roots",
            "alpn",
            "certificate",
            "resumption",
            "insecure_skip_verify",
            "min_version",
            "revocation_lists",
            "key_log",
            "server_name",
            "config",
        ] {
            assert!(
                rows.contains(&format!("(\"{row}\"")) || rows.contains(&format!("\"{row}\",")),
                "{row}"
            );
        }
    }
}
