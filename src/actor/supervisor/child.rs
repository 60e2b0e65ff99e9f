//! The options of a child, and what a supervisor shows of one.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Supervisor;
use super::policy::{AutoShutdown, Policy, Restart, Shutdown};
use crate::actor::{Actor, make};
use crate::base::sync::Mutex;
use crate::error::Reason;
use crate::error::{ConfigError, SpawnError};
use crate::id::{Name, Pid};
use crate::process::{Behavior, SpawnOptions};

type Factory = dyn FnMut() -> Result<Box<dyn Behavior>, SpawnError> + Send;

/// A child of a [`Supervisor`]: how it is made, restarted and ended.
///
/// ```
/// use longshore::prelude::*;
/// use std::time::Duration;
///
/// struct Importer;
/// impl Actor for Importer {}
///
/// let child = Child::new("importer", || Importer)
///     .transient() // once it is done it is not started again
///     .with_shutdown(Shutdown::Within(Duration::from_secs(30)));
/// ```
pub struct Child {
    pub(super) name: Name,
    pub(super) options: SpawnOptions,
    pub(super) policy: Policy,
    // Shared with the activation that calls it: a process that does not return keeps it beyond the life of the child.
    factory: Arc<Mutex<Box<Factory>>>,
}

impl Child {
    /// A child with a name that its supervisor knows it by. The factory is called for each start,
    /// on a worker.
    pub fn new<A: Actor>(
        name: impl Into<Name>,
        mut factory: impl FnMut() -> A + Send + 'static,
    ) -> Self {
        // A supervisor has deadlines for its children, and one of its own would cut theirs short.
        let is_supervisor = TypeId::of::<A>() == TypeId::of::<Supervisor>();
        let policy = Policy {
            restart: Restart::Permanent,
            significant: false,
            shutdown: if is_supervisor {
                Shutdown::Wait
            } else {
                Shutdown::default()
            },
            start_timeout: if is_supervisor {
                Duration::MAX
            } else {
                Duration::from_secs(30)
            },
        };
        Self {
            name: name.into(),
            options: SpawnOptions::default(),
            policy,
            factory: Arc::new(Mutex::new(Box::new(move || make(&mut factory)))),
        }
    }

    /// Registers the process under the child's name as well.
    #[must_use]
    pub fn registered(mut self) -> Self {
        self.options.name = Some(self.name.clone());
        self
    }

    /// Spawns the process with these options; `link` has no effect. A child that is [registered](Self::registered)
    /// stays so, unless the options have another name.
    #[must_use]
    pub fn with_options(mut self, options: SpawnOptions) -> Self {
        // Kept, so that the order of `registered` and `with_options` does not matter.
        let name = self.options.name.take();
        self.options = options;
        if self.options.name.is_none() {
            self.options.name = name;
        }
        self
    }

    /// When it is started again; [`Restart::Permanent`] by default.
    #[must_use]
    pub fn with_restart(mut self, restart: Restart) -> Self {
        self.policy.restart = restart;
        self
    }

    /// [`Restart::Transient`].
    #[must_use]
    pub fn transient(self) -> Self {
        self.with_restart(Restart::Transient)
    }

    /// [`Restart::Temporary`].
    #[must_use]
    pub fn temporary(self) -> Self {
        self.with_restart(Restart::Temporary)
    }

    /// Its end by itself may end the supervisor; see [`AutoShutdown`]. For children that are
    /// [transient](Restart::Transient) or [temporary](Restart::Temporary).
    #[must_use]
    pub fn significant(mut self) -> Self {
        self.policy.significant = true;
        self
    }

    /// How it is ended; within 5 seconds by default, and a supervisor without a deadline.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: Shutdown) -> Self {
        self.policy.shutdown = shutdown;
        self
    }

    /// The time for its factory and `init`; then it is killed, and the start has failed. 30 seconds
    /// by default, and none for a supervisor, whose children have their own.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.policy.start_timeout = timeout;
        self
    }

    pub(super) fn validate(&self, auto_shutdown: AutoShutdown) -> Result<(), ConfigError> {
        self.options.validate()?;
        let problem = if self.name.as_str().is_empty() {
            ("name", "must not be empty")
        } else if self.policy.start_timeout.is_zero() {
            ("start_timeout", "must be more than 0")
        } else if self.policy.significant && self.policy.restart == Restart::Permanent {
            ("significant", "a permanent child does not end for good")
        } else if self.policy.significant && auto_shutdown == AutoShutdown::Never {
            ("significant", "the supervisor has no auto-shutdown")
        } else {
            return Ok(());
        };
        Err(ConfigError::new(problem.0, problem.1))
    }

    /// What the first activation of the next process calls. While an abandoned process is still
    /// stuck in the factory, the next start fails.
    pub(super) fn starter(
        &self,
    ) -> impl FnOnce() -> Result<Box<dyn Behavior>, SpawnError> + Send + 'static {
        let factory = Arc::clone(&self.factory);
        // Without waiting: an abandoned process may hold the factory for ever.
        move || match factory.try_lock() {
            Some(mut factory) => factory(),
            None => Err(SpawnError::Init(Reason::error(
                "the factory has not returned for an earlier process",
            ))),
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.name)
            .field("options", &self.options)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A child as its supervisor lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildInfo {
    /// The name that its supervisor knows it by.
    pub name: Name,
    /// Its process, if it has one.
    pub pid: Option<Pid>,
    /// Where it is between down and running.
    pub state: ChildState,
    /// When it is started again.
    pub restart: Restart,
    /// How often it was started, the first time included.
    pub starts: u64,
}

/// Where a child is between down and running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChildState {
    /// It has no process, until it is started by a request or with its group.
    Down,
    /// It has no process, until it is enabled.
    Disabled,
    /// It has no process, and is started when others have, or after its back-off.
    Waiting,
    /// Its factory or `init` runs, or waits for a worker.
    Starting,
    /// It runs.
    Running,
    /// It was asked to end.
    Stopping,
    /// It was killed.
    Killed,
}
