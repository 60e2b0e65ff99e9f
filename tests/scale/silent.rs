//! Peers of a TLS listener that say nothing, in front of those that do.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::tls::{handshake, pair as tls_pair};
use crate::support::{Owner, alone, connect, descriptors_allowed, eventually, node, scaled};

/// Handshakes of good clients, one after the other.
const HANDSHAKES: usize = 300;
/// The slowest of a hundred. Before silent peers gave way it was seconds: their places were taken for the whole
/// handshake timeout.
const BOUND: Duration = scaled(Duration::from_millis(100), Duration::from_secs(1));

/// With the default limits: 9,000 silent sockets are more than twice as many as there are places, and those that are
/// ended are replaced.
#[test]
fn silent_peers_do_not_keep_new_tls_clients_out() {
    let _turn = alone();
    let silent = scaled(9_000, 5_000);
    if !descriptors_allowed(2 * silent as u64 + 500) {
        return;
    }
    let (certs, config) = tls_pair();
    let node = node(2);
    let owner = node.spawn(Owner::new).unwrap();
    let options = TcpServerOptions::from("127.0.0.1:0").with_cert_manager(certs);
    let server = TcpServer::bind(options).unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();

    let mut sockets: Vec<TcpStream> = (0..silent).map(|_| connect(address)).collect();
    let mut times = Vec::new();
    for round in 0..HANDSHAKES {
        // Nine others come with each good client.
        for place in 0..9 {
            sockets[(round * 9 + place) % silent] = connect(address);
        }
        let begun = Instant::now();
        handshake(&mut connect(address), &config);
        times.push(begun.elapsed());
    }
    times.sort();
    let (half, most) = (times[HANDSHAKES / 2], times[HANDSHAKES * 99 / 100]);
    println!("{silent} silent peers: a new handshake takes {half:?}, p99 {most:?}");
    assert!(most < BOUND, "p99 is {most:?}");
    drop(sockets);
    let report = node.stop();
    assert!(report.is_clean(), "{report}");
    eventually("the descriptors are closed", || {
        crate::support::descriptors() < 200
    });
}
