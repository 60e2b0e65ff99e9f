//! Where a certificate chain and its key come from, and the one place where they are checked against each other.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::error::{CertError, Origin};
use super::provider::provider;

/// A certificate chain and its private key, in one of the forms they come in. The server's own certificate comes first.
///
/// Nothing is read or checked until the source is given to a [`CertManager`](super::CertManager).
///
/// ```no_run
/// use longshore::tls::{CertManager, CertSource};
///
/// # fn main() -> Result<(), longshore::tls::CertError> {
/// let certs = CertManager::new(CertSource::pem_files("server.pem", "server.key"))?;
/// certs.add("api.example.com", CertSource::pem_files("api.pem", "api.key"))?;
/// # Ok(()) }
/// ```
pub struct CertSource(CertInput);

enum CertInput {
    Files(Files),
    Pem {
        chain: Vec<u8>,
        key: Vec<u8>,
    },
    Der {
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    },
    Ready(Arc<CertifiedKey>),
}

/// The two files of a pair, kept so that they can be read again.
#[derive(Clone, Debug)]
pub(super) struct Files {
    chain: PathBuf,
    key: PathBuf,
}

/// A checked pair, and where to read it again.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) files: Option<Files>,
}

impl CertSource {
    /// Names two PEM files: the chain and the key. Both may be the same file. `CertManager::reload` reads them again.
    ///
    /// ```
    /// use longshore::tls::{CertManager, CertSource};
    ///
    /// let source = CertSource::pem_files("missing.pem", "missing.key");
    /// assert!(CertManager::new(source).is_err()); // read only now
    /// ```
    pub fn pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        // So that they are the same files when the process has changed its working directory.
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self(CertInput::Files(Files {
            chain: absolute(chain.as_ref()),
            key: absolute(key.as_ref()),
        }))
    }

    /// Takes the same as PEM text.
    ///
    /// ```
    /// use longshore::tls::{CertManager, CertSource};
    ///
    /// assert!(CertManager::new(CertSource::pem("not a certificate", "not a key")).is_err());
    /// ```
    pub fn pem(chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self(CertInput::Pem {
            chain: chain.into(),
            key: key.into(),
        })
    }

    /// Takes the same as DER.
    ///
    /// ```
    /// use longshore::tls::{CertManager, CertSource};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let source = CertSource::der(vec![made.cert.der().clone()], made.signing_key.into());
    /// let certs = CertManager::new(source)?;
    /// # drop(certs);
    /// # Ok(()) }
    /// ```
    pub fn der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self(CertInput::Der { chain, key })
    }

    /// Reads, parses and checks.
    pub(super) fn load(self) -> Result<Pair, CertError> {
        match self.0 {
            CertInput::Files(files) => files.load(),
            CertInput::Pem { chain, key } => from_pem(&chain, &key, Origin::Memory, Origin::Memory),
            CertInput::Der { chain, key } => from_der(chain, key, Origin::Memory, Origin::Memory),
            CertInput::Ready(key) => {
                // Made by the program, so it is checked here: files and PEM are checked where they are parsed.
                check(&key, Origin::Memory, Origin::Memory)?;
                Ok(Pair { key, files: None })
            }
        }
    }
}

impl From<CertifiedKey> for CertSource {
    fn from(key: CertifiedKey) -> Self {
        Self(CertInput::Ready(Arc::new(key)))
    }
}

impl From<Arc<CertifiedKey>> for CertSource {
    fn from(key: Arc<CertifiedKey>) -> Self {
        Self(CertInput::Ready(key))
    }
}

/// Shows where the key is, never the key.
impl fmt::Debug for CertSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            CertInput::Files(files) => f.debug_tuple("CertSource").field(files).finish(),
            CertInput::Pem { .. } => f.write_str("CertSource(pem)"),
            CertInput::Der { .. } => f.write_str("CertSource(der)"),
            CertInput::Ready(_) => f.write_str("CertSource(certified key)"),
        }
    }
}

impl Files {
    /// Reads both files and checks the pair. A pair that is being replaced at this moment fails as a mismatch; try
    /// again.
    pub(super) fn load(&self) -> Result<Pair, CertError> {
        let chain = read(&self.chain)?;
        let key = read(&self.key)?;
        let pair = from_pem(
            &chain,
            &key,
            Origin::File(self.chain.clone()),
            Origin::File(self.key.clone()),
        )?;
        Ok(Pair {
            files: Some(self.clone()),
            ..pair
        })
    }
}

impl Pair {
    /// Returns where the chain came from.
    pub(super) fn origin(&self) -> Origin {
        self.files
            .as_ref()
            .map_or(Origin::Memory, |files| Origin::File(files.chain.clone()))
    }
}

/// Reads a file, naming it in the error.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    std::fs::read(path).map_err(|source| CertError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Parses every certificate of a PEM text; none at all is an error.
pub(super) fn certificates(
    pem: &[u8],
    origin: &Origin,
) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| CertError::Pem {
            origin: origin.clone(),
            source,
        })?;
    // A file without a certificate is mostly the wrong file: an empty chain would fail at the first handshake only.
    if chain.is_empty() {
        return Err(CertError::NoCertificate {
            origin: origin.clone(),
        });
    }
    Ok(chain)
}

fn private_key(pem: &[u8], origin: &Origin) -> Result<PrivateKeyDer<'static>, CertError> {
    const ENCRYPTED: &[u8] = b"ENCRYPTED"; // "BEGIN ENCRYPTED PRIVATE KEY" of PKCS#8, "Proc-Type: 4,ENCRYPTED" of the older form
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        // The parser says only that there is no key that it knows; what is wrong with it shows the operator what to do.
        Err(_)
            if pem
                .windows(ENCRYPTED.len())
                .any(|window| window == ENCRYPTED) =>
        {
            Err(CertError::EncryptedKey {
                origin: origin.clone(),
            })
        }
        Err(pem::Error::NoItemsFound) => Err(CertError::NoKey {
            origin: origin.clone(),
        }),
        Err(source) => Err(CertError::Pem {
            origin: origin.clone(),
            source,
        }),
    }
}

fn from_pem(
    chain: &[u8],
    key: &[u8],
    chain_origin: Origin,
    key_origin: Origin,
) -> Result<Pair, CertError> {
    let chain = certificates(chain, &chain_origin)?;
    let key = private_key(key, &key_origin)?;
    from_der(chain, key, chain_origin, key_origin)
}

fn from_der(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    chain_origin: Origin,
    key_origin: Origin,
) -> Result<Pair, CertError> {
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|source| CertError::BadKey {
            origin: key_origin.clone(),
            source,
        })?;
    let key = CertifiedKey::new(chain, key);
    check(&key, chain_origin, key_origin)?;
    Ok(Pair {
        key: Arc::new(key),
        files: None,
    })
}

/// Refuses an empty chain, a certificate that cannot be parsed, and a key of another certificate.
///
/// An expired certificate passes: whether to serve it is the operator's decision, and refusing it here would turn a
/// late renewal into a server that does not start.
fn check(key: &CertifiedKey, chain_origin: Origin, key_origin: Origin) -> Result<(), CertError> {
    let Ok(own) = key.end_entity_cert() else {
        return Err(CertError::NoCertificate {
            origin: chain_origin,
        });
    };
    // rustls sends what it is given, and only clients would find the fault.
    if let Err(source) = ParsedCertificate::try_from(own) {
        return Err(CertError::BadCertificate {
            origin: chain_origin,
            source,
        });
    }
    match key.keys_match() {
        // A key that does not show its public half (a hardware token) cannot be compared; the handshake will show it.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(_) => Err(CertError::KeyMismatch {
            certificate: chain_origin,
            key: key_origin,
        }),
    }
}
