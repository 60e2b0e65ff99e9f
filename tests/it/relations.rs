//! Links and monitors between processes.

use longshore::SendErrorKind;
use longshore::prelude::*;

use crate::support::*;

on_both! {
    monitor_reports_each_reason_once_by_pid_and_by_name,
    each_monitor_reports_for_itself,
    unknown_targets_answer_a_monitor_at_once,
    link_passes_each_reason_but_normal_on_both_ways,
    trapped_link_gives_each_reason_as_a_message,
    links_to_the_dead_and_to_unregistered_names_are_reported,
    nothing_comes_over_an_unlinked_link_or_a_withdrawn_monitor,
    spawning_with_a_link_ends_the_child_with_its_parent,
    process_that_gives_its_name_back_ends_the_monitors_of_the_name_only,
    monitor_by_a_name_that_comes_and_goes_reports_exactly_once,
}

/// Ends a process in the way that has this reason.
fn end_with(node: &Node, probe: &Probe, reason: &Reason) {
    match reason {
        Reason::Panic(text) => {
            let text = text.to_string();
            probe.start(move |_| panic!("{text}"));
        }
        Reason::Kill => node.send_exit(probe.pid, Reason::Kill).expect("it lives"),
        other => {
            let other = other.clone();
            probe.start(move |_| Err(other));
        }
    }
    assert_eq!(probe.end(), *reason);
}

fn reasons() -> [Reason; 5] {
    [
        Reason::Normal,
        Reason::Kill,
        Reason::error("custom"),
        Reason::Shutdown,
        Reason::Panic("boom".into()),
    ]
}

#[track_caller]
fn has_no_relations(node: &Node, probe: &Probe) {
    let inspection = inspect(node, probe.pid);
    for what in ["links", "monitored_by", "monitors"] {
        assert_eq!(inspection.number(what), Some(0), "{what}: {inspection}");
    }
}

#[test]
fn monitor_reports_each_reason_once_by_pid_and_by_name() {
    silence_expected_panics();
    let node = node();
    let watcher = Probe::spawn(&node);
    for reason in reasons() {
        for by_name in [false, true] {
            let watched = Probe::named(&node, "watched");
            let pid = watched.pid;
            let monitor = watcher.run(move |cx| {
                if by_name {
                    cx.monitor("watched")
                } else {
                    cx.monitor(pid)
                }
            });
            end_with(&node, &watched, &reason);
            let down = watcher.down();
            let asked = if by_name {
                Target::from("watched")
            } else {
                Target::Pid(pid)
            };
            assert_eq!(
                (down.monitor, down.target, &down.reason),
                (monitor, asked, &reason)
            );
            watcher.saw_nothing();
            has_no_relations(&node, &watcher);
        }
    }
    stop_clean(&node);
}

#[test]
fn each_monitor_reports_for_itself() {
    let node = node();
    let (watcher, watched) = (Probe::spawn(&node), Probe::spawn(&node));
    let pid = watched.pid;
    let monitors = watcher.run(move |cx| [cx.monitor(pid), cx.monitor(pid), cx.monitor(pid)]);
    watcher.run(move |cx| cx.demonitor(monitors[1]));
    end_with(&node, &watched, &Reason::Shutdown);
    let monitors_down = [watcher.down().monitor, watcher.down().monitor];
    assert_eq!(monitors_down, [monitors[0], monitors[2]]);
    watcher.saw_nothing();
    has_no_relations(&node, &watcher);
    stop_clean(&node);
}

#[test]
fn unknown_targets_answer_a_monitor_at_once() {
    let node = node();
    let (watcher, dead) = (Probe::spawn(&node), Probe::spawn(&node));
    let pid = dead.pid;
    end_with(&node, &dead, &Reason::Normal);
    wait_for_count(&node, "processes", 1);
    for target in [Target::Pid(pid), Target::from("absent")] {
        let asked = target.clone();
        let monitor = watcher.run(move |cx| cx.monitor(asked));
        let down = watcher.down();
        assert_eq!(
            (down.monitor, down.target, down.reason),
            (monitor, target, Reason::NoProcess)
        );
    }
    has_no_relations(&node, &watcher);
    stop_clean(&node);
}

#[test]
fn link_passes_each_reason_but_normal_on_both_ways() {
    silence_expected_panics();
    let node = node();
    for reason in reasons() {
        for reverse in [false, true] {
            let (one, other) = (Probe::named(&node, "one"), Probe::named(&node, "other"));
            let target = if reverse {
                Target::Pid(one.pid)
            } else {
                Target::from("other")
            };
            if reverse { &other } else { &one }
                .run(move |cx| cx.link(target))
                .expect("it lives");
            end_with(&node, &other, &reason);
            if reason == Reason::Normal {
                one.saw_nothing();
                has_no_relations(&node, &one);
                end_with(&node, &one, &Reason::Normal);
            } else {
                assert_eq!(one.end(), reason);
            }
            wait_for_count(&node, "processes", 0);
        }
    }
    stop_clean(&node);
}

#[test]
fn trapped_link_gives_each_reason_as_a_message() {
    silence_expected_panics();
    let node = node();
    let trapping = Probe::spawn(&node);
    trapping.run(|cx| cx.set_trap_exit(true));
    for reason in reasons() {
        let other = Probe::spawn(&node);
        let pid = other.pid;
        trapping.run(move |cx| cx.link(pid)).expect("it lives");
        // A second link changes nothing.
        trapping.run(move |cx| cx.link(pid)).expect("it lives");
        end_with(&node, &other, &reason);
        let exit = trapping.exit();
        assert_eq!((exit.from, exit.reason), (Target::Pid(pid), reason));
        trapping.saw_nothing();
        has_no_relations(&node, &trapping);
    }
    stop_clean(&node);
}

#[test]
fn links_to_the_dead_and_to_unregistered_names_are_reported() {
    let node = node();
    let dead = Probe::spawn(&node);
    let pid = dead.pid;
    end_with(&node, &dead, &Reason::Normal);
    wait_for_count(&node, "processes", 0);
    let (trapping, plain) = (Probe::spawn(&node), Probe::spawn(&node));
    trapping.run(|cx| cx.set_trap_exit(true));
    assert_eq!(
        trapping.run(|cx| cx.link("absent")),
        Err(SendErrorKind::NoName)
    );
    trapping
        .run(move |cx| cx.link(pid))
        .expect("answered by a signal");
    let exit = trapping.exit();
    assert_eq!(
        (exit.from, exit.reason),
        (Target::Pid(pid), Reason::NoProcess)
    );
    has_no_relations(&node, &trapping);
    plain.start(move |cx| cx.link(pid).map_err(|_| Reason::Kill));
    assert_eq!(plain.end(), Reason::NoProcess);
    stop_clean(&node);
}

/// Asks a probe whether a handler may go on.
struct Open;

impl Request for Open {
    type Reply = ();
}

#[test]
fn nothing_comes_over_an_unlinked_link_or_a_withdrawn_monitor() {
    let node = node();
    let (one, other) = (Probe::spawn(&node), Probe::spawn(&node));
    let pid = other.pid;
    one.run(move |cx| {
        cx.set_trap_exit(true);
        cx.link(pid).expect("it lives");
        let monitor = cx.monitor(pid);
        cx.unlink(pid);
        cx.demonitor(monitor);
    });
    has_no_relations(&node, &other);
    end_with(&node, &other, &Reason::error("custom"));
    one.saw_nothing();

    // Signals that are already in flight are discarded as well.
    let other = Probe::spawn(&node);
    let pid = other.pid;
    let monitor = one.run(move |cx| {
        cx.link(pid).expect("it lives");
        cx.monitor(pid)
    });
    let gate = one.block();
    end_with(&node, &other, &Reason::error("custom"));
    one.start(move |cx| {
        cx.unlink(pid);
        cx.demonitor(monitor);
        Ok(())
    });
    wait_for_count(&node, "processes", 1);
    drop(gate);
    // Signals overtake messages of the main lane, so they arrived first and are seen. The handler that was running took
    // the relations back, so signals behind it are not seen.
    let (first, second) = (one.next().1, one.next().1);
    assert!(matches!(
        (&first, &second),
        (Message::Exit(_), Message::Down(_)) | (Message::Down(_), Message::Exit(_))
    ));
    one.saw_nothing();
    has_no_relations(&node, &one);

    // The handler that takes the relations back waits until the other process has ended.
    let (other, gate) = (Probe::spawn(&node), Probe::spawn(&node));
    let (pid, asked) = (other.pid, gate.pid);
    one.start(move |cx| {
        cx.link(pid).expect("it lives");
        let monitor = cx.monitor(pid);
        cx.call(asked, Open, LIMIT)?;
        cx.unlink(pid);
        cx.demonitor(monitor);
        Ok(())
    });
    let reply = gate.call().2;
    end_with(&node, &other, &Reason::error("custom"));
    wait_for_count(&node, "processes", 2);
    reply.answer::<Open>(());
    one.saw_nothing();
    has_no_relations(&node, &one);
    stop_clean(&node);
}

#[test]
fn the_dead_are_forgotten_by_those_who_watched_and_those_who_were_watched() {
    let node = node();
    let lasting = Probe::spawn(&node);
    lasting.run(|cx| cx.set_trap_exit(true));
    for _ in 0..500 {
        let passing = Probe::spawn(&node);
        let (pid, lasting_pid) = (passing.pid, lasting.pid);
        lasting.run(move |cx| cx.monitor(pid));
        passing.run(move |cx| {
            cx.monitor(lasting_pid);
            cx.link(lasting_pid).expect("it lives");
        });
        end_with(&node, &passing, &Reason::Normal);
        let (first, second) = (lasting.next().1, lasting.next().1);
        assert!(matches!(
            (first, second),
            (Message::Exit(_), Message::Down(_)) | (Message::Down(_), Message::Exit(_))
        ));
    }
    has_no_relations(&node, &lasting);
    stop_clean(&node);
}

#[test]
fn spawning_with_a_link_ends_the_child_with_its_parent() {
    let node = node();
    let parent = Probe::spawn(&node);
    let child = parent
        .run(|cx| {
            let idle = || Script(|_: &mut Context<'_>, _: Pid, _: Message| Ok(()));
            cx.spawn_with(SpawnOptions::default().with_link(), idle)
        })
        .expect("spawned");
    assert_eq!(
        inspect(&node, child).value("parent"),
        Some(&*parent.pid.to_string())
    );
    end_with(&node, &parent, &Reason::error("custom"));
    wait_for_count(&node, "processes", 0);
    // A child that fails in `init` does not end its linked parent.
    let parent = Probe::spawn(&node);
    let failed = parent.run(|cx| {
        struct Failing;
        impl Actor for Failing {
            fn init(&mut self, _: &mut Context<'_>) -> Handled {
                Err(Reason::error("init"))
            }
        }
        cx.spawn_with(SpawnOptions::default().with_link(), || Failing)
    });
    assert!(failed.is_err());
    parent.saw_nothing();
    has_no_relations(&node, &parent);
    stop_clean(&node);
}

#[test]
fn every_monitor_and_every_link_reports_exactly_once_while_their_targets_end() {
    const TARGETS: usize = 1_000;
    let node = node();
    let targets: Vec<Pid> = (0..TARGETS)
        .map(|_| {
            node.spawn(|| Script(|_: &mut Context<'_>, _, _| Ok(())))
                .expect("spawned")
        })
        .collect();
    let watchers: Vec<_> = (0..4).map(|_| Probe::spawn(&node)).collect();
    for watcher in &watchers {
        watcher.run(|cx| cx.set_trap_exit(true));
        let targets = targets.clone();
        watcher.start(move |cx| {
            for target in targets {
                cx.monitor(target);
                cx.link(target)?;
            }
            Ok(())
        });
    }
    // Some targets are watched by now, others are not.
    for target in &targets {
        node.send_exit(*target, Reason::Shutdown)
            .expect("it lives, or is dying");
    }
    for watcher in &watchers {
        let mut seen = std::collections::HashMap::<Target, [usize; 2]>::new();
        for _ in 0..2 * TARGETS {
            match watcher.next().1 {
                Message::Down(down) => seen.entry(down.target).or_default()[0] += 1,
                Message::Exit(exit) => seen.entry(exit.from).or_default()[1] += 1,
                other => panic!("{other:?}"),
            }
        }
        watcher.saw_nothing();
        assert!(seen.len() == TARGETS && seen.values().all(|count| *count == [1, 1]));
        has_no_relations(&node, watcher);
    }
    stop_clean(&node);
}

#[test]
fn a_chain_of_links_falls_as_a_whole() {
    let node = node();
    const LENGTH: usize = 10_000;
    let probes: Vec<_> = (0..LENGTH)
        .map(|_| node.spawn(|| Linking).expect("spawned"))
        .collect();
    for pair in probes.windows(2) {
        node.call(pair[0], pair[1], LIMIT).expect("linked");
    }
    node.send_exit(probes[LENGTH / 2], Reason::error("custom"))
        .expect("it lives");
    wait_for_count(&node, "processes", 0);
    stop_clean(&node);
}

struct Linking;

impl Actor for Linking {
    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        if let Ok(pid) = message.downcast::<Pid>() {
            cx.link(pid).map_err(|_| Reason::NoProcess)?;
            reply.send(());
        }
        Ok(())
    }
}

#[test]
fn process_that_gives_its_name_back_ends_the_monitors_of_the_name_only() {
    let node = node();
    let (watcher, watched) = (Probe::spawn(&node), Probe::named(&node, "watched"));
    let pid = watched.pid;
    let [by_name, withdrawn, by_pid] = watcher.run(move |cx| {
        let monitors = ["watched", "watched"].map(|name| cx.monitor(name));
        [monitors[0], monitors[1], cx.monitor(pid)]
    });
    watcher.run(move |cx| cx.demonitor(withdrawn));
    watched.run(|cx| cx.unregister());
    let down = watcher.down();
    assert_eq!(
        (down.monitor, down.target, down.reason),
        (by_name, Target::from("watched"), Reason::NoProcess)
    );
    watcher.saw_nothing();
    // Another name is another one's to watch.
    watched
        .run(|cx| cx.register("again"))
        .expect("the name is free");
    let again = watcher.run(|cx| cx.monitor("again"));
    end_with(&node, &watched, &Reason::Shutdown);
    for (monitor, target) in [(by_pid, Target::Pid(pid)), (again, Target::from("again"))] {
        let down = watcher.down();
        assert_eq!(
            (down.monitor, down.target, down.reason),
            (monitor, target, Reason::Shutdown)
        );
    }
    watcher.saw_nothing();
    has_no_relations(&node, &watcher);
    stop_clean(&node);
}

#[test]
fn monitor_by_a_name_that_comes_and_goes_reports_exactly_once() {
    let node = node();
    let watched = Probe::spawn(&node);
    let watchers = [Probe::spawn(&node), Probe::spawn(&node)];
    // The one gives its name back while the others look it up.
    watched.start(|cx| {
        for _ in 0..2_000 {
            cx.register("flickering")?;
            cx.unregister();
        }
        Ok(())
    });
    for watcher in &watchers {
        watcher.start(|cx| {
            for _ in 0..2_000 {
                cx.monitor("flickering");
            }
            Ok(())
        });
    }
    for watcher in &watchers {
        let mut monitors_down: Vec<_> = (0..2_000).map(|_| watcher.down().monitor).collect();
        monitors_down.sort_unstable();
        monitors_down.dedup();
        assert_eq!(monitors_down.len(), 2_000, "one for each monitor");
        watcher.saw_nothing();
        has_no_relations(&node, watcher);
    }
    watched.run(|_| ());
    has_no_relations(&node, &watched);
    stop_clean(&node);
}
