//! Outgoing connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{ConnectError, DisconnectReason, SendErrorKind, TcpLimits};

use crate::support::*;

on_both! {
    a_closed_port_is_reported_as_refused,
    a_name_that_does_not_resolve_is_reported_with_the_resolvers_text,
}

fn peer() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let addr = listener.local_addr().expect("an address");
    (listener, addr)
}

fn accept(listener: &TcpListener) -> std::net::TcpStream {
    let (stream, _) = listener.accept().expect("accepted");
    bounded(&stream);
    stream
}

/// A port without a listener.
fn closed_port() -> SocketAddr {
    peer().1
}

#[test]
fn a_closed_port_is_reported_as_refused() {
    let node = node();
    let probe = Probe::spawn(&node);
    let addr = closed_port();
    match TcpConnection::connect(addr) {
        Err(error) => {
            let ConnectError::Connect { source, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
        }
        Ok(connection) => {
            let alias = probe.spawn_meta(connection);
            let ended = probe.disconnect();
            assert_eq!(
                (ended.id, without_number(ended.reason)),
                (
                    alias,
                    DisconnectReason::Connect(ErrorKind::ConnectionRefused.into())
                )
            );
        }
    }
    // By name, the failure shows after the spawn and names the last address that was tried.
    let alias = probe.connect_to(("localhost", addr.port()));
    let ended = probe.disconnect();
    assert_eq!(
        (ended.id, without_number(ended.reason)),
        (
            alias,
            DisconnectReason::Connect(ErrorKind::ConnectionRefused.into())
        )
    );
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn a_name_is_resolved_and_connected_to_without_blocking_the_process() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = peer();
    let alias = probe.connect_to(("localhost", addr.port()));
    // The process continues.
    probe.run(|_| ());
    let mut stream = accept(&listener);
    let connected = probe.connect();
    assert_eq!((connected.id, connected.remote_addr), (alias, addr));
    assert_eq!(
        connected.local_addr,
        stream.peer_addr().expect("an address")
    );
    probe.write(alias, "hi");
    assert_eq!(read(&mut stream, 2), b"hi");
    stop_clean(&node);
}

#[test]
fn a_name_that_does_not_resolve_is_reported_with_the_resolvers_text() {
    let node = node();
    let probe = Probe::spawn(&node);
    let options =
        TcpConnectionOptions::from(("no.such.host.invalid", 1)).with_connect_timeout(LIMIT);
    let alias = probe.connect_to(options);
    let monitor = probe.run(move |cx| cx.monitor(alias));
    let (mut reason, mut down) = (None, None);
    while reason.is_none() || down.is_none() {
        match probe.next().1 {
            Message::TcpDisconnect(ended) => reason = Some(ended.reason),
            Message::Down(message) => down = Some(message.monitor),
            other => panic!("{other:?}"),
        }
    }
    assert!(
        matches!(reason, Some(DisconnectReason::Resolve(_))),
        "{reason:?}"
    );
    assert_eq!(down, Some(monitor));
    stop_clean(&node);
}

#[test]
fn an_attempt_that_is_not_answered_ends_at_its_deadline() {
    let node = node();
    let probe = Probe::spawn(&node);
    // With a full backlog, further connects wait without end.
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("bound");
    socket.listen(0).expect("listening");
    let addr = socket
        .local_addr()
        .expect("an address")
        .as_socket()
        .expect("an address");
    let mut fillers = Vec::new();
    loop {
        match std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
            Ok(filler) if fillers.len() < 20 => fillers.push(filler),
            Ok(_) => return println!("skipped: the backlog does not fill up here"),
            Err(_) => break,
        }
    }
    let timeout = Duration::from_millis(100);
    let started = Moment::now();
    let alias = probe.connect_to(TcpConnectionOptions::from(addr).with_connect_timeout(timeout));
    assert_eq!(inspect(&node, alias).value("state"), Some("connecting"));
    // Queued bytes are reported as unsent.
    probe.write(alias, "never");
    let ended = probe.disconnect();
    assert_eq!(
        (ended.id, ended.reason, ended.unsent),
        (alias, DisconnectReason::ConnectTimeout, 5)
    );
    assert!(started.elapsed() >= timeout);

    // An exit, an abort and the node's stop also end an attempt.
    for kind in 0..3 {
        let alias = probe.connect_to(TcpConnectionOptions::from(addr).with_connect_timeout(LIMIT));
        let reason = match kind {
            0 => {
                node.send_exit_meta(alias, Reason::error("enough"))
                    .expect("it lives");
                DisconnectReason::Exit(Reason::error("enough"))
            }
            1 => {
                node.abort(alias).expect("it lives");
                DisconnectReason::Abort
            }
            _ => {
                node.send_exit_meta(alias, Reason::Kill).expect("it lives");
                DisconnectReason::Exit(Reason::Kill)
            }
        };
        let ended = probe.disconnect();
        assert_eq!((ended.id, without_number(ended.reason)), (alias, reason));
    }
    probe.connect_to(TcpConnectionOptions::from(addr).with_connect_timeout(LIMIT));
    stop_clean(&node);
    assert_eq!(probe.disconnect().reason, DisconnectReason::NodeStop);
}

#[test]
fn what_is_sent_before_it_is_connected_goes_out_first_and_within_the_limit() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = peer();
    for by_name in [false, true] {
        let options = if by_name {
            TcpConnectionOptions::from(("localhost", addr.port()))
        } else {
            TcpConnectionOptions::from(addr)
        };
        let limits = TcpLimits::default()
            .with_output_limit(10)
            .with_high_water_mark(10)
            .with_low_water_mark(5);
        let connection = TcpConnection::connect(options.with_limits(limits)).expect("an attempt");
        let kinds = probe.run(move |cx| {
            let alias = cx.spawn_meta(connection).expect("spawned");
            let mut send = |text: &str| {
                cx.send_alias(alias, MessageTcp::new(alias, text))
                    .map_err(|error| error.kind())
            };
            [
                send("one "),
                send("two "),
                send("full"),
                send("larger than that"),
            ]
        });
        let mut stream = accept(&listener);
        assert_eq!(read(&mut stream, 4), b"one ");
        assert_eq!(read(&mut stream, 4), b"two ");
        assert_eq!(kinds[..2], [Ok(()), Ok(())]);
        // The attempt may have succeeded before the third.
        assert!(
            [Ok(()), Err(SendErrorKind::OutputFull)].contains(&kinds[2]),
            "{:?}",
            kinds[2]
        );
        assert_eq!(kinds[3], Err(SendErrorKind::TooLarge));
        drop(stream);
        while !matches!(probe.next().1, Message::TcpDisconnect(_)) {}
    }
    stop_clean(&node);
}

#[test]
fn close_before_it_is_connected_sends_what_was_accepted() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = peer();
    let connection = TcpConnection::connect(("localhost", addr.port())).expect("an attempt");
    probe.run(move |cx| {
        let alias = cx.spawn_meta(connection).expect("spawned");
        cx.send_alias(alias, MessageTcp::new(alias, "last words"))
            .expect("accepted");
        cx.close(alias).expect("it lives");
    });
    let mut stream = accept(&listener);
    assert_eq!(read_to_end(&mut stream), b"last words");
    drop(stream);
    probe.connect();
    let ended = probe.disconnect();
    assert_eq!(
        (ended.reason, ended.unsent),
        (DisconnectReason::LocalClose, 0)
    );
    stop_clean(&node);
}

#[test]
fn the_named_process_owns_the_connection_and_a_missing_one_is_reported() {
    let node = node();
    let (parent, owner) = (Probe::spawn(&node), Probe::named(&node, "owner"));
    let (listener, addr) = peer();
    let alias =
        parent.connect_to(TcpConnectionOptions::from(addr).with_process(Name::from("owner")));
    let mut stream = accept(&listener);
    assert_eq!(owner.connect().id, alias);
    stream.write_all(b"x").expect("written");
    assert_eq!(owner.bytes(1), b"x");
    // The end of its owner closes it.
    node.send_exit(owner.pid, Reason::Shutdown)
        .expect("it lives");
    assert_eq!(read_to_end(&mut stream), b"");
    drop(stream);
    wait_for_count(&node, "meta_processes", 0);
    parent.saw_nothing();

    let alias =
        parent.connect_to(TcpConnectionOptions::from(addr).with_process(Name::from("owner")));
    let ended = parent.disconnect();
    assert_eq!(
        (ended.id, without_number(ended.reason)),
        (alias, DisconnectReason::OwnerGone)
    );
    stop_clean(&node);
}

#[test]
fn wrong_options_are_named() {
    let field = |options: TcpConnectionOptions| match TcpConnection::connect(options) {
        Err(ConnectError::Option(error)) => error.field(),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(TcpConnectionOptions::default()), "host");
    assert_eq!(field("127.0.0.1:0".into()), "port");
    let options = || TcpConnectionOptions::from("127.0.0.1:1");
    assert_eq!(
        field(options().with_connect_timeout(Duration::ZERO)),
        "connect_timeout"
    );
    assert_eq!(
        field(options().with_framing(Framing::delimiter(b""))),
        "delimiter"
    );
}

#[test]
fn a_socket_that_is_connected_already_is_taken_over() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = peer();
    let stream = std::net::TcpStream::connect(addr).expect("connected");
    let mut other = accept(&listener);
    other.write_all(b"before").expect("written");
    let connection =
        TcpConnection::from_std(stream, TcpConnectionOptions::default()).expect("taken over");
    let alias = probe.spawn_meta(connection);
    assert_eq!(probe.connect().remote_addr, addr);
    assert_eq!(probe.bytes(6), b"before");
    probe.write(alias, "after");
    let mut got = [0; 5];
    other.read_exact(&mut got).expect("bytes");
    assert_eq!(&got, b"after");
    stop_clean(&node);
}

#[test]
fn the_local_address_is_the_one_that_was_asked_for() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (listener, addr) = peer();
    let local = SocketAddr::from(([127, 0, 0, 2], 0));
    probe.connect_to(TcpConnectionOptions::from(addr).with_local_addr(local));
    let stream = accept(&listener);
    assert_eq!(stream.peer_addr().expect("an address").ip(), local.ip());
    assert_eq!(probe.connect().local_addr.ip(), local.ip());
    stop_clean(&node);
}

#[test]
fn a_socket_that_is_taken_over_needs_no_port_beside_its_host() {
    let (listener, addr) = peer();
    for options in [
        TcpConnectionOptions::default(),
        TcpConnectionOptions::from("localhost"),
    ] {
        let stream = std::net::TcpStream::connect(addr).expect("connected");
        drop(accept(&listener));
        drop(TcpConnection::from_std(stream, options).expect("taken over"));
    }
}

#[test]
fn what_is_asked_for_before_it_is_connected_holds_from_the_first_byte_on() {
    // With one worker no name is resolved before the handler has returned.
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let probe = Probe::spawn(&node);
    let (listener, addr) = peer();
    let port = addr.port();
    let greeting = std::thread::spawn(move || {
        let greet = |_| {
            let mut stream = accept(&listener);
            stream.write_all(b"one\ntwo\n").expect("written");
            stream
        };
        (0..40).map(greet).collect::<Vec<_>>()
    });
    for _ in 0..20 {
        let alias = probe.run(move |cx| {
            let connection = TcpConnection::connect(("localhost", port)).expect("an attempt");
            let alias = cx.spawn_meta(connection).expect("spawned");
            cx.set_framing(alias, Framing::lines()).expect("alive");
            alias
        });
        assert_eq!(probe.connect().id, alias);
        assert_eq!(
            (probe.tcp().data, probe.tcp().data),
            ("one".into(), "two".into())
        );
        probe.run(move |cx| cx.abort(alias)).expect("alive");
        probe.disconnect();

        let alias = probe.run(move |cx| {
            let connection = TcpConnection::connect(("localhost", port)).expect("an attempt");
            let alias = cx.spawn_meta(connection).expect("spawned");
            cx.pause_reading(alias).expect("alive");
            alias
        });
        assert_eq!(probe.connect().id, alias);
        assert_eq!(inspect(&node, alias).number("bytes_in"), Some(0));
        probe
            .run(move |cx| cx.resume_reading(alias))
            .expect("alive");
        assert_eq!(probe.bytes(8), b"one\ntwo\n");
        probe.run(move |cx| cx.abort(alias)).expect("alive");
        probe.disconnect();
    }
    drop(greeting.join().expect("greeted"));
    stop_clean(&node);
}

#[test]
fn an_attempt_that_is_ended_with_data_waiting_keeps_the_reason_of_its_end() {
    let node = node();
    let probe = Probe::spawn(&node);
    let full = Unaccepting::new();
    let waiting = || {
        let limits = TcpLimits::default().with_close_timeout(Duration::from_millis(100));
        let alias = probe.connect_to(TcpConnectionOptions::from(full.addr).with_limits(limits));
        probe.write(alias, "words");
        alias
    };
    let alias = waiting();
    let reason = Reason::error("enough");
    let sent = reason.clone();
    let monitor = probe.run(move |cx| {
        cx.send_exit_meta(alias, sent).expect("alive");
        cx.monitor(alias)
    });
    let down = probe.down();
    assert_eq!((down.monitor, down.reason), (monitor, reason.clone()));
    let end = probe.disconnect();
    assert_eq!(
        (end.reason, end.unsent),
        (DisconnectReason::Exit(reason), 5)
    );
    // An abort is reported as an abort, whatever was requested before.
    let alias = waiting();
    probe.run(move |cx| {
        cx.send_exit_meta(alias, Reason::Shutdown).expect("alive");
        cx.abort(alias).expect("alive");
    });
    assert_eq!(probe.disconnect().reason, DisconnectReason::Abort);
    let alias = waiting();
    let stopped = node.clone();
    let report = within_limit("the stop", move || stopped.stop());
    assert_eq!(report.unsent_bytes, 5, "{report}");
    let end = probe.disconnect();
    assert_eq!(
        (end.id, end.reason, end.unsent),
        (alias, DisconnectReason::NodeStop, 5)
    );
}

/// The connection's success, the answer and the end arrive in one readiness event, which comes once.
#[test]
fn a_server_that_answers_and_closes_at_once_is_heard_to_the_end() {
    const EACH: usize = 100;
    const ROUNDS: usize = 10;
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let probe = Probe::spawn(&node);
    let (listener, addr) = peer();
    let serving = std::thread::spawn(move || {
        for _ in 0..EACH * ROUNDS {
            accept(&listener).write_all(b"x").expect("written");
        }
    });
    for _ in 0..ROUNDS {
        probe.run(move |cx| {
            for _ in 0..EACH {
                cx.spawn_meta(
                    TcpConnection::connect(("localhost", addr.port())).expect("an attempt"),
                )
                .expect("spawned");
            }
        });
        let mut ended = 0;
        while ended < EACH {
            if let Message::TcpDisconnect(end) = probe.next().1 {
                assert_eq!(
                    (end.reason, end.bytes_in),
                    (DisconnectReason::ClosedByPeer, 1)
                );
                ended += 1;
            }
        }
    }
    serving.join().expect("no panic");
    stop_clean(&node);
}
