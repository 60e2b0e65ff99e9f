//! Bounded mailboxes: what is refused or dropped when one is full, and how a sender learns that it has room.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{MailboxPolicy, RequestError, SendErrorKind};

use crate::support::{
    Handled, LIMIT, Probe, Seen, count, inspect, node, stop_clean, value_of, wait_for_count,
    wait_until,
};

fn bounded(bound: u32, policy: MailboxPolicy) -> SpawnOptions {
    SpawnOptions::default()
        .with_mailbox_bound(bound)
        .with_mailbox_policy(policy)
}

/// The numbers that a probe has seen until the 999.
#[track_caller]
fn numbers(probe: &Probe) -> Vec<u32> {
    let next = || match probe.seen() {
        Seen::Message(_, message) => message.downcast::<u32>().ok(),
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(next)
        .take_while(|number| *number != 999)
        .collect()
}

#[test]
fn full_mailbox_drops_the_newest_or_the_oldest_message_and_counts_it() {
    for (policy, kept) in [
        (MailboxPolicy::DropNewest, [0, 1, 2]),
        (MailboxPolicy::DropOldest, [7, 8, 9]),
    ] {
        let node = node();
        let probe = Probe::spawn_with(&node, bounded(3, policy));
        let gate = probe.block();
        for number in 0..10_u32 {
            node.send(probe.pid, number).expect("a send does not fail");
        }
        let info = node.process(probe.pid).expect("it lives");
        assert_eq!((info.lanes.main, info.messages_dropped), (3, 7));
        assert_eq!(count(&node, "messages_dropped"), 7);
        drop(gate);
        wait_until("the mailbox to be empty", || {
            node.process(probe.pid).expect("it lives").messages_queued == 0
        });
        node.send(probe.pid, 999_u32).expect("sent");
        assert_eq!(numbers(&probe), kept);
        let shown = inspect(&node, probe.pid);
        assert_eq!(shown.value("messages_dropped"), Some("7"));
        stop_clean(&node);
    }
}

#[test]
fn signals_answers_and_other_lanes_are_not_dropped() {
    let node = node();
    let probe = Probe::spawn_with(&node, bounded(1, MailboxPolicy::DropOldest));
    let other = Probe::spawn(&node);
    probe.run({
        let other = other.pid;
        move |cx| {
            cx.set_trap_exit(true);
            cx.monitor(other);
            cx.ask(other, Add, LIMIT, 5).expect("asked");
        }
    });
    let gate = probe.block();
    for _ in 0..5 {
        node.send_with_priority(probe.pid, 1_u8, Priority::High)
            .expect("sent");
    }
    node.send_exit(probe.pid, Reason::error("a signal"))
        .expect("sent");
    // The asker learns that there is no answer, and then gets the Down.
    let Seen::Call(_, _, reply) = other.seen() else {
        panic!("it is asked");
    };
    drop(reply);
    other.start(|_| Err(Reason::Normal));
    for number in 0..10_u32 {
        node.send(probe.pid, number).expect("sent");
    }
    drop(gate);
    let mut seen = Vec::new();
    while seen.len() < 9 {
        let Seen::Message(_, message) = probe.seen() else {
            panic!("it is only sent to");
        };
        seen.push(match message {
            Message::Exit(_) => "exit",
            Message::Down(_) => "down",
            Message::Reply(_) => "reply",
            message if message.is::<u8>() => "high",
            message if message.downcast_ref() == Some(&9_u32) => "last",
            other => panic!("{other:?}"),
        });
    }
    seen.sort_unstable();
    let expected = [
        "down", "exit", "high", "high", "high", "high", "high", "last", "reply",
    ];
    assert_eq!(seen, expected);
    stop_clean(&node);
}

#[derive(Debug)]
struct Add;

impl Request for Add {
    type Reply = u32;
}

#[test]
fn request_that_is_dropped_is_answered_at_once() {
    for policy in [MailboxPolicy::DropNewest, MailboxPolicy::DropOldest] {
        let node = node();
        let probe = Probe::spawn_with(&node, bounded(1, policy));
        let gate = probe.block();
        let first = node.ask(probe.pid, Add, LIMIT).expect("asked");
        let second = node.ask(probe.pid, Add, LIMIT).expect("asked");
        let dropped = match policy {
            MailboxPolicy::DropOldest => first,
            _ => second,
        };
        let error = dropped.wait().expect_err("it was dropped");
        let full = RequestError::NotDelivered(SendErrorKind::MailboxFull);
        assert_eq!(error, full);
        drop(gate);
        stop_clean(&node);
    }
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        // Code of the user, which may panic or take its time.
        if self.0.load(Ordering::SeqCst) == 1 {
            panic!("dropped");
        }
    }
}

#[test]
fn message_of_a_timer_that_is_dropped_does_not_hold_up_the_loop() {
    let node = node();
    let probe = Probe::spawn_with(&node, bounded(1, MailboxPolicy::DropOldest));
    let gate = probe.block();
    let drops = Arc::new(AtomicUsize::new(0));
    for _ in 0..4 {
        let message = Counted(Arc::clone(&drops));
        node.send_after(probe.pid, message, Duration::from_millis(1));
    }
    wait_until("three to be dropped", || drops.load(Ordering::SeqCst) == 3);
    drop(gate);
    wait_until("one to arrive", || {
        node.process(probe.pid)
            .is_some_and(|info| info.messages_queued == 0)
    });
    let Seen::Message(_, message) = probe.seen() else {
        panic!("it is only sent to");
    };
    assert!(message.is::<Counted>());
    drop(message);
    stop_clean(&node);
}

#[test]
fn subscriber_that_drops_the_oldest_has_the_last_values_of_an_event() {
    let node = node();
    let publisher = Probe::spawn(&node);
    let options = longshore::EventOptions::default();
    let event = publisher
        .run(|cx| cx.register_event("price", options))
        .expect("registered");
    let oldest = Probe::spawn_with(&node, bounded(2, MailboxPolicy::DropOldest));
    let newest = Probe::spawn_with(&node, bounded(2, MailboxPolicy::DropNewest));
    for probe in [&oldest, &newest] {
        probe.run(|cx| cx.subscribe("price")).expect("subscribed");
    }
    let gates = [oldest.block(), newest.block()];
    for price in 0..5_u32 {
        let published = node.publish(&event, price).expect("published");
        let dropped = usize::from(price >= 2);
        assert_eq!(published.dropped, dropped, "the newest one is dropped");
        assert_eq!(published.delivered, 2 - dropped);
    }
    drop(gates);
    for (probe, expected) in [(&oldest, [3_u32, 4]), (&newest, [0, 1])] {
        for price in expected {
            match probe.seen() {
                Seen::Message(_, Message::Event(value)) => {
                    assert_eq!(value.downcast_ref(), Some(&price));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    stop_clean(&node);
}

/// Sends numbers as fast as there is room, and ends.
struct Sender {
    to: Pid,
    left: u32,
    refusals: Arc<AtomicUsize>,
}

impl Sender {
    fn send(&mut self, cx: &mut Context<'_>) -> Handled {
        while self.left > 0 {
            match cx.send(self.to, self.left) {
                Ok(()) => self.left -= 1,
                Err(refused) if refused.kind() == SendErrorKind::MailboxFull => {
                    self.refusals.fetch_add(1, Ordering::Relaxed);
                    cx.request_room(self.to)?;
                    // A second request adds nothing.
                    return Ok(cx.request_room(self.to)?);
                }
                Err(other) => return Err(other.into()),
            }
        }
        Err(Reason::Normal)
    }
}

impl Actor for Sender {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Message::Room(room) = &message {
            assert_eq!(room.process, self.to);
        }
        self.send(cx)
    }
}

struct Sum(u64, u64);

impl Actor for Sum {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        self.0 += u64::from(message.downcast::<u32>()?);
        self.1 += 1;
        Ok(())
    }

    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        reply.send((self.0, self.1));
        Ok(())
    }
}

/// 500 senders of 200 messages to a mailbox for 8: nothing is lost, every sender gets its turn, and none waits for
/// ever.
#[test]
fn senders_that_wait_for_room_all_get_it() {
    const SENDERS: u32 = 500;
    const EACH: u32 = 200;
    let node = node();
    let options = SpawnOptions::default().with_mailbox_bound(8);
    let sum = node.spawn_with(options, || Sum(0, 0)).expect("spawned");
    let refusals = Arc::new(AtomicUsize::new(0));
    for _ in 0..SENDERS {
        let refusals = Arc::clone(&refusals);
        let sender = node
            .spawn(|| Sender {
                to: sum,
                left: EACH,
                refusals,
            })
            .expect("spawned");
        node.send(sender, ()).expect("sent");
    }
    wait_until("the senders to end", || count(&node, "processes") == 1);
    let reply = node.call(sum, (), LIMIT).expect("an answer");
    let expected = u64::from(SENDERS * EACH * (EACH + 1) / 2);
    assert_eq!(
        reply.downcast::<(u64, u64)>().ok(),
        Some((expected, u64::from(SENDERS * EACH)))
    );
    assert!(refusals.load(Ordering::Relaxed) > 0, "no mailbox was full");
    stop_clean(&node);
}

/// Fills the mailbox of a probe that is blocked.
fn fill(node: &Node, probe: &Probe) {
    while node.send(probe.pid, 0_u32).is_ok() {}
}

#[test]
fn room_is_reported_once_and_also_when_the_process_ends() {
    let node = node();
    let options = SpawnOptions::default().with_mailbox_bound(2);
    let slow = Probe::spawn_with(&node, options);
    let sender = Probe::spawn(&node);
    let request = |to: Pid| sender.run(move |cx| cx.request_room(to));
    let room = |of: Pid| match sender.seen() {
        Seen::Message(from, Message::Room(room)) => assert_eq!((from, room.process), (of, of)),
        other => panic!("{other:?}"),
    };
    // With room it comes at once.
    assert_eq!(request(slow.pid), Ok(()));
    room(slow.pid);
    let gate = slow.block();
    fill(&node, &slow);
    for _ in 0..3 {
        assert_eq!(request(slow.pid), Ok(()));
    }
    sender.saw_nothing();
    drop(gate);
    room(slow.pid);
    wait_until("the mailbox to be empty", || {
        node.process(slow.pid).expect("it lives").messages_queued == 0
    });
    sender.saw_nothing();
    let gate = slow.block();
    fill(&node, &slow);
    assert_eq!(request(slow.pid), Ok(()));
    node.send_exit(slow.pid, Reason::Kill).expect("sent");
    drop(gate);
    room(slow.pid);
    assert_eq!(request(slow.pid), Err(SendErrorKind::NoProcess));
    assert_eq!(
        sender.run(|cx| cx.request_room("absent")),
        Err(SendErrorKind::NoName)
    );
    stop_clean(&node);
}

#[test]
fn sender_that_ends_leaves_the_line_to_the_next() {
    let node = node();
    let slow = Probe::spawn_with(&node, SpawnOptions::default().with_mailbox_bound(1));
    let gate = slow.block();
    fill(&node, &slow);
    let to = slow.pid;
    for _ in 0..100 {
        let short = Probe::spawn(&node);
        short.run(move |cx| cx.request_room(to)).expect("it lives");
        short.start(|_| Err(Reason::Normal));
    }
    let last = Probe::spawn(&node);
    last.run(move |cx| cx.request_room(to)).expect("it lives");
    wait_until("the short ones to end", || count(&node, "processes") == 2);
    drop(gate);
    assert!(matches!(last.seen(), Seen::Message(_, Message::Room(_))));
    stop_clean(&node);
}

#[test]
fn process_that_is_full_by_its_own_messages_is_notified_as_well() {
    let node = node();
    let probe = Probe::spawn_with(&node, SpawnOptions::default().with_mailbox_bound(4));
    probe.run(|cx| {
        let me = cx.pid();
        while cx.send(me, 0_u32).is_ok() {}
        cx.request_room(me).expect("it lives");
    });
    for _ in 0..4 {
        assert!(matches!(probe.seen(), Seen::Message(_, message) if message.is::<u32>()));
    }
    assert!(matches!(probe.seen(), Seen::Message(_, Message::Room(_))));
    stop_clean(&node);
}

#[test]
fn threads_outside_wait_for_room_and_their_messages_keep_their_order() {
    struct Slow(mpsc::Sender<(u32, u32)>);
    impl Actor for Slow {
        fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            self.0.send(message.downcast()?)?;
            Ok(())
        }
    }
    let node = node();
    let (seen, numbers) = mpsc::channel();
    let slow = node
        .spawn_with(bounded(4, MailboxPolicy::Refuse), || Slow(seen))
        .unwrap();
    let senders: Vec<_> = (0..3_u32)
        .map(|sender| {
            let node = node.clone();
            thread::spawn(move || {
                for number in 0..500_u32 {
                    let message = (sender, number);
                    node.send_within(slow, message, LIMIT)
                        .expect("there is room");
                }
            })
        })
        .collect();
    let mut next = [0; 3];
    for _ in 0..1_500 {
        let (sender, number) = value_of(&numbers).expect("a number");
        assert_eq!(number, next[sender as usize]);
        next[sender as usize] += 1;
    }
    senders
        .into_iter()
        .for_each(|sender| sender.join().unwrap());
    wait_for_count(&node, "processes", 1);
    stop_clean(&node);
}

#[test]
fn thread_that_waits_in_vain_gets_its_message_back() {
    let node = node();
    let probe = Probe::spawn_with(&node, bounded(1, MailboxPolicy::Refuse));
    let gate = probe.block();
    fill(&node, &probe);
    let refused = node.send_within(probe.pid, "later", Duration::from_millis(20));
    let refused = refused.expect_err("there is no room");
    assert_eq!(refused.kind(), SendErrorKind::MailboxFull);
    assert_eq!(refused.into_message().downcast::<&str>().unwrap(), "later");
    wait_for_count(&node, "processes", 1);
    // Inside of the runtime nothing waits.
    let other = Probe::spawn(&node);
    let (inside, full) = (node.clone(), probe.pid);
    let refused = other.run(move |_| inside.send_within(full, 1_u32, LIMIT));
    assert_eq!(
        refused.expect_err("it is full").kind(),
        SendErrorKind::MailboxFull
    );
    // The end of the process ends the wait.
    let waits = {
        let node = node.clone();
        thread::spawn(move || node.send_within(full, 2_u32, LIMIT))
    };
    wait_for_count(&node, "processes", 3);
    node.send_exit(full, Reason::Kill).expect("it lives");
    drop(gate);
    let refused = waits.join().unwrap().expect_err("it has ended");
    assert_eq!(refused.kind(), SendErrorKind::NoProcess);
    stop_clean(&node);
}
