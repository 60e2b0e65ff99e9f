//! Clients of a test: they talk to nodes over the simulated network, without a thread of their own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::world::World;
use crate::simulation::Site;
use crate::simulation::net::{Asked, DatagramSocket, Socket, StreamSocket};

/// How long a client waits for what it expects, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

/// How a connection has ended, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEnd {
    /// The server has closed it, or its sending side, in order.
    Closed,
    /// It was reset, or the attempt to connect failed.
    Failed(ErrorKind),
}

/// What a client has read and has to write.
#[derive(Debug)]
pub(super) struct ClientState {
    socket: Option<StreamSocket>,
    output: VecDeque<u8>,
    shuts_down: bool,
    closes: bool,
    input: Vec<u8>,
    is_reading: bool,
    end: Option<ClientEnd>,
}

impl ClientState {
    /// Writes and reads what can be written and read now.
    pub(super) fn progress(&mut self) {
        self.write();
        self.read();
    }

    fn write(&mut self) {
        let Some(socket) = &self.socket else { return };
        // The bytes wait for the end of the handshake, as those of a client that blocks would.
        if socket.is_connecting() {
            return;
        }
        while !self.output.is_empty() {
            let (first, second) = self.output.as_slices();
            match socket.write(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // What is left can never be written.
                    self.output.clear();
                    return self.fail(&error);
                }
            }
        }
        if std::mem::take(&mut self.shuts_down) {
            // It fails when the connection is gone, which reading reports.
            let _ = socket.shutdown_write();
        }
        // Behind the output, which the connection must take first.
        if std::mem::take(&mut self.closes) {
            self.socket = None;
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        while let Some(socket) = &self.socket
            && self.is_reading
            && self.end.is_none()
            && !socket.is_connecting()
        {
            match socket.read(&mut buffer) {
                Ok(0) => self.end = Some(ClientEnd::Closed),
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => self.fail(&error),
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        // What arrived before a reset can still be read.
        if error.kind() != ErrorKind::BrokenPipe {
            self.end.get_or_insert(ClientEnd::Failed(error.kind()));
        }
    }
}

/// A client's connection. It writes and reads by itself whenever the [`World`] runs; a drop closes it.
///
/// ```
/// use longshore::prelude::*;
/// use longshore::testing::TestNode;
///
/// struct Shout(Option<TcpServer>);
///
/// impl Actor for Shout {
///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
///         cx.spawn_meta(self.0.take().expect("once"))?;
///         Ok(())
///     }
///
///     fn handle_message(
///         &mut self,
///         cx: &mut Context<'_>,
///         _: Pid,
///         message: Message,
///     ) -> Result<(), Reason> {
///         if let Message::Tcp(packet) = message {
///             let loud = packet.data.to_ascii_uppercase();
///             if cx.send_alias(packet.id, MessageTcp::new(packet.id, loud)).is_err() {
///                 cx.close(packet.id)?;
///             }
///         }
///         Ok(())
///     }
/// }
///
/// let node = TestNode::seeded(1);
/// let server = TcpServer::bind("127.0.0.1:7000").expect("a simulated port");
/// node.spawn(|| Shout(Some(server))).expect("spawned");
/// let client = node.connect("127.0.0.1:7000".parse().expect("an address"));
/// client.write(b"hello");
/// client.expect(b"HELLO");
/// ```
#[derive(Debug)]
pub struct TestClient {
    world: World,
    token: u64,
    state: Rc<RefCell<ClientState>>,
}

impl TestClient {
    pub(super) fn connect(world: &World, site: &Site, addr: SocketAddr) -> Self {
        let socket = StreamSocket::connect(site, addr, None, Asked::default());
        Self::over(world, socket)
    }

    #[cfg(unix)]
    pub(super) fn connect_unix(world: &World, site: &Site, path: &std::path::Path) -> Self {
        let socket = StreamSocket::connect_unix(site, path, Asked::default());
        Self::over(world, socket)
    }

    fn over(world: &World, socket: io::Result<StreamSocket>) -> Self {
        let token = world.0.next_client.get();
        world.0.next_client.set(token + 1);
        let (socket, end) = match socket {
            Ok(socket) => {
                // A new socket is registered with nothing yet.
                let _ = socket.register(token);
                (Some(socket), None)
            }
            Err(error) => (None, Some(ClientEnd::Failed(error.kind()))),
        };
        let state = Rc::new(RefCell::new(ClientState {
            socket,
            output: VecDeque::new(),
            shuts_down: false,
            closes: false,
            input: Vec::new(),
            is_reading: true,
            end,
        }));
        world
            .0
            .clients
            .borrow_mut()
            .insert(token, Rc::clone(&state));
        Self {
            world: world.clone(),
            token,
            state,
        }
    }

    /// Writes bytes: now as far as the connection takes them, the rest as it takes more.
    pub fn write(&self, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        state.output.extend(bytes);
        state.write();
    }

    /// Bytes that were written and the connection has not taken yet.
    pub fn unwritten(&self) -> usize {
        self.state.borrow().output.len()
    }

    /// Runs until that many bytes have come, and takes them.
    ///
    /// # Panics
    ///
    /// When the connection ends before, or nothing comes for ten minutes of virtual time.
    #[track_caller]
    pub fn read(&self, length: usize) -> Vec<u8> {
        let state = &self.state;
        let is_enough = || state.borrow().input.len() >= length;
        self.world
            .run_for(PATIENCE, || is_enough() || state.borrow().end.is_some());
        if !is_enough() {
            let (got, end) = {
                let state = state.borrow();
                (state.input.len(), state.end)
            };
            panic!(
                "{got} of {length} bytes have come, and the connection {}\n{}",
                match end {
                    Some(end) => format!("is {end:?}"),
                    None => "is open".to_owned(),
                },
                self.world.trace(40)
            );
        }
        let rest = state.borrow_mut().input.split_off(length);
        std::mem::replace(&mut state.borrow_mut().input, rest)
    }

    /// Runs until these bytes have come, and takes them.
    ///
    /// # Panics
    ///
    /// When others come, and as [`TestClient::read`].
    #[track_caller]
    pub fn expect(&self, bytes: &[u8]) {
        let got = self.read(bytes.len());
        assert_eq!(
            String::from_utf8_lossy(&got),
            String::from_utf8_lossy(bytes),
            "other bytes have come"
        );
    }

    /// Runs until the connection ends, and gives what came before and how it has ended.
    ///
    /// # Panics
    ///
    /// When it is still open after ten minutes of virtual time.
    #[track_caller]
    pub fn read_to_end(&self) -> (Vec<u8>, ClientEnd) {
        self.world.run_for(PATIENCE, || self.end().is_some());
        let end = self.end();
        let Some(end) = end else {
            panic!("the connection is still open\n{}", self.world.trace(40));
        };
        (self.take_received(), end)
    }

    /// Takes what has come.
    pub fn take_received(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.borrow_mut().input)
    }

    /// Whether the connection is there: the attempt has succeeded, and it has not ended.
    pub fn is_connected(&self) -> bool {
        let state = self.state.borrow();
        let socket = state.socket.as_ref();
        state.end.is_none() && socket.is_some_and(|socket| !socket.is_connecting())
    }

    /// Bytes that have come and were not taken.
    pub fn available(&self) -> usize {
        self.state.borrow().input.len()
    }

    /// How the connection has ended, if it has and the client reads.
    pub fn end(&self) -> Option<ClientEnd> {
        self.state.borrow().end
    }

    /// Ends the client's side when everything is written; it can still read.
    pub fn half_close(&self) {
        let mut state = self.state.borrow_mut();
        state.shuts_down = true;
        state.write();
    }

    /// Closes the connection when everything is written. If the client has not read what has arrived, that is a reset,
    /// as for every socket.
    pub fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.closes = true;
        state.write();
    }

    /// Resets the connection.
    pub fn reset(&self) {
        let mut state = self.state.borrow_mut();
        if let Some(socket) = state.socket.take() {
            // The socket is dropped at the end of the block, and this option makes a reset of its close.
            socket.reset_on_close();
        }
    }

    /// Reads nothing any more, so that the server's writes find full buffers.
    pub fn stop_reading(&self) {
        self.state.borrow_mut().is_reading = false;
    }

    /// Reads again.
    pub fn resume_reading(&self) {
        let mut state = self.state.borrow_mut();
        state.is_reading = true;
        state.read();
    }

    /// The address of the client, as its server sees it.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        let state = self.state.borrow();
        state.socket.as_ref()?.local_addr()?.ip()
    }

    /// The number of the connection, for [`NetControl::cut`](super::NetControl::cut).
    pub fn number(&self) -> Option<usize> {
        self.state.borrow().socket.as_ref()?.number()
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        // Out of the list first: the world serves every client in it.
        self.world.0.clients.borrow_mut().remove(&self.token);
        self.state.borrow_mut().socket = None;
    }
}

/// A client's datagram socket.
#[derive(Debug)]
pub struct TestUdp {
    world: World,
    socket: DatagramSocket,
}

impl TestUdp {
    pub(super) fn bind(world: &World, site: &Site) -> io::Result<Self> {
        // Dual-stack, so that one socket reaches nodes in both families.
        let any = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
        Ok(Self {
            world: world.clone(),
            socket: DatagramSocket::bind(site, any, Asked::default())?,
        })
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// What the socket says: the datagram is too long, or its address is not reachable.
    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(Some(to), data).map(drop)
    }

    /// Runs until a datagram comes, at most for that virtual time.
    pub fn receive(&self, time: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        let mut found = None;
        self.world.run_for(time, || {
            found = self.try_receive();
            found.is_some()
        });
        found
    }

    /// The next datagram, if one has come, and its sender.
    pub fn try_receive(&self) -> Option<(Vec<u8>, SocketAddr)> {
        // The length of a datagram is a field of 16 bits (RFC 768), so none is cut here.
        let mut buffer = vec![0; 65_536];
        let (length, from) = self.socket.receive(&mut buffer).ok()?;
        buffer.truncate(length);
        let from = from.ip()?;
        Some((
            buffer,
            // On a dual-stack socket an IPv4 sender has a mapped address (RFC 4291, 2.5.5.2), which would equal no
            // address that the test knows.
            SocketAddr::new(from.ip().to_canonical(), from.port()),
        ))
    }

    /// The address of the socket, as a node on the same host sees it.
    pub fn local_addr(&self) -> SocketAddr {
        let local = self.socket.local_addr().and_then(|local| local.ip());
        // The socket is bound to the unspecified address, to which nothing can be sent. Of it the port alone is of use.
        let port = local.map_or(0, |local| local.port());
        SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port))
    }
}
