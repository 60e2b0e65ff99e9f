//! How a process is spawned.

use super::environment::Environment;
use super::lifecycle::ControlBlock;
use super::mailbox::{Bounds, MailboxPolicy};
use crate::error::ConfigError;
use crate::id::Name;
use crate::record::Level;
use std::any::Any;

/// How a process is spawned.
///
/// ```
/// use longshore::SpawnOptions;
///
/// let options = SpawnOptions::default()
///     .with_name("clerk")
///     .with_mailbox_bound(10_000)
///     .with_link();
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SpawnOptions {
    /// Register under this name.
    pub name: Option<Name>,
    /// How many messages of other processes the main lane may hold before sends to it are refused. `None`: the node's
    /// default, which is no bound.
    pub mailbox_bound: Option<u32>,
    /// What happens to a send when the main lane holds that many. Refused by default; the other policies need a bound.
    pub mailbox_policy: MailboxPolicy,
    /// How many messages the main lane may hold before sockets pause that have data for this process. `None`: the
    /// node's default, 1,024.
    pub data_bound: Option<u32>,
    /// Link the new process with the one that spawns it.
    pub link: bool,
    /// Level of the records of this process and of its sockets. `None`: the node's.
    pub log_level: Option<Level>,
    /// Values for the process and those that it spawns, see [`SpawnOptions::with_environment`].
    pub(crate) environment: Environment,
    /// Run the process on a thread of its own, see [`SpawnOptions::with_own_thread`].
    pub own_thread: bool,
}

impl SpawnOptions {
    /// Registers under this name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Name>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Bounds the main lane.
    #[must_use]
    pub fn with_mailbox_bound(mut self, messages: impl Into<Option<u32>>) -> Self {
        self.mailbox_bound = messages.into();
        self
    }

    /// Sets what happens to a send when the main lane is full.
    #[must_use]
    pub fn with_mailbox_policy(mut self, policy: MailboxPolicy) -> Self {
        self.mailbox_policy = policy;
        self
    }

    /// Bounds what sockets may put in the main lane.
    #[must_use]
    pub fn with_data_bound(mut self, messages: impl Into<Option<u32>>) -> Self {
        self.data_bound = messages.into();
        self
    }

    /// Links the new process with the one that spawns it.
    #[must_use]
    pub fn with_link(mut self) -> Self {
        self.link = true;
        self
    }

    /// Sets the level of the records of this process and of its sockets.
    #[must_use]
    pub fn with_log_level(mut self, level: Level) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Runs the process on a thread of its own, which has its name: for an actor that blocks by nature, such as one
    /// around a client library that waits. Its handlers may block for as long as they like: no worker waits for them,
    /// they are not reported as slow, and [`Context::call`](crate::Context::call) takes no permit. A message to it
    /// takes a few microseconds longer. What blocks now and then is better off with
    /// [`Context::blocking`](crate::Context::blocking).
    ///
    /// `init` runs where that of every process does: on the thread that spawns it, and for the child of a supervisor on
    /// the new thread. `terminate` runs there as well. A handler that does not return cannot be ended: a supervisor
    /// abandons such a child after its shutdown time, and the stop of the node names it in
    /// [`StopReport::stuck`](crate::StopReport::stuck) and leaves its thread behind.
    ///
    /// The spawn fails with [`SpawnError::Limit`](crate::SpawnError::Limit) if as many processes have a thread as
    /// [`NodeOptions::max_own_threads`](crate::NodeOptions::max_own_threads) allows. On a simulated node it is a
    /// process like any other. A supervisor has no use for it:
    /// [`Node::supervision_tree`](crate::Node::supervision_tree) cannot look at one that is with its thread.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// use std::time::Duration;
    ///
    /// struct Printer;
    /// impl Actor for Printer {
    ///     fn handle_message(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         _: Message,
    ///     ) -> Result<(), Reason> {
    ///         std::thread::sleep(Duration::from_millis(5)); // the device takes its time
    ///         Ok(())
    ///     }
    /// }
    /// # fn main() -> Result<(), longshore::Error> {
    /// # let node = Node::start("example@localhost")?;
    /// let options = SpawnOptions::default().with_name("printer").with_own_thread();
    /// node.spawn_with(options, || Printer)?;
    /// node.send("printer", "a page")?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_own_thread(mut self) -> Self {
        self.own_thread = true;
        self
    }

    /// Gives the process a value, in the place of one that it would inherit under that name. It finds it with
    /// [`Context::environment`](crate::Context::environment), and so do the processes that it spawns, and theirs.
    ///
    /// ```
    /// use longshore::SpawnOptions;
    ///
    /// let options = SpawnOptions::default()
    ///     .with_environment("region", "eu-north")
    ///     .with_environment("attempts", 3_u32);
    /// ```
    #[must_use]
    pub fn with_environment(
        mut self,
        name: impl Into<Name>,
        value: impl Any + Send + Sync,
    ) -> Self {
        self.environment.set(name.into(), value);
        self
    }

    /// The options for a child of `parent`, if it inherits something.
    #[inline]
    pub(crate) fn inherit(&self, parent: &ControlBlock) -> Option<Self> {
        let inherited = parent.environment().filter(|own| !own.is_empty())?;
        Some(self.inherit_from(inherited))
    }

    #[cold]
    fn inherit_from(&self, inherited: &Environment) -> Self {
        Self {
            environment: self.environment.above(inherited),
            ..self.clone()
        }
    }

    /// Whether a process can ever be spawned with them; names the wrong option.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self
            .name
            .as_ref()
            .is_some_and(|name| name.as_str().is_empty())
        {
            return Err(ConfigError::new("name", "must not be empty"));
        }
        // The node has a bound of its own where none is given here.
        let some = Bounds { main: 1, data: 1 };
        self.bounds(some).map(drop)
    }

    #[inline]
    pub(super) fn bounds(&self, default: Bounds) -> Result<Bounds, ConfigError> {
        let bounds = Bounds {
            main: self.mailbox_bound.unwrap_or(default.main),
            data: self.data_bound.unwrap_or(default.data),
        };
        if bounds.main == 0 {
            return Err(ConfigError::new("mailbox_bound", "must be at least 1"));
        }
        if bounds.data == 0 {
            return Err(ConfigError::new("data_bound", "must be at least 1"));
        }
        // A lane without a bound is never full, so the policy would be set and never act.
        if self.mailbox_policy != MailboxPolicy::Refuse && bounds.main == u32::MAX {
            return Err(ConfigError::new(
                "mailbox_policy",
                "drops nothing without a mailbox_bound",
            ));
        }
        Ok(bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_row() {
        crate::base::option_rows::option_rows!(SpawnOptions {
            name,
            mailbox_bound,
            mailbox_policy,
            data_bound,
            link,
            log_level,
            environment,
            own_thread
        });
    }
}
