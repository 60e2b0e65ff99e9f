//! crossbeam: a process is a thread with an unbounded crossbeam channel. The system schedules, so the number of
//! workers does not apply; memory and timers are not measured.

use super::{BATCH, Countdown, Finish, Flow, Subject, Unsupported};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::thread;

/// Threads and channels; there is no runtime to start.
#[derive(Clone, Copy, Debug)]
pub struct Crossbeam;

impl Subject for Crossbeam {
    fn ping_pong(&self, rounds: u64) -> Result<(), Unsupported> {
        let ((to_a, a), (to_b, b)) = (unbounded(), unbounded());
        let (first, second) = (to_b.clone(), to_a.clone());
        let players = [
            thread::spawn(move || play(&a, &first)),
            thread::spawn(move || play(&b, &second)),
        ];
        to_b.send(rounds * 2 - 1).expect("a player listens");
        // The last ball ends one player, and the drop of its sender ends the other.
        drop((to_a, to_b));
        players
            .into_iter()
            .for_each(|player| player.join().expect("a player does not panic"));
        Ok(())
    }

    fn flow(&self, flow: Flow, each: u64) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let mut consumers = Vec::new();
        for _ in 0..flow.consumers {
            let (sender, receiver) = unbounded();
            let countdown = Countdown::new(flow.expected(each), &finish);
            thread::spawn(move || consume(&receiver, countdown));
            consumers.push(sender);
        }
        for producer in 0..flow.producers {
            let targets = consumers[flow.targets(producer)].to_vec();
            thread::spawn(move || produce(&targets, each));
        }
        finish.wait_for(flow.consumers);
        Ok(())
    }

    fn spawn_end(&self, count: u64) -> Result<(), Unsupported> {
        for _ in 0..count / BATCH {
            let batch = (0..BATCH).map(|_| {
                let (sender, receiver) = unbounded::<u64>();
                let handle = thread::spawn(move || receiver.recv());
                sender.send(0).expect("it listens");
                handle
            });
            let batch: Vec<_> = batch.collect();
            batch.into_iter().for_each(|handle| drop(handle.join()));
        }
        Ok(())
    }

    fn idle(&self, _: u64, _: &mut dyn FnMut()) -> Result<(), Unsupported> {
        Err(Unsupported)
    }
}

fn play(balls: &Receiver<u64>, other: &Sender<u64>) {
    while let Ok(ball) = balls.recv() {
        match ball.checked_sub(1) {
            Some(next) if other.send(next).is_ok() => {}
            _ => break,
        }
    }
}

fn consume(items: &Receiver<u64>, mut countdown: Countdown) {
    while items.recv().is_ok() && !countdown.count() {}
}

fn produce(targets: &[Sender<u64>], each: u64) {
    for (number, target) in (0..each).zip(targets.iter().cycle()) {
        let _ = target.send(number);
    }
}
