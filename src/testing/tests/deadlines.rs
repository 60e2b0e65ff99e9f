//! A node that stands still for longer than its deadlines, as one that was stopped by a signal: no connection ends that
//! its peer has kept alive meanwhile, because what has arrived is read before a deadline is judged.

use super::Handled;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::prelude::*;
use crate::testing::*;
use crate::{TcpConnectionOptions, TcpLimits};

/// The deadlines: idle, frame, write, close, connect, linger, keep-alive, handshake.
const KINDS: u64 = 8;
/// What is written after a time without writes.
const KEEP_ALIVE: &[u8] = b"here";
/// Each of them.
const DEADLINE: Duration = Duration::from_millis(500);
/// How long the node stands still.
const PAUSE: Duration = Duration::from_secs(2);

fn addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000))
}

type Ends = Arc<Mutex<Vec<DisconnectReason>>>;

/// Answers a line `block` with bytes, `close` and `linger` with bytes and a close.
struct Server {
    options: TcpServerOptions,
    ends: Ends,
}

impl Actor for Server {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.spawn_meta(TcpServer::bind(self.options.clone())?)?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::Tcp(packet) if &packet.data[..] == b"block" => {
                cx.write(packet.id, vec![1; 100_000]);
            }
            Message::Tcp(packet) if &packet.data[..] == b"close" => {
                cx.write(packet.id, vec![1; 15_000]);
                cx.close(packet.id)?;
            }
            Message::Tcp(packet) if &packet.data[..] == b"linger" => {
                cx.write(packet.id, vec![1; 3_000]);
                cx.close(packet.id)?;
            }
            Message::TcpDisconnect(end) => {
                self.ends.lock().expect("no panic").push(end.reason);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Small buffers, so that output waits in the connection.
pub(super) fn options() -> WorldOptions {
    WorldOptions::default().with_net(NetOptions::default().with_buffers(6_000, 6_000))
}

/// One run; the seed chooses the deadline.
pub(super) fn scenario(world: &World) {
    let kind = world.seed() % KINDS;
    let limits = TcpLimits::default();
    let limits = match kind {
        0 => limits.with_idle_timeout(DEADLINE),
        1 => limits.with_frame_timeout(DEADLINE),
        2 => limits.with_write_timeout(DEADLINE),
        3 => limits.with_close_timeout(DEADLINE),
        4 => return connects_late(world),
        5 => limits.with_linger_timeout(DEADLINE),
        6 => limits,
        _ => return shakes_hands_late(world),
    };
    let node = TestNode::start(world);
    let ends = Ends::default();
    let mut options = TcpServerOptions::from(addr())
        .with_framing(Framing::Lines { max_length: 512 })
        .with_limits(limits);
    if kind == 6 {
        options = options.with_write_keep_alive((DEADLINE, KEEP_ALIVE.to_vec()));
    }
    let server = Server {
        options,
        ends: Arc::clone(&ends),
    };
    node.spawn(|| server).expect("spawned");
    let clients: Vec<TestClient> = (0..5).map(|_| node.connect(addr())).collect();
    for client in &clients {
        begin(kind, client);
    }
    world.advance(Duration::from_millis(20 + world.draw(200)));
    for client in &clients {
        client.write(b"x");
    }
    world.advance(Duration::from_millis(5));
    node.pause(PAUSE);
    world.advance(Duration::from_millis(world.draw(300)));
    for client in &clients {
        keep_alive(kind, client);
    }
    world.advance(PAUSE + Duration::from_millis(100));
    let ends = ends.lock().expect("no panic").clone();
    for client in &clients {
        match kind {
            3 | 5 => {
                let length = if kind == 3 { 15_000 } else { 3_000 };
                client.resume_reading();
                let (bytes, end) = client.read_to_end();
                assert_eq!((bytes.len(), end), (length, ClientEnd::Closed));
            }
            // Once for all the periods that have passed.
            6 => assert_eq!(client.take_received(), KEEP_ALIVE),
            _ => assert!(ends.is_empty(), "deadline {kind}: {ends:?}"),
        }
    }
}

/// What a client does before the node stands still.
fn begin(kind: u64, client: &TestClient) {
    match kind {
        0 => client.write(b"hello\n"),
        1 => client.write(b"half of a li"),
        2 => {
            client.stop_reading();
            client.write(b"block\n");
        }
        // More than one read of it is not there when the deadline is judged.
        5 => {
            client.stop_reading();
            client.write(b"linger\n");
        }
        6 => {}
        _ => {
            client.stop_reading();
            client.write(b"close\n");
        }
    }
}

/// What it does meanwhile, so that its connection must not end.
fn keep_alive(kind: u64, client: &TestClient) {
    match kind {
        0 => client.write(b"hello\n"),
        1 => client.write(b"ne\n"),
        // A peer that still sends is waited for.
        5 => client.write(b"and more\n"),
        6 => {}
        _ => client.resume_reading(),
    }
}

/// The answer to a connect comes while the node stands still.
fn connects_late(world: &World) {
    struct Dial(SocketAddr, Arc<Mutex<Vec<String>>>);
    impl Actor for Dial {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            let options = TcpConnectionOptions::from(self.0).with_connect_timeout(DEADLINE);
            cx.spawn_meta(TcpConnection::connect(options)?)?;
            Ok(())
        }

        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            let seen = match message {
                Message::TcpConnect(_) => "connected".to_owned(),
                other => format!("{other:?}"),
            };
            self.1.lock().expect("no panic").push(seen);
            Ok(())
        }
    }
    let (server, client) = (TestNode::start(world), TestNode::start(world));
    let options = TcpServerOptions::from("0.0.0.0:7000");
    let ends = Ends::default();
    server.spawn(|| Server { options, ends }).expect("spawned");
    let latency = Duration::from_millis(150);
    let link = LinkOptions::default().with_latency(latency..=latency);
    world.net().set_link(&server, Some(&client), link);
    let to = world.net().address_of(&server, 7_000);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let dial = Dial(to, Arc::clone(&seen));
    client.spawn(|| dial).expect("spawned");
    world.advance(Duration::from_millis(10 + world.draw(200)));
    client.pause(PAUSE);
    world.advance(PAUSE + Duration::from_millis(100));
    assert_eq!(*seen.lock().expect("no panic"), ["connected"]);
}

/// The peer answers the server's part of a TLS handshake while the node stands still.
#[cfg(feature = "tls")]
fn shakes_hands_late(world: &World) {
    use super::tls::{Peer, certificate};
    let node = TestNode::start(world);
    let ends = Ends::default();
    let (certs, roots) = certificate();
    let limits = TcpLimits::default()
        .with_handshake_timeout(DEADLINE)
        .with_first_byte_timeout(DEADLINE);
    let server = Server {
        options: TcpServerOptions::from(addr())
            .with_limits(limits)
            .with_cert_manager(certs),
        ends: Arc::clone(&ends),
    };
    node.spawn(|| server).expect("spawned");
    let mut peers: Vec<Peer> = (0..5)
        .map(|_| Peer::new(node.connect(addr()), &roots))
        .collect();
    // Some have had the answer to their hello by then, some have not sent it.
    world.advance(Duration::from_millis(world.draw(3)));
    for peer in peers.iter_mut().step_by(2) {
        peer.pump();
    }
    world.advance(Duration::from_millis(20 + world.draw(200)));
    node.pause(PAUSE);
    world.advance(Duration::from_millis(world.draw(300)));
    for peer in &mut peers {
        peer.pump();
    }
    for _ in 0..10 {
        world.advance(PAUSE / 8);
        peers.iter_mut().for_each(Peer::pump);
    }
    let ends = ends.lock().expect("no panic").clone();
    assert!(ends.is_empty(), "{ends:?}");
    assert!(peers.iter().all(|peer| !peer.is_handshaking()));
}

#[cfg(not(feature = "tls"))]
fn shakes_hands_late(_: &World) {}

#[test]
fn node_that_stood_still_ends_no_live_connection() {
    explore_with(&options(), 0..KINDS * 20, scenario);
}
