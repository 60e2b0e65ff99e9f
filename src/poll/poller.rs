//! The poller: waits for events, files readiness with the stripes, and fires timers.
//!
//! One turn:
//!
//! 1. The timeout is the time to the next deadline, at most what the caller allows.
//! 2. The operating system is polled. Each event becomes readiness of one alias, and goes to that alias's stripe.
//! 3. The clock is read. If a timer is due, and the poll came before that time or took only a part of the events, the
//!    poll is asked again without a wait, so that readiness that was there before a deadline is filed before the timer
//!    fires.
//! 4. The timers that are due fire: each becomes a message, or a command of a stripe.
//!
//! One thread turns at a time. A turn that must not wait gives up while another thread is in one.
//!
//! What it does not do: it runs no stripe and no process, and it does not decide who polls (`scheduler::idle`).

use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use mio::{Events, Poll, Registry, Token};

use crate::base::sync::Mutex;
use crate::bridge::TimerEvent;
use crate::id::Alias;
use crate::meta::{Readiness, Services};
use crate::record::{Kind, Level};
use crate::scheduler::{Turn, Wait};
#[cfg(feature = "testing")]
use crate::simulation::{Site, net::Interest};

/// Events taken from the operating system at once.
const EVENTS: usize = 1024;
/// The longest wait behind a failure of the poll.
const FAILURE_WAIT: Duration = Duration::from_millis(10);
/// The waker's token; no alias has it, because generations begin at one and stay below their maximum.
const WAKER: Token = Token(usize::MAX);

/// Readiness of one meta-process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) alias: Alias,
    pub(crate) readiness: Readiness,
}

/// The poll, used by one thread at a time.
pub(crate) struct Poller(Mutex<PollerState>);

struct PollerState {
    source: Source,
    /// Readiness of this turn, by stripe; empty between turns.
    ready: Vec<Vec<Ready>>,
    expired: Vec<TimerEvent>,
}

/// Where readiness comes from.
enum Source {
    System {
        poll: Poll,
        events: Events,
    },
    /// The simulated network: the poll of that site, and what it has reported.
    #[cfg(feature = "testing")]
    Simulated(Site, Vec<(u64, Interest)>),
}

impl Source {
    /// Waits for events, no longer than `timeout`; a simulated one never waits.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::System { poll, events } => {
                poll.poll(events, timeout).inspect_err(|_| events.clear())
            }
            #[cfg(feature = "testing")]
            Self::Simulated(site, reported) => {
                reported.clear();
                let (poll, waits) = (site.poll, timeout != Some(Duration::ZERO));
                site.net()
                    .take_ready(poll, waits, |token, now| reported.push((token, now)))
            }
        }
    }

    /// Whether a simulated wait ends by a signal. It began before the node stood still, so its timeout, which has
    /// passed since, was not zero then.
    #[cfg(feature = "testing")]
    fn is_interrupted(&self) -> bool {
        matches!(self, Self::Simulated(site, _) if site.net().is_interrupted(site.poll))
    }

    /// Calls `ready` for each event. Returns whether the waker's event was among them.
    fn each(&self, mut ready: impl FnMut(u64, Readiness)) -> bool {
        let mut interrupted = false;
        match self {
            Self::System { events, .. } => {
                for event in events {
                    if event.token() == WAKER {
                        interrupted = true;
                    } else {
                        ready(event.token().0 as u64, readiness_of(event));
                    }
                }
            }
            #[cfg(feature = "testing")]
            Self::Simulated(_, reported) => {
                for (token, now) in reported {
                    ready(*token, simulated_readiness(*now));
                }
            }
        }
        interrupted
    }
}

fn readiness_of(event: &mio::event::Event) -> Readiness {
    // An error is readiness for everything: the read or write that follows returns it.
    Readiness::default()
        .with(Readiness::READABLE, event.is_readable() || event.is_error())
        .with(Readiness::WRITABLE, event.is_writable() || event.is_error())
        .with(
            Readiness::READ_CLOSED,
            event.is_read_closed() || event.is_error(),
        )
        .with(Readiness::WRITE_CLOSED, event.is_write_closed())
        .with(Readiness::URGENT, event.is_priority())
}

/// The same, from what epoll would say.
#[cfg(feature = "testing")]
fn simulated_readiness(now: Interest) -> Readiness {
    let (error, hang_up) = (now.has(Interest::ERROR), now.has(Interest::HANG_UP));
    let read_closed = hang_up || now.has(Interest::READ_HANG_UP);
    let write_closed = hang_up || (now.has(Interest::OUT) && error);
    Readiness::default()
        .with(Readiness::READABLE, now.has(Interest::IN) || error)
        .with(Readiness::WRITABLE, now.has(Interest::OUT) || error)
        .with(Readiness::READ_CLOSED, read_closed || error)
        .with(Readiness::WRITE_CLOSED, write_closed)
}

/// Makes a blocking turn return.
struct Interrupt(mio::Waker);

impl Wake for Interrupt {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It fails only if the poll is gone, and then no thread waits in it.
        let _ = self.0.wake();
    }
}

impl Poller {
    /// Creates the poll, its registry, and the waker that makes a blocking turn return.
    ///
    /// # Errors
    ///
    /// The operating system has no more descriptors.
    pub(crate) fn new() -> io::Result<(Self, Registry, Waker)> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let interrupt = Waker::from(Arc::new(Interrupt(mio::Waker::new(&registry, WAKER)?)));
        let source = Source::System {
            poll,
            events: Events::with_capacity(EVENTS),
        };
        let state = PollerState {
            source,
            ready: Vec::new(),
            expired: Vec::new(),
        };
        Ok((Self(Mutex::new(state)), registry, interrupt))
    }

    /// A poll that reports the readiness of simulated sockets.
    ///
    /// # Errors
    ///
    /// The operating system has no more descriptors: the registry, which nothing is registered with, takes one.
    #[cfg(feature = "testing")]
    pub(crate) fn simulated(site: Site) -> io::Result<(Self, Registry)> {
        let registry = Poll::new()?.registry().try_clone()?;
        let state = PollerState {
            source: Source::Simulated(site, Vec::new()),
            ready: Vec::new(),
            expired: Vec::new(),
        };
        Ok((Self(Mutex::new(state)), registry))
    }

    /// Waits for events and fires the timers that are due. `file` gets the readiness of each stripe that has any, and
    /// takes it out.
    pub(super) fn turn(
        &self,
        wait: Wait,
        services: &Services,
        file: impl Fn(usize, &mut Vec<Ready>),
    ) -> Turn {
        let guard = match wait {
            // Another worker polls already, and files whatever this turn would find.
            Wait::No => self.0.try_lock(),
            Wait::Forever | Wait::AtMost(_) => Some(self.0.lock()),
        };
        // The list of events is reused, so one thread polls at a time.
        let Some(mut guard) = guard else {
            return Turn::default();
        };
        let state = &mut *guard;
        let timers = &services.timers;
        let timeout = match wait {
            Wait::No => Some(Duration::ZERO),
            Wait::Forever => timers.sleep().map(Duration::from_millis),
            Wait::AtMost(ms) => Some(Duration::from_millis(
                timers.sleep().map_or(ms, |sleep| sleep.min(ms)),
            )),
        };
        #[cfg(feature = "testing")]
        let timeout = timeout.filter(|_| wait != Wait::Forever || !state.source.is_interrupted());
        // A poll that does not wait has every event that came before this time.
        let before_ms = (timeout == Some(Duration::ZERO)).then(|| timers.clock().now_ms());
        let polled = state.poll_once(timeout, services, &file);
        let mut interrupted = polled.interrupted;
        // The wait may have lasted past the deadline, or ended without the events that are there (EINTR): ask again.
        let (now_ms, read_ns) = match before_ms {
            Some(before_ms) => (before_ms, None),
            None => {
                let read_ns = timers.clock().now_ns();
                (read_ns / 1_000_000, Some(read_ns))
            }
        };
        let is_behind = polled.is_full || before_ms.is_none() && !planted!(DeadlineFirst);
        // The poll came before `now_ms`, or took only a part of the events, and something is due: what was ready before
        // the deadline is filed first. As a rule nothing is due, and a second poll is saved.
        if timers.expired_unless_behind(now_ms, is_behind, &mut state.expired) {
            interrupted |= state.poll_rest(services, &file);
            // With the time from before these polls: what has become due since may have readiness that they did not
            // see.
            timers.expired(now_ms, &mut state.expired);
        }
        let has_expired = !state.expired.is_empty();
        if has_expired {
            for event in state.expired.drain(..) {
                services.deliver.handle_expired(event);
            }
        }
        Turn {
            is_interrupted: interrupted,
            read_ns: read_ns.filter(|_| !has_expired),
        }
    }
}

/// What [`PollerState::poll_once`] found.
struct Polled {
    /// There may be more events than were taken.
    is_full: bool,
    interrupted: bool,
}

impl PollerState {
    /// Files everything that is ready, without a wait. Returns whether the waker's event was among it.
    fn poll_rest(&mut self, services: &Services, file: &impl Fn(usize, &mut Vec<Ready>)) -> bool {
        let mut interrupted = false;
        // Each socket is reported once, or again if more has come meanwhile; the bound is for the latter.
        for _ in 0..=services.commands.live() / EVENTS {
            let polled = self.poll_once(Some(Duration::ZERO), services, file);
            interrupted |= polled.interrupted;
            if !polled.is_full {
                break;
            }
        }
        interrupted
    }

    /// Takes events, at most [`EVENTS`], and files their readiness.
    fn poll_once(
        &mut self,
        timeout: Option<Duration>,
        services: &Services,
        file: &impl Fn(usize, &mut Vec<Ready>),
    ) -> Polled {
        // A signal ends the wait early, which is no failure: the next turn waits again.
        if let Err(error) = self.source.wait(timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            services
                .log
                .text(Level::Warn, Kind::PollFailed, format_args!("poll: {error}"));
            // A failure that persists returns at once each time: without a wait the loop would spin.
            thread::sleep(timeout.unwrap_or(FAILURE_WAIT).min(FAILURE_WAIT));
        }
        let (queues, mut events) = (&mut self.ready, 0);
        let interrupted = self.source.each(|word, readiness| {
            events += 1;
            let Some(alias) = Alias::from_token(word) else {
                return;
            };
            if queues.len() <= alias.stripe() {
                queues.resize_with(alias.stripe() + 1, Vec::new);
            }
            queues[alias.stripe()].push(Ready { alias, readiness });
        });
        for (stripe, ready) in self
            .ready
            .iter_mut()
            .enumerate()
            .filter(|(_, ready)| !ready.is_empty())
        {
            file(stripe, ready);
        }
        Polled {
            is_full: events + usize::from(interrupted) >= EVENTS,
            interrupted,
        }
    }
}
