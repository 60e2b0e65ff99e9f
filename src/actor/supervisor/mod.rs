//! Supervisors: processes that start, watch, restart and end other processes.
//!
//! ```text
//!   requests, exits ──▶ ┌────────────┐ reports   ┌─────────┐
//!   Started, Down ────▶ │ Supervisor │ ────────▶ │ Machine │
//!   deadline ─────────▶ │ (adapter)  │ ◀──────── │ (pure)  │
//!                       └────────────┘ actions   └─────────┘
//!                          │ spawns, exit signals, answers
//!                          ▼
//!                       children
//! ```
//!
//! 1. [`Machine`](machine::Machine) decides; `adapter` translates: it gives each [`Run`](machine::Run) a pid and a
//!    monitor, and carries out the machine's actions before its handler returns.
//! 2. A child is spawned *deferred*: its pid is known at once, its factory and `init` run as its
//!    first activation on a worker. It reports that it has started with a message; a start that
//!    fails is an end, and arrives as the `Down` of the monitor, as every end does.
//! 3. The monitor is set before the child can run, so that no end is missed, and `Down` comes last
//!    in the end of a process: its name and its ports are free, and its `terminate` has returned.
//! 4. A supervisor that is itself a child reports its start when all its children have started.

mod actor;
mod adapter;
mod child;
mod command;
mod failed;
mod known;
mod machine;
mod mutation;
mod policy;
mod tree;
mod verbs;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

pub use child::{Child, ChildInfo, ChildState};
pub(crate) use command::{ChildCommand, ChildVerb};
pub use command::{ChildError, ChildResult};
pub use failed::ChildFailed;
pub use policy::{AutoShutdown, Restart, Shutdown};
pub use tree::{SupervisionTree, SupervisorInfo};

use adapter::Adapter;
use policy::{BackOff, RestartScope, Rules};

use crate::error::ConfigError;
use crate::id::Name;

/// A process that starts other processes, restarts those that fail, and ends them in order.
///
/// It is spawned like any actor, and may be the child of another supervisor:
///
/// ```
/// use longshore::prelude::*;
/// # fn main() -> Result<(), longshore::Error> {
/// struct Rooms;
/// impl Actor for Rooms {}
/// struct Door;
/// impl Actor for Door {}
///
/// let node = Node::start("chat@localhost")?;
/// node.spawn(|| {
///     Supervisor::rest_for_one() // the door needs the rooms
///         .with_child(Child::new("rooms", || Rooms).registered())
///         .with_child(Child::new("door", || Door).registered())
/// })?;
/// assert!(node.whereis("door").is_some());
/// # Ok(()) }
/// ```
///
/// # Kinds
///
/// | Constructor | The end of a child that is restarted also restarts |
/// |---|---|
/// | [`one_for_one`](Self::one_for_one) | no other |
/// | [`all_for_one`](Self::all_for_one) | all others |
/// | [`rest_for_one`](Self::rest_for_one) | those that were added after it |
/// | [`dynamic`](Self::dynamic) | no other; children are added at run time and forgotten when they end |
///
/// A restart of several children ends them one at a time, the last one first, and then starts them
/// in their order, each when the one before it has started. A child that was stopped comes back
/// with its group; one that was disabled does not.
///
/// # Starts
///
/// Children start in their order, on workers. If the first start of one fails, the supervisor ends
/// those before it and then itself. A restart that fails is tried again and counts as another
/// restart. [`Node::spawn`](crate::Node::spawn) returns when all children have started, or with
/// the error of the one that did not; [`Context::spawn`](crate::Context::spawn) does not wait. A
/// supervisor that is a child of another counts as started when its children have.
///
/// # Ends
///
/// A supervisor ends when its parent or an exit signal asks it to, when restarts exceed its
/// intensity, and by [`AutoShutdown`]. It ends its children one at a time, the last one first, each
/// as its [`Shutdown`] says; a dynamic supervisor ends them all at once. A child that has not ended
/// some time after it was killed, because its handler does not return, is recorded as stuck and
/// given up: its name and its meta-processes are taken from it, and the supervisor goes on.
///
/// From the beginning of a node's stop no child is started.
#[must_use = "a supervisor is given to `spawn`"]
pub struct Supervisor {
    rules: Rules,
    /// What it is built with, until it starts.
    children: Vec<Child>,
    adapter: Option<Adapter>,
}

impl Supervisor {
    /// Restarts only the child that has ended.
    pub fn one_for_one() -> Self {
        Self::new(RestartScope::OneForOne)
    }

    /// Restarts all children when one has ended.
    pub fn all_for_one() -> Self {
        Self::new(RestartScope::AllForOne)
    }

    /// Restarts the child that has ended, and those that were added after it.
    pub fn rest_for_one() -> Self {
        Self::new(RestartScope::RestForOne)
    }

    /// For children that are added while it runs, all alike or not: one that ends and is not
    /// restarted is forgotten, and all are ended at once.
    pub fn dynamic() -> Self {
        Self::new(RestartScope::Dynamic)
    }

    fn new(kind: RestartScope) -> Self {
        Self {
            rules: Rules {
                kind,
                auto_shutdown: AutoShutdown::Never,
                intensity: 3,
                period: Duration::from_secs(5),
                back_off: BackOff::default(),
                kill_timeout: Duration::from_secs(5),
            },
            children: Vec::new(),
            adapter: None,
        }
    }

    /// Adds a child behind the others.
    pub fn with_child(mut self, child: Child) -> Self {
        self.children.push(child);
        self
    }

    /// Survives `restarts` within `period`; one more ends it. 3 within 5 seconds by default.
    pub fn with_intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.rules.intensity = restarts;
        self.rules.period = period;
        self
    }

    /// Waits before each restart of a child: `first` before the first one, twice as long before
    /// each further one, at most `max`. A child that has run for `max` begins with `first` again.
    /// Without a wait by default.
    pub fn with_back_off(mut self, first: Duration, max: Duration) -> Self {
        self.rules.back_off = BackOff { first, max };
        self
    }

    /// Ends, with [`Reason::Shutdown`](crate::Reason::Shutdown), when significant children have
    /// ended; see [`Child::significant`].
    pub fn with_auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.rules.auto_shutdown = auto_shutdown;
        self
    }

    /// The time from the kill of a child until it is given up as stuck; 5 seconds by default.
    pub fn with_kill_timeout(mut self, timeout: Duration) -> Self {
        self.rules.kill_timeout = timeout;
        self
    }

    /// Whether the options fit each other; names the wrong one.
    fn validate(&self) -> Result<(), ConfigError> {
        let BackOff { first, max } = self.rules.back_off;
        if first > max {
            return Err(ConfigError::new("back_off", "`first` is longer than `max`"));
        }
        // A child would be given up before it could end by its kill.
        if self.rules.kill_timeout.is_zero() {
            return Err(ConfigError::new("kill_timeout", "must be more than 0"));
        }
        // Within no time there is hardly ever a second restart, so a child that always fails would be restarted for
        // ever.
        if self.rules.period.is_zero() {
            return Err(ConfigError::new("period", "must be more than 0"));
        }
        let mut names: HashMap<&Name, ()> = HashMap::new();
        for child in &self.children {
            child.validate(self.rules.auto_shutdown)?;
            if names.insert(&child.name, ()).is_some() {
                let problem = format!("two children have the name {}", child.name);
                return Err(ConfigError::new("child", problem));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
