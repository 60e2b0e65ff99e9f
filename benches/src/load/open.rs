//! The open loop: messages are due at times of their own, whatever the server does.
//!
//! ```text
//!  arrivals ── due ──> connection ── issue, transmit ──> server ──> latency = answered − due
//! ```
//!
//! A closed loop waits for a slow server and sends it less meanwhile, so its latencies leave out the messages that
//! would have come in that time. Here a message counts from the moment when it was due, also if the generator or a full
//! socket sent it later. Those that were due in the measured window are waited for after its end, and what is missing
//! after [`GRACE`] is counted as lost, with the time it has waited.
//!
//! The generator looks at its sockets without sleeping while the next message is due soon: the system would wake it up
//! tens of microseconds late. It needs a core to itself. How late it was itself is a figure of the run.

use super::conversation::{Conversation, Kind, Script};
use super::link::Link;
use super::meter::Meter;
use super::poller::Poller;
use super::settings::{Arrivals, Settings};
use crate::affinity;
use crate::histogram::Histogram;
use serde_json::Value;
use std::io;
use std::time::{Duration, Instant};

/// How long answers are waited for after the window.
const GRACE: Duration = Duration::from_secs(2);
/// The generator does not sleep if the next message is due sooner than this.
const SPIN: Duration = Duration::from_micros(200);
/// A generator that is later than this with one message in a hundred is what limits a run.
const LATE: Duration = Duration::from_micros(100);

/// When messages are due, and on which connection.
#[derive(Debug)]
struct Schedule {
    arrivals: Arrivals,
    interval: Duration,
    connections: usize,
    next: Instant,
    connection: usize,
    random: fastrand::Rng,
}

/// All connections of a run.
struct Client<L> {
    script: Script,
    poller: Poller,
    conversations: Vec<Conversation<L>>,
}

/// Runs the workload.
pub fn run<L: Link>(settings: &Settings) -> io::Result<Value> {
    let mut client = Client::<L>::connect(settings)?;
    let mut lateness = Histogram::default();
    let mut meter = Meter::start(settings)?;
    let mut schedule = Schedule::new(settings, Instant::now());
    while meter.tick(Instant::now())? {
        client.send_due(&mut schedule, &mut lateness)?;
        let until_next = schedule.next.saturating_duration_since(Instant::now());
        let ready = client.poller.wait(until_next.saturating_sub(SPIN))?;
        for number in 0..ready {
            client.receive(number, &mut meter)?;
            client.send_due(&mut schedule, &mut lateness)?;
        }
    }
    client.wait_for_answers(&mut meter)?;
    let late = lateness.quantile(0.99);
    let mut run = meter.finish()?;
    run["rate_due"] = settings.rate.into();
    run["late_p99_us"] = (late.as_nanos() as f64 / 1e3).into();
    // The generator hardly sleeps, so its processor time does not say whether it was the limit.
    run["generator_limited"] = (late > LATE).into();
    Ok(run)
}

impl<L: Link> Client<L> {
    fn connect(settings: &Settings) -> io::Result<Self> {
        affinity::allow_descriptors(settings.connections as u64 + 64);
        let shared = L::shared()?;
        let poller = Poller::new()?;
        let open = |index| {
            let link = L::open(settings.addr, &shared)?;
            Conversation::begin(link, Kind::Counted, &poller, index)
        };
        let conversations = (0..settings.connections)
            .map(open)
            .collect::<io::Result<_>>()?;
        Ok(Self {
            script: Script::new(settings.size_bytes),
            poller,
            conversations,
        })
    }

    /// Sends every message that is due by now.
    fn send_due(&mut self, schedule: &mut Schedule, lateness: &mut Histogram) -> io::Result<()> {
        let now = Instant::now();
        while schedule.next <= now {
            let (due, index) = schedule.take();
            lateness.record(now - due);
            let conversation = &mut self.conversations[index];
            conversation.issue(1, due);
            conversation.transmit(&self.script, &self.poller, index)?;
        }
        Ok(())
    }

    /// Reads from the `number`th ready connection, and sends what did not fit before.
    fn receive(&mut self, number: usize, meter: &mut Meter) -> io::Result<()> {
        let (index, flags) = self.poller.event(number);
        let (conversation, size) = (&mut self.conversations[index], self.script.size);
        conversation.receive(flags, &mut self.script, |due, now| {
            meter.count(size, None);
            meter.record_due(due, now);
        })?;
        conversation.transmit(&self.script, &self.poller, index)
    }

    /// Waits for the answers to messages that were due in the window.
    fn wait_for_answers(&mut self, meter: &mut Meter) -> io::Result<()> {
        let ends = Instant::now() + GRACE;
        while self.missing(meter).next().is_some() && Instant::now() < ends {
            for number in 0..self.poller.wait(Duration::from_millis(20))? {
                self.receive(number, meter)?;
            }
        }
        let now = Instant::now();
        for due in self.missing(meter).collect::<Vec<_>>() {
            meter.record_due(due, now);
            meter.count_lost();
        }
        Ok(())
    }

    /// When the messages were due that are still in flight and belong to the window.
    fn missing(&self, meter: &Meter) -> impl Iterator<Item = Instant> {
        let in_flight = self.conversations.iter().flat_map(Conversation::begun);
        in_flight.filter(|due| meter.measures(*due))
    }
}

impl Schedule {
    fn new(settings: &Settings, begin: Instant) -> Self {
        let mut schedule = Self {
            arrivals: settings.arrivals,
            interval: Duration::from_secs_f64(1.0 / settings.rate),
            connections: settings.connections,
            next: begin,
            connection: 0,
            // The seed is fixed, so that every server meets the same arrivals.
            random: fastrand::Rng::with_seed(1),
        };
        schedule.advance();
        schedule
    }

    /// The next message: when it is due, and on which connection.
    fn take(&mut self) -> (Instant, usize) {
        let taken = (self.next, self.connection);
        self.advance();
        taken
    }

    fn advance(&mut self) {
        match self.arrivals {
            Arrivals::Fixed => {
                self.next += self.interval;
                self.connection = (self.connection + 1) % self.connections;
            }
            // A Poisson process split among the connections at random is one on each of them.
            Arrivals::Poisson => {
                // The share is in (0, 1], so that its logarithm is finite.
                let share = 1.0 - self.random.f64();
                self.next += self.interval.mul_f64(-share.ln());
                self.connection = self.random.usize(..self.connections);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrivals: Arrivals) -> Vec<f64> {
        let begin = Instant::now();
        let mut schedule = Schedule {
            arrivals,
            interval: Duration::from_micros(100),
            connections: 7,
            next: begin,
            connection: 0,
            random: fastrand::Rng::with_seed(1),
        };
        let times: Vec<Instant> = (0..10_001).map(|_| schedule.take().0).collect();
        times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e6)
            .collect()
    }

    #[test]
    fn poisson_gaps_have_the_mean_of_the_rate_and_vary_as_much() {
        let gaps = gaps(Arrivals::Poisson);
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((95.0..105.0).contains(&mean), "{mean}");
        assert!((90.0..110.0).contains(&variance.sqrt()), "{variance}");
    }

    #[test]
    fn fixed_gaps_are_equal() {
        assert!(
            gaps(Arrivals::Fixed)
                .iter()
                .all(|gap| (gap - 100.0).abs() < 0.01)
        );
    }
}
