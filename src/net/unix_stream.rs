//! Streams in the file system: a listener and a connection whose addresses are paths.
//!
//! They are those of TCP with another socket: [`TcpServer`] and [`TcpConnection`] accept, read and write whatever the
//! family. Here are the constructors, which take options of their own.

use std::path::Path;

use super::options::{UnixConnectionOptions, UnixServerOptions};
use super::tcp::{TcpConnection, TcpServer};
use crate::error::{BindError, ConnectError};

/// A listener in the file system: a [`TcpServer`] whose address is a path.
///
/// Messages, limits, sessions and TLS are as with TCP; the addresses in messages are the unspecified one. There is no
/// reset: to the peer an abort looks like an orderly end.
///
/// Created, it holds its path; dropped, it removes the file. One that a killed program has left behind makes the
/// address be in use: [`remove_stale`](crate::UnixServerOptions::remove_stale) removes it. On Linux a path that begins
/// with a NUL byte is an abstract name, without a file; see unix(7).
///
/// ```
/// use longshore::{UnixServer, UnixServerOptions};
/// # fn main() -> Result<(), longshore::Error> {
/// let path = std::env::temp_dir()
///     .join(format!("longshore-doc-{}.sock", std::process::id()));
/// let server = UnixServer::bind(&path, UnixServerOptions::default())?;
/// assert!(path.exists());
/// drop(server);
/// assert!(!path.exists());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a server accepts nothing before `spawn_meta`"]
pub struct UnixServer(pub(crate) TcpServer);

impl UnixServer {
    /// Checks the options, then binds and listens on a path.
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field, before anything is bound; otherwise what the operating system says,
    /// for instance that the path exists.
    ///
    /// ```
    /// use longshore::{BindError, SocketOptions, UnixServer, UnixServerOptions};
    ///
    /// let options = UnixServerOptions::default()
    ///     .with_socket(SocketOptions::default().with_reuse_port(true));
    /// let Err(BindError::Option(error)) = UnixServer::bind("/run/x.sock", options) else {
    ///     panic!("a path has no port")
    /// };
    /// assert_eq!(error.field(), "reuse_port");
    /// ```
    pub fn bind(path: impl AsRef<Path>, options: UnixServerOptions) -> Result<Self, BindError> {
        let (options, file) = options.checked()?;
        TcpServer::bind_unix(path.as_ref(), options, file).map(Self)
    }

    /// Takes over a socket that is bound and listening already, for instance one handed over by a service manager. Its
    /// file is not removed at the end, and the options of the file and the backlog do not apply.
    ///
    /// # Errors
    ///
    /// [`BindError::Option`] names a wrong field; otherwise what the operating system says. A socket that does not
    /// listen is `InvalidInput`.
    ///
    /// ```
    /// use longshore::{UnixServer, UnixServerOptions};
    /// # fn main() -> Result<(), longshore::Error> {
    /// let path = std::env::temp_dir()
    ///     .join(format!("longshore-taken-{}.sock", std::process::id()));
    /// let listener = std::os::unix::net::UnixListener::bind(&path)?;
    /// let server = UnixServer::from_std(listener, UnixServerOptions::default())?;
    /// # drop(server);
    /// # let _ = std::fs::remove_file(path);
    /// # Ok(()) }
    /// ```
    pub fn from_std(
        listener: std::os::unix::net::UnixListener,
        options: UnixServerOptions,
    ) -> Result<Self, BindError> {
        let (options, _) = options.checked()?;
        TcpServer::from_std_unix(listener, options).map(Self)
    }
}

/// A connection to a path: a [`TcpConnection`] over a Unix domain socket.
///
/// Spawned, its owner gets a `MessageTcpConnect`, or a `MessageTcpDisconnect` that says why not. A server whose backlog
/// is full is tried again until `connect_timeout`.
///
/// ```no_run
/// use longshore::{UnixConnection, UnixConnectionOptions};
/// # fn main() -> Result<(), longshore::Error> {
/// let options = UnixConnectionOptions::default();
/// let connection = UnixConnection::connect("/run/service.sock", options)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a connection does nothing before `spawn_meta`"]
pub struct UnixConnection(pub(crate) TcpConnection);

impl UnixConnection {
    /// Checks the options and connects.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Option`] names a wrong field; [`ConnectError::Path`] says that there is no such socket, or that
    /// no program listens on it.
    ///
    /// ```
    /// use longshore::{ConnectError, UnixConnection, UnixConnectionOptions};
    ///
    /// let options = UnixConnectionOptions::default();
    /// let refused = UnixConnection::connect("/no/such/socket", options);
    /// assert!(matches!(refused, Err(ConnectError::Path { .. })));
    /// ```
    pub fn connect(
        path: impl AsRef<Path>,
        options: UnixConnectionOptions,
    ) -> Result<Self, ConnectError> {
        TcpConnection::connect_unix(path.as_ref(), options.checked()?).map(Self)
    }

    /// Takes over a socket that is connected already.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Option`] names a wrong field; otherwise what the operating system says.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// use longshore::{UnixConnection, UnixConnectionOptions};
    /// # fn main() { inside(|cx| {
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    /// cx.spawn_meta(UnixConnection::from_std(ours, UnixConnectionOptions::default())?)?;
    /// # Ok(()) }) }
    /// ```
    pub fn from_std(
        stream: std::os::unix::net::UnixStream,
        options: UnixConnectionOptions,
    ) -> Result<Self, ConnectError> {
        TcpConnection::from_std_unix(stream, options.checked()?).map(Self)
    }
}
