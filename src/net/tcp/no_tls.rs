//! TLS of listeners and clients without the feature `tls`: the types and functions of `net::tcp::tls`, of which no
//! value can be made.

use std::net::SocketAddr;

use crate::error::ConfigError;
use crate::net::options::{TcpConnectionOptions, TcpServerOptions};
use crate::proto::tls::{Tls, TlsError};
use crate::record::Log;
use crate::tls::StartTls;

/// No value has this type.
#[derive(Debug)]
enum Never {}

#[derive(Debug)]
pub(super) struct ServerSide(Never);

#[derive(Debug)]
pub(super) struct ClientSide(Never);

impl ServerSide {
    pub(super) fn new(_: &TcpServerOptions) -> Result<Option<Self>, ConfigError> {
        Ok(None)
    }

    pub(super) fn accept(&self) -> Result<Tls, TlsError> {
        match self.0 {}
    }

    pub(super) fn max_handshakes(&self) -> Option<usize> {
        match self.0 {}
    }
}

impl ClientSide {
    pub(super) fn new(_: &TcpConnectionOptions) -> Result<Option<Self>, ConfigError> {
        Ok(None)
    }

    pub(super) fn connect(&self) -> Result<Tls, TlsError> {
        match self.0 {}
    }

    pub(super) fn warn(&self, _: &Log, _: SocketAddr) {
        match self.0 {}
    }
}

pub(super) fn start(side: &StartTls, _: &Log, _: SocketAddr) -> Result<Tls, TlsError> {
    side.never()
}
