//! Options of a connection, the same for accepted connections and for those that this side opens.

use std::sync::Arc;
use std::time::Duration;

use super::{Overflow, SocketOptions, TcpLimits, check, keep_alive_time, positive};
use crate::error::ConfigError;
use crate::memory::buffer::BufferPool;
use crate::proto::framing::Framing;
use crate::proto::tcp::Settings;
use crate::time::clock::millis;

/// Options of a connection: the field `connection` of [`TcpServerOptions`](crate::TcpServerOptions) and of
/// [`TcpConnectionOptions`](crate::TcpConnectionOptions), which have its setters too.
///
/// ```
/// use longshore::{ConnectionOptions, Framing, TcpConnectionOptions, TcpServerOptions};
///
/// let lines = ConnectionOptions::default().with_framing(Framing::lines());
/// let server = TcpServerOptions::from(":7000").with_connection(lines.clone());
/// let client = TcpConnectionOptions::from("localhost:7000")
///     .with_connection(lines)
///     .with_half_open(true);
/// assert!(client.connection.half_open && !server.connection.half_open);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionOptions {
    /// Bytes read at once, at most. 64 KiB by default and at most.
    pub read_buffer_size: usize,
    /// Where buffers of received bytes come from. `None`: the node's pool.
    pub buffer_pool: Option<BufferPool>,
    /// Keep-alive probes after this long without traffic, in whole seconds, from 1 to 32,767 (RFC 9293 section 3.8.4,
    /// tcp(7)). `None`, the default: none.
    pub keep_alive_period: Option<Duration>,
    /// How bytes become messages.
    pub framing: Framing,
    /// The owner decides what happens after the peer's FIN: it gets a `MessageTcpPeerClosed`, can still send, and
    /// closes when it is done. Off by default: the connection closes by itself when the owner has handled everything
    /// received and all that it sent while doing so has gone out. Turn it on where replies are made later, or by
    /// another process.
    pub half_open: bool,
    /// Closes the connection when the mailbox of its owner is full, instead of pausing it.
    pub close_on_full_mailbox: bool,
    /// Bytes to send after this long without a write. Off by default.
    pub write_keep_alive: Option<(Duration, Vec<u8>)>,
    /// Limits and deadlines.
    pub limits: TcpLimits,
    /// Options of the socket; of a listener: of the listening socket and of accepted ones.
    pub socket: SocketOptions,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            read_buffer_size: 64 * 1024,
            buffer_pool: None,
            keep_alive_period: None,
            framing: Framing::Raw,
            half_open: false,
            close_on_full_mailbox: false,
            write_keep_alive: None,
            limits: TcpLimits::default(),
            socket: SocketOptions::default(),
        }
    }
}

impl ConnectionOptions {
    connection_setters!();

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check(
            self.read_buffer_size > 0,
            "read_buffer_size",
            "must be at least 1 byte",
        )?;
        check(
            self.read_buffer_size <= 64 * 1024,
            "read_buffer_size",
            "must be at most 64 KiB",
        )?;
        self.socket.validate()?;
        keep_alive_time("keep_alive_period", self.keep_alive_period)?;
        // Interval and count mean nothing without probes, and would be ignored.
        let has_period = self.keep_alive_period.is_some();
        for (field, is_set) in [
            (
                "keep_alive_interval",
                self.socket.keep_alive_interval.is_some(),
            ),
            ("keep_alive_count", self.socket.keep_alive_count.is_some()),
        ] {
            check(has_period || !is_set, field, "needs a keep_alive_period")?;
        }
        if let Some((period, bytes)) = &self.write_keep_alive {
            positive("write_keep_alive", Some(*period))?;
            check(!bytes.is_empty(), "write_keep_alive", "needs bytes to send")?;
            // A keep-alive that does not fit the output would never be sent.
            let fit = bytes.len() <= self.limits.output_limit as usize;
            check(fit, "write_keep_alive", "must not exceed output_limit")?;
        }
        self.framing.validate()?;
        self.limits.validate()
    }

    /// Prepares for a session, which gets raw bytes, sees the peer's end and frames its input itself: takes the framing
    /// and the frame timeout out.
    pub(crate) fn take_framing(&mut self) -> (Framing, Option<Duration>) {
        // The session decides what the end of its peer means, and frames its input itself.
        self.half_open = true;
        let framing = std::mem::take(&mut self.framing);
        // The machine of the connection sees no frames then, and could not measure the time of one.
        (framing, self.limits.frame_timeout.take())
    }

    /// Returns the settings of the machine; without a pool of its own a connection takes `pool`, which is the node's.
    pub(crate) fn settings(&self, pool: &BufferPool) -> Arc<Settings> {
        let limits = &self.limits;
        let (high_water_mark, low_water_mark) = limits.marks();
        Arc::new(Settings {
            framing: Arc::new(self.framing.clone()),
            pool: self.buffer_pool.as_ref().unwrap_or(pool).clone(),
            read_buffer_size: self.read_buffer_size,
            output_limit: limits.output_limit,
            closes_on_overflow: limits.overflow == Overflow::Close,
            high_water_mark,
            low_water_mark,
            reads_above_high: limits.read_above_high,
            input_window: limits.input_window,
            window_follows_buffers: limits.window_follows_buffers,
            half_open: self.half_open,
            close_on_full_mailbox: self.close_on_full_mailbox,
            handshake_timeout: limits.handshake_timeout.map(millis),
            idle_timeout: limits.idle_timeout.map(millis),
            write_timeout: limits.write_timeout.map(millis),
            frame_timeout: limits.frame_timeout.map(millis),
            close_timeout: millis(limits.close_timeout),
            linger_timeout: millis(limits.linger_timeout),
            write_keep_alive: self
                .write_keep_alive
                .as_ref()
                .map(|(period, bytes)| (millis(*period), bytes.clone())),
        })
    }
}
