//! [`UnixServer`] and [`UnixConnection`] are given to `spawn_meta` as they are, or with a session for each connection.

use super::serve::Serve;
use crate::actor::{Context, Session, SpawnMeta};
use crate::error::SpawnError;
use crate::id::Alias;
use crate::message::MessageTcpConnect;
use crate::net::tcp::{TcpConnection, TcpServer};
use crate::net::unix_stream::{UnixConnection, UnixServer};

impl SpawnMeta for UnixServer {
    fn spawn_in(self, cx: &mut Context<'_>) -> Result<Alias, SpawnError> {
        self.0.spawn_in(cx)
    }
}

impl SpawnMeta for UnixConnection {
    fn spawn_in(self, cx: &mut Context<'_>) -> Result<Alias, SpawnError> {
        self.0.spawn_in(cx)
    }
}

impl UnixServer {
    /// Gives each accepted connection a process of its own; see [`TcpServer::serve`](crate::TcpServer::serve).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// use longshore::{UnixServer, UnixServerOptions};
    ///
    /// struct Echo;
    ///
    /// impl Session for Echo {
    ///     fn received(
    ///         &mut self,
    ///         cx: &mut SessionContext<'_>,
    ///         input: &mut Buffer,
    ///     ) -> Result<(), Reason> {
    ///         cx.write(input.take());
    ///         Ok(())
    ///     }
    /// }
    /// # fn main() { inside(|cx| {
    /// let path = std::env::temp_dir()
    ///     .join(format!("longshore-echo-{}.sock", std::process::id()));
    /// let server = UnixServer::bind(path, UnixServerOptions::default())?;
    /// cx.spawn_meta(server.serve(|| Echo))?;
    /// # Ok(()) }) }
    /// ```
    pub fn serve<S, F>(self, factory: F) -> Serve<TcpServer, impl Fn(&MessageTcpConnect) -> S>
    where
        S: Session,
        F: Fn() -> S + Send + Sync + 'static,
    {
        self.0.serve(factory)
    }

    /// [`UnixServer::serve`] with a factory that sees who has connected.
    pub fn serve_with<S, F>(self, factory: F) -> Serve<TcpServer, F>
    where
        S: Session,
        F: Fn(&MessageTcpConnect) -> S + Send + Sync + 'static,
    {
        self.0.serve_with(factory)
    }
}

impl UnixConnection {
    /// Gives the connection a process of its own; see [`TcpConnection::serve`](crate::TcpConnection::serve).
    pub fn serve<S, F>(self, factory: F) -> Serve<TcpConnection, F>
    where
        S: Session,
        F: FnOnce() -> S + Send + 'static,
    {
        self.0.serve(factory)
    }
}
