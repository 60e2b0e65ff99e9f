//! Timers that are set and canceled before they fire, longshore beside tokio: what a timeout costs that is not needed.
//!
//! ```text
//! cargo run --release --bin timers
//! cargo run --release --bin timers -- --timers 100000 --rounds 3
//! ```
//!
//! Rounds are interleaved. A timer of longshore is a message for a process, set from outside of the node; one of tokio
//! is a boxed `Sleep` that is polled once. Due times are spread over an hour and more.

use longshore::prelude::*;
use longshore_bench::arguments::Arguments;
use longshore_bench::spread::Spread;
use std::future::Future;
use std::hint::black_box;
use std::task::{Context as TaskContext, Waker};
use std::time::{Duration, Instant};

/// The receiver of timers that never fire.
struct Idle;

impl Actor for Idle {}

/// Nanoseconds for each timer.
#[derive(Clone, Copy)]
struct Cost {
    set: f64,
    cancel: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::from_env();
    let timers = arguments.value("timers", 1_000_000_u32);
    let rounds = arguments.value("rounds", 5_usize);
    arguments.refuse_unknown();
    let node = Node::start("timers@localhost")?;
    let owner = node.spawn(|| Idle)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(longshore(&node, owner, timers));
        theirs.push(runtime.block_on(async { tokio(timers) }));
    }
    println!("| {timers} timers | longshore, ns | tokio, ns | tokio/longshore |");
    println!("|---|---|---|---|");
    for (name, figure) in [
        ("set", (|cost| cost.set) as fn(Cost) -> f64),
        ("cancel", |cost| cost.cancel),
        ("both", |cost| cost.set + cost.cancel),
    ] {
        let median = |costs: &[Cost]| {
            Spread::of(costs.iter().map(|cost| figure(*cost))).map_or(f64::NAN, |all| all.median)
        };
        let pairs = ours.iter().zip(&theirs);
        let ratio = Spread::of(pairs.map(|(ours, theirs)| figure(*theirs) / figure(*ours)))
            .map_or_else(|| "–".to_owned(), Spread::as_ratio);
        println!(
            "| {name} | {:.0} | {:.0} | {ratio} |",
            median(&ours),
            median(&theirs)
        );
    }
    Ok(())
}

/// When timer `number` is due.
fn due(number: u32) -> Duration {
    Duration::from_secs(3_600) + Duration::from_millis(number.into())
}

fn longshore(node: &Node, owner: Pid, count: u32) -> Cost {
    let began = Instant::now();
    let timers: Vec<Timer> = (0..count)
        .map(|number| node.send_after(owner, number, due(number)))
        .collect();
    let set = began.elapsed();
    let began = Instant::now();
    for timer in timers {
        assert!(node.cancel_timer(timer), "it has fired");
    }
    cost(count, set, began.elapsed())
}

fn tokio(count: u32) -> Cost {
    let mut cx = TaskContext::from_waker(Waker::noop());
    let began = Instant::now();
    let timers: Vec<_> = (0..count)
        .map(|number| {
            let mut sleep = Box::pin(tokio::time::sleep(due(number)));
            assert!(sleep.as_mut().poll(&mut cx).is_pending(), "it has fired");
            sleep
        })
        .collect();
    let set = began.elapsed();
    let began = Instant::now();
    drop(black_box(timers));
    cost(count, set, began.elapsed())
}

fn cost(count: u32, set: Duration, cancel: Duration) -> Cost {
    let each = |time: Duration| time.as_nanos() as f64 / f64::from(count);
    Cost {
        set: each(set),
        cancel: each(cancel),
    }
}
