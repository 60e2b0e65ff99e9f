//! The echo loop over a fixed set of connections: keep `depth` messages in flight on each, compare what comes back.
//!
//! Slow connections are part of the same set; their replies are compared but do not count. Nothing is reconnected: a
//! server that closes or resets ends the run with an error.

use super::link::Link;
use super::meter::Meter;
use super::pattern::Pattern;
use super::poller::{Interest, Poller};
use super::settings::Settings;
use crate::affinity;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

const READ_BYTES: usize = 65_536;

/// One connection with what it has sent and what came back.
#[derive(Debug)]
struct Conversation<L> {
    link: L,
    kind: Kind,
    sent: u64,
    received: u64,
    complete: u64,
    sent_at: VecDeque<Instant>,
    wanted: Interest,
    registered: Interest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counted,
    Slow,
}

/// What all conversations of a run use.
#[derive(Debug)]
struct Script {
    size: usize,
    depth: usize,
    usual: Pattern,
    slow: Pattern,
    buffer: Vec<u8>,
}

/// Runs the workload.
pub fn run<L: Link>(settings: &Settings) -> io::Result<Value> {
    let count = settings.connections + settings.slow_connections;
    affinity::allow_descriptors(count as u64 + 64);
    let mut script = Script::new(settings);
    let shared = L::shared()?;
    let mut poller = Poller::new()?;
    let mut conversations = Vec::with_capacity(count);
    for index in 0..count {
        let kind = if index < settings.connections {
            Kind::Counted
        } else {
            Kind::Slow
        };
        let conversation = Conversation::new(L::open(settings.addr, &shared)?, kind);
        poller.add(conversation.link.socket(), index, Interest::IN)?;
        conversations.push(conversation);
    }
    let mut meter = Meter::start(settings)?;
    for (index, conversation) in conversations.iter_mut().enumerate() {
        conversation.send(&script)?;
        conversation.watch(&poller, index)?;
    }
    while meter.tick(Instant::now())? {
        for number in 0..poller.wait(Duration::from_millis(20))? {
            let (index, flags) = poller.event(number);
            conversations[index].handle_event(flags, &mut script, &mut meter)?;
            conversations[index].watch(&poller, index)?;
        }
    }
    meter.finish()
}

impl Script {
    fn new(settings: &Settings) -> Self {
        Self {
            size: settings.size_bytes,
            depth: settings.depth,
            usual: Pattern::usual(),
            slow: Pattern::slow(settings.size_bytes),
            buffer: vec![0; READ_BYTES],
        }
    }
}

impl<L: Link> Conversation<L> {
    fn new(link: L, kind: Kind) -> Self {
        let sent_at = VecDeque::new();
        Self {
            link,
            kind,
            sent: 0,
            received: 0,
            complete: 0,
            sent_at,
            wanted: Interest::IN,
            registered: Interest::IN,
        }
    }

    fn handle_event(
        &mut self,
        flags: Interest,
        script: &mut Script,
        meter: &mut Meter,
    ) -> io::Result<()> {
        if flags.intersects(Interest::IN | Interest::HUP | Interest::ERR) {
            self.receive(script, meter)?;
        }
        self.send(script)
    }

    fn receive(&mut self, script: &mut Script, meter: &mut Meter) -> io::Result<()> {
        loop {
            let count = match self.link.read(&mut script.buffer) {
                Ok(0) => {
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "the server closed a connection",
                    ));
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.pattern(script)
                .compare(self.received, &script.buffer[..count])?;
            self.received += count as u64;
            self.complete_messages(script.size, meter);
            if L::SHORT_READ_IS_EMPTY && count < script.buffer.len() {
                return Ok(());
            }
        }
    }

    fn complete_messages(&mut self, size: usize, meter: &mut Meter) {
        let complete = self.received / size as u64;
        if complete == self.complete {
            return;
        }
        let now = Instant::now();
        for _ in self.complete..complete {
            let sent_at = self
                .sent_at
                .pop_front()
                .expect("more came back than was sent");
            match self.kind {
                Kind::Counted => meter.count(size, Some(now - sent_at)),
                Kind::Slow => meter.count_slow(),
            }
        }
        self.complete = complete;
    }

    fn send(&mut self, script: &Script) -> io::Result<()> {
        let depth = if self.kind == Kind::Slow {
            1
        } else {
            script.depth
        };
        let goal = (self.complete + depth as u64) * script.size as u64;
        if self.sent < goal {
            let unsent = depth - self.sent_at.len();
            self.sent_at
                .extend(std::iter::repeat_n(Instant::now(), unsent));
        }
        while self.sent < goal {
            let stretch = self
                .pattern(script)
                .stretch(self.sent, (goal - self.sent) as usize);
            match self.link.write(stretch) {
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let flushed = self.link.flush()?;
        self.wanted = match flushed && self.sent == goal {
            true => Interest::IN,
            false => Interest::IN | Interest::OUT,
        };
        Ok(())
    }

    /// Tells the poller if what this connection waits for has changed.
    fn watch(&mut self, poller: &Poller, index: usize) -> io::Result<()> {
        if self.wanted != self.registered {
            poller.modify(self.link.socket(), index, self.wanted)?;
            self.registered = self.wanted;
        }
        Ok(())
    }

    fn pattern<'a>(&self, script: &'a Script) -> &'a Pattern {
        match self.kind {
            Kind::Counted => &script.usual,
            Kind::Slow => &script.slow,
        }
    }
}
