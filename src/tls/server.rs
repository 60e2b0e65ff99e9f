//! A server's TLS options, and what a new handshake gets.

use std::sync::{Arc, Mutex};

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoClientAuth, NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::{NoKeyLog, ServerConfig};

use super::cert_manager::CertManager;
use super::cert_set::CertSet;
use super::checks;
use super::error::TlsError;
use super::key_log::KeyLog;
use super::lock;
use super::provider::{provider, ticketer};
use super::revocation::{RevocationLists, check_revocation};
use super::roots::Roots;
use super::version::TlsVersion;

/// The most sessions that a server keeps.
// rustls reserves a place for each of them when the store is made, so a number without a limit could exhaust the
// memory.
const MAX_SESSIONS: usize = 1 << 20;

/// The most bytes of names of roots that a server shows to its clients: with a chain of certificates they stay below
/// what our own clients take of a handshake.
const HINT_BYTES: usize = 16 * 1024;

/// Says whether a server asks its clients for certificates.
///
/// The server sends its clients the names of the roots, so that they can choose a certificate. Names of more than 16
/// KiB together are left out, because clients refuse a handshake that long; the client then makes a free choice (RFC
/// 8446 section 4.2.4).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ClientAuth {
    /// It does not ask.
    #[default]
    None,
    /// It asks, and checks a certificate that is given against these roots; a client without one is served too.
    Optional(Roots),
    /// It asks, and serves only clients whose certificate these roots vouch for.
    Required(Roots),
}

/// Says how a server lets clients resume sessions, which saves them and the server a full handshake.
///
/// All of it is forgotten when a certificate is swapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerResumption {
    /// Every handshake is a full one.
    Off,
    /// The client keeps the session, encrypted with a key that changes every six hours. Costs the server no memory.
    #[default]
    Tickets,
    /// The server keeps at most this many sessions, about a kilobyte each.
    Store {
        /// The number of sessions, from 1 to 2^20. Room for them is made at once.
        sessions: usize,
    },
}

/// A server's TLS options beside its certificates.
///
/// ```
/// use longshore::tls::TlsServerOptions;
///
/// let options = TlsServerOptions::default().with_alpn(["h2", "http/1.1"]);
/// assert_eq!(options.alpn, [&b"h2"[..], b"http/1.1"]);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsServerOptions {
    /// Application protocols, the most wanted first, of 1 to 255 bytes each and 8 KiB together. A client that offers
    /// only others is refused; one that offers none is served.
    pub alpn: Vec<Vec<u8>>,
    /// Client certificates.
    pub client_auth: ClientAuth,
    /// Session resumption.
    pub resumption: ServerResumption,
    /// The oldest version that is spoken. TLS 1.2 by default.
    pub min_version: TlsVersion,
    /// Lists of client certificates that are revoked, for [`client_auth`](Self::client_auth).
    pub revocation_lists: Option<RevocationLists>,
    /// Where the secrets of sessions are written. **Insecure**, see [`KeyLog`].
    pub key_log: Option<KeyLog>,
    /// Handshakes of one listener that may be under way; more connections wait in the backlog, so that in a storm those
    /// that have begun are done before their deadline. A handshake takes a place with its peer's first byte; as many
    /// peers again may be silent, and then the one that has been silent longest is closed. A peer that has begun and
    /// does not answer for a second gives way when places run out. 4,096 by default.
    pub max_handshakes: Option<usize>,
    /// A complete rustls config in place of the certificate manager and of everything above but `max_handshakes`; early
    /// data must be off in it. A handshake in memory tries it once when the listener is bound.
    pub config: Option<Arc<ServerConfig>>,
}

impl Default for TlsServerOptions {
    fn default() -> Self {
        Self {
            alpn: Vec::new(),
            client_auth: ClientAuth::default(),
            resumption: ServerResumption::default(),
            min_version: TlsVersion::default(),
            revocation_lists: None,
            key_log: None,
            max_handshakes: Some(4_096),
            config: None,
        }
    }
}

impl TlsServerOptions {
    /// Sets the application protocols, the most wanted first.
    #[must_use]
    pub fn with_alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether clients are asked for certificates.
    #[must_use]
    pub fn with_client_auth(mut self, client_auth: ClientAuth) -> Self {
        self.client_auth = client_auth;
        self
    }

    /// Sets how sessions are resumed.
    #[must_use]
    pub fn with_resumption(mut self, resumption: ServerResumption) -> Self {
        self.resumption = resumption;
        self
    }

    /// Sets the oldest version that is spoken.
    #[must_use]
    pub fn with_min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Sets the lists of client certificates that are revoked.
    #[must_use]
    pub fn with_revocation_lists(mut self, lists: impl Into<Option<RevocationLists>>) -> Self {
        self.revocation_lists = lists.into();
        self
    }

    /// **Insecure**: sets where the secrets of sessions are written.
    #[must_use]
    pub fn with_key_log(mut self, log: impl Into<Option<KeyLog>>) -> Self {
        self.key_log = log.into();
        self
    }

    /// Sets how many handshakes may be under way; `None` is no limit.
    #[must_use]
    pub fn with_max_handshakes(mut self, handshakes: impl Into<Option<usize>>) -> Self {
        self.max_handshakes = handshakes.into();
        self
    }

    /// Hands over a complete rustls config.
    #[must_use]
    pub fn with_config(mut self, config: Arc<ServerConfig>) -> Self {
        self.config = Some(config);
        self
    }

    /// Whether nothing asks for TLS.
    pub(crate) fn is_default(&self) -> bool {
        self.config.is_none()
            && self.first_explicit_option().is_none()
            && self.max_handshakes == Self::default().max_handshakes
    }

    /// The field that is wrong, and what is wrong with it.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        if let Err(problem) = checks::alpn(&self.alpn) {
            return Some(("alpn", problem));
        }
        if let ClientAuth::Optional(roots) | ClientAuth::Required(roots) = &self.client_auth
            && roots.store().is_empty()
        {
            return Some(("client_auth", "has no root certificate".to_owned()));
        }
        if let ServerResumption::Store { sessions } = self.resumption
            && !(1..=MAX_SESSIONS).contains(&sessions)
        {
            let problem = format!("has room for {sessions} sessions, must be 1 to {MAX_SESSIONS}");
            return Some(("resumption", problem));
        }
        // A list that is not looked at would be taken for a protection.
        if self.revocation_lists.is_some() && matches!(self.client_auth, ClientAuth::None) {
            let problem = "no certificate of a client is asked for";
            return Some(("revocation_lists", problem.to_owned()));
        }
        if self.max_handshakes == Some(0) {
            let problem = "must be at least 1; `None` is no limit";
            return Some(("max_handshakes", problem.to_owned()));
        }
        None
    }

    fn first_explicit_option(&self) -> Option<&'static str> {
        match self {
            Self { alpn, .. } if !alpn.is_empty() => Some("alpn"),
            Self {
                client_auth: ClientAuth::Optional(_) | ClientAuth::Required(_),
                ..
            } => Some("client_auth"),
            Self { resumption, .. } if *resumption != ServerResumption::default() => {
                Some("resumption")
            }
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
}

/// The TLS half of a listener: gives each new handshake its config.
#[derive(Debug)]
pub(crate) struct ServerTls(Source);

#[derive(Debug)]
enum Source {
    Given(Setup),
    Managed {
        certs: CertManager,
        recipe: Recipe,
        built: Mutex<BuiltServer>,
    },
}

/// Everything a config is built from beside the certificates.
#[derive(Debug)]
struct Recipe {
    alpn: Vec<Vec<u8>>,
    client_auth: ClientAuth,
    min_version: TlsVersion,
    revocation_lists: Option<RevocationLists>,
    key_log: Option<KeyLog>,
    /// No certificate of a client is verified.
    is_moderate: bool,
    resumption: ServerResumption,
}

/// What a new handshake gets.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Arc<ServerConfig>,
    /// Each step takes about a tenth of a millisecond: the keys lie on elliptic curves, and no certificate is verified.
    pub(crate) is_moderate: bool,
}

/// A setup, and the versions of the set and of the revocation lists it was built from.
#[derive(Debug)]
struct BuiltServer {
    versions: (u64, u64),
    setup: Setup,
}

impl ServerTls {
    /// Validates certificates and options together, and builds the first config.
    ///
    /// # Errors
    ///
    /// [`TlsError::NoCertificate`], [`TlsError::Conflict`], [`TlsError::EarlyData`] or [`TlsError::Config`].
    pub(crate) fn new(
        certs: Option<CertManager>,
        options: TlsServerOptions,
    ) -> Result<Self, TlsError> {
        let conflict = certs
            .as_ref()
            .map(|_| "cert_manager")
            .or_else(|| options.first_explicit_option());
        if let Some(config) = options.config {
            if let Some(option) = conflict {
                return Err(TlsError::Conflict { option });
            }
            // Early data can be replayed (RFC 8446 section 8), and nothing here would deliver it.
            if config.max_early_data_size != 0 {
                return Err(TlsError::EarlyData);
            }
            checks::server_config(&config)?;
            // Its keys are not known here.
            return Ok(Self(Source::Given(Setup {
                config,
                is_moderate: false,
            })));
        }
        let certs = certs.ok_or(TlsError::NoCertificate)?;
        let is_moderate = matches!(options.client_auth, ClientAuth::None);
        let recipe = Recipe {
            alpn: options.alpn,
            client_auth: options.client_auth,
            min_version: options.min_version,
            revocation_lists: options.revocation_lists,
            key_log: options.key_log,
            is_moderate,
            resumption: options.resumption,
        };
        let built = recipe.build(certs.current())?;
        // The secrets of the trial belong to no connection.
        let mut quiet = ServerConfig::clone(&built.setup.config);
        quiet.key_log = Arc::new(NoKeyLog {});
        checks::server_config(&Arc::new(quiet))?;
        let built = Mutex::new(built);
        Ok(Self(Source::Managed {
            certs,
            recipe,
            built,
        }))
    }

    /// Returns what a handshake gets that begins now: one load and one uncontended lock, unless certificates were
    /// swapped.
    ///
    /// # Errors
    ///
    /// [`TlsError::Config`] if a swapped certificate's config cannot be built; the old certificate is not served
    /// instead.
    pub(crate) fn setup(&self) -> Result<Setup, TlsError> {
        match &self.0 {
            Source::Given(setup) => Ok(setup.clone()),
            Source::Managed {
                certs,
                recipe,
                built,
            } => {
                let mut built = lock(built);
                // The lock is held while the config is built, so that one handshake builds it and the others of that
                // moment wait.
                if built.versions != (certs.version(), recipe.lists_version()) {
                    *built = recipe.build(certs.current())?;
                }
                Ok(built.setup.clone())
            }
        }
    }
}

impl Recipe {
    fn lists_version(&self) -> u64 {
        self.revocation_lists
            .as_ref()
            .map_or(0, RevocationLists::version)
    }

    /// Builds a whole config, with ticket keys and a session store of its own.
    fn build(&self, set: Arc<CertSet>) -> Result<BuiltServer, TlsError> {
        // Before the lists: what is built may be newer than it says, and is built once more.
        let versions = (set.version, self.lists_version());
        let verifier = verifier(&self.client_auth, self.revocation_lists.as_ref())?;
        let is_moderate = self.is_moderate && set.has_moderate_keys();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(self.min_version.and_newer())
            .map_err(TlsError::from_config)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(set);
        config.alpn_protocols.clone_from(&self.alpn);
        if let Some(log) = &self.key_log {
            config.key_log = log.as_rustls();
        }
        match self.resumption {
            ServerResumption::Off => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                // A ticket that nothing will accept would cost the client a failed attempt.
                config.send_tls13_tickets = 0;
            }
            ServerResumption::Tickets => {
                config.ticketer = ticketer().map_err(TlsError::from_config)?;
                // Tickets alone: a store beside them would hold sessions that no client asks for.
                config.session_storage = Arc::new(NoServerSessionStorage {});
            }
            ServerResumption::Store { sessions } => {
                config.session_storage = ServerSessionMemoryCache::new(sessions)
            }
        }
        Ok(BuiltServer {
            versions,
            setup: Setup {
                config: Arc::new(config),
                is_moderate,
            },
        })
    }
}

fn verifier(
    client_auth: &ClientAuth,
    lists: Option<&RevocationLists>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let (roots, is_required) = match client_auth {
        ClientAuth::None => return Ok(Arc::new(NoClientAuth)),
        ClientAuth::Optional(roots) => (roots.store(), false),
        ClientAuth::Required(roots) => (roots.store(), true),
    };
    // Each name stands behind its length, in two bytes (RFC 8446 section 4.2.4).
    let hints = roots.subjects();
    let hint_bytes: usize = hints.iter().map(|name| name.as_ref().len() + 2).sum();
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    // Beyond that clients refuse the handshake; without names they choose by themselves.
    if hint_bytes > HINT_BYTES {
        builder = builder.clear_root_hint_subjects();
    }
    if !is_required {
        builder = builder.allow_unauthenticated();
    }
    if let Some(lists) = lists {
        builder = check_revocation!(builder, lists);
    }
    builder.build().map_err(TlsError::from_config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_row() {
        crate::base::option_rows::option_rows!(TlsServerOptions {
            alpn,
            client_auth,
            resumption,
            min_version,
            revocation_lists,
            key_log,
            max_handshakes,
            config
        });
    }
}
