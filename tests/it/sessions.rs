//! Sessions: a process for each connection, input that is pulled, and ends that stay where they belong.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{FrameError, SpawnError, TcpLimits};

use crate::support::*;

on_both! {
    each_connection_has_a_process_that_ends_with_it,
    panic_in_one_of_many_sessions_ends_one_connection,
    malformed_input_is_answered_before_the_connection_closes,
    unframed_input_is_pulled_at_the_pace_of_the_session,
    input_beyond_the_limit_that_is_left_is_malformed,
    paused_session_is_offered_nothing_until_it_resumes,
    client_session_talks_to_a_server_session,
    sessions_end_with_the_process_of_their_listener_and_outlive_the_listener,
    process_pool_together_with_sessions_is_refused_by_name,
    panic_before_connected_has_returned_resets_behind_what_was_written,
    framing_that_a_message_sets_applies_to_what_was_left,
    input_is_pulled_again_when_the_framing_is_taken_off,
    panic_in_the_factory_closes_the_connection_and_nothing_else,
    session_that_writes_more_than_its_limit_is_closed_after_a_prefix,
}

const MIB: usize = 1 << 20;

/// Starts a listener with sessions below a process of the test.
fn serve<S: Session>(
    probe: &Probe,
    options: TcpServerOptions,
    factory: impl Fn() -> S + Send + Sync + 'static,
) -> SocketAddr {
    let server = TcpServer::bind(options).expect("bound");
    let addr = server.local_addr();
    probe
        .run(move |cx| cx.spawn_meta(server.serve(factory)))
        .expect("spawned");
    addr
}

fn local() -> TcpServerOptions {
    TcpServerOptions::from("127.0.0.1:0")
}

/// Answers each line with it in upper case; some lines misbehave.
struct Shouter;

impl Session for Shouter {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        match &input[..] {
            b"panic" => panic!("asked to"),
            b"fail" => return Err(Reason::error("asked to")),
            b"bye" => {
                cx.write("BYE\n");
                cx.close();
            }
            line => {
                let mut answer = line.to_ascii_uppercase();
                answer.push(b'\n');
                cx.write(answer);
            }
        }
        Ok(())
    }

    fn malformed(&mut self, cx: &mut SessionContext<'_>, error: &FrameError) {
        cx.write(format!("refused: {error}\n"));
    }
}

fn lines() -> TcpServerOptions {
    local().with_framing(Framing::lines().with_max_length(100))
}

#[test]
fn each_connection_has_a_process_that_ends_with_it() {
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = serve(&probe, lines(), || Shouter);
    let mut clients: Vec<_> = (0..10).map(|_| client(addr)).collect();
    for stream in &mut clients {
        exchange(stream, b"hello\n", b"HELLO\n");
    }
    assert_eq!(count(&node, "processes"), 11);
    drop(clients);
    wait_for_count(&node, "processes", 1);
    wait_for_count(&node, "meta_processes", 1);
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn panic_in_one_of_many_sessions_ends_one_connection() {
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = serve(&probe, lines(), || Shouter);
    let mut clients: Vec<_> = (0..100).map(|_| client(addr)).collect();
    for stream in &mut clients {
        exchange(stream, b"hello\n", b"HELLO\n");
    }
    clients[50].write_all(b"last\npanic\n").expect("written");
    // The answer before the panic, and then no end that could be taken for the end of the answers.
    exchange(&mut clients[50], b"", b"LAST\n");
    let end = read_out(&mut clients[50]);
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    clients[7].write_all(b"fail\n").expect("written");
    assert_eq!(read_out(&mut clients[7]), Ok(Vec::new()));
    for (number, stream) in clients.iter_mut().enumerate() {
        if number != 50 && number != 7 {
            exchange(stream, b"still here\n", b"STILL HERE\n");
        }
    }
    drop(clients);
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn malformed_input_is_answered_before_the_connection_closes() {
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = serve(&probe, lines(), || Shouter);
    let mut stream = client(addr);
    stream.write_all(b"fine\n").expect("written");
    stream.write_all(&[b'x'; 200]).expect("written");
    let answer = String::from_utf8(read_to_end(&mut stream)).expect("text");
    assert!(answer.starts_with("FINE\nrefused: a frame of"), "{answer}");
    stop_clean(&node);
}

/// Takes units of four bytes, one for each call, and answers each.
struct Units(mpsc::Sender<usize>);

impl Session for Units {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        self.0.send(input.len())?;
        if input.len() < 4 {
            cx.need(4);
            return Ok(());
        }
        let unit = input.split_to(4);
        cx.write(unit);
        Ok(())
    }
}

#[test]
fn unframed_input_is_pulled_at_the_pace_of_the_session() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (calls, seen) = mpsc::channel();
    let calls = Mutex::new(calls);
    let addr = serve(&probe, local(), move || {
        Units(calls.lock().expect("no panic").clone())
    });
    let mut stream = client(addr);
    exchange(&mut stream, b"abcdefghij", b"abcdefgh");
    // Two bytes are left: neither call sees less than there was.
    exchange(&mut stream, b"kl", b"ijkl");
    drop(stream);
    wait_for_count(&node, "processes", 1);
    let lengths: Vec<usize> = seen.try_iter().collect();
    assert_eq!(lengths.last(), Some(&4), "{lengths:?}");
    stop_clean(&node);
}

#[test]
fn input_beyond_the_limit_that_is_left_is_malformed() {
    struct Hoarder(mpsc::Sender<FrameError>);
    impl Session for Hoarder {
        fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
            Ok(())
        }

        fn malformed(&mut self, cx: &mut SessionContext<'_>, error: &FrameError) {
            cx.write("too much");
            drop(self.0.send(error.clone()));
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let (errors, seen) = mpsc::channel();
    let errors = Mutex::new(errors);
    let server = TcpServer::bind(local()).expect("bound");
    let addr = server.local_addr();
    let served = server
        .serve(move || Hoarder(errors.lock().expect("no panic").clone()))
        .with_input_limit(10);
    probe.run(move |cx| cx.spawn_meta(served)).expect("spawned");
    let mut stream = client(addr);
    stream.write_all(b"0123456789").expect("written");
    stream.write_all(b"x").expect("written");
    assert_eq!(read_to_end(&mut stream), b"too much");
    let error = value_of(&seen).expect("an error");
    assert_eq!(
        error,
        FrameError::TooLarge {
            length: 11,
            max: 10
        }
    );
    stop_clean(&node);
}

/// Answers each byte with a block of one mebibyte.
struct Blocks;

impl Session for Blocks {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        let byte = input[0];
        input.advance(1);
        cx.write(vec![byte; MIB]);
        Ok(())
    }
}

#[test]
fn pipelined_requests_of_a_late_reader_are_answered_one_by_one() {
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = serve(&probe, local(), || Blocks);
    let mut stream = client(addr);
    let requests: Vec<u8> = (0..64).collect();
    stream.write_all(&requests).expect("written");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("shut down");
    let mut block = vec![0; MIB];
    for byte in 0..64 {
        stream.read_exact(&mut block).expect("a block");
        assert!(
            block.iter().all(|found| *found == byte),
            "{byte} has a hole"
        );
    }
    assert_eq!(read_to_end(&mut stream), b"");
    stop_clean(&node);
}

#[test]
fn paused_session_is_offered_nothing_until_it_resumes() {
    struct Slow(Arc<Mutex<Vec<Pid>>>);
    impl Session for Slow {
        fn connected(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
            self.0.lock().expect("no panic").push(cx.pid());
            cx.pause();
            cx.write("paused");
            Ok(())
        }

        fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
            cx.write(input.take());
            Ok(())
        }

        fn handle_message(&mut self, cx: &mut SessionContext<'_>, _: Pid, _: Message) -> Handled {
            cx.write("resumed ");
            cx.resume();
            Ok(())
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let pids = Arc::new(Mutex::new(Vec::new()));
    let addr = serve(&probe, local(), {
        let pids = Arc::clone(&pids);
        move || Slow(Arc::clone(&pids))
    });
    let mut stream = client(addr);
    exchange(&mut stream, b"bytes", b"paused");
    let pid = pids.lock().expect("no panic")[0];
    node.send(pid, "go on").expect("it lives");
    assert_eq!(read(&mut stream, 13), b"resumed bytes");
    stop_clean(&node);
}

#[test]
fn client_session_sees_its_attempt_fail() {
    struct Client(mpsc::Sender<DisconnectReason>);
    impl Session for Client {
        fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
            Ok(())
        }

        fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
            drop(self.0.send(end.reason.clone()));
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = free.local_addr().expect("an address");
    drop(free);
    let (reasons, seen) = mpsc::channel();
    probe
        .run(move |cx| {
            let connection = TcpConnection::connect(addr).expect("an attempt");
            cx.spawn_meta(connection.serve(move || Client(reasons)))
        })
        .expect("spawned");
    let reason = value_of(&seen).expect("a reason");
    assert_eq!(
        without_number(reason),
        DisconnectReason::Connect(std::io::ErrorKind::ConnectionRefused.into())
    );
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn client_session_talks_to_a_server_session() {
    struct Greeter(mpsc::Sender<Vec<u8>>);
    impl Session for Greeter {
        fn connected(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
            cx.write("hello\n");
            Ok(())
        }

        fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
            self.0.send(input.to_vec())?;
            cx.close();
            Ok(())
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = serve(&probe, lines(), || Shouter);
    let (answers, seen) = mpsc::channel();
    probe
        .run(move |cx| {
            let options = TcpConnectionOptions::from(addr).with_framing(Framing::lines());
            let connection = TcpConnection::connect(options).expect("an attempt");
            cx.spawn_meta(connection.serve(move || Greeter(answers)))
        })
        .expect("spawned");
    assert_eq!(value_of(&seen).expect("an answer"), b"HELLO");
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn sessions_end_with_the_process_of_their_listener_and_outlive_the_listener() {
    let node = node();
    let probe = Probe::spawn(&node);
    let server = TcpServer::bind(lines()).expect("bound");
    let addr = server.local_addr();
    let listener = probe
        .run(move |cx| cx.spawn_meta(server.serve(|| Shouter)))
        .expect("spawned");
    let mut stream = client(addr);
    exchange(&mut stream, b"one\n", b"ONE\n");
    probe.run(move |cx| cx.close(listener)).expect("closed");
    wait_for_count(&node, "meta_processes", 1);
    exchange(&mut stream, b"two\n", b"TWO\n");
    node.send_exit(probe.pid, Reason::Shutdown)
        .expect("it lives");
    assert_eq!(read_out(&mut stream), Ok(Vec::new()));
    wait_for_count(&node, "processes", 0);
    stop_clean(&node);
}

#[test]
fn process_pool_together_with_sessions_is_refused_by_name() {
    let node = node();
    let probe = Probe::spawn(&node);
    let error = probe
        .run(|cx| {
            let server = TcpServer::bind(local().with_process_pool(["worker"])).expect("bound");
            cx.spawn_meta(server.serve(|| Shouter))
        })
        .expect_err("refused");
    let SpawnError::Option(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.field(), "process_pool");
    stop_clean(&node);
}

/// Connects, and reads to the reset, which may come before the connect has returned.
#[track_caller]
fn read_to_reset(addr: SocketAddr) {
    let end = try_client(addr).and_then(|mut stream| stream.read_to_end(&mut Vec::new()));
    let error = end.expect_err("no reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// Takes blocks of four bytes; the input can be paused from outside.
struct Fours(Arc<Mutex<Vec<Pid>>>);

impl Session for Fours {
    fn connected(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
        self.0.lock().unwrap().push(cx.pid());
        Ok(())
    }

    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if input.len() >= 4 {
            cx.write(input.split_to(4));
        }
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut SessionContext<'_>, _: Pid, message: Message) -> Handled {
        match message.downcast_ref::<bool>() {
            Some(true) => cx.pause(),
            _ => cx.resume(),
        }
        cx.write("ok");
        Ok(())
    }
}

#[test]
fn frame_timeout_counts_from_the_oldest_byte_that_a_session_has_not_taken() {
    for framing in [Framing::Raw, Framing::fixed(4)] {
        let node = node();
        let probe = Probe::spawn(&node);
        let limits = TcpLimits::default().with_frame_timeout(Duration::from_millis(300));
        let options = local().with_limits(limits).with_framing(framing);
        let pids = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&pids);
        let addr = serve(&probe, options, move || Fours(Arc::clone(&seen)));
        // An idle peer, and one that ends its units in time, are not bounded by it.
        let mut idle = client(addr);
        let mut steady = client(addr);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(700) {
            steady.write_all(b"ab").unwrap();
            thread::sleep(Duration::from_millis(20));
            exchange(&mut steady, b"cd", b"abcd");
        }
        // One that sends a byte now and then is.
        let mut dripping = client(addr);
        let begin = Instant::now();
        dripping.write_all(b"a").unwrap();
        dripping
            .set_read_timeout(Some(Duration::from_millis(120)))
            .unwrap();
        let mut byte = [0];
        let mut sent = 1;
        while dripping.read(&mut byte).is_err() && begin.elapsed() < LIMIT {
            if sent < 3 {
                dripping.write_all(b"b").unwrap();
                sent += 1;
            }
        }
        assert!(begin.elapsed() >= Duration::from_millis(300));
        assert!(begin.elapsed() < LIMIT, "the timeout does not pass");
        exchange(&mut idle, b"abcd", b"abcd");
        stop_clean(&node);
    }
}

#[test]
fn frame_timeout_stands_still_while_a_session_is_paused() {
    let node = node();
    let probe = Probe::spawn(&node);
    let limits = TcpLimits::default().with_frame_timeout(Duration::from_millis(200));
    let pids = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pids);
    let options = local().with_limits(limits);
    let addr = serve(&probe, options, move || Fours(Arc::clone(&seen)));
    let mut stream = client(addr);
    exchange(&mut stream, b"abcd", b"abcd");
    let session = pids.lock().unwrap()[0];
    node.send(session, true).unwrap();
    exchange(&mut stream, b"ab", b"ok");
    thread::sleep(Duration::from_millis(600));
    node.send(session, false).unwrap();
    exchange(&mut stream, b"cd", b"okabcd");
    // Once more, with the half unit there before the pause.
    exchange(&mut stream, b"abcdab", b"abcd");
    node.send(session, true).unwrap();
    assert_eq!(read(&mut stream, 2), b"ok");
    thread::sleep(Duration::from_millis(600));
    node.send(session, false).unwrap();
    assert_eq!(read(&mut stream, 2), b"ok");
    exchange(&mut stream, b"cd", b"abcd");
    stop_clean(&node);
}

#[test]
fn panic_before_connected_has_returned_resets_behind_what_was_written() {
    struct Early;
    impl Session for Early {
        fn connected(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
            cx.write("hello");
            panic!("asked to")
        }

        fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
            Ok(())
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = serve(&probe, local(), || Early);
    read_to_reset(addr);
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn framing_that_a_message_sets_applies_to_what_was_left() {
    struct Switch(Arc<Mutex<Vec<Pid>>>);
    impl Session for Switch {
        fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
            if input.ends_with(b"\n") {
                // Left as it is, until a message says how to read it.
                self.0.lock().expect("no panic").push(cx.pid());
            } else {
                cx.write(format!("[{}]", String::from_utf8_lossy(input)));
            }
            Ok(())
        }

        fn handle_message(&mut self, cx: &mut SessionContext<'_>, _: Pid, _: Message) -> Handled {
            cx.set_framing(Framing::lines())
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let pids = Arc::new(Mutex::new(Vec::new()));
    let addr = serve(&probe, local(), {
        let pids = Arc::clone(&pids);
        move || Switch(Arc::clone(&pids))
    });
    let mut stream = client(addr);
    stream.write_all(b"one\ntwo\n").expect("written");
    wait_until("the input", || !pids.lock().expect("no panic").is_empty());
    let pid = pids.lock().expect("no panic")[0];
    node.send(pid, "lines").expect("it lives");
    assert_eq!(read(&mut stream, 10), b"[one][two]");
    stop_clean(&node);
}

#[test]
fn input_is_pulled_again_when_the_framing_is_taken_off() {
    /// Lines up to `raw`, then blocks of four bytes, which it takes only when they are complete.
    struct Blocks {
        is_raw: bool,
    }
    impl Session for Blocks {
        fn received(
            &mut self,
            cx: &mut SessionContext<'_>,
            input: &mut Buffer,
        ) -> Result<(), Reason> {
            if !self.is_raw {
                self.is_raw = *input == "raw";
                cx.write(format!("[{}]", String::from_utf8_lossy(input)));
                if self.is_raw {
                    cx.set_framing(Framing::Raw)?;
                }
            } else if input.len() >= 4 {
                let block = input.split_to(4);
                cx.write(format!("({})", String::from_utf8_lossy(&block)));
            } else {
                cx.write("."); // a call for what is left, which must not come again without more behind it
            }
            Ok(())
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = serve(&probe, lines(), || Blocks { is_raw: false });
    let mut stream = client(addr);
    exchange(&mut stream, b"one\nraw\nab", b"[one][raw].");
    exchange(&mut stream, b"c", b".");
    exchange(&mut stream, b"defghij", b"(abcd)(efgh).");
    exchange(&mut stream, b"kl\n", b"(ijkl).");
    drop(stream);
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn client_session_takes_no_other_connection_for_its_own() {
    /// Connects to `other` while its own connection waits for the resolver.
    struct Two {
        other: SocketAddr,
        events: mpsc::Sender<String>,
    }
    impl Session for Two {
        fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Result<(), Reason> {
            self.events.send("received".into())?;
            Ok(())
        }

        fn connected(
            &mut self,
            _: &mut SessionContext<'_>,
            _: &MessageTcpConnect,
        ) -> Result<(), Reason> {
            self.events.send("connected".into())?;
            Ok(())
        }

        fn handle_message(
            &mut self,
            cx: &mut SessionContext<'_>,
            _: Pid,
            message: Message,
        ) -> Result<(), Reason> {
            match message {
                Message::TcpConnect(_) => self.events.send("the other connects".into())?,
                Message::Tcp(_) => self.events.send("the other sends".into())?,
                Message::TcpDisconnect(_) => self.events.send("the other ends".into())?,
                _ => drop(cx.spawn_meta(TcpConnection::connect(self.other)?)?),
            }
            Ok(())
        }

        fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
            drop(self.events.send(end.reason.name().into()));
        }
    }
    let (resolve, waits) = mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    let options = NodeOptions::from("test@localhost").with_resolver(move |_| {
        // An error means that the test has failed already.
        let _ = waits.lock().expect("no panic").recv_timeout(LIMIT);
        Err(std::io::Error::other("no such name"))
    });
    let node = Node::start(options.with_workers(2)).expect("the node starts");
    let probe = Probe::spawn(&node);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let other = listener.local_addr().expect("an address");
    let (events, seen) = mpsc::channel();
    probe
        .run(move |cx| {
            let connection = TcpConnection::connect("own.test:7000").expect("an attempt");
            cx.spawn_meta(connection.serve(move || Two { other, events }))
        })
        .expect("spawned");
    let session = node.processes().find(|process| process.pid != probe.pid);
    node.send(session.expect("a session").pid, "go")
        .expect("it is there");
    let (mut peer, _) = listener.accept().expect("the other connection");
    peer.write_all(b"hello").expect("written");
    let next = || value_of(&seen).expect("an event");
    assert_eq!(next(), "the other connects");
    assert_eq!(next(), "the other sends");
    drop(peer);
    assert_eq!(next(), "the other ends");
    resolve.send(()).expect("the resolver waits");
    assert_eq!(next(), "resolve");
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn client_session_gives_up_an_attempt_that_is_not_answered() {
    struct Gives(mpsc::Sender<DisconnectReason>);
    impl Session for Gives {
        fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
            Ok(())
        }

        fn handle_message(
            &mut self,
            cx: &mut SessionContext<'_>,
            _: Pid,
            message: Message,
        ) -> Handled {
            match message.downcast::<&str>()? {
                "close" => cx.close(),
                "abort" => cx.abort(),
                _ => cx.set_deadline(Duration::from_millis(50)),
            }
            Ok(())
        }

        fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
            drop(self.0.send(end.reason.clone()));
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let silent = Unaccepting::new();
    for (how, expected) in [
        ("close", DisconnectReason::LocalClose),
        ("abort", DisconnectReason::Abort),
        ("deadline", DisconnectReason::SessionTimeout),
    ] {
        let (reasons, seen) = mpsc::channel();
        let options = TcpConnectionOptions::from(silent.addr).with_connect_timeout(None);
        let connection = TcpConnection::connect(options).expect("an attempt");
        probe.spawn_meta(connection.serve(move || Gives(reasons)));
        let session = node.processes().find(|process| process.pid != probe.pid);
        node.send(session.expect("a session").pid, how)
            .expect("it is there");
        assert_eq!(value_of(&seen), Ok(expected), "{how}");
        wait_for_count(&node, "processes", 1);
    }
    stop_clean(&node);
}

#[test]
fn client_session_that_closes_before_it_is_connected_ends() {
    struct Impatient(mpsc::Sender<DisconnectReason>);
    impl Session for Impatient {
        fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
            Ok(())
        }

        fn handle_message(&mut self, cx: &mut SessionContext<'_>, _: Pid, _: Message) -> Handled {
            cx.close();
            Ok(())
        }

        fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
            drop(self.0.send(end.reason.clone()));
        }
    }
    // With one worker the session and the loop run after this handler, as a rule: then the close comes first.
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let probe = Probe::spawn(&node);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("an address");
    let (reasons, seen) = mpsc::channel();
    let outside = node.clone();
    probe.run(move |cx| {
        let known: Vec<Pid> = outside.processes().map(|process| process.pid).collect();
        let connection = TcpConnection::connect(addr).expect("an attempt");
        cx.spawn_meta(connection.serve(move || Impatient(reasons)))
            .expect("spawned");
        let session = outside
            .processes()
            .map(|process| process.pid)
            .find(|pid| !known.contains(pid))
            .expect("the session is in the table");
        cx.send(session, "close").expect("it is there");
    });
    let reason = value_of(&seen).expect("a reason");
    assert_eq!(reason, DisconnectReason::LocalClose);
    wait_for_count(&node, "processes", 1);
    drop(listener);
    stop_clean(&node);
}

#[test]
fn panic_in_the_factory_closes_the_connection_and_nothing_else() {
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = serve(&probe, lines(), || -> Shouter { panic!("no session") });
    read_to_reset(addr);
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn session_that_writes_more_than_its_limit_is_closed_after_a_prefix() {
    struct Flood;
    impl Session for Flood {
        fn connected(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
            for byte in 0..40_u8 {
                cx.write(vec![byte; MIB]);
            }
            Ok(())
        }

        fn received(&mut self, _: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
            input.clear();
            Ok(())
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let limits = TcpLimits::default()
        .with_output_limit(MIB as u32)
        .with_high_water_mark(64 << 10)
        .with_low_water_mark(0);
    let addr = serve(&probe, local().with_limits(limits), || Flood);
    let bytes = read_out(&mut client(addr)).expect("an orderly end");
    assert!(!bytes.is_empty() && bytes.len().is_multiple_of(MIB));
    for (number, block) in bytes.chunks(MIB).enumerate() {
        assert!(block.iter().all(|byte| usize::from(*byte) == number));
    }
    stop_clean(&node);
}

#[test]
fn stop_of_the_node_ends_sessions_after_their_output() {
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = serve(&probe, local(), || Blocks);
    let mut stream = client(addr);
    stream.write_all(&[1; 8]).expect("written");
    let first = read(&mut stream, 1);
    assert_eq!(first, [1]);
    let reader = thread::spawn(move || read_to_end(&mut stream).len());
    let report = node.stop();
    assert!(
        report.killed.is_empty() && report.stuck.is_empty(),
        "{report}"
    );
    assert_eq!((reader.join().expect("no panic") + 1) % MIB, 0);
}
