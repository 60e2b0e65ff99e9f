//! The certificates of one or more listeners, replaceable while connections live.
//!
//! A swap builds a new [`CertSet`] aside and replaces the old one whole. Handshakes look at a version number first, so
//! that the usual case costs one load; the first handshake that finds a new version builds a whole new rustls config
//! from the new set, with its own ticket keys and session store: with the old ones, a resumed session would go on
//! showing the old certificate.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::cert_set::{CertSet, UnknownName, check_name};
use super::cert_source::CertSource;
use super::error::CertError;
use super::lock;

/// Certificates by name with a default, swapped atomically for new handshakes. Cloning is cheap; all clones are the
/// same manager.
///
/// A live session is not touched by a swap. A handshake that began before the swap may finish with the old certificate.
/// Every method that takes a certificate checks it first and leaves everything as it was if it fails: a key that does
/// not belong to its chain is refused with both files named. An **expired** certificate is taken: serving it is the
/// operator's decision.
///
/// On a client the default certificate is the one shown to a server that asks for one.
///
/// ```no_run
/// use longshore::tls::CertManager;
///
/// # fn main() -> Result<(), longshore::tls::CertError> {
/// let certs = CertManager::from_pem_files("server.pem", "server.key")?;
/// // … later, when a new certificate lies in the same files:
/// certs.reload()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "gen.CertManager")]
pub struct CertManager {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The version of `current`; stored after it with `Release`, so that a reader of the number finds at least that
    /// set.
    version: AtomicU64,
    current: Mutex<Arc<CertSet>>,
    /// Held by a swap from reading the old set to storing the new one, files included. Handshakes never wait for it.
    swapping: Mutex<()>,
}

impl CertManager {
    /// Loads the default certificate.
    ///
    /// # Errors
    ///
    /// As [`CertError`] says, naming the files.
    ///
    /// ```
    /// use longshore::tls::CertSource;
    /// use longshore::tls::CertManager;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// let certs = CertManager::new(CertSource::pem(chain, key))?;
    /// # let _ = certs;
    /// # Ok(()) }
    /// ```
    pub fn new(default: impl Into<CertSource>) -> Result<Self, CertError> {
        let default = default.into().load()?;
        let set = CertSet {
            version: 0,
            default,
            named: HashMap::new(),
            unknown: UnknownName::default(),
        };
        let shared = Shared {
            version: AtomicU64::new(0),
            current: Mutex::new(Arc::new(set)),
            swapping: Mutex::new(()),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Loads the default certificate from two PEM files, which [`reload`](Self::reload) reads again.
    ///
    /// # Errors
    ///
    /// As [`CertError`] says, naming the files.
    ///
    /// ```
    /// use longshore::tls::CertManager;
    ///
    /// let error = CertManager::from_pem_files("missing.pem", "missing.key").unwrap_err();
    /// assert!(error.to_string().contains("missing.pem"));
    /// ```
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, CertError> {
        Self::new(CertSource::pem_files(chain, key))
    }

    /// Takes the default certificate from PEM text.
    ///
    /// # Errors
    ///
    /// As [`CertError`] says.
    ///
    /// ```
    /// use longshore::tls::CertManager;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// let certs = CertManager::from_pem(chain, key)?;
    /// # let _ = certs;
    /// # Ok(()) }
    /// ```
    pub fn from_pem(chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Result<Self, CertError> {
        Self::new(CertSource::pem(chain, key))
    }

    /// Takes the default certificate from DER.
    ///
    /// # Errors
    ///
    /// As [`CertError`] says.
    ///
    /// ```
    /// use longshore::tls::CertManager;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let chain = vec![made.cert.der().clone()];
    /// let certs = CertManager::from_der(chain, made.signing_key.into())?;
    /// # let _ = certs;
    /// # Ok(()) }
    /// ```
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertError> {
        Self::new(CertSource::der(chain, key))
    }

    /// Takes the default certificate as rustls has it, for keys in hardware and stapled OCSP responses.
    ///
    /// # Errors
    ///
    /// As [`CertError`] says.
    pub fn from_certified_key(key: CertifiedKey) -> Result<Self, CertError> {
        Self::new(key)
    }

    /// Adds a certificate for clients that ask for `name`, or replaces it. See [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As [`CertError`] says.
    pub fn with_name(self, name: &str, source: impl Into<CertSource>) -> Result<Self, CertError> {
        self.add(name, source)?;
        Ok(self)
    }

    /// Sets what a client gets that asks for an unknown name.
    #[must_use]
    pub fn with_unknown_name(self, unknown: UnknownName) -> Self {
        self.set_unknown_name(unknown);
        self
    }

    /// Replaces the default certificate for new handshakes.
    ///
    /// # Errors
    ///
    /// As [`CertError`] says; the old certificate then stays.
    ///
    /// ```
    /// use longshore::tls::CertSource;
    /// use longshore::tls::CertManager;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// let certs = CertManager::from_pem(chain.clone(), key.clone())?;
    /// certs.update(CertSource::pem(chain, key))?; // for new handshakes; live sessions go on
    /// # Ok(()) }
    /// ```
    pub fn update(&self, default: impl Into<CertSource>) -> Result<(), CertError> {
        let default = default.into().load()?;
        self.swap(|old| {
            Ok(CertSet {
                default,
                ..old.clone()
            })
        })
    }

    /// Adds a certificate for clients that ask for `name`, or replaces it. `*.example.com` stands for any one label
    /// before `example.com`; an exact name goes before it.
    ///
    /// # Errors
    ///
    /// As [`CertError`] says, and if the certificate is not valid for the name, because then every client would refuse
    /// it.
    ///
    /// ```
    /// use longshore::tls::CertSource;
    /// use longshore::tls::CertManager;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// let certs = CertManager::from_pem(chain.clone(), key.clone())?;
    /// certs.add("localhost", CertSource::pem(chain.clone(), key.clone()))?;
    /// // Not valid for that name.
    /// assert!(certs.add("example.com", CertSource::pem(chain, key)).is_err());
    /// # Ok(()) }
    /// ```
    pub fn add(&self, name: &str, source: impl Into<CertSource>) -> Result<(), CertError> {
        // Before the swap, which other swaps wait for: what is read here does not depend on the old set.
        let pair = source.into().load()?;
        let name = check_name(name, &pair)?;
        self.swap(|old| {
            let mut new = old.clone();
            new.named.insert(name, pair);
            Ok(new)
        })
    }

    /// Removes the certificate of a name; returns whether there was one. Its clients are then asking for an unknown
    /// name.
    ///
    /// ```
    /// use longshore::tls::CertManager;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// let certs = CertManager::from_pem(chain, key)?;
    /// assert!(!certs.remove("example.com"));
    /// # Ok(()) }
    /// ```
    pub fn remove(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut found = false;
        let swapped = self.swap(|old| {
            let mut new = old.clone();
            found = new.named.remove(&name).is_some();
            Ok(new)
        });
        debug_assert!(
            swapped.is_ok(),
            "removing loads nothing, so nothing can fail"
        );
        found
    }

    /// Sets what a client gets that asks for an unknown name.
    ///
    /// ```
    /// use longshore::tls::UnknownName;
    /// use longshore::tls::CertManager;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// let certs = CertManager::from_pem(chain, key)?;
    /// certs.set_unknown_name(UnknownName::Refuse);
    /// # Ok(()) }
    /// ```
    pub fn set_unknown_name(&self, unknown: UnknownName) {
        let swapped = self.swap(|old| {
            Ok(CertSet {
                unknown,
                ..old.clone()
            })
        });
        debug_assert!(
            swapped.is_ok(),
            "a policy loads nothing, so nothing can fail"
        );
    }

    /// Reads every certificate again that came from files, and swaps them all at once. Returns how many those were.
    ///
    /// # Errors
    ///
    /// As [`CertError`] says about the first file that cannot be used; nothing at all is swapped then.
    ///
    /// ```
    /// use longshore::tls::CertManager;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// let certs = CertManager::from_pem(chain, key)?;
    /// assert_eq!(certs.reload()?, 0); // none of them came from a file
    /// # Ok(()) }
    /// ```
    pub fn reload(&self) -> Result<usize, CertError> {
        let mut count = 0;
        self.swap(|old| {
            let mut new = old.clone();
            // All files are read before anything is replaced, so that one that cannot be used leaves the old set whole.
            for pair in std::iter::once(&mut new.default).chain(new.named.values_mut()) {
                if let Some(files) = &pair.files {
                    *pair = files.load()?;
                    count += 1;
                }
            }
            // A certificate that was read again may no longer cover the name that it was added for.
            for (name, pair) in &new.named {
                check_name(name, pair)?;
            }
            Ok(new)
        })?;
        Ok(count)
    }

    /// Returns the number of the current set, which shows whether [`current`](Self::current) has changed.
    pub(super) fn version(&self) -> u64 {
        // Pairs with the store in `swap`.
        self.shared.version.load(Ordering::Acquire)
    }

    /// Returns the current set.
    pub(super) fn current(&self) -> Arc<CertSet> {
        Arc::clone(&lock(&self.shared.current))
    }

    fn swap(
        &self,
        change: impl FnOnce(&CertSet) -> Result<CertSet, CertError>,
    ) -> Result<(), CertError> {
        // Held from the read of the old set to the store of the new one, so that no swap overwrites another.
        let one_at_a_time = lock(&self.shared.swapping);
        let old = self.current();
        let mut new = change(&old)?;
        new.version = old.version + 1;
        let version = new.version;
        *lock(&self.shared.current) = Arc::new(new);
        // Pairs with the load in `version`. After the set: a handshake between the two uses the old certificate once
        // more. The other way round it would find a new number, rebuild the config from the old set, and do so again
        // for the next handshake.
        self.shared.version.store(version, Ordering::Release);
        drop(one_at_a_time);
        Ok(())
    }
}
