//! Blocking calls on threads of processes, in what a mailbox policy drops, in values of an environment, and in
//! framings.

use longshore::MailboxPolicy;

use super::features::poll_once;
use super::*;

/// The thread of a process that has one.
const OWN: &str = "longshore-own";

fn own() -> SpawnOptions {
    SpawnOptions::default().with_own_thread()
}

/// A process with a thread of its own that does the deed at one point.
fn own_process(node: &Node, at: At, once: Once) -> Pid {
    node.spawn_with(own(), || Does(at, once)).expect("spawned")
}

/// Does something in the handler of a process with a thread of its own.
fn inside_own(node: &Node, deed: impl FnOnce(&mut Context<'_>) + Send + 'static) -> Kept {
    let probe = Probe::spawn_with(node, own());
    probe.start(move |cx| {
        deed(cx);
        Ok(())
    });
    Box::new(probe)
}

/// Supervises one process with a thread of its own.
fn supervise_own(node: &Node, factory: impl FnMut() -> Does + Send + 'static) -> Pid {
    let child = Child::new("child", factory).with_options(own());
    let supervisor = node.spawn(|| Supervisor::one_for_one().with_child(child));
    supervisor.expect("spawned")
}

thread_local! {
    static KEEPS: std::cell::RefCell<Option<OnDrop>> = const { std::cell::RefCell::new(None) };
}

const OWN_THREADS: &[(&str, &str, Place)] = &[
    ("factory on an own thread", OWN, |node, once| {
        Box::new(supervise_own(node, move || {
            once.run();
            Does(At::Call, Once::new(|| ()))
        }))
    }),
    ("init on an own thread", OWN, |node, once| {
        let factory = move || Does(At::Init, once.clone());
        Box::new(supervise_own(node, factory))
    }),
    (
        "init of a process with an own thread, spawned in a handler",
        WORKER,
        |node, once| {
            inside(node, |cx| {
                drop(cx.spawn_with(own(), || Does(At::Init, once)));
            })
        },
    ),
    ("own thread: handle_message", OWN, |node, once| {
        let pid = own_process(node, At::Message, once);
        Box::new(node.send(pid, "a message"))
    }),
    ("own thread: handle_call", OWN, |node, once| {
        let pid = own_process(node, At::Call, once);
        Box::new(node.request(pid, "a request"))
    }),
    ("own thread: handle_inspect", OWN, |node, once| {
        let pid = own_process(node, At::Inspect, once);
        inside(node, move |cx| assert!(cx.inspect(pid, LIMIT).is_ok()))
    }),
    ("own thread: terminate", OWN, |node, once| {
        let pid = own_process(node, At::Terminate, once);
        Box::new(node.send_exit(pid, Reason::Kill))
    }),
    ("own thread: drop of the state", OWN, |node, once| {
        let pid = own_process(node, At::Drop, once);
        Box::new(node.send_exit(pid, Reason::Kill))
    }),
    ("own thread: payload of a panic", OWN, |node, once| {
        let pid = own_process(node, At::PanicPayload, once);
        Box::new(node.send(pid, "a message"))
    }),
    (
        "own thread: message behind the end of the process",
        OWN,
        |node, once| {
            let probe = Probe::spawn_with(node, own());
            let gate = probe.block();
            probe.start(|_| Err(Reason::Normal));
            node.send(probe.pid, OnDrop(once)).expect("alive");
            drop(gate);
            Box::new(probe)
        },
    ),
    (
        "own thread: state when the node stops",
        OWN,
        |node, once| {
            let pid = own_process(node, At::Drop, once);
            Box::new((pid, stop_by_the_program(node)))
        },
    ),
    (
        "own thread: destructor of a thread-local",
        OWN,
        |node, once| {
            let kept = inside_own(node, move |cx| {
                KEEPS.with(|keeps| *keeps.borrow_mut() = Some(OnDrop(once)));
                cx.send_exit(cx.pid(), Reason::Kill).expect("alive");
            });
            Box::new(kept)
        },
    ),
    ("own thread: spawn of a process", OWN, |node, once| {
        inside_own(node, |cx| drop(cx.spawn(|| Does(At::Init, once))))
    }),
];

fn bounded(policy: MailboxPolicy) -> SpawnOptions {
    SpawnOptions::default()
        .with_mailbox_bound(1)
        .with_mailbox_policy(policy)
}

/// Has a handler send two messages to a process that takes one; the worker comes to it behind the handler.
fn overflow(
    node: &Node,
    policy: MailboxPolicy,
    send: impl FnOnce(&mut Context<'_>, Pid) + Send + 'static,
) -> Kept {
    let full = node.spawn_with(bounded(policy), || Silent(Vec::new()));
    let full = full.expect("spawned");
    inside(node, move |cx| send(cx, full))
}

/// Has a timer fire for a process whose mailbox is full while the only worker is blocked: the monitor drops a message.
fn overflow_on_the_monitor(
    node: &Node,
    policy: MailboxPolicy,
    fill: impl FnOnce(Pid) -> Kept,
    late: impl Send + 'static,
) -> Kept {
    let full = node.spawn_with(bounded(policy), || Silent(Vec::new()));
    let full = full.expect("spawned");
    let blocked = block_the_worker(node);
    let filled = fill(full);
    node.send_after(full, late, Duration::from_millis(20));
    Box::new((filled, blocked))
}

const MAILBOXES: &[(&str, &str, Place)] = &[
    ("newest message, dropped", WORKER, |node, once| {
        overflow(node, MailboxPolicy::DropNewest, |cx, full| {
            cx.send(full, "fills it").expect("taken");
            cx.send(full, OnDrop(once)).expect("dropped");
        })
    }),
    ("oldest message, dropped", WORKER, |node, once| {
        overflow(node, MailboxPolicy::DropOldest, |cx, full| {
            cx.send(full, OnDrop(once)).expect("taken");
            cx.send(full, "the newest").expect("taken");
        })
    }),
    (
        "newest message of a timer, dropped",
        MONITOR,
        |node, once| {
            let fill = |full| Box::new(node.send(full, "fills it")) as Kept;
            overflow_on_the_monitor(node, MailboxPolicy::DropNewest, fill, OnDrop(once))
        },
    ),
    ("oldest message under a timer's", MONITOR, |node, once| {
        let fill = |full| Box::new(node.send(full, OnDrop(once))) as Kept;
        overflow_on_the_monitor(node, MailboxPolicy::DropOldest, fill, "the newest")
    }),
    (
        "waker of a request that is dropped",
        MONITOR,
        |node, once| {
            let fill = |full| {
                let pending = node.request(full, "a question").expect("sent");
                Box::new(poll_once(pending, once)) as Kept
            };
            overflow_on_the_monitor(node, MailboxPolicy::DropOldest, fill, "the newest")
        },
    ),
    ("value of an event, dropped", WORKER, |node, once| {
        let subscriber = Probe::spawn_with(node, bounded(MailboxPolicy::DropOldest));
        let publisher = Probe::spawn(node);
        let options = longshore::EventOptions::default();
        let event: longshore::Event<Mutex<Option<OnDrop>>> = publisher
            .run(|cx| cx.register_event("event", options))
            .expect("registered");
        subscriber
            .run(|cx| cx.subscribe("event"))
            .expect("subscribed");
        publisher.start(move |cx| {
            for value in [Some(OnDrop(once)), None] {
                cx.publish(&event, Mutex::new(value)).expect("published");
            }
            Ok(())
        });
        Box::new((subscriber, publisher))
    }),
];

const ENVIRONMENTS: &[(&str, &str, Place)] = &[
    ("value of a process that ends", ANY, |node, once| {
        let options = SpawnOptions::default().with_environment("value", OnDrop(once));
        let probe = Probe::spawn_with(node, options);
        Box::new(node.send_exit(probe.pid, Reason::Kill))
    }),
    ("value that another one replaces", WORKER, |node, once| {
        inside(node, |cx| {
            cx.set_environment("value", OnDrop(once));
            cx.set_environment("value", "another one");
        })
    }),
    (
        "value of a process with an own thread",
        OWN,
        |node, once| {
            let options = own().with_environment("value", OnDrop(once));
            let probe = Probe::spawn_with(node, options);
            Box::new(node.send_exit(probe.pid, Reason::Kill))
        },
    ),
    (
        "value that a child keeps behind its parent",
        ANY,
        |node, once| {
            let parent = Probe::spawn(node);
            let child = parent.run(move |cx| {
                cx.set_environment("value", OnDrop(once));
                cx.spawn(|| Silent(Vec::new())).expect("spawned")
            });
            node.send_exit(parent.pid, Reason::Kill).expect("alive");
            assert_eq!(parent.end(), Reason::Kill);
            Box::new(node.send_exit(child, Reason::Kill))
        },
    ),
];

/// A decoder that finds nothing, and does the deed when it is dropped.
struct FindsNothing(#[allow(dead_code, reason = "dropped")] Option<OnDrop>);

impl FrameDecoder for FindsNothing {
    fn decode(&mut self, _: &[u8]) -> Result<Frame, FrameError> {
        Ok(Frame::Incomplete)
    }
}

/// Has a connection to a listener with this framing carry a byte, for which its decoder is made.
fn connect_with(node: &Node, framing: Framing) -> (Probe, std::net::TcpStream) {
    let probe = Probe::spawn(node);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_framing(framing));
    let mut stream = client(addr).into_std();
    stream.write_all(b"x").expect("written");
    (probe, stream)
}

/// Has a client and a server of the node do a handshake; the key log of one side does the deed.
#[cfg(feature = "tls")]
fn handshake(node: &Node, server: Option<Once>, client: Option<Once>) -> Kept {
    use longshore::tls::{CertManager, KeyLog, Roots, TlsClientOptions, TlsServerOptions};

    let log = |once: Option<Once>| {
        KeyLog::new(move |_| {
            if let Some(once) = &once {
                once.run();
            }
        })
    };
    let made = rcgen::generate_simple_self_signed(["server.test".to_owned()]).expect("made");
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let roots = Roots::from_der([made.cert.der().clone()]).expect("roots");
    let of_server = TlsServerOptions::default().with_key_log(log(server));
    let of_client = TlsClientOptions::default()
        .with_roots(roots)
        .with_server_name("server.test")
        .with_key_log(log(client));
    let probe = Probe::spawn(node);
    let certs = CertManager::from_pem(chain, key).expect("a pair");
    let options = TcpServerOptions::default().with_cert_manager(certs);
    let (addr, _) = probe.listen(options.with_tls(of_server));
    probe.connect_to(TcpConnectionOptions::from(addr).with_tls(of_client));
    Box::new(probe)
}

const SOCKETS: &[(&str, &str, Place)] = &[
    ("factory of decoders", ANY, |node, once| {
        let framing = Framing::custom(move || {
            once.run();
            Box::new(FindsNothing(None))
        });
        Box::new(connect_with(node, framing))
    }),
    ("decoder, dropped", ANY, |node, once| {
        let framing = Framing::custom(move || Box::new(FindsNothing(Some(OnDrop(once.clone())))));
        let (probe, stream) = connect_with(node, framing);
        drop(stream);
        Box::new(probe)
    }),
    #[cfg(feature = "tls")]
    ("key log of a TLS server", ANY, |node, once| {
        handshake(node, Some(once), None)
    }),
    #[cfg(feature = "tls")]
    ("key log of a TLS client", ANY, |node, once| {
        handshake(node, None, Some(once))
    }),
    #[cfg(unix)]
    ("readiness of a user's source", ANY, |node, once| {
        use std::os::unix::net::UnixStream;

        /// Does the deed when its source can be read.
        struct Reads(UnixStream, Once);
        impl MetaProcess for Reads {
            fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
                Ok(cx.register(&self.0)?)
            }

            fn ready(&mut self, _: &mut MetaContext<'_>, readiness: Readiness) -> Handled {
                if readiness.is_readable() {
                    self.1.run();
                }
                Ok(())
            }
        }
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        let probe = Probe::spawn(node);
        probe.spawn_meta(Reads(ours, once));
        theirs.write_all(b"x").expect("written");
        Box::new((probe, theirs))
    }),
    #[cfg(unix)]
    ("user's source, dropped", ANY, |node, once| {
        use std::os::fd::{AsFd, BorrowedFd};
        use std::os::unix::net::UnixStream;

        /// A source that does the deed when it is dropped.
        struct Source(UnixStream, #[allow(dead_code, reason = "dropped")] OnDrop);
        impl AsFd for Source {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }
        struct Keeps(Source);
        impl MetaProcess for Keeps {
            fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
                Ok(cx.register(&self.0)?)
            }
        }
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let probe = Probe::spawn(node);
        let alias = probe.spawn_meta(Keeps(Source(ours, OnDrop(once))));
        node.send_exit_meta(alias, Reason::Kill).expect("alive");
        Box::new((probe, theirs))
    }),
    #[cfg(unix)]
    (
        "user's source, asked for its descriptor",
        ANY,
        |node, once| {
            use std::os::fd::{AsFd, BorrowedFd};
            use std::os::unix::net::UnixStream;

            /// A source that does the deed when it is asked.
            struct Asked(UnixStream, Once);
            impl AsFd for Asked {
                fn as_fd(&self) -> BorrowedFd<'_> {
                    self.1.run();
                    self.0.as_fd()
                }
            }
            struct Registers(Asked);
            impl MetaProcess for Registers {
                fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
                    cx.register(&self.0)?;
                    Ok(cx.deregister(&self.0)?)
                }
            }
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let probe = Probe::spawn(node);
            probe.spawn_meta(Registers(Asked(ours, once)));
            Box::new((probe, theirs))
        },
    ),
];

#[test]
fn calls_on_threads_of_processes_return_at_once() {
    try_all_in(OWN_THREADS);
}

#[test]
fn calls_of_messages_that_a_mailbox_drops_return_at_once() {
    try_all_in(MAILBOXES);
}

#[test]
fn calls_of_values_of_an_environment_return_at_once() {
    try_all_in(ENVIRONMENTS);
}

#[test]
fn calls_of_framings_and_sources_return_at_once() {
    try_all_in(SOCKETS);
}
