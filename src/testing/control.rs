//! What a test does to the network and to nodes from outside.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::client::TestClient;
use super::node::TestNode;
use super::world::World;
use crate::error::Reason;
use crate::id::Pid;
use crate::simulation::net::{HostId, LinkOptions};

/// The network of a [`World`].
#[derive(Clone, Debug)]
pub struct NetControl(pub(super) World);

impl NetControl {
    fn hosts(&self, node: &TestNode) -> (HostId, HostId) {
        (self.0.host_of(node.index()), self.0.clients_host())
    }

    /// Lets nothing pass between two nodes, or between the clients of the test and a node, for a time.
    pub fn partition(&self, node: &TestNode, other: Option<&TestNode>, time: Duration) {
        let (one, clients) = self.hosts(node);
        let other = other.map_or(clients, |other| self.0.host_of(other.index()));
        self.0.cut_for(one, other, time);
    }

    /// Changes the link between two nodes, or between the clients of the test and a node.
    pub fn set_link(&self, node: &TestNode, other: Option<&TestNode>, link: LinkOptions) {
        let (one, clients) = self.hosts(node);
        let other = other.map_or(clients, |other| self.0.host_of(other.index()));
        self.0.0.net().set_link(one, other, link);
    }

    /// Lets everything between the clients of the test and a node take this long.
    pub fn delay(&self, node: &TestNode, latency: Duration) {
        let link = LinkOptions::default().with_latency(latency..=latency);
        self.set_link(node, None, link);
    }

    /// Resets a connection of a client of the test, in the network: both sides learn it now.
    pub fn cut(&self, client: &TestClient) {
        if let Some(number) = client.number() {
            self.0.0.net().cut_connection(number);
        }
    }

    /// Gives a name these addresses, for every node.
    pub fn set_name(&self, name: &str, addresses: Vec<IpAddr>) {
        self.0.0.net().set_name(name, addresses);
    }

    /// The host of a node answers nothing: it is switched off, or there again.
    pub fn set_silent(&self, node: &TestNode, is_silent: bool) {
        let (host, _) = self.hosts(node);
        self.0.0.net().set_silent(host, is_silent);
    }

    /// The address of a node for other nodes, with that port. `127.0.0.1` is each node itself, and for a client the
    /// node that it [belongs to](TestNode::connect).
    pub fn address_of(&self, node: &TestNode, port: u16) -> SocketAddr {
        let (host, _) = self.hosts(node);
        SocketAddr::new(self.0.0.net().address_of(host, false), port)
    }

    /// Connections of which one side is still open.
    pub fn open_connections(&self) -> usize {
        self.0.0.net().connections_open()
    }

    /// Descriptors that a node uses.
    pub fn descriptors(&self, node: &TestNode) -> usize {
        let (host, _) = self.hosts(node);
        self.0.0.net().descriptors(host)
    }
}

impl World {
    pub(super) fn cut_for(&self, one: HostId, other: HostId, time: Duration) {
        self.0.net().cut_link(one, other);
        self.later(one, time, move |net| net.mend_link(one, other));
    }

    pub(super) fn partition(&self, node: usize, time: Duration) {
        let (one, other) = (self.host_of(node), self.clients_host());
        self.cut_for(one, other, time);
    }

    pub(super) fn kill(&self, node: usize, process: usize) {
        let Some(core) = self.core(node) else { return };
        let pids = core.processes.pids();
        if !pids.is_empty() {
            let pid = pids[process % pids.len()];
            // It may have ended just now.
            let _ = core
                .processes
                .send_exit(Pid::NODE, pid.into(), Reason::Kill);
        }
    }

    pub(super) fn fail_accepts(&self, node: usize, accepts: usize) {
        let host = self.host_of(node);
        self.0
            .net()
            // What accept(2) reports for a connection that was reset in the backlog: the listener itself is in order.
            .fail_accepts(host, ErrorKind::ConnectionAborted, accepts);
    }

    pub(super) fn exhaust_descriptors(&self, node: usize, time: Duration) {
        let host = self.host_of(node);
        self.0.net().withhold_descriptors(host);
        self.later(host, time, move |net| net.release_descriptors(host));
    }
}
