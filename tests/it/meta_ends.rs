//! Meta-processes of users that finish something before they end, and that time more than one thing.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{MessageTcp, StopOptions};

use crate::support::*;

/// What the meta-process reports.
#[derive(Debug, PartialEq)]
enum Told {
    Exit(Reason),
    Stop,
    Message(&'static str),
    Timer,
    End(Reason),
}

/// Accepts bytes, and ends when it is sent `"done"` behind an exit signal.
struct Slow {
    tell: Sender<Told>,
    ending: Option<Reason>,
    patience: Option<Duration>,
}

impl Slow {
    fn new(patience: Option<Duration>) -> (Self, Receiver<Told>) {
        let (tell, told) = mpsc::channel();
        let slow = Self {
            tell,
            ending: None,
            patience,
        };
        (slow, told)
    }

    fn tell(&self, what: Told) {
        // The test may have ended.
        let _ = self.tell.send(what);
    }
}

impl MetaProcess for Slow {
    fn handle_message(
        &mut self,
        cx: &mut MetaContext<'_>,
        _: Pid,
        message: Message,
    ) -> Result<(), Reason> {
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
                text => self.tell(Told::Message(text)),
            },
        }
        Ok(())
    }

    fn handle_timer(&mut self, _: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.tell(Told::Timer);
        Ok(())
    }

    fn handle_stop(&mut self, _: &mut MetaContext<'_>) -> Result<(), Reason> {
        self.tell(Told::Stop);
        Ok(())
    }

    fn handle_exit(&mut self, cx: &mut MetaContext<'_>, reason: Reason) -> Result<(), Reason> {
        self.tell(Told::Exit(reason.clone()));
        self.ending = Some(reason);
        if let Some(patience) = self.patience {
            cx.end_within(patience);
        } else {
            cx.send_after("done", Duration::from_millis(20));
        }
        Ok(())
    }

    fn terminate(&mut self, _: &mut MetaContext<'_>, reason: &Reason) {
        self.tell(Told::End(reason.clone()));
    }

    fn output_limit(&self) -> u32 {
        1 << 20
    }
}

#[track_caller]
fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(LIMIT).expect("a report")
}

#[test]
fn meta_process_finishes_before_it_ends_with_the_reason_of_its_exit() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, told) = Slow::new(None);
    let alias = probe.spawn_meta(slow);
    let monitor = probe.run(move |cx| cx.monitor(alias));
    probe
        .run(move |cx| cx.send_exit_meta(alias, Reason::error("enough")))
        .expect("it lives");
    assert_eq!(next(&told), Told::Exit(Reason::error("enough")));
    // It is still there and takes bytes.
    probe
        .run(move |cx| cx.send_alias(alias, MessageTcp::new(alias, "bytes")))
        .expect("accepted");
    assert_eq!(next(&told), Told::End(Reason::error("enough")));
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
    let (slow, told) = Slow::new(Some(patience));
    let alias = probe.spawn_meta(slow);
    let began = Instant::now();
    probe
        .run(move |cx| cx.send_exit_meta(alias, Reason::Shutdown))
        .expect("it lives");
    assert_eq!(next(&told), Told::Exit(Reason::Shutdown));
    assert_eq!(next(&told), Told::End(Reason::Kill));
    assert!(began.elapsed() >= patience);
    wait_for_count(&node, "meta_processes", 0);
    stop_clean(&node);
}

#[test]
fn end_of_the_parent_lets_a_meta_process_finish() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, told) = Slow::new(None);
    probe.spawn_meta(slow);
    probe.start(|_| Err(Reason::error("the parent")));
    assert_eq!(next(&told), Told::Exit(Reason::error("the parent")));
    assert_eq!(next(&told), Told::End(Reason::error("the parent")));
    stop_clean(&node);
}

#[test]
fn stop_of_a_node_waits_for_a_meta_process_that_finishes() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, told) = Slow::new(None);
    probe.spawn_meta(slow);
    stop_clean(&node);
    let all: Vec<_> = told.try_iter().collect();
    assert_eq!(
        all,
        [
            Told::Stop,
            Told::Exit(Reason::Shutdown),
            Told::End(Reason::Shutdown)
        ]
    );
}

#[test]
fn stop_of_a_node_cuts_off_a_meta_process_that_does_not_finish() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, told) = Slow::new(Some(Duration::from_secs(3_600)));
    probe.spawn_meta(slow);
    let options = StopOptions::default().with_timeout(Duration::from_millis(200));
    let report = node.stop_with(options);
    assert_eq!(report.unflushed, 1, "{report}");
    let last = told.try_iter().last();
    assert!(matches!(last, Some(Told::End(Reason::Kill))), "{last:?}");
}

#[test]
fn meta_process_has_several_timers_and_cancels_one() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (slow, told) = Slow::new(None);
    let alias = probe.spawn_meta(slow);
    node.send(alias, "timers").expect("it lives");
    assert_eq!(next(&told), Told::Message("soon"));
    assert_eq!(next(&told), Told::Timer);
    assert_eq!(next(&told), Told::Message("later"));
    assert_eq!(count(&node, "timers"), 0);
    // What is left is dropped with the node, or when its time comes.
    node.send(alias, "timers").expect("it lives");
    stop_clean(&node);
}
