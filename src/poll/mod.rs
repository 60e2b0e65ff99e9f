//! The poll loop: one `mio::Poll`, turned by the worker that is the poller, and the stripes that drive the
//! meta-processes.
//!
//! ```text
//!           turn                          run (any worker)
//!  epoll ─────────▶ readiness, timers ─▶ stripe 0 ┬ spawns ─▶ readiness ─▶ commands ─▶ flush ─▶ timers
//!                                        stripe 1 ┴ …
//! ```
//!
//! A turn waits for events, files them with their stripes and fires due timers. It runs neither user code nor
//! meta-processes: the stripes do, and they drop the message of a timer whose receiver has ended. A stripe with
//! something to do is one task in the run queue, so socket calls and TLS are stolen like any other work.
//!
//! A deadline is judged only after the readiness that was there at that moment has been handled: the time of a turn is
//! read before its last poll, and a stripe reads and writes before it calls what is due.
//!
//! This half of the crate knows nothing of actors: it delivers through [`Deliver`](crate::bridge::Deliver) and gets
//! commands through `bridge`.

mod entries;
mod list;
mod poller;
mod records;
mod stripe;

use std::fmt;
use std::sync::Arc;

use crate::bridge::{BarrierToken, Command, StripeWakers};
use crate::id::Alias;
use crate::meta::Services;
use crate::scheduler::{Turn, Wait};
pub use list::SocketInfo;
pub(crate) use mio::Registry;
pub(crate) use poller::Poller;
use stripe::Stripe;

/// The I/O half of a node.
pub(crate) struct Io {
    pub(crate) services: Arc<Services>,
    stripes: Box<[Stripe]>,
    poller: Poller,
    wakers: StripeWakers,
}

impl Io {
    pub(crate) fn new(poller: Poller, services: Arc<Services>, wakers: StripeWakers) -> Self {
        let stripes = (0..wakers.stripes()).map(Stripe::new).collect();
        Self {
            services,
            stripes,
            poller,
            wakers,
        }
    }

    /// One turn of the loop.
    pub(crate) fn turn(&self, wait: Wait) -> Turn {
        self.poller.turn(wait, &self.services, |stripe, ready| {
            self.stripes[stripe].file(ready);
            self.wakers.wake(stripe);
        })
    }

    /// Runs a stripe for one activation. `read_ms` is the clock, if it has just been read. `true`: push it again.
    pub(crate) fn run(&self, stripe: usize, read_ms: Option<u64>) -> bool {
        let word = self.wakers.word(stripe);
        // The monitor has run this stripe since the task was queued.
        if !word.begin() {
            return false;
        }
        let more = self.stripes[stripe].run(&self.services, read_ms);
        word.end(more)
    }

    /// Runs every stripe that waits, for the monitor.
    pub(crate) fn run_pending(&self) {
        for stripe in 0..self.stripes.len() {
            // The task of such a stripe stays in its run queue, and `begin` refuses it when a worker comes to it.
            if self.wakers.word(stripe).is_pending() && self.run(stripe, None) {
                self.wakers.requeue(stripe);
            }
        }
    }

    /// Notifies all meta-processes that the node takes in no new work. `called` is called once by each of the stripes,
    /// whose number is returned.
    pub(crate) fn stop_accepting(&self, called: &Arc<dyn Fn() + Send + Sync>) -> usize {
        for stripe in 0..self.stripes.len() {
            let token = BarrierToken(Arc::clone(called));
            let command = Command::StopAccepting(token);
            self.services.commands.push(stripe, command);
        }
        self.stripes.len()
    }

    /// Has all meta-processes close.
    pub(crate) fn finish(&self) {
        for stripe in 0..self.stripes.len() {
            self.services.commands.push(stripe, Command::Finish);
        }
    }

    /// Files readiness that a test makes up, of a source that a meta-process has registered.
    #[cfg(feature = "testing")]
    pub(crate) fn set_ready(&self, alias: Alias, readiness: crate::meta::Readiness) {
        if let Some(stripe) = self.stripes.get(alias.stripe()) {
            stripe.file(&mut vec![poller::Ready { alias, readiness }]);
            self.wakers.wake(alias.stripe());
        }
    }

    /// Returns the live meta-processes, one stripe after the other, so that the list is not of one moment.
    pub(crate) fn aliases(&self) -> Vec<Alias> {
        self.stripes.iter().flat_map(Stripe::aliases).collect()
    }

    /// Terminates the remaining meta-processes on this thread: sockets are closed, and live owners notified. Returns
    /// their number.
    pub(crate) fn end_all(&self) -> usize {
        self.stripes
            .iter()
            .map(|stripe| stripe.end_all(&self.services))
            .sum()
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("stripes", &self.stripes.len())
            .finish_non_exhaustive()
    }
}
