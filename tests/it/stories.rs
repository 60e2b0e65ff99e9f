//! Whole scenarios: servers, clients and datagrams, seen from both ends; and where the scenarios that every version
//! must pass are tested.

use longshore::DisconnectReason;
use longshore::prelude::*;

use crate::support::*;

on_both! {
    pooled_port_serves_its_handlers_in_turn_and_the_other_port_the_parent,
    client_process_and_server_process_both_see_connect_and_disconnect,
    connections_of_a_pooled_port_are_answered_by_their_handler_only,
    datagrams_go_to_the_named_process_or_to_the_parent,
}

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

/// A scenario, and the file and the names of the tests that play it.
type Story = (&'static str, &'static str, &'static [&'static str]);

/// Scenarios that every version must pass.
const STORIES: &[Story] = &[
    (
        "a port with a pool of processes, and one without",
        include_str!("stories.rs"),
        &[
            "pooled_port_serves_its_handlers_in_turn_and_the_other_port_the_parent",
            "connections_of_a_pooled_port_are_answered_by_their_handler_only",
        ],
    ),
    (
        "a client process and a server process",
        include_str!("stories.rs"),
        &["client_process_and_server_process_both_see_connect_and_disconnect"],
    ),
    (
        "datagrams for the parent and for a named process",
        include_str!("stories.rs"),
        &["datagrams_go_to_the_named_process_or_to_the_parent"],
    ),
    (
        "a meta-process is called, sent to, inspected, spawns, is ended, linked and monitored, and ends with its parent",
        include_str!("meta.rs"),
        &[
            "meta_process_is_called_sent_to_and_inspected_by_its_alias",
            "meta_process_spawns_a_child_of_the_same_parent",
            "meta_process_ends_with_the_reason_of_its_exit_signal",
            "links_and_monitors_on_an_alias_get_its_reason",
            "parents_end_reaches_its_meta_processes_with_the_same_reason",
        ],
    ),
    (
        "a pool of 5 in turn, 3 more, 5 fewer",
        include_str!("pool.rs"),
        &["requests_and_messages_go_to_the_workers_in_turn_also_when_their_number_changes"],
    ),
    (
        "monitors and links, for each reason, with exits trapped and not",
        include_str!("relations.rs"),
        &[
            "monitor_reports_each_reason_once_by_pid_and_by_name",
            "link_passes_each_reason_but_normal_on_both_ways",
            "trapped_link_gives_each_reason_as_a_message",
        ],
    ),
    (
        "monitors and links on names that are given back, and on what is unknown",
        include_str!("relations.rs"),
        &[
            "process_that_gives_its_name_back_ends_the_monitors_of_the_name_only",
            "unknown_targets_answer_a_monitor_at_once",
            "links_to_the_dead_and_to_unregistered_names_are_reported",
        ],
    ),
    (
        "events: values in order, the last ones first, subscribers that come and go, each reason of an end",
        include_str!("events.rs"),
        &[
            "subscriber_gets_the_last_values_and_then_each_one_in_order",
            "publisher_learns_of_the_first_and_the_last_subscriber_only",
            "event_ends_with_its_publisher_behind_the_values_and_with_its_reason",
            "monitors_and_links_on_an_event_get_each_reason",
            "events_that_are_not_there_are_refused_and_their_watchers_answered_at_once",
        ],
    ),
    (
        "supervisors: each kind, restart type, reason and position, in order",
        include_str!("supervisors.rs"),
        &[
            "each_kind_restarts_what_it_should_for_each_restart_type_reason_and_position",
            "child_starts_only_when_the_one_before_it_has_started",
            "group_restart_brings_stopped_children_back_and_no_disabled_or_temporary_ones",
        ],
    ),
    (
        "supervisors: significant children, shutdown by themselves, intensity",
        include_str!("supervisors.rs"),
        &[
            "end_of_significant_children_ends_the_supervisor",
            "one_restart_beyond_the_intensity_ends_the_supervisor_with_the_reason",
        ],
    ),
];

#[test]
fn each_scenario_has_its_tests() {
    for (story, file, tests) in STORIES {
        for test in *tests {
            let declared = format!("#[test]\nfn {test}() {{");
            assert!(file.contains(&declared), "{story}: there is no {test}");
        }
    }
}

#[cfg(feature = "testing")]
#[test]
fn each_scenario_runs_on_simulated_nodes_too() {
    for (story, _, tests) in STORIES {
        for test in *tests {
            assert!(crate::simulated::has(test), "{story}: {test} does not");
        }
    }
}
