//! Listeners: limits, pauses, and a shortage of descriptors that ends by itself.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use longshore::prelude::*;
use longshore::{AtLimit, BindError, SocketOptions};

use crate::support::*;

on_both! {
    connections_beyond_the_limit_wait_in_the_backlog_until_one_leaves,
    connections_beyond_the_limit_are_closed_if_that_was_asked_for,
    accept_rate_holds_a_burst_back_and_loses_none_of_it,
    looking_in_vain_does_not_use_up_the_accept_rate,
    paused_listener_leaves_connections_in_the_backlog,
    listener_that_ends_leaves_its_connections_alone_and_frees_its_port,
    several_listeners_share_a_port_if_all_of_them_want_to,
}

#[test]
fn connections_beyond_the_limit_wait_in_the_backlog_until_one_leaves() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default().with_max_connections(3));
    let mut clients: Vec<Client> = (0..8).map(|_| client(addr)).collect();
    for _ in 0..3 {
        probe.connect();
    }
    wait_for(&node, listener, "state", "connections");
    probe.saw_nothing();
    for left in (3..8).rev() {
        clients.remove(0);
        let (ended, begun) = (probe.next().1, probe.next().1);
        assert!(matches!(ended, Message::TcpDisconnect(_)), "{ended:?}");
        assert!(matches!(begun, Message::TcpConnect(_)), "{begun:?}");
        let counts = inspect(&node, listener);
        assert_eq!(
            (counts.number("connections"), counts.number("accepted")),
            (Some(3), Some(11 - left))
        );
        probe.saw_nothing();
    }
    drop(clients);
    for _ in 0..3 {
        probe.disconnect();
    }
    wait_for(&node, listener, "connections", 0);
    assert_eq!(inspect(&node, listener).number("refused"), Some(0));
    stop_clean(&node);
}

#[test]
fn connections_beyond_the_limit_are_closed_if_that_was_asked_for() {
    let node = node();
    let probe = Probe::spawn(&node);
    let options = TcpServerOptions::default()
        .with_max_connections(3)
        .with_at_limit(AtLimit::Refuse);
    let (addr, listener) = probe.listen(options);
    let clients: Vec<Client> = (0..3).map(|_| client(addr)).collect();
    for _ in 0..3 {
        probe.connect();
    }
    for _ in 0..5 {
        assert_eq!(read_out(&mut client(addr)), Ok(Vec::new()), "not closed");
    }
    let counts = inspect(&node, listener);
    assert_eq!(
        (counts.number("refused"), counts.number("connections")),
        (Some(5), Some(3))
    );
    drop(clients);
    for _ in 0..3 {
        probe.disconnect();
    }
    wait_for(&node, listener, "connections", 0);
    let _one_more = client(addr);
    probe.connect();
    stop_clean(&node);
}

fn client_from(ip: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((Ipv4Addr::from(ip), 0)).into())
        .expect("bound");
    socket
        .connect_timeout(&to.into(), LIMIT)
        .expect("connected");
    let stream = TcpStream::from(socket);
    bounded(&stream);
    stream
}

#[cfg(target_os = "linux")]
#[test]
fn connections_of_one_address_are_limited_and_those_of_others_are_not() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default().with_max_connections_per_ip(2));
    let first = client_from([127, 0, 0, 2], addr);
    let _second = client_from([127, 0, 0, 2], addr);
    assert_eq!(
        read_out(&mut client_from([127, 0, 0, 2], addr)),
        Ok(Vec::new())
    );
    let _other = client_from([127, 0, 0, 3], addr);
    for _ in 0..3 {
        probe.connect();
    }
    drop(first);
    probe.disconnect();
    wait_for(&node, listener, "connections", 2);
    let _third = client_from([127, 0, 0, 2], addr);
    probe.connect();
    let counts = inspect(&node, listener);
    assert_eq!(
        (counts.number("refused"), counts.number("refused_per_ip")),
        (Some(1), Some(1))
    );
    stop_clean(&node);
}

#[test]
fn accept_rate_holds_a_burst_back_and_loses_none_of_it() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default().with_accept_rate(5));
    let clients: Vec<Client> = (0..20).map(|_| client(addr)).collect();
    let begun = Moment::now();
    probe.connect();
    for _ in 1..20 {
        probe.connect();
    }
    // Five in what is left of the first second, and five in each later one.
    assert!(
        begun.elapsed() >= Duration::from_millis(1_900),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        inspect(&node, listener)
            .number("waits_for_rate")
            .is_some_and(|waits| waits >= 3)
    );
    drop(clients);
    stop_clean(&node);
}

#[test]
fn looking_in_vain_does_not_use_up_the_accept_rate() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default().with_accept_rate(11));
    let clients: Vec<Client> = (0..10)
        .map(|_| {
            let client = client(addr);
            probe.connect();
            client
        })
        .collect();
    assert_eq!(inspect(&node, listener).number("waits_for_rate"), Some(0));
    drop(clients);
    stop_clean(&node);
}

#[test]
fn paused_listener_leaves_connections_in_the_backlog() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default());
    probe
        .run(move |cx| cx.pause_accepting(listener))
        .expect("alive");
    wait_for(&node, listener, "state", "paused");
    let clients: Vec<Client> = (0..10).map(|_| client(addr)).collect();
    assert_eq!(inspect(&node, listener).number("accepted"), Some(0));
    probe.saw_nothing();
    probe
        .run(move |cx| cx.resume_accepting(listener))
        .expect("alive");
    for _ in 0..10 {
        probe.connect();
    }
    assert_eq!(inspect(&node, listener).number("pauses"), Some(1));
    drop(clients);
    stop_clean(&node);
}

#[test]
fn listener_that_ends_leaves_its_connections_alone_and_frees_its_port() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default());
    let mut client = client(addr);
    let alias = probe.connect().id;
    probe
        .run(move |cx| cx.send_exit_meta(listener, Reason::Normal))
        .expect("alive");
    wait_for_count(&node, "meta_processes", 1);
    assert!(TcpServer::bind(addr).is_ok(), "the port is not free");
    client.write_all(b"still").expect("written");
    assert_eq!(probe.bytes(5), b"still");
    probe.write(alias, "here");
    assert_eq!(read(&mut client, 4), b"here");
    stop_clean(&node);
}

#[test]
fn addresses_that_cannot_be_bound_are_reported_at_creation() {
    let taken = TcpServer::bind("127.0.0.1:0").expect("bound");
    let error = TcpServer::bind(taken.local_addr()).expect_err("in use");
    assert_eq!(error.kind(), Some(ErrorKind::AddrInUse));
    assert!(
        error.to_string().contains(&taken.local_addr().to_string()),
        "{error}"
    );
    let error = TcpServer::bind("192.0.2.1:0").expect_err("not ours");
    assert_eq!(error.kind(), Some(ErrorKind::AddrNotAvailable));
    let error = TcpServer::bind("no-such-host.invalid:80").expect_err("unknown");
    assert!(matches!(error, BindError::Resolve { .. }), "{error:?}");
    let port = taken.local_addr().port();
    drop(taken);
    assert_eq!(
        TcpServer::bind(("127.0.0.1", port))
            .expect("free again")
            .local_addr()
            .port(),
        port
    );
}

#[test]
fn empty_host_serves_both_families_and_only_v6_one() {
    let node = node();
    let probe = Probe::spawn(&node);
    let both = TcpServer::bind(TcpServerOptions::default()).expect("bound");
    let port = both.local_addr().port();
    let is_v6 = both.local_addr().is_ipv6();
    probe.spawn_meta(both);
    let _v4 = client(SocketAddr::from(([127, 0, 0, 1], port)));
    probe.connect();
    if !is_v6 {
        println!("skipped: no IPv6 here");
        return;
    }
    let options =
        TcpServerOptions::from(("::", 0)).with_socket(SocketOptions::default().with_only_v6(true));
    let only = TcpServer::bind(options).expect("bound");
    let addr = SocketAddr::from(([127, 0, 0, 1], only.local_addr().port()));
    probe.spawn_meta(only);
    assert!(try_client(addr).is_err(), "an IPv6 socket took IPv4");
    stop_clean(&node);
}

#[cfg(unix)]
#[test]
fn several_listeners_share_a_port_if_all_of_them_want_to() {
    let node = node();
    let probe = Probe::spawn(&node);
    let shared = || SocketOptions::default().with_reuse_port(true);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_socket(shared()));
    let second =
        TcpServer::bind(TcpServerOptions::from(addr).with_socket(shared())).expect("the same port");
    probe.spawn_meta(second);
    assert!(TcpServer::bind(addr).is_err());
    let clients: Vec<Client> = (0..20).map(|_| client(addr)).collect();
    for _ in 0..20 {
        probe.connect();
    }
    drop(clients);
    stop_clean(&node);
}

#[test]
fn socket_that_listens_already_is_taken_over() {
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("an address");
    let mut early = client(addr);
    early.write_all(b"early").expect("written");
    let server = TcpServer::from_std(listener, TcpServerOptions::default()).expect("taken over");
    assert_eq!(server.local_addr(), addr);
    probe.spawn_meta(server);
    probe.connect();
    assert_eq!(probe.bytes(5), b"early");
    stop_clean(&node);
}

/// A socket from a service manager is also still open in the service manager.
#[cfg(target_os = "linux")]
#[test]
fn listener_whose_socket_another_program_has_shut_down_waits_quietly_and_recovers() {
    let node = node();
    let probe = Probe::spawn(&node);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("an address");
    let same = socket2::Socket::from(listener.try_clone().expect("a clone"));
    let listener = probe.spawn_meta(
        TcpServer::from_std(listener, TcpServerOptions::default()).expect("taken over"),
    );
    let _first = client(addr);
    probe.connect();
    same.shutdown(std::net::Shutdown::Both).expect("ended");
    wait_for(&node, listener, "state", "errors");
    let (begun, errors) = (
        Instant::now(),
        inspect(&node, listener)
            .number("accept_errors")
            .expect("a count"),
    );
    assert!(errors < 100, "{errors} attempts before it waits");
    wait_until("four more attempts", || {
        inspect(&node, listener).number("accept_errors") >= Some(errors + 4)
    });
    assert!(
        begun.elapsed() >= Duration::from_millis(350),
        "{:?}",
        begun.elapsed()
    );
    same.listen(10).expect("listening");
    let addr = same
        .local_addr()
        .expect("an address")
        .as_socket()
        .expect("of the internet");
    let _second = client(addr);
    probe.connect();
    assert_eq!(inspect(&node, listener).value("state"), Some("accepting"));
    stop_clean(&node);
}

// ---- A lack of descriptors ----

/// A server in a process of its own with a low limit of descriptors.
struct Starved {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    addr: SocketAddr,
}

const CHILD: &str = "LONGSHORE_STARVED";

/// Echoes until its input ends; a line of input requests the counters of the listener.
#[test]
fn child_that_serves_with_few_descriptors() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let echo = |cx: &mut Context<'_>, _: Pid, message: Message| match message {
        Message::Tcp(packet) => Ok(cx.send_alias(packet.id, packet)?),
        _ => Ok(()),
    };
    node.spawn_register("echo", || Script(echo))
        .expect("spawned");
    let (addr, listener) = probe.listen(TcpServerOptions::default().with_process_pool(["echo"]));
    println!("\n{addr}");
    for _ in std::io::stdin().lock().lines() {
        println!("{}", inspect(&node, listener));
    }
    stop_clean(&node);
}

impl Starved {
    fn start(descriptors: usize) -> Self {
        Self::start_under("", descriptors)
    }

    /// Starts the server as the argument of another command.
    fn start_under(command: &str, descriptors: usize) -> Self {
        let program = std::env::current_exe().expect("the test binary");
        let mut child = Command::new("sh")
            .args([
                "-c",
                &format!("ulimit -n {descriptors} && exec {command} \"$@\""),
                "sh",
            ])
            .arg(program)
            .args([
                "listener::child_that_serves_with_few_descriptors",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let output = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let input = child.stdin.take();
        let mut starved = Self {
            child,
            input,
            lines,
            addr: SocketAddr::from(([0; 4], 0)),
        };
        starved.addr = starved.line(|line| line.parse().ok());
        starved
    }

    fn line<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let line = value_of(&self.lines).expect("a line of the child");
            if let Some(found) = wanted(&line) {
                return found;
            }
        }
    }

    fn count(&mut self, name: &str) -> u64 {
        self.input
            .as_mut()
            .expect("open")
            .write_all(b"\n")
            .expect("the child lives");
        self.line(|line| {
            let pair = line
                .split(' ')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.and_then(|value| value.parse().ok())
        })
    }

    /// Ends the server in order and checks that it reported success.
    fn finish(mut self) {
        drop(self.input.take());
        let deadline = Instant::now() + LIMIT;
        while self.child.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < deadline, "the child hangs");
            thread::park_timeout(Duration::from_millis(1));
        }
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts the system calls of a process in this time, if strace is installed. `futex` does not count, because the
/// monitor of the scheduler runs for a while after each wake-up.
fn system_calls(pid: u32, time: Duration) -> Option<u64> {
    let seconds = time.as_secs().to_string();
    let output = Command::new("timeout")
        .args([
            "--signal=INT",
            &seconds,
            "strace",
            "-f",
            "-c",
            "-p",
            &pid.to_string(),
        ])
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    // "% time, seconds, usecs/call, calls, errors, name"; the errors may be missing.
    let calls = |name: &str| {
        let line = report
            .lines()
            .find(|line| line.split_whitespace().last() == Some(name))?;
        line.split_whitespace().nth(3)?.parse::<u64>().ok()
    };
    Some(calls("total")? - calls("futex").unwrap_or(0))
}

#[cfg(target_os = "linux")]
#[test]
fn listener_without_descriptors_waits_quietly_and_recovers_by_itself() {
    const FLOOD: usize = 5_000;
    const HELD: usize = 800;
    let mut server = Starved::start(64);
    let mut served = client(server.addr);
    exchange(&mut served, b"before", b"before");
    let mut clients = std::collections::VecDeque::new();
    for _ in 0..FLOOD {
        if let Ok(client) = TcpStream::connect_timeout(&server.addr, Duration::from_millis(100)) {
            clients.push_back(client);
        }
        if clients.len() > HELD {
            clients.pop_front();
        }
    }
    // Many clients of the flood have closed again. The counters stand still when only the others are left.
    wait_until("the descriptors to run out", || {
        let (accepted, exhausted) = (server.count("accepted"), server.count("exhausted"));
        wait_until("two more attempts", || {
            server.count("exhausted") >= exhausted + 2
        });
        server.count("accepted") == accepted
    });
    // Meanwhile the open connections are served.
    exchange(&mut served, b"during", b"during");
    let time = Duration::from_secs(4);
    match system_calls(server.child.id(), time) {
        Some(calls) => assert!(
            calls <= 20 * time.as_secs(),
            "{calls} system calls in {time:?} without descriptors"
        ),
        None => println!("skipped: system calls are not counted without strace"),
    }
    let exhausted = server.count("exhausted");
    // One attempt for each descriptor that a connection freed, and a few by the timer.
    assert!(exhausted < FLOOD as u64, "{exhausted} vain attempts");
    assert!(server.count("shed") > 0, "no waiting client was closed");
    // No new connect comes, and the connections in the backlog are still accepted.
    clients.drain(..clients.len() - 10);
    let mut last = clients.pop_back().expect("the last one");
    bounded(&last);
    let begun = Moment::now();
    match last
        .write_all(b"waiting")
        .and_then(|()| last.read_exact(&mut [0; 7]))
    {
        Ok(()) => {}
        // This client may be the one that was refused for lack of room.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "recovered after {:?}",
        begun.elapsed()
    );
    drop(clients);
    exchange(&mut client(server.addr), b"after", b"after");
    exchange(&mut served, b"after", b"after");
    drop(served);
    wait_until("the others to be gone", || server.count("connections") <= 1);
    server.finish();
}

/// Errors that no network produces on demand, injected by strace.
#[cfg(target_os = "linux")]
#[test]
fn errors_of_single_accepts_and_interrupted_calls_change_nothing() {
    if !Command::new("strace")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return println!("skipped: this needs strace");
    }
    for (fault, is_error) in [
        ("accept4:error=ECONNABORTED:when=1+3", true),
        ("accept4:error=EPROTO:when=1+2", true),
        ("accept4:error=ENOBUFS:when=2+5", true),
        ("accept4:error=EINTR:when=1+2", false),
        ("epoll_wait:error=EINTR:when=1+2", false),
        ("sendto,writev:error=EINTR:when=1+2", false),
        ("recvfrom,read:error=EINTR:when=100+3", false),
    ] {
        let calls = fault.split(':').next().expect("calls");
        let command = format!("strace -f -qq -o /dev/null -e trace={calls} -e inject={fault}");
        let mut server = Starved::start_under(&command, 1024);
        for number in 0..20_u32 {
            exchange(
                &mut client(server.addr),
                &number.to_be_bytes(),
                &number.to_be_bytes(),
            );
        }
        assert_eq!(server.count("accept_errors") > 0, is_error, "{fault}");
        wait_until("the clients to be gone", || {
            server.count("connections") == 0
        });
        assert_eq!(server.count("ended_closed_by_peer"), 20, "{fault}");
        server.finish();
    }
}

#[test]
fn refused_connections_do_not_use_up_the_rate() {
    let node = node();
    let probe = Probe::spawn(&node);
    let options = TcpServerOptions::default()
        .with_accept_rate(3)
        .with_max_connections_per_ip(1);
    let (addr, listener) = probe.listen(options);
    let first = client(addr);
    probe.connect();
    for _ in 0..20 {
        assert_eq!(read_out(&mut client(addr)).unwrap_or_default(), b"");
    }
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let other = socket.expect("a socket");
    let from = SocketAddr::from(([127, 0, 0, 2], 0));
    other.bind(&from.into()).expect("bound");
    other.connect(&addr.into()).expect("connected");
    probe.connect();
    let inspection = inspect(&node, listener);
    assert_eq!(inspection.number("refused_per_ip"), Some(20));
    assert_eq!(inspection.number("waits_for_rate"), Some(0));
    drop(first);
    stop_clean(&node);
}
