//! Handlers that wait: what the world and its threads do meanwhile.

use super::Handled;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::prelude::*;
use crate::record::Logger;
use crate::testing::*;
use crate::{RequestError, StopOptions};

const LONG: Duration = Duration::from_secs(10);

/// Any question.
struct Ask;

impl Request for Ask {
    type Reply = u32;
}

/// Keeps requests until a number says how many of them it answers, the newest first or the oldest.
#[derive(Default)]
struct Keeps(Vec<Reply>);

impl Actor for Keeps {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        let is_newest = message.downcast::<bool>().expect("which one");
        let at = if is_newest { self.0.len() - 1 } else { 0 };
        self.0.remove(at).answer::<Ask>(1);
        Ok(())
    }

    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        self.0.push(reply);
        Ok(())
    }
}

type Outcome = (u32, Result<u32, RequestError>);

/// Asks another process for each message, and reports the result.
struct Asks {
    number: u32,
    to: Pid,
    results: mpsc::Sender<Outcome>,
}

impl Actor for Asks {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        let result = cx.call(self.to, Ask, LONG);
        self.results.send((self.number, result))?;
        Ok(())
    }
}

/// A process that keeps requests, and those that ask it.
fn asking(node: &TestNode, count: u32) -> (Pid, Vec<Pid>, mpsc::Receiver<Outcome>) {
    let (results, reported) = mpsc::channel();
    let to = node.spawn(Keeps::default).expect("spawned");
    let spawn = |number| {
        let results = results.clone();
        let asks = Asks {
            number,
            to,
            results,
        };
        node.spawn(|| asks).expect("spawned")
    };
    (to, (0..count).map(spawn).collect(), reported)
}

#[test]
fn calls_end_as_they_are_answered_and_the_test_goes_on_meanwhile() {
    for seed in 0..20 {
        let node = TestNode::seeded(seed);
        let (to, asking, reported) = asking(&node, 3);
        for pid in &asking {
            node.send(*pid, ()).expect("sent");
            node.run_until_idle();
        }
        assert!(reported.try_recv().is_err());
        for (is_newest, number) in [(false, 0), (true, 2), (false, 1)] {
            node.send(to, is_newest).expect("sent");
            node.run_until_idle();
            assert_eq!(reported.try_recv(), Ok((number, Ok(1))), "seed {seed}");
            assert!(reported.try_recv().is_err());
        }
        assert!(node.stop().is_clean());
    }
}

#[test]
fn held_process_and_paused_node_do_not_go_on_with_their_calls() {
    let node = TestNode::seeded(1);
    let (to, asking, reported) = asking(&node, 1);
    node.send(asking[0], ()).expect("sent");
    node.run_until_idle();
    node.hold(asking[0]);
    node.send(to, true).expect("sent");
    node.advance(2 * LONG);
    assert!(reported.try_recv().is_err());
    node.release(asking[0]);
    node.run_until_idle();
    assert_eq!(
        reported.try_recv(),
        Ok((0, Ok(1))),
        "the answer was there in time"
    );

    node.send(asking[0], ()).expect("sent");
    node.run_until_idle();
    node.pause(2 * LONG);
    node.advance(LONG + Duration::from_secs(1));
    assert!(reported.try_recv().is_err());
    node.advance(LONG);
    assert_eq!(reported.try_recv(), Ok((0, Err(RequestError::Timeout))));
}

#[test]
fn answer_behind_the_deadline_reaches_neither_this_call_nor_the_next() {
    let node = TestNode::seeded(2);
    let (to, asking, reported) = asking(&node, 1);
    let began = node.world().now();
    node.send(asking[0], ()).expect("sent");
    node.run_until(|| reported.try_recv() == Ok((0, Err(RequestError::Timeout))));
    assert_eq!((node.world().now() - began).as_secs(), LONG.as_secs());
    node.send(asking[0], ()).expect("sent");
    node.run_until_idle();
    // To the first request, whose caller waits for the second.
    node.send(to, false).expect("sent");
    node.run_until_idle();
    assert!(reported.try_recv().is_err());
    node.send(to, false).expect("sent");
    node.run_until_idle();
    assert_eq!(reported.try_recv(), Ok((0, Ok(1))));
}

#[test]
fn call_to_another_node_waits_for_it() {
    struct Bridge(Node, Pid, mpsc::Sender<u32>);
    impl Actor for Bridge {
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
            let answer = self.0.ask(self.1, Ask, LONG)?.wait()?;
            self.2.send(answer)?;
            Ok(())
        }
    }
    let world = World::seeded(3);
    let (near, far) = (TestNode::start(&world), TestNode::start(&world));
    let to = far.spawn(Keeps::default).expect("spawned");
    let (results, result) = mpsc::channel();
    let there = far.node().clone();
    let bridge = near.spawn(|| Bridge(there, to, results)).expect("spawned");
    near.send(bridge, ()).expect("sent");
    world.run_until_idle();
    assert!(result.try_recv().is_err());
    far.send(to, true).expect("sent");
    world.run_until_idle();
    assert_eq!(result.try_recv(), Ok(1));
}

#[test]
fn node_that_is_stopped_by_a_handler_of_another_stops_while_the_test_goes_on() {
    struct Stops(Node, mpsc::Sender<bool>);
    impl Actor for Stops {
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
            let report = self.0.stop_with(StopOptions::default().with_timeout(LONG));
            self.1.send(report.stuck.is_empty())?;
            Ok(())
        }
    }
    let world = World::seeded(4);
    let (near, far) = (TestNode::start(&world), TestNode::start(&world));
    let (to, asking, reported) = asking(&far, 1);
    far.send(asking[0], ()).expect("sent");
    world.run_until_idle();
    let (results, result) = mpsc::channel();
    let there = far.node().clone();
    let stops = near.spawn(|| Stops(there, results)).expect("spawned");
    near.send(stops, ()).expect("sent");
    world.advance(Duration::from_secs(1));
    assert!(result.try_recv().is_err(), "a handler is in a call");
    far.send(to, true).expect("sent");
    world.advance(4 * LONG);
    assert_eq!(reported.try_recv(), Ok((0, Ok(1))));
    assert_eq!(result.try_recv(), Ok(true));
}

#[test]
fn monitor_waits_in_virtual_time_and_for_nothing_that_cannot_come() {
    let node = TestNode::seeded(6);
    let pid = node.spawn(Keeps::default).expect("spawned");
    let monitor = node.monitor(pid);
    let began = node.world().now();
    let deadline = std::time::Instant::now() + 100 * LONG;
    assert_eq!(monitor.wait_until(deadline), Err(RequestError::Timeout));
    let waited = node.world().now() - began;
    assert!((99 * LONG..=100 * LONG).contains(&waited), "{waited:?}");
    assert_eq!(monitor.wait(), Err(RequestError::Timeout));
    node.crash(pid).expect("it lives");
    assert_eq!(monitor.wait(), Ok(Reason::Kill));
}

/// Counts the drops of what a handler holds.
struct Held(Arc<AtomicU32>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The wait for another node is not ended by the kill, and the handler would begin the next one.
#[test]
fn handler_that_waits_when_its_world_ends_unwinds() {
    struct Insists(Node, Pid, Arc<AtomicU32>);
    impl Actor for Insists {
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
            let _held = Held(Arc::clone(&self.2));
            while self.0.ask(self.1, Ask, LONG)?.wait().is_err() {}
            Ok(())
        }
    }
    let dropped = Arc::new(AtomicU32::new(0));
    let world = World::seeded(5);
    let (near, far) = (TestNode::start(&world), TestNode::start(&world));
    let to = far.spawn(Keeps::default).expect("spawned");
    let (there, count) = (far.node().clone(), Arc::clone(&dropped));
    let insists = near.spawn(|| Insists(there, to, count)).expect("spawned");
    near.send(insists, ()).expect("sent");
    near.run_until_idle();
    let report = near.stop_with(StopOptions::default().with_timeout(Duration::from_millis(100)));
    assert_eq!(report.stuck, [insists], "{report}");
    // The handler has the last handle of the other node.
    drop((near, far));
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(world);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

/// A request that goes on from process to process, each of which is a digit of the number.
struct Hop(u64);

impl Request for Hop {
    type Reply = u32;
}

/// Calls the next process of the route that it gets.
struct Chain {
    others: Arc<Mutex<Vec<Pid>>>,
    begun: Arc<AtomicU32>,
    results: mpsc::Sender<String>,
}

impl Chain {
    fn call(&self, cx: &mut Context<'_>, route: u64) -> Result<u32, RequestError> {
        let to = self.others.lock().expect("no panic")[route as usize % 8];
        self.begun.fetch_add(1, Ordering::Relaxed);
        let result = cx.call(to, Hop(route / 8), LONG / 20);
        let text = format!("{} {result:?}", cx.pid());
        self.results.send(text).expect("the test listens");
        result
    }
}

impl Actor for Chain {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        let route = message.downcast().expect("a route");
        // An error is in the results.
        let _ = self.call(cx, route);
        Ok(())
    }

    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        let Hop(route) = message.downcast().expect("a hop");
        let answer = match route {
            0 => 0,
            _ => self.call(cx, route)? + 1,
        };
        reply.answer::<Hop>(answer);
        Ok(())
    }
}

/// What one run traces in which many calls overlap, some of them in cycles or to a process that never answers, while
/// processes are killed, and the node pauses and stops. Each call that begins ends.
fn trace_of(seed: u64) -> (u64, String, Vec<String>) {
    let world = World::seeded(seed);
    let options = NodeOptions::from("calls").with_logger(Logger::none());
    let node = TestNode::start_with(&world, options).expect("the options are right");
    let others = Arc::new(Mutex::new(Vec::new()));
    let (results, reported) = mpsc::channel();
    let begun = Arc::new(AtomicU32::new(0));
    let mut pids = Vec::new();
    for _ in 0..7 {
        let chain = Chain {
            others: Arc::clone(&others),
            begun: Arc::clone(&begun),
            results: results.clone(),
        };
        pids.push(node.spawn(|| chain).expect("spawned"));
    }
    let silent = node.spawn(Keeps::default).expect("spawned");
    others
        .lock()
        .expect("no panic")
        .extend(pids.iter().copied().chain([silent]));
    let kinds = [FaultKind::Kill, FaultKind::Pause, FaultKind::Stop];
    let within = Duration::from_millis(5);
    world.inject(
        &FaultOptions::default()
            .with_kinds(kinds)
            .with_within(within),
    );
    for _ in 0..30 {
        // One that has ended takes nothing any more.
        let pid = pids[world.draw(7) as usize];
        let is_sent = node.send(pid, world.draw(4_096)).is_ok();
        world.advance(Duration::from_micros(world.draw(200)));
        if is_sent && world.draw(15) == 0 {
            let _ = node.crash(pid);
        }
    }
    world.advance(Duration::from_millis(world.draw(2_000)));
    drop(node);
    let reported: Vec<_> = reported.try_iter().collect();
    assert_eq!(reported.len(), begun.load(Ordering::Relaxed) as usize);
    (world.trace_hash(), world.trace(200), reported)
}

#[test]
fn same_seed_gives_the_same_trace_with_calls_that_overlap() {
    let mut all = String::new();
    let seeds = if cfg!(debug_assertions) { 100 } else { 1_000 };
    for seed in 0..seeds {
        let (first, second) = (trace_of(seed), trace_of(seed));
        assert_eq!(first, second, "seed {seed}");
        all.extend(first.2);
    }
    for what in [
        "Ok(2)",
        "Cycle",
        "Timeout",
        "Exiting",
        "Dropped",
        "NotDelivered",
    ] {
        assert!(all.contains(what), "no call ends with {what}");
    }
}
