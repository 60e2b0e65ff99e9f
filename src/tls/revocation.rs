//! Lists of certificates that their authorities have revoked (RFC 5280 section 5).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateRevocationListDer, Der, TrustAnchor};

use super::cert_source::read;
use super::error::{CertError, Origin};
use super::lock;
use super::provider::provider;

/// The lists of revoked certificates that a certificate of the other side is looked up in, replaceable while
/// connections live. Cloning is cheap; all clones have the same lists.
///
/// By default the whole chain is looked up, a certificate whose authority has no list here is refused, and a list that
/// is out of date counts.
///
/// ```no_run
/// use longshore::tls::{ClientAuth, RevocationLists, Roots, TlsServerOptions};
///
/// # fn main() -> Result<(), longshore::tls::CertError> {
/// let lists = RevocationLists::from_pem_file("clients.crl")?;
/// let clients = Roots::from_pem_file("clients-ca.pem")?;
/// let options = TlsServerOptions::default()
///     .with_client_auth(ClientAuth::Required(clients))
///     .with_revocation_lists(lists.clone());
/// // … later, when the authority has made a new list:
/// lists.replace(&RevocationLists::from_pem_file("clients.crl")?);
/// # let _ = options;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RevocationLists {
    shared: Arc<Shared>,
    only_end_entity: bool,
    allows_unknown: bool,
    refuses_expired: bool,
}

struct Shared {
    /// Grows with each swap; stored behind the lists.
    version: AtomicU64,
    current: Mutex<Vec<CertificateRevocationListDer<'static>>>,
}

/// Gives the lists to the builder of a verifier, with what they leave open. A macro, because rustls has two builders
/// with the same methods and no trait for them.
macro_rules! check_revocation {
    ($builder:expr, $lists:expr) => {{
        let mut builder = $builder.with_crls($lists.current());
        if $lists.only_end_entity() {
            builder = builder.only_check_end_entity_revocation();
        }
        if $lists.allows_unknown() {
            builder = builder.allow_unknown_revocation_status();
        }
        if $lists.refuses_expired() {
            builder = builder.enforce_revocation_expiration();
        }
        builder
    }};
}
pub(super) use check_revocation;

impl RevocationLists {
    /// Reads every list of a PEM file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, has no list in it, or has one that cannot be parsed.
    ///
    /// ```
    /// assert!(longshore::tls::RevocationLists::from_pem_file("missing.crl").is_err());
    /// ```
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, CertError> {
        let path = path.as_ref();
        parse(&read(path)?, Origin::File(path.to_owned()))
    }

    /// Takes every list of a PEM text.
    ///
    /// # Errors
    ///
    /// If the text has no list in it, or one that cannot be parsed.
    ///
    /// ```
    /// assert!(longshore::tls::RevocationLists::from_pem(b"nothing").is_err());
    /// ```
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertError> {
        parse(pem, Origin::Memory)
    }

    /// Takes lists in DER.
    ///
    /// # Errors
    ///
    /// If there is none, or one that cannot be parsed.
    ///
    /// ```
    /// assert!(longshore::tls::RevocationLists::from_der([vec![1, 2, 3].into()]).is_err());
    /// ```
    pub fn from_der(
        lists: impl IntoIterator<Item = CertificateRevocationListDer<'static>>,
    ) -> Result<Self, CertError> {
        Self::checked(lists.into_iter().collect(), Origin::Memory)
    }

    /// Sets whether only the certificate of the other side itself is looked up, and not those of the authorities
    /// between it and the root.
    #[must_use]
    pub fn with_only_end_entity(mut self, only: bool) -> Self {
        self.only_end_entity = only;
        self
    }

    /// Sets whether a certificate is accepted whose authority has no list here.
    #[must_use]
    pub fn with_unknown_allowed(mut self, allowed: bool) -> Self {
        self.allows_unknown = allowed;
        self
    }

    /// Sets whether a certificate is refused whose list is out of date.
    #[must_use]
    pub fn with_expired_refused(mut self, refused: bool) -> Self {
        self.refuses_expired = refused;
        self
    }

    /// Takes the lists of `newer` in place of those that are here, in all clones. Handshakes that begin from now on are
    /// checked against them, and no session from before is resumed.
    pub fn replace(&self, newer: &Self) {
        // One lock after the other, because `newer` may be a clone of this one.
        let lists = lock(&newer.shared.current).clone();
        *lock(&self.shared.current) = lists;
        // Pairs with the load in `version`: who sees the number finds at least these lists.
        self.shared.version.fetch_add(1, Ordering::Release);
    }

    pub(super) fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    pub(super) fn current(&self) -> Vec<CertificateRevocationListDer<'static>> {
        lock(&self.shared.current).clone()
    }

    pub(super) fn only_end_entity(&self) -> bool {
        self.only_end_entity
    }

    pub(super) fn allows_unknown(&self) -> bool {
        self.allows_unknown
    }

    pub(super) fn refuses_expired(&self) -> bool {
        self.refuses_expired
    }

    fn checked(
        lists: Vec<CertificateRevocationListDer<'static>>,
        origin: Origin,
    ) -> Result<Self, CertError> {
        if lists.is_empty() {
            return Err(CertError::NoRevocationList { origin });
        }
        // rustls parses lists where it builds a verifier, and a verifier wants a root.
        let nothing = TrustAnchor {
            subject: Der::from_slice(&[]),
            subject_public_key_info: Der::from_slice(&[]),
            name_constraints: None,
        };
        let roots = RootCertStore {
            roots: vec![nothing],
        };
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .with_crls(lists.clone())
            .build()
            .map_err(|error| CertError::BadRevocationList {
                origin,
                reason: error.to_string(),
            })?;
        Ok(Self {
            shared: Arc::new(Shared {
                version: AtomicU64::new(0),
                current: Mutex::new(lists),
            }),
            only_end_entity: false,
            allows_unknown: false,
            refuses_expired: false,
        })
    }
}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLists")
            .field("lists", &lock(&self.shared.current).len())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

fn parse(pem: &[u8], origin: Origin) -> Result<RevocationLists, CertError> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    match lists {
        Ok(lists) => RevocationLists::checked(lists, origin),
        Err(source) => Err(CertError::Pem { origin, source }),
    }
}
