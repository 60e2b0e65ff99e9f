//! Options of supervisors, their children, pools and sessions with their edge values: accepted and works, or refused at
//! once, naming the field. A supervisor with a child that can never start is refused, and does not restart it until it
//! gives up.

use std::time::Duration;

use longshore::prelude::*;
use longshore::{AutoShutdown, ConfigError, SpawnError};

use crate::support::*;

/// No field is refused.
const WORKS: &str = "";
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

struct Quiet;

impl Actor for Quiet {}

/// The field that a spawn names, or `WORKS`.
fn outcome<A: Actor>(node: &Node, actor: A, works: impl FnOnce(&Node, Pid) -> bool) -> String {
    match node.spawn(|| actor) {
        Ok(pid) => {
            let holds = works(node, pid);
            let monitor = node.monitor(pid);
            node.send_exit(pid, Reason::Shutdown).expect("alive");
            assert_eq!(monitor.wait(), Ok(Reason::Shutdown));
            if holds { WORKS } else { "it does not work" }.to_owned()
        }
        Err(SpawnError::Option(error)) => error.field().to_owned(),
        Err(SpawnError::Init(reason)) => match reason.downcast_ref::<ConfigError>() {
            Some(error) => error.field().to_owned(),
            None => format!("not by name: {reason}"),
        },
        Err(error) => format!("not by name: {error:?}"),
    }
}

fn child() -> Child {
    Child::new("child", || Quiet)
}

#[test]
fn every_option_of_a_supervisor_works_or_is_refused_by_name() {
    let node = node();
    let new = Supervisor::one_for_one;
    let (zero, max) = (Duration::ZERO, Duration::MAX);
    let intensity = |restarts, period| new().with_intensity(restarts, period);
    let back_off = |first, max| new().with_back_off(first, max);
    let rows = [
        ("period", intensity(1, zero), "period"),
        ("period", intensity(0, SECOND), WORKS),
        ("period", intensity(u32::MAX, max), WORKS),
        ("back_off", back_off(zero, zero), WORKS),
        ("back_off", back_off(SECOND, MS), "back_off"),
        ("back_off", back_off(max, max), WORKS),
        (
            "kill_timeout",
            new().with_kill_timeout(zero),
            "kill_timeout",
        ),
        ("kill_timeout", new().with_kill_timeout(MS), WORKS),
        ("kill_timeout", new().with_kill_timeout(max), WORKS),
        (
            "auto_shutdown",
            new().with_auto_shutdown(AutoShutdown::AnySignificant),
            WORKS,
        ),
        (
            "auto_shutdown",
            new().with_auto_shutdown(AutoShutdown::AllSignificant),
            WORKS,
        ),
        ("child", new().with_child(child()), "child"),
    ];
    for (name, supervisor, field) in rows {
        let shown = format!("{supervisor:?}");
        let supervisor = supervisor.with_child(child());
        let works = |node: &Node, _| {
            // It runs, or its node would have been spared the child.
            node.supervision_tree().roots().count() == 1
        };
        assert_eq!(outcome(&node, supervisor, works), field, "{name}: {shown}");
    }
    stop_clean(&node);
}

#[test]
fn every_option_of_a_child_works_or_is_refused_by_name() {
    let node = node();
    let with = |options: SpawnOptions| child().with_options(options);
    let new = SpawnOptions::default;
    let rows = [
        (
            "start_timeout",
            child().with_start_timeout(Duration::ZERO),
            "start_timeout",
        ),
        ("start_timeout", child().with_start_timeout(SECOND), WORKS),
        (
            "start_timeout",
            child().with_start_timeout(Duration::MAX),
            WORKS,
        ),
        ("shutdown", child().with_shutdown(Shutdown::Kill), WORKS),
        ("shutdown", child().with_shutdown(Shutdown::Wait), WORKS),
        (
            "shutdown",
            child().with_shutdown(Shutdown::Within(Duration::ZERO)),
            WORKS,
        ),
        (
            "shutdown",
            child().with_shutdown(Shutdown::Within(Duration::MAX)),
            WORKS,
        ),
        ("significant", child().significant(), "significant"),
        (
            "significant",
            child().significant().transient(),
            "significant",
        ),
        (
            "mailbox_bound",
            with(new().with_mailbox_bound(0)),
            "mailbox_bound",
        ),
        ("mailbox_bound", with(new().with_mailbox_bound(1)), WORKS),
        ("data_bound", with(new().with_data_bound(0)), "data_bound"),
        ("data_bound", with(new().with_data_bound(1)), WORKS),
        ("name", with(new().with_name("")), "name"),
        ("name", Child::new("", || Quiet).registered(), "name"),
        ("name", Child::new("", || Quiet), "name"),
    ];
    for (name, child, field) in rows {
        let shown = format!("{child:?}");
        let supervisor = Supervisor::one_for_one().with_child(child);
        let works = |node: &Node, pid| {
            wait_until("the child to run", || {
                let tree = node.supervision_tree();
                let children = tree.get(pid).map(|info| &info.children);
                children.is_some_and(|children| children.iter().all(|child| child.pid.is_some()))
            });
            true
        };
        assert_eq!(outcome(&node, supervisor, works), field, "{name}: {shown}");
    }
    stop_clean(&node);
}

#[test]
fn every_option_of_a_pool_works_or_is_refused_by_name() {
    let node = node();
    let new = |size| Pool::new(size, || Quiet);
    let rows = [
        ("size", new(0), "size"),
        ("size", new(1), WORKS),
        (
            "worker_mailbox",
            new(1).with_worker_mailbox(0),
            "worker_mailbox",
        ),
        ("worker_mailbox", new(1).with_worker_mailbox(1), WORKS),
        (
            "worker_mailbox",
            new(1).with_worker_mailbox(u32::MAX),
            WORKS,
        ),
        ("least_busy", new(2).with_least_busy(), WORKS),
        ("key", new(2).with_key(|_, _| u64::MAX), WORKS),
    ];
    for (name, pool, field) in rows {
        let works = |node: &Node, pid| {
            node.send(pid, "a message").expect("sent");
            wait_until("the message to be forwarded", || {
                let pool = node.pools().find(|pool| pool.pid == pid);
                pool.is_some_and(|pool| pool.forwarded == 1)
            });
            true
        };
        assert_eq!(outcome(&node, pool, works), field, "{name}");
    }
    stop_clean(&node);
}

/// Takes everything, and answers with as much.
struct Echoes;

impl Session for Echoes {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        cx.write(input.take());
        Ok(())
    }
}

#[test]
fn every_input_limit_of_a_session_works() {
    let node = node();
    for limit in [0, 1, usize::MAX] {
        let probe = Probe::spawn(&node);
        let server = TcpServer::bind("127.0.0.1:0").expect("bound");
        let addr = server.local_addr();
        let serve = server.serve(|| Echoes).with_input_limit(limit);
        probe.run(move |cx| cx.spawn_meta(serve)).expect("spawned");
        exchange(&mut client(addr), b"bytes", b"bytes");
    }
    let _ = node.stop();
}
