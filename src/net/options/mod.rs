//! Options of listeners, connections and UDP sockets, validated where they are used, naming the field.
//!
//! ```text
//!  TcpServerOptions ─┐                            ┌ TcpLimits
//!                    ├─ StreamOptions (a view) ─▶ ┼ Framing …  ─▶ Settings of a connection
//!  TcpConnectionOptions                           └ SocketOptions ◀─ UdpServerOptions
//! ```

#[macro_use]
mod setters;

mod address;
mod client;
pub(crate) mod host;
mod limits;
mod server;
mod socket;
mod stream;
mod udp;

use std::time::Duration;

pub use client::TcpConnectionOptions;
pub use host::Host;
pub use limits::TcpLimits;
pub use server::{AtLimit, TcpServerOptions};
pub use socket::SocketOptions;
pub(crate) use stream::{StreamOptions, keep_alive_bytes};
pub use udp::UdpServerOptions;

use crate::error::ConfigError;

fn check(holds: bool, field: &'static str, problem: &str) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError::new(field, problem))
    }
}

/// Times below a millisecond would be none at all.
fn positive(field: &'static str, time: Option<Duration>) -> Result<(), ConfigError> {
    check(
        time.is_none_or(|time| time >= Duration::from_millis(1)),
        field,
        "must be at least 1 ms; `None` is off",
    )
}

/// As much as Linux takes, see tcp(7).
fn keep_alive_time(field: &'static str, time: Option<Duration>) -> Result<(), ConfigError> {
    positive(field, time)?;
    check(
        time.is_none_or(|time| time.as_secs() <= 32_767),
        field,
        "must be at most 32,767 s",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::framing::Framing;

    #[test]
    fn wrong_option_is_named() {
        let field = |options: TcpServerOptions| options.validate().expect_err("wrong").field();
        assert_eq!(
            field(TcpServerOptions::default().with_insecure_skip_verify(true)),
            "insecure_skip_verify"
        );
        assert_eq!(
            field(TcpServerOptions::default().with_keep_alive_period(Duration::ZERO)),
            "keep_alive_period"
        );
        assert_eq!(
            field(TcpServerOptions::default().with_framing(Framing::fixed(0))),
            "length"
        );
        let limits = TcpLimits::default().with_low_water_mark(1 << 20);
        assert_eq!(
            field(TcpServerOptions::default().with_limits(limits)),
            "low_water_mark"
        );
        let keep_alive = Some((Duration::ZERO, b"x".to_vec()));
        assert_eq!(
            field(TcpServerOptions::default().with_write_keep_alive(keep_alive)),
            "write_keep_alive"
        );
        assert_eq!(
            TcpConnectionOptions::default()
                .validate()
                .expect_err("wrong")
                .field(),
            "host"
        );
        let options = UdpServerOptions::default().with_buffer_size(0);
        assert_eq!(
            options.validate().expect_err("wrong").field(),
            "buffer_size"
        );
    }
}
