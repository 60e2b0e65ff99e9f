//! Which runtimes the calling thread is inside of.
//!
//! User code runs on many threads of a node: the workers, the monitor when every worker is stuck, the threads of the
//! blocking pools, and the thread that stops the node and drops what is left. A thread of the program runs it too, in
//! the `init` of a process that it spawns. A call that waits for the node on one of these threads waits for itself. So
//! each of them *enters* the runtime for as long as it may run user code, and every blocking call asks
//! [`RuntimeId::is_inside`] before it waits.
//!
//! ```text
//!            enter                       enter (another node: `init` on a worker here)
//!  outside ────────▶ inside of node 1 ────────────▶ inside of nodes 1 and 2
//!          ◀────────                  ◀────────────
//!            drop                        drop
//! ```
//!
//! 1. `enter` adds the runtime to the thread's list, unless it is in it already.
//! 2. Dropping what `enter` returned removes what it added.
//! 3. `stay` enters for the rest of the thread: a thread of the runtime is inside also while it ends, when the
//!    destructors of the user's thread-locals run. So the list has no destructor itself.
//!
//! What it does not do: it does not know threads that user code starts by itself. A handler that joins such a thread
//! waits for whatever that thread waits for.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// The identity of one node's runtime in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeId(u64);

/// Runtimes that a thread can be inside of. One that is inside of more counts as inside of any.
const NESTED: usize = 8;

thread_local! {
    /// The runtime that a thread of the program is inside of because it spawns a process.
    static GUEST: Cell<RuntimeId> = const { Cell::new(RuntimeId::NONE) };
    /// The runtimes that this thread is inside of: none or one, and two where nodes are nested. Free places hold
    /// `NONE`.
    static ENTERED: [Cell<RuntimeId>; NESTED] = const { [const { Cell::new(RuntimeId::NONE) }; NESTED] };
}

impl RuntimeId {
    /// No runtime.
    pub(crate) const NONE: Self = Self(0);

    /// Returns an identity that no other node of this program has.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Transition 1. The thread is inside until the result is dropped.
    #[must_use]
    pub(crate) fn enter(self) -> Entered {
        let is_new = !Self::entered(self) && Self::replace(Self::NONE, self);
        Entered {
            runtime: is_new.then_some(self),
            stays_on_its_thread: PhantomData,
        }
    }

    /// Transition 3.
    pub(crate) fn stay(self) {
        if !Self::entered(self) {
            Self::replace(Self::NONE, self);
        }
    }

    /// Returns whether a place of this thread's list holds `runtime`.
    fn entered(runtime: Self) -> bool {
        ENTERED.with(|places| places.iter().any(|place| place.get() == runtime))
    }

    /// Writes `new` into the first place that holds `old`. `false`: there is none.
    fn replace(old: Self, new: Self) -> bool {
        ENTERED.with(|places| {
            let place = places.iter().find(|place| place.get() == old);
            place.inspect(|place| place.set(new)).is_some()
        })
    }

    /// As [`RuntimeId::enter`], for a thread that spawns a process and may be one of the program.
    #[must_use]
    pub(crate) fn enter_to_spawn(self) -> Entered {
        let is_outside = !Self::is_inside_any();
        let entered = self.enter();
        // A thread of the node stays one, although it spawns.
        if is_outside {
            GUEST.set(self);
        }
        entered
    }

    /// Returns whether the calling thread is one of the program, which is inside only because it spawns a process.
    pub(crate) fn is_guest(self) -> bool {
        GUEST.get() == self
    }

    /// Returns whether the calling thread is inside of any runtime.
    pub(crate) fn is_inside_any() -> bool {
        ENTERED.with(|places| places.iter().any(|place| place.get() != Self::NONE))
    }

    /// Returns whether a wait of the calling thread for this runtime could be a wait for itself.
    pub(crate) fn is_inside(self) -> bool {
        // Free places hold `NONE`, which is no runtime to be inside of. Without a free place the thread may be inside
        // of any.
        (self != Self::NONE && Self::entered(self)) || !Self::entered(Self::NONE)
    }
}

/// The stay of one thread inside a runtime.
#[derive(Debug)]
pub(crate) struct Entered {
    /// `None` if the thread was inside before.
    runtime: Option<RuntimeId>,
    stays_on_its_thread: PhantomData<*const ()>,
}

/// Transition 2.
impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime {
            RuntimeId::replace(runtime, RuntimeId::NONE);
            if runtime.is_guest() {
                GUEST.set(RuntimeId::NONE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_is_inside_until_its_first_stay_ends() {
        let (one, other) = (RuntimeId::new(), RuntimeId::new());
        assert!(!one.is_inside());
        let first = one.enter();
        let second = one.enter();
        let nested = other.enter();
        drop(second);
        assert!(one.is_inside(), "the first stay goes on");
        assert!(other.is_inside());
        drop(first);
        assert!(!one.is_inside());
        assert!(other.is_inside(), "stays need not end in order");
        drop(nested);
        assert!(!other.is_inside());
    }

    #[test]
    fn guest_is_a_thread_of_the_program_until_its_spawn_is_done() {
        let (one, other) = (RuntimeId::new(), RuntimeId::new());
        let spawning = one.enter_to_spawn();
        assert!(one.is_guest());
        let nested = other.enter_to_spawn();
        assert!(!other.is_guest(), "it holds up the spawn in the first node");
        drop(nested);
        assert!(one.is_guest());
        drop(spawning);
        assert!(!one.is_guest());
        let _worker = one.enter();
        let _spawning = one.enter_to_spawn();
        assert!(!one.is_guest(), "a thread of the runtime that spawns");
    }

    #[test]
    fn thread_that_stays_is_inside_while_its_thread_locals_are_dropped() {
        use std::sync::mpsc::Sender;

        struct Asks(RuntimeId, Sender<bool>);
        impl Drop for Asks {
            fn drop(&mut self) {
                self.1.send(self.0.is_inside()).expect("the test listens");
            }
        }
        thread_local! {
            static ASKS: Cell<Option<Asks>> = const { Cell::new(None) };
        }
        let (sender, answers) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = RuntimeId::new();
            ASKS.set(Some(Asks(runtime, sender)));
            runtime.stay();
        });
        thread.join().expect("no panic");
        assert_eq!(answers.recv(), Ok(true));
    }

    #[test]
    fn thread_inside_of_too_many_counts_as_inside_of_any() {
        let other = RuntimeId::new();
        let stays: Vec<_> = (0..NESTED).map(|_| RuntimeId::new().enter()).collect();
        assert!(other.is_inside());
        drop(stays);
        assert!(!other.is_inside());
    }

    #[test]
    fn stay_of_one_thread_is_not_that_of_another() {
        let runtime = RuntimeId::new();
        let _stay = runtime.enter();
        let is_inside = std::thread::spawn(move || runtime.is_inside()).join();
        assert!(!is_inside.expect("no panic"));
    }
}
