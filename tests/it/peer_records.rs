//! What peers do makes at most ten records of a kind in a second, and each that is left out is counted.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use longshore::prelude::*;
use longshore::{Level, Record};

use crate::support::*;

/// Times that each peer does what it does: 300, or as many as the environment says.
fn times() -> usize {
    let times = std::env::var("LONGSHORE_PEER_TIMES");
    times.map_or(300, |times| times.parse().expect("a number"))
}

/// A node whose records come to the test, those of level `Debug` too.
fn recording() -> (Node, Receiver<Record>) {
    let (sender, records) = mpsc::channel();
    let options = NodeOptions::from("test@localhost")
        .with_workers(2)
        .with_logger(move |record: &Record| drop(sender.send(record.clone())))
        .with_log_level(Level::Debug);
    (node_with(options), records)
}

/// A listener, its owner and what a peer does to it.
struct Behavior {
    name: &'static str,
    options: fn() -> TcpServerOptions,
    peer: fn(SocketAddr),
}

/// Sends something, and waits for the end whatever it is.
fn send_and_hear(addr: SocketAddr, bytes: &[u8]) {
    // The other side may be gone already.
    let Ok(mut stream) = std::net::TcpStream::connect(addr) else {
        return;
    };
    drop(stream.set_read_timeout(Some(LIMIT)));
    drop(stream.write_all(bytes));
    drop(stream.shutdown(std::net::Shutdown::Write));
    drop(read_out(&mut stream));
}

#[cfg(feature = "tls")]
fn tls() -> TcpServerOptions {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("made");
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certs = longshore::tls::CertManager::from_pem(chain, key).expect("a pair");
    TcpServerOptions::default().with_cert_manager(certs)
}

fn behaviors() -> Vec<Behavior> {
    vec![
        Behavior {
            name: "connects while no process of the pool lives",
            options: || TcpServerOptions::default().with_process_pool(["absent"]),
            peer: |addr| send_and_hear(addr, b""),
        },
        #[cfg(feature = "tls")]
        Behavior {
            name: "speaks no TLS",
            options: tls,
            peer: |addr| send_and_hear(addr, b"GET / HTTP/1.1\r\n\r\n"),
        },
        #[cfg(feature = "tls")]
        Behavior {
            name: "hangs up in the handshake",
            options: tls,
            peer: |addr| reset(client(addr)),
        },
        Behavior {
            name: "sends bad frames",
            options: || {
                TcpServerOptions::default().with_framing(Framing::lines().with_max_length(8))
            },
            peer: |addr| send_and_hear(addr, &[b'x'; 100]),
        },
        Behavior {
            name: "sends bad PROXY headers",
            options: || {
                let trusted = longshore::IpNetwork::from(std::net::IpAddr::from([127, 0, 0, 1]));
                let proxy = longshore::ProxyProtocol::required([trusted]);
                TcpServerOptions::default().with_proxy_protocol(proxy)
            },
            peer: |addr| send_and_hear(addr, b"PROXY TCP4 what\r\n"),
        },
        Behavior {
            name: "is no trusted proxy",
            options: || {
                let trusted = longshore::IpNetwork::from(std::net::IpAddr::from([192, 0, 2, 1]));
                let proxy = longshore::ProxyProtocol::required([trusted]);
                TcpServerOptions::default().with_proxy_protocol(proxy)
            },
            peer: |addr| send_and_hear(addr, b"x"),
        },
        Behavior {
            name: "is refused by a limit",
            options: || TcpServerOptions::default().with_max_connections_per_ip(1),
            peer: |addr| {
                let held = client(addr);
                send_and_hear(addr, b"");
                drop(held);
            },
        },
        Behavior {
            name: "resets",
            options: TcpServerOptions::default,
            peer: |addr| {
                let mut stream = client(addr);
                stream.write_all(b"x").expect("written");
                reset(stream);
            },
        },
    ]
}

/// An owner that ignores everything.
struct Indifferent(mpsc::Sender<SocketAddr>, TcpServerOptions);

impl Actor for Indifferent {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let server = TcpServer::bind(self.1.clone().with_host("127.0.0.1"))?;
        self.0.send(server.local_addr())?;
        cx.spawn_meta(server)?;
        Ok(())
    }
}

#[test]
fn no_peer_makes_more_than_ten_records_of_a_kind_in_a_second() {
    for behavior in behaviors() {
        let name = behavior.name;
        let (node, records) = recording();
        let (sender, addr) = mpsc::channel();
        let options = (behavior.options)();
        node.spawn(move || Indifferent(sender, options))
            .expect(name);
        let addr = value_of(&addr).expect(name);
        let begun = Instant::now();
        for _ in 0..times() {
            (behavior.peer)(addr);
        }
        // The listener alone is left.
        wait_for_count(&node, "meta_processes", 1);
        let _ = node.stop();
        // The first one may share its second with the end of another.
        let most = 10 * (begun.elapsed().as_secs() + 2);
        let mut kinds = std::collections::BTreeMap::new();
        for record in records.try_iter() {
            *kinds.entry(record.kind).or_insert(0) += 1;
        }
        for (kind, made) in &kinds {
            assert!(*made <= most, "{name}: {made} records of {kind}");
        }
        let made: u64 = kinds
            .iter()
            .filter(|(kind, _)| **kind != "left_out")
            .map(|(_, made)| made)
            .sum();
        let left_out = count(&node, "records_left_out");
        println!("{name}: {kinds:?}, {left_out} left out");
        if made > most / 2 {
            assert!(
                made + left_out >= times() as u64,
                "{name}: some are not counted"
            );
        }
    }
}
