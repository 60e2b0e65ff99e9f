//! A service under faults: a counter whose connections are reset and stalled and whose process is killed, over 1,000
//! seeds in a few seconds. Nothing here uses a socket or the clock of the system, and one thread runs at a time.
//!
//! ```text
//! cargo run --release --example simulation
//! LONGSHORE_SEEDS=7 cargo run --release --example simulation    # one seed, for a debugger
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use longshore::prelude::*;
use longshore::testing::{FaultKind, FaultOptions, TestNode, explore};

/// Answers each line with the number of lines so far. All clients share the count.
#[derive(Default)]
struct Counter {
    count: u64,
}

impl Actor for Counter {
    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), Reason> {
        let lines = Framing::lines().with_max_length(64);
        let options = TcpServerOptions::from("127.0.0.1:7000").with_framing(lines);
        cx.spawn_meta(TcpServer::bind(options)?)?;
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        _from: Pid,
        message: Message,
    ) -> Result<(), Reason> {
        if let Message::Tcp(line) = message {
            self.count += 1;
            cx.write(line.id, format!("{}\n", self.count));
        }
        Ok(())
    }
}

fn main() {
    let kinds = [FaultKind::Reset, FaultKind::Stall, FaultKind::Pause];
    let faults = FaultOptions::default().with_count(1..=5).with_kinds(kinds);
    explore(0..1_000, |world| {
        let node = TestNode::start(world);
        node.spawn(Counter::default)
            .expect("a simulated port is free");
        let address = "127.0.0.1:7000".parse().expect("an address");
        let clients: Vec<_> = (0..4).map(|_| node.connect(address)).collect();
        world.inject(&faults);
        let mut sent = 0;
        for _ in 0..20 {
            clients[world.draw(4) as usize].write(b"one more\n");
            sent += 1;
            world.advance(Duration::from_millis(world.draw(100)));
        }
        world.advance(Duration::from_secs(1));
        let mut given = BTreeSet::new();
        for client in &clients {
            let received = client.take_received();
            // What a reset has cut off is no whole line.
            let end = received
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            let lines = std::str::from_utf8(&received[..end])
                .expect("digits")
                .lines();
            let numbers: Vec<u64> = lines.map(|line| line.parse().expect("a number")).collect();
            assert!(
                numbers.is_sorted(),
                "a client counts backwards: {numbers:?}"
            );
            for number in numbers {
                assert!(given.insert(number), "two clients got {number}");
                assert!(number <= sent, "{number} of {sent}");
            }
        }
        drop(clients);
        assert!(node.stop().killed.is_empty());
    });
    println!("every seed holds");
}
