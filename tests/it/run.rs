//! `Node::run`: the root's end, signals, and the report; monitors from outside.

use std::error::Error as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{ChildFailed, Error, RequestError};

use crate::support::*;

/// Ends by itself with a reason, at the first message, which it sends to itself.
struct Ends(Reason);

impl Actor for Ends {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.send(cx.pid(), ())?;
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        Err(self.0.clone())
    }
}

/// Quiet: the records of expected ends are not for the output of the tests.
fn quiet() -> NodeOptions {
    NodeOptions::from("test@localhost").with_logger(longshore::Logger::none())
}

#[test]
fn run_returns_the_report_when_the_root_is_done() {
    for reason in [Reason::Normal, Reason::Shutdown] {
        let report = Node::run(quiet(), || Ends(reason)).expect("no error");
        assert!(report.is_clean(), "{report}");
    }
}

#[test]
fn run_names_the_root_that_failed() {
    let named = SpawnOptions::default().with_name("root");
    let error = Node::run_with(quiet(), named, || Ends(Reason::error("no paper"))).unwrap_err();
    let text = error.to_string();
    let Error::Root {
        pid,
        name,
        actor,
        reason,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(name, Some(Name::from("root")));
    assert_eq!(reason, Reason::error("no paper"));
    assert!(actor.ends_with("run::Ends"), "{actor}");
    assert_eq!(
        text,
        format!("the root process {pid} ({actor}) ended: no paper")
    );
}

#[test]
fn supervisor_that_gave_up_as_the_root_has_the_failed_child_as_its_source() {
    struct Fails;
    impl Actor for Fails {
        fn init(&mut self, _: &mut Context<'_>) -> Handled {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))?
        }
    }
    let child = || Child::new("printer", || Fails);
    let inner = Child::new("inner", move || {
        Supervisor::one_for_one().with_child(child())
    });
    let error = Node::run(quiet(), || Supervisor::one_for_one().with_child(inner)).unwrap_err();
    let outer = error.source().expect("the child of the root");
    let outer = outer.downcast_ref::<ChildFailed>().expect("its type");
    assert_eq!(outer.child, Name::from("inner"));
    let inner = outer.source().expect("the child of the child");
    let inner = inner.downcast_ref::<ChildFailed>().expect("its type");
    assert_eq!(inner.child, Name::from("printer"));
    let cause = inner.source().expect("the error of the child");
    let cause = cause.downcast_ref::<std::io::Error>().expect("its type");
    assert_eq!(cause.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn root_whose_init_fails_is_an_error_of_the_spawn() {
    struct Fails;
    impl Actor for Fails {
        fn init(&mut self, _: &mut Context<'_>) -> Handled {
            Err(Reason::error("no paper"))
        }
    }
    let error = Node::run(quiet(), || Fails).unwrap_err();
    assert!(matches!(error, Error::Spawn(_)), "{error:?}");
}

#[test]
fn run_inside_the_runtime_is_an_error() {
    let node = node();
    let probe = Probe::spawn(&node);
    let error = probe.run(|_| Node::run(quiet(), || Ends(Reason::Normal)).unwrap_err());
    assert!(
        matches!(error, Error::Request(RequestError::WouldBlockRuntime)),
        "{error:?}"
    );
    stop_clean(&node);
}

#[test]
fn node_that_is_stopped_from_inside_returns_its_report() {
    struct Stops;
    impl Actor for Stops {
        fn init(&mut self, cx: &mut Context<'_>) -> Handled {
            cx.send(cx.pid(), ())?;
            Ok(())
        }
        fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
            cx.stop_node();
            Ok(())
        }
    }
    let report = within_limit("the stop", || Node::run(quiet(), || Stops));
    assert!(report.expect("no error").is_clean());
}

// ---- Signals ----

/// Prints that it is there, and then, if it is to hang, never ends its exit.
struct Stays {
    hangs: bool,
}

impl Actor for Stays {
    fn init(&mut self, _: &mut Context<'_>) -> Handled {
        println!("running");
        Ok(())
    }

    fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
        println!("terminating");
        if self.hangs {
            let (_gate, opened) = mpsc::channel::<()>();
            let _ = opened.recv();
        }
    }
}

const ROLE: &str = "LONGSHORE_SIGNALS";

/// Runs the test named in a process of its own, which plays the role.
fn play(test: &str, role: &str, stderr: Stdio) -> Played {
    let mut child = Command::new(std::env::current_exe().expect("the test binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("the test binary runs");
    let (sender, lines) = mpsc::channel();
    let output = child.stdout.take().expect("a pipe");
    std::thread::spawn(move || {
        use std::io::BufRead;
        for line in std::io::BufReader::new(output)
            .lines()
            .map_while(Result::ok)
        {
            let _ = sender.send(line);
        }
    });
    Played { child, lines }
}

struct Played {
    child: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Played {
    #[track_caller]
    fn prints(&self, word: &str) {
        loop {
            let line = value_of(&self.lines).expect(word);
            if line.ends_with(word) {
                return;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill").success());
    }

    fn status(mut self) -> std::process::ExitStatus {
        within_limit("the process", move || self.child.wait().expect("it ends"))
    }
}

fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

#[test]
fn first_signal_stops_the_node_in_its_phases() {
    const NAME: &str = "run::first_signal_stops_the_node_in_its_phases";
    if role().is_some() {
        let report = Node::run(quiet(), || Stays { hangs: false }).expect("no error");
        println!("\n{report:?} clean={}", report.is_clean());
        return;
    }
    for signal in ["-TERM", "-INT"] {
        let played = play(NAME, "stays", Stdio::null());
        played.prints("running");
        played.signal(signal);
        played.prints("terminating");
        played.prints("clean=true");
        assert!(played.status().success());
    }
}

#[test]
fn second_signal_has_its_default_action() {
    use std::os::unix::process::ExitStatusExt;
    const NAME: &str = "run::second_signal_has_its_default_action";
    if role().is_some() {
        let _ = Node::run(quiet(), || Stays { hangs: true });
        return;
    }
    let played = play(NAME, "hangs", Stdio::null());
    played.prints("running");
    played.signal("-INT");
    played.prints("terminating");
    played.signal("-TERM");
    assert_eq!(played.status().signal(), Some(15));
}

#[test]
fn signals_have_their_default_action_when_run_has_returned() {
    use std::os::unix::process::ExitStatusExt;
    const NAME: &str = "run::signals_have_their_default_action_when_run_has_returned";
    if role().is_some() {
        for _ in 0..3 {
            Node::run(quiet(), || Ends(Reason::Normal)).expect("no error");
        }
        println!("\nreturned");
        let (_gate, opened) = mpsc::channel::<()>();
        let _ = opened.recv();
        return;
    }
    let played = play(NAME, "returns", Stdio::null());
    played.prints("returned");
    played.signal("-TERM");
    assert_eq!(played.status().signal(), Some(15));
}

#[test]
fn two_runs_at_once_both_stop_at_the_first_signal() {
    const NAME: &str = "run::two_runs_at_once_both_stop_at_the_first_signal";
    if role().is_some() {
        let run = || Node::run(quiet(), || Stays { hangs: false }).expect("no error");
        let other = std::thread::spawn(run);
        assert!(run().is_clean());
        assert!(other.join().expect("no panic").is_clean());
        println!("\nboth");
        return;
    }
    let played = play(NAME, "two", Stdio::null());
    played.prints("running");
    played.prints("running");
    played.signal("-TERM");
    played.prints("both");
    assert!(played.status().success());
}

#[test]
fn signal_for_a_dump_writes_it_and_the_node_goes_on() {
    const NAME: &str = "run::signal_for_a_dump_writes_it_and_the_node_goes_on";
    if role().is_some() {
        Node::run(quiet(), || Stays { hangs: false }).expect("no error");
        return;
    }
    let mut played = play(NAME, "dumps", Stdio::piped());
    let mut erred = std::io::BufReader::new(played.child.stderr.take().expect("a pipe"));
    played.prints("running");
    let mut dumped = || {
        let (mut text, mut line) = (String::new(), String::new());
        // Its last section; it has no timer.
        while line != "== timers\n" {
            line.clear();
            let read = std::io::BufRead::read_line(&mut erred, &mut line).expect("text");
            assert!(read > 0, "{text}");
            text.push_str(&line);
        }
        text
    };
    for _ in 0..2 {
        played.signal("-USR1");
        let text = dumped();
        assert!(text.starts_with("== node test@localhost"), "{text}");
        assert!(text.contains("run::Stays"), "{text}");
        assert!(text.contains("longshore_processes 1"), "{text}");
    }
    played.signal("-TERM");
    assert!(played.status().success());
}

// ---- Monitors from outside ----

#[test]
fn monitor_from_outside_reports_the_end_of_a_process_and_of_a_meta_process() {
    let node = node_with(quiet());
    let probe = Probe::spawn(&node);
    let (_, listener) = probe.listen(TcpServerOptions::default());
    let monitors = [node.monitor(listener), node.monitor(probe.pid)];
    assert_eq!(
        monitors[1].wait_until(Instant::now()),
        Err(RequestError::Timeout)
    );
    node.send_exit(listener, Reason::error("closed"))
        .expect("alive");
    assert_eq!(monitors[0].wait(), Ok(Reason::error("closed")));
    node.send_exit(probe.pid, Reason::Kill).expect("alive");
    assert_eq!(monitors[1].wait(), Ok(Reason::Kill));
    for gone in [
        Target::from(listener),
        Target::from(probe.pid),
        Target::from("absent"),
    ] {
        let deadline = Instant::now() + LIMIT;
        assert_eq!(
            node.monitor(gone).wait_until(deadline),
            Ok(Reason::NoProcess)
        );
    }
    stop_clean(&node);
}

#[test]
fn monitor_from_outside_is_a_future() {
    let node = node_with(quiet());
    let pid = node.spawn(|| Ends(Reason::Kill)).expect("spawned");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let other = node.spawn(|| Stays { hangs: false }).expect("spawned");
    let both = async {
        let first = node.monitor(pid).await;
        node.send_exit(other, Reason::Shutdown).expect("alive");
        (first, node.monitor(other).await)
    };
    let (first, second) = runtime.block_on(both);
    assert!(matches!(first, Reason::Kill | Reason::NoProcess), "{first}");
    assert!(
        matches!(second, Reason::Shutdown | Reason::NoProcess),
        "{second}"
    );
    stop_clean(&node);
}

#[test]
fn stop_with_something_cut_off_is_an_error_with_the_report() {
    let node = node_with(quiet());
    let probe = Probe::spawn(&node);
    let gate = probe.block();
    let options = longshore::StopOptions::default().with_timeout(Duration::from_millis(50));
    let report = node.stop_with(options);
    let error = node.wait().expect_err("not clean");
    assert!(matches!(error, Error::Stopped(cut) if cut == report));
    drop(gate);
}
