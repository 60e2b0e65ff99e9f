//! Calls inside of handlers: they block their process and nothing else, cannot wait for themselves, and end.

use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{RequestError, SendErrorKind, StopOptions};

use crate::support::*;

on_both! {
    call_to_oneself_is_an_error_at_once,
    calls_in_a_cycle_of_three_are_an_error_that_names_it,
    chain_of_twenty_calls_needs_one_worker,
    call_that_is_not_answered_ends_at_its_timeout_or_with_the_callee,
    callee_that_has_answered_or_forwarded_may_call_back,
    calls_that_overlap_end_in_the_order_of_their_answers,
    call_to_a_process_that_is_in_a_call_waits_for_its_handler,
    end_over_a_link_ends_a_call_and_a_trapped_signal_does_not,
    exit_signal_ends_a_call_and_gives_the_reason,
    more_calls_than_allowed_fail_at_once_and_send_nothing,
    others_run_while_fifty_handlers_wait_and_messages_keep_their_order,
    init_in_a_handler_may_call_and_cannot_call_its_spawner,
    stop_ends_each_call_that_waits,
    two_processes_that_call_each_other_at_once_do_not_wait_for_ever,
    two_processes_that_ask_each_other_over_a_third_end_by_their_timeouts,
}

/// A timeout that a test can wait for.
const SOON: Duration = Duration::from_millis(30);

/// Goes from process to process, each of which calls the next one; answers how many calls that were.
#[derive(Debug)]
struct Hop(Vec<Pid>);

impl Request for Hop {
    type Reply = Result<u32, RequestError>;
}

/// Any question to a probe.
struct Ask;

impl Request for Ask {
    type Reply = u32;
}

struct Hopper;

impl Actor for Hopper {
    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        let Ok(Hop(mut route)) = message.downcast() else {
            return Ok(());
        };
        let answer = match route.pop() {
            None => Ok(0),
            Some(next) => cx
                .call(next, Hop(route), LIMIT)
                .and_then(|answer| answer)
                .map(|calls| calls + 1),
        };
        reply.answer::<Hop>(answer);
        Ok(())
    }
}

fn one_worker() -> Node {
    node_with(NodeOptions::from("test@localhost").with_workers(1))
}

fn hoppers<const N: usize>(node: &Node) -> [Pid; N] {
    std::array::from_fn(|_| node.spawn(|| Hopper).expect("spawned"))
}

/// Sends a hop through the processes, the first one first.
fn hop(node: &Node, route: &[Pid]) -> Result<u32, RequestError> {
    let rest = route[1..].iter().rev().copied().collect();
    let pending = node.ask(route[0], Hop(rest), LIMIT).expect("delivered");
    pending.wait().expect("an answer")
}

/// Has the probe call `to`; the result comes over the channel.
fn start_call(
    probe: &Probe,
    to: Pid,
    timeout: Duration,
) -> mpsc::Receiver<Result<u32, RequestError>> {
    let (done, result) = mpsc::channel();
    probe.start(move |cx| {
        let answer = cx.call(to, Ask, timeout);
        done.send(answer.clone())?;
        match answer {
            // Only this one ends the process.
            Err(RequestError::Exiting) => Err(RequestError::Exiting.into()),
            _ => Ok(()),
        }
    });
    result
}

#[test]
fn chain_of_twenty_calls_needs_one_worker() {
    let node = one_worker();
    let route: [Pid; 21] = hoppers(&node);
    for _ in 0..20 {
        assert_eq!(hop(&node, &route), Ok(20));
    }
    stop_clean(&node);
}

#[test]
fn calls_in_a_cycle_of_three_are_an_error_that_names_it() {
    let node = one_worker();
    let [a, b, c] = hoppers(&node);
    assert_eq!(
        hop(&node, &[a, b, c, a]),
        Err(RequestError::Cycle(vec![c, a, b]))
    );
    let text = hop(&node, &[a, b, c, a]).unwrap_err().to_string();
    assert_eq!(
        text,
        format!("the callee waits for the caller: {c} -> {a} -> {b} -> {c}")
    );
    assert_eq!(hop(&node, &[a, b, c]), Ok(2), "nothing is left of it");
    stop_clean(&node);
}

#[test]
fn call_to_oneself_is_an_error_at_once() {
    let node = one_worker();
    let [a] = hoppers(&node);
    assert_eq!(hop(&node, &[a, a]), Err(RequestError::Cycle(vec![a])));
    let named = Probe::named(&node, "myself");
    let result = named.run(|cx| cx.call("myself", Ask, LIMIT));
    assert_eq!(result, Err(RequestError::Cycle(vec![named.pid])));
    stop_clean(&node);
}

#[test]
fn two_processes_that_call_each_other_at_once_do_not_wait_for_ever() {
    let node = node();
    let (one, other) = (Probe::spawn(&node), Probe::spawn(&node));
    for _ in 0..50 {
        let results = [
            start_call(&one, other.pid, LIMIT),
            start_call(&other, one.pid, LIMIT),
        ];
        // At least one of them finds the cycle and returns; its process then gets the call of the other one.
        let mut cycles = 0;
        let mut answered = [false; 2];
        wait_until("both results", || {
            for (at, probe) in [&one, &other].into_iter().enumerate() {
                if !answered[at]
                    && let Ok(result) = results[at].try_recv()
                {
                    answered[at] = true;
                    match result {
                        Ok(7) => {}
                        Err(RequestError::Cycle(cycle)) => {
                            assert_eq!(cycle.len(), 2);
                            cycles += 1;
                        }
                        other => panic!("{other:?}"),
                    }
                }
                if let Some(Seen::Call(_, _, reply)) = probe.seen_after_stop() {
                    reply.answer::<Ask>(7);
                }
            }
            answered == [true; 2]
        });
        assert!(cycles <= 1, "both gave up");
    }
    stop_clean(&node);
}

/// A forward hides the cycle, so that only the timeouts end it.
#[test]
fn two_processes_that_ask_each_other_over_a_third_end_by_their_timeouts() {
    let node = node();
    let (one, other) = (Probe::spawn(&node), Probe::spawn(&node));
    let to = |target: Pid| move || Forwarder { to: target };
    let to_other = node.spawn(to(other.pid)).expect("spawned");
    let to_one = node.spawn(to(one.pid)).expect("spawned");
    let began = Moment::now();
    let results = [
        start_call(&one, to_other, SOON),
        start_call(&other, to_one, SOON),
    ];
    for result in results {
        assert_eq!(value_of(&result), Ok(Err(RequestError::Timeout)));
    }
    assert!(began.elapsed() >= SOON);
    for probe in [one, other] {
        assert!(!probe.call().2.is_wanted());
    }
    stop_clean(&node);
}

/// Passes each request on.
struct Forwarder {
    to: Pid,
}

impl Actor for Forwarder {
    fn handle_call(
        &mut self,
        cx: &mut Context<'_>,
        from: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        Ok(cx.forward_request(self.to, from, message, reply)?)
    }
}

#[test]
fn calls_that_overlap_end_in_the_order_of_their_answers() {
    let node = node();
    let asked = Probe::spawn(&node);
    let asking: Vec<_> = (0..4).map(|_| Probe::spawn(&node)).collect();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let waiting: Vec<_> = asking
            .iter()
            .map(|probe| start_call(probe, asked.pid, LIMIT))
            .collect();
        let mut replies: Vec<_> = (0..4).map(|_| asked.call()).collect();
        for at in order {
            let pid = asking[at].pid;
            let found = replies.iter().position(|(from, ..)| *from == pid);
            let (_, _, reply) = replies.swap_remove(found.expect("its request"));
            reply.answer::<Ask>(at as u32);
            assert_eq!(value_of(&waiting[at]), Ok(Ok(at as u32)));
            for (from, ..) in &replies {
                let other = asking.iter().position(|probe| probe.pid == *from);
                let result = waiting[other.expect("a caller")].try_recv();
                assert_eq!(result, Err(mpsc::TryRecvError::Empty));
            }
        }
    }
    stop_clean(&node);
}

#[test]
fn call_to_a_process_that_is_in_a_call_waits_for_its_handler() {
    let node = node();
    let (first, second, last) = (
        Probe::spawn(&node),
        Probe::spawn(&node),
        Probe::spawn(&node),
    );
    let of_second = start_call(&second, last.pid, LIMIT);
    let reply = last.call().2;
    let of_first = start_call(&first, second.pid, LIMIT);
    wait_for_count(&node, "blocked_handlers", 2);
    last.saw_nothing();
    second.saw_nothing_yet();
    assert_eq!(of_first.try_recv(), Err(mpsc::TryRecvError::Empty));
    reply.answer::<Ask>(1);
    assert_eq!(value_of(&of_second), Ok(Ok(1)));
    second.call().2.answer::<Ask>(2);
    assert_eq!(value_of(&of_first), Ok(Ok(2)));
    wait_for_count(&node, "blocked_handlers", 0);
    // One that is in a call to it, and is killed, does not wait for its answer.
    let of_second = start_call(&second, last.pid, LIMIT);
    let reply = last.call().2;
    let of_first = start_call(&first, second.pid, LIMIT);
    wait_for_count(&node, "blocked_handlers", 2);
    node.send_exit(second.pid, Reason::Kill).expect("it lives");
    assert_eq!(value_of(&of_second), Ok(Err(RequestError::Exiting)));
    assert_eq!(value_of(&of_first), Ok(Err(RequestError::Dropped)));
    assert!(!reply.is_wanted());
    stop_clean(&node);
}

#[test]
fn callee_that_has_answered_or_forwarded_may_call_back() {
    let node = one_worker();
    let (asking, asked, last) = (
        Probe::spawn(&node),
        Probe::spawn(&node),
        Probe::spawn(&node),
    );
    let back = asking.pid;
    // It answers, and calls its caller in the same handler.
    let result = start_call(&asking, asked.pid, LIMIT);
    let reply = asked.call().2;
    let called_back = asked_later(&asked, back, move |_| reply.answer::<Ask>(1));
    assert_eq!(value_of(&result), Ok(Ok(1)));
    asking.call().2.answer::<Ask>(2);
    assert_eq!(value_of(&called_back), Ok(Ok(2)));

    // It forwards, and calls its caller.
    let result = start_call(&asking, asked.pid, LIMIT);
    let (from, message, reply) = asked.call();
    let to = last.pid;
    let called_back = asked_later(&asked, back, move |cx| {
        cx.forward_request(to, from, message, reply)
            .expect("delivered");
    });
    last.call().2.answer::<Ask>(3);
    assert_eq!(value_of(&result), Ok(Ok(3)));
    asking.call().2.answer::<Ask>(4);
    assert_eq!(value_of(&called_back), Ok(Ok(4)));
    stop_clean(&node);
}

/// Has the probe do `first` and then call `to`.
fn asked_later(
    probe: &Probe,
    to: Pid,
    first: impl FnOnce(&mut Context<'_>) + Send + 'static,
) -> mpsc::Receiver<Result<u32, RequestError>> {
    let (done, result) = mpsc::channel();
    probe.start(move |cx| {
        first(cx);
        done.send(cx.call(to, Ask, LIMIT))?;
        Ok(())
    });
    result
}

#[test]
fn more_calls_than_allowed_fail_at_once_and_send_nothing() {
    let node = node_with(
        NodeOptions::from("test@localhost")
            .with_workers(1)
            .with_max_blocked_calls(3),
    );
    let asked = Probe::spawn(&node);
    let asking: Vec<_> = (0..4).map(|_| Probe::spawn(&node)).collect();
    for _ in 0..10 {
        let waiting: Vec<_> = asking[..3]
            .iter()
            .map(|probe| start_call(probe, asked.pid, LIMIT))
            .collect();
        let replies: Vec<_> = (0..3).map(|_| asked.call().2).collect();
        assert_eq!(count(&node, "blocked_handlers"), 3);
        let refused = start_call(&asking[3], asked.pid, LIMIT);
        assert_eq!(value_of(&refused), Ok(Err(RequestError::TooManyCalls)));
        asked.saw_nothing();
        for reply in replies {
            reply.answer::<Ask>(5);
        }
        for result in waiting {
            assert_eq!(value_of(&result), Ok(Ok(5)));
        }
        wait_for_count(&node, "blocked_handlers", 0);
    }
    let none = node_with(NodeOptions::from("test@localhost").with_max_blocked_calls(0));
    let (asking, asked) = (Probe::spawn(&none), Probe::spawn(&none));
    let result = start_call(&asking, asked.pid, LIMIT);
    assert_eq!(value_of(&result), Ok(Err(RequestError::TooManyCalls)));
    stop_clean(&none);
    stop_clean(&node);
}

#[test]
fn call_that_is_not_answered_ends_at_its_timeout_or_with_the_callee() {
    let node = one_worker();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    let began = Moment::now();
    let result = start_call(&asking, asked.pid, SOON);
    let late = asked.call().2;
    assert_eq!(value_of(&result), Ok(Err(RequestError::Timeout)));
    assert!(began.elapsed() >= SOON);
    assert!(!late.is_wanted());
    late.answer::<Ask>(1);
    asking.saw_nothing();

    let result = start_call(&asking, asked.pid, LIMIT);
    drop(asked.call().2);
    assert_eq!(value_of(&result), Ok(Err(RequestError::Dropped)));

    let result = start_call(&asking, asked.pid, LIMIT);
    let reply = asked.call().2;
    reply.fail(Reason::error("no"));
    assert_eq!(
        value_of(&result),
        Ok(Err(RequestError::Failed(Reason::error("no"))))
    );

    node.send_exit(asked.pid, Reason::Kill).expect("it lives");
    asked.end();
    let result = start_call(&asking, asked.pid, LIMIT);
    assert_eq!(
        value_of(&result),
        Ok(Err(RequestError::NotDelivered(SendErrorKind::NoProcess)))
    );
    stop_clean(&node);
}

#[test]
fn exit_signal_ends_a_call_and_gives_the_reason() {
    let node = one_worker();
    let asked = Probe::spawn(&node);
    for reason in [Reason::Kill, Reason::Shutdown, Reason::error("no paper")] {
        let asking = Probe::spawn(&node);
        let result = start_call(&asking, asked.pid, LIMIT);
        let reply = asked.call().2;
        node.send_exit(asking.pid, reason.clone())
            .expect("it lives");
        assert_eq!(value_of(&result), Ok(Err(RequestError::Exiting)));
        assert_eq!(asking.end(), reason);
        assert!(!reply.is_wanted());
    }
    // One that waits in the mailbox already.
    let asking = Probe::spawn(&node);
    let (to, inside) = (asked.pid, node.clone());
    let (done, result) = mpsc::channel();
    asking.start(move |cx| {
        inside.send_exit(cx.pid(), Reason::Kill)?;
        done.send(cx.call(to, Ask, LIMIT))?;
        Ok(())
    });
    assert_eq!(value_of(&result), Ok(Err(RequestError::Exiting)));
    assert_eq!(asking.end(), Reason::Kill);
    stop_clean(&node);
}

#[test]
fn end_over_a_link_ends_a_call_and_a_trapped_signal_does_not() {
    let node = one_worker();
    let asked = Probe::spawn(&node);
    let (asking, linked) = (Probe::spawn(&node), Probe::spawn(&node));
    let to = linked.pid;
    asking.run(move |cx| cx.link(to)).expect("linked");
    let result = start_call(&asking, asked.pid, LIMIT);
    let _reply = asked.call().2;
    let reason = Reason::error("no paper");
    node.send_exit(linked.pid, reason.clone())
        .expect("it lives");
    assert_eq!(value_of(&result), Ok(Err(RequestError::Exiting)));
    assert_eq!(asking.end(), reason);

    let trapping = Probe::spawn(&node);
    trapping.run(|cx| cx.set_trap_exit(true));
    let result = start_call(&trapping, asked.pid, LIMIT);
    let reply = asked.call().2;
    node.send_exit(trapping.pid, Reason::error("caught"))
        .expect("it lives");
    reply.answer::<Ask>(6);
    assert_eq!(value_of(&result), Ok(Ok(6)));
    assert_eq!(trapping.exit().reason, Reason::error("caught"));
    let result = start_call(&trapping, asked.pid, LIMIT);
    let _reply = asked.call().2;
    node.send_exit(trapping.pid, Reason::Kill)
        .expect("it lives");
    assert_eq!(value_of(&result), Ok(Err(RequestError::Exiting)));
    assert_eq!(trapping.end(), Reason::Kill);
    stop_clean(&node);
}

/// Calls in its `init`, and spawns another one first.
struct Nested {
    depth: u32,
    to: Option<Pid>,
    done: Sender<Result<u32, RequestError>>,
}

impl Actor for Nested {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        if self.depth > 0 {
            let (depth, to, done) = (self.depth - 1, self.to, self.done.clone());
            cx.spawn(move || Self { depth, to, done })?;
            return Ok(());
        }
        // Without a callee it calls the process whose spawn waits for it.
        let to = self.to.unwrap_or(cx.parent());
        self.done.send(cx.call(to, Ask, LIMIT))?;
        Ok(())
    }
}

#[test]
fn init_may_call_on_a_thread_of_the_program() {
    let node = one_worker();
    let asked = Probe::spawn(&node);
    let (done, results) = mpsc::channel();
    let to = Some(asked.pid);
    // It waits until the call is answered.
    let inside = node.clone();
    let program = std::thread::spawn(move || {
        let depth = 3;
        inside.spawn(move || Nested { depth, to, done })
    });
    asked.call().2.answer::<Ask>(8);
    program.join().expect("no panic").expect("spawned");
    assert_eq!(value_of(&results), Ok(Ok(8)));
    stop_clean(&node);
}

#[test]
fn init_in_a_handler_may_call_and_cannot_call_its_spawner() {
    let node = one_worker();
    let asked = Probe::spawn(&node);
    let (done, results) = mpsc::channel();
    let to = Some(asked.pid);
    let spawning = Probe::spawn(&node);
    let there = done.clone();
    spawning.start(move |cx| {
        let nested = Nested {
            depth: 3,
            to,
            done: there,
        };
        cx.spawn(move || nested)?;
        Ok(())
    });
    asked.call().2.answer::<Ask>(8);
    assert_eq!(value_of(&results), Ok(Ok(8)));

    // The worker that it was is not run twice, and its handler goes on.
    assert_eq!(spawning.run(|cx| cx.pid()), spawning.pid);

    let (inside, nested_done) = (node.clone(), done.clone());
    spawning
        .run(move |_| {
            let nested = Nested {
                depth: 0,
                to,
                done: nested_done,
            };
            inside.spawn(move || nested)
        })
        .expect("spawned");
    assert_eq!(value_of(&results), Ok(Err(RequestError::WouldBlockRuntime)));

    let spawning = Probe::spawn(&node);
    let inner = Nested {
        depth: 0,
        to: None,
        done,
    };
    let child = spawning
        .run(move |cx| cx.spawn(move || inner))
        .expect("spawned");
    assert_eq!(
        value_of(&results),
        Ok(Err(RequestError::Cycle(vec![spawning.pid, child])))
    );
    stop_clean(&node);
}

#[test]
fn others_run_while_fifty_handlers_wait_and_messages_keep_their_order() {
    let node = one_worker();
    let asked = Probe::spawn(&node);
    let asking: Vec<_> = (0..50).map(|_| Probe::spawn(&node)).collect();
    let waiting: Vec<_> = asking
        .iter()
        .map(|probe| start_call(probe, asked.pid, LIMIT))
        .collect();
    let replies: Vec<_> = (0..50).map(|_| asked.call().2).collect();
    // Messages that come meanwhile wait; other processes are served.
    for probe in &asking {
        for number in 0..100_u32 {
            node.send(probe.pid, number).expect("sent");
        }
    }
    let [a, b] = hoppers(&node);
    assert_eq!(hop(&node, &[a, b]), Ok(1));
    for reply in replies {
        reply.answer::<Ask>(9);
    }
    for result in waiting {
        assert_eq!(value_of(&result), Ok(Ok(9)));
    }
    for probe in &asking {
        for number in 0..100_u32 {
            assert_eq!(probe.value::<u32>(), number);
        }
    }
    let sent = node.processes().find(|info| info.pid == asking[0].pid);
    assert_eq!(sent.expect("it lives").messages_out, 1);
    stop_clean(&node);
}

#[test]
fn stop_ends_each_call_that_waits() {
    let node = node();
    let asked = Probe::spawn(&node);
    let asking: Vec<_> = (0..3).map(|_| Probe::spawn(&node)).collect();
    let results: Vec<_> = asking
        .iter()
        .map(|probe| start_call(probe, asked.pid, LIMIT))
        .collect();
    let _replies: Vec<_> = asking.iter().map(|_| asked.call().2).collect();
    let began = Moment::now();
    let timeout = Duration::from_millis(200);
    let report = node.stop_with(StopOptions::default().with_timeout(timeout));
    assert!(began.elapsed() < 4 * timeout + Duration::from_secs(1));
    for result in results {
        assert_eq!(value_of(&result), Ok(Err(RequestError::Exiting)));
    }
    assert_eq!((report.undrained, report.killed.len()), (3, 0), "{report}");
    assert!(report.stuck.is_empty(), "{report}");
}

#[test]
fn handler_that_hangs_behind_its_call_is_named_by_the_stop() {
    let node = node();
    let (asking, asked) = (Probe::spawn(&node), Probe::spawn(&node));
    let (release, held) = mpsc::channel::<()>();
    let to = asked.pid;
    asking.start(move |cx| {
        cx.call(to, Ask, LIMIT)?;
        // Until the test is over.
        assert!(held.recv().is_err());
        Ok(())
    });
    asked.call().2.answer::<Ask>(1);
    let report = node.stop_with(StopOptions::default().with_timeout(Duration::from_millis(100)));
    assert_eq!(report.stuck, [asking.pid], "{report}");
    drop(release);
}
