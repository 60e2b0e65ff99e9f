//! One connection to the server, plain or TLS, non-blocking after it was opened.
//!
//! The TLS client trusts any certificate and skips the check of its signature: the generator must be cheaper than the
//! server, and the server's identity does not matter here. Sessions are never resumed.

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, client::Resumption,
};
use std::io::{self, ErrorKind, Read, Write};
use std::{net::SocketAddr, net::TcpStream, sync::Arc, time::Duration};

/// A connection as the workloads see it.
pub trait Link: Sized {
    /// What all connections of a run share.
    type Shared: Clone;
    /// True if a read that gave less than was asked for has emptied the socket.
    const SHORT_READ_IS_EMPTY: bool;

    /// Builds what the connections share.
    fn shared() -> io::Result<Self::Shared>;
    /// Starts to use a connected, or connecting, non-blocking socket.
    fn begin(socket: TcpStream, shared: &Self::Shared) -> io::Result<Self>;
    /// The socket, for the poller.
    fn socket(&self) -> &TcpStream;
    /// Reads bytes of the application; 0 at the end of the stream.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;
    /// Takes as many bytes of the application as fit.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Sends what was taken; false if the socket is full.
    fn flush(&mut self) -> io::Result<bool>;

    /// Connects, waiting for it.
    fn open(addr: SocketAddr, shared: &Self::Shared) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Self::begin(socket, shared)
    }
}

/// Starts to connect without waiting; closing the socket resets the connection, so that no port stays in TIME-WAIT.
pub fn connect_later(addr: SocketAddr) -> io::Result<TcpStream> {
    let family = if addr.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &addr) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// A bare TCP connection.
#[derive(Debug)]
pub struct Plain(TcpStream);

impl Link for Plain {
    type Shared = ();
    const SHORT_READ_IS_EMPTY: bool = true;

    fn shared() -> io::Result<()> {
        Ok(())
    }

    fn begin(socket: TcpStream, (): &()) -> io::Result<Self> {
        Ok(Self(socket))
    }

    fn socket(&self) -> &TcpStream {
        &self.0
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }
}

/// A TLS connection.
#[derive(Debug)]
pub struct Tls {
    socket: TcpStream,
    session: ClientConnection,
}

impl Link for Tls {
    type Shared = Arc<ClientConfig>;
    const SHORT_READ_IS_EMPTY: bool = false;

    fn shared() -> io::Result<Self::Shared> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptEveryCertificate))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn begin(socket: TcpStream, shared: &Self::Shared) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").expect("a valid name");
        let session = ClientConnection::new(Arc::clone(shared), name).map_err(io::Error::other)?;
        Ok(Self { socket, session })
    }

    fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            self.session
                .process_new_packets()
                .map_err(io::Error::other)?;
            self.flush()?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.session.writer().write(bytes)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[derive(Debug)]
struct AcceptEveryCertificate;

impl ServerCertVerifier for AcceptEveryCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme::{ECDSA_NISTP256_SHA256, ED25519, RSA_PSS_SHA256};
        vec![ECDSA_NISTP256_SHA256, ED25519, RSA_PSS_SHA256]
    }
}
