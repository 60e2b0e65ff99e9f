//! Many connections at once. The clients run in a process of their own, because both ends of all connections take more
//! descriptors than most systems allow one process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use longshore::prelude::*;

use crate::support::{
    Owner, Until, alone, books_until, connect, descriptors_allowed, eventually, frames, node,
    scaled,
};

/// Sends the client process an order.
const ORDERS: &str = "LONGSHORE_SCALE_CROWD";
const OWNERS: [&str; 4] = ["owner1", "owner2", "owner3", "owner4"];
/// Frames in flight on one connection at once.
const PIPELINE: usize = 5;

#[test]
fn ten_thousand_connections_keep_every_byte_in_order() {
    let _turn = alone();
    let (connections, rounds) = scaled((10_000, 20), (1_000, 4));
    if !descriptors_allowed(connections as u64 + 200) {
        return;
    }
    let messages = (connections * rounds * PIPELINE) as u64;
    let node = node(4);
    let owners: Vec<Pid> = OWNERS
        .iter()
        .map(|name| node.spawn(|| Owner::numbered(name)).unwrap())
        .collect();
    let options = TcpServerOptions::from("127.0.0.1:0")
        .with_process_pool(OWNERS)
        .with_framing(frames());
    let server = TcpServer::bind(options).unwrap();
    let address = server.local_addr();
    let parent = node.spawn(Owner::new).unwrap();
    node.send(parent, server).unwrap();

    let mut clients = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crowd::clients", "--ignored", "--nocapture"])
        .env(ORDERS, format!("{address} {connections} {rounds}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(clients.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains("all open")),
        "the clients failed"
    );
    // The owners get the connections round robin, each the same number.
    let share = connections / OWNERS.len();
    books_until(&node, &owners, Until::Open(share));
    assert_eq!(
        node.metrics().get("longshore_meta_processes"),
        Some(connections as u64 + 1)
    );
    let start = Instant::now();
    clients.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(
        lines.any(|line| line.unwrap().contains("all compared")),
        "the clients failed"
    );
    let elapsed = start.elapsed();
    assert!(clients.wait().unwrap().success());
    let books = books_until(&node, &owners, Until::Disconnected(share as u64));
    assert_eq!(books.wrong, None);
    assert_eq!(books.connected, connections as u64);
    assert_eq!(books.messages, messages);
    eventually("only the listener is left", || {
        node.metrics().get("longshore_meta_processes") == Some(1)
    });
    // One buffer of each stripe is for reading.
    assert!(
        node.metrics().get("longshore_buffers").unwrap() <= 4,
        "{}",
        node.metrics()
    );
    assert!(node.stop().is_clean());
    println!(
        "{connections} connections at once, {messages} messages, every byte compared: {elapsed:.2?}, {:.0} messages/s",
        messages as f64 / elapsed.as_secs_f64()
    );
}

/// Opens the connections, waits for an order, sends and compares.
#[test]
#[ignore = "the other process of the test above"]
fn clients() {
    let Ok(orders) = std::env::var(ORDERS) else {
        return;
    };
    let orders: Vec<&str> = orders.split(' ').collect();
    let address: SocketAddr = orders[0].parse().unwrap();
    let (connections, rounds): (usize, usize) =
        (orders[1].parse().unwrap(), orders[2].parse().unwrap());
    assert!(descriptors_allowed(connections as u64 + 200));
    let mut streams: Vec<TcpStream> = (0..connections).map(|_| connect(address)).collect();
    println!("all open");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let shares = streams.chunks_mut(connections.div_ceil(4));
    std::thread::scope(|scope| {
        for (index, share) in shares.enumerate() {
            scope.spawn(move || drive(share, index * connections.div_ceil(4), rounds));
        }
    });
    println!("all compared");
}

fn drive(streams: &mut [TcpStream], first: usize, rounds: usize) {
    let mut expected = Vec::new();
    let mut back = Vec::new();
    for round in 0..rounds {
        for (index, stream) in streams.iter_mut().enumerate() {
            batch(first + index, round, &mut expected);
            stream.write_all(&expected).unwrap();
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            batch(first + index, round, &mut expected);
            back.resize(expected.len(), 0);
            stream.read_exact(&mut back).unwrap();
            assert!(
                back == expected,
                "connection {}, round {round}: other bytes came back",
                first + index
            );
        }
    }
}

/// The frames of a connection in one round: length, connection, number, and bytes that depend on all of them.
fn batch(connection: usize, round: usize, bytes: &mut Vec<u8>) {
    bytes.clear();
    for number in round * PIPELINE..(round + 1) * PIPELINE {
        let mut random = fastrand::Rng::with_seed(((connection as u64) << 32 | number as u64) + 1);
        let filler = random.u64(..200) as usize;
        bytes.extend_from_slice(&(8 + filler as u16).to_be_bytes());
        bytes.extend_from_slice(&(connection as u32).to_be_bytes());
        bytes.extend_from_slice(&(number as u32).to_be_bytes());
        bytes.extend((0..filler).map(|_| random.u8(..)));
    }
}
