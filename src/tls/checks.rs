//! What is checked where options are given, because it would fail later, or bring the TLS library down.
//!
//! A wrong value of the options is a field and a problem. A complete rustls config is tried instead: a handshake in
//! memory between it and a client, or the first flight of a client, so that a config that no peer can use is refused at
//! once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection};

use super::error::TlsError;
use super::verifier::AnyCertificate;

/// The most bytes of all application protocols together, each with a byte of length. The list may have 65,535 (RFC 7301
/// section 3.1), and a hello that long is refused by most servers.
const ALPN_LIST_BYTES: usize = 8 * 1024;

/// How much a peer may send before the handshake is done. Chains with large RSA keys stay under 10 KB; rustls alone
/// would hold 82 KB for a client hello that claims to be long.
pub(crate) const HANDSHAKE_LIMIT_BYTES: usize = 32 * 1024;

/// What rustls says when a resolver of certificates has none for a client.
pub(crate) const REFUSED_BY_RESOLVER: &str = "no server certificate chain resolved";

/// Checks a list of application protocols: each has 1 to 255 bytes (RFC 7301 section 3.1).
///
/// # Errors
///
/// The problem.
pub(super) fn alpn(protocols: &[Vec<u8>]) -> Result<(), String> {
    if let Some(wrong) = protocols
        .iter()
        .find(|protocol| !(1..=255).contains(&protocol.len()))
    {
        let length = wrong.len();
        return Err(format!(
            "has a protocol of {length} bytes, must be 1 to 255"
        ));
    }
    let total: usize = protocols.iter().map(|protocol| protocol.len() + 1).sum();
    if total > ALPN_LIST_BYTES {
        return Err(format!(
            "takes {total} bytes, must be at most {ALPN_LIST_BYTES}"
        ));
    }
    Ok(())
}

/// Tries a server's config.
///
/// # Errors
///
/// [`TlsError::Config`] if a client that accepts every certificate cannot come as far as its own certificate.
pub(super) fn server_config(config: &Arc<ServerConfig>) -> Result<(), TlsError> {
    alpn(&config.alpn_protocols).map_err(|problem| config_error("alpn_protocols", problem))?;
    caught(|| try_server(config))
}

/// Tries a client's config.
///
/// # Errors
///
/// [`TlsError::Config`] if it cannot begin a handshake.
pub(super) fn client_config(config: &Arc<ClientConfig>) -> Result<(), TlsError> {
    alpn(&config.alpn_protocols).map_err(|problem| config_error("alpn_protocols", problem))?;
    caught(|| {
        let mut client = ClientConnection::new(Arc::clone(config), example_name()?)?;
        let mut hello = Vec::new();
        client.write_tls(&mut hello).map_err(other)?;
        Ok(())
    })
}

fn config_error(field: &str, problem: impl std::fmt::Display) -> TlsError {
    TlsError::from_config(format!("{field} {problem}"))
}

/// rustls asserts some things that a config may break.
fn caught(trial: impl FnOnce() -> Result<(), Error>) -> Result<(), TlsError> {
    match catch_unwind(AssertUnwindSafe(trial)) {
        Ok(result) => result.map_err(TlsError::from_config),
        Err(_) => Err(TlsError::from_config("a handshake with it panics")),
    }
}

fn example_name() -> Result<ServerName<'static>, Error> {
    ServerName::try_from("localhost").map_err(other)
}

fn other(error: impl std::fmt::Display) -> Error {
    Error::General(error.to_string())
}

fn try_server(config: &Arc<ServerConfig>) -> Result<(), Error> {
    let provider = Arc::clone(config.crypto_provider());
    // Whether clients trust the certificate is not what is tried: one that is self-signed works for those that know it.
    let verifier = Arc::new(AnyCertificate::new(&provider));
    let mut any_client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A client with other protocols would be refused (RFC 7301 section 3.2), and the trial would say nothing about the
    // rest.
    any_client.alpn_protocols.clone_from(&config.alpn_protocols);
    let client = ClientConnection::new(Arc::new(any_client), example_name()?)?;
    let mut client = Connection::from(client);
    let mut server = Connection::from(ServerConnection::new(Arc::clone(config))?);
    // A hello, perhaps a second one, the flight of the server, that of the client, and the end.
    for _ in 0..4 {
        match carry(&mut client, &mut server) {
            Ok(_) => {}
            // A server that refuses this client by its policy works.
            Err(error) if is_choice(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let bytes = carry(&mut server, &mut client)?;
        // A client of this crate would refuse such a flight, and the operator would learn of it from the first
        // connection.
        if bytes > HANDSHAKE_LIMIT_BYTES {
            let problem = format!("takes {bytes} bytes, must be at most {HANDSHAKE_LIMIT_BYTES}");
            return Err(other(format!(
                "the certificates or names in the flight: {problem}"
            )));
        }
    }
    Ok(())
}

/// Gives one side everything that the other one has to send, and returns how many bytes that was.
fn carry(from: &mut Connection, to: &mut Connection) -> Result<usize, Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).map_err(other)?;
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).map_err(other)?;
        to.process_new_packets()?;
    }
    Ok(bytes.len())
}

/// Whether a server that works may refuse the client of the trial so: it has no certificate for the name of this
/// client, or wants one of the client.
fn is_choice(error: &Error) -> bool {
    match error {
        Error::NoCertificatesPresented => true,
        Error::General(text) => text == REFUSED_BY_RESOLVER,
        _ => false,
    }
}
