//! Spawning processes from outside of the node.

use std::any::TypeId;
use std::time::Duration;

use super::{Node, deadline_after};
use crate::actor::{Actor, Supervisor, make};
use crate::bridge::request::Reply;
use crate::error::{Reason, SpawnError};
use crate::id::{Name, Pid};
use crate::process::{Behavior, SpawnOptions, StartReport};
#[cfg(feature = "testing")]
use crate::simulation::Site;

/// # Spawning
impl Node {
    /// Spawns a process; its `init` runs now, on this thread. To have it restarted, make it the child of a
    /// [`Supervisor`], whose factory may be called again. For a supervisor this waits until its children have started,
    /// unless it is called inside a process.
    ///
    /// # Errors
    ///
    /// `init` failed, or it or the factory panicked, or the node refuses. Nothing is left of the process then; ports
    /// that it had bound are free again.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// struct Worker;
    /// impl Actor for Worker {}
    ///
    /// let pid = node.spawn(|| Worker)?;
    /// node.send(pid, "hello")?;
    /// # Ok(()) }
    /// ```
    pub fn spawn<A: Actor>(&self, factory: impl FnOnce() -> A) -> Result<Pid, SpawnError> {
        self.spawn_with(SpawnOptions::default(), factory)
    }

    /// Spawns a process under a name.
    ///
    /// # Errors
    ///
    /// As [`Node::spawn`], and [`SpawnError::NameTaken`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn_register("worker", || Worker)?;
    /// assert_eq!(node.whereis("worker"), Some(pid));
    /// # Ok(()) }
    /// ```
    pub fn spawn_register<A: Actor>(
        &self,
        name: impl Into<Name>,
        factory: impl FnOnce() -> A,
    ) -> Result<Pid, SpawnError> {
        self.spawn_with(SpawnOptions::default().with_name(name), factory)
    }

    /// Spawns a process with options.
    ///
    /// # Errors
    ///
    /// As [`Node::spawn`], and a wrong option.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let options = SpawnOptions::default().with_name("worker").with_mailbox_bound(100);
    /// node.spawn_with(options, || Worker)?;
    /// # Ok(()) }
    /// ```
    pub fn spawn_with<A: Actor>(
        &self,
        options: SpawnOptions,
        factory: impl FnOnce() -> A,
    ) -> Result<Pid, SpawnError> {
        #[cfg(feature = "testing")]
        let _at = self.0.core.site.as_ref().map(Site::enter);
        let behavior = make(factory)?;
        // A thread of the runtime must not wait for the workers that start the children.
        if TypeId::of::<A>() == TypeId::of::<Supervisor>() && !self.runtime().is_inside() {
            return self.spawn_supervisor(&options, behavior);
        }
        self.spawn_behavior(&options, behavior)
    }

    /// Spawns a supervisor, and waits until its children have started.
    fn spawn_supervisor(
        &self,
        options: &SpawnOptions,
        behavior: Box<dyn Behavior>,
    ) -> Result<Pid, SpawnError> {
        let (reply, started) = Reply::to_outside(self.runtime(), None);
        let report = Some(StartReport::Outside(reply));
        let pid = self
            .table()
            .spawn_watched(Pid::NODE, options, behavior, None, report)?;
        // The children have start timeouts; without an answer it was killed.
        let outcome = started
            .wait_until(deadline_after(Duration::MAX))
            .ok()
            .and_then(|message| message.downcast::<Result<(), Reason>>().ok());
        outcome
            .unwrap_or(Err(Reason::Kill))
            .map(|()| pid)
            .map_err(SpawnError::Init)
    }

    fn spawn_behavior(
        &self,
        options: &SpawnOptions,
        behavior: Box<dyn Behavior>,
    ) -> Result<Pid, SpawnError> {
        #[cfg(feature = "testing")]
        let _at = self.0.core.site.as_ref().map(Site::enter);
        self.table().spawn(Pid::NODE, options, behavior)
    }
}
