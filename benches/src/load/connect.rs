//! Connections per second: connect, one message, its echo, close by reset; `depth` of them at a time.
//!
//! A reset leaves no port in TIME-WAIT. With TLS this counts full handshakes.

use super::link::{Link, connect_later};
use super::meter::Meter;
use super::pattern::Pattern;
use super::poller::{Interest, Poller};
use super::settings::Settings;
use serde_json::Value;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// A message of this workload is at most this long; it is read in one piece.
const MAX_MESSAGE_BYTES: usize = 16_384;

/// One connection between its first packet and its reset.
struct Visit<L> {
    link: L,
    began: Instant,
    sent: usize,
    received: usize,
}

/// Runs the workload.
pub fn run<L: Link>(settings: &Settings) -> io::Result<Value> {
    let pattern = Pattern::usual();
    let message = pattern.stretch(0, settings.size_bytes.min(MAX_MESSAGE_BYTES));
    let shared = L::shared()?;
    let mut poller = Poller::new()?;
    let mut meter = Meter::start(settings)?;
    let mut visits = Vec::with_capacity(settings.depth);
    for index in 0..settings.depth {
        visits.push(Visit::<L>::begin(settings, &shared, &poller, index)?);
    }
    while meter.tick(Instant::now())? {
        for number in 0..poller.wait(Duration::from_millis(20))? {
            let (index, flags) = poller.event(number);
            if visits[index].advance(flags, message, &poller, index)? {
                meter.count(message.len(), Some(visits[index].began.elapsed()));
                // Dropping the old visit closes its socket, and the linger time of zero makes that a reset.
                visits[index] = Visit::begin(settings, &shared, &poller, index)?;
            }
        }
    }
    meter.finish()
}

impl<L: Link> Visit<L> {
    fn begin(
        settings: &Settings,
        shared: &L::Shared,
        poller: &Poller,
        index: usize,
    ) -> io::Result<Self> {
        let began = Instant::now();
        let link = L::begin(connect_later(settings.addr)?, shared)?;
        poller.add(link.socket(), index, Interest::OUT)?;
        Ok(Self {
            link,
            began,
            sent: 0,
            received: 0,
        })
    }

    /// Writes and reads as far as the socket allows; true when the echo is complete.
    fn advance(
        &mut self,
        flags: Interest,
        message: &[u8],
        poller: &Poller,
        index: usize,
    ) -> io::Result<bool> {
        if self.sent < message.len() {
            self.sent += self.link.write(&message[self.sent..])?;
        }
        let flushed = self.link.flush()?;
        let done = flags.contains(Interest::IN) && self.receive(message)?;
        if !done && self.sent == message.len() && flushed {
            poller.modify(self.link.socket(), index, Interest::IN)?;
        }
        Ok(done)
    }

    fn receive(&mut self, message: &[u8]) -> io::Result<bool> {
        let mut buffer = [0; MAX_MESSAGE_BYTES];
        match self.link.read(&mut buffer[..message.len() - self.received]) {
            Ok(0) => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the server closed before its echo",
            )),
            Ok(count) if buffer[..count] != message[self.received..self.received + count] => Err(
                io::Error::new(ErrorKind::InvalidData, "wrong byte in an echo"),
            ),
            Ok(count) => {
                self.received += count;
                Ok(self.received == message.len())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
