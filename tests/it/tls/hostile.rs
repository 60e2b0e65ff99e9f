//! Peers that do not speak TLS, or stop halfway. The listener and its other connections are not affected.

use std::time::{Duration, Instant};

use longshore::TcpLimits;

use super::*;

/// What a hostile peer does with its socket, and what it receives: all bytes up to the end.
type Attack = fn(&mut TcpStream, &[u8]);

const ATTACKS: [(&str, Attack, &str); 9] = [
    (
        "plain text",
        |socket, _| socket.write_all(b"hello there\r\n").unwrap(),
        "not tls",
    ),
    (
        "http",
        |socket, _| {
            socket
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap()
        },
        "not tls",
    ),
    (
        "random bytes",
        |socket, _| drop(socket.write_all(&random(100_000))),
        "tls",
    ),
    (
        "half a hello, then the end",
        |socket, hello| {
            socket.write_all(&hello[..hello.len() / 2]).unwrap();
            socket.shutdown(std::net::Shutdown::Write).unwrap();
        },
        "in the handshake",
    ),
    (
        "half a hello, then silence",
        |socket, hello| socket.write_all(&hello[..hello.len() / 2]).unwrap(),
        "timeout",
    ),
    ("nothing", |_, _| {}, "timeout"),
    (
        "a byte at a time",
        |socket, hello| {
            for byte in hello.iter().cycle().take(200) {
                if socket.write_all(&[*byte]).is_err() {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(10));
            }
        },
        "timeout",
    ),
    (
        "a hello without end",
        |socket, _| {
            // One handshake message that claims 16 MB, in records of 16 KB.
            let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
            record.resize(5 + 0x4000, 0);
            let next = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
            for bytes in std::iter::once(&record).chain(std::iter::repeat_n(&next, 100)) {
                if socket.write_all(bytes).is_err() {
                    break;
                }
            }
        },
        "tls",
    ),
    (
        "an alert",
        |socket, _| socket.write_all(&[21, 3, 3, 0, 2, 2, 40]).unwrap(),
        "peer refused",
    ),
];

fn random(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    // The high bit is set, so that no byte is the first of a record.
    std::iter::repeat_with(|| random.u8(0x80..))
        .take(length)
        .collect()
}

#[test]
fn hostile_peers_get_an_alert_or_an_end_and_no_other_peer_notices() {
    let site = Site::new();
    let config = Arc::new(site.rustls(&TLS13));
    let limits = TcpLimits::default().with_handshake_timeout(Duration::from_millis(500));
    let owner = Probe::spawn(&site.node);
    let (addr, listener) = owner.listen(site.server().with_limits(limits));
    let hello = {
        let mut hello = Vec::new();
        let name = ServerName::try_from(NAME).unwrap();
        ClientConnection::new(Arc::clone(&config), name)
            .unwrap()
            .write_tls(&mut hello)
            .unwrap();
        hello
    };
    let mut live = raw(addr, &config);
    let id = owner.connect().id;
    for (failed, (what, attack, reason)) in ATTACKS.into_iter().enumerate() {
        let mut socket = client(addr);
        let begun = Instant::now();
        attack(&mut socket, &hello);
        let ended = read_out(&mut socket);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{what}: {:?}",
            begun.elapsed()
        );
        // A peer that does not speak TLS gets an alert; a silent peer just sees the end.
        if let ("plain text" | "http", Ok(bytes)) = (what, &ended) {
            assert_eq!((bytes[0], bytes.len()), (21, 7), "{what}: an alert");
        }
        wait_for(&site.node, listener, "handshakes_failed", failed + 1);
        site.logged(&["not established", reason]);
        // The other connections.
        live.write_all(b"still").unwrap();
        live.flush().unwrap();
        assert_eq!(owner.bytes(5), b"still", "{what}");
        owner.write(id, "here");
        live.read_exact(&mut [0; 4]).unwrap();
    }
    wait_for(&site.node, listener, "connections", 1);
    assert_eq!(
        inspect(&site.node, listener).value("state"),
        Some("accepting")
    );
    drop(live);
    assert_eq!(owner.disconnect().id, id, "it is the only one reported");
    stop_clean(&site.node);
}

/// A peer that has sent the first byte of a record, and says no more.
fn begun(addr: SocketAddr) -> TcpStream {
    let mut stream = client(addr);
    stream.write_all(&[22]).unwrap();
    stream.into_std()
}

#[test]
fn silent_peers_take_no_place_and_the_oldest_gives_way() {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let tls = longshore::tls::TlsServerOptions::default().with_max_handshakes(2);
    let (addr, listener) = owner.listen(site.server().with_tls(tls));
    let mut silent: Vec<_> = (0..40).map(|_| client(addr)).collect();
    wait_for(&site.node, listener, "accepted", 40);
    wait_for(&site.node, listener, "gave_way", 38);
    let user = Probe::spawn(&site.node);
    dial(&user, addr, &site.client());
    user.connect();
    owner.connect();
    // The last ones are still there, the user took the place of another one at most.
    wait_for(&site.node, listener, "handshaking", 0);
    for mut stream in silent.drain(..37) {
        let _ = read_out(&mut stream);
    }
    assert!(inspect(&site.node, listener).number("silent") <= Some(2));
    stop_clean(&site.node);
}

#[test]
fn silent_peers_give_way_when_connections_run_out() {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let options = site.server().with_max_connections(2);
    let (addr, listener) = owner.listen(options);
    let silent = [client(addr), client(addr)];
    wait_for(&site.node, listener, "silent", 2);
    let user = Probe::spawn(&site.node);
    dial(&user, addr, &site.client());
    user.connect();
    owner.connect();
    drop(silent);
    stop_clean(&site.node);
}

#[test]
fn silent_peer_gives_way_at_once_to_a_connection_that_is_refused_for_it() {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let options = site
        .server()
        .with_max_connections(2)
        .with_at_limit(longshore::AtLimit::Refuse);
    let (addr, listener) = owner.listen(options);
    let _silent = [client(addr), client(addr)];
    wait_for(&site.node, listener, "silent", 2);
    let begun = Instant::now();
    let _ = read_out(&mut client(addr));
    wait_for(&site.node, listener, "gave_way", 1);
    wait_for(&site.node, listener, "connections", 1);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "its own deadline came"
    );
    let user = Probe::spawn(&site.node);
    dial(&user, addr, &site.client());
    user.connect();
    owner.connect();
    stop_clean(&site.node);
}

#[test]
fn full_listener_leaves_new_connections_time_to_speak() {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let options = site.server().with_max_connections(2);
    let (addr, listener) = owner.listen(options);
    for round in 1..=10 {
        // Both are silent when the listener looks for room.
        let mut pair = [client(addr), client(addr)];
        wait_for(&site.node, listener, "silent", 2);
        for stream in &mut pair {
            stream.write_all(&[22]).unwrap();
        }
        wait_for(&site.node, listener, "handshaking", 2);
        assert_eq!(
            inspect(&site.node, listener).number("gave_way"),
            Some(0),
            "round {round}"
        );
        drop(pair);
        wait_for(&site.node, listener, "connections", 0);
    }
    stop_clean(&site.node);
}

#[test]
fn handshake_whose_peer_stalls_gives_way() {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let tls = longshore::tls::TlsServerOptions::default().with_max_handshakes(2);
    let (addr, listener) = owner.listen(site.server().with_tls(tls));
    let mut hello = Vec::new();
    let config = Arc::new(site.rustls(&TLS13));
    let name = ServerName::try_from(NAME).unwrap();
    ClientConnection::new(config, name)
        .unwrap()
        .write_tls(&mut hello)
        .unwrap();
    let user = Probe::spawn(&site.node);
    for (rounds, first) in [&hello[..1], &hello[..]].into_iter().enumerate() {
        let mut stalled = [client(addr), client(addr)];
        for stream in &mut stalled {
            stream.write_all(first).unwrap();
        }
        wait_for(&site.node, listener, "handshaking", 2);
        dial(&user, addr, &site.client());
        user.connect();
        owner.connect();
        wait_for(&site.node, listener, "gave_way", rounds + 1);
        let mut left = stalled.map(|mut stream| {
            stream.set_nonblocking(true).unwrap();
            let mut bytes = [0; 10_000];
            // The flight, and then the end or nothing.
            let _ = stream.read(&mut bytes);
            matches!(stream.read(&mut bytes), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        left.sort();
        assert_eq!(left, [false, true], "one of them gave way");
        wait_for(&site.node, listener, "handshaking", 0);
    }
    stop_clean(&site.node);
}

#[test]
fn peer_has_less_time_for_its_first_byte_than_for_the_handshake() {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let limits = TcpLimits::default()
        .with_first_byte_timeout(Duration::from_millis(100))
        .with_handshake_timeout(LIMIT);
    let (addr, listener) = owner.listen(site.server().with_limits(limits));
    let mut silent = client(addr);
    let mut slow = begun(addr);
    assert!(read_out(&mut silent).is_ok(), "closed in order, or reset");
    wait_for(&site.node, listener, "ended_handshake_timeout", 1);
    wait_for(&site.node, listener, "handshaking", 1);
    slow.set_nonblocking(true).unwrap();
    let alive = slow.read(&mut [0]).unwrap_err();
    assert_eq!(alive.kind(), std::io::ErrorKind::WouldBlock);
    drop(slow);
    wait_for(&site.node, listener, "connections", 0);
    stop_clean(&site.node);
}

/// A listener with the default deadlines, and how long a client that writes this stays connected, with what it gets.
fn ended_by(what: &str, attack: impl FnOnce(&mut TcpStream)) -> Vec<u8> {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let (addr, listener) = owner.listen(site.server());
    let mut socket = client(addr);
    let begun = Instant::now();
    attack(&mut socket);
    let mut bytes = Vec::new();
    // A reset behind the alert is an end too.
    let _ = socket.read_to_end(&mut bytes);
    let time = begun.elapsed();
    // A second is what a peer gets to read an alert; the handshake would have ten.
    assert!(time < Duration::from_secs(5), "{what}: {time:?}");
    wait_for(&site.node, listener, "handshakes_failed", 1);
    wait_for(&site.node, listener, "connections", 0);
    stop_clean(&site.node);
    bytes
}

#[test]
fn close_notify_before_the_hello_ends_the_connection_at_once() {
    for level in [1, 2] {
        ended_by("close_notify", |socket| {
            socket.write_all(&[21, 3, 3, 0, 2, level, 0]).unwrap();
        });
    }
    ended_by("user_canceled, then close_notify", |socket| {
        socket.write_all(&[21, 3, 3, 0, 2, 1, 90]).unwrap();
        socket.write_all(&[21, 3, 3, 0, 2, 1, 0]).unwrap();
    });
}

#[test]
fn handshake_above_the_limit_ends_with_an_alert() {
    // One message of 60,000 bytes, in records of 16 KiB: rustls alone would take it.
    let message = [&[1, 0, 0xea, 0x60][..], &[0; 60_000]].concat();
    let records = |message: &[u8]| -> Vec<u8> {
        let record = |part: &[u8]| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1][..], &length, part].concat()
        };
        message.chunks(0x4000).flat_map(record).collect()
    };
    let bytes = ended_by("a long hello", |socket| {
        let _ = socket.write_all(&records(&message));
    });
    let alert = [21, 3, 3, 0, 2, 2];
    let is_alert = bytes.len() == 7 && bytes.starts_with(&alert);
    assert!(is_alert, "{bytes:?}");
    // In the middle of a record.
    let bytes = ended_by("half a record", |socket| {
        let all = records(&message);
        let _ = socket.write_all(&all[..40_000]);
    });
    let is_alert = bytes.len() == 7 && bytes.starts_with(&alert);
    assert!(is_alert, "{bytes:?}");
}

#[test]
fn handshakes_beyond_the_limit_wait_in_the_backlog() {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let tls = longshore::tls::TlsServerOptions::default().with_max_handshakes(2);
    let (addr, listener) = owner.listen(site.server().with_tls(tls));
    let silent = [begun(addr), begun(addr)];
    wait_for(&site.node, listener, "handshaking", 2);
    let user = Probe::spawn(&site.node);
    dial(&user, addr, &site.client());
    wait_for(&site.node, listener, "state", "connections");
    owner.saw_nothing();
    drop(silent);
    user.connect();
    owner.connect();
    wait_for(&site.node, listener, "handshaking", 0);
    // Completed handshakes hold no permit.
    for _ in 0..5 {
        dial(&user, addr, &site.client());
        user.connect();
        owner.connect();
    }
    stop_clean(&site.node);
}

#[test]
fn alert_reaches_a_peer_that_goes_on_talking() {
    let site = Site::new();
    let addr = echo(&site.node, site.server());
    for _ in 0..50 {
        let mut socket = client(addr);
        socket.write_all(&[b'x'; 20_000]).unwrap();
        socket.write_all(&[b'y'; 20_000]).unwrap();
        assert_eq!(read(&mut socket, 7)[0], 21);
        let _ = socket.write_all(&[b'z'; 20_000]);
    }
    stop_clean(&site.node);
}

#[test]
fn exit_of_the_parent_ends_handshakes_under_way() {
    let site = Site::new();
    let owner = Probe::spawn(&site.node);
    let (addr, listener) = owner.listen(site.server());
    let sockets: Vec<_> = (0..20).map(|_| client(addr)).collect();
    wait_for(&site.node, listener, "connections", 20);
    site.node.send_exit(owner.pid, Reason::Shutdown).unwrap();
    for mut socket in sockets {
        let _ = read_out(&mut socket);
    }
    stop_clean(&site.node);
}
