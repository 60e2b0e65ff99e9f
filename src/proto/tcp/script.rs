//! One plain connection driven by a script of arbitrary bytes: the body of a fuzz target, and of an ordinary test.
//!
//! The script is the peer, the socket, the owner and the clock: reads of any size, short writes, `WouldBlock`, errors,
//! the peer's end, sends, commands, time. Whatever it does, these hold:
//!
//! - Connected comes first and once; data comes in the order of the stream and is what the framing makes of it, under
//!   changes of the framing too; PeerFinished comes once, after all data; nothing but data that had been read comes
//!   after the end;
//! - there is one end, with a reason for which there was a cause, and after it the machine wants nothing;
//! - a reason that claims that everything was sent is true;
//! - bytes leave in the order in which they were accepted: sent, queued and dropped ones are all that were accepted;
//! - every loop ends, and a timer that was handled is not due again.

use std::io::{self, ErrorKind};

use super::*;
use crate::error::FrameError;
use crate::memory::buffer::BufferPool;
use crate::proto::framing::reference::one_shot;
use crate::proto::framing::{ByteOrder, HeaderFraming};
use crate::proto::script::Script;

/// What the quota cell would let wait.
const OUTPUT_LIMIT: usize = 8 * 1024;
const HIGH: u32 = 512;
const LOW: u32 = 128;

thread_local! {
    /// One pool for all runs of a thread: a new one costs more than a run.
    static POOL: BufferPool = BufferPool::new();
}

/// Runs one script. Panics if a promise is broken.
pub(crate) fn fuzz_connection(script: &[u8]) {
    let mut script = Script::new(script);
    let mut world = World::new(&mut script);
    while !script.is_over() {
        world.step(&mut script);
        world.check();
    }
    world.finish();
}

struct World {
    machine: Connection,
    now_ms: u64,
    // What the peer has sent and the machine has read while it was not closing.
    received: Vec<u8>,
    /// Where in `received` the first byte lies that was not given out.
    given: usize,
    framing: Arc<Framing>,
    frame_error: Option<FrameError>,
    peer_ended: bool,
    // What was accepted to be sent: byte i is `pattern(i)`.
    accepted: usize,
    sent: usize,
    /// Something may have made the machine refuse what is sent.
    shut: bool,
    has_write_failed: bool,
    // What the owner got.
    connected: bool,
    peer_finished: bool,
    /// Once ended, always ended.
    ended: Option<DisconnectReason>,
    /// Reasons there have been causes for.
    causes: Vec<DisconnectReason>,
    moved_ms: u64,
    /// Since when what is queued waits.
    waits_ms: u64,
}

fn pattern(index: usize) -> u8 {
    (index.wrapping_mul(2_654_435_761) >> 7) as u8
}

fn framing(kind: u8) -> Framing {
    match kind % 6 {
        0 => Framing::Raw,
        1 => Framing::Lines { max_length: 40 },
        2 => Framing::fixed(1 + usize::from(kind / 6)),
        3 => Framing::Delimiter {
            delimiter: b"aab".to_vec(),
            max_length: 300,
        },
        4 => Framing::header(
            HeaderFraming::default()
                .with_length_size(1)
                .with_header_size(1),
        ),
        _ => Framing::header(
            HeaderFraming::default()
                .with_length_size(2)
                .with_header_size(3)
                .with_length_position(1)
                .with_byte_order(ByteOrder::Little)
                .with_length_includes_header(true)
                .with_max_length(600),
        ),
    }
}

/// Error kinds of reads and writes; `Interrupted` and `WouldBlock` are no errors.
fn error_kind(byte: u8) -> ErrorKind {
    [
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
        ErrorKind::TimedOut,
        ErrorKind::OutOfMemory,
    ][usize::from(byte) % 4]
}

impl World {
    fn new(script: &mut Script<'_>) -> Self {
        let (kind, limits) = (script.byte(), script.byte());
        let framing = Arc::new(framing(kind));
        let when = |bit: u8, timeout: u64| (limits & bit != 0).then_some(timeout);
        let settings = Settings {
            framing: Arc::clone(&framing),
            pool: POOL.with(BufferPool::clone),
            read_buffer_size: 64 * 1024,
            output_limit: OUTPUT_LIMIT as u32,
            high_water_mark: HIGH,
            closes_on_overflow: true,
            reads_above_high: false,
            input_window: HIGH,
            window_follows_buffers: false,
            low_water_mark: LOW,
            half_open: limits & 1 != 0,
            close_on_full_mailbox: false,
            handshake_timeout: None,
            idle_timeout: when(2, 300),
            write_timeout: when(4, 200),
            frame_timeout: when(8, 100),
            close_timeout: 50,
            linger_timeout: 30,
            write_keep_alive: when(16, 70).map(|period| (period, vec![0; 3])),
        };
        Self {
            machine: Connection::new(Arc::new(settings), 1_000),
            now_ms: 1_000,
            received: Vec::new(),
            given: 0,
            framing,
            frame_error: None,
            peer_ended: false,
            accepted: 0,
            sent: 0,
            shut: false,
            has_write_failed: false,
            connected: false,
            peer_finished: false,
            ended: None,
            causes: Vec::new(),
            moved_ms: 1_000,
            waits_ms: 1_000,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 24 {
            0..=4 => {
                let count = script.byte();
                let bytes = script.bytes(usize::from(count));
                self.read(bytes);
            }
            // A long read, which the machine does not copy.
            5 => {
                let fill = script.byte();
                self.read(&vec![fill; script.amount()]);
            }
            6..=8 => self.send(script.amount()),
            9..=12 => self.transmit(&mut |offered| match script.byte() {
                0..=31 => Err(ErrorKind::WouldBlock.into()),
                32..=47 => Err(ErrorKind::Interrupted.into()),
                byte @ 48..=51 => Err(error_kind(byte).into()),
                52..=127 => Ok(offered),
                byte => Ok(offered.min(usize::from(byte - 128))),
            }),
            13..=15 => self.events(usize::from(script.byte())),
            16 => self.pass(script.amount() as u64),
            17 => self.end_of_peer(),
            18 => self.read_error(error_kind(script.byte())),
            19 => match script.byte() {
                byte @ 0..=127 => self.machine.pause(byte & 1 == 0, self.now_ms),
                byte => self.machine.set_owner_blocked(byte & 1 == 0, self.now_ms),
            },
            20 => self.reframe(script.byte()),
            21 => self.shutdown_write(),
            22 => self.close(),
            _ => match script.byte() {
                0..=31 => self.abort(),
                32..=95 => self.owner_handled_the_end(),
                96..=127 => self.machine.request_writable_event(),
                _ => self.pass(u64::from(script.byte())),
            },
        }
    }

    // ---- The peer ----

    fn read(&mut self, bytes: &[u8]) {
        if !self.machine.wants_read() || self.peer_ended || bytes.is_empty() {
            return;
        }
        let mut buffer = self.machine.settings.pool.copy_from_slice(bytes);
        let discarded = self.machine.is_closing();
        self.machine.receive(&mut buffer, self.now_ms);
        assert!(
            buffer.is_empty(),
            "bytes are left in the buffer that was read into"
        );
        self.moved_ms = self.now_ms;
        if !discarded {
            self.received.extend_from_slice(bytes);
        }
    }

    fn end_of_peer(&mut self) {
        if self.machine.wants_read() && !self.peer_ended {
            self.peer_ended = true;
            self.moved_ms = self.now_ms;
            self.causes.push(DisconnectReason::ClosedByPeer);
            self.machine.receive_end(self.now_ms);
        }
    }

    fn read_error(&mut self, kind: ErrorKind) {
        if self.machine.wants_read() && !self.peer_ended {
            self.peer_ended = true;
            self.shut = true;
            self.causes.push(DisconnectReason::from_io(kind));
            self.machine.fail(kind);
            assert!(
                self.machine.ended().is_some(),
                "a failed read ends the connection"
            );
        }
    }

    // ---- The socket's other side ----

    fn transmit(&mut self, take: &mut dyn FnMut(usize) -> io::Result<usize>) {
        let before = (self.sent, self.machine.output.len());
        let mut calls = before.1 + 1;
        let mut error = None;
        let (sent, now_ms) = (&mut self.sent, self.now_ms);
        let done = self.machine.transmit(
            |slices| {
                calls = calls.checked_sub(1).expect("writing does not end");
                let offered: usize = slices.iter().map(|slice| slice.len()).sum();
                assert!(offered > 0, "a write of nothing");
                let taken = match take(offered) {
                    Err(interrupted) if interrupted.kind() == ErrorKind::Interrupted => {
                        calls += 1;
                        return Err(interrupted);
                    }
                    Err(failed) => {
                        error = Some(failed.kind());
                        return Err(failed);
                    }
                    Ok(taken) => taken,
                };
                for byte in slices.iter().flat_map(|slice| slice.iter()).take(taken) {
                    assert_eq!(
                        *byte,
                        pattern(*sent),
                        "other bytes leave than were accepted"
                    );
                    *sent += 1;
                }
                Ok(taken)
            },
            now_ms,
        );
        assert_eq!(done.bytes, self.sent - before.0);
        if done.bytes > 0 {
            self.moved_ms = self.now_ms;
            self.waits_ms = self.now_ms;
        }
        match error {
            Some(ErrorKind::WouldBlock) => assert!(done.blocked),
            Some(kind) => {
                assert!(!done.blocked);
                self.write_failed(kind);
            }
            None => {
                assert_eq!(done.blocked, !self.machine.output.is_empty());
                assert_eq!(self.machine.output.len(), before.1 - done.bytes);
            }
        }
        self.shut_down_when_due();
        assert!(
            done.blocked || !self.machine.wants_transmit(),
            "the socket takes more, and nothing was given to it"
        );
    }

    fn write_failed(&mut self, kind: ErrorKind) {
        assert!(
            self.machine.output.is_empty(),
            "a failed write drops the output"
        );
        self.causes.push(DisconnectReason::from_io(kind));
        (self.shut, self.has_write_failed) = (true, true);
    }

    fn shut_down_when_due(&mut self) {
        if self.machine.shutdown_is_due() {
            assert_eq!(self.sent, self.accepted, "FIN before the bytes");
            self.machine.shutdown_done(self.now_ms);
            assert!(!self.machine.shutdown_is_due(), "a second FIN");
        }
    }

    // ---- The owner ----

    fn send(&mut self, bytes: usize) {
        // The quota cell: what was dropped stays counted.
        if self.accepted - self.sent + bytes > OUTPUT_LIMIT {
            return;
        }
        let data: Vec<u8> = (self.accepted..self.accepted + bytes)
            .map(pattern)
            .collect();
        let before = self.machine.output.len();
        self.machine.send(Buffer::from(data), self.now_ms);
        let queued = self.machine.output.len() - before;
        assert!(
            queued == bytes || queued == 0 && self.shut,
            "{queued} of {bytes} bytes are queued"
        );
        if before == 0 {
            self.waits_ms = self.now_ms;
        }
        self.accepted += queued;
    }

    fn events(&mut self, most: usize) {
        let mut bound = self.received.len() + 4;
        for _ in 0..most {
            bound = bound.checked_sub(1).expect("events do not end");
            let had_ended = self.machine.ended().is_some();
            let Some(event) = self.machine.next_event(self.now_ms) else {
                return self.nothing_is_left();
            };
            if !matches!(event, Event::Connected) {
                assert!(self.connected, "{event:?} before Connected");
            }
            match event {
                Event::Connected => assert!(
                    !std::mem::replace(&mut self.connected, true),
                    "connected twice"
                ),
                Event::Data(data) => {
                    assert!(!self.peer_finished, "data after PeerFinished");
                    self.take(&data);
                }
                Event::PeerFinished => {
                    assert!(self.peer_ended && !had_ended);
                    assert!(
                        !std::mem::replace(&mut self.peer_finished, true),
                        "finished twice"
                    );
                    self.nothing_is_left();
                    // What no frame was made of is gone.
                    self.given = self.received.len();
                }
                Event::Writable => {
                    assert!(!had_ended && !self.shut && self.machine.output.len() <= HIGH as usize);
                }
            }
        }
    }

    /// Compares one frame with what the framing makes of the bytes there are.
    fn take(&mut self, data: &[u8]) {
        assert!(
            self.frame_error.is_none(),
            "data after a frame that was refused"
        );
        let rest = &self.received[self.given..];
        let consumed = match &*self.framing {
            Framing::Lines { .. } => rest
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(usize::MAX, |end| end + 1),
            Framing::Delimiter { delimiter, .. } => data.len() + delimiter.len(),
            _ => data.len(),
        };
        assert!(
            consumed > 0 && consumed <= rest.len(),
            "a frame of {consumed} bytes out of {}",
            rest.len()
        );
        let expected = one_shot(&self.framing, &rest[..consumed]);
        assert_eq!(
            expected,
            (vec![data.to_vec()], Ok(0)),
            "another frame than the framing makes"
        );
        self.given += consumed;
    }

    /// The machine says that there is no event: so there is no frame, unless the stream is broken.
    fn nothing_is_left(&mut self) {
        let (frames, end) = one_shot(&self.framing, &self.received[self.given..]);
        if self.frame_error.is_some() {
            return;
        }
        assert_eq!(frames, Vec::<Vec<u8>>::new(), "a frame is withheld");
        if let Err(error) = end {
            self.causes.push(DisconnectReason::Frame(error.clone()));
            self.frame_error = Some(error);
            self.shut = true;
            assert!(
                self.machine.is_closing() || self.machine.ended().is_some(),
                "the stream goes on without framing"
            );
        }
    }

    fn reframe(&mut self, kind: u8) {
        // What was read is looked at under the old framing first, so that its errors are known.
        self.framing = Arc::new(framing(kind));
        self.machine.set_framing(Arc::clone(&self.framing));
    }

    fn shutdown_write(&mut self) {
        self.shut = true;
        self.machine.shutdown_write();
    }

    fn close(&mut self) {
        self.shut = true;
        self.causes.push(DisconnectReason::LocalClose);
        self.machine
            .close(DisconnectReason::LocalClose, self.now_ms);
    }

    fn abort(&mut self) {
        self.shut = true;
        self.causes.push(DisconnectReason::Abort);
        self.machine.end(DisconnectReason::Abort);
    }

    fn owner_handled_the_end(&mut self) {
        if self.peer_finished {
            self.shut = true;
            self.machine.peer_end_handled(self.now_ms);
        }
    }

    // ---- Time ----

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let is_due = self.machine.next_deadline() <= self.now_ms;
        let (before, queued) = (self.machine.ended().cloned(), self.machine.output.len());
        let (was_closing, state) = (self.machine.is_closing(), self.machine.state());
        let keep_alive = self.machine.handle_timeout(self.now_ms);
        assert!(
            self.machine.next_deadline() > self.now_ms,
            "a handled timer is due again"
        );
        if !is_due {
            assert!(
                !keep_alive && state == self.machine.state(),
                "an early call did something"
            );
        }
        if keep_alive {
            assert!(queued == 0 && !self.shut);
            self.send(3);
        }
        if let (false, EdgePhase::Closing(reason)) = (was_closing, self.machine.phase()) {
            let idle =
                *reason == DisconnectReason::IdleTimeout && self.moved_ms + 300 <= self.now_ms;
            assert!(
                idle || *reason == DisconnectReason::FrameTimeout,
                "closed by time with {reason}"
            );
            self.causes.push(reason.clone());
            self.shut = true;
        }
        if let (None, Some(reason)) = (before, self.machine.ended()) {
            let timed = match reason {
                DisconnectReason::SlowReader => queued > 0 && self.waits_ms + 200 <= self.now_ms,
                DisconnectReason::CloseTimeout => was_closing,
                reason => {
                    was_closing
                        || self.has_write_failed
                        || matches!(
                            reason,
                            DisconnectReason::IdleTimeout | DisconnectReason::FrameTimeout
                        )
                }
            };
            assert!(timed, "ended by time with {reason}");
            self.causes.push(reason.clone());
            self.shut = true;
        }
    }

    // ---- Always ----

    fn check(&mut self) {
        let machine = &self.machine;
        let queued = machine.output.len();
        let dropped = self.accepted - self.sent - queued;
        assert!(
            dropped == 0 || queued == 0 && self.shut,
            "{dropped} bytes are lost"
        );
        assert!(queued <= OUTPUT_LIMIT);
        assert!(machine.counters.bytes_out == self.sent as u64);
        assert!(
            !machine.wants_read()
                || machine.is_closing()
                || queued <= HIGH as usize
                || self.has_write_failed
        );
        if let Some(reason) = &self.ended {
            assert_eq!(
                machine.ended(),
                Some(reason),
                "the reason changed, or it lives again"
            );
        }
        let Some(reason) = machine.ended() else {
            return;
        };
        self.shut = true;
        assert!(
            self.causes.contains(reason),
            "ended with {reason:?}, and there was only {:?}",
            self.causes
        );
        assert!(!machine.wants_read() && !machine.wants_transmit() && !machine.shutdown_is_due());
        assert_eq!(
            (machine.next_deadline(), machine.output.len()),
            (u64::MAX, 0)
        );
        if matches!(
            reason,
            DisconnectReason::LocalClose | DisconnectReason::ClosedByPeer
        ) {
            assert_eq!(
                self.sent, self.accepted,
                "the end claims that everything was sent"
            );
        }
        self.ended.get_or_insert_with(|| reason.clone());
    }

    /// A peer that reads everything and then ends, an owner that listens and closes: the connection ends, in order.
    fn finish(mut self) {
        let had_trouble = self.shut;
        self.machine.pause(false, self.now_ms);
        for _ in 0..4 {
            self.events(usize::MAX);
            self.transmit(&mut Ok);
            self.check();
        }
        if !had_trouble && self.ended.is_none() && self.frame_error.is_none() {
            assert_eq!(
                self.sent, self.accepted,
                "the peer takes everything, and not everything was sent"
            );
        }
        self.close();
        self.transmit(&mut Ok);
        self.end_of_peer();
        self.check();
        assert!(
            self.ended.is_some(),
            "both sides have ended, and the connection has not: {:?}",
            self.machine
        );
        self.events(usize::MAX);
        self.check();
        assert!(self.connected);
        assert!(self.machine.next_event(self.now_ms).is_none());
        let pool = self.machine.settings.pool.clone();
        drop(self.machine);
        assert_eq!(pool.outstanding(), 0, "a buffer is lost");
    }
}
