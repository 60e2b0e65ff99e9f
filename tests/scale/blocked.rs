//! Handlers that block: user code cannot stop the I/O.

use std::io::Write;
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{
    Handled, Owner, PATIENCE, Witness, alone, connect, eventually, node, round_trip, spawn_job,
};

/// How long the handlers of these tests block.
const BLOCK: Duration = Duration::from_secs(1);
/// How long others may be delayed by it.
const STALL: Duration = Duration::from_millis(10);
/// A loaded machine takes the processor away for longer than this, so the best attempt counts.
const ATTEMPTS: usize = 5;

fn listen(node: &Node) -> (Pid, std::net::SocketAddr) {
    let owner = node.spawn(Owner::new).unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    (owner, address)
}

/// Echoes while a handler of another process sleeps a second; the slowest of all round trips.
fn slowest_echo(workers: usize) -> Duration {
    let node = node(workers);
    let (_owner, address) = listen(&node);
    let mut stream = connect(address);
    round_trip(&mut stream, b"warm");
    let (started, is_blocked) = mpsc::channel();
    spawn_job(&node, move || {
        started.send(()).unwrap();
        sleep(BLOCK);
    });
    is_blocked.recv().unwrap();
    let end = Instant::now() + BLOCK * 9 / 10;
    let mut times = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        round_trip(&mut stream, b"sixteen bytes ok");
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let slowest = times[times.len() - 1];
    println!(
        "{workers} workers, one handler sleeps: {} echoes, median {:?}, p99.9 {:?}, slowest {slowest:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1 - times.len() / 1000],
    );
    assert!(node.stop().is_clean());
    slowest
}

#[test]
fn one_sleeping_handler_stalls_others_for_less_than_10_ms() {
    let _turn = alone();
    for workers in [2, 4] {
        let best = (0..ATTEMPTS)
            .map(|_| slowest_echo(workers))
            .find(|slowest| *slowest < STALL);
        assert!(
            best.is_some(),
            "no attempt of {ATTEMPTS} stayed below {STALL:?} with {workers} workers"
        );
    }
}

/// Reports its timer every 5 ms.
struct Ticker(mpsc::Sender<Instant>);

impl MetaProcess for Ticker {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        cx.set_timer(Some(Duration::from_millis(5)));
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        // The receiver is dropped because the test has ended.
        let _ = self.0.send(Instant::now());
        self.init(cx)
    }
}

/// Spawns the meta-processes it is sent and reports their aliases.
struct Parent(mpsc::Sender<Alias>);

impl Actor for Parent {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        let alias = match message {
            Message::TcpConnect(connect) => connect.id,
            message => match message.downcast::<TcpServer>() {
                Ok(server) => cx.spawn_meta(server)?,
                Err(error) => match error.into_message().downcast::<Ticker>() {
                    Ok(ticker) => cx.spawn_meta(ticker)?,
                    Err(_) => return Ok(()),
                },
            },
        };
        let _ = self.0.send(alias);
        Ok(())
    }
}

#[test]
fn all_workers_blocked_still_accepts_reads_and_fires_timers() {
    let _turn = alone();
    for workers in [1, 2, 4] {
        let node = node(workers);
        let (aliases, spawned) = mpsc::channel();
        let (ticks, ticked) = mpsc::channel();
        let parent = node.spawn(|| Parent(aliases)).unwrap();
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr();
        node.send(parent, server).unwrap();
        let listener = spawned.recv_timeout(PATIENCE).unwrap();
        let mut old = connect(address);
        let connection = spawned.recv_timeout(PATIENCE).unwrap();
        node.send(parent, Ticker(ticks)).unwrap();
        spawned.recv_timeout(PATIENCE).unwrap();
        ticked.recv_timeout(PATIENCE).unwrap();

        let (started, is_blocked) = mpsc::channel();
        for _ in 0..workers {
            let started = started.clone();
            spawn_job(&node, move || {
                started.send(Instant::now()).unwrap();
                sleep(BLOCK);
            });
        }
        let last = (0..workers)
            .map(|_| is_blocked.recv_timeout(PATIENCE).unwrap())
            .max()
            .unwrap();
        let first_free = last + BLOCK * 3 / 4;
        let inspect = |alias: Alias, what: &str| {
            node.inspect(alias, PATIENCE)
                .ok()
                .and_then(|found| found.number(what))
        };
        old.write_all(&[7; 4_096]).unwrap();
        let new: Vec<_> = (0..20).map(|_| connect(address)).collect();
        eventually("20 more accepted", || {
            inspect(listener, "accepted") == Some(21)
        });
        eventually("4,096 bytes read", || {
            inspect(connection, "bytes_in") == Some(4_096)
        });
        let in_time = Instant::now();
        assert!(in_time < first_free, "the I/O waited for a handler");
        assert!(
            spawned.try_recv().is_err(),
            "a worker was free, the test shows nothing"
        );
        let ticks = ticked.try_iter().filter(|tick| *tick > last).count();
        while ticked.recv_timeout(PATIENCE).unwrap() < last + BLOCK / 2 {}
        println!(
            "{workers} workers, all blocked: 20 accepted and 4,096 bytes read after {:?}, {ticks} ticks until then",
            in_time - last
        );
        // Messages that arrived meanwhile are delivered.
        for _ in 0..new.len() {
            spawned.recv_timeout(PATIENCE).unwrap();
        }
        assert!(node.stop().is_clean());
    }
}

/// The message is sent by a handler that is marked stuck: no worker looks at its queue without a wake-up.
#[test]
fn message_of_a_stuck_handler_is_handled_before_it_ends() {
    let _turn = alone();
    for workers in [2, 4] {
        let node = node(workers);
        let (witness, seen) = Witness::spawn(&node);
        let (late, done) = mpsc::channel();
        let pid = node.spawn(|| Late { witness, late }).unwrap();
        for _ in 0..3 {
            node.send(pid, ()).unwrap();
            seen.recv_timeout(PATIENCE).unwrap();
            let after = done.try_recv();
            assert!(
                after.is_err(),
                "{workers} workers: the message waited for the end of the handler that sent it"
            );
            done.recv_timeout(PATIENCE).unwrap();
        }
        assert!(node.stop().is_clean());
    }
}

/// Blocks, sends, blocks.
struct Late {
    witness: Pid,
    late: mpsc::Sender<()>,
}

impl Actor for Late {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        sleep(Duration::from_millis(100));
        cx.send(self.witness, 1_u64).map_err(Reason::error)?;
        sleep(Duration::from_millis(400));
        let _ = self.late.send(());
        Ok(())
    }
}

/// Other workers run the tasks that are queued behind a blocking handler, also while they always have work of their
/// own.
#[test]
fn tasks_behind_a_stuck_handler_do_not_wait_for_it() {
    let _turn = alone();
    let node = node(2);
    let busy: Vec<Pid> = (0..8).map(|_| node.spawn(|| Busy).unwrap()).collect();
    for pid in &busy {
        node.send(*pid, ()).unwrap();
    }
    let witnesses: Vec<_> = (0..20).map(|_| Witness::spawn(&node)).collect();
    let (late, done) = mpsc::channel();
    let pids: Vec<Pid> = witnesses.iter().map(|(pid, _)| *pid).collect();
    let pid = node.spawn(|| Many { pids, late }).unwrap();
    node.send(pid, ()).unwrap();
    for (_, seen) in &witnesses {
        seen.recv_timeout(PATIENCE).unwrap();
        assert!(
            done.try_recv().is_err(),
            "a message waited for the end of the handler that sent it"
        );
    }
    done.recv_timeout(PATIENCE).unwrap();
    let _ =
        node.stop_with(longshore::StopOptions::default().with_timeout(Duration::from_millis(100)));
}

/// Always has a message.
struct Busy;

impl Actor for Busy {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        cx.send(cx.pid(), ()).map_err(Reason::error)
    }
}

/// Sends to all, then blocks.
struct Many {
    pids: Vec<Pid>,
    late: mpsc::Sender<()>,
}

impl Actor for Many {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        for pid in &self.pids {
            cx.send(*pid, 1_u64).map_err(Reason::error)?;
        }
        sleep(BLOCK);
        let _ = self.late.send(());
        Ok(())
    }
}
