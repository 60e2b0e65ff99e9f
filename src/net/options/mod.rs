//! Options of listeners, connections and UDP sockets, validated where they are used, naming the field.
//!
//! ```text
//!  TcpServerOptions ─────┐                        ┌ TcpLimits
//!                        ├▶ ConnectionOptions ──▶ ┼ Framing …  ─▶ Settings of a connection
//!  TcpConnectionOptions ─┘                        └ SocketOptions ◀─ UdpServerOptions
//! ```

#[macro_use]
mod setters;

mod address;
mod client;
mod connection;
pub(crate) mod host;
mod limits;
mod proxy;
mod reconnect;
mod server;
mod socket;
mod udp;
#[cfg(unix)]
mod unix;

use std::str::FromStr;
use std::time::Duration;

pub use client::TcpConnectionOptions;
pub use connection::ConnectionOptions;
pub use host::Host;
pub use limits::{Overflow, TcpLimits};
pub use proxy::{IpNetwork, ProxyProtocol};
pub use reconnect::ReconnectPolicy;
pub use server::{AtLimit, TcpServerOptions};
pub use socket::SocketOptions;
pub use udp::UdpServerOptions;
#[cfg(unix)]
pub(in crate::net) use unix::FileOptions;
#[cfg(unix)]
pub use unix::{UnixConnectionOptions, UnixDatagramOptions, UnixServerOptions};

use crate::bridge::send_quota::MAX_LIMIT;
use crate::error::{ConfigError, check};
use crate::id::Name;
use crate::message::datagram_bytes;

/// Checks what both kinds of datagram socket have.
fn check_datagrams(buffer_size: usize, output_limit: u32) -> Result<(), ConfigError> {
    check(buffer_size > 0, "buffer_size", "must be at least 1 byte")?;
    check(
        output_limit as usize >= datagram_bytes(0),
        "output_limit",
        "must be at least 64 bytes, which is what a datagram counts",
    )?;
    check_limit(output_limit)
}

/// Checks a limit against what the send quota can count.
fn check_limit(output_limit: u32) -> Result<(), ConfigError> {
    check(
        output_limit <= MAX_LIMIT,
        "output_limit",
        "must be below 2^29 bytes",
    )
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
    check(
        time.is_none_or(|time| (1..=32_767).contains(&time.as_secs())),
        field,
        "must be between 1 and 32,767 s; `None` is off",
    )
}

/// A number of digits alone; `parse` takes a sign as well.
pub(crate) fn digits<T: FromStr>(text: &str) -> Option<T> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// A process without a name cannot be meant.
fn named(field: &'static str, names: &[Name]) -> Result<(), ConfigError> {
    let have_text = names.iter().all(|name| !name.as_str().is_empty());
    check(have_text, field, "has an empty name")
}

/// A socket that takes IPv6 alone has no use for an IPv4 address, nor for one that is mapped into IPv6.
fn check_family(host: &Host, socket: &SocketOptions) -> Result<(), ConfigError> {
    let is_v4 = host.ip().is_some_and(|ip| ip.to_canonical().is_ipv4());
    check(
        !(socket.only_v6 && is_v4),
        "only_v6",
        "the host is an IPv4 address",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::framing::Framing;

    /// A table with the options of each kind of socket, longer than other functions so that it can be read as one.
    #[test]
    fn every_option_has_a_row() {
        use crate::base::option_rows::option_rows;

        option_rows!(TcpServerOptions {
            host,
            port,
            process_pool,
            cert_manager,
            tls,
            insecure_skip_verify,
            max_connections,
            at_limit,
            accept_rate,
            max_connections_per_ip,
            per_ip_v6_prefix,
            proxy_protocol,
        } nested connection);
        option_rows!(TcpConnectionOptions {
            host,
            port,
            process,
            cert_manager,
            tls,
            insecure_skip_verify,
            connect_timeout,
            local_addr,
            proxy_header,
            reconnect,
        } nested connection);
        option_rows!(ReconnectPolicy {
            first,
            max,
            jitter,
            give_up_after,
        });
        option_rows!(ConnectionOptions {
            read_buffer_size,
            buffer_pool,
            keep_alive_period,
            framing,
            half_open,
            close_on_full_mailbox,
            write_keep_alive,
            limits,
            socket,
        });
        option_rows!(TcpLimits {
            output_limit,
            overflow,
            high_water_mark,
            low_water_mark,
            read_above_high,
            input_window,
            window_follows_buffers,
            handshake_timeout,
            first_byte_timeout,
            idle_timeout,
            write_timeout,
            frame_timeout,
            close_timeout,
            linger_timeout,
        });
        option_rows!(SocketOptions {
            nodelay,
            backlog,
            reuse_port,
            only_v6,
            keep_alive_interval,
            keep_alive_count,
            reset_on_close,
            user_timeout,
            recv_buffer_size,
            send_buffer_size,
        });
        option_rows!(UdpServerOptions {
            host,
            port,
            process,
            buffer_size,
            buffer_pool,
            peer,
            broadcast,
            multicast,
            output_limit,
            report_errors,
            segmentation_offload,
            socket,
        });
        #[cfg(unix)]
        {
            option_rows!(UnixServerOptions {
                file_mode,
                remove_stale,
                process_pool,
                cert_manager,
                tls,
                max_connections,
                at_limit,
                accept_rate,
                proxy_protocol,
            } nested connection);
            option_rows!(UnixConnectionOptions {
                process,
                cert_manager,
                tls,
                server_name,
                insecure_skip_verify,
                connect_timeout,
                proxy_header,
                reconnect,
            } nested connection);
            option_rows!(UnixDatagramOptions {
                file_mode,
                remove_stale,
                process,
                buffer_size,
                buffer_pool,
                output_limit,
                report_errors,
                recv_buffer_size,
                send_buffer_size,
            });
        }
    }

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
