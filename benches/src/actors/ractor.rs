//! Ractor: every actor is a tokio task with several channels; one message enum for all roles.

use super::{BATCH, BURST, Countdown, Finish, Flow, Subject, Unsupported, tokio::far_ahead};
use ::ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::mpsc::{Sender, channel};
use tokio::runtime::{Builder, Runtime};

/// A tokio runtime with a number of workers.
#[derive(Debug)]
pub struct Ractor(Runtime);

impl Ractor {
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

    fn start(&self, role: Role) -> ActorRef<Signal> {
        let started = self
            .0
            .block_on(self.0.spawn(Actor::spawn(None, Player, role)));
        started
            .expect("it does not panic")
            .expect("an actor without a name starts")
            .0
    }
}

impl Subject for Ractor {
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
        [a, b].iter().for_each(|player| player.stop(None));
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
        actors.iter().for_each(|actor| actor.stop(None));
        Ok(())
    }

    fn timers(&self, count: u64) -> Result<(), Unsupported> {
        let (report, reports) = channel();
        send(
            &self.start(Role::Clock {
                left: count,
                report,
            }),
            Signal::Go,
        );
        reports.recv().expect("the clock reports");
        Ok(())
    }
}

fn send(actor: &ActorRef<Signal>, signal: Signal) {
    // The other side may have terminated with its scenario.
    let _ = actor.cast(signal);
}

enum Signal {
    Go,
    Ball(u64),
    Meet(ActorRef<Self>),
    Ended,
}

enum Role {
    Player {
        other: Option<ActorRef<Signal>>,
        report: Sender<()>,
    },
    Consumer(Countdown),
    Producer {
        targets: Vec<ActorRef<Signal>>,
        left: u64,
    },
    Parent {
        left: u64,
        alive: u64,
        report: Sender<()>,
    },
    Child {
        parent: ActorRef<Signal>,
    },
    Clock {
        left: u64,
        report: Sender<()>,
    },
}

struct Player;

impl Actor for Player {
    type Msg = Signal;
    type State = Role;
    type Arguments = Role;

    async fn pre_start(&self, _: ActorRef<Signal>, role: Role) -> Result<Role, ActorProcessingErr> {
        Ok(role)
    }

    async fn handle(
        &self,
        myself: ActorRef<Signal>,
        signal: Signal,
        role: &mut Role,
    ) -> Result<(), ActorProcessingErr> {
        match (role, signal) {
            (Role::Player { other, .. }, Signal::Meet(met)) => *other = Some(met),
            (Role::Player { other, report }, Signal::Ball(ball)) => {
                match (ball.checked_sub(1), other) {
                    (Some(next), Some(other)) => send(other, Signal::Ball(next)),
                    _ => drop(report.send(())),
                }
            }
            (Role::Consumer(countdown), Signal::Ball(_)) => drop(countdown.count()),
            (Role::Producer { targets, left }, Signal::Go) => produce(&myself, targets, left),
            (
                Role::Parent {
                    left: 0, report, ..
                },
                Signal::Go,
            ) => drop(report.send(())),
            (Role::Parent { left, alive, .. }, Signal::Go) => {
                (*left, *alive) = (*left - 1, BATCH);
                for _ in 0..BATCH {
                    let (child, _) = Self::spawn(
                        None,
                        Self,
                        Role::Child {
                            parent: myself.clone(),
                        },
                    )
                    .await?;
                    send(&child, Signal::Go);
                }
            }
            (Role::Parent { alive, .. }, Signal::Ended) => {
                *alive -= 1;
                if *alive == 0 {
                    send(&myself, Signal::Go);
                }
            }
            (Role::Child { parent }, Signal::Go) => {
                send(parent, Signal::Ended);
                myself.stop(None);
            }
            (Role::Clock { left, report }, Signal::Go) => set_timers(&myself, left, report),
            _ => {}
        }
        Ok(())
    }
}

fn produce(myself: &ActorRef<Signal>, targets: &[ActorRef<Signal>], left: &mut u64) {
    for _ in 0..BURST.min(*left) {
        *left -= 1;
        send(&targets[*left as usize % targets.len()], Signal::Ball(0));
    }
    if *left > 0 {
        send(myself, Signal::Go);
    }
}

fn set_timers(myself: &ActorRef<Signal>, left: &mut u64, report: &Sender<()>) {
    for _ in 0..BURST.min(*left) {
        *left -= 1;
        myself
            .send_after(far_ahead(*left), || Signal::Ended)
            .abort();
    }
    match *left {
        0 => drop(report.send(())),
        _ => send(myself, Signal::Go),
    }
}
