//! Every kind of address, in every place where an address stands: bound, connected to, shown, answered, and written as
//! text.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use longshore::prelude::*;
use longshore::{DisconnectReason, Host};

use crate::support::*;

/// A host as it is given, and the address that everything shows when a socket of it is used on this machine.
const HOSTS: [(&str, IpAddr); 9] = [
    ("127.0.0.1", IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ("127.0.0.9", IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9))),
    ("::1", IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ("[::1]", IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ("::ffff:127.0.0.1", IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ("[::ffff:127.0.0.1]", IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ("localhost", IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ("a.localhost.", IpAddr::V4(Ipv4Addr::LOCALHOST)),
    ("", IpAddr::V4(Ipv4Addr::LOCALHOST)),
];

/// Whether this machine has IPv6.
fn has_v6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// The hosts that can be tried here.
fn hosts() -> impl Iterator<Item = (&'static str, IpAddr)> {
    let has_v6 = has_v6();
    HOSTS.into_iter().filter(move |(host, _)| {
        let is_tried = has_v6 || !host.contains(':');
        if !is_tried {
            println!("skipped: no IPv6 for {host}");
        }
        is_tried
    })
}

/// Connects to each of these, and checks what both sides show.
#[track_caller]
fn meet(probe: &Probe, node: &Node, server: TcpServer, to: &[TcpConnectionOptions], ip: IpAddr) {
    let port = server.local_addr().port();
    let listener = probe.spawn_meta(server);
    for options in to {
        let shown = format!("{options:?}");
        let client = probe.connect_to(options.clone());
        let mut connects = [probe.connect(), probe.connect()];
        connects.sort_by_key(|connect| connect.id != client);
        let [ours, theirs] = connects;
        assert_eq!(ours.remote_addr, SocketAddr::new(ip, port), "{shown}");
        assert_eq!(theirs.local_addr.ip(), ip, "{shown}");
        assert_eq!(theirs.remote_addr, ours.local_addr, "{shown}");
        assert_eq!(theirs.local_addr, ours.remote_addr, "{shown}");
        let inspection = inspect(node, client);
        let remote = inspection.value("remote_addr").expect("a remote address");
        assert_eq!(remote.parse(), Ok(ours.remote_addr), "{shown}");
        probe.run(move |cx| cx.close(client)).expect("open");
        for _ in 0..2 {
            probe.disconnect();
        }
    }
    probe.run(move |cx| cx.close(listener)).expect("listening");
}

#[test]
fn every_host_is_bound_connected_to_and_shown_alike_by_tcp() {
    let node = node();
    let probe = Probe::spawn(&node);
    for (host, ip) in hosts() {
        let server = TcpServer::bind((host, 0)).expect(host);
        let shown = server.local_addr();
        let port = shown.port();
        if !host.is_empty() {
            assert_eq!(shown.ip(), ip, "{host}");
        }
        let mut to = vec![
            // What is shown can be connected to: as an address, as text, as a host of its own.
            TcpConnectionOptions::from(SocketAddr::new(ip, port)),
            TcpConnectionOptions::from(SocketAddr::new(ip, port).to_string()),
            TcpConnectionOptions::from((Host::from(SocketAddr::new(ip, port)), port)),
        ];
        if !host.is_empty() {
            to.push(TcpConnectionOptions::from((host, port)));
        }
        meet(&probe, &node, server, &to, ip);
    }
    stop_clean(&node);
}

#[test]
fn every_host_is_bound_and_answered_by_udp() {
    let node = node();
    let probe = Probe::spawn(&node);
    for (host, ip) in hosts() {
        let server = UdpServer::bind((host, 0)).expect(host);
        let to = SocketAddr::new(ip, server.local_addr().port());
        let socket = probe.spawn_meta(server);
        for (from, _) in hosts() {
            let from = UdpServer::bind((from, 0)).expect(from);
            let is_reachable = from.local_addr().ip().is_unspecified()
                || from.local_addr().is_ipv4() == to.is_ipv4();
            if !is_reachable {
                continue;
            }
            let client = probe.spawn_meta(from);
            // To the address as it is shown, and mapped into IPv6 if it is one of IPv4.
            let mut ways = vec![to];
            if let IpAddr::V4(v4) = to.ip() {
                ways.push(SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()));
            }
            for way in ways {
                let question = MessageUdp::new(client, way, "?");
                probe
                    .run(move |cx| cx.send_alias(client, question))
                    .expect("accepted");
                let asked = probe.udp();
                assert_eq!((asked.id, &asked.data[..]), (socket, &b"?"[..]));
                assert_eq!(asked.addr.is_ipv4(), to.is_ipv4(), "{host}: {}", asked.addr);
                let answer = MessageUdp::new(socket, asked.addr, "!");
                probe
                    .run(move |cx| cx.send_alias(socket, answer))
                    .expect("accepted");
                let answered = probe.udp();
                assert_eq!((answered.id, answered.addr), (client, to), "{host}");
            }
            probe.run(move |cx| cx.close(client)).expect("open");
        }
        // A client that is connected to its peer.
        let peer = UdpServerOptions::default().with_peer(to);
        let client = probe.spawn_meta(UdpServer::bind(peer).expect("bound"));
        let question = MessageUdp::new(client, to, "?");
        probe
            .run(move |cx| cx.send_alias(client, question))
            .expect("accepted");
        let asked = probe.udp();
        assert_eq!((asked.id, asked.addr.is_ipv4()), (socket, to.is_ipv4()));
        for alias in [client, socket] {
            probe.run(move |cx| cx.close(alias)).expect("open");
        }
    }
    stop_clean(&node);
}

#[test]
fn peer_is_shown_as_the_system_shows_it() {
    let node = node();
    let probe = Probe::spawn(&node);
    let hosts = [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1%1", "::1")];
    for (to, from) in hosts {
        if !has_v6() && from == "::1" {
            println!("skipped: no IPv6 for {to}");
            continue;
        }
        let server = TcpServer::bind((from, 0)).expect("bound");
        let addr = server.local_addr();
        probe.spawn_meta(server);
        let client = probe.connect_to((to, addr.port()));
        for connect in [probe.connect(), probe.connect()] {
            if connect.id == client {
                assert_eq!(connect.remote_addr, addr, "{to}");
            }
        }
    }
    stop_clean(&node);
}

#[test]
fn mapped_local_address_is_used_for_an_ipv4_peer() {
    let node = node();
    let probe = Probe::spawn(&node);
    if !has_v6() {
        return println!("skipped: no IPv6");
    }
    let (addr, _) = probe.listen(TcpServerOptions::default());
    for (host, local) in [
        ("127.0.0.1", "[::ffff:127.0.0.9]:0"),
        ("::ffff:127.0.0.1", "127.0.0.9:0"),
    ] {
        let local: SocketAddr = local.parse().expect("an address");
        let options = TcpConnectionOptions::from((host, addr.port())).with_local_addr(local);
        probe.connect_to(options);
        for _ in 0..2 {
            let connect = probe.connect();
            let both = [connect.local_addr.ip(), connect.remote_addr.ip()];
            assert!(
                both.contains(&Ipv4Addr::new(127, 0, 0, 9).into()),
                "{both:?}"
            );
        }
    }
    stop_clean(&node);
}

/// Commands that run a test in a network and with mounts of its own, after the setup; `None` where that is not allowed.
fn network_with(setup: &str) -> Option<Vec<String>> {
    let script = format!("ip link set lo up && {setup} && exec \"$0\" \"$@\"");
    let words = ["unshare", "-nm", "sh", "-c", &script].map(str::to_owned);
    let tried = Command::new(&words[0])
        .args(&words[1..])
        .arg("true")
        .output();
    match tried {
        Ok(output) if output.status.success() => Some(words.to_vec()),
        other => {
            println!("skipped: no network of its own: {other:?}");
            None
        }
    }
}

/// Runs the body in such a network.
pub fn in_network(setup: &str, test: &str, body: impl FnOnce()) {
    if std::env::var_os("LONGSHORE_ALONE").is_some() {
        return alone(test, body);
    }
    if let Some(words) = network_with(setup) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        alone_under(&[&words], test, body);
    }
}

#[test]
fn link_local_addresses_keep_their_zone() {
    in_network(
        "ip -6 addr add fe80::7/64 dev lo nodad && until ip -6 route show table local | grep -q fe80::7; do :; done",
        "addresses::link_local_addresses_keep_their_zone",
        || {
            let node = node();
            let probe = Probe::spawn(&node);
            let index = std::fs::read_to_string("/sys/class/net/lo/ifindex").expect("sysfs");
            let by_number = format!("fe80::7%{}", index.trim());
            for host in ["fe80::7%lo", "[fe80::7%lo]", &by_number] {
                let server = TcpServer::bind((host, 0)).expect(host);
                let addr = server.local_addr();
                let port = addr.port();
                let to = [
                    TcpConnectionOptions::from(("fe80::7%lo", port)),
                    TcpConnectionOptions::from((by_number.as_str(), port)),
                    TcpConnectionOptions::from(format!("[fe80::7%lo]:{port}")),
                    TcpConnectionOptions::from(addr),
                    TcpConnectionOptions::from(addr.to_string()),
                ];
                probe.spawn_meta(server);
                for options in to {
                    let client = probe.connect_to(options);
                    let connects = [probe.connect(), probe.connect()];
                    for connect in &connects {
                        let SocketAddr::V6(remote) = connect.remote_addr else {
                            panic!("{connect:?}");
                        };
                        assert_eq!(remote.scope_id().to_string(), index.trim());
                    }
                    probe.run(move |cx| cx.close(client)).expect("open");
                    for _ in 0..2 {
                        probe.disconnect();
                    }
                }
                let socket = probe.spawn_meta(UdpServer::bind((host, 0)).expect(host));
                let other = UdpServer::bind((host, 0)).expect(host);
                let question = MessageUdp::new(socket, other.local_addr(), "?");
                let other = probe.spawn_meta(other);
                probe
                    .run(move |cx| cx.send_alias(socket, question))
                    .expect("accepted");
                let asked = probe.udp();
                let answer = MessageUdp::new(other, asked.addr, "!");
                probe
                    .run(move |cx| cx.send_alias(other, answer))
                    .expect("accepted");
                assert_eq!(probe.udp().id, socket, "{host}");
            }
            // A socket of all addresses answers from the one of the link, with its zone.
            let any = UdpServer::bind("[::]:0").expect("bound");
            let zone = index.trim().parse().expect("a number");
            let asked_at = std::net::SocketAddrV6::new(
                "fe80::7".parse().expect("an address"),
                any.local_addr().port(),
                0,
                zone,
            );
            let client = probe.spawn_meta(UdpServer::bind(("fe80::7%lo", 0)).expect("bound"));
            probe.spawn_meta(any);
            probe.run(move |cx| cx.send_datagram(client, asked_at.into(), "?"));
            let asked = probe.udp();
            assert_eq!(asked.local_addr(), Some(asked_at.into()));
            probe.run(move |cx| cx.answer_datagram(&asked, "!"));
            let answer = probe.udp();
            assert_eq!((answer.id, answer.addr), (client, asked_at.into()));
            let unknown = TcpServer::bind("[fe80::7%nope]:0").expect_err("no such interface");
            assert!(unknown.to_string().contains("nope"), "{unknown}");
            stop_clean(&node);
        },
    );
}

#[test]
fn name_of_several_addresses_is_bound_to_the_first_alone() {
    in_network(
        "file=$(mktemp) && printf '127.0.0.2 several.test\\n127.0.0.3 several.test\\n' >$file && mount --bind $file /etc/hosts && rm -f $file",
        "addresses::name_of_several_addresses_is_bound_to_the_first_alone",
        || {
            use std::net::{TcpListener, ToSocketAddrs, UdpSocket};

            let all = ("several.test", 0).to_socket_addrs().expect("resolved");
            let all: Vec<IpAddr> = all.map(|addr| addr.ip()).collect();
            assert_eq!(all.len(), 2, "{all:?}");
            let server = TcpServer::bind("several.test:0").expect("bound");
            let addr = server.local_addr();
            assert_eq!(addr.ip(), all[0]);
            assert_ne!(addr.port(), 0);
            drop(TcpListener::bind((all[1], addr.port())).expect("the other address is free"));
            let socket = UdpServer::bind("several.test:0").expect("bound");
            let bound: Vec<SocketAddr> = socket.local_addrs().collect();
            assert_eq!(bound, [SocketAddr::new(all[0], bound[0].port())]);
            drop(UdpSocket::bind((all[1], bound[0].port())).expect("the other address is free"));
            // The port of the first address is taken: the next one would be another server to the peers.
            let taken = TcpServer::bind(("several.test", addr.port())).expect_err("taken");
            assert_eq!(taken.kind(), Some(std::io::ErrorKind::AddrInUse));
        },
    );
}

#[test]
fn connection_that_meets_itself_is_refused_and_leaves_the_port_free() {
    in_network(
        "echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range",
        "addresses::connection_that_meets_itself_is_refused_and_leaves_the_port_free",
        || {
            // There is one port for both ends.
            let met = std::net::TcpStream::connect("127.0.0.1:40000").expect("met itself");
            assert_eq!(met.local_addr().ok(), met.peer_addr().ok());
            reset(met);
            let node = node();
            let probe = Probe::spawn(&node);
            probe.connect_to("127.0.0.1:40000");
            assert_eq!(
                without_number(probe.disconnect().reason),
                DisconnectReason::Connect(std::io::ErrorKind::ConnectionRefused.into())
            );
            drop(TcpServer::bind("127.0.0.1:40000").expect("the port is free"));
            // It is done where it is asked for.
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
            let options = TcpConnectionOptions::from("127.0.0.1:40000").with_local_addr(local);
            probe.connect_to(options);
            assert_eq!(probe.connect().local_addr, local);
            stop_clean(&node);
        },
    );
}

#[test]
fn connections_are_counted_by_ipv6_network() {
    in_network(
        "for host in 1 2; do ip -6 addr add fd00:1::$host/64 dev lo nodad; done && ip -6 addr add fd00:2::1/64 dev lo nodad && until ip -6 route show table local | grep -c fd00 | grep -q 3; do :; done",
        "addresses::connections_are_counted_by_ipv6_network",
        || {
            let node = node();
            let probe = Probe::spawn(&node);
            let options = TcpServerOptions::from("[::]:0").with_max_connections_per_ip(1);
            let server = TcpServer::bind(options).expect("bound");
            let port = server.local_addr().port();
            let listener = probe.spawn_meta(server);
            let dial = |from: &str| {
                let socket =
                    socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)
                        .expect("a socket");
                let from: IpAddr = from.parse().expect("an address");
                socket
                    .bind(&SocketAddr::new(from, 0).into())
                    .expect("bound");
                let to = SocketAddr::new("fd00:1::1".parse().expect("an address"), port);
                socket.connect(&to.into()).expect("connected");
                std::net::TcpStream::from(socket)
            };
            let first = dial("fd00:1::1");
            probe.connect();
            let neighbor = dial("fd00:1::2");
            wait_for(&node, listener, "refused_per_ip", 1);
            let other = dial("fd00:2::1");
            probe.connect();
            drop((first, neighbor, other));
            stop_clean(&node);
        },
    );
}

#[cfg(target_os = "linux")]
mod unix {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use longshore::{
        BindError, ConnectError, MessageUnixDatagram, UnixConnection, UnixConnectionOptions,
        UnixDatagramOptions, UnixDatagramServer, UnixServer, UnixServerOptions,
    };

    use super::*;

    /// A path in the temporary directory, and an abstract name.
    fn paths(name: &str) -> [(PathBuf, String); 2] {
        let name = format!("longshore-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let text = path.display().to_string();
        let hidden = [b"\0", name.as_bytes()].concat();
        [
            (path, text),
            (
                PathBuf::from(OsString::from_vec(hidden)),
                format!("@{name}"),
            ),
        ]
    }

    #[test]
    fn paths_and_abstract_names_are_bound_and_connected_to() {
        let node = node();
        let probe = Probe::spawn(&node);
        for (path, text) in paths("stream") {
            let server = UnixServer::bind(&path, UnixServerOptions::default()).expect("bound");
            let again = UnixServer::bind(&path, UnixServerOptions::default());
            let taken = again.expect_err("taken");
            assert!(taken.to_string().contains(&text), "{taken}");
            let listener = probe.spawn_meta(server);
            assert_eq!(inspect(&node, listener).value("local_addr"), Some(&*text));
            let client = UnixConnection::connect(&path, UnixConnectionOptions::default());
            let client = probe.spawn_meta(client.expect("an attempt"));
            for _ in 0..2 {
                probe.connect();
            }
            probe.write(client, "hi");
            assert_eq!(probe.tcp().data, b"hi");
            probe.run(move |cx| cx.close(client)).expect("open");
            for _ in 0..2 {
                probe.disconnect();
            }
        }
        stop_clean(&node);
    }

    #[test]
    fn datagrams_are_answered_at_paths_and_at_abstract_names() {
        let node = node();
        let probe = Probe::spawn(&node);
        let both: Vec<_> = paths("one").into_iter().zip(paths("two")).collect();
        for ((one, _), (two, text)) in both {
            let bind = |path| UnixDatagramServer::bind(path, UnixDatagramOptions::default());
            let (asks, answers) = (bind(&one).expect("bound"), bind(&two).expect("bound"));
            let (asks, answers) = (probe.spawn_meta(asks), probe.spawn_meta(answers));
            assert_eq!(inspect(&node, answers).value("local_addr"), Some(&*text));
            let question = MessageUnixDatagram::new(asks, &two, "?");
            probe
                .run(move |cx| cx.send_alias(asks, question))
                .expect("accepted");
            let Message::UnixDatagram(mut packet) = probe.next().1 else {
                panic!("a datagram");
            };
            assert_eq!(packet.path.as_deref(), Some(&*one));
            packet.data = Buffer::from("!");
            probe
                .run(move |cx| cx.send_alias(answers, *packet))
                .expect("accepted");
            let Message::UnixDatagram(packet) = probe.next().1 else {
                panic!("a datagram");
            };
            assert_eq!((packet.id, &packet.data[..]), (asks, &b"!"[..]));
        }
        stop_clean(&node);
    }

    #[test]
    fn path_that_is_none_is_refused_at_once() {
        let long = "a".repeat(200);
        for path in ["", "a\0b", "\0", &long] {
            let kinds = [
                UnixServer::bind(path, UnixServerOptions::default()).map(drop),
                UnixDatagramServer::bind(path, UnixDatagramOptions::default()).map(drop),
            ];
            for kind in kinds {
                assert!(
                    matches!(&kind, Err(BindError::Bind { source, .. })
                        if source.kind() == std::io::ErrorKind::InvalidInput),
                    "{path:?}: {kind:?}"
                );
            }
            let refused = UnixConnection::connect(path, UnixConnectionOptions::default());
            assert!(
                matches!(&refused, Err(ConnectError::Path { source, .. })
                    if source.kind() == std::io::ErrorKind::InvalidInput),
                "{path:?}"
            );
        }
    }
}

#[test]
fn name_under_localhost_is_connected_to_without_a_resolver() {
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    // No resolver knows it.
    probe.connect_to(("any.name.localhost", port));
    let (mut peer, _) = listener.accept().expect("a connection");
    bounded(&peer);
    let id = probe.connect().id;
    probe.write(id, "x");
    assert_eq!(read(&mut peer, 1), b"x");
    peer.write_all(b"y").expect("written");
    assert_eq!(probe.tcp().data, b"y");
    drop(peer.read(&mut []));
    stop_clean(&node);
}
