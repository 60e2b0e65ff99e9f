//! Requests with types: labels, deadlines, errors of the callee, cancel, forwarding, and what the callee sees.

use std::error::Error as _;
use std::future::Future;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{MessageReply, RequestError};

use crate::support::*;

on_both! {
    answers_carry_their_labels_whatever_their_order,
    error_of_the_callee_reaches_the_asker_as_it_is,
    answer_of_another_type_is_an_error,
    callee_sees_how_long_the_asker_waits_and_whether,
    canceled_requests_leave_nothing_behind,
    request_that_is_forwarded_is_answered_by_the_last,
    request_through_a_pool_is_answered_by_a_worker,
}

/// A timeout that a test can wait for.
const SOON: Duration = Duration::from_millis(30);

/// Asks for the square of a number.
#[derive(Debug)]
struct Square(u32);

impl Request for Square {
    type Reply = u64;
}

/// Has `asking` ask `to`.
fn ask(asking: &Probe, to: Pid, number: u32, timeout: Duration, label: u64) -> Ref {
    asking
        .run(move |cx| cx.ask(to, Square(number), timeout, label))
        .expect("delivered")
}

fn answer(reply: MessageReply) -> Result<u64, RequestError> {
    reply.answer::<Square>()
}

#[test]
fn answers_carry_their_labels_whatever_their_order() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    for number in [2, 3, 4] {
        ask(&asking, asked.pid, number, LIMIT, u64::from(number) << 40);
    }
    let calls: Vec<_> = (0..3).map(|_| asked.call()).collect();
    for (from, message, reply) in calls.into_iter().rev() {
        assert_eq!(from, asking.pid);
        let Square(number) = message.downcast().expect("a number");
        reply.answer::<Square>(u64::from(number).pow(2));
    }
    for number in [4, 3, 2_u64] {
        let reply = asking.reply();
        assert_eq!(reply.label, number << 40);
        assert_eq!(answer(*reply), Ok(number * number));
    }
    // A request without a label has label 0.
    let to = asked.pid;
    asking
        .run(move |cx| cx.request(to, (), LIMIT))
        .expect("delivered");
    asked.call().2.send(());
    assert_eq!(asking.reply().label, 0);
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}

#[test]
fn error_of_the_callee_reaches_the_asker_as_it_is() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    let no_space = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    ask(&asking, asked.pid, 2, LIMIT, 7);
    asked.call().2.fail(no_space());
    let reply = asking.reply();
    assert_eq!(reply.label, 7);
    let Err(RequestError::Failed(reason)) = answer(*reply) else {
        panic!("not failed");
    };
    let error = reason.downcast_ref::<std::io::Error>().expect("its type");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);

    let pending = node.ask(asked.pid, Square(2), LIMIT).expect("delivered");
    asked.call().2.fail(Reason::error("not today"));
    assert_eq!(
        pending.wait(),
        Err(RequestError::Failed(Reason::error("not today")))
    );
    assert!(RequestError::Timeout.source().is_none());
    stop_clean(&node);
}

#[test]
fn answer_of_another_type_is_an_error() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    ask(&asking, asked.pid, 2, LIMIT, 0);
    asked.call().2.send("four");
    let wrong = RequestError::WrongType {
        expected: "u64",
        found: "&str",
    };
    assert_eq!(answer(*asking.reply()), Err(wrong.clone()));
    let pending = node.ask(asked.pid, Square(2), LIMIT).expect("delivered");
    asked.call().2.send("four");
    assert_eq!(pending.wait(), Err(wrong));
    stop_clean(&node);
}

#[test]
fn answer_is_a_future_that_ends_at_its_timeout() {
    let node = node();
    let asked = Probe::spawn(&node);
    let mut pending = pin!(node.ask(asked.pid, Square(2), SOON).expect("delivered"));
    let mut context = TaskContext::from_waker(Waker::noop());
    assert_eq!(pending.as_mut().poll(&mut context), Poll::Pending);
    let reply = asked.call().2;
    let began = Moment::now();
    // No thread waits: the node's timer ends it.
    let result = loop {
        if let Poll::Ready(result) = pending.as_mut().poll(&mut context) {
            break result;
        }
        assert!(began.elapsed() < LIMIT);
        std::thread::yield_now();
    };
    assert_eq!(result, Err(RequestError::Timeout));
    assert!(!reply.is_wanted());
    reply.answer::<Square>(4);

    let mut pending = pin!(node.ask(asked.pid, Square(3), LIMIT).expect("delivered"));
    assert_eq!(pending.as_mut().poll(&mut context), Poll::Pending);
    asked.call().2.answer::<Square>(9);
    assert_eq!(pending.as_mut().poll(&mut context), Poll::Ready(Ok(9)));
    stop_clean(&node);
}

#[test]
fn callee_sees_how_long_the_asker_waits_and_whether() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    let request = ask(&asking, asked.pid, 2, LIMIT, 0);
    let reply = asked.call().2;
    let left = reply.time_left().expect("it has a limit");
    assert!(left <= LIMIT + Duration::from_millis(1) && left > LIMIT / 2);
    assert!(reply.is_wanted());
    assert!(asking.run(move |cx| cx.cancel_request(request)));
    assert!(!reply.is_wanted(), "it was canceled");
    assert!(!asking.run(move |cx| cx.cancel_request(request)), "twice");
    reply.answer::<Square>(4);
    asking.saw_nothing();

    // The end of the asker.
    ask(&asking, asked.pid, 3, LIMIT, 0);
    let reply = asked.call().2;
    assert!(reply.is_wanted());
    node.send_exit(asking.pid, Reason::Kill).expect("it lives");
    asking.end();
    assert!(!reply.is_wanted(), "the asker has ended");

    // A caller outside that drops what it holds.
    let pending = node.ask(asked.pid, Square(2), LIMIT).expect("delivered");
    let reply = asked.call().2;
    assert!(reply.is_wanted() && reply.time_left().is_some());
    drop(pending);
    assert!(!reply.is_wanted(), "the caller has dropped it");
    let _pending = node.request(asked.pid, ()).expect("delivered");
    assert_eq!(asked.call().2.time_left(), None);
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}

#[test]
fn canceled_requests_leave_nothing_behind() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    for _ in 0..100 {
        let request = ask(&asking, asked.pid, 2, LIMIT, 0);
        let reply = asked.call().2;
        assert!(asking.run(move |cx| cx.cancel_request(request)));
        drop(reply);
    }
    // One behind them all is answered.
    ask(&asking, asked.pid, 2, LIMIT, 9);
    asked.call().2.answer::<Square>(4);
    let reply = asking.reply();
    assert_eq!((reply.label, answer(*reply)), (9, Ok(4)));
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}

/// Passes requests on to another process.
struct Deputy(Pid);

impl Actor for Deputy {
    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        // The asker has been answered if this fails.
        drop(cx.forward_request(self.0, from, message, reply));
        Ok(())
    }
}

#[test]
fn request_that_is_forwarded_is_answered_by_the_last() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    let last = asked.pid;
    let deputy = node.spawn(move || Deputy(last)).expect("spawned");
    let first = node.spawn(move || Deputy(deputy)).expect("spawned");
    ask(&asking, first, 5, LIMIT, 3);
    let (from, message, reply) = asked.call();
    assert_eq!(from, asking.pid);
    let Square(number) = message.downcast().expect("a number");
    reply.answer::<Square>(u64::from(number * number));
    let reply = asking.reply();
    assert_eq!((reply.label, answer(*reply)), (3, Ok(25)));

    // The deputy's receiver has ended: the asker knows at once why.
    node.send_exit(last, Reason::Kill).expect("it lives");
    asked.end();
    let pending = node.ask(first, Square(2), LIMIT).expect("delivered");
    let gone = RequestError::NotDelivered(SendErrorKind::NoProcess);
    assert_eq!(pending.wait(), Err(gone));
    stop_clean(&node);
}

#[test]
fn request_through_a_pool_is_answered_by_a_worker() {
    struct Worker;
    impl Actor for Worker {
        fn handle_call(
            &mut self,
            _: &mut Context<'_>,
            _: Pid,
            message: Message,
            reply: Reply,
        ) -> Handled {
            if let Ok(Square(number)) = message.downcast() {
                reply.answer::<Square>(u64::from(number).pow(2));
            }
            Ok(())
        }
    }
    let node = node();
    let pool = node.spawn(|| Pool::new(3, || Worker)).expect("spawned");
    let asking = Probe::spawn(&node);
    for number in 0..10_u32 {
        ask(&asking, pool, number, LIMIT, number.into());
    }
    let mut answers: Vec<_> = (0..10)
        .map(|_| {
            let reply = asking.reply();
            (reply.label, answer(*reply).expect("an answer"))
        })
        .collect();
    answers.sort_unstable();
    let expected: Vec<_> = (0..10).map(|number| (number, number * number)).collect();
    assert_eq!(answers, expected);
    stop_clean(&node);
}

#[test]
fn answer_does_not_wait_inside_the_runtime() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    let (inside, to) = (node.clone(), asked.pid);
    let result = asking.run(move |_| {
        let pending = inside.ask(to, Square(2), LIMIT).expect("delivered");
        pending.wait()
    });
    assert_eq!(result, Err(RequestError::WouldBlockRuntime));
    stop_clean(&node);
}

#[test]
fn ten_thousand_asks_that_wait_on_one_slow_process_are_answered() {
    const ASKS: u64 = 10_000;
    let node = node();
    let asked = Probe::spawn(&node);
    let askers: Vec<_> = (0..10).map(|_| Probe::spawn(&node)).collect();
    for asker in &askers {
        let to = asked.pid;
        asker.run(move |cx| {
            for label in 0..ASKS / 10 {
                cx.ask(to, Square(2), LIMIT, label).expect("delivered");
            }
        });
    }
    let replies: Vec<_> = (0..ASKS).map(|_| asked.call().2).collect();
    assert_eq!(count(&node, "timers"), ASKS);
    for reply in replies {
        reply.answer::<Square>(4);
    }
    for asker in &askers {
        for label in 0..ASKS / 10 {
            let reply = asker.reply();
            assert_eq!((reply.label, answer(*reply)), (label, Ok(4)));
        }
    }
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}
