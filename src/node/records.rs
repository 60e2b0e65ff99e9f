//! Records from outside of the processes, and the levels.

use std::fmt;

use super::Node;
use crate::id::Pid;
use crate::record::{Kind, Level};

impl Node {
    /// Makes a record, if the node's level allows it; see
    /// [`Context::log`](crate::Context::log).
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// node.log(longshore::Level::Info, "the configuration has been read");
    /// # Ok(()) }
    /// ```
    pub fn log(&self, level: Level, text: impl fmt::Display) {
        let log = &self.table().log;
        log.record(level, Kind::Program, None, |record| record.set_text(text));
    }

    /// The level of the records that are made.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert_eq!(node.log_level(), longshore::Level::Warn);
    /// # Ok(()) }
    /// ```
    pub fn log_level(&self) -> Level {
        self.table().log.level()
    }

    /// Changes the level of the records that are made, from now on.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// node.set_log_level(longshore::Level::Debug);
    /// assert_eq!(node.log_level(), longshore::Level::Debug);
    /// # Ok(()) }
    /// ```
    pub fn set_log_level(&self, level: Level) {
        self.table().log.set_level(level);
    }

    /// Changes the level of the records of one process and of its sockets, from now on; `None`:
    /// the node's. Returns whether the process is alive.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// assert!(node.set_process_log_level(pid, longshore::Level::Trace));
    /// # Ok(()) }
    /// ```
    pub fn set_process_log_level(&self, pid: Pid, level: impl Into<Option<Level>>) -> bool {
        self.table().set_log_level(pid, level.into())
    }
}
