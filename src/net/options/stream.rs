//! What listeners and clients have in common: the options of their connections.

use std::sync::Arc;
use std::time::Duration;

use super::{SocketOptions, TcpLimits, check, keep_alive_time, positive};
use crate::error::ConfigError;
use crate::memory::buffer::{Buffer, BufferPool};
use crate::proto::framing::Framing;
use crate::proto::tcp::Settings;
use crate::time::clock::millis;

/// What listeners and clients have in common.
pub(crate) struct StreamOptions<'a> {
    pub(super) read_buffer_size: usize,
    pub(super) buffer_pool: Option<&'a BufferPool>,
    pub(crate) keep_alive_period: Option<Duration>,
    pub(super) framing: &'a Framing,
    pub(super) half_open: bool,
    pub(super) close_on_full_mailbox: bool,
    pub(super) write_keep_alive: Option<&'a (Duration, Vec<u8>)>,
    pub(super) limits: &'a TcpLimits,
    pub(crate) socket: &'a SocketOptions,
}

impl StreamOptions<'_> {
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
        if let Some((period, bytes)) = self.write_keep_alive {
            positive("write_keep_alive", Some(*period))?;
            check(!bytes.is_empty(), "write_keep_alive", "needs bytes to send")?;
            let fit = bytes.len() <= self.limits.output_limit as usize;
            check(fit, "write_keep_alive", "must not exceed output_limit")?;
        }
        self.framing.validate()?;
        self.limits.validate()
    }

    /// The settings of the machine; `pool` is the node's, for when there is none in the options.
    pub(crate) fn settings(&self, pool: &BufferPool) -> Arc<Settings> {
        let limits = self.limits;
        Arc::new(Settings {
            framing: Arc::new(self.framing.clone()),
            pool: self.buffer_pool.unwrap_or(pool).clone(),
            read_buffer_size: self.read_buffer_size,
            output_limit: limits.output_limit,
            high_water_mark: limits.high_water_mark,
            low_water_mark: limits.low_water_mark,
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
                .map(|(period, bytes)| (millis(*period), bytes.clone())),
        })
    }
}

/// The keep-alive bytes of a connection as a buffer.
pub(crate) fn keep_alive_bytes(settings: &Settings) -> Option<Buffer> {
    settings
        .write_keep_alive
        .as_ref()
        .map(|(_, bytes)| settings.pool.copy_from_slice(bytes))
}
