//! No wake-up is lost: sends from outside to nodes that are about to sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{Handled, PATIENCE, Witness, alone, node, scaled, spawn_job};

/// Counts what it gets.
struct Counter(Arc<AtomicU64>);

impl Actor for Counter {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        self.0.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

#[test]
fn million_sends_to_idle_nodes_are_all_handled() {
    let _turn = alone();
    let rounds: u64 = scaled(1_000_000, 60_000) / 3;
    for workers in [1, 2, 4] {
        let node = node(workers);
        let count = Arc::new(AtomicU64::new(0));
        let pid = node.spawn(|| Counter(Arc::clone(&count))).unwrap();
        let mut random = fastrand::Rng::with_seed(workers as u64);
        let start = Instant::now();
        for round in 1..=rounds {
            node.send(pid, ()).unwrap();
            let sent = Instant::now();
            let mut looks = 0_u32;
            while count.load(Ordering::Acquire) < round {
                looks += 1;
                if looks > 100 {
                    std::thread::yield_now();
                    assert!(
                        sent.elapsed() < PATIENCE,
                        "send {round} with {workers} workers was slept through"
                    );
                }
            }
            // Sometimes the node gets time to fall asleep; mostly the next send arrives while it is about to.
            for _ in 0..random.u64(..400) {
                std::hint::spin_loop();
            }
        }
        let elapsed = start.elapsed();
        println!("{rounds} sends to a node of {workers} workers, none lost: {elapsed:.2?}");
        assert!(node.stop().is_clean());
    }
}

/// While the monitor polls for a blocked worker, that worker returns and is about to sleep in the poll. The monitor's
/// poll must not consume a wake-up that comes now.
#[test]
fn send_just_after_a_blocking_handler_is_not_lost() {
    let _turn = alone();
    let rounds = scaled(300, 150);
    for workers in [1, 2] {
        let node = node(workers);
        let (witness, seen) = Witness::spawn(&node);
        let mut random = fastrand::Rng::with_seed(workers as u64);
        for round in 0..rounds {
            let (sender, ended) = std::sync::mpsc::channel();
            for _ in 0..workers {
                let sender = sender.clone();
                let block = Duration::from_micros(9_000 + random.u64(..3_000));
                let pid = spawn_job(&node, move || {
                    sleep(block);
                    let _ = sender.send(());
                });
                let _ = pid;
            }
            for _ in 0..workers {
                ended.recv().unwrap();
            }
            for number in 0..8 {
                // From the moment the handler returns until the monitor's poll has surely returned.
                let pause = Instant::now();
                while pause.elapsed() < Duration::from_micros(random.u64(..400)) {
                    std::hint::spin_loop();
                }
                node.send(witness, number).unwrap();
                let got = seen.recv_timeout(Duration::from_secs(10));
                assert_eq!(
                    got,
                    Ok(number),
                    "{workers} workers, round {round}: a send was slept through"
                );
            }
        }
        println!("{rounds} times all of {workers} workers blocked, then 8 sends: none lost");
        assert!(node.stop().is_clean());
    }
}
