//! An idle node makes no system calls.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore::prelude::*;

use crate::support::{Owner, Witness, alone, connect, eventually, node, round_trip};

/// How often each thread of the runtime has yielded its processor or was preempted.
fn switches() -> BTreeMap<String, u64> {
    let mut switches = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(name) = std::fs::read_to_string(task.path().join("comm")) else {
            continue;
        };
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let count = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        if name.starts_with("longshore") {
            let id = format!("{} {}", name.trim(), task.file_name().display());
            switches.insert(
                id,
                count("voluntary_ctxt_switches") + count("nonvoluntary_ctxt_switches"),
            );
        }
    }
    switches
}

/// A thread needs a system call to sleep and to wake up, so a second without a change is a second without system calls.
#[test]
fn idle_node_makes_no_system_call() {
    let _turn = alone();
    for workers in [1, 2, 4] {
        let node = node(workers);
        let (witness, seen) = Witness::spawn(&node);
        let owner = node.spawn(Owner::new).unwrap();
        let server = TcpServer::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr();
        node.send(owner, server).unwrap();
        let mut stream = connect(address);
        round_trip(&mut stream, b"a connection that has been used");
        node.send(witness, 1_u64).unwrap();
        seen.recv().unwrap();
        // A thread has its name only after it has started.
        eventually("the workers and the monitor have started", || {
            switches().len() == workers + 1
        });
        let mut last = switches();
        // The monitor sleeps some checks after the last worker.
        eventually("a second without any system call", || {
            std::thread::sleep(Duration::from_secs(1));
            let now = switches();
            std::mem::replace(&mut last, now.clone()) == now
        });
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(switches(), last, "woke up without a reason");
        // The node still serves.
        round_trip(&mut stream, b"awake");
        println!("{workers} workers: no thread of the node ran in two idle seconds");
        assert!(node.stop().is_clean());
    }
}
