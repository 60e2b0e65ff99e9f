//! What a test does to nodes and to the network from outside.

use std::io::ErrorKind;
use std::sync::mpsc;
use std::time::Duration;

use super::{Echo, Handled, addr};
use crate::prelude::*;
use crate::testing::*;

/// Connects, if it is to, and passes on what it gets.
struct Reports(mpsc::Sender<Message>, Option<String>);

impl Actor for Reports {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        if let Some(to) = &self.1 {
            cx.spawn_meta(TcpConnection::connect(to.as_str())?)?;
        }
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        self.0.send(message).expect("the test listens");
        Ok(())
    }
}

type Dialed = (Pid, mpsc::Receiver<Message>);

/// A process that connects, and what it gets.
fn dial(node: &TestNode, to: impl ToString) -> Result<Dialed, crate::SpawnError> {
    let (sender, seen) = mpsc::channel();
    let to = Some(to.to_string());
    Ok((node.spawn(|| Reports(sender, to))?, seen))
}

#[test]
fn process_that_crashes_gives_its_monitor_the_kill() {
    struct Watches(Pid, mpsc::Sender<Reason>);
    impl Actor for Watches {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            cx.monitor(self.0);
            Ok(())
        }
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            if let Message::Down(down) = message {
                self.1.send(down.reason.clone())?;
            }
            Ok(())
        }
    }
    let node = TestNode::seeded(1);
    let (sender, _messages) = mpsc::channel();
    let victim = node.spawn(|| Reports(sender, None)).expect("spawned");
    let (reasons, reason) = mpsc::channel();
    node.spawn(|| Watches(victim, reasons)).expect("spawned");
    node.crash(victim).expect("it lives");
    node.run_until_idle();
    assert_eq!(reason.try_recv(), Ok(Reason::Kill));
}

#[test]
fn held_process_fills_its_mailbox_and_handles_all_of_it_later() {
    let node = TestNode::seeded(2);
    let (sender, messages) = mpsc::channel();
    let options = SpawnOptions::default().with_mailbox_bound(3);
    let pid = node
        .spawn_with(options, || Reports(sender, None))
        .expect("spawned");
    node.hold(pid);
    for number in 0..3_u32 {
        node.send(pid, number).expect("room");
    }
    let refused = node.send(pid, 3_u32).expect_err("full");
    assert_eq!(refused.kind(), SendErrorKind::MailboxFull);
    node.release(pid);
    node.run_until_idle();
    assert_eq!(messages.try_iter().count(), 3);
}

#[test]
fn connection_that_is_cut_ends_on_both_sides() {
    let node = TestNode::seeded(3);
    node.spawn(|| Echo::at("127.0.0.1:7000")).expect("spawned");
    let client = node.connect(addr());
    client.write(b"hi");
    client.expect(b"hi");
    node.world().net().cut(&client);
    let (_, end) = client.read_to_end();
    assert_eq!(end, ClientEnd::Failed(ErrorKind::ConnectionReset));
    drop(client);
    node.run_until_idle();
    assert_eq!(node.world().net().open_connections(), 0);
}

#[test]
fn delay_of_a_link_is_that_of_each_answer() {
    let node = TestNode::seeded(4);
    node.spawn(|| Echo::at("127.0.0.1:7000")).expect("spawned");
    let latency = Duration::from_secs(2);
    node.world().net().delay(&node, latency);
    let client = node.connect(addr());
    node.run_until(|| client.is_connected());
    let began = node.world().now();
    client.write(b"hi");
    client.expect(b"hi");
    let took = node.world().now() - began;
    assert!((2 * latency..3 * latency).contains(&took), "{took:?}");
}

#[test]
fn partition_keeps_what_is_sent_until_its_end() {
    let world = World::seeded(10);
    let (server, other) = (TestNode::start(&world), TestNode::start(&world));
    server.spawn(|| Echo::at("0.0.0.0:7000")).expect("spawned");
    let there = world.net().address_of(&server, 7_000);
    let (pid, seen) = dial(&other, there).expect("an attempt");
    let client = server.connect(addr());
    world.run_until_idle();
    let Ok(Message::TcpConnect(connect)) = seen.try_recv() else {
        panic!("it connects")
    };
    // From the clients of the test only, and then from the other node only.
    for is_from_node in [false, true] {
        let time = Duration::from_secs(3);
        let from = is_from_node.then_some(&other);
        world.net().partition(&server, from, time);
        client.write(b"hi");
        let bytes = MessageTcp::new(connect.id, "ho");
        other.node().send_alias(connect.id, bytes).expect("sent");
        world.advance(time / 2);
        let is_cut = [client.available() == 0, seen.try_recv().is_err()];
        assert_eq!(is_cut, [!is_from_node, is_from_node]);
        world.advance(time);
        assert_eq!(client.read(2), b"hi");
        if is_from_node {
            assert!(matches!(seen.try_recv(), Ok(Message::Tcp(_))));
        }
    }
    other.crash(pid).expect("it lives");
}

#[test]
fn link_with_a_rate_takes_its_time() {
    let link = LinkOptions::default().with_bytes_per_second(100_000);
    let net = NetOptions::default().with_link(link);
    let world = World::with(11, WorldOptions::default().with_net(net));
    let node = TestNode::start(&world);
    node.spawn(|| Echo::at("127.0.0.1:7000")).expect("spawned");
    let client = node.connect(addr());
    world.run_until(|| client.is_connected());
    let began = world.now();
    client.write(&vec![7; 200_000]);
    assert_eq!(client.read(200_000).len(), 200_000);
    let took = (world.now() - began).as_millis();
    assert!((2_000..4_500).contains(&took), "{took} ms");
}

#[test]
fn second_address_of_a_name_is_tried_while_the_first_is_silent() {
    let world = World::seeded(5);
    let (server, client) = (TestNode::start(&world), TestNode::start(&world));
    server.spawn(|| Echo::at("0.0.0.0:7000")).expect("spawned");
    let there = world.net().address_of(&server, 7_000).ip();
    let silent = "192.0.2.1".parse().expect("an address");
    world.net().set_name("echo.example", vec![silent, there]);
    let (_, seen) = dial(&client, "echo.example:7000").expect("an attempt");
    world.advance(Duration::from_secs(1));
    match seen.try_recv() {
        Ok(Message::TcpConnect(connect)) => assert_eq!(connect.remote_addr.ip(), there),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ports_that_run_out_are_an_error_of_the_attempt_and_come_back() {
    let net = NetOptions::default().with_ephemeral_ports(40_000..=40_001);
    let world = World::with(6, WorldOptions::default().with_net(net));
    let (server, client) = (TestNode::start(&world), TestNode::start(&world));
    server.spawn(|| Echo::at("0.0.0.0:7000")).expect("spawned");
    let to = world.net().address_of(&server, 7_000);
    let is_connected = |(_, seen): &Dialed| matches!(seen.try_recv(), Ok(Message::TcpConnect(_)));
    let first = dial(&client, to).expect("a port");
    let second = dial(&client, to).expect("a port");
    world.run_until_idle();
    assert!(is_connected(&first) && is_connected(&second));
    let error = dial(&client, to).expect_err("no port is left");
    assert!(error.to_string().contains("address"), "{error}");
    client.crash(first.0).expect("it lives");
    world.advance(Duration::from_secs(10));
    let third = dial(&client, to).expect("a port is free again");
    world.run_until_idle();
    assert!(is_connected(&third));
}

#[test]
fn listener_without_descriptors_accepts_again_when_there_are_some() {
    let world = World::seeded(7);
    let node = TestNode::start(&world);
    node.spawn(|| Echo::at("127.0.0.1:7000")).expect("spawned");
    world.run_until_idle();
    let time = Duration::from_secs(3);
    world.apply(&Fault::NoDescriptors { node: 0, time });
    let client = node.connect(addr());
    client.write(b"hi");
    world.advance(Duration::from_secs(1));
    let is_there = client.is_connected() && client.available() == 0;
    assert!(
        is_there || client.end().is_some(),
        "waits, or is turned away"
    );
    world.advance(Duration::from_secs(4));
    let late = node.connect(addr());
    late.write(b"again");
    late.expect(b"again");
}

#[cfg(unix)]
#[test]
fn unix_listener_answers_clients_of_its_path() {
    let node = TestNode::seeded(8);
    let path = "/run/echo.sock";
    let server = crate::UnixServer::bind(path, crate::UnixServerOptions::default());
    let server = server.expect("bound");
    node.spawn(|| Echo(Some(server))).expect("spawned");
    node.run_until_idle();
    let client = node.connect_unix(path);
    client.write(b"hi");
    client.expect(b"hi");
    client.close();
    let other = node.connect_unix("/run/other.sock");
    assert_eq!(other.end(), Some(ClientEnd::Failed(ErrorKind::NotFound)));
}

#[test]
fn datagrams_go_both_ways() {
    let node = TestNode::seeded(9);
    let server = UdpServer::bind("127.0.0.1:7001").expect("bound");
    node.spawn(|| Echo(Some(server))).expect("spawned");
    let client = node.udp().expect("a socket");
    let to = "127.0.0.1:7001".parse().expect("an address");
    client.send_to(b"hi", to).expect("sent");
    assert_eq!(client.try_receive(), None);
    let answer = client.receive(Duration::from_secs(1));
    assert_eq!(answer, Some((b"hi".to_vec(), to)));
}

#[test]
fn address_in_use_is_final_although_the_name_has_another() {
    let world = World::seeded(13);
    let _node = TestNode::start(&world);
    let addresses = ["127.0.0.1", "::1"].map(|address| address.parse().expect("an address"));
    world.net().set_name("both.example", addresses.to_vec());
    let _udp = UdpServer::bind("127.0.0.1:7001").expect("free");
    let _tcp = TcpServer::bind("127.0.0.1:7000").expect("free");
    let refused = [
        TcpServer::bind("both.example:7000").err(),
        UdpServer::bind("both.example:7001").err(),
    ];
    for error in refused {
        let error = error.expect("it is in use").to_string();
        assert!(error.contains("127.0.0.1:700"), "{error}");
    }
}

#[test]
fn limit_of_descriptors_is_what_it_was_behind_the_fault() {
    let net = NetOptions::default().with_descriptors(5);
    let world = World::with(10, WorldOptions::default().with_net(net));
    let node = TestNode::start(&world);
    let count = || {
        let bound = (0..10).map_while(|_| UdpServer::bind("127.0.0.1:0").ok());
        bound.collect::<Vec<_>>().len()
    };
    let before = count();
    assert!((1..=5).contains(&before), "{before}");
    for seconds in [1, 2] {
        let time = Duration::from_secs(seconds);
        world.apply(&Fault::NoDescriptors { node: 0, time });
    }
    node.advance(Duration::from_millis(1_500));
    assert_eq!(count(), 0, "one of the two faults lasts");
    node.advance(Duration::from_secs(1));
    assert_eq!(count(), before);
}

#[test]
fn link_is_whole_when_the_last_of_two_partitions_has_ended() {
    let world = World::seeded(11);
    let node = TestNode::start(&world);
    node.spawn(|| Echo::at("127.0.0.1:7000")).expect("spawned");
    let client = node.connect(addr());
    world.run_until_idle();
    for seconds in [1, 3] {
        world
            .net()
            .partition(&node, None, Duration::from_secs(seconds));
    }
    client.write(b"hi");
    world.advance(Duration::from_secs(2));
    assert_eq!(client.available(), 0);
    world.advance(Duration::from_secs(2));
    client.expect(b"hi");
}

#[test]
fn stall_of_any_length_overflows_no_time() {
    let world = World::seeded(12);
    let node = TestNode::start(&world);
    node.spawn(|| Echo::at("127.0.0.1:7000")).expect("spawned");
    let client = node.connect(addr());
    world.run_until_idle();
    let time = Duration::MAX;
    world.apply(&Fault::Stall {
        connection: 0,
        time,
    });
    client.write(b"hi");
    world.advance(Duration::from_secs(3_600));
    assert_eq!(client.available(), 0);
}
