//! Stopping a node: accepted output is sent, the report counts the rest, and no resource remains.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{StopOptions, TcpLimits};

use crate::support::*;

/// Echoes, and drops what is refused.
struct Echo {
    tcp: Option<TcpServer>,
    udp: Option<UdpServer>,
}

impl Echo {
    fn start(node: &Node) -> SocketAddr {
        let tcp = TcpServer::bind("127.0.0.1:0").expect("bound");
        let addr = tcp.local_addr();
        let udp = UdpServer::bind(addr).expect("bound");
        node.spawn(|| Self {
            tcp: Some(tcp),
            udp: Some(udp),
        })
        .expect("spawned");
        addr
    }
}

impl Actor for Echo {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.spawn_meta(self.tcp.take().expect("once"))?;
        cx.spawn_meta(self.udp.take().expect("once"))?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        let _ = match message {
            Message::Tcp(packet) => cx.send_alias(packet.id, packet),
            Message::Udp(packet) => cx.send_alias(packet.id, packet),
            _ => Ok(()),
        };
        Ok(())
    }
}

#[test]
fn stop_under_full_load_with_slow_peers_keeps_its_deadlines_reports_and_leaves_nothing() {
    alone(
        "stop::stop_under_full_load_with_slow_peers_keeps_its_deadlines_reports_and_leaves_nothing",
        || {
            const SLOW: usize = 50;
            let phase = Duration::from_millis(400);
            let (threads_before, descriptors_before) = (threads(), descriptors());
            let node = node();
            let addr = Echo::start(&node);
            // Peers that write without reading, until neither the kernels nor the server take more.
            let mut slow: Vec<Client> = (0..SLOW)
                .map(|_| {
                    let client = client(addr);
                    client.set_nonblocking(true).expect("non-blocking");
                    client
                })
                .collect();
            let fill = |client: &mut Client| {
                std::iter::from_fn(|| client.write(&[1; 64 << 10]).ok()).count()
            };
            let mut other = client(addr);
            let mut vain = 0;
            while vain < 3 {
                let writes: usize = slow.iter_mut().map(fill).sum();
                vain = if writes == 0 { vain + 1 } else { 0 };
                // A server that is merely slow would take more after this exchange.
                exchange(&mut other, b"x", b"x");
            }
            drop(other);
            let over = Arc::new(AtomicBool::new(false));
            let (started, traffic) = mpsc::channel();
            let busy: Vec<_> = (0..8)
                .map(|number| {
                    let (over, started) = (Arc::clone(&over), started.clone());
                    let mut client = client(addr);
                    thread::spawn(move || {
                        let bytes = [number; 4096];
                        let mut exchanges = 0_u64;
                        while client
                            .write_all(&bytes)
                            .and_then(|()| client.read_exact(&mut [0; 4096]))
                            .is_ok()
                        {
                            exchanges += 1;
                            if exchanges == 10 {
                                started.send(()).expect("the test listens");
                            }
                        }
                        // Until the end of the test: connects that are refused and datagrams without a receiver.
                        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                        while !over.load(Ordering::Relaxed) {
                            drop(TcpStream::connect(addr));
                            let _ = socket.send_to(&bytes, addr);
                        }
                    })
                })
                .collect();
            for _ in &busy {
                value_of(&traffic).expect("traffic");
            }
            let stopped = node.clone();
            let begun = Moment::now();
            let report = within_limit("the stop", move || {
                stopped.stop_with(StopOptions::default().with_timeout(phase))
            });
            let took = begun.elapsed();
            over.store(true, Ordering::Relaxed);
            assert!(took < 7 * phase + Duration::from_secs(2), "{took:?}");
            assert!(report.unflushed >= SLOW, "{report}");
            assert!(report.unsent_bytes > 0, "{report}");
            assert!(
                report.killed.is_empty() && report.stuck.is_empty(),
                "{report}"
            );
            for client in busy {
                client.join().expect("no panic");
            }
            assert_eq!(node.stop(), report, "a second stop gives the same report");
            assert!(
                node.spawn(|| Script(|_: &mut Context<'_>, _, _| Ok(())))
                    .is_err(),
                "spawned on a stopped node"
            );
            drop((node, slow));
            wait_until("the threads to be gone", || threads() == threads_before);
            assert_eq!(descriptors(), descriptors_before, "descriptors are left");
            drop(TcpServer::bind(addr).expect("the port of TCP is free"));
            drop(UdpServer::bind(addr).expect("the port of UDP is free"));
        },
    );
}

#[test]
fn stop_sends_what_was_accepted_to_peers_that_read() {
    const PEERS: usize = 20;
    const EACH: usize = 3 << 20;
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let readers: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut client = client(addr);
            thread::spawn(move || read_to_end(&mut client).len())
        })
        .collect();
    // The Connects are taken first, because a Writable event may arrive once bytes are written.
    let connections: Vec<_> = (0..PEERS).map(|_| probe.connect().id).collect();
    for &alias in &connections {
        probe.write(alias, vec![1; EACH]);
    }
    let stopped = node.clone();
    let report = within_limit("the stop", move || stopped.stop());
    assert!(report.is_clean(), "{report}");
    for reader in readers {
        assert_eq!(reader.join().expect("no panic"), EACH);
    }
    let mut ends = 0;
    while ends < PEERS {
        match probe.next().1 {
            Message::TcpDisconnect(end) => {
                assert_eq!((&end.reason, end.unsent), (&DisconnectReason::NodeStop, 0));
                ends += 1;
            }
            Message::TcpWritable(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(probe.end(), Reason::Shutdown);
}

#[test]
fn peers_that_ignore_our_end_do_not_make_a_stop_unclean() {
    let node = node();
    let probe = Probe::spawn(&node);
    let limits = TcpLimits::default().with_linger_timeout(Duration::from_millis(100));
    let (addr, _) = probe.listen(TcpServerOptions::default().with_limits(limits));
    let clients: Vec<Client> = (0..10).map(|_| client(addr)).collect();
    for _ in 0..10 {
        probe.connect();
    }
    let begun = Moment::now();
    let stopped = node.clone();
    let report = within_limit("the stop", move || stopped.stop());
    assert!(report.is_clean(), "{report}");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    for mut client in clients {
        assert_eq!(read_to_end(&mut client), b"");
    }
}

#[test]
fn stop_from_inside_ends_the_node_and_is_reported_to_a_thread_that_waits() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let mut client = client(addr);
    probe.connect();
    probe.run(|cx| cx.stop_node());
    let waiting = node.clone();
    within_limit("the wait", move || waiting.wait()).expect("nothing was cut off");
    assert_eq!(read_to_end(&mut client), b"");
    assert_eq!(probe.disconnect().reason, DisconnectReason::NodeStop);
    assert_eq!(probe.end(), Reason::Shutdown);
    assert_eq!(
        (count(&node, "processes"), count(&node, "meta_processes")),
        (0, 0)
    );
}

/// The `init` of a process runs on the thread that spawns it, here on one that is not a worker.
#[test]
fn stop_in_an_init_does_not_wait_for_itself() {
    struct Stops(Node);
    impl Actor for Stops {
        fn init(&mut self, _: &mut Context<'_>) -> Handled {
            drop(self.0.stop());
            Ok(())
        }
    }
    let node = node();
    let handle = node.clone();
    let spawned = node.spawn(|| Stops(handle));
    assert!(
        spawned.is_ok() || spawned == Err(longshore::SpawnError::Stopping),
        "{spawned:?}"
    );
    let waiting = node.clone();
    within_limit("the wait", move || waiting.wait()).expect("nothing was cut off");
}

#[test]
fn deadlines_without_end_are_deadlines_too() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let mut client = client(addr);
    probe.connect();
    let endless = StopOptions::default().with_timeout(Duration::MAX);
    let stopped = node.clone();
    let stopping = thread::spawn(move || stopped.stop_with(endless));
    assert_eq!(read_to_end(&mut client), b"");
    drop(client);
    let report = within_limit("the stop", move || stopping.join()).expect("no panic");
    assert!(report.is_clean(), "{report}");
}

#[test]
fn listeners_close_first_and_attempts_end_with_the_node() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let full = Unaccepting::new();
    let attempt = probe.connect_to(full.addr);
    wait_for(&node, attempt, "state", "connecting");
    let stopped = node.clone();
    let report = within_limit("the stop", move || stopped.stop());
    assert!(report.is_clean(), "{report}");
    let end = probe.disconnect();
    assert_eq!((end.id, end.reason), (attempt, DisconnectReason::NodeStop));
    assert!(try_client(addr).is_err(), "the port still has a listener");
}

#[test]
fn nodes_that_come_and_go_leave_nothing() {
    alone("stop::nodes_that_come_and_go_leave_nothing", || {
        let times = if cfg!(debug_assertions) { 100 } else { 1_000 };
        let (threads_before, descriptors_before) = (threads(), descriptors());
        for _ in 0..times {
            let node = node();
            let addr = Echo::start(&node);
            let mut client = client(addr);
            exchange(&mut client, b"hi", b"hi");
            drop(client);
            let report = node.stop();
            assert!(report.is_clean(), "{report}");
        }
        wait_until("the threads to be gone", || threads() == threads_before);
        assert_eq!(descriptors(), descriptors_before);
    });
}

/// Sends much to each peer that connects.
struct Pours(Option<TcpServer>);

impl Actor for Pours {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        cx.spawn_meta(self.0.take().expect("once"))?;
        Ok(())
    }

    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Message::TcpConnect(connect) = message {
            let much = MessageTcp::new(connect.id, vec![1; 16 << 20]);
            cx.send_alias(connect.id, much)?;
        }
        Ok(())
    }
}

#[test]
fn count_of_connections_that_were_cut_off_does_not_depend_on_which_deadline_comes_first() {
    const PEERS: usize = 40;
    let deadline = Duration::from_millis(300);
    // The deadline of a close before that of the stop, at the same time, and behind it.
    for close_timeout in [deadline / 2, deadline, deadline, 2 * deadline] {
        let node = node();
        let limits = TcpLimits::default()
            .with_output_limit(64 << 20)
            .with_close_timeout(close_timeout);
        let options = TcpServerOptions::from("127.0.0.1:0").with_limits(limits);
        let server = TcpServer::bind(options).expect("bound");
        let addr = server.local_addr();
        node.spawn(|| Pours(Some(server))).expect("spawned");
        let mut peers: Vec<Client> = (0..PEERS).map(|_| client(addr)).collect();
        for peer in &mut peers {
            read(peer, 1);
        }
        let report = node.stop_with(StopOptions::default().with_timeout(deadline));
        assert_eq!(report.unflushed, PEERS, "{close_timeout:?}: {report}");
        assert!(report.unsent_bytes > 0, "{report}");
    }
}
