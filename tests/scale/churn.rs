//! Connections that open and close.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{
    Forget, Owner, Until, alone, books, books_until, connect, descriptors, descriptors_allowed,
    eventually, heap_bytes, node, reset, round_trip, scaled,
};

/// Connections of one burst.
const BURST: usize = 250;

#[test]
fn two_hundred_thousand_connections_leave_nothing_behind() {
    let _turn = alone();
    let half = scaled(100_000, 5_000);
    if !descriptors_allowed(4 * BURST as u64 + 200) {
        return;
    }
    let node = node(4);
    let owner = node.spawn(Owner::new).unwrap();
    // An idle timeout gives every connection a timer.
    let limits = TcpLimits::default().with_idle_timeout(Duration::from_secs(600));
    let server =
        TcpServer::bind(TcpServerOptions::from("127.0.0.1:0").with_limits(limits)).unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    // Warm up: lazy structures, and as many slots as a burst needs.
    burst(address, 2 * BURST, 0);
    let counts = books_until(&node, &[owner], Until::Disconnected(2 * BURST as u64));
    eventually("only the listener is left", || {
        node.metrics().get("longshore_meta_processes") == Some(1)
    });
    node.send(owner, Forget).unwrap();
    books(&node, &[owner]);
    let (fds, heap) = (descriptors(), heap_bytes());
    let held = |node: &Node| {
        ["processes", "meta_processes", "timers", "buffers"]
            .map(|name| node.metrics().get(&format!("longshore_{name}")))
    };
    let before = held(&node);

    let start = Instant::now();
    let bursts = std::thread::spawn(move || {
        for first in (0..half).step_by(BURST) {
            burst(address, BURST.min(half - first), first);
        }
    });
    for number in 0..half {
        let mut stream = connect(address);
        use_and_close(&mut stream, number);
        close(stream, number);
    }
    bursts.join().unwrap();
    let elapsed = start.elapsed();

    let all = counts.connected + 2 * half as u64;
    let books = books_until(&node, &[owner], Until::Disconnected(all));
    assert_eq!(
        books.wrong, None,
        "an alias repeats, or a message came at the wrong time"
    );
    assert_eq!((books.connected, books.open), (all, 0));
    eventually("only the listener is left", || {
        node.metrics().get("longshore_meta_processes") == Some(1)
    });
    node.send(owner, Forget).unwrap();
    assert_eq!(held(&node), before);
    assert_eq!(descriptors(), fds);
    eventually(
        "the heap is as before, but for what the queues keep",
        || heap_bytes() - heap < 256 * 1024,
    );
    println!(
        "{} connections opened and closed, half of them in bursts of {BURST}: {elapsed:.2?}, {:.0}/s, heap {:+} bytes",
        2 * half,
        2.0 * half as f64 / elapsed.as_secs_f64(),
        heap_bytes() - heap
    );
    assert!(node.stop().is_clean());
}

fn burst(address: SocketAddr, count: usize, first: usize) {
    let mut streams: Vec<_> = (0..count).map(|_| connect(address)).collect();
    for (index, stream) in streams.iter_mut().enumerate() {
        use_and_close(stream, first + index);
    }
    for (index, stream) in streams.into_iter().enumerate() {
        close(stream, first + index);
    }
}

/// Every fourth connection is used.
fn use_and_close(stream: &mut TcpStream, number: usize) {
    if number.is_multiple_of(4) {
        round_trip(stream, b"sixteen bytes ok");
    }
}

/// Every tenth connection is closed in order, the others are reset.
fn close(stream: TcpStream, number: usize) {
    if number.is_multiple_of(10) {
        drop(stream)
    } else {
        reset(stream)
    }
}
