//! The meta-processes of the crate: TCP, UDP and Unix domain sockets, and their options.
//!
//! Each is a state machine of `proto` with a socket. They implement the same [`MetaProcess`](crate::MetaProcess) as a
//! user's meta-process does.

mod control;
mod datagram_io;
mod gso;
mod kernel_drops;
pub(crate) mod multicast;
#[cfg(unix)]
mod no_signal;
pub(crate) mod options;
#[cfg(all(feature = "pktinfo", any(target_os = "linux", target_os = "android")))]
mod pktinfo;
#[cfg(not(all(feature = "pktinfo", any(target_os = "linux", target_os = "android"))))]
#[path = "no_pktinfo.rs"]
mod pktinfo;
#[cfg(feature = "testing")]
mod simulated;
mod socket;
mod stream;
pub(crate) mod tcp;
pub(crate) mod udp;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) mod unix_datagram;
#[cfg(unix)]
pub(crate) mod unix_stream;
