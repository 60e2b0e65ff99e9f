//! `relay_to`: a session is connected to somewhere else and relayed; and the deadline of a session.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::sync::mpsc;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{MessageRelayEnd, RelayFailure};

use crate::support::*;

on_both! {
    relay_begins_behind_the_answer_with_the_input_that_was_not_taken,
    every_failure_is_reported_and_another_target_can_be_tried,
    session_that_resumes_behind_a_failure_goes_on,
    session_that_closes_when_its_relay_would_begin_has_none,
    later_attempt_takes_the_place_of_an_earlier_one,
    attempt_that_is_made_when_the_relay_would_begin_takes_its_place,
    session_that_has_closed_gets_nothing_of_its_attempt,
    connection_that_is_handed_over_when_the_relay_would_begin_has_none,
    deadline_closes_a_session_and_can_be_taken_back,
    relay_takes_the_deadline_back,
}

/// What a [`Dialer`] has seen.
#[derive(Debug)]
enum Seen {
    Begins(SocketAddr),
    Failed(String),
    RelayEnded(MessageRelayEnd),
    Disconnected(DisconnectReason),
    /// A message that is not of its connection.
    Other(String),
}

/// Reads commands, a line each: `to ADDRESS`, which is also tried again after a failure with the next line, `echo
/// TEXT`, `deadline MILLISECONDS`, `both ADDRESSES`, `close ADDRESS`, which closes in the same turn, `again ADDRESS`, which
/// is tried once more when the relay would begin, `hand ADDRESS`, which hands the connection over then, and `close when begun`.
struct Dialer {
    seen: mpsc::Sender<Seen>,
    /// It resumes behind a failure.
    goes_on: bool,
    closes_when_begun: bool,
    dials_again: Option<String>,
    hands_over_to: Option<Pid>,
}

impl Dialer {
    fn handle_line(&mut self, cx: &mut SessionContext<'_>, line: &str) {
        match line.split_once(' ') {
            Some(("to", target)) => cx.relay_to(target),
            Some(("both", targets)) => {
                for target in targets.split(' ') {
                    cx.relay_to(target);
                }
            }
            Some(("close", target)) if target != "when begun" => {
                cx.relay_to(target);
                cx.close();
            }
            Some(("hand", target)) => {
                self.hands_over_to = cx.whereis("taker");
                cx.relay_to(target);
            }
            Some(("again", target)) => {
                self.dials_again = Some(target.to_owned());
                cx.relay_to(target);
            }
            Some(("echo", text)) => cx.write(format!("{text}\n")),
            Some(("deadline", "none")) => cx.set_deadline(None),
            Some(("deadline", ms)) => {
                let ms = ms.parse().expect("milliseconds");
                cx.set_deadline(Duration::from_millis(ms));
            }
            _ => self.closes_when_begun = true,
        }
    }

    fn note(&self, seen: Seen) {
        // The test may have ended.
        drop(self.seen.send(seen));
    }
}

impl Session for Dialer {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            let line = input.split_to(end + 1);
            self.handle_line(cx, &String::from_utf8_lossy(&line[..end]));
        }
        Ok(())
    }

    fn relay_begins(&mut self, cx: &mut SessionContext<'_>, upstream: &MessageTcpConnect) {
        self.note(Seen::Begins(upstream.remote_addr));
        cx.write("begins\n");
        if self.closes_when_begun {
            cx.close();
        }
        if let Some(target) = self.dials_again.take() {
            cx.relay_to(&target);
        }
        if let (Some(to), Some(own)) = (self.hands_over_to, cx.connection()) {
            cx.hand_over(own, to).expect("it owns the connection");
        }
    }

    fn relay_failed(&mut self, cx: &mut SessionContext<'_>, failure: &RelayFailure) {
        let kind = match failure {
            RelayFailure::Connect(_) => "connect",
            RelayFailure::Spawn(_) => "spawn",
            RelayFailure::Disconnected(_) => "disconnected",
            _ => "relay",
        };
        self.note(Seen::Failed(format!("{kind}: {failure}")));
        cx.write("failed\n");
        if self.goes_on {
            cx.resume();
        } else {
            cx.close();
        }
    }

    fn handle_message(&mut self, _: &mut SessionContext<'_>, _: Pid, message: Message) -> Handled {
        self.note(Seen::Other(format!("{message:?}")));
        Ok(())
    }

    fn relay_ended(&mut self, _: &mut SessionContext<'_>, end: &MessageRelayEnd) {
        self.note(Seen::RelayEnded(end.clone()));
    }

    fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
        self.note(Seen::Disconnected(without_number(end.reason.clone())));
    }
}

struct Echo;

impl Session for Echo {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        cx.write(input.take());
        Ok(())
    }
}

/// A node with a [`Dialer`] for each connection to `addr`, and an echo server.
struct World {
    node: Node,
    addr: SocketAddr,
    echo: SocketAddr,
    seen: mpsc::Receiver<Seen>,
    _probe: Probe,
}

impl World {
    fn new(goes_on: bool) -> Self {
        let node = node();
        let probe = Probe::spawn(&node);
        let dialer = TcpServer::bind("127.0.0.1:0").unwrap();
        let echo = TcpServer::bind("127.0.0.1:0").unwrap();
        let (addr, target) = (dialer.local_addr(), echo.local_addr());
        let (sender, seen) = mpsc::channel();
        probe.run(move |cx| {
            cx.spawn_meta(echo.serve(|| Echo)).unwrap();
            let dialer = dialer.serve(move || Dialer {
                seen: sender.clone(),
                goes_on,
                closes_when_begun: false,
                dials_again: None,
                hands_over_to: None,
            });
            cx.spawn_meta(dialer.with_input_limit(100)).unwrap();
        });
        Self {
            node,
            addr,
            echo: target,
            seen,
            _probe: probe,
        }
    }

    fn seen(&self) -> Seen {
        value_of(&self.seen).expect("something is seen")
    }

    fn failed(&self) -> String {
        match self.seen() {
            Seen::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    fn disconnected(&self) -> DisconnectReason {
        match self.seen() {
            Seen::Disconnected(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// An address where nothing listens.
    fn nowhere(&self) -> SocketAddr {
        TcpServer::bind("127.0.0.1:0").unwrap().local_addr()
    }

    /// Nothing is left but the process of the test and the two listeners.
    fn finish(self) {
        wait_for_count(&self.node, "processes", 1);
        wait_for_count(&self.node, "meta_processes", 2);
        stop_clean(&self.node);
        for seen in self.seen.try_iter() {
            if let Seen::Other(message) = seen {
                panic!("{message}");
            }
        }
    }
}

#[test]
fn relay_begins_behind_the_answer_with_the_input_that_was_not_taken() {
    let world = World::new(false);
    // More is left behind the command than a session may leave.
    for behind in [0, 1, 100, 5_000] {
        let mut stream = client(world.addr);
        let mut bytes = format!("to {}\n", world.echo).into_bytes();
        bytes.extend((0..behind).map(|at| (at % 251) as u8));
        stream.write_all(&bytes).unwrap();
        assert_eq!(read(&mut stream, 7), b"begins\n");
        stream.write_all(b"late").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let got = read_to_end(&mut stream);
        let expected = &bytes[bytes.len() - behind..];
        assert!(got == [expected, b"late"].concat(), "{behind}: {got:?}");
        assert!(matches!(world.seen(), Seen::Begins(addr) if addr == world.echo));
        match world.seen() {
            Seen::RelayEnded(end) => assert_eq!(end.first.forwarded as usize, behind + 4),
            other => panic!("{other:?}"),
        }
    }
    world.finish();
}

#[test]
fn every_failure_is_reported_and_another_target_can_be_tried() {
    let world = World::new(false);
    let nowhere = world.nowhere();
    for (target, expected) in [
        (nowhere.to_string(), "disconnected: not connected: connect"),
        (String::from("no port"), "connect: "),
        (String::from("127.0.0.1:0"), ""),
    ] {
        let mut stream = client(world.addr);
        stream
            .write_all(format!("to {target}\n").as_bytes())
            .unwrap();
        assert_eq!(read_to_end(&mut stream), b"failed\n", "{target}");
        let failure = world.failed();
        assert!(failure.starts_with(expected), "{target}: {failure}");
        assert_eq!(world.disconnected(), DisconnectReason::LocalClose);
    }
    world.finish();
}

#[test]
fn session_that_resumes_behind_a_failure_goes_on() {
    let world = World::new(true);
    let mut stream = client(world.addr);
    let nowhere = world.nowhere();
    let commands = format!(
        "to {nowhere}\nto no port\necho still here\nto {}\nand through it",
        world.echo
    );
    stream.write_all(commands.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&read_to_end(&mut stream)),
        "failed\nfailed\nstill here\nbegins\nand through it"
    );
    world.finish();
}

#[test]
fn session_that_closes_when_its_relay_would_begin_has_none() {
    let world = World::new(false);
    let mut stream = client(world.addr);
    let commands = format!("closes\nto {}\nthis goes nowhere", world.echo);
    stream.write_all(commands.as_bytes()).unwrap();
    assert_eq!(read_to_end(&mut stream), b"begins\n");
    assert!(matches!(world.seen(), Seen::Begins(_)));
    assert_eq!(world.disconnected(), DisconnectReason::LocalClose);
    world.finish();
}

#[test]
fn client_that_leaves_ends_the_attempt() {
    let world = World::new(false);
    let silent = Unaccepting::new();
    let mut stream = client(world.addr);
    stream
        .write_all(format!("to {}\n", silent.addr).as_bytes())
        .unwrap();
    wait_for_count(&world.node, "meta_processes", 4);
    reset(stream);
    assert_eq!(world.disconnected(), DisconnectReason::Reset);
    world.finish();
}

#[test]
fn later_attempt_takes_the_place_of_an_earlier_one() {
    let world = World::new(false);
    let mut stream = client(world.addr);
    let command = format!("both {} {}\n", world.echo, world.echo);
    stream.write_all(command.as_bytes()).unwrap();
    assert_eq!(read(&mut stream, 7), b"begins\n");
    exchange(&mut stream, b"once", b"once");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    assert!(matches!(world.seen(), Seen::Begins(_)));
    assert!(matches!(world.seen(), Seen::RelayEnded(_)));
    world.finish();
}

#[test]
fn attempt_that_is_made_when_the_relay_would_begin_takes_its_place() {
    let world = World::new(false);
    let mut stream = client(world.addr);
    let command = format!("again {}\nhere", world.echo);
    stream.write_all(command.as_bytes()).unwrap();
    assert_eq!(read(&mut stream, 18), b"begins\nbegins\nhere");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    assert!(matches!(world.seen(), Seen::Begins(_)));
    assert!(matches!(world.seen(), Seen::Begins(_)));
    assert!(matches!(world.seen(), Seen::RelayEnded(_)));
    world.finish();
}

#[test]
fn session_that_has_closed_gets_nothing_of_its_attempt() {
    let world = World::new(false);
    let mut stream = client(world.addr);
    let command = format!("close {}\n", world.echo);
    stream.write_all(command.as_bytes()).unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    // Its own connection waits for the end of this side, and the other one is established meanwhile.
    pass(Duration::from_millis(100));
    drop(stream);
    assert_eq!(world.disconnected(), DisconnectReason::LocalClose);
    world.finish();
}

#[test]
fn connection_that_is_handed_over_when_the_relay_would_begin_has_none() {
    let world = World::new(false);
    let taker = Probe::named(&world.node, "taker");
    let mut stream = client(world.addr);
    let command = format!("hand {}\nrest", world.echo);
    stream.write_all(command.as_bytes()).unwrap();
    assert_eq!(read(&mut stream, 7), b"begins\n");
    let id = taker.connect().id;
    assert_eq!(taker.bytes(4), b"rest");
    taker.write(id, "taken");
    assert_eq!(read(&mut stream, 5), b"taken");
    assert!(matches!(world.seen(), Seen::Begins(_)));
    taker.run(move |cx| cx.close(id)).expect("closed");
    assert_eq!(read_to_end(&mut stream), b"");
    drop(stream);
    assert_eq!(taker.disconnect().reason, DisconnectReason::LocalClose);
    world.node.send_exit(taker.pid, Reason::Shutdown).unwrap();
    world.finish();
}

#[test]
fn deadline_closes_a_session_and_can_be_taken_back() {
    let world = World::new(false);
    let mut late = client(world.addr);
    let mut stays = client(world.addr);
    late.write_all(b"deadline 1\ndeadline 100\necho written before\n")
        .unwrap();
    stays
        .write_all(b"deadline 50\ndeadline none\necho here\n")
        .unwrap();
    assert_eq!(read_to_end(&mut late), b"written before\n");
    assert_eq!(world.disconnected(), DisconnectReason::SessionTimeout);
    assert_eq!(read(&mut stays, 5), b"here\n");
    pass(Duration::from_millis(100));
    exchange(&mut stays, b"echo still\n", b"still\n");
    drop(stays);
    assert_eq!(world.disconnected(), DisconnectReason::LocalClose);
    world.finish();
}

#[test]
fn relay_takes_the_deadline_back() {
    let world = World::new(false);
    let mut stream = client(world.addr);
    let commands = format!("deadline 200\nto {}\n", world.echo);
    stream.write_all(commands.as_bytes()).unwrap();
    assert_eq!(read(&mut stream, 7), b"begins\n");
    pass(Duration::from_millis(300));
    exchange(&mut stream, b"still relayed", b"still relayed");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    world.finish();
}
