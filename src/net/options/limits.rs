//! Limits of connections.

use std::time::Duration;

use super::{check, positive};
use crate::bridge::send_quota::MAX_LIMIT;
use crate::error::ConfigError;

/// Limits and deadlines of TCP connections. "Off" is `None`.
///
/// ```
/// use longshore::prelude::*;
/// use longshore::TcpLimits;
/// use std::time::Duration;
///
/// let limits = TcpLimits::default().with_idle_timeout(Duration::from_secs(60)).with_write_timeout(None);
/// let options = TcpServerOptions::from("127.0.0.1:7000").with_limits(limits);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpLimits {
    /// Bytes that may wait to be sent, those on their way to the connection included; a send that would exceed it is
    /// refused with its message. 4 MiB by default; at most 2^30 - 1.
    pub output_limit: u32,
    /// Above so many waiting bytes the connection stops reading; and as many bytes may be on their way to its owner before
    /// it does. 256 KiB by default. As high as `output_limit`, waiting bytes never stop it: for two sides that both send
    /// without being asked, and would otherwise wait for each other until the write timeout.
    pub high_water_mark: u32,
    /// At so many waiting bytes reading resumes and the owner gets a `MessageTcpWritable`. 64 KiB by default.
    pub low_water_mark: u32,
    /// Time for the TLS handshake. 10 s by default.
    pub handshake_timeout: Option<Duration>,
    /// The connection ends after so long without a byte in either direction. Off by default.
    pub idle_timeout: Option<Duration>,
    /// The connection ends when bytes wait so long without the peer taking any. 30 s by default.
    pub write_timeout: Option<Duration>,
    /// Time from the first byte of a frame to its last. Off by default.
    pub frame_timeout: Option<Duration>,
    /// Time for a close to send what is queued, and for the peer to answer it by ending its side. 5 s by default.
    pub close_timeout: Duration,
    /// Within the close timeout: how long a peer that sends nothing may take to end its side after we have ended ours.
    /// 1 s by default.
    #[doc(alias = "linger")]
    pub linger_timeout: Duration,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            output_limit: 4 << 20,
            high_water_mark: 256 << 10,
            low_water_mark: 64 << 10,
            handshake_timeout: Some(Duration::from_secs(10)),
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(30)),
            frame_timeout: None,
            close_timeout: Duration::from_secs(5),
            linger_timeout: Duration::from_secs(1),
        }
    }
}

impl TcpLimits {
    setters! {
        /// Sets [`output_limit`](Self::output_limit), bytes.
        with_output_limit, output_limit: plain u32;
        /// Sets [`high_water_mark`](Self::high_water_mark), bytes.
        with_high_water_mark, high_water_mark: plain u32;
        /// Sets [`low_water_mark`](Self::low_water_mark), bytes.
        with_low_water_mark, low_water_mark: plain u32;
        /// Sets [`handshake_timeout`](Self::handshake_timeout).
        with_handshake_timeout, handshake_timeout: into Option<Duration>;
        /// Sets [`idle_timeout`](Self::idle_timeout).
        with_idle_timeout, idle_timeout: into Option<Duration>;
        /// Sets [`write_timeout`](Self::write_timeout).
        with_write_timeout, write_timeout: into Option<Duration>;
        /// Sets [`frame_timeout`](Self::frame_timeout).
        with_frame_timeout, frame_timeout: into Option<Duration>;
        /// Sets [`close_timeout`](Self::close_timeout).
        with_close_timeout, close_timeout: plain Duration;
        /// Sets [`linger_timeout`](Self::linger_timeout).
        with_linger_timeout, linger_timeout: plain Duration;
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check(
            self.output_limit > 0,
            "output_limit",
            "must be at least 1 byte",
        )?;
        check(
            self.output_limit <= MAX_LIMIT,
            "output_limit",
            "must be below 2^30 bytes",
        )?;
        check(
            self.high_water_mark <= self.output_limit,
            "high_water_mark",
            "must not exceed output_limit",
        )?;
        check(
            self.low_water_mark <= self.high_water_mark,
            "low_water_mark",
            "must not exceed high_water_mark",
        )?;
        for (field, timeout) in [
            ("handshake_timeout", self.handshake_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
            ("frame_timeout", self.frame_timeout),
            ("close_timeout", Some(self.close_timeout)),
            ("linger_timeout", Some(self.linger_timeout)),
        ] {
            positive(field, timeout)?;
        }
        Ok(())
    }
}
