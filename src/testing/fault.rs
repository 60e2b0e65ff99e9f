//! Faults: a list that is drawn before the run, so that one can be left out without moving the others.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::world::{World, nanos};
use crate::simulation::random::Generator;

/// Something that goes wrong at a time.
///
/// Connections and processes are meant by a number, modulo how many there are at that time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The network resets a connection.
    Reset {
        /// Which.
        connection: usize,
    },
    /// The network resets a connection after some more bytes from the side that has accepted it.
    ResetAfter {
        /// Which.
        connection: usize,
        /// How many.
        bytes: usize,
    },
    /// Nothing that a connection sends arrives for a time.
    Stall {
        /// Which.
        connection: usize,
        /// How long.
        time: Duration,
    },
    /// A node does nothing for a time, as a process that was stopped by SIGSTOP, and is continued by a signal.
    Pause {
        /// Which, in the order of their start.
        node: usize,
        /// How long.
        time: Duration,
    },
    /// A node cannot reach the clients of the test, nor they it, for a time.
    Partition {
        /// Which node.
        node: usize,
        /// How long.
        time: Duration,
    },
    /// A process gets the exit signal [`Reason::Kill`](crate::Reason::Kill).
    Kill {
        /// Of which node.
        node: usize,
        /// Which of its processes.
        process: usize,
    },
    /// The next accepts of a node fail.
    FailAccepts {
        /// Which node.
        node: usize,
        /// How many.
        accepts: usize,
    },
    /// A node has no free descriptors for a time.
    NoDescriptors {
        /// Which node.
        node: usize,
        /// How long.
        time: Duration,
    },
    /// A node stops, as by [`Node::stop`](crate::Node::stop).
    Stop {
        /// Which node.
        node: usize,
    },
}

/// A kind of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// [`Fault::Reset`] and [`Fault::ResetAfter`].
    Reset,
    /// [`Fault::Stall`].
    Stall,
    /// [`Fault::Pause`].
    Pause,
    /// [`Fault::Partition`].
    Partition,
    /// [`Fault::Kill`].
    Kill,
    /// [`Fault::FailAccepts`].
    FailAccepts,
    /// [`Fault::NoDescriptors`].
    NoDescriptors,
    /// [`Fault::Stop`].
    Stop,
}

/// How many faults of which kinds [`World::inject`] draws.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultOptions {
    /// How many. 0 to 4 by default.
    pub count: RangeInclusive<usize>,
    /// The time in which they happen, from now on. One second by default.
    pub within: Duration,
    /// The longest that one of them takes. 200 ms by default.
    pub longest: Duration,
    /// Their kinds. By default resets, stalls and pauses.
    pub kinds: Vec<FaultKind>,
}

impl Default for FaultOptions {
    fn default() -> Self {
        Self {
            count: 0..=4,
            within: Duration::from_secs(1),
            longest: Duration::from_millis(200),
            kinds: vec![FaultKind::Reset, FaultKind::Stall, FaultKind::Pause],
        }
    }
}

impl FaultOptions {
    /// Sets [`count`](Self::count).
    #[must_use]
    pub fn with_count(mut self, count: RangeInclusive<usize>) -> Self {
        self.count = count;
        self
    }

    /// Sets [`within`](Self::within).
    #[must_use]
    pub fn with_within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Sets [`longest`](Self::longest).
    #[must_use]
    pub fn with_longest(mut self, time: Duration) -> Self {
        self.longest = time;
        self
    }

    /// Sets [`kinds`](Self::kinds).
    #[must_use]
    pub fn with_kinds(mut self, kinds: impl Into<Vec<FaultKind>>) -> Self {
        self.kinds = kinds.into();
        self
    }
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Each with its number and time, latest first.
    pending: Vec<(u64, usize, Fault)>,
    drawn: usize,
    left_out: Vec<usize>,
}

impl Schedule {
    /// Leaves faults of these numbers out of every list.
    pub(super) fn leave_out(&mut self, faults: &[usize]) {
        self.left_out = faults.to_vec();
    }

    pub(super) fn draw(&mut self, now_ns: u64, options: &FaultOptions, random: &mut Generator) {
        if options.kinds.is_empty() {
            return;
        }
        let (least, most) = (*options.count.start() as u64, *options.count.end() as u64);
        for _ in 0..random.between(least, most) {
            let at_ns = now_ns.saturating_add(random.below(nanos(options.within)));
            // Drawn also if it is left out, so that the others stay what they were.
            let fault = draw_fault(options, random);
            if !self.left_out.contains(&self.drawn) {
                self.pending.push((at_ns, self.drawn, fault));
            }
            self.drawn += 1;
        }
        self.pending
            // Latest first, so that the next one is taken off the end. The number decides between equal times, which
            // keeps the order the same when another fault is left out.
            .sort_by_key(|(at_ns, number, _)| std::cmp::Reverse((*at_ns, *number)));
    }

    pub(super) fn drawn(&self) -> usize {
        self.drawn
    }

    pub(super) fn next_ns(&self) -> Option<u64> {
        self.pending.last().map(|(at_ns, ..)| *at_ns)
    }

    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<(usize, Fault)> {
        if self.next_ns()? > now_ns {
            return None;
        }
        self.pending.pop().map(|(_, number, fault)| (number, fault))
    }

    /// What has not happened yet, the next first.
    pub(super) fn list(&self) -> Vec<(usize, Duration, Fault)> {
        let rows = self.pending.iter().rev();
        rows.map(|(at_ns, number, fault)| (*number, Duration::from_nanos(*at_ns), fault.clone()))
            .collect()
    }
}

/// Draws the same numbers for every kind, so that a kind does not move what is drawn next.
fn draw_fault(options: &FaultOptions, random: &mut Generator) -> Fault {
    let kind = options.kinds[random.below(options.kinds.len() as u64) as usize];
    // What there is when the fault happens is not known yet, and the remainder decides then. 2^16 is far above the
    // connections and processes of a scenario, so that no remainder is much more likely than another.
    let which = random.below(1 << 16) as usize;
    let other = random.below(1 << 16) as usize;
    let time = Duration::from_nanos(random.below(nanos(options.longest)));
    match kind {
        FaultKind::Reset if other.is_multiple_of(2) => Fault::Reset { connection: which },
        FaultKind::Reset => Fault::ResetAfter {
            connection: which,
            bytes: other % 2_000,
        },
        FaultKind::Stall => Fault::Stall {
            connection: which,
            time,
        },
        FaultKind::Pause => Fault::Pause { node: which, time },
        FaultKind::Partition => Fault::Partition { node: which, time },
        FaultKind::Kill => Fault::Kill {
            node: which,
            process: other,
        },
        FaultKind::FailAccepts => Fault::FailAccepts {
            node: which,
            accepts: 1 + other % 20,
        },
        FaultKind::NoDescriptors => Fault::NoDescriptors { node: which, time },
        FaultKind::Stop => Fault::Stop { node: which },
    }
}

impl World {
    /// Lets a fault happen now.
    pub fn apply(&self, fault: &Fault) {
        let connections = self.0.net().connections_made();
        let nodes = self.nodes();
        match *fault {
            Fault::Reset { connection } if connections > 0 => {
                self.0.net().cut_connection(connection % connections);
            }
            Fault::ResetAfter { connection, bytes } if connections > 0 => {
                // Side 1 is the one that has accepted.
                self.0.net().cut_after(connection % connections, 1, bytes);
            }
            Fault::Stall { connection, time } if connections > 0 => {
                let mut net = self.0.net();
                let until_ns = net.now_ns().saturating_add(nanos(time));
                net.stall_connection(connection % connections, until_ns);
            }
            // A list may be drawn before the first node is started, and a fault without a target has no effect.
            _ if nodes == 0 => {}
            Fault::Pause { node, time } => self.pause(node % nodes, time),
            Fault::Partition { node, time } => self.partition(node % nodes, time),
            Fault::Kill { node, process } => self.kill(node % nodes, process),
            Fault::FailAccepts { node, accepts } => self.fail_accepts(node % nodes, accepts),
            Fault::NoDescriptors { node, time } => self.exhaust_descriptors(node % nodes, time),
            Fault::Stop { node } => self.stop_node(node % nodes),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::random::Stream;

    fn drawn(left_out: &[usize]) -> Vec<(usize, Duration, Fault)> {
        let mut schedule = Schedule::default();
        schedule.leave_out(left_out);
        let options = FaultOptions::default().with_count(6..=6);
        schedule.draw(0, &options, &mut Generator::new(3, Stream::Faults));
        schedule.list()
    }

    #[test]
    fn fault_that_is_left_out_moves_no_other() {
        let all = drawn(&[]);
        assert_eq!(all.len(), 6);
        for out in 0..6 {
            let mut expected = all.clone();
            expected.retain(|(number, ..)| *number != out);
            assert_eq!(drawn(&[out]), expected);
        }
    }

    #[test]
    fn faults_come_in_the_order_of_their_times() {
        let times: Vec<_> = drawn(&[]).into_iter().map(|(_, at, _)| at).collect();
        assert!(times.is_sorted() && times.iter().all(|at| *at < Duration::from_secs(1)));
    }

    #[test]
    fn times_beyond_the_last_nanosecond_are_the_last_one() {
        let mut schedule = Schedule::default();
        let options = FaultOptions::default()
            .with_count(6..=6)
            .with_within(Duration::MAX);
        schedule.draw(u64::MAX, &options, &mut Generator::new(3, Stream::Faults));
        assert_eq!(schedule.next_ns(), Some(u64::MAX));
    }
}
