//! Many messages between many processes.

use std::sync::mpsc::{self, Sender};
use std::time::Instant;

use longshore::prelude::*;

use crate::support::{Handled, PATIENCE, alone, node, scaled};

const PROCESSES: usize = 64;
/// Messages a process sends before it lets others run.
const BATCH: u64 = 100;

/// Sends to random processes, numbers its messages for each of them, and checks the numbers it gets.
struct Peer {
    index: usize,
    peers: Vec<Pid>,
    left: u64,
    random: fastrand::Rng,
    next_out: [u64; PROCESSES],
    next_in: [u64; PROCESSES],
    /// How many messages the others have sent to this process by their reports, and how many have reported.
    totals: (u64, usize),
    received: u64,
    done: Sender<Result<u64, String>>,
}

struct Start(Vec<Pid>);
struct More;
struct Numbered {
    from: usize,
    number: u64,
}
/// How many messages one process has sent to this one.
struct Total(u64);

impl Peer {
    fn send_batch(&mut self, cx: &mut Context<'_>) -> Handled {
        for _ in 0..BATCH.min(self.left) {
            self.left -= 1;
            let to = self.random.u64(..PROCESSES as u64) as usize;
            let number = self.next_out[to];
            self.next_out[to] += 1;
            cx.send(
                self.peers[to],
                Numbered {
                    from: self.index,
                    number,
                },
            )
            .map_err(Reason::error)?;
        }
        if self.left > 0 {
            cx.send(cx.pid(), More).map_err(Reason::error)?;
            return Ok(());
        }
        // The counts are queued behind all messages: each process gets the number that it must have received from this
        // one.
        for (to, sent) in self.next_out.into_iter().enumerate() {
            cx.send(self.peers[to], Total(sent))
                .map_err(Reason::error)?;
        }
        Ok(())
    }

    fn receive(&mut self, Numbered { from, number }: &Numbered) {
        let expected = self.next_in[*from];
        if *number != expected {
            let _ = self.done.send(Err(format!(
                "{from} -> {}: {number} where {expected} was due",
                self.index
            )));
        }
        self.next_in[*from] += 1;
        self.received += 1;
    }
}

impl Actor for Peer {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Some(numbered) = message.downcast_ref::<Numbered>() {
            self.receive(numbered);
        } else if message.is::<More>() {
            self.send_batch(cx)?;
        } else if let Some(Total(sent)) = message.downcast_ref() {
            let (sum, reports) = self.totals;
            let (sum, reports) = (sum + sent, reports + 1);
            self.totals = (sum, reports);
            if reports == PROCESSES {
                let outcome = if self.received == sum {
                    Ok(sum)
                } else {
                    Err(format!("{} of {sum}", self.received))
                };
                let _ = self.done.send(outcome);
            }
        } else if let Ok(Start(peers)) = message.downcast() {
            self.peers = peers;
            self.send_batch(cx)?;
        }
        Ok(())
    }
}

#[test]
fn ten_million_messages_arrive_once_and_in_order() {
    let _turn = alone();
    let messages: u64 = scaled(10_000_000, 500_000);
    for workers in [4, 8] {
        let messages = if workers == 4 {
            messages
        } else {
            messages / 10
        };
        let node = node(workers);
        let (done, results) = mpsc::channel();
        let share = messages.div_ceil(PROCESSES as u64);
        let peers: Vec<Pid> = (0..PROCESSES)
            .map(|index| {
                let peer = Peer {
                    index,
                    peers: Vec::new(),
                    left: share,
                    random: fastrand::Rng::with_seed(index as u64 + 1),
                    next_out: [0; PROCESSES],
                    next_in: [0; PROCESSES],
                    totals: (0, 0),
                    received: 0,
                    done: done.clone(),
                };
                node.spawn(|| peer).unwrap()
            })
            .collect();
        let start = Instant::now();
        for peer in &peers {
            node.send(*peer, Start(peers.clone())).unwrap();
        }
        let mut received = 0;
        for _ in 0..PROCESSES {
            received += results
                .recv_timeout(PATIENCE * 3)
                .expect("a process has not got everything")
                .unwrap();
        }
        let elapsed = start.elapsed();
        assert_eq!(received, share * PROCESSES as u64);
        assert!(results.try_recv().is_err());
        println!(
            "{received} messages between {PROCESSES} processes on {workers} workers: {elapsed:.2?}, {:.2} million/s",
            received as f64 / elapsed.as_secs_f64() / 1e6
        );
        assert!(node.stop().is_clean());
    }
}
