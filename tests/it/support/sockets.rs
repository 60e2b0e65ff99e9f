//! Clients of the tests: sockets of the system, or simulated ones.

use std::cell::Cell;
use std::io::{Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

#[cfg(feature = "testing")]
use super::simulation::{self, ClientId, UdpId};
use super::{LIMIT, bounded};

/// A client: a socket of the system, or a simulated one.
#[derive(Debug)]
pub enum Client {
    System(TcpStream),
    #[cfg(feature = "testing")]
    Simulated {
        client: ClientId,
        /// Reads and writes wait.
        blocks: Cell<bool>,
    },
}

/// A client whose reads and writes end at the limit.
#[track_caller]
pub fn client(addr: SocketAddr) -> Client {
    try_client(addr).expect("a connection")
}

/// The same, or why there is no connection.
pub fn try_client(addr: SocketAddr) -> Result<Client> {
    #[cfg(feature = "testing")]
    if simulation::is_on() {
        return Ok(Client::Simulated {
            client: simulation::connect(addr)?,
            blocks: Cell::new(true),
        });
    }
    let stream = TcpStream::connect_timeout(&addr, LIMIT)?;
    bounded(&stream);
    Ok(Client::System(stream))
}

/// Closes with a reset instead of an orderly end.
pub fn reset(stream: impl Into<Client>) {
    let stream = match stream.into() {
        Client::System(stream) => stream,
        #[cfg(feature = "testing")]
        Client::Simulated { client, .. } => return client.reset(),
    };
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).expect("linger");
}

impl Client {
    /// The socket of the system.
    pub fn into_std(self) -> TcpStream {
        match self {
            Self::System(stream) => stream,
            #[cfg(feature = "testing")]
            Self::Simulated { .. } => panic!("this test needs a socket of the system"),
        }
    }

    pub fn local_addr(&self) -> Result<SocketAddr> {
        match self {
            Self::System(stream) => stream.local_addr(),
            #[cfg(feature = "testing")]
            Self::Simulated { client, .. } => {
                let addr = client.local_addr();
                addr.ok_or_else(|| std::io::ErrorKind::NotConnected.into())
            }
        }
    }

    /// Ends the sending side; no test of both networks ends the other one.
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        match self {
            Self::System(stream) => stream.shutdown(how),
            #[cfg(feature = "testing")]
            Self::Simulated { client, .. } => {
                assert_eq!(how, Shutdown::Write, "this needs a socket of the system");
                client.half_close();
                Ok(())
            }
        }
    }

    pub fn set_nonblocking(&self, is_nonblocking: bool) -> Result<()> {
        match self {
            Self::System(stream) => stream.set_nonblocking(is_nonblocking),
            #[cfg(feature = "testing")]
            Self::Simulated { blocks, .. } => {
                blocks.set(!is_nonblocking);
                Ok(())
            }
        }
    }
}

impl From<TcpStream> for Client {
    fn from(stream: TcpStream) -> Self {
        Self::System(stream)
    }
}

/// What only a socket of the system has.
impl Deref for Client {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        match self {
            Self::System(stream) => stream,
            #[cfg(feature = "testing")]
            Self::Simulated { .. } => panic!("this test needs a socket of the system"),
        }
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::System(stream) => stream,
            #[cfg(feature = "testing")]
            Self::Simulated { .. } => panic!("this test needs a socket of the system"),
        }
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Client {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        match self {
            Self::System(stream) => stream.read(into),
            #[cfg(feature = "testing")]
            Self::Simulated { client, blocks } => client.read(into, blocks.get()),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::System(stream) => stream.write(bytes),
            #[cfg(feature = "testing")]
            Self::Simulated { client, blocks } => client.write(bytes, blocks.get()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A datagram socket: of the system, or a simulated one.
#[derive(Debug)]
pub enum Udp {
    System(UdpSocket),
    #[cfg(feature = "testing")]
    Simulated(UdpId),
}

/// A UDP socket whose reads end at the limit.
pub fn udp_client() -> Udp {
    #[cfg(feature = "testing")]
    if simulation::is_on() {
        return Udp::Simulated(simulation::udp());
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    Udp::System(socket)
}

impl Udp {
    pub fn local_addr(&self) -> Result<SocketAddr> {
        match self {
            Self::System(socket) => socket.local_addr(),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => Ok(socket.local_addr()),
        }
    }

    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> Result<usize> {
        match self {
            Self::System(socket) => socket.send_to(data, to),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => socket.send_to(data, to),
        }
    }

    pub fn recv_from(&self, into: &mut [u8]) -> Result<(usize, SocketAddr)> {
        match self {
            Self::System(socket) => socket.recv_from(into),
            #[cfg(feature = "testing")]
            Self::Simulated(socket) => socket.receive(into),
        }
    }
}

/// What receives datagrams.
pub trait ReceiveFrom {
    fn receive_from(&self, into: &mut [u8]) -> Result<(usize, SocketAddr)>;
}

impl ReceiveFrom for UdpSocket {
    fn receive_from(&self, into: &mut [u8]) -> Result<(usize, SocketAddr)> {
        self.recv_from(into)
    }
}

impl ReceiveFrom for Udp {
    fn receive_from(&self, into: &mut [u8]) -> Result<(usize, SocketAddr)> {
        self.recv_from(into)
    }
}

/// What only a socket of the system has.
impl Deref for Udp {
    type Target = UdpSocket;

    fn deref(&self) -> &UdpSocket {
        match self {
            Self::System(socket) => socket,
            #[cfg(feature = "testing")]
            Self::Simulated(_) => panic!("this test needs a socket of the system"),
        }
    }
}
