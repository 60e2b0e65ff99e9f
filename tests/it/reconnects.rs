//! Client connections that are made anew when they are lost: the times, the bytes, and what ends them for good.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{
    ConnectError, DisconnectReason, HandOverError, MessageTcpReconnecting, ReconnectPolicy,
    RelayError, WriteErrorKind,
};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

impl Probe {
    #[track_caller]
    pub fn reconnecting(&self) -> Box<MessageTcpReconnecting> {
        match self.next().1 {
            Message::TcpReconnecting(lost) => lost,
            other => panic!("another message: {other:?}"),
        }
    }
}

pub fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let addr = listener.local_addr().expect("an address");
    (listener, addr)
}

/// Binds an address that was bound before; a connect to it may hold it for a moment.
pub fn bind_again(addr: SocketAddr) -> TcpListener {
    let mut bound = None;
    wait_until("the address to be free", || {
        bound = TcpListener::bind(addr).ok();
        bound.is_some()
    });
    bound.unwrap()
}

pub fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("accepted");
    bounded(&stream);
    stream
}

pub fn quick() -> ReconnectPolicy {
    ReconnectPolicy::default()
        .with_first(2 * MS)
        .with_max(16 * MS)
}

/// A wait that no test sits out.
pub fn long() -> ReconnectPolicy {
    let hour = Duration::from_secs(3_600);
    ReconnectPolicy::default()
        .with_first(hour)
        .with_max(hour)
        .with_jitter(0.0)
}

pub fn options(addr: SocketAddr, policy: ReconnectPolicy) -> TcpConnectionOptions {
    TcpConnectionOptions::from(addr).with_reconnect(policy)
}

#[test]
fn lost_connection_is_made_anew_under_its_alias() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    let id = probe.connect_to(options(addr, quick()));
    let mut first = accept(&listener);
    assert_eq!(probe.connect().attempt, 1);
    probe.write(id, "one");
    assert_eq!(read(&mut first, 3), b"one");
    first.write_all(b"answer").unwrap();
    assert_eq!(probe.bytes(6), b"answer");
    let begun = Instant::now();
    drop(first);
    let lost = probe.reconnecting();
    assert_eq!(
        (lost.id, &lost.reason),
        (id, &DisconnectReason::ClosedByPeer)
    );
    assert_eq!((lost.bytes_in, lost.bytes_out, lost.unsent), (6, 3, 0));
    assert_eq!(lost.attempt, 2);
    assert!((1..=2).contains(&lost.next_attempt.as_millis()), "{lost:?}");
    let mut second = accept(&listener);
    let connect = probe.connect();
    assert_eq!((connect.id, connect.attempt), (id, 2));
    assert!(begun.elapsed() + MS >= lost.next_attempt);
    probe.write(id, "two");
    assert_eq!(read(&mut second, 3), b"two");
    probe.run(move |cx| cx.close(id)).unwrap();
    // An end of the peer that met the close would be a loss first.
    assert_eq!(read_to_end(&mut second), b"");
    drop(second);
    let end = probe.disconnect();
    assert_eq!(
        (end.reason, end.bytes_out),
        (DisconnectReason::LocalClose, 3)
    );
    stop_clean(&node);
}

/// What a writer has had accepted and refused.
#[derive(Default)]
struct Written {
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Written {
    fn write(&self, cx: &mut Context<'_>, id: Alias, length: usize) {
        match cx.try_write(id, vec![b'x'; length]) {
            Ok(_) => self.accepted.fetch_add(length as u64, Ordering::Relaxed),
            Err(_) => self.refused.fetch_add(length as u64, Ordering::Relaxed),
        };
    }
}

/// Sends itself on, and writes each time.
struct Chatter {
    id: Alias,
    written: Arc<Written>,
    is_over: Arc<AtomicBool>,
}

struct Again;

impl Actor for Chatter {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        Ok(cx.send(cx.pid(), Again)?)
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(Reason::Normal);
        }
        self.written.write(cx, self.id, 1_000);
        Ok(cx.send(cx.pid(), Again)?)
    }
}

/// Serves 50 connections, each in another way, and stays away in between. Returns the bytes that it has read.
fn come_and_go(addr: SocketAddr, mut listener: Option<TcpListener>) -> u64 {
    let mut total = 0;
    for round in 0..50_u32 {
        let here = listener.take().unwrap_or_else(|| bind_again(addr));
        let mut stream = accept(&here);
        let mut bytes = vec![0; 100_000];
        for _ in 0..round % 5 {
            total += stream.read(&mut bytes).unwrap_or(0) as u64;
        }
        match round % 3 {
            0 => reset(stream),
            1 => drop(stream),
            _ => {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    total += read as u64;
                }
            }
        }
        if round % 4 != 0 {
            listener = Some(here);
        }
    }
    total
}

/// What became of the bytes of a connection whose server comes and goes.
#[derive(Debug)]
pub struct Account {
    pub connects: u32,
    out: u64,
    unsent: u64,
}

impl Account {
    /// Writes to the connection from two processes while its server comes and goes, which returns what it has read, and
    /// closes the account.
    pub fn keep(node: &Node, probe: &Probe, id: Alias, serving: JoinHandle<u64>) -> Self {
        let written = Arc::new(Written::default());
        let is_over = Arc::new(AtomicBool::new(false));
        let mut chatter = Some((Arc::clone(&written), Arc::clone(&is_over)));
        let mut account = Self {
            connects: 0,
            out: 0,
            unsent: 0,
        };
        let mut expected_ms = 2;
        while !serving.is_finished() {
            match probe.next().1 {
                Message::TcpConnect(connect) => {
                    account.connects += 1;
                    assert_eq!(connect.id, id);
                    let owner = Arc::clone(&written);
                    probe.run(move |cx| owner.write(cx, id, 300_000));
                    if let Some((written, is_over)) = chatter.take() {
                        let chatter = Chatter {
                            id,
                            written,
                            is_over,
                        };
                        node.spawn(move || chatter).unwrap();
                    }
                }
                Message::TcpReconnecting(lost) => {
                    account.lose(&lost);
                    check_wait(&lost, &mut expected_ms);
                }
                Message::TcpWritable(_) => {}
                other => panic!("{other:?}"),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let read = serving.join().unwrap();
        account.close(node, probe, id, &written, read);
        account
    }

    fn lose(&mut self, lost: &MessageTcpReconnecting) {
        self.out += lost.bytes_out;
        self.unsent += lost.unsent;
    }

    fn close(&mut self, node: &Node, probe: &Probe, id: Alias, written: &Written, read: u64) {
        probe.run(move |cx| cx.abort(id)).unwrap();
        let end = loop {
            match probe.next().1 {
                Message::TcpDisconnect(end) => break end,
                Message::TcpReconnecting(lost) => self.lose(&lost),
                _ => {}
            }
        };
        wait_for_count(node, "processes", 1);
        self.out += end.bytes_out;
        self.unsent += end.unsent;
        let accepted = written.accepted.load(Ordering::Relaxed);
        assert_eq!(self.out + self.unsent, accepted, "{self:?}");
        assert!(read <= self.out, "{read} bytes were read: {self:?}");
        assert_eq!(end.refused_bytes, 0, "try_write counts no refused bytes");
    }
}

/// Waits double, and begin anew behind a connection that stood for the longest of them.
fn check_wait(lost: &MessageTcpReconnecting, expected_ms: &mut u128) {
    let wait = lost.next_attempt.as_millis();
    if !(*expected_ms / 2..=*expected_ms).contains(&wait) {
        *expected_ms = 2;
    }
    let least = *expected_ms / 2;
    assert!(
        (least..=*expected_ms).contains(&wait),
        "{wait} of {expected_ms}"
    );
    *expected_ms = (*expected_ms * 2).min(16);
}

#[test]
fn server_that_comes_and_goes_50_times_leaves_no_byte_unaccounted() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    let serving = thread::spawn(move || come_and_go(addr, Some(listener)));
    let id = probe.connect_to(options(addr, quick()));
    let account = Account::keep(&node, &probe, id, serving);
    assert!(account.connects >= 40, "{account:?}");
    stop_clean(&node);
}

#[test]
fn write_while_there_is_no_connection_is_refused_by_name() {
    let node = node();
    let (probe, other) = (Probe::spawn(&node), Probe::spawn(&node));
    let (listener, addr) = server();
    let id = probe.connect_to(options(addr, long()));
    let peer = accept(&listener);
    probe.connect();
    drop(peer);
    let lost = probe.reconnecting();
    assert_eq!(lost.next_attempt, Duration::from_secs(3_600));
    for writer in [&probe, &other] {
        let refused = writer.run(move |cx| cx.try_write(id, "lost").unwrap_err());
        assert_eq!(refused.kind(), WriteErrorKind::Reconnecting);
        let message = MessageTcp::new(id, "lost");
        let refused = writer.run(move |cx| cx.send_alias(id, message).unwrap_err());
        assert_eq!(refused.kind(), SendErrorKind::Reconnecting);
    }
    probe.run(move |cx| cx.write(id, "counted"));
    // It can be given away neither.
    let to = other.pid;
    let moved = probe.run(move |cx| cx.hand_over(id, to));
    assert_eq!(moved, Err(HandOverError::Closed(id)));
    let more = probe.connect_to(addr);
    let _peer = accept(&listener);
    probe.connect();
    let relayed = probe.run(move |cx| cx.relay(id, more));
    assert_eq!(relayed, Err(RelayError::Closed(id)));
    assert_eq!(inspect(&node, id).value("state"), Some("reconnecting"));
    probe.run(move |cx| cx.close(id)).unwrap();
    let end = probe.disconnect();
    assert_eq!((end.id, end.reason), (id, DisconnectReason::LocalClose));
    assert_eq!((end.refused_bytes, end.unsent), (7, 0));
    stop_clean(&node);
}

#[test]
fn bytes_written_before_the_first_connection_wait_for_it() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    drop(listener);
    let to = TcpConnectionOptions::from(("localhost", addr.port())).with_reconnect(quick());
    let id = probe.connect_to(to);
    probe.write(id, "early");
    let lost = probe.reconnecting();
    assert_eq!(
        without_number(lost.reason),
        DisconnectReason::Connect(ErrorKind::ConnectionRefused.into())
    );
    assert!(!lost.failed_attempts.is_empty() && lost.unsent == 0);
    probe.write(id, " and more");
    let listener = bind_again(addr);
    let mut peer = accept(&listener);
    assert_eq!(read(&mut peer, 14), b"early and more");
    let connect = loop {
        match probe.next().1 {
            Message::TcpReconnecting(_) => {}
            Message::TcpConnect(connect) => break connect,
            other => panic!("{other:?}"),
        }
    };
    assert!(connect.attempt >= 2);
    stop_clean(&node);
}

#[test]
fn policy_that_gives_up_ends_in_one_disconnect() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    let policy = quick().with_give_up_after(100 * MS);
    let id = probe.connect_to(options(addr, policy));
    let peer = accept(&listener);
    probe.connect();
    let begun = Instant::now();
    drop((listener, peer));
    let mut losses = 0;
    let end = loop {
        match probe.next().1 {
            Message::TcpReconnecting(_) => losses += 1,
            Message::TcpDisconnect(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert!(losses >= 5, "{losses}");
    assert!(begun.elapsed() >= 80 * MS);
    assert_eq!(end.id, id);
    assert_eq!(
        without_number(end.reason),
        DisconnectReason::Connect(ErrorKind::ConnectionRefused.into())
    );
    assert_eq!(end.failed_attempts.len(), 1);
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn session_gives_up_a_connection_that_was_never_established() {
    #[derive(Clone, Copy, Debug)]
    enum How {
        Close,
        Abort,
        Deadline,
    }
    struct Gives(How, mpsc::Sender<DisconnectReason>);
    impl Session for Gives {
        fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
            Ok(())
        }

        fn reconnecting(
            &mut self,
            cx: &mut SessionContext<'_>,
            lost: &MessageTcpReconnecting,
        ) -> Handled {
            match self.0 {
                How::Close => cx.close(),
                How::Abort => cx.abort(),
                // It is set once and holds over later attempts.
                How::Deadline if lost.attempt == 2 => cx.set_deadline(50 * MS),
                How::Deadline => {}
            }
            Ok(())
        }

        fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
            drop(self.1.send(end.reason.clone()));
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    drop(listener);
    for (how, expected) in [
        (How::Close, DisconnectReason::LocalClose),
        (How::Abort, DisconnectReason::Abort),
        (How::Deadline, DisconnectReason::SessionTimeout),
    ] {
        let (reasons, seen) = mpsc::channel();
        let connection = TcpConnection::connect(options(addr, quick())).expect("an attempt");
        probe.spawn_meta(connection.serve(move || Gives(how, reasons)));
        assert_eq!(value_of(&seen), Ok(expected), "{how:?}");
        wait_for_count(&node, "processes", 1);
    }
    stop_clean(&node);
}

#[test]
fn stop_and_the_end_of_the_owner_end_a_connection_that_waits() {
    for by_stop in [true, false] {
        let node = node();
        let probe = Probe::spawn(&node);
        let (listener, addr) = server();
        probe.connect_to(options(addr, long()));
        drop(accept(&listener));
        probe.connect();
        probe.reconnecting();
        if !by_stop {
            probe.start(|_| Err(Reason::error("asked to")));
            assert_eq!(probe.end(), Reason::error("asked to"));
        }
        let begun = Instant::now();
        stop_clean(&node);
        assert!(begun.elapsed() < LIMIT / 2);
    }
}

#[test]
fn owner_that_handles_nothing_holds_up_the_next_attempt() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    let id = probe.connect_to(options(addr, quick()));
    let first = accept(&listener);
    probe.connect();
    let gate = probe.block();
    // What the owner asks of the connection that is lost by now is not for the next one.
    probe.start(move |cx| Ok(cx.pause_reading(id)?));
    reset(first);
    wait_for(&node, id, "state", "reconnecting");
    listener.set_nonblocking(true).unwrap();
    let early = listener.accept();
    assert!(early.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    listener.set_nonblocking(false).unwrap();
    drop(gate);
    probe.reconnecting();
    let mut second = accept(&listener);
    probe.connect();
    second.write_all(b"read").unwrap();
    assert_eq!(probe.bytes(4), b"read");
    stop_clean(&node);
}

#[test]
fn new_owner_gets_the_loss_and_the_next_connect() {
    let node = node();
    let (old, new) = (Probe::spawn(&node), Probe::spawn(&node));
    let (listener, addr) = server();
    let id = old.connect_to(options(addr, quick()));
    let mut first = accept(&listener);
    old.connect();
    let to = new.pid;
    old.run(move |cx| cx.hand_over(id, to)).unwrap();
    new.connect();
    first.write_all(b"for the new one").unwrap();
    assert_eq!(new.bytes(15), b"for the new one");
    drop(first);
    new.reconnecting();
    let mut second = accept(&listener);
    assert_eq!(new.connect().attempt, 2);
    new.write(id, "hello");
    assert_eq!(read(&mut second, 5), b"hello");
    old.saw_nothing();
    old.start(|_| Err(Reason::Normal));
    new.run(move |cx| cx.close(id)).unwrap();
    // An end of the peer that met the close would be a loss first.
    assert_eq!(read_to_end(&mut second), b"");
    drop(second);
    new.disconnect();
    stop_clean(&node);
}

#[test]
fn loss_that_meets_a_hand_over_reaches_the_new_owner() {
    for is_reset in [false, true] {
        let node = node();
        let (old, new) = (Probe::spawn(&node), Probe::spawn(&node));
        let (listener, addr) = server();
        let id = old.connect_to(options(addr, quick()));
        let mut first = accept(&listener);
        old.connect();
        let to = new.pid;
        let (held, gate) = mpsc::channel::<()>();
        // The fence stands behind this callback, which goes on until the test lets it.
        old.start(move |cx| {
            cx.hand_over(id, to)?;
            let _ = gate.recv_timeout(LIMIT);
            Ok(())
        });
        assert_eq!(new.connect().handed_over_by, Some(old.pid));
        let bytes = vec![7; 100_000];
        first.write_all(&bytes).unwrap();
        if is_reset {
            reset(first);
        } else {
            drop(first);
        }
        drop(held);
        let (got, lost) = bytes_to_loss(&new);
        let reason = if is_reset {
            assert!(got <= bytes.len());
            DisconnectReason::Reset
        } else {
            assert_eq!(got, bytes.len());
            DisconnectReason::ClosedByPeer
        };
        assert_eq!((lost.id, &lost.reason), (id, &reason));
        let mut second = accept(&listener);
        let connect = new.connect();
        assert_eq!((connect.attempt, connect.handed_over_by), (2, None));
        new.write(id, "hello");
        assert_eq!(read(&mut second, 5), b"hello");
        second.write_all(b"and back").unwrap();
        assert_eq!(new.bytes(8), b"and back");
        old.saw_nothing();
        // The old owner has nothing to do with it any more.
        old.start(|_| Err(Reason::Normal));
        assert_eq!(old.end(), Reason::Normal);
        new.write(id, "still here");
        assert_eq!(read(&mut second, 10), b"still here");
        stop_clean(&node);
    }
}

/// The bytes up to the loss.
fn bytes_to_loss(probe: &Probe) -> (usize, Box<MessageTcpReconnecting>) {
    let mut got = 0;
    loop {
        match probe.next().1 {
            Message::Tcp(packet) => got += packet.data.len(),
            Message::TcpReconnecting(lost) => return (got, lost),
            other => panic!("another message: {other:?}"),
        }
    }
}

#[test]
fn loss_that_meets_a_relay_ends_it_behind_what_was_read() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    let first = probe.connect_to(options(addr, quick()));
    let mut one = accept(&listener);
    probe.connect();
    let second = probe.connect_to(options(addr, quick()));
    let mut other = accept(&listener);
    probe.connect();
    let (held, gate) = mpsc::channel::<()>();
    probe.start(move |cx| {
        cx.relay(first, second)?;
        let _ = gate.recv_timeout(LIMIT);
        Ok(())
    });
    one.write_all(&[3; 100_000]).unwrap();
    one.shutdown(std::net::Shutdown::Write).unwrap();
    drop(held);
    assert_eq!(read_to_end(&mut other), [3; 100_000]);
    drop((one, other));
    let end = probe.relay_end();
    assert_eq!(end.first.forwarded, 100_000);
    assert_eq!(end.first.reason, DisconnectReason::ClosedByPeer);
    wait_for_count(&node, "meta_processes", 0);
    listener.set_nonblocking(true).unwrap();
    let again = listener.accept().map(drop);
    assert!(again.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn relayed_connection_is_not_made_anew() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    let first = probe.connect_to(options(addr, quick()));
    let one = accept(&listener);
    probe.connect();
    let second = probe.connect_to(options(addr, quick()));
    let other = accept(&listener);
    probe.connect();
    probe.run(move |cx| cx.relay(first, second)).unwrap();
    drop((one, other));
    probe.relay_end();
    probe.saw_nothing();
    stop_clean(&node);
}

/// A session that greets each connection, and counts what it sees.
struct Greeter(mpsc::Sender<String>);

impl Session for Greeter {
    fn connected(&mut self, cx: &mut SessionContext<'_>, connect: &MessageTcpConnect) -> Handled {
        cx.write(format!("hello {}\n", connect.attempt));
        Ok(())
    }

    fn received(&mut self, _: &mut SessionContext<'_>, line: &mut Buffer) -> Handled {
        self.0.send(String::from_utf8_lossy(line).into_owned())?;
        Ok(())
    }

    fn reconnecting(
        &mut self,
        _: &mut SessionContext<'_>,
        lost: &MessageTcpReconnecting,
    ) -> Handled {
        self.0.send(format!("lost: {}", lost.reason))?;
        Ok(())
    }
}

#[test]
fn session_greets_each_connection_and_begins_with_an_empty_input() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    let (sender, seen) = mpsc::channel();
    let client = TcpConnection::connect(options(addr, quick()).with_framing(Framing::lines()));
    let session = client.unwrap().serve(move || Greeter(sender.clone()));
    probe.run(move |cx| cx.spawn_meta(session)).unwrap();
    for attempt in 1..=3 {
        let mut peer = accept(&listener);
        assert_eq!(read(&mut peer, 8), format!("hello {attempt}\n").as_bytes());
        peer.write_all(b"line\nhalf a li").unwrap();
        let next = || seen.recv_timeout(LIMIT).unwrap();
        assert_eq!(next(), "line");
        drop(peer);
        assert!(next().starts_with("lost: "));
    }
    stop_clean(&node);
}

#[test]
fn keep_alive_bytes_and_frames_in_the_mailbox_are_accounted() {
    let node = node();
    let probe = Probe::spawn_with(&node, SpawnOptions::default().with_mailbox_bound(2));
    let (listener, addr) = server();
    let to = options(addr, quick())
        .with_framing(Framing::lines())
        .with_write_keep_alive((5 * MS, b"ping".to_vec()));
    probe.connect_to(to);
    let mut peer = accept(&listener);
    probe.connect();
    assert_eq!(read(&mut peer, 8), b"pingping");
    let gate = probe.block();
    peer.write_all(&b"line\n".repeat(100)).unwrap();
    drop(peer);
    drop(gate);
    for _ in 0..100 {
        assert_eq!(probe.tcp().data, "line");
    }
    let lost = probe.reconnecting();
    // One more may have met the end of the peer.
    assert!(
        lost.bytes_out >= 8 && lost.bytes_out.is_multiple_of(4) && matches!(lost.unsent, 0 | 4),
        "{lost:?}"
    );
    let _peer = accept(&listener);
    probe.connect();
    stop_clean(&node);
}

#[test]
fn unix_socket_is_connected_to_again_and_a_given_one_is_refused() {
    let node = node();
    let probe = Probe::spawn(&node);
    let path = std::env::temp_dir().join(format!("longshore-again-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let policy = longshore::UnixConnectionOptions::default().with_reconnect(quick());
    let connection = longshore::UnixConnection::connect(&path, policy.clone()).unwrap();
    let id = probe.spawn_meta(connection);
    drop(listener.accept().unwrap());
    probe.connect();
    probe.reconnecting();
    let (mut second, _) = listener.accept().unwrap();
    probe.connect();
    probe.write(id, "again");
    let mut bytes = [0; 5];
    second.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"again");
    std::fs::remove_file(&path).unwrap();
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let refused = longshore::UnixConnection::from_std(one, policy);
    assert!(matches!(refused, Err(ConnectError::Option(error)) if error.field() == "reconnect"));
    stop_clean(&node);
}

#[test]
fn many_connections_to_a_server_that_is_away_come_back_at_different_times() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = server();
    let policy = ReconnectPolicy::default()
        .with_first(100 * MS)
        .with_jitter(1.0);
    for _ in 0..50 {
        probe.connect_to(options(addr, policy.clone()));
        drop(accept(&listener));
    }
    let mut waits: HashMap<u128, u32> = HashMap::new();
    for _ in 0..100 {
        if let Message::TcpReconnecting(lost) = probe.next().1 {
            *waits.entry(lost.next_attempt.as_millis()).or_default() += 1;
        }
    }
    assert!(waits.len() > 10, "{waits:?}");
    stop_clean(&node);
}
