//! Nodes that start and stop.

use std::time::Instant;

use longshore::prelude::*;

use crate::support::{
    Owner, alone, connect, descriptors, eventually, heap_bytes, node, round_trip, scaled, threads,
};

/// Starts a node, a process and a listener, uses a connection, and stops the node.
fn cycle(workers: usize) {
    let node = node(workers);
    let owner = node.spawn(Owner::new).unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    let mut stream = connect(address);
    round_trip(&mut stream, b"one message");
    // An open client would keep its side open, and the node waits a second for it.
    drop(stream);
    assert!(node.stop().is_clean());
}

#[test]
fn thousand_starts_and_stops_leave_nothing_behind() {
    let _turn = alone();
    let cycles = scaled(1_000, 200);
    for warm in 0..20 {
        cycle(1 + warm % 4);
    }
    eventually("the threads of the warm-up have ended", || threads() <= 3);
    let (fds, tasks, heap) = (descriptors(), threads(), heap_bytes());
    let start = Instant::now();
    for number in 0..cycles {
        cycle(1 + number % 4);
    }
    let elapsed = start.elapsed();
    eventually("threads as before", || threads() <= tasks);
    assert_eq!(descriptors(), fds);
    let grown = heap_bytes() - heap;
    println!("{cycles} nodes started, used and stopped: {elapsed:.2?}, heap {grown:+} bytes");
    assert!(
        grown < cycles as i64 * 16,
        "{grown} bytes leaked in {cycles} cycles"
    );
}
