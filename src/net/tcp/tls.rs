//! What turns TLS on: from options to machines.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use crate::net::options::{Host, TcpConnectionOptions, TcpServerOptions};
use crate::proto::tls::Tls;
use crate::record::{Kind, Level, Log};
use crate::tls::{Begin, ServerTls, Setup, StartTls, TlsClientOptions, TlsError};

/// The TLS of a listener.
#[derive(Debug)]
pub(super) struct ServerSide {
    tls: ServerTls,
    max_handshakes: Option<usize>,
}

impl ServerSide {
    /// `None`: the options ask for no TLS.
    pub(super) fn new(options: &TcpServerOptions) -> Result<Option<Self>, TlsError> {
        if options.cert_manager.is_none() && options.tls.is_default() {
            return Ok(None);
        }
        let tls = ServerTls::new(options.cert_manager.clone(), options.tls.clone())?;
        Ok(Some(Self {
            tls,
            max_handshakes: options.tls.max_handshakes,
        }))
    }

    /// The machine of one handshake.
    pub(super) fn accept(&self) -> Result<Tls, TlsError> {
        let Setup {
            config,
            is_moderate,
        } = self.tls.setup()?;
        Ok(Tls::server(config)?.with_moderate_steps(is_moderate))
    }

    /// Handshakes at once; `None` is no limit.
    pub(super) fn max_handshakes(&self) -> Option<usize> {
        self.max_handshakes
    }
}

/// The TLS of a client.
#[derive(Debug)]
pub(super) struct ClientSide {
    options: TlsClientOptions,
    name: ServerName<'static>,
}

impl ClientSide {
    /// `None`: the options ask for no TLS.
    pub(super) fn new(options: &TcpConnectionOptions) -> Result<Option<Self>, TlsError> {
        if options.tls.is_none() && options.cert_manager.is_none() && !options.insecure_skip_verify
        {
            return Ok(None);
        }
        let mut tls = options.tls.clone().unwrap_or_default();
        if let Some(certificate) = &options.cert_manager {
            tls = tls.with_certificate(certificate.clone());
        }
        if options.insecure_skip_verify {
            tls = tls.with_insecure_skip_verify(true);
        }
        // Built here, so that wrong options are an error of the connect and not of the attempt.
        tls.config()?;
        // The name of the options goes first: behind a tunnel the host connected to is not the one that is meant.
        let name = match tls.server_name() {
            Some(name) => Host::from(name).tls_name(),
            None => options.host.tls_name(),
        };
        let name = TlsClientOptions::checked_name(&name)?;
        Ok(Some(Self { options: tls, name }))
    }

    /// The machine of one handshake.
    pub(super) fn connect(&self) -> Result<Tls, TlsError> {
        Tls::client(Arc::clone(&self.options.config()?), self.name.clone())
    }

    /// Logs a warning if the certificate of the peer is not verified.
    pub(super) fn warn(&self, log: &Log, address: SocketAddr) {
        if self.options.is_insecure_skip_verify() {
            warn(log, address);
        }
    }
}

/// The machine of a handshake on a connection with `address` that was plain until now.
pub(super) fn start(side: &StartTls, log: &Log, address: SocketAddr) -> Result<Tls, TlsError> {
    match side.begin()? {
        Begin::Server(Setup {
            config,
            is_moderate,
        }) => Ok(Tls::server(config)?.with_moderate_steps(is_moderate)),
        Begin::Client {
            config,
            name,
            is_insecure,
        } => {
            if is_insecure {
                warn(log, address);
            }
            Tls::client(config, name)
        }
    }
}

/// Logs that the certificate of the peer is not verified.
fn warn(log: &Log, address: SocketAddr) {
    log.text(
        Level::Warn,
        Kind::Unverified,
        format_args!("insecure_skip_verify: the certificate of {address} is not checked"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_to_verify_is_the_host_unless_one_is_given() {
        let name = |host: &str, given: Option<&str>| {
            let mut tls = TlsClientOptions::default().with_insecure_skip_verify(true);
            if let Some(given) = given {
                tls = tls.with_server_name(given);
            }
            let options = TcpConnectionOptions::default()
                .with_host(host)
                .with_tls(tls);
            let side = ClientSide::new(&options).ok()??;
            Some(side.name.to_str().into_owned())
        };
        for (host, given, expected) in [
            ("a.test", None, Some("a.test")),
            ("127.0.0.1", None, Some("127.0.0.1")),
            ("[::1]", None, Some("::1")),
            ("::1", None, Some("::1")),
            ("fe80::1%2", None, Some("fe80::1")),
            ("::ffff:127.0.0.1", None, Some("127.0.0.1")),
            ("a.test", Some("b.test"), Some("b.test")),
            ("a.test", Some("[::1]"), Some("::1")),
            ("a.test", Some("[fe80::1%lo]"), Some("fe80::1")),
            ("a.test", Some(""), None),
            ("a.test", Some("a b"), None),
            ("", None, None),
        ] {
            assert_eq!(name(host, given).as_deref(), expected, "{host} {given:?}");
        }
    }
}
