//! The drain of one listener, over real sockets.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use longshore::prelude::*;
use longshore::{DisconnectReason, MessageDrained, MessageTcpDisconnect, SocketKind, StopOptions};

use crate::support::*;

#[derive(Debug, PartialEq)]
enum Noted {
    Connected,
    Draining,
    End(DisconnectReason),
}

/// Answers each line with itself, and notes what happens. `stays`: it does nothing when it is drained.
struct Lines {
    noted: mpsc::Sender<Noted>,
    stays: bool,
}

impl Session for Lines {
    fn connected(&mut self, _: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
        self.noted.send(Noted::Connected)?;
        Ok(())
    }

    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            cx.write(input.split_to(end + 1));
        }
        Ok(())
    }

    fn draining(&mut self, cx: &mut SessionContext<'_>) -> Handled {
        self.noted.send(Noted::Draining)?;
        if !self.stays {
            cx.close_when_idle();
        }
        Ok(())
    }

    fn disconnected(&mut self, _: &mut SessionContext<'_>, end: &MessageTcpDisconnect) {
        let _ = self.noted.send(Noted::End(end.reason.clone()));
    }
}

struct Site {
    node: Node,
    probe: Probe,
    addr: SocketAddr,
    listener: Alias,
    noted: mpsc::Receiver<Noted>,
}

impl Site {
    fn new(stays: bool) -> Self {
        Self::with(Framing::Raw, stays)
    }

    fn with(framing: Framing, stays: bool) -> Self {
        let node = node();
        let probe = Probe::spawn(&node);
        let options = TcpServerOptions::default().with_framing(framing);
        let server = TcpServer::bind(options).unwrap();
        let addr = server.local_addr();
        let (sender, noted) = mpsc::channel();
        let listener = probe
            .run(move |cx| {
                cx.spawn_meta(server.serve(move || Lines {
                    noted: sender.clone(),
                    stays,
                }))
            })
            .unwrap();
        Self {
            node,
            probe,
            addr,
            listener,
            noted,
        }
    }

    fn client(&self) -> Client {
        let peer = client(self.addr);
        assert_eq!(self.next(), Noted::Connected);
        peer
    }

    fn next(&self) -> Noted {
        self.noted.recv_timeout(LIMIT).expect("a note")
    }

    fn drain(&self, deadline: Duration) {
        let listener = self.listener;
        self.probe
            .run(move |cx| cx.drain(listener, deadline))
            .expect("it listens");
    }
}

fn drained(probe: &Probe) -> MessageDrained {
    match probe.next().1 {
        Message::Drained(drained) => drained,
        other => panic!("another message: {other:?}"),
    }
}

#[test]
fn idle_sessions_close_and_the_one_with_half_a_request_ends_it_first() {
    let site = Site::new(false);
    let mut idle = [site.client(), site.client()];
    let mut busy = site.client();
    busy.write_all(b"whole\nha").unwrap();
    assert_eq!(read(&mut busy, 6), b"whole\n");
    site.drain(LIMIT);
    for _ in 0..3 {
        while site.next() != Noted::Draining {}
    }
    for peer in &mut idle {
        assert_eq!(read_to_end(peer), b"");
    }
    let refused = std::net::TcpStream::connect(site.addr).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
    // The address is free, although a connection of the listener is open.
    drop(TcpServer::bind(site.addr).unwrap());
    site.probe.saw_nothing_yet();
    busy.write_all(b"lf\n").unwrap();
    assert_eq!(read_to_end(&mut busy), b"half\n");
    drop((idle, busy));
    let end = drained(&site.probe);
    assert_eq!((end.id, end.finished, end.closed), (site.listener, 3, 0));
    wait_for_count(&site.node, "meta_processes", 0);
    wait_for_count(&site.node, "processes", 1);
    stop_clean(&site.node);
}

#[test]
fn what_the_peer_has_sent_is_answered_before_a_drained_session_closes() {
    answers_all_that_the_peer_has_sent(Site::new(false));
}

// A session is idle behind each frame, although the socket has more than the window lets through.
#[test]
fn frames_in_the_socket_are_answered_before_a_drained_session_closes() {
    answers_all_that_the_peer_has_sent(Site::with(Framing::fixed(100_000), false));
}

#[test]
fn half_a_frame_is_waited_for_before_a_drained_session_closes() {
    let site = Site::with(Framing::fixed(6), false);
    let [mut whole, mut half] = [site.client(), site.client()];
    half.write_all(b"whole\nhal").unwrap();
    assert_eq!(read(&mut half, 6), b"whole\n");
    site.drain(LIMIT);
    assert_eq!(read_to_end(&mut whole), b"");
    drop(whole);
    site.probe.saw_nothing_yet();
    half.write_all(b"f!\n").unwrap();
    assert_eq!(read_to_end(&mut half), b"half!\n");
    drop(half);
    assert_eq!(drained(&site.probe).finished, 2);
    stop_clean(&site.node);
}

#[test]
fn peer_that_always_sends_does_not_hold_up_a_stop() {
    // It has nothing left behind each message, and the socket has more.
    struct Takes;
    impl Session for Takes {
        fn received(&mut self, _: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
            drop(input.take());
            Ok(())
        }
    }
    let node = node();
    let probe = Probe::spawn(&node);
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr();
    probe
        .run(move |cx| cx.spawn_meta(server.serve(|| Takes)))
        .unwrap();
    let (begun, has_begun) = mpsc::channel();
    let writing: Vec<_> = (0..4)
        .map(|_| {
            let (mut peer, begun) = (client(addr), begun.clone());
            thread::spawn(move || {
                let block = vec![b'x'; 1 << 20];
                // It ends with the connection.
                while peer.write_all(&block).is_ok() {
                    let _ = begun.send(());
                }
            })
        })
        .collect();
    for _ in 0..100 {
        has_begun.recv_timeout(LIMIT).expect("a write");
    }
    // The peers take the whole time of the flush: they end by its deadline, and not by themselves.
    let mut options = StopOptions::default();
    options.flush_timeout = Duration::from_millis(100);
    let report = node.stop_with(options);
    assert_eq!(report.undrained, 0, "{report}");
    writing
        .into_iter()
        .for_each(|writing| writing.join().unwrap());
}

/// The peer has sent what the sockets take: its answers fit neither the output nor the sockets, and it reads later.
fn answers_all_that_the_peer_has_sent(site: Site) {
    let mut peer = site.client();
    let line = [vec![b'x'; 99_999], vec![b'\n']].concat();
    let mut sent = 0;
    // What the session has not read by the drain stands in the sockets, and nothing more comes of its own accord: a
    // peer that is still to write may be found with nothing sent.
    peer.set_nonblocking(true).unwrap();
    wait_until(
        "the output is above its mark, and the sockets are full",
        || {
            while let Ok(written) = peer.write(&line[sent % line.len()..]) {
                sent += written;
            }
            site.node.sockets().any(|socket| {
            matches!(socket.kind, SocketKind::Connection(info) if info.high_water_events > 0)
        })
        },
    );
    peer.set_nonblocking(false).unwrap();
    site.drain(LIMIT);
    // The end of a line that has begun, for which the session waits.
    let mut writer = peer.try_clone().unwrap();
    let (rest, lines) = (line[sent % line.len()..].to_vec(), sent / line.len() + 1);
    let writing = thread::spawn(move || writer.write_all(&rest).unwrap());
    for _ in 0..lines {
        assert_eq!(read(&mut peer, line.len()), line);
    }
    writing.join().unwrap();
    assert_eq!(read_to_end(&mut peer), b"");
    drop(peer);
    assert_eq!(drained(&site.probe).finished, 1);
    assert_eq!(site.next(), Noted::Draining);
    assert_eq!(site.next(), Noted::End(DisconnectReason::LocalClose));
    stop_clean(&site.node);
}

#[test]
fn sessions_that_stay_are_closed_at_the_deadline() {
    let site = Site::new(true);
    let mut peers = [site.client(), site.client()];
    site.drain(Duration::from_millis(200));
    // A second drain brings the deadline no later.
    site.drain(LIMIT);
    for peer in &mut peers {
        assert_eq!(read_to_end(peer), b"");
    }
    drop(peers);
    let end = drained(&site.probe);
    assert_eq!((end.finished, end.closed), (0, 2));
    let mut notes: Vec<_> = (0..4).map(|_| site.next()).collect();
    notes.sort_by_key(|note| *note != Noted::Draining);
    let closed = || Noted::End(DisconnectReason::Drain);
    assert_eq!(
        notes,
        [Noted::Draining, Noted::Draining, closed(), closed()]
    );
    site.probe.saw_nothing();
    stop_clean(&site.node);
}

#[test]
fn connections_of_an_actor_are_its_own_until_the_deadline() {
    let node = node();
    let probe = Probe::spawn(&node);
    let (addr, listener) = probe.listen(TcpServerOptions::default());
    let (other, _) = probe.listen(TcpServerOptions::default());
    let mut peer = client(addr);
    let id = probe.connect().id;
    let mut stays = client(other);
    let left = probe.connect().id;
    let drain = move |cx: &mut Context<'_>| cx.drain(listener, Duration::from_millis(100));
    probe.run(drain).unwrap();
    let end = probe.disconnect();
    assert_eq!((end.id, end.reason), (id, DisconnectReason::Drain));
    assert_eq!(read_to_end(&mut peer), b"");
    assert_eq!(drained(&probe).closed, 1);
    assert!(probe.run(drain).is_err(), "the listener has ended");
    // That of another listener goes on.
    probe.write(left, "still here");
    assert_eq!(read(&mut stays, 10), b"still here");
    stop_clean(&node);
}

#[test]
fn drain_ends_with_the_last_connection_whenever_that_ends() {
    let node = node();
    let probe = Probe::spawn(&node);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..200 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (addr, listener) = probe.listen(TcpServerOptions::default());
        let peers: Vec<Client> = (0..round % 3).map(|_| client(addr)).collect();
        for _ in &peers {
            probe.connect();
        }
        let (open, spins) = (peers.len(), random % 20_000);
        let ending = thread::spawn(move || {
            (0..spins).for_each(|_| std::hint::spin_loop());
            drop(peers);
        });
        let drain = move |cx: &mut Context<'_>| cx.drain(listener, LIMIT);
        probe.run(drain).unwrap();
        let mut ended = 0;
        let end = loop {
            match probe.next().1 {
                Message::TcpDisconnect(_) => ended += 1,
                Message::Drained(end) => break end,
                other => panic!("another message: {other:?}"),
            }
        };
        // Each Disconnect comes before the message; some had come before the drain began.
        assert_eq!(ended, open, "round {round}");
        assert!(end.finished <= open && end.closed == 0, "round {round}");
        ending.join().unwrap();
    }
    wait_for_count(&node, "meta_processes", 0);
    stop_clean(&node);
}

#[test]
fn stop_of_the_node_lets_sessions_come_to_their_end() {
    let site = Site::new(false);
    let mut peer = site.client();
    let node = site.node.clone();
    let stopping = thread::spawn(move || node.stop());
    assert_eq!(site.next(), Noted::Draining);
    assert_eq!(site.next(), Noted::End(DisconnectReason::LocalClose));
    assert_eq!(read_to_end(&mut peer), b"");
    drop(peer);
    assert_eq!(stopping.join().unwrap().killed, []);
}

/// An owner that serves one listener with sessions.
#[cfg(feature = "testing")]
struct Serving {
    noted: mpsc::Sender<Noted>,
}

#[cfg(feature = "testing")]
impl Actor for Serving {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let noted = self.noted.clone();
        let session = move || Lines {
            noted: noted.clone(),
            stays: false,
        };
        cx.spawn_meta(TcpServer::bind("127.0.0.1:7000")?.serve(session))?;
        Ok(())
    }
}

#[test]
#[cfg(feature = "testing")]
fn stop_lets_sessions_come_to_their_end_in_whatever_order_the_threads_run() {
    longshore::testing::explore(0..50, |world| {
        let node = longshore::testing::TestNode::start(world);
        let (sender, noted) = mpsc::channel();
        let serving = move || Serving {
            noted: sender.clone(),
        };
        node.spawn(serving).expect("a simulated port is free");
        let peers = [0; 3].map(|_| node.connect("127.0.0.1:7000".parse().expect("an address")));
        world.run_until_idle();
        assert!(node.stop().is_clean());
        let ends: Vec<_> = noted
            .try_iter()
            .filter_map(|noted| match noted {
                Noted::End(reason) => Some(reason),
                _ => None,
            })
            .collect();
        assert_eq!(ends, [const { DisconnectReason::LocalClose }; 3]);
        drop(peers);
    });
}
