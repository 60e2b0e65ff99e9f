//! Meta-processes of users that finish something before they end, and that time more than one thing.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use longshore::prelude::*;
use longshore::{MessageTcp, StopOptions};

use crate::support::*;

on_both! {
    meta_process_finishes_before_it_ends_with_the_reason_of_its_exit,
    meta_process_that_does_not_finish_is_killed_after_its_time,
    end_of_the_parent_lets_a_meta_process_finish,
    stop_of_a_node_waits_for_a_meta_process_that_finishes,
    stop_of_a_node_cuts_off_a_meta_process_that_does_not_finish,
    meta_process_has_several_timers_and_cancels_one,
}

/// What the meta-process reports.
#[derive(Debug, PartialEq)]
enum Report {
    Exit(Reason),
    Stop,
    Message(&'static str),
    Timer,
    End(Reason),
}

/// Accepts bytes, and ends when it is sent `"done"` behind an exit signal.
struct Slow {
    reports: Sender<Report>,
    ending: Option<Reason>,
    patience: Option<Duration>,
}

impl Slow {
    fn new(patience: Option<Duration>) -> (Self, Receiver<Report>) {
        let (reports, reported) = mpsc::channel();
        let slow = Self {
            reports,
            ending: None,
            patience,
        };
        (slow, reported)
    }

    fn report(&self, what: Report) {
        // The test may have ended.
        let _ = self.reports.send(what);
    }
}

impl MetaProcess for Slow {
    fn handle_message(&mut self, cx: &mut MetaContext<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::Tcp(MessageTcp { data, .. }) => {
                cx.sent(data.len(), 0);
            }
            message => match message.downcast::<&str>()? {
                "done" => return Err(self.ending.take().unwrap_or(Reason::Normal)),
                "timers" => {
                    cx.send_after("later", Duration::from_millis(20));
                    cx.send_after("soon", Duration::from_millis(1));
                    let never = cx.send_after("never", Duration::from_millis(5));
                    assert!(cx.cancel_timer(never));
                    assert!(!cx.cancel_timer(never));
                    cx.set_timer(Some(Duration::from_millis(10)));
                }
                text => self.report(Report::Message(text)),
            },
        }
        Ok(())
    }

    fn handle_timer(&mut self, _: &mut MetaContext<'_>) -> Handled {
        self.report(Report::Timer);
        Ok(())
    }

    fn handle_stop(&mut self, _: &mut MetaContext<'_>) -> Handled {
        self.report(Report::Stop);
        Ok(())
    }

    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Handled {
        self.report(Report::Exit(reason.clone()));
        self.ending = Some(reason);
        if let Some(patience) = self.patience {
            cx.end_within(patience);
        } else {
            cx.send_after("done", Duration::from_millis(20));
        }
        Ok(())
    }

    fn terminate(&mut self, _: &mut MetaContext<'_>, reason: &Reason) {
        self.report(Report::End(reason.clone()));
    }

    fn output_limit(&self) -> u32 {
        1 << 20
    }
}

#[track_caller]
fn next(reported: &Receiver<Report>) -> Report {
    value_of(reported).expect("a report")
}

#[test]
fn meta_process_finishes_before_it_ends_with_the_reason_of_its_exit() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, reported) = Slow::new(None);
    let alias = probe.spawn_meta(slow);
    let monitor = probe.run(move |cx| cx.monitor(alias));
    probe
        .run(move |cx| cx.send_exit_meta(alias, Reason::error("enough")))
        .expect("it lives");
    assert_eq!(next(&reported), Report::Exit(Reason::error("enough")));
    // It is still there and takes bytes.
    probe
        .run(move |cx| cx.send_alias(alias, MessageTcp::new(alias, "bytes")))
        .expect("accepted");
    assert_eq!(next(&reported), Report::End(Reason::error("enough")));
    let down = probe.down();
    assert_eq!(
        (down.monitor, down.reason),
        (monitor, Reason::error("enough"))
    );
    stop_clean(&node);
}

#[test]
fn meta_process_that_does_not_finish_is_killed_after_its_time() {
    let node = node();
    let probe = Probe::spawn(&node);
    let patience = Duration::from_millis(30);
    let (slow, reported) = Slow::new(Some(patience));
    let alias = probe.spawn_meta(slow);
    let began = Moment::now();
    probe
        .run(move |cx| cx.send_exit_meta(alias, Reason::Shutdown))
        .expect("it lives");
    assert_eq!(next(&reported), Report::Exit(Reason::Shutdown));
    assert_eq!(next(&reported), Report::End(Reason::Kill));
    assert!(began.elapsed() >= patience);
    wait_for_count(&node, "meta_processes", 0);
    stop_clean(&node);
}

#[test]
fn end_of_the_parent_lets_a_meta_process_finish() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, reported) = Slow::new(None);
    probe.spawn_meta(slow);
    probe.start(|_| Err(Reason::error("the parent")));
    assert_eq!(next(&reported), Report::Exit(Reason::error("the parent")));
    assert_eq!(next(&reported), Report::End(Reason::error("the parent")));
    stop_clean(&node);
}

#[test]
fn stop_of_a_node_waits_for_a_meta_process_that_finishes() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, reported) = Slow::new(None);
    probe.spawn_meta(slow);
    stop_clean(&node);
    let all: Vec<_> = reported.try_iter().collect();
    assert_eq!(
        all,
        [
            Report::Stop,
            Report::Exit(Reason::Shutdown),
            Report::End(Reason::Shutdown)
        ]
    );
}

#[test]
fn stop_of_a_node_cuts_off_a_meta_process_that_does_not_finish() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, reported) = Slow::new(Some(Duration::from_secs(3_600)));
    probe.spawn_meta(slow);
    let options = StopOptions::default().with_timeout(Duration::from_millis(200));
    let report = node.stop_with(options);
    assert_eq!(report.unflushed, 1, "{report}");
    let last = reported.try_iter().last();
    assert!(matches!(last, Some(Report::End(Reason::Kill))), "{last:?}");
}

#[test]
fn meta_process_has_several_timers_and_cancels_one() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, reported) = Slow::new(None);
    let alias = probe.spawn_meta(slow);
    node.send(alias, "timers").expect("it lives");
    assert_eq!(next(&reported), Report::Message("soon"));
    assert_eq!(next(&reported), Report::Timer);
    assert_eq!(next(&reported), Report::Message("later"));
    assert_eq!(count(&node, "timers"), 0);
    // What is left is dropped with the node, or when its time comes.
    node.send(alias, "timers").expect("it lives");
    stop_clean(&node);
}

/// Does blocking work, and reports what comes of it.
struct Works {
    reports: Sender<String>,
    gate: Option<Receiver<()>>,
}

impl MetaProcess for Works {
    fn handle_message(&mut self, cx: &mut MetaContext<'_>, from: Pid, message: Message) -> Handled {
        let message = match message.downcast::<Result<u32, Reason>>() {
            Ok(result) => {
                assert_eq!(from, cx.parent());
                let shown = result.map_or_else(|reason| reason.to_string(), |n| n.to_string());
                return Ok(self.reports.send(shown)?);
            }
            Err(error) => Message::from(error),
        };
        let began = match message.downcast::<&str>()? {
            "work" => cx.blocking(|| 7_u32),
            "panic" => cx.blocking(|| -> u32 { panic!("at work") }),
            _ => {
                let gate = self.gate.take().expect("once");
                let reports = self.reports.clone();
                cx.blocking(move || {
                    reports.send("began".into()).expect("the test listens");
                    gate.recv_timeout(LIMIT).map_or(1_u32, |()| 2)
                })
            }
        };
        if let Err(error) = began {
            self.reports.send(error.to_string())?;
        }
        Ok(())
    }
}

#[test]
fn blocking_work_of_a_meta_process_comes_back_as_a_message() {
    let options = NodeOptions::from("test@localhost").with_workers(1);
    let node = node_with(options.with_blocking_threads(1).with_blocking_queue(1));
    let probe = Probe::spawn(&node);
    let (reports, reported) = mpsc::channel();
    let (release, gate) = mpsc::channel();
    let gate = Some(gate);
    let alias = probe.spawn_meta(Works { reports, gate });
    let send = |what: &'static str| node.send(alias, what).expect("it lives");
    let next = || reported.recv_timeout(LIMIT).expect("a report");
    send("work");
    assert_eq!(next(), "7");
    send("panic");
    assert_eq!(next(), "panic: at work");
    send("block");
    assert_eq!(next(), "began");
    // One waits for the thread, and a second one may not. The loop goes on meanwhile.
    send("work");
    send("work");
    assert_eq!(next(), longshore::RequestError::TooMuchWork.to_string());
    probe
        .run(move |cx| cx.send_exit_meta(alias, Reason::Normal))
        .expect("it lives");
    wait_for_count(&node, "meta_processes", 0);
    release.send(()).expect("it waits");
    stop_clean(&node);
    assert!(reported.try_recv().is_err(), "the results are dropped");
}

#[test]
fn stop_names_the_parent_of_a_meta_process_whose_work_does_not_return() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (reports, reported) = mpsc::channel();
    let (release, gate) = mpsc::channel();
    let gate = Some(gate);
    let alias = probe.spawn_meta(Works { reports, gate });
    node.send(alias, "block").expect("it lives");
    assert_eq!(reported.recv_timeout(LIMIT).expect("a report"), "began");
    let report = node.stop_with(StopOptions::default().with_timeout(Duration::from_millis(100)));
    drop(release);
    assert_eq!(report.working, [probe.pid]);
}
