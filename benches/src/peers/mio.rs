//! Plain mio: edge-triggered, one thread, one shared buffer.
//!
//! Reading stops at a short read, which epoll(7) allows; both interests are registered once. It always has one worker.

use super::{Mode, Options, Served, unsent::Unsent};
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token, event::Event};
use std::io::{self, ErrorKind, Read};

const LISTENER: Token = Token(usize::MAX);
const SHARED_BUFFER_BYTES: usize = 65_536;

/// Serves until the process is killed.
pub fn serve(options: Options) -> Served {
    options.require(&[Mode::Echo, Mode::Sink, Mode::Udp]);
    match options.mode {
        Mode::Udp => serve_udp(&options)?,
        _ => Server::new(&options)?.run()?,
    }
    Ok(())
}

struct Server<'a> {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    options: &'a Options,
}

struct Connection {
    socket: TcpStream,
    unsent: Unsent,
}

impl<'a> Server<'a> {
    fn new(options: &'a Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(options.addr)?;
        options.announce(listener.local_addr()?)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let buffer = vec![0; SHARED_BUFFER_BYTES];
        Ok(Self {
            poll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            buffer,
            options,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        loop {
            wait(&mut self.poll, &mut events)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    token => self.serve(token.0, event),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            socket.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.connections.len());
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut socket, Token(index), both)?;
            if index == self.connections.len() {
                self.connections.push(None);
            }
            self.connections[index] = Some(Connection {
                socket,
                unsent: Unsent::default(),
            });
        }
    }

    fn serve(&mut self, index: usize, event: &Event) {
        let Some(connection) = &mut self.connections[index] else {
            return;
        };
        if !matches!(
            connection.handle_event(event, &mut self.buffer, self.options),
            Ok(true)
        ) {
            self.connections[index] = None;
            self.free.push(index);
        }
    }
}

impl Connection {
    /// Serves one readiness event; false at the end of the stream.
    fn handle_event(
        &mut self,
        event: &Event,
        buffer: &mut [u8],
        options: &Options,
    ) -> io::Result<bool> {
        let waited = !self.unsent.is_empty();
        if waited {
            self.unsent.flush(&mut self.socket)?;
        }
        if event.is_readable() || waited {
            return self.answer_all(event.is_read_closed(), buffer, options);
        }
        Ok(true)
    }

    fn answer_all(
        &mut self,
        closed: bool,
        buffer: &mut [u8],
        options: &Options,
    ) -> io::Result<bool> {
        while self.unsent.is_empty() {
            let count = match self.socket.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            options.spin.work(&buffer[..count]);
            if options.echoes() {
                self.unsent.write(&mut self.socket, &buffer[..count])?;
            }
            if count < buffer.len() && !closed {
                break;
            }
        }
        Ok(true)
    }
}

/// Waits for events; there are none if a signal interrupted the wait.
fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    match poll.poll(events, None) {
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

fn serve_udp(options: &Options) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    let mut socket = UdpSocket::bind(options.addr)?;
    options.announce(socket.local_addr()?)?;
    poll.registry()
        .register(&mut socket, LISTENER, Interest::READABLE)?;
    let mut buffer = vec![0; SHARED_BUFFER_BYTES];
    loop {
        wait(&mut poll, &mut events)?;
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
