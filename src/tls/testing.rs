//! Certificates made on the spot, for tests.

use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{CertManager, CertSource, Roots};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        // Two authorities of one name would differ by their signatures only.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_der([self.issuer.der().clone()]).unwrap()
    }

    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.issue_with(params(name), KeyPair::generate().unwrap())
    }

    /// Issues for the RSA key of the fixtures.
    pub(crate) fn issue_rsa(&self, name: &str) -> Issued {
        self.issue_with(
            params(name),
            KeyPair::from_pem(include_str!("../proto/tls/fixtures/rsa2048.key")).unwrap(),
        )
    }

    /// Issues a certificate valid during these years only.
    pub(crate) fn issue_for_years(&self, name: &str, first: i32, last: i32) -> Issued {
        let mut params = params(name);
        params.not_before = date_time_ymd(first, 1, 1);
        params.not_after = date_time_ymd(last, 12, 31);
        self.issue_with(params, KeyPair::generate().unwrap())
    }

    fn issue_with(&self, params: CertificateParams, key: KeyPair) -> Issued {
        Issued {
            certificate: params.signed_by(&key, &self.issuer).unwrap(),
            key,
        }
    }
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

impl Issued {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub(crate) fn source(&self) -> CertSource {
        CertSource::der(vec![self.der()], self.key_der())
    }

    pub(crate) fn manager(&self) -> CertManager {
        CertManager::new(self.source()).unwrap()
    }
}

/// Returns the provider under test.
pub(crate) fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    super::provider::provider()
}

/// Returns the verifier of `insecure_skip_verify`.
pub(crate) fn any_certificate() -> std::sync::Arc<dyn rustls::client::danger::ServerCertVerifier> {
    std::sync::Arc::new(super::verifier::AnyCertificate::new(&provider()))
}
