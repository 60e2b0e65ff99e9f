//! One datagram socket driven by a script of arbitrary bytes: the body of a fuzz target, and of an ordinary test.
//!
//! Whatever the network, the socket and the owner do, these hold:
//!
//! - every datagram that was received is counted, and delivered whole or cut, with a flag that says so, or dropped;
//! - every datagram that was accepted is sent, failed or waiting; they leave in order, each with its own bytes and
//!   address;
//! - as many leave together as may, and no others; a socket that cannot cut them apart is asked once;
//! - an error affects one datagram, and the error of an earlier one, or of a batch, none;
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
    let (longest, socket) = (script.amount().max(1), script.byte());
    let (is_connected, cuts_batches) = (socket & 1 == 0, socket & 2 != 0);
    let mut world = World {
        machine: Datagrams::new(longest, is_connected, cuts_batches),
        longest,
        is_connected,
        cuts_batches,
        pushed: Vec::new(),
        left: 0,
        send_singly: 0,
        doubted: false,
        earlier: false,
        expected: DatagramCounters::default(),
    };
    while !script.is_over() {
        match script.byte() % 8 {
            0..=1 => world.receive(&mut script),
            2 => world.fail_to_receive(&mut script),
            3 => world.push(world.pushed.len(), script.amount() % 5_000),
            4 => world.push_run(&mut script),
            _ => world.transmit(&mut script),
        }
        world.check();
    }
    world.finish();
}

struct World {
    machine: Datagrams,
    longest: usize,
    is_connected: bool,
    cuts_batches: bool,
    /// Datagrams that were accepted, with their peer and length, and how many of them have left or failed.
    pushed: Vec<(usize, usize)>,
    left: usize,
    /// Those that were refused as a batch and have not left yet, and whether that speaks against batches.
    send_singly: usize,
    doubted: bool,
    /// The next has met the error of an earlier one.
    earlier: bool,
    expected: DatagramCounters,
}

fn peer(number: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(number as u32), 7))
}

/// The bytes of a datagram: neighbors differ in all of them.
fn datagram(number: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; length];
    if let Some(last) = bytes.last_mut() {
        *last ^= 0x80; // a piece from the middle is not the end
    }
    bytes
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

/// An answer to a send.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Taken,
    Kind(ErrorKind),
    /// The socket may not be able to cut a batch.
    CannotCut,
}

impl Answer {
    fn read(script: &mut Script<'_>) -> Self {
        match script.byte() {
            0..=191 => Self::Taken,
            192..=207 => Self::Kind(ErrorKind::WouldBlock),
            208..=215 => Self::Kind(ErrorKind::Interrupted),
            byte @ 216..=247 => Self::Kind(error_kind(byte)),
            _ => Self::CannotCut,
        }
    }

    fn to_result(self) -> io::Result<usize> {
        match self {
            Self::Taken => Ok(0),
            Self::Kind(kind) => Err(kind.into()),
            Self::CannotCut => Err(io::Error::from_raw_os_error(CANNOT_CUT[0])),
        }
    }

    fn kind(self) -> Option<ErrorKind> {
        self.to_result().err().map(|error| error.kind())
    }
}

impl World {
    fn receive(&mut self, script: &mut Script<'_>) {
        let bytes = datagram(usize::from(script.byte()), script.amount());
        let (data, is_truncated) = POOL.with(|pool| self.machine.received(&bytes, pool));
        assert_eq!(
            data,
            bytes[..bytes.len().min(self.longest)],
            "other bytes than were received"
        );
        assert_eq!(is_truncated, data.len() < bytes.len());
        self.expected.messages_in += 1;
        self.expected.bytes_in += bytes.len() as u64;
        self.expected.truncated += u64::from(is_truncated);
        if script.byte() & 7 == 0 {
            self.machine.count_dropped();
            self.expected.dropped += 1;
        }
    }

    /// The same error again and again; the loop waits for an event before it becomes a busy one.
    fn fail_to_receive(&mut self, script: &mut Script<'_>) {
        let (byte, times) = (script.byte(), script.byte());
        let error = error_kind(byte);
        match byte {
            0..=31 => assert_eq!(
                self.machine.receive_failed(ErrorKind::WouldBlock.into()),
                AfterError::Wait
            ),
            32..=63 => assert_eq!(
                self.machine.receive_failed(ErrorKind::Interrupted.into()),
                AfterError::Continue
            ),
            _ => {
                let mut in_a_row = 0;
                for _ in 0..times {
                    in_a_row += 1;
                    self.expected.receive_errors += 1;
                    match self.machine.receive_failed(error.into()) {
                        AfterError::Report(reported) => assert_eq!(reported, error),
                        AfterError::ReportAndWait(reported) => {
                            assert_eq!(reported, error);
                            in_a_row = 0;
                        }
                        other => panic!("{other:?} after {error}"),
                    }
                    assert!(in_a_row < ERRORS_IN_A_ROW, "an error keeps the loop busy");
                }
            }
        }
    }

    fn push(&mut self, to: usize, length: usize) {
        let bytes = datagram(self.pushed.len(), length);
        self.pushed.push((to, length));
        self.machine.push(
            peer(to),
            POOL.with(|pool| pool.copy_from_slice(&bytes)),
            LocalAddr::default(),
        );
    }

    /// Many of one length to the peer of the last one, and perhaps one of another length.
    fn push_run(&mut self, script: &mut Script<'_>) {
        let (byte, length) = (script.byte(), script.amount() % 5_000);
        let to = self.pushed.last().map_or(0, |(to, _)| *to);
        (0..byte & 127).for_each(|_| self.push(to, length));
        if byte >= 128 {
            self.push(to, script.amount() % 5_000);
        }
    }

    /// How many must leave together now.
    fn batch_len(&self) -> usize {
        let waiting = &self.pushed[self.left..];
        let Some((to, size)) = waiting.first() else {
            return 0;
        };
        if !self.cuts_batches || self.send_singly > 0 || *size == 0 || *size > batch::LONGEST {
            return 1;
        }
        let fits = |count: &usize| {
            let run = &waiting[..*count];
            let (last, others) = run.split_last().expect("one at least");
            (self.is_connected || run.iter().all(|(other, _)| other == to))
                && others.iter().all(|(_, length)| length == size)
                && (1..=*size).contains(&last.1)
                && run.iter().map(|(_, length)| length).sum::<usize>() <= batch::BYTES
                && count * size <= batch::BYTES
        };
        (1..=waiting.len().min(batch::DATAGRAMS))
            .take_while(fits)
            .last()
            .unwrap_or(1)
    }

    /// The socket's answers, until it blocks or everything is gone. A table with an arm for each outcome, longer than
    /// other functions so that it can be read as one.
    fn transmit(&mut self, script: &mut Script<'_>) {
        loop {
            let answer = Answer::read(script);
            let (first, count) = (self.left, self.batch_len());
            let mut given = 0;
            let outcome = self.machine.transmit(|batch| {
                given = batch.datagrams.len();
                assert_eq!(batch.addr, peer(self.pushed[first].0));
                for (number, data) in (first..).zip(batch.datagrams) {
                    let expected = datagram(number, self.pushed[number].1);
                    assert_eq!(&data[..], &expected[..], "another datagram than is next");
                }
                answer.to_result()
            });
            assert_eq!(
                given, count,
                "nothing waits, or it is not tried, or others leave batch_len than may"
            );
            match outcome {
                TransmitOutcome::Idle => return assert_eq!(count, 0),
                TransmitOutcome::Blocked => {
                    return assert_eq!(answer.kind(), Some(ErrorKind::WouldBlock));
                }
                TransmitOutcome::DeferredError(reported) => {
                    assert_eq!(
                        (Some(reported.kind()), self.earlier, self.is_connected),
                        (answer.kind(), false, true)
                    );
                    assert!(is_reported_later(reported.kind()));
                    self.expected.receive_errors += 1;
                    self.earlier = true;
                }
                TransmitOutcome::Again if answer.kind() == Some(ErrorKind::Interrupted) => {}
                TransmitOutcome::Again => {
                    assert!(
                        count > 1 && !matches!(answer, Answer::Taken),
                        "{answer:?} to {count}"
                    );
                    self.send_singly = count;
                    self.doubted = matches!(answer, Answer::CannotCut);
                }
                TransmitOutcome::Sent { counted } => {
                    assert!(matches!(answer, Answer::Taken), "sent after {answer:?}");
                    self.sent(count, counted);
                }
                TransmitOutcome::Failed {
                    addr,
                    length,
                    error,
                } => {
                    let (to, expected) = self.pushed[first];
                    assert_eq!(
                        (addr, length, Some(error.kind())),
                        (peer(to), expected, answer.kind())
                    );
                    assert_eq!(count, 1, "an error of many");
                    assert!(
                        self.earlier || !self.is_connected || !is_reported_later(error.kind()),
                        "not tried again"
                    );
                    self.expected.send_errors += 1;
                    self.leave(1);
                }
            }
        }
    }

    /// The socket has taken the next `count` datagrams, and the machine counted them as `counted` bytes.
    fn sent(&mut self, count: usize, counted: usize) {
        let lengths = || {
            self.pushed[self.left..self.left + count]
                .iter()
                .map(|(_, length)| *length)
        };
        assert_eq!(counted, lengths().map(datagram_bytes).sum::<usize>());
        self.expected.messages_out += count as u64;
        self.expected.bytes_out += lengths().sum::<usize>() as u64;
        self.cuts_batches &= !self.doubted;
        self.leave(count);
    }

    fn leave(&mut self, count: usize) {
        self.left += count;
        self.send_singly = self.send_singly.saturating_sub(count);
        (self.doubted, self.earlier) = (false, false);
    }

    fn check(&self) {
        assert_eq!(self.machine.counters, self.expected);
        assert_eq!(
            self.machine.output.len(),
            self.pushed.len() - self.left,
            "a datagram is lost"
        );
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
