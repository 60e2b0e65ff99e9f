//! Options of sockets of all kinds.

use std::time::Duration;

use super::{check, keep_alive_time, positive};
use crate::error::ConfigError;
use crate::time::clock::millis;

/// Options of the socket itself; `None` leaves what the operating system does. See socket(7), tcp(7) and ipv6(7).
///
/// ```
/// use longshore::SocketOptions;
///
/// let options = SocketOptions::default()
///     .with_backlog(4096)
///     .with_recv_buffer_size(256 * 1024);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Send small writes at once (TCP_NODELAY). On by default.
    pub nodelay: bool,
    /// Connections that may wait to be accepted. 1,024 by default.
    pub backlog: u32,
    /// Let several sockets bind the same port, on Unix (SO_REUSEPORT). Off by default.
    pub reuse_port: bool,
    /// An IPv6 socket takes no IPv4 (IPV6_V6ONLY). Off by default: an empty host serves both.
    pub only_v6: bool,
    /// Time between two keep-alive probes, in whole seconds, from 1 to 32,767. `None`: the keep-alive period,
    /// without which there are no probes.
    pub keep_alive_interval: Option<Duration>,
    /// Unanswered keep-alive probes until the connection is given up, from 1 to 127.
    pub keep_alive_count: Option<u32>,
    /// End connections by a reset instead of an orderly end when they are closed (SO_LINGER with zero): bytes that the
    /// peer's kernel has not acknowledged are lost, and no TIME_WAIT stays behind. Off by default. Lingering for a time
    /// is not offered, because it blocks; [`TcpLimits::close_timeout`](crate::TcpLimits::close_timeout) and
    /// [`TcpLimits::linger_timeout`](crate::TcpLimits::linger_timeout) do it without.
    #[doc(alias = "linger")]
    pub reset_on_close: bool,
    /// Give a connection up whose peer has not acknowledged what was sent for this long (TCP_USER_TIMEOUT). Linux and
    /// Android only, ignored elsewhere.
    pub user_timeout: Option<Duration>,
    /// The kernel's receive buffer, in bytes (SO_RCVBUF).
    pub recv_buffer_size: Option<usize>,
    /// The kernel's send buffer, in bytes (SO_SNDBUF).
    pub send_buffer_size: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            backlog: 1024,
            reuse_port: false,
            only_v6: false,
            keep_alive_interval: None,
            keep_alive_count: None,
            reset_on_close: false,
            user_timeout: None,
            recv_buffer_size: None,
            send_buffer_size: None,
        }
    }
}

impl SocketOptions {
    setters! {
        /// Sets [`nodelay`](Self::nodelay).
        with_nodelay, nodelay: plain bool;
        /// Sets [`backlog`](Self::backlog).
        with_backlog, backlog: plain u32;
        /// Sets [`reuse_port`](Self::reuse_port).
        with_reuse_port, reuse_port: plain bool;
        /// Sets [`only_v6`](Self::only_v6).
        with_only_v6, only_v6: plain bool;
        /// Sets [`keep_alive_interval`](Self::keep_alive_interval).
        with_keep_alive_interval, keep_alive_interval: into Option<Duration>;
        /// Sets [`keep_alive_count`](Self::keep_alive_count).
        with_keep_alive_count, keep_alive_count: some u32;
        /// Sets [`reset_on_close`](Self::reset_on_close).
        with_reset_on_close, reset_on_close: plain bool;
        /// Sets [`user_timeout`](Self::user_timeout).
        with_user_timeout, user_timeout: into Option<Duration>;
        /// Sets [`recv_buffer_size`](Self::recv_buffer_size), bytes.
        with_recv_buffer_size, recv_buffer_size: some usize;
        /// Sets [`send_buffer_size`](Self::send_buffer_size), bytes.
        with_send_buffer_size, send_buffer_size: some usize;
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check(
            // listen(2) takes a signed number.
            self.backlog > 0 && self.backlog <= i32::MAX as u32,
            "backlog",
            "must be between 1 and 2^31 - 1",
        )?;
        // Linux takes no more probes than these.
        check(
            self.keep_alive_count
                .is_none_or(|count| (1..=127).contains(&count)),
            "keep_alive_count",
            "must be between 1 and 127",
        )?;
        for (field, size) in [
            ("recv_buffer_size", self.recv_buffer_size),
            ("send_buffer_size", self.send_buffer_size),
        ] {
            // Both are signed numbers of 32 bits (socket(7)).
            let fits = size.is_none_or(|size| size > 0 && size <= i32::MAX as usize);
            check(fits, field, "must be between 1 and 2^31 - 1 bytes")?;
        }
        positive("user_timeout", self.user_timeout)?;
        // TCP_USER_TIMEOUT is a signed number of milliseconds (tcp(7)).
        let representable = self
            .user_timeout
            .is_none_or(|timeout| millis(timeout) <= i32::MAX as u64);
        check(representable, "user_timeout", "must be below 2^31 ms")?;
        keep_alive_time("keep_alive_interval", self.keep_alive_interval)
    }
}
