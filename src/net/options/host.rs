//! The host of an address: what the options keep, and the way from it to addresses of the operating system.
//!
//! ```text
//!   text, IpAddr, SocketAddr ──▶ Host ──┬─ literal ──▶ SocketAddr, with its zone and flow
//!                                       ├─ any ──────▶ [::] and 0.0.0.0
//!                                       ├─ localhost ▶ 127.0.0.1 and ::1, without the resolver (RFC 6761 section 6.3)
//!                                       ├─ name ─────▶ the resolver of the operating system, which blocks
//!                                       └─ a name to verify under TLS
//! ```
//!
//! A host keeps what it was given and checks it when it is used: a text that is neither an address nor a name is a
//! [`ConfigError`] that names the field `host`. What it does not do: it holds no port, and a zone by name is looked up
//! each time, because the number of an interface may change.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};

use super::{check, digits};
use crate::error::ConfigError;
#[cfg(feature = "testing")]
use crate::simulation;

/// The longest name of the domain name system, with its final dot (RFC 1035 section 3.1).
const LONGEST_NAME: usize = 254;

/// A host: an IP address, with its zone if it has one; the name of one; or all interfaces, which is the empty text.
///
/// It is made of text, as in `127.0.0.1`, `::1`, `[::1]`, `fe80::1%2`, `fe80::1%eth0` or `example.com`, or of an
/// address of std, and it keeps all that it was given. A zone (RFC 4007 section 11) is the number of an interface; on
/// Linux its name, too. A text that is none of these is refused by the socket that is made with it.
///
/// ```
/// use longshore::Host;
///
/// assert_eq!(Host::from("[::1]"), Host::from(std::net::Ipv6Addr::LOCALHOST));
/// assert_eq!(Host::from("fe80::1%2").to_string(), "fe80::1%2");
/// assert!(Host::default().is_any());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Host(HostKind);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum HostKind {
    #[default]
    Any,
    V4(Ipv4Addr),
    V6 {
        ip: Ipv6Addr,
        flow: u32,
        zone: Zone,
    },
    /// A name, or a text that is neither an address nor a name.
    Name(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Zone {
    /// The number of an interface, or 0 for none.
    Number(u32),
    Interface(Box<str>),
}

impl Host {
    /// Whether it stands for all interfaces.
    ///
    /// ```
    /// assert!(longshore::Host::from("").is_any());
    /// ```
    pub fn is_any(&self) -> bool {
        self.0 == HostKind::Any
    }

    /// Returns the address, if it is one and no name.
    ///
    /// ```
    /// use longshore::Host;
    ///
    /// assert_eq!(Host::from("fe80::1%2").ip(), "fe80::1".parse().ok());
    /// assert_eq!(Host::from("example.com").ip(), None);
    /// ```
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.0 {
            HostKind::V4(ip) => Some(IpAddr::V4(*ip)),
            HostKind::V6 { ip, .. } => Some(IpAddr::V6(*ip)),
            HostKind::Any | HostKind::Name(_) => None,
        }
    }

    /// Parses an address without a port; brackets around it are taken away.
    fn literal(text: &str) -> Option<HostKind> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        // In brackets there can only be an IPv6 address (RFC 3986 section 3.2.2).
        if bare.is_none()
            && let Ok(ip) = text.parse()
        {
            return Some(HostKind::V4(ip));
        }
        let (ip, zone) = match bare.unwrap_or(text).split_once('%') {
            Some((ip, zone)) => (
                ip,
                // A zone of digits alone is the number of an interface (RFC 4007 section 11.2).
                digits(zone).map_or_else(|| Zone::Interface(Box::from(zone)), Zone::Number),
            ),
            None => (bare.unwrap_or(text), Zone::Number(0)),
        };
        let ip = ip.parse().ok()?;
        Some(HostKind::V6 { ip, flow: 0, zone })
    }

    /// Splits `host:port`, `[v6]:port` or `:port`; without a port it is 0. What is no port stays with the host, which
    /// is then refused with it.
    pub(super) fn split(text: &str) -> (Self, u16) {
        match text.rsplit_once(':') {
            // An address of IPv6 without brackets has colons, and its last group is not a port.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                match digits(port) {
                    Some(port) => (Self::from(host), port),
                    // The text is kept whole, so that the error shows what was given.
                    None => (Self(HostKind::Name(Box::from(text))), 0),
                }
            }
            _ => (Self::from(text), 0),
        }
    }

    /// Checks what can be checked without asking the system.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match &self.0 {
            HostKind::Name(name) => {
                // What would end a name early, or makes it something else than a name.
                let is_foreign =
                    |byte: u8| byte <= b' ' || byte == 0x7f || b":/\\[]%@?#".contains(&byte);
                let is_name = name.len() <= LONGEST_NAME
                    && !name.bytes().any(is_foreign)
                    && !ends_in_number(name);
                let problem = format!("`{}` is neither an address nor a name", name.escape_debug());
                check(is_name, "host", &problem)
            }
            HostKind::V6 {
                zone: Zone::Interface(name),
                ..
            } => {
                // As the kernel takes it, see IFNAMSIZ in netdevice(7).
                let is_name = (1..16).contains(&name.len())
                    && !name.contains(['/', ' ', '\0'])
                    && !matches!(&**name, "." | "..");
                check(
                    is_name,
                    "host",
                    "has a zone that is no name of an interface",
                )
            }
            HostKind::Any | HostKind::V4(_) | HostKind::V6 { .. } => Ok(()),
        }
    }

    /// The address, if it is one and no name.
    ///
    /// # Errors
    ///
    /// There is no interface of the zone's name.
    pub(crate) fn address(&self, port: u16) -> Option<Result<SocketAddr, ConfigError>> {
        match &self.0 {
            HostKind::V4(ip) => Some(Ok(SocketAddr::new(IpAddr::V4(*ip), port))),
            HostKind::V6 { ip, flow, zone } => Some(
                zone.number()
                    .map(|zone| SocketAddr::V6(SocketAddrV6::new(*ip, port, *flow, zone))),
            ),
            HostKind::Any | HostKind::Name(_) => None,
        }
    }

    /// The addresses to bind, where no resolver is needed: for all interfaces IPv6 with IPv4 and, for systems without
    /// IPv6, IPv4 alone.
    pub(crate) fn known_addresses(
        &self,
        port: u16,
    ) -> Option<Result<Vec<SocketAddr>, ConfigError>> {
        let both = |v4: Ipv4Addr, v6: Ipv6Addr| {
            [IpAddr::V4(v4), IpAddr::V6(v6)].map(|ip| SocketAddr::new(ip, port))
        };
        match &self.0 {
            HostKind::Any => {
                let [v4, v6] = both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
                // IPv6 first: a socket of it serves IPv4 as well, and only a system without IPv6 needs the second.
                Some(Ok(vec![v6, v4]))
            }
            HostKind::Name(name) if is_localhost(name) => {
                Some(Ok(both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST).to_vec()))
            }
            _ => Some(self.address(port)?.map(|address| vec![address])),
        }
    }

    /// Asks the resolver of the operating system, which blocks.
    pub(crate) fn resolve(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self.known_addresses(port) {
            Some(known) => {
                // A zone that is not known is an error of the address and none of the resolver.
                known.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
            }
            #[cfg(feature = "testing")]
            None if simulation::is_current() => {
                let found = simulation::resolve(&self.to_string())?;
                let with_port = |ip| SocketAddr::new(ip, port);
                Ok(found.into_iter().map(with_port).collect())
            }
            None => Ok((self.to_string().as_str(), port)
                .to_socket_addrs()?
                .collect()),
        }
    }

    /// The name that a certificate is checked against.
    #[cfg(feature = "tls")]
    pub(crate) fn tls_name(&self) -> String {
        crate::tls::certified_name(&self.to_string())
    }
}

/// Whether the last part is a number: no top-level domain is one (RFC 3696 section 2), and resolvers take such a text
/// for an address in an old notation, `8080` for 0.0.31.144 and `010.0.0.1` for 8.0.0.1.
fn ends_in_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_hex = hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_hex || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// RFC 6761 section 6.3: `localhost` and the names below it, with or without the final dot.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

impl Zone {
    fn number(&self) -> Result<u32, ConfigError> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Interface(name) => interface_number(name).map_err(|error| {
                ConfigError::new(
                    "host",
                    format!("the interface `{name}` is not known: {error}"),
                )
            }),
        }
    }
}

/// The number of an interface.
#[cfg(target_os = "linux")]
pub(crate) fn interface_number(name: &str) -> io::Result<u32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"))?;
    text.trim().parse().map_err(io::Error::other)
}

/// The number of an interface.
#[cfg(not(target_os = "linux"))]
pub(crate) fn interface_number(_name: &str) -> io::Result<u32> {
    let problem = "a zone is the number of an interface on this system";
    Err(io::Error::new(io::ErrorKind::Unsupported, problem))
}

/// As it is written without a port: no brackets around an IPv6 address.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostKind::Any => Ok(()),
            HostKind::V4(ip) => ip.fmt(f),
            HostKind::V6 { ip, zone, .. } => match zone {
                Zone::Number(0) => ip.fmt(f),
                Zone::Number(number) => write!(f, "{ip}%{number}"),
                Zone::Interface(name) => write!(f, "{ip}%{name}"),
            },
            HostKind::Name(name) => name.fmt(f),
        }
    }
}

/// A host and a port as they are written together.
pub(crate) struct HostAndPort<'a>(pub(crate) &'a Host, pub(crate) u16);

impl fmt::Display for HostAndPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        match host.0 {
            HostKind::V6 { .. } => write!(f, "[{host}]:{port}"),
            _ => write!(f, "{host}:{port}"),
        }
    }
}

impl From<&str> for Host {
    fn from(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        Self(Self::literal(text).unwrap_or_else(|| HostKind::Name(Box::from(text))))
    }
}

impl From<String> for Host {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Host {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::from(SocketAddr::new(ip, 0))
    }
}

impl From<Ipv4Addr> for Host {
    fn from(ip: Ipv4Addr) -> Self {
        Self(HostKind::V4(ip))
    }
}

impl From<Ipv6Addr> for Host {
    fn from(ip: Ipv6Addr) -> Self {
        Self::from(IpAddr::V6(ip))
    }
}

/// Its port is left out.
impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        Self(match address {
            SocketAddr::V4(v4) => HostKind::V4(*v4.ip()),
            SocketAddr::V6(v6) => HostKind::V6 {
                ip: *v6.ip(),
                flow: v6.flowinfo(),
                zone: Zone::Number(v6.scope_id()),
            },
        })
    }
}

impl PartialEq<str> for Host {
    fn eq(&self, text: &str) -> bool {
        self.0 == Self::from(text).0
    }
}

impl PartialEq<&str> for Host {
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

#[cfg(test)]
mod tests;
