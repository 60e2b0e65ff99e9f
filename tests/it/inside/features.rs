//! Blocking calls where code of the user runs for sessions, supervisors, requests, events, timers, names and lists.

use std::io::Read;
use std::net::{IpAddr, Shutdown as Half};
use std::pin::Pin;
use std::sync::OnceLock;

use longshore::{Event, EventOptions, SendErrorKind, Typed, TypedActor};

use super::*;

/// Where in its life a session does the deed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Connected,
    Received,
    Malformed,
    Writable,
    PeerClosed,
    Disconnected,
    Message,
    Call,
    Inspect,
    Terminate,
    Drop,
}

/// More than the high mark.
const MUCH: usize = 1 << 20;

/// A session that does the deed at one point.
struct Serves(In, Once);

impl Serves {
    fn at(&self, place: In) {
        if self.0 == place {
            self.1.run();
        }
    }
}

impl Drop for Serves {
    fn drop(&mut self) {
        self.at(In::Drop);
    }
}

impl Session for Serves {
    fn connected(&mut self, _: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
        self.at(In::Connected);
        Ok(())
    }

    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        self.at(In::Received);
        input.clear();
        if self.0 == In::Writable {
            cx.write(vec![7; MUCH]);
        }
        Ok(())
    }

    fn malformed(&mut self, _: &mut SessionContext<'_>, _: &FrameError) {
        self.at(In::Malformed);
    }

    fn writable(&mut self, _: &mut SessionContext<'_>) -> Handled {
        self.at(In::Writable);
        Ok(())
    }

    fn peer_closed(&mut self, cx: &mut SessionContext<'_>) -> Handled {
        self.at(In::PeerClosed);
        cx.close();
        Ok(())
    }

    fn disconnected(&mut self, _: &mut SessionContext<'_>, _: &MessageTcpDisconnect) {
        self.at(In::Disconnected);
    }

    fn handle_message(&mut self, _: &mut SessionContext<'_>, _: Pid, _: Message) -> Handled {
        self.at(In::Message);
        Ok(())
    }

    fn handle_call(&mut self, _: &mut SessionContext<'_>, _: Pid, _: Message, _: Reply) -> Handled {
        self.at(In::Call);
        Ok(())
    }

    fn handle_inspect(&mut self, _: &mut SessionContext<'_>) -> Inspection {
        self.at(In::Inspect);
        Inspection::default()
    }

    fn terminate(&mut self, _: &mut SessionContext<'_>, _: &Reason) {
        self.at(In::Terminate);
    }
}

/// Listens with sessions and connects to it.
fn serve<S: Session>(
    node: &Node,
    options: TcpServerOptions,
    factory: impl Fn() -> S + Send + Sync + 'static,
) -> (Probe, std::net::TcpStream) {
    let probe = Probe::spawn(node);
    let server = TcpServer::bind(options.with_host("127.0.0.1")).expect("bound");
    let addr = server.local_addr();
    probe
        .run(move |cx| cx.spawn_meta(server.serve(factory)))
        .expect("spawned");
    (probe, client(addr).into_std())
}

/// The session of the only connection.
fn session(node: &Node) -> Pid {
    let find = || {
        let found = node
            .processes()
            .find(|process| process.actor.contains("Serves"));
        found.map(|process| process.pid)
    };
    wait_until("the session to be there", || find().is_some());
    find().expect("a session")
}

/// Has a session do the deed; `peer` is what its client does.
fn in_session(
    node: &Node,
    place: In,
    once: Once,
    peer: impl FnOnce(&mut std::net::TcpStream),
) -> Kept {
    let options = match place {
        In::Malformed => {
            TcpServerOptions::default().with_framing(Framing::lines().with_max_length(8))
        }
        _ => TcpServerOptions::default(),
    };
    let (probe, mut stream) = serve(node, options, move || Serves(place, once.clone()));
    peer(&mut stream);
    Box::new((probe, stream))
}

/// Has a session do the deed when something is sent to it.
fn to_session(node: &Node, place: In, once: Once, send: impl FnOnce(&Node, Pid)) -> Kept {
    let (probe, stream) = serve(node, TcpServerOptions::default(), move || {
        Serves(place, once.clone())
    });
    send(node, session(node));
    Box::new((probe, stream))
}

const SESSIONS: &[(&str, &str, Place)] = &[
    ("factory of sessions", ANY, |node, once| {
        Box::new(serve(node, TcpServerOptions::default(), move || {
            once.run();
            Serves(In::Drop, Once::new(|| ()))
        }))
    }),
    ("factory of sessions, dropped", ANY, |node, once| {
        let held = OnDrop(once);
        let kept = serve(node, TcpServerOptions::default(), move || {
            let _held = &held;
            Serves(In::Call, Once::new(|| ()))
        });
        node.send_exit(kept.0.pid, Reason::Kill).expect("alive");
        Box::new(kept)
    }),
    ("session: connected", ANY, |node, once| {
        in_session(node, In::Connected, once, |_| ())
    }),
    ("session: received", ANY, |node, once| {
        in_session(node, In::Received, once, |stream| {
            stream.write_all(b"x").expect("written");
        })
    }),
    ("session: malformed", ANY, |node, once| {
        in_session(node, In::Malformed, once, |stream| {
            stream.write_all(&[b'x'; 100]).expect("written");
        })
    }),
    ("session: writable", ANY, |node, once| {
        in_session(node, In::Writable, once, |stream| {
            stream.write_all(b"x").expect("written");
            let mut all = vec![0; MUCH];
            // The stop may end the connection behind the callback.
            stream.read_exact(&mut all).ok();
        })
    }),
    ("session: peer_closed", ANY, |node, once| {
        in_session(node, In::PeerClosed, once, |stream| {
            stream.shutdown(Half::Write).expect("connected");
        })
    }),
    ("session: disconnected", ANY, |node, once| {
        in_session(node, In::Disconnected, once, |stream| {
            stream.shutdown(Half::Write).expect("connected");
        })
    }),
    ("session: terminate", ANY, |node, once| {
        in_session(node, In::Terminate, once, |stream| {
            stream.shutdown(Half::Write).expect("connected");
        })
    }),
    ("session: drop of its state", ANY, |node, once| {
        in_session(node, In::Drop, once, |stream| {
            stream.shutdown(Half::Write).expect("connected");
        })
    }),
    ("session: handle_message", ANY, |node, once| {
        to_session(node, In::Message, once, |node, pid| {
            node.send(pid, "a message").expect("alive");
        })
    }),
    ("session: handle_call", ANY, |node, once| {
        to_session(node, In::Call, once, |node, pid| {
            drop(node.request(pid, "a request"));
        })
    }),
    ("session: handle_inspect", ANY, |node, once| {
        to_session(node, In::Inspect, once, |node, pid| {
            assert!(node.inspect(pid, LIMIT).is_ok());
        })
    }),
];

/// A message whose copies do the deed.
struct Copies(Once);

impl Clone for Copies {
    fn clone(&self) -> Self {
        self.0.run();
        Self(self.0.clone())
    }
}

/// A request that [`Answers`] answers at once.
struct Question;

impl Request for Question {
    type Reply = ();
}

struct Answers;

impl Actor for Answers {
    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        reply.send(());
        Ok(())
    }
}

/// A typed actor that does the deed.
struct Small(Once);

impl TypedActor for Small {
    type Message = ();

    fn handle(&mut self, _: &mut Context<'_>, _: Pid, (): ()) -> Handled {
        self.0.run();
        Ok(())
    }
}

/// An error that does the deed when the last record or reason with it is dropped.
#[derive(Debug)]
struct Fault(#[allow(dead_code, reason = "dropped")] OnDropDebug);

struct OnDropDebug(#[allow(dead_code, reason = "dropped")] OnDrop);

impl std::fmt::Debug for OnDropDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnDrop")
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("on purpose")
    }
}

impl std::error::Error for Fault {}

/// Ends with its error.
struct Fails(Option<Fault>);

impl Actor for Fails {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        self.0.take().map_or(Ok(()), |fault| Err(fault.into()))
    }
}

/// Does the deed when it is woken.
struct Wakes(Once);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.run();
    }
}

/// Polls a future once with a waker that does the deed.
pub(super) fn poll_once<F: Future>(future: F, once: Once) -> Pin<Box<F>> {
    let waker = Waker::from(Arc::new(Wakes(once)));
    let mut future = Box::pin(future);
    let mut task = TaskContext::from_waker(&waker);
    assert!(future.as_mut().poll(&mut task).is_pending());
    future
}

thread_local! {
    static KEEPS: std::cell::RefCell<Option<OnDrop>> = const { std::cell::RefCell::new(None) };
}

const PROCESSES: &[(&str, &str, Place)] = &[
    ("factory of a supervisor's child", WORKER, |node, once| {
        let factory = move || {
            once.run();
            Answers
        };
        let child = move || Supervisor::one_for_one().with_child(Child::new("child", factory));
        Box::new(node.spawn(child).expect("spawned"))
    }),
    ("factory of a child, dropped", ANY, |node, once| {
        let held = OnDrop(once);
        let factory = move || {
            let _held = &held;
            Answers
        };
        let child = move || Supervisor::one_for_one().with_child(Child::new("child", factory));
        let pid = node.spawn(child).expect("spawned");
        Box::new(node.send_exit(pid, Reason::Shutdown))
    }),
    ("init of a supervisor's child", WORKER, |node, once| {
        let factory = move || Does(At::Init, once.clone());
        let child = move || Supervisor::one_for_one().with_child(Child::new("child", factory));
        Box::new(node.spawn(child).expect("spawned"))
    }),
    ("key of a pool", WORKER, |node, once| {
        let pool = node.spawn(move || {
            Pool::new(2, || Answers).with_key(move |_, _| {
                once.run();
                0
            })
        });
        let pool = pool.expect("spawned");
        wait_until("the workers to be there", || node.processes().count() == 4);
        Box::new(node.send(pool, "a message"))
    }),
    ("typed actor", WORKER, |node, once| {
        let pid = node.spawn(|| Typed::new(Small(once))).expect("spawned");
        Box::new(node.send(pid, ()))
    }),
    ("handler behind a call", ANY, |node, once| {
        let answers = node.spawn(|| Answers).expect("spawned");
        inside(node, move |cx| {
            cx.call(answers, Question, LIMIT).expect("an answer");
            once.run();
        })
    }),
    ("blocking work", ANY, |node, once| {
        inside(node, move |cx| {
            cx.blocking(1, move || once.run()).expect("taken");
        })
    }),
    (
        "result of blocking work whose process has ended",
        ANY,
        |node, once| {
            let (release, released) = mpsc::channel::<()>();
            let (works, is_working) = mpsc::channel();
            let probe = Probe::spawn(node);
            probe.run(move |cx| {
                let result = OnDrop(once);
                let work = move || {
                    works.send(()).expect("the test listens");
                    released.recv().ok();
                    result
                };
                cx.blocking(1, work).expect("taken");
            });
            is_working.recv_timeout(LIMIT).expect("the work begins");
            node.send_exit(probe.pid, Reason::Kill).expect("alive");
            assert_eq!(probe.end(), Reason::Kill);
            drop(release);
            Box::new(probe)
        },
    ),
    (
        "answer to a process that has ended",
        WORKER,
        |node, once| {
            let asked = Probe::spawn(node);
            let (pid, asker) = (asked.pid, Probe::spawn(node));
            asker.run(move |cx| drop(cx.request(pid, "a question", LIMIT)));
            let (_, _, reply) = asked.call();
            node.send_exit(asker.pid, Reason::Kill).expect("alive");
            assert_eq!(asker.end(), Reason::Kill);
            asked.start(move |_| {
                reply.send(OnDrop(once));
                Ok(())
            });
            Box::new((asked, asker))
        },
    ),
    ("waker of a monitor", ANY, |node, once| {
        let pid = node.spawn(|| Answers).expect("spawned");
        let monitor = poll_once(node.monitor(pid), once);
        node.send_exit(pid, Reason::Kill).expect("alive");
        Box::new(monitor)
    }),
    ("waker of a typed request", ANY, |node, once| {
        let probe = Probe::spawn(node);
        let answer = poll_once(node.ask(probe.pid, Question, LIMIT).expect("sent"), once);
        let (_, _, reply) = probe.call();
        probe.start(move |_| {
            reply.send(());
            Ok(())
        });
        Box::new((probe, answer))
    }),
    ("error of a process that ends", ANY, |node, once| {
        let fault = Fault(OnDropDebug(OnDrop(once)));
        let pid = node.spawn(|| Fails(Some(fault))).expect("spawned");
        Box::new(node.send(pid, "fails"))
    }),
    ("value of an event", ANY, |node, once| {
        inside(node, move |cx| {
            let event: Event<Mutex<OnDrop>> = cx
                .register_event("event", EventOptions::default().with_kept(1))
                .expect("registered");
            cx.publish(&event, Mutex::new(OnDrop(once)))
                .expect("published");
            cx.end_event(&event);
        })
    }),
    (
        "copy of a message that is sent at a rate",
        ANY,
        |node, once| {
            let pid = node.spawn(|| Answers).expect("spawned");
            let sent = node.send_every(pid, Copies(once), Duration::from_millis(5));
            sent.expect("an interval");
            Box::new(())
        },
    ),
    (
        "message of a rate whose receiver has ended",
        ANY,
        |node, once| {
            let pid = node.spawn(|| Answers).expect("spawned");
            let message = Arc::new(OnDrop(once));
            let sent = node.send_every(pid, message, Duration::from_millis(5));
            sent.expect("an interval");
            Box::new(node.send_exit(pid, Reason::Kill))
        },
    ),
    ("message of a rate whose sender ends", ANY, |node, once| {
        inside(node, move |cx| {
            let message = Arc::new(OnDrop(once));
            let sent = cx.send_every("absent", message, LIMIT);
            sent.expect("an interval");
            cx.send_exit(cx.pid(), Reason::Kill).expect("alive");
        })
    }),
    (
        "destructor of a worker's thread-local",
        WORKER,
        |node, once| {
            let kept = inside(node, move |_| {
                KEEPS.with(|keeps| *keeps.borrow_mut() = Some(OnDrop(once)));
            });
            Box::new((stop_by_the_program(node), kept))
        },
    ),
    (
        "destructor of a blocking thread's thread-local",
        ANY,
        |node, once| {
            let (works, has_worked) = mpsc::channel();
            let kept = inside(node, move |cx| {
                let keep = move || {
                    KEEPS.with(|keeps| *keeps.borrow_mut() = Some(OnDrop(once)));
                    works.send(()).expect("the test listens");
                };
                cx.blocking(1, keep).expect("taken");
            });
            has_worked.recv_timeout(LIMIT).expect("the work is done");
            Box::new((stop_by_the_program(node), kept))
        },
    ),
    (
        "handle_inspect for a list of the program",
        "it-program",
        |node, once| {
            let (_alias, probe) = meta(node, At::Inspect, once);
            let listed = node.clone();
            let program = thread::Builder::new().name("it-program".into());
            // The stripe may not have it yet.
            let list = move || wait_until("it is listed", || listed.sockets().count() == 1);
            Box::new((program.spawn(list).expect("a thread"), probe))
        },
    ),
    (
        "message that comes back to a meta-process",
        ANY,
        |node, once| {
            /// Drops what comes back.
            struct Sends(Pid, Option<OnDrop>);
            impl MetaProcess for Sends {
                fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
                    let refused = cx.send(self.0, self.1.take()).expect_err("it has ended");
                    assert_eq!(refused.kind(), SendErrorKind::NoProcess);
                    Ok(())
                }
            }
            let ended = Probe::spawn(node);
            node.send_exit(ended.pid, Reason::Kill).expect("alive");
            ended.end();
            let probe = Probe::spawn(node);
            probe.spawn_meta(Sends(ended.pid, Some(OnDrop(once))));
            Box::new(probe)
        },
    ),
];

#[test]
fn calls_of_sessions_return_at_once() {
    try_all_in(SESSIONS);
}

#[test]
fn calls_of_supervisors_requests_events_and_timers_return_at_once() {
    try_all_in(PROCESSES);
}

#[test]
fn calls_of_a_resolver_return_at_once() {
    let slot: Arc<OnceLock<Once>> = Arc::default();
    let resolves = Arc::clone(&slot);
    let options = NodeOptions::from("inside@localhost")
        .with_workers(1)
        .with_resolver(move |_| {
            if let Some(once) = resolves.get() {
                once.run();
            }
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        });
    let outcome = try_with(options, "longshore-", |node, once| {
        assert!(slot.set(once).is_ok(), "set once");
        let probe = Probe::spawn(node);
        probe.connect_to(("a.test", 1));
        Box::new(probe)
    });
    assert_eq!(outcome, Ok(()));
}
