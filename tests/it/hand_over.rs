//! Hand-over: a live connection moves to another process, with everything that was not handled.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use longshore::prelude::*;
use longshore::{DisconnectReason, HandOverError};

use crate::support::*;

on_both! {
    frames_that_were_cut_arrive_as_they_are_and_the_framing_stays,
    session_hands_itself_over_and_ends_and_the_new_owner_sets_the_framing,
}

const MIB: usize = 1 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn input_that_was_not_handled_arrives_in_order_with_one_disconnect() {
    for (workers, bound) in [(1, 1_000), (2, 1_000), (2, 4)] {
        let node = node_with(NodeOptions::from("test@localhost").with_workers(workers));
        let options = SpawnOptions::default().with_mailbox_bound(bound);
        let old = Probe::spawn_with(&node, options.clone());
        let new = Probe::spawn_with(&node, options);
        let (addr, _) = old.listen(TcpServerOptions::default().with_read_buffer_size(4096));
        let mut peer = client(addr);
        let id = old.connect().id;
        let gate = old.block();
        let to = new.pid;
        old.start(move |cx| {
            cx.write(id, "last words");
            Ok(cx.hand_over(id, to)?)
        });
        let bytes = pattern(2 * MIB);
        let (mut writer, sent) = (peer.try_clone().unwrap(), bytes.clone());
        let writing = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let stopped = if bound == 4 {
            "paused_by_mailbox"
        } else {
            "paused_by_backlog"
        };
        wait_for(&node, id, stopped, true);
        drop(gate);
        let connect = new.connect();
        assert_eq!((connect.id, connect.handed_over_by), (id, Some(old.pid)));
        assert_eq!(connect.remote_addr, peer.local_addr().unwrap());
        let (got, end) = new.bytes_to_disconnect();
        assert!(got == bytes, "{} bytes of {}", got.len(), bytes.len());
        assert_eq!(end.reason, DisconnectReason::ClosedByPeer);
        writing.join().unwrap();
        assert_eq!(read_to_end(&mut peer), b"last words");
        old.saw_nothing();
        new.saw_nothing();
        stop_clean(&node);
    }
}

#[test]
fn frames_that_were_cut_arrive_as_they_are_and_the_framing_stays() {
    let node = node();
    let (old, new) = (Probe::spawn(&node), Probe::spawn(&node));
    let (addr, _) = old.listen(TcpServerOptions::default().with_framing(Framing::lines()));
    let mut peer = client(addr);
    let id = old.connect().id;
    let gate = old.block();
    let to = new.pid;
    old.start(move |cx| Ok(cx.hand_over(id, to)?));
    peer.write_all(b"one\ntwo\nthr").unwrap();
    wait_for(&node, id, "messages_in", 2);
    drop(gate);
    new.connect();
    assert_eq!([new.tcp().data, new.tcp().data], ["one", "two"]);
    peer.write_all(b"ee\n").unwrap();
    assert_eq!(new.tcp().data, "three");
    new.write(id, "answer");
    assert_eq!(read(&mut peer, 6), b"answer");
    stop_clean(&node);
}

/// Hands itself over at the first line break, with what stands behind it.
struct Greeter(Pid);

impl Session for Greeter {
    fn received(&mut self, cx: &mut SessionContext<'_>, input: &mut Buffer) -> Handled {
        if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            input.advance(end + 1);
            let own = cx.connection().expect("it is connected");
            cx.hand_over(own, self.0)?;
        }
        Ok(())
    }
}

#[test]
fn session_hands_itself_over_and_ends_and_the_new_owner_sets_the_framing() {
    let node = node();
    let (root, new) = (Probe::spawn(&node), Probe::spawn(&node));
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let (addr, to) = (server.local_addr(), new.pid);
    root.run(move |cx| cx.spawn_meta(server.serve(move || Greeter(to))))
        .unwrap();
    let mut peer = client(addr);
    let gate = new.block();
    new.start(|_| Ok(()));
    peer.write_all(b"greeting\none two ").unwrap();
    wait_for_count(&node, "processes", 2);
    drop(gate);
    let connect = new.connect();
    let id = connect.id;
    assert!(connect.handed_over_by.is_some());
    assert_eq!(new.tcp().data, "one two ");
    new.run(move |cx| cx.set_framing(id, Framing::fixed(3)))
        .unwrap();
    // The answer of the connection comes behind the new framing; what it reads before that is not cut.
    inspect(&node, id);
    peer.write_all(b"abcdef").unwrap();
    assert_eq!(new.tcp().data, "abc");
    assert_eq!(new.tcp().data, "def");
    peer.shutdown(Shutdown::Write).unwrap();
    // The connections of sessions are half-open.
    new.peer_closed();
    new.run(move |cx| cx.close(id)).unwrap();
    assert_eq!(new.disconnect().reason, DisconnectReason::LocalClose);
    new.saw_nothing();
    stop_clean(&node);
}

#[test]
fn refused_hand_over_changes_nothing() {
    let node = node();
    let (old, new) = (Probe::spawn(&node), Probe::spawn(&node));
    let (addr, listener) = old.listen(TcpServerOptions::default());
    let mut peer = client(addr);
    let id = old.connect().id;
    let try_hand = |probe: &Probe, id: Alias, to: Pid| probe.run(move |cx| cx.hand_over(id, to));
    let gone = Probe::spawn(&node);
    gone.start(|_| Err(Reason::Normal));
    gone.end();
    wait_until("it is gone", || node.send(gone.pid, ()).is_err());
    assert_eq!(
        try_hand(&old, id, gone.pid),
        Err(HandOverError::NoProcess(gone.pid))
    );
    assert_eq!(
        try_hand(&old, id, old.pid),
        Err(HandOverError::NoProcess(old.pid))
    );
    assert_eq!(
        try_hand(&new, id, new.pid),
        Err(HandOverError::NotOwner(id))
    );
    let refused = try_hand(&old, listener, new.pid);
    assert_eq!(refused, Err(HandOverError::NotEstablished(listener)));
    let (pids, seen) = mpsc::channel();
    struct Named(mpsc::Sender<Pid>);
    impl Session for Named {
        fn connected(&mut self, cx: &mut SessionContext<'_>, _: &MessageTcpConnect) -> Handled {
            self.0.send(cx.pid())?;
            Ok(())
        }

        fn received(&mut self, _: &mut SessionContext<'_>, _: &mut Buffer) -> Handled {
            Ok(())
        }
    }
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let sessions = server.local_addr();
    old.run(move |cx| cx.spawn_meta(server.serve(move || Named(pids.clone()))))
        .unwrap();
    let other = client(sessions);
    let session = value_of(&seen).unwrap();
    assert_eq!(
        try_hand(&old, id, session),
        Err(HandOverError::NotAnOwner(session))
    );
    drop(other);
    exchange_by(&old, id, &mut peer);
    assert_eq!(try_hand(&old, id, new.pid), Ok(()));
    assert_eq!(
        try_hand(&old, id, new.pid),
        Err(HandOverError::NotOwner(id))
    );
    new.connect();
    exchange_by(&new, id, &mut peer);
    stop_clean(&node);
}

fn exchange_by(probe: &Probe, id: Alias, peer: &mut std::net::TcpStream) {
    peer.write_all(b"question").unwrap();
    assert_eq!(probe.bytes(8), b"question");
    probe.write(id, "answer");
    assert_eq!(read(peer, 6), b"answer");
}

#[test]
fn end_of_either_owner_before_the_input_is_there_resets_the_connection() {
    for old_ends in [true, false] {
        let node = node();
        let (old, new) = (Probe::spawn(&node), Probe::spawn(&node));
        let (addr, _) = old.listen(TcpServerOptions::default());
        let mut peer = client(addr);
        let id = old.connect().id;
        let to = new.pid;
        let (held, gate) = mpsc::channel::<()>();
        // The fence stands behind this callback, which goes on until the test lets it.
        old.start(move |cx| {
            cx.hand_over(id, to)?;
            let _ = value_of(&gate);
            if old_ends {
                Err(Reason::Normal)
            } else {
                Ok(())
            }
        });
        new.connect();
        if !old_ends {
            new.start(|_| Err(Reason::Normal));
            assert_eq!(new.end(), Reason::Normal);
            assert_eq!(read_out(&mut peer), Err(ErrorKind::ConnectionReset));
        }
        drop(held);
        if old_ends {
            assert_eq!(read_out(&mut peer), Err(ErrorKind::ConnectionReset));
            assert_eq!(new.disconnect().reason, DisconnectReason::OwnerGone);
            new.saw_nothing();
        } else {
            old.saw_nothing();
        }
        stop_clean(&node);
    }
}

#[test]
fn what_a_full_mailbox_refused_is_not_delivered_behind_input_that_is_lost() {
    for workers in [1, 2] {
        let node = node_with(NodeOptions::from("test@localhost").with_workers(workers));
        let narrow = SpawnOptions::default().with_mailbox_bound(2);
        let (old, new) = (Probe::spawn_with(&node, narrow), Probe::spawn(&node));
        let (addr, _) = old.listen(TcpServerOptions::default().with_read_buffer_size(100));
        let mut peer = client(addr);
        let id = old.connect().id;
        let gate = old.block();
        let to = new.pid;
        // What is in the mailbox ends with the process.
        old.start(move |cx| {
            cx.hand_over(id, to)?;
            Err(Reason::Normal)
        });
        peer.write_all(&pattern(1_000)).unwrap();
        wait_for(&node, id, "paused_by_mailbox", true);
        drop(gate);
        let end = loop {
            match new.next().1 {
                Message::TcpConnect(_) => {}
                Message::TcpDisconnect(end) => break end,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(end.reason, DisconnectReason::OwnerGone);
        assert_eq!(read_out(&mut peer), Err(ErrorKind::ConnectionReset));
        new.saw_nothing();
        stop_clean(&node);
    }
}

#[test]
fn end_of_the_new_owner_ends_the_connection_and_that_of_the_old_one_does_not() {
    let node = node();
    let (root, old, new) = (
        Probe::spawn(&node),
        Probe::spawn(&node),
        Probe::spawn(&node),
    );
    let (addr, _) = old.listen(TcpServerOptions::default());
    let mut peer = client(addr);
    let id = old.connect().id;
    let to = new.pid;
    old.run(move |cx| cx.hand_over(id, to)).unwrap();
    new.connect();
    exchange_by(&new, id, &mut peer);
    old.start(|_| Err(Reason::Normal));
    assert_eq!(old.end(), Reason::Normal);
    exchange_by(&new, id, &mut peer);
    new.start(|_| Err(Reason::Normal));
    assert_eq!(new.end(), Reason::Normal);
    assert_eq!(read_to_end(&mut peer), b"");
    drop(peer);
    wait_for_count(&node, "meta_processes", 0);
    root.saw_nothing();
    stop_clean(&node);
}

/// Hands its connection to the other one of two when it is asked to, and notes what it gets.
struct Player {
    other: Arc<Mutex<Vec<Pid>>>,
    index: usize,
    owned: Option<Alias>,
    seen: mpsc::Sender<Noted>,
}

#[derive(Debug)]
enum Noted {
    Connect,
    Bytes(Buffer),
    End(DisconnectReason),
}

struct Pass;

impl Actor for Player {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::TcpConnect(connect) => {
                self.owned = Some(connect.id);
                self.seen.send(Noted::Connect)?;
            }
            Message::Tcp(packet) => {
                assert_eq!(Some(packet.id), self.owned, "a packet of another owner");
                self.seen.send(Noted::Bytes(packet.data))?;
            }
            Message::TcpDisconnect(end) => self.seen.send(Noted::End(end.reason.clone()))?,
            message if message.is::<Pass>() => {
                let to = self.other.lock().unwrap()[1 - self.index];
                if let Some(id) = self.owned
                    && cx.hand_over(id, to).is_ok()
                {
                    self.owned = None;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn players(
    node: &Node,
    bound: u32,
    options: TcpServerOptions,
) -> (SocketAddr, [Pid; 2], mpsc::Receiver<Noted>) {
    let (seen, noted) = mpsc::channel();
    let pids = Arc::new(Mutex::new(Vec::new()));
    let spawned = [0, 1].map(|index| {
        let player = Player {
            other: Arc::clone(&pids),
            index,
            owned: None,
            seen: seen.clone(),
        };
        let options = SpawnOptions::default()
            .with_name(["player", "other"][index])
            .with_mailbox_bound(bound);
        node.spawn_with(options, move || player).unwrap()
    });
    pids.lock().unwrap().extend(spawned);
    let root = Probe::spawn(node);
    let (addr, _) = root.listen(options.with_process_pool(["player"]));
    (addr, spawned, noted)
}

#[test]
fn hand_overs_at_any_moment_under_load_lose_nothing_and_repeat_nothing() {
    for (workers, bound) in [(1, 1_000), (2, 1_000), (4, 1_000), (1, 1), (2, 2), (4, 3)] {
        let node = node_with(NodeOptions::from("test@localhost").with_workers(workers));
        let options = TcpServerOptions::default().with_read_buffer_size(2_000);
        let (addr, pids, noted) = players(&node, bound, options);
        let mut peer = client(addr);
        let bytes = pattern(8 * MIB);
        let sent = bytes.clone();
        let writing = thread::spawn(move || {
            for part in sent.chunks(1_500) {
                peer.write_all(part).unwrap();
            }
            peer
        });
        // Twice at once at times: the second one waits for the fence of the first.
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let (mut got, mut connects) = (Vec::new(), 0);
        while got.len() < bytes.len() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            for pid in pids {
                if random & 1 == 0 {
                    // A full mailbox refuses it.
                    _ = node.send(pid, Pass);
                }
                random >>= 3;
            }
            match value_of(&noted).expect("more is to come") {
                Noted::Connect => connects += 1,
                Noted::Bytes(data) => got.extend_from_slice(&data),
                Noted::End(reason) => panic!("{reason}"),
            }
        }
        assert!(got == bytes, "other bytes than were sent");
        assert!(connects > 2, "{connects} hand-overs");
        drop(writing.join().unwrap());
        loop {
            match value_of(&noted).expect("the Disconnect") {
                Noted::Connect => {}
                Noted::Bytes(data) => panic!("{} bytes more", data.len()),
                Noted::End(_) => break,
            }
        }
        stop_clean(&node);
        assert!(noted.try_recv().is_err(), "something behind the Disconnect");
    }
}
