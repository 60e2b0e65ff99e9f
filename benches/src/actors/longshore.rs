//! Longshore: processes of one node; one message enum for all roles, boxed as every user type is.

use super::{BATCH, BURST, Countdown, Finish, Flow, Subject, Unsupported, tokio::far_ahead};
use longshore::prelude::*;
use std::sync::mpsc::{Sender, channel};

/// A node with a number of workers.
#[derive(Debug)]
pub struct Longshore(Node);

impl Longshore {
    /// Starts the workers.
    pub fn new(workers: usize) -> Self {
        Self(
            Node::start(NodeOptions::from("bench@localhost").with_workers(workers))
                .expect("a node starts"),
        )
    }

    fn start(&self, role: Role) -> Pid {
        self.0.spawn(once(role)).expect("a process starts")
    }

    fn send(&self, to: Pid, signal: Signal) {
        // The other side may have terminated with its scenario.
        let _ = self.0.send(to, signal);
    }
}

/// A factory for a process that is never restarted.
fn once(role: Role) -> impl FnMut() -> Role + Send {
    let mut role = Some(role);
    move || role.take().expect("started once")
}

impl Subject for Longshore {
    fn ping_pong(&self, rounds: u64) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let player = || {
            self.start(Role::Player {
                other: None,
                report: finish.reporter(),
            })
        };
        let (a, b) = (player(), player());
        self.send(a, Signal::Meet(b));
        self.send(b, Signal::Meet(a));
        self.send(a, Signal::Ball(rounds * 2 - 1));
        finish.wait_for(1);
        Ok(())
    }

    fn flow(&self, flow: Flow, each: u64) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let consumer = |_| self.start(Role::Consumer(Countdown::new(flow.expected(each), &finish)));
        let consumers: Vec<_> = (0..flow.consumers).map(consumer).collect();
        for number in 0..flow.producers {
            let targets = consumers[flow.targets(number)].to_vec();
            self.send(
                self.start(Role::Producer {
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
        self.send(
            self.start(Role::Parent {
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
        for _ in 0..count {
            self.send(
                self.start(Role::Consumer(Countdown::new(1, &finish))),
                Signal::Ball(0),
            );
        }
        finish.wait_for(count);
        measure();
        Ok(())
    }

    fn timers(&self, count: u64) -> Result<(), Unsupported> {
        let (report, reports) = channel();
        self.send(
            self.start(Role::Clock {
                left: count,
                report,
            }),
            Signal::Go,
        );
        reports.recv().expect("the clock reports");
        Ok(())
    }
}

enum Signal {
    Go,
    Ball(u64),
    Meet(Pid),
    Ended,
}

enum Role {
    Player {
        other: Option<Pid>,
        report: Sender<()>,
    },
    Consumer(Countdown),
    Producer {
        targets: Vec<Pid>,
        left: u64,
    },
    Parent {
        left: u64,
        alive: u64,
        report: Sender<()>,
    },
    Child {
        parent: Pid,
    },
    Clock {
        left: u64,
        report: Sender<()>,
    },
}

impl Actor for Role {
    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        let Ok(signal) = message.downcast::<Signal>() else {
            return Ok(());
        };
        let myself = cx.pid();
        match (self, signal) {
            (Self::Player { other, .. }, Signal::Meet(met)) => *other = Some(met),
            (Self::Player { other, report }, Signal::Ball(ball)) => {
                match (ball.checked_sub(1), other) {
                    (Some(next), Some(other)) => drop(cx.send(*other, Signal::Ball(next))),
                    _ => drop(report.send(())),
                }
            }
            (Self::Consumer(countdown), Signal::Ball(_)) => drop(countdown.count()),
            (Self::Producer { targets, left }, Signal::Go) => produce(cx, targets, left)?,
            (
                Self::Parent {
                    left: 0, report, ..
                },
                Signal::Go,
            ) => drop(report.send(())),
            (Self::Parent { left, alive, .. }, Signal::Go) => {
                (*left, *alive) = (*left - 1, BATCH);
                for _ in 0..BATCH {
                    let child = cx.spawn(once(Self::Child { parent: myself }))?;
                    cx.send(child, Signal::Go)?;
                }
            }
            (Self::Parent { alive, .. }, Signal::Ended) => {
                *alive -= 1;
                if *alive == 0 {
                    cx.send(myself, Signal::Go)?;
                }
            }
            (Self::Child { parent }, Signal::Go) => {
                cx.send(*parent, Signal::Ended)?;
                return Err(Reason::Normal);
            }
            (Self::Clock { left, report }, Signal::Go) => set_timers(cx, left, report)?,
            _ => {}
        }
        Ok(())
    }
}

fn produce(cx: &mut Context<'_>, targets: &[Pid], left: &mut u64) -> Result<(), Reason> {
    for _ in 0..BURST.min(*left) {
        *left -= 1;
        cx.send(targets[*left as usize % targets.len()], Signal::Ball(0))?;
    }
    if *left > 0 {
        cx.send(cx.pid(), Signal::Go)?;
    }
    Ok(())
}

fn set_timers(cx: &mut Context<'_>, left: &mut u64, report: &Sender<()>) -> Result<(), Reason> {
    for _ in 0..BURST.min(*left) {
        *left -= 1;
        let timer = cx.send_after(cx.pid(), Signal::Ended, far_ahead(*left));
        cx.cancel_timer(timer);
    }
    match *left {
        0 => drop(report.send(())),
        _ => cx.send(cx.pid(), Signal::Go)?,
    }
    Ok(())
}
