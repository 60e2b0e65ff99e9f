//! Values that processes give to those that they spawn.

use std::io::Read;
use std::sync::Arc;

use longshore::prelude::*;

use crate::support::{Handled, LIMIT, Probe, client, node, node_with, stop_clean};

/// What a process has under the names of these tests.
type Values = (Option<u32>, Option<&'static str>);

struct Get;

impl Request for Get {
    type Reply = Values;
}

/// Says what it has, in its `init` and later.
struct Shows(Values);

fn values(cx: &Context<'_>) -> Values {
    let region = cx.environment::<&str>("region");
    (
        cx.environment::<u32>("zone").map(|zone| *zone),
        region.map(|region| *region),
    )
}

impl Actor for Shows {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        self.0 = values(cx);
        Ok(())
    }

    fn handle_call(&mut self, cx: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        assert_eq!(self.0, values(cx));
        reply.answer::<Get>(self.0);
        Ok(())
    }
}

fn ask(node: &Node, to: impl Into<Target>) -> Values {
    let answer = node.ask(to, Get, LIMIT).expect("asked");
    answer.wait().expect("an answer")
}

fn shows() -> Shows {
    Shows((None, None))
}

#[test]
fn child_has_the_values_of_its_parent_at_the_spawn_under_its_own() {
    let node = node_with(NodeOptions::from("test@localhost").with_environment("zone", 1_u32));
    let plain = node.spawn(shows).expect("spawned");
    assert_eq!(ask(&node, plain), (Some(1), None));
    let options = SpawnOptions::default().with_environment("region", "north");
    let parent = Probe::spawn_with(&node, options);
    let spawn = |options: SpawnOptions| {
        parent
            .run(|cx| cx.spawn_with(options, shows))
            .expect("spawned")
    };
    let first = spawn(SpawnOptions::default());
    parent.run(|cx| cx.set_environment("region", "south"));
    parent.run(|cx| cx.set_environment("zone", 2_u32));
    let second = spawn(SpawnOptions::default());
    let third = spawn(SpawnOptions::default().with_environment("zone", 3_u32));
    assert_eq!(ask(&node, first), (Some(1), Some("north")));
    assert_eq!(ask(&node, second), (Some(2), Some("south")));
    assert_eq!(ask(&node, third), (Some(3), Some("south")));
    assert_eq!(parent.run(|cx| values(cx)), (Some(2), Some("south")));
    assert_eq!(ask(&node, plain), (Some(1), None), "of the node");
    stop_clean(&node);
}

#[test]
fn value_of_another_type_is_none_and_values_are_shared() {
    let node = node();
    let shared = Arc::new(7_u64);
    let options = SpawnOptions::default().with_environment("zone", Arc::clone(&shared));
    let probe = Probe::spawn_with(&node, options);
    assert!(probe.run(|cx| cx.environment::<u32>("zone").is_none()));
    assert!(probe.run(|cx| cx.environment::<u32>("absent").is_none()));
    let found = probe.run(|cx| cx.environment::<Arc<u64>>("zone"));
    assert!(Arc::ptr_eq(&*found.expect("it has it"), &shared));
    // Nothing keeps a value that the processes have left.
    stop_clean(&node);
    drop((probe, node));
    assert_eq!(Arc::strong_count(&shared), 1);
}

#[test]
fn children_of_a_supervisor_inherit_also_when_they_are_restarted() {
    let node = node();
    let options = SpawnOptions::default().with_environment("region", "north");
    let of_child = SpawnOptions::default()
        .with_name("child")
        .with_environment("zone", 4_u32);
    let supervisor =
        Supervisor::one_for_one().with_child(Child::new("child", shows).with_options(of_child));
    node.spawn_with(options, || supervisor).expect("spawned");
    let first = node.whereis("child").expect("started");
    assert_eq!(ask(&node, "child"), (Some(4), Some("north")));
    node.send_exit(first, Reason::Kill).expect("sent");
    crate::support::wait_until("the restart", || {
        node.whereis("child").is_some_and(|pid| pid != first)
    });
    assert_eq!(ask(&node, "child"), (Some(4), Some("north")));
    stop_clean(&node);
}

struct Region;

impl Session for Region {
    fn connected(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
        let region = cx.environment::<&str>("region").expect("inherited");
        cx.write(region.as_bytes());
        Ok(())
    }

    fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
        Ok(())
    }
}

#[test]
fn session_inherits_from_the_process_that_started_its_listener() {
    let node = node();
    let options = SpawnOptions::default().with_environment("region", "north");
    let probe = Probe::spawn_with(&node, options);
    let server = TcpServer::bind("127.0.0.1:0").expect("bound");
    let addr = server.local_addr();
    probe
        .run(|cx| cx.spawn_meta(server.serve(|| Region)))
        .expect("spawned");
    let mut stream = client(addr);
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).expect("the greeting");
    assert_eq!(&bytes, b"north");
    drop(stream);
    stop_clean(&node);
}
