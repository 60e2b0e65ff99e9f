//! A key that signs with Ed25519 (RFC 8032), loaded by the crypto provider from a seed.

use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;

use super::provider::provider;

/// What stands before the seed in a PKCS#8 key (RFC 8410 section 7).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A signing key.
#[derive(Clone)]
pub(crate) struct Ed25519 {
    key: Arc<dyn SigningKey>,
    public: [u8; 32],
}

impl Ed25519 {
    /// Loads the key of that seed. `None`: the provider has no Ed25519, as one for FIPS may not.
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        let der = [&PKCS8[..], seed].concat();
        let key = provider()
            .key_provider
            .load_private_key(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)))
            .ok()?;
        // The key itself is the end of its description (RFC 8410 section 4).
        let public = key.public_key()?.last_chunk().copied()?;
        Some(Self { key, public })
    }

    /// The public key.
    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Signs.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signer = self.key.choose_scheme(&[SignatureScheme::ED25519])?;
        signer.sign(message).ok()
    }
}

impl fmt::Debug for Ed25519 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let mut bytes = [0; N];
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).expect("ASCII");
            *byte = u8::from_str_radix(digits, 16).expect("hexadecimal");
        }
        bytes
    }

    #[test]
    fn key_and_signature_are_those_of_rfc_8032() {
        // Section 7.1, test 2.
        let seed = bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = Ed25519::from_seed(&seed).expect("a key");
        let public = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(key.public(), &public);
        let signature: [u8; 64] = bytes(concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ));
        assert_eq!(key.sign(&[0x72]).as_deref(), Some(&signature[..]));
    }
}
