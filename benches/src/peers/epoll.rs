//! A raw level-triggered epoll loop: the floor that all others are measured against.
//!
//! Each event costs one read and one write. The loop has one buffer and a slab of connections indexed by descriptor.
//! Several workers are several loops on one port. There are no timeouts and no limits.

use super::{Mode, Options, Served, listen, unsent::Unsent};
use crate::load::poller::{Interest, Poller};
use std::io::{self, ErrorKind, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::{thread, time::Duration};

const LISTENER: usize = usize::MAX;
const FOREVER: Duration = Duration::from_secs(3_600);
const SHARED_BUFFER_BYTES: usize = 65_536;

/// Serves until the process is killed.
pub fn serve(options: Options) -> Served {
    options.require(&[Mode::Echo, Mode::Sink, Mode::Udp]);
    if options.mode == Mode::Udp {
        return Ok(serve_udp(&options)?);
    }
    let listeners = listen::tcp_group(options.addr, options.workers)?;
    options.announce(listeners[0].local_addr()?)?;
    thread::scope(|scope| {
        let loops = listeners
            .into_iter()
            .map(|listener| scope.spawn(|| Loop::new(listener, &options)?.run()));
        let loops: Vec<_> = loops.collect();
        loops
            .into_iter()
            .try_for_each(|handle| handle.join().expect("a loop does not panic"))
    })?;
    Ok(())
}

struct Loop<'a> {
    poller: Poller,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
    options: &'a Options,
}

struct Connection {
    socket: TcpStream,
    unsent: Unsent,
}

impl<'a> Loop<'a> {
    fn new(listener: TcpListener, options: &'a Options) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER, Interest::IN)?;
        Ok(Self {
            poller,
            listener,
            connections: Vec::new(),
            buffer: vec![0; SHARED_BUFFER_BYTES],
            options,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            for number in 0..self.poller.wait(FOREVER)? {
                match self.poller.event(number) {
                    (LISTENER, _) => self.accept()?,
                    (index, flags) => self.serve(index, flags),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let index = socket.as_raw_fd() as usize;
            self.poller.add(&socket, index, Interest::IN)?;
            if self.connections.len() <= index {
                self.connections.resize_with(index + 1, || None);
            }
            self.connections[index] = Some(Connection {
                socket,
                unsent: Unsent::default(),
            });
        }
    }

    fn serve(&mut self, index: usize, flags: Interest) {
        let Some(connection) = &mut self.connections[index] else {
            return;
        };
        let waited = !connection.unsent.is_empty();
        let served = match waited && flags.contains(Interest::OUT) {
            true => connection
                .unsent
                .flush(&mut connection.socket)
                .map(|()| true),
            false => connection.answer(&mut self.buffer, self.options),
        };
        match served {
            Ok(true) => {
                let waits = !connection.unsent.is_empty();
                if waits != waited {
                    let interest = if waits { Interest::OUT } else { Interest::IN };
                    self.poller
                        .modify(&connection.socket, index, interest)
                        .expect("a registered socket");
                }
            }
            // Dropping the socket takes it out of the epoll set.
            Ok(false) | Err(_) => self.connections[index] = None,
        }
    }
}

impl Connection {
    /// Reads once and answers; false at the end of the stream.
    fn answer(&mut self, buffer: &mut [u8], options: &Options) -> io::Result<bool> {
        let count = match self.socket.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        options.spin.work(&buffer[..count]);
        if options.echoes() {
            self.unsent.write(&mut self.socket, &buffer[..count])?;
        }
        Ok(true)
    }
}

fn serve_udp(options: &Options) -> io::Result<()> {
    let socket = UdpSocket::bind(options.addr)?;
    socket.set_nonblocking(true)?;
    options.announce(socket.local_addr()?)?;
    let mut poller = Poller::new()?;
    poller.add(&socket, LISTENER, Interest::IN)?;
    let mut buffer = vec![0; SHARED_BUFFER_BYTES];
    loop {
        poller.wait(FOREVER)?;
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((count, from)) => {
                    options.spin.work(&buffer[..count]);
                    // A full send buffer loses the datagram, as a network would.
                    let _ = socket.send_to(&buffer[..count], from);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}
