//! TLS without the feature `tls`: the types that options, messages and errors name, and no value
//! behind them.
//!
//! The module is private then, so a program cannot name these types: the fields that have them are
//! always `None`, or a default that asks for nothing.
#![allow(
    dead_code,
    clippy::unused_self,
    clippy::missing_const_for_fn,
    reason = "the face is that of the real module, which constructs and changes what is only named here"
)]

/// No value has this type.
#[derive(Clone, Copy, Debug)]
enum Never {}

#[derive(Clone, Debug)]
pub struct CertManager(Never);

#[derive(Clone, Debug)]
pub struct TlsClientOptions(Never);

/// Asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct TlsServerOptions {
    pub(crate) max_handshakes: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct TlsInfo(Never);

#[derive(Clone, Debug)]
pub struct StartTls(Never);

#[derive(Clone, Debug, thiserror::Error)]
#[error("{0:?}")]
pub struct TlsError(Never);

#[derive(Clone, Debug, thiserror::Error)]
#[error("{0:?}")]
pub struct CertError(Never);

/// Without a crypto provider no key can be made.
#[derive(Clone)]
pub(crate) struct Ed25519(Never);

impl TlsClientOptions {
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        match self.0 {}
    }

    pub(crate) fn never(self) -> ! {
        match self.0 {}
    }

    pub(crate) fn has_certificate(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn server_name(&self) -> Option<&str> {
        match self.0 {}
    }

    pub(crate) fn with_server_name(self, _: impl Into<String>) -> Self {
        match self.0 {}
    }
}

impl TlsServerOptions {
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        None
    }
}

impl StartTls {
    pub(crate) fn client(_: &str, options: TlsClientOptions) -> Result<Self, TlsError> {
        options.never()
    }

    pub(crate) fn never(&self) -> ! {
        match self.0 {}
    }
}

impl TlsError {
    pub(crate) fn is_refusal(&self) -> bool {
        match self.0 {}
    }
}

impl Ed25519 {
    pub(crate) fn from_seed(_: &[u8; 32]) -> Option<Self> {
        None
    }

    pub(crate) fn public(&self) -> &[u8; 32] {
        match self.0 {}
    }

    pub(crate) fn sign(&self, _: &[u8]) -> Option<Vec<u8>> {
        match self.0 {}
    }
}
