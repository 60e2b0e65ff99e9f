//! The client of a counted server. It runs outside the server's process, so that it is not counted, and not under
//! valgrind.
//!
//! It sends in rounds: when every thread of the server sleeps, it sends one message on each connection (or this many
//! datagrams from one socket) and then waits for all echoes. While it sends a round of several messages the server is
//! stopped by a signal, so that its next poll finds all of them, as a busy server's does; how many it would find
//! otherwise is a race. The server sees the signal as one interrupted wait in each round.

use crate::load::batch::Batch;
use crate::load::link::{Link, Tls};
use crate::peers::Mode;
use crate::procfs;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread::yield_now;
use std::time::Duration;

const MESSAGE: [u8; 64] = [7; 64];
/// A server that is silent for this long has lost a message.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client does with messages of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Streams.
    Tcp {
        /// How many, each with one message in flight.
        connections: u64,
    },
    /// One stream inside TLS; its handshake is complete before anything is counted.
    Tls,
    /// Datagrams from one socket.
    Udp {
        /// How many are sent before the client waits; at most [`BATCH`](crate::load::batch::BATCH).
        in_flight: u64,
    },
}

/// A connected client of a server in another process.
#[expect(missing_debug_implementations, reason = "a batch has none")]
pub struct Asker {
    server_pid: u32,
    sockets: Sockets,
}

enum Sockets {
    Streams(Vec<TcpStream>),
    Tls(Box<Tls>),
    Datagrams(UdpSocket, Box<Batch>, usize),
}

impl Client {
    /// The mode of the server that it needs.
    pub fn mode(self) -> Mode {
        match self {
            Self::Tcp { .. } => Mode::Echo,
            Self::Tls => Mode::Tls,
            Self::Udp { .. } => Mode::Udp,
        }
    }

    /// Connects.
    pub fn connect(self, addr: SocketAddr, server_pid: u32) -> io::Result<Asker> {
        let sockets = match self {
            Self::Tcp { connections } => Sockets::Streams(
                (0..connections)
                    .map(|_| open(addr))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Tls => {
                let mut sockets = Sockets::Tls(Box::new(Tls::begin(open(addr)?, &Tls::shared()?)?));
                sockets.send()?;
                sockets.receive()?;
                sockets
            }
            Self::Udp { in_flight } => {
                let socket = UdpSocket::bind(("127.0.0.1", 0))?;
                socket.connect(addr)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                Sockets::Datagrams(socket, Box::default(), in_flight as usize)
            }
        };
        Ok(Asker {
            server_pid,
            sockets,
        })
    }
}

impl Asker {
    /// Sends `count` messages, which is a multiple of a round's, and waits for their echoes.
    pub fn ask(&mut self, count: u64) -> io::Result<()> {
        (0..count as usize / self.sockets.in_flight()).try_for_each(|_| {
            wait_for_rest(self.server_pid)?;
            match self.sockets.in_flight() {
                1 => self.sockets.send()?,
                _ => {
                    let stopped = Stopped::stop(self.server_pid)?;
                    self.sockets.send()?;
                    drop(stopped);
                }
            }
            self.sockets.receive()
        })
    }
}

/// Waits without a limit, because the server sleeps soon after the last answer of a round.
fn wait_for_rest(server_pid: u32) -> io::Result<()> {
    while !procfs::is_at_rest(server_pid)? {
        yield_now();
    }
    Ok(())
}

/// A child process that stays stopped until this guard is dropped.
struct Stopped(Pid);

impl Stopped {
    fn stop(child: u32) -> io::Result<Self> {
        let pid = Pid::from_raw(child as i32).ok_or(ErrorKind::InvalidInput)?;
        kill_process(pid, Signal::STOP)?;
        waitpid(Some(pid), WaitOptions::UNTRACED)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // The signal fails only if the process was killed; then the wait for the echoes reports it.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

impl Sockets {
    fn in_flight(&self) -> usize {
        match self {
            Self::Streams(sockets) => sockets.len(),
            Self::Tls(_) => 1,
            Self::Datagrams(_, _, in_flight) => *in_flight,
        }
    }

    fn send(&mut self) -> io::Result<()> {
        match self {
            Self::Streams(sockets) => sockets
                .iter_mut()
                .try_for_each(|socket| socket.write_all(&MESSAGE)),
            Self::Tls(link) => {
                link.write(&MESSAGE)?;
                link.flush().map(drop)
            }
            Self::Datagrams(socket, batch, count) => {
                (0..*count).for_each(|index| {
                    batch
                        .outgoing(index, MESSAGE.len())
                        .copy_from_slice(&MESSAGE)
                });
                match batch.send(socket, *count)? == *count {
                    true => Ok(()),
                    false => Err(io::Error::other(
                        "the socket's buffer is too small for a round",
                    )),
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        match self {
            Self::Streams(sockets) => sockets.iter_mut().try_for_each(|socket| {
                let mut reply = [0; MESSAGE.len()];
                socket.read_exact(&mut reply)?;
                compare(&reply)
            }),
            Self::Tls(link) => {
                let mut reply = [0; 2 * MESSAGE.len()];
                let length = link.read(&mut reply)?;
                compare(&reply[..length])
            }
            Self::Datagrams(socket, _, count) => (0..*count).try_for_each(|_| {
                let mut reply = [0; 2 * MESSAGE.len()];
                let length = socket.recv(&mut reply)?;
                compare(&reply[..length])
            }),
        }
    }
}

fn open(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn compare(reply: &[u8]) -> io::Result<()> {
    match reply == MESSAGE {
        true => Ok(()),
        false => Err(io::Error::new(
            ErrorKind::InvalidData,
            "wrong byte in an echo",
        )),
    }
}
