//! How a node is started.

use std::any::Any;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::inside::RuntimeId;
use crate::base::lookups::Resolver;
use crate::error::{ConfigError, check};
use crate::id::{Alias, Name};
use crate::memory::buffer::BufferPool;
use crate::process::{Bounds, Environment};
use crate::record::{Level, Log, Logger};
use crate::scheduler::MAX_PROCESSES;
use crate::time::clock::Clock;

/// A shorter time than this the monitor cannot measure.
const MIN_SLOW_HANDLER: Duration = Duration::from_millis(10);
/// Most threads of one kind beside the workers.
const MAX_THREADS: usize = 4_096;
/// Most workers of a node.
const MAX_WORKERS: usize = 1024;

/// Options of a [`Node`](crate::Node).
///
/// ```
/// use longshore::prelude::*;
/// # fn main() -> Result<(), longshore::Error> {
/// let node = Node::start(NodeOptions::from("small@localhost").with_workers(1))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeOptions {
    /// The node's name.
    pub name: Name,
    /// Threads that run processes and sockets. `None`: the available parallelism, see
    /// [`std::thread::available_parallelism`].
    pub workers: Option<usize>,
    /// Groups of meta-processes that can be driven at the same time. `None`: as many as workers; 1 is the strict form,
    /// in which one activation after the other drives all of them.
    pub stripes: Option<usize>,
    /// Processes at once. 2^24 by default.
    pub max_processes: u32,
    /// Messages of processes that the main lane of a mailbox may hold. `None`, the default: no bound.
    pub mailbox_bound: Option<u32>,
    /// Messages that the main lane may hold before sockets pause that have data for it. 1,024 by default.
    pub data_bound: u32,
    /// Where buffers come from. `None`: a pool of the node's own.
    pub buffer_pool: Option<BufferPool>,
    /// Where records go. Standard error by default.
    pub logger: Logger,
    /// Level of the records that are made. `None`: `Warn` for standard error, `Info` for another
    /// logger. A process can have a level of its own, and both can be changed while the node runs.
    pub log_level: Option<Level>,
    /// A handler of a process that runs for this long is a record of level `Warn` while it runs. 100 ms by
    /// default, at least 10 ms. `None`: no records.
    pub slow_handler: Option<Duration>,
    /// What resolves the names of hosts, see [`NodeOptions::with_resolver`]. `None`: the operating system.
    pub(crate) resolver: Option<Resolver>,
    /// Handlers that may wait in [`Context::call`](crate::Context::call) at once, each with a thread beside the
    /// workers. 64 by default, at most 4,096; 0 forbids such calls.
    pub max_blocked_calls: usize,
    /// Threads for the blocking work of processes, see [`Context::blocking`](crate::Context::blocking); they start on
    /// demand and end after 5 s without work. 64 by default, between 1 and 4,096.
    pub blocking_threads: usize,
    /// Pieces of blocking work that may wait for a thread. 10,000 by default; 0: none waits.
    pub blocking_queue: usize,
    /// Processes that may have a thread of their own at once, see
    /// [`SpawnOptions::with_own_thread`](crate::SpawnOptions::with_own_thread). 256 by default, at most 4,096. The
    /// limit is one of processes: the thread of one whose end has been notified no longer counts, though it exists
    /// until the values of that process have been dropped.
    pub max_own_threads: usize,
    /// Values for all processes, see [`NodeOptions::with_environment`].
    pub(crate) environment: Environment,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            name: Name::from("node@localhost"),
            workers: None,
            stripes: None,
            max_processes: 1 << 24,
            mailbox_bound: None,
            data_bound: 1_024,
            buffer_pool: None,
            logger: Logger::default(),
            log_level: None,
            slow_handler: Some(Duration::from_millis(100)),
            resolver: None,
            max_blocked_calls: 64,
            blocking_threads: 64,
            blocking_queue: 10_000,
            max_own_threads: 256,
            environment: Environment::default(),
        }
    }
}

impl NodeOptions {
    /// Sets the number of workers.
    #[must_use]
    pub fn with_workers(mut self, workers: impl Into<Option<usize>>) -> Self {
        self.workers = workers.into();
        self
    }

    /// Sets the number of stripes.
    #[must_use]
    pub fn with_stripes(mut self, stripes: impl Into<Option<usize>>) -> Self {
        self.stripes = stripes.into();
        self
    }

    /// Sets the limit of processes.
    #[must_use]
    pub fn with_max_processes(mut self, processes: u32) -> Self {
        self.max_processes = processes;
        self
    }

    /// Sets the default bound of mailboxes.
    #[must_use]
    pub fn with_mailbox_bound(mut self, messages: impl Into<Option<u32>>) -> Self {
        self.mailbox_bound = messages.into();
        self
    }

    /// Sets the default bound for data of sockets.
    #[must_use]
    pub fn with_data_bound(mut self, messages: u32) -> Self {
        self.data_bound = messages;
        self
    }

    /// Sets the pool that buffers come from.
    #[must_use]
    pub fn with_buffer_pool(mut self, pool: impl Into<Option<BufferPool>>) -> Self {
        self.buffer_pool = pool.into();
        self
    }

    /// Sets where records go: a [`Logger`], or a closure that gets each
    /// [`Record`](crate::Record).
    #[must_use]
    pub fn with_logger(mut self, logger: impl Into<Logger>) -> Self {
        self.logger = logger.into();
        self
    }

    /// Sets how long a handler of a process may run before it is a record.
    #[must_use]
    pub fn with_slow_handler(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.slow_handler = limit.into();
        self
    }

    /// Sets the level of the records that are made.
    #[must_use]
    pub fn with_log_level(mut self, level: impl Into<Option<Level>>) -> Self {
        self.log_level = level.into();
        self
    }

    /// Sets what resolves the names that connections connect to, in the place of the operating
    /// system. It may block: it runs on a thread of its own, and one that hangs holds up only the
    /// connections to the same name. At most 128 names are resolved at once. The order of the
    /// addresses is that in which they are tried. `localhost` does not come here (RFC 6761
    /// section 6.3), nor do addresses, nor names that a listener is bound to.
    ///
    /// ```
    /// use longshore::NodeOptions;
    ///
    /// let options = NodeOptions::default().with_resolver(|name| match name {
    ///     "database.test" => Ok(vec![[192, 0, 2, 1].into()]),
    ///     _ => Err(std::io::Error::other("unknown")),
    /// });
    /// ```
    #[must_use]
    pub fn with_resolver(
        mut self,
        resolver: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        self.resolver = Some(Resolver::new(resolver));
        self
    }

    /// Sets how many handlers may wait for an answer at once.
    #[must_use]
    pub fn with_max_blocked_calls(mut self, calls: usize) -> Self {
        self.max_blocked_calls = calls;
        self
    }

    /// Sets the number of threads for blocking work.
    #[must_use]
    pub fn with_blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = threads;
        self
    }

    /// Sets how much blocking work may wait for a thread.
    #[must_use]
    pub fn with_blocking_queue(mut self, jobs: usize) -> Self {
        self.blocking_queue = jobs;
        self
    }

    /// Sets how many processes may have a thread of their own at once.
    #[must_use]
    pub fn with_max_own_threads(mut self, threads: usize) -> Self {
        self.max_own_threads = threads;
        self
    }

    /// Gives all processes of the node a value, which they find with
    /// [`Context::environment`](crate::Context::environment) unless they have another one of that name.
    #[must_use]
    pub fn with_environment(
        mut self,
        name: impl Into<Name>,
        value: impl Any + Send + Sync,
    ) -> Self {
        self.environment.set(name.into(), value);
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        check(!self.name.as_str().is_empty(), "name", "must not be empty")?;
        between_1_and("workers", self.workers.unwrap_or(1), MAX_WORKERS)?;
        between_1_and("stripes", self.stripes.unwrap_or(1), Alias::STRIPES)?;
        // One less than there are indices, because index 0 is that of the node.
        between_1_and(
            "max_processes",
            self.max_processes as usize,
            MAX_PROCESSES as usize - 1,
        )?;
        check(
            self.mailbox_bound != Some(0),
            "mailbox_bound",
            "must be at least 1; `None` is no bound",
        )?;
        check(
            self.slow_handler
                .is_none_or(|limit| limit >= MIN_SLOW_HANDLER),
            "slow_handler",
            "must be at least 10 ms; `None` is no limit",
        )?;
        for (field, threads) in [
            ("max_blocked_calls", self.max_blocked_calls),
            ("max_own_threads", self.max_own_threads),
        ] {
            if threads > MAX_THREADS {
                let problem = format!("must be at most {MAX_THREADS}");
                return Err(ConfigError::new(field, problem));
            }
        }
        between_1_and("blocking_threads", self.blocking_threads, MAX_THREADS)?;
        check(self.data_bound != 0, "data_bound", "must be at least 1")
    }

    /// The records of a node with these options.
    pub(super) fn log(&self, runtime: RuntimeId, clock: Clock) -> Log {
        let level = self.log_level;
        let level = level.unwrap_or_else(|| self.logger.default_level());
        Log::new(runtime, self.logger.clone(), level, clock)
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            // As many messages do not fit into memory.
            main: self.mailbox_bound.unwrap_or(u32::MAX),
            data: self.data_bound,
        }
    }
}

fn between_1_and(field: &'static str, value: usize, most: usize) -> Result<(), ConfigError> {
    if (1..=most).contains(&value) {
        Ok(())
    } else {
        let problem = format!("must be between 1 and {most}");
        Err(ConfigError::new(field, problem))
    }
}

impl From<&str> for NodeOptions {
    fn from(name: &str) -> Self {
        Self {
            name: Name::from(name),
            ..Self::default()
        }
    }
}

impl From<String> for NodeOptions {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_row() {
        crate::base::option_rows::option_rows!(NodeOptions {
            name,
            workers,
            stripes,
            max_processes,
            mailbox_bound,
            data_bound,
            buffer_pool,
            logger,
            log_level,
            slow_handler,
            resolver,
            max_blocked_calls,
            blocking_threads,
            blocking_queue,
            max_own_threads,
            environment
        });
    }
}
