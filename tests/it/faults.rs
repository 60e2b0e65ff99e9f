//! Connection attempts that fail, and sockets of other kinds.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{ConnectError, SocketOptions, TcpLimits};
#[cfg(unix)]
use longshore::{UnixConnection, UnixConnectionOptions, UnixServer, UnixServerOptions};

use crate::support::*;

/// Why an attempt failed, from the error at creation or from its only message.
fn failure(probe: &Probe, options: impl Into<TcpConnectionOptions>) -> DisconnectReason {
    match TcpConnection::connect(options) {
        Ok(connection) => {
            let alias = probe.spawn_meta(connection);
            let end = probe.disconnect();
            assert_eq!((end.id, end.bytes_in, end.bytes_out), (alias, 0, 0));
            without_number(end.reason)
        }
        Err(ConnectError::Connect { source, .. }) => {
            DisconnectReason::Connect(source.kind().into())
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn closed_port_refuses() {
    let node = node();
    let probe = Probe::spawn(&node);
    let closed = TcpListener::bind("127.0.0.1:0")
        .expect("bound")
        .local_addr()
        .expect("an address");
    assert_eq!(
        failure(&probe, closed),
        DisconnectReason::Connect(ErrorKind::ConnectionRefused.into())
    );
    // For a name, every address of it is tried, off the loop.
    let by_name = failure(&probe, ("localhost", closed.port()));
    assert_eq!(
        by_name,
        DisconnectReason::Connect(ErrorKind::ConnectionRefused.into())
    );
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn unknown_name_is_reported_as_such_and_blocks_no_connection() {
    let node = node();
    let probe = Probe::spawn(&node);
    let reason = failure(&probe, "no-such-host.invalid:80");
    assert!(matches!(reason, DisconnectReason::Resolve(_)), "{reason}");
    stop_clean(&node);
}

#[test]
fn name_is_connected_to() {
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let alias = probe.connect_to(("localhost", port));
    probe.write(alias, "early");
    let (mut peer, _) = listener.accept().expect("a connection");
    bounded(&peer);
    assert_eq!(read(&mut peer, 5), b"early");
    assert_eq!(probe.connect().remote_addr.port(), port);
    stop_clean(&node);
}

#[test]
fn local_address_of_another_family_is_reported() {
    let node = node();
    let probe = Probe::spawn(&node);
    let local: SocketAddr = "[::1]:0".parse().expect("an address");
    let options = TcpConnectionOptions::from("127.0.0.1:9").with_local_addr(local);
    let reason = failure(&probe, options);
    assert!(matches!(reason, DisconnectReason::Connect(_)), "{reason}");
    stop_clean(&node);
}

#[test]
fn local_address_is_used() {
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let to = listener.local_addr().expect("an address");
    probe.connect_to(
        TcpConnectionOptions::from(to).with_local_addr(SocketAddr::from(([127, 0, 0, 9], 0))),
    );
    let (_peer, from) = listener.accept().expect("a connection");
    assert_eq!(from.ip(), Ipv4Addr::new(127, 0, 0, 9));
    assert_eq!(probe.connect().local_addr, from);
    stop_clean(&node);
}

#[test]
fn attempt_that_is_not_answered_ends_at_its_deadline_and_leaves_nothing() {
    let node = node();
    let probe = Probe::spawn(&node);
    let full = Unaccepting::new();
    let timeout = Duration::from_millis(200);
    let begun = Instant::now();
    let reason = failure(
        &probe,
        TcpConnectionOptions::from(full.addr).with_connect_timeout(timeout),
    );
    assert_eq!(reason, DisconnectReason::ConnectTimeout);
    assert!(
        begun.elapsed() >= timeout && begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    wait_for_count(&node, "meta_processes", 0);
    wait_for_count(&node, "timers", 0);
    stop_clean(&node);
}

#[test]
fn options_of_a_client_without_sense_are_named() {
    let field = |options: TcpConnectionOptions| match TcpConnection::connect(options) {
        Err(ConnectError::Option(error)) => error.field(),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(TcpConnectionOptions::default()), "host");
    assert_eq!(field(TcpConnectionOptions::from("127.0.0.1")), "port");
    let zero = SocketOptions::default().with_user_timeout(Duration::ZERO);
    assert_eq!(
        field(TcpConnectionOptions::from("127.0.0.1:9").with_socket(zero)),
        "user_timeout"
    );
    let zero = TcpLimits::default().with_linger_timeout(Duration::ZERO);
    assert_eq!(
        field(TcpConnectionOptions::from("127.0.0.1:9").with_limits(zero)),
        "linger_timeout"
    );
}

#[test]
fn options_of_the_socket_reach_the_kernel() {
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let socket = SocketOptions::default()
        .with_nodelay(false)
        .with_keep_alive_interval(Duration::from_secs(7))
        .with_keep_alive_count(3)
        .with_user_timeout(Duration::from_secs(9))
        .with_reset_on_close(true);
    let options = TcpConnectionOptions::from(listener.local_addr().expect("an address"))
        .with_keep_alive_period(Duration::from_secs(5))
        .with_socket(socket);
    // Takes the same path as a connection of its own, over a socket that the test can examine.
    let stream = std::net::TcpStream::connect(listener.local_addr().expect("an address"))
        .expect("connected");
    let seen = socket2::Socket::from(stream.try_clone().expect("a clone"));
    probe.spawn_meta(TcpConnection::from_std(stream, options).expect("taken over"));
    probe.connect();
    assert!(!seen.tcp_nodelay().expect("an option"));
    assert!(seen.keepalive().expect("an option"));
    assert_eq!(seen.linger().expect("an option"), Some(Duration::ZERO));
    #[cfg(target_os = "linux")]
    {
        assert_eq!(
            seen.tcp_keepalive_time().expect("an option"),
            Duration::from_secs(5)
        );
        assert_eq!(
            seen.tcp_keepalive_interval().expect("an option"),
            Duration::from_secs(7)
        );
        assert_eq!(seen.tcp_keepalive_retries().expect("an option"), 3);
        assert_eq!(
            seen.tcp_user_timeout().expect("an option"),
            Some(Duration::from_secs(9))
        );
    }
    stop_clean(&node);
}

#[test]
fn buffer_sizes_reach_sockets_that_are_taken_over() {
    let sizes = || {
        SocketOptions::default()
            .with_recv_buffer_size(9_000)
            .with_send_buffer_size(9_000)
    };
    // The kernel doubles them.
    let insist = |socket: &socket2::Socket| {
        assert_eq!(socket.recv_buffer_size().expect("an option"), 18_000);
        assert_eq!(socket.send_buffer_size().expect("an option"), 18_000);
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let stream = std::net::TcpStream::connect(listener.local_addr().expect("an address"))
        .expect("connected");
    let seen = socket2::Socket::from(stream.try_clone().expect("a clone"));
    let options = TcpConnectionOptions::default().with_socket(sizes());
    let _connection = TcpConnection::from_std(stream, options).expect("taken over");
    if cfg!(target_os = "linux") {
        insist(&seen);
    }
    let seen = socket2::Socket::from(listener.try_clone().expect("a clone"));
    let _server = TcpServer::from_std(listener, TcpServerOptions::default().with_socket(sizes()))
        .expect("taken over");
    if cfg!(target_os = "linux") {
        insist(&seen);
    }
    #[cfg(target_os = "linux")]
    {
        let (stream, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let seen = socket2::Socket::from(stream.try_clone().expect("a clone"));
        let options = UnixConnectionOptions::default().with_socket(sizes());
        let _connection = UnixConnection::from_std(stream, options).expect("taken over");
        insist(&seen);
        let (socket, _other) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
        let seen = socket2::Socket::from(socket.try_clone().expect("a clone"));
        let options = longshore::UnixDatagramOptions::default()
            .with_recv_buffer_size(9_000)
            .with_send_buffer_size(9_000);
        let _server = longshore::UnixDatagramServer::from_std(socket, options).expect("taken over");
        insist(&seen);
    }
}

#[test]
fn bytes_keep_a_connection_alive_only_after_silence() {
    let node = node();
    let probe = Probe::spawn(&node);
    let period = Duration::from_millis(100);
    let options = TcpServerOptions::default().with_write_keep_alive((period, b"\0\0".to_vec()));
    let (addr, _) = probe.listen(options);
    let mut client = client(addr);
    let alias = probe.connect().id;
    let begun = Instant::now();
    assert_eq!(read(&mut client, 6), [0; 6]);
    assert!(begun.elapsed() >= 2 * period, "{:?}", begun.elapsed());
    probe.write(alias, "x");
    assert_eq!(read(&mut client, 1), b"x", "bytes were added to a write");
    stop_clean(&node);
}

#[test]
fn idle_connection_ends_at_its_deadline_and_a_busy_one_does_not() {
    let node = node();
    let probe = Probe::spawn(&node);
    let idle = Duration::from_millis(250);
    let limits = TcpLimits::default().with_idle_timeout(idle);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits));
    let mut client = client(addr);
    probe.connect();
    let begun = Instant::now();
    let mut last = begun;
    while begun.elapsed() < idle * 3 {
        last = Instant::now();
        client.write_all(b"x").expect("alive");
        assert_eq!(probe.tcp().data, "x");
    }
    assert_eq!(read_to_end(&mut client), b"");
    drop(client);
    assert_eq!(probe.disconnect().reason, DisconnectReason::IdleTimeout);
    // The clock of the node counts whole milliseconds.
    assert!(
        last.elapsed() + Duration::from_millis(2) >= idle,
        "{:?}",
        last.elapsed()
    );
    stop_clean(&node);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use longshore::{MessageUnixDatagram, UnixDatagramOptions, UnixDatagramServer};
    use std::io::Read;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::path::PathBuf;

    /// A path that is removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("longshore-{}-{name}.sock", std::process::id())))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn connected(place: &Place) -> UnixStream {
        let stream = UnixStream::connect(&place.0).expect("connected");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        stream
    }

    #[test]
    fn stream_in_the_file_system_is_served_like_any_other() {
        let node = node();
        let probe = Probe::spawn(&node);
        let place = Place::new("served");
        let server = UnixServer::bind(&place.0, UnixServerOptions::default()).expect("bound");
        let again = UnixServer::bind(&place.0, UnixServerOptions::default()).expect_err("in use");
        assert_eq!(again.kind(), Some(ErrorKind::AddrInUse));
        let listener = probe.spawn_meta(server);
        let mut client = connected(&place);
        let connect = probe.connect();
        assert_eq!(connect.remote_addr.port(), 0);
        client.write_all(b"question").expect("written");
        assert_eq!(probe.bytes(8), b"question");
        let (alias, bytes) = (connect.id, vec![9; 3 << 20]);
        let data = Buffer::from(&bytes[..]);
        probe.run(move |cx| {
            cx.send_alias(alias, MessageTcp::new(alias, data))
                .expect("accepted");
            cx.close(alias).expect("alive");
        });
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("an orderly end");
        assert!(got == bytes);
        drop(client);
        let end = probe.disconnect();
        assert_eq!((end.reason, end.unsent), (DisconnectReason::LocalClose, 0));
        let counts = inspect(&node, listener);
        assert_eq!(counts.value("local_addr"), place.0.to_str());
        probe
            .run(move |cx| cx.send_exit_meta(listener, Reason::Normal))
            .expect("alive");
        wait_until("the file to be gone", || !place.0.exists());
        stop_clean(&node);
    }

    #[test]
    fn stream_in_the_file_system_is_connected_to() {
        let node = node();
        let probe = Probe::spawn(&node);
        let place = Place::new("connected");
        let missing = UnixConnection::connect(&place.0, UnixConnectionOptions::default())
            .expect_err("no socket");
        assert!(missing.to_string().contains("connected.sock"), "{missing}");
        let listener = UnixListener::bind(&place.0).expect("bound");
        let alias = probe.spawn_meta(
            UnixConnection::connect(&place.0, UnixConnectionOptions::default())
                .expect("an attempt"),
        );
        probe.write(alias, "hello");
        let (mut peer, _) = listener.accept().expect("a connection");
        peer.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut got = [0; 5];
        peer.read_exact(&mut got).expect("bytes");
        assert_eq!(&got, b"hello");
        assert_eq!(probe.connect().id, alias);
        drop(peer);
        assert_eq!(probe.disconnect().reason, DisconnectReason::ClosedByPeer);
        stop_clean(&node);
    }

    /// An accepted Unix socket does not inherit the buffer sizes of its listener.
    #[cfg(target_os = "linux")]
    #[test]
    fn buffer_sizes_hold_for_both_ends_in_the_file_system() {
        let node = node();
        let probe = Probe::spawn(&node);
        let place = Place::new("sizes");
        let sizes = || SocketOptions::default().with_send_buffer_size(4_096);
        let server = UnixServer::bind(&place.0, UnixServerOptions::default().with_socket(sizes()))
            .expect("bound");
        probe.spawn_meta(server);
        let options = UnixConnectionOptions::default().with_socket(sizes());
        probe.spawn_meta(UnixConnection::connect(&place.0, options).expect("an attempt"));
        let (first, second) = (probe.connect().id, probe.connect().id);
        for alias in [first, second] {
            probe.run(move |cx| {
                cx.pause_reading(if alias == first { second } else { first })
                    .expect("alive");
                cx.send_alias(alias, MessageTcp::new(alias, vec![0; 200_000]))
                    .expect("accepted");
            });
            wait_until("the kernel to be full", || {
                inspect(&node, alias)
                    .number("bytes_out")
                    .is_some_and(|bytes| bytes > 0)
            });
            let queued = inspect(&node, alias)
                .number("queued_bytes")
                .expect("a count");
            assert!(queued > 150_000, "the kernel took all but {queued} bytes");
        }
        probe.run(move |cx| cx.abort(first)).expect("alive");
        probe.bytes_to_disconnect();
        probe.bytes_to_disconnect();
        stop_clean(&node);
    }

    /// A read ends at passed descriptors, as if no bytes followed.
    #[test]
    fn descriptors_that_come_along_hold_nothing_back() {
        const CLIENT: &str = "import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
socket.send_fds(client, [b'before'], [0])
client.send(b'behind')
print('sent', flush=True)
sys.stdin.read()";
        let node = node();
        let probe = Probe::spawn(&node);
        let place = Place::new("descriptors");
        let listener = probe
            .spawn_meta(UnixServer::bind(&place.0, UnixServerOptions::default()).expect("bound"));
        probe
            .run(move |cx| cx.pause_accepting(listener))
            .expect("alive");
        let piped = std::process::Stdio::piped;
        let client = std::process::Command::new("python3")
            .args(["-c", CLIENT])
            .arg(&place.0)
            .stdin(piped())
            .stdout(piped())
            .spawn();
        let Ok(mut client) = client else {
            return println!("skipped: this needs python3");
        };
        let mut read = [0; 4];
        client
            .stdout
            .as_mut()
            .expect("piped")
            .read_exact(&mut read)
            .expect("it has sent");
        probe
            .run(move |cx| cx.resume_accepting(listener))
            .expect("alive");
        probe.connect();
        assert_eq!(probe.bytes(12), b"beforebehind");
        drop(client.stdin.take());
        assert!(client.wait().expect("a child").success());
        probe.disconnect();
        stop_clean(&node);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn full_backlog_in_the_file_system_is_waited_for_until_the_deadline() {
        use socket2::{Domain, SockAddr, Socket, Type};
        let node = node();
        let probe = Probe::spawn(&node);
        let place = Place::new("full");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        listener
            .bind(&SockAddr::unix(&place.0).expect("a path"))
            .expect("bound");
        listener.listen(0).expect("listening");
        let _filler = connected(&place);
        let attempt = |timeout| {
            let options = UnixConnectionOptions::default().with_connect_timeout(timeout);
            UnixConnection::connect(&place.0, options).expect("an attempt")
        };
        probe.spawn_meta(attempt(Duration::from_millis(100)));
        assert_eq!(probe.disconnect().reason, DisconnectReason::ConnectTimeout);
        let alias = probe.spawn_meta(attempt(LIMIT));
        wait_for(&node, alias, "state", "connecting");
        let _accepted = listener.accept().expect("the filler");
        assert_eq!(probe.connect().id, alias);
        stop_clean(&node);
    }

    #[test]
    fn sockets_in_the_file_system_are_taken_over() {
        let node = node();
        let probe = Probe::spawn(&node);
        let place = Place::new("taken");
        let listener = UnixListener::bind(&place.0).expect("bound");
        probe.spawn_meta(
            UnixServer::from_std(listener, UnixServerOptions::default()).expect("taken over"),
        );
        let client = connected(&place);
        let server_side = probe.connect().id;
        let client_side = probe.spawn_meta(
            UnixConnection::from_std(client, UnixConnectionOptions::default()).expect("taken over"),
        );
        assert_eq!(probe.connect().id, client_side);
        probe.write(client_side, "around");
        let packet = probe.tcp();
        assert_eq!((packet.id, &packet.data[..]), (server_side, &b"around"[..]));
        stop_clean(&node);
        assert!(place.0.exists(), "the file is not ours");
    }

    #[test]
    fn datagrams_go_both_ways_between_paths() {
        let node = node();
        let probe = Probe::spawn(&node);
        let (ours, theirs) = (Place::new("ours"), Place::new("theirs"));
        let options = UnixDatagramOptions::default().with_report_errors(true);
        let server = UnixDatagramServer::bind(&ours.0, options).expect("bound");
        let alias = probe.spawn_meta(server);
        let client = UnixDatagram::bind(&theirs.0).expect("bound");
        client.set_read_timeout(Some(LIMIT)).expect("a timeout");
        for text in ["question", ""] {
            client.send_to(text.as_bytes(), &ours.0).expect("sent");
            let Message::UnixDatagram(packet) = probe.next().1 else {
                panic!("another message")
            };
            assert_eq!(
                (packet.id, &packet.data[..], packet.truncated),
                (alias, text.as_bytes(), false)
            );
            assert_eq!(packet.path.as_ref(), Some(&theirs.0));
            // The received bytes go back unchanged.
            probe
                .run(move |cx| cx.send_alias(alias, *packet))
                .expect("accepted");
            let mut room = [0; 100];
            let length = client.recv(&mut room).expect("a datagram");
            assert_eq!(&room[..length], text.as_bytes());
        }
        let nowhere = Place::new("nowhere").0.clone();
        let packet = MessageUnixDatagram::new(alias, nowhere, "lost");
        probe
            .run(move |cx| cx.send_alias(alias, packet))
            .expect("accepted");
        assert_eq!(probe.udp_error().error, ErrorKind::NotFound);
        // A receiver that does not read loses its own datagrams only.
        let sleeper = theirs.0.clone();
        probe.run(move |cx| {
            for _ in 0..1_000 {
                cx.send_alias(
                    alias,
                    MessageUnixDatagram::new(alias, sleeper.clone(), "wake up"),
                )
                .expect("accepted");
            }
        });
        assert_eq!(probe.udp_error().error, ErrorKind::WouldBlock);
        wait_for(&node, alias, "queued_bytes", 0);
        let counts = inspect(&node, alias);
        let (sent, refused) = (counts.number("messages_out"), counts.number("send_errors"));
        assert_eq!(
            sent.zip(refused).map(|(sent, refused)| sent + refused),
            Some(2 + 1 + 1_000)
        );
        stop_clean(&node);
        assert!(!ours.0.exists(), "the file is left");
    }
}

/// A stream that its peer has reset and whose error was read before: only the hang-up event shows it.
fn reset_stream() -> std::net::TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let stream = client(listener.local_addr().expect("an address"));
    let (peer, _) = listener.accept().expect("a connection");
    reset(peer);
    wait_until("the reset", || {
        stream.take_error().expect("a socket").is_some()
    });
    stream.into_std()
}

#[test]
fn stream_that_was_reset_before_it_is_given_ends_at_once() {
    let node = node();
    let probe = Probe::spawn(&node);
    // Without a deadline it would wait without end.
    let options = TcpConnectionOptions::default().with_connect_timeout(None);
    let stream = TcpConnection::from_std(reset_stream(), options).expect("taken over");
    probe.spawn_meta(stream);
    assert_eq!(
        without_number(probe.disconnect().reason),
        DisconnectReason::Connect(ErrorKind::NotConnected.into())
    );
    stop_clean(&node);
}

#[cfg(unix)]
#[test]
fn stream_that_is_not_connected_ends_at_once() {
    use socket2::{Domain, Socket, Type};

    let node = node();
    let probe = Probe::spawn(&node);
    let options = || TcpConnectionOptions::default().with_connect_timeout(None);
    let socket = |domain| Socket::new(domain, Type::STREAM, None).expect("a socket");
    let fresh = std::net::TcpStream::from(socket(Domain::IPV4));
    probe.spawn_meta(TcpConnection::from_std(fresh, options()).expect("taken over"));
    let options = || UnixConnectionOptions::default().with_connect_timeout(None);
    let fresh =
        std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(socket(Domain::UNIX)));
    probe.spawn_meta(UnixConnection::from_std(fresh, options()).expect("taken over"));
    for _ in 0..2 {
        assert_eq!(
            without_number(probe.disconnect().reason),
            DisconnectReason::Connect(ErrorKind::NotConnected.into())
        );
    }
    stop_clean(&node);
}

#[test]
fn socket_that_does_not_listen_is_refused_as_a_listener() {
    use socket2::{Domain, Socket, Type};

    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let refused = TcpServer::from_std(TcpListener::from(socket), TcpServerOptions::default());
    assert_eq!(
        refused.expect_err("refused").kind(),
        Some(ErrorKind::InvalidInput)
    );
    #[cfg(unix)]
    {
        use std::os::fd::OwnedFd;
        use std::os::unix::net::UnixListener;

        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let listener = UnixListener::from(OwnedFd::from(socket));
        let refused = UnixServer::from_std(listener, UnixServerOptions::default());
        assert_eq!(
            refused.expect_err("refused").kind(),
            Some(ErrorKind::InvalidInput)
        );
    }
}

/// Sockets that were made elsewhere, by what they are.
#[cfg(target_os = "linux")]
fn sockets_of_every_kind() -> Vec<(&'static str, std::os::fd::OwnedFd)> {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    let path = std::env::temp_dir().join(format!("longshore-{}.kinds", std::process::id()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("an address");
    let stream = std::net::TcpStream::connect(addr).expect("connected");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let unix_listener = UnixListener::bind(&path).expect("bound");
    std::fs::remove_file(path).expect("removed");
    let unix_stream = UnixStream::pair().expect("a pair").0;
    let unix_datagram = UnixDatagram::unbound().expect("a socket");
    vec![
        ("tcp stream", stream.into()),
        ("tcp listener", listener.into()),
        ("udp", socket.into()),
        ("unix stream", unix_stream.into()),
        ("unix listener", unix_listener.into()),
        ("unix datagram", unix_datagram.into()),
        ("pipe", std::io::pipe().expect("a pipe").0.into()),
        (
            "file",
            OwnedFd::from(std::fs::File::open("/dev/null").expect("opened")),
        ),
    ]
}

/// One of another kind would wait for what cannot come.
#[cfg(target_os = "linux")]
#[test]
fn given_socket_of_another_kind_is_refused_at_once() {
    use longshore::{UdpServer, UnixDatagramOptions, UnixDatagramServer};
    use std::os::fd::OwnedFd;

    type Give = fn(OwnedFd) -> Result<(), String>;
    let takers: [(&str, Give); 6] = [
        ("tcp stream", |fd| {
            let given = TcpConnection::from_std(fd.into(), TcpConnectionOptions::default());
            given.map(drop).map_err(|error| error.to_string())
        }),
        ("tcp listener", |fd| {
            let given = TcpServer::from_std(fd.into(), TcpServerOptions::default());
            given.map(drop).map_err(|error| error.to_string())
        }),
        ("udp", |fd| {
            let given = UdpServer::from_std(fd.into(), UdpServerOptions::default());
            given.map(drop).map_err(|error| error.to_string())
        }),
        ("unix stream", |fd| {
            let given = UnixConnection::from_std(fd.into(), UnixConnectionOptions::default());
            given.map(drop).map_err(|error| error.to_string())
        }),
        ("unix listener", |fd| {
            let given = UnixServer::from_std(fd.into(), UnixServerOptions::default());
            given.map(drop).map_err(|error| error.to_string())
        }),
        ("unix datagram", |fd| {
            let given = UnixDatagramServer::from_std(fd.into(), UnixDatagramOptions::default());
            given.map(drop).map_err(|error| error.to_string())
        }),
    ];
    for (taker, give) in takers {
        for (kind, fd) in sockets_of_every_kind() {
            let given = give(fd);
            assert_eq!(given.is_ok(), kind == taker, "{kind} as {taker}: {given:?}");
        }
    }
}

#[test]
fn reset_is_reported_while_reading_is_paused() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    for unread in [0, 100_000] {
        let mut peer = client(addr);
        let alias = probe.connect().id;
        probe
            .run(move |cx| cx.pause_reading(alias))
            .expect("paused");
        wait_for(&node, alias, "paused_by_owner", true);
        peer.write_all(&vec![7; unread]).expect("written");
        reset(peer);
        let end = probe.disconnect();
        assert_eq!((end.id, end.reason), (alias, DisconnectReason::Reset));
    }
    wait_for_count(&node, "meta_processes", 1);
    stop_clean(&node);
}

/// A reset is reported whatever keeps the connection from reading and from writing.
#[test]
fn reset_is_reported_where_nothing_is_read_any_more() {
    type Prepare = fn(&Node, &Probe, Alias, &mut Client);

    fn end_of_peer(_: &Node, probe: &Probe, _: Alias, peer: &mut Client) {
        peer.shutdown(std::net::Shutdown::Write).expect("shut down");
        probe.peer_closed();
    }
    fn pause(node: &Node, probe: &Probe, alias: Alias, _: &mut Client) {
        let paused = probe.run(move |cx| cx.pause_reading(alias));
        paused.expect("open");
        wait_for(node, alias, "paused_by_owner", true);
    }
    fn shut_down(_: &Node, probe: &Probe, alias: Alias, peer: &mut Client) {
        let shut = probe.run(move |cx| cx.shutdown_write(alias));
        shut.expect("open");
        assert_eq!(read_to_end(peer), b"");
    }
    fn fill(node: &Node, probe: &Probe, alias: Alias, _: &mut Client) {
        probe.run(move |cx| cx.write(alias, vec![7; 32 << 20]));
        wait_until("the sockets to be full", || {
            let queued = inspect(node, alias).number("queued_bytes");
            queued.is_some_and(|bytes| bytes > 0)
        });
    }
    let states: [(&str, &[Prepare]); 6] = [
        ("the peer has ended its side", &[end_of_peer]),
        ("and reading is paused", &[end_of_peer, pause]),
        ("this side has ended, and is paused", &[shut_down, pause]),
        ("paused, with output that waits", &[pause, fill]),
        ("ended by the peer, with output", &[end_of_peer, fill]),
        ("output above the mark", &[fill]),
    ];
    let node = node();
    let probe = Probe::spawn(&node);
    let limits = TcpLimits::default()
        .with_output_limit(64 << 20)
        .with_high_water_mark(1_000)
        .with_low_water_mark(0);
    let options = TcpServerOptions::default()
        .with_limits(limits)
        .with_half_open(true);
    let (addr, _) = probe.listen(options);
    for (state, prepare) in states {
        let mut peer = client(addr);
        let alias = probe.connect().id;
        for step in prepare {
            step(&node, &probe, alias, &mut peer);
        }
        reset(peer);
        let end = loop {
            match probe.next().1 {
                Message::TcpDisconnect(end) => break end,
                Message::TcpWritable(_) => {}
                other => panic!("{state}: {other:?}"),
            }
        };
        assert_eq!(
            (end.id, end.reason),
            (alias, DisconnectReason::Reset),
            "{state}"
        );
    }
    wait_for_count(&node, "meta_processes", 1);
    stop_clean(&node);
}

#[test]
fn orderly_end_waits_while_reading_is_paused() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let mut peer = client(addr);
    let alias = probe.connect().id;
    probe
        .run(move |cx| {
            cx.pause_reading(alias)?;
            cx.shutdown_write(alias)
        })
        .expect("paused");
    assert_eq!(read_to_end(&mut peer), b"");
    peer.write_all(b"kept").expect("written");
    peer.shutdown(std::net::Shutdown::Write).expect("shut down");
    // Both directions have ended now, which is a hang-up and no error.
    probe.saw_nothing();
    probe
        .run(move |cx| cx.resume_reading(alias))
        .expect("resumed");
    let (bytes, end) = probe.bytes_to_disconnect();
    assert_eq!(
        (bytes.as_slice(), end.reason),
        (&b"kept"[..], DisconnectReason::ClosedByPeer)
    );
    stop_clean(&node);
}
