//! The node: puts the halves together, starts and stops them.
//!
//! Only this module knows both processes and meta-processes.

mod children;
pub(crate) mod core;
mod dump;
mod error;
mod events;
mod info;
mod metrics;
mod options;
mod records;
mod relay_to;
mod room;
mod run;
mod seen;
mod send;
mod serve;
#[cfg(unix)]
mod serve_unix;
#[cfg(all(feature = "signals", unix))]
mod signals;
mod sockets;
mod spawn;
mod stop;
mod timers;
mod tree;

pub use error::Error;
pub use info::NodeInfo;
pub use metrics::Metrics;
pub use options::NodeOptions;
pub use serve::Serve;
pub use stop::{StopOptions, StopReport};

use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use self::core::Core;
use crate::base::blocking::Blocking;
use crate::base::inside::RuntimeId;
use crate::base::lookups::Lookups;
use crate::bridge::Deliver;
use crate::bridge::Timers;
use crate::bridge::{Commands, StripeWakers};
use crate::id::{Name, Pid};
use crate::memory::buffer::BufferPool;
use crate::meta::{Services, Sources};
use crate::poll::{Io, Poller};
use crate::process::{Processes, Work};
use crate::scheduler::{Executor, Scheduler};
#[cfg(feature = "testing")]
use crate::simulation::Site;
use crate::time::clock::Clock;
use stop::Stopper;

/// A running node: workers, processes and meta-processes. A handle; clones are the same node.
///
/// Several nodes can run in one program. Dropping the last handle stops the node as [`Node::stop`] does with default
/// deadlines; processes that keep a handle keep their node running.
///
/// ```
/// use longshore::prelude::*;
/// # fn main() -> Result<(), longshore::Error> {
/// let node = Node::start("example@localhost")?;
/// let report = node.stop();
/// assert!(report.is_clean());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Node(Arc<NodeState>);

/// What a node runs on.
struct Machine {
    clock: Clock,
    poller: Poller,
    registry: crate::poll::Registry,
    /// Makes a blocking turn of the poll return.
    interrupt: Waker,
    #[cfg(feature = "testing")]
    site: Option<Site>,
}

struct NodeState {
    name: Name,
    core: Arc<Core>,
    stopper: Arc<Stopper>,
}

impl Node {
    /// Starts a node with a name, or with [`NodeOptions`].
    ///
    /// # Errors
    ///
    /// [`Error::Option`] names a wrong field; [`Error::Start`] says what the operating system refused. Nothing is left
    /// running then.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start(NodeOptions::from("example@localhost").with_workers(2))?;
    /// assert!(Node::start(NodeOptions::from("wrong@localhost").with_workers(0)).is_err());
    /// # Ok(()) }
    /// ```
    #[doc(alias = "StartNode")]
    pub fn start(options: impl Into<NodeOptions>) -> Result<Self, Error> {
        let options = options.into();
        options.validate()?;
        // Before anything is started, so that a refusal of the operating system leaves no thread behind.
        let (poller, registry, interrupt) = Poller::new().map_err(Error::Start)?;
        Self::build(
            options,
            Machine {
                clock: Clock::new(),
                poller,
                registry,
                interrupt,
                #[cfg(feature = "testing")]
                site: None,
            },
        )
    }

    /// Starts a node without threads, at a site of a simulation.
    #[cfg(feature = "testing")]
    pub(crate) fn start_simulated(options: NodeOptions, site: Site) -> Result<Self, Error> {
        options.validate()?;
        let (poller, registry) = Poller::simulated(site.clone()).map_err(Error::Start)?;
        Self::build(
            options,
            Machine {
                clock: Clock::Simulated,
                poller,
                registry,
                // The world turns the loop, so that nothing has to be interrupted.
                interrupt: Waker::noop().clone(),
                site: Some(site),
            },
        )
    }

    fn build(options: NodeOptions, machine: Machine) -> Result<Self, Error> {
        let workers = options.workers.unwrap_or_else(default_workers);
        let stripes = options.stripes.unwrap_or(workers);
        let clock = machine.clock;
        let runtime = RuntimeId::new();
        let log = options.log(runtime, clock);
        let signal = stop::Notify::new();
        let scheduler = Arc::new(Self::scheduler(runtime, workers, &options, &machine));
        let wakers = StripeWakers::new(stripes, Arc::clone(&scheduler));
        let commands = Arc::new(Commands::new(wakers.clone(), signal.waker()));
        let timers = Arc::new(Timers::new(clock, machine.interrupt));
        let processes = Processes::new(
            Arc::clone(&scheduler),
            Arc::clone(&commands),
            Arc::clone(&timers),
            log.clone(),
            options.max_processes,
            options.bounds(),
            signal.waker(),
        );
        let processes = Arc::new(Self::equip(processes, runtime, &options));
        let deliver: Arc<dyn Deliver> = Arc::clone(&processes) as _;
        let services = Arc::new(Services {
            registry: machine.registry,
            // The stripes are made before the threads, because a worker may run one at once.
            deliver,
            commands,
            timers,
            pool: options.buffer_pool.clone().unwrap_or_default(),
            lookups: Lookups::new(runtime, options.resolver.clone()),
            // As many threads as workers: more would take the processors from them.
            handshakes: Blocking::new(runtime, "longshore-handshakes", workers),
            log,
            #[cfg(feature = "testing")]
            registered: machine.site.as_ref().map(|_| Default::default()),
            spawn_queues: Services::spawn_queues(stripes),
            sources: Sources::default(),
        });
        // Weak, because the services hold the processes as their `deliver`.
        processes.attach_services(Arc::downgrade(&services));
        let io = Arc::new(Io::new(machine.poller, services, wakers));
        let core = Arc::new(Core {
            processes,
            io,
            scheduler,
            #[cfg(feature = "testing")]
            site: machine.site,
        });
        Self::launch(options.name, core, signal)
    }

    fn scheduler(
        runtime: RuntimeId,
        workers: usize,
        options: &NodeOptions,
        machine: &Machine,
    ) -> Scheduler {
        let scheduler = Scheduler::new(runtime, workers, machine.clock, machine.interrupt.clone())
            .with_slow_handler(options.slow_handler)
            .with_blocked_handlers(options.max_blocked_calls);
        #[cfg(feature = "testing")]
        if machine.site.is_some() {
            return scheduler.simulated();
        }
        scheduler
    }

    /// What processes have besides mailboxes and timers: blocking work, threads of their own, an environment.
    fn equip(processes: Processes, runtime: RuntimeId, options: &NodeOptions) -> Processes {
        let work = Blocking::with_queue(
            runtime,
            "longshore-work",
            options.blocking_threads,
            options.blocking_queue,
        );
        processes
            .with_work(Work::new(work))
            .with_own_threads(options.max_own_threads)
            .with_environment(options.environment.clone())
    }

    /// Starts the threads, and what stops them.
    fn launch(name: Name, core: Arc<Core>, signal: stop::Notify) -> Result<Self, Error> {
        let executor: Arc<dyn Executor> = Arc::clone(&core) as _;
        let threads = core
            .scheduler
            .start(&executor, "longshore")
            .map_err(Error::Start)?;
        let stopper = Stopper::new(Arc::clone(&core), threads, signal);
        // Before any process exists that could stop its node.
        stopper.attach();
        let node = Arc::new(NodeState {
            name,
            core,
            stopper,
        });
        // Weakly, because the processes must not keep their own node alive.
        let weak = Arc::downgrade(&node);
        node.core.processes.attach_node(weak);
        Ok(Self(node))
    }

    /// The node's name.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert_eq!(node.name(), &Name::from("example@localhost"));
    /// # Ok(()) }
    /// ```
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    fn runtime(&self) -> RuntimeId {
        self.0.core.scheduler.runtime()
    }

    /// Both halves, for the world that runs a simulated node.
    #[cfg(feature = "testing")]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    fn table(&self) -> &Arc<Processes> {
        &self.0.core.processes
    }

    /// The process that holds the name now.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert_eq!(node.whereis("absent"), None);
    /// # Ok(()) }
    /// ```
    pub fn whereis(&self, name: impl AsRef<str>) -> Option<Pid> {
        self.table().resolve(name.as_ref())
    }

    /// Buffers that received data comes in.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert_eq!(node.buffer_pool().copy_from_slice(b"bytes"), "bytes");
    /// # Ok(()) }
    /// ```
    pub fn buffer_pool(&self) -> &BufferPool {
        &self.0.core.io.services.pool
    }

    /// Stops the node with the default deadlines; see [`Node::stop_with`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert!(node.stop().is_clean());
    /// # Ok(()) }
    /// ```
    #[must_use = "the report says what was cut off"]
    pub fn stop(&self) -> StopReport {
        self.stop_with(StopOptions::default())
    }

    /// Stops the node in phases, each with a deadline: listeners close; processes handle what is in their mailboxes;
    /// connections send what they have accepted and end; processes get an exit signal,
    /// [`Reason::Shutdown`](crate::Reason::Shutdown), and those that do not end are killed; threads end. Returns when
    /// every `terminate` has run, or what a deadline cut off.
    ///
    /// Called inside the node's runtime (a callback, a `Drop` or a logger that a thread of the node runs, the `init` of
    /// a process that is being spawned) it cannot wait: the node is then stopped by a thread of its own, and an empty
    /// report returns at once. Called twice, the second call waits for the first.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// let options = longshore::StopOptions::default()
    ///     .with_timeout(std::time::Duration::from_millis(500));
    /// let report = node.stop_with(options);
    /// assert!(report.is_clean(), "{report}");
    /// # Ok(()) }
    /// ```
    #[must_use = "the report says what was cut off"]
    pub fn stop_with(&self, options: StopOptions) -> StopReport {
        self.0.stopper.stop(options)
    }

    /// Waits until the node has been stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] if a deadline cut something off;
    /// [`RequestError::WouldBlockRuntime`](crate::RequestError::WouldBlockRuntime) at once if it is called inside the
    /// node's runtime, which would wait for itself.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// let stopper = node.clone();
    /// std::thread::spawn(move || stopper.stop());
    /// node.wait()?;
    /// # Ok(()) }
    /// ```
    pub fn wait(&self) -> Result<(), Error> {
        let report = self.0.stopper.wait()?;
        if report.is_clean() {
            Ok(())
        } else {
            Err(Error::Stopped(report))
        }
    }
}

impl Drop for NodeState {
    fn drop(&mut self) {
        // The last handle: nothing outside can stop the node after this.
        self.stopper.stop(StopOptions::default());
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A deadline that far ahead; huge timeouts become a year.
fn deadline_after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
    // An `Instant` has a range, and a sum beyond it panics.
    Instant::now() + timeout.min(YEAR)
}
