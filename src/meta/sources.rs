//! The descriptors that users' meta-processes have put on the poll, so that they leave it with their meta-process.
//!
//! A poll keeps a descriptor until every copy of what it stands for is closed, a copy in another thread or process
//! included. So what a meta-process has registered is taken off the poll before the meta-process is dropped. Its number
//! says little by then: the user may have closed it, and the number may be another descriptor's. So a descriptor is
//! remembered with its device and inode, and with the meta-process that registered the number last, and is taken off
//! only if all are the same.
//!
//! What it does not do: sockets of the crate leave by themselves
//! ([`MetaProcess::leave_poll`](crate::meta::MetaProcess)).

use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd};

use mio::{Interest, Registry, Token};

use super::MetaContext;
use crate::id::Alias;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    #[cfg(unix)]
    unix: unix::Sources,
}

impl Sources {
    /// Remembers a descriptor that `alias` has registered.
    #[cfg(unix)]
    pub(crate) fn join(&self, alias: Alias, fd: std::os::fd::RawFd) {
        self.unix.join(alias, fd);
    }

    /// Forgets a descriptor that `alias` takes off the poll itself.
    #[cfg(unix)]
    pub(crate) fn forget(&self, alias: Alias, fd: std::os::fd::RawFd) {
        self.unix.forget(alias, fd);
    }

    /// Takes what is left of `alias` off the poll.
    #[inline]
    pub(crate) fn leave(&self, alias: Alias, registry: &Registry) {
        #[cfg(unix)]
        if self.unix.has_any() {
            self.unix.leave(alias, registry);
        }
        #[cfg(not(unix))]
        let _ = (alias, registry);
    }
}

#[cfg(unix)]
mod unix {
    use std::collections::{HashMap, HashSet};
    use std::fs;
    use std::os::fd::RawFd;
    use std::os::unix::fs::MetadataExt;

    use mio::Registry;
    use mio::unix::SourceFd;

    use crate::base::sync::Mutex;
    use crate::base::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use crate::id::Alias;

    #[derive(Debug, Default)]
    pub(super) struct Sources {
        /// Meta-processes that have any. Only the stripe of a meta-process asks for its descriptors, behind its
        /// callbacks, so it never misses its own.
        count: AtomicUsize,
        state: Mutex<RegisteredState>,
    }

    #[derive(Debug, Default)]
    struct RegisteredState {
        by_alias: HashMap<Alias, HashSet<RawFd>>,
        by_fd: HashMap<RawFd, Source>,
    }

    #[derive(Clone, Copy, Debug)]
    struct Source {
        alias: Alias,
        identity: Option<(u64, u64)>,
    }

    impl Sources {
        pub(super) fn has_any(&self) -> bool {
            self.count.load(Relaxed) > 0
        }

        pub(super) fn join(&self, alias: Alias, fd: RawFd) {
            // The identity is read outside of the lock, because that is a system call.
            let identity = identity(fd);
            let mut state = self.state.lock();
            state.by_alias.entry(alias).or_default().insert(fd);
            state.by_fd.insert(fd, Source { alias, identity });
            // Relaxed: the `join` of an alias happens before its `leave`, and every count that is stored in between
            // includes the alias.
            self.count.store(state.by_alias.len(), Relaxed);
        }

        pub(super) fn forget(&self, alias: Alias, fd: RawFd) {
            let mut state = self.state.lock();
            // Another meta-process may have registered the number since, after this one had closed it.
            if state
                .by_fd
                .get(&fd)
                .is_some_and(|source| source.alias == alias)
            {
                state.by_fd.remove(&fd);
            }
            if let Some(fds) = state.by_alias.get_mut(&alias) {
                fds.remove(&fd);
            }
        }

        #[cold]
        pub(super) fn leave(&self, alias: Alias, registry: &Registry) {
            let sources: Vec<(RawFd, Source)> = {
                let mut state = self.state.lock();
                let fds = state.by_alias.remove(&alias).unwrap_or_default();
                self.count.store(state.by_alias.len(), Relaxed);
                let own = |fd| {
                    let source = *state.by_fd.get(&fd)?;
                    (source.alias == alias).then(|| state.by_fd.remove(&fd))?;
                    Some((fd, source))
                };
                fds.into_iter().filter_map(own).collect()
            };
            // The lock is released before the system calls.
            for (fd, source) in sources {
                // The user may have closed the descriptor, and its number may be another file's by now.
                if source.identity.is_some() && identity(fd) == source.identity {
                    // It fails if the descriptor has left already.
                    let _ = registry.deregister(&mut SourceFd(&fd));
                }
            }
        }
    }

    /// Device and inode of what a descriptor stands for.
    fn identity(fd: RawFd) -> Option<(u64, u64)> {
        // By its path: std has fstat(2) for an owned or a borrowed descriptor, and borrowing one from its number takes
        // unsafe code.
        let metadata = fs::metadata(format!("/dev/fd/{fd}")).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

/// # Sources
impl MetaContext<'_> {
    /// Adds a file descriptor to the poll loop, edge-triggered, for reading and writing. The meta-process must own it.
    /// It is removed when the meta-process ends; one that is closed before must be removed with
    /// [`MetaContext::deregister`], because a copy of it elsewhere would keep its place.
    ///
    /// # Errors
    ///
    /// What the operating system says, for instance for a regular file.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// cx.register(&ours)?; // `ready` is called when something can be read or written
    /// # Ok(()) }) }
    /// ```
    #[cfg(unix)]
    pub fn register(&mut self, source: &impl AsFd) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if let Some(registered) = &self.services.registered {
            let is_new = registered.lock().insert(self.alias.to_bits());
            return match is_new {
                true => Ok(()),
                false => Err(io::ErrorKind::AlreadyExists.into()),
            };
        }
        let fd = source.as_fd().as_raw_fd();
        self.register_source(&mut mio::unix::SourceFd(&fd))?;
        // After the registration: one that was refused leaves nothing that would have to be taken off the poll.
        self.services.sources.join(self.alias, fd);
        Ok(())
    }

    /// Removes a file descriptor from the poll loop before it is closed.
    ///
    /// # Errors
    ///
    /// It was not registered.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/inside.rs"));
    /// # fn main() { inside_meta(|cx| {
    /// let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    /// cx.register(&ours)?;
    /// cx.deregister(&ours)?;
    /// # Ok(()) }) }
    /// ```
    #[cfg(unix)]
    pub fn deregister(&mut self, source: &impl AsFd) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if let Some(registered) = &self.services.registered {
            let was_there = registered.lock().remove(&self.alias.to_bits());
            return match was_there {
                true => Ok(()),
                false => Err(io::ErrorKind::NotFound.into()),
            };
        }
        let fd = source.as_fd().as_raw_fd();
        // First, so that it is forgotten also if the system refuses: the program may have closed the descriptor
        // already.
        self.services.sources.forget(self.alias, fd);
        self.services
            .registry
            .deregister(&mut mio::unix::SourceFd(&fd))
    }

    /// Registered once for both directions and never changed: readiness is remembered, not asked for. So is every
    /// socket but those of datagrams; see [`MetaContext::register_datagrams`].
    pub(crate) fn register_source(&self, source: &mut impl mio::event::Source) -> io::Result<()> {
        // Both at once: the poll reports edges (EPOLLET), so that a socket that stays writable is reported once, and
        // output that has to wait costs no system call.
        self.register_for(source, Interest::READABLE | Interest::WRITABLE)
    }

    /// Registers a datagram socket, for reading only. It has room for output almost always, and the operating system
    /// reports that again behind each datagram that leaves, which would be an activation for nothing.
    pub(crate) fn register_datagrams(
        &self,
        source: &mut impl mio::event::Source,
    ) -> io::Result<()> {
        self.register_for(source, Interest::READABLE)
    }

    /// Watches such a socket for room as well, or does so no longer. Room that is there already is reported.
    pub(crate) fn watch_for_room(
        &self,
        source: &mut impl mio::event::Source,
        watches: bool,
    ) -> io::Result<()> {
        let interest = match watches {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        let token = Token(self.alias.to_bits() as usize);
        self.services.registry.reregister(source, token, interest)
    }

    /// Takes a source off the poll, before it is closed. One that is not on it stays off.
    pub(crate) fn deregister_source(&self, source: &mut impl mio::event::Source) {
        // It fails for a source that is not on the poll, which is the state that is wanted.
        let _ = self.services.registry.deregister(source);
    }

    /// The same for a TCP stream, which may have an urgent byte in it.
    pub(crate) fn register_stream(&self, source: &mut impl mio::event::Source) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interest = interest | Interest::PRIORITY;
        self.register_for(source, interest)
    }

    fn register_for(
        &self,
        source: &mut impl mio::event::Source,
        interest: Interest,
    ) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if self.services.registered.is_some() {
            // The test cannot let the operating system decide when it is ready.
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a socket of the operating system on a simulated node",
            ));
        }
        let token = Token(self.alias.to_bits() as usize);
        self.services.registry.register(source, token, interest)
    }
}
