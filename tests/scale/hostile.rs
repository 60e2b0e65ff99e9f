//! What a peer that means harm can make a node hold, at the default limits. The figures stand in the guide, on the page
//! "What a hostile peer can and cannot do".

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{Owner, Until, alone, books_until, connect, heap_bytes, node};

const PEERS: usize = 50;

/// Bytes of heap for each of the peers once `attack` has done to each what it does, when they have stayed the same for a
/// while.
fn bytes_per_peer(what: &str, framing: Framing, attack: impl Fn(&mut TcpStream)) -> i64 {
    let _turn = alone();
    let node = node(2);
    let owner = node.spawn(Owner::new).unwrap();
    let options = TcpServerOptions::from("127.0.0.1:0").with_framing(framing);
    let server = TcpServer::bind(options).unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    // The tables have their first entries.
    let warm: Vec<TcpStream> = (0..PEERS).map(|_| connect(address)).collect();
    books_until(&node, &[owner], Until::Open(PEERS));
    let before = heap_bytes();
    let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| connect(address)).collect();
    for peer in &mut peers {
        peer.set_write_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        attack(peer);
    }
    let own = (PEERS * size_of::<TcpStream>()) as i64;
    let bytes = (settled() - before - own) / PEERS as i64;
    println!("{what}: {bytes} bytes for each peer");
    peers
        .into_iter()
        .chain(warm)
        .for_each(crate::support::reset);
    node.send_exit(owner, Reason::Kill).unwrap();
    node.stop();
    bytes
}

/// The heap when it has not changed for half a second.
fn settled() -> i64 {
    let (mut heap, mut since) = (heap_bytes(), Instant::now());
    let end = Instant::now() + Duration::from_secs(20);
    while since.elapsed() < Duration::from_millis(500) && Instant::now() < end {
        std::thread::yield_now();
        let now = heap_bytes();
        if (now - heap).abs() > 4096 {
            (heap, since) = (now, Instant::now());
        }
    }
    heap_bytes()
}

/// Writes until the socket takes no more.
fn write_all_it_takes(peer: &mut TcpStream, bytes: &[u8]) {
    while peer.write_all(bytes).is_ok() {}
}

#[test]
fn peer_that_reads_no_answers_costs_no_more_than_the_high_mark_and_its_window() {
    let bytes = bytes_per_peer("reads nothing", Framing::Raw, |peer| {
        write_all_it_takes(peer, &[7; 64 << 10]);
    });
    // 256 KiB of output, as much input on its way to the owner, one read, and what the pool rounds up.
    assert!(bytes < 3 * (256 << 10), "{bytes}");
}

#[test]
fn peer_with_a_line_without_end_costs_no_more_than_the_longest_line() {
    // A byte more than fits would end it.
    let bytes = bytes_per_peer("a line without end", Framing::lines(), |peer| {
        peer.set_write_timeout(None).unwrap();
        peer.write_all(&vec![7; 60 << 10]).unwrap();
    });
    assert!(bytes < 3 * (60 << 10), "{bytes}");
}

#[test]
fn peer_with_half_a_line_costs_what_it_has_sent() {
    let bytes = bytes_per_peer("half a line of 1,000 bytes", Framing::lines(), |peer| {
        peer.write_all(&[7; 1_000]).unwrap();
    });
    assert!(bytes < 4_000, "{bytes}");
}
