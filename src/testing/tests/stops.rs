//! A node that stops while clients connect: every connection learns of the stop, whether it is spawned before it or in
//! it.

use std::time::Duration;

use super::{Echo, addr};
use crate::prelude::*;
use crate::record::Logger;
use crate::testing::*;

/// Clients that connect one after the other; the node stops among them.
const CLIENTS: u64 = 24;

/// One run.
pub(super) fn scenario(world: &World) {
    let options = NodeOptions::from("stops")
        .with_workers(2)
        .with_logger(Logger::none());
    let node = TestNode::start_with(world, options).expect("the options are right");
    node.spawn(|| Echo::at("127.0.0.1:7000")).expect("spawned");
    world.run_until_idle();
    let stops_at = world.draw(CLIENTS);
    let mut clients = Vec::new();
    for _ in 0..=stops_at {
        clients.push(node.connect(addr()));
        world.advance(Duration::from_micros(world.draw(60)));
    }
    // Some are on their way, some in the backlog, some accepted and not spawned yet.
    world.advance(Duration::from_micros(world.draw(500)));
    let began = world.now();
    let report = node.stop();
    let took = world.now() - began;
    assert!(took < Duration::from_secs(4), "a stop takes {took:?}");
    assert!(report.is_clean(), "{report}");
    world.run_until_idle();
    for client in &clients {
        assert!(client.end().is_some(), "a client is still connected");
    }
}

/// Latencies that spread the connects over the stop.
pub(super) fn options() -> WorldOptions {
    let link =
        LinkOptions::default().with_latency(Duration::from_micros(50)..=Duration::from_micros(800));
    let net = NetOptions::default().with_link(link);
    WorldOptions::default().with_net(net)
}

#[test]
fn stop_at_any_moment_ends_each_connection_at_once() {
    explore_with(&options(), 0..300, scenario);
}
