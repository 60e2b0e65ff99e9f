//! A timer of a millisecond beside load, and a million timers.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{Handled, PATIENCE, alone, eventually, node, scaled};

/// Two of them keep a worker busy.
struct Player;

impl Actor for Player {
    fn handle_message(&mut self, cx: &mut Context<'_>, from: Pid, _: Message) -> Handled {
        // The other has ended when the node stops.
        cx.send(if from == Pid::NODE { cx.pid() } else { from }, ())
            .ok();
        Ok(())
    }
}

/// Sends the time of each tick.
struct Listener(mpsc::Sender<Instant>);

impl Actor for Listener {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        self.0.send(Instant::now())?;
        Ok(())
    }
}

/// How long the timer ticks. `.ci/run long` has it tick for a minute.
fn length() -> Duration {
    let seconds = std::env::var("LONGSHORE_TICK_SECONDS");
    let seconds = seconds.map_or(scaled(10, 2), |text| text.parse().expect("seconds"));
    Duration::from_secs(seconds)
}

#[test]
fn a_timer_of_a_millisecond_does_not_drift_beside_load() {
    let _turn = alone();
    let length = length();
    let node = node(2);
    for _ in 0..4 {
        let player = node.spawn(|| Player).unwrap();
        node.send(player, ()).unwrap();
    }
    let (sender, ticks) = mpsc::channel();
    let listener = node.spawn(|| Listener(sender)).unwrap();
    let began = Instant::now();
    let interval = Duration::from_millis(1);
    let timer = node.send_every(listener, (), interval).unwrap();
    let mut times = Vec::new();
    while began.elapsed() < length {
        times.push(ticks.recv_timeout(PATIENCE).unwrap() - began);
    }
    // Each tick up to now is handled, missed, or about to be looked at by the poller.
    let due = began.elapsed().as_millis() as u64;
    let mut missed = 0;
    eventually("every tick to be accounted for", || {
        times.extend(ticks.try_iter().map(|time| time - began));
        missed = node.missed_ticks(timer);
        times.len() as u64 + missed >= due
    });
    let latest = began.elapsed().as_millis() as u64;
    node.cancel_timer(timer);
    let handled = times.len() as u64;
    // How long after its millisecond of the grid each tick was handled.
    let phase = |time: &Duration| Duration::from_nanos(u64::from(time.subsec_nanos()) % 1_000_000);
    let mut late: Vec<Duration> = times.iter().map(phase).collect();
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    println!(
        "every millisecond for {length:?} beside load: {due} due, {handled} handled, {missed} missed; behind the grid: \
         median {:?}, 99 % {:?}",
        at(0.5),
        at(0.99)
    );
    assert!(
        handled + missed <= latest + 1,
        "more ticks than milliseconds: {handled} + {missed} of {latest}"
    );
    assert!(node.stop().is_clean());
}

#[test]
fn a_million_timers_are_set_and_canceled() {
    let _turn = alone();
    let count = scaled(1_000_000, 100_000);
    let node = node(2);
    let (sender, _ticks) = mpsc::channel();
    let owner = node.spawn(|| Listener(sender)).unwrap();
    let far = Duration::from_secs(3_600);
    let began = Instant::now();
    let timers: Vec<Timer> = (0..count)
        .map(|number: u32| {
            node.send_after(owner, number, far + Duration::from_millis(number.into()))
        })
        .collect();
    let set = began.elapsed();
    assert_eq!(node.metrics().get("longshore_timers"), Some(count.into()));
    let began = Instant::now();
    assert!(timers.into_iter().all(|timer| node.cancel_timer(timer)));
    let canceled = began.elapsed();
    println!(
        "{count} timers: {:?} to set one, {:?} to cancel one",
        set / count,
        canceled / count
    );
    assert_eq!(node.metrics().get("longshore_timers"), Some(0));
    assert!(node.stop().is_clean());
}
