//! How fast a simulated node is. The test prints and is run by hand, in an optimized build and on one core:
//!
//! ```text
//! taskset -c 0 cargo test --release --lib rates -- --ignored --nocapture
//! ```

use super::Handled;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::prelude::*;
use crate::testing::*;

/// Bytes of a message.
const LENGTH: usize = 64;
/// Bytes of one write of the client.
const WRITE: usize = 1 << 20;

/// Counts messages.
struct Sink(Arc<AtomicU64>);

impl Actor for Sink {
    fn init(&mut self, cx: &mut Context<'_>) -> Handled {
        let options = TcpServerOptions::from("127.0.0.1:7000").with_framing(Framing::fixed(LENGTH));
        cx.spawn_meta(TcpServer::bind(options)?)?;
        Ok(())
    }

    fn handle_message(&mut self, _: &mut Context<'_>, _: Pid, message: Message) -> Handled {
        if let Message::Tcp(packet) = message {
            assert_eq!(packet.data.len(), LENGTH);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Messages a second from a client to an actor.
fn rate(messages: u64, has_trace: bool) -> f64 {
    let world = World::seeded(1);
    world.set_trace(has_trace);
    let node = TestNode::start(&world);
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    node.spawn(|| Sink(count)).expect("spawned");
    let client = node.connect("127.0.0.1:7000".parse().expect("an address"));
    let bytes = vec![7; WRITE];
    let began = Instant::now();
    for _ in 0..messages as usize * LENGTH / WRITE {
        client.write(&bytes);
        world.run_until(|| client.unwritten() == 0);
    }
    world.run_until(|| handled.load(Ordering::Relaxed) == messages);
    messages as f64 / began.elapsed().as_secs_f64()
}

#[test]
#[ignore = "it measures"]
fn rates_of_messages_from_a_client_to_an_actor() {
    let messages = 1 << 20;
    for has_trace in [false, true] {
        let rates: Vec<f64> = (0..5).map(|_| rate(messages, has_trace)).collect();
        println!("trace {has_trace}: {rates:.0?} messages of {LENGTH} bytes a second");
    }
}
