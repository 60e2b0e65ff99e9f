//! Mailboxes and timers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use longshore::SendErrorKind;
use longshore::prelude::*;

use crate::support::*;

on_both! {
    lanes_are_looked_at_before_every_message_in_their_order,
    messages_of_one_sender_keep_their_order_in_a_lane,
    a_default_bound_of_the_node_holds_for_its_processes,
    a_flood_of_urgent_messages_is_handled_before_the_main_lane_and_does_not_lose_it,
    sending_by_name_by_pid_and_to_no_process,
    timers_fire_in_their_order_and_never_early,
    a_canceled_timer_does_not_fire_and_canceling_returns_whether_it_was_in_time,
    a_timer_is_canceled_or_fires_and_never_both,
    an_idle_node_wakes_for_a_timer_that_is_set_from_elsewhere,
    many_timers_fire_once_each,
    timer_for_a_name_finds_the_process_that_holds_it_then,
}

#[test]
fn lanes_are_looked_at_before_every_message_in_their_order() {
    let node = node();
    let probe = Probe::spawn(&node);
    let gate = probe.block();
    let send = |text: &'static str, priority| {
        node.send_with_priority(probe.pid, text, priority)
            .expect("delivered")
    };
    for (text, priority) in [
        ("log 1", Priority::Log),
        ("main 1", Priority::Normal),
        ("system 1", Priority::High),
        ("urgent 1", Priority::Max),
        ("log 2", Priority::Log),
        ("main 2", Priority::Normal),
        ("system 2", Priority::High),
        ("urgent 2", Priority::Max),
    ] {
        send(text, priority);
    }
    drop(gate);
    let seen: Vec<_> = (0..8).map(|_| probe.value::<&str>()).collect();
    let expected = [
        "urgent 1", "urgent 2", "system 1", "system 2", "main 1", "main 2", "log 1", "log 2",
    ];
    assert_eq!(seen, expected);

    // The same holds in the middle of a long main lane.
    let gate = probe.block();
    let (to, inside) = (probe.pid, node.clone());
    for number in 0..500_u32 {
        if number == 300 {
            let inside = inside.clone();
            probe.start(move |_| {
                inside
                    .send_with_priority(to, 7_000_u32, Priority::Log)
                    .map_err(|error| error.kind())?;
                inside
                    .send_with_priority(to, 8_000_u32, Priority::High)
                    .map_err(|error| error.kind())?;
                inside
                    .send_with_priority(to, 9_000_u32, Priority::Max)
                    .map_err(|error| error.kind())?;
                Ok(())
            });
        }
        node.send(to, number).expect("delivered");
    }
    drop(gate);
    let seen: Vec<u32> = (0..503).map(|_| probe.value()).collect();
    let expected: Vec<u32> = (0..300)
        .chain([9_000, 8_000])
        .chain(300..500)
        .chain([7_000])
        .collect();
    assert_eq!(seen, expected);
    stop_clean(&node);
}

#[test]
fn messages_of_one_sender_keep_their_order_in_a_lane() {
    let node = node_with(NodeOptions::from("test@localhost").with_workers(4));
    let receiver = Probe::spawn(&node);
    let to = receiver.pid;
    const SENDERS: usize = 8;
    const EACH: u32 = 2_000;
    let senders: Vec<_> = (0..SENDERS).map(|_| Probe::spawn(&node)).collect();
    for sender in &senders {
        sender.start(move |cx| {
            for number in 0..EACH {
                cx.send(to, number)?;
            }
            Ok(())
        });
    }
    let mut next: HashMap<Pid, u32> = HashMap::new();
    for _ in 0..SENDERS as u32 * EACH {
        let (from, message) = receiver.next();
        let expected = next.entry(from).or_default();
        assert_eq!(message.downcast::<u32>().expect("a number"), *expected);
        *expected += 1;
    }
    assert!(next.len() == SENDERS && next.values().all(|count| *count == EACH));
    stop_clean(&node);
}

#[test]
fn a_bound_is_exact_under_concurrent_senders_and_refused_messages_come_back() {
    const BOUND: u32 = 100;
    let node = node();
    let probe = Probe::spawn_with(&node, SpawnOptions::default().with_mailbox_bound(BOUND));
    for _ in 0..20 {
        let gate = probe.block();
        let accepted = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (node, to, accepted) = (node.clone(), probe.pid, Arc::clone(&accepted));
                std::thread::spawn(move || {
                    for number in 0..BOUND {
                        match node.send(to, (thread, number)) {
                            Ok(()) => drop(accepted.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => {
                                assert_eq!(error.kind(), SendErrorKind::MailboxFull);
                                let back = error
                                    .into_message()
                                    .downcast::<(i32, u32)>()
                                    .expect("it comes back");
                                assert_eq!(back, (thread, number));
                            }
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(accepted.load(Ordering::Relaxed), BOUND as usize);
        // The other lanes and the signals are not bounded.
        for priority in [Priority::High, Priority::Max, Priority::Log] {
            node.send_with_priority(probe.pid, (-1, 0_u32), priority)
                .expect("delivered");
        }
        drop(gate);
        for _ in 0..BOUND + 3 {
            probe.value::<(i32, u32)>();
        }
        probe.saw_nothing();
    }
    stop_clean(&node);
}

#[test]
fn a_bound_counts_what_has_been_taken_but_not_handled() {
    let node = node();
    let handled = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&handled);
    let (step, steps) = std::sync::mpsc::channel::<()>();
    let pid = node
        .spawn_with(SpawnOptions::default().with_mailbox_bound(4), || {
            Script(move |_: &mut Context<'_>, _: Pid, _: Message| {
                let _ = value_of(&steps);
                counting.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        })
        .expect("spawned");
    node.send(pid, ()).expect("delivered");
    wait_until("the first to be taken", || node.send(pid, ()).is_ok());
    let mut accepted = 2;
    while node.send(pid, ()).is_ok() {
        accepted += 1;
    }
    // One is being handled and four wait, or the first had not been taken yet when the rest came.
    assert!((4..=5).contains(&accepted), "{accepted}");
    for round in 0..50 {
        step.send(()).expect("it waits");
        wait_until("room for one", || node.send(pid, ()).is_ok());
        let full = node.send(pid, ());
        if accepted == 5 {
            assert!(full.is_err(), "one too many in round {round}");
        } else if full.is_ok() {
            accepted += 1;
        }
    }
    drop(step);
    stop_clean(&node);
}

#[test]
fn a_default_bound_of_the_node_holds_for_its_processes() {
    let node = node_with(
        NodeOptions::from("test@localhost")
            .with_workers(2)
            .with_mailbox_bound(3),
    );
    let probe = Probe::spawn(&node);
    let gate = probe.block();
    for _ in 0..3 {
        node.send(probe.pid, ()).expect("room");
    }
    assert_eq!(
        node.send(probe.pid, ()).expect_err("full").kind(),
        SendErrorKind::MailboxFull
    );
    drop(gate);
    for _ in 0..3 {
        probe.value::<()>();
    }
    let error = node.spawn_with(SpawnOptions::default().with_mailbox_bound(0), || {
        Script(|_: &mut Context<'_>, _, _| Ok(()))
    });
    assert!(error.is_err());
    stop_clean(&node);
}

#[test]
fn a_flood_of_urgent_messages_is_handled_before_the_main_lane_and_does_not_lose_it() {
    let node = node();
    let probe = Probe::spawn(&node);
    let gate = probe.block();
    for number in 0..1_000_u32 {
        node.send(probe.pid, number).expect("delivered");
        node.send_with_priority(probe.pid, number, Priority::Max)
            .expect("delivered");
    }
    drop(gate);
    let seen: Vec<u32> = (0..2_000).map(|_| probe.value()).collect();
    assert!(seen.iter().copied().eq((0..1_000).chain(0..1_000)));
    stop_clean(&node);
}

#[test]
fn sending_by_name_by_pid_and_to_no_process() {
    let node = node();
    let (one, other) = (Probe::named(&node, "one"), Probe::spawn(&node));
    let to = one.pid;
    other.run(move |cx| {
        cx.send("one", 1_u8).expect("delivered");
        cx.send(Name::from("one"), 2_u8).expect("delivered");
        cx.send(to, 3_u8).expect("delivered");
        assert_eq!(cx.whereis("one"), Some(to));
        let error = cx.send("absent", 4_u8).expect_err("no such name");
        assert_eq!(
            (error.kind(), error.target()),
            (SendErrorKind::NoName, &Target::from("absent"))
        );
        assert_eq!(
            error
                .into_message()
                .downcast::<u8>()
                .expect("it comes back"),
            4
        );
    });
    for number in 1..=3_u8 {
        let (from, message) = one.next();
        assert_eq!(
            (from, message.downcast::<u8>().expect("a byte")),
            (other.pid, number)
        );
    }
    stop_clean(&node);
}

// ---- Timers ----

#[test]
fn timers_fire_in_their_order_and_never_early() {
    let node = node();
    let probe = Probe::spawn(&node);
    let started = Moment::now();
    probe.run(|cx| {
        for delay in [50_u64, 10, 30, 0, 20, 40, 1] {
            cx.send_after(cx.pid(), delay, Duration::from_millis(delay));
        }
    });
    for expected in [0, 1, 10, 20, 30, 40, 50] {
        let delay: u64 = probe.value();
        assert_eq!(delay, expected);
        assert!(
            started.elapsed() >= Duration::from_millis(delay),
            "{delay} ms after {:?}",
            started.elapsed()
        );
    }
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}

#[test]
fn a_canceled_timer_does_not_fire_and_canceling_returns_whether_it_was_in_time() {
    let node = node();
    let probe = Probe::spawn(&node);
    let canceled = probe.run(|cx| {
        let timer = cx.send_after(cx.pid(), "canceled", Duration::from_millis(1));
        let long = cx.send_after(cx.pid(), "never", Duration::MAX);
        (
            cx.cancel_timer(timer),
            cx.cancel_timer(timer),
            cx.cancel_timer(long),
        )
    });
    assert_eq!(canceled, (true, false, true));
    let timer = probe.run(|cx| cx.send_after(cx.pid(), "fired", Duration::from_millis(1)));
    assert_eq!(probe.value::<&str>(), "fired");
    assert!(!probe.run(move |cx| cx.cancel_timer(timer)));
    probe.saw_nothing();
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}

#[test]
fn a_timer_is_canceled_or_fires_and_never_both() {
    let node = node();
    let (setting, receiving) = (Probe::spawn(&node), Probe::spawn(&node));
    let to = receiving.pid;
    let mut fired = 0;
    for number in 0..300_u32 {
        let timer = setting.run(move |cx| {
            cx.send_after(
                to,
                number,
                Duration::from_micros(u64::from(number % 7) * 300),
            )
        });
        let canceled = setting.run(move |cx| cx.cancel_timer(timer));
        if !canceled {
            assert_eq!(receiving.value::<u32>(), number);
            fired += 1;
        }
    }
    receiving.saw_nothing();
    assert_eq!(count(&node, "timers"), 0, "{fired} have fired");
    stop_clean(&node);
}

#[test]
fn an_idle_node_wakes_for_a_timer_that_is_set_from_elsewhere() {
    let node = node();
    let probe = Probe::spawn(&node);
    for round in 0..100_u32 {
        let started = Moment::now();
        probe.run(move |cx| cx.send_after("probe that is not there", (), Duration::from_secs(600)));
        let timer = probe.run(move |cx| cx.send_after(cx.pid(), round, Duration::from_millis(3)));
        assert_eq!(probe.value::<u32>(), round);
        assert!(started.elapsed() >= Duration::from_millis(3));
        let _ = timer;
    }
    assert_eq!(count(&node, "timers"), 100);
    stop_clean(&node);
}

#[test]
fn many_timers_fire_once_each() {
    const TIMERS: usize = 20_000;
    let node = node();
    let fired: Arc<Vec<AtomicBool>> =
        Arc::new((0..TIMERS).map(|_| AtomicBool::new(false)).collect());
    let marking = Arc::clone(&fired);
    let pid = node
        .spawn(|| {
            Script(move |_: &mut Context<'_>, _: Pid, message: Message| {
                let number = message
                    .downcast::<usize>()
                    .map_err(|_| Reason::error("no number"))?;
                if marking[number].swap(true, Ordering::Relaxed) {
                    return Err(Reason::error("twice"));
                }
                Ok(())
            })
        })
        .expect("spawned");
    let probe = Probe::spawn(&node);
    probe.run(move |cx| {
        for number in 0..TIMERS {
            cx.send_after(
                pid,
                number,
                Duration::from_micros((number * 7_919 % 100_000) as u64),
            );
        }
    });
    wait_until("every timer", || {
        fired.iter().all(|fired| fired.load(Ordering::Relaxed))
    });
    node.send(pid, 0_usize)
        .expect("it lives, so none came twice");
    assert_eq!(count(&node, "timers"), 0);
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn timer_for_a_name_finds_the_process_that_holds_it_then() {
    let node = node();
    let (probe, first) = (Probe::spawn(&node), Probe::named(&node, "name"));
    probe.run(|cx| cx.send_after("name", "for the second", Duration::from_millis(50)));
    node.send_exit(first.pid, Reason::Normal).expect("it lives");
    first.end();
    let second = Probe::named(&node, "name");
    assert_eq!(second.value::<&str>(), "for the second");
    stop_clean(&node);
}
