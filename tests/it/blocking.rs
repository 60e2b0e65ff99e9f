//! Blocking work of processes: on threads of its own, bounded, with the result as an answer.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{RequestError, StopOptions};

use crate::support::*;

on_both! {
    panic_of_work_is_its_result,
    work_that_waits_for_its_node_gets_an_error,
}

fn options() -> NodeOptions {
    NodeOptions::from("test@localhost").with_workers(1)
}

/// Work that runs until the sender is dropped, and is then 7.
fn held() -> (mpsc::Sender<()>, impl FnOnce() -> u32 + Send + 'static) {
    let (release, held) = mpsc::channel();
    let work = move || {
        assert!(held.recv().is_err());
        7
    };
    (release, work)
}

#[test]
fn results_of_work_carry_their_labels_while_the_process_goes_on() {
    let node = node_with(options());
    let probe = Probe::spawn(&node);
    let (release, work) = held();
    probe.run(|cx| cx.blocking(1, work)).expect("queued");
    probe
        .run(|cx| cx.blocking(2, || "at once"))
        .expect("queued");
    let reply = probe.reply();
    assert_eq!(reply.label, 2);
    let text = reply.result.expect("a result").downcast::<&str>();
    assert_eq!(text.expect("a text"), "at once");
    drop(release);
    let reply = probe.reply();
    assert_eq!(reply.label, 1);
    let number = reply.result.expect("a result").downcast::<u32>();
    assert_eq!(number.expect("a number"), 7);
    stop_clean(&node);
}

#[test]
fn panic_of_work_is_its_result() {
    silence_expected_panics();
    let node = node_with(options());
    let probe = Probe::spawn(&node);
    let work = || -> u32 { panic!("asked to") };
    probe.run(move |cx| cx.blocking(3, work)).expect("queued");
    let reply = probe.reply();
    let error = reply.result.expect_err("a panic");
    assert_eq!(
        error,
        RequestError::Failed(Reason::Panic("asked to".into()))
    );
    stop_clean(&node);
}

#[test]
fn work_that_waits_for_its_node_gets_an_error() {
    let node = node_with(options());
    let probe = Probe::spawn(&node);
    let (to, inside) = (probe.pid, node.clone());
    let work = move || inside.call(to, (), LIMIT).err();
    probe.run(|cx| cx.blocking(4, work)).expect("queued");
    let reply = probe.reply();
    let error = reply.result.expect("a result").downcast();
    let error: Option<RequestError> = error.expect("an error, or none");
    assert_eq!(error, Some(RequestError::WouldBlockRuntime));
    stop_clean(&node);
}

#[test]
fn work_beyond_the_bounds_is_refused_and_what_is_canceled_does_not_run() {
    let node = node_with(options().with_blocking_threads(1).with_blocking_queue(2));
    let probe = Probe::spawn(&node);
    let (started, starts) = mpsc::channel();
    let (release, work) = held();
    let first = move || {
        started.send(()).expect("the test listens");
        work()
    };
    probe.run(|cx| cx.blocking(1, first)).expect("queued");
    value_of(&starts).expect("it runs");
    let (ran, runs) = mpsc::channel();
    let canceled = ran.clone();
    let request = probe
        .run(move |cx| cx.blocking(2, move || canceled.send(2)))
        .expect("queued");
    probe
        .run(move |cx| cx.blocking(3, move || ran.send(3)))
        .expect("queued");
    let refused = probe.run(|cx| cx.blocking(4, || ()));
    assert_eq!(refused, Err(RequestError::TooMuchWork));
    assert!(probe.run(move |cx| cx.cancel_request(request)));
    drop(release);
    assert_eq!(probe.reply().label, 1);
    assert_eq!(probe.reply().label, 3);
    assert_eq!(runs.iter().collect::<Vec<_>>(), [3], "2 was canceled");
    stop_clean(&node);
}

#[test]
fn stop_names_the_process_whose_work_does_not_return() {
    let node = node_with(options());
    let probe = Probe::spawn(&node);
    let (started, starts) = mpsc::channel();
    let (release, work) = held();
    let work = move || {
        started.send(()).expect("the test listens");
        work()
    };
    probe.run(|cx| cx.blocking(1, work)).expect("queued");
    value_of(&starts).expect("it runs");
    let began = Instant::now();
    let timeout = Duration::from_millis(100);
    let report = node.stop_with(StopOptions::default().with_timeout(timeout));
    assert!(began.elapsed() < 4 * timeout + Duration::from_secs(1));
    assert_eq!(report.working, [probe.pid], "{report}");
    assert!(report.stuck.is_empty() && report.killed.is_empty());
    assert!(report.to_string().contains("work of"), "{report}");
    drop(release);
}
