//! The local address of datagrams: sockets bound to several addresses or to all, and where answers leave from.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use longshore::prelude::*;
use longshore::{BindError, UdpServer};

use crate::support::*;

/// A client whose socket takes nothing but what comes from `server`.
fn client_of(server: SocketAddr) -> UdpSocket {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).expect("a socket");
    let limit = std::time::Duration::from_secs(10);
    socket.set_read_timeout(Some(limit)).expect("set");
    socket.connect(server).expect("connected");
    socket
}

fn received(client: &UdpSocket) -> String {
    let mut bytes = [0; 100];
    let length = client.recv(&mut bytes).expect("an answer");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// Asks `server` in three ways of answering; each answer has to come from the address that was asked.
fn is_answered_from(probe: &Probe, id: Alias, server: SocketAddr) {
    let client = client_of(server);
    let peer = client.local_addr().expect("an address");
    client.send(b"by the verb").expect("sent");
    let packet = probe.udp();
    assert_eq!((packet.id, packet.addr.port()), (id, peer.port()));
    assert_eq!(packet.local_addr(), Some(server));
    probe.run(move |cx| cx.answer_datagram(&packet, "one"));
    assert_eq!(received(&client), "one");

    client.send(b"sent back").expect("sent");
    let packet = probe.udp();
    probe
        .run(move |cx| cx.send_alias(packet.id, packet))
        .expect("accepted");
    assert_eq!(received(&client), "sent back");

    client.send(b"by name").expect("sent");
    let to = probe.udp().addr;
    let packet = MessageUdp::new(id, to, "three").with_local_addr(server);
    probe
        .run(move |cx| cx.send_alias(id, packet))
        .expect("accepted");
    assert_eq!(received(&client), "three");
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    let parsed = texts.iter().map(|text| text.parse().expect("an address"));
    parsed.collect()
}

#[test]
fn each_of_several_addresses_answers_from_itself() {
    let node = node();
    let probe = Probe::spawn(&node);
    let list = addresses(&["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"]);
    let server = UdpServer::bind_each(list.clone(), UdpServerOptions::default()).expect("bound");
    let bound: Vec<SocketAddr> = server.local_addrs().collect();
    assert!(
        bound
            .iter()
            .map(SocketAddr::ip)
            .eq(list.iter().map(SocketAddr::ip))
    );
    assert_eq!(server.local_addr(), bound[0]);
    let id = probe.spawn_meta(server);
    for _ in 0..3 {
        for server in &bound {
            is_answered_from(&probe, id, *server);
        }
    }
    let sums = inspect(&node, id);
    assert_eq!(sums.number("messages_in"), Some(27));
    assert_eq!(sums.number("messages_out"), Some(27));
    // All of them are free when the server has ended.
    probe.run(move |cx| cx.close(id)).expect("closed");
    wait_until("the sockets to be closed", || {
        bound.iter().all(|addr| UdpSocket::bind(addr).is_ok())
    });
    stop_clean(&node);
}

#[test]
fn a_datagram_without_a_local_address_leaves_by_its_family() {
    let node = node();
    let probe = Probe::spawn(&node);
    let list = addresses(&["[::1]:0", "127.0.0.2:0", "127.0.0.3:0"]);
    let options = UdpServerOptions::default().with_report_errors(true);
    let server = UdpServer::bind_each(list, options).expect("bound");
    let bound: Vec<SocketAddr> = server.local_addrs().collect();
    let id = probe.spawn_meta(server);
    for (client, from) in [("127.0.0.1:0", bound[1]), ("[::1]:0", bound[0])] {
        let client = UdpSocket::bind(client).expect("a socket");
        let to = client.local_addr().expect("an address");
        probe.run(move |cx| cx.send_datagram(id, to, "to you"));
        let mut bytes = [0; 10];
        let (length, peer) = client.recv_from(&mut bytes).expect("a datagram");
        assert_eq!((&bytes[..length], peer), (&b"to you"[..], from));
    }
    // One from an address that is not in the list is an error of that datagram.
    let to = bound[1];
    let foreign = addresses(&["127.0.0.9:1"])[0];
    let packet = MessageUdp::new(id, to, "not ours").with_local_addr(foreign);
    probe
        .run(move |cx| cx.send_alias(id, packet))
        .expect("accepted");
    let report = probe.udp_error();
    assert_eq!(report.error, ErrorKind::AddrNotAvailable);
    assert_eq!((report.addr, report.length), (Some(to), 8));
    assert_eq!(inspect(&node, id).number("send_errors"), Some(1));
    assert_eq!(probe.run(move |cx| cx.queued_bytes(id)), 0);
    stop_clean(&node);
}

#[test]
fn list_of_addresses_that_cannot_be_bound_leaves_none_bound() {
    let field = |addresses: &[SocketAddr], options: UdpServerOptions| match UdpServer::bind_each(
        addresses.to_vec(),
        options,
    ) {
        Err(BindError::Option(error)) => error.field(),
        other => panic!("{other:?}"),
    };
    let one = addresses(&["127.0.0.1:0"]);
    let new = UdpServerOptions::default;
    assert_eq!(field(&[], new()), "addresses");
    assert_eq!(field(&one, new().with_port(7)), "host");
    assert_eq!(field(&one, new().with_host("127.0.0.1")), "host");
    assert_eq!(field(&one, new().with_peer(one[0])), "peer");
    assert_eq!(field(&one, new().with_buffer_size(0)), "buffer_size");

    let holder = UdpSocket::bind("127.0.0.2:0").expect("a socket");
    let taken = holder.local_addr().expect("an address");
    let free = addresses(&["127.0.0.3:0"])[0];
    let free = UdpSocket::bind(free)
        .and_then(|it| it.local_addr())
        .expect("an address");
    let error = UdpServer::bind_each([free, taken], new()).expect_err("in use");
    assert_eq!(error.kind(), Some(ErrorKind::AddrInUse));
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    UdpSocket::bind(free).expect("the first is free again");
    drop(holder);
}

#[test]
fn every_address_of_a_list_has_its_turn_in_a_flood_of_another() {
    let node = node();
    let probe = Probe::spawn(&node);
    let list = addresses(&["127.0.0.1:0", "127.0.0.2:0"]);
    let server = UdpServer::bind_each(list, UdpServerOptions::default()).expect("bound");
    let bound: Vec<SocketAddr> = server.local_addrs().collect();
    let (flooder, client) = (client_of(bound[0]), client_of(bound[1]));
    for _ in 0..200 {
        flooder.send(b"flood").expect("sent");
    }
    client.send(b"one").expect("sent");
    // All of it waits in the sockets when the server begins to receive.
    probe.spawn_meta(server);
    let mut before = 0;
    while probe.udp().local_addr() != Some(bound[1]) {
        before += 1;
    }
    assert!(before <= 64, "{before} of the other address came first");
    stop_clean(&node);
}

#[cfg(target_os = "linux")]
mod on_linux {
    use super::*;
    use longshore::SocketOptions;

    /// Starts a server on that host.
    fn start(probe: &Probe, options: impl Into<UdpServerOptions>) -> (SocketAddr, Alias) {
        let server = UdpServer::bind(options).expect("bound");
        (server.local_addr(), probe.spawn_meta(server))
    }

    /// Addresses of this machine that a socket of that host has, with the port.
    fn asked(host: &str, port: u16) -> Vec<SocketAddr> {
        let v4 = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
        let all = v4.into_iter().chain(["::1"]);
        let ips = all.map(|text| text.parse::<IpAddr>().expect("an address"));
        ips.filter(|ip| match host {
            "0.0.0.0" => ip.is_ipv4(),
            "only v6" => ip.is_ipv6(),
            _ => true,
        })
        .map(|ip| SocketAddr::new(ip, port))
        .collect()
    }

    #[test]
    fn wildcard_socket_answers_from_the_address_that_was_asked() {
        let node = node();
        let probe = Probe::spawn(&node);
        for host in ["0.0.0.0", "::", "", "only v6"] {
            let only_v6 = host == "only v6";
            let options = UdpServerOptions::default()
                .with_host(if only_v6 { "::" } else { host })
                .with_socket(SocketOptions::default().with_only_v6(only_v6));
            let (addr, id) = start(&probe, options);
            for server in asked(host, addr.port()) {
                is_answered_from(&probe, id, server);
            }
        }
        stop_clean(&node);
    }

    #[test]
    fn socket_of_one_address_reports_none() {
        let node = node();
        let probe = Probe::spawn(&node);
        let (addr, _) = start(&probe, "127.0.0.2:0");
        client_of(addr).send(b"hello").expect("sent");
        assert_eq!(probe.udp().local_addr(), None);
        stop_clean(&node);
    }

    #[test]
    fn wildcard_socket_among_several_answers_from_the_address_that_was_asked() {
        let node = node();
        let probe = Probe::spawn(&node);
        let list = addresses(&["127.0.0.1:0", "0.0.0.0:0"]);
        let server = UdpServer::bind_each(list, UdpServerOptions::default()).expect("bound");
        let bound: Vec<SocketAddr> = server.local_addrs().collect();
        let id = probe.spawn_meta(server);
        is_answered_from(&probe, id, bound[0]);
        for server in asked("0.0.0.0", bound[1].port()) {
            is_answered_from(&probe, id, server);
        }
        stop_clean(&node);
    }

    #[test]
    fn answers_to_several_addresses_wait_together_and_leave_each_from_its_own() {
        let node = node();
        let probe = Probe::spawn(&node);
        let (addr, id) = start(&probe, "0.0.0.0:0");
        let servers = asked("0.0.0.0", addr.port());
        let clients: Vec<UdpSocket> = servers.iter().copied().map(client_of).collect();
        // One peer asks each address; the answers have one size and one destination, but three sources.
        let packets: Vec<MessageUdp> = clients
            .iter()
            .map(|client| {
                client.send(b"?").expect("sent");
                probe.udp()
            })
            .collect();
        probe.run(move |cx| {
            for round in 0..20 {
                for packet in &packets {
                    cx.answer_datagram(packet, format!("{round:02}"));
                }
            }
        });
        for round in 0..20 {
            for client in &clients {
                assert_eq!(received(client), format!("{round:02}"));
            }
        }
        assert_eq!(inspect(&node, id).number("send_errors"), Some(0));
        stop_clean(&node);
    }

    #[test]
    fn source_that_this_machine_does_not_have_is_an_error_of_that_datagram() {
        let node = node();
        let probe = Probe::spawn(&node);
        let options = UdpServerOptions::from("0.0.0.0:0").with_report_errors(true);
        let (_, id) = start(&probe, options);
        let client = udp_client();
        let to = client.local_addr().expect("an address");
        let foreign = addresses(&["192.0.2.1:0"])[0];
        probe.run(move |cx| {
            let packet = MessageUdp::new(id, to, "lost").with_local_addr(foreign);
            cx.send_alias(id, packet).expect("accepted");
            cx.send_datagram(id, to, "kept");
        });
        let report = probe.udp_error();
        assert_eq!((report.addr, report.length), (Some(to), 4));
        assert!(report.error.raw_os_error().is_some(), "{}", report.error);
        assert_eq!(receive(&client), b"kept");
        stop_clean(&node);
    }
}
