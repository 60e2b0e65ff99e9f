//! The order of tasks: which of those that could run runs next.

use crate::simulation::random::Generator;

/// How a [`World`](super::World) chooses the next task.
///
/// Every choice is one that the scheduler of a real node can make: its workers run tasks in parallel, steal them from
/// each other, and can be kept from running by the operating system for any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// One of the other policies, by the seed.
    #[default]
    BySeed,
    /// First in, first out; the sockets are looked at when nothing else is to be done.
    Fifo,
    /// Any task that could run.
    Random,
    /// The task that was queued last: the others wait for as long as it has successors.
    Newest,
    /// One task is kept from running until there is no other, or for some hundred tasks; then it is the turn of
    /// another.
    Starve,
}

/// Tasks after which [`Policy::Starve`] keeps another one from running.
const STARVED_FOR: u32 = 300;
/// Tasks after which the sockets are looked at although there are others, with every policy that does not draw this.
const POLL_TICKS: u32 = 61;

/// What could run: the tasks of one queue, and whether the poll has anything to report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidates {
    pub(super) tasks: usize,
    pub(super) can_poll: bool,
}

/// What runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The task at this place of the queue.
    Task(usize),
    Poll,
}

/// Chooses.
#[derive(Debug)]
pub(super) struct Chooser {
    policy: Policy,
    random: Generator,
    tick: u32,
    starved: Option<u32>,
    starved_for: u32,
}

impl Chooser {
    pub(super) fn new(policy: Policy, mut random: Generator) -> Self {
        let policy = match policy {
            Policy::BySeed => match random.below(4) {
                0 => Policy::Fifo,
                1 => Policy::Newest,
                2 => Policy::Starve,
                _ => Policy::Random,
            },
            policy => policy,
        };
        Self {
            policy,
            random,
            tick: 0,
            starved: None,
            starved_for: 0,
        }
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    /// What an activation takes, in nanoseconds.
    pub(super) fn cost_ns(&mut self, longest_ns: u64) -> u64 {
        self.random.between(0, longest_ns)
    }

    /// A place below `count`.
    pub(super) fn pick(&mut self, count: usize) -> usize {
        self.random.below(count as u64) as usize
    }

    /// What runs next; `number` gives the number of the task at a place.
    pub(super) fn choose(
        &mut self,
        candidates: Candidates,
        number: impl Fn(usize) -> u32,
    ) -> Choice {
        let Candidates { tasks, can_poll } = candidates;
        self.tick = self.tick.wrapping_add(1);
        if tasks == 0 {
            // The node would be no candidate if its poll had nothing to report either.
            return Choice::Poll;
        }
        let is_polls_turn = can_poll && self.tick.is_multiple_of(POLL_TICKS);
        match self.policy {
            Policy::Fifo if is_polls_turn => Choice::Poll,
            Policy::Fifo => Choice::Task(0),
            Policy::Newest if is_polls_turn => Choice::Poll,
            Policy::Newest => Choice::Task(tasks - 1),
            Policy::Starve => self.choose_but_one(candidates, number),
            // `new` has put another policy in the place of `BySeed`.
            Policy::Random | Policy::BySeed => {
                let drawn = self.pick(tasks + usize::from(can_poll));
                match drawn < tasks {
                    true => Choice::Task(drawn),
                    false => Choice::Poll,
                }
            }
        }
    }

    fn choose_but_one(&mut self, candidates: Candidates, number: impl Fn(usize) -> u32) -> Choice {
        let Candidates { tasks, can_poll } = candidates;
        self.starved_for += 1;
        if self.starved.is_none() || self.starved_for > STARVED_FOR {
            self.starved = Some(number(self.pick(tasks)));
            self.starved_for = 0;
        }
        // By its number: the place of a task in the queue changes with each one that runs.
        let other = (0..tasks).find(|place| Some(number(*place)) != self.starved);
        match other {
            // Processes that keep each other busy would keep every timer and socket from being looked at.
            Some(_) if can_poll && self.tick.is_multiple_of(POLL_TICKS) => Choice::Poll,
            Some(place) => Choice::Task(place),
            // The poll may have something to report for ever: the starved task has its turn too.
            None if can_poll && !self.tick.is_multiple_of(POLL_TICKS) => Choice::Poll,
            None => Choice::Task(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::random::Stream;

    fn chooser(policy: Policy) -> Chooser {
        Chooser::new(policy, Generator::new(1, Stream::Scheduler))
    }

    const FOUR: Candidates = Candidates {
        tasks: 4,
        can_poll: true,
    };

    #[test]
    fn starving_policy_polls_also_while_others_keep_each_other_busy() {
        let mut chooser = chooser(Policy::Starve);
        let choices = (0..122).map(|_| chooser.choose(FOUR, |place| place as u32));
        assert_eq!(choices.filter(|choice| *choice == Choice::Poll).count(), 2);
    }

    #[test]
    fn first_and_newest_take_the_ends_of_the_queue_and_poll_now_and_then() {
        for (policy, place) in [(Policy::Fifo, 0), (Policy::Newest, 3)] {
            let mut chooser = chooser(policy);
            let choices: Vec<_> = (0..122)
                .map(|_| chooser.choose(FOUR, |place| place as u32))
                .collect();
            let polls = choices
                .iter()
                .filter(|choice| **choice == Choice::Poll)
                .count();
            assert_eq!(polls, 2, "{policy:?}");
            assert!(
                choices
                    .iter()
                    .all(|choice| matches!(choice, Choice::Poll) || *choice == Choice::Task(place))
            );
        }
    }

    #[test]
    fn random_takes_every_task_and_the_poll() {
        let mut chooser = chooser(Policy::Random);
        let choices: Vec<_> = (0..200)
            .map(|_| chooser.choose(FOUR, |place| place as u32))
            .collect();
        for expected in [Choice::Task(0), Choice::Task(3), Choice::Poll] {
            assert!(choices.contains(&expected));
        }
    }

    #[test]
    fn starved_task_runs_only_when_there_is_no_other() {
        let mut chooser = chooser(Policy::Starve);
        let first = chooser.choose(FOUR, |place| place as u32);
        let starved = chooser.starved.expect("one is starved");
        assert_ne!(first, Choice::Task(starved as usize));
        let only = Candidates {
            tasks: 1,
            can_poll: true,
        };
        let polled = (0..POLL_TICKS).map(|_| chooser.choose(only, |_| starved));
        let polls = polled.filter(|choice| *choice == Choice::Poll).count();
        assert_eq!(polls, POLL_TICKS as usize - 1, "it runs now and then");
        let only = Candidates {
            tasks: 1,
            can_poll: false,
        };
        assert_eq!(chooser.choose(only, |_| starved), Choice::Task(0));
    }
}
