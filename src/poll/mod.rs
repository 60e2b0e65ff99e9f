//! The poll loop: one `mio::Poll`, turned by whoever has the duty, and the stripes that drive the meta-processes.
//!
//! ```text
//!           turn                          run (any worker)
//!  epoll ─────────▶ readiness, timers ─▶ stripe 0 ┬ births ─▶ readiness ─▶ commands ─▶ flush
//!                                        stripe 1 ┴ …
//! ```
//!
//! A turn waits for events, files them with their stripes and fires due timers; it runs no user code and no meta-process.
//! A stripe with something to do is one task in the run queue, so socket calls and TLS are stolen like any other work.
//!
//! This half of the crate knows nothing of actors: it delivers through [`Deliver`](crate::message::Deliver) and is told
//! what to do through `command`.

mod stripe;
mod turn;

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

use crossbeam_queue::SegQueue;

use crate::command::{Bell, Command};
use crate::error::SpawnError;
use crate::id::{Alias, Pid};
use crate::meta::{MetaProcess, Services};
use crate::scheduler::{Place, Schedule, Scheduler, Task, Wait};
use stripe::Stripe;
pub(crate) use turn::Interrupt;
use turn::Poller;

/// The I/O half of a node.
pub(crate) struct Io {
    pub(crate) services: Services,
    stripes: Box<[Stripe]>,
    poller: Poller,
    bells: Arc<Bells>,
}

/// The schedule words of the stripes.
pub(crate) struct Bells {
    words: Box<[Schedule]>,
    scheduler: Arc<Scheduler>,
}

impl Bells {
    pub(crate) fn new(stripes: usize, scheduler: Arc<Scheduler>) -> Arc<Self> {
        Arc::new(Self {
            words: std::iter::repeat_with(Schedule::new)
                .take(stripes)
                .collect(),
            scheduler,
        })
    }
}

impl Bell for Arc<Bells> {
    #[inline]
    fn ring(&self, stripe: usize) {
        if self.words[stripe].notify() {
            self.scheduler.push(Task::stripe(stripe), Place::Back);
        }
    }
}

/// The poll and what wakes it, before the rest of the node exists.
pub(crate) struct Selector {
    poller: Poller,
    pub(crate) registry: mio::Registry,
    pub(crate) interrupt: Interrupt,
}

impl Selector {
    /// # Errors
    ///
    /// The operating system has no more descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let (poller, registry, interrupt) = Poller::new()?;
        Ok(Self {
            poller,
            registry,
            interrupt,
        })
    }
}

impl Io {
    pub(crate) fn new(poller: Poller, services: Services, bells: Arc<Bells>) -> Self {
        let stripes = (0..bells.words.len()).map(Stripe::new).collect();
        Self {
            services,
            stripes,
            poller,
            bells,
        }
    }

    /// The births of so many stripes.
    pub(crate) fn births(stripes: usize) -> Box<[SegQueue<crate::meta::Newborn>]> {
        std::iter::repeat_with(SegQueue::new)
            .take(stripes)
            .collect()
    }

    /// Starts a meta-process.
    pub(crate) fn spawn(
        &self,
        parent: Pid,
        meta: Box<dyn MetaProcess>,
    ) -> Result<Alias, SpawnError> {
        self.services.spawn(parent, meta)
    }

    /// One turn of the loop. `true`: the interrupt came in it.
    pub(crate) fn turn(&self, wait: Wait) -> bool {
        self.poller.turn(wait, &self.services, |stripe, ready| {
            self.stripes[stripe].file(ready);
            self.bells.ring(stripe);
        })
    }

    /// Runs a stripe for one activation. `true`: push it again.
    pub(crate) fn run(&self, stripe: usize) -> bool {
        let word = &self.bells.words[stripe];
        if !word.begin() {
            return false;
        }
        let more = self.stripes[stripe].run(&self.services);
        word.end(more)
    }

    /// Runs every stripe that waits, for the monitor.
    pub(crate) fn run_pending(&self) {
        for stripe in 0..self.stripes.len() {
            if self.bells.words[stripe].is_pending() && self.run(stripe) {
                self.bells.scheduler.push(Task::stripe(stripe), Place::Back);
            }
        }
    }

    /// Tells all meta-processes that the node takes in no new work.
    pub(crate) fn stop_accepting(&self) {
        for stripe in 0..self.stripes.len() {
            self.services.commands.push(stripe, Command::StopAccepting);
        }
    }

    /// Tells all meta-processes to end.
    pub(crate) fn finish(&self) {
        for stripe in 0..self.stripes.len() {
            self.services.commands.push(stripe, Command::Finish);
        }
    }

    /// The meta-processes that live. Asks each stripe, so the answer is of different moments.
    pub(crate) fn aliases(&self) -> Vec<Alias> {
        self.stripes.iter().flat_map(Stripe::aliases).collect()
    }

    /// Ends what is left, without a thread that would run it: sockets are closed, owners are told as far as they live.
    /// Returns how many it were.
    pub(crate) fn end_all(&self) -> usize {
        self.stripes
            .iter()
            .map(|stripe| stripe.end_all(&self.services))
            .sum()
    }

    /// The poller of a selector, for [`Io::new`].
    pub(crate) fn split(selector: Selector) -> (Poller, mio::Registry) {
        (selector.poller, selector.registry)
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("stripes", &self.stripes.len())
            .finish_non_exhaustive()
    }
}

/// For [`Processes::io`](crate::process::Processes): the half that the actors do not know.
pub(crate) fn opaque(io: &Arc<Io>) -> std::sync::Weak<dyn Any + Send + Sync> {
    let weak: std::sync::Weak<Io> = Arc::downgrade(io);
    weak
}
