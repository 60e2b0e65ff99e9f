//! One turn: wait, file readiness, fire timers.

use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use mio::{Events, Poll, Registry, Token};

use crate::base::sync::Mutex;
use crate::bridge::TimerEvent;
use crate::id::Alias;
use crate::meta::{Readiness, Services};
use crate::record::{Kind, Level};
use crate::scheduler::Wait;

/// Events taken from the operating system at once.
const EVENTS: usize = 1024;
/// The waker's token; no alias has it, because generations begin at one and stay below their maximum.
const WAKER: Token = Token(usize::MAX);

/// Readiness of one meta-process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) alias: Alias,
    pub(crate) readiness: Readiness,
}

/// The poll, used by one thread at a time.
pub(crate) struct Poller(Mutex<State>);

struct State {
    poll: Poll,
    events: Events,
    /// Readiness of this turn, by stripe; empty between turns.
    ready: Vec<Vec<Ready>>,
    expired: Vec<TimerEvent>,
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
        let state = State {
            poll,
            events: Events::with_capacity(EVENTS),
            ready: Vec::new(),
            expired: Vec::new(),
        };
        Ok((Self(Mutex::new(state)), registry, interrupt))
    }

    /// `file` gets the readiness of each stripe that has any, and takes it out. `true`: the interrupt was among the
    /// events.
    pub(super) fn turn(
        &self,
        wait: Wait,
        services: &Services,
        file: impl Fn(usize, &mut Vec<Ready>),
    ) -> bool {
        let guard = match wait {
            Wait::No => self.0.try_lock(),
            Wait::Forever | Wait::AtMost(_) => Some(self.0.lock()),
        };
        let Some(mut guard) = guard else { return false };
        let state = &mut *guard;
        let timers = &services.timers;
        let mut now_ms = timers.clock().now_ms();
        let timeout = match wait {
            Wait::No => Some(Duration::ZERO),
            Wait::Forever => timers.sleep().map(Duration::from_millis),
            Wait::AtMost(ms) => Some(Duration::from_millis(
                timers.sleep().map_or(ms, |sleep| sleep.min(ms)),
            )),
        };
        let polled = state.poll_once(timeout, services, &file);
        let (mut is_behind, mut interrupted) = (polled.is_full, polled.interrupted);
        if timeout != Some(Duration::ZERO) {
            // The wait may have lasted past the deadline, or ended without the events that are there (EINTR): ask again.
            now_ms = timers.clock().now_ms();
            is_behind = true;
        }
        if is_behind && timers.is_due(now_ms) {
            // Each socket is reported once, or again if more has come meanwhile; the bound is for the latter.
            for _ in 0..=services.commands.live() / EVENTS {
                let polled = state.poll_once(Some(Duration::ZERO), services, &file);
                interrupted |= polled.interrupted;
                if !polled.is_full {
                    break;
                }
            }
        }
        timers.expired(now_ms, &mut state.expired);
        for fire in state.expired.drain(..) {
            services.deliver.handle_expired(fire);
        }
        interrupted
    }
}

/// What [`State::poll_once`] found.
struct Polled {
    /// There may be more events than were taken.
    is_full: bool,
    interrupted: bool,
}

impl State {
    /// Takes events, at most [`EVENTS`], and files their readiness.
    fn poll_once(
        &mut self,
        timeout: Option<Duration>,
        services: &Services,
        file: &impl Fn(usize, &mut Vec<Ready>),
    ) -> Polled {
        if let Err(error) = self.poll.poll(&mut self.events, timeout) {
            if error.kind() != io::ErrorKind::Interrupted {
                services
                    .log
                    .text(Level::Warn, Kind::PollFailed, format_args!("poll: {error}"));
            }
            self.events.clear();
        }
        let (mut interrupted, mut events) = (false, 0);
        for event in &self.events {
            events += 1;
            if event.token() == WAKER {
                interrupted = true;
                continue;
            }
            let Some(alias) = Alias::from_word(event.token().0 as u64) else {
                continue;
            };
            let readiness = Readiness::default()
                .with(Readiness::READABLE, event.is_readable() || event.is_error())
                .with(Readiness::WRITABLE, event.is_writable() || event.is_error())
                .with(
                    Readiness::READ_CLOSED,
                    event.is_read_closed() || event.is_error(),
                )
                .with(Readiness::WRITE_CLOSED, event.is_write_closed())
                .with(Readiness::URGENT, event.is_priority());
            if self.ready.len() <= alias.stripe() {
                self.ready.resize_with(alias.stripe() + 1, Vec::new);
            }
            self.ready[alias.stripe()].push(Ready { alias, readiness });
        }
        for (stripe, ready) in self
            .ready
            .iter_mut()
            .enumerate()
            .filter(|(_, ready)| !ready.is_empty())
        {
            file(stripe, ready);
        }
        Polled {
            is_full: events == EVENTS,
            interrupted,
        }
    }
}
