//! The authorities that the other side's certificate is checked against.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::cert_source::{certificates, read};
use super::error::{CertError, Origin};

/// A set of root certificates. Cloning is cheap.
///
/// ```no_run
/// use longshore::tls::{Roots, TlsClientOptions};
///
/// # fn main() -> Result<(), longshore::tls::CertError> {
/// let options = TlsClientOptions::default().with_roots(Roots::from_pem_file("ca.pem")?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Reads every certificate of a PEM file. A self-signed server certificate may be its own root.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, has no certificate in it, or has one that cannot be parsed.
    ///
    /// ```
    /// assert!(longshore::tls::Roots::from_pem_file("missing.pem").is_err());
    /// ```
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self, CertError> {
        let path = path.as_ref();
        let origin = Origin::File(path.to_owned());
        from_chain(certificates(&read(path)?, &origin)?, &origin)
    }

    /// Takes every certificate of a PEM text.
    ///
    /// # Errors
    ///
    /// If the text has no certificate in it, or one that cannot be parsed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// // A self-signed one is its own root.
    /// let roots = longshore::tls::Roots::from_pem(made.cert.pem().as_bytes())?;
    /// # let _ = roots;
    /// # Ok(()) }
    /// ```
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertError> {
        from_chain(certificates(pem, &Origin::Memory)?, &Origin::Memory)
    }

    /// Takes certificates in DER.
    ///
    /// # Errors
    ///
    /// If there is none, or one that cannot be parsed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// let roots = longshore::tls::Roots::from_der([made.cert.der().clone()])?;
    /// # let _ = roots;
    /// # Ok(()) }
    /// ```
    pub fn from_der(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, CertError> {
        from_chain(certificates.into_iter().collect(), &Origin::Memory)
    }

    /// Reads the roots that the operating system trusts, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Blocks
    /// on files; takes some ten milliseconds. Certificates that rustls cannot parse are left out: most stores have
    /// some.
    ///
    /// # Errors
    ///
    /// If no root is left.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), longshore::tls::CertError> {
    /// let roots = longshore::tls::Roots::platform()?;
    /// # let _ = roots;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "platform-roots")]
    pub fn platform() -> Result<Self, CertError> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        // Single certificates that cannot be read are usual in a store of the platform; a store without any is not.
        if store.is_empty() {
            let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(CertError::PlatformRoots {
                reason: reasons.join("; "),
            });
        }
        Ok(Self(Arc::new(store)))
    }

    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}

impl From<RootCertStore> for Roots {
    fn from(store: RootCertStore) -> Self {
        Self(Arc::new(store))
    }
}

impl From<Arc<RootCertStore>> for Roots {
    fn from(store: Arc<RootCertStore>) -> Self {
        Self(store)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

fn from_chain(chain: Vec<CertificateDer<'static>>, origin: &Origin) -> Result<Roots, CertError> {
    if chain.is_empty() {
        return Err(CertError::NoCertificate {
            origin: origin.clone(),
        });
    }
    let mut store = RootCertStore::empty();
    for certificate in chain {
        store
            // One that cannot be used is an error here. If it were left out, the first sign would be a peer whose
            // certificate is refused.
            .add(certificate)
            .map_err(|source| CertError::BadCertificate {
                origin: origin.clone(),
                source,
            })?;
    }
    Ok(store.into())
}
