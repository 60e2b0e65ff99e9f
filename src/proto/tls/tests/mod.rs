//! Machine against machine, in memory.

mod handshakes;
mod memory;
mod refusals;
mod scripts;
mod sending;
mod sessions;

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use super::pair::Pair;
use crate::tls::testing::{Authority, Issued, provider};
use crate::tls::{CertManager, ServerTls, TlsServerOptions};

const NAME: &str = "server.test";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// An authority and a server that it vouches for.
struct Site {
    authority: Authority,
    certs: CertManager,
}

impl Site {
    fn new() -> Self {
        let authority = Authority::new();
        let certs = authority.issue(NAME).manager();
        Self { authority, certs }
    }

    fn server(&self) -> Arc<ServerConfig> {
        self.server_with(TlsServerOptions::default())
    }

    fn server_with(&self, options: TlsServerOptions) -> Arc<ServerConfig> {
        ServerTls::new(Some(self.certs.clone()), options)
            .unwrap()
            .setup()
            .unwrap()
            .config
    }

    fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        self.client_with(version, None)
    }

    fn client_with(
        &self,
        version: &'static SupportedProtocolVersion,
        own: Option<&Issued>,
    ) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.authority.roots().store());
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(vec![own.der()], own.key_der())
                .unwrap(),
        }
    }

    fn pair(&self, version: &'static SupportedProtocolVersion) -> Pair {
        Pair::new(&Arc::new(self.client(version)), &self.server(), NAME)
    }

    /// A pair whose handshake is done.
    fn open_pair(&self, version: &'static SupportedProtocolVersion) -> Pair {
        let mut pair = self.pair(version);
        pair.run_until_quiet();
        assert_eq!((pair.client.completed, pair.server.completed), (1, 1));
        pair
    }
}

/// Writes all of it, transmitting as often as needed.
fn send(from: &mut super::pair::End, plain: &[u8]) {
    let mut rest = plain;
    while !rest.is_empty() {
        let taken = from.write(rest).unwrap();
        from.transmit(usize::MAX);
        rest = &rest[taken..];
    }
}

/// Bytes that show any loss, repetition or change of order.
fn data(count: usize) -> Vec<u8> {
    (0..count)
        .map(|index| (index * 31 / 8 + index) as u8)
        .collect()
}
