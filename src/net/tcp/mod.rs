//! TCP: the listener, and the connection that both accepted and client sockets become.

mod connection;
mod connector;
mod credit;
mod handshakes;
mod limits;
mod listener;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod window;

pub use connector::TcpConnection;
pub use listener::TcpServer;

/// What is wrong with an option that names owners, together with `serve`.
const HAS_AN_OWNER: &str = "cannot be combined with `serve`: each connection has its own process";
