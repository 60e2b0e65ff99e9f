//! TCP: the listener, and the connection that both accepted and client sockets become.

mod accept;
mod client;
mod connection;
mod server;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod window;

pub use client::TcpConnection;
pub use server::TcpServer;
#[cfg(all(feature = "nats", feature = "tls"))]
pub(crate) use tls::StartTls;
