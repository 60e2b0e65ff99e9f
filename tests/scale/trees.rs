//! Deep trees of supervisors, and ends that spread over links.

use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{Handled, PATIENCE, alone, eventually, node};

struct Leaf;
impl Actor for Leaf {}

/// A chain of that many supervisors, with a leaf below the last.
fn chain(depth: usize) -> Supervisor {
    let child = match depth {
        1 => Child::new("leaf", || Leaf),
        _ => Child::new("below", move || chain(depth - 1)),
    };
    Supervisor::one_for_one().with_child(child)
}

#[test]
fn a_thousand_supervisors_below_each_other_stop_within_the_deadline() {
    let _turn = alone();
    let depth = 1_000;
    for workers in [1, 4] {
        let node = node(workers);
        let began = Instant::now();
        node.spawn(move || chain(depth)).unwrap();
        let started = began.elapsed();
        assert_eq!(
            node.metrics().get("longshore_processes"),
            Some(depth as u64 + 1),
            "the spawn returns when the last leaf has started"
        );
        let began = Instant::now();
        let report = node.stop();
        let stopped = began.elapsed();
        assert!(report.is_clean(), "{report}");
        println!("{depth} supervisors deep, {workers} workers: {started:?} up, {stopped:?} down");
    }
}

/// One of many that are linked.
struct Link {
    left: usize,
    ready: Option<Sender<Pid>>,
}

/// Has a link spawn what it is linked with.
#[derive(Clone, Copy)]
enum Shape {
    /// The next one, which does the same.
    Chain,
    /// All others.
    Star,
}

impl Actor for Link {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        let Ok(shape) = message.downcast::<Shape>() else {
            return Ok(());
        };
        let linked = || SpawnOptions::default().with_link();
        match shape {
            Shape::Chain if self.left > 0 => {
                let (left, ready) = (self.left - 1, self.ready.take());
                let next = cx.spawn_with(linked(), || Self { left, ready })?;
                cx.send(next, shape)?;
                return Ok(());
            }
            Shape::Chain => {}
            Shape::Star => {
                for _ in 0..self.left {
                    cx.spawn_with(linked(), || Leaf)?;
                }
            }
        }
        if let Some(ready) = self.ready.take() {
            ready.send(cx.pid())?;
        }
        Ok(())
    }
}

/// How long each of `count` linked processes takes to end when one of them does.
fn cascade(shape: Shape, count: usize) -> Duration {
    let node = node(2);
    let (sender, ready) = mpsc::channel();
    let first = node
        .spawn(|| Link {
            left: count - 1,
            ready: Some(sender),
        })
        .unwrap();
    node.send(first, shape).unwrap();
    ready.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        node.metrics().get("longshore_processes"),
        Some(count as u64)
    );
    let began = Instant::now();
    node.send_exit(first, Reason::error("the first")).unwrap();
    eventually("all have ended", || {
        node.metrics().get("longshore_processes") == Some(0)
    });
    let each = began.elapsed() / count as u32;
    assert!(node.stop().is_clean());
    each
}

#[test]
fn a_hundred_thousand_linked_processes_end_in_a_cascade_in_linear_time() {
    let _turn = alone();
    let many = 100_000;
    for (name, shape) in [("chain", Shape::Chain), ("star", Shape::Star)] {
        let (few_each, many_each) = (cascade(shape, many / 20), cascade(shape, many));
        println!(
            "{name} of {many}: {many_each:?} each, of {}: {few_each:?}",
            many / 20
        );
        // Quadratic time would make it twenty times as long.
        let bound = few_each.max(Duration::from_micros(2)) * 8;
        assert!(
            many_each < bound,
            "{many_each:?} each, {few_each:?} with fewer"
        );
    }
}
