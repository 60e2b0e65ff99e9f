//! One connection of an echo workload: the messages that were issued, the bytes the socket has taken, and what came
//! back.
//!
//! ```text
//!  issue ─> issued ─ transmit ─> sent ─ server ─> received ─ whole messages ─> answered
//! ```
//!
//! A conversation does not decide when a message is issued: the closed loop issues one for each answer, the open loop
//! when the message is due. Nothing is reconnected: a server that closes or resets ends the run with an error.

use super::link::Link;
use super::pattern::Pattern;
use super::poller::{Interest, Poller};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::Instant;

const READ_BYTES: usize = 65_536;

/// What all conversations of a run share.
#[derive(Debug)]
pub struct Script {
    /// Bytes of a message.
    pub size: usize,
    usual: Pattern,
    slow: Pattern,
    buffer: Vec<u8>,
}

/// What the messages of a conversation ask the server for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An echo, which counts.
    Counted,
    /// An echo after the slow handler; it is compared and does not count.
    Slow,
}

/// One connection with its counters.
#[derive(Debug)]
pub struct Conversation<L> {
    link: L,
    /// What its messages ask for.
    pub kind: Kind,
    issued: u64,
    answered: u64,
    sent_bytes: u64,
    received_bytes: u64,
    /// When each message without an answer began, oldest first.
    begun: VecDeque<Instant>,
    wanted: Interest,
    registered: Interest,
}

impl Script {
    /// A script for messages of one size.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            usual: Pattern::usual(),
            slow: Pattern::slow(size),
            buffer: vec![0; READ_BYTES],
        }
    }
}

impl<L: Link> Conversation<L> {
    /// Starts with an open connection and adds it to the poller under `index`.
    pub fn begin(link: L, kind: Kind, poller: &Poller, index: usize) -> io::Result<Self> {
        poller.add(link.socket(), index, Interest::IN)?;
        Ok(Self {
            link,
            kind,
            issued: 0,
            answered: 0,
            sent_bytes: 0,
            received_bytes: 0,
            begun: VecDeque::new(),
            wanted: Interest::IN,
            registered: Interest::IN,
        })
    }

    /// Messages that were issued and have not come back.
    pub fn in_flight(&self) -> usize {
        self.begun.len()
    }

    /// When each message in flight began, oldest first.
    pub fn begun(&self) -> impl Iterator<Item = Instant> {
        self.begun.iter().copied()
    }

    /// Adds messages that begin at `at`; [`Conversation::transmit`] sends them.
    pub fn issue(&mut self, count: usize, at: Instant) {
        self.issued += count as u64;
        self.begun.extend(std::iter::repeat_n(at, count));
    }

    /// Reads if the flags say so, and calls `answer` for each message that came back, with its beginning and the
    /// present.
    ///
    /// # Errors
    ///
    /// If a byte is wrong, or if the server closed the connection.
    pub fn receive(
        &mut self,
        flags: Interest,
        script: &mut Script,
        mut answer: impl FnMut(Instant, Instant),
    ) -> io::Result<()> {
        if !flags.intersects(Interest::IN | Interest::HUP | Interest::ERR) {
            return Ok(());
        }
        loop {
            let count = match self.link.read(&mut script.buffer) {
                Ok(0) => {
                    let closed = "the server closed a connection";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, closed));
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let pattern = self.pattern(script);
            pattern.compare(self.received_bytes, &script.buffer[..count])?;
            self.received_bytes += count as u64;
            self.take_answers(script.size, &mut answer);
            if L::SHORT_READ_IS_EMPTY && count < script.buffer.len() {
                return Ok(());
            }
        }
    }

    fn take_answers(&mut self, size: usize, answer: &mut impl FnMut(Instant, Instant)) {
        let answered = self.received_bytes / size as u64;
        if answered == self.answered {
            return;
        }
        let now = Instant::now();
        for _ in self.answered..answered {
            let begun = self.begun.pop_front();
            answer(begun.expect("only what was sent comes back"), now);
        }
        self.answered = answered;
    }

    /// Sends what was issued, as far as the socket takes it, and watches for room if it does not take all.
    pub fn transmit(&mut self, script: &Script, poller: &Poller, index: usize) -> io::Result<()> {
        let goal = self.issued * script.size as u64;
        while self.sent_bytes < goal {
            let missing = (goal - self.sent_bytes) as usize;
            let stretch = self.pattern(script).stretch(self.sent_bytes, missing);
            match self.link.write(stretch) {
                Ok(count) => self.sent_bytes += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let flushed = self.link.flush()?;
        self.wanted = match flushed && self.sent_bytes == goal {
            true => Interest::IN,
            false => Interest::IN | Interest::OUT,
        };
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
