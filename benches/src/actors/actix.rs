//! Actix: an actor belongs to an arbiter, which is a thread; actors are assigned to the arbiters round robin. `do_send`
//! ignores the bound of the mailbox, so it is unbounded here.

use super::{BATCH, BURST, Countdown, Finish, Flow, Subject, Unsupported, tokio::far_ahead};
use ::actix::prelude::*;
use std::iter::{Cycle, Take};
use std::sync::mpsc::{Sender, channel};

/// A system with a number of arbiters.
#[derive(Debug)]
pub struct Actix {
    arbiters: Vec<Arbiter>,
    _system: SystemRunner,
}

impl Actix {
    /// Starts the arbiters.
    pub fn new(workers: usize) -> Self {
        let system = System::new();
        Self {
            arbiters: (0..workers).map(|_| Arbiter::new()).collect(),
            _system: system,
        }
    }

    /// Starts an actor on the next arbiter.
    fn start<A: Actor<Context = Context<A>> + Send>(&self, number: u64, actor: A) -> Addr<A> {
        let arbiter = &self.arbiters[number as usize % self.arbiters.len()];
        A::start_in_arbiter(&arbiter.handle(), |_| actor)
    }
}

impl Subject for Actix {
    fn ping_pong(&self, rounds: u64) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let player = |number| {
            self.start(
                number,
                Player {
                    other: None,
                    report: finish.reporter(),
                },
            )
        };
        let (a, b) = (player(0), player(1));
        a.do_send(Meet(b.clone()));
        b.do_send(Meet(a.clone()));
        a.do_send(Ball(rounds * 2 - 1));
        finish.wait_for(1);
        Ok(())
    }

    fn flow(&self, flow: Flow, each: u64) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let consumer = |number| {
            self.start(
                number,
                Consumer(Countdown::new(flow.expected(each), &finish)),
            )
        };
        let consumers: Vec<_> = (0..flow.consumers).map(consumer).collect();
        for number in 0..flow.producers {
            let targets = consumers[flow.targets(number)].to_vec();
            // The next arbiter after its consumer's, so that a pair uses two arbiters where there are two.
            self.start(
                number + 1,
                Producer {
                    targets: deal(targets, each),
                },
            )
            .do_send(Go);
        }
        finish.wait_for(flow.consumers);
        Ok(())
    }

    fn spawn_end(&self, count: u64) -> Result<(), Unsupported> {
        let (report, reports) = channel();
        self.start(
            0,
            Parent {
                left: count / BATCH,
                alive: 0,
                report,
            },
        )
        .do_send(Go);
        reports.recv().expect("the parent reports");
        Ok(())
    }

    fn idle(&self, count: u64, measure: &mut dyn FnMut()) -> Result<(), Unsupported> {
        let finish = Finish::default();
        let mut addresses = Vec::with_capacity(count as usize);
        for number in 0..count {
            let listener = self.start(number, Consumer(Countdown::new(1, &finish)));
            listener.do_send(Ball(0));
            addresses.push(listener);
        }
        finish.wait_for(count);
        measure();
        Ok(())
    }

    fn timers(&self, count: u64) -> Result<(), Unsupported> {
        let (report, reports) = channel();
        self.start(
            0,
            Clock {
                left: count,
                report,
            },
        )
        .do_send(Go);
        reports.recv().expect("the clock reports");
        Ok(())
    }
}

type Targets = Take<Cycle<std::vec::IntoIter<Addr<Consumer>>>>;

fn deal(targets: Vec<Addr<Consumer>>, each: u64) -> Targets {
    targets.into_iter().cycle().take(each as usize)
}

#[derive(Message)]
#[rtype(result = "()")]
struct Go;

#[derive(Message)]
#[rtype(result = "()")]
struct Ball(u64);

#[derive(Message)]
#[rtype(result = "()")]
struct Meet(Addr<Player>);

#[derive(Message)]
#[rtype(result = "()")]
struct Ended;

struct Player {
    other: Option<Addr<Self>>,
    report: Sender<()>,
}

struct Consumer(Countdown);

struct Producer {
    targets: Targets,
}

struct Parent {
    left: u64,
    alive: u64,
    report: Sender<()>,
}

struct Child(Addr<Parent>);

struct Clock {
    left: u64,
    report: Sender<()>,
}

macro_rules! actors {
    ($($name:ty),*) => { $(impl Actor for $name { type Context = Context<Self>; })* };
}
actors!(Player, Consumer, Producer, Parent, Child, Clock);

impl Handler<Meet> for Player {
    type Result = ();

    fn handle(&mut self, Meet(other): Meet, _: &mut Context<Self>) {
        self.other = Some(other);
    }
}

impl Handler<Ball> for Player {
    type Result = ();

    fn handle(&mut self, Ball(ball): Ball, context: &mut Context<Self>) {
        match (ball.checked_sub(1), &self.other) {
            (Some(next), Some(other)) => other.do_send(Ball(next)),
            _ => {
                let _ = self.report.send(());
                context.stop();
            }
        }
    }
}

impl Handler<Ball> for Consumer {
    type Result = ();

    fn handle(&mut self, _: Ball, _: &mut Context<Self>) {
        self.0.count();
    }
}

impl Handler<Go> for Producer {
    type Result = ();

    fn handle(&mut self, _: Go, context: &mut Context<Self>) {
        for target in self.targets.by_ref().take(BURST as usize) {
            target.do_send(Ball(0));
        }
        if self.targets.size_hint().0 > 0 {
            context.address().do_send(Go);
        }
    }
}

impl Handler<Go> for Parent {
    type Result = ();

    fn handle(&mut self, _: Go, context: &mut Context<Self>) {
        if self.left == 0 {
            let _ = self.report.send(());
            return context.stop();
        }
        self.left -= 1;
        self.alive = BATCH;
        for _ in 0..BATCH {
            Child(context.address()).start().do_send(Go);
        }
    }
}

impl Handler<Ended> for Parent {
    type Result = ();

    fn handle(&mut self, _: Ended, context: &mut Context<Self>) {
        self.alive -= 1;
        if self.alive == 0 {
            context.address().do_send(Go);
        }
    }
}

impl Handler<Go> for Child {
    type Result = ();

    fn handle(&mut self, _: Go, context: &mut Context<Self>) {
        self.0.do_send(Ended);
        context.stop();
    }
}

impl Handler<Go> for Clock {
    type Result = ();

    fn handle(&mut self, _: Go, context: &mut Context<Self>) {
        for _ in 0..BURST.min(self.left) {
            self.left -= 1;
            let timer = context.run_later(far_ahead(self.left), |_, _| {});
            context.cancel_future(timer);
        }
        match self.left {
            0 => {
                let _ = self.report.send(());
                context.stop();
            }
            _ => context.address().do_send(Go),
        }
    }
}
