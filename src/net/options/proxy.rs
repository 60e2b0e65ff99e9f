//! The peers that may state the addresses of a connection in a header of the PROXY protocol: networks of trusted
//! proxies.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use super::digits;
use crate::error::ConfigError;

/// How long a proxy has for its header by default; the specification asks for at least 3 seconds.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Addresses that have their first bits in common, as in `10.0.0.0/8`, `::1` or `2001:db8::/32`.
///
/// ```
/// use longshore::IpNetwork;
///
/// let network: IpNetwork = "10.0.0.0/8".parse().unwrap();
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!(!network.contains("11.0.0.1".parse().unwrap()));
/// assert!("10.0.0.0/33".parse::<IpNetwork>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNetwork {
    ip: IpAddr,
    prefix: u8,
}

impl IpNetwork {
    /// The network of `ip` with a prefix of this many bits. An IPv4 address that is mapped into IPv6 is IPv4.
    ///
    /// # Errors
    ///
    /// The prefix is longer than the address: 32 bits, or 128.
    ///
    /// ```
    /// use longshore::IpNetwork;
    ///
    /// let host = IpNetwork::new("127.0.0.1".parse().unwrap(), 32).unwrap();
    /// assert_eq!(host.to_string(), "127.0.0.1/32");
    /// ```
    pub fn new(ip: IpAddr, prefix: u8) -> Result<Self, ConfigError> {
        // The peer of a dual-stack socket has a mapped address.
        let (ip, longest) = match ip.to_canonical() {
            ip @ IpAddr::V4(_) => (ip, 32),
            ip @ IpAddr::V6(_) => (ip, 128),
        };
        if prefix > longest {
            let problem = format!("has a prefix of {prefix} bits, and an address of {longest}");
            return Err(ConfigError::new("trusted", problem));
        }
        Ok(Self { ip, prefix })
    }

    /// Whether an address is in it.
    ///
    /// ```
    /// use longshore::IpNetwork;
    ///
    /// let any: IpNetwork = "0.0.0.0/0".parse().unwrap();
    /// assert!(any.contains("::ffff:192.0.2.1".parse().unwrap()));
    /// assert!(!any.contains("::1".parse().unwrap()));
    /// ```
    pub fn contains(&self, ip: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let differing = network.to_bits() ^ ip.to_bits();
                // A shift by the whole width is what a prefix of 0 asks for, and Rust does not define it.
                differing.checked_shr(32 - prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let differing = network.to_bits() ^ ip.to_bits();
                differing.checked_shr(128 - prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Of one address.
impl From<IpAddr> for IpNetwork {
    fn from(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let prefix = if ip.is_ipv4() { 32 } else { 128 };
        Self { ip, prefix }
    }
}

/// `10.0.0.0/8`; an address alone is a network of one.
impl FromStr for IpNetwork {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || {
            let problem = format!("`{}` is no network", text.escape_debug());
            ConfigError::new("trusted", problem)
        };
        match text.split_once('/') {
            None => text
                .parse()
                .map(|ip: IpAddr| ip.into())
                .map_err(|_| wrong()),
            Some((ip, prefix)) => {
                let ip = ip.parse::<IpAddr>().map_err(|_| wrong())?;
                Self::new(ip, digits(prefix).ok_or_else(wrong)?)
            }
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// Whether the connections of a listener begin with a header of the PROXY protocol, version 1 or 2.
///
/// The header says for whom a proxy opens the connection. It comes first, before a TLS handshake. The specification
/// forbids guessing whether it is there: a connection of a listener that requires it and does not get it is closed, and
/// so is one of a peer outside of the trusted networks, before anything of it is read. See the
/// [guide](crate::guide::connecting).
///
/// ```
/// use longshore::{ProxyProtocol, TcpServerOptions};
///
/// let trusted = ["10.0.0.0/8", "::1"].map(|text| text.parse().unwrap());
/// let options = TcpServerOptions::from(":7000")
///     .with_proxy_protocol(ProxyProtocol::required(trusted));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// There is no header.
    #[default]
    Off,
    /// Each connection begins with one.
    Required {
        /// The networks of the proxies; at least one. Peers of a Unix domain socket have no address: there the
        /// permission bits of the file say who is trusted, and this is not looked at.
        trusted: Vec<IpNetwork>,
        /// Time for the header, from the accept on; 3 s by default.
        timeout: Duration,
    },
}

impl ProxyProtocol {
    /// Requires a header from proxies of these networks.
    ///
    /// ```
    /// use longshore::{IpNetwork, ProxyProtocol};
    ///
    /// let localhost: IpNetwork = "127.0.0.1".parse().unwrap();
    /// assert_ne!(ProxyProtocol::required([localhost]), ProxyProtocol::Off);
    /// ```
    pub fn required(trusted: impl IntoIterator<Item = IpNetwork>) -> Self {
        Self::Required {
            trusted: trusted.into_iter().collect(),
            timeout: TIMEOUT,
        }
    }

    pub(super) fn validate(&self, needs_networks: bool) -> Result<(), ConfigError> {
        let Self::Required { trusted, timeout } = self else {
            return Ok(());
        };
        // A Unix domain socket has no network: its file says who may connect.
        let is_empty = trusted.is_empty() && needs_networks;
        super::check(!is_empty, "proxy_protocol", "trusts no network")?;
        super::positive("proxy_protocol", Some(*timeout))
    }

    /// Time for the header, if one is required.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Required { timeout, .. } => Some(*timeout),
        }
    }

    /// Whether a connection of this peer may say for whom it is.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        match self {
            Self::Off => true,
            Self::Required { trusted, .. } => trusted.iter().any(|network| network.contains(peer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_has_the_addresses_with_its_prefix() {
        for (network, ip, expected) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "a00::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("::/0", "127.0.0.1", false),
            ("::/0", "ffff::", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1/128", "::1", true),
            ("::1/127", "::", true),
            ("::1/128", "::", false),
            ("192.0.2.77/24", "192.0.2.1", true),
        ] {
            let network: IpNetwork = network.parse().expect(network);
            let contains = network.contains(ip.parse().expect(ip));
            assert_eq!(contains, expected, "{network} {ip}");
        }
        for text in [
            "",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "::1/+8",
            "a/8",
        ] {
            assert!(text.parse::<IpNetwork>().is_err(), "{text}");
        }
    }
}
