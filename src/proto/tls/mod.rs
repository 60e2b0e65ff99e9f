//! TLS as a machine without I/O: ciphertext in, plaintext out, and back.
//!
//! ```text
//!             feed(ciphertext) ──▶ ┌─────────────┐ ──▶ plain(chunk)       receive.rs
//!   socket                         │     Tls     │                              owner
//!             transmit(writev) ◀── └─────────────┘ ◀── write(plaintext)   send.rs
//! ```
//!
//! The owner of a socket drives it: every byte read goes to [`Tls::feed`]; whenever [`Tls::wants_transmit`], the socket
//! gets [`Tls::transmit`]; [`Tls::write`] takes plaintext once the handshake is done. The machine never waits, never
//! sees a clock and holds no plaintext between calls. Deadlines, half-closing and lingering are the owner's business.
//!
//! All calls of rustls are in this module and in `crate::tls`, which builds the configs: rustls 0.24 changes the buffer
//! interface.
//!
//! # States
//!
//! ```text
//!   handshaking ──1──▶ open ──2──▶ peer closed      1  feed returns `handshake_completed`, once
//!        │              │              │            2  feed returns `close_notify`; later input is ignored (RFC 8446 6.1)
//!        └──────3───────┴──────3───────┘            3  feed or write returned an error: failed for good
//!                       ▼
//!                     failed                        what is queued can still be transmitted
//! ```
//!
//! Independent of these, [`Tls::close_notify`] ends this side's sending, once, unless the machine has failed: after an
//! error it would claim that the stream ended cleanly.

mod plain_records;
mod receive;
mod send;

#[cfg(any(test, fuzzing))]
mod fuzz;
#[cfg(any(test, fuzzing))]
mod pair;
#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
#[cfg_attr(
    not(fuzzing),
    allow(
        unused_imports,
        reason = "for the fuzz crate, which sees it through an export of the crate root"
    )
)]
pub(crate) use fuzz::{fuzz_session, fuzz_tls};
use plain_records::PlainRecords;
pub(crate) use receive::{FeedOutcome, StreamEnd};

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, HandshakeKind, ProtocolVersion,
    ServerConfig, ServerConnection,
};

use crate::tls::{HANDSHAKE_LIMIT_BYTES, REFUSED_BY_RESOLVER};
pub(crate) use crate::tls::{TlsError, TlsInfo};

/// What a step of a handshake takes to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CryptoCost {
    /// Microseconds, without an exchange of keys and without a certificate to verify: it ends a handshake on a server
    /// of TLS 1.3 whose flight is made, unless there is room for a client's certificate in it.
    Cheap,
    /// About a tenth of a millisecond.
    Moderate,
    /// Up to several milliseconds, or unknown.
    Expensive,
}

/// One TLS session. The size of a pointer: rustls' connection, 1.2 KB, is boxed so that a plain connection's slot stays
/// small.
#[derive(Debug)]
pub(crate) struct Tls {
    session: Box<Session>,
}

struct Session {
    rustls: Connection,
    /// What rustls says of it, which changes with what it takes in only.
    is_handshaking: bool,
    /// The name a client asked for; a server's is inside rustls.
    asked: Option<ServerName<'static>>,
    /// Bytes of input while the handshake was not done.
    handshake_bytes: usize,
    /// What they were when a server of TLS 1.3 had made its flight.
    bytes_before_flight: Option<usize>,
    /// See [`Tls::with_moderate_steps`].
    has_moderate_steps: bool,
    /// Payload bytes of the largest record that rustls makes here.
    record_bytes: usize,
    /// How many more records the key may encrypt; known once the handshake is done.
    records_left: u64,
    peer_closed: bool,
    /// What the handshake has not encrypted yet.
    plain_records: PlainRecords,
    sent_close_notify: bool,
    failure: Option<Failure>,
}

/// Why the machine has failed, as far as rustls does not remember it itself.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// rustls gives the same error again when asked.
    Rustls,
    HandshakeTooLarge,
    KeyExhausted,
    /// The peer broke the protocol after our close_notify, and rustls panicked; see `Session::process_closing`.
    BrokenAfterClose,
}

impl Tls {
    /// Starts a session that waits for a client.
    ///
    /// # Errors
    ///
    /// [`TlsError::Config`] if rustls does not like the config.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        let fragment = config.max_fragment_size;
        let rustls = ServerConnection::new(config).map_err(|error| TlsError::Config {
            reason: error.to_string(),
        })?;
        Ok(Self::new(rustls.into(), None, fragment))
    }

    /// Starts a session with a server of this name; its first bytes are ready to be transmitted.
    ///
    /// # Errors
    ///
    /// [`TlsError::Config`] if rustls does not like the config.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, TlsError> {
        let fragment = config.max_fragment_size;
        let rustls =
            ClientConnection::new(config, name.clone()).map_err(|error| TlsError::Config {
                reason: error.to_string(),
            })?;
        Ok(Self::new(rustls.into(), Some(name), fragment))
    }

    fn new(
        rustls: Connection,
        asked: Option<ServerName<'static>>,
        fragment: Option<usize>,
    ) -> Self {
        let session = Session {
            rustls,
            is_handshaking: true,
            asked,
            handshake_bytes: 0,
            bytes_before_flight: None,
            has_moderate_steps: false,
            record_bytes: send::record_bytes(fragment),
            records_left: u64::MAX,
            peer_closed: false,
            plain_records: PlainRecords::default(),
            sent_close_notify: false,
            failure: None,
        };
        Self {
            session: Box::new(session),
        }
    }

    /// Returns whether the handshake is still going on, or failed.
    ///
    /// After an error of [`feed`](Self::feed), `false` says that the handshake had been done by then, perhaps in the
    /// same call: the session was open, and plaintext may have come out.
    #[inline]
    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking
    }

    /// Says that a step of the handshake with an exchange of keys takes about a tenth of a millisecond, as far as it
    /// depends on this side.
    pub(crate) fn with_moderate_steps(mut self, are_moderate: bool) -> Self {
        self.session.has_moderate_steps = are_moderate;
        self
    }

    /// Returns what it costs to feed `bytes` bytes during the handshake.
    pub(crate) fn step_cost(&self, bytes: usize) -> CryptoCost {
        let most = |before: usize| before + receive::FINISHED_LIMIT_BYTES;
        match self.session.bytes_before_flight {
            // A server of TLS 1.3 that has sent its flight waits for Finished, a MAC to compare. The certificate of a
            // client, with a signature to verify, is longer than the limit.
            Some(before) if self.session.handshake_bytes + bytes <= most(before) => {
                CryptoCost::Cheap
            }
            _ if self.session.has_moderate_steps => CryptoCost::Moderate,
            _ => CryptoCost::Expensive,
        }
    }

    /// Returns whether an error has ended the session; feeding it more gives the same error.
    pub(crate) fn is_failed(&self) -> bool {
        self.session.failure.is_some()
    }

    /// Returns the name of the version, once it is agreed on.
    pub(crate) fn version(&self) -> Option<&'static str> {
        self.session.rustls.protocol_version()?.as_str()
    }

    /// Returns what the handshake agreed on. Copies; ask once, after the handshake.
    pub(crate) fn info(&self) -> TlsInfo {
        let rustls = &self.session.rustls;
        TlsInfo {
            // The fallbacks are seen only by callers that ask during the handshake.
            protocol_version: rustls
                .protocol_version()
                .unwrap_or(ProtocolVersion::Unknown(0)),
            cipher_suite: rustls
                .negotiated_cipher_suite()
                .map_or(CipherSuite::TLS_NULL_WITH_NULL_NULL, |suite| suite.suite()),
            alpn: rustls.alpn_protocol().map(<[u8]>::to_vec),
            server_name: self.session.server_name(),
            peer_certificates: rustls.peer_certificates().unwrap_or_default().to_vec(),
            resumed: rustls.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

impl Session {
    fn server_name(&self) -> Option<String> {
        match (&self.rustls, &self.asked) {
            (Connection::Server(server), _) => server.server_name().map(ToOwned::to_owned),
            (Connection::Client(_), asked) => asked.as_ref().map(|name| name.to_str().into_owned()),
        }
    }

    /// Repeats the error that ended the session, if one did.
    #[inline]
    fn check(&mut self) -> Result<(), TlsError> {
        match self.failure {
            None => Ok(()),
            Some(failure) => Err(self.repeat(failure)),
        }
    }

    /// Marks the session as failed and returns why.
    fn fail(&mut self, failure: Failure) -> TlsError {
        if matches!(failure, Failure::HandshakeTooLarge) {
            // The limit is one of this side, and rustls has found nothing wrong. Without this the peer would see an end
            // without a reason.
            self.provoke_alert();
        }
        self.failure = Some(failure);
        self.repeat(failure)
    }

    /// Makes rustls send an alert, under the keys of the moment. It has no call for that, but sends one for a record
    /// that is none; what is left of the record before counts as well.
    #[cold]
    fn provoke_alert(&mut self) {
        const NO_RECORD: [u8; receive::READ_BYTES] = [0xff; receive::READ_BYTES];
        // As many reads as the largest record takes, and one for the header behind it.
        for _ in 0..6 {
            let taken = self.rustls.read_tls(&mut &NO_RECORD[..]);
            let is_taken = taken.is_ok_and(|taken| taken > 0);
            if !is_taken || !matches!(self.process_closing(), Some(Ok(_))) {
                return;
            }
        }
    }

    #[cold]
    fn repeat(&mut self, failure: Failure) -> TlsError {
        match failure {
            Failure::HandshakeTooLarge => TlsError::HandshakeTooLarge {
                limit_bytes: HANDSHAKE_LIMIT_BYTES,
            },
            Failure::KeyExhausted => TlsError::KeyExhausted,
            Failure::BrokenAfterClose => broken_after_close(),
            Failure::Rustls => match self.rustls.process_new_packets() {
                Err(error) => self.explain(error),
                Ok(_) => broken_after_close(), // cannot be: rustls repeats itself
            },
        }
    }

    /// Says what rustls' error means here; it knows neither what was never TLS nor what our resolver refused.
    fn explain(&self, error: rustls::Error) -> TlsError {
        match error {
            rustls::Error::InvalidMessage(_) if self.is_first_message() => TlsError::NotTls(error),
            // rustls has no variant for it, so it is known by its text alone.
            rustls::Error::General(text) if text == REFUSED_BY_RESOLVER => {
                TlsError::UnknownServerName {
                    name: self.server_name(),
                }
            }
            _ => TlsError::from_session(error),
        }
    }

    fn is_first_message(&self) -> bool {
        self.rustls.protocol_version().is_none() && self.handshake_bytes <= receive::READ_BYTES
    }
}

fn broken_after_close() -> TlsError {
    TlsError::Protocol(rustls::Error::General(
        "invalid input after close_notify".to_owned(),
    ))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("handshaking", &self.is_handshaking)
            .field("peer_closed", &self.peer_closed)
            .field("sent_close_notify", &self.sent_close_notify)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}
