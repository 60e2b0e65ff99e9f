//! Errors by blame: [`CertError`] is about files and bytes the operator gave, [`TlsError`] about a config or a
//! connection.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::AlertDescription;
use rustls::pki_types::pem;
use thiserror::Error;

/// Where a certificate or key came from, for error texts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// Bytes or objects handed over by the program.
    Memory,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Memory => f.write_str("the given bytes"),
        }
    }
}

/// Says why a certificate, key or set of roots was not taken. What was in use before stays in use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CertError {
    /// The file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are damaged PEM.
    #[error("{origin} is not well-formed pem: {}", pem_text(source))]
    Pem {
        /// Where the bytes came from.
        origin: Origin,
        /// What the parser said.
        source: pem::Error,
    },
    /// There is no `CERTIFICATE` section, or the chain is empty.
    #[error("{origin} has no certificate in it")]
    NoCertificate {
        /// Where it was looked for.
        origin: Origin,
    },
    /// There is no `PRIVATE KEY` section.
    #[error("{origin} has no private key in it")]
    NoKey {
        /// Where it was looked for.
        origin: Origin,
    },
    /// The private key is protected by a passphrase.
    #[error(
        "the private key in {origin} is encrypted; decrypt it first, for example with `openssl pkey`"
    )]
    EncryptedKey {
        /// Where the key came from.
        origin: Origin,
    },
    /// The certificate cannot be parsed.
    #[error("cannot use the certificate in {origin}: {source}")]
    BadCertificate {
        /// Where the certificate came from.
        origin: Origin,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The private key cannot be parsed, or is of a kind that the crypto provider does not have.
    #[error("cannot use the private key in {origin}: {source}")]
    BadKey {
        /// Where the key came from.
        origin: Origin,
        /// What rustls said.
        source: rustls::Error,
    },
    /// Key and certificate are both fine but belong to different pairs. The server's own certificate must be the first
    /// of the chain.
    #[error("the private key in {key} does not belong to the first certificate in {certificate}")]
    KeyMismatch {
        /// Where the chain came from.
        certificate: Origin,
        /// Where the key came from.
        key: Origin,
    },
    /// Not a host name, nor `*.` before one.
    #[error("`{name}` is not a host name that a client could ask for")]
    InvalidName {
        /// The name as given.
        name: String,
    },
    /// The certificate would be refused by every client that asks for this name.
    #[error("the certificate in {certificate} is not valid for the name `{name}`")]
    NameNotCovered {
        /// The name as given.
        name: String,
        /// Where the chain came from.
        certificate: Origin,
    },
    /// There is no `X509 CRL` section.
    #[error("{origin} has no revocation list in it")]
    NoRevocationList {
        /// Where it was looked for.
        origin: Origin,
    },
    /// The revocation list cannot be parsed.
    #[error("cannot use the revocation list in {origin}: {reason}")]
    BadRevocationList {
        /// Where the list came from.
        origin: Origin,
        /// What rustls said.
        reason: String,
    },
    /// The platform has no usable trust store.
    #[error("the platform's certificate store gave no root: {reason}")]
    PlatformRoots {
        /// What the platform said.
        reason: String,
    },
}

/// Says why TLS cannot be set up, or why a connection's TLS ended.
///
/// The peer's fault is [`Refused`](Self::Refused), [`NotTls`](Self::NotTls), [`Incompatible`](Self::Incompatible),
/// [`PeerCertificate`](Self::PeerCertificate), [`UnknownServerName`](Self::UnknownServerName),
/// [`HandshakeTooLarge`](Self::HandshakeTooLarge) and [`Protocol`](Self::Protocol); ours is
/// [`Internal`](Self::Internal); the rest is a mistake in the options or in the order of calls.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate, key or root was not usable.
    #[error(transparent)]
    Certificates(#[from] CertError),
    /// A server without a certificate manager and without a complete config.
    #[error("a tls server needs a `cert_manager` or a complete rustls config")]
    NoCertificate,
    /// A client that has nothing to check the server's certificate against.
    #[error("a tls client needs `roots`, a complete rustls config, or `insecure_skip_verify`")]
    NoRoots,
    /// An option has a value that it cannot have.
    #[error("`{option}` {problem}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An option that a complete rustls config already decides.
    #[error("`{option}` cannot be combined with a complete rustls config")]
    Conflict {
        /// The option's name.
        option: &'static str,
    },
    /// A complete server config that accepts early data, which would be lost here.
    #[error("`max_early_data_size` must be 0: early data can be replayed and is not delivered")]
    EarlyData,
    /// The server's name is neither a host name nor an address.
    #[error("`{name}` is not a host name or address that a certificate can be checked against")]
    ServerName {
        /// The name as given.
        name: String,
    },
    /// rustls did not accept the config.
    #[error("cannot build the tls config: {reason}")]
    Config {
        /// What rustls said.
        reason: String,
    },

    /// The peer ended the session with this alert; `CertificateRequired`, `UnknownCA` and the like say what it wants.
    #[error("the peer refused: alert {alert:?}")]
    Refused {
        /// The alert.
        alert: AlertDescription,
    },
    /// The first bytes are no TLS record: plain text, HTTP, a scanner.
    #[error("what the peer sent is not tls: {0}")]
    NotTls(#[source] rustls::Error),
    /// No protocol version, cipher suite, key exchange or application protocol in common.
    #[error("nothing in common with the peer: {0}")]
    Incompatible(#[source] rustls::Error),
    /// The peer's certificate is missing, expired, for another name, or from an unknown authority.
    #[error("the peer's certificate was not accepted: {0}")]
    PeerCertificate(#[source] rustls::Error),
    /// The client asked for a name that this server has no certificate for, and the policy is to refuse.
    #[error("no certificate for the server name {}", name.as_deref().unwrap_or("(none given)"))]
    UnknownServerName {
        /// The name the client asked for, if it asked for one.
        name: Option<String>,
    },
    /// The peer sent more than this before the handshake was done, or one handshake message too large to hold.
    #[error("the peer's handshake exceeds {limit_bytes} bytes")]
    HandshakeTooLarge {
        /// The limit that was passed.
        limit_bytes: usize,
    },
    /// The peer broke the protocol, or the bytes were damaged or forged on the way.
    #[error("the peer broke the tls protocol: {0}")]
    Protocol(#[source] rustls::Error),

    /// A TLS 1.2 session has encrypted as much as its key allows, and TLS 1.2 has no way to change it; connect anew.
    #[error("the session key has encrypted as many records as tls 1.2 allows")]
    KeyExhausted,
    /// A write after this side said that it would send nothing more.
    #[error("write after close_notify")]
    WriteAfterClose,
    /// Something failed on this side.
    #[error("tls failed on this side: {0}")]
    Internal(#[source] rustls::Error),
}

impl TlsError {
    /// Returns whether the peer has refused the session with an alert.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Sorts what rustls says about a connection by whose fault it is.
    pub(crate) fn from_session(error: rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::AlertReceived(alert) => Self::Refused { alert },
            E::InvalidCertificate(_) | E::NoCertificatesPresented | E::UnsupportedNameType => {
                Self::PeerCertificate(error)
            }
            E::PeerIncompatible(_) | E::NoApplicationProtocol => Self::Incompatible(error),
            E::InvalidMessage(_)
            | E::PeerMisbehaved(_)
            | E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::DecryptError
            | E::PeerSentOversizedRecord => Self::Protocol(error),
            // The enum of rustls is open. An error that does not lay the fault on the peer counts as one of this side.
            _ => Self::Internal(error),
        }
    }

    /// Wraps what rustls says about a config.
    pub(super) fn from_config(error: impl fmt::Display) -> Self {
        Self::Config {
            reason: error.to_string(),
        }
    }
}

/// The parser shows the lines it means as lists of numbers.
fn pem_text(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!(
                "there is no line `-----END {}-----`",
                String::from_utf8_lossy(end_marker)
            )
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("`{}` starts no section", String::from_utf8_lossy(line))
        }
        other => other.to_string(),
    }
}
