//! Multicast on sockets that are in use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{Interface, Multicast, MulticastError, UdpServer};

use crate::addresses::in_network;
use crate::support::*;

/// The loopback interface.
const LO: u32 = 1;

/// A server for a copy of the socket, which shows its options.
fn watched(probe: &Probe, addr: &str) -> (UdpSocket, SocketAddr, Alias) {
    let socket = UdpSocket::bind(addr).expect("a socket");
    let copy = socket.try_clone().expect("a copy");
    let server = UdpServer::from_std(socket, UdpServerOptions::default()).expect("taken over");
    let local = server.local_addr();
    (copy, local, probe.spawn_meta(server))
}

fn change(node: &Node, socket: Alias, change: Multicast) -> Result<(), MulticastError> {
    node.ask(socket, change, Duration::from_secs(10))
        .expect("asked")
        .wait()
        .expect("an answer")
}

/// Sends from `from` to the group, then to the receiver itself. Returns whether the first of them came.
fn hears(probe: &Probe, from: Alias, group: SocketAddr, receiver: SocketAddr) -> bool {
    probe.run(move |cx| {
        cx.send_datagram(from, group, "to all");
        cx.send_datagram(from, receiver, "to one");
    });
    let first = probe.udp().data;
    let came = first == "to all";
    assert_eq!(if came { probe.udp().data } else { first }, "to one");
    came
}

#[test]
fn running_socket_joins_and_leaves_a_group_of_ipv4() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (_, local, receiver) = watched(&probe, "0.0.0.0:0");
    let (sending, _, sender) = watched(&probe, "127.0.0.1:0");
    let group = Ipv4Addr::new(239, 255, 77, 1);
    let to = SocketAddr::from((group, local.port()));
    let itself = SocketAddr::from((Ipv4Addr::LOCALHOST, local.port()));
    let ask = |socket, asked| change(&node, socket, asked);
    ask(sender, Multicast::send_on(Ipv4Addr::LOCALHOST)).expect("an interface of its own");
    assert!(!hears(&probe, sender, to, itself), "before it has joined");
    for interface in [Interface::from(Ipv4Addr::LOCALHOST), LO.into(), "lo".into()] {
        ask(receiver, Multicast::join(group).on(interface.clone())).expect("joined");
        assert!(hears(&probe, sender, to, itself), "joined on {interface}");
        ask(receiver, Multicast::leave(group).on(interface.clone())).expect("left");
        assert!(!hears(&probe, sender, to, itself), "left on {interface}");
    }
    // The loopback interface gives everything back; so the option is all that can be seen.
    ask(sender, Multicast::loopback(false)).expect("set");
    assert!(!sending.multicast_loop_v4().expect("an option"));
    ask(sender, Multicast::ttl(7)).expect("set");
    assert_eq!(sending.multicast_ttl_v4().expect("an option"), 7);
    stop_clean(&node);
}

/// On a link of its own: the loopback interface takes no groups of IPv6.
#[test]
fn running_socket_joins_and_leaves_a_group_of_ipv6() {
    in_network(
        "ip link add d0 index 77 type veth peer name d1 && ip link set d0 up && ip link set d1 up \
         && ip -6 addr add fe80::7/64 dev d0 nodad \
         && until ip -6 route show table local | grep -q fe80::7; do :; done",
        "multicast::running_socket_joins_and_leaves_a_group_of_ipv6",
        || {
            let node = node();
            let probe = Probe::spawn(&node);
            let (_, local, receiver) = watched(&probe, "[::]:0");
            let (sending, _, sender) = watched(&probe, "[::]:0");
            let group = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0, 0x77);
            let to = SocketAddrV6::new(group, local.port(), 0, 77).into();
            let itself = SocketAddr::from((Ipv6Addr::LOCALHOST, local.port()));
            let ask = |socket, asked| change(&node, socket, asked);
            ask(sender, Multicast::send_on(77)).expect("an interface of its own");
            for _ in 0..2 {
                assert!(!hears(&probe, sender, to, itself), "before it has joined");
                ask(receiver, Multicast::join(group).on(77)).expect("joined");
                assert!(hears(&probe, sender, to, itself), "joined");
                ask(sender, Multicast::loopback(false)).expect("set");
                assert!(!sending.multicast_loop_v6().expect("an option"));
                assert!(!hears(&probe, sender, to, itself), "without loop");
                ask(sender, Multicast::loopback(true)).expect("set");
                ask(receiver, Multicast::leave(group).on(77)).expect("left");
            }
            ask(sender, Multicast::ttl(9)).expect("set");
            stop_clean(&node);
        },
    );
}

#[test]
fn change_that_cannot_be_made_is_named() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (_, _, v4) = watched(&probe, "127.0.0.1:0");
    let (_, _, v6) = watched(&probe, "[::1]:0");
    let ask = |socket, asked| change(&node, socket, asked).expect_err("refused");
    let group = Ipv4Addr::new(239, 255, 77, 2);
    let on_lo = |change: Multicast| change.on(Ipv4Addr::LOCALHOST);

    let unicast = IpAddr::from([127, 0, 0, 1]);
    let error = ask(v4, Multicast::join(unicast));
    assert_eq!(error, MulticastError::NotAGroup(unicast));

    change(&node, v4, on_lo(Multicast::join(group))).expect("joined");
    let error = ask(v4, on_lo(Multicast::join(group)));
    assert!(
        error
            .to_string()
            .starts_with("cannot join 239.255.77.2 on 127.0.0.1: ")
    );
    let MulticastError::Refused { error, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(error, std::io::ErrorKind::AddrInUse);
    change(&node, v4, on_lo(Multicast::leave(group))).expect("left");
    let MulticastError::Refused { error, .. } = ask(v4, on_lo(Multicast::leave(group))) else {
        panic!("left twice")
    };
    assert_eq!(error, std::io::ErrorKind::AddrNotAvailable);

    let other = |error| matches!(error, MulticastError::OtherFamily(_));
    assert!(other(ask(v6, Multicast::join(group))));
    assert!(other(ask(
        v4,
        Multicast::join(Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0, 1))
    )));
    assert!(other(ask(v6, Multicast::send_on(Ipv4Addr::LOCALHOST))));
    assert!(other(ask(v4, Multicast::send_on(LO))));
    let error = ask(v6, Multicast::send_on("none-such"));
    assert!(
        error.to_string().starts_with("no interface none-such: "),
        "{error}"
    );
    stop_clean(&node);
}

#[test]
fn several_sockets_of_one_server_join_as_far_as_they_can() {
    let node = node();
    let probe = Probe::spawn(&node);
    let any = [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    ];
    let server = UdpServer::bind_each(any, UdpServerOptions::default()).expect("bound");
    let port = server.local_addr().port();
    let receiver = probe.spawn_meta(server);
    let (_, _, sender) = watched(&probe, "127.0.0.1:0");
    let group = Ipv4Addr::new(239, 255, 77, 3);
    change(&node, sender, Multicast::send_on(Ipv4Addr::LOCALHOST)).expect("set");
    change(
        &node,
        receiver,
        Multicast::join(group).on(Ipv4Addr::LOCALHOST),
    )
    .expect("joined");
    let itself = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    assert!(hears(&probe, sender, (group, port).into(), itself));
    stop_clean(&node);
}
