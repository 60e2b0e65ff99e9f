//! The node: puts the halves together, starts and stops them.
//!
//! Only this module knows both processes and meta-processes.

mod children;
pub(crate) mod core;
mod dump;
mod error;
mod events;
mod metrics;
mod options;
mod records;
mod run;
mod seen;
mod serve;
#[cfg(all(feature = "signals", unix))]
mod signals;
mod sockets;
mod stop;
mod timers;

pub use error::Error;
pub use metrics::Metrics;
pub use options::NodeOptions;
pub use serve::Serve;
pub use stop::{StopOptions, StopReport};

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::core::Core;
use crate::actor::{Actor, Supervisor, make};
use crate::base::blocking::Blocking;
use crate::base::inside::RuntimeId;
use crate::bridge::Deliver;
use crate::bridge::Timers;
use crate::bridge::request::{PendingReply, Reply};
use crate::bridge::{Commands, StripeWakers};
use crate::error::Reason;
use crate::error::{RequestError, SendErrorKind, SpawnError};
use crate::id::{Name, Pid, Target};
use crate::inspect::Inspection;
use crate::memory::buffer::BufferPool;
use crate::message::SendError;
use crate::message::{Message, Priority};
use crate::meta::{Services, Sources};
use crate::poll::{Io, Poller};
use crate::process::{Behavior, Processes, SpawnOptions, StartReport};
use crate::record::Log;
use crate::scheduler::{Executor, Scheduler};
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
pub struct Node(Arc<Inner>);

struct Inner {
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
        let workers = options.workers.unwrap_or_else(default_workers);
        let stripes = options.stripes.unwrap_or(workers);
        let (runtime, clock) = (RuntimeId::new(), Clock::new());
        let level = options.log_level;
        let level = level.unwrap_or_else(|| options.logger.default_level());
        let log = Log::new(runtime, options.logger.clone(), level, clock);
        let (poller, registry, interrupt) = Poller::new().map_err(Error::Start)?;
        let signal = stop::Notify::new();
        let scheduler = Arc::new(
            Scheduler::new(runtime, workers, clock, interrupt.clone())
                .with_slow_handler(options.slow_handler),
        );
        let wakers = StripeWakers::new(stripes, Arc::clone(&scheduler));
        let commands = Arc::new(Commands::new(wakers.clone(), signal.waker()));
        let timers = Arc::new(Timers::new(clock, interrupt));
        let processes = Arc::new(Processes::new(
            Arc::clone(&scheduler),
            Arc::clone(&commands),
            Arc::clone(&timers),
            log.clone(),
            options.max_processes,
            options.bounds(),
            signal.waker(),
        ));
        let blocking = Blocking::new(runtime, "longshore-blocking", 4);
        let deliver: Arc<dyn Deliver> = Arc::clone(&processes) as _;
        let services = Arc::new(Services {
            registry,
            deliver,
            commands,
            timers,
            pool: options.buffer_pool.clone().unwrap_or_default(),
            blocking: blocking.clone(),
            handshakes: Blocking::new(runtime, "longshore-handshakes", workers),
            log,
            spawn_queues: Services::spawn_queues(stripes),
            sources: Sources::default(),
        });
        processes.attach_services(Arc::downgrade(&services));
        let io = Arc::new(Io::new(poller, services, wakers));
        let core = Arc::new(Core {
            processes,
            io,
            scheduler,
            blocking,
        });
        let executor: Arc<dyn Executor> = Arc::clone(&core) as _;
        let threads = core
            .scheduler
            .start(&executor, "longshore")
            .map_err(Error::Start)?;
        let stopper = Stopper::new(Arc::clone(&core), threads, signal);
        stopper.attach();
        Ok(Self(Arc::new(Inner {
            name: options.name,
            core,
            stopper,
        })))
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

    fn table(&self) -> &Arc<Processes> {
        &self.0.core.processes
    }

    /// Spawns a process; its `init` runs now, on this thread. To have it restarted, make it the child of a
    /// [`Supervisor`], whose factory may be called again. For a supervisor this waits until its children have started,
    /// unless it is called inside a process.
    ///
    /// # Errors
    ///
    /// `init` failed, or it or the factory panicked, or the node refuses. Nothing is left of the process then; ports that it
    /// had bound are free again.
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
        let behavior = make(factory)?;
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
        let (reply, started) = Reply::to_outside(self.runtime());
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
        self.table().spawn(Pid::NODE, options, behavior)
    }

    /// Sends a message to a process, a meta-process or a name, from outside: the sender is [`Pid::NODE`].
    ///
    /// # Errors
    ///
    /// The message comes back when there is no such receiver, when its mailbox has reached its bound, or when the bytes
    /// do not fit the connection's output limit.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// node.send(pid, "hello")?;
    /// assert!(node.send("nobody", "hello").is_err());
    /// # Ok(()) }
    /// ```
    pub fn send<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
    ) -> Result<(), SendError> {
        self.send_with_priority(to, message, Priority::Normal)
    }

    /// Sends to one lane of the receiver's mailbox.
    ///
    /// # Errors
    ///
    /// As [`Node::send`]; only [`Priority::Normal`] is bounded.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// node.send_with_priority(pid, "at once", Priority::Max)?;
    /// # Ok(()) }
    /// ```
    pub fn send_with_priority<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
        priority: Priority,
    ) -> Result<(), SendError> {
        self.table()
            .send(Pid::NODE, to.into(), Message::new(message).into(), priority)
    }

    /// Sends an exit signal; see [`Context::send_exit`](crate::Context::send_exit).
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// node.send_exit(pid, Reason::Shutdown).unwrap();
    /// # Ok(()) }
    /// ```
    pub fn send_exit(&self, to: impl Into<Target>, reason: Reason) -> Result<(), SendErrorKind> {
        self.table().send_exit(Pid::NODE, to.into(), reason)
    }

    /// Asks and waits for the answer, at most `timeout`. Not from inside the node's runtime; use
    /// [`Context::request`](crate::Context::request) there.
    ///
    /// # Errors
    ///
    /// Why there is no answer. If the receiver ends, panics or drops the request, that is known at once, and so is
    /// [`RequestError::WouldBlockRuntime`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// struct Echo;
    /// impl Actor for Echo {
    ///     fn handle_call(
    ///         &mut self,
    ///         _: &mut Context<'_>,
    ///         _: Pid,
    ///         message: Message,
    ///         reply: Reply,
    ///     ) -> Result<(), Reason> {
    ///         reply.send(message);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let node = Node::start("example@localhost")?;
    /// let pid = node.spawn(|| Echo)?;
    /// let answer = node.call(pid, 7_u32, std::time::Duration::from_secs(5))?;
    /// assert_eq!(answer.downcast::<u32>().unwrap(), 7);
    /// # Ok(()) }
    /// ```
    pub fn call<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        self.check_outside()?;
        let deadline = deadline_after(timeout);
        self.request(to, message)?.wait_until(deadline)
    }

    /// Asks; the answer can be awaited on any executor, or waited for.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotDelivered`].
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// let promise = node.request(pid, "how are you?")?;
    /// # let block_on = |promise: longshore::PendingReply| promise.wait_until(std::time::Instant::now() + std::time::Duration::from_secs(60));
    /// let answer = block_on(promise); // or `promise.await`
    /// assert!(answer.is_err()); // this worker drops the request, which is known at once
    /// # Ok(()) }
    /// ```
    pub fn request<T: Send + 'static>(
        &self,
        to: impl Into<Target>,
        message: T,
    ) -> Result<PendingReply, RequestError> {
        let (reply, promise) = Reply::to_outside(self.runtime());
        let sent = self
            .table()
            .call(Pid::NODE, to.into(), Message::new(message), reply);
        sent.map(|()| promise)
            .map_err(|error| RequestError::NotDelivered(error.kind()))
    }

    /// Asks any process or meta-process about itself.
    ///
    /// # Errors
    ///
    /// There is no such target, it ended before it answered, or it did not answer in time.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// let pid = node.spawn(|| Worker)?;
    /// let found = node.inspect(pid, std::time::Duration::from_secs(5))?;
    /// assert_eq!(found.number("messages_queued"), Some(0));
    /// # Ok(()) }
    /// ```
    pub fn inspect(
        &self,
        target: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Inspection, RequestError> {
        self.check_outside()?;
        let deadline = deadline_after(timeout);
        let (reply, promise) = Reply::to_outside(self.runtime());
        self.table()
            .inspect(target.into(), reply)
            .map_err(RequestError::NotDelivered)?;
        let message = promise.wait_until(deadline)?;
        message.downcast().map_err(|_| RequestError::Dropped)
    }

    fn check_outside(&self) -> Result<(), RequestError> {
        if self.runtime().is_inside() {
            Err(RequestError::WouldBlockRuntime)
        } else {
            Ok(())
        }
    }

    /// The process that holds the name now.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # fn main() -> Result<(), longshore::Error> {
    /// let node = Node::start("example@localhost")?;
    /// assert_eq!(node.whereis("nobody"), None);
    /// # Ok(()) }
    /// ```
    pub fn whereis(&self, name: impl Into<Name>) -> Option<Pid> {
        self.table().resolve(&name.into())
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
    pub fn stop(&self) -> StopReport {
        self.stop_with(StopOptions::default())
    }

    /// Stops the node in phases, each with a deadline: listeners close; processes handle what is in their mailboxes;
    /// connections send what they have accepted and end; processes get an exit signal, [`Reason::Shutdown`], and those
    /// that do not end are killed; threads end. Returns when every `terminate` has run, or what a deadline cut off.
    ///
    /// Called inside the node's runtime (a callback, a `Drop` or a logger that a thread of the node runs, the `init` of a
    /// process that is being spawned) it cannot wait: the node is then stopped by a thread of its own, and an empty report
    /// returns at once. Called twice, the second call waits for the first.
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
    pub fn stop_with(&self, options: StopOptions) -> StopReport {
        self.0.stopper.stop(options)
    }

    /// Waits until the node has been stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] if a deadline cut something off; [`RequestError::WouldBlockRuntime`] at once if it is called
    /// inside the node's runtime, which would wait for itself.
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

impl Drop for Inner {
    fn drop(&mut self) {
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
    Instant::now() + timeout.min(YEAR)
}
