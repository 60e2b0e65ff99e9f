//! Processes with a thread of their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{ProcessState, SpawnError, StopOptions};

use crate::support::{
    Handled, LIMIT, Probe, Seen, count, node, node_with, stop_clean, wait_for_count, wait_until,
};

fn own() -> SpawnOptions {
    SpawnOptions::default().with_own_thread()
}

fn one_worker() -> NodeOptions {
    NodeOptions::from("test@localhost").with_workers(1)
}

struct Ping;

impl Request for Ping {
    type Reply = ();
}

struct Echo;

impl Actor for Echo {
    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        reply.answer::<Ping>(());
        Ok(())
    }
}

fn ping(node: &Node, to: Pid) {
    let answer = node.ask(to, Ping, LIMIT).expect("asked");
    answer.wait().expect("an answer");
}

#[test]
fn handler_that_blocks_holds_up_no_worker_and_is_no_slow_one() {
    let options = one_worker().with_slow_handler(Duration::from_millis(10));
    let node = node_with(options);
    let echo = node.spawn(|| Echo).expect("spawned");
    let blocking: Vec<_> = (0..3).map(|_| Probe::spawn_with(&node, own())).collect();
    let gates: Vec<_> = blocking.iter().map(Probe::block).collect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(100) {
        ping(&node, echo);
    }
    for probe in &blocking {
        let info = node.process(probe.pid).expect("it lives");
        assert_eq!(info.state, ProcessState::Running);
    }
    assert_eq!(count(&node, "workers_stuck"), 0);
    drop(gates);
    for probe in &blocking {
        assert_eq!(probe.run(|_| 7), 7);
        wait_until("it to be idle", || {
            node.process(probe.pid).expect("it lives").state == ProcessState::Idle
        });
    }
    assert_eq!(count(&node, "slow_handlers"), 0);
    stop_clean(&node);
}

/// Reports the threads on which its callbacks run.
struct Where(Sender<(&'static str, Option<String>, thread::ThreadId)>);

impl Where {
    fn report(&self, callback: &'static str) {
        let thread = thread::current();
        let name = thread.name().map(str::to_owned);
        self.0
            .send((callback, name, thread.id()))
            .expect("the test listens");
    }
}

impl Actor for Where {
    fn init(&mut self, _: &mut Context<'_>) -> Handled {
        self.report("init");
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        self.report("message");
        Ok(())
    }

    fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
        self.report("terminate");
    }
}

#[test]
fn callbacks_run_on_one_thread_that_has_the_name_of_the_process() {
    let node = node();
    let (sender, threads) = mpsc::channel();
    let pid = node
        .spawn_with(own().with_name("printer"), || Where(sender.clone()))
        .expect("spawned");
    let next = || threads.recv_timeout(LIMIT).expect("a callback");
    let (_, _, here) = next();
    assert_eq!(here, thread::current().id(), "`init` runs on the spawner");
    node.send(pid, ()).expect("sent");
    let (_, name, first) = next();
    assert_eq!(name.as_deref(), Some("printer"));
    for _ in 0..10 {
        node.send(pid, ()).expect("sent");
        assert_eq!(next().2, first);
    }
    node.send_exit(pid, Reason::Shutdown).expect("sent");
    let (callback, _, last) = next();
    assert_eq!((callback, last), ("terminate", first));
    // The child of a supervisor begins on its thread.
    let child = Child::new("child", move || Where(sender.clone())).with_options(own());
    node.spawn(|| Supervisor::one_for_one().with_child(child))
        .expect("spawned");
    let (_, name, begins) = next();
    assert_eq!(name.as_deref(), Some("longshore-own"));
    assert_eq!(
        node.processes().filter(|info| info.is_supervised).count(),
        1
    );
    let child = node
        .processes()
        .find(|info| info.is_supervised)
        .expect("the child");
    node.send(child.pid, ()).expect("sent");
    assert_eq!(next().2, begins);
    stop_clean(&node);
    assert_eq!(next(), ("terminate", Some("longshore-own".into()), begins));
}

#[test]
fn call_on_an_own_thread_takes_no_permit() {
    let node = node_with(one_worker().with_max_blocked_calls(0));
    let echo = node.spawn(|| Echo).expect("spawned");
    let probe = Probe::spawn_with(&node, own());
    for _ in 0..100 {
        assert_eq!(probe.run(move |cx| cx.call(echo, Ping, LIMIT)), Ok(()));
    }
    stop_clean(&node);
}

#[test]
fn messages_come_in_order_and_none_is_lost() {
    let node = node();
    let probe = Probe::spawn_with(&node, own());
    for number in 0..20_000_u32 {
        node.send(probe.pid, number).expect("sent");
        if number % 1_000 == 0 {
            // Sometimes it is idle.
            probe.run(|_| ());
        }
    }
    for number in 0..20_000_u32 {
        match probe.seen() {
            Seen::Message(_, message) => assert_eq!(message.downcast::<u32>().ok(), Some(number)),
            other => panic!("{other:?}"),
        }
    }
    stop_clean(&node);
}

#[test]
fn threads_are_limited_and_come_back_with_their_processes() {
    let node = node_with(one_worker().with_max_own_threads(1));
    let spawn = || node.spawn_with(own(), || Echo);
    let first = spawn().expect("the first");
    assert!(matches!(spawn(), Err(SpawnError::Limit(_))));
    assert_eq!(count(&node, "processes"), 1, "nothing is left behind");
    ping(&node, first);
    node.send_exit(first, Reason::Shutdown).expect("sent");
    let mut second = None;
    wait_until("the thread to end", || {
        second = spawn().ok();
        second.is_some()
    });
    ping(&node, second.expect("spawned"));
    // A start that fails gives its thread back as well.
    node.send_exit(second.expect("spawned"), Reason::Kill)
        .expect("sent");
    wait_for_count(&node, "processes", 0);
    for _ in 0..3 {
        wait_until("the thread to end", || {
            let failed = Probe::try_spawn(&node, own(), |_| Err(Reason::error("no")));
            matches!(failed, Err(SpawnError::Init(_)))
        });
    }
    stop_clean(&node);
}

#[test]
fn panic_on_an_own_thread_ends_the_process_and_its_listener_is_closed_before_terminate() {
    let node = node();
    let watcher = Probe::spawn(&node);
    let probe = Probe::spawn_with(&node, own());
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let pid = probe.pid;
    watcher.run(move |cx| _ = cx.monitor(pid));
    probe.start(|_| panic!("not again"));
    match watcher.seen() {
        Seen::Message(_, Message::Down(down)) => {
            assert_eq!(down.reason, Reason::Panic("not again".into()));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(probe.seen(), Seen::End(Reason::Panic(_))));
    drop(TcpServer::bind(addr).expect("the port is free"));
    stop_clean(&node);
}

#[test]
fn supervisor_abandons_a_child_whose_own_thread_does_not_return() {
    let node = node();
    let (blocked, is_blocked) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    struct Stuck(Sender<()>, Arc<Mutex<mpsc::Receiver<()>>>);
    impl Actor for Stuck {
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
            self.0.send(()).expect("the test listens");
            let gate = self.1.lock().expect("no panic");
            let _ = gate.recv_timeout(LIMIT);
            Ok(())
        }
    }
    let child = Child::new("stuck", move || Stuck(blocked.clone(), Arc::clone(&gate)))
        .with_options(own().with_name("stuck"))
        .with_shutdown(Shutdown::Within(Duration::from_millis(50)));
    let supervisor = node
        .spawn(|| Supervisor::one_for_one().with_child(child))
        .expect("spawned");
    node.send("stuck", ()).expect("sent");
    is_blocked.recv_timeout(LIMIT).expect("it blocks");
    node.send_exit(supervisor, Reason::Shutdown).expect("sent");
    wait_until("the name to be free", || node.whereis("stuck").is_none());
    wait_until("the supervisor to end", || {
        node.process(supervisor).is_none()
    });
    drop(release);
    wait_for_count(&node, "processes", 0);
    stop_clean(&node);
}

#[test]
fn stop_names_the_process_whose_own_thread_does_not_return() {
    let node = node();
    let idle = Probe::spawn_with(&node, own());
    let stuck = Probe::spawn_with(&node, own());
    let gate = stuck.block();
    let began = Instant::now();
    let report = node.stop_with(StopOptions::default().with_timeout(Duration::from_millis(200)));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(report.stuck, [stuck.pid]);
    assert!(report.killed.is_empty(), "{report}");
    assert!(matches!(idle.seen_after_stop(), Some(Seen::End(_))));
    drop(gate);
}

/// Ends with an error at every message, and keeps its thread until it has a successor.
struct Fails {
    /// Counted and not looked up by name: a successor may have ended before this thread looks.
    started: Arc<AtomicUsize>,
    /// How many had started when it failed.
    failed_at: Option<usize>,
}

impl Actor for Fails {
    fn init(&mut self, _: &mut Context<'_>) -> Handled {
        self.started.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        self.failed_at = Some(self.started.load(Ordering::SeqCst));
        Err(Reason::error("as asked"))
    }
}

impl Drop for Fails {
    fn drop(&mut self) {
        if let Some(failed_at) = self.failed_at {
            wait_until("the successor", || {
                self.started.load(Ordering::SeqCst) > failed_at
            });
        }
    }
}

#[test]
fn place_of_a_thread_is_free_when_the_down_arrives() {
    let node = node_with(one_worker().with_max_own_threads(1));
    let watcher = Probe::spawn(&node);
    for round in 0..200 {
        let spawned = node.spawn_with(own(), || Echo);
        let pid = spawned.unwrap_or_else(|error| panic!("round {round}: {error}"));
        watcher.run(move |cx| _ = cx.monitor(pid));
        node.send_exit(pid, Reason::Kill).expect("sent");
        match watcher.seen() {
            Seen::Message(_, Message::Down(down)) => assert_eq!(down.reason, Reason::Kill),
            other => panic!("{other:?}"),
        }
    }
    stop_clean(&node);
}

#[test]
fn supervisor_restarts_a_child_when_its_thread_was_the_last_one_allowed() {
    let node = node_with(one_worker().with_max_own_threads(1));
    let started = Arc::new(AtomicUsize::new(0));
    let fails = move || Fails {
        started: Arc::clone(&started),
        failed_at: None,
    };
    let child = Child::new("fails", fails).with_options(own().with_name("fails"));
    let supervisor = node
        .spawn(|| Supervisor::one_for_one().with_child(child))
        .expect("spawned");
    for _ in 0..3 {
        let first = node.whereis("fails").expect("it has started");
        node.send(first, ()).expect("sent");
        wait_until("the restart", || {
            node.whereis("fails").is_some_and(|pid| pid != first)
        });
    }
    assert!(node.process(supervisor).is_some(), "it has not given up");
    stop_clean(&node);
}

#[test]
fn place_of_a_thread_is_free_when_a_spawn_whose_init_fails_returns() {
    let node = node_with(one_worker().with_max_own_threads(1));
    for _ in 0..50 {
        let failed = Probe::try_spawn(&node, own(), |_| Err(Reason::error("no")));
        assert!(
            matches!(failed, Err(SpawnError::Init(_))),
            "{:?}",
            failed.err()
        );
    }
    let echo = node.spawn_with(own(), || Echo).expect("spawned");
    ping(&node, echo);
    assert!(matches!(
        node.spawn_with(own(), || Echo),
        Err(SpawnError::Limit(_))
    ));
    stop_clean(&node);
}
