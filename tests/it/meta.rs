//! Meta-processes in general: a user's own meta-process, observed from outside.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{Inspection, RequestError, SendErrorKind, SpawnError, StopOptions};

use crate::support::*;

on_both! {
    meta_process_is_called_sent_to_and_inspected_by_its_alias,
    meta_process_spawns_a_child_of_the_same_parent,
    meta_process_ends_with_the_reason_of_its_exit_signal,
    links_and_monitors_on_an_alias_get_its_reason,
    monitor_and_link_on_a_stale_alias_answer_at_once,
    end_of_a_linked_process_ends_the_meta_process,
    parents_end_reaches_its_meta_processes_with_the_same_reason,
    requests_to_a_meta_process_that_drops_them_panics_or_ends_are_answered_at_once,
    a_call_that_was_asked_for_comes_once_and_says_so,
    a_timer_that_is_withdrawn_does_not_fire,
    failing_init_of_a_meta_process_ends_it_with_the_reason,
    a_family_without_an_end_ends_with_its_node,
    a_message_sent_to_a_child_right_after_its_spawn_arrives,
    panics_of_a_meta_process_end_it_alone,
    spawning_a_meta_process_fails_once_the_parent_has_ended,
}

/// What the meta-process reports to the test.
#[derive(Debug)]
enum Report {
    Init(Alias, Pid),
    Message(Pid, Message),
    Timer(Instant),
    Ready(Readiness),
    Resume,
    End(Reason),
}

/// A meta-process that reports every callback and runs what it is sent.
struct Own {
    reports: Sender<Report>,
    source: Option<UnixStream>,
}

type Deed = Box<dyn FnOnce(&mut MetaContext<'_>) -> Handled + Send>;

impl Own {
    fn new() -> (Self, Receiver<Report>) {
        let (reports, reported) = mpsc::channel();
        (
            Self {
                reports,
                source: None,
            },
            reported,
        )
    }

    fn report(&self, what: Report) {
        let _ = self.reports.send(what);
    }
}

impl MetaProcess for Own {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        self.report(Report::Init(cx.alias(), cx.parent()));
        if let Some(source) = &self.source {
            cx.register(source)?;
        }
        Ok(())
    }

    fn ready(&mut self, _: &mut MetaContext<'_>, readiness: Readiness) -> Handled {
        self.report(Report::Ready(readiness));
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut MetaContext<'_>, from: Pid, message: Message) -> Handled {
        match message.downcast::<Deed>().map_err(Message::from) {
            Ok(deed) => deed(cx),
            Err(message) => {
                self.report(Report::Message(from, message));
                Ok(())
            }
        }
    }

    fn handle_call(
        &mut self,
        cx: &mut MetaContext<'_>,
        _: Pid,
        message: Message,
        reply: Reply,
    ) -> Handled {
        match message.downcast::<&str>() {
            Ok("child") => {
                let (child, reported) = Self::new();
                let alias = cx.spawn_meta(child)?;
                reply.send((alias, reported));
            }
            Ok("drop") => drop(reply),
            Ok("panic") => panic!("asked to"),
            Ok(text) => reply.send(text.len()),
            Err(_) => {}
        }
        Ok(())
    }

    fn handle_timer(&mut self, _: &mut MetaContext<'_>) -> Handled {
        self.report(Report::Timer(Instant::now()));
        Ok(())
    }

    fn handle_resume(&mut self, _: &mut MetaContext<'_>) -> Handled {
        self.report(Report::Resume);
        Ok(())
    }

    fn handle_inspect(&self) -> Inspection {
        let mut inspection = Inspection::default();
        inspection.add("kind", "own");
        inspection
    }

    fn terminate(&mut self, _: &mut MetaContext<'_>, reason: &Reason) {
        self.report(Report::End(reason.clone()));
    }
}

fn deed(deed: impl FnOnce(&mut MetaContext<'_>) -> Handled + Send + 'static) -> Deed {
    Box::new(deed)
}

#[track_caller]
fn next(reported: &Receiver<Report>) -> Report {
    value_of(reported).expect("the meta-process reports something")
}

#[track_caller]
fn end(reported: &Receiver<Report>) -> Reason {
    loop {
        if let Report::End(reason) = next(reported) {
            return reason;
        }
    }
}

/// A started meta-process of this kind, as a child of the probe.
fn own(parent: &Probe) -> (Alias, Receiver<Report>) {
    let (own, reported) = Own::new();
    let alias = parent.spawn_meta(own);
    let Report::Init(me, its_parent) = next(&reported) else {
        panic!("init comes first")
    };
    assert_eq!((me, its_parent), (alias, parent.pid));
    (alias, reported)
}

#[test]
fn meta_process_is_called_sent_to_and_inspected_by_its_alias() {
    let node = node();
    let (parent, other) = (Probe::spawn(&node), Probe::spawn(&node));
    let (alias, reported) = own(&parent);

    assert_eq!(
        node.call(alias, "four", LIMIT)
            .expect("answered")
            .downcast::<usize>()
            .expect("a length"),
        4
    );
    let request = other
        .run(move |cx| cx.request(alias, "seven77", LIMIT))
        .expect("delivered");
    let reply = other.reply();
    assert_eq!(reply.request, request);
    assert_eq!(
        reply
            .result
            .expect("answered")
            .downcast::<usize>()
            .expect("a length"),
        7
    );

    other.run(move |cx| cx.send(alias, 5_u8)).expect("accepted");
    let Report::Message(from, message) = next(&reported) else {
        panic!("a message")
    };
    assert_eq!(
        (from, message.downcast::<u8>().expect("a byte")),
        (other.pid, 5)
    );
    node.send_alias(alias, 6_u8).expect("accepted");
    let Report::Message(from, _) = next(&reported) else {
        panic!("a message")
    };
    assert_eq!(from, Pid::NODE);

    let inspection = inspect(&node, alias);
    assert_eq!(inspection.value("kind"), Some("own"));
    assert_eq!(inspection.value("alias"), Some(&*alias.to_string()));
    assert_eq!(inspection.value("parent"), Some(&*parent.pid.to_string()));
    let request = other
        .run(move |cx| cx.inspect(alias, LIMIT))
        .expect("delivered");
    let reply = other.reply();
    assert_eq!(reply.request, request);
    assert_eq!(
        reply
            .result
            .expect("answered")
            .downcast::<Inspection>()
            .expect("pairs")
            .value("kind"),
        Some("own")
    );
    stop_clean(&node);
}

#[test]
fn meta_process_spawns_a_child_of_the_same_parent() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (alias, _reported) = own(&parent);
    let answer = node.call(alias, "child", LIMIT).expect("answered");
    let (child, child_reports) = answer
        .downcast::<(Alias, Receiver<Report>)>()
        .expect("a child");
    let Report::Init(me, its_parent) = next(&child_reports) else {
        panic!("init comes first")
    };
    assert_eq!((me, its_parent), (child, parent.pid));
    // All are children of the process: the end of the first does not affect the second, the end of the parent does.
    parent
        .run(move |cx| cx.send_exit_meta(alias, Reason::Shutdown))
        .expect("it lives");
    wait_for_count(&node, "meta_processes", 1);
    node.send_exit(parent.pid, Reason::error("over"))
        .expect("it lives");
    assert_eq!(end(&child_reports), Reason::error("over"));
    stop_clean(&node);
}

#[test]
fn meta_process_ends_with_the_reason_of_its_exit_signal() {
    let node = node();
    let parent = Probe::spawn(&node);
    for reason in [
        Reason::Normal,
        Reason::Shutdown,
        Reason::Kill,
        Reason::error("custom"),
    ] {
        let (alias, reported) = own(&parent);
        node.send_exit_meta(alias, reason.clone())
            .expect("it lives");
        assert_eq!(end(&reported), reason);
        wait_for_count(&node, "meta_processes", 0);
        assert_eq!(
            node.send_exit_meta(alias, Reason::Kill),
            Err(SendErrorKind::NoMeta)
        );
        let error = node.send_alias(alias, 1_u8).expect_err("stale");
        assert_eq!(error.kind(), SendErrorKind::NoMeta);
        assert_eq!(
            error
                .into_message()
                .downcast::<u8>()
                .expect("the message comes back"),
            1
        );
        assert!(matches!(
            node.call(alias, "x", LIMIT),
            Err(RequestError::NotDelivered(SendErrorKind::NoMeta))
        ));
    }
    stop_clean(&node);
}

#[test]
fn links_and_monitors_on_an_alias_get_its_reason() {
    let node = node();
    let parent = Probe::spawn(&node);
    for reason in [
        Reason::Normal,
        Reason::Shutdown,
        Reason::Kill,
        Reason::error("custom"),
    ] {
        let (linked, watching, plain) = (
            Probe::spawn(&node),
            Probe::spawn(&node),
            Probe::spawn(&node),
        );
        let (alias, _reported) = own(&parent);
        linked.run(move |cx| {
            cx.set_trap_exit(true);
            cx.link(alias).expect("it lives");
        });
        let monitor = watching.run(move |cx| cx.monitor(alias));
        plain.run(move |cx| cx.link(alias)).expect("it lives");
        // The links and the monitor travel to the loop on their own, and the call is queued after them.
        node.call(alias, "x", LIMIT).expect("answered");
        node.send_exit_meta(alias, reason.clone())
            .expect("it lives");
        let exit = linked.exit();
        assert_eq!((exit.from, &exit.reason), (Target::Alias(alias), &reason));
        let down = watching.down();
        assert_eq!(
            (down.monitor, down.target, &down.reason),
            (monitor, Target::Alias(alias), &reason)
        );
        if reason == Reason::Normal {
            plain.saw_nothing();
        } else {
            assert_eq!(plain.end(), reason);
        }
        for probe in [&linked, &watching] {
            let inspection = inspect(&node, probe.pid);
            assert_eq!(
                (inspection.number("links"), inspection.number("monitors")),
                (Some(0), Some(0))
            );
        }
    }
    stop_clean(&node);
}

#[test]
fn monitor_and_link_on_a_stale_alias_answer_at_once() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (alias, reported) = own(&parent);
    node.send_exit_meta(alias, Reason::Shutdown)
        .expect("it lives");
    end(&reported);
    wait_for_count(&node, "meta_processes", 0);
    let monitor = parent.run(move |cx| cx.monitor(alias));
    let down = parent.down();
    assert_eq!((down.monitor, down.reason), (monitor, Reason::NoProcess));
    parent
        .run(move |cx| {
            cx.set_trap_exit(true);
            cx.link(alias)
        })
        .expect("it answers by a signal");
    assert_eq!(parent.exit().reason, Reason::NoProcess);
    stop_clean(&node);
}

#[test]
fn end_of_a_linked_process_ends_the_meta_process() {
    let node = node();
    let (parent, linked) = (Probe::spawn(&node), Probe::spawn(&node));
    let (alias, reported) = own(&parent);
    linked.run(move |cx| cx.link(alias)).expect("it lives");
    node.call(alias, "x", LIMIT).expect("answered");
    node.send_exit(linked.pid, Reason::error("custom"))
        .expect("it lives");
    assert_eq!(end(&reported), Reason::error("custom"));
    parent.saw_nothing();
    stop_clean(&node);
}

#[test]
fn parents_end_reaches_its_meta_processes_with_the_same_reason() {
    let node = node();
    silence_expected_panics();
    for reason in [
        Reason::Normal,
        Reason::Shutdown,
        Reason::Kill,
        Reason::error("custom"),
    ] {
        let parent = Probe::spawn(&node);
        let (_, first) = own(&parent);
        let (_, second) = own(&parent);
        node.send_exit(parent.pid, reason.clone())
            .expect("it lives");
        assert_eq!((end(&first), end(&second)), (reason.clone(), reason));
    }
    let parent = Probe::spawn(&node);
    let (_, reported) = own(&parent);
    parent.start(|_| panic!("boom"));
    assert_eq!(end(&reported), Reason::Panic("boom".into()));
    stop_clean(&node);
}

#[test]
fn requests_to_a_meta_process_that_drops_them_panics_or_ends_are_answered_at_once() {
    silence_expected_panics();
    let node = node();
    let parent = Probe::spawn(&node);
    let (alias, reported) = own(&parent);
    assert_eq!(
        node.call(alias, "drop", LIMIT).expect_err("dropped"),
        RequestError::Dropped
    );
    assert_eq!(
        node.call(alias, "panic", LIMIT).expect_err("dropped"),
        RequestError::Dropped
    );
    assert_eq!(end(&reported), Reason::Panic("asked to".into()));
    // One handler sends two messages: the second finds the meta-process terminated by the first.
    let (alias, _reported) = own(&parent);
    let requests = parent.run(move |cx| {
        [
            cx.request(alias, "panic", LIMIT),
            cx.request(alias, "x", LIMIT),
        ]
    });
    for request in requests {
        assert_eq!(
            parent.unanswered(request.expect("delivered")),
            RequestError::Dropped
        );
    }
    stop_clean(&node);
}

#[test]
fn own_event_source_is_ready_when_bytes_arrive_and_when_the_other_end_closes() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (mut here, there) = UnixStream::pair().expect("a pair");
    there.set_nonblocking(true).expect("non-blocking");
    let (mut own, reported) = Own::new();
    own.source = Some(there);
    parent.spawn_meta(own);
    let ready = |wanted: fn(Readiness) -> bool| {
        loop {
            match next(&reported) {
                Report::Ready(readiness) if wanted(readiness) => return,
                _ => {}
            }
        }
    };
    ready(Readiness::is_writable);
    here.write_all(b"x").expect("written");
    ready(Readiness::is_readable);
    drop(here);
    ready(Readiness::is_read_closed);
    stop_clean(&node);
}

#[test]
fn a_call_that_was_asked_for_comes_once_and_says_so() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (alias, reported) = own(&parent);
    let ask = deed(|cx| {
        cx.call_again();
        cx.call_again();
        Ok(())
    });
    parent
        .run(move |cx| cx.send_alias(alias, ask))
        .expect("it lives");
    let Report::Ready(readiness) = next(&reported) else {
        panic!("ready")
    };
    assert!(
        readiness.is_again() && !readiness.is_readable() && !readiness.is_writable(),
        "{readiness:?}"
    );
    parent
        .run(move |cx| cx.send_alias(alias, "last"))
        .expect("it lives");
    assert!(matches!(next(&reported), Report::Message(..)));
    stop_clean(&node);
}

#[test]
fn a_meta_process_that_a_full_mailbox_refused_is_resumed_when_there_is_room() {
    let node = node();
    let parent = Probe::spawn_with(&node, SpawnOptions::default().with_mailbox_bound(2));
    let other = Probe::spawn(&node);
    let (alias, reported) = own(&parent);
    let full = parent.pid;
    let gate = parent.block();
    let (reports, sent) = mpsc::channel();
    let flood = deed(move |cx| {
        for number in 0..4_u8 {
            let refused = cx.send(full, number).err();
            let refused = refused.map(|error| {
                (
                    error.kind(),
                    error.into_message().downcast::<u8>().expect("it is back"),
                )
            });
            reports.send(refused)?;
        }
        Ok(())
    });
    other
        .run(move |cx| cx.send_alias(alias, flood))
        .expect("it lives");
    let sent: Vec<_> = sent.iter().collect();
    assert_eq!(
        sent,
        [
            None,
            None,
            Some((SendErrorKind::MailboxFull, 2)),
            Some((SendErrorKind::MailboxFull, 3))
        ]
    );
    drop(gate);
    assert!(matches!(next(&reported), Report::Resume));
    assert_eq!((parent.value::<u8>(), parent.value::<u8>()), (0, 1));
    stop_clean(&node);
}

#[test]
fn a_timer_that_is_set_again_fires_at_the_later_time_only() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (alias, reported) = own(&parent);
    let started = Instant::now();
    node.send_alias(
        alias,
        deed(|cx| {
            cx.set_timer(Some(Duration::from_millis(20)));
            Ok(())
        }),
    )
    .expect("accepted");
    node.send_alias(
        alias,
        deed(|cx| {
            cx.set_timer(Some(Duration::from_millis(200)));
            Ok(())
        }),
    )
    .expect("accepted");
    let Report::Timer(fired) = next(&reported) else {
        panic!("the timer")
    };
    assert!(
        fired - started >= Duration::from_millis(200),
        "{:?}",
        fired - started
    );
    assert_eq!(count(&node, "timers"), 0);
    stop_clean(&node);
}

#[test]
fn a_timer_that_is_withdrawn_does_not_fire() {
    let node = node();
    let parent = Probe::spawn(&node);
    let (alias, reported) = own(&parent);
    for delay in [Some(Duration::from_millis(5)), None] {
        node.send_alias(
            alias,
            deed(move |cx| {
                cx.set_timer(delay);
                Ok(())
            }),
        )
        .expect("accepted");
    }
    node.call(alias, "x", LIMIT).expect("answered");
    let timers = count(&node, "timers");
    // On a slow machine the timer may have fired before it was canceled.
    if reported.try_recv().is_err() {
        assert_eq!(timers, 0);
    }
    stop_clean(&node);
}

#[test]
fn failing_init_of_a_meta_process_ends_it_with_the_reason() {
    struct Failing(Sender<Reason>);
    impl MetaProcess for Failing {
        fn init(&mut self, _: &mut MetaContext<'_>) -> Handled {
            Err(Reason::error("no"))
        }
        fn terminate(&mut self, _: &mut MetaContext<'_>, reason: &Reason) {
            let _ = self.0.send(reason.clone());
        }
    }
    let node = node();
    let parent = Probe::spawn(&node);
    let (sender, ended) = mpsc::channel();
    let monitor = parent.run(|cx| {
        let alias = cx.spawn_meta(Failing(sender)).expect("spawned");
        cx.monitor(alias)
    });
    assert_eq!(value_of(&ended).expect("terminate"), Reason::error("no"));
    let down = parent.down();
    assert_eq!(down.monitor, monitor);
    // The monitor may reach the loop before or after the end.
    assert!(
        [Reason::error("no"), Reason::NoProcess].contains(&down.reason),
        "{}",
        down.reason
    );
    assert_eq!(inspect(&node, parent.pid).number("meta_processes"), Some(0));
    stop_clean(&node);
}

#[test]
fn a_family_without_an_end_does_not_hold_up_its_stripe() {
    /// Spawns the next meta-process and fails.
    struct Heir(Arc<AtomicBool>);
    impl MetaProcess for Heir {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
            if !self.0.load(Ordering::Relaxed) {
                cx.spawn_meta(Self(Arc::clone(&self.0)))?;
            }
            Err(Reason::Normal)
        }
    }
    // There is one worker and one stripe, so a meta-process that does not yield occupies both.
    let node = node_with(
        NodeOptions::from("test@localhost")
            .with_workers(1)
            .with_stripes(1),
    );
    let parent = Probe::spawn(&node);
    let (addr, _) = parent.listen(TcpServerOptions::default());
    let over = Arc::new(AtomicBool::new(false));
    parent.spawn_meta(Heir(Arc::clone(&over)));
    let mut client = client(addr);
    let connection = parent.connect();
    parent.write(connection.id, "served");
    let mut answer = [0; 6];
    client.read_exact(&mut answer).expect("the answer");
    assert_eq!(&answer, b"served");
    over.store(true, Ordering::Relaxed);
    drop(client);
    stop_clean(&node);
}

#[test]
fn a_family_without_an_end_ends_with_its_node() {
    struct Heir;
    impl MetaProcess for Heir {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
            cx.spawn_meta(Self)?;
            Err(Reason::Normal)
        }
    }
    let node = node_with(
        NodeOptions::from("test@localhost")
            .with_workers(1)
            .with_stripes(1),
    );
    Probe::spawn(&node).spawn_meta(Heir);
    stop_clean(&node);
}

#[test]
fn a_message_sent_to_a_child_right_after_its_spawn_arrives() {
    struct Parent(Arc<AtomicUsize>);
    struct Child(Arc<AtomicUsize>);
    impl MetaProcess for Parent {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
            let child = cx.spawn_meta(Child(Arc::clone(&self.0)))?;
            cx.send(child, "hello")?;
            Err(Reason::Normal)
        }
    }
    impl MetaProcess for Child {
        fn handle_message(&mut self, _: &mut MetaContext<'_>, _: Pid, _: Message) -> Handled {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(Reason::Normal)
        }
    }
    for stripes in [1, 2] {
        let node = node_with(
            NodeOptions::from("test@localhost")
                .with_workers(2)
                .with_stripes(stripes),
        );
        let heard = Arc::new(AtomicUsize::new(0));
        let parent = Probe::spawn(&node);
        let each = Arc::clone(&heard);
        parent.start(move |cx| {
            for _ in 0..1_000 {
                cx.spawn_meta(Parent(Arc::clone(&each)))?;
            }
            Ok(())
        });
        wait_until("every child", || heard.load(Ordering::Relaxed) == 1_000);
        stop_clean(&node);
    }
}

/// The stop reaches the stripe while it runs another meta-process, and before it runs one that spawns a listener: that
/// meta-process does not know the stop yet.
#[test]
fn a_listener_that_is_born_during_a_stop_is_closed_at_once() {
    struct Late(Option<TcpServer>);
    impl MetaProcess for Late {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
            cx.spawn_meta(self.0.take().expect("one listener"))?;
            Ok(())
        }
    }
    let node = node_with(
        NodeOptions::from("test@localhost")
            .with_workers(2)
            .with_stripes(1),
    );
    let (parent, patient) = (Probe::spawn(&node), Probe::spawn(&node));
    let server =
        TcpServer::bind(TcpServerOptions::default().with_host("127.0.0.1")).expect("bound");
    let addr = server.local_addr();
    let (busy, _reported) = own(&parent);
    let (gate, opened) = mpsc::channel::<()>();
    let (began, is_busy) = mpsc::channel();
    let hold = deed(move |_| {
        let _ = began.send(());
        let _ = value_of(&opened);
        Ok(())
    });
    node.send_alias(busy, hold).expect("accepted");
    value_of(&is_busy).expect("the stripe is at it");
    parent.spawn_meta(Late(Some(server)));
    // Holds the stop in its first phase.
    let held = patient.block();
    let mut options = StopOptions::default();
    options.drain_timeout = 2 * LIMIT;
    let stopping = {
        let node = node.clone();
        std::thread::spawn(move || node.stop_with(options))
    };
    wait_until("no process is spawned any more", || {
        Probe::try_spawn(&node, SpawnOptions::default(), |_| Ok(())).is_err()
    });
    drop(gate);
    let began = Moment::now();
    wait_until("the port is closed", || try_client(addr).is_err());
    assert!(
        began.elapsed() < LIMIT / 2,
        "it was closed at the end of the first phase"
    );
    drop(held);
    stopping.join().expect("no panic");
}

#[test]
fn panics_of_a_meta_process_end_it_alone() {
    struct Hurt(
        &'static str,
        #[expect(dead_code, reason = "it is there to be dropped")] Option<Bomb>,
    );
    impl MetaProcess for Hurt {
        fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
            if self.0 == "init" {
                std::panic::panic_any(Bomb);
            }
            cx.set_timer(Some(Duration::from_millis(1)));
            cx.flush_later();
            cx.call_again();
            Ok(())
        }
        fn ready(&mut self, _: &mut MetaContext<'_>, _: Readiness) -> Handled {
            if self.0 == "ready" {
                std::panic::panic_any(Bomb)
            } else {
                Ok(())
            }
        }
        fn handle_timer(&mut self, _: &mut MetaContext<'_>) -> Handled {
            if self.0 == "timer" {
                std::panic::panic_any(Bomb)
            } else {
                Ok(())
            }
        }
        fn flush(&mut self, _: &mut MetaContext<'_>) -> Handled {
            if self.0 == "flush" {
                std::panic::panic_any(Bomb)
            } else {
                Ok(())
            }
        }
        fn handle_message(&mut self, _: &mut MetaContext<'_>, _: Pid, _: Message) -> Handled {
            if self.0 == "message" {
                std::panic::panic_any(Bomb)
            } else {
                Err(Reason::Normal)
            }
        }
        fn handle_inspect(&self) -> Inspection {
            if self.0 == "inspect" {
                std::panic::panic_any(Bomb)
            } else {
                Inspection::default()
            }
        }
        fn terminate(&mut self, _: &mut MetaContext<'_>, _: &Reason) {
            if self.0 == "terminate" {
                std::panic::panic_any(Bomb);
            }
        }
    }
    silence_expected_panics();
    let node = node_with(NodeOptions::from("test@localhost").with_workers(1));
    let parent = Probe::spawn(&node);
    for place in [
        "init",
        "ready",
        "timer",
        "flush",
        "message",
        "inspect",
        "terminate",
        "drop",
    ] {
        let bomb = (place == "drop").then(|| Bomb);
        let alias = parent.spawn_meta(Hurt(place, bomb));
        if place == "init" {
            let (_, message) = parent.next();
            assert!(matches!(message, Message::MetaFailed(_)), "{message:?}");
        }
        if place == "inspect" {
            node.inspect(alias, LIMIT)
                .expect("an inspection without the panicking part");
        }
        if ["message", "inspect", "terminate", "drop"].contains(&place) {
            node.send_alias(alias, "end").expect("accepted");
        }
        wait_for_count(&node, "meta_processes", 0);
    }
    // The message finds its receiver terminated by the message before it.
    let alias = parent.spawn_meta(Hurt("", None));
    parent.run(move |cx| {
        cx.send_alias(alias, "end").expect("accepted");
        // On a very slow machine the send is refused, and the message comes back without a panic.
        let _ = std::mem::ManuallyDrop::new(cx.send_alias(alias, Bomb));
    });
    wait_for_count(&node, "meta_processes", 0);
    // The only worker is alive and serves.
    let (addr, _) = parent.listen(TcpServerOptions::default());
    let _client = client(addr);
    parent.connect();
    stop_clean(&node);
}

#[test]
fn what_is_sent_right_after_the_spawn_is_never_lost() {
    struct Counting(Arc<AtomicUsize>);
    impl MetaProcess for Counting {
        fn handle_message(&mut self, _: &mut MetaContext<'_>, _: Pid, _: Message) -> Handled {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(Reason::Normal)
        }
    }
    const EACH: usize = 100_000;
    // There is one stripe, so that one worker runs it while the other spawns.
    let node = node_with(
        NodeOptions::from("test@localhost")
            .with_workers(2)
            .with_stripes(1),
    );
    let seen = Arc::new(AtomicUsize::new(0));
    let parents = [Probe::spawn(&node)];
    for parent in &parents {
        let seen = Arc::clone(&seen);
        parent.start(move |cx| {
            for _ in 0..EACH {
                let alias = cx.spawn_meta(Counting(Arc::clone(&seen)))?;
                cx.send_alias(alias, ())?;
            }
            Ok(())
        });
    }
    wait_until("every message", || {
        seen.load(Ordering::Relaxed) == EACH * parents.len()
    });
    wait_for_count(&node, "meta_processes", 0);
    stop_clean(&node);
}

#[test]
fn spawning_a_meta_process_fails_once_the_parent_has_ended() {
    let node = node();
    let (sender, refused) = mpsc::channel();
    struct Late(Sender<SpawnError>);
    impl Actor for Late {
        fn terminate(&mut self, cx: &mut Context<'_>, _: &Reason) {
            let server = TcpServer::bind("127.0.0.1:0").expect("bound");
            let _ = self.0.send(cx.spawn_meta(server).expect_err("too late"));
        }
    }
    let pid = node.spawn(|| Late(sender)).expect("spawned");
    node.send_exit(pid, Reason::Shutdown).expect("it lives");
    assert_eq!(value_of(&refused).expect("terminate"), SpawnError::NoParent);
    assert_eq!(count(&node, "meta_processes"), 0);
    stop_clean(&node);
}
