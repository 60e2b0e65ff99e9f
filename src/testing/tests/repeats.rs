//! What ends many at once does so in the same order in every run of a seed.

use std::time::Duration;

use super::{Handled, addr};
use crate::prelude::*;
use crate::testing::*;

/// Enough that two random orders are practically never the same.
const MANY: usize = 12;

/// Takes what it gets.
struct Quiet;

impl Session for Quiet {
    fn received(&mut self, _: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        input.clear();
        Ok(())
    }
}

impl Actor for Quiet {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        Ok(())
    }
}

/// Serves sessions.
struct Serves;

impl Actor for Serves {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.spawn_meta(TcpServer::bind("127.0.0.1:7000")?.serve(|| Quiet))?;
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        Ok(())
    }
}

/// The trace of a run.
fn trace_of(scenario: fn(&World, &TestNode)) -> String {
    let world = World::with(1, WorldOptions::default().with_policy(Policy::Fifo));
    let node = TestNode::start(&world);
    scenario(&world, &node);
    world.trace(10_000)
}

fn check(scenario: fn(&World, &TestNode)) {
    assert_eq!(trace_of(scenario), trace_of(scenario));
}

#[test]
fn sessions_of_a_server_that_ends_get_their_signals_in_one_order() {
    check(|world, node| {
        let server = node.spawn(|| Serves).expect("spawned");
        let clients: Vec<_> = (0..MANY).map(|_| node.connect(addr())).collect();
        world.run_until_idle();
        node.crash(server).expect("it lives");
        world.run_until_idle();
        assert!(clients.iter().all(|client| client.end().is_some()));
    });
}

#[test]
fn children_of_a_killed_supervisor_are_killed_in_one_order() {
    check(|world, node| {
        let mut supervisor = Supervisor::one_for_one();
        for number in 0..MANY {
            supervisor = supervisor.with_child(Child::new(format!("child{number}"), || Quiet));
        }
        let supervisor = node.spawn(|| supervisor).expect("the children start");
        node.crash(supervisor).expect("it lives");
        world.run_until_idle();
    });
}

#[cfg(feature = "nats")]
#[test]
fn client_of_nats_waits_and_ends_in_one_order() {
    use crate::nats::Nats;

    check(|world, node| {
        let nats = Nats::new("127.0.0.1:4222").expect("an address");
        let other = Nats::new("127.0.0.1:4222").expect("an address");
        world.note(format_args!("{nats:?}"));
        assert_ne!(format!("{nats:?}"), format!("{other:?}"), "inboxes differ");
        for _ in 0..MANY {
            let pid = node.spawn(|| Quiet).expect("spawned");
            nats.subscribe(pid, "subject", None).expect("accepted");
            nats.observe(pid);
            let timeout = Duration::from_secs(60);
            nats.request(pid, 0, "subject", "question", timeout)
                .expect("accepted");
        }
        let client = node.spawn(move || nats.client()).expect("spawned");
        world.advance(Duration::from_secs(5));
        let end = node.send_exit(client, Reason::Shutdown);
        end.expect("it lives");
        world.run_until_idle();
    });
}
