//! The datagram loop: keep a window in flight on each socket, compare what comes back, account for what does not.
//!
//! A datagram carries its number, so order does not matter. One that is missing for 200 ms is lost and frees its place
//! in the window; its late echo is compared and then ignored.

use super::batch::{BATCH, Batch};
use super::meter::Meter;
use super::pattern::Pattern;
use super::poller::{Interest, Poller};
use super::settings::Settings;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const NUMBER_BYTES: usize = 8;
const LOST_AFTER: Duration = Duration::from_millis(200);

struct Flow {
    socket: UdpSocket,
    next: u64,
    /// Numbers in flight with their times, oldest first.
    in_flight: VecDeque<(u64, Instant)>,
}

/// Runs the workload.
pub fn run(settings: &Settings) -> io::Result<Value> {
    let size = settings.size_bytes;
    if !(NUMBER_BYTES..=1_472).contains(&size) {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "a datagram has 8 to 1472 bytes",
        ));
    }
    let pattern = Pattern::usual();
    let mut batch = Batch::default();
    let mut poller = Poller::new()?;
    let mut flows = Vec::with_capacity(settings.connections);
    for index in 0..settings.connections {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.connect(settings.addr)?;
        poller.add(&socket, index, Interest::IN)?;
        flows.push(Flow {
            socket,
            next: 0,
            in_flight: VecDeque::new(),
        });
    }
    let mut meter = Meter::start(settings)?;
    let mut looked_for_lost = Instant::now();
    for flow in &mut flows {
        flow.fill(settings, &pattern, &mut batch)?;
    }
    while meter.tick(Instant::now())? {
        for number in 0..poller.wait(Duration::from_millis(20))? {
            let flow = &mut flows[poller.event(number).0];
            flow.receive(size, &pattern, &mut batch, &mut meter)?;
            flow.fill(settings, &pattern, &mut batch)?;
        }
        if looked_for_lost.elapsed() > LOST_AFTER / 4 {
            looked_for_lost = Instant::now();
            for flow in &mut flows {
                flow.give_up_lost(&mut meter);
                flow.fill(settings, &pattern, &mut batch)?;
            }
        }
    }
    meter.finish()
}

impl Flow {
    fn fill(
        &mut self,
        settings: &Settings,
        pattern: &Pattern,
        batch: &mut Batch,
    ) -> io::Result<()> {
        let wanted = settings
            .depth
            .saturating_sub(self.in_flight.len())
            .min(BATCH);
        if wanted == 0 {
            return Ok(());
        }
        for index in 0..wanted {
            let number = self.next + index as u64;
            let (head, tail) = batch
                .outgoing(index, settings.size_bytes)
                .split_at_mut(NUMBER_BYTES);
            head.copy_from_slice(&number.to_le_bytes());
            tail.copy_from_slice(pattern.stretch(number, tail.len()));
        }
        let now = Instant::now();
        let sent = match batch.send(&self.socket, wanted) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            other => other?,
        };
        self.in_flight
            .extend((0..sent as u64).map(|index| (self.next + index, now)));
        self.next += sent as u64;
        Ok(())
    }

    fn receive(
        &mut self,
        size: usize,
        pattern: &Pattern,
        batch: &mut Batch,
        meter: &mut Meter,
    ) -> io::Result<()> {
        let count = batch.receive(&self.socket)?;
        let now = Instant::now();
        for index in 0..count {
            let datagram = batch.incoming(index);
            let number = checked_number(datagram, size, pattern)?;
            // It is nearly always the oldest.
            if let Some(place) = self
                .in_flight
                .iter()
                .position(|(waiting, _)| *waiting == number)
            {
                let (_, sent_at) = self.in_flight.remove(place).expect("just found");
                meter.count(size, Some(now - sent_at));
            }
        }
        Ok(())
    }

    fn give_up_lost(&mut self, meter: &mut Meter) {
        while self
            .in_flight
            .front()
            .is_some_and(|(_, sent_at)| sent_at.elapsed() > LOST_AFTER)
        {
            self.in_flight.pop_front();
            meter.count_lost();
        }
    }
}

fn checked_number(datagram: &[u8], size: usize, pattern: &Pattern) -> io::Result<u64> {
    if datagram.len() != size {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "a datagram came back with another length",
        ));
    }
    let (head, tail) = datagram.split_at(NUMBER_BYTES);
    let number = u64::from_le_bytes(head.try_into().expect("eight bytes"));
    pattern.compare(number, tail)?;
    Ok(number)
}
