//! The children of a supervisor, from outside of the node.

use std::time::Duration;

use super::Node;
use crate::actor::{Child, ChildCommand, ChildError, ChildInfo, ChildResult, ChildVerb};
use crate::error::RequestError;
use crate::id::{Pid, Target};

/// # Children of a supervisor
///
/// Each call waits for the supervisor, at most `timeout`, and is not for threads of the runtime; see
/// [`Context::add_child`](crate::Context::add_child) for those. A child is named by the name that
/// its supervisor knows it by, or by its pid.
impl Node {
    /// Adds a child behind the others, and starts it.
    ///
    /// # Errors
    ///
    /// The child did not start, and has not been added; or the name is taken, an option is wrong,
    /// or the supervisor did not answer.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::time::Duration;
    ///
    /// struct Room;
    /// impl Actor for Room {}
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = Node::start("chat@localhost")?;
    /// let limit = Duration::from_secs(5);
    /// let rooms = node.spawn(Supervisor::dynamic)?;
    /// let lobby = node.add_child(rooms, Child::new("lobby", || Room), limit)?;
    /// assert_eq!(node.children(rooms, limit)?[0].pid, Some(lobby));
    /// node.remove_child(rooms, "lobby", limit)?;
    /// # Ok(()) }
    /// ```
    pub fn add_child(
        &self,
        supervisor: impl Into<Target>,
        child: Child,
        timeout: Duration,
    ) -> Result<Pid, ChildError> {
        self.pid_of_child(supervisor, ChildCommand::Add(child), timeout)
    }

    /// Starts a child that is down.
    ///
    /// # Errors
    ///
    /// [`ChildError::Running`], [`ChildError::Disabled`], or why it did not start; it is down then.
    pub fn start_child(
        &self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Pid, ChildError> {
        let command = ChildCommand::One(ChildVerb::Start, child.into());
        self.pid_of_child(supervisor, command, timeout)
    }

    /// Ends a child. It is down until it is started, by a request or with its group; a temporary
    /// child, or one of a dynamic supervisor, is forgotten.
    ///
    /// # Errors
    ///
    /// There is no such child, or the supervisor is ending.
    pub fn stop_child(
        &self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<(), ChildError> {
        let command = ChildCommand::One(ChildVerb::Stop, child.into());
        self.ask_supervisor(supervisor, command, timeout).map(drop)
    }

    /// Ends a child if it runs, and starts it, without a back-off. No other child is restarted, and
    /// the restart does not count.
    ///
    /// # Errors
    ///
    /// [`ChildError::Disabled`], or why it did not start; it is down then.
    pub fn restart_child(
        &self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Pid, ChildError> {
        let command = ChildCommand::One(ChildVerb::Restart, child.into());
        self.pid_of_child(supervisor, command, timeout)
    }

    /// Starts a child that was disabled, or is down.
    ///
    /// # Errors
    ///
    /// Why it did not start; it is down then.
    pub fn enable_child(
        &self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Pid, ChildError> {
        let command = ChildCommand::One(ChildVerb::Enable, child.into());
        self.pid_of_child(supervisor, command, timeout)
    }

    /// Ends a child and keeps it down until it is enabled, also when its group is restarted.
    ///
    /// # Errors
    ///
    /// There is no such child, or the supervisor is ending.
    pub fn disable_child(
        &self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<(), ChildError> {
        let command = ChildCommand::One(ChildVerb::Disable, child.into());
        self.ask_supervisor(supervisor, command, timeout).map(drop)
    }

    /// Ends a child and forgets it.
    ///
    /// # Errors
    ///
    /// There is no such child, or the supervisor is ending.
    pub fn remove_child(
        &self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<(), ChildError> {
        let command = ChildCommand::One(ChildVerb::Remove, child.into());
        self.ask_supervisor(supervisor, command, timeout).map(drop)
    }

    /// The children of a supervisor, in order.
    ///
    /// # Errors
    ///
    /// The supervisor did not answer, or the target is none.
    pub fn children(
        &self,
        supervisor: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Vec<ChildInfo>, ChildError> {
        let answer = self.call(supervisor, ChildCommand::List, timeout)?;
        Ok(answer.downcast().map_err(|_| RequestError::Dropped)?)
    }

    fn pid_of_child(
        &self,
        supervisor: impl Into<Target>,
        command: ChildCommand,
        timeout: Duration,
    ) -> Result<Pid, ChildError> {
        let pid = self.ask_supervisor(supervisor, command, timeout)?;
        // It was started, and taken down again before the answer was made.
        pid.ok_or(ChildError::Superseded)
    }

    fn ask_supervisor(
        &self,
        supervisor: impl Into<Target>,
        command: ChildCommand,
        timeout: Duration,
    ) -> ChildResult {
        let answer = self.call(supervisor, command, timeout)?;
        answer
            .downcast::<ChildResult>()
            // A process that is no supervisor has answered, with a value that is no result of a request for children.
            .map_err(|_| RequestError::Dropped)?
    }
}
