//! Timers that fire at a fixed rate, and whose timers they are.

use std::sync::mpsc;
use std::time::Duration;

use longshore::prelude::*;

use crate::support::*;

on_both! {
    ticks_come_at_their_rate_and_none_comes_early,
    process_that_is_behind_finds_one_tick_and_the_others_counted,
    timers_end_with_the_process_that_set_them,
    process_keeps_the_timers_that_wait_and_forgets_those_that_fired,
    timer_ends_with_the_process_that_it_ticks_for,
    timer_for_a_name_ticks_for_its_next_holder,
    meta_process_gets_ticks_and_its_end_ends_the_timer,
    full_mailbox_costs_a_tick_that_is_counted,
    message_that_panics_as_it_is_copied_ends_its_receiver_and_no_other,
    interval_below_the_resolution_is_refused_by_name,
    timer_of_the_node_fires_and_is_canceled,
}

const MS: Duration = Duration::from_millis(1);

/// A tick that carries where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Beat(&'static str);

#[test]
fn ticks_come_at_their_rate_and_none_comes_early() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (interval, began) = (5 * MS, Moment::now());
    let timer = probe
        .run(move |cx| cx.send_every(cx.pid(), Beat("own"), interval))
        .expect("a timer");
    for number in 1..=20 {
        let (from, message) = probe.next();
        assert_eq!((from, message.is::<Beat>()), (probe.pid, true));
        assert!(began.elapsed() >= interval * number, "tick {number}");
    }
    assert!(probe.run(move |cx| cx.cancel_timer(timer)));
    assert!(!probe.run(move |cx| cx.cancel_timer(timer)));
    wait_for_count(&node, "timers", 0);
    stop_clean(&node);
}

#[test]
fn process_that_is_behind_finds_one_tick_and_the_others_counted() {
    let node = node();
    let probe = Probe::spawn(&node);
    let gate = probe.block();
    let timer = node
        .send_every(probe.pid, Beat("node"), MS)
        .expect("a timer");
    wait_until("ticks to be missed", || node.missed_ticks(timer) >= 20);
    let to = probe.pid;
    // It stands behind the tick that waits and before those that come now.
    node.send(to, "behind").expect("sent");
    drop(gate);
    assert_eq!(probe.value::<Beat>(), Beat("node"));
    assert_eq!(probe.value::<&str>(), "behind");
    assert_eq!(probe.value::<Beat>(), Beat("node"), "it goes on");
    assert!(node.cancel_timer(timer));
    stop_clean(&node);
}

#[test]
fn tick_that_waits_is_not_handled_once_its_timer_is_canceled() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (canceled, missed) = probe.run(|cx| {
        let timer = cx.send_every(cx.pid(), Beat("own"), MS).expect("a timer");
        // Once a tick was missed, one is in the mailbox.
        while cx.missed_ticks(timer) == 0 {
            std::thread::yield_now();
        }
        (cx.cancel_timer(timer), cx.missed_ticks(timer))
    });
    assert_eq!((canceled, missed), (true, 0));
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn timers_end_with_the_process_that_set_them() {
    let node = node();
    let (owner, receiver) = (Probe::spawn(&node), Probe::spawn(&node));
    let to = receiver.pid;
    owner.run(move |cx| {
        cx.send_every(to, Beat("owner"), MS).expect("a timer");
        for _ in 0..100 {
            cx.send_after(to, "late", Duration::from_secs(3_600));
        }
    });
    assert_eq!(receiver.value::<Beat>(), Beat("owner"));
    owner.start(|_| Err(Reason::Normal));
    owner.end();
    wait_for_count(&node, "processes", 1);
    assert_eq!(count(&node, "timers"), 0);
    // What was sent before is handled by now, and nothing comes behind it.
    while receiver.seen_by_now().is_some() {}
    receiver.saw_nothing();
    stop_clean(&node);
}

#[test]
fn process_keeps_the_timers_that_wait_and_forgets_those_that_fired() {
    let node = node();
    let probe = Probe::spawn(&node);
    let last = probe.run(|cx| {
        let long = cx.send_after(cx.pid(), "never", Duration::from_secs(3_600));
        for number in 0..1_000_u32 {
            cx.send_after(cx.pid(), number, Duration::ZERO);
        }
        long
    });
    (0..1_000).for_each(|number| assert_eq!(probe.value::<u32>(), number));
    // Setting more searches the list, which finds the first one still waiting.
    probe.run(|cx| {
        for _ in 0..3_000 {
            let timer = cx.send_after(cx.pid(), "never", Duration::from_secs(3_600));
            assert!(cx.cancel_timer(timer));
        }
    });
    assert_eq!(count(&node, "timers"), 1);
    assert!(probe.run(move |cx| cx.cancel_timer(last)));
    stop_clean(&node);
}

#[test]
fn timer_ends_with_the_process_that_it_ticks_for() {
    let node = node();
    let probe = Probe::spawn(&node);
    let timer = node
        .send_every(probe.pid, Beat("node"), MS)
        .expect("a timer");
    assert_eq!(probe.value::<Beat>(), Beat("node"));
    node.send_exit(probe.pid, Reason::Shutdown)
        .expect("it lives");
    wait_for_count(&node, "timers", 0);
    assert!(!node.cancel_timer(timer));
    stop_clean(&node);
}

#[test]
fn timer_for_a_name_ticks_for_its_next_holder() {
    let node = node();
    let timer = node.send_every("clock", Beat("node"), MS).expect("a timer");
    for round in 1..=2 {
        wait_until("ticks without a holder to be missed", || {
            node.missed_ticks(timer) >= round
        });
        let probe = Probe::named(&node, "clock");
        assert_eq!(probe.value::<Beat>(), Beat("node"));
        node.send_exit(probe.pid, Reason::Shutdown)
            .expect("it lives");
        wait_for_count(&node, "processes", 0);
    }
    assert!(node.cancel_timer(timer));
    stop_clean(&node);
}

/// Reports what it receives.
struct Listening(mpsc::Sender<Pid>);

impl MetaProcess for Listening {
    fn handle_message(&mut self, _: &mut MetaContext<'_>, from: Pid, message: Message) -> Handled {
        assert!(message.is::<Beat>(), "{message:?}");
        self.0.send(from)?;
        Ok(())
    }
}

#[test]
fn meta_process_gets_ticks_and_its_end_ends_the_timer() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (sender, ticks) = mpsc::channel();
    let meta = probe.spawn_meta(Listening(sender));
    probe
        .run(move |cx| cx.send_every(meta, Beat("own"), MS))
        .expect("a timer");
    for _ in 0..3 {
        assert_eq!(value_of(&ticks), Ok(probe.pid));
    }
    probe
        .run(move |cx| cx.send_exit_meta(meta, Reason::Shutdown))
        .expect("it lives");
    wait_for_count(&node, "timers", 0);
    stop_clean(&node);
}

#[test]
fn full_mailbox_costs_a_tick_that_is_counted() {
    let node = node();
    let probe = Probe::spawn_with(&node, SpawnOptions::default().with_mailbox_bound(2));
    let gate = probe.block();
    for number in 0..2_u8 {
        node.send(probe.pid, number).expect("there is room");
    }
    let timer = node
        .send_every(probe.pid, Beat("node"), MS)
        .expect("a timer");
    wait_until("ticks to be refused", || node.missed_ticks(timer) >= 3);
    drop(gate);
    assert_eq!((probe.value::<u8>(), probe.value::<u8>()), (0, 1));
    assert_eq!(probe.value::<Beat>(), Beat("node"));
    stop_clean(&node);
}

/// Panics when it is copied.
struct Uncopied;

impl Clone for Uncopied {
    fn clone(&self) -> Self {
        panic!("not to be copied")
    }
}

#[test]
fn message_that_panics_as_it_is_copied_ends_its_receiver_and_no_other() {
    silence_expected_panics();
    let node = node();
    let probe = Probe::spawn(&node);
    node.send_every(probe.pid, Uncopied, MS).expect("a timer");
    assert_eq!(probe.end(), Reason::Panic("not to be copied".into()));
    wait_for_count(&node, "timers", 0);
    stop_clean(&node);
}

#[test]
fn interval_below_the_resolution_is_refused_by_name() {
    let node = node();
    for interval in [Duration::ZERO, Duration::from_micros(999)] {
        let refused = node.send_every("clock", (), interval).unwrap_err();
        assert_eq!(refused.field(), "interval");
    }
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}

#[test]
fn timer_of_the_node_fires_and_is_canceled() {
    let node = node();
    let probe = Probe::spawn(&node);
    node.send_after(probe.pid, "now", Duration::ZERO);
    let (from, _) = probe.next();
    assert_eq!(from, Pid::NODE);
    let timer = node.send_after(probe.pid, "never", Duration::from_secs(3_600));
    assert!(node.cancel_timer(timer));
    assert!(!node.cancel_timer(timer));
    stop_clean(&node);
}

#[test]
fn millisecond_beside_load_does_not_drift() {
    let node = node();
    // Two processes that never rest.
    for name in ["ping", "pong"] {
        let other = if name == "ping" { "pong" } else { "ping" };
        node.spawn_register(name, || {
            Script(move |cx: &mut Context<'_>, _, _| {
                // The other has ended when the node stops.
                cx.send(other, ()).ok();
                Ok(())
            })
        })
        .expect("spawned");
    }
    node.send("ping", ()).expect("sent");
    let probe = Probe::spawn(&node);
    let began = Moment::now();
    let timer = node
        .send_every(probe.pid, Beat("node"), MS)
        .expect("a timer");
    let mut handled = 0;
    while began.elapsed() < 300 * MS {
        assert_eq!(probe.value::<Beat>(), Beat("node"));
        handled += 1;
    }
    // Each tick up to now is handled, missed, or about to be looked at by the poller.
    wait_until("every tick to be accounted for", || {
        while probe.seen_by_now().is_some() {
            handled += 1;
        }
        u128::from(handled + node.missed_ticks(timer)) >= 300
    });
    let due = began.elapsed().as_millis();
    assert!(u128::from(handled + node.missed_ticks(timer)) <= due + 1);
    stop_clean(&node);
}
