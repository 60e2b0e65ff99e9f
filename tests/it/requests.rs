//! Requests: answered once, or failed at once with a reason.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{PendingReply, RequestError, SendErrorKind};

use crate::support::*;

on_both! {
    a_request_is_answered_inside_and_outside,
    a_request_may_be_answered_later_and_by_another_process,
    a_request_without_an_answer_times_out_and_the_late_answer_is_dropped,
    a_request_whose_callee_drops_it_panics_or_ends_is_answered_at_once,
    a_request_to_no_process_is_an_error_and_no_answer_comes,
    a_full_mailbox_refuses_a_request_at_once,
    a_request_to_oneself_is_answered,
    end_of_a_process_that_asks_withdraws_its_timeouts,
}

/// A timeout that a test can wait for.
const SOON: Duration = Duration::from_millis(30);

#[test]
fn a_request_is_answered_inside_and_outside() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::named(&node, "asked"));
    let request = asking
        .run(|cx| cx.request("asked", 3_u32, LIMIT))
        .expect("delivered");
    let (from, message, reply) = asked.call();
    assert_eq!(
        (from, message.downcast::<u32>().expect("a number")),
        (asking.pid, 3)
    );
    reply.send("three");
    let reply = asking.reply();
    assert_eq!(reply.request, request);
    assert_eq!(
        reply
            .result
            .expect("an answer")
            .downcast::<&str>()
            .expect("a text"),
        "three"
    );

    let pending = node.request(asked.pid, 4_u32).expect("delivered");
    let (from, _, reply) = asked.call();
    assert_eq!(from, Pid::NODE);
    reply.send("four");
    let answer = pending
        .wait_until(Instant::now() + LIMIT)
        .expect("an answer");
    assert_eq!(answer.downcast::<&str>().expect("a text"), "four");
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}

#[test]
fn a_request_may_be_answered_later_and_by_another_process() {
    let node = node();
    let (asking, asked, other) = (
        Probe::spawn(&node),
        Probe::spawn(&node),
        Probe::spawn(&node),
    );
    let to = asked.pid;
    let requests = asking.run(move |cx| {
        [0, 1, 2].map(|number: u8| cx.request(to, number, LIMIT).expect("delivered"))
    });
    let replies: Vec<Reply> = (0..3).map(|_| asked.call().2).collect();
    // The replies are sent in reverse order, from another process.
    for (number, reply) in replies.into_iter().enumerate().rev() {
        other.run(move |_| reply.send(number));
    }
    for number in [2, 1, 0] {
        let reply = asking.reply();
        assert_eq!(reply.request, requests[number]);
        assert_eq!(
            reply
                .result
                .expect("an answer")
                .downcast::<usize>()
                .expect("a number"),
            number
        );
    }
    stop_clean(&node);
}

#[test]
fn a_request_without_an_answer_times_out_and_the_late_answer_is_dropped() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    let to = asked.pid;
    let started = Moment::now();
    let request = asking
        .run(move |cx| cx.request(to, (), SOON))
        .expect("delivered");
    assert_eq!(asking.unanswered(request), RequestError::Timeout);
    assert!(started.elapsed() >= SOON);
    asked.call().2.send("late");
    asking.saw_nothing();
    assert_eq!(
        node.call(to, (), SOON).expect_err("no answer"),
        RequestError::Timeout
    );
    asked.call().2.send("late");
    assert_eq!(count(&node, "timers"), 0);
    // After an answer in time the timeout does not fire.
    let request = asking
        .run(move |cx| cx.request(to, (), SOON))
        .expect("delivered");
    let in_time = asked.call().2;
    in_time.send(());
    let reply = asking.reply();
    assert_eq!(reply.request, request);
    if reply.result.is_ok() {
        assert_eq!(count(&node, "timers"), 0);
    }
    asking.saw_nothing();
    stop_clean(&node);
}

#[test]
fn a_request_whose_callee_drops_it_panics_or_ends_is_answered_at_once() {
    silence_expected_panics();
    let node = node();
    let asking = Probe::spawn(&node);

    // The default handler drops the request.
    struct Default;
    impl Actor for Default {}
    let idle = node.spawn(|| Default).expect("spawned");
    let request = asking
        .run(move |cx| cx.request(idle, (), LIMIT))
        .expect("delivered");
    assert_eq!(asking.unanswered(request), RequestError::Dropped);

    // A failing and a panicking handler.
    struct Hurt(bool);
    impl Actor for Hurt {
        fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, _: Reply) -> Handled {
            if self.0 {
                panic!("asked to")
            } else {
                Err(Reason::error("failing"))
            }
        }
    }
    for panics in [false, true] {
        let hurt = node.spawn(|| Hurt(panics)).expect("spawned");
        let request = asking
            .run(move |cx| cx.request(hurt, (), LIMIT))
            .expect("delivered");
        assert_eq!(asking.unanswered(request), RequestError::Dropped);
        let hurt = node.spawn(|| Hurt(panics)).expect("spawned");
        assert_eq!(
            node.call(hurt, (), LIMIT).expect_err("dropped"),
            RequestError::Dropped
        );
    }

    // One request waits in the mailbox of a process that is killed, and one was taken and kept by a process that is
    // killed.
    let asked = Probe::spawn(&node);
    let to = asked.pid;
    let kept = asking
        .run(move |cx| cx.request(to, (), LIMIT))
        .expect("delivered");
    let (_, _, reply) = asked.call();
    let gate = asked.block();
    let waiting = asking
        .run(move |cx| cx.request(to, (), LIMIT))
        .expect("delivered");
    let outside = node.request(to, ()).expect("delivered");
    node.send_exit(to, Reason::Kill).expect("it lives");
    drop(gate);
    assert_eq!(asking.unanswered(waiting), RequestError::Dropped);
    assert_eq!(
        outside
            .wait_until(Instant::now() + LIMIT)
            .expect_err("dropped"),
        RequestError::Dropped
    );
    drop(reply);
    assert_eq!(asking.unanswered(kept), RequestError::Dropped);
    stop_clean(&node);
}

#[test]
fn a_request_to_no_process_is_an_error_and_no_answer_comes() {
    let node = node();
    let (asking, dead) = (Probe::spawn(&node), Probe::spawn(&node));
    let to = dead.pid;
    node.send_exit(to, Reason::Normal).expect("it lives");
    dead.end();
    for (target, kind) in [
        (Target::Pid(to), SendErrorKind::NoProcess),
        (Target::from("x"), SendErrorKind::NoName),
    ] {
        let asked = target.clone();
        let error = asking
            .run(move |cx| cx.request(asked, 7_u8, LIMIT))
            .expect_err("no such process");
        assert_eq!(error.kind(), kind);
        assert_eq!(
            error
                .into_message()
                .downcast::<u8>()
                .expect("it comes back"),
            7
        );
        assert_eq!(
            node.call(target.clone(), 7_u8, LIMIT)
                .expect_err("no such process"),
            RequestError::NotDelivered(kind)
        );
        assert_eq!(
            node.inspect(target, LIMIT).expect_err("no such process"),
            RequestError::NotDelivered(kind)
        );
    }
    asking.saw_nothing();
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}

#[test]
fn a_full_mailbox_refuses_a_request_at_once() {
    let node = node();
    let asked = Probe::spawn_with(&node, SpawnOptions::default().with_mailbox_bound(1));
    let gate = asked.block();
    node.send(asked.pid, ()).expect("one fits");
    let error = node.call(asked.pid, (), LIMIT).expect_err("full");
    assert_eq!(
        error,
        RequestError::NotDelivered(SendErrorKind::MailboxFull)
    );
    drop(gate);
    stop_clean(&node);
}

#[test]
fn a_request_to_oneself_is_answered() {
    let node = node();
    let probe = Probe::spawn(&node);
    let request = probe
        .run(|cx| cx.request(cx.pid(), (), LIMIT))
        .expect("delivered");
    probe.call().2.send(1_u8);
    assert_eq!(probe.reply().request, request);
    stop_clean(&node);
}

#[test]
fn a_blocking_call_on_a_thread_of_the_runtime_is_refused() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (inside, pid) = (node.clone(), probe.pid);
    let (error, inspected) =
        probe.run(move |_| (inside.call(pid, (), LIMIT), inside.inspect(pid, LIMIT)));
    assert_eq!(error.expect_err("refused"), RequestError::WouldBlockRuntime);
    assert_eq!(
        inspected.expect_err("refused"),
        RequestError::WouldBlockRuntime
    );
    probe.saw_nothing();
    stop_clean(&node);
}

#[test]
fn end_of_a_process_that_asks_withdraws_its_timeouts() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    let to = asked.pid;
    asking.run(move |cx| {
        for _ in 0..100 {
            cx.request(to, (), LIMIT).expect("delivered");
        }
    });
    assert_eq!(count(&node, "timers"), 100);
    node.send_exit(asking.pid, Reason::Kill).expect("it lives");
    asking.end();
    wait_for_count(&node, "timers", 0);
    // The answers have no receiver, and no other process is affected.
    for _ in 0..100 {
        asked.call().2.send(());
    }
    stop_clean(&node);
}

#[test]
fn inspecting_a_process_goes_before_its_mail() {
    let node = node();
    let probe = Probe::named(&node, "busy");
    let gate = probe.block();
    for number in 0..10_u8 {
        node.send(probe.pid, number).expect("delivered");
    }
    let (inside, pid) = (node.clone(), probe.pid);
    let inspecting = std::thread::spawn(move || inside.inspect(pid, LIMIT).expect("an inspection"));
    // The inspection is the eleventh message in the mailbox before the gate opens.
    drop(gate);
    let inspection = inspecting.join().expect("no panic");
    assert_eq!(inspection.value("name"), Some("busy"));
    assert_eq!(inspection.value("kind"), Some("probe"));
    assert_eq!(inspection.value("trap_exit"), Some("false"));
    stop_clean(&node);
}

#[tokio::test]
async fn promises_are_awaited_and_messages_sent_from_tasks_of_tokio() {
    let node = node();
    struct Doubling;
    impl Actor for Doubling {
        fn handle_call(
            &mut self,
            _: &mut Context<'_>,
            _: Pid,
            message: Message,
            reply: Reply,
        ) -> Handled {
            if let Ok(number) = message.downcast::<u32>() {
                reply.send(number * 2);
            }
            Ok(())
        }
    }
    let pid = node.spawn(|| Doubling).expect("spawned");
    let tasks: Vec<_> = (0..100_u32)
        .map(|number| {
            let pending: PendingReply = node.request(pid, number).expect("delivered");
            tokio::spawn(async move {
                pending
                    .await
                    .expect("answered")
                    .downcast::<u32>()
                    .expect("a number")
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.expect("no panic"), 2 * number as u32);
    }
    let dropped = node.request(pid, "no number").expect("delivered");
    assert_eq!(dropped.await.expect_err("dropped"), RequestError::Dropped);
    // The opposite direction: a task waits for a message of an actor.
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let probe = Probe::spawn(&node);
    let inside = node.clone();
    let to = probe.pid;
    let sending = tokio::spawn(async move { inside.send(to, "from a task") });
    sending.await.expect("no panic").expect("delivered");
    assert_eq!(probe.value::<&str>(), "from a task");
    probe.start(move |_| {
        let _ = sender.send(5);
        Ok(())
    });
    assert_eq!(receiver.await, Ok(5));
    tokio::task::spawn_blocking(move || stop_clean(&node))
        .await
        .expect("it stops");
}

#[test]
fn an_unanswered_request_may_be_dropped_or_polled_elsewhere() {
    let node = node();
    let asked = Probe::spawn(&node);
    drop(node.request(asked.pid, ()).expect("delivered"));
    asked.call().2.send("too late");
    let pending = node.request(asked.pid, ()).expect("delivered");
    let (sender, receiver) = mpsc::channel();
    let waiting =
        std::thread::spawn(move || sender.send(pending.wait_until(Instant::now() + LIMIT).is_ok()));
    asked.call().2.send(());
    assert!(value_of(&receiver).expect("answered"));
    waiting.join().expect("no panic").expect("received");
    stop_clean(&node);
}
