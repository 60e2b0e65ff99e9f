//! The node itself as it is now, typed.

use std::time::Duration;

use super::Node;
use crate::actor::Context;
use crate::id::{Alias, Name, Pid};
use crate::poll::SocketInfo;
use crate::process::ProcessInfo;
use crate::record::Level;

/// A node as [`Node::info`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its name.
    pub name: Name,
    /// Time since the start.
    pub uptime: Duration,
    /// It stops, or has stopped.
    pub is_stopping: bool,
    /// Worker threads.
    pub workers: usize,
    /// Workers in a handler that has run for some milliseconds, or whose process has had such a handler lately.
    pub workers_stuck: usize,
    /// Processes alive.
    pub processes: usize,
    /// Registered names.
    pub names: usize,
    /// Listeners, connections and other meta-processes alive.
    pub meta_processes: usize,
    /// Timers set, those of connections included.
    pub timers: usize,
    /// Buffers handed out by the pool.
    pub buffers: usize,
    /// Handlers that were slow since the start.
    pub slow_handlers: u64,
    /// The level of the records that are made.
    pub log_level: Level,
}

impl Node {
    /// The node as it is now.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// let info = node.info();
    /// assert_eq!((info.name.as_str(), info.processes), ("example@localhost", 0));
    /// # Ok(()) }
    /// ```
    pub fn info(&self) -> NodeInfo {
        let core = &self.0.core;
        let (processes, services) = (&core.processes, &core.io.services);
        NodeInfo {
            name: self.name().clone(),
            uptime: processes.timers.clock().elapsed(),
            is_stopping: processes.is_stopping(),
            workers: core.scheduler.workers(),
            workers_stuck: core.scheduler.stuck_workers(),
            processes: processes.live(),
            names: processes.count_names(),
            meta_processes: services.commands.live(),
            timers: services.timers.pending(),
            buffers: services.pool.outstanding(),
            slow_handlers: processes.slow_count(),
            log_level: self.log_level(),
        }
    }

    /// One process, if it is alive, as [`Node::processes`] shows it.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let node = Node::start("example@localhost")?;
    /// let pid = node.spawn(|| Worker)?;
    /// assert!(node.process(pid).is_some_and(|process| process.parent == Pid::NODE));
    /// # Ok(()) }
    /// ```
    pub fn process(&self, pid: Pid) -> Option<ProcessInfo> {
        self.table().info(pid)
    }

    /// One meta-process, if it is alive, as [`Node::sockets`] shows it.
    pub fn socket(&self, alias: Alias) -> Option<SocketInfo> {
        // `handle_inspect` of the program's own meta-processes runs here.
        let _inside = self.runtime().enter();
        self.0.core.io.info(alias)
    }
}

/// # The node
impl Context<'_> {
    /// The node of this process, for its lists and figures, and for what outlives the callback.
    /// `None`: the program has dropped its last handle, and the node stops.
    ///
    /// The calls that block are not for callbacks: they return at once with an error. A process
    /// that keeps the handle keeps its node running.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// if let Some(node) = cx.node() {
    ///     println!("{} processes", node.info().processes);
    /// }
    /// # Ok(()) }) }
    /// ```
    pub fn node(&self) -> Option<Node> {
        let node = self.env_ref().processes.node()?;
        node.downcast().ok().map(Node)
    }
}
