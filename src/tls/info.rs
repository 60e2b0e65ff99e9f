//! What a handshake agreed on.

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, ProtocolVersion};

/// What the handshake agreed on, as carried by the connect message of a TLS connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// TLS 1.2 or 1.3.
    pub protocol_version: ProtocolVersion,
    /// The cipher suite.
    pub cipher_suite: CipherSuite,
    /// The application protocol, if both sides named one in common (ALPN, RFC 7301).
    pub alpn: Option<Vec<u8>>,
    /// On a server: the name the client asked for (SNI, RFC 6066 section 3), lower case. On a client: the name or
    /// address the server's certificate was checked against.
    pub server_name: Option<String>,
    /// The peer's certificate chain in DER, its own certificate first. Empty if it sent none. With
    /// `insecure_skip_verify` it has not been checked.
    pub peer_certificates: Vec<CertificateDer<'static>>,
    /// Whether an earlier session was resumed; the certificates are then those of the earlier session.
    pub resumed: bool,
}
