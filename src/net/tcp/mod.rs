//! TCP: the listener, and the connection that both accepted and client sockets become.

mod accept;
mod client;
mod connection;
mod server;
#[cfg(feature = "tls")]
mod tls;

pub use client::TcpConnection;
pub use server::TcpServer;
