//! The same tests on simulated nodes: while [`run`] runs a test, its nodes, clients and waits are those of a [`World`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use longshore::testing::{
    ClientEnd, LinkOptions, NetOptions, TestClient, TestNode, TestUdp, World, WorldOptions,
};
use longshore::{Node, NodeOptions, Pid};

use super::LIMIT;

/// Seeds with which each test runs.
const SEEDS: std::ops::Range<u64> = 1..4;

thread_local! {
    /// The world of the test that runs on this thread, its nodes and its clients.
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

struct Here {
    clients: BTreeMap<u64, TestClient>,
    sockets: BTreeMap<u64, TestUdp>,
    nodes: Vec<TestNode>,
    world: World,
    next: u64,
}

/// Leaves the world when it is dropped, by a panic of the test too.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // The nodes stop while the world is still here.
        let here = HERE.take();
        drop(here);
    }
}

/// Runs a test on simulated nodes, with several seeds.
pub fn run(test: impl Fn()) {
    for seed in SEEDS {
        // Datagrams stay in order, as on loopback.
        let latency = Duration::from_micros(200);
        let link = LinkOptions::default().with_latency(latency..=latency);
        let net = NetOptions::default().with_link(link);
        let world = World::with(seed, WorldOptions::default().with_net(net));
        world.set_trace(false);
        HERE.set(Some(Here {
            clients: BTreeMap::new(),
            sockets: BTreeMap::new(),
            nodes: Vec::new(),
            world,
            next: 0,
        }));
        let leave = Leave;
        println!("seed {seed}");
        test();
        assert!(with(|here| !here.nodes.is_empty()), "no node is simulated");
        drop(leave);
    }
}

/// Whether the test of this thread runs on simulated nodes.
pub fn is_on() -> bool {
    HERE.try_with(|here| here.try_borrow().map_or(true, |here| here.is_some()))
        .unwrap_or(false)
}

fn with<R>(call: impl FnOnce(&mut Here) -> R) -> R {
    HERE.with_borrow_mut(|here| call(here.as_mut().expect("a world")))
}

fn world() -> World {
    with(|here| here.world.clone())
}

/// A node in the world of this test.
pub fn node(options: NodeOptions) -> Node {
    let node = TestNode::start_with(&world(), options).expect("the node starts");
    let clone = node.node().clone();
    with(|here| here.nodes.push(node));
    clone
}

/// Makes sockets on the host of the newest node, which is also the one that clients connect to.
pub fn at_node<R>(make: impl FnOnce() -> R) -> R {
    with(|here| here.nodes.last().expect("a node").enter(make))
}

/// Time since the start of the world.
pub fn now() -> Duration {
    world().now()
}

/// Lets time pass.
pub fn pass(time: Duration) {
    world().advance(time);
}

/// Runs until the condition holds, within the limit. Returns whether it holds.
pub fn run_until(condition: impl FnMut() -> bool) -> bool {
    world().run_for(LIMIT, condition)
}

/// The next value of a channel.
pub fn value<T>(channel: &Receiver<T>) -> Result<T, RecvTimeoutError> {
    let mut value = Err(RecvTimeoutError::Timeout);
    run_until(|| match channel.try_recv() {
        Ok(got) => {
            value = Ok(got);
            true
        }
        Err(TryRecvError::Empty) => false,
        Err(TryRecvError::Disconnected) => {
            value = Err(RecvTimeoutError::Disconnected);
            true
        }
    });
    value
}

/// Keeps a process from running, or lets it run again.
pub fn hold(node: &Node, pid: Pid, is_held: bool) {
    let name = node.name().to_string();
    with(|here| {
        let is_meant = |other: &&TestNode| *other.node().name() == *name;
        let node = here.nodes.iter().rfind(is_meant);
        let node = node.expect("a node of this world");
        if is_held {
            node.hold(pid);
        } else {
            node.release(pid);
        }
    });
}

// ---- Clients ----

/// A client of the world of this test. A drop closes it.
#[derive(Debug)]
pub struct ClientId(u64);

impl Drop for ClientId {
    fn drop(&mut self) {
        let client = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            here.as_mut().and_then(|here| here.clients.remove(&self.0))
        });
        drop(client);
    }
}

pub fn connect(addr: SocketAddr) -> std::io::Result<ClientId> {
    let id = with(|here| {
        here.next += 1;
        let client = here.nodes.last().expect("a node").connect(addr);
        here.clients.insert(here.next, client);
        ClientId(here.next)
    });
    // std's connect returns when the connection is there.
    run_until(|| id.with(|client| client.is_connected() || client.end().is_some()));
    match id.with(TestClient::end) {
        Some(ClientEnd::Failed(kind)) => Err(kind.into()),
        _ if id.with(TestClient::is_connected) => {
            // What the test does not read stays in the buffers of the network, as in a kernel.
            id.with(TestClient::stop_reading);
            Ok(id)
        }
        _ => Err(ErrorKind::TimedOut.into()),
    }
}

impl ClientId {
    fn with<R>(&self, call: impl FnOnce(&TestClient) -> R) -> R {
        with(|here| call(&here.clients[&self.0]))
    }

    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.with(TestClient::local_addr)
    }

    pub fn half_close(&self) {
        self.with(TestClient::half_close);
    }

    pub fn reset(self) {
        self.with(TestClient::reset);
    }

    /// Takes all bytes; without `waits` none, if earlier ones still wait for the connection.
    pub fn write(&self, bytes: &[u8], waits: bool) -> std::io::Result<usize> {
        if let Some(ClientEnd::Failed(kind)) = self.with(TestClient::end) {
            return Err(kind.into());
        }
        if waits {
            self.with(|client| client.write(bytes));
            return match run_until(|| self.with(TestClient::unwritten) == 0) {
                true => Ok(bytes.len()),
                false => Err(ErrorKind::WouldBlock.into()),
            };
        }
        pass(Duration::from_millis(1));
        if self.with(TestClient::unwritten) > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.with(|client| client.write(bytes));
        Ok(bytes.len())
    }

    pub fn read(&self, into: &mut [u8], waits: bool) -> std::io::Result<usize> {
        let has_more = || self.with(|client| client.available() > 0 || client.end().is_some());
        self.with(TestClient::resume_reading);
        if waits {
            run_until(has_more);
        }
        self.with(TestClient::stop_reading);
        let (available, end) = self.with(|client| (client.available(), client.end()));
        match (available, end) {
            (0, Some(ClientEnd::Failed(kind))) => Err(Error::from(kind)),
            (0, Some(_)) => Ok(0),
            (0, None) => Err(ErrorKind::WouldBlock.into()),
            (available, _) => {
                let length = available.min(into.len());
                // They are there, so this runs nothing.
                let bytes = self.with(|client| client.read(length));
                into[..length].copy_from_slice(&bytes);
                Ok(length)
            }
        }
    }
}

/// A datagram socket of the world of this test.
#[derive(Debug)]
pub struct UdpId(u64);

pub fn udp() -> UdpId {
    with(|here| {
        here.next += 1;
        let socket = here.nodes.last().expect("a node").udp();
        here.sockets.insert(here.next, socket.expect("a socket"));
        UdpId(here.next)
    })
}

impl UdpId {
    pub fn local_addr(&self) -> SocketAddr {
        with(|here| here.sockets[&self.0].local_addr())
    }

    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> std::io::Result<usize> {
        with(|here| here.sockets[&self.0].send_to(data, to))?;
        Ok(data.len())
    }

    pub fn receive(&self, into: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
        let mut received = None;
        run_until(|| {
            received = with(|here| here.sockets[&self.0].try_receive());
            received.is_some()
        });
        let (data, from) = received.ok_or(ErrorKind::WouldBlock)?;
        let length = data.len().min(into.len());
        into[..length].copy_from_slice(&data[..length]);
        Ok((length, from))
    }
}
