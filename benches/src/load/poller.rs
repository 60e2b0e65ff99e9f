//! One level-triggered epoll set. It maps a socket to the index of its connection and knows nothing else.

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use std::{io, time::Duration};

pub use epoll::EventFlags as Interest;

/// An epoll set with its event buffer.
#[expect(missing_debug_implementations, reason = "the kernel's event has none")]
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// Opens an empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(1024),
        })
    }

    /// Adds a socket under an index.
    pub fn add(&self, socket: impl AsFd, index: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(index as u64),
            interest,
        )?)
    }

    /// Changes what a socket is watched for.
    pub fn modify(&self, socket: impl AsFd, index: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            socket,
            epoll::EventData::new_u64(index as u64),
            interest,
        )?)
    }

    /// Waits at most `limit` and returns the number of ready sockets, to be read with [`Poller::event`].
    pub fn wait(&mut self, limit: Duration) -> io::Result<usize> {
        let timeout = Timespec {
            tv_sec: limit.as_secs() as i64,
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(self.events.len()),
            Err(error) => Err(error.into()),
        }
    }

    /// Index and flags of the `number`th ready socket of the last wait.
    pub fn event(&self, number: usize) -> (usize, Interest) {
        let event = self.events[number];
        // The struct is packed in the kernel's layout, so its fields are copied, not borrowed.
        let (data, flags) = (event.data, event.flags);
        (data.u64() as usize, flags)
    }
}
