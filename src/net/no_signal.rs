//! Sending without SIGPIPE.
//!
//! A write to a stream whose peer is gone raises SIGPIPE, and its default action ends the process. The runtime of Rust
//! ignores the signal, but a host in C, Python or Go, which this crate may be embedded in, does not. `write(2)` and
//! `writev(2)`, which std uses for Unix domain sockets and for several slices, have no way to leave it out; `send(2)`
//! and `sendmsg(2)` have the flag MSG_NOSIGNAL. Apple's systems have the option SO_NOSIGPIPE of the socket instead.

use std::io::{self, IoSlice};

use socket2::{SockAddr, SockRef};

/// MSG_NOSIGNAL, see send(2); 0 where the system has none.
const NO_SIGNAL: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
    0x4000
} else if cfg!(target_os = "freebsd") {
    0x2_0000
} else if cfg!(any(
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
)) {
    0x400
} else if cfg!(any(target_os = "illumos", target_os = "solaris")) {
    0x200
} else {
    0
};

/// Sends the slices in one system call; as many as `sendmsg(2)` takes, which is more than an output gives at once.
pub(super) fn send(socket: &SockRef<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        // `send` is the cheaper call, and one slice is the usual case.
        [only] => socket.send_with_flags(only, NO_SIGNAL),
        slices => socket.send_vectored_with_flags(slices, NO_SIGNAL),
    }
}

/// Sends a datagram to an address.
pub(super) fn send_to(socket: &SockRef<'_>, bytes: &[u8], to: &SockAddr) -> io::Result<usize> {
    socket.send_to_with_flags(bytes, to, NO_SIGNAL)
}

/// Sets what a socket needs that was not made here. It does nothing where the flag does it.
#[cfg(target_vendor = "apple")]
pub(super) fn set_up(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_nosigpipe(true)
}

/// Sets what a socket needs that was not made here: nothing, because the flag does it.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn set_up(_socket: &SockRef<'_>) -> io::Result<()> {
    Ok(())
}
