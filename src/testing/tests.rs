//! Tests of the simulated node itself.

mod chat;
mod control;
mod deadlines;
mod moves;
#[cfg(planted)]
mod planted;
mod rates;
mod repeats;
mod stops;
#[cfg(feature = "tls")]
mod tls;
mod waits;

use std::sync::{Arc, Mutex, mpsc};

use super::*;
use crate::SpawnMeta;
use crate::prelude::*;
use std::time::Duration;

/// Sends back what its sockets get.
struct Echo<M>(Option<M>);

impl Echo<TcpServer> {
    fn at(addr: impl Into<TcpServerOptions>) -> Self {
        Self(Some(TcpServer::bind(addr).expect("bound")))
    }
}

impl<M: SpawnMeta + Send + 'static> Actor for Echo<M> {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.spawn_meta(self.0.take().expect("once"))?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::Tcp(packet) => cx.write(packet.id, packet.data),
            Message::Udp(packet) => cx.send_datagram(packet.id, packet.addr, packet.data),
            _ => {}
        }
        Ok(())
    }
}

fn addr() -> std::net::SocketAddr {
    "127.0.0.1:7000".parse().expect("an address")
}

#[test]
fn echo_answers_with_every_policy() {
    for policy in [Policy::Fifo, Policy::Random, Policy::Newest, Policy::Starve] {
        let world = World::with(1, WorldOptions::default().with_policy(policy));
        let node = TestNode::start(&world);
        node.spawn(|| Echo::at("127.0.0.1:7000")).expect("spawned");
        let client = node.connect(addr());
        for round in 0..20 {
            let line = format!("line {round}");
            client.write(line.as_bytes());
            client.expect(line.as_bytes());
        }
        client.close();
        world.run_until_idle();
        assert!(node.stop().is_clean());
        assert_eq!(world.net().open_connections(), 0);
        assert_eq!(world.net().descriptors(&node), 0);
    }
}

/// What one run of a busy scenario traces.
fn trace_of(seed: u64) -> (u64, String) {
    let world = World::seeded(seed);
    let node = TestNode::start(&world);
    node.spawn(|| Echo::at("127.0.0.1:7000")).expect("spawned");
    world.inject(&FaultOptions::default().with_count(3..=6));
    let clients: Vec<_> = (0..5).map(|_| node.connect(addr())).collect();
    for round in 0..5_u8 {
        for client in &clients {
            let length = world.draw(3_000) as usize;
            client.write(&vec![round; length]);
        }
        world.advance(Duration::from_millis(world.draw(200)));
    }
    drop(clients);
    let _ = node.stop();
    (world.trace_hash(), world.trace(200))
}

#[test]
fn same_seed_gives_the_same_trace() {
    let mut hashes = std::collections::BTreeSet::new();
    // All of them take a minute of a build that is not optimized.
    let seeds = if cfg!(debug_assertions) { 100 } else { 1_000 };
    for seed in 0..seeds {
        let (first, second) = (trace_of(seed), trace_of(seed));
        assert_eq!(first.1, second.1, "seed {seed}");
        assert_eq!(first.0, second.0, "seed {seed}");
        hashes.insert(first.0);
    }
    assert_eq!(
        hashes.len(),
        seeds as usize,
        "other seeds give other traces"
    );
}

/// What a callback of a process or of a meta-process returns.
type Handled = Result<(), Reason>;

/// The file that the test below writes, or compares with.
const HASHES: &str = "LONGSHORE_TRACE_HASHES";

/// Two builds of one commit, one optimized and one not, write the same traces: the first writes its hashes into the
/// file that the variable names, the second compares. Hashes are not stored beyond that: each change of scheduling
/// changes a trace.
#[test]
fn traces_of_two_builds_are_the_same() {
    let lines: Vec<String> = (0..100)
        .map(|seed| {
            let world = World::with(seed, chat::options());
            chat::scenario(&world);
            let (echo, _) = trace_of(seed);
            format!("{seed} {echo:016x} {:016x}\n", world.trace_hash())
        })
        .collect();
    let hashes = lines.concat();
    let Some(path) = std::env::var_os(HASHES) else {
        return;
    };
    match std::fs::read_to_string(&path) {
        Ok(other) => assert_eq!(hashes, other, "the other build has other traces"),
        Err(_) => std::fs::write(&path, hashes).expect("written"),
    }
}

#[test]
#[should_panic(expected = "an invariant does not hold: broken")]
fn invariant_that_is_broken_while_a_node_is_dropped_is_reported_once() {
    // It ignores its exit, so that the stop waits until it kills it.
    struct Stays;
    impl Actor for Stays {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            cx.set_trap_exit(true);
            Ok(())
        }
    }
    let world = World::seeded(2);
    let node = TestNode::start(&world);
    node.spawn(|| Stays).expect("spawned");
    world.run_until_idle();
    world.invariant(|| Err("broken".to_owned()));
    world.advance(Duration::from_millis(1));
}

#[test]
#[should_panic(expected = "an invariant does not hold: broken")]
fn invariant_is_checked_also_where_the_time_passes_without_an_event() {
    let world = World::seeded(2);
    world.invariant(|| Err("broken".to_owned()));
    world.advance(Duration::from_millis(1));
}

#[test]
fn timers_fire_in_virtual_time_and_an_idle_world_does_not_wait_for_them() {
    struct Clock(mpsc::Sender<&'static str>);
    impl Actor for Clock {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            cx.send_after(cx.pid(), "late", Duration::from_secs(3_600));
            cx.send_after(cx.pid(), "soon", Duration::from_millis(10));
            Ok(())
        }
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            let text = message.downcast::<&str>().expect("a text");
            self.0.send(text).expect("the test listens");
            Ok(())
        }
    }
    let node = TestNode::seeded(3);
    let (sender, fired) = mpsc::channel();
    node.spawn(|| Clock(sender)).expect("spawned");
    node.run_until_idle();
    assert!(fired.try_recv().is_err());
    node.advance(Duration::from_millis(11));
    assert_eq!(fired.try_recv(), Ok("soon"));
    let began = std::time::Instant::now();
    node.advance(Duration::from_secs(3_600));
    assert_eq!(fired.try_recv(), Ok("late"));
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "an hour passes at once"
    );
}

#[test]
fn call_from_outside_runs_the_world_and_its_timeout_is_virtual() {
    struct Answers(bool, Vec<Reply>);
    impl Actor for Answers {
        fn handle_call(
            &mut self,
            _: &mut Context<'_>,
            _: Pid,
            message: Message,
            reply: Reply,
        ) -> Handled {
            if self.0 {
                reply.send(message);
            } else {
                self.1.push(reply);
            }
            Ok(())
        }
    }
    let node = TestNode::seeded(4);
    let answers = node.spawn(|| Answers(true, Vec::new())).expect("spawned");
    let silent = node.spawn(|| Answers(false, Vec::new())).expect("spawned");
    let answer = node
        .call(answers, 7_u32, Duration::from_secs(5))
        .expect("an answer");
    assert_eq!(answer.downcast::<u32>().ok(), Some(7));
    let before = node.world().now();
    let failed = node.call(silent, 7_u32, Duration::from_secs(500));
    assert_eq!(failed.err(), Some(crate::RequestError::Timeout));
    assert_eq!(node.world().now() - before, Duration::from_secs(500));
}

#[test]
fn two_nodes_reach_each_other_until_one_is_silent() {
    struct Dial(std::net::SocketAddr, Arc<Mutex<Vec<String>>>);
    impl Actor for Dial {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            cx.spawn_meta(TcpConnection::connect(self.0)?)?;
            Ok(())
        }
        fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            let seen = match message {
                Message::TcpConnect(connect) => {
                    cx.send_alias(connect.id, MessageTcp::new(connect.id, b"hi".to_vec()))?;
                    format!("connected to {}", connect.remote_addr)
                }
                Message::Tcp(packet) => String::from_utf8_lossy(&packet.data).into_owned(),
                Message::TcpDisconnect(end) => end.reason.to_string(),
                other => format!("{other:?}"),
            };
            self.1.lock().expect("no panic").push(seen);
            Ok(())
        }
    }
    let world = World::seeded(5);
    let (one, other) = (TestNode::start(&world), TestNode::start(&world));
    one.spawn(|| Echo::at("0.0.0.0:7000")).expect("spawned");
    let to = world.net().address_of(&one, 7_000);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    other.spawn(|| Dial(to, log)).expect("spawned");
    world.run_until_idle();
    assert_eq!(
        *seen.lock().expect("no panic"),
        [format!("connected to {to}"), "hi".into()]
    );
    world.net().set_silent(&one, true);
    let log = Arc::clone(&seen);
    other.spawn(|| Dial(to, log)).expect("spawned");
    world.advance(Duration::from_secs(11));
    let last = seen.lock().expect("no panic").last().cloned();
    assert_eq!(last, Some(DisconnectReason::ConnectTimeout.to_string()));
}

#[test]
fn names_are_resolved_by_the_world() {
    let world = World::seeded(6);
    let node = TestNode::start(&world);
    node.spawn(|| Echo::at("0.0.0.0:7000")).expect("spawned");
    world.net().set_name(
        "echo.example",
        vec![
            "192.0.2.1".parse().expect("an address"),
            "127.0.0.1".parse().expect("one"),
        ],
    );
    struct ByName(mpsc::Sender<Message>);
    impl Actor for ByName {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            cx.spawn_meta(TcpConnection::connect("unknown.example:7000")?)?;
            Ok(())
        }
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            self.0.send(message).expect("the test listens");
            Ok(())
        }
    }
    let (sender, seen) = mpsc::channel();
    node.spawn(|| ByName(sender)).expect("spawned");
    node.advance(Duration::from_secs(1));
    let Ok(Message::TcpDisconnect(end)) = seen.try_recv() else {
        panic!("the name was found")
    };
    assert!(matches!(end.reason, DisconnectReason::Resolve(_)));
}

#[test]
fn source_of_ones_own_is_ready_when_the_test_says_so() {
    struct Source(std::fs::File, mpsc::Sender<bool>);
    impl MetaProcess for Source {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
            Ok(cx.register(&self.0)?)
        }
        fn ready(&mut self, _: &mut MetaContext<'_>, readiness: Readiness) -> Handled {
            self.1
                .send(readiness.is_readable())
                .expect("the test listens");
            Ok(())
        }
    }
    struct Parent(Option<Source>, mpsc::Sender<Alias>);
    impl Actor for Parent {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            let alias = cx.spawn_meta(self.0.take().expect("once"))?;
            self.1.send(alias).expect("the test listens");
            Ok(())
        }
    }
    let node = TestNode::seeded(7);
    let (sender, ready) = mpsc::channel();
    let (aliases, alias) = mpsc::channel();
    let file = std::fs::File::open("/dev/null").expect("a file");
    node.spawn(|| Parent(Some(Source(file, sender)), aliases))
        .expect("spawned");
    node.run_until_idle();
    let alias = alias.try_recv().expect("spawned");
    assert!(node.is_registered(alias));
    assert!(ready.try_recv().is_err());
    node.set_ready(alias, Readiness::readable());
    node.run_until_idle();
    assert_eq!(ready.try_recv(), Ok(true));
}

#[test]
fn held_process_handles_nothing_until_it_is_released() {
    struct Counts(mpsc::Sender<u32>);
    impl Actor for Counts {
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            self.0
                .send(message.downcast::<u32>().expect("a number"))
                .expect("the test listens");
            Ok(())
        }
    }
    let node = TestNode::seeded(8);
    let (sender, seen) = mpsc::channel();
    let pid = node.spawn(|| Counts(sender)).expect("spawned");
    node.hold(pid);
    node.send(pid, 1_u32).expect("sent");
    node.advance(Duration::from_secs(1));
    assert!(seen.try_recv().is_err());
    node.release(pid);
    node.run_until_idle();
    assert_eq!(seen.try_recv(), Ok(1));
}

#[test]
fn stop_from_inside_a_process_ends_the_node() {
    struct Stops;
    impl Actor for Stops {
        fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
            cx.stop_node();
            Ok(())
        }
    }
    let node = TestNode::seeded(9);
    let pid = node.spawn(|| Stops).expect("spawned");
    node.send(pid, ()).expect("sent");
    node.run_until_idle();
    node.wait().expect("a clean stop");
    assert_eq!(node.metrics().get("longshore_processes"), Some(0));
}
