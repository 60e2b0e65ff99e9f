//! Events: what subscribers get, what publishers learn, and how events end.

use std::sync::Arc;

use longshore::prelude::*;
use longshore::{Event, EventError, EventOptions, MessageEvent, SendErrorKind};

use crate::support::*;

on_both! {
    subscriber_gets_the_last_values_and_then_each_one_in_order,
    subscribers_share_one_value_and_the_sender_is_the_publisher,
    publisher_learns_of_the_first_and_the_last_subscriber_only,
    event_ends_with_its_publisher_behind_the_values_and_with_its_reason,
    event_that_is_ended_notifies_with_normal_and_its_name_is_free,
    monitors_and_links_on_an_event_get_each_reason,
    monitors_and_links_that_are_taken_back_get_nothing,
    events_that_are_not_there_are_refused_and_their_watchers_answered_at_once,
    name_of_an_event_is_taken_once_and_not_by_a_process_that_ends,
    process_that_ends_registers_and_subscribes_no_more,
    full_mailbox_refuses_a_value_which_is_counted_and_leaves_a_gap,
    event_takes_no_messages_and_gives_them_back,
    values_that_are_kept_are_dropped_with_their_event,
    subscriber_with_little_room_gets_the_last_values,
}

/// Registers the event "prices", which keeps this many values.
#[track_caller]
fn prices(publisher: &Probe, kept: usize) -> Event<u32> {
    let options = EventOptions::default().with_kept(kept);
    publisher
        .run(move |cx| cx.register_event("prices", options))
        .expect("registered")
}

#[track_caller]
fn subscribe(probe: &Probe) -> Ref {
    probe.run(|cx| cx.subscribe("prices")).expect("subscribed")
}

/// The next message, which is a value of an event.
#[track_caller]
fn value(probe: &Probe) -> MessageEvent {
    match probe.next() {
        (_, Message::Event(event)) => event,
        (_, other) => panic!("no value but {other:?}"),
    }
}

#[track_caller]
fn number(probe: &Probe) -> u32 {
    *value(probe).downcast_ref().expect("a number")
}

/// The publisher learns that it has, or has no, subscribers.
#[track_caller]
fn learns(publisher: &Probe, has_subscribers: bool) {
    match publisher.next() {
        (Pid::NODE, Message::EventSubscribers(message)) => {
            assert_eq!(message.event, Name::from("prices"));
            assert_eq!(message.has_subscribers, has_subscribers);
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn publish(publisher: &Probe, event: &Event<u32>, value: u32) -> longshore::Published {
    let event = event.clone();
    publisher
        .run(move |cx| cx.publish(&event, value))
        .expect("the event is there")
}

#[test]
fn subscriber_gets_the_last_values_and_then_each_one_in_order() {
    let node = node();
    let (publisher, subscriber) = (Probe::spawn(&node), Probe::spawn(&node));
    let event = prices(&publisher, 3);
    (1..=5).for_each(|value| {
        publish(&publisher, &event, value);
    });
    subscribe(&subscriber);
    (6..=8).for_each(|value| {
        publish(&publisher, &event, value);
    });
    for expected in 3..=8 {
        let got = value(&subscriber);
        assert_eq!(got.event(), event.name());
        assert_eq!(got.downcast_ref::<u32>(), Some(&expected));
        assert_eq!(got.number(), expected.into());
        assert_eq!(got.downcast_ref::<u64>(), None);
    }
    subscriber.saw_nothing();
    let info = node.events().pop().expect("one event");
    assert_eq!((info.published, info.kept, info.subscribers), (8, 3, 1));
    assert_eq!((info.publisher, info.dropped), (publisher.pid, 0));
    stop_clean(&node);
}

#[test]
fn subscribers_share_one_value_and_the_sender_is_the_publisher() {
    let node = node();
    let publisher = Probe::spawn(&node);
    let subscribers = [Probe::spawn(&node), Probe::spawn(&node)];
    let event = publisher
        .run(|cx| cx.register_event("prices", EventOptions::default()))
        .expect("registered");
    subscribers.iter().for_each(|probe| {
        subscribe(probe);
    });
    let value = Arc::new(7_u8);
    let published = node
        .publish(&event, Arc::clone(&value))
        .expect("the event is there");
    assert_eq!((published.delivered, published.dropped), (2, 0));
    for probe in &subscribers {
        let (from, Message::Event(event)) = probe.next() else {
            panic!("no value")
        };
        let shared = event.downcast_ref::<Arc<u8>>().expect("the type");
        assert!(Arc::ptr_eq(shared, &value));
        assert_eq!(from, publisher.pid);
        // One in the value that both share, and ours.
        assert!(Arc::strong_count(&value) <= 2);
    }
    // Nothing is kept.
    wait_until("the value to be dropped", || Arc::strong_count(&value) == 1);
    stop_clean(&node);
}

#[test]
fn publisher_learns_of_the_first_and_the_last_subscriber_only() {
    let node = node();
    let publisher = Probe::spawn(&node);
    let (one, other) = (Probe::spawn(&node), Probe::spawn(&node));
    prices(&publisher, 0);
    let subscription = subscribe(&one);
    learns(&publisher, true);
    subscribe(&other);
    one.run(move |cx| cx.unsubscribe(subscription));
    assert_eq!(
        other.run(|cx| cx.subscribe("prices")),
        Err(EventError::Subscribed("prices".into()))
    );
    subscribe(&one);
    publisher.saw_nothing();
    // The end of a subscriber takes its subscription back.
    for (probe, left) in [(one, 1), (other, 0)] {
        probe.start(|_| Err(Reason::Normal));
        probe.end();
        wait_until("the subscription to end", || {
            node.events()[0].subscribers == left
        });
        if left > 0 {
            publisher.saw_nothing();
        }
    }
    learns(&publisher, false);
    publisher.saw_nothing();
    stop_clean(&node);
}

#[test]
fn event_ends_with_its_publisher_behind_the_values_and_with_its_reason() {
    silence_expected_panics();
    let node = node();
    let subscriber = Probe::spawn(&node);
    for reason in ends() {
        let publisher = Probe::spawn(&node);
        let event = prices(&publisher, 0);
        let subscription = subscribe(&subscriber);
        let gate = subscriber.block();
        publish(&publisher, &event, 7);
        learns(&publisher, true);
        end_with(&node, &publisher, &reason);
        wait_until("the event to end", || node.events().is_empty());
        drop(gate);
        assert_eq!(number(&subscriber), 7, "before the end");
        let down = subscriber.down();
        assert_eq!((down.monitor, &down.reason), (subscription, &reason));
        assert_eq!(down.target, Target::Event("prices".into()));
        assert_eq!(
            node.publish(&event, 8),
            Err(EventError::NoEvent("prices".into()))
        );
        subscriber.saw_nothing();
    }
    assert_eq!(inspect(&node, subscriber.pid).number("monitors"), Some(0));
    stop_clean(&node);
}

#[test]
fn event_that_is_ended_notifies_with_normal_and_its_name_is_free() {
    let node = node();
    let (publisher, subscriber) = (Probe::spawn(&node), Probe::spawn(&node));
    let event = prices(&publisher, 1);
    publish(&publisher, &event, 7);
    subscribe(&subscriber);
    learns(&publisher, true);
    publisher.run(move |cx| cx.end_event(&event));
    assert_eq!(number(&subscriber), 7);
    assert_eq!(subscriber.down().reason, Reason::Normal);
    let event = prices(&publisher, 1);
    subscribe(&subscriber);
    learns(&publisher, true);
    assert_eq!(publish(&publisher, &event, 8).number, 1, "another event");
    assert_eq!(number(&subscriber), 8);
    stop_clean(&node);
}

/// Reasons of an end.
fn ends() -> [Reason; 5] {
    [
        Reason::Normal,
        Reason::Kill,
        Reason::error("custom"),
        Reason::Shutdown,
        Reason::Panic("boom".into()),
    ]
}

/// Ends a process in the way that has this reason.
#[track_caller]
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

#[test]
fn monitors_and_links_on_an_event_get_each_reason() {
    silence_expected_panics();
    let node = node();
    let target = || Target::Event("prices".into());
    for reason in ends() {
        let publisher = Probe::spawn(&node);
        let [monitoring, trapping, linked] = [0; 3].map(|_| Probe::spawn(&node));
        prices(&publisher, 0);
        let monitor = monitoring.run(move |cx| cx.monitor(target()));
        trapping
            .run(move |cx| {
                cx.set_trap_exit(true);
                cx.link(target())
            })
            .expect("linked");
        linked.run(move |cx| cx.link(target())).expect("linked");
        end_with(&node, &publisher, &reason);
        let down = monitoring.down();
        assert_eq!(
            (down.monitor, down.target, down.reason),
            (monitor, target(), reason.clone())
        );
        let exit = trapping.exit();
        assert_eq!((exit.from, exit.reason), (target(), reason.clone()));
        if reason == Reason::Normal {
            linked.saw_nothing();
        } else {
            assert_eq!(linked.end(), reason);
        }
        let info = inspect(&node, trapping.pid);
        assert_eq!(info.number("links"), Some(0));
        for probe in [&monitoring, &trapping] {
            node.send_exit(probe.pid, Reason::Kill).expect("it lives");
        }
    }
    stop_clean(&node);
}

#[test]
fn monitors_and_links_that_are_taken_back_get_nothing() {
    let node = node();
    let (publisher, watcher) = (Probe::spawn(&node), Probe::spawn(&node));
    let event = prices(&publisher, 0);
    watcher.run(|cx| {
        let monitor = cx.monitor(Target::Event("prices".into()));
        cx.demonitor(monitor);
        cx.link(Target::Event("prices".into())).expect("linked");
        cx.unlink(Target::Event("prices".into()));
        let subscription = cx.subscribe("prices").expect("subscribed");
        cx.unsubscribe(subscription);
    });
    publish(&publisher, &event, 7);
    publisher.run(move |cx| cx.end_event(&event));
    watcher.saw_nothing();
    stop_clean(&node);
}

#[test]
fn events_that_are_not_there_are_refused_and_their_watchers_answered_at_once() {
    let node = node();
    let probe = Probe::spawn(&node);
    let target = || Target::Event("prices".into());
    assert_eq!(
        probe.run(|cx| cx.subscribe("prices")),
        Err(EventError::NoEvent("prices".into()))
    );
    let monitor = probe.run(move |cx| {
        cx.set_trap_exit(true);
        cx.monitor(target())
    });
    let down = probe.down();
    assert_eq!(
        (down.monitor, down.target, down.reason),
        (monitor, target(), Reason::NoProcess)
    );
    probe.run(move |cx| cx.link(target())).expect("linked");
    assert_eq!(probe.exit().reason, Reason::NoProcess);
    let monitor = node.monitor(target());
    assert_eq!(monitor.wait(), Ok(Reason::NoProcess));
    let info = inspect(&node, probe.pid);
    assert_eq!(info.number("monitors"), Some(0));
    assert_eq!(info.number("links"), Some(0));
    stop_clean(&node);
}

#[test]
fn name_of_an_event_is_taken_once_and_not_by_a_process_that_ends() {
    let node = node();
    let (publisher, other) = (Probe::spawn(&node), Probe::named(&node, "prices"));
    let event = prices(&publisher, 0); // the name of a process is another one
    let again = other.run(|cx| cx.register_event::<u32>("prices", EventOptions::default()));
    assert_eq!(again.err(), Some(EventError::Taken("prices".into())));
    let empty = other.run(|cx| cx.register_event::<u32>("", EventOptions::default()));
    assert!(matches!(empty, Err(EventError::Option(error)) if error.field() == "name"));
    let outside = node.monitor(Target::Event("prices".into()));
    publisher.run(move |cx| cx.end_event(&event));
    assert_eq!(outside.wait(), Ok(Reason::Normal));
    assert!(node.events().is_empty());
    stop_clean(&node);
}

/// Registers and subscribes in `terminate`.
struct Late(std::sync::mpsc::Sender<[Option<EventError>; 2]>);

impl Actor for Late {
    fn terminate(&mut self, cx: &mut Context<'_>, _: &Reason) {
        let registered = cx.register_event::<u32>("late", EventOptions::default());
        let outcome = [registered.err(), cx.subscribe("prices").err()];
        // The test may have ended.
        let _ = self.0.send(outcome);
    }
}

#[test]
fn process_that_ends_registers_and_subscribes_no_more() {
    let node = node();
    let publisher = Probe::spawn(&node);
    prices(&publisher, 0);
    let (sender, outcomes) = std::sync::mpsc::channel();
    let late = node.spawn(|| Late(sender)).expect("spawned");
    node.send_exit(late, Reason::Shutdown).expect("it lives");
    let ended = || Some(EventError::Ended);
    assert_eq!(value_of(&outcomes), Ok([ended(), ended()]));
    publisher.saw_nothing();
    stop_clean(&node);
}

#[test]
fn full_mailbox_refuses_a_value_which_is_counted_and_leaves_a_gap() {
    let node = node();
    let publisher = Probe::spawn(&node);
    let bounded = Probe::spawn_with(&node, SpawnOptions::default().with_mailbox_bound(2));
    let free = Probe::spawn(&node);
    let event = prices(&publisher, 0);
    subscribe(&bounded);
    subscribe(&free);
    let gate = bounded.block();
    let outcomes: Vec<_> = (1..=4)
        .map(|value| publish(&publisher, &event, value))
        .map(|published| (published.delivered, published.dropped))
        .collect();
    assert_eq!(outcomes, [(2, 0), (2, 0), (1, 1), (1, 1)]);
    drop(gate);
    assert_eq!((number(&bounded), number(&bounded)), (1, 2));
    bounded.saw_nothing();
    publish(&publisher, &event, 5);
    assert_eq!(value(&bounded).number(), 5, "behind a gap");
    (1..=5).for_each(|expected| assert_eq!(number(&free), expected));
    assert_eq!(node.events()[0].dropped, 2);
    assert_eq!(count(&node, "events_dropped"), 2);
    stop_clean(&node);
}

#[test]
fn subscriber_misses_nothing_and_gets_nothing_twice_while_values_are_published() {
    const VALUES: u32 = 5_000;
    let node = node();
    let publisher = Probe::spawn(&node);
    let event = prices(&publisher, usize::MAX);
    let publishing = {
        let (node, event) = (node.clone(), event.clone());
        std::thread::spawn(move || {
            for value in 1..=VALUES {
                node.publish(&event, value).expect("the event is there");
            }
        })
    };
    let subscribers: Vec<_> = (0..20)
        .map(|_| {
            let probe = Probe::spawn(&node);
            subscribe(&probe);
            probe
        })
        .collect();
    publishing.join().expect("no panic");
    for probe in &subscribers {
        (1..=VALUES).for_each(|expected| assert_eq!(number(probe), expected));
        probe.saw_nothing();
    }
    stop_clean(&node);
}

#[test]
fn event_takes_no_messages_and_gives_them_back() {
    let node = node();
    let publisher = Probe::spawn(&node);
    prices(&publisher, 0);
    let target = || Target::Event("prices".into());
    let refused = node.send(target(), 7_u8).unwrap_err();
    assert_eq!(refused.kind(), SendErrorKind::IsEvent);
    assert_eq!(refused.into_message().downcast::<u8>().unwrap(), 7);
    let refused = node.send_exit(target(), Reason::Kill);
    assert_eq!(refused, Err(SendErrorKind::IsEvent));
    assert!(node.call(target(), 7_u8, LIMIT).is_err());
    assert!(node.inspect(target(), LIMIT).is_err());
    assert!(node.send_every(target(), 7_u8, LIMIT).is_ok());
    publisher.saw_nothing();
    stop_clean(&node);
}

#[test]
fn subscriber_with_little_room_gets_the_last_values() {
    use longshore::MailboxPolicy::{DropNewest, DropOldest, Refuse};

    let node = node();
    let publisher = Probe::spawn(&node);
    let event = prices(&publisher, 5);
    for value in 1..=5 {
        publish(&publisher, &event, value);
    }
    for (number_of_it, policy) in [Refuse, DropNewest, DropOldest].into_iter().enumerate() {
        let options = SpawnOptions::default()
            .with_mailbox_bound(2)
            .with_mailbox_policy(policy);
        let subscriber = Probe::spawn_with(&node, options);
        subscribe(&subscriber);
        assert_eq!((number(&subscriber), number(&subscriber)), (4, 5));
        subscriber.saw_nothing();
        assert_eq!(node.events()[0].dropped, 3 * (number_of_it as u64 + 1));
        node.send_exit(subscriber.pid, Reason::Kill).expect("alive");
    }
    node.send_exit(publisher.pid, Reason::Kill).expect("alive");
    stop_clean(&node);
}

#[test]
fn values_that_are_kept_are_dropped_with_their_event() {
    let node = node();
    let publisher = Probe::spawn(&node);
    let options = EventOptions::default().with_kept(2);
    let event = publisher
        .run(move |cx| cx.register_event("prices", options))
        .expect("registered");
    let value = Arc::new(());
    for _ in 0..5 {
        node.publish(&event, Arc::clone(&value))
            .expect("the event is there");
    }
    assert_eq!(Arc::strong_count(&value), 3, "two are kept");
    publisher.start(|_| Err(Reason::Normal));
    publisher.end();
    wait_until("the values to be dropped", || {
        Arc::strong_count(&value) == 1
    });
    stop_clean(&node);
}
