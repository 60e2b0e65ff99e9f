//! Kameo: every actor is a tokio task; unbounded mailboxes instead of its default of 64, one message enum for all
//! roles.
//!
//! Kameo has no timers of its own.

use super::{BATCH, BURST, Countdown, Finish, Flow, Subject, Unsupported};
use ::kameo::Actor;
use ::kameo::actor::{ActorRef, Spawn};
use ::kameo::mailbox;
use ::kameo::message::{Context, Message};
use std::sync::mpsc::{Sender, channel};
use tokio::runtime::{Builder, Runtime};

/// A tokio runtime with a number of workers.
#[derive(Debug)]
pub struct Kameo(Runtime);

impl Kameo {
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

    fn start(&self, role: Role) -> ActorRef<Role> {
        let _inside = self.0.enter();
        Role::spawn_with_mailbox(role, mailbox::unbounded())
    }
}

impl Subject for Kameo {
    fn ping_pong(&self, rounds: u64) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let player = || {
            self.start(Role::Player {
                other: None,
                report: finish.reporter(),
            })
        };
        let (a, b) = (player(), player());
        send(&a, Signal::Meet(b.clone()));
        send(&b, Signal::Meet(a.clone()));
        send(&a, Signal::Ball(rounds * 2 - 1));
        finish.wait_for(1);
        [a, b].iter().for_each(ActorRef::kill);
        Ok(())
    }

    fn flow(&self, flow: Flow, each: u64) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let consumer = |_| self.start(Role::Consumer(Countdown::new(flow.expected(each), &finish)));
        let consumers: Vec<_> = (0..flow.consumers).map(consumer).collect();
        for number in 0..flow.producers {
            let targets = consumers[flow.targets(number)].to_vec();
            send(
                &self.start(Role::Producer {
                    targets,
                    left: each,
                }),
                Signal::Go,
            );
        }
        finish.wait_for(flow.consumers);
        Ok(())
    }

    fn spawn_end(&self, count: u64) -> Result<(), Unsupported> {
        let (report, reports) = channel();
        send(
            &self.start(Role::Parent {
                left: count / BATCH,
                alive: 0,
                report,
            }),
            Signal::Go,
        );
        reports.recv().expect("the parent reports");
        Ok(())
    }

    fn idle(&self, count: u64, measure: &mut dyn FnMut()) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let mut actors = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let actor = self.start(Role::Consumer(Countdown::new(1, &finish)));
            send(&actor, Signal::Ball(0));
            actors.push(actor);
        }
        finish.wait_for(count);
        measure();
        Ok(())
    }
}

fn send(actor: &ActorRef<Role>, signal: Signal) {
    // `try_send` suffices because the mailbox is unbounded. The other side may have terminated with its scenario.
    let _ = actor.tell(signal).try_send();
}

enum Signal {
    Go,
    Ball(u64),
    Meet(ActorRef<Role>),
    Ended,
}

#[derive(Actor)]
enum Role {
    Player {
        other: Option<ActorRef<Self>>,
        report: Sender<()>,
    },
    Consumer(Countdown),
    Producer {
        targets: Vec<ActorRef<Self>>,
        left: u64,
    },
    Parent {
        left: u64,
        alive: u64,
        report: Sender<()>,
    },
    Child {
        parent: ActorRef<Self>,
    },
}

impl Message<Signal> for Role {
    type Reply = ();

    async fn handle(&mut self, signal: Signal, context: &mut Context<Self, ()>) {
        let myself = context.actor_ref();
        match (self, signal) {
            (Self::Player { other, .. }, Signal::Meet(met)) => *other = Some(met),
            (Self::Player { other, report }, Signal::Ball(ball)) => {
                match (ball.checked_sub(1), other) {
                    (Some(next), Some(other)) => send(other, Signal::Ball(next)),
                    _ => drop(report.send(())),
                }
            }
            (Self::Consumer(countdown), Signal::Ball(_)) => drop(countdown.count()),
            (Self::Producer { targets, left }, Signal::Go) => produce(myself, targets, left),
            (
                Self::Parent {
                    left: 0, report, ..
                },
                Signal::Go,
            ) => drop(report.send(())),
            (Self::Parent { left, alive, .. }, Signal::Go) => {
                (*left, *alive) = (*left - 1, BATCH);
                for _ in 0..BATCH {
                    let child = Self::Child {
                        parent: myself.clone(),
                    };
                    send(
                        &Self::spawn_with_mailbox(child, mailbox::unbounded()),
                        Signal::Go,
                    );
                }
            }
            (Self::Parent { alive, .. }, Signal::Ended) => {
                *alive -= 1;
                if *alive == 0 {
                    send(myself, Signal::Go);
                }
            }
            (Self::Child { parent }, Signal::Go) => {
                send(parent, Signal::Ended);
                context.stop();
            }
            _ => {}
        }
    }
}

fn produce(myself: &ActorRef<Role>, targets: &[ActorRef<Role>], left: &mut u64) {
    for _ in 0..BURST.min(*left) {
        *left -= 1;
        send(&targets[*left as usize % targets.len()], Signal::Ball(0));
    }
    if *left > 0 {
        send(myself, Signal::Go);
    }
}
