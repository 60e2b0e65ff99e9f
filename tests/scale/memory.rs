//! The memory of an idle connection and of an idle process.
//!
//! ```text
//! cargo test --release --test scale memory -- --nocapture
//! ```

use std::time::{Duration, Instant};

use longshore::prelude::*;

use crate::support::{
    Handled, PATIENCE, alone, connect, descriptors_allowed, eventually, heap_blocks, heap_bytes,
    node, resident_bytes, round_trip, scaled,
};

/// What glibc's allocator adds to each block: a word, and rounding to 16 bytes.
const PER_BLOCK: f64 = 12.0;

struct Measure {
    bytes: i64,
    blocks: i64,
    resident: i64,
}

impl Measure {
    fn now() -> Self {
        Self {
            bytes: heap_bytes(),
            blocks: heap_blocks(),
            resident: resident_bytes(),
        }
    }

    /// Prints the growth since then, for each of `count`; returns the bytes that were allocated.
    fn report(&self, what: &str, count: usize) -> f64 {
        let now = Self::now();
        let each = |grown: i64| grown as f64 / count as f64;
        let (bytes, blocks) = (each(now.bytes - self.bytes), each(now.blocks - self.blocks));
        println!(
            "{what}: {bytes:.0} bytes asked for in {blocks:.2} blocks ({:.0} with the allocator's own), resident {:.0}",
            bytes + blocks * PER_BLOCK,
            each(now.resident - self.resident)
        );
        bytes
    }
}

#[test]
fn memory_of_an_idle_connection_is_below_480_bytes() {
    let _turn = alone();
    let connections = scaled(8_000, 1_000);
    if !descriptors_allowed(2 * connections as u64 + 200) {
        return;
    }
    let node = node(2);
    let owner = node.spawn(QuietOwner::default).unwrap();
    let server = TcpServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr();
    node.send(owner, server).unwrap();
    // Warm up the node's own structures: scratch buffers, pools, queues.
    let mut warm: Vec<_> = (0..8).map(|_| connect(address)).collect();
    for stream in &mut warm {
        round_trip(stream, &[1; 64]);
    }
    let mut streams = Vec::with_capacity(connections);
    let before = Measure::now();
    streams.extend((0..connections).map(|_| connect(address)));
    let open = |count: usize| {
        move |node: &Node| node.metrics().get("longshore_meta_processes") == Some(count as u64 + 9)
    };
    eventually("all accepted", || open(connections)(&node));
    node.call(owner, (), PATIENCE).unwrap();
    before.report(
        &format!("a connection of {connections}, just accepted"),
        connections,
    );
    for stream in &mut streams {
        round_trip(stream, &[2; 64]);
    }
    node.call(owner, (), PATIENCE).unwrap();
    let bytes = before.report(
        &format!("a connection of {connections}, after one echo"),
        connections,
    );
    println!(
        "the pool keeps {} bytes",
        node.buffer_pool().retained_bytes()
    );
    assert!(bytes < 480.0, "{bytes:.0} bytes for each idle connection");
    drop((streams, warm));
    assert!(node.stop().is_clean());
}

#[test]
fn memory_of_an_idle_connection_with_its_session_is_below_900_bytes() {
    let _turn = alone();
    let connections = scaled(8_000, 1_000);
    if !descriptors_allowed(2 * connections as u64 + 200) {
        return;
    }
    let node = node(2);
    let address = crate::sessions::serve(&node);
    let mut warm: Vec<_> = (0..8).map(|_| connect(address)).collect();
    for stream in &mut warm {
        round_trip(stream, b"question");
    }
    let mut streams = Vec::with_capacity(connections);
    let before = Measure::now();
    streams.extend((0..connections).map(|_| connect(address)));
    for stream in &mut streams {
        round_trip(stream, b"question");
    }
    let bytes = before.report(
        &format!("a connection of {connections} with its session, after one echo"),
        connections,
    );
    assert!(bytes < 900.0, "{bytes:.0} bytes for each connection");
    drop((streams, warm));
    assert!(node.stop().is_clean());
}

/// Echoes without keeping state.
#[derive(Default)]
struct QuietOwner;

impl Actor for QuietOwner {
    fn handle_message(&mut self, cx: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        match message {
            Message::Tcp(packet) => {
                let _ = cx.send_alias(packet.id, packet);
            }
            Message::User(_) => {
                let Ok(server) = message.downcast::<TcpServer>() else {
                    return Ok(());
                };
                cx.spawn_meta(server)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_call(&mut self, _: &mut Context<'_>, _: Pid, _: Message, reply: Reply) -> Handled {
        reply.send(());
        Ok(())
    }
}

#[test]
fn memory_of_an_idle_process_is_below_700_bytes() {
    let _turn = alone();
    let processes = scaled(100_000, 10_000);
    let node = node(2);
    let warm: Vec<Pid> = (0..100)
        .map(|_| node.spawn(QuietOwner::default).unwrap())
        .collect();
    for pid in &warm {
        node.call(*pid, (), PATIENCE).unwrap();
    }
    let mut pids = Vec::with_capacity(processes);
    let before = Measure::now();
    pids.extend((0..processes).map(|_| node.spawn(QuietOwner::default).unwrap()));
    let fresh = before.report(
        &format!("a process of {processes}, just spawned"),
        processes,
    );
    for pid in &pids {
        node.send(*pid, 1_u8).unwrap();
    }
    for pid in &pids {
        node.call(*pid, (), PATIENCE).unwrap();
    }
    let used = before.report(
        &format!("a process of {processes}, after two messages"),
        processes,
    );
    assert!(
        fresh < 700.0 && used < 700.0,
        "{fresh:.0} and {used:.0} bytes for each process"
    );
    assert!(node.stop().is_clean());
}

#[test]
fn a_million_idle_processes_take_what_one_of_a_few_takes() {
    let _turn = alone();
    let processes = scaled(1_000_000, 50_000);
    let node = node(2);
    let few = processes / 10;
    let spawn = |count: usize| -> (Vec<Pid>, f64, Duration) {
        let mut pids = Vec::with_capacity(count);
        let (before, began) = (Measure::now(), Instant::now());
        pids.extend((0..count).map(|_| node.spawn(QuietOwner::default).unwrap()));
        let taken = began.elapsed();
        let bytes = before.report(&format!("a process of {count}"), count);
        (pids, bytes, taken)
    };
    let end = |pids: Vec<Pid>| {
        let began = Instant::now();
        for pid in pids {
            node.send_exit(pid, Reason::Shutdown).unwrap();
        }
        eventually("all have ended", || {
            node.metrics().get("longshore_processes") == Some(0)
        });
        began.elapsed()
    };
    let (pids, few_bytes, _) = spawn(few);
    end(pids);
    let (pids, bytes, spawned) = spawn(processes);
    let ended = end(pids);
    let rate = |time: Duration| processes as f64 / time.as_secs_f64();
    println!(
        "{processes} processes: {bytes:.0} bytes each, {:.0}/s spawned, {:.0}/s ended",
        rate(spawned),
        rate(ended)
    );
    assert!(bytes < 700.0, "{bytes:.0} bytes for each process");
    // Cells of those that have ended are used again.
    assert!(bytes < few_bytes * 1.3, "{bytes:.0} and {few_bytes:.0}");
    assert!(node.stop().is_clean());
}
