//! Options of a client, and the ways to write a server's address.

use std::time::Duration;

use super::nkey::Nkey;
use crate::error::{ConfigError, check};
use crate::net::options::{Host, digits};
use crate::tls::TlsClientOptions;

/// The port of NATS.
const PORT: u16 = 4222;

/// How a client proves who it is.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum NatsAuth {
    /// What the server's address says, or nothing.
    #[default]
    None,
    /// A user and a password.
    User(String, String),
    /// A token.
    Token(String),
    /// A signature of the server's nonce.
    Nkey(Nkey),
}

/// Options of a [`Nats`](super::Nats).
///
/// ```
/// use longshore::nats::NatsOptions;
///
/// let options = NatsOptions::from("127.0.0.1:4222").with_server("nats://127.0.0.1:4223");
/// assert_eq!(options.servers.len(), 2);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NatsOptions {
    /// The servers, tried in this order: `host`, `host:port`, `[v6]:port`, with `nats://` or `tls://` and
    /// `user:password@` or `token@` before it if wanted. The port is 4222 if it is left out. Other servers of their
    /// cluster are added as their INFO names them.
    pub servers: Vec<String>,
    /// A name for the server's monitoring, at most 1,024 bytes. Empty by default.
    pub name: String,
    /// How the client proves who it is.
    pub auth: NatsAuth,
    /// Turns TLS on. The client then never goes on with a server that has none.
    pub tls: Option<TlsClientOptions>,
    /// With TLS: begin with the handshake, for servers with `handshake_first`. Off by default: the server's INFO comes
    /// in plain text and the handshake follows it.
    pub tls_first: bool,
    /// Whether messages that this client publishes come back to its own subscriptions. On by default.
    pub echo: bool,
    /// The first token of subjects that answers go to. `_INBOX` by default.
    pub inbox_prefix: String,
    /// Time for one attempt: to connect, to handshake, and until the server has answered CONNECT. 5 s by default.
    pub connect_timeout: Duration,
    /// The wait before the second round over all servers; every further round doubles it. 100 ms by default.
    pub reconnect_first: Duration,
    /// The longest wait between two rounds. 5 s by default.
    pub reconnect_max: Duration,
    /// The client's process ends after this long without a server. `None`, the default: never.
    pub give_up_after: Option<Duration>,
    /// A PING to the server after this long; with two of them unanswered the connection is given up. 30 s by default.
    pub ping_interval: Duration,
    /// Bytes of publishes and requests that may wait for the server, also during a reconnect. Beyond it they are
    /// refused. 8 MiB by default.
    pub pending_limit: usize,
    /// The longest line of the server but for INFO, in bytes. 4,096 by default.
    pub max_control_line: usize,
    /// The largest message, headers and payload, that is accepted from the server, in bytes. A larger one is skipped
    /// and counted. 8 MiB by default.
    pub max_payload: usize,
    /// Time for a drain; what is left after it is given up. 30 s by default.
    pub drain_timeout: Duration,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            name: String::new(),
            auth: NatsAuth::None,
            tls: None,
            tls_first: false,
            echo: true,
            inbox_prefix: "_INBOX".to_owned(),
            connect_timeout: Duration::from_secs(5),
            reconnect_first: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
            give_up_after: None,
            ping_interval: Duration::from_secs(30),
            pending_limit: 8 << 20,
            max_control_line: 4096,
            max_payload: 8 << 20,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

macro_rules! with {
    ($($(#[$doc:meta])* $name:ident, $field:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, value: impl Into<$type>) -> Self {
            self.$field = value.into();
            self
        }
    )*};
}

impl NatsOptions {
    /// Adds a server to [`servers`](Self::servers).
    #[must_use]
    pub fn with_server(mut self, server: impl Into<String>) -> Self {
        self.servers.push(server.into());
        self
    }

    with! {
        /// Sets [`name`](Self::name).
        with_name, name: String;
        /// Sets [`auth`](Self::auth).
        with_auth, auth: NatsAuth;
        /// Sets [`tls_first`](Self::tls_first).
        with_tls_first, tls_first: bool;
        /// Sets [`echo`](Self::echo).
        with_echo, echo: bool;
        /// Sets [`inbox_prefix`](Self::inbox_prefix).
        with_inbox_prefix, inbox_prefix: String;
        /// Sets [`connect_timeout`](Self::connect_timeout).
        with_connect_timeout, connect_timeout: Duration;
        /// Sets [`reconnect_first`](Self::reconnect_first).
        with_reconnect_first, reconnect_first: Duration;
        /// Sets [`reconnect_max`](Self::reconnect_max).
        with_reconnect_max, reconnect_max: Duration;
        /// Sets [`give_up_after`](Self::give_up_after).
        with_give_up_after, give_up_after: Option<Duration>;
        /// Sets [`ping_interval`](Self::ping_interval).
        with_ping_interval, ping_interval: Duration;
        /// Sets [`pending_limit`](Self::pending_limit), bytes.
        with_pending_limit, pending_limit: usize;
        /// Sets [`max_control_line`](Self::max_control_line), bytes.
        with_max_control_line, max_control_line: usize;
        /// Sets [`max_payload`](Self::max_payload), bytes.
        with_max_payload, max_payload: usize;
        /// Sets [`drain_timeout`](Self::drain_timeout).
        with_drain_timeout, drain_timeout: Duration;
    }

    /// Sets [`tls`](Self::tls).
    #[must_use]
    pub fn with_tls(mut self, tls: impl Into<Option<TlsClientOptions>>) -> Self {
        self.tls = tls.into();
        self
    }

    /// Checks all fields, and reads the addresses.
    pub(super) fn validate(&self) -> Result<Vec<Address>, ConfigError> {
        self.validate_strings()?;
        self.validate_waits()?;
        self.validate_sizes()?;
        check(
            self.has_tls() || !self.tls_first,
            "tls_first",
            "needs the option tls",
        )?;
        self.addresses()
    }

    fn validate_strings(&self) -> Result<(), ConfigError> {
        check(
            !self.servers.is_empty(),
            "servers",
            "a client needs a server",
        )?;
        check(
            // The inbox stands in the line of each request, and a server refuses a line above its limit.
            super::subject::is_publishable(&self.inbox_prefix) && self.inbox_prefix.len() <= 256,
            "inbox_prefix",
            "must be a subject of at most 256 bytes",
        )?;
        // CONNECT is one line, and a server refuses a line above its limit, 4 KiB as a rule.
        check(
            self.name.len() <= 1_024,
            "name",
            "must be at most 1,024 bytes",
        )
    }

    fn validate_waits(&self) -> Result<(), ConfigError> {
        let waits = [
            ("connect_timeout", self.connect_timeout),
            ("reconnect_first", self.reconnect_first),
            ("reconnect_max", self.reconnect_max),
            ("ping_interval", self.ping_interval),
            ("drain_timeout", self.drain_timeout),
        ];
        for (field, wait) in waits {
            check(!wait.is_zero(), field, "must be above 0")?;
        }
        check(
            self.reconnect_first <= self.reconnect_max,
            "reconnect_first",
            "must not exceed reconnect_max",
        )
    }

    fn validate_sizes(&self) -> Result<(), ConfigError> {
        check(
            (128..=1 << 20).contains(&self.max_control_line),
            "max_control_line",
            "must be from 128 bytes to 1 MiB",
        )?;
        for (field, bytes) in [
            ("max_payload", self.max_payload),
            ("pending_limit", self.pending_limit),
        ] {
            check(
                (1..1 << 29).contains(&bytes),
                field,
                "must be from 1 to 2^29 - 1 bytes",
            )?;
        }
        Ok(())
    }

    /// Reads the addresses of the servers.
    fn addresses(&self) -> Result<Vec<Address>, ConfigError> {
        let addresses = self.servers.iter().map(|server| {
            let address = Address::parse(server)
                .ok_or_else(|| ConfigError::new("servers", "not the address of a server"))?;
            check(
                self.has_tls() || !address.tls,
                "servers",
                "tls:// needs the option tls",
            )?;
            Ok(address)
        });
        addresses.collect()
    }

    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }
}

impl From<&str> for NatsOptions {
    /// The address of one server.
    fn from(server: &str) -> Self {
        Self::default().with_server(server)
    }
}

impl From<String> for NatsOptions {
    fn from(server: String) -> Self {
        Self::default().with_server(server)
    }
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    /// What stood before the `@`: a user and its password, or a token.
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl Address {
    /// Reads an address; see [`NatsOptions::servers`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match text.split_once("://") {
            Some(("nats", rest)) => (false, rest),
            Some(("tls", rest)) => (true, rest),
            Some(_) => return None,
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // The last one: a password may have an `@` in it, and a host has none.
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        let (user, password) = match credentials.map(|text| text.split_once(':')) {
            None => (None, None),
            Some(None) => (credentials.map(str::to_owned), None),
            Some(Some((user, password))) => (Some(user.to_owned()), Some(password.to_owned())),
        };
        let (host, port) = split_port(place)?;
        let is_host = !host.is_empty()
            && host.len() <= 255
            && !host.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
        is_host.then(|| Self {
            host: host.to_owned(),
            port,
            tls,
            user,
            password,
        })
    }

    /// Whether the host is an address and no name.
    pub(super) fn is_literal(&self) -> bool {
        Host::from(&self.host).ip().is_some()
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` or `v6`.
fn split_port(place: &str) -> Option<(&str, u16)> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        (
            host,
            if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':')?)
            },
        )
    } else {
        match place.split_once(':') {
            // More than one colon is an IPv6 address without brackets, behind which a port could not be found.
            Some((_, rest)) if rest.contains(':') => (place, None),
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    let port = port.map_or(Some(PORT), digits)?;
    (port != 0).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_users_write_them() {
        let parsed = |text: &str| {
            let address = Address::parse(text)?;
            let credentials = (address.user, address.password);
            Some((address.host, address.port, address.tls, credentials))
        };
        let none = || (None, None);
        for (text, host, port, tls, credentials) in [
            ("a", "a", 4222, false, none()),
            ("a:1", "a", 1, false, none()),
            ("nats://a/", "a", 4222, false, none()),
            ("tls://a:5", "a", 5, true, none()),
            ("::1", "::1", 4222, false, none()),
            ("[::1]", "::1", 4222, false, none()),
            ("[fe80::1%2]", "fe80::1%2", 4222, false, none()),
            ("nats://[::1]:7", "::1", 7, false, none()),
            (
                "nats://u:p@w@a:1",
                "a",
                1,
                false,
                (Some("u".into()), Some("p@w".into())),
            ),
            ("t@a", "a", 4222, false, (Some("t".into()), None)),
        ] {
            let expected = (host.to_owned(), port, tls, credentials);
            assert_eq!(parsed(text), Some(expected), "{text}");
        }
        for wrong in [
            "", "http://a", "a:0", "a:65536", "a:x", "a:+1", "[::1]:+1", "[::1", "[::1]x", "a b",
            "u@",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn address_with_a_zone_is_no_name() {
        for (text, is_literal) in [("fe80::1%2", true), ("[fe80::1%lo]:1", true), ("a", false)] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.is_literal(), is_literal, "{text}");
        }
    }

    #[test]
    fn a_wrong_option_is_named() {
        let good = || NatsOptions::from("a");
        assert!(good().validate().is_ok());
        for (options, field) in [
            (NatsOptions::default(), "servers"),
            (NatsOptions::from("http://a"), "servers"),
            (NatsOptions::from("tls://a"), "servers"),
            (good().with_inbox_prefix("a b"), "inbox_prefix"),
            (good().with_ping_interval(Duration::ZERO), "ping_interval"),
            (
                good().with_reconnect_first(Duration::from_secs(9)),
                "reconnect_first",
            ),
            (good().with_max_control_line(10_usize), "max_control_line"),
            (good().with_max_payload(0_usize), "max_payload"),
            (good().with_pending_limit(1_usize << 29), "pending_limit"),
            (good().with_tls_first(true), "tls_first"),
            (
                good().with_connect_timeout(Duration::ZERO),
                "connect_timeout",
            ),
            (good().with_reconnect_max(Duration::ZERO), "reconnect"),
            (
                good().with_max_control_line((1_usize << 20) + 1),
                "max_control_line",
            ),
            (good().with_max_control_line(usize::MAX), "max_control_line"),
            (good().with_max_payload(1_usize << 29), "max_payload"),
            (good().with_max_payload(usize::MAX), "max_payload"),
            (good().with_pending_limit(0_usize), "pending_limit"),
            (good().with_pending_limit(usize::MAX), "pending_limit"),
            (good().with_name("n".repeat(1_025)), "name"),
            (good().with_drain_timeout(Duration::ZERO), "drain_timeout"),
            (good().with_inbox_prefix(""), "inbox_prefix"),
            (good().with_inbox_prefix("a".repeat(257)), "inbox_prefix"),
            (good().with_inbox_prefix("a.>"), "inbox_prefix"),
        ] {
            let error = options.validate().expect_err(field);
            assert!(error.to_string().contains(field), "{error}");
        }
        // A new option does not compile until it is named here, and has its rows above if a value of it can be wrong.
        let NatsOptions {
            servers: _,
            name: _,
            auth: _,
            tls: _,
            tls_first: _,
            echo: _,
            inbox_prefix: _,
            connect_timeout: _,
            reconnect_first: _,
            reconnect_max: _,
            give_up_after: _,
            ping_interval: _,
            pending_limit: _,
            max_control_line: _,
            max_payload: _,
            drain_timeout: _,
        } = good();
    }
}
