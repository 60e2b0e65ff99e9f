//! `relay_to`: a session is connected to somewhere else, and relayed.
//!
//! This is the place that names both: the session of the actors, and the sockets. The states stand on the page of
//! `actor::session::cold`.

use crate::actor::SessionContext;
use crate::message::RelayFailure;
use crate::net::options::TcpConnectionOptions;
use crate::net::tcp::TcpConnection;

impl SessionContext<'_> {
    /// Connects to somewhere else, and lets the two connections feed each other: all of a proxy behind its handshake.
    ///
    /// The input is paused from this call on; what was not taken goes to the other connection, first of all. When that
    /// is established, [`relay_begins`](crate::Session::relay_begins) is called, and then the relay begins, see
    /// [`Context::relay`](crate::Context::relay). Otherwise [`relay_failed`](crate::Session::relay_failed) is called,
    /// for every reason there may be, never inside of this call. A further call while an attempt is under way takes its
    /// place.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # use std::io::{Read, Write};
    /// # use std::net::SocketAddr;
    ///
    /// /// Connects each client to one upstream.
    /// struct Forward {
    ///     upstream: SocketAddr,
    /// }
    ///
    /// impl Session for Forward {
    ///     fn connected(
    ///         &mut self,
    ///         cx: &mut SessionContext<'_>,
    ///         _: &MessageTcpConnect,
    ///     ) -> Result<(), Reason> {
    ///         cx.relay_to(self.upstream);
    ///         Ok(())
    ///     }
    ///
    ///     fn received(
    ///         &mut self,
    ///         _: &mut SessionContext<'_>,
    ///         _: &mut Buffer,
    ///     ) -> Result<(), Reason> {
    ///         Ok(()) // the relay takes it
    ///     }
    /// }
    /// # struct Root(Option<TcpServer>, SocketAddr);
    /// # impl Actor for Root {
    /// #     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
    /// #         let (server, upstream) = (self.0.take().expect("init runs once"), self.1);
    /// #         cx.spawn_meta(server.serve(move || Forward { upstream }))?;
    /// #         Ok(())
    /// #     }
    /// # }
    /// # fn main() -> Result<(), longshore::Error> {
    /// # let node = Node::start("example@localhost")?;
    /// # let upstream = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let to = upstream.local_addr()?;
    /// # let server = TcpServer::bind("127.0.0.1:0")?;
    /// # let address = server.local_addr();
    /// # node.spawn(move || Root(Some(server), to))?;
    /// # let mut client = std::net::TcpStream::connect(address)?;
    /// # client.write_all(b"hello")?;
    /// # let mut bytes = [0; 5];
    /// # upstream.accept()?.0.read_exact(&mut bytes)?;
    /// # assert_eq!(&bytes, b"hello");
    /// # Ok(()) }
    /// ```
    pub fn relay_to(&mut self, options: impl Into<TcpConnectionOptions>) {
        let started = match TcpConnection::connect(options) {
            Ok(upstream) => self.spawn_meta(upstream).map_err(RelayFailure::Spawn),
            Err(error) => Err(RelayFailure::Connect(error)),
        };
        self.await_upstream(started);
    }
}
