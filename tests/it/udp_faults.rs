//! Faults of datagrams: each costs one datagram at most, is reported or counted, and ends neither socket nor process.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use longshore::prelude::*;
use longshore::{BindError, SendErrorKind, SocketOptions};

use crate::support::*;

fn datagram(
    cx: &mut Context<'_>,
    to: Alias,
    addr: SocketAddr,
    data: impl Into<Buffer>,
) -> Result<(), SendErrorKind> {
    cx.send_alias(to, MessageUdp::new(to, addr, data))
        .map_err(|error| error.kind())
}

#[test]
fn empty_datagram_is_a_datagram_in_both_directions() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, alias) = probe.listen_udp(UdpServerOptions::default());
    let client = udp_client();
    client.send_to(b"", addr).expect("sent");
    client.send_to(b"after", addr).expect("sent");
    let empty = probe.udp();
    assert_eq!((empty.data.len(), empty.truncated), (0, false));
    assert_eq!(probe.udp().data, "after");
    let back = empty.addr;
    probe
        .run(move |cx| datagram(cx, alias, back, ""))
        .expect("accepted");
    assert_eq!(receive(&client), b"");
    stop_clean(&node);
}

#[test]
fn datagram_longer_than_the_buffer_is_cut_and_flagged() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, alias) = probe.listen_udp(UdpServerOptions::default().with_buffer_size(10));
    let client = udp_client();
    for (length, got, truncated) in [
        (9, 9, false),
        (10, 10, false),
        (11, 10, true),
        (65_507, 10, true),
    ] {
        client.send_to(&vec![4; length], addr).expect("sent");
        let packet = probe.udp();
        assert_eq!(
            (packet.data.len(), packet.truncated),
            (got, truncated),
            "of {length} bytes"
        );
    }
    assert_eq!(inspect(&node, alias).number("truncated"), Some(2));
    let (addr, _) = probe.listen_udp(UdpServerOptions::default());
    client.send_to(&[4; 65_507], addr).expect("sent");
    let packet = probe.udp();
    assert_eq!((packet.data.len(), packet.truncated), (65_507, false));
    stop_clean(&node);
}

#[test]
fn datagram_that_cannot_be_sent_is_reported_and_the_others_leave() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (_, alias) = probe.listen_udp(UdpServerOptions::default().with_report_errors(true));
    let client = udp_client();
    let to = client.local_addr().expect("an address");
    let v6: SocketAddr = "[::1]:9".parse().expect("an address");
    probe.run(move |cx| {
        datagram(cx, alias, to, "first").expect("accepted");
        datagram(cx, alias, to, vec![0; 65_508]).expect("accepted");
        datagram(cx, alias, v6, "wrong family").expect("accepted");
        datagram(
            cx,
            alias,
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            "no port",
        )
        .expect("accepted");
        datagram(cx, alias, to, "last").expect("accepted");
    });
    assert_eq!(
        (receive(&client), receive(&client)),
        (b"first".to_vec(), b"last".to_vec())
    );
    for (length, addr) in [
        (65_508, to),
        (12, v6),
        (7, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
    ] {
        let error = probe.udp_error();
        assert_eq!(
            (error.id, error.length, error.addr),
            (alias, length, Some(addr)),
            "{error:?}"
        );
    }
    let counts = inspect(&node, alias);
    assert_eq!(
        (counts.number("send_errors"), counts.number("messages_out")),
        (Some(3), Some(2))
    );
    assert_eq!(counts.number("queued_bytes"), Some(0));
    stop_clean(&node);
}

#[test]
fn datagram_that_cannot_be_sent_is_only_counted_unless_errors_are_reported() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (_, alias) = probe.listen_udp(UdpServerOptions::default());
    let client = udp_client();
    let to = client.local_addr().expect("an address");
    probe
        .run(move |cx| datagram(cx, alias, to, vec![0; 65_508]))
        .expect("accepted");
    probe
        .run(move |cx| datagram(cx, alias, to, "last"))
        .expect("accepted");
    assert_eq!(receive(&client), b"last");
    assert_eq!(inspect(&node, alias).number("send_errors"), Some(1));
    probe.saw_nothing();
    stop_clean(&node);
}

/// A UDP port without a socket. Another program may bind it before the test sends.
fn closed_port() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .expect("a socket")
        .local_addr()
        .expect("an address")
}

#[cfg(target_os = "linux")]
#[test]
fn closed_port_of_a_connected_peer_is_reported_and_costs_no_datagram() {
    let node = node();
    let probe = Probe::spawn(&node);
    let peer = closed_port();
    let (_, alias) = probe.listen_udp(
        UdpServerOptions::default()
            .with_peer(peer)
            .with_report_errors(true),
    );
    // Each refusal is reported at the next chance, which is a receive or a send.
    for _ in 0..3 {
        probe
            .run(move |cx| datagram(cx, alias, peer, "anything"))
            .expect("accepted");
        let error = probe.udp_error();
        assert_eq!(
            (error.error.kind(), error.addr),
            (ErrorKind::ConnectionRefused, None)
        );
    }
    let burst = probe.run(move |cx| {
        (0..10)
            .map(|_| datagram(cx, alias, peer, "?"))
            .collect::<Result<Vec<_>, _>>()
    });
    assert!(burst.is_ok());
    wait_for(&node, alias, "messages_out", 13);
    let late = UdpSocket::bind(peer).expect("the port");
    late.set_read_timeout(Some(LIMIT)).expect("a timeout");
    probe
        .run(move |cx| datagram(cx, alias, peer, "now?"))
        .expect("accepted");
    assert_eq!(receive(&late), b"now?");
    assert_eq!(inspect(&node, alias).number("send_errors"), Some(0));
    stop_clean(&node);
}

#[test]
fn closed_port_harms_a_socket_without_peer_in_no_way() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, alias) = probe.listen_udp(UdpServerOptions::default().with_report_errors(true));
    let closed = closed_port();
    probe
        .run(move |cx| {
            (0..10)
                .map(|_| datagram(cx, alias, closed, "?"))
                .collect::<Result<Vec<_>, _>>()
        })
        .expect("accepted");
    let client = udp_client();
    client.send_to(b"alive?", addr).expect("sent");
    assert_eq!(probe.udp().data, "alive?");
    assert_eq!(inspect(&node, alias).number("send_errors"), Some(0));
    stop_clean(&node);
}

#[test]
fn stranger_is_not_heard_by_a_connected_socket() {
    let node = node();
    let probe = Probe::spawn(&node);
    let friend = udp_client();
    let options = UdpServerOptions::default().with_peer(friend.local_addr().expect("an address"));
    let (addr, _) = probe.listen_udp(options);
    udp_client().send_to(b"stranger", addr).expect("sent");
    friend.send_to(b"friend", addr).expect("sent");
    assert_eq!(probe.udp().data, "friend");
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn output_is_bounded_even_for_empty_datagrams() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (_, alias) = probe.listen_udp(UdpServerOptions::default().with_output_limit(64 * 100));
    let to = closed_port();
    let (accepted, refusal) = probe.run(move |cx| {
        let mut accepted = 0;
        // While this callback blocks its worker, the socket sends none of it, or only a part.
        loop {
            match cx.send_alias(alias, MessageUdp::new(alias, to, "")) {
                Ok(()) => accepted += 1,
                Err(error) => return (accepted, error.kind()),
            }
            assert!(accepted < 10_000_000, "the output has no bound");
            assert!(cx.queued_bytes(alias) <= 6_400);
        }
    });
    assert!(accepted >= 100);
    assert_eq!(refusal, SendErrorKind::OutputFull);
    wait_for(&node, alias, "queued_bytes", 0);
    assert_eq!(inspect(&node, alias).number("messages_out"), Some(accepted));
    assert_eq!(inspect(&node, alias).number("refused_sends"), Some(1));
    stop_clean(&node);
}

#[cfg(target_os = "linux")]
#[test]
fn every_datagram_sent_is_delivered_or_counted() {
    const SENT: u64 = 20_000;
    let node = node();
    let probe = Probe::spawn_with(&node, SpawnOptions::default().with_data_bound(50));
    let small = SocketOptions::default().with_recv_buffer_size(4_096);
    let (addr, alias) = probe.listen_udp(UdpServerOptions::default().with_socket(small));
    let client = udp_client();
    let gate = probe.block();
    for number in 0..SENT {
        client.send_to(&number.to_be_bytes(), addr).expect("sent");
    }
    let count = |name: &str| inspect(&node, alias).number(name).expect("a count");
    wait_until("all to be received or dropped", || {
        count("messages_in") + count("kernel_drops") == SENT
    });
    let dropped = count("dropped");
    drop(gate);
    let mut last = None;
    let mut got = 0;
    while let Some(seen) = probe.seen_by_now() {
        let Seen::Message(_, Message::Udp(packet)) = seen else {
            panic!("{seen:?}")
        };
        let number = u64::from_be_bytes(packet.data[..].try_into().expect("8 bytes"));
        assert!(last < Some(number), "out of order");
        last = Some(number);
        got += 1;
    }
    assert!(got <= 50, "{got} messages in a mailbox of 50");
    assert_eq!(got + dropped, count("messages_in"));
    client.send_to(b"alive?", addr).expect("sent");
    assert_eq!(probe.udp().data, "alive?");
    stop_clean(&node);
}

#[test]
fn addresses_that_cannot_be_bound_are_reported_at_creation() {
    let taken = UdpServer::bind("127.0.0.1:0").expect("bound");
    assert_eq!(
        UdpServer::bind(taken.local_addr())
            .expect_err("in use")
            .kind(),
        Some(ErrorKind::AddrInUse)
    );
    assert_eq!(
        UdpServer::bind("192.0.2.1:0").expect_err("not ours").kind(),
        Some(ErrorKind::AddrNotAvailable)
    );
    let v6: SocketAddr = "[::1]:9".parse().expect("an address");
    let mixed = UdpServerOptions::from("127.0.0.1:0").with_peer(v6);
    assert!(UdpServer::bind(mixed).is_err(), "a peer of another family");
    let addr = taken.local_addr();
    taken.terminate(Reason::Normal);
    assert_eq!(
        UdpServer::bind(addr).expect("free again").local_addr(),
        addr
    );
}

#[test]
fn bound_socket_is_taken_over() {
    let node = node();
    let probe = Probe::spawn(&node);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let addr = socket.local_addr().expect("an address");
    let client = udp_client();
    client.send_to(b"early", addr).expect("sent");
    probe.spawn_meta(UdpServer::from_std(socket, UdpServerOptions::default()).expect("taken over"));
    assert_eq!(probe.udp().data, "early");
    stop_clean(&node);
}

#[test]
fn options_reach_a_bound_socket_that_is_taken_over() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (friend, stranger) = (udp_client(), udp_client());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let addr = socket.local_addr().expect("an address");
    let seen = socket2::Socket::from(socket.try_clone().expect("a clone"));
    let options = UdpServerOptions::default()
        .with_peer(friend.local_addr().expect("an address"))
        .with_broadcast(true)
        .with_socket(SocketOptions::default().with_recv_buffer_size(9_000));
    probe.spawn_meta(UdpServer::from_std(socket, options).expect("taken over"));
    assert!(seen.broadcast().expect("an option"));
    if cfg!(target_os = "linux") {
        assert_eq!(
            seen.recv_buffer_size().expect("an option"),
            18_000,
            "the kernel doubles it"
        );
    }
    stranger.send_to(b"not heard", addr).expect("sent");
    friend.send_to(b"heard", addr).expect("sent");
    assert_eq!(probe.udp().data, "heard");
    probe.saw_nothing();

    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let other_family: SocketAddr = "[::1]:9".parse().expect("an address");
    let refused = UdpServer::from_std(socket, UdpServerOptions::default().with_peer(other_family));
    assert!(
        matches!(refused, Err(BindError::Bind { .. })),
        "{refused:?}"
    );
    stop_clean(&node);
}
