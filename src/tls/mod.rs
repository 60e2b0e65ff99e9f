//! What an application says about TLS: certificates, trust, options, and what a handshake agreed on.
//!
//! ```text
//!  CertSource ──load──▶ CertManager ──┬─▶ TlsServerOptions ──▶ rustls::ServerConfig
//!  (files, PEM, DER,     (swapped     │
//!   CertifiedKey)         while live) └─▶ TlsClientOptions ──▶ rustls::ClientConfig
//!  Roots ───────────────────────────────▶ (both, to check the other side)
//! ```
//!
//! A server needs a [`CertManager`]; a client needs [`Roots`] to check the server against, and a [`CertManager`] only
//! if the server asks for a client certificate. Either side may hand over a complete rustls config instead. The part
//! that turns bytes into bytes is private and knows nothing of this module but its errors and [`TlsInfo`].
//!
//! This module does no I/O beyond reading the certificate files that are named, and only when it is asked to.
//!
//! # A server and its client
//!
//! ```no_run
//! use longshore::prelude::*;
//! use longshore::tls::{CertManager, ClientAuth, Roots, TlsClientOptions, TlsServerOptions};
//!
//! struct Service {
//!     certs: CertManager,
//! }
//!
//! impl Actor for Service {
//!     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
//!         let clients = Roots::from_pem_file("clients-ca.pem")?;
//!         let tls = TlsServerOptions::default()
//!             .with_alpn(["echo"])
//!             .with_client_auth(ClientAuth::Required(clients));
//!         let options = TcpServerOptions::from("0.0.0.0:7443")
//!             .with_cert_manager(self.certs.clone()) // this alone turns TLS on
//!             .with_tls(tls);
//!         cx.spawn_meta(TcpServer::bind(options)?)?;
//!
//!         let tls = TlsClientOptions::default()
//!             .with_roots(Roots::from_pem_file("ca.pem")?)
//!             .with_server_name("db.internal")
//!             // Only if the server asks for one.
//!             .with_certificate(CertManager::from_pem_files("me.pem", "me.key")?);
//!         let options = TcpConnectionOptions::from("10.0.0.7:7443").with_tls(tls);
//!         cx.spawn_meta(TcpConnection::connect(options)?)?;
//!         Ok(())
//!     }
//!
//!     fn handle_message(
//!         &mut self,
//!         cx: &mut Context<'_>,
//!         _from: Pid,
//!         message: Message,
//!     ) -> Result<(), Reason> {
//!         match message {
//!             // After the handshake: `tls` says what was agreed on, and who the peer is.
//!             Message::TcpConnect(connect) => drop(connect.tls),
//!             Message::Tcp(packet) => cx.write(packet.id, packet.data),
//!             Message::TcpDisconnect(end) => eprintln!("{}: {}", end.id, end.reason),
//!             _ => {}
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let certs = CertManager::from_pem_files("server.pem", "server.key")?;
//! let node = Node::start("service@localhost")?;
//! let for_service = certs.clone();
//! node.spawn(move || Service { certs: for_service })?;
//! certs.reload()?; // whenever the files have changed; open connections stay open
//! # Ok(()) }
//! ```
//!
//! # What the owner sees
//!
//! | What happens | `MessageTcpConnect` | `MessageTcpDisconnect` |
//! |---|---|---|
//! | the handshake succeeds | after it, with [`TlsInfo`] | at the end, as on a plain connection |
//! | a server's handshake fails | never | never; counted in the listener's `handshakes_failed`, and logged with its reason |
//! | a client's handshake fails | none | `Tls` with the text of a [`TlsError`], `HandshakeTimeout`, or `Reset` |
//! | a TLS 1.3 server refuses the client's certificate | there was one: the client cannot know yet | `Tls`, with the server's alert |
//! | a handshake that [`start_tls`](crate::Context::start_tls) began succeeds | none: a [`MessageTcpSecured`](crate::MessageTcpSecured) | at the end |
//! | a handshake that `start_tls` began fails, on either side | | `Tls`, `HandshakeTimeout` or `Reset` |
//! | the peer says close_notify | | `ClosedByPeer`, behind all data |
//! | the peer ends without close_notify | | `Truncated`, behind all data that came: an attacker could have cut the rest off |
//! | the peer breaks the protocol, or a record is damaged | | `Tls`; the peer gets an alert and about a second to read it |
//!
//! `close` sends what was accepted, then close_notify, then FIN; `shutdown_write` does the same and reads on. What is
//! sent before the handshake is done waits for it, also when `close` comes right behind.
//!
//! # Limits
//!
//! | Limit | Value | Where |
//! |---|---|---|
//! | time for a handshake | 10 s | [`TcpLimits::handshake_timeout`](crate::TcpLimits::handshake_timeout) |
//! | input before a handshake is done | 32 KiB | fixed |
//! | time to the first byte of a handshake | 5 s | [`TcpLimits::first_byte_timeout`](crate::TcpLimits::first_byte_timeout) |
//! | handshakes under way at one listener | 4,096; more connections wait in the backlog, and a peer that stalls gives way | [`TlsServerOptions::max_handshakes`] |
//! | silent peers of a listener | as many again; the oldest is closed | [`TlsServerOptions::max_handshakes`] |
//! | handshakes computed at once on threads of their own | as many as workers | fixed; the others wait in turn |
//! | application protocols | 255 bytes each, 8 KiB together | [`TlsServerOptions::alpn`] |
//! | names of authorities that a server shows to clients | 16 KiB; above that it shows none | [`ClientAuth`] |
//! | sessions that a server keeps | 2^20 | [`ServerResumption::Store`] |
//! | output that waits | as on a plain connection, and counted in plaintext until the socket has it; beside it at most 64 KiB of ciphertext | [`TcpLimits::output_limit`](crate::TcpLimits::output_limit) |
//! | input that waits | one read, 64 KiB at most; a full mailbox of the owner stops reading | [`ConnectionOptions::read_buffer_size`](crate::ConnectionOptions::read_buffer_size) |
//! | records of one key in TLS 1.2 with AES-GCM | 2^24, then the connection ends with a reason | RFC 8446 section 5.5 |
//!
//! Of the other side's certificates, [`RevocationLists`] says which are revoked; they are replaced while connections
//! live, as certificates are. [`TlsVersion::Tls13`] as `min_version` refuses TLS 1.2. A [`KeyLog`] writes the secrets
//! of sessions down, for tools that decrypt a capture.
//!
//! Not done, on purpose: early data (it can be replayed), renegotiation, TLS 1.1 and older.
//!
//! # Costs
//!
//! - A full handshake takes a server about 0.13 ms of a processor with an ECDSA P-256 certificate and 0.8 ms with
//!   RSA-2048; verifying a chain of certificates takes what the chain makes it take.
//! - Short steps are computed in place: those of a server whose keys are all ECDSA or Ed25519 and that asks for no
//!   client certificate. A stripe computes one at a time, after everything that takes less, and lets at most eight
//!   wait.
//! - All others are computed on threads of their own, `longshore-handshakes`, which start when there is one to compute
//!   and end after five seconds without. A plain connection beside them waits for a share of the processor, not for a
//!   signature. So are those of a crowd beyond these eight, all those of clients, and of a rustls config that was
//!   handed over.
//! - Everything after the handshake runs where the plain connections run.
//! - An idle connection holds 8.2 KB (TLS 1.2) or 8.4 KB (TLS 1.3) of a server's memory, a plain one 0.4 KB, measured
//!   over 1,500 connections that had echoed 100 bytes or 16 KiB: rustls's state, and no buffer.
//!
//! # Crypto provider
//!
//! Always passed to rustls explicitly, never the process default: ring with the feature `ring`, else aws-lc-rs with the
//! feature `aws-lc-rs`; with both, ring. An embedder's own rustls config keeps the provider it was built with.

mod cert_manager;
mod cert_set;
mod cert_source;
mod checks;
mod client;
#[cfg(feature = "nats")]
mod ed25519;
mod error;
mod info;
mod key_log;
mod provider;
mod revocation;
mod roots;
mod server;
mod start;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verifier;
mod version;

pub use cert_manager::CertManager;
pub use cert_set::UnknownName;
pub use cert_source::CertSource;
pub(crate) use checks::{HANDSHAKE_LIMIT_BYTES, REFUSED_BY_RESOLVER};
pub use client::TlsClientOptions;
#[cfg(feature = "nats")]
pub(crate) use ed25519::Ed25519;
pub use error::{CertError, Origin, TlsError};
pub use info::TlsInfo;
pub use key_log::KeyLog;
pub use revocation::RevocationLists;
pub use roots::Roots;
pub use server::{ClientAuth, ServerResumption, TlsServerOptions};
pub(crate) use server::{ServerTls, Setup};
pub(crate) use start::Begin;
pub use start::StartTls;
pub(crate) use start::certified_name;
pub use version::TlsVersion;

/// The TLS library, in the version that the types of this module are of.
#[doc(no_inline)]
pub use rustls;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whatever happened to an earlier holder: every value behind these locks is replaced whole, never left half
/// written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
