//! What a node shows of itself: lists of what lives, and the slow handlers.

use super::Node;
use crate::id::{Name, Pid};
use crate::poll::SocketInfo;
use crate::process::{ProcessInfo, SlowHandler, TimerInfo};

impl Node {
    /// The processes that are alive. None of them is stopped for it, and what is shown of each
    /// was true a moment ago.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// node.spawn_register("worker", || Worker)?;
    /// let longest = node.processes().max_by_key(|process| process.messages_queued);
    /// assert_eq!(longest.and_then(|process| process.name), Some(Name::from("worker")));
    /// # Ok(()) }
    /// ```
    pub fn processes(&self) -> impl Iterator<Item = ProcessInfo> + use<> {
        self.table().list()
    }

    /// The registered names and who holds them, sorted by name.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn_register("worker", || Worker)?;
    /// assert_eq!(node.names().collect::<Vec<_>>(), [(Name::from("worker"), pid)]);
    /// # Ok(()) }
    /// ```
    pub fn names(&self) -> impl Iterator<Item = (Name, Pid)> + use<> {
        self.table().list_names().into_iter()
    }

    /// The listeners, connections and other meta-processes that are alive. Each stripe is held up
    /// for a batch of 64 of them at a time.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// for socket in node.sockets() {
    ///     println!("{} {}", socket.alias, socket.details.value("remote_addr").unwrap_or(""));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn sockets(&self) -> impl Iterator<Item = SocketInfo> + use<> {
        // `handle_inspect` of the program's own meta-processes runs here.
        let _inside = self.runtime().enter();
        self.0.core.io.list().into_iter()
    }

    /// The timers that are set, in no order: messages that are due later, deadlines of sockets and
    /// of requests. The node is not stopped for it; setting a timer waits for a batch of 64 of them
    /// at the most.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::time::Duration;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// node.send_after(pid, "later", Duration::from_secs(60));
    /// let timer = node.timers().next().expect("one is set");
    /// assert_eq!((timer.to, timer.message), (Some(Target::Pid(pid)), "&str"));
    /// # Ok(()) }
    /// ```
    pub fn timers(&self) -> impl Iterator<Item = TimerInfo> + use<> {
        self.table().list_timers()
    }

    /// The 16 longest handlers that were slow, longest first, those that still run included: what
    /// ran for longer than [`NodeOptions::slow_handler`](crate::NodeOptions::slow_handler).
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// for slow in node.slow_handlers() {
    ///     println!("{} ({}): {:?} in {}", slow.pid, slow.actor, slow.ran, slow.message);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn slow_handlers(&self) -> Vec<SlowHandler> {
        self.table().slow_handlers()
    }
}
