//! The children of a supervisor, from inside a process.

use std::time::Duration;

use super::child::Child;
use super::command::{ChildCommand, ChildVerb};
use crate::actor::Context;
use crate::id::{Ref, Target};
use crate::message::SendError;

/// # Children of a supervisor
///
/// Each call is a [request](Context::request). The answer is a [`Message::Reply`](crate::Message)
/// with a [`ChildResult`](crate::ChildResult): the child's process, if it has one then, or a
/// [`ChildError`](crate::ChildError). A child is named by the name that its supervisor knows it by,
/// or by its pid. The effects and the errors are those of the verbs of [`Node`](crate::Node).
impl Context<'_> {
    /// Adds a child to a supervisor, behind the others, and starts it; see
    /// [`Node::add_child`](crate::Node::add_child).
    ///
    /// # Errors
    ///
    /// As [`Context::request`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside(|cx| {
    /// # struct Room;
    /// # impl Actor for Room {}
    /// let rooms = cx.spawn(Supervisor::dynamic)?;
    /// let request = cx.add_child(rooms, Child::new("lobby", || Room), Duration::from_secs(5))?;
    /// // A `MessageReply` with this `request` brings the room's pid, or why there is none.
    /// # let _ = request;
    /// # Ok(()) }) }
    /// ```
    pub fn add_child(
        &mut self,
        supervisor: impl Into<Target>,
        child: Child,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        self.request(supervisor, ChildCommand::Add(child), timeout)
    }

    /// Starts a child that is down; see [`Node::start_child`](crate::Node::start_child).
    ///
    /// # Errors
    ///
    /// As [`Context::request`].
    pub fn start_child(
        &mut self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        let command = ChildCommand::One(ChildVerb::Start, child.into());
        self.request(supervisor, command, timeout)
    }

    /// Ends a child; see [`Node::stop_child`](crate::Node::stop_child).
    ///
    /// # Errors
    ///
    /// As [`Context::request`].
    pub fn stop_child(
        &mut self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        let command = ChildCommand::One(ChildVerb::Stop, child.into());
        self.request(supervisor, command, timeout)
    }

    /// Ends a child if it runs, and starts it; see
    /// [`Node::restart_child`](crate::Node::restart_child).
    ///
    /// # Errors
    ///
    /// As [`Context::request`].
    pub fn restart_child(
        &mut self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        let command = ChildCommand::One(ChildVerb::Restart, child.into());
        self.request(supervisor, command, timeout)
    }

    /// Starts a child that was disabled, or is down; see
    /// [`Node::enable_child`](crate::Node::enable_child).
    ///
    /// # Errors
    ///
    /// As [`Context::request`].
    pub fn enable_child(
        &mut self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        let command = ChildCommand::One(ChildVerb::Enable, child.into());
        self.request(supervisor, command, timeout)
    }

    /// Ends a child and keeps it down; see [`Node::disable_child`](crate::Node::disable_child).
    ///
    /// # Errors
    ///
    /// As [`Context::request`].
    pub fn disable_child(
        &mut self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        let command = ChildCommand::One(ChildVerb::Disable, child.into());
        self.request(supervisor, command, timeout)
    }

    /// Ends a child and forgets it; see [`Node::remove_child`](crate::Node::remove_child).
    ///
    /// # Errors
    ///
    /// As [`Context::request`].
    pub fn remove_child(
        &mut self,
        supervisor: impl Into<Target>,
        child: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        let command = ChildCommand::One(ChildVerb::Remove, child.into());
        self.request(supervisor, command, timeout)
    }

    /// Asks for the children of a supervisor. The answer is a `Vec` of
    /// [`ChildInfo`](crate::ChildInfo), in order.
    ///
    /// # Errors
    ///
    /// As [`Context::request`].
    pub fn children(
        &mut self,
        supervisor: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Ref, SendError> {
        self.request(supervisor, ChildCommand::List, timeout)
    }
}
