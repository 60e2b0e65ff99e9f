//! Who waits for whom: the handlers that wait for an answer.
//!
//! Locked only by calls that block, and by exit signals while there is one. An edge goes from a
//! process to the one that its handler has called; a process that is being started on the thread of
//! another one adds the edge from its spawner to itself.
//!
//! 1. *enter*: in one critical section the edges from the callee are followed. If they come back to a
//!    caller nothing is entered, and the cycle is returned. Two processes that call each other at once
//!    enter one after the other, so that the second one finds the first.
//! 2. *leave*: the answer has come, or the wait has ended.
//! 3. *interrupt*: an exit signal for a process that waits ends its wait.
//!
//! An edge counts only while its answer is outstanding and still in the hands of the callee: a callee
//! that has answered may call its caller back, and one that has forwarded the request does not wait. A
//! pool is no callee. What this cannot see: a [`Reply`](crate::Reply) that was sent to another process
//! inside of a message.
//!
//! Bad interleaving: a process enters, and looks for an exit signal in its mailbox before it blocks; a
//! sender puts the signal in the mailbox after that look, and looks for the edge before it is entered:
//! the process waits with a signal in its mailbox. Excluded: the edge is entered before the look at
//! the mailbox, the signal is pushed before the look at `waiting`, and both go through the
//! lock of the mailbox. Whichever is second there sees what the other one wrote before
//! (`loom_signal_ends_a_call_or_is_found_by_it`).

use std::collections::HashMap;

use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicUsize, Ordering};
use crate::id::Pid;

/// A wait that can be ended.
pub(super) trait Blocked: Clone {
    /// Whether the callee still owes the answer.
    fn is_owed(&self) -> bool;

    /// Ends the wait.
    fn interrupt(&self);
}

/// See the module.
#[derive(Debug)]
pub(super) struct Calls<W> {
    /// The number of edges.
    waiting: AtomicUsize,
    edges: Mutex<HashMap<Pid, Edge<W>>>,
}

#[derive(Debug)]
struct Edge<W> {
    to: Option<Pid>,
    traps: bool,
    wait: W,
}

impl<W> Default for Calls<W> {
    fn default() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            edges: Mutex::new(HashMap::new()),
        }
    }
}

impl<W: Blocked> Calls<W> {
    /// Transition 1. `callers`: the process that calls, and those that wait until it has started, each with whether it
    /// traps exits. `to`: the callee, if it is a process of which the answer is expected.
    pub(super) fn enter(
        &self,
        callers: &[(Pid, bool)],
        to: Option<Pid>,
        wait: &W,
    ) -> Result<(), Vec<Pid>> {
        let mut edges = self.edges.lock();
        if let Some(to) = to {
            find_cycle(&edges, callers, to)?;
        }
        let mut next = to;
        for (caller, traps) in callers {
            let edge = Edge {
                to: next,
                traps: *traps,
                wait: wait.clone(),
            };
            edges.insert(*caller, edge);
            next = Some(*caller);
        }
        // Relaxed: a sender that reads it too early has pushed its signal before, where the caller finds it; see the
        // page.
        self.waiting.store(edges.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Transition 2.
    pub(super) fn leave(&self, callers: &[(Pid, bool)]) {
        let mut edges = self.edges.lock();
        for (caller, _) in callers {
            edges.remove(caller);
        }
        self.waiting.store(edges.len(), Ordering::Relaxed);
    }

    /// Whether any process waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Transition 3, if `ends` says so of the process, of which it gets to know whether it traps exits.
    pub(super) fn interrupt(&self, pid: Pid, ends: impl FnOnce(bool) -> bool) {
        let edges = self.edges.lock();
        let Some(edge) = edges.get(&pid) else { return };
        let (traps, wait) = (edge.traps, edge.wait.clone());
        // Unlocked first, because `ends` locks a mailbox and the interrupt wakes a thread.
        drop(edges);
        if ends(traps) {
            wait.interrupt();
        }
    }
}

/// `Err`: the callers, the outermost of which is last, would wait for themselves.
fn find_cycle<W: Blocked>(
    edges: &HashMap<Pid, Edge<W>>,
    callers: &[(Pid, bool)],
    to: Pid,
) -> Result<(), Vec<Pid>> {
    let (mut chain, mut at) = (Vec::new(), to);
    loop {
        if let Some(found) = callers.iter().position(|(caller, _)| *caller == at) {
            let mut cycle: Vec<_> = callers[..=found]
                .iter()
                .rev()
                .map(|(pid, _)| *pid)
                .collect();
            cycle.append(&mut chain);
            return Err(cycle);
        }
        let Some(edge) = edges.get(&at).filter(|edge| edge.wait.is_owed()) else {
            return Ok(());
        };
        let Some(next) = edge.to else { return Ok(()) };
        chain.push(at);
        at = next;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[derive(Clone)]
    struct Owed(Rc<Cell<bool>>);

    impl Owed {
        fn new() -> Self {
            Self(Rc::new(Cell::new(true)))
        }
    }

    impl Blocked for Owed {
        fn is_owed(&self) -> bool {
            self.0.get()
        }

        fn interrupt(&self) {
            self.0.set(false);
        }
    }

    fn pid(index: u32) -> Pid {
        Pid::new(index, 1)
    }

    fn callers(indices: &[u32]) -> Vec<(Pid, bool)> {
        indices.iter().map(|index| (pid(*index), false)).collect()
    }

    #[test]
    fn cycle_is_named_in_the_order_of_the_waits() {
        let calls = Calls::default();
        let owed = Owed::new();
        let enter = |from, to| calls.enter(&callers(&[from]), Some(pid(to)), &owed);
        assert_eq!(enter(1, 2), Ok(()));
        assert_eq!(enter(2, 3), Ok(()));
        assert_eq!(enter(9, 1), Ok(()), "it waits for a chain, not for a cycle");
        assert_eq!(enter(3, 1), Err(vec![pid(3), pid(1), pid(2)]));
        assert_eq!(enter(4, 4), Err(vec![pid(4)]));
        calls.leave(&callers(&[1]));
        calls.leave(&callers(&[2]));
        calls.leave(&callers(&[9]));
        assert!(calls.is_empty());
    }

    #[test]
    fn call_that_is_answered_or_forwarded_holds_no_cycle() {
        let calls = Calls::default();
        let answered = Owed::new();
        calls
            .enter(&callers(&[1]), Some(pid(2)), &answered)
            .expect("no cycle");
        let back = || calls.enter(&callers(&[2]), Some(pid(1)), &Owed::new());
        assert_eq!(back(), Err(vec![pid(2), pid(1)]));
        answered.0.set(false);
        assert_eq!(back(), Ok(()));
    }

    #[test]
    fn process_that_is_being_started_holds_up_its_spawner() {
        let calls = Calls::default();
        // 1 spawns 2, whose `init` calls 3; 3 calls 1.
        calls
            .enter(&callers(&[2, 1]), Some(pid(3)), &Owed::new())
            .expect("no cycle");
        assert_eq!(
            calls.enter(&callers(&[3]), Some(pid(1)), &Owed::new()),
            Err(vec![pid(3), pid(1), pid(2)])
        );
        // And 2 itself cannot call the one that waits for it.
        assert_eq!(
            calls.enter(&callers(&[6, 5]), Some(pid(5)), &Owed::new()),
            Err(vec![pid(5), pid(6)])
        );
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::base::sync::atomic::AtomicBool;
    use loom::sync::Arc;
    use loom::thread;

    #[derive(Clone)]
    struct Flag(Arc<AtomicBool>);

    impl Blocked for Flag {
        fn is_owed(&self) -> bool {
            !self.0.load(Ordering::Relaxed)
        }

        fn interrupt(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn loom_signal_ends_a_call_or_is_found_by_it() {
        loom::model(|| {
            let calls = Arc::new(Calls::default());
            // The lock of the mailbox, and whether it holds a signal.
            let mailbox = Arc::new(Mutex::new(false));
            let pid = Pid::new(1, 1);
            let sender = {
                let (calls, mailbox) = (Arc::clone(&calls), Arc::clone(&mailbox));
                thread::spawn(move || {
                    *mailbox.lock() = true;
                    if !calls.is_empty() {
                        calls.interrupt(pid, |_| true);
                    }
                })
            };
            let flag = Flag(Arc::new(AtomicBool::new(false)));
            calls.enter(&[(pid, false)], None, &flag).expect("no cycle");
            let is_found = *mailbox.lock();
            sender.join().expect("no panic");
            assert!(is_found || !flag.is_owed(), "it waits with a signal");
        });
    }
}
