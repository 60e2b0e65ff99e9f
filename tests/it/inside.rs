//! Blocking calls from inside the runtime: wherever user code runs, a call that would wait for itself returns at once.

use std::io::Write;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{Error, Frame, FrameDecoder, FrameError, Inspection, RequestError, StopOptions};

use crate::support::*;

#[cfg(feature = "nats")]
mod codecs;
mod features;
mod processes;
#[cfg(feature = "tls")]
mod rustls_traits;

type Deed = Box<dyn FnOnce() + Send>;

/// Something to do in one place, once.
#[derive(Clone)]
struct Once(Arc<Mutex<Option<Deed>>>);

/// Does it when it is dropped.
struct OnDrop(Once);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.run();
    }
}

impl Once {
    fn new(deed: impl FnOnce() + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(deed)))))
    }

    fn run(&self) {
        let deed = self.0.lock().expect("no panic").take();
        if let Some(deed) = deed {
            deed();
        }
    }
}

/// What the blocking calls did in one place.
#[derive(Debug)]
struct Outcome {
    thread: String,
    slowest: Duration,
    call: Result<(), RequestError>,
    pending: Result<(), RequestError>,
    waits: bool,
}

fn stop_options() -> StopOptions {
    StopOptions::default().with_timeout(Duration::from_millis(500))
}

/// Tries every call that blocks, the stop last.
fn try_all(node: &Node, silent: Pid) -> Outcome {
    let mut slowest = Duration::ZERO;
    let mut timed = |call: &mut dyn FnMut()| {
        let begun = Instant::now();
        call();
        slowest = slowest.max(begun.elapsed());
    };
    let (mut call, mut pending, mut waits) = (Ok(()), Ok(()), true);
    timed(&mut || call = node.call(silent, "call", LIMIT).map(drop));
    timed(&mut || {
        let asked = node.request(silent, "request");
        let answer = asked.and_then(|asked| asked.wait_until(Instant::now() + LIMIT));
        pending = answer.map(drop);
    });
    timed(&mut || {
        let outcome = node.wait();
        waits = !matches!(
            outcome,
            Err(Error::Request(RequestError::WouldBlockRuntime))
        );
    });
    timed(&mut || drop(node.stop_with(stop_options())));
    timed(&mut || drop(node.stop()));
    Outcome {
        thread: thread::current().name().unwrap_or_default().to_owned(),
        slowest,
        call,
        pending,
        waits,
    }
}

/// Never answers: it keeps the means to.
struct Silent(Vec<Reply>);

impl Actor for Silent {
    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        self.0.push(reply);
        Ok(())
    }
}

/// Where in its life a process or meta-process does the deed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Init,
    Ready,
    Flush,
    Timer,
    Message,
    Call,
    Inspect,
    Terminate,
    Drop,
    PanicPayload,
}

/// A process or meta-process that does the deed at one point.
struct Does(At, Once);

impl Does {
    fn at(&self, at: At) {
        if self.0 == at {
            self.1.run();
        }
    }
}

impl Drop for Does {
    fn drop(&mut self) {
        self.at(At::Drop);
    }
}

impl Actor for Does {
    fn init(&mut self, _: &mut Context<'_>) -> Handled {
        self.at(At::Init);
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        self.at(At::Message);
        if self.0 == At::PanicPayload {
            std::panic::panic_any(OnDrop(self.1.clone()));
        }
        Ok(())
    }

    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, _: Reply) -> Handled {
        self.at(At::Call);
        Ok(())
    }

    fn handle_inspect(&mut self, _: &mut Context<'_>) -> Inspection {
        self.at(At::Inspect);
        Inspection::default()
    }

    fn terminate(&mut self, _: &mut Context<'_>, _: &Reason) {
        self.at(At::Terminate);
    }
}

impl MetaProcess for Does {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        self.at(At::Init);
        cx.call_again();
        cx.flush_later();
        if self.0 == At::Timer {
            cx.set_timer(Some(Duration::from_millis(20)));
        }
        Ok(())
    }

    fn ready(&mut self, _: &mut MetaContext<'_>, _: Readiness) -> Handled {
        self.at(At::Ready);
        Ok(())
    }

    fn flush(&mut self, _: &mut MetaContext<'_>) -> Handled {
        self.at(At::Flush);
        Ok(())
    }

    fn handle_timer(&mut self, _: &mut MetaContext<'_>) -> Handled {
        self.at(At::Timer);
        Ok(())
    }

    fn handle_message(&mut self, _: &mut MetaContext<'_>, _: Pid, _: Message) -> Handled {
        self.at(At::Message);
        if self.0 == At::PanicPayload {
            std::panic::panic_any(OnDrop(self.1.clone()));
        }
        Ok(())
    }

    fn handle_call(&mut self, _: &mut MetaContext<'_>, _: Pid, _: Message, _: Reply) -> Handled {
        self.at(At::Call);
        Ok(())
    }

    fn handle_inspect(&self) -> Inspection {
        self.at(At::Inspect);
        Inspection::default()
    }

    fn terminate(&mut self, _: &mut MetaContext<'_>, _: &Reason) {
        self.at(At::Terminate);
    }
}

/// What is kept until the deed is done.
type Kept = Box<dyn std::any::Any>;

/// Does something in the handler of a process.
fn inside(node: &Node, deed: impl FnOnce(&mut Context<'_>) + Send + 'static) -> Kept {
    let probe = Probe::spawn(node);
    probe.start(move |cx| {
        deed(cx);
        Ok(())
    });
    Box::new(probe)
}

fn process(node: &Node, at: At, once: Once) -> Pid {
    node.spawn(|| Does(at, once)).expect("spawned")
}

fn meta(node: &Node, at: At, once: Once) -> (Alias, Probe) {
    let probe = Probe::spawn(node);
    (probe.spawn_meta(Does(at, once)), probe)
}

/// Keeps the only worker in a handler until what is returned is dropped.
fn block_the_worker(node: &Node) -> Sender<()> {
    block_after(node, |_| {}).1
}

/// The same, in a handler that does this first.
fn block_after(
    node: &Node,
    deed: impl FnOnce(&mut Context<'_>) + Send + 'static,
) -> (Kept, Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let (blocks, is_blocked) = mpsc::channel();
    let kept = inside(node, move |cx| {
        deed(cx);
        blocks.send(()).expect("the test listens");
        // An error: what was returned is dropped.
        released.recv().ok();
    });
    value_of(&is_blocked).expect("the handler runs");
    (kept, release)
}

/// Leaves the deed in a lane of a process that ends before it comes to it.
fn lane(node: &Node, once: Once, priority: Priority) -> Kept {
    let pid = process(node, At::PanicPayload, Once::new(|| ()));
    let blocked = block_the_worker(node);
    for lane in [Priority::Max, priority] {
        let message = (lane == priority).then(|| OnDrop(once.clone()));
        node.send_with_priority(pid, message, lane).expect("sent");
    }
    drop(blocked);
    Box::new(())
}

/// Gets the deed done in one place of a node with one worker.
type Place = fn(&Node, Once) -> Kept;

const WORKER: &str = "longshore-0";
const MONITOR: &str = "longshore-monitor";
/// Any thread of the runtime: a stripe is run by the worker, or by the monitor when that one is slow.
const ANY: &str = "longshore-";

/// Each place with the beginning of the name of the thread that comes to it.
const PLACES: &[(&str, &str, Place)] = &[
    (
        "init, spawned by the program",
        "it-program",
        |node, once| {
            let node = node.clone();
            let program = thread::Builder::new().name("it-program".into());
            let spawned = program.spawn(move || process(&node, At::Init, once));
            Box::new(spawned.expect("a thread"))
        },
    ),
    ("state of a failed init", "it-program", |node, once| {
        let node = node.clone();
        let program = thread::Builder::new().name("it-program".into());
        let spawn = move || {
            let state = OnDrop(once);
            let failed = Probe::try_spawn(&node, SpawnOptions::default(), move |_| {
                let _state = state;
                Err(Reason::error("on purpose"))
            });
            drop(failed);
        };
        Box::new(program.spawn(spawn).expect("a thread"))
    }),
    ("init, spawned in a handler", WORKER, |node, once| {
        inside(node, |cx| drop(cx.spawn(|| Does(At::Init, once))))
    }),
    ("factory in a handler", WORKER, |node, once| {
        inside(node, move |cx| {
            let factory = || {
                once.run();
                Silent(Vec::new())
            };
            drop(cx.spawn(factory));
        })
    }),
    ("factory of a pool", WORKER, |node, once| {
        let mut calls = 0;
        let factory = move || {
            calls += 1;
            if calls == 2 {
                once.run();
            }
            Does(At::PanicPayload, Once::new(|| ()))
        };
        let pool = node.spawn(|| Pool::new(1, factory));
        Box::new(node.send(pool.expect("spawned"), "ends the first worker"))
    }),
    ("handle_message", WORKER, |node, once| {
        let pid = process(node, At::Message, once);
        Box::new(node.send(pid, "a message"))
    }),
    ("handle_call", WORKER, |node, once| {
        let pid = process(node, At::Call, once);
        Box::new(node.request(pid, "a request"))
    }),
    ("handle_inspect", WORKER, |node, once| {
        let pid = process(node, At::Inspect, once);
        inside(node, move |cx| assert!(cx.inspect(pid, LIMIT).is_ok()))
    }),
    ("terminate", WORKER, |node, once| {
        let pid = process(node, At::Terminate, once);
        Box::new(node.send_exit(pid, Reason::Kill))
    }),
    ("drop of a process's state", WORKER, |node, once| {
        let pid = process(node, At::Drop, once);
        Box::new(node.send_exit(pid, Reason::Kill))
    }),
    ("payload of a process's panic", WORKER, |node, once| {
        let pid = process(node, At::PanicPayload, once);
        Box::new(node.send(pid, "a message"))
    }),
    ("normal lane", WORKER, |node, once| {
        lane(node, once, Priority::Normal)
    }),
    ("high lane", WORKER, |node, once| {
        lane(node, once, Priority::High)
    }),
    ("urgent lane", WORKER, |node, once| {
        lane(node, once, Priority::Max)
    }),
    ("log lane", WORKER, |node, once| {
        lane(node, once, Priority::Log)
    }),
    ("ignored message", WORKER, |node, once| {
        let pid = node.spawn(|| Silent(Vec::new())).expect("spawned");
        Box::new(node.send(pid, OnDrop(once)))
    }),
    ("timer's message without a receiver", ANY, |node, once| {
        let pid = node.spawn(|| Silent(Vec::new())).expect("spawned");
        inside(node, move |cx| {
            cx.send_after(pid, OnDrop(once), Duration::from_millis(50));
            cx.send_exit(pid, Reason::Kill).expect("alive");
        })
    }),
    ("canceled timer's message", WORKER, |node, once| {
        inside(node, |cx| {
            let timer = cx.send_after(cx.pid(), OnDrop(once), LIMIT);
            cx.cancel_timer(timer);
        })
    }),
    ("waker of a future", WORKER, |node, once| {
        struct Wakes(Once);
        impl Wake for Wakes {
            fn wake(self: Arc<Self>) {
                self.0.run();
            }
        }
        let probe = Probe::spawn(node);
        let waker = Waker::from(Arc::new(Wakes(once)));
        let mut pending = Box::pin(node.request(probe.pid, "a question").expect("sent"));
        let mut task = TaskContext::from_waker(&waker);
        assert!(pending.as_mut().poll(&mut task).is_pending());
        let (_, _, reply) = probe.call();
        probe.start(move |_| {
            reply.send("an answer");
            Ok(())
        });
        Box::new((probe, pending))
    }),
    ("meta-process: init", ANY, |node, once| {
        Box::new(meta(node, At::Init, once))
    }),
    ("meta-process: ready", ANY, |node, once| {
        Box::new(meta(node, At::Ready, once))
    }),
    ("meta-process: flush", ANY, |node, once| {
        Box::new(meta(node, At::Flush, once))
    }),
    ("meta-process: handle_timer", ANY, |node, once| {
        Box::new(meta(node, At::Timer, once))
    }),
    ("meta-process: handle_message", ANY, |node, once| {
        let (alias, probe) = meta(node, At::Message, once);
        node.send_alias(alias, "a message").expect("sent");
        Box::new(probe)
    }),
    ("meta-process: handle_call", ANY, |node, once| {
        let (alias, probe) = meta(node, At::Call, once);
        Box::new((node.request(alias, "a request"), probe))
    }),
    ("meta-process: handle_inspect", ANY, |node, once| {
        let (alias, probe) = meta(node, At::Inspect, once);
        Box::new((
            inside(node, move |cx| assert!(cx.inspect(alias, LIMIT).is_ok())),
            probe,
        ))
    }),
    ("meta-process: terminate", ANY, |node, once| {
        let (alias, probe) = meta(node, At::Terminate, once);
        node.send_exit_meta(alias, Reason::Kill).expect("alive");
        Box::new(probe)
    }),
    ("meta-process: drop of its state", ANY, |node, once| {
        let (alias, probe) = meta(node, At::Drop, once);
        node.send_exit_meta(alias, Reason::Kill).expect("alive");
        Box::new(probe)
    }),
    ("meta-process: payload of its panic", ANY, |node, once| {
        let (alias, probe) = meta(node, At::PanicPayload, once);
        node.send_alias(alias, "a message").expect("sent");
        Box::new(probe)
    }),
    (
        "meta-process: handle_message on the monitor",
        MONITOR,
        |node, once| {
            let (alias, probe) = meta(node, At::Message, once);
            let blocked = block_the_worker(node);
            node.send_alias(alias, "a message").expect("sent");
            Box::new((probe, blocked))
        },
    ),
    (
        "meta-process: init on the monitor",
        MONITOR,
        |node, once| {
            Box::new(block_after(node, move |cx| {
                drop(cx.spawn_meta(Does(At::Init, once)));
            }))
        },
    ),
    (
        "meta-process: handle_timer on the monitor",
        MONITOR,
        |node, once| {
            Box::new(block_after(node, move |cx| {
                drop(cx.spawn_meta(Does(At::Timer, once)));
            }))
        },
    ),
    (
        "message to a dead alias, on the monitor",
        MONITOR,
        |node, once| {
            let (alias, probe) = meta(node, At::PanicPayload, Once::new(|| ()));
            let blocked = block_the_worker(node);
            node.send_alias(alias, "ends it").expect("sent");
            // It may have ended already: then the message is dropped here, and the test says so.
            node.send_alias(alias, OnDrop(once)).expect("sent");
            Box::new((probe, blocked))
        },
    ),
    ("decoder of a framing", ANY, |node, once| {
        struct Decodes(Once);
        impl FrameDecoder for Decodes {
            fn decode(&mut self, _: &[u8]) -> Result<Frame, FrameError> {
                self.0.run();
                Err(FrameError::custom("on purpose"))
            }
        }
        let framing = Framing::custom(move || Box::new(Decodes(once.clone())));
        let probe = Probe::spawn(node);
        let options = TcpServerOptions::from("127.0.0.1:0").with_framing(framing);
        let (addr, _) = probe.listen(options);
        let mut client = client(addr);
        client.write_all(b"bytes").expect("written");
        Box::new((probe, client))
    }),
    (
        "message of a timer that the stop drops",
        "it-stopping",
        |node, once| {
            let receiver = node.spawn(|| Silent(Vec::new())).expect("spawned");
            node.send_after(receiver, OnDrop(once), LIMIT);
            Box::new(stop_by_the_program(node))
        },
    ),
    (
        "message of a timer whose process ends",
        ANY,
        |node, once| {
            let probe = Probe::spawn(node);
            probe.start(move |cx| {
                cx.send_after(cx.pid(), OnDrop(once), LIMIT);
                Err(Reason::Normal)
            });
            Box::new(probe)
        },
    ),
];

/// Stops the node from a thread of the program.
fn stop_by_the_program(node: &Node) -> thread::JoinHandle<()> {
    let node = node.clone();
    let program = thread::Builder::new().name("it-stopping".into());
    let stop = move || drop(node.stop_with(stop_options()));
    program.spawn(stop).expect("a thread")
}

/// Has every blocking call tried in one place of a fresh node.
fn try_in(place: Place, thread: &str) -> Result<(), String> {
    let options = NodeOptions::from("inside@localhost").with_workers(1);
    try_with(options, thread, place)
}

/// The same, on a node with these options.
fn try_with(
    options: NodeOptions,
    thread: &str,
    place: impl FnOnce(&Node, Once) -> Kept,
) -> Result<(), String> {
    let node = node_with(options);
    let silent = node.spawn(|| Silent(Vec::new())).expect("spawned");
    let (sender, outcomes): (Sender<Outcome>, Receiver<Outcome>) = mpsc::channel();
    let here = node.clone();
    let once = Once::new(move || drop(sender.send(try_all(&here, silent))));
    let kept = place(&node, once);
    let outcome = value_of(&outcomes).map_err(|error| format!("no outcome: {error}"))?;
    drop(kept);
    let refused = Err(RequestError::WouldBlockRuntime);
    // The stop may have ended the process that is asked, and a node that has stopped is not waited for.
    let is_known = matches!(outcome.pending, Err(RequestError::NotDelivered(_)));
    if !outcome.thread.starts_with(thread) {
        return Err(format!("the deed was done on another thread: {outcome:?}"));
    }
    if outcome.slowest > Duration::from_secs(1) {
        return Err(format!("a call waited: {outcome:?}"));
    }
    let is_refused = outcome.pending == refused && !outcome.waits;
    if outcome.call != refused || !(is_known || is_refused) {
        return Err(format!(
            "a call did not say that it would wait: {outcome:?}"
        ));
    }
    let stopped = node.clone();
    within_limit("the stop", move || drop(stopped.wait()));
    Ok(())
}

#[test]
fn calls_that_would_wait_for_themselves_return_at_once_wherever_user_code_runs() {
    try_all_in(PLACES);
}

fn try_all_in(places: &[(&str, &str, Place)]) {
    silence_expected_panics();
    let failures: Vec<String> = places
        .iter()
        .filter_map(|(name, thread, place)| {
            let outcome = try_in(*place, thread);
            outcome.err().map(|problem| format!("{name}: {problem}"))
        })
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn record_is_written_inside_the_runtime() {
    let (sender, outcomes) = mpsc::channel();
    let known: Arc<Mutex<Option<(Node, Pid)>>> = Arc::default();
    let (sink, sender) = (Arc::clone(&known), Mutex::new(sender));
    let options = NodeOptions::from("inside@localhost")
        .with_workers(1)
        .with_logger(move |_: &longshore::Record| {
            let known = sink.lock().expect("no panic").take();
            if let Some((node, silent)) = known {
                let sender = sender.lock().expect("no panic");
                drop(sender.send(try_all(&node, silent)));
            }
        });
    silence_expected_panics();
    let node = node_with(options);
    let silent = node.spawn(|| Silent(Vec::new())).expect("spawned");
    *known.lock().expect("no panic") = Some((node.clone(), silent));
    let (alias, _probe) = meta(&node, At::PanicPayload, Once::new(|| ()));
    node.send_alias(alias, "ends it, which is a record")
        .expect("sent");
    let outcome = value_of(&outcomes).expect("an outcome");
    assert!(outcome.slowest < Duration::from_secs(1), "{outcome:?}");
    assert_eq!(outcome.call, Err(RequestError::WouldBlockRuntime));
    assert!(!outcome.waits, "{outcome:?}");
    within_limit("the stop", move || drop(node.wait()));
}

#[test]
fn handler_stops_another_node_and_is_not_stopped_by_a_process_that_it_starts_there() {
    let (one, other) = (node(), node());
    let probe = Probe::spawn(&one);
    let echo = Probe::spawn(&other);
    let (asker, pid) = (other.clone(), echo.pid);
    let (here, there) = (one.clone(), other.clone());
    let answering = thread::spawn(move || {
        let (_, _, reply) = echo.call();
        reply.send(7_u32);
    });
    let outcome = probe.run(move |_| {
        let answer = asker
            .call(pid, "a question", LIMIT)
            .map(|answer| answer.downcast::<u32>());
        // On this thread of the one node, inside of the other as well: the one is not waited for.
        let init = move |_: &mut Context<'_>| {
            let refused = here.call(pid, "a question", LIMIT).map(drop);
            assert_eq!(refused, Err(RequestError::WouldBlockRuntime));
            Ok(())
        };
        let nested = Probe::try_spawn(&there, SpawnOptions::default(), init).map(drop);
        let report = there.stop_with(stop_options());
        (answer.expect("an answer").ok(), nested, report.is_clean())
    });
    assert_eq!(outcome.0, Some(7));
    assert_eq!(outcome.1, Ok(()));
    assert!(
        outcome.2,
        "the other node is stopped while the handler waits"
    );
    answering.join().expect("no panic");
    assert_eq!(probe.run(|_| "goes on"), "goes on");
    stop_clean(&one);
}
