//! Many seeds, and what fails made small.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::world::{World, WorldOptions};

/// Lines of the trace in a report.
const LINES: usize = 60;

/// Runs a scenario in a world for each seed, and reports the first one that fails.
///
/// A scenario fails by a panic, its own or that of an [invariant](World::invariant). The report has the seed, the
/// faults of the [list](World::inject) that the failure needs (it is run again without each of them), and the end of
/// the trace. Run that seed alone, under a debugger, with the environment variable `LONGSHORE_SEEDS`: a seed, or a
/// range `from..to`.
///
/// ```
/// use longshore::testing::{TestNode, explore};
///
/// explore(0..20, |world| {
///     let node = TestNode::start(world);
///     world.run_until_idle();
///     assert!(node.stop().is_clean());
/// });
/// ```
///
/// # Panics
///
/// When a seed fails, or the variable is neither a seed nor a range.
#[track_caller]
pub fn explore(seeds: impl IntoIterator<Item = u64>, scenario: impl Fn(&World)) {
    explore_with(&WorldOptions::default(), seeds, scenario);
}

/// The same, in worlds with these options.
///
/// # Panics
///
/// As [`explore`].
#[track_caller]
pub fn explore_with(
    options: &WorldOptions,
    seeds: impl IntoIterator<Item = u64>,
    scenario: impl Fn(&World),
) {
    let chosen = std::env::var("LONGSHORE_SEEDS").ok();
    let seeds: Vec<u64> = match &chosen {
        Some(text) => parse(text).unwrap_or_else(|| panic!("LONGSHORE_SEEDS is {text:?}")),
        None => seeds.into_iter().collect(),
    };
    for seed in seeds {
        if let Err(failure) = run(options, seed, &[], &scenario) {
            let failure = shrink(options, seed, &scenario, failure);
            panic!("{}", failure.report());
        }
    }
}

/// The first of the seeds that fails, if one does.
pub fn first_failure(
    options: &WorldOptions,
    seeds: impl IntoIterator<Item = u64>,
    scenario: impl Fn(&World),
) -> Option<Failure> {
    seeds
        .into_iter()
        .find_map(|seed| run(options, seed, &[], &scenario).err())
}

/// A seed, or `from..to`.
fn parse(text: &str) -> Option<Vec<u64>> {
    match text.split_once("..") {
        Some((from, to)) => Some((from.trim().parse().ok()?..to.trim().parse().ok()?).collect()),
        None => Some(vec![text.trim().parse().ok()?]),
    }
}

/// How a scenario has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What the panic says.
    pub message: String,
    /// The end of the trace.
    pub trace: String,
    /// Numbers of faults that the failure does not need.
    pub left_out: Vec<usize>,
    /// Faults that were drawn.
    pub drawn: usize,
}

impl Failure {
    fn report(&self) -> String {
        let Self {
            seed,
            message,
            trace,
            left_out,
            drawn,
        } = self;
        let needed: Vec<_> = (0..*drawn)
            .filter(|fault| !left_out.contains(fault))
            .collect();
        format!(
            "seed {seed} fails: {message}\nfaults that it needs: {needed:?} of {drawn}\n{trace}\nrun it again with LONGSHORE_SEEDS={seed}"
        )
    }
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        })
        .unwrap_or_else(|| "a panic without text".to_owned())
}

fn run(
    options: &WorldOptions,
    seed: u64,
    left_out: &[usize],
    scenario: &impl Fn(&World),
) -> Result<(), Failure> {
    let world = World::with(seed, options.clone());
    world.leave_out(left_out);
    // Of the world only the trace is looked at behind a panic.
    let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&world)));
    outcome.map_err(|payload| Failure {
        seed,
        message: text_of(&*payload),
        trace: world.trace(LINES),
        left_out: left_out.to_vec(),
        drawn: world.faults_drawn(),
    })
}

/// Leaves out every fault without which the scenario still fails.
fn shrink(
    options: &WorldOptions,
    seed: u64,
    scenario: &impl Fn(&World),
    mut failure: Failure,
) -> Failure {
    // One run for each fault: to try all subsets would take a number of runs that doubles with each of them.
    for fault in 0..failure.drawn {
        let mut left_out = failure.left_out.clone();
        left_out.push(fault);
        // Any failure counts, also one with another message. What is reported is the failure of the smaller run as a
        // whole, so message, trace and faults belong together.
        if let Err(smaller) = run(options, seed, &left_out, scenario) {
            failure = smaller;
        }
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fault, FaultKind, FaultOptions};
    use std::time::Duration;

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!(parse("7"), Some(vec![7]));
        assert_eq!(parse("3..6"), Some(vec![3, 4, 5]));
        assert_eq!(parse("x"), None);
    }

    #[test]
    fn failure_keeps_only_the_faults_that_it_needs() {
        let options = FaultOptions::default()
            .with_count(8..=8)
            .with_kinds([FaultKind::Stall, FaultKind::Pause]);
        let scenario = |world: &World| {
            world.inject(&options);
            let has_pause = world
                .faults()
                .iter()
                .any(|(_, _, fault)| matches!(fault, Fault::Pause { .. }));
            world.advance(Duration::from_secs(2));
            assert!(!has_pause, "a pause");
        };
        let first = first_failure(&WorldOptions::default(), 0..50, scenario).expect("one fails");
        let small = shrink(&WorldOptions::default(), first.seed, &scenario, first);
        assert_eq!((small.drawn, small.left_out.len()), (8, 7));
        assert!(small.report().contains("a pause"), "{}", small.report());
    }
}
