//! Whole scenarios: servers, clients and datagrams, seen from both ends.

use longshore::DisconnectReason;
use longshore::prelude::*;

use crate::support::*;

/// Answers each packet with a text.
fn answering(node: &Node, name: &str, text: &'static str) -> Pid {
    node.spawn_register(name, || {
        Script(move |cx: &mut Context<'_>, _, message| {
            if let Message::Tcp(packet) = message {
                cx.send_alias(packet.id, MessageTcp::new(packet.id, text))?;
            }
            Ok(())
        })
    })
    .expect("spawned")
}

#[test]
fn pooled_port_serves_its_handlers_in_turn_and_the_other_port_the_parent() {
    let node = node();
    let (first, second) = (
        Probe::named(&node, "handler1"),
        Probe::named(&node, "handler2"),
    );
    let parent = Probe::spawn(&node);
    let (pooled, _) =
        parent.listen(TcpServerOptions::default().with_process_pool(["handler1", "handler2"]));
    let (plain, _) = parent.listen(TcpServerOptions::default());

    let one = client(pooled);
    let connected = first.connect();
    assert_eq!(connected.remote_addr, one.local_addr().expect("an address"));
    assert_eq!(connected.local_addr, pooled);
    let two = client(pooled);
    assert_eq!(
        second.connect().remote_addr,
        two.local_addr().expect("an address")
    );
    drop(one);
    let disconnected = first.disconnect();
    assert_eq!(
        (disconnected.id, &disconnected.reason),
        (connected.id, &DisconnectReason::ClosedByPeer)
    );

    let mut third = client(plain);
    let id = parent.connect().id;
    std::io::Write::write_all(&mut third, b"hi").expect("written");
    let packet = parent.tcp();
    assert_eq!((packet.id, &packet.data[..]), (id, &b"hi"[..]));
    parent.write(id, "noproc");
    assert_eq!(read(&mut third, 6), b"noproc");
    drop(two);
    second.disconnect();
    drop(third);
    assert_eq!(parent.disconnect().id, id);
    stop_clean(&node);
}

#[test]
fn client_process_and_server_process_both_see_connect_and_disconnect() {
    let node = node();
    let (server, user) = (Probe::spawn(&node), Probe::spawn(&node));
    let (addr, _) = server.listen(TcpServerOptions::default());
    let here = user.connect_to(addr);
    let connected = user.connect();
    assert_eq!((connected.id, connected.remote_addr), (here, addr));
    let there = server.connect();
    assert_eq!(there.remote_addr, connected.local_addr);

    user.write(here, "hi");
    assert_eq!(server.tcp().data, "hi");
    server.write(there.id, "hello");
    assert_eq!(user.tcp().data, "hello");

    user.run(move |cx| cx.send_exit_meta(here, Reason::error("enough")))
        .expect("it lives");
    let ended = user.disconnect();
    assert_eq!(
        (ended.id, ended.reason),
        (here, DisconnectReason::Exit(Reason::error("enough")))
    );
    assert_eq!((ended.bytes_in, ended.bytes_out, ended.unsent), (5, 2, 0));
    let ended = server.disconnect();
    assert_eq!(
        (ended.id, ended.reason),
        (there.id, DisconnectReason::ClosedByPeer)
    );
    assert_eq!((ended.bytes_in, ended.bytes_out, ended.unsent), (2, 5, 0));
    user.saw_nothing();
    server.saw_nothing();
    stop_clean(&node);
}

#[test]
fn connections_of_a_pooled_port_are_answered_by_their_handler_only() {
    let node = node();
    answering(&node, "handler1", "one");
    answering(&node, "handler2", "two");
    let parent = Probe::spawn(&node);
    let (addr, _) =
        parent.listen(TcpServerOptions::default().with_process_pool(["handler1", "handler2"]));
    let mut clients: Vec<_> = (0..6).map(|_| client(addr)).collect();
    for round in 0..3 {
        for (number, stream) in clients.iter_mut().enumerate() {
            let answer: &[u8] = if number % 2 == 0 { b"one" } else { b"two" };
            exchange(stream, format!("round {round}").as_bytes(), answer);
        }
    }
    parent.saw_nothing();
    stop_clean(&node);
}

#[test]
fn datagrams_go_to_the_named_process_or_to_the_parent() {
    let node = node();
    let reply = |text: &'static str| {
        Script(move |cx: &mut Context<'_>, _: Pid, message: Message| {
            if let Message::Udp(packet) = message {
                cx.send_alias(packet.id, MessageUdp::new(packet.id, packet.addr, text))?;
            }
            Ok(())
        })
    };
    node.spawn_register("handler", || reply("proc"))
        .expect("spawned");
    let parent = Probe::spawn(&node);
    let (plain, id) = parent.listen_udp(UdpServerOptions::default());
    let (named, _) =
        parent.listen_udp(UdpServerOptions::default().with_process(Name::from("handler")));
    let socket = udp_client();
    assert_eq!(ask(&socket, named, b"hi"), b"proc");
    socket.send_to(b"hi", plain).expect("sent");
    let packet = parent.udp();
    assert_eq!(
        (packet.id, packet.addr),
        (id, socket.local_addr().expect("an address"))
    );
    assert_eq!((&packet.data[..], packet.truncated), (&b"hi"[..], false));
    parent
        .run(move |cx| cx.send_alias(id, MessageUdp::new(id, packet.addr, "noproc")))
        .expect("accepted");
    assert_eq!(receive(&socket), b"noproc");
    stop_clean(&node);
}
