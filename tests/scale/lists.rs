//! What it costs to look: lists of many processes and connections, beside traffic.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{alone, connect, descriptors_allowed, eventually, heap_blocks, node, scaled};

struct Idle;

impl Actor for Idle {}

impl Session for Idle {
    fn received(&mut self, _: &mut SessionContext<'_>, input: &mut Buffer) -> Result<(), Reason> {
        input.clear();
        Ok(())
    }
}

struct Root;

impl Actor for Root {
    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        cx.spawn_meta(message.downcast::<TcpServer>()?.serve(|| Idle))?;
        Ok(())
    }
}

/// Processor time of this thread so far.
fn cpu_of_this_thread() -> Duration {
    // Nanoseconds on a processor, then those in the queue.
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

#[test]
fn list_of_many_processes_and_connections_takes_below_a_tenth_of_a_second() {
    let _turn = alone();
    let (processes, connections) = scaled((100_000, 5_000), (10_000, 200));
    if !descriptors_allowed(connections as u64 * 2 + 200) {
        return;
    }
    let node = node(2);
    let root = node.spawn(|| Root).unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    node.send(root, server).unwrap();
    let _streams: Vec<TcpStream> = (0..connections).map(|_| connect(address)).collect();
    for _ in 0..processes {
        node.spawn(|| Idle).unwrap();
    }
    let all = processes + connections + 1;
    eventually("all processes live", || node.info().processes == all);
    // All are quiet before the blocks are counted.
    eventually("the connections are open", || {
        node.sockets().count() == connections + 1
    });

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
    assert_eq!(sockets, connections + 1);
    println!(
        "{all} processes: {of_processes:.2?}, {sockets} sockets: {of_sockets:.2?} of a core, \
         {:.2?} in all",
        begun.elapsed()
    );
    assert!(
        of_processes + of_sockets < Duration::from_millis(100),
        "{of_processes:?} and {of_sockets:?}"
    );
    assert!(node.stop().is_clean());
}
