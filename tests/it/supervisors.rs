//! Supervisors.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{AutoShutdown, ChildError, ChildResult, ChildState, SpawnError, StopOptions};

use crate::support::*;

on_both! {
    child_starts_only_when_the_one_before_it_has_started,
    each_kind_restarts_what_it_should_for_each_restart_type_reason_and_position,
    group_restart_brings_stopped_children_back_and_no_disabled_or_temporary_ones,
    first_start_that_fails_ends_those_before_it_and_is_the_error_of_the_spawn,
    one_restart_beyond_the_intensity_ends_the_supervisor_with_the_reason,
    end_of_significant_children_ends_the_supervisor,
    wrong_options_are_refused_by_name,
    supervisor_that_is_killed_takes_its_children_with_it,
    supervisors_nest_and_one_that_gives_up_is_restarted_by_the_one_above,
    verbs_at_run_time_do_what_they_say,
    nothing_is_restarted_once_the_node_has_begun_to_stop,
    stop_of_a_node_ends_the_children_of_a_supervisor_in_reverse_order,
}

/// What a member reports: that `init` was called, or `terminate`.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Up(&'static str),
    Down(&'static str),
}
use Event::{Down, Up};

type Events = Receiver<Event>;

/// Asks a member to end.
struct End(Reason);

struct Member {
    name: &'static str,
    events: Sender<Event>,
}

impl Actor for Member {
    fn init(&mut self, _: &mut Context<'_>) -> Handled {
        self.events.send(Up(self.name))?;
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message.downcast::<End>() {
            Ok(End(Reason::Panic(text))) => panic!("{text}"),
            Ok(End(reason)) => Err(reason),
            Err(_) => Ok(()),
        }
    }

    fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
        // The test has ended.
        drop(self.events.send(Down(self.name)));
    }
}

fn member(name: &'static str, events: &Sender<Event>) -> Child {
    let events = events.clone();
    Child::new(name, move || Member {
        name,
        events: events.clone(),
    })
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// The supervisor with a child for each name, and what the children report after their starts.
fn spawn_members(
    node: &Node,
    supervisor: fn() -> Supervisor,
    change: impl Fn(Child) -> Child + Send + 'static,
) -> (Pid, Events) {
    let (sender, events) = mpsc::channel();
    let pid = node
        .spawn(move || {
            NAMES
                .iter()
                .fold(supervisor(), |supervisor, name| {
                    supervisor.with_child(change(member(name, &sender)))
                })
                .with_intensity(100, Duration::from_secs(60))
        })
        .expect("spawned");
    expect(&events, &[Up("a"), Up("b"), Up("c")]);
    (pid, events)
}

#[track_caller]
fn expect(events: &Events, expected: &[Event]) {
    for event in expected {
        let found = value_of(events).expect("an event");
        assert_eq!(found, *event, "of {expected:?}");
    }
}

/// The states of the children that are left, by name.
fn states(node: &Node, supervisor: Pid) -> Vec<(String, ChildState)> {
    let children = node.children(supervisor, LIMIT).expect("a list");
    children
        .into_iter()
        .map(|child| (child.name.to_string(), child.state))
        .collect()
}

fn pid_of(node: &Node, supervisor: Pid, name: &str) -> Pid {
    let children = node.children(supervisor, LIMIT).expect("a list");
    let child = children.into_iter().find(|child| child.name == name);
    child.and_then(|child| child.pid).expect("a process")
}

fn end_child(node: &Node, supervisor: Pid, name: &str, reason: &Reason) {
    let pid = pid_of(node, supervisor, name);
    if *reason == Reason::Kill {
        node.send_exit(pid, Reason::Kill).expect("it lives");
    } else {
        node.send(pid, End(reason.clone())).expect("it lives");
    }
}

/// Ends the supervisor and everything below it.
fn end_supervisor(node: &Node, supervisor: Pid) {
    node.send_exit(supervisor, Reason::Shutdown)
        .expect("it lives");
    wait_for_count(node, "processes", 0);
}

const KINDS: [fn() -> Supervisor; 4] = [
    Supervisor::one_for_one,
    Supervisor::all_for_one,
    Supervisor::rest_for_one,
    Supervisor::dynamic,
];

/// The matrix, worked out by hand from the manual of OTP's `supervisor`.
#[test]
fn each_kind_restarts_what_it_should_for_each_restart_type_reason_and_position() {
    silence_expected_panics();
    let node = node();
    let reasons = [
        Reason::Normal,
        Reason::Shutdown,
        Reason::Kill,
        Reason::error("custom"),
        Reason::Panic("boom".into()),
    ];
    for (kind, supervisor) in KINDS.into_iter().enumerate() {
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            for reason in &reasons {
                for position in 0..NAMES.len() {
                    let (pid, events) =
                        spawn_members(&node, supervisor, move |child| child.with_restart(restart));
                    end_child(&node, pid, NAMES[position], reason);

                    let orderly = matches!(reason, Reason::Normal | Reason::Shutdown);
                    let restarts = match restart {
                        Restart::Permanent => true,
                        Restart::Transient => !orderly,
                        Restart::Temporary => false,
                    };
                    let taken_along = match kind {
                        1 if restarts => 0..NAMES.len(),
                        2 if restarts => position..NAMES.len(),
                        _ => position..position + 1,
                    };
                    let mut expected = vec![Down(NAMES[position])];
                    let others = taken_along.clone().rev().filter(|at| *at != position);
                    expected.extend(others.map(|at| Down(NAMES[at])));
                    if restarts {
                        expected.extend(taken_along.map(|at| Up(NAMES[at])));
                    }
                    expect(&events, &expected);

                    let is_forgotten = !restarts && (restart == Restart::Temporary || kind == 3);
                    let mut left: Vec<_> = NAMES
                        .iter()
                        .map(|name| ((*name).to_string(), ChildState::Running))
                        .collect();
                    if is_forgotten {
                        left.remove(position);
                    } else if !restarts {
                        left[position].1 = ChildState::Down;
                    }
                    wait_until(&format!("{left:?}"), || states(&node, pid) == left);

                    end_supervisor(&node, pid);
                    let mut ended: Vec<_> = left
                        .iter()
                        .filter(|(_, state)| *state == ChildState::Running)
                        .map(|(name, _)| name.clone())
                        .collect();
                    let mut found: Vec<_> = events
                        .try_iter()
                        .map(|event| match event {
                            Down(name) => name.to_string(),
                            Up(name) => panic!("{name} was started at the end"),
                        })
                        .collect();
                    ended.reverse();
                    if kind == 3 {
                        found.sort_unstable_by(|one, other| other.cmp(one));
                    }
                    assert_eq!(found, ended, "the last one first");
                }
            }
        }
    }
    stop_clean(&node);
}

#[test]
fn group_restart_brings_stopped_children_back_and_no_disabled_or_temporary_ones() {
    let node = node();
    let (sender, events) = mpsc::channel();
    let all = sender.clone();
    let pid = node
        .spawn(move || {
            Supervisor::all_for_one()
                .with_child(member("stopped", &all))
                .with_child(member("disabled", &all))
                .with_child(member("temporary", &all).temporary())
                .with_child(member("fails", &all))
        })
        .expect("spawned");
    expect(
        &events,
        &[Up("stopped"), Up("disabled"), Up("temporary"), Up("fails")],
    );
    node.stop_child(pid, "stopped", LIMIT).expect("stopped");
    node.disable_child(pid, "disabled", LIMIT)
        .expect("disabled");
    expect(&events, &[Down("stopped"), Down("disabled")]);
    end_child(&node, pid, "fails", &Reason::error("custom"));
    expect(
        &events,
        &[Down("fails"), Down("temporary"), Up("stopped"), Up("fails")],
    );
    let running = ChildState::Running;
    let left = [
        ("stopped".to_string(), running),
        ("disabled".to_string(), ChildState::Disabled),
        ("fails".to_string(), running),
    ];
    wait_until("the group to be back", || states(&node, pid) == left);
    stop_clean(&node);
}

#[test]
fn child_starts_only_when_the_one_before_it_has_started() {
    let node = node();
    let gate = Probe::spawn(&node);
    let asked = gate.pid;
    let (sender, events) = mpsc::channel();
    let (slow, fast) = (sender.clone(), sender);
    // Inside a process a spawn does not wait.
    let spawner = Probe::spawn(&node);
    let pid = spawner.run(move |cx| {
        cx.spawn(move || {
            Supervisor::one_for_one()
                .with_child(Child::new("slow", move || Asks {
                    gate: asked,
                    events: slow.clone(),
                }))
                .with_child(member("fast", &fast))
        })
        .expect("spawned")
    });
    expect(&events, &[Up("slow")]);
    let waits = [
        ("slow".to_string(), ChildState::Starting),
        ("fast".to_string(), ChildState::Waiting),
    ];
    assert_eq!(states(&node, pid), waits);
    gate.call().2.answer::<Open>(());
    expect(&events, &[Up("fast")]);
    stop_clean(&node);
}

/// Asks the gate whether it is open.
struct Open;

impl Request for Open {
    type Reply = ();
}

/// Its `init` returns when the gate answers.
struct Asks {
    gate: Pid,
    events: Sender<Event>,
}

impl Actor for Asks {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        self.events.send(Up("slow"))?;
        Ok(cx.call(self.gate, Open, LIMIT)?)
    }
}

/// Its `init` returns when the gate opens.
struct Slow {
    gate: Arc<Mutex<Receiver<()>>>,
    events: Sender<Event>,
}

impl Actor for Slow {
    fn init(&mut self, _: &mut Context<'_>) -> Handled {
        self.events.send(Up("slow"))?;
        let gate = self.gate.lock().map_err(|_| Reason::error("poisoned"))?;
        value_of(&gate)?;
        Ok(())
    }
}

/// Fails in `init` as often as the counter says.
struct Failing(Arc<AtomicUsize>);

impl Actor for Failing {
    fn init(&mut self, _: &mut Context<'_>) -> Handled {
        let left = self.0.load(Ordering::Relaxed);
        if left == 0 {
            return Ok(());
        }
        self.0.store(left - 1, Ordering::Relaxed);
        match left % 2 {
            0 => Err(Reason::error("not today")),
            _ => panic!("not today"),
        }
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        Err(Reason::error("as the test wants"))
    }
}

fn failing(left: &Arc<AtomicUsize>) -> Child {
    let left = Arc::clone(left);
    Child::new("failing", move || Failing(Arc::clone(&left)))
}

#[test]
fn first_start_that_fails_ends_those_before_it_and_is_the_error_of_the_spawn() {
    silence_expected_panics();
    let node = node();
    for fails in [1, 2] {
        let left = Arc::new(AtomicUsize::new(fails));
        let (sender, events) = mpsc::channel();
        let spawned = node.spawn(move || {
            Supervisor::one_for_one()
                .with_child(member("a", &sender))
                .with_child(failing(&left))
                .with_child(member("c", &sender))
        });
        let Err(SpawnError::Init(reason)) = spawned else {
            panic!("spawned: {spawned:?}");
        };
        let text = reason.to_string();
        assert!(text.contains("child failing did not start"), "{text}");
        assert!(text.contains("not today"), "{text}");
        expect(&events, &[Up("a"), Down("a")]);
        wait_for_count(&node, "processes", 0);
    }
    stop_clean(&node);
}

#[test]
fn restart_that_fails_is_tried_again() {
    silence_expected_panics();
    let node = node();
    let left = Arc::new(AtomicUsize::new(0));
    let child = failing(&left);
    let pid = node
        .spawn(move || {
            Supervisor::one_for_one()
                .with_child(child)
                .with_intensity(4, Duration::from_secs(60))
        })
        .expect("spawned");
    left.store(3, Ordering::Relaxed);
    node.send(pid_of(&node, pid, "failing"), ())
        .expect("it lives");
    wait_until("the fifth start", || {
        let children = node.children(pid, LIMIT).expect("a list");
        children[0].starts == 5 && children[0].state == ChildState::Running
    });
    stop_clean(&node);
}

#[test]
fn one_restart_beyond_the_intensity_ends_the_supervisor_with_the_reason() {
    let node = node();
    let (sender, events) = mpsc::channel();
    let pid = node
        .spawn(move || {
            Supervisor::one_for_one()
                .with_child(member("first", &sender))
                .with_child(member("fails", &sender))
                .with_intensity(2, Duration::from_secs(60))
        })
        .expect("spawned");
    expect(&events, &[Up("first"), Up("fails")]);
    let watcher = Probe::spawn(&node);
    watcher.run(move |cx| cx.monitor(pid));
    for _ in 0..2 {
        end_child(&node, pid, "fails", &Reason::error("custom"));
        expect(&events, &[Down("fails"), Up("fails")]);
    }
    end_child(&node, pid, "fails", &Reason::error("the last straw"));
    expect(&events, &[Down("fails"), Down("first")]);
    let text = watcher.down().reason.to_string();
    assert!(text.contains("child fails"), "{text}");
    assert!(text.contains("the last straw"), "{text}");
    stop_clean(&node);
}

#[test]
fn end_of_significant_children_ends_the_supervisor() {
    let node = node();
    for (auto_shutdown, ends_with) in [
        (AutoShutdown::AnySignificant, 1),
        (AutoShutdown::AllSignificant, 2),
    ] {
        let (sender, events) = mpsc::channel();
        let pid = node
            .spawn(move || {
                Supervisor::one_for_one()
                    .with_auto_shutdown(auto_shutdown)
                    .with_child(member("a", &sender).transient().significant())
                    .with_child(member("b", &sender).temporary().significant())
                    .with_child(member("c", &sender))
            })
            .expect("spawned");
        expect(&events, &[Up("a"), Up("b"), Up("c")]);
        let watcher = Probe::spawn(&node);
        watcher.run(move |cx| cx.monitor(pid));
        // Its restart is no end, and neither is a stop by request.
        end_child(&node, pid, "a", &Reason::error("custom"));
        expect(&events, &[Down("a"), Up("a")]);
        wait_for(&node, pid, "running", 3);
        node.restart_child(pid, "a", LIMIT).expect("restarted");
        expect(&events, &[Down("a"), Up("a")]);
        for name in NAMES.iter().take(ends_with) {
            end_child(&node, pid, name, &Reason::Normal);
            expect(&events, &[Down(name)]);
        }
        assert_eq!(watcher.down().reason, Reason::Shutdown);
        let left: Vec<_> = events.try_iter().collect();
        let expected = [Down("c"), Down("b")];
        assert_eq!(left, expected[..3 - ends_with], "the last one first");
    }
    stop_clean(&node);
}

#[test]
fn wrong_options_are_refused_by_name() {
    let node = node();
    let refuses = |supervisor: fn() -> Supervisor, field: &str| {
        let error = node.spawn(supervisor).expect_err("a wrong option");
        assert!(error.to_string().contains(field), "{error}");
    };
    let second = Duration::from_secs(1);
    refuses(
        || Supervisor::dynamic().with_kill_timeout(Duration::ZERO),
        "kill_timeout",
    );
    refuses(
        || Supervisor::dynamic().with_intensity(1, Duration::ZERO),
        "period",
    );
    refuses(
        || Supervisor::dynamic().with_back_off(Duration::MAX, Duration::ZERO),
        "back_off",
    );
    fn idle() -> Child {
        Child::new("idle", || Failing(Arc::default()))
    }
    refuses(
        || {
            Supervisor::one_for_one()
                .with_child(idle())
                .with_child(idle())
        },
        "child",
    );
    refuses(
        || Supervisor::one_for_one().with_child(idle().transient().significant()),
        "significant",
    );
    let supervisor = node.spawn(Supervisor::dynamic).expect("spawned");
    let child = idle().with_start_timeout(Duration::ZERO);
    let refused = node.add_child(supervisor, child, second);
    assert!(matches!(refused, Err(ChildError::Option(error)) if error.field() == "start_timeout"));
    stop_clean(&node);
}

/// Traps exit signals and goes on.
struct Deaf;

impl Actor for Deaf {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.set_trap_exit(true);
        Ok(())
    }
}

#[test]
fn child_that_ignores_its_shutdown_is_killed_after_its_time() {
    let node = node();
    let pid = node
        .spawn(|| {
            let shutdown = Shutdown::Within(Duration::from_millis(50));
            Supervisor::one_for_one()
                .with_child(Child::new("deaf", || Deaf).with_shutdown(shutdown))
        })
        .expect("spawned");
    let watcher = Probe::spawn(&node);
    let deaf = pid_of(&node, pid, "deaf");
    watcher.run(move |cx| cx.monitor(deaf));
    let began = Instant::now();
    node.send_exit(pid, Reason::Shutdown).expect("it lives");
    assert_eq!(watcher.down().reason, Reason::Kill);
    assert!(began.elapsed() >= Duration::from_millis(50));
    stop_clean(&node);
}

/// Blocks in its handler until the gate opens.
struct Blocked {
    entered: Sender<()>,
    gate: Arc<Mutex<Receiver<()>>>,
}

impl Actor for Blocked {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        self.entered.send(()).map_err(Reason::error)?;
        let gate = self.gate.lock().map_err(|_| Reason::error("poisoned"))?;
        value_of(&gate)?;
        Ok(())
    }
}

#[test]
fn child_stuck_in_a_handler_is_given_up_and_its_name_goes_to_the_successor() {
    let node = node();
    let (open, gate) = mpsc::channel::<()>();
    let (entered, has_entered) = mpsc::channel();
    let gate = Arc::new(Mutex::new(gate));
    let pid = node
        .spawn(move || {
            Supervisor::one_for_one()
                .with_kill_timeout(Duration::from_millis(50))
                .with_child(
                    Child::new("blocked", move || Blocked {
                        entered: entered.clone(),
                        gate: Arc::clone(&gate),
                    })
                    .registered()
                    .with_shutdown(Shutdown::Kill),
                )
        })
        .expect("spawned");
    let stuck = node.whereis("blocked").expect("registered");
    node.send(stuck, ()).expect("it lives");
    // A kill that comes before the handler ends the child at once.
    value_of(&has_entered).expect("it handles the message");
    let successor = node
        .restart_child(pid, "blocked", LIMIT)
        .expect("restarted");
    assert_ne!(successor, stuck);
    assert_eq!(node.whereis("blocked"), Some(successor));
    wait_for(&node, pid, "stuck", 1);
    // Its late end takes nothing from the successor.
    open.send(()).expect("it waits");
    wait_for_count(&node, "processes", 2);
    assert_eq!(node.whereis("blocked"), Some(successor));
    stop_clean(&node);
}

/// Blocks in `terminate` until the gate opens.
struct Lingering(Arc<Mutex<Receiver<()>>>);

impl Actor for Lingering {
    fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
        if let Ok(gate) = self.0.lock() {
            // The test opens it, or has failed.
            let _ = value_of(&gate);
        }
    }
}

#[test]
fn child_stuck_in_terminate_is_given_up_and_named_when_the_node_stops() {
    let node = node_with(NodeOptions::from("test@localhost").with_workers(4));
    let (open, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let pid = node
        .spawn(move || {
            Supervisor::one_for_one()
                .with_kill_timeout(Duration::from_millis(50))
                .with_child(
                    Child::new("lingers", move || Lingering(Arc::clone(&gate)))
                        .registered()
                        .with_shutdown(Shutdown::Within(Duration::from_millis(50))),
                )
        })
        .expect("spawned");
    let stuck = node.whereis("lingers").expect("registered");
    let successor = node
        .restart_child(pid, "lingers", LIMIT)
        .expect("restarted");
    assert_eq!(node.whereis("lingers"), Some(successor));
    wait_for(&node, pid, "stuck", 1);
    let options = StopOptions::default().with_timeout(Duration::from_millis(300));
    let report = node.stop_with(options);
    assert!(report.stuck.contains(&stuck), "{report}");
    drop(open);
}

#[test]
fn stop_in_the_middle_of_a_group_restart_ends_what_is_left_and_starts_nothing() {
    let node = node();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let (sender, events) = mpsc::channel();
    let starts = Arc::new(AtomicUsize::new(0));
    let slow = sender.clone();
    let pid = node
        .spawn(move || {
            Supervisor::all_for_one()
                .with_child(member("a", &sender))
                // Blocks in its second start.
                .with_child(Child::new("slow", move || SlowAgain {
                    gate: Arc::clone(&gate),
                    is_again: starts.fetch_add(1, Ordering::Relaxed) > 0,
                    events: slow.clone(),
                }))
                .with_child(member("c", &sender))
        })
        .expect("spawned");
    expect(&events, &[Up("a"), Up("slow"), Up("c")]);
    end_child(&node, pid, "a", &Reason::error("custom"));
    let down = [Down("a"), Down("c"), Down("slow")];
    expect(&events, &down);
    expect(&events, &[Up("a"), Up("slow")]);
    let stopping = std::thread::spawn({
        let node = node.clone();
        move || node.stop()
    });
    wait_until("the stop to begin", || {
        node.spawn(|| Failing(Arc::default())) == Err(SpawnError::Stopping)
    });
    open.send(()).expect("it waits");
    let report = stopping.join().expect("stopped");
    assert!(report.is_clean(), "{report}");
    let left: Vec<_> = events.try_iter().collect();
    assert_eq!(left, [Down("slow"), Down("a")], "the third is not started");
}

/// Its `init` returns when the gate opens, unless it is the first.
struct SlowAgain {
    gate: Arc<Mutex<Receiver<()>>>,
    is_again: bool,
    events: Sender<Event>,
}

impl Actor for SlowAgain {
    fn init(&mut self, _: &mut Context<'_>) -> Handled {
        self.events.send(Up("slow"))?;
        if self.is_again {
            let gate = self.gate.lock().map_err(|_| Reason::error("poisoned"))?;
            value_of(&gate)?;
        }
        Ok(())
    }

    fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
        // The test has ended.
        drop(self.events.send(Down("slow")));
    }
}

#[test]
fn start_that_takes_too_long_is_given_up_and_counts() {
    let node = node();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let (events, _seen) = mpsc::channel();
    let spawned = node.spawn(move || {
        Supervisor::one_for_one()
            .with_kill_timeout(Duration::from_millis(20))
            .with_child(
                Child::new("slow", move || Slow {
                    gate: Arc::clone(&gate),
                    events: events.clone(),
                })
                .with_start_timeout(Duration::from_millis(20)),
            )
    });
    let error = spawned.expect_err("it does not start").to_string();
    assert!(error.contains("child slow did not start"), "{error}");
    open.send(()).expect("it waits");
    stop_clean(&node);
}

/// Owns a listener at an address.
struct Door(Arc<Mutex<Option<SocketAddr>>>);

impl Actor for Door {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let mut address = self.0.lock().map_err(|_| Reason::error("poisoned"))?;
        let server = match *address {
            Some(address) => TcpServer::bind(address)?,
            None => TcpServer::bind("127.0.0.1:0")?,
        };
        *address = Some(server.local_addr());
        cx.spawn_meta(server)?;
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message.downcast::<End>() {
            Ok(End(reason)) => Err(reason),
            Err(_) => Ok(()),
        }
    }
}

#[test]
fn listener_gives_its_port_back_before_its_successor_binds_it() {
    for workers in [1, 2] {
        let node = node_with(NodeOptions::from("test@localhost").with_workers(workers));
        let address = Arc::new(Mutex::new(None));
        let door = Arc::clone(&address);
        let pid = node
            .spawn(move || {
                Supervisor::one_for_one()
                    .with_child(Child::new("door", move || Door(Arc::clone(&door))))
                    .with_intensity(50, Duration::from_secs(60))
            })
            .expect("spawned");
        for restarts in 1..=50 {
            end_child(&node, pid, "door", &Reason::error("custom"));
            wait_until("the restart", || {
                let door = node.children(pid, LIMIT).expect("a list").remove(0);
                door.state == ChildState::Running && door.starts == restarts + 1
            });
        }
        let address = address.lock().unwrap().expect("bound");
        drop(client(address));
        stop_clean(&node);
    }
}

#[test]
fn supervisor_that_is_killed_takes_its_children_with_it() {
    let node = node();
    let (pid, events) = spawn_members(&node, Supervisor::one_for_one, |child| child);
    node.send_exit(pid, Reason::Kill).expect("it lives");
    let mut ended: Vec<_> = (0..3)
        .map(|_| value_of(&events).expect("an event"))
        .map(|event| matches!(event, Down(_)))
        .collect();
    ended.retain(|is_down| *is_down);
    assert_eq!(ended.len(), 3);
    wait_for_count(&node, "processes", 0);
    stop_clean(&node);
}

#[test]
fn supervisors_nest_and_one_that_gives_up_is_restarted_by_the_one_above() {
    let node = node();
    let (sender, events) = mpsc::channel();
    let pid = node
        .spawn(move || {
            Supervisor::one_for_one()
                .with_child(Child::new("inner", {
                    let sender = sender.clone();
                    move || {
                        Supervisor::one_for_one()
                            .with_child(member("a", &sender))
                            .with_child(member("b", &sender))
                            .with_intensity(0, Duration::from_secs(60))
                    }
                }))
                // Started when all children of the inner one have started.
                .with_child(member("c", &sender))
        })
        .expect("spawned");
    expect(&events, &[Up("a"), Up("b"), Up("c")]);
    let inner = pid_of(&node, pid, "inner");
    end_child(&node, inner, "a", &Reason::error("custom"));
    expect(&events, &[Down("a"), Down("b"), Up("a"), Up("b")]);
    wait_until("the inner one to be back", || {
        let children = node.children(pid, LIMIT).expect("a list");
        children[0].starts == 2 && children[0].state == ChildState::Running
    });
    stop_clean(&node);
    let ended: Vec<_> = events.try_iter().collect();
    assert_eq!(ended, [Down("c"), Down("b"), Down("a")]);
}

#[test]
fn verbs_at_run_time_do_what_they_say() {
    let node = node();
    let (sender, events) = mpsc::channel();
    let pid = node.spawn(Supervisor::one_for_one).expect("spawned");
    let a = node
        .add_child(pid, member("a", &sender), LIMIT)
        .expect("added");
    expect(&events, &[Up("a")]);
    assert_eq!(
        node.add_child(pid, member("a", &sender), LIMIT),
        Err(ChildError::NameTaken)
    );
    let running = Err(ChildError::Running);
    assert_eq!(node.start_child(pid, "a", LIMIT), running);
    assert_eq!(node.enable_child(pid, "a", LIMIT), Ok(a), "it is enabled");
    node.stop_child(pid, a, LIMIT).expect("by its pid");
    expect(&events, &[Down("a")]);
    assert_eq!(node.stop_child(pid, "a", LIMIT), Ok(()), "it is down");
    let again = node.start_child(pid, "a", LIMIT).expect("started");
    assert_ne!(again, a);
    expect(&events, &[Up("a")]);
    node.disable_child(pid, "a", LIMIT).expect("disabled");
    expect(&events, &[Down("a")]);
    let disabled = Err(ChildError::Disabled);
    assert_eq!(node.start_child(pid, "a", LIMIT), disabled);
    assert_eq!(node.restart_child(pid, "a", LIMIT), disabled);
    node.enable_child(pid, "a", LIMIT).expect("enabled");
    node.restart_child(pid, "a", LIMIT).expect("restarted");
    expect(&events, &[Up("a"), Down("a"), Up("a")]);
    node.remove_child(pid, "a", LIMIT).expect("removed");
    expect(&events, &[Down("a")]);
    assert_eq!(node.remove_child(pid, "a", LIMIT), Err(ChildError::Unknown));
    let left = Arc::new(AtomicUsize::new(2));
    let failed = node.add_child(pid, failing(&left), LIMIT);
    let reason = Reason::error("not today");
    assert_eq!(failed, Err(ChildError::Start(reason)));
    assert_eq!(
        states(&node, pid),
        [],
        "a child that did not start is not added"
    );

    // From inside, the answer is a message.
    let probe = Probe::spawn(&node);
    let child = member("b", &sender);
    probe.run(move |cx| cx.add_child(pid, child, LIMIT).expect("sent"));
    let answer = probe.reply().result.expect("an answer");
    let added = answer.downcast::<ChildResult>().expect("a result");
    let b = added.expect("added").expect("a process");
    assert_eq!(pid_of(&node, pid, "b"), b);
    stop_clean(&node);
}

#[test]
fn nothing_is_restarted_once_the_node_has_begun_to_stop() {
    let node = node();
    let (sender, events) = mpsc::channel();
    // Its restart is due in the middle of the stop, and again while it waits.
    let pid = node
        .spawn(move || {
            Supervisor::one_for_one()
                .with_child(member("waits", &sender))
                .with_child(Child::new("deaf", || Deaf).with_shutdown(Shutdown::Wait))
                .with_back_off(Duration::from_millis(100), Duration::from_millis(100))
        })
        .expect("spawned");
    expect(&events, &[Up("waits")]);
    end_child(&node, pid, "waits", &Reason::error("custom"));
    expect(&events, &[Down("waits")]);
    let options = StopOptions::default().with_timeout(Duration::from_millis(400));
    let began = Instant::now();
    let report = node.stop_with(options);
    assert!(began.elapsed() < LIMIT / 2, "within its deadlines");
    assert!(report.stuck.is_empty(), "{report}");
    assert!(
        report.killed.contains(&pid),
        "its child does not end: {report}"
    );
    assert_eq!(events.try_iter().next(), None, "started during the stop");
    assert_eq!(count(&node, "processes"), 0);
}

#[test]
fn stop_of_a_node_ends_the_children_of_a_supervisor_in_reverse_order() {
    let node = node();
    let (_, events) = spawn_members(&node, Supervisor::rest_for_one, |child| child);
    stop_clean(&node);
    let ended: Vec<_> = events.try_iter().collect();
    assert_eq!(ended, [Down("c"), Down("b"), Down("a")]);
}

struct Quiet;

impl Actor for Quiet {}

#[test]
fn registered_child_stays_so_with_options() {
    let node = node();
    node.spawn(|| {
        Supervisor::one_for_one()
            .with_child(
                Child::new("first", || Quiet)
                    .registered()
                    .with_options(SpawnOptions::default()),
            )
            .with_child(
                Child::new("second", || Quiet)
                    .registered()
                    .with_options(SpawnOptions::default().with_name("own")),
            )
    })
    .expect("spawned");
    assert!(node.whereis("first").is_some());
    assert!(node.whereis("own").is_some() && node.whereis("second").is_none());
    stop_clean(&node);
}
