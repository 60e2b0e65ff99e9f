//! Tokio: a process is a task with an unbounded mpsc channel.

use super::{BATCH, BURST, Countdown, Finish, Flow, Subject, Unsupported};
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A runtime with a number of workers.
#[derive(Debug)]
pub struct Tokio(Runtime);

impl Tokio {
    /// Starts the workers.
    pub fn new(workers: usize) -> Self {
        Self(
            Builder::new_multi_thread()
                .worker_threads(workers)
                .enable_all()
                .build()
                .expect("a runtime starts"),
        )
    }
}

impl Subject for Tokio {
    fn ping_pong(&self, rounds: u64) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let ((to_a, a), (to_b, b)) = (unbounded_channel(), unbounded_channel());
        self.0.spawn(play(a, to_b.clone(), finish.reporter()));
        self.0.spawn(play(b, to_a, finish.reporter()));
        to_b.send(rounds * 2 - 1).expect("a player listens");
        finish.wait_for(1);
        Ok(())
    }

    fn flow(&self, flow: Flow, each: u64) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let consumers: Vec<UnboundedSender<u64>> = (0..flow.consumers)
            .map(|_| {
                let (sender, receiver) = unbounded_channel();
                self.0.spawn(consume(
                    receiver,
                    Countdown::new(flow.expected(each), &finish),
                ));
                sender
            })
            .collect();
        for producer in 0..flow.producers {
            self.0
                .spawn(produce(consumers[flow.targets(producer)].to_vec(), each));
        }
        finish.wait_for(flow.consumers);
        Ok(())
    }

    fn spawn_end(&self, count: u64) -> Result<(), Unsupported> {
        let (done, mut ended) = unbounded_channel();
        let life = async move {
            for _ in 0..count / BATCH {
                for _ in 0..BATCH {
                    let (sender, mut receiver) = unbounded_channel::<u64>();
                    let done = done.clone();
                    tokio::spawn(async move {
                        receiver.recv().await;
                        let _ = done.send(());
                    });
                    sender.send(0).expect("it listens");
                }
                for _ in 0..BATCH {
                    ended.recv().await;
                }
            }
        };
        self.0
            .block_on(self.0.spawn(life))
            .expect("it does not panic");
        Ok(())
    }

    fn idle(&self, count: u64, measure: &mut dyn FnMut()) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let mut mailboxes = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (sender, receiver) = unbounded_channel();
            self.0.spawn(listen(receiver, finish.reporter()));
            sender.send(0).expect("it listens");
            mailboxes.push(sender);
        }
        finish.wait_for(count);
        measure();
        Ok(())
    }

    fn timers(&self, count: u64) -> Result<(), Unsupported> {
        let set_and_cancel = async move {
            for number in 0..count {
                let mut timer = std::pin::pin!(tokio::time::sleep(far_ahead(number)));
                // The poll registers the timer, and the drop cancels it.
                poll_fn(|context| Poll::Ready(timer.as_mut().poll(context).is_pending())).await;
                if number % BURST == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        self.0
            .block_on(self.0.spawn(set_and_cancel))
            .expect("it does not panic");
        Ok(())
    }
}

/// Deadlines between one and about sixty seconds.
pub(super) fn far_ahead(number: u64) -> Duration {
    Duration::from_millis(1_000 + number * 7_919 % 60_000)
}

async fn play(
    mut balls: UnboundedReceiver<u64>,
    other: UnboundedSender<u64>,
    report: std::sync::mpsc::Sender<()>,
) {
    while let Some(ball) = balls.recv().await {
        match ball.checked_sub(1) {
            Some(next) if other.send(next).is_ok() => {}
            _ => break,
        }
    }
    let _ = report.send(());
}

async fn consume(mut items: UnboundedReceiver<u64>, mut countdown: Countdown) {
    while items.recv().await.is_some() && !countdown.count() {}
}

async fn produce(targets: Vec<UnboundedSender<u64>>, each: u64) {
    let mut targets = targets.iter().cycle();
    for number in 0..each {
        let _ = targets
            .next()
            .expect("a producer has a target")
            .send(number);
        if number % BURST == BURST - 1 {
            tokio::task::yield_now().await;
        }
    }
}

async fn listen(mut items: UnboundedReceiver<u64>, report: std::sync::mpsc::Sender<()>) {
    while items.recv().await.is_some() {
        let _ = report.send(());
    }
}
