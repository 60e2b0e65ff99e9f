//! Lists and typed information: what a node, its supervisors, pools, processes and sockets show of themselves.

use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{ChildState, SocketKind, TcpLimits, TimerInfo, TimerKind};

use crate::support::*;

/// Ends with the reason that it is sent.
struct Fragile;

impl Actor for Fragile {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        message.downcast::<Reason>().map_or(Ok(()), Err)
    }
}

#[test]
fn figures_of_a_socket_are_those_of_its_inspection() {
    let node = node();
    let (probe, user) = (Probe::spawn(&node), Probe::spawn(&node));
    let (addr, listener) = probe.listen(TcpServerOptions::default());
    let (udp_addr, udp) = probe.listen_udp(UdpServerOptions::default());
    let here = user.connect_to(addr);
    let there = probe.connect().id;
    user.connect();
    user.write(here, "12345");
    assert_eq!(probe.bytes(5), b"12345");
    probe.run(move |cx| cx.pause_reading(there)).expect("alive");
    let socket = udp_client();
    socket.send_to(b"123", udp_addr).expect("sent");
    probe.udp();

    let shown = |alias: Alias| node.socket(alias).expect("alive");
    wait_until(
        "the connection to be paused",
        || matches!(shown(there).kind, SocketKind::Connection(info) if info.is_paused_by_owner),
    );
    let socket = shown(there);
    let SocketKind::Connection(info) = &socket.kind else {
        panic!("{socket:?}");
    };
    assert_eq!((info.bytes_in, info.messages_in), (5, 1));
    assert_eq!((info.owner, info.state), (probe.pid, "open"));
    assert_eq!((info.local_addr, info.tls), (Some(addr), None));
    assert_eq!(socket.details.number("bytes_in"), Some(5));
    let SocketKind::Connection(client) = shown(here).kind else {
        panic!("{here}");
    };
    assert_eq!((client.bytes_out, client.remote_addr), (5, Some(addr)));
    assert_eq!(info.remote_addr, client.local_addr);

    let socket = shown(listener);
    let SocketKind::Listener(info) = &socket.kind else {
        panic!("{socket:?}");
    };
    assert_eq!((info.accepted, info.connections), (1, 1));
    assert_eq!((info.state, info.local_addr), ("accepting", Some(addr)));
    let socket = shown(udp);
    let SocketKind::Datagram(info) = &socket.kind else {
        panic!("{socket:?}");
    };
    assert_eq!((info.messages_in, info.bytes_in), (1, 3));
    assert_eq!(info.local_addr, Some(udp_addr));

    assert_eq!(node.sockets().count(), 4);
    assert_eq!(node.process(probe.pid).expect("alive").meta_processes, 3);
    user.run(move |cx| cx.abort(here)).expect("alive");
    wait_until("the client to be gone", || node.socket(here).is_none());
    stop_clean(&node);
}

#[test]
fn tree_shows_supervisors_below_supervisors_and_the_restart_of_a_child() {
    let node = node_with(NodeOptions::from("test@localhost").with_workers(2));
    let root = node
        .spawn_register("root", || {
            Supervisor::one_for_one().with_child(Child::new("rooms", || {
                Supervisor::rest_for_one().with_child(Child::new("lobby", || Fragile).registered())
            }))
        })
        .expect("spawned");
    let tree = node.supervision_tree();
    let roots: Vec<_> = tree.roots().map(|info| info.pid).collect();
    assert_eq!((roots, tree.iter().count()), (vec![root], 2));
    let info = tree.get(root).expect("a supervisor");
    assert_eq!(
        (info.kind, info.name.as_ref().map(Name::as_str)),
        ("one_for_one", Some("root"))
    );
    let rooms = info.children[0].pid.expect("running");

    let lobby = node.whereis("lobby").expect("registered");
    assert!(node.process(lobby).expect("alive").is_supervised);
    node.send(lobby, Reason::error("on purpose")).expect("sent");
    wait_until("the child to be started again", || {
        let tree = node.supervision_tree();
        let info = tree.get(rooms).expect("a supervisor");
        let child = info.children.first();
        let runs = child.filter(|child| child.state == ChildState::Running);
        runs.is_some_and(|child| child.pid != Some(lobby) && child.starts == 2)
            && info.restarts == 1
    });
    let text = node.supervision_tree().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].ends_with(" root one_for_one"), "{text}");
    assert!(lines[1].starts_with("  rooms <"), "{text}");
    assert!(lines[2].starts_with("    lobby <"), "{text}");
    assert!(lines[2].ends_with(" running starts=2"), "{text}");
    assert!(node.dump().contains(lines[2]));
    stop_clean(&node);
}

/// What has not returned must not keep the list, or the node's other processes, waiting.
#[test]
fn pool_whose_handler_runs_is_busy_and_its_figures_come_back() {
    let node = node();
    let (blocks, is_blocked) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let pool = node
        .spawn(move || {
            Pool::new(3, || Fragile).with_key(move |_, message| {
                if message.is::<&str>() {
                    blocks.send(()).expect("the test listens");
                    released.recv().ok();
                }
                0
            })
        })
        .expect("spawned");
    let shown = || node.pools().find(|info| info.pid == pool).expect("alive");
    wait_until("the workers to be there", || shown().workers == 3);
    node.send(pool, "blocks").expect("sent");
    value_of(&is_blocked).expect("the handler runs");
    assert!(shown().is_busy);
    assert!(node.process(pool).is_some(), "the lists go on");
    drop(release);
    wait_until("the message to be forwarded", || {
        let info = shown();
        !info.is_busy && info.forwarded == 1
    });
    stop_clean(&node);
}

#[test]
fn lists_are_taken_from_inside_of_a_process() {
    let node = node();
    let probe = Probe::spawn(&node);
    node.spawn(|| Supervisor::one_for_one().with_child(Child::new("child", || Fragile)))
        .expect("spawned");
    let (tree, running) = probe.run(move |cx| {
        let node = cx.node().expect("the test has a handle");
        (node.supervision_tree(), node.process(cx.pid()))
    });
    assert_eq!(tree.roots().count(), 1);
    assert_eq!(
        running.expect("alive").state,
        longshore::ProcessState::Running
    );
    stop_clean(&node);
}

#[test]
fn messages_that_wait_are_counted_in_their_lane() {
    let node = node();
    let probe = Probe::spawn(&node);
    let gate = probe.block();
    let priorities = [
        (Priority::Log, 1),
        (Priority::Normal, 2),
        (Priority::High, 3),
        (Priority::Max, 4),
    ];
    for (priority, count) in priorities {
        for _ in 0..count {
            node.send_with_priority(probe.pid, (), priority)
                .expect("delivered");
        }
    }
    let shown = node.process(probe.pid).expect("alive");
    let lanes = shown.lanes;
    assert_eq!(
        (lanes.log, lanes.main, lanes.system, lanes.urgent),
        (1, 2, 3, 4)
    );
    assert_eq!((lanes.total(), shown.messages_queued), (10, 10));
    drop(gate);
    wait_until("the mailbox to be empty", || {
        node.process(probe.pid).expect("alive").lanes.total() == 0
    });
    stop_clean(&node);
}

/// Works for the time that it is sent.
struct Works;

impl Actor for Works {
    fn handle_call(
        &mut self,
        _: &mut Context<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        let time = message.downcast::<Duration>()?;
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::hint::spin_loop();
        }
        reply.send(());
        Ok(())
    }
}

#[test]
fn time_in_handlers_and_the_longest_one_are_those_of_the_process_that_works() {
    let options = NodeOptions::from("test@localhost").with_workers(1);
    let node = node_with(options.with_slow_handler(Duration::from_millis(20)));
    let works = node.spawn(|| Works).expect("spawned");
    let idle = node.spawn(|| Works).expect("spawned");
    let shown = |pid| node.process(pid).expect("alive");
    // One activation in 16 is timed: ten of these, whichever is the first.
    let time = Duration::from_millis(1);
    for _ in 0..160 {
        node.call(works, time, LIMIT).expect("an answer");
        // The next message is to find the activation over.
        while shown(works).state != longshore::ProcessState::Idle {
            std::thread::yield_now();
        }
    }
    // Less one that fell to another process, and what the rounding takes.
    let least = time * 130;
    let seen = shown(works).time_in_handlers;
    assert!(seen >= least, "{seen:?}");
    assert!(shown(idle).time_in_handlers < least / 10);
    node.call(works, Duration::from_millis(60), LIMIT)
        .expect("an answer");
    wait_until("the handler to be over", || {
        let longest = shown(works).longest_handler;
        longest.is_some_and(|longest| !longest.is_running && longest.message.ends_with("Duration"))
    });
    assert_eq!(shown(idle).longest_handler, None);
    stop_clean(&node);
}

#[test]
fn relations_are_counted() {
    let node = node();
    let (one, other) = (Probe::spawn(&node), Probe::spawn(&node));
    let pid = other.pid;
    one.run(move |cx| {
        cx.link(pid).expect("linked");
        cx.monitor(pid);
    });
    let shown = node.process(one.pid).expect("alive");
    assert_eq!((shown.links, shown.monitors, shown.monitored_by), (1, 1, 0));
    let shown = node.process(other.pid).expect("alive");
    assert_eq!((shown.links, shown.monitors, shown.monitored_by), (1, 0, 1));
    drop(node.stop());
}

#[test]
fn node_shows_what_its_figures_show() {
    let node = node();
    let probe = Probe::named(&node, "probe");
    probe.listen(TcpServerOptions::default());
    let info = node.info();
    assert_eq!((info.processes, info.names, info.workers), (1, 1, 2));
    assert_eq!((info.meta_processes, info.is_stopping), (1, false));
    assert_eq!(count(&node, "processes"), 1);
    stop_clean(&node);
    assert!(node.info().is_stopping);
}

/// Keeps its requests.
struct Silent(Vec<Reply>);

impl Actor for Silent {
    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        self.0.push(reply);
        Ok(())
    }
}

struct Question;

impl Request for Question {
    type Reply = ();
}

#[test]
fn timers_are_listed_with_what_they_do() {
    let node = node();
    let silent = node.spawn(|| Silent(Vec::new())).expect("spawned");
    let (probe, user) = (Probe::spawn(&node), Probe::spawn(&node));
    let limits = TcpLimits::default().with_idle_timeout(LIMIT * 4);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits));
    let _peer = client(addr);
    let connection = probe.connect().id;
    let (once, every) = user.run(move |cx| {
        let once = cx.send_after(silent, 7_u32, LIMIT * 2);
        let every = cx
            .send_every("absent", "tick", LIMIT * 3)
            .expect("an interval");
        cx.ask(silent, Question, LIMIT * 5, 1).expect("sent");
        (once, every)
    });
    let mut outside = std::pin::pin!(node.ask(silent, Question, LIMIT * 6).expect("sent"));
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(outside.as_mut().poll(&mut task).is_pending());
    node.send_after(connection, "late", LIMIT * 7);

    let listed = || node.timers().collect::<Vec<TimerInfo>>();
    let find = |kind, from, to: Option<Target>| {
        let found = |timer: &TimerInfo| (timer.kind, timer.from, &timer.to) == (kind, from, &to);
        let mut all = listed().into_iter().filter(found);
        let one = all.next();
        assert_eq!(all.next(), None, "{to:?}");
        one
    };
    let is_due = |timer: &TimerInfo, in_limits: u32| {
        // Rounded up.
        let latest = LIMIT * in_limits + Duration::from_millis(1);
        assert!(timer.due_in <= latest, "{timer:?}");
        assert!(timer.due_in > latest - LIMIT, "{timer:?}");
    };
    let (message, meta, request) = (TimerKind::Message, TimerKind::Meta, TimerKind::Request);
    let own = find(message, user.pid, Some(silent.into())).expect("set");
    assert_eq!((own.message, own.interval), ("u32", None));
    is_due(&own, 2);
    let tick = find(message, user.pid, Some("absent".into())).expect("set");
    assert_eq!((tick.message, tick.interval), ("&str", Some(LIMIT * 3)));
    assert_eq!(tick.missed, 0);
    is_due(&tick, 3);
    let late = find(message, Pid::NODE, Some(connection.into())).expect("set");
    is_due(&late, 7);
    let asked = find(request, user.pid, Some(user.pid.into())).expect("set");
    is_due(&asked, 5);
    is_due(&find(request, Pid::NODE, None).expect("set"), 6);
    is_due(
        &find(meta, Pid::NODE, Some(connection.into())).expect("set"),
        4,
    );
    assert_eq!(listed().len(), node.info().timers);
    let dump = node.dump();
    assert!(
        dump.contains(&format!(" to={silent} from={} message=u32", user.pid)),
        "{dump}"
    );

    user.run(move |cx| assert!(cx.cancel_timer(once) && cx.cancel_timer(every)));
    assert_eq!(find(message, user.pid, Some(silent.into())), None);
    assert_eq!(find(message, user.pid, Some("absent".into())), None);
    let _ = node.stop();
    assert_eq!(listed(), []);
}

#[test]
fn list_of_timers_shows_all_that_stay_while_others_come_and_go() {
    const STAY: usize = 1_000;
    let node = node();
    let silent = node.spawn(|| Silent(Vec::new())).expect("spawned");
    for number in 0..STAY {
        node.send_after(silent, number, LIMIT);
    }
    let churns = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while churns.load(std::sync::atomic::Ordering::Relaxed) {
                let timers: Vec<Timer> = (0..100_u8)
                    .map(|number| node.send_after(silent, number, LIMIT))
                    .collect();
                for timer in timers {
                    assert!(node.cancel_timer(timer));
                }
            }
        });
        for _ in 0..200 {
            let stay = node.timers().filter(|timer| timer.message == "usize");
            assert_eq!(stay.count(), STAY);
        }
        churns.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    stop_clean(&node);
}

/// Sends what it gets to the next one, until it is stopped.
struct Ring {
    next: Option<Pid>,
    is_over: bool,
}

struct Over;

impl Actor for Ring {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Some(next) = message.downcast_ref::<Pid>() {
            self.next = Some(*next);
        } else if message.is::<Over>() {
            self.is_over = true;
        } else if let (Some(next), false) = (self.next, self.is_over) {
            cx.send(next, ())?;
        }
        Ok(())
    }
}

#[test]
fn messages_in_and_out_add_up_while_they_are_under_way() {
    const PROCESSES: u64 = 50;
    const TOKENS: u64 = 200;
    // What the two workers have sent in the activations that they are in: each at most the tokens.
    const UNCOUNTED: u64 = 2 * TOKENS;
    let node = node();
    let spawn = |_| {
        let ring = Ring {
            next: None,
            is_over: false,
        };
        node.spawn(|| ring).expect("spawned")
    };
    let ring: Vec<Pid> = (0..PROCESSES).map(spawn).collect();
    for (index, pid) in ring.iter().enumerate() {
        node.send(*pid, ring[(index + 1) % ring.len()])
            .expect("sent");
    }
    for token in 0..TOKENS {
        node.send(ring[(token % PROCESSES) as usize], ())
            .expect("sent");
    }
    let sum = || {
        node.processes()
            .fold((0, 0, 0), |(handled, sent, queued), process| {
                (
                    handled + process.messages_in,
                    sent + process.messages_out,
                    queued + process.messages_queued as u64,
                )
            })
    };
    let from_outside = PROCESSES + TOKENS;
    for _ in 0..500 {
        let (before, now, after) = (sum(), sum(), sum());
        // A list takes its time: what was handled before it was sent before the next one, and the other way round.
        assert!(
            before.0 <= now.1 + from_outside + UNCOUNTED,
            "{before:?} {now:?}"
        );
        assert!(
            now.1 + from_outside <= after.0 + TOKENS + PROCESSES,
            "{now:?} {after:?}"
        );
    }
    for pid in &ring {
        node.send(*pid, Over).expect("sent");
    }
    wait_until("the ring to be at rest", || {
        let (handled, sent, queued) = sum();
        queued == 0 && handled == sent + from_outside + PROCESSES
    });
    stop_clean(&node);
}
