//! TCP: the listener, and the connection that both accepted and client sockets become.

mod accept;
mod client;
mod connection;
mod server;
#[cfg(feature = "tls")]
mod tls;

pub use client::TcpConnection;
pub use server::TcpServer;

use crate::proto::framing::Framing;

/// What an owner tells its connection besides data. Travels as a message to the alias, so it keeps its place among the
/// bytes sent before and after it.
#[derive(Clone, Debug)]
pub(crate) enum TcpCommand {
    Close,
    Abort,
    ShutdownWrite,
    PauseReading,
    ResumeReading,
    SetFraming(Framing),
    PauseAccepting,
    ResumeAccepting,
}
