//! Handlers that block: what continues nevertheless.

use std::io::Write;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::*;

#[test]
fn a_message_that_comes_while_the_only_worker_awake_blocks_is_handled() {
    let node = node();
    let (blocked, other) = (Probe::spawn(&node), Probe::spawn(&node));
    for round in 0..20_u32 {
        let gate = blocked.block();
        // The message is sent before the monitor has marked the worker stuck.
        node.send(other.pid, round).expect("delivered");
        assert_eq!(other.value::<u32>(), round);
        drop(gate);
        blocked.run(|_| ());
    }
    stop_clean(&node);
}

#[test]
fn what_a_handler_sends_before_and_while_it_blocks_is_handled() {
    let node = node();
    let (blocked, other) = (Probe::spawn(&node), Probe::spawn(&node));
    let to = other.pid;
    for _ in 0..5 {
        let (step, steps) = mpsc::channel::<()>();
        blocked.start(move |cx| {
            for number in 0..3_u32 {
                cx.send(to, number)?;
                let _ = value_of(&steps);
            }
            Ok(())
        });
        for number in 0..3_u32 {
            assert_eq!(other.value::<u32>(), number);
            step.send(()).expect("it waits");
        }
        blocked.run(|_| ());
    }
    stop_clean(&node);
}

/// All wait for each other: the client for all replies, the processes for its messages. One worker could do all of it,
/// half as fast.
#[test]
fn processes_with_long_handlers_run_side_by_side() {
    struct Computes(Arc<AtomicU32>, mpsc::Sender<bool>);
    impl Actor for Computes {
        fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
            let Message::Tcp(packet) = message else {
                return Ok(());
            };
            let mut others = self.0.fetch_add(1, Relaxed);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(200) {
                others = others.max(self.0.load(Relaxed) - 1);
            }
            self.0.fetch_sub(1, Relaxed);
            let _ = self.1.send(others > 0);
            cx.send_alias(packet.id, packet)?;
            Ok(())
        }
    }
    let node = node_with(NodeOptions::from("test@localhost").with_workers(2));
    let (running, (handled, was_handled)) = (Arc::new(AtomicU32::new(0)), mpsc::channel());
    for name in ["one", "two"] {
        let (running, handled) = (Arc::clone(&running), handled.clone());
        node.spawn_register(name, move || {
            Computes(Arc::clone(&running), handled.clone())
        })
        .expect("spawned");
    }
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default().with_process_pool(["one", "two"]));
    let mut clients: Vec<_> = (0..20).map(|_| client(addr)).collect();
    let (begun, mut side_by_side) = (Instant::now(), 0);
    while side_by_side < 500 {
        assert!(
            begun.elapsed() < LIMIT,
            "{side_by_side} handlers have run beside another"
        );
        for client in &mut clients {
            client.write_all(b"x").expect("written");
        }
        for client in &mut clients {
            read(client, 1);
        }
        side_by_side += was_handled.try_iter().filter(|beside| *beside).count();
    }
    stop_clean(&node);
}

#[test]
fn sockets_and_timers_are_served_while_every_worker_blocks() {
    let node = node();
    let (one, two) = (Probe::spawn(&node), Probe::spawn(&node));
    let owner = Probe::spawn(&node);
    let (addr, listener) = owner.listen(TcpServerOptions::default());
    let timer_to = owner.pid;
    let gates = (one.block(), two.block());
    let _clients: Vec<_> = (0..10).map(|_| client(addr)).collect();
    // The answer comes from the poll loop, while no process runs.
    wait_for(&node, listener, "accepted", 10);
    owner.saw_nothing_yet();
    drop(gates);
    for _ in 0..10 {
        owner.connect();
    }
    one.run(move |cx| cx.send_after(timer_to, "late", Duration::ZERO));
    assert_eq!(owner.value::<&str>(), "late");
    stop_clean(&node);
}

#[test]
fn a_node_of_one_worker_does_everything() {
    let node = node_with(
        NodeOptions::from("small@localhost")
            .with_workers(1)
            .with_stripes(1),
    );
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let connection = probe.connect_to(addr);
    let ids = [probe.connect().id, probe.connect().id];
    let other = if ids[0] == connection { ids[1] } else { ids[0] };
    probe.write(connection, "ping");
    let packet = probe.tcp();
    assert_eq!((packet.id, &packet.data[..]), (other, &b"ping"[..]));
    stop_clean(&node);
}

#[test]
fn many_workers_and_stripes_do_everything() {
    let node = node_with(
        NodeOptions::from("large@localhost")
            .with_workers(16)
            .with_stripes(64),
    );
    let probe = Probe::spawn(&node);
    let (addr, _) = probe.listen(TcpServerOptions::default());
    let mut clients: Vec<_> = (0..100).map(|_| client(addr)).collect();
    let ids: std::collections::HashSet<_> = (0..100).map(|_| probe.connect().id).collect();
    assert_eq!(ids.len(), 100);
    for stream in &mut clients {
        stream.write_all(b"x").expect("written");
    }
    for _ in 0..100 {
        let id = probe.tcp().id;
        probe.write(id, "y");
    }
    for stream in &mut clients {
        assert_eq!(read(stream, 1), b"y");
    }
    drop(clients);
    for _ in 0..100 {
        probe.disconnect();
    }
    stop_clean(&node);
}

#[test]
fn wrong_numbers_of_workers_stripes_and_processes_are_named() {
    for (options, field) in [
        (NodeOptions::from("x").with_workers(0), "workers"),
        (NodeOptions::from("x").with_workers(100_000), "workers"),
        (NodeOptions::from("x").with_stripes(0), "stripes"),
        (NodeOptions::from("x").with_stripes(100_000), "stripes"),
        (
            NodeOptions::from("x").with_max_processes(0),
            "max_processes",
        ),
        (
            NodeOptions::from("x").with_mailbox_bound(0),
            "mailbox_bound",
        ),
        (NodeOptions::from("x").with_data_bound(0), "data_bound"),
    ] {
        match Node::start(options) {
            Err(longshore::Error::Option(error)) => assert_eq!(error.field(), field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

/// Sends a burst for each message that it sends itself.
struct Flooder {
    to: Pid,
    bursts: Arc<AtomicU32>,
}

impl Actor for Flooder {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        if self.bursts.fetch_add(1, Relaxed) == 50 {
            return Err(Reason::Normal);
        }
        for number in 0..256_u32 {
            cx.send(self.to, number)?;
        }
        cx.send(cx.pid(), ())?;
        Ok(())
    }
}

#[test]
fn a_process_that_sends_a_lot_lets_the_receiver_come_to_it() {
    let node =
        Node::start(NodeOptions::from("flood@localhost").with_workers(1)).expect("a node starts");
    let bursts = Arc::new(AtomicU32::new(0));
    let (seen, first_seen) = mpsc::channel();
    let receiver = Receiver {
        bursts: Arc::clone(&bursts),
        seen: Some(seen),
    };
    let to = node.spawn(move || receiver).expect("spawned");
    let flooder = node.spawn({
        let bursts = Arc::clone(&bursts);
        move || Flooder { to, bursts }
    });
    node.send(flooder.expect("spawned"), ()).expect("delivered");
    assert_eq!(
        value_of(&first_seen),
        Ok(1),
        "bursts sent when the first message of them is handled"
    );
    stop_clean(&node);
}

/// Reports how many bursts had been sent when its first message arrived.
struct Receiver {
    bursts: Arc<AtomicU32>,
    seen: Option<mpsc::Sender<u32>>,
}

impl Actor for Receiver {
    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, _: Message) -> Handled {
        if let Some(seen) = self.seen.take() {
            // The test may have ended.
            let _ = seen.send(self.bursts.load(Relaxed));
        }
        Ok(())
    }
}

/// Answers short messages; those of a flood are longer.
struct Patient;

impl Actor for Patient {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Message::Tcp(packet) = message
            && packet.data.len() < 8
        {
            let _ = cx.send_alias(packet.id, packet);
        }
        Ok(())
    }
}

#[test]
fn connections_that_always_have_more_to_read_do_not_hold_up_the_others() {
    let node =
        Node::start(NodeOptions::from("bulk@localhost").with_workers(1)).expect("a node starts");
    node.spawn_register("patient", || Patient).expect("spawned");
    let parent = Probe::spawn(&node);
    // The small buffer makes the reader slower than the writers.
    let options = TcpServerOptions::default()
        .with_read_buffer_size(64)
        .with_process_pool(["patient"]);
    let (addr, _) = parent.listen(options);
    let mut other = client(addr);
    let floods: Vec<_> = (0..3).map(|_| client(addr)).collect();
    exchange(&mut other, b"ready", b"ready");
    let writers: Vec<_> = floods
        .iter()
        .map(|flood| flood.try_clone().expect("a second handle"))
        .map(|mut flood| {
            std::thread::spawn(move || while flood.write_all(&[b'x'; 64 << 10]).is_ok() {})
        })
        .collect();
    for number in 0..100_u32 {
        exchange(&mut other, &number.to_be_bytes(), &number.to_be_bytes());
    }
    // New connections do not wait for the floods either.
    exchange(&mut client(addr), b"new", b"new");
    for flood in floods {
        flood
            .shutdown(std::net::Shutdown::Both)
            .expect("the flood goes on until here");
    }
    writers
        .into_iter()
        .for_each(|writer| writer.join().expect("no panic"));
    stop_clean(&node);
}
