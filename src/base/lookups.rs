//! Name lookups: each on a thread of its own, so that one that hangs holds up only those that ask for the same name.
//!
//! ```text
//!   look_up(name) ─┬─ the name is being looked up ─▶ waits with the others
//!                  └─ not yet ─▶ a thread, of [`LOOKUPS`] at most ─▶ all that wait for it
//! ```
//!
//! With more names than threads a lookup waits for one, within the deadline of its own connection. The one that asks
//! may give up meanwhile: it leaves the list, so that a name that hangs keeps nothing of connections that have ended.
//!
//! What it does not do: it remembers no answer, and knows no deadline.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::blocking::Blocking;
use crate::base::inside::RuntimeId;
use crate::base::unwind::{catch_panic, drop_catching};

/// Lookups at once.
pub(crate) const LOOKUPS: usize = 128;

type Resolve = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// A resolver of the user, in the place of the one of the operating system.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<Resolve>);

impl Resolver {
    pub(crate) fn new(
        resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(resolve))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// The addresses of a name, with port 0, or what the resolver said.
pub(crate) type Found = Result<Arc<[SocketAddr]>, Arc<str>>;

type Waiter = Box<dyn FnOnce(Found) + Send>;

/// See the module.
pub(crate) struct Lookups {
    threads: Blocking,
    resolver: Option<Resolver>,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    next_ticket: u64,
    /// Those that wait for a name that is being looked up.
    waiting: HashMap<Box<str>, BTreeMap<u64, Waiter>>,
}

/// A place in the list of those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Lookups {
    /// With a resolver of the user, or without one.
    pub(crate) fn new(runtime: RuntimeId, resolver: Option<Resolver>) -> Arc<Self> {
        Arc::new(Self {
            threads: Blocking::new(runtime, "longshore-lookups", LOOKUPS),
            resolver,
            names: Mutex::default(),
        })
    }

    /// Looks a name up, with `system` unless there is a resolver of the user, and calls the waiter with what was found,
    /// on another thread. `None`: no thread can be started.
    pub(crate) fn look_up(
        self: &Arc<Self>,
        name: &str,
        system: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
        waiter: impl FnOnce(Found) + Send + 'static,
    ) -> Option<Ticket> {
        // DNS names have no case (RFC 4343), so two spellings share one lookup.
        let name: Box<str> = name.to_ascii_lowercase().into();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = names.next_ticket;
        names.next_ticket += 1;
        if let Some(waiting) = names.waiting.get_mut(&name) {
            waiting.insert(ticket, Box::new(waiter));
            return Some(Ticket(ticket));
        }
        let (lookups, asked) = (Arc::clone(self), name.clone());
        if self
            .threads
            .run(move || lookups.run(&asked, system))
            .is_err()
        {
            return None;
        }
        // The thread takes the waiters under the same lock.
        let mut waiting: BTreeMap<u64, Waiter> = BTreeMap::new();
        waiting.insert(ticket, Box::new(waiter));
        names.waiting.insert(name, waiting);
        Some(Ticket(ticket))
    }

    /// Gives a lookup up. It goes on for others, because a resolver cannot be interrupted.
    pub(crate) fn give_up(&self, name: &str, ticket: Ticket) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let waiter = names
            .waiting
            .get_mut(&*name.to_ascii_lowercase())
            .and_then(|waiting| waiting.remove(&ticket.0));
        // Outside of the lock, because it is not known here what the waiter owns.
        drop(names);
        drop(waiter);
    }

    /// On a thread: looks the name up, and calls all that wait for it by then.
    fn run(&self, name: &str, system: impl FnOnce() -> io::Result<Vec<SocketAddr>>) {
        // All that asked have given up while it waited for a thread.
        if self.is_given_up(name) {
            return;
        }
        // The text of the error is code of the user, too.
        let found = catch_panic(|| {
            let found = self.resolve(name, system);
            found.map_err(|error| Arc::from(error.to_string()))
        });
        let found = match found {
            Ok(found) => found,
            Err(payload) => {
                drop_catching(payload);
                Err(Arc::from("the resolver panicked"))
            }
        };
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // A lookup that comes from here on asks again, because no answer is remembered.
        let waiting = names.waiting.remove(name).unwrap_or_default();
        drop(names);
        for (_, waiter) in waiting {
            waiter(found.clone());
        }
    }

    /// Whether the name has waited for a thread in vain.
    fn is_given_up(&self, name: &str) -> bool {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_given_up = names.waiting.get(name).is_none_or(BTreeMap::is_empty);
        if is_given_up {
            names.waiting.remove(name);
        }
        is_given_up
    }

    fn resolve(
        &self,
        name: &str,
        system: impl FnOnce() -> io::Result<Vec<SocketAddr>>,
    ) -> io::Result<Arc<[SocketAddr]>> {
        match &self.resolver {
            None => Ok(system()?.into()),
            Some(Resolver(resolve)) => Ok(resolve(name)?
                .into_iter()
                .map(|ip| SocketAddr::new(ip, 0))
                .collect()),
        }
    }

    /// Ends the threads that wait; a lookup that runs is left to finish on its own.
    pub(crate) fn stop(&self) {
        self.threads.stop();
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookups")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Lookups whose names hang until the sender is dropped, but for `quick`; and the names that are asked for.
    fn hanging() -> (Arc<Lookups>, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let (release, released) = mpsc::channel::<()>();
        let (asked, names) = mpsc::channel();
        let released = Mutex::new(released);
        let resolver = Resolver::new(move |name| {
            asked.send(name.to_owned()).expect("the test listens");
            match name {
                "panics" => panic!("a resolver"),
                "fails" => return Err(io::Error::other(Unspeakable)),
                "quick" => {}
                _ => {
                    let released = released.lock().unwrap_or_else(PoisonError::into_inner);
                    assert!(released.recv().is_err());
                }
            }
            Ok(vec![IpAddr::from([192, 0, 2, 1])])
        });
        let lookups = Lookups::new(RuntimeId::new(), Some(resolver));
        (lookups, release, names)
    }

    fn ask(lookups: &Arc<Lookups>, name: &str) -> (Option<Ticket>, mpsc::Receiver<Found>) {
        let (sender, found) = mpsc::channel();
        let ticket = lookups.look_up(
            name,
            || Ok(Vec::new()),
            move |found| drop(sender.send(found)),
        );
        (ticket, found)
    }

    #[test]
    fn equal_names_share_one_lookup_and_one_that_hangs_holds_up_no_other() {
        let (lookups, release, names) = hanging();
        let hung: Vec<_> = ["hangs", "HANGS", "hangs"]
            .map(|name| ask(&lookups, name))
            .into();
        assert_eq!(names.recv_timeout(LIMIT).as_deref(), Ok("hangs"));
        let (_, quick) = ask(&lookups, "quick");
        assert!(quick.recv_timeout(LIMIT).expect("found").is_ok());
        assert_eq!(names.recv_timeout(LIMIT).as_deref(), Ok("quick"));
        // The one that gives up is not called.
        lookups.give_up("hangs", hung[1].0.expect("a ticket"));
        drop(release);
        for (number, (_, found)) in hung.into_iter().enumerate() {
            let is_found = found.recv_timeout(LIMIT).is_ok();
            assert_eq!(is_found, number != 1, "{number}");
        }
        assert!(names.try_recv().is_err(), "a name is asked for once");
    }

    /// An error whose text panics.
    #[derive(Debug)]
    struct Unspeakable;

    impl fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("a text")
        }
    }

    impl std::error::Error for Unspeakable {}

    #[test]
    fn resolver_that_panics_or_whose_error_does_has_an_answer() {
        let (lookups, _release, _names) = hanging();
        for name in ["panics", "fails"] {
            let (_, found) = ask(&lookups, name);
            let found = found.recv_timeout(LIMIT).expect("an answer");
            assert_eq!(
                found.expect_err("no address"),
                "the resolver panicked".into()
            );
            assert!(lookups.names.lock().expect("lock").waiting.is_empty());
        }
    }
}
