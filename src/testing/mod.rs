//! Testing a service: whole nodes over virtual time and simulated sockets, one thread at a time.
//!
//! A [`TestNode`] is the *same* node as [`Node`](crate::Node): its processes, mailboxes, stripes, meta-processes,
//! timers, limits and stop. What differs is what it stands on:
//!
//! | | [`Node`](crate::Node) | [`TestNode`] |
//! |---|---|---|
//! | threads | workers, monitor, lookups | one runs at a time: that of the test, or one of a handler |
//! | the next task | that of whichever worker is first | chosen by the seed, see [`Policy`] |
//! | who polls | a worker that is not stuck in a handler | the turn of a poll is chosen like a task, whatever waits |
//! | time | the clock of the system | passes when the test says so, or when nothing can run |
//! | sockets | of the system | simulated, see [`NetOptions`] and [`LinkOptions`] |
//! | lookups of names | the resolver of the system | names of the [`World`], after a drawn time |
//! | a source of one's own | ready when the system says so | ready when the test calls [`TestNode::set_ready`] |
//!
//! A seed gives the same run every time, to the byte, at one revision of this crate and of the service. So a fault that
//! needs a rare order is found by trying seeds ([`explore()`]) and then replayed as often as it takes to understand it.
//!
//! A handler may wait for an answer ([`Context::call`](crate::Context::call)): handlers run on threads of their own, to
//! which the world passes a baton, so that exactly one thread runs at any time. Calls that overlap end as their answers
//! come. A handler that blocks in another way, on a lock or a channel that the test holds, blocks the world.
//!
//! What the seed does not cover: code that reads the clock of the system, draws its own random numbers, iterates over a
//! `HashMap`, or starts threads. TLS runs over it, but its bytes differ from run to run, because the provider draws the
//! keys; their order and times do not.
//!
//! # How it is built in
//!
//! A thread that runs code of a simulated node *is at a site*. The constructors of the sockets, the resolver and the
//! pool for blocking work ask for it; the clock and the poll of a simulated node are variants of their own. Without the
//! feature `testing` none of these variants exists.

mod baton;
mod client;
mod control;
mod explore;
mod fault;
mod node;
mod policy;
#[cfg(test)]
mod tests;
mod world;

pub use client::{ClientEnd, TestClient, TestUdp};
pub use control::NetControl;
pub use explore::{Failure, explore, explore_with, first_failure};
pub use fault::{Fault, FaultKind, FaultOptions};
pub use node::TestNode;
pub use policy::Policy;
pub use world::{World, WorldOptions};

pub use crate::simulation::net::{LinkOptions, NetOptions};
