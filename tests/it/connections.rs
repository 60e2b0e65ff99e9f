//! Listeners and their connections: creation, ends, owners.

use std::collections::HashSet;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{BindError, CustomFraming, DisconnectReason, SendErrorKind, SocketOptions};

use crate::support::*;

on_both! {
    the_end_of_a_listener_frees_its_port_and_leaves_its_connections,
    missing_and_dead_names_of_the_process_pool_are_skipped,
    a_panicking_maker_of_decoders_ends_neither_the_listener_nor_other_connections,
    each_way_to_end_gives_one_disconnect_with_its_reason,
    links_and_monitors_on_a_connection_are_notified_once,
    the_end_of_the_parent_ends_its_connections_and_their_owner_is_notified,
    messages_of_a_connection_come_from_the_parent,
    connect_data_and_disconnect_come_in_this_order_also_to_a_busy_owner,
    bytes_sent_just_before_an_end_arrive,
    nothing_can_be_sent_after_close,
    messages_that_mean_nothing_to_a_connection_take_none_of_its_output_limit,
    shutdown_write_ends_one_direction_only,
    a_half_open_connection_is_its_owners_to_close,
    a_connection_whose_owner_has_ended_is_closed_when_bytes_come,
    a_connection_whose_owner_ends_with_the_peers_end_in_its_mailbox_is_closed,
    an_idle_connection_ends_with_its_owner,
}

fn free_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .expect("bound")
        .local_addr()
        .expect("an address")
}

/// A listener of the probe, a client, and its connection.
fn connected(parent: &Probe) -> (Client, Alias) {
    let (addr, _) = parent.listen(TcpServerOptions::default());
    let stream = client(addr);
    let id = parent.connect().id;
    (stream, id)
}

// ---- Creation ----

#[test]
fn a_port_in_use_is_an_error_of_bind() {
    let first = TcpServer::bind("127.0.0.1:0").expect("bound");
    let error = TcpServer::bind(first.local_addr()).expect_err("in use");
    assert_eq!(error.kind(), Some(std::io::ErrorKind::AddrInUse));
    assert!(
        error.to_string().contains(&first.local_addr().to_string()),
        "{error}"
    );
    let error = TcpServer::bind("no.such.host.invalid:0").expect_err("no such host");
    assert!(matches!(error, BindError::Resolve { .. }), "{error}");
    TcpServer::bind("192.0.2.1:0").expect_err("not an address of this host");
}

#[test]
fn wrong_options_are_named_before_anything_is_bound() {
    let addr = free_addr();
    let holder = TcpListener::bind(addr).expect("bound");
    let field = |options: TcpServerOptions| match TcpServer::bind(options) {
        Err(BindError::Option(error)) => error.field(),
        other => panic!("{other:?}"),
    };
    let options = || TcpServerOptions::from(addr);
    assert_eq!(
        field(options().with_insecure_skip_verify(true)),
        "insecure_skip_verify"
    );
    assert_eq!(field(options().with_framing(Framing::fixed(0))), "length");
    assert_eq!(
        field(options().with_read_buffer_size(0)),
        "read_buffer_size"
    );
    assert_eq!(
        field(options().with_keep_alive_period(Duration::ZERO)),
        "keep_alive_period"
    );
    let keep_alive = (Duration::ZERO, b"x".to_vec());
    assert_eq!(
        field(options().with_write_keep_alive(keep_alive)),
        "write_keep_alive"
    );
    let never_fits = (Duration::from_secs(1), vec![0; (4 << 20) + 1]);
    assert_eq!(
        field(options().with_write_keep_alive(never_fits)),
        "write_keep_alive"
    );
    // The kernel would refuse these values without naming the field.
    assert_eq!(
        field(options().with_keep_alive_period(Duration::from_secs(32_768))),
        "keep_alive_period"
    );
    let socket = |socket: SocketOptions| field(options().with_socket(socket));
    let default = SocketOptions::default;
    assert_eq!(
        socket(default().with_keep_alive_interval(Duration::MAX)),
        "keep_alive_interval"
    );
    assert_eq!(
        socket(default().with_keep_alive_count(128)),
        "keep_alive_count"
    );
    assert_eq!(
        socket(default().with_user_timeout(Duration::MAX)),
        "user_timeout"
    );
    assert_eq!(
        socket(default().with_recv_buffer_size(usize::MAX)),
        "recv_buffer_size"
    );
    assert_eq!(
        socket(default().with_send_buffer_size(1 << 31)),
        "send_buffer_size"
    );
    let bound = TcpServer::bind(
        TcpServerOptions::default()
            .with_host("127.0.0.1")
            .with_port(addr.port()),
    );
    assert_eq!(
        bound.expect_err("taken").kind(),
        Some(std::io::ErrorKind::AddrInUse)
    );
    drop(holder);
    let longest = SocketOptions::default()
        .with_keep_alive_interval(Duration::from_secs(32_767))
        .with_keep_alive_count(127)
        .with_user_timeout(Duration::from_millis(i32::MAX as u64))
        .with_recv_buffer_size(i32::MAX as usize)
        .with_send_buffer_size(i32::MAX as usize);
    let options = options()
        .with_keep_alive_period(Duration::from_secs(32_767))
        .with_socket(longest);
    drop(TcpServer::bind(options).expect("the longest that there is"));
}

#[test]
fn an_empty_name_of_an_owner_is_the_parent() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (addr, _) = parent.listen_udp(UdpServerOptions::default().with_process(""));
    udp_client().send_to(b"for the parent", addr).expect("sent");
    assert_eq!(parent.udp().data, "for the parent");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("bound");
    let id = parent.connect_to(TcpConnectionOptions::from(addr).with_process(""));
    assert_eq!(parent.connect().id, id);
    stop_clean(&node);
}

#[test]
fn an_unspawned_server_that_is_dropped_or_terminated_frees_its_port() {
    for terminate in [false, true] {
        let server = TcpServer::bind("127.0.0.1:0").expect("bound");
        let addr = server.local_addr();
        if terminate {
            server.terminate(Reason::error("never mind"))
        } else {
            drop(server)
        }
        TcpListener::bind(addr).expect("free");
        let server = UdpServer::bind("127.0.0.1:0").expect("bound");
        let addr = server.local_addr();
        if terminate {
            server.terminate(Reason::Kill)
        } else {
            drop(server)
        }
        std::net::UdpSocket::bind(addr).expect("free");
    }
    let peer = TcpListener::bind("127.0.0.1:0").expect("bound");
    let connection = TcpConnection::connect(peer.local_addr().expect("bound")).expect("an attempt");
    let (mut accepted, _) = peer.accept().expect("accepted");
    bounded(&accepted);
    connection.terminate(Reason::Normal);
    assert_eq!(read_to_end(&mut accepted), b"");
}

#[test]
fn a_connection_reports_its_own_address() {
    let node = node();
    let parent = Probe::spawn(&node);
    let listener = TcpListener::bind("0.0.0.0:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    parent.spawn_meta(
        TcpServer::from_std(listener, TcpServerOptions::default()).expect("taken over"),
    );
    let server = TcpServer::bind("127.0.0.1:0").expect("bound");
    let addrs = [
        SocketAddr::from(([127, 0, 0, 1], port)),
        SocketAddr::from(([127, 0, 0, 2], port)),
        server.local_addr(),
    ];
    parent.spawn_meta(server);
    for addr in addrs {
        let stream = client(addr);
        assert_eq!(parent.connect().local_addr, addr);
        drop(stream);
        parent.disconnect();
    }
    stop_clean(&node);
}

#[test]
fn an_empty_host_serves_both_families() {
    let node = node();
    let parent = Probe::spawn(&node);
    let server = TcpServer::bind(":0").expect("bound");
    let port = server.local_addr().port();
    parent.spawn_meta(server);
    let four = client(SocketAddr::from(([127, 0, 0, 1], port)));
    let connect = parent.connect();
    // The address is reported as IPv4, and not as the IPv6 address that it is mapped to.
    assert_eq!(connect.remote_addr, four.local_addr().expect("an address"));
    assert_eq!(connect.local_addr, four.peer_addr().expect("an address"));
    drop(four);
    parent.disconnect();
    match try_client(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))) {
        Ok(six) => {
            parent.connect();
            drop(six);
            parent.disconnect();
        }
        Err(error) => println!("skipped: no IPv6 here: {error}"),
    }
    stop_clean(&node);
}

// ---- Listeners ----

#[test]
fn the_end_of_a_listener_frees_its_port_and_leaves_its_connections() {
    let node = node();
    let parent = Probe::spawn(&node);
    for ends in 0..3 {
        let (addr, listener) = parent.listen(TcpServerOptions::default());
        let mut stream = client(addr);
        let id = parent.connect().id;
        match ends {
            0 => node.send_exit_meta(listener, Reason::Shutdown),
            1 => node.send_exit_meta(listener, Reason::Kill),
            _ => node.close(listener),
        }
        .expect("it lives");
        wait_for_count(&node, "meta_processes", 1);
        drop(TcpServer::bind(addr).expect("free"));
        stream.write_all(b"still").expect("written");
        assert_eq!(parent.bytes(5), b"still");
        parent.write(id, "here");
        assert_eq!(read(&mut stream, 4), b"here");
        drop(stream);
        parent.disconnect();
        wait_for_count(&node, "meta_processes", 0);
    }
    stop_clean(&node);
}

#[test]
fn missing_and_dead_names_of_the_process_pool_are_skipped() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (b, c) = (Probe::named(&node, "b"), Probe::named(&node, "c"));
    let (addr, listener) =
        parent.listen(TcpServerOptions::default().with_process_pool(["a", "b", "c"]));
    let mut clients = Vec::new();
    let mut connect = |owner: &Probe| {
        clients.push(client(addr));
        owner.connect();
    };
    connect(&b); // 0 is for a, who is missing
    connect(&b); // 1
    connect(&c); // 2
    node.send_exit(b.pid, Reason::Kill).expect("it lives");
    b.end();
    wait_for_count(&node, "processes", 2);
    connect(&c); // 3 is for a, then b
    connect(&c); // 4 is for b
    let a = Probe::named(&node, "a");
    connect(&c); // 5
    connect(&a); // 6
    for probe in [&a, &c] {
        node.send_exit(probe.pid, Reason::Kill).expect("it lives");
    }
    wait_for_count(&node, "processes", 1);
    // No owner is left: the connection is closed and counted, and the listener continues to accept.
    let mut lonely = client(addr);
    assert_eq!(read_out(&mut lonely).unwrap_or_default(), b"");
    wait_for(&node, listener, "no_owner", 1);
    assert_eq!(inspect(&node, listener).number("accepted"), Some(7));
    let a = Probe::named(&node, "a");
    let _stream = client(addr);
    a.connect();
    stop_clean(&node);
}

#[test]
fn a_panicking_maker_of_decoders_ends_neither_the_listener_nor_other_connections() {
    silence_expected_panics();
    let node = node();
    let parent = Probe::spawn(&node);
    struct Whole;
    impl FrameDecoder for Whole {
        fn decode(&mut self, bytes: &[u8]) -> Result<Frame, FrameError> {
            if bytes.contains(&b'!') {
                panic!("asked to");
            }
            Ok(Frame::Skip {
                consumed: bytes.len(),
            })
        }
    }
    let made = std::sync::atomic::AtomicUsize::new(0);
    let framing = Framing::Custom(CustomFraming::new(move || {
        if made.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            panic!("asked to");
        }
        Box::new(Whole)
    }));
    let (addr, _) = parent.listen(TcpServerOptions::default().with_framing(framing));
    let mut first = client(addr);
    let id = parent.connect().id;
    let mut second = client(addr);
    parent.connect();
    second.write_all(b"x").expect("written");
    assert!(matches!(
        parent.disconnect().reason,
        DisconnectReason::Exit(Reason::Panic(_))
    ));
    let _third = client(addr);
    parent.connect();
    first.write_all(b"!").expect("written");
    let ended = parent.disconnect();
    assert_eq!(
        (ended.id, ended.reason),
        (id, DisconnectReason::Exit(Reason::Panic("asked to".into())))
    );
    stop_clean(&node);
}

#[test]
fn a_listener_recovers_by_itself_when_descriptors_are_free_again() {
    alone(
        "connections::a_listener_recovers_by_itself_when_descriptors_are_free_again",
        || {
            let me = std::process::id().to_string();
            let limited = std::process::Command::new("prlimit")
                .args(["--pid", &me, "--nofile=100:100"])
                .status();
            if !limited.is_ok_and(|status| status.success()) {
                return println!("skipped: prlimit does not work here");
            }
            let node = node();
            let parent = Probe::spawn(&node);
            let (addr, listener) = parent.listen(TcpServerOptions::default());
            let mut established = client(addr);
            let id = parent.connect().id;
            let mut clients: Vec<_> = (0..20)
                .map(|_| std::net::TcpStream::connect(addr).expect("in the backlog"))
                .collect();
            for _ in 0..20 {
                parent.connect();
            }
            // No descriptor is left for the listener.
            let mut hoard = Vec::new();
            clients.push(std::net::TcpStream::connect(addr).expect("in the backlog"));
            parent.connect();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                hoard.push(file);
            }
            drop(hoard.pop());
            let late = std::net::TcpStream::connect(addr).expect("in the backlog");
            wait_until("an accept to fail", || {
                inspect(&node, listener).number("accept_errors") > Some(0)
            });
            // Live connections continue.
            established.write_all(b"x").expect("written");
            assert_eq!(parent.bytes(1), b"x");
            parent.write(id, "y");
            assert_eq!(read(&mut established, 1), b"y");
            // A descriptor is free again: the next connection is served without an event from the kernel.
            drop(hoard);
            let _next = std::net::TcpStream::connect(addr).expect("in the backlog");
            parent.connect();
            drop(late);
            stop_clean(&node);
        },
    );
}

// ---- Ends ----

#[test]
fn each_way_to_end_gives_one_disconnect_with_its_reason() {
    let node = node();
    let parent = Probe::spawn(&node);
    let exit = |reason: &Reason| DisconnectReason::Exit(reason.clone());
    let custom = Reason::error("custom");

    let (stream, id) = connected(&parent);
    drop(stream);
    let ended = parent.disconnect();
    assert_eq!(
        (ended.id, ended.reason),
        (id, DisconnectReason::ClosedByPeer)
    );

    let (stream, id) = connected(&parent);
    reset(stream);
    let ended = parent.disconnect();
    assert_eq!((ended.id, ended.reason), (id, DisconnectReason::Reset));

    let (mut stream, id) = connected(&parent);
    parent.run(move |cx| cx.close(id)).expect("it lives");
    assert_eq!(read_to_end(&mut stream), b"");
    drop(stream);
    assert_eq!(parent.disconnect().reason, DisconnectReason::LocalClose);

    let (mut stream, id) = connected(&parent);
    parent.run(move |cx| cx.abort(id)).expect("it lives");
    assert_eq!(
        read_out(&mut stream),
        Err(std::io::ErrorKind::ConnectionReset)
    );
    assert_eq!(parent.disconnect().reason, DisconnectReason::Abort);

    for reason in [Reason::Normal, Reason::Shutdown, custom.clone()] {
        let (mut stream, id) = connected(&parent);
        let sent = reason.clone();
        parent
            .run(move |cx| cx.send_exit_meta(id, sent))
            .expect("it lives");
        assert_eq!(read_to_end(&mut stream), b"");
        drop(stream);
        assert_eq!(parent.disconnect().reason, exit(&reason));
    }
    let (mut stream, id) = connected(&parent);
    parent
        .run(move |cx| cx.send_exit_meta(id, Reason::Kill))
        .expect("it lives");
    assert_eq!(
        read_out(&mut stream),
        Err(std::io::ErrorKind::ConnectionReset)
    );
    assert_eq!(parent.disconnect().reason, exit(&Reason::Kill));

    parent.saw_nothing();
    stop_clean(&node);
}

#[test]
fn many_ends_at_once_give_one_disconnect() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (addr, _) = parent.listen(TcpServerOptions::default());
    for round in 0..200 {
        let mut stream = client(addr);
        let id = parent.connect().id;
        let inside = node.clone();
        let ending = std::thread::spawn(move || {
            // A late monitor finds the connection ended.
            let _ = if round % 2 == 0 {
                inside.close(id)
            } else {
                inside.send_exit_meta(id, Reason::Shutdown)
            };
            let _ = inside.abort(id);
        });
        // The client may have been reset.
        let _ = stream.write_all(b"some bytes");
        match round % 3 {
            0 => reset(stream),
            1 => drop(stream),
            _ => drop(stream.shutdown(Shutdown::Both)),
        }
        ending.join().expect("no panic");
        let (bytes, ended) = parent.bytes_to_disconnect();
        assert_eq!(ended.id, id);
        assert!(b"some bytes".starts_with(&bytes[..]));
    }
    wait_for_count(&node, "meta_processes", 1);
    parent.saw_nothing();
    stop_clean(&node);
}

#[test]
fn links_and_monitors_on_a_connection_are_notified_once() {
    let node = node();
    let (parent, watcher) = (Probe::spawn(&node), Probe::spawn(&node));
    watcher.run(|cx| cx.set_trap_exit(true));
    for peer_resets in [false, true] {
        let (stream, id) = connected(&parent);
        let monitor = watcher.run(move |cx| {
            cx.link(id).expect("it lives");
            cx.monitor(id)
        });
        inspect(&node, id);
        if peer_resets {
            reset(stream)
        } else {
            drop(stream)
        }
        parent.disconnect();
        let notices = [watcher.next().1, watcher.next().1];
        for message in notices {
            let reason = match message {
                Message::Exit(exit) => exit.reason,
                Message::Down(down) => {
                    assert_eq!(down.monitor, monitor);
                    down.reason
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(
                reason,
                if peer_resets {
                    Reason::error("reset by peer")
                } else {
                    Reason::Normal
                }
            );
        }
        watcher.saw_nothing();
    }
    stop_clean(&node);
}

#[test]
fn the_end_of_the_parent_ends_its_connections_and_their_owner_is_notified() {
    let node = node();
    let (parent, owner) = (Probe::spawn(&node), Probe::named(&node, "owner"));
    let (addr, _) = parent.listen(TcpServerOptions::default().with_process_pool(["owner"]));
    let mut stream = client(addr);
    let id = owner.connect().id;
    let reason = Reason::error("custom");
    node.send_exit(parent.pid, reason.clone())
        .expect("it lives");
    assert_eq!(read_to_end(&mut stream), b"");
    drop(stream);
    let ended = owner.disconnect();
    assert_eq!(
        (ended.id, ended.reason),
        (id, DisconnectReason::Exit(reason))
    );
    wait_for_count(&node, "meta_processes", 0);
    stop_clean(&node);
}

#[test]
fn messages_of_a_connection_come_from_the_parent() {
    let node = node();
    let (parent, owner) = (Probe::spawn(&node), Probe::named(&node, "owner"));
    let (addr, _) = parent.listen(TcpServerOptions::default().with_process_pool(["owner"]));
    let mut stream = client(addr);
    stream.write_all(b"x").expect("written");
    drop(stream);
    for _ in 0..3 {
        assert_eq!(owner.next().0, parent.pid);
    }
    stop_clean(&node);
}

#[test]
fn connect_data_and_disconnect_come_in_this_order_also_to_a_busy_owner() {
    let node = node();
    let owner = Probe::spawn_with(&node, SpawnOptions::default().with_data_bound(2));
    let (addr, _) = owner.listen(TcpServerOptions::default().with_read_buffer_size(1_000));
    for _ in 0..20 {
        let gate = owner.block();
        let mut stream = client(addr);
        let sent: Vec<u8> = (0..50_000_u32).map(|number| (number % 251) as u8).collect();
        stream.write_all(&sent).expect("written");
        drop(stream);
        drop(gate);
        let id = owner.connect().id;
        let (bytes, ended) = owner.bytes_to_disconnect();
        assert!(bytes == sent, "{} bytes", bytes.len());
        assert_eq!(
            (ended.id, ended.reason),
            (id, DisconnectReason::ClosedByPeer)
        );
        assert_eq!(ended.bytes_in, 50_000);
    }
    stop_clean(&node);
}

#[test]
fn bytes_sent_just_before_an_end_arrive() {
    let node = node();
    let parent = Probe::spawn(&node);
    let last: Vec<u8> = vec![7; 100_000];
    for round in 0..50 {
        let owner = Probe::spawn(&node);
        let (mut stream, id) = connected(&owner);
        let bytes = Buffer::from(&last[..]);
        owner.start(move |cx| {
            cx.send_alias(id, MessageTcp::new(id, bytes))?;
            match round % 4 {
                0 => cx.close(id)?,
                1 => cx.send_exit_meta(id, Reason::error("enough"))?,
                2 => return Err(Reason::error("the end of the parent")),
                _ => return Err(Reason::Normal),
            }
            Ok(())
        });
        let got = read_to_end(&mut stream);
        assert!(got == last, "{} bytes in round {round}", got.len());
        if round % 4 < 2 {
            drop(stream);
            assert_eq!(owner.disconnect().unsent, 0);
        }
    }
    drop(parent);
    stop_clean(&node);
}

#[test]
fn a_peer_that_has_ended_its_side_still_gets_its_reply() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (ended_sender, ends) = std::sync::mpsc::channel();
    node.spawn_register("echo", || {
        Script(move |cx: &mut Context<'_>, _: Pid, message: Message| {
            match message {
                Message::Tcp(packet) => cx.send_alias(packet.id, packet)?,
                Message::TcpDisconnect(ended) => drop(ended_sender.send(ended)),
                _ => {}
            }
            Ok(())
        })
    })
    .expect("spawned");
    let (addr, _) = parent.listen(TcpServerOptions::default().with_process_pool(["echo"]));
    let question: Vec<u8> = vec![5; 300_000];
    for _ in 0..20 {
        let mut stream = client(addr);
        let mut writing = stream.try_clone().expect("a clone");
        let sent = question.clone();
        let writer = std::thread::spawn(move || {
            writing.write_all(&sent).expect("written");
            writing.shutdown(Shutdown::Write).expect("shut down");
        });
        assert!(read_to_end(&mut stream) == question);
        writer.join().expect("no panic");
        let ended = value_of(&ends).expect("a disconnect");
        assert_eq!(
            (ended.reason, ended.unsent),
            (DisconnectReason::ClosedByPeer, 0)
        );
    }
    stop_clean(&node);
}

#[test]
fn an_alias_is_never_used_again_and_a_stale_one_reaches_no_process() {
    let node = node();
    let owner = Probe::spawn(&node);
    let (addr, _) = owner.listen(TcpServerOptions::default());
    let mut seen = HashSet::new();
    for _ in 0..1_000 {
        let stream = client(addr);
        let id = owner.connect().id;
        assert!(seen.insert(id), "{id} again");
        drop(stream);
        assert_eq!(owner.disconnect().id, id);
    }
    wait_for_count(&node, "meta_processes", 1);
    let mut stream = client(addr);
    let id = owner.connect().id;
    for stale in seen {
        let error = node
            .send_alias(stale, MessageTcp::new(stale, "for another"))
            .expect_err("stale");
        assert_eq!(error.kind(), SendErrorKind::NoMeta);
        assert_eq!(node.close(stale), Err(SendErrorKind::NoMeta));
        assert_eq!(node.abort(stale), Err(SendErrorKind::NoMeta));
        assert_eq!(
            node.send_exit_meta(stale, Reason::Kill),
            Err(SendErrorKind::NoMeta)
        );
    }
    owner.write(id, "mine");
    assert_eq!(read(&mut stream, 4), b"mine");
    stop_clean(&node);
}

/// Urgent data ends a read, as if no bytes followed.
#[cfg(target_os = "linux")]
#[test]
fn an_urgent_byte_is_not_data_and_holds_nothing_back() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (addr, listener) = parent.listen(TcpServerOptions::default());
    for is_there_first in [true, false] {
        parent
            .run(move |cx| cx.pause_accepting(listener))
            .expect("alive");
        let client = client(addr);
        if !is_there_first {
            parent
                .run(move |cx| cx.resume_accepting(listener))
                .expect("alive");
        }
        let socket = socket2::SockRef::from(&client);
        socket.send(b"before").expect("sent");
        socket.send_out_of_band(b"!").expect("sent");
        socket.send(b"behind").expect("sent");
        parent
            .run(move |cx| cx.resume_accepting(listener))
            .expect("alive");
        parent.connect();
        assert_eq!(parent.bytes(12), b"beforebehind");
        drop(client);
        parent.disconnect();
    }
    stop_clean(&node);
}

#[test]
fn nothing_can_be_sent_after_close() {
    let node = node();
    let owner = Probe::spawn(&node);
    let (mut stream, id) = connected(&owner);
    let kinds = owner.run(move |cx| {
        cx.send_alias(id, MessageTcp::new(id, "before"))
            .expect("accepted");
        cx.close(id).expect("it lives");
        cx.close(id).expect("twice is once");
        let after = cx
            .send_alias(id, MessageTcp::new(id, "after"))
            .expect_err("closing");
        (after.kind(), cx.shutdown_write(id))
    });
    assert_eq!(kinds.0, SendErrorKind::Closing);
    assert_eq!(read_to_end(&mut stream), b"before");
    drop(stream);
    assert_eq!(owner.disconnect().reason, DisconnectReason::LocalClose);
    stop_clean(&node);
}

#[test]
fn messages_that_mean_nothing_to_a_connection_take_none_of_its_output_limit() {
    let node = node();
    let owner = Probe::spawn(&node);
    let (addr, _) = owner.listen(TcpServerOptions::default());
    let to = addr;
    // First while it connects, and then when it is connected.
    let id = owner.run(move |cx| {
        let client = TcpConnection::connect(("localhost", addr.port())).expect("an attempt");
        let id = cx.spawn_meta(client).expect("spawned");
        cx.send_alias(id, MessageUdp::new(id, to, vec![0; 1_000]))
            .expect("accepted");
        id
    });
    let (first, second) = (owner.connect(), owner.connect());
    assert!([first.id, second.id].contains(&id));
    owner
        .run(move |cx| cx.send_alias(id, MessageUdp::new(id, to, vec![0; 1_000])))
        .expect("accepted");
    owner
        .run(move |cx| cx.send_alias(id, "not bytes"))
        .expect("accepted");
    inspect(&node, id); // all of it has been handled
    assert_eq!(owner.run(move |cx| cx.queued_bytes(id)), 0);
    owner.run(move |cx| cx.close(id)).expect("it lives");
    for _ in 0..2 {
        let disconnect = owner.disconnect();
        let expected = if disconnect.id == id {
            DisconnectReason::LocalClose
        } else {
            DisconnectReason::ClosedByPeer
        };
        assert_eq!((disconnect.reason, disconnect.unsent), (expected, 0));
    }
    stop_clean(&node);
}

#[test]
fn shutdown_write_ends_one_direction_only() {
    let node = node();
    let owner = Probe::spawn(&node);
    let (mut stream, id) = connected(&owner);
    owner.run(move |cx| {
        cx.send_alias(id, MessageTcp::new(id, "last"))
            .expect("accepted");
        cx.shutdown_write(id).expect("it lives");
    });
    assert_eq!(read_to_end(&mut stream), b"last");
    stream.write_all(b"more").expect("written");
    assert_eq!(owner.bytes(4), b"more");
    drop(stream);
    assert_eq!(owner.disconnect().reason, DisconnectReason::ClosedByPeer);
    stop_clean(&node);
}

#[test]
fn a_half_open_connection_is_its_owners_to_close() {
    let node = node();
    let owner = Probe::spawn(&node);
    let (addr, _) = owner.listen(TcpServerOptions::default().with_half_open(true));
    let mut stream = client(addr);
    stream.write_all(b"x").expect("written");
    stream.shutdown(Shutdown::Write).expect("shut down");
    let id = owner.connect().id;
    assert_eq!(owner.bytes(1), b"x");
    assert_eq!(owner.peer_closed().id, id);
    for _ in 0..3 {
        owner.write(id, "y");
        assert_eq!(read(&mut stream, 1), b"y");
    }
    owner.run(move |cx| cx.close(id)).expect("it lives");
    assert_eq!(read_to_end(&mut stream), b"");
    assert_eq!(owner.disconnect().reason, DisconnectReason::LocalClose);
    stop_clean(&node);
}

// ---- Owners that are gone ----

#[test]
fn a_connection_whose_owner_has_ended_is_closed_when_bytes_come() {
    let node = node();
    let (parent, owner) = (Probe::spawn(&node), Probe::named(&node, "owner"));
    let (addr, _) = parent.listen(TcpServerOptions::default().with_process_pool(["owner"]));
    let mut stream = client(addr);
    owner.connect();
    node.send_exit(owner.pid, Reason::Kill).expect("it lives");
    owner.end();
    // The connection may be closed already.
    let _ = stream.write_all(b"anything");
    let _ = read_out(&mut stream);
    wait_for_count(&node, "meta_processes", 1);
    stop_clean(&node);
}

#[test]
fn a_connection_whose_owner_ends_with_the_peers_end_in_its_mailbox_is_closed() {
    let node = node();
    let parent = Probe::spawn(&node);
    for half_open in [false, true] {
        let options = TcpServerOptions::default()
            .with_process_pool(["owner"])
            .with_half_open(half_open);
        let (addr, listener) = parent.listen(options);
        let owner = Probe::named(&node, "owner");
        let mut stream = client(addr);
        let id = owner.connect().id;
        let gate = owner.block();
        stream.shutdown(Shutdown::Write).expect("shut down");
        wait_for(&node, id, "state", "half-closed by peer");
        node.send_exit(owner.pid, Reason::Kill).expect("it lives");
        drop(gate);
        owner.end();
        // The peer has shut down its side, so no event will come from it.
        wait_until("the connection to be closed", || {
            count(&node, "meta_processes") == 1
        });
        let _ = read_out(&mut stream);
        node.close(listener).expect("it lives");
        wait_for_count(&node, "meta_processes", 0);
    }
    stop_clean(&node);
}

#[test]
fn an_idle_connection_ends_with_its_owner() {
    let node = node();
    let (parent, owner) = (Probe::spawn(&node), Probe::named(&node, "owner"));
    let options = TcpServerOptions::default()
        .with_process_pool(["owner"])
        .with_half_open(true);
    let (addr, _) = parent.listen(options);
    let mut stream = client(addr);
    owner.connect();
    stream.shutdown(Shutdown::Write).expect("shut down");
    owner.peer_closed();
    // Its owner has received every event, and ends, so no close can come from it.
    node.send_exit(owner.pid, Reason::Shutdown)
        .expect("it lives");
    owner.end();
    let _ = read_out(&mut stream);
    wait_for_count(&node, "meta_processes", 1);
    stop_clean(&node);
}

// ---- Keep-alive ----

#[test]
fn keep_alive_bytes_are_written_after_a_period_without_writes_only() {
    const PERIOD: Duration = Duration::from_millis(100);
    let node = node();
    let owner = Probe::spawn(&node);
    let options = TcpServerOptions::default().with_write_keep_alive((PERIOD, b"*".to_vec()));
    let (addr, _) = owner.listen(options);
    let started = Moment::now();
    let mut stream = client(addr);
    let id = owner.connect().id;
    // Busy: while writes come more often than the period, no keep-alive is written. A slow machine may pause.
    let mut longest = Duration::ZERO;
    let mut last = Moment::now();
    let mut written = 0;
    while started.elapsed() < PERIOD * 3 {
        owner.write(id, "x");
        written += 1;
        longest = longest.max(last.elapsed());
        last = Moment::now();
    }
    let got = read(&mut stream, written);
    if longest < PERIOD / 2 {
        assert!(
            got.iter().all(|byte| *byte == b'x'),
            "keep-alive between writes"
        );
    }
    // Idle: one keep-alive in each period, not more.
    let idle_since = Moment::now();
    while read(&mut stream, 1) != b"*" {}
    for _ in 0..3 {
        assert_eq!(read(&mut stream, 1), b"*");
    }
    // The first may be due at once, if the last write is long past.
    assert!(
        idle_since.elapsed() >= PERIOD * 2,
        "{:?}",
        idle_since.elapsed()
    );
    stop_clean(&node);
}
