//! One-way bulk: write as fast as the server reads, then shut down writing and wait for its end of stream.
//!
//! The rate is what the kernel took within the window; the server's end of stream proves that it read all of it. There
//! is no echo, so no byte is compared.

use super::meter::Meter;
use super::pattern::Pattern;
use super::poller::{Interest, Poller};
use super::settings::Settings;
use serde_json::Value;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Runs the workload; the server must discard what it reads and close when the stream ends.
pub fn run(settings: &Settings) -> io::Result<Value> {
    let pattern = Pattern::usual();
    let mut poller = Poller::new()?;
    let mut sockets = Vec::with_capacity(settings.connections);
    for index in 0..settings.connections {
        let socket = TcpStream::connect(settings.addr)?;
        socket.set_nonblocking(true)?;
        poller.add(&socket, index, Interest::OUT)?;
        sockets.push((socket, 0_u64));
    }
    let mut meter = Meter::start(settings)?;
    while meter.tick(Instant::now())? {
        for number in 0..poller.wait(Duration::from_millis(20))? {
            let (index, _) = poller.event(number);
            let (socket, sent) = &mut sockets[index];
            let count = write_once(socket, pattern.stretch(*sent, settings.size_bytes))?;
            *sent += count as u64;
            meter.count_bytes(count);
        }
    }
    sockets
        .into_iter()
        .try_for_each(|(socket, _)| finish(&socket))?;
    meter.finish()
}

fn write_once(mut socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

fn finish(mut socket: &TcpStream) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.shutdown(Shutdown::Write)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    match socket.read(&mut [0; 64])? {
        0 => Ok(()),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "a sink answered")),
    }
}
