//! What has joined the poll leaves it: a descriptor whose copy lives on elsewhere can be registered again.
//!
//! A copy gets the number of the one before it, so that the kernel takes a registration that was not withdrawn for the
//! same.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{
    DisconnectReason, Inspection, MessageMetaFailed, SpawnMeta, UnixConnection,
    UnixConnectionOptions, UnixDatagramOptions, UnixDatagramServer, UnixServer, UnixServerOptions,
};

use crate::support::*;

const ROUNDS: usize = 3;

/// Spawns what `make` makes of a copy of the same descriptor again and again; each one must live until it is killed.
fn again_and_again<M: SpawnMeta + Send + 'static>(test: &str, mut make: impl FnMut() -> (M, i32)) {
    alone(&format!("registrations::{test}"), || {
        let node = node();
        let probe = Probe::spawn(&node);
        let mut numbers = Vec::new();
        for round in 0..ROUNDS {
            let (meta, number) = make();
            numbers.push(number);
            let alias = probe.spawn_meta(meta);
            let answer = node.inspect(alias, LIMIT);
            assert!(answer.is_ok(), "round {round}: {answer:?}");
            node.send_exit_meta(alias, Reason::Kill).expect("alive");
            wait_for_count(&node, "meta_processes", 0);
            while let Some(seen) = probe.seen_by_now() {
                let is_failed = matches!(&seen, Seen::Message(_, Message::MetaFailed(_)));
                assert!(!is_failed, "round {round}: {seen:?}");
            }
        }
        numbers.dedup();
        assert_eq!(numbers.len(), 1, "the copies have one number");
        stop_clean(&node);
    });
}

#[test]
fn listener_leaves_the_poll() {
    let kept = TcpListener::bind("127.0.0.1:0").expect("bound");
    again_and_again("listener_leaves_the_poll", || {
        let copy = kept.try_clone().expect("a copy");
        let number = copy.as_raw_fd();
        let server = TcpServer::from_std(copy, TcpServerOptions::default());
        (server.expect("a server"), number)
    });
}

/// Serves a listener that its supervisor keeps.
struct Serves(TcpListener);

impl Actor for Serves {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let server = TcpServer::from_std(self.0.try_clone()?, TcpServerOptions::default())?;
        cx.spawn_meta(server)?;
        Ok(())
    }
}

#[test]
fn listener_of_a_killed_process_leaves_the_poll() {
    alone(
        "registrations::listener_of_a_killed_process_leaves_the_poll",
        || {
            let node = node();
            let kept = TcpListener::bind("127.0.0.1:0").expect("bound");
            let addr = kept.local_addr().expect("an address");
            for _ in 0..ROUNDS {
                let copy = kept.try_clone().expect("a copy");
                let pid = node.spawn(move || Serves(copy)).expect("spawned");
                let mut peer = client(addr);
                // It is accepted, and the process that gets it answers nothing: only its end ends the connection.
                wait_for_count(&node, "meta_processes", 2);
                node.send_exit(pid, Reason::Kill).expect("alive");
                read_out(&mut peer).ok();
                wait_for_count(&node, "meta_processes", 0);
            }
            stop_clean(&node);
        },
    );
}

#[test]
fn unix_listener_leaves_the_poll() {
    let path = std::env::temp_dir().join(format!("longshore-{}.leave", std::process::id()));
    let kept = UnixListener::bind(&path).expect("bound");
    again_and_again("unix_listener_leaves_the_poll", || {
        let copy = kept.try_clone().expect("a copy");
        let number = copy.as_raw_fd();
        let server = UnixServer::from_std(copy, UnixServerOptions::default());
        (server.expect("a server"), number)
    });
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn udp_socket_leaves_the_poll() {
    let kept = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    again_and_again("udp_socket_leaves_the_poll", || {
        let copy = kept.try_clone().expect("a copy");
        let number = copy.as_raw_fd();
        let server = UdpServer::from_std(copy, UdpServerOptions::default());
        (server.expect("a server"), number)
    });
}

#[test]
fn unix_datagram_socket_leaves_the_poll() {
    let kept = UnixDatagram::unbound().expect("a socket");
    again_and_again("unix_datagram_socket_leaves_the_poll", || {
        let copy = kept.try_clone().expect("a copy");
        let number = copy.as_raw_fd();
        let server = UnixDatagramServer::from_std(copy, UnixDatagramOptions::default());
        (server.expect("a server"), number)
    });
}

/// A source of a user, who does not take it off the poll.
struct Source(UnixStream);

impl MetaProcess for Source {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        self.0.set_nonblocking(true)?;
        cx.register(&self.0)?;
        Ok(())
    }

    fn handle_inspect(&self) -> Inspection {
        Inspection::default()
    }
}

#[test]
fn source_of_a_user_leaves_the_poll() {
    let (kept, _other) = UnixStream::pair().expect("a pair");
    again_and_again("source_of_a_user_leaves_the_poll", || {
        let copy = kept.try_clone().expect("a copy");
        let number = copy.as_raw_fd();
        (Source(copy), number)
    });
}

/// Registers a descriptor, closes it, and lives on; its number becomes another one's.
struct Closes(Option<UnixStream>);

impl MetaProcess for Closes {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        cx.register(self.0.as_ref().expect("a socket"))?;
        self.0 = None;
        Ok(())
    }
}

#[test]
fn number_that_was_closed_early_is_not_taken_from_its_next_owner() {
    alone(
        "registrations::number_that_was_closed_early_is_not_taken_from_its_next_owner",
        || {
            let node = node();
            let probe = Probe::spawn(&node);
            let (first, _other) = UnixStream::pair().expect("a pair");
            let number = first.as_raw_fd();
            let closes = probe.spawn_meta(Closes(Some(first)));
            node.inspect(closes, LIMIT).expect("its init is over");
            let (mut peer, second) = UnixStream::pair().expect("a pair");
            let second = if second.as_raw_fd() == number {
                second
            } else {
                std::mem::replace(&mut peer, second)
            };
            assert_eq!(second.as_raw_fd(), number, "the number is used again");
            let options = UnixConnectionOptions::default();
            let connection = UnixConnection::from_std(second, options).expect("taken over");
            let alias = probe.spawn_meta(connection);
            probe.connect();
            node.send_exit_meta(closes, Reason::Kill).expect("alive");
            wait_for_count(&node, "meta_processes", 1);
            peer.write_all(b"is it still on the poll?")
                .expect("written");
            assert_eq!(probe.bytes(24), b"is it still on the poll?");
            node.close(alias).expect("open");
            drop(peer);
            probe.disconnect();
            stop_clean(&node);
        },
    );
}

/// Gives a connection a copy of the same socket again and again; `end` ends it.
fn connections_leave(test: &str, end: impl Fn(&Node, &Probe, Alias)) {
    alone(&format!("registrations::{test}"), || {
        let node = node();
        let probe = Probe::spawn(&node);
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let addr = listener.local_addr().expect("an address");
        let kept = TcpStream::connect(addr).expect("connected");
        let _peer = listener.accept().expect("accepted");
        let mut numbers = Vec::new();
        for round in 0..ROUNDS {
            let copy = kept.try_clone().expect("a copy");
            numbers.push(copy.as_raw_fd());
            let connection = TcpConnection::from_std(copy, TcpConnectionOptions::default());
            let alias = probe.spawn_meta(connection.expect("taken over"));
            let (_, message) = probe.next();
            assert!(
                matches!(message, Message::TcpConnect(_)),
                "round {round}: {message:?}"
            );
            end(&node, &probe, alias);
            let reason = probe.disconnect().reason;
            assert!(!matches!(reason, DisconnectReason::Io(_)), "{reason}");
            wait_for_count(&node, "meta_processes", 0);
        }
        numbers.dedup();
        assert_eq!(numbers.len(), 1, "the copies have one number");
        stop_clean(&node);
    });
}

#[test]
fn connection_that_is_killed_leaves_the_poll() {
    connections_leave(
        "connection_that_is_killed_leaves_the_poll",
        |node, _, alias| {
            node.send_exit_meta(alias, Reason::Kill).expect("alive");
        },
    );
}

#[test]
fn init_that_fails_reaches_the_parent() {
    struct Fails;
    impl MetaProcess for Fails {
        fn init(&mut self, _: &mut MetaContext<'_>) -> Handled {
            Err(Reason::error("on purpose"))
        }
    }
    struct Panics;
    impl MetaProcess for Panics {
        fn init(&mut self, _: &mut MetaContext<'_>) -> Handled {
            panic!("on purpose")
        }
    }
    struct Done;
    impl MetaProcess for Done {
        fn init(&mut self, _: &mut MetaContext<'_>) -> Handled {
            Err(Reason::Normal)
        }
    }
    silence_expected_panics();
    let node = node();
    let probe = Probe::spawn(&node);
    let failed = |alias: Alias| -> MessageMetaFailed {
        match probe.next() {
            (from, Message::MetaFailed(failed)) => {
                assert_eq!((from, failed.id), (probe.pid, alias));
                *failed
            }
            other => panic!("no failure but {other:?}"),
        }
    };
    let alias = probe.spawn_meta(Fails);
    assert_eq!(failed(alias).reason, Reason::error("on purpose"));
    let alias = probe.spawn_meta(Panics);
    assert!(matches!(failed(alias).reason, Reason::Panic(_)));
    probe.spawn_meta(Done);
    wait_for_count(&node, "meta_processes", 0);
    probe.saw_nothing();
    stop_clean(&node);
}

/// Puts a listener of another on the poll.
struct Registers(Option<Arc<TcpListener>>);

impl MetaProcess for Registers {
    fn init(&mut self, cx: &mut MetaContext<'_>) -> Handled {
        cx.register(&self.0.take().expect("once"))?;
        Ok(())
    }
}

#[test]
fn listener_that_the_poll_refuses_is_reported_to_its_parent() {
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("bound"));
    let alias = probe.spawn_meta(Registers(Some(Arc::clone(&listener))));
    node.inspect(alias, LIMIT).expect("it has registered");
    let listener = Arc::try_unwrap(listener).expect("the only one");
    let server = TcpServer::from_std(listener, TcpServerOptions::default()).expect("a server");
    let refused = probe.spawn_meta(server);
    match probe.next() {
        (_, Message::MetaFailed(failed)) => assert_eq!(failed.id, refused),
        other => panic!("no failure but {other:?}"),
    }
    stop_clean(&node);
}

// ---- Sockets that no test has ----

/// Takes copies of descriptors of another process, and holds them until its input ends.
const HOLDER: &str = "import ctypes, os, sys
pidfd = os.pidfd_open(int(sys.argv[1]))
call = ctypes.CDLL(None, use_errno=True).syscall
print('ready', flush=True)
for line in sys.stdin:
    copies = [call(438, pidfd, int(number), 0) for number in line.split()]
    print('held' if min(copies) >= 0 else 'refused', flush=True)";

/// Another process, which keeps sockets of this one open: only leaving takes them off the poll then.
struct Holder {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Holder {
    fn start() -> Self {
        let mut process = Command::new("python3")
            .args(["-c", HOLDER, &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let orders = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        let mut holder = Self {
            process,
            orders,
            answers,
        };
        assert_eq!(holder.answer(), "ready");
        holder
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    /// Takes a copy of everything that is on the poll. `false`: this system does not allow it.
    fn hold_all(&mut self) -> bool {
        let numbers: Vec<String> = registered().iter().map(u32::to_string).collect();
        writeln!(self.orders, "{}", numbers.join(" ")).expect("it listens");
        let is_held = self.answer() == "held";
        if !is_held {
            println!("skipped: no copies of another process's descriptors");
        }
        is_held
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The descriptors on the polls of this process, as they were numbered when they joined.
fn registered() -> Vec<u32> {
    let polls = std::fs::read_dir("/proc/self/fd").expect("procfs");
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("an entry");
        let target = std::fs::read_link(entry.path()).ok()?;
        (target.as_os_str() == "anon_inode:[eventpoll]").then(|| entry.file_name())
    };
    // The registry has a copy of the descriptor of its poll, and so the same entries.
    let poll = polls.filter_map(number).next().expect("a poll");
    let info = std::path::Path::new("/proc/self/fdinfo").join(poll);
    let text = std::fs::read_to_string(info).expect("procfs");
    let numbers = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("tfd:")?;
        rest.split_whitespace().next()?.parse().ok()
    });
    numbers.collect()
}

/// Waits until this many descriptors are on the poll.
#[track_caller]
fn wait_for_registered(count: usize) {
    wait_until(&format!("{count} on the poll"), || {
        registered().len() == count
    });
}

/// Two addresses of one port whose backlogs are full.
fn two_silent() -> [Unaccepting; 2] {
    loop {
        let first = Unaccepting::new();
        let second = (IpAddr::from([127, 0, 0, 2]), first.addr.port());
        if let Some(second) = Unaccepting::try_at(second.into()) {
            return [first, second];
        }
    }
}

#[test]
fn attempts_that_lose_a_race_fail_or_are_given_up_leave_the_poll() {
    alone(
        "registrations::attempts_that_lose_a_race_fail_or_are_given_up_leave_the_poll",
        || {
            let options = NodeOptions::from("test@localhost").with_workers(2);
            let node = node_with(options.with_resolver(|_| {
                Ok(["127.0.0.1", "127.0.0.2"]
                    .map(|ip| ip.parse().expect("an address"))
                    .into())
            }));
            let probe = Probe::spawn(&node);
            let mut holder = Holder::start();
            let resting = registered().len();

            // The second of two that are silent is established.
            let [first, second] = two_silent();
            let to = TcpConnectionOptions::from(("several.test", first.addr.port()));
            let patient = to.clone().with_connect_timeout(LIMIT);
            let winner = probe.connect_to(patient.clone());
            wait_for_registered(resting + 2);
            if !holder.hold_all() {
                return;
            }
            let accepting = second.accept_all();
            probe.connect();
            wait_for_registered(resting + 1);
            assert!(holder.hold_all());
            probe.run(move |cx| cx.abort(winner)).expect("open");
            probe.disconnect();
            wait_for_registered(resting);
            drop(accepting);

            // Both are silent until the deadline, until this side gives up, or until it is killed.
            let [first, _second] = two_silent();
            let to = TcpConnectionOptions::from(("several.test", first.addr.port()));
            let ends: [fn(&Probe, Alias); 3] = [
                |_, _| (),
                |probe, alias| probe.run(move |cx| cx.close(alias)).expect("alive"),
                |probe, alias| {
                    let killed = probe.run(move |cx| cx.send_exit_meta(alias, Reason::Kill));
                    killed.expect("alive");
                },
            ];
            for (number, end) in ends.into_iter().enumerate() {
                let timeout = match number {
                    0 => Duration::from_secs(2),
                    _ => LIMIT,
                };
                let alias = probe.connect_to(to.clone().with_connect_timeout(timeout));
                wait_for_registered(resting + 2);
                assert!(holder.hold_all());
                end(&probe, alias);
                probe.disconnect();
                wait_for_registered(resting);
            }

            // One that is refused.
            let closed = TcpListener::bind("127.0.0.1:0").expect("bound");
            let addr = closed.local_addr().expect("an address");
            drop(closed);
            probe.connect_to(addr);
            probe.disconnect();
            wait_for_registered(resting);
            stop_clean(&node);
        },
    );
}

#[test]
fn connection_whose_peer_hangs_up_while_input_waits_leaves_the_poll() {
    alone(
        "registrations::connection_whose_peer_hangs_up_while_input_waits_leaves_the_poll",
        || {
            let node = node();
            let options = SpawnOptions::default().with_data_bound(1);
            let probe = Probe::spawn_with(&node, options);
            let (addr, _) =
                probe.listen(TcpServerOptions::default().with_framing(Framing::lines()));
            let mut holder = Holder::start();
            let resting = registered().len();
            for is_reset in [false, true] {
                let mut peer = client(addr);
                let alias = probe.connect().id;
                wait_for_registered(resting + 1);
                if !holder.hold_all() {
                    return;
                }
                // The owner takes one of these lines, and the others wait for its mailbox beside the end.
                let gate = probe.block();
                peer.write_all(b"a\nb\nc\nd\n").expect("written");
                wait_for(&node, alias, "mailbox_pauses", 1);
                if is_reset {
                    reset(peer);
                } else {
                    drop(peer);
                }
                drop(gate);
                let (bytes, _) = probe.bytes_to_disconnect();
                assert_eq!(bytes, b"abcd");
                wait_for_registered(resting);
            }
            stop_clean(&node);
        },
    );
}
