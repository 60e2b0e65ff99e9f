//! What a row says about longshore's goals.
//!
//! The rate decides, unless the generator was at its limit: then both servers waited for it, and what decides is the
//! server's processor time for a message, against the member of the family that used the least. It is a little unfair
//! to the quicker server, which waits more often and so finds fewer messages at a time. For rows that are about what a
//! core gives (TLS, where the generator computes as much as the server) it is the processor time in any case.

use super::contender::Family;
use super::outcome::{Cell, Outcome};
use super::plan::Metric;
use crate::spread::Spread;

/// The figure that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Messages per second, or what else the row compares.
    Rate,
    /// The server's processor time for a message.
    Cpu,
}

/// One goal and what was found.
#[derive(Clone, Debug)]
pub struct Check {
    /// The goal in words.
    pub goal: String,
    /// What was found, in words.
    pub found: String,
    /// True if the goal was reached.
    pub met: bool,
}

/// The figure that decides between a contender and a family.
pub fn deciding(outcome: &Outcome, cell: &Cell, family: Family) -> By {
    let limited = |cell: &Cell| cell.generator_limited();
    match outcome.row.metric {
        Metric::Rate if outcome.row.per_core => By::Cpu,
        Metric::Rate if limited(cell) || outcome.best_of(family).is_some_and(limited) => By::Cpu,
        Metric::Rate | Metric::P99 | Metric::Bytes => By::Rate,
    }
}

/// The deciding ratio of a contender to a family.
pub fn ratio(outcome: &Outcome, cell: &Cell, family: Family) -> Option<(By, Spread)> {
    let by = deciding(outcome, cell, family);
    let ratio = match by {
        By::Rate => outcome.ratio(cell, outcome.best_of(family)?)?,
        By::Cpu => outcome.cpu_ratio(cell, outcome.thriftiest_of(family)?)?,
    };
    Some((by, ratio))
}

/// Longshore in its best flavor, which is that with the best deciding figure.
pub fn champion(outcome: &Outcome) -> Option<&Cell> {
    let best = outcome.best_of(Family::Longshore)?;
    match deciding(outcome, best, Family::Tokio) {
        By::Rate => Some(best),
        By::Cpu => outcome.thriftiest_of(Family::Longshore),
    }
}

/// Every goal of the row for one of longshore's flavors; none for others.
pub fn checks(outcome: &Outcome, cell: &Cell) -> Vec<Check> {
    let goals = outcome.row.goals;
    if cell.contender.family != Family::Longshore {
        return Vec::new();
    }
    let against = |name: &str, goal: Option<f64>, family| {
        let (by, ratio) = ratio(outcome, cell, family)?;
        Some(at_least(name, goal?, by, ratio))
    };
    let own = || {
        let alone = outcome
            .cell("longshore")
            .filter(|_| cell.contender.workers > 1)?;
        Some(at_least(
            "own one worker",
            goals.own?,
            By::Rate,
            outcome.ratio(cell, alone)?,
        ))
    };
    let bytes = || {
        Some(at_most(
            "bytes",
            goals.bytes?,
            cell.spread(Metric::Bytes)?.median,
        ))
    };
    let calls = || Some(at_most("system calls", goals.syscalls?, cell.syscalls?));
    let checks = [
        against("tokio", goals.tokio, Family::Tokio),
        against("epoll", goals.epoll, Family::Epoll),
        own(),
        bytes(),
        calls(),
    ];
    checks.into_iter().flatten().collect()
}

/// All checks in one line: `tokio 1.03 ≥ 1.00 by rate: met; …`.
pub fn describe(checks: &[Check]) -> String {
    let text = |check: &Check| {
        let word = if check.met { "met" } else { "**missed**" };
        format!("{} {}: {word}", check.found, check.goal)
    };
    checks.iter().map(text).collect::<Vec<_>>().join("; ")
}

fn at_least(name: &str, goal: f64, by: By, ratio: Spread) -> Check {
    let by = if by == By::Rate { "rate" } else { "CPU" };
    // The median is compared as it is printed: 0.997 is 1.00.
    let median = (ratio.median * 100.0).round() / 100.0;
    Check {
        goal: format!("≥ {goal:.2} by {by}"),
        found: format!("{name} {median:.2}"),
        met: median >= goal,
    }
}

fn at_most(name: &str, goal: f64, found: f64) -> Check {
    let found = (found * 100.0).round() / 100.0;
    Check {
        goal: format!("≤ {goal}"),
        found: format!("{name} {found}"),
        met: found <= goal,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{contender, plan};
    use super::*;
    use serde_json::json;

    fn cell(label: &str, rate: f64, cpu: f64, limited: bool) -> Cell {
        let run = json!({ "rate": rate, "messages": 1_000, "server_cpu_s": cpu, "generator_limited": limited });
        Cell {
            runs: vec![Ok(run)],
            ..Cell::new(contender::find(label).expect("a contender"))
        }
    }

    #[test]
    fn processor_time_decides_what_a_core_gives() {
        let cells = vec![
            cell("tokio-rustls-ct", 100.0, 1.0, false),
            cell("longshore", 95.0, 0.9, false),
        ];
        let outcome = Outcome {
            row: plan::rows("tls").remove(2),
            method: String::new(),
            date: String::new(),
            cells,
        };
        let found = describe(&checks(
            &outcome,
            champion(&outcome).expect("longshore runs"),
        ));
        assert_eq!(found, "tokio 1.11 ≥ 1.00 by CPU: met");
    }

    #[test]
    fn processor_time_decides_where_the_generator_was_the_limit() {
        let row = plan::rows("tcp64").remove(1);
        let cells = |limited| {
            vec![
                cell("epoll", 100.0, 1.0, false),
                cell("tokio-1", 100.0, 1.2, limited),
                cell("tokio-ct", 90.0, 1.0, limited),
                cell("longshore", 95.0, 0.9, false),
            ]
        };
        let found = |limited| {
            let outcome = Outcome {
                row: row.clone(),
                method: String::new(),
                date: String::new(),
                cells: cells(limited),
            };
            describe(&checks(
                &outcome,
                champion(&outcome).expect("longshore runs"),
            ))
        };
        assert!(
            found(false).starts_with(
                "tokio 0.95 ≥ 1.00 by rate: **missed**; epoll 0.95 ≥ 0.95 by rate: met"
            )
        );
        assert!(
            found(true)
                .starts_with("tokio 1.11 ≥ 1.00 by CPU: met; epoll 0.95 ≥ 0.95 by rate: met")
        );
    }
}
