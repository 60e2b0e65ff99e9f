//! UDP sockets.

use std::net::{SocketAddr, UdpSocket};

use longshore::prelude::*;
use longshore::{BufferPool, SendErrorKind, UdpServer};

use crate::support::*;

on_both! {
    datagrams_of_every_length_arrive_as_they_are,
    returned_buffers_do_not_shrink_later_datagrams,
    a_datagram_longer_than_the_buffer_is_cut_and_flagged,
    more_than_the_output_limit_is_refused_with_the_message,
    datagrams_for_a_missing_process_are_dropped_and_counted_until_it_is_there,
    a_full_mailbox_drops_datagrams_and_the_counts_add_up,
    a_datagram_sent_just_before_the_end_goes_out,
    bytes_of_another_kind_take_none_of_the_output_limit,
}

/// Sends a datagram through the meta-process.
fn send(probe: &Probe, id: Alias, addr: SocketAddr, data: impl Into<Buffer>) {
    let data = data.into();
    probe
        .run(move |cx| cx.send_alias(id, MessageUdp::new(id, addr, data)))
        .expect("accepted");
}

#[test]
fn datagrams_of_every_length_arrive_as_they_are() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, id) = probe.listen_udp(UdpServerOptions::default());
    let socket = udp_client();
    for length in [0, 1, 2, 999, 1_000, 1_472, 8_192, 65_507] {
        let sent: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
        socket.send_to(&sent, addr).expect("sent");
        let packet = probe.udp();
        assert!(
            packet.data[..] == sent[..],
            "{} of {length} bytes",
            packet.data.len()
        );
        assert!(!packet.truncated);
        probe
            .run(move |cx| cx.send_alias(id, packet))
            .expect("accepted");
        assert!(receive(&socket) == sent, "{length} bytes back");
    }
    stop_clean(&node);
}

#[test]
fn returned_buffers_do_not_shrink_later_datagrams() {
    let node = node();
    let probe = Probe::spawn(&node);
    let pool = BufferPool::new();
    let (addr, id) = probe.listen_udp(UdpServerOptions::default().with_buffer_pool(pool.clone()));
    let socket = udp_client();
    for round in 0..100_usize {
        let sent = vec![round as u8; 1_000];
        socket.send_to(&sent, addr).expect("sent");
        let mut packet = probe.udp();
        assert!(
            packet.data[..] == sent[..],
            "{} bytes in round {round}",
            packet.data.len()
        );
        // The buffers that return to the pool have been split and truncated in every way.
        packet.data.truncate(1);
        match round % 3 {
            0 => drop(packet),
            1 => probe
                .run(move |cx| cx.send_alias(id, packet))
                .expect("accepted"),
            _ => drop(packet.data.into_vec()),
        }
        if round % 3 == 1 {
            assert_eq!(receive(&socket), [round as u8]);
        }
    }
    wait_until("every buffer to be back", || pool.outstanding() == 0);
    stop_clean(&node);
}

#[test]
fn a_datagram_longer_than_the_buffer_is_cut_and_flagged() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, id) = probe.listen_udp(UdpServerOptions::default().with_buffer_size(10));
    let socket = udp_client();
    for (sent, got, truncated) in [
        (&b"0123456789"[..], &b"0123456789"[..], false),
        (b"0123456789x", b"0123456789", true),
    ] {
        socket.send_to(sent, addr).expect("sent");
        let packet = probe.udp();
        assert_eq!((&packet.data[..], packet.truncated), (got, truncated));
    }
    assert_eq!(inspect(&node, id).number("truncated"), Some(1));
    // With a pool of the user's, `buffer_size` is ignored.
    let options = UdpServerOptions::default()
        .with_buffer_size(10)
        .with_buffer_pool(BufferPool::new());
    let (addr, _) = probe.listen_udp(options);
    socket.send_to(&[1; 2_000], addr).expect("sent");
    let packet = probe.udp();
    assert_eq!((packet.data.len(), packet.truncated), (2_000, false));
    stop_clean(&node);
}

#[test]
fn a_datagram_that_cannot_be_sent_ends_nothing_and_is_counted() {
    let node = node();
    let probe = Probe::spawn(&node);
    let options = UdpServerOptions::default().with_report_errors(true);
    let (addr, id) = probe.listen_udp(options);
    let socket = udp_client();
    let to = socket.local_addr().expect("an address");
    // Too long, to another address family, to port 0.
    send(&probe, id, to, vec![0; 65_508]);
    let error = probe.udp_error();
    assert_eq!((error.id, error.addr, error.length), (id, Some(to), 65_508));
    let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, to.port()));
    send(&probe, id, six, "x");
    assert_eq!(probe.udp_error().addr, Some(six));
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    send(&probe, id, nowhere, "x");
    assert_eq!(probe.udp_error().addr, Some(nowhere));
    assert_eq!(inspect(&node, id).number("send_errors"), Some(3));
    assert_eq!(inspect(&node, id).number("queued_bytes"), Some(0));
    // No socket is bound there: the network may report it, and the server continues.
    let closed = UdpSocket::bind("127.0.0.1:0")
        .expect("bound")
        .local_addr()
        .expect("an address");
    for _ in 0..10 {
        send(&probe, id, closed, "x");
    }
    send(&probe, id, to, "good");
    assert_eq!(receive(&socket), b"good");
    socket.send_to(b"still", addr).expect("sent");
    loop {
        match probe.next().1 {
            Message::Udp(packet) => break assert_eq!(packet.data, "still"),
            Message::UdpError(_) => {}
            other => panic!("{other:?}"),
        }
    }
    stop_clean(&node);
}

#[test]
fn more_than_the_output_limit_is_refused_with_the_message() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, id) = probe.listen_udp(UdpServerOptions::default().with_output_limit(1_000));
    let error = probe.run(move |cx| cx.send_alias(id, MessageUdp::new(id, addr, vec![0; 1_001])));
    let error = error.expect_err("too large");
    assert_eq!(error.kind(), SendErrorKind::TooLarge);
    assert!(matches!(error.into_message(), Message::Udp(packet) if packet.data.len() == 1_001));
    stop_clean(&node);
}

#[test]
fn a_socket_connected_to_a_peer_hears_that_peer_only_and_outlives_its_absence() {
    let node = node();
    let probe = Probe::spawn(&node);
    let peer = udp_client();
    let peer_addr = peer.local_addr().expect("an address");
    let (addr, id) = probe.listen_udp(
        UdpServerOptions::default()
            .with_peer(peer_addr)
            .with_report_errors(true),
    );
    // A datagram from another address is dropped, and the peer's is delivered.
    udp_client().send_to(b"stranger", addr).expect("sent");
    peer.send_to(b"peer", addr).expect("sent");
    let packet = probe.udp();
    assert_eq!((packet.addr, &packet.data[..]), (peer_addr, &b"peer"[..]));
    // The address in the message is ignored.
    send(
        &probe,
        id,
        SocketAddr::from(([127, 0, 0, 1], 9)),
        "to the peer",
    );
    assert_eq!(receive(&peer), b"to the peer");
    // When the peer is gone, an error is reported, and the socket continues; when it is back, datagrams arrive again.
    drop(peer);
    send(&probe, id, peer_addr, "anything");
    let error = probe.udp_error();
    assert_eq!(
        (error.id, error.error.kind()),
        (id, std::io::ErrorKind::ConnectionRefused)
    );
    let peer = UdpSocket::bind(peer_addr).expect("bound again");
    peer.set_read_timeout(Some(LIMIT)).expect("a timeout");
    send(&probe, id, peer_addr, "back?");
    assert_eq!(receive(&peer), b"back?");
    stop_clean(&node);
}

#[test]
fn datagrams_for_a_missing_process_are_dropped_and_counted_until_it_is_there() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (addr, id) =
        parent.listen_udp(UdpServerOptions::default().with_process(Name::from("handler")));
    let socket = udp_client();
    socket.send_to(b"lost", addr).expect("sent");
    wait_for(&node, id, "dropped", 1);
    let handler = Probe::named(&node, "handler");
    // The datagram that finds the name gone triggers the lookup for the next one.
    socket.send_to(b"first", addr).expect("sent");
    socket.send_to(b"second", addr).expect("sent");
    let packet = handler.udp();
    assert!(packet.data == "first" || packet.data == "second");
    node.send_exit(handler.pid, Reason::Kill).expect("it lives");
    wait_for_count(&node, "processes", 1);
    socket.send_to(b"lost", addr).expect("sent");
    wait_until("the loss to be counted", || {
        inspect(&node, id).number("dropped") > Some(1)
    });
    let handler = Probe::named(&node, "handler");
    socket.send_to(b"again", addr).expect("sent");
    socket.send_to(b"again", addr).expect("sent");
    assert_eq!(handler.udp().data, "again");
    parent.saw_nothing();
    stop_clean(&node);
}

#[test]
fn a_full_mailbox_drops_datagrams_and_the_counts_add_up() {
    let node = node();
    let probe = Probe::spawn_with(&node, SpawnOptions::default().with_data_bound(5));
    let (addr, id) = probe.listen_udp(UdpServerOptions::default());
    let gate = probe.block();
    let socket = udp_client();
    for _ in 0..50 {
        socket.send_to(b"x", addr).expect("sent");
    }
    let kernel_drops = || inspect(&node, id).number("kernel_drops").unwrap_or(0);
    wait_until("all to be received", || {
        inspect(&node, id).number("messages_in") == Some(50 - kernel_drops())
    });
    let dropped = inspect(&node, id).number("dropped").expect("a number");
    drop(gate);
    for _ in 0..50 - kernel_drops() - dropped {
        probe.udp();
    }
    assert_eq!(dropped + kernel_drops(), 45);
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn a_stopped_server_frees_its_port() {
    let node = node();
    let probe = Probe::spawn(&node);
    for way in 0..3 {
        let (addr, id) = probe.listen_udp(UdpServerOptions::default());
        match way {
            0 => node.send_exit_meta(id, Reason::Shutdown),
            1 => node.send_exit_meta(id, Reason::Kill),
            _ => node.close(id),
        }
        .expect("it lives");
        wait_for_count(&node, "meta_processes", 0);
        UdpSocket::bind(addr).expect("free");
        let error = node
            .send_alias(id, MessageUdp::new(id, addr, "x"))
            .expect_err("stale");
        assert_eq!(error.kind(), SendErrorKind::NoMeta);
    }
    stop_clean(&node);
}

#[test]
fn a_datagram_sent_just_before_the_end_goes_out() {
    let node = node();
    let socket = udp_client();
    let to = socket.local_addr().expect("an address");
    for round in 0..20_u8 {
        let probe = Probe::spawn(&node);
        let (_, id) = probe.listen_udp(UdpServerOptions::default());
        probe.start(move |cx| {
            cx.send_alias(id, MessageUdp::new(id, to, vec![round]))?;
            if round % 2 == 0 {
                Err(Reason::Normal)
            } else {
                Ok(cx.send_exit_meta(id, Reason::Shutdown)?)
            }
        });
        assert_eq!(receive(&socket), [round]);
    }
    stop_clean(&node);
}

#[test]
fn udp_options_that_are_wrong_are_named() {
    for (options, field) in [
        (
            UdpServerOptions::default().with_buffer_size(0),
            "buffer_size",
        ),
        (
            UdpServerOptions::default().with_output_limit(0),
            "output_limit",
        ),
        (
            UdpServerOptions::default().with_multicast(vec![[127, 0, 0, 1].into()]),
            "multicast",
        ),
    ] {
        match UdpServer::bind(options) {
            Err(longshore::BindError::Option(error)) => assert_eq!(error.field(), field),
            other => panic!("{other:?}"),
        }
    }
    let first = UdpServer::bind("127.0.0.1:0").expect("bound");
    let error = UdpServer::bind(first.local_addr()).expect_err("in use");
    assert_eq!(error.kind(), Some(std::io::ErrorKind::AddrInUse));
}

#[test]
fn a_flood_of_tiny_datagrams_does_not_stop_other_sockets() {
    let node = node();
    let flooded = Probe::spawn_with(&node, SpawnOptions::default().with_data_bound(10));
    let (addr, _) = flooded.listen_udp(UdpServerOptions::default());
    let probe = Probe::spawn(&node);
    let (tcp, _) = probe.listen(TcpServerOptions::default());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let (first, begun) = std::sync::mpsc::channel();
    let flood = std::thread::spawn(move || {
        let socket = udp_client();
        socket.send_to(b"x", addr).expect("sent");
        first.send(()).expect("the test waits");
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            // The kernel's buffer may be full.
            drop(socket.send_to(b"x", addr));
        }
    });
    begun.recv().expect("the flood begins");
    let mut stream = client(tcp);
    let id = probe.connect().id;
    for _ in 0..100 {
        std::io::Write::write_all(&mut stream, b"x").expect("written");
        probe.tcp();
        probe.write(id, "y");
        assert_eq!(read(&mut stream, 1), b"y");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().expect("no panic");
    drop(stream);
    stop_clean(&node);
}

#[test]
fn bytes_of_another_kind_take_none_of_the_output_limit() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (_, id) = probe.listen_udp(UdpServerOptions::default());
    probe
        .run(move |cx| cx.send_alias(id, MessageTcp::new(id, vec![0; 1_000])))
        .expect("accepted");
    inspect(&node, id); // it has been handled
    assert_eq!(probe.run(move |cx| cx.queued_bytes(id)), 0);
    stop_clean(&node);
}
