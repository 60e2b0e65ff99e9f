//! The ways to name the address in options.

use std::net::SocketAddr;

use super::{TcpConnectionOptions, TcpServerOptions, UdpServerOptions};

/// `host:port`, `[v6]:port` or `:port`; without a port, port 0.
fn split_host_port(text: &str) -> (String, u16) {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.ip().to_string(), address.port());
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => match port.parse() {
            Ok(port) => (host.to_owned(), port),
            // Not a port: the whole text goes to the resolver, whose error names it.
            Err(_) => (text.to_owned(), 0),
        },
        _ => (text.to_owned(), 0),
    }
}

macro_rules! from_addresses {
    ($options:ty) => {
        impl From<&str> for $options {
            /// `host:port`.
            fn from(address: &str) -> Self {
                let (host, port) = split_host_port(address);
                Self {
                    host,
                    port,
                    ..Self::default()
                }
            }
        }

        impl From<String> for $options {
            fn from(address: String) -> Self {
                Self::from(address.as_str())
            }
        }

        impl From<&String> for $options {
            fn from(address: &String) -> Self {
                Self::from(address.as_str())
            }
        }

        impl From<SocketAddr> for $options {
            fn from(address: SocketAddr) -> Self {
                Self {
                    host: address.ip().to_string(),
                    port: address.port(),
                    ..Self::default()
                }
            }
        }

        impl From<(&str, u16)> for $options {
            fn from((host, port): (&str, u16)) -> Self {
                Self {
                    host: host.to_owned(),
                    port,
                    ..Self::default()
                }
            }
        }
    };
}

from_addresses!(TcpServerOptions);
from_addresses!(TcpConnectionOptions);
from_addresses!(UdpServerOptions);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_written() {
        for (text, host, port) in [
            ("127.0.0.1:7000", "127.0.0.1", 7000),
            ("[::1]:7000", "::1", 7000),
            (":7000", "", 7000),
            ("localhost:80", "localhost", 80),
            ("localhost", "localhost", 0),
            ("::1", "::1", 0),
        ] {
            assert_eq!(split_host_port(text), (host.to_owned(), port), "{text}");
        }
    }
}
