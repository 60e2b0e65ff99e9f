//! A simulated machine for tests: a virtual clock, a simulated network, and the random streams of a seed.
//!
//! ```text
//!  Site of this thread ──▶ clock (virtual)     read by `clock`
//!                     ├──▶ net: sockets        made by the meta-processes' constructors in place of real ones
//!                     └──▶ trace
//! ```
//!
//! A thread that runs code of a simulated node *is at* a [`Site`]: a host of a simulated network. Code that makes a
//! socket, reads the clock or resolves a name asks [`current`] first. Without the feature `testing` none of this
//! exists.
//!
//! This module names nothing of the rest of the crate. `testing` builds nodes on top of it.

pub(crate) mod arena;
pub(crate) mod net;
#[cfg(planted)]
pub(crate) mod planted;
pub(crate) mod random;
pub(crate) mod trace;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use net::{HostId, Net};

/// Where code of a simulated node runs: a host, and the poll of its node.
#[derive(Clone)]
pub(crate) struct Site {
    net: Arc<Mutex<Net>>,
    pub(crate) host: HostId,
    /// The host whose loopback addresses and paths are meant: `host`, but for the clients of a test.
    pub(crate) via: HostId,
    pub(crate) poll: usize,
}

/// Lets the nodes of a simulation run while code of theirs, or the test, waits.
pub(crate) trait Driver {
    /// Runs until the condition holds or the virtual time comes. Returns whether the condition holds.
    fn run_until(&self, deadline_ns: u64, done: &mut dyn FnMut() -> bool) -> bool;

    /// The same, for a condition that wakes the waker that it gets when it may hold.
    fn run_until_woken(&self, deadline_ns: u64, done: &mut dyn FnMut(&Waker) -> bool) -> bool;
}

thread_local! {
    static DRIVER: RefCell<Option<Weak<dyn Driver>>> = const { RefCell::new(None) };
    static CURRENT: RefCell<Option<Site>> = const { RefCell::new(None) };
    /// Virtual time of this thread, nanoseconds.
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
}

/// The site of this thread, if it runs code of a simulated node.
pub(crate) fn current() -> Option<Site> {
    // A thread that is about to end is nowhere.
    CURRENT
        .try_with(|site| site.borrow().clone())
        .unwrap_or(None)
}

/// Whether this thread runs code of a simulated node.
pub(crate) fn is_current() -> bool {
    CURRENT
        .try_with(|site| site.borrow().is_some())
        .unwrap_or(false)
}

/// Virtual time of this thread in nanoseconds.
#[inline]
pub(crate) fn now_ns() -> u64 {
    NOW_NS.get()
}

/// Sets the virtual time of this thread.
pub(crate) fn set_now_ns(now_ns: u64) {
    NOW_NS.set(now_ns);
}

/// Lets the simulation of this thread run until the condition holds, for this long from now, and returns whether it
/// holds. `None`: this thread has no simulation, so the caller waits by itself.
pub(crate) fn wait_for(timeout: Duration, done: &mut dyn FnMut() -> bool) -> Option<bool> {
    Some(driver()?.run_until(deadline_ns(timeout), done))
}

/// The same, for a condition that wakes the waker that it gets when it may hold.
pub(crate) fn wait_for_wake(
    timeout: Duration,
    done: &mut dyn FnMut(&Waker) -> bool,
) -> Option<bool> {
    Some(driver()?.run_until_woken(deadline_ns(timeout), done))
}

/// The virtual time that is left when this time of the system is left until a deadline: whole milliseconds, because a
/// little time of the system has passed since the deadline was computed, and no virtual time.
pub(crate) fn virtual_time(left: Duration) -> Duration {
    let whole = left.as_micros().div_ceil(1_000);
    Duration::from_millis(u64::try_from(whole).unwrap_or(u64::MAX))
}

fn driver() -> Option<Rc<dyn Driver>> {
    if !is_current() {
        return None;
    }
    DRIVER.with_borrow(|driver| driver.as_ref()?.upgrade())
}

/// Virtual time of this thread after that time, nanoseconds.
fn deadline_ns(timeout: Duration) -> u64 {
    // A test that fails is not to wait for what may never come.
    if std::thread::panicking() {
        return now_ns();
    }
    let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    now_ns().saturating_add(timeout_ns)
}

/// Makes `driver` the one of this thread.
pub(crate) fn drive_by(driver: &Rc<dyn Driver>) {
    // Weak: the owner of the simulation ends it. A strong reference would keep its nodes until the thread ends.
    DRIVER.set(Some(Rc::downgrade(driver)));
}

/// Makes `driver` the one of this thread, and `site` the place where its code runs when no node runs.
pub(crate) fn install(driver: &Rc<dyn Driver>, site: &Site) {
    drive_by(driver);
    CURRENT.set(Some(site.clone()));
}

/// Whether that driver is the one of this thread.
pub(crate) fn is_driver<T: Driver + 'static>(this: &Weak<T>) -> bool {
    let own: *const T = this.as_ptr();
    DRIVER.with_borrow(|driver| {
        let current = driver.as_ref().map(Weak::as_ptr);
        current.is_some_and(|current| std::ptr::addr_eq(current, own))
    })
}

/// Leaves the simulation of this thread.
pub(crate) fn uninstall() {
    DRIVER.set(None);
    CURRENT.set(None);
}

/// The addresses that a name has at the site of this thread.
///
/// # Errors
///
/// `NotFound`: the name has none.
pub(crate) fn resolve(name: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
    match current() {
        Some(site) => site.net().resolve(name),
        None => Err(std::io::ErrorKind::NotFound.into()),
    }
}

/// Has a job done at that site after a drawn virtual time, at most this many nanoseconds.
pub(crate) fn defer(site: &Site, longest_ns: u64, job: Box<dyn FnOnce() + Send>) {
    let at = site.clone();
    site.net().defer(at, longest_ns, job);
}

impl Site {
    pub(crate) fn new(net: &Arc<Mutex<Net>>, host: HostId, via: HostId, poll: usize) -> Self {
        Self {
            net: Arc::clone(net),
            host,
            via,
            poll,
        }
    }

    /// The network of the site.
    pub(crate) fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets this thread be at the site until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered {
        // The former site is kept: a simulated node that runs code of a test's thread nests two sites.
        Entered(CURRENT.replace(Some(self.clone())))
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("host", &self.host)
            .field("poll", &self.poll)
            .finish_non_exhaustive()
    }
}

/// Restores the former site of the thread when it is dropped.
#[derive(Debug)]
pub(crate) struct Entered(Option<Site>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
