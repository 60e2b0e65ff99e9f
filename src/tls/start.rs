//! Which side of TLS is started on a live connection, and with what.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::cert_manager::CertManager;
use super::client::TlsClientOptions;
use super::error::TlsError;
use super::server::{ServerTls, Setup, TlsServerOptions};

/// One side of TLS for [`Context::start_tls`](crate::Context::start_tls): built once, used for each
/// connection. A clone is cheap, and shares the sessions that can be resumed.
///
/// ```no_run
/// use longshore::tls::{CertManager, StartTls, TlsServerOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let certs = CertManager::from_pem_files("server.pem", "server.key")?;
/// let tls = StartTls::server(certs, TlsServerOptions::default())?;
/// # let _ = tls;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct StartTls(Arc<Side>);

#[derive(Debug)]
enum Side {
    Server(ServerTls),
    Client {
        options: TlsClientOptions,
        name: ServerName<'static>,
    },
}

/// What the machine of one handshake is made of.
pub(crate) enum Begin {
    Server(Setup),
    Client {
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        /// The certificate of the peer is not verified.
        is_insecure: bool,
    },
}

impl StartTls {
    /// The side that has the certificate. `certs` may be `None` if the options have a complete rustls config.
    ///
    /// [`TlsServerOptions::max_handshakes`] does not count here: the limit on connections does.
    ///
    /// # Errors
    ///
    /// An option is wrong, or certificates and options do not go together.
    pub fn server(
        certs: impl Into<Option<CertManager>>,
        options: TlsServerOptions,
    ) -> Result<Self, TlsError> {
        if let Some((option, problem)) = options.problem() {
            return Err(TlsError::Option { option, problem });
        }
        let tls = ServerTls::new(certs.into(), options)?;
        Ok(Self(Arc::new(Side::Server(tls))))
    }

    /// The side that asks for `host`, a DNS name or an IP address, and verifies the certificate for it. The name in the
    /// options goes first.
    ///
    /// # Errors
    ///
    /// An option is wrong, the options have no roots, or the name is none.
    pub fn client(host: &str, options: TlsClientOptions) -> Result<Self, TlsError> {
        if let Some((option, problem)) = options.problem() {
            return Err(TlsError::Option { option, problem });
        }
        // Built here, so that wrong options are an error of this call and not of the first connection.
        options.config()?;
        let name = certified_name(options.server_name().unwrap_or(host));
        let name = TlsClientOptions::checked_name(&name)?;
        Ok(Self(Arc::new(Side::Client { options, name })))
    }

    /// What a handshake gets that begins now.
    pub(crate) fn begin(&self) -> Result<Begin, TlsError> {
        match &*self.0 {
            Side::Server(tls) => tls.setup().map(Begin::Server),
            Side::Client { options, name } => Ok(Begin::Client {
                config: options.config()?,
                name: name.clone(),
                is_insecure: options.is_insecure_skip_verify(),
            }),
        }
    }
}

/// The name that a certificate is checked against: a host without brackets, without the zone, which has a meaning on
/// this machine only, and without the mapping of an IPv4 address into IPv6.
pub(crate) fn certified_name(host: &str) -> String {
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = inside.unwrap_or(host);
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    address
        .parse::<IpAddr>()
        .map_or_else(|_| host.to_owned(), |ip| ip.to_canonical().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_to_verify_has_neither_brackets_nor_a_zone() {
        for (host, expected) in [
            ("a.test", "a.test"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("fe80::1%2", "fe80::1"),
            ("[fe80::1%lo]", "fe80::1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(certified_name(host), expected);
        }
    }

    #[test]
    fn wrong_name_and_wrong_options_are_refused_at_once() {
        let insecure = TlsClientOptions::default().with_insecure_skip_verify(true);
        assert!(StartTls::client("a.test", insecure.clone()).is_ok());
        for host in ["", "a b"] {
            let refused = StartTls::client(host, insecure.clone());
            assert!(matches!(refused, Err(TlsError::ServerName { .. })));
        }
        let refused = StartTls::client("a.test", TlsClientOptions::default());
        assert!(matches!(refused, Err(TlsError::NoRoots)));
        let refused = StartTls::client("a.test", insecure.with_alpn([""]));
        assert!(matches!(
            refused,
            Err(TlsError::Option { option: "alpn", .. })
        ));
        let refused = StartTls::server(None, TlsServerOptions::default());
        assert!(matches!(refused, Err(TlsError::NoCertificate)));
    }
}
