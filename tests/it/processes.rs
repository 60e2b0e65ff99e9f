//! Processes: how they start, how they terminate, and what remains.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{RequestError, SendErrorKind, SpawnError};

use crate::support::*;

on_both! {
    init_may_spawn_send_set_timers_and_start_meta_processes,
    failing_or_panicking_init_gives_the_error_and_leaves_nothing_behind,
    a_port_of_a_failed_init_is_free_for_the_next_attempt_also_on_the_only_worker,
    a_factory_that_panics_is_an_error_of_the_spawn_as_a_panic_of_init_is,
    spawning_under_a_taken_name_is_an_error_and_spawns_nothing,
    a_process_has_one_name_and_can_change_it,
    a_name_is_free_when_the_down_arrives,
    a_process_that_ends_can_neither_take_a_name_nor_watch_a_process,
    terminate_finds_the_process_out_of_the_table_and_its_watchers_notified,
    panics_in_every_callback_end_that_process_only,
    a_timers_message_for_a_dead_process_ends_no_other_even_if_its_drop_panics,
    exit_signals_end_a_process_with_their_reason,
    an_exit_signal_goes_before_the_mail_that_waits,
    the_limit_of_processes_is_exact_and_freed_places_are_used_again,
}

#[test]
fn init_may_spawn_send_set_timers_and_start_meta_processes() {
    let node = node();
    let outside = Probe::named(&node, "outside");
    let addr = TcpServer::bind("127.0.0.1:0").expect("bound").local_addr();
    let probe = Probe::try_spawn(&node, SpawnOptions::default(), move |cx| {
        let me = cx.pid();
        cx.spawn_register("child", || {
            Script(|_: &mut Context<'_>, _: Pid, _: Message| Ok(()))
        })?;
        cx.send("outside", 1_u8)?;
        cx.send(me, 2_u8)?;
        cx.send_after(me, 3_u8, Duration::from_millis(1));
        assert_eq!(cx.parent(), Pid::NODE);
        cx.spawn_meta(TcpServer::bind(addr)?)?;
        cx.monitor("child");
        Ok(())
    })
    .expect("spawned");
    assert_eq!(outside.value::<u8>(), 1);
    assert_eq!((probe.value::<u8>(), probe.value::<u8>()), (2, 3));
    let _client = client(addr);
    probe.connect();
    node.send_exit("child", Reason::Shutdown).expect("it lives");
    assert_eq!(probe.down().reason, Reason::Shutdown);
    stop_clean(&node);
}

/// Acquires one of each resource in `init` before it fails.
fn litter(cx: &mut Context<'_>, port: Sender<std::net::SocketAddr>, other: Pid) -> Handled {
    let server = TcpServer::bind("127.0.0.1:0")?;
    let _ = port.send(server.local_addr());
    cx.spawn_meta(server)?;
    cx.send(cx.pid(), "unread")?;
    cx.link(other)?;
    cx.monitor(other);
    cx.request(other, "late", LIMIT)?;
    Ok(())
}

#[test]
fn failing_or_panicking_init_gives_the_error_and_leaves_nothing_behind() {
    silence_expected_panics();
    let node = node();
    let other = Probe::spawn(&node);
    other.run(|cx| cx.set_trap_exit(true));
    for panics in [false, true] {
        let (sender, port) = mpsc::channel();
        let other_pid = other.pid;
        let error = Probe::try_spawn(
            &node,
            SpawnOptions::default().with_name("unlucky"),
            move |cx| {
                litter(cx, sender, other_pid)?;
                if panics {
                    panic!("no luck")
                } else {
                    Err(Reason::error("no luck"))
                }
            },
        )
        .expect_err("init fails");
        let reason = if panics {
            Reason::Panic("no luck".into())
        } else {
            Reason::error("no luck")
        };
        assert_eq!(error, SpawnError::Init(reason.clone()));

        // All of it is freed by now, so the caller may try again at once.
        assert_eq!(node.whereis("unlucky"), None);
        assert_eq!(count(&node, "processes"), 1);
        assert_eq!(count(&node, "meta_processes"), 0);
        let addr = value_of(&port).expect("the port");
        drop(TcpServer::bind(addr).expect("the port is free"));
        // The exit is urgent and overtakes the request.
        for _ in 0..2 {
            match other.seen() {
                Seen::Call(_, _, reply) => reply.send(()),
                Seen::Message(_, Message::Exit(exit)) => assert_eq!(exit.reason, reason),
                other => panic!("{other:?}"),
            }
        }
        let inspection = inspect(&node, other.pid);
        assert_eq!(
            (
                inspection.number("links"),
                inspection.number("monitored_by")
            ),
            (Some(0), Some(0))
        );
        assert_eq!(count(&node, "timers"), 0, "the request's timeout");
    }
    stop_clean(&node);
}

#[test]
fn a_port_of_a_failed_init_is_free_for_the_next_attempt_also_on_the_only_worker() {
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let parent = Probe::spawn(&node);
    let addr = TcpServer::bind("127.0.0.1:0").expect("bound").local_addr();
    parent.run(move |cx| {
        /// Binds the port, and starts with the last attempt only.
        struct Stubborn(std::net::SocketAddr, u32);
        impl Actor for Stubborn {
            fn init(&mut self, cx: &mut Context<'_>) -> Handled {
                cx.spawn_meta(TcpServer::bind(self.0)?)?;
                if self.1 == 0 {
                    Ok(())
                } else {
                    Err(Reason::error("not yet"))
                }
            }
        }
        for left in (1..10).rev() {
            assert_eq!(
                cx.spawn(|| Stubborn(addr, left)),
                Err(SpawnError::Init(Reason::error("not yet")))
            );
        }
        cx.spawn(|| Stubborn(addr, 0)).expect("the port is free");
    });
    stop_clean(&node);
}

#[test]
fn a_factory_that_panics_is_an_error_of_the_spawn_as_a_panic_of_init_is() {
    silence_expected_panics();
    struct Nothing;
    impl Actor for Nothing {}
    let node = node();
    let parent = Probe::spawn(&node);
    let refused = parent.run(|cx| cx.spawn(|| -> Nothing { panic!("no parts") }));
    assert_eq!(
        refused,
        Err(SpawnError::Init(Reason::Panic("no parts".into())))
    );
    let refused = parent.run(|cx| {
        let pool = Pool::new(1, || -> Nothing { panic!("no parts") });
        cx.spawn(|| pool)
    });
    assert!(matches!(refused, Err(SpawnError::Init(_))), "{refused:?}");
    assert_eq!(count(&node, "processes"), 1);
    stop_clean(&node);
}

#[test]
fn spawning_under_a_taken_name_is_an_error_and_spawns_nothing() {
    let node = node();
    let first = Probe::named(&node, "name");
    let error = Probe::try_spawn(&node, SpawnOptions::default().with_name("name"), |_| {
        panic!("init is not called")
    });
    assert_eq!(
        error.expect_err("taken"),
        SpawnError::NameTaken(Name::from("name"))
    );
    assert_eq!(node.whereis("name"), Some(first.pid));
    assert_eq!(count(&node, "processes"), 1);
    stop_clean(&node);
}

#[test]
fn a_process_has_one_name_and_can_change_it() {
    let node = node();
    let (probe, other) = (Probe::named(&node, "first"), Probe::named(&node, "other"));
    let error = probe.run(|cx| cx.register("second")).expect_err("one name");
    assert_eq!(error, SpawnError::Named(Name::from("first")));
    assert_eq!(probe.run(|cx| cx.unregister()), Some(Name::from("first")));
    assert_eq!(probe.run(|cx| cx.unregister()), None);
    assert_eq!(node.whereis("first"), None);
    assert_eq!(
        node.send("first", 1).expect_err("gone").kind(),
        SendErrorKind::NoName
    );
    let error = probe.run(|cx| cx.register("other")).expect_err("taken");
    assert_eq!(error, SpawnError::NameTaken(Name::from("other")));
    probe.run(|cx| cx.register("second")).expect("free");
    assert_eq!(
        probe.run(|cx| cx.name().cloned()),
        Some(Name::from("second"))
    );
    node.send("second", 5_u8).expect("delivered");
    assert_eq!(probe.value::<u8>(), 5);
    node.send_exit(other.pid, Reason::Normal).expect("it lives");
    assert_eq!(other.end(), Reason::Normal);
    assert_eq!(node.whereis("other"), None);
    stop_clean(&node);
}

#[test]
fn of_many_who_want_a_name_at_once_one_gets_it() {
    let node = node_with(NodeOptions::from("test@localhost").with_workers(4));
    for _ in 0..50 {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let node = node.clone();
                std::thread::spawn(move || {
                    node.spawn_register("wanted", || {
                        Script(|_: &mut Context<'_>, _, _| Err(Reason::Normal))
                    })
                    .ok()
                })
            })
            .collect();
        let got: Vec<Pid> = threads
            .into_iter()
            .filter_map(|thread| thread.join().expect("no panic"))
            .collect();
        assert_eq!(got.len(), 1);
        assert_eq!(node.whereis("wanted"), Some(got[0]));
        node.send("wanted", ()).expect("delivered");
        wait_for_count(&node, "processes", 0);
    }
    stop_clean(&node);
}

#[test]
fn a_name_is_free_when_the_down_arrives() {
    let node = node();
    let watcher = Probe::spawn(&node);
    for _ in 0..200 {
        let named = Probe::named(&node, "contested");
        let pid = named.pid;
        watcher.run(move |cx| cx.monitor(pid));
        node.send_exit(pid, Reason::Kill).expect("it lives");
        watcher.down();
        let next = Probe::named(&node, "contested");
        node.send_exit(next.pid, Reason::Normal).expect("it lives");
        assert_eq!(next.end(), Reason::Normal);
    }
    stop_clean(&node);
}

#[test]
fn a_process_that_ends_can_neither_take_a_name_nor_watch_a_process() {
    struct Clinging(Pid, Sender<SpawnError>);
    impl Actor for Clinging {
        fn terminate(&mut self, cx: &mut Context<'_>, _: &Reason) {
            let _ = self.1.send(cx.register("ghost").expect_err("too late"));
            cx.monitor(self.0);
            let _ = cx.link(self.0);
            cx.set_trap_exit(true);
            let _ = cx.request(self.0, "into the void", LIMIT);
            let _ = cx.inspect(self.0, LIMIT);
        }
    }
    let node = node();
    let other = Probe::spawn(&node);
    let (sender, refused) = mpsc::channel();
    let pid = other.pid;
    let clinging = node.spawn(|| Clinging(pid, sender)).expect("spawned");
    node.send_exit(clinging, Reason::Shutdown)
        .expect("it lives");
    value_of(&refused).expect("terminate");
    wait_for_count(&node, "processes", 1);
    assert_eq!(node.whereis("ghost"), None);
    let inspection = inspect(&node, other.pid);
    assert_eq!(
        (
            inspection.number("links"),
            inspection.number("monitored_by")
        ),
        (Some(0), Some(0))
    );
    other.call().2.send(());
    assert_eq!(count(&node, "timers"), 0, "the request's timeout");
    stop_clean(&node);
}

#[test]
fn terminate_finds_the_process_out_of_the_table_and_its_watchers_notified() {
    struct Watched(Pid, Sender<(bool, bool)>);
    impl Actor for Watched {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            cx.spawn_meta(UdpServer::bind("127.0.0.1:0")?)?;
            Ok(())
        }
        fn terminate(&mut self, cx: &mut Context<'_>, reason: &Reason) {
            assert_eq!(*reason, Reason::error("custom"));
            let me = cx.pid();
            let gone = cx
                .send(me, "me")
                .is_err_and(|error| error.kind() == SendErrorKind::NoProcess);
            let nameless = cx.whereis("watched").is_none() && cx.name().is_none();
            // Monitors were notified before, so messages that are sent now arrive behind the Down.
            let _ = cx.send(self.0, "after");
            let _ = self.1.send((gone, nameless));
        }
    }
    let node = node();
    let watcher = Probe::spawn(&node);
    let (sender, seen) = mpsc::channel();
    let pid = watcher.pid;
    let watched = node
        .spawn_register("watched", || Watched(pid, sender))
        .expect("spawned");
    let monitor = watcher.run(move |cx| cx.monitor(watched));
    node.send_exit(watched, Reason::error("custom"))
        .expect("it lives");
    let (gone, nameless) = value_of(&seen).expect("terminate");
    assert!(gone && nameless);
    let down = watcher.down();
    assert_eq!(
        (down.monitor, down.target, down.reason),
        (monitor, Target::Pid(watched), Reason::error("custom"))
    );
    assert_eq!(watcher.value::<&str>(), "after");
    wait_for_count(&node, "meta_processes", 0);
    stop_clean(&node);
}

/// The callback in which the process of [`panics_in_every_callback_end_that_process_only`] panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Message,
    Call,
    Inspect,
    Terminate,
    DropOfState,
    DropOfMessage,
    DropOfPayload,
    DropOfQueuedMessage,
}

struct Panicking {
    place: Place,
    ended: Sender<Reason>,
    #[expect(dead_code, reason = "it is there to be dropped")]
    bomb: Option<Bomb>,
}

impl Panicking {
    fn at(&self, place: Place) {
        if self.place == place {
            panic!("{place:?}");
        }
    }
}

impl Actor for Panicking {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        self.at(Place::Message);
        if self.place == Place::DropOfPayload {
            std::panic::panic_any(Bomb);
        }
        drop(message);
        Err(Reason::error("done"))
    }

    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        self.at(Place::Call);
        reply.send(());
        Ok(())
    }

    fn handle_inspect(&mut self, _: &mut Context<'_>) -> longshore::Inspection {
        self.at(Place::Inspect);
        longshore::Inspection::default()
    }

    fn terminate(&mut self, _: &mut Context<'_>, reason: &Reason) {
        let _ = self.ended.send(reason.clone());
        self.at(Place::Terminate);
    }
}

#[test]
fn panics_in_every_callback_end_that_process_only() {
    silence_expected_panics();
    // There is one worker: if it were lost, no process would run.
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let watcher = Probe::spawn(&node);
    for place in [
        Place::Message,
        Place::Call,
        Place::Inspect,
        Place::Terminate,
        Place::DropOfState,
        Place::DropOfMessage,
        Place::DropOfPayload,
        Place::DropOfQueuedMessage,
    ] {
        let (ended, reason) = mpsc::channel();
        let bomb = (place == Place::DropOfState).then(|| Bomb);
        let pid = node
            .spawn_with(SpawnOptions::default().with_name("panicking"), || {
                Panicking { place, ended, bomb }
            })
            .expect("spawned");
        let monitor = watcher.run(move |cx| cx.monitor(pid));
        let done = Reason::error("done");
        let expected = match place {
            Place::Call => {
                assert_eq!(
                    node.call(pid, (), LIMIT).expect_err("dropped"),
                    RequestError::Dropped
                );
                Reason::Panic("Call".into())
            }
            Place::Inspect => {
                assert_eq!(
                    node.inspect(pid, LIMIT).expect_err("dropped"),
                    RequestError::Dropped
                );
                Reason::Panic("Inspect".into())
            }
            Place::DropOfMessage => {
                node.send(pid, Bomb).expect("delivered");
                Reason::Panic("a bomb".into())
            }
            Place::DropOfQueuedMessage => {
                watcher.run(move |cx| {
                    // There is one worker, so both messages wait when the process begins to run.
                    cx.send(pid, ()).expect("delivered");
                    cx.send(pid, Bomb).expect("delivered");
                });
                done
            }
            _ => {
                node.send(pid, ()).expect("delivered");
                match place {
                    Place::Message => Reason::Panic("Message".into()),
                    Place::DropOfPayload => {
                        Reason::Panic("panic with a payload that is not text".into())
                    }
                    _ => done,
                }
            }
        };
        assert_eq!(
            value_of(&reason).expect("terminate runs"),
            expected,
            "{place:?}"
        );
        let down = watcher.down();
        assert_eq!(
            (down.monitor, down.reason),
            (monitor, expected),
            "{place:?}"
        );
        assert_eq!(node.whereis("panicking"), None);
        wait_for_count(&node, "processes", 1);
    }
    stop_clean(&node);
}

#[test]
fn a_timers_message_for_a_dead_process_ends_no_other_even_if_its_drop_panics() {
    silence_expected_panics();
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let (probe, dead) = (Probe::spawn(&node), Probe::spawn(&node));
    let pid = dead.pid;
    node.send_exit(pid, Reason::Normal).expect("it lives");
    dead.end();
    probe.run(move |cx| cx.send_after(pid, Bomb, Duration::from_millis(1)));
    wait_for_count(&node, "timers", 0);
    probe.run(|_| ());
    stop_clean(&node);
}

#[test]
fn exit_signals_end_a_process_with_their_reason() {
    let node = node();
    let sender = Probe::spawn(&node);
    for reason in [
        Reason::Normal,
        Reason::Shutdown,
        Reason::Kill,
        Reason::error("custom"),
    ] {
        let probe = Probe::spawn(&node);
        let (pid, sent) = (probe.pid, reason.clone());
        sender
            .run(move |cx| cx.send_exit(pid, sent))
            .expect("it lives");
        assert_eq!(probe.end(), reason);
        wait_for_count(&node, "processes", 1);
        let error = sender.run(move |cx| cx.send_exit(pid, Reason::Kill));
        assert_eq!(error, Err(SendErrorKind::NoProcess));
        let trapping = Probe::spawn(&node);
        let (pid, sent) = (trapping.pid, reason.clone());
        trapping.run(|cx| cx.set_trap_exit(true));
        sender
            .run(move |cx| cx.send_exit(pid, sent))
            .expect("it lives");
        if reason == Reason::Kill {
            assert_eq!(trapping.end(), Reason::Kill, "it cannot be trapped");
        } else {
            let exit = trapping.exit();
            assert_eq!((exit.from, exit.reason), (Target::Pid(sender.pid), reason));
            node.send_exit(pid, Reason::Kill).expect("it lives");
            trapping.end();
        }
        wait_for_count(&node, "processes", 1);
    }
    assert_eq!(
        node.send_exit("absent", Reason::Kill),
        Err(SendErrorKind::NoName)
    );
    stop_clean(&node);
}

#[test]
fn an_exit_signal_goes_before_the_mail_that_waits() {
    let node = node();
    let probe = Probe::spawn(&node);
    let gate = probe.block();
    for number in 0..100_u32 {
        node.send(probe.pid, number).expect("delivered");
    }
    node.send_exit(probe.pid, Reason::Kill).expect("it lives");
    drop(gate);
    assert_eq!(probe.end(), Reason::Kill);
    stop_clean(&node);
}

#[test]
fn pids_are_never_used_again() {
    let node = node();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..2_000 {
        let pid = node
            .spawn(|| Script(|_: &mut Context<'_>, _: Pid, _: Message| Err(Reason::Normal)))
            .expect("spawned");
        assert!(seen.insert(pid));
        node.send(pid, ()).expect("delivered");
        wait_for_count(&node, "processes", 0);
    }
    for pid in seen {
        let error = node.send(pid, "back").expect_err("stale");
        assert_eq!(error.kind(), SendErrorKind::NoProcess);
        assert_eq!(
            error
                .into_message()
                .downcast::<&str>()
                .expect("it comes back"),
            "back"
        );
    }
    stop_clean(&node);
}

#[test]
fn the_limit_of_processes_is_exact_and_freed_places_are_used_again() {
    let node = node_with(
        NodeOptions::from("test@localhost")
            .with_workers(1)
            .with_max_processes(3),
    );
    let mut probes: Vec<_> = (0..3).map(|_| Probe::spawn(&node)).collect();
    let refused = Probe::try_spawn(&node, SpawnOptions::default(), |_| Ok(()));
    assert_eq!(refused.expect_err("full"), SpawnError::Limit("processes"));
    let gone = probes.pop().expect("three");
    node.send_exit(gone.pid, Reason::Normal).expect("it lives");
    wait_for_count(&node, "processes", 2);
    Probe::spawn(&node);
    stop_clean(&node);
}

#[test]
fn a_busy_process_does_not_starve_another_on_the_same_worker() {
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let rounds = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rounds);
    let busy = node
        .spawn(|| {
            Script(move |cx: &mut Context<'_>, _: Pid, _: Message| {
                counted.fetch_add(1, Ordering::Relaxed);
                cx.send(cx.pid(), ())?; // for ever
                Ok(())
            })
        })
        .expect("spawned");
    node.send(busy, ()).expect("delivered");
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let mut stream = client(addr);
    let id = probe.connect().id;
    for _ in 0..50 {
        std::io::Write::write_all(&mut stream, b"x").expect("written");
        probe.tcp();
        probe.write(id, "y");
        assert_eq!(read(&mut stream, 1), b"y");
    }
    assert!(rounds.load(Ordering::Relaxed) > 0);
    node.send_exit(busy, Reason::Kill).expect("it lives");
    drop(stream);
    probe.disconnect();
    stop_clean(&node);
}
