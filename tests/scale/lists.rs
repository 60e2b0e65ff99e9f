//! What it costs to look: lists of many processes and connections, beside traffic.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{
    Handled, alone, connect, cpu_of_the_runtime, cpu_of_this_thread, descriptors_allowed,
    eventually, heap_blocks, node, round_trip, scaled,
};

struct Idle;

impl Actor for Idle {}

impl Session for Idle {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        cx.write(input.take());
        Ok(())
    }
}

struct Root;

impl Actor for Root {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        cx.spawn_meta(message.downcast::<TcpServer>()?.serve(|| Idle))?;
        Ok(())
    }
}

/// A node with this many processes and connections, all idle, and the streams of the peers.
struct Crowd {
    node: Node,
    address: SocketAddr,
    streams: Vec<TcpStream>,
    processes: usize,
}

impl Crowd {
    /// `None`: too few descriptors are allowed.
    fn gather() -> Option<Self> {
        let (processes, connections) = scaled((100_000, 5_000), (10_000, 200));
        if !descriptors_allowed(connections as u64 * 2 + 200) {
            return None;
        }
        let node = node(2);
        let root = node.spawn(|| Root).unwrap();
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr();
        node.send(root, server).unwrap();
        let streams: Vec<TcpStream> = (0..connections).map(|_| connect(address)).collect();
        for _ in 0..processes {
            node.spawn(|| Idle).unwrap();
        }
        let all = processes + connections + 1;
        eventually("all processes live", || node.info().processes == all);
        // All are quiet before anything is counted.
        eventually("the connections are open", || {
            node.sockets().count() == connections + 1
        });
        Some(Self {
            node,
            address,
            streams,
            processes: all,
        })
    }
}

#[test]
fn list_of_many_processes_and_connections_takes_below_a_tenth_of_a_second() {
    let _turn = alone();
    let Some(crowd) = Crowd::gather() else { return };
    let (node, all) = (&crowd.node, crowd.processes);
    let blocks = heap_blocks();
    let mut most = 0;
    let (begun, cpu) = (Instant::now(), cpu_of_this_thread());
    let mut seen = 0;
    for process in node.processes() {
        seen += 1;
        if seen % 1_000 == 0 {
            most = most.max(heap_blocks() - blocks);
        }
        drop(process);
    }
    let of_processes = cpu_of_this_thread() - cpu;
    assert_eq!(seen, all);
    assert!(most < 100, "{most} blocks for {all} processes");
    let cpu = cpu_of_this_thread();
    let sockets = node.sockets().count();
    let of_sockets = cpu_of_this_thread() - cpu;
    assert_eq!(sockets, crowd.streams.len() + 1);
    println!(
        "{all} processes: {of_processes:.2?}, {sockets} sockets: {of_sockets:.2?} of a core, \
         {:.2?} in all",
        begun.elapsed()
    );
    let time = of_processes + of_sockets;
    assert!(
        !time.is_zero() && time < Duration::from_millis(100),
        "{time:?}"
    );
    assert!(crowd.node.stop().is_clean());
}

/// Clients that echo beside the lists.
const CLIENTS: usize = 8;
/// Pairs of rounds: one with a list, one without.
const PAIRS: usize = scaled(12, 4);
/// What a look may take of a core, as the page of the observer does it: so a round is 50 times as long as a look.
const SHARE: u32 = 50;
const ATTEMPTS: usize = 3;
/// The loss that is allowed.
const LOSS: f64 = 0.02;

/// The part of the echo traffic that the lists take: their own processor time, and what they cost the workers.
///
/// Processor time is measured and not a rate, so that other programs do not count. The cost of a message in a round
/// with a look is compared with that in the round beside it, and the middle of these pairs counts.
fn loss(node: &Node, echoed: &AtomicU64) -> f64 {
    let look = |node: &Node| {
        let cpu = cpu_of_this_thread();
        let shown = node.processes().count() + node.sockets().count() + node.timers().count();
        assert!(shown > 0);
        cpu_of_this_thread() - cpu
    };
    let round = look(node).max(Duration::from_millis(5)) * SHARE;
    let cost = |looks: bool| {
        let (begun, messages, cpu) = (
            Instant::now(),
            echoed.load(Ordering::Relaxed),
            cpu_of_the_runtime(),
        );
        let own = if looks { look(node) } else { Duration::ZERO };
        thread::sleep(round.saturating_sub(begun.elapsed()));
        let messages = echoed.load(Ordering::Relaxed) - messages;
        let cpu = cpu_of_the_runtime() - cpu;
        (cpu.as_secs_f64() / messages as f64, own)
    };
    let mut taken = Vec::new();
    let mut own = Duration::ZERO;
    for pair in 0..PAIRS {
        // Each comes first every other time.
        let (first, second) = (cost(pair % 2 == 0), cost(pair % 2 == 1));
        let (with, without) = if pair % 2 == 0 {
            (first, second)
        } else {
            (second, first)
        };
        taken.push(with.0 / without.0 - 1.0);
        own += with.1;
    }
    taken.sort_by(f64::total_cmp);
    let of_workers = (taken[(PAIRS - 1) / 2] + taken[PAIRS / 2]) / 2.0;
    // Of the two cores that the node's workers use.
    let of_lists = own.as_secs_f64() / (round.as_secs_f64() * PAIRS as f64 * 2.0);
    println!(
        "a look takes {:.2?} of a core, once in {round:.2?}: {:.2} % for it, {:.2} % more for a message",
        own / PAIRS as u32,
        of_lists * 100.0,
        of_workers * 100.0
    );
    of_lists + of_workers
}

#[test]
fn echo_traffic_beside_the_lists_loses_below_two_percent() {
    let _turn = alone();
    let Some(crowd) = Crowd::gather() else { return };
    let (ends, echoed) = (AtomicBool::new(false), AtomicU64::new(0));
    let is_small = thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut stream = connect(crowd.address);
                while !ends.load(Ordering::Relaxed) {
                    round_trip(&mut stream, &[7; 64]);
                    echoed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("the traffic runs", || {
            echoed.load(Ordering::Relaxed) > 1_000
        });
        let is_small = (0..ATTEMPTS).any(|_| loss(&crowd.node, &echoed) < LOSS);
        ends.store(true, Ordering::Relaxed);
        is_small
    });
    assert!(is_small, "no attempt of {ATTEMPTS} lost less than {LOSS}");
    assert!(crowd.node.stop().is_clean());
}
