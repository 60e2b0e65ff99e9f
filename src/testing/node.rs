//! A node of a world.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use super::client::{TestClient, TestUdp};
use super::world::World;
use crate::error::{Reason, SendErrorKind};
use crate::id::{Alias, Pid};
use crate::meta::Readiness;
use crate::node::{Error, Node, NodeOptions};
use crate::scheduler::Task;
use crate::simulation::Site;

/// A whole node over virtual time and simulated sockets, of which one thread runs at a time. See [the module](super).
///
/// It dereferences to [`Node`], all of which works: what waits ([`Node::call`], [`Node::inspect`], [`Node::stop`]) runs
/// the world meanwhile. A drop stops the node.
#[derive(Debug)]
pub struct TestNode {
    // Dropped first: its stop runs the world.
    node: Node,
    world: World,
    site: Site,
    index: usize,
}

impl TestNode {
    /// A node in a world of its own.
    ///
    /// # Panics
    ///
    /// As [`TestNode::start`].
    pub fn seeded(seed: u64) -> Self {
        Self::start(&World::seeded(seed))
    }

    /// A node in that world, of two stripes.
    ///
    /// # Panics
    ///
    /// The operating system has no more descriptors: a simulated node takes one.
    pub fn start(world: &World) -> Self {
        let name = format!("node{}", world.nodes() + 1);
        let options = NodeOptions::from(name.as_str()).with_workers(2);
        Self::start_with(world, options).expect("the options are right")
    }

    /// The same, with options. The number of workers is that of the stripes; there are no threads.
    ///
    /// # Errors
    ///
    /// As [`Node::start`].
    pub fn start_with(world: &World, options: NodeOptions) -> Result<Self, Error> {
        let name = options.name.as_str();
        // The part before the `@` names the host, under which other nodes find its addresses.
        let name = name.split('@').next().unwrap_or(name).to_owned();
        let site = world.add_site(&name);
        let node = {
            let _at = site.enter();
            Node::start_simulated(options, site.clone())?
        };
        let index = world.add_node(&name, site.clone(), node.core().clone());
        Ok(Self {
            world: world.clone(),
            node,
            site,
            index,
        })
    }

    /// The world of the node.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The node, for what keeps a clone of it. It must stay on this thread.
    pub fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Runs code on the host of this node: sockets that it makes are the node's. Needed when a world has several nodes;
    /// outside of it the first one is meant. Actors and meta-processes always run on their own host.
    pub fn enter<R>(&self, code: impl FnOnce() -> R) -> R {
        let _at = self.site.enter();
        code()
    }

    // ---- Running, as of the world ----

    /// [`World::run_until_idle`].
    pub fn run_until_idle(&self) {
        self.world.run_until_idle();
    }

    /// [`World::advance`].
    pub fn advance(&self, time: Duration) {
        self.world.advance(time);
    }

    /// [`World::run_until`].
    #[track_caller]
    pub fn run_until(&self, condition: impl FnMut() -> bool) {
        self.world.run_until(condition);
    }

    // ---- Clients ----

    /// Begins to connect to a listener of this node, from a host of its own. Loopback addresses are those of the node.
    pub fn connect(&self, addr: SocketAddr) -> TestClient {
        let site = self.world.client_site(self.site.host);
        TestClient::connect(&self.world, &site, addr)
    }

    /// Connects to a Unix listener of this node.
    #[cfg(unix)]
    pub fn connect_unix(&self, path: impl AsRef<std::path::Path>) -> TestClient {
        let site = self.world.client_site(self.site.host);
        TestClient::connect_unix(&self.world, &site, path.as_ref())
    }

    /// A datagram socket on the host of this node.
    ///
    /// # Errors
    ///
    /// The host has no more ports or descriptors.
    pub fn udp(&self) -> std::io::Result<TestUdp> {
        let mut site = self.world.client_site(self.site.host);
        // On the host of the node, but with the poll of the clients, which the node does not look at.
        site.host = self.site.host;
        TestUdp::bind(&self.world, &site)
    }

    // ---- Faults ----

    /// Ends a process at once, as a crash would.
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub fn crash(&self, pid: Pid) -> Result<(), SendErrorKind> {
        self.node.send_exit(pid, Reason::Kill)
    }

    /// Keeps a process from running: what it is sent waits in its mailbox, until that is full.
    pub fn hold(&self, pid: Pid) {
        self.world
            .hold(self.index, Task::process(pid.index()), true);
    }

    /// Lets a process run that was held.
    pub fn release(&self, pid: Pid) {
        self.world
            .hold(self.index, Task::process(pid.index()), false);
    }

    /// Lets the node do nothing for a time, as a process that was stopped by SIGSTOP. The network goes on.
    pub fn pause(&self, time: Duration) {
        self.world.pause(self.index, time);
    }

    // ---- Sources of one's own ----

    /// Whether a meta-process has registered a source of its own. On a simulated node that is only recorded.
    pub fn is_registered(&self, alias: Alias) -> bool {
        let registered = &self.node.core().io.services.registered;
        registered
            .as_ref()
            .is_some_and(|registered| registered.lock().contains(&alias.to_bits()))
    }

    /// Calls [`MetaProcess::ready`](crate::MetaProcess::ready) of a meta-process that has registered a source of its
    /// own.
    pub fn set_ready(&self, alias: Alias, readiness: Readiness) {
        if self.is_registered(alias) {
            self.node.core().io.set_ready(alias, readiness);
        }
    }
}

impl Deref for TestNode {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}
