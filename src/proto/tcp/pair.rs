//! Two connections, plain or TLS, with the wires between them, driven by a script of arbitrary bytes: the body of a
//! fuzz target, and of an ordinary test.
//!
//! The script decides who sends, closes, pauses and aborts, how much of the output the sockets take, where the streams
//! are cut into reads, how time passes, and whether the wires are damaged. Whatever it does, these hold:
//!
//! - Connected comes first and once; what an owner gets is a prefix of what the other one had accepted;
//! - PeerFinished comes once, when everything has been given out that the other side had accepted;
//! - each side ends once; without damage, aborts and deadlines in order, with all bytes sent, and with a reason that
//!   says so;
//! - a socket that takes everything is not asked again for nothing, and a timer that was handled is not due again.

use std::io::ErrorKind;

use super::*;
use crate::memory::buffer::BufferPool;
use crate::proto::script::Script;

/// Runs one script. Panics if a promise is broken.
pub(crate) fn fuzz_pair(script: &[u8]) {
    let mut script = Script::new(script);
    let mut world = World::new(script.byte());
    while !script.is_over() {
        world.step(&mut script);
        world.check();
    }
    world.finish();
}

thread_local! {
    static POOL: BufferPool = BufferPool::new();
}

struct Side {
    machine: Connection,
    /// Bytes on their way to the other side, and whether FIN is behind them.
    wire: Vec<u8>,
    fin: bool,
    /// Byte i of what was accepted is `pattern(side, i)`.
    accepted: usize,
    got: usize,
    /// It has asked the machine to end its sending side.
    shut: bool,
    connected: bool,
    peer_finished: bool,
    ended: Option<DisconnectReason>,
    /// A step of the handshake that is computed elsewhere.
    lent: Option<Handshake>,
}

struct World {
    sides: [Side; 2],
    now_ms: u64,
    hostile: bool,
    /// Wires were damaged, a side aborted or gave up, or a deadline passed: not everything arrives.
    trouble: bool,
}

fn pattern(side: usize, index: usize) -> u8 {
    ((index + side * 1_000).wrapping_mul(2_654_435_761) >> 7) as u8
}

impl World {
    fn new(setup: u8) -> Self {
        let settings = Arc::new(Settings {
            framing: Arc::new(Framing::Raw),
            pool: POOL.with(BufferPool::clone),
            read_buffer_size: 64 * 1024,
            output_limit: 1 << 20,
            high_water_mark: 32 * 1024,
            closes_on_overflow: true,
            reads_above_high: false,
            input_window: 32 * 1024,
            window_follows_buffers: false,
            low_water_mark: 8 * 1024,
            half_open: false,
            close_on_full_mailbox: false,
            handshake_timeout: Some(400),
            idle_timeout: (setup & 16 != 0).then_some(500),
            write_timeout: Some(200),
            frame_timeout: None,
            close_timeout: 50,
            linger_timeout: 30,
            write_keep_alive: None,
        });
        let sides = machines(setup, &settings).map(|machine| Side {
            machine,
            wire: Vec::new(),
            fin: false,
            accepted: 0,
            got: 0,
            shut: false,
            connected: false,
            peer_finished: false,
            ended: None,
            lent: None,
        });
        // Most scripts leave the wires alone: a damaged session is soon over.
        let mut world = Self {
            sides,
            now_ms: 0,
            hostile: setup & 6 == 0,
            trouble: false,
        };
        if setup & 8 == 0 {
            world.run_until_quiet();
        }
        world
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let operation = script.byte();
        let side = usize::from(operation & 1);
        match (operation >> 1) % 24 {
            0..=3 => self.send(side, script.amount()),
            4..=7 => self.transmit(side, script.amount()),
            8..=11 => self.deliver(side, script.amount(), false),
            12 => self.deliver(side, script.amount(), true),
            13..=14 => self.events(side, usize::from(script.byte())),
            15 if operation & 128 == 0 => self.run_until_quiet(),
            15 => self.resume(side),
            16 => self.pass(script.amount() as u64),
            17 => self.sides[side]
                .machine
                .pause(script.byte() & 1 == 0, self.now_ms),
            18 => self.shutdown_write(side),
            19 => self.close(side),
            20 if self.hostile => self.tamper(side, script),
            21 if self.hostile => self.cut(side),
            22 if self.hostile => self.abort(side),
            _ => self.transmit(side, usize::MAX),
        }
    }

    // ---- The wires ----

    /// The socket of `side` takes at most `room` bytes.
    fn transmit(&mut self, side: usize, mut room: usize) {
        let other_is_gone = self.sides[1 - side].machine.ended().is_some();
        let now_ms = self.now_ms;
        let this = &mut self.sides[side];
        let wire = &mut this.wire;
        let mut calls = 10_000;
        let mut failed = false;
        let done = this.machine.transmit(
            |slices| {
                calls -= 1;
                assert!(calls > 0, "writing does not end");
                assert!(!this.fin, "a write after FIN");
                if other_is_gone {
                    failed = true;
                    return Err(ErrorKind::BrokenPipe.into());
                }
                if room == 0 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                let mut taken = 0;
                for slice in slices {
                    let part = slice.len().min(room);
                    wire.extend_from_slice(&slice[..part]);
                    (taken, room) = (taken + part, room - part);
                }
                Ok(taken)
            },
            now_ms,
        );
        this.shut |= failed;
        self.trouble |= failed;
        if this.machine.shutdown_is_due() {
            assert!(!this.fin, "a second FIN");
            this.fin = true;
            this.machine.shutdown_done(now_ms);
        }
        assert!(
            done.blocked || !this.machine.wants_transmit(),
            "the socket takes more, and nothing was given to it"
        );
    }

    /// The other side reads at most `bytes` of what `side` has sent; `offload`: what it computes for a handshake is
    /// done later.
    fn deliver(&mut self, side: usize, bytes: usize, offload: bool) {
        let is_gone =
            self.sides[side].ended.is_some() || self.sides[side].machine.ended().is_some();
        let [this, other] = self
            .sides
            .get_disjoint_mut([side, 1 - side])
            .expect("two sides");
        if !other.machine.wants_read() || bytes == 0 {
            return;
        }
        let count = bytes.min(this.wire.len()).min(64 * 1024);
        if count > 0 {
            let mut read = other
                .machine
                .settings
                .pool
                .copy_from_slice(&this.wire[..count]);
            this.wire.drain(..count);
            if offload
                && let Some(handshake) = other.machine.offload_handshake(&read, false, self.now_ms)
            {
                other.lent = Some(handshake);
                return;
            }
            other.machine.receive(&mut read, self.now_ms);
            assert!(read.is_empty());
        } else if this.fin {
            other.machine.receive_end(self.now_ms);
        } else if is_gone {
            self.trouble = true;
            other.machine.fail(ErrorKind::ConnectionReset);
        }
    }

    fn resume(&mut self, side: usize) {
        if let Some(mut handshake) = self.sides[side].lent.take() {
            handshake.run();
            self.sides[side]
                .machine
                .resume_handshake(handshake, self.now_ms);
        }
    }

    fn tamper(&mut self, side: usize, script: &mut Script<'_>) {
        let (at, bits) = (script.amount(), script.byte());
        // Plain bytes do not show damage.
        if self.sides[side].machine.is_tls()
            && let Some(byte) = self.sides[side].wire.get_mut(at)
            && bits != 0
        {
            *byte ^= bits;
            self.trouble = true;
        }
    }

    /// The stream ends here, whichever side ended it.
    fn cut(&mut self, side: usize) {
        if self.sides[side].machine.is_tls() {
            self.sides[side].wire.clear();
            self.sides[side].fin = true;
            self.trouble = true;
            self.abort(side);
        }
    }

    // ---- The owners ----

    fn send(&mut self, side: usize, bytes: usize) {
        let this = &mut self.sides[side];
        let before = this.machine.output.len();
        if before + bytes > 1 << 17 {
            return;
        }
        let data: Vec<u8> = (this.accepted..this.accepted + bytes)
            .map(|index| pattern(side, index))
            .collect();
        this.machine.send(Buffer::from(data), self.now_ms);
        let queued = this.machine.output.len() - before;
        let refuses = this.shut || this.machine.is_closing() || this.machine.ended().is_some();
        assert!(
            queued == bytes || queued == 0 && refuses,
            "{queued} of {bytes} bytes are queued"
        );
        this.accepted += queued;
    }

    fn events(&mut self, side: usize, most: usize) {
        let [this, other] = self
            .sides
            .get_disjoint_mut([side, 1 - side])
            .expect("two sides");
        for _ in 0..most {
            let Some(event) = this.machine.next_event(self.now_ms) else {
                return;
            };
            match event {
                Event::Connected => assert!(
                    !std::mem::replace(&mut this.connected, true),
                    "connected twice"
                ),
                _ if !this.connected => panic!("{event:?} before Connected"),
                Event::Data(data) => {
                    assert!(!this.peer_finished && !data.is_empty());
                    for byte in data.iter() {
                        assert_eq!(
                            *byte,
                            pattern(1 - side, this.got),
                            "other data came out than went in"
                        );
                        this.got += 1;
                    }
                    assert!(this.got <= other.accepted);
                }
                Event::PeerFinished => {
                    assert!(
                        !std::mem::replace(&mut this.peer_finished, true),
                        "finished twice"
                    );
                    let closing = this.machine.is_closing();
                    assert!(
                        closing || this.got == other.accepted,
                        "a clean end before the end"
                    );
                    if !closing {
                        // The owner handles it at once.
                        this.shut = true;
                        this.machine.peer_end_handled(self.now_ms);
                    }
                }
                Event::Writable => assert!(!this.shut),
            }
        }
    }

    fn shutdown_write(&mut self, side: usize) {
        self.sides[side].shut = true;
        self.sides[side].machine.shutdown_write();
    }

    fn close(&mut self, side: usize) {
        let this = &mut self.sides[side];
        this.shut = true;
        this.machine
            .close(DisconnectReason::LocalClose, self.now_ms);
        // It discards what the other side sends, and may give up the handshake.
        self.trouble |= !this.connected;
    }

    fn abort(&mut self, side: usize) {
        self.sides[side].machine.end(DisconnectReason::Abort);
        self.trouble = true;
    }

    // ---- Time ----

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for side in &mut self.sides {
            let is_due = side.machine.next_deadline() <= self.now_ms;
            let state = side.machine.state();
            side.machine.handle_timeout(self.now_ms);
            assert!(
                side.machine.next_deadline() > self.now_ms,
                "a handled timer is due again"
            );
            let changed = side.machine.state() != state;
            assert!(is_due || !changed, "an early call did something");
            self.trouble |= changed;
        }
    }

    // ---- Always ----

    fn check(&mut self) {
        let hung_up = self.sides.iter().any(|side| side.ended.is_some());
        for side in &mut self.sides {
            let machine = &side.machine;
            if let Some(reason) = &side.ended {
                assert_eq!(
                    machine.ended(),
                    Some(reason),
                    "the reason changed, or it lives again"
                );
            }
            let Some(reason) = machine.ended() else {
                assert!(
                    machine.queued() as u64 + machine.counters.bytes_out <= side.accepted as u64
                );
                continue;
            };
            side.shut = true;
            assert!(
                !machine.wants_read() && !machine.wants_transmit() && !machine.shutdown_is_due()
            );
            assert_eq!(
                (machine.next_deadline(), machine.output.len()),
                (u64::MAX, 0)
            );
            if matches!(
                reason,
                DisconnectReason::LocalClose | DisconnectReason::ClosedByPeer
            ) {
                assert_eq!(
                    machine.counters.bytes_out, side.accepted as u64,
                    "the end claims that all was sent"
                );
                // A handshake that was given up has none, and a peer that has hung up gets none.
                assert!(
                    side.fin || !side.connected || hung_up || self.trouble,
                    "an end in order without FIN"
                );
            } else {
                assert!(self.trouble, "ended with {reason} for no reason");
            }
            side.ended.get_or_insert_with(|| reason.clone());
        }
    }

    /// Moves bytes both ways until both sides are quiet.
    fn run_until_quiet(&mut self) {
        let mut bound = 1_000;
        loop {
            let before = self.summary();
            for side in 0..2 {
                self.resume(1 - side);
                self.transmit(side, usize::MAX);
                self.deliver(side, usize::MAX, false);
                self.events(1 - side, usize::MAX);
            }
            self.check();
            let wants_transmit = self.sides.iter().any(|side| side.machine.wants_transmit());
            if self.summary() == before && !wants_transmit {
                return;
            }
            bound -= 1;
            assert!(bound > 0, "they do not become quiet");
        }
    }

    fn summary(&self) -> [(usize, usize, usize, bool, &'static str); 2] {
        [0, 1].map(|side| {
            let this = &self.sides[side];
            (
                this.wire.len(),
                this.machine.queued(),
                this.got,
                this.fin,
                this.machine.state(),
            )
        })
    }

    /// Two owners that listen and close, two sockets that work: both connections end, in order if nothing was wrong.
    fn finish(mut self) {
        self.sides
            .iter_mut()
            .for_each(|side| side.machine.pause(false, self.now_ms));
        self.run_until_quiet();
        if !self.trouble {
            for side in 0..2 {
                let [this, other] = self
                    .sides
                    .get_disjoint_mut([side, 1 - side])
                    .expect("two sides");
                assert!(this.connected, "no trouble, and not connected");
                assert_eq!(
                    this.machine.counters.bytes_out, this.accepted as u64,
                    "not everything was sent"
                );
                assert!(
                    other.machine.is_closing()
                        || other.ended.is_some()
                        || other.got == this.accepted
                );
            }
        }
        self.close(0);
        self.run_until_quiet();
        self.close(1);
        self.run_until_quiet();
        // What the other side does not answer, time ends.
        let had_trouble = self.trouble;
        self.pass(1_000);
        self.pass(1_000);
        self.check();
        for side in &self.sides {
            assert!(
                side.ended.is_some(),
                "both have closed, and this has not ended: {:?}",
                side.machine
            );
        }
        if !had_trouble {
            assert!(!self.trouble, "it took a deadline to end");
        }
        let pool = POOL.with(BufferPool::clone);
        drop(self.sides);
        assert_eq!(pool.outstanding(), 0, "a buffer is lost");
    }
}

impl Connection {
    fn is_tls(&self) -> bool {
        self.is_encrypted
    }
}

#[cfg(not(feature = "tls"))]
fn machines(_setup: u8, settings: &Arc<Settings>) -> [Connection; 2] {
    [0; 2].map(|now_ms| Connection::new(Arc::clone(settings), now_ms))
}

#[cfg(feature = "tls")]
fn machines(setup: u8, settings: &Arc<Settings>) -> [Connection; 2] {
    if setup & 32 != 0 {
        return [0; 2].map(|now_ms| Connection::new(Arc::clone(settings), now_ms));
    }
    crate::proto::tls::fuzz_session(setup & 1 == 0)
        .map(|tls| Connection::with_tls(Arc::clone(settings), tls, 0))
}
