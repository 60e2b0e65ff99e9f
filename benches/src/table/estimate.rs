//! Estimates how long a campaign takes.

use super::campaign::Campaign;
use super::contender::entrants;
use super::plan::{Metric, Row};
use std::time::Duration;

/// The start and the end of the server and of the generator, and what they print.
const AROUND_A_RUN_MS: u64 = 250;
/// Ten thousand connections opened twice, and the pauses between.
const IDLE_RUN_MS: u64 = 5_000;
/// The two loads that count system calls, with the time to attach and to detach.
const COUNTED_RUN_MS: u64 = 2_200;

/// The time of all rows if no run has to be repeated.
pub fn duration(campaign: &Campaign, rows: &[Row]) -> Duration {
    Duration::from_millis(rows.iter().map(|row| row_ms(campaign, row)).sum())
}

fn row_ms(campaign: &Campaign, row: &Row) -> u64 {
    let contenders = entrants(row, &campaign.peers).len() as u64;
    let run_ms = match row.metric {
        Metric::Bytes => IDLE_RUN_MS,
        Metric::Rate | Metric::P99 => AROUND_A_RUN_MS + campaign.warm_up_ms + campaign.duration_ms,
    };
    let counted_ms = if campaign.counter.is_some() && row.has_messages() {
        COUNTED_RUN_MS
    } else {
        0
    };
    contenders * (run_ms * campaign.rounds_of(row) as u64 + counted_ms)
}
