//! The closed loop over a fixed set of connections: keep `depth` messages in flight on each, compare what comes back.
//!
//! Slow connections are part of the same set; their replies are compared but do not count.

use super::conversation::{Conversation, Kind, Script};
use super::link::Link;
use super::meter::Meter;
use super::poller::Poller;
use super::settings::Settings;
use crate::affinity;
use serde_json::Value;
use std::io;
use std::time::{Duration, Instant};

/// Runs the workload.
pub fn run<L: Link>(settings: &Settings) -> io::Result<Value> {
    let count = settings.connections + settings.slow_connections;
    affinity::allow_descriptors(count as u64 + 64);
    let mut script = Script::new(settings.size_bytes);
    let shared = L::shared()?;
    let mut poller = Poller::new()?;
    let mut conversations = Vec::with_capacity(count);
    for index in 0..count {
        let kind = match index < settings.connections {
            true => Kind::Counted,
            false => Kind::Slow,
        };
        let link = L::open(settings.addr, &shared)?;
        conversations.push(Conversation::begin(link, kind, &poller, index)?);
    }
    let mut meter = Meter::start(settings)?;
    for (index, conversation) in conversations.iter_mut().enumerate() {
        fill(conversation, settings.depth);
        conversation.transmit(&script, &poller, index)?;
    }
    while meter.tick(Instant::now())? {
        for number in 0..poller.wait(Duration::from_millis(20))? {
            let (index, flags) = poller.event(number);
            let conversation = &mut conversations[index];
            let (kind, size) = (conversation.kind, script.size);
            conversation.receive(flags, &mut script, |begun, now| match kind {
                Kind::Counted => meter.count(size, Some(now - begun)),
                Kind::Slow => meter.count_slow(),
            })?;
            fill(conversation, settings.depth);
            conversation.transmit(&script, &poller, index)?;
        }
    }
    meter.finish()
}

/// Issues messages until `depth` of them are in flight.
fn fill<L: Link>(conversation: &mut Conversation<L>, depth: usize) {
    let depth = match conversation.kind {
        Kind::Counted => depth,
        Kind::Slow => 1,
    };
    let missing = depth.saturating_sub(conversation.in_flight());
    if missing > 0 {
        conversation.issue(missing, Instant::now());
    }
}
