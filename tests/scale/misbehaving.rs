//! Processes that misbehave beside one that does not: what the round trips of the latter cost.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{Logger, StopOptions};

use crate::support::{Handled, Owner, PATIENCE, alone, connect, round_trip, scaled};

/// Round trips that 99 of 100 stay below, in the best attempt: the machine itself is delayed as well.
const BOUND: Duration = Duration::from_millis(50);
const ATTEMPTS: usize = 5;

/// Keeps its mailbox full by its own messages.
struct Flood;

impl Actor for Flood {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        // Two for one, until the bound refuses them.
        while cx.send(cx.pid(), ()).is_ok() && cx.send(cx.pid(), ()).is_ok() {}
        Ok(())
    }
}

/// Sends every message back.
struct PingPong;

impl Actor for PingPong {
    fn handle_message(&mut self, cx: &mut Context<'_>, from: Pid, message: Message) -> Handled {
        let to = message.downcast::<Pid>().unwrap_or(from);
        // The other may have ended.
        cx.send(to, ()).ok();
        Ok(())
    }
}

/// Never returns from its handler, until the test ends.
struct Hangs(mpsc::Receiver<()>);

impl Actor for Hangs {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        // An error is the end of the test.
        self.0.recv().ok();
        Ok(())
    }
}

/// Panics in every callback, and as it is dropped.
struct Panics {
    dropped: Arc<AtomicU64>,
    in_init: bool,
}

impl Actor for Panics {
    fn init(&mut self, _: &mut Context<'_>) -> Handled {
        assert!(!self.in_init, "init");
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        panic!("message")
    }

    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, _: Reply) -> Handled {
        panic!("call")
    }

    fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
        panic!("terminate")
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        panic!("drop")
    }
}

/// Answers.
struct Good;

impl Actor for Good {
    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        reply.send(());
        Ok(())
    }
}

/// Times of round trips, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn measure(length: Duration, mut trip: impl FnMut()) -> Self {
        let mut times = Vec::new();
        let end = Instant::now() + length;
        while Instant::now() < end {
            let start = Instant::now();
            trip();
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Self(times)
    }

    fn at(&self, share: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {} round trips, median {:?}, p99 {:?}, slowest {:?}",
            self.0.len(),
            self.at(0.5),
            self.at(0.99),
            self.at(1.0)
        );
    }
}

/// Ends and spawns processes that panic everywhere, until `done`.
fn panic_everywhere(node: &Node, done: &AtomicBool) -> u64 {
    let dropped = Arc::new(AtomicU64::new(0));
    let mut spawned = 0;
    while !done.load(Ordering::Relaxed) {
        for kind in 0..3 {
            let dropped = Arc::clone(&dropped);
            let in_init = kind == 0;
            let process = node.spawn(|| Panics { dropped, in_init });
            spawned += 1;
            let Ok(pid) = process else {
                assert_eq!(kind, 0);
                continue;
            };
            match kind {
                1 => node.send(pid, ()).unwrap(),
                _ => assert!(node.call(pid, (), PATIENCE).is_err()),
            }
        }
    }
    let deadline = Instant::now() + PATIENCE;
    while dropped.load(Ordering::Relaxed) < spawned && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(
        dropped.load(Ordering::Relaxed),
        spawned,
        "one was not dropped"
    );
    spawned
}

/// The 99th percentile of requests and of echoes over TCP, beside all of them.
fn attempt(workers: usize) -> Duration {
    let options = NodeOptions::from("misbehaving@localhost")
        .with_workers(workers)
        .with_logger(Logger::none());
    let node = Node::start(options).unwrap();
    let good = node.spawn(|| Good).unwrap();
    let owner = node.spawn(Owner::new).unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    let mut stream = connect(address);
    round_trip(&mut stream, b"warm");
    let length = Duration::from_millis(scaled(1_000, 300));
    let mut request = || drop(node.call(good, (), PATIENCE).unwrap());
    Times::measure(length, &mut request).print("requests, nothing beside them");

    let bounded = SpawnOptions::default().with_mailbox_bound(10_000);
    let flood = node.spawn_with(bounded, || Flood).unwrap();
    node.send(flood, ()).unwrap();
    let players: [Pid; 2] = std::array::from_fn(|_| node.spawn(|| PingPong).unwrap());
    node.send(players[0], players[1]).unwrap();
    let (release, gate) = mpsc::channel();
    let hangs = node.spawn(|| Hangs(gate)).unwrap();
    node.send(hangs, ()).unwrap();
    let done = AtomicBool::new(false);
    let (requests, echoes, panics) = std::thread::scope(|scope| {
        let panics = scope.spawn(|| panic_everywhere(&node, &done));
        let requests = Times::measure(length, &mut request);
        let echoes = Times::measure(length, || round_trip(&mut stream, b"sixteen bytes ok"));
        done.store(true, Ordering::Relaxed);
        (requests, echoes, panics.join().expect("no process is lost"))
    });
    println!(
        "{workers} workers; beside a flood, a ping-pong, a handler that hangs, and {panics} processes that panicked \
         everywhere:"
    );
    requests.print("requests");
    echoes.print("echoes over TCP");
    stream.flush().unwrap();
    drop(stream);
    let began = Instant::now();
    let report = node.stop_with(StopOptions::default().with_timeout(Duration::from_millis(500)));
    assert!(began.elapsed() < Duration::from_secs(10), "{report}");
    assert!(report.stuck.contains(&hangs), "{report}");
    drop(release);
    requests.at(0.99).max(echoes.at(0.99))
}

#[test]
fn processes_that_misbehave_leave_others_their_latency() {
    let _turn = alone();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        let planted = ["init", "message", "call", "terminate", "drop"];
        let text = info.payload().downcast_ref::<&str>();
        if !text.is_some_and(|text| planted.contains(text)) {
            eprintln!("{info}");
        }
    }));
    for workers in [2, 4] {
        let best = (0..ATTEMPTS)
            .map(|_| attempt(workers))
            .find(|p99| *p99 < BOUND);
        assert!(
            best.is_some(),
            "no attempt of {ATTEMPTS} stayed below {BOUND:?} with {workers} workers"
        );
    }
    std::panic::set_hook(hook);
}
