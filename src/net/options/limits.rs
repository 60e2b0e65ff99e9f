//! Limits of connections.

use std::time::Duration;

use super::{check, check_limit, positive};
use crate::bridge::QuotaOptions;
use crate::error::ConfigError;

/// What happens to a write that finds the output limit of its connection reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The connection closes with [`DisconnectReason::Overflow`](crate::DisconnectReason::Overflow). What was accepted
    /// before is still sent within `close_timeout`, so that the peer gets a prefix of the stream and then its end.
    #[default]
    Close,
    /// The whole write is dropped and counted. For telemetry, where each write stands for itself.
    DropNewest,
}

/// Limits and deadlines of TCP connections. "Off" is `None`.
///
/// ```
/// use longshore::prelude::*;
/// use longshore::TcpLimits;
/// use std::time::Duration;
///
/// let limits = TcpLimits::default()
///     .with_idle_timeout(Duration::from_secs(60))
///     .with_write_timeout(None);
/// let options = TcpServerOptions::from("127.0.0.1:7000").with_limits(limits);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpLimits {
    /// Bytes that may wait to be sent, those on their way to the connection included. A `send` that would exceed it is
    /// refused with its message; a `write` is refused once this many bytes wait before it. So at most this many bytes
    /// and one write wait. 4 MiB by default; at most 2^29 - 1.
    pub output_limit: u32,
    /// What happens to a `write` that finds `output_limit` bytes before it. The connection closes by default.
    pub overflow: Overflow,
    /// While more than this many bytes wait to be sent, the connection reads nothing, and its owner is given no more of
    /// its input, until the low mark is reached; likewise when `output_limit` bytes wait. 256 KiB by default.
    pub high_water_mark: u32,
    /// At this many waiting bytes the input goes on and the owner gets a `MessageTcpWritable`. 64 KiB by default.
    pub low_water_mark: u32,
    /// Reads, and gives the owner input, whatever waits to be sent. Two peers that both stream without being asked need
    /// it: otherwise each waits for the other until the write timeout. Off by default.
    pub read_above_high: bool,
    /// Bytes of input that the owner may have before it. The connection stops reading until the owner has handled some.
    /// 256 KiB by default.
    pub input_window: u32,
    /// Counts delivered input against `input_window` until its [`Buffer`](crate::Buffer) is dropped, and not until the
    /// owner's handler has returned. For an owner that passes buffers on, to a process or to another connection: the
    /// peer is slowed to what these take, and at most the window and one read wait. A buffer that is kept for long
    /// stops the connection, unless it is [detached](crate::Buffer::detach). What a session leaves in its input, and
    /// frames that a session cuts, count as handled. Off by default.
    pub window_follows_buffers: bool,
    /// Time for the TLS handshake. 10 s by default.
    pub handshake_timeout: Option<Duration>,
    /// Time from the accept to the first byte of a peer that has to begin a TLS handshake, within `handshake_timeout`.
    /// 5 s by default.
    pub first_byte_timeout: Option<Duration>,
    /// Closes the connection after this long without a byte in either direction. Off by default.
    pub idle_timeout: Option<Duration>,
    /// Ends the connection when bytes wait this long without the peer taking any. 30 s by default.
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
            overflow: Overflow::Close,
            high_water_mark: 256 << 10,
            low_water_mark: 64 << 10,
            read_above_high: false,
            input_window: 256 << 10,
            window_follows_buffers: false,
            handshake_timeout: Some(Duration::from_secs(10)),
            first_byte_timeout: Some(Duration::from_secs(5)),
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
        /// Sets [`overflow`](Self::overflow).
        with_overflow, overflow: plain Overflow;
        /// Sets [`read_above_high`](Self::read_above_high).
        with_read_above_high, read_above_high: plain bool;
        /// Sets [`input_window`](Self::input_window), bytes.
        with_input_window, input_window: plain u32;
        /// Sets [`window_follows_buffers`](Self::window_follows_buffers).
        with_window_follows_buffers, window_follows_buffers: plain bool;
        /// Sets [`handshake_timeout`](Self::handshake_timeout).
        with_handshake_timeout, handshake_timeout: into Option<Duration>;
        /// Sets [`first_byte_timeout`](Self::first_byte_timeout).
        with_first_byte_timeout, first_byte_timeout: into Option<Duration>;
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

    /// The high and the low mark. At the limit the next write is refused, so that input must wait there in any case.
    pub(super) fn marks(&self) -> (u32, u32) {
        let below_limit = self.output_limit.saturating_sub(1);
        let high = self.high_water_mark.min(below_limit);
        (high, self.low_water_mark.min(below_limit))
    }

    /// What others may send to a connection with these limits.
    pub(crate) fn quota_options(&self) -> QuotaOptions {
        QuotaOptions {
            limit: self.output_limit,
            high: self.marks().0,
            closes_on_overflow: self.overflow == Overflow::Close,
            reads_above_high: self.read_above_high,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check(
            self.output_limit > 0,
            "output_limit",
            "must be at least 1 byte",
        )?;
        check_limit(self.output_limit)?;
        check(
            // Beyond the limit the mark would never be reached: writes would be refused without a sign before.
            self.high_water_mark <= self.output_limit,
            "high_water_mark",
            "must not exceed output_limit",
        )?;
        check(
            // Above the high mark it would be reached as soon as that is, with a Writable for each flush.
            self.low_water_mark <= self.high_water_mark,
            "low_water_mark",
            "must not exceed high_water_mark",
        )?;
        check(
            // Without a window the connection would read nothing.
            self.input_window > 0,
            "input_window",
            "must be at least 1 byte",
        )?;
        for (field, timeout) in [
            ("handshake_timeout", self.handshake_timeout),
            ("first_byte_timeout", self.first_byte_timeout),
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
