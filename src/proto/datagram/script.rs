//! One datagram socket driven by a script of arbitrary bytes: the body of a fuzz target, and of an ordinary test.
//!
//! Whatever the network, the socket and the owner do, these hold:
//!
//! - every datagram that was received is counted, and delivered whole or cut, with a flag that says so, or dropped;
//! - every datagram that was accepted is sent, failed or waiting; they leave in order, each with its own bytes and address;
//! - an error affects one datagram, and the error of an earlier one none;
//! - no error that stays keeps a loop busy.

use std::net::Ipv4Addr;

use super::*;
use crate::proto::script::Script;

thread_local! {
    static POOL: BufferPool = BufferPool::new();
}

/// Runs one script. Panics if a promise is broken.
pub(crate) fn fuzz_datagrams(script: &[u8]) {
    let mut script = Script::new(script);
    let (longest, is_connected) = (script.amount().max(1), script.byte() & 1 == 0);
    let mut world = World {
        machine: Datagrams::new(longest, is_connected),
        longest,
        pushed: Vec::new(),
        left: 0,
        expected: Counters::default(),
    };
    while !script.is_over() {
        match script.byte() % 8 {
            0..=1 => world.receive(&mut script),
            2 => world.fail_to_receive(&mut script),
            3..=4 => world.push(script.amount() % 5_000),
            _ => world.transmit(&mut script),
        }
        world.check();
    }
    world.finish();
}

struct World {
    machine: Datagrams,
    longest: usize,
    /// Datagrams that were accepted, and those that have left or failed: datagram i is `datagram(i)`.
    pushed: Vec<usize>,
    left: usize,
    expected: Counters,
}

/// The address and the bytes of a datagram: neighbours differ in all of them.
fn datagram(number: usize, length: usize) -> (SocketAddr, Vec<u8>) {
    let addr = SocketAddr::from((Ipv4Addr::from_bits(number as u32), 7));
    let mut bytes = vec![number as u8; length];
    if let Some(last) = bytes.last_mut() {
        *last ^= 0x80; // a piece from the middle is not the end
    }
    (addr, bytes)
}

/// Errors of sockets, those that the network reports later first.
fn error_kind(byte: u8) -> ErrorKind {
    [
        ErrorKind::ConnectionRefused,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkUnreachable,
        ErrorKind::PermissionDenied,
        ErrorKind::InvalidInput,
        ErrorKind::OutOfMemory,
    ][usize::from(byte) % 6]
}

impl World {
    fn receive(&mut self, script: &mut Script<'_>) {
        let (_, bytes) = datagram(usize::from(script.byte()), script.amount());
        let (data, is_truncated) = POOL.with(|pool| self.machine.received(&bytes, pool));
        assert_eq!(data, bytes[..bytes.len().min(self.longest)], "other bytes than were received");
        assert_eq!(is_truncated, data.len() < bytes.len());
        self.expected.messages_in += 1;
        self.expected.bytes_in += bytes.len() as u64;
        self.expected.truncated += u64::from(is_truncated);
        if script.byte() & 7 == 0 {
            self.machine.count_dropped();
            self.expected.dropped += 1;
        }
    }

    /// The same error again and again; the loop waits for news before it becomes a busy one.
    fn fail_to_receive(&mut self, script: &mut Script<'_>) {
        let (byte, times) = (script.byte(), script.byte());
        let error = error_kind(byte);
        match byte {
            0..=31 => assert_eq!(self.machine.receive_failed(ErrorKind::WouldBlock), AfterError::Wait),
            32..=63 => assert_eq!(self.machine.receive_failed(ErrorKind::Interrupted), AfterError::Continue),
            _ => {
                let mut in_a_row = 0;
                for _ in 0..times {
                    in_a_row += 1;
                    self.expected.receive_errors += 1;
                    match self.machine.receive_failed(error) {
                        AfterError::Report(told) => assert_eq!(told, error),
                        AfterError::ReportAndWait(told) => {
                            assert_eq!(told, error);
                            in_a_row = 0;
                        }
                        other => panic!("{other:?} after {error}"),
                    }
                    assert!(in_a_row < ERRORS_IN_A_ROW, "an error keeps the loop busy");
                }
            }
        }
    }

    fn push(&mut self, length: usize) {
        let (addr, bytes) = datagram(self.pushed.len(), length);
        self.pushed.push(length);
        self.machine.push(addr, POOL.with(|pool| pool.copy_from_slice(&bytes)));
    }

    /// The socket's answers, until it blocks or everything is gone.
    fn transmit(&mut self, script: &mut Script<'_>) {
        let mut earlier = false;
        loop {
            let byte = script.byte();
            let answer = match byte {
                0..=191 => Ok(0),
                192..=207 => Err(ErrorKind::WouldBlock),
                208..=215 => Err(ErrorKind::Interrupted),
                byte => Err(error_kind(byte)),
            };
            let (number, pushed) = (self.left, &self.pushed);
            let mut asked = false;
            let outcome = self.machine.transmit(|addr, data| {
                asked = true;
                let expected = datagram(number, pushed[number]);
                assert_eq!((addr, data), (expected.0, &expected.1[..]), "another datagram than is next");
                answer.map(|_| data.len()).map_err(io::Error::from)
            });
            assert_eq!(asked, number < pushed.len(), "nothing waits, or it is not tried");
            let length = pushed.get(number).copied().unwrap_or(0);
            match (outcome, answer) {
                (Transmitted::Idle, _) => return assert!(!asked),
                (Transmitted::Blocked, Err(ErrorKind::WouldBlock)) => return,
                (Transmitted::Again, Err(ErrorKind::Interrupted)) => continue,
                (Transmitted::Earlier(told), Err(error)) => {
                    assert_eq!((told, earlier), (error, false), "tried again and again");
                    self.expected.receive_errors += 1;
                    earlier = true;
                    continue;
                }
                (Transmitted::Sent { length: sent }, Ok(_)) => {
                    assert_eq!(sent, length);
                    self.expected.messages_out += 1;
                    self.expected.bytes_out += length as u64;
                }
                (Transmitted::Failed { addr, length: failed, error }, Err(answer)) => {
                    assert_eq!((addr, failed, error), (datagram(number, 0).0, length, answer));
                    self.expected.send_errors += 1;
                }
                (outcome, answer) => panic!("{outcome:?} after {answer:?}"),
            }
            self.left += 1;
            earlier = false;
        }
    }

    fn check(&self) {
        assert_eq!(self.machine.counters, self.expected);
        assert_eq!(self.machine.output.len(), self.pushed.len() - self.left, "a datagram is lost");
        assert_eq!(self.machine.wants_transmit(), self.left < self.pushed.len());
    }

    fn finish(mut self) {
        // Behind the end of a script the socket takes everything.
        self.transmit(&mut Script::new(&[]));
        self.check();
        assert_eq!(self.left, self.pushed.len());
        assert_eq!(POOL.with(BufferPool::outstanding), 0, "a buffer is lost");
    }
}
