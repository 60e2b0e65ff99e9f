//! Nodes: start, stop, and several of them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{DisconnectReason, Level, Record, SpawnError, StopOptions};

use crate::support::*;

/// Owns a listener and reports its own end.
struct Serving {
    addr: Sender<SocketAddr>,
    ended: Arc<AtomicUsize>,
}

impl Actor for Serving {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let server = TcpServer::bind("127.0.0.1:0")?;
        let _ = self.addr.send(server.local_addr());
        cx.spawn_meta(server)?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Message::Tcp(packet) = message {
            cx.send_alias(packet.id, packet)?;
        }
        Ok(())
    }

    fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

fn serving(node: &Node) -> (SocketAddr, Arc<AtomicUsize>) {
    let (sender, addr) = mpsc::channel();
    let ended = Arc::new(AtomicUsize::new(0));
    let actor = Serving {
        addr: sender,
        ended: Arc::clone(&ended),
    };
    node.spawn(|| actor).expect("spawned");
    (addr.recv().expect("bound"), ended)
}

#[test]
fn stop_returns_after_every_terminate_and_frees_the_ports() {
    let node = node();
    let probes: Vec<_> = (0..50).map(|_| Probe::spawn(&node)).collect();
    let (addr, ended) = serving(&node);
    let mut stream = client(addr);
    exchange(&mut stream, b"hi", b"hi");
    stop_clean(&node);
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    for probe in probes {
        assert!(matches!(
            probe.seen_after_stop(),
            Some(Seen::End(Reason::Shutdown))
        ));
    }
    TcpListener::bind(addr).expect("free");
    assert_eq!(read_to_end(&mut stream), b"", "closed in order");
    // A second stop changes nothing.
    assert!(node.stop().is_clean());
    node.wait().expect("it has stopped");
    assert_eq!(
        node.spawn(|| Script(|_: &mut Context<'_>, _, _| Ok(())))
            .expect_err("stopped"),
        SpawnError::Stopping
    );
}

#[test]
fn stop_handles_what_is_in_the_mailboxes_and_sends_what_is_accepted() {
    let node = node();
    let owner = Probe::spawn(&node);
    let (addr, _) = owner.listen(TcpServerOptions::default());
    let mut stream = client(addr);
    let id = owner.connect().id;
    let gate = owner.block();
    for number in 0..1_000_u32 {
        node.send(owner.pid, number).expect("delivered");
    }
    // The output stays below the high mark, so no event reports that it has drained.
    owner.start(move |cx| Ok(cx.send_alias(id, MessageTcp::new(id, vec![1; 200_000]))?));
    let stopping = {
        let node = node.clone();
        std::thread::spawn(move || stop_clean(&node))
    };
    wait_until("the stop to begin", || {
        node.spawn(|| Script(|_: &mut Context<'_>, _, _| Err(Reason::Normal)))
            .is_err()
    });
    drop(gate);
    assert_eq!(read_to_end(&mut stream).len(), 200_000);
    drop(stream);
    stopping.join().expect("no panic");
    for number in 0..1_000_u32 {
        assert_eq!(owner.value::<u32>(), number);
    }
    assert_eq!(owner.disconnect().reason, DisconnectReason::NodeStop);
    assert_eq!(owner.end(), Reason::Shutdown);
}

#[test]
fn stop_from_inside_a_process_works() {
    for from_handle in [false, true] {
        let node = node();
        let (addr, ended) = serving(&node);
        let _stream = client(addr);
        let probe = Probe::spawn(&node);
        let handle = node.clone();
        probe.start(move |cx| {
            if from_handle {
                assert!(handle.stop().is_clean(), "an empty report, at once");
            } else {
                cx.stop_node();
                cx.stop_node();
            }
            Ok(())
        });
        let waiting = node.clone();
        within_limit("wait", move || waiting.wait()).expect("a clean stop");
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert_eq!(count(&node, "processes"), 0);
        assert_eq!(probe.end(), Reason::Shutdown);
    }
}

#[test]
fn stop_from_init_works_on_whatever_thread_spawns() {
    struct Stopper(Node);
    impl Actor for Stopper {
        fn init(&mut self, _: &mut Context<'_>) -> Handled {
            // A stop cannot wait for the end of the process that calls it.
            assert!(self.0.stop().is_clean(), "an empty report, at once");
            Ok(())
        }
    }
    for inside in [false, true] {
        let node = node();
        let handle = node.clone();
        if inside {
            let spawned = Probe::spawn(&node).run(move |cx| cx.spawn(|| Stopper(handle)));
            spawned.expect("spawned");
        } else {
            node.spawn(|| Stopper(handle)).expect("spawned");
        }
        let waiting = node.clone();
        within_limit("wait", move || waiting.wait()).expect("a clean stop");
    }
    // A process can wait for the stop of another node.
    let (node, other) = (node(), node());
    let (_, ended) = serving(&other);
    let ended_by_then = Arc::clone(&ended);
    Probe::try_spawn(&node, SpawnOptions::default(), move |_| {
        assert!(other.stop().is_clean());
        assert_eq!(ended_by_then.load(Ordering::SeqCst), 1);
        Ok(())
    })
    .expect("spawned");
    stop_clean(&node);
}

#[test]
fn messages_of_timers_that_are_still_set_go_with_the_node() {
    let node = node();
    let owner = Probe::spawn(&node);
    let (message, is_dropped) = mpsc::channel::<()>();
    let handle = node.clone(); // kept in the message, it must not keep the node
    owner.run(|cx| cx.send_after(cx.pid(), (message, handle), Duration::from_secs(3_600)));
    owner.run(|cx| cx.send_after(cx.pid(), Bomb, Duration::from_secs(3_600)));
    stop_clean(&node);
    assert_eq!(is_dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    assert_eq!(count(&node, "timers"), 0);
}

#[test]
fn many_threads_may_stop_at_once() {
    let node = node();
    let (_, ended) = serving(&node);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let node = node.clone();
            std::thread::spawn(move || node.stop().is_clean())
        })
        .collect();
    for thread in threads {
        assert!(thread.join().expect("no panic"));
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn dropping_the_last_handle_stops_the_node_also_inside_an_actor() {
    let (addr, ended) = {
        let node = node();
        serving(&node)
    };
    assert_eq!(ended.load(Ordering::SeqCst), 1);
    TcpListener::bind(addr).expect("free");

    struct Holder(Option<Node>);
    impl Actor for Holder {
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
            self.0 = None;
            Ok(())
        }
    }
    let node = node();
    let (addr, ended) = serving(&node);
    let handle = node.clone();
    let holder = node.spawn(|| Holder(Some(handle))).expect("spawned");
    node.send(holder, ()).expect("delivered");
    drop(node);
    wait_until("the node to stop", || ended.load(Ordering::SeqCst) == 1);
    wait_until("the port to be free", || TcpListener::bind(addr).is_ok());
}

/// Holds a handle to its own node.
struct Keeper(#[allow(dead_code, reason = "dropped")] Option<Node>);

impl Actor for Keeper {}

impl MetaProcess for Keeper {}

/// A place for a handle that code of the node drops.
type Slot = Arc<std::sync::Mutex<Option<Node>>>;

#[test]
fn last_handle_stops_its_node_wherever_it_is_dropped() {
    type Give = fn(&Node, &Slot);
    let places: [(&str, Give); 5] = [
        ("the state of a process", |node, slot| {
            let keeper = Keeper(slot.lock().unwrap().take());
            let pid = node.spawn(|| keeper).expect("spawned");
            node.send_exit(pid, Reason::Kill).expect("alive");
        }),
        ("the state of a meta-process", |node, slot| {
            let keeper = Keeper(slot.lock().unwrap().take());
            let init = move |cx: &mut Context<'_>| {
                let alias = cx.spawn_meta(keeper)?;
                Ok(cx.send_exit_meta(alias, Reason::Kill)?)
            };
            // A probe would keep a handle itself.
            struct Spawns<F>(Option<F>);
            impl<F> Actor for Spawns<F>
            where
                F: FnOnce(&mut Context<'_>) -> Handled + Send + 'static,
            {
                fn init(&mut self, cx: &mut Context<'_>) -> Handled {
                    self.0.take().map_or(Ok(()), |init| init(cx))
                }
            }
            node.spawn(|| Spawns(Some(init))).expect("spawned");
        }),
        ("blocking work", |node, slot| {
            struct Works(Slot);
            impl Actor for Works {
                fn init(&mut self, cx: &mut Context<'_>) -> Handled {
                    let slot = Arc::clone(&self.0);
                    cx.blocking(1, move || drop(slot.lock().unwrap().take()))?;
                    Ok(())
                }
            }
            let slot = Arc::clone(slot);
            node.spawn(|| Works(slot)).expect("spawned");
        }),
        ("a resolver", |node, _| {
            struct Connects;
            impl Actor for Connects {
                fn init(&mut self, cx: &mut Context<'_>) -> Handled {
                    cx.spawn_meta(TcpConnection::connect("a.test:1")?)?;
                    Ok(())
                }
            }
            node.spawn(|| Connects).expect("spawned");
        }),
        ("a logger", |node, _| {
            struct Fails;
            impl Actor for Fails {
                fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
                    Err(Reason::error("on purpose"))
                }
            }
            let pid = node.spawn(|| Fails).expect("spawned");
            node.send(pid, "a message").expect("alive");
        }),
    ];
    for (place, give) in places {
        let slot = Slot::default();
        let (resolves, logs) = (Arc::clone(&slot), Arc::clone(&slot));
        let options = NodeOptions::from("test@localhost")
            .with_workers(2)
            .with_resolver(move |_| {
                drop(resolves.lock().unwrap().take());
                Ok(Vec::new())
            })
            .with_logger(move |_: &Record| drop(logs.lock().unwrap().take()));
        let node = node_with(options);
        let (_, ended) = serving(&node);
        *slot.lock().unwrap() = Some(node.clone());
        give(&node, &slot);
        drop(node);
        wait_until(place, || ended.load(Ordering::SeqCst) == 1);
    }
}

#[test]
fn records_go_to_the_logger_and_its_panic_ends_no_process() {
    silence_expected_panics();
    let (sender, records) = mpsc::channel();
    let options = NodeOptions::from("test@localhost").with_logger(move |record: &Record| {
        sender
            .send((record.level, record.text.clone()))
            .expect("the test listens");
        panic!("in the logger");
    });
    let node = node_with(options);
    let parent = Probe::spawn(&node);
    let (addr, listener) = parent.listen(TcpServerOptions::default().with_process_pool(["absent"]));
    for refused in 1..3 {
        // The connection is closed; with unread bytes the kernel sends a reset.
        let _ = read_out(&mut client(addr));
        let (level, text) = value_of(&records).expect("a record");
        assert_eq!(level, Level::Warn);
        assert_eq!(text, format!("{addr}: no process of the pool is alive"));
        assert_eq!(inspect(&node, listener).number("no_owner"), Some(refused));
    }
    stop_clean(&node);
}

#[test]
fn a_handler_that_hangs_is_reported_and_left_behind() {
    silence_expected_panics();
    let node = node();
    let (_, ended) = serving(&node);
    let hanging = Probe::spawn(&node);
    let gate = hanging.block();
    let started = Moment::now();
    let report = node.stop_with(StopOptions::default().with_timeout(Duration::from_millis(100)));
    assert_eq!(report.stuck, [hanging.pid]);
    assert_eq!(report.undrained, 1);
    assert!(started.elapsed() < LIMIT);
    assert_eq!(ended.load(Ordering::SeqCst), 1, "the others have ended");
    node.wait().expect_err("not clean");
    drop(gate);
}

#[test]
fn a_process_that_ignores_its_exit_signal_is_killed_and_reported() {
    struct Stubborn(Sender<Reason>);
    impl Actor for Stubborn {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            cx.set_trap_exit(true);
            Ok(())
        }
        fn terminate(&mut self, _: &mut Context<'_>, reason: &Reason) {
            let _ = self.0.send(reason.clone());
        }
    }
    let node = node();
    let (sender, ended) = mpsc::channel();
    let pid = node.spawn(|| Stubborn(sender)).expect("spawned");
    let report = node.stop_with(StopOptions::default().with_timeout(Duration::from_millis(100)));
    assert_eq!((report.killed, report.stuck), (vec![pid], vec![]));
    assert_eq!(
        ended
            .try_recv()
            .expect("terminate ran before stop returned"),
        Reason::Kill
    );
}

#[test]
fn a_peer_that_does_not_read_cannot_hold_up_a_stop() {
    let node = node();
    let owner = Probe::spawn(&node);
    let limits = TcpLimits::default()
        .with_output_limit(64 << 20)
        .with_high_water_mark(64 << 20);
    let (addr, _) = owner.listen(TcpServerOptions::default().with_limits(limits));
    let _stream = client(addr);
    let id = owner.connect().id;
    owner.write(id, vec![0; 32 << 20]);
    let started = Moment::now();
    let report = node.stop_with(StopOptions::default().with_timeout(Duration::from_millis(200)));
    assert_eq!((report.unflushed, report.killed.len()), (1, 0));
    assert!(started.elapsed() < LIMIT);
    let ended = owner.disconnect();
    assert!(ended.unsent > 0);
    assert_eq!(ended.bytes_out + ended.unsent, 32 << 20);
}

#[test]
fn nothing_is_spawned_while_a_node_stops() {
    let node = node();
    let probe = Probe::spawn(&node);
    let gate = probe.block();
    let (sender, refused) = mpsc::channel();
    probe.start(move |cx| {
        let spawned = cx.spawn(|| Script(|_: &mut Context<'_>, _, _| Ok(())));
        let _ = sender.send(spawned.expect_err("the node stops"));
        Ok(())
    });
    let stopping = {
        let node = node.clone();
        std::thread::spawn(move || stop_clean(&node))
    };
    wait_until("the stop to begin", || {
        node.spawn(|| Script(|_: &mut Context<'_>, _, _| Err(Reason::Normal)))
            .is_err()
    });
    drop(gate);
    assert_eq!(value_of(&refused).expect("an error"), SpawnError::Stopping);
    stopping.join().expect("no panic");
}

#[test]
fn spawning_from_many_threads_during_a_stop_leaves_no_orphan() {
    for _ in 0..10 {
        let node = node();
        let begun = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        struct Counted(Arc<AtomicUsize>, Arc<AtomicUsize>);
        impl Actor for Counted {
            fn init(&mut self, _: &mut Context<'_>) -> Handled {
                self.0.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
            fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
                self.1.fetch_add(1, Ordering::SeqCst);
            }
        }
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (node, begun, ended) = (node.clone(), Arc::clone(&begun), Arc::clone(&ended));
                std::thread::spawn(move || {
                    while node
                        .spawn(|| Counted(Arc::clone(&begun), Arc::clone(&ended)))
                        .is_ok()
                    {}
                })
            })
            .collect();
        wait_until("some to begin", || begun.load(Ordering::SeqCst) > 20);
        let report = node.stop();
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert!(report.is_clean(), "{report}");
        assert_eq!(ended.load(Ordering::SeqCst), begun.load(Ordering::SeqCst));
        assert_eq!(count(&node, "processes"), 0);
    }
}

#[test]
fn nodes_of_one_program_know_nothing_of_each_other_and_talk_over_sockets() {
    let nodes: Vec<_> = (0..3)
        .map(|number| node_with(NodeOptions::from(format!("n{number}")).with_workers(1)))
        .collect();
    let probes: Vec<_> = nodes
        .iter()
        .map(|node| Probe::named(node, "same name"))
        .collect();
    for (number, node) in nodes.iter().enumerate() {
        assert_eq!(*node.name(), format!("n{number}").as_str());
        node.send("same name", number).expect("delivered");
        assert_eq!(probes[number].value::<usize>(), number);
    }
    let (addr, _) = probes[0].listen(TcpServerOptions::default());
    let connection = probes[1].connect_to(addr);
    probes[1].connect();
    let id = probes[0].connect().id;
    probes[1].write(connection, "over");
    assert_eq!(probes[0].bytes(4), b"over");
    // A call to another node from inside a process of this one blocks a worker of this one only.
    let (other, to) = (nodes[2].clone(), probes[2].pid);
    let (sender, answer) = mpsc::channel();
    probes[0].start(move |_| {
        let _ = sender.send(other.call(to, (), LIMIT));
        Ok(())
    });
    probes[2].call().2.send("from afar");
    let answer = value_of(&answer).expect("an answer").expect("answered");
    assert_eq!(answer.downcast::<&str>().expect("a text"), "from afar");
    probes[0].write(id, "back");
    assert_eq!(probes[1].bytes(4), b"back");
    for node in &nodes {
        if *node.name() != "n2" {
            stop_clean(node);
        }
    }
    let pid = nodes[2]
        .spawn(|| Script(|_: &mut Context<'_>, _, _| Ok(())))
        .expect("the others' end does not matter");
    nodes[2].send(pid, ()).expect("delivered");
    stop_clean(&nodes[2]);
}

#[test]
fn starting_and_stopping_leaves_no_thread_and_no_descriptor() {
    alone(
        "nodes::starting_and_stopping_leaves_no_thread_and_no_descriptor",
        || {
            let round = |number: usize| {
                let node = node_with(NodeOptions::from("n").with_workers(1 + number % 3));
                let (addr, ended) = serving(&node);
                let mut stream = client(addr);
                exchange(&mut stream, b"hi", b"hi");
                let probe = Probe::spawn(&node);
                let connection = probe.connect_to(("localhost", addr.port()));
                probe.connect();
                probe.write(connection, "x");
                assert_eq!(probe.bytes(1), b"x");
                probe.listen_udp(UdpServerOptions::default());
                drop(stream);
                match number % 3 {
                    0 => drop(node.stop()),
                    1 => node
                        .spawn(Stopping::default)
                        .map(|_| node.wait().expect("clean"))
                        .expect("spawned"),
                    _ => {}
                }
                drop(probe);
                drop(node);
                assert_eq!(ended.load(Ordering::SeqCst), 1);
            };
            round(2);
            // The resolver's threads stay for some seconds.
            wait_until("one thread", || threads() <= 2);
            let (descriptors_before, threads_before) = (descriptors(), threads());
            for number in 0..200 {
                round(number);
            }
            wait_until("no more descriptors than before", || {
                descriptors() <= descriptors_before
            });
            wait_until("no more threads than before", || {
                threads() <= threads_before
            });
        },
    );
}

#[test]
fn a_node_that_cannot_start_says_why_and_leaves_nothing() {
    alone(
        "nodes::a_node_that_cannot_start_says_why_and_leaves_nothing",
        || {
            let me = std::process::id().to_string();
            let limited = std::process::Command::new("prlimit")
                .args(["--pid", &me, "--nofile=40:40"])
                .status();
            if !limited.is_ok_and(|status| status.success()) {
                return println!("skipped: prlimit does not work here");
            }
            let threads_before = threads();
            let mut hoard = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                hoard.push(file);
            }
            // A node needs three descriptors: the poll, its registry, the waker.
            for _ in 0..3 {
                let error = Node::start("poor@localhost").expect_err("no descriptor is left");
                assert!(matches!(error, longshore::Error::Start(_)), "{error}");
                drop(hoard.pop());
            }
            hoard.truncate(hoard.len() - 10);
            assert_eq!(threads(), threads_before);
            stop_clean(&node());
        },
    );
}

/// Each resource of a node is refused once; two workers and the monitor are three threads.
#[cfg(target_os = "linux")]
#[test]
fn a_node_that_gets_no_thread_or_no_poll_says_why_and_leaves_nothing() {
    let faults = [
        "inject=epoll_create1:error=ENFILE:when=1",
        "inject=eventfd2:error=EMFILE:when=1",
        "inject=clone3:error=EAGAIN:when=2",
        "inject=clone3:error=EAGAIN:when=3",
        "inject=clone3:error=EAGAIN:when=4",
    ];
    let commands = faults.map(|fault| ["strace", "-f", "-qq", "-o", "/dev/null", "-e", fault]);
    let commands: Vec<&[&str]> = commands.iter().map(|command| &command[..]).collect();
    alone_under(
        &commands,
        "nodes::a_node_that_gets_no_thread_or_no_poll_says_why_and_leaves_nothing",
        || {
            // The first spawn of a thread opens what stays open, as the test harness has done before.
            std::thread::spawn(|| ()).join().expect("no panic");
            let before = (threads(), descriptors());
            let options = || NodeOptions::from("refused@localhost").with_workers(2);
            let error = Node::start(options()).expect_err("the fault was injected");
            assert!(matches!(error, longshore::Error::Start(_)), "{error}");
            assert_eq!((threads(), descriptors()), before, "{error}");
            stop_clean(&node_with(options()));
        },
    );
}

/// Every wait for events fails. Timers go on, and the loop does not spin.
#[cfg(target_os = "linux")]
#[test]
fn poll_that_keeps_failing_is_asked_a_bounded_number_of_times() {
    let fault = "inject=epoll_wait,epoll_pwait:error=ENOMEM";
    alone_under(
        &[&["strace", "-f", "-qq", "-o", "/dev/null", "-e", fault]],
        "nodes::poll_that_keeps_failing_is_asked_a_bounded_number_of_times",
        || {
            let node = node();
            let probe = Probe::spawn(&node);
            let begun = std::time::Instant::now();
            node.send_after(probe.pid, "a message", Duration::from_millis(300));
            probe.next();
            let failures = count(&node, "records_left_out");
            // One each 10 ms, and some that are no waits.
            let most = u64::try_from(begun.elapsed().as_millis()).expect("a short test");
            println!("{failures} failures in {most} ms");
            assert!((1..most).contains(&failures), "{failures} in {most} ms");
            stop_clean(&node);
        },
    );
}

/// Stops its node in `init`.
#[derive(Default)]
struct Stopping;

impl Actor for Stopping {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.stop_node();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_inside_a_tokio_program_and_serves_its_sockets() {
    let node = node();
    let (addr, _) = serving(&node);
    let talking = tokio::task::spawn_blocking(move || {
        let mut stream = client(addr);
        for _ in 0..100 {
            exchange(&mut stream, b"ping", b"ping");
        }
    });
    talking.await.expect("no panic");
    // Dropping the last handle in a task would block the task for a moment.
    tokio::task::spawn_blocking(move || stop_clean(&node))
        .await
        .expect("no panic");
}
