//! A pool: one process that spreads what it gets over workers.
//!
//! ```text
//!             main lane                      worker 1
//!  senders ──────────────▶ pool ── in turn ─▶ worker 2     the sender stays the sender
//!                           │                 worker 3
//!                           └ holds back what no worker takes, and tries again
//! ```
//!
//! 1. A message or request goes to the next worker in turn, or to the one with the fewest messages; a worker whose
//!    mailbox is full is skipped. By a key, it goes to the worker of its key only.
//! 2. When all are full it is held back, in order, and tried again when something arrives or after a millisecond. The
//!    pool holds back as many as one round of worker mailboxes; beyond that a request is answered with an error and a
//!    message is dropped, counted and visible in `inspect`.
//! 3. A worker that ends, for whatever reason, is replaced; if its `init` fails or its factory panics, again after a
//!    moment.
//! 4. The end of the pool ends its workers with the same reason.
//!
//! A pool does not own connections: it would hand one connection's bytes to several workers, so a listener refuses it.

mod distribution;
mod info;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

pub use info::PoolInfo;

use super::{Actor, Context, make};
use crate::bridge::TimerEvent;
use crate::bridge::request::Reply;
use crate::error::Reason;
use crate::error::{ConfigError, SpawnError};
use crate::id::{Pid, Target};
use crate::inspect::Inspection;
use crate::message::Message;
use crate::process::envelope::Payload;
use crate::process::{Behavior, MailboxPolicy, ProcessContext, SpawnOptions};
use distribution::{Distribution, Held};

/// Until what was held back is tried again.
const RETRY: Duration = Duration::from_millis(1);
/// Until a worker is tried again that did not start.
const RESPAWN: Duration = Duration::from_millis(100);

type Factory = Box<dyn FnMut() -> Result<Box<dyn Behavior>, SpawnError> + Send>;

/// An actor that spreads its messages over workers.
///
/// - A message or request goes to the next worker in turn, as coming from its sender. A worker whose mailbox is full is
///   skipped. Other choices are [`with_least_busy`](Self::with_least_busy) and [`with_key`](Self::with_key).
/// - When all are full it is held back, in order, and tried again after a millisecond. The pool holds back as many as
///   one round of worker mailboxes; beyond that a request is answered with an error and a message is dropped and
///   counted (`dropped` in an inspection).
/// - A worker that ends, for whatever reason, is replaced; if its `init` fails or its factory panics, again after 100
///   ms.
/// - The end of the pool ends its workers with the same reason.
/// - It may be the owner of a UDP socket, and not of TCP connections.
///
/// ```
/// use longshore::prelude::*;
/// # struct Worker;
/// # impl Actor for Worker {}
/// # fn main() -> Result<(), longshore::Error> {
/// let node = Node::start("pool@localhost")?;
/// let pool = Pool::new(5, || Worker).with_worker_mailbox(256);
/// let pid = node.spawn_register("handlers", || pool)?;
/// # Ok(()) }
/// ```
#[must_use = "a pool is given to `spawn`"]
pub struct Pool {
    size: usize,
    worker_mailbox: u32,
    worker_options: SpawnOptions,
    factory: Factory,
    workers: Vec<Pid>,
    /// Where each of them is in `workers`.
    places: HashMap<Pid, usize>,
    next: usize,
    distribution: Distribution,
    held_back: VecDeque<Held>,
    retry_is_set: bool,
    forwarded: u64,
    dropped: u64,
    restarted: u64,
}

/// Commands to a running pool, sent as ordinary messages.
///
/// ```
/// # use longshore::prelude::*;
/// # use longshore::PoolCommand;
/// # struct Worker;
/// # impl Actor for Worker {}
/// # fn main() -> Result<(), longshore::Error> {
/// # let node = Node::start("example@localhost")?;
/// let pool = node.spawn(|| Pool::new(2, || Worker))?;
/// node.send(pool, PoolCommand::Add(3))?; // five workers
/// node.send(pool, PoolCommand::Remove(1))?; // four
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolCommand {
    /// Adds this many workers.
    Add(usize),
    /// Removes this many workers; the pool keeps at least one. They handle what they have got and end with
    /// [`Reason::Shutdown`].
    Remove(usize),
}

/// Messages of the pool to itself.
enum Retry {
    Retry,
    Respawn,
}

impl Pool {
    /// `size` workers made by the factory.
    ///
    /// ```
    /// use longshore::prelude::*;
    ///
    /// struct Worker;
    /// impl Actor for Worker {}
    ///
    /// let mut made = 0;
    /// let pool = Pool::new(5, move || {
    ///     made += 1; // called for each worker, those that replace others included
    ///     Worker
    /// });
    /// # drop(pool);
    /// ```
    pub fn new<A: Actor>(size: usize, mut factory: impl FnMut() -> A + Send + 'static) -> Self {
        Self {
            size,
            worker_mailbox: 1_024,
            worker_options: SpawnOptions::default(),
            factory: Box::new(move || make(&mut factory)),
            workers: Vec::new(),
            places: HashMap::new(),
            next: 0,
            distribution: Distribution::InTurn,
            held_back: VecDeque::new(),
            retry_is_set: false,
            forwarded: 0,
            dropped: 0,
            restarted: 0,
        }
    }

    /// How many messages a worker's mailbox may hold; 1,024 by default.
    pub fn with_worker_mailbox(mut self, messages: u32) -> Self {
        self.worker_mailbox = messages;
        self
    }

    /// The options of each worker: a log level, a thread of its own, values of its environment. A bound of the mailbox
    /// is that of [`with_worker_mailbox`](Self::with_worker_mailbox), whichever is called last.
    ///
    /// `init` refuses a name, because the workers would share it, and a mailbox that drops messages, because the pool
    /// holds back what a worker refuses.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    /// // Workers that block by nature: each has a thread.
    /// let options = SpawnOptions::default().with_own_thread();
    /// let pool = Pool::new(4, || Worker).with_worker_options(options);
    /// # drop(pool);
    /// ```
    pub fn with_worker_options(mut self, options: SpawnOptions) -> Self {
        if let Some(messages) = options.mailbox_bound {
            self.worker_mailbox = messages;
        }
        self.worker_options = options;
        self
    }

    /// Gives each message to the worker with the fewest messages, the one that it handles included; to the next in turn
    /// among equals. Looks at every worker for every message.
    pub fn with_least_busy(mut self) -> Self {
        self.distribution = Distribution::LeastBusy;
        self
    }

    /// Gives messages with the same key to the same worker, in order, as long as the number of workers is the same: to
    /// worker `key` modulo their number. A full worker is not skipped; the pool holds everything back until it has
    /// room.
    ///
    /// ```
    /// use longshore::prelude::*;
    /// # struct Worker;
    /// # impl Actor for Worker {}
    ///
    /// struct Order { customer: u64 }
    ///
    /// let pool = Pool::new(8, || Worker).with_key(|_from, message| {
    ///     message.downcast_ref::<Order>().map_or(0, |order| order.customer)
    /// });
    /// # drop(pool);
    /// ```
    pub fn with_key(mut self, key: impl Fn(Pid, &Message) -> u64 + Send + 'static) -> Self {
        self.distribution = Distribution::ByKey(Box::new(key));
        self
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.size == 0 {
            return Err(ConfigError::new("size", "a pool needs at least one worker"));
        }
        if self.worker_mailbox == 0 {
            return Err(ConfigError::new("worker_mailbox", "must be at least 1"));
        }
        if self.worker_options.name.is_some() {
            let problem = "the workers of a pool cannot share one";
            return Err(ConfigError::new("name", problem));
        }
        if self.worker_options.mailbox_policy != MailboxPolicy::Refuse {
            let problem = "a pool holds back what a worker refuses, so it must not drop messages";
            return Err(ConfigError::new("mailbox_policy", problem));
        }
        self.worker_options.validate()
    }

    fn spawn_worker(&mut self, env: &mut ProcessContext<'_>) -> Result<(), SpawnError> {
        // Linked, so that the end of a worker comes here as an exit, and a pool that is killed takes its workers along.
        let options = self
            .worker_options
            .clone()
            .with_mailbox_bound(self.worker_mailbox)
            .with_link();
        let behavior = (self.factory)()?;
        let pid = env.spawn(&options, behavior)?;
        self.places.insert(pid, self.workers.len());
        self.workers.push(pid);
        Ok(())
    }

    /// Brings the number of workers to `size`; tries again later if a worker does not start.
    fn fill(&mut self, env: &mut ProcessContext<'_>) {
        while self.workers.len() < self.size {
            if self.spawn_worker(env).is_err() {
                // Later, and not in a loop: a factory that always panics would hold this handler for ever.
                send_later(env, Retry::Respawn, RESPAWN);
                return;
            }
        }
    }

    fn set_retry(&mut self, env: &ProcessContext<'_>) {
        // One timer is enough, however many messages are held back meanwhile.
        if !std::mem::replace(&mut self.retry_is_set, true) {
            send_later(env, Retry::Retry, RETRY);
        }
    }

    fn handle_command(&mut self, env: &mut ProcessContext<'_>, command: PoolCommand) {
        match command {
            PoolCommand::Add(workers) => {
                self.size = self.size.saturating_add(workers);
                self.fill(env);
            }
            PoolCommand::Remove(workers) => {
                // A pool without workers would hold everything back for ever.
                self.size = self.size.saturating_sub(workers).max(1);
                while self.workers.len() > self.size {
                    let Some(worker) = self.workers.pop() else {
                        break;
                    };
                    self.places.remove(&worker);
                    // Unlinked first: its end is wanted, and must not be taken for a failure and replaced.
                    env.unlink(Target::Pid(worker));
                    // It may have ended just now.
                    let _ =
                        env.processes
                            .send_exit_behind(env.control.pid, worker, Reason::Shutdown);
                }
                // It may point behind the last worker now.
                self.next %= self.workers.len().max(1);
            }
        }
    }

    /// Rule 3. A signal from any other sender ends the pool.
    fn handle_exit(
        &mut self,
        env: &mut ProcessContext<'_>,
        from: &Target,
        reason: Reason,
    ) -> Result<(), Reason> {
        let place = match from {
            Target::Pid(pid) => self.places.remove(pid),
            _ => None,
        };
        let Some(position) = place else {
            // A normal end of another process is no reason for a pool to end.
            return if reason == Reason::Normal {
                Ok(())
            } else {
                Err(reason)
            };
        };
        self.restarted += 1;
        let before = self.workers.len();
        if self.spawn_worker(env).is_ok() {
            // The newcomer takes the place, so that the turn goes on as before.
            self.workers.swap_remove(position);
            self.places.insert(self.workers[position], position);
        } else {
            self.workers.remove(position);
            // The places of the workers behind it have moved.
            let places = self.workers.iter().enumerate();
            self.places = places.map(|(place, worker)| (*worker, place)).collect();
            send_later(env, Retry::Respawn, RESPAWN);
        }
        debug_assert!(self.workers.len() <= before);
        self.next %= self.workers.len().max(1);
        Ok(())
    }
}

fn send_later(env: &ProcessContext<'_>, retry: Retry, delay: Duration) {
    let me = env.control.pid;
    env.processes.timers.after(
        delay,
        TimerEvent::Send {
            to: Target::Pid(me),
            from: me,
            message: Message::new(retry),
        },
    );
}

impl Actor for Pool {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        self.validate()?;
        // Before the workers are spawned: one that ends at once must not end the pool.
        cx.set_trap_exit(true);
        for _ in 0..self.size {
            if let Err(error) = self.spawn_worker(cx.env()) {
                // The workers that run already would stay without a pool.
                self.terminate(cx, &Reason::Shutdown);
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let message = match message {
            Message::Exit(exit) => return self.handle_exit(cx.env(), &exit.from, exit.reason),
            message => message,
        };
        let message = match message.take::<PoolCommand>() {
            Ok(command) => {
                self.handle_command(cx.env(), command);
                return Ok(());
            }
            Err(message) => message,
        };
        match message.take::<Retry>() {
            Ok(Retry::Retry) => {
                self.retry_is_set = false;
                self.flush(cx.env());
            }
            Ok(Retry::Respawn) => self.fill(cx.env()),
            Err(message) => {
                let key = self.key(from, &message);
                let payload = Payload::Message(message.into());
                self.dispatch(cx.env(), Held { from, key, payload });
            }
        }
        Ok(())
    }

    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Result<(), Reason> {
        let key = self.key(from, &message);
        let payload = Payload::Call(Box::new((message, reply)));
        self.dispatch(cx.env(), Held { from, key, payload });
        Ok(())
    }

    fn handle_inspect(&mut self, _: &mut Context<'_>) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("pool_size", self.size);
        inspection.add("workers", self.workers.len());
        inspection.add("worker_mailbox", self.worker_mailbox);
        inspection.add("forwarded", self.forwarded);
        inspection.add("held_back", self.held_back.len());
        inspection.add("dropped", self.dropped);
        inspection.add("restarted", self.restarted);
        inspection
    }

    fn terminate(&mut self, cx: &mut Context<'_>, reason: &Reason) {
        // A worker does not trap exits, and `Normal` would not end it.
        let reason = if *reason == Reason::Normal {
            Reason::Shutdown
        } else {
            reason.clone()
        };
        for worker in self.workers.drain(..) {
            // Those that have ended already need no signal.
            let _ = cx.send_exit(worker, reason.clone());
        }
    }

    fn is_pool(&self) -> bool {
        true
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.size)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
