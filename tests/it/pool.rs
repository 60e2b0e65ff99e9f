//! Pools of workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use longshore::prelude::*;
use longshore::{DisconnectReason, PoolCommand, RequestError, SendErrorKind, SpawnError};

use crate::support::*;

on_both! {
    requests_and_messages_go_to_the_workers_in_turn_also_when_their_number_changes,
    a_worker_that_dies_is_replaced_in_its_place,
    a_worker_whose_init_fails_is_tried_again_and_the_pool_lives_on,
    a_factory_that_panics_is_tried_again_and_the_pool_lives_on,
    a_pool_whose_first_workers_fail_is_not_spawned,
    pool_by_key_gives_equal_keys_to_one_worker,
    forwarded_message_comes_from_its_first_sender,
    a_removed_worker_handles_what_it_has_before_it_ends,
    full_workers_are_skipped_and_nothing_is_dropped,
    least_busy_pool_passes_over_a_worker_that_handles_something,
    the_end_of_a_pool_ends_its_workers,
    a_pool_spreads_the_datagrams_of_a_udp_server,
}

/// The probe that holds up the worker which gets this.
struct Gate(Pid);

/// Asks a gate whether the worker may go on.
struct Open;

impl Request for Open {
    type Reply = ();
}

/// A worker that reports its number for each message, and answers requests with it.
struct Worker {
    number: usize,
    reports: Sender<(usize, Pid, String)>,
}

impl Actor for Worker {
    fn handle_message(&mut self, cx: &mut Context<'_>, from: Pid, message: Message) -> Handled {
        match message.downcast::<Gate>().map_err(Message::from) {
            // Blocks until the gate opens.
            Ok(Gate(gate)) => {
                let _ = self.reports.send((self.number, from, "blocked".into()));
                cx.call(gate, Open, LIMIT)?;
            }
            Err(message) => {
                let text = message.downcast::<&str>().unwrap_or("?");
                if text == "panic" {
                    panic!("asked to");
                }
                let _ = self.reports.send((self.number, from, text.into()));
            }
        }
        Ok(())
    }

    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        reply.send(self.number);
        Ok(())
    }
}

/// A pool whose workers are numbered from 1 in the order of their spawns.
fn pool(size: usize) -> (Pool, Receiver<(usize, Pid, String)>) {
    let (reports, reported) = mpsc::channel();
    let mut number = 0;
    let pool = Pool::new(size, move || {
        number += 1;
        Worker {
            number,
            reports: reports.clone(),
        }
    });
    (pool, reported)
}

#[track_caller]
fn ask(node: &Node, pool: Pid) -> usize {
    node.call(pool, (), LIMIT)
        .expect("answered")
        .downcast()
        .expect("a number")
}

fn options() -> SpawnOptions {
    SpawnOptions::default().with_name("pool")
}

#[test]
fn requests_and_messages_go_to_the_workers_in_turn_also_when_their_number_changes() {
    let node = node();
    let (five, reported) = pool(5);
    let pid = node.spawn_with(options(), || five).expect("spawned");
    let asked: Vec<_> = (0..10).map(|_| ask(&node, pid)).collect();
    assert_eq!(asked, [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
    let sender = Probe::spawn(&node);
    sender.run(|cx| {
        for _ in 0..10 {
            cx.send("pool", "hi").expect("delivered");
        }
    });
    let mut sent: Vec<_> = (0..10)
        .map(|_| value_of(&reported).expect("handled"))
        .collect();
    assert!(
        sent.iter()
            .all(|(_, from, text)| *from == sender.pid && text == "hi"),
        "the sender stays the sender"
    );
    sent.sort_by_key(|(number, ..)| *number);
    let numbers: Vec<_> = sent.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);

    node.send(pid, PoolCommand::Add(3)).expect("delivered");
    let asked: Vec<_> = (0..16).map(|_| ask(&node, pid)).collect();
    assert_eq!(asked, [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    node.send(pid, PoolCommand::Remove(5)).expect("delivered");
    let asked: Vec<_> = (0..6).map(|_| ask(&node, pid)).collect();
    assert_eq!(asked, [1, 2, 3, 1, 2, 3]);
    wait_for_count(&node, "processes", 1 + 1 + 3);
    node.send(pid, PoolCommand::Remove(100)).expect("delivered");
    assert_eq!([ask(&node, pid), ask(&node, pid)], [1, 1], "one stays");
    let inspection = inspect(&node, pid);
    assert_eq!(
        (inspection.number("workers"), inspection.number("dropped")),
        (Some(1), Some(0))
    );
    stop_clean(&node);
}

#[test]
fn a_worker_that_dies_is_replaced_in_its_place() {
    silence_expected_panics();
    let node = node();
    let (three, _reported) = pool(3);
    let pid = node.spawn_with(options(), || three).expect("spawned");
    ask(&node, pid);
    node.send(pid, "panic").expect("delivered"); // to worker 2
    wait_for(&node, pid, "restarted", 1);
    let asked: Vec<_> = (0..6).map(|_| ask(&node, pid)).collect();
    assert_eq!(asked, [3, 1, 4, 3, 1, 4]);
    stop_clean(&node);
}

#[test]
fn a_worker_whose_init_fails_is_tried_again_and_the_pool_lives_on() {
    /// Starts, while its replacement fails a few times.
    struct Moody(usize);
    impl Actor for Moody {
        fn init(&mut self, _: &mut Context<'_>) -> Handled {
            if (3..6).contains(&self.0) {
                Err(Reason::error("not now"))
            } else {
                Ok(())
            }
        }
        fn handle_call(
            &mut self,
            _: &mut Context<'_>,
            _: Pid,
            _: Message,
            reply: Reply,
        ) -> Handled {
            reply.send(self.0);
            Ok(())
        }
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
            Err(Reason::error("ends"))
        }
    }
    let node = node();
    let made = Arc::new(AtomicUsize::new(0));
    let factory = move || Moody(made.fetch_add(1, Ordering::Relaxed) + 1);
    let pid = node
        .spawn_with(options(), || Pool::new(2, factory))
        .expect("spawned");
    node.send(pid, ()).expect("delivered");
    wait_for(&node, pid, "restarted", 1);
    wait_for(&node, pid, "workers", 2);
    let asked: std::collections::HashSet<_> = (0..4).map(|_| ask(&node, pid)).collect();
    assert_eq!(asked, [2, 6].into());
    stop_clean(&node);
}

#[test]
fn a_factory_that_panics_is_tried_again_and_the_pool_lives_on() {
    silence_expected_panics();
    struct Numbered(usize);
    impl Actor for Numbered {
        fn handle_call(
            &mut self,
            _: &mut Context<'_>,
            _: Pid,
            _: Message,
            reply: Reply,
        ) -> Handled {
            reply.send(self.0);
            Ok(())
        }
    }
    let node = node();
    let mut made = 0;
    let factory = move || {
        made += 1;
        assert_ne!(made, 2, "no parts");
        Numbered(made)
    };
    let pid = node
        .spawn_with(options(), || Pool::new(1, factory))
        .expect("spawned");
    node.send(pid, PoolCommand::Add(1)).expect("delivered");
    wait_for(&node, pid, "workers", 2);
    assert_eq!([ask(&node, pid), ask(&node, pid)], [1, 3]);
    stop_clean(&node);
}

#[test]
fn a_pool_whose_first_workers_fail_is_not_spawned() {
    struct Failing;
    impl Actor for Failing {
        fn init(&mut self, _: &mut Context<'_>) -> Handled {
            Err(Reason::error("never"))
        }
    }
    let node = node();
    node.spawn_with(options(), || Pool::new(2, || Failing))
        .expect_err("its worker fails");
    assert_eq!(node.whereis("pool"), None);
    wait_for_count(&node, "processes", 0);
    let wrong = node
        .spawn_with(options(), || Pool::new(0, || Failing))
        .expect_err("no workers");
    let text = wrong.to_string();
    assert!(
        text.contains("size: a pool needs at least one worker"),
        "{text}"
    );
    stop_clean(&node);
}

#[test]
fn full_workers_are_skipped_and_nothing_is_dropped() {
    let node = node_with(NodeOptions::from("test@localhost").with_workers(4));
    let (two, reported) = pool(2);
    let pid = node
        .spawn_with(options(), || two.with_worker_mailbox(4))
        .expect("spawned");
    let gate = Probe::spawn(&node);
    let mut gates = Vec::new();
    for _ in 0..2 {
        node.send(pid, Gate(gate.pid)).expect("delivered");
        assert_eq!(value_of(&reported).expect("handled").2, "blocked");
        gates.push(gate.call().2);
    }
    // 4 + 4 wait at the workers, 8 at the pool.
    for _ in 0..16 {
        node.send(pid, "hi").expect("delivered");
    }
    wait_for(&node, pid, "held_back", 8);
    assert_eq!(inspect(&node, pid).number("dropped"), Some(0));
    // One more request exceeds the bound and fails at once.
    let error = node.call(pid, (), LIMIT).expect_err("full");
    assert_eq!(
        error,
        RequestError::NotDelivered(SendErrorKind::MailboxFull)
    );
    gates.pop().expect("two").answer::<Open>(()); // worker 2 does all of it, or what worker 1 does not hold
    for _ in 0..12 {
        assert_eq!(value_of(&reported).expect("handled").0, 2);
    }
    gates.pop().expect("one").answer::<Open>(());
    for _ in 0..4 {
        assert_eq!(value_of(&reported).expect("handled").0, 1);
    }
    stop_clean(&node);
}

#[test]
fn least_busy_pool_passes_over_a_worker_that_handles_something() {
    let node = node();
    let (three, reported) = pool(3);
    let pid = node
        .spawn_with(options(), || three.with_least_busy())
        .expect("spawned");
    let gate = Probe::spawn(&node);
    node.send(pid, Gate(gate.pid)).expect("delivered");
    let (blocked, ..) = value_of(&reported).expect("handled");
    for _ in 0..20 {
        node.send(pid, "hi").expect("delivered");
        let (number, ..) = value_of(&reported).expect("handled");
        assert_ne!(number, blocked);
    }
    gate.call().2.answer::<Open>(());
    stop_clean(&node);
}

#[test]
fn pool_by_key_gives_equal_keys_to_one_worker() {
    let node = node();
    let (three, reported) = pool(3);
    let pid = node
        .spawn_with(options(), || {
            three.with_key(|_, message| {
                message
                    .downcast_ref::<&str>()
                    .map_or(0, |text| text.len() as u64)
            })
        })
        .expect("spawned");
    for text in ["", "a", "bb", "ccc", "dddd", "", "e", "ff"] {
        node.send(pid, text).expect("delivered");
        let (number, _, found) = value_of(&reported).expect("handled");
        assert_eq!((number, &*found), (text.len() % 3 + 1, text));
    }
    stop_clean(&node);
}

#[test]
fn forwarded_message_comes_from_its_first_sender() {
    let node = node();
    let (deputy, receiver) = (Probe::spawn(&node), Probe::spawn(&node));
    let (to, from) = (receiver.pid, Pid::NODE);
    deputy.run(move |cx| cx.forward(to, from, "hi").expect("delivered"));
    let (sender, message) = receiver.next();
    assert_eq!(
        (sender, message.downcast::<&str>().ok()),
        (from, Some("hi"))
    );
    deputy.run(|cx| assert!(cx.forward("no such name", Pid::NODE, 7_u8).is_err()));
    stop_clean(&node);
}

#[test]
fn a_removed_worker_handles_what_it_has_before_it_ends() {
    let node = node();
    let (two, reported) = pool(2);
    let pid = node.spawn_with(options(), || two).expect("spawned");
    ask(&node, pid);
    let gate = Probe::spawn(&node);
    node.send(pid, Gate(gate.pid)).expect("delivered"); // to worker 2
    assert_eq!(value_of(&reported).expect("handled").0, 2);
    let open = gate.call().2;
    for _ in 0..10 {
        node.send(pid, "hi").expect("delivered");
    }
    node.send(pid, PoolCommand::Remove(1)).expect("delivered");
    wait_for(&node, pid, "workers", 1);
    open.answer::<Open>(());
    let mut by = [0; 3];
    for _ in 0..10 {
        by[value_of(&reported).expect("nothing is dropped silently").0] += 1;
    }
    assert_eq!(by, [0, 5, 5]);
    wait_for_count(&node, "processes", 3);
    stop_clean(&node);
}

#[test]
fn the_end_of_a_pool_ends_its_workers() {
    let node = node();
    for reason in [
        Reason::Normal,
        Reason::Shutdown,
        Reason::Kill,
        Reason::error("custom"),
    ] {
        let (three, _reported) = pool(3);
        let pid = node.spawn_with(options(), || three).expect("spawned");
        assert_eq!(count(&node, "processes"), 4);
        // The exit comes from a process, because the pool treats the node's stop differently.
        node.send_exit(pid, reason).expect("it lives");
        wait_until("the pool to end, or to stay for a normal exit", || {
            count(&node, "processes") == 0 || inspect_now(&node, pid)
        });
        if count(&node, "processes") != 0 {
            node.send_exit(pid, Reason::Kill).expect("it lives");
        }
        wait_for_count(&node, "processes", 0);
    }
    stop_clean(&node);
}

/// As any actor: a child with a name, restarted with its size, and its failures counted.
#[test]
fn a_pool_is_a_child_of_a_supervisor_and_is_restarted_with_its_workers() {
    let node = node();
    let (reports, _reported) = mpsc::channel();
    let child = Child::new("workers", move || {
        let reports = reports.clone();
        let mut number = 0;
        Pool::new(3, move || {
            number += 1;
            Worker {
                number,
                reports: reports.clone(),
            }
        })
    });
    let supervisor = Supervisor::one_for_one().with_child(child.registered());
    node.spawn(|| supervisor).expect("spawned");
    let first = node.whereis("workers").expect("registered");
    assert_eq!([1, 2, 3, 4].map(|_| ask(&node, first)), [1, 2, 3, 1]);
    node.send_exit(first, Reason::error("custom"))
        .expect("sent");
    wait_until("the restart", || {
        node.whereis("workers").is_some_and(|pid| pid != first)
    });
    let second = node.whereis("workers").expect("registered");
    assert_eq!([1, 2, 3, 4].map(|_| ask(&node, second)), [1, 2, 3, 1]);
    wait_for_count(&node, "processes", 5);
    let monitor = Probe::spawn(&node);
    monitor.run(move |cx| _ = cx.monitor(second));
    assert!(node.pools().any(|pool| pool.pid == second));
    stop_clean(&node);
}

fn inspect_now(node: &Node, pid: Pid) -> bool {
    node.inspect(pid, LIMIT).is_ok()
}

/// Checks that the error names the field and the pool.
#[track_caller]
fn refuses(refused: Result<Alias, SpawnError>, field: &str) {
    let Err(SpawnError::Option(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.field(), field);
    assert!(error.problem().starts_with("pool is a pool;"), "{error}");
}

#[test]
fn a_pool_cannot_own_connections_and_the_spawn_says_why() {
    let node = node();
    let (two, _reported) = pool(2);
    node.spawn_with(options(), || two).expect("spawned");
    let parent = Probe::spawn(&node);
    let options = TcpServerOptions::from("127.0.0.1:0").with_process_pool(["absent", "pool"]);
    let server = TcpServer::bind(options).expect("bound");
    let addr = server.local_addr();
    refuses(parent.run(|cx| cx.spawn_meta(server)), "process_pool");
    // The refused server is dropped, and its port is free.
    let listener = std::net::TcpListener::bind(addr).expect("bound");
    let addr = listener.local_addr().expect("bound");
    let client = TcpConnection::connect(TcpConnectionOptions::from(addr).with_process("pool"))
        .expect("an attempt");
    refuses(parent.run(|cx| cx.spawn_meta(client)), "process");
    parent.saw_nothing();
    stop_clean(&node);
}

#[test]
fn a_pool_that_takes_the_name_before_the_loop_has_looked_is_refused_as_well() {
    /// Blocks its stripe until the channel has a value.
    struct Obstacle(Receiver<()>);
    impl MetaProcess for Obstacle {
        fn init(&mut self, _: &mut MetaContext<'_>) -> Handled {
            Ok(value_of(&self.0)?)
        }
    }
    let node = node_with(
        NodeOptions::from("test@localhost")
            .with_workers(2)
            .with_stripes(1),
    );
    let parent = Probe::spawn(&node);
    let (go, goes) = mpsc::channel();
    parent.spawn_meta(Obstacle(goes));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("bound");
    let (two, _reported) = pool(2);
    let (server, client) = parent.run(move |cx| {
        let options = TcpServerOptions::from("127.0.0.1:0").with_process_pool(["pool"]);
        let server = cx
            .spawn_meta(TcpServer::bind(options).expect("bound"))
            .expect("spawned");
        cx.monitor(server);
        let options = TcpConnectionOptions::from(addr).with_process("pool");
        let client = cx
            .spawn_meta(TcpConnection::connect(options).expect("an attempt"))
            .expect("spawned");
        cx.spawn_with(self::options(), || two).expect("spawned");
        (server, client)
    });
    go.send(()).expect("it waits");
    let (mut down, mut disconnect, mut failed) = (None, None, None);
    while down.is_none() || disconnect.is_none() || failed.is_none() {
        match parent.next().1 {
            Message::Down(reported) => down = Some(reported),
            Message::TcpDisconnect(reported) => disconnect = Some(reported),
            Message::MetaFailed(failure) => failed = Some(failure.id),
            other => panic!("{other:?}"),
        }
    }
    let (down, disconnect) = (down.expect("reported"), disconnect.expect("reported"));
    assert_eq!(failed, Some(server));
    assert_eq!(down.target, Target::Alias(server));
    // The monitor reaches the loop after the end.
    assert_eq!(down.reason, Reason::NoProcess);
    assert_eq!(disconnect.id, client);
    let DisconnectReason::Exit(reason) = disconnect.reason else {
        panic!("{}", disconnect.reason)
    };
    assert!(
        reason.to_string().starts_with("process: pool is a pool;"),
        "{reason}"
    );
    stop_clean(&node);
}

#[test]
fn a_pool_spreads_the_datagrams_of_a_udp_server() {
    struct Answering(usize);
    impl Actor for Answering {
        fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            if let Message::Udp(packet) = message {
                let answer = self.0.to_string();
                cx.send_alias(
                    packet.id,
                    MessageUdp::new(packet.id, packet.addr, answer.as_str()),
                )?;
            }
            Ok(())
        }
    }
    let node = node();
    let mut number = 0;
    let workers = Pool::new(3, move || {
        number += 1;
        Answering(number)
    });
    node.spawn_with(options(), || workers).expect("spawned");
    let parent = Probe::spawn(&node);
    let (addr, _) = parent.listen_udp(UdpServerOptions::default().with_process(Name::from("pool")));
    let socket = udp_client();
    let answers: Vec<_> = (0..6)
        .map(|_| crate::support::ask(&socket, addr, b"?"))
        .collect();
    assert_eq!(answers, [b"1", b"2", b"3", b"1", b"2", b"3"]);
    stop_clean(&node);
}

#[test]
fn workers_have_the_options_of_their_pool() {
    struct Region(Sender<(Option<String>, String)>);
    impl Actor for Region {
        fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
            let value = cx.environment::<String>("region");
            let region = value.map(|value| value.to_string());
            let thread = format!("{:?}", std::thread::current().id());
            self.0.send((region, thread))?;
            Ok(())
        }
    }
    let node = node();
    let (seen, regions) = mpsc::channel();
    let options = SpawnOptions::default()
        .with_own_thread()
        .with_mailbox_bound(7)
        .with_environment("region", String::from("north"));
    let pool = node
        .spawn(move || Pool::new(2, move || Region(seen.clone())).with_worker_options(options))
        .unwrap();
    assert_eq!(inspect(&node, pool).number("worker_mailbox"), Some(7));
    let mut threads = std::collections::BTreeSet::new();
    for _ in 0..2 {
        node.send(pool, ()).unwrap();
        let (region, thread) = value_of(&regions).expect("a region");
        assert_eq!(region.as_deref(), Some("north"));
        threads.insert(thread);
    }
    assert_eq!(threads.len(), 2, "{threads:?}");
    stop_clean(&node);
}

#[test]
fn options_that_workers_cannot_share_are_refused_by_name() {
    let node = node();
    let refused = |options: SpawnOptions, field: &str| {
        let spawned = node.spawn(move || Pool::new(2, || Quiet).with_worker_options(options));
        let Err(SpawnError::Init(reason)) = spawned else {
            panic!("{field}: {spawned:?}");
        };
        assert!(reason.to_string().contains(field), "{reason}");
    };
    struct Quiet;
    impl Actor for Quiet {}
    let options = SpawnOptions::default;
    refused(options().with_name("all"), "name");
    let dropping = longshore::MailboxPolicy::DropNewest;
    refused(
        options()
            .with_mailbox_bound(5)
            .with_mailbox_policy(dropping),
        "mailbox_policy",
    );
    refused(options().with_mailbox_bound(0), "worker_mailbox");
    refused(options().with_data_bound(0), "data_bound");
    stop_clean(&node);
}
