//! The servers' certificate, from files or self-signed at every start: ECDSA on P-256, as most sites have.

use super::Options;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{error::Error, sync::Arc};

/// Certificate chain and key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads the files of the options, or makes a certificate for `localhost`.
pub fn identity(options: &Options) -> Result<Identity, Box<dyn Error>> {
    if let Some((chain, key)) = &options.files {
        let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
        return Ok((chain, PrivateKeyDer::from_pem_file(key)?));
    }
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der())?;
    Ok((vec![signed.cert.der().clone()], key))
}

/// Builds rustls's server configuration with its defaults and the ring provider.
pub fn server_config(options: &Options) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let (chain, key) = identity(options)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}
