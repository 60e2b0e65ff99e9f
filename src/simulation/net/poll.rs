//! Edge-triggered readiness, as epoll reports it.
//!
//! 1. A socket that is registered gets into the ready list at once if anything of it is ready.
//! 2. Whatever happens to a registered socket puts it into the list, unless it is there already.
//! 3. [`Net::take_ready`] empties the list and reports what each socket is ready for *now*; one that is ready for
//!    nothing any more is left out.

use std::collections::VecDeque;
use std::ops::{BitOr, BitOrAssign};

use super::Net;
use super::stream::Side;
use crate::simulation::arena::Key;

/// What a socket is ready for, in the words of poll(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest(u8);

impl Interest {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const IN: Self = Self(1);
    pub(crate) const OUT: Self = Self(2);
    pub(crate) const ERROR: Self = Self(4);
    pub(crate) const HANG_UP: Self = Self(8);
    pub(crate) const READ_HANG_UP: Self = Self(16);

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The registration of a socket.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The poll and the token.
    registered: Option<(usize, u64)>,
    is_queued: bool,
}

impl Watch {
    /// The poll whose list the socket is to be put into now.
    pub(super) fn queue(&mut self) -> Option<usize> {
        let (poll, _) = self.registered?;
        // At most once in the list, however often it becomes ready: the list holds each socket once and stays short.
        (!std::mem::replace(&mut self.is_queued, true)).then_some(poll)
    }

    pub(super) fn forget(&mut self) {
        (self.registered, self.is_queued) = (None, false);
    }
}

/// A socket in a ready list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    End(Key, Side),
    Listener(Key),
    Datagrams(Key),
}

/// The poll of a node.
#[derive(Debug)]
pub(super) struct Poll {
    ready: VecDeque<Watched>,
    /// Turns that a signal interrupts.
    interruptions: u32,
}

impl Poll {
    pub(super) fn queue(&mut self, watched: Watched) {
        self.ready.push_back(watched);
    }
}

impl Net {
    /// Makes a poll; its number.
    pub(crate) fn add_poll(&mut self) -> usize {
        self.polls.push(Poll {
            ready: VecDeque::new(),
            interruptions: 0,
        });
        self.polls.len() - 1
    }

    fn watch(&mut self, watched: Watched) -> Option<&mut Watch> {
        Some(match watched {
            Watched::End(key, side) => {
                &mut self.connections.get_mut(key)?.ends[usize::from(side)].watch
            }
            Watched::Listener(key) => &mut self.listeners.get_mut(key)?.watch,
            Watched::Datagrams(key) => &mut self.datagrams.get_mut(key)?.watch,
        })
    }

    fn interest(&self, watched: Watched) -> Interest {
        let now = match watched {
            Watched::End(key, side) => self.connections.get(key).map(|end| end.interest(side)),
            Watched::Listener(key) => self
                .listeners
                .get(key)
                .map(super::connect::Listening::interest),
            Watched::Datagrams(key) => self.datagrams.get(key).map(super::Datagrams::interest),
        };
        now.unwrap_or(Interest::NONE)
    }

    /// Registers a socket with a poll under a token.
    ///
    /// # Errors
    ///
    /// It is registered already.
    pub(super) fn register(
        &mut self,
        watched: Watched,
        poll: usize,
        token: u64,
    ) -> std::io::Result<()> {
        let now = self.interest(watched);
        let Some(watch) = self.watch(watched) else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        if watch.registered.is_some() {
            return Err(std::io::ErrorKind::AlreadyExists.into());
        }
        watch.registered = Some((poll, token));
        // epoll(7) reports a socket that is ready when it is added; otherwise a program that registers late would wait
        // for an edge that has passed.
        if !now.is_none() && watch.queue().is_some() {
            self.polls[poll].queue(watched);
        }
        Ok(())
    }

    pub(super) fn deregister(&mut self, watched: Watched) -> std::io::Result<()> {
        match self.watch(watched) {
            Some(watch) if watch.registered.is_some() => {
                watch.forget();
                Ok(())
            }
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether [`Net::take_ready`] would report anything, or be interrupted.
    pub(crate) fn has_ready(&self, poll: usize) -> bool {
        let poll = &self.polls[poll];
        !poll.ready.is_empty() || poll.interruptions > 0
    }

    /// Whether a signal interrupts the next turn of that poll, if it waits.
    pub(crate) fn is_interrupted(&self, poll: usize) -> bool {
        self.polls[poll].interruptions > 0
    }

    /// The next turn of that poll is interrupted by a signal.
    pub(crate) fn interrupt_poll(&mut self, poll: usize) {
        self.polls[poll].interruptions += 1;
    }

    /// Calls `report` with the token and the readiness of each socket in the list. A signal interrupts only a call that
    /// would wait; another one does not notice it.
    ///
    /// # Errors
    ///
    /// A signal came first: the list is left as it is.
    pub(crate) fn take_ready(
        &mut self,
        poll: usize,
        waits: bool,
        mut report: impl FnMut(u64, Interest),
    ) -> std::io::Result<()> {
        let interruptions = std::mem::take(&mut self.polls[poll].interruptions);
        // epoll_wait(2) fails with EINTR only while it blocks. A look that does not wait uses the signal up.
        if waits && interruptions > 0 {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        // The length is taken once: what becomes ready meanwhile is for the next turn, as with epoll_wait(2).
        for _ in 0..self.polls[poll].ready.len() {
            let Some(watched) = self.polls[poll].ready.pop_front() else {
                break;
            };
            let now = self.interest(watched);
            let Some(watch) = self.watch(watched) else {
                continue;
            };
            watch.is_queued = false;
            if let Some((_, token)) = watch.registered
                && !now.is_none()
            {
                report(token, now);
            }
        }
        Ok(())
    }

    /// Descriptors in use by all hosts.
    #[cfg(test)]
    pub(crate) fn descriptors_in_use(&self) -> usize {
        (0..self.hosts.len())
            .map(|index| self.descriptors(super::HostId(index as u16)))
            .sum()
    }
}
